# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of what was measured."""

from __future__ import annotations

from . import flat
from .cycles import Seen

HEAD = ("", "first quarter", "last quarter", "growth", "allowed")


def verdict(seen: Seen, measure: flat.Measure) -> flat.Verdict:
    control = [figures[measure.name] for figures in seen.control] if measure.with_control else []
    series, pace = ([figures[name] for figures in seen.cycles] for name in (measure.name, flat.PACE))
    return flat.judge(measure, series, control, pace)


def rows(seen: Seen) -> list[tuple[str, ...]]:
    """One for each measure."""
    found = []
    for measure in flat.MEASURES:
        judged = verdict(seen, measure)
        values, changes = ("{:.2f}", "{:+.0%}") if measure.is_time else ("{:,.0f}", "{:+,.0f}")
        title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
        growth = changes.format(judged.growth) + ("" if judged.flat else " GROWS")
        allowed = changes.format(judged.allowed) if judged.allowed else "0"
        found.append((title, values.format(judged.first), values.format(judged.last), growth, allowed))
    return found


def table(lines: list[tuple[str, ...]]) -> list[str]:
    """Markdown, whose columns are aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = tuple("-" * width if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths))
    return [
        "| "
        + " | ".join(
            word.rjust(width) if column else word.ljust(width)
            for column, (word, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    ]


def summary(name: str, seen: Seen) -> str:
    return (
        f"{name}: {len(seen.cycles)} cycles in {seen.seconds:.0f} s; {seen.requests:,} requests sent, "
        f"{len(seen.lost)} lost ({seen.lost_in_control} in the control)"
    )


def text(found: dict[str, Seen]) -> str:
    """Of all hosts, in Markdown."""
    lines = ["# Soak"]
    for name, seen in found.items():
        lines += ["", summary(name, seen), ""]
        if len(seen.cycles) >= flat.LEAST:
            lines += table([HEAD, *rows(seen)])
        lines += [f"- {problem}" for problem in seen.problems]
        lines += [f"- lost at {when:.3f}: {wrong}" for when, wrong in seen.lost]
    return "\n".join(lines) + "\n"
