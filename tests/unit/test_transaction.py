# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of the steps and the way back, on real files with a server that does what a test tells it.

What real servers do is tested by the Molecule scenario `failure`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import guard as _guard
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import prediction as _prediction
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal, Lock, Record
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.error_logs import Logged
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend

from . import web_bed
from .slow_bed import SLACK
from .test_changeset import tree

NGINX = "pid /nowhere;\nevents { }\nhttp { }\n"


ENDPOINT = {"address": "127.0.0.1", "port": 443, "server_name": None, "path": "/"}


class FakeServer:
    """A server that runs, and takes every configuration. happens: what a test wants done in each call of reload."""

    def __init__(self, layout: _layout.Layout) -> None:
        self.layout = layout
        self.pid: int | None = 1
        self.calls: list[str] = []
        self.happens: list[t.Callable[[], t.Any]] = []
        self.stopped = False
        self.log = ""
        self.unread: list[str] = []

    def prepare(self) -> None:
        pass

    def main_pid(self) -> int | None:
        return self.pid

    def check(self) -> tuple[bool, str]:
        self.calls.append("check")
        return True, ""

    def reload(self, logs: t.Sequence[str], ends: object = None) -> tuple[bool, str]:
        self.calls.append("reload")
        result = self.happens.pop(0)() if self.happens else None
        return result or (True, "")

    def logged(self) -> Logged:
        return Logged(self.log, "", self.log.split("\n"), self.unread)

    def logged_about_requests(self) -> str:
        return self.log

    def ended(self, patience: float) -> bool:
        self.calls.append("ended")
        return self.pid is None

    def start(self) -> bool:
        self.calls.append("start")
        self.pid = 1
        return True

    def listening(self) -> set[tuple[str, int]]:
        return set()

    def stop(self) -> bool:
        self.calls.append("stop")
        self.pid = None
        return True

    def was_stopped(self) -> bool:
        return self.stopped


class Bed:
    """A host: a configuration with one site, a journal, a lock, and one server."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conf = folder / "conf"
        self.conf.mkdir()
        (self.conf / "nginx.conf").write_text(NGINX)
        (self.conf / "site").write_text("old")
        self.lock = folder / "lock"
        self.journal = Journal(str(folder / "state"))
        self.server = FakeServer(web_bed.layout("nginx", self.conf))
        self.layouts = [self.server.layout]
        self.prediction: t.Any = _prediction
        monkeypatch.setattr(_layout, "detect", lambda wanted: self.layouts)
        monkeypatch.setattr(_engine, "Server", lambda layout: self.server)
        monkeypatch.setattr(_engine, "Journal", lambda folder="": self.journal)
        monkeypatch.setattr(_engine, "Lock", lambda: Lock(str(self.lock)))

    def run(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Two files are changed, unless options say something else."""
        files = [
            {"path": str(self.conf / "deep" / "policy"), "content": "policy"},
            {"path": str(self.conf / "site"), "content": "new"},
        ]
        asked = {"files": files, "rehearse": "off", **options}
        validated = ArgumentSpecValidator(_transaction_options.ARGUMENT_SPEC).validate(asked)
        assert not validated.error_messages
        return _engine.run(dict(validated.validated_parameters), check, self.prediction)

    def fails(self, **options: t.Any) -> tuple[str, dict[str, t.Any]]:
        with pytest.raises(_engine.TransactionError) as caught:
            self.run(**options)
        return str(caught.value), caught.value.result

    def states(self) -> list[str]:
        return [record.state for record in self.journal.records()]


@pytest.fixture
def bed(tmp_path, monkeypatch):
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield Bed(tmp_path, monkeypatch)
    for name, action in before.items():
        signal.signal(name, action)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def full(*_arguments: t.Any, **_more: t.Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_change_and_the_way_back(bed):
    before = tree(bed.conf)
    result = bed.run()
    assert (result["changed"], result["phase"], result["rolled_back"]) == (True, "commit", False)
    assert tree(bed.conf)["site"][2] == b"new" and tree(bed.conf)["deep/policy"][2] == b"policy"
    assert bed.states() == ["committed"] and not bed.lock.exists()
    assert bed.run()["changed"] is False
    back = bed.run(files=[], restore="latest")
    assert back["changed"] and tree(bed.conf) == before
    assert bed.server.calls.count("reload") == 2


def test_a_change_that_another_program_undoes_before_each_run_is_named(bed):
    """It is made, with a warning, and takes the place of no other in the journal."""
    assert bed.run()["warnings"] == []
    (bed.conf / "site").write_text("old")
    first = bed.run(keep=1)
    assert first["changed"] and (bed.conf / "site").read_text() == "new"
    assert first["warnings"] == [_engine.REPEATED.format(bed.conf / "site")]
    (bed.conf / "site").write_text("old")
    bed.run(keep=1)
    assert len(bed.states()) == 2, "the first one and the last"
    assert bed.run(files=[], restore=bed.journal.records()[0].id)["changed"]
    assert (bed.conf / "site").read_text() == "old" and not (bed.conf / "deep").exists()


def test_what_somebody_writes_after_the_swap_stays_and_is_named(bed):
    site = bed.conf / "site"
    bed.server.happens = [lambda: site.write_text("new, and more") and None]
    assert bed.run()["warnings"] == [_engine.EDITED.format(site)]
    assert site.read_text() == "new, and more"
    assert bed.states() == ["committed"]


@pytest.mark.parametrize("points", [["latest", "latest"], ["000001"]])
def test_an_edit_that_a_later_run_has_changed_further_is_kept_by_a_restore_to_before_it(bed, points):
    site = bed.conf / "site"
    bed.run()
    site.write_text("by hand")
    bed.run()
    for point in points:
        known = [record.id for record in bed.journal.records() if record.id.startswith(point)]
        result = bed.run(restore=known[0] if known else point)
    assert site.read_text() == "old"
    (copy,) = bed.journal.found.entries(result["transaction"])
    assert Path(copy["copy"]).read_text() == "by hand" and copy["path"] == str(site)
    assert any(str(site) in warning for warning in result["warnings"])


def test_check_mode_writes_nothing(bed, tmp_path):
    before = tree(tmp_path)
    result = bed.run(check=True)
    assert result["changed"] and [entry["after"] for entry in result["diff"]] == ["policy", "new"]
    assert result["transaction"] is None
    assert tree(tmp_path) == before


def test_without_the_prober_a_change_is_left_to_the_run_that_has_it(bed, tmp_path):
    before = tree(tmp_path)
    bed.prediction = None
    result = bed.run(rehearse="auto")
    assert (result["ungraded"], result["changed"], result["phase"], bed.states()) == (True, False, "read", [])
    assert tree(tmp_path) == before
    # Where nothing is rehearsed, nothing is graded, and the prober is not needed.
    result = bed.run()
    assert result["changed"] and "ungraded" not in result


@pytest.mark.parametrize("phase", ["read", "stage", "rehearse", "swap", "reload", "probe", "commit"])
def test_a_signal_takes_the_change_back(bed, monkeypatch, phase):
    before = tree(bed.conf)
    set_phase = Lock.set_phase

    def noted(lock, entered):
        set_phase(lock, entered)
        if entered == phase:
            monkeypatch.setattr(Lock, "set_phase", set_phase)
            interrupt()

    monkeypatch.setattr(Lock, "set_phase", noted)
    message, result = bed.fails()
    assert f"{phase} failed" in message and "interrupted by signal 15" in message
    assert result["rolled_back"] is (phase in ("reload", "probe", "commit"))
    assert tree(bed.conf) == before and not bed.lock.exists()
    assert bed.states() in ([], ["undone"])


def test_more_signals_do_not_disturb_the_rollback(bed):
    before = tree(bed.conf)
    bed.server.happens = [interrupt, interrupt]
    message, result = bed.fails()
    assert "everything is back as it was: interrupted by signal 15" in message
    assert result["rolled_back"] and tree(bed.conf) == before
    assert bed.server.calls.count("reload") == 2 and bed.states() == ["undone"]


def test_what_was_found_good_stays_when_a_signal_comes(bed, monkeypatch):
    save = Record.save

    def saved(record, state, **more):
        save(record, state, **more)
        if state == _journal.PROVEN:
            interrupt()

    monkeypatch.setattr(Record, "save", saved)
    assert bed.run()["phase"] == "commit"
    assert bed.states() == ["committed"]


def test_a_refused_reload_is_taken_back(bed):
    before = tree(bed.conf)
    bed.server.happens = [lambda: (False, "[emerg] it will not")]
    message, result = bed.fails()
    assert message == "reload failed, everything is back as it was: [emerg] it will not"
    assert result["failure"]["words"] == "[emerg] it will not"
    assert tree(bed.conf) == before


def test_a_server_that_died_is_started_again(bed):
    def die():
        bed.server.pid = None
        return False, "[emerg] it will not"

    bed.server.happens = [die]
    message, _result = bed.fails()
    assert "everything is back as it was" in message
    assert bed.server.calls[-1] == "start" and bed.server.pid == 1


def test_a_rollback_that_fails_reports_that_and_the_next_run_repairs(bed, monkeypatch):
    before = tree(bed.conf)
    bed.server.happens = [lambda: (False, "it will not")]
    with monkeypatch.context() as patch:
        patch.setattr(_journal._changeset, "put", full)
        # The swap itself goes well.
        patch.setattr(_engine._changeset, "apply", apply_by_hand)
        message, result = bed.fails()
    assert "NOT everything could be restored" in message and not result["rolled_back"]
    assert result["warnings"] and "No space left" in result["warnings"][0]
    # What is left, and why: a role reports no more than the message.
    assert "\nThe rollback failed: " in message and "No space left on device" in message
    assert bed.states() == ["swapping"] and tree(bed.conf) != before
    recovered = bed.run(files=[])
    assert recovered["recovered"]["action"] == "undone" and tree(bed.conf) == before


def apply_by_hand(changes):
    for change in changes:
        Path(change.path).write_bytes(change.after.content)


@pytest.mark.parametrize("state", [_journal.STAGED, _journal.SWAPPING, _journal.PROVEN])
def test_a_disk_that_fills_up_before_the_end_takes_the_change_back(bed, monkeypatch, state):
    before = tree(bed.conf)
    dump = _journal.json.dump

    def written(data, *arguments, **more):
        if data["state"] == state:
            full()
        dump(data, *arguments, **more)

    monkeypatch.setattr(_journal.json, "dump", written)
    message, result = bed.fails()
    assert "No space left on device" in message
    assert result["rolled_back"] is (state == _journal.PROVEN)
    assert tree(bed.conf) == before


def test_a_disk_that_fills_up_at_the_very_end_leaves_the_rest_to_the_next_run(bed, monkeypatch):
    """What is proven stays, so the run is no failure."""
    with monkeypatch.context() as patch:
        dump = _journal.json.dump
        patch.setattr(
            _journal.json, "dump", lambda data, *a, **m: full() if data["state"] == "committed" else dump(data, *a, **m)
        )
        result = bed.run()
    (warning,) = result["warnings"]
    assert "the change is in place and good, but the record of transaction " in warning
    assert "No space left on device" in warning and "The next run completes it" in warning
    assert (result["changed"], result["phase"], result["rolled_back"]) == (True, "commit", False)
    assert (bed.conf / "site").read_text() == "new" and bed.states() == ["proven"]
    assert bed.run()["recovered"]["action"] == "finished"
    assert bed.states() == ["committed"]


@pytest.mark.parametrize("state", [_journal.SWAPPING, _journal.PROVEN])
def test_a_record_that_is_not_safe_on_the_disk_takes_the_change_back(bed, monkeypatch, state):
    """It is there, but its directory could not be synced: what it says must not be true for the next run alone."""
    before, sync, failed = tree(bed.conf), _journal._changeset.fsync_directory, []

    def once(path):
        (record,) = [*bed.journal.records()] or [None]
        if record and record.state == state and not failed:
            failed.append(path)
            raise OSError(errno.EIO, "Input/output error")
        sync(path)

    monkeypatch.setattr(_journal._changeset, "fsync_directory", once)
    states = []
    undo = _journal.undo
    monkeypatch.setattr(_journal, "undo", lambda record: (states.append(bed.states()), undo(record))[1])
    message, result = bed.fails()
    assert failed and "Input/output error" in message
    assert tree(bed.conf) == before and result["rolled_back"] is (state == _journal.PROVEN)
    # Were the run killed in its rollback, the next one would go on with that, and not finish the change.
    assert states == [["staged" if state == _journal.SWAPPING else "swapping"]]


def test_a_lock_that_cannot_be_removed_is_a_warning(bed, monkeypatch):
    unlink = os.unlink

    def refused(path, **more):
        if path == str(bed.lock):
            raise OSError(errno.EIO, "Input/output error")
        unlink(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(_journal.os, "unlink", refused)
        result = bed.run()
    assert result["changed"] and result["warnings"] == [
        f"the lock {bed.lock} cannot be removed: Input/output error; it locks nothing, and the next run removes it"
    ]
    assert bed.lock.exists() and bed.run()["changed"] is False
    assert not bed.lock.exists()


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EIO])
def test_what_was_replaced_cannot_be_removed_and_all_of_it_is_back(bed, monkeypatch, code):
    """The exchange has happened then: the error is no reason to take the new content for somebody else's."""
    before, unlink, refused = tree(bed.conf), os.unlink, []

    def once(path, *, dir_fd=None):
        if dir_fd is not None and not refused:
            refused.append(path)
            raise OSError(code, os.strerror(code))
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(_journal._changeset.os, "unlink", once)
    message, result = bed.fails()
    assert refused and message == f"swap failed, everything is back as it was: {bed.conf}/site: {os.strerror(code)}"
    assert result["rolled_back"] and tree(bed.conf) == before and bed.states() == ["undone"]


def test_attributes_that_cannot_be_read_are_not_taken_for_none(bed, monkeypatch):
    """There may be an access control list among them, which the new file would lack."""
    before = tree(bed.conf)
    monkeypatch.setattr(_journal._changeset.os, "listxattr", refused)
    message, _result = bed.fails()
    assert message == f"read failed, nothing was changed: {bed.conf}/site: Input/output error"
    assert tree(bed.conf) == before


def refused(*_arguments, **_more):
    raise OSError(errno.EIO, "Input/output error")


def test_a_thread_that_cannot_be_started_is_a_matter_of_the_host(bed):
    before = tree(bed.conf)

    def fails():
        raise RuntimeError("can't start new thread")

    bed.server.happens = [fails]
    message, result = bed.fails()
    assert message.startswith("reload failed, everything is back as it was: no thread can be started")
    assert "exception" not in result and tree(bed.conf) == before


@pytest.mark.parametrize("fails", [1, 9])
@pytest.mark.parametrize("reload", [None, (False, "it will not")])
def test_a_staging_directory_that_cannot_be_removed_at_first_does_not_stay(bed, monkeypatch, fails, reload):
    """It has what was replaced. One that cannot be removed at all is named."""
    rmtree, refused = _journal.shutil.rmtree, []

    def remove(path, **more):
        if os.path.basename(path).startswith(".kopano-hardening-") and len(refused) < fails:
            refused.append(path)
        else:
            rmtree(path, **more)

    monkeypatch.setattr(_journal.shutil, "rmtree", remove)
    bed.server.happens = [lambda: reload]
    result = bed.fails()[1] if reload else bed.run()
    assert refused and result["rolled_back"] is bool(reload)
    assert os.path.lexists(refused[0]) is (fails > 1)
    assert result["warnings"] == [
        f"no longer needed, but could not be removed; remove them: {path}" for path in refused[:1] if fails > 1
    ]


def test_the_lock_holds_when_its_phase_cannot_be_written(bed, monkeypatch):
    monkeypatch.setattr(_journal.os, "ftruncate", full)
    assert bed.run()["changed"]


def test_any_other_refusal_of_the_system_is_an_error_and_no_crash(bed):
    before = tree(bed.conf)
    bed.server.happens = [full]
    message, _result = bed.fails()
    assert message == "reload failed, everything is back as it was: [Errno 28] No space left on device"
    assert tree(bed.conf) == before


@pytest.fixture
def both(bed, tmp_path, monkeypatch):
    """Both servers, each of which runs and serves TLS as a test wants it: C({server: (runs, serves TLS)})."""
    apache = tmp_path / "apache"
    apache.mkdir()
    servers = {name: FakeServer(web_bed.layout(name, bed.conf if name == "nginx" else apache)) for name in SERVERS}
    bed.layouts = [server.layout for server in servers.values()]
    monkeypatch.setattr(_layout, "detect", lambda wanted: [i for i in bed.layouts if wanted in ("auto", i.server)])
    monkeypatch.setattr(_engine, "Server", lambda layout: servers[layout.server])

    def are(**states):
        for name, (runs, tls) in states.items():
            servers[name].pid = 1 if runs else None
            texts = {
                "apache": "<VirtualHost *:1>\n SSLEngine on\n</VirtualHost>\n" if tls else "",
                "nginx": "events { }\nhttp { %s }\n" % ("server { listen 127.0.0.1:1 ssl; }" if tls else ""),
            }
            with open(servers[name].layout.main_config, "w") as stream:
                stream.write(texts[name])
        return servers

    return are


SERVERS = ("apache", "nginx")
# Apache and nginx as (runs, serves TLS), and which of them is meant.
CHOICES = [
    ((True, False), (False, True), "apache"),
    ((False, True), (True, False), "nginx"),
    ((True, True), (True, False), "apache"),
    ((True, False), (True, True), "nginx"),
    ((True, True), (True, True), None),
    ((True, False), (True, False), None),
    ((False, True), (False, False), "apache"),
    ((False, False), (False, False), None),
]


@pytest.mark.parametrize(("apache", "nginx", "meant"), CHOICES)
def test_module_and_role_choose_the_same_server(both, apache, nginx, meant):
    both(apache=apache, nginx=nginx)
    states = dict(zip(SERVERS, (apache, nginx), strict=True))
    info = {
        "servers": [{"server": name, "running": runs} for name, (runs, _tls) in states.items()],
        "vhosts": [{"server": name, "tls": tls} for name, (_runs, tls) in states.items()],
    }

    def by_module():
        return _engine._choose_layout("auto", set()).server

    def by_role():
        return _frontend.choose_server(info)["server"]

    if meant:
        assert (by_module(), by_role()) == (meant, meant)
        return
    refusals = []
    for choose, error in ((by_module, _engine._Stop), (by_role, _frontend.Refused)):
        with pytest.raises(error, match=r"frontend_server.* apache and nginx") as caught:
            choose()
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]


@pytest.mark.parametrize("restore", ["latest", "original", "id"])
def test_a_restore_is_about_the_server_that_was_changed(both, bed, restore):
    servers = both(apache=(True, True), nginx=(True, True))
    identifier = bed.run(server="nginx")["transaction"]
    bed.fails()
    servers["apache"].calls.clear()
    servers["nginx"].calls.clear()
    result = bed.run(files=[], restore=identifier if restore == "id" else restore)
    assert result["changed"] and (bed.conf / "site").read_text() == "old"
    assert "reload" in servers["nginx"].calls and servers["apache"].calls == []


def test_a_restore_of_what_was_changed_for_both_servers_is_of_the_one_that_serves(both, bed):
    servers = both(apache=(True, True), nginx=(True, False))
    bed.run(server="nginx")
    bed.run(server="apache", files=[{"path": str(bed.conf / "site"), "content": "newer"}])
    servers["nginx"].calls.clear()
    assert bed.run(files=[], restore="original")["changed"]
    assert servers["nginx"].calls == []


def test_a_restore_needs_no_server_that_is_gone(both, bed):
    """A host that had nginx before, and has it still, but not running."""
    servers = both(apache=(True, True), nginx=(True, True))
    bed.run(server="nginx")
    both(nginx=(False, True))
    assert bed.run(files=[], restore="original")["changed"]
    assert "reload" in servers["apache"].calls


@pytest.mark.parametrize("running", [True, False])
def test_auto_does_not_guess_which_of_two_servers_is_meant(bed, running):
    bed.layouts = [bed.server.layout, bed.server.layout._replace(server="apache")]
    bed.server.pid = 1 if running else None
    message, result = bed.fails()
    assert "set frontend_server" in message and result["phase"] == "read"


def test_a_stopped_server_is_left_alone(bed):
    bed.server.pid = None
    message, result = bed.fails()
    assert "nginx is not running" in message and result["phase"] == "read"
    assert bed.server.calls == [] and bed.states() == []


def test_a_server_that_only_its_configuration_keeps_from_running_is_repaired_and_started(bed, monkeypatch):
    config = bed.conf / "nginx.conf"
    config.write_text("http {\n    server {\n        listen 127.0.0.1:1;\n        ssl on;\n    }\n}\n")
    bed.server.pid = None
    monkeypatch.setattr(bed.server, "check", lambda: ("off: ssl on" in config.read_text(), "unknown directive"))
    policy = str(bed.conf / "kopano-hardening" / "tls.conf")
    options = {
        "files": [{"path": policy, "content": "ssl_protocols TLSv1.2;\n"}],
        "adopt": True,
        "policy": {"tls": policy},
    }
    message, _result = bed.fails(**options)
    assert "is not running" in message
    options["policy"]["repair_ssl_on"] = True
    assert bed.run(**options)["changed"] is True
    assert "listen 127.0.0.1:1 ssl;" in config.read_text()
    assert (bed.server.calls, bed.server.pid) == (["start"], 1)


def test_a_stopped_server_stays_stopped_when_its_repair_is_taken_back(bed, monkeypatch):
    config = bed.conf / "nginx.conf"
    config.write_text("http {\n    server {\n        listen 127.0.0.1:1;\n        ssl on;\n    }\n}\n")
    before = tree(bed.conf)
    bed.server.pid = None
    monkeypatch.setattr(bed.server, "check", lambda: (False, "still not"))
    policy = str(bed.conf / "kopano-hardening" / "tls.conf")
    _message, result = bed.fails(
        files=[{"path": policy, "content": "ssl_protocols TLSv1.2;\n"}],
        adopt=True,
        policy={"tls": policy, "repair_ssl_on": True},
    )
    assert result["rolled_back"] is True
    assert tree(bed.conf) == before
    assert (bed.server.calls, bed.server.pid) == ([], None)


def test_a_configuration_that_cannot_be_read_is_named_before_a_module_that_it_may_load(bed):
    (bed.conf / "nginx.conf").write_text("events { }\nhttp { }\ninclude missing.conf;\n")
    message, _result = bed.fails(enable={"modules": ["headers"]})
    assert f"the configuration was already broken before this run: {bed.conf}/nginx.conf:3: " in message


def test_an_interrupted_run_is_not_repaired_in_check_mode(bed):
    bed.server.happens = [lambda: (False, "it will not")]
    with contextlib.suppress(_engine.TransactionError):
        bed.run()
    bed.journal.records()[0].save(_journal.SWAPPING)
    with pytest.raises(_engine.TransactionError, match=r"was interrupted \(swapping\)"):
        bed.run(check=True)
    assert bed.states() == ["swapping"]


def test_a_change_that_waits_for_its_confirmation_keeps_others_out(bed):
    bed.run()
    bed.journal.records()[0].save(_journal.CONFIRMING, **_guard.deadline(3600))
    message, result = bed.fails()
    assert "waits for its confirmation" in message and result["phase"] == "read"
    bed.journal.records()[0].save(_journal.CONFIRMING, **_guard.deadline(0))
    assert bed.run(files=[])["recovered"]["action"] == "undone"
    assert (bed.conf / "site").read_text() == "old"


def answered(up: bool) -> dict[str, t.Any]:
    blank = dict.fromkeys(("protocol", "cipher", "certificate", "location"))
    return dict(blank, ok=up, status=200 if up else None, headers={}, error=None if up else "refused", ms=1)


def test_a_server_that_ends_a_moment_after_its_reload_is_reported_with_the_reason(bed, monkeypatch):
    def answers(targets, timeout):
        return [answered(bed.server.pid is not None) for _target in targets]

    monkeypatch.setattr(_engine._client, "query_all", answers)
    monkeypatch.setattr(_engine._probes, "targets_of", lambda vhosts: [ENDPOINT])
    bed.server.happens = [lambda: setattr(bed.server, "pid", None)]
    bed.server.log = "[emerg] it will not, after all"
    message, result = bed.fails()
    assert message == "reload failed, everything is back as it was: [emerg] it will not, after all"
    assert result["failure"]["phase"] == "reload"
    assert bed.server.pid == 1


def test_a_server_that_refuses_what_it_refused_before_is_not_waited_for(bed, monkeypatch):
    monkeypatch.setattr(_engine._client, "query_all", lambda targets, timeout: [answered(False) for _ in targets])
    monkeypatch.setattr(_engine._probes, "targets_of", lambda vhosts: [ENDPOINT])
    assert bed.run()["changed"]
    assert "reload" in bed.server.calls and "ended" not in bed.server.calls


def test_a_run_without_changes_returns_the_response_of_each_endpoint(bed, monkeypatch):
    monkeypatch.setattr(_engine._client, "query_all", lambda targets, timeout: [answered(True) for _ in targets])
    monkeypatch.setattr(_engine._probes, "targets_of", lambda vhosts: [ENDPOINT])
    shown = bed.run(files=[])["probes"]
    assert [(entry["address"], entry["port"], entry["status"]) for entry in shown] == [("127.0.0.1", 443, 200)]


def test_where_nothing_changes_a_path_of_a_virtual_host_is_requested_at_one_of_its_addresses(bed, monkeypatch):
    endpoints = [
        dict(ENDPOINT, address=address, server_name=name, block=("/site", line))
        for line, name, *addresses in [(1, "a.test", "192.0.2.1", "2001:db8::1"), (9, "b.test", "192.0.2.2")]
        for address in addresses
    ]
    everywhere = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    questions: list[list[tuple[str, str]]] = []

    def query_all(targets, timeout):
        questions.append([(target["path"], target["address"]) for target in targets])
        return [answered(True) for _ in targets]

    def asked(path: str) -> list[list[str]]:
        return [[address for about, address in some if about == path] for some in questions]

    monkeypatch.setattr(_engine._client, "query_all", query_all)
    monkeypatch.setattr(_engine._probes, "targets_of", lambda vhosts: endpoints)
    options = {"probes": [{"path": "/probed"}]}
    # Before the change, which is compared with the answers after it.
    assert bed.run(**options)["changed"]
    assert (asked("/probed"), asked("/")) == ([everywhere] * 2, [everywhere] * 2)
    questions.clear()
    result = bed.run(**options)
    assert (asked("/probed"), asked("/")) == ([["192.0.2.1", "192.0.2.2"]], [everywhere])
    assert (result["changed"], len(result["probes"])) == (False, 5)
    # A check mode that foresees a change, and a run that wants nothing but answers.
    questions.clear()
    assert bed.run(check=True, files=[{"path": str(bed.conf / "site"), "content": "newer"}], **options)["changed"]
    assert not bed.run(files=[], **options)["changed"]
    assert asked("/probed") == [everywhere] * 2


def test_a_virtual_host_that_cannot_be_requested_is_named(bed, monkeypatch):
    monkeypatch.setattr(_engine._client, "query_all", lambda targets, timeout: [answered(True) for _ in targets])
    blocks = (
        "server {\n listen unix:/run/mail ssl;\n server_name mail.test;\n}\n"
        "server {\n listen unix:/run/plain;\n}\n"
        "server {\n listen 443 ssl;\n listen unix:/run/both ssl;\n}\n"
    )
    (bed.conf / "nginx.conf").write_text("events { }\nhttp {\n%s}\n" % blocks)
    named = [f"the virtual host mail.test ({bed.conf}/nginx.conf:3) is not compared before and after the change: "]
    for result in (bed.run(check=True), bed.run()):
        assert result["changed"]
        assert [text[: len(named[0])] for text in result["warnings"]] == named
    assert bed.run()["warnings"] == []  # nothing changes, so nothing is compared


# --- a server that begins to drip ------------------------------------------------------------------------------------


class Dripping(socketserver.StreamRequestHandler):
    """Answers well, until its server is told to send headers without an end."""

    def handle(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while self.server.drips.is_set():  # type: ignore[attr-defined]
                self.wfile.write(b"X-A: b\r\n")
                time.sleep(0.05)
            self.wfile.write(b"\r\n")


@pytest.fixture
def dripping(monkeypatch):
    monkeypatch.setattr(_engine, "REQUEST_TIMEOUT", 0.3)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads, server.block_on_close, server.drips = True, False, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.drips.clear()
        server.shutdown()


def probes(server, count=1):
    return [{"path": f"/{number}", "tls": False, "port": server.server_address[1]} for number in range(count)]


def test_a_server_that_drips_after_the_change_is_rolled_back_in_time(bed, dripping):
    before = tree(bed.conf)
    bed.server.happens = [dripping.drips.set, dripping.drips.clear]
    began = time.monotonic()
    message, result = bed.fails(probes=probes(dripping))
    assert time.monotonic() - began < SLACK
    assert "timed out" in message and result["rolled_back"] is True
    assert tree(bed.conf) == before


def test_requests_that_no_time_is_left_for_fail_the_change(bed, dripping, monkeypatch):
    before = tree(bed.conf)
    bed.server.happens = [dripping.drips.set, dripping.drips.clear]
    enough = _client._enough
    limit = lambda *arguments: 0.5 if dripping.drips.is_set() else enough(*arguments)  # noqa: E731
    monkeypatch.setattr(_client, "_enough", limit)
    message, result = bed.fails(probes=probes(dripping, 40))
    assert "probe failed" in message and "the 40 requests to the server together took more than" in message
    assert result["rolled_back"] is True and tree(bed.conf) == before


def test_a_server_that_drips_before_the_change_is_reported(bed, dripping):
    dripping.drips.set()
    result = bed.run(probes=probes(dripping))
    port = dripping.server_address[1]
    assert result["changed"] is True
    assert any(f"127.0.0.1:{port} /0" in text and "timed out" in text for text in result["warnings"])


def test_pythons_modules_for_threads_are_loaded_before_a_change_begins():
    """In the middle of it the file of one may be unreadable, or of another version of Python."""
    program = f"import sys, {_engine.__name__}; sys.exit('concurrent.futures.thread' not in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
