# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Inspects a TLS endpoint from outside and records what is there. It judges nothing; C(_tls.grade) does.

C(quick) offers only what no server should accept: a few refusals prove the absence of hundreds of suites. C(full)
offers, takes what was chosen out of the offer, and repeats until it is refused. Such chains of queries (lanes) run in
threads beside each other, with at most L(PEAK) connections at a time to one address. Both modes come to the same
letter: where something was accepted that may lower it, C(quick) lists what C(full) lists.

The L(Observation) is a dictionary of plain values (and parsed certificates), the same keys for every endpoint. What
could not be found out is None, never False.
"""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import threading
import time
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside
from ansible_collections.kopano.hardening.plugins.module_utils._tls import alike as _alike
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clear_login as _clear_login
from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto, ocsp, oracles, wire
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as http_
from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import (
    ACCEPTED,
    CLOSED,
    GARBAGE,
    PEAK,
    REFUSED,
    SILENT,
    UNREACHABLE,
    UNTRIED,
    Endpoint,
    Response,
    Secured,
    Stream,
    together,
)
from ansible_collections.kopano.hardening.plugins.module_utils._tls.revocation import Status
from ansible_collections.kopano.hardening.plugins.module_utils._tls.trust import Judgement, Trust
from ansible_collections.kopano.hardening.plugins.module_utils._tls.trust import read as read_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class SeenCertificate(t.TypedDict):  # novm
        """One chain that is served, as it was sent, at least its first certificate.

        whole: unless only the first could be read. ocsp and ocsp_reason: what C(_tls.ocsp) makes of the stapled
        responses, see C(_tls.ocsp.Staple). revocation: what the authority has published, None where that is not wanted.
        """

        chain: list[x509.Certificate]
        whole: bool
        trust: Judgement
        ocsp: str | None
        ocsp_reason: str | None
        revocation: Status | None

    class Features(t.TypedDict):  # novm
        """What the ServerHellos had beside protocol and suite. dh_bits: the fewest that were seen; None without DHE.

        alpn: the protocol that was chosen.
        """

        compression: bool | None
        secure_renegotiation: bool | None
        client_renegotiation: bool | None
        extended_master_secret: bool | None
        session_tickets: bool | None
        heartbeat: bool | None
        alpn: str | None
        ocsp_stapled: bool | None
        dh_bits: int | None

    class Simulation(t.TypedDict):  # novm
        """What a reference client gets."""

        client: str
        protocol: str | None
        suite: str

    class Unclear(t.TypedDict):  # novm
        """A query without a clear result, and what there was instead."""

        query: str
        result: str

    class Seen(t.TypedDict):  # novm
        """What there is to see of an endpoint. error: None if there is something to grade.

        protocols: each with True, False or None (no clear result). ciphers: protocol to IANA names, all of them in full
        mode, else only those that had to be queried. groups: IANA names. cipher_order: protocol to C(server) or
        C(client). certificates: one for each chain that is served. ca_file: whether one was given. oracles: what
        C(_tls.oracles) finds, C(rsa) and C(cbc): False, how the responses differ, or None for what could not be
        found out; no key where it was not tested. clear_login: how clients can log in before STARTTLS. simulations:
        made only if they may matter. clients: what real clients get, empty where that was not to be found out. unclear:
        all queries without a clear result; lost: those of them that were lost and on which the letter depends.
        """

        error: str | None
        protocols: dict[str, bool | None]
        ciphers: dict[str, list[str]]
        groups: list[str]
        cipher_order: dict[str, str]
        certificates: list[SeenCertificate]
        ca_file: bool
        features: Features
        oracles: dict[str, str | bool | None]
        clear_login: _clear_login.ClearLogin
        simulations: list[Simulation]
        clients: list[_clients.ClientResult]
        hsts: http_.Hsts
        redirect: http_.Redirect
        unclear: list[Unclear]
        lost: list[Unclear]

    class Observation(Seen):  # novm
        """What was seen, and of which endpoint. named: whether it has a name that a certificate could be for.

        server_name: the name that was sent (SNI). mode: C(quick) or C(full). connections: how many it took.
        ciphers_from: the name of the endpoint that its suites and groups were listed by; None: itself.
        """

        server_groups: list[str]
        host: str
        address: str
        port: int
        server_name: str
        named: bool
        starttls: str
        mode: str
        connections: int
        duration_ms: int
        ciphers_from: str | None

else:
    SeenCertificate = Features = Simulation = Unclear = Seen = Observation = t.Dict[str, t.Any]

Queue = t.Sequence[t.Tuple[int, Endpoint]]
"""Endpoints of one address, each with the place of its result among all."""

OLD_PROTOCOLS = ("TLSv1.1", "TLSv1.0", "SSLv3")
_CLASSICAL = tuple(data.groups_of("ec", "TLSv1.2"))
_GROUPS13 = tuple(code for family in ("ec", "pq", "ffdhe") for code in data.groups_of(family, "TLSv1.3"))
# Curves that TLS 1.3 has given up; a server that takes one takes it with TLS 1.2 or older.
_GROUPS12_ONLY = tuple(code for code in _CLASSICAL if code not in _GROUPS13)
_ECDHE = ("ECDHE_RSA", "ECDHE_ECDSA")

# Queries whose results no letter depends on.
_HARMLESS = ("groups", "order")
# Queries of TLS 1.3 that bring no key, and those whose loss means nothing once TLS 1.3 is known not to be there.
_WITHOUT_KEY = ("TLSv1.3", "groups ec", "groups pq", "groups ffdhe")
_ABOUT_13 = (*_WITHOUT_KEY, "certificates TLSv1.3")


def _recommended(suite: data.Suite) -> bool:
    """What a TLS 1.2 server should accept and nothing else: ephemeral elliptic curves with authenticated encryption."""
    return suite.exchange in _ECDHE and suite.aead and not suite.name.endswith("CCM_8")


# Suites are offered in lanes, so that long lists are walked in parallel. A lane is one kind of key exchange.
_LANES = (
    ("ecdhe", lambda suite: suite.exchange in _ECDHE),
    ("dhe", lambda suite: suite.exchange in ("DHE_RSA", "DHE_DSS")),
    ("rsa", lambda suite: suite.exchange == "RSA"),
    ("other", lambda suite: True),
)


def lanes_of(suites: t.Iterable[data.Suite]) -> list[list[int]]:
    """The code points of the suites, in lanes; every suite is in just one, and no lane is too long for a hello."""
    lanes: dict[str, list[data.Suite]] = {name: [] for name, _fits in _LANES}
    for suite in suites:
        lanes[next(name for name, fits in _LANES if fits(suite))].append(suite)
    return [[suite.code for suite in offer] for lane in lanes.values() for offer in data.offers_of(lane)]


_ECDSA12 = [
    suite.code for suite in data.suites_of("TLSv1.2") if _recommended(suite) and suite.exchange == "ECDHE_ECDSA"
]
_RSA12 = [suite.code for suite in data.suites_of("TLSv1.2") if _recommended(suite) and suite.exchange == "ECDHE_RSA"]
_UNWANTED12 = [suite for suite in data.suites_of("TLSv1.2") if not _recommended(suite)]
# Code points that stand for no suite, as many as there are unwanted ones.
UNKNOWN = range(0xE000, 0xE000 + len(_UNWANTED12))
_SUITES13 = [suite.code for suite in data.suites_of("TLSv1.3")]
# Without encryption, with a short tag, or with ciphers of one country.
_UNWANTED13 = [suite for suite in data.suites_of("TLSv1.3") if suite.code not in (0x1301, 0x1302, 0x1303, 0x1304)]


def _key_of(certificate: bytes) -> x509.Key | None:
    try:
        return read_certificate(certificate).key
    except wire.ParseError:
        return None


def _without(signatures: tuple[int, ...], certificate: bytes, protocol: str) -> tuple[int, ...]:
    """The signature algorithms that the key of a certificate cannot be used with."""
    key = _key_of(certificate)
    if key is None:
        return signatures
    usable = data.KEY_SIGNATURES.get(key.scheme or key.type, ())
    if protocol == "TLSv1.3":
        usable = data.KEY_SIGNATURES13.get(key.curve or key.scheme, usable)
    return tuple(code for code in signatures if code not in usable)


class Observer:
    """Plans the queries of one endpoint and gathers the results."""

    def __init__(
        self, peer: _handshake.Peer, mode: str, trust: Trust, http: bool, http_port: int | None, peak: int = PEAK
    ) -> None:
        self._peer = peer
        self._peak = peak
        self._full = mode == "full"
        # Without a key share the server saves its own, and its signature, but some take no such hello.
        self._key_shares = not self._full
        self._trust_store = trust
        self._http = http and peer.starttls == "none"
        self._http_port = http_port if self._http else None
        self._lock = threading.Lock()
        # Protocol to the suites of those offers that should have been refused and were not.
        self._accepted: dict[str, list[data.Suite]] = {}
        self._responses: list[Response] = []
        self._flights: list[Response] = []
        self._ciphers: dict[str, list[int]] = {}
        self._ssl2_suites: list[str] = []
        self._groups: list[int] = []
        self._order: dict[str, str] = {}
        # Every chain that was sent, with the OCSP responses that came with it.
        self._chains: dict[tuple[bytes, ...], list[bytes]] = {}
        self._shown: set[tuple[str, str]] = set()
        # Certificates from elsewhere: the rest of each chain if it is needed, None if it cannot be had.
        self._others: dict[bytes, t.Callable[[], t.Sequence[bytes]] | None] = {}
        self._dh_bits: list[int] = []
        self._simulations: list[Simulation] = []
        self._unclear: list[Unclear] = []
        # Those of them on which the letter depends.
        self._lost: list[Unclear] = []
        # Protocols for whose hello the server chose an older one.
        self._older_chosen: set[str] = set()
        # Queries that a server closed on which closes on everything that it refuses.
        self._hung_up: dict[str, str] = {}
        self._renegotiates: bool | None = None
        self._oracles: dict[str, str | bool | None] = {}
        self._tickets13: bool | None = None
        # What a real client has got: protocol, suite, what ALPN came to, certificate, and whether it has a ticket.
        self._visited: tuple[t.Any, ...] = ()
        self._hsts: http_.Hsts = {"status": "not_tested" if peer.starttls == "none" else "not_applicable"}
        self._redirect: http_.Redirect = {"status": "not_tested"}

    # Queries

    def _query(
        self,
        protocol: str,
        suites: t.Sequence[int],
        flight: bool = False,
        groups: t.Sequence[int] | None = None,
        signatures: t.Sequence[int] = data.ALL_SIGNATURES,
        **more: t.Any,
    ) -> Response:
        """One ClientHello with everything that can be found out with it for this protocol."""
        if protocol == "TLSv1.3" and self._key_shares:
            # One for each group would be long, the first is enough.
            offered = crypto.Share.GROUPS if groups is None else groups[:1]
            shares = [(group, crypto.placeholder(group)) for group in offered]
            more["key_shares"] = [(group, public) for group, public in shares if public]
        response = _handshake.query_tls(
            self._peer,
            protocol,
            suites,
            flight=flight,
            groups=(_GROUPS13 if protocol == "TLSv1.3" else _CLASSICAL) if groups is None else groups,
            signatures=signatures,
            compressions=(1, 0) if flight and protocol != "TLSv1.3" else (0,),
            extras=flight,
            **more,
        )
        with self._lock:
            self._responses.append(response)
            if (
                response.outcome == ACCEPTED
                and response.hello
                and response.protocol != protocol
                and not response.hello.downgraded
            ):
                self._older_chosen.add(protocol)
            if response.outcome == ACCEPTED and flight and response.protocol:
                self._flights.append(response)
                self._note_chain(response)
        return response

    def _note_chain(self, response: Response) -> None:
        if response.chain:
            staples = self._chains.setdefault(tuple(response.chain), [])
            if response.staple and response.staple not in staples:
                staples.append(response.staple)
            if response.protocol and response.hello:
                self._shown.add((response.protocol, data.SUITES[response.suite].authentication))
        if response.exchange and response.exchange.bits:
            self._dh_bits.append(response.exchange.bits)
        if response.exchange and response.exchange.group in data.GROUPS and response.exchange.group not in self._groups:
            self._groups.append(response.exchange.group)

    def _note_suites(self, protocol: str, suites: t.Iterable[int]) -> None:
        with self._lock:
            known = self._ciphers.setdefault(protocol, [])
            known.extend(suite for suite in suites if suite not in known)

    def _note_groups(self, groups: t.Iterable[int]) -> None:
        with self._lock:
            self._groups.extend(group for group in groups if group not in self._groups)

    def _took(self, response: Response, protocol: str, what: str) -> bool:
        """Whether the offer was accepted with this very protocol. What was lost, and is no refusal, is noted."""
        if response.lost:
            self._note_unclear(what, response.message, lost=True)
        elif response.steady:
            self._hung_up[what] = response.message
        return response.outcome == ACCEPTED and response.protocol == protocol

    def _forget(self, queries: t.Container[str]) -> None:
        """What was lost is now known in another way."""
        self._unclear = [entry for entry in self._unclear if entry["query"] not in queries]
        self._lost = [entry for entry in self._lost if entry["query"] not in queries]

    def _note_unclear(self, what: str, message: str, lost: bool = False) -> None:
        with self._lock:
            self._unclear.append({"query": what, "result": message})
            if lost and not what.startswith(_HARMLESS):
                self._lost.append(self._unclear[-1])

    def _walk_suites(self, protocol: str, suites: t.Sequence[int], limit: int | None = None) -> list[int]:
        """Offer, take out what was chosen, offer the rest, until refused: a lane's suites, in the server's order."""
        left = list(suites)
        chosen: list[int] = []
        while left and (limit is None or len(chosen) < limit):
            response = self._query(protocol, left, flight=not chosen)
            if not self._took(response, protocol, protocol):
                break
            chosen.append(response.suite)
            left.remove(response.suite)
            self._see_certificate(protocol, response.suite)
            if response.hello and response.hello.group in data.GROUPS:
                self._note_groups([response.hello.group])
        self._note_suites(protocol, chosen)
        return chosen

    # Certificates

    def _see_certificate(self, protocol: str, suite: int) -> None:
        """Get the certificate that goes with a suite, unless one of its kind was shown with this protocol."""
        kind = data.SUITES[suite].authentication
        if protocol != "TLSv1.3" and kind and (protocol, kind) not in self._shown:
            self._took(self._query(protocol, [suite], flight=True), protocol, f"certificate {protocol}")

    def _certificates12(self) -> None:
        """Certificates that TLS 1.2 has beside those that go with its suites: leave out what their keys sign with."""
        suites = [code for code in self._ciphers.get("TLSv1.2", ()) if data.SUITES[code].forward_secrecy]
        signatures = data.ALL_SIGNATURES
        for response in list(self._flights):
            if response.protocol == "TLSv1.2" and response.chain:
                signatures = _without(signatures, response.chain[0], "TLSv1.2")
        while suites:
            response = self._query("TLSv1.2", suites, flight=True, signatures=signatures)
            left = signatures
            if self._took(response, "TLSv1.2", "certificates TLSv1.2") and response.chain:
                left = _without(signatures, response.chain[0], "TLSv1.2")
            if left == signatures:
                break
            signatures = left

    def _certificates13(
        self, groups: t.Sequence[int] = crypto.Share.GROUPS, suites: t.Sequence[int] = tuple(crypto.CIPHERS13)
    ) -> bool:
        """The certificates that TLS 1.3 hides, one after the other: leave out what the keys of those seen sign with.

        False if TLS 1.3 cannot be spoken like that.
        """
        signatures = data.ALL_SIGNATURES
        seen: list[bytes] = []
        while True:
            response = _handshake.query_tls13(self._peer, suites, signatures, groups)
            took = self._took(response, "TLSv1.3", "certificates TLSv1.3")
            with self._lock:
                self._responses.append(response)
                if took:
                    self._flights.append(response)
                    self._note_chain(response)
            if not took or not response.chain:
                return bool(seen)
            self._note_suites("TLSv1.3", [response.suite])
            self._note_groups([response.hello.group] if response.hello and response.hello.group else [])
            # One that is shown although its key cannot sign so: as TLS 1.2 has it, a curve binds nothing.
            protocol = "TLSv1.2" if response.chain[0] in seen else "TLSv1.3"
            left = _without(signatures, response.chain[0], protocol)
            if left == signatures:
                return True
            signatures = left
            seen.append(response.chain[0])

    def _certificates13_otherwise(self) -> None:
        """The certificates of TLS 1.3 where the usual groups are not taken."""
        groups = [group for group in crypto.Share.ALL if group in self._groups]
        suites = [suite for suite in crypto.CIPHERS13 if suite in self._ciphers["TLSv1.3"]]
        if not (groups and suites and self._certificates13(groups, suites)):
            self._note_unclear("certificates TLSv1.3", "its groups or suites cannot be spoken here")

    # Lanes

    def _quick12(self) -> None:
        """What TLS 1.2 takes, in three hellos.

        A server that chooses a suite after so many unknown ones reads the list to its end, so that all unwanted suites
        fit in one hello. Where that is not clear, everything is offered in parts.
        """
        rsa = self._query("TLSv1.2", _RSA12, flight=True, unknown=UNKNOWN)
        ecdsa = self._query("TLSv1.2", _ECDSA12, flight=True, unknown=() if rsa.outcome == ACCEPTED else UNKNOWN)
        responses = (rsa, ecdsa)
        if any(response.lost or response.steady for response in responses) or not any(
            response.hello for response in responses
        ):
            for lane in self._parts12(1):
                lane()
            return
        self._note_suites("TLSv1.2", [one.suite for one in responses if self._took(one, "TLSv1.2", "TLSv1.2")])
        self._unwanted("TLSv1.2", _UNWANTED12)

    def _parts12(self, limit: int | None = None) -> list[t.Callable[[], t.Any]]:
        """What TLS 1.2 takes, in hellos that every server reads to their end."""
        walks = [functools.partial(self._walk_suites, "TLSv1.2", suites, limit) for suites in (_RSA12, _ECDSA12)]
        return walks + [functools.partial(self._unwanted, "TLSv1.2", offer) for offer in data.offers_of(_UNWANTED12)]

    def _quick13(self) -> None:
        """Certificates of TLS 1.3; if none can be had, whether it is there at all, and with which group."""
        if not self._certificates13():
            self._walk_suites("TLSv1.3", _SUITES13, 1)

    def _walk_groups(self, family: str, limit: int | None = None) -> list[int]:
        """The groups of a family that TLS 1.3 takes, in the server's order."""
        left = data.groups_of(family, "TLSv1.3")
        chosen: list[int] = []
        while left and (limit is None or len(chosen) < limit):
            response = self._query("TLSv1.3", _SUITES13, groups=left)
            group = response.hello.group if response.hello else None
            if not self._took(response, "TLSv1.3", "groups " + family) or group is None or group not in left:
                break
            self._note_suites("TLSv1.3", [response.suite])
            chosen.append(group)
            left.remove(group)
        self._note_groups(chosen)
        return chosen

    def _old_groups(self, groups: t.Sequence[int]) -> None:
        """Curves before TLS 1.3, out of the server's parameters; a server that ignores the offer ends this.

        A server has one list for TLS 1.2 and what is older, so one protocol is enough: the newest with such suites.
        It may not use an ECDSA certificate whose curve is not offered (RFC 8422, 5.1). So what is not chosen from is
        offered with that curve once more.
        """
        left = list(groups)
        ephemeral = {
            protocol: [code for code in self._ciphers.get(protocol, ()) if data.SUITES[code].exchange in _ECDHE]
            for protocol in ("TLSv1.2", *OLD_PROTOCOLS)
        }
        protocol = next((name for name, suites in ephemeral.items() if suites), None)
        for added in ([], *([curve] for curve in self._key_curves())):
            while left and protocol:
                offer = list(dict.fromkeys(left + added))
                response = self._query(protocol, ephemeral[protocol], flight=True, groups=offer)
                if (
                    not self._took(response, protocol, f"groups {protocol}")
                    or not response.exchange
                    or response.exchange.group not in left
                ):
                    break
                self._note_groups([response.exchange.group])
                left.remove(response.exchange.group)

    def _key_curves(self) -> list[int]:
        """Of the certificates that were shown so far."""
        with self._lock:
            leaves = [chain[0] for chain in self._chains]
        curves = dict.fromkeys(key.curve for key in map(_key_of, leaves) if key)
        return [data.GROUP_NAMED[curve].code for curve in curves if curve in data.GROUP_NAMED]

    def _unwanted(self, protocol: str, suites: t.Sequence[data.Suite]) -> None:
        """Suites (or a whole protocol) that should be refused: one query, and if one is accepted, all of them later.

        A server without this protocol may choose an older one with these suites.
        """
        response = self._query(protocol, [suite.code for suite in suites], flight=True)
        self._took(response, protocol, protocol)
        if response.outcome == ACCEPTED and response.protocol:
            with self._lock:
                known = self._accepted.setdefault(response.protocol, [])
                known += [suite for suite in suites if suite not in known]

    def _accepted_lanes(self) -> list[t.Callable[[], t.Any]]:
        """What lists the suites of a server that takes some that it should not: they decide on its score."""
        recommended = [("TLSv1.2", _RSA12), ("TLSv1.2", _ECDSA12), ("TLSv1.3", _SUITES13)]
        lanes = [(protocol, lane) for protocol, suites in self._accepted.items() for lane in lanes_of(suites)]
        if lanes and not self._full:
            lanes += [(name, suites) for name, suites in recommended if set(suites) & set(self._ciphers.get(name, ()))]
        return [
            functools.partial(self._walk_suites, protocol, [code for code in lane if code not in known])
            for protocol, lane in lanes
            for known in [self._ciphers.get(protocol, ())]
        ]

    def _ssl2(self) -> None:
        response = _handshake.query_ssl2(self._peer)
        if response.steady and response.outcome in (CLOSED, GARBAGE) and response.message != "alert internal_error":
            # A server that knows TLS alone has no alert for this hello: it hangs up, or complains in its own way.
            response = response._replace(outcome=REFUSED, steady=False)
        took = self._took(response, "SSLv2", "SSLv2")
        with self._lock:
            self._responses.append(response)
            if took:
                self._ssl2_suites = response.message.split()
                # SSL 2.0 has no chains.
                self._others.setdefault(response.chain[0], None)
        if took and not self._ssl2_suites:
            # OpenSSL of 2015 can be made to use one that it does not offer (CVE-2015-3197).
            self._note_unclear("SSLv2", "it greets in SSL 2.0 but names no suite")

    def _cipher_order(self, protocol: str) -> None:
        """Whose preference decides: offer the accepted suites forwards and backwards.

        A server may let ChaCha20 win when a client prefers it (and keep its own order otherwise), so that neither
        offer begins with it.
        """
        suites = sorted(self._ciphers[protocol], key=lambda code: "CHACHA20" in data.SUITES[code].name)
        plain = [code for code in suites if "CHACHA20" not in data.SUITES[code].name]
        if len(plain) < 2:
            return
        rest = suites[len(plain) :]
        responses = [self._query(protocol, plain + rest), self._query(protocol, plain[::-1] + rest)]
        took = [self._took(response, protocol, f"order {protocol}") for response in responses]
        if all(took):
            self._order[protocol] = "server" if responses[0].suite == responses[1].suite else "client"

    def _simulate(self, client: str) -> None:
        suites = [int(code, 16) for code in data.REFERENCE_CLIENTS[client].split()]
        response = self._query("TLSv1.2", suites, groups=data.REFERENCE_GROUPS)
        if self._took(response, response.protocol or "", client):
            with self._lock:
                self._simulations.append(
                    {"client": client, "protocol": response.protocol, "suite": data.SUITES[response.suite].name}
                )

    def _renegotiation(self) -> None:
        suites = [code for code in self._ciphers.get("TLSv1.2", ()) if code in crypto.CIPHERS12]
        if suites:
            response = _handshake.query_renegotiation(self._peer, suites)
            refused = response.outcome == REFUSED or (
                response.steady and response.message == _handshake.NO_RENEGOTIATION
            )
            self._renegotiates = True if response.outcome == ACCEPTED else False if refused else None

    def _oracle_lanes(self) -> list[t.Callable[[], t.Any]]:
        """ROBOT, by the newest protocol with RSA key exchange, and CBC padding; neither without such suites."""
        lanes: list[t.Callable[[], t.Any]] = []
        for protocol in ("TLSv1.2", "TLSv1.1", "TLSv1.0"):
            rsa = [code for code in self._ciphers.get(protocol, ()) if data.SUITES[code].exchange == "RSA"]
            if rsa:
                lanes.append(functools.partial(self._find_oracle, "rsa", oracles.rsa, protocol, rsa))
                break
        cbc = oracles.cbc_suites(self._ciphers.get("TLSv1.2", ()))
        return lanes + ([functools.partial(self._find_oracle, "cbc", oracles.cbc, cbc)] if cbc else [])

    def _find_oracle(self, name: str, find: t.Callable[..., str | bool | None], *suites: t.Any) -> None:
        self._oracles[name] = find(self._peer, *suites)

    # A real client: HSTS, tickets

    def _visit(self) -> None:
        """Finish a handshake as a browser would, but for the chain, and request the start page."""
        response = self._visit_with(self._trust_store.blind)
        if _names_alert(response.message, "no application protocol"):
            response = self._visit_with(self._trust_store.without_alpn)
        if response.outcome != ACCEPTED and self._http:
            self._hsts = {"status": "error", "reason": response.message}

    def _visit_with(self, context: ssl.SSLContext) -> Response:
        return self._peer.persist(functools.partial(self._visit_once, context))

    def _visit_once(self, context: ssl.SSLContext) -> Response:
        try:
            with self._peer.connect() as (sock, deadline):
                secured = Secured(sock, deadline, context, self._peer.sni)
                self._note_peer(secured.tls)
                if self._http:
                    self._read_page(secured)
                tls, leaf = secured.tls, secured.tls.getpeercert(binary_form=True) or b""
                self._visited = (tls.version(), tls.cipher(), tls.selected_alpn_protocol(), leaf.hex(), self._tickets13)
            return Response(ACCEPTED)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return Response(CLOSED, "connection closed")
        except ssl.SSLError as error:
            message = str(error.reason or error)
            return Response(CLOSED if _names_alert(message, "internal error") else REFUSED, message)
        except http_.HttpError as error:
            return Response(CLOSED if error.cut else REFUSED, str(error))
        except (OSError, _handshake.Unreachable, wire.ParseError) as error:
            response = _handshake.lost(error)
            # Time is short when a server keeps silent here, and nothing but HSTS is at stake.
            return response._replace(outcome=UNTRIED) if response.outcome in (SILENT, GARBAGE) else response

    def _note_peer(self, tls: ssl.SSLObject) -> None:
        """The chain as the local library has it; before Python 3.10 it only has the first certificate."""
        read_chain = getattr(tls._sslobj, "get_unverified_chain", None)  # type: ignore[attr-defined]
        leaf = tls.getpeercert(binary_form=True)
        if leaf:
            shown = read_chain() if read_chain else None
            self._others[leaf] = (
                (lambda: [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in shown[1:]]) if shown else None
            )

    def _read_page(self, secured: Secured) -> None:
        try:
            head = _get(secured, http_.request(self._peer.sni or self._peer.name, self._peer.port, 443))
        except http_.HttpError as error:
            if not error.other or self._peer.port == 443:
                raise
            self._hsts = {"status": "not_applicable"}
            return
        self._hsts = http_.read_hsts(head.values("strict-transport-security"))
        session = secured.tls.session
        if secured.tls.version() == "TLSv1.3" and session is not None:
            self._tickets13 = session.has_ticket

    def _plain_http(self, port: int) -> None:
        """Request the start page without TLS, and see where it leads."""
        try:
            with self._peer.connect(port) as (sock, deadline):
                request = http_.request(self._peer.sni or self._peer.name, port, 80)
                head = _get(Stream(sock, deadline), request)
            self._redirect = http_.read_redirect(head, (self._peer.name, self._peer.host))
        except _handshake.Unreachable as error:
            self._redirect = {"status": "closed", "reason": str(error)}
        except (OSError, http_.HttpError, wire.ParseError) as error:
            self._redirect = {"status": "error", "reason": str(error)}

    # The plan

    def run(self) -> None:
        """Make the queries that every endpoint gets, then those that their results call for."""
        # The longest lanes go first.
        lanes: list[t.Callable[[], t.Any]] = [self._visit]
        full13: list[t.Callable[[], t.Any]] = []
        full13 += [functools.partial(self._walk_groups, family) for family in ("ec", "pq", "ffdhe")]
        full13.append(functools.partial(self._walk_suites, "TLSv1.3", _SUITES13))
        if self._full:
            lanes += [*full13, self._certificates13, *self._parts12()]
        else:
            lanes += [self._quick13, self._quick12, functools.partial(self._walk_groups, "pq", 1)]
            lanes.append(functools.partial(self._unwanted, "TLSv1.3", _UNWANTED13))
        lanes += [functools.partial(self._unwanted, name, data.old_suites(name)) for name in OLD_PROTOCOLS]
        lanes.append(self._ssl2)
        if self._http_port:
            lanes.append(functools.partial(self._plain_http, self._http_port))
        together(lanes, self._peak)
        if self._full and self._wants_key_shares():
            self._forget(_WITHOUT_KEY)
            self._key_shares = True
            together(full13, self._peak)
        if not self._peer.failure:
            together(self._accepted_lanes(), self._peak)
            together(self._later(), self._peak)
            self._settle()

    def _wants_key_shares(self) -> bool:
        """Whether TLS 1.3 was spoken when its certificates were fetched, and with no hello that brought no key."""
        spoken = [
            response for response in self._responses if response.outcome == ACCEPTED and response.protocol == "TLSv1.3"
        ]
        return bool(spoken) and all(response.chain for response in spoken)

    def _settle(self) -> None:
        """Find out what losses and contradictions mean for whole protocols.

        A server does not have a protocol for which it chooses an older one, unless it marks that it was kept from a
        newer one (RFC 8446, 4.1.3). Closing the connection may be its way to refuse suites, but where it closes on
        everything that a protocol may offer, something else may do that, and the protocol is not known.
        """
        for protocol, message in self._hung_up.items():
            if protocol in data.PROTOCOLS and not self._ciphers.get(protocol):
                self._note_unclear(protocol, message, lost=True)
        if self._protocols()["TLSv1.3"] is None:
            suites = [*_SUITES13, *_RSA12, *_ECDSA12, *(suite.code for suite in data.old_suites("TLSv1.0"))]
            self._query("TLSv1.3", suites[: data.MAX_SUITES], older=(0x0303, 0x0302, 0x0301))
        for protocol in self._older_chosen:
            self._forget(_ABOUT_13 if protocol == "TLSv1.3" else (protocol,))
        chosen = {response.protocol for response in self._responses if response.outcome == ACCEPTED}
        for protocol, there in self._protocols().items():
            if protocol in chosen and there is False:
                message = "inconsistent ServerHellos: chosen for one hello, refused for another"
                self._note_unclear(protocol, message, lost=True)

    def _later(self) -> list[t.Callable[[], t.Any]]:
        """Queries that depend on what was accepted."""
        queries: list[t.Callable[[], t.Any]] = []
        if any(not _recommended(data.SUITES[code]) for code in self._ciphers.get("TLSv1.2", ())):
            queries += [functools.partial(self._simulate, client) for client in data.REFERENCE_CLIENTS]
        if self._ciphers.get("TLSv1.3") and ("TLSv1.3", "") not in self._shown:
            queries.append(self._certificates13_otherwise)
        queries += self._oracle_lanes()
        if self._full or ("TLSv1.3", "") not in self._shown:
            # Otherwise TLS 1.3 has shown keys of every kind.
            queries.append(self._certificates12)
        if self._full:
            queries += [
                functools.partial(self._cipher_order, protocol) for protocol in self._ciphers if self._ciphers[protocol]
            ]
            queries.append(
                functools.partial(self._old_groups, _GROUPS12_ONLY if self._ciphers.get("TLSv1.3") else _CLASSICAL)
            )
        if self._full or not self._features()["secure_renegotiation"]:
            queries.append(self._renegotiation)
        return queries

    def glance(self) -> str | None:
        """Make the queries by which C(_tls.alike) tells names apart; what they have shown, as a text to compare.

        What no name of one server can have of its own needs no query by name: an SSL 2.0 hello has none in it, a server
        has its groups before it reads the name, and both protocols get the certificates of one list, which TLS 1.2
        shows plainly. A hello of TLS 1.1 with all older suites is one for the protocols before it as well, since a
        server chooses the newest of them that it has. The queries are made one after the other, as many names are
        queried at a time.
        """
        self._key_shares = True
        self._visit()
        self._quick12()
        if not self._chains:
            self._quick13()
        self._unwanted("TLSv1.3", _UNWANTED13)
        self._unwanted("TLSv1.1", data.old_suites("TLSv1.1"))
        if self._http_port:
            self._plain_http(self._http_port)
        if self._unclear or self._hung_up or self._accepted or not (self._chains and self._visited):
            return None
        return json.dumps([self._visited, [_shown(response) for response in self._responses]])

    # What was seen

    @property
    def hsts(self) -> http_.Hsts:
        return self._hsts

    @property
    def redirect(self) -> http_.Redirect:
        return self._redirect

    @property
    def staples(self) -> t.Mapping[tuple[bytes, ...], t.Sequence[bytes]]:
        """The OCSP responses that came with each chain."""
        return self._chains

    def observation(self) -> Seen:
        # Before the chains are judged: what that takes is not the endpoint's fault.
        error = self._error()
        certificates, broken = self._certificates()
        return {
            "error": error or broken,
            "protocols": self._protocols(),
            "ciphers": {
                protocol: self._ssl2_suites
                if protocol == "SSLv2"
                else [data.SUITES[code].name for code in self._ciphers[protocol]]
                for protocol in data.PROTOCOLS
                if (self._ssl2_suites if protocol == "SSLv2" else self._ciphers.get(protocol))
            },
            "groups": [data.GROUPS[code].name for code in self._groups if code in data.GROUPS],
            "cipher_order": self._order,
            "certificates": certificates,
            "ca_file": self._trust_store.given,
            "features": self._features(),
            "oracles": self._oracles,
            "clear_login": _clear_login.ClearLogin(None),
            "simulations": self._simulations,
            "clients": [],
            "hsts": self._hsts,
            "redirect": self._redirect,
            "unclear": self._unclear,
            "lost": self._lost,
        }

    def _error(self) -> str | None:
        peer, responses = self._peer, self._responses
        if not any(response.outcome == ACCEPTED for response in responses):
            for outcome in (UNREACHABLE, GARBAGE, SILENT):
                message = next((response.message for response in responses if response.outcome == outcome), None)
                if message and (outcome != UNREACHABLE or peer.failure):
                    return peer.failure or message
            return "no TLS handshake: {}".format(next((response.message for response in responses), "nothing was sent"))
        if peer.deadline.passed:
            return "too slow for the time limit"
        if peer.failure:
            return f"it stopped responding: {peer.failure}"
        if not any(self._protocols().values()):
            return self._lost[0]["result"] if self._lost else "no protocol was accepted"
        return None

    def _protocols(self) -> dict[str, bool | None]:
        unclear = {entry["query"] for entry in self._unclear}
        seen = {name for name, suites in self._ciphers.items() if suites} | ({"SSLv2"} if self._ssl2_suites else set())
        return {name: True if name in seen else None if name in unclear else False for name in data.PROTOCOLS}

    def _certificates(self) -> tuple[list[SeenCertificate], str | None]:
        """What is known of each chain that was sent, and why one could not be read."""
        known = {chain: (staples, True) for chain, staples in self._chains.items()}
        for leaf, rest in self._others.items():
            if leaf not in [chain[0] for chain in known]:
                known[(leaf, *(rest() if rest else ()))] = [], rest is not None
        certificates: list[SeenCertificate] = []
        for chain, (staples, whole) in known.items():
            try:
                parsed = [read_certificate(der) for der in chain]
            except wire.ParseError as error:
                return certificates, str(error)
            trust = self._judge(parsed, whole)
            staple = ocsp.judge(staples, trust.path)
            certificates.append(
                {
                    "chain": parsed,
                    "whole": whole,
                    "trust": trust,
                    "ocsp": staple.status,
                    "ocsp_reason": staple.reason,
                    "revocation": self._revocation(trust, staple),
                }
            )
        return certificates, None

    def _revocation(self, trust: Judgement, staple: ocsp.Staple) -> Status | None:
        """What the authority of a trusted certificate has published about it, if that is to be known. What the server
        has of it, signed, is as good as asking."""
        revocations = self._trust_store.revocations
        if not revocations or not trust.trusted or not self._peer.named:
            return None
        if staple.status in ("good", "revoked"):
            return Status(staple.status, "the stapled OCSP response")
        return revocations.status(trust.path, self._peer.address, self._peer.deadline.remaining)

    def _judge(self, chain: t.Sequence[x509.Certificate], whole: bool) -> Judgement:
        trust = self._trust_store.judge(chain, self._peer.address, self._peer.deadline.remaining)
        if trust.trusted or whole:
            return trust
        return trust._replace(trusted=None, reason="only the first certificate of the chain could be read")

    def _features(self) -> Features:
        """What the ServerHellos had beside protocol and suite: the newest protocol that has the extension counts."""
        old = sorted(
            (response for response in self._flights if response.hello and response.protocol != "TLSv1.3"),
            key=lambda response: data.PROTOCOLS.index(response.protocol or ""),
        )
        hello = old[-1].hello if old else None
        has = (lambda kind: kind in hello.extensions) if hello else (lambda kind: None)
        alpn = [response.alpn for response in self._flights if response.alpn]
        return {
            "compression": any(response.hello.compression != 0 for response in old if response.hello)
            if old
            else False
            if self._flights
            else None,
            "secure_renegotiation": has(wire.RENEGOTIATION_INFO),
            "client_renegotiation": self._renegotiates,
            "extended_master_secret": has(wire.EXTENDED_MASTER_SECRET),
            "session_tickets": has(wire.SESSION_TICKET)
            if self._tickets13 is None
            else bool(has(wire.SESSION_TICKET)) or self._tickets13,
            "heartbeat": has(wire.HEARTBEAT),
            "alpn": alpn[0] if alpn else None,
            "ocsp_stapled": any(self._chains.values()) if self._chains else None,
            "dh_bits": min(self._dh_bits) if self._dh_bits else None,
        }


def _shown(response: Response) -> tuple[t.Any, ...]:
    """What a response has that is the same in each of a server that is set up in the same way."""
    hello, exchange = response.hello, response.exchange
    return (
        response.outcome,
        response.protocol,
        response.alpn,
        [hello.suite, hello.group, hello.compression, hello.downgraded, sorted(hello.extensions)] if hello else None,
        [exchange.group, exchange.bits] if exchange else None,
        [one.hex() for one in response.chain],
    )


def _names_alert(message: str, alert: str) -> bool:
    """Whether an error of the module ssl is this alert. Before Python 3.12 some have OpenSSL's text, not its name."""
    return alert in message.lower().replace("_", " ")


def _get(stream: Stream, request: bytes) -> http_.Head:
    """Send a request, read the head of the final response."""
    stream.send(request)
    received = b""
    while True:
        more = stream.receive()
        received += more
        head = http_.read_head(received, not more)
        if head:
            return head


def probe(
    endpoint: Endpoint,
    mode: str = "full",
    timeout: float = 10.0,
    *,
    trust: Trust | None = None,
    http: bool = True,
    http_port: int | None = None,
    peak: int = PEAK,
    clients: bool = False,
) -> Observation:
    """Inspect one endpoint at one address.

    C(timeout) (seconds) bounds it all. C(http_port) is the port for plain HTTP, 80 beside port 443 by default; C(peak)
    is how many connections there may be at a time. C(clients) is whether real clients are simulated. It never raises
    for what the other side does.
    """
    started = time.monotonic()
    peer = _handshake.Peer(endpoint, timeout)
    if peer.fault:
        return failed(endpoint, mode, peer.fault, trust or Trust())
    port = _http_port(peer) if http_port is None else http_port
    observer = Observer(peer, mode, trust or Trust(), http, port, peak)
    observer.run()
    seen = observer.observation()
    # After all else, so that no letter depends on whether the server bears this as well.
    if peer.starttls != "none" and not seen["error"]:
        seen["clear_login"] = _clear_login.find(peer)
    if clients and not seen["error"]:
        # Not those of SSL 2.0, whose hello has no name.
        leaves = [entry["chain"][0] for entry in seen["certificates"] if entry["whole"]]
        seen["clients"] = _clients.simulate(peer, list(_client_data.clients().values()), leaves, peak)
    return _written_down(endpoint, peer, mode, started, seen)


def _http_port(peer: _handshake.Peer) -> int | None:
    """The port for plain HTTP that belongs to an endpoint."""
    return 80 if peer.port == 443 else None


def glance(endpoint: Endpoint, timeout: float, *, trust: Trust, http: bool = True) -> _alike.Glance | None:
    """A glance at one endpoint at one address, for C(_tls.alike); None where its name cannot be sent."""
    started = time.monotonic()
    peer = _handshake.Peer(endpoint, timeout)
    if peer.fault:
        return None
    observer = Observer(peer, "quick", trust, http, _http_port(peer))
    look = observer.glance()
    duration_ms = _milliseconds_since(started)
    return _alike.Glance(look, observer.hsts, observer.redirect, observer.staples, peer.connections, duration_ms)


def _taken_over(endpoint: Endpoint, glance: _alike.Glance, full: Observation) -> Observation:
    """What is to be seen of an endpoint by a full look at another one that is alike, and a glance at its own."""
    stapled = any(glance.staples.values())
    certificates: list[SeenCertificate] = []
    for entry in full["certificates"]:
        staple = ocsp.judge(list(glance.staples.get(tuple(one.der for one in entry["chain"]), ())), entry["trust"].path)
        certificates.append({**entry, "ocsp": staple.status, "ocsp_reason": staple.reason})
    peer = _handshake.Peer(endpoint, 0)
    return {
        **_written_down(endpoint, peer, full["mode"], time.monotonic(), full),
        "certificates": certificates,
        "features": {**full["features"], "ocsp_stapled": stapled},
        "hsts": glance.hsts,
        "redirect": glance.redirect,
        "connections": glance.connections,
        "duration_ms": glance.duration_ms,
        "ciphers_from": full["server_name"],
    }


def _milliseconds_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000 + 0.5)


def _written_down(endpoint: Endpoint, peer: _handshake.Peer, mode: str, started: float, seen: Seen) -> Observation:
    return {
        **seen,
        "server_groups": endpoint.get("server_groups") or [],
        "host": peer.host,
        "address": peer.address,
        "port": peer.port,
        "server_name": peer.name,
        "named": peer.named,
        "starttls": peer.starttls,
        "mode": mode,
        "connections": peer.connections,
        "duration_ms": _milliseconds_since(started),
        "ciphers_from": None,
    }


def failed(endpoint: Endpoint, mode: str, message: str, trust: Trust) -> Observation:
    """The observation of an endpoint that could not be queried at all."""
    peer = _handshake.Peer({**endpoint, "address": endpoint.get("address") or ""}, 0)
    seen = Observer(peer, mode, trust, False, None).observation()
    return _written_down(endpoint, peer, mode, time.monotonic(), {**seen, "error": message})


# What the deadline of an endpoint leaves for what cannot be interrupted, and for a busy machine: a factor, and seconds.
OVERTIME, GRACE = 1.2, 0.5

R = t.TypeVar("R")


def within(seconds: float, function: t.Callable[[], R]) -> R:
    """What the function returns or raises; TimeoutError if that takes longer. Its thread is then left behind."""
    future: Future[R] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(seconds)
    except FutureTimeout as error:
        raise TimeoutError(f"not within {seconds} seconds") from error


def _parted(queue: Queue, parts: int) -> t.Iterator[Queue]:
    """A queue as so many shorter ones, in which those that may be alike stay together as far as possible."""
    size = -(-len(queue) // parts)
    return (queue[start : start + size] for start in range(0, len(queue), size))


def _in_processes(
    queues: t.Sequence[Queue],
    processes: int,
    work: t.Callable[[t.Sequence[Queue]], list[tuple[int, t.Any]]],
    time_limit: t.Callable[[t.Sequence[Queue]], float],
    give_up: t.Callable[[Endpoint, str], t.Any],
) -> list[tuple[int, t.Any]]:
    """What C(work) returns for the queues, which are shared out among processes.

    give_up: the result of an endpoint whose process failed, or was not done within its time limit, and the reason.
    """
    shares = [queues[number::processes] for number in range(processes)]
    others = [Beside(functools.partial(work, share)) for share in shares]
    seen = []
    for share, other in zip(shares, others):
        try:
            seen += other.result(time_limit(share))
        except (RuntimeError, ValueError) as error:
            seen += [(place, give_up(one, f"not queried: {error}")) for queue in share for place, one in queue]
    return seen


def probe_all(
    endpoints: t.Sequence[Endpoint],
    mode: str = "full",
    timeout: float = 10.0,
    *,
    trust: Trust,
    http: bool = True,
    concurrency: int = 32,
    processes: int = 1,
    clients: bool = False,
    judge: t.Callable[[Observation], t.Any] = lambda observation: observation,
) -> list[t.Any]:
    """Inspect many endpoints (at C(addresses), else at every address of C(host)), see L(probe).

    C(concurrency) addresses are inspected at the same time. Endpoints that share one take turns, so that no address
    gets more than L(PEAK) connections at a time, and a slow one does not delay the others. Those of an address are
    parted only where there would be less than one address for each process. What is listed once for several of them,
    C(_tls.alike) says.

    What is returned of each is what C(judge) makes of its observation. With several C(processes), among which the
    addresses are shared out, this has to be something that JSON can carry.

    Each has a deadline, and all together have one, that nothing in here can miss, be it in a loop of the TLS library: a
    thread or a process that does is left behind, and its endpoints have no grade.
    """
    threads = max(1, concurrency // processes)
    allowance = timeout * OVERTIME + GRACE
    groups = _alike.groups(endpoints) if mode == "full" else frozenset()

    def addresses_of(endpoint: Endpoint) -> str | list[str]:
        return endpoint.get("addresses") or _handshake.resolve(endpoint["host"], endpoint["port"], timeout)

    def resolve() -> list[str | list[str]]:
        with ThreadPoolExecutor(max(1, concurrency)) as pool:
            return list(pool.map(addresses_of, endpoints))

    def give_up(endpoint: Endpoint, reason: str) -> t.Any:
        return judge(failed(endpoint, mode, reason, trust))

    requested_mode = mode

    def probe_one(endpoint: Endpoint, mode: str = mode) -> Observation:
        # A quick inspection before a full one only determines which result is reused.
        simulates = clients and mode == requested_mode
        return probe(endpoint, mode, timeout, trust=trust, http=http, peak=peak, clients=simulates)

    def grouped(endpoint: Endpoint) -> bool:
        return _alike.group_of(endpoint) in groups

    def looks(endpoint: Endpoint) -> int:
        """How often it may be probed, each time with the whole time limit: at a glance, in quick and in full mode."""
        return 3 if grouped(endpoint) else 1

    def glance_at(endpoint: Endpoint) -> _alike.Glance | None:
        with contextlib.suppress(Exception):  # whatever it is, the looks after this one report it
            return within(allowance, lambda: glance(endpoint, timeout, trust=trust, http=http))
        return None

    def judged(endpoint: Endpoint, look: t.Callable[[Endpoint], Observation]) -> t.Any:
        try:
            return within(looks(endpoint) * allowance, lambda: judge(look(endpoint)))
        except TimeoutError:
            return give_up(endpoint, "it kept the prober busy beyond the time limit")
        except Exception as error:
            # Whatever a server managed to break in here: the others get their result, and this one no grade.
            return give_up(endpoint, f"{type(error).__name__}: {error}")

    def take_turns(queue: Queue) -> list[tuple[int, t.Any]]:
        alike = _alike.Alike(probe_one, _taken_over)
        glances: dict[int, _alike.Glance | None] = {}

        def note(place: int, endpoint: Endpoint) -> None:
            glances[place] = glance_at(endpoint)

        # A glance has one connection at a time, so that several endpoints of the address can have theirs.
        together([functools.partial(note, place, endpoint) for place, endpoint in queue if grouped(endpoint)], peak)

        def look(place: int) -> t.Callable[[Endpoint], Observation]:
            return functools.partial(alike, glance=glances[place]) if place in glances else probe_one

        return [(place, judged(endpoint, look(place))) for place, endpoint in queue]

    def probe_queues(queues: t.Sequence[Queue]) -> list[tuple[int, t.Any]]:
        with ThreadPoolExecutor(threads) as pool:
            return [seen for queue in pool.map(take_turns, queues) for seen in queue]

    def time_limit(queues: t.Sequence[Queue]) -> float:
        # As threads take the next queue when they are free, no one waits for more turns than this.
        turns = [sum(looks(endpoint) for _place, endpoint in queue) for queue in queues]
        return (sum(turns) / threads + max(turns, default=0)) * allowance

    # While others are forked there must be no threads here, so names are then resolved elsewhere too.
    resolved = Beside(resolve).result() if processes > 1 else resolve()
    found: list[t.Any] = []
    turns: dict[str, list[tuple[int, Endpoint]]] = {}
    for endpoint, addresses in zip(endpoints, resolved):
        if isinstance(addresses, str):
            found.append(give_up(endpoint, addresses))
            continue
        for address in addresses:
            turns.setdefault(address, []).append((len(found), {**endpoint, "address": address}))
            found.append(None)
    parts = min(PEAK, -(-processes // max(1, len(turns))))
    peak = PEAK // parts
    queues = [part for queue in turns.values() for part in _parted(queue, parts)]
    if processes == 1:
        seen = probe_queues(queues)
    else:
        seen = _in_processes(queues, min(processes, len(queues)), probe_queues, time_limit, give_up)
    for place, value in seen:
        found[place] = value
    return found
