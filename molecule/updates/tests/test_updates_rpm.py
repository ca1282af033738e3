# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates where rpm is beneath: what dnf and zypper themselves list, for each state of the host and its repository.

The tests build on each other, in their order: reported, not to be had, security only, all, automatic.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from conftest import shell

REPOSITORY = "/var/lib/kopano-lab/repository"
HELD = "mailcap"


def of_dnf(host: str) -> set[str]:
    """The packages that have a newer version, by dnf's own list; what is locked is not in it."""
    text = shell(host, "dnf -q -C check-update || [ $? = 100 ]")
    return {line.split()[0].rpartition(".")[0] for line in text.splitlines() if len(line.split()) == 3}


def secure_of_dnf(host: str) -> set[str]:
    """Those that security advisories name."""
    text = shell(host, "dnf -q -C updateinfo list --security")
    return {line.split()[-1].rsplit("-", 2)[0] for line in text.splitlines() if len(line.split()) == 3}


def of_zypper(host: str) -> set[str]:
    text = shell(host, "zypper --non-interactive --xmlout --no-refresh list-updates")
    return {entry.get("name", "") for entry in ET.fromstring(text).iter("update")}


def secure_of_zypper(host: str) -> set[str]:
    """What needed security patches demand newer versions of, by the text that zypper describes a patch with."""
    text = shell(host, "zypper --non-interactive --xmlout --no-refresh list-patches --category security")
    patches = [entry for entry in ET.fromstring(text).iter("update") if entry.get("category") == "security"]
    names = " ".join(entry.get("name", "") for entry in patches)
    if not names:
        return set()
    described = shell(host, f"zypper --non-interactive --no-refresh info --type patch {names}")
    return {name.rpartition(".")[0] or name for name in re.findall(r"(?m)^[\s:]*(\S+) < \S+$", described)}


@dataclass(frozen=True)
class System:
    """How a host's package manager reports, and what automatic updates are there."""

    pending: Callable[[str], set[str]]
    secure: Callable[[str], set[str]]
    web: str
    lists: str  # has the manager fetch its lists
    lock: str  # keeps packages from being updated, and the next one ends that
    unlock: str
    mechanism: str
    timer: str


SYSTEMS = {
    "el9": System(of_dnf, secure_of_dnf, "httpd.service", "dnf -q makecache --refresh",
                  "dnf -q versionlock add", "dnf -q versionlock delete", "dnf-automatic", "dnf-automatic.timer"),
    "sles15": System(of_zypper, secure_of_zypper, "apache2.service", "zypper -nq refresh --force",
                     "zypper -nq addlock", "zypper -nq removelock", "os-update", "os-update.timer"),
}  # fmt: skip
HOSTS = list(SYSTEMS)
# What goes wrong with a repository, and how that ends.
FAULTS = {
    "gone": (f"mv {REPOSITORY} {REPOSITORY}.away", f"mv {REPOSITORY}.away {REPOSITORY}"),
    # As a new file: zypper's copy of a repository in a folder is another link to the same one.
    "changed after it was signed": (
        f"cd {REPOSITORY}/repodata && mv repomd.xml signed && sed '$a <!-- changed -->' signed >repomd.xml",
        f"cd {REPOSITORY}/repodata && mv signed repomd.xml",
    ),
}


def ids(info):
    return [finding["id"] for finding in info["findings"]]


def packages(info, key=None):
    """The names of the packages that the module reports; key: only of those for which this is true."""
    found = [entry for entry in info["updates"]["packages"] if key is None or entry[key]]
    return {entry["name"].removesuffix(".x86_64").removesuffix(".noarch") for entry in found}


def installed(host):
    """The packages with their versions. The keys that a package manager has come to trust are none."""
    text = shell(host, "rpm -qa --queryformat '%{NAME} %{VERSION}-%{RELEASE}\\n'")
    return dict(line.split() for line in text.splitlines() if not line.startswith("gpg-pubkey "))


def main_pid(host):
    return shell(host, f"systemctl show --property MainPID --value {SYSTEMS[host].web}").strip()


def each(question: Callable[[str], Any]) -> dict[str, Any]:
    """The answer about each host."""
    return {host: question(host) for host in SYSTEMS}


def secure() -> dict[str, set[str]]:
    """What each package manager has security updates for."""
    return {host: system.secure(host) for host, system in SYSTEMS.items()}


def test_what_is_pending_is_what_the_package_manager_lists(play):
    run = play(hosts=HOSTS)
    assert (run.status, run.changed) == (0, dict.fromkeys(HOSTS, 0)), run.output
    of_manager = secure()
    for host, system in SYSTEMS.items():
        info = run.info(host)
        assert of_manager[host] and packages(info, "security") == of_manager[host]
        assert packages(info, "held") == {HELD}
        assert packages(info) - {HELD} == system.pending(host)
        assert info["updates"]["security_known"] and info["updates"]["security"] == len(of_manager[host])
        assert "updates.security.pending" in ids(info)
        # Signed, fetched lately, and from the distribution.
        assert not {"updates.metadata.unsigned", "updates.metadata.stale", "updates.source.failed"} & set(ids(info))
        assert info["metadata"]["stale"] is False
        assert all(component["from_distribution"] for component in info["distribution"]["components"])
        assert info["support"]["level"] in ("full", "lts")


def test_a_dry_run_says_what_would_be_installed_and_changes_nothing(play):
    before = each(installed)
    run = play("--check", hosts=HOSTS, updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    for host, names in secure().items():
        for name in names:
            assert re.search(rf"would be installed: [^|]*\b{re.escape(name)}=", run.outcome(host)), run.outcome(host)
    assert each(installed) == before


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repository_that_cannot_be_trusted_is_never_a_clean_bill(play, fault):
    begin, end = FAULTS[fault]
    each(lambda host: shell(host, begin))
    try:
        run = play(hosts=HOSTS, updates_refresh=True)
        for host in HOSTS:
            assert "updates.source.failed" in ids(run.info(host)), run.said(host)
            assert run.info(host)["updates"]["reason"]
        if fault == "gone":
            # What cannot be known to be done is not done.
            before = each(installed)
            run = play(hosts=HOSTS, updates_apply="security")
            assert run.failed == dict.fromkeys(HOSTS, 1), run.output
            assert each(installed) == before
    finally:
        each(lambda host: shell(host, f"{end}; {SYSTEMS[host].lists}"))
    run = play(hosts=HOSTS)
    for host, names in secure().items():
        info = run.info(host)
        assert packages(info, "security") == names and info["updates"]["security_known"]


def test_security_updates_that_are_locked_stay_in_sight_and_out(play):
    locked, before = secure(), each(installed)
    each(lambda host: shell(host, f"{SYSTEMS[host].lock} {' '.join(locked[host])}"))
    try:
        run = play(hosts=HOSTS, updates_apply="security")
        for host, names in locked.items():
            info = run.info(host)
            assert packages(info, "security") == names and packages(info, "held") == names | {HELD}
            assert "updates.held.security" in ids(info)
        assert run.changed == dict.fromkeys(HOSTS, 0) and each(installed) == before, run.output
    finally:
        each(lambda host: shell(host, f"{SYSTEMS[host].unlock} {' '.join(locked[host])}"))


def test_security_updates_alone_are_installed_and_what_runs_old_files_restarted(play):
    wanted, before, pids = secure(), each(installed), each(main_pid)
    run = play(hosts=HOSTS, updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    after, pids_after = each(installed), each(main_pid)
    for host, system in SYSTEMS.items():
        assert {name for name in after[host] if after[host][name] != before[host].get(name)} == wanted[host]
        info = run.info(host)
        assert (info["updates"]["security"], packages(info, "security"), system.secure(host)) == (0, set(), set())
        assert packages(info) - {HELD} == system.pending(host)
        assert pids_after[host] != pids[host]
        assert re.search(rf"\brestarted: [^|]*{re.escape(system.web)}", run.outcome(host))
        assert not any("libssl" in path for process in info["restart"]["processes"] for path in process["files"])
    again = play(hosts=HOSTS, updates_apply="security", updates_restart_services=True)
    assert (again.status, again.changed) == (0, dict.fromkeys(HOSTS, 0)), again.output


def test_all_updates_leave_what_is_held(play):
    held = each(lambda host: installed(host)[HELD])
    run = play(hosts=HOSTS, updates_apply="all", updates_restart_services=True)
    assert run.status == 0, run.output
    for host, system in SYSTEMS.items():
        assert system.pending(host) == set()
        assert packages(run.info(host)) == {HELD}
    assert each(lambda host: installed(host)[HELD]) == held


def test_the_hosts_update_themselves(play):
    before = play(hosts=HOSTS)
    assert all("automatic updates: off" in before.said(host) for host in HOSTS)
    run = play(hosts=HOSTS, updates_automatic=True)
    assert run.status == 0, run.output
    for host, system in SYSTEMS.items():
        automatic = run.info(host)["automatic"]
        assert automatic["enabled"] and automatic["covers_security"] and automatic["mechanism"] == system.mechanism
        shell(host, f"systemctl is-active {system.timer}")
    again = play(hosts=HOSTS, updates_automatic=True)
    assert (again.status, again.changed) == (0, dict.fromkeys(HOSTS, 0)), again.output
