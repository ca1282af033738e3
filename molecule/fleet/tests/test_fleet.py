# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each option did on its host and on no other, after harden.yml and audit.yml on all hosts at once.

inventory/options.yml has the options. A table here has every host for one of them, so one that leaks is seen wherever
it goes.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl

import pytest
from bench import PROJECT, bring_certificate, client, run, shell

GOOD = ("apache11", "apache12", "apache13", "nginx12", "nginx13", "nginx13n")
UNREACHABLE, BROKEN, NO_ROOT = "ausser-haus-münchen", "nginx11", "apache12n"
PLAYBOOKS = ("harden", "audit")


@pytest.fixture(scope="session")
def folder():
    """Kept after the tests, so that the reason of a failure can be read."""
    path = PROJECT / ".cache" / "reports" / "fleet"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="session")
def brought(folder):
    return bring_certificate(folder, "mail.nginx12.test")


@pytest.fixture(scope="session")
def before(brought):
    """The certificates that the hosts served before, by their serial numbers."""
    names = [host for host in (*GOOD, BROKEN) if host != "nginx13n"]  # which has no TLS yet
    return {host: client(host).handshake().certificate.serial_number for host in names}


@pytest.fixture(scope="session")
def plays(before, folder):
    return {playbook: run(playbook, folder) for playbook in PLAYBOOKS}


@pytest.fixture(params=PLAYBOOKS)
def play(plays, request):
    return plays[request.param]


def each(**values):
    """A test for each host that can be hardened, with what is to be expected of it."""
    assert set(values) == set(GOOD)
    return pytest.mark.parametrize(("host", "value"), values.items())


# --- who fails, and what is said of it -------------------------------------------------------------------------------


def test_the_exit_status_and_who_fails(play):
    assert play.status == 2
    # nginx13n misses the policy, too, and its report_fail says that it does not fail for that.
    assert play.failed == {"apache12", "nginx12", UNREACHABLE, BROKEN, NO_ROOT}
    assert play.unreachable == set()
    assert {name for name, host in play.hosts.items() if host["failed"]} == {*play.failed, "nginx13n"}


def test_all_hosts_are_in_the_report(play):
    assert {name: play.ends(name) for name in GOOD if play.hosts[name]["state"] != "ok"} == {}
    assert set(play.hosts) == {*GOOD, UNREACHABLE, BROKEN, NO_ROOT}
    assert {name for name, host in play.hosts.items() if host["reach"] == "pass"} == {*GOOD, BROKEN}


LOST = {
    UNREACHABLE: r"not reachable: .*\.250\b.*",  # in ssh's words, which depend on when it gives up
    NO_ROOT: "Inspect the updates: the host could not be queried: Incorrect sudo password",
}


@pytest.mark.parametrize("host", LOST)
def test_a_host_that_cannot_be_queried_has_one_line(play, host):
    # Its own task, and the report's.
    _own, message = play.ends(host)
    assert re.fullmatch(LOST[host], message)
    assert play.why(host) == message
    entry = play.hosts[host]
    assert (entry["reach"], set(entry["steps"].values())) == ("fail", {"unknown"})


def test_a_host_without_a_configuration_that_parses_is_named_with_file_and_line(plays):
    words = r"/etc/nginx/nginx\.conf:\d+"
    host = plays["harden"].hosts[BROKEN]
    assert re.match(
        rf"Deploy the TLS policy: the configuration was already broken before this run: {words}: ", host["message"]
    )
    assert list(host["steps"].values()) == ["fail", "fail", "unknown", "unknown", "unknown"]
    audited = plays["audit"].hosts[BROKEN]
    assert audited["state"] == "ok" and audited["steps"]["2"] == "fail"
    (broken,) = [item for item in audited["findings"] if item["id"] == "frontend.config.broken"]
    assert re.fullmatch(words, broken["subject"])


def test_and_it_serves_as_before(plays, before):
    frontend = client(BROKEN)
    assert frontend.handshake(protocol=ssl.TLSVersion.TLSv1).certificate.serial_number == before[BROKEN]
    assert frontend.request("/webapp/").all("Strict-Transport-Security") == []
    assert shell(BROKEN, "ls /etc/nginx") and "kopano-hardening" not in shell(BROKEN, "ls /etc/nginx")


def test_no_user_becomes_root_with_a_wrong_password(plays):
    assert "kopano-hardening" not in shell(NO_ROOT, "ls /etc/apache2 /var/lib")


# --- frontend_* ------------------------------------------------------------------------------------------------------


@each(
    apache11="max-age=63072000",
    apache12="max-age=31536000",
    apache13="max-age=7776000",
    nginx12="max-age=31536000",
    nginx13="max-age=0",
    nginx13n="max-age=31536000",
)
def test_hsts(plays, host, value):
    assert client(host).request("/webapp/").one("Strict-Transport-Security") == value


CSP, REPORTED = "Content-Security-Policy", "Content-Security-Policy-Report-Only"


@each(apache11={CSP}, apache12=set(), apache13={REPORTED}, nginx12={REPORTED}, nginx13={REPORTED}, nginx13n={REPORTED})
def test_content_security_policy(plays, host, value):
    answer = client(host).request("/webapp/")
    assert {name for name in (CSP, REPORTED) if answer.one(name)} == value


# Suites of TLS 1.2, for either key.
AES128 = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
AES256 = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
BOTH = {AES128, AES256}


@each(apache11=BOTH, apache12={AES256}, apache13=BOTH, nginx12=set(), nginx13=BOTH, nginx13n=BOTH)
def test_profiles_and_suites(plays, host, value):
    frontend = client(host)
    refused = {suites for suites in BOTH if frontend.refuses(protocol=ssl.TLSVersion.TLSv1_2, ciphers=suites)}
    assert BOTH - refused == value
    assert frontend.handshake().protocol == "TLSv1.3"


@each(apache11=True, apache12=False, apache13=True, nginx12=True, nginx13=True, nginx13n=True)
def test_redirects_of_plain_http(plays, host, value):
    assert (client(host).request("/webapp/", secure=False).status == 308) is value


@each(apache11=False, apache12=False, apache13=False, nginx12=False, nginx13=False, nginx13n=True)
def test_sites(plays, host, value):
    assert ("00-kopano-hardening" in shell(host, "ls /etc/apache2/sites-enabled /etc/nginx/sites-enabled")) is value


# --- certificate_* ---------------------------------------------------------------------------------------------------


@each(apache11="own", apache12="own", apache13="own", nginx12="brought", nginx13="own", nginx13n="self-signed")
def test_certificates(plays, before, brought, host, value):
    served = client(host).handshake().certificate
    if value == "self-signed":
        assert served.issuer == served.subject
        assert (served.not_valid_after_utc - served.not_valid_before_utc).days in (30, 31)
    else:
        assert served.serial_number == {"own": before.get(host), "brought": brought.serial_number}[value]


# --- verify_* --------------------------------------------------------------------------------------------------------


@each(
    apache11=("A+", False), apache12=("A+", True), apache13=("A", False), nginx12=("A+", False), nginx13=("A+", True),
    nginx13n=("A+", False),
)  # fmt: skip
def test_what_is_good_enough(play, host, value):
    wanted = play.facts[host]["verify"]["wanted"]
    assert (wanted["grade"], wanted["ignore_trust"]) == value


@each(apache11="A+", apache12="A+", apache13="A", nginx12="A+", nginx13="A-", nginx13n=None)
def test_grades(play, host, value):
    """They follow from HSTS and, where trust counts, from the certificates."""
    assert play.hosts[host]["grade"] == value


@each(apache11=True, apache12=False, apache13=True, nginx12=True, nginx13=False, nginx13n=None)
def test_whom_the_options_trust(play, host, value):
    """Some host's CA file must not be another one's."""
    results = json.loads(play.facts[host]["verify"]["results"])
    trusted = {result["grade"] != "T" for result in results if result["server_name"].startswith("mail.")}
    assert trusted == (set() if value is None else {value})


@each(apache11=False, apache12=True, apache13=False, nginx12=False, nginx13=False, nginx13n=None)
def test_how_much_is_checked(play, host, value):
    """verify_mode: quick leaves out whose order of suites counts."""
    results = [result for result in json.loads(play.facts[host]["verify"]["results"]) if not result["error"]]
    assert {result["cipher_order"] == {} for result in results} == (set() if value is None else {value})


@each(apache11={443}, apache12={443}, apache13={443}, nginx12={443}, nginx13={443, 8443}, nginx13n={443})
def test_ports(play, host, value):
    assert {endpoint["port"] for endpoint in play.hosts[host]["endpoints"]} == value


@each(
    apache11=[], apache12=[], apache13=[], nginx12=[], nginx13=[],
    nginx13n=[("absent.test", "cannot connect: timed out")],
)  # fmt: skip
def test_endpoints_of_the_options(play, host, value):
    """With its second alone: with more, the network itself reports that no host is there."""
    endpoints = play.hosts[host]["endpoints"]
    assert [(endpoint["name"], endpoint["error"]) for endpoint in endpoints if endpoint["error"]] == value
    assert len(endpoints) == 1 if host == "nginx13n" else len(endpoints) > 1


def test_a_host_is_reached_by_ipv6(play):
    addresses = {endpoint["address"] for endpoint in play.hosts["apache11"]["endpoints"]}
    assert client("apache11").ipv6 in addresses
    assert client("apache12").ipv6 not in {endpoint["address"] for endpoint in play.hosts["apache12"]["endpoints"]}


# --- caa_* -----------------------------------------------------------------------------------------------------------


@each(
    apache11=({"digicert.com"}, False, "5353"),
    apache12=({"digicert.com"}, False, "5353"),
    apache13=({"letsencrypt.org"}, False, "53"),
    nginx12=({"letsencrypt.org"}, False, "5353"),
    nginx13=({None}, False, "5353"),
    nginx13n=({"letsencrypt.org"}, True, "5353"),
)
def test_what_is_looked_up(play, host, value):
    issuers, wildcard, port = value
    request = play.facts[host]["caa"]["request"]
    assert {entry["issuer"] for entry in request["expect"].values()} == issuers
    assert {entry["wildcard"] for entry in request["expect"].values()} == {wildcard}
    assert [server.rpartition(":")[2] for server in request["shared"]["nameservers"]] == [port]
    assert bool(request["shared"]["issuers"]) is (host == "nginx13")


# What says that a CA of another host was expected, that another resolver was asked, or the other kind of name.
TELLING = {"caa.none", "caa.critical", "caa.issuer.forbidden", "caa.renewal.refused", "caa.dnssec.unverified",
           "caa.dnssec.bogus"}  # fmt: skip


@each(
    apache11={"caa.none"},
    apache12=set(),
    apache13={"caa.dnssec.unverified"},
    nginx12={"caa.critical"},
    nginx13={"caa.renewal.refused"},
    nginx13n=set(),
)
def test_what_the_records_come_to(play, host, value):
    assert {item["id"] for item in play.hosts[host]["findings"]} & TELLING == value


# --- updates_* -------------------------------------------------------------------------------------------------------


@each(
    apache11=set(),
    apache12={("support.lts", "fail")},
    apache13=set(),
    nginx12={("support.lts", "info")},
    nginx13={("support.lts", "info")},
    nginx13n=set(),
)
def test_how_long_a_release_is_maintained(play, host, value):
    """Of two with the same release, one does not accept long-term support, and one other release has its own dates."""
    findings = play.hosts[host]["findings"]
    assert {(item["id"], item["severity"]) for item in findings if item["id"] == "support.lts"} == value


# --- report_* --------------------------------------------------------------------------------------------------------


@each(
    apache11=(["caa.none", "support.eol"], "A+"),
    apache12=(["support.*"], "A+"),
    apache13=([], "A"),
    nginx12=(["caa.critical"], "A+"),
    nginx13=([], "A-"),
    nginx13n=([], "A+"),
)
def test_what_a_host_fails_for(play, host, value):
    policy = play.hosts[host]["policy"]
    assert (policy["fail_on"], policy["minimum_grade"]) == value


@each(
    apache11=[],
    apache12=["support.lts", r"support\.package\.unknown \(\d+\)"],
    apache13=[],
    nginx12=[r"caa\.critical \(\d+\)"],
    nginx13=[],
    nginx13n=["1 of 1 endpoint below A\\+"],
)
def test_why_a_host_fails(play, host, value):
    reasons = play.hosts[host]["reasons"]
    assert len(reasons) == len(value) and all(map(re.fullmatch, value, reasons)), reasons


def test_a_waiver_is_for_its_host(play):
    reasons = {"The zone moves", "The host moves"}
    waived = {
        (name, item["id"])
        for name, host in play.hosts.items()
        for item in host["findings"]
        if item["waived"] and item["waived"]["reason"] in reasons
    }
    assert waived == {("apache11", "caa.none"), ("apache11", "support.eol")}
    assert "support.eol" in {item["id"] for item in play.hosts[BROKEN]["findings"] if not item["waived"]}
