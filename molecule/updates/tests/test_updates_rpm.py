# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates where rpm is beneath: what dnf and zypper themselves list, for each state of the host and its repository.

The tests of a host build on each other, in their order: reported, not to be had, security only, all, automatic.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass

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
# What goes wrong with a repository, and how that ends.
FAULTS = {
    "gone": (f"mv {REPOSITORY} {REPOSITORY}.away", f"mv {REPOSITORY}.away {REPOSITORY}"),
    # As a new file: zypper's copy of a repository in a folder is another link to the same one.
    "changed after it was signed": (
        f"cd {REPOSITORY}/repodata && mv repomd.xml signed && sed '$a <!-- changed -->' signed >repomd.xml",
        f"cd {REPOSITORY}/repodata && mv signed repomd.xml",
    ),
}


@pytest.fixture(params=SYSTEMS)
def host(request):
    return request.param


@pytest.fixture
def system(host):
    return SYSTEMS[host]


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


def main_pid(host, unit):
    return shell(host, f"systemctl show --property MainPID --value {unit}").strip()


def test_what_is_pending_is_what_the_package_manager_lists(host, system, play):
    run = play(hosts=[host])
    assert (run.status, run.changed[host]) == (0, 0), run.output
    info = run.info(host)
    secure = system.secure(host)
    assert secure and packages(info, "security") == secure
    assert packages(info, "held") == {HELD}
    assert packages(info) - {HELD} == system.pending(host)
    assert info["updates"]["security_known"] and info["updates"]["security"] == len(secure)
    assert "updates.security.pending" in ids(info)
    # Signed, fetched lately, and from the distribution.
    assert not {"updates.metadata.unsigned", "updates.metadata.stale", "updates.source.failed"} & set(ids(info))
    assert info["metadata"]["stale"] is False
    assert all(component["from_distribution"] for component in info["distribution"]["components"])
    assert info["support"]["level"] in ("full", "lts")


def test_a_dry_run_says_what_would_be_installed_and_changes_nothing(host, system, play):
    before = installed(host)
    run = play("--check", hosts=[host], updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    for name in system.secure(host):
        assert re.search(rf"would be installed: [^|]*\b{re.escape(name)}=", run.outcome(host)), run.outcome(host)
    assert installed(host) == before


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repository_that_cannot_be_trusted_is_never_a_clean_bill(host, system, play, fault):
    begin, end = FAULTS[fault]
    shell(host, begin)
    try:
        run = play(hosts=[host], updates_refresh=True)
        assert "updates.source.failed" in ids(run.info(host)), run.said(host)
        assert run.info(host)["updates"]["reason"]
        if fault == "gone":
            # What cannot be known to be done is not done.
            before = installed(host)
            run = play(hosts=[host], updates_apply="security")
            assert run.failed[host] == 1, run.output
            assert installed(host) == before
    finally:
        shell(host, f"{end}; {system.lists}")
    info = play(hosts=[host]).info(host)
    assert packages(info, "security") == system.secure(host) and info["updates"]["security_known"]


def test_security_updates_that_are_locked_stay_in_sight_and_out(host, system, play):
    secure, before = system.secure(host), installed(host)
    shell(host, f"{system.lock} {' '.join(secure)}")
    try:
        run = play(hosts=[host], updates_apply="security")
        info = run.info(host)
        assert packages(info, "security") == secure and packages(info, "held") == secure | {HELD}
        assert "updates.held.security" in ids(info)
        assert run.changed[host] == 0 and installed(host) == before, run.output
    finally:
        shell(host, f"{system.unlock} {' '.join(secure)}")


def test_security_updates_alone_are_installed_and_what_runs_old_files_restarted(host, system, play):
    secure, before, pid = system.secure(host), installed(host), main_pid(host, system.web)
    run = play(hosts=[host], updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    after = installed(host)
    assert {name for name in after if after[name] != before.get(name)} == secure
    info = run.info(host)
    assert (info["updates"]["security"], packages(info, "security"), system.secure(host)) == (0, set(), set())
    assert packages(info) - {HELD} == system.pending(host)
    assert main_pid(host, system.web) != pid
    assert re.search(rf"\brestarted: [^|]*{re.escape(system.web)}", run.outcome(host))
    assert not any("libssl" in path for process in info["restart"]["processes"] for path in process["files"])
    again = play(hosts=[host], updates_apply="security", updates_restart_services=True)
    assert (again.status, again.changed[host]) == (0, 0), again.output


def test_all_updates_leave_what_is_held(host, system, play):
    held = installed(host)[HELD]
    run = play(hosts=[host], updates_apply="all", updates_restart_services=True)
    assert run.status == 0, run.output
    assert system.pending(host) == set()
    assert packages(run.info(host)) == {HELD} and installed(host)[HELD] == held


def test_the_host_updates_itself(host, system, play):
    assert "automatic updates: off" in play(hosts=[host]).said(host)
    run = play(hosts=[host], updates_automatic=True)
    assert run.status == 0, run.output
    automatic = run.info(host)["automatic"]
    assert automatic["enabled"] and automatic["covers_security"] and automatic["mechanism"] == system.mechanism
    shell(host, f"systemctl is-active {system.timer}")
    again = play(hosts=[host], updates_automatic=True)
    assert (again.status, again.changed[host]) == (0, 0), again.output
