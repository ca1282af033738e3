# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role updates in a play for several hosts with made-up updates: what it does, and what is known afterwards."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from . import plays
from .test_role_updates import answer, info, package

ROOT = Path(__file__).parents[2]
# In place of what inspects this machine: the next of the host's states, the last one again and again.
STATUS = """

def run(_params, _check_mode):
    import json, os
    path = os.environ["STATES_OF_TEST"]
    with open(path) as file:
        states = json.load(file)
    with open(path, "w") as file:
        json.dump(states[1:] or states, file)
    if "crash" in states[0]:
        raise MemoryError(states[0]["crash"])
    return states[0]
"""
# In place of what probes its web server: the response of each call.
WEB_CONFIG = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        with open(task_vars["calls_of_test"], "a+") as file:
            file.write(self._task.args["rehearse"] + "\\n")
            file.seek(0)
            number = len(file.readlines())
        return {"changed": False, "probes": [task_vars["web_of_test"][number - 1]]}
"""
NOW = datetime.datetime.now()
CLOSED = f"{(NOW.hour + 12) % 24:02}:00-{(NOW.hour + 13) % 24:02}:00"


def state(**changes):
    # No package manager that a task here would run, and no web server.
    distribution = {"manager": "of test", "id": "of test", "components": [], **changes.pop("distribution", {})}
    return info(distribution=distribution, **changes)


CLEAN = state()
PENDING = state(updates={"pending": 1, "packages": [package("a")]})
OLD = state(restart={"services": ["kopano-of-no-host.service"]})
DUE = state(restart={"reboot_required": True})
SERVES = {"distribution": {"components": [{"kind": "web_server"}]}}
REBOOT = {"updates_reboot": "if_needed"}
# The states of each host, one after the other, and its options. Hosts reboot in the order in which they get there.
HOSTS = {
    "steady": ([CLEAN], {"updates_apply": "security", "updates_restart_services": True, **REBOOT}),
    "installs": ([PENDING, CLEAN], {"updates_apply": "all"}),
    "cannot": ([PENDING], {"updates_apply": "all"}),
    "unsure": ([state(updates={"pending": None, "reason": "no suite"})], {"updates_apply": "all"}),
    "unknown": ([{"crash": "too many"}], {}),
    "unknown_acts": ([{"crash": "too many"}], {"updates_restart_services": True}),
    "crashes": ([PENDING, {"crash": "afterwards"}], {"updates_apply": "all"}),
    "no_unit": ([OLD, PENDING], {"updates_restart_services": True}),
    "no_mechanism": (
        [state(distribution={"manager": "pacman"}, automatic={"enabled": False})],
        {"updates_automatic": True},
    ),
    "worse": (
        [state(updates=PENDING["updates"], **SERVES), state(**SERVES)],
        {"updates_apply": "all", "updates_rehearse": "required", "web_of_test": [answer(), answer(status=503)]},
    ),
    # A reboot over a local connection fails.
    "reboots_1": ([DUE, PENDING], REBOOT),
    "reboots_2": ([DUE, PENDING], REBOOT),
    "refused": ([CLEAN], {"updates_apply": "some"}),
}
WAITS = {"waits": ([DUE], {**REBOOT, "updates_reboot_window": CLOSED})}
ROLE = {"ansible.builtin.import_role": {"name": "kopano.hardening.updates"}}
# Which needs to know the frontend. It is not run.
VERIFY = {"ansible.builtin.import_role": {"name": "kopano.hardening.verify"}, "when": False}
KEEP = {
    "ansible.builtin.copy": {
        "content": "{{ [ansible_facts.kopano_hardening | default({}), updates_result | default({})] | to_json }}",
        "dest": "{{ folder_of_test }}/{{ inventory_hostname }}.done",
    },
    "check_mode": False,
}
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    "environment": {"STATES_OF_TEST": "{{ states_of_test }}"},
    "tasks": [
        {"block": [{"kopano.hardening.role_options": {}}, ROLE], "rescue": [{"kopano.hardening.failure": {"step": 1}}]},
        VERIFY,
        KEEP,
    ],
}


def run(folder, names, *options):
    """The facts and the role's result, of each host by its name."""
    collection = folder / "ansible_collections" / "kopano" / "hardening"
    collection.mkdir(parents=True)
    for name in ("roles", "meta", "galaxy.yml"):
        (collection / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    with (collection / "plugins" / "module_utils" / "_updates" / "status.py").open("a") as source:
        source.write(STATUS)
    (collection / "plugins" / "action" / "web_config.py").write_text(WEB_CONFIG)
    hosts = {}
    for name in names:
        states, variables = {**HOSTS, **WAITS}[name]
        (folder / f"{name}.states").write_text(json.dumps(states))
        files = {f"{key}_of_test": str(folder / f"{name}.{key}") for key in ("states", "calls")}
        hosts[name] = {**files, "folder_of_test": str(folder), **variables}
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"vars": common, "hosts": hosts}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    (folder / "play.yml").write_text(json.dumps([PLAY]))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.yml", *options, "play.yml"],
        env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": "",
             "ANSIBLE_LOCAL_TEMP": str(folder), "ANSIBLE_REMOTE_TEMP": str(folder)},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: json.loads((folder / f"{name}.done").read_text()) for name in names}
    for fact, _result in found.values():
        if "host" in fact:
            fact["host"] = json.loads(fact["host"])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("updates")


@pytest.fixture(scope="module")
def results(folder):
    return run(folder, list(HOSTS))


def failure(results, host):
    (found,) = results[host][0]["failures"]
    assert found["step"] == 1
    return found["message"]


def test_a_host_that_needs_nothing_is_queried_once(results, folder):
    fact, result = results["steady"]
    assert set(fact["host"]) == {"updates", "frontend"} and "failures" not in fact
    assert fact["updates"]["due"] == [] and len(result["lines"]) == 4 and not result["failed"]


def test_what_was_installed_is_reported_and_the_web_server_is_to_be_queried_again(results):
    fact, result = results["installs"]
    assert "installed: a=2" in result["outcome"] and not result["failed"]
    assert set(fact["host"]) == {"updates"} and fact["host"]["updates"]["updates"]["pending"] == 0


def test_what_was_not_installed_fails_the_host(results):
    _fact, result = results["cannot"]
    assert result["msg"] == "a is still not updated" and result["step"] == 1
    assert failure(results, "cannot") == "Check the updates: a is still not updated"


def test_that_nothing_is_known_to_install_fails_the_host(results):
    bad = results["unsure"][1]["msg"]
    assert bad.startswith("updates_apply: all cannot be fulfilled") and bad.endswith("no suite")


def test_a_host_whose_updates_are_not_known_is_reported(results):
    fact, result = results["unknown"]
    assert result["lines"] == ["unknown: updates.not_checked: MemoryError: too many"] and not result["failed"]
    assert fact["host"]["updates"]["failed"]


def test_and_fails_where_something_is_to_be_done(results):
    message = failure(results, "unknown_acts")
    assert message.endswith(": the updates could not be checked: MemoryError: too many")
    assert results["unknown_acts"][0]["host"]["updates"]["failed"]


def test_what_is_not_known_after_an_act_is_not_from_before_it(results):
    assert failure(results, "crashes").endswith("the updates could not be checked: MemoryError: afterwards")
    host = results["crashes"][0]["host"]
    assert set(host) == {"updates"} and host["updates"] == {"failed": True, "msg": "MemoryError: afterwards"}


def test_a_failed_task_leaves_nothing_stale(results):
    assert failure(results, "no_unit").startswith("Restart the services that use replaced files: ")
    host = results["no_unit"][0]["host"]
    assert set(host) == {"updates"} and host["updates"]["updates"]["pending"] == 1


def test_automatic_updates_without_a_mechanism(results):
    words = "updates_automatic: true needs apt, dnf or zypper on the host; this one has pacman"
    assert failure(results, "no_mechanism").endswith(f": {words}")
    assert set(results["no_mechanism"][0]["host"]) == {"updates", "frontend"}


def test_a_web_server_that_responds_worse_afterwards(results, folder):
    bad = results["worse"][1]["msg"]
    assert "status 200 before, 503 now" in bad
    assert (folder / "worse.calls").read_text().split() == ["off", "off"]


def test_a_reboot_waits_for_its_window(tmp_path):
    fact, result = run(tmp_path, WAITS)["waits"]
    assert any(line.startswith(f"the reboot waits for {CLOSED}, it is ") for line in result["outcome"])
    assert set(fact["host"]) == {"updates", "frontend"}


def test_no_host_is_rebooted_after_one_that_did_not_come_back(results):
    names = ["reboots_1", "reboots_2"]
    (lost,) = [name for name in names if "failures" in results[name][0]]
    (next_host,) = [name for name in names if name != lost]
    assert failure(results, lost).startswith("Reboot the host: ")
    fact = results[lost][0]
    assert fact["updates"]["lost"] and fact["host"]["updates"]["updates"]["pending"] == 1
    assert f"not rebooted: {lost} did not come back as before" in results[next_host][1]["outcome"]
    assert not results[next_host][1]["failed"]


def test_wrong_options_fail_before_the_host_is_queried(results, folder):
    words = "value of updates_apply must be one of: none, security, all, got: some"
    assert failure(results, "refused").endswith(words)
    assert "host" not in results["refused"][0]


def test_check_mode_reports_what_would_be_done(tmp_path):
    results = run(tmp_path, ["installs", "worse", "no_mechanism"], "--check")
    fact, result = results["installs"]
    assert "would be installed: a=2" in result["outcome"] and not result["failed"]
    # It is as it was before, and known.
    assert set(fact["host"]) == {"updates", "frontend"} and fact["host"]["updates"]["updates"]["pending"] == 1
    assert (tmp_path / "worse.calls").read_text().split() == ["off"] and not results["worse"][1]["failed"]
    assert "needs apt, dnf or zypper" in failure(results, "no_mechanism")


def test_what_another_run_has_inspected_is_not_acted_upon(tmp_path):
    # As a cache of facts has it.
    old = {"run": "0123456789abcdef", "version": 2, "host": {"updates": PENDING}, "updates": {"due": ["install"]}}
    tasks = {
        "old": {"ansible.builtin.set_fact": {"kopano_hardening": old, "cacheable": True}},
        **{
            part: {"kopano.hardening.updates": {"part": part, "act": "install"}}
            for part in ("begin", "record", "check")
        },
        "settle": {"kopano.hardening.updates": {"part": "settle"}},
        "none": {"kopano.hardening.updates": {"part": "install"}},
    }
    interpreter = f"ansible_python_interpreter={sys.executable}"
    results = {name: done.result for name, done in plays.run(tmp_path, tasks, "-e", interpreter).items()}
    for part in ("begin", "record", "check"):
        assert results[part]["failed"] and results[part]["step"] == 1
        assert results[part]["msg"] == "the updates of this host were not inspected in this run"
    assert not results["settle"]["failed"] and "ansible_facts" not in results["settle"]
    assert results["none"]["msg"].startswith("part: 'install' is none of inspect, begin, ")
