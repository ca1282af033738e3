# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for servers of tests: none that the kernel gives to clients, and none that another process takes as well."""

from __future__ import annotations

import collections.abc
import errno
import functools
import itertools
import random
import socket

_PORTS = range(20000, 32000)  # below net.ipv4.ip_local_port_range
_BLOCK = 200
_LOOPBACK = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")


@functools.cache
def _own() -> tuple[socket.socket, collections.abc.Iterator[int]]:
    """Ports for this process alone, workers and runs of other checkouts included: a test may ask for some long before
    it listens on them. Who has the socket of that name has them, and the kernel takes it back at the process's end.
    """
    blocks = [_PORTS[start : start + _BLOCK] for start in range(0, len(_PORTS), _BLOCK)]
    for block in random.SystemRandom().sample(blocks, len(blocks)):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0ports-of-tests-{block.start}")
        except OSError:
            holder.close()
        else:
            return holder, itertools.cycle(block)
    raise RuntimeError("so many tests run on this machine that no ports are left for these")


def free_ports(
    count: int = 1, addresses: collections.abc.Iterable[str] = _LOOPBACK, kinds: tuple[int, ...] = (socket.SOCK_STREAM,)
) -> list[int]:
    """Ports that nobody listens on at the moment, at any of the addresses."""
    (_holder, own), found = _own(), list[int]()
    places = [(address, kind) for address in addresses for kind in kinds]
    for port in itertools.islice(own, _BLOCK):
        if all(_is_free(port, *place) for place in places):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"only {len(found)} of {count} ports are free")


def _is_free(port: int, address: str, kind: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as trial:
        if kind == socket.SOCK_STREAM:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # not every machine has both families
    return True
