# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The catalogue of C(certificate.*) findings, and the commands that repair them."""

from __future__ import annotations

import ipaddress
import re
import shlex
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import shell_path
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

STEP = 5


class Entry(t.NamedTuple):
    """A kind of finding: step of the checklist, severity (fail, warn, info, unknown), message and fix.

    In a fix, C({chain}), C({key}) and C({ca}) are the files, C({request}) is a command that makes a request for the
    same key, and C({new_request}) one for a new key. Where nothing fits everybody, certificate.pem, intermediate.pem
    and root.pem stand for what the CA delivered. Whatever is pasted, no private key gets lost by it.
    """

    step: int
    severity: str
    message: str
    fix: str


_NAME = re.compile(r"[A-Za-z0-9*_.:-]+")
_ASSEMBLE = "cat certificate.pem intermediate.pem > fullchain.pem"
# Into the file itself, so that it stays its owner's and keeps its permissions.
_CHAIN = "cat {chain}.new > {chain} && rm {chain}.new"
_KEY = "cat {key}.new > {key} && rm {key}.new"

CATALOGUE = {
    # The file with the certificates
    "certificate.chain.missing": Entry(STEP, "fail", "The file with the certificates cannot be read.", _ASSEMBLE),
    "certificate.chain.empty": Entry(STEP, "fail", "There is no certificate in the file.", _ASSEMBLE),
    "certificate.chain.binary": Entry(
        STEP,
        "fail",
        "The file is binary; servers read certificates as PEM text.",
        "openssl x509 -inform DER -in {chain} -out {chain}.pem",
    ),
    "certificate.chain.unreadable": Entry(
        STEP,
        "fail",
        "A certificate in the file is damaged.",
        f"{_ASSEMBLE}  # from the files as the CA delivered them",
    ),
    "certificate.chain.encoding": Entry(
        STEP,
        "fail",
        "The certificates' file begins with a byte order mark: not every OpenSSL sees what comes right after it.",
        "LC_ALL=C sed -i '1s/^\\xef\\xbb\\xbf//' {chain}",
    ),
    "certificate.chain.line_ends": Entry(
        STEP,
        "info",
        "The file with the certificates has the line ends of Windows; servers can read them.",
        "sed -i 's/\\r$//' {chain}",
    ),
    "certificate.chain.holds_key": Entry(
        STEP,
        "fail",
        "The file with the certificates holds a private key as well; certificates are for everybody to read.",
        "(umask 077 && openssl pkey -in {chain} -out {chain}.key) && "
        f"sed -n '/^-----BEGIN CERTIFICATE-/,/^-----END CERTIFICATE-/p' {{chain}} > {{chain}}.new && {_CHAIN}",
    ),
    # What the certificates are to each other
    "certificate.chain.leaf_missing": Entry(
        STEP,
        "fail",
        "The file has certificates of authorities only; the server's own is missing.",
        "cat certificate.pem {chain} > fullchain.pem",
    ),
    "certificate.chain.several": Entry(
        STEP, "fail", "The file has certificates of more than one server; the first is used.", _ASSEMBLE
    ),
    "certificate.chain.order": Entry(
        STEP, "fail", "The certificates are out of order: the server's comes first, then each issuer.", _ASSEMBLE
    ),
    "certificate.chain.extra": Entry(
        STEP, "warn", "The file has certificates that do not belong to the chain.", _ASSEMBLE
    ),
    "certificate.chain.root": Entry(
        STEP, "info", "The root certificate is sent along; a client that trusts it has it.", _ASSEMBLE
    ),
    "certificate.chain.incomplete": Entry(
        STEP,
        "fail",
        "An intermediate certificate is missing: phones and other clients that cannot fetch it refuse the server.",
        "cat intermediate.pem >> {chain}",
    ),
    "certificate.chain.unknown": Entry(
        STEP,
        "unknown",
        "Whether an intermediate certificate is missing is not known: the issuer may be a root, or not.",
        "openssl verify -CAfile root.pem {chain}  # and name the root's file in ca_file",
    ),
    "certificate.chain.untrusted": Entry(
        STEP,
        "fail",
        "The chain ends in a root that is not among the given authorities.",
        "openssl crl2pkcs7 -nocrl -certfile {ca} | openssl pkcs7 -print_certs -noout  # those that are",
    ),
    "certificate.chain.signature": Entry(
        STEP,
        "fail",
        "A certificate was not signed by the one that claims to be its issuer.",
        f"{_ASSEMBLE}  # with the intermediate that the CA delivered with this certificate",
    ),
    "certificate.chain.refused": Entry(
        STEP, "fail", "Clients refuse the chain.", "openssl verify -untrusted {chain} -CAfile root.pem {chain}"
    ),
    "certificate.chain.expired": Entry(
        STEP,
        "fail",
        "A certificate of the chain above the server's is not valid today.",
        f"{_ASSEMBLE}  # with the CA's present intermediate",
    ),
    "certificate.unusable": Entry(
        STEP,
        "fail",
        "OpenSSL of this machine cannot serve this certificate with this key.",
        "{new_request}",
    ),
    # The server's certificate
    "certificate.name.missing": Entry(STEP, "fail", "The certificate is not for a name that is served.", "{request}"),
    "certificate.purpose": Entry(STEP, "fail", "The certificate is not made for TLS servers.", "{request}"),
    "certificate.expired": Entry(STEP, "fail", "The certificate has expired.", "{request}"),
    "certificate.not_yet_valid": Entry(
        STEP, "fail", "The certificate is not valid yet.", "timedatectl  # is the clock right? Else wait, or: {request}"
    ),
    "certificate.expiring": Entry(
        STEP, "warn", "Less than a third of the certificate's lifetime is left: renewal is due.", "{request}"
    ),
    "certificate.expiring.urgent": Entry(
        STEP, "fail", "Less than a tenth of the certificate's lifetime is left, and it was not renewed.", "{request}"
    ),
    "certificate.self_signed": Entry(
        STEP, "fail", "The certificate is self-signed: browsers and phones refuse it.", "{request}"
    ),
    "certificate.self_signed.accepted": Entry(
        STEP,
        "warn",
        "The certificate is self-signed, which was asked for: browsers and phones refuse it.",
        "{request}",
    ),
    "certificate.must_staple_without_ocsp": Entry(
        STEP,
        "fail",
        "The certificate demands a stapled OCSP response but does not say where to get one: browsers refuse it.",
        "{request}",
    ),
    "certificate.signature.weak": Entry(
        STEP, "fail", "A signature in the chain uses a digest that is broken.", "{request}"
    ),
    "certificate.signature.unknown": Entry(
        STEP, "unknown", "A signature in the chain is of a kind that is not known here.", "{request}"
    ),
    "certificate.key.weak": Entry(STEP, "fail", "A key in the chain is too short.", "{new_request}"),
    "certificate.key.unusual": Entry(
        STEP, "warn", "Browsers and phones do not accept keys of this kind.", "{new_request}"
    ),
    # The file with the key
    "certificate.key.missing": Entry(
        STEP, "fail", "The file with the private key cannot be read.", "ls -lL {key}  # or a new one: {new_request}"
    ),
    "certificate.key.unknown": Entry(
        STEP,
        "unknown",
        "No private key was given: whether it fits, and the chain's signatures, were not checked.",
        "openssl pkey -in key.pem -pubout; openssl x509 -in {chain} -pubkey -noout  # these must be the same",
    ),
    "certificate.key.empty": Entry(
        STEP, "fail", "There is no private key in the file.", "ls -lL {key}  # or a new one: {new_request}"
    ),
    "certificate.key.several": Entry(
        STEP,
        "fail",
        "The file has more than one private key; the first is used.",
        f"(umask 077 && cp {{key}} {{key}}.old && openssl pkey -in {{key}} -out {{key}}.new) && {_KEY}",
    ),
    "certificate.key.binary": Entry(
        STEP,
        "fail",
        "The key's file is binary; servers read keys as PEM text.",
        f"(umask 077 && openssl pkey -inform DER -in {{key}} -out {{key}}.new) && {_KEY}",
    ),
    "certificate.key.encoding": Entry(
        STEP,
        "fail",
        "The key's file begins with a byte order mark: not every OpenSSL sees what comes right after it.",
        "LC_ALL=C sed -i '1s/^\\xef\\xbb\\xbf//' {key}",
    ),
    "certificate.key.encrypted": Entry(
        STEP,
        "fail",
        "The private key is encrypted: a server would ask for its passphrase at every start.",
        f"(umask 077 && openssl pkey -in {{key}} -out {{key}}.new) && {_KEY}",
    ),
    "certificate.key.unreadable": Entry(
        STEP, "fail", "The private key is damaged, or of a kind that OpenSSL does not know.", "{new_request}"
    ),
    "certificate.key.mismatch": Entry(
        STEP,
        "fail",
        "The private key does not belong to the certificate.",
        "openssl pkey -in {key} -pubout; openssl x509 -in {chain} -pubkey -noout  # these must be the same",
    ),
    "certificate.key.permissions": Entry(
        STEP,
        "fail",
        "Others than the server can read the private key, or change it.",
        "chown root:root {key} && chmod 0600 {key}",
    ),
    "certificate.key.owner": Entry(
        STEP, "warn", "The private key belongs to an account that a person may log in as.", "chown root {key}"
    ),
}


class Report:
    """Gathers findings about C(subject). Their commands name the files, and C(names) are what requests ask for."""

    def __init__(self, subject: str, chain: str, key: str, ca: str, names: t.Sequence[str]) -> None:
        self.subject = subject
        self.names = list(names)
        self._files = {"chain": shell_path(chain), "key": shell_path(key), "ca": shell_path(ca)}
        self.findings: list[dict[str, t.Any]] = []

    def finding(self, key: str, evidence: str = "", *, subject: str | None = None, fix: str | None = None) -> None:
        """Add one; C(fix) goes before the catalogue's and has the same placeholders."""
        entry = CATALOGUE[key]
        self.findings.append(
            {
                "id": key,
                "step": entry.step,
                "severity": entry.severity,
                "subject": self.subject if subject is None else subject,
                "message": entry.message,
                "evidence": evidence,
                "fix": (fix or entry.fix).format(**self._files, **self._requests()),
            }
        )

    def _requests(self) -> dict[str, str]:
        # In an extension's text other characters separate, expand variables or begin a comment.
        names = [name for name in map(x509.ascii_name, self.names) if _NAME.fullmatch(name)] or ["NAME"]
        asked_for = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        asked = f"-subj / -addext {shlex.quote('subjectAltName=' + asked_for)} -out request.csr"
        new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key"
        send = "# and send request.csr to the CA"
        return {
            "request": f"openssl req -new -key {self._files['key']} {asked}  {send}",
            "new_request": f"(umask 077 && openssl req -new {new} {asked})  {send}",
        }

    @property
    def failed(self) -> bool:
        return any(finding["severity"] == "fail" for finding in self.findings)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
