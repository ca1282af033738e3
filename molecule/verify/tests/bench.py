# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of the playbook, and the lab's hosts as the tests reach them: by ssh, and as their clients do."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
COMMON = PROJECT / "molecule" / "common"
sys.path.append(str(COMMON))

from frontends import Frontend, read_frontend  # noqa: E402
from terminal import Shown, shown  # noqa: E402

INVENTORY = PROJECT / ".cache" / "lab" / os.environ.get("LAB_SET", "molecule-verify") / "inventory.yml"
AUTHORITY = PROJECT / ".cache" / "lab" / "ca.pem"
PLAYBOOK = Path(__file__).resolve().parent.parent / "harden.yml"
PLAY_SECONDS = 900  # a run that hangs, on a machine ten times slower


@dataclass(frozen=True)
class Play:
    """What a run came to: exit status, output, and by host what its tasks returned (nothing for a failed host)."""

    status: int
    output: str
    seen: dict[str, Any]

    def shown(self, host: str) -> Shown:
        return shown(self.output)[host]

    def failed(self) -> set[str]:
        """The hosts that the recap counts as failed."""
        recap = self.output.partition("PLAY RECAP")[2]
        lines = [line for line in recap.splitlines() if ":" in line]
        return {line.split()[0] for line in lines if "failed=0" not in line or "unreachable=0" not in line}


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Begin to run the playbook, without the play on CAA records unless arguments say so; out is a new folder."""
    out.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return subprocess.Popen(
        [Path(sys.executable).parent / "ansible-playbook", "--inventory", INVENTORY, "--extra-vars", f"out={out}",
         *(() if "--tags" in arguments else ("--tags", "frontend,verify")), *arguments, PLAYBOOK],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT,
        # All tasks are shown, their headers before all else, as the tests count modules by tasks.
        env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_DISPLAY_OK_HOSTS": "true", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"},
    )  # fmt: skip


def end(process: subprocess.Popen[str], out: Path) -> Play:
    """Wait for the end of a run."""
    output = process.communicate(timeout=PLAY_SECONDS)[0]
    (out / "output").write_text(output)
    return Play(process.returncode, output, {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")})


def run(out: Path, *arguments: str) -> Play:
    return end(start(out, *arguments), out)


def kill(process: subprocess.Popen[str]) -> None:
    """End a run as a power cut of the controller would: with everything that it has started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = [process.pid]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


class Host:
    """A host of the lab."""

    def __init__(self, name: str) -> None:
        content = yaml.safe_load(INVENTORY.read_text())["all"]
        common = content["vars"]
        self.name = name
        self.frontend: Frontend = read_frontend(INVENTORY, name)
        self.policy = "/etc/{}/kopano-hardening".format("apache2" if name.startswith("apache") else "nginx")
        self._ssh = [
            "ssh", *shlex.split(common["ansible_ssh_common_args"]), "-o", "ControlPath=none",
            "-i", common["ansible_ssh_private_key_file"], f"root@{content['hosts'][name]['ansible_host']}",
        ]  # fmt: skip

    def shell(self, script: str, *, data: str = "") -> str:
        """What a command on the host prints. Raises for one that fails."""
        done = subprocess.run([*self._ssh, script], input=data, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (script, done.stderr)
        return done.stdout

    def etc(self) -> dict[str, Any]:
        """Every path below /etc: kind, mode, owner and content."""
        tree = json.loads(self.shell("python3 - /etc", data=(COMMON / "look.py").read_text()))
        return {path: {key: state[key] for key in state if key != "modified"} for path, state in tree.items()}

    def serves(self) -> tuple[str, int, list[str]]:
        """What a client outside sees: the certificate's serial number, the status of a page, its HSTS headers."""
        answer = self.frontend.request("/webapp/")
        serial = self.frontend.handshake().certificate.serial_number
        return str(serial), answer.status, answer.all("Strict-Transport-Security")

    def shut_out(self) -> None:
        """Have nobody outside reach port 443 for as long as the policy's files are there.

        Like a firewall in between: the host itself notices nothing, since what stays on it is not routed.
        """
        rule = "pref 100 ipproto tcp sport 443 blackhole"
        self.shell(
            "systemd-run --quiet --unit=shut-out sh -c '"
            f"shut=0; while sleep 0.05; do if [ -e {self.policy}/tls.conf ]; then "
            f"[ $shut = 1 ] || {{ ip rule add {rule}; ip -6 rule add {rule}; shut=1; }}; "
            f"elif [ $shut = 1 ]; then ip rule del {rule}; ip -6 rule del {rule}; shut=0; fi; done'"
        )

    def let_in(self) -> None:
        self.shell("systemctl stop shut-out; ! ip rule | grep -q blackhole")

    def states(self) -> list[str]:
        """The states of the transactions in the host's journal, the oldest first."""
        program = "import glob, json; [print(json.load(open(name))['state']) for name in sorted(glob.glob('{}'))]"
        names = "/var/lib/kopano-hardening/transactions/*/record.json"
        return self.shell("python3 -", data=program.format(names)).split()

    def wait_for(self, state: str, seconds: float) -> float:
        """Until the newest transaction is in this state; returns how many seconds it took."""
        begin = time.monotonic()
        while self.states()[-1:] != [state]:
            assert time.monotonic() < begin + seconds, f"{self.name}: {self.states()}, not {state}"
            time.sleep(0.3)
        return time.monotonic() - begin
