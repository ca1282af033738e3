# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which support a distribution's release has, on which day, and what the data and the host say of it."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support_data as _support_data
from ansible_collections.kopano.hardening.plugins.module_utils._updates.findings import of_support
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

DATA = _support.Data(_support_data.DATES, _support_data.RELEASES)
TOOL = Path(__file__).parents[2] / "tools" / "support_data.py"
TODAY = "2026-11-25"

# What os-release says on the distributions themselves.
DEBIAN = (
    'PRETTY_NAME="Debian GNU/Linux %s (%s)"\nNAME="Debian GNU/Linux"\nVERSION_ID="%s"\nVERSION_CODENAME=%s\nID=debian\n'
)
RELEASES = {
    "debian10": DEBIAN % (10, "buster", 10, "buster"),
    "debian11": DEBIAN % (11, "bullseye", 11, "bullseye"),
    "debian12": DEBIAN % (12, "bookworm", 12, "bookworm"),
    "debian13": DEBIAN % (13, "trixie", 13, "trixie"),
    "sid": 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nNAME="Debian GNU/Linux"\nVERSION_CODENAME=forky\nID=debian\n',
    "ubuntu18": 'NAME="Ubuntu"\nVERSION="18.04.6 LTS (Bionic Beaver)"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="18.04"\n',
    "ubuntu20": 'NAME="Ubuntu"\nVERSION_ID="20.04"\nVERSION_CODENAME=focal\nID=ubuntu\nID_LIKE=debian\n',
    "ubuntu22": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n',
    "ubuntu24": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n',
    "rhel8": 'NAME="Red Hat Enterprise Linux"\nVERSION="8.10 (Ootpa)"\nID="rhel"\nVERSION_ID="8.10"\n',
    "rhel96": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\n',
    "rhel95": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.5"\n',
    "rhel98": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.8"\n',
    "rhel9": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9"\n',
    "rhel7": 'NAME="Red Hat Enterprise Linux Server"\nID="rhel"\nVERSION_ID="7.9"\n',
    "rocky8": 'NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="8.10"\nSUPPORT_END="2029-05-31"\n',
    "rocky95": 'NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="9.5"\nSUPPORT_END="2032-05-31"\n',
    "alma9": 'NAME="AlmaLinux"\nID="almalinux"\nVERSION_ID="9.8"\nSUPPORT_END=2032-06-01\n',
    "centos7": 'NAME="CentOS Linux"\nVERSION="7 (Core)"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n',
    "stream8": 'NAME="CentOS Stream"\nVERSION="8"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="8"\n',
    "stream9": 'NAME="CentOS Stream"\nVERSION="9"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\n',
    "oracle7": 'NAME="Oracle Linux Server"\nVERSION="7.9"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="7.9"\n',
    "oracle9": 'NAME="Oracle Linux Server"\nVERSION="9.8"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="9.8"\n',
    "oracle10": 'NAME="Oracle Linux Server"\nVERSION="10.1"\nID="ol"\nID_LIKE="fedora"\nVERSION_ID="10.1"\n',
    "fedora43": 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\nSUPPORT_END=2026-12-02\n',
    "fedora42": 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=42\nSUPPORT_END=2026-05-13\n',
    "sles157": 'NAME="SLES"\nVERSION="15-SP7"\nVERSION_ID="15.7"\nID="sles"\nID_LIKE="suse"\n',
    "sles156": 'NAME="SLES"\nVERSION="15-SP6"\nVERSION_ID="15.6"\nID="sles"\nID_LIKE="suse"\n',
    "sles15": 'NAME="SLES"\nVERSION="15"\nVERSION_ID="15"\nID="sles"\nID_LIKE="suse"\n',
    "leap156": 'NAME="openSUSE Leap"\nVERSION="15.6"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n',
    "leap160": 'NAME="openSUSE Leap"\nVERSION="16.0"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="16.0"\n',
    "tumbleweed": 'NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nVERSION_ID="20261120"\n',
    "amazon2": 'NAME="Amazon Linux"\nVERSION="2"\nID="amzn"\nID_LIKE="centos rhel fedora"\nVERSION_ID="2"\n',
    "amazon2023": 'NAME="Amazon Linux"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\nSUPPORT_END="2028-03-15"\n',
    "ucs50": 'NAME="Univention Corporate Server"\nID=univention-corporate-server\nID_LIKE=debian\nVERSION_ID="5.0-9"\n',
    "devuan": 'NAME="Devuan GNU/Linux"\nID=devuan\nID_LIKE=debian\nVERSION_ID="5"\n',
    "nothing": "",
}


@pytest.fixture
def host(tmp_path):
    """A machine whose files are below a folder of the test."""

    def write(path: str, text: str) -> None:
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    made = Host(str(tmp_path))
    made.write = write
    return made


def judge(host: Host, text: str, now: str = TODAY, data: _support.Data = DATA) -> _support.Support:
    host.write("/etc/os-release", text)
    release = _layout.os_release(host.root)
    product, _version = _support.identify(release)
    day = _support.date(now)
    return _support.judge(release, day, data, _support.own_data(host, product), _support.extended(host, release, day))


@pytest.mark.parametrize(
    ("name", "now", "level", "until"),
    [
        ("debian13", TODAY, "full", "2028-08-09"),
        ("debian12", TODAY, "lts", "2028-06-30"),
        ("debian11", TODAY, "eol", "2026-08-31"),
        ("debian10", TODAY, "eol", "2024-06-30"),
        # the last day of each stage, and the day after
        ("debian12", "2026-07-11", "full", "2026-07-11"),
        ("debian12", "2026-07-12", "lts", "2028-06-30"),
        ("debian11", "2026-08-31", "lts", "2026-08-31"),
        ("debian11", "2026-09-01", "eol", "2026-08-31"),
        ("sid", TODAY, "unknown", None),
        ("ubuntu18", TODAY, "eol", "2023-05-31"),
        ("ubuntu20", TODAY, "eol", "2025-05-29"),
        ("ubuntu22", TODAY, "full", "2027-04-01"),  # the earlier of two dates
        ("ubuntu24", TODAY, "full", "2029-05-31"),
        ("rhel8", TODAY, "full", "2029-05-31"),
        ("rhel98", TODAY, "full", "2032-05-31"),
        ("rhel96", TODAY, "eol", None),
        ("rhel95", TODAY, "eol", None),
        ("rhel9", TODAY, "unknown", None),
        ("rhel7", TODAY, "eol", "2024-06-30"),
        ("rocky8", TODAY, "full", "2029-05-31"),
        ("rocky95", TODAY, "full", "2032-05-31"),
        ("alma9", TODAY, "full", "2032-05-31"),
        ("centos7", TODAY, "eol", "2024-06-30"),
        ("stream8", TODAY, "eol", "2024-05-31"),
        ("stream9", TODAY, "full", "2027-05-31"),
        ("oracle7", TODAY, "eol", "2024-12-31"),
        ("oracle9", TODAY, "full", "2032-06-30"),
        ("oracle10", TODAY, "full", None),
        ("fedora43", TODAY, "full", "2026-12-02"),
        ("fedora43", "2026-12-03", "eol", "2026-12-02"),
        ("fedora42", TODAY, "eol", "2026-05-13"),
        ("sles157", TODAY, "full", "2031-07-31"),
        ("sles156", TODAY, "eol", "2025-12-31"),
        ("sles15", TODAY, "eol", "2019-12-31"),
        ("leap156", TODAY, "eol", "2026-04-30"),
        ("leap160", TODAY, "full", "2027-10-31"),
        ("tumbleweed", TODAY, "unknown", None),
        ("amazon2", TODAY, "eol", "2026-06-30"),
        ("amazon2023", TODAY, "full", "2028-03-15"),
        ("ucs50", TODAY, "unknown", None),
        ("devuan", TODAY, "unknown", None),
        ("nothing", TODAY, "unknown", None),
        # Data older than 180 days say nothing about an end that is as near as that, and nothing else is in doubt.
        ("ubuntu22", "2027-02-18", "full", "2027-04-01"),
        ("ubuntu22", "2027-02-19", "unknown", None),
        ("debian13", "2027-02-19", "full", "2028-08-09"),
        ("debian12", "2028-01-01", "lts", "2028-06-30"),
        ("debian12", "2028-01-02", "unknown", None),
        ("debian12", "2028-07-01", "eol", "2028-06-30"),
        ("oracle10", "2027-02-19", "unknown", None),
        ("rhel98", "2027-02-19", "unknown", None),  # there may be a newer one
        ("rhel8", "2027-02-19", "full", "2029-05-31"),  # there is none after 8.10
    ],
)
def test_each_release_on_a_day(host, name, now, level, until):
    support = judge(host, RELEASES[name], now)
    assert (support.level, str(support.until) if support.until else None) == (level, until), support
    if level in ("full", "lts", "extended"):
        assert support.source
    if level == "unknown":
        assert support.reason
    # Nobody can take what is unknown for a pass.
    ids = {item["id"]: item["severity"] for item in of_support(support, name, _support.date(now), True)}
    assert ids.get("support.eol") == ("fail" if level == "eol" else None)
    assert ids.get("support.unknown") == ("unknown" if level == "unknown" else None)


def test_every_distribution_has_data():
    assert set(DATA.releases) == {
        "debian", "ubuntu", "rhel", "rocky", "almalinux", "centos", "centos-stream", "ol", "fedora", "sles", "opensuse",
        "amzn",
    }  # fmt: skip
    for product, releases in DATA.releases.items():
        for version, stages in releases.items():
            assert stages, (product, version)
            for stage in _support.STAGES:
                for source, end in stages.get(stage, {}).items():
                    assert source in DATA.dates
                    assert end is None or _support.date(end), (product, version)


def test_two_sources_that_differ_are_both_named(host):
    support = judge(host, RELEASES["ubuntu22"])
    assert support.source == "endoflife.date (distro-info-data has 2027-06-01)"
    assert support.data_date == _support.date(DATA.dates["endoflife.date"])
    assert "os-release" in judge(host, RELEASES["amazon2023"]).source


@pytest.mark.parametrize("end", ["2026-13-45", "2026-02-30", "soon"])
def test_an_end_of_support_that_is_no_day_does_not_count(host, end):
    text = f"ID=fedora\nVERSION_ID=43\nSUPPORT_END={end}\n"
    assert judge(host, text).until == judge(host, "ID=fedora\nVERSION_ID=43\n").until


def test_a_release_with_a_number_without_end_is_unknown_or_old(host):
    support = judge(host, f"ID=rhel\nVERSION_ID=9.{'9' * 5000}\n")
    assert support.level in ("unknown", "eol", "full")


ELTS = "deb [signed-by=/etc/apt/keyrings/freexian.gpg] http://deb.freexian.com/extended-lts bullseye main contrib\n"
EUS = "[rhel-9-for-x86_64-baseos-eus-rpms]\nname = EUS\nbaseurl = https://cdn.example.com/eus\nenabled = %d\n"
PRO = {"attached": True, "services": [{"name": "esm-infra", "status": "enabled"}]}
# As the client writes it, from its tests: https://github.com/canonical/ubuntu-pro-client (features)
ESM = """\
Types: deb
URIs: https://esm.ubuntu.com/infra/ubuntu
Suites: focal-infra-security focal-infra-updates
Components: main
"""


@pytest.mark.parametrize(
    ("name", "path", "text", "level", "until"),
    [
        ("debian11", "/etc/apt/sources.list.d/elts.list", ELTS, "extended", "2031-06-30"),
        ("debian11", "/etc/apt/sources.list", "# " + ELTS, "eol", "2026-08-31"),
        ("debian11", "/etc/apt/sources.list.d/elts.list.disabled", ELTS, "eol", "2026-08-31"),
        ("debian11", "/etc/apt/sources.list", ELTS.replace("bullseye", "buster"), "eol", "2026-08-31"),
        (
            "debian11",
            "/etc/apt/sources.list.d/elts.sources",
            "Types: deb\nURIs: http://deb.freexian.com/extended-lts\nSuites: bullseye\nComponents: main\n",
            "extended",
            "2031-06-30",
        ),
        (
            "debian11",
            "/etc/apt/sources.list.d/elts.sources",
            "Types: deb\nURIs: http://deb.freexian.com/extended-lts\nSuites: bullseye\nEnabled: no\n",
            "eol",
            "2026-08-31",
        ),
        # Who pays for more still has what everybody has.
        ("debian12", "/etc/apt/sources.list", ELTS.replace("bullseye", "bookworm"), "lts", "2028-06-30"),
        ("ubuntu20", "/var/lib/ubuntu-advantage/status.json", json.dumps(PRO), "extended", "2030-04-02"),
        (
            "ubuntu20",
            "/var/lib/ubuntu-advantage/status.json",
            json.dumps({**PRO, "attached": False}),
            "eol",
            "2025-05-29",
        ),
        ("ubuntu20", "/var/lib/ubuntu-advantage/status.json", json.dumps({**PRO, "services": []}), "eol", "2025-05-29"),
        (
            "ubuntu20",
            "/var/lib/ubuntu-advantage/status.json",
            json.dumps({**PRO, "expires": "2026-01-01T00:00:00+00:00"}),
            "eol",
            "2025-05-29",
        ),
        (
            "ubuntu20",
            "/var/lib/ubuntu-advantage/status.json",
            json.dumps({**PRO, "expires": "9999-12-31T00:00:00+00:00"}),
            "extended",
            "2030-04-02",
        ),
        ("ubuntu20", "/etc/apt/sources.list.d/ubuntu-esm-infra.sources", ESM, "extended", "2030-04-02"),
        (
            "ubuntu20",
            "/etc/apt/sources.list.d/ubuntu-esm-infra.sources",
            ESM.replace("focal", "jammy"),
            "eol",
            "2025-05-29",
        ),
        (
            "ubuntu20",
            "/etc/apt/sources.list.d/ubuntu-esm-apps.sources",
            ESM.replace("infra", "apps"),
            "eol",
            "2025-05-29",
        ),
        ("ubuntu20", "/var/lib/ubuntu-advantage/status.json", "[]", "eol", "2025-05-29"),
        ("ubuntu22", "/var/lib/ubuntu-advantage/status.json", json.dumps(PRO), "full", "2027-04-01"),
        ("rhel96", "/etc/yum.repos.d/redhat.repo", EUS % 1, "extended", "2027-05-20"),
        ("rhel96", "/etc/yum.repos.d/redhat.repo", EUS % 0, "eol", None),
        ("rhel96", "/etc/yum.repos.d/redhat.repo", EUS.replace("-eus", ""), "eol", None),
        # A minor release that never had it
        ("rhel95", "/etc/yum.repos.d/redhat.repo", EUS % 1, "unknown", None),
        ("rhel7", "/etc/yum.repos.d/redhat.repo", "[rhel-7-server-els-rpms]\nenabled=1\n", "extended", "2029-05-31"),
        ("oracle7", "/etc/yum.repos.d/oracle.repo", "[ol7_latest_ELS]\nenabled=1\n", "extended", "2028-06-30"),
        ("sles156", "/etc/products.d/SLES-LTSS.prod", "<product/>\n", "extended", "2028-12-31"),
        ("sles156", "/etc/products.d/SLES.prod", "<product/>\n", "eol", "2025-12-31"),
    ],
)
def test_extended_support_counts_only_where_the_host_has_it(host, name, path, text, level, until):
    host.write(path, text)
    support = judge(host, RELEASES[name])
    assert (support.level, str(support.until) if support.until else None) == (level, until), support
    if level == "extended":
        assert path in support.reason


@pytest.mark.parametrize("line", ["deb [", "", "deb  "])
def test_a_list_of_sources_of_any_size_is_read_in_a_moment(host, line):
    """With the time of the square of its size, this would take an hour."""
    host.write("/etc/apt/sources.list", f"{line}\n" * 1_000_000)
    assert judge(host, RELEASES["debian11"]).level == "eol"


def test_what_the_host_could_have_is_reported(host):
    support = judge(host, RELEASES["debian11"])
    (finding,) = of_support(support, "Debian 11", _support.date(TODAY), True)
    assert "none of the extended support that there is until 2031-06-30" in finding["evidence"]


CSV = "version,codename,series,created,release,eol,eol-lts,eol-elts\n%s\n"


@pytest.mark.parametrize(
    ("row", "now", "level", "until"),
    [
        # The host knows a release that the collection does not.
        ("99,Later,later,2035-01-01,2036-01-01,2039-01-01", "2036-06-01", "full", "2039-01-01"),
        # It is fresher and says when that is: old data of the collection's are no reason for doubt any more.
        (
            "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30",
            "2028-06-01",
            "lts",
            "2028-06-30",
        ),
        # The earlier date counts.
        ("13,Trixie,trixie,2023-06-10,2025-08-09,2028-08-01,2030-06-30", TODAY, "full", "2028-08-01"),
        ("13,Trixie,trixie,2023-06-10,2025-08-09,soon", TODAY, "full", "2028-08-09"),
    ],
)
def test_the_hosts_own_data_count_as_well(host, tmp_path, row, now, level, until):
    host.write("/usr/share/distro-info/debian.csv", CSV % row)
    made = datetime.datetime.fromisoformat(now + "T00:00:00+00:00").timestamp() - 30 * 86400
    os.utime(tmp_path / "usr/share/distro-info/debian.csv", (made, made))
    version = row.partition(",")[0]
    support = judge(host, DEBIAN % (version, "x", version, "x"), now)
    assert (support.level, str(support.until)) == (level, until)


def test_long_term_support_can_be_too_little(host):
    support = judge(host, RELEASES["debian12"])
    day = _support.date(TODAY)
    severities = [[item["severity"] for item in of_support(support, "", day, good)] for good in (True, False)]
    assert severities == [["info"], ["fail"]]


@pytest.mark.parametrize(
    ("name", "now", "ids"),
    [
        ("debian13", TODAY, []),
        ("fedora43", TODAY, ["support.soon"]),
        ("debian12", "2028-05-01", ["support.unknown"]),
        ("rocky95", TODAY, ["support.minor"]),
        ("rhel96", TODAY, ["support.eol"]),
    ],
)
def test_findings(host, name, now, ids):
    day = _support.date(now)
    found = list(of_support(judge(host, RELEASES[name], now), name, day, True))
    assert [item["id"] for item in found] == ids
    assert all(item["step"] == 1 and item["fix"] and item["subject"] == name for item in found)


ENDOFLIFE = {
    "releaseCycle": "12", "releaseDate": "2023-06-10", "eol": "2026-07-11", "eoes": "2028-07-01", "latest": "12.15",
}  # fmt: skip


@pytest.fixture
def inputs(tmp_path):
    products = {
        name: {"releases": []}
        for name in (
            "debian", "ubuntu", "rhel", "rocky-linux", "almalinux", "centos", "centos-stream", "oracle-linux", "fedora",
            "sles", "opensuse", "amazon-linux",
        )
    }  # fmt: skip
    products["debian"]["releases"] = [ENDOFLIFE, {**ENDOFLIFE, "releaseCycle": "3", "releaseDate": "2003-01-01"}]
    products["oracle-linux"]["releases"] = [{**ENDOFLIFE, "releaseCycle": "10", "eol": False, "eoes": False}]
    (tmp_path / "endoflife.json").write_text(json.dumps({"products": products}))
    rows = "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30\n,Sid,sid,1993-08-16"
    (tmp_path / "debian.csv").write_text(CSV % rows)
    header = "version,codename,series,created,release,eol,eol-server,eol-esm,eol-legacy\n"
    (tmp_path / "ubuntu.csv").write_text(header + "26.10,S,s,2026-04-24,2026-10-15,2027-07-15\n")
    return [
        "--distro-info", tmp_path, "--distro-info-date", "2026-04-25", "--endoflife", tmp_path / "endoflife.json",
        "--endoflife-date", "2026-08-22", "--generated", "2026-11-25",
    ]  # fmt: skip


def test_the_tool_keeps_the_date_of_each_source(inputs, tmp_path):
    subprocess.run([sys.executable, TOOL, *inputs, "--json", tmp_path / "out.json"], check=True)
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["dates"]["endoflife.date"] == "2026-08-22"
    assert made["releases"]["debian"] == {
        "12": {
            "full": {"distro-info-data": "2026-07-11", "endoflife.date": "2026-07-11"},
            "lts": {"distro-info-data": "2028-06-30", "endoflife.date": "2028-07-01"},
            "extended": {"distro-info-data": "2033-06-30"},
        }
    }
    assert made["releases"]["ubuntu"] == {"26.10": {"full": {"distro-info-data": "2027-07-15"}}}
    assert made["releases"]["ol"] == {"10": {"full": {"endoflife.date": None}, "newest": "12.15"}}
    assert made["releases"]["rhel"]["9.4"] == {"extended": {"access.redhat.com": "2026-04-30"}}


def test_the_tool_writes_a_module_with_its_sources(inputs, tmp_path):
    subprocess.run([sys.executable, TOOL, *inputs, tmp_path / "out.py"], check=True)
    text = (tmp_path / "out.py").read_text()
    made: dict[str, object] = {}
    exec(text, made)
    assert made["GENERATED"] == "2026-11-25"
    assert made["RELEASES"]["debian"]["12"]["lts"]["endoflife.date"] == "2028-07-01"
    for words in ("MIT", "endoflife.date contributors", "ISC", "Benjamin Drung"):
        assert words in text
        assert words in Path(_support_data.__file__).read_text()
