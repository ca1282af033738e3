# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all five steps cost on one host and on many, where nothing changes, beside a ping and a floor play.

On the hosts of the lab, or of several sets of it (LAB_SETS="lab second third"), in groups of SIZES as far as there are
hosts. Everything is measured in turns in one run; each figure is the best of some. The table is printed at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOKS = Path(__file__).resolve().parent / "playbooks"
LAB = ROOT / ".cache" / "lab"
SETS = os.environ.get("LAB_SETS", "lab").split()
SIZES = (1, 10, 20, 40)
TURNS = 3
FORKS = os.environ.get("ANSIBLE_FORKS", "5")  # Ansible's own default
# What the project has promised: steady harden.yml by the ping play, and module runs on one host.
ONE_TO_PING = 5.0
FORTY_TO_PING = 6.0
REMOTE_RUNS = 5
COST: dict[int, float] = {}  # seconds for one host, by the number of hosts
TABLE: list[tuple[str, ...]] = [("hosts", "ping", "floor", "harden.yml", "by ping", "audit.yml", "by ping")]

pytestmark = pytest.mark.skipif(
    not all((LAB / name / "inventory.yml").exists() for name in SETS), reason="the lab is not up; `make lab` starts it"
)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    """One inventory of all sets, whose hosts have the set's name in front where there are several.

    All have the zones of the first set, whose names are the same in each: one question has one set of name servers.
    """
    whole = {}
    zones = {}
    for name in SETS:
        content = yaml.safe_load((LAB / name / "inventory.yml").read_text())["all"]
        zones = zones or {key: value for key, value in content["vars"].items() if key.startswith("caa_")}
        for host, variables in content["hosts"].items():
            whole[host if len(SETS) == 1 else f"{name}-{host}"] = {**content["vars"], **variables, **zones}
    path = tmp_path_factory.mktemp("fleet") / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": whole}}))
    return path, list(whole)


@pytest.fixture(scope="module")
def play(inventory, tmp_path_factory):
    """Runs a playbook on some hosts: its seconds and its output."""
    folder = tmp_path_factory.mktemp("report")

    def run(playbook: Path, hosts: list[str], *arguments: str, passes: bool = True) -> tuple[float, str]:
        began = time.monotonic()
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory[0], "-e", f"report_path={folder}",
             "--forks", FORKS, "--limit", ",".join(hosts), *arguments, playbook],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=1800, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not passes, done.stdout + done.stderr
        return time.monotonic() - began, done.stdout

    return run


@pytest.fixture(scope="module", autouse=True)
def hardened(inventory, play, pytestconfig):
    """All hosts are hardened before, and the table is shown after everything."""
    seconds, _output = play(ROOT / "playbooks" / "harden.yml", inventory[1])
    yield
    rows = [*TABLE, (f"{len(inventory[1])} hosts before that", "", "", f"{seconds:.1f} s", "", "", "")]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for row in rows:
            print(
                "\n| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |", end=""
            )


def test_a_host_is_queried_a_few_times_only(inventory, play):
    """Module runs on the host: those on the controller are for all hosts together."""
    host = inventory[1][0]
    _seconds, output = play(ROOT / "playbooks" / "harden.yml", [host], "-vvv")
    tasks = re.split(r"(?m)^TASK \[", output)
    remote = [name for task in tasks for name in re.findall(r"(?m)^Using module file .*/(\w+)\.py$", task)
              if "-> localhost]" not in task]  # fmt: skip
    assert "host_info" in remote
    TABLE.append((f"module runs on {host}: {len(remote)}", "", "", ", ".join(remote), "", "", ""))
    assert len(remote) <= REMOTE_RUNS


@pytest.mark.parametrize("size", SIZES)
def test_a_steady_run_beside_a_ping(inventory, play, size):
    hosts = inventory[1][-size:]
    if len(hosts) < size:
        pytest.skip(f"{len(inventory[1])} hosts are up")
    books = {
        "ping": PLAYBOOKS / "ping.yml",
        "floor": PLAYBOOKS / "floor.yml",
        "harden": ROOT / "playbooks" / "harden.yml",
        "audit": ROOT / "playbooks" / "audit.yml",
    }
    seconds: dict[str, list[float]] = {name: [] for name in books}
    for _turn in range(TURNS):
        for name, path in books.items():
            taken, output = play(path, hosts)
            assert name != "harden" or not re.search(r"changed=[1-9]", output)
            seconds[name].append(taken)
    best = {name: min(figures) for name, figures in seconds.items()}
    ratios = {name: best[name] / best["ping"] for name in ("harden", "audit")}
    COST[size] = best["harden"] / size
    TABLE.append(
        (str(size), f"{best['ping']:.2f} s", f"{best['floor']:.2f} s", f"{best['harden']:.2f} s",
         f"{ratios['harden']:.1f}", f"{best['audit']:.2f} s", f"{ratios['audit']:.1f}")
    )  # fmt: skip
    assert ratios["harden"] <= (ONE_TO_PING if size == 1 else FORTY_TO_PING)


def test_a_host_costs_no_more_among_many():
    if not {10, 40} <= set(COST):
        pytest.skip("10 and 40 hosts were not measured")
    assert COST[40] <= COST[10]
