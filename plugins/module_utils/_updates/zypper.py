# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Pending updates on hosts with zypper, by its XML output.

zypper has security by patches: a patch is needed as long as a package is older than it demands. Here the packages are
counted, as with the other package managers, and patches alone where none of their packages has a newer version.
"""

from __future__ import annotations

import datetime
import fnmatch
import os
import re
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import model as _updates_model
from ansible_collections.kopano.hardening.plugins.module_utils._updates import repomd as _repomd
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Busy,
    Commands,
    Host,
    Package,
    Reading,
    Refused,
    Source,
    public,
)

MANAGER = "zypper"
COMMANDS = Commands(
    refresh="zypper refresh --force",
    install_all="zypper refresh && zypper update",
    install="zypper refresh && zypper patch --category security",
    release="zypper removelock {}",
)
automatic = _automatic.zypper
PATIENCE = 60.0
"""Seconds that another program may go on working with the packages."""

_LOCKED = 7  # exit statuses of zypper's
_NO_REPOSITORIES = 6
_CACHES = "/var/cache/zypp/raw"
# A package that is older than a patch demands, in the output of `zypper info` for the patch.
_DEMAND = re.compile(r"(?m)^[\s:]*(\S+?)(?:\.(?:noarch|i[3-6]86|x86_64|aarch64|ppc64le|s390x))? < \S+$")
_PATCH = re.compile(r"(?m)^Name\s*: (.+)$")


def read(
    host: Host,
    release: t.Mapping[str, str],
    now: datetime.datetime,
    max_age: float,
    refresh: bool = False,
    patience: float = PATIENCE,
) -> Reading:
    """The pending updates, and the state of the metadata that they were read from.

    `release` is as for the other package managers, and not needed. With `refresh`, the metadata is fetched first.
    """
    reading = Reading(MANAGER, commands=COMMANDS)
    deadline = time.monotonic() + patience
    try:
        failures = _fetch(host, deadline) if refresh else []
        sources, checked = _sources(host, deadline)
        unclear = _blame(failures, sources)
        if unclear:
            reading.findings.append(finding("updates.source.failed", MANAGER, "; ".join(unclear)))
        reading.metadata = _updates_model.freshness(list(sources.values()), now, max_age, checked)
        reading.updates.packages = _pending(host, sources, deadline)
    except Refused as refusal:
        return _updates_findings.refused(reading, refusal)
    unread = unclear + _updates_model.problems(MANAGER, sources.values())
    return _updates_findings.conclude(reading, unread, _repomd.security_lack(reading, sources))


def _run(host: Host, deadline: float, *arguments: str, good: t.Container[int] = (0,)) -> str:
    """The output of zypper; raises Refused, and Busy while another program has its lock at the deadline."""
    while True:
        outcome = host.run("zypper", "--non-interactive", *arguments, timeout=600)
        if outcome.code in good:
            return outcome.stdout
        if outcome.code != _LOCKED:
            raise Refused(_errors(outcome.stdout) or public(outcome.complaint))
        if time.monotonic() >= deadline:
            raise Busy(_errors(outcome.stdout) or public(outcome.complaint))
        time.sleep(1)


def _tree(text: str) -> ET.Element:
    try:
        return ET.fromstring(text)  # noqa: S314 - by a program of the host that runs as root
    except ET.ParseError as error:
        raise Refused(f"the output of zypper is not understood: {error}") from error


def _errors(text: str) -> str:
    """The errors of an output in XML, in one line; empty where it is none or has none."""
    try:
        messages = list(ET.fromstring(text).iter("message"))  # noqa: S314 - as above
    except ET.ParseError:
        return ""
    errors = [" ".join((message.text or "").split()) for message in messages if message.get("type") == "error"]
    return public("; ".join(errors))


def _fetch(host: Host, deadline: float) -> list[str]:
    """Fetch the metadata of all repositories; what failed, as zypper reports it."""
    try:
        text = _run(host, deadline, "--xmlout", "refresh")
    except Busy:
        raise
    except Refused as refusal:
        return [str(refusal)]
    errors = _errors(text)
    return [errors] if errors else []


def _blame(failures: list[str], sources: t.Mapping[str, Source]) -> list[str]:
    """Note each failure as the problem of the repositories that it names; those that name none are returned."""
    unclear = list(failures)
    for name, source in sources.items():
        named = [text for text in failures if f"[{name}|" in text or f"'{name}'" in text]
        if named:
            source.absent, source.problem = False, named[0]
        unclear = [text for text in unclear if text not in named]
    return unclear


def _sources(host: Host, deadline: float) -> tuple[dict[str, Source], datetime.datetime | None]:
    """The enabled repositories by alias, and when zypper last found the oldest of them current; raises Refused."""
    sources, checks = {}, []
    for entry in _tree(_run(host, deadline, "--xmlout", "repos", good=(0, _NO_REPOSITORIES))).iter("repo"):
        if entry.get("enabled") != "1":
            continue
        alias = entry.get("alias", "")
        # zypper names the folder by the alias, without what a file name cannot have.
        folder = host.path(f"{_CACHES}/{alias.replace('/', '_')}/repodata")
        sources[alias] = _repomd.source(alias, folder)
        flags = [entry.get(name) for name in ("gpgcheck", "repo_gpgcheck", "pkg_gpgcheck")]
        sources[alias].signed = "1" in flags
        # zypper touches it whenever it finds it to be current.
        index = os.path.join(folder, "repomd.xml")
        checks.append(os.path.getmtime(index) if os.path.exists(index) else 0.0)
    return sources, _repomd.oldest(checks)


def _pending(host: Host, sources: t.Mapping[str, Source], deadline: float) -> list[Package]:
    """The updates from the repositories that are in the cache; raises Refused."""
    cached = [alias for alias, source in sources.items() if source.date]
    if not cached:
        return []
    # zypper fetches what is not in the cache, whatever its options, unless it is queried for the others alone.
    only = [argument for alias in cached for argument in ("--repo", alias)] if len(cached) < len(sources) else []
    everything = _updates(host, deadline, "list-updates", "--all", *only)
    offered = [_key(entry) for entry in _updates(host, deadline, "list-updates", *only)]
    # In XML, zypper 1.14 lists the patches of all categories even where one was requested.
    patches = _updates(host, deadline, "list-patches", *only)
    patches = [patch for patch in patches if patch.get("category") == "security"]
    demands = _demands(host, deadline, [patch.get("name", "") for patch in patches], only)
    demanded = {name for names in demands.values() for name in names}
    hidden = [entry for entry in everything if _key(entry) not in offered]
    locks = _locks(host, deadline) if hidden else []
    # What is hidden without a lock is another vendor's, and no update.
    alien = [_key(entry) for entry in hidden if not any(fnmatch.fnmatch(entry.get("name", ""), lock) for lock in locks)]
    packages = [
        Package(
            name=entry.get("name", ""),
            installed=entry.get("edition-old", ""),
            available=entry.get("edition", ""),
            security=entry.get("name") in demanded,
            held=_key(entry) not in offered,
            origin=_origin(entry),
        )
        for entry in everything
        if _key(entry) not in alien
    ]
    named = {package.name for package in packages}
    for patch in patches:
        name = patch.get("name", "")
        if not named & demands.get(name, set()):
            packages.append(Package(f"patch:{name}", "", patch.get("edition", ""), True, False, _origin(patch)))
    return sorted(packages, key=lambda package: package.name)


def _updates(host: Host, deadline: float, *arguments: str) -> list[ET.Element]:
    return list(_tree(_run(host, deadline, "--xmlout", "--no-refresh", *arguments)).iter("update"))


def _key(entry: ET.Element) -> tuple[str | None, str | None]:
    return entry.get("name"), entry.get("arch")


def _locks(host: Host, deadline: float) -> list[str]:
    """The names of the packages that are locked, which may have wildcards; raises Refused."""
    tree = _tree(_run(host, deadline, "--xmlout", "--no-refresh", "locks"))
    return [name.text or "" for name in tree.iter("name")]


def _origin(entry: ET.Element) -> str:
    source = entry.find("source")
    return "" if source is None else source.get("alias", "")


def _demands(host: Host, deadline: float, patches: list[str], only: list[str]) -> dict[str, set[str]]:
    """The packages that each of these patches demands newer versions of; raises Refused."""
    if not patches:
        return {}
    # The XML output has this as text as well, so the text is requested.
    text = _run(host, deadline, "--no-refresh", "info", *only, "--type", "patch", *patches)
    demands: dict[str, set[str]] = {}
    for part in re.split(r"(?m)^(?=Repository\s*:)", text):
        name = _PATCH.search(part)
        if name:
            conflicts = re.split(r"(?m)^Conflicts\s*", part)[1:]
            demands.setdefault(name.group(1), set()).update(*map(_DEMAND.findall, conflicts))
    return demands
