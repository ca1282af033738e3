# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters are quick to load: ansible-core loads all of a collection's for the first that is used, in every worker."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "ansible_collections.kopano.hardening.plugins"
NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "plugins" / "filter").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_each_filter_has_its_function(name):
    (filter_name, called), *more = importlib.import_module(f"{PACKAGE}.filter.{name}").FilterModule().filters().items()
    assert (filter_name, more) == (name, [])
    # Without arguments it gets as far as to the function that it stands for.
    with pytest.raises(TypeError, match="required positional argument"):
        called()


def test_filters_load_nothing_but_themselves():
    script = f"import sys, {', '.join(f'{PACKAGE}.filter.{name}' for name in NAMES)}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )  # fmt: skip
    loaded = [name for name in done.stdout.split() if name.startswith(PACKAGE)]
    assert f"{PACKAGE}.filter.{NAMES[0]}" in loaded
    assert [name for name in loaded if "_utils." in name] == [
        f"{PACKAGE}.plugin_utils._ansible{module}" for module in ("", ".plain")
    ]
