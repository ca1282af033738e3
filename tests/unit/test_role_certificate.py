# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role certificate: its options, its parts on a made-up host, and what it reports."""

from __future__ import annotations

import copy
import json
import ssl
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.kopano.hardening.plugins.action import certificate as _action
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import acme_preflight as _acme_preflight
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.modules import acme_certificate, certificate_install
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import RoleError

from .role_frontend import host, vhost

ROLES = Path(__file__).parents[2] / "roles"


def load(role):
    return yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())


DEFAULTS = {name.removeprefix("certificate_"): value for name, value in load("certificate").items()}
OF_OTHERS = {
    name: {**load("caa"), **load("frontend"), **load("verify")}[name]
    for name in _roles_options.OF_OTHERS["certificate"]
}
SITE = {"certificate": "/etc/tls/chain.pem", "key": "/etc/tls/key.pem"}
ACME = {"source": "acme", "acme_terms_agreed": True}
DNS = {**ACME, "acme_challenge": "dns-01", "acme_dns_server": "192.0.2.53", "acme_dns_key_name": "k"}


def options(**changes):
    """The role's options as its action has them."""
    values = copy.deepcopy({**DEFAULTS, **OF_OTHERS})
    assert set(changes) <= set(values)
    return {**values, **changes}


def as_json(value):
    """What a module has returned, as it arrives."""
    return json.loads(json.dumps(value))


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
    assert _roles_certificate.option_errors(options(**changes)) == []


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
        ({"reload_services": ["dovecot", "-H"]}, "certificate_reload_services: '-H' is not the name of a systemd"),
        ({"reload_services": ["a.timer"]}, "certificate_reload_services: 'a.timer' is another kind of unit"),
        ({"key_mode": "0644"}, "certificate_key_mode: '0644' is not an octal number that leaves others without"),
        ({"selfsigned_days": 0}, "certificate_selfsigned_days: 0 is less than 1"),
        ({**ACME, "acme_terms_agreed": False}, "certificate_acme_terms_agreed: False orders nothing"),
        ({**ACME, "acme_directory": "http://ca/dir"}, "certificate_acme_directory: 'http://ca/dir' is not the URL"),
        ({**ACME, "acme_staging": "ca"}, "certificate_acme_staging: 'ca' is not the URL"),
        ({**ACME, "acme_directory": "https://["}, "certificate_acme_directory: 'https://[' is not the URL"),
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
    found = _roles_certificate.option_errors(options(**changes))
    assert len(found) == 1 and words in found[0], found


def test_certbots_own_files_are_no_place_to_install_at():
    own = {
        "frontend_tls_certificate": "/etc/letsencrypt/live/a/fullchain.pem",
        "frontend_tls_certificate_key": "/etc/letsencrypt/live/a/privkey.pem",
    }
    found = _roles_certificate.option_errors(options(**ACME, **own))
    assert [line.partition(":")[0] for line in found] == ["certificate_path", "certificate_key_path"]
    # Where nothing is installed they may be served.
    assert _roles_certificate.option_errors(options(**own)) == []


def test_no_secret_is_in_messages_about_options():
    secret = "two words\n"
    found = _roles_certificate.option_errors(
        options(**{**DNS, "acme_eab_kid": "k", "acme_eab_hmac_key": secret, "acme_dns_key_secret": secret})
    )
    assert len(found) == 2 and not any("two words" in line for line in found)


PAIRS = [
    {"chain": "a", "key": "b"},
    {"chain_file": "/a.pem", "key_file": "/a.key"},
]
EVERY = options(**{name: "x" for name, value in DEFAULTS.items() if value == ""})


@pytest.mark.parametrize("values", [options(), EVERY, options(**DNS)])
def test_the_modules_get_options_that_they_have(values):
    made = _roles_certificate.installation(values, ["a.test"])
    brought = [_roles_certificate.installation(values, ["a.test"], pair) for pair in PAIRS]
    renewed = _roles_certificate.renewal(values, [{"chain_file": "/a.pem", "key_file": "/a.key"}])
    known = certificate_install.ARGUMENT_SPEC
    for arguments in (made, *brought, renewed):
        assert set(arguments) <= set(known)
        assert all(set(item) <= set(known["certificates"]["options"]) for item in arguments["certificates"])
    assert set(made["self_signed"]) == set(known["self_signed"]["options"])
    order = _roles_certificate.order(values, ["a.test"])
    assert set(order) <= set(acme_certificate.ARGUMENT_SPEC)
    assert set(order.get("dns", {})) in (set(), set(acme_certificate.ARGUMENT_SPEC["dns"]["options"]))
    for pair in PAIRS:
        assert set(_roles_certificate.judgement(values, pair, ["a.test"])) <= set(_host_options.CERTIFICATES)


# --- what a host serves ----------------------------------------------------------------------------------------------


def test_names_are_those_that_a_client_could_request():
    found = _roles_certificate.served_names(
        info(
            vhost("nginx", names=["mail.example.org", "*.example.org", "_"]),
            vhost("nginx", names=["unknown.invalid", "www.example.com", "MAIL.example.org", "localhost"]),
            vhost("nginx", names=["plain.example.org"], tls=False),
        )
    )
    assert found == ["mail.example.org"]


def test_each_certificate_is_inspected_once_with_all_names_that_it_is_for():
    found = _roles_certificate.served(
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


def test_certificates_that_are_installed_are_where_the_site_reads_them():
    of_site = {"frontend_tls_certificate": SITE["certificate"], "frontend_tls_certificate_key": SITE["key"]}
    found = _roles_certificate.installed(
        options(**ACME, **of_site, acme_key_types=["ecdsa", "rsa"]), ["mail.example.org"]
    )
    assert [item["chain"] for item in found] == [SITE["certificate"], "/etc/tls/chain-rsa.pem"]
    assert found[0] == {"chain": SITE["certificate"], "key": SITE["key"], "names": ["mail.example.org"]}


def test_a_rehearsal_gets_a_pair_where_one_is_missing(tmp_path):
    places = _roles_certificate.places(SITE, ["ecdsa"])
    assert _roles_certificate.placeholders(places, [], ["mail.example.org"]) == []
    files = _roles_certificate.placeholders(places, [SITE["key"]], ["mail.example.org"])
    assert [entry["path"] for entry in files] == list(SITE.values()) and files[1]["mode"] == "0600"
    known = _transaction_options.ARGUMENT_SPEC["files"]["options"]
    assert all(set(entry) <= set(known) for entry in files)
    certificate = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(files[0]["content"]))
    assert certificate.dns_names == ["mail.example.org"]
    (tmp_path / "both").write_text(files[1]["content"] + files[0]["content"])
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "both")


def test_a_second_kind_of_key_has_a_place_beside_the_first_and_a_placeholder_of_its_kind():
    places = _roles_certificate.places({**SITE, "key": "/etc/tls.d/key"}, ["ecdsa", "rsa"])
    assert [(place["path"], place["key_path"]) for place in places] == [
        ("/etc/tls/chain.pem", "/etc/tls.d/key"),
        ("/etc/tls/chain-rsa.pem", "/etc/tls.d/key-rsa"),
    ]
    # Or where the role frontend has a place for it.
    named = {**SITE, "certificate_rsa": "/etc/rsa.pem", "key_rsa": "/etc/rsa.key"}
    assert _roles_certificate.places(named, ["ecdsa", "rsa"])[1]["path"] == "/etc/rsa.pem"
    assert _roles_certificate.places(named, ["rsa"])[0]["path"] == SITE["certificate"]
    chain, _key = _roles_certificate.placeholders(places, [places[1]["path"]], [])
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
            verdict("error", "192.0.2.53 does not respond"),
            "mail.example.org: CAA records could not be looked up: 192.0.2.53 does not respond",
        ),
    ],
)
def test_records_that_forbid_or_are_not_known_speak_against_an_order(answer, words):
    found = _roles_certificate.objections(options(), {"results": [answer]}, {})
    assert found == ([words] if words else [])


def test_names_that_are_not_reached_speak_against_an_order_once_for_each_reason():
    reach = [("a.test", None), ("b.test", "no address"), ("c.test", "elsewhere"), ("d.test", "no address")]
    results = [{"name": name, "error": error} for name, error in reach]
    found = _roles_certificate.objections(options(), None, {"results": results})
    assert found == ["b.test d.test: no address", "c.test: elsewhere"]


def test_a_challenge_that_is_not_served_names_directory_and_option():
    error = f"192.0.2.10 responds with status 404: it is not this host, or port 80 {_acme_preflight.NOT_SERVED}"
    reach = {"results": [{"name": "mail.example.org", "error": error}]}
    (found,) = _roles_certificate.objections(options(acme_webroot="/srv/www"), None, reach)
    assert _acme_preflight.NOT_SERVED == _roles_certificate.NOT_SERVED
    assert found.startswith(f"mail.example.org: {error}, which is /srv/www/.well-known/acme-challenge: ")
    assert "certificate_acme_webroot" in found


MISSING = {"failed": True, "msg": "No package matching 'certbot' is available"}


def test_package_lists_that_were_never_fetched_are_fetched():
    host = acme({"host": HOST}, package=[MISSING, {"changed": True}])
    host.part("install", order_follows=True)
    host.part("order")
    first = {"name": ["certbot"], "state": "present"}
    assert host.called("package") == [first, {**first, "update_cache": True}]
    assert not host.fact["certificate"]["report"]["bad"]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("debian", ["certbot", "python3-certbot-dns-rfc2136"]),
        ("redhat", ["certbot", "python3-certbot-dns-rfc2136"]),
        ("suse", ["python3-certbot", "certbot-systemd-timer", "python3-certbot-dns-rfc2136"]),
        (None, ["certbot", "python3-certbot-dns-rfc2136"]),
    ],
)
def test_certbot_comes_with_its_timer_from_the_packages_of_the_hosts_family(family, expected):
    system = {"os": {"family": family, "pretty_name": ""}} if family else {"failed": True, "msg": "no answer"}
    host = acme({"host": {**HOST, "frontend": {**HOST["frontend"], **system}}})
    host.values.update(DNS, acme_dns_key_secret="c2VjcmV0")
    host.part("order")
    assert host.called("package")[0]["name"] == expected


def test_a_dry_run_fetches_no_package_lists_and_reports_what_would():
    host = acme({"host": HOST}, check=True, package=MISSING)
    host.part("install", order_follows=True)
    host.part("order")
    assert len(host.called("package")) == 1
    (bad,) = host.fact["certificate"]["report"]["bad"]
    assert "No package matching 'certbot' is available" in bad and "apt-get update" in bad


# --- what is reported ------------------------------------------------------------------------------------------------


def inspected(path="/a.pem", usable=True, **more):
    finding = {"id": "certificate.x", "severity": "warn", "subject": "CN=a", "message": "Soon.", "fix": "renew"}
    return {
        "path": path,
        "usable": usable,
        "certificate": {"not_after": "2027-01-01T00:00:00Z"},
        "findings": [finding, {**finding, "severity": "fail", "fix": ""}],
        **more,
    }


def report_on(*results, outcome=None):
    return _roles_certificate.report({"results": list(results)}, [], outcome or {})


def test_each_certificate_is_reported_with_whether_it_can_be_used_and_then_the_worst_first():
    report = report_on(inspected(), inspected("/b.pem", False, certificate={}, findings=[]))
    assert report["lines"] == [
        "/a.pem: usable, valid until 2027-01-01T00:00:00Z",
        "fail: certificate.x (CN=a): Soon.",
        "warn: certificate.x (CN=a): Soon.",
        "  fix: renew",
        "/b.pem: not usable",
    ]
    assert report["bad"] == []


def test_many_certificates_are_no_more_lines_than_a_few():
    soon = {"not_after": "2026-12-01T00:00:00Z"}
    results = [inspected(f"/{number}.pem", usable=number != 7) for number in range(500)]
    report = report_on(*results[:-1], inspected("/499.pem", certificate=soon))
    assert report["lines"] == [
        "/0.pem and 498 more: usable, valid until 2026-12-01T00:00:00Z or longer",
        "/7.pem: not usable, valid until 2027-01-01T00:00:00Z",
        "fail: certificate.x (CN=a): Soon.",
        "warn: certificate.x (CN=a): Soon.",
        "  fix: renew",
    ]
    places = [{"chain": f"/{number}.pem"} for number in range(500)]
    report = _roles_certificate.report({"failed": True, "msg": "no openssl"}, places, {})
    assert report["lines"] == ["unknown: /0.pem and 499 more: no openssl"]


def test_what_could_not_be_inspected_is_unknown_and_what_was_not_there_is_reported():
    report = _roles_certificate.report(
        {"failed": True, "msg": "no openssl"}, [{"chain": "/a.pem"}, {"chain": "/b.pem"}], {}
    )
    assert report["lines"] == ["unknown: /a.pem: no openssl", "unknown: /b.pem: no openssl"]
    assert _roles_certificate.report({"results": []}, [], {})["lines"] == ["no certificate to inspect"]
    # Whose virtual hosts could not be read has none by name.
    report = _roles_certificate.report({"failed": True, "msg": "no openssl"}, [], {})
    assert report["lines"] == ["unknown: certificate.not_checked: no openssl"]


@pytest.mark.parametrize("failed", [True, False])
def test_an_order_is_reported_first_and_fails_the_host_if_it_failed(failed):
    report = report_on(inspected(findings=[]), outcome={"line": "ordered", "failed": failed})
    assert report["lines"][0] == "ordered"
    assert report["bad"] == (["ordered"] if failed else [])


# --- the parts on a made-up host -------------------------------------------------------------------------------------

NAMES = ["mail.example.org"]
PLACE = "/etc/kopano-hardening/tls/fullchain.pem"
GOOD = inspected(PLACE, findings=[])
INSTALLED = {
    "changed": True,
    "diff": [{"after": "x"}],
    "units": ["kopano-ical"],
    "served": NAMES,
    "services": [],
    "kept": ["id-1"],
    "reason": "",
    "missing": [],
}
SELF_SIGNED = {**INSTALLED, "units": [], "kept": [], "reason": "it is not there"}
NEEDED = {
    "changed": False,
    "needed": True,
    "reason": "there is none yet",
    "account_uri": "",
    "caa_identities": ["ca.test"],
    "certificates": [{"chain_file": "/etc/letsencrypt/chain", "key_file": "/etc/letsencrypt/key"}],
}
UNNEEDED = {**NEEDED, "needed": False, "reason": ""}
PERMITTED = {"results": [verdict("permitted")]}
REACHED = {"results": [{"name": NAMES[0], "error": None}]}
FAILED = {"failed": True, "msg": "it is broken"}
HOST = as_json({"updates": {"pending": 0}, "frontend": info(), "certificates": {"results": []}, "web_config": {}})
QUERIED = as_json({"frontend": info(), "certificates": {"results": []}})
FROM = "from https://acme-v02.api.letsencrypt.org/directory"
STAYS = "the previous one is still served"
BOOTSTRAP = "a self-signed bootstrap certificate is there until then, which browsers and phones refuse"


class Task:
    def __init__(self, part, check_mode, more):
        self.args, self.check_mode = {"part": part, **more}, check_mode


class Host(_action.ActionModule):
    """The action where each module returns what a test says, by its name without the collection's; the last one again
    and again. What is called is noted, in its order."""

    def __init__(self, values, fact=None, check=False, **results):
        self.values, self.check, self.results = options(**values), check, {"host_info": QUERIED, **results}
        self.variables = _host_fact.update({}, **(fact or {}))
        self.calls = []

    def part(self, part, **more):
        self._task = Task(part, self.check, more)
        result = self.act(self.values, self.variables)
        self.variables = {"ansible_facts": {**self.variables["ansible_facts"], **result.get("ansible_facts", {})}}
        return result

    @property
    def fact(self):
        return _host_fact.read(self.variables)

    def called(self, name):
        return [arguments for one, arguments in self.calls if one == name]

    def _result(self, name, arguments):
        self.calls.append((name, arguments))
        results = self.results.get(name, {"changed": False})
        result = (results.pop(0) if len(results) > 1 else results[0]) if isinstance(results, list) else results
        if isinstance(result, Exception):
            raise result
        return copy.deepcopy(result)

    def _execute_module(self, name, module_args, task_vars):
        return self._result(name.rpartition(".")[2], module_args)

    def run_action(self, name, variables, arguments):
        return self._result(name.rpartition(".")[2], arguments)

    def run_here(self, module, **arguments):
        result = self._result(module.__name__.rpartition(".")[2], arguments)
        if result.get("failed"):
            raise RoleError(result["msg"])
        return result

    def query(self, variables, *parts, first=True):
        known = _host_fact.read(variables).get("host") or {}
        if not set(parts) <= set(known):
            known = {**known, **self._result("host_info", {"parts": set(parts)})}
        return known


def acme(fact=None, check=False, **results):
    """A host whose certificate a CA is to issue; what results says nothing of goes well."""
    given = {"acme_certificate": [NEEDED, {"changed": True}], "certificate_install": INSTALLED}
    given.update({"certificate_info": {"results": [GOOD]}, "caa_info": PERMITTED, "acme_reach_info": REACHED})
    return Host({**ACME, "names": NAMES}, fact, check, **{**given, **results})


def checked(host):
    """What part check makes of it: lines, and what it fails for."""
    try:
        return host.part("check")["lines"], None
    except RoleError as error:
        return error.result["lines"], str(error)


def test_what_is_installed_is_returned_reported_and_drops_what_is_no_longer_true():
    host = Host({"source": "selfsigned", "names": NAMES}, {"host": HOST}, certificate_install=SELF_SIGNED)
    result = host.part("install")
    place = {"path": PLACE, "key_path": "/etc/kopano-hardening/tls/privkey.pem", "key_type": "ecdsa"}
    assert (result["certificates"], result["names"], result["missing"]) == ([place], NAMES, [])
    assert result["changed"] and result["diff"] == SELF_SIGNED["diff"]
    assert result["outcome"] == [f"installed {PLACE}; self-signed, {_roles_certificate.UNTRUSTED}"]
    assert set(host.fact["host"]) == {"updates"}
    (arguments,) = host.called("certificate_install")
    assert arguments["self_signed"] == {"names": NAMES, "days": 90, "bootstrap": False}
    assert (arguments["renewal"], arguments["kopano"]) == (False, True)


def test_what_is_there_already_changes_nothing_and_is_reported_only_if_no_client_trusts_it():
    same = {**INSTALLED, "changed": False, "diff": []}
    host = Host({"source": "selfsigned", "names": NAMES}, {"host": HOST}, certificate_install=same)
    result = host.part("install")
    assert result["outcome"] == [f"{PLACE} is self-signed: {_roles_certificate.UNTRUSTED}"]
    assert "changed" not in result
    assert host.fact["host"] == HOST
    assert not acme(certificate_install=same).part("install")["outcome"]


def test_a_dry_run_reports_what_it_would_install_and_inspects_nothing_that_is_missing():
    host = Host({"source": "selfsigned", "names": NAMES}, {"host": HOST}, True,
                certificate_install={**INSTALLED, "missing": [PLACE]})  # fmt: skip
    result = host.part("install")
    assert result["missing"] == [PLACE]
    assert result["outcome"] == [f"would install {PLACE}; for kopano-ical; what it replaced is kept as id-1"]
    assert host.fact["host"] == HOST
    host.part("order")
    assert checked(host) == (["no certificate to inspect"], None)
    assert not host.called("certificate_info") and host.fact["certificate"]["inspected"] == {"results": []}


@pytest.mark.parametrize(("stat", "installs"), [({"exists": False}, True), ({"exists": True}, False)])
def test_the_distributions_certbot_is_not_installed_beside_a_snap(stat, installs):
    host = acme(stat={"changed": False, "stat": stat})
    host.part("install")
    host.part("order")
    assert [arguments["path"] for arguments in host.called("stat")] == ["/snap/bin/certbot"]
    assert bool(host.called("acme_certificate"))
    packages = [arguments["name"] for name, arguments in host.calls if name == "package"]
    assert packages == ([["certbot"]] if installs else [])


def test_names_that_no_option_has_are_those_of_the_virtual_hosts():
    frontend = {"frontend": info(vhost("nginx", names=NAMES))}
    host = Host({"source": "selfsigned"}, host_info=frontend, certificate_install=INSTALLED)
    assert host.part("install")["names"] == NAMES
    assert host.called("host_info") == [{"parts": {"frontend"}}]
    host = Host({"source": "selfsigned"}, {"host": HOST})
    with pytest.raises(RoleError, match="leaves the choice to this host, which has no TLS virtual host; name them"):
        host.part("install")
    assert not host.calls


def test_where_nothing_is_to_be_installed_only_what_is_served_is_inspected():
    good = {"results": [inspected("/a.pem", findings=[])]}
    host = Host({}, host_info={"frontend": info(vhost("nginx")), "certificates": good})
    assert "certificates" not in host.part("install")
    host.part("order")
    assert checked(host) == (["/a.pem: usable, valid until 2027-01-01T00:00:00Z"], None)
    assert [name for name, _arguments in host.calls] == ["host_info"]
    assert host.fact["certificate"]["inspected"] == good


def test_what_cannot_be_inspected_fails_no_host():
    served = info(vhost("nginx", certificate="/a.pem", key="/a.key"))
    host = Host({}, host_info={"frontend": served, "certificates": FAILED})
    host.part("inspect")
    assert checked(host) == (["unknown: /a.pem: it is broken"], None)
    assert host.fact["certificate"]["inspected"] == FAILED
    host = acme(certificate_info=FAILED)
    host.part("install")
    host.part("order")
    assert checked(host)[0][-1] == f"unknown: {PLACE}: it is broken"
    assert host.fact["certificate"]["inspected"] == FAILED


def test_the_site_that_a_dry_run_has_planned_is_inspected_too():
    site = {"certificate": "/site.pem", "certificate_key": "/site.key", "names": NAMES}
    fact = {"host": HOST, "frontend": {"changed": True, "site": site}}
    host = Host({}, fact, True, certificate_info={"results": [GOOD]})
    host.part("order")
    (arguments,) = host.called("certificate_info")
    assert arguments["certificates"] == [{"chain": "/site.pem", "key": "/site.key", "names": NAMES}]
    assert arguments["self_signed_ok"] is False
    # One that is there already is among what the host has returned.
    host = Host({}, {**fact, "frontend": {"changed": False, "site": site}}, True)
    host.part("order")
    assert not host.calls


@pytest.mark.parametrize(
    ("values", "judged", "installed"),
    [
        (
            {"chain_content": "chain", "key_content": "secret"},
            {"chain_content": "chain", "key_content": "secret"},
            {"chain": "chain", "key": "secret"},
        ),
        (
            {"chain": "/a.pem", "key": "/a.key", "remote": True},
            {"chain": "/a.pem", "key": "/a.key"},
            {"chain_file": "/a.pem", "key_file": "/a.key"},
        ),
    ],
)
def test_what_is_brought_is_judged_and_then_installed(values, judged, installed):
    host = Host(
        {**values, "names": NAMES, "ca_file": "/ca.pem"}, None, False,
        certificate_info=[inspected(findings=[]), {"results": [GOOD]}], certificate_install=INSTALLED,
    )  # fmt: skip
    host.part("install")
    assert host.called("certificate_info") == [{**judged, "names": NAMES, "ca_file": "/ca.pem"}]
    (arguments,) = host.called("certificate_install")
    place = {"path": PLACE, "key_path": "/etc/kopano-hardening/tls/privkey.pem"}
    assert arguments["certificates"] == [{**place, **installed}] and "self_signed" not in arguments
    host.part("order")
    assert host.called("certificate_info")[-1]["ca_file"] == "/ca.pem"
    assert "secret" not in repr(host.variables)


def test_the_authorities_of_the_role_verify_are_enough(tmp_path):
    """One option for one authority, from the controller; a file of the host's own goes before it."""
    (tmp_path / "root.pem").write_text("ROOT")
    values = {"chain_content": "chain", "key_content": "secret", "names": NAMES}
    values["verify_ca_file"] = str(tmp_path / "root.pem")
    host = Host(values, certificate_info=inspected(findings=[]), certificate_install=INSTALLED)
    host.part("install")
    (arguments,) = host.called("certificate_info")
    assert arguments["ca_content"] == "ROOT" and "ca_file" not in arguments
    assert _roles_certificate.query(host.values)["ca_content"] == "ROOT"
    assert _roles_certificate.authorities({**host.values, "ca_file": "/ca.pem"}) == {"ca_file": "/ca.pem"}
    assert _roles_certificate.authorities(options()) == {}


def test_authorities_that_are_not_on_the_controller_are_refused_before_anything_is_done():
    found = _roles_certificate.option_errors(options(verify_ca_file="/nowhere.pem"))
    assert found == ["verify_ca_file: '/nowhere.pem' cannot be read on the controller: No such file or directory"]


def test_an_option_that_the_host_refuses_is_named_as_the_role_has_it():
    failed = {"failed": True, "msg": "ca_file: /no.pem: No such file or directory"}
    values = {"chain_content": "chain", "key_content": "secret", "names": NAMES, "ca_file": "/no.pem"}
    with pytest.raises(RoleError, match=r"^certificate_ca_file, a path on the host: /no\.pem: No such file"):
        Host(values, certificate_info=failed).part("install")


@pytest.mark.parametrize(("usable", "severity"), [(False, "fail"), (True, "unknown")])
def test_what_has_a_defect_or_is_unknown_is_refused(usable, severity):
    finding = {
        "id": "certificate.x",
        "severity": severity,
        "subject": "CN=a",
        "message": "No.",
        "fix": "",
        "evidence": "e",
    }
    host = Host({"chain_content": "chain", "key_content": "secret", "names": NAMES},
                certificate_info={"usable": usable, "findings": [finding], "invocation": "secret"})  # fmt: skip
    with pytest.raises(RoleError) as refused:
        host.part("install")
    assert str(refused.value) == f"{severity}: certificate.x (CN=a): No."
    assert not host.called("certificate_install") and "secret" not in repr(refused.value.result)


def test_a_failed_installation_has_all_that_its_module_returns_but_its_arguments():
    failed = {**FAILED, "rolled_back": True, "failure": {"phase": "rehearse"}, "invocation": {"key": "secret"}}
    host = Host({"source": "selfsigned", "names": NAMES}, certificate_install=failed)
    with pytest.raises(RoleError, match="it is broken") as error:
        host.part("install")
    assert error.value.result == {"failed": True, "rolled_back": True, "failure": {"phase": "rehearse"}}


def test_an_order_brings_what_the_ca_has_issued_and_its_renewals():
    host = acme({"host": HOST})
    assert "changed" not in host.part("install", order_follows=True)
    assert not host.calls  # an order that succeeds needs nothing before it
    result = host.part("order")
    assert result["changed"] and result["diff"] == INSTALLED["diff"]
    assert result["outcome"] == [checked(host)[0][0]]
    assert [name for name, _arguments in host.calls] == [
        *("stat", "package", "acme_certificate", "caa_info", "file", "copy", "acme_reach_info", "file"),
        *("acme_certificate", "certificate_install", "host_info", "certificate_info"),
    ]
    assert host.called("package") == [{"name": ["certbot"], "state": "present"}]
    assert [arguments["order"] for arguments in host.called("acme_certificate")] == [False, True]
    (install,) = host.called("certificate_install")
    assert install["renewal"] is True and install["kopano"] is True
    assert install["certificates"][0]["path"] == PLACE
    assert install["certificates"][0]["chain_file"] == "/etc/letsencrypt/chain"
    words = f"certificate {FROM} (new: there is none yet), served for {NAMES[0]}, in kopano-ical, "
    assert checked(host)[0][0] == words + "what it replaced is kept as id-1"
    assert checked(host)[1] is None
    # What others saw of the host before is no longer true.
    assert host.fact["host"] == {"updates": HOST["updates"], **QUERIED}


SERVICES = ["postfix", "dovecot"]
NOT_RELOADED = {
    **INSTALLED,
    "failed": True,
    "services": ["postfix"],
    "not_reloaded": ["dovecot"],
    "msg": "reload_services: 'dovecot' does not exist on this host; the certificate is installed",
}
REFUSED = "certificate_reload_services: 'dovecot' does not exist on this host; the certificate is installed"


def test_services_get_what_is_brought_and_what_was_ordered_but_no_bootstrap_certificate():
    brought = Host(
        {"source": "selfsigned", "names": NAMES, "reload_services": SERVICES},
        certificate_install={**SELF_SIGNED, "services": ["postfix"]},
    )
    assert brought.part("install")["outcome"][0].endswith("; reloaded postfix")
    assert brought.called("certificate_install")[0]["reload_services"] == SERVICES
    again = {**INSTALLED, "diff": [], "services": ["postfix"]}
    brought = Host({"source": "existing", "chain_content": "a", "key_content": "b", "names": NAMES}, check=True,
                   certificate_install=again, certificate_info={"usable": True, "findings": []})  # fmt: skip
    assert brought.part("install")["outcome"] == ["would reload postfix"]
    ordered = acme(certificate_install={**INSTALLED, "services": SERVICES})
    ordered.values.update(reload_services=SERVICES)
    ordered.part("install")
    ordered.part("order")
    before, after = ordered.called("certificate_install")
    assert (before["reload_services"], after["reload_services"]) == ([], SERVICES)
    assert "in kopano-ical postfix dovecot, " in checked(ordered)[0][0]


def test_a_service_that_is_not_reloaded_fails_the_host_and_the_certificate_is_said_to_be_there():
    brought = Host({"source": "selfsigned", "names": NAMES}, certificate_install=NOT_RELOADED)
    with pytest.raises(RoleError) as caught:
        brought.part("install")
    assert str(caught.value) == REFUSED
    ordered = acme({"host": HOST}, certificate_install=[{**INSTALLED, "changed": False}, NOT_RELOADED])
    ordered.part("install")
    assert ordered.part("order")["changed"]
    line = f"certificate {FROM}: {REFUSED}"
    assert checked(ordered) == ([line, f"{PLACE}: usable, valid until 2027-01-01T00:00:00Z"], line)


def test_without_a_need_nothing_is_ordered():
    same = {**INSTALLED, "changed": False, "diff": [], "served": [], "units": [], "kept": []}
    host = acme({"host": HOST}, acme_certificate=UNNEEDED, certificate_install=same)
    host.part("install", order_follows=True)
    result = host.part("order")
    assert "changed" not in result and result["outcome"] == []
    assert [name for name, _arguments in host.calls] == [
        *("stat", "package", "acme_certificate", "certificate_install", "certificate_info"),
    ]
    assert checked(host)[0][0] == f"certificate {FROM}, served by no virtual host: none reads {PLACE}"
    assert host.fact["host"] == HOST


def test_before_an_order_the_ca_is_looked_up_and_the_challenge_is_fetched_from_here():
    host = acme()
    host.values.update(caa_nameservers=["192.0.2.1"], caa_timeout=7.0, frontend_acme_root="/srv/acme")
    host.part("install", order_follows=True)
    host.part("order")
    (caa,) = host.called("caa_info")
    assert (caa["issuer"], caa["validation_method"], caa["account_uri"]) == ("ca.test", "http-01", None)
    (reach,) = host.called("acme_reach_info")
    assert {caa["timeout"], reach["timeout"]} == {7.0} and reach["nameservers"] == caa["nameservers"] == ["192.0.2.1"]
    (copied,) = host.called("copy")
    created, removed = host.called("file")
    assert created["path"] == "/srv/acme/.well-known/acme-challenge" and created["state"] == "directory"
    assert copied["dest"] == removed["path"] == f"/srv/acme{reach['path']}" and removed["state"] == "absent"
    assert copied["content"] == reach["content"]


def test_a_challenge_by_dns_needs_no_file_and_no_preflight_is_none():
    host = acme()
    host.values.update(DNS, acme_dns_key_secret="c2VjcmV0")
    host.part("order")
    assert not host.called("copy") and host.called("caa_info")
    assert host.called("package")[0]["name"] == ["certbot", "python3-certbot-dns-rfc2136"]
    host = acme()
    host.values.update(acme_preflight=False)
    host.part("order")
    assert not host.called("copy") and not host.called("caa_info") and len(host.called("acme_certificate")) == 2


def test_a_dry_run_orders_nothing_and_puts_no_file_anywhere():
    host = acme({"host": HOST}, True, certificate_install={**SELF_SIGNED, "missing": [PLACE]},
                acme_certificate=[NEEDED, {"changed": True}])  # fmt: skip
    # Nothing is left to an order that is not done.
    assert host.part("install", order_follows=True)["missing"] == [PLACE]
    assert host.part("order")["changed"]
    assert not host.called("host_info")
    assert not host.called("copy") and set(host.called("acme_reach_info")[0]) == {"names", "nameservers", "timeout"}
    assert len(host.called("certificate_install")) == 1
    assert checked(host) == (["would order a certificate (there is none yet)"], None)
    assert host.fact["host"] == HOST


FORBIDDEN = {"results": [verdict("forbidden")]}
UNREACHED = {"results": [{"name": NAMES[0], "error": "no address"}]}


@pytest.mark.parametrize(
    ("results", "lost", "reason"),
    [
        ({"package": FAILED}, "no certificate", "it is broken"),
        ({"package": AnsibleActionFail("no package manager")}, "no certificate", "no package manager"),
        ({"acme_certificate": FAILED}, "no certificate", "it is broken"),
        ({"acme_certificate": [NEEDED, FAILED]}, "no certificate", "it is broken"),
        ({"caa_info": FAILED}, "no certificate", "it is broken"),
        (
            {"caa_info": FORBIDDEN, "acme_reach_info": UNREACHED},
            "no certificate",
            "nothing was ordered; mail.example.org: CAA records forbid the CA: The CA may not issue.; "
            "mail.example.org: no address",
        ),
        ({"acme_reach_info": FAILED}, "no certificate", "it is broken"),
        ({"copy": FAILED}, "no certificate", "it is broken"),
        ({"certificate_install": [INSTALLED, FAILED]}, "the new certificate is not in use", "it is broken"),
    ],
)
def test_an_order_that_fails_leaves_what_works_and_fails_the_host_after_it_was_inspected(results, lost, reason):
    host = acme(**{"certificate_install": [{**INSTALLED, "changed": False}], **copy.deepcopy(results)})
    host.part("install")
    host.part("order")
    line = f"{lost} {FROM}, {STAYS}: {reason}"
    assert checked(host) == ([line, f"{PLACE}: usable, valid until 2027-01-01T00:00:00Z"], line)
    assert host.fact["certificate"]["inspected"] == {"results": [GOOD]}
    # The file for the challenge is removed in any case.
    assert [entry["state"] for entry in host.called("file")] in ([], ["directory", "absent"])
    assert not (host.called("copy") and len(host.called("file")) < 2)


def test_where_the_order_fails_and_nothing_works_a_self_signed_certificate_is_made():
    host = acme(acme_certificate=FAILED, certificate_install={**SELF_SIGNED, "kept": ["id-2"]})
    host.part("install", order_follows=True)
    assert host.part("order")["changed"]
    (arguments,) = host.called("certificate_install")
    assert arguments["self_signed"]["bootstrap"] is True and arguments["kopano"] is False
    assert "renewal" not in arguments
    assert checked(host)[1] == f"no certificate {FROM}, {BOOTSTRAP}, what it replaced is kept as id-2: it is broken"
    # One that was made before it has been reported by then.
    host = acme(acme_certificate=FAILED, certificate_install={**SELF_SIGNED, "kept": ["id-2"]})
    assert host.part("install")["outcome"][0].endswith("what it replaced is kept as id-2")
    host.part("order")
    assert len(host.called("certificate_install")) == 1
    assert checked(host)[1] == f"no certificate {FROM}, {BOOTSTRAP}: it is broken"


def test_where_neither_can_be_had_both_reasons_are_reported():
    host = acme(acme_certificate=FAILED, certificate_install={"failed": True, "msg": "no space"})
    host.part("install", order_follows=True)
    host.part("order")
    instead = "nor could a self-signed bootstrap certificate be installed (no space)"
    assert checked(host)[1] == f"no certificate {FROM}, {instead}: it is broken"


def test_a_connection_that_is_lost_is_no_order_that_failed():
    host = acme(acme_certificate=AnsibleConnectionFailure("gone"))
    host.part("install", order_follows=True)
    with pytest.raises(AnsibleConnectionFailure):
        host.part("order")


def test_a_host_of_which_nothing_was_inspected_is_no_pass():
    with pytest.raises(RoleError, match="no certificate of this host was inspected in this run"):
        acme().part("check")
