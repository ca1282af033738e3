# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a configuration needs of the host around it where a server has a view and a network of its own.

live: the configuration that runs now, if it could be read; texts: what shall be in changed files of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model

RESOLVE_TIMEOUT = 3.0  # seconds, for all names together

_SOCKET = re.compile(r"unix:(/[^|;:\"'\s>]+)")
_HOST_IN_URL = re.compile(r"(?:https?|wss?|h2c?|fcgi|ajp|scgi|uwsgi)://\[?([A-Za-z0-9_.-]*[A-Za-z][A-Za-z0-9_.-]*)")


def sockets(live: _webserver_model.Config | None, texts: t.Iterable[str]) -> list[str]:
    """Unix sockets of backends, of the configuration as it is and as it shall be."""
    found = set(_webserver_model.unix_sockets(live)) if live else set()
    for text in texts:
        found.update(_SOCKET.findall(text))
    return sorted(os.path.realpath(path) for path in found if os.path.exists(path))


def hosts_text(live: _webserver_model.Config | None, texts: t.Iterable[str]) -> str | None:
    """The host's /etc/hosts with every name added that the configuration mentions; None when none is mentioned.

    The private network has no resolver, and a server does not start with a name that it cannot resolve.
    """
    names = set(_webserver_model.host_names(live)) if live else set()
    for text in texts:
        names.update(_HOST_IN_URL.findall(text))
    names.discard("localhost")
    if not names:
        return None
    found: dict[str, set[str]] = {}

    def resolve(name: str) -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found[name] = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}

    threads = [threading.Thread(target=resolve, args=(name,), daemon=True) for name in names]
    deadline = time.monotonic() + RESOLVE_TIMEOUT
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    known = ""
    with contextlib.suppress(OSError), open("/etc/hosts", encoding="utf-8", errors="surrogateescape") as stream:
        known = stream.read()
    lines = [f"{address} {name}" for name, addresses in sorted(found.items()) for address in sorted(addresses)]
    return known.rstrip("\n") + "\n" + "\n".join(lines) + "\n"
