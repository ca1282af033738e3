# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must not grow from cycle to cycle, as data, and when it has grown.

The first quarter of the cycles is the warm-up: caches fill, the journal reaches its bound, a heap its size. What has
grown since is the median of the last quarter beside that of the second one. Medians, since in single cycles workers are
about to end, or the machine has a slow moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

LEAST = 12  # cycles; fewer have no quarters to speak of
BLOCK = 10  # cycles that a machine's slow moment may not be the half of
QUARTER = 256  # of a megabyte, in KiB

Series = Sequence[float | None]  # a value for each cycle; None where it was not measured


@dataclass(frozen=True)
class Measure:
    """One of them.

    allowed: how much it may grow, in its own unit; for times: over all cycles, as a part of their median.
    with_control: beside that, as much as it grows in the control, where the same server reads the same files without
    this collection.
    beside_pace: a time that grows only by the clock, and not beside that of a fixed piece of work at the same moment,
    does not grow, as a machine may become busier.
    """

    name: str
    title: str
    unit: str = ""
    allowed: float = 0
    is_time: bool = False
    with_control: bool = False
    beside_pace: bool = False


MEASURES = (
    Measure("master_memory", "memory of the server's main process", "KiB", QUARTER, with_control=True),
    Measure("server_memory", "memory of all its processes", "KiB", 4 * QUARTER, with_control=True),
    Measure("system_memory", "memory of process 1", "KiB", QUARTER),
    Measure("server_processes", "processes of the server"),
    Measure("other_processes", "other processes"),
    Measure("master_descriptors", "open files of the server's main process"),
    Measure("system_descriptors", "open files of process 1"),
    Measure("journal_entries", "entries of the journal"),
    # Numbers in a record are not always as long.
    Measure("journal_size", "size of the journal", "bytes", 100),
    Measure("own_units", "units of the collection"),
    Measure("units", "units of systemd"),
    Measure("timers", "timers of systemd"),
    Measure("mounts", "mounts"),
    Measure("namespaces", "namespaces"),
    Measure("run_entries", "entries of /run"),
    Measure("tmp_entries", "entries of /tmp and /var/tmp"),
    Measure("configuration_entries", "entries of /etc"),
    Measure("configuration_size", "size of /etc", "bytes"),
    Measure("harden_seconds", "time to harden and confirm", "s", 0.5, is_time=True, beside_pace=True),
    Measure("restore_seconds", "time to restore", "s", 0.5, is_time=True, beside_pace=True),
    Measure("processor_seconds", "processor time of both", "s", 0.3, is_time=True),
)
PACE = "pace"


@dataclass(frozen=True)
class Verdict:
    """How a measure has gone: medians of the first and the last quarter, growth, and what it may have grown."""

    first: float
    last: float
    growth: float
    allowed: float

    @property
    def flat(self) -> bool:
        return self.growth <= self.allowed


def quarters(series: Series) -> list[float]:
    """The median of each quarter. Raises ValueError where there are too few cycles."""
    if len(series) < LEAST:
        raise ValueError(f"{len(series)} cycles are too few: {LEAST} at least")
    bounds = [len(series) * number // 4 for number in range(5)]
    return [median(value for value in series[begin:end] if value is not None) for begin, end in pairwise(bounds)]


def slope(series: Series) -> float:
    """Growth per cycle: the median of the slopes between any two blocks of cycles (Theil and Sen).

    Neither a slow cycle nor some slow minutes make one.
    """
    known = [(float(number), value) for number, value in enumerate(series) if value is not None]
    size = max(1, min(BLOCK, len(known) // LEAST))
    blocks = [known[begin : begin + size] for begin in range(0, len(known), size)]
    points = [tuple(median(column) for column in zip(*block, strict=True)) for block in blocks]
    return median((after - before) / (later - earlier) for (earlier, before), (later, after) in combinations(points, 2))


def judge(measure: Measure, series: Series, control: Series = (), pace: Series = ()) -> Verdict:
    """control: the same measure in cycles of the control; pace: the time of the fixed piece of work in each cycle."""
    first, second, _third, last = quarters(series)
    if not measure.is_time:
        return Verdict(first, last, last - second, measure.allowed + allowance(measure, control, len(series)))
    # What takes longer each time does so by the clock and beside the pace. A machine that becomes busier makes only the
    # first grow, one that becomes idle only the second, as time that is spent waiting does not shrink with the rest.
    trends = [trend(series)]
    if measure.beside_pace:
        trends.append(trend([value and value / (other or 1.0) for value, other in zip(series, pace, strict=True)]))
    return Verdict(first, last, min(trends), measure.allowed)


def trend(series: Series) -> float:
    """Growth over all cycles, the first quarter among them, as a part of the median."""
    return slope(series) * len(series) / median(value for value in series if value is not None)


def allowance(measure: Measure, control: Series, cycles: int) -> float:
    """What a measure may grow in so many cycles since it does so in the control, which has its own first quarter.

    Between the middles of the second and the last quarter are half of the cycles.
    """
    if not measure.with_control:
        return 0
    return max(0.0, slope(control[len(control) // 4 :]) * cycles / 2)
