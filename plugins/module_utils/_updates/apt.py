# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Pending updates on hosts with apt, by the output of its command line.

C(apt-cache policy) lists every version of a package with the sources that have it, newest first, so nothing depends on
what apt would choose: holds and pins hide nothing. It is two to three times faster than python3-apt opens the cache,
and keeps the cache out of this process.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import fcntl
import os
import re
import shlex
import struct
import tempfile
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import model as _updates_model
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Busy,
    Commands,
    Host,
    Lists,
    Package,
    Reading,
    Refused,
    Source,
    public,
)

MANAGER = "apt"
COMMANDS = Commands(
    refresh="apt-get update",
    install_all="apt-get update && apt-get dist-upgrade",
    install="apt-get update && apt-get install --only-upgrade {}",
    release="apt-mark unhold {0}  # what pins one that is not on hold: apt-cache policy {0}",
    repair="dpkg --configure -a && apt-get --fix-broken install",
)
automatic = _automatic.apt
PATIENCE = 60.0
"""Seconds that another program may go on working with the packages or the lists."""

_VERSION = re.compile(r" (\*\*\*|   ) (\S+)(?: -?\d+ \(phased (\d+)%\))?")
# A package that a simulation installs.
_INSTALLS = re.compile(r"(?m)^Inst (\S+) ")
_ORIGIN = re.compile(r" {6,}-?\d+ (\S.*)")
# Of Ubuntu and its extended maintenance, of Debian's extended support, and of Debian before it had a label.
_SECURITY_SUITE = re.compile(r"(-security|-lts|/updates)$")
_LOCKED = "Could not get lock"
_TARGET_FIELDS = {"Filename", "MetaKey", "Description", "Repo-URI", "Release"}
_COMPRESSIONS = ("", ".lz4", ".zst", ".gz", ".xz", ".bz2", ".lzma")
_SPECIAL = re.compile(r"""[\\|{}\[\]<>"^~_=!@#$%&*]""")
_RELEASE_HEADER = 16384  # bytes; what comes after is hashes

# Where the security updates of a release come from, by os-release's ID; Debian's suites were named otherwise before 11.
_SECURITY_SOURCES = {
    "debian": "deb http://security.debian.org/debian-security {}-security main",
    "ubuntu": "deb http://security.ubuntu.com/ubuntu {}-security main restricted universe multiverse",
}
_CODENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OLD_SUITES = ("stretch", "buster")


class Place(t.NamedTuple):
    """Where apt keeps things on the host; `cache` is empty where it keeps none. `architecture` is the host's own."""

    state: str
    status: str
    cache: str
    architecture: str


class Installed(t.NamedTuple):
    """An installed package as dpkg knows it. `broken` is its state where that is not a completely installed one."""

    name: str
    version: str
    held: bool
    broken: str


class Target(t.NamedTuple):
    """A list of packages that the sources name: as C(apt-cache policy) names it, its source, and where it is.

    `release` is the beginning of the path of the source's InRelease or Release file, and `key` the list's name in it.
    """

    description: str
    source: str
    release: str
    key: str
    file: str
    optional: bool


class Policy(t.NamedTuple):
    """What apt would install, and the versions above the installed one, newest first, each with the lists it is in.

    `phased` are those of them that only a share of all hosts gets so far.
    """

    candidate: str
    newer: list[tuple[str, list[str]]]
    phased: set[str]


def read(
    host: Host,
    release: t.Mapping[str, str],
    now: datetime.datetime,
    max_age: float,
    refresh: bool = False,
    patience: float = PATIENCE,
) -> Reading:
    """The pending updates, and the state of the lists that they were read from.

    `release` has the fields of os-release. With `refresh`, the lists are fetched first.
    """
    reading = Reading(MANAGER, commands=COMMANDS)
    complaints = fetch(host, patience) if refresh else []
    try:
        place = _place(host)
        packages = _installed(host, place, patience)
        reading.findings += _broken(place, packages)
        with _cache(place) as arguments:
            targets = _targets(host, arguments, place)
            sources = _sources(targets)
            checked = now if refresh and not complaints else _stamp(place)
            unclear = _blame(complaints, sources.values())
            if unclear:
                reading.findings.append(finding("updates.source.failed", MANAGER, "; ".join(unclear)))
            reading.metadata = _updates_model.freshness(list(sources.values()), now, max_age, checked)
            if not packages:
                raise Refused("dpkg lists no installed package")
            names = [package.name for package in packages]
            output = _output_of(host, "apt-cache", *arguments, "policy", "--", *names)
            policies = _policies(output, place, names)
            deferred = _deferred(host, arguments, place, policies)
            origins = {target.description: sources[target.release].fields["Origin"] for target in targets}
            reading.lists = Lists(output, {name: origin for name, origin in origins.items() if origin})
    except Refused as refusal:
        return _updates_findings.refused(reading, refusal)
    by_list = {target.description: sources[target.release] for target in targets}
    found = [_update(package, policies[package.name], by_list) for package in packages]
    updates = [update for update in found if update]
    # A held one would not be installed later either.
    waiting = [update for update in updates if update.name in deferred and not (update.security or update.held)]
    reading.updates.packages = [update for update in updates if update not in waiting]
    reading.findings += _updates_findings.of_phased(MANAGER, waiting)
    unread = unclear + _updates_model.problems(MANAGER, sources.values())
    named = {name for policy in policies.values() for _version, lists in policy.newer for name in lists}
    strange = sorted(name for name in named if name not in by_list and not name.startswith("/"))
    if strange:
        unread.append("apt-cache names lists that are not those of the sources: " + ", ".join(strange))
    lack = _security_lack(release, sources)
    return _updates_findings.conclude(reading, unread, lack)


def fetch(host: Host, patience: float = PATIENCE) -> list[str]:
    """Fetch the lists of all sources; what failed, as apt reports it. Waits for the lists' lock up to `patience`."""
    deadline = time.monotonic() + patience
    while True:
        # Without this mode apt-get takes a network that is not there for a success.
        outcome = host.run("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any", timeout=600)
        if not (outcome.code and _LOCKED in outcome.stderr and time.monotonic() < deadline):
            break
        time.sleep(1)
    # Releases before Debian 12 do not know the mode: they only warn, and the warning has what happened.
    complaints = [
        public(line[3:].strip())
        for line in outcome.stderr.splitlines()
        if line.startswith("E: ") or "Failed to fetch" in line or "previous index files will be used" in line
    ]
    if outcome.code and not complaints:
        complaints.append(public(outcome.complaint))
    # The last one is then about all those before it.
    return [line for line in complaints if not line.startswith("Some index files")] or complaints


def _blame(complaints: list[str], sources: t.Iterable[Source]) -> list[str]:
    """Note each complaint as the problem of the source that it names; those that name none are returned."""
    unclear = list(complaints)
    for source in sources:
        address, _blank, suite = source.name.partition(" ")
        # A suite with a slash at its end is a place of its own, without the usual folders.
        names = (f"{address} {suite} ", f"{address}/{suite}" if suite.endswith("/") else f"{address}/dists/{suite}/")
        own = [line for line in complaints if any(name in line for name in names)]
        if own:
            source.absent, source.problem = False, own[-1]
        unclear = [line for line in unclear if line not in own]
    return unclear


def _output_of(host: Host, program: str, *arguments: str) -> str:
    """A program's output; raises Refused."""
    outcome = host.run(program, *arguments)
    if outcome.code:
        raise Refused(public(outcome.complaint))
    return outcome.stdout


def _place(host: Host) -> Place:
    names = ("Dir::State/d", "Dir::State::status/f", "Dir::Cache::pkgcache", "APT::Architecture")
    arguments = [part for pair in zip("abcd", names) for part in pair]
    values = dict(re.findall(r"(?m)^([a-d])='(.*)'$", _output_of(host, "apt-config", "shell", *arguments)))
    if len(values) < len(names):
        raise Refused("apt-config does not show where apt keeps its files")
    return Place(values["a"], values["b"], values["c"], values["d"])


@contextlib.contextmanager
def _cache(place: Place) -> t.Iterator[list[str]]:
    """Options with which apt reads its lists but once, also on a host that keeps no cache of them, as containers do."""
    if place.cache:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="kopano-hardening-") as folder:
        yield ["-o", f"Dir::Cache::pkgcache={folder}/pkgcache.bin"]


def _targets(host: Host, arguments: list[str], place: Place) -> list[Target]:
    """The lists of packages that the sources name, fetched or not."""
    # The release files' data on a list would cost a second opening of the cache; they are read here.
    text = _output_of(host, "apt-get", *arguments, "indextargets", "--no-release-info", "Created-By: Packages")
    targets = []
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"(?m)^([\w-]+): (.*)$", paragraph))
        if not fields:
            continue
        if not fields.keys() >= _TARGET_FIELDS:
            raise Refused(f"the output of apt-get indextargets is not understood: {paragraph[:200]}")
        # The file of a list is named by its source's address and its key.
        folder, name = os.path.split(fields["Filename"])
        end = name.rfind(_file_name(fields["MetaKey"]))
        if end < 0:
            raise Refused(f"apt keeps a list under a name that is not understood: {fields['Filename']}")
        targets.append(
            Target(
                description=public(fields["Description"]),
                source=" ".join([public(fields["Repo-URI"]).rstrip("/"), fields["Release"]]),
                release=os.path.join(folder, name[:end]),
                key=fields["MetaKey"],
                file=fields["Filename"],
                # One that the source may lack: of another architecture, or of packages for all of them.
                optional=fields.get("Optional") == "yes"
                or fields.get("Architecture", place.architecture) != place.architecture,
            )
        )
    return targets


def _file_name(address: str) -> str:
    """As apt makes names of files: special characters by their number, and slashes as underscores."""
    return _SPECIAL.sub(lambda found: f"%{ord(found.group()):02x}", address).replace("/", "_")


def _sources(targets: list[Target]) -> dict[str, Source]:
    """The sources by the beginning of their release file's path, with the fields of that file."""
    sources: dict[str, Source] = {}
    for target in targets:
        if target.release not in sources:
            sources[target.release] = _source(target)
        source = sources[target.release]
        if not (source.problem or target.optional or _is_there(target)):
            source.problem = f"its list {target.key} is not on the host: apt-get update did not fetch it"
    return sources


def _is_there(target: Target) -> bool:
    """Is the list on the host, as it is or compressed, or is it empty? Then apt keeps none."""
    if any(os.path.exists(target.file + suffix) for suffix in _COMPRESSIONS):
        return True
    text = _release_file(target)[0]
    return re.search(rf"(?m)^ \S+ +0 {re.escape(target.key)}$", text) is not None


def _release_file(target: Target, length: int = -1) -> tuple[str, bool]:
    """The beginning of the release file of a list's source, and whether it is signed; empty where there is none."""
    for name in ("InRelease", "Release"):
        try:
            with open(target.release + name, encoding="utf-8", errors="replace") as handle:
                text = handle.read(length)
        except OSError:
            continue
        return text, text.startswith("-----BEGIN PGP SIGNED") or os.path.exists(target.release + name + ".gpg")
    return "", False


def _is_hidden(target: Target) -> bool:
    """May this user not read the release file, or not see whether it is there?"""
    for name in ("InRelease", "Release"):
        try:
            with open(target.release + name, "rb"):
                return False
        except PermissionError:
            return True
        except OSError:
            continue
    return False


def _source(target: Target) -> Source:
    text, signed = _release_file(target, _RELEASE_HEADER)
    fields = dict(re.findall(r"(?m)^([\w-]+): *(\S.*)$", text))
    source = Source(target.source, _date(fields.get("Date")), _date(fields.get("Valid-Until")))
    source.signed = signed if text else None
    source.fields = {name: fields.get(name, "") for name in ("Origin", "Label", "Suite", "Codename")}
    source.security = fields.get("Label") == "Debian-Security" or any(map(_SECURITY_SUITE.search, _suites(source)))
    if not fields and _is_hidden(target):
        source.problem = "its release file cannot be read without root"
    elif not fields:
        source.absent, source.problem = True, "its release file is not on the host: apt-get update did not fetch it"
    return source


def _suites(source: Source) -> tuple[str, ...]:
    """The names of the source's suite: those that it has for itself, and that of apt's sources."""
    return source.fields["Codename"], source.fields["Suite"], source.name.partition(" ")[2]


def _date(text: str | None) -> datetime.datetime | None:
    """A date of a Release file."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).astimezone(
            datetime.timezone.utc
        )
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _stamp(place: Place) -> datetime.datetime | None:
    """When apt last fetched, or found unchanged, the lists of all sources, where a hook notes that."""
    try:
        seconds = os.stat(os.path.join(place.state, "periodic", "update-success-stamp")).st_mtime
    except OSError:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def _installed(host: Host, place: Place, patience: float) -> list[Installed]:
    """The installed packages. Waits for a program that installs some; raises Refused, and Busy after `patience`."""
    deadline = time.monotonic() + patience
    while True:
        packages = _status(host, place)
        holder = _at_work(place) if any(package.broken for package in packages) else 0
        if not holder:
            return packages
        if time.monotonic() >= deadline:
            raise Busy(f"process {holder} has had dpkg's lock for more than {patience:g} seconds")
        time.sleep(1)


def _status(host: Host, place: Place) -> list[Installed]:
    form = "${db:Status-Want}\\t${db:Status-Eflag}\\t${db:Status-Status}\\t${binary:Package}\\t${Version}\\n"
    packages = []
    for line in _output_of(host, "dpkg-query", "--show", "--showformat", form).splitlines():
        fields = line.split("\t")
        if len(fields) != 5:
            raise Refused(f"the output of dpkg-query is not understood: {line[:200]}")
        want, error, state, name, version = fields
        if state in ("not-installed", "config-files"):
            continue
        broken = "" if state == "installed" else state
        if error != "ok":
            broken = error
        if name.endswith(f":{place.architecture}"):
            name = name[: -len(place.architecture) - 1]
        packages.append(Installed(name, version, want == "hold", broken))
    return packages


def _at_work(place: Place) -> int:
    """The process that has a lock of dpkg's; 0 for none. The query takes no lock."""
    folder = os.path.dirname(place.status)
    for name in ("lock-frontend", "lock"):
        try:
            with open(os.path.join(folder, name), "rb") as handle:
                request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind, _whence, _start, _length, holder = struct.unpack(
                    "hhqqi", fcntl.fcntl(handle, fcntl.F_GETLK, request)
                )
        except OSError:
            continue
        if kind != fcntl.F_UNLCK:
            return holder
    return 0


def _is_lock_hidden(place: Place) -> bool:
    """May this user not see whether dpkg is at work?"""
    try:
        with open(os.path.join(os.path.dirname(place.status), "lock"), "rb"):
            return False
    except OSError as error:
        return isinstance(error, PermissionError)


def _broken(place: Place, packages: list[Installed]) -> list[Finding]:
    """Packages whose installation was not finished, and an interrupted dpkg."""
    evidence = [f"{package.name}: {package.broken}" for package in packages if package.broken]
    try:
        journal = os.listdir(os.path.join(os.path.dirname(place.status), "updates"))
    except OSError:
        journal = []
    if any(name.isdigit() for name in journal):
        evidence.append("dpkg was interrupted")
    if not evidence:
        return []
    severity = ""
    if _is_lock_hidden(place):
        severity = "unknown"
        evidence.append("whether dpkg is at work right now cannot be read without root")
    return [finding("updates.packages.broken", MANAGER, ", ".join(evidence), COMMANDS.repair, severity=severity)]


def _policies(output: str, place: Place, names: list[str]) -> dict[str, Policy]:
    """What apt-cache has printed of each of the installed packages; raises Refused where it does not know one, and
    where a table of versions ends before the installed one: what is missing could be an update."""
    policies: dict[str, Policy] = {}
    whole: set[str] = set()
    name, installed = "", False
    newer: list[tuple[str, list[str]]] = []
    phased: set[str] = set()
    for line in output.splitlines():
        if line and not line.startswith(" "):
            name, installed, newer, phased = line[:-1], False, [], set()
            if name.endswith(f":{place.architecture}"):
                name = name[: -len(place.architecture) - 1]
        elif line.startswith("  Candidate: "):
            policies[name] = Policy(line[13:], newer, phased)
        else:
            version, origin = _VERSION.match(line), _ORIGIN.fullmatch(line)
            if version:
                installed = installed or version.group(1) == "***"
                if installed:
                    whole.add(name)
                else:
                    newer.append((version.group(2), []))
                    if version.group(3) not in (None, "100"):
                        phased.add(version.group(2))
            elif origin and not installed and newer:
                newer[-1][1].append(public(origin.group(1)))
    unknown = [name for name in names if name not in policies]
    if unknown:
        raise Refused("apt-cache knows nothing about " + ", ".join(unknown[:5]))
    named = {name: all(lists for _version, lists in policies[name].newer) for name in names}
    unlisted = [name for name in names if name not in whole or not named[name]]
    if unlisted:
        raise Refused("apt-cache does not list all versions of " + ", ".join(unlisted[:5]))
    return policies


def _deferred(host: Host, arguments: list[str], place: Place, policies: t.Mapping[str, Policy]) -> set[str]:
    """The packages whose candidate apt does not install on this host yet, since it is released in phases.

    Whether the host is included follows from its machine-id and apt's options, so apt itself is queried. If that
    fails, none is known to be deferred.
    """
    phased = {name for name, policy in policies.items() if policy.candidate in policy.phased}
    if not phased:
        return set()
    outcome = host.run("apt-get", *arguments, "--simulate", "dist-upgrade")
    if outcome.code:
        return set()
    own = f":{place.architecture}"
    installs = {name[: -len(own)] if name.endswith(own) else name for name in _INSTALLS.findall(outcome.stdout)}
    return phased - installs


def _update(package: Installed, policy: Policy, by_list: t.Mapping[str, Source]) -> Package | None:
    """The update that is pending for a package, if one is.

    That is apt's candidate; and where that is no newer one, but a security source has some, the newest of these.
    """
    secure = [(version, names) for version, lists in policy.newer for names in [_names(lists, by_list, True)] if names]
    chosen = [(version, _names(lists, by_list)) for version, lists in policy.newer if version == policy.candidate]
    if not chosen and not secure:
        return None
    version, names = (chosen or secure)[0]
    origins = [name for found, names in secure if found == version for name in names] or names
    return Package(
        package.name,
        package.version,
        version,
        security=bool(secure),
        held=package.held or not chosen,
        origin=origins[0] if origins else "",
    )


def _names(lists: t.Iterable[str], by_list: t.Mapping[str, Source], secure: bool = False) -> list[str]:
    """The sources that have these lists, or those of them that are for security."""
    sources = [by_list[name] for name in lists if name in by_list]
    return [source.name for source in sources if source.security or not secure]


def _security_lack(release: t.Mapping[str, str], sources: t.Mapping[str, Source]) -> Finding | None:
    """What keeps apt from telling which updates are for security, as a finding."""
    secure = [source for source in sources.values() if source.security]
    distribution, codename = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    if distribution in _SECURITY_SOURCES and codename and release.get("VERSION_ID"):
        if not _CODENAME.fullmatch(codename):
            reason = f"VERSION_CODENAME of os-release is no codename: {codename!r}"
            return finding("updates.security.unknown", MANAGER, reason)
        # One that was fetched for another release has nothing for this one.
        fitting = [
            source for source in secure if any(re.match(codename + r"([-/]|$)", name) for name in _suites(source))
        ]
        if not fitting:
            line = _SECURITY_SOURCES[distribution].format(codename)
            if codename in _OLD_SUITES:
                line = line.replace("-security ", "/updates ")
            return finding(
                "updates.security.suite_missing",
                MANAGER,
                "the sources are " + (", ".join(source.name for source in sources.values()) or "none"),
                f"echo {shlex.quote(line)} >/etc/apt/sources.list.d/security.list && apt-get update",
            )
        secure = fitting
    if not secure:
        return finding("updates.security.unknown", MANAGER, "none of the package sources is one of security updates")
    failed = [source for source in secure if source.problem]
    if failed:
        return finding("updates.security.unknown", failed[0].name, failed[0].problem)
    return None
