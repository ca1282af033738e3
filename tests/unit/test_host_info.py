# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module host_info, and what the modules do with its answer: return it, or ask by themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils import _host_info, _questions
from ansible_collections.kopano.hardening.plugins.modules import host_info

from .conftest import COLLECTIONS

# Long enough ago for every list of packages to be new.
NOW = "2020-01-01T00:00:00Z"
UNKNOWN = dict.fromkeys(("updates", "frontend", "certificates"))
FRONTEND = {"server": "auto"}
CERTIFICATES = {"ca_file": None, "self_signed_ok": False, "now": None}
UPDATES = {"support_data": {}, "accept_lts": True, "max_metadata_age": 48, "now": NOW, "refresh": False}


def ask(**parts):
    return _host_info.run({**UNKNOWN, **parts}, check_mode=True)


# --- the answer ------------------------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_modules():
    documented = yaml.safe_load(host_info.DOCUMENTATION)["options"]
    assert set(documented) == set(_questions.HOST)
    for part, spec in _questions.HOST.items():
        told = {name: {key: value for key, value in entry.items() if key != "description"}
                for name, entry in documented[part]["suboptions"].items()}  # fmt: skip
        assert told == spec["options"], part


def test_nothing_is_asked_that_nobody_wants():
    assert ask() == {"unanswered": {}}


def test_each_part_has_its_question_and_its_answer():
    answer = ask(updates=UPDATES, frontend=FRONTEND, certificates=CERTIFICATES)
    assert answer["unanswered"] == {}
    assert set(answer) == {"updates", "frontend", "certificates", "unanswered"}
    arguments = {
        "updates": _questions.UPDATES,
        "frontend": _questions.FRONTEND,
        "certificates": _questions.CERTIFICATES,
    }
    for part, spec in arguments.items():
        assert set(answer[part]["asked"]) == set(spec) - {"known"}
        assert answer[part]["answer"]["changed"] is False
    assert answer["updates"]["answer"]["distribution"]["name"]
    assert answer["frontend"]["answer"]["os"]["id"]
    served = {vhost["certificate"] for vhost in answer["frontend"]["answer"]["vhosts"] if vhost["tls"]} - {None}
    assert {one["chain"] for one in answer["certificates"]["asked"]["certificates"]} == served
    assert {one["path"] for one in answer["certificates"]["answer"]["results"]} == served


def test_what_cannot_be_answered_is_left_to_its_module():
    answer = ask(
        updates={**UPDATES, "max_metadata_age": 0}, frontend=FRONTEND, certificates={**CERTIFICATES, "now": "soon"}
    )
    assert set(answer) == {"frontend", "unanswered"}
    assert answer["unanswered"] == {
        "updates": "RuntimeError: ValueError: max_metadata_age: 0 is less than 1 hour",
        "certificates": "ValueError: now: 'soon' is not a time, such as 2026-11-25T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: {"mail": 1 / 0}, "ZeroDivisionError: division by zero"),
        (lambda: os._exit(3), "it ended without an answer"),
        (lambda: {"mail": object()}, "TypeError: Object of type object is not JSON serializable"),
    ],
)
def test_a_process_that_fails_is_no_answer(function, words):
    beside = _host_info._Beside(function)
    with pytest.raises(RuntimeError, match=words):
        beside.result()
    with pytest.raises(ChildProcessError):  # nothing of it is left
        os.waitpid(beside._child, os.WNOHANG)


def test_the_other_process_is_beside_this_one():
    reader, writer = os.pipe()

    def function():
        return {"read": os.read(reader, 9).decode()}

    beside = _host_info._Beside(function)
    os.write(writer, b"it runs")
    assert beside.result() == {"read": "it runs"}
    os.close(reader)
    os.close(writer)


# --- what the modules do with it -------------------------------------------------------------------------------------

MARK = {"answered": "before"}
SERVED = {
    **{name: spec.get("default") for name, spec in _questions.without_known(_questions.CERTIFICATES).items()},
    "certificates": [{"chain": "/nowhere.pem", "key": None, "names": []}],
}
MODULES = {
    "update_status_info": ({"now": NOW}, UPDATES, {"now": NOW, "accept_lts": False}, {"max_metadata_age": 0}),
    "frontend_info": ({}, {"server": "auto"}, {"server": "apache"}, {"server": "iis"}),
    "certificate_info": (
        {"certificates": [{"chain": "/nowhere.pem"}]},
        SERVED,
        {"certificates": [{"chain": "/nowhere.pem"}], "self_signed_ok": True},
        {"names": ["mail.example.com"]},
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each module says: to the same question as before, to another one, to a bad one, and with nothing known."""
    path = tmp_path_factory.mktemp("known")
    tasks = []
    for module, (arguments, asked, other, bad) in MODULES.items():
        known = {"asked": asked, "answer": MARK}
        for case, given in {
            "same": {**arguments, "known": known},
            "as text": {**arguments, "known": "{{ known_" + module + " }}"},
            "other": {**other, "known": known},
            "bad": {**bad, "known": {"asked": None, "answer": MARK}},
            "empty": {**arguments, "known": {}},
            "none": {**arguments, "known": "{{ omit }}"},
        }.items():
            tasks += [
                {f"kopano.hardening.{module}": given, "register": "answer", "ignore_errors": True,
                 "vars": {f"known_{module}": known}},
                {"ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": f"{path}/{module} {case}"},
                 "check_mode": False},
            ]  # fmt: skip
    book = path / "play.yml"
    book.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--check", "-c", "local", "-i", "localhost,", str(book)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(path),
             "ANSIBLE_REMOTE_TEMP": str(path), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": "",
             "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

    def answer(module, case):
        return json.loads((path / f"{module} {case}").read_text())

    return answer


@pytest.mark.parametrize("module", MODULES)
def test_the_same_question_is_not_asked_again(answers, module):
    for case in ("same", "as text"):
        assert answers(module, case)["answered"] == "before"


@pytest.mark.parametrize("module", MODULES)
def test_anything_else_is_asked(answers, module):
    for case in ("other", "empty", "none"):
        answer = answers(module, case)
        assert "answered" not in answer
        assert "findings" in answer or "results" in answer, answer


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("update_status_info", "max_metadata_age: 0 is less than 1 hour"),
        ("frontend_info", "value of server must be one of: auto, apache, nginx, got: iis"),
        ("certificate_info", "one of the following is required: chain, chain_content, certificates"),
    ],
)
def test_options_that_are_no_good_are_refused_by_the_module(answers, module, words):
    answer = answers(module, "bad")
    assert answer["failed"] and "answered" not in answer
    assert words in answer["msg"]
