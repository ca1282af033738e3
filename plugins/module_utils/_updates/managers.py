# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Pending and automatic updates, by whichever package manager the host has."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Reading
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout


class _Manager(t.NamedTuple):
    """The programs that a package manager needs, and the family of distributions that it is of."""

    programs: tuple[str, ...]
    family: str


_MANAGERS = {
    "apt": _Manager(("apt-get", "apt-cache", "dpkg-query"), "debian"),
    "dnf": _Manager(("dnf", "rpm"), "redhat"),
    "zypper": _Manager(("zypper", "rpm"), "suse"),
}


def manager(host: Host, release: t.Mapping[str, str]) -> str:
    """The package manager of the host, empty for none that is known here; `release` has the fields of os-release.

    Those of other distributions may be installed beside it. What a distribution unknown here has is the first of them.
    """
    family = _layout.family(dict(release))
    own = [name for name, entry in _MANAGERS.items() if entry.family == family]
    return next((name for name in [*own, *_MANAGERS] if all(map(host.has, _MANAGERS[name].programs))), "")


def module(name: str) -> t.Any:
    """The module of a package manager, which has `read`, and `automatic` for automatic updates.

    Only that is imported: on a host each run compiles what it imports. Ansible ships what it finds imported by name.
    """
    if name == "apt":
        from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt

        return _apt
    if name == "dnf":
        from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf

        return _dnf
    from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper

    return _zypper


def collect(
    host: Host,
    release: t.Mapping[str, str],
    now: datetime.datetime,
    max_metadata_age: float,
    refresh: bool = False,
) -> Reading:
    """What is pending, how old the lists are, whether the host updates itself, and the findings that follow.

    `release` has the fields of os-release, `max_metadata_age` is in hours. Without `refresh`, nothing is fetched.
    """
    reading: Reading
    name = manager(host, release)
    if not name:
        reading = Reading("")
        reading.updates.reason = _layout.unsupported(dict(release))
        return _updates_findings.complete(reading)
    of_host = module(name)
    reading = of_host.read(host, release, now, max_metadata_age, refresh)
    reading.automatic = of_host.automatic(host, reading, release, now)
    return _updates_findings.complete(reading)
