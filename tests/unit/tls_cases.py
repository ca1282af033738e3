# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers and networks that make a grade hard to find, as data: what they do, the letter that is right, and why.

`test_tls_cases.py` grades each in both modes; `docs/tried.py` makes the table in docs/verify.md of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import ssl
import sys
import threading
import time
import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

from . import tls_bed as bed
from . import tls_peers as peers

NONE = "none"


class Case(t.NamedTuple):
    """C(letter) is the only one that is right, C(NONE) where none can be known. C(lossy): it may also end without one,
    but never with another. C(serve) takes L(Servers) and gives the options of an endpoint while it lasts."""

    name: str
    server: str
    letter: str
    why: str
    serve: t.Callable[[Servers], t.ContextManager[dict[str, t.Any]]]
    lossy: bool = False
    error: str = ""
    timeout: float = 30.0


ALL12 = bed.GOOD12 + ":ECDHE-RSA-AES128-SHA:AES128-SHA"
SITES: dict[str, dict[str, str]] = {
    "A+": {},
    "B": {"protocols": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", "ciphers": ALL12 + ":@SECLEVEL=0"},
    "F": {"protocols": "TLSv1.2 TLSv1.3", "ciphers": bed.GOOD12 + ":AECDH-AES256-SHA:@SECLEVEL=0"},
    # Reference browsers get no forward secrecy.
    "B by clients": {"protocols": "TLSv1.2 TLSv1.3", "ciphers": "AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"},
}


class Servers:
    """What stands behind the proxies: one nginx with a good, a B and an F site."""

    def __init__(self, pki: bed.Pki, stack: contextlib.ExitStack) -> None:
        self.pki = pki
        self.folder = pki.folder
        pki.leaf("good", names=("good.test", "xn--fa-hia.test"))
        self.ports = dict(zip(SITES, bed.free_ports(len(SITES))))  # noqa: B905 - Python 3.7
        sites = [
            bed.nginx_site(self.ports[name], ["good"], names="good.test xn--fa-hia.test", **options)
            for name, options in SITES.items()
        ]
        stack.enter_context(bed.nginx(pki.folder, sites, self.ports["A+"]))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki.path("good.chain"), self.pki.path("good.key"))
        return context


# --- losses ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _limited(servers, letter, most):
    """nginx as a proxy that takes so many connections at a time."""
    module = bed.stream_module()
    (port,) = bed.free_ports()
    folder = servers.folder
    configuration = os.path.join(folder, f"stream.{port}.conf")
    with open(configuration, "w") as stream:
        stream.write(
            f"load_module {module};\ndaemon off; worker_processes 1; user root; pid {folder}/stream.{port}.pid;\n"
            "error_log stderr; events { worker_connections 512; }\n"
            "stream { limit_conn_zone $binary_remote_addr zone=a:1m;\n"
            f"server {{ listen 127.0.0.1:{port}; limit_conn a {most}; "
            f"proxy_pass 127.0.0.1:{servers.ports[letter]}; }} }}\n"
        )
    with bed.running([bed.program("nginx"), "-p", folder, "-c", configuration, "-e", "stderr"], folder, port):
        yield {"port": port}


def limited(letter, most=2):
    return lambda servers: _limited(servers, letter, most)


def passing(letter, make_verdict):
    """A proxy in front of a site; C(make_verdict) makes the function for L(peers.gated)."""

    @contextlib.contextmanager
    def serve(servers):
        with peers.gated(servers.ports[letter], make_verdict()) as port:
            yield {"port": port}

    return serve


def _first(many, instead):
    count = itertools.count()
    return lambda: lambda _offer: instead if next(count) < many else None


def _every_second(instead):
    def make():
        count = itertools.count()
        return lambda _offer: instead if next(count) % 2 == 0 else None

    return make


def _windows(many, seconds):
    """So many connections in each window of time, the others are closed."""

    def make():
        taken, lock = [], threading.Lock()

        def verdict(_offer):
            now = time.monotonic()
            with lock:
                taken[:] = [moment for moment in taken if now - moment < seconds]
                if len(taken) >= many:
                    return peers.closing
                taken.append(now)
            return None

        return verdict

    return make


def _to_old(instead):
    """Something happens to hellos of TLS 1.0 and 1.1."""
    return lambda: lambda offer: instead if offer.version in (0x0301, 0x0302) else None


def _cut(port, size):
    def handle(sock, _over, offer):
        left = [size]

        def change(received):
            part, left[0] = received[: left[0]], max(0, left[0] - len(received))
            if not left[0]:
                sock.sendall(part)
                raise OSError("cut")
            return [part]

        peers.relay(sock, port, change, offer.raw)

    return handle


@contextlib.contextmanager
def _cutting(servers, letter, size):
    """The server's answer to old hellos ends after so many bytes."""
    port = servers.ports[letter]
    with peers.gated(port, _to_old(_cut(port, size))()) as proxy:
        yield {"port": proxy}


@contextlib.contextmanager
def _warned(servers, letter):
    port = servers.ports[letter]

    def handle(sock, _over, offer):
        sock.sendall(peers.alert(110, level=1))
        peers.relay(sock, port, first=offer.raw)

    with peers.gated(port, _to_old(handle)()) as proxy:
        yield {"port": proxy}


# --- what servers insist on ------------------------------------------------------------------------------------------


def _at_most(most):
    """A server that closes on longer lists, or reads no further."""
    return lambda: lambda offer: peers.alert(40) if len(offer.suites) > most else None


@contextlib.contextmanager
def _reading(servers, letter, most):
    port = servers.ports[letter]

    def handle(sock, _over, offer):
        peers.relay(sock, port, first=offer.with_suites(most))

    with peers.gated(port, lambda offer: handle if len(offer.suites) > most else None) as proxy:
        yield {"port": proxy}


def _demanding(extension, instead):
    return lambda: lambda offer: instead if offer.version > 2 and extension not in offer.extensions else None


def _no_empty_share(offer):
    return peers.alert(47) if offer.extensions.get(51) == b"\0\0" else None


@contextlib.contextmanager
def _ssl3_with_name(servers):
    """SSL 3.0 on, for those who name the server."""
    (port,) = bed.free_ports()
    servers.pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    options = {"ciphers": "AES128-SHA", "honorCipherOrder": True}
    options.update(key=servers.pki.path("traditional.key"), cert=servers.pki.path("good.chain"))
    demanding = _demanding(0, peers.alert(112))()
    with bed.node(servers.folder, port, "0.10.28", **options), peers.gated(port, demanding) as proxy:
        yield {"port": proxy}


def _no_alpn(offer):
    """Mail servers know no protocol of the web."""
    return peers.alert(120) if 16 in offer.extensions else None


# --- what they answer ------------------------------------------------------------------------------------------------


def answering(answer, **options):
    """An HTTPS server of a few lines."""

    @contextlib.contextmanager
    def serve(servers):
        context = servers.context()

        def handle(sock, _over):
            with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(4096)
                tls.sendall(answer)

        with peers.serving(handle) as port:
            yield dict(options, port=port)

    return serve


def with_header(*values):
    head = "".join(f"Strict-Transport-Security: {value}\r\n" for value in values)
    return answering(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode("latin-1"))


GOOD_ANSWER = b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000\r\n\r\n"


def _hello(version, suite, extensions=b""):
    body = version.to_bytes(2, "big") + bytes(32) + b"\0" + suite.to_bytes(2, "big") + b"\0" + extensions
    return wire.record(22, 0x0303, wire.message(2, body))


@contextlib.contextmanager
def _inconsistent(_servers):
    """Whatever is offered up to TLS 1.2, TLS 1.0 is chosen, but a hello of TLS 1.0 is refused."""

    def verdict(offer):
        if offer.version in (2, 0x0300, 0x0301):
            return peers.alert(40)
        return _hello(0x0301, offer.suites[0])

    with peers.gated(0, verdict) as port:
        yield {"port": port}


@contextlib.contextmanager
def _named(_servers, **options):
    with peers.serving(peers.HOSTILE["a fatal alert"]) as port:
        yield dict(options, port=port)


@contextlib.contextmanager
def _site(servers, letter, **options):
    yield dict(options, port=servers.ports[letter])


# --- floods ----------------------------------------------------------------------------------------------------------


FLOOD = """
import socket, sys, threading
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tlslite import api, messages
folder, port, kind, minor = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
chain = api.X509CertChain()
chain.parsePemList(open(folder + '/good.chain').read())
key = api.parsePEMKey(open(folder + '/traditional.key').read(), private=True)
settings = api.HandshakeSettings()
settings.minVersion = settings.maxVersion = (3, minor)
settings.cipherNames, settings.keyExchangeNames = ['aes128gcm'], ['ecdhe_rsa']
ticket = messages.NewSessionTicket().create(7200, 1, bytearray(1), bytearray(1), []).write()
requests = messages.HelloRequest().create().write() * 4000
def tickets(sock, connection):
    # As fast as can be: one message a record, faster than the client reads them.
    state = connection._recordLayer._writeState
    cipher, iv, sequence = AESGCM(bytes(state.encContext.key)), int.from_bytes(state.fixedNonce, 'big'), state.seqnum
    plain = bytes(ticket) + bytes([22])
    header = bytes([23, 3, 3]) + (len(plain) + 16).to_bytes(2, 'big')
    while True:
        records = []
        for sequence in range(sequence, sequence + 500):
            records += [header, cipher.encrypt((iv ^ sequence).to_bytes(12, 'big'), plain, header)]
        sequence += 1
        sock.sendall(b''.join(records))
def flood(sock, connection):
    if kind == 'NewSessionTicket':
        tickets(sock, connection)
    if kind == 'KeyUpdate':
        return connection.send_keyupdate_request(0)
    return connection._sendMsg(messages.Message(22, requests), randomizeFirstBlock=False)
def handle(sock):
    connection = api.TLSConnection(sock)
    try:
        connection.handshakeServer(
            certChain=chain, privateKey=key, settings=settings, alpn=[bytearray(b'http/1.1')])
        connection.read(max=4096, min=1)
        cipher = connection._recordLayer._writeState.encContext
        fast = AESGCM(bytes(cipher.key))
        cipher.seal = lambda nonce, plain, extra: bytearray(fast.encrypt(bytes(nonce), bytes(plain), bytes(extra)))
        while True:
            for _step in flood(sock, connection):
                pass
    except Exception as error:
        print(repr(error), flush=True)
        sock.close()
listener = socket.create_server(('127.0.0.1', port), backlog=64)
while True:
    threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()
"""


def flooding(kind, minor):
    """A server of tlslite-ng that sends one kind of message without end once the request is there."""

    @contextlib.contextmanager
    def serve(servers):
        for module in ("tlslite.messages", "cryptography"):
            pytest.importorskip(module, reason=f"{module} is not installed here")
        servers.pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
        (port,) = bed.free_ports()
        command = [sys.executable, "-c", FLOOD, servers.folder, str(port), kind, str(minor)]
        with bed.running(command, servers.folder, port):
            yield {"port": port}

    return serve


OLD_ONES, ANONYMOUS = "TLS 1.0 and 1.1 are offered", "an anonymous suite is accepted"
LOSSY = (
    *(
        Case(f"limit_conn 2 before {letter}", "nginx `limit_conn 2` as a proxy", letter, why, limited(letter), True)
        for letter, why in (("B", OLD_ONES), ("F", ANONYMOUS), ("A+", "nothing lowers it"))
    ),
    *(
        Case(f"{name} before {letter}", server, letter, why, passing(letter, verdict), lossy=True)
        for name, server, verdict in (
            ("first closed", "a proxy that closes the first connection", _first(1, peers.closing)),
            ("every second alert 80", "a proxy that sends every second time alert 80", _every_second(peers.alert(80))),
            ("every second closed", "a proxy that closes every second connection", _every_second(peers.closing)),
            ("10 in 300 ms", "a proxy that takes 10 connections in 300 ms", _windows(10, 0.3)),
        )
        for letter, why in (("B", OLD_ONES), ("F", ANONYMOUS))
    ),
)  # fmt: skip

LOST = "is no refusal (RFC 5246, 7.2; RFC 8446, 6): TLS 1.0 and 1.1 stay unknown"
STEADY = (
    Case("old hellos closed", "a proxy that closes on TLS 1.0 and 1.1", NONE, "closing " + LOST,
         passing("B", _to_old(peers.closing)), error="connection closed"),
    Case("old hellos reset", "a proxy that resets TLS 1.0 and 1.1", NONE, "a reset " + LOST,
         passing("B", _to_old(peers.resetting)), error="connection closed"),
    Case("old hellos swallowed", "a proxy that drops TLS 1.0 and 1.1", NONE, "silence " + LOST,
         passing("B", _to_old(peers.hanging)), error="no response in time", timeout=10),
    Case("old hellos internal_error", "a proxy that answers TLS 1.0 and 1.1 with internal_error", NONE,
         "a fault " + LOST, passing("B", _to_old(peers.alert(80))), error="alert internal_error"),
    Case("old hellos warned off", "a proxy that answers TLS 1.0 and 1.1 with a warning", NONE,
         "a warning " + LOST, passing("B", _to_old(peers.alert(70, level=1))), error="warning alert protocol_version"),
    Case("ServerHello cut", "a proxy that cuts old ServerHellos after 60 bytes", NONE,
         "half a ServerHello " + LOST, lambda servers: _cutting(servers, "B", 60), error="connection closed"),
    Case("warning first", "a proxy that sends a warning before an old ServerHello", "B",
         "a warning does not end a handshake (RFC 5246, 7.2); TLS 1.0 and 1.1 are offered",
         lambda servers: _warned(servers, "B")),
    Case("old hellos refused", "a proxy that answers TLS 1.0 and 1.1 with protocol_version", "A+",
         "protocol_version is a refusal", passing("B", _to_old(peers.alert(70)))),
)  # fmt: skip

DEMANDING = (
    Case("127 suites at most", "a server that refuses lists of more than 127 suites", "B",
         "TLS 1.0 and 1.1 are offered", passing("B", _at_most(127))),
    Case("127 suites read", "a server that reads the first 127 suites only", "B",
         "TLS 1.0 and 1.1 are offered", lambda servers: _reading(servers, "B", 127)),
    Case("ALPN demanded", "a server that refuses hellos without ALPN", "B",
         "reference browsers get no forward secrecy", passing("B by clients", _demanding(16, peers.alert(40)))),
    Case("ALPN demanded by closing", "a server that closes on hellos without ALPN", "B",
         "reference browsers get no forward secrecy", passing("B by clients", _demanding(16, peers.closing))),
    Case("ALPN of the web refused", "a mail server that refuses the protocols of the web", "B",
         "TLS 1.0 and 1.1 are offered; HSTS is not known, which says nothing below A",
         passing("B", lambda: _no_alpn)),
    Case("SNI demanded", "OpenSSL 1.0.1 with SSL 3.0, for hellos with a name", "C", "SSL 3.0 with CBC: POODLE",
         _ssl3_with_name),
    Case("empty key_share refused", "a server that refuses hellos without a key share", "A+",
         "RFC 8446, 4.2.8 allows them, but TLS 1.3 is offered", passing("A+", lambda: _no_empty_share)),
)  # fmt: skip

NO_PLUS = "A+ needs HSTS, and it was not read"
HTTP = (
    Case("500 x", "an HTTPS server that answers `500 x`", "A", NO_PLUS, answering(b"500 x\r\n")),
    Case("421 x", "an HTTPS server that answers `421 x`", "A", NO_PLUS, answering(b"421 x\r\n")),
    Case("-ERR", "an HTTPS server that answers `-ERR`", "A", NO_PLUS, answering(b"-ERR x\r\n")),
    Case("no HTTP", "an HTTPS server that answers something else", "A", NO_PLUS, answering(b"hello\r\n")),
    Case("no answer", "an HTTPS server that closes after the request", "A", NO_PLUS, answering(b"")),
    Case("1xx first", "an HTTPS server that sends 100 and 103 before 200", "A+",
         "the final answer counts (RFC 9110, 15.2)",
         answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD_ANSWER)),
    Case("HSTS in 103 only", "an HTTPS server with HSTS in an interim answer", "A", "the final answer counts",
         answering(GOOD_ANSWER.replace(b"200 OK", b"103 Early Hints") + b"HTTP/1.1 200 OK\r\n\r\n")),
    Case("101", "an HTTPS server that switches to another protocol", "A", NO_PLUS,
         answering(GOOD_ANSWER.replace(b"200 OK", b"101 Switching Protocols"))),
    Case("name in another script", "an HTTPS server for `faß.test`", "A+",
         "`faß.test` is `xn--fa-hia.test` (IDNA 2008, as browsers have it)",
         lambda servers: _site(servers, "A+", host="faß.test")),
)  # fmt: skip

# Fields, letter, whether Chromium, and whether Firefox, takes the header.
HEADERS = (
    (("max-age=31536000; includeSubDomains",), "A+", "yes", "yes"),
    (('max-age="31536000"',), "A+", "yes", "yes"),
    ((" ; Max-Age = 31536000 ;; INCLUDESUBDOMAINS ; ",), "A+", "yes", "yes"),
    (("max-age=31536000; unknown; unknown=1; other=",), "A+", "yes", "yes"),
    (("max-age=31536000; preload=1",), "A+", "yes", "yes"),
    (("max-age=31536000; includeSubDomains=true",), "A-", "no", "no"),
    (("max-age=31536000; includeSubDomains=",), "A-", "no", "no"),
    (("max-age=31536000; includeSubDomains; includeSubDomains",), "A-", "no", "no"),
    (("max-age=31536000; max-age=31536000",), "A-", "no", "no"),
    (("max-age=31536000 includeSubDomains",), "A-", "no", "no"),
    (("max-age=31536000, includeSubDomains",), "A-", "no", "no"),
    (("max-age=31536000; @",), "A-", "yes", "no"),
    (('max-age=31536000; a="b',), "A-", "yes", "no"),
    (("max-age='31536000'",), "A-", "no", "no"),
    (("max-age=+31536000",), "A-", "no", "no"),
    (("max-age=31536000.0",), "A-", "no", "no"),
    (("includeSubDomains",), "A-", "no", "no"),
    (("max-age=31536000", "max-age=31536000"), "A-", "the first", "neither"),
)
HSTS = tuple(
    Case(
        "HSTS " + " and ".join(values),
        "Strict-Transport-Security: " + " and ".join(f"`{value.strip()}`" for value in values),
        letter,
        f"Chromium takes it: {chromium}; Firefox: {firefox}" + ("" if letter == "A+" else " (2009r: invalid)"),
        with_header(*values),
    )
    for values, letter, chromium, firefox in HEADERS
)

FLOODS = (
    Case("KeyUpdate flood", "TLS 1.3, KeyUpdate without end", "A", NO_PLUS, flooding("KeyUpdate", 4), timeout=15),
    Case("NewSessionTicket flood", "TLS 1.3, tickets without end", "A", NO_PLUS,
         flooding("NewSessionTicket", 4), timeout=15),
    Case("HelloRequest flood", "TLS 1.2, HelloRequest without end", "A-", "TLS 1.3 is not offered",
         flooding("HelloRequest", 3), timeout=15),
)  # fmt: skip

STRANGE = (
    Case("inconsistent ServerHellos", "a server that chooses TLS 1.0 and refuses it", NONE,
         "nothing that it says holds", _inconsistent, error="inconsistent ServerHellos"),
    Case("a long label", "a name with a label of 64 letters", NONE, "63 are the most (RFC 1035, 2.3.4)",
         lambda servers: _named(servers, server_name="a" * 64 + ".test"), error="a label of 64 characters"),
)  # fmt: skip

CASES = (*LOSSY, *STEADY, *DEMANDING, *HTTP, *HSTS, *FLOODS, *STRANGE)
