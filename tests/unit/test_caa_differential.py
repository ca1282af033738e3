# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CAA verdicts beside a second implementation of RFC 8659 and RFC 8657, on generated zones.

The second one is in this file, written from the text of the RFCs alone: it shares no code with the collection, and
reads the generated zones themselves where the collection reads responses. Where the collection decides otherwise on
purpose, C(DIFFERENCES) has the reason, and what the RFCs would have to be given for the same verdict. With that, both
agree on every case; and a difference that changes no verdict any more fails.

C(DIFFERENTIAL_SEED) makes other zones, C(DIFFERENTIAL_CASES) more of them.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import random
import string
import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.modules import caa_info

from . import caa_bed

dns_message = pytest.importorskip("dns.message", reason="dnspython is not installed")
import dns.flags  # noqa: E402
import dns.name  # noqa: E402
import dns.rcode  # noqa: E402
import dns.rdataclass  # noqa: E402
import dns.rdatatype  # noqa: E402
import dns.rdtypes.ANY.CAA  # noqa: E402
import dns.rrset  # noqa: E402

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("DIFFERENTIAL_SEED", "8659"))
CASES = int(os.environ.get("DIFFERENTIAL_CASES", "2000"))
NAMES = 50  # of one world
LONGEST = 253  # letters of a name


# ---- RFC 8659 and RFC 8657, by their text


class Record(t.NamedTuple):
    flags: int
    tag: str
    value: bytes


class Request(t.NamedTuple):
    """None is what is not known: then the verdict is about some CA, account or method, whichever it is."""

    issuers: tuple[str, ...] | None
    wildcard: bool = False
    account: str | None = None
    method: str | None = None
    literal: bool = False  # a CA that decides as Boulder does; nothing that the RFCs know


ALPHANUMERIC = frozenset(string.ascii_letters + string.digits)


def is_label(text: str) -> bool:
    """(ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT)), which labels and the tags of parameters are."""
    return text[:1] in ALPHANUMERIC and text[-1:] in ALPHANUMERIC and ALPHANUMERIC.issuperset(text.replace("-", ""))


def issue_value(value: bytes) -> tuple[str, list[tuple[str, str]]] | None:
    """RFC 8659, 4.2: the issuer's domain name, which may be empty, and the parameters; None for a malformed value."""
    name, _semicolon, rest = value.decode("latin-1").partition(";")
    name, rest = name.strip(" \t"), rest.strip(" \t")
    if name and not all(map(is_label, name.split("."))):
        return None
    parameters = []
    for parameter in rest.split(";") if rest else ():
        tag, equals, content = (part.strip(" \t") for part in parameter.partition("="))
        if not equals or not is_label(tag) or any(not "!" <= letter <= "~" for letter in content):
            return None
        parameters.append((tag, content))
    return name, parameters


def authorises(record: Record, request: Request) -> bool:
    """RFC 8659, 4.2, and RFC 8657, 3 and 4: does the property authorise a request that is known completely?"""
    parsed = issue_value(record.value)
    if parsed is None or not parsed[0] or parsed[0].lower() not in request.issuers:
        return False
    accounts = [value for tag, value in parsed[1] if tag == "accounturi"]
    methods = [value.split(",") for tag, value in parsed[1] if tag == "validationmethods"]
    return (not accounts or accounts == [request.account]) and all(request.method in listed for listed in methods)


def requests(records: t.Sequence[Record], request: Request) -> t.Iterator[Request]:
    """What a request may be of which not everything is known: with all that the records name, and with others."""
    parsed = [value for value in (issue_value(record.value) for record in records) if value]
    parameters = [parameter for _name, some in parsed for parameter in some]
    issuers = [(name.lower(),) for name, _parameters in parsed if name]
    accounts = [value for tag, value in parameters if tag.lower() == "accounturi" and value]
    methods = [
        one for tag, value in parameters if tag.lower() == "validationmethods" for one in value.split(",") if one
    ]
    for issuer, account, method in itertools.product(
        [*issuers, ("nobody.example",)] if request.issuers is None else [request.issuers],
        [*accounts, "https://nobody.example/"] if request.account is None else [request.account],
        [*methods, "ca-nobody"] if request.method is None else [request.method],
    ):
        yield request._replace(issuers=issuer, account=account, method=method)


def verdict_of(records: t.Sequence[Record], request: Request) -> str:
    """RFC 8659, 4.1 to 4.3."""
    known = ("issue", "issuewild", "iodef")
    if any(record.flags & 128 and record.tag.lower() not in known for record in records):
        return "forbidden"
    issue, issuewild = ([record for record in records if record.tag.lower() == tag] for tag in ("issue", "issuewild"))
    relevant = issuewild if request.wildcard and issuewild else issue
    if not relevant:
        return "unrestricted"
    some = (authorises(record, complete) for complete in requests(records, request) for record in relevant)
    return "permitted" if any(some) else "forbidden"


@dataclasses.dataclass
class World:
    """Zones as data: what each name has, and which names no server has a response for."""

    aliases: dict[str, str]
    trees: dict[str, str]  # DNAME
    records: dict[str, list[Record]]
    others: frozenset[str]  # names with records that are not about CAA
    failing: frozenset[str]

    def owners(self) -> set[str]:
        return {*self.aliases, *self.trees, *self.records, *self.others, *self.failing}

    @functools.cached_property
    def existing(self) -> set[str]:
        """RFC 4592, 2.2: a name exists with all that is above it."""
        return {name for owner in self.owners() for name in up(owner)}


class Failure(Exception):
    """The records cannot be looked up."""


def up(name: str) -> list[str]:
    """The name and what is above it, without the root."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def source(world: World, name: str) -> str:
    """RFC 1034, 4.3.2, and RFC 4592: the owner whose data the name has, itself or a wildcard."""
    if name in world.existing:
        return name
    closest = next((above for above in up(name) if above in world.existing), "")
    return f"*.{closest}"


def alias(world: World, name: str) -> str | None:
    """Where CNAME or DNAME (RFC 6672, 2.2) lead from a name."""
    for above in reversed(up(name)[1:]):
        if above in world.trees:
            return name.removesuffix(above) + world.trees[above]
    return world.aliases.get(source(world, name))


def at(world: World, name: str) -> tuple[str, list[Record]]:
    """CAA(X) of RFC 8659, 3: the record set with aliases followed, and the name that has it."""
    seen = []
    # A tree may lead below itself (RFC 6672, 2.2): then the name ends when it is too long for DNS.
    while name not in seen and len(name) <= LONGEST:
        seen.append(name)
        if source(world, name) in world.failing:
            break
        target = alias(world, name)
        if target is None:
            return name, world.records.get(source(world, name), [])
        name = target
    raise Failure(name)


def relevant_set(world: World, name: str) -> tuple[str | None, list[Record]]:
    """RFC 8659, 3: RelevantCAASet(X), and where it is."""
    for domain in up(name):
        owner, records = at(world, domain)
        if records:
            return owner, records
    return None, []


# ---- Where the collection decides otherwise


class Difference(t.NamedTuple):
    """C(rewrite) gives the record that the RFCs judge as the collection does the one that is there."""

    why: str
    rewrite: t.Callable[[Record, Request], Record]


def drop_if(condition: t.Callable[[Record, Request], bool]) -> t.Callable[[Record, Request], Record]:
    """A property that authorises nobody, where the condition holds."""

    def rewrite(record: Record, request: Request) -> Record:
        return record._replace(value=b"%") if condition(record, request) else record

    return rewrite


def parameters_of(record: Record) -> list[tuple[str, str]]:
    parsed = issue_value(record.value)
    return [(tag.lower(), value) for tag, value in parsed[1]] if parsed else []


def lists_of_methods(record: Record) -> list[str]:
    return [value for tag, value in parameters_of(record) if tag == "validationmethods"]


def broken_list(record: Record, request: Request) -> bool:
    allowed = ALPHANUMERIC | {"-"}
    return any(not one or not allowed.issuperset(one) for value in lists_of_methods(record) for one in value.split(","))


def other_case(record: Record, request: Request) -> bool:
    name = (issue_value(record.value) or ("",))[0]
    return request.literal and name != name.lower()


def lower_tags(record: Record, request: Request) -> Record:
    parsed = issue_value(record.value)
    parameters = "; ".join(f"{tag}={value}" for tag, value in parameters_of(record))
    return record._replace(value=f"{parsed[0]}; {parameters}".encode()) if parsed and parameters else record


def understood(record: Record, request: Request) -> Record:
    return record._replace(flags=0) if record.tag.lower() in ("issuemail", "issuevmc") else record


def lowest_bit(record: Record, request: Request) -> Record:
    return record._replace(flags=record.flags | 128) if request.literal and record.flags & 1 else record


DIFFERENCES = (
    Difference(
        "RFC 9495 (4) and the one on mark certificates: CAs process these tags, so they may be critical.", understood
    ),
    Difference("Boulder takes the lowest bit of the flags for the critical one, too; stricter.", lowest_bit),
    Difference("Boulder compares its name letter by letter; stricter.", drop_if(other_case)),
    Difference(
        "RFC 8657 does not say whether parameters' tags have case; the reading that restricts is taken.", lower_tags
    ),
    Difference(
        "RFC 8657 (4) has a grammar for the list, and not what a CA makes of another text; it authorises nobody here.",
        drop_if(broken_list),
    ),
    Difference(
        "RFC 8657 (3) lets no request satisfy two accounturi parameters; two lists of methods are treated alike.",
        drop_if(lambda record, request: len(lists_of_methods(record)) > 1),
    ),
)


def rewritten(records: t.Iterable[Record], request: Request, differences: t.Iterable[Difference]) -> list[Record]:
    records = list(records)
    for difference in differences:
        records = [difference.rewrite(record, request) for record in records]
    return records


# ---- Generated zones

OWN, LITERAL, LONE = ("ca.example", "ca2.example"), ("letsencrypt.org",), ("lone.example",)
APEXES = ("kopano.test", "other.test")
ACCOUNTS = ("https://ca.example/1", "https://ca.example/2")
METHODS = ("dns-01", "http-01")
SPELLINGS = (str, str, str, str, str.upper, str.title)
BLANKS = ("", "", "", " ", "\t", "  ")


def some(rng: random.Random, table: t.Mapping[t.Any, int]) -> t.Any:
    """One of the table's keys, as often as it says."""
    return rng.choices(list(table), list(table.values()))[0]


def parameter(rng: random.Random) -> str:
    tag = some(rng, {"accounturi": 5, "validationmethods": 5, "policy": 1, "a-b": 1, "-a": 1})
    values: dict[str, tuple[str, ...]] = {
        "accounturi": (*ACCOUNTS, *ACCOUNTS, ""),
        "validationmethods": (
            *METHODS,
            "dns-01,http-01",
            "tls-alpn-01",
            "",
            "a_b,http-01",
            "dns-01,",
            "dns-01 http-01",
        ),
    }
    equals = some(rng, {"=": 12, " = ": 3, "": 1})
    return rng.choice(SPELLINGS)(tag) + equals + rng.choice(values.get(tag, ("ev", "e v", "", "=", "ü")))


def issue(rng: random.Random) -> bytes:
    names = {"ca.example": 8, "ca2.example": 3, "letsencrypt.org": 8, "lone.example": 4, "x.example": 2, "": 3,
             "a..b": 1, "-a.example": 1, "ca.example.": 1, "ca.example ca.example": 1}  # fmt: skip
    parts = [
        rng.choice(SPELLINGS)(some(rng, names)),
        *(parameter(rng) for _ in range(some(rng, {0: 6, 1: 4, 2: 2, 3: 1}))),
    ]
    if len(parts) > 1 and rng.random() < 0.1:
        # The same parameter once more.
        parts.append(parts[-1])
    text = ";".join(rng.choice(BLANKS) + part + rng.choice(BLANKS) for part in parts)
    value = (text + some(rng, {"": 9, ";": 2, " ; ": 1})).encode()
    if rng.random() < 0.1:
        # A byte too much, or another one.
        place = rng.randrange(len(value) + 1)
        value = value[:place] + bytes([rng.randrange(256)]) + value[place + rng.randrange(2) :]
    return value[:200]


def record(rng: random.Random) -> Record:
    tags = {"issue": 12, "issuewild": 6, "iodef": 2, "issuemail": 1, "issuevmc": 1, "contactemail": 1, "tbs": 1}
    flags = some(rng, {0: 16, 128: 3, 1: 1, 64: 1, 129: 1, 255: 1})
    return Record(flags, rng.choice(SPELLINGS)(some(rng, tags)), issue(rng))


def record_set(rng: random.Random) -> list[Record]:
    return [record(rng) for _ in range(some(rng, {1: 6, 2: 5, 3: 3, 6: 1}))]


def request(rng: random.Random) -> Request:
    issuers = rng.choice((None, OWN, LITERAL, LONE))
    return Request(
        issuers,
        rng.random() < 0.4,
        rng.choice((None, *ACCOUNTS)),
        rng.choice((None, *METHODS)),
        issuers == LITERAL,
    )


def any_name(rng: random.Random) -> str:
    labels = [rng.choice(("a", "b", "c", "www", "x-1")) for _ in range(some(rng, {0: 2, 1: 6, 2: 6, 3: 3}))]
    return ".".join([*labels, rng.choice(APEXES)])


def world(rng: random.Random, failures: bool = True) -> World:
    """Two zones below test. without what no name server would load."""
    made = World({}, {}, {}, frozenset(), frozenset())
    others, failing = set(APEXES), set()
    for _ in range(30):
        name = any_name(rng)
        kind = some(
            rng, {"records": 8, "alias": 5, "wildcard": 2, "wildcard alias": 1, "tree": 1, "other": 3, "failing": 1}
        )
        if kind.startswith("wildcard"):
            name = f"*.{name}"
        taken = name in made.owners() or name in failing
        if kind == "records" and not (name in made.aliases or name in failing):
            made.records[name] = record_set(rng)
        elif name in APEXES or taken or any(above in made.trees for above in up(name)):
            continue
        elif kind == "wildcard":
            made.records[name] = record_set(rng)
        elif kind.endswith("alias"):
            made.aliases[name] = any_name(rng)
        elif kind == "tree" and not any(owner.endswith("." + name) for owner in made.owners() | others | failing):
            made.trees[name] = any_name(rng)
        elif kind == "other":
            others.add(name)
        elif kind == "failing" and failures:
            failing.add(name)
    records = {
        name: found for name, found in made.records.items() if not any(above in made.trees for above in up(name)[1:])
    }
    return World(made.aliases, made.trees, records, frozenset(others), frozenset(failing))


# ---- The collection's verdict


def server(world: World, whole: bool) -> t.Callable[..., t.Any]:
    """What stands for a query to a name server: responses made of the data, with all aliases or only the first."""

    async def exchange(client, to, name, rdtype, flags, seconds):
        current = name.to_text(omit_final_dot=True).lower()
        reply = dns_message.make_response(dns_message.make_query(name, rdtype))
        reply.flags |= dns.flags.AA | dns.flags.RA
        reply.index = None  # or dnspython would not find what is appended
        seen: list[str] = []
        while source(world, current) not in world.failing and current not in seen:
            target = alias(world, current)
            if target is None:
                break
            if len(target) > LONGEST:
                reply.set_rcode(dns.rcode.YXDOMAIN)
                break
            seen.append(current)
            reply.answer.append(dns.rrset.from_text(current + ".", 300, "IN", "CNAME", target + "."))
            current = target
            if not whole:
                return reply
        if source(world, current) in world.failing:
            reply.answer.clear()
            reply.set_rcode(dns.rcode.REFUSED)
        elif current not in seen and not reply.rcode():
            found = world.records.get(source(world, current), []) if rdtype == "CAA" else []
            caa = functools.partial(dns.rdtypes.ANY.CAA.CAA, dns.rdataclass.IN, dns.rdatatype.CAA)
            rdatas = [caa(one.flags, one.tag.encode(), one.value) for one in found]
            if rdatas:
                reply.answer.append(dns.rrset.from_rdata_list(dns.name.from_text(current), 300, rdatas))
            else:
                zone = next((above for above in up(current) if above in APEXES), "test")
                soa = f"ns.{zone}. dns.{zone}. 1 3600 600 86400 300"
                reply.authority.append(dns.rrset.from_text(zone + ".", 300, "IN", "SOA", soa))
                if source(world, current) not in world.existing:
                    reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply

    return exchange


def verdicts(names: t.Sequence[str], request: Request, resolver: str = "127.0.0.1:5") -> list[tuple[str, str | None]]:
    """The module's verdict on each name, and where it found the records."""
    params = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    params.update(
        names=list(names),
        nameservers=[resolver],
        issuer=request.issuers and request.issuers[0],
        issuers={"Own": list(OWN)},
        wildcard=request.wildcard,
        account_uri=request.account,
        validation_method=request.method,
        # No verdict is about how busy this machine is.
        timeout=600,
    )
    return [(found["verdict"], found["found_at"]) for found in caa_info.run(params)["results"]]


# ---- Both


class Tally:
    """Compares, and counts what was compared and which differences decided."""

    def __init__(self) -> None:
        self.cases: collections.Counter[str] = collections.Counter()
        self.decided: collections.Counter[Difference] = collections.Counter()

    def compare(self, world: World, name: str, request: Request, ours: tuple[str, str | None]) -> None:
        wildcard = name.startswith("*.")
        request = request._replace(wildcard=request.wildcard or wildcard)
        try:
            owner, records = relevant_set(world, name.removeprefix("*."))
        except Failure:
            assert ours == ("error", None), (name, request)
            self.cases["error"] += 1
            return
        expected = verdict_of(rewritten(records, request, DIFFERENCES), request)
        assert ours == (expected, owner), (name, request, records)
        self.cases[expected] += 1
        for difference in DIFFERENCES:
            others = [one for one in DIFFERENCES if one is not difference]
            if verdict_of(rewritten(records, request, others), request) != expected:
                self.decided[difference] += 1

    def complete(self, *verdicts: str) -> None:
        """Each of the verdicts has to come out often, or less is compared than it seems."""
        assert min(self.cases[verdict] for verdict in verdicts) > self.cases.total() / 100, self.cases


def names_in(rng: random.Random, world: World, count: int) -> list[str]:
    """Names to query: those of the zones, others, and wildcards."""
    names: dict[str, None] = {}
    while len(names) < count:
        name = rng.choice([any_name(rng), rng.choice(sorted(world.owners())).removeprefix("*.")])
        names[some(rng, {name: 4, "*." + name: 1, "x." + name: 1, rng.choice("ab") + "." + name: 1})] = None
    return list(names)


def test_verdicts_on_generated_record_sets():
    rng, tally = random.Random(SEED), Tally()
    for _ in range(2 * CASES):
        records, asked = record_set(rng), request(rng)
        made = World({}, {}, {"kopano.test": records}, frozenset(), frozenset())
        properties = [_records.Property(*one) for one in records]
        judged = _records.evaluate(properties, _records.Request(
            asked.issuers or (), asked.wildcard, asked.account or "", asked.method or "", asked.literal
        ))  # fmt: skip
        tally.compare(made, "kopano.test", asked, (judged.verdict, "kopano.test"))
    tally.complete("permitted", "forbidden", "unrestricted")
    # A difference that decides nothing any more is none.
    assert not [difference.why for difference in DIFFERENCES if not tally.decided[difference]]


def test_verdicts_on_generated_zones(monkeypatch):
    rng, tally = random.Random(SEED), Tally()
    while tally.cases.total() < CASES:
        made, asked = world(rng), request(rng)
        names = names_in(rng, made, NAMES)
        monkeypatch.setattr(_lookup.Client, "_exchange", server(made, whole=rng.random() < 0.5))
        for name, ours in zip(names, verdicts(names, asked), strict=True):
            tally.compare(made, name, asked, ours)
    tally.complete("permitted", "forbidden", "unrestricted", "error")


def zone_file(world: World, apex: str) -> str:
    """The part of a world that is in one zone, as a master file has it."""

    def line(owner: str, kind: str, data: str) -> str:
        return f"{owner}. {kind} {data}\n" if f".{owner}".endswith(f".{apex}") else ""

    def text(value: bytes) -> str:
        return "".join(f"\\{byte:03}" for byte in value)

    lines = [line(owner, "A", "127.0.0.1") for owner in world.others if owner != apex]
    lines += [line(owner, "CNAME", f"{target}.") for owner, target in world.aliases.items()]
    lines += [line(owner, "DNAME", f"{target}.") for owner, target in world.trees.items()]
    lines += [
        line(owner, "CAA", f'{one.flags} {one.tag} "{text(one.value)}"')
        for owner, records in world.records.items()
        for one in records
    ]
    return "".join(lines)


@pytest.mark.slow
def test_verdicts_by_real_name_servers(tmp_path):
    """The zones as knotd serves and signs them, by unbound, which follows aliases, and without it."""
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    rng, tally = random.Random(SEED), Tally()
    made = world(rng, failures=False)
    names = names_in(rng, made, 2 * NAMES)
    zones = {f"{apex}.": zone_file(made, apex) for apex in APEXES}
    with (
        caa_bed.bed(tmp_path, {**zones, "bogus.test.": "", "expired.test.": ""}, {"split.test.": ""}) as bed,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(_lookup, "AUTHORITY_PORT", bed.port)
        for resolver in (bed.resolver, bed.authority):
            for _ in range(3):
                asked = request(rng)
                for name, ours in zip(names, verdicts(names, asked, resolver), strict=True):
                    tally.compare(made, name, asked, ours)
    tally.complete("permitted", "forbidden", "unrestricted")
