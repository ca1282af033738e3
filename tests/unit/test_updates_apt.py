# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pending updates by the real apt and dpkg, in a root of their own, beside what apt itself says."""

from __future__ import annotations

import datetime
import fcntl
import functools
import http.server
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Refused, rfc3339

from .slow_bed import HANGS, SLACK
from .updates_bed import BOOKWORM, NOW, AptBed, Signer, ago, missing

_LACKING = missing("apt-get", "apt-cache", "apt-config", "dpkg-query", "gpg")
pytestmark = [
    # Package managers, and nothing of ansible-core.
    pytest.mark.slow,
    pytest.mark.skipif(_LACKING is not None, reason=f"{_LACKING} is not installed"),
]

INSTALLED = {"base": "1.0", "web": "2.0", "tls:amd64": "3.0-1", "old": "1.0"}
MAIN = {"base": "1.0", "web": "2.1", "tls:amd64": "3.0-1"}
SECURITY = {"tls:amd64": "3.0-1+deb12u1"}


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    signer = Signer(tmp_path_factory.mktemp("apt") / "keys")
    yield signer
    signer.close()


@pytest.fixture
def bed(tmp_path, signer):
    bed = AptBed(tmp_path, signer)
    bed.install(INSTALLED)
    return bed


def main(bed, packages=None, **more):
    bed.repository("main", MAIN if packages is None else packages, **{"suite": "bookworm", "date": ago(3000), **more})


def security(bed, packages=None, date=None, **more):
    more = {"label": "Debian-Security", "codename": "bookworm-security", "until": ago(-100), **more}
    bed.repository("security", SECURITY if packages is None else packages, suite="bookworm-security",
                   date=date or ago(5), **more)  # fmt: skip


def read(bed, release=BOOKWORM, now=NOW, **more):
    """The reading with what follows from it; the automatic updates are another reader's."""
    reading = _updates_findings.complete(_apt.read(bed.host, release, now, 48, **more))
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


def test_updates_are_known_by_their_origin_and_equal_those_of_apt(bed):
    main(bed)
    security(bed)
    bed.update()
    reading = read(bed)
    packages = {package["name"]: package for package in reading.updates.returned()["packages"]}
    assert packages == {
        "tls": {"name": "tls", "from": "3.0-1", "to": "3.0-1+deb12u1", "security": True, "held": False,
                "origin": f"file:{bed.folder}/security bookworm-security"},
        "web": {"name": "web", "from": "2.0", "to": "2.1", "security": False, "held": False,
                "origin": f"file:{bed.folder}/main bookworm"},
    }  # fmt: skip
    assert {name: package["to"] for name, package in packages.items()} == bed.upgraded()
    assert counts(reading) == (2, 1, 0)
    assert reading.updates.security_known and reading.metadata.stale is False
    assert ids(reading) == ["updates.security.pending", "updates.pending"]
    fix = found(reading, "updates.security.pending")["fix"]
    assert fix == "apt-get update && apt-get install --only-upgrade tls"
    bed.apt("apt-get", "-s", *fix.split("apt-get ")[2].split())


def test_what_apt_has_reported_of_packages_is_not_queried_again(bed, monkeypatch):
    main(bed)
    security(bed)
    bed.update()
    reading = read(bed)
    files = {"tls:amd64": "/usr/lib/libssl.so.3", "web": "/usr/sbin/nginx"}
    (bed.admin / "info").mkdir(exist_ok=True)
    (bed.admin / "info" / "format").write_text("1\n")
    for package, file in files.items():
        (bed.admin / "info" / f"{package}.list").write_text(f"/.\n{file}\n")
    run, asked = bed.host.run, []

    def recorded(program, *words, **more):
        asked.append(program)
        return run(program, *words, **more)

    def traced(lists):
        asked.clear()
        components = [_provenance.Component("", file) for file in files.values()]
        return _provenance.trace(bed.host, "debian", components, True, lists)

    monkeypatch.setattr(bed.host, "run", recorded)
    known = traced(reading.lists)
    assert set(asked) == {"dpkg-query"}
    assert [(component.package, component.version) for component in known] == [("tls", "3.0-1"), ("web", "2.0")]
    assert all(component.origin == "Debian" and component.from_distribution for component in known)
    assert known == traced(None)
    assert asked.count("apt-cache") == 2
    # Of a package that was installed meanwhile apt has said nothing yet.
    assert known == traced(reading.lists._replace(policies="web:\n"))
    assert asked.count("apt-cache") == 1


def test_nothing_is_pending_when_all_is_installed(bed):
    main(bed, INSTALLED)
    security(bed, {"tls:amd64": "3.0-1"})
    bed.update()
    reading = read(bed)
    assert (counts(reading), ids(reading), bed.upgraded()) == ((0, 0, 0), [], {})


def test_a_held_package_counts_though_apt_hides_it(bed):
    main(bed)
    security(bed)
    bed.update()
    bed.hold("tls")
    reading = read(bed)
    assert "tls" not in bed.upgraded()
    assert counts(reading) == (2, 1, 1)
    assert [package.name for package in reading.updates.packages if package.held] == ["tls"]
    assert ids(reading) == ["updates.security.pending", "updates.held.security", "updates.pending"]
    fix = found(reading, "updates.held.security")["fix"]
    assert fix == found(reading, "updates.security.pending")["fix"] and fix.startswith("apt-mark unhold tls  #")


def test_a_newer_version_from_elsewhere_does_not_hide_that_security_has_one(bed):
    """A point release takes over: apt's candidate comes from the main archive, and the fix is in both."""
    main(bed, {**MAIN, "tls:amd64": "3.0-1+deb12u2"})
    security(bed)
    bed.update()
    (tls,) = [package for package in read(bed).updates.packages if package.name == "tls"]
    assert (tls.security, tls.available) == (True, "3.0-1+deb12u2")
    assert tls.origin.endswith("/main bookworm")


def test_a_pin_does_not_hide_a_security_update(bed):
    main(bed)
    security(bed)
    (bed.root / "etc/apt/preferences").write_text("Package: tls\nPin: version 3.0-1\nPin-Priority: 1001\n")
    bed.update()
    assert bed.upgraded() == {"web": "2.1"}
    reading = read(bed)
    assert counts(reading) == (2, 1, 1)
    assert "updates.held.security" in ids(reading)


def test_what_apt_would_not_choose_by_itself_is_not_pending(bed):
    """Backports and the like: newer, but no update."""
    main(bed, INSTALLED)
    security(bed, {})
    bed.repository("backports", {"web": "9.0"}, suite="bookworm-backports", date=ago(5))
    release = bed.folder / "backports/dists/bookworm-backports/InRelease"
    text = release.read_text().split("\n\n", 1)[1].split("-----BEGIN PGP SIGNATURE")[0]
    bed.signer.sign("NotAutomatic: yes\n" + text, release)
    bed.update()
    assert (counts(read(bed)), bed.upgraded()) == ((0, 0, 0), {})


def test_packages_of_another_architecture_are_not_confused(bed):
    bed.install({"tls:i386": "3.0-1"})
    main(bed, INSTALLED)
    security(bed, {"tls:amd64": "3.0-1+deb12u1", "tls:i386": "3.0-1+deb12u1"})
    bed.update()
    assert sorted(package.name for package in read(bed).updates.packages) == ["tls", "tls:i386"]


@pytest.mark.parametrize("component", ["own_packages", "updates/main", "a~b+c@d"])
def test_lists_are_found_whatever_their_component_is_called(bed, component):
    main(bed, component=component)
    security(bed)
    assert "updates.metadata.unknown" in ids(read(bed))
    bed.update()
    reading = read(bed)
    assert (counts(reading), reading.updates.reason) == ((2, 1, 0), "")


def test_removed_packages_whose_configuration_is_left_are_no_updates(bed):
    bed.install({"gone": "0.1"}, "deinstall ok config-files")
    main(bed, {**INSTALLED, "gone": "0.2"})
    security(bed, {})
    bed.update()
    assert (counts(read(bed)), bed.upgraded()) == ((0, 0, 0), {})


# ---- What is not known is not none


@pytest.mark.parametrize("release", [BOOKWORM, {**BOOKWORM, "ID": "ubuntu", "VERSION_CODENAME": "jammy"}])
def test_a_missing_security_suite_is_a_failure(bed, release):
    main(bed)
    bed.update()
    reading = read(bed, release)
    assert counts(reading)[:2] == (1, None)
    assert not reading.updates.security_known
    assert f"{release['VERSION_CODENAME']}-security" in found(reading, "updates.security.suite_missing")["fix"]
    assert reading.updates.reason.startswith("the sources are file:")


def test_the_line_that_adds_a_security_suite_is_one_that_apt_takes(bed):
    main(bed)
    bed.update()
    fix = found(read(bed), "updates.security.suite_missing")["fix"]
    line = fix.split("'")[1]
    assert fix == f"echo '{line}' >/etc/apt/sources.list.d/security.list && apt-get update"
    (bed.root / "etc/apt/sources.list.d/security.list").write_text(line + "\n")
    assert "debian-security bookworm-security/main amd64" in bed.apt("apt-get", "indextargets", "--no-release-info")


def test_another_releases_security_suite_does_not_count(bed):
    main(bed)
    bed.repository("security", SECURITY, suite="bullseye-security", label="Debian-Security", date=ago(5),
                   codename="bullseye-security")  # fmt: skip
    bed.update()
    reading = read(bed)
    assert "bullseye-security" in found(reading, "updates.security.suite_missing")["evidence"]
    assert not reading.updates.security_known


@pytest.mark.parametrize("release", [{}, {"ID": "debian"}, {"ID": "univention", "VERSION_ID": "5.0"}])
def test_without_a_security_source_it_is_not_known(bed, release):
    main(bed, INSTALLED, date=ago(5))
    bed.update()
    reading = read(bed, release)
    assert counts(reading)[:2] == (0, None)
    assert ids(reading)[0] == "updates.security.unknown"


@pytest.mark.parametrize(
    ("suite", "label"),
    [
        ("jammy-security", "Ubuntu"),
        ("jammy-infra-security", "UbuntuESM"),
        ("jammy-apps-security", "UbuntuESMApps"),
        ("buster-lts", "x"),
        ("x", "Debian-Security"),
    ],
)
def test_security_sources_of_other_distributions_are_known(bed, suite, label):
    bed.repository("security", SECURITY, suite=suite, label=label, codename=suite, date=ago(5))
    bed.update()
    reading = read(bed, {"ID": "other"})
    assert (counts(reading), ids(reading)) == ((1, 1, 0), ["updates.security.pending"])


# --- phased updates ---------------------------------------------------------------------------------------------------

PLACE = _apt.Place("/var/lib/apt", "/var/lib/dpkg/status", "", "amd64")


def recorded(name):
    text = (pathlib.Path(__file__).parent / "recorded" / "apt" / name).read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def test_ubuntus_phased_versions_are_understood():
    policies = _apt._policies(recorded("phased-jammy.txt"), PLACE, ["apt"])
    (version,) = policies["apt"].phased
    assert (policies["apt"].candidate, version) == ("2.4.7", "2.4.7")
    pinned = _apt._policies(recorded("phased-pinned.txt"), PLACE, [])["libclutter-gst-3.0-0"]
    assert pinned.candidate not in pinned.phased == {"3.0.27-2ubuntu1"}


TABLE = """\
openssl:
  Installed: 3.0.15-1
  Candidate: 3.0.17-1
  Version table:
     3.0.17-1 500
        500 http://mirror.test/debian-security bookworm-security/main amd64 Packages
 *** 3.0.15-1 500
        500 http://mirror.test/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
"""


@pytest.mark.parametrize("lines", range(1, len(TABLE.splitlines()) - 2))
def test_a_table_that_ends_before_the_installed_version_is_not_one_without_updates(lines):
    cut = "".join(TABLE.splitlines(keepends=True)[:lines])
    with pytest.raises(Refused, match=r"apt-cache .* openssl"):
        _apt._policies(cut, PLACE, ["openssl"])
    (newer,) = _apt._policies(TABLE, PLACE, ["openssl"])["openssl"].newer
    assert newer[0] == "3.0.17-1" and len(newer[1]) == 1


def test_a_newer_version_in_no_list_at_all_is_not_understood():
    cut = "".join(line for line in TABLE.splitlines(keepends=True) if "security" not in line)
    with pytest.raises(Refused, match="does not list all versions of openssl"):
        _apt._policies(cut, PLACE, ["openssl"])


def phased(bed, *options):
    """Updates of which no host gets one yet: web, and tls for security."""
    with bed.config.open("a") as config:
        config.writelines(f"{option};\n" for option in ('APT::Machine-ID "0123456789abcdef"', *options))
    main(bed, percentage=0)
    security(bed, percentage=0)
    bed.update()
    return read(bed)


def test_an_update_whose_turn_has_not_come_is_not_missing(bed):
    reading = phased(bed)
    assert "web" not in bed.upgraded()
    assert [package["name"] for package in reading.updates.returned()["packages"]] == ["tls"]
    assert found(reading, "updates.phased")["evidence"] == "web 2.0 -> 2.1"
    assert found(reading, "updates.phased")["severity"] == "info"
    assert "updates.pending" not in ids(reading)


def test_where_apt_installs_it_all_the_same_it_is_missing(bed):
    reading = phased(bed, 'APT::Get::Always-Include-Phased-Updates "true"')
    assert {"web", "tls"} == set(bed.upgraded())
    assert "updates.phased" not in ids(reading) and "updates.pending" in ids(reading)


def test_an_update_that_an_administrator_holds_is_held_and_not_phased(bed):
    bed.hold("web")
    reading = phased(bed)
    (web,) = [package for package in reading.updates.returned()["packages"] if package["name"] == "web"]
    assert web["held"] and "updates.phased" not in ids(reading)


def test_where_apt_does_not_say_which_it_installs_all_are_missing(bed, monkeypatch):
    run = bed.host.run

    def broken(program, *words, **more):
        return run("false") if "--simulate" in words else run(program, *words, **more)

    monkeypatch.setattr(bed.host, "run", broken)
    assert "updates.pending" in ids(phased(bed))


def test_without_any_source_nothing_is_known(bed):
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert reading.updates.reason.startswith("apt has no package sources; ")
    assert {"updates.security.suite_missing", "updates.metadata.unknown"} <= set(ids(reading))


def test_sources_that_were_never_fetched_are_not_without_updates(bed):
    main(bed)
    security(bed)
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert (ids(reading), reading.updates.reason) == (
        ["updates.metadata.unknown"],
        "the package lists were never fetched",
    )


def test_a_missing_suite_is_reported_before_anything_was_fetched(bed):
    main(bed)
    assert ids(read(bed)) == ["updates.security.suite_missing", "updates.metadata.unknown"]


def test_one_source_that_was_never_fetched_leaves_the_rest_open(bed):
    main(bed, INSTALLED)
    security(bed, {})
    bed.update()
    bed.source("http://192.0.2.1/vendor", "stable")
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert found(reading, "updates.source.failed")["subject"] == "http://192.0.2.1/vendor stable"


def test_a_list_that_is_gone_is_missed(bed):
    main(bed)
    security(bed)
    bed.update()
    for path in bed.lists.glob("*security*_binary-amd64_Packages*"):
        path.rename(path.with_name(f"{path.name}.diff_Index"))
    reading = read(bed)
    assert not reading.updates.security_known
    assert counts(reading)[:2] == (1, None)
    assert "updates.security.unknown" in ids(reading)


def test_broken_lists_are_an_error(bed):
    main(bed)
    security(bed)
    bed.update()
    (path,) = bed.lists.glob("*security*_binary-amd64_Packages*")
    path.unlink()
    path.write_text("Version: 1\nThis is no list\n")
    reading = read(bed)
    error = found(reading, "updates.error")
    assert counts(reading) == (None, None, None)
    assert error["severity"] == "unknown" and "Packages" in error["evidence"]


def test_what_is_no_text_is_not_in_a_path(bed):
    """Python refuses a path with a null byte with an exception of its own."""
    assert bed.host.run("printf", r"a\0b\377c").stdout == "a\ufffdb\ufffdc"


def test_a_broken_status_file_is_an_error(bed):
    main(bed)
    bed.update()
    bed.status.write_text("Package: base\nnonsense\n")
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert "status" in found(reading, "updates.error")["evidence"]


def test_an_empty_status_file_is_an_error(bed):
    main(bed)
    bed.update()
    bed.status.write_text("")
    assert found(read(bed), "updates.error")["evidence"] == "dpkg lists no installed package"


def test_a_host_without_apts_programs_is_an_error(bed):
    bed.host = Host(environment={"PATH": "/nonexistent"})
    reading = read(bed)
    assert counts(reading) == (None, None, None)
    assert "No such file" in found(reading, "updates.error")["evidence"]


# ---- How old the lists are


def test_lists_that_hold_no_longer_are_stale(bed):
    main(bed, INSTALLED)
    security(bed, {}, until=ago(1), date=ago(2))
    bed.update()
    reading = read(bed)
    assert reading.metadata.stale and "expired on 2026-11-25T11:00:00Z" in reading.metadata.reason
    assert ids(reading) == ["updates.metadata.stale"]
    assert counts(reading) == (None, None, None)


def test_the_security_source_decides_about_the_age(bed):
    """The main archive's list is months old, as between two point releases."""
    main(bed, INSTALLED)
    security(bed, {}, date=ago(47))
    bed.update()
    metadata = read(bed).metadata.returned()
    assert (metadata["date"], metadata["age_hours"], metadata["stale"]) == ("2026-11-23T13:00:00Z", 47.0, False)
    assert [source["signed"] for source in metadata["sources"]] == [True, True]


def test_older_lists_that_still_hold_are_neither_fresh_nor_stale(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(50))
    bed.update()
    reading = read(bed)
    assert reading.metadata.stale is None
    assert (ids(reading), counts(reading)) == (["updates.metadata.unknown"], (None, None, None))


def test_older_lists_without_an_end_of_validity_are_stale(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(50), until=None)
    bed.update()
    reading = read(bed)
    assert (reading.metadata.stale, ids(reading)) == (True, ["updates.metadata.stale"])


def test_apts_own_note_of_a_successful_fetch_counts(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(50))
    bed.update()
    stamp = bed.root / "var/lib/apt/periodic/update-success-stamp"
    stamp.touch()
    os.utime(stamp, (ago(3).timestamp(),) * 2)
    reading = read(bed)
    assert (reading.metadata.stale, reading.metadata.age_hours, ids(reading)) == (False, 3.0, [])


def test_times_of_files_and_directories_do_not_count(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(50), until=None)
    bed.update()
    for path in (bed.lists, bed.lists / "partial", *bed.lists.iterdir()):
        os.utime(path, (NOW.timestamp(),) * 2)
    assert read(bed).metadata.stale


def test_lists_from_the_future_are_not_fresh(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(5))
    bed.update()
    reading = read(bed, now=ago(24))
    assert reading.metadata.stale is None and "the clock is at" in reading.metadata.reason


def test_an_unsigned_source_is_named(bed):
    main(bed, INSTALLED, signed=False)
    security(bed, {})
    bed.update()
    assert found(read(bed), "updates.metadata.unsigned")["subject"] == f"file:{bed.folder}/main bookworm"


# ---- Fetching


def test_fetching_makes_them_current(bed):
    main(bed, INSTALLED)
    security(bed, {}, date=ago(50))
    bed.update()
    security(bed, date=ago(49), until=ago(-100))
    reading = read(bed, refresh=True)
    assert (counts(reading), reading.metadata.stale, reading.metadata.age_hours) == ((1, 1, 0), False, 0.0)


@pytest.fixture
def web(bed):
    """A web server with the bed's folder, on loopback."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_words):
            pass

    handler = functools.partial(Handler, directory=str(bed.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_source_that_responds_404_is_an_error(bed, web):
    main(bed, INSTALLED)
    security(bed, {})
    bed.source(f"{web.replace('//', '//user:secret@')}/gone", "stable", f"signed-by={bed.signer.key}")
    reading = read(bed, refresh=True)
    failed = found(reading, "updates.source.failed")
    assert (failed["subject"], failed["evidence"]) == (
        f"{web}/gone stable",
        f"The repository '{web}/gone stable Release' does not have a Release file.",
    )
    assert counts(reading) == (None, None, None)
    assert "secret" not in str(reading)


def test_a_source_without_the_usual_folders_is_named_as_well(bed, web):
    main(bed, INSTALLED)
    security(bed, {})
    (bed.root / "etc/apt/sources.list.d/flat.list").write_text(f"deb {web}/flat ./\ndeb {web}/flat other/\n")
    reading = read(bed, refresh=True)
    failed = {item["subject"] for item in reading.findings if item["id"] == "updates.source.failed"}
    assert failed == {f"{web}/flat ./", f"{web}/flat other/"}
    assert counts(reading) == (None, None, None)


def test_a_list_that_is_not_there_is_an_error(bed, web):
    main(bed, INSTALLED)
    security(bed, url=f"{web}/security")
    for path in bed.folder.glob("security/dists/*/main/binary-amd64/*"):
        path.unlink()
    reading = read(bed, refresh=True)
    assert "404" in found(reading, "updates.source.failed")["evidence"]
    assert counts(reading) == (None, None, None)
    assert not reading.updates.security_known


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://archive.invalid"])
def test_no_network_is_an_error_and_the_old_lists_are_still_read(bed, address):
    """apt-get itself ends with success."""
    main(bed)
    security(bed)
    bed.update()
    bed.source(f"{address}/debian", "stable")
    bed.apt("apt-get", "update", "-q")
    reading = read(bed, refresh=True)
    failed = found(reading, "updates.source.failed")
    assert failed["subject"] == f"{address}/debian stable" and "Failed to fetch" in failed["evidence"]
    assert counts(reading)[:2] == (2, 1)


def test_a_signature_by_a_stranger_is_an_error(bed, tmp_path):
    main(bed, INSTALLED)
    stranger = Signer(tmp_path / "stranger")
    try:
        security(bed, options=f"signed-by={stranger.key}")
        reading = read(bed, refresh=True)
    finally:
        stranger.close()
    assert found(reading, "updates.source.failed")["subject"] == f"file:{bed.folder}/security bookworm-security"
    assert not reading.updates.security_known


_LOCK = """\
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def lock():
    """Has another process take a lock."""
    started = []

    def take(path):
        process = subprocess.Popen([sys.executable, "-c", _LOCK, str(path)], stdout=subprocess.PIPE)
        started.append(process)
        process.stdout.readline()
        return process

    yield take
    for process in started:
        process.kill()
        process.communicate()


def test_locked_lists_are_waited_for_and_then_an_error(bed, lock):
    main(bed, INSTALLED)
    security(bed, {})
    bed.update()
    process = lock(bed.lists / "lock")
    reading = read(bed, refresh=True, patience=0)
    failed = found(reading, "updates.source.failed")
    assert "Could not get lock" in failed["evidence"] and str(process.pid) in failed["evidence"]
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    assert read(bed, refresh=True, patience=30).metadata.checked == NOW
    timer.join()


# ---- What an installation left


def test_packages_that_are_half_installed_are_named_as_dpkg_does(bed):
    main(bed, INSTALLED)
    security(bed, {})
    bed.update()
    bed.install({"half": "1.0"}, "install ok half-configured")
    bed.install({"bad": "1.0"}, "install reinstreq half-installed")
    reading = read(bed)
    broken = found(reading, "updates.packages.broken")
    audit = bed.dpkg("--audit")
    assert all(name in audit for name in ("half", "bad"))
    assert broken["evidence"] == "bad: reinstreq, half: half-configured"
    assert broken["fix"].startswith("dpkg --configure -a")
    assert counts(reading) == (0, 0, 0)


def test_an_interrupted_dpkg_is_noticed(bed):
    main(bed, INSTALLED)
    security(bed, {})
    bed.update()
    (bed.admin / "updates" / "0001").write_text("")
    assert found(read(bed), "updates.packages.broken")["evidence"] == "dpkg was interrupted"


@pytest.mark.parametrize("name", ["lock", "lock-frontend"])
def test_packages_that_are_being_installed_are_waited_for(bed, lock, name):
    main(bed, INSTALLED)
    security(bed, {})
    bed.update()
    bed.install({"half": "1.0"}, "install ok unpacked")
    process = lock(bed.admin / name)
    reading = read(bed, patience=0)
    assert f"process {process.pid} " in found(reading, "updates.busy")["evidence"]
    assert counts(reading) == (None, None, None)
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    assert "updates.packages.broken" in ids(read(bed, patience=30))
    timer.join()


def test_a_lock_alone_keeps_nothing_from_being_read(bed, lock):
    main(bed)
    security(bed)
    bed.update()
    lock(bed.admin / "lock-frontend")
    lock(bed.lists / "lock")
    assert counts(read(bed, patience=0)) == (2, 1, 0)


def test_asking_for_locks_takes_none(bed):
    place = _apt.Place("", str(bed.status), "", "amd64")
    (bed.admin / "lock").touch()
    assert _apt._at_work(place) == 0
    with (bed.admin / "lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- What no apt says


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from("MonTue, 0123456789Nov:UTC+-GMT\n"), max_size=40) | st.text(max_size=40))
def test_a_date_is_a_date_in_utc_or_none(text):
    date = _apt._date(text)
    assert date is None or date.utcoffset() == datetime.timedelta(0)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Mon, 23 Nov 2026 11:22:38 UTC", "2026-11-23T11:22:38Z"),
        ("Mon, 23 Nov 2026 12:22:38 +0100", "2026-11-23T11:22:38Z"),
        ("Mon, 23 Nov 2026 11:22:38 -0000", "2026-11-23T11:22:38Z"),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("Mon, 23 Nov 2026 99:22:38 UTC", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_of_release_files(text, date):
    assert rfc3339(_apt._date(text)) == date


@pytest.mark.parametrize(
    ("program", "text", "reason"),
    [
        ("dpkg-query", "echo 'install ok installed'", "not understood"),
        ("dpkg-query", "echo 'no such folder' >&2; exit 2", "no such folder"),
        ("apt-cache", "exit 0", "apt-cache knows nothing about base, old, tls, web"),
        ("apt-cache", "kill -9 $$", "ended with status -9"),
        ("apt-config", "exit 0", "apt-config does not show"),
        (
            "apt-get",
            "printf 'Filename: /x\\nMetaKey: y\\nDescription: d\\nRepo-URI: u\\nRelease: r\\n'",
            "not understood",
        ),
        ("apt-get", "printf 'Filename: /x\\n'", "not understood"),
    ],
)
def test_programs_with_another_output_are_an_error(bed, program, text, reason):
    main(bed)
    bed.update()
    programs = bed.folder / "bin"
    programs.mkdir()
    (programs / program).write_text(f"#!/bin/sh\n{text}\n")
    (programs / program).chmod(0o755)
    bed.host.environment["PATH"] = f"{programs}:{bed.host.environment['PATH']}"
    reading = read(bed)
    assert reason in found(reading, "updates.error")["evidence"]
    assert counts(reading) == (None, None, None)


def test_a_list_of_no_known_source_leaves_open_what_it_has(bed):
    main(bed, INSTALLED)
    security(bed)
    bed.update()
    programs = bed.folder / "bin"
    programs.mkdir()
    (programs / "apt-cache").write_text('#!/bin/sh\n/usr/bin/apt-cache "$@" | sed s,/security,/elsewhere,\n')
    (programs / "apt-cache").chmod(0o755)
    bed.host.environment["PATH"] = f"{programs}:{bed.host.environment['PATH']}"
    reading = read(bed)
    assert counts(reading) == (1, None, None)
    assert "elsewhere bookworm-security/main amd64 Packages" in reading.updates.reason


def test_a_program_that_does_not_end_is_ended_with_its_children(tmp_path):
    script, child = tmp_path / "slow", tmp_path / "child"
    script.write_text(f"#!/bin/sh\nsleep 600 & echo $! >{child}; wait\n")
    script.chmod(0o755)
    started = time.monotonic()
    outcome = Host(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"}).run(str(script), timeout=0.5)
    assert outcome.complaint.endswith("no result within 0.5 seconds")
    assert time.monotonic() - started < 0.5 + SLACK
    # A child of a program that was ended ends at its next turn on the processor, and may then wait to be reaped.
    state = pathlib.Path(f"/proc/{child.read_text().strip()}/stat")
    until = time.monotonic() + HANGS
    while runs(state) and time.monotonic() < until:
        time.sleep(0.05)
    assert not runs(state)


def runs(state):
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
