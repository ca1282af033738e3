# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What real clients get from a TLS endpoint: L(simulate) sends their hellos, L(expected) has it from data alone.

A client is C(ok) where it would finish the handshake: the server chose something, and the client takes the protocol,
the group, the parameters and the key. Whether it trusts the certificate is not part of this, as its store is not known.
Nor is it simulated that some clients connect again, with an older protocol.

TLS 1.3 encrypts the certificate. The keys of an endpoint are those that it shows anywhere, and a client gets one that
it can use; which one is only known where these are of one kind.
"""

from __future__ import annotations

import difflib
import functools
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import crypto, wire
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls.client_data import Client, clients
from ansible_collections.kopano.hardening.plugins.module_utils._tls.trust import read as read_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ClientResult(t.TypedDict):  # novm
        """What a client gets. ok: None where that is not known; reason: why it is not True.

        protocol, suite and group (IANA names) are what was negotiated, also where the client does not take it; group is
        None without an elliptic curve or a group of TLS 1.3. certificate: the kind of key, a value of L(KINDS), None
        where it is not known or there is none.
        """

        id: str
        name: str
        version: str
        platform: str
        ok: bool | None
        protocol: str | None
        suite: str | None
        group: str | None
        certificate: str | None
        reason: str | None

    class LostClient(t.TypedDict):  # novm
        """A client that was served and no longer is. change: what it lacks, C(protocol), C(suite), C(group) or
        C(certificate); text: which one, such as C(TLSv1.0) that is gone or C(ECDSA certificate) that has come."""

        id: str
        name: str
        version: str
        platform: str
        change: str
        text: str

else:
    ClientResult = LostClient = t.Dict[str, t.Any]

# Types of keys (their schemes, see C(x509.Key)), as results have them.
KINDS = {
    "RSA": "rsa",
    "RSA-PSS": "rsa-pss",
    "EC": "ecdsa",
    "Ed25519": "ed25519",
    "Ed448": "ed448",
    "DSA": "dsa",
    "ML-DSA": "ml-dsa",
}
# Keys of each kind as most are.
_COMMON_KEYS = {
    "rsa": x509.Key("RSA", 2048),
    "rsa-pss": x509.Key("RSA", 2048, scheme="RSA-PSS"),
    "ecdsa": x509.Key("EC", 256, "secp256r1"),
    "ed25519": x509.Key("Ed25519", 256),
    "ed448": x509.Key("Ed448", 456),
    "dsa": x509.Key("DSA", 2048),
    "ml-dsa": x509.Key("ML-DSA", 15616),
}
# What a suite before TLS 1.3 needs for its authentication (RFC 4492, RFC 8422).
_KEY_TYPES = {"RSA": ("RSA",), "ECDSA": ("EC", "Ed25519", "Ed448"), "DSS": ("DSA",)}
# Signatures in certificates as signature algorithms of a hello: before TLS 1.3 they bind no curve.
_SIGNED = {
    "rsassaPss sha256": 0x0804,
    "rsassaPss sha384": 0x0805,
    "rsassaPss sha512": 0x0806,
    "sha256WithRSAEncryption sha256": 0x0401,
    "sha384WithRSAEncryption sha384": 0x0501,
    "sha512WithRSAEncryption sha512": 0x0601,
    "sha224WithRSAEncryption sha224": 0x0301,
    "sha1WithRSAEncryption sha1": 0x0201,
    "md5WithRSAEncryption md5": 0x0101,
    "ecdsa-with-SHA256 sha256": 0x0403,
    "ecdsa-with-SHA384 sha384": 0x0503,
    "ecdsa-with-SHA512 sha512": 0x0603,
    "ecdsa-with-SHA224 sha224": 0x0303,
    "ecdsa-with-SHA1 sha1": 0x0203,
    "Ed25519 sha512": 0x0807,
    "Ed448 shake256": 0x0808,
    "ML-DSA-44 shake256": 0x0904,
    "ML-DSA-65 shake256": 0x0905,
    "ML-DSA-87 shake256": 0x0906,
}
_SUITE_NAMED = {suite.name: suite for suite in data.SUITES.values()}
_RANK = {name: rank for rank, name in enumerate(data.PROTOCOLS)}
# What these extensions have in them where a client sends them.
_CONTENTS = {wire.STATUS_REQUEST: wire.OCSP_REQUEST, wire.RENEGOTIATION_INFO: b"\0"}
_PSK_KEY_EXCHANGE_MODES = 45


def find(ids: t.Iterable[str]) -> list[Client]:
    """The clients of these ids. Raises ValueError for those that there are not."""
    known = clients()
    found, unknown = [], []
    for ident in ids:
        if ident in known:
            found.append(known[ident])
            continue
        near = difflib.get_close_matches(ident, known, 3, 0.5)
        unknown.append(f"{ident!r} is no client that is known here" + (f", near are {', '.join(near)}" if near else ""))
    if unknown:
        raise ValueError("; ".join(unknown))
    return found


def hello(client: Client, server_name: str | None, alpn: bool = True) -> bytes:
    """The client's first bytes. alpn: whether it names its protocols, as it does to a web server."""
    newest = data.WIRE_VERSION[client.newest]
    if client.ssl2:
        return wire.ssl2_client_hello(client.suites, newest)
    extensions: list[tuple[int, bytes]] = []
    if client.sni and server_name:
        extensions.append((wire.SERVER_NAME, wire.names(server_name)))
    extensions += [(kind, _CONTENTS.get(kind, b"")) for kind in client.others]
    if client.groups:
        extensions += [(wire.SUPPORTED_GROUPS, wire.numbers(client.groups)), (wire.EC_POINT_FORMATS, b"\x01\x00")]
    if client.signatures:
        extensions.append((wire.SIGNATURE_ALGORITHMS, wire.numbers(client.signatures)))
    if client.alpn and alpn:
        extensions.append((wire.ALPN, wire.alpn_names(client.alpn)))
    if client.newest == "TLSv1.3":
        keys = [(group, crypto.placeholder(group) or b"") for group in client.shares]
        offered = range(newest, data.WIRE_VERSION[client.oldest] - 1, -1)
        extensions.append((wire.SUPPORTED_VERSIONS, wire.versions(offered)))
        extensions.append((_PSK_KEY_EXCHANGE_MODES, b"\x01\x01"))
        extensions.append((wire.KEY_SHARE, wire.shares(keys)))
    return wire.hello_record(newest, wire.plain_hello(newest, client.suites, extensions))


# What a client takes


def _suites(client: Client, protocol: str) -> list[data.Suite]:
    """What it offers for this protocol. Signals in the list are no suites, and what has no name here no server has."""
    suites = [data.SUITES[code] for code in client.suites if code in data.SUITES]
    return [
        suite for suite in suites if suite.tls13 == (protocol == "TLSv1.3") and _RANK[suite.oldest] <= _RANK[protocol]
    ]


def _outside(bits: int, limits: tuple[int, int]) -> bool:
    least, most = limits
    return bits < least or (most > 0 and bits > most)


def _against_key(client: Client, protocol: str, key: x509.Key, signs: bool = True) -> str | None:
    """Why the client does not take this key, if so. signs: whether the handshake is signed with it."""
    what = f"the key of the certificate ({key.description})"
    usable: t.Sequence[int] = data.KEY_SIGNATURES.get(key.scheme or key.type, ())
    if protocol == "TLSv1.3":
        usable = data.KEY_SIGNATURES13.get(key.curve or key.scheme or key.type, usable)
    if signs and client.signatures and _RANK[protocol] >= _RANK["TLSv1.2"]:
        if not set(usable) & set(client.signatures):
            return f"{what} fits no signature algorithm of the client"
    elif key.type not in ("RSA", "EC", "DSA") or key.scheme == "RSA-PSS":
        return f"{what} is of a kind that came with TLS 1.2"
    group = data.GROUP_NAMED.get(key.curve or "")
    if protocol != "TLSv1.3" and key.type == "EC" and client.groups and (not group or group.code not in client.groups):
        return f"{what} is on a curve that the client does not offer"
    if key.type == "RSA" and _outside(key.bits, client.rsa):
        return f"{what} is of a size that the client does not take"
    return None


def _against_certificate(client: Client, protocol: str, leaf: x509.Certificate, signs: bool) -> str | None:
    """Why the client does not take this certificate, if so, apart from trust."""
    signed = _SIGNED.get(f"{leaf.signature} {leaf.digest}")
    # What signs itself is compared with a store, if with anything, and its signature means nothing.
    if client.signatures and not leaf.self_signed and signed not in client.signatures:
        return f"the certificate is signed with {leaf.signature}, which the client does not offer"
    return _against_key(client, protocol, leaf.key, signs)


def _against_parameters(client: Client, bits: int) -> str | None:
    if _outside(bits, client.dh):
        return f"Diffie-Hellman parameters of {bits} bits, and the client takes {_span(client.dh)}"
    return None


def _span(limits: tuple[int, int]) -> str:
    least, most = limits
    return " and ".join([f"{least} at least"] * bool(least) + [f"{most} at most"] * bool(most))


# By handshakes


def simulate(
    peer: _handshake.Peer,
    chosen: t.Sequence[Client],
    shown: t.Sequence[x509.Certificate] = (),
    peak: int = _handshake.PEAK,
) -> list[ClientResult]:
    """What the clients get of this endpoint, one connection each, repeated only where the result is lost.

    shown: certificates that it is known to show by this name, beside those that are seen here.
    """
    responses: dict[str, _handshake.Response] = {}

    def query(client: Client) -> None:
        suites = [code for code in client.suites if code in data.SUITES]
        sent = hello(client, peer.sni, bool(peer.alpn))
        responses[client.id] = _handshake.query_hello(peer, sent, client.newest, suites)

    _handshake.together([functools.partial(query, client) for client in chosen], peak)
    known = list(shown)
    for client in chosen:
        leaf = _leaf(responses[client.id]) if client.sni else None
        if leaf and leaf not in known:
            known.append(leaf)
    return [_result(client, responses[client.id], known, peer) for client in chosen]


def _leaf(response: _handshake.Response) -> x509.Certificate | None:
    """The certificate that was shown, where one was that can be read."""
    try:
        return read_certificate(response.chain[0]) if response.chain else None
    except wire.ParseError:
        return None


def _result(
    client: Client,
    response: _handshake.Response,
    known: t.Sequence[x509.Certificate],
    peer: _handshake.Peer,
) -> ClientResult:
    """What a response amounts to for the client. known: the certificates of this name."""
    result = _begin(client)
    if response.outcome == _handshake.REFUSED or (response.steady and response.message.startswith("alert ")):
        return {**result, "ok": False, "reason": response.message}
    if response.hello is None or response.protocol is None:
        return {**result, "reason": response.message}
    suite = data.SUITES[response.suite]
    exchange = response.exchange
    group = response.hello.group if response.hello.group is not None else exchange.group if exchange else None
    result["protocol"], result["suite"] = response.protocol, suite.name
    result["group"] = None if group is None else data.GROUPS[group].name if group in data.GROUPS else f"{group:#06x}"
    if response.lost:
        return {**result, "reason": response.message}
    if _RANK[response.protocol] < _RANK[client.oldest]:
        return {**result, "ok": False, "reason": f"{response.protocol}, and the client takes {client.oldest} at least"}
    if suite not in _suites(client, response.protocol):
        return {**result, "ok": False, "reason": f"{suite.name} with {response.protocol}, where it does not belong"}
    if group is not None and client.groups and group not in client.groups:
        return {**result, "ok": False, "reason": f"the group {result['group']}, which the client does not offer"}
    parameters = group if _needs_group(suite) else exchange
    if parameters is None and suite.forward_secrecy:
        return {**result, "reason": "no parameters of the key exchange"}
    if exchange and exchange.bits:
        against = _against_parameters(client, exchange.bits)
        if against:
            return {**result, "ok": False, "reason": against}
    if response.protocol == "TLSv1.3":
        return _with_hidden(client, result, known)
    return _with_shown(client, result, response, known, peer)


def _begin(client: Client) -> ClientResult:
    return {
        "id": client.id,
        "name": client.name,
        "version": client.version,
        "platform": client.platform,
        "ok": None,
        "protocol": None,
        "suite": None,
        "group": None,
        "certificate": None,
        "reason": None,
    }


def _kind(key: x509.Key) -> str:
    return KINDS.get(key.scheme or key.type, key.type)


def _with_hidden(client: Client, result: ClientResult, known: t.Sequence[x509.Certificate]) -> ClientResult:
    """The result of TLS 1.3, where the server shows one of the certificates that are known, or none is."""
    if not known:
        return {**result, "reason": "TLS 1.3 hides the certificate, and no other handshake has shown one"}
    against = [_against_certificate(client, "TLSv1.3", leaf, True) for leaf in known]
    kinds = {_kind(leaf.key) for leaf, reason in zip(known, against) if reason is None}
    if not kinds:
        return {**result, "ok": False, "reason": against[0]}
    return {**result, "ok": True, "certificate": kinds.pop() if len(kinds) == 1 else None}


def _with_shown(
    client: Client,
    result: ClientResult,
    response: _handshake.Response,
    known: t.Sequence[x509.Certificate],
    peer: _handshake.Peer,
) -> ClientResult:
    """The result of an older protocol, whose certificate is in the open."""
    leaf = _leaf(response)
    if leaf is None:
        return {**result, "reason": "no certificate that can be read"}
    result["certificate"] = _kind(leaf.key)
    if not client.sni and leaf not in known and not x509.matches(leaf, peer.name):
        return {**result, "ok": False, "reason": "it names no server, and gets the certificate of another one"}
    signs = data.SUITES[response.suite].forward_secrecy
    against = _against_certificate(client, str(response.protocol), leaf, signs)
    return {**result, "ok": against is None, "reason": against}


# By data


class _Obstacle(t.NamedTuple):
    """What keeps a client out: its change is as in L(LostClient)."""

    change: str
    reason: str


class _Common(t.NamedTuple):
    """What a client and a server have in common: the protocol, and its suites and groups in the client's order.

    keys: those that the client takes with this protocol.
    """

    protocol: str
    suites: t.Sequence[data.Suite]
    groups: t.Sequence[int]
    keys: t.Sequence[x509.Key]


def _key_for(suite: data.Suite, keys: t.Iterable[x509.Key]) -> x509.Key | None:
    """A key that goes with this suite."""
    types = _KEY_TYPES.get(suite.authentication, ())
    return next((key for key in keys if suite.tls13 or key.type in types), None)


def _in_common(
    client: Client,
    protocols: t.Container[str],
    suites: t.Container[str],
    groups: t.Container[str],
    keys: t.Sequence[x509.Key],
) -> _Common | _Obstacle:
    """What is left for this client step by step, or the step after which nothing is."""
    protocol = next(
        (
            name
            for name in reversed(data.PROTOCOLS)
            if name in protocols and _RANK[client.oldest] <= _RANK[name] <= _RANK[client.newest]
        ),
        None,
    )
    if protocol is None:
        return _Obstacle("protocol", f"no protocol in common, as the client takes {client.oldest} to {client.newest}")

    def taken(suite: data.Suite) -> list[x509.Key]:
        return [key for key in keys if _against_key(client, protocol, key, suite.forward_secrecy) is None]

    left = [suite for suite in _suites(client, protocol) if _key_for(suite, taken(suite))]
    if not left:
        return _Obstacle("certificate", "no suite of the client fits the key of a certificate")
    left = [suite for suite in left if suite.name in suites]
    if not left:
        return _Obstacle("suite", f"no suite in common with {protocol}")
    curves = [code for code in data.groups_of("ec", "TLSv1.2") if data.GROUPS[code].name in groups]
    common = [code for code in client.groups if code in data.GROUPS and data.GROUPS[code].name in groups]
    if protocol != "TLSv1.3":
        # A client that names no groups takes what the server has (RFC 8422, 4).
        common = [code for code in common if code in curves] if client.groups else curves
    left = [suite for suite in left if common or not _needs_group(suite)]
    if not left:
        return _Obstacle("group", f"no group in common with {protocol}")
    return _Common(protocol, left, common, [key for key in keys if any(key in taken(suite) for suite in left)])


def _needs_group(suite: data.Suite) -> bool:
    return suite.tls13 or suite.exchange.startswith("ECDHE")


def expected(
    client: Client,
    protocols: t.Sequence[str],
    suites: t.Sequence[str],
    groups: t.Sequence[str],
    key_types: t.Sequence[str],
    prefer_server: bool,
    dh_bits: int | None = None,
) -> ClientResult:
    """What a client would get of a server with these protocols, suites and groups (IANA names, in its order).

    key_types: the kinds of its keys, values of L(KINDS); an RSA key counts as one of 2048 bits, an ECDSA key as one on
    secp256r1. prefer_server: whether its order decides, and not the client's. dh_bits: the size of its parameters for
    DHE; where it is not known, nor is it whether a client takes them that has limits. The group is the one that most
    servers choose, as libraries differ in that.
    """
    result = _begin(client)
    common = _in_common(client, protocols, suites, groups, [_common_key(kind) for kind in key_types])
    if isinstance(common, _Obstacle):
        return {**result, "ok": False, "reason": common.reason}
    order = {name: place for place, name in enumerate(suites)}
    suite = min(common.suites, key=lambda one: order[one.name]) if prefer_server else common.suites[0]
    result["protocol"], result["suite"] = common.protocol, suite.name
    if _needs_group(suite):
        result["group"] = data.GROUPS[_group(client, common, groups, prefer_server)].name
    fitting = {_kind(key) for key in common.keys if _key_for(suite, [key])}
    result["certificate"] = fitting.pop() if len(fitting) == 1 else None
    if suite.exchange.startswith("DHE") and any(client.dh):
        if dh_bits is None:
            return {**result, "reason": f"the client takes Diffie-Hellman parameters of {_span(client.dh)} bits"}
        against = _against_parameters(client, dh_bits)
        return {**result, "ok": against is None, "reason": against}
    return {**result, "ok": True}


def _common_key(kind: str) -> x509.Key:
    if kind not in _COMMON_KEYS:
        raise ValueError(f"{kind!r} is none of {', '.join(_COMMON_KEYS)}")
    return _COMMON_KEYS[kind]


def _group(client: Client, common: _Common, groups: t.Sequence[str], prefer_server: bool) -> int:
    """In TLS 1.3 a key that has been sent saves a round trip, so that its group comes first."""
    sent = [code for code in client.shares if code in common.groups] if common.protocol == "TLSv1.3" else []
    if sent or not prefer_server:
        return (sent or list(common.groups))[0]
    return min(common.groups, key=lambda code: groups.index(data.GROUPS[code].name))


# Before and after a change


def lost(before: t.Sequence[ClientResult], after: t.Sequence[ClientResult]) -> list[LostClient]:
    """The clients that were served before and are not served after, and what each of them lacks.

    What the server has after the change is what it gives to the others. A client of which one of the two is not known
    is not in the list.
    """
    now = {result["id"]: result for result in after if result["ok"] is False}
    found: list[LostClient] = []
    for was in before:
        if was["ok"] and was["id"] in now:
            change, text = _change(was, now[was["id"]], after)
            found.append(
                {
                    "id": was["id"],
                    "name": was["name"],
                    "version": was["version"],
                    "platform": was["platform"],
                    "change": change,
                    "text": text,
                }
            )
    return found


def _change(was: ClientResult, now: ClientResult, after: t.Sequence[ClientResult]) -> tuple[str, str]:
    """What a client that was served lacks now, and which one."""
    served = [result for result in after if result["ok"]]
    kinds = [kind for kind in _COMMON_KEYS if any(result["certificate"] == kind for result in after)]
    common = _in_common(
        clients()[was["id"]],
        {str(result["protocol"]) for result in served},
        {str(result["suite"]) for result in served},
        {str(result["group"]) for result in served},
        # Where TLS 1.3 has hidden all of them, none is what the client lacks.
        [_COMMON_KEYS[kind] for kind in kinds or _COMMON_KEYS],
    )
    if not isinstance(common, _Obstacle) and now["suite"] is not None:
        # It gets what the others get, and does not take it.
        exchange = _SUITE_NAMED[now["suite"]].exchange
        return "group" if exchange.startswith("DHE") else "certificate", str(now["reason"])
    change = common.change if isinstance(common, _Obstacle) else "suite"
    if change == "group" and was["group"] is None:
        change = "suite"  # one that needed no group
    if change == "certificate":
        return change, "{} certificate".format(" and ".join(kind.upper() for kind in kinds))
    return change, str(was[change])  # type: ignore[literal-required]
