#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the comments of each role's defaults/main.yml from its specification, meta/argument_specs.yml.

docs/defaults.py [--check]: with --check it only reports which files are not up to date. Examples are those of the file.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"


def plain(text: str) -> str:
    """A description without the markup of module documentation."""
    return re.sub(r"\b[CMOV]\(([^()]*)\)", r"`\1`", text)


def comment(entry: dict[str, Any]) -> str:
    """The comment of an option as far as its specification has it."""
    kind = f"list of {entry['elements']}" if entry["type"] == "list" else entry["type"]
    value = yaml.safe_dump(entry["default"], default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    lines = textwrap.wrap(plain(entry["description"]), 118, break_long_words=False, break_on_hyphens=False)
    lines += ["", f"- Type: {kind}", "- Default: " + value.replace("'", '"')]
    lines += [f"- Choices: {', '.join(entry['choices'])}"] if entry.get("choices") else []
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def updated(text: str, spec: dict[str, dict[str, Any]]) -> str:
    """A file of defaults with the comment of each option as its specification has it. Some share one."""
    for name, entry in spec.items():
        found = re.search(rf"((?:^#.*\n)+)(?:^\w+: .*\n)*?^{name}:", text, re.MULTILINE)
        if not found:
            sys.exit(f"{name}: has no comment in its role's defaults/main.yml")
        examples = "".join(re.findall(r"(?m)^# - Example: .*\n", found[1]))
        text = text[: found.start()] + comment(entry) + examples + text[found.start() + len(found[1]) :]
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
