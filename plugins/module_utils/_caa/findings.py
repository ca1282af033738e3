# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From lookups and verdicts to findings, and the zone-file lines that repair them. No input or output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Dict, NamedTuple

from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import Lookup, Survey
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Grant, Judgement, Property, Request
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding

MAX_LISTED, MAX_TEXT = 100, 1000
"""Records of one name server that are listed, and characters of one."""


_PROBLEMS = {_lookup.BOGUS: "caa.dnssec.bogus", _lookup.INVALID: "caa.name.invalid"}


if TYPE_CHECKING:  # Python has it since 3.8 only.
    from typing import TypedDict  # novm

    class ReturnedRecord(TypedDict):
        """A record as the module returns it; the value as a zone file has it between quotes."""

        flags: int
        tag: str
        value: str

    class Verdict(TypedDict):
        """What the module returns of a name, without the findings: the place and the records that decide, or None and
        no records, the values by their tags, and the verdict. C(error) is why the verdict could not be found out, or
        the result of DNSSEC validation, and None otherwise."""

        name: str
        found_at: str | None
        records: list[ReturnedRecord]
        issue: list[str]
        issuewild: list[str]
        iodef: list[str]
        dnssec: str
        verdict: str
        error: str | None

    class Result(Verdict):
        """What the module returns of a name."""

        findings: list[Finding]

else:
    ReturnedRecord = Verdict = Result = Dict[str, Any]


class Claim(NamedTuple):
    """A CA that wants to issue (without a name: any CA), and the judgement about it."""

    issuer: str
    request: Request
    judgement: Judgement


class Case(NamedTuple):
    """A name and what was judged about it: the `claim` that the verdict is about, which is of the expected CA where one
    was named, and the claim of the CA that issued the `served` certificate, where that is known. `kind` is what else
    the certificate shows about its CA (see _caa.issuers), `unreadable` why it cannot be read."""

    name: str
    lookup: Lookup
    claim: Claim
    served: Claim | None = None
    kind: str = ""
    unreadable: str = ""
    expected: bool = False


def line(owner: str, record: Property) -> str:
    """A record as a zone-file line."""
    return f"{owner}. IN CAA {record}"


def _remove(owner: str, record: Property) -> str:
    return f"; remove {line(owner, record)}"


def _lines(owner: str, records: Iterable[Property]) -> str:
    return "\n".join(line(owner, record) for record in records)


def _replace(owner: str, old: Property, new: Property) -> str:
    return f"{_remove(owner, old)}\n{line(owner, new)}"


def _permission(owner: str, request: Request, tag: str = "issue") -> str:
    """The line that lets the request's CA issue, on the request's terms."""
    if not request.domains:
        # A wrong line would keep the next certificate away, so this one is left for a human to complete.
        return (
            f'; {owner}. IN CAA 0 {tag} "DOMAIN"  ; one for each CA in use, with the domain that it documents for CAA'
        )
    terms = (("accounturi", request.account_uri), ("validationmethods", request.validation_method))
    grant = Grant(request.domains[0], tuple((name, value) for name, value in terms if value))
    return line(owner, Property(0, tag, str(grant).encode()))


def _report(owner: str, mailbox: str) -> str:
    return line(owner, Property(0, "iodef", f"mailto:{mailbox}".encode()))


def _proposal(place: str, mailbox: str, cases: Sequence[Case]) -> str:
    """A complete set for a place that has none yet, with every CA that the cases there need."""
    # The terms may differ from host to host, and another client's account must not be kept out.
    requests = {case.claim.request._replace(account_uri="", validation_method="", wildcard=False) for case in cases}
    lines = sorted({_permission(place, request) for request in requests})
    if not any(case.claim.request.wildcard for case in cases):
        lines.append(line(place, Property(0, "issuewild", b";")))
    return "\n".join([*lines, _report(place, mailbox)])


def place_for(lookup: Lookup) -> tuple[str, str]:
    """Where records for a name belong, and the mailbox for reports: its zone's apex, unless a registry keeps that."""
    zone = lookup.zone
    if zone and zone.private:
        return zone.name, zone.mailbox
    return lookup.name, f"hostmaster@{lookup.name}"


class Run(NamedTuple):
    """What findings about one name depend on besides it: the names of the lookup, a complete record set for each place
    that serves all names there, and the places of record sets that wildcard certificates depend on."""

    survey: Survey
    names: frozenset[str]
    proposals: dict[str, str]
    wildcards: frozenset[str | None]


def of_cases(cases: Sequence[Case], survey: Survey) -> list[list[Finding]]:
    """The findings about each name."""
    places: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if case.kind != _issuers.PRIVATE:
            places.setdefault(place_for(case.lookup), []).append(case)
    run = Run(
        survey,
        frozenset(case.lookup.name for case in cases),
        {place: _proposal(place, mailbox, there) for (place, mailbox), there in places.items()},
        frozenset(case.lookup.found_at for case in cases if case.claim.request.wildcard),
    )
    return [_of_case(case, run) for case in cases]


def _of_case(case: Case, run: Run) -> list[Finding]:
    if case.kind == _issuers.PRIVATE:
        return [finding("caa.not_applicable", case.name)]
    unreadable = [finding("caa.certificate.unreadable", case.name, case.unreadable)] if case.unreadable else []
    problem = case.lookup.problem
    if problem:
        return [finding(_PROBLEMS.get(problem.kind, "caa.lookup.failed"), case.name, problem.message), *unreadable]
    return [
        *unreadable,
        *_of_verdict(case, run),
        *_of_records(case.lookup, run),
        *_of_related(case, run),
        *_of_servers(case.lookup, run),
    ]


def _of_verdict(case: Case, run: Run) -> Iterator[Finding]:
    lookup, (_issuer, request, judgement), served = case.lookup, case.claim, case.served
    found_at = lookup.found_at
    if case.kind == _issuers.UNKNOWN:
        yield finding("caa.issuer.unknown", case.name)
    if found_at is None:
        yield finding("caa.none", case.name, "", run.proposals[place_for(lookup)[0]])
        return
    if judgement.verdict == _records.UNRESTRICTED:
        evidence = _lines(found_at, lookup.records)
        yield finding("caa.issue.none", case.name, evidence, _permission(found_at, request))
    for record in judgement.blockers:
        harmless = record.kind in _records.CONTACTS
        fix = _replace(found_at, record, record._replace(flags=0)) if harmless else _remove(found_at, record)
        yield finding("caa.critical", case.name, line(found_at, record), fix)
    if judgement.blockers:
        return
    if judgement.verdict == _records.FORBIDDEN and not request.domains:
        yield finding("caa.nobody", case.name, *_refusal(case.claim, lookup))
    if judgement.verdict == _records.FORBIDDEN and case.expected:
        yield finding("caa.forbidden", case.name, *_refusal(case.claim, lookup))
    if served and served.judgement.verdict == _records.FORBIDDEN and not (case.expected and served.request == request):
        yield finding("caa.renewal.refused", case.name, *_refusal(served, lookup))
    if judgement.unchecked:
        yield finding(
            "caa.terms.unchecked", case.name, "; ".join(f"{tag}={value}" for tag, value in judgement.unchecked)
        )


def _refusal(claim: Claim, lookup: Lookup) -> tuple[str, str]:
    """Evidence and fix for a CA that may not issue."""
    found_at = lookup.found_at or lookup.name
    reasons = [f"{line(found_at, record)}  ; {reason}" for record, reason in claim.judgement.refusals]
    tag = claim.judgement.refusals[0][0].kind if claim.judgement.refusals else "issue"
    return "\n".join([f"{claim.issuer or 'any CA'}:", *reasons]), _permission(found_at, claim.request, tag)


def _of_records(lookup: Lookup, run: Run) -> Iterator[Finding]:
    """What is wrong or missing in the record set itself, for any CA."""
    records, found_at = lookup.records, lookup.found_at
    if found_at is None:
        return
    kinds = {record.kind for record in records}
    blockers = _records.blockers(records, literal=True)
    for record in records:
        here = line(found_at, record)
        if record.kind in ("issue", "issuewild"):
            grant = _records.parse_grant(record.value)
            if grant is None:
                yield finding("caa.value.malformed", found_at, here, _remove(found_at, record))
            elif grant.domain != grant.domain.lower():
                lower = record._replace(value=str(grant._replace(domain=grant.domain.lower())).encode())
                yield finding("caa.domain.uppercase", found_at, here, _replace(found_at, record, lower))
        if record.kind == "iodef" and not _records.reports_to(record):
            yield finding("caa.iodef.invalid", found_at, here, _remove(found_at, record))
        if record.flags not in (0, _records.CRITICAL) and record not in blockers:
            flags = record.flags & _records.CRITICAL
            yield finding("caa.flags.unknown", found_at, here, _replace(found_at, record, record._replace(flags=flags)))
    if "iodef" not in kinds:
        mailbox = lookup.home.mailbox if lookup.home else f"hostmaster@{found_at}"
        yield finding("caa.iodef.none", found_at, "", _report(found_at, mailbox))
    if "issue" in kinds and "issuewild" not in kinds and found_at not in run.wildcards:
        yield finding("caa.wildcard.unrestricted", found_at, "", line(found_at, Property(0, "issuewild", b";")))


def _of_related(case: Case, run: Run) -> Iterator[Finding]:
    """The domain that the name is in, and its autodiscover name: is what protects the name protecting them too?"""
    zone = case.lookup.zone
    if zone is None or not case.lookup.found_at:
        return
    for name in (zone.name, f"autodiscover.{zone.name}"):
        related = run.survey.lookups.get(name)
        if related is None or name in run.names:
            continue
        if related.problem:
            yield finding(_PROBLEMS.get(related.problem.kind, "caa.lookup.failed"), name, related.problem.message)
        elif not related.records:
            yield finding("caa.related.uncovered", name, "", run.proposals[place_for(case.lookup)[0]])
        elif name != zone.name and related.found_at != case.lookup.found_at:
            # The domain itself often has another CA for its web site; the autodiscover name is served from here.
            request = case.claim.request._replace(wildcard=False)
            claim = Claim(case.claim.issuer, request, _records.evaluate(related.records, request))
            if claim.judgement.verdict == _records.FORBIDDEN:
                yield finding("caa.related.uncovered", name, *_refusal(claim, related))


def _of_servers(lookup: Lookup, run: Run) -> Iterator[Finding]:
    """What the zone's own servers have."""
    comparison = run.survey.comparisons.get(lookup.home.name) if lookup.home else None
    if comparison is None:
        return
    if not comparison.views:
        evidence = "\n".join(f"{server}: {fault}" for server, fault in sorted(comparison.faults.items()))
        yield finding("caa.servers.unchecked", comparison.zone.name, evidence)
        return
    for level in lookup.levels:
        views = comparison.views.get(level.owner, {})
        if len(set(views.values())) > 1:
            evidence = "\n".join(f"{server}: {_listed(view)}" for server, view in sorted(views.items()))
            yield finding("caa.servers.disagree", level.owner, evidence)
    for server, fault in sorted(comparison.faults.items()):
        yield finding("caa.servers.faulty", comparison.zone.name, f"{server}: {fault}")


def _listed(view: Iterable[Property]) -> str:
    """A server's records in a line, of which the length is bounded, unlike what a server may send."""
    texts = [str(record)[:MAX_TEXT] for record in sorted(view)]
    cut = texts[MAX_LISTED:]
    return ", ".join(texts[:MAX_LISTED]) + (f" and {len(cut)} more" if cut else "") or "none"


def seen_by_servers(lookup: Lookup, survey: Survey) -> Iterator[Sequence[Property]]:
    """The deciding records as a CA finds them at each name server of the zone."""
    comparison = survey.comparisons.get(lookup.home.name) if lookup.home else None
    if comparison is None:
        return
    for server in {server for views in comparison.views.values() for server in views}:
        for level in lookup.levels:
            view = comparison.views.get(level.owner, {}).get(server)
            records = level.records if view is None else tuple(sorted(view))
            if records:
                yield records
                break


def unique(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, in order: names in one zone share what is wrong with it."""
    return list({tuple(item.values()): item for item in findings}.values())
