# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the time that something takes grows, on a machine that has other things to do as well."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 3


def clock() -> float:
    """Seconds, without those in which this thread was ready to run and the machine was busy with something else."""
    schedule = Path("/proc/thread-self/schedstat")
    waited = int(schedule.read_text().split()[1]) / 1e9 if schedule.exists() else 0
    return time.monotonic() - waited


def least_seconds(work: Callable[[], object]) -> float:
    """The processor's time for the quickest of some runs: garbage collection and busy neighbours only add to it."""
    taken = []
    for _round in range(ROUNDS):
        before = time.process_time()
        work()
        taken.append(time.process_time() - before)
    return min(taken)


def is_quadratic(work: Callable[[int], object], size: int) -> bool:
    """Whether the work on four times the size takes more like 16 times as long than four times."""
    return least_seconds(lambda: work(4 * size)) >= 9 * least_seconds(lambda: work(size))
