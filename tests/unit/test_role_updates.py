# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role updates: what it chooses to do on a host, and what it says of it."""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates

ROLE = Path(__file__).parents[2] / "roles" / "updates"
SPEC = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())


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
    return {**plain, "restart_exclude": VARS["__updates_never_restarted"], **changes}


def done(**changes: t.Any) -> dict[str, t.Any]:
    return {**VARS["__updates_nothing_done"], "check": False, **changes}


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
    wanted = options(restart_services=True)
    wanted["restart_exclude"] = [*wanted["restart_exclude"], "kopano-*.service"]
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
        ([answer()], [answer(ok=False, status=None, error="refused")], ["answered 200 before, now: refused"]),
        ([answer()], [answer(status=503)], ["status 200 before, 503 now"]),
        ([answer()], [answer(hsts=[])], ["lost the header strict-transport-security"]),
        ([answer(ok=False)], [answer(ok=False, error="refused")], []),
        ([answer(ok=False)], [], []),
        ([answer(), answer(status=405)], [answer(), answer(status=405)], []),
        ([answer()], [answer(), answer(server_name="b", ok=False, status=None)], []),
    ],
)
def test_a_web_server_that_answers_worse(before, after, words):
    found = _roles_updates.compare(before, after)
    assert len(found) == len(words)
    assert all(expected in text for expected, text in zip(words, found, strict=True))


# --- what packages may restart ---------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path):
    text = (ROLE / "templates" / "policy-rc.d.j2").read_text()
    path = tmp_path / "policy-rc.d"
    path.write_text(jinja2.Template(text).render(**VARS))
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


# --- what is said ----------------------------------------------------------------------------------------------------


def test_updates_that_could_not_be_checked_are_unknown_and_nothing_is_done():
    crashed = {"failed": True, "msg": "MemoryError: too many"}
    report = _roles_updates.report(crashed, done())
    assert report == {"step": 1, "lines": ["unknown: updates.not_checked: MemoryError: too many"], "bad": []}
    assert _roles_updates.report(crashed, done(), all_must_be_well=True)["bad"] == ["updates.not_checked"]
    with pytest.raises(ValueError, match="could not be checked: MemoryError: too many"):
        _roles_updates.plan(crashed, options())


def test_a_host_without_fault():
    assert _roles_updates.report(info(), done()) == {
        "step": 1,
        "lines": [
            "support: full until 2028-08-09 (distro-info-data)",
            "updates: 0 pending, 0 for security, 0 held; lists 5 h old",
            "to restart: none; reboot: not needed",
            "automatic updates: on (unattended-upgrades)",
        ],
        "bad": [],
    }


def test_what_is_not_known_is_never_said_to_be_none():
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


def test_findings_with_the_same_words_share_a_line_and_the_worst_come_first():
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
        "warn: updates.x (a.service [/x], b.service [/y]): M. Restart it.",
        "unknown: updates.error (apt): M.",
        "info: support.lts (apt): M.",
    ]
    assert report["bad"] == ["updates.error (apt)", "support.eol (apt)"]
    assert _roles_updates.report(info(findings=findings), done())["bad"] == []


def test_what_was_done():
    did = done(installed=["a=2"], restarted=["b.service"], left=["dbus.service"], words=["rebooted"], wrong=["c"])
    report = _roles_updates.report(info(), did)
    assert report["lines"][4:] == [
        "installed: a=2",
        "restarted: b.service",
        "left until the next reboot: dbus.service",
        "rebooted",
        "wrong: c",
    ]
    assert report["bad"] == ["c"]
    lines = _roles_updates.report(info(), {**did, "check": True})["lines"]
    assert "would be installed: a=2" in lines and "would be restarted: b.service" in lines
    many = _roles_updates.report(info(), done(installed=[f"p{number}" for number in range(31)]))["lines"]
    assert many[-1].startswith("installed: p0 ") and many[-1].endswith(" p29 and 1 more")
