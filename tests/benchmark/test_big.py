# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all five steps cost on a host with hundreds of TLS virtual hosts, and how many lines they are on the terminal.

On hosts of a set of the lab of their own (LAB_SET="big"), which are made anew for each size:

    lab/lab.py --set big up apache13 nginx13
    pytest tests/benchmark/test_big.py

The host gets the virtual hosts of many_vhosts.py. The first run hardens it; then nothing changes. The table is printed
at the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from . import many_vhosts

ROOT = Path(__file__).resolve().parent.parent.parent
SET = os.environ.get("LAB_SET", "big")
INVENTORY = ROOT / ".cache" / "lab" / SET / "inventory.yml"
HOSTS = os.environ.get("LAB_HOSTS", "apache13 nginx13").split()
ONE, MANY, MORE = 1, 500, 2000
TURNS = 3
# What the project has promised for MANY virtual hosts.
FIRST_SECONDS, STEADY_SECONDS = 25.0, 10.0
MEGABYTES = 150  # of the largest process on the controller
A_HANDFUL = 8  # lines more than for one virtual host
LINEAR = 1.25  # what a virtual host among MORE may cost, by what one among MANY costs
TABLE: list[tuple[str, ...]] = [("host", "virtual hosts", "first run", "lines", "nothing to change", "lines", "memory")]

pytestmark = pytest.mark.skipif(not INVENTORY.exists(), reason=f"the set {SET} of the lab is not up")


class Run(NamedTuple):
    """A run of harden.yml."""

    seconds: float
    output: str
    megabytes: float
    letters: list[str | None]  # of the endpoints

    @property
    def lines(self) -> int:
        return len(self.output.splitlines())


class Figures(NamedTuple):
    """A host with so many virtual hosts: its first run, and the best of those that change nothing."""

    first: Run
    steady: Run


FIGURES: dict[tuple[str, int], Figures] = {}


def harden(host: str) -> Run:
    command = [Path(sys.executable).parent / "ansible-playbook", "-i", INVENTORY, "--limit", host,
               ROOT / "playbooks" / "harden.yml"]  # fmt: skip
    # Other benchmarks show every task. The lines that count here are those of the project's own ansible.cfg.
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                   "ANSIBLE_DISPLAY_OK_HOSTS": "false", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false"}  # fmt: skip
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT
        )
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        output.seek(0)
        text = output.read()
    assert process.returncode == 0, text
    report = json.loads((INVENTORY.parent / "report" / "report.json").read_text())
    (reported,) = (one for one in report["hosts"] if one["name"] == host)
    return Run(
        seconds, text, used.ru_maxrss / 1024, [endpoint["grade_trust_ignored"] for endpoint in reported["endpoints"]]
    )


def figures(host: str, count: int) -> Figures:
    """Those of a host with so many virtual hosts, measured once."""
    if (host, count) not in FIGURES:
        subprocess.run(
            [sys.executable, ROOT / "lab" / "lab.py", "--set", SET, "reset", host], check=True, capture_output=True
        )
        many_vhosts.prepare(SET, host, count)
        first = harden(host)
        assert re.search(r"changed=[1-9]", first.output), first.output
        steady = []
        for _turn in range(TURNS):
            steady.append(harden(host))
            assert not re.search(r"changed=[1-9]", steady[-1].output), steady[-1].output
        found = Figures(first, min(steady, key=lambda run: run.seconds))
        FIGURES[host, count] = found
        TABLE.append(
            (host, str(count), f"{found.first.seconds:.1f} s", str(found.first.lines), f"{found.steady.seconds:.1f} s",
             str(found.steady.lines), f"{max(run.megabytes for run in (first, *steady)):.0f} MB")
        )  # fmt: skip
    return FIGURES[host, count]


@pytest.fixture(scope="module", autouse=True)
def shown(pytestconfig):
    """The table, after everything."""
    yield
    widths = [max(len(row[column]) for row in TABLE) for column in range(len(TABLE[0]))]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for row in TABLE:
            print(
                "\n| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |", end=""
            )


@pytest.mark.parametrize("host", HOSTS)
def test_many_virtual_hosts_take_no_longer_than_promised(host):
    found = figures(host, MANY)
    assert found.steady.letters.count("A+") >= MANY
    assert found.first.seconds <= FIRST_SECONDS
    assert found.steady.seconds <= STEADY_SECONDS
    assert max(found.first.megabytes, found.steady.megabytes) <= MEGABYTES


@pytest.mark.parametrize("host", HOSTS)
def test_many_virtual_hosts_are_no_more_lines_than_one(host):
    one, many = figures(host, ONE), figures(host, MANY)
    assert many.steady.lines <= one.steady.lines + A_HANDFUL
    assert many.first.lines <= one.first.lines + A_HANDFUL


@pytest.mark.parametrize("host", HOSTS)
def test_time_is_linear_to_the_number_of_virtual_hosts(host):
    one, many, more = (figures(host, count) for count in (ONE, MANY, MORE))

    def each(found: Figures, count: int) -> float:
        return (found.steady.seconds - one.steady.seconds) / count

    assert each(more, MORE) <= LINEAR * each(many, MANY)
