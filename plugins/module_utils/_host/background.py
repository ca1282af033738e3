# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""A function run in a process of its own, at the same time.

No thread: what runs beside others may fork (L(_host.namespace)), or need a processor for itself, which threads share.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.options import OptionError

R = t.TypeVar("R")


class Failed(RuntimeError):
    """The function has not returned; the message has the reason."""


class Beside(t.Generic[R]):
    """Runs a function whose value JSON can carry. Nothing else may run in this process that holds a lock meanwhile."""

    def __init__(self, function: t.Callable[[], R]) -> None:
        self._reader, writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._reader)
                try:
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

        C(seconds) is how long to wait for it; it is ended then.
        """
        timer = threading.Timer(seconds, os.kill, (self._child, signal.SIGKILL)) if seconds is not None else None
        if timer:
            timer.start()
        with open(self._reader, encoding="utf-8") as stream:
            text = stream.read()
        if timer:
            timer.cancel()
            timer.join()
        os.waitpid(self._child, 0)
        message = json.loads(text or '{"error": "it ended without a result"}')
        if "refused" in message:
            raise OptionError(message["refused"])
        if "error" in message:
            raise Failed(message["error"])
        value: R = message["value"]
        return value
