# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said to be wrong with a host really is wrong, seen from outside."""

from __future__ import annotations

import ssl

import pytest

WEAK = {"weak-ciphers", "vhost-ciphers"}
CBC = "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA"
SNAKEOIL_DEFAULT = {"debian-package", "default-server", "snakeoil"}

testinfra_hosts = ["ansible://tls"]


@pytest.mark.parametrize(("protocol", "name"), [(ssl.TLSVersion.TLSv1, "TLSv1"), (ssl.TLSVersion.TLSv1_1, "TLSv1.1")])
def test_old_protocols_are_on_where_said(frontend, protocol, name):
    if "legacy-protocols" in frontend.dirt:
        assert frontend.handshake(protocol=protocol).protocol == name
    else:
        assert frontend.refuses(protocol=protocol)


def test_current_protocols_are_on_everywhere(frontend):
    assert frontend.handshake(protocol=ssl.TLSVersion.TLSv1_2).protocol == "TLSv1.2"
    assert frontend.handshake().protocol == "TLSv1.3"


def test_cbc_suites_are_on_where_said(frontend):
    if frontend.dirt & WEAK:
        agreed = frontend.handshake(protocol=ssl.TLSVersion.TLSv1_2, ciphers=CBC)
        assert agreed.cipher.endswith("AES128-SHA")


def test_key_exchange_without_forward_secrecy_is_on_where_said(frontend):
    if frontend.dirt & WEAK and frontend.host not in ("nginx13", "el9n"):  # whose keys are no RSA keys
        assert frontend.handshake(protocol=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA").cipher == "AES128-SHA"


def test_clients_without_a_name_meet_the_default_virtual_host(frontend):
    certificate = frontend.handshake(None)
    if frontend.dirt & SNAKEOIL_DEFAULT:
        assert frontend.name not in certificate.names
    else:
        assert frontend.name in certificate.names


def test_debians_package_lets_its_default_virtual_host_be_weaker_than_the_administrators(frontend):
    if "debian-package" in frontend.dirt:
        assert frontend.handshake(None, protocol=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA").cipher == "AES128-SHA"


def test_the_certificate_is_for_the_hosts_own_names_and_397_days(frontend):
    certificate = frontend.handshake()
    if "snakeoil" in frontend.dirt:
        assert frontend.name not in certificate.names
    else:
        domain = frontend.name.removeprefix("mail.")
        assert {frontend.name, f"autodiscover.{domain}", domain} <= certificate.names
        assert (certificate.certificate.not_valid_after_utc - certificate.certificate.not_valid_before_utc).days == 397


@pytest.mark.parametrize("path", ["/", "/webapp/", "/webapp/client/app.js", "/Microsoft-Server-ActiveSync", "/none"])
def test_nobody_sends_hsts(frontend, path):
    assert frontend.request(path).one("Strict-Transport-Security") is None


def test_port_80_redirects_where_said(frontend):
    answers = {
        path: frontend.request(path, secure=False).status for path in ("/webapp/", "/Microsoft-Server-ActiveSync")
    }
    if "redirect" in frontend.dirt:
        assert set(answers.values()) == {301}
    else:
        assert answers == {"/webapp/": 400, "/Microsoft-Server-ActiveSync": 401}


def test_bound_to_addresses_where_said(frontend, host):
    if "addresses" in frontend.dirt:
        assert frontend.handshake(address=frontend.ipv6).protocol == "TLSv1.3"
        calendar = "calendar." + frontend.name.removeprefix("mail.")
        assert frontend.request("/webapp/", name=calendar, address=frontend.ipv6).status == 200
        assert host.socket(f"tcp://{frontend.ipv4}:443").is_listening
