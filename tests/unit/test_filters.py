# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters are quick to load: ansible-core loads all of a collection's for the first that is used, in every worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain

HEAVY = ("asyncio", "cryptography", "dns")


def test_filters_load_nothing_heavy():
    package = "ansible_collections.kopano.hardening.plugins.filter"
    folder = Path(_plain.__file__).parent.parent / "filter"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert len(names) > 5
    script = f"import sys, {', '.join(f'{package}.{name}' for name in names)}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )  # fmt: skip
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(HEAVY)
