# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS responses, and CAA records in them and by themselves."""

from __future__ import annotations

import asyncio
import functools
import random
import typing as t

import dns.exception
import dns.flags
import dns.message
import dns.rrset

from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.nameservers import Server
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property
from tests.fuzz import mutations, seeds
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target

NAME = "good.test"
QUERY = dns.message.make_query(NAME, "CAA", use_edns=0, payload=_lookup.PAYLOAD, id=0)
SERVER = Server("192.0.2.53", 53)


def _reply(*texts: str, authority: str = "", rcode: int = 0, flags: int = 0) -> bytes:
    """A resolver's response: records as a zone file has them, owner first."""
    reply = dns.message.make_response(QUERY, recursion_available=True)
    reply.flags |= flags
    reply.set_rcode(rcode)
    for section, lines in ((reply.answer, texts), (reply.authority, (authority,) if authority else ())):
        for line in lines:
            owner, kind, content = line.split(" ", 2)
            section.append(dns.rrset.from_text(owner, 300, "IN", kind, content))
    return reply.to_wire()


SOA = "good.test. SOA ns.good.test. host.master.good.test. 1 2 3 4 5"
REPLIES = (
    _reply('good.test. CAA 0 issue "letsencrypt.org; accounturi=https://x/1"', flags=dns.flags.AD),
    _reply('good.test. CAA 128 issue ";"', 'good.test. CAA 0 iodef "mailto:a@good.test"', authority=SOA),
    _reply("good.test. CNAME a.good.test.", 'a.good.test. CAA 0 issuewild "ca.test"'),
    _reply(authority=SOA),
    _reply(authority="test. SOA a.nic.test. b.nic.test. 1 2 3 4 5", rcode=3),
    _reply(rcode=2),
)


@target("dns.reply", seeds=REPLIES, declared=(dns.exception.DNSException, ValueError))
def reply(case: bytes) -> None:
    """A packet is the response to the query, or none."""
    found = _lookup._reply(case, QUERY)
    assert found is None or (found.flags & dns.flags.QR and case[:2] == b"\0\0")


class _Client(_lookup.Client):
    """Each query has this packet as response, with the id and the question that it must have."""

    def __init__(self, packet: bytes) -> None:
        super().__init__([SERVER], 600, 8)
        self._packet = packet

    async def _send(self, server: Server, query: dns.message.Message, seconds: float) -> dns.message.Message:
        packet = self._packet
        if self._packet[12 : len(QUERY.to_wire()) - 11] == QUERY.to_wire()[12:-11]:
            asked = query.to_wire()[12:-11]
            packet = query.id.to_bytes(2, "big") + packet[2:12] + asked + packet[12 + len(asked) :]
        found = _lookup._reply(packet, query)
        if found is None:
            raise dns.exception.Timeout
        return found


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@target("dns.lookup", seeds=REPLIES, seconds=3)
def lookup(case: bytes) -> None:
    """A climb ends with a record set, with none, or with a problem; never with a record set that was not sent."""

    async def climb() -> _lookup.Lookup:
        return (await _Client(case).look_up([NAME]))[NAME]

    found = _loop().run_until_complete(climb())
    rcode = case[3] & 15 if len(case) > 3 else 15
    if found.problem:
        assert found.problem.kind and not found.records
        check_shown(found.problem.message)
    else:
        assert rcode in (0, 3) and found.levels
        assert len(found.levels) == 2 or found.records
        assert all(record.value in case for record in found.records)
        assert found.dnssec != _lookup.BOGUS


# CAA

VALUES = (
    b"letsencrypt.org",
    b";",
    b"ca.test; accounturi=https://x.test/1; validationmethods=dns-01,http-01",
    b" ca-x.test\t;a = b ; c=",
    b"",
)


@target("caa.value", seeds=VALUES)
def value(case: bytes) -> None:
    """A value that is malformed grants nothing, and one that is not is the same when it is written down again."""
    granted = _records.parse_grant(case)
    record = Property(0, "issue", case)
    assert _records.parse_record(str(record)) == record
    check_shown(str(record))
    found = _records.evaluate([record], _records.Request(("letsencrypt.org",), account_uri="https://x.test/1"))
    if granted is None or not granted.domain:
        assert found.verdict == _records.FORBIDDEN
    else:
        assert granted.domain.encode() in case
        assert _records.parse_grant(str(granted).encode()) == granted
    if found.verdict == _records.PERMITTED:
        assert case.split(b";")[0].strip(b" \t").lower() == b"letsencrypt.org"


RECORDS = ('0 issue "letsencrypt.org"', '128 tbs "a\\"b\\\\c\\000\\255"', '1  IODEF\t"mailto:a@b.test"')


@target("caa.record", seeds=RECORDS, make=mutations.of_text, declared=ValueError)
def record(case: str) -> None:
    """A record that can be read is the same when it is written down and read again."""
    found = _records.parse_record(case)
    assert 0 <= found.flags <= 255 and _records.parse_record(str(found)) == found


TAGS = ("issue", "issuewild", "iodef", "ISSUE", "issuemail", "contactemail", "tbs", "")
SETS = (
    [(0, "issue", b"letsencrypt.org")],
    [(0, "issue", b";"), (0, "issuewild", b"ca.test")],
    [(128, "tbs", b"x"), (0, "issue", b"letsencrypt.org")],
    [(0, "iodef", b"mailto:a@good.test")],
)
Set = list[tuple[int, str, bytes]]


def _of_sets(source: random.Random, cases: t.Sequence[Set]) -> Set:
    """Some records, of other sets or made of values."""
    found = list(source.choice(cases))
    for _time in range(source.choice((1, 1, 2, 4))):
        at = source.randrange(len(found) + 1)
        what = source.randrange(3)
        if what == 0:
            found[at : at + 1] = []
        elif what == 1:
            found.insert(at, source.choice(source.choice(cases) or [(0, "issue", b"")]))
        else:
            text = mutations.of_data(source, VALUES)[:300]
            found.insert(at, (source.choice((0, 1, 128, 255)), source.choice(TAGS), text))
    return found[:20]


@target("caa.set", seeds=SETS, make=_of_sets)
def record_set(case: Set) -> None:
    """Only a record that grants permits anything; one that refuses or is critical never makes a set permit more."""
    known = [Property(*one) for one in case]
    for request in (
        _records.Request(("letsencrypt.org",), wildcard=False, account_uri="https://x.test/1", literal=True),
        _records.Request(("letsencrypt.org",), wildcard=True, validation_method="dns-01"),
        _records.Request(),
    ):
        found = _records.evaluate(known, request)
        assert found == _records.evaluate(known, request) and found.verdict in (
            _records.PERMITTED, _records.FORBIDDEN, _records.UNRESTRICTED,
        )  # fmt: skip
        critical = Property(128, "unknown", b"")
        assert _records.evaluate([*known, critical], request).verdict == _records.FORBIDDEN
        refusing = [*known, Property(0, "issue", b";"), Property(0, "issuewild", b";")]
        refused = _records.evaluate(refusing, request).verdict
        assert refused != _records.UNRESTRICTED
        assert refused == _records.FORBIDDEN or _grants(known)
        if found.verdict == _records.PERMITTED:
            assert _grants(known)
        if found.verdict == _records.UNRESTRICTED:
            assert not [one for one in known if one.kind == "issue"]


def _grants(known: t.Sequence[Property]) -> bool:
    return any(one.kind in ("issue", "issuewild") and one.value.strip(b" \t;") for one in known)


@target("caa.issuer", seeds=(seeds.pem(seeds.LEAF).decode(), seeds.pem(seeds.LEAF, seeds.MIDDLE).decode()),
        make=mutations.of_text, declared=ValueError)  # fmt: skip
def issuer(case: str) -> None:
    """Which authority has issued the certificates in a file."""
    found = _issuers.identify(case, {})
    assert isinstance(found, _issuers.Identity)
