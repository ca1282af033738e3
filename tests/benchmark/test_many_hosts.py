# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host costs the controller in a fleet of 50 and of 500, where nothing changes: processor time, memory.

One host of the lab is hardened, and what its modules return is recorded (C(plugins/recorded.py)). The fleet is that
host under other names: each is queried, planned for and reported on as any host, but nothing is sent. Grades are left
out, since they are handshakes with the one real host, and cost the same for each endpoint.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
INVENTORY = ROOT / ".cache" / "lab" / "lab" / "inventory.yml"
HOST = "nginx13"
SIZES = (50, 500)
# A host among 500 may cost this much of one among 50. Ansible alone is at 1.2, with as many tasks that do nothing: it
# forks a process for each task and host, and a fork takes the longer the more its main process knows of hosts.
FLAT = 1.4
# Ansible itself keeps each host's variables and facts.
MEGABYTES_A_HOST = 1.0

pytestmark = pytest.mark.skipif(not INVENTORY.exists(), reason="the lab is not up; `make lab` starts it")


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Runs harden.yml on as many hosts as that: seconds of a processor, megabytes, output."""
    folder = tmp_path_factory.mktemp("many")
    lab = yaml.safe_load(INVENTORY.read_text())["all"]
    kept = folder / "recorded"
    kept.mkdir()

    def run(size: int, *, connection: str = "recorded", **environment: str) -> tuple[float, float, str]:
        host = {**lab["hosts"][HOST], "ansible_connection": connection}
        hosts = {f"web{number}": host for number in range(size)}
        variables = {**lab["vars"], "report_path": str(folder / f"report-{size}")}
        inventory = folder / f"{size}.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
        log = folder / f"{size}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, "--skip-tags", "verify",
                 ROOT / "playbooks" / "harden.yml"],
                env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                     "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "plugins"), "RECORDED": str(kept),
                     **environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            )  # fmt: skip
            _pid, status, used = os.wait4(process.pid, 0)
        text = log.read_text()
        assert os.waitstatus_to_exitcode(status) == 0, text[-5000:]
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text

    run(1, connection="ssh")
    run(1, RECORDING="1")
    return run


def test_a_host_costs_no_more_among_five_hundred(play, capsys):
    few, many = SIZES
    measured: dict[int, list[tuple[float, float]]] = {few: [], many: []}
    # A machine with other work to do takes more of its processors for the same: one before and one after.
    for size in (few, many, few):
        seconds, megabytes, output = play(size)
        assert len(re.findall(r"(?m)^web\d+ +: ok=.*changed=0 .*failed=0", output)) == size
        measured[size].append((seconds / size, megabytes))
        with capsys.disabled():
            print(f"\n| {size} hosts | {seconds / size:.2f} s of a processor a host | {megabytes:.0f} MB |", end="")
    ((seconds, megabytes),) = measured[many]
    assert seconds <= FLAT * max(cost for cost, _memory in measured[few])
    assert (megabytes - measured[few][0][1]) / (many - few) <= MEGABYTES_A_HOST
