# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run without changes that is done again by host_info, and whom its answer counts for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.kopano.hardening.plugins.action import frontend, web_config
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import frame as _frame
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import replay as _replay
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose

from .test_transaction import Bed, bed  # noqa: F401, a fixture

KEY = "-----BEGIN PRIVATE KEY-----\n"


def wanted(bed: Bed, **more):  # noqa: F811
    """The options of web_config as they are given."""
    return {"files": [{"path": str(bed.conf / "site"), "content": "old"}], "rehearse": "off", **more}


@pytest.fixture
def state(bed):  # noqa: F811
    """The state directory of a host, on which a run that has nothing to change was made."""
    folder = bed.journal.folder
    _replay.remember(_transaction_options.understood(wanted(bed)), True, folder)
    return folder


def kept(folder):
    return os.path.exists(os.path.join(folder, _replay.FILE))


def test_it_is_what_the_module_would_return(bed, state):  # noqa: F811
    again = _replay.rerun(state)
    assert again["digest"] == _transaction_options.digest(_transaction_options.understood(wanted(bed)))
    answer = bed.run(**wanted(bed))
    assert answer["changed"] is False and answer.pop("warnings") == []
    told = json.loads(again["answer"])
    timeless = {key: value for key, value in answer.items() if key != "timings"}
    assert {key: value for key, value in told.items() if key != "timings"} == timeless
    assert not bed.lock.exists() and bed.server.calls == []


def test_only_root_can_read_what_is_kept(state):
    assert os.stat(os.path.join(state, _replay.FILE)).st_mode & 0o7777 == 0o600
    assert os.stat(state).st_mode & 0o7777 == 0o700


@pytest.mark.parametrize(
    "differing",
    [
        {"files": []},
        {"files": [{"path": "/etc/other", "content": "old"}]},
        {"keep": 6},
        {"probes": [{"path": "/"}]},
        {"disable": {"sites": ["default"]}},
        {"policy": {"tls": "/etc/nginx/tls.conf"}},
        {"restore": "latest", "files": []},
    ],
)
def test_other_options_have_another_digest(bed, state, differing):  # noqa: F811
    other = _transaction_options.understood(wanted(bed, **differing))
    assert other is not None
    assert _transaction_options.digest(other) != _replay.rerun(state)["digest"]


def test_defaults_make_no_difference(bed):  # noqa: F811
    given = _transaction_options.understood({**wanted(bed), "server": "auto", "probes": [], "policy": None, "keep": 5})
    assert _transaction_options.digest(given) == _transaction_options.digest(
        _transaction_options.understood(wanted(bed))
    )


def test_what_has_changed_since_is_left_to_the_module(bed, state):  # noqa: F811
    (bed.conf / "site").write_text("somebody's")
    assert _replay.rerun(state) is None
    (bed.conf / "site").write_text("old")
    os.chmod(bed.conf / "site", 0o600)
    assert _replay.rerun(state) is not None  # no mode was asked for
    (bed.conf / "site").unlink()
    assert _replay.rerun(state) is None


def test_so_is_what_fails(bed, state):  # noqa: F811
    bed.server.pid = None
    assert _replay.rerun(state) is None
    bed.server.pid = 1
    assert _replay.rerun(state) is not None
    bed.layouts = []
    assert _replay.rerun(state) is None


def test_so_is_what_an_interrupted_run_has_left(bed, state):  # noqa: F811
    bed.run(files=[{"path": str(bed.conf / "more"), "content": "more"}])
    assert _replay.rerun(state) is not None
    bed.journal.records()[0].save(_journal.SWAPPING)
    assert _replay.rerun(state) is None
    assert bed.states() == ["swapping"]  # nothing was put right on the way


def test_so_is_what_another_run_holds(bed, state):  # noqa: F811
    other = _journal.Lock(str(bed.lock))
    other.acquire()
    assert _replay.rerun(state) is None
    other.release()
    assert _replay.rerun(state) is not None


def test_so_is_a_rehearsal_that_fails_or_could_not_go_all_the_way(bed, state, monkeypatch):  # noqa: F811
    _replay.remember(_transaction_options.understood(wanted(bed, rehearse="auto")), True, state)
    result = {"method": "namespace", "ok": True, "ms": 1.0, "start_ms": 1.0, "grading_ms": 0.0, "refused": None,
              "endpoints": [], "responses": [], "grades": [], "listening": []}  # fmt: skip
    monkeypatch.setattr(_rehearsal, "conflicts", lambda *_arguments: [])
    bed.server.listening = bed.server.foreign_listening = list
    monkeypatch.setattr(_rehearsal, "rehearse", lambda *_arguments: result)
    assert json.loads(_replay.rerun(state)["answer"])["rehearsal"]["ok"] is True
    assert _replay.rerun(state)["started"] == bed.layouts[0].server
    result["method"] = "instance"  # of which not all of the configuration is part
    assert _replay.rerun(state)["started"] is None
    result["method"], result["refused"] = "syntax", "unshare: Operation not permitted"
    assert _replay.rerun(state) is None

    def fails(*_arguments):
        raise _rehearsal.Failure(_diagnose.Fault("it does not start"), result)

    monkeypatch.setattr(_rehearsal, "rehearse", fails)
    assert _replay.rerun(state) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"keep": "many"}', '{"files": [{"path": "etc"}]}', '{"unknown": 1}', '{"keep": 0}'],
)
def test_what_cannot_be_understood_is_no_run(state, text):
    with open(os.path.join(state, _replay.FILE), "w") as stream:
        stream.write(text)
    assert _replay.rerun(state) is None


def test_a_host_where_nothing_is_kept(tmp_path):
    assert _replay.rerun(str(tmp_path / "none")) is None


def test_a_run_that_changes_something_makes_it_forgotten(bed, state):  # noqa: F811
    assert kept(state)
    _replay.remember(_transaction_options.understood(wanted(bed)), False, state)
    assert not kept(state)


@pytest.mark.parametrize(
    "secret",
    [
        {"files": [{"path": "/etc/key", "content": KEY}]},
        {"probes": [{"path": "/", "headers": {"Authorization": "Basic bTpt"}}]},
        {"probes": [{"path": "/", "headers": {"cookie": "session=1"}}]},
        {"restore": "latest", "files": []},
    ],
)
def test_what_is_not_kept(bed, state, secret):  # noqa: F811
    _replay.remember(_transaction_options.understood(wanted(bed, **secret)), True, state)
    assert not kept(state)


def test_a_run_that_is_kept_already_is_not_written_again(bed, state):  # noqa: F811
    path = os.path.join(state, _replay.FILE)
    os.utime(path, (1, 1))
    _replay.remember(_transaction_options.understood(wanted(bed)), True, state)
    assert os.stat(path).st_mtime == 1
    _replay.remember(_transaction_options.understood(wanted(bed, keep=6)), True, state)
    assert os.stat(path).st_mtime > 1 and json.loads(Path(path).read_text())["keep"] == 6


@pytest.mark.parametrize("fragments", [{}, {"enable": {"modules": []}, "disable": None}])
def test_a_run_that_only_queries_leaves_what_is_kept(bed, state, fragments):  # noqa: F811
    """As the role updates does before and after what it installs."""
    before = _replay.rerun(state)["digest"]
    _replay.remember(_transaction_options.understood({"probes": [{"path": "/"}], **fragments}), True, state)
    assert _replay.rerun(state)["digest"] == before
    _replay.remember(_transaction_options.understood({"disable": {"sites": ["default"]}}), True, state)
    assert json.loads(Path(state, _replay.FILE).read_text())["disable"]["sites"] == ["default"]


@pytest.mark.parametrize(
    ("answer", "check", "confirm", "remembered"),
    [
        ({}, False, None, [True]),
        ({"changed": True}, False, None, [False]),
        ({"ungraded": True}, False, None, [False]),
        # Such a run is not taken from host_info, so doing it again there would be for nothing.
        ({"warnings": ["the rehearsal could go no further than 'syntax'"]}, False, None, [False]),
        ({}, True, None, []),
        ({"changed": True}, False, "000001", []),
    ],
)
def test_what_the_module_remembers(monkeypatch, answer, check, confirm, remembered):
    seen = []
    module = mock.Mock(params={**_transaction_options.understood({}), "confirm": confirm}, check_mode=check)
    monkeypatch.setattr(_frame, "AnsibleModule", lambda **_options: module)
    monkeypatch.setattr(_frame.os, "geteuid", lambda: 0)
    monkeypatch.setattr(_engine, "run", lambda *_arguments: {"changed": False, "warnings": [], **answer})
    monkeypatch.setattr(_replay, "remember", lambda _params, unchanged: seen.append(unchanged))
    _frame.main(None)
    assert seen == remembered
    assert module.exit_json.call_count == 1 and module.warn.call_count == len(answer.get("warnings", []))


def test_where_it_cannot_be_kept_nothing_is_lost(bed, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("")
    _replay.remember(_transaction_options.understood(wanted(bed)), True, str(tmp_path / "file" / "state"))


# --- whom it counts for ----------------------------------------------------------------------------------------------


@pytest.fixture
def action(monkeypatch):
    """The role's action, whose module answers C({module: True})."""
    monkeypatch.setattr(web_config.ActionModule, "_transaction", lambda *_arguments: {"module": True})
    return frontend.WebConfigOnce.__new__(frontend.WebConfigOnce)


def done(arguments, seconds_ago=1.0):
    digest = _transaction_options.digest(_transaction_options.understood(arguments))
    return {"digest": digest, "asked": time.monotonic() - seconds_ago, "answer": '{"changed": false}'}


ARGUMENTS = {"files": [{"path": "/etc/site", "content": "a"}], "server": "nginx"}


def test_a_run_with_the_very_same_options_takes_the_result(action):
    action.done = done(ARGUMENTS)
    assert action._transaction(dict(ARGUMENTS), {}) == {"changed": False}


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (None, ARGUMENTS),
        (done(ARGUMENTS, seconds_ago=frontend.FRESH + 1), ARGUMENTS),
        (done(ARGUMENTS), {**ARGUMENTS, "server": "apache"}),
        (done(ARGUMENTS), {**ARGUMENTS, "files": [{"path": "/etc/site", "content": "b"}]}),
        (done(ARGUMENTS), {**ARGUMENTS, "keep": "many"}),  # the module has the words for it
    ],
)
def test_any_other_run_queries_the_host(action, given, arguments):
    action.done = given
    assert action._transaction(dict(arguments), {}) == {"module": True}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_options_that_others_could_have_written_are_not_used(bed, state):  # noqa: F811
    os.chmod(state, 0o777)
    assert _replay.rerun(state) is None
    os.chmod(state, 0o700)
    assert _replay.rerun(state) is not None
