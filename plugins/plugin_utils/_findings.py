# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The catalogue of findings, C(findings.yml) beside this file."""

from __future__ import annotations

import functools
import re
import typing as t
from pathlib import Path

import yaml

# The worst first.
SEVERITIES = ("fail", "warn", "unknown", "info")
STEPS = {
    1: "Updates",
    2: "TLS",
    3: "HSTS",
    4: "CAA",
    5: "Grade",
}
STEP_TITLES = {
    1: "A maintained distribution with its updates",
    2: "TLS only, no weak protocol or cipher",
    3: "HSTS",
    4: "CAA records",
    5: "A verified grade",
}
# Where a fix is applied, and what the page calls it.
PLACES = {
    "apache": "Apache",
    "nginx": "nginx",
    "dns": "DNS zone",
    "host": "On the host",
    "controller": "On the controller",
}


class Entry(t.NamedTuple):
    """What the catalogue says of a kind of finding. C(url) of its source may be empty, C(fix) has keys of PLACES."""

    id: str
    step: int
    severity: str
    title: str
    why: str
    source: str
    url: str
    fix: dict[str, str]


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Every kind of finding by its id, in the order of the file."""
    loader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load(Path(__file__).with_name("findings.yml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    return {
        key: Entry(
            key,
            entry["step"],
            entry["severity"],
            entry["title"],
            entry["why"],
            entry["source"],
            _url(entry["source"], data["sources"]),
            _fix(entry.get("fix", {}), data["fixes"]),
        )
        for key, entry in data["findings"].items()
    }


def _url(source: str, sources: dict[str, str]) -> str:
    rfc = re.match(r"RFC (\d+)(?:, section ([\d.]+))?$", source)
    if rfc:
        section = f"#section-{rfc.group(2)}" if rfc.group(2) else ""
        return f"https://www.rfc-editor.org/rfc/rfc{rfc.group(1)}{section}"
    return sources[source]


def _fix(fix: str | dict[str, str], fixes: dict[str, dict[str, str]]) -> dict[str, str]:
    return fixes[fix] if isinstance(fix, str) else fix


def unknown(key: str) -> Entry:
    """For a finding of a newer collection, in a report that was given by hand."""
    return Entry(key, 5, "unknown", key, "", "", "", {})
