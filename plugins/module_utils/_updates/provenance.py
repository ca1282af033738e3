# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The web server, the OpenSSL and the PHP that are in use: which packages they come from, and whose packages these are.

In use is what running web servers and PHP have mapped. With apt a package's origin is that of the lists that have the
installed version (apt-cache(8), policy); with rpm it is the vendor of the package.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Lists, public
from ansible_collections.kopano.hardening.plugins.module_utils._updates.restarts import Process

# Kind, and what its file is called. A web server's modules bring OpenSSL and PHP into it.
_KINDS = (
    ("web_server", re.compile(r"(?:apache2|httpd(?:-prefork|-worker|-event)?|nginx)$")),
    ("php", re.compile(r"(?:php-fpm\d?[\d.]*|php-cgi[\d.]*|libphp[\d.]*\.so|mod_php[\d.]*\.so)$")),
    ("openssl", re.compile(r"libssl\.so[\d.]*$")),
)
_PROGRAMS = re.compile(r"(?:apache2|httpd|nginx|php-fpm|php-cgi)")

# Who makes a distribution's own packages: the origin of apt's lists or the vendor of rpm's packages begins with it.
_OWN = {
    "debian": ("Debian", "Freexian"),
    "ubuntu": ("Ubuntu",),
    "rhel": ("Red Hat",),
    "rocky": ("Rocky",),
    "almalinux": ("AlmaLinux",),
    "centos": ("CentOS",),
    "centos-stream": ("CentOS",),
    "ol": ("Oracle",),
    "fedora": ("Fedora",),
    "sles": ("SUSE LLC",),
    "opensuse": ("openSUSE", "SUSE LLC"),
    "amzn": ("Amazon",),
    "ucs": ("Univention", "Debian"),
}

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ReturnedComponent(t.TypedDict):  # novm
        """A component as the module returns it."""

        kind: str
        path: str
        package: str
        version: str
        origin: str
        from_distribution: bool | None

else:
    ReturnedComponent = t.Dict[str, t.Any]


@dataclass
class Component:
    """Something in use. from_distribution is None where it is not known, with the cause in reason."""

    kind: str
    path: str
    package: str = ""
    version: str = ""
    origin: str = ""
    from_distribution: bool | None = None
    reason: str = ""

    def returned(self) -> ReturnedComponent:
        """As the module returns it."""
        return {
            "kind": self.kind,
            "path": self.path,
            "package": self.package,
            "version": self.version,
            "origin": self.origin,
            "from_distribution": self.from_distribution,
        }


def in_use(processes: t.Iterable[Process]) -> list[Component]:
    """What running web servers and PHP are made of, each file once."""
    found: dict[str, Component] = {}
    for process in processes:
        if not _PROGRAMS.match(process.name):
            continue
        for path in process.files:
            for kind, pattern in _KINDS:
                if pattern.match(os.path.basename(path)):
                    found.setdefault(path, Component(kind, path))
    order = [kind for kind, _pattern in _KINDS]
    return sorted(found.values(), key=lambda component: (order.index(component.kind), component.path))


def trace(
    host: Host, product: str, components: list[Component], complete: bool = False, lists: Lists | None = None
) -> list[Component]:
    """Fill in packages, versions and origins.

    product: the distribution as the data on support name it. complete: whether the host has the package lists of all
    its sources, those of the security updates among them. lists: what apt has reported already.
    """
    if components and host.has("dpkg-query"):
        _dpkg(host, product, components, complete, lists)
    elif components and host.has("rpm"):
        _rpm(host, product, components)
    return components


def _own(product: str, origin: str) -> bool | None:
    return origin.startswith(_OWN[product]) if product in _OWN else None


# --- rpm -------------------------------------------------------------------------------------------------------------


def _rpm(host: Host, product: str, components: list[Component]) -> None:
    for component in components:
        form = "%{NAME}\\t%{EVR}\\t%{VENDOR}\\n"
        outcome = host.run("rpm", "--query", "--file", "--queryformat", form, component.path)
        fields = outcome.stdout.splitlines()[0].split("\t") if outcome.code == 0 and outcome.stdout else []
        if len(fields) == 3:
            component.package, component.version, component.origin = fields
            component.from_distribution = _own(product, component.origin)
        component.reason = component.origin if component.package else outcome.complaint


# --- apt -------------------------------------------------------------------------------------------------------------


def _dpkg(host: Host, product: str, components: list[Component], complete: bool, lists: Lists | None) -> None:
    owners: dict[str, str] = {}
    # Packages from before /lib became a link into /usr know their files by the short path.
    paths = [spelled for component in components for spelled in _spellings(component.path)]
    for line in host.run("dpkg-query", "--search", *paths).stdout.splitlines():
        package, _colon, path = line.rpartition(": ")
        if package and not package.startswith("diversion "):
            owners[path] = package.split(",")[0].split(":")[0]
    for component in components:
        component.package = next((owners[path] for path in _spellings(component.path) if path in owners), "")
    names = sorted({component.package for component in components if component.package})
    if not names:
        return
    shown = host.run("dpkg-query", "--show", "--showformat", "${Package}\\t${Version}\\n", *names).stdout
    versions = dict(line.split("\t", 1) for line in shown.splitlines() if "\t" in line)
    origins = lists.origins if lists else _list_origins(host)
    known = _policies(_policy_output(host, names, lists))
    for component in components:
        if component.package:
            component.version = versions.get(component.package, "")
            _judge(component, product, known.get(component.package, {}), origins, complete)


def _spellings(path: str) -> list[str]:
    return [path, path[len("/usr") :]] if path.startswith("/usr/") else [path]


def _list_origins(host: Host) -> dict[str, str]:
    """The origin that each package list names, by apt's name of the list."""
    found: dict[str, str] = {}
    name = ""
    for line in host.run("apt-cache", "policy").stdout.splitlines():
        listed = re.match(r" *-?\d+ (\S.*)$", line)
        release = re.match(r" +release (?:.*,)?o=([^,]*)", line)
        if listed:
            name = listed.group(1)
        elif release:
            found[public(name)] = release.group(1)
    return found


def _policy_output(host: Host, names: t.Iterable[str], lists: Lists | None) -> str:
    """What apt-cache prints of packages. It opens its whole cache for that, so what is known is not queried again."""
    if lists:
        found = [re.search(rf"(?m)^{re.escape(name)}:\n(?: .*\n)*", lists.policies) for name in names]
        if all(found):
            return "".join(paragraph.group() for paragraph in found if paragraph)
    return host.run("apt-cache", "policy", "--", *names).stdout


def _policies(output: str) -> dict[str, dict[str, list[str]]]:
    """The lists that have each version of packages."""
    found: dict[str, dict[str, list[str]]] = {}
    versions: dict[str, list[str]] = {}
    lists: list[str] = []
    for line in output.splitlines():
        version = re.match(r" (?:\*\*\*|   ) (\S+)", line)
        listed = re.match(r" {6,}-?\d+ (\S.*)$", line)
        if line and not line.startswith(" "):
            versions = found.setdefault(line.rstrip(":").split(":")[0], {})
        elif version:
            lists = versions.setdefault(version.group(1), [])
        elif listed:
            lists.append(public(listed.group(1)))
    return found


def _judge(
    component: Component,
    product: str,
    policy: t.Mapping[str, t.Iterable[str]],
    origins: t.Mapping[str, str],
    complete: bool,
) -> None:
    """Whose package it is, by the lists that have its version."""
    here = sorted({origins[name] for name in policy.get(component.version, ()) if name in origins})
    anywhere = {origins[name] for lists in policy.values() for name in lists if name in origins}
    foreign = sorted(origin for origin in anywhere if not _own(product, origin))
    if here:
        component.origin = here[0]
        component.reason = "it comes from " + " ".join(here)
        if product in _OWN:
            component.from_distribution = any(_own(product, origin) for origin in here)
    elif not anywhere:
        component.reason = "no package list on the host has the package"
    elif foreign:
        component.reason = "no list has this version; {} has others of the package".format(" ".join(foreign))
    elif component.version in list(policy)[1:]:
        # Archives drop old versions: one that only the distribution has newer ones of was the distribution's.
        component.origin, component.from_distribution = min(anywhere), True
    else:
        component.reason = "it is newer than every version in the package lists on the host"
        component.from_distribution = False if complete else None


def findings(components: t.Iterable[Component]) -> t.Iterator[Finding]:
    """What does not come from the distribution, each package once."""
    reported = set()
    for component in components:
        subject = " ".join(part for part in (component.package or component.path, component.version) if part)
        if subject in reported or component.from_distribution:
            continue
        reported.add(subject)
        key = "support.package.foreign" if component.from_distribution is False else "support.package.unknown"
        if not component.package:
            key = "support.package.none"
        yield finding(key, subject, component.reason or component.path)
