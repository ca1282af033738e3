# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules that roles and playbooks are made of: verdict, role_options, reach, and frontend up to its plan."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import options as _ansible_options

from . import plays, role_frontend
from .conftest import COLLECTIONS

VERDICTS = [
    ({"lines": ["a", "b"], "bad": []}, {"failed": False, "changed": False, "msg": ["a", "b"]}),
    (
        {"lines": ["a"], "bad": ["c"], "more": 1},
        {"failed": True, "changed": False, "msg": ["a"], "bad": ["c"], "failures": []},
    ),
]
NO_REPORTS = [
    ("{{ omit }}", "report: it must be a dictionary"),
    ({"bad": []}, "report.lines: it must be a list"),
    ({"lines": [], "bad": "no"}, "report.bad: it must be a list"),
]
OPTIONS = [
    ({}, None),
    ({"verify_minimum_grade": "A", "updates_apply": "security"}, None),
    ({"verify_minimum_grade": "Z"}, "value of verify_minimum_grade must be one of"),
    ({"updates_apply": "some", "verify_fail": "perhaps"}, "updates_apply"),
    # What the role itself says is there where the role is.
    ({"updates_reboot_window": "no time"}, "updates_reboot_window: 'no time' is not of the form"),
    ({"frontend_keep": 0, "frontend_php": "x"}, "frontend_keep: 0 is less than 1; frontend_php: 'x' is neither"),
    # A variable with the role's prefix may be somebody else's, unless it is almost one of the role's.
    ({"updates_aply": "all"}, "updates_aply is not an option of the role updates; did you mean updates_apply?"),
    ({"verify_minimumgrade": "C"}, "verify_minimumgrade is not an option of the role verify"),
    ({"frontend_hsts_maxage": 5}, "did you mean frontend_hsts_max_age?"),
    ({"frontend_hosts": ["a"], "updates_server": "wsus", "verify_certs": True, "certificate_result": {}}, None),
]
# A host that cannot have what is wanted, and one of others.
DIFFERING = [({"servers": []}, "failed", "error"), ({"managed_by": "ucs"}, "skipped", "skip")]
REPORTS = [
    {"step": 1, "lines": ["a"], "bad": []},
    {"step": 4, "lines": ["b"], "bad": ["c", "e"]},
    {"lines": [], "bad": ["d"]},
]
OLD_FACT = {"run": "0123456789abcdef", "version": 1, "verify": {"report": {"lines": ["A+  mail:443"], "bad": []}}}
UNDEFINED = {"updates": "{{ nobody_knows_this }}"}


def task(module, /, variables=None, **arguments):
    return {f"kopano.hardening.{module}": arguments, "vars": variables or {}}


def reach(question, **variables):
    return task(
        "reach", {"question_of_test": question, **variables},
        roles=["updates", "report"], question="question_of_test", steps=["updates"],
    )  # fmt: skip


def info_of(differing):
    return {**role_frontend.host("nginx", "debian"), **differing}


def frontend(differing):
    return plays.delegated("frontend", {"info": info_of(differing)})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the tasks of all tests return, which one play runs, in check mode."""
    tasks = {
        **{("verdict", number): task("verdict", report=report) for number, (report, _result) in enumerate(VERDICTS)},
        **{("no report", number): task("verdict", report=report) for number, (report, _words) in enumerate(NO_REPORTS)},
        **{
            ("options", number): task("role_options", variables, roles=["updates", "frontend", "verify"])
            for number, (variables, _words) in enumerate(OPTIONS)
        },
        "no role": task("role_options", roles=["mail"]),
        "mode": task("role_options", {"verify_mode": "slow"}, roles=["verify"]),
        **{("frontend", number): frontend(differing) for number, (differing, _word, _key) in enumerate(DIFFERING)},
        "no data": task("frontend", info="none"),
        "reach": reach({"frontend": {}, "updates": {"now": "2020-01-01T00:00:00Z"}, "web_config": False}),
        "reach, refused": reach(UNDEFINED, updates_apply="some"),
        "reach, undefined": reach(UNDEFINED),
        "reach, refused by the host": reach({"updates": {"max_metadata_age": 0}}),
        # As a cache of facts has it from an earlier run.
        "old grades": {"ansible.builtin.set_fact": {"kopano_hardening": OLD_FACT, "cacheable": True}},
        "check of old grades": {"kopano.hardening.verify": {"part": "check"}},
        "several": task("verdict", report=REPORTS),
        "several and none": task("verdict", report=[*REPORTS, "none"]),
    }
    interpreter = f"ansible_python_interpreter={sys.executable}"
    done = plays.run(tmp_path_factory.mktemp("role_actions"), tasks, "--check", "-e", interpreter)
    return {name: one.result for name, one in done.items()}


@pytest.mark.parametrize("number", range(len(VERDICTS)))
def test_the_lines_are_said_and_the_bad_fails(results, number):
    assert results["verdict", number] == VERDICTS[number][1]


@pytest.mark.parametrize("number", range(len(NO_REPORTS)))
def test_what_is_no_report_is_no_pass(results, number):
    result = results["no report", number]
    assert result["failed"] is True and NO_REPORTS[number][1] in result["msg"]


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_options_of_several_roles(results, number):
    variables, words = OPTIONS[number]
    result = results["options", number]
    assert result["failed"] is bool(words), result
    assert result["changed"] is False
    assert (words or "") in result.get("msg", "")
    step = next((step for role, step in (("verify", 5), ("frontend", 2)) if any(role in name for name in variables)), 1)
    assert result.get("step") == ((1 if "updates_apply" in variables else step) if words else None)
    if "verify_fail" in variables:  # all of them at once
        assert "verify_fail" in result["msg"]


def test_roles_that_there_are_none(results):
    result = results["no role"]
    assert result["failed"] is True and "Got no match for: mail" in result["msg"]


def test_the_words_are_those_of_the_role_itself(tmp_path, results):
    book = tmp_path / "play.yml"
    book.write_text("[{hosts: localhost, gather_facts: false, roles: [kopano.hardening.verify]}]")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-c", "local", "-i", "localhost,", "-e", "verify_mode=slow",
         book],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert results["mode"]["msg"] == "value of verify_mode must be one of: full, quick, got: slow"
    assert results["mode"]["msg"] in done.stdout


@pytest.mark.parametrize("number", range(len(DIFFERING)))
def test_what_a_host_cannot_have_is_refused_and_one_of_others_is_left_alone(results, number):
    differing, word, key = DIFFERING[number]
    result = results["frontend", number]
    assert result[word] is True and result["changed"] is False
    words = role_frontend.plan(info_of(differing))[key]
    assert words and result["plan"][key] == words
    assert words in (result.get("msg", ""), result.get("skip_reason"))


def test_what_the_plan_is_made_of_is_needed(results):
    result = results["no data"]
    assert result["failed"] is True and result["msg"].endswith("missing required arguments: info")


def test_grades_of_another_run_are_no_pass(results):
    assert results["old grades"]["ansible_facts"]["kopano_hardening"]["verify"]
    result = results["check of old grades"]
    assert result["failed"] is True and result["step"] == 5
    assert result["msg"] == "no endpoint of this host was graded in this run"


def test_reach_asks_what_the_question_says(results):
    result = results["reach"]
    assert result["failed"] is False, result
    assert result["reached"] is True and result["changed"] is False and result["steps"] == ["updates"]
    assert "updates" in result and not {"frontend", "web_config", "certificates"} & set(result)


def test_reach_refuses_options_before_the_question_is_read(results):
    result = results["reach, refused"]
    assert (result["failed"], result["step"]) == (True, 1)
    assert result["msg"] == "value of updates_apply must be one of: none, security, all, got: some"
    result = results["reach, undefined"]
    assert result["failed"] is True and "nobody_knows_this" in result["msg"] and "step" not in result


def test_what_the_host_refuses_is_a_host_that_was_reached(results):
    result = results["reach, refused by the host"]
    words = "max_metadata_age: 0 is less than 1 hour"
    assert (result["failed"], result["reached"], result["msg"]) == (True, True, words)


def test_several_reports_are_one_verdict(results):
    result = results["several"]
    assert result["failed"] is True and (result["msg"], result["bad"]) == (["a", "b"], ["c", "e", "d"])
    (failure,) = result["failures"]
    assert failure["step"] == 4 and failure["message"].endswith(": c; e")
    result = results["several and none"]
    assert result["failed"] is True and "report: it must be a dictionary" in result["msg"]


TAGS = [
    (["all"], [], ["updates", "caa"]),
    (["updates"], [], ["updates"]),
    (["updates", "verify"], [], ["updates"]),
    (["all"], ["caa", "verify"], ["updates"]),
    (["caa"], ["caa"], []),
    (["tagged"], [], ["updates", "caa"]),
    (["untagged"], [], []),
    (["all"], ["tagged"], []),
    (["all"], ["all"], []),
]
# Ansible is loaded once, for a process for each of the runs.
RUNS = """
import json, os, sys
from ansible.cli.playbook import main
for number, options in enumerate(json.loads(sys.argv[1])):
    print(f"RUN {number}:", flush=True)
    child = os.fork()
    if not child:
        main(["ansible-playbook", *options])
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def run_by_tags(tmp_path_factory):
    """What ansible-playbook prints with the tags of each test."""
    folder = tmp_path_factory.mktemp("tags")
    tasks = [{"name": f"It runs: {tag}", "ansible.builtin.debug": {"msg": f"runs {tag}"}, "tags": [tag]}
             for tag in ("updates", "caa")]  # fmt: skip
    book = folder / "play.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    options = []
    for run, skip, _chosen in TAGS:
        skipped = ["--skip-tags", ",".join(skip)] if skip else []
        options.append(["-c", "local", "-i", "localhost,", "--tags", ",".join(run), *skipped, str(book)])
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(options)],
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    printed = re.split(r"(?m)^RUN \d+:$", done.stdout)[1:]
    assert done.returncode == 0 and all("PLAY RECAP" in text or "PLAY [" in text for text in printed), done
    return printed


@pytest.mark.parametrize("number", range(len(TAGS)))
def test_the_chosen_tags_are_those_whose_tasks_ansible_runs(run_by_tags, number):
    run, skip, chosen = TAGS[number]
    assert _ansible_options.chosen_tags(["updates", "caa"], run, skip) == chosen
    assert [tag for tag in ("updates", "caa") if f"runs {tag}" in run_by_tags[number]] == chosen, run_by_tags[number]
