# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From dirty hosts to graded ones: a dry run, changes that nobody outside can bear, the change, a spoiled host.

Each run is made once, by the first test that asks for it, and in this order.
"""

from __future__ import annotations

import re

import pytest
from bench import AUTHORITY, Host, end, kill, run, start

HOSTS = ("apache11", "apache13", "nginx13")
SPOILED = "nginx13"
CONFIRM_SECONDS = 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def dry(folder):
    return run(folder / "dry", "--check")


@pytest.fixture(scope="session")
def taken_back(dry, folder):
    """Two changes that are fine on the host and fatal from outside: {host: before, after, and the play or None}.

    The controller of one lives on, that of the other is killed while it waits for an answer.
    """
    lives, dies = Host("apache13"), Host("nginx13")
    before = {host.name: (host.etc(), host.serves()) for host in (lives, dies)}
    for host in (lives, dies):
        host.shut_out()
    runs = {
        host.name: start(
            folder / f"shut-{host.name}",
            "--limit",
            host.name,
            "--extra-vars",
            f"harden_confirm_timeout={CONFIRM_SECONDS}",
        )
        for host in (lives, dies)
    }
    dies.wait_for("confirming", 600)
    kill(runs[dies.name])
    plays = {lives.name: end(runs[lives.name], folder / f"shut-{lives.name}"), dies.name: None}
    seen = {}
    for host in (lives, dies):
        host.wait_for("undone", CONFIRM_SECONDS + 120)
        host.let_in()
        seen[host.name] = (before[host.name], (host.etc(), host.serves()), plays[host.name])
    return seen


@pytest.fixture(scope="session")
def hardened(dry, taken_back, folder):
    return run(folder / "hardened")


@pytest.fixture(scope="session")
def spoiled(hardened, folder):
    """One host without HSTS, graded with all others by who trusts the lab."""
    host = Host(SPOILED)
    host.shell(f"sed -i '/Strict-Transport-Security/d' {host.policy}/headers.conf && systemctl reload nginx && sleep 1")
    return run(
        folder / "spoiled", "-v", "--tags", "verify",
        "--extra-vars", f"verify_ignore_trust=false verify_ca_file={AUTHORITY}",
    )  # fmt: skip


def predicted(play, host):
    """What the rehearsal says: name to the letters that it foresees."""
    found = {}
    for entry in play.seen[host]["frontend"]["rehearsal"]["grades"]:
        found.setdefault(entry["server_name"], set()).add(entry["grade_trust_ignored"])
    return found


def graded(play, host):
    """What was seen from outside: name to letters."""
    asked = {(entry["host"], entry["server_name"]) for entry in play.seen[host]["asked"]["endpoints"]}
    found = {}
    for result in play.seen[host]["results"]:
        name = result["server_name"] if result["server_name"] != result["host"] else None
        if (result["host"], name) in asked:
            found.setdefault(name, set()).add(result["grade_trust_ignored"])
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_a_dry_run_says_both_grades_and_fails_nobody(dry, host):
    assert dry.status == 0, dry.output
    now = graded(dry, host)
    assert now and set().union(*now.values()) == {"A" if host == "nginx13" else "B"}
    rehearsed = {entry["server_name"]: entry for entry in dry.seen[host]["frontend"]["rehearsal"]["grades"]}
    assert {rehearsed[name]["grade_trust_ignored"] for name in now if name} == {"A+"}
    (letter,) = set().union(*now.values())
    outcome = dry.shown(host).outcome
    assert re.match(rf"would change: .*\b\d+ endpoints? {letter} -> A\+", outcome[0])
    # The names that share it are one line.
    grades = rf"(\(no name\)|\S+):443(, \S+:443| and \d+ more)*: now {letter}, after hardening A\+.*"
    assert any(re.fullmatch(grades, line) for line in outcome), dry.output


@pytest.mark.parametrize("host", HOSTS)
def test_the_live_server_is_graded_on_the_host_as_it_is_from_outside(dry, host):
    now = graded(dry, host)
    for entry in dry.seen[host]["frontend"]["rehearsal"]["grades"]:
        if entry["server_name"]:
            assert {entry["now"]["grade_trust_ignored"]} == now[entry["server_name"]]


@pytest.mark.parametrize("host", HOSTS)
def test_the_predicted_grades_are_those_after_the_change(dry, hardened, host):
    after = graded(hardened, host)
    foreseen = predicted(dry, host)
    assert {name for name in after if name} == {name for name in foreseen if name}
    for name, grades in after.items():
        assert foreseen[name] == grades == {"A+"}
    assert predicted(hardened, host) == foreseen


def test_hardening_ends_with_the_best_grade(hardened):
    assert hardened.status == 0, hardened.output
    assert set(hardened.seen) == set(HOSTS)
    for host in HOSTS:
        assert hardened.seen[host]["frontend"]["changed"]
        assert hardened.seen[host]["frontend"]["phase"] == "commit"


@pytest.mark.parametrize("host", ["apache13", "nginx13"])
def test_a_change_that_is_fatal_from_outside_undoes_itself(taken_back, host):
    (etc, serves), (etc_now, serves_now), _play = taken_back[host]
    assert {path for path in {*etc, *etc_now} if etc.get(path) != etc_now.get(path)} == set()
    assert len(etc) > 500
    assert serves == serves_now
    assert serves[1:] == (200, [])


def test_the_controller_says_why_it_did_not_confirm(taken_back):
    play = taken_back["apache13"][2]
    assert play.failed() == {"apache13"}
    words = " ".join(play.output.split())
    assert f"not confirmed, the host rolls the change back within {CONFIRM_SECONDS} s" in words
    assert "cannot connect: timed out" in words


def test_only_the_spoiled_host_fails_and_hears_why(spoiled):
    assert spoiled.status != 0
    assert spoiled.failed() == {SPOILED}
    words = " ".join(" ".join(spoiled.shown(SPOILED).lines["verify"]).split())
    assert f"A mail.{SPOILED}.test:443" in words
    assert "A+ needs HSTS." in words
    assert "To do: Send Strict-Transport-Security with max-age=31536000 once on every response" in words


def test_whoever_trusts_the_authority_need_not_ignore_trust(spoiled):
    for host in ("apache11", "apache13"):
        assert any(line.startswith(f"A+  mail.{host}.test:443") for line in spoiled.shown(host).lines["verify"])
    assert not re.search(r"\.test:443 \(\S+\)(?: and \d+ more)?, trust ignored", " ".join(spoiled.output.split()))


def test_without_the_authority_there_is_no_trust(hardened, folder):
    play = run(
        folder / "untrusted", "-v", "--tags", "verify", "--limit", "apache11",
        "--extra-vars", "verify_ignore_trust=false",
    )  # fmt: skip
    assert play.failed() == {"apache11"}
    lines = play.shown("apache11").lines["verify"]
    assert any(line.startswith("T   mail.apache11.test:443") for line in lines)
    assert any("verify_ca_file" in line for line in lines)


def test_what_cannot_be_reached_never_passes(hardened, folder):
    play = run(
        folder / "closed", "-v", "--tags", "verify", "--limit", "apache11", "--check",
        "--extra-vars", '{"verify_minimum_grade": "F", "verify_endpoints": [{"port": 4}]}',
    )  # fmt: skip
    assert play.failed() == {"apache11"}
    words = " ".join(play.shown("apache11").lines["verify"])
    assert "1 of 5 endpoints" in words
    assert "cannot connect: connection refused" in words


# --- where nothing is to be done -------------------------------------------------------------------------------------


def modules(play):
    """The modules that were run on hosts, sorted."""
    tasks = re.split(r"(?m)^TASK \[", play.output)
    return sorted(
        name for task in tasks if "-> localhost]" not in task
        for name in re.findall(r"(?m)^Using module file .*/(\w+)\.py$", task)
    )  # fmt: skip


@pytest.fixture(scope="session")
def steady(spoiled, folder):
    """Three runs: the first mends what was spoiled, the last one finds on all hosts what the one before has kept."""
    return [run(folder / f"steady-{number}", "-vvv") for number in range(3)]


@pytest.fixture(scope="session")
def worse(steady, folder):
    """What was kept on the hosts is still there, but not what it came to: an edit, a new virtual host, a lost key."""
    Host("apache11").shell("sed -i '/Strict-Transport-Security/d' /etc/apache2/kopano-hardening/*.conf")
    Host("apache13").shell(
        "printf '<VirtualHost *:443>\\nServerName new.test\\nSSLEngine on\\nSSLCertificateFile %s\\n"
        "SSLCertificateKeyFile %s\\n</VirtualHost>\\n' /etc/ssl/certs/ssl-cert-snakeoil.pem "
        "/etc/ssl/private/ssl-cert-snakeoil.key >/etc/apache2/sites-enabled/new.conf && systemctl reload apache2"
    )
    Host("nginx13").shell("mv /etc/ssl/private/mail.nginx13.test.key /root/")
    return run(folder / "worse", "-vvv")


def test_a_host_where_nothing_is_to_be_done_is_asked_once(steady):
    repaired, kept, again = steady
    assert {name for name, seen in repaired.seen.items() if seen["frontend"]["changed"]} == {SPOILED}
    ran = [[name for name in modules(run) if name.startswith("web_config")] for run in (repaired, kept)]
    assert ran[0] == ["web_config"] + ["web_config_graded"] * len(HOSTS)  # the first for the confirmation
    assert ran[1] == ["web_config_graded"]  # on the host that was changed before
    assert modules(again) == ["host_info"] * len(HOSTS)


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_said_of_it_is_the_same(steady, host):
    """As web_config says it, which was run by itself the first time that there was nothing to do."""
    by_itself = steady[1 if host == SPOILED else 0].seen[host]["frontend"]
    again = steady[2].seen[host]["frontend"]
    for answer in (by_itself, again):
        assert answer["changed"] is False and answer["phase"] == "commit"
        assert answer["rehearsal"]["ok"] and answer["rehearsal"]["method"] == "namespace"
        assert answer["rehearsal"]["endpoints"] and answer["probes"]
        for entry in answer["rehearsal"]["endpoints"] + answer["probes"]:
            del entry["ms"]
        del answer["rehearsal"]["ms"], answer["timings"]
        del answer["ansible_facts"]  # with what the host returned to the query of this run
    assert again == by_itself


def test_whatever_is_worse_since_then_is_found(worse):
    assert worse.failed() == {"nginx13"}
    assert worse.seen["apache11"]["frontend"]["changed"] and worse.seen["apache13"]["frontend"]["changed"]
    adopted = [entry["names"] for entry in worse.seen["apache13"]["frontend"]["adopted"]]
    assert ["new.test"] in adopted
    words = " ".join(worse.output.split())
    assert "the live configuration is broken, a restart would fail" in words
    assert "/etc/ssl/private/mail.nginx13.test.key" in words
