# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kinds of findings about TLS endpoints: one for each rule, with its id, and those beyond the grade."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import (
    GRADE,
    HSTS,
    TLS,
    Catalogue,
    Entry,
)

_SUITES = "Accept only ECDHE suites with AES-GCM or ChaCha20-Poly1305: frontend_tls_profile intermediate does."
_PROTOCOLS = "Offer TLS 1.2 and TLS 1.3 only: frontend_tls_profile intermediate does."
_RENEW = "Have the certificate issued again and installed."
_HSTS = "Send Strict-Transport-Security with max-age=31536000 once on every response: frontend_hsts_max_age."

CATALOGUE = Catalogue(
    GRADE,
    {
        "tls.endpoint.error": Entry(
            "unknown", "The endpoint could not be graded.", "Make it reachable from here, then grade again."
        ),
        "tls.grade": Entry("info", "The grade by the SSL Labs rules."),
        "tls.endpoint.from_host": Entry(
            "info",
            "Graded on the host itself, as verify_from permits: what is between clients and the host was not checked.",
            "Run it from a machine that reaches the endpoint as clients do.",
        ),
        "tls.endpoint.nameless": Entry(
            "info", "There is no name that a certificate could be for: trust and name do not count."
        ),
        "tls.certificate.trust_unknown": Entry(
            "unknown",
            "Whether the certificate is trusted could not be found out.",
            "Configure the full chain: the server's certificate, then the intermediates.",
        ),
        "tls.certificate.key_predictable": Entry(
            "fail",
            "The key is one of those that Debian's OpenSSL of 2006 to 2008 made.",
            "Issue a new certificate with a new key, made on a current system.",
        ),
        "tls.certificate.untrusted": Entry(
            "fail",
            "The certificate does not lead to a trusted authority.",
            "Use one of a trusted authority, or name the private one by its file on the controller in verify_ca_file.",
        ),
        "tls.certificate.expired": Entry("fail", "The certificate has expired.", _RENEW),
        "tls.certificate.not_yet_valid": Entry(
            "fail", "The certificate is not valid yet.", "Check the clock here and there; else wait, or issue again."
        ),
        "tls.certificate.revoked": Entry(
            "fail", "The certificate has been revoked.", "Issue a new one with a new key."
        ),
        "tls.certificate.revocation_unknown": Entry(
            "unknown",
            "Whether the authority has revoked the certificate could not be found out.",
            "Let this machine reach the address over HTTP; else use an authority that publishes what counts.",
        ),
        "tls.certificate.sha1": Entry("fail", "A certificate of the chain is signed with SHA-1.", _RENEW),
        "tls.certificate.name_mismatch": Entry(
            "fail",
            "The certificate is not for this name.",
            "Issue it for every name that is served, and check which virtual host responds.",
        ),
        "tls.certificate.key_very_weak": Entry(
            "fail",
            "The certificate's key is broken by its size.",
            "Issue a new certificate with an ECDSA P-256 or RSA 3072 key.",
        ),
        "tls.certificate.key_weak": Entry(
            "fail",
            "The certificate's key is too small.",
            "Issue a new certificate with an ECDSA P-256 or RSA 3072 key.",
        ),
        "tls.certificate.md5": Entry("fail", "A certificate of the chain is signed with MD5 or MD2.", _RENEW),
        "tls.certificate.exponent_1": Entry(
            "fail", "The RSA key has exponent 1.", "Issue a new certificate with a new key."
        ),
        "tls.chain.incomplete": Entry(
            "fail",
            "An intermediate certificate is not sent.",
            "Configure the full chain: the server's certificate, then the intermediates.",
        ),
        "tls.protocol.sslv2": Entry("fail", "SSL 2.0 is offered.", _PROTOCOLS, step=TLS),
        "tls.protocol.sslv3": Entry("fail", "SSL 3.0 is offered.", _PROTOCOLS, step=TLS),
        "tls.protocol.sslv3_best": Entry("fail", "SSL 3.0 is the best protocol on offer.", _PROTOCOLS, step=TLS),
        "tls.protocol.poodle": Entry("fail", "SSL 3.0 with CBC suites: POODLE.", _PROTOCOLS, step=TLS),
        "tls.protocol.tls10": Entry("fail", "TLS 1.0 is offered.", _PROTOCOLS, step=TLS),
        "tls.protocol.tls11": Entry("fail", "TLS 1.1 is offered.", _PROTOCOLS, step=TLS),
        "tls.protocol.no_tls12": Entry("fail", "Neither TLS 1.2 nor TLS 1.3 is offered.", _PROTOCOLS, step=TLS),
        "tls.protocol.no_tls13": Entry(
            "fail",
            "TLS 1.3 is not offered.",
            "Offer TLS 1.3; it needs OpenSSL 1.1.1 and Apache 2.4.36 or nginx 1.13.",
            step=TLS,
        ),
        "tls.renegotiation.insecure": Entry(
            "fail", "Clients may renegotiate without RFC 5746.", "Update the server's TLS library.", step=TLS
        ),
        "tls.renegotiation.unsupported": Entry(
            "fail", "Secure renegotiation (RFC 5746) is not supported.", "Update the server's TLS library.", step=TLS
        ),
        "tls.compression": Entry(
            "fail", "TLS compression is on: CRIME.", "Switch it off: SSLCompression off, or a newer OpenSSL.", step=TLS
        ),
        "tls.cipher.rc4": Entry("fail", "RC4 is accepted.", _SUITES, step=TLS),
        "tls.cipher.rc4_only": Entry("fail", "Nothing but RC4 is accepted.", _SUITES, step=TLS),
        "tls.cipher.rc4_modern": Entry("fail", "Current clients get RC4.", _SUITES, step=TLS),
        "tls.cipher.block64_modern": Entry(
            "fail", "Current clients get a cipher with 64-bit blocks.", _SUITES, step=TLS
        ),
        "tls.cipher.export": Entry("fail", "Export suites are accepted.", _SUITES, step=TLS),
        "tls.cipher.weak": Entry("fail", "Suites below 112 bits are accepted.", _SUITES, step=TLS),
        "tls.cipher.null": Entry("fail", "A suite without encryption is accepted.", _SUITES, step=TLS),
        "tls.cipher.anonymous": Entry("fail", "A suite without authentication is accepted.", _SUITES, step=TLS),
        "tls.cipher.no_forward_secrecy": Entry(
            "fail", "Reference browsers do not get forward secrecy.", _SUITES, step=TLS
        ),
        "tls.cipher.no_aead": Entry("fail", "No suite with authenticated encryption is accepted.", _SUITES, step=TLS),
        "tls.dh.very_weak": Entry(
            "fail",
            "The Diffie-Hellman parameters are broken by their size.",
            "Do without DHE suites: frontend_tls_profile intermediate does.",
            step=TLS,
        ),
        "tls.dh.weak": Entry(
            "fail",
            "The Diffie-Hellman parameters are too small.",
            "Do without DHE suites: frontend_tls_profile intermediate does.",
            step=TLS,
        ),
        "tls.hsts.absent": Entry("fail", "There is no HSTS header.", _HSTS, step=HSTS),
        "tls.hsts.short": Entry("fail", "The HSTS max-age is shorter than half a year.", _HSTS, step=HSTS),
        "tls.hsts.disabled": Entry("fail", "HSTS is switched off by max-age=0.", _HSTS, step=HSTS),
        "tls.hsts.invalid": Entry("fail", "The HSTS header is not valid.", _HSTS, step=HSTS),
        "tls.hsts.unknown": Entry(
            "unknown", "HSTS could not be read.", "Let the start page respond over HTTPS, with http on.", step=HSTS
        ),
        "tls.probe.unclear": Entry(
            "unknown",
            "Some requests got no clear result.",
            "Look for a firewall or a rate limiter between here and the endpoint.",
        ),
        # Beyond the grade.
        "tls.attack.robot": Entry(
            "fail", "The server reveals whether an RSA key exchange was malformed: ROBOT.", _SUITES, step=TLS
        ),
        "tls.attack.cbc_oracle": Entry(
            "fail", "The server reveals how a CBC record was malformed: a padding oracle.", _SUITES, step=TLS
        ),
        "tls.attack.excluded": Entry("info", "Attacks that cannot apply, as what they need is not there."),
        "tls.attack.tested": Entry("info", "Attacks that were tested for without exploit traffic and not found."),
        "tls.attack.not_tested": Entry("info", "Attacks that were not tested, as only exploit traffic could.", _SUITES),
        "tls.group.no_post_quantum": Entry(
            "info", "No post-quantum key agreement.", "It comes with OpenSSL 3.5.", step=TLS
        ),
        "tls.group.post_quantum_off": Entry(
            "warn",
            "The server's OpenSSL has post-quantum groups, the configuration keeps them out.",
            "Put X25519MLKEM768 in front of the list of groups, or drop the list.",
            step=TLS,
        ),
        "tls.certificate.expires_soon": Entry(
            "warn",
            "Less than a third of the certificate's lifetime is left.",
            "Renew now, and see why it was not renewed by itself.",
        ),
        "tls.certificate.lifetime": Entry(
            "info",
            "The certificate lives longer than its successor may.",
            "Automate renewal: 200 days since March 2026, 100 from March 2027, 47 from March 2029.",
        ),
        "tls.certificate.rsa_2048": Entry(
            "info",
            "RSA with less than 3072 bits is to be phased out.",
            "Prefer an ECDSA P-256 key at the next renewal.",
        ),
        "tls.certificate.must_staple": Entry(
            "warn",
            "The certificate demands a stapled OCSP response, and none is sent.",
            "Switch stapling on, or have it issued without the demand.",
        ),
        "tls.certificate.staple_invalid": Entry(
            "warn",
            "The stapled OCSP response does not count.",
            "Let the server fetch a new one: check its resolver and clock, or switch stapling off.",
        ),
        "tls.chain.ends_first": Entry(
            "warn",
            "An intermediate certificate ends before the server's does, or within 30 days.",
            "Configure the chain that the CA gives out now; if it has none that lasts, use another CA's.",
        ),
        "tls.chain.order": Entry(
            "info",
            "The chain is out of order, or has certificates that do not belong.",
            "Send the server's certificate, then each issuer once.",
        ),
        "tls.chain.anchor": Entry(
            "info", "The root certificate is sent along.", "Leave it out: a client that trusts it has it."
        ),
        "tls.renegotiation.client": Entry(
            "warn",
            "Clients may start a renegotiation, which costs the server more than them.",
            "Switch it off; current OpenSSL does by default.",
            step=TLS,
        ),
        "tls.extension.extended_master_secret": Entry(
            "warn",
            "TLS 1.2 without the extended master secret (RFC 7627).",
            "Update the server's TLS library.",
            step=TLS,
        ),
        "tls.tickets": Entry(
            "info",
            "Session tickets are issued: forward secrecy is as good as the rotation of their keys.",
            "Switch them off, or rotate the keys daily.",
            step=TLS,
        ),
        "tls.cipher.client_order": Entry(
            "info",
            "The client's order of suites decides.",
            "frontend_tls_prefer_server_ciphers, if the checklist is to be met to the letter.",
            step=TLS,
        ),
        "tls.guideline.met": Entry("info", "It conforms to the TLS guideline 6.0.", step=TLS),
        "tls.guideline.missed": Entry(
            "info", "It does not conform to the TLS guideline 6.0.", "frontend_tls_profile intermediate does.", step=TLS
        ),
        "tls.hsts.preload_ready": Entry("info", "The HSTS header is ready for the preload list.", step=HSTS),
        "tls.hsts.preload_incomplete": Entry(
            "warn",
            "The HSTS header requests preloading, but the list would refuse it.",
            "It takes max-age=31536000, includeSubDomains, and a redirect from HTTP.",
            step=HSTS,
        ),
        "tls.starttls.clear_login": Entry(
            "warn",
            "The mail server lets clients log in before STARTTLS, so passwords may be sent in clear text.",
            "Postfix: smtpd_tls_auth_only=yes. Dovecot 2.4: auth_allow_cleartext=no. Older Dovecot and kopano-gateway: "
            "disable_plaintext_auth=yes.",
            step=TLS,
        ),
        "tls.http.no_redirect": Entry(
            "warn",
            "Plain HTTP does not lead to HTTPS on the same host.",
            "Redirect every request but /.well-known/acme-challenge/.",
            step=TLS,
        ),
    },
)
finding = CATALOGUE.finding
