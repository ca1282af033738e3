# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All hosts go through their cycles side by side before the first test; the tests judge what was seen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "molecule" / "failure" / "tests"))

from bench import REPORTS, hosts, reporter

from . import cycles, report

TEXT = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def seen(pytestconfig):
    """What was seen, by host."""
    report_line, found = reporter(pytestconfig), hosts()
    with ThreadPoolExecutor(len(found)) as pool:
        results = pool.map(lambda host: cycles.Soak(host, report_line).run(), found)
        everything = {host.name: seen for host, seen in zip(found, results, strict=True)}
    REPORTS.mkdir(parents=True, exist_ok=True)
    pytestconfig.stash[TEXT] = report.text(everything)
    (REPORTS / "soak.md").write_text(pytestconfig.stash[TEXT])
    return everything


def pytest_terminal_summary(terminalreporter, config):
    if TEXT in config.stash:
        terminalreporter.section("soak")
        terminalreporter.write_line(config.stash[TEXT])
        terminalreporter.write_line(f"also in {REPORTS / 'soak.md'}; each cycle is in soak-HOST.json there")
