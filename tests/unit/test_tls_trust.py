# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real servers whose certificates, paths and stapled responses are good, bad, or hard to come by."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import os
import sys
import threading

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as _constants
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

from . import tls_bed as bed
from . import tls_trust_cases as cases

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed here")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.x509 import ocsp  # noqa: E402

pytestmark = pytest.mark.slow


class Files(http.server.BaseHTTPRequestHandler):
    """Serves what there is in FOLDER, and redirects or goes on for ever where that is asked for."""

    FOLDER = ""

    def do_GET(self):
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/middle.der")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.path == "/endless":
                while True:
                    self.wfile.write(bytes(65536))
            with open(os.path.join(self.FOLDER, self.path.strip("/")), "rb") as stream:
                self.wfile.write(stream.read())

    def log_message(self, *_words):
        pass


@contextlib.contextmanager
def files(folder):
    handler = type("Handler", (Files,), {"FOLDER": str(folder)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def again(pki, name, issuer, made, digest="sha256"):
    """Another certificate for the key and the name of one that is there."""
    sign = ("-CA", issuer + ".pem", "-CAkey", issuer + ".key")
    extensions = ("-extfile", name + ".ext", "-" + digest, "-days", "90")
    pki.run("x509", "-req", "-in", name + ".csr", *extensions, *sign, "-out", made + ".pem")


def join(pki, made, *names):
    with open(pki.path(made), "w") as chain:
        for name in names:
            with open(pki.path(name + ".pem")) as stream:
                chain.write(stream.read())


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("trust"))
    made.leaf("ec", key="ec")
    made.leaf("good")
    made.leaf("selfsigned", issuer=None)
    made.leaf("expired", start=-90, days=89)
    made.leaf("wrong", names=("bad.test",))
    made.leaf("wrongpss", key="pss", names=("bad.test",))
    made.leaf("wronged", key="ed25519", names=("bad.test",))
    made.leaf("client", more="extendedKeyUsage=clientAuth\n")
    made.leaf("narrow", issuer="root", key="ec", ca=True, names=(), more="nameConstraints=permitted;DNS:other.test\n")
    made.leaf("bounded", issuer="narrow")
    # Paths: an older root that once vouched for today's, and a twin of the intermediate.
    made.leaf("oldroot", issuer=None, key="rsa", ca=True, names=())
    again(made, "root", "oldroot", "cross", "sha1")
    again(made, "middle", "root", "middlesha1", "sha1")
    join(made, "crossed.pem", "good", "middle", "cross")
    join(made, "twice.pem", "good", "middlesha1", "middle")
    join(made, "weak.pem", "good", "middlesha1")
    # Addresses of issuers.
    made.run("x509", "-in", "middle.pem", "-outform", "DER", "-out", "middle.der")
    made.run("x509", "-in", "oldroot.pem", "-outform", "DER", "-out", "oldroot.der")
    made.run("crl2pkcs7", "-nocrl", "-certfile", "middle.pem", "-outform", "DER", "-out", "middle.p7c")
    staples(made)
    with files(made.folder) as port:
        (closed,) = bed.free_ports()
        for name, url in (
            ("fetchable", f"http://127.0.0.1:{port}/middle.der"),
            ("packed", f"http://127.0.0.1:{port}/middle.p7c"),
            ("misled", f"http://127.0.0.1:{port}/oldroot.der"),
            ("dead", f"http://127.0.0.1:{closed}/middle.der"),
            ("inside", "http://192.168.7.7/middle.der"),
        ):
            made.leaf(name, more=f"authorityInfoAccess=caIssuers;URI:{url}\n")
        yield made


def load(pki, name):
    with open(pki.path(name + ".pem"), "rb") as stream:
        return x509.load_pem_x509_certificate(stream.read())


def key_of(pki, name):
    with open(pki.path(name + ".key"), "rb") as stream:
        return serialization.load_pem_private_key(stream.read(), None)


def staples(pki):
    """Every stapled response that the cases name."""
    pki.leaf("delegate", key="ec", names=(), more="extendedKeyUsage=OCSPSigning\n")
    pki.leaf("usurper", key="ec", names=())
    pki.leaf("stranger", issuer="middlersa", key="ec", names=(), more="extendedKeyUsage=OCSPSigning\n")
    # By the issuer's name, and with another key.
    pki.key("impostor", "ec")
    pki.run("req", "-x509", "-new", "-key", "impostor.key", "-subj", "/O=Bed/CN=middle", "-out", "impostor.pem")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    day = datetime.timedelta(days=1)
    for file, status, options in (
        ("good", "good", {}),
        ("revoked", "revoked", {}),
        ("good-delegate", "good", {"signer": "delegate"}),
        ("revoked-delegate", "revoked", {"signer": "delegate"}),
        ("revoked-serial", "revoked", {"leaf": "ec"}),
        ("revoked-issuer", "revoked", {"issuer": "middlersa"}),
        ("revoked-forged", "revoked", {"signer": "impostor"}),
        ("good-forged", "good", {"signer": "impostor"}),
        ("good-usurper", "good", {"signer": "usurper"}),
        ("good-stranger", "good", {"signer": "stranger"}),
        ("good-old", "good", {"start": now - 9 * day, "end": now - 2 * day}),
        ("good-future", "good", {"start": now + day, "end": now + 9 * day}),
    ):
        signer = options.get("signer", "middle")
        start = options.get("start", now - day)
        builder = ocsp.OCSPResponseBuilder().add_response(
            load(pki, options.get("leaf", "good")),
            load(pki, options.get("issuer", "middle")),
            hashes.SHA1(),
            getattr(ocsp.OCSPCertStatus, status.upper()),
            start,
            options.get("end", now + 7 * day),
            start if status == "revoked" else None,
            None,
        )
        forged = signer == "impostor"
        encoding = ocsp.OCSPResponderEncoding.NAME if forged else ocsp.OCSPResponderEncoding.HASH
        builder = builder.responder_id(encoding, load(pki, signer))
        if signer != "middle" and not forged:
            builder = builder.certificates([load(pki, signer)])
        response = builder.sign(key_of(pki, signer), hashes.SHA256())
        with open(pki.path(file + ".ocsp"), "wb") as stream:
            stream.write(response.public_bytes(serialization.Encoding.DER))
    refused = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    with open(pki.path("refused.ocsp"), "wb") as stream:
        stream.write(refused.public_bytes(serialization.Encoding.DER))


@pytest.fixture(scope="module")
def trust(pki):
    return _prober.Trust(pki.path("root.pem"), fetch_issuers=True)


def look(port, trust, mode="full", **options):
    endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port, **options}
    return _prober.probe(endpoint, mode, trust=trust)


def rules_of(result):
    return sorted(entry["id"] for entry in result["caps"] + result["warnings"])


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_letter(case, pki, trust):
    """Quick and full come to the letter of the guide, by the same rules."""
    with case.serve(pki) as port:
        results = {mode: _grade.grade(look(port, trust, mode)) for mode in ("quick", "full")}
    # s_server has no HSTS to be read where it can be.
    extra = {"tls.hsts.absent"} if case.server == "s_server" and cases.UNREAD not in case.rules else set()
    for mode, result in results.items():
        assert result["error"] is None, mode
        assert set(rules_of(result)) == set(case.rules) | extra, mode
        assert (result["grade"], result["grade_trust_ignored"]) == (case.letter, case.ignored or case.letter), mode
        if case.letter is None:
            (found,) = [one for one in result["findings"] if one["severity"] == "unknown"]
            assert (found["id"], found["step"]) == ("tls.certificate.trust_unknown", 5)
            assert "is not sent and cannot be fetched" in found["evidence"]


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("stapled", cases.STAPLED, ids=lambda stapled: stapled.name)
def test_what_a_staple_counts_for(stapled, protocol, pki, trust):
    with stapled.serve(pki, protocols=protocol) as port:
        result = _grade.grade(look(port, trust, "quick"))
    assert result["certificate"]["ocsp_status"] == stapled.status
    untested = {entry["id"] for entry in result["not_tested"]}
    # Only a verified response says that it is not revoked.
    assert ("tls.certificate.revoked" in untested) == (stapled.status not in ("good", "revoked"))
    ids = [finding["id"] for finding in result["findings"]]
    assert ("tls.certificate.staple_invalid" in ids) == (stapled.status == "invalid")


# Endpoints without a name


@contextlib.contextmanager
def catch_all(pki, kind):
    """A server with a good virtual host and one for unknown names, as the role writes it."""
    (port,) = bed.free_ports()
    if kind == "nginx":
        site = bed.nginx_site(port, ["selfsigned"], names="_").replace(" ssl;", " ssl default_server;")
        with bed.nginx(pki.folder, [site, bed.nginx_site(port, ["good"])], port):
            yield port
        return
    hsts = 'Header always set Strict-Transport-Security "max-age=31536000"'
    protocols = "SSLProtocol -all +TLSv1.2 +TLSv1.3\nSSLCipherSuite ECDHE+AESGCM"

    def host(name, leaf):
        identity = f"SSLCertificateFile {pki.path(leaf + '.chain')}\nSSLCertificateKeyFile {pki.path(leaf + '.key')}"
        return f"ServerName {name}\n{identity}\n{protocols}\n{hsts}"

    both = host("unknown.invalid", "selfsigned")
    both += f"\n</VirtualHost>\n<VirtualHost 127.0.0.1:{port}>\nSSLEngine on\n{host('good.test', 'good')}"
    with bed.apache(pki.folder, port, both):
        yield port


@pytest.mark.parametrize("mode", ["quick", "full"])
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_a_site_that_has_just_been_set_up(kind, mode, pki):
    """The name is an A+ and so is the block for unknown names, for the role verify and for the report alike."""
    with catch_all(pki, kind) as port:
        named = {"host": "127.0.0.1", "port": port, "server_name": "good.test"}
        nameless = {"host": "127.0.0.1", "port": port, "server_name": None}
        wrong = {"host": "127.0.0.1", "port": port, "server_name": "other.test"}
        endpoints = [
            {"addresses": [], "starttls": "none", "server_groups": [], **one} for one in (named, nameless, wrong)
        ]
        options = {"ca_file": pki.path("root.pem"), "fetch_issuers": True, "mode": mode, "http": True}
        results = tls_grade_info.run({"endpoints": endpoints, "timeout": 10, "concurrency": 4, **options})["results"]
    assert [(one["grade"], one["named"]) for one in results] == [("A+", True), ("A+", False), ("T", True)]
    (found,) = [one for one in results[1]["findings"] if one["id"] == "tls.endpoint.nameless"]
    assert "self-signed certificate" in found["evidence"]
    for chosen, is_good in (([0, 1], True), ([0, 2], False)):
        asked = {"endpoints": [(named, nameless, wrong)[number] for number in chosen], "inside": []}
        wanted = {"grade": "A+", "ignore_trust": False, "pending": False, "fail": True}
        some = [results[number] for number in chosen]
        verdict = _verify.report(some, asked, wanted)
        given = {"results": some, "asked": [5], "minimum_grade": "A+", "ignore_trust": False}
        report = _build.host("web1", given, _roles_report.Policy([]), "2026-11-27T00:00:00Z", {})
        assert (verdict["bad"] == []) is is_good
        assert report["failed"] is not is_good
        assert report["grade"] == ("A+" if is_good else "T")
        # No step is unknown for what only exploit traffic could tell.
        assert report["steps"]["5"] == ("pass" if is_good else "fail")
    assert any(
        "no name: trust and name do not count" in line
        for line in _verify.report(results[:2], {"endpoints": [named, nameless], "inside": []}, wanted)["lines"]
    )


def test_kinds_of_certificates():
    """Which suites go with a certificate of which kind."""
    kinds = {suite.name: suite.authentication for suite in _constants.SUITES.values()}
    for name, kind in (
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "RSA"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA", "RSA"),
        ("TLS_RSA_EXPORT_WITH_RC4_40_MD5", "RSA"),
        ("TLS_DHE_DSS_WITH_AES_128_CBC_SHA", "DSS"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDSA"),
        ("TLS_ECDH_RSA_WITH_AES_128_CBC_SHA", "ECDH_RSA"),
        ("TLS_ECDH_anon_WITH_AES_128_CBC_SHA", ""),
        ("TLS_PSK_WITH_AES_128_CBC_SHA", ""),
        ("TLS_AES_128_GCM_SHA256", ""),
    ):
        assert kinds[name] == kind, name


def test_without_cryptography_a_staple_is_not_tested(pki, trust, monkeypatch):
    """On a target there may be no such package: neither good nor revoked is taken on trust."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    for stapled in cases.STAPLED[:4]:
        with stapled.serve(pki) as port:
            result = _grade.grade(look(port, trust, "quick"))
        assert (result["grade"], result["certificate"]["ocsp_status"]) == ("A+", "not_tested")
        (reason,) = [one["reason"] for one in result["not_tested"] if one["id"] == "tls.certificate.revoked"]
        assert "cryptography" in reason
