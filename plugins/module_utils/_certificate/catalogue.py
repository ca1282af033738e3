# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kinds of findings about certificates and keys.

In a fix, C({chain}), C({key}) and C({ca}) are the files, C({request}) is a command that makes a request for the same
key, and C({new_request}) one for a new key. Where nothing fits everybody, certificate.pem, intermediate.pem and
root.pem stand for what the CA delivered. Whatever is pasted, no private key gets lost by it.
"""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import GRADE, Catalogue, Entry

_ASSEMBLE = "cat certificate.pem intermediate.pem > fullchain.pem"
# Into the file itself, so that it stays its owner's and keeps its permissions.
_CHAIN = "cat {chain}.new > {chain} && rm {chain}.new"
_KEY = "cat {key}.new > {key} && rm {key}.new"

CATALOGUE = Catalogue(
    GRADE,
    {
        # The file with the certificates
        "certificate.chain.missing": Entry("fail", "The file with the certificates cannot be read.", _ASSEMBLE),
        "certificate.chain.hidden": Entry(
            "unknown",
            "The file with the certificates cannot be read without root, so it was not checked.",
            "ls -lL {chain}  # as root",
        ),
        "certificate.chain.empty": Entry("fail", "There is no certificate in the file.", _ASSEMBLE),
        "certificate.chain.binary": Entry(
            "fail",
            "The file is binary; servers read certificates as PEM text.",
            "openssl x509 -inform DER -in {chain} -out {chain}.pem",
        ),
        "certificate.chain.unreadable": Entry(
            "fail", "A certificate in the file is damaged.", f"{_ASSEMBLE}  # from the files as the CA delivered them"
        ),
        "certificate.chain.encoding": Entry(
            "fail",
            "The certificates' file begins with a byte order mark: not every OpenSSL sees what comes right after it.",
            "LC_ALL=C sed -i '1s/^\\xef\\xbb\\xbf//' {chain}",
        ),
        "certificate.chain.line_ends": Entry(
            "info",
            "The file with the certificates has the line ends of Windows; servers can read them.",
            "sed -i 's/\\r$//' {chain}",
        ),
        "certificate.chain.holds_key": Entry(
            "fail",
            "The file with the certificates holds a private key as well; certificates are for everybody to read.",
            "(umask 077 && openssl pkey -in {chain} -out {chain}.key) && "
            f"sed -n '/^-----BEGIN CERTIFICATE-/,/^-----END CERTIFICATE-/p' {{chain}} > {{chain}}.new && {_CHAIN}",
        ),
        # What the certificates are to each other
        "certificate.chain.leaf_missing": Entry(
            "fail",
            "The file has certificates of authorities only; the server's own is missing.",
            "cat certificate.pem {chain} > fullchain.pem",
        ),
        "certificate.chain.several": Entry(
            "fail", "The file has certificates of more than one server; the first is used.", _ASSEMBLE
        ),
        "certificate.chain.order": Entry(
            "fail", "The certificates are out of order: the server's comes first, then each issuer.", _ASSEMBLE
        ),
        "certificate.chain.extra": Entry(
            "warn", "The file has certificates that do not belong to the chain.", _ASSEMBLE
        ),
        "certificate.chain.root": Entry(
            "info", "The root certificate is sent along; a client that trusts it has it.", _ASSEMBLE
        ),
        "certificate.chain.incomplete": Entry(
            "fail",
            "An intermediate certificate is missing: phones and other clients that cannot fetch it refuse the server.",
            "cat intermediate.pem >> {chain}",
        ),
        "certificate.chain.unknown": Entry(
            "unknown",
            "Whether an intermediate certificate is missing is not known: the issuer may be a root, or not.",
            "openssl verify -CAfile root.pem {chain}  # and name the root of a private CA in verify_ca_file",
        ),
        "certificate.chain.untrusted": Entry(
            "fail",
            "The chain ends in a root that is not among the given authorities.",
            "openssl crl2pkcs7 -nocrl -certfile {ca} | openssl pkcs7 -print_certs -noout  # those that are",
        ),
        "certificate.chain.signature": Entry(
            "fail",
            "A certificate was not signed by the one that claims to be its issuer.",
            f"{_ASSEMBLE}  # with the intermediate that the CA delivered with this certificate",
        ),
        "certificate.chain.refused": Entry(
            "fail", "Clients refuse the chain.", "openssl verify -untrusted {chain} -CAfile root.pem {chain}"
        ),
        "certificate.chain.expired": Entry(
            "fail",
            "A certificate of the chain above the server's is not valid today.",
            f"{_ASSEMBLE}  # with the CA's present intermediate",
        ),
        "certificate.chain.ends_first": Entry(
            "warn",
            "A certificate of the chain above the server's ends before it, or within 30 days.",
            f"{_ASSEMBLE}  # with the CA's present intermediate",
        ),
        "certificate.unusable": Entry(
            "fail", "OpenSSL of this machine cannot serve this certificate with this key.", "{new_request}"
        ),
        # The server's certificate
        "certificate.name.missing": Entry("fail", "The certificate is not for a name that is served.", "{request}"),
        "certificate.purpose": Entry("fail", "The certificate is not made for TLS servers.", "{request}"),
        "certificate.expired": Entry("fail", "The certificate has expired.", "{request}"),
        "certificate.not_yet_valid": Entry(
            "fail", "The certificate is not valid yet.", "timedatectl  # is the clock right? Else wait, or: {request}"
        ),
        "certificate.expiring": Entry(
            "warn", "Less than a third of the certificate's lifetime is left: renewal is due.", "{request}"
        ),
        "certificate.expiring.urgent": Entry(
            "fail", "Less than a tenth of the certificate's lifetime is left, and it was not renewed.", "{request}"
        ),
        "certificate.self_signed": Entry(
            "fail", "The certificate is self-signed: browsers and phones refuse it.", "{request}"
        ),
        "certificate.self_signed.accepted": Entry(
            "warn",
            "The certificate is self-signed, as the options require: browsers and phones refuse it.",
            "{request}",
        ),
        "certificate.must_staple_without_ocsp": Entry(
            "fail",
            "The certificate demands a stapled OCSP response but does not name a server for it: browsers refuse it.",
            "{request}",
        ),
        "certificate.signature.weak": Entry(
            "fail", "A signature in the chain uses a digest that is broken.", "{request}"
        ),
        "certificate.signature.unknown": Entry(
            "unknown", "A signature in the chain is of a kind that is not known here.", "{request}"
        ),
        "certificate.key.weak": Entry("fail", "A key in the chain is too short.", "{new_request}"),
        "certificate.key.unusual": Entry(
            "warn", "Browsers and phones do not accept keys of this kind.", "{new_request}"
        ),
        # The file with the key
        "certificate.key.missing": Entry(
            "fail", "The file with the private key cannot be read.", "ls -lL {key}  # or a new one: {new_request}"
        ),
        "certificate.key.hidden": Entry(
            "unknown",
            "The file with the private key cannot be read without root: whether it is there and fits, and the chain's "
            "signatures, were not checked.",
            "ls -lL {key}  # as root",
        ),
        "certificate.key.unknown": Entry(
            "unknown",
            "No private key was given: whether it fits, and the chain's signatures, were not checked.",
            "openssl pkey -in key.pem -pubout; openssl x509 -in {chain} -pubkey -noout  # these must be the same",
        ),
        "certificate.key.empty": Entry(
            "fail", "There is no private key in the file.", "ls -lL {key}  # or a new one: {new_request}"
        ),
        "certificate.key.several": Entry(
            "fail",
            "The file has more than one private key; the first is used.",
            f"(umask 077 && cp {{key}} {{key}}.old && openssl pkey -in {{key}} -out {{key}}.new) && {_KEY}",
        ),
        "certificate.key.binary": Entry(
            "fail",
            "The key's file is binary; servers read keys as PEM text.",
            f"(umask 077 && openssl pkey -inform DER -in {{key}} -out {{key}}.new) && {_KEY}",
        ),
        "certificate.key.encoding": Entry(
            "fail",
            "The key's file begins with a byte order mark: not every OpenSSL sees what comes right after it.",
            "LC_ALL=C sed -i '1s/^\\xef\\xbb\\xbf//' {key}",
        ),
        "certificate.key.encrypted": Entry(
            "fail",
            "The private key is encrypted: a server would need its passphrase at every start.",
            f"(umask 077 && openssl pkey -in {{key}} -out {{key}}.new) && {_KEY}",
        ),
        "certificate.key.unreadable": Entry(
            "fail", "The private key is damaged, or of a kind that OpenSSL does not know.", "{new_request}"
        ),
        "certificate.key.mismatch": Entry(
            "fail",
            "The private key does not belong to the certificate.",
            "openssl pkey -in {key} -pubout; openssl x509 -in {chain} -pubkey -noout  # these must be the same",
        ),
        "certificate.key.permissions": Entry(
            "fail",
            "Others than the server can read the private key, or change it.",
            "chown root:root {key} && chmod 0600 {key}",
        ),
        "certificate.key.owner": Entry(
            "warn", "The private key belongs to an account that a person may log in as.", "chown root {key}"
        ),
    },
)
finding = CATALOGUE.finding
