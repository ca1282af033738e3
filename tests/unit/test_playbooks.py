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
FAILS = "ansible.builtin.fail"
# What the playbooks take of roles: in place of the ones that query hosts stand some that fail where they shall.
STAND_INS = {
    "updates": {
        "inspect": [
            {"name": "Query the host", "kopano.hardening.seen": {}, "when": "not is_broken"},
            # For one that cannot be queried the real thing, which comes no further than to its interpreter.
            {"name": "Query the host", "kopano.hardening.frontend": {"part": "inspect"}, "when": "is_broken"},
        ],
        "maintain": [
            {"name": "Report", "ansible.builtin.debug": {"msg": "on updates"}},
            {"name": "Check the updates", FAILS: {"msg": "openssl has a security update"}, "when": "step_1_fails"},
        ],
        "check": [],
    },
    "certificate": {
        "install": [],
        "order": [{"name": "Report", "ansible.builtin.debug": {"msg": "on certificates"}}],
        "inspect": [],
    },
    "frontend": {
        "main": [{"name": "Deploy the TLS policy", FAILS: {"msg": "port 443 is taken"}, "when": "fails"}],
        "inspect": [],
    },
    "verify": {"grade": []},
    "caa": {
        "names": [],
        "records": [{"name": "Check the CAA records", FAILS: {"msg": "forbidden: a"}, "when": "step_4_fails"}],
    },
}
# An action for the stand-ins: what a role would keep of a host, without a look at this machine.
SEEN = """
import os
from ansible.plugins.action import ActionBase
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        with open(os.environ["QUERIED"], "a") as log:
            log.write(task_vars["inventory_hostname"] + "\\n")
        frontend = {"servers": ["one"], "findings": []}
        return {"changed": False, **host_fact.update(task_vars, host={"frontend": frontend}, frontend={})}
"""


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """The collection with its own playbooks, plugins and report, and stand-ins for the roles that query hosts."""
    top = tmp_path_factory.mktemp("collections")
    collection = top / "ansible_collections" / "kopano" / "hardening"
    (collection / "roles").mkdir(parents=True)
    for name in ("playbooks", "meta", "galaxy.yml", "roles/report"):
        (collection / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "plugins", collection / "plugins")
    (collection / "plugins" / "action" / "seen.py").write_text(SEEN)
    for name, entries in STAND_INS.items():
        role, stand_in = ROOT / "roles" / name, collection / "roles" / name
        (stand_in / "tasks").mkdir(parents=True)
        for entry, tasks in entries.items():
            (stand_in / "tasks" / f"{entry}.yml").write_text(yaml.safe_dump(tasks))
        # The options are the role's own.
        for folder in ("data", "defaults", "meta"):
            if (role / folder).exists():
                (stand_in / folder).symlink_to(role / folder)
    return top


class Run(t.NamedTuple):
    """A run of harden.yml."""

    output: str
    failed: set[str]
    seen: set[str]  # the hosts of its recap
    card: dict[str, tuple[list[str], str]]  # the scorecard's lines: steps and message
    queried: list[str]


@pytest.fixture(scope="module")
def harden(collections, tmp_path_factory):
    """Runs harden.yml where some hosts fail."""

    def run(failing, of_hosts=None, passes=None, tags="all", hosts=HOSTS, **variables):
        folder = tmp_path_factory.mktemp("run")
        here = {"ansible_connection": "local", "ansible_become": False, "is_broken": False}
        here.update(ansible_python_interpreter=sys.executable, step_1_fails=False, step_4_fails=False)
        listed = {name: {**here, "fails": name in failing, **(of_hosts or {}).get(name, {})} for name in hosts}
        (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": listed}}))
        queried = folder / "queried"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "inventory.yml", "-e", json.dumps(variables),
             "--tags", tags, "kopano.hardening.harden"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000",
                 "QUERIED": str(queried)},
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        passes = not failing if passes is None else passes
        assert done.returncode == (0 if passes else 2), done.stdout + done.stderr
        before, _, recap = done.stdout.partition("PLAY RECAP")
        cards = re.findall(r"(?m)^(web\d)(?: +(?:ok|FAIL|-))((?: +(?:FAIL|ok|[?-])(?= )){5})  *(.*)$", before)
        failed, seen = (set(re.findall(rf"(?m)^(web\d) .*{word}", recap)) for word in ("failed=[1-9]", "ok="))
        card = {name: (steps.split(), words) for name, steps, words in cards}
        return Run(done.stdout, failed, seen, card, queried.read_text().split() if queried.exists() else [])

    return run


@pytest.fixture(scope="module")
def one_fails(harden):
    return harden({"web2"})


def test_a_host_that_fails_ends_nothing_for_the_others(one_fails):
    card = one_fails.card
    assert (one_fails.failed, one_fails.seen) == ({"web2"}, set(HOSTS))
    steps, words = card["web2"]
    assert steps == ["?", "FAIL", "?", "?", "?"]
    assert words == "Deploy the TLS policy: port 443 is taken"
    assert card["web1"][0] == card["web3"][0] == LEFT_ALONE


def test_a_host_that_fails_gets_its_updates_and_not_its_certificates(one_fails):
    """What these have to be good for is only known of a host that is graded."""
    assert [one_fails.output.count(f"on {role}") for role in ("updates", "certificates")] == [3, 2]


def test_the_message_of_a_host_that_fails_is_what_has_failed(one_fails):
    after = one_fails.output.partition("TASK [kopano.hardening.report : Check the host against the policy]")[2]
    assert '"msg": "Deploy the TLS policy: port 443 is taken"' in after and "report.host.failed" not in after


def test_each_host_is_queried(one_fails):
    assert sorted(one_fails.queried) == sorted(HOSTS)


def test_when_all_fail_all_are_reported(harden):
    run = harden(HOSTS)
    assert run.failed == set(run.card) == set(HOSTS)
    assert "0 of 3 hosts pass, 3 failed" in run.output


def test_a_batch_in_which_all_fail_ends_the_run_with_a_report(harden):
    run = harden(HOSTS, harden_serial=1)
    assert run.failed == run.seen == {"web1"}
    assert run.card["web1"][0][1] == "FAIL"
    assert "web2" not in run.card and "2 left out" in run.output


def test_a_batch_in_which_some_fail_does_not(harden):
    run = harden({"web1"}, harden_serial=2)
    assert (run.failed, run.seen) == ({"web1"}, set(HOSTS))
    assert run.card["web1"][0][1] == "FAIL"


def test_a_limit_of_failed_hosts_ends_the_run(harden):
    run = harden({"web1"}, harden_serial=2, harden_max_fail_percentage=40)
    assert (run.failed, run.seen) == ({"web1"}, {"web1", "web2"})
    assert run.card["web1"][0][1] == "FAIL"


def test_what_is_not_as_it_has_to_be_fails_its_own_step_only(harden):
    of_hosts = {"web1": {"step_1_fails": True}, "web2": {"step_1_fails": True, "step_4_fails": True}}
    run = harden(set(), of_hosts, passes=False)
    assert run.failed == {"web1", "web2"}
    assert run.output.count("on certificates") == 3
    steps, words = run.card["web1"]
    assert steps[0] == "FAIL" and "FAIL" not in steps[1:]
    assert words == "Check the updates: openssl has a security update"
    steps, words = run.card["web2"]
    assert (steps[0], steps[3]) == ("FAIL", "FAIL") and "FAIL" not in (steps[1], steps[2], steps[4])
    assert "forbidden: a" in words or "openssl has a security update" in words
    assert words.endswith("(and 1 more)")
    assert "FAIL" not in run.card["web3"][0]


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
def test_options_are_refused_before_a_host_is_queried(refused, number):
    assert refused.queried == []
    host, (_options, words) = f"web{number}", REFUSED[number]
    assert words in refused.card[host][1] and "Check the options of all roles" in refused.card[host][1]
    assert host in refused.failed


def test_options_of_the_report_are_refused_twice(harden):
    """Before anything is done, and before a report that could not fail any host."""
    run = harden(HOSTS, report_fail="maybe")
    assert run.output.count("argument 'report_fail' is of type") >= 2
    assert run.queried == []
    assert (run.failed, run.card) == ({"web1"}, {})  # which ends the play for all of them


def test_a_host_that_does_not_agree_about_the_report_is_refused_before_it_is_queried(harden):
    """Both values are in the message, and the others are hardened."""
    run = harden(HOSTS, {"web2": {"fails": False, "report_title": "second"}, "web3": {"report_title": ""}})
    assert set(run.queried) == {"web1", "web3"}
    message = "report_title must be the same on all hosts of the report: it is 'second' here and '' on web1"
    assert message in run.card["web2"][1] and "port 443 is taken" in run.card["web3"][1]
    assert run.failed == set(HOSTS) and "\nreport: /" in run.output


def test_each_host_is_judged_by_its_own_options_of_the_report(harden):
    """One does not fail for it, one fails for what is unknown, one has an option that is undefined."""
    of_hosts = {
        "web1": {"report_fail": False, "report_fail_on": ["unknown"]},
        "web2": {"report_minimum_grade": "A"},
        "web3": {"report_fail_on": "{{ no_such_variable }}"},
    }
    run = harden({"web1"}, of_hosts, passes=False)
    assert run.failed == {"web3"}
    assert "no_such_variable" in run.card["web3"][1]
    assert run.card["web1"][1].startswith("Deploy the TLS policy")
    assert run.card["web2"][0] == LEFT_ALONE
    assert "1 of 3 hosts passes" in run.output


def test_what_was_found_is_shown_where_no_file_can_be_written(harden):
    run = harden({"web1"}, passes=False, report_path="/dev/null/report")
    assert re.search(r"report_path: /dev/null/report: \[Errno \d+\] Not a directory", run.output)
    assert run.card["web1"][1] == "Deploy the TLS policy: port 443 is taken"


def test_hosts_that_cannot_be_queried_are_reported(harden):
    """Reached, but without an interpreter."""
    broken = {name: {"ansible_python_interpreter": "/nowhere/python", "is_broken": True} for name in HOSTS}
    run = harden(HOSTS, broken)
    assert run.failed == set(run.card) == set(HOSTS)
    steps, words = run.card["web1"]
    assert words.startswith("Query the host: the host could not be queried")
    assert "FAIL" not in steps  # nothing of them was inspected
    assert "port 443" not in run.output and "on updates" not in run.output
    del broken["web1"]
    run = harden({"web2", "web3"}, broken)
    assert run.failed == {"web2", "web3"} and run.card["web1"][0] == LEFT_ALONE


def test_hosts_that_cannot_be_reached_are_reported_and_do_not_keep_the_others(harden):
    lost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "is_broken": True}
    run = harden({"web2"}, {"web2": lost})
    assert run.failed == {"web2"} and run.card["web1"][0] == run.card["web3"][0] == LEFT_ALONE
    assert run.card["web2"][1].startswith("not reachable: ") and "port 1" in run.output
    assert "'dict' has no attribute" not in run.output
    assert len(re.findall(r"(?m)^fatal: \[web2\].*the host cannot be reached: ", run.output)) == 1


def test_a_batch_of_which_no_host_can_be_reached_ends_the_run(harden):
    lost = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "is_broken": True}
    run = harden(HOSTS, {"web1": lost}, harden_serial=1)
    assert run.failed == run.seen == {"web1"}


def test_a_host_that_is_only_restored_gets_no_certificate(harden):
    run = harden(set(), {"web1": {"frontend_state": "absent"}})
    assert run.output.count("on certificates") == 2
    assert run.card["web1"][0] == LEFT_ALONE


def test_a_state_that_is_omitted_is_no_restore(harden):
    run = harden(set(), {"web1": {"frontend_state": "{{ nothing_of_this_name | default(omit) }}"}})
    assert run.output.count("on certificates") == 3


def test_tags_that_no_task_has_are_no_pass(harden):
    run = harden(set(), passes=False, tags="nonsense")
    assert run.failed == set(HOSTS) and "0 of 3 hosts pass, 3 failed" in run.output
    assert {name: words for name, (_steps, words) in run.card.items()} == dict.fromkeys(HOSTS, "nothing was checked")


# --- variables of a play's keywords


@pytest.mark.parametrize(
    ("of_hosts", "words"),
    [
        # Also where the first host has it not: it would be hardened although nobody means it.
        ({"web3": {"harden_hosts": "web3"}}, "harden_hosts (web3) is set in the inventory"),
        (
            {"web1": {"harden_serial": 1}, "web2": {"harden_max_fail_percentage": 0}},
            "harden_serial (web1) is set in the inventory",
        ),
    ],
)
def test_variables_that_the_play_does_not_see_are_refused_before_anything_is_done(harden, of_hosts, words):
    run = harden(set(), of_hosts, passes=False)
    assert run.queried == [] and run.failed
    (said,) = set(re.findall(r"(?m)^\[ERROR\]: Task failed: (.*)$", run.output)) or {run.output}
    for name in {name for values in of_hosts.values() for name in values}:
        assert f"set it with -e {name}=..." in said
    assert words in said


def test_a_variable_that_is_given_on_the_command_line_may_be_in_the_inventory_too(harden):
    run = harden(set(), {"web1": {"harden_hosts": "web1"}}, harden_hosts="web1,web2")
    assert set(run.queried) == {"web1", "web2"}


def test_a_variable_of_import_playbook_is_one_of_the_plays(collections, tmp_path):
    here = {"ansible_connection": "local", "ansible_become": False, "is_broken": False, "fails": False}
    here.update(ansible_python_interpreter=sys.executable, step_1_fails=False, step_4_fails=False)
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(HOSTS, here)}}))
    mine = [{"import_playbook": "kopano.hardening.harden", "vars": {"harden_hosts": "web2", "harden_serial": 1}}]
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(mine))
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", "inventory.yml", "mine.yml"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "QUERIED": str(tmp_path / "queried")},
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "queried").read_text().split() == ["web2"]


@pytest.mark.parametrize("name", ["harden", "audit", "restore"])
def test_every_playbook_refuses_the_variables_of_its_keywords(name):
    (play,) = [play for play in yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text()) if "tasks" in play]
    keywords = " ".join(str(play[key]) for key in ("hosts", "serial", "max_fail_percentage") if key in play)
    assert play["tasks"][0]["kopano.hardening.play_variables"]["names"] == re.findall(r"harden_\w+", keywords)
