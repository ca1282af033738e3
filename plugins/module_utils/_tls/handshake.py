# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Asks a TLS endpoint single questions: one connection, one ClientHello, one L(Answer).

What is offered is up to the caller and not to the OpenSSL of this machine, as the hellos are raw and the sockets plain.
A handshake is left after the ServerHello or the server's parameters, unless there is no other way: certificates of a
server that speaks TLS 1.3 alone, and renegotiation. No question raises: whatever the other side does ends as an answer
within the deadline.

Only what the protocol calls a refusal is one. A connection that was closed, reset or cut, an alert that reports a
fault, silence: each of them is a lost result, which L(Peer.persist) queries again, with pauses and alone.
"""

from __future__ import annotations

import contextlib
import errno
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
MAX_ANSWER = 256 * 1024

# Alerts that refuse an offer: handshake_failure, illegal_parameter, protocol_version, insufficient_security. All others
# report that something went wrong (RFC 5246, 7.2.2; RFC 8446, 6.2).
REFUSING = (40, 47, 70, 71)
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


# The words for a connection that was closed or reset.
HUNG_UP = "connection closed"


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

    @property
    def remaining(self) -> float:
        """Seconds left, 0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    def part(self, seconds: float) -> Deadline:
        """An earlier deadline within this one."""
        return Deadline(min(seconds, self._end - time.monotonic()))


class Answer(t.NamedTuple):
    """What became of one ClientHello.

    C(outcome) is accepted, refused (by an alert that refuses), closed (the connection ended otherwise), silent, garbage
    (no TLS), unreachable or untried (this code cannot); C(words) tell more. The rest is set when it was accepted,
    C(chain), C(exchange) and C(staple) only if the flight was read, and C(cut) if that ended too early. C(steady) is
    set where the result was lost each time, while a hello that was accepted before was accepted in between; refused and
    steady is what a server closed on that closes on everything that it refuses.
    """

    outcome: str
    words: str = ""
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
        """Whether it says nothing about the offer, or not all that it should."""
        return self.cut or self.outcome not in (ACCEPTED, REFUSED, UNTRIED)

    @property
    def suite(self) -> int:
        assert self.hello is not None
        return self.hello.suite


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Endpoint(t.TypedDict):  # novm
        """What is to be asked: an element of C(tls_grade_info)'s option C(endpoints), or one of its addresses.

        address: the one to connect to; until it is chosen, addresses may name some, else host is resolved.
        server_name: the name to ask for, host if there is none. starttls: C(none), C(imap), C(pop3) or C(smtp).
        server_groups: the names of groups that the server's OpenSSL has, where the caller knows.
        """

        host: str
        port: int
        address: t.NotRequired[str]
        addresses: t.NotRequired[list[str]]
        server_name: t.NotRequired[str | None]
        starttls: t.NotRequired[str]
        server_groups: t.NotRequired[list[str]]

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
        # A server that says nothing must leave time for the questions after.
        self.patience = timeout / 2
        self._least_patience = timeout / 10
        self.connections = 0
        self.failure: str | None = None
        self.spoken = False
        # A hello that was accepted: what tells a server that refuses by closing from one that answers no more.
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

    def note(self, answer: Answer) -> None:
        """Learn from an answer whether there is a server, and how patient to be with it."""
        if answer.outcome in (ACCEPTED, REFUSED, CLOSED):
            self.spoken = True
        elif answer.outcome in (SILENT, UNREACHABLE) and not self.spoken:
            self.failure = self.failure or answer.words
        if answer.outcome == SILENT:
            with self._lock:
                self.patience = max(self.patience / 2, self._least_patience)

    def persist(self, query: t.Callable[[], Answer]) -> Answer:
        """The result of a query, which is made again, with pauses, as long as it is lost.

        As soon as it is known what this server accepts, that is done alone, while other queries of this endpoint wait.
        Where it has helped, they are made one after the other from then on, as there is a limit on connections.
        """
        with self.turn():
            answer = query()
        self.note(answer)
        if answer.outcome == SILENT and not self.failure:
            answer = query()  # silence takes long: others need not wait for it
            self.note(answer)
            if answer.outcome == SILENT and self.control is not None:
                self._check_replies(answer)
        if not answer.lost or answer.outcome == SILENT or self.failure:
            return answer
        if self.control is None:
            if answer.outcome == GARBAGE:
                return answer  # no TLS server
            answer = self._retry(query, answer)
            if answer.lost and self.control is None:
                self.failure = self.failure or answer.words
            if not answer.lost or self.failure:
                return answer
        with self.turn(alone=True):
            return self._confirm(query, answer)

    def _check_replies(self, answer: Answer) -> None:
        """A server that no longer accepts what it accepted before has stopped: nothing that it refused counts."""
        with self.turn(alone=True):
            if not self.replies():
                self.failure = self.failure or answer.words

    def _retry(self, query: t.Callable[[], Answer], answer: Answer, pauses: t.Sequence[float] = PAUSES) -> Answer:
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
            answer = answer if answer.outcome == ACCEPTED else latest
        return answer

    def _confirm(self, query: t.Callable[[], Answer], answer: Answer) -> Answer:
        """Is a loss steady: a hello that was accepted before still is, before and after the query is lost again?

        It is lost twice in a row in between, since a server may drop every second connection.
        """
        time.sleep(min(PAUSES[0], self.deadline.remaining))
        if self.replies():
            answer = self._retry(query, answer, (0, 0))
            if not answer.lost:
                return answer
            if self.replies():
                return answer._replace(steady=True)
        answer = self._retry(query, answer)
        if answer.lost:
            self._check_replies(answer)
        return answer

    def hangs_up(self, protocol: str) -> bool:
        """Whether the server's way to refuse suites is to close the connection: it closes on two that do not exist."""
        with self.turn(alone=True):
            if protocol not in self._hangs_up:
                answers = [_offer(self, protocol, _NO_SUITES, server_name=self.sni) for _time in range(2)]
                closed = all(answer.outcome == CLOSED and answer.words == HUNG_UP for answer in answers)
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
        """Wait for a query that is made alone; make this one alone too where that has helped, or C(alone) says so."""
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
        if own and self.failure:
            raise Unreachable(self.failure)
        with self._lock:
            self.connections += 1
        try:
            return self._connection(port, deadline)
        except OSError as error:
            words = "timed out" if isinstance(error, socket.timeout) else error.strerror or str(error)
            raise Unreachable(f"cannot connect: {words[:1].lower() + words[1:]}") from error

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
    """Every address of a name, IPv4 and IPv6, in the resolver's order; words if there is none, or none in time."""
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
        if self._total > MAX_ANSWER:
            raise wire.ParseError("the answer does not end")
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
        if self._outgoing.pending:
            super().send(self._outgoing.read())


def _caught(function: t.Callable[..., Answer]) -> t.Callable[..., Answer]:
    """Turns what can go wrong on the way into an L(Answer)."""

    def attempt(*args: t.Any, **options: t.Any) -> Answer:
        try:
            return function(*args, **options)
        except (Unreachable, wire.ParseError, crypto.CryptoError, OSError) as error:
            return lost(error)

    return attempt


def _guarded(function: t.Callable[..., Answer]) -> t.Callable[..., Answer]:
    """Has lost results queried again."""
    attempt = _caught(function)

    def guarded(peer: Peer, *args: t.Any, **options: t.Any) -> Answer:
        return peer.persist(lambda: _with_alpn(peer, lambda: attempt(peer, *args, **options)))

    return guarded


_NO_ALPN = "alert no_application_protocol"


def _with_alpn(peer: Peer, query: t.Callable[[], Answer]) -> Answer:
    """The result of a query that names the protocols of the web, or none where the server does not bear them."""
    answer = query()
    if answer.words == _NO_ALPN and peer.alpn:
        # It speaks something else (mail, say), and does so without ALPN as well.
        peer.alpn = ()
        answer = query()
    return answer


def lost(error: Exception) -> Answer:
    """The result of a query that ended with this error."""
    if isinstance(error, Unreachable):
        return Answer(UNREACHABLE, str(error))
    if isinstance(error, socket.timeout):
        return Answer(SILENT, "no answer in time")
    if isinstance(error, OSError):
        if error.errno in (errno.ECONNRESET, errno.EPIPE):
            return Answer(CLOSED, HUNG_UP)
        return Answer(CLOSED, "connection {}".format(errno.errorcode.get(error.errno or 0, "lost")))
    return Answer(GARBAGE, str(error))


def _by_alert(level: int, description: int) -> Answer:
    """What an alert instead of a ServerHello amounts to."""
    words = f"alert {data.ALERTS.get(description, description)}"
    if level != 2:
        return Answer(CLOSED, "warning " + words)
    return Answer(REFUSED if description in REFUSING else CLOSED, words)


def ask(peer: Peer, protocol: str, suites: t.Sequence[int], *, flight: bool = False, **options: t.Any) -> Answer:
    """Send one ClientHello of a protocol from SSLv3 up. With C(flight) read on to the certificates and parameters."""
    answer = peer.persist(lambda: _offer_named(peer, protocol, suites, flight=flight, **options))
    return _understood(peer, protocol, answer)


def _understood(peer: Peer, protocol: str, answer: Answer) -> Answer:
    """The result; closing is a refusal by a server that closes on everything that it refuses."""
    if answer.steady and answer.words == HUNG_UP and peer.hangs_up(protocol):
        return answer._replace(outcome=REFUSED)
    return answer


# Two of those that clients offer so that servers stay used to unknown ones (RFC 8701).
_NO_SUITES = (0x0A0A, 0x1A1A)


def _offer_named(peer: Peer, protocol: str, suites: t.Sequence[int], **options: t.Any) -> Answer:
    """One hello with the names that the server may insist on, and without those that it does not bear."""
    answer = _with_alpn(peer, lambda: _offer(peer, protocol, suites, server_name=peer.sni, alpn=peer.alpn, **options))
    if answer.lost and protocol == "SSLv3" and answer.outcome != SILENT:
        # Most servers of that time skip extensions, some do not.
        bare = _offer(peer, protocol, suites, **options)
        answer = answer if bare.lost else bare
    return answer


@_caught
def _offer(
    peer: Peer,
    protocol: str,
    suites: t.Sequence[int],
    *,
    flight: bool = False,
    unknown: t.Sequence[int] = (),
    **options: t.Any,
) -> Answer:
    """One hello with these suites, after C(unknown) ones that no server has."""
    version = data.WIRE_VERSION[protocol]
    hello = wire.hello_record(version, wire.client_hello(version, [*unknown, *suites], **options))
    with peer.connect() as (sock, deadline):
        stream = Stream(sock, deadline)
        stream.send(hello)
        answer = _listen(stream, version, suites, flight)
    if answer.outcome == ACCEPTED:
        peer.control = peer.control or hello
    return answer


def _listen(stream: Stream, offered: int, suites: t.Sequence[int], flight: bool) -> Answer:
    """The result of a hello for protocols up to C(offered)."""
    answer: Answer | None = None
    before = HUNG_UP
    try:
        for event in stream:
            if isinstance(event, wire.Alert):
                before = _by_alert(*event).words
                if event.fatal:
                    return answer._replace(cut=True, words=before) if answer else _by_alert(*event)
            elif isinstance(event, wire.Protected):
                break
            elif event.kind == wire.SERVER_HELLO:
                answer = _greeting(event, offered, suites)
                if not flight or answer.protocol == "TLSv1.3":
                    return answer
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
                return answer
    except (wire.ParseError, OSError) as error:
        if answer is None:
            raise
        before = lost(error).words
    # What was accepted is known, but not with which certificate and parameters.
    return answer._replace(cut=True, words=before) if answer else Answer(CLOSED, before)


def _greeting(event: wire.Message, offered: int, suites: t.Sequence[int]) -> Answer:
    seen = wire.read_server_hello(event.body)
    if seen.suite not in suites:
        raise wire.ParseError(f"the server chose suite {seen.suite:#06x}, which was not offered")
    if seen.version > offered:
        raise wire.ParseError(f"the server chose {data.PROTOCOL_OF[seen.version]}, which was not offered")
    return Answer(ACCEPTED, protocol=data.PROTOCOL_OF[seen.version], hello=seen, alpn=seen.alpn)


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
            if received[:1] == b"\x15" and len(received) >= 7:
                return _by_alert(received[5], received[6])
            if not more:
                return Answer(CLOSED, HUNG_UP)
            if received[:1] == b"\x15":
                continue
            hello = wire.read_ssl2_server_hello(received)
            if isinstance(hello, wire.Ssl2Error):
                return Answer(REFUSED, "SSL 2.0 error")
            if hello:
                names = [data.SSL2_SUITES[suite][0] for suite in hello.suites if suite in data.SSL2_SUITES]
                return Answer(ACCEPTED, " ".join(names), protocol="SSLv2", chain=[hello.certificate])


def ask_tls13(
    peer: Peer,
    suites: t.Sequence[int],
    signatures: t.Sequence[int],
    groups: t.Sequence[int] = crypto.Share.GROUPS,
) -> Answer:
    """Do a TLS 1.3 handshake up to the server's certificates."""
    return _understood(peer, "TLSv1.3", _handshake13(peer, suites, signatures, groups))


@_guarded
def _handshake13(peer: Peer, suites: t.Sequence[int], signatures: t.Sequence[int], groups: t.Sequence[int]) -> Answer:
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
        answer: Answer | None = None
        reader: crypto.Reader13 | None = None
        messages = wire.MessageBuffer()
        before = HUNG_UP
        for event in stream:
            if isinstance(event, wire.Alert):
                before = _by_alert(*event).words
                if event.fatal:
                    return answer._replace(cut=True, words=before) if answer else _by_alert(*event)
            elif isinstance(event, wire.Message) and reader is None:
                seen = wire.read_server_hello(event.body) if event.kind == wire.SERVER_HELLO else None
                share = next((one for one in shares if seen and one.group == seen.group), None)
                if not seen or seen.key is None or share is None or seen.suite not in suites:
                    raise wire.ParseError("not the ServerHello that was asked for")
                answer = Answer(ACCEPTED, protocol="TLSv1.3", hello=seen)
                reader = crypto.Reader13(crypto.CIPHERS13[seen.suite], share.agree(seen.key), hello + event.raw)
            elif isinstance(event, wire.Protected) and reader is not None and answer is not None:
                content_type, plain = reader.open(event.header, event.payload)
                if content_type == wire.ALERT and len(plain) == 2:
                    return answer._replace(cut=True, words=_by_alert(2, plain[1]).words)
                if content_type != wire.HANDSHAKE:
                    raise wire.ParseError(f"a record of type {content_type} before the certificates")
                for inner in messages.feed(plain):
                    if inner.kind == wire.ENCRYPTED_EXTENSIONS:
                        extensions = wire.read_extensions(wire.Reader(inner.body, "EncryptedExtensions"))
                        if wire.ALPN in extensions:
                            answer = answer._replace(alpn=wire.read_alpn(extensions[wire.ALPN]))
                    elif inner.kind == wire.CERTIFICATE:
                        chain, staple = wire.read_certificates13(inner.body)
                        return answer._replace(chain=chain, staple=staple)
        return answer._replace(cut=True, words=before) if answer else Answer(CLOSED, before)


@_guarded
def ask_renegotiation(peer: Peer, suites: t.Sequence[int]) -> Answer:
    """Do a TLS 1.2 handshake, then ask for another one inside it: accepted, refused or silent.

    The handshake is finished, so HTTP/2 is not offered in it: nothing here speaks it, and an Apache into which a reload
    has loaded mod_http2 loses the worker that begins an HTTP/2 session in TLS 1.2.
    """
    protocols = tuple(name for name in peer.alpn if name != "h2")
    hello = wire.client_hello(
        0x0303,
        suites,
        server_name=peer.sni,
        alpn=protocols,
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
            if isinstance(event, wire.Alert):
                answer = _by_alert(*event)
                if answer.words == _NO_ALPN and protocols != peer.alpn:
                    return Answer(UNTRIED, "it takes HTTP/2 only")
                return answer if answer.lost else Answer(UNTRIED, answer.words)
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
        if seen is None:
            return Answer(CLOSED, HUNG_UP)
        if exchange is None or exchange.group not in crypto.Share.GROUPS:
            return Answer(UNTRIED, "no handshake")
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
            # Without the certificate that it wants of us it has no reason to go on.
            return Answer(UNTRIED if asked else CLOSED, "the handshake did not finish")
        again = wire.client_hello(
            0x0303,
            suites,
            server_name=peer.sni,
            alpn=protocols,
            groups=crypto.Share.GROUPS,
            signatures=data.ALL_SIGNATURES,
            renegotiation=verify,
        )
        stream.send(keys.protect(wire.HANDSHAKE, again))
        with contextlib.suppress(ConnectionError):
            for event in events:
                # A new handshake, or an alert; what else comes was on its way before, or is a HelloRequest.
                if not isinstance(event, wire.Protected):
                    continue
                if event.content_type == wire.HANDSHAKE and len(event.payload) >= _PROTECTED_HELLO:
                    return Answer(ACCEPTED)
                if event.content_type == wire.ALERT:
                    return Answer(REFUSED)
        return Answer(CLOSED, NO_RENEGOTIATION)


# What some servers do instead of sending an alert.
NO_RENEGOTIATION = "connection closed on renegotiation"
# A ServerHello without extensions, and the tag.
_PROTECTED_HELLO = 42 + 16
