# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a target is, and how its cases are run.

A target is a function that takes one case, calls the code with it and checks the result:

    @target("x509.certificate", seeds=CERTIFICATES, declared=ParseError)
    def certificate(case):
        read = read_certificate(case)
        assert read.subject.isprintable()

It passes if it returns or raises a declared exception. Everything else is a failure: another exception, an assertion
about the result that does not hold (a pass that is none, above all), more time than C(seconds) of the processor, more
memory than C(mebibytes).

A case is made of earlier ones by C(make), from a source of random numbers that depends on the seed and the target's
name alone. What runs a line of the collection that no case has run before becomes a case to begin with; lines are
counted from Python 3.12 on. Cases are values that C(ast.literal_eval) reads, so that one fits into a file, and a test.
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
import traceback
import types
import typing as t
from pathlib import Path

from . import mutations

ROOT = Path(__file__).resolve().parent.parent.parent
# How many cases to begin with are kept for a target besides its seeds. The oldest make way.
MOST_FOUND = 2000
# Failures of a target whose input is kept: one for each place in the code.
MOST_KEPT = 20
# Seconds by the clock after which a case hangs, waiting for something.
HANGS = 60.0

Case = t.Any
Make = t.Callable[[random.Random, t.Sequence[Case]], Case]


class Target(t.NamedTuple):
    """C(run): the function. C(seeds): valid cases. C(make): a case from some. C(declared): what may be raised.
    C(unit): how many cases the unit tests run; C(missing): what this machine lacks for it, empty for nothing."""

    name: str
    run: t.Callable[[Case], None]
    seeds: t.Sequence[Case]
    make: Make
    declared: tuple[type[BaseException], ...]
    seconds: float
    mebibytes: int
    unit: int = 300
    missing: t.Callable[[], str] = str


TARGETS: dict[str, Target] = {}


def target(
    name: str,
    *,
    seeds: t.Sequence[Case],
    make: Make = mutations.of_data,
    declared: type[BaseException] | tuple[type[BaseException], ...] = (),
    seconds: float = 1.0,
    mebibytes: int = 64,
    unit: int = 300,
    missing: t.Callable[[], str] = str,
) -> t.Callable[[t.Callable[[Case], None]], t.Callable[[Case], None]]:
    """Makes a function a target. C(seconds): for one case. C(mebibytes): what all cases together may add."""

    def add(function: t.Callable[[Case], None]) -> t.Callable[[Case], None]:
        assert name not in TARGETS, f"two targets are called {name}"
        assert seeds, f"{name} has no seeds"
        raised = declared if isinstance(declared, tuple) else (declared,)
        TARGETS[name] = Target(name, function, tuple(seeds), make, raised, seconds, mebibytes, unit, missing)
        return function

    return add


class LimitExceeded(BaseException):
    """A case took too long. No exception of the library, so that no code under test catches it."""


class Failure(t.NamedTuple):
    """C(kind) and C(place) are the same for failures with the same cause; C(text) is for a reader."""

    kind: str
    place: str
    text: str
    case: Case


class Tally(t.NamedTuple):
    """What came of a target's cases. C(slowest): seconds of the processor; C(found): cases that ran a new line."""

    cases: int
    seconds: float
    declared: int
    failed: int
    slowest: float
    found: int
    failures: t.Sequence[Failure]


def fuzz(
    chosen: Target,
    seed: int,
    *,
    cases: int | None = None,
    seconds: float | None = None,
    slack: float = 1.0,
    progress: t.Callable[[int], None] = lambda _number: None,
) -> Tally:
    """Run so many cases, or for so many seconds. C(slack): factor of the time limits. C(progress): gets each number."""
    source = random.Random(f"{seed} {chosen.name}")
    corpus = list(chosen.seeds)
    longest = 2 * max(map(_size, corpus)) + 1000
    kept: dict[tuple[str, str], Failure] = {}
    number = declared = failed = found = 0
    slowest = 0.0
    started = time.monotonic()
    with _coverage() as is_new, _alarm():
        while (cases is None or number < cases) and (seconds is None or time.monotonic() - started < seconds):
            # The seeds first, as they are.
            case = chosen.seeds[number] if number < len(chosen.seeds) else chosen.make(source, corpus)
            number += 1
            progress(number)
            is_declared, failure, spent = attempt(chosen, case, slack)
            declared += is_declared
            slowest = max(slowest, spent)
            if failure:
                failed += 1
                if len(kept) < MOST_KEPT:
                    kept.setdefault((failure.kind, failure.place), failure)
            # Not what is long: each case made of it would take its time.
            if is_new() and number > len(chosen.seeds) and _size(case) <= longest:
                found += 1
                corpus.append(case)
                if len(corpus) > len(chosen.seeds) + MOST_FOUND:
                    del corpus[len(chosen.seeds)]
    took = time.monotonic() - started
    return Tally(number, took, declared, failed, slowest, found, list(kept.values()))


def _size(case: Case) -> int:
    """The bytes or characters of all texts in a case."""
    if isinstance(case, t.Mapping):
        return sum(_size(key) + _size(value) for key, value in case.items())
    if isinstance(case, (list, tuple)):
        return sum(map(_size, case))
    return len(case) if isinstance(case, (str, bytes)) else 1


def attempt(chosen: Target, case: Case, slack: float = 1.0) -> tuple[bool, Failure | None, float]:
    """One case: whether it raised what is declared, the failure, and seconds of the processor."""
    before = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, chosen.seconds * slack)
    signal.setitimer(signal.ITIMER_REAL, HANGS * slack)
    raised: BaseException | None = None
    try:
        try:
            chosen.run(case)
        finally:
            # A limit can strike here, too, and is caught as well.
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raised = error
    spent = time.process_time() - before
    if isinstance(raised, chosen.declared):
        return True, None, spent
    return False, _failure(raised, case) if raised else None, spent


def _failure(error: BaseException, case: Case) -> Failure:
    kind = {AssertionError: "wrong result", LimitExceeded: "too slow", MemoryError: "too much memory"}.get(
        type(error), "undeclared exception"
    )
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if "/plugins/" in step.filename] or steps
    # Where a limit strikes is by chance, but in which function it is not.
    place = f"{own[-1].filename}:{own[-1].name if kind == 'too slow' else own[-1].lineno}"
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failure(kind, place if kind != "undeclared exception" else f"{place} {type(error).__name__}", text, case)


@contextlib.contextmanager
def _alarm() -> t.Iterator[None]:
    """Raises L(LimitExceeded) when a timer ends."""

    def strike(number: int, _frame: types.FrameType | None) -> None:
        raise LimitExceeded("it waits" if number == signal.SIGALRM else "it takes too long")

    before = [(number, signal.signal(number, strike)) for number in (signal.SIGPROF, signal.SIGALRM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _coverage() -> t.Iterator[t.Callable[[], bool]]:
    """A function: has a line of the collection run for the first time since the last call? Without means, never."""
    if sys.version_info < (3, 12):
        yield lambda: False
        return
    monitoring = sys.monitoring
    tool = monitoring.PROFILER_ID
    seen = 0

    def on_line(code: types.CodeType, _line: int) -> t.Any:
        nonlocal seen
        seen += "/plugins/" in code.co_filename
        return monitoring.DISABLE  # each line once, so that it costs nothing

    def is_new() -> bool:
        nonlocal seen
        counted, seen = seen, 0
        return counted > 0

    monitoring.use_tool_id(tool, "fuzz")
    monitoring.register_callback(tool, monitoring.events.LINE, on_line)
    monitoring.restart_events()
    monitoring.set_events(tool, monitoring.events.LINE)
    try:
        yield is_new
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, monitoring.events.LINE, None)
        monitoring.free_tool_id(tool)


def smaller(chosen: Target, failure: Failure, tries: int = 500) -> Failure:
    """The same failure with a shorter case where that is text or bytes: pieces are left out as long as it stays."""
    if not isinstance(failure.case, (str, bytes)) or failure.kind == "too slow":
        return failure
    with _alarm():
        size = len(failure.case) // 2
        while size and tries > 0:
            at = 0
            while at < len(failure.case) and tries > 0:
                tries -= 1
                _declared, other, _spent = attempt(chosen, failure.case[:at] + failure.case[at + size :])
                if other and other[:2] == failure[:2]:
                    failure = other
                else:
                    at += size
            size //= 2
    return failure
