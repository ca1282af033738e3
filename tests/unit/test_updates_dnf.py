# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pending updates by the real dnf 4, in a root of its own, beside what dnf itself says.

dnf 5 is not in Debian. What it answers is given by a program that says what dnf 5 was read to say, and no more.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sys
import textwrap
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host

from .updates_bed import RpmBed, Rpms, missing

# Package managers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

LACKING = missing("dnf", "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
real = pytest.mark.skipif(LACKING is not None, reason=f"{LACKING} is not installed")

INSTALLED = ("web-1.0-1", "tls-3.0-1", "base-1.0-1")
OFFERED = ("web-1.1-1", "tls-3.0-2", "tls-3.0-3", "base-1.0-1")
ADVISORY = ("TEST-1", "security", ("tls-3.0-2",))
BUGFIX = ("TEST-2", "bugfix", ("web-1.1-1",))


@pytest.fixture(scope="module")
def rpms(tmp_path_factory):
    return Rpms(tmp_path_factory.mktemp("rpms"))


@pytest.fixture
def bed(tmp_path, rpms):
    return RpmBed(tmp_path, rpms, INSTALLED)


def moment(seconds=0.0):
    """Now, or so many seconds later: repositories are dated by the clock of this machine."""
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC)


def read(bed, now=None, release=None, **more):
    """The reading with what follows from it; the automatic updates are another reader's."""
    reading = _updates_findings.complete(_dnf.read(bed.host, release or {}, now or moment(), 48, **more))
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


def pending(text):
    """What check-update prints, as name to version."""
    return {line.split()[0].rpartition(".")[0]: line.split()[1] for line in text.splitlines() if len(line.split()) == 3}


@real
def test_security_updates_are_known_by_the_advisories_and_equal_those_of_dnf(bed):
    bed.repository("base", OFFERED, ADVISORY, BUGFIX)
    reading = read(bed, refresh=True)
    assert reading.updates.returned()["packages"] == [
        {"name": "tls", "from": "3.0-1", "to": "3.0-3", "security": True, "held": False, "origin": "base"},
        {"name": "web", "from": "1.0-1", "to": "1.1-1", "security": False, "held": False, "origin": "base"},
    ]
    packages = reading.updates.packages
    every = bed.dnf("-C", "check-update", good=(100,)).stdout
    assert {package.name: package.available for package in packages} == pending(every)
    secure = bed.dnf("-C", "check-update", "--security", good=(100,)).stdout
    assert {package.name for package in packages if package.security} == set(pending(secure))
    assert counts(reading) == (2, 1, 0)
    assert (reading.updates.security_known, reading.metadata.stale) == (True, False)
    assert ids(reading) == ["updates.security.pending", "updates.pending"]
    assert found(reading, "updates.security.pending")["fix"] == "dnf upgrade --refresh --security"


@real
def test_an_advisory_whose_name_has_spaces_is_one_for_security(bed):
    bed.repository("base", OFFERED, ("OUR ADVISORY 1", "security", ("tls-3.0-2",)), BUGFIX)
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, 0)
    assert {package.name for package in reading.updates.security} == {"tls"}


@real
def test_nothing_is_pending_when_all_is_installed(bed):
    bed.repository("base", INSTALLED, ADVISORY)
    reading = read(bed, refresh=True)
    assert bed.dnf("-C", "check-update", good=(0, 100)).code == 0
    assert (counts(reading), ids(reading)) == ((0, 0, 0), [])


@real
def test_no_updates_for_security_among_others(bed):
    bed.repository("base", OFFERED, BUGFIX, ("TEST-3", "security", ("base-1.0-1",)))
    assert counts(read(bed, refresh=True)) == (2, 0, 0)


@real
def test_without_updateinfo_it_is_not_known_what_is_for_security(bed):
    """dnf says 100 for all updates and 0 for those of security."""
    bed.repository("base", OFFERED)
    reading = read(bed, refresh=True)
    assert bed.dnf("-C", "check-update", "--security", good=(0, 100)).code == 0
    assert counts(reading) == (2, None, 0)
    assert not reading.updates.security_known
    assert "no repository" in found(reading, "updates.security.unknown")["evidence"]


@real
def test_an_update_from_a_repository_without_updateinfo_is_not_known_to_be_harmless(bed):
    bed.repository("base", ("tls-3.0-2",), ADVISORY)
    bed.repository("vendor", ("web-1.1-1",))
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, 0)
    assert found(reading, "updates.security.unknown")["evidence"].endswith(": vendor")
    bed.rpm("--upgrade", "--nodeps", *map(str, map(bed.rpms.path, ("tls-3.0-2", "web-1.1-1"))))
    assert (counts(read(bed)), ids(read(bed))) == ((0, 0, 0), [])


@real
def test_repositories_whose_names_begin_alike_are_not_confused(bed):
    bed.repository("base-debug", OFFERED, ADVISORY)
    read(bed, refresh=True)
    bed.repository("base", (), url="http://127.0.0.1:9/gone")
    reading = read(bed)
    assert found(reading, "updates.source.failed")["subject"] == "base"
    assert counts(reading) == (2, 1, None)


@real
def test_a_repository_that_moved_and_was_not_fetched_since_is_an_error(bed):
    place = bed.repository("base", OFFERED, ADVISORY)
    read(bed, refresh=True)
    bed.repository("base", OFFERED, ADVISORY, url=f"file://{place}/.")
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert "no cache for 'base'" in found(reading, "updates.error")["evidence"]


@real
def test_an_unreachable_repository_is_an_error_though_dnf_passes_over_it(bed):
    bed.repository("base", OFFERED, ADVISORY)
    bed.repository("gone", (), url="http://127.0.0.1:9/gone")
    assert bed.dnf("makecache", "--refresh").code == 0
    reading = read(bed, refresh=True)
    failed = found(reading, "updates.source.failed")
    assert failed["subject"] == "gone" and "Failed to download metadata" in failed["evidence"]
    assert counts(reading) == (2, 1, None), "what is found counts all the same"
    bed.rpm("--upgrade", "--nodeps", *map(str, map(bed.rpms.path, ("tls-3.0-3", "web-1.1-1"))))
    assert counts(read(bed)) == (None, None, None)


@real
def test_a_repository_that_became_unreachable_is_read_from_the_cache(bed):
    place = bed.repository("base", OFFERED, ADVISORY)
    read(bed, refresh=True)
    place.rename(place.with_name("away"))
    assert counts(read(bed)) == (2, 1, 0)
    reading = read(bed, refresh=True)
    assert counts(reading) == (2, 1, None)
    assert found(reading, "updates.source.failed")["subject"] == "base"


@real
@pytest.mark.parametrize(("enabled", "updates"), [("1", {"web": "1.1-1"}), ("2", {"web": "2.0-2"}), (None, {})])
def test_of_a_module_only_the_enabled_stream_has_updates(bed, enabled, updates):
    """Updates of the others are in the repository and its advisories as well, and cannot be installed."""
    place = bed.repository(
        "base",
        ("web-1.0-1", "web-1.1-1", "web-2.0-1", "web-2.0-2"),
        ("TEST-1", "security", ("web-1.1-1",), ("web", "1")),
        ("TEST-2", "security", ("web-2.0-2",), ("web", "2")),
    )
    bed.streams(place, "web", {"1": ("web-1.0-1", "web-1.1-1"), "2": ("web-2.0-1", "web-2.0-2")})
    bed.configure("module_platform_id=platform:el9")
    bed.dnf("makecache", "--refresh")
    if enabled:
        bed.dnf("--assumeyes", "module", "enable", f"web:{enabled}")
    reading = read(bed)
    assert {package.name: package.available for package in reading.updates.packages} == updates
    assert pending(bed.dnf("-C", "check-update", good=(0, 100)).stdout) == updates
    assert pending(bed.dnf("-C", "check-update", "--security", good=(0, 100)).stdout) == updates
    advised = [line.split()[-1] for line in bed.dnf("-C", "updateinfo", "list", "--security").stdout.splitlines()]
    assert advised == [f"{name}-{version}.noarch" for name, version in updates.items()]
    assert counts(reading) == (len(updates), len(updates), 0)


@real
@pytest.mark.parametrize("copied", [(), INSTALLED, OFFERED])
def test_copies_of_packages_that_a_plugin_keeps_are_no_package_source(bed, copied):
    """dnf's plugin local copies what it installs to a repository that nothing refreshes and no advisory names."""
    copies = bed.folder / "copies"
    if not bed.plugin("local", f"[main]\nenabled=1\nrepodir={copies}\n[createrepo]\nenabled=0\n"):
        pytest.skip("dnf has no plugin local here")
    if copied:
        shutil.copytree(bed.rpms.repository(*copied), copies)
    bed.repository("base", OFFERED, ADVISORY, BUGFIX)
    # With what dnf itself has fetched, and with what the collection has.
    bed.dnf("makecache", "--refresh")
    assert "_dnf_local" in bed.dnf("-C", "repolist").stdout
    for refresh in (False, True):
        reading = read(bed, refresh=refresh)
        assert [source.name for source in reading.metadata.sources] == ["base"]
        assert {(package.name, package.origin) for package in reading.updates.packages} == {
            ("tls", "base"),
            ("web", "base"),
        }
        assert (counts(reading), ids(reading)) == ((2, 1, 0), ["updates.security.pending", "updates.pending"])


@real
def test_metadata_that_is_wrong_is_an_error(bed):
    place = bed.repository("base", OFFERED, ADVISORY)
    for path in place.glob("repodata/*primary*"):
        path.write_bytes(b"this is no list")
    reading = read(bed, refresh=True)
    assert counts(reading) == (None, None, None)
    assert found(reading, "updates.source.failed")["subject"] == "base"


@real
def test_without_a_cache_nothing_is_fetched_and_nothing_known(bed):
    bed.repository("base", OFFERED, ADVISORY)
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert (ids(reading), reading.updates.reason) == (
        ["updates.metadata.unknown"],
        "the package lists were never fetched",
    )
    assert not list(bed.root.glob("var/cache/dnf/base-*/repodata"))


@real
def test_without_repositories_nothing_is_known(bed):
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert "dnf has no package sources" in reading.updates.reason


@real
@pytest.mark.parametrize("how", ["lock", "exclude", "repository"])
def test_what_dnf_is_kept_from_installing_counts_as_held(bed, how):
    bed.repository("base", OFFERED, ADVISORY, more="gpgcheck=1\nexclude=tls" if how == "repository" else "gpgcheck=1")
    if how == "lock":
        bed.locks.write_text("# Added\ntls-0:3.0-1.*\n")
    elif how == "exclude":
        bed.configure("excludepkgs = tls*")
    reading = read(bed, refresh=True)
    assert pending(bed.dnf("-C", "check-update", good=(100,)).stdout) == {"web": "1.1-1"}
    assert counts(reading) == (2, 1, 1)
    assert [package.name for package in reading.updates.packages if package.held] == ["tls"]
    assert found(reading, "updates.held.security")["fix"].startswith("dnf versionlock delete tls  #")
    if how == "lock":
        bed.dnf("versionlock", "delete", "tls")
        assert counts(read(bed)) == (2, 1, 0)


@real
def test_old_metadata_is_stale_and_a_refresh_makes_it_current(bed):
    bed.repository("base", INSTALLED, ADVISORY)
    read(bed, refresh=True)
    later = 3 * 24 * 3600
    reading = read(bed, now=moment(later))
    assert (reading.metadata.stale, ids(reading), counts(reading)) == (
        True, ["updates.metadata.stale"], (None, None, None))  # fmt: skip
    assert 71 < reading.metadata.age_hours < 73
    old = time.time() - later
    for path in bed.root.glob("var/cache/dnf/base-*/repodata/*"):
        os.utime(path, (old, old))
    read(bed, refresh=True)
    assert read(bed).metadata.age_hours < 1, "dnf notes when it found nothing newer"


@real
def test_a_repository_whose_packages_need_no_signature_is_named(bed):
    bed.repository("base", INSTALLED, ADVISORY, more="gpgcheck=0")
    bed.repository("other", INSTALLED, more="")
    reading = read(bed, refresh=True)
    unsigned = [item["subject"] for item in reading.findings if item["id"] == "updates.metadata.unsigned"]
    assert unsigned == ["base", "other"]
    bed.configure("gpgcheck=1")
    assert found(read(bed), "updates.metadata.unsigned")["subject"] == "base"


@real
def test_a_broken_configuration_is_an_error(bed):
    bed.configure("this is no option\n[")
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert ids(reading)[0] == "updates.error"


@real
def test_a_dnf_that_does_not_end_is_busy(bed):
    bed.repository("base", OFFERED, ADVISORY)
    reading = read(bed, patience=0.01)
    assert "no result within" in found(reading, "updates.busy")["evidence"]
    assert counts(reading) == (None, None, None)


# ---- dnf 5, by what it was read to answer


class Answers:
    """A host whose dnf and rpm answer by a table."""

    def __init__(self, folder, answers):
        programs = folder / "bin"
        programs.mkdir()
        (folder / "answers.json").write_text(json.dumps(answers))
        script = textwrap.dedent(
            f"""\
            #!{sys.executable}
            import json, sys
            for words, code, text in json.load(open({str(folder / "answers.json")!r})):
                if all(word in sys.argv for word in words):
                    print(text, end="")
                    sys.exit(code)
            sys.exit("unexpected: " + " ".join(sys.argv))
            """
        )
        for name in ("dnf5", "rpm"):
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        (programs / "dnf").symlink_to("dnf5")
        cache = folder / "var/cache/libdnf5/fedora-0123456789abcdef/repodata"
        cache.mkdir(parents=True)
        (cache / "repomd.xml").write_text(
            f"<repomd><revision>1</revision><data type='primary'><timestamp>{int(time.time())}</timestamp></data>"
            "<data type='updateinfo'/></repomd>"
        )
        (cache / "0a-primary.xml.zst").touch()
        self.host = Host(root=str(folder), environment={"PATH": f"{programs}:{os.environ['PATH']}"})


INSTALLED_5 = [
    ["--all"],
    0,
    "5\ttls\tx86_64\t3.0-1.fc43\n6\tweb\tnoarch\t1:1.0-1.fc43\n7\tlocked\tx86_64\t1.0-1.fc43\n",
]
REPOS_5 = [["repolist"], 0, "repo id repo name\nfedora  Fedora 43 - x86_64\n"]
UPGRADES_5 = "tls.x86_64   3.0-2.fc43   fedora\nweb.noarch   1:1.1-1.fc43 fedora\n"
ADVISORIES_5 = [
    {"name": "FEDORA-2026-1", "type": "security", "severity": "Important", "nevra": "tls-3.0-2.fc43.x86_64",
     "buildtime": "2026-11-20 00:00:00"},
    {"name": "FEDORA-2026-2", "type": "security", "severity": "Low", "nevra": "locked-1.1-1.fc43.x86_64",
     "buildtime": "2026-11-20 00:00:00"},
]  # fmt: skip


def test_dnf_5_is_recognised_and_its_json_read(tmp_path):
    advisories = [["advisory", "--json"], 0, json.dumps(ADVISORIES_5)]
    bed = Answers(tmp_path, [INSTALLED_5, REPOS_5, [["check-update"], 100, UPGRADES_5], advisories])
    reading = read(bed)
    assert reading.manager == "dnf5"
    assert [(package.name, package.installed, package.security) for package in reading.updates.packages] == [
        ("tls", "3.0-1.fc43", True),
        ("web", "1:1.0-1.fc43", False),
    ]
    assert counts(reading) == (2, 1, 0)


def test_an_advisory_for_what_dnf_5_has_locked_is_held(tmp_path):
    advisories = [["advisory", "--json"], 0, json.dumps(ADVISORIES_5)]
    bed = Answers(tmp_path, [INSTALLED_5, REPOS_5, [["check-update"], 100, UPGRADES_5], advisories])
    locks = tmp_path / "etc/dnf/versionlock.toml"
    locks.parent.mkdir(parents=True)
    locks.write_text('version = "1.0"\n[[packages]]\nname = "locked"\n')
    reading = read(bed)
    assert counts(reading) == (3, 2, 1)
    assert "locked" in found(reading, "updates.held.security")["evidence"]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([[["check-update"], 1, ""]], "ended with status 1"),
        ([[["check-update"], 100, "Something else\n"]], "but not which"),
        ([[["check-update"], 100, UPGRADES_5], [["advisory"], 0, "no json"]], "not understood"),
        ([[["check-update"], 100, UPGRADES_5], [["advisory"], 0, '[{"name": "x"}]']], "not understood"),
        ([[["check-update"], 100, UPGRADES_5], [["advisory"], 2, ""]], "ended with status 2"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path, answers, reason):
    reading = read(Answers(tmp_path, [INSTALLED_5, REPOS_5, *answers]))
    assert reason in found(reading, "updates.error")["evidence"]
    assert counts(reading) == (None, None, None)


def test_a_configuration_of_any_size_is_read_in_a_moment(tmp_path):
    """With the time of the square of its size, this would take an hour."""
    bed = Answers(tmp_path, [INSTALLED_5, REPOS_5, [["check-update"], 0, ""], [["advisory"], 0, "[]"]])
    for path in ("etc/dnf/dnf.conf", "etc/dnf/versionlock.toml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("\n" * 1_000_000)
    assert counts(read(bed)) == (0, 0, 0)


def test_a_time_without_an_end_is_none_of_a_package(tmp_path):
    installed = [["--all"], 0, INSTALLED_5[2] + "9" * 5000 + "\tlong\tnoarch\t1-1\n"]
    bed = Answers(tmp_path, [installed, REPOS_5, [["check-update"], 0, ""], [["advisory"], 0, "[]"]])
    assert counts(read(bed)) == (0, 0, 0)


def test_no_advisories_are_no_security_updates(tmp_path):
    answers = [INSTALLED_5, REPOS_5, [["check-update"], 0, ""], [["advisory"], 0, "[\n]\n"]]
    reading = read(Answers(tmp_path, answers))
    assert (counts(reading), ids(reading)) == ((0, 0, 0), [])


def test_long_names_are_read_though_dnf_breaks_the_line(tmp_path):
    text = (
        "a-package-with-a-name-that-is-much-too-long-for-one-column.x86_64\n              2.0-1      fedora\n"
        + UPGRADES_5
    )
    text += "Obsoleting Packages\nnew.noarch  2.0-1  fedora\n    old.noarch  1.0-1  @System\n"
    answers = [INSTALLED_5, REPOS_5, [["check-update"], 100, text], [["advisory"], 0, "[]"]]
    names = [package.name for package in read(Answers(tmp_path, answers)).updates.packages]
    assert names == ["a-package-with-a-name-that-is-much-too-long-for-one-column.x86_64", "tls", "web"]


def test_a_release_that_amazon_linux_is_locked_to_has_no_updates_and_reports_none(tmp_path):
    answers = [INSTALLED_5, REPOS_5, [["check-update"], 0, ""], [["advisory"], 0, "[]"]]
    bed = Answers(tmp_path, answers)
    amazon = {"ID": "amzn", "VERSION_ID": "2023"}
    reading = read(bed, release=amazon)
    assert counts(reading) == (None, None, None)
    assert found(reading, "updates.source.failed")["fix"].startswith("dnf check-release-update")
    (tmp_path / "etc/dnf/vars").mkdir(parents=True)
    (tmp_path / "etc/dnf/vars/releasever").write_text("latest\n")
    assert counts(read(bed, release=amazon)) == (0, 0, 0)
