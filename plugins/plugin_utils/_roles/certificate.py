# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role certificate makes of its options and of the results that it gets. No input or output."""

from __future__ import annotations

import datetime
import os.path
import re
import typing as t
from urllib.parse import urlsplit

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import names as _names
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import ServedCertificate, is_host_name
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.finding_lines import Report

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.record_sets import CaaInfo
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.acme_preflight import ReachInfo
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import LiveFiles, Ordered
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import Installed
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Result as Inspected
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Results
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.self_signed import Place
    from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
    from ansible_collections.kopano.hardening.plugins.module_utils._host_info import FailedPart
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo

Info = dict[str, t.Any]


class Goal(t.TypedDict):
    """Where chain and key are to be installed, and those of a second certificate with another kind of key, empty where
    these go beside the others."""

    certificate: str
    key: str
    certificate_rsa: str
    key_rsa: str


class Texts(t.TypedDict):
    """A certificate of the administrator and its key, as PEM texts."""

    chain: str
    key: str


class Files(t.TypedDict):
    """The same as files on the host."""

    chain_file: str
    key_file: str


class Outcome(t.TypedDict):
    """What came of an order, as a line for the terminal. new: whether there was, or would be, one."""

    line: str
    new: bool
    failed: bool


class BeforeOrder(t.TypedDict, total=False):
    """What certificate_install returned before an order, or nothing where it was not called for it."""

    reason: str
    kept: list[str]


class CertificateFact(t.TypedDict, total=False):
    """What the role keeps of a host.

    names: what a certificate was installed for, and missing: which of its files were not there in a dry run; both only
    where the role installs one. result: None where that is left to the order. inspected: the certificates, and report
    their lines.
    """

    names: list[str]
    missing: list[str]
    result: BeforeOrder | None
    inspected: Results | FailedPart
    report: Report


# Why a self-signed certificate is no good for clients.
UNTRUSTED = "browsers and phones refuse it, since no CA has signed it"

# A name of a certificate that certbot takes, and that can be part of a path.
_CERTBOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Where a CA fetches the answer to a challenge.
CHALLENGES = "/.well-known/acme-challenge"
# How an error of acme_reach_info ends where that place may be the reason. The module itself would load dnspython.
NOT_SERVED = "does not serve that path from the directory for challenges"
# certbot's packages, where they are not just certbot: of openSUSE and SUSE's Package Hub, which have its timer apart.
CERTBOT_PACKAGES = {"suse": ["python3-certbot", "certbot-systemd-timer"]}
CERTBOT_DNS_PACKAGE = "python3-certbot-dns-rfc2136"
# certbot's own files.
CERTBOT = "/etc/letsencrypt/"
# Where the role installs what has no other place.
FOLDER = "/etc/kopano-hardening/tls"
_MODE = re.compile(r"0?[0-7][0-7]?0")
_PATHS = ("path", "key_path", "ca_file", "acme_ca_file", "acme_webroot")
# A value in certbot's configuration, which has no quoting.
_LINE = re.compile(r"[!-~]+")


def is_given(options: Info) -> bool:
    """Whether the administrator brings a certificate."""
    return options["source"] == "existing" and bool(options["chain"] or options["chain_content"])


def installs(options: Info | None) -> bool:
    """Whether the role installs a certificate, and not only inspects those that are there. None: it does not run."""
    return options is not None and (options["source"] != "existing" or is_given(options))


def query(options: Info) -> Info:
    """How the module host_info is to check the certificates of the virtual hosts."""
    if options["source"] != "existing":
        return {"self_signed_ok": True}
    return {"self_signed_ok": False, **authorities(options)}


def authorities(options: Info) -> Info:
    """The authorities that an existing chain leads to, as certificate_info takes them: the host's own file, or those of
    the role verify, from the controller."""
    if options["ca_file"]:
        return {"ca_file": options["ca_file"]}
    if options["verify_ca_file"]:
        return {"ca_content": _regular.text(os.path.expanduser(options["verify_ca_file"]), foreign_links=True)}
    return {}


# Options of modules that only a host can refuse, or only the module, as the role has them and where their files are.
OF_MODULES = {
    f"{_services.OPTION}: ": "certificate_reload_services: ",
    "ca_file: ": "certificate_ca_file, a path on the host: ",
    "ca_content: ": "verify_ca_file, a path on the controller: ",
}


def in_roles_words(message: str) -> str:
    """A module's refusal of an option with the name that the option has here."""
    start = next((start for start in OF_MODULES if message.startswith(start)), "")
    return OF_MODULES.get(start, "") + message[len(start) :]


def goal(options: Info) -> Goal:
    """Where the site of the role frontend reads them, unless they have a place
    of their own."""
    of_site = not options["path"]
    return {
        "certificate": options["path"] or options["frontend_tls_certificate"] or f"{FOLDER}/fullchain.pem",
        "key": options["key_path"] or options["frontend_tls_certificate_key"] or f"{FOLDER}/privkey.pem",
        "certificate_rsa": options["frontend_tls_certificate_rsa"] if of_site else "",
        "key_rsa": options["frontend_tls_certificate_rsa_key"] if of_site else "",
    }


def option_errors(options: Info) -> list[str]:
    """What is wrong with the options, one sentence each. No key and no secret is in any of them."""
    found: list[str] = []

    def refuse(name: str, why: str) -> None:
        found.append(f"certificate_{name}: {options[name]!r} {why}")

    acme = options["source"] == "acme"
    for name in options["names"]:
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
    if installs(options):
        places = goal(options)
        paths = {"certificate_path": places["certificate"], "certificate_key_path": places["key"]}
        for variable, path in paths.items():
            if path.startswith(CERTBOT):
                found.append(f"{variable}: {path!r} is certbot's own, which it replaces itself; name another path")
    if not _MODE.fullmatch(options["key_mode"]):
        refuse("key_mode", "is not an octal number that leaves others without permissions, such as 0600")
    for name in options["reload_services"]:
        why = _services.invalid(name)
        if why:
            found.append(f"certificate_reload_services: {name!r} {why}")
    for name, least in (("selfsigned_days", 1), ("acme_dns_wait", 0)):
        if options[name] < least:
            refuse(name, f"is less than {least}")
    return found + _verify.ca_file_errors(options["verify_ca_file"]) + (_acme_errors(options) if acme else [])


def _is_https(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets of an IPv6 address that is none
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def _acme_errors(options: Info) -> list[str]:
    found: list[str] = []

    def refuse(name: str, why: str) -> None:
        found.append(f"certificate_{name}: {options[name]!r} {why}")

    for name in ("acme_directory", "acme_staging"):
        if options[name] and not _is_https(options[name]):
            refuse(name, "is not the URL of an ACME directory, which begins with https://")
    if not options["acme_directory"]:
        refuse("acme_directory", "names no ACME server")
    if not options["acme_terms_agreed"]:
        refuse("acme_terms_agreed", f"orders nothing; read the terms of {options['acme_directory']} and set it to true")
    if options["acme_key_types"] not in (["ecdsa"], ["rsa"], ["ecdsa", "rsa"]):
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


# --- which certificates ----------------------------------------------------------------------------------------------


def served_names(info: FrontendInfo) -> list[str]:
    """The names of a host's TLS virtual hosts that a client could request, the first one first."""
    return _names.names(info["vhosts"])


def served(info: FrontendInfo, site: Info | None = None) -> list[ServedCertificate]:
    """The certificates of a host's TLS virtual hosts, with the names that each is for. site: the one of the role
    frontend's plan, where a dry run has not deployed it."""
    vhosts = _names.in_use(info["servers"], info["vhosts"])
    if site:
        own: t.Any = {
            "tls": True,
            "certificate": site["certificate"],
            "key": site["certificate_key"],
            "names": site["names"],
        }
        vhosts.insert(0, own)
    return _names.certificates(vhosts)


def installed(options: Info, names: list[str]) -> list[ServedCertificate]:
    """The same for those that the role installs."""
    return [{"chain": place["path"], "key": place["key_path"], "names": names} for place in targets(options)]


def targets(options: Info) -> list[Place]:
    """Where the role installs them, for each kind of key."""
    return places(goal(options), options["acme_key_types"] if options["source"] == "acme" else ["ecdsa"])


def places(goal: Goal, kinds: t.Sequence[str]) -> list[Place]:
    """Where certificates for these kinds of keys go. All but the first go beside it unless the goal names a place of
    their own, such as C(certificate_rsa) and C(key_rsa)."""
    own: t.Mapping[str, t.Any] = goal
    first: list[Place] = [
        {"path": goal["certificate"], "key_path": goal["key"], "key_type": kind} for kind in kinds[:1]
    ]
    others: list[Place] = [
        {
            "path": own.get(f"certificate_{kind}") or _beside(goal["certificate"], kind),
            "key_path": own.get(f"key_{kind}") or _beside(goal["key"], kind),
            "key_type": kind,
        }
        for kind in kinds[1:]
    ]
    return first + others


def _beside(path: str, kind: str) -> str:
    front, suffix = os.path.splitext(path)
    return f"{front}-{kind}{suffix}"


# --- in check mode ---------------------------------------------------------------------------------------------------


def placeholders(places: t.Iterable[Place], missing: t.Iterable[str], names: t.Sequence[str]) -> list[Info]:
    """In place of certificates and keys that a run would bring to where they are missing: files for web_config.

    A rehearsal of the site needs some. They are made here, are never written to the host and are good for nothing else.
    """
    absent = set(missing)
    lacking = [place for place in places if {place["path"], place["key_path"]} & absent]
    return [item for place in lacking for item in _placeholder(place, names)]


def _placeholder(place: Place, names: t.Sequence[str]) -> list[Info]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key: t.Any = (
        rsa.generate_private_key(65537, 2048) if place["key_type"] == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "placeholder for a rehearsal")])
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
            x509.SubjectAlternativeName([x509.DNSName(item) for item in names or ["placeholder.invalid"]]), False
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


# --- arguments of modules --------------------------------------------------------------------------------------------


def _given(**arguments: t.Any) -> Info:
    """Without those that are empty, for which a module has its default."""
    return {name: value for name, value in arguments.items() if value is not None and value != ""}


def _deployment(options: Info) -> Info:
    """How certificate_install installs whatever it is."""
    own = options["server"] != "auto"
    return _given(
        key_mode=options["key_mode"],
        key_group=options["key_group"],
        server=options["server"] if own else options["frontend_server"],
        rehearse=options["rehearse"],
    )


def _is_remote(pair: Texts | Files) -> t.TypeGuard[Files]:
    return "chain_file" in pair


def judgement(options: Info, pair: Texts | Files, names: t.Sequence[str]) -> Info:
    """Of certificate_info for the pair that the administrator brings."""
    if _is_remote(pair):
        given = {"chain": pair["chain_file"], "key": pair["key_file"]}
    else:
        texts = t.cast("Texts", pair)
        given = {"chain_content": texts["chain"], "key_content": texts["key"]}
    return _given(**given, names=names, **authorities(options))


def installation(options: Info, names: t.Sequence[str], pair: Texts | Files | None = None) -> Info:
    """Of certificate_install for the pair that the administrator brings, or for one that is made on the host."""
    acme = options["source"] == "acme"
    places = targets(options)
    if pair:
        source: Info = {"certificates": [{"path": places[0]["path"], "key_path": places[0]["key_path"], **pair}]}
    else:
        # Before an order any certificate that works stays, whatever its names and key: only where none is, one is made.
        made = {"names": names, "days": options["selfsigned_days"], "bootstrap": acme}
        source = {"certificates": places, "self_signed": made}
    return {
        **source,
        **_deployment(options),
        # A gateway that has a certificate keeps it until there is a better one than a bootstrap certificate.
        "kopano": options["kopano"] and not acme,
        "reload_services": [] if acme else options["reload_services"],
        # Renewals of a certificate that was ordered here before must not replace this one.
        **({} if acme else {"renewal": False}),
    }


def order(options: Info, names: t.Sequence[str]) -> Info:
    """Of acme_certificate."""
    dns = {
        "server": options["acme_dns_server"],
        "key_name": options["acme_dns_key_name"],
        "key_secret": options["acme_dns_key_secret"],
        "key_algorithm": options["acme_dns_key_algorithm"],
        "wait": options["acme_dns_wait"],
    }
    return _given(
        name=options["acme_name"],
        names=names,
        directory=options["acme_directory"],
        staging=options["acme_staging"],
        terms_agreed=options["acme_terms_agreed"],
        email=options["acme_email"],
        eab_kid=options["acme_eab_kid"],
        eab_hmac_key=options["acme_eab_hmac_key"],
        ca_file=options["acme_ca_file"],
        challenge=options["acme_challenge"],
        webroot=webroot(options),
        dns=dns if options["acme_challenge"] == "dns-01" else None,
        key_types=options["acme_key_types"],
    )


def renewal(options: Info, ordered: t.Iterable[LiveFiles]) -> Info:
    """Of certificate_install for what certbot has, now and after each renewal. ordered: acme_certificate's result
    C(certificates)."""
    return {
        "certificates": [{**place, **files} for place, files in zip(targets(options), ordered, strict=True)],
        "renewal": True,
        **_given(ca_file=options["acme_ca_file"]),
        **_deployment(options),
        "kopano": options["kopano"],
        "reload_services": options["reload_services"],
    }


# --- before an order -------------------------------------------------------------------------------------------------


def webroot(options: Info) -> str:
    """The directory that port 80 serves challenges from."""
    path: str = options["acme_webroot"] or options["frontend_acme_root"]
    return path


def packages(options: Info, family: str | None) -> list[str]:
    """certbot, its timer and what it needs for the challenge, as a family of distributions names them."""
    plugin = [CERTBOT_DNS_PACKAGE] if options["acme_challenge"] == "dns-01" else []
    return [*CERTBOT_PACKAGES.get(str(family), ["certbot"]), *plugin]


def caa_issuer(options: Info, identities: t.Sequence[str]) -> str:
    """The CA as CAA records name it. identities: those of its ACME directory."""
    return str(options["acme_caa_issuer"] or next(iter(identities), "") or options["caa_issuer"])


def objections(options: Info, caa: CaaInfo | None, reach: ReachInfo | None) -> list[str]:
    """Why an order would fail, one sentence for each reason: from the results of caa_info and acme_reach_info, where
    there are some."""
    reasons: dict[str, list[str]] = {}
    for entry in caa["results"] if caa else []:
        if entry["verdict"] in ("forbidden", "error"):
            cause = entry["error"] or " ".join(
                item["message"] for item in entry["findings"] if item["severity"] in ("fail", "unknown")
            )
            place = " at {} ({})".format(entry["found_at"], ", ".join(entry["issue"])) if entry["found_at"] else ""
            kind = "forbid the CA" if entry["verdict"] == "forbidden" else "could not be looked up"
            reasons.setdefault(f"CAA records{place} {kind}: {cause}", []).append(entry["name"])
    for reached in reach["results"] if reach else []:
        if reached["error"]:
            reason = reached["error"]
            if reason.endswith(NOT_SERVED):
                reason += (
                    f", which is {webroot(options)}{CHALLENGES}: if port 80 has another one for the name, give the "
                    "directory above its .well-known as certificate_acme_webroot"
                )
            reasons.setdefault(reason, []).append(reached["name"])
    return [f"{' '.join(names)}: {reason}" for reason, names in reasons.items()]


# --- what is reported ------------------------------------------------------------------------------------------------


def finding_lines(findings: t.Iterable[Finding]) -> list[str]:
    """A line for each kind of finding, without the evidence: message and fix are enough to act on."""
    return _finding_lines.lines({**item, "evidence": ""} for item in findings)


def _replaced(result: Installed | BeforeOrder) -> str:
    return f"what it replaced is kept as {' '.join(result['kept'])}" if result["kept"] else ""


def installed_line(options: Info, result: Installed, check_mode: bool) -> str:
    """What certificate_install has installed, or that it is self-signed still; empty if there is nothing to report."""
    path = goal(options)["certificate"]
    reloaded = f"{'would reload' if check_mode else 'reloaded'} {' '.join(result['services'])}"
    if result["diff"]:
        parts = [
            f"{'would install' if check_mode else 'installed'} {path}",
            f"for {' '.join(result['units'])}" if result["units"] else "",
            f"self-signed, {UNTRUSTED}" if result["reason"] else "",
            _replaced(result),
        ]
    else:
        parts = [f"{path} is self-signed: {UNTRUSTED}" if options["source"] == "selfsigned" else ""]
    parts.append(reloaded if result["services"] else "")
    return "; ".join(filter(None, parts))


def ordered_line(options: Info, prepared: Ordered, result: Installed | None) -> str:
    """What came of an order that did not fail. prepared: before the order; result: None where a dry run has nothing to
    install yet."""
    if result is None:
        return f"would order a certificate ({prepared['reason']})"
    new = f" (new: {prepared['reason']})" if prepared["needed"] else ""
    names, path = " ".join(result["served"]), goal(options)["certificate"]
    parts = [
        f"certificate from {options['acme_directory']}{new}",
        f"served for {names}" if names else f"served by no virtual host: none reads {path}",
        f"in {' '.join(result['units'] + result['services'])}" if result["units"] + result["services"] else "",
        _replaced(result),
    ]
    return ", ".join(filter(None, parts))


def bootstrap_line(result: Installed | BeforeOrder) -> str:
    """What is served where an order has failed."""
    if not result.get("reason"):
        return "the previous one is still served"
    text = "a self-signed bootstrap certificate is there until then, which browsers and phones refuse"
    return ", ".join(filter(None, [text, _replaced(result)]))


def _is_inspected(result: Results | FailedPart) -> t.TypeGuard[Results]:
    return "results" in result


def _state(results: t.Sequence[Inspected]) -> str:
    """A line on certificates that are all usable, or all not usable."""
    ends = {str(end) for end in (one["certificate"].get("not_after") for one in results) if end}
    paths = _finding_lines.some(one["path"] for one in results)
    words = "usable" if results[0]["usable"] else "not usable"
    until = f", valid until {min(ends)}" if ends else ""
    return f"{paths}: {words}{until}{' or longer' if len(ends) > 1 else ''}"


def report(
    result: Results | FailedPart, certificates: t.Iterable[ServedCertificate], outcome: Outcome | None
) -> Report:
    """What is reported of a host's certificates. result: of certificate_info about them; outcome: None without an
    order."""
    lines: list[str] = [outcome["line"]] if outcome else []
    if not _is_inspected(result):
        why = result.get("msg", "it was not inspected")
        places = [item["chain"] for item in certificates] or ["certificate.not_checked"]
        shown = places if len(places) <= _finding_lines.SHOWN else [_finding_lines.some(places)]
        lines += [f"unknown: {place}: {why}" for place in shown]
    results = result["results"] if _is_inspected(result) else []
    if len(results) <= _finding_lines.SHOWN:
        for one in results:
            lines += [_state([one]), *finding_lines(one["findings"])]
    else:
        alike = ([one for one in results if one["usable"] is usable] for usable in (True, False))
        lines += [_state(some) for some in alike if some]
        lines += finding_lines(item for one in results for item in one["findings"])
    bad = [outcome["line"]] if outcome and outcome["failed"] else []
    return {"lines": lines or ["no certificate to inspect"], "bad": bad}
