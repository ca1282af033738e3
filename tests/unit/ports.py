# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for the servers of tests: none that the kernel gives to clients, and none twice in a process."""

from __future__ import annotations

import errno
import random
import socket

# Below net.ipv4.ip_local_port_range. Each process goes through them in an order of its own.
_LEFT = iter(random.SystemRandom().sample(range(20000, 32000), 12000))


def free_ports(count: int = 1) -> list[int]:
    """Ports that nobody listens on at the moment, at the loopback's addresses of both families."""
    found: list[int] = []
    while len(found) < count:
        port = next(_LEFT)
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
