# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that hangs or is killed in any phase: the change is rolled back all the same, and reported.

What hangs is a real system call, opening a FIFO that nobody writes to; it stands for a file system that does not
respond.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import supervisor as _supervisor
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Lock

from .test_changeset import tree
from .test_transaction import Bed

PATIENCE = 60  # seconds that end a test which hangs


class Watched(Bed):
    """A host whose runs are supervised. stall(): waits in a system call for ever."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self.pid = folder / "pid"

    def stall(self) -> None:
        with self.fifo.open("rb"):
            pass

    def run(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        files = [
            {"path": str(self.conf / "deep" / "policy"), "content": "policy"},
            {"path": str(self.conf / "site"), "content": "new"},
        ]
        validated = ArgumentSpecValidator(_transaction_options.ARGUMENT_SPEC).validate(
            {"files": files, "rehearse": "off", **options}
        )
        assert not validated.error_messages
        return _supervisor.run(dict(validated.validated_parameters), check, self.prediction)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


def entering(monkeypatch: pytest.MonkeyPatch, phase: str, act: t.Callable[[], t.Any]) -> None:
    """Have something happen once in the process of the run, when it has entered a phase."""
    set_phase, left = Lock.set_phase, [act]

    def noted(lock: Lock, entered: str) -> None:
        set_phase(lock, entered)
        if entered == phase and left:
            left.pop()()

    monkeypatch.setattr(Lock, "set_phase", noted)


def limited(monkeypatch: pytest.MonkeyPatch, *steps: str) -> None:
    for step in steps:
        monkeypatch.setitem(_supervisor.LIMITS, step, 1.0)


def test_a_run_that_works_is_what_it_would_be_without(bed):
    result = bed.run()
    assert result["changed"] and result["phase"] == "commit" and bed.states() == ["committed"]
    assert (bed.conf / "site").read_text() == "new" and not bed.lock.exists()
    assert not bed.run()["changed"]


def test_its_failures_are_too(bed):
    bed.server.happens = [lambda: (False, "it will not")]
    before = tree(bed.conf)
    message, result = bed.fails()
    assert message == "reload failed, everything is back as it was: it will not"
    assert result["rolled_back"] and result["timings"]["restored"] > 0 and tree(bed.conf) == before


@pytest.mark.parametrize(
    ("phase", "outcome", "rolled_back"),
    [
        ("read", "nothing was changed", False),
        ("stage", "nothing was changed", False),
        ("swap", "nothing was changed", False),
        ("reload", "everything is back as it was", True),
        ("probe", "everything is back as it was", True),
        ("commit", "everything is back as it was", True),
    ],
)
@pytest.mark.parametrize("how", ["hangs", "stopped", "killed"])
def test_a_run_that_does_not_come_to_the_end_of_a_phase_is_rolled_back(
    bed, monkeypatch, phase, outcome, rolled_back, how
):
    before = tree(bed.conf)
    limited(monkeypatch, phase)
    act = {
        "hangs": bed.stall,
        "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }[how]
    entering(monkeypatch, phase, act)
    message, result = bed.fails()
    words = f"was killed in the step {phase}" if how == "killed" else f"the step {phase} did not end within 1 s"
    assert message.startswith(f"{phase} failed, {outcome}: ") and words in message
    assert (result["rolled_back"], result["phase"], result["changed"]) == (rolled_back, phase, False)
    assert result["failure"]["phase"] == phase
    assert tree(bed.conf) == before and not bed.lock.exists()
    assert not {*bed.states()} & {*_journal.OPEN}
    monkeypatch.undo()


def test_a_rollback_that_hangs_is_reported_and_left_to_the_next_run(bed, monkeypatch):
    limited(monkeypatch, _engine.ROLLBACK)
    bed.server.happens = [lambda: (False, "it will not"), bed.stall]
    message, result = bed.fails()
    assert "the step rollback did not end within 1 s" in message and result["rolled_back"]
    # The files came first; the rollback that followed found them, and had the server read them.
    assert (bed.conf / "site").read_text() == "old" and bed.states() == ["undone"]


def test_a_rollback_that_never_ends_leaves_the_files_restored_and_says_so(bed, monkeypatch):
    limited(monkeypatch, _engine.ROLLBACK)
    monkeypatch.setattr(_engine, "_serve_again", lambda *_arguments: bed.stall())
    bed.server.happens = [lambda: (False, "it will not")]
    message, result = bed.fails()
    assert message.startswith("reload failed, NOT everything could be restored; the next run tries again: ")
    assert "The rollback failed: it did not end within 1 s and was killed" in message and not result["rolled_back"]
    assert (bed.conf / "site").read_text() == "old" and bed.states() == ["swapping"]


def test_a_diagnosis_that_hangs_costs_the_diagnosis_only(bed, monkeypatch):
    before = tree(bed.conf)
    monkeypatch.setattr(_engine, "DIAGNOSIS_TIMEOUT", 0.5)
    monkeypatch.setattr(bed.server, "logged", bed.stall)
    bed.server.happens = [lambda: (False, "it will not")]
    message, result = bed.fails()
    assert message == (
        "reload failed, everything is back as it was: it will not; the cause could not be determined: "
        "it did not end within 0.5 s and was killed"
    )
    assert result["rolled_back"] and tree(bed.conf) == before and not bed.lock.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), RecursionError("too deep")])
def test_a_diagnosis_that_fails_costs_the_diagnosis_only(bed, monkeypatch, error):
    def fails() -> t.NoReturn:
        assert (bed.conf / "site").read_text() == "old", "the files come first"
        raise error

    monkeypatch.setattr(bed.server, "logged", fails)
    bed.server.happens = [lambda: (False, "it will not")]
    message, result = bed.fails()
    assert message.startswith(
        "reload failed, everything is back as it was: it will not; the cause could not be determined: "
    )
    assert type(error).__name__ in message and result["rolled_back"]


def test_nothing_is_diagnosed_before_every_file_is_restored(bed, monkeypatch):
    seen = []
    monkeypatch.setattr(bed.server, "logged", lambda: seen.append("logged"))
    monkeypatch.setattr(_engine._rehearsal, "openssl_of", lambda layout: seen.append("openssl"))
    undo = _journal.undo

    def undone(record):
        assert seen == []
        return undo(record)

    monkeypatch.setattr(_journal, "undo", undone)
    bed.server.happens = [lambda: (False, "it will not")]
    assert bed.fails()[1]["rolled_back"]


def test_what_could_not_be_read_is_named(bed):
    bed.server.unread = ["/home/eve/error.log: not a regular file"]
    bed.server.happens = [lambda: (False, "the main process ended at the reload")]
    message, _result = bed.fails()
    assert message.endswith("the main process ended at the reload; not read: /home/eve/error.log: not a regular file")


def test_a_signal_is_the_runs_own(bed, monkeypatch):
    before = tree(bed.conf)
    parent = os.getpid()
    entering(monkeypatch, "reload", lambda: (os.kill(parent, signal.SIGTERM), time.sleep(PATIENCE)))
    message, result = bed.fails()
    assert message == "reload failed, everything is back as it was: interrupted by signal 15"
    assert result["rolled_back"] and tree(bed.conf) == before


def test_a_run_whose_parent_was_killed_rolls_back(bed, monkeypatch):
    before = tree(bed.conf)
    entering(monkeypatch, "reload", lambda: (bed.pid.write_text("here"), time.sleep(PATIENCE)))
    parent = os.fork()
    if parent == 0:
        try:
            bed.run()
        finally:
            os._exit(0)
    deadline = time.monotonic() + PATIENCE
    while not bed.pid.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    while (bed.lock.exists() or bed.states() != ["undone"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tree(bed.conf) == before and bed.states() == ["undone"]


def test_a_defect_outside_of_the_transaction_is_rolled_back_and_reported(bed, monkeypatch):
    before = tree(bed.conf)

    def interrupted() -> t.NoReturn:
        raise KeyboardInterrupt

    entering(monkeypatch, "reload", interrupted)
    monkeypatch.setattr(_engine._Transaction, "_roll_back", lambda self: None)  # as if it had not come to that
    message, result = bed.fails()
    assert message.startswith("reload failed, everything is back as it was: unexpected KeyboardInterrupt")
    assert "Traceback" in result["exception"] and tree(bed.conf) == before


def test_without_another_process_nothing_is_changed(bed, monkeypatch):
    before = tree(bed.conf)

    def fork() -> t.NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    message, _result = bed.fails()
    assert message == (
        "lock failed, nothing was changed: no process can be started (Resource temporarily unavailable): the host is "
        "out of memory, or has reached its limit of processes; stop some (systemctl status lists what runs), then "
        "re-run"
    )
    assert tree(bed.conf) == before


def test_a_parent_that_reads_nothing_does_not_delay_a_rollback():
    """Its pipe is full: what is reported without a result is reported at once, or not at all."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    os.set_blocking(writer, True)
    assert Beside(lambda: _supervisor._note(writer, _engine.ROLLBACK, None)).result(PATIENCE) is None
    assert os.get_blocking(writer)
    os.close(reader)
    os.close(writer)


def test_a_signal_after_the_end_of_the_child_reaches_no_other_process(bed, monkeypatch):
    """The number of the child may be another one's by then."""
    signalled: list[int] = []
    kill, end = os.kill, _supervisor.end

    def ended(child: int) -> bool:
        found = end(child)
        monkeypatch.setattr(os, "kill", lambda pid, number: (signalled.append(pid), kill(pid, number)))
        kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(_supervisor, "end", ended)
    entering(monkeypatch, "reload", lambda: kill(os.getpid(), signal.SIGKILL))
    message, _result = bed.fails()
    assert message.startswith("reload failed, everything is back as it was: the process of the run was killed")
    assert signalled == []


def test_what_an_administrator_has_written_before_a_run_was_killed_is_kept_and_named(bed, monkeypatch):
    def act() -> None:
        (bed.conf / "site").write_text("by hand")
        os.kill(os.getpid(), signal.SIGKILL)

    entering(monkeypatch, "reload", act)
    _message, result = bed.fails()
    assert (bed.conf / "site").read_text() == "old"
    (warning,) = result["warnings"]
    assert str(bed.conf / "site") in warning
    (kept,) = (path for path in Path(bed.journal.found.folder).rglob("*") if path.is_file() and path.suffix != ".json")
    assert kept.read_text() == "by hand"


@pytest.mark.parametrize("phase", ["rehearse", "reload"])
def test_a_rollback_that_cannot_even_begin_is_reported_as_what_is_known(bed, monkeypatch, phase):
    entering(monkeypatch, phase, lambda: os.kill(os.getpid(), signal.SIGKILL))

    def no_process(_function: object) -> t.NoReturn:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(_supervisor, "Beside", no_process)
    message, result = bed.fails()
    known = (
        "nothing was changed" if phase == "rehearse" else "NOT everything could be restored; the next run tries again"
    )
    assert message.startswith(f"{phase} failed, {known}: ") and not result["rolled_back"]
    monkeypatch.undo()


# --- the lock --------------------------------------------------------------------------------------------------------


def test_a_lock_whose_holder_is_not_known_is_not_taken_for_free(tmp_path, monkeypatch):
    monkeypatch.setattr(_engine, "END_SECONDS", 0.1)
    (tmp_path / "lock").mkdir()
    for own in ((), (1,)):
        with pytest.raises(_journal.JournalError, match="cannot open the lock"):
            _engine.take_over(Lock(str(tmp_path / "lock")), 0.2, own)


def test_no_other_process_is_ended_for_the_rollback_of_a_killed_run(tmp_path, monkeypatch):
    monkeypatch.setattr(_engine, "END_SECONDS", 0.1)
    command = ["/usr/bin/python3", "-IS", "-c", HOLDS, str(tmp_path / "lock"), "stopped"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(_journal.JournalError, match="another transaction is under way"):
            _engine.take_over(Lock(str(tmp_path / "lock")), 0.2, own=[os.getpid()])
        assert process.poll() is None
        process.kill()


# --- the guard -------------------------------------------------------------------------------------------------------

HOLDS = """
import fcntl, os, signal, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print(flush=True)
if sys.argv[2] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["stopped", "hangs"])
def test_the_guard_acts_when_the_holder_of_the_lock_does_not(bed, monkeypatch, how):
    before = tree(bed.conf)
    _engine.run(
        dict(
            ArgumentSpecValidator(_transaction_options.ARGUMENT_SPEC)
            .validate({"files": [{"path": str(bed.conf / "site"), "content": "new"}], "rehearse": "off"})
            .validated_parameters
        ),
        False,
        bed.prediction,
    )
    (record,) = bed.journal.records()
    record.save(_journal.SWAPPING)
    monkeypatch.setattr(_engine, "END_SECONDS", 0.5)
    monkeypatch.setattr(_engine, "HOLDER_PATIENCE", PATIENCE if how == "stopped" else 2.0)
    command = ["/usr/bin/python3", "-IS", "-c", HOLDS, str(bed.lock), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        assert _engine.roll_back_unfinished(bed.journal.folder, record.id, "timer") == 0
        assert time.monotonic() - started < PATIENCE, "one that was stopped is not waited for"
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert tree(bed.conf) == before and bed.states() == ["undone"]
    assert bed.journal.records()[0].data["rolled_back_by"] == "timer"
    assert not bed.lock.exists()
