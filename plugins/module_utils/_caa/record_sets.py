# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From findings to complete record sets: what a place has now, and what it has once all fixes are followed.

The fixes are applied in memory, and the names judged again, until there are no more fixes: a critical record hides what
else keeps a CA away, and a new issue record makes an issuewild one necessary. No input or output.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Dict, NamedTuple

from ansible_collections.kopano.hardening.plugins.module_utils._caa import findings as _caa_findings
from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.findings import Case, Claim, Result
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import Lookup, Survey
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding

ROUNDS = 4
"""More than any set needs; a limit, so that two fixes which undo each other would not go on for ever."""

_LINE = re.compile(r"(?P<mark>; remove |; )?(?P<owner>\S+)\. IN CAA (?P<record>.*)")

if TYPE_CHECKING:  # Python has it since 3.8 only.
    from typing import TypedDict  # novm

    class ReturnedRecord(TypedDict):
        """A record by its fields; C(value) as a zone file has it between its quotes."""

        flags: int
        tag: str
        value: str

    class ReturnedSet(TypedDict):
        """A record set as the module returns it: the place and the zone that it is in, the names that it decides about,
        the records there now and those that shall be, each as a zone file has it; C(records) has the latter by their
        fields. C(wanted) is empty where it is not C(complete)."""

        name: str
        zone: str
        names: list[str]
        current: list[str]
        wanted: list[str]
        records: list[ReturnedRecord]
        complete: bool
        lines: str

    class CaaInfo(TypedDict):
        """The result of the module caa_info."""

        results: list[Result]
        record_sets: list[ReturnedSet]
        findings: list[Finding]

else:
    ReturnedRecord = ReturnedSet = CaaInfo = Dict[str, Any]


class RecordSet(NamedTuple):
    """A place, the names that it decides about, what is there, and what shall be.

    `wanted` is None where a CA that is in use is not known: a set without it would keep the next certificate away.
    """

    place: str
    zone: str
    names: tuple[str, ...]
    current: tuple[Property, ...]
    wanted: tuple[Property, ...] | None
    proposal: tuple[str, ...] = ()

    @property
    def lines(self) -> str:
        """Zone-file lines, ready to be pasted; what has to go stands in comments."""
        if self.wanted is None:
            return "\n".join(self.proposal)
        gone = [record for record in self.current if record not in self.wanted]
        return "\n".join(
            [f"; remove {_caa_findings.line(self.place, record)}" for record in gone]
            + [_caa_findings.line(self.place, record) for record in self.wanted]
        )

    def returned(self) -> ReturnedSet:
        """As the module returns it."""
        return {
            "name": self.place,
            "zone": self.zone,
            "names": list(self.names),
            "current": list(map(str, self.current)),
            "wanted": list(map(str, self.wanted or ())),
            "records": [{"flags": one.flags, "tag": one.tag, "value": one.text} for one in self.wanted or ()],
            "complete": self.wanted is not None,
            "lines": self.lines,
        }


def in_order(records: Iterable[Property]) -> tuple[Property, ...]:
    """The records in the usual order: who may issue, who wildcards, where to report, the rest; each once."""
    order = ("issue", "issuewild", "iodef")
    rank = {kind: number for number, kind in enumerate(order)}
    return tuple(sorted(set(records), key=lambda record: (rank.get(record.kind, len(order)), record)))


class _Edits:
    """What the fixes of all findings change at one place."""

    def __init__(self) -> None:
        self.lines: dict[str, None] = {}
        self.add: set[Property] = set()
        self.remove: set[Property] = set()
        self.complete = True

    def follow(self, records: Iterable[Property]) -> tuple[Property, ...]:
        return tuple(sorted((set(records) - self.remove) | self.add))


def _edits(findings: Iterable[Finding]) -> dict[str, _Edits]:
    found: dict[str, _Edits] = {}
    for text in "\n".join(item["fix"] for item in findings).splitlines():
        match = _LINE.fullmatch(text)
        if match is None:
            continue
        edits = found.setdefault(match["owner"], _Edits())
        edits.lines[text] = None
        if match["mark"] == "; ":
            # A line that a human has to complete.
            edits.complete = False
        else:
            (edits.remove if match["mark"] else edits.add).add(_records.parse_record(match["record"]))
    return found


def _follow(lookup: Lookup, sets: Mapping[str, tuple[Property, ...]]) -> Lookup:
    """The climb in a world in which these sets are published."""
    levels = []
    for level in lookup.levels:
        levels.append(level._replace(records=sets.get(level.owner, level.records)))
        if levels[-1].records:
            break
    return dataclasses.replace(lookup, levels=levels)


def _judge(case: Case, lookup: Lookup) -> Case:
    def again(claim: Claim) -> Claim:
        return claim._replace(judgement=_records.evaluate(lookup.records, claim.request))

    return case._replace(lookup=lookup, claim=again(case.claim), served=case.served and again(case.served))


def record_sets(cases: Sequence[Case], survey: Survey) -> list[RecordSet]:
    """The sets that the names need, at places in the names' own zones, sorted by place."""
    cases = [case for case in cases if case.kind != _issuers.PRIVATE and not case.lookup.problem]
    zones = {case.lookup.zone.name for case in cases if case.lookup.zone and case.lookup.zone.private}
    lookups = {name: lookup for name, lookup in survey.lookups.items() if not lookup.problem}
    # Where a climb came by; of other places it is not known what is there, so nothing may be replaced.
    before: dict[str, tuple[Property, ...]] = {}
    zone_of: dict[str, str] = {}
    for lookup in lookups.values():
        home = lookup.home.name if lookup.home else ""
        for level in lookup.levels if home in zones else ():
            if f".{level.owner}".endswith(f".{home}"):
                before[level.owner], zone_of[level.owner] = level.records, home
    after = dict(before)
    unknown: dict[str, tuple[str, ...]] = {}
    for _round in range(ROUNDS):
        world = Survey({name: _follow(lookup, after) for name, lookup in lookups.items()}, {}, survey.servers)
        cases = [_judge(case, world.lookups[case.lookup.name]) for case in cases]
        found = [item for findings in _caa_findings.of_cases(cases, world) for item in findings]
        edits = {place: edit for place, edit in _edits(found).items() if place in before and place not in unknown}
        unknown.update({place: tuple(edit.lines) for place, edit in edits.items() if not edit.complete})
        followed = {place: edit.follow(after[place]) for place, edit in edits.items() if edit.complete}
        if all(records == after[place] for place, records in followed.items()):
            break
        after.update(followed)
    names: dict[str, list[str]] = {}
    for case in cases:
        if case.lookup.found_at in before:
            names.setdefault(case.lookup.found_at, []).append(case.name)
    changed = {place for place in before if set(after[place]) != set(before[place])}
    return [
        RecordSet(
            place,
            zone_of[place],
            tuple(names.get(place, ())),
            in_order(before[place]),
            None if place in unknown else in_order(after[place]),
            unknown.get(place, ()),
        )
        for place in sorted({*names, *changed, *unknown})
    ]
