# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Automatic updates: what a host's configuration, timers and notes say of them.

apt's configuration is read by the real apt-config. No systemd runs in tests, so what systemctl says is given.
"""

from __future__ import annotations

import datetime
import os

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import managers as _managers
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Host,
    Metadata,
    Package,
    Reading,
    Source,
    Updates,
)

from .updates_bed import BOOKWORM, NOW, ago, missing, run

pytestmark = pytest.mark.slow

ON = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'
# As Debian's package has them.
PATTERNS = """\
Unattended-Upgrade::Origins-Pattern {
    "origin=Debian,codename=${distro_codename},label=Debian";
    "origin=Debian,codename=${distro_codename},label=Debian-Security";
    "origin=Debian,codename=${distro_codename}-security,label=Debian-Security";
};
"""
SECURITY = {
    "Origin": "Debian",
    "Label": "Debian-Security",
    "Suite": "oldstable-security",
    "Codename": "bookworm-security",
}
JAMMY = {"Origin": "Ubuntu", "Label": "Ubuntu", "Suite": "jammy-security", "Codename": "jammy"}
ESM = {"Origin": "UbuntuESM", "Label": "UbuntuESM", "Suite": "jammy-infra-security", "Codename": "jammy"}
APPS = {"Origin": "UbuntuESMApps", "Label": "UbuntuESMApps", "Suite": "jammy-apps-security", "Codename": "jammy"}
UBUNTU = {"ID": "ubuntu", "VERSION_ID": "22.04", "VERSION_CODENAME": "jammy"}
# As Ubuntu's package has them.
ALLOWED = """\
Unattended-Upgrade::Allowed-Origins {
    "${distro_id}:${distro_codename}";
    "${distro_id}:${distro_codename}-security";
    "${distro_id}ESMApps:${distro_codename}-apps-security";
    "${distro_id}ESM:${distro_codename}-infra-security";
};
"""


class Machine:
    """A host with a root of its own, whose systemctl says what it is told."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.parts = folder / "etc/apt/apt.conf.d"
        self.parts.mkdir(parents=True)
        config = folder / "apt.conf"
        config.write_text(f'Dir::Etc::parts "{self.parts}";\nDir::Etc::main "none";\n')
        self.host = Host(
            root=str(folder),
            environment={"PATH": f"{self.programs}:{os.environ['PATH']}", "APT_CONFIG": str(config)},
        )
        self._units = []
        self.systemctl = self.program("systemctl", "exit 1")

    def program(self, name, script=""):
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def unit(self, name, active=True, last="", result="success"):
        """systemd runs, and this unit is loaded."""
        self._units.append(
            f"Id={name}\nLoadState=loaded\nActiveState={'active' if active else 'inactive'}\n"
            f"LastTriggerUSec={last}\nResult={result}\n"
        )
        answer = self.folder / "units"
        answer.write_text("\n".join([*self._units, "Id=other.timer\nLoadState=not-found\nActiveState=inactive\n"]))
        self.systemctl.write_text(f"#!/bin/sh\ncat {answer}\n")

    def file(self, path, text="", hours=None):
        """Write a file, last changed so many hours ago."""
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if hours is not None:
            os.utime(path, (ago(hours).timestamp(),) * 2)
        return path

    def apt(self, text):
        self.file("etc/apt/apt.conf.d/50", text)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def debian(machine):
    """unattended-upgrades as it should be, which ran with success this morning."""
    lacking = missing("apt-config")
    if lacking:
        pytest.skip(f"{lacking} is not installed")
    machine.program("unattended-upgrade")
    machine.apt(ON + PATTERNS)
    machine.unit("apt-daily.timer")
    machine.unit("apt-daily-upgrade.timer")
    machine.file("var/lib/apt/periodic/upgrade-stamp", hours=6)
    return machine


def reading(manager="apt", fields=SECURITY, pending=()):
    sources = [Source("http://mirror.example/debian-security bookworm-security", security=True, fields=fields)]
    packages = [Package(name, "1", "2", True, False, "") for name in pending]
    return Reading(manager, Updates(packages, True, True), Metadata(stale=False, sources=sources if fields else []))


def read(machine, of=None, release=BOOKWORM):
    """What is found, and the findings that follow."""
    of = of or reading()
    module = _managers.module(of.manager.replace("dnf5", "dnf"))
    of.automatic = module.automatic(machine.host, of, release, NOW)
    findings = list(_updates_findings.of_automatic(of.manager, of.automatic))
    return of.automatic, [item["id"].partition("automatic.")[2] for item in findings]


def state(automatic):
    return automatic.enabled, automatic.covers_security, automatic.works


def test_unattended_upgrades_as_it_should_be(debian):
    automatic, found = read(debian)
    assert automatic.returned() == {
        "enabled": True,
        "mechanism": "unattended-upgrades",
        "covers_security": True,
        "works": True,
        "last_run": "2026-11-25T06:00:00Z",
        "reason": "",
    }
    assert found == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "APT::Periodic::Unattended-Upgrade is 0 or not set"),
        ('APT::Periodic::Unattended-Upgrade "0";', "APT::Periodic::Unattended-Upgrade is 0 or not set"),
        (ON + 'APT::Periodic::Enable "0";', "APT::Periodic::Enable is 0"),
    ],
)
def test_what_apts_configuration_switches_off(debian, options, reason):
    debian.apt(PATTERNS + options)
    automatic, found = read(debian)
    assert (state(automatic), automatic.reason, found) == ((False, None, None), reason, ["off"])


def test_it_is_off_when_it_is_not_installed(debian):
    (debian.programs / "unattended-upgrade").unlink()
    if missing("unattended-upgrade") is None:
        pytest.skip("unattended-upgrades is installed here")
    automatic, found = read(debian)
    assert (automatic.enabled, automatic.mechanism, found) == (False, "", ["off"])
    assert "not installed" in automatic.reason


@pytest.mark.parametrize("timer", ["apt-daily.timer", "apt-daily-upgrade.timer"])
def test_it_is_off_when_a_timer_does_not_run(debian, timer):
    debian._units = []
    for name in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        debian.unit(name, active=name != timer)
    automatic, found = read(debian)
    assert (automatic.enabled, automatic.reason, found) == (False, f"not active: {timer}", ["off"])
    assert automatic.fix == f"systemctl unmask {timer} && systemctl enable --now {timer}"


def test_units_without_a_name_are_none(debian):
    debian.program("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\n\\n'")
    automatic, _findings = read(debian)
    assert automatic.enabled is False and "not active" in automatic.reason


def test_without_systemd_cron_has_to_start_it(debian):
    debian.program("systemctl", "exit 1")
    assert read(debian)[0].reason == "neither systemd nor cron starts it"
    debian.program("cron")
    debian.file("etc/cron.daily/apt-compat")
    assert read(debian)[1] == []


@pytest.mark.parametrize(
    ("patterns", "covered"),
    [
        (PATTERNS, True),
        ('Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };', False),
        ('Unattended-Upgrade::Origins-Pattern { "o=Debian,a=stable-security"; };', False),
        ('Unattended-Upgrade::Origins-Pattern { "o=Debian,a=oldstable-security"; };', True),
        ('Unattended-Upgrade::Origins-Pattern { "o=*"; };', True),
        ('Unattended-Upgrade::Origins-Pattern { "site=mirror.example"; };', True),
        ('Unattended-Upgrade::Origins-Pattern { "l=Debian-Security,c=main"; };', True),
        ('Unattended-Upgrade::Origins-Pattern { "l=Debian-Security,c=contrib"; };', False),
        ('Unattended-Upgrade::Origins-Pattern { "colour=blue"; };', False),
        ('Unattended-Upgrade::Allowed-Origins { "Debian:oldstable-security"; };', True),
        ('Unattended-Upgrade::Allowed-Origins { "Debian oldstable-security"; };', True),
        ("", False),
    ],
)
def test_the_patterns_have_to_match_the_security_source(debian, patterns, covered):
    debian.apt(ON + patterns)
    automatic, found = read(debian)
    assert (automatic.covers_security, found) == (covered, [] if covered else ["no_security"])
    assert covered or "bookworm-security" in automatic.reason


@pytest.mark.parametrize(
    ("fields", "covered"), [(JAMMY, True), (ESM, True), (APPS, True), ({**JAMMY, "Suite": "other"}, False)]
)
def test_ubuntus_origins_are_understood(debian, fields, covered):
    debian.apt(ON + ALLOWED)
    assert read(debian, reading(fields=fields), UBUNTU)[0].covers_security is covered


def test_without_a_security_source_nothing_is_reported_of_it(debian):
    automatic, found = read(debian, reading(fields=None))
    assert (automatic.covers_security, found) == (None, ["unknown"])


def test_a_pending_security_update_that_is_left_out_is_not_covered(debian):
    debian.apt(ON + PATTERNS + 'Unattended-Upgrade::Package-Blacklist { "web"; "("; "kopano-"; };')
    assert read(debian)[0].covers_security
    automatic, found = read(debian, reading(pending=["tls", "webserver"]))
    assert (automatic.covers_security, found) == (False, ["no_security"])
    assert automatic.reason.endswith("leaves out webserver")


@pytest.mark.parametrize(
    ("interval", "hours", "works"),
    [("1", 71, True), ("1", 73, False), ("7", 300, True), ("7", 400, False), ("always", 73, False), ("12h", 47, True)],
)
def test_it_has_to_have_run_lately(debian, interval, hours, works):
    debian.apt(ON.replace('Upgrade "1"', f'Upgrade "{interval}"') + PATTERNS)
    debian.file("var/lib/apt/periodic/upgrade-stamp", hours=hours)
    automatic, found = read(debian)
    assert (automatic.works, found) == (works, [] if works else ["idle"])


def test_its_own_stamp_does_not_count(debian):
    """A dry run leaves one."""
    debian.file("var/lib/apt/periodic/upgrade-stamp", hours=500)
    debian.file("var/lib/apt/periodic/unattended-upgrades-stamp", hours=1)
    assert not read(debian)[0].works


def paste(machine, automatic):
    """Do on the machine what the fix says."""
    for folder in ("/etc", "/usr"):
        automatic.fix = automatic.fix.replace(f" {folder}/", f" {machine.folder}{folder}/")
        automatic.fix = automatic.fix.replace(f">{folder}/", f">{machine.folder}{folder}/")
    run("sh", "-e", "-c", automatic.fix, env=machine.host.environment)


@pytest.mark.parametrize(
    "text",
    [
        PATTERNS,
        PATTERNS + 'APT::Periodic::Unattended-Upgrade "0";',
        PATTERNS + ON + 'APT::Periodic::Enable "0";',
        PATTERNS + ON.replace('Lists "1"', 'Lists "0"'),
        ON,
        ON + 'Unattended-Upgrade::Origins-Pattern { "o=Kopano"; };',
    ],
)
def test_the_fix_repairs_it(debian, text):
    debian.apt(text)
    automatic, found = read(debian)
    assert found
    paste(debian, automatic)
    automatic, found = read(debian)
    assert (found, state(automatic)) == ([], (True, True, True))


@pytest.mark.parametrize(("hours", "works", "found"), [(1, None, ["unknown"]), (100, False, ["idle"])])
def test_one_that_never_ran_is_idle_when_it_had_the_time(debian, hours, works, found):
    (debian.folder / "var/lib/apt/periodic/upgrade-stamp").unlink()
    debian.file("var/lib/dpkg/info/unattended-upgrades.list", hours=hours)
    automatic, findings = read(debian)
    assert (automatic.works, automatic.last_run, findings) == (works, None, found)


def log(hours, *lines):
    """A log of so many hours ago, in the time of this machine."""
    moment = datetime.datetime.fromtimestamp(ago(hours).timestamp()).strftime("%Y-%m-%d %H:%M:%S")
    return "".join(f"{moment},123 {line}\n" for line in lines)


@pytest.mark.parametrize(("hours", "works"), [(3, False), (30, True)])
def test_an_error_since_the_last_success_is_reported(debian, hours, works):
    text = log(hours, "INFO Starting", "ERROR Installing the upgrades failed!") + log(2, "INFO Starting")
    debian.file("var/log/unattended-upgrades/unattended-upgrades.log", text)
    automatic, found = read(debian)
    assert (automatic.works, found) == (works, [] if works else ["idle"])
    assert works or "Installing the upgrades failed!" in automatic.reason


def test_without_new_lists_it_is_of_no_use(debian):
    debian.apt(ON.replace('Lists "1"', 'Lists "0"') + PATTERNS)
    automatic, found = read(debian)
    assert (automatic.works, found) == (False, ["idle"])


def test_a_configuration_that_cannot_be_read_is_unknown(debian):
    debian.apt("this { is no configuration")
    automatic, found = read(debian)
    assert (state(automatic), found) == ((None, None, None), ["unknown"])
    assert "50" in automatic.reason


# ---- dnf-automatic

TODAY = "Wed 2026-11-25 06:12:13 UTC"
APPLY = "[commands]\nupgrade_type = default\napply_updates = yes\n"


def test_dnf_automatic_that_is_not_installed_is_off(machine):
    machine.unit("cron.service")
    automatic, found = read(machine, reading("dnf"))
    assert (automatic.enabled, automatic.mechanism, found) == (False, "", ["off"])


def test_dnf_without_systemd_is_unknown(machine):
    automatic, found = read(machine, reading("dnf"))
    assert (automatic.enabled, found) == (None, ["unknown"])


@pytest.mark.parametrize(
    ("timer", "config", "enabled"),
    [
        ("dnf-automatic-install.timer", "", True),
        ("dnf-automatic.timer", APPLY, True),
        ("dnf-automatic.timer", APPLY.replace("yes", "no"), False),
        ("dnf-automatic.timer", "", False),
        ("dnf-automatic.timer", "not a configuration", False),
        ("dnf-automatic-download.timer", APPLY, False),
        ("dnf-automatic-notifyonly.timer", APPLY, False),
        ("dnf5-automatic.timer", APPLY, True),
        ("dnf5-automatic.timer", "", False),
    ],
)
def test_which_of_dnfs_timers_installs(machine, timer, config, enabled):
    machine.unit(timer, last=TODAY)
    machine.file("etc/dnf/automatic.conf", config)
    automatic, found = read(machine, reading("dnf"))
    assert (automatic.enabled, found) == (enabled, [] if enabled else ["off"])
    assert automatic.mechanism == ("dnf5-automatic" if "dnf5" in timer else "dnf-automatic")
    assert enabled or timer in automatic.reason


def test_dnf_5_has_defaults_elsewhere(machine):
    machine.unit("dnf5-automatic.timer", last=TODAY)
    machine.file("usr/share/dnf5/dnf5-plugins/automatic.conf", APPLY)
    assert read(machine, reading("dnf5"))[1] == []
    machine.file("etc/dnf/automatic.conf", "[commands]\napply_updates = no\n")
    assert read(machine, reading("dnf5"))[1] == ["off"]


def test_with_the_fix_dnf_5_installs(machine):
    machine.unit("dnf5-automatic.timer", last=TODAY)
    machine.file("usr/share/dnf5/dnf5-plugins/automatic.conf", APPLY.replace("yes", "no"))
    machine.file("etc/dnf/dnf.conf")
    automatic, found = read(machine, reading("dnf5"))
    assert found == ["off"]
    automatic.fix = automatic.fix.rpartition(" && ")[0]  # systemctl is not systemd's here
    paste(machine, automatic)
    assert read(machine, reading("dnf5"))[1] == []


def test_a_timer_of_dnf_that_is_installed_but_not_active_is_off(machine):
    machine.unit("dnf-automatic-install.timer", active=False)
    automatic, found = read(machine, reading("dnf"))
    assert (automatic.enabled, automatic.reason, found) == (False, "none of its timers is active", ["off"])


@pytest.mark.parametrize("known", [True, False])
def test_security_updates_alone_need_repositories_that_name_them(machine, known):
    machine.unit("dnf-automatic.timer", last=TODAY)
    machine.file("etc/dnf/automatic.conf", APPLY.replace("default", "security"))
    of = reading("dnf")
    of.updates.security_known = known
    automatic, found = read(machine, of)
    assert (automatic.covers_security, found) == (known, [] if known else ["no_security"])


@pytest.mark.parametrize(
    ("last", "result", "works", "found"),
    [
        (TODAY, "success", True, []),
        (TODAY, "exit-code", False, ["idle"]),
        ("Fri 2026-11-20 06:12:13 UTC", "success", False, ["idle"]),
        ("", "success", None, ["unknown"]),
        ("n/a", "success", None, ["unknown"]),
    ],
)
@pytest.mark.parametrize(("manager", "name"), [("dnf", "dnf-automatic-install"), ("zypper", "transactional-update")])
def test_a_timer_has_to_have_triggered_lately(machine, manager, name, last, result, works, found):
    machine.unit(f"{name}.timer", last=last)
    machine.unit(f"{name}.service", active=False, result=result)
    automatic, findings = read(machine, reading(manager))
    assert (automatic.works, findings) == (works, found)


# ---- SUSE


def test_without_a_timer_and_a_cron_job_suse_is_off(machine):
    machine.unit("cron.service")
    automatic, found = read(machine, reading("zypper"))
    assert (automatic.enabled, found) == (False, ["off"])
    assert automatic.fix.startswith("zypper install os-update && ")


@pytest.mark.parametrize(
    ("files", "known", "covers"),
    [
        ({}, False, True),
        ({"etc/os-update.conf": "UPDATE_CMD=security\n"}, True, True),
        ({"etc/os-update.conf": "UPDATE_CMD='security'  # only these\n"}, False, False),
        ({"etc/os-update.conf": "UPDATE_CMD=security\nUPDATE_CMD=up\n"}, False, True),
        ({"usr/share/os-update/os-update.conf": "UPDATE_CMD=security\n"}, False, False),
        ({"usr/etc/os-update.conf": "UPDATE_CMD=security\n", "etc/os-update.conf": "REBOOT_CMD=none\n"}, False, False),
    ],
)
def test_os_update_for_security_alone_needs_to_know_what_is_for_security(machine, files, known, covers):
    machine.unit("os-update.timer", last=TODAY)
    machine.unit("os-update.service", active=False, result="success")
    for path, text in files.items():
        machine.file(path, text)
    status = reading("zypper")
    status.updates.security_known = known
    automatic, found = read(machine, status)
    assert state(automatic) == (True, covers, True)
    assert automatic.mechanism == "os-update"
    assert (found == []) is covers
    assert covers or "the repositories do not mark" in automatic.reason


@pytest.mark.parametrize(
    ("settings", "state_of_it", "found"),
    [
        ('AOU_ENABLE_CRONJOB="true"\nAOU_PATCH_CATEGORIES=""\n', (True, True, None), ["unknown"]),
        ('AOU_ENABLE_CRONJOB="true"\nAOU_PATCH_CATEGORIES="security recommended"\n', (True, True, None), ["unknown"]),
        ('AOU_ENABLE_CRONJOB="true"\nAOU_PATCH_CATEGORIES="recommended"\n', (True, False, None), ["no_security"]),
        ('AOU_ENABLE_CRONJOB="false"\n', (False, None, None), ["off"]),
    ],
)
def test_yasts_online_update_is_known(machine, settings, state_of_it, found):
    machine.unit("cron.service")
    machine.file("etc/cron.daily/opensuse.org-online_update")
    machine.file("etc/sysconfig/automatic_online_update", settings)
    automatic, findings = read(machine, reading("zypper"))
    assert (state(automatic), findings) == (state_of_it, found)


# ---- All of it


@pytest.mark.parametrize(
    ("programs", "release", "name"),
    [
        ("apt-get apt-cache dpkg-query dnf zypper rpm", {"ID": "debian"}, "apt"),
        ("apt-get apt-cache dpkg-query dnf zypper rpm", {"ID": "rocky", "ID_LIKE": "rhel fedora"}, "dnf"),
        ("apt-get apt-cache dpkg-query dnf zypper rpm", {"ID": "opensuse-leap", "ID_LIKE": "suse"}, "zypper"),
        ("zypper rpm", {}, "zypper"),
        ("dnf rpm", {"ID": "amzn"}, "dnf"),
        ("rpm", {"ID": "rocky", "ID_LIKE": "rhel"}, ""),
        ("", {}, ""),
    ],
)
def test_the_distribution_decides_which_manager_is_queried(tmp_path, programs, release, name):
    for program in programs.split():
        (tmp_path / program).touch(mode=0o755)
    assert _managers.manager(Host(environment={"PATH": str(tmp_path)}), release) == name


def test_a_host_without_a_package_manager_is_unknown():
    collected = _managers.collect(Host(environment={"PATH": "/nonexistent"}), {}, NOW, 48)
    assert [(item["id"], item["severity"]) for item in collected.findings] == [("updates.manager.none", "unknown")]
    assert [collected.updates.returned()[key] for key in ("pending", "security", "held")] == [None] * 3


def test_a_collection_has_all_that_was_read(debian):
    """A package manager that fails does not keep the automatic updates from being told."""
    debian.program("dpkg-query", "echo broken >&2; exit 2")
    collected = _managers.collect(debian.host, BOOKWORM, NOW, 48)
    assert collected.automatic.mechanism == "unattended-upgrades"
    assert {"updates.error", "updates.automatic.unknown"} <= {item["id"] for item in collected.findings}
