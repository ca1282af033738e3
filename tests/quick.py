# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quick static checks, and the unit tests of what changed since origin/main, committed or not (make quick).

A test has to do with all that it imports, also by way of others, and with other files that these name. The nearest and
quickest tests are run as far as the time goes; how long they take is in the report of the last `make unit`.
"""

from __future__ import annotations

import ast
import collections
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from tests import run

CHECKS = "lint:ruff,lint:format,lint:mypy,lint:python3.7,lint:yaml"
SECONDS = 6 * 60.0  # for tests one by one; six run at a time
UNKNOWN = 10.0  # seconds for a file that no report has
ROOTS = {"ansible_collections/kopano/hardening/": "", "kopano_lab/": "lab/kopano_lab/"}


def changed() -> set[str]:
    """What differs from where this branch left origin/main, or from the last commit where there is no such branch."""
    base = _lines("merge-base", "HEAD", "origin/main") or ["HEAD"]
    return {*_lines("diff", "--name-only", base[0]), *_lines("ls-files", "--others", "--exclude-standard")}


def _lines(*words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=run.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def imported(source: Path, text: str) -> Iterator[str]:
    """What a file of the project may import, as paths from the checkout."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            folder = "/".join(source.parts[: -node.level]) + "/" if node.level else ""
            module = folder + (node.module or "").replace(".", "/")
            names = [module, *(f"{module.rstrip('/')}/{alias.name}" for alias in node.names)]
        else:
            names = [alias.name.replace(".", "/") for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            root = next(filter(name.startswith, ROOTS), "")
            yield f"{ROOTS.get(root, '')}{name.removeprefix(root)}.py"


def names(text: str, file: str) -> bool:
    """Whether a text may be about a file, such as data, a template or a page. Code is imported."""
    return not file.startswith("plugins/mod") and (Path(file).name in text or f'"{Path(file).stem}"' in text)


def nearest(files: set[str]) -> dict[str, int]:
    """The test files that have to do with these, and over how many others; 0 for those that are among them."""
    users = collections.defaultdict(set)
    for path in (path for top in run.SOURCES for path in (run.ROOT / top).rglob("*.py")):
        source, text = path.relative_to(run.ROOT), path.read_text()
        for file in (*imported(source, text), *(file for file in files if names(text, file))):
            users[file].add(str(source))
    away: dict[str, int] = {}
    front, distance = files, 0
    while front:
        away |= dict.fromkeys(front, distance)
        front, distance = {user for file in front for user in users[file]} - away.keys(), distance + 1
    return {file: number for file, number in away.items() if Path(file).match("tests/unit/test_*.py")}


def fitting(tests: dict[str, int]) -> list[str]:
    """Those that there is time for; the first one always."""
    seconds: dict[str, float] = collections.defaultdict(float)
    report = run.LOGS / "unit.xml"
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        seconds["/".join(case.get("classname", "").split(".")[:3]) + ".py"] += float(case.get("time", 0))
    taken, left = list[str](), SECONDS
    for test in sorted(tests, key=lambda test: (tests[test], seconds.get(test, UNKNOWN))):
        left -= seconds.get(test, UNKNOWN)
        if (run.ROOT / test).exists() and (left >= 0 or not taken):
            taken.append(test)
    return taken


def main() -> int:
    tests = nearest(changed())
    taken = fitting(tests)
    print(f"{len(tests)} test files have to do with what changed; {len(taken)} of them are run here", flush=True)
    unit = [run.pytest("quick", ["-n", "6", "--dist", "loadscope", *taken])] if taken else []
    return run.perform([unit + run.choose([CHECKS])[0]])


if __name__ == "__main__":
    sys.exit(main())
