# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the scenario with older packages, and ways to ask them, to run the role, and to be their client."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

SCENARIO = Path(__file__).resolve().parent.parent
PROJECT = SCENARIO.parent.parent
SET = os.environ.get("LAB_SET", "molecule-updates")
INVENTORY = PROJECT / ".cache" / "lab" / SET / "inventory.yml"
sys.path.append(str(PROJECT / "molecule" / "common"))

import over_ssh  # noqa: E402
from terminal import shown  # noqa: E402

HOSTS = yaml.safe_load(INVENTORY.read_text())["all"]["hosts"]
NAMES = ["apache11", "apache12", "nginx13"]
SECONDS = 900  # a run that hangs, on a machine ten times slower
RATE = 20  # requests a second

# The newest version below the installed one that the archive has, of OpenSSL's packages and the web server's.
OLDER = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
server=apache2
systemctl -q is-active apache2 || server=nginx
dpkg-query -W -f '${source:Package} ${binary:Package} ${Version}\\n' |
while read -r source package version; do
    case $source in openssl | $server) ;; *) continue ;; esac
    apt-cache madison "${package%:*}" | cut -d '|' -f 2 | sort -Vr | while read -r older; do
        if dpkg --compare-versions "$older" lt "$version"; then
            echo "${package%:*}=$older"
            break
        fi
    done
done >/tmp/older
xargs apt-get -qq -y --no-remove --allow-downgrades install </tmp/older >/dev/null 2>&1
cat /tmp/older
"""


@dataclass(frozen=True)
class Play:
    """What a run came to: status, output, how much has changed and failed, and what it has left for other plays."""

    status: int
    output: str
    changed: dict[str, int]
    failed: dict[str, int]
    left: dict[str, Any]

    def said(self, host: str) -> str:
        """What the role has found on a host, on one line."""
        return " | ".join(shown(self.output)[host].lines["updates"])

    def outcome(self, host: str) -> str:
        """What the role has done with a host, or would do, on one line."""
        return " | ".join(shown(self.output)[host].outcome)

    def failure(self, host: str) -> str:
        """Why a host has failed in the end."""
        return shown(self.output)[host].messages[-1]

    def info(self, host: str) -> dict[str, Any]:
        """The answer of the module."""
        return self.left[host]["info"]


def shell(host: str, script: str) -> str:
    """What a script of root's says on a host; it may not fail."""
    return over_ssh.shell(INVENTORY, host, script, seconds=SECONDS)


def everywhere(script: str) -> dict[str, str]:
    """The same on all hosts, side by side."""
    with ThreadPoolExecutor(len(NAMES)) as pool:
        return dict(zip(NAMES, pool.map(lambda host: shell(host, script), NAMES), strict=True))


@pytest.fixture(scope="session")
def play(tmp_path_factory):
    """Runs the role with variables, on all hosts or some."""

    def run(*arguments: str, hosts: list[str] | None = None, **variables: object) -> Play:
        folder = tmp_path_factory.mktemp("left")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "--inventory", INVENTORY, "--extra-vars",
             json.dumps({"folder": str(folder), **variables}), "--limit", ",".join(hosts or NAMES),
             *arguments, SCENARIO / "updates.yml"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
            env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_DISPLAY_OK_HOSTS": "true"},
        )  # fmt: skip
        output = done.stdout + done.stderr
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", output, re.MULTILINE)
        assert recap, output
        left = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        changed = {host: int(number) for host, number, _failed in recap}
        return Play(done.returncode, output, changed, {host: int(number) for host, _c, number in recap}, left)

    return run


def module_file(host: str) -> str:
    """Where the module lies on a host, complete with what it needs, to be run without Ansible."""
    folder = "/root/.ansible/tmp"
    words = [Path(sys.executable).parent / "ansible", host, "--inventory", INVENTORY, "--become"]
    done = subprocess.run(
        [*words, "-m", "kopano.hardening.update_status_info"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        cwd=PROJECT, timeout=SECONDS, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_KEEP_REMOTE_FILES": "1",
             "ANSIBLE_PIPELINING": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return shell(host, f"ls -t {folder}/*/AnsiballZ_update_status_info.py | head -n 1").strip()


@pytest.fixture(scope="session")
def older() -> dict[str, list[str]]:
    """The packages that each host has in an older version now, as NAME=VERSION."""
    return {host: text.split() for host, text in everywhere(OLDER).items()}


@dataclass
class Client:
    """What a client of a host has seen: when its requests began, and what was wrong."""

    requests: int
    faults: list[tuple[float, str]]


@pytest.fixture
def clients(tmp_path):
    """Has a client ask each host all the while; what it has seen is there at the end."""

    @contextlib.contextmanager
    def ask() -> Iterator[dict[str, Client]]:
        seen: dict[str, Client] = {}
        program = PROJECT / "molecule" / "common" / "client.py"
        running = {}
        for host in NAMES:
            where = [HOSTS[host]["lab_addresses"][0], HOSTS[host]["lab_name"], tmp_path / f"{host}.log"]
            words = [sys.executable, program, *where, str(SECONDS), str(RATE)]
            running[host] = subprocess.Popen(words, stdin=subprocess.PIPE)
        began = time.monotonic()
        yield seen
        seconds = time.monotonic() - began
        for host, process in running.items():
            process.communicate(b"\n", timeout=60)
            lines = [line.split(" ", 2) for line in (tmp_path / f"{host}.log").read_text().splitlines()]
            assert len(lines) > seconds * RATE / 2, "the client did not keep up"
            faults = [(float(line[0]), line[2]) for line in lines if line[2]]
            seen[host] = Client(len(lines), sorted(faults))

    return ask
