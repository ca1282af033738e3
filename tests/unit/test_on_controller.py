# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where tls_grade_info and caa_info run: in the controller's process, or as a module where that is not the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml

from .conftest import COLLECTIONS
from .ports import free_ports


def play(tmp_path, module, arguments, **keywords):
    """Run a task on this machine with -vvv; gives the output, and whether a module was made into a process."""
    keywords = {
        "delegate_to": "localhost",
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        **keywords,
    }
    task = {f"kopano.hardening.{module}": arguments, "register": "answer", "ignore_errors": True, **keywords}
    say = {"ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": str(tmp_path / "answer")},
           "delegate_to": "localhost"}  # fmt: skip
    book = tmp_path / "play.yml"
    book.write_text(yaml.safe_dump([{"hosts": "web.test", "gather_facts": False, "tasks": [task, say]}]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-vvv", "-i", "web.test,", str(book)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(tmp_path),
             "ANSIBLE_REMOTE_TEMP": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    answer = tmp_path / "answer"
    assert answer.exists(), done.stdout + done.stderr
    return yaml.safe_load(answer.read_text()), bool(re.search(rf"Using module file .*/{module}\.py", done.stdout))


@pytest.fixture
def refusing():
    """Nothing listens there, so that a test needs no server."""
    return {"endpoints": [{"host": "127.0.0.1", "port": free_ports()[0]}], "timeout": 2}


@pytest.mark.parametrize(
    ("keywords", "is_module"),
    [
        ({}, False),
        ({"vars": {"ansible_python_interpreter": "/usr/bin/python3"}}, True),
        ({"environment": {"SOME": "thing"}}, True),
        ({"async": 60, "poll": 1}, True),
        # Whether that works is not asked here.
        ({"become": True, "become_exe": "/bin/false"}, True),
    ],
)
def test_the_module_runs_here_where_that_is_the_same(tmp_path, refusing, keywords, is_module):
    answer, was_module = play(tmp_path, "tls_grade_info", refusing, **keywords)
    assert was_module is is_module
    if "become" not in keywords:
        assert [(one["grade"], "refused" in one["error"]) for one in answer["results"]] == [(None, True)]
        assert answer["changed"] is False


def test_both_ways_give_the_same_answer(tmp_path, refusing):
    answers = []
    for interpreter in ("{{ ansible_playbook_python }}", "/usr/bin/python3"):
        answer, _was_module = play(
            tmp_path, "tls_grade_info", refusing, vars={"ansible_python_interpreter": interpreter}
        )
        answers.append(answer)
    for answer in answers:
        # As many as were on their way when the first was refused.
        assert answer["results"][0].pop("connections") > 0
        answer["results"][0].pop("duration_ms")
        answer.pop("invocation", None)
    assert {key: answers[1][key] for key in answers[0]} == answers[0]
    assert set(answers[0]) >= {"changed", "failed", "results", "findings"}


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("tls_grade_info", {}, "missing required arguments: endpoints"),
        ("tls_grade_info", {"endpoints": [], "mode": "slow"}, "value of mode must be one of: quick, full, got: slow"),
        ("tls_grade_info", {"endpoints": [], "colour": "red"}, "Unsupported parameters for"),
        ("tls_grade_info", {"endpoints": [], "timeout": 0}, "timeout must be greater than 0"),
        ("tls_grade_info", {"endpoints": [], "ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem: "),
        ("caa_info", {"names": ["a.test"], "timeout": -1}, "timeout: must be above 0 and at most 600 seconds"),
    ],
)
def test_what_is_wrong_with_an_option_is_said_as_a_module_says_it(tmp_path, module, arguments, words):
    answer, was_module = play(tmp_path, module, arguments)
    assert not was_module and answer["failed"] is True
    assert answer["msg"].startswith(words)
