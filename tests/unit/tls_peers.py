# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small servers in threads, on loopback: mail dialogues before TLS, proxies that delay or damage, and hostile ones."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time


@contextlib.contextmanager
def serving(handle, address="127.0.0.1"):
    """A port where each connection is handed to C(handle) in a thread of its own; gives the port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, 0))
    listener.listen(256)
    over = threading.Event()

    def one(sock):
        with contextlib.suppress(OSError), sock:
            handle(sock, over)

    def accept():
        while not over.is_set():
            try:
                sock, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def relay(sock, port, change=None, first=b""):
    """Pass bytes to and from a port until one side closes; C(change) may do something with what the server sends.

    C(first) has been read from the client before.
    """
    with socket.create_connection(("127.0.0.1", port)) as upstream:
        upstream.sendall(first)

        def back():
            with contextlib.suppress(OSError):
                while True:
                    received = upstream.recv(65536)
                    if not received:
                        break
                    for part in change(received) if change else [received]:
                        sock.sendall(part)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        with contextlib.suppress(OSError):
            while True:
                received = sock.recv(65536)
                if not received:
                    break
                upstream.sendall(received)
            upstream.shutdown(socket.SHUT_WR)
        thread.join(10)


GREETINGS = {
    "imap": [(b"* OK [CAPABILITY STARTTLS] ready\r\n", b"a STARTTLS"), (b"* STATUS (x)\r\na OK go on\r\n", None)],
    "pop3": [(b"+OK ready\r\n", b"STLS"), (b"+OK go on\r\n", None)],
    "smtp": [
        (b"220-many\r\n220 words\r\n", b"EHLO"),
        (b"250-bed.test\r\n250-SIZE\r\n250 STARTTLS\r\n", b"STARTTLS"),
        (b"220 go on\r\n", None),
    ],
}


def starttls(protocol, port):
    """A mail server's dialogue in front of a TLS port."""

    def handle(sock, _over):
        for words, wanted in GREETINGS[protocol]:
            sock.sendall(words)
            if wanted is not None:
                received = b""
                while not received.endswith(b"\n"):
                    more = sock.recv(1024)
                    if not more:
                        return
                    received += more
                if not received.startswith(wanted):
                    return  # it is asked for something else, without TLS
        relay(sock, port)

    return serving(handle)


# For each protocol the greeting, the command for STARTTLS with the response to it, and the one for capabilities.
MAIL = {
    "imap": (b"* OK ready\r\n", b"a STARTTLS", b"a OK go on\r\n", b"a CAPABILITY"),
    "pop3": (b"+OK ready\r\n", b"STLS", b"+OK go on\r\n", b"CAPA"),
    "smtp": (b"220 ready\r\n", b"STARTTLS", b"220 go on\r\n", b"EHLO probe.invalid"),
}


def mail(protocol, port, capabilities, received, address="127.0.0.2"):
    """A mail server in front of a TLS port, on an address that is not the client's: what it responds with when it is
    asked for its capabilities, and a list of what clients send before TLS."""
    greeting, starts, started, asks = MAIL[protocol]

    def handle(sock, _over):
        sock.sendall(greeting)
        buffer = b""
        while True:
            line, newline, rest = buffer.partition(b"\r\n")
            if not newline:
                more = sock.recv(1024)
                if not more:
                    return
                buffer += more
                continue
            buffer = rest
            received.append(line)
            if line == asks:
                sock.sendall(capabilities)
            elif line == starts:
                sock.sendall(started)
                relay(sock, port)
                return
            else:
                return  # the end of the session, or nothing that is to be sent

    return serving(handle, address)


def flipping(port, seed, rate=0.02):
    """A proxy that changes some of the bytes that the server sends, and cuts some answers off."""
    source = random.Random(seed)

    def change(received):
        damaged = bytearray(received)
        for at in range(len(damaged)):
            if source.random() < rate:
                damaged[at] = source.randrange(256)
        if source.random() < 0.1:
            damaged = damaged[: source.randrange(len(damaged))]
        return [bytes(damaged)]

    return serving(lambda sock, _over: relay(sock, port, change))


class Offer:
    """What a ClientHello offers: version (2 for SSL 2.0), suites, extensions by number."""

    def __init__(self, raw):
        self.raw = raw
        self.version, self.suites, self.extensions = 2, [], {}
        if raw[:1] != b"\x16":
            return
        body = raw[9:]
        self.version = int.from_bytes(body[:2], "big")
        self._suites_at = 35 + body[34]
        size = int.from_bytes(body[self._suites_at : self._suites_at + 2], "big")
        suites = body[self._suites_at + 2 : self._suites_at + 2 + size]
        self.suites = [int.from_bytes(suites[at : at + 2], "big") for at in range(0, size, 2)]
        rest = body[self._suites_at + 2 + size :]
        rest = rest[1 + rest[0] + 2 :]
        while rest:
            kind, length = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
            self.extensions[kind] = rest[4 : 4 + length]
            rest = rest[4 + length :]
        if b"\x03\x04" in self.extensions.get(43, b""):
            self.version = 0x0304

    def with_suites(self, most):
        """The record with the first suites only."""
        body = self.raw[9:]
        at, size = self._suites_at, 2 * len(self.suites)
        kept = body[at + 2 : at + 2 + 2 * most]
        body = body[:at] + len(kept).to_bytes(2, "big") + kept + body[at + 2 + size :]
        message = b"\x01" + len(body).to_bytes(3, "big") + body
        return self.raw[:3] + len(message).to_bytes(2, "big") + message


def read_offer(sock):
    raw = sock.recv(5)
    while len(raw) < 5:
        more = sock.recv(5 - len(raw))
        if not more:
            return None
        raw += more
    left = int.from_bytes(raw[3:5], "big") if raw[0] == 0x16 else (int.from_bytes(raw[:2], "big") & 0x7FFF) - 3
    while left > 0:
        more = sock.recv(left)
        if not more:
            return None
        raw, left = raw + more, left - len(more)
    return Offer(raw)


def alert(description, level=2):
    return b"\x15\x03\x01\x00\x02" + bytes([level, description])


def gated(port, verdict):
    """A proxy that reads the first hello and asks C(verdict) about it: None lets it pass, an L(Offer) passes in its
    place, bytes are sent instead of the server's answer, and functions take the connection over."""

    def handle(sock, over):
        offer = read_offer(sock)
        if offer is None:
            return
        instead = verdict(offer)
        if callable(instead):
            instead(sock, over, offer)
        elif isinstance(instead, bytes):
            sock.sendall(instead)
        else:
            relay(sock, port, first=offer.raw)

    return serving(handle)


def closing(_sock, _over, _offer):
    pass


def resetting(sock, _over, _offer):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def hanging(_sock, over, _offer):
    over.wait(600)


def _dripping(sock, over):
    """A byte a second, of what could become a handshake."""
    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(200):
        if over.wait(1):
            return
        sock.sendall(bytes([byte]))


def _endless(sock, over):
    """Records without end, none of which is a handshake message."""
    while not over.is_set():
        sock.sendall(b"\x18\x03\x03\x40\x00" + bytes(0x4000))


def _hoarding(sock, over):
    """Handshake fragments that never become a message."""
    sock.sendall(b"\x16\x03\x03\x00\x04\x0b\xff\xff\xff")
    while not over.is_set():
        sock.sendall(b"\x16\x03\x03\x40\x00" + bytes(0x4000))


def _hanging(_sock, over):
    over.wait(600)


def _saying(words, hang=False):
    def handle(sock, over):
        sock.recv(4096)
        sock.sendall(words)
        if hang:
            over.wait(600)

    return handle


def _resetting(sock, _over):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.recv(1)


_HELLO = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\xc0\x2f\x00"


def _record(body):
    return b"\x16\x03\x03" + len(body).to_bytes(2, "big") + body


_GARBAGE = bytes(random.Random(1).randrange(256) for _byte in range(4096))

# What servers do that mean no good, or are none.
HOSTILE = {
    "hangs": _hanging,
    "closes at once": lambda sock, _over: None,
    "resets": _resetting,
    "plain HTTP": _saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "HTML": _saying(b"<html><script>alert(1)</script>"),
    "SSH": lambda sock, over: (sock.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"), over.wait(600)),
    "garbage": lambda sock, _over: sock.sendall(_GARBAGE),
    "zeros": lambda sock, _over: sock.sendall(bytes(100000)),
    "drips": _dripping,
    "endless records": _endless,
    "endless message": _hoarding,
    "oversized record": _saying(b"\x16\x03\x03\xff\xff" + bytes(65535)),
    "half a record": _saying(b"\x16\x03\x03\x10\x00" + bytes(16)),
    "half a record, then nothing": _saying(b"\x16\x03\x03\x10\x00" + bytes(16), hang=True),
    "closes in mid-handshake": _saying(_record(_HELLO)),
    "a suite that was not offered": _saying(_record(_HELLO.replace(b"\xc0\x2f", b"\xfe\xfe"))),
    "a protocol of the future": _saying(_record(_HELLO.replace(b"\x26\x03\x03", b"\x26\x03\x09"))),
    "a certificate that is none": _saying(
        _record(_HELLO + b"\x0b\x00\x00\x0a\x00\x00\x07\x00\x00\x04\x30\x03\x02\x01")
    ),
    "markup instead of a certificate": _saying(
        _record(_HELLO + b"\x0b\x00\x00\x1f\x00\x00\x1c\x00\x00\x19<script>alert(1)</script>")
    ),
    "an empty certificate list": _saying(_record(_HELLO + b"\x0b\x00\x00\x03\x00\x00\x00")),
    "only warnings": _saying(b"\x15\x03\x03\x00\x02\x01\x70" * 1000, hang=True),
    "a fatal alert": _saying(b"\x15\x03\x03\x00\x02\x02\x28"),
}


def delaying(port, seconds):
    """A proxy with C(seconds) of delay each way; a connection costs the round trip that its handshake would take."""

    def handle(sock, over):
        # The kernel has answered the connection already; let the first byte pay for that round trip.
        time.sleep(2 * seconds)
        with socket.create_connection(("127.0.0.1", port)) as upstream:

            def pump(source, sink):
                queue = []
                ready = threading.Condition()

                def late():
                    while True:
                        with ready:
                            while not queue:
                                ready.wait()
                            due, chunk = queue.pop(0)
                        pause = due - time.monotonic()
                        if pause > 0:
                            time.sleep(pause)
                        with contextlib.suppress(OSError):
                            if not chunk:
                                sink.shutdown(socket.SHUT_WR)
                                return
                            sink.sendall(chunk)

                sender = threading.Thread(target=late, daemon=True)
                sender.start()
                while True:
                    try:
                        chunk = source.recv(65536)
                    except OSError:
                        chunk = b""
                    with ready:
                        queue.append((time.monotonic() + seconds, chunk))
                        ready.notify()
                    if not chunk:
                        break
                sender.join(5)

            back = threading.Thread(target=pump, args=(upstream, sock), daemon=True)
            back.start()
            pump(sock, upstream)
            back.join(10)

    return serving(handle)


def peek(sock):
    """The first bytes that a client sends, left where they are: its ClientHello."""
    received = b""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        received = sock.recv(65536, socket.MSG_PEEK)
        if not received or (len(received) > 5 and len(received) >= 5 + int.from_bytes(received[3:5], "big")):
            break
        time.sleep(0.001)
    return received
