# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for the servers of tests: none that the kernel gives to clients, and none that another worker takes as well."""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket

_PORTS = range(20000, 32000)  # below net.ipv4.ip_local_port_range


def share(worker: int, workers: int) -> range:
    """The ports of one of pytest's workers. A test may ask for some long before it listens on them."""
    return _PORTS[worker::workers]


_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
_OWN = share(int(_WORKER[2:]), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
# In an order of its own, as another run may use them at the same time.
_NEXT = itertools.cycle(random.SystemRandom().sample(_OWN, len(_OWN)))


def free_ports(count: int = 1) -> list[int]:
    """Ports that nobody listens on at the moment, at the loopback's addresses of both families."""
    found: list[int] = []
    while len(found) < count:
        port = next(_NEXT)
        if _is_free(port, socket.AF_INET, "127.0.0.1") and _is_free(port, socket.AF_INET6, "::1"):
            found.append(port)
    return found


def _is_free(port: int, family: int, address: str) -> bool:
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # not every machine has both families
    return True
