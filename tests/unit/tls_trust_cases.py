# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trust as data: servers, the letter that the rating guide gives each, and why.

C(letter) is what both modes have to come to, None where nothing but "not known" is true; C(ignored) is the letter with
trust ignored, C(rules) what holds. C(serve) starts the server: it is called with the PKI of test_tls_trust.py and gives
a context manager with the port.
"""

from __future__ import annotations

import contextlib
import typing as t

from . import tls_bed as bed
from . import tls_peers as peers

ECDHE_RSA = "ECDHE-RSA-AES128-GCM-SHA256"
UNTRUSTED, INCOMPLETE = "tls.certificate.untrusted", "tls.chain.incomplete"
UNREAD = "tls.hsts.unknown"


class Case(t.NamedTuple):
    name: str
    server: str
    letter: str | None
    reason: str
    serve: t.Callable[[t.Any], t.Any]
    ignored: str | None = None
    rules: tuple[str, ...] = ()


@contextlib.contextmanager
def nginx(pki, leaves, **options):
    """nginx with these leaves; one with a file of its own for the chain is (leaf, file)."""
    (port,) = bed.free_ports()
    plain = [leaf if isinstance(leaf, str) else leaf[0] for leaf in leaves]
    site = bed.nginx_site(port, plain, **options)
    for leaf in leaves:
        if not isinstance(leaf, str):
            site = site.replace(f"{leaf[0]}.chain;", f"{leaf[1]};")
    with bed.nginx(pki.folder, [site], port):
        yield port


@contextlib.contextmanager
def s_server(pki, leaf, *arguments, **options):
    (port,) = bed.free_ports()
    with bed.s_server(pki.folder, port, *bed.shown(leaf), *arguments, **options):
        yield port


@contextlib.contextmanager
def by_protocol(pki, leaves12, leaves13):
    """A proxy that leads clients with TLS 1.3 to another server than those without."""
    with nginx(pki, leaves12, protocols="TLSv1.2") as port12, nginx(pki, leaves13, protocols="TLSv1.3") as port13:

        def handle(sock, _over):
            # The extension supported_versions with TLS 1.3 in it.
            hello = peers.peek(sock)
            peers.relay(sock, port13 if b"\x00\x2b\x00\x03\x02\x03\x04" in hello else port12)

        with peers.serving(handle) as port:
            yield port


@contextlib.contextmanager
def old_node(pki, version, ciphers, **options):
    (port,) = bed.free_ports()
    pki.run("rsa", "-traditional", "-in", "good.key", "-out", "traditional.key")
    files = {"key": pki.path("traditional.key"), "cert": pki.path("good.chain")}
    with bed.node(pki.folder, port, version, ciphers=ciphers, honorCipherOrder=True, **files, **options):
        yield port


def beside(*others, **options):
    """nginx with the good ECDSA certificate and others."""
    return lambda pki: nginx(pki, ("ec", *others), **options)


def alone(*leaves, **options):
    return lambda pki: nginx(pki, leaves, **options)


SEVERAL = (
    Case("good ECDSA and RSA", "nginx", "A+", "every certificate is trusted", beside("good")),
    Case("RSA self-signed beside ECDSA", "nginx", "T", "the worst certificate counts", beside("selfsigned"),
         "A+", (UNTRUSTED,)),
    Case("RSA expired beside ECDSA", "nginx", "T", "the worst certificate counts", beside("expired"),
         "A+", (UNTRUSTED, "tls.certificate.expired")),
    Case("RSA without its intermediate beside ECDSA", "nginx", "T", "no path from what is sent",
         beside(("good", "good.pem")), "B", (UNTRUSTED, INCOMPLETE)),
    Case("RSA for another name beside ECDSA", "nginx", "M", "the worst certificate counts", beside("wrong"),
         "A+", ("tls.certificate.name_mismatch",)),
    Case("RSA-PSS for another name beside ECDSA", "nginx", "M", "a third kind of key", beside("wrongpss"),
         "A+", ("tls.certificate.name_mismatch",)),
    Case("Ed25519 for another name beside ECDSA and RSA", "nginx", "M", "a third kind of key",
         beside("good", "wronged"), "A+", ("tls.certificate.name_mismatch",)),
    Case("RSA self-signed beside ECDSA, TLS 1.2 only", "nginx", "T", "the worst certificate counts",
         beside("selfsigned", protocols="TLSv1.2"), "A-", (UNTRUSTED, "tls.protocol.no_tls13")),
    Case("RSA-PSS for another name beside ECDSA, TLS 1.2 only", "nginx", "M", "a third kind of key",
         beside("wrongpss", protocols="TLSv1.2"), "A-", ("tls.certificate.name_mismatch", "tls.protocol.no_tls13")),
    Case("RSA self-signed beside ECDSA, TLS 1.3 only", "nginx", "T", "TLS 1.3 hides certificates, not from us",
         beside("selfsigned", protocols="TLSv1.3"), "A+", (UNTRUSTED,)),
    Case("RSA self-signed beside ECDSA, TLS 1.3 and secp384r1 only", "nginx", "T", "a group that few offer a key for",
         beside("selfsigned", protocols="TLSv1.3", more=bed.HSTS + "ssl_ecdh_curve secp384r1;"), "A+", (UNTRUSTED,)),
    Case("RSA self-signed beside ECDSA, CBC only", "nginx", "T", "also where no suite is one of the wanted ones",
         beside("selfsigned", protocols="TLSv1.2", ciphers="ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256"),
         "B", (UNTRUSTED, "tls.protocol.no_tls13", "tls.cipher.no_aead")),
    Case("self-signed in TLS 1.2, good in TLS 1.3", "two nginx behind a proxy", "T", "what old clients get counts",
         lambda pki: by_protocol(pki, ["selfsigned"], ["ec"]), "A+", (UNTRUSTED,)),
    Case("good in TLS 1.2, self-signed in TLS 1.3", "two nginx behind a proxy", "T", "what new clients get counts",
         lambda pki: by_protocol(pki, ["good"], ["selfsigned"]), "A+", (UNTRUSTED,)),
    Case("the intermediate in TLS 1.2 only", "two nginx behind a proxy", "T", "each chain counts as it is sent",
         lambda pki: by_protocol(pki, ["ec"], [("ec", "ec.pem")]), "B", (UNTRUSTED, INCOMPLETE)),
)  # fmt: skip

PATHS = (
    Case("an old root's SHA-1 cross-certificate sent along", "nginx", "A+", "it is not on the path to the trusted root",
         alone(("good", "crossed.pem"))),
    Case("two intermediates of one key, SHA-1 first", "nginx", "A+", "there is a path without SHA-1",
         alone(("good", "twice.pem"))),
    Case("the only intermediate signed with SHA-1", "nginx", "T", "the path has a SHA-1 signature",
         alone(("good", "weak.pem")), "A+", ("tls.certificate.sha1",)),
    Case("a missing intermediate that can be fetched", "nginx", "B", "chain issues: incomplete",
         alone(("fetchable", "fetchable.pem")), "B", (INCOMPLETE,)),
    Case("a missing intermediate in a PKCS #7 container", "nginx", "B", "chain issues: incomplete",
         alone(("packed", "packed.pem")), "B", (INCOMPLETE,)),
    Case("a missing intermediate whose address is dead", "nginx", None, "not known: it could not be fetched",
         alone(("dead", "dead.pem")), "B", (INCOMPLETE,)),
    Case("a missing intermediate at an address on the local network", "nginx", None, "not known: it is not fetched",
         alone(("inside", "inside.pem")), "B", (INCOMPLETE,)),
    Case("an address that has another certificate", "nginx", None, "not known: its issuer could not be fetched",
         alone(("misled", "misled.pem")), "B", (INCOMPLETE,)),
    Case("a certificate for clients", "nginx", "T", "its authority did not issue it for servers",
         alone("client"), "A+", (UNTRUSTED,)),
    Case("a name that its authority may not issue for", "nginx", "T", "name constraints",
         alone(("bounded", "bounded.chain")), "A+", (UNTRUSTED,)),
)  # fmt: skip

TO_12 = ("tls.protocol.tls10", "tls.protocol.tls11", "tls.protocol.no_tls13")
NO_FS = ("tls.cipher.no_aead", "tls.cipher.no_forward_secrecy")
# Servers that the local library cannot speak to, or not to the end. The certificate is good in each.
VISITS = (
    Case("h2 by ALPN only", "s_server", "A", "what it sends without ALPN has no HSTS",
         lambda pki: s_server(pki, "good", "-alpn", "h2"), "A"),
    Case("a client certificate is required, TLS 1.2", "s_server", "A-", "HSTS could not be read; no TLS 1.3",
         lambda pki: s_server(pki, "good", "-Verify", "1", "-tls1_2"), "A-", (UNREAD, "tls.protocol.no_tls13")),
    Case("a group that the local library does not offer", "s_server", "A-", "HSTS could not be read; no TLS 1.3",
         lambda pki: s_server(pki, "good", "-groups", "brainpoolP256r1", "-tls1_2", "-cipher", ECDHE_RSA),
         "A-", (UNREAD, "tls.protocol.no_tls13")),
    Case("3DES only", "node 4.9.1", "C", "64-bit blocks with TLS 1.1 and newer",
         lambda pki: old_node(pki, "4.9.1", "DES-CBC3-SHA"),
         "C", (*TO_12, *NO_FS, "tls.cipher.block64_modern", UNREAD)),
    Case("RC4 only", "node 4.9.1", "F", "RC4 is the only cipher",
         lambda pki: old_node(pki, "4.9.1", "RC4-SHA"),
         "F", (*TO_12, *NO_FS, "tls.cipher.rc4", "tls.cipher.rc4_modern", "tls.cipher.rc4_only", UNREAD)),
    Case("SSL 3.0 only", "node 0.10.28", "F", "SSL 3.0 is the best protocol",
         lambda pki: old_node(pki, "0.10.28", "AES128-SHA", secureProtocol="SSLv3_method"),
         "F", (*NO_FS, "tls.protocol.sslv3", "tls.protocol.poodle", "tls.protocol.no_tls13", "tls.protocol.no_tls12",
               "tls.protocol.sslv3_best", UNREAD)),
    Case("no authentication at all", "nginx", "F", "an anonymous key exchange scores zero",
         alone("good", protocols="TLSv1.2", ciphers="AECDH-AES256-SHA:@SECLEVEL=0"),
         "F", ("tls.cipher.anonymous", "tls.cipher.no_aead", "tls.protocol.no_tls13", UNREAD)),
    Case("no encryption at all", "nginx", "F", "a cipher without encryption scores zero",
         alone("good", protocols="TLSv1.2", ciphers="ECDHE-RSA-NULL-SHA:@SECLEVEL=0"),
         "F", ("tls.cipher.null", "tls.cipher.weak", "tls.cipher.no_aead", "tls.protocol.no_tls13", UNREAD)),
)  # fmt: skip


class Stapled(t.NamedTuple):
    """A stapled response: its file, and the status that it counts for."""

    name: str
    file: str
    status: str
    reason: str

    def serve(self, pki, **options):
        more = bed.HSTS + f"ssl_stapling on; ssl_stapling_file {self.file}.ocsp;"
        return nginx(pki, ["good"], more=more, **options)


STAPLED = (
    Stapled("revoked, by the issuer", "revoked", "revoked", "a revoked certificate is not trusted"),
    Stapled(
        "revoked, by a delegate of the issuer", "revoked-delegate", "revoked", "a revoked certificate is not trusted"
    ),
    Stapled("good, by the issuer", "good", "good", "not revoked"),
    Stapled("good, by a delegate of the issuer", "good-delegate", "good", "not revoked"),
    Stapled("revoked, another serial", "revoked-serial", "invalid", "it is for another certificate"),
    Stapled("revoked, of another issuer", "revoked-issuer", "invalid", "it is for another certificate"),
    Stapled("revoked, forged", "revoked-forged", "invalid", "the signature is not the issuer's"),
    Stapled("good, forged", "good-forged", "invalid", "the signature is not the issuer's"),
    Stapled("good, by one without the right", "good-usurper", "invalid", "id-kp-OCSPSigning is missing"),
    Stapled("good, by another authority's delegate", "good-stranger", "invalid", "no delegate of this issuer"),
    Stapled("good, out of date", "good-old", "invalid", "nextUpdate is past"),
    Stapled("good, of the future", "good-future", "invalid", "thisUpdate is to come"),
    Stapled("the responder refuses", "refused", "error", "nothing is known"),
)
STAPLES = tuple(
    Case(
        "stapled: " + one.name,
        "nginx",
        "T" if one.status == "revoked" else "A+",
        one.reason,
        one.serve,
        "A+",
        ("tls.certificate.revoked",) if one.status == "revoked" else (),
    )
    for one in STAPLED
)

CASES = SEVERAL + PATHS + VISITS + STAPLES
