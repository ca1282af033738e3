# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make audit` and `make harden` make of the lab: two hosts end right in every step, the others keep their faults.

These tests are the last of the scenario, as they harden its hosts.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "common"))

from terminal import shown

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SET = f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}"
SECONDS = 900  # a run that hangs, on a machine ten times slower
RIGHT = ("apache13", "nginx13")
# What no run repairs, by step, on the hosts that `make lab` starts besides. Step 5 counts where trust counts.
FAULTS = {
    "apache11": {1: "support.eol", 4: "caa.none"},
    "apache12": {2: "frontend.vhost.packaged", 4: "caa.forbidden"},
    "nginx11": {1: "support.eol", 2: "frontend.vhost.packaged", 4: "caa.dnssec.bogus", 5: "certificate.self_signed"},
    "nginx12": {4: "caa.critical", 5: "certificate.self_signed"},
}
ALL = {*RIGHT, *FAULTS}


@dataclass(frozen=True)
class Play:
    """What a run came to: its output, the hosts of its report, and how many tasks have changed each host."""

    output: str
    status: int
    hosts: dict[str, dict[str, Any]]
    changed: dict[str, int]

    def steps(self, host: str) -> list[str]:
        return list(self.hosts[host]["steps"].values())

    def found(self, host: str, *severities: str) -> set[tuple[int, str]]:
        """Steps and ids of its findings, also of those that are waived."""
        return {(item["step"], item["id"]) for item in self.hosts[host]["findings"] if item["severity"] in severities}


def inventories() -> list[str]:
    """Those of ansible.cfg, for the hosts of this scenario."""
    config = configparser.ConfigParser()
    config.read(PROJECT / "ansible.cfg")
    paths = config["defaults"]["inventory"].split(", ")
    assert ".cache/lab/lab/inventory.yml" in paths
    return [path.replace("/lab/lab/", f"/lab/{SET}/") for path in paths]


@pytest.fixture(scope="session")
def plays(tmp_path_factory):
    """An audit of the dirty hosts, the run that hardens them, and one more."""
    folder = tmp_path_factory.mktemp("scorecard")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}

    def run(playbook: str, name: str) -> Play:
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", *(f"--inventory={path}" for path in inventories()),
             "--limit", ",".join(sorted(ALL)), "--extra-vars", f"report_path={folder / name}",
             "-v", f"playbooks/{playbook}.yml"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
            env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
        output = done.stdout + done.stderr
        report = json.loads((folder / name / "report.json").read_text())
        recap = re.findall(r"(?m)^(\S+) +: ok=\d+ +changed=(\d+)", output.partition("PLAY RECAP")[2])
        hosts = {host["name"]: host for host in report["hosts"]}
        return Play(output, done.returncode, hosts, {host: int(number) for host, number in recap})

    return {name: run(name.partition("-")[0], name) for name in ("audit", "harden", "harden-again")}


@pytest.mark.parametrize("host", RIGHT)
def test_before_updates_tls_hsts_and_the_grade_are_not_right(plays, host):
    audit = plays["audit"]
    assert audit.steps(host)[0] == "unknown"
    assert audit.steps(host)[1:4] == ["fail" if host == "apache13" else "warn", "fail", "pass"]
    assert audit.hosts[host]["grade"] == ("B" if host == "apache13" else "A")
    assert audit.status != 0 and audit.hosts[host]["failed"]


@pytest.mark.parametrize("run", ["harden", "harden-again"])
@pytest.mark.parametrize("host", RIGHT)
def test_hardened_every_step_is_right(plays, host, run):
    play = plays[run]
    assert (play.status, play.hosts[host]["failed"]) == (0, False), play.output
    assert play.steps(host) == ["pass"] * 5, play.found(host, "fail", "warn", "unknown")
    assert play.found(host, "fail", "warn", "unknown") == set()
    assert re.search(rf"(?m)^{host} +ok +ok +ok +ok +ok +A\+ +-$", play.output), play.output


@pytest.mark.parametrize("host", RIGHT)
def test_its_grades_are_those_of_who_trusts_the_lab(plays, host):
    endpoints = plays["harden"].hosts[host]["endpoints"]
    assert len(endpoints) == 10 and {endpoint["grade"] for endpoint in endpoints} == {"A+"}
    lines = shown(plays["harden"].output)[host].lines["verify"]
    assert lines[0].startswith("A+  ") and "trust ignored" not in " ".join(lines)


@pytest.mark.parametrize("run", ["audit", "harden"])
@pytest.mark.parametrize("host", FAULTS)
def test_the_others_keep_their_faults_and_the_report_names_them(plays, host, run):
    found = plays[run].found(host, "fail")
    assert set(FAULTS[host].items()) <= found, found
    steps = plays[run].steps(host)
    assert {step: steps[step - 1] for step in FAULTS[host] if step != 5} == {
        step: "fail" for step in FAULTS[host] if step != 5
    }


def test_once_hardened_nothing_changes(plays):
    assert set(plays["harden"].changed) == set(plays["harden-again"].changed) == ALL
    assert all(plays["harden"].changed.values())
    assert set(plays["harden-again"].changed.values()) == {0}, plays["harden-again"].output
