# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts are whole Debian systems, and a reset gives them their first state again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NAMESPACES = "unshare -m -n -i -u -p --fork --mount-proc"
# All that may differ from one first boot to the next.
OWN_KEYS = "-path /etc/ssl/private/mail.* -o -path /etc/ssl/certs/mail.*"


def test_the_system_is_up(host):
    assert host.run("systemctl is-system-running").stdout.strip() == "running"


def test_one_web_server_runs(frontend, host):
    mine, other = ("apache2", "nginx") if frontend.host.startswith("apache") else ("nginx", "apache2")
    assert host.service(mine).is_running
    assert host.service(mine).is_enabled
    assert not host.service(other).is_running


def test_php_runs_as_the_data_says(frontend, host):
    workers = host.run("pgrep -c php-fpm").stdout.strip()
    if frontend.host == "apache11":
        assert workers == "0"
        assert {"php7_module", "mpm_prefork_module"} <= set(host.run("apache2ctl -M").stdout.split())
    else:
        assert int(workers) > 0


def test_namespaces_are_allowed_where_they_are_on_a_real_host(frontend, host):
    overlay = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && "
    overlay += "mount -t overlay none -o lowerdir=/var,upperdir=/mnt/u,workdir=/mnt/w /var && touch /var/trace"
    done = host.run(f"{NAMESPACES} sh -c '{overlay}'")
    if frontend.host.endswith("u"):
        assert done.rc != 0
    else:
        assert done.rc == 0, done.stderr
    assert not host.file("/var/trace").exists


def etc_of(host) -> list[str]:
    listing = f"find /etc -xdev -type f -not \\( {OWN_KEYS} \\) -exec sha256sum {{}} + && find /etc -type l -printf '%p %l\\n'"
    return sorted(host.check_output(listing).splitlines())


def test_a_reset_gives_the_first_state_again(frontend, host):
    before = etc_of(host)
    host.check_output("rm -r /etc/logrotate.d && date > /etc/dirty && systemctl stop apache2 nginx")
    assert etc_of(host) != before

    lab = [sys.executable, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "lab" / "lab.py")]
    lab += ["--set", f"molecule-{os.environ['MOLECULE_SCENARIO_NAME']}", "reset", frontend.host]
    subprocess.run(lab, check=True)
    assert etc_of(host) == before
