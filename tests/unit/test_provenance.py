# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose packages the web server, PHP and OpenSSL in use are."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Outcome
from ansible_collections.kopano.hardening.plugins.module_utils._updates.restarts import Process

SSL = "/usr/lib/x86_64-linux-gnu/libssl.so.3"
needs_apt = pytest.mark.skipif(shutil.which("apt-cache") is None, reason="apt is not here")


@pytest.fixture
def apt(tmp_path):
    """A function that makes a host with dpkg and apt of its own: what is installed, and what each origin has."""

    def make(installed: str, lists: dict[str, list[str]], file: str = SSL) -> Host:
        stanza = "Package: libssl3\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: x\nVersion: %s\n"
        admin, etc = tmp_path / "dpkg", tmp_path / "etc" / "apt"
        for folder in (admin / "info", admin / "updates", etc, tmp_path / "lists" / "partial", tmp_path / "cache"):
            folder.mkdir(parents=True)
        (admin / "status").write_text((stanza % installed).replace("Arch", "Status: install ok installed\nArch") + "\n")
        (admin / "info" / "format").write_text("1\n")
        (admin / "info" / "libssl3.list").write_text(f"/.\n{file}\n")
        sources = []
        for number, (origin, versions) in enumerate(lists.items()):
            place = tmp_path / f"repository{number}"
            place.mkdir()
            more = "Filename: ./x.deb\nSize: 1\nSHA256: " + "0" * 64 + "\n\n"
            packages = "".join(stanza % version + more for version in versions)
            (place / "Packages").write_text(packages)
            digest = hashlib.sha256(packages.encode()).hexdigest()
            (place / "Release").write_text(
                f"Origin: {origin}\nLabel: {origin}\nSuite: s\nCodename: s\nDate: Tue, 24 Nov 2026 10:00:00 UTC\n"
                f"SHA256:\n {digest} {len(packages)} Packages\n"
            )
            sources.append(f"deb [trusted=yes] file:{place} ./\n")
        (etc / "sources.list").write_text("".join(sources))
        words = []
        for name, value in {
            "Dir": f"{tmp_path}/",
            "Dir::State::status": admin / "status",
            "Dir::State::lists": tmp_path / "lists",
            "Dir::Cache": tmp_path / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "1",
        }.items():
            words += ["-o", f"{name}={value}"]
        host = Host(str(tmp_path), {"apt-cache": words, "apt-get": words, "dpkg-query": ["--admindir", str(admin)]})
        outcome = host.run("apt-get", "update")
        assert outcome.code == 0, outcome
        return host

    return make


def traced(host: Host, product: str = "debian", complete: bool = True) -> _provenance.Component:
    (component,) = _provenance.trace(host, product, [_provenance.Component("openssl", SSL)], complete)
    return component


def test_a_version_with_a_tab_is_one_without_a_list():
    """No package has one; dpkg's status file may be damaged."""

    class Damaged(Host):
        def has(self, program: str) -> bool:
            return True

        def run(self, program: str, *arguments: str, timeout: float = 60) -> Outcome:
            texts = {"--search": f"libssl3: {SSL}\n", "--show": "libssl3\t3.0\t17\n"}
            return Outcome(0, next((text for word, text in texts.items() if word in arguments), ""), "")

    component = traced(Damaged())
    assert (component.version, component.from_distribution) == ("3.0\t17", None)


@needs_apt
@pytest.mark.parametrize(
    ("installed", "lists", "origin", "own", "ids"),
    [
        ("3.0.17-1", {"Debian": ["3.0.17-1"]}, "Debian", True, []),
        ("3.0.17-1", {"Debian": ["3.0.17-1"], "Example": ["3.0.17-1"]}, "Debian", True, []),
        ("3.5.0-1~ex", {"Debian": ["3.0.17-1"], "Example": ["3.5.0-1~ex"]}, "Example", False, ["foreign"]),
        # Archives drop old versions.
        ("3.0.16-1", {"Debian": ["3.0.17-1"]}, "Debian", True, []),
        ("3.0.16-1", {"Debian": ["3.0.17-1"], "Example": ["3.5.0-1"]}, "", None, ["unknown"]),
        ("3.9.9-1", {"Debian": ["3.0.17-1"]}, "", False, ["foreign"]),
        ("3.0.17-1", {"Debian": []}, "", None, ["unknown"]),
        ("3.0.17-1", {}, "", None, ["unknown"]),
    ],
)
def test_the_lists_with_the_version_decide(apt, installed, lists, origin, own, ids):
    component = traced(apt(installed, lists))
    assert (component.package, component.version) == ("libssl3", installed)
    assert (component.origin, component.from_distribution) == (origin, own), component
    found = list(_provenance.findings([component, component]))
    assert [item["id"] for item in found] == [f"support.package.{name}" for name in ids]
    assert all(item["subject"] == f"libssl3 {installed}" and item["evidence"] for item in found)


@needs_apt
def test_a_newer_version_is_no_proof_where_lists_are_missing(apt):
    assert traced(apt("3.9.9-1", {"Debian": ["3.0.17-1"]}), complete=False).from_distribution is None


@needs_apt
def test_a_distribution_that_is_not_known(apt):
    component = traced(apt("3.0.17-1", {"Debian": ["3.0.17-1"]}), "devuan")
    assert (component.origin, component.from_distribution) == ("Debian", None)


@needs_apt
def test_a_file_by_its_path_from_before_the_directories_were_merged(apt):
    assert traced(apt("3.0.17-1", {"Debian": ["3.0.17-1"]}, SSL[len("/usr") :])).package == "libssl3"


@needs_apt
def test_a_file_of_no_package(apt):
    component = traced(apt("3.0.17-1", {"Debian": ["3.0.17-1"]}, "/usr/lib/other"))
    (found,) = _provenance.findings([component])
    assert (found["id"], found["subject"]) == ("support.package.none", SSL)


@pytest.mark.parametrize(
    ("product", "script", "expected"),
    [
        ("rhel", r"printf 'openssl-libs\t1:3.5.1-4.el9\tRed Hat, Inc.\n'", ("openssl-libs", "1:3.5.1-4.el9", True)),
        ("rocky", r"printf 'httpd\t2.4.62-4\tRocky Enterprise Software Foundation\n'", ("httpd", "2.4.62-4", True)),
        ("rocky", r"printf 'php-fpm\t8.4.1-1\tRemi Collet\n'", ("php-fpm", "8.4.1-1", False)),
        ("opensuse", r"printf 'nginx\t1.27\tobs://build.opensuse.org/server\n'", ("nginx", "1.27", False)),
        ("sles", r"printf 'x\t1\tSUSE LLC <https://www.suse.com/>\n'", ("x", "1", True)),
        ("rhel", "echo file is not owned by any package; exit 1", ("", "", None)),
    ],
)
def test_rpm_names_the_vendor(tmp_path, product, script, expected):
    (tmp_path / "rpm").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "rpm").chmod(0o755)
    component = traced(Host(environment={"PATH": str(tmp_path)}), product)
    assert (component.package, component.version, component.from_distribution) == expected


def test_in_use_is_what_runs():
    def process(name, *files):
        return Process(1, name, "", list(files), [])

    found = _provenance.in_use(
        [
            process("apache2", "/usr/sbin/apache2", "/usr/lib/apache2/modules/mod_ssl.so", SSL),
            process("apache2", "/usr/sbin/apache2", "/usr/lib/apache2/modules/libphp7.4.so", SSL),
            process("php-fpm8.2", "/usr/sbin/php-fpm8.2", "/opt/lib/libssl.so.1.1"),
            process("sshd", "/usr/sbin/sshd", "/usr/lib/other/libssl.so.3"),
        ]
    )
    assert [(component.kind, component.path) for component in found] == [
        ("web_server", "/usr/sbin/apache2"),
        ("php", "/usr/lib/apache2/modules/libphp7.4.so"),
        ("php", "/usr/sbin/php-fpm8.2"),
        ("openssl", "/opt/lib/libssl.so.1.1"),
        ("openssl", SSL),
    ]
