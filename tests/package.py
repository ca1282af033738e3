#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection's tarball and checks it as Galaxy, ansible-test and tools for documentation do.

package.py importer|sanity|docs, with what the interpreter's own environment has: another one has another ansible-core.
"""

from __future__ import annotations

import importlib.util
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
SKIPPED = re.compile(r"WARNING: (Skipping sanity test|Required program)")
# Where ansible-test keeps the environments that it makes, one for each of its tests with requirements.
HOME = ROOT / ".cache" / "ansible-test"
# It has no pip in these and would download get-pip.py, from a host that is no package index. Python has a pip itself.
GET_PIP = "import ensurepip\n\nensurepip.bootstrap()\n"


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


def unpack(folder: Path) -> Path:
    """Where the collection is, unpacked from its tarball into a path of collections."""
    place = folder / COLLECTION
    place.mkdir(parents=True)
    shutil.unpack_archive(build(folder), place, filter="data")
    return place


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


def sanity(folder: Path) -> int:
    """All of ansible-test's sanity tests that need no container; one that is skipped is a failure, too."""
    place = unpack(folder)
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in set(re.findall(r"\bpip='([\d.]+)'", _source("ansible_test._internal.python_requirements"))):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)
    python = "{}.{}".format(*sys.version_info)
    skipped = False
    with subprocess.Popen(
        ["ansible-test", "sanity", "--color", "no", "--python", python],
        cwd=place, env={**os.environ, "HOME": str(HOME)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", flush=True)
            skipped = skipped or bool(SKIPPED.match(line))
    return process.returncode or int(skipped)


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).read_text() if spec and spec.origin else ""


def docs(folder: Path) -> int:
    """Documentation of plugins and roles: its schema, its markup, and whether what it refers to exists."""
    command = ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self"]
    return subprocess.run([*command, unpack(folder)], cwd=folder, check=False).returncode


CHECKS = {"importer": importer, "sanity": sanity, "docs": docs}


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    os.environ["PATH"] = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as place:
        sys.exit(CHECKS[sys.argv[1]](Path(place)))
