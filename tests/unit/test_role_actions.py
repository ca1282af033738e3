# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules that the roles are made of and that ask no host: verdict, role_options, frontend up to its plan."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from . import role_frontend
from .conftest import COLLECTIONS
from .test_caa_module import ansible
from .test_on_controller import play


@pytest.mark.parametrize(
    ("report", "status", "answer"),
    [
        ({"lines": ["a", "b"], "bad": []}, 0, {"changed": False, "msg": ["a", "b"]}),
        ({"lines": ["a"], "bad": ["c"], "more": 1}, 2, {"changed": False, "msg": ["a"], "bad": ["c"]}),
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
