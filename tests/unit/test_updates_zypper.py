# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pending updates by the real zypper, in a root of its own, beside what zypper itself says."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper

from .updates_bed import RpmBed, Rpms, missing

LACKING = missing("zypper", "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
pytestmark = [
    # Package managers, and nothing of ansible-core.
    pytest.mark.slow,
    pytest.mark.skipif(LACKING is not None, reason=f"{LACKING} is not installed"),
]

INSTALLED = ("web-1.0-1", "tls-3.0-1", "base-1.0-1")
OFFERED = ("web-1.1-1", "tls-3.0-2", "tls-3.0-3", "base-1.0-1")
ADVISORY = ("TEST-1", "security", ("tls-3.0-2",))
DONE = ("TEST-0", "security", ("tls-3.0-1",))
BUGFIX = ("TEST-2", "recommended", ("web-1.1-1",))


@pytest.fixture(scope="module")
def rpms(tmp_path_factory):
    return Rpms(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def bed(tmp_path, rpms):
    return RpmBed(tmp_path, rpms, INSTALLED)


def moment(seconds=0.0):
    """Now, or so many seconds later: repositories are dated by the clock of this machine."""
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC)


def read(bed, now=None, **more):
    """The reading with what follows from it; the automatic updates are another reader's."""
    reading = _updates_findings.complete(_zypper.read(bed.host, {}, now or moment(), 48, **more))
    reading.findings = [item for item in reading.findings if not item["id"].startswith("updates.automatic")]
    return reading


def ids(reading):
    return [item["id"] for item in reading.findings]


def counts(reading):
    return tuple(reading.updates.returned()[name] for name in ("pending", "security", "held"))


def found(reading, key):
    matching = [item for item in reading.findings if item["id"] == key]
    assert len(matching) == 1, reading.findings
    return matching[0]


def upgrade(bed, *packages):
    bed.rpm("--upgrade", "--nodeps", *(str(bed.rpms.path(package)) for package in packages))


def test_security_updates_are_known_by_the_patches_and_equal_those_of_zypper(bed):
    bed.repository("base", OFFERED, ADVISORY, BUGFIX)
    reading = read(bed, refresh=True)
    assert reading.updates.returned()["packages"] == [
        {"name": "tls", "from": "3.0-1", "to": "3.0-3", "security": True, "held": False, "origin": "base"},
        {"name": "web", "from": "1.0-1", "to": "1.1-1", "security": False, "held": False, "origin": "base"},
    ]
    own = bed.zypper("--no-refresh", "patch-check", good=(101,)).stdout
    assert "2 patches needed (1 security patch)" in own
    assert counts(reading) == (2, 1, 0)
    assert (reading.updates.security_known, reading.metadata.stale) == (True, False)
    assert ids(reading) == ["updates.security.pending", "updates.pending"]
    assert found(reading, "updates.security.pending")["fix"] == "zypper refresh && zypper patch --category security"


def test_a_patch_whose_name_has_spaces_is_that_of_its_packages(bed):
    bed.repository("base", OFFERED, ("OUR PATCH 1", "security", ("tls-3.0-2",)), BUGFIX)
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, 0)
    assert {package.name for package in reading.updates.security} == {"tls"}


def test_other_patches_are_not_for_security(bed):
    bed.repository("base", OFFERED, BUGFIX)
    reading = read(bed, refresh=True)
    bed.zypper("--no-refresh", "patch-check", good=(100,))
    assert counts(reading) == (2, 0, 0)


def test_nothing_is_pending_when_all_is_installed(bed):
    bed.repository("base", INSTALLED, DONE)
    reading = read(bed, refresh=True)
    bed.zypper("--no-refresh", "patch-check")
    assert (counts(reading), ids(reading)) == ((0, 0, 0), [])


def test_a_patch_whose_packages_are_not_there_is_pending_all_the_same(bed):
    bed.repository("base", INSTALLED, ADVISORY)
    reading = read(bed, refresh=True)
    bed.zypper("--no-refresh", "patch-check", good=(101,))
    assert counts(reading) == (1, 1, 0)
    assert found(reading, "updates.security.pending")["evidence"] == "patch:TEST-1"


def test_without_updateinfo_it_is_not_known_what_is_for_security(bed):
    bed.repository("base", OFFERED)
    reading = read(bed, refresh=True)
    bed.zypper("--no-refresh", "patch-check")
    assert counts(reading) == (2, None, 0)
    assert "no repository" in found(reading, "updates.security.unknown")["evidence"]


def test_an_update_from_a_repository_without_updateinfo_is_not_known_to_be_harmless(bed):
    bed.repository("base", ("tls-3.0-2",), ADVISORY)
    bed.repository("vendor", ("web-1.1-1",))
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, 0)
    assert found(reading, "updates.security.unknown")["evidence"].endswith(": vendor")
    upgrade(bed, "tls-3.0-2", "web-1.1-1")
    reading = read(bed)
    assert (counts(reading), ids(reading)) == ((0, 0, 0), [])


def test_a_locked_package_counts_though_zypper_hides_it(bed):
    bed.repository("base", OFFERED, ADVISORY)
    read(bed, refresh=True)
    bed.zypper("addlock", "tls")
    assert 'name="tls"' not in bed.zypper("--xmlout", "--no-refresh", "list-updates").stdout
    reading = read(bed)
    assert counts(reading) == (2, 1, 1)
    fix = found(reading, "updates.held.security")["fix"]
    assert fix == "zypper removelock tls"
    bed.zypper(*fix.split()[1:])
    assert counts(read(bed)) == (2, 1, 0)


@pytest.mark.parametrize("locks", [[], ["t*"]])
def test_another_vendors_version_is_no_update(bed, locks):
    """zypper hides it, as it hides what is locked."""
    bed.repository("base", OFFERED, ADVISORY)
    bed.repository("other", ("base-2.0-1.other",), ("TEST-8", "security", ("base-2.0-1.other",)))
    read(bed, refresh=True)
    for lock in locks:
        bed.zypper("addlock", lock)
    assert 'name="base"' in bed.zypper("--xmlout", "--no-refresh", "list-updates", "--all").stdout
    reading = read(bed)
    assert {package.name: package.held for package in reading.updates.packages} == {"tls": bool(locks), "web": False}


def test_an_unreachable_repository_is_an_error(bed):
    bed.repository("base", OFFERED, ADVISORY)
    bed.repository("gone", (), url="http://127.0.0.1:9/gone")
    reading = read(bed, refresh=True)
    assert found(reading, "updates.source.failed")["subject"] == "gone"
    assert counts(reading) == (2, 1, None), "what is found counts all the same"
    upgrade(bed, "tls-3.0-3", "web-1.1-1")
    assert counts(read(bed)) == (None, None, None)


def test_a_repository_that_became_unreachable_is_read_from_the_cache(bed):
    place = bed.repository("base", OFFERED, ADVISORY)
    read(bed, refresh=True)
    place.rename(place.with_name("away"))
    assert counts(read(bed)) == (2, 1, 0)
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, None)
    assert found(reading, "updates.source.failed")["subject"] == "base"


def test_metadata_that_is_wrong_is_an_error(bed):
    place = bed.repository("base", OFFERED, ADVISORY)
    for path in place.glob("repodata/*primary*"):
        path.write_bytes(b"this is no list")
    reading = read(bed, refresh=True)
    assert counts(reading) == (None, None, None)
    assert found(reading, "updates.source.failed")["subject"] == "base"


def test_without_a_cache_nothing_is_known(bed):
    bed.repository("gone", (), url="http://127.0.0.1:9/gone")
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert (ids(reading), reading.updates.reason) == (
        ["updates.metadata.unknown"],
        "the package lists were never fetched",
    )


def test_without_repositories_nothing_is_known(bed):
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert reading.updates.reason


def test_old_metadata_is_stale_and_a_refresh_makes_it_current(bed):
    bed.repository("base", INSTALLED, DONE)
    read(bed, refresh=True)
    later = 3 * 24 * 3600
    reading = read(bed, now=moment(later))
    assert (reading.metadata.stale, ids(reading)) == (True, ["updates.metadata.stale"])
    assert 71 < reading.metadata.age_hours < 73
    (index,) = bed.root.glob("var/cache/zypp/raw/base/repodata/repomd.xml")
    old = time.time() - later
    os.utime(index, (old, old))
    read(bed, refresh=True)
    assert read(bed).metadata.age_hours < 1, "zypper notes when it found nothing newer"


def test_a_repository_whose_packages_need_no_signature_is_named(bed):
    bed.repository("base", INSTALLED, ADVISORY, more="gpgcheck=0")
    reading = read(bed, refresh=True)
    assert found(reading, "updates.metadata.unsigned")["subject"] == "base"


def test_another_zypper_is_waited_for_and_then_an_error(bed):
    bed.repository("base", OFFERED, ADVISORY)
    read(bed, refresh=True)
    # zypper looks at the process's program as well, and takes the lock of one that ended for none.
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        lock = bed.root / "run/zypp.pid"
        lock.parent.mkdir(exist_ok=True)
        lock.write_text(f"{process.pid}\n")
        reading = read(bed, patience=0)
        assert counts(reading) == (None, None, None)
        assert str(process.pid) in found(reading, "updates.busy")["evidence"]
        timer = threading.Timer(0.5, process.kill)
        timer.start()
        assert counts(read(bed, patience=30)) == (2, 1, 0)
        timer.join()
    finally:
        process.kill()
        process.wait()


def test_a_host_without_zypper_is_an_error(bed):
    bed.host.environment["PATH"] = "/nonexistent"
    reading = read(bed)
    assert "No such file" in found(reading, "updates.error")["evidence"]
    assert counts(reading) == (None, None, None)
