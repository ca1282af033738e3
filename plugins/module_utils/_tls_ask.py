# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Asks a TLS endpoint single questions: one connection, one ClientHello, one L(Answer).

What is offered is up to the caller and not to the OpenSSL of this machine, as the hellos are raw and the sockets plain.
A handshake is left after the ServerHello or the server's parameters, unless there is no other way: certificates of a
server that speaks TLS 1.3 alone, and renegotiation. No question raises: whatever the other side does ends as an answer
within the deadline.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import threading
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils import _tls_crypto as crypto
from ansible_collections.kopano.hardening.plugins.module_utils import _tls_data as data
from ansible_collections.kopano.hardening.plugins.module_utils import _tls_wire as wire
from ansible_collections.kopano.hardening.plugins.module_utils import _x509 as x509

# What one connection may send us: a long chain and its OCSP response fit several times over.
MAX_ANSWER = 256 * 1024

ACCEPTED, REFUSED, CLOSED, SILENT, GARBAGE, UNREACHABLE = (
    "accepted",
    "refused",
    "closed",
    "silent",
    "garbage",
    "unreachable",
)


class Unreachable(Exception):
    """The connection did not come about."""


class Deadline:
    """A point in time, seconds from now; asking for what is left raises L(socket.timeout) when it has passed."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._end

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        return left

    def part(self, seconds: float) -> Deadline:
        """An earlier deadline within this one."""
        return Deadline(min(seconds, self._end - time.monotonic()))


class Answer(t.NamedTuple):
    """What became of one ClientHello.

    C(outcome) is accepted, refused (by an alert), closed (without a word, which some servers do instead), silent,
    garbage (no TLS) or unreachable; C(words) tell more. The rest is set when it was accepted, C(chain), C(exchange) and
    C(staple) only if the flight was read.
    """

    outcome: str
    words: str = ""
    protocol: str | None = None
    hello: wire.ServerHello | None = None
    chain: t.Sequence[bytes] = ()
    exchange: wire.KeyExchange | None = None
    staple: bytes | None = None
    alpn: str | None = None

    @property
    def suite(self) -> int:
        assert self.hello is not None
        return self.hello.suite


class Peer:
    """One endpoint at one address: opens connections to it, counts them, and remembers that it cannot be reached.

    Once a question found nobody there, and none was answered before, the later ones are not put any more.
    """

    def __init__(self, endpoint: t.Mapping[str, t.Any], timeout: float) -> None:
        self.address: str = endpoint["address"]
        self.port: int = endpoint["port"]
        self.starttls: str = endpoint.get("starttls") or "none"
        self.host: str = endpoint["host"]
        self.name: str = endpoint.get("server_name") or self.host
        self.deadline = Deadline(timeout)
        # A server that says nothing must leave time for the questions after.
        self.patience = timeout / 2
        self.connections = 0
        self.failure: str | None = None
        self.answered = False
        self._lock = threading.Lock()
        # The name to send: none for an address (RFC 6066) or what is no name, A-labels for an international one.
        name = x509.ascii_name(self.name)
        is_name = re.match(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z", name) and not _is_address(name)
        self.sni: str | None = name if is_name else None

    def note(self, answer: Answer) -> None:
        """Learn from an answer whether anybody is there."""
        if answer.outcome in (ACCEPTED, REFUSED, CLOSED):
            self.answered = True
        elif answer.outcome in (SILENT, UNREACHABLE) and not self.answered:
            self.failure = self.failure or answer.words

    @contextlib.contextmanager
    def connect(self, port: int | None = None) -> t.Iterator[tuple[socket.socket, Deadline]]:
        """A connection ready for TLS (after STARTTLS where it is asked for), and its own deadline.

        With C(port) it is a plain one to that port, whose failure says nothing of the endpoint.
        """
        deadline = self.deadline.part(self.patience)
        sock = self._dial(port or self.port, deadline, own=port is None)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if port is None and self.starttls != "none":
                start_tls(sock, self.starttls, deadline)
            yield sock, deadline
        finally:
            sock.close()

    def _dial(self, port: int, deadline: Deadline, own: bool) -> socket.socket:
        """Connect; an endpoint that answered before gets a second chance, as a full backlog is no refusal."""
        if own and self.failure:
            raise Unreachable(self.failure)
        for again in (self.answered and own, False):
            with self._lock:
                self.connections += 1
            try:
                return self._connection(port, deadline)
            except OSError as error:
                words = "timed out" if isinstance(error, socket.timeout) else error.strerror or str(error)
                if not again:
                    break
            time.sleep(0.05)
        words = f"cannot connect: {words[:1].lower() + words[1:]}"
        if own:
            self.failure = words
        raise Unreachable(words)

    def _connection(self, port: int, deadline: Deadline) -> socket.socket:
        """As socket.create_connection, which resolves the address anew each time."""
        if "%" in self.address:  # IPv6 with a zone
            return socket.create_connection((self.address, port), timeout=deadline.left())
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left())
            sock.connect((self.address, port))
        except BaseException:
            sock.close()
            raise
        return sock


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, name)
            return True
    return False


def resolve(host: str, port: int, timeout: float) -> list[str] | str:
    """Every address of a name, IPv4 and IPv6, in the resolver's order; words if there is none, or none in time."""
    result: list[list[str] | str] = ["the name was not resolved in time"]

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            result[0] = "the name does not resolve: {}".format(getattr(error, "strerror", None) or error)
        else:
            result[0] = list(dict.fromkeys(str(entry[4][0]) for entry in found))

    # The system's resolver knows no deadline; a daemon thread may be left behind.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    return result[0]


# STARTTLS: per protocol what is waited for, what is said. A pattern must match a whole line; other lines pass by.
_DIALOGUES: dict[str, t.Sequence[tuple[str, bytes]]] = {
    "imap": ((r"\* (OK|PREAUTH)\b", b"a STARTTLS\r\n"), (r"a OK\b", b"")),
    "pop3": ((r"\+OK", b"STLS\r\n"), (r"\+OK", b"")),
    "smtp": ((r"220 ", b"EHLO probe.invalid\r\n"), (r"250 ", b"STARTTLS\r\n"), (r"220 ", b"")),
}
_REFUSALS = re.compile(r"(\* BYE|a (NO|BAD)\b|-ERR|[45]\d\d)")


def start_tls(sock: socket.socket, protocol: str, deadline: Deadline) -> None:
    """Talk a mail server into TLS. Raises L(wire.ParseError) if it will not."""
    buffer = b""
    total = 0
    for pattern, reply in _DIALOGUES[protocol]:
        while True:
            line, newline, rest = buffer.partition(b"\n")
            if newline:
                buffer = rest
                text = line.decode("latin-1")
                if re.match(pattern, text, re.IGNORECASE):
                    break
                if _REFUSALS.match(text):
                    raise wire.ParseError(f"no STARTTLS: {x509.printable(text.strip())[:120]}")
                continue
            sock.settimeout(deadline.left())
            received = sock.recv(4096)
            total += len(received)
            if not received or total > MAX_ANSWER:
                raise wire.ParseError("no STARTTLS: the connection ended before it")
            buffer += received
        if reply:
            sock.settimeout(deadline.left())
            sock.sendall(reply)
    if buffer:
        raise wire.ParseError("plain text after the answer to STARTTLS")


class Stream:
    """Events of a server's TLS records, within a deadline and L(MAX_ANSWER)."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._records = wire.RecordStream()
        self._total = 0

    def send(self, payload: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(payload)

    def receive(self) -> bytes:
        """Some bytes; none when the server has closed."""
        self._sock.settimeout(self._deadline.left())
        received = self._sock.recv(16384)
        self._total += len(received)
        if self._total > MAX_ANSWER:
            raise wire.ParseError("the answer does not end")
        return received

    def __iter__(self) -> t.Iterator[wire.Alert | wire.Message | wire.Protected]:
        while True:
            received = self.receive()
            if not received:
                return
            yield from self._records.feed(received)


def _guarded(function: t.Callable[..., Answer]) -> t.Callable[..., Answer]:
    """Turns what can go wrong on the way into an L(Answer), and lets the peer learn from it."""

    def attempt(*args: t.Any, **options: t.Any) -> Answer:
        try:
            return function(*args, **options)
        except Unreachable as error:
            return Answer(UNREACHABLE, str(error))
        except (wire.ParseError, crypto.CryptoError) as error:
            return Answer(GARBAGE, str(error))
        except socket.timeout:
            return Answer(SILENT, "no answer in time")
        except OSError as error:
            return Answer(CLOSED, "connection {}".format(errno.errorcode.get(error.errno or 0, "lost")))

    def guarded(peer: Peer, *args: t.Any, **options: t.Any) -> Answer:
        answer = attempt(peer, *args, **options)
        peer.note(answer)
        return answer

    return guarded


@_guarded
def ask(peer: Peer, protocol: str, suites: t.Sequence[int], *, flight: bool = False, **options: t.Any) -> Answer:
    """Send one ClientHello of a protocol from SSLv3 up. With C(flight) read on to the certificates and parameters."""
    version = data.WIRE_VERSION[protocol]
    hello = wire.client_hello(version, suites, server_name=peer.sni, **options)
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.hello_record(version, hello))
        return _listen(stream, suites, flight)


def _listen(stream: Stream, suites: t.Sequence[int], flight: bool) -> Answer:
    answer: Answer | None = None
    for event in stream:
        if isinstance(event, wire.Alert):
            if event.fatal or (answer is None and event.description != 112):
                words = data.ALERTS.get(event.description, str(event.description))
                return answer or Answer(REFUSED, f"alert {words}")
        elif isinstance(event, wire.Protected):
            break
        elif event.kind == wire.SERVER_HELLO:
            seen = wire.read_server_hello(event.body)
            if seen.suite not in suites:
                raise wire.ParseError(f"the server chose suite {seen.suite:#06x}, which was not offered")
            answer = Answer(ACCEPTED, protocol=data.PROTOCOL_OF[seen.version], hello=seen, alpn=seen.alpn)
            if not flight or seen.version >= 0x0304:
                break
        elif answer is None:
            raise wire.ParseError(f"handshake message {event.kind} before ServerHello")
        elif event.kind == wire.CERTIFICATE:
            answer = answer._replace(chain=wire.read_certificates(event.body))
        elif event.kind == wire.CERTIFICATE_STATUS:
            answer = answer._replace(staple=wire.read_certificate_status(event.body))
        elif event.kind == wire.SERVER_KEY_EXCHANGE:
            exchange = wire.read_key_exchange(event.body, data.SUITES[answer.suite].exchange)
            answer = answer._replace(exchange=exchange)
        elif event.kind == wire.SERVER_HELLO_DONE:
            break
    return answer or Answer(CLOSED, "connection closed")


@_guarded
def ask_ssl2(peer: Peer) -> Answer:
    """Send an SSL 2.0 CLIENT-HELLO; C(words) then name the suites that the server knows."""
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.ssl2_client_hello(list(data.SSL2_SUITES)))
        received = b""
        while True:
            more = stream.receive()
            received += more
            if not more or received[:1] == b"\x15":
                return Answer(REFUSED, "connection closed")
            try:
                hello = wire.read_ssl2_server_hello(received)
            except wire.ParseError as error:
                # An SSL 2.0 error message, or the complaint of another protocol: whatever it is, it is no consent.
                return Answer(REFUSED, str(error))
            if hello:
                names = [data.SSL2_SUITES[suite][0] for suite in hello.suites if suite in data.SSL2_SUITES]
                return Answer(ACCEPTED, " ".join(names), protocol="SSLv2", chain=[hello.certificate])


@_guarded
def ask_tls13(peer: Peer, suites: t.Sequence[int], signatures: t.Sequence[int]) -> Answer:
    """Do a TLS 1.3 handshake up to the server's certificates."""
    shares = [crypto.Share(group) for group in crypto.Share.GROUPS]
    hello = wire.client_hello(
        0x0304,
        suites,
        server_name=peer.sni,
        groups=crypto.Share.GROUPS,
        signatures=signatures,
        alpn=("h2", "http/1.1"),
        extras=True,
        key_shares=[(share.group, share.public) for share in shares],
    )
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.hello_record(0x0304, hello))
        answer: Answer | None = None
        reader: crypto.Reader13 | None = None
        messages = wire.MessageBuffer()
        for event in stream:
            if isinstance(event, wire.Alert):
                if event.fatal or event.description != 112:
                    return answer or Answer(REFUSED, "alert {}".format(data.ALERTS.get(event.description, "?")))
            elif isinstance(event, wire.Message) and reader is None:
                seen = wire.read_server_hello(event.body) if event.kind == wire.SERVER_HELLO else None
                share = next((one for one in shares if seen and one.group == seen.group), None)
                if not seen or seen.key is None or share is None or seen.suite not in suites:
                    raise wire.ParseError("not the ServerHello that was asked for")
                answer = Answer(ACCEPTED, protocol="TLSv1.3", hello=seen)
                reader = crypto.Reader13(crypto.CIPHERS13[seen.suite], share.agree(seen.key), hello + event.raw)
            elif isinstance(event, wire.Protected) and reader is not None and answer is not None:
                content_type, plain = reader.open(event.header, event.payload)
                if content_type != wire.HANDSHAKE:
                    return Answer(REFUSED, "alert")
                for inner in messages.feed(plain):
                    if inner.kind == wire.ENCRYPTED_EXTENSIONS:
                        extensions = wire.read_extensions(wire.Reader(inner.body, "EncryptedExtensions"))
                        if wire.ALPN in extensions:
                            answer = answer._replace(alpn=wire.read_alpn(extensions[wire.ALPN]))
                    elif inner.kind == wire.CERTIFICATE:
                        chain, staple = wire.read_certificates13(inner.body)
                        return answer._replace(chain=chain, staple=staple)
        return Answer(CLOSED, "connection closed")


@_guarded
def ask_renegotiation(peer: Peer, suites: t.Sequence[int]) -> Answer:
    """Do a TLS 1.2 handshake, then ask for another one inside it: accepted, refused or silent."""
    hello = wire.client_hello(
        0x0303,
        suites,
        server_name=peer.sni,
        groups=crypto.Share.GROUPS,
        signatures=data.ALL_SIGNATURES,
        random=os.urandom(32),
    )
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.hello_record(0x0303, hello))
        events = iter(stream)
        transcript, asked = hello, False
        seen: wire.ServerHello | None = None
        exchange: wire.KeyExchange | None = None
        for event in events:
            if not isinstance(event, wire.Message):
                return Answer(GARBAGE, "no handshake")
            transcript += event.raw
            if event.kind == wire.SERVER_HELLO:
                seen = wire.read_server_hello(event.body)
            elif event.kind == wire.SERVER_KEY_EXCHANGE and seen and seen.suite in suites:
                exchange = wire.read_key_exchange(event.body, data.SUITES[seen.suite].exchange)
            elif event.kind == wire.CERTIFICATE_REQUEST:
                asked = True
            elif event.kind == wire.SERVER_HELLO_DONE:
                break
        if seen is None or exchange is None or exchange.group not in crypto.Share.GROUPS:
            return Answer(GARBAGE, "no handshake")
        share = crypto.Share(exchange.group)
        client = wire.message(wire.CERTIFICATE, wire.vector(3, b"")) if asked else b""
        client += wire.message(wire.CLIENT_KEY_EXCHANGE, wire.vector(1, share.public))
        # The random follows the message's header and version.
        keys = crypto.Writer12(crypto.CIPHERS12[seen.suite], share.agree(exchange.key), hello[6:38], seen.random)
        verify = keys.verify_data(transcript + client)
        stream.send(
            wire.record(wire.HANDSHAKE, 0x0303, client)
            + wire.record(wire.CHANGE_CIPHER_SPEC, 0x0303, b"\x01")
            + keys.protect(wire.HANDSHAKE, wire.message(wire.FINISHED, verify))
        )
        finished = next((event for event in events if isinstance(event, wire.Protected)), None)
        if finished is None or finished.content_type != wire.HANDSHAKE:
            return Answer(GARBAGE, "the handshake did not finish")
        again = wire.client_hello(
            0x0303,
            suites,
            server_name=peer.sni,
            groups=crypto.Share.GROUPS,
            signatures=data.ALL_SIGNATURES,
            renegotiation=verify,
        )
        stream.send(keys.protect(wire.HANDSHAKE, again))
        for event in events:
            # A new handshake, or an alert; what else comes was on its way before.
            if isinstance(event, wire.Protected) and event.content_type == wire.HANDSHAKE:
                return Answer(ACCEPTED)
            if isinstance(event, wire.Protected) and event.content_type == wire.ALERT:
                return Answer(REFUSED)
        return Answer(CLOSED)
