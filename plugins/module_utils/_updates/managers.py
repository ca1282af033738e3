# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Pending and automatic updates, by whichever package manager the host has."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Reading
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

# The programs that each needs.
_MANAGERS = {
    "apt": ("apt-get", "apt-cache", "dpkg-query"),
    "dnf": ("dnf", "rpm"),
    "zypper": ("zypper", "rpm"),
}
_OF_FAMILY = {"debian": "apt", "redhat": "dnf", "suse": "zypper"}


def manager(host: Host, release: t.Mapping[str, str]) -> str:
    """The package manager of the host, empty for none that is known here; `release` has the fields of os-release.

    Those of other distributions may be installed beside it. What a distribution unknown here has is the first of them.
    """
    names = [_OF_FAMILY.get(_layout.family(dict(release)) or "", ""), *_MANAGERS]
    return next((name for name in names if name and all(map(host.has, _MANAGERS[name]))), "")


def _reader(name: str) -> t.Callable[..., Reading]:
    """What reads a package manager. Only that is imported: on a host each run compiles what it imports."""
    if name == "apt":
        from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt

        return _apt.read
    if name == "dnf":
        from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf

        return _dnf.read
    from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper

    return _zypper.read


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
    name = manager(host, release)
    if not name:
        return _updates_findings.complete(Reading(""))
    reading = _reader(name)(host, release, now, max_metadata_age, refresh)
    reading.automatic = _automatic.read(host, reading, release, now)
    return _updates_findings.complete(reading)
