# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything happens once, on all hosts side by side, before the first test; the tests judge what was seen."""

from __future__ import annotations

import time

import experiments
import pytest
import report
from bench import REPORTS, hosts, reporter


@pytest.fixture(scope="session")
def seen(pytestconfig):
    """All observations: {(experiment, host): Observation}, and {host: before and after all of them}."""
    started = time.monotonic()
    observations, around = experiments.run_all(hosts(), reporter(pytestconfig))
    lines = report.table(observations)
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "failure.md").write_text(report.text(observations, time.monotonic() - started))
    pytestconfig.stash[LINES] = lines
    return observations, around


LINES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(LINES, [])
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"also in {REPORTS / 'failure.md'}")
