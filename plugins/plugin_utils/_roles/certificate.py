# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role certificate makes of its options and of the answers that it gets. Nothing here asks anybody."""

from __future__ import annotations

import datetime
import os.path
import re
import typing as t
from urllib.parse import urlsplit

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import names as _names
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import is_host_name
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import as_list
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines

Info = dict[str, t.Any]

# What certbot takes as the name of a certificate, and any path can have in it.
_CERTBOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What certbot keeps its own files in.
CERTBOT = "/etc/letsencrypt/"
_MODE = re.compile(r"0?[0-7][0-7]?0")
_PATHS = ("path", "key_path", "ca_file", "acme_ca_file", "acme_webroot")
# What stands in a configuration of certbot's, which has no quoting.
_LINE = re.compile(r"[!-~]+")


def option_errors(options: Info, goal: Info) -> list[str]:
    """What is wrong with the options, one sentence each. No key and no secret is in any of them.

    goal: C(certificate) and C(key), where they are to be installed.
    """
    found: list[str] = []

    def refuse(name: str, why: str) -> None:
        found.append(f"certificate_{name}: {options[name]!r} {why}")

    acme = options["source"] == "acme"
    for name in as_list(options["names"]):
        if not is_host_name(name[2:] if name.startswith("*.") else name):
            found.append(f"certificate_names: {name!r} is not a host name")
        elif name.startswith("*.") and acme and options["acme_challenge"] != "dns-01":
            found.append(f"certificate_names: {name!r} is a wildcard, which needs certificate_acme_challenge: dns-01")
    for name in _PATHS:
        path = options[name]
        if path and not (os.path.isabs(path) and os.path.normpath(path) == path and _LINE.fullmatch(path)):
            refuse(name, "is not an absolute path without '..' and spaces")
    for one, other in (("path", "key_path"), ("chain", "key")):
        if bool(options[one]) != bool(options[other]):
            refuse(one, f"and certificate_{other}: {options[other]!r} belong together; one of them is missing")
    if options["path"] and options["path"] == options["key_path"]:
        refuse("path", "is certificate_key_path as well; chain and key are files of their own")
    if bool(options["chain_content"]) != bool(options["key_content"]):
        found.append("certificate_chain_content and certificate_key_content belong together; one of them is missing")
    if options["chain"] and options["chain_content"]:
        refuse("chain", "and certificate_chain_content are both given; one of them is enough")
    if options["source"] != "existing" and (options["chain"] or options["chain_content"]):
        refuse("source", "does not use certificate_chain and its content; `existing` does")
    if options["source"] != "existing" or options["chain"] or options["chain_content"]:
        for name, variable in (("certificate", "certificate_path"), ("key", "certificate_key_path")):
            if goal[name].startswith(CERTBOT):
                found.append(
                    f"{variable}: {goal[name]!r} is certbot's own, which it replaces itself; name another path"
                )
    if not _MODE.fullmatch(options["key_mode"]):
        refuse("key_mode", "is not an octal number that leaves others without permissions, such as 0600")
    for name, least in (("selfsigned_days", 1), ("acme_dns_wait", 0)):
        if int(options[name]) < least:
            refuse(name, f"is less than {least}")
    return found + (_acme_errors(options) if acme else [])


def _acme_errors(options: Info) -> list[str]:
    found: list[str] = []

    def refuse(name: str, why: str) -> None:
        found.append(f"certificate_{name}: {options[name]!r} {why}")

    for name in ("acme_directory", "acme_staging"):
        if options[name] and not (urlsplit(options[name]).scheme == "https" and urlsplit(options[name]).hostname):
            refuse(name, "is not the URL of an ACME directory, which begins with https://")
    if not options["acme_directory"]:
        refuse("acme_directory", "names no ACME server")
    if not boolean(options["acme_terms_agreed"]):
        refuse("acme_terms_agreed", f"orders nothing; read the terms of {options['acme_directory']} and say true")
    if as_list(options["acme_key_types"]) not in (["ecdsa"], ["rsa"], ["ecdsa", "rsa"]):
        refuse("acme_key_types", "is neither [ecdsa] nor [rsa] nor [ecdsa, rsa]")
    if not _CERTBOT_NAME.fullmatch(options["acme_name"]):
        refuse("acme_name", "is not a name of letters, digits, dots, hyphens and underscores")
    for name in ("acme_email", "acme_eab_kid", "acme_dns_key_name"):
        if options[name] and not _LINE.fullmatch(options[name]):
            refuse(name, "has spaces or other characters that certbot would misread")
    for name in ("acme_eab_hmac_key", "acme_dns_key_secret"):
        if options[name] and not _LINE.fullmatch(options[name]):
            found.append(f"certificate_{name}: has spaces or other characters that no key has")
    if bool(options["acme_eab_kid"]) != bool(options["acme_eab_hmac_key"]):
        found.append("certificate_acme_eab_kid and certificate_acme_eab_hmac_key belong together; one is missing")
    if options["acme_challenge"] == "dns-01":
        for name in ("acme_dns_server", "acme_dns_key_name"):
            if not options[name]:
                refuse(name, "is not enough for certificate_acme_challenge: dns-01, which needs it")
        if not options["acme_dns_key_secret"]:
            found.append("certificate_acme_dns_key_secret: is needed for certificate_acme_challenge: dns-01")
    return found


def served_names(info: Info) -> list[str]:
    """The names of a host's TLS virtual hosts that somebody could ask for, the first one first."""
    return _names.names(info["vhosts"])


def asked(
    info: Info, site: Info | None = None, places: t.Iterable[Info] = (), names: t.Sequence[str] = ()
) -> list[Info]:
    """What C(certificate_info) is asked about: C(chain), C(key), and the C(names) that each is there for.

    These are the certificates at places() with their names, or else the ones of a host's TLS virtual hosts. site is
    that of the role frontend's plan, which is newer than the answer.
    """
    if places:
        return [{"chain": place["path"], "key": place["key_path"], "names": names} for place in places]
    vhosts = list(info["vhosts"])
    if site:
        own = {"tls": True, "certificate": site["certificate"], "key": site["certificate_key"], "names": site["names"]}
        vhosts.insert(0, own)
    return _names.certificates(vhosts)


def places(goal: Info, kinds: t.Sequence[str]) -> list[Info]:
    """Where certificates for these kinds of keys go: C(path), C(key_path), C(key_type). All but the first go beside it
    unless the goal names a place of their own, such as C(certificate_rsa) and C(key_rsa)."""
    first = [{"path": goal["certificate"], "key_path": goal["key"], "key_type": kind} for kind in kinds[:1]]
    others = [
        {
            "path": goal.get(f"certificate_{kind}") or _beside(goal["certificate"], kind),
            "key_path": goal.get(f"key_{kind}") or _beside(goal["key"], kind),
            "key_type": kind,
        }
        for kind in kinds[1:]
    ]
    return first + others


def _beside(path: str, kind: str) -> str:
    front, suffix = os.path.splitext(path)
    return f"{front}-{kind}{suffix}"


# --- in check mode ---------------------------------------------------------------------------------------------------


def stand_ins(places: t.Iterable[Info], missing: t.Iterable[str], names: t.Sequence[str]) -> list[Info]:
    """In place of certificates and keys that a run would bring to where they are missing: files for web_config.

    A rehearsal of the site needs some. They are made here, are never written to the host and are good for nothing else.
    """
    absent = set(missing)
    wanted = [place for place in places if {place["path"], place["key_path"]} & absent]
    return [item for place in wanted for item in _stand_in(place, names)]


def _stand_in(place: Info, names: t.Sequence[str]) -> list[Info]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: t.Any = (
        rsa.generate_private_key(65537, 2048) if place["key_type"] == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in for a rehearsal")])
    now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 - Python 3.10 has no other name for it
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(item) for item in names or ["stand-in.invalid"]]), False
        )
        .sign(key, hashes.SHA256())
    )
    chain = made.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return [
        {"path": place["path"], "content": chain},
        {"path": place["key_path"], "content": secret, "mode": "0600"},
    ]


# --- before an order -------------------------------------------------------------------------------------------------


def objections(caa: Info | None, reach: Info | None) -> list[str]:
    """Why an order would fail, one sentence for each reason: from the answers of caa_info and acme_reach_info, where
    these were asked."""
    reasons: dict[str, list[str]] = {}
    for entry in (caa or {}).get("results", []):
        if entry["verdict"] in ("forbidden", "error"):
            said = entry["error"] or " ".join(
                item["message"] for item in entry["findings"] if item["severity"] in ("fail", "unknown")
            )
            place = " at {} ({})".format(entry["found_at"], ", ".join(entry["issue"])) if entry["found_at"] else ""
            kind = "forbid the CA" if entry["verdict"] == "forbidden" else "could not be looked up"
            reasons.setdefault(f"CAA records{place} {kind}: {said}", []).append(entry["name"])
    for entry in (reach or {}).get("results", []):
        if entry["error"]:
            reasons.setdefault(entry["error"], []).append(entry["name"])
    return [f"{' '.join(names)}: {reason}" for reason, names in reasons.items()]


# --- what is said ----------------------------------------------------------------------------------------------------


def finding_lines(findings: t.Iterable[Info]) -> list[str]:
    """A line for each kind of finding, without the evidence: message and fix are enough to act on."""
    return _finding_lines.lines({**item, "evidence": ""} for item in findings)


def report(answer: Info, certificates: t.Iterable[Info], outcome: Info) -> Info:
    """What is to be said of a host's certificates: C(lines), and C(bad), what the host fails for.

    answer is that of C(certificate_info) about the certificates of asked(); outcome is C(line) and C(failed) of an
    order, or empty.
    """
    lines: list[str] = [outcome["line"]] if outcome else []
    if "results" not in answer and not answer.get("skipped"):
        why = answer.get("msg", "it was not looked at")
        places = [item["chain"] for item in certificates] or ["certificate.not_checked"]
        lines += [f"unknown: {place}: {why}" for place in places]
    for result in answer.get("results", []):
        certificate = result["certificate"] or {}
        words = "usable" if result["usable"] else "not usable"
        until = f", valid until {certificate['not_after']}" if certificate.get("not_after") else ""
        lines += [f"{result['path']}: {words}{until}", *finding_lines(result["findings"])]
    bad = [outcome["line"]] if outcome and outcome["failed"] else []
    return {"lines": lines or ["no certificate to look at"], "bad": bad}
