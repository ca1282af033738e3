# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role caa as a user runs it, from dirty zones to clean ones. The tests build on each other, in their order."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import pytest
import yaml

SCENARIO = Path(__file__).resolve().parent.parent
PROJECT = SCENARIO.parent.parent
INVENTORY = PROJECT / ".cache" / "lab" / os.environ.get("LAB_SET", "molecule-caa") / "inventory.yml"
sys.path.append(str(PROJECT / "molecule" / "common"))

from terminal import Shown, shown  # noqa: E402

VARIABLES = yaml.safe_load(INVENTORY.read_text())["all"]["vars"]
SECRET = VARIABLES["caa_publish_key_secret"]
SECONDS = 900  # a run that hangs, on a machine ten times slower
# What the two zones shall have that get records.
WANTED = {
    "apache11.test": {
        '0 issue "letsencrypt.org"',
        '0 issuewild ";"',
        '0 iodef "mailto:hostmaster@apache11.test"',
    },
    "nginx12.test": {
        '0 issue "letsencrypt.org"',
        '0 issuewild ";"',
        '0 iodef "mailto:hostmaster@nginx12.test"',
        '0 contactemail "hostmaster@nginx12.test"',
    },
}
DIRTY = {
    "apache11.test": set(),
    "nginx12.test": {'0 issue "LetsEncrypt.ORG"', '128 contactemail "hostmaster@nginx12.test"'},
}


@dataclass(frozen=True)
class Play:
    """What a run came to: exit status, output, and for each host how much has changed and failed."""

    status: int
    output: str
    changed: dict[str, int]
    failed: dict[str, int]

    def shown(self, host: str) -> Shown:
        found = shown(self.output)[host]
        assert found.lines.keys() == {"caa"}, self.output
        return found

    def said(self, host: str) -> str:
        """What the role says of a host, on one line: what it has found, what it has done, and why the host fails."""
        found = self.shown(host)
        return " ".join([*found.lines["caa"], *found.outcome, *found.messages])


def play(*arguments: str, **variables: object) -> Play:
    """Run the playbook; variables go in by a file, since Ansible shows what stands in its command line."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(variables, file)
        file.flush()
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "--inventory", INVENTORY,
             "--extra-vars", f"@{file.name}", *arguments, SCENARIO / "caa.yml"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
            env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_DISPLAY_OK_HOSTS": "true"},
        )  # fmt: skip
    output = done.stdout + done.stderr
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", output, re.MULTILINE)
    assert recap, output
    changed = {host: int(number) for host, number, _failed in recap}
    return Play(done.returncode, output, changed, {host: int(number) for host, _changed, number in recap})


def ask(name: str, rdtype: str, *, resolver: bool = False) -> dns.message.Message:
    address, _, port = VARIABLES["caa_nameservers"][0].partition(":")
    where = (address, int(port)) if resolver else (VARIABLES["caa_publish_server"], 53)
    flags = dns.flags.RD | dns.flags.AD if resolver else 0
    return dns.query.tcp(dns.message.make_query(name, rdtype, flags=flags), where[0], 5, where[1])


def records(name: str, **where: bool) -> set[str]:
    return {data.to_text() for rrset in ask(name, "CAA", **where).answer for data in rrset}


def state() -> dict[str, object]:
    """Everything that a change would change: the records, and the serial numbers of the zones."""
    zones = {*DIRTY, "nginx13.test", "nginx11.test"}
    return {zone: (records(zone), ask(zone, "SOA").answer[0][0].serial) for zone in zones}


def test_the_zones_are_as_bad_as_their_data_say():
    assert {zone: records(zone) for zone in DIRTY} == DIRTY


def test_verified_and_nothing_changed():
    before = state()
    run = play()
    assert (run.status, run.changed) == (0, {"nginx12": 0, "nginx13": 0}), run.output
    assert "forbidden: mail.nginx12.test" in run.said("nginx12")
    assert "fail: caa.critical" in run.said("nginx12")
    assert "warn: caa.domain.uppercase" in run.said("nginx12")
    other = run.said("nginx13")
    assert "permitted: mail.nginx13.test" in other
    assert "unrestricted: apache11.test (no records, DNSSEC secure)" in other
    assert "forbidden: mail.nginx11.test" in other
    assert "caa.dnssec.bogus" in other
    assert "unknown: a..b ('a..b' is not a host name" in other
    lines = [line for host in run.changed for line in run.shown(host).lines["caa"]]
    for zone, wanted in WANTED.items():
        assert {f"{zone}. IN CAA {record}" for record in wanted} <= set(lines), lines
    assert '; remove nginx12.test. IN CAA 0 issue "LetsEncrypt.ORG"' in lines
    assert not [line for line in lines if "nginx11.test. IN CAA" in line]  # records do not repair signatures
    assert [run.shown(host).outcome for host in run.changed] == [[], []]
    assert state() == before


def test_a_private_key_beside_the_certificate_stays_where_it_is():
    certificate, key = "/etc/ssl/certs/mail.nginx12.test.pem", "/etc/ssl/private/mail.nginx12.test.key"
    words = ["ansible", "nginx12", "--inventory", INVENTORY, "--module-name", "ansible.builtin.shell"]
    words += ["--args", f"cat {key} >>{certificate} && cat {certificate}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, check=True)
    public, _, private = done.stdout.partition("PRIVATE KEY-----")
    # A certificate has some of its key's numbers too.
    secret = [line for line in private.split() if len(line) > 40 and line not in public]
    assert secret
    run = play("-vvv", caa_issuer="")
    assert run.status == 0, run.output
    assert "not applicable: mail.nginx12.test" in run.said("nginx12")
    assert "BEGIN CERTIFICATE" in run.output
    assert "PRIVATE KEY-----" not in run.output
    assert not [line for line in secret if line in run.output]


def test_a_dry_run_shows_the_difference_and_changes_nothing():
    before = state()
    run = play("--check", "--diff", caa_publish=True)
    assert run.status == 0, run.output
    for record in WANTED["nginx12.test"]:
        assert f"\n+nginx12.test. IN CAA {record}\n" in run.output
    for record in DIRTY["nginx12.test"]:
        assert f"\n-nginx12.test. IN CAA {record}\n" in run.output
    assert "would be published: nginx12.test" in run.shown("nginx12").outcome
    assert state() == before


def test_a_wrong_key_is_refused_and_nothing_changed():
    before = state()
    wrong = base64.b64encode(b"not the key of the lab").decode()
    run = play("-vvv", caa_publish=True, caa_publish_key_secret=wrong)
    assert run.status != 0
    assert run.failed == {"nginx12": 1, "nginx13": 1}
    assert "not published: nginx12.test: " in run.said("nginx12")
    assert "refuses the update: the key is another one there" in run.said("nginx12")
    assert wrong not in run.output
    assert state() == before


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"caa_publish": True, "caa_publish_server": "ns.example"}, "caa_publish_server: 'ns.example'"),
        ({"caa_nameservers": ["resolver.example"]}, "caa_nameservers: 'resolver.example'"),
        ({"caa_issuer": "Let's Encrypt"}, "caa_issuer: "),
    ],
)
def test_options_without_meaning_end_the_play(variables, words):
    run = play(**variables)
    assert run.status != 0
    assert run.failed == {"nginx12": 1, "nginx13": 1}
    assert all(words in " ".join(found.messages) for found in shown(run.output).values()), run.output
    assert "Look up the CAA records" not in run.output


def test_a_resolver_that_is_not_there_makes_everything_unknown_and_publishes_nothing():
    before = state()
    nobody = f"{VARIABLES['caa_publish_server']}:1"
    run = play(caa_nameservers=[nobody], caa_publish=True, caa_fail=True)
    assert (run.status, run.changed) == (0, {"nginx12": 0, "nginx13": 0}), run.output
    assert "unknown: mail.nginx12.test" in run.said("nginx12")
    assert not re.search("permitted|unrestricted|forbidden", run.said("nginx12"))
    assert state() == before


def test_published_with_the_key_that_nobody_sees():
    run = play("-vvv", caa_publish=True)
    assert run.status == 0, run.output
    assert sum(run.changed.values()) == 1
    (done,) = run.shown("nginx12").outcome
    assert "published: nginx12.test (2 of 2 name servers have it); before: forbidden: mail.nginx12.test" in done
    said = run.said("nginx12")
    # Looked up again. The resolver may still have what it was asked for a second before.
    assert re.search(r"permitted: mail\.nginx12\.test|unknown: mail\.nginx12\.test \(the zone has new records", said)
    assert "fail:" not in said
    assert SECRET not in run.output
    for zone, wanted in WANTED.items():
        assert records(zone) == wanted
    # Signed anew where the zone is signed, so that a CA's resolver believes it.
    reply = ask("apache11.test", "CAA", resolver=True)
    assert reply.flags & dns.flags.AD
    assert records("apache11.test", resolver=True) == WANTED["apache11.test"]


def test_seen_by_the_verifier_and_not_published_twice():
    before = state()
    run = play(caa_publish=True, caa_fail=True)
    assert run.changed == {"nginx12": 0, "nginx13": 0}
    assert "permitted: mail.nginx12.test" in run.said("nginx12")
    assert "fail:" not in run.said("nginx12")
    assert "permitted: apache11.test (records at apache11.test, DNSSEC secure)" in run.said("nginx13")
    # caa_fail fails the host with a name that a CA has to refuse, and no other.
    assert run.failed == {"nginx12": 0, "nginx13": 1}
    assert "forbidden: mail.nginx11.test" in run.said("nginx13")
    assert state() == before
