# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report as one page that needs nothing else: report.html.j2, with report.css and report.js inside.

Everything that comes from a host, a certificate or DNS is escaped by the template engine, and the page's own policy
lets neither another script run nor anything be loaded.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import typing as t
from pathlib import Path

import jinja2

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS
from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import scorecard as _scorecard
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Host, Past, Report, Totals
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import Marked

FOLDER = Path(__file__).parent
# Bars of a time line; more are counted, not drawn.
BARS = 40

REPAIRS = 5  # fixes that are listed first; the findings have all of them
NAMED = 3  # kinds of findings that one fix names
FOLDED = 5  # more places of a finding than these are folded

# The columns of the scorecard.
HEADS = {"reach": "reach", "certificate": "certificate"} | {
    str(step): name if name.isupper() else name.lower() for step, name in STEPS.items()
}
# What each state of the scorecard means.
MEANINGS = {
    "pass": "checked, nothing to do",
    "warn": "could be better",
    "fail": "missed, to be repaired",
    "unknown": "could not be found out; the findings say why",
    "not_asked": "not chosen in this run, or the host was not reached",
}
# Signs that say nothing when they are read aloud.
SPOKEN = {"unknown": "unknown", "not_asked": "not checked"}
STATE_WORDS = {"failed": "failed", "unreachable": "unreachable", "left_out": "left out"}


def render(report: Report) -> str:
    """The file's text."""
    rows = _rows(report)
    off = set(_build.policy_off(report))
    css, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return _template().render(
        report=report,
        css=css,
        script=script,
        policy=f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
        host_port=_phrases.host_port,
        of_all=_phrases.of_all,
        counted=_phrases.counted,
        heads={key: HEADS[key] for key in _build.columns(report)},
        steps=STEPS,
        step_names={str(step): title for step, title in _findings.STEP_TITLES.items()},
        severities=SEVERITIES,
        words={verdict: word for verdict, (word, _colour) in _scorecard.WORDS.items()},
        meanings=MEANINGS,
        spoken=SPOKEN,
        state_words=STATE_WORDS,
        places=_findings.PLACES,
        rows=rows,
        standings=_standings(rows),
        repairs=_repairs(report)[:REPAIRS],
        named=NAMED,
        folded=FOLDED,
        groups=_groups(report),
        titles={key: entry.title for key, entry in _findings.catalogue().items()},
        certificates=_certificate_bars(report),
        supports=_support_bars(report),
        clients=_clients(report),
        off=off,
        off_findings=sum(_open(entry) for entry in report["hosts"] if entry["name"] in off),
        lenient=[name for name in _build.passed_with_failures(report) if name not in off],
        trend=_trend(report),
        policies=_policies(report),
    )


def _open(entry: Host) -> int:
    """The findings of a host that are neither waived nor only worth knowing."""
    return sum(entry["counts"][severity] for severity in SEVERITIES if severity != "info")


def _policies(report: Report) -> list[tuple[list[str], str | None, list[str]]]:
    """What hosts are judged by, and which hosts, the most frequent first: fail_on and the required grade."""
    found: dict[tuple[tuple[str, ...], str | None], list[str]] = {}
    for entry in report["hosts"]:
        if own := entry["policy"]:
            found.setdefault((tuple(own["fail_on"]), own["minimum_grade"]), []).append(entry["name"])
    return [
        (list(fail_on), grade, hosts)
        for (fail_on, grade), hosts in sorted(found.items(), key=lambda item: -len(item[1]))
    ]


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# --- hosts -----------------------------------------------------------------------------------------------------------


class Line(t.NamedTuple):
    """The history of a host as a row of bars: their paths by verdict, the whole in words, and its last other grade."""

    width: int
    paths: dict[str, str]
    text: str
    before: str


class Row(t.NamedTuple):
    """A host's line in the table. verdicts: by its columns; history: None where there is only this report."""

    host: Host
    verdicts: dict[str, str]
    first: Marked | None
    history: Line | None


# How the bar of a report is drawn, from the middle of the row: up is good. Colour alone says nothing to many.
_BARS = {
    "passed": ("pass", "-6"),
    "failed": ("fail", "6"),
    "unreachable": ("unknown", "3"),
    "not_judged": ("info", "-2"),
}


def _rows(report: Report) -> list[Row]:
    columns = _build.columns(report)
    return [
        Row(
            entry,
            {key: verdict for key, verdict in _build.cells(entry).items() if key in columns},
            _build.first_fix(entry),
            _line(entry["history"]) if len(entry["history"]) > 1 else None,
        )
        for entry in report["hosts"]
    ]


def _line(history: t.Sequence[Past]) -> Line:
    paths: dict[str, str] = {}
    for number, one in enumerate(history):
        verdict, height = _BARS[one["state"]]
        paths[verdict] = f"{paths.get(verdict, '')}M{number * 4 + 2} 7v{height}"
    # Only what changed has to be said.
    spans: list[tuple[str, str, str]] = []
    for one in history:
        words = ", ".join(filter(None, (one["grade"], one["state"].replace("_", " "))))
        day = one["generated"][:10]
        if spans and spans[-1][2] == words:
            spans[-1] = (spans[-1][0], day, words)
        else:
            spans.append((day, day, words))
    text = "; ".join(f"{begin if begin == end else f'{begin} to {end}'}: {words}" for begin, end, words in spans)
    now = history[-1]["grade"]
    others = [one["grade"] for one in history if one["grade"] and one["grade"] != now]
    return Line(len(history) * 4, paths, text, others[-1] if others else "")


def _standings(rows: t.Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many hosts are in each state, by C(COLUMNS)."""
    found = {key: dict.fromkeys(_build.VERDICTS, 0) for key in _build.COLUMNS}
    for row in rows:
        for key, verdict in row.verdicts.items():
            found[key][verdict] += 1
    return found


# --- findings --------------------------------------------------------------------------------------------------------


class Repair(t.NamedTuple):
    """One fix with the kinds of findings that it clears: as text, or as commands by place where hosts' texts differ."""

    kinds: list[tuple[str, str]]
    text: str
    commands: dict[str, str]
    failures: int
    hosts: int


def _repairs(report: Report) -> list[Repair]:
    """Which one fix clears most failures: kinds of findings with the same fix are one."""
    kinds: dict[str, list[tuple[str, Marked]]] = {}
    for entry in report["hosts"]:
        for item in entry["findings"]:
            if item["severity"] == "fail" and not item["waived"]:
                kinds.setdefault(item["id"], []).append((entry["name"], item))
    titles = _findings.catalogue()
    fixes: dict[tuple[str, tuple[tuple[str, str], ...], str], list[str]] = {}
    for key, items in kinds.items():
        texts = {item["fix"] for _host, item in items}
        text = texts.pop() if len(texts) == 1 else ""
        commands = () if text or key not in titles else tuple(titles[key].fix.items())
        # Kinds without a known fix have nothing in common.
        fixes.setdefault((text, commands, "" if text or commands else key), []).append(key)
    repairs = []
    for (text, commands, _key), keys in fixes.items():
        keys.sort(key=lambda key: -len(kinds[key]))
        found = [place for key in keys for place in kinds[key]]
        named = [(key, titles[key].title if key in titles else key) for key in keys]
        repairs.append(Repair(named, text, dict(commands), len(found), len({host for host, _item in found})))
    return sorted(repairs, key=lambda one: (-one.failures, -one.hosts, one.kinds))


class Group(t.NamedTuple):
    """A kind of finding with all places where it was found; C(fix) is the one that all of them share, or empty."""

    entry: _findings.Entry
    severity: str
    message: str
    fix: str
    items: list[tuple[str, Marked]]
    hosts: int
    open: int
    is_new: bool


def _groups(report: Report) -> list[Group]:
    """The findings by kind, the worst and most frequent first."""
    found: dict[tuple[str, int], list[tuple[str, Marked]]] = {}
    for entry in report["hosts"]:
        for item in entry["findings"]:
            found.setdefault((item["id"], item["step"]), []).append((entry["name"], item))
    groups = []
    for (key, step), items in found.items():
        known = (_findings.catalogue().get(key) or _findings.unknown(key))._replace(step=step)
        fixes = {item["fix"] for _host, item in items}
        first = items[0][1]
        open_ones = [(host, item) for host, item in items if not item["waived"]]
        groups.append(
            Group(
                known,
                first["severity"],
                first["message"],
                fixes.pop() if len(fixes) == 1 else "",
                items,
                len({host for host, _item in items}),
                len(open_ones),
                any(item["since"] == report["generated"] for _host, item in open_ones)
                and report["trend"]["previous"] is not None,
            )
        )
    return sorted(groups, key=lambda g: (not g.open, SEVERITIES.index(g.severity), -g.hosts, g.entry.step, g.entry.id))


# --- clients ---------------------------------------------------------------------------------------------------------


class ClientTable(t.NamedTuple):
    """Clients by hosts. hosts: the columns, each the hosts with the same results; rows: name, id, and a verdict for
    each column; refused: how many clients some host does not serve."""

    hosts: list[list[str]]
    rows: list[tuple[str, str, list[str]]]
    refused: int


_OK = {True: "pass", False: "fail", None: "unknown"}


def _clients(report: Report) -> ClientTable | None:
    """The simulated clients of all hosts; None where none was simulated."""
    groups: dict[tuple[tuple[str, bool | None], ...], list[str]] = {}
    for entry in report["hosts"]:
        if entry["clients"]:
            groups.setdefault(tuple(sorted(entry["clients"].items())), []).append(entry["name"])
    columns = sorted(groups.items(), key=lambda item: -len(item[1]))
    results = [dict(key) for key, _hosts in columns]
    rows = [
        (_lost_clients.name(client), ident, [_OK[result[ident]] if ident in result else "" for result in results])
        for ident, client in _client_data.clients().items()
        if any(ident in result for result in results)
    ]
    refused = sum("fail" in verdicts for _name, _ident, verdicts in rows)
    return ClientTable([hosts for _key, hosts in columns], rows, refused) if rows else None


# --- drawings --------------------------------------------------------------------------------------------------------


class Bar(t.NamedTuple):
    """A bar of a time line, in per cent of its width: where it begins, how long it is, and the verdict of its end."""

    label: str
    detail: str
    left: float
    width: float
    end: str
    verdict: str


class Chart(t.NamedTuple):
    """Bars with the marks of the axis (per cent, text), where today is, and how many bars are not drawn."""

    bars: list[Bar]
    marks: list[tuple[float, str]]
    today: float
    more: int


def _day(text: t.Any) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(str(text)[:10])
    except ValueError:
        return None


def _chart(rows: list[tuple[str, str, datetime.date | None, datetime.date, str]], report: Report) -> Chart | None:
    """Rows of label, detail, begin, end and verdict, the first end first, on an axis of years around today."""
    if not rows:
        return None
    rows.sort(key=lambda row: (row[3], row[0]))
    more = len(rows) - BARS
    rows = rows[:BARS]
    today = _day(report["generated"]) or datetime.date.today()
    year = datetime.timedelta(days=365)
    # What is far away is cut off, so that what is near can be seen.
    first = max(min([today, *(min(row[2] or row[3], row[3]) for row in rows)]), today - year)
    last = min(max([today + year / 4, *(row[3] for row in rows)]), today + 5 * year)
    span = (last - first).days or 1

    def at(day: datetime.date) -> float:
        return round(min(max((day - first).days / span, 0), 1) * 100, 2)

    bars = []
    for label, detail, begin, end, verdict in rows:
        left = at(begin or min(first, end))
        bars.append(Bar(label, detail, left, round(max(at(end) - left, 0.6), 2), end.isoformat(), verdict))
    months = 3 if span < 500 else 6 if span < 1000 else 12
    marks = []
    month = datetime.date(first.year, 1, 1)
    while month <= last:
        if month >= first:
            marks.append((at(month), month.strftime("%Y" if month.month == 1 else "%b")))
        number = month.year * 12 + month.month - 1 + months
        month = datetime.date(number // 12, number % 12 + 1, 1)
    return Chart(bars, [mark for mark in marks if mark[0] <= 95], at(today), max(more, 0))


def _certificate_bars(report: Report) -> Chart | None:
    """Each certificate once, the first to end first: warn below a third of its life, as a renewal is due then."""
    today = _day(report["generated"]) or datetime.date.today()
    found: dict[str, tuple[str, str, datetime.date | None, datetime.date, str]] = {}
    for entry in report["hosts"]:
        for one in entry["certificates"]:
            begin, end = _day(one["not_before"]), _day(one["not_after"])
            if end is None or one["sha256"] in found:
                continue
            is_due = begin is not None and (end - today) * 3 < end - begin
            verdict = "fail" if end < today else "warn" if is_due else "pass"
            label = (one["names"] or [one["subject"]])[0] or one["subject"] or one["sha256"][:16]
            found[one["sha256"]] = (label, entry["name"], begin, end, verdict)
    return _chart(list(found.values()), report)


def _support_bars(report: Report) -> Chart | None:
    """Each distribution with its level and end once, and how many hosts have it."""
    today = _day(report["generated"]) or datetime.date.today()
    counts: dict[tuple[str, str, datetime.date], int] = {}
    for entry in report["hosts"]:
        support = entry["support"]
        end = _day(support["until"]) if support else None
        if support and end:
            key = (support["distribution"], support["level"], end)
            counts[key] = counts.get(key, 0) + 1
    soon = today + datetime.timedelta(days=180)
    rows: list[tuple[str, str, datetime.date | None, datetime.date, str]] = []
    for (name, level, end), number in counts.items():
        verdict = "fail" if end < today or level == "eol" else "warn" if end < soon else "pass"
        rows.append((name, f"{level}, {number} host{'s' if number > 1 else ''}", None, end, verdict))
    return _chart(rows, report)


def _trend(report: Report) -> list[tuple[float, float, Totals]]:
    """Points of the line of open failures, x and y in per cent, of the last reports."""
    history = report["trend"]["history"]
    most = max([entry["fail"] for entry in history] + [1])
    step = 100 / max(len(history) - 1, 1)
    return [
        (round(number * step, 2), round(100 - entry["fail"] / most * 100, 2), entry)
        for number, entry in enumerate(history)
    ]
