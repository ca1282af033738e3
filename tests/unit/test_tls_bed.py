# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers and the grades that the rating guide 2009r gives them.

The expectations were written down from the guide before the prober saw the servers: for each the grade, the grade with
trust ignored, and every rule that holds. `bed.pem` is the given authority.
"""

from __future__ import annotations

import shutil
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

from . import tls_bed as bed
from .slow_bed import HANGS

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

ALL12 = "ALL:!aNULL:!eNULL:@SECLEVEL=0"
NO_HSTS = ""


def hsts(*values):
    return "".join(f'add_header Strict-Transport-Security "{value}" always;' for value in values)


# name: (site options, grade, trust ignored, rules that hold)
NGINX = {
    "intermediate": ({}, "A+", "A+", ()),
    "modern": ({"protocols": "TLSv1.3"}, "A+", "A+", ()),
    "two certificates": ({"leaves": ("ec", "rsa4096")}, "A+", "A+", ()),
    "post-quantum off": ({"more": bed.HSTS + "ssl_ecdh_curve X25519:prime256v1;"}, "A+", "A+", ()),
    "TLS 1.2 only": ({"protocols": "TLSv1.2"}, "A-", "A-", ("tls.protocol.no_tls13",)),
    "TLS 1.0 to 1.2, CBC": (
        {"protocols": "TLSv1 TLSv1.1 TLSv1.2", "ciphers": ALL12, "more": NO_HSTS},
        "B",
        "B",
        ("tls.protocol.tls10", "tls.protocol.tls11", "tls.protocol.no_tls13", "tls.hsts.absent"),
    ),
    "TLS 1.0 only": (
        {"protocols": "TLSv1", "ciphers": ALL12},
        "C",
        "C",
        ("tls.protocol.tls10", "tls.protocol.no_tls12", "tls.protocol.no_tls13", "tls.cipher.no_aead"),
    ),
    "RSA key exchange only": (
        {"protocols": "TLSv1.2", "ciphers": "AES128-GCM-SHA256:AES256-SHA"},
        "B",
        "B",
        ("tls.cipher.no_forward_secrecy", "tls.protocol.no_tls13"),
    ),
    "CBC only": (
        {"protocols": "TLSv1.2", "ciphers": "ECDHE-RSA-AES128-SHA256"},
        "B",
        "B",
        ("tls.cipher.no_aead", "tls.protocol.no_tls13"),
    ),
    "DH 1024": (
        {
            "ciphers": bed.GOOD12 + ":DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0",
            "more": bed.HSTS + "ssl_dhparam dh1024.pem;",
        },
        "B",
        "B",
        ("tls.dh.weak",),
    ),
    "DH 2048": (
        {"ciphers": bed.GOOD12 + ":DHE-RSA-AES128-GCM-SHA256", "more": bed.HSTS + "ssl_dhparam dh2048.pem;"},
        "A+",
        "A+",
        (),
    ),
    "no encryption": (
        {"protocols": "TLSv1.2", "ciphers": bed.GOOD12 + ":NULL-SHA256:@SECLEVEL=0"},
        "F",
        "F",
        ("tls.cipher.null", "tls.cipher.weak", "tls.protocol.no_tls13"),
    ),
    "no authentication": (
        {"protocols": "TLSv1.2 TLSv1.3", "ciphers": bed.GOOD12 + ":AECDH-AES256-SHA:@SECLEVEL=0"},
        "F",
        "F",
        ("tls.cipher.anonymous",),
    ),
    "no HSTS": ({"more": NO_HSTS}, "A", "A", ("tls.hsts.absent",)),
    "HSTS max-age=0": ({"more": hsts("max-age=0")}, "A-", "A-", ("tls.hsts.disabled",)),
    "HSTS short": ({"more": hsts("max-age=15551999")}, "A", "A", ("tls.hsts.short",)),
    "HSTS just long enough": ({"more": hsts("max-age=15552000")}, "A+", "A+", ()),
    "HSTS invalid": ({"more": hsts("max-age=a year")}, "A-", "A-", ("tls.hsts.invalid",)),
    "HSTS doubled": ({"more": hsts("max-age=31536000", "max-age=31536000")}, "A-", "A-", ("tls.hsts.invalid",)),
    "self-signed": ({"leaves": ("selfsigned",)}, "T", "A+", ("tls.certificate.untrusted",)),
    "expired": ({"leaves": ("expired",)}, "T", "A+", ("tls.certificate.untrusted", "tls.certificate.expired")),
    "not yet valid": (
        {"leaves": ("future",)},
        "T",
        "A+",
        ("tls.certificate.untrusted", "tls.certificate.not_yet_valid"),
    ),
    "wrong name": ({"leaves": ("wrong",)}, "M", "A+", ("tls.certificate.name_mismatch",)),
    "incomplete chain": ({"chain": "pem"}, "T", "B", ("tls.certificate.untrusted", "tls.chain.incomplete")),
    "RSA 1024": (
        {"leaves": ("rsa1024",), "ciphers": bed.GOOD12 + ":@SECLEVEL=0"},
        "B",
        "B",
        ("tls.certificate.key_weak",),
    ),
    "RSA 512": (
        {"leaves": ("rsa512",), "protocols": "TLSv1.2", "ciphers": "ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"},
        "F",
        "F",
        ("tls.certificate.key_very_weak", "tls.certificate.key_weak", "tls.protocol.no_tls13"),
    ),
    "SHA-1": (
        {"leaves": ("sha1",), "ciphers": bed.GOOD12 + ":@SECLEVEL=0"},
        "T",
        "A+",
        ("tls.certificate.sha1",),
    ),
    "MD5": (
        {"leaves": ("md5",), "ciphers": bed.GOOD12 + ":@SECLEVEL=0"},
        "F",
        "F",
        ("tls.certificate.md5",),
    ),
}

LEAVES = {
    "ec": {"key": "ec"},
    "rsa4096": {"key": "rsa4096"},
    "rsa1024": {"key": "rsa1024"},
    "rsa512": {"key": "rsa512"},
    "good": {},
    "selfsigned": {"issuer": None},
    "expired": {"start": -90, "days": 89},
    "future": {"start": 10},
    "wrong": {"names": ("bad.test",)},
    "sha1": {"digest": "sha1"},
    "md5": {"digest": "md5", "issuer": "middlersa"},
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("bed"))
    for name, options in LEAVES.items():
        made.leaf(name, **options)
    for bits in (1024, 2048):
        # Valid parameters of the wanted size, made the fast way.
        made.run("dhparam", "-dsaparam", "-out", f"dh{bits}.pem", str(bits))
    return made


@pytest.fixture(scope="module")
def trust(pki):
    return _prober.Trust(pki.path("root.pem"))


@pytest.fixture(scope="module")
def sites(pki):
    """Every nginx server of the bed in one nginx: name to port."""
    ports = dict(zip(NGINX, bed.free_ports(len(NGINX))))  # noqa: B905 - Python 3.7
    blocks = [
        bed.nginx_site(ports[name], **dict({"leaves": ("good",)}, **options))
        for name, (options, *_rest) in NGINX.items()
    ]
    with bed.nginx(pki.folder, blocks, next(iter(ports.values()))):
        yield ports


def look(port, trust, mode="full", **options):
    endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port}
    return _prober.probe(endpoint, mode, trust=trust, **options)


def rules_of(result):
    return sorted(entry["id"] for entry in result["caps"] + result["warnings"])


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("name", list(NGINX))
def test_nginx(sites, trust, name, mode):
    _options, grade, ignored, rules = NGINX[name]
    observation = look(sites[name], trust, mode)
    result = _grade.grade(observation)
    assert result["error"] is None
    assert observation["unclear"] == []
    assert (result["grade"], result["grade_trust_ignored"], rules_of(result)) == (grade, ignored, sorted(rules))


# What is listed

TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
GOOD12_RSA = [
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
]
GOOD12_ECDSA = [name.replace("RSA", "ECDSA") for name in GOOD12_RSA]


def test_listing(sites, trust):
    observation = look(sites["two certificates"], trust)
    assert sorted(observation["ciphers"]) == ["TLSv1.2", "TLSv1.3"]
    assert sorted(observation["ciphers"]["TLSv1.2"]) == sorted(GOOD12_RSA + GOOD12_ECDSA)
    assert sorted(observation["ciphers"]["TLSv1.3"]) == TLS13
    assert observation["cipher_order"]["TLSv1.2"] == "server"
    assert {"x25519", "secp256r1", "secp384r1"} <= set(observation["groups"])
    keys = sorted((entry["chain"][0].key.type, entry["chain"][0].key.bits) for entry in observation["certificates"])
    assert keys == [("EC", 256), ("RSA", 4096)]
    assert all(len(entry["chain"]) == 2 for entry in observation["certificates"])
    features = observation["features"]
    assert features["secure_renegotiation"] and features["extended_master_secret"]
    assert (features["client_renegotiation"], features["compression"], features["heartbeat"]) == (False, False, False)


def test_modern_hides_its_certificates_but_not_from_us(sites, trust):
    for mode in ("quick", "full"):
        observation = look(sites["modern"], trust, mode)
        ((leaf, middle),) = [entry["chain"] for entry in observation["certificates"]]
        assert leaf.dns_names == ["good.test"]
        assert middle.subject == "O=Bed, CN=middle"


def openssl_has(group):
    import subprocess

    command = [bed.program("openssl"), "list", "-tls-groups"]
    return group in subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode().split(":")


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_post_quantum(sites, trust, mode):
    if not openssl_has("X25519MLKEM768"):
        pytest.skip("this OpenSSL has no X25519MLKEM768")
    on, off = (
        _grade.grade(look(sites[name], trust, mode), groups=["x25519", "X25519MLKEM768"])
        for name in ("modern", "post-quantum off")
    )
    assert (on["post_quantum"], off["post_quantum"]) == (True, False)
    assert "tls.group.post_quantum_off" not in [finding["id"] for finding in on["findings"]]
    assert "tls.group.post_quantum_off" in [finding["id"] for finding in off["findings"]]


def test_every_group_of_the_local_openssl(pki, trust):
    """Each group that s_server can be told to use alone is found, and no other."""
    import subprocess

    command = [bed.program("openssl"), "list", "-tls-groups", "-tls1_3"]
    names = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.decode().strip().split(":")
    if len(names) < 2:
        pytest.skip("this openssl does not list its groups")
    known = {name.lower(): name for name in _prober.data.GROUP_NAMED}
    ports = bed.free_ports(len(names))
    for name, port in zip(names, ports):  # noqa: B905 - Python 3.7
        arguments = (*bed.shown("ec"), "-groups", name, "-tls1_3")
        with bed.s_server(pki.folder, port, *arguments):
            observation = look(port, trust)
        assert [group.lower() for group in observation["groups"]] == [name.lower()]
        assert name.lower() in known
        # Certificates of a server that speaks TLS 1.3 alone need a group that this code or the local library uses.
        result = _grade.grade(observation)
        assert bool(observation["certificates"]) == (result["grade"] is not None)
        if name in ("x25519", "secp256r1", "X25519MLKEM768"):
            assert result["grade"] == "A"


def test_dual_certificates_of_a_modern_server(pki, trust):
    (port,) = bed.free_ports()
    arguments = ("-cert", "ec.pem", "-key", "ec.key", "-dcert", "good.pem", "-dkey", "good.key", "-tls1_3")
    with bed.s_server(pki.folder, port, *arguments):
        observation = look(port, trust)
    assert sorted(entry["chain"][0].key.type for entry in observation["certificates"]) == ["EC", "RSA"]


OLD_GROUPS = {"secp256r1", "secp384r1", "secp521r1", "x25519", "x448"}


def test_every_group_of_a_server_with_old_protocols_alone(sites, trust):
    """TLS 1.0 has no list of what it takes, but names its curve in its parameters, as TLS 1.2 does."""
    observation = look(sites["TLS 1.0 only"], trust)
    assert sorted(observation["ciphers"]) == ["TLSv1.0"]
    assert set(observation["groups"]) >= OLD_GROUPS
    assert len(observation["groups"]) == len(set(observation["groups"]))
    # Six suites, these groups, and what everybody is asked.
    assert observation["connections"] <= 40


@pytest.mark.parametrize("protocol", ["tls1", "tls1_1", "tls1_2"])
def test_groups_of_an_old_openssl(pki, trust, protocol):
    """Just those that it is told to take, whatever the one protocol that it speaks."""
    (port,) = bed.free_ports()
    with debian_11_server(pki, port, "-" + protocol, "-curves", "P-384:X25519"):
        observation = look(port, trust)
        quick = look(port, trust, "quick")
    assert sorted(observation["groups"]) == ["secp384r1", "x25519"]
    # The quick mode does not walk; it notes what it happens to see.
    assert set(quick["groups"]) < set(observation["groups"])


@pytest.mark.parametrize("protocols", [("-tls1_2",), ("-no_tls1", "-no_tls1_1")])
@pytest.mark.parametrize("order", [(), ("-serverpref",)])
@pytest.mark.parametrize("groups", ["brainpoolP256r1:P-384:secp256k1:P-256", "X25519:brainpoolP384r1"])
def test_groups_with_an_ecdsa_certificate_alone(pki, trust, protocols, order, groups):
    """OpenSSL refuses what comes without the curve of its key, be that among its own groups or not."""
    (port,) = bed.free_ports()
    with bed.s_server(pki.folder, port, *bed.shown("ec"), *protocols, *order, "-groups", groups):
        observation = look(port, trust)
    names = {"P-256": "secp256r1", "P-384": "secp384r1", "X25519": "x25519"}
    assert sorted(observation["groups"]) == sorted(names.get(name, name) for name in groups.split(":"))


@pytest.mark.parametrize("suite", TLS13)
def test_modern_with_one_suite(pki, trust, suite):
    (port,) = bed.free_ports()
    arguments = (*bed.shown("good"), "-tls1_3", "-ciphersuites", suite)
    with bed.s_server(pki.folder, port, *arguments):
        observation = look(port, trust)
    assert observation["ciphers"] == {"TLSv1.3": [suite]}
    assert [entry["chain"][0].dns_names for entry in observation["certificates"]] == [["good.test"]]


def test_client_order_and_renegotiation(pki, trust):
    (port,) = bed.free_ports()
    with bed.s_server(pki.folder, port, *bed.shown("good"), "-client_renegotiation", "-tls1_2"):
        observation = look(port, trust)
    assert observation["cipher_order"] == {"TLSv1.2": "client"}
    assert observation["features"]["client_renegotiation"] is True
    findings = [finding["id"] for finding in _grade.grade(observation)["findings"]]
    assert "tls.renegotiation.client" in findings and "tls.cipher.client_order" in findings


def test_without_extended_master_secret_and_tickets(pki, trust):
    (port,) = bed.free_ports()
    arguments = (*bed.shown("good"), "-no_ems", "-no_ticket", "-tls1_2")
    with bed.s_server(pki.folder, port, *arguments):
        features = look(port, trust)["features"]
    assert (features["extended_master_secret"], features["session_tickets"]) == (False, False)


def test_stapled_ocsp(pki, trust):
    """openssl s_server staples a response from a file; the OCSP responder of openssl makes it."""
    pki.leaf("stapled", more="tlsfeature=status_request\n")
    with open(pki.path("index.txt"), "w") as stream:
        stream.write("")
    pki.run(
        *("ocsp", "-index", "index.txt", "-CA", "middle.pem", "-rsigner", "middle.pem", "-rkey", "middle.key"),
        *("-issuer", "middle.pem", "-cert", "stapled.pem", "-respout", "unknown.ocsp"),
    )
    import subprocess

    serial = (
        subprocess.run(
            [bed.program("openssl"), "x509", "-in", pki.path("stapled.pem"), "-noout", "-serial"],
            stdout=subprocess.PIPE,
            check=True,
        )
        .stdout.decode()
        .strip()
        .partition("=")[2]
    )
    for status, line in (
        ("good", "V\t491231235959Z\t\t{}\tunknown\t/CN=x\n"),
        ("revoked", "R\t491231235959Z\t260101000000Z\t{}\tunknown\t/CN=x\n"),
    ):
        with open(pki.path("index.txt"), "w") as stream:
            stream.write(line.format(serial))
        pki.run(
            *("ocsp", "-index", "index.txt", "-CA", "middle.pem", "-rsigner", "middle.pem", "-rkey", "middle.key"),
            *("-issuer", "middle.pem", "-cert", "stapled.pem", "-respout", status + ".ocsp"),
        )
    for version in ("-tls1_2", "-tls1_3"):
        for status, grade in (("good", "A"), ("revoked", "T"), (None, "A")):
            (port,) = bed.free_ports()
            more = ("-status_file", status + ".ocsp") if status else ()
            with bed.s_server(pki.folder, port, *bed.shown("stapled"), version, *more):
                result = _grade.grade(look(port, trust))
            assert result["certificate"]["ocsp_status"] == status
            assert result["grade"][0] == grade
            ids = [finding["id"] for finding in result["findings"]]
            assert ("tls.certificate.must_staple" in ids) == (status is None)


def test_a_missing_intermediate_or_an_unknown_root(sites, pki):
    """Without the authority's file they look alike, unless the certificate says where its issuer can be fetched.

    Where it was not, as here, whether the certificate is trusted is not known.
    """
    nobody = _prober.Trust()
    result = _grade.grade(look(sites["incomplete chain"], nobody))
    assert (result["grade"], result["grade_trust_ignored"]) == ("T", "A+")
    assert "tls.chain.incomplete" in [entry["id"] for entry in result["not_tested"]]
    pki.leaf("fetchable", more="authorityInfoAccess=caIssuers;URI:http://ca.test/ca.der\n")
    (port,) = bed.free_ports()
    with bed.s_server(pki.folder, port, "-cert", "fetchable.pem", "-key", "fetchable.key"):
        result = _grade.grade(look(port, nobody))
    assert (result["grade"], result["grade_trust_ignored"]) == (None, "B")
    # With the intermediate sent, the chain is as long as it can be.
    (port,) = bed.free_ports()
    with bed.s_server(pki.folder, port, "-cert", "fetchable.pem", "-key", "fetchable.key", "-cert_chain", "middle.pem"):
        result = _grade.grade(look(port, nobody))
    assert (result["grade"], result["grade_trust_ignored"]) == ("T", "A")


def test_an_intermediate_that_ends_first_and_one_that_is_cross_signed(pki, trust):
    """As a public authority's of 2021: the new root is trusted, and its old cross-certificate is still sent."""
    pki.leaf("brief", issuer="root", key="ec", ca=True, names=(), days=40)
    pki.leaf("underbrief", issuer="brief", key="ec")
    # The key of the intermediate, certified by another root for a time that is over.
    pki.leaf("oldroot", issuer=None, key="ec", ca=True, names=())
    shutil.copy(pki.path("middle.ext"), pki.path("cross.ext"))
    pki.run(
        *("x509", "-req", "-in", "middle.csr", "-extfile", "cross.ext", "-out", "cross.pem"),
        *("-CA", "oldroot.pem", "-CAkey", "oldroot.key"),
        *("-not_before", "20200101000000Z", "-not_after", "20210930000000Z"),
    )
    pki.leaf("crossed", key="ec")
    with open(pki.path("crossed.chain"), "a") as chain, open(pki.path("cross.pem")) as cross:
        chain.write(cross.read())
    for leaf, evidence in (
        ("underbrief", "O=Bed, CN=brief: until "),
        ("crossed", "O=Bed, CN=middle: until 2021-09-30T"),
    ):
        (port,) = bed.free_ports()
        with bed.nginx(pki.folder, [bed.nginx_site(port, [leaf])], port):
            result = _grade.grade(look(port, trust))
        found = {one["id"]: one for one in result["findings"]}
        assert result["grade"] == "A+" and found["tls.chain.ends_first"]["severity"] == "warn"
        assert found["tls.chain.ends_first"]["evidence"].startswith(evidence)


def test_chain_in_disorder(pki, trust):
    with open(pki.path("disorder.pem"), "w") as chain:
        for part in ("good", "root", "middlersa", "middle"):
            with open(pki.path(part + ".pem")) as stream:
                chain.write(stream.read())
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"]).replace("good.chain", "disorder.pem")], port):
        result = _grade.grade(look(port, trust))
    ids = [finding["id"] for finding in result["findings"]]
    assert result["grade"] == "A+"
    assert "tls.chain.order" in ids and "tls.chain.anchor" in ids


# HTTP


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("return 301 https://good.test/;", "https"),
        ("return 308 https://$host$request_uri;", "https"),
        ("return 301 https://other.test/;", "https_elsewhere"),
        ("return 301 http://good.test/x;", "http"),
        ("return 302 /webapp/;", "http"),
        ("return 200 ok;", "none"),
        ("return 404;", "none"),
        ("return 444;", "error"),
    ],
)
def test_redirect(pki, sites, trust, answer, status):
    (port,) = bed.free_ports()
    site = f"server {{ listen 127.0.0.1:{port}; location / {{ {answer} }} }}"
    with bed.nginx(pki.folder, [site], port):
        observation = look(sites["modern"], trust, "quick", http_port=port)
    assert observation["redirect"]["status"] == status
    found = "tls.http.no_redirect" in [finding["id"] for finding in _grade.grade(observation)["findings"]]
    assert found == (status in ("none", "http", "https_elsewhere"))


def test_nothing_on_the_http_port(sites, trust):
    (port,) = bed.free_ports()
    assert look(sites["modern"], trust, "quick", http_port=port)["redirect"]["status"] == "closed"


def test_without_http_there_is_no_a_plus(sites, trust):
    result = _grade.grade(look(sites["modern"], trust, http=False))
    assert (result["grade"], rules_of(result)) == ("A", ["tls.hsts.unknown"])
    untested = {entry["id"] for entry in result["not_tested"]}
    assert {"tls.hsts.absent", "tls.hsts.short", "tls.hsts.invalid", "tls.hsts.disabled"} <= untested


# Names, addresses


def test_names_choose_the_virtual_host(pki, trust):
    (port,) = bed.free_ports()
    sites = [bed.nginx_site(port, ["wrong"], names="bad.test"), bed.nginx_site(port, ["good"])]
    with bed.nginx(pki.folder, sites, port):
        for name, grade in (("good.test", "A+"), ("bad.test", "A+"), ("other.test", "M")):
            endpoint = {"host": "127.0.0.1", "address": "127.0.0.1", "port": port, "server_name": name}
            assert _grade.grade(_prober.probe(endpoint, trust=trust))["grade"] == grade
        # By its address alone there is no name to match, and the result says so.
        endpoint = {"host": "127.0.0.1", "address": "127.0.0.1", "port": port}
        result = _grade.grade(_prober.probe(endpoint, "quick", trust=trust))
        assert (result["grade"], result["named"]) == ("A+", False)
        result = _grade.grade(_prober.probe(dict(endpoint, server_name="127.0.0.1"), "quick", trust=trust))
        assert (result["grade"], result["named"]) == ("M", True)


def test_every_address_of_both_families(pki, trust, monkeypatch):
    (port,) = bed.free_ports()
    sites = [bed.nginx_site(port, ["good"], address="127.0.0.1"), bed.nginx_site(port, ["wrong"], address="[::1]")]
    import socket

    def look_up(host, wanted, **_options):
        assert (host, wanted) == ("good.test", port)
        found = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
        return [(family, socket.SOCK_STREAM, 6, "", (address, wanted)) for family, address in found]

    with bed.nginx(pki.folder, sites, port):
        monkeypatch.setattr("socket.getaddrinfo", look_up)
        endpoints = [{"host": "good.test", "port": port}]
        # create_connection looks addresses up as well.
        monkeypatch.setattr("socket.create_connection", _connect)
        seen = [_grade.grade(one) for one in _prober.probe_all(endpoints, "quick", trust=trust)]
    assert [(one["address"], one["grade"]) for one in seen] == [("127.0.0.1", "A+"), ("::1", "M")]


def _connect(address, timeout):
    import socket

    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.settimeout(timeout)
    sock.connect(address)
    return sock


# Apache


APACHE_HSTS = 'Header always set Strict-Transport-Security "max-age=31536000"'
CHECKLIST = "SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1\nSSLHonorCipherOrder on\nSSLCompression off"
# name: (directives, grade, trust ignored, rules that hold)
APACHE = {
    "the checklist": ((CHECKLIST, APACHE_HSTS), "A+", "A+", ()),
    "the checklist without HSTS": ((CHECKLIST,), "A", "A", ("tls.hsts.absent",)),
    "modern": (("SSLProtocol -all +TLSv1.3", APACHE_HSTS), "A+", "A+", ()),
    "TLS 1.2 only": (("SSLProtocol -all +TLSv1.2", APACHE_HSTS), "A-", "A-", ("tls.protocol.no_tls13",)),
    # The tables for all and for successful answers are added up.
    "HSTS from two places": (
        (CHECKLIST, APACHE_HSTS, APACHE_HSTS.replace("always ", "")),
        "A-",
        "A-",
        ("tls.hsts.invalid",),
    ),
    "TLS 1.0 too": (
        ("SSLProtocol all", "SSLCipherSuite ALL:@SECLEVEL=0", APACHE_HSTS),
        "B",
        "B",
        ("tls.protocol.tls10", "tls.protocol.tls11"),
    ),
}


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("name", list(APACHE))
def test_apache(pki, trust, name, mode):
    directives, grade, ignored, rules = APACHE[name]
    (port,) = bed.free_ports()
    identity = f"SSLCertificateFile {pki.path('good.chain')}", f"SSLCertificateKeyFile {pki.path('good.key')}"
    with bed.apache(pki.folder, port, "\n".join((*identity, *directives))):
        observation = look(port, trust, mode)
    result = _grade.grade(observation)
    assert (result["error"], observation["unclear"]) == (None, [])
    assert (result["grade"], result["grade_trust_ignored"], rules_of(result)) == (grade, ignored, sorted(rules))
    if name == "the checklist":
        # RSA key exchange and CBC are accepted, so that what attacks on them need is tried, without exploit traffic.
        assert observation["oracles"] == {"rsa": False, "cbc": False}
        untested = {entry["id"] for entry in result["not_tested"] if entry["id"].startswith("tls.attack.")}
        assert untested == {"tls.attack.debian_weak_key"}
        assert result["features"]["client_renegotiation"] is {"quick": None, "full": False}[mode]
        assert result["cipher_order"] == {"quick": {}, "full": {"TLSv1.2": "server", "TLSv1.3": "server"}}[mode]


# What no server at hand does


def test_compression_and_no_secure_renegotiation(trust):
    """A recorded answer, changed: DEFLATE chosen, extensions left out."""
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

    from . import tls_peers
    from .tls_recorded import RECORDED

    hello, *rest = wire.RecordStream().feed(RECORDED["tls12"])
    seen = wire.read_server_hello(hello.body)
    body = b"\x03\x03" + seen.random + b"\0" + seen.suite.to_bytes(2, "big") + b"\x01"
    answer = b"".join(wire.record(22, 0x0303, raw) for raw in (wire.message(2, body), *(one.raw for one in rest)))

    def handle(sock, _over):
        offered = sock.recv(65536)
        # To those who offer this suite and DEFLATE, in TLS 1.2.
        fits = offered[9:11] == b"\x03\x03" and seen.suite.to_bytes(2, "big") in offered and b"\x02\x01\x00" in offered
        sock.sendall(answer if fits else b"\x15\x03\x03\x00\x02\x02\x28")

    with tls_peers.serving(handle) as port:
        observation = look(port, trust, "quick", http=False)
    assert (observation["features"]["compression"], observation["features"]["secure_renegotiation"]) == (True, False)
    result = _grade.grade(observation)
    assert {"tls.compression", "tls.renegotiation.unsupported"} <= set(rules_of(result))
    assert result["grade_trust_ignored"] == "C"
    assert "tls.renegotiation.insecure" in [entry["id"] for entry in result["not_tested"]]


# STARTTLS and other protocols


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])
@pytest.mark.parametrize("mode", ["quick", "full"])
def test_starttls(pki, sites, trust, protocol, mode):
    from . import tls_peers

    with tls_peers.starttls(protocol, sites["modern"]) as port:
        endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port, "starttls": protocol}
        result = _grade.grade(_prober.probe(endpoint, mode, trust=trust))
    assert (result["error"], result["grade"]) == (None, "A+")
    assert result["hsts"]["status"] == "not_applicable"
    assert result["protocols"] == ["TLSv1.3"]


CLEAR = "tls.starttls.clear_login"


@pytest.mark.parametrize(
    ("protocol", "capabilities", "ways"),
    [
        # As Dovecot, Postfix and kopano-gateway send them.
        ("imap", b"* CAPABILITY IMAP4rev1 LOGIN-REFERRALS ID STARTTLS LOGINDISABLED\r\na OK done\r\n", []),
        ("imap", b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\na OK done\r\n", ["LOGIN", "AUTH=PLAIN"]),
        ("imap", b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK done\r\n", ["LOGIN"]),
        (
            "imap",
            b"* OK other\r\n* capability imap4rev1 logindisabled auth=cram-md5\r\nA OK done\r\n",
            ["AUTH=CRAM-MD5"],
        ),
        ("pop3", b"+OK\r\nCAPA\r\nTOP\r\nSTLS\r\nSASL\r\n.\r\n", []),
        ("pop3", b"+OK\r\nSTLS\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n", ["USER", "SASL PLAIN", "SASL LOGIN"]),
        ("smtp", b"250-bed.test\r\n250-SIZE\r\n250 STARTTLS\r\n", []),
        ("smtp", b"250-bed.test\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n250-STARTTLS\r\n250 DSN\r\n",
         ["AUTH PLAIN", "AUTH LOGIN"]),
        # What is no mechanism is not shown.
        ("smtp", b"250-AUTH PLAIN \x1b[31m \xff\r\n250 STARTTLS\r\n", ["AUTH PLAIN"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_mail_server_that_lets_clients_log_in_before_starttls(sites, trust, protocol, capabilities, ways, mode):
    from . import tls_peers

    received: list[bytes] = []
    with tls_peers.mail(protocol, sites["modern"], capabilities, received) as port:
        endpoint = {"host": "good.test", "address": "127.0.0.2", "port": port, "starttls": protocol}
        result = _grade.grade(_prober.probe(endpoint, mode, trust=trust))
    assert (result["error"], result["grade"], result["clear_login"]) == (None, "A+", ways)
    found = [one for one in result["findings"] if one["id"] == CLEAR]
    assert [(one["evidence"], one["severity"]) for one in found] == ([(", ".join(ways), "warn")] if ways else [])
    assert CLEAR not in [one["id"] for one in result["not_tested"]]
    # Nothing is tried, and the session ends in good order.
    harmless = {b"a STARTTLS", b"a CAPABILITY", b"b LOGOUT", b"STLS", b"CAPA", b"QUIT", b"STARTTLS"}
    assert set(received) <= {*harmless, b"EHLO probe.invalid"}
    # The server reads the end of the last session in its own time.
    end = time.monotonic() + HANGS
    while not {b"b LOGOUT", b"QUIT"} & set(received) and time.monotonic() < end:
        time.sleep(0.02)
    assert {b"b LOGOUT", b"QUIT"} & set(received)


@pytest.mark.parametrize(
    ("protocol", "capabilities", "reason"),
    [
        ("imap", b"a BAD what\r\n", "its capabilities are not known: a BAD what"),
        ("pop3", b"-ERR what\r\n", "its capabilities are not known: -ERR what"),
        ("imap", b"* BYE now\r\n", "its capabilities are not known: * BYE now"),
        ("imap", b"* CAPABILITY AUTH=PLAIN\r\n", "its capabilities are not known: "),
        # Agreement without any of them is not that there is no way.
        ("imap", b"a OK done\r\n", "its capabilities are not known: it sends none"),
        ("imap", b"*  CAPABILITY AUTH=PLAIN\r\na OK done\r\n", "its capabilities are not known: it sends none"),
        ("pop3", b"-ERR \x1b[31m\r\n", "its capabilities are not known: -ERR \\x1b[31m"),
    ],
)
def test_a_mail_server_that_does_not_tell_how_clients_can_log_in(sites, trust, protocol, capabilities, reason):
    from . import tls_peers

    with tls_peers.mail(protocol, sites["modern"], capabilities, []) as port:
        endpoint = {"host": "good.test", "address": "127.0.0.2", "port": port, "starttls": protocol}
        result = _grade.grade(_prober.probe(endpoint, "quick", 4.0, trust=trust))
    assert (result["grade"], result["clear_login"]) == ("A+", None)
    (untested,) = [one["reason"] for one in result["not_tested"] if one["id"] == CLEAR]
    assert untested.startswith(reason)
    assert CLEAR not in [one["id"] for one in result["findings"]]


@pytest.mark.parametrize(("protocol", "known"), [("imap", False), ("pop3", False), ("smtp", True)])
def test_what_servers_permit_to_their_own_host_is_not_what_others_get(sites, trust, protocol, known):
    from . import tls_peers

    lines = {
        "imap": b"* CAPABILITY STARTTLS AUTH=PLAIN\r\na OK\r\n",
        "pop3": b"+OK\r\nUSER\r\n.\r\n",
        "smtp": b"250-STARTTLS\r\n250 AUTH PLAIN\r\n",
    }
    with tls_peers.mail(protocol, sites["modern"], lines[protocol], [], "127.0.0.1") as port:
        endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port, "starttls": protocol}
        result = _grade.grade(_prober.probe(endpoint, "quick", trust=trust))
    assert (result["clear_login"] is not None) == known
    assert (CLEAR in [one["id"] for one in result["findings"]]) == known
    assert any("own host" in one["reason"] for one in result["not_tested"] if one["id"] == CLEAR) != known


# Old OpenSSL

TO_12 = ("tls.protocol.tls10", "tls.protocol.tls11", "tls.protocol.no_tls13")
SSL3 = ("tls.protocol.sslv3", "tls.protocol.poodle", "tls.cipher.no_aead", "tls.cipher.no_forward_secrecy")
RC4 = ("tls.cipher.rc4", "tls.cipher.rc4_modern")
ECDHE_GCM = "ECDHE-RSA-AES128-GCM-SHA256"
# node 4.9.1 has OpenSSL 1.0.2o; 0.10.28 has 1.0.1g, and no ephemeral keys by default.
OLD = {
    "RC4 only": ("4.9.1", "RC4-SHA:ECDHE-RSA-RC4-SHA", {}, "F", (*TO_12, *RC4, "tls.cipher.rc4_only", *SSL3[2:])),
    "RC4 first": ("4.9.1", "ECDHE-RSA-RC4-SHA:" + ECDHE_GCM, {}, "C", (*TO_12, *RC4)),
    "RC4 last": ("4.9.1", ECDHE_GCM + ":ECDHE-RSA-AES128-SHA:ECDHE-RSA-RC4-SHA", {}, "B", (*TO_12, RC4[0])),
    "3DES only": ("4.9.1", "DES-CBC3-SHA", {}, "C", (*TO_12, "tls.cipher.block64_modern", *SSL3[2:])),
    "3DES last": ("4.9.1", ECDHE_GCM + ":ECDHE-RSA-AES128-SHA:DES-CBC3-SHA", {}, "B", TO_12),
    "TLS 1.0 only, old": (
        "4.9.1",
        "ECDHE-RSA-AES128-SHA",
        {"secureProtocol": "TLSv1_method"},
        "C",
        ("tls.protocol.tls10", "tls.protocol.no_tls13", "tls.protocol.no_tls12", "tls.cipher.no_aead"),
    ),
    "anonymous": ("4.9.1", ECDHE_GCM + ":AECDH-AES128-SHA", {}, "F", (*TO_12, "tls.cipher.anonymous")),
    # Without suites for SSL 2.0, this OpenSSL greets in it all the same.
    "SSL 3.0 too": ("0.10.28", "AES128-SHA", {}, "C", (*TO_12, *SSL3, "tls.probe.unclear")),
    "SSL 3.0 only": (
        "0.10.28",
        "AES128-SHA",
        {"secureProtocol": "SSLv3_method"},
        "F",
        (*SSL3, "tls.protocol.no_tls13", "tls.protocol.no_tls12", "tls.protocol.sslv3_best"),
    ),
    "SSL 2.0 too": (
        "0.10.28",
        "AES128-SHA:DES-CBC3-MD5",
        {},
        "F",
        (*TO_12, *SSL3, "tls.protocol.sslv2"),
    ),
    "single DES": (
        "0.10.28",
        "AES128-SHA:DES-CBC-SHA",
        {},
        "F",
        (*TO_12, *SSL3, "tls.cipher.weak", "tls.probe.unclear"),
    ),
}


def old_server(pki, port, name):
    """The server of OLD with this name."""
    version, ciphers, options, *_expected = OLD[name]
    pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    options = dict(options, ciphers=ciphers, honorCipherOrder=True, key=pki.path("traditional.key"))
    return bed.node(pki.folder, port, version, cert=pki.path("good.chain"), **options)


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("name", list(OLD))
def test_old_openssl(pki, trust, name, mode):
    *_options, grade, rules = OLD[name]
    (port,) = bed.free_ports()
    with old_server(pki, port, name):
        result = _grade.grade(look(port, trust, mode))
    # Whether the local library can still speak to it, to read HSTS, is another matter.
    assert [rule for rule in rules_of(result) if rule != "tls.hsts.unknown"] == sorted(rules)
    assert (result["grade"], result["grade_trust_ignored"]) == (grade, grade)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_server_that_closes_on_whatever_it_refuses_and_has_rc4_alone(pki, trust, mode):
    """Every usual hello is lost, and what is offered first is what no such server has."""
    pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    (port,) = bed.free_ports()
    options = {"key": pki.path("traditional.key"), "cert": pki.path("good.chain"), "ciphers": "RC4-SHA"}
    with bed.node(pki.folder, port, "0.10.28", **options):
        result = _grade.grade(look(port, trust, mode))
    assert (result["error"], result["grade"]) == (None, "F")
    assert result["protocols"] == ["SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2"]
    assert "tls.cipher.rc4_only" in rules_of(result)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_greeting_in_ssl2_is_no_refusal(pki, trust, mode):
    (port,) = bed.free_ports()
    with old_server(pki, port, "SSL 3.0 too"):
        observation = look(port, trust, mode)
    assert observation["protocols"]["SSLv2"] is None
    assert observation["unclear"] == [{"query": "SSLv2", "result": "it greets in SSL 2.0 but names no suite"}]
    result = _grade.grade(observation)
    assert "SSLv2" not in result["protocols"]
    assert "tls.protocol.sslv2" in [entry["id"] for entry in result["not_tested"]]


def debian_11_server(pki, port, *more):
    """OpenSSL 1.1.1 with TLS 1.0 to 1.3 and its default suites."""
    folder = bed.oracle("openssl-1.1.1")
    env = {"LD_LIBRARY_PATH": f"{folder}/usr/lib/x86_64-linux-gnu", "OPENSSL_CONF": "/dev/null"}
    arguments = (*bed.shown("good"), "-cipher", "DEFAULT:@SECLEVEL=0", *more)
    return bed.s_server(pki.folder, port, *arguments, openssl=f"{folder}/usr/bin/openssl", env=env)


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_debian_11(pki, trust, mode):
    (port,) = bed.free_ports()
    with debian_11_server(pki, port):
        result = _grade.grade(look(port, trust, mode))
    assert result["protocols"] == ["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
    assert (result["grade"], rules_of(result)) == (
        "B",
        ["tls.hsts.absent", "tls.protocol.tls10", "tls.protocol.tls11"],
    )
