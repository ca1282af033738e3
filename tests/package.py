#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection's tarball and checks it as Galaxy and tools for documentation do: package.py importer|docs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = Path("ansible_collections/kopano/hardening")
PROGRAMS = Path(sys.executable).parent
COMPLAINT = re.compile(r"(WARNING|ERROR|CRITICAL)\b")


def build(folder: Path) -> Path:
    """The tarball, of the files that the checkout has and not of what lies around in it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as source:
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (Path(source) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, Path(source) / name)
        command = [PROGRAMS / "ansible-galaxy", "collection", "build", "--output-path", folder, source]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return next(folder.glob("*.tar.gz"))


def importer(folder: Path) -> int:
    """What Galaxy does with an upload. A warning is no failure for it, but any user sees it."""
    tarball = build(folder)
    settings = folder / "importer.cfg"
    # ansible-test would need containers.
    settings.write_text(f"[galaxy-importer]\nrun_ansible_test = False\nansible_local_tmp = {folder}\n")
    done = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", tarball],
        cwd=folder,
        env={**os.environ, "GALAXY_IMPORTER_CONFIG": str(settings)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout)
    return 1 if complaints(done.stdout) else done.returncode


def complaints(output: str) -> list[str]:
    """The lines of the importer that Galaxy shows as warnings or errors."""
    return [line for line in output.splitlines() if COMPLAINT.match(line)]


def docs(folder: Path) -> int:
    """Documentation of plugins and roles: its schema, its markup, and whether what it refers to exists."""
    place = folder / COLLECTION
    place.mkdir(parents=True)
    shutil.unpack_archive(build(folder), place, filter="data")
    command = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", place]
    return subprocess.run(command, cwd=folder, check=False).returncode


CHECKS = {"importer": importer, "docs": docs}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    os.environ["PATH"] = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as place:
        sys.exit(CHECKS[sys.argv[1]](Path(place)))
