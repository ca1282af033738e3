# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it costs to ask a host for its pending updates, beside what others have for it, and what each of them tells.

On hosts of the lab (`make lab`), which get older packages of OpenSSL from Debian's archive, one of them on hold, and
have the newest again at the end. All are tasks of one play, which is run some times; each figure is the best of these.
On the target, an interpreter times itself. The table is printed at the end.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOK = Path(__file__).resolve().parent / "playbooks" / "updates.yml"
SET = os.environ.get("LAB_SET", "lab")
INVENTORY = ROOT / ".cache" / "lab" / SET / "inventory.yml"
HOSTS = os.environ.get("LAB_HOSTS", "apache13 nginx11").split()
TURNS = 3
# What the project has promised of the module on a lab host.
SECONDS = 1.0
OURS = "Module update_status_info"
TIMED, LOG, LISTS = "/run/kopano-benchmark-python", "/run/kopano-benchmark.log", "/var/lib/apt/lists"
HELD = "openssl"
# The newest version below the installed one that the archive has.
OLDER = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
dpkg-query -W -f '${{source:Package}} ${{binary:Package}} ${{Version}}\\n' |
while read -r source package version; do
    [ "$source" = openssl ] || continue
    apt-cache madison "${{package%:*}}" | cut -d '|' -f 2 | sort -Vr | while read -r older; do
        dpkg --compare-versions "$older" lt "$version" && echo "${{package%:*}}=$older" && break
    done
done >/tmp/older
cut -d = -f 1 /tmp/older >/tmp/names
xargs apt-get -qq -y --no-remove --allow-downgrades install </tmp/older >/dev/null
apt-mark -qq hold {HELD}
cat /tmp/names
"""
NEWEST = f"""
export DEBIAN_FRONTEND=noninteractive
apt-mark -qq unhold {HELD}
xargs apt-get -qq -y --only-upgrade install </tmp/names >/dev/null
rm {TIMED} {LOG} /tmp/older /tmp/names
"""
INTERPRETER = f"""
cat >{TIMED} <<'END'
#!/bin/bash
# Standard input, output and error are the module's own.
TIMEFORMAT='%R %U %S'
exec 3>&2
{{ time /usr/bin/python3 "$@" 2>&3; }} 2>>{LOG}
END
chmod 755 {TIMED}
: >{LOG}
"""
TABLE: list[tuple[str, ...]] = [("host", "way", "task", "on the target", "computing")]

pytestmark = pytest.mark.skipif(not INVENTORY.exists(), reason="the lab is not up; `make lab` starts it")


@pytest.fixture(scope="module", autouse=True)
def table(pytestconfig):
    yield
    widths = [max(len(row[column]) for row in TABLE) for column in range(len(TABLE[0]))]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for row in TABLE:
            print(
                "\n| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |", end=""
            )


def shell(host: str, script: str) -> str:
    """What a script of root's says on a host; it may not fail."""
    words = [sys.executable, ROOT / "lab" / "lab.py", "--set", SET, "exec", host, "sh", "-ec", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", params=HOSTS)
def older(request):
    """A host with some older packages: its name and theirs."""
    host = request.param
    names = shell(host, OLDER).split()
    shell(host, INTERPRETER)
    yield host, names
    shell(host, NEWEST)


def play(host: str) -> dict[str, tuple[float, dict]]:
    """The tasks of the playbook but the first: the seconds of each, by the end of the one before, and its result."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", INVENTORY, "--limit", host,
         "-e", f"ansible_python_interpreter={TIMED}", PLAYBOOK],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
             "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tasks, before = {}, None
    for entry in json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]:
        ended = datetime.datetime.fromisoformat(entry["task"]["duration"]["end"])
        if before:
            tasks[entry["task"]["name"]] = ((ended - before).total_seconds(), entry["hosts"][host])
        before = ended
    return tasks


def pending(way: str, result: dict) -> set[tuple[str, str]] | None:
    """The packages and the versions that a task says are pending; None where it does not say them."""
    if way == OURS:
        return {(package["name"], package["to"]) for package in result["updates"]["packages"]}
    if way == "Program apt list":
        return set(re.findall(r"(?m)^([^/\s]+)/\S+ (\S+) ", result["stdout"]))
    if way in ("Program apt-get", "Module apt"):
        return set(re.findall(r"(?m)^Inst (\S+) \[\S+\] \((\S+) ", result["stdout"]))
    return None


def test_ways(older):
    host, names = older
    assert len(names) > 1 and HELD in names, "the archive has no older version"
    figures: dict[str, list[float]] = {}
    shell(host, f": >{LOG}")
    for _turn in range(TURNS):
        tasks = play(host)
        for way, (seconds, _result) in tasks.items():
            figures.setdefault(way, []).append(seconds)
    lines = [[float(text) for text in line.split()] for line in shell(host, f"cat {LOG}").splitlines()]
    assert len(lines) == TURNS * (len(tasks) + 1)

    for number, way in enumerate(figures, 1):
        runs = lines[number :: len(tasks) + 1]
        wall, computing = min(run[0] for run in runs), min(run[1] + run[2] for run in runs)
        TABLE.append((host, way, f"{min(figures[way]):.2f} s", f"{wall:.2f} s", f"{computing:.2f} s"))
        if way == OURS:
            assert wall <= SECONDS

    results = {way: result for way, (_seconds, result) in tasks.items()}
    found = {way: pending(way, result) for way, result in results.items()}
    assert found[OURS] and {name for name, _version in found[OURS]} >= set(names)
    assert found["Program apt list"] == found[OURS]
    secure = set(re.findall(r"(?m)^([^/\s]+)/\S*-security\S* ", results["Program apt list"]["stdout"]))
    assert {package["name"] for package in results[OURS]["updates"]["packages"] if package["security"]} >= secure
    # What is held is in neither, nor what cannot be installed without it.
    shown = {package["name"] for package in results[OURS]["updates"]["packages"] if package["held"]}
    assert shown == {HELD}
    for way in ("Program apt-get", "Module apt"):
        assert found[way] < found[OURS] and HELD not in dict(found[way])
    # Those that are installed, and not what there is.
    assert {results["Module package_facts"]["ansible_facts"]["packages"][name][0]["version"] for name in names} <= {
        package["from"] for package in results[OURS]["updates"]["packages"]
    }


def test_without_lists(older):
    """A host whose lists were never fetched, as it comes from an image: only one says that it does not know."""
    host, _names = older
    shell(host, f"mv {LISTS} {LISTS}.away && mkdir -p {LISTS}/partial")
    try:
        tasks = play(host)
    finally:
        shell(host, f"rm -r {LISTS} && mv {LISTS}.away {LISTS}")
    for way in ("Program apt list", "Program apt-get", "Module apt"):
        assert pending(way, tasks[way][1]) == set()
    assert not tasks["Module apt"][1]["changed"]
    updates = tasks[OURS][1]["updates"]
    assert (updates["pending"], updates["security"], updates["security_known"]) == (None, None, False)
    assert updates["reason"]
