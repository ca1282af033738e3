# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What a package manager was found to say, and the host whose programs and files are asked.

C(_updates_packages.collect(host, now, max_metadata_age, refresh)) fills a C(Reading) in by asking C(_updates_apt),
C(_updates_dnf) or C(_updates_zypper), and C(_updates_automatic).

Everywhere here, None is "could not be found out", and a C(reason) says why. It is never to be read as zero or as no.
"""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
import typing as t
from dataclasses import dataclass, field

STEP = 1
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND = 127
TIMED_OUT = 124


@dataclass
class Package:
    """A newer version of an installed package. `origin` names the source it comes from, as its manager does."""

    name: str
    installed: str
    available: str
    security: bool
    held: bool
    origin: str

    def returned(self) -> dict[str, t.Any]:
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

    Without `security_known`, an update that is not marked as one for security may be one.
    """

    packages: list[Package] | None = None
    security_known: bool = False
    reason: str = ""

    @property
    def security(self) -> list[Package]:
        """The security updates, held or not."""
        return [package for package in self.packages or () if package.security]

    def returned(self) -> dict[str, t.Any]:
        """As the module returns it. The counts are None where they are not known."""
        packages = self.packages
        security = len(self.security)
        return {
            "pending": None if packages is None else len(packages),
            # Those that were found are pending for sure; none found is a number only where all would have been.
            "security": security if security or (packages is not None and self.security_known) else None,
            "held": None if packages is None else sum(package.held for package in packages),
            "packages": [package.returned() for package in packages or ()],
            "security_known": self.security_known,
            "reason": self.reason,
        }


@dataclass
class Source:
    """A repository: when its lists were made and until when they hold (both from the lists), and what is wrong."""

    name: str
    date: datetime.datetime | None = None
    valid_until: datetime.datetime | None = None
    signed: bool | None = None
    security: bool = False
    problem: str = ""

    def returned(self) -> dict[str, t.Any]:
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
    """How old the lists are that the updates were read from. The date is that of the list which decides."""

    date: datetime.datetime | None = None
    age_hours: float | None = None
    stale: bool | None = None
    reason: str = ""
    sources: list[Source] = field(default_factory=list)

    def returned(self) -> dict[str, t.Any]:
        """As the module returns it."""
        return {
            "date": rfc3339(self.date),
            "age_hours": self.age_hours,
            "stale": self.stale,
            "reason": self.reason,
            "sources": [source.returned() for source in self.sources],
        }


@dataclass
class Automatic:
    """Whether the host installs updates by itself, and whether it did lately."""

    enabled: bool | None = None
    mechanism: str = ""
    covers_security: bool | None = None
    works: bool | None = None
    last_run: datetime.datetime | None = None
    reason: str = ""

    def returned(self) -> dict[str, t.Any]:
        """As the module returns it."""
        return {
            "enabled": self.enabled,
            "mechanism": self.mechanism,
            "covers_security": self.covers_security,
            "works": self.works,
            "last_run": rfc3339(self.last_run),
            "reason": self.reason,
        }


@dataclass
class Reading:
    """All that one package manager says, and the findings that follow from it.

    `manager` is apt, dnf, dnf5, zypper, or empty where none of them is on the host.
    """

    manager: str
    updates: Updates = field(default_factory=Updates)
    metadata: Metadata = field(default_factory=Metadata)
    automatic: Automatic = field(default_factory=Automatic)
    findings: list[dict[str, t.Any]] = field(default_factory=list)


class Outcome(t.NamedTuple):
    """What came of a program. The code is NOT_FOUND where it could not be started, TIMED_OUT where it took too long."""

    code: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The program's own words about a failure, in one line."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return "; ".join(lines[-3:]) or f"it ended with status {self.code} and said nothing"


class Host:
    """The machine that is asked: its files below `root`, and its programs.

    `options` are words that a program is always given first, by its name, and `environment` is added to each program's.
    They are empty on a host, and lead programs to another root in tests.
    """

    def __init__(
        self,
        root: str = "/",
        options: t.Mapping[str, t.Sequence[str]] | None = None,
        environment: t.Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.options = dict(options or {})
        # Messages are compared with English ones, and numbers and dates are to be read.
        self.environment = {"PATH": _PATH, "LC_ALL": "C", "LANGUAGE": "C", "HOME": "/root", **(environment or {})}
        for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if name in os.environ:
                self.environment.setdefault(name, os.environ[name])

    def path(self, path: str) -> str:
        """Where a file of the host is."""
        return os.path.join(self.root, path.lstrip("/"))

    def read(self, path: str) -> str | None:
        """A text file's content; None where there is none or it cannot be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as handle:
                return handle.read()
        except OSError:
            return None

    def has(self, program: str) -> bool:
        """Is the program on the host?"""
        return shutil.which(program, path=self.environment["PATH"]) is not None

    def run(self, program: str, *words: str, timeout: float = 60) -> Outcome:
        """Run a program of the host to its end, without input; it and its children are ended after `timeout` seconds."""
        try:
            process = subprocess.Popen(
                [program, *self.options.get(program, ()), *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(NOT_FOUND, "", f"{program}: {error.strerror}")
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Outcome(TIMED_OUT, "", f"{program}: no answer within {timeout:g} seconds")
        return Outcome(process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def rfc3339(moment: datetime.datetime | None) -> str | None:
    """A time as the module returns it, in UTC."""
    return moment.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
