# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""A function run in a process of its own: at the same time, or because it may have to be killed.

No thread: what runs beside others may fork (L(_host.namespace)), or need a processor for itself, which threads share.
And a thread cannot be ended. A call that a file system delays ends with its process; where even that waits, as with
NFS, the process is left behind, and does nothing more.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import json
import os
import select
import signal
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.options import OptionError

R = t.TypeVar("R")

END_PATIENCE = 5.0  # seconds for a killed process to end
THREAD_PATIENCE = 2.0  # seconds for a thread's last moment
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(RuntimeError):
    """The function has not returned; the message has the reason."""


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends (prctl(2)). Raises OSError."""
    if _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl: {os.strerror(code)}")


def await_ended_threads() -> None:
    """Before a fork: wait for threads that have ended for Python, but not yet for the kernel.

    Before Python 3.13 a thread is joined a moment before its end, in which it still tidies up in C libraries. A fork at
    that moment copies a lock of OpenSSL's that it holds, and then no handshake in the child can ever succeed.
    """
    deadline = time.monotonic() + THREAD_PATIENCE
    while len(os.listdir("/proc/self/task")) > 1 + _thread._count() and time.monotonic() < deadline:
        time.sleep(0.0005)


def end(child: int) -> bool:
    """Kill a child and wait for its end; False for one that the kernel does not let end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return wait(child, END_PATIENCE)


def wait(child: int, seconds: float) -> bool:
    """Wait so long for a child's end."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while True:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


class Beside(t.Generic[R]):
    """Runs a function whose value JSON can carry. Nothing else may run in this process that holds a lock meanwhile."""

    def __init__(self, function: t.Callable[[], R]) -> None:
        self._reader, writer = os.pipe()
        own = os.getpid()
        try:
            self._child = os.fork()
        except OSError:
            os.close(self._reader)
            os.close(writer)
            raise
        if self._child == 0:
            try:
                os.close(self._reader)
                try:
                    end_with_parent()
                    if os.getppid() != own:
                        os._exit(0)  # the parent has ended before that, which the kernel does not report
                    text = json.dumps({"value": function()})
                except OptionError as error:
                    text = json.dumps({"refused": str(error)})
                except Exception as error:
                    text = json.dumps({"error": f"{type(error).__name__}: {error}"})
                with open(writer, "w", encoding="utf-8") as stream:
                    stream.write(text)
            finally:
                os._exit(0)
        os.close(writer)

    def result(self, seconds: float | None = None) -> R:
        """What the function has returned. Raises OptionError where it has, and Failed with any other error.

        C(seconds) is how long to wait for it; it is killed then.
        """
        text = b""
        deadline = None if seconds is None else time.monotonic() + seconds
        ended = False
        while not ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reader], [], [], left)[0]:
                break
            part = os.read(self._reader, 1 << 16)
            text, ended = text + part, not part
        os.close(self._reader)
        if not ended:
            end(self._child)
            raise Failed(f"it did not end within {seconds:g} s and was killed")
        os.waitpid(self._child, 0)
        message = json.loads(text or b'{"error": "it ended without a result"}')
        if "refused" in message:
            raise OptionError(message["refused"])
        if "error" in message:
            raise Failed(message["error"])
        value: R = message["value"]
        return value
