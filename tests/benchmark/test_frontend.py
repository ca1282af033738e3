# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What hardening a host costs where nothing changes: the role beside a floor play, its modules, the rehearsal.

On hosts of the lab (`make lab`), which are hardened first. Each figure is the best of some runs, and what is compared
is measured in turns; the table is printed at the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOKS = Path(__file__).resolve().parent / "playbooks"
INVENTORY = ROOT / ".cache" / "lab" / os.environ.get("LAB_SET", "lab") / "inventory.yml"
HOSTS = os.environ.get("LAB_HOSTS", "apache11 apache13 nginx11 nginx13").split()
TURNS = 5
# What the project has promised.
ROLE_TO_FLOOR = 1.5
REMOTE_RUNS = 4
REHEARSAL_TO_START = 3.0
SECONDS_OVER_EMPTY = 1.0
TABLE: list[tuple[str, str]] = []

pytestmark = pytest.mark.skipif(not INVENTORY.exists(), reason="the lab is not up; `make lab` starts it")


@pytest.fixture(scope="module", autouse=True)
def hardened(pytestconfig):
    """The hosts are hardened before and the table is shown after everything."""
    play(ROOT / "playbooks" / "harden.yml", ",".join(HOSTS))
    yield
    width = max((len(name) for name, _figure in TABLE), default=0)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(f"{name:{width}}  {figure}" for name, figure in TABLE))


def play(playbook: Path, limit: str, *arguments: str) -> tuple[float, str]:
    """Run a playbook; its seconds and its output."""
    started = time.monotonic()
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", INVENTORY, "--limit", limit, *arguments, playbook],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - started, done.stdout


@pytest.mark.parametrize("host", HOSTS)
def test_role_beside_floor(host):
    play(PLAYBOOKS / "floor.yml", host)
    role, floor = [], []
    for _turn in range(TURNS):
        floor.append(play(PLAYBOOKS / "floor.yml", host)[0])
        seconds, output = play(PLAYBOOKS / "role.yml", host)
        assert re.search(r"changed=0 .*failed=0", output)
        role.append(seconds)
    ratio = min(role) / min(floor)
    TABLE.append((f"{host}: role, nothing to change", f"{min(role):.2f} s"))
    TABLE.append((f"{host}: floor play", f"{min(floor):.2f} s, {ratio:.2f} times as long is the role"))
    assert ratio <= ROLE_TO_FLOOR


@pytest.mark.parametrize("host", HOSTS)
def test_remote_runs(host):
    _seconds, output = play(ROOT / "playbooks" / "harden.yml", host, "-vvv", "--tags", "frontend")
    runs = re.findall(r"^Using module file .*/(\w+)\.py$", output, re.MULTILINE)
    assert "web_config" in runs
    TABLE.append((f"{host}: remote module runs", f"{len(runs)}: {', '.join(runs)}"))
    assert len(runs) <= REMOTE_RUNS


@pytest.mark.parametrize("host", HOSTS)
def test_on_target(host, tmp_path):
    empty, module = [], []
    rehearsals: dict[str, list[tuple[float, dict[str, float]]]] = {"nothing to change": [], "of a change": []}
    for _turn in range(TURNS):
        play(PLAYBOOKS / "on_target.yml", host, "-e", json.dumps({"out": str(tmp_path), "turns": 3}))
        seen = json.loads((tmp_path / f"{host}.json").read_text())
        assert not seen["result"]["changed"]
        spans = [(int(end) - int(begin)) / 1e6 for begin, end in map(str.split, seen["runs"])]
        # The empty ones, host_info, web_config.
        assert len(spans) == 5
        empty += spans[:3]
        module.append(spans[-1])
        assert seen["changed"]["changed"]
        for result, ratios in zip((seen["result"], seen["changed"]), rehearsals.values(), strict=True):
            timings = result["timings"]
            assert result["rehearsal"]["method"] == "namespace"
            ratios.append((timings["rehearsal"] / timings["server_start"], timings))
    over = min(module) - min(empty)
    TABLE.append((f"{host}: empty module, on the target", f"{min(empty):.3f} s"))
    TABLE.append((f"{host}: web_config, on the target", f"{min(module):.3f} s, {over:.3f} s more"))
    assert over <= SECONDS_OVER_EMPTY
    for name, ratios in rehearsals.items():
        ratio, timings = min(ratios, key=lambda entry: entry[0])
        words = f"{timings['rehearsal']} ms, {ratio:.1f} times its server's start of {timings['server_start']} ms"
        TABLE.append((f"{host}: rehearsal, {name}", f"{words}; {timings['grading']} ms of grading beside it"))
        assert ratio <= REHEARSAL_TO_START
