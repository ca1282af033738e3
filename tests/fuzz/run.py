#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the targets one after the other, each in a process of its own, and prints one table.

A seed gives the same cases each time, as many of them as the time allows or C(--cases) has. Exit status 1: a target
has failed. What made it fail is in .cache/fuzz, as short as it could be made.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import mmap
import os
import pickle
import re
import resource
import secrets
import signal
import struct
import sys
import time
import traceback
import typing as t
from pathlib import Path

from tests.unit import conftest  # noqa: F401 - the same import paths as the unit tests

from . import frame, targets  # noqa: F401 - importing the targets makes them known

KEPT = frame.ROOT / ".cache" / "fuzz"
HEADINGS = ("target", "cases", "cases/s", "declared", "failed", "slowest ms", "peak MiB")
_MEBIBYTE = 1 << 20


class Row(t.NamedTuple):
    """A target's result. C(peak): MiB that its cases have added. C(died): how its process ended, if too early."""

    name: str
    tally: frame.Tally
    peak: float
    died: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        tally = self.tally
        rate = tally.cases / tally.seconds if tally.seconds else 0
        failed = tally.failed + bool(self.died)
        return (
            self.name, f"{tally.cases:,}", f"{rate:,.0f}", f"{tally.declared:,}", f"{failed:,}",
            f"{tally.slowest * 1000:.1f}", f"{self.peak:.0f}",
        )  # fmt: skip


def arguments(words: t.Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="where random numbers begin; another one for each run by default")
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together (default: %(default)s)")
    parser.add_argument("--cases", type=int, help="so many for each target, however long that takes")
    parser.add_argument("--target", action="append", help="these only: a name, or the beginning of some; repeatable")
    parser.add_argument("--input", type=Path, help="one case, from a file in .cache/fuzz; needs --target")
    parser.add_argument("--list", action="store_true", help="show the targets and end")
    options = parser.parse_args(words)
    names = options.target or [""]
    options.chosen = [one for name, one in sorted(frame.TARGETS.items()) if name.startswith(tuple(names))]
    exact = [one for one in options.chosen if one.name in names]
    if len(exact) == len(names):
        options.chosen = exact
    if not options.chosen:
        parser.error(f"no such target; there are {', '.join(sorted(frame.TARGETS))}")
    if options.input and (not options.target or len(options.chosen) != 1):
        parser.error("--input needs one --target")
    return options


def apart(chosen: frame.Target, seed: int, cases: int | None, seconds: float | None) -> Row:
    """Run a target in a process of its own, which a crash or too much memory ends alone."""
    number = mmap.mmap(-1, 8)
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.close(reading)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            _bound(chosen.mebibytes)
            tally = frame.fuzz(
                chosen, seed, cases=cases, seconds=seconds, progress=lambda at: struct.pack_into("=Q", number, 0, at)
            )
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            tally = tally._replace(failures=[frame.smaller(chosen, failure) for failure in tally.failures])
            with os.fdopen(writing, "wb") as stream:
                pickle.dump((tally, peak), stream)
            os._exit(0)
        except BaseException:
            # Not one of a case: the fuzzing itself could not go on.
            with contextlib.suppress(BaseException):
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    started = time.monotonic()
    with os.fdopen(reading, "rb") as stream:
        result = stream.read()
    _pid, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    if result and not code:
        return Row(chosen.name, *pickle.loads(result))
    reached = struct.unpack_from("=Q", number, 0)[0]
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    tally = frame.Tally(reached, time.monotonic() - started, 0, 0, 0.0, 0, [])
    repeat = _command(f"--seed {seed} --target {chosen.name} --cases {reached}")
    return Row(chosen.name, tally, 0.0, f"{how} in case {reached}. Repeat it: {repeat}")


def _bound(mebibytes: int) -> None:
    """Let this process have so much more memory than it has."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * _MEBIBYTE, resource.RLIM_INFINITY))


def keep(chosen: frame.Target, failure: frame.Failure) -> str:
    """Write what made a target fail to a file; what there is to know about it."""
    text = repr(failure.case)
    path = KEPT / f"{chosen.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
    KEPT.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    name = path.relative_to(frame.ROOT)
    return f"""\
{chosen.name}: {failure.kind} at {failure.place}
{failure.text.rstrip()}
Input: {text[:300] + "…" if len(text) > 300 else text}
Repeat it: {_command(f"--target {chosen.name} --input {name}")}
Before it is fixed, add it as a test in tests/unit.
"""


def _command(words: str) -> str:
    return f"make fuzz ARGS='{words}'"


def table(rows: t.Sequence[Row]) -> str:
    """The rows as a Markdown table that can be read as it is."""
    cells = [HEADINGS, *(row.cells for row in rows)]
    if len(rows) > 1:
        cases, seconds = sum(row.tally.cases for row in rows), sum(row.tally.seconds for row in rows)
        declared = sum(row.tally.declared for row in rows)
        failed = sum(row.tally.failed + bool(row.died) for row in rows)
        slowest, peak = max(row.tally.slowest for row in rows), max(row.peak for row in rows)
        total = frame.Tally(cases, seconds, declared, failed, slowest, 0, [])
        cells.append(Row("all", total, peak).cells)
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(f"{cell:{'<' if not at else '>'}{widths[at]}}" for at, cell in enumerate(line)) + " |"
        for line in cells
    ]
    rule = ["-" * (width - 1) + (":" if at else "-") for at, width in enumerate(widths)]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def repeat(chosen: frame.Target, path: Path) -> int:
    """Run the one case in a file."""
    case = ast.literal_eval(path.read_text())
    tally = frame.fuzz(chosen._replace(seeds=(case,)), 0, cases=1)
    for failure in tally.failures:
        print(failure.text)
    print("failed" if tally.failed else "raised what is declared" if tally.declared else "passed")
    return 1 if tally.failed else 0


def main(words: t.Sequence[str] | None = None) -> int:
    options = arguments(words)
    if options.list:
        print("\n".join(one.name for one in options.chosen))
        return 0
    if options.input:
        return repeat(options.chosen[0], options.input)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    seconds = None if options.cases else 60 * options.minutes / len(options.chosen)
    rows = []
    for chosen in options.chosen:
        missing = chosen.missing()
        if missing:
            print(f"{chosen.name}: not run: {missing}", flush=True)
            continue
        row = apart(chosen, seed, options.cases, seconds)
        rows.append(row)
        print(re.sub(r"\s+", " ", " ".join(row.cells)), file=sys.stderr, flush=True)
        for failure in row.tally.failures:
            print(keep(chosen, failure), flush=True)
        if row.died:
            print(f"{chosen.name}: {row.died}\n", flush=True)
    print(table(rows))
    return 1 if any(row.tally.failed or row.died for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
