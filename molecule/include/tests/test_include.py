# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role did as a part of a foreign play, and what it does in others."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from hardened import Endpoint

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SCENARIO = Path(__file__).resolve().parent.parent
INVENTORY = PROJECT / ".cache" / "lab" / "molecule-include" / "inventory.yml"
NEWEST = Path(sys.executable).parent / "ansible-playbook"
OLDEST = PROJECT / ".venv-oldest" / "bin" / "ansible-playbook"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)\s+skipped=(\d+)", re.M)


def play(program, name, *arguments):
    """Run a playbook of the scenario; its output, and per host the counts (ok, changed, unreachable, failed, skipped).

    The environment is that of a user: nothing of Molecule's settings for Ansible is in it. But every task is shown.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_DISPLAY_OK_HOSTS": "true", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"}
    done = subprocess.run(
        [program, "--inventory", INVENTORY, *arguments, SCENARIO / name],
        env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=900, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    counts = {host: tuple(map(int, numbers)) for host, *numbers in RECAP.findall(output)}
    assert done.returncode == 0, output
    assert set(counts) == {"apache12", "nginx13"}, output
    return output, counts


def test_hardened(frontend):
    assert frontend.handshake().protocol == "TLSv1.3"
    with pytest.raises(OSError):
        frontend.handshake(protocol=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
    answer = Endpoint(frontend.ipv4, frontend.name, frontend.name).get("/webapp/")
    assert answer.status == 200
    assert answer.all("Strict-Transport-Security") == ["max-age=63072000"]


def test_the_main_configuration_is_the_plays(host, frontend):
    apache = frontend.server == "apache"
    path = "/etc/apache2/apache2.conf" if apache else "/etc/nginx/nginx.conf"
    lines = host.file(path).content_string.splitlines()
    assert lines.count("RequestReadTimeout header=30" if apache else "client_header_timeout 30s;") == 1
    assert not [line for line in lines if "kopano" in line]


@pytest.mark.parametrize("program", [pytest.param(NEWEST, id="newest"), pytest.param(OLDEST, id="oldest")])
def test_other_ways_to_include_change_nothing(program):
    if not program.exists():
        pytest.skip("no interpreter here runs the oldest ansible-core (see `make oldest`)")
    output, counts = play(program, "import.yml")
    assert {host: found[1:4] for host, found in counts.items()} == {"apache12": (0, 0, 0), "nginx13": (0, 0, 0)}, output
    asked = re.findall(r"TASK \[kopano.hardening.frontend : Deploy the TLS policy\][ *]+\n((?:.+\n)*)", output)
    assert [sorted(lines.splitlines()) for lines in asked] == [
        ["apache12  unchanged", "nginx13   unchanged", "ok: [apache12]", "ok: [nginx13]"],
        ["nginx13   unchanged", "ok: [nginx13]", "skipping: [apache12]"],
    ]


@pytest.mark.parametrize(
    ("option", "hardens"),
    [("--tags=tls", True), ("--tags=web", False), ("--skip-tags=tls", False), ("--check", True)],
)
def test_tags(option, hardens):
    output, counts = play(NEWEST, "converge.yml", option)
    assert ("Deploy the TLS policy" in output) is hardens
    assert all(found[1:4] == (0, 0, 0) for found in counts.values()), output
