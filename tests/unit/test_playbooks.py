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
    "verify": {"variables": [], "grade": []},
    "caa": {"variables": [], "verify": []},
}
# What these roles would make of what they have seen.
SEEN = {
    "__frontend_info": {"servers": ["one"], "findings": []},
    "__updates_report": NOTHING,
    "__certificate_report": NOTHING,
    "__caa_report": NOTHING,
    "__verify_choice": {},
    "__verify_wish": {},
    "__caa_choice": {},
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
        for folder in ("defaults", "vars", "meta"):
            if (role / folder).exists():
                (stand_in / folder).symlink_to(role / folder)
    return top


@pytest.fixture
def harden(collections, tmp_path):
    """Runs harden.yml where some hosts fail: the run, the hosts of its recap that failed, and the scorecard's lines."""

    def run(failing, of_hosts=None, passes=None, tags="all", **variables):
        here = {"ansible_connection": "local", "ansible_become": False, "is_updated": False, "updates_work": True}
        here["ansible_python_interpreter"] = sys.executable
        hosts = {name: {**here, "fails": name in failing, **(of_hosts or {}).get(name, {})} for name in HOSTS}
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "inventory.yml", "-e", json.dumps({**SEEN, **variables}),
             "--tags", tags, "kopano.hardening.harden"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1",
                 "ASKED": str(tmp_path / "asked")},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        passes = not failing if passes is None else passes
        assert done.returncode == (0 if passes else 2), done.stdout + done.stderr
        before, _, recap = done.stdout.partition("PLAY RECAP")
        cards = re.findall(r"(?m)^(web\d)((?: +(?:FAIL|ok|[?-])(?= )){5})  *(.*)$", before)
        hosts_of = {
            pattern: set(re.findall(rf"(?m)^(web\d) .*{pattern}", recap)) for pattern in ("failed=[1-9]", "ok=")
        }
        return done.stdout, hosts_of["failed=[1-9]"], hosts_of["ok="], {name: (s.split(), w) for name, s, w in cards}

    return run


def test_a_host_that_fails_ends_nothing_for_the_others(harden):
    _output, failed, seen, card = harden({"web2"})
    assert (failed, seen) == ({"web2"}, set(HOSTS))
    steps, words = card["web2"]
    assert steps == ["?", "FAIL", "?", "?", "?"]
    assert words == "Looking at the host failed: Make the policy effective: port 443 is taken"
    assert card["web1"][0] == card["web3"][0] == LEFT_ALONE


def test_a_host_that_fails_is_told_of_its_updates_and_not_of_its_certificates(harden):
    """What these have to be good for is only known of a host that is graded."""
    said = {f"__{role}_report": {"lines": [f"on {role}"], "bad": []} for role in ("updates", "certificate", "caa")}
    output, _failed, _seen, _card = harden({"web2"}, **said)
    assert [output.count(f"on {role}") for role in ("updates", "certificate", "caa")] == [3, 2, 2]


def test_when_all_fail_all_are_reported(harden):
    output, failed, _seen, card = harden(HOSTS)
    assert failed == set(card) == set(HOSTS)
    assert "0 of 3 hosts pass, 3 failed" in output


def test_a_batch_in_which_all_fail_ends_the_run_with_a_report(harden):
    _output, failed, seen, card = harden(HOSTS, harden_serial=1)
    assert failed == seen == {"web1"}
    assert card["web1"][0][1] == "FAIL"
    assert card["web2"][0] == LEFT_ALONE


def test_a_batch_in_which_some_fail_does_not(harden):
    _output, failed, seen, card = harden({"web1"}, harden_serial=2)
    assert (failed, seen) == ({"web1"}, set(HOSTS))
    assert card["web1"][0][1] == "FAIL"


def test_a_limit_of_failed_hosts_ends_the_run(harden):
    _output, failed, seen, card = harden({"web1"}, harden_serial=2, harden_max_fail_percentage=40)
    assert (failed, seen) == ({"web1"}, {"web1", "web2"})
    assert card["web1"][0][1] == "FAIL"


def test_what_is_not_as_it_has_to_be_fails_its_own_step_only(harden):
    """Of one message for all steps."""
    report = {"lines": ["updates: 1 pending"], "bad": ["openssl has a security update"]}
    output, failed, _seen, card = harden(set(), passes=False, __updates_report={"step": 1, **report})
    assert failed == set(HOSTS) and "updates: 1 pending" in output
    steps, words = card["web1"]
    assert steps[0] == "FAIL" and "FAIL" not in steps[1:]
    assert words == "Looking at the host failed: Say how the host is doing: openssl has a security update"
    both = {
        "__updates_report": {"step": 1, **report},
        "__caa_report": {"step": 4, "lines": [], "bad": ["forbidden: a"]},
    }
    _output, _failed, _seen, card = harden(set(), passes=False, **both)
    steps, words = card["web2"]
    assert (steps[0], steps[3]) == ("FAIL", "FAIL") and "FAIL" not in (steps[1], steps[2], steps[4])
    assert words.endswith("openssl has a security update (and 1 more)")


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
    output, failed, _seen, _card = harden(
        set(), {"web2": {"is_updated": True}, "web3": {"updates_work": False}}, tags=tags, report_fail=False
    )
    asked = output.partition("Reach the host")[2].split("TASK [")
    again = [part for part in asked if part.startswith("Reach the host")]
    assert {name for part in again for name in re.findall(r"ok: \[(web\d)\]", part)} == asked_again
    assert len(again) == bool(asked_again)
    assert failed == set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"updates_apply": "some"}, "value of updates_apply must be one of: none, security, all, got: some"),
        ({"updates_max_metadata_age": 0}, "updates_max_metadata_age"),
        ({"frontend_tls_profile": "best"}, "frontend_tls_profile"),
        ({"certificate_source": "magic"}, "value of certificate_source must be one of"),
        ({"verify_minimum_grade": "Z"}, "value of verify_minimum_grade must be one of"),
        ({"caa_timeout": 0}, "caa_timeout"),
    ],
)
def test_options_are_refused_before_a_host_is_asked(harden, tmp_path, options, words):
    output, failed, _seen, card = harden(HOSTS, **options)
    assert not (tmp_path / "asked").exists() and "reached" not in output
    assert words in card["web1"][1] and "Reach the host, and ask it" in card["web1"][1]
    assert failed == set(HOSTS)


def test_options_that_can_work_are_what_the_question_is_made_of(harden, tmp_path):
    harden(set())
    assert (tmp_path / "asked").read_text().split() == ["asked"] * len(HOSTS)


def test_options_of_the_report_are_refused_twice(harden, tmp_path):
    """Before anything is done, and before a report that could not fail anybody."""
    output, failed, _seen, card = harden(HOSTS, report_fail="maybe")
    assert output.count("argument 'report_fail' is of type") >= 2
    assert not (tmp_path / "asked").exists()
    assert (failed, card) == ({"web1"}, {})  # which ends the play for all of them


def test_hosts_that_cannot_be_asked_are_reported(harden):
    """Reached, but without an interpreter."""
    broken = {name: {"ansible_python_interpreter": "/nowhere/python"} for name in HOSTS}
    output, failed, _seen, card = harden(HOSTS, broken)
    assert failed == set(card) == set(HOSTS)
    assert "Looking at the host failed: Reach the host, and ask it" in card["web1"][1]
    assert "Make the policy effective" not in output
    del broken["web1"]
    _output, failed, _seen, card = harden({"web2", "web3"}, broken)
    assert failed == {"web2", "web3"} and card["web1"][0] == LEFT_ALONE
