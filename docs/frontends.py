#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of Kopano's web frontends in docs/frontend.md from the role's data: docs/frontends.py [--check]."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "roles" / "frontend" / "data" / "components.yml"
PAGE = ROOT / "docs" / "frontend.md"

sys.path.insert(0, str(ROOT))
import tests.unit.conftest  # noqa: E402, F401 - makes the checkout importable as a collection
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import components  # noqa: E402

BEGIN, END = "<!-- frontends: made by docs/frontends.py -->\n", "<!-- end of frontends -->\n"
COLUMNS = (
    "component",
    "found by",
    "paths",
    "backend",
    "read timeout",
    "body",
    "headers",
    "may use",
    "refused paths",
    "a healthy response",
)


def code(values: Any) -> str:
    """Values as code, one a line of the cell."""
    return "<br>".join("`" + str(value).replace("|", "\\|") + "`" for value in values)


def found_by() -> dict[str, str]:
    """For each component the packages and paths that it is recognised by."""
    return {item.name: code([*item.packages, *item.paths]) for item in components.COMPONENTS}


def headers(entry: dict[str, Any]) -> str:
    rules = entry["headers"]
    parts = [code(f"{name}: {value}" for name, value in rules.get("set", {}).items())]
    parts += ["`Content-Security-Policy` (`frontend_csp`)" if entry["csp"] else ""]
    parts += [f"left alone: {code(rules['keep'])}" if rules.get("keep") else ""]
    parts += [f"removed: {code(rules['unset'])}" if rules.get("unset") else ""]
    return "<br>".join(filter(None, parts))


def row(entry: dict[str, Any], finder: str) -> list[str]:
    backend = (f"{entry['behind']} where it is, else " if entry["behind"] else "") + f"`{entry['backend']}`"
    paths = code(entry["paths"]) + (" in any case" if entry["match"] == "nocase" else "")
    if entry["websocket"]:
        paths += f"<br>websockets: {code(entry['websocket'])}"
    if entry["redirects"]:
        paths += f"<br>redirected: {code(f'{path} → {goal}' for path, goal in entry['redirects'].items())}"
    permissions = "not set" if entry["permissions"] is None else ", ".join(entry["permissions"]) or "nothing"
    probe = entry["probe"]
    status = " or ".join(map(str, probe["status"]))
    return [
        entry["title"],
        finder,
        paths,
        backend,
        f"{entry['read_timeout']} s",
        f"{entry['body_size']} MB",
        headers(entry),
        permissions,
        code(entry["denied"]),
        f"`{probe['path']}`: {status}",
    ]


def table() -> str:
    data = yaml.safe_load(DATA.read_text())
    entries = {name: {**data["defaults"], **entry} for name, entry in data["components"].items()}
    finder = found_by()
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(row(entry, finder[name]) for name, entry in entries.items())]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def page() -> str:
    """The page with the table as it has to be."""
    text = PAGE.read_text()
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    assert len(pattern.findall(text)) == 1, f"{PAGE} has no place for the table"
    return pattern.sub(lambda _match: f"{BEGIN}\n{table()}\n{END}", text)


def main() -> None:
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text() != wanted and f"{PAGE} is stale; run docs/frontends.py")
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
