# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers and the grades that the rating guide 2009r gives them.

The expectations were written down from the guide before the prober saw the servers: for each the grade, the grade with
trust ignored, and every rule that holds. `bed.pem` is the given authority.
"""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _tls_grade, _tls_prober

from . import tls_bed as bed

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
    return _tls_prober.Trust(pki.path("root.pem"))


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
    return _tls_prober.observe(endpoint, mode, trust=trust, **options)


def rules_of(result):
    return sorted(entry["id"] for entry in result["caps"] + result["warnings"])


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("name", list(NGINX))
def test_nginx(sites, trust, name, mode):
    _options, grade, ignored, rules = NGINX[name]
    observation = look(sites[name], trust, mode)
    result = _tls_grade.grade(observation)
    assert result["error"] is None
    assert observation["unclear"] == []
    assert (result["grade"], result["grade_trust_ignored"], rules_of(result)) == (grade, ignored, sorted(rules))
