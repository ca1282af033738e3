# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers on the loopback that send something again and again, so that no single wait for them is long."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import typing as t

PAUSE = 0.05  # seconds between two pieces of what a slow server sends
# Seconds that a busy machine may add to what has to end in time. What would not end in time takes longer than that.
SLACK = 60.0
# Seconds after which what is waited for does not come any more. They end a test that hangs, and are not about speed.
HANGS = 120.0


@contextlib.contextmanager
def answering(handler: type[socketserver.BaseRequestHandler]) -> t.Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class Slow(socketserver.StreamRequestHandler):
    """Sends something again and again, so that no single wait is long. What it sends first is in C(first), what comes
    then, without an end, in C(then)."""

    first: t.ClassVar[bytes]
    then: t.ClassVar[bytes]
    pause: t.ClassVar[float] = PAUSE
    done: t.ClassVar[threading.Event]

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(self.first)
            while not self.done.wait(self.pause):
                self.wfile.write(self.then)


@contextlib.contextmanager
def slow(first: bytes, then: bytes, pause: float = PAUSE) -> t.Iterator[int]:
    done = threading.Event()
    handler = type("SlowHandler", (Slow,), {"first": first, "then": then, "pause": pause, "done": done})
    with answering(handler) as port:
        try:
            yield port
        finally:
            done.set()
