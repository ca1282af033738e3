# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The report in the terminal: one line a host, with its steps, its grade and what to repair first."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import STEPS
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Host, Report

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
NAME_WIDTH = 30
GAP = "  "
REACH = "reach"
UNKNOWN_KINDS = 5  # of which the terminal names the hosts; the report has all of them
UNKNOWN_HOSTS = 5
FIX_WIDTH = 60


def lines(report: Report, files: t.Sequence[str], width: int | None = None) -> list[Line]:
    """What is shown. width is that of the terminal; without one nothing is cut off."""
    name_width = min(max([len(entry["name"]) for entry in report["hosts"]] + [4]), NAME_WIDTH)
    heads = [f"{step} {name}" for step, name in STEPS.items()]
    shown: list[Line] = [[(GAP.join(["host".ljust(name_width), REACH, *heads, "fix first"]), None)]]
    for entry in report["hosts"]:
        line: Line = [(_cut(entry["name"], name_width).ljust(name_width), "red" if entry["failed"] else None)]
        word, colour = WORDS[entry["reach"]]
        line += [(GAP, None), (word.ljust(len(REACH)), colour)]
        for step, head in zip(STEPS, heads, strict=True):
            verdict = entry["steps"][str(step)]
            # Of a host that was not reached nothing was to be found out.
            word, colour = WORDS["not_asked" if verdict == "unknown" and entry["reach"] == "fail" else verdict]
            if step == 5 and entry["grade"]:
                word = entry["grade"]
            line += [(GAP, None), (word.ljust(len(head)), colour)]
        line += [(GAP, None), (first_words(entry), None)]
        shown.append(_fit(line, width))
    shown += [[(text, colour)] for text, colour in _totals(report)]
    shown += [_fit([(text, WORDS["unknown"][1])], width) for text in _unknown(report)]
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
        command = f" ({fix})" if 0 < len(fix) <= FIX_WIDTH and "\n" not in fix else ""
        yield f"? {names}: {title}{command}".replace("\n", " ")
    if len(kinds) > UNKNOWN_KINDS:
        yield f"? and {len(kinds) - UNKNOWN_KINDS} more in the report"


def first_words(entry: Host) -> str:
    """What to repair first on a host, and how much more there is."""
    if entry["state"] == "left_out":
        return "not in this run"
    first = _build.first_fix(entry)
    if first is None:
        return "; ".join(entry["reasons"])
    known = _findings.catalogue().get(first["id"])
    where = f": {first['subject']}" if first["subject"] and first["subject"] != entry["name"] else ""
    if first["id"].startswith("report."):
        where = f": {first['evidence']}" if first["evidence"] else ""
    more = sum(not item["waived"] and item["severity"] in ("fail", "warn") for item in entry["findings"]) - 1
    words = f"{known.title if known else first['message']}{where}".replace("\n", " ")
    return words + (f" (and {more} more)" if more > 0 else "")


def _totals(report: Report) -> t.Iterator[Piece]:
    summary, trend = report["summary"], report["trend"]
    numbers = [_phrases.of_all(len(summary["passed"]), summary["hosts"], "host", "pass")]
    lenient = _build.passed_with_failures(report)
    numbers += [f"{len(lenient)} of them with failures that report_fail_on does not count"] if lenient else []
    rest = (
        (summary["failed"], "failed"),
        (summary["unreachable"], "unreachable"),
        (summary["pending"], "seen before hardening and not judged"),
        (summary["left_out"], "left out"),
    )
    numbers += [f"{len(names)} {words}" for names, words in rest if names]
    if trend["previous"]:
        numbers.append(f"{len(trend['new'])} new and {len(trend['gone'])} gone since {trend['previous']}")
    yield ", ".join(numbers), "red" if summary["failed"] else None if summary["pending"] else "green"
    for waiver in report["policy"]["waivers"]:
        if waiver["state"] == "expired" and waiver["findings"]:
            yield f"the waiver of {waiver['id']} ended on {waiver['until']}: {waiver['reason']}", "yellow"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _fit(line: Line, width: int | None) -> Line:
    """The line cut to the width, its last piece first."""
    if width is None:
        return line
    used = sum(len(text) for text, _colour in line[:-1])
    return [*line[:-1], (_cut(line[-1][0], max(width - used, 0)), line[-1][1])]
