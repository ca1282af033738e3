# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change that no run completes is rolled back, whatever else fails on the host.

The service manager is a script here that does what a test tells it; the real one is in the Molecule scenario `failure`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import guard as _guard
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Lock
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import server as _server

from . import alone, web_bed
from .test_changeset import tree
from .test_transaction import Bed, FakeServer, full
from .test_transaction import bed as bed

pytestmark = pytest.mark.slow

HANGS = "exec /bin/sleep 20"
FAILS = "echo no >&2; exit 1"
WORKS = "exit 0"


class Systemd:
    """A service manager that is there, with scripts in place of its programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs = folder / "programs"
        self.units = folder / "units"
        self.log = folder / "calls"
        for path in (self.programs, self.units):
            path.mkdir()
        monkeypatch.setattr(_guard, "RUNNING_SYSTEMD", str(folder))
        monkeypatch.setattr(_guard, "UNIT_DIRECTORY", str(self.units))
        monkeypatch.setattr(_guard, "TIMEOUT", 0.3)
        monkeypatch.setattr(_guard, "_PLAIN", {"PATH": str(self.programs)})
        monkeypatch.setenv("PATH", str(self.programs))
        self.does("systemd-run", WORKS)
        self.does("systemctl", WORKS)

    def does(self, program: str, script: str) -> None:
        path = self.programs / program
        path.write_text(f'#!/bin/sh\necho {program} "$@" >>{self.log}\n{script}\n')
        path.chmod(0o755)

    def lacks(self, program: str) -> None:
        (self.programs / program).unlink()

    def calls(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def guards(self) -> list[str]:
        return sorted(str(path.relative_to(self.units)) for path in self.units.rglob("*.service"))


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    folder = tmp_path / "systemd"
    folder.mkdir()
    return Systemd(folder, monkeypatch)


# --- a rollback depends on nothing that can fail ---------------------------------------------------------------------


@pytest.mark.parametrize("systemctl", [HANGS, FAILS, None])
def test_a_service_manager_that_hangs_or_is_gone_does_not_keep_a_change_from_its_rollback(bed, systemd, systemctl):
    before = tree(bed.conf)

    def refuse() -> tuple[bool, str]:
        if systemctl is None:
            systemd.lacks("systemctl")
        else:
            systemd.does("systemctl", systemctl)
        return False, "[emerg] it will not"

    bed.server.happens = [refuse]
    message, result = bed.fails(confirm_timeout=60)
    assert message == "reload failed, everything is back as it was: [emerg] it will not"
    assert result["rolled_back"] and tree(bed.conf) == before
    assert bed.states() == ["undone"] and systemd.guards() == []
    assert bed.run()["changed"], "the next run has to find a host that is in order"


@pytest.mark.parametrize(("systemd_run", "words"), [(HANGS, "timed out"), (FAILS, "no"), (None, "No such file")])
def test_a_timer_that_cannot_be_started_stops_the_change_before_it_begins(bed, systemd, systemd_run, words):
    before = tree(bed.conf)
    if systemd_run is None:
        systemd.lacks("systemd-run")
    else:
        systemd.does("systemd-run", systemd_run)
    message, result = bed.fails(confirm_timeout=60)
    assert message.startswith("swap failed, nothing was changed: confirm_timeout: ") and words in message
    assert tree(bed.conf) == before and bed.server.calls == []
    assert bed.states() == [] and systemd.guards() == [] and not result["rolled_back"]


def test_without_a_service_manager_a_change_that_shall_be_confirmed_is_refused(bed, monkeypatch, tmp_path):
    monkeypatch.setattr(_guard, "RUNNING_SYSTEMD", str(tmp_path / "none"))
    before = tree(bed.conf)
    message, _result = bed.fails(confirm_timeout=60)
    assert "needs systemd" in message and "0 switches the confirmation off" in message
    assert tree(bed.conf) == before and bed.states() == []
    assert bed.run()["changed"], "without a confirmation it needs none"


def test_a_full_run_directory_is_the_reason_that_is_given(bed, systemd, monkeypatch):
    systemd.does("systemd-run", "printf '\\033[0;1;31mUnit x.timer not found.\\033[0m\\n'; exit 5")
    monkeypatch.setattr(_guard, "_full", lambda path: f"the file system of {path} is full")
    message, _result = bed.fails(confirm_timeout=60)
    assert message.endswith("systemd-run cannot start the timer: the file system of /run is full")


def test_the_timer_is_queried_for_plain_text():
    assert _guard._PLAIN["SYSTEMD_COLORS"] == "0"


def test_a_full_file_system_is_recognised(tmp_path):
    mount = f"mount -t tmpfs -o size=4k,nr_inodes=2 none {tmp_path} && echo x >{tmp_path}/full"
    program = f"from {_guard.__name__} import _full; print(_full({str(tmp_path)!r}))"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{mount}; exec {sys.executable} -c \"{program}\""],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip("mount namespaces are refused here")
    assert done.stdout.strip() == f"the file system of {tmp_path} is full"
    assert _guard._full(str(tmp_path)) is None


@pytest.mark.parametrize("error", [KeyError("x"), subprocess.TimeoutExpired("nginx", 1), ValueError("y")])
def test_whatever_the_server_does_at_a_rollback_the_first_error_is_reported(bed, systemd, error):
    before = tree(bed.conf)

    def fails() -> t.NoReturn:
        raise error

    bed.server.happens = [lambda: (False, "[emerg] it will not"), fails]
    message, result = bed.fails()
    outcome, reason = message.split("\nThe rollback failed: ")
    assert outcome == "reload failed, NOT everything could be restored; the next run tries again: [emerg] it will not"
    assert str(error) in reason
    assert result["warnings"] and result["warnings"][0].startswith("rollback: ")
    # The files come first. The record is still open and guarded.
    assert tree(bed.conf) == before and bed.states() == ["swapping"] and len(systemd.guards()) == 2
    assert bed.run()["recovered"]["action"] == "undone"
    assert systemd.guards() == []


def test_a_defect_of_this_collection_is_rolled_back_and_reported(bed, systemd):
    before = tree(bed.conf)

    def fails() -> t.NoReturn:
        raise KeyError("nobody thought of that")

    bed.server.happens = [fails]
    message, result = bed.fails()
    assert "everything is back as it was: unexpected KeyError: 'nobody thought of that'" in message
    assert "Traceback" in result["exception"]
    assert tree(bed.conf) == before and bed.states() == ["undone"]


# --- servers that somebody stops --------------------------------------------------------------------------------------


def stop_in(bed: Bed, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    """Have an administrator stop the server when the run enters a phase."""
    set_phase = Lock.set_phase

    def noted(lock: Lock, entered: str) -> None:
        set_phase(lock, entered)
        if entered == phase:
            bed.server.pid = None

    monkeypatch.setattr(Lock, "set_phase", noted)


@pytest.mark.parametrize(("phase", "rolled_back"), [("rehearse", False), ("swap", False), ("reload", True)])
def test_a_server_that_is_stopped_meanwhile_stays_stopped(bed, monkeypatch, phase, rolled_back):
    before = tree(bed.conf)
    stop_in(bed, monkeypatch, phase)
    message, result = bed.fails()
    assert "nginx was stopped during the" in message and "it stays stopped" in message
    assert result["rolled_back"] is rolled_back
    assert tree(bed.conf) == before
    assert (bed.server.calls, bed.server.pid) == (["check"] if rolled_back else [], None)


@pytest.mark.parametrize(("stopped", "calls"), [(True, []), (False, ["start"])])
def test_a_recovery_starts_a_server_unless_it_was_stopped(bed, stopped, calls):
    bed.run()
    bed.journal.records()[0].save(_journal.SWAPPING)
    bed.server.calls.clear()
    bed.server.pid, bed.server.stopped = None, stopped
    action, paths = _engine.recover(bed.journal, bed.journal.records()[0])
    assert (action, len(paths), bed.server.calls) == ("undone", 2, calls)


def test_a_server_that_did_not_run_before_the_change_does_not_run_after_its_rollback(bed):
    bed.run()
    record = bed.journal.records()[0]
    record.save(_journal.SWAPPING, running=False)
    bed.server.calls.clear()
    _engine.recover(bed.journal, record)
    assert (bed.server.calls, bed.server.pid) == (["stop"], None)


@pytest.mark.parametrize(
    ("shown", "stopped"),
    [
        ("ActiveState=inactive\nResult=success\nActiveEnterTimestampMonotonic=5", True),
        ("ActiveState=inactive\nResult=success\nActiveEnterTimestampMonotonic=0", False),
        ("ActiveState=failed\nResult=exit-code\nActiveEnterTimestampMonotonic=5", False),
        ("ActiveState=active\nResult=success\nActiveEnterTimestampMonotonic=5", False),
        (None, False),
    ],
)
def test_what_the_service_manager_reports_of_a_server_that_does_not_run(monkeypatch, tmp_path, shown, stopped):
    server = _server.Server(web_bed.layout("nginx", tmp_path))
    monkeypatch.setattr(server, "_systemctl", lambda *_arguments: shown)
    assert server.was_stopped() is stopped


# --- the host's own rollback ------------------------------------------------------------------------------------------


def waiting(bed: Bed) -> _journal.Record:
    """A change that waits for its confirmation."""
    assert bed.run(confirm_timeout=60)["phase"] == "commit"
    (record,) = bed.journal.records()
    assert record.state == _journal.CONFIRMING
    return record


def test_every_change_is_guarded_until_its_end(bed, systemd):
    guards: list[list[str]] = []
    bed.server.happens = [lambda: guards.append(systemd.guards())]
    assert bed.run()["phase"] == "commit"
    assert guards == [
        ["kopano-hardening-rollback.service", "multi-user.target.wants/kopano-hardening-rollback.service"]
    ]
    assert systemd.guards() == [] and systemd.calls() == ""
    assert not os.path.exists(os.path.join(bed.journal.records()[0].folder, "code.zip"))


@pytest.mark.parametrize("fails", [1, 9])
@pytest.mark.parametrize("reload", [None, (False, "it will not")])
def test_a_guard_that_cannot_be_removed_at_first_does_not_stay(bed, systemd, monkeypatch, fails, reload):
    """One that cannot be removed at all is named. It would do nothing."""
    unlink, refused = os.unlink, []
    unit = str(systemd.units / _guard.UNIT)

    def remove(path, **more):
        if path == unit and os.path.lexists(path) and len(refused) < fails:
            refused.append(path)
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, **more)

    monkeypatch.setattr(_guard.os, "unlink", remove)
    bed.server.happens = [lambda: reload]
    result = bed.fails()[1] if reload else bed.run()
    assert refused and result["rolled_back"] is bool(reload)
    assert systemd.guards() == ([_guard.UNIT] if fails > 1 else [])
    assert result["warnings"] == (
        [f"no longer needed, but could not be removed; remove them: {unit}"] if fails > 1 else []
    )


def test_the_guard_stays_until_the_confirmation(bed, systemd):
    record = waiting(bed)
    unit = (systemd.units / _guard.UNIT).read_text()
    assert "Before=apache2.service httpd.service nginx.service\n" in unit
    assert f'"{record.folder}/code.zip" "{bed.journal.folder}" "{record.id}" "boot"' in unit
    assert "systemd-run --quiet" in systemd.calls() and "--on-active=60" in systemd.calls()
    confirmed = bed.run(files=[], confirm=record.id)
    assert confirmed["changed"] and bed.states() == ["committed"]
    assert systemd.guards() == [] and f"systemctl --no-block stop kopano-hardening-{record.id}.timer" in systemd.calls()
    # Its result may have been lost on the way, so it may be confirmed once more.
    assert bed.run(files=[], confirm=record.id)["changed"] is False


@pytest.mark.parametrize("systemctl", [HANGS, FAILS])
def test_a_confirmation_does_not_depend_on_the_service_manager(bed, systemd, systemctl):
    record = waiting(bed)
    systemd.does("systemctl", systemctl)
    assert bed.run(files=[], confirm=record.id)["changed"] and bed.states() == ["committed"]
    # The timer that could not be stopped finds nothing to do.
    assert _engine.roll_back_unfinished(bed.journal.folder, record.id, "timer") == 0
    assert bed.states() == ["committed"] and (bed.conf / "site").read_text() == "new"


@pytest.mark.parametrize("occasion", ["timer", "boot"])
def test_the_guard_rolls_back_and_the_next_run_and_a_late_confirmation_report_it(
    bed, systemd, monkeypatch, tmp_path, occasion
):
    before = tree(bed.conf)
    record = waiting(bed)
    monkeypatch.setattr(_engine, "Journal", lambda *folder: bed.journal)
    assert _engine.roll_back_unfinished(bed.journal.folder, record.id, occasion) == 0
    assert tree(bed.conf) == before and bed.states() == ["undone"] and systemd.guards() == []
    message, result = bed.fails(files=[], confirm=record.id)
    assert message == (
        f"commit failed, everything is back as it was: confirm: transaction '{record.id}' was not confirmed in time, "
        "the host has already rolled it back"
    )
    assert result["rolled_back"]
    reason = {"timer": "by its timer, since it was not confirmed in time", "boot": "at the boot of the host"}[occasion]
    (warning,) = bed.run(files=[])["warnings"]
    assert warning.startswith(f"transaction {record.id} was rolled back {reason}")
    assert bed.run(files=[])["warnings"] == [], "it is reported once"


def test_at_a_boot_the_web_server_is_left_to_the_service_manager(bed, systemd):
    record = waiting(bed)
    bed.server.pid = None
    bed.server.calls.clear()
    _engine.roll_back_unfinished(bed.journal.folder, record.id, "boot")
    assert (bed.server.calls, bed.server.pid) == ([], None)
    assert (bed.conf / "site").read_text() == "old"


def test_the_timer_waits_for_a_run_that_holds_the_lock(bed, systemd, monkeypatch):
    monkeypatch.setattr(_engine, "LOCK_PAUSE", 0.01)
    record = waiting(bed)
    lock = Lock(str(bed.lock))
    lock.acquire()
    timer = threading.Thread(target=_engine.roll_back_unfinished, args=(bed.journal.folder, record.id, "timer"))
    timer.start()
    time.sleep(0.3)
    assert timer.is_alive() and (bed.conf / "site").read_text() == "new"
    lock.release()
    timer.join(60)
    assert not timer.is_alive() and (bed.conf / "site").read_text() == "old"


def test_a_rollback_that_fails_is_tried_again(bed, systemd, monkeypatch, capsys):
    record = waiting(bed)
    pauses: list[float] = []
    monkeypatch.setattr(_engine.time, "sleep", pauses.append)
    with monkeypatch.context() as patch:
        patch.setattr(_journal._changeset, "put", full)
        patch.setattr(_engine.time, "sleep", lambda pause: (pauses.append(pause), patch.undo()))
        assert _engine.roll_back_unfinished(bed.journal.folder, record.id, "timer") == 0
    assert pauses[:1] == [1] and (bed.conf / "site").read_text() == "old"
    assert f"the rollback of {record.id} failed: " in capsys.readouterr().err


def test_a_guard_that_never_succeeds_fails_and_leaves_the_rest_to_the_next_run(bed, systemd, monkeypatch):
    record = waiting(bed)
    monkeypatch.setattr(_engine.time, "sleep", lambda _pause: None)
    with monkeypatch.context() as patch:
        patch.setattr(_journal._changeset, "put", full)
        assert _engine.roll_back_unfinished(bed.journal.folder, record.id, "timer") == 1
    assert bed.states() == ["confirming"] and len(systemd.guards()) == 2


def test_a_change_of_the_clock_moves_no_deadline(bed, systemd, monkeypatch):
    record = waiting(bed)
    for clock in (0.0, 2.0**33):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        assert _guard.is_waiting(record)
    record.data["deadline"] = time.clock_gettime(time.CLOCK_BOOTTIME) - 1
    assert not _guard.is_waiting(record)


def test_after_a_reboot_no_change_waits(bed, systemd, monkeypatch, tmp_path):
    record = waiting(bed)
    (tmp_path / "boot_id").write_text("another boot\n")
    monkeypatch.setattr(_guard, "BOOT_ID", str(tmp_path / "boot_id"))
    assert not _guard.is_waiting(record)
    assert bed.run(files=[])["recovered"]["action"] == "undone"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a lock of its own where the machine has one")
@pytest.mark.parametrize("state", [_journal.SWAPPING, _journal.CONFIRMING])
def test_the_program_that_is_kept_on_the_host_does_it(bed, systemd, state):
    """With no other code than its own, as the service manager runs it."""
    before = tree(bed.conf)
    record = waiting(bed)
    # The files only: other web servers of this machine are none of this test's business.
    record.save(state, server="none of this host")
    command = _guard._command(record, "boot")
    done = subprocess.run(
        alone.command(*command), env={}, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(bed.conf) == before and bed.states() == ["undone"]
    assert bed.journal.records()[0].data["rolled_back_by"] == "boot"


@pytest.mark.parametrize(("word", "quoted"), [("/a b", '"/a b"'), ('"%$\\', '"\\"%%$$\\\\"')])
def test_arguments_of_a_unit_are_quoted(word, quoted):
    assert _guard._quoted(word) == quoted


def test_a_service_that_a_crash_has_left_is_removed_by_the_next_run(bed, systemd):
    bed.run()
    (systemd.units / _guard.UNIT).write_text("")
    bed.run(check=True)
    assert systemd.guards() == [_guard.UNIT]
    bed.run()
    assert systemd.guards() == []


# --- starting a server -----------------------------------------------------------------------------------------------


def test_fake_servers_can_do_what_real_ones_can():
    """Else these tests would prove nothing about the real class."""
    public = {name for name in vars(FakeServer) if not name.startswith("_")}
    assert public <= {name for name in vars(_server.Server) if not name.startswith("_")}


def test_kept_edits_that_cannot_be_listed_do_not_hide_the_error_of_the_run(bed, monkeypatch):
    monkeypatch.setattr(bed.journal.found, "report", full)
    bed.server.happens = [lambda: (False, "[emerg] it will not")]
    message, result = bed.fails()
    assert message == "reload failed, everything is back as it was: [emerg] it will not"
    assert "cannot be listed" in result["warnings"][-1] and not bed.lock.exists()
