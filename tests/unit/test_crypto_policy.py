# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Red Hat's system-wide crypto policies and FIPS mode: what they mean for a web server's TLS is read, not guessed."""

from __future__ import annotations

import glob
import json
import os
import ssl
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy
from ansible_collections.kopano.hardening.plugins.module_utils._host.crypto_policy import CryptoPolicy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import findings as _webserver_findings
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger

from . import web_bed

RECORDED = Path(__file__).parent / "recorded" / "crypto_policies"
POLICIES = ("DEFAULT", "LEGACY", "FUTURE", "FIPS")
PROFILE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


def system(root: Path, name: str = "DEFAULT", **texts: str) -> Path:
    """A host's files of a policy."""
    folder = root / "etc" / "crypto-policies"
    (folder / "state").mkdir(parents=True)
    (folder / "back-ends").mkdir()
    settings = RECORDED / f"{name.partition(':')[0]}.config"
    files = {
        "config": "# comment\n\nFUTURE\n",
        "state/current": f"{name}\n",
        "back-ends/opensslcnf.config": settings.read_text(),
        **texts,
    }
    for path, text in files.items():
        (folder / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "oldest"), [("DEFAULT", "TLSv1.2"), ("LEGACY", "TLSv1.0"), ("FUTURE", "TLSv1.2"), ("FIPS:OSPP", "TLSv1.2")]
)
def test_the_policy_is_the_one_that_was_applied_last(tmp_path: Path, name: str, oldest: str) -> None:
    found = _crypto_policy.read(str(system(tmp_path, name)))
    assert found and (found.name, found.oldest) == (name, oldest)
    text = (tmp_path / _crypto_policy.SETTINGS.lstrip("/")).read_text().splitlines()
    assert text[found.line - 1].startswith("TLS.MinProtocol")


def test_a_policy_of_before_red_hat_8_5_names_its_oldest_protocol_without_a_prefix(tmp_path: Path) -> None:
    settings = "CipherString = @SECLEVEL=2:kEECDH\nMinProtocol = TLSv1.2\nMaxProtocol = TLSv1.3\n"
    found = _crypto_policy.read(str(system(tmp_path, **{"back-ends/opensslcnf.config": settings})))
    assert found == CryptoPolicy("DEFAULT", "TLSv1.2", 2)


def test_the_line_is_the_one_that_openssl_counts(tmp_path: Path) -> None:
    settings = "# a page\f# by hand\x85\nMinProtocol = TLSv1.2\n"
    found = _crypto_policy.read(str(system(tmp_path, **{"back-ends/opensslcnf.config": settings})))
    assert found == CryptoPolicy("DEFAULT", "TLSv1.2", 2)


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert _crypto_policy.read(str(tmp_path)) is None and not _crypto_policy.is_fips(str(tmp_path))
    nameless = system(
        tmp_path, config="#\n", **{"state/current": "", "back-ends/opensslcnf.config": "Groups = X25519\n"}
    )
    assert _crypto_policy.read(str(nameless)) == CryptoPolicy("", None, 1)


@pytest.mark.parametrize(("text", "fips"), [("1\n", True), ("0\n", False)])
def test_the_kernel_says_whether_it_demands_fips_mode(tmp_path: Path, text: str, fips: bool) -> None:
    (tmp_path / "proc" / "sys" / "crypto").mkdir(parents=True)
    (tmp_path / "proc" / "sys" / "crypto" / "fips_enabled").write_text(text)
    assert _crypto_policy.is_fips(str(tmp_path)) is fips


# --- PROFILE=SYSTEM in a server's configuration -----------------------------------------------------------------------


@pytest.fixture(params=[None, *POLICIES])
def profile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str | None]:
    """An OpenSSL that replaces PROFILE=SYSTEM by a policy's cipher string, as Red Hat's does; None: this one, which
    refuses it."""
    name: str | None = request.param
    if name is not None:
        line = next(item for item in (RECORDED / f"{name}.config").read_text().splitlines() if "CipherString" in item)
        cipher_string = line.partition(" = ")[2]

        class Patched(ssl.SSLContext):
            def set_ciphers(self, text: str, /) -> None:
                super().set_ciphers(text.replace(_crypto_policy.SYSTEM, cipher_string))

        names = {**vars(ssl), "SSLContext": Patched}
        monkeypatch.setattr(_stronger, "ssl", types.SimpleNamespace(**names))
    _stronger.suites_of.cache_clear()
    yield name
    _stronger.suites_of.cache_clear()


def test_the_systems_cipher_string_is_what_the_hosts_openssl_makes_of_it(profile: str | None) -> None:
    found = set(_stronger.suites_of("PROFILE=SYSTEM"))
    alone = {"ECDHE-RSA-AES256-GCM-SHA384"}
    added = set(_stronger.suites_of("PROFILE=SYSTEM:-ALL:ECDHE-RSA-AES256-GCM-SHA384"))
    if profile is None:
        # This OpenSSL would take the second one as a list of one suite.
        assert found == added == set()
    else:
        assert {"ECDHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"} <= found and added == alone
        assert ("AES128-SHA" in found) is (profile in ("DEFAULT", "LEGACY"))


def host(server: str, folder: Path, text: str) -> tuple[t.Any, t.Any, dict[str, str]]:
    """The configuration of a Red Hat host with one virtual host, its layout and the policy's files."""
    layout = web_bed.layout(server, folder, "redhat")
    snippet = folder / "kopano-hardening" / "tls.conf"
    snippet.parent.mkdir()
    if server == "apache":
        snippet.write_text(f"SSLProtocol -all +TLSv1.2 +TLSv1.3\nSSLCipherSuite {PROFILE}\n")
        load: t.Any = _apache.load
    else:
        snippet.write_text(f"ssl_protocols TLSv1.2 TLSv1.3;\nssl_ciphers {PROFILE};\n")
        load = _nginx.load
    (folder / f"{server}.conf").write_text(text)
    return load(layout), layout, {"tls": str(snippet)}


APACHE = """
LoadModule ssl_module modules/mod_ssl.so
Listen 443 https
<VirtualHost _default_:443>
SSLEngine on
%s
SSLCertificateFile /etc/pki/tls/certs/localhost.crt
</VirtualHost>
"""
NGINX = """
events { }
http {
    server {
        listen 443 ssl;
        %s
    }
}
"""
OWN = {
    "apache": (APACHE, "SSLCipherSuite PROFILE=SYSTEM\nSSLProxyCipherSuite PROFILE=SYSTEM"),
    "nginx": (NGINX, "ssl_ciphers PROFILE=SYSTEM;"),
}


@pytest.mark.parametrize("server", OWN)
def test_the_policys_list_replaces_that_of_the_system_without_what_the_system_rules_out(
    tmp_path: Path, server: str, profile: str | None
) -> None:
    text, line = OWN[server]
    config, layout, policy = host(server, tmp_path, text % line)
    adopted = _adopt.adopt(config, layout, policy, None, CryptoPolicy(profile or "", "TLSv1.2", 3))
    changed = adopted.texts[str(tmp_path / f"{server}.conf")]
    directive = line.splitlines()[0]
    assert f"# kopano.hardening off: {directive}" in changed
    assert line.splitlines()[1:] == [item for item in changed.splitlines() if item.startswith("SSLProxy")]
    kept = {entry["item"]: entry["value"].split() for entry in adopted.kept}
    lacks = {"FUTURE": "AES128", "FIPS": "CHACHA20"}.get(profile or "")
    if lacks is None:
        assert kept == {}
    else:
        assert kept == {"ciphers": [name for name in PROFILE.split(":") if lacks not in name]}
        assert ":".join(kept["ciphers"]) in changed


@pytest.mark.parametrize(
    ("server", "own", "oldest", "kept"),
    [
        ("apache", "", "TLSv1.3", ["TLSv1.3"]),
        ("apache", "", "TLSv1.2", None),
        ("apache", "", "TLSv1.0", None),
        ("apache", "", None, None),
        ("apache", "SSLProtocol all -SSLv3", "TLSv1.3", None),
        # It has a default of its own, and sets that.
        ("nginx", "", "TLSv1.3", None),
    ],
)
def test_protocols_that_the_server_leaves_to_the_system_are_not_weakened(
    tmp_path: Path, server: str, own: str, oldest: str | None, kept: list[str] | None
) -> None:
    config, layout, policy = host(server, tmp_path, OWN[server][0] % own)
    adopted = _adopt.adopt(config, layout, policy, None, CryptoPolicy("DEFAULT:X", oldest, 3))
    found = [entry for entry in adopted.kept if entry["item"] == "protocols"]
    assert [entry["value"].split() for entry in found] == ([kept] if kept else [])
    if kept:
        assert (found[0]["file"], found[0]["line"]) == (_crypto_policy.SETTINGS, 3)
        assert "SSLProtocol -all +TLSv1.3" in adopted.texts[str(tmp_path / "apache.conf")]
        replacing = _adopt.adopt(
            config, layout, {**policy, "replace_stronger": ["tls"]}, None, CryptoPolicy("", oldest, 3)
        )
        assert replacing.kept == []


# --- findings ---------------------------------------------------------------------------------------------------------


def findings(config: t.Any, layout: t.Any, policy: CryptoPolicy | None) -> dict[str, str]:
    return {item["id"]: item["evidence"] for item in _webserver_findings.of(config, layout, policy)}


@pytest.mark.parametrize("server", OWN)
def test_a_finding_names_the_policy_and_where_it_counts(tmp_path: Path, server: str) -> None:
    text, line = OWN[server]
    config, layout, _policy = host(server, tmp_path, text % line)
    number = (text % line).splitlines().index(next(row for row in (text % line).splitlines() if "PROFILE" in row)) + 1
    place = f"{tmp_path}/{server}.conf:{number}"
    found = findings(config, layout, CryptoPolicy("DEFAULT", "TLSv1.2", 3))
    assert found["frontend.crypto_policy"] == f"DEFAULT; it allows TLSv1.2 and newer; its suites are used at {place}"
    assert "frontend.tls.old_protocol" not in found
    unknown = findings(config, layout, None)["frontend.crypto_policy"]
    assert unknown.startswith("its name is not known; which protocols it allows is not known; its suites are used at ")


def test_legacy_is_named_as_weaker_and_its_old_protocols_are_a_finding(tmp_path: Path) -> None:
    config, layout, _policy = host("apache", tmp_path, APACHE % "SSLCipherSuite PROFILE=SYSTEM")
    found = findings(config, layout, CryptoPolicy("LEGACY:AD-SUPPORT", "TLSv1.0", 3))
    assert "LEGACY:AD-SUPPORT; weaker than DEFAULT; it allows TLSv1.0 and newer" in found["frontend.crypto_policy"]
    assert found["frontend.tls.old_protocol"] == "MinProtocol is TLSv1.0, and no SSLProtocol replaces it"


def test_a_hardened_virtual_host_has_a_list_of_its_own(tmp_path: Path) -> None:
    config, layout, _policy = host("apache", tmp_path, APACHE % f"Include {tmp_path}/kopano-hardening/tls.conf")
    evidence = findings(config, layout, CryptoPolicy("LEGACY", "TLSv1.0", 3))
    assert evidence["frontend.crypto_policy"].endswith("virtual hosts with TLS that override its suites: 1")
    assert "frontend.tls.old_protocol" not in evidence
    debian = layout._replace(family="debian")
    assert "frontend.crypto_policy" not in findings(config, debian, CryptoPolicy("DEFAULT", "TLSv1.2", 3))
    assert "frontend.crypto_policy" not in findings(config, layout, None)


# --- FIPS mode --------------------------------------------------------------------------------------------------------

# Debian's package openssl-provider-fips; KOPANO_FIPS_PROVIDER names another place of the file.
PLACES = [os.environ.get("KOPANO_FIPS_PROVIDER", ""), *glob.glob("/usr/lib/*/ossl-modules/fips.so")]
PROVIDER = Path(next(filter(os.path.exists, PLACES), "/none"))
needs_provider = pytest.mark.skipif(not PROVIDER.exists(), reason="OpenSSL's FIPS provider is not installed")
CONFIGURATION = """
config_diagnostics = 1
openssl_conf = openssl_init
.include {folder}/fipsmodule.cnf
[openssl_init]
providers = provider_sect
alg_section = algorithm_sect
[provider_sect]
fips = fips_sect
base = base_sect
[base_sect]
activate = 1
[algorithm_sect]
default_properties = fips=yes
"""
PROGRAM = """
import json
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info, openssl
print(json.dumps(info._openssl_info(openssl.for_binary("/usr/bin/openssl"))))
"""


@pytest.fixture
def fips(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that may use what FIPS permits."""
    made = web_bed.run("openssl", "fipsinstall", "-module", str(PROVIDER), "-out", str(tmp_path / "fipsmodule.cnf"))
    assert made.returncode == 0, made.stderr
    (tmp_path / "openssl.cnf").write_text(CONFIGURATION.format(folder=tmp_path))
    return {"OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "OPENSSL_MODULES": str(PROVIDER.parent)}


def openssl_of_host(environment: dict[str, str]) -> dict[str, t.Any]:
    """What frontend_info returns of it in a process with that environment."""
    more = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **more, **environment}, capture_output=True, check=True
    )
    found: dict[str, t.Any] = json.loads(done.stdout)
    return found


@needs_provider
def test_in_fips_mode_the_hosts_openssl_has_no_x25519_and_no_chacha20(fips: dict[str, str]) -> None:
    found, usual = openssl_of_host(fips), openssl_of_host({"OPENSSL_CONF": "/dev/null"})
    lost = {*usual["groups"], *usual["cipher_suites"]} - {*found["groups"], *found["cipher_suites"]}
    assert lost == {
        "x25519",
        "x448",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
    assert {"secp256r1", "secp384r1"} <= {*found["groups"]} and "TLS_AES_256_GCM_SHA384" in found["cipher_suites"]


@needs_provider
@web_bed.needs_nginx
def test_a_server_in_fips_mode_takes_the_policy_that_is_made_for_it(tmp_path: Path, fips: dict[str, str]) -> None:
    from . import role_frontend

    def policy(openssl: dict[str, t.Any]) -> dict[str, t.Any]:
        found = role_frontend.host("nginx", "redhat", openssl=openssl)
        found["vhosts"] = [role_frontend.vhost("nginx")]
        tls: dict[str, t.Any] = role_frontend.plan(found)["tls"]
        return tls

    def refused(tls: dict[str, t.Any]) -> str:
        certificate, key = web_bed.make_certificate(tmp_path)
        lines = [f"ssl_certificate {certificate};", f"ssl_certificate_key {key};"]
        lines += [f"ssl_ciphers {tls['ciphers']['value']};", f"ssl_ecdh_curve {tls['groups']['value']};"]
        block = "server {{ listen 127.0.0.1:8443 ssl; {} }}".format(" ".join(lines))
        text = web_bed.nginx_head(tmp_path) + f"http {{ {web_bed.nginx_http(tmp_path)} {block} }}\n"
        (tmp_path / "nginx.conf").write_text(text)
        command = ("env", *(f"{name}={value}" for name, value in fips.items()), web_bed.NGINX, "-t")
        done = web_bed.run(*command, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "start.log"))
        return done.stderr if done.returncode else ""

    made_for_it = policy(openssl_of_host(fips))
    assert refused(made_for_it) == ""
    assert not {"X25519", "X448"} & {*made_for_it["groups"]["value"].split(":")}
    assert "CHACHA20" not in made_for_it["ciphers"]["value"]
    assert "X25519" in refused(policy(openssl_of_host({"OPENSSL_CONF": "/dev/null"})))


@pytest.mark.parametrize(
    ("kernel", "policy", "evidence"),
    [
        (True, None, "fips_enabled is 1; not available: "),
        (True, "FIPS", "fips_enabled is 1; the system-wide crypto policy is FIPS; not available: "),
        (False, "FIPS:OSPP", "the system-wide crypto policy is FIPS:OSPP; not available: "),
    ],
)
def test_the_finding_names_what_fips_mode_leaves_out(kernel: bool, policy: str | None, evidence: str) -> None:
    suites = [
        name
        for name in (*_webserver_info._openssl.SUITES13, *_webserver_info._openssl.SUITES)
        if "CHACHA20" not in name
    ]
    groups = [name for name in _webserver_info._openssl.GROUPS if name not in ("x25519", "x448")]
    server: t.Any = {"server": "apache", "openssl": {"groups": groups, "cipher_suites": suites}}
    os_info: t.Any = {"fips": kernel, "crypto_policy": policy}
    found = _webserver_info._fips(server, os_info)
    assert (found["id"], found["severity"]) == ("frontend.fips", "info")
    assert found["evidence"] == evidence + (
        "x25519, x448, TLS_CHACHA20_POLY1305_SHA256, "
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    )
