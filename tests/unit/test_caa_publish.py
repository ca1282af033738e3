# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module caa_publish against real name servers."""

from __future__ import annotations

import base64
import json

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import publish as _publish
from ansible_collections.kopano.hardening.plugins.module_utils._caa.publish import Failure
from ansible_collections.kopano.hardening.plugins.modules import caa_info, caa_publish

from . import caa_bed
from .test_caa_module import ansible, walk

dns_message = pytest.importorskip("dns.message", reason="dnspython is not installed")
import dns.name  # noqa: E402
import dns.query  # noqa: E402

LE = "letsencrypt.org"
WHOLE = [f'0 issue "{LE}"', '0 issuewild ";"', '0 iodef "mailto:dns@plain.test"']
OTHER = ['0 issue "digicert.com"']
ZONES = {
    "kopano.test.": "",
    "other.test.": "",
    "plain.test.": 'old CAA 0 issue "digicert.com"\nwww CNAME mail\nmail A 127.0.0.1\n'
    'part CAA 0 issue "digicert.com"\nbytes CAA 0 tbs "\\000\\"\\\\\\255"\n',
    "split.test.": f"@ NS ns2\nns2 A {caa_bed.SECOND}\n",
    "bogus.test.": "",
    "expired.test.": "",
}
SECOND_ZONES = {"split.test.": '@ CAA 0 issue "digicert.com"\n'}


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("bed")
    with caa_bed.bed(directory, ZONES, SECOND_ZONES) as started, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lookup, "AUTHORITY_PORT", started.port)
        yield started


def params(bed, name, records, **changes):
    defaults = {option: spec.get("default") for option, spec in caa_publish.ARGUMENTS.items()}
    key_name, key_secret = changes.pop("key", caa_bed.KEY)
    return {
        **defaults,
        "name": name,
        "records": records,
        "server": bed.authority,
        "nameservers": [bed.resolver],
        "key_name": key_name,
        "key_secret": key_secret,
        **changes,
    }


def publish(bed, name, records, check_mode=False, **changes):
    return caa_publish.run(params(bed, name, records, **changes), check_mode)


def there(bed, name):
    """What the server has, and the serial number of its zone: any change at all changes that."""
    address, port = bed.authority.split(":")
    primary = _publish.Primary(_nameservers.Server(address, int(port)), 5)
    found = primary.read(dns.name.from_text(name))
    reply = dns.query.tcp(dns_message.make_query(found.zone, "SOA"), address, 5, int(port))
    return caa_publish.texts(found.records), found.ttl, reply.answer[0][0].serial


def test_published_and_idempotent_and_seen_by_the_verifier(bed):
    answer = publish(bed, "new.plain.test", WHOLE, ttl=77)
    assert (answer["changed"], answer["zone"], answer["previous"]) == (True, "plain.test", [])
    assert [entry["state"] for entry in answer["servers"]] == ["published"]
    assert answer["diff"]["before"] == ""
    assert answer["diff"]["after"].splitlines() == [f"new.plain.test. IN CAA {record}" for record in WHOLE]
    records, ttl, serial = there(bed, "new.plain.test")
    assert (records, ttl) == (WHOLE, 77)
    again = publish(bed, "New.Plain.TEST.", WHOLE[::-1])
    assert again["changed"] is False
    assert again["diff"]["before"] == again["diff"]["after"]
    assert there(bed, "new.plain.test")[2] == serial
    defaults = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    verified = caa_info.run({**defaults, "names": ["new.plain.test"], "nameservers": [bed.resolver], "issuer": LE})
    assert verified["results"][0]["verdict"] == "permitted"


def test_replaced_whole_with_the_time_to_live_that_was_there(bed):
    answer = publish(bed, "old.plain.test", WHOLE, replaces=OTHER, ttl=77)
    assert (answer["changed"], answer["previous"]) == (True, OTHER)
    assert there(bed, "old.plain.test")[:2] == (WHOLE, 300)


def test_taken_away(bed):
    publish(bed, "gone.plain.test", OTHER)
    assert publish(bed, "gone.plain.test", [])["changed"] is True
    assert there(bed, "gone.plain.test")[:2] == ([], None)
    assert publish(bed, "gone.plain.test", [])["changed"] is False


def test_every_byte_arrives(bed):
    there_now, _ttl, _serial = there(bed, "bytes.plain.test")
    assert publish(bed, "copy.plain.test", there_now)["changed"] is True
    assert there(bed, "copy.plain.test")[0] == there_now


def test_check_mode_tests_the_key_and_changes_nothing(bed):
    before = there(bed, "check.plain.test")
    answer = publish(bed, "check.plain.test", WHOLE, check_mode=True)
    assert (answer["changed"], answer["servers"]) == (True, [])
    assert len(answer["diff"]["after"].splitlines()) == 3
    assert there(bed, "check.plain.test") == before
    with pytest.raises(Failure, match="refuses the update"):
        publish(bed, "check.plain.test", WHOLE, check_mode=True, key=(caa_bed.KEY[0], caa_bed.IDLE_KEY[1]))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ((caa_bed.KEY[0], caa_bed.IDLE_KEY[1]), "the key is another one there"),
        (("unknown.key", caa_bed.KEY[1]), "does not know the key"),
        (caa_bed.IDLE_KEY, "does not let it change the zone|does not let this key|does not know the key"),
    ],
)
def test_a_wrong_key_is_refused_and_nothing_changed(bed, key, words):
    before = there(bed, "part.plain.test")
    for check_mode in (False, True):
        with pytest.raises(Failure, match=words) as caught:
            publish(bed, "part.plain.test", WHOLE, check_mode, key=key)
        assert key[1] not in str(caught.value)
    assert there(bed, "part.plain.test") == before


def test_what_somebody_else_has_changed_is_not_overwritten(bed, monkeypatch):
    before = there(bed, "part.plain.test")
    with pytest.raises(Failure, match="than were judged") as caught:
        publish(bed, "part.plain.test", WHOLE, replaces=[])
    assert OTHER[0] in str(caught.value)
    # In the moment between reading and writing, too.
    read = _publish.Primary.read
    stale = frozenset()
    monkeypatch.setattr(_publish.Primary, "read", lambda self, owner: read(self, owner)._replace(records=stale))
    with pytest.raises(Failure, match="changed meanwhile"):
        publish(bed, "part.plain.test", WHOLE)
    stale = _publish.properties(WHOLE[:1])
    with pytest.raises(Failure, match="changed meanwhile"):
        publish(bed, "part.plain.test", WHOLE)
    monkeypatch.undo()
    assert there(bed, "part.plain.test") == before


def test_a_name_server_that_stays_behind_is_a_failure_every_time(bed):
    for changed in (True, False):
        answer = publish(bed, "split.test", WHOLE, wait=0)
        assert answer["changed"] is changed
        assert {entry["server"][:3]: entry["state"] for entry in answer["servers"]} == {
            "ns1": "published",
            "ns2": "different",
        }
        assert "ns2.split.test" in answer["msg"]


def test_servers_that_cannot_be_queried_are_no_confirmation(bed, monkeypatch):
    monkeypatch.setattr(_lookup, "AUTHORITY_PORT", caa_bed.free_port(caa_bed.FIRST))
    answer = publish(bed, "new.plain.test", WHOLE, wait=0, timeout=1)
    assert [entry["state"] for entry in answer["servers"]] == ["faulty"]
    assert "none of the zone's name servers could be queried" in answer["msg"]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("www.plain.test", {}, "alias of mail.plain.test"),
        ("plain.example", {}, "a registry's"),
        ("absent.test", {}, "a registry's"),
        ("host.lame.test", {}, "not in charge"),
    ],
)
def test_places_without_records_of_their_own(bed, name, changes, words):
    with pytest.raises(Failure, match=words):
        publish(bed, name, WHOLE, **changes)


def test_a_server_that_is_not_there(bed):
    nobody = f"127.0.0.1:{caa_bed.free_port('127.0.0.1')}"
    with pytest.raises(Failure, match=f"{nobody} cannot be queried"):
        publish(bed, "plain.test", WHOLE, server=nobody)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "192.0.2.1"}, "name: '192.0.2.1'"),
        ({"name": "*.plain.test"}, r"name: '\*.plain.test'"),
        ({"name": "a..b"}, "name: 'a..b'"),
        ({"records": ["letsencrypt.org"]}, "records: 'letsencrypt.org'"),
        ({"records": ['0 issue "a b"']}, "records: .*malformed"),
        ({"records": ['0 iodef "hostmaster"']}, "records: .*mailto"),
        ({"replaces": ["x"]}, "replaces: 'x'"),
        ({"server": "ns.example"}, "server: 'ns.example'"),
        ({"nameservers": ["ns.example"]}, "nameservers: 'ns.example'"),
        ({"key_secret": "not base64!"}, "key_secret: is not base64"),
        ({"key_secret": ""}, "key_secret: is empty"),
        ({"key_name": "a..b"}, "key_name: 'a..b'"),
        ({"timeout": 0.0}, "timeout"),
        ({"wait": -1.0}, "wait"),
        ({"ttl": -1}, "ttl"),
    ],
)
def test_options_without_meaning_are_one_clear_error(bed, changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        publish(bed, "plain.test", WHOLE, **changes) if not {"name", "records"} & set(changes) else caa_publish.run(
            {**params(bed, "plain.test", WHOLE), **changes}, False
        )
    assert "not base64!" not in str(caught.value)


# ---- Documentation and Ansible


def test_the_documentation_has_what_is_accepted_and_returned(bed):
    documented = yaml.safe_load(caa_publish.DOCUMENTATION)["options"]
    plain = {name: {k: v for k, v in spec.items() if k != "description"} for name, spec in documented.items()}
    accepted = {name: {k: v for k, v in spec.items() if k != "no_log"} for name, spec in caa_publish.ARGUMENTS.items()}
    assert plain == accepted
    answer = publish(bed, "doc.plain.test", WHOLE)
    walk(yaml.safe_load(caa_publish.RETURN), {k: v for k, v in answer.items() if k not in ("changed", "diff")}, "")


def test_the_key_is_in_no_output(bed, tmp_path):
    secret = base64.b64encode(b"a key that nobody may see in a log").decode()
    arguments = params(bed, "part.plain.test", WHOLE, key=(caa_bed.KEY[0], secret))
    arguments = {name: value for name, value in arguments.items() if value is not None}
    status, result = ansible(tmp_path, "caa_publish", "-vvvv", **arguments)
    assert status != 0
    assert "refuses the update: the key is another one there" in result["msg"]
    assert secret not in json.dumps(result)
    assert caa_publish.ARGUMENTS["key_secret"]["no_log"] is True
