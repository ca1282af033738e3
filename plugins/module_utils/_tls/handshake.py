# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Makes single queries of a TLS endpoint: one connection, one ClientHello, one L(Response).

What is offered is up to the caller and not to the OpenSSL of this machine, as the hellos are raw and the sockets plain.
A handshake is left after the ServerHello or the server's parameters, unless there is no other way: certificates of a
server that speaks TLS 1.3 alone, and renegotiation. No query raises: whatever the other side does ends as a response
within the deadline.

Only what the protocol calls a refusal is one. A connection that was closed, reset or cut, an alert that reports a
fault, silence: each of them is a lost result, which L(Peer.persist) queries again, with pauses and alone.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import os
import re
import socket
import ssl
import threading
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.idna import to_ascii
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto, wire
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

# What one connection may send us: a long chain and its OCSP response fit several times over.
MAX_RECEIVED = 256 * 1024

# Alerts that refuse an offer: handshake_failure, illegal_parameter, protocol_version, insufficient_security. All others
# report that something went wrong (RFC 5246, 7.2.2; RFC 8446, 6.2).
REFUSING = (40, 47, 70, 71)
# Connections at a time against one address: enough to hide round trips, few enough for rate limiters.
PEAK = 8
# Seconds before a lost query is made again. Together they outlast the windows of common rate limits.
PAUSES = (0.05, 0.2, 0.5)

ACCEPTED, REFUSED, CLOSED, SILENT, GARBAGE, UNREACHABLE, UNTRIED = (
    "accepted",
    "refused",
    "closed",
    "silent",
    "garbage",
    "unreachable",
    "untried",
)


# The message for a connection that was closed or reset.
HUNG_UP = "connection closed"


class Unreachable(Exception):
    """The connection did not come about."""


class Deadline:
    """A point in time, seconds from now; L(left) raises L(socket.timeout) once it has passed."""

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

    @property
    def remaining(self) -> float:
        """Seconds left, 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    def part(self, seconds: float) -> Deadline:
        """An earlier deadline within this one."""
        return Deadline(min(seconds, self._end - time.monotonic()))


class Response(t.NamedTuple):
    """What became of one ClientHello.

    C(outcome) is accepted, refused (by an alert that refuses), closed (the connection ended otherwise), silent, garbage
    (no TLS), unreachable or untried (this code cannot); C(message) has details. The rest is set when it was accepted,
    C(chain), C(exchange) and C(staple) only if the flight was read, and C(cut) if that ended too early. C(steady) is
    set where the result was lost each time, while a hello that was accepted before was accepted in between; refused and
    steady is what a server closed on that closes on everything that it refuses.
    """

    outcome: str
    message: str = ""
    protocol: str | None = None
    hello: wire.ServerHello | None = None
    chain: t.Sequence[bytes] = ()
    exchange: wire.KeyExchange | None = None
    staple: bytes | None = None
    alpn: str | None = None
    cut: bool = False
    steady: bool = False

    @property
    def lost(self) -> bool:
        """Whether it shows nothing about the offer, or not all that it should."""
        return self.cut or self.outcome not in (ACCEPTED, REFUSED, UNTRIED)

    @property
    def suite(self) -> int:
        if self.hello is None:
            raise AttributeError(f"a response without a ServerHello has no suite: {self.outcome}")
        return self.hello.suite


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Endpoint(t.TypedDict):  # novm
        """What is to be queried: an element of C(tls_grade_info)'s option C(endpoints), or one of its addresses.

        address: the one to connect to; until it is chosen, addresses may name some, else host is resolved.
        server_name: the name to send (SNI), host if there is none. starttls: C(none), C(imap), C(pop3) or C(smtp).
        server_groups: the names of groups that the server's OpenSSL has, where the caller knows. group: the same for
        endpoints that the caller knows to be set up in the same way, see C(_tls.alike).
        """

        host: str
        port: int
        address: t.NotRequired[str]
        addresses: t.NotRequired[list[str]]
        server_name: t.NotRequired[str | None]
        starttls: t.NotRequired[str]
        server_groups: t.NotRequired[list[str]]
        group: t.NotRequired[str | None]

else:
    Endpoint = t.Dict[str, t.Any]


class Peer:
    """One endpoint at one address: opens connections to it, counts them, and remembers that it cannot be reached.

    Once a query found no server there, and none got a result before, the later ones are not made any more.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.address: str = endpoint["address"]
        self.port: int = endpoint["port"]
        self.starttls: str = endpoint.get("starttls") or "none"
        self.host: str = endpoint["host"]
        self.name: str = endpoint.get("server_name") or self.host
        # An address that is all there is to know of an endpoint is no name that a certificate could be for.
        self.named = bool(endpoint.get("server_name")) or not _is_address(self.host.partition("%")[0])
        self.deadline = Deadline(timeout)
        # A silent server must leave time for the queries after.
        self.patience = timeout / 2
        self._least_patience = timeout / 10
        self.connections = 0
        self.failure: str | None = None
        self.spoken = False
        # A hello that was accepted: it distinguishes a server that refuses by closing from one that no longer responds.
        self.control: bytes | None = None
        # The protocols to offer by ALPN, in every hello, since some servers take no connection without.
        self.alpn: tuple[str, ...] = ("h2", "http/1.1") if self.starttls == "none" else ()
        self._lock = threading.Lock()
        self._alone = threading.RLock()
        self._crowded = False
        self._hangs_up: dict[str, bool] = {}
        # The name to send: none for an address (RFC 6066) or what is no name, A-labels for an international one.
        name, self.fault = _a_labels(self.name)
        is_name = re.match(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z", name) and not _is_address(name)
        self.sni: str | None = name if is_name else None

    def note(self, response: Response) -> None:
        """Learn from a response whether there is a server, and how patient to be with it."""
        if response.outcome in (ACCEPTED, REFUSED, CLOSED):
            self.spoken = True
        elif response.outcome in (SILENT, UNREACHABLE) and not self.spoken:
            self.failure = self.failure or response.message
        if response.outcome == SILENT:
            with self._lock:
                self.patience = max(self.patience / 2, self._least_patience)

    def persist(self, query: t.Callable[[], Response]) -> Response:
        """The result of a query, which is made again, with pauses, as long as it is lost.

        As soon as it is known what this server accepts, that is done alone, while other queries of this endpoint wait.
        Where it has helped, they are made one after the other from then on, as there is a limit on connections.
        """
        with self.turn():
            response = query()
        self.note(response)
        if response.outcome == SILENT and not self.failure:
            response = query()  # silence takes long: others need not wait for it
            self.note(response)
            if response.outcome == SILENT and self.control is not None:
                self._check_replies(response)
        if not response.lost or response.outcome == SILENT or self.failure:
            return response
        if self.control is None:
            if response.outcome == GARBAGE:
                return response  # no TLS server
            response = self._retry(query, response)
            if response.lost:
                self._give_up(response)
            if not response.lost or self.failure:
                return response
        with self.turn(alone=True):
            return self._confirm(query, response)

    def _give_up(self, response: Response) -> None:
        """Make no more queries, unless this server closes on what it refuses, and accepts nothing but old suites."""
        with self.turn(alone=True):
            for protocol in ("TLSv1.0", "SSLv3") if response.outcome == CLOSED else ():
                if self.control is None and not self.failure:
                    self.note(_offer_named(self, protocol, [suite.code for suite in data.old_suites(protocol)]))
            if self.control is None:
                self.failure = self.failure or response.message

    def _check_replies(self, response: Response) -> None:
        """A server that no longer accepts what it accepted before has stopped: nothing that it refused counts."""
        with self.turn(alone=True):
            if not self.replies():
                self.failure = self.failure or response.message

    def _retry(
        self, query: t.Callable[[], Response], response: Response, pauses: t.Sequence[float] = PAUSES
    ) -> Response:
        for pause in pauses:
            if self.failure or pause >= self.deadline.remaining:
                break
            time.sleep(pause)
            latest = query()
            self.note(latest)
            if not latest.lost:
                self._crowded = True
                return latest
            # That a suite was chosen is known, even if the rest of the flight is not.
            response = response if response.outcome == ACCEPTED else latest
        return response

    def _confirm(self, query: t.Callable[[], Response], response: Response) -> Response:
        """Is a loss steady: a hello that was accepted before still is, before and after the query is lost again?

        It is lost twice in a row in between, since a server may drop every second connection.
        """
        time.sleep(min(PAUSES[0], self.deadline.remaining))
        if self.replies():
            response = self._retry(query, response, (0, 0))
            if not response.lost:
                return response
            if self.replies():
                return response._replace(steady=True)
        response = self._retry(query, response)
        if response.lost:
            self._check_replies(response)
        return response

    def hangs_up(self, protocol: str) -> bool:
        """Whether the server's way to refuse suites is to close the connection: it closes on two that do not exist."""
        with self.turn(alone=True):
            if protocol not in self._hangs_up:
                responses = [_offer(self, protocol, _NO_SUITES, server_name=self.sni) for _time in range(2)]
                closed = all(response.outcome == CLOSED and response.message == HUNG_UP for response in responses)
                self._hangs_up[protocol] = closed and self.replies()
            return self._hangs_up[protocol]

    def replies(self) -> bool:
        """Whether a hello that was accepted before still is."""
        try:
            with self.connect() as (sock, deadline):
                stream = Stream(sock, deadline)
                stream.send(self.control or b"")
                first = next(iter(stream), None)
        except (Unreachable, wire.ParseError, OSError):
            return False
        return isinstance(first, wire.Message) and first.kind == wire.SERVER_HELLO

    @contextlib.contextmanager
    def turn(self, alone: bool = False) -> t.Iterator[None]:
        """Wait for a query that is made alone; make this one alone too where that has helped, or with C(alone)."""
        if not self._alone.acquire(timeout=self.deadline.remaining):
            yield  # without time, every query fails by itself
            return
        alone = alone or self._crowded
        if not alone:
            self._alone.release()
        try:
            yield
        finally:
            if alone:
                self._alone.release()

    @contextlib.contextmanager
    def connect(self, port: int | None = None) -> t.Iterator[tuple[socket.socket, Deadline]]:
        """A connection ready for TLS (after STARTTLS where that is set), and its own deadline.

        With C(port) it is a plain one to that port, whose failure means nothing for the endpoint.
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
        if own and self.failure:
            raise Unreachable(self.failure)
        with self._lock:
            self.connections += 1
        try:
            return self._connection(port, deadline)
        except OSError as error:
            message = "timed out" if isinstance(error, socket.timeout) else error.strerror or str(error)
            raise Unreachable(f"cannot connect: {message[:1].lower() + message[1:]}") from error

    def _connection(self, port: int, deadline: Deadline) -> socket.socket:
        """As socket.create_connection, which resolves the address each time."""
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


def _a_labels(name: str) -> tuple[str, str | None]:
    """A name as DNS has it, or what is wrong with it."""
    try:
        return to_ascii(name), None
    except ValueError as error:
        return "", f"the name {x509.printable(name)[:80]} cannot be: {error}"


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, name)
            return True
    return False


def resolve(host: str, port: int, timeout: float) -> list[str] | str:
    """Every address of a name, IPv4 and IPv6, in the resolver's order; a message if there is none, or none in time."""
    result: list[list[str] | str] = ["the name was not resolved in time"]
    name, fault = _a_labels(host)
    if fault:
        return fault

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            result[0] = "the name does not resolve: {}".format(getattr(error, "strerror", None) or error)
        else:
            result[0] = list(dict.fromkeys(str(entry[4][0]) for entry in found))

    # The system's resolver knows no deadline; a daemon thread may be left behind.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(timeout)
    return result[0]


def together(lanes: t.Iterable[t.Callable[[], t.Any]], peak: int = PEAK) -> None:
    """Run the lanes, so many at a time, in the order in which they are given; raises what one of them has raised.

    One thread is the caller's. The others end with the process, whatever they are doing: one that a server keeps busy
    is to hold up nothing.
    """
    waiting = collections.deque(lanes)
    raised: list[BaseException] = []

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                lane = waiting.popleft()
                try:
                    lane()
                except BaseException as error:
                    raised.append(error)

    others = [threading.Thread(target=work, daemon=True) for _lane in range(min(peak, len(waiting)) - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if raised:
        raise raised[0]


# STARTTLS: per protocol the lines to wait for, and what is sent then. A pattern matches from the beginning of a line;
# other lines are skipped.
DIALOGUES: dict[str, t.Sequence[tuple[str, bytes]]] = {
    "imap": ((r"\* (OK|PREAUTH)\b", b"a STARTTLS\r\n"), (r"a OK\b", b"")),
    "pop3": ((r"\+OK", b"STLS\r\n"), (r"\+OK", b"")),
    "smtp": ((r"220 ", b"EHLO probe.invalid\r\n"), (r"250 ", b"STARTTLS\r\n"), (r"220 ", b"")),
}
_REFUSALS = re.compile(r"(\* BYE|a (NO|BAD)\b|-ERR|[45]\d\d)")


class Lines:
    """What a mail server sends before TLS, line by line, within a deadline and L(MAX_RECEIVED)."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._total = 0
        self.rest = b""

    def send(self, payload: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(payload)

    def until(self, pattern: str) -> list[str]:
        """The lines up to the first one that begins like this. Raises L(wire.ParseError) if none comes, or another one
        that refuses."""
        found = []
        while True:
            line, newline, rest = self.rest.partition(b"\n")
            if not newline:
                self._receive()
                continue
            self.rest = rest
            found.append(line.decode("latin-1").rstrip("\r"))
            if re.match(pattern, found[-1], re.IGNORECASE):
                return found
            if _REFUSALS.match(found[-1]):
                raise wire.ParseError(x509.printable(found[-1].strip())[:120])

    def _receive(self) -> None:
        self._sock.settimeout(self._deadline.left())
        received = self._sock.recv(4096)
        self._total += len(received)
        if not received or self._total > MAX_RECEIVED:
            raise wire.ParseError("the connection ended before it")
        self.rest += received


def start_tls(sock: socket.socket, protocol: str, deadline: Deadline) -> None:
    """Start TLS with a mail server. Raises L(wire.ParseError) if it refuses."""
    lines = Lines(sock, deadline)
    for pattern, reply in DIALOGUES[protocol]:
        try:
            lines.until(pattern)
        except wire.ParseError as error:
            raise wire.ParseError(f"no STARTTLS: {error}") from None
        if reply:
            lines.send(reply)
    if lines.rest:
        raise wire.ParseError("plain text after the response to STARTTLS")


class Stream:
    """A socket within a deadline and L(MAX_ANSWER), and the events of the TLS records that come from it."""

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
        if self._total > MAX_RECEIVED:
            raise wire.ParseError("the response does not end")
        return received

    def __iter__(self) -> t.Iterator[wire.Alert | wire.Message | wire.Protected]:
        while True:
            received = self.receive()
            if not received:
                return
            yield from self._records.feed(received)


class Secured(Stream):
    """A connection that the local TLS library protects, with the handshake done.

    The library reads from memory what was read here, piece by piece: a server that keeps it busy with messages without
    end (KeyUpdate, NewSessionTicket, HelloRequest) meets the same limits as any other.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, context: ssl.SSLContext, name: str | None) -> None:
        super().__init__(sock, deadline)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._run(self.tls.do_handshake)

    def send(self, payload: bytes) -> None:
        self._run(lambda: self.tls.write(payload))

    def receive(self) -> bytes:
        try:
            return self._run(lambda: self.tls.read(16384))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _run(self, step: t.Callable[[], t.Any]) -> t.Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                received = super().receive()
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._flush()  # the alert that tells the server why
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        pending = self._outgoing.read()
        if pending:
            super().send(pending)


def _caught(function: t.Callable[..., Response]) -> t.Callable[..., Response]:
    """Turns what can go wrong on the way into a L(Response)."""

    def attempt(*args: t.Any, **options: t.Any) -> Response:
        try:
            return function(*args, **options)
        except (Unreachable, wire.ParseError, crypto.CryptoError, OSError) as error:
            return lost(error)

    return attempt


def _guarded(function: t.Callable[..., Response]) -> t.Callable[..., Response]:
    """Repeats queries whose result is lost."""
    attempt = _caught(function)

    def guarded(peer: Peer, *args: t.Any, **options: t.Any) -> Response:
        return peer.persist(lambda: _with_alpn(peer, lambda: attempt(peer, *args, **options)))

    return guarded


_NO_ALPN = "alert no_application_protocol"


def _with_alpn(peer: Peer, query: t.Callable[[], Response]) -> Response:
    """The result of a query that names the protocols of the web, or none where the server does not accept them."""
    response = query()
    if response.message == _NO_ALPN and peer.alpn:
        # It speaks something else (such as mail), and does so without ALPN as well.
        peer.alpn = ()
        response = query()
    return response


def lost(error: Exception) -> Response:
    """The result of a query that ended with this error."""
    if isinstance(error, Unreachable):
        return Response(UNREACHABLE, str(error))
    if isinstance(error, socket.timeout):
        return Response(SILENT, "no response in time")
    if isinstance(error, OSError):
        if error.errno in (errno.ECONNRESET, errno.EPIPE):
            return Response(CLOSED, HUNG_UP)
        return Response(CLOSED, "connection {}".format(errno.errorcode.get(error.errno or 0, "lost")))
    return Response(GARBAGE, str(error))


def _by_alert(level: int, description: int) -> Response:
    """What an alert instead of a ServerHello amounts to."""
    message = f"alert {data.ALERTS.get(description, description)}"
    if level != 2:
        return Response(CLOSED, "warning " + message)
    return Response(REFUSED if description in REFUSING else CLOSED, message)


def query_tls(
    peer: Peer, protocol: str, suites: t.Sequence[int], *, flight: bool = False, **options: t.Any
) -> Response:
    """Send one ClientHello of a protocol from SSLv3 up. With C(flight) read on to the certificates and parameters."""
    response = peer.persist(lambda: _offer_named(peer, protocol, suites, flight=flight, **options))
    return _understood(peer, protocol, response)


def _understood(peer: Peer, protocol: str, response: Response) -> Response:
    """The result; closing is a refusal by a server that closes on everything that it refuses."""
    if response.steady and response.message == HUNG_UP and peer.hangs_up(protocol):
        return response._replace(outcome=REFUSED)
    return response


# Two of those that clients offer so that servers stay used to unknown ones (RFC 8701).
_NO_SUITES = (0x0A0A, 0x1A1A)


def _offer_named(peer: Peer, protocol: str, suites: t.Sequence[int], **options: t.Any) -> Response:
    """One hello with the names that the server may insist on, and without those that it does not accept."""
    response = _with_alpn(peer, lambda: _offer(peer, protocol, suites, server_name=peer.sni, alpn=peer.alpn, **options))
    if response.lost and protocol == "SSLv3" and response.outcome != SILENT:
        # Most servers of that time skip extensions, some do not.
        bare = _offer(peer, protocol, suites, **options)
        response = response if bare.lost else bare
    return response


@_caught
def _offer(
    peer: Peer,
    protocol: str,
    suites: t.Sequence[int],
    *,
    flight: bool = False,
    unknown: t.Sequence[int] = (),
    **options: t.Any,
) -> Response:
    """One hello with these suites, after C(unknown) ones that no server has."""
    version = data.WIRE_VERSION[protocol]
    hello = wire.hello_record(version, wire.client_hello(version, [*unknown, *suites], **options))
    return _send(peer, hello, version, suites, flight)


def _send(peer: Peer, hello: bytes, version: int, suites: t.Sequence[int], flight: bool) -> Response:
    """The result of one hello, as it goes over the wire, that offers these suites for protocols up to C(version)."""
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(hello)
        response = _listen(stream, version, suites, flight)
    if response.outcome == ACCEPTED:
        peer.control = peer.control or hello
    return response


def query_hello(peer: Peer, hello: bytes, protocol: str, suites: t.Sequence[int]) -> Response:
    """Send this very hello, which offers protocols up to this one and, of those known here, these suites.

    Read on to the certificates and parameters.
    """
    send = _caught(_send)
    response = peer.persist(lambda: send(peer, hello, data.WIRE_VERSION[protocol], suites, True))
    return _understood(peer, protocol, response)


def _listen(stream: Stream, offered: int, suites: t.Sequence[int], flight: bool) -> Response:
    """The result of a hello for protocols up to C(offered)."""
    response: Response | None = None
    before = HUNG_UP
    try:
        for event in stream:
            if isinstance(event, wire.Alert):
                before = _by_alert(*event).message
                if event.fatal:
                    return response._replace(cut=True, message=before) if response else _by_alert(*event)
            elif isinstance(event, wire.Protected):
                break
            elif event.kind == wire.SERVER_HELLO:
                response = _greeting(event, offered, suites)
                if not flight or response.protocol == "TLSv1.3":
                    return response
            elif response is None:
                raise wire.ParseError(f"handshake message {event.kind} before ServerHello")
            elif event.kind == wire.CERTIFICATE:
                response = response._replace(chain=wire.read_certificates(event.body))
            elif event.kind == wire.CERTIFICATE_STATUS:
                response = response._replace(staple=wire.read_certificate_status(event.body))
            elif event.kind == wire.SERVER_KEY_EXCHANGE:
                exchange = wire.read_key_exchange(event.body, data.SUITES[response.suite].exchange)
                response = response._replace(exchange=exchange)
            elif event.kind == wire.SERVER_HELLO_DONE:
                return response
    except (wire.ParseError, OSError) as error:
        if response is None:
            raise
        before = lost(error).message
    # What was accepted is known, but not with which certificate and parameters.
    return response._replace(cut=True, message=before) if response else Response(CLOSED, before)


def _greeting(event: wire.Message, offered: int, suites: t.Sequence[int]) -> Response:
    seen = wire.read_server_hello(event.body)
    if seen.suite not in suites:
        raise wire.ParseError(f"the server chose suite {seen.suite:#06x}, which was not offered")
    if seen.version > offered:
        raise wire.ParseError(f"the server chose {data.PROTOCOL_OF[seen.version]}, which was not offered")
    return Response(ACCEPTED, protocol=data.PROTOCOL_OF[seen.version], hello=seen, alpn=seen.alpn)


@_guarded
def query_ssl2(peer: Peer) -> Response:
    """Send an SSL 2.0 CLIENT-HELLO; C(message) then names the suites that the server knows."""
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.ssl2_client_hello(list(data.SSL2_SUITES)))
        received = b""
        while True:
            more = stream.receive()
            received += more
            if received[:1] == b"\x15" and len(received) >= 7:
                return _by_alert(received[5], received[6])
            if not more:
                return Response(CLOSED, HUNG_UP)
            if received[:1] == b"\x15":
                continue
            hello = wire.read_ssl2_server_hello(received)
            if isinstance(hello, wire.Ssl2Error):
                return Response(REFUSED, "SSL 2.0 error")
            if hello:
                names = [data.SSL2_SUITES[suite][0] for suite in hello.suites if suite in data.SSL2_SUITES]
                return Response(ACCEPTED, " ".join(names), protocol="SSLv2", chain=[hello.certificate])


def query_tls13(
    peer: Peer,
    suites: t.Sequence[int],
    signatures: t.Sequence[int],
    groups: t.Sequence[int] = crypto.Share.GROUPS,
) -> Response:
    """Do a TLS 1.3 handshake up to the server's certificates."""
    return _understood(peer, "TLSv1.3", _handshake13(peer, suites, signatures, groups))


@_guarded
def _handshake13(peer: Peer, suites: t.Sequence[int], signatures: t.Sequence[int], groups: t.Sequence[int]) -> Response:
    shares = [crypto.Share(group) for group in groups]
    hello = wire.client_hello(
        0x0304,
        suites,
        server_name=peer.sni,
        groups=groups,
        signatures=signatures,
        alpn=peer.alpn,
        extras=True,
        key_shares=[(share.group, share.public) for share in shares],
    )
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.hello_record(0x0304, hello))
        response: Response | None = None
        reader: crypto.Reader13 | None = None
        messages = wire.MessageBuffer()
        before = HUNG_UP
        for event in stream:
            if isinstance(event, wire.Alert):
                before = _by_alert(*event).message
                if event.fatal:
                    return response._replace(cut=True, message=before) if response else _by_alert(*event)
            elif isinstance(event, wire.Message) and reader is None:
                seen = wire.read_server_hello(event.body) if event.kind == wire.SERVER_HELLO else None
                share = next((one for one in shares if seen and one.group == seen.group), None)
                if not seen or seen.key is None or share is None or seen.suite not in suites:
                    raise wire.ParseError("not a ServerHello for this hello")
                response = Response(ACCEPTED, protocol="TLSv1.3", hello=seen)
                reader = crypto.Reader13(crypto.CIPHERS13[seen.suite], share.agree(seen.key), hello + event.raw)
            elif isinstance(event, wire.Protected) and reader is not None and response is not None:
                content_type, plain = reader.open(event.header, event.payload)
                if content_type == wire.ALERT and len(plain) == 2:
                    return response._replace(cut=True, message=_by_alert(2, plain[1]).message)
                if content_type != wire.HANDSHAKE:
                    raise wire.ParseError(f"a record of type {content_type} before the certificates")
                for inner in messages.feed(plain):
                    if inner.kind == wire.ENCRYPTED_EXTENSIONS:
                        extensions = wire.read_extensions(wire.Reader(inner.body, "EncryptedExtensions"))
                        if wire.ALPN in extensions:
                            response = response._replace(alpn=wire.read_alpn(extensions[wire.ALPN]))
                    elif inner.kind == wire.CERTIFICATE:
                        chain, staple = wire.read_certificates13(inner.body)
                        return response._replace(chain=chain, staple=staple)
        return response._replace(cut=True, message=before) if response else Response(CLOSED, before)


class _Offer12(t.NamedTuple):
    """What the server has sent up to its ServerHelloDone, and the messages until then."""

    hello: wire.ServerHello
    exchange: wire.KeyExchange | None
    certificate_requested: bool
    transcript: bytes


@_guarded
def query_renegotiation(peer: Peer, suites: t.Sequence[int]) -> Response:
    """Do a TLS 1.2 handshake, then request another one inside it: accepted, refused or silent.

    The handshake is finished, so HTTP/2 is not offered in it: nothing here speaks it, and an Apache into which a reload
    has loaded mod_http2 loses the worker that begins an HTTP/2 session in TLS 1.2.
    """
    make_hello = functools.partial(
        wire.client_hello,
        0x0303,
        suites,
        server_name=peer.sni,
        alpn=tuple(name for name in peer.alpn if name != "h2"),
        groups=crypto.Share.GROUPS,
        signatures=data.ALL_SIGNATURES,
    )
    hello = make_hello(random=os.urandom(32))
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(wire.hello_record(0x0303, hello))
        events = iter(stream)
        offer = _read_offer12(events, hello, suites, http2_only="h2" in peer.alpn)
        if isinstance(offer, Response):
            return offer
        if offer.exchange is None or offer.exchange.group not in crypto.Share.GROUPS:
            return Response(UNTRIED, "no handshake")
        share = crypto.Share(offer.exchange.group)
        client = wire.message(wire.CERTIFICATE, wire.vector(3, b"")) if offer.certificate_requested else b""
        client += wire.message(wire.CLIENT_KEY_EXCHANGE, wire.vector(1, share.public))
        # The random follows the message's header and version.
        suite, secret = crypto.CIPHERS12[offer.hello.suite], share.agree(offer.exchange.key)
        keys = crypto.Writer12(suite, secret, hello[6:38], offer.hello.random)
        verify = keys.verify_data(offer.transcript + client)
        stream.send(
            wire.record(wire.HANDSHAKE, 0x0303, client)
            + wire.record(wire.CHANGE_CIPHER_SPEC, 0x0303, b"\x01")
            + keys.protect(wire.HANDSHAKE, wire.message(wire.FINISHED, verify))
        )
        finished = next((event for event in events if isinstance(event, wire.Protected)), None)
        if finished is None or finished.content_type != wire.HANDSHAKE:
            # Without the certificate that it requests it has no reason to go on.
            return Response(UNTRIED if offer.certificate_requested else CLOSED, "the handshake did not finish")
        stream.send(keys.protect(wire.HANDSHAKE, make_hello(renegotiation=verify)))
        return _second_handshake(events)


def _read_offer12(
    events: t.Iterator[wire.Alert | wire.Message | wire.Protected],
    hello: bytes,
    suites: t.Sequence[int],
    http2_only: bool,
) -> _Offer12 | Response:
    """The server's part up to its ServerHelloDone, or the result without one.

    http2_only: whether refusing C(hello) for its protocols means that, as they are offered without HTTP/2.
    """
    seen: wire.ServerHello | None = None
    exchange: wire.KeyExchange | None = None
    transcript, certificate_requested = hello, False
    for event in events:
        if isinstance(event, wire.Alert):
            response = _by_alert(*event)
            if response.message == _NO_ALPN and http2_only:
                return Response(UNTRIED, "it takes HTTP/2 only")
            return response if response.lost else Response(UNTRIED, response.message)
        if not isinstance(event, wire.Message):
            return Response(GARBAGE, "no handshake")
        transcript += event.raw
        if event.kind == wire.SERVER_HELLO:
            seen = wire.read_server_hello(event.body)
        elif event.kind == wire.SERVER_KEY_EXCHANGE and seen and seen.suite in suites:
            exchange = wire.read_key_exchange(event.body, data.SUITES[seen.suite].exchange)
        elif event.kind == wire.CERTIFICATE_REQUEST:
            certificate_requested = True
        elif event.kind == wire.SERVER_HELLO_DONE:
            break
    if seen is None:
        return Response(CLOSED, HUNG_UP)
    return _Offer12(seen, exchange, certificate_requested, transcript)


def _second_handshake(events: t.Iterator[wire.Alert | wire.Message | wire.Protected]) -> Response:
    """Whether the server begins another handshake inside the first one."""
    with contextlib.suppress(ConnectionError):
        for event in events:
            # A new handshake, or an alert; what else comes was on its way before, or is a HelloRequest.
            if not isinstance(event, wire.Protected):
                continue
            if event.content_type == wire.HANDSHAKE and len(event.payload) >= _PROTECTED_HELLO:
                return Response(ACCEPTED)
            if event.content_type == wire.ALERT:
                return Response(REFUSED)
    return Response(CLOSED, NO_RENEGOTIATION)


# What some servers do instead of sending an alert.
NO_RENEGOTIATION = "connection closed on renegotiation"
# A ServerHello without extensions, and the tag.
_PROTECTED_HELLO = 42 + 16
