# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What dnf and zypper have in common: repositories with a repomd.xml, and which of them know of security updates."""

from __future__ import annotations

import datetime
import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._updates_findings import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates_model import Reading, Source

_DATA = re.compile(r"<data\s[^>]*type=[\"']([^\"']+)[\"']")
_TIMESTAMP = re.compile(r"<timestamp>\s*(\d+)")
_REVISION = re.compile(r"<revision>\s*(\d{9,})\s*</revision>")


def source(name: str, folder: str) -> Source:
    """A repository by its metadata in the cache: of when it is, and whether it tells updates for security."""
    try:
        with open(os.path.join(folder, "repomd.xml"), encoding="utf-8", errors="replace") as handle:
            text = handle.read()
    except OSError:
        return Source(name, problem="its metadata is not on the host: it was never fetched")
    seconds = [int(number) for number in _TIMESTAMP.findall(text) or _REVISION.findall(text)]
    found = Source(name, security="updateinfo" in _DATA.findall(text))
    if seconds:
        found.date = _moment(max(seconds))
    else:
        found.problem = "its repomd.xml does not say when it was made"
    return found


def oldest(seconds: t.Sequence[float]) -> datetime.datetime | None:
    """The oldest of these times since the epoch; None where one is not known."""
    return _moment(min(seconds)) if seconds and all(seconds) else None


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def conclude(reading: Reading, sources: t.Mapping[str, Source], unread: list[str]) -> None:
    """Say whether the updates are all that there are, and whether it is known which of them are for security.

    It is not where no repository says so, nor where an update comes from one that does not.
    """
    updates = reading.updates
    unread = unread + [f"{entry.name}: {entry.problem}" for entry in sources.values() if entry.problem]
    if not sources:
        unread.append(f"{reading.manager} has no repositories")
    updates.complete = not unread
    silent = {package.origin for package in updates.packages or () if not package.security}
    silent = {name for name in silent if name in sources and not sources[name].security}
    lack = ""
    if not any(entry.security for entry in sources.values()):
        lack = "no repository says which updates are for security (updateinfo)"
    elif silent:
        lack = "updates come from repositories that do not say which are for security: " + ", ".join(sorted(silent))
    updates.security_known = not lack
    if lack:
        reading.findings.append(finding("updates.security.unknown", reading.manager, lack))
        unread.append(lack)
    updates.reason = "; ".join(unread)
