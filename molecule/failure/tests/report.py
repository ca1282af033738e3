# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of all faults and hosts."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

from experiments import Observation, Observations

HEAD = ("fault", "hosts", "phase", "rolled back", "requests lost", "next run")


def phase(seen: Observation) -> str:
    first = seen.results[0] if seen.results else {}
    if first.get("status", 0) < 0:
        return "killed"
    # Of a failure, a role returns no more than what it says.
    said = re.match(r"(\w+) failed, ", first.get("msg") or "")
    return str(first.get("phase") or (said[1] if said else "-"))


def outcome(result: dict[str, Any]) -> str:
    """What became of a run, in short."""
    recovered = result.get("recovered")
    if result.get("status", 0) < 0:
        return "killed"
    if result.get("failed"):
        return "red"
    if recovered:
        return f"green, {recovered['action']}"
    return "green, changed" if result.get("changed") else "green"


def cells(seen: Observation) -> tuple[str, ...]:
    """The row of one fault on one host, without the names of both."""
    if seen.error:
        return ("did not work", "", "", "")
    first = seen.results[0] if seen.results else {}
    lost = str(len(seen.lost)) if seen.requests else "none sent"
    if seen.lost:
        times = [when for when, _ in seen.lost]
        lost += f" ({max(times) - min(times):.1f} s)"
    runs = seen.more.get("runs")
    if runs:  # one for each call site
        back = sum(bool(result["rolled_back"]) for result in seen.results)
        after = sum(bool(run["next"]) for run in runs)
        return (f"{len(runs)} call sites", f"{back} of {len(runs)}", lost, f"green after {after}")
    return (
        phase(seen),
        "yes" if first.get("rolled_back") else "no",
        lost,
        ", ".join(dict.fromkeys(outcome(result) for result in seen.results[1:2])) or "-",
    )


def rows(observations: Observations) -> list[tuple[str, ...]]:
    """One row for each fault and all hosts that it went the same way on."""
    found = []
    names = dict.fromkeys(name for name, _ in observations)
    for name in names:
        here = sorted((cells(seen), host) for (other, host), seen in observations.items() if other == name)
        for same, group in groupby(here, key=lambda entry: entry[0]):
            found.append((name, " ".join(host for _, host in group), *same))
    return found


def table(observations: Observations) -> list[str]:
    lines = [HEAD, *rows(observations)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def text(observations: Observations, seconds: float) -> str:
    """The report in Markdown, with what each failed run reported."""
    lines = ["# Faults", "", f"{len(observations)} experiments in {seconds:.0f} s.", ""]
    lines += ["| " + " | ".join(line) + " |" for line in (HEAD, ("---",) * len(HEAD), *rows(observations))]
    requests = sum(seen.requests for seen in observations.values())
    polls = sum(seen.polls for seen in observations.values())
    lines += [
        "",
        f"{requests} requests and {polls} long polls of the clients in all.",
        "",
        "## What the first run reported",
        "",
    ]
    for (name, host), seen in observations.items():
        message = seen.error or (seen.results[0].get("msg") if seen.results else None)
        if message:
            lines += [f"- {name}, {host}:", "", *(f"      {line}" for line in message.splitlines()), ""]
    return "\n".join(lines) + "\n"
