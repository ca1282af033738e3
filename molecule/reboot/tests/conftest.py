# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every host goes through all of its reboots before the first test; the tests judge what was seen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "failure" / "tests"))

import reboots
from bench import hosts


@pytest.fixture(scope="session")
def seen(pytestconfig):
    """What was seen, by host and case."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    chosen = hosts()
    with ThreadPoolExecutor(len(chosen)) as pool:
        results = pool.map(lambda host: reboots.run_all(host, report), chosen)
        return dict(zip((host.name for host in chosen), results, strict=True))
