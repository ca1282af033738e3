# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Judges a certificate with its chain and key, as files that a server is to use. Begin with L(judge).

That the key fits and that each certificate was signed by the next is proven by a handshake of OpenSSL with itself, in
memory: the server has certificate and key, the client trusts the end of the chain. No connection is opened, no program
is run, and nothing is written but what has no name and lies in memory. Clock, names and order are checked here.

RFC 5280, RFC 7468, RFC 7633, RFC 9525.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import os
import re
import shlex
import ssl
import tempfile
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate.catalogue import CATALOGUE
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.findings import Report
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.permissions import Access
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.certificate import Certificate, date
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

DAY = 86400
# The longest lifetime that a public certificate ever had since 2020 (398 days): what lives longer counts as this long.
LONGEST = 398 * DAY
# Parts of the lifetime that are left when renewal is due, and when it is urgent: 30 and 9 days of 90,
# 67 and 20 of 200, 33 and 10 of 100, 16 and 5 of 47, 2 days and 14 hours of 6.
DUE, URGENT = 3, 10
# What browsers accept as a server's key.
_USUAL = ("secp256r1", "secp384r1", "secp521r1")


class Missing(str):
    """Why there is no content."""


class Hidden(Missing):
    """Why it is not known what the content is: this user may not read it, and root may."""


# PEM


class Block(t.NamedTuple):
    """A part of a PEM file: C(number) counts from 1; C(lines) are those between BEGIN and END."""

    number: int
    label: str
    lines: list[bytes]
    ended: bool

    @property
    def is_key(self) -> bool:
        return self.label.endswith("PRIVATE KEY")

    @property
    def encrypted(self) -> bool:
        return "ENCRYPTED" in self.label or any(b"ENCRYPTED" in line for line in self.lines[:1])

    def der(self) -> bytes:
        """What it contains. Raises L(ParseError)."""
        if not self.ended:
            raise ParseError("it has no end")
        try:
            return base64.b64decode(b"".join(line.strip() for line in self.lines), validate=True)
        except binascii.Error:
            raise ParseError("it is not base64") from None


_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s*\Z")
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")


def blocks(data: bytes) -> list[Block]:
    """The parts of a PEM file, as OpenSSL sees them: what is between them is commentary, an indented one is as well."""
    found: list[Block] = []
    lines = iter(data.split(b"\n"))
    for line in lines:
        begin = _BEGIN.match(line)
        if not begin:
            continue
        label, content, ended = begin.group(1).decode(), [], False
        for line in lines:
            ended = line.rstrip() == b"-----END %s-----" % begin.group(1)
            if ended:
                break
            content.append(line)
        found.append(Block(len(found) + 1, label, content, ended))
    return found


_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def _plain(data: bytes) -> tuple[bytes, str | None]:
    """The text without a byte order mark, and which encoding the mark stands for."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if encoding is None:
        return data, None
    return data.decode(encoding, "replace").lstrip("\ufeff").encode(), encoding


def _is_der(data: bytes) -> bool:
    """Whether this is one DER element and nothing else: a certificate, a key or a PKCS #12 file."""
    reader = x509.Der(data)
    try:
        reader.node(0x30)
    except ParseError:
        return False
    return not reader.left


# Files


def _without_mark(data: bytes, file: str, report: Report) -> bytes:
    """The text of C(chain) or C(key), which is judged as if its byte order mark were gone already."""
    text, encoding = _plain(data)
    if encoding:
        convert = "(umask 077 && iconv -f {0} -t ascii {1} > {1}.new) && cat {1}.new > {1} && rm {1}.new".format(
            encoding, "{" + file + "}"
        )
        report.finding(f"certificate.{file}.encoding", encoding, fix=None if encoding == "utf-8" else convert)
    return text


def _read_chain(data: bytes | Missing, report: Report) -> _Chain | None:
    """The certificates of a file; None if there are none, or one of them cannot be read."""
    if isinstance(data, Missing):
        report.finding(f"certificate.chain.{'hidden' if isinstance(data, Hidden) else 'missing'}", data)
        return None
    text = _without_mark(data, "chain", report)
    parts = blocks(text)
    certificates = [part for part in parts if part.label in _CERTIFICATES]
    if not certificates:
        _no_certificate(text, parts, report)
        return None
    keys = [part.label for part in parts if part.is_key]
    if keys:
        report.finding("certificate.chain.holds_key", ", ".join(keys))
    found, damaged = [], []
    for part in certificates:
        try:
            found.append((part, x509.read_certificate(part.der())))
        except ParseError as error:
            damaged.append(f"part {part.number}: {error}")
    if damaged:
        more = f"; {len(damaged) - 3} more" if len(damaged) > 3 else ""
        report.finding("certificate.chain.unreadable", "; ".join(damaged[:3]) + more)
    if any(line.endswith(b"\r") for part in certificates for line in part.lines):
        report.finding("certificate.chain.line_ends")
    return None if damaged else _Chain(found, parts)


def _no_certificate(data: bytes, parts: t.Sequence[Block], report: Report) -> None:
    """Report what is there instead."""
    if _is_der(data):
        try:
            x509.read_certificate(data)
        except ParseError:
            unpack = "(umask 077 && openssl pkcs12 -in {chain} -nodes -out new.pem)  # certificates and key"
            report.finding("certificate.chain.binary", "not a certificate; a PKCS #12 file perhaps", fix=unpack)
        else:
            report.finding("certificate.chain.binary", "a certificate in DER")
        return
    evidence = "the file is empty" if not data.strip() else "no line begins with -----BEGIN CERTIFICATE-----"
    if parts:
        evidence = "it has " + ", ".join(part.label for part in parts)
    elif b"-----BEGIN CERTIFICATE-----" in data:
        evidence = "-----BEGIN CERTIFICATE----- is not at the beginning of its line, or not all of it"
    pkcs7 = "openssl pkcs7 -in {chain} -print_certs -out {chain}.new && cat {chain}.new > {chain} && rm {chain}.new"
    report.finding(
        "certificate.chain.empty", evidence, fix=pkcs7 if any(part.label == "PKCS7" for part in parts) else None
    )


def _read_key(data: bytes | Missing | None, report: Report) -> bytes | None:
    """The text of a key that OpenSSL may check; it must not be shown anywhere else."""
    if data is None:
        report.finding("certificate.key.unknown")
        return None
    if isinstance(data, Missing):
        report.finding(f"certificate.key.{'hidden' if isinstance(data, Hidden) else 'missing'}", data)
        return None
    text = _without_mark(data, "key", report)
    keys = [part for part in blocks(text) if part.is_key]
    if not keys:
        if _is_der(text):
            report.finding("certificate.key.binary")
        else:
            report.finding("certificate.key.empty", "" if text.strip() else "the file is empty")
        return None
    if len(keys) > 1:
        report.finding("certificate.key.several", f"{len(keys)} of them")
    if keys[0].encrypted:
        report.finding("certificate.key.encrypted", keys[0].label)
        return None
    return text


def _judge_access(access: Access, report: Report) -> None:
    """Who can read the key."""
    who = f"mode {access.mode:04o}, {access.owner}:{access.group}"
    if access.people or access.writers or "everybody" in access.readers:
        readers = access.readers + access.people
        faults = ["can be read by " + ", ".join(readers)] if readers else []
        faults += ["can be changed by " + ", ".join(access.writers)] if access.writers else []
        fix = CATALOGUE["certificate.key.permissions"].fix
        report.finding(
            "certificate.key.permissions",
            "{}: {}".format(who, "; ".join(faults)),
            fix="setfacl -b {key} && " + fix if access.acl else None,
        )
    if access.person:
        report.finding("certificate.key.owner", who)


# Proof


# Reasons for which OpenSSL does not load certificate and key, and what they mean; the rest is about the key alone.
_LOADING = {
    "KEY_VALUES_MISMATCH": "certificate.key.mismatch",
    "KEY_TYPE_MISMATCH": "certificate.key.mismatch",
    "DIFFERENT_PARAMETERS": "certificate.key.mismatch",
    # A key for which no certificate is there.
    "NO_CERTIFICATE_ASSIGNED": "certificate.key.mismatch",
    "UNKNOWN_CERTIFICATE_TYPE": "certificate.unusable",
}
# X509_V_ERR_… to what it means; any other is certificate.chain.refused.
_VERIFY = {
    2: "certificate.chain.incomplete",
    7: "certificate.chain.signature",
    20: "certificate.chain.incomplete",
    21: "certificate.chain.incomplete",
    18: "certificate.chain.untrusted",
    19: "certificate.chain.untrusted",
    26: "certificate.purpose",
}
# X509_V_FLAG_PARTIAL_CHAIN: the end of the chain is the anchor, be it a root or not. X509_V_FLAG_NO_CHECK_TIME: the
# clock of this machine is not what is judged by. Python has no names for them, or late ones.
_FLAGS = 0x80000 | 0x200000


# A file system in memory, which every Linux has.
_MEMORY = "/dev/shm"  # noqa: S108 - files in it have no name


@contextlib.contextmanager
def _nameless(content: bytes) -> t.Iterator[str]:
    """A path with this content that only this process has, and that is gone with it, whatever happens."""
    with tempfile.TemporaryFile(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as stream:
        stream.write(content)
        stream.flush()
        stream.seek(0)
        yield f"/dev/fd/{stream.fileno()}"


def _refuse_password() -> t.NoReturn:
    raise ParseError("it is encrypted")


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    # Weak keys and digests are judged here, with findings of our own.
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def _prove(path: t.Sequence[Certificate], key: bytes, anchors: t.Sequence[Certificate]) -> tuple[str, str] | None:
    """A handshake of OpenSSL with itself; the finding and its evidence if that fails.

    C(path) leads from the server's certificate upwards, C(anchors) are what the client trusts.
    """
    server, client = _context(ssl.PROTOCOL_TLS_SERVER), _context(ssl.PROTOCOL_TLS_CLIENT)
    chain = "".join(ssl.DER_cert_to_PEM_cert(one.der) for one in path).encode()
    try:
        with _nameless(chain) as chain_file, _nameless(key) as key_file:
            server.load_cert_chain(chain_file, key_file, _refuse_password)
    except ParseError as error:
        return "certificate.key.encrypted", str(error)
    except ssl.SSLError as error:
        return _LOADING.get(error.reason, "certificate.key.unreadable"), f"OpenSSL: {error.reason or error}"
    except OSError as error:
        return "certificate.unusable", f"{error.strerror}"
    client.check_hostname = False
    client.verify_mode = ssl.CERT_REQUIRED
    client.verify_flags |= _FLAGS
    try:
        client.load_verify_locations(cadata=b"".join(one.der for one in anchors))
        _shake_hands(client, server)
    except ssl.SSLError as error:
        code = getattr(error, "verify_code", 0)
        if code:
            return _VERIFY.get(code, "certificate.chain.refused"), "OpenSSL: {}".format(
                getattr(error, "verify_message", code)
            )
        return "certificate.unusable", f"OpenSSL: {error.reason or error}"
    return None


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """A whole handshake in memory. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    # Three flights there and back are the most that any protocol takes.
    for _flight in range(6):
        done = True
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                done = False
        if done:
            return
    raise ssl.SSLError("the handshake does not end")


class Defect(t.NamedTuple):
    """Why no client can use a pair. C(sure) is False where it could not be found out whether one can."""

    message: str
    sure: bool


def first(chain: bytes) -> Certificate | None:
    """The first certificate of a PEM text, which is the server's own. Raises ParseError for one that is damaged."""
    part = next((part for part in blocks(chain) if part.label in _CERTIFICATES), None)
    return part and x509.read_certificate(part.der())


def is_valid(certificate: Certificate, now: float) -> bool:
    """Whether it is valid now, by its dates."""
    return certificate.not_before <= now < certificate.not_after


def defect(chain: bytes, key: bytes, now: float) -> Defect | None:
    """Why no client can use the first certificate of a chain with the key, or None. Whether clients trust it is not
    part of this."""
    try:
        leaf = first(chain)
    except ParseError as error:
        return Defect(f"the certificate cannot be read: {error}", False)
    if leaf is None:
        return Defect("there is no PEM certificate", True)
    if not any(part.is_key for part in blocks(key)):
        return Defect("there is no PEM key", True)
    if not is_valid(leaf, now):
        return Defect(f"it is not valid now, but from {date(leaf.not_before)} to {date(leaf.not_after)}", True)
    found = _prove([leaf], key, [leaf])
    return found and Defect(found[1], found[0] == "certificate.key.mismatch")


# The chain


class _Chain:
    """A file's certificates: the server's, the path upwards from it, and what is left over."""

    def __init__(self, found: t.Sequence[tuple[Block, Certificate]], parts: t.Sequence[Block]) -> None:
        self._parts = parts
        self.all = [certificate for _block, certificate in found]
        # Of several copies, the first counts.
        self._block: dict[bytes, Block] = {}
        for block, certificate in found:
            self._block.setdefault(certificate.der, block)
        self.leaf = next((one for one in self.all if not one.authority), self.all[0])
        others = [one for one in self.all if one.der != self.leaf.der]
        self.path = x509.chain_of([self.leaf, *others])
        self.top = self.path[-1]
        # An authority that is for no name cannot be meant as a server's.
        self.headless = self.leaf.authority and not (
            self.leaf.self_signed or self.leaf.dns_names or self.leaf.addresses
        )
        on_path = {one.der for one in self.path}
        self.extra = [one for one in self.all if one.der not in on_path]
        self.copies = len(self.all) - len(self._block)

    def rearranged(self, keep: t.Sequence[Certificate]) -> str:
        """A command that leaves these in the file, in this order, and what is no certificate."""
        numbers = [self._block[one.der].number for one in keep]
        numbers += [part.number for part in self._parts if part.label not in _CERTIFICATES]
        kept = " ".join(f"{{chain}}.{number}" for number in numbers)
        every = " ".join(f"{{chain}}.{part.number}" for part in self._parts)
        # It counts what L(blocks) counts; the braces of awk are doubled, as this is a template.
        split = "(umask 077 && awk '/^-----BEGIN [A-Z0-9 ]+-----/ {{n++}} n {{print > (FILENAME \".\" n)}}' {chain})"
        return f"{split} && cat {kept} > {{chain}} && rm {every}"

    def in_order(self) -> bool:
        """Whether the server's comes first, and the path's follow in its order, whatever stands between them."""
        path = [one.der for one in self.path]
        there = [der for der in dict.fromkeys(one.der for one in self.all) if der in path]
        return self.all[0].der == self.leaf.der and there == path


def _judge_chain(chain: _Chain, anchors: t.Sequence[Certificate] | None, report: Report) -> None:
    """Names, identifiers and order. Signatures come with the key."""
    leaf, path, top = chain.leaf, chain.path, chain.top
    tidy = chain.rearranged(path)
    servers = [one for one in chain.extra if not one.authority]
    if servers:
        report.finding("certificate.chain.several", _named([leaf, *servers]), fix=tidy)
    if not chain.in_order():
        report.finding("certificate.chain.order", f"in order: {_named(path)}", fix=tidy)
    extra = [one for one in chain.extra if one.authority]
    if extra or chain.copies:
        copies = f"{chain.copies} of them twice" if chain.copies else ""
        report.finding("certificate.chain.extra", "; ".join(filter(None, (_named(extra), copies))), fix=tidy)
    if len(path) > 1 and top.self_signed:
        report.finding("certificate.chain.root", top.subject, fix=chain.rearranged(path[:-1]))

    evidence = f"{top.subject or 'it'} was issued by {top.issuer}, which is not there"
    fetch = next((url for url in top.issuer_urls if re.match(r"https?://", url)), None)
    # It comes from the certificate, so that it is quoted for the shell and for the template.
    quoted = shlex.quote(x509.printable(fetch or "")).replace("{", "{{").replace("}", "}}")
    fix = f"curl -s --globoff {quoted} | openssl x509 -inform DER >> {{chain}}" if fetch else None
    if leaf.self_signed:
        return
    if anchors is not None:
        if not _anchored(path, anchors):
            if top.self_signed:
                report.finding("certificate.chain.untrusted", top.subject)
            else:
                report.finding("certificate.chain.incomplete", evidence, fix=fix)
    elif top is leaf:
        # Alone, it may be a root's: not with an issuer that can be fetched, or one beside it that does not fit.
        known = bool(leaf.issuer_urls or extra)
        report.finding("certificate.chain.incomplete" if known else "certificate.chain.unknown", evidence, fix=fix)


def _anchored(path: t.Sequence[Certificate], anchors: t.Sequence[Certificate]) -> bool:
    return any(anchor.der == one.der or anchor.issued(one) for one in path for anchor in anchors)


def _named(certificates: t.Iterable[Certificate]) -> str:
    return "; ".join(one.subject or "one without a subject" for one in certificates)


# The certificate


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)


def moment(text: str) -> float:
    """An RFC 3339 time as seconds since 1970. Raises ValueError."""
    found = _MOMENT.match(text)
    if not found:
        raise ValueError(f"{text!r} is not a time, such as 2026-11-25T12:00:00Z")
    clock, fraction, zone = found.groups()
    when = datetime.datetime.strptime(clock.upper() + zone.upper(), "%Y-%m-%dT%H:%M:%S%z")
    return when.timestamp() + float(fraction or 0)


def lifetime(certificate: Certificate) -> int:
    """Seconds from the beginning of its validity to the end, and never none."""
    return max(1, certificate.not_after - certificate.not_before)


def is_due(certificate: Certificate, now: float, part: int = DUE) -> bool:
    """Whether less than this part of the lifetime is left. C(now) is seconds since 1970."""
    return (certificate.not_after - now) * part < min(lifetime(certificate), LONGEST)


def _judge_time(chain: _Chain, now: float, report: Report) -> None:
    leaf = chain.leaf
    until = f"valid from {date(leaf.not_before)} until {date(leaf.not_after)}"
    if now > leaf.not_after:
        report.finding("certificate.expired", until)
    elif now < leaf.not_before:
        report.finding("certificate.not_yet_valid", until)
    elif is_due(leaf, now, URGENT):
        report.finding("certificate.expiring.urgent", until)
    elif is_due(leaf, now):
        report.finding("certificate.expiring", until)
    for one in chain.path[1:]:
        if not one.self_signed and not one.not_before <= now <= one.not_after:
            evidence = f"{one.subject}: valid from {date(one.not_before)} until {date(one.not_after)}"
            report.finding("certificate.chain.expired", evidence)
        elif x509.ends_first(one, leaf, now):
            evidence = f"{one.subject}: until {date(one.not_after)}; the server's until {date(leaf.not_after)}"
            report.finding("certificate.chain.ends_first", evidence)


def _judge_names(leaf: Certificate, names: t.Sequence[str], report: Report) -> None:
    there = ", ".join(leaf.dns_names + leaf.addresses) or "none; a common name does not count"
    for name in names:
        if not x509.matches(leaf, name):
            report.finding("certificate.name.missing", f"its names: {there}", subject=name)


def _judge_strength(chain: _Chain, report: Report) -> None:
    """Keys and signatures. A root's signature on itself proves nothing, so that it does not matter."""
    counted = [one for one in chain.path if one is chain.leaf or not one.self_signed]
    for one in counted:
        if one.key.weaker(2048, 224) or (one.key.exponent is not None and one.key.exponent < 3):
            report.finding("certificate.key.weak", f"{one.subject}: {one.key.description}")
        if one.digest in ("md2", "md4", "md5", "sha1"):
            report.finding("certificate.signature.weak", f"{one.subject}: {one.signature} ({one.digest})")
        elif one.digest == "unknown":
            report.finding("certificate.signature.unknown", f"{one.subject}: {one.signature}")
    key = chain.leaf.key
    if key.type != "RSA" and key.curve not in _USUAL:
        report.finding("certificate.key.unusual", key.description)


def _judge_leaf(leaf: Certificate, self_signed_ok: bool, report: Report) -> None:
    if leaf.self_signed:
        report.finding("certificate.self_signed.accepted" if self_signed_ok else "certificate.self_signed", leaf.issuer)
    if leaf.must_staple and not leaf.ocsp_urls:
        report.finding("certificate.must_staple_without_ocsp", "TLS feature status_request, no OCSP URI")


# The whole


def read_anchors(data: bytes) -> list[Certificate]:
    """The certificates of a file of authorities. Raises L(ParseError) if there are none or one cannot be read."""
    found = [x509.read_certificate(part.der()) for part in blocks(_plain(data)[0]) if part.label in _CERTIFICATES]
    if not found:
        raise ParseError("there is no PEM certificate in it")
    return found


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Summary(t.TypedDict):  # novm
        """The result for every certificate; times as RFC 3339 has them, numbers in hexadecimal."""

        subject: str
        issuer: str
        not_before: str
        not_after: str
        self_signed: bool
        fingerprint_sha256: str
        serial: str

    class Link(Summary):
        """The result for each certificate of a chain."""

        pem: str

    class Described(Summary):
        """The result for the server's certificate. C(left_seconds) is below zero when its time is over, and
        C(fraction_left) from 0 to 1; C(key_bits) is None for a key of a kind that is not known."""

        names: list[str]
        lifetime_seconds: int
        left_seconds: int
        fraction_left: float
        key_type: str
        key_bits: int | None
        ocsp_uris: list[str]
        must_staple: bool

    class Unread(t.TypedDict):  # novm
        """Empty: in place of the server's certificate where there is none that can be read."""

    class Judgement(t.TypedDict):  # novm
        """What the files come to; C(renew_due) also without a certificate that can be read."""

        certificate: Described | Unread
        chain: list[Link]
        usable: bool
        renew_due: bool
        findings: list[Finding]

else:
    Summary = Link = Described = Unread = Judgement = t.Dict[str, t.Any]


def _summary(one: Certificate) -> Summary:
    return {
        "subject": one.subject,
        "issuer": one.issuer,
        "not_before": date(one.not_before),
        "not_after": date(one.not_after),
        "self_signed": one.self_signed,
        "fingerprint_sha256": one.sha256,
        "serial": one.serial,
    }


def _link(one: Certificate) -> Link:
    return {**_summary(one), "pem": ssl.DER_cert_to_PEM_cert(one.der)}


def _described(leaf: Certificate, now: float) -> Described:
    left = int(leaf.not_after - now)
    return {
        **_summary(leaf),
        "names": leaf.dns_names + leaf.addresses,
        "lifetime_seconds": lifetime(leaf),
        "left_seconds": left,
        "fraction_left": round(min(1.0, max(0.0, left / lifetime(leaf))), 4),
        "key_type": leaf.key.type,
        "key_bits": leaf.key.bits,
        "ocsp_uris": leaf.ocsp_urls,
        "must_staple": leaf.must_staple,
    }


def _judge_certificate(
    chain: _Chain,
    names: t.Sequence[str],
    now: float,
    anchors: t.Sequence[Certificate] | None,
    self_signed_ok: bool,
    report: Report,
) -> None:
    """Everything that needs no key."""
    _judge_chain(chain, anchors, report)
    _judge_leaf(chain.leaf, self_signed_ok, report)
    _judge_names(chain.leaf, names, report)
    _judge_time(chain, now, report)
    _judge_strength(chain, report)


def judge(
    chain: bytes | Missing,
    key: bytes | Missing | None,
    names: t.Sequence[str],
    now: float,
    *,
    anchors: t.Sequence[Certificate] | None = None,
    known: t.Sequence[Certificate] = (),
    self_signed_ok: bool = False,
    access: Access | None = None,
    files: t.Mapping[str, str] | None = None,
) -> Judgement:
    """Judge the content of a file with certificates and of one with the key.

    C(key) is None if there is none to check, C(now) seconds since 1970, C(anchors) the authorities that the chain
    must lead to (see L(read_anchors)), C(known) those that it may lead to, C(access) who can read the key's file.
    C(files) gives the paths (C(chain), C(key), C(ca)) that messages and commands name. It raises nothing, whatever the
    files hold, and reveals nothing of the key.
    """
    paths = dict({"chain": "chain.pem", "key": "key.pem", "ca": "ca.pem"}, **(files or {}))
    report = Report(paths["chain"], names=names, **paths)
    found = _read_chain(chain, report)
    report.subject = paths["key"]
    secret = _read_key(key, report)
    if access:
        _judge_access(access, report)
    report.subject = paths["chain"]
    if anchors is None and found and not found.headless and _anchored(found.path, known):
        anchors = known
    described: Described | Unread = {}
    if found and found.headless:
        report.finding("certificate.chain.leaf_missing", _named(found.all))
    elif found:
        leaf = found.leaf
        report.subject = leaf.subject or paths["chain"]
        report.names = report.names or [name for name in leaf.dns_names if re.match(r"[\w.*-]+\Z", name)]
        _judge_certificate(found, names, now, anchors, self_signed_ok, report)
        if secret is not None:
            anchored = anchors is not None and _anchored(found.path, anchors)
            failure = _prove(found.path, secret, anchors if anchors and anchored else [found.top])
            if failure:
                subject = paths["key"] if failure[0].startswith("certificate.key.") else None
                report.finding(*failure, subject=subject)
        described = _described(leaf, now)
    return {
        "certificate": described,
        "chain": [_link(one) for one in found.all] if found else [],
        "usable": not report.failed,
        "renew_due": is_due(found.leaf, now) if found and described else True,
        "findings": report.findings,
    }
