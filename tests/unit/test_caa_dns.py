# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CAA lookups against real name servers: verdicts after the RFCs, DNSSEC, servers that misbehave, and speed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.modules import caa_info

from . import caa_bed, timing
from .slow_bed import SLACK

dns_message = pytest.importorskip("dns.message", reason="dnspython is not installed")
import dns.edns  # noqa: E402
import dns.flags  # noqa: E402
import dns.name  # noqa: E402
import dns.rcode  # noqa: E402
import dns.rrset  # noqa: E402

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

LE = "letsencrypt.org"
ACCOUNT = "https://acme.example/acct/7"
OTHER_ACCOUNT = "https://acme.example/acct/8"
P, F, U, E = "permitted", "forbidden", "unrestricted", "error"


class Row(NamedTuple):
    """A record set at a name of its own, a request, and what has to come out."""

    rule: str
    records: tuple[str, ...]
    verdict: str
    params: dict


def row(rule, verdict, *records, **params):
    return Row(rule, records, verdict, {"issuer": LE, **params})


WILD = {"wildcard": True}
ROWS = [
    # Whose name is in the record
    row("RFC 8659 4.2: the named CA may issue", P, f'0 issue "{LE}"'),
    row("RFC 8659 4.2: another CA may not", F, '0 issue "digicert.com"'),
    row("RFC 8659 4.2: several records add up", P, '0 issue "digicert.com"', f'0 issue "{LE}"'),
    row("RFC 8659 4.2: an empty issuer authorises nobody", F, '0 issue ";"'),
    row("RFC 8659 4.2: so does an empty value", F, '0 issue ""'),
    row("RFC 8659 4.2: nobody and somebody add up", P, '0 issue ";"', f'0 issue "{LE}"'),
    row("RFC 8659 4.2: blanks around the name", P, f'0 issue "  {LE} \\009 ; "'),
    row("RFC 8659 4.2: a name that only begins alike", F, f'0 issue "{LE}.evil.example"'),
    row("RFC 8659 4.2: a subdomain is another name", F, f'0 issue "ca.{LE}"'),
    row("CCADB: a CA answers to all its identifiers", P, '0 issue "comodoca.com"', issuer="sectigo.com"),
    row("names compare without case", P, '0 issue "SECTIGO.com"', issuer="sectigo.com"),
    row("Boulder compares its name letter by letter", F, '0 issue "LetsEncrypt.ORG"'),
    row("without a CA: somebody may", P, '0 issue "ca.example"', issuer=None),
    row("without a CA: nobody may", F, '0 issue ";"', issuer=None),
    row("a CA outside the data", P, '0 issue "ca.example"', issuer="ca.example"),
    # Tags and flags
    row("RFC 8659 4.1: tags have no case", P, f'0 ISSUE "{LE}"'),
    row("RFC 8659 4.1: unknown and not critical restricts nobody", U, '0 tbs "Unknown"'),
    row("RFC 8659 4.1: unknown and critical forbids", F, f'0 issue "{LE}"', '128 tbs "Unknown"'),
    row("RFC 8659 4.1: critical and understood is fine", P, f'128 issue "{LE}"'),
    row("RFC 8659 4.1: reserved flags are ignored", P, f'64 issue "{LE}"'),
    row("RFC 8659 4.1: reserved flags do not make critical", U, '1 tbs "Unknown"', issuer="digicert.com"),
    row("Boulder takes the lowest bit for critical", F, f'0 issue "{LE}"', '1 tbs "Unknown"'),
    row("RFC 8659 4.4: iodef alone restricts nobody", U, '0 iodef "mailto:a@kopano.test"'),
    row("RFC 9495 4: issuemail does not bind TLS certificates", U, '0 issuemail "digicert.com"'),
    row("RFC 9495 4: critical issuemail is understood", P, '128 issuemail ";"', f'0 issue "{LE}"'),
    row("issuevmc does not bind TLS certificates", U, '128 issuevmc "digicert.com"'),
    row("BR appendix A: contacts restrict nobody", P, f'0 issue "{LE}"', '0 contactemail "a@kopano.test"'),
    row("Boulder does not know critical contacts", F, f'0 issue "{LE}"', '128 contactemail "a@kopano.test"'),
    row("nor telephones", F, f'0 issue "{LE}"', '128 contactphone "+49 1"'),
    # Malformed values
    row("RFC 8659 4.2: malformed authorises nobody", F, f'0 issue "{LE} {LE}"'),
    row("RFC 8659 4.2: bytes outside ASCII", F, '0 issue "\\255\\000\\128"'),
    row("RFC 8659 4.2: no value for a parameter's name", F, f'0 issue "{LE}; policy"'),
    row("RFC 8659 4.2: a semicolon after the last parameter", F, f'0 issue "{LE}; a=b;"'),
    row("RFC 8659 4.2: a final dot", F, f'0 issue "{LE}."'),
    row("RFC 8659 4.2: blanks in a parameter's value", F, f'0 issue "{LE}; a=b c"'),
    row("RFC 8659 4.2: malformed beside valid", P, '0 issue "%%%"', f'0 issue "{LE}"'),
    row("RFC 8659 4.2: parameters of the CA's own", P, f'0 issue "{LE}; policy=ev; a="'),
    # Wildcards
    row("RFC 8659 4.3: issue binds wildcards", P, f'0 issue "{LE}"', **WILD),
    row("RFC 8659 4.3: issuewild goes before issue", F, f'0 issue "{LE}"', '0 issuewild ";"', **WILD),
    row("RFC 8659 4.3: also when it permits", P, '0 issue ";"', f'0 issuewild "{LE}"', **WILD),
    row("RFC 8659 4.3: issuewild does not bind other names", P, f'0 issue "{LE}"', '0 issuewild ";"'),
    row("RFC 8659 4.3: alone it leaves other names open", U, '0 issuewild ";"'),
    row("RFC 8659 4.3: malformed issuewild still replaces issue", F, f'0 issue "{LE}"', '0 issuewild "%"', **WILD),
    # RFC 8657
    row("RFC 8657 3: the account", P, f'0 issue "{LE}; accounturi={ACCOUNT}"', account_uri=ACCOUNT),
    row("RFC 8657 3: another account", F, f'0 issue "{LE}; accounturi={ACCOUNT}"', account_uri=OTHER_ACCOUNT),
    row("RFC 8657 3: an account that is not known here", P, f'0 issue "{LE}; accounturi={ACCOUNT}"'),
    row("RFC 8657 3: an empty account", F, f'0 issue "{LE}; accounturi="'),
    row(
        "RFC 8657 3: two accounts cannot be satisfied",
        F,
        f'0 issue "{LE}; accounturi={ACCOUNT}; accounturi={ACCOUNT}"',
        account_uri=ACCOUNT,
    ),
    row(
        "RFC 8657 3: one account per record",
        P,
        f'0 issue "{LE}; accounturi={OTHER_ACCOUNT}"',
        f'0 issue "{LE}; accounturi={ACCOUNT}"',
        account_uri=ACCOUNT,
    ),
    row("RFC 8657 4: the method", P, f'0 issue "{LE}; validationmethods=dns-01"', validation_method="dns-01"),
    row("RFC 8657 4: one of them", P, f'0 issue "{LE}; validationmethods=dns-01,http-01"', validation_method="http-01"),
    row("RFC 8657 4: another method", F, f'0 issue "{LE}; validationmethods=dns-01"', validation_method="http-01"),
    row("RFC 8657 4: no method at all", F, f'0 issue "{LE}; validationmethods="', validation_method="http-01"),
    row("RFC 8657 4: methods that cannot be read", F, f'0 issue "{LE}; validationmethods=a_b,http-01"'),
    row(
        "RFC 8657 4: two lists cannot be satisfied",
        F,
        f'0 issue "{LE}; validationmethods=http-01; validationmethods=http-01"',
        validation_method="http-01",
    ),
    row(
        "RFC 8657: both have to fit",
        F,
        f'0 issue "{LE}; accounturi={ACCOUNT}; validationmethods=dns-01"',
        account_uri=ACCOUNT,
        validation_method="http-01",
    ),
]

# Every byte that there is, written as this module writes it.
BYTES = _records.Property(0, "issue", bytes(range(256)))
LARGE = "\n".join(f'large CAA 0 issue "{"x" * 60}{number}.example"' for number in range(40))
KOPANO = f"""
@ CAA 0 issue "{LE}"
@ CAA 0 iodef "mailto:dns@kopano.test"
host A 127.0.0.1
a.b.c A 127.0.0.1
shut CAA 0 issue ";"
www.shut A 127.0.0.1
open CAA 0 iodef "mailto:dns@kopano.test"
alias CNAME host.other.test.
nowhere CNAME nothing.other.test.
below CNAME x.set.other.test.
chain1 CNAME chain2
chain2 CNAME host.other.test.
tree DNAME d.other.test.
away CNAME host.bogus.test.
loop1 CNAME loop2
loop2 CNAME loop1
*.wild CAA 0 issue "digicert.com"
bytes CAA {BYTES}
{LARGE}
"""
OTHER = """
host CAA 0 issue "digicert.com"
set CAA 0 issue ";"
x.set A 127.0.0.1
www.d CAA 0 issue "digicert.com"
"""
ZONES = {
    "kopano.test.": KOPANO
    + "".join(f"row{number} CAA {record}\n" for number, row in enumerate(ROWS) for record in row.records)
    + "".join(f"h{number} A 127.0.0.1\n" for number in range(500)),
    "other.test.": OTHER,
    "plain.test.": f'@ CAA 0 issue "{LE}"\n@ NS ns2\nns2 A {caa_bed.SECOND}\n@ NS ns3\nns3 A {caa_bed.RESOLVER}\n',
    "split.test.": f'@ CAA 0 issue "{LE}"\ncrowd CAA 0 issue "{LE}"\n'
    f"ns2 A {caa_bed.SECOND}\nns3 A {caa_bed.SILENT}\nns5 A {caa_bed.SILENT}\n"
    + "".join(f"@ NS ns{number}\n" for number in (2, 3, 4, 5)),
    "bogus.test.": f'@ CAA 0 issue "{LE}"\nhost CAA 0 issue "{LE}"\n',
    "expired.test.": f'@ CAA 0 issue "{LE}"\n',
}
# The last of them is critical, and no CA knows it.
CROWD = "".join(f'crowd CAA 0 x{number} "y"\n' for number in range(1500)) + 'crowd CAA 128 zzz "y"\n'
SECOND_ZONES = {"split.test.": f'@ CAA 0 issue "digicert.com"\ncrowd CAA 0 issue "{LE}"\n{CROWD}'}


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    with (
        caa_bed.bed(tmp_path_factory.mktemp("bed"), ZONES, SECOND_ZONES) as started,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(_lookup, "AUTHORITY_PORT", started.port)
        yield started


def ask(names, server, **params):
    """The module's answer; names and servers may be single."""
    defaults = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    several = {"names": names, "nameservers": server}
    lists = {key: value if isinstance(value, list) else [value] for key, value in several.items()}
    return caa_info.run({**defaults, **lists, **params})


def one(name, server, **params):
    (result,) = ask(name, server, **params)["results"]
    return result


def ids(answer):
    return {finding["id"] for finding in answer["findings"]}


# ---- What records mean


@pytest.mark.parametrize(("number", "rule"), [(number, row.rule) for number, row in enumerate(ROWS)])
def test_verdict(bed, number, rule):
    row = ROWS[number]
    result = one(f"row{number}.kopano.test", bed.resolver, **row.params)
    assert (result["verdict"], result["error"], result["dnssec"]) == (row.verdict, None, "secure")
    assert result["found_at"] == f"row{number}.kopano.test"
    assert len(result["records"]) == len(row.records)


def test_the_table_is_as_long_as_promised():
    assert len(ROWS) >= 40
    assert len({row.rule for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("rule", "name", "verdict", "found_at", "dnssec"),
    [
        ("RFC 8659 3: the name itself", "kopano.test", P, "kopano.test", "secure"),
        ("RFC 8659 3: climb", "a.b.c.kopano.test", P, "kopano.test", "secure"),
        ("RFC 8659 3: climb from a name that does not exist", "x.y.kopano.test", P, "kopano.test", "secure"),
        ("RFC 8659 3: the nearest set wins alone", "www.shut.kopano.test", F, "shut.kopano.test", "secure"),
        ("RFC 8659 3: even when it restricts nobody", "www.open.kopano.test", U, "open.kopano.test", "secure"),
        ("RFC 8659 3: none up to the root", "www.other.test", U, None, "secure"),
        ("RFC 8659 3: not even the domain exists", "www.absent.test", U, None, "secure"),
        ("RFC 8659 3: an alias", "alias.kopano.test", F, "host.other.test", "secure"),
        ("RFC 8659 3: two aliases", "chain1.kopano.test", F, "host.other.test", "secure"),
        ("RFC 8659 3: a whole tree of aliases", "www.tree.kopano.test", F, "www.d.other.test", "secure"),
        ("RFC 8659 3: no climb from an alias' target", "below.kopano.test", P, "kopano.test", "secure"),
        ("RFC 8659 3: an alias to nothing", "nowhere.kopano.test", P, "kopano.test", "secure"),
        ("RFC 8659 3: the climb follows a parent's alias", "www.alias.kopano.test", F, "host.other.test", "secure"),
        ("RFC 4592: records from a wildcard", "any.wild.kopano.test", F, "any.wild.kopano.test", "secure"),
        ("a zone without DNSSEC", "www.plain.test", P, "plain.test", "insecure"),
        ("a wildcard's name", "*.kopano.test", P, "kopano.test", "secure"),
        ("letters and a final dot", "Alias.KOPANO.test.", F, "host.other.test", "secure"),
        ("more than a packet", "large.kopano.test", F, "large.kopano.test", "secure"),
    ],
)
def test_where_records_are_found(bed, rule, name, verdict, found_at, dnssec):
    result = one(name, bed.resolver, issuer=LE)
    assert (result["verdict"], result["found_at"], result["dnssec"]) == (verdict, found_at, dnssec)
    assert result["name"] == name


def test_large_answers_are_complete(bed):
    # 40 records of about 90 bytes are three times the packet size that the module offers.
    for server in (bed.resolver, bed.authority):
        assert len(one("large.kopano.test", server)["records"]) == 40


def test_every_byte_survives_from_zone_file_to_answer(bed):
    (record,) = one("bytes.kopano.test", bed.resolver)["records"]
    assert record == {"flags": 0, "tag": "issue", "value": BYTES.text}


def test_an_authoritative_server_can_be_queried(bed):
    result = one("kopano.test", bed.authority, issuer=LE)
    assert (result["verdict"], result["dnssec"]) == (P, "unverified")
    # It climbs as far as that server's zones reach, and no further.
    second = f"{caa_bed.SECOND}:{bed.port}"
    assert one("www.split.test", second, issuer=LE)["found_at"] == "split.test"
    refused = one("www.kopano.test", second, issuer=LE)
    assert refused["verdict"] == E
    assert "REFUSED" in refused["error"]


# ---- DNSSEC and failures


@pytest.mark.parametrize(
    ("name", "verdict", "dnssec", "finding", "words"),
    [
        ("bogus.test", F, "bogus", "caa.dnssec.bogus", "EDE 6"),
        ("x.expired.test", F, "bogus", "caa.dnssec.bogus", "EDE 7"),
        ("away.kopano.test", F, "bogus", "caa.dnssec.bogus", "EDE"),
        ("lame.test", E, "unverified", "caa.lookup.failed", "SERVFAIL"),
        ("x.broken.test", E, "unverified", "caa.lookup.failed", "SERVFAIL"),
        ("loop1.kopano.test", E, "unverified", "caa.lookup.failed", "127.0.53.10"),
    ],
)
def test_failures_are_never_permissions(bed, name, verdict, dnssec, finding, words):
    answer = ask(name, bed.resolver, issuer=LE)
    (result,) = answer["results"]
    assert (result["verdict"], result["dnssec"], result["found_at"]) == (verdict, dnssec, None)
    assert words in result["error"]
    assert ids(answer) == {finding}


@pytest.mark.parametrize(("name", "verdict", "dnssec"), [("bogus.test", F, "bogus"), ("lame.test", E, "unverified")])
def test_bogus_is_distinguished_from_down_without_reasons(bed, name, verdict, dnssec):
    result = one(name, bed.terse_resolver, issuer=LE)
    assert (result["verdict"], result["dnssec"]) == (verdict, dnssec)
    assert "EDE" not in result["error"]
    assert ("CD" in result["error"]) == (dnssec == "bogus")


def test_another_resolver_does_not_make_bogus_good(bed):
    # The second one does not validate, and would answer.
    result = one("bogus.test", [bed.resolver, bed.authority], issuer=LE)
    assert (result["verdict"], result["dnssec"]) == (F, "bogus")
    assert one("bogus.test", bed.authority, issuer=LE)["dnssec"] == "unverified"


def test_the_ad_bit_counts_only_from_a_trusted_resolver(bed):
    server = _nameservers.parse_server(bed.resolver, False)
    for trusted, expected in ((True, "secure"), (False, "unverified")):
        survey = _lookup.survey(["kopano.test"], [server._replace(trusted=trusted)], 5, 64)
        assert survey.lookups["kopano.test"].dnssec == expected


def test_a_resolver_that_does_not_validate_proves_nothing(bed):
    with forwarder(bed, lambda reply: reply[:3] + bytes([reply[3] & ~0x20]) + reply[4:]) as port:
        answer = ask(["kopano.test", "plain.test"], f"127.0.0.1:{port}", issuer=LE)
    assert [result["dnssec"] for result in answer["results"]] == ["unverified", "unverified"]
    (finding,) = [finding for finding in answer["findings"] if finding["id"] == "caa.dnssec.unverified"]
    assert (finding["severity"], finding["subject"]) == ("unknown", f"127.0.0.1:{port}")


def test_a_name_with_a_dead_server_costs_its_timeout_and_no_other_name(bed):
    started = timing.clock()
    # On a machine under load, the others take some of that.
    answer = ask(
        ["silent.test", *(f"www{number}.kopano.test" for number in range(80))], bed.resolver, timeout=5, issuer=LE
    )
    seconds = timing.clock() - started
    assert seconds < 5.7
    dead, *others = answer["results"]
    assert (dead["verdict"], dead["dnssec"]) == (E, "unverified")
    assert "5 s" in dead["error"] or "does not respond" in dead["error"]
    assert {result["verdict"] for result in others} == {P}


def test_a_resolver_that_is_not_there_is_reported_at_once(bed):
    started = timing.clock()
    nobody = f"127.0.0.1:{caa_bed.free_port('127.0.0.1')}"
    answer = ask([f"h{number}.kopano.test" for number in range(200)], nobody, issuer=LE)
    assert timing.clock() - started < 2
    assert {result["verdict"] for result in answer["results"]} == {E}
    assert all(nobody in result["error"] for result in answer["results"])
    # The next resolver is asked instead.
    assert one("kopano.test", [nobody, bed.resolver], issuer=LE)["verdict"] == P


def test_a_silent_resolver_is_waited_for_once(bed):
    started = timing.clock()
    silent = f"{caa_bed.SILENT}:{bed.port}"
    answer = ask([f"h{number}.kopano.test" for number in range(200)], silent, issuer=LE, timeout=0.5)
    assert timing.clock() - started < 2  # not 200 / 64 waves of half a second, and the same again for the parents
    assert {result["verdict"] for result in answer["results"]} == {E}


def test_a_resolver_that_was_silent_is_queried_last_from_then_on(bed):
    asked = []
    with caa_bed.udp_server(asked.append) as port:
        result = one("www.kopano.test", [f"127.0.0.1:{port}", bed.resolver], issuer=LE, timeout=6)
    assert result["verdict"] == P
    assert len(asked) == 1


# ---- Answers that no decent server gives


@contextlib.contextmanager
def forwarder(bed, change):
    """A resolver on loopback that changes the real one's answers: change(reply) gives bytes, or None for silence."""
    address, port = bed.resolver.split(":")

    def answer(query):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(query, (address, int(port)))
            return change(sock.recv(65535))

    with caa_bed.udp_server(answer) as own:
        yield own


def changed(**changes):
    """A change to a reply's header or sections, given as functions on the message."""

    def change(wire):
        reply = dns_message.from_wire(wire)
        for name, value in changes.items():
            if callable(value):
                value(reply)
            elif name == "rcode":
                reply.set_rcode(value)
        return reply.to_wire()

    return change


def bad_tag(wire):
    return wire.replace(b"\x05issue", b"\x05i-sue")


@pytest.mark.parametrize(
    ("what", "change", "words"),
    [
        ("no DNS at all", lambda wire: b"not DNS", "cannot be read"),
        ("an answer to another question", lambda wire: bytes([wire[0] ^ 1]) + wire[1:], "cannot be read"),
        ("half an answer", lambda wire: wire[:-9], "cannot be read"),
        ("a tag that is none", bad_tag, "cannot be read"),
        ("REFUSED", changed(rcode=dns.rcode.REFUSED), "REFUSED"),
        ("NOTIMP, as for an unknown type", changed(rcode=dns.rcode.NOTIMP), "NOTIMP"),
        ("SERVFAIL whatever is asked", changed(rcode=dns.rcode.SERVFAIL), "SERVFAIL"),
        ("NXDOMAIN with an answer", changed(rcode=dns.rcode.NXDOMAIN), "contradictory"),
        ("neither resolver nor authority", lambda wire: wire[:3] + bytes([wire[3] & 0x7F]) + wire[4:], "no resolver"),
        ("truncated, and no TCP", lambda wire: wire[:2] + bytes([wire[2] | 2]) + wire[3:], "cannot be queried"),
    ],
)
def test_strange_responses_are_errors(bed, what, change, words):
    with forwarder(bed, change) as port:
        answer = ask("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=2)
    (result,) = answer["results"]
    assert result["verdict"] == E, result
    assert words in result["error"]
    assert ids(answer) == {"caa.lookup.failed"}


@contextlib.contextmanager
def stray(bed, make):
    """A resolver whose every response comes after packets that are none to the query: C(make(wire)) gives them."""
    address, port = bed.resolver.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.settimeout(0.1)
        over = threading.Event()

        def serve():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    query, client = own.recvfrom(65535)
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                        sock.settimeout(5)
                        sock.sendto(query, (address, int(port)))
                        response = sock.recv(65535)
                    for packet in (*make(response), response):
                        own.sendto(packet, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield own.getsockname()[1]
        over.set()
        thread.join()


def another_id(wire):
    return bytes([wire[0] ^ 1]) + wire[1:]


def another_name(wire):
    reply = dns_message.from_wire(wire)
    reply.question[0].name = dns.name.from_text("other.test")
    reply.answer = []
    return reply.to_wire()


@pytest.mark.parametrize(
    "make",
    [
        lambda wire: [another_id(wire)],
        lambda wire: [another_name(wire)],
        lambda wire: [b"", b"x", b"not DNS at all"],
        lambda wire: [wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:]],
        lambda wire: [another_id(wire)] * 200,
    ],
    ids=["another id", "another question", "no DNS", "a query", "very many"],
)
def test_packets_that_are_no_response_to_the_query_are_ignored(bed, make):
    """RFC 5452, 9.1: any host can send such packets, so that they must not decide anything."""
    with stray(bed, make) as port:
        answer = ask("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=10)
    (result,) = answer["results"]
    assert (result["verdict"], result["error"]) == (P, None)


def test_a_flood_of_stray_packets_does_not_outlast_the_deadline():
    """They come as fast as they are read, and no response among them."""
    over = threading.Event()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))

        def serve():
            _query, client = own.recvfrom(65535)
            while not over.is_set():
                with contextlib.suppress(OSError):
                    own.sendto(b"x" * 20, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        started = time.monotonic()
        result = one("kopano.test", f"127.0.0.1:{own.getsockname()[1]}", issuer=LE, timeout=1)
        seconds = time.monotonic() - started
        over.set()
        thread.join()
    assert result["verdict"] == E
    assert "cannot be read" in result["error"]
    assert seconds < 1 + SLACK


def many_records(count, size=0):
    """A change that gives a name as many CAA records, each with so many bytes more."""

    def change(wire):
        reply = dns_message.from_wire(wire)
        (question,) = reply.question
        if question.rdtype == dns.rdatatype.CAA:
            records = [f'0 issue "{LE}"', *(f'0 x{number} "{"y" * size}"' for number in range(count - 1))]
            reply.answer = [dns.rrset.from_text(question.name, 60, "IN", "CAA", *records)]
            reply.authority = []
            reply.flags &= ~dns.flags.TC
        return reply.to_wire(max_size=65000)

    return change


@pytest.mark.parametrize(("count", "size", "verdict"), [(100, 0, P), (101, 0, E), (3000, 0, E), (60, 600, E)])
def test_very_many_records_are_no_policy(bed, count, size, verdict):
    """What is not read could forbid it, so that there is no verdict; and the result is bounded."""
    with forwarder(bed, many_records(count, size)) as port:
        answer = ask("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=10)
    (result,) = answer["results"]
    assert result["verdict"] == verdict
    if verdict == E:
        assert f"{count} CAA records" in result["error"]
        assert (result["records"], answer["record_sets"]) == ([], [])
        assert ids(answer) == {"caa.lookup.failed"}
        assert len(json.dumps(answer)) < 5000


def test_very_many_records_of_one_of_the_name_servers(bed):
    """All of them count for the verdict; what is returned of them is bounded, and says that it was cut."""
    answer = ask("crowd.split.test", bed.resolver, issuer=LE, timeout=4)
    (result,) = answer["results"]
    assert (result["verdict"], result["issue"]) == (F, [LE])
    (finding,) = [
        one for one in answer["findings"] if one["id"] == "caa.servers.disagree" and "crowd" in one["subject"]
    ]
    assert "and 1402 more" in finding["evidence"]
    assert len(json.dumps(answer)) < 20000


def test_the_query_of_a_lost_packet_is_repeated(bed):
    seen = []

    def lose_first(wire):
        question = dns_message.from_wire(wire).question[0]
        seen.append(question)
        return None if seen.count(question) == 1 else wire

    with forwarder(bed, lose_first) as port:
        result = one("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=6)
    assert result["verdict"] == P


@pytest.mark.parametrize(
    ("code", "verdict", "dnssec", "questions"),
    [(dns.edns.EDECode.DNSKEY_MISSING, F, "bogus", 1), (dns.edns.EDECode.NO_REACHABLE_AUTHORITY, E, "unverified", 1)],
)
def test_the_resolver_s_reasons_are_believed(bed, code, verdict, dnssec, questions):
    # Neither the data nor the unchecked data can be had, so the question with CD would decide nothing.
    asked = []

    def fail(wire):
        asked.append(wire)
        reply = dns_message.from_wire(wire)
        reply.set_rcode(dns.rcode.SERVFAIL)
        reply.use_edns(0, options=[dns.edns.EDEOption(code)])
        return reply.to_wire()

    with forwarder(bed, fail) as port:
        result = one("kopano.test", f"127.0.0.1:{port}", issuer=LE)
    assert (result["verdict"], result["dnssec"]) == (verdict, dnssec)
    assert f"EDE {int(code)}" in result["error"]
    assert len(asked) == questions


def test_an_outage_that_ends_meanwhile_is_not_bogus(bed):
    failed = []

    def fail_once(wire):
        if failed:
            return wire
        failed.append(wire)
        return changed(rcode=dns.rcode.SERVFAIL)(wire)

    with forwarder(bed, fail_once) as port:
        result = one("kopano.test", f"127.0.0.1:{port}", issuer=LE)
    assert (result["verdict"], result["dnssec"]) == (P, "secure")


def test_an_alias_that_the_resolver_does_not_follow_is_followed_here(bed):
    def only_alias(wire):
        reply = dns_message.from_wire(wire)
        aliases = [rrset for rrset in reply.answer if rrset.rdtype == dns.rdatatype.CNAME]
        if aliases:
            reply.answer, reply.authority = aliases[:1], []
        return reply.to_wire()

    with forwarder(bed, only_alias) as port:
        result = one("chain1.kopano.test", f"127.0.0.1:{port}", issuer=LE)
    assert (result["verdict"], result["found_at"]) == (F, "host.other.test")


def test_aliases_in_a_circle_end(bed):
    def circle(wire):
        reply = dns_message.from_wire(wire)
        name = reply.question[0].name.to_text()
        target = "a.test." if name != "a.test." else "b.test."
        reply.set_rcode(dns.rcode.NOERROR)
        reply.answer, reply.authority = [dns.rrset.from_text(name, 60, "IN", "CNAME", target)], []
        return reply.to_wire()

    with forwarder(bed, circle) as port:
        result = one("a.test", f"127.0.0.1:{port}", issuer=LE)
    # The reason is the circle, and not that time ran out.
    assert (result["verdict"], "aliases" in result["error"]) == (E, True)


def test_aliases_without_end_end(bed):
    """Each leads to another name: what one name may cost is bounded by more than time."""
    asked = []

    def further(wire):
        reply = dns_message.from_wire(wire)
        asked.append(reply.question[0].name.to_text())
        reply.set_rcode(dns.rcode.NOERROR)
        target = f"n{len(asked)}.test."
        reply.answer, reply.authority = [dns.rrset.from_text(asked[-1], 60, "IN", "CNAME", target)], []
        return reply.to_wire()

    with forwarder(bed, further) as port:
        result = one("a.test", f"127.0.0.1:{port}", issuer=LE, timeout=3)
    assert result["verdict"] == E
    assert "aliases" in result["error"]
    assert len(asked) < 50


# ---- The zones' own servers


def lose(name, rdtype):
    """A change that loses the results for a name and type."""

    def change(wire):
        question = dns_message.from_wire(wire).question[0]
        return None if (question.name.to_text(), question.rdtype) == (name, rdtype) else wire

    return change


def test_a_lost_address_is_no_missing_address(bed):
    """The server with other data: the resolver gives no address of it, so that it cannot be compared."""
    with forwarder(bed, lose("ns2.split.test.", dns.rdatatype.A)) as port:
        answer = ask("split.test", f"127.0.0.1:{port}", issuer=LE, timeout=1)
    faults = [finding["evidence"] for finding in answer["findings"] if finding["id"] == "caa.servers.faulty"]
    (fault,) = [words for words in faults if words.startswith("ns2.split.test")]
    assert "its addresses (A) are not known" in fault
    assert "does not respond" in fault


def test_a_lost_list_of_servers_is_reported(bed):
    with forwarder(bed, lose("kopano.test.", dns.rdatatype.NS)) as port:
        answer = ask("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=1)
    (finding,) = [finding for finding in answer["findings"] if finding["id"].startswith("caa.servers")]
    assert (finding["id"], finding["severity"]) == ("caa.servers.unchecked", "unknown")
    assert "its name servers" in finding["evidence"]
    assert "does not respond" in finding["evidence"]


def test_very_many_name_servers_are_not_all_queried(bed):
    asked = []

    def many(wire):
        reply = dns_message.from_wire(wire)
        (question,) = reply.question
        asked.append(question.name.to_text())
        if question.rdtype == dns.rdatatype.NS:
            names = [f"ns{number}.kopano.test." for number in range(60)]
            reply.answer = [dns.rrset.from_text(question.name, 60, "IN", "NS", *names)]
            reply.flags &= ~dns.flags.TC
        return reply.to_wire()

    with forwarder(bed, many) as port:
        answer = ask("kopano.test", f"127.0.0.1:{port}", issuer=LE, timeout=2)
    assert len({name for name in asked if name.startswith("ns")}) == _lookup.MAX_SERVERS
    words = [finding["evidence"] for finding in answer["findings"] if finding["id"].startswith("caa.servers")]
    assert any("60 name servers" in evidence for evidence in words)


def test_servers_that_disagree(bed):
    answer = ask("www.split.test", bed.resolver, issuer=LE, timeout=4)
    (result,) = answer["results"]
    # The resolver found a permission; a CA that asks the second server does not.
    assert result["issue"] == [LE]
    assert result["verdict"] == F
    (finding,) = [finding for finding in answer["findings"] if finding["id"] == "caa.servers.disagree"]
    assert (finding["severity"], finding["subject"]) == ("fail", "split.test")
    assert f'ns1.split.test (127.0.53.1:{bed.port}): 0 issue "{LE}"' in finding["evidence"]
    assert f'ns2.split.test (127.0.53.2:{bed.port}): 0 issue "digicert.com"' in finding["evidence"]
    faults = {finding["evidence"] for finding in answer["findings"] if finding["id"] == "caa.servers.faulty"}
    silent = f"127.0.53.4:{bed.port}"
    assert faults == {
        f"ns3.split.test ({silent}): {silent} does not respond",
        "ns4.split.test: its name has no address",
        f"ns5.split.test ({silent}): {silent} does not respond",
    }


def test_a_server_whose_turn_did_not_come_in_time_is_not_forgotten(bed):
    # One question at a time: two dead servers take longer than the zone gets.
    answer = ask("split.test", bed.resolver, timeout=1, concurrency=1)
    faults = {finding["evidence"].partition(" ")[0] for finding in answer["findings"] if "faulty" in finding["id"]}
    assert {"ns3.split.test", "ns5.split.test"} <= faults


def test_lame_servers_among_good_ones(bed):
    answer = ask("plain.test", bed.resolver, issuer=LE)
    assert answer["results"][0]["verdict"] == P
    lame = [finding for finding in answer["findings"] if finding["id"] == "caa.servers.faulty"]
    assert {finding["subject"] for finding in lame} == {"plain.test"}
    assert [finding["evidence"].partition(": ")[2] for finding in lame] == [
        "it returns REFUSED",
        "its response is not authoritative (lame delegation)",  # a resolver that has it in its cache
    ]


def test_servers_that_cannot_be_reached_from_here(bed, monkeypatch):
    monkeypatch.setattr(_lookup, "AUTHORITY_PORT", caa_bed.free_port(caa_bed.FIRST))
    answer = ask("kopano.test", bed.resolver, issuer=LE)
    assert answer["results"][0]["verdict"] == P
    (finding,) = [finding for finding in answer["findings"] if finding["id"].startswith("caa.servers")]
    assert (finding["id"], finding["severity"], finding["subject"]) == (
        "caa.servers.unchecked",
        "unknown",
        "kopano.test",
    )


# ---- Speed


MEASURE = textwrap.dedent(
    r"""
    import json, re, sys
    import timing
    started = timing.clock()
    from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
    from ansible_collections.kopano.hardening.plugins.modules import caa_info

    params, _lookup.AUTHORITY_PORT = json.load(sys.stdin)
    under_way = most = total = 0
    ask = _lookup.Client._send

    async def counted(*arguments, **more):
        global under_way, most, total
        under_way, total = under_way + 1, total + 1
        most = max(most, under_way)
        try:
            return await ask(*arguments, **more)
        finally:
            under_way -= 1

    _lookup.Client._send = counted
    answer = caa_info.run(params)
    print(json.dumps({
        "seconds": timing.clock() - started,
        # Not getrusage(2), which counts what the process had been before it ran this program.
        "megabytes": int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1]) / 1024,
        "most": most,
        "total": total,
        "verdicts": sorted({result["verdict"] for result in answer["results"]}),
        "results": len(answer["results"]),
    }))
    """
)


def test_500_names_take_less_than_3_seconds_64_queries_and_120_megabytes(bed, record_property):
    defaults = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    names = [f"h{number}.kopano.test" for number in range(500)]
    # No limit of time that a busy machine could reach.
    params = {**defaults, "names": names, "nameservers": [bed.resolver], "issuer": LE, "timeout": 60}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    given = json.dumps([params, bed.port]).encode()
    best = math.inf
    for _attempt in range(3):  # the servers share a busy machine too
        measured = json.loads(subprocess.check_output([sys.executable, "-c", MEASURE], input=given, env=environment))
        assert measured["verdicts"] == [P]
        assert measured["results"] == 500
        assert measured["total"] >= 1000  # every name, of the resolver and of its zone's server
        assert measured["most"] <= 64
        assert measured["megabytes"] < 120
        best = min(best, measured["seconds"])
        if best <= 3:
            break
    record_property("measured", measured)
    assert best <= 3
