# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role certificate: its options, what speaks against an order, and what it says."""

from __future__ import annotations

import copy
import re
import ssl
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.modules import acme_certificate, certificate_install
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate

from .role_frontend import host, vhost

ROLE = Path(__file__).parents[2] / "roles" / "certificate"


def load(name):
    return yaml.safe_load((ROLE / name).read_text())


DEFAULTS = load("defaults/main.yml")
SITE = {"certificate": "/etc/tls/chain.pem", "key": "/etc/tls/key.pem"}
ACME = {"source": "acme", "acme_terms_agreed": True}
DNS = {**ACME, "acme_challenge": "dns-01", "acme_dns_server": "192.0.2.53", "acme_dns_key_name": "k"}


def options(**changes):
    """The role's options as it hands them to its filters."""
    told = re.findall(r"'(\w+)':", load("vars/main.yml")["__certificate_options"])
    values = {name: copy.deepcopy(DEFAULTS[f"certificate_{name}"]) for name in told}
    assert set(changes) <= set(values)
    return {**values, **changes}


def info(*vhosts):
    return {**host("nginx", "debian"), "vhosts": list(vhosts)}


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ACME,
        {**DNS, "acme_dns_key_secret": "c2VjcmV0", "names": ["*.example.org", "example.org"]},
        {
            "chain": "files/chain.pem",
            "key": "files/key.pem",
            "path": "/a.pem",
            "key_path": "/b.pem",
            "key_mode": "0640",
        },
        {"source": "selfsigned", "names": ["mail.example.org"]},
    ],
)
def test_options_that_work_are_not_refused(changes):
    assert _roles_certificate.option_errors(options(**changes), SITE) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": ["mail_1.example.org"]}, "certificate_names: 'mail_1.example.org' is not a host name"),
        ({**ACME, "names": ["*.example.org"]}, "needs certificate_acme_challenge: dns-01"),
        ({"path": "/a/../b", "key_path": "/k"}, "certificate_path: '/a/../b' is not an absolute path"),
        ({"path": "/a b", "key_path": "/k"}, "certificate_path: '/a b' is not an absolute path"),
        ({"path": "/a"}, "certificate_path: '/a' and certificate_key_path: '' belong together"),
        ({"path": "/a", "key_path": "/a"}, "chain and key are files of their own"),
        ({"chain": "a.pem"}, "certificate_chain: 'a.pem' and certificate_key: '' belong together"),
        ({"chain_content": "text"}, "certificate_chain_content and certificate_key_content belong together"),
        ({"chain": "a", "key": "b", "chain_content": "c", "key_content": "d"}, "both given"),
        ({"source": "selfsigned", "chain": "a", "key": "b"}, "certificate_source: 'selfsigned' does not use"),
        ({"key_mode": "0644"}, "certificate_key_mode: '0644' is not an octal number that leaves others without"),
        ({"selfsigned_days": 0}, "certificate_selfsigned_days: 0 is less than 1"),
        ({**ACME, "acme_terms_agreed": False}, "certificate_acme_terms_agreed: False orders nothing"),
        ({**ACME, "acme_directory": "http://ca/dir"}, "certificate_acme_directory: 'http://ca/dir' is not the URL"),
        ({**ACME, "acme_staging": "ca"}, "certificate_acme_staging: 'ca' is not the URL"),
        ({**ACME, "acme_directory": ""}, "names no ACME server"),
        ({**ACME, "acme_key_types": ["rsa", "ecdsa"]}, "['rsa', 'ecdsa'] is neither [ecdsa] nor [rsa] nor"),
        ({**ACME, "acme_name": "../x"}, "certificate_acme_name: '../x' is not a name"),
        ({**ACME, "acme_email": "a b"}, "certificate_acme_email: 'a b' has spaces"),
        ({**ACME, "acme_eab_kid": "k"}, "certificate_acme_eab_kid and certificate_acme_eab_hmac_key belong together"),
        (
            {**DNS, "acme_dns_key_secret": "c2VjcmV0", "acme_dns_server": ""},
            "certificate_acme_dns_server: '' is not enough",
        ),
        (DNS, "certificate_acme_dns_key_secret: is needed"),
    ],
)
def test_options_that_cannot_work_are_named(changes, words):
    found = _roles_certificate.option_errors(options(**changes), SITE)
    assert len(found) == 1 and words in found[0], found


def test_certbots_own_files_are_no_place_to_install_at():
    goal = {"certificate": "/etc/letsencrypt/live/a/fullchain.pem", "key": "/etc/letsencrypt/live/a/privkey.pem"}
    found = _roles_certificate.option_errors(options(**ACME), goal)
    assert [line.partition(":")[0] for line in found] == ["certificate_path", "certificate_key_path"]
    # Who has nothing installed may have them served.
    assert _roles_certificate.option_errors(options(), goal) == []


def test_no_secret_is_in_what_is_said_of_options():
    secret = "two words\n"
    found = _roles_certificate.option_errors(
        options(**{**DNS, "acme_eab_kid": "k", "acme_eab_hmac_key": secret, "acme_dns_key_secret": secret}), SITE
    )
    assert len(found) == 2 and not any("two words" in line for line in found)


@pytest.mark.parametrize("file", ["install.yml", "acme.yml"])
def test_the_modules_are_told_options_that_they_have(file):
    specs = {
        "kopano.hardening.certificate_install": certificate_install.ARGUMENT_SPEC,
        "kopano.hardening.acme_certificate": acme_certificate.ARGUMENT_SPEC,
    }
    asked = []

    def walk(item):
        if isinstance(item, dict):
            asked.extend((name, value) for name, value in item.items() if name in specs)
            item = list(item.values())
        for value in item if isinstance(item, list) else ():
            walk(value)

    walk(load(f"tasks/{file}"))
    assert asked
    for name, told in asked:
        assert set(told) <= set(specs[name]), name


# --- what a host serves ----------------------------------------------------------------------------------------------


def test_names_are_those_that_somebody_could_ask_for():
    found = _roles_certificate.served_names(
        info(
            vhost("nginx", names=["mail.example.org", "*.example.org", "_"]),
            vhost("nginx", names=["unknown.invalid", "www.example.com", "MAIL.example.org", "localhost"]),
            vhost("nginx", names=["plain.example.org"], tls=False),
        )
    )
    assert found == ["mail.example.org"]


def test_each_certificate_is_looked_at_once_with_all_names_that_it_is_there_for():
    found = _roles_certificate.asked(
        info(
            vhost("nginx", names=["a.example.org"], certificate="/a.pem", key="/a.key"),
            vhost("nginx", names=["b.example.org"], certificate="/b.pem", key=None),
            vhost("nginx", names=["c.example.org"], certificate="/a.pem", key="/a.key"),
            vhost("nginx", names=["plain.example.org"], tls=False, certificate=None, key=None),
        ),
        {"certificate": "/site.pem", "certificate_key": "/site.key", "names": ["s.example.org"]},
    )
    assert found == [
        {"chain": "/site.pem", "key": "/site.key", "names": ["s.example.org"]},
        {"chain": "/a.pem", "key": "/a.key", "names": ["a.example.org", "c.example.org"]},
        {"chain": "/b.pem", "key": "/b.pem", "names": ["b.example.org"]},
    ]


def test_of_certificates_that_were_installed_here_only_those_are_looked_at():
    places = _roles_certificate.places(SITE, ["ecdsa", "rsa"])
    found = _roles_certificate.asked({"skipped": True}, {}, places, ["mail.example.org"])
    assert [item["chain"] for item in found] == [place["path"] for place in places]
    assert found[0] == {"chain": SITE["certificate"], "key": SITE["key"], "names": ["mail.example.org"]}


def test_a_rehearsal_gets_a_pair_where_one_is_missing(tmp_path):
    places = _roles_certificate.places(SITE, ["ecdsa"])
    assert _roles_certificate.stand_ins(places, [], ["mail.example.org"]) == []
    files = _roles_certificate.stand_ins(places, [SITE["key"]], ["mail.example.org"])
    assert [entry["path"] for entry in files] == list(SITE.values()) and files[1]["mode"] == "0600"
    known = _transaction_options.ARGUMENT_SPEC["files"]["options"]
    assert all(set(entry) <= set(known) for entry in files)
    certificate = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(files[0]["content"]))
    assert certificate.dns_names == ["mail.example.org"]
    (tmp_path / "both").write_text(files[1]["content"] + files[0]["content"])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "both")


def test_a_second_kind_of_key_has_a_place_beside_the_first_and_a_stand_in_of_its_kind():
    places = _roles_certificate.places({**SITE, "key": "/etc/tls.d/key"}, ["ecdsa", "rsa"])
    assert [(place["path"], place["key_path"]) for place in places] == [
        ("/etc/tls/chain.pem", "/etc/tls.d/key"),
        ("/etc/tls/chain-rsa.pem", "/etc/tls.d/key-rsa"),
    ]
    # Or where the role frontend has a place for it.
    named = {**SITE, "certificate_rsa": "/etc/rsa.pem", "key_rsa": "/etc/rsa.key"}
    assert _roles_certificate.places(named, ["ecdsa", "rsa"])[1]["path"] == "/etc/rsa.pem"
    assert _roles_certificate.places(named, ["rsa"])[0]["path"] == SITE["certificate"]
    chain, _key = _roles_certificate.stand_ins(places, [places[1]["path"]], [])
    assert chain["path"] == places[1]["path"]
    assert _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(chain["content"])).key.type == "RSA"


# --- before an order -------------------------------------------------------------------------------------------------


def verdict(word, error=None, **more):
    finding = {"severity": "fail", "message": "The CA may not issue."}
    return {
        "name": "mail.example.org",
        "verdict": word,
        "error": error,
        "found_at": None,
        "issue": [],
        "findings": [finding],
        **more,
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (verdict("permitted"), None),
        (verdict("unrestricted"), None),
        (verdict("not_applicable"), None),
        (
            verdict("forbidden", found_at="example.org", issue=["other.example", ";"]),
            "mail.example.org: CAA records at example.org (other.example, ;) forbid the CA: The CA may not issue.",
        ),
        (
            verdict("error", "192.0.2.53 does not answer"),
            "mail.example.org: CAA records could not be looked up: 192.0.2.53 does not answer",
        ),
    ],
)
def test_records_that_forbid_or_are_not_known_speak_against_an_order(answer, words):
    found = _roles_certificate.objections({"results": [answer]}, {})
    assert found == ([words] if words else [])


def test_names_that_are_not_reached_speak_against_an_order_once_for_each_reason():
    reach = [("a.test", None), ("b.test", "no address"), ("c.test", "elsewhere"), ("d.test", "no address")]
    found = _roles_certificate.objections(
        {"skipped": True}, {"results": [{"name": name, "error": error} for name, error in reach]}
    )
    assert found == ["b.test d.test: no address", "c.test: elsewhere"]


# --- what is said ----------------------------------------------------------------------------------------------------


def looked(path="/a.pem", usable=True, **more):
    finding = {"id": "certificate.x", "severity": "warn", "subject": "CN=a", "message": "Soon.", "fix": "renew"}
    return {
        "path": path,
        "usable": usable,
        "certificate": {"not_after": "2027-01-01T00:00:00Z"},
        "findings": [finding, {**finding, "severity": "fail", "fix": ""}],
        **more,
    }


def said_of(*results, outcome=None):
    return _roles_certificate.report({"results": list(results)}, [], outcome or {})


def test_of_each_certificate_is_said_whether_it_can_be_used_and_then_the_worst_first():
    report = said_of(looked(), looked("/b.pem", False, certificate={}, findings=[]))
    assert report["lines"] == [
        "/a.pem: usable, valid until 2027-01-01T00:00:00Z",
        "fail: certificate.x (CN=a): Soon.",
        "warn: certificate.x (CN=a): Soon. renew",
        "/b.pem: not usable",
    ]
    assert report["bad"] == []


def test_what_could_not_be_looked_at_is_unknown_and_what_was_not_there_is_said():
    # Not failed: the role goes on with the others.
    report = _roles_certificate.report(
        {"failed": False, "msg": "no openssl"}, [{"chain": "/a.pem"}, {"chain": "/b.pem"}], {}
    )
    assert report["lines"] == ["unknown: /a.pem: no openssl", "unknown: /b.pem: no openssl"]
    assert _roles_certificate.report({"skipped": True}, [], {})["lines"] == ["no certificate to look at"]
    # The playbooks name none: the host is asked for those that it serves.
    report = _roles_certificate.report({"failed": True, "msg": "no openssl"}, [], {})
    assert report["lines"] == ["unknown: certificate.not_checked: no openssl"]


@pytest.mark.parametrize("failed", [True, False])
def test_an_order_is_said_first_and_fails_the_host_if_it_failed(failed):
    report = said_of(looked(findings=[]), outcome={"line": "ordered", "failed": failed})
    assert report["lines"][0] == "ordered"
    assert report["bad"] == (["ordered"] if failed else [])
