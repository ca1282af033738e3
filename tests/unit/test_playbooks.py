# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What fails in harden.yml on some hosts and on all: who goes on, where the run ends, and what the report says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
HOSTS = ("web1", "web2", "web3")
# Of a host that nothing more than its web server is known of.
LEFT_ALONE = ["-", "?", "-", "-", "-"]
REACH = "kopano.hardening.reach"
NOTHING = {"lines": [], "bad": []}
# What the playbooks take of roles: in place of the ones that look at hosts stand some that fail where they shall.
STAND_INS = {
    "frontend": {
        "apply": [
            {
                "name": "Make the policy effective",
                "ansible.builtin.fail": {"msg": "port 443 is taken"},
                "when": "fails",
            },
        ],
        "install": [],
        "changed": [],
    },
    "updates": {
        "variables": [],
        "act": [
            {
                "name": "Remember what was installed",
                "ansible.builtin.set_fact": {"__updates_done": {"installed": ["nginx"]}},
                "when": "is_updated",
            },
            {
                "name": "Fail afterwards",
                "ansible.builtin.fail": {"msg": "dpkg was interrupted"},
                "when": "not updates_work",
            },
        ],
    },
    "certificate": {"variables": [], "main": [], "look": [], "verdict": []},
    "verify": {"main": []},
    "caa": {
        "names": [],
        "records": [
            {
                "name": "Check the CAA records",
                "ansible.builtin.fail": {"msg": "forbidden: a"},
                "when": "step_4_fails | default(false)",
            },
        ],
    },
}
# What these roles would make of what they have seen.
SEEN = {
    "__frontend_info": {"servers": ["one"], "findings": []},
    "__updates_report": NOTHING,
    "__certificate_report": NOTHING,
    "__host_is_to_be_updated": "{{ is_updated or not updates_work }}",
}


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """The collection with its own playbooks, plugins and report, and stand-ins for the roles that look at hosts."""
    top = tmp_path_factory.mktemp("collections")
    collection = top / "ansible_collections" / "kopano" / "hardening"
    (collection / "roles").mkdir(parents=True)
    shutil.copytree(ROOT / "playbooks", collection / "playbooks")
    # This machine is nothing that a report is about. That a question is made of the options is written down.
    reach = yaml.safe_load((ROOT / "playbooks" / "tasks" / "reach.yml").read_text())
    (task,) = [task for task in reach if REACH in task]
    noted = "{{ lookup('ansible.builtin.pipe', 'echo asked | tee -a $ASKED') and {} }}"
    task["vars"] = {task[REACH]["question"]: {"updates": noted}}
    (collection / "playbooks" / "tasks" / "reach.yml").write_text(yaml.safe_dump(reach))
    for name in ("plugins", "meta", "galaxy.yml", "roles/report"):
        (collection / name).symlink_to(ROOT / name)
    for name, entries in STAND_INS.items():
        role, stand_in = ROOT / "roles" / name, collection / "roles" / name
        (stand_in / "tasks").mkdir(parents=True)
        for entry, tasks in entries.items():
            (stand_in / "tasks" / f"{entry}.yml").write_text(yaml.safe_dump(tasks))
        # What the playbooks ask hosts depends on the roles' options.
        for folder in ("data", "defaults", "meta", "vars"):
            if (role / folder).exists():
                (stand_in / folder).symlink_to(role / folder)
    return top


class Run(t.NamedTuple):
    """A run of harden.yml."""

    output: str
    failed: set[str]
    seen: set[str]  # the hosts of its recap
    card: dict[str, tuple[list[str], str]]  # the scorecard's lines: steps and message
    asked: list[str]


@pytest.fixture(scope="module")
def harden(collections, tmp_path_factory):
    """Runs harden.yml where some hosts fail."""

    def run(failing, of_hosts=None, passes=None, tags="all", hosts=HOSTS, **variables):
        folder = tmp_path_factory.mktemp("run")
        here = {"ansible_connection": "local", "ansible_become": False, "is_updated": False, "updates_work": True}
        here["ansible_python_interpreter"] = sys.executable
        listed = {name: {**here, "fails": name in failing, **(of_hosts or {}).get(name, {})} for name in hosts}
        (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": listed}}))
        asked = folder / "asked"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "inventory.yml", "-e", json.dumps({**SEEN, **variables}),
             "--tags", tags, "kopano.hardening.harden"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1",
                 "ASKED": str(asked)},
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        passes = not failing if passes is None else passes
        assert done.returncode == (0 if passes else 2), done.stdout + done.stderr
        before, _, recap = done.stdout.partition("PLAY RECAP")
        cards = re.findall(r"(?m)^(web\d)((?: +(?:FAIL|ok|[?-])(?= )){5})  *(.*)$", before)
        failed, seen = (set(re.findall(rf"(?m)^(web\d) .*{word}", recap)) for word in ("failed=[1-9]", "ok="))
        card = {name: (steps.split(), words) for name, steps, words in cards}
        return Run(done.stdout, failed, seen, card, asked.read_text().split() if asked.exists() else [])

    return run


@pytest.fixture(scope="module")
def one_fails(harden):
    said = {f"__{role}_report": {"lines": [f"on {role}"], "bad": []} for role in ("updates", "certificate")}
    return harden({"web2"}, **said)


def test_a_host_that_fails_ends_nothing_for_the_others(one_fails):
    card = one_fails.card
    assert (one_fails.failed, one_fails.seen) == ({"web2"}, set(HOSTS))
    steps, words = card["web2"]
    assert steps == ["?", "FAIL", "?", "?", "?"]
    assert words == "Looking at the host failed: Make the policy effective: port 443 is taken"
    assert card["web1"][0] == card["web3"][0] == LEFT_ALONE


def test_a_host_that_fails_is_told_of_its_updates_and_not_of_its_certificates(one_fails):
    """What these have to be good for is only known of a host that is graded."""
    assert [one_fails.output.count(f"on {role}") for role in ("updates", "certificate")] == [3, 2]


def test_options_that_can_work_are_what_the_question_is_made_of(one_fails):
    assert one_fails.asked == ["asked"] * len(HOSTS)


def test_when_all_fail_all_are_reported(harden):
    run = harden(HOSTS)
    assert run.failed == set(run.card) == set(HOSTS)
    assert "0 of 3 hosts pass, 3 failed" in run.output


def test_a_batch_in_which_all_fail_ends_the_run_with_a_report(harden):
    run = harden(HOSTS, harden_serial=1)
    assert run.failed == run.seen == {"web1"}
    assert run.card["web1"][0][1] == "FAIL"
    assert run.card["web2"][0] == LEFT_ALONE


def test_a_batch_in_which_some_fail_does_not(harden):
    run = harden({"web1"}, harden_serial=2)
    assert (run.failed, run.seen) == ({"web1"}, set(HOSTS))
    assert run.card["web1"][0][1] == "FAIL"


def test_a_limit_of_failed_hosts_ends_the_run(harden):
    run = harden({"web1"}, harden_serial=2, harden_max_fail_percentage=40)
    assert (run.failed, run.seen) == ({"web1"}, {"web1", "web2"})
    assert run.card["web1"][0][1] == "FAIL"


def test_what_is_not_as_it_has_to_be_fails_its_own_step_only(harden):
    updates = {"step": 1, "lines": ["updates: 1 pending"], "bad": ["openssl has a security update"]}
    of_hosts = {"web1": {"updates_of_host": updates}, "web2": {"updates_of_host": updates, "step_4_fails": True}}
    reports = {"__updates_report": f"{{{{ updates_of_host | default({NOTHING}) }}}}"}
    run = harden(set(), of_hosts, passes=False, **reports)
    assert run.failed == {"web1", "web2"}
    assert run.output.count('"updates: 1 pending"') == 2
    steps, words = run.card["web1"]
    assert steps[0] == "FAIL" and "FAIL" not in steps[1:]
    assert words == "Looking at the host failed: Say how the host is doing: openssl has a security update"
    steps, words = run.card["web2"]
    assert (steps[0], steps[3]) == ("FAIL", "FAIL") and "FAIL" not in (steps[1], steps[2], steps[4])
    assert "forbidden: a" in words or "openssl has a security update" in words
    assert words.endswith("(and 1 more)")
    assert "FAIL" not in run.card["web3"][0]


@pytest.mark.parametrize(
    ("tags", "asked_again"),
    [
        ("all", {"web2", "web3"}),
        ("updates,verify", {"web2", "web3"}),
        ("updates", set()),  # the role asks by itself what it needs to know
        ("verify", set()),
    ],
)
def test_a_host_that_was_changed_is_asked_again(harden, tags, asked_again):
    """What was asked in the beginning counts only where nothing has been done since, or was tried."""
    run = harden(set(), {"web2": {"is_updated": True}, "web3": {"updates_work": False}}, tags=tags, report_fail=False)
    asked = run.output.partition("Reach the host")[2].split("TASK [")
    again = [part for part in asked if part.startswith("Reach the host")]
    assert {name for part in again for name in re.findall(r"ok: \[(web\d)\]", part)} == asked_again
    assert len(again) == bool(asked_again)
    assert run.failed == set()


REFUSED = [
    ({"updates_apply": "some"}, "value of updates_apply must be one of: none, security, all, got: some"),
    ({"updates_max_metadata_age": 0}, "updates_max_metadata_age"),
    ({"frontend_tls_profile": "best"}, "frontend_tls_profile"),
    ({"certificate_source": "magic"}, "value of certificate_source must be one of"),
    ({"verify_minimum_grade": "Z"}, "value of verify_minimum_grade must be one of"),
    ({"caa_timeout": 0}, "caa_timeout"),
]


@pytest.fixture(scope="module")
def refused(harden):
    """Each option is one host's."""
    of_hosts = {f"web{number}": options for number, (options, _words) in enumerate(REFUSED)}
    return harden(set(of_hosts), of_hosts, hosts=list(of_hosts))


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_options_are_refused_before_a_host_is_asked(refused, number):
    assert refused.asked == [] and "reached" not in refused.output
    host, (_options, words) = f"web{number}", REFUSED[number]
    assert words in refused.card[host][1] and "Reach the host, and ask it" in refused.card[host][1]
    assert host in refused.failed


def test_options_of_the_report_are_refused_twice(harden):
    """Before anything is done, and before a report that could not fail anybody."""
    run = harden(HOSTS, report_fail="maybe")
    assert run.output.count("argument 'report_fail' is of type") >= 2
    assert run.asked == []
    assert (run.failed, run.card) == ({"web1"}, {})  # which ends the play for all of them


def test_hosts_that_cannot_be_asked_are_reported(harden):
    """Reached, but without an interpreter."""
    broken = {name: {"ansible_python_interpreter": "/nowhere/python"} for name in HOSTS}
    run = harden(HOSTS, broken)
    assert run.failed == set(run.card) == set(HOSTS)
    assert "Looking at the host failed: Reach the host, and ask it" in run.card["web1"][1]
    assert "Make the policy effective" not in run.output
    del broken["web1"]
    run = harden({"web2", "web3"}, broken)
    assert run.failed == {"web2", "web3"} and run.card["web1"][0] == LEFT_ALONE


def test_tags_that_no_task_has_are_no_pass(harden):
    run = harden(set(), passes=False, tags="nonsense", __frontend_info=None)
    assert run.failed == set(HOSTS) and "0 of 3 hosts pass, 3 failed" in run.output
    assert {name: words for name, (_steps, words) in run.card.items()} == dict.fromkeys(HOSTS, "nothing was checked")
