# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an authority has revoked: a real one on the loopback, with its CRL and OpenSSL's own OCSP responder."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import subprocess
import threading
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._tls import revocation as _revocation
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import libcrypto
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info

from . import tls_bed as bed
from . import tls_peers as peers
from .slow_bed import SLACK

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed here")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.x509 import ocsp  # noqa: E402

pytestmark = pytest.mark.slow

DAY = datetime.timedelta(days=1)
CA = """
[ca]
default_ca = middle
[middle]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 7
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid
"""
UNKNOWN, REVOKED = "tls.certificate.revocation_unknown", "tls.certificate.revoked"


@pytest.fixture(scope="module", autouse=True)
def library():
    if not libcrypto.available():
        pytest.skip("no OpenSSL library can be loaded here")


class Published(http.server.BaseHTTPRequestHandler):
    """What an authority publishes by paths, as bytes, or as what is done with the request. REQUESTS are those made."""

    CONTENT: dict
    REQUESTS: list

    def do_GET(self):
        self.REQUESTS.append(self.path)
        content = self.CONTENT.get(self.path)
        if callable(content):
            content(self)
            return
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_words):
        pass


class Authority:
    """The intermediate of a PKI as an authority: openssl ca makes its CRL, and openssl ocsp responds."""

    def __init__(self, folder):
        self.pki = bed.Pki(folder)
        self.content, self.requests = {}, []
        handler = type("Handler", (Published,), {"CONTENT": self.content, "REQUESTS": self.requests})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        (self.port,) = bed.free_ports()
        self.responder = f"http://127.0.0.1:{self.port}"
        for name, text in (("ca.conf", CA), ("crlnumber", "01\n"), ("index.txt", "")):
            with open(self.pki.path(name), "w") as stream:
                stream.write(text)

    def issue(self, name, *points, ocsp_at=None, revoked=False, listed=True, **options):
        """A certificate with these addresses of CRLs."""
        more = f"crlDistributionPoints={','.join('URI:' + point for point in points)}\n" if points else ""
        more += f"authorityInfoAccess=OCSP;URI:{ocsp_at}\n" if ocsp_at else ""
        self.pki.leaf(name, more=more, **{"key": "ec", **options})
        one = self.read(name)
        ends, now = (moment.strftime("%y%m%d%H%M%SZ") for moment in (one.not_valid_after_utc, datetime.datetime.now()))
        state = f"R\t{ends}\t{now},keyCompromise" if revoked else f"V\t{ends}\t"
        if listed:
            with open(self.pki.path("index.txt"), "a") as index:
                index.write(f"{state}\t{one.serial_number:040X}\tunknown\t/O=Bed/CN={name}\n")

    def publish(self):
        self.pki.run(*("ca", "-config", "ca.conf", "-gencrl", "-cert", "middle.pem", "-keyfile", "middle.key"),
                     *("-out", "crl.pem"))  # fmt: skip
        self.pki.run("crl", "-in", "crl.pem", "-outform", "DER", "-out", "crl.der")
        with open(self.pki.path("crl.der"), "rb") as stream:
            self.content["/middle.crl"] = stream.read()

    def read(self, name):
        with open(self.pki.path(name + ".pem"), "rb") as stream:
            return x509.load_pem_x509_certificate(stream.read())

    def key(self, name):
        with open(self.pki.path(name + ".key"), "rb") as stream:
            return serialization.load_pem_private_key(stream.read(), None)

    @contextlib.contextmanager
    def responding(self):
        """OpenSSL's responder, which takes one connection after the other, and waits for ever on one without a request:
        so it is not connected to in order to find out whether it is up."""
        command = [bed.program("openssl"), "ocsp", "-index", "index.txt", "-port", str(self.port), "-CA", "middle.pem",
                   "-rsigner", "middle.pem", "-rkey", "middle.key", "-nmin", "60", "-ignore_err"]  # fmt: skip
        with subprocess.Popen(
            command, cwd=self.pki.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                assert any(b"waiting for OCSP client" in line for line in process.stdout)
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield
            finally:
                process.kill()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("authority"))
    crl = made.url + "/middle.crl"
    (closed,) = bed.free_ports()
    dead = f"http://127.0.0.1:{closed}/middle.crl"
    made.issue("good", crl, ocsp_at=made.responder)
    made.issue("revoked", crl, ocsp_at=made.responder, revoked=True)
    made.issue("second", dead, crl, revoked=True)
    made.issue("byocsp", ocsp_at=made.responder)
    made.issue("revokedbyocsp", ocsp_at=made.responder, revoked=True)
    made.issue("unlisted", ocsp_at=made.responder, listed=False)
    made.issue("fallback", dead, ocsp_at=made.responder)
    made.issue("fallbackrevoked", dead, ocsp_at=made.responder, revoked=True)
    made.issue("dead", dead)
    made.issue("nowhere")
    made.issue("elsewhere", "https://127.0.0.1/x.crl", "ldap://127.0.0.1/x")
    made.issue("private", "http://192.168.7.7/middle.crl")
    made.issue("watched", made.url + "/watched.crl")
    made.issue("foreign", crl, issuer="middlersa", listed=False)
    made.pki.key("impostor", "ec")
    made.publish()
    yield made
    made.server.shutdown()
    made.server.server_close()


LEAVES = ("good", "revoked", "second", "byocsp", "revokedbyocsp", "unlisted", "fallback", "fallbackrevoked", "dead",
          "nowhere", "elsewhere", "private", "watched", "foreign")  # fmt: skip


@pytest.fixture(scope="module")
def sites(authority):
    """A server for each certificate, by its name, and the authority's responder."""
    ports = dict(zip(LEAVES, bed.free_ports(len(LEAVES)), strict=True))
    blocks = [bed.nginx_site(port, [leaf]) for leaf, port in ports.items()]
    with authority.responding(), bed.nginx(authority.pki.folder, blocks, ports["good"]):
        yield ports


def asking(authority, **options):
    return _prober.Trust(authority.pki.path("root.pem"), check_revocation=True, **options)


def look(port, trust, mode="quick", timeout=10.0, **more):
    endpoint = {"host": "good.test", "address": "127.0.0.1", "port": port, **more}
    return _grade.grade(_prober.probe(endpoint, mode, timeout, trust=trust))


def ids(result):
    return [one["id"] for one in result["findings"]]


@pytest.mark.parametrize(
    ("leaf", "status", "source"),
    [
        ("good", "good", "the CRL at {url}/middle.crl"),
        ("revoked", "revoked", "the CRL at {url}/middle.crl"),
        ("second", "revoked", "the CRL at {url}/middle.crl"),
        ("byocsp", "good", "the OCSP responder at {responder}"),
        ("revokedbyocsp", "revoked", "the OCSP responder at {responder}"),
        ("fallback", "good", "the OCSP responder at {responder}"),
        ("fallbackrevoked", "revoked", "the OCSP responder at {responder}"),
    ],
)
@pytest.mark.parametrize("mode", ["quick", "full"])
def test_what_the_authority_has_revoked_is_a_t(authority, sites, leaf, status, source, mode):
    result = look(sites[leaf], asking(authority), mode)
    source = source.format(url=authority.url, responder=authority.responder)
    assert (result["certificate"]["revocation_status"], result["certificate"]["revocation_source"]) == (status, source)
    assert result["certificate"]["revocation_error"] is None and UNKNOWN not in ids(result)
    assert REVOKED not in [one["id"] for one in result["not_tested"]]
    if status == "good":
        assert (result["grade"], REVOKED in ids(result)) == ("A+", False)
    else:
        assert (result["grade"], result["grade_trust_ignored"]) == ("T", "A+")
        (cap,) = result["caps"]
        assert (cap["id"], cap["evidence"]) == (REVOKED, f"by {source}")


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        ("unlisted", "OCSP responder {responder}: its status is unknown"),
        ("dead", "/middle.crl: [Errno 111] Connection refused"),
        ("nowhere", "it names neither a CRL nor an OCSP responder at an HTTP address"),
        ("elsewhere", "it names neither a CRL nor an OCSP responder at an HTTP address"),
        (
            "private",
            "CRL http://192.168.7.7/middle.crl: it leads to an address that this endpoint has no business with",
        ),
        ("foreign", "CRL {url}/middle.crl: it does not count: "),
    ],
)
def test_what_cannot_be_found_out_is_no_pass_and_no_other_letter(authority, sites, leaf, reason):
    result = look(sites[leaf], asking(authority))
    assert (result["grade"], result["certificate"]["revocation_status"]) == ("A+", None)
    (found,) = [one for one in result["findings"] if one["id"] == UNKNOWN]
    assert found["severity"] == "unknown"
    reason = reason.format(url=authority.url, responder=authority.responder)
    assert reason in found["evidence"] and reason in result["certificate"]["revocation_error"]
    assert REVOKED in [one["id"] for one in result["not_tested"]] and REVOKED not in ids(result)


def test_nobody_is_asked_unless_that_is_wanted(authority, sites):
    authority.requests.clear()
    result = look(sites["revoked"], _prober.Trust(authority.pki.path("root.pem")))
    assert result["grade"] == "A+" and result["certificate"]["revocation_status"] is None
    assert REVOKED in [one["id"] for one in result["not_tested"]] and UNKNOWN not in ids(result)
    assert result["certificate"]["crl_urls"] == [authority.url + "/middle.crl"]
    # Whoever made a certificate that nobody trusts does not choose what is connected to.
    untrusted = look(sites["revoked"], _prober.Trust(check_revocation=True))
    assert untrusted["grade"] == "T" and UNKNOWN not in ids(untrusted)
    nameless = look(sites["revoked"], asking(authority), host="127.0.0.1")
    assert not nameless["named"] and UNKNOWN not in ids(nameless)
    assert authority.requests == []


def test_the_module_asks_once_for_many_endpoints(authority, sites):
    authority.requests.clear()
    endpoints = [{"host": "good.test", "port": sites[leaf], "addresses": ["127.0.0.1"]} for leaf in ("good", "revoked")]
    options = {"endpoints": endpoints * 3, "mode": "quick", "timeout": 10.0, "ca_file": authority.pki.path("root.pem"),
               "http": True, "concurrency": 32, "fetch_issuers": True, "check_revocation": True}  # fmt: skip
    assert [one["grade"] for one in tls_grade_info.run(options)["results"]] == ["A+", "T"] * 3
    assert authority.requests == ["/middle.crl"]


def test_a_stapled_response_is_as_good_as_asking(authority, sites):
    pki = authority.pki
    one, issuer = authority.read("good"), authority.read("middle")
    now = datetime.datetime.now(datetime.UTC)
    for status, letter in (("GOOD", "A+"), ("REVOKED", "T")):
        at = now if status == "REVOKED" else None
        builder = ocsp.OCSPResponseBuilder().add_response(
            one, issuer, hashes.SHA1(), getattr(ocsp.OCSPCertStatus, status), now - DAY, now + DAY, at, None
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
        with open(pki.path("staple"), "wb") as stream:
            response = builder.sign(authority.key("middle"), hashes.SHA256())
            stream.write(response.public_bytes(serialization.Encoding.DER))
        authority.requests.clear()
        (port,) = bed.free_ports()
        staple = "ssl_stapling on; ssl_stapling_file staple;" + bed.HSTS
        with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"], more=staple)], port):
            result = look(port, asking(authority))
        assert (result["grade"], authority.requests) == (letter, [])
        assert result["certificate"]["revocation_source"] == "the stapled OCSP response"


# --- CRLs that do not count ------------------------------------------------------------------------------------------


def crl(
    authority, *, signer="middle", name=None, start=-1, end=7, serial=None, digest=None, scope=None, extension=None
):
    """One that is as it should be, but for what is given; times are days from now."""
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.read(name or "middle").subject)
    builder = builder.last_update(now + start * DAY).next_update(now + end * DAY)
    builder = builder.add_extension(x509.CRLNumber(9), critical=False)
    if serial is not None:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
        builder = builder.add_revoked_certificate(revoked)
    if scope:
        names = [x509.UniformResourceIdentifier(scope)]
        point = x509.IssuingDistributionPoint(names, None, True, False, None, False, False)
        builder = builder.add_extension(point, critical=True)
    if extension:
        builder = builder.add_extension(extension, critical=True)
    key = authority.key(signer)
    return builder.sign(key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(bytes(65536))


def elsewhere(handler):
    handler.send_response(302)
    handler.send_header("Location", "/middle.crl")
    handler.end_headers()


def cut_end(authority):
    """A CRL without the time when it ends, which only the signature of the whole can prove."""
    der = _x509_certificate.Der(crl(authority)).inside()
    body = _x509_certificate.Der(der.node(0x30).body)
    fields = [body.node().raw for _field in range(4)]  # version, algorithm, issuer, this update
    body.node()
    tbs = _revocation._der(0x30, *fields, body.node().raw)
    from cryptography.hazmat.primitives.asymmetric import ec

    signature = authority.key("middle").sign(tbs, ec.ECDSA(hashes.SHA256()))
    return _revocation._der(0x30, tbs, der.node(0x30).raw, _revocation._der(0x03, b"\x00" + signature))


def signed_with_sha1(authority):
    """cryptography makes none any more."""
    make = ("-gencrl", "-cert", "middle.pem", "-keyfile", "middle.key", "-md", "sha1", "-out", "sha1.pem")
    authority.pki.run("ca", "-config", "ca.conf", *make)
    authority.pki.run("crl", "-in", "sha1.pem", "-outform", "DER", "-out", "sha1.der")
    with open(authority.pki.path("sha1.der"), "rb") as stream:
        return stream.read()


SCOPE = "/watched.crl"
CRLS = {
    "good": (crl, "good"),
    "of its own part": (lambda one: crl(one, scope=one.url + SCOPE), "good"),
    "revoked": (lambda one: crl(one, serial=one.read("watched").serial_number), "revoked"),
    "another one revoked": (lambda one: crl(one, serial=one.read("watched").serial_number + 1), "good"),
    "out of date": (lambda one: crl(one, start=-9, end=-1), "CRL has expired"),
    "of tomorrow": (lambda one: crl(one, start=1), "CRL is not yet valid"),
    "without its end": (cut_end, "it has no end"),
    "forged": (lambda one: crl(one, signer="impostor"), "CRL signature failure"),
    "of another authority": (
        lambda one: crl(one, signer="middlersa", name="middlersa"),
        "unable to get certificate CRL",
    ),
    # Signed all the same, so that somebody in between could send it in place of the one that has the certificate.
    "of another part": (lambda one: crl(one, scope=one.url + "/other.crl"), "different CRL scope"),
    "a difference": (lambda one: crl(one, extension=x509.DeltaCRLIndicator(1)), "it does not count"),
    "SHA-1": (signed_with_sha1, "it is signed with ecdsa-with-SHA1"),
    "garbage": (lambda one: b"<html>Not found</html>", "certificate: "),
    "cut short": (lambda one: crl(one)[:-20], "it ends too early"),
    "PEM": (lambda one: b"-----BEGIN X509 CRL-----\n", "certificate: "),
    "empty": (lambda one: b"", "it ends too early"),
    "not there": (lambda one: None, "the response is 404"),
    "elsewhere": (lambda one: elsewhere, "the response is 302"),
    "endless": (lambda one: endless, "the response is longer than 100000 bytes"),
}


@pytest.mark.parametrize("name", list(CRLS))
def test_a_crl_counts_only_where_it_is_the_right_one(authority, sites, name, monkeypatch):
    monkeypatch.setattr(_revocation, "MAX_CRL", 100000)
    make, expected = CRLS[name]
    authority.content[SCOPE] = make(authority)
    result = look(sites["watched"], asking(authority))
    found = result["certificate"]
    if expected in ("good", "revoked"):
        assert found["revocation_status"] == expected and (result["grade"] == "T") == (expected == "revoked")
    else:
        assert (found["revocation_status"], result["grade"]) == (None, "A+")
        # OpenSSL writes its messages differently from release to release.
        assert expected.lower() in found["revocation_error"].lower() and UNKNOWN in ids(result)


def test_an_authority_that_does_not_respond_takes_no_grade(authority, sites, monkeypatch):
    waits = threading.Event()
    authority.content[SCOPE] = lambda _handler: waits.wait(600)
    monkeypatch.setattr(_revocation, "SECONDS", 0.5)
    trust = asking(authority)
    started = time.monotonic()
    results = [look(sites["watched"], trust) for _time in range(2)]
    assert time.monotonic() - started < 10 + SLACK
    for result in results:
        assert result["grade"] == "A+" and "no response in time" in result["certificate"]["revocation_error"]
    # Who did not respond in the whole time is not asked again.
    assert authority.requests.count(SCOPE) >= 1
    authority.requests.clear()
    look(sites["watched"], trust)
    assert authority.requests == []
    # With less time than that, the next endpoint may have more luck.
    trust = asking(authority)
    status = trust.revocations.status(chain(authority, "watched"), "127.0.0.1", 0.2)
    assert status.reason.endswith("no response in time")
    waits.set()
    authority.content[SCOPE] = crl(authority)
    assert trust.revocations.status(chain(authority, "watched"), "127.0.0.1", 5).status == "good"


def chain(authority, *names):
    found = []
    for name in (*names, "middle"):
        found.append(_x509_certificate.read_certificate(authority.read(name).public_bytes(serialization.Encoding.DER)))
    return found


def test_what_one_endpoint_may_not_ask_for_another_one_may(authority):
    authority.content[SCOPE] = crl(authority)
    revocations = _revocation.Revocations()
    path = chain(authority, "watched")
    assert "no business" in revocations.status(path, "192.0.2.1", 5).reason
    assert revocations.status(path, "127.0.0.1", 5).status == "good"


def test_without_an_issuer_or_a_library_nothing_is_known(authority, monkeypatch):
    path = chain(authority, "good")
    assert _revocation.Revocations().status(path[:1], "127.0.0.1", 5).reason == "its issuer is not known"
    monkeypatch.setattr(libcrypto, "LIBRARY", None)
    monkeypatch.setattr(_revocation.libcrypto, "available", lambda: False)
    found = _revocation.Revocations().status([path[0]._replace(ocsp_urls=[]), path[1]], "127.0.0.1", 5)
    assert found.status is None and "no OpenSSL library" in found.reason


# --- OCSP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", ["good", "byocsp"])
def test_a_request_is_that_of_cryptography(authority, leaf):
    one, issuer = authority.read(leaf), authority.read("middle")
    builder = ocsp.OCSPRequestBuilder().add_certificate(one, issuer, hashes.SHA1())
    expected = builder.build().public_bytes(serialization.Encoding.DER)
    assert _revocation.request(*chain(authority, leaf)) == expected


def test_a_response_for_another_certificate_does_not_count(authority):
    """Whatever is asked for, as from somebody in between."""
    one, issuer = authority.read("good"), authority.read("middle")
    now = datetime.datetime.now(datetime.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        one, issuer, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, now - DAY, now + DAY, None, None
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer)
    signed = builder.sign(authority.key("middle"), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    received = []

    def handle(sock, _over):
        request = b""
        while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < 60:
            more = sock.recv(65536)
            if not more:
                return
            request += more
        received.append(request)
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + signed)

    with peers.serving(handle) as port:
        path = chain(authority, "byocsp")
        path[0] = path[0]._replace(ocsp_urls=[f"http://127.0.0.1:{port}/ocsp"])
        found = _revocation.Revocations().status(path, "127.0.0.1", 5)
    assert found.status is None and "it is for another certificate" in found.reason
    head, _blank, body = received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /ocsp HTTP/1.0\r\n") and b"Content-Type: application/ocsp-request" in head
    assert f"Content-Length: {len(body)}".encode() in head and ocsp.load_der_ocsp_request(body).serial_number


# --- where the addresses are -----------------------------------------------------------------------------------------


def test_addresses_of_crls_are_read_as_cryptography_reads_them(authority):
    for leaf in ("second", "elsewhere", "nowhere"):
        (one, _issuer) = chain(authority, leaf)
        other = authority.read(leaf)
        points = []
        with contextlib.suppress(x509.ExtensionNotFound):
            points = other.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert list(one.crl_urls) == [name.value for point in points for name in point.full_name]


@pytest.mark.parametrize(
    "point",
    [
        # Of another issuer, with some reasons only, and relative to the issuer's name.
        x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.test/x")], None, None,
                               [x509.DNSName("other.test")]),
        x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.test/x")], None,
                               frozenset([x509.ReasonFlags.key_compromise]), None),
        x509.DistributionPoint(None, x509.RelativeDistinguishedName(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]), None, None),
    ],
)  # fmt: skip
def test_a_crl_that_is_not_the_issuers_own_or_not_complete_is_none(authority, point):
    key = authority.key("impostor")
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + DAY)
    builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert list(_x509_certificate.read_certificate(der).crl_urls) == []


def test_what_is_sent_is_bounded():
    """The bound is for all that comes, not only for the body."""

    def handle(sock, _over):
        sock.recv(4096)
        with contextlib.suppress(OSError):
            sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(2000))

    with peers.serving(handle) as port:
        url = f"http://127.0.0.1:{port}/"
        assert _fetch.fetch(url, "127.0.0.1", 5, 3000) == bytes(2000)
        with pytest.raises(_fetch.NotFetched, match="longer than 1000 bytes"):
            _fetch.fetch(url, "127.0.0.1", 5, 1000)
