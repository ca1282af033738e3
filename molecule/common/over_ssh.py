# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on a scenario's hosts, over one ssh connection to each, which Ansible uses as well."""

from __future__ import annotations

import functools
import shlex
import subprocess
from pathlib import Path

import yaml

KEPT = 600  # seconds that a connection stays without commands


@functools.cache
def command(inventory: Path, host: str) -> tuple[str, ...]:
    """The words of ssh to a host of an inventory; the command for its shell comes behind them.

    To make a connection costs both machines more than most commands do. Where it has ended, each command makes its own.
    """
    content = yaml.safe_load(inventory.read_text())["all"]
    common, values = content["vars"], content["hosts"][host]
    socket = values["ansible_control_path"]
    ssh = [
        "ssh", *shlex.split(common["ansible_ssh_common_args"]), "-i", common["ansible_ssh_private_key_file"],
        "-o", f"ControlPath={socket}",
    ]  # fmt: skip
    target = f"{common['ansible_user']}@{values['ansible_host']}"
    if not Path(socket).exists():
        # The connection gets no output: what waits for the end of that would wait for the end of the connection.
        subprocess.run(
            [*ssh, "-o", "ControlMaster=yes", "-o", f"ControlPersist={KEPT}", target, "true"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    return (*ssh, "-o", "ControlMaster=no", target)


def run(inventory: Path, host: str, *words: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """A command on a host, as root, and what came of it."""
    return subprocess.run(
        [*command(inventory, host), shlex.join(words)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


def shell(inventory: Path, host: str, script: str, *, seconds: float) -> str:
    """What a script of root's prints on a host; it may not fail."""
    done = run(inventory, host, "sh", "-c", script, seconds=seconds)
    assert done.returncode == 0, f"{host}: {done.stdout}{done.stderr}"
    return done.stdout
