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
            names = [name for name in archive.namelist() if _is_shipped(name)]
            return {name: archive.read(name) for name in names}
    found = {}
    for folder, _folders, files in os.walk(os.path.join(origin, PACKAGE)):
        for path in (os.path.relpath(os.path.join(folder, name), origin) for name in files):
            if _is_shipped(path):
                with open(os.path.join(origin, path), "rb") as stream:
                    found[path] = stream.read()
    return dict(sorted(found.items()))


def _is_shipped(path: str) -> bool:
    return path.startswith(os.path.join(PACKAGE, "_")) and path.endswith(".py")


def interpreter() -> str:
    """The Python that runs this, by the name that outlives an upgrade of the distribution where it has that name."""
    common = "/usr/bin/python3"
    return common if os.path.realpath(common) == os.path.realpath(sys.executable) else sys.executable


def keep(path: str, module: str, function: str) -> None:
    """Write a program (zipapp in the manual of Python) that calls a function of a module with its own arguments.

    The module is named by its path below C(PACKAGE), with dots. The sources lie in it, so that one file is all that has
    to reach the disk.
    """
    packages = [os.path.join(*PACKAGE.split(os.sep)[:count]) for count in range(1, PACKAGE.count(os.sep) + 2)]
    content = dict(sources())
    content.update((os.path.join(package, "__init__.py"), b"") for package in packages)
    package = PACKAGE.replace(os.sep, ".")
    content["__main__.py"] = (
        f"import sys\n\nfrom {package}.{module} import {function}\n\nsys.exit({function}(*sys.argv[1:]))\n"
    ).encode()
    # For root alone, and never through a link: it is going to run as root.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in sorted(content.items()):
                archive.writestr(name, data)
        stream.flush()
        os.fsync(stream.fileno())
