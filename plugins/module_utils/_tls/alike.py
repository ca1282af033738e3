# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Endpoints that are alike, as the virtual hosts of one server often are: what is listed once for all of them.

The caller names groups of endpoints that are set up in the same way. Each of them gets a L(Glance), under its own name:
what a name can have of its own, and what no server should accept, in one hello for each protocol or two. HSTS and the
redirect that this shows are its own. Of those that look just the same, only one gets a full look, and the others take
that over.

A glance is enough only where everything was refused that should be, as a server that accepts one thing of many that it
should refuse does not say by that what the others are. Otherwise, and where something was lost, the endpoint is looked
at in quick mode, which comes to its letter by itself, and shares the lists of a full look alone. One that looks
different in anything gets a full look of its own.
"""

from __future__ import annotations

import collections
import json
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import Endpoint
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.http import Hsts, Redirect
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.prober import Observation

# Whether a response is stapled may change from one handshake to the next.
_OFTEN_DIFFERENT = ("ocsp_stapled",)


class Glance(t.NamedTuple):
    """What a few queries of an endpoint have shown.

    look: all that they have in common with those of an endpoint that is alike, as a text to compare; None where that is
    not enough to compare. staples: the OCSP responses that came with each chain.
    """

    look: str | None
    hsts: Hsts
    redirect: Redirect
    staples: t.Mapping[tuple[bytes, ...], t.Sequence[bytes]]
    connections: int
    duration_ms: int


def group_of(endpoint: Endpoint) -> tuple[int, str, str] | None:
    """What endpoints of one address have in common that may be alike; None for one that the caller has not grouped."""
    group = endpoint.get("group")
    return (endpoint["port"], endpoint.get("starttls") or "none", group) if group else None


def groups(endpoints: t.Iterable[Endpoint]) -> frozenset[tuple[int, str, str]]:
    """The groups that have several endpoints."""
    sizes = collections.Counter(map(group_of, endpoints))
    return frozenset(group for group, size in sizes.items() if group is not None and size > 1)


def look_of(quick: Observation) -> str | None:
    """What a quick look saw, but for what belongs to the name, as a text to compare; None where something lacks."""
    if quick["error"] or quick["unclear"] or not quick["certificates"]:
        return None
    features = {name: value for name, value in quick["features"].items() if name not in _OFTEN_DIFFERENT}
    return json.dumps(
        {
            "protocols": quick["protocols"],
            "ciphers": {protocol: sorted(names) for protocol, names in quick["ciphers"].items()},
            "groups": sorted(quick["groups"]),
            "chains": sorted([one.sha256 for one in entry["chain"]] for entry in quick["certificates"]),
            "features": features,
            "oracles": quick["oracles"],
            "simulations": sorted(map(str, quick["simulations"])),
        },
        sort_keys=True,
    )


def completed(quick: Observation, full: Observation) -> Observation:
    """A quick look with the lists of a full look at another endpoint that is alike."""
    shown = {tuple(one.der for one in entry["chain"]) for entry in quick["certificates"]}
    others = [entry for entry in full["certificates"] if tuple(one.der for one in entry["chain"]) not in shown]
    often = {name: quick["features"][name] for name in _OFTEN_DIFFERENT}  # type: ignore[literal-required]
    seen: Observation = {
        **quick,
        "mode": full["mode"],
        "ciphers": full["ciphers"],
        "cipher_order": full["cipher_order"],
        "groups": full["groups"],
        "oracles": full["oracles"],
        "simulations": full["simulations"],
        "clients": full["clients"],
        "unclear": full["unclear"],
        "certificates": [*quick["certificates"], *others],
        "features": {**full["features"], **often},  # type: ignore[typeddict-item]
        "ciphers_from": full["server_name"],
    }
    return seen


def renamed(seen: Observation, server_name: str, hsts: Hsts) -> Observation:
    """What was seen of an endpoint, as what is to be seen of another one that is alike: with its own name and HSTS."""
    return {**seen, "server_name": server_name, "named": True, "hsts": hsts, "ciphers_from": seen["server_name"]}


class Alike:
    """Looks at the endpoints of one address, one after the other.

    C(look) looks at one in C(quick) or C(full) mode. C(take_over) makes of a full look at one what is to be seen of
    another one, which had a glance that is the same.
    """

    def __init__(
        self,
        look: t.Callable[[Endpoint, str], Observation],
        take_over: t.Callable[[Endpoint, Glance, Observation], Observation],
    ) -> None:
        self._look = look
        self._take_over = take_over
        self._full: dict[tuple[t.Any, str], Observation] = {}

    def __call__(self, endpoint: Endpoint, glance: Glance | None = None) -> Observation:
        """glance: the endpoint's own, if it had one."""
        if glance is None or glance.look is None:
            return self._after_quick(endpoint)
        key = group_of(endpoint), glance.look
        if key in self._full:
            return self._take_over(endpoint, glance, self._full[key])
        return self._keep(key, self._look(endpoint, "full"), glance.connections)

    def _after_quick(self, endpoint: Endpoint) -> Observation:
        quick = self._look(endpoint, "quick")
        look = look_of(quick)
        if look is None:
            return self._look(endpoint, "full")
        key = group_of(endpoint), look
        if key in self._full:
            return completed(quick, self._full[key])
        return self._keep(key, self._look(endpoint, "full"), quick["connections"])

    def _keep(self, key: tuple[t.Any, str], full: Observation, connections: int) -> Observation:
        """The full look, kept for those that look the same; connections: those that it took to find that out."""
        if not full["error"] and not full["lost"]:
            self._full[key] = full
        return {**full, "connections": connections + full["connections"]}
