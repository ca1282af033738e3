# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What a web server has logged since its reload, and which of that its main process has logged.

The directory of a log can be somebody else's, who can exchange the file at any time, and clients decide what is in its
lines. So logs are read as L(_host.regular) does, and who wrote a line is decided by what only the server can know:
nginx logs a requested path with its line breaks, so a whole line can be a client's.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout

MOST_OF_ONE = 1 << 16  # bytes that are read of one log
MOST = 1 << 20  # bytes of all of them
LONGEST = 4096  # characters of a line

# Of Apache httpd (core.html#errorlogformat), and of nginx (ngx_log.c): level and process of a line.
_STAMPS = {
    "apache": re.compile(r"\[[A-Z][a-z]{2} [^]]+\] \[[\w.-]*:(?P<level>\w+)\] \[pid (?P<pid>\d+)(?::tid \d+)?\] "),
    "nginx": re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?P<level>\w+)\] (?P<pid>\d+)#\d+: "),
}
# A line that is about a client's request: its message is no reason of the server's.
_OF_A_REQUEST = re.compile(r", client: |\[client ")
# Levels with which nginx does not go on.
_FATAL = ("emerg", "alert", "crit")


class Logged(t.NamedTuple):
    """What was logged: C(own) by the main process about itself; C(others) by processes that cannot be distinguished
    from a client's text, without what is about requests; C(lines), all of it; C(unread), each a log and why it was
    not read.
    """

    own: str
    others: str
    lines: list[str]
    unread: list[str]

    @property
    def why_unread(self) -> str:
        return f"not read: {'; '.join(self.unread)}" if self.unread else ""


def paths(layout: Layout, config: _webserver_model.Config | None) -> list[str]:
    """The error logs of a configuration, the server's own one first."""
    found = [layout.error_log] if layout.error_log else []
    if config is not None:
        found += [path for path in _webserver_model.log_files(config) if "error" in os.path.basename(path)]
    return list(dict.fromkeys(found))


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


class ErrorLogs:
    """The error logs of a server from a moment on."""

    def __init__(self, server: str, log_paths: t.Iterable[str]) -> None:
        self._server = server
        self._known = {path: _status(path) for path in log_paths}

    def logged(self, main: int | None) -> Logged:
        """What was logged since. main: the main process then. Never raises; reads may wait as long as a file system."""
        lines, unread, left = [], [], MOST
        for path, known in self._known.items():
            try:
                text = self._since(path, known, min(left, MOST_OF_ONE))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                # One that does not exist yet has nothing in it.
                if known is not None or not isinstance(error, FileNotFoundError):
                    unread.append(f"{path}: {reason}")
                continue
            left -= len(text)
            lines += [line[:LONGEST] for line in text.decode("utf-8", "replace").split("\n") if line.strip()]
        own = [line for line in lines if self._is_own(line, main)]
        others = [line for line in lines if line not in own and self._is_possible(line)]
        return Logged("\n".join(own), "\n".join(others), lines, unread)

    @staticmethod
    def _since(path: str, known: os.stat_result | None, most: int) -> bytes:
        with _regular.opened(path) as stream:
            found = os.fstat(stream.fileno())
            # Another file is a new log, as logrotate(8) makes it, and of one that was emptied all is new.
            if known and os.path.samestat(known, found) and known.st_size <= found.st_size:
                stream.seek(known.st_size)
            return _regular.read_up_to(stream, most)

    def _is_own(self, line: str, main: int | None) -> bool:
        stamp = _STAMPS[self._server].match(line)
        if stamp:
            return int(stamp.group("pid")) == main
        # At a reload Apache logs what its parser refuses without a stamp. It writes what clients send in one line.
        return self._server == "apache" and not _OF_A_REQUEST.search(line)

    def _is_possible(self, line: str) -> bool:
        """Whether it may be a reason for a refusal: of a worker that could not start."""
        stamp = _STAMPS[self._server].match(line)
        return bool(stamp and stamp.group("level") in _FATAL and not _OF_A_REQUEST.search(line))


def of_workers(logged: Logged, server: str, workers: t.Container[int]) -> str:
    """The lines about requests that these processes have logged: their numbers are known on the host alone."""
    stamps = [(line, _STAMPS[server].match(line)) for line in logged.lines]
    return "\n".join(line for line, stamp in stamps if stamp and int(stamp.group("pid")) in workers)
