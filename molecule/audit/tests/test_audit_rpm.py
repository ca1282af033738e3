# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of other families as audit.yml sees them: the same findings, with their own paths, and nothing is changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

import pytest
import yaml
from test_audit import BIN, PROJECT, SECONDS, found, inventory_of, shell


@dataclass(frozen=True)
class System:
    """The place that allows old protocols on a host, its name in os-release, and its package manager."""

    old_protocol: str  # a regular expression for the place
    product: str
    manager: str


SYSTEMS = {
    "el9": System(r"/etc/httpd/conf\.d/tls\.conf:\d+", "AlmaLinux", "dnf"),
    "sles15": System(r"/etc/apache2/conf\.d/tls\.conf:\d+", "SUSE Linux Enterprise Server", "zypper"),
}
# Everything that an audit must not change: files with their times, packages, and which processes serve. SQLite keeps
# locks in a file beside the database, also for who only reads.
STATE = """
cd /
find etc usr/share/kopano* var/lib/rpm usr/lib/sysimage var/www srv -xdev -type f -not -name '*.sqlite-shm' \\
    -printf '%p %m %u %T@\\n' -exec sha256sum {} + 2>/dev/null | sort
rpm -qa | sort
systemctl show -p MainPID,ActiveEnterTimestamp httpd apache2 php-fpm ssh
ls -A /var/lib /opt /srv
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The report, the run's output, and the state of the hosts before and after."""
    folder = tmp_path_factory.mktemp("audit")
    inventory = folder / "inventory.yml"
    inventory.write_text(yaml.safe_dump(inventory_of(SYSTEMS)))
    before = {host: shell(host, STATE).splitlines() for host in SYSTEMS}
    done = subprocess.run(
        [BIN / "ansible-playbook", "--inventory", inventory, "--extra-vars",
         json.dumps({"report_path": str(folder / "report"), "report_fail_on": ["fail"]}),
         PROJECT / "playbooks" / "audit.yml"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    report = json.loads((folder / "report" / "report.json").read_text())
    after = {host: shell(host, STATE).splitlines() for host in SYSTEMS}
    return {host["name"]: host for host in report["hosts"]}, output, before, after


@pytest.mark.parametrize("host", SYSTEMS)
def test_what_is_wrong_is_found_where_it_is(seen, host):
    report, output, _before, _after = seen
    entry, system = report[host], SYSTEMS[host]
    assert entry["state"] == "ok" and entry["failed"], output
    assert (entry["grade"], entry["reach"]) == ("B", "pass")
    assert entry["steps"]["1"] == entry["steps"]["2"] == entry["steps"]["3"] == "fail"
    assert found(entry, "updates.security.pending") and found(entry, "tls.protocol.tls10")
    assert found(entry, "tls.hsts.absent")
    (item,) = found(entry, "frontend.tls.old_protocol")
    assert re.fullmatch(system.old_protocol, item["subject"])
    path, _colon, line = item["subject"].rpartition(":")
    assert shell(host, f"sed -n {int(line)}p {path}").strip() == item["evidence"]
    assert system.product in json.dumps(entry)


@pytest.mark.parametrize("host", SYSTEMS)
def test_nothing_is_unknown_or_of_another_family(seen, host):
    entry = seen[0][host]
    unknown = {item["id"] for item in entry["findings"] if item["severity"] == "unknown"}
    # No system knows the lab's authority.
    assert unknown <= {"certificate.chain.unknown"}, entry["findings"]
    others = {"apt-get", "dnf", "zypper"} - {SYSTEMS[host].manager}
    fixes = [word for item in entry["findings"] if item["step"] == 1 for word in (item["fix"] or "").split()]
    assert not others & set(fixes)


@pytest.mark.parametrize("host", SYSTEMS)
def test_nothing_is_changed(seen, host):
    _report, _output, before, after = seen
    assert len(before[host]) > 200
    assert sorted(set(before[host]) ^ set(after[host])) == []
