# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pending updates beside what apt, dnf and zypper themselves say, on generated states of packages.

Versions are compared by dpkg and rpm, and which update is for security follows from the state as it was generated.
Where the collection reports something else than the package manager would do, C(DIFFERENCES) has the reason and what
has to be reported then.

C(DIFFERENTIAL_SEED) makes other states, C(DIFFERENTIAL_STATES) more of them: apt gets that many, dnf and zypper, which
are slower, a third.
"""

from __future__ import annotations

import collections
import datetime
import functools
import os
import random
import re
import time
import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt
from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf
from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper

from .updates_bed import BOOKWORM, NOW, AptBed, RpmBed, Rpms, ago, missing, run

# Package managers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

SEED = int(os.environ.get("DIFFERENTIAL_SEED", "9"))
STATES = int(os.environ.get("DIFFERENTIAL_STATES", "3"))
ENOUGH = 30
"""States of apt in which every difference comes up."""
APT = pytest.mark.skipif(bool(missing("apt-get", "apt-cache", "dpkg")), reason="apt is not installed")
RPM_TOOLS = ("rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
DNF = pytest.mark.skipif(bool(missing("dnf", *RPM_TOOLS)), reason="dnf is not installed")
ZYPPER = pytest.mark.skipif(bool(missing("zypper", *RPM_TOOLS)), reason="zypper is not installed")


class Facts(t.NamedTuple):
    """An installed package. C(listed): the version that the package manager lists as an update; C(does): the one that
    it would install; C(secure): the newer versions for security, newest first. Empty where there is none."""

    listed: str
    does: str
    secure: tuple[str, ...]
    locked: bool
    phased: bool = False  # the listed version is for a share of all hosts


class Difference(t.NamedTuple):
    """C(reported) is what the collection has to report of a package: version and whether it is held; None for nothing.
    The first difference that applies counts."""

    why: str
    applies: t.Callable[[Facts], bool]
    reported: t.Callable[[Facts], tuple[str, bool] | None]


DIFFERENCES = (
    Difference(
        "What is on hold or locked is not installed, and is missing all the same: it is reported as held.",
        lambda facts: facts.locked and bool(facts.listed),
        lambda facts: (facts.listed, True),
    ),
    Difference(
        "A pin may hide that there is a version for security, or ask for an older one; it is reported as held.",
        lambda facts: bool(facts.secure) and not facts.listed,
        lambda facts: (facts.secure[0], True),
    ),
    Difference(
        "Phased: apt lists the update and installs it when the host's turn has come; until then none is missing.",
        lambda facts: facts.phased and not facts.does,
        lambda facts: None,
    ),
    Difference(
        "An older version that a pin asks for is no update.",
        lambda facts: bool(facts.does) and not facts.listed,
        lambda facts: None,
    ),
)


class Tally:
    """Compares, and counts packages and differences."""

    def __init__(self) -> None:
        self.packages = 0
        self.pending = 0
        self.decided: collections.Counter[str] = collections.Counter()

    def compare(self, state: object, packages: t.Mapping[str, Facts], reading: t.Any) -> None:
        assert reading.updates.packages is not None, reading.findings
        reported = {one.name: (one.available, one.held) for one in reading.updates.packages}
        expected = {name: self._expected(facts) for name, facts in packages.items()}
        assert reported == {name: one for name, one in expected.items() if one}, (state, packages)
        security = {one.name for one in reading.updates.packages if one.security}
        assert security == {name for name, facts in packages.items() if facts.secure}, (state, packages)
        self.packages += len(packages)
        self.pending += len(reported)

    def _expected(self, facts: Facts) -> tuple[str, bool] | None:
        for difference in DIFFERENCES:
            if difference.applies(facts):
                self.decided[difference.why] += 1
                return difference.reported(facts)
        # Agreement: what is listed is what would be installed.
        assert facts.listed == facts.does, facts
        return (facts.listed, False) if facts.listed else None


# ---- apt

DEB_VERSIONS = ("0.9", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1", "1.0-1+deb12u2", "1.0-1~bpo12+1",
                "1.0+git2-1", "1.9-1", "1.10-1", "1:0.5-1")  # fmt: skip
DEBS = ("a", "b", "c", "d", "e", "f", "libg1", "h+", "m:amd64", "n:i386")


@functools.lru_cache(None)
def deb_newer(one: str, other: str) -> bool:
    try:
        run("dpkg", "--compare-versions", one, "gt", other)
    except AssertionError:
        return False
    return True


def newest_first(versions: t.Iterable[str], newer: t.Callable[[str, str], bool]) -> tuple[str, ...]:
    return tuple(sorted(set(versions), key=functools.cmp_to_key(lambda one, other: -1 if newer(one, other) else 1)))


class DebState(t.NamedTuple):
    installed: dict[str, str]
    held: tuple[str, ...]
    archives: dict[str, dict[str, str]]
    phase: int | None  # the share of hosts that gets the archive `updates`
    pins: str


def deb_state(rng: random.Random) -> DebState:
    installed = {name: rng.choice(DEB_VERSIONS) for name in DEBS if rng.random() < 0.9}
    archives = {
        archive: {name: rng.choice(DEB_VERSIONS) for name in DEBS if rng.random() < share}
        for archive, share in {"main": 0.8, "updates": 0.4, "security": 0.4, "vendor": 0.3, "backports": 0.3}.items()
    }
    pins = []
    for name in rng.sample(DEBS, 2):
        what = rng.choice(("release l=Vendor", "release l=Debian-Security", f"version {rng.choice(DEB_VERSIONS)}"))
        pins.append(f"Package: {name}\nPin: {what}\nPin-Priority: {rng.choice((-1, 50, 990, 1001))}\n")
    held = tuple(name for name in installed if rng.random() < 0.15)
    return DebState(installed, held, archives, rng.choice((None, 0, 0, 50, 100)), "\n".join(pins))


def apt_bed(folder: t.Any, state: DebState) -> AptBed:
    folder.mkdir()
    bed = AptBed(folder, None)
    free = {name: version for name, version in state.installed.items() if name not in state.held}
    bed.install(free)
    bed.install({name: state.installed[name] for name in state.held}, "hold ok installed")
    bed.install({"gone": "0.1"}, "deinstall ok config-files")
    with bed.config.open("a") as config:
        config.write('APT::Machine-ID "0123456789abcdef";\n')
    labels = {"security": "Debian-Security", "vendor": "Vendor"}
    for archive, packages in state.archives.items():
        suite = "bookworm" if archive == "main" else f"bookworm-{archive}"
        bed.repository(archive, {**packages, "gone": "0.2"}, suite=suite, codename=suite, date=ago(5), signed=False,
                       label=labels.get(archive, "Debian"),
                       percentage=state.phase if archive == "updates" else None)  # fmt: skip
        if archive == "backports":
            release = folder / archive / "dists" / suite / "Release"
            release.write_text("NotAutomatic: yes\nButAutomaticUpgrades: yes\n" + release.read_text())
    (bed.root / "etc/apt/preferences").write_text(state.pins)
    bed.update()
    return bed


def of_apt(bed: AptBed, state: DebState) -> dict[str, Facts]:
    """What apt says of each package."""
    listed = {}
    text = bed.apt("apt", "list", "--upgradable")
    for name, version, architecture in re.findall(r"(?m)^([^/\n]+)/\S+ (\S+) (\S+) \[upgradable", text):
        listed[f"{name}:i386" if architecture == "i386" else name] = version
    does = bed.upgraded()
    found = {}
    for full, version in state.installed.items():
        name = full.removesuffix(":amd64")
        secure = [one for one in [state.archives["security"].get(full)] if one and deb_newer(one, version)]
        found[name] = Facts(
            listed.get(name, ""),
            does.get(name, ""),
            tuple(secure),
            full in state.held,
            state.phase in (0, 50) and name in listed and state.archives["updates"].get(full) == listed[name],
        )
    return found


@APT
def test_apt(tmp_path):
    rng, tally = random.Random(SEED), Tally()
    for number in range(STATES):
        state = deb_state(rng)
        bed = apt_bed(tmp_path / str(number), state)
        tally.compare(state, of_apt(bed, state), _apt.read(bed.host, BOOKWORM, NOW, 48))
    assert tally.pending >= STATES
    if STATES >= ENOUGH:
        assert [one.why for one in DIFFERENCES if not tally.decided[one.why]] == []


# ---- dnf and zypper

RPM_NAMES = ("web", "tls", "base", "kernel")
RPM_VERSIONS = ("0.9-1", "1.0-1", "1.0-2", "1.0-10", "1.0~rc1-1", "1.9-1", "1.10-1")


@functools.lru_cache(None)
def rpm_newer(one: str, other: str) -> bool:
    (version, release), (other_version, other_release) = one.split("-"), other.split("-")

    def compared(one: str, other: str) -> int:
        return int(run("rpm", "--eval", f'%{{lua: print(rpm.vercmp("{one}", "{other}"))}}'))

    return (compared(version, other_version) or compared(release, other_release)) > 0


class RpmState(t.NamedTuple):
    """C(offered): versions by repository and name. C(advisories): by repository, kind and NAME-VERSION-RELEASE each."""

    installed: dict[str, str]
    locked: tuple[str, ...]
    offered: dict[str, dict[str, list[str]]]
    advisories: dict[str, list[tuple[str, str]]]

    def files(self, repository: str) -> list[str]:
        return [f"{name}-{one}" for name, versions in self.offered[repository].items() for one in versions]


def rpm_state(rng: random.Random, other_kind: str) -> RpmState:
    offered = {
        repository: {name: rng.sample(RPM_VERSIONS, rng.choice((0, 1, 2, 2))) for name in RPM_NAMES}
        for repository in ("base", "updates")
    }
    state = RpmState(
        {name: rng.choice(RPM_VERSIONS[:5]) for name in RPM_NAMES},
        tuple(name for name in RPM_NAMES if rng.random() < 0.2),
        offered,
        {},
    )
    for repository in offered:
        chosen = [file for file in state.files(repository) if rng.random() < 0.6]
        state.advisories[repository] = [(rng.choice(("security", other_kind)), file) for file in chosen]
    return state


def rpm_bed(folder: t.Any, rpms: Rpms, state: RpmState) -> RpmBed:
    folder.mkdir()
    bed = RpmBed(folder, rpms, sorted(f"{name}-{version}" for name, version in state.installed.items()))
    for repository, advisories in state.advisories.items():
        # One about nothing that is installed: a repository without any advisory is one that tells nothing of security.
        named = [(f"{repository}-{number}", kind, (file,)) for number, (kind, file) in enumerate(advisories)]
        bed.repository(repository, state.files(repository), *named, (f"{repository}-x", "security", ("x-1-1",)))
    return bed


def of_rpms(state: RpmState, every: t.Mapping[str, str], does: t.Mapping[str, str]) -> dict[str, Facts]:
    """C(every): what the package manager lists without its locks, and C(does) with them."""
    advised = [file.split("-", 1) for some in state.advisories.values() for kind, file in some if kind == "security"]
    return {
        name: Facts(
            every.get(name, ""),
            does.get(name, ""),
            newest_first((one for other, one in advised if other == name and rpm_newer(one, version)), rpm_newer),
            name in state.locked,
        )
        for name, version in state.installed.items()
    }


def now() -> datetime.datetime:
    """Repositories are dated by the clock of this machine."""
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC)


@pytest.fixture(scope="module")
def rpms(tmp_path_factory):
    return Rpms(tmp_path_factory.mktemp("rpms"))


@DNF
def test_dnf(tmp_path, rpms):
    rng, tally = random.Random(SEED), Tally()
    for number in range(max(1, STATES // 3)):
        state = rpm_state(rng, "bugfix")
        bed = rpm_bed(tmp_path / str(number), rpms, state)
        bed.dnf("makecache", "--refresh")

        def listed(bed=bed) -> dict[str, str]:
            text = bed.dnf("-C", "check-update", good=(0, 100)).stdout
            return dict(re.findall(r"(?m)^(\S+)\.noarch +(\S+) +\S+ *$", text))

        every = listed()
        bed.locks.write_text("".join(f"{name}-0:{state.installed[name]}.*\n" for name in state.locked))
        tally.compare(state, of_rpms(state, every, listed()), _dnf.read(bed.host, {}, now(), 48))
    assert tally.packages >= STATES


@ZYPPER
def test_zypper(tmp_path, rpms):
    rng, tally = random.Random(SEED), Tally()
    for number in range(max(1, STATES // 3)):
        state = rpm_state(rng, "recommended")
        bed = rpm_bed(tmp_path / str(number), rpms, state)
        bed.zypper("refresh")

        def listed(bed=bed) -> dict[str, str]:
            text = bed.zypper("--xmlout", "--no-refresh", "list-updates").stdout
            return dict(re.findall(r'<update [^>]*\bname="([^"]+)" [^>]*\bedition="([^"]+)"', text))

        every = listed()
        if state.locked:
            bed.zypper("addlock", *state.locked)
        tally.compare(state, of_rpms(state, every, listed()), _zypper.read(bed.host, {}, now(), 48))
    assert tally.packages >= STATES
