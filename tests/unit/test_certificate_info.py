# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module certificate_info: options, files and who can read them, documentation, and runs as Ansible does them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.parameters import PASS_VARS

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.modules import certificate_info

from . import tls_bed as bed
from .test_caa_module import ansible

NAME = "ansible_collections.kopano.hardening.plugins.modules.certificate_info"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("certificate_info"))
    made.leaf("good", key="ec")
    made.run("pkey", "-in", "good.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.key")
    return made


@pytest.fixture
def files(pki, tmp_path):
    """Copies of a good chain and its key, that a test may spoil."""
    for name, mode in (("good.chain", 0o644), ("good.key", 0o600), ("root.pem", 0o644)):
        (tmp_path / name).write_bytes(Path(pki.path(name)).read_bytes())
        (tmp_path / name).chmod(mode)
    return tmp_path


def params(**given):
    return {**{name: spec.get("default") for name, spec in _host_options.CERTIFICATES.items()}, **given}


def look(files, **given):
    given = {"chain": str(files / "good.chain"), "key": str(files / "good.key"), "names": ["good.test"], **given}
    return _certificate_info.run(params(**given))


def ids(answer):
    return sorted(finding["id"].partition(".")[2] for finding in answer["findings"])


def process(stdin=None, **arguments):
    """Run the module as a process; gives its answer and all that it said."""
    arguments.setdefault("_ansible_remote_tmp", "/tmp")
    # As with -vvv, which every ansible-core once took for granted.
    if "inject_invocation" in PASS_VARS:
        arguments["_ansible_inject_invocation"] = True
    done = subprocess.run(
        [sys.executable, "-m", NAME],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        text=True,
        capture_output=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stdout + done.stderr


def lines_of(path):
    """The lines of a key that nobody may see."""
    return [line for line in Path(path).read_text().split("\n") if line and not line.startswith("-----")]


def test_a_good_one_by_path_and_by_content(files):
    answer = look(files)
    assert (ids(answer), answer["usable"], answer["renew_due"]) == ([], True, False)
    assert answer["key"]["mode"] == "0600"
    content = look(
        files,
        chain=None,
        key=None,
        chain_content=(files / "good.chain").read_text(),
        key_content=(files / "good.key").read_text(),
    )
    assert (content["certificate"]["subject"], content["findings"]) == (answer["certificate"]["subject"], [])
    assert content["key"] is None


def test_several_in_one_call(files):
    """Each is judged as if it were alone, with the authorities and the time of all."""
    (files / "other.chain").write_text("nothing")
    items = [
        {"chain": str(files / "good.chain"), "key": str(files / "good.key"), "names": ["good.test"]},
        {"chain": str(files / "other.chain"), "key": None, "names": []},
    ]
    both = {"ca_file": str(files / "root.pem"), "now": "2019-01-01T00:00:00Z"}
    answer = _certificate_info.run(params(certificates=items, **both))
    alone = [_certificate_info.run(params(**item, **both)) for item in items]
    assert [ids(one) for one in alone] == [["chain.expired", "not_yet_valid"], ["chain.empty", "key.unknown"]]
    assert answer == {"results": [dict(one, path=item["chain"]) for one, item in zip(alone, items, strict=True)]}


def test_authorities(files):
    assert ids(look(files, ca_file=str(files / "root.pem"))) == []
    (files / "good.chain").write_bytes((files / "root.pem").read_bytes())
    assert "chain.incomplete" not in ids(look(files, ca_file=str(files / "root.pem")))


def test_authorities_that_a_chain_may_lead_to(pki, files):
    """Those of a private CA are given for all certificates, also for those of other CAs."""
    pki.leaf("direct", issuer="root", key="ec")
    pki.leaf("elsewhere", issuer=None, key="ec", ca=True, names=())
    direct = {"chain": pki.path("direct.chain"), "key": pki.path("direct.key")}
    root, other = (Path(pki.path(name)).read_text() for name in ("root.pem", "elsewhere.pem"))
    assert ids(look(files, **direct)) == ["chain.unknown"]
    assert ids(look(files, **direct, ca_content=root)) == []
    # What leads to none of them is judged as if they were not given.
    assert ids(look(files, **direct, ca_content=other)) == ["chain.unknown"]
    assert ids(look(files, ca_content=other)) == []
    assert ids(look(files, ca_file=str(files / "root.pem"), ca_content=other)) == []


def test_the_time_can_be_chosen(files):
    assert ids(look(files, now="2019-01-01T00:00:00Z")) == ["chain.expired", "not_yet_valid"]


# Files


def test_files_that_are_none(files):
    (files / "folder").mkdir()
    os.mkfifo(files / "pipe")
    with (files / "huge").open("wb") as stream:
        stream.truncate(_certificate_info.LARGEST + 1)
    for name, words in (
        ("nothing", "No such file or directory"),
        ("folder", "Is a directory"),
        ("pipe", "not a regular file"),
        ("huge", "it is larger than 4 MiB"),
    ):
        path = str(files / name)
        answer = look(files, chain=path, key=path)
        assert ids(answer) == ["chain.missing", "key.missing"]
        assert {finding["evidence"] for finding in answer["findings"]} == {words}
        assert {finding["subject"] for finding in answer["findings"]} == {path}
        assert (answer["usable"], answer["key"]) == (False, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="root only can give files away")
@pytest.mark.parametrize(
    ("mode", "group", "expected"),
    [
        (0o600, 0, []),
        (0o400, 0, []),
        (0o640, 0, []),
        (0o644, 0, ["key.permissions"]),
        (0o660, 0, ["key.permissions"]),
        # A group that nobody knows may be anybody's.
        (0o640, 54321, ["key.permissions"]),
        (0o600, 54321, []),
    ],
)
def test_who_can_read_the_key(files, mode, group, expected):
    key = files / "good.key"
    os.chown(key, 0, group)
    key.chmod(mode)
    answer = look(files)
    assert ids(answer) == expected
    assert answer["key"]["mode"] == f"{mode:04o}"
    assert answer["usable"] is not expected
    if expected:
        subprocess.run(["/bin/sh", "-c", answer["findings"][0]["fix"]], check=True)
        assert ids(look(files)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root only can give files away")
def test_a_key_that_belongs_to_a_person(files):
    os.chown(files / "good.key", 54321, 0)
    answer = look(files)
    assert (ids(answer), answer["usable"]) == (["key.owner"], True)
    assert "uid 54321" in answer["findings"][0]["evidence"]


# Options


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": ["good.test", " "]}, "^names: a name is empty"),
        (
            {
                "certificates": [
                    {"chain": "/a", "key": None, "names": []},
                    {"chain": "/b", "key": None, "names": [""]},
                ],
                "names": [],
            },
            r"^certificates\[1\]\.names: a name is empty",
        ),
        ({"certificates": []}, "^names: each of certificates has its own"),
        ({"now": "tomorrow"}, "now: 'tomorrow' is not a time"),
        ({"now": "2026-13-01T00:00:00Z"}, "now: "),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file: /nowhere/ca.pem: No such file or directory"),
        ({"ca_file": "/dev/null"}, "ca_file: /dev/null: not a regular file"),
        ({"ca_file": __file__}, "there is no PEM certificate in it"),
        ({"ca_content": "nothing"}, "ca_content: there is no PEM certificate in it"),
    ],
)
def test_options_without_meaning_are_one_clear_error(files, given, words):
    with pytest.raises(ValueError, match=words):
        look(files, **given)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00+01:00", 0),
        ("2026-11-25T12:00:00.5Z", 1795608000.5),
        ("2026-11-25T12:00:00-00:30", 1795609800),
    ],
)
def test_times(text, seconds):
    assert _checks.moment(text) == seconds


@pytest.mark.parametrize("text", ["", "2026-11-25", "2026-11-25 12:00:00Z", "2026-11-25T12:00:00", "1795608000"])
def test_no_times(text):
    with pytest.raises(ValueError, match="is not a time"):
        _checks.moment(text)


# As Ansible runs it


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "one of the following is required: chain, chain_content, certificates"),
        ({"chain": "/a", "certificates": [{"chain": "/b"}]}, "mutually exclusive"),
        ({"certificates": [{"key": "/b"}]}, "missing required arguments: chain found in certificates"),
        ({"chain": "/a", "chain_content": "b"}, "mutually exclusive"),
        ({"chain": "/a", "key": "/a", "key_content": "b"}, "mutually exclusive"),
        ({"chain": "/a", "now": "soon"}, "now: 'soon' is not a time, such as 2026-11-25T12:00:00Z"),
    ],
)
def test_refusals(arguments, words):
    answer, _said = process(**arguments)
    assert answer["failed"] is True
    assert words in answer["msg"]


def test_keys_stay_where_they_are(files, pki):
    """Given as text, by path, encrypted, with the wrong certificate, and in the chain by mistake: never in what the
    module says, its own arguments included."""
    chain, key = (files / "good.chain").read_text(), (files / "good.key").read_text()
    for given in (
        {"chain_content": chain, "key_content": key},
        {"chain_content": chain + key, "key_content": key},
        {"chain_content": key, "key_content": chain},
        {"chain_content": chain.replace("M", "N"), "key_content": key.replace("M", "N", 1)},
        {"chain_content": chain, "key_content": Path(pki.path("encrypted.key")).read_text()},
        {"chain": str(files / "good.key"), "key": str(files / "good.key")},
    ):
        answer, said = process(names=["good.test"], **given)
        assert "usable" in answer
        assert answer["invocation"]["module_args"]["names"] == ["good.test"]
        for path in (files / "good.key", pki.path("encrypted.key")):
            # A certificate, which is returned, has some of the key's numbers too.
            assert not [line for line in lines_of(path) if line in said and line not in chain]


def test_a_run_through_ansible(files, tmp_path):
    status, answer = ansible(
        tmp_path,
        "certificate_info",
        chain=str(files / "good.chain"),
        key_content=(files / "good.key").read_text(),
        names=["good.test", "autodiscover.good.test"],
    )
    assert status == 0, answer
    assert (answer["changed"], answer["usable"]) == (False, False)
    assert [finding["subject"] for finding in answer["findings"]] == ["autodiscover.good.test"]


# Documentation


def test_documented_keys_are_the_returned_ones(files):
    answer, _said = process(chain=str(files / "good.chain"), key=str(files / "good.key"), names=["missing.test"])
    documented = yaml.safe_load(certificate_info.RETURN)
    assert set(documented) == set(answer) - {"changed", "invocation"} | {"results"}
    for name in ("certificate", "key"):
        assert set(documented[name]["contains"]) == set(answer[name])
    for name in ("chain", "findings"):
        assert answer[name]
        for entry in answer[name]:
            assert set(documented[name]["contains"]) == set(entry)


def test_samples_are_of_their_types():
    types = {"str": str, "int": int, "list": list, "dict": dict, "bool": bool, "float": float}

    def check(fields):
        for name, field in fields.items():
            if "contains" in field:
                check(field["contains"])
            else:
                assert isinstance(field["sample"], types[field["type"]]), name

    check(yaml.safe_load(certificate_info.RETURN))


def test_documented_options_are_the_accepted_ones():
    documented = yaml.safe_load(certificate_info.DOCUMENTATION)["options"]

    def without(specs, nested, *keys):
        return {
            name: {
                key: without(value, nested, *keys) if key == nested else value
                for key, value in spec.items()
                if key not in keys
            }
            for name, spec in specs.items()
        }

    accepted = without(_host_options.CERTIFICATES, "options", "no_log")
    accepted["certificates"]["suboptions"] = accepted["certificates"].pop("options")
    assert without(documented, "suboptions", "description") == accepted
    assert {name for name, spec in _host_options.CERTIFICATES.items() if spec.get("no_log")} == {
        "chain_content",
        "key_content",
    }


def test_the_documented_lifetimes_are_those_of_the_code():
    """The figures of the documentation, out of the rule."""
    said = " ".join(yaml.safe_load(certificate_info.DOCUMENTATION)["description"])
    for days in (200, 100, 90, 47):
        due, urgent = round(days / _checks.DUE), round(days / _checks.URGENT)
        assert f"{due} and {urgent} of {days}" in said.replace("67 and 20 days of 200", "67 and 20 of 200")
    assert f"{_checks.LONGEST // _checks.DAY} days" in said
