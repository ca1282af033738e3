#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's checks: run.py [lint|docs|package|static|sanity|unit|oldest|oracles|molecule|GROUP:NAME][,…]…

One argument after the other, as some unit tests measure times; the checks of one run side by side. Each check's output
goes to .cache/logs/NAME.log; of a failed one its failed tests are shown, or the log's end. The last line counts what
really ran: each program once, and for pytest each test as its own report has it. The summary has how long each check
took, and at its end the beginning of what failed, with the command that repeats just that: the middle of a long output
is what a CI system leaves out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
LOGS = CACHE / "logs"
# More at a time than there are cores makes all slower: their clients send requests for as long as they last.
SIDE_BY_SIDE = int(os.environ.get("JOBS", max(2, min(os.cpu_count() or 2, 6))))
SHOWN_LINES = 60
SHOWN_CHARACTERS = 500  # of a failed test's message
REASON_LINES = 3  # of a failed check, in the summary; five with its name, and the command that repeats it
REPEATED_TESTS = 4  # of more, their files are named
# How errors begin, the most specific first: the lab's, other programs', Ansible's own.
ERRORS = [re.compile(rf"\s*{words}") for words in (r"(stderr: ')?lab: ", "stderr: .", "msg: ", r"\[?(ERROR|CRITICAL)")]
LIMIT = 60 * int(os.environ.get("MINUTES", "80"))  # seconds for one check; a busy machine takes half of that
# More workers than cores, as many tests wait for time limits. What loadscope means here is in tests/unit/conftest.py.
UNIT = ["-n", "6", "--dist", "loadscope", "tests/unit"]
GENERATED = "tests/oracles/test_generated.py"
SOURCES = ["plugins", "lab", "tests", "molecule"]


@dataclass
class Check:
    """One program to run; success is exit status 0."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return self.name.replace(":", "-")

    @property
    def log(self) -> Path:
        return LOGS / f"{self.file_name}.log"

    @property
    def report(self) -> Path:
        """Where pytest, if the check runs it, writes its own count."""
        return LOGS / f"{self.file_name}.xml"


@dataclass
class Result:
    """What came of a check; the three counts are tests, or 1 for the program itself."""

    check: Check
    ok: bool
    seconds: float
    passed: int
    failed: int
    skipped: int


def lint() -> Iterator[Check]:
    """Static checks of what is in the checkout."""
    targets = [folder for folder in ("plugins/module_utils", "plugins/modules") if any((ROOT / folder).rglob("*.py"))]
    collection = ".cache/collections/ansible_collections/kopano/hardening"
    programs = ["lab/lab.py", "lab/kopano_lab", "tests/run.py", "tests/quick.py", "docs/site/build.py"]
    # The longest first, as it uses one core.
    yield Check("lint:ansible", ["ansible-lint", "--offline", "--nocolor", "--strict"])
    yield Check("lint:ruff", ["ruff", "check", "."])
    yield Check("lint:format", ["ruff", "format", "--check", "."])
    yield Check("lint:mypy", ["mypy", f"{collection}/plugins", *programs])
    yield Check("lint:python3.7", ["vermin", "-t=3.7-", "--no-tips", "--violations", *targets])
    yield Check("lint:yaml", ["yamllint", "--strict", "."])
    workflows = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(".github/workflows/*.yml"))
    # Its own checks only: shellcheck, which is not everywhere, would make the result depend on the machine.
    yield Check("lint:workflows", ["actionlint", "-no-color", "-shellcheck=", "-pyflakes=", *workflows])


def docs() -> Iterator[Check]:
    """The documentation's website, which a warning or a link that leads nowhere fails."""
    yield Check("docs", [str(ROOT / ".venv-docs" / "bin" / "python"), "docs/site/build.py"])


def sanity() -> Iterator[Check]:
    """Ansible's own tests of what is in the tarball."""
    yield Check("sanity", [sys.executable, "tests/package.py", "sanity"])


def package() -> Iterator[Check]:
    """What has to hold before the collection can be published, on its tarball where that is what counts."""
    yield Check("package:importer", [sys.executable, "tests/package.py", "importer"])
    yield Check("package:docs", [sys.executable, "tests/package.py", "docs"])
    yield Check("package:fragments", ["antsibull-changelog", "lint"])
    yield Check(
        "package:changelog", ["antsibull-changelog", "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml"]
    )
    yield Check("package:licences", ["reuse", "lint"])


def static() -> Iterator[Check]:
    """All checks that start no tests and measure no times, side by side. The longest is the first."""
    yield from sanity()
    yield from lint()
    yield from docs()
    yield from package()


def unit() -> Iterator[Check]:
    """Unit tests with this environment's ansible-core."""
    yield pytest("unit", UNIT)


def oldest() -> Iterator[Check]:
    """Unit tests with the oldest ansible-core, without those that take long and have nothing to do with it.

    They are marked as C(slow): real servers or package managers, and of the collection only code that never imports
    Ansible. All that has to do with Ansible is tested with both, and so is all that is quick.
    """
    yield pytest("oldest", [*UNIT, "-m", "not slow"], ROOT / ".venv-oldest" / "bin" / "python")


def oracles() -> Iterator[Check]:
    """Verdicts beside other people's: scanners, package managers, and the text of the RFCs."""
    # testssl.sh sleeps for most of its time.
    yield pytest("oracles:scanners", ["-n", "6", "tests/oracles", "--ignore", GENERATED])
    # These end themselves after DIFFERENTIAL_MINUTES.
    yield pytest("oracles:generated", ["-n", "2", GENERATED])
    # The unit tests have few of these cases; here are enough that every difference comes up.
    check = pytest("oracles:states", ["tests/unit/test_caa_differential.py", "tests/unit/test_updates_differential.py"])
    for name, value in {"DIFFERENTIAL_CASES": "10000", "DIFFERENTIAL_STATES": "60"}.items():
        check.environment[name] = os.environ.get(name, value)
    yield check


def molecule() -> Iterator[Check]:
    """Every Molecule scenario, those with the most hosts first: they take the longest."""
    paths = sorted(ROOT.glob("molecule/*/molecule.yml"))
    for path in sorted(paths, key=lambda path: -path.read_text().count("\n  - name: ")):
        name = path.parent.name
        check = Check(f"molecule:{name}", ["molecule", "test", "--no-command-borders", "--scenario-name", name])
        check.environment["PYTEST_ADDOPTS"] = f"--junit-xml={check.report} -p no:cacheprovider"
        yield check


def pytest(name: str, arguments: list[str], python: Path | str = sys.executable) -> Check:
    check = Check(name, [str(python), "-m", "pytest", *arguments])
    check.command.append(f"--junit-xml={check.report}")
    return check


GROUPS = {
    "lint": lint,
    "docs": docs,
    "package": package,
    "static": static,
    "sanity": sanity,
    "unit": unit,
    "oldest": oldest,
    "oracles": oracles,
    "molecule": molecule,
}


def choose(names: list[str]) -> list[list[Check]]:
    """For each argument the checks that it names: of groups, or single ones as GROUP:NAME, in that order."""
    return [[check for name in argument.split(",") for check in named(name)] for argument in names]


def named(name: str) -> list[Check]:
    """The checks of a group, or one of them."""
    group = name.partition(":")[0]
    if group not in GROUPS:
        sys.exit(f"{name}: no such check; groups are {', '.join(GROUPS)}")
    found = [check for check in GROUPS[group]() if name in (group, check.name)]
    if not found:
        sys.exit(f"{name}: no such check; {group} has {', '.join(c.name for c in GROUPS[group]()) or 'none'}")
    return found


def run(check: Check) -> Result:
    """Run a check to its end, its output in its log."""
    check.report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin",
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        # Hundreds of processes import the same code: it is compiled once, also where the caller does without.
        "PYTHONDONTWRITEBYTECODE": "",
        **check.environment,
    }
    started = time.monotonic()
    with check.log.open("wb") as log:
        try:
            status = subprocess.run(
                check.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                timeout=LIMIT, check=False,
            ).returncode  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            log.write(f"{error}\n".encode())
            status = 1
    passed, failed, skipped = count(check.report)
    # A program that fails for another reason than its tests is a failure of its own.
    passed, failed = passed + (status == 0), failed + (status != 0 and not failed)
    return Result(check, status == 0, time.monotonic() - started, passed, failed, skipped)


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit report; nothing where there is none."""
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        for suite in ET.parse(report).iter("testsuite"):
            for key in totals:
                totals[key] += int(suite.get(key, 0))
    failed = totals["failures"] + totals["errors"]
    return totals["tests"] - failed - totals["skipped"], failed, totals["skipped"]


def main(names: list[str]) -> int:
    """Run the checks that are named; returns the exit status."""
    return perform(choose(names))


def perform(groups: list[list[Check]]) -> int:
    """Run checks, one list of them after the other; returns the exit status."""
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results = []
    for checks in groups:
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            for task in as_completed([pool.submit(run, check) for check in checks]):
                result = task.result()
                results.append(result)
                print(line(result), flush=True)
                if not result.ok:
                    print(failures(result.check.report) or tail(result.check.log), flush=True)
    print(f"\n{len(results)} checks in {time.monotonic() - started:.0f} s; logs in {_short(LOGS)}")
    for result in sorted(results, key=lambda entry: (not entry.ok, -entry.seconds)):
        print(f"  {line(result)}")
        if not result.ok:
            print(reason(result.check))
            print(f"    repeat it: {repeat(result.check)}")
    passed, failed, skipped = (sum(getattr(r, key) for r in results) for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return int(failed > 0)


def line(result: Result) -> str:
    """One line of the summary."""
    tests = result.passed + result.failed + result.skipped
    words = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped" if tests > 1 else ""
    return f"{'ok    ' if result.ok else 'FAILED'} {result.check.name:<28} {result.seconds:7.1f} s  {words}".rstrip()


def failures(report: Path) -> str:
    """Each failed test of a JUnit report with the beginning of its message; empty where no test failed."""
    rows = []
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        for failed in (entry for entry in case if entry.tag in ("failure", "error")):
            rows.append(f"{case.get('name')}: {failed.get('message', '')}"[:SHOWN_CHARACTERS])
    shown = rows[:SHOWN_LINES] + [f"and {len(rows) - SHOWN_LINES} more"] * (len(rows) > SHOWN_LINES)
    return "\n".join(f"    | {line}" for row in shown for line in row.splitlines())


def tail(log: Path) -> str:
    """The end of a log, without colours, set apart from the summary."""
    return "\n".join(f"    | {row}" for row in _rows(log)[-SHOWN_LINES:])


def reason(check: Check) -> str:
    """The first failed test, or else the first error in the log and what follows it; a few lines."""
    rows = failures(check.report).splitlines()
    if not rows:
        log = _rows(check.log)
        places = (number for error in ERRORS for number, row in enumerate(log) if error.match(row))
        first = next(places, len(log) - REASON_LINES)
        rows = [f"    | {row}" for row in log[max(0, first) :]]
    return "\n".join(row[:SHOWN_CHARACTERS] for row in rows[:REASON_LINES])


def repeat(check: Check) -> str:
    """The command that runs again what failed: its tests where it is pytest, or else the check."""
    group, _colon, name = check.name.partition(":")
    if group == "molecule":
        return f"make molecule SCENARIO={name}"
    tests = failed_tests(check.report) if "pytest" in check.command else []
    if not tests:
        return f"{_short(sys.executable)} tests/run.py {check.name}"
    if len(tests) > REPEATED_TESTS:
        tests = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    settings = [f"{key}={shlex.quote(value)}" for key, value in check.environment.items()]
    return " ".join([*settings, _short(check.command[0]), "-m pytest", *map(shlex.quote, tests)])


def failed_tests(report: Path) -> list[str]:
    """The tests of a JUnit report that failed, as pytest takes them; files that it could not read among them."""
    found = []
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        if any(entry.tag in ("failure", "error") for entry in case):
            # The names of modules and classes with dots; of a file that could not be read they are in the name.
            owner, name = case.get("classname"), case.get("name", "")
            words = (owner or name).split(".")
            for length in range(len(words), 0, -1):
                file = Path(*words[:length]).with_suffix(".py")
                if (ROOT / file).is_file():
                    found.append("::".join([str(file), *words[length:], *([name] if owner else [])]))
                    break
    return list(dict.fromkeys(found))  # a test may fail once more at its end


def _short(path: str | Path) -> str:
    return str(Path(path).relative_to(ROOT) if Path(path).is_relative_to(ROOT) else path)


def _rows(log: Path) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).splitlines()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
