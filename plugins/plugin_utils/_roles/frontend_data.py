# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The data of the role frontend: TLS profiles, Kopano's components, packages of the web servers.

The files are the role's, with a description of their content. Each is read once.
"""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[3] / "roles" / "frontend" / "data"


class Profile(t.TypedDict):
    """The settings of a TLS profile, by OpenSSL's names. ciphers are those of TLS 1.2, ciphersuites those of 1.3."""

    protocols: list[str]
    ciphers: list[str]
    ciphersuites: list[str]
    groups: list[str]


class ComponentData(t.TypedDict):
    """components by their names, the defaults of an entry, and the features that pages can be refused."""

    components: dict[str, dict[str, t.Any]]
    defaults: dict[str, t.Any]
    permissions: list[str]


class FamilyPackages(t.TypedDict):
    """The packages of each web server in a family of distributions. use: the package manager's module."""

    use: str
    apache: list[str]
    nginx: list[str]


@functools.cache
def profiles() -> dict[str, Profile]:
    """The TLS profiles by their names."""
    found: dict[str, Profile] = _read("guideline")
    return found


@functools.cache
def components() -> ComponentData:
    """What is known of Kopano's components."""
    found: ComponentData = _read("components")
    return found


@functools.cache
def packages() -> dict[str, FamilyPackages]:
    """The packages by family of distributions."""
    found: dict[str, FamilyPackages] = _read("packages")
    return found


def _read(name: str) -> t.Any:
    with (FOLDER / f"{name}.yml").open(encoding="utf-8") as stream:
        return yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
