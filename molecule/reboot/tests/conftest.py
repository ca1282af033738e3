# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every host goes through its reboots before the first test; the tests judge what was seen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "failure" / "tests"))

import reboots
from bench import Host, hosts, reporter


@pytest.fixture(scope="session")
def seen(pytestconfig):
    """What was seen, by host and case."""
    report, found = reporter(pytestconfig), hosts()
    plan = reboots.plan(found)

    def run(host: Host) -> dict[tuple[str, bool], reboots.Seen]:
        return reboots.run_all(host, [variant for variant, where in plan if host in where], report)

    with ThreadPoolExecutor(len(found)) as pool:
        return {host.name: seen for host, seen in zip(found, pool.map(run, list(found)), strict=True)}
