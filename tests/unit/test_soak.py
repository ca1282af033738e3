# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What C(make soak) calls flat: a leak that was made up is found, and noise is none."""

from __future__ import annotations

import random

import pytest

from tests.soak import flat

CYCLES = 200
COUNT = flat.Measure("count", "count")
MEMORY = flat.Measure("memory", "memory", "KiB", 256, with_control=True)
TIME = flat.Measure("time", "time", "s", 0.5, is_time=True, beside_pace=True)
PROCESSOR = flat.Measure("processor", "processor", "s", 0.3, is_time=True)


@pytest.fixture
def chance():
    return random.Random(7)


def test_a_count_with_workers_that_come_and_go_is_flat(chance):
    assert flat.judge(COUNT, [3 + (chance.random() < 0.3) for _cycle in range(CYCLES)]).flat


@pytest.mark.parametrize("every", [1, 10, 50])
def test_one_more_in_some_cycles_is_found(chance, every):
    series = [3 + (chance.random() < 0.3) + number // every for number in range(CYCLES)]
    assert not flat.judge(COUNT, series).flat


def test_what_is_bounded_is_flat_once_it_is_full():
    verdict = flat.judge(COUNT, [min(number, 40) for number in range(CYCLES)])
    assert verdict.flat and verdict.last == 40 > verdict.first


def test_what_becomes_less_is_flat():
    assert flat.judge(COUNT, [9 - number // 50 for number in range(CYCLES)]).flat


def test_memory_that_the_server_takes_by_itself_is_its_own(chance):
    def grown(cycles, each):
        return [12000 + each * number + chance.uniform(-20, 20) for number in range(cycles)]

    control = grown(CYCLES // 4, 40)
    assert flat.judge(MEMORY, grown(CYCLES, 40), control).flat
    assert not flat.judge(MEMORY, grown(CYCLES, 4), grown(CYCLES // 4, 0)).flat
    assert not flat.judge(MEMORY, grown(CYCLES, 44), control).flat


def test_the_control_may_shrink_without_a_narrower_limit():
    verdict = flat.judge(MEMORY, [12000.0] * CYCLES, [12000.0 - number for number in range(CYCLES // 4)])
    assert verdict.flat and verdict.allowed == MEMORY.allowed


def test_a_time_with_noise_and_slow_moments_is_flat(chance):
    series = [5 * chance.lognormvariate(0, 0.3) * (8 if chance.random() < 0.1 else 1) for _cycle in range(CYCLES)]
    assert flat.judge(TIME, series, pace=[1.0] * CYCLES).flat
    assert flat.judge(PROCESSOR, series).flat


@pytest.mark.parametrize(("before", "after"), [(0.3, 1.5), (1.5, 0.3)], ids=["busy", "idle"])
def test_a_machine_that_becomes_another_one_is_no_trend(chance, before, after):
    pace = [(before if number < 80 else after) * chance.lognormvariate(0, 0.3) for number in range(CYCLES)]
    # A part of the time is waiting, which a busy machine does as well as any.
    series: list[float | None] = [1 + 10 * each * chance.lognormvariate(0, 0.3) for each in pace]
    series[49::50] = [None] * 4
    assert flat.judge(TIME, series, pace=pace).flat


@pytest.mark.parametrize("measure", [TIME, PROCESSOR], ids=lambda measure: measure.name)
def test_a_time_that_grows_is_found(chance, measure):
    series: list[float | None] = [5 * (1 + number / CYCLES) * chance.lognormvariate(0, 0.3) for number in range(CYCLES)]
    series[49::50] = [None] * 4
    assert not flat.judge(measure, series, pace=[1.0] * CYCLES).flat


def test_too_few_cycles_are_refused():
    with pytest.raises(ValueError, match="11 cycles are too few"):
        flat.judge(COUNT, [1] * 11)
    assert flat.judge(COUNT, [1] * flat.LEAST).flat


def test_each_measure_has_a_name_of_its_own():
    assert (
        len({measure.name for measure in flat.MEASURES}) == len({m.title for m in flat.MEASURES}) == len(flat.MEASURES)
    )
