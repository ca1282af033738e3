# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role updates: what it chooses to do on a host, and what it says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates

ROLE = Path(__file__).parents[2] / "roles" / "updates"
SPEC = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


def info(**changes: t.Any) -> dict[str, t.Any]:
    """A host without fault, as the module describes it, with changes."""
    clean: dict[str, t.Any] = {
        "distribution": {"components": [{"kind": "web_server"}], "manager": "apt"},
        "support": {"level": "full", "until": "2028-08-09", "source": "distro-info-data", "data_date": "2026-08-22"},
        "updates": {"pending": 0, "security": 0, "held": 0, "packages": [], "security_known": True, "reason": ""},
        "metadata": {"age_hours": 5.4, "stale": False, "reason": ""},
        "restart": {"reboot_required": False, "reasons": [], "services": [], "processes": [], "tools": []},
        "automatic": {"enabled": True, "mechanism": "unattended-upgrades", "covers_security": True, "works": True},
        "findings": [],
    }
    return {key: {**value, **changes[key]} if isinstance(changes.get(key), dict) else changes.get(key, value)
            for key, value in clean.items()}  # fmt: skip


def package(name: str, security: bool = False, held: bool = False) -> dict[str, t.Any]:
    return {"name": name, "from": "1", "to": "2", "security": security, "held": held, "origin": "Debian"}


def options(**changes: t.Any) -> dict[str, t.Any]:
    plain = {name.removeprefix("updates_"): entry["default"] for name, entry in SPEC.items()}
    return {**plain, **changes}


def done(**changes: t.Any) -> dict[str, t.Any]:
    return {**_roles_updates.nothing_done(False), **changes}


# --- options ---------------------------------------------------------------------------------------------------------


def test_defaults_are_fine_and_only_report():
    assert _roles_updates.option_errors(options()) == []
    packages = [package("a", security=True), package("b")]
    restart = {"services": ["apache2.service"], "reboot_required": True, "processes": [{"pid": 1}]}
    plan = _roles_updates.plan(info(updates={"packages": packages}, restart=restart), options())
    assert (plan["install"], plan["services"], plan["reexec"], plan["reboot"]) == ([], [], False, False)


@pytest.mark.parametrize("window", ["2:00-5:00", "02:00", "24:00-25:00", "02:00-05:60", "night"])
def test_a_window_that_is_none(window):
    (error,) = _roles_updates.option_errors(options(reboot_window=window))
    assert error.startswith("updates_reboot_window:") and repr(window) in error


@pytest.mark.parametrize("name", ["max_metadata_age", "reboot_timeout"])
def test_a_time_that_is_none(name):
    assert _roles_updates.option_errors(options(**{name: 0})) == [f"updates_{name}: 0 is less than 1"]


@pytest.mark.parametrize(
    ("window", "clock", "is_open"),
    [
        ("", "12:00", True),
        ("02:00-05:00", "02:00", True),
        ("02:00-05:00", "04:59", True),
        ("02:00-05:00", "05:00", False),
        ("02:00-05:00", "01:59", False),
        ("22:30-04:00", "23:15", True),
        ("22:30-04:00", "00:00", True),
        ("22:30-04:00", "04:00", False),
        ("22:30-04:00", "12:00", False),
    ],
)
def test_windows(window, clock, is_open):
    assert _roles_updates.window_open(window, clock) is is_open


# --- what to do ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("apply", "names"), [("none", []), ("security", ["libssl3"]), ("all", ["libssl3", "bash"])])
def test_what_is_installed(apply, names):
    packages = [package("libssl3", security=True), package("bash"), package("nginx", security=True, held=True)]
    plan = _roles_updates.plan(info(updates={"packages": packages}), options(apply=apply))
    assert plan["install"] == [{"name": name, "version": "2", "from": "1"} for name in names]


@pytest.mark.parametrize(
    ("apply", "known", "is_sure"),
    [
        ("security", {"security": 0}, True),
        ("security", {"security": 2}, True),
        ("security", {"security": None, "reason": "no suite"}, False),
        ("security", {"pending": None}, True),
        ("all", {"pending": None, "reason": "no suite"}, False),
        ("none", {"pending": None, "security": None}, True),
    ],
)
def test_nothing_to_install_is_not_the_same_as_nothing_known(apply, known, is_sure):
    unsure = _roles_updates.plan(info(updates=known), options(apply=apply))["unsure"]
    assert (unsure == "") is is_sure
    assert is_sure or unsure.endswith("no suite")


def test_what_is_restarted_and_in_which_order():
    services = ["apache2.service", "cron.service", "dbus.service", "getty@tty1.service", "php8.2-fpm.service",
                "ssh.service", "user@1000.service", "kopano-server.service"]  # fmt: skip
    wanted = options(restart_services=True, restart_exclude=["kopano-*.service"])
    plan = _roles_updates.plan(info(restart={"services": services, "processes": [{"pid": 7}]}), wanted)
    assert plan["services"] == [
        {"name": "php8.2-fpm.service", "state": "reloaded"},
        {"name": "ssh.service", "state": "reloaded"},
        {"name": "cron.service", "state": "restarted"},
        {"name": "apache2.service", "state": "restarted"},
    ]
    assert plan["web"] == ["apache2.service"]
    assert plan["left"] == ["dbus.service", "getty@tty1.service", "user@1000.service", "kopano-server.service"]
    assert not plan["reexec"]


def test_nginx_is_exchanged_while_it_serves():
    plan = _roles_updates.plan(info(restart={"services": ["nginx.service"]}), options(restart_services=True))
    assert plan["services"] == [{"name": "nginx.service", "state": "exchanged"}]
    assert plan["web"] == ["nginx.service"]


@pytest.mark.parametrize(
    ("wish", "required", "reboot"),
    [("never", True, False), ("if_needed", True, True), ("if_needed", False, False), ("if_needed", None, False)],
)
def test_when_to_reboot(wish, required, reboot):
    assert _roles_updates.plan(info(restart={"reboot_required": required}), options(reboot=wish))["reboot"] is reboot


@pytest.mark.parametrize(
    ("wanted", "acts"),
    [
        ({}, []),
        ({"apply": "security"}, ["install"]),
        ({"automatic": True}, ["automatic"]),
        ({"restart_services": True}, ["restart"]),
        ({"reboot": "if_needed"}, ["reboot"]),
        (
            {"apply": "all", "automatic": True, "restart_services": True, "reboot": "if_needed"},
            ["install", "automatic", "restart", "reboot"],
        ),
    ],
)
def test_the_acts_that_are_due(wanted, acts):
    needy = info(
        updates={"packages": [package("a", security=True)]},
        restart={"services": ["cron.service"], "reboot_required": True},
        automatic={"enabled": False, "covers_security": None, "works": None},
    )
    assert _roles_updates.due(needy, options(**wanted)) == acts
    assert _roles_updates.due(info(), options(**wanted)) == []
    # The first of them fails.
    assert _roles_updates.due({"failed": True, "msg": "no"}, options(**wanted)) == acts


@pytest.mark.parametrize("key", ["enabled", "covers_security", "works"])
@pytest.mark.parametrize("value", [False, None])
def test_automatic_updates_are_configured_until_they_are_known_to_work(key, value):
    assert _roles_updates.due(info(automatic={key: value}), options(automatic=True)) == ["automatic"]


def test_only_the_init_system_is_re_executed():
    old = info(restart={"processes": [{"pid": 1}]})
    assert _roles_updates.due(old, options(restart_services=True)) == ["restart"]
    prepared = _roles_updates.ACTS["restart"].prepare(old, options(restart_services=True))
    assert prepared == {"names": [], "services": [], "exchange": False, "reexec": True, "left": []}


def prepared(act, given, **wanted):
    """The fact C(act) while the role does it."""
    return {"name": act, **_roles_updates.ACTS[act].prepare(given, options(**wanted))}


def outcome(act, after, wanted, check_mode=False):
    return _roles_updates.ACTS[act["name"]].outcome(act, after, options(**wanted), check_mode)


def test_what_was_installed_and_what_was_not():
    wanted = {"apply": "all"}
    act = prepared("install", info(updates={"packages": [package("a"), package("b")]}), **wanted)
    assert (act["manager"], act["names"], act["versions"], act["blocked"]) == ("apt", ["a", "b"], ["a=2", "b=2"], [])
    act["blocked"] = ["b=2"]
    left = info(updates={"packages": [package("b")]})
    assert outcome(act, left, wanted) == {"installed": ["a=2"], "wrong": ["b is still not updated"]}
    # In check mode, all of them are still there.
    found = outcome(act, info(updates={"packages": [package("a"), package("b")]}), wanted, check_mode=True)
    assert found == {"installed": ["a=2"], "wrong": ["b=2 cannot be installed"]}


@pytest.mark.parametrize(
    ("apply", "words"),
    [("security", ["patch", "--category", "security", "--with-interactive"]), ("all", ["update"])],
)
def test_what_zypper_is_run_with(apply, words):
    assert prepared("install", info(), apply=apply)["zypper"] == ["zypper", "--non-interactive", *words]


def test_whoever_runs_zypper_waits_for_another_one():
    """By itself it ends at once where another program has its lock; apt and dnf have an option of their modules."""
    folder = Path(__file__).parents[2] / "roles/updates/tasks"
    tasks = [task for name in ("install.yml", "automatic.yml") for task in yaml.safe_load((folder / name).read_text())]
    tasks += [task for block in tasks for task in block.get("block", [])]
    commands = {
        task["name"]: task.get("environment", {}).get("ZYPP_LOCK_TIMEOUT")
        for task in tasks
        if "zypper" in str(task.get("ansible.builtin.command")) or "what os-update does" in task["name"]
    }
    names = ("Install the updates with zypper", "Install os-update", "Try in a dry run what os-update does")
    assert commands == dict.fromkeys(names, "300")


@pytest.mark.parametrize(
    ("manager", "package_name", "timers"),
    [
        ("apt", "unattended-upgrades", ["apt-daily.timer", "apt-daily-upgrade.timer"]),
        ("dnf", "dnf-automatic", ["dnf-automatic.timer"]),
        ("dnf5", "dnf5-plugin-automatic", ["dnf5-automatic.timer"]),
        ("zypper", "os-update", ["os-update.timer"]),
    ],
)
def test_mechanisms_of_automatic_updates(manager, package_name, timers):
    act = prepared("automatic", info(distribution={"id": "debian", "manager": manager}), automatic=True)
    assert (act["manager"], act["package"], act["timers"]) == (manager, package_name, timers)
    assert all("Debian-Security" in origin for origin in act["origins"])


@pytest.mark.parametrize(("manager", "words"), [("pacman", "has pacman"), ("", "has no package manager that is known")])
def test_a_distribution_without_automatic_updates(manager, words):
    message = f"updates_automatic: true needs apt, dnf or zypper on the host; this one {words}"
    with pytest.raises(ValueError, match=message):
        prepared("automatic", info(distribution={"id": "sles", "manager": manager}), automatic=True)


def test_whether_automatic_updates_work():
    act = {"name": "automatic"}
    off = info(automatic={"enabled": False, "reason": "the timer is masked"})
    assert outcome(act, info(), {}) == {"wrong": []}
    assert outcome(act, off, {}) == {"wrong": ["updates_automatic: the timer is masked"]}
    assert outcome(act, off, {}, check_mode=True) == {"wrong": []}
    partly = info(automatic={"covers_security": False, "reason": "no security suite"})
    assert outcome(act, partly, {}) == {"wrong": ["updates_automatic: no security suite"]}


def test_what_was_restarted():
    wanted = {"restart_services": True}
    services = ["cron.service", "dbus.service", "nginx.service"]
    act = prepared("restart", info(restart={"services": services}), **wanted)
    assert act["services"] == [{"name": "cron.service", "state": "restarted"}] and act["exchange"]
    left = info(restart={"services": ["cron.service", "dbus.service"]})
    assert outcome(act, left, wanted) == {
        "restarted": ["cron.service", "nginx.service"],
        "left": ["dbus.service"],
        "words": ["some processes are still the old ones: cron.service"],
    }
    assert outcome(act, left, wanted, check_mode=True)["words"] == []


@pytest.mark.parametrize(("check_mode", "words"), [(False, "rebooted"), (True, "would be rebooted")])
def test_what_is_reported_of_a_reboot(check_mode, words):
    assert outcome({"name": "reboot"}, info(), {}, check_mode) == {"words": [words]}


@pytest.mark.parametrize(
    ("lost", "window", "clock", "words"),
    [
        ([], "", "", ""),
        ([], "02:00-05:00", "03:00", ""),
        ([], "02:00-05:00", "12:00", "the reboot waits for 02:00-05:00, it is 12:00"),
        (["web1", "web2"], "02:00-05:00", "12:00", "not rebooted: web1 web2 did not come back as before"),
    ],
)
def test_why_a_host_is_not_rebooted(lost, window, clock, words):
    assert _roles_updates.not_rebooted(lost, window, clock) == words


def answer(**changes: t.Any) -> dict[str, t.Any]:
    """As web_config returns it."""
    target = {"address": "127.0.0.1", "port": 443, "server_name": "a", "path": "/"}
    said = {"ok": True, "status": 200, "location": None, "error": None, "headers": {"strict-transport-security": ["a"]}}
    return {
        **_engine._shown(target, {**dict.fromkeys(("protocol", "cipher", "certificate", "ms")), **said}),
        **changes,
    }


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ([answer()], [answer()], []),
        ([answer()], [], ["127.0.0.1:443 /: it is not served any more"]),
        ([answer()], [answer(ok=False, status=None, error="refused")], ["status 200 before, now: refused"]),
        ([answer()], [answer(status=503)], ["status 200 before, 503 now"]),
        ([answer()], [answer(hsts=[])], ["lost the header strict-transport-security"]),
        ([answer(ok=False)], [answer(ok=False, error="refused")], []),
        ([answer(ok=False)], [], []),
        ([answer(), answer(status=405)], [answer(), answer(status=405)], []),
        ([answer()], [answer(), answer(server_name="b", ok=False, status=None)], []),
    ],
)
def test_a_web_server_that_responds_worse(before, after, words):
    found = _roles_updates.compare(before, after)
    assert len(found) == len(words)
    assert all(expected in text for expected, text in zip(words, found, strict=True))


# --- what packages may restart ---------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy-rc.d"
    shutil.copy(ROLE / "files" / "policy-rc.d", path)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["apache2", "restart"], 101),
        (["--quiet", "php8.2-fpm", "restart", "2"], 101),
        (["nginx.service", "restart"], 101),
        (["cron", "restart"], 0),
        (["php-session", "start"], 0),
    ],
)
def test_the_policy_is_about_the_web_server_and_php_for_an_hour(policy, words, status):
    assert subprocess.run([policy, *words], check=False).returncode == status
    old = time.time() - 3700
    os.utime(policy, (old, old))
    assert subprocess.run([policy, *words], check=False).returncode == 0


@pytest.mark.parametrize(
    ("is_needed", "grep", "write", "remove"),
    [
        (True, 2, True, True),
        (True, 0, True, True),  # an interrupted run has left it
        (True, 1, False, False),  # another one
        (False, 2, False, False),
        (False, 0, False, True),
        (False, 1, False, False),
    ],
)
def test_the_policy_of_others_stays(is_needed, grep, write, remove):
    assert _roles_updates.policy(is_needed, grep) == {"write": write, "remove": remove}


def test_the_policy_is_found_again(policy):
    assert _roles_updates.POLICY_MARK in policy.read_text()


# --- what is said ----------------------------------------------------------------------------------------------------


def test_updates_that_could_not_be_checked_are_unknown_and_nothing_is_done():
    crashed = {"failed": True, "msg": "MemoryError: too many"}
    report = _roles_updates.report(crashed, done())
    lines = ["unknown: updates.not_checked: MemoryError: too many"]
    assert report == {"step": 1, "outcome": [], "lines": lines, "bad": []}
    assert _roles_updates.report(crashed, done(), all_must_be_well=True)["bad"] == ["updates.not_checked"]
    with pytest.raises(ValueError, match="could not be checked: MemoryError: too many"):
        _roles_updates.plan(crashed, options())


def test_a_host_without_fault():
    assert _roles_updates.report(info(), done()) == {
        "step": 1,
        "outcome": [],
        "lines": [
            "support: full until 2028-08-09 (distro-info-data)",
            "updates: 0 pending, 0 for security, 0 held; lists 5 h old",
            "to restart: none; reboot: not needed",
            "automatic updates: on (unattended-upgrades)",
        ],
        "bad": [],
    }


def test_what_is_not_known_is_never_reported_as_none():
    unknown = info(
        support={"level": "unknown", "until": None, "source": ""},
        updates={"pending": None, "security": None, "held": None, "security_known": False, "reason": "no lists"},
        metadata={"age_hours": None, "stale": None},
        restart={"reboot_required": None},
        automatic={"enabled": None, "covers_security": None, "works": None, "mechanism": ""},
    )
    lines = _roles_updates.report(unknown, done())["lines"]
    assert lines == [
        "support: unknown",
        "updates: unknown (no lists)",
        "to restart: unknown; reboot: unknown",
        "automatic updates: unknown",
    ]


def test_some_found_where_there_may_be_more():
    updates = {"pending": 1, "security": None, "held": None, "packages": [package("a")], "security_known": False}
    line = _roles_updates.report(info(updates=updates, metadata={"age_hours": None}), done())["lines"][1]
    assert line == ("updates: 1 pending, an unknown number for security, an unknown number held; lists of unknown age")


@pytest.mark.parametrize(
    ("automatic", "line"),
    [
        ({"enabled": False}, "automatic updates: off"),
        ({"covers_security": False}, "automatic updates: on (unattended-upgrades, not all security updates)"),
        ({"works": False}, "automatic updates: on (unattended-upgrades, not working)"),
        ({"works": None}, "automatic updates: on (unattended-upgrades, not known to work)"),
    ],
)
def test_automatic_updates(automatic, line):
    assert _roles_updates.report(info(automatic=automatic), done())["lines"][3] == line


def found(severity: str, key: str = "updates.x", **more: str) -> dict[str, t.Any]:
    return {"id": key, "severity": severity, "subject": "apt", "message": "M.", "evidence": "", "fix": "", **more}


def test_findings_with_the_same_message_share_a_line_and_the_worst_come_first():
    findings = [
        found("info", "support.lts"),
        found("warn", subject="a.service", evidence="/x", fix="Restart it."),
        found("warn", subject="b.service", evidence="/y", fix="Restart it."),
        found("unknown", "updates.error"),
        found("fail", "support.eol"),
    ]
    report = _roles_updates.report(info(findings=findings), done(), all_must_be_well=True)
    assert report["lines"][4:] == [
        "fail: support.eol (apt): M.",
        "warn: updates.x (a.service [/x], b.service [/y]): M.",
        "  fix: Restart it.",
        "unknown: updates.error (apt): M.",
        "info: support.lts (apt): M.",
    ]
    assert report["bad"] == ["updates.error (apt)", "support.eol (apt)"]
    assert _roles_updates.report(info(findings=findings), done())["bad"] == []


def test_what_was_done():
    did = done(installed=["a=2"], restarted=["b.service"], left=["dbus.service"], words=["rebooted"], wrong=["c"])
    report = _roles_updates.report(info(), did)
    assert report["outcome"] == [
        "installed: a=2",
        "restarted: b.service",
        "left until the next reboot: dbus.service",
        "rebooted",
    ]
    assert report["lines"][4:] == ["wrong: c"] and report["bad"] == ["c"]
    assert _roles_updates.report({"failed": True, "msg": "x"}, did)["outcome"] == report["outcome"]
    lines = _roles_updates.report(info(), {**did, "check": True})["outcome"]
    assert "would be installed: a=2" in lines and "would be restarted: b.service" in lines
    many = _roles_updates.report(info(), done(installed=[f"p{number}" for number in range(31)]))["outcome"]
    assert many[-1].startswith("installed: p0 ") and many[-1].endswith(" p29 and 1 more")


def test_no_other_tool_restarts_services_while_updates_are_installed():
    """needrestart(1): apt calls it on Ubuntu."""
    tasks = yaml.safe_load((ROLE / "tasks" / "install.yml").read_text())
    installing = [task for task in tasks if any("ansible.builtin.apt" in inner for inner in task.get("block", []))]
    assert [task["environment"]["NEEDRESTART_SUSPEND"] for task in installing] == ["1"]
