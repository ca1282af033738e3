# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's own code, as it is left on a host: every module, those in packages too, and it runs from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host import shipped_code as _shipped_code

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.kopano.hardening.plugins.module_utils._host import shipped_code as _shipped_code
_shipped_code.keep(sys.argv[2], "_shapes.round", "describe")
"""


def call(*command):
    """A program that finds nothing of this checkout; its output."""
    done = subprocess.run(
        [sys.executable, "-IB", *map(str, command)], env={}, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["directory", "zip"])
def origin(request, tmp_path):
    """What goes into sys.path for the collection with one more package: a directory, or the zip file of a module."""
    folder = tmp_path / "origin"
    place = folder / _shipped_code.PACKAGE
    shutil.copytree(ROOT / "plugins" / "module_utils", place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "_shapes").mkdir()
    (place / "_shapes" / "__init__.py").write_text('"""Shapes."""\n')
    (place / "_shapes" / "size.py").write_text("RADIUS = 7\n")
    (place / "_shapes" / "round.py").write_text(
        f"from {_shipped_code.PACKAGE.replace('/', '.')}._shapes import size as _size\n\n\n"
        "def describe(*arguments):\n    print(_size.RADIUS, *arguments)\n"
    )
    (place / "_shapes" / "notes.txt").write_text("not code")
    if request.param == "directory":
        return folder
    for path in (place, *list(place.parents)[:4]):  # Ansible's archive has a file for each
        (path / "__init__.py").touch()
    archive = tmp_path / "module.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in sorted(folder.rglob("*")):
            stream.write(path, str(path.relative_to(folder)))
    return archive


def test_a_function_of_a_package_runs_from_what_is_kept(origin, tmp_path):
    kept = tmp_path / "code.zip"
    call("-c", PROGRAM, origin, kept)
    shutil.rmtree(tmp_path / "origin")
    assert call(kept, "one", "two") == "7 one two\n"


def test_modules_are_kept_and_nothing_else(origin, tmp_path):
    kept = tmp_path / "code.zip"
    call("-c", PROGRAM, origin, kept)
    with zipfile.ZipFile(kept) as archive:
        names = set(archive.namelist())
    utils = ROOT / "plugins" / "module_utils"
    modules = {f"{_shipped_code.PACKAGE}/{path.relative_to(utils)}" for path in utils.rglob("*.py")}
    modules |= {f"{_shipped_code.PACKAGE}/_shapes/{name}.py" for name in ("__init__", "round", "size")}
    folders = [Path(_shipped_code.PACKAGE), *list(Path(_shipped_code.PACKAGE).parents)[:4]]
    assert names == modules | {f"{folder}/__init__.py" for folder in folders} | {"__main__.py"}
