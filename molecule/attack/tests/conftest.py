# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything happens once, on all hosts side by side, before the first test; the tests judge what was seen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("LAB_SET", "molecule-attack")
# The lab's hosts, and what runs the module on them, are those of the scenario failure.
sys.path.append(str(Path(__file__).resolve().parents[2] / "failure" / "tests"))

import attack
from bench import hosts


@pytest.fixture(scope="session")
def seen():
    """All observations: {(state, host): Observation}."""
    return attack.run_all(hosts())
