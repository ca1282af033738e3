# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever pastes a fix runs what it says, and nothing that a mirror, a CA, a zone or a file name has put into it.

The commands are run by a real shell, in a folder of their own, where every program is one that notes its arguments.
"""

from __future__ import annotations

import os
import re
import subprocess

import dns.message
import dns.name
import dns.rdata
import dns.zone
import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._caa import findings as _caa_findings
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import catalogue as _certificate_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import findings as _certificate_findings
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._tls import catalogue as _tls_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt
from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import catalogue as _updates_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Metadata,
    Package,
    Reading,
    Source,
    Updates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import catalogue as _webserver_catalogue
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings

from .updates_bed import BOOKWORM

pytestmark = pytest.mark.slow

EVIL = [
    "x'; touch owned; '",
    '"; touch owned; "',
    "$(touch owned)",
    "`touch owned`",
    "a\ntouch owned\n",
    "a\r\ntouch owned #",
    "a;touch owned",
    "a&touch owned&b",
    "|touch owned",
    ">owned",
    "x${IFS}y $HOME",
    "two words",
    "* ? [a-z] {a,b}",
    "x # y",
    "back\\slash\\",
    "\x1b[31m\u202e",
    "-rf",
    "--option=x",
    "name=value",
    "%s%n %22",
    "!!",
    "~root",
]
# What any fix may run; the shell's own are real.
PROGRAMS = (
    *("apt-cache", "apt-get", "apt-mark", "awk", "cat", "chmod", "chown", "cmp", "cp", "curl", "dnf", "dpkg", "iconv"),
    *("ls", "openssl", "rm", "sed", "setfacl", "systemctl", "timedatectl", "unattended-upgrade", "zypper"),
)
# A line for each call, written at once, since programs of a pipe run side by side; nothing that is pasted has these
# separators.
NOTE = """#!/bin/sh
line=$(printf '%s\\037' "${0##*/}" "$@")
printf '%s\\n' "$line" >>LOG
"""


class Desk:
    """Where a fix is pasted: gives the programs that it ran, with their arguments."""

    def __init__(self, folder):
        self.folder = folder / "desk"
        self.folder.mkdir()
        self.programs, self.log = folder / "bin", folder / "log"
        self.programs.mkdir()
        for name in PROGRAMS:
            path = self.programs / name
            path.write_text(NOTE.replace("LOG", str(self.log)))
            path.chmod(0o755)

    def paste(self, fix):
        """Everything at once, as it leaves the module. What is written to /etc comes into the folder."""
        self.log.write_text("")
        text = _printable.result(fix).replace(">/etc/apt/apt.conf.d/", ">").replace(">/etc/apt/sources.list.d/", ">")
        done = subprocess.run(
            ["/bin/sh"], input=text, text=True, cwd=self.folder, capture_output=True,
            env={"PATH": str(self.programs), "HOME": str(self.folder)}, timeout=60, check=False,
        )  # fmt: skip
        assert not (self.folder / "owned").exists(), fix
        assert "not found" not in done.stderr and "yntax error" not in done.stderr, (fix, done.stderr)
        calls = [line.split("\x1f")[:-1] for line in self.log.read_text().split("\n")[:-1]]
        assert "touch" not in [call[0] for call in calls]
        return calls

    def files(self):
        return {path.name: path.read_text() for path in self.folder.iterdir()}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# --- updates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["Origin", "Codename", "Suite"])
@pytest.mark.parametrize("evil", EVIL)
def test_the_fields_of_a_release_file_stay_what_they_are(desk, field, evil):
    fields = {"Origin": "Debian", "Codename": "bookworm-security", "Suite": "stable-security", field: evil}
    sources = [Source("http://mirror.example/ bookworm-security", security=True, fields=fields)]
    automatic = _automatic.Automatic(enabled=True)
    found = Reading("apt", Updates([], True, True), Metadata(stale=False, sources=sources))
    assert _automatic._covers(automatic, {}, found, BOOKWORM) is False
    assert desk.paste(automatic.fix) == []
    # What is written is one pattern with just these fields, or nothing.
    written = "".join(desk.files().values())
    if written:
        pattern = "origin={Origin},codename={Codename},suite={Suite}".format(**fields)
        assert written == f'Unattended-Upgrade::Origins-Pattern:: "{pattern}";\n'
        assert re.fullmatch(r'[^"]*"[^",$*?\[\]\\]*,[^",$*?\[\]\\]*,[^",$*?\[\]\\]*";\n', written)
    else:
        assert "mirror.example" in automatic.fix


def test_what_is_written_for_an_ordinary_source_is_what_apt_reads(desk):
    fields = {"Origin": "Univention Corporate Server (UCS)", "Codename": "ucs_5-0", "Suite": "deb.example:stable/x~1+b"}
    sources = [Source("http://mirror.example/ x", security=True, fields=fields)]
    automatic = _automatic.Automatic(enabled=True)
    found = Reading("apt", Updates([], True, True), Metadata(stale=False, sources=sources))
    _automatic._covers(automatic, {}, found, BOOKWORM)
    desk.paste(automatic.fix)
    done = subprocess.run(
        ["apt-config", "dump"], env={**os.environ, "APT_CONFIG": str(desk.folder / "99auto-upgrades")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    pattern = "origin={Origin},codename={Codename},suite={Suite}".format(**fields)
    assert f'Unattended-Upgrade::Origins-Pattern:: "{pattern}";' in done.stdout


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_no_codename_comes_into_no_command(evil):
    lack = _apt._security_lack({"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": evil}, {})
    assert lack["id"] == "updates.security.unknown" and lack["fix"] == _updates_catalogue.CATALOGUE[lack["id"]].fix
    assert _printable.printable(lack["evidence"]) == lack["evidence"]


@pytest.mark.parametrize(
    ("distribution", "codename"), [("debian", "bookworm"), ("ubuntu", "jammy"), ("debian", "buster")]
)
def test_the_line_of_a_security_suite_is_written(desk, distribution, codename):
    release = {"ID": distribution, "VERSION_ID": "12", "VERSION_CODENAME": codename}
    assert desk.paste(_apt._security_lack(release, {})["fix"]) == [["apt-get", "update"]]
    (line,) = desk.files().values()
    assert re.fullmatch(rf"deb http://\S+ {codename}\S+ main[a-z ]*\n", line)


COMMANDS = {
    "apt": _apt.COMMANDS,
    "dnf": _dnf._DNF4.commands,
    "dnf5": _dnf._DNF5.commands,
    "zypper": _zypper.COMMANDS,
}


def packages(*names, held):
    return Updates([Package(name, "1", "2", True, held, "") for name in names], True, True)


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("manager", COMMANDS)
def test_names_of_packages_are_names(desk, manager, held, evil):
    shown = _printable.printable(evil)
    reading = Reading(manager, packages("tls", evil, held=held), commands=COMMANDS[manager])
    for finding in _updates_findings.of_updates(reading):
        for call in desk.paste(finding["fix"]):
            assert set(call[1:]) <= {shown, "tls", "--", *OF_COMMANDS}, call
            # A name that looks like an option comes after the sign that no more will.
            if shown.startswith("-") and shown in call:
                assert "--" in call[: call.index(shown)]
    assert desk.files() == {}


OF_COMMANDS = {
    *("update", "install", "--only-upgrade", "upgrade", "--refresh", "--security", "refresh", "patch", "--category"),
    *("security", "unhold", "policy", "versionlock", "delete", "removelock"),
}


@pytest.mark.parametrize("evil", EVIL)
def test_a_package_that_is_left_out_is_a_name(desk, evil):
    sources = [Source("http://mirror.example/ x", security=True, fields={"Origin": "a", "Codename": "b", "Suite": "c"})]
    found = Reading("apt", packages(evil, held=False), Metadata(stale=False, sources=sources))
    options = {
        "unattended-upgrade::origins-pattern": ["o=a"],
        "unattended-upgrade::package-blacklist": [re.escape(evil)],
    }
    automatic = _automatic.Automatic(enabled=True)
    _automatic._covers(automatic, options, found, BOOKWORM)
    (call,) = desk.paste(automatic.fix)
    assert call[:3] == ["apt-get", "install", "--only-upgrade"] and call[-1] == _printable.printable(evil)
    assert call[3:-1] == (["--"] if evil.startswith("-") else [])


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("absolute", [True, False])
def test_paths_of_certificates_are_paths(desk, evil, absolute):
    path = ("/nowhere/" if absolute else "") + evil
    shown = _printable.printable(path)
    allowed = {shown, f"./{shown}"}
    report = _certificate_findings.Report("subject", path, path, path, ["mail.example", evil])
    for key in _certificate_catalogue.CATALOGUE:
        report.finding(key)
    for finding in report.findings:
        calls = desk.paste(finding["fix"])
        for call in calls:
            for argument in call[1:]:
                stem = re.sub(r"\.(new|old|key|pem|\d+)$", "", argument)
                if stem in allowed:
                    assert stem.startswith(("/", "./")) or not re.match(r"-|\w+=", stem), call
                else:
                    assert "touch" not in argument and "owned" not in argument, call
            names = [argument for argument in call if argument.startswith("subjectAltName=")]
            assert not names or re.fullmatch(r"subjectAltName=DNS:mail\.example(,DNS:[\w.~-]+)?", *names), names


@pytest.mark.parametrize("evil", EVIL)
def test_a_file_is_taken_apart_by_its_name(evil, tmp_path):
    """By the real programs, which take names such as a=b and -rf for something else."""
    if "\n" in evil or evil != _printable.printable(evil):
        pytest.skip("its name is shown, and cannot be pasted")
    blocks = _checks.blocks(b"".join(PEM % number for number in range(2)))
    chain = _checks._Chain.__new__(_checks._Chain)
    chain._parts = blocks
    ones = [type("One", (), {"der": bytes([number])}) for number in range(2)]
    chain._block = {one.der: block for one, block in zip(ones, blocks, strict=True)}
    report = _certificate_findings.Report("subject", evil, "", "", [])
    report.finding("certificate.chain.order", fix=chain.rearranged(ones[::-1]))
    (tmp_path / evil).write_bytes(b"".join(PEM % number for number in range(2)))
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", report.findings[0]["fix"]], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [path.name for path in tmp_path.iterdir()] == [evil]
    assert (tmp_path / evil).read_bytes() == PEM % 1 + PEM % 0


PEM = b"-----BEGIN CERTIFICATE-----\n%d\n-----END CERTIFICATE-----\n"


def test_no_fix_needs_another_shell(desk):
    report = _certificate_findings.Report("subject", "/chain.pem", "/key.pem", "/ca.pem", ["mail.example"])
    for key in _certificate_catalogue.CATALOGUE:
        report.finding(key)
    for finding in report.findings:
        assert desk.paste(finding["fix"]), finding["id"]


# --- CAA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL)
def test_zone_file_lines_are_the_records_that_they_are_meant_to_be(evil):
    """As a zone's own names, mailbox and records come: by the wire, where a label may hold any byte."""
    label = evil.encode("utf-8")[:60]
    owner = dns.name.Name([label, b"hostile", b"test", b""])
    mailbox = _lookup._mailbox(dns.name.Name([label, b"hostile", b"test", b""]), owner)
    lines = [
        _caa_findings._report(_lookup._text(owner), mailbox),
        _caa_findings.line(_lookup._text(owner), _records.Property(0, "issue", evil.encode())),
    ]
    lines.append(_caa_findings._remove("hostile.test", _records.Property(0, "issue", label)))
    text = _printable.result("\n".join(lines))
    zone = dns.zone.from_text("@ 60 IN SOA a. b. 1 1 1 1 1\n@ 60 IN NS a.\n$TTL 60\n" + text, "hostile.test.")
    found = {(name.derelativize(zone.origin), data.tag, data.value)
             for name, _ttl, data in zone.iterate_rdatas("CAA")}  # fmt: skip
    assert found == {
        (dns.name.from_text(_lookup._text(owner)), b"iodef", f"mailto:{mailbox}".encode()),
        (dns.name.from_text(_lookup._text(owner)), b"issue", evil.encode()),
    }
    assert {name for name, _dataset in zone.iterate_rdatasets()} <= {dns.name.empty, owner.relativize(zone.origin),
        dns.name.from_text(_lookup._text(owner)).relativize(zone.origin)}  # fmt: skip


# --- all of them -----------------------------------------------------------------------------------------------------


def test_the_other_catalogues_have_nothing_of_foreign_origin_in_their_fixes():
    """Their fixes are constant: nothing is filled in. One that shall be needs a test here."""
    for entry in _findings.catalogue().values():
        for text in entry.fix.values():
            assert "{}" not in text and "%s" not in text
    for module in (_updates_catalogue, _webserver_catalogue, _tls_catalogue, _caa_catalogue):
        for entry in module.CATALOGUE.values():
            assert "{" not in entry.fix
