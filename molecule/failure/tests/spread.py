# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts a case runs on: with FAULTS=all every host, otherwise one of each kind, spread over the releases."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from bench import ON_ALL, Host

Kind = Callable[[Host], Hashable]


def by_server(host: Host) -> Hashable:
    return host.server


def by_nothing(_host: Host) -> Hashable:
    """Of what concerns the transaction, and no server: one host, of either server from case to case."""
    return None


def by_rehearsal(host: Host) -> Hashable:
    """Where a rehearsal is not in namespaces, it finds other things in other ways."""
    return host.server, host.unprivileged


def chosen(number: int, hosts: Iterable[Host], kind: Kind = by_server) -> list[Host]:
    """The hosts that case `number` of a table runs on, of those that it applies to.

    One case after the other takes the next host of each kind. The kinds do not begin with the same one, so that a case
    meets more than one release.
    """
    kinds: dict[Hashable, list[Host]] = {}
    for host in hosts:
        kinds.setdefault(kind(host), []).append(host)
    if ON_ALL:
        return [host for alike in kinds.values() for host in alike]
    return [alike[(number + shift) % len(alike)] for shift, alike in enumerate(kinds.values())]
