#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings type, default and choices in the comments of each role's defaults/main.yml up to date with its specification.

docs/defaults.py [--check]: with --check it only reports which files are not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"


def facts(entry: dict[str, Any]) -> list[str]:
    """The lines of a comment that follow from the specification of an option."""
    kind = f"list of {entry['elements']}" if entry["type"] == "list" else entry["type"]
    value = yaml.safe_dump(entry["default"], default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    lines = [f"# - Type: {kind}", "# - Default: " + value.replace("'", '"')]
    return lines + ([f"# - Choices: {', '.join(entry['choices'])}"] if entry.get("choices") else [])


def updated(text: str, spec: dict[str, dict[str, Any]]) -> str:
    """A file of defaults with the comment of each option as its specification has it."""
    for name, entry in spec.items():
        found = re.search(rf"((?:^#.*\n)+)(?:^\w+: .*\n)*?^{name}:", text, re.MULTILINE)
        if not found:
            sys.exit(f"{name}: has no comment in its role's defaults/main.yml")
        old = re.search(r"(?m)^# - Type: .*\n(?:^# - (?:Default|Choices): .*\n)*", found[1])
        if old:
            begin = found.start() + old.start()
            text = text[:begin] + "\n".join([*facts(entry), ""]) + text[begin + len(old[0]) :]
    return text


def main(check: bool) -> int:
    stale = []
    for folder in sorted(ROLES.iterdir()):
        path = folder / "defaults" / "main.yml"
        spec = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        old, new = path.read_text(), updated(path.read_text(), spec)
        if new != old:
            stale.append(str(path.relative_to(ROLES.parent)))
            if not check:
                path.write_text(new)
    if check and stale:
        print(f"not up to date: {' '.join(stale)}; run docs/defaults.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
