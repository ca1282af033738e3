# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The data of the role frontend: TLS profiles, Kopano's components, packages of the web servers.

The files are the role's, and say themselves what is in them. Each is read once.
"""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import yaml

Info = dict[str, t.Any]

FOLDER = Path(__file__).parents[3] / "roles" / "frontend" / "data"


@functools.cache
def profiles() -> Info:
    """The TLS profiles by their names."""
    return _read("guideline")


@functools.cache
def components() -> Info:
    """C(components) by their names, their C(defaults), and C(permissions)."""
    return _read("components")


@functools.cache
def packages() -> Info:
    """By family of distributions C(use), the package manager's module, and for each server its packages."""
    return _read("packages")


def _read(name: str) -> Info:
    with (FOLDER / f"{name}.yml").open(encoding="utf-8") as stream:
        found: Info = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    return found
