# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report's files: which there are, and how each is written."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import earlier as _earlier
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import html as _report_html
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import junit as _junit
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import prometheus as _prometheus
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import sarif as _sarif
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Report

DATA = "report.json"
ALL = "all"
LARGEST = 1 << 30  # bytes of an earlier report; thousands of hosts have less


def _json(report: Report) -> str:
    return json.dumps(report, ensure_ascii=False, indent=1) + "\n"


# Each format: its file, and what makes its text of the report.
FORMATS: dict[str, tuple[str, t.Callable[[Report], str]]] = {
    "html": ("index.html", _report_html.render),
    "json": (DATA, _json),
    "junit": ("junit.xml", _junit.render),
    "sarif": ("report.sarif", _sarif.render),
    "prometheus": ("kopano_hardening.prom", _prometheus.render),
}


def render(report: Report, formats: t.Collection[str]) -> dict[str, str]:
    """The text of each file, by its name. Raises ValueError for a format that there is none of."""
    for name in formats:
        if name not in (ALL, *FORMATS):
            raise ValueError(f"formats: {name!r} is none of {', '.join((ALL, *FORMATS))}")
    return {file: make(report) for name, (file, make) in FORMATS.items() if ALL in formats or name in formats}


def read_previous(folder: str) -> tuple[Report | None, str]:
    """The last report in a folder, and why there is none that can be compared with; both empty without a file."""
    path = os.path.join(folder, DATA)
    try:
        return _earlier.usable(json.loads(_regular.read(path, LARGEST, foreign_links=True))), ""
    except FileNotFoundError:
        return None, ""
    # Brackets in brackets by the thousand are one more way to be no report.
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path} cannot be compared with: {error}"


def write(folder: str, texts: t.Mapping[str, str]) -> list[str]:
    """Write the files, each of them whole or not at all; returns their paths. Raises OSError."""
    os.makedirs(folder, exist_ok=True)
    # Permissions as for any new file, which temporary files do not have.
    mask = os.umask(0)
    os.umask(mask)
    staged: list[tuple[str, str]] = []
    try:
        for name, text in texts.items():
            handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
            staged.append((temporary, os.path.join(folder, name)))
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~mask)
                os.fsync(file.fileno())
        for temporary, path in staged:
            os.replace(temporary, path)
    finally:
        for temporary, _path in staged:
            if os.path.exists(temporary):
                os.unlink(temporary)
    return [path for _temporary, path in staged]
