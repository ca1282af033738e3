# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Which clients the policy for TLS locks out, and which of them have used the host."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import as_list
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.client_data import Client
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.clients import ClientResult, LostClient
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import ClientCount, ClientsInfo
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend_data import Profile

# The subject of the findings: the clients of a host as a whole.
SUBJECT = "clients"
# Certificates of both kinds are taken for granted: a client that uses the host gets on with the one that it has.
_KEY_TYPES = ("rsa", "ecdsa")
_UNKNOWN = "programs that are not known"


class Policy(t.NamedTuple):
    """What a server speaks after hardening. suites: IANA's names and OpenSSL's; groups: IANA's names."""

    protocols: t.Sequence[str]
    suites: t.Mapping[str, str]
    groups: t.Sequence[str]


def policy_of(options: t.Mapping[str, t.Any], profile: Profile) -> Policy | None:
    """The policy that the options of the role frontend come to; None where they name a suite or a group that is not
    known here, such as a cipher string of OpenSSL."""
    iana = {**{own: name for name, own in _openssl.SUITES.items()}, **{name: name for name in _openssl.SUITES13}}
    groups = {own: name for name, own in _openssl.GROUPS.items()}
    ciphers = as_list(options["tls_ciphers"]) or profile["ciphers"]
    suites = [*(as_list(options["tls_ciphersuites"]) or profile["ciphersuites"]), *ciphers]
    chosen = as_list(options["tls_groups"]) or profile["groups"]
    try:
        return Policy(profile["protocols"], {iana[own]: own for own in suites}, [groups[own] for own in chosen])
    except KeyError:
        return None


def name(client: Client | ClientResult | LostClient) -> str:
    """A client as people call it."""
    parts = (
        (client["name"], client["version"], client["platform"])
        if isinstance(client, dict)
        else (client.name, client.version, client.platform)
    )
    return " ".join(filter(None, parts))


def required_errors(ids: t.Iterable[str]) -> list[str]:
    """What is wrong with C(frontend_clients_required), which the roles frontend and verify use."""
    try:
        _clients.find(ids)
    except ValueError as error:
        return [f"frontend_clients_required: {error}"]
    return []


# --- by the rehearsal


def served(grades: t.Iterable[t.Mapping[str, t.Any]]) -> int:
    """How many simulated clients connect now, at the endpoint that serves most of them."""
    return max((entry.get("served", 0) for entry in grades), default=0)


def lost(grades: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, LostClient]:
    """The simulated clients that C(rehearsal.grades) of web_config has lost at some endpoint, by their ids."""
    found: dict[str, LostClient] = {}
    for entry in grades:
        for client in entry.get("lost", []):
            found.setdefault(client["id"], client)
    return found


def _by_change(clients: t.Iterable[LostClient]) -> dict[str, list[str]]:
    """The names of lost clients by what each of them lacks, the most frequent first."""
    found: dict[str, list[str]] = {}
    for client in clients:
        found.setdefault(client["text"], []).append(name(client))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def lost_lines(grades: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """How many simulated clients a change locks out, in one line; none if it locks out none."""
    clients = lost(grades)
    if not clients:
        return []
    causes = [f"{text} ({len(names)})" for text, names in _by_change(clients.values()).items()]
    return [
        f"{len(clients)} of the {_phrases.counted(served(grades), 'simulated client')} that connect now could not "
        f"afterwards: {_finding_lines.some(causes)}"
    ]


# --- by the access logs


class Usage(t.NamedTuple):
    """The clients that have used a host: how many in all, and how many of them the policy locks out, by their kind and
    by whether that is certain; and of how many this is not known."""

    total: int
    locked_out: t.Mapping[tuple[str, bool], int]
    unknown: int


def usage(seen: ClientsInfo, policy: Policy | None, changed: t.Mapping[str, LostClient]) -> Usage:
    """What the policy means for the clients that were seen.

    changed: those that a rehearsal has lost. What a client has negotiated is certain; else a simulated one that is like
    it decides, which may be an older version.
    """
    counts = seen["counts"]
    verdicts = {client: _verdict(client, policy, changed) for client in {count["client"] for count in counts}}
    found: collections.Counter[tuple[str, bool]] = collections.Counter()
    unknown = 0
    for count in counts:
        certain = _negotiated(count, policy)
        ok = certain if certain is not None else verdicts[count["client"]]
        if ok is None:
            unknown += count["number"]
        elif not ok:
            known = _client_data.clients().get(count["client"] or "")
            found[name(known) if known else _UNKNOWN, certain is not None] += count["number"]
    return Usage(sum(count["number"] for count in counts), dict(found.most_common()), unknown)


def _verdict(client: str | None, policy: Policy | None, changed: t.Mapping[str, LostClient]) -> bool | None:
    """Whether a client is likely to connect after hardening; None where this is not known."""
    if client in changed:
        return False
    known = _client_data.clients().get(client or "")
    if known is None or policy is None:
        return None
    return _clients.expected(known, policy.protocols, [*policy.suites], policy.groups, _KEY_TYPES, False)["ok"]


def _negotiated(count: ClientCount, policy: Policy | None) -> bool | None:
    """Whether one of the handshakes would do after hardening; None where none is known."""
    if policy is None or not count["negotiated"]:
        return None
    suites = {*policy.suites.values()}
    return any(protocol in policy.protocols and suite in suites for protocol, suite in count["negotiated"])


def _in_words(found: Usage, days: int) -> str:
    kinds = [
        f"{what} ({number}{'' if certain else ', likely'})" for (what, certain), number in found.locked_out.items()
    ]
    number = sum(found.locked_out.values())
    return (
        f"{number} of {_phrases.counted(found.total, 'client')} that used this host in the last {days} days could not "
        f"connect after hardening: {_finding_lines.some(kinds, shown=10)}"
    )


def seen_lines(seen: ClientsInfo | None, policy: Policy | None, changed: t.Mapping[str, LostClient]) -> list[str]:
    """How many clients that have used the host are locked out, in one line; none if there are none."""
    found = usage(seen, policy, changed) if seen else None
    return [_in_words(found, seen["days"])] if seen and found and found.locked_out else []


# --- for the report


def findings(
    grades: t.Sequence[t.Mapping[str, t.Any]], seen: ClientsInfo | None, policy: Policy | None
) -> list[Finding]:
    """What is to be known of a host's clients. grades: C(rehearsal.grades) of web_config."""
    clients = lost(grades)
    found = []
    if clients:
        causes = [f"{text}: {', '.join(names)}" for text, names in _by_change(clients.values()).items()]
        found.append(_findings.finding("frontend.clients.lost", SUBJECT, "; ".join(causes)))
    if seen is None:
        return found
    used = usage(seen, policy, clients)
    if used.locked_out:
        found.append(_findings.finding("frontend.clients.locked_out", SUBJECT, _in_words(used, seen["days"])))
    if used.unknown:
        evidence = f"{used.unknown} of {_phrases.counted(used.total, 'client')}"
        found.append(_findings.finding("frontend.clients.unknown", SUBJECT, evidence))
    if seen["gaps"]:
        found.append(_findings.finding("frontend.clients.not_read", SUBJECT, "; ".join(seen["gaps"])))
    return found
