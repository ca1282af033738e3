# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a set of CAA records allows: RFC 8659 with RFC 8657 (account, validation method), and no input or output.

What cannot be read authorises no CA: a mistake in a record never turns into a permission.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ansible_collections.kopano.hardening.plugins.module_utils._common.idna import to_ascii

PERMITTED = "permitted"
FORBIDDEN = "forbidden"
UNRESTRICTED = "unrestricted"
ERROR = "error"
NOT_APPLICABLE = "not_applicable"

CRITICAL = 128
"""The one flag that is defined (RFC 8659 section 4.1)."""

UNDERSTOOD = frozenset(("issue", "issuewild", "iodef", "issuemail", "issuevmc"))
"""Tags that the common CAs process; a critical property with any other tag forbids issuance."""

CONTACTS = frozenset(("contactemail", "contactphone"))
"""Tags for validation by e-mail or phone (CA/B baseline requirements, appendix A). Harmless without a flag."""

_LABEL = rb"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_DOMAIN = re.compile(rb"%s(?:\.%s)*" % (_LABEL, _LABEL))
_PARAMETER = re.compile(rb"(%s)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)" % _LABEL)
_METHOD = re.compile(r"[A-Za-z0-9-]+")
_REPORT_URL = re.compile(r"(mailto:[^\s@]+@[^\s@]+|https?://[^\s/]+.*)", re.IGNORECASE)
_RECORD = re.compile(r'(\d{1,3})[ \t]+([A-Za-z0-9]+)[ \t]+"([^"\\]*(?:\\(?:\d{3}|\D)[^"\\]*)*)"', re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\(\d{3}|\D)", re.ASCII | re.DOTALL)
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


class Property(NamedTuple):
    """One CAA record as published."""

    flags: int
    tag: str
    value: bytes

    @property
    def kind(self) -> str:
        """The tag for comparing: tags are case-insensitive (RFC 8659 section 4.1)."""
        return self.tag.lower()

    @property
    def text(self) -> str:
        """The value as a zone file has it between its quotes."""
        return "".join(
            "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"
            for byte in self.value
        )

    def __str__(self) -> str:
        return f'{self.flags} {self.tag} "{self.text}"'


def parse_record(text: str) -> Property:
    """A property from what str() makes of it, which is how a zone file has it; raises ValueError."""
    match = _RECORD.fullmatch(text.strip(" \t"))
    if match is None:
        raise ValueError(f'{text!r} is not FLAGS TAG "VALUE", such as 0 issue "letsencrypt.org"')
    flags, tag, value = match.groups()
    raw = _ESCAPE.sub(lambda found: chr(int(found[1])) if found[1].isdigit() else found[1], value)
    if int(flags) > 255 or any(ord(letter) > 255 for letter in raw):
        raise ValueError(f"{text!r} has flags above 255, or a value that is not made of bytes")
    return Property(int(flags), tag, raw.encode("latin-1"))


class Grant(NamedTuple):
    """The value of an issue or issuewild property: the CA that may issue ("" for none), and on what terms."""

    domain: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        parameters = [f"{tag}={value}" for tag, value in self.parameters]
        return "; ".join([self.domain, *parameters]) if parameters else self.domain or ";"


class Request(NamedTuple):
    """Who wants to issue what.

    `domains` are the identifiers that the CA recognises as its own, in lower case; empty means any CA at all. `literal`
    marks a CA that compares them letter by letter and takes the lowest flag bit for the critical one too (Boulder, so
    Let's Encrypt). An empty account or method is one that is not known, and is not compared.
    """

    domains: tuple[str, ...] = ()
    wildcard: bool = False
    account_uri: str = ""
    validation_method: str = ""
    literal: bool = False


class Judgement(NamedTuple):
    """`refusals` has the reason for each property that gives no permission; `unchecked` are the terms of a permission
    that the request leaves open (tag and value); `blockers` are the critical properties that no CA understands."""

    verdict: str
    refusals: tuple[tuple[Property, str], ...] = ()
    unchecked: tuple[tuple[str, str], ...] = ()
    blockers: tuple[Property, ...] = ()


def parse_grant(value: bytes) -> Grant | None:
    """Read an issue value after the grammar of RFC 8659 section 4.2; None when it is malformed."""
    head, *rest = (part.strip(b" \t") for part in value.split(b";"))
    if head and not _DOMAIN.fullmatch(head):
        return None
    if rest == [b""]:
        # A semicolon without parameters is fine, as in ";"; one after a parameter is not.
        rest = []
    parameters: list[tuple[str, str]] = []
    for part in rest:
        match = _PARAMETER.fullmatch(part)
        if match is None:
            return None
        parameters.append((match.group(1).decode("ascii").lower(), match.group(2).decode("ascii")))
    return Grant(head.decode("ascii"), tuple(parameters))


def grants(records: Iterable[Property], tag: str) -> list[tuple[Property, Grant | None]]:
    """The properties with that tag, each with what it grants."""
    return [(record, parse_grant(record.value)) for record in records if record.kind == tag]


def _refusal(grant: Grant | None, request: Request) -> str:
    """Why a property does not authorise the request; empty when it does."""
    if grant is None:
        return "it is malformed, so it authorises no CA"
    if not grant.domain:
        return "it authorises no CA"
    if request.domains and grant.domain not in request.domains:
        if grant.domain.lower() not in request.domains:
            return "it names another CA"
        if request.literal:
            return "this CA does not accept its name in upper case"
    terms: dict[str, str] = {}
    for tag, value in grant.parameters:
        if tag in ("accounturi", "validationmethods") and tag in terms:
            return f"it has two {tag} parameters, which no request can satisfy"
        terms[tag] = value
    account = terms.get("accounturi")
    if account is not None and (not account or request.account_uri not in ("", account)):
        return "it is for another account"
    if "validationmethods" in terms:
        methods = terms["validationmethods"].split(",")
        if not all(_METHOD.fullmatch(method) for method in methods):
            return "its validationmethods cannot be read, so no request can satisfy it"
        if request.validation_method and request.validation_method not in methods:
            return "it allows other validation methods"
    return ""


def _unchecked(grant: Grant, request: Request) -> tuple[tuple[str, str], ...]:
    known = {"accounturi": request.account_uri, "validationmethods": request.validation_method}
    return tuple((tag, value) for tag, value in grant.parameters if known.get(tag) == "")


def blockers(records: Iterable[Property], literal: bool = False) -> tuple[Property, ...]:
    """Critical properties that a CA does not understand: one is enough to forbid issuance (RFC 8659 section 4.1)."""
    critical = CRITICAL | 1 if literal else CRITICAL
    return tuple(record for record in records if record.flags & critical and record.kind not in UNDERSTOOD)


def evaluate(records: Sequence[Property], request: Request) -> Judgement:
    """May the request's CA issue, given the relevant record set of the name?

    Without a CA in the request: may any CA issue?
    """
    blocking = blockers(records, request.literal)
    if blocking:
        return Judgement(FORBIDDEN, blockers=blocking)
    relevant = (grants(records, "issuewild") if request.wildcard else []) or grants(records, "issue")
    if not relevant:
        return Judgement(UNRESTRICTED)
    judged = [(record, grant, _refusal(grant, request)) for record, grant in relevant]
    refusals = tuple((record, refusal) for record, _grant, refusal in judged if refusal)
    open_terms = [_unchecked(grant, request) for _record, grant, refusal in judged if grant and not refusal]
    if not open_terms:
        return Judgement(FORBIDDEN, refusals)
    return Judgement(PERMITTED, refusals, () if () in open_terms else open_terms[0])


def reports_to(record: Property) -> bool:
    """Can the value of an iodef property be reported to (RFC 8659 section 4.4)?"""
    return bool(_REPORT_URL.fullmatch(record.text))


def is_domain(text: str) -> bool:
    """Is the text an issuer domain name as an issue property takes it?"""
    return bool(_DOMAIN.fullmatch(text.encode("utf-8", "replace")))


def is_account(text: str) -> bool:
    """Can the text stand in an accounturi parameter (RFC 8657 section 3)?"""
    grant = parse_grant(b"x;accounturi=" + text.encode("utf-8", "replace"))
    return bool(text) and grant == Grant("x", (("accounturi", text),))


def is_method(text: str) -> bool:
    """Is the text a validation method's label (RFC 8657 section 4)?"""
    return bool(_METHOD.fullmatch(text))


def host_name(text: str) -> tuple[str, bool]:
    """The name to look up for a host name as people write it: lower case, A-labels, no final dot; and is it a wildcard?

    Raises ValueError with the reason for what is not a host name.
    """
    name = text
    if not name or name != name.strip():
        raise ValueError("it is empty or has blanks around it")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        raise ValueError("it is an address; CAA is about names")
    if not name.isascii():
        name = to_ascii(name)
    name = name.removesuffix(".")
    wildcard = name.startswith("*.")
    name = (name[2:] if wildcard else name).lower()
    labels = name.split(".")
    wrong = [label for label in labels if not _HOST_LABEL.fullmatch(label)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a label of a host name")
    if len(name) > 253:
        raise ValueError("it is longer than 253 characters")
    if labels[-1].isdigit():
        raise ValueError("its last label is a number")
    return name, wildcard
