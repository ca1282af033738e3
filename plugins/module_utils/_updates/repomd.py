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

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Reading, Source

_DATA = re.compile(r"<data\s[^>]*type=[\"']([^\"']+)[\"']")
_TIMESTAMP = re.compile(r"<timestamp>\s*(\d{9,11})\b")
_REVISION = re.compile(r"<revision>\s*(\d{9,11})\s*</revision>")


def source(name: str, folder: str) -> Source:
    """A repository by its metadata in the cache: of when it is, and whether it marks updates for security."""
    try:
        with open(os.path.join(folder, "repomd.xml"), encoding="utf-8", errors="replace") as handle:
            text = handle.read()
    except PermissionError:
        return Source(name, problem="its metadata cannot be read without root")
    except OSError:
        return Source(name, problem="its metadata is not on the host: it was never fetched", absent=True)
    seconds = [int(number) for number in _TIMESTAMP.findall(text) or _REVISION.findall(text)]
    found = Source(name, security="updateinfo" in _DATA.findall(text))
    found.date = _moment(max(seconds)) if seconds else None
    if not found.date:
        found.problem = "its repomd.xml does not have the time when it was made"
    return found


def oldest(seconds: t.Sequence[float]) -> datetime.datetime | None:
    """The oldest of these times since the epoch; None where one is not known."""
    return _moment(min(seconds)) if seconds and all(seconds) else None


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def security_lack(reading: Reading, sources: t.Mapping[str, Source]) -> Finding | None:
    """What keeps it from being known which updates are for security, as a finding.

    It is not known where no repository marks them, nor where an update comes from one that does not.
    """
    if not any(entry.security for entry in sources.values()):
        lack = "no repository marks which updates are for security (updateinfo)"
        return finding("updates.security.unknown", reading.manager, lack)
    origins = {package.origin for package in reading.updates.packages or () if not package.security}
    silent = sorted(name for name in origins if name in sources and not sources[name].security)
    if silent:
        lack = "updates come from repositories that do not mark which are for security: " + ", ".join(silent)
        return finding("updates.security.unknown", reading.manager, lack)
    return None
