# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Requests to a web server over real connections.

A I(target) is one request, a I(response) is what came back.

Most of what a request costs is its handshake, so a few requests to the same server name at the same address share a
connection, one after the other (RFC 9112, section 9.3).

A server can keep a client waiting without an end: one byte now and then is enough. So a request has a limit as a whole,
and so have all of them together. Whatever reaches it is an error.

Certificates are not verified here: what matters is what the server serves, not whether a client should trust it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import math
import re
import socket
import ssl
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable

# By names in lower case, with every value in a list: a doubled header is a fault that a mapping would hide.
Headers = t.Dict[str, t.List[str]]

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Target(t.TypedDict):  # novm
        """One request to a server. What is not there, or None, is the default: C(GET /) over TLS without a name."""

        address: str
        port: int
        server_name: t.NotRequired[str | None]
        path: t.NotRequired[str | None]
        method: t.NotRequired[str | None]
        headers: t.NotRequired[dict[str, str] | None]
        tls: t.NotRequired[bool]
        body_size: t.NotRequired[int | None]  # bytes that are offered, and not sent
        # Of L(_webserver.probes): what the response has to be, and what is queried.
        outside: t.NotRequired[bool]  # whether other hosts can reach it
        block: t.NotRequired[tuple[str, int] | None]  # file and line of the virtual host; None: not known
        tls_group: t.NotRequired[str | None]  # of the virtual host; None: not known
        again: t.NotRequired[bool]  # whether another target is the same virtual host at another of its addresses
        expect: t.NotRequired[dict[str, t.Any] | None]
        keep: t.NotRequired[t.Sequence[str]]  # headers that have to stay as they are
        policy: t.NotRequired[dict[str, str] | None]  # headers that the policy sends there

    class Facts(t.TypedDict):  # novm
        """What a handshake agreed on; None without one."""

        protocol: str | None
        cipher: str | None
        certificate: str | None  # SHA-256 in hexadecimal

    class Response(Facts):  # novm
        """What came back. What did not is None."""

        status: int | None
        location: str | None
        error: str | None  # why there is no response
        ok: bool
        headers: Headers
        late: t.NotRequired[bool]  # whether time ran out; for the caller
        ms: float  # milliseconds

else:
    Target = Facts = Response = t.Dict[str, t.Any]

USER_AGENT = "kopano.hardening"
TIMED_OUT = "timed out"  # the error of what was waited for in vain
CONCURRENCY = 8
# Few enough that slow pages do not add up.
REQUESTS_A_CONNECTION = 4
MAX_HEADERS = 1 << 16
MAX_QUOTE = 200  # characters of what is no HTTP, in an error
# What a request waits for: the connection, the handshake, the response. Each may take the whole timeout.
WAITS = 3
DIALS = 2
DIAL_PAUSE = 0.2  # seconds
_NO_WAY = frozenset((errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ETIMEDOUT))
# A body can be a mailbox or a stream without an end. Just a short one is read, to use the connection again: octets,
# seconds for its next part to come, and for all of it.
MAX_BODY = 1 << 16
BODY_PATIENCE = 0.2
BODY_SECONDS = 1.0


class Limit:
    """How long may be waited: seconds for the next bytes, and until when for all of them (C(time.monotonic))."""

    def __init__(self, silence: float, end: float) -> None:
        self._silence = silence
        self._end = end

    def left(self) -> float:
        """For the wait that begins now. Raises socket.timeout when there is no time left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout(TIMED_OUT)
        return min(self._silence, left)


class Received(io.RawIOBase):
    """What a socket receives, within C(limit), which may be exchanged for another one between two requests."""

    def __init__(self, source: socket.socket, limit: Limit) -> None:
        super().__init__()
        self._source = source
        self.limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        self._source.settimeout(self.limit.left())
        return self._source.recv_into(buffer)


@functools.lru_cache(maxsize=None)
def client_context() -> ssl.SSLContext:
    """A client that accepts all that this OpenSSL can still do, to talk to what is not hardened yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ValueError, ssl.SSLError):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def query(target: Target, timeout: float) -> Response:
    """One connection, one request. Never raises for what the other side does: that is in C(error).

    timeout: seconds for each wait; the request as a whole may take L(WAITS) times as long.
    """
    return _converse([target], timeout, math.inf)[0]


def query_all(targets: t.Sequence[Target], timeout: float, seconds: float | None = None) -> list[Response]:
    """Responses in the order of the targets, a few at a time. timeout: as of L(query).

    seconds: for all of them together, by default what a slow server needs that responds to each request within the
    timeout. Raises TimeoutError when they are over: a request that had no time must not count as one that was refused.
    """
    seconds = _enough(len(targets), timeout) if seconds is None else seconds
    end = time.monotonic() + seconds
    responses: dict[int, Response] = {}
    waiting = _conversations(targets)
    while waiting and time.monotonic() < end:
        with ThreadPoolExecutor(min(CONCURRENCY, len(waiting))) as pool:
            found = pool.map(lambda numbers: _converse([targets[number] for number in numbers], timeout, end), waiting)
            for numbers, some in zip(waiting, found):
                responses.update(zip(numbers, some))
        waiting = [[number] for number in range(len(targets)) if number not in responses]
    if waiting:
        raise TimeoutError(
            f"no response from {place(targets[waiting[0][0]])}: "
            f"the {len(targets)} requests to the server together took more than {seconds:.0f} s"
        )
    return [responses[number] for number in range(len(targets))]


def is_unreached(response: Response) -> bool:
    """Whether nothing came back, not even from a handshake."""
    return not response["ok"] and response["protocol"] is None and response["status"] is None


def endpoint(target: t.Mapping[str, t.Any]) -> str:
    """An endpoint as messages name it."""
    name = " ({})".format(target["server_name"]) if target.get("server_name") else ""
    return _phrases.host_port(target["address"], target["port"]) + name


def place(target: Target) -> str:
    """A target as messages name it."""
    return "{} {}".format(endpoint(target), target.get("path") or "/")


def _enough(count: int, timeout: float) -> float:
    """Seconds for so many requests over L(CONCURRENCY) connections at a time, of which the longest may begin last."""
    return timeout * (-(-count // CONCURRENCY) + REQUESTS_A_CONNECTION + WAITS)


def _conversations(targets: t.Sequence[Target]) -> list[list[int]]:
    """Which targets, by their numbers, share one connection, in their order; the longest first."""
    places: dict[t.Any, list[int]] = {}
    for number, target in enumerate(targets):
        where = (target["address"], target["port"], target.get("tls", True), target.get("server_name"))
        places.setdefault(where if _may_share(target) else number, []).append(number)
    found = []
    for numbers in places.values():
        # After a body that was announced and is not sent, the connection cannot be used again.
        last = [number for number in numbers if targets[number].get("body_size")]
        others = [number for number in numbers if not targets[number].get("body_size")]
        count = max(len(last), -(-len(numbers) // REQUESTS_A_CONNECTION))
        shared = [others[start::count] for start in range(count)]
        # From the end, as the first ones have one more where the others do not come out even.
        for conversation, number in zip(reversed(shared), last):
            conversation.append(number)
        found += shared
    return sorted(found, key=len, reverse=True)


def _may_share(target: Target) -> bool:
    """Whether it may be sent over a used connection, and so once more if that was closed: it must change nothing."""
    safe = target.get("body_size") or (target.get("method") or "GET").upper() in ("GET", "HEAD", "OPTIONS")
    return bool(safe) and not {name.lower() for name in target.get("headers") or ()} & {"connection", "upgrade"}


def _converse(targets: t.Sequence[Target], timeout: float, end: float) -> list[Response]:
    """Make requests over one connection, or over new ones where it does not last.

    After a request without a response in time it ends, with fewer responses than targets: the others should not wait
    for that one's backend. Nor is there a response to what is not done at the end.
    """
    responses: list[Response] = []
    connection = None
    for number, target in enumerate(targets):
        used, last = connection is not None, number + 1 == len(targets)
        limit = Limit(timeout, min(end, time.monotonic() + WAITS * timeout))
        connection, response = _exchange(connection, target, limit, last)
        if used and response["error"] and not response["late"]:
            # A server may close an idle connection at any time.
            connection, response = _exchange(None, target, limit, last)
        late = response.pop("late")
        if late and time.monotonic() >= end:
            break
        responses.append(response)
        if late:
            break
    return responses


def _dial(goal: tuple[str, int], limit: Limit) -> socket.socket:
    """Connect, in L(DIALS) tries that share the time of one wait.

    A first packet may be lost. An IPv6 address that is new is checked for duplicates, which takes a second or two, and
    what was sent to it before is not sent again: a second connection gets through where the first one would not.
    """
    for number in range(1, DIALS + 1):
        try:
            return socket.create_connection(goal, limit.left() / DIALS)
        except OSError as error:
            if number == DIALS or not (isinstance(error, socket.timeout) or error.errno in _NO_WAY):
                raise
        time.sleep(min(DIAL_PAUSE, limit.left()))
    raise AssertionError("no try")


class _Connection:
    """A connection and what its handshake agreed on."""

    def __init__(self, target: Target, limit: Limit) -> None:
        self.facts: Facts = {"protocol": None, "cipher": None, "certificate": None}
        self.socket = _dial((target["address"], target["port"]), limit)
        try:
            if target.get("tls", True):
                self.socket.settimeout(limit.left())  # for the handshake as a whole
                self._shake_hands(target.get("server_name"))
            self._received = Received(self.socket, limit)
            self.stream = io.BufferedReader(self._received)
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self, server_name: str | None) -> None:
        secure = client_context().wrap_socket(self.socket, server_hostname=server_name)
        self.socket = secure
        self.facts["protocol"] = {"TLSv1": "TLSv1.0"}.get(secure.version() or "", secure.version())
        self.facts["cipher"] = (secure.cipher() or (None,))[0]
        certificate = secure.getpeercert(True)
        self.facts["certificate"] = hashlib.sha256(certificate).hexdigest() if certificate else None

    def send(self, data: bytes, limit: Limit) -> None:
        self.await_within(limit)
        self.socket.settimeout(limit.left())
        self.socket.sendall(data)

    def await_within(self, limit: Limit) -> None:
        """From now on."""
        self._received.limit = limit

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def _exchange(
    connection: _Connection | None, target: Target, limit: Limit, last: bool
) -> tuple[_Connection | None, Response]:
    """One request over a connection or, with None, a new one. Returns it if it can be used again, and the response;
    C(late) in it: whether time ran out."""
    started = time.monotonic()
    response: Response = {
        "protocol": None,
        "cipher": None,
        "certificate": None,
        "status": None,
        "location": None,
        "error": None,
        "ok": False,
        "headers": {},
        "late": False,
        "ms": 0.0,
    }
    lasts = False
    try:
        connection = connection or _Connection(target, limit)
        response.update(connection.facts)
        connection.send(_request(target, last), limit)
        version = _read_response(connection.stream, response, bool(target.get("body_size")))
        response["ok"] = True
        lasts = not last and _skip_body(connection, target, version, response)
    except (OSError, ValueError) as error:
        response["late"] = isinstance(error, socket.timeout)
        message = TIMED_OUT if response["late"] else getattr(error, "strerror", None) or str(error)
        response["error"] = message or type(error).__name__
    finally:
        if connection is not None and not lasts:
            connection.close()
    response["ms"] = round((time.monotonic() - started) * 1000, 1)
    return connection if lasts else None, response


def _request(target: Target, last: bool) -> bytes:
    host = target.get("server_name") or target["address"]
    if ":" in host:
        host = f"[{host}]"
    if target["port"] != (443 if target.get("tls", True) else 80):
        host = "%s:%d" % (host, target["port"])
    headers = {"Host": host, "User-Agent": USER_AGENT, "Accept": "*/*"}
    if last:
        headers["Connection"] = "close"
    if target.get("body_size"):
        # The response whether so much would be taken comes before any of it is sent (RFC 9110, section 10.1.1).
        headers.update({"Content-Length": str(target["body_size"]), "Expect": "100-continue"})
        headers["Content-Type"] = "application/octet-stream"
    headers.update(target.get("headers") or {})
    lines = ["{} {} HTTP/1.1".format(target.get("method") or "GET", target.get("path") or "/")]
    lines += ["{}: {}".format(*item) for item in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _read_response(stream: t.BinaryIO, response: Response, is_offer: bool) -> str:
    """Everything before the body, into C(response). Returns the version of HTTP.

    A response may come after interim ones (RFC 9110, section 15.2). Of these only one that ends HTTP is a response, and
    one to the offer of a body.
    """
    left = MAX_HEADERS
    while True:
        line, left = _read_line(stream, left)
        found = re.match(r"HTTP/(1\.[01]) (\d{3})", line)
        if not found:
            raise ValueError(printable(line.strip())[:MAX_QUOTE] or "no response")
        headers, left = _read_headers(stream, left)
        status = int(found.group(2))
        if status // 100 != 1 or status == 101 or (status == 100 and is_offer):
            break
    response["status"], response["headers"] = status, headers
    response["location"] = headers["location"][0] if "location" in headers else None
    return found.group(1)


def _read_line(stream: t.BinaryIO, left: int) -> tuple[str, int]:
    """A line of a header section, and how many bytes of it may follow."""
    line = stream.readline(left)
    if len(line) == left:
        raise ValueError("more than %d bytes of headers" % MAX_HEADERS)
    return line.decode("latin-1"), left - len(line)


def _read_headers(stream: t.BinaryIO, left: int) -> tuple[Headers, int]:
    """The header section (RFC 9112, section 5), up to its empty line, and how many bytes may follow in another one."""
    headers: Headers = {}
    while True:
        line, left = _read_line(stream, left)
        name, colon, value = line.partition(":")
        if not line.strip():
            return headers, left
        if colon:
            headers.setdefault(name.strip().lower(), []).append(value.strip())


def _skip_body(connection: _Connection, target: Target, version: str, response: Response) -> bool:
    """Read a short body to its end (RFC 9112, section 6.3). False: the connection cannot be used again."""
    headers, status = response["headers"], response["status"] or 0
    if version != "1.1" or status < 200 or "close" in ",".join(headers.get("connection", ())).lower():
        return False
    if target.get("method") == "HEAD" or status in (204, 304):
        return True
    connection.await_within(Limit(BODY_PATIENCE, time.monotonic() + BODY_SECONDS))
    try:
        if "transfer-encoding" in headers:
            ended = headers["transfer-encoding"] == ["chunked"] and _skip_chunks(connection.stream)
        else:
            lengths = headers.get("content-length", [])
            size = int(lengths[0]) if len(lengths) == 1 else MAX_BODY + 1
            ended = 0 <= size <= MAX_BODY and len(connection.stream.read(size)) == size
        return ended
    except (OSError, ValueError):
        return False


def _skip_chunks(stream: t.BinaryIO) -> bool:
    """Read a chunked body (RFC 9112, section 7.1). False: it is too long, or none."""
    left = MAX_BODY
    while left > 0:
        size = int(stream.readline(64).partition(b";")[0], 16)
        if not 0 <= size <= left:
            return False
        if size == 0:
            return not _read_headers(stream, MAX_HEADERS)[0]  # the trailer is not used
        left -= size
        if stream.read(size + 2)[-2:] != b"\r\n":
            return False
    return False
