# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reset gives a host the state of its first boot again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

testinfra_hosts = ["ansible://apache12", "ansible://nginx13"]

# All that may differ from one first boot to the next.
OWN_KEYS = "-path /etc/ssl/private/mail.* -o -path /etc/ssl/certs/mail.*"


def etc_of(host) -> list[str]:
    files = f"find /etc -xdev -type f -not \\( {OWN_KEYS} \\) -exec sha256sum {{}} +"
    links = "find /etc -type l -printf '%p %l\\n'"
    return sorted(host.check_output(f"{files} && {links}").splitlines())


def test_a_reset_gives_the_first_state_again(frontend, host):
    before = etc_of(host)
    host.check_output("rm -r /etc/logrotate.d && date > /etc/dirty && systemctl stop apache2 nginx")
    assert etc_of(host) != before

    lab = [sys.executable, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "lab" / "lab.py")]
    lab += ["--set", f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}", "reset", frontend.host]
    subprocess.run(lab, check=True)
    assert etc_of(host) == before
