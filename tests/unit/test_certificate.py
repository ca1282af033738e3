# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judgement of certificates: real ones, made by openssl, each with one defect; and the commands that repair it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import ssl
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import catalogue as _certificate_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import findings as _certificate_findings
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.checks import Missing
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.permissions import Access
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

from . import tls_bed as bed

DAY = 86400
NAMES = ("good.test", "autodiscover.good.test")
PURPOSE = "extendedKeyUsage={}\n".format
LEAVES = {
    "good": {"key": "ec"},
    "rsa": {},
    "rsa1024": {"key": "rsa1024"},
    "sha1": {"digest": "sha1"},
    "wildcard": {"key": "ec", "names": ("*.good.test", "good.test")},
    "stapled": {"key": "ec", "more": "tlsfeature=status_request\nauthorityInfoAccess=OCSP;URI:http://ocsp.test\n"},
    "unstapled": {"key": "ec", "more": "tlsfeature=status_request\n"},
    "fetchable": {"key": "ec", "more": "authorityInfoAccess=caIssuers;URI:http://ca.test/it\\'s{0}.der\n"},
    "selfsigned": {"key": "ec", "issuer": None},
    "mail": {"key": "ec", "more": PURPOSE("emailProtection")},
    "server": {"key": "ec", "more": PURPOSE("serverAuth")},
    "nameless": {"key": "ec", "names": ()},
    "past": {"key": "ec", "start": -90, "days": 89},
    "future": {"key": "ec", "start": 10},
    "address": {"key": "ec", "more": "subjectAltName=IP:192.0.2.1,IP:2001:db8::1\n", "names": ()},
    "direct": {"key": "ec", "issuer": "root"},
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("certificates"))
    for name, options in LEAVES.items():
        made.leaf(name, **{"names": NAMES, **options})
    made.leaf("oldmiddle", issuer="root", key="ec", ca=True, names=(), start=-90, days=89)
    made.leaf("shortmiddle", issuer="root", key="ec", ca=True, names=(), days=60)
    made.leaf("endingmiddle", issuer="root", key="ec", ca=True, names=(), days=20)
    made.leaf("underold", issuer="oldmiddle", key="ec", names=NAMES)
    made.leaf("undershort", issuer="shortmiddle", key="ec", names=NAMES)
    made.leaf("underending", issuer="endingmiddle", key="ec", names=NAMES, days=10)
    made.leaf("short", issuer="root", key="ec", ca=True, names=())
    made.leaf("otherroot", issuer=None, key="ec", ca=True, names=())
    made.key("other", "ec")
    made.run("genpkey", "-algorithm", "Ed25519", "-out", "ed25519.key")
    made.run("pkey", "-in", "good.key", "-aes256", "-passout", "pass:x", "-out", "encrypted.key")
    made.run("ec", "-in", "good.key", "-aes256", "-passout", "pass:x", "-out", "encrypted-old.key")
    made.run("pkey", "-in", "good.key", "-outform", "DER", "-out", "key.der")
    made.run("x509", "-in", "good.pem", "-outform", "DER", "-out", "good.der")
    made.run("crl2pkcs7", "-nocrl", "-certfile", "good.chain", "-out", "good.p7")
    made.run("pkcs12", "-export", "-in", "good.chain", "-inkey", "good.key", "-passout", "pass:x", "-out", "good.p12")
    return made


class Files:
    """The content of files of the PKI, put together: C(files("good", "middle")) is their certificates."""

    def __init__(self, pki):
        self._pki = pki

    def raw(self, name):
        with open(self._pki.path(name), "rb") as stream:
            return stream.read()

    def __call__(self, *names):
        return b"".join(self.raw(name + ".pem") for name in names)

    def key(self, name):
        return self.raw(name + ".key")


@pytest.fixture(scope="module")
def files(pki):
    return Files(pki)


def judge(chain, key, names=NAMES, now=None, **options):
    return _checks.judge(chain, key, list(names), time.time() if now is None else now, **options)


def ids(result):
    return sorted(finding["id"].partition(".")[2] for finding in result["findings"])


def only(result, key):
    (finding,) = [finding for finding in result["findings"] if finding["id"] == "certificate." + key]
    return finding


# What is fine


@pytest.mark.parametrize("name", ["good", "rsa", "wildcard", "stapled", "server", "address"])
def test_a_good_one(files, name):
    names = ("192.0.2.1", "2001:db8::1") if name == "address" else NAMES
    result = judge(files(name, {"rsa": "middle"}.get(name, "middle")), files.key(name), names)
    assert result["findings"] == []
    assert (result["usable"], result["renew_due"]) == (True, False)


def test_what_is_returned(files):
    one = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(files("stapled").decode()))
    result = judge(files("stapled", "middle"), files.key("stapled"), now=one.not_before + 60 * DAY)
    assert result["certificate"] == {
        "subject": "O=Bed, CN=stapled",
        "issuer": "O=Bed, CN=middle",
        "names": list(NAMES),
        "not_before": _x509_certificate.date(one.not_before),
        "not_after": _x509_certificate.date(one.not_after),
        "lifetime_seconds": 90 * DAY,
        "left_seconds": 30 * DAY,
        "fraction_left": 0.3333,
        "key_type": "EC",
        "key_bits": 256,
        "self_signed": False,
        "ocsp_uris": ["http://ocsp.test"],
        "must_staple": True,
        "fingerprint_sha256": one.sha256,
        "serial": one.serial,
    }
    assert [entry["subject"] for entry in result["chain"]] == ["O=Bed, CN=stapled", "O=Bed, CN=middle"]


def test_commentary_and_parameters_are_passed_by(files, pki):
    pki.run("ecparam", "-name", "prime256v1", "-genkey", "-out", "parameters.key")
    key = b"Bag Attributes\n    friendlyName: x\n" + files.raw("parameters.key").split(b"-----END EC PARAM")[0]
    key += b"-----END EC PARAMETERS-----\n" + files.key("good")
    chain = b"subject=/CN=x\n-----\n  indented\n" + files("good") + b"# and its issuer\n" + files("middle")
    assert judge(chain, key)["findings"] == []


# One defect each

GOOD = ("good", "middle")
# name: (chain, key, ids); text is the certificates or keys of these names, bytes are as they are
DEFECTS = {
    "wrong key": (GOOD, "other", ["key.mismatch"]),
    "wrong key of another kind": (GOOD, "rsa", ["key.mismatch"]),
    "wrong key, RSA": (("rsa", "middle"), "rsa1024", ["key.mismatch"]),
    "an EC key for an RSA certificate": (("rsa", "middle"), "good", ["key.mismatch"]),
    "key of Ed25519": (GOOD, "ed25519", ["key.mismatch"]),
    "missing intermediate": (("fetchable",), "fetchable", ["chain.incomplete"]),
    "wrong intermediate": (("good", "middlersa"), "good", ["chain.extra", "chain.incomplete"]),
    "intermediate or root": (("direct",), "direct", ["chain.unknown"]),
    "wrong order": (("middle", "good"), "good", ["chain.order"]),
    "wrong order and root": (("good", "root", "middle"), "good", ["chain.order", "chain.root"]),
    "root": (("good", "middle", "root"), "good", ["chain.root"]),
    "two servers": (("good", "rsa", "middle"), "good", ["chain.several"]),
    "twice": (("good", "good", "middle"), "good", ["chain.extra"]),
    "left over": (("good", "middle", "middlersa"), "good", ["chain.extra"]),
    "without the server's": (("middle", "root"), "good", ["chain.leaf_missing"]),
    "wrong names": (("nameless", "middle"), "nameless", ["name.missing", "name.missing"]),
    "expired": (("past", "middle"), "past", ["expired"]),
    "not yet valid": (("future", "middle"), "future", ["not_yet_valid"]),
    "expired intermediate": (("underold", "oldmiddle"), "underold", ["chain.expired"]),
    "intermediate that ends first": (("undershort", "shortmiddle"), "undershort", ["chain.ends_first"]),
    "intermediate that ends soon": (("underending", "endingmiddle"), "underending", ["chain.ends_first"]),
    "self-signed": (("selfsigned",), "selfsigned", ["self_signed"]),
    "RSA 1024": (("rsa1024", "middle"), "rsa1024", ["key.weak"]),
    "SHA-1": (("sha1", "middle"), "sha1", ["signature.weak"]),
    "must-staple": (("unstapled", "middle"), "unstapled", ["must_staple_without_ocsp"]),
    "for mail": (("mail", "middle"), "mail", ["purpose"]),
    "no key": (GOOD, None, ["key.unknown"]),
    "key not there": (GOOD, Missing("No such file or directory"), ["key.missing"]),
    "empty key": (GOOD, b"", ["key.empty"]),
    "certificate as key": (GOOD, lambda files: files("good"), ["key.empty"]),
    "garbage as key": (GOOD, b"\x00\xff" * 40, ["key.empty"]),
    "damaged key": (GOOD, lambda files: files.key("good").replace(b"M", b"N"), ["key.unreadable"]),
    "key without its end": (GOOD, lambda files: files.key("good")[:-20], ["key.unreadable"]),
    "encrypted key": (GOOD, "encrypted", ["key.encrypted"]),
    "encrypted key, traditional": (GOOD, "encrypted-old", ["key.encrypted"]),
    "key in DER": (GOOD, lambda files: files.raw("key.der"), ["key.binary"]),
    "two keys": (GOOD, lambda files: files.key("good") + files.key("other"), ["key.several"]),
    "key with a byte order mark": (GOOD, lambda files: b"\xef\xbb\xbf" + files.key("good"), ["key.encoding"]),
    "key in UTF-16": (GOOD, lambda files: files.key("good").decode().encode("utf-16"), ["key.encoding"]),
    "not there": (Missing("No such file or directory"), "good", ["chain.missing"]),
    "empty": (b"", "good", ["chain.empty"]),
    "blank": (b" \n\n", "good", ["chain.empty"]),
    "garbage": (b"\x00\xff" * 40, "good", ["chain.empty"]),
    "key as certificate": (lambda files: files.key("good"), "good", ["chain.empty"]),
    "PKCS #7": (lambda files: files.raw("good.p7"), "good", ["chain.empty"]),
    "indented": (lambda files: files(*GOOD).replace(b"-----BEGIN", b"  -----BEGIN"), "good", ["chain.empty"]),
    "DER": (lambda files: files.raw("good.der"), "good", ["chain.binary"]),
    "PKCS #12": (lambda files: files.raw("good.p12"), "good", ["chain.binary"]),
    "damaged": (lambda files: files(*GOOD).replace(b"MII", b"MIJ"), "good", ["chain.unreadable"]),
    "no base64": (lambda files: files(*GOOD).replace(b"MII", b"M!I", 1), "good", ["chain.unreadable"]),
    "without its end": (lambda files: files(*GOOD)[:-30], "good", ["chain.unreadable"]),
    "ends of lines of a Mac": (lambda files: files(*GOOD).replace(b"\n", b"\r"), "good", ["chain.empty"]),
    "Windows": (lambda files: files(*GOOD).replace(b"\n", b"\r\n"), "good", ["chain.line_ends"]),
    "byte order mark": (lambda files: b"\xef\xbb\xbf" + files(*GOOD), "good", ["chain.encoding"]),
    "UTF-16": (lambda files: files(*GOOD).decode().encode("utf-16"), "good", ["chain.encoding"]),
    "key in the chain": (lambda files: files(*GOOD) + files.key("good"), "good", ["chain.holds_key"]),
    "key before the chain": (lambda files: files.key("good") + files(*GOOD), "good", ["chain.holds_key"]),
}
HARMLESS = {"root", "twice", "left over", "intermediate or root", "no key", "Windows"}
HARMLESS |= {"intermediate that ends first", "intermediate that ends soon"}


def content(files, given, read):
    if callable(given):
        return given(files)
    if given is None or isinstance(given, (bytes, Missing)):
        return given
    return read(*given) if isinstance(given, tuple) else read(given)


def of(files, name):
    chain, key, _expected = DEFECTS[name]
    return content(files, chain, files), content(files, key, files.key)


@pytest.mark.parametrize("name", list(DEFECTS))
def test_a_defect_has_its_own_finding_and_no_other(files, name):
    result = judge(*of(files, name))
    assert ids(result) == sorted(DEFECTS[name][2])
    assert result["usable"] is (name in HARMLESS)
    catalogue = _certificate_catalogue.CATALOGUE
    for finding in result["findings"]:
        entry = catalogue[finding["id"]]
        assert (finding["step"], finding["severity"], finding["message"]) == (5, entry.severity, entry.message)
        assert finding["subject"]
        assert finding["fix"] and "{" not in re.sub("awk '.*?'|\\{0\\}", "", finding["fix"])
    assert not result["certificate"] or result["certificate"]["names"] is not None


def test_damage_is_named_once(files):
    damaged = files("good").replace(b"MII", b"MIJ")
    assert only(judge(damaged * 2, None), "chain.unreadable")["evidence"].count("part") == 2
    assert only(judge(damaged * 9, None), "chain.unreadable")["evidence"].endswith("; 6 more")


@pytest.mark.parametrize("name", list(DEFECTS))
def test_nothing_of_a_key_gets_out(files, name, capfd):
    chain, key = of(files, name)
    answer = judge(chain, key)
    public = "".join(link.pop("pem") for link in answer["chain"])  # which has some numbers of the key's
    assert {part.label for part in _checks.blocks(public.encode())} <= {"CERTIFICATE"}
    said = json.dumps(answer) + "".join(capfd.readouterr())
    for secret in (chain, key):
        for part in _checks.blocks(secret or b"") if isinstance(secret, bytes) else []:
            if part.is_key:
                assert not [line for line in part.lines if len(line) > 8 and line.decode() in said]


def test_every_kind_is_met_by_a_test():
    met = {key for _chain, _key, found in DEFECTS.values() for key in found}
    known = {key.partition(".")[2] for key in _certificate_catalogue.CATALOGUE}
    assert known - met == set(ELSEWHERE)


# These take more than two files to be met, or a user who is not root; other tests do.
ELSEWHERE = (
    "chain.hidden",
    "key.hidden",
    "chain.untrusted",
    "chain.signature",
    "chain.refused",
    "unusable",
    "expiring",
    "expiring.urgent",
    "self_signed.accepted",
    "signature.unknown",
    "key.unusual",
    "key.permissions",
    "key.owner",
)


def test_messages_are_their_own():
    messages = [entry.message for entry in _certificate_catalogue.CATALOGUE.values()]
    assert len(set(messages)) == len(messages)
    assert all(message.endswith(".") for message in messages)


def test_older_servers_do_not_see_what_comes_after_a_byte_order_mark(files, pki):
    """What makes it a defect: OpenSSL 1.1.1 takes the intermediate for the server's certificate."""
    folder = bed.oracle("openssl-1.1.1")
    with open(pki.path("marked.pem"), "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + files(*GOOD))
    done = subprocess.run(
        [f"{folder}/usr/bin/openssl", "x509", "-in", pki.path("marked.pem"), "-noout", "-subject"],
        env={"LD_LIBRARY_PATH": f"{folder}/usr/lib/x86_64-linux-gnu", "OPENSSL_CONF": "/dev/null"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CN = middle" in done.stdout


# Authorities


def anchors(files, *names):
    return _checks.read_anchors(files(*names))


@pytest.mark.parametrize(
    ("chain", "given", "expected"),
    [
        (("good", "middle"), ("root",), []),
        (("good", "middle"), ("otherroot", "root"), []),
        # An intermediate may be the anchor.
        (("good", "middle"), ("middle",), []),
        (("good",), ("middle",), []),
        (("good",), ("root",), ["chain.incomplete"]),
        (("good", "middle"), ("otherroot",), ["chain.incomplete"]),
        (("good", "middle", "root"), ("otherroot",), ["chain.root", "chain.untrusted"]),
        (("good", "middlersa"), ("root",), ["chain.extra", "chain.incomplete"]),
        (("direct",), ("root",), []),
    ],
)
def test_given_authorities(files, chain, given, expected):
    assert ids(judge(files(*chain), files.key(chain[0]), anchors=anchors(files, *given))) == expected


@pytest.mark.parametrize("data", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"])
def test_authorities_that_are_none(data):
    with pytest.raises(ParseError):
        _checks.read_anchors(data)


def test_missing_intermediate_has_its_address(files):
    finding = only(judge(files("fetchable"), files.key("fetchable")), "chain.incomplete")
    assert "O=Bed, CN=fetchable was issued by O=Bed, CN=middle" in finding["evidence"]
    # It is a stranger's text on its way into a shell.
    assert shlex.split(finding["fix"])[:4] == ["curl", "-s", "--globoff", "http://ca.test/it's{0}.der"]


# Signatures

crypto = pytest.importorskip("cryptography.x509", reason="cryptography is not installed here")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

pytestmark = pytest.mark.slow


def make(subject, key, issuer=None, signer=None, names=(), ca=False, path_length=None, skid=None):
    """A certificate, PEM. C(skid): the subject key identifier that it claims."""

    def name(text):
        return crypto.Name([crypto.NameAttribute(NameOID.COMMON_NAME, text)])

    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    builder = (
        crypto.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(crypto.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=89))
        .add_extension(crypto.BasicConstraints(ca, path_length), critical=True)
    )
    if names:
        builder = builder.add_extension(crypto.SubjectAlternativeName(map(crypto.DNSName, names)), critical=False)
    if skid:
        builder = builder.add_extension(crypto.SubjectKeyIdentifier(skid), critical=False)
    digest = None if isinstance(signer or key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer or key, digest).public_bytes(serialization.Encoding.PEM)


def text(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def test_an_issuer_by_name_alone(files):
    """Same name, another key, and nothing but the signature to tell: somebody took the intermediate of a test CA."""
    real, false, leaf = new_key(), new_key(), new_key()
    chain = make("leaf", leaf, "middle", real, NAMES)
    good = judge(chain + make("middle", real, "root", real, ca=True), text(leaf))
    assert good["findings"] == []
    result = judge(chain + make("middle", false, "root", real, ca=True), text(leaf))
    assert ids(result) == ["chain.signature"]
    assert "signature" in only(result, "chain.signature")["evidence"]
    assert not result["usable"]


def test_a_chain_too_long_for_its_authority():
    keys = [new_key() for _number in range(3)]
    chain = make("leaf", keys[0], "lower", keys[1], NAMES) + make("lower", keys[1], "upper", keys[2], ca=True)
    chain += make("upper", keys[2], "root", keys[2], ca=True, path_length=0)
    root = make("upper", keys[2], "upper", keys[2], ca=True, path_length=0)
    result = judge(chain, text(keys[0]), anchors=_checks.read_anchors(root))
    assert ids(result) == ["chain.refused"]
    assert "path length" in only(result, "chain.refused")["evidence"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), []),
        (lambda: ec.generate_private_key(ec.SECP521R1()), []),
        (lambda: ec.generate_private_key(ec.SECP256K1()), ["key.unusual"]),
        (ed25519.Ed25519PrivateKey.generate, ["key.unusual"]),
    ],
)
def test_kinds_of_keys(kind, expected):
    leaf, middle = kind(), new_key()
    chain = make("leaf", leaf, "middle", middle, NAMES) + make("middle", middle, "root", middle, ca=True)
    result = judge(chain, text(leaf))
    # Whether the library here still has the curve is another matter.
    assert [key for key in ids(result) if key != "unusable"] == expected


@pytest.mark.parametrize("kind", [x25519.X25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 1024)])
def test_what_openssl_cannot_serve(kind, monkeypatch):
    """A key that makes no signatures, and a client that no suite of the server's is left for."""
    leaf, middle = kind(), new_key()
    chain = make("leaf", leaf, "middle", middle, NAMES) + make("middle", middle, "root", middle, ca=True)
    if isinstance(leaf, rsa.RSAPrivateKey):
        context = _checks._context

        def strict(protocol):
            made = context(protocol)
            if protocol == ssl.PROTOCOL_TLS_CLIENT:
                made.maximum_version = ssl.TLSVersion.TLSv1_2
                made.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
            return made

        monkeypatch.setattr(_checks, "_context", strict)
    result = judge(chain, text(leaf))
    assert "unusable" in ids(result)
    assert not result["usable"]


def test_a_signature_of_an_unknown_kind(files, monkeypatch):
    monkeypatch.delitem(_x509_certificate.SIGNATURES, "1.2.840.10045.4.3.2")
    result = judge(files(*GOOD), files.key("good"))
    assert ids(result) == ["signature.unknown"] * 2
    assert result["usable"] is True


# Time


def test_the_clock_of_this_machine_does_not_matter(files):
    """What has expired was fine once, and what is fine will be over."""
    one = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(files("past").decode()))
    now = one.not_before + DAY
    early = judge(files("past", "middle"), files.key("past"), now=now)
    assert ids(early) == ["chain.expired"]  # the intermediate was made later
    assert ids(judge(files("past", "oldmiddle"), files.key("past"), now=now)) == ["chain.extra", "chain.incomplete"]
    late = judge(files(*GOOD), files.key("good"), now=time.time() + 4000 * DAY)
    assert ids(late) == ["chain.expired", "expired"]


# lifetime in days: seconds left when renewal is due, and when it is urgent
LIFETIMES = {
    200: (5760000, 1728000),
    100: (2880000, 864000),
    90: (2592000, 777600),
    47: (1353600, 406080),
    6: (172800, 51840),
    1: (28800, 8640),
    398: (11462400, 3438720),
    # What lives longer is treated as if it were the longest that may be public.
    825: (11462400, 3438720),
    3650: (11462400, 3438720),
}


@pytest.mark.parametrize("days", list(LIFETIMES))
def test_lifetimes(days):
    due, urgent = LIFETIMES[days]
    start = 1_800_000_000
    end = start + days * DAY
    key = new_key()
    one = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(make("x", key, names=NAMES).decode()))
    one = one._replace(not_before=start, not_after=end)
    for now, expected, renew in (
        (start - 1, "not_yet_valid", False),
        (start, None, False),
        (end - due - 1, None, False),
        (end - due, None, False),
        (end - due + 1, "expiring", True),
        (end - urgent - 1, "expiring", True),
        (end - urgent, "expiring", True),
        (end - urgent + 1, "expiring.urgent", True),
        (end, "expiring.urgent", True),
        (end + 1, "expired", True),
    ):
        report = _certificate_findings.Report("x", names=NAMES, chain="c", key="k", ca="a")
        chain = _checks._Chain([(_checks.Block(1, "CERTIFICATE", [], True), one)], [])
        _checks._judge_time(chain, now, report)
        found = [finding["id"].partition(".")[2] for finding in report.findings]
        assert (found, _checks.is_due(one, now)) == ([expected] if expected else [], renew), now
    severities = {key: _certificate_catalogue.CATALOGUE["certificate." + key].severity for key in ELSEWHERE}
    assert (severities["expiring"], severities["expiring.urgent"]) == ("warn", "fail")


def test_an_end_before_the_beginning():
    one = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(make("x", new_key()).decode()))
    one = one._replace(not_before=2000, not_after=1000)
    assert _checks.lifetime(one) == 1
    assert [_checks.is_due(one, now) for now in (500, 1500, 2500)] == [False, True, True]
    assert _checks._described(one, 1500)["fraction_left"] == 0.0


# Names


@pytest.mark.parametrize(
    ("leaf", "name", "covered"),
    [
        ("good", "good.test", True),
        ("good", "GOOD.test.", True),
        ("good", "autodiscover.good.test", True),
        ("good", "mail.good.test", False),
        ("good", "good.test.evil.test", False),
        ("wildcard", "good.test", True),
        ("wildcard", "mail.good.test", True),
        ("wildcard", "*.good.test", True),
        # One label, and only one.
        ("wildcard", "a.mail.good.test", False),
        ("wildcard", ".good.test", False),
        ("address", "192.0.2.1", True),
        ("address", "2001:db8:0::1", True),
        ("address", "192.0.2.2", False),
        ("good", "192.0.2.1", False),
        ("good", "", False),
        ("good", "a" * 300, False),
        ("good", "-{}'\"`$(id)", False),
    ],
)
def test_names(files, leaf, name, covered):
    result = judge(files(leaf, "middle"), files.key(leaf), [name])
    assert ids(result) == ([] if covered else ["name.missing"])
    if not covered:
        assert only(result, "name.missing")["subject"] == name
        # Whatever the name is, it stays one word in the shell.
        words = shlex.split(only(result, "name.missing")["fix"], comments=True)
        assert words[7:] == ["-addext", words[8], "-out", "request.csr"]


# Self-signed


def test_self_signed_on_purpose(files):
    result = judge(files("selfsigned"), files.key("selfsigned"), self_signed_ok=True)
    assert (ids(result), result["usable"]) == (["self_signed.accepted"], True)
    assert only(result, "self_signed.accepted")["severity"] == "warn"
    wrong = judge(files("selfsigned"), files.key("other"), self_signed_ok=True)
    assert (ids(wrong), wrong["usable"]) == (["key.mismatch", "self_signed.accepted"], False)


# Who can read the key


def access(**changes):
    return Access("root", "root", 0o600, False, False, [], [], [])._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, [], ""),
        ({"readers": ["group kopano"], "mode": 0o640, "group": "kopano"}, [], ""),
        (
            {"readers": ["group staff"], "people": ["alice", "bob"], "mode": 0o640, "group": "staff"},
            ["key.permissions"],
            "mode 0640, root:staff: can be read by group staff, alice, bob",
        ),
        (
            {"readers": ["group root", "everybody"], "mode": 0o644},
            ["key.permissions"],
            "mode 0644, root:root: can be read by group root, everybody",
        ),
        (
            {"writers": ["group kopano"], "mode": 0o620},
            ["key.permissions"],
            "mode 0620, root:root: can be changed by group kopano",
        ),
        ({"person": True, "owner": "alice"}, ["key.owner"], "mode 0600, alice:root"),
    ],
)
def test_who_can_read_the_key(files, changes, expected, words):
    result = judge(files(*GOOD), files.key("good"), access=access(**changes))
    assert ids(result) == expected
    assert [finding["evidence"] for finding in result["findings"]] == ([words] if words else [])


def test_an_access_control_list_is_taken_away_as_well(files):
    listed = access(readers=["user alice"], people=["alice"], acl=True)
    result = judge(files(*GOOD), files.key("good"), access=listed, files={"key": "/etc/a key"})
    finding = only(result, "key.permissions")
    assert finding["fix"] == "setfacl -b '/etc/a key' && chown root:root '/etc/a key' && chmod 0600 '/etc/a key'"
    assert finding["subject"] == "/etc/a key"


# The commands repair what they are for

REPAIRED = {
    "wrong order": [],
    "wrong order and root": ["chain.root"],
    "root": [],
    "two servers": [],
    "twice": [],
    "left over": [],
    "Windows": [],
    "byte order mark": [],
    "UTF-16": [],
    "PKCS #7": [],
    "key in the chain": [],
    "key before the chain": [],
    "two keys": [],
    "key in DER": [],
    "key with a byte order mark": [],
    "key in UTF-16": [],
}


@pytest.mark.parametrize("name", list(REPAIRED))
def test_a_command_repairs(files, name, tmp_path):
    """Run as it would be pasted, on files whose names are awkward; what is left is another finding's matter."""
    paths = {"chain": tmp_path / "a {chain}'s.pem", "key": tmp_path / "$(id) key.pem"}
    for part, data in zip(paths, of(files, name), strict=True):
        paths[part].write_bytes(data)
    named = {part: str(path) for part, path in paths.items()}
    finding = judge(*(path.read_bytes() for path in paths.values()), files=named)["findings"][0]
    done = subprocess.run(["/bin/sh", "-c", finding["fix"]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    after = judge(*(path.read_bytes() for path in paths.values()), files=named)
    assert ids(after) == REPAIRED[name]
    # Of keys that are taken away, something is left.
    beside = {"holds_key": [named["chain"] + ".key"], "several": [named["key"] + ".old"]}
    there = [str(path) for path in tmp_path.iterdir()]
    kind = finding["id"].rpartition(".")[2] if finding["id"] != "certificate.chain.several" else ""
    assert sorted(there) == sorted([*named.values(), *beside.get(kind, [])])


def private_keys(folder):
    """The public halves of all private keys in a folder."""
    found = set()
    for path in folder.iterdir():
        for part in _checks.blocks(path.read_bytes()):
            if part.is_key and part.ended:
                pem = "-----BEGIN {0}-----\n{1}\n-----END {0}-----\n".format(
                    part.label, b"\n".join(part.lines).decode()
                )
                password = b"x" if part.encrypted else None
                with contextlib.suppress(ValueError):
                    key = serialization.load_pem_private_key(pem.encode(), password)
                    found.add(key.public_key().public_bytes(serialization.Encoding.DER, SPKI))
    return found


SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize("name", [name for name in DEFECTS if not isinstance(DEFECTS[name][1], Missing)])
@pytest.mark.parametrize("swapped", [False, True])
def test_no_command_loses_a_key(files, name, swapped, tmp_path):
    """Whatever is pasted, with the two files taken for one another as well."""
    paths = [tmp_path / "chain.pem", tmp_path / "key.pem"]
    for path, data in zip(paths, reversed(of(files, name)) if swapped else of(files, name), strict=True):
        if isinstance(data, bytes) and not isinstance(data, Missing):
            path.write_bytes(data)
    before = private_keys(tmp_path)
    contents = [path.read_bytes() if path.exists() else Missing("it is not there") for path in paths]
    result = judge(*contents, files={"chain": "chain.pem", "key": "key.pem"})
    for finding in result["findings"]:
        if not finding["fix"].startswith("curl "):
            subprocess.run(
                ["/bin/bash", "-c", finding["fix"]],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,  # no terminal to ask for a passphrase
                check=False,
            )
    assert private_keys(tmp_path) >= before


@pytest.mark.parametrize(("name", "kind"), [("expired", "expired"), ("RSA 1024", "key.weak")])
def test_a_command_makes_a_request(files, name, kind, tmp_path):
    chain, key = of(files, name)
    path = tmp_path / "key.pem"
    path.write_bytes(key)
    finding = only(judge(chain, key, files={"key": str(path)}), kind)
    subprocess.run(["/bin/sh", "-c", finding["fix"]], cwd=tmp_path, capture_output=True, check=True)
    request = crypto.load_pem_x509_csr((tmp_path / "request.csr").read_bytes())
    asked = request.extensions.get_extension_for_class(crypto.SubjectAlternativeName).value
    assert asked.get_values_for_type(crypto.DNSName) == list(NAMES)
    used = path if kind == "expired" else tmp_path / "new.key"
    public = serialization.load_pem_private_key(used.read_bytes(), None).public_key()
    assert request.public_key() == public
    assert kind == "expired" or used.stat().st_mode & 0o777 == 0o600


# Whatever it is


@settings(max_examples=300)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_garbage(chain, key):
    result = judge(chain, key)
    assert (result["usable"], result["renew_due"], result["certificate"]) == (False, True, {})


@settings(max_examples=200)
@given(st.data())
def test_damaged_files(files, data):
    """Bytes changed and left out in files that were good: a result each time, and no other certificate is usable."""
    contents = []
    for good in (files(*GOOD), files.key("good")):
        damaged = bytearray(good)
        for _time in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(damaged) - 1))
            damaged[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
            if not damaged:
                break
        contents.append(bytes(damaged))
    result = judge(*contents)
    if result["usable"] and len(result["chain"]) == 2:
        # What is left is the very same certificate: anything else would not bear its issuer's signature.
        assert (
            result["certificate"]["fingerprint_sha256"]
            == judge(files("good"), None)["certificate"]["fingerprint_sha256"]
        )
    json.dumps(result)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["good", "rsa", "middle", "middlersa", "root", "selfsigned", "past"]), max_size=7))
def test_any_mixture(files, names):
    """Any certificates in any order: usable only if the server's with its issuer come first, in order."""
    result = judge(files(*names), files.key("good"))
    once = list(dict.fromkeys(names))
    fine = once == ["good"] or (
        once[:1] == ["good"]
        and "middle" in once
        and not {"rsa", "selfsigned", "past"} & set(once)
        and ("root" not in once or once.index("middle") < once.index("root"))
    )
    assert result["usable"] is fine, ids(result)
