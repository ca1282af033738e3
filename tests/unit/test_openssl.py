# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import re
import ssl
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl

from . import web_bed

PROGRAM = "/usr/bin/openssl"
APACHE_MODULE = str(web_bed.MODULES / "mod_ssl.so")

needs_openssl = pytest.mark.skipif(not Path(PROGRAM).exists(), reason="openssl is not installed")


@pytest.fixture
def openssl() -> _openssl.OpenSSL:
    found = _openssl.for_binary(PROGRAM)
    assert found
    return found


@needs_openssl
def test_version_is_the_one_that_the_program_prints(openssl: _openssl.OpenSSL) -> None:
    words = web_bed.run(PROGRAM, "version").stdout
    assert openssl.version and re.search(r"(?:Library: )?OpenSSL %s\b" % re.escape(openssl.version), words)


@web_bed.needs_apache
@needs_openssl
def test_a_module_is_tested_like_a_program(openssl: _openssl.OpenSSL) -> None:
    found = _openssl.for_binary(APACHE_MODULE)
    assert found and found.version == openssl.version


@needs_openssl
def test_groups_are_those_that_the_program_lists(openssl: _openssl.OpenSSL) -> None:
    listed = web_bed.run(PROGRAM, "list", "-all-tls-groups")
    if listed.returncode:
        pytest.skip("this openssl does not list groups")
    names = {name.lower() for name in listed.stdout.strip().split(":")}
    other = {"prime256v1": "secp256r1"}
    for group in _openssl.GROUPS.values():
        assert openssl.groups_ok(group) is (other.get(group, group).lower() in names), group
    assert openssl.groups(["X25519", "NO-SUCH-GROUP", "secp384r1"]) == ["X25519", "secp384r1"]


@needs_openssl
@pytest.mark.parametrize("text", ["HIGH", "ECDHE+AESGCM", "NOSUCH", "NOSUCH:HIGH", "!ALL", "", "@SECLEVEL=9"])
def test_cipher_strings_are_judged_as_the_program_does(openssl: _openssl.OpenSSL, text: str) -> None:
    taken = web_bed.run(PROGRAM, "ciphers", "-s", "-tls1_2", text).returncode == 0
    assert openssl.cipher_string_ok(text) is taken


@needs_openssl
@pytest.mark.parametrize(
    "text",
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "TLS_NOSUCH", "AES128-SHA"],
)
def test_suites_are_judged_as_the_program_does(openssl: _openssl.OpenSSL, text: str) -> None:
    taken = web_bed.run(PROGRAM, "ciphers", "-ciphersuites", text).returncode == 0
    assert openssl.ciphersuites_ok(text) is taken


@needs_openssl
def test_a_list_of_groups_is_judged_as_a_whole(openssl: _openssl.OpenSSL) -> None:
    assert openssl.groups_ok("X25519:prime256v1") is True
    assert openssl.groups_ok("X25519:NOSUCH") is False


@needs_openssl
def test_pythons_own_openssl_notices_nothing(openssl: _openssl.OpenSSL) -> None:
    before = [item["name"] for item in ssl.create_default_context().get_ciphers()]
    for question in (openssl.cipher_string_ok, openssl.ciphersuites_ok, openssl.groups_ok):
        assert question("NOSUCH") is False
    assert [item["name"] for item in ssl.create_default_context().get_ciphers()] == before
    queue: t.Any = ctypes.CDLL(_openssl._linked(PROGRAM))
    queue.ERR_peek_error.restype = ctypes.c_ulong
    assert queue.ERR_peek_error() == 0


def test_nothing_is_claimed_about_what_has_no_openssl(tmp_path: Path) -> None:
    assert _openssl.for_binary(str(tmp_path / "missing")) is None
    assert _openssl.for_binary("/bin/sh") is None


def test_an_openssl_inside_the_program_has_a_version_and_no_results(tmp_path: Path) -> None:
    (tmp_path / "nginx").write_bytes(b"\x7fELF...\0OpenSSL 1.1.1w  11 Sep 2023\0")
    found = _openssl.for_binary(str(tmp_path / "nginx"))
    assert found and found.version == "1.1.1w"
    assert (found.groups(["X25519"]), found.groups_ok("X25519"), found.cipher_string_ok("HIGH")) == (None, None, None)
