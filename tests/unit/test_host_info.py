# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module host_info: the questions of other modules, asked in one process."""

from __future__ import annotations

import json
import os
import sys

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils import _host_info
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
from ansible_collections.kopano.hardening.plugins.module_utils._host import background as _background
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import replay as _replay
from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates import restarts as _restarts
from ansible_collections.kopano.hardening.plugins.module_utils._updates import status as _status
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.modules import host_info

from . import plays

# Long enough ago for every list of packages to be new.
NOW = "2020-01-01T00:00:00Z"
UNKNOWN = {**dict.fromkeys(("updates", "frontend", "certificates")), "web_config": False}
FRONTEND = {"server": "auto", "clients": False}
CERTIFICATES = {"ca_file": None, "ca_content": None, "self_signed_ok": False, "now": None}
UPDATES = {"support_data": {}, "accept_lts": True, "max_metadata_age": 48, "now": NOW, "refresh": False}


def ask(**parts):
    return _host_info.run({**UNKNOWN, **parts}, check_mode=True)


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_modules():
    documented = yaml.safe_load(host_info.DOCUMENTATION)["options"]
    assert set(documented) == set(_host_options.HOST)
    assert _host_options.HOST["web_config"].items() <= documented["web_config"].items()
    for part in ("updates", "frontend", "certificates"):
        spec = _host_options.HOST[part]
        told = {name: {key: value for key, value in entry.items() if key != "description"}
                for name, entry in documented[part]["suboptions"].items()}  # fmt: skip
        assert told == spec["options"], part


def test_no_part_is_queried_without_its_option():
    assert ask() == {}


def test_a_run_of_web_config_is_done_again_on_demand(monkeypatch):
    monkeypatch.setattr(_replay, "rerun", lambda: {"digest": "0", "answer": {}})
    assert ask(web_config=True) == {"web_config": {"digest": "0", "answer": {}}}


@pytest.mark.parametrize("started", ["nginx", None])
def test_a_server_that_was_just_started_is_not_tested_once_more(monkeypatch, started):
    asked = []
    monkeypatch.setattr(_replay, "rerun", lambda: {"digest": "0", "answer": "{}", "started": started})
    monkeypatch.setattr(_webserver_info, "run", lambda params, known: asked.append(known()) or {"vhosts": []})
    answer = ask(frontend=FRONTEND, web_config=True)
    assert asked == [started]
    assert answer["web_config"] == {"digest": "0", "answer": "{}", "started": started}


def test_each_part_is_what_its_module_returns(monkeypatch):
    # Servers of other tests may start or end in between.
    monkeypatch.setattr(_webserver_info.Server, "main_pid", lambda server: None)
    in_use = _provenance.in_use(_restarts.scan(Host()).processes)
    monkeypatch.setattr(_provenance, "in_use", lambda _processes: in_use)
    answer = ask(updates=UPDATES, frontend=FRONTEND, certificates=CERTIFICATES)
    assert set(answer) == {"updates", "frontend", "certificates"}
    assert answer["frontend"] == _webserver_info.run(FRONTEND)
    of_updates = _status.run(UPDATES, check_mode=True)
    for part in ("distribution", "support", "updates", "automatic"):
        assert answer["updates"][part] == json.loads(json.dumps(of_updates[part])), part
    served = {vhost["certificate"] for vhost in answer["frontend"]["vhosts"] if vhost["tls"]} - {None}
    assert {one["path"] for one in answer["certificates"]["results"]} == served


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"updates": {**UPDATES, "max_metadata_age": 0}}, "^max_metadata_age: 0 is less than 1 hour"),
        ({"frontend": FRONTEND, "certificates": {**CERTIFICATES, "now": "soon"}}, "^now: 'soon' is not a time"),
        ({"updates": UPDATES, "frontend": FRONTEND, "certificates": {**CERTIFICATES, "ca_file": "/no.pem"}}, "/no.pem"),
    ],
)
def test_options_without_meaning_are_one_clear_error(parts, words):
    with pytest.raises(ValueError, match=words):
        ask(**parts)
    with pytest.raises(ChildProcessError):  # nothing is left of the other process
        os.waitpid(-1, os.WNOHANG)


def explode(*_arguments):
    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")  # a ValueError as well, and about no option


PARTS = {
    "updates": (_status, "run"),
    "frontend": (_webserver_info, "run"),
    "certificates": (_certificate_info, "run"),
    "web_config": (_replay, "rerun"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_crashes_loses_no_other(monkeypatch, part):
    monkeypatch.setattr(_replay, "rerun", lambda: {"digest": "0", "answer": "{}"})
    monkeypatch.setattr(*PARTS[part], explode)
    answer = ask(updates=UPDATES, frontend=FRONTEND, certificates=CERTIFICATES, web_config=True)
    lost = {part, "certificates"} if part == "frontend" else {part}
    assert set(answer) == set(PARTS)
    assert {name for name, value in answer.items() if value.get("failed")} == lost
    assert answer[part]["msg"] == "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: no text"
    if part == "frontend":
        assert "frontend" in answer["certificates"]["msg"] and "no text" in answer["certificates"]["msg"]
    with pytest.raises(ChildProcessError):  # nothing is left of the other process
        os.waitpid(-1, os.WNOHANG)


def test_a_process_of_updates_that_is_killed_loses_no_other(monkeypatch):
    monkeypatch.setattr(_status, "run", lambda *_arguments: os._exit(9))
    answer = ask(updates=UPDATES, frontend=FRONTEND)
    assert answer["updates"]["failed"] is True and "servers" in answer["frontend"]


def test_a_run_through_ansible(tmp_path):
    queries = [{"frontend": {}, "certificates": {}}, {"updates": {"max_metadata_age": 0}}, {"certificates": {}}]
    tasks = {number: {"kopano.hardening.host_info": query} for number, query in enumerate(queries)}
    done = plays.run(tmp_path, tasks, "--check", "-e", f"ansible_python_interpreter={sys.executable}")
    answer, no_hour, no_frontend = (done[number].result for number in tasks)
    assert answer["failed"] is False, answer
    assert answer["changed"] is False
    assert set(answer) >= {"frontend", "certificates"} and "updates" not in answer
    assert (no_hour["failed"], no_hour["msg"]) == (True, "max_metadata_age: 0 is less than 1 hour")
    words = "missing parameter(s) required by 'certificates': frontend"
    assert (no_frontend["failed"], no_frontend["msg"]) == (True, words)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: {"mail": 1 / 0}, "^ZeroDivisionError: division by zero"),
        (lambda: os._exit(3), "it ended without a result"),
        (lambda: {"mail": object()}, "TypeError: Object of type object is not JSON serializable"),
    ],
)
def test_a_process_that_fails_is_no_result(function, words):
    beside = _background.Beside(function)
    with pytest.raises(RuntimeError, match=words):
        beside.result()
    with pytest.raises(ChildProcessError):  # nothing of it is left
        os.waitpid(beside._child, os.WNOHANG)


def test_package_managers_that_hang_cost_their_own_part_only(monkeypatch):
    """A process of a local user can keep those waiting that read its entries in /proc."""
    reader, writer = os.pipe()
    monkeypatch.setattr(_status, "run", lambda _params, _check_mode: os.read(reader, 1))
    monkeypatch.setattr(_host_info, "UPDATES_TIMEOUT", 0.5)
    answer = ask(updates=UPDATES, certificates=CERTIFICATES, frontend=FRONTEND)
    assert answer["updates"] == {"failed": True, "msg": "it did not end within 0.5 s and was killed"}
    assert not answer["frontend"].get("failed")
    os.close(reader)
    os.close(writer)


def test_the_other_process_is_beside_this_one():
    reader, writer = os.pipe()

    def function():
        return {"read": os.read(reader, 9).decode()}

    beside = _background.Beside(function)
    os.write(writer, b"it runs")
    assert beside.result() == {"read": "it runs"}
    os.close(reader)
    os.close(writer)
