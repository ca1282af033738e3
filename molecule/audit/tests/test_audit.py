# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two dirty hosts with something planted on each, and one that nobody can reach, as audit.yml sees them."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ansible_runner
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

PROJECT = Path(__file__).resolve().parents[3]
sys.path.append(str(PROJECT / "molecule" / "common"))

import over_ssh  # noqa: E402

BIN = Path(sys.executable).parent
SET = os.environ.get("LAB_SET", "molecule-audit")
LAB = PROJECT / ".cache" / "lab"
INVENTORY = LAB / SET / "inventory.yml"
NAMES = ("apache11", "nginx13")
# Molecule's own settings for Ansible, which the runner would hand on.
for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
    del os.environ[name]
SECONDS = 900  # a run that hangs, on a machine ten times slower
COMPARED = ("id", "step", "severity", "subject", "message", "evidence", "fix")  # of a finding
CERTIFICATE = "/etc/ssl/certs/mail.nginx13.test.pem"
# Security updates that are not installed: the version before, where the archive has one.
OLD_OPENSSL = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
newest=$(dpkg-query -W -f '${Version}' openssl)
older=$(apt-cache madison openssl | cut -d '|' -f 2 | tr -d ' ' | sort -Vr | while read -r version; do
    dpkg --compare-versions "$version" lt "$newest" && echo "$version" && break
done)
apt-get -qq -y --allow-downgrades install openssl="$older" >/dev/null 2>&1
dpkg-query -W -f '${Version}' openssl
"""
# Clients of the last days: some that are too old, some that do not tell, and many that are new.
LOGS = {"apache11": "/var/log/apache2/mail.apache11.test-access.log", "nginx13": "/var/log/nginx/access.log"}
SYNC = "POST /Microsoft-Server-ActiveSync?User={user}&DeviceId={user}&Cmd=Sync HTTP/1.1"
WEBAPP = "POST /webapp/kopano.php HTTP/1.1"
CLIENTS = [
    *[("Android/4.1.2-EAS-1.3", SYNC, f"jane{number}", 200) for number in range(2)],
    ("Microsoft Office/14.0 (Windows NT 6.1; Microsoft Outlook 14.0.7162; Pro)", SYNC, "john", 200),
    *[("Nine-abcdef/4.9", SYNC, f"jack{number}", 200) for number in range(3)],
    *[("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", WEBAPP, "-", 200)] * 21,
    *[("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1)", "GET / HTTP/1.1", "-", 302)] * 5,
]
# Everything that a look must not change: files with their times, packages, and which processes serve.
STATE = """
cd /
find etc usr/share/kopano* var/lib/dpkg var/lib/apt var/www boot -xdev -type f -printf '%p %m %u %T@\\n' \
    -exec sha256sum {} + 2>/dev/null | sort
dpkg-query -W
systemctl show -p MainPID,ActiveEnterTimestamp apache2 nginx php7.4-fpm php8.4-fpm ssh cron
ls -A /root /var/lib /var/cache /opt /srv
"""


def shell(host: str, script: str) -> str:
    """What a script of root's says on a host; it may not fail."""
    return over_ssh.shell(INVENTORY, host, script, seconds=SECONDS)


def inventory_of(names: Iterable[str]) -> dict[str, Any]:
    """The lab's inventory with these hosts alone."""
    content = yaml.safe_load(INVENTORY.read_text())
    for group in (content["all"], *content["all"]["children"].values()):
        group["hosts"] = {name: value for name, value in group["hosts"].items() if name in names}
    return content


def state() -> dict[str, list[str]]:
    # What Ansible itself leaves in root's home is no concern of the host.
    return {host: [line for line in shell(host, STATE).splitlines() if line != ".ansible"] for host in NAMES}


def certificate_with_ten_days() -> str:
    """nginx13's own certificate again, of 90 days of which 80 are over."""
    own = x509.load_pem_x509_certificate(shell("nginx13", f"cat {CERTIFICATE}").encode())
    authority = x509.load_pem_x509_certificate((LAB / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((LAB / "ca_key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(own.subject).issuer_name(authority.subject)
    builder = builder.public_key(own.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=80))
    builder = builder.not_valid_after(now + datetime.timedelta(days=10))
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def access_log() -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return "".join(
        f'192.0.2.{number} - {user} [{now}] "{request.format(user=user)}" {status} 512 "-" "{agent}"\n'
        for number, (agent, request, user, status) in enumerate(CLIENTS)
    )


@pytest.fixture(scope="session")
def planted():
    """The state of the hosts when everything is planted; the rest of what is wrong with them is the lab's."""
    version = shell("apache11", OLD_OPENSSL)
    assert version, "the archive has no older openssl"
    shell("nginx13", f"cat >{CERTIFICATE} <<'END'\n{certificate_with_ten_days()}END\nsystemctl reload nginx; sleep 1")
    for host in NAMES:
        shell(host, f"cat >>{LOGS[host]} <<'END'\n{access_log()}END")
        shell(
            host,
            "useradd --create-home auditor && mkdir ~auditor/.ssh && cp /root/.ssh/authorized_keys ~auditor/.ssh/"
            " && chown -R auditor: ~auditor/.ssh && chmod 700 ~auditor/.ssh",
        )
    return state()


@pytest.fixture(scope="session")
def collections(tmp_path_factory):
    """An empty folder into which the collection's tarball was installed."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("collections")
    for name in ("docs", "meta", "playbooks", "plugins", "roles"):
        shutil.copytree(PROJECT / name, source / name)
    for name in ("LICENSE", "README.md", "galaxy.yml"):
        shutil.copy(PROJECT / name, source)
    version = yaml.safe_load((source / "galaxy.yml").read_text())["version"]
    for words in (
        ["build", "--output-path", folder, source],
        ["install", "--offline", "--collections-path", folder, f"kopano-hardening-{version}.tar.gz"],
    ):
        done = subprocess.run(
            [BIN / "ansible-galaxy", "collection", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def audit(planted, collections, tmp_path_factory):
    """Runs the installed playbook as AWX does: what the runner says, and the report."""

    def run(
        arguments: str = "",
        environment: dict[str, str] | None = None,
        playbook: str = "kopano.hardening.audit",
        **variables: object,
    ):
        folder = tmp_path_factory.mktemp("job")
        (folder / "inventory").mkdir()
        (folder / "inventory" / "lab.yml").write_text(yaml.safe_dump(inventory_of(NAMES)))
        lost = {"ansible_host": "127.0.0.1", "ansible_port": 1}
        (folder / "inventory" / "lost.yml").write_text(yaml.safe_dump({"all": {"hosts": {"lost": lost}}}))
        result = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=playbook,
            cmdline=arguments,
            extravars={"report_path": str(folder / "report"), "report_fail_on": ["fail"], **variables},
            envvars={
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "ANSIBLE_NOCOLOR": "1",
                "COLUMNS": "1000",
                "ANSIBLE_PIPELINING": "true",
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                **(environment or {}),
            },
            ident="audit",
            quiet=True,
            timeout=SECONDS,
        )
        path = folder / "report" / "report.json"  # which a dry run does not write
        report = json.loads(path.read_text()) if path.exists() else {"hosts": []}
        return result, {host["name"]: host for host in report["hosts"]}, folder

    return run


@pytest.fixture(scope="session")
def seen(audit):
    return audit()


def found(host, key):
    return [item for item in host["findings"] if item["id"] == key]


def test_it_fails_and_names_every_host(seen):
    result, hosts, folder = seen
    output = (folder / "artifacts" / "audit" / "stdout").read_text()
    assert (result.status, result.rc) == ("failed", 2), output
    assert "has no attribute" not in output and "Finalization of task args" not in output
    assert {name: host["state"] for name, host in hosts.items()} == {
        "apache11": "ok",
        "nginx13": "ok",
        "lost": "unreachable",
    }
    assert all(host["failed"] for host in hosts.values())
    assert result.stats["failures"] == dict.fromkeys(hosts, 1)
    assert result.stats["changed"] == {}
    card = output.partition("host  ")[2].partition("PLAY RECAP")[0].splitlines()
    assert [line.split()[0] for line in card[1:4]] == ["apache11", "lost", "nginx13"]
    files = {path.name for path in (folder / "report").iterdir()}
    assert files == {"index.html", "report.json", "junit.xml", "report.sarif", "kopano_hardening.prom"}


@pytest.mark.parametrize(
    ("host", "key", "severity", "subject"),
    [
        ("apache11", "support.eol", "fail", "Debian GNU/Linux 11 "),
        ("apache11", "updates.security.pending", "fail", ""),
        ("apache11", "tls.protocol.tls10", "fail", r"mail\.apache11\.test:443 "),
        ("apache11", "frontend.tls.old_protocol", "warn", r"/etc/apache2/conf-enabled/tls\.conf:\d+$"),
        ("apache11", "tls.hsts.absent", "fail", r"mail\.apache11\.test:443 "),
        ("apache11", "caa.none", "fail", r"mail\.apache11\.test$"),
        ("nginx13", "frontend.tls.override", "warn", r"/etc/nginx/sites-enabled/mail:\d+$"),
        ("nginx13", "tls.hsts.absent", "fail", r"mail\.nginx13\.test:443 "),
        ("nginx13", "tls.certificate.expires_soon", "warn", r"mail\.nginx13\.test:443 "),
        ("nginx13", "certificate.expiring", "warn", ""),
    ],
)
def test_what_is_planted_is_found(seen, host, key, severity, subject):
    items = [item for item in found(seen[1][host], key) if re.match(subject, item["subject"])]
    assert items, sorted({item["id"] for item in seen[1][host]["findings"]})
    assert {item["severity"] for item in items} == {severity}


@pytest.mark.parametrize(
    ("host", "key"), [("nginx13", "frontend.tls.override"), ("apache11", "frontend.tls.old_protocol")]
)
def test_weak_settings_are_found_with_file_and_line(seen, host, key):
    items = found(seen[1][host], key)
    assert items
    for item in items:
        path, _colon, line = item["subject"].rpartition(":")
        text = shell(host, f"sed -n {int(line)}p {path}")
        assert text.strip().strip(";").replace('"', "") == item["evidence"]


def test_the_steps_stand_as_the_hosts_do(seen):
    steps = {name: list(host["steps"].values()) for name, host in seen[1].items()}
    assert steps["apache11"][:4] == ["fail"] * 4
    assert steps["nginx13"][1:4] == ["warn", "fail", "pass"]
    assert steps["lost"] == ["unknown"] * 5
    assert {name: host["reach"] for name, host in seen[1].items()} == {**dict.fromkeys(seen[1], "pass"), "lost": "fail"}
    assert seen[1]["apache11"]["grade"] == "B"
    assert seen[1]["apache11"]["support"]["level"] == "eol"
    assert seen[1]["nginx13"]["support"]["level"] == "full"


LOCKED_OUT = (
    "3 of 27 clients that used this host in the last 14 days could not connect after hardening: "
    "Android 4.1.1 (2, likely), Outlook 2010 Win 7 (1, likely)"
)


@pytest.mark.parametrize("host", NAMES)
def test_clients_that_hardening_would_lock_out_are_counted(seen, host):
    (item,) = found(seen[1][host], "frontend.clients.locked_out")
    assert (item["evidence"], item["severity"]) == (LOCKED_OUT, "warn")
    (unknown,) = found(seen[1][host], "frontend.clients.unknown")
    assert unknown["evidence"] == "3 of 27 clients"
    assert found(seen[1][host], "frontend.clients.not_read") == []


def test_nothing_of_a_single_client_leaves_the_host(seen):
    _result, _hosts, folder = seen
    for path in [*(folder / "report").iterdir(), folder / "artifacts" / "audit" / "stdout"]:
        text = path.read_text()
        assert not re.search(r"jane|john|jack|192\.0\.2\.|EAS-1\.3|kopano\.php", text), path


def test_clients_connect_as_they_do_before_hardening(seen):
    for host, old in (("apache11", True), ("nginx13", False)):
        clients = seen[1][host]["clients"]
        assert clients["firefox-100-win-10"] is True and clients["android-4.1.1"] is old, host


def test_a_dry_run_shows_who_would_be_locked_out(audit):
    result, _hosts, folder = audit("--check --tags frontend --limit apache11", playbook="kopano.hardening.harden")
    output = (folder / "artifacts" / "audit" / "stdout").read_text()
    assert result.rc == 0, output
    text = " ".join(output.split())
    assert LOCKED_OUT in text
    assert re.search(
        r"\d+ of the \d+ simulated clients that connect now could not afterwards: TLSv1\.0 \(\d+\), ", text
    )


def test_a_change_that_locks_out_a_required_client_is_refused(audit):
    result, _hosts, folder = audit(
        "--check --tags frontend --limit apache11",
        playbook="kopano.hardening.harden",
        frontend_clients_required=["android-9.0", "android-4.1.1"],
    )
    output = (folder / "artifacts" / "audit" / "stdout").read_text()
    assert result.rc == 2, output
    assert re.search(
        r"nothing was changed: clients_required: Android 4\.1\.1 \(android-4\.1\.1\) could no longer connect to "
        r"\S+:443\b.*: now it connects with TLSv1\.0",
        output,
    )


def test_a_client_that_does_not_exist_is_refused(audit):
    result, _hosts, folder = audit(
        "--tags frontend --limit apache11",
        playbook="kopano.hardening.harden",
        frontend_clients_required=["outlook-2010-win7"],
    )
    output = (folder / "artifacts" / "audit" / "stdout").read_text()
    assert result.rc == 2
    assert (
        "frontend_clients_required: 'outlook-2010-win7' is no client that is known here, near are outlook-2010-win-7"
        in output
    )


def test_without_root_it_says_what_it_could_not_see(audit, seen):
    result, hosts, folder = audit(
        # A connection of its own, as the one of root's is still open.
        ansible_user="auditor",
        ansible_ssh_args="-o ControlPath=none",
        audit_become=False,
    )
    assert result.rc == 2, (folder / "artifacts" / "audit" / "stdout").read_text()
    for name in NAMES:
        host = hosts[name]
        assert host["state"] == "ok", host["message"]
        ids = {item["id"] for item in host["findings"] if item["severity"] == "unknown"}
        assert "frontend.config.untested" in ids
        assert found(host, "tls.hsts.absent")
        assert "not_asked" not in host["steps"].values()
        # Nothing is missing or good because it could not be read.
        assert found(host, "certificate.key.hidden") and not found(host, "certificate.key.missing")
        root = {item["id"]: item["severity"] for item in seen[1][name]["findings"]}
        fails = {item["id"] for item in host["findings"] if item["severity"] == "fail"}
        assert fails <= {key for key, severity in root.items() if severity == "fail"}
        assert not {step for step, verdict in host["steps"].items() if verdict == "pass"} - {
            step for step, verdict in seen[1][name]["steps"].items() if verdict == "pass"
        }


def test_tags_choose_steps_and_a_limit_forgets_no_host(audit):
    result, hosts, _folder = audit("--tags caa --limit apache11", {"ANSIBLE_STRATEGY": "free"})
    assert result.rc == 2
    assert {name: host["state"] for name, host in hosts.items()} == {
        "apache11": "ok",
        "nginx13": "left_out",
        "lost": "left_out",
    }
    assert hosts["apache11"]["steps"]["4"] == "fail"
    assert [hosts["apache11"]["steps"][step] for step in "135"] == ["not_asked"] * 3


@pytest.mark.parametrize(
    ("skipped", "not_asked"), [("updates", ["1"]), ("caa", ["4"]), ("verify", ["3"]), ("certificate", [])]
)
def test_a_step_that_is_left_out_is_missed_by_no_other(audit, skipped, not_asked):
    """What they know of the web server, the host has said once for all of them."""
    result, hosts, folder = audit(f"-v --skip-tags {skipped} --limit apache11")
    output = (folder / "artifacts" / "audit" / "stdout").read_text()
    assert result.rc == 2 and hosts["apache11"]["state"] == "ok", output
    assert [step for step, state in hosts["apache11"]["steps"].items() if state == "not_asked"] == not_asked
    assert ("usable, valid until" in " ".join(output.split())) is (skipped != "certificate")


# Of each role the playbook whose results are compared with its own, and how the ids of its findings begin.
OF_ROLES = {
    "updates": ("audit", ("updates.", "support.", "restart.", "reboot.")),
    "certificate": ("audit", ("certificate.",)),
    "caa": ("audit", ("caa.",)),
    "verify": ("audit", ("tls.",)),
    "frontend": ("harden", ("frontend.",)),
}
# What of a task's result is another time in another run.
VOLATILE = ("ansible_facts", "timings", "rehearsal", "probes", "warnings", "deprecations", "invocation")


def results(run, role):
    """What the tasks of a role returned for each host, in their order."""
    found = {name: [] for name in NAMES}
    for event in run.events:
        data = event.get("event_data", {})
        is_result = event["event"] in ("runner_on_ok", "runner_on_failed", "runner_on_skipped")
        if is_result and data["host"] in found and data["task_action"] == f"kopano.hardening.{role}":
            found[data["host"]].append({key: data["res"][key] for key in data["res"] if key not in VOLATILE})
    return found


@pytest.fixture(scope="session")
def rehearsed(audit):
    """harden.yml in a dry run."""
    return audit("--check --limit apache11,nginx13", playbook="kopano.hardening.harden", report_fail=False)


@pytest.mark.parametrize("role", OF_ROLES)
def test_a_role_by_itself_does_what_it_does_in_the_playbook(audit, seen, rehearsed, role):
    playbook, ids = OF_ROLES[role]
    result, hosts, folder = audit(
        "--limit apache11,nginx13",
        playbook=str(PROJECT / "molecule" / "audit" / "role.yml"),
        role_of_test=role,
        report_fail=False,
    )
    assert (result.status, result.rc) == ("successful", 0), (folder / "artifacts" / "audit" / "stdout").read_text()
    alone, together = (
        {
            (name, *(item[key] for key in COMPARED))
            for name in NAMES
            for item in of_hosts[name]["findings"]
            # What a rehearsal finds out: audit.yml makes none.
            if item["id"].startswith(ids) and item["id"] != "frontend.clients.lost"
        }
        for of_hosts in (hosts, seen[1])
    )
    assert alone and sorted(alone ^ together) == []
    returned = results(result, role)
    assert all(any(said(one) for one in returned[name]) for name in NAMES)
    assert saying(returned) == saying(results({"audit": seen, "harden": rehearsed}[playbook][0], role))


def said(one):
    """What a task shows, or why it has failed."""
    return [one[key] for key in ("msg", "outcome", "lines") if one.get(key)]


def saying(returned):
    """The results of tasks that say something: what a task queries depends on what was known before.

    The hour may strike between two runs, so the age of the package lists counts as said, whatever it is.
    """
    return {name: [ageless(one) for one in tasks if said(one)] for name, tasks in returned.items()}


def ageless(result):
    """The same without a figure that depends on the hour."""
    return {
        **result,
        "lines": [re.sub(r"(?<=; lists )\d+ h old$", "N h old", line) for line in result.get("lines", [])],
    }


def test_the_age_of_lists_is_all_that_may_differ():
    def updates(line):
        return saying({"apache11": [{"lines": [line]}]})

    assert updates("updates: 1 pending; lists 1881 h old") == updates("updates: 1 pending; lists 1882 h old")
    assert updates("updates: 1 pending; lists 1881 h old") != updates("updates: 1 pending; lists of unknown age")
    assert updates("updates: 1 pending; lists 5 h old") != updates("updates: 2 pending; lists 5 h old")


def test_nothing_is_changed(planted, seen):
    """After all runs above."""
    after = state()
    for host in NAMES:
        assert len(planted[host]) > 500
        assert sorted(set(after[host]) ^ set(planted[host])) == []
