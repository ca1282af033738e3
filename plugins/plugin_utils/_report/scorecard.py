# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report in the terminal: one line a host, with its steps, its grade and why it fails."""

from __future__ import annotations

import textwrap
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Change, Host, Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import Marked

# A piece of text and the colour that it is to have, or none.
Piece = tuple[str, str | None]
Line = list[Piece]

WORDS = {
    "pass": ("ok", "green"),
    "warn": ("warn", "yellow"),
    "fail": ("FAIL", "red"),
    "unknown": ("?", "purple"),
    "not_asked": ("-", "dark gray"),
}
HEADS = {"reach": "reach", "1": "updates", "2": "TLS", "3": "HSTS", "4": "CAA", "certificate": "cert", "5": "grade"}
NAME_WIDTH = 30
CELL = max(len(word) for word, _colour in WORDS.values())
GAP = "  "
UNKNOWN_KINDS = 5  # of which the terminal names the hosts; the report has all of them
UNKNOWN_HOSTS = 5
FIX_WIDTH = 60
REASON_WIDTH = 20  # columns at least, on a narrow terminal
REASON_LINES = 2


def lines(report: Report, files: t.Sequence[str], width: int | None = None) -> list[Line]:
    """What is shown. width is that of the terminal; without one nothing is cut off."""
    entries = [entry for entry in report["hosts"] if entry["state"] != "left_out"]
    name_width = min(max([len(entry["name"]) for entry in entries] + [4]), NAME_WIDTH)
    heads = {key: HEADS[key].ljust(CELL) for key in _build.columns(report)}
    shown: list[Line] = [[(GAP.join(["host".ljust(name_width), *heads.values(), "fails because"]), None)]]
    for entry in entries:
        line: Line = [(_cut(entry["name"], name_width).ljust(name_width), "red" if entry["failed"] else None)]
        cells = _build.cells(entry)
        for key, head in heads.items():
            word, colour = WORDS[cells[key]]
            if key == "5" and entry["grade"]:
                word = entry["grade"]
            line += [(GAP, None), (word.ljust(len(head)), colour)]
        shown += _with_reason(line, why_it_fails(entry), width)
    shown += [[(text, colour)] for text, colour in _totals(report)]
    for text in _unknown(report):
        shown += [[(part, WORDS["unknown"][1])] for part in _wrapped(text, width)]
    skipped = [head.strip() for key, head in heads.items() if any(_is_skipped(entry, key) for entry in entries)]
    shown += [[(f"- not checked in this run: {' '.join(skipped)}", WORDS["not_asked"][1])]] if skipped else []
    if files:
        shown.append([(f"report: {files[0]}", None)])
    return shown


def _unknown(report: Report) -> t.Iterator[str]:
    """What could not be found out, and on which hosts: why there is a question mark above."""
    titles = _findings.catalogue()
    found: dict[str, tuple[str, dict[str, None]]] = {}
    for entry in report["hosts"]:
        for item in entry["findings"]:
            if item["severity"] == "unknown" and not item["waived"]:
                known = titles.get(item["id"])
                fix, hosts = found.setdefault(known.title if known else item["message"], (item["fix"], {}))
                hosts[entry["name"]] = None
    kinds = sorted(found.items(), key=lambda kind: -len(kind[1][1]))
    for title, (fix, hosts) in kinds[:UNKNOWN_KINDS]:
        more = len(hosts) - UNKNOWN_HOSTS
        names = " ".join(list(hosts)[:UNKNOWN_HOSTS]) + (f" and {more} more" if more > 0 else "")
        command = f" ({fix.rstrip('.')})" if 0 < len(fix) <= FIX_WIDTH and "\n" not in fix else ""
        yield f"? {names}: {title}{command}".replace("\n", " ")
    if len(kinds) > UNKNOWN_KINDS:
        yield f"? and {len(kinds) - UNKNOWN_KINDS} more in the report"


def _is_skipped(entry: Host, key: str) -> bool:
    """Whether a host was reached, and what the column is about was not chosen."""
    return entry["reach"] != "fail" and _build.cells(entry)[key] == "not_asked"


def why_it_fails(entry: Host) -> str:
    """The most important reason why a host, or one of its steps, fails, and how much more there is to repair."""
    if not entry["failed"] and "fail" not in entry["steps"].values():
        return "-"
    first = _build.first_fix(entry)
    if first is None:
        # A dry run lists no reason.
        return "; ".join(entry["reasons"]) or _build.grade_missed(entry)
    more = sum(not item["waived"] and item["severity"] in ("fail", "warn") for item in entry["findings"]) - 1
    end = f" (and {more} more)" if more > 0 else ""
    return f"{_title(first, entry['name'])}{end}".replace("\n", " ")


# In place of their titles: what happened to a host is in the evidence.
OF_HOST = {"report.host.failed": "", "report.host.unreachable": "not reachable: "}


def _title(item: Marked, host: str) -> str:
    """A finding in short, with what it is about where that is not the host."""
    if item["id"] in OF_HOST and item["evidence"]:
        return OF_HOST[item["id"]] + item["evidence"]
    known = _findings.catalogue().get(item["id"])
    about = item["evidence"] if item["id"].startswith("report.") else item["subject"]
    about = "" if about == host else about
    return f"{known.title if known else item['message']}{f': {about}' if about else ''}"


def _totals(report: Report) -> t.Iterator[Piece]:
    summary, trend = report["summary"], report["trend"]
    off = _build.policy_off(report)
    passed = len(summary["passed"]) - len(off)
    lenient = set(_build.passed_with_failures(report)) - set(off)
    if off and not passed:
        numbers = ["policy off", _phrases.counted(_open_findings(report), "finding")]
    else:
        numbers = [_phrases.of_all(passed, summary["hosts"], "host", "pass")]
        numbers += [f"{len(lenient)} of them with failures that report_fail_on does not count"] if lenient else []
        numbers += [f"{len(off)} with the policy off"] if off else []
    rest = (
        (summary["failed"], "failed"),
        (summary["unreachable"], "unreachable"),
        (summary["pending"], "seen before hardening and not judged"),
        (summary["left_out"], "left out"),
    )
    numbers += [f"{len(names)} {words}" for names, words in rest if names]
    changes = [_counted_changes(trend["new"], "new"), _counted_changes(trend["gone"], "gone")]
    if any(changes):
        numbers.append(f"{' and '.join(filter(None, changes))} since {trend['previous']}")
    # Of hosts that are not judged nothing is good.
    unjudged = summary["pending"] or off
    yield ", ".join(numbers), "red" if summary["failed"] else None if unjudged else "green"
    for waiver in report["policy"]["waivers"]:
        if waiver["state"] == "expired" and waiver["findings"]:
            yield f"the waiver of {waiver['id']} ended on {waiver['until']}: {waiver['reason']}", "yellow"


def _open_findings(report: Report) -> int:
    """How many there are that are more than worth knowing."""
    return sum(number for key, number in report["summary"]["findings"].items() if key in ("fail", "warn", "unknown"))


def _counted_changes(changes: t.Sequence[Change], word: str) -> str:
    """How many findings are new, or gone; a single one by its host and id."""
    if not changes:
        return ""
    only = f" ({changes[0]['host']} {changes[0]['id']})" if len(changes) == 1 else ""
    return f"{len(changes)} {word}{only}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _wrapped(text: str, width: int | None, indent: str = GAP) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) if width else [text]


def _with_reason(line: Line, reason: str, width: int | None) -> list[Line]:
    """The line with the reason beside it, which takes some lines at most; the report has all of it."""
    used = sum(len(text) for text, _colour in line) + len(GAP)
    room = max(width - used, REASON_WIDTH) if width else None
    parts = _wrapped(reason, room, "")
    if parts[REASON_LINES:] and room:
        parts[REASON_LINES - 1 :] = [_cut(f"{parts[REASON_LINES - 1]} …", room)]
    first, *others = parts or [""]
    rest: list[Line] = [[(" " * used + part, None)] for part in others]
    return [[*line, (GAP, None), (first, None)], *rest]
