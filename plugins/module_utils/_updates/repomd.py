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
import xml.etree.ElementTree as ET

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Reading, Source

MAX_SIZE = 1 << 20  # bytes; those of the largest distributions have less than a tenth of it
MAX_REASON = 200  # characters, as it may quote the file
_TIME = re.compile(r"\s*(\d{9,11})\b")


def source(name: str, folder: str) -> Source:
    """A repository by its metadata in the cache: of when it is, and whether it marks updates for security."""
    try:
        with open(os.path.join(folder, "repomd.xml"), "rb") as handle:
            content = handle.read(MAX_SIZE + 1)
    except PermissionError:
        return Source(name, problem="its metadata cannot be read without root")
    except OSError:
        return Source(name, problem="its metadata is not on the host: it was never fetched", absent=True)
    try:
        root = _tree(content)
    except (ET.ParseError, ValueError) as error:
        return Source(name, problem=f"its repomd.xml cannot be read: {str(error)[:MAX_REASON]}")
    parts = [part for part in root if _name(part) == "data"]
    times = [entry.text for part in parts for entry in part if _name(entry) == "timestamp"]
    revisions = [entry.text for entry in root if _name(entry) == "revision"]
    seconds = _seconds(times) or _seconds(revisions)
    found = Source(name, security=any(part.get("type") == "updateinfo" for part in parts))
    found.date = _moment(max(seconds)) if seconds else None
    if not found.date:
        found.problem = "its repomd.xml does not have the time when it was made"
    return found


def _tree(content: bytes) -> ET.Element:
    """The root of a repomd.xml. Raises ValueError, ET.ParseError.

    A mirror may have sent anything. Newer versions of expat limit what entities expand to, those of older hosts do not,
    so a file that could declare any is refused. It is decoded here, as expat would follow whatever encoding it claims.
    """
    if len(content) > MAX_SIZE:
        raise ValueError(f"it has more than {MAX_SIZE} bytes")
    text = content.decode("utf-8")
    if "<!DOCTYPE" in text:
        raise ValueError("it has a document type")
    root = ET.fromstring(text)  # noqa: S314 - see above
    if _name(root) != "repomd":
        raise ValueError(f"it is {_name(root)} and not repomd")
    return root


def _name(element: ET.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _seconds(texts: t.Iterable[str | None]) -> list[int]:
    """Times since the epoch; what is none is left out."""
    return [int(found[1]) for found in (_TIME.match(text or "") for text in texts) if found]


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
