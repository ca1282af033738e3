# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client that never stops asking over HTTPS, each time on a new connection.

client.py ADDRESS NAME LOG [SECONDS [REQUESTS_A_SECOND [AT_A_TIME [POLLS [POLL_SECONDS]]]]]

Each request becomes one line of LOG: when it began (seconds since the epoch), how long it took (milliseconds), and what
was wrong with the answer, if anything. Every second request has no server name, and half of them ask for a page of PHP.
Every fifth is a client that knows TLS 1.2 at most and prefers HTTP/2; it begins a session where it gets that.
It ends by itself after SECONDS, or with a line on standard input or its end. No more than AT_A_TIME requests are under
way, so on a busy machine there are fewer: each of them is a thread, and hundreds would keep all others from running.

Besides, it holds POLLS long requests all the time, as phones do with ActiveSync's Ping: the server responds to each
after POLL_SECONDS, and the next one follows on a new connection. Their log is LOG.polls, with the same lines.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

TIMEOUT = 10.0
PATHS = ("/", "/webapp/")  # a file and a page of PHP
POLL = "/Microsoft-Server-ActiveSync?Cmd=Ping&wait={}"
POLL_PATIENCE = 30.0  # seconds more than a poll is to last, on a busy machine
DONE = b"HTTP/1.1 "
# RFC 9113: what a client sends first (3.4, with empty SETTINGS), and what the server sends first (6.5).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
FRAME_HEADER, SETTINGS = 9, 4


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def http2_context() -> ssl.SSLContext:
    made = context()
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


def ask(address: str, name: str | None, path: str, tls: ssl.SSLContext) -> str:
    """What is wrong with the answer; an empty text if nothing is."""
    request = f"GET {path} HTTP/1.1\r\nHost: {name or address}\r\nConnection: close\r\n\r\n".encode()
    try:
        with (
            socket.create_connection((address, 443), TIMEOUT) as connection,
            tls.wrap_socket(connection, server_hostname=name) as secure,
        ):
            if secure.selected_alpn_protocol() == "h2":
                secure.sendall(PREFACE)
                frame = secure.recv(FRAME_HEADER)
                return "" if frame[3:4] == bytes([SETTINGS]) else f"frame {frame!r}"
            secure.sendall(request)
            answer = b"".join(iter(lambda: secure.recv(1 << 16), b""))
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ")[1:2]
    if not head.startswith(DONE) or not status or int(status[0]) >= 500:
        return f"answer {head[:60]!r}"
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return f"{len(body)} bytes of {int(lengths[0])}" if lengths and int(lengths[0]) != len(body) else ""


def poll(address: str, name: str, seconds: int, tls: ssl.SSLContext) -> str:
    """Hold one long request; what is wrong with the response, or an empty text."""
    request = (
        f"POST {POLL.format(seconds)} HTTP/1.1\r\nHost: {name}\r\nAuthorization: Basic dXNlcjp3b3Jk\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    try:
        with (
            socket.create_connection((address, 443), TIMEOUT) as connection,
            tls.wrap_socket(connection, server_hostname=name) as secure,
        ):
            secure.settimeout(seconds + POLL_PATIENCE)
            secure.sendall(request.encode())
            answer = b"".join(iter(lambda: secure.recv(1 << 16), b""))
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "" if f"waited {seconds}\n".encode() in answer else f"answer {answer[:60]!r}"


def keep_polling(address: str, name: str, seconds: int, pause: float, lines: TextIO, stop: threading.Event) -> None:
    """After a pause, one long request after the other. What is under way at the end is no matter of the log."""
    tls = context()
    stop.wait(pause)
    while not stop.is_set():
        started, clock = time.time(), time.monotonic()
        wrong = poll(address, name, seconds, tls)
        if not stop.is_set():
            lines.write(f"{started:.3f} {(time.monotonic() - clock) * 1000:.0f} {wrong}\n")
            stop.wait(1.0 if wrong else 0.0)  # a server that is down gets no queries without a pause


def main(
    address: str,
    name: str,
    log: str,
    seconds: str = "1200",
    rate: str = "20",
    at_a_time: str = "200",
    polls: str = "0",
    poll_seconds: str = "20",
) -> None:
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    tls, http2 = context(), http2_context()
    due = time.monotonic()
    end = due + float(seconds)
    free = threading.Semaphore(int(at_a_time))

    with (
        open(log, "w", buffering=1) as lines,
        open(f"{log}.polls", "w", buffering=1) as held,
        ThreadPoolExecutor(int(at_a_time)) as pool,
    ):
        for number in range(int(polls)):
            # One after the other: a server starts its processes for them by and by, and others have to wait meanwhile.
            pause = number * float(poll_seconds) / int(polls)
            arguments = (address, name, int(poll_seconds), pause, held, stop)
            # Daemons: the end does not wait for the last of them.
            threading.Thread(target=keep_polling, args=arguments, daemon=True).start()

        def one(number: int) -> None:
            started, clock = time.time(), time.monotonic()
            shown = name if number % 2 else None
            try:
                wrong = ask(address, shown, PATHS[number // 2 % len(PATHS)], tls if number % 5 else http2)
            finally:
                free.release()
            lines.write(f"{started:.3f} {(time.monotonic() - clock) * 1000:.0f} {wrong}\n")

        for number in itertools.count():
            if not free.acquire(blocking=False):
                free.acquire()
                due = max(due, time.monotonic())
            if due > end or stop.wait(max(0.0, due - time.monotonic())):
                break
            pool.submit(one, number)
            due += 1 / float(rate)
        stop.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
