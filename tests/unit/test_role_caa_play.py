# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role caa in a play for several hosts, with real name servers: each is checked with its own options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dns.message
import dns.query
import pytest
import yaml

from . import caa_bed

ROOT = Path(__file__).parents[2]
LE = "letsencrypt.org"
RECORDS = {f'0 issue "{LE}"', '0 issuewild ";"', '0 iodef "mailto:a@kopano.test"'}
ZONES = {
    "kopano.test.": "".join(f"@ CAA {record}\n" for record in sorted(RECORDS)),
    **dict.fromkeys(("other.test.", "bogus.test.", "expired.test."), ""),
}
KEY = {
    "caa_publish": True,
    "caa_publish_key_name": caa_bed.KEY[0],
    "caa_publish_key_secret": caa_bed.KEY[1],
}


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    with caa_bed.bed(tmp_path_factory.mktemp("bed"), ZONES, {"split.test.": ""}) as started:
        yield started


@pytest.fixture(scope="module")
def reports(bed, tmp_path_factory):
    """What each host's last task reported."""
    hosts = {
        "alike1": {},
        "alike2": {"caa_names": ["webapp.kopano.test"]},
        # The same name, but another CA is to issue for it.
        "other": {"caa_issuer": "digicert.com", "caa_fail": True},
        "deaf": {"caa_nameservers": [f"{caa_bed.SILENT}:{bed.port}"], "caa_timeout": 1, "caa_fail": True},
        "mistyped": {"caa_issuer": "Let's Encrypt"},
        # Two hosts that would publish different things about one name.
        "sets": {**KEY, "caa_names": ["set.kopano.test"], "caa_publish_server": bed.authority},
        "unsets": {
            **KEY, "caa_names": ["set.kopano.test"], "caa_publish_server": bed.authority, "caa_issuer": "digicert.com",
        },
    }  # fmt: skip
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "caa_nameservers": [bed.resolver],
        "caa_issuer": LE,
        "caa_names": ["mail.kopano.test"],
    }
    play = {"hosts": "all", "gather_facts": False, "roles": ["kopano.hardening.caa"]}
    found = run(tmp_path_factory.mktemp("play"), play, common, hosts)
    assert found.keys() == hosts.keys()
    return found


def run(folder, play, common, hosts):
    """Run a play; what the last task of each host that reported something has reported."""
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": common, "hosts": hosts}}, sort_keys=False))
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-vv", "-i", "hosts.yml", "play.yml"],
        env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
             "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
             "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert caa_bed.KEY[1] not in done.stdout + done.stderr
    found = {}
    for match in re.finditer(r"^(ok|fatal): \[(\w+)\].* => (?=\{)", done.stdout, re.MULTILINE):
        shown = json.JSONDecoder().raw_decode(done.stdout[match.end() :])[0]
        lines = [*shown.get("outcome", []), *shown.get("lines", [])]
        if lines or match[1] == "fatal":
            found[match[2]] = (match[1], lines or [shown["msg"]])  # the last one counts
    assert found, done.stdout + done.stderr
    return found


def test_a_bad_option_of_the_first_host_loses_no_other(bed, tmp_path):
    """Also where that host stays in the play, as in the playbooks: one task looks up for all of them."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "caa_nameservers": [bed.resolver],
        "caa_issuer": LE,
        "caa_names": ["mail.kopano.test"],
    }
    role = {"name": "kopano.hardening.caa"}
    names = {"block": [{"ansible.builtin.import_role": {**role, "tasks_from": "names"}}]}
    names["rescue"] = [{"name": "Go on", "ansible.builtin.meta": "noop"}]
    records = {"ansible.builtin.import_role": {**role, "tasks_from": "records"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [names, records]}
    found = run(tmp_path, play, common, {"mistyped": {"caa_timeout": "never"}, "fine": {}})
    assert found["mistyped"][0] == "fatal" and "caa_timeout" in found["mistyped"][1][0]
    status, lines = found["fine"]
    assert status == "ok" and lines[0].startswith("permitted: mail.kopano.test"), found


def test_hosts_with_the_same_options_have_their_own_names_each(reports):
    words = " (records at kopano.test, DNSSEC secure)"
    assert reports["alike1"][0] == "ok" and reports["alike1"][1][0] == "permitted: mail.kopano.test" + words
    assert reports["alike2"][0] == "ok" and reports["alike2"][1][0] == "permitted: webapp.kopano.test" + words


def test_another_ca_is_expected_for_the_host_that_names_it(reports):
    status, lines = reports["other"]
    assert status == "fatal" and lines[0].startswith("forbidden: mail.kopano.test"), lines


def test_a_resolver_that_does_not_respond_is_that_of_its_host_alone(reports):
    status, lines = reports["deaf"]
    assert status == "ok" and lines[0].startswith("unknown: mail.kopano.test"), lines


def test_a_bad_option_fails_its_host_alone(reports):
    status, (message,) = reports["mistyped"]
    assert status == "fatal" and "caa_issuer: \"Let's Encrypt\" is not a CA's domain" in message


@pytest.mark.parametrize("host", ["sets", "unsets"])
def test_a_record_set_that_decides_about_hosts_with_other_options_is_not_published(reports, bed, host):
    status, lines = reports[host]
    assert status == "fatal"
    assert lines[0].startswith("kopano.test: alike1 has names there as well, and other options than")
    port = bed.authority.partition(":")[2]
    reply = dns.query.tcp(dns.message.make_query("kopano.test", "CAA"), caa_bed.FIRST, 5, int(port))
    assert {data.to_text() for rrset in reply.answer for data in rrset} == RECORDS


def test_what_was_published_is_looked_up_again_and_is_unknown_until_it_is_seen(bed, tmp_path):
    """The zone's name servers are queried on port 53, where this bed has none; the resolver keeps what it has found."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "caa_nameservers": [bed.resolver],
        "caa_issuer": LE,
        "caa_fail": True,
        "caa_timeout": 2,
        "caa_publish_wait": 0,
        "caa_publish_server": bed.authority,
        **KEY,
    }
    names = {"publishes": "mail.other.test", "reads": "www.other.test"}
    hosts = {host: {"caa_names": [name]} for host, name in names.items()}
    play = {"hosts": "all", "gather_facts": False, "roles": ["kopano.hardening.caa"]}
    reason = f"{bed.authority} has the records for other.test, but none of the zone's name servers could be queried"
    found = run(tmp_path, play, common, hosts)
    for host, name in names.items():
        status, lines = found[host]
        assert (status, lines[1]) == ("ok", f"unknown: {name} ({reason})"), found
        assert lines[0] == f"published: other.test (0 of 1 name server has it); before: unrestricted: {name}"
        assert not [line for line in lines if line.startswith("fail")]
