# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's name server: its data, and what goes into its container."""

from __future__ import annotations

import io
import ipaddress
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from kopano_lab import dns, images, model
from kopano_lab.network import Subnets
from kopano_lab.shell import LabError

pytestmark = pytest.mark.slow

SUBNETS = Subnets(ipaddress.IPv4Network("192.0.2.0/24"), ipaddress.IPv6Network("2001:db8::/64"))
HOSTS = model.hosts()


@pytest.fixture
def server(tmp_path):
    return dns.Nameserver(model.Lab(tmp_path, "lab"))


def files(server):
    with tarfile.open(fileobj=io.BytesIO(server.archive(SUBNETS))) as tar:
        return {Path(entry.name).name: tar.extractfile(entry).read().decode() for entry in tar}


def test_the_container_gets_the_same_files_every_time(server):
    assert server.archive(SUBNETS) == server.archive(SUBNETS)
    assert files(server)["start"].startswith("#!")


def test_every_host_has_a_zone_that_its_parent_knows(server):
    found = files(server)
    for host in HOSTS.values():
        assert f"{host.domain}. NS ns.test.\n" in found["test.zone"]
        assert f'- domain: "{host.domain}."\n' in found["knot.conf"]
        address, address6 = SUBNETS.addresses(host)
        assert f"mail.{host.domain}. A {address}\nmail.{host.domain}. AAAA {address6}\n" in found[f"{host.domain}.zone"]


def test_zones_are_good_or_bad_as_in_the_data(server):
    found = files(server)
    assert '@ CAA 0 iodef "mailto:hostmaster@nginx13.test"\n' in found["nginx13.test.zone"]
    assert " CAA " not in found["apache11.test.zone"]
    assert '@ CAA 0 issue "digicert.com"\n' in found["apache12.test.zone"]
    assert "bogus='nginx11.test.'" in found["plan"]
    assert "nginx12.test." not in found["plan"]


def test_the_acme_servers_are_known_to_the_hosts_and_one_wants_a_key(server):
    found = files(server)
    variables = server.variables(SUBNETS)
    assert variables["certificate_acme_directory"] == "https://192.0.2.2:14000/dir"
    free, bound = (json.loads(found[name])["pebble"] for name in ("acme.json", "acme-eab.json"))
    assert (free["externalAccountBindingRequired"], bound["externalAccountBindingRequired"]) == (False, True)
    assert bound["externalAccountMACKeys"] == {"lab": variables["lab_acme_eab"]["hmac_key"]}
    assert variables["lab_acme_eab"]["directory"].endswith(bound["listenAddress"].partition(":")[2] + "/dir")
    authority = server.lab.checkout / ".cache" / "lab" / "ca.pem"
    certificate = server.lab.checkout / "acme.pem"
    certificate.write_text(found["acme.pem"])
    for command in (
        ["verify", "-CAfile", authority, certificate],
        ["x509", "-checkip", "192.0.2.2", "-in", certificate],
    ):
        said = subprocess.run(["openssl", *command], capture_output=True, text=True, check=True).stdout
        assert "OK" in said or "does match" in said


def test_the_inventory_publishes_there_with_a_key_that_stays(server, tmp_path):
    variables = server.variables(SUBNETS)
    assert variables["caa_nameservers"] == ["192.0.2.2:5353"]
    assert variables["caa_publish_server"] == "192.0.2.2"
    assert variables == dns.Nameserver(model.Lab(tmp_path, "lab")).variables(SUBNETS)
    assert variables["caa_publish_key_secret"] in files(server)["knot.conf"]
    assert server.lab.cache.joinpath("dns.key").stat().st_mode & 0o077 == 0
    other = dns.Nameserver(model.Lab(tmp_path, "other")).variables(SUBNETS)
    assert other["caa_publish_key_secret"] != variables["caa_publish_key_secret"]
    assert server.host_variables(HOSTS["nginx12u"]) == {"caa_issuer": ""}
    assert server.host_variables(HOSTS["nginx13"]) == {}


def test_its_address_is_no_hosts(server):
    taken = {address for host in HOSTS.values() for address in SUBNETS.addresses(host)}
    assert not taken & set(server.addresses(SUBNETS))


@pytest.mark.parametrize(
    ("zones", "words"),
    [("apache11: {cca: []}", "apache11: unknown key cca"), ("apache99: {caa: []}", "apache99 is no host")],
)
def test_a_mistake_in_the_data_is_named(tmp_path, monkeypatch, zones, words):
    (tmp_path / "dns.yml").write_text(f"issuer: ''\ngood: []\nzones: {{{zones}}}\n")
    release = images.dns_release()
    monkeypatch.setattr(dns, "dns_release", lambda: release)
    monkeypatch.setattr(dns, "LAB", tmp_path)
    with pytest.raises(LabError, match=f"dns.yml: {words}"):
        dns.Nameserver(model.Lab(tmp_path, "lab"))


def test_the_image_of_a_host_does_not_change_with_the_name_servers():
    assert images.dns_release().image != images.releases()["trixie"].image
    assert images.dns_release().suite in images.releases()
