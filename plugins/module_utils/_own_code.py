# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""This collection's own code as files, for what has to run on the host later, when no Ansible is there."""

from __future__ import annotations

import os
import sys
import zipfile

PACKAGE = os.path.join("ansible_collections", "kopano", "hardening", "plugins", "module_utils")


def sources() -> dict[str, bytes]:
    """The module utils by their paths below a directory for C(sys.path): those that this one was imported with.

    That is a zip file with what one module needs, which Ansible removes after the module, or a directory.
    """
    origin = os.path.abspath(__file__).split(os.sep + PACKAGE)[0]
    if os.path.isfile(origin):
        with zipfile.ZipFile(origin) as archive:
            names = [name for name in archive.namelist() if _wanted(name)]
            return {name: archive.read(name) for name in names}
    found = {}
    for name in sorted(os.listdir(os.path.join(origin, PACKAGE))):
        path = os.path.join(PACKAGE, name)
        if _wanted(path):
            with open(os.path.join(origin, path), "rb") as stream:
                found[path] = stream.read()
    return found


def _wanted(path: str) -> bool:
    return os.path.dirname(path) == PACKAGE and os.path.basename(path).startswith("_") and path.endswith(".py")


def interpreter() -> str:
    """The Python that runs this, by the name that outlives an upgrade of the distribution where it has that name."""
    common = "/usr/bin/python3"
    return common if os.path.realpath(common) == os.path.realpath(sys.executable) else sys.executable


def call(folder: str, module: str, function: str, *arguments: str) -> list[str]:
    """The command line that calls a function of a module that lies in folder, with texts as its arguments."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        f"from {PACKAGE.replace(os.sep, '.')} import {module}; sys.exit({module}.{function}(*sys.argv[2:]))"
    )
    return [interpreter(), "-c", program, folder, *arguments]


def keep(folder: str) -> None:
    """Write the sources below a directory that is the caller's own."""
    for path, content in sources().items():
        goal = os.path.join(folder, path)
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        with open(goal, "wb") as stream:
            stream.write(content)
