# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module caa_info: options, documentation, certificates, and a run through Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.modules import caa_info

from . import caa_bed
from .conftest import COLLECTIONS
from .test_caa_issuers import pem

LE = "letsencrypt.org"
NOBODY = "127.0.0.1:1"
ZONES = {
    "kopano.test.": f'@ CAA 0 issue "{LE}"\n@ CAA 0 issuewild ";"\n@ CAA 0 iodef "mailto:dns@kopano.test"\n',
    "other.test.": f'mail CAA 0 issue "{LE}"\n',
    "split.test.": "",
    "plain.test.": "",
    "bogus.test.": "",
    "expired.test.": "",
}


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("bed")
    with caa_bed.bed(directory, ZONES, {"split.test.": ""}) as started, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lookup, "AUTHORITY_PORT", started.port)
        yield started


def params(**changes):
    return {**{name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}, **changes}


def ask(bed, *names, **changes):
    return caa_info.run(params(names=list(names), nameservers=[bed.resolver], **changes))


def ids(result):
    return [finding["id"] for finding in result["findings"]]


# ---- Options


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nameservers": ["ns.example"]}, "ns.example"),
        ({"nameservers": ["192.0.2.1:0"]}, "port"),
        ({"nameservers": ["192.0.2.1:99999"]}, "port"),
        ({"nameservers": ["192.0.2.1:dns"]}, "ADDRESS"),
        ({"nameservers": ["2001:db8::1:53535:1:1:1"]}, "ADDRESS"),
        ({"nameservers": [""]}, "ADDRESS"),
        ({"issuer": "Let's Encrypt"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"issuer": "letsencrypt.org; accounturi=x"}, "issuer"),
        ({"account_uri": "https://acme.example/a b"}, "account_uri"),
        ({"account_uri": "https://acme.example/1;x=y"}, "account_uri"),
        ({"account_uri": ""}, "account_uri"),
        ({"validation_method": "http 01"}, "validation_method"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 65}, "concurrency"),
        ({"issuers": {"Mine": "ca.example"}}, "issuers: Mine"),
        ({"issuers": {"Mine": ["ca example"]}}, "issuers: Mine"),
        ({"issuers": {"Mine": [7]}}, "issuers: Mine"),
        ({"certificates": {"192.0.2.1": "PEM"}}, "certificates"),
        ({"expect": {"192.0.2.1": {}}}, "expect"),
        ({"expect": {"kopano.test": LE}}, "expect: kopano.test"),
        ({"expect": {"kopano.test": {"issuers": {}}}}, "expect: kopano.test"),
        ({"expect": {"kopano.test": {"issuer": "Let's Encrypt"}}}, "expect: kopano.test: issuer"),
        ({"expect": {"kopano.test": {"issuer": 7}}}, "expect: kopano.test: issuer"),
        ({"expect": {"kopano.test": {"account_uri": "a b"}}}, "expect: kopano.test: account_uri"),
        ({"expect": {"kopano.test": {"validation_method": ""}}}, "expect: kopano.test: validation_method"),
        ({"expect": {"kopano.test": {"wildcard": "yes"}}}, "expect: kopano.test: wildcard"),
    ],
)
def test_options_without_meaning_are_one_clear_error(changes, words):
    with pytest.raises(ValueError, match=words):
        caa_info.run(params(**{"names": ["kopano.test"], "nameservers": [NOBODY], **changes}))


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", ("192.0.2.1", 53, False)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353, False)),
        ("127.0.0.53", ("127.0.0.53", 53, True)),
        ("::1", ("::1", 53, True)),
        ("[2001:db8::1]", ("2001:db8::1", 53, False)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353, False)),
    ],
)
def test_name_servers(text, server):
    assert _nameservers.parse_server(text, False) == server
    assert _nameservers.parse_server(text, True).trusted
    assert _nameservers.parse_server(str(_nameservers.parse_server(text, False)), False) == server


def test_the_machines_own_name_servers(tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nsearch example.org\nnameserver 192.0.2.53\nnameserver ::1\n\nnameserver\n")
    servers = _nameservers.system_servers(False, str(path))
    assert servers == [("192.0.2.53", 53, False), ("::1", 53, True)]
    path.write_text("nameserver 192.0.2.53\noptions edns0 trust-ad\n")
    assert _nameservers.system_servers(False, str(path))[0].trusted
    for wrong, words in (("options edns0\n", "names no name server"), ("nameserver dns.example\n", "dns.example")):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=words):
            _nameservers.system_servers(False, str(path))
    with pytest.raises(ValueError, match="cannot be read"):
        _nameservers.system_servers(False, str(tmp_path / "absent"))


def test_no_names_no_queries():
    assert caa_info.run(params(names=[], nameservers=[NOBODY])) == {"results": [], "record_sets": [], "findings": []}


# ---- Names


def test_names_are_returned_in_order_and_once(bed):
    names = [
        "www.kopano.test",
        "192.0.2.1",
        "KOPANO.test.",
        "kopano.test",
        "*.kopano.test",
        "m\u00fcller.kopano.test",
        "a..b",
    ]
    answer = ask(bed, *names, issuer=LE)
    assert [(result["name"], result["verdict"]) for result in answer["results"]] == [
        ("www.kopano.test", "permitted"),
        ("192.0.2.1", "error"),
        ("KOPANO.test.", "permitted"),
        ("*.kopano.test", "forbidden"),
        ("m\u00fcller.kopano.test", "permitted"),
        ("a..b", "error"),
    ]
    assert "address" in answer["results"][1]["error"]
    assert ids(answer["results"][5]) == ["caa.name.invalid"]


def test_wildcard_is_a_query_of_its_own(bed):
    (plain,) = ask(bed, "kopano.test", issuer=LE)["results"]
    (wild,) = ask(bed, "kopano.test", issuer=LE, wildcard=True)["results"]
    assert (plain["verdict"], wild["verdict"]) == ("permitted", "forbidden")
    assert plain["issue"] == [LE]
    assert plain["issuewild"] == [";"]
    assert plain["iodef"] == ["mailto:dns@kopano.test"]
    assert plain["findings"] == []


def test_names_may_expect_different_things(bed):
    expect = {
        "WWW.kopano.test.": {"issuer": "digicert.com"},
        "kopano.test": {"wildcard": True},
        "mail.kopano.test": {"issuer": None},
    }
    names = ("www.kopano.test", "kopano.test", "mail.kopano.test", "other.kopano.test")
    answer = ask(bed, *names, issuer=LE, expect=expect, certificates={"mail.kopano.test": pem("Example Internal")})
    verdicts = [result["verdict"] for result in answer["results"]]
    assert verdicts == ["forbidden", "forbidden", "not_applicable", "permitted"]


def test_record_sets_are_what_a_place_shall_have(bed):
    answer = ask(bed, "mail.other.test", "www.kopano.test", "bogus.test", issuer=LE)
    entries = {entry["name"]: entry for entry in answer["record_sets"]}
    assert set(entries) == {"kopano.test", "mail.other.test", "other.test"}
    assert entries["kopano.test"]["current"] == entries["kopano.test"]["wanted"]
    assert entries["mail.other.test"]["current"] == ['0 issue "letsencrypt.org"']
    assert entries["mail.other.test"]["names"] == ["mail.other.test"]
    assert entries["other.test"]["lines"].splitlines()[0] == 'other.test. IN CAA 0 issue "letsencrypt.org"'
    assert all(entry["complete"] for entry in entries.values())
    assert {name: entry["zone"] for name, entry in entries.items()} == {
        "kopano.test": "kopano.test", "mail.other.test": "other.test", "other.test": "other.test",
    }  # fmt: skip
    assert entries["mail.other.test"]["records"][:2] == [
        {"flags": 0, "tag": "issue", "value": "letsencrypt.org"},
        {"flags": 0, "tag": "issuewild", "value": ";"},
    ]


def test_mail_domain_and_autodiscover(bed):
    answer = ask(bed, "mail.other.test", issuer=LE)
    related = [finding for finding in answer["findings"] if finding["id"] == "caa.related.uncovered"]
    assert [finding["subject"] for finding in related] == ["other.test", "autodiscover.other.test"]
    # The mailbox is that of the zone's SOA record, whose first label has a dot in it.
    assert related[0]["fix"] == (
        'other.test. IN CAA 0 issue "letsencrypt.org"\n'
        'other.test. IN CAA 0 issuewild ";"\n'
        'other.test. IN CAA 0 iodef "mailto:dns.team@other.test"'
    )


# ---- Certificates


@pytest.mark.parametrize(
    ("certificate", "changes", "verdict", "found"),
    [
        (pem("Let's Encrypt"), {}, "permitted", []),
        (pem("DigiCert Inc"), {}, "forbidden", ["caa.renewal.refused"]),
        (pem("DigiCert Inc"), {"issuer": LE}, "permitted", ["caa.renewal.refused"]),
        (pem("Let's Encrypt"), {"issuer": "digicert.com"}, "forbidden", ["caa.forbidden"]),
        (pem("Example Internal"), {}, "not_applicable", ["caa.not_applicable"]),
        (pem("Example Internal"), {"issuer": LE}, "permitted", []),
        (pem("Example Internal"), {"issuers": {"Example Internal": [LE]}}, "permitted", []),
        (
            pem("Example Internal"),
            {"issuers": {"Example Internal": ["ca.example"]}},
            "forbidden",
            ["caa.renewal.refused"],
        ),
        (pem("Let's Encrypt"), {"issuers": {"Let's Encrypt": []}}, "not_applicable", ["caa.not_applicable"]),
        (pem("QuoVadis Limited"), {}, "permitted", ["caa.issuer.unknown"]),
        ("rubbish", {}, "error", ["caa.certificate.unreadable"]),
        ("rubbish", {"issuer": LE}, "permitted", ["caa.certificate.unreadable"]),
    ],
)
def test_the_ca_of_the_served_certificate(bed, certificate, changes, verdict, found):
    answer = ask(bed, "www.kopano.test", certificates={"WWW.kopano.test.": certificate}, **changes)
    (result,) = answer["results"]
    assert (result["verdict"], ids(result)) == (verdict, found)
    assert bool(result["error"]) == (verdict == "error")


def test_a_certificate_of_a_private_ca_excuses_nothing_but_caa(bed):
    (result,) = ask(bed, "bogus.test", certificates={"bogus.test": pem("Example Internal")})["results"]
    assert (result["verdict"], result["dnssec"]) == ("not_applicable", "bogus")
    assert "EDE" in result["error"]


# ---- Documentation and Ansible


def walk(documented, value, where="results"):
    """Every documented key is returned with the documented type, and no other."""
    kinds = {"str": (str, type(None)), "int": int, "bool": bool, "list": list, "dict": dict}
    assert set(documented) == set(value), where
    for key, spec in documented.items():
        assert isinstance(value[key], kinds[spec["type"]]), f"{where}.{key}"
        if "contains" in spec:
            for item in value[key]:
                walk(spec["contains"], item, f"{where}.{key}")


def test_the_documentation_has_what_is_returned(bed):
    documented = yaml.safe_load(caa_info.RETURN)
    answer = ask(bed, "kopano.test", "mail.other.test", "bogus.test", issuer=LE)
    assert answer["findings"]
    walk(documented, answer)
    for name, spec in [*documented.items(), *documented["results"]["contains"].items()]:
        assert "sample" in spec or "contains" in spec or name == "findings"


def test_the_documentation_has_what_is_accepted():
    documented = yaml.safe_load(caa_info.DOCUMENTATION)["options"]
    plain = {name: {k: v for k, v in spec.items() if k != "description"} for name, spec in documented.items()}
    assert plain == caa_info.ARGUMENTS


def test_every_finding_is_in_the_catalogue_and_belongs_to_the_checklist(bed):
    answer = ask(bed, "kopano.test", "mail.other.test", "plain.test", "lame.test", "bogus.test", "x y", issuer=LE)
    assert len(answer["findings"]) > 5
    for finding in answer["findings"]:
        assert finding["id"] in _caa_catalogue.CATALOGUE
        assert finding["step"] == 4
        assert finding["fix"]
    assert len(answer["findings"]) == len({json.dumps(finding) for finding in answer["findings"]})


def ansible(tmp_path, module, *more, **arguments):
    """Run a module in check mode as Ansible does; returns exit status and result."""
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-o", "-c", "local", "--check", *more]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "ANSIBLE_REMOTE_TEMP": str(tmp_path),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "PYTHONPATH": "",
    }
    command += ["-m", f"kopano.hardening.{module}", "-a", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert "=> " in done.stdout, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout.partition("=> ")[2])


def test_a_run_through_ansible(bed, tmp_path):
    status, result = ansible(
        tmp_path, "caa_info", names=["www.kopano.test", "nonsense_"], nameservers=[bed.resolver], issuer=LE
    )
    assert status == 0, result
    assert result["changed"] is False
    assert [entry["verdict"] for entry in result["results"]] == ["permitted", "error"]


def test_an_error_through_ansible(tmp_path):
    status, result = ansible(tmp_path, "caa_info", names=["kopano.test"], nameservers=["dns.example"])
    assert status != 0
    assert result["msg"] == "nameservers: 'dns.example' is not ADDRESS or ADDRESS:PORT with an IP address"


def test_a_missing_library_is_named(tmp_path):
    """Import everything where dnspython cannot be found, and ask the module to run."""
    code = (
        "import sys; sys.modules['dns'] = None\n"
        "from ansible_collections.kopano.hardening.plugins.modules import caa_info\n"
        "from unittest import mock\n"
        "module = mock.Mock(); module.fail_json.side_effect = SystemExit\n"
        "with mock.patch.object(caa_info, 'AnsibleModule', return_value=module):\n"
        "    try: caa_info.main()\n"
        "    except SystemExit: print(module.fail_json.call_args.kwargs['msg'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "dnspython" in done.stdout


@pytest.mark.skipif(not Path(sys.executable).with_name("ansible-doc").exists(), reason="ansible-doc is not installed")
def test_ansible_doc_takes_the_documentation():
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", "kopano.hardening.caa_info"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    documented = json.loads(done.stdout)["kopano.hardening.caa_info"]
    assert set(documented["doc"]["options"]) == set(caa_info.ARGUMENTS)
    assert documented["examples"]
    assert documented["return"]
