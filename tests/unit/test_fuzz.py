# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every target of C(make fuzz), with some cases of one seed; and that the frame finds what it is there for."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import signal
import time

import pytest

from tests.fuzz import frame, run, servers, targets  # noqa: F401 - importing the targets makes them known

# A machine under load: what is too slow is found by `make fuzz`.
SLACK = 60
ANSIBLES = ("options.", "report.")  # targets of what imports ansible-core
NAMES = [
    pytest.param(name, marks=() if name.startswith(ANSIBLES) else pytest.mark.slow) for name in sorted(frame.TARGETS)
]


@pytest.fixture(autouse=True)
def _no_process_is_left():
    """Other tests look for what their own code has left."""
    yield
    servers.close()


@pytest.mark.parametrize("name", NAMES)
def test_target(name):
    chosen = frame.TARGETS[name]
    if chosen.missing():
        pytest.skip(chosen.missing())
    tally = frame.fuzz(chosen, 1, cases=chosen.unit, slack=SLACK)
    assert not tally.failures, tally.failures[0].text
    # Cases that are all refused say nothing about what is accepted.
    assert tally.cases == chosen.unit and tally.declared < chosen.unit


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_valid_and_can_be_kept(name):
    chosen = frame.TARGETS[name]
    for seed in chosen.seeds:
        if not chosen.missing():
            chosen.run(seed)
        assert ast.literal_eval(repr(seed)) == seed


def lenient(case):
    """A target with all kinds of faults, by the first byte."""
    if case[:1] == b"a":
        raise KeyError("undeclared")
    if case[:1] == b"b":
        raise AssertionError("a pass that is none")
    if case[:1] == b"c":
        while True:
            pass
    if case[:1] == b"d":
        bytearray(1 << 30)
    if case[:1] == b"e":
        raise ValueError("declared")


def faulty(*seeds):
    return frame.Target("faulty", lenient, seeds, lambda _source, cases: cases[0], (ValueError,), 0.2, 64)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        (b"a", "undeclared exception"),
        (b"b", "wrong result"),
        (b"c", "too slow"),
        (b"d", "too much memory"),
    ],
)
def test_each_kind_of_failure_is_found(case, kind):
    row = run.apart(faulty(b"x", case), 1, 2, None)
    assert (row.tally.cases, row.tally.failed, row.died) == (2, 1, None)
    assert [(failure.kind, failure.case) for failure in row.tally.failures] == [(kind, case)]


def test_what_is_declared_and_what_passes_is_no_failure():
    tally = frame.fuzz(faulty(b"x", b"e"), 1, cases=3)
    assert (tally.cases, tally.declared, tally.failed) == (3, 1, 0)


def test_something_that_waits_is_found(monkeypatch):
    monkeypatch.setattr(frame, "HANGS", 0.1)
    waits = faulty(b"")._replace(run=lambda _case: time.sleep(60))
    (failure,) = frame.fuzz(waits, 1, cases=1).failures
    assert failure.kind == "too slow" and "it waits" in failure.text


def test_a_crash_is_reported_with_its_case():
    def crash(case):
        if case == b"y":
            os.kill(os.getpid(), signal.SIGKILL)

    row = run.apart(faulty(b"x", b"y")._replace(run=crash), 7, 9, None)
    assert row.died == "SIGKILL in case 2. Repeat it: make fuzz ARGS='--seed 7 --target faulty --cases 2'"
    assert row.cells[4] == "1"


def test_the_same_seed_gives_the_same_cases():
    def cases_of(seed):
        seen = []
        chosen = frame.TARGETS["x509.certificate"]
        frame.fuzz(chosen._replace(run=seen.append), seed, cases=100)
        return seen

    assert cases_of(1) == cases_of(1) != cases_of(2)


def test_a_failing_input_is_made_smaller():
    chosen = faulty(b"")._replace(run=lambda case: 1 / (b"x" not in case))
    (failure,) = frame.fuzz(chosen._replace(seeds=(b"a" * 50 + b"x" + b"b" * 50,)), 1, cases=1).failures
    assert frame.smaller(chosen, failure).case == b"x"


def test_a_failure_is_kept_and_can_be_repeated(tmp_path, monkeypatch, capsys):
    chosen = faulty(b"a1")
    monkeypatch.setitem(frame.TARGETS, "faulty", chosen)
    # Another run may do the same in this checkout.
    monkeypatch.setattr(run, "KEPT", frame.ROOT / ".cache" / f"fuzz-of-a-test-{os.getpid()}")
    assert run.main(["--target", "faulty", "--seed", "3", "--cases", "1"]) == 1
    shown = capsys.readouterr().out
    assert "faulty: undeclared exception" in shown and "add it as a test" in shown
    (kept,) = run.KEPT.iterdir()
    assert f"make fuzz ARGS='--target faulty --input {kept.relative_to(frame.ROOT)}'" in shown
    assert run.main(["--target", "faulty", "--input", str(kept)]) == 1
    kept.write_text("b'e'")
    assert run.main(["--target", "faulty", "--input", str(kept)]) == 0
    kept.unlink()
    run.KEPT.rmdir()


def test_the_command_refuses_what_makes_no_sense():
    for words in (["--target", "nothing-of-that-name"], ["--input", "file"]):
        with contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
            run.arguments(words)
