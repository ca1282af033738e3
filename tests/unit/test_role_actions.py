# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules that roles and playbooks are made of: verdict, role_options, reach, and frontend up to its plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils import _options

from . import role_frontend
from .conftest import COLLECTIONS
from .test_caa_module import ansible
from .test_on_controller import play


@pytest.mark.parametrize(
    ("report", "status", "answer"),
    [
        ({"lines": ["a", "b"], "bad": []}, 0, {"changed": False, "msg": ["a", "b"]}),
        (
            {"lines": ["a"], "bad": ["c"], "more": 1},
            2,
            {"changed": False, "msg": ["a"], "bad": ["c"], "failures": []},
        ),
    ],
)
def test_the_lines_are_said_and_the_bad_fails(tmp_path, report, status, answer):
    assert ansible(tmp_path, "verdict", report=report) == (status, answer)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"report": "{{ omit }}"}, "report: it must be a dictionary"),
        ({"report": {"bad": []}}, "report.lines: it must be a list"),
        ({"report": {"lines": [], "bad": "no"}}, "report.bad: it must be a list"),
    ],
)
def test_what_is_no_report_is_no_pass(tmp_path, arguments, words):
    status, answer = ansible(tmp_path, "verdict", **arguments)
    assert status == 2 and words in answer["msg"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, None),
        ({"verify_minimum_grade": "A", "updates_apply": "security"}, None),
        ({"verify_minimum_grade": "Z"}, "value of verify_minimum_grade must be one of"),
        ({"updates_apply": "some", "verify_fail": "perhaps"}, "updates_apply"),
        # What the role itself says is there where the role is.
        ({"__updates_errors": ["updates_reboot_window: no time"]}, "updates_reboot_window: no time"),
        ({"__updates_errors": "{{ ['a'] + ['b'] }}"}, "a; b"),
    ],
)
def test_options_of_several_roles(tmp_path, variables, words):
    more = [word for name, value in variables.items() for word in ("-e", f"{{{name!r}: {value!r}}}")]
    status, answer = ansible(tmp_path, "role_options", *more, roles=["updates", "verify"])
    assert status == (2 if words else 0), answer
    assert answer["changed"] is False
    assert (words or "") in answer.get("msg", "")
    assert answer.get("step") == ((5 if words and "grade" in words else 1) if words else None)
    if "verify_fail" in variables:  # all of them at once
        assert "verify_fail" in answer["msg"]


def test_roles_that_there_are_none(tmp_path):
    status, answer = ansible(tmp_path, "role_options", roles=["mail"])
    assert status == 2 and "Got no match for: mail" in answer["msg"]


def test_the_words_are_those_of_the_role_itself(tmp_path):
    book = tmp_path / "play.yml"
    book.write_text("[{hosts: localhost, gather_facts: false, roles: [kopano.hardening.verify]}]")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-c", "local", "-i", "localhost,", "-e", "verify_mode=slow",
         book],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    _status, answer = ansible(tmp_path, "role_options", "-e", "verify_mode=slow", roles=["verify"])
    assert answer["msg"] == "value of verify_mode must be one of: full, quick, got: slow"
    assert answer["msg"] in done.stdout


@pytest.mark.parametrize(
    ("differing", "word", "key"),
    [({"servers": []}, "failed", "error"), ({"managed_by": "ucs"}, "skipped", "skip")],
)
def test_what_a_host_cannot_have_is_refused_and_one_of_others_is_left_alone(tmp_path, differing, word, key):
    info = {**role_frontend.host("nginx", "debian"), **differing}
    arguments = {
        "info": info,
        "options": role_frontend.options(),
        "profiles": role_frontend.PROFILES,
        "data": role_frontend.DATA,
    }
    answer, _was_module = play(tmp_path, "frontend", arguments)
    assert answer[word] is True and answer["changed"] is False
    words = role_frontend.plan(info)[key]
    assert words and answer["plan"][key] == words
    assert words in (answer.get("msg", ""), answer.get("skip_reason"))


def test_what_the_plan_is_made_of_is_needed(tmp_path):
    status, answer = ansible(tmp_path, "frontend", options={}, profiles={}, info="none")
    assert status == 2 and answer["msg"].endswith("missing required arguments: info, data")


def reach(tmp_path, question, *more, steps=("updates",)):
    variables = {"question_of_test": question}
    return ansible(
        tmp_path, "reach", "-e", json.dumps(variables), *more,
        roles=["updates", "report"], question="question_of_test", steps=list(steps),
    )  # fmt: skip


def test_reach_asks_what_the_question_says(tmp_path):
    status, answer = reach(tmp_path, {"frontend": {}, "updates": {"now": "2020-01-01T00:00:00Z"}, "web_config": False})
    assert status == 0, answer
    assert answer["reached"] is True and answer["changed"] is False and answer["steps"] == ["updates"]
    assert "updates" in answer and not {"frontend", "web_config", "certificates"} & set(answer)


def test_reach_refuses_options_before_the_question_is_read(tmp_path):
    question = {"updates": "{{ nobody_knows_this }}"}
    status, answer = reach(tmp_path, question, "-e", "updates_apply=some")
    assert (status, answer["step"]) == (2, 1)
    assert answer["msg"] == "value of updates_apply must be one of: none, security, all, got: some"
    status, answer = reach(tmp_path, question)
    assert status == 2 and "nobody_knows_this" in answer["msg"] and "step" not in answer


def test_what_the_host_refuses_is_a_host_that_was_reached(tmp_path):
    status, answer = reach(tmp_path, {"updates": {"max_metadata_age": 0}})
    assert (status, answer["reached"], answer["msg"]) == (2, True, "max_metadata_age: 0 is less than 1 hour")


def test_several_reports_are_one_verdict(tmp_path):
    reports = [
        {"step": 1, "lines": ["a"], "bad": []},
        {"step": 4, "lines": ["b"], "bad": ["c", "e"]},
        {"lines": [], "bad": ["d"]},
    ]
    status, answer = ansible(tmp_path, "verdict", report=reports)
    assert status == 2 and (answer["msg"], answer["bad"]) == (["a", "b"], ["c", "e", "d"])
    (failure,) = answer["failures"]
    assert failure["step"] == 4 and failure["message"].endswith(": c; e")
    status, answer = ansible(tmp_path, "verdict", report=[*reports, "none"])
    assert status == 2 and "report: it must be a dictionary" in answer["msg"]


@pytest.mark.parametrize(
    ("run", "skip", "chosen"),
    [
        (["all"], [], ["updates", "caa"]),
        (["updates"], [], ["updates"]),
        (["updates", "verify"], [], ["updates"]),
        (["all"], ["caa", "verify"], ["updates"]),
        (["caa"], ["caa"], []),
        (["tagged"], [], ["updates", "caa"]),
        (["untagged"], [], []),
        (["all"], ["tagged"], []),
        (["all"], ["all"], []),
    ],
)
def test_the_chosen_tags_are_those_whose_tasks_ansible_runs(tmp_path, run, skip, chosen):
    assert _options.chosen_tags(["updates", "caa"], run, skip) == chosen
    tasks = [{"name": f"It runs: {tag}", "ansible.builtin.debug": {"msg": f"runs {tag}"}, "tags": [tag]}
             for tag in ("updates", "caa")]  # fmt: skip
    book = tmp_path / "play.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    skipped = ["--skip-tags", ",".join(skip)] if skip else []
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-c", "local", "-i", "localhost,", "--tags", ",".join(run),
         *skipped, book],
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert [tag for tag in ("updates", "caa") if f"runs {tag}" in done.stdout] == chosen, done.stdout + done.stderr
