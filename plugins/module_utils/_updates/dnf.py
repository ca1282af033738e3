# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Pending updates on hosts with dnf 4 or dnf 5, by the output of its command line.

By default, dnf passes over a repository that it cannot reach, takes one without data on security for one without
security updates, and hides what is locked or excluded. Here each is queried, and read from the cache only (C(-C)).
"""

from __future__ import annotations

import configparser
import datetime
import glob
import json
import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import model as _updates_model
from ansible_collections.kopano.hardening.plugins.module_utils._updates import repomd as _repomd
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    TIMED_OUT,
    Busy,
    Commands,
    Host,
    Package,
    Reading,
    Refused,
    Source,
)

PATIENCE = 120.0
"""Seconds that dnf may take; it waits for another one without an end."""

_PENDING = 100  # exit status of check-update
_STRICT = "--setopt=*.skip_if_unavailable=0"
_UPDATE = re.compile(r"(\S+)\.([^.\s]+)\s+(\S+)\s+(\S+)")
_EXCLUDES = re.compile(r"(?mi)^[ \t]*(exclude|excludepkgs|includepkgs)\s*=\s*\S")
_LOCKED_NAME = re.compile(r"""(?m)^[ \t]*name\s*=\s*["']([^"']+)["']""")
_UNKNOWN_PLUGIN = re.compile(r"(Failed loading plugin|Ignoring repositories|Last metadata expiration check)")


class _Variant(t.NamedTuple):
    """How the two differ: where the caches and the locks are, and what has nothing left out or names the advisories.

    `options` come with every call.
    """

    manager: str
    commands: Commands
    options: tuple[str, ...]
    caches: str
    locks: str
    unrestricted: tuple[str, ...]
    advisories: tuple[str, ...]


_COMMANDS = Commands(
    refresh="dnf makecache --refresh",
    install_all="dnf upgrade --refresh",
    install="dnf upgrade --refresh --security",
    release="dnf versionlock delete {0}  # one that is not locked is in an exclude of dnf.conf or its repository",
)
automatic = _automatic.dnf
_DNF4 = _Variant(
    "dnf",
    _COMMANDS,
    # It adds a repository of copies of what was installed, which nothing refreshes and no advisory names.
    ("--disableplugin=local",),
    "/var/cache/dnf",
    "/etc/dnf/plugins/versionlock.list",
    ("--disableexcludes=all", "--disableplugin=versionlock"),
    ("updateinfo", "list", "--security"),
)
_DNF5 = _Variant(
    "dnf5",
    _COMMANDS._replace(release="dnf versionlock delete {}"),
    (),
    "/var/cache/libdnf5",
    "/etc/dnf/versionlock.toml",
    ("--setopt=disable_excludes=*",),
    ("advisory", "list", "--security", "--json"),
)


def read(
    host: Host,
    release: t.Mapping[str, str],
    now: datetime.datetime,
    max_age: float,
    refresh: bool = False,
    patience: float = PATIENCE,
) -> Reading:
    """The pending updates, and the state of the metadata that they were read from.

    `release` has the fields of os-release. With `refresh`, the metadata is fetched first.
    """
    variant = _DNF5 if os.path.basename(os.path.realpath(host.find("dnf"))).startswith("dnf5") else _DNF4
    reading = Reading(variant.manager, commands=variant.commands)
    complaint = _fetch(host, variant) if refresh else ""
    try:
        sources, checked = _sources(host, variant, patience)
        unclear = _blame(complaint, sources)
        if unclear:
            reading.findings.append(finding("updates.source.failed", variant.manager, unclear))
        reading.metadata = _updates_model.freshness(list(sources.values()), now, max_age, checked)
        reading.updates.packages = _pending(host, variant, sources, patience)
    except Refused as refusal:
        return _updates_findings.refused(reading, refusal)
    unread = [unclear] if unclear else []
    unread += _updates_model.problems(variant.manager, sources.values())
    if release.get("ID") == "amzn" and (host.read("/etc/dnf/vars/releasever") or "").strip() != "latest":
        # Its repositories stay as they were with a release; what came later is in those of newer releases.
        locked = "Amazon Linux's repositories are locked to a release"
        fix = "dnf check-release-update  # then: dnf upgrade --releasever=VERSION"
        reading.findings.append(finding("updates.source.failed", variant.manager, locked, fix))
        unread.append(locked)
    return _updates_findings.conclude(reading, unread, _repomd.security_lack(reading, sources))


def _run(
    host: Host,
    variant: _Variant,
    arguments: t.Sequence[str],
    patience: float,
    good: tuple[int, ...] = (0,),
) -> tuple[int, str]:
    """The exit status and the output of dnf for a query of its cache; raises Refused."""
    outcome = host.run("dnf", "-q", "-C", *variant.options, *arguments, timeout=patience)
    if outcome.code == TIMED_OUT:
        raise Busy(f"{outcome.stderr}; another one may be at work")
    if outcome.code not in good:
        raise Refused(_message(outcome.stderr) or outcome.complaint)
    return outcome.code, outcome.stdout


def _message(text: str) -> str:
    """dnf's message about an error, in one line, without what it always prints."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _UNKNOWN_PLUGIN.match(line)]
    errors = [line for line in lines if line.startswith("Error:")]
    return _updates_model.public("; ".join(errors or lines[-3:]))


def _fetch(host: Host, variant: _Variant) -> str:
    """Fetch the metadata of all repositories; what failed, as dnf reports it."""
    outcome = host.run("dnf", "-q", *variant.options, "makecache", "--refresh", _STRICT, timeout=600)
    return (_message(outcome.stderr) or outcome.complaint) if outcome.code else ""


def _blame(complaint: str, sources: t.Mapping[str, Source]) -> str:
    """Note the complaint as the problem of the repositories that it names; it is returned where it names none."""
    named = [
        source for name, source in sources.items() if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", complaint)
    ]
    for source in named:
        source.absent, source.problem = False, complaint
    return "" if named else complaint


def _sources(host: Host, variant: _Variant, patience: float) -> tuple[dict[str, Source], datetime.datetime | None]:
    """The enabled repositories by id, and when dnf last found the oldest of them current; raises Refused."""
    _code, text = _run(host, variant, ["repolist"], patience)
    # Plugins may print something before the header.
    table = re.split(r"(?m)^repo id\b.*\n", text)[1:]
    names = [line.split()[0] for line in "".join(table).splitlines() if line.strip()]
    signed = _signed(host)
    sources, checks = {}, []
    for name in names:
        # The folder's name ends with a hash of the repository's address, so one that has moved has two.
        folders = glob.glob(host.path(f"{variant.caches}/{glob.escape(name)}-{'[0-9a-f]' * 16}/repodata"))
        folder = max(folders, key=os.path.getmtime, default="")
        sources[name] = _repomd.source(name, folder)
        sources[name].signed = signed.get(name)
        # dnf touches the list of packages whenever it finds it to be current.
        primary = [os.path.getmtime(path) for path in glob.glob(f"{glob.escape(folder)}/*primary.xml*") if folder]
        checks.append(max(primary, default=0.0))
    return sources, _repomd.oldest(checks)


def _signed(host: Host) -> dict[str, bool]:
    """Whether the packages or the metadata of a repository have to be signed, by its id, from dnf's configuration."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    paths = [host.path("/etc/dnf/dnf.conf"), *sorted(glob.glob(host.path("/etc/yum.repos.d/*.repo")))]
    for path in paths:
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # dnf itself reports it
    checked = {}
    for name in parser.sections():
        values = [
            parser.get(name, key, fallback=None) or parser.get("main", key, fallback=None)
            for key in ("gpgcheck", "pkg_gpgcheck", "repo_gpgcheck")
        ]
        checked[name] = any((value or "").strip().lower() in ("1", "yes", "true", "on") for value in values)
    return checked


def _pending(host: Host, variant: _Variant, sources: t.Mapping[str, Source], patience: float) -> list[Package]:
    """The updates from the repositories that are in the cache; raises Refused."""
    absent = [f"--disablerepo={name}" for name, source in sources.items() if not source.date]
    if len(absent) == len(sources):
        return []
    installed = _installed(host)
    everything = _check(host, variant, [*absent, *variant.unrestricted], patience)
    offered = _check(host, variant, absent, patience) if _restricts(host, variant) else everything
    secure = _secure(host, variant, [*absent, *variant.unrestricted], patience)
    locked = set(_LOCKED_NAME.findall(host.read(variant.locks) or "")) if variant is _DNF5 else set()
    # dnf 5 has no way to show what is locked, but its advisories do.
    for name, version in secure.items():
        if name[0] in locked and name not in everything and version not in installed.get(name, ()):
            everything[name] = (version, "")
    return [
        Package(
            name=name if len([other for other in installed if other[0] == name]) == 1 else f"{name}.{architecture}",
            installed=(installed.get((name, architecture)) or [""])[-1],
            available=version,
            security=(name, architecture) in secure,
            held=(name, architecture) not in offered,
            origin=origin,
        )
        for (name, architecture), (version, origin) in sorted(everything.items())
    ]


def _check(
    host: Host,
    variant: _Variant,
    arguments: t.Sequence[str],
    patience: float,
) -> dict[tuple[str, str], tuple[str, str]]:
    """What check-update names: package and architecture to its new version and repository; raises Refused."""
    code, text = _run(host, variant, ["check-update", _STRICT, *arguments], patience, (0, _PENDING))
    # What replaces a package under another name comes after the updates, and a long line is continued in the next one.
    text = re.split(r"(?mi)^obsoleting packages", text)[0]
    text = re.sub(r"\n[ \t]+", " ", text)
    rows = [_UPDATE.fullmatch(line.strip()) for line in text.splitlines()]
    found = {(row.group(1), row.group(2)): (row.group(3), row.group(4)) for row in rows if row}
    if code == _PENDING and not found:
        raise Refused(f"dnf check-update reports updates, but not which: {text.strip()[:200]}")
    return found


def _restricts(host: Host, variant: _Variant) -> bool:
    """May something on the host keep dnf from installing an update?"""
    locks = host.read(variant.locks) or ""
    if any(line.strip() and not line.lstrip().startswith("#") for line in locks.splitlines()):
        return True
    paths = [host.path("/etc/dnf/dnf.conf"), *glob.glob(host.path("/etc/yum.repos.d/*.repo"))]
    return any(_EXCLUDES.search(host.read(os.path.relpath(path, host.root)) or "") for path in paths)


def _installed(host: Host) -> dict[tuple[str, str], list[str]]:
    """The versions of each installed package and architecture, the last one installed at the end; raises Refused."""
    outcome = host.run("rpm", "--query", "--all", "--queryformat", "%{INSTALLTIME}\\t%{NAME}\\t%{ARCH}\\t%{EVR}\\n")
    if outcome.code:
        raise Refused(outcome.complaint)
    rows = re.findall(r"(?m)^(\d{1,19})\t(\S+)\t(\S+)\t(\S+)$", outcome.stdout)
    installed: dict[tuple[str, str], list[str]] = {}
    for _time, name, architecture, version in sorted(rows, key=lambda row: int(row[0])):
        installed.setdefault((name, architecture), []).append(version)
    if not installed:
        raise Refused("rpm lists no installed package")
    return installed


def _secure(host: Host, variant: _Variant, arguments: t.Sequence[str], patience: float) -> dict[tuple[str, str], str]:
    """The newer packages that security advisories name, with their versions; raises Refused."""
    _code, text = _run(host, variant, [*variant.advisories, _STRICT, *arguments], patience)
    if variant is _DNF5:
        try:
            names = [entry["nevra"] for entry in json.loads(text or "[]")]
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(f"the list of advisories is not understood: {error}") from error
    else:
        # An advisory's name, which comes first, may have spaces in it.
        rows = [line.split() for line in text.splitlines()]
        names = [words[-1] for words in rows if len(words) > 2 and words[-2].endswith("/Sec.")]
    secure = {}
    for nevra in names:
        rest, _dot, architecture = nevra.rpartition(".")
        parts = rest.rsplit("-", 2)
        if len(parts) == 3:
            secure[parts[0], architecture] = "-".join(parts[1:])
    return secure
