# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which parts of Kopano are on a host, by package or, where no package is known to have brought them, by path.

Names of packages and paths are those of Kopano's own packages, of Debian's, of the Z-Push repository and of grommunio.
"""

from __future__ import annotations

import os
import re
import subprocess
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ComponentInfo(t.TypedDict):  # novm
        """A component of Kopano on a host, as frontend_info returns it."""

        name: str
        flavour: str  # whose it is: kopano, debian, z-push, grommunio
        version: str  # empty if it is not known
        path: str  # empty if it is not where it usually is

else:
    ComponentInfo = t.Dict[str, t.Any]


class Component(t.NamedTuple):
    """packages: package name to flavour. paths: path to the flavour that it stands for where no package does."""

    name: str
    packages: dict[str, str]
    paths: dict[str, str]


def _daemon(name: str, package: str) -> Component:
    return Component(name, {package: "kopano"}, {"/usr/sbin/" + package: "kopano"})


def _web_app(name: str) -> Component:
    package = "kopano-%s-webapp" % name
    path = "/usr/share/kopano-%s/%s-webapp" % (name, name)
    return Component(name, {package: "kopano", "kopano-" + name: "kopano"}, {path: "kopano"})


COMPONENTS = (
    Component(
        "webapp",
        {
            "kopano-webapp": "kopano",
            "kopano-webapp-apache2": "debian",
            "kopano-webapp-nginx": "debian",
            "kopano-webapp-common": "debian",
            "grommunio-web": "grommunio",
        },
        {"/usr/share/kopano-webapp": "kopano", "/usr/share/grommunio-web": "grommunio"},
    ),
    Component(
        "z-push",
        {"z-push-common": "z-push", "d-push": "debian", "grommunio-sync": "grommunio"},
        {"/usr/share/z-push": "z-push", "/usr/share/d-push": "debian", "/usr/share/grommunio-sync": "grommunio"},
    ),
    Component("autodiscover", {"z-push-autodiscover": "z-push"}, {"/usr/share/z-push/autodiscover": "z-push"}),
    Component(
        "kdav",
        {"kopano-kdav": "kopano", "kdav": "kopano", "grommunio-dav": "grommunio"},
        {"/usr/share/kdav": "kopano", "/usr/share/kopano-kdav": "kopano", "/usr/share/grommunio-dav": "grommunio"},
    ),
    _web_app("meet"),
    _web_app("calendar"),
    _web_app("mail"),
    _daemon("konnect", "kopano-konnectd"),
    _daemon("kapi", "kopano-kapid"),
    _daemon("kwmserver", "kopano-kwmserverd"),
    _daemon("kweb", "kopano-kwebd"),
    Component("grapi", {"kopano-grapi": "kopano"}, {"/usr/sbin/kopano-grapi": "kopano"}),
    _daemon("presence", "kopano-presence"),
    _daemon("webmeetings", "kopano-webmeetings"),
    _daemon("server", "kopano-server"),
    _daemon("gateway", "kopano-gateway"),
    _daemon("ical", "kopano-ical"),
)

# Files that name the version of what was not installed from a package
_VERSIONS = (("version", r"^([0-9][\w.+-]*)"), ("version.php", r"ZPUSH_VERSION['\"], *['\"]([^'\"]+)"))

_QUERIES = {
    "debian": ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version}\\n"],
    "redhat": ["rpm", "-q", "--qf", "installed %{NAME} %{VERSION}-%{RELEASE}\\n"],
    "suse": ["rpm", "-q", "--qf", "installed %{NAME} %{VERSION}-%{RELEASE}\\n"],
}


def packages(family: str | None) -> dict[str, str]:
    """The versions of the installed packages that COMPONENTS names, from one call of the package manager."""
    names = [name for component in COMPONENTS for name in component.packages]
    query = _QUERIES.get(family or "")
    if query is None:
        return {}
    try:
        result = _programs.run([*query, *names], 30, errors=_programs.DROPPED)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    fields = [line.split(" ") for line in result.stdout.decode("utf-8", "replace").splitlines()]
    return {field[1]: field[2] for field in fields if len(field) == 3 and field[0] == "installed"}


def _version_in(path: str) -> str:
    for name, pattern in _VERSIONS:
        try:
            with _regular.opened(os.path.join(path, name), foreign_links=True) as stream:
                match = re.search(pattern, _regular.read_up_to(stream, 4096).decode("utf-8", "replace"))
        except OSError:
            continue
        if match:
            return match.group(1)
    return ""


def find(installed: t.Mapping[str, str], root: str = "/") -> list[ComponentInfo]:
    """The components on a host."""
    found: list[ComponentInfo] = []
    for component in COMPONENTS:
        package = next((name for name in component.packages if name in installed), None)
        paths = [path for path in component.paths if os.path.exists(os.path.join(root, path.lstrip("/")))]
        if package is None and not paths:
            continue
        path = paths[0] if paths else ""
        found.append(
            {
                "name": component.name,
                "flavour": component.packages[package] if package else component.paths[path],
                "version": installed[package] if package else _version_in(os.path.join(root, path.lstrip("/"))),
                "path": path,
            }
        )
    return found
