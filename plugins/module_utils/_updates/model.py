# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a package manager reports, and the host whose programs and files are queried.

C(_updates.managers.collect(host, now, max_metadata_age, refresh)) fills in a C(Reading) from C(_updates.apt),
C(_updates.dnf) or C(_updates.zypper), and C(_updates.automatic).

Everywhere here, None is "could not be found out", with the cause in C(reason). It must never be read as zero or as no.
"""

from __future__ import annotations

import copy
import datetime
import os
import re
import shutil
import signal
import subprocess
import typing as t
from dataclasses import dataclass, field

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
NOT_FOUND = 127
TIMED_OUT = 124
_SKEW = datetime.timedelta(hours=1)
"""How far the clocks of a host and of an archive may differ."""

if t.TYPE_CHECKING:  # Python has it since 3.8 only.
    ReturnedPackage = t.TypedDict(  # novm
        "ReturnedPackage",
        {"name": str, "from": str, "to": str, "security": bool, "held": bool, "origin": str},
    )
    """A package as the module returns it: from the installed version to the available one."""

    class ReturnedUpdates(t.TypedDict):  # novm
        """The pending updates as the module returns them. A number is None where it is not known."""

        pending: int | None
        security: int | None
        held: int | None
        packages: list[ReturnedPackage]
        security_known: bool
        reason: str

    class ReturnedSource(t.TypedDict):  # novm
        """A repository as the module returns it, with times as RFC 3339 has them."""

        name: str
        date: str | None
        valid_until: str | None
        signed: bool | None
        security: bool
        problem: str

    class ReturnedMetadata(t.TypedDict):  # novm
        """The age of the lists as the module returns it, with times as RFC 3339 has them."""

        date: str | None
        checked: str | None
        age_hours: float | None
        stale: bool | None
        reason: str
        sources: list[ReturnedSource]

    class ReturnedAutomatic(t.TypedDict):  # novm
        """The automatic updates as the module returns them, with a time as RFC 3339 has it."""

        enabled: bool | None
        mechanism: str
        covers_security: bool | None
        works: bool | None
        last_run: str | None
        reason: str

else:
    ReturnedPackage = ReturnedUpdates = ReturnedSource = t.Dict[str, t.Any]
    ReturnedMetadata = ReturnedAutomatic = t.Dict[str, t.Any]


@dataclass
class Package:
    """A newer version of an installed package. `origin` names the source it comes from, as its manager does.

    One that is `held` is on hold, locked, excluded, or passed over because of a pin.
    """

    name: str
    installed: str
    available: str
    security: bool
    held: bool
    origin: str

    def returned(self) -> ReturnedPackage:
        """As the module returns it."""
        return {
            "name": self.name,
            "from": self.installed,
            "to": self.available,
            "security": self.security,
            "held": self.held,
            "origin": self.origin,
        }


@dataclass
class Updates:
    """The packages that have newer versions; held ones are among them. `packages` is None when it is not known.

    Unless `complete`, there may be more than these. Without `security_known`, an update that is not marked as one for
    security may be one.
    """

    packages: list[Package] | None = None
    security_known: bool = False
    complete: bool = False
    reason: str = ""

    @property
    def security(self) -> list[Package]:
        """The security updates, held or not."""
        return [package for package in self.packages or () if package.security]

    def returned(self) -> ReturnedUpdates:
        """As the module returns it. What was found counts; none found is None unless all would have been."""
        packages = self.packages or []
        return {
            "pending": len(packages) or (0 if self.complete else None),
            "security": len(self.security) or (0 if self.complete and self.security_known else None),
            "held": sum(package.held for package in packages) or (0 if self.complete else None),
            "packages": [package.returned() for package in packages],
            "security_known": self.security_known,
            "reason": self.reason,
        }


@dataclass
class Source:
    """A repository: when its lists were made and until when they hold (both from the lists), and what is wrong.

    `fields` are those of apt's Release file. One that is `absent` was never fetched, as far as is known.
    """

    name: str
    date: datetime.datetime | None = None
    valid_until: datetime.datetime | None = None
    signed: bool | None = None
    security: bool = False
    problem: str = ""
    absent: bool = False
    fields: t.Mapping[str, str] = field(default_factory=dict)

    def returned(self) -> ReturnedSource:
        """As the module returns it."""
        return {
            "name": self.name,
            "date": rfc3339(self.date),
            "valid_until": rfc3339(self.valid_until),
            "signed": self.signed,
            "security": self.security,
            "problem": self.problem,
        }


@dataclass
class Metadata:
    """How old the lists are that the updates were read from.

    `date` is that of the list which decides, `checked` when the sources were last seen to have nothing newer. The age
    is that of the later one.
    """

    date: datetime.datetime | None = None
    checked: datetime.datetime | None = None
    age_hours: float | None = None
    stale: bool | None = None
    reason: str = ""
    sources: list[Source] = field(default_factory=list)

    def returned(self) -> ReturnedMetadata:
        """As the module returns it."""
        return {
            "date": rfc3339(self.date),
            "checked": rfc3339(self.checked),
            "age_hours": self.age_hours,
            "stale": self.stale,
            "reason": self.reason,
            "sources": [source.returned() for source in self.sources],
        }


@dataclass
class Automatic:
    """Whether the host installs updates by itself, and whether it did lately. `fix` is commands against the reason."""

    enabled: bool | None = None
    mechanism: str = ""
    covers_security: bool | None = None
    works: bool | None = None
    last_run: datetime.datetime | None = None
    reason: str = ""
    fix: str = ""

    def returned(self) -> ReturnedAutomatic:
        """As the module returns it."""
        return {
            "enabled": self.enabled,
            "mechanism": self.mechanism,
            "covers_security": self.covers_security,
            "works": self.works,
            "last_run": rfc3339(self.last_run),
            "reason": self.reason,
        }


class Lists(t.NamedTuple):
    """The output of C(apt-cache policy) for all installed packages, and the origin of each list by its name there."""

    policies: str
    origins: dict[str, str]


class Commands(t.NamedTuple):
    """The commands of a package manager that findings recommend; {} stands for the names of packages."""

    refresh: str
    install_all: str
    install: str
    release: str
    repair: str = ""


@dataclass
class Reading:
    """All that one package manager reports, and the findings that follow from it.

    `manager` is its name, or empty where none that is known is on the host. `lists` are there with apt, if they could
    be read.
    """

    manager: str
    updates: Updates = field(default_factory=Updates)
    metadata: Metadata = field(default_factory=Metadata)
    automatic: Automatic = field(default_factory=Automatic)
    findings: list[Finding] = field(default_factory=list)
    lists: Lists | None = None
    commands: Commands = field(default_factory=lambda: Commands("", "", "", ""))


class Refused(Exception):
    """A package manager has no result; the message is the reason, its own where there is one."""


class Busy(Refused):
    """Another program is installing packages."""


class Outcome(t.NamedTuple):
    """What came of a program. The code is NOT_FOUND where it could not be started, TIMED_OUT where it took too long."""

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The program's own message about a failure, in one line."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return "; ".join(lines[-3:]) or f"it ended with status {self.code} and without a message"


class Host:
    """The machine that is queried: its files below `root`, and its programs.

    `options` are the first arguments of every call of a program, by its name, and `environment` is added to each one's.
    They are empty on a host, and lead programs to another root in tests.
    """

    def __init__(
        self,
        root: str = "/",
        options: t.Mapping[str, t.Sequence[str]] | None = None,
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        # What this user may not read, and root may: nothing follows from it not being read.
        self.hidden: list[str] = []
        self.options = dict(options or {})
        # Messages are compared with English ones, and numbers and dates are to be read.
        self.environment = {
            "PATH": _PATH,
            "LC_ALL": "C",
            "LANGUAGE": "C",
            "TZ": "UTC",
            "HOME": "/root",
            **(environment or {}),
        }
        for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if name in os.environ:
                self.environment.setdefault(name, os.environ[name])

    def apart(self) -> Host:
        """The same host, with a list of its own of what is hidden."""
        other = copy.copy(self)
        other.hidden = []
        return other

    def path(self, path: str) -> str:
        """Where a file of the host is."""
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> str | None:
        """A text file's content; None where there is none or it cannot be read."""
        try:
            return _regular.text(self.path(path), foreign_links=True)
        except OSError as error:
            self.note(path, error)
            return None

    def note(self, path: str, error: OSError) -> None:
        """Note a file or folder as hidden if that is why it could not be read."""
        if isinstance(error, PermissionError) and path not in self.hidden:
            self.hidden.append(path)

    def has(self, program: str) -> bool:
        """Is the program on the host?"""
        return bool(self.find(program))

    def find(self, program: str) -> str:
        """The path of a program; empty where the host has none."""
        return shutil.which(program, path=self.environment["PATH"]) or ""

    def run(self, program: str, *arguments: str, timeout: float = 60) -> Outcome:
        """Run a program of the host to its end, without input, and end it with its children after `timeout` seconds."""
        try:
            process = _programs.start(
                [program, *self.options.get(program, ()), *arguments],
                self.environment,
                errors=_programs.APART,
                own_session=True,
            )
        except OSError as error:
            return Outcome(NOT_FOUND, "", f"{program}: {error.strerror}")
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Outcome(TIMED_OUT, "", f"{program}: no result within {timeout:g} seconds")
        return Outcome(process.returncode, text_of(stdout), text_of(stderr))


def text_of(data: bytes) -> str:
    """The text that a program has printed. What is no text does not get into paths, which cannot have it."""
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def public(text: str) -> str:
    """A message without the passwords of addresses."""
    return _PASSWORD.sub("", text)


def rfc3339(moment: datetime.datetime | None) -> str | None:
    """A time as the module returns it, in UTC."""
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def never_fetched(sources: t.Collection[Source]) -> bool:
    """Are there package sources, but nothing of any on the host?"""
    return bool(sources) and all(source.absent for source in sources)


def problems(manager: str, sources: t.Collection[Source]) -> list[str]:
    """What keeps the sources from telling all updates, in one line each."""
    if not sources:
        return [f"{manager} has no package sources"]
    if never_fetched(sources):
        return ["the package lists were never fetched"]
    return [f"{source.name}: {source.problem}" for source in sources if source.problem]


def freshness(
    sources: list[Source],
    now: datetime.datetime,
    max_age: float,
    checked: datetime.datetime | None = None,
) -> Metadata:
    """How old the lists are, and whether older than `max_age` hours.

    The security sources decide, by the oldest: the others may be unchanged for years. Where none is known, the newest
    of all does. A list that is older, but by its own date still valid, leaves it open: its archive may
    have had nothing to publish. Being `checked` settles it.
    """
    metadata = Metadata(sources=sources, checked=checked if checked and checked <= now + _SKEW else None)
    dated = [source for source in sources if source.date]
    secure = [source for source in dated if source.security]
    expired = [source for source in sources if source.valid_until and source.valid_until < now]
    if never_fetched(sources):
        metadata.reason = "the package lists were never fetched"
    elif not dated and not metadata.checked:
        metadata.reason = "no package list has the time when it was made"
    else:
        dates = [source.date for source in secure or dated if source.date]
        metadata.date = (min(dates) if secure else max(dates)) if dates else None
        latest = max(moment for moment in (metadata.date, metadata.checked) if moment)
        age = (now - latest).total_seconds() / 3600
        metadata.age_hours = round(max(age, 0.0), 1)
        open_ended = [source for source in secure or dated if not source.valid_until]
        if latest > now + _SKEW:
            metadata.reason = f"the lists are of {rfc3339(latest)}, but the clock is at {rfc3339(now)}"
        elif age <= max_age:
            metadata.stale = False
        elif open_ended or not dates:
            metadata.stale = True
            metadata.reason = f"the lists are of {rfc3339(latest)}, more than {max_age:g} hours old"
        else:
            metadata.reason = (
                f"the lists are of {rfc3339(latest)}, more than {max_age:g} hours old, and hold until"
                f" {rfc3339(min(source.valid_until for source in secure or dated if source.valid_until))}:"
                " only a refresh shows whether there are newer ones"
            )
    if expired:
        metadata.stale = True
        metadata.reason = "; ".join(f"{source.name} expired on {rfc3339(source.valid_until)}" for source in expired)
    return metadata
