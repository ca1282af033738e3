# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS servers from a seed, and by which rules sslyze's facts about them differ from the grader's.

`compared.py` has differences on single servers; these here follow from what the grader has found out, whatever the
server. A rule that changes nothing on any of the servers fails.
"""

from __future__ import annotations

import contextlib
import random
import re
import typing as t

from tests.unit import tls_bed as bed

from .scanners import NO_SCAN, OTHER_NAME, PROTOCOLS_BY_AGE, TRUSTED, UNKNOWN, UNTRUSTED

NGINX, APACHE, S_SERVER, OLD, OLDEST = "nginx", "Apache", "s_server", "node 4.9.1", "node 0.10.28"
# Most are what the collection hardens. The last two have OpenSSL 1.0.2 and 1.0.1, which have what others have dropped.
SERVERS = (*(NGINX,) * 9, *(APACHE,) * 6, *(S_SERVER,) * 3, OLD, OLD, OLDEST)
PROTOCOLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# Certificates by their names in the PKI of test_tls_bed.py.
LEAVES = {
    "good": TRUSTED,
    "ec": TRUSTED,
    "rsa4096": TRUSTED,
    "rsa1024": TRUSTED,
    "selfsigned": UNTRUSTED,
    "expired": UNTRUSTED,
    "future": UNTRUSTED,
    "sha1": UNTRUSTED,
    "wrong": OTHER_NAME,
}
AEAD = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
SUITES = (
    *("ECDHE-{}-AES128-SHA", "ECDHE-{}-AES256-SHA", "ECDHE-{}-AES128-SHA256", "ECDHE-{}-AES256-SHA384"),
    *("ECDHE-{}-CAMELLIA128-SHA256", "ECDHE-{}-ARIA256-GCM-SHA384"),
    *("ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM8"),
    *("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-SHA", "DHE-RSA-CHACHA20-POLY1305", "DHE-RSA-CAMELLIA256-SHA"),
    *("AES128-GCM-SHA256", "AES256-SHA", "AES128-SHA256", "CAMELLIA128-SHA", "AES256-CCM", "ARIA128-GCM-SHA256"),
)
UNSAFE = ("AECDH-AES128-SHA", "ADH-AES128-GCM-SHA256", "NULL-SHA256", "ECDHE-RSA-NULL-SHA")
OLD_SUITES = (
    *("AES128-SHA", "AES256-SHA", "CAMELLIA128-SHA", "SEED-SHA", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-SHA"),
    *("RC4-SHA", "RC4-MD5", "ECDHE-RSA-RC4-SHA", "DES-CBC3-SHA", "ECDHE-RSA-DES-CBC3-SHA"),
    *("AECDH-AES128-SHA", "ADH-RC4-MD5", "NULL-SHA"),
)
OLDEST_SUITES = ("DES-CBC-SHA", "EXP-RC4-MD5", "EXP-DES-CBC-SHA", "EXP-RC2-CBC-MD5", "DES-CBC3-MD5")
GROUPS = (
    *("X25519", "prime256v1", "secp384r1", "secp521r1", "X448", "X25519MLKEM768"),
    *("brainpoolP256r1", "secp256k1", "ffdhe2048"),
)
HSTS = (
    *(("max-age=31536000",), ("max-age=63072000; includeSubDomains; preload",), ("max-age=15551999",), ("max-age=0",)),
    *(("max-age=a year",), ("includeSubDomains",), ("max-age=31536000", "max-age=63072000"), ()),
)
# What nginx and Apache cannot be told.
FLAGS = ("-client_renegotiation", "-no_ems", "-comp", "-legacy_renegotiation")
# Of the old ones, which have all protocols without. With one alone, the oldest closes on all others, which for the
# grader is no refusal.
METHODS = {OLD: ("", "", "TLSv1_method", "TLSv1_1_method", "TLSv1_2_method"), OLDEST: ("",)}


class Generated(t.NamedTuple):
    """A server. C(protocols): for the old ones the name of their method. C(dh): bits of its parameters, or 0."""

    number: int
    kind: str
    protocols: tuple[str, ...]
    suites: tuple[str, ...]
    leaves: tuple[str, ...]
    chain: str = "chain"
    groups: tuple[str, ...] = ()
    dh: int = 0
    hsts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def servers(seed: int, count: int) -> list[Generated]:
    return [_server(number, random.Random(f"{seed}.{number}")) for number in range(count)]


def _server(number: int, rng: random.Random) -> Generated:
    kind = rng.choice(SERVERS)
    if kind in (OLD, OLDEST):
        possible = OLD_SUITES if kind == OLD else OLD_SUITES + OLDEST_SUITES
        suites = [*rng.sample(["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"], rng.randint(0, 2))]
        suites += rng.sample(possible, rng.randint(1, 5))
        rng.shuffle(suites)
        method = rng.choice(METHODS[kind])
        leaves = (rng.choice(("good", "selfsigned")),)
        return Generated(
            *(number, kind, (method,), tuple(dict.fromkeys(suites)), leaves),
            dh=rng.choice((1024, 2048)),
            hsts=("max-age=31536000",),
        )
    newest = rng.choice((3, 3, 3, 2, 2, 1))
    oldest = rng.randint(0, newest)
    leaves = [rng.choice((*("good",) * 6, *("ec",) * 4, *LEAVES))]
    if leaves != ["ec"] and rng.random() < 0.25:
        leaves.append("ec")
    keys = ["ECDSA" if leaf == "ec" else "RSA" for leaf in leaves]
    # One suite for each protocol, so that most servers can be scanned.
    suites = [f"ECDHE-{key}-{rng.choice(AEAD)}" for key in keys]
    if oldest < 2:
        suites += [f"ECDHE-{key}-AES128-SHA" for key in keys]
    suites += [one.format(rng.choice(("RSA", "ECDSA"))) for one in rng.sample(SUITES, rng.randint(0, 6))]
    suites += [rng.choice(UNSAFE)] if rng.random() < 0.15 else []
    return Generated(
        *(number, kind, PROTOCOLS[oldest : newest + 1], tuple(dict.fromkeys(suites)), tuple(leaves)),
        chain=rng.choice((*("chain",) * 7, "pem")),
        groups=tuple(rng.sample(GROUPS, rng.randint(1, 3)) if rng.random() < 0.6 else ()),
        dh=rng.choice((1024, 2048)) if any(re.match("A?DHE?-", suite) for suite in suites) else 0,
        hsts=() if kind == S_SERVER else rng.choice(HSTS),
        flags=tuple(rng.sample(FLAGS, rng.randint(1, 2))) if kind == S_SERVER else (),
    )


@contextlib.contextmanager
def serving(pki: bed.Pki, some: t.Sequence[Generated]) -> t.Iterator[list[int]]:
    """Each server's port."""
    ports = bed.free_ports(len(some))
    pairs = list(zip(some, ports, strict=True))
    sites = [(port, _nginx(server, port)) for server, port in pairs if server.kind == NGINX]
    with contextlib.ExitStack() as stack:
        if sites:
            stack.enter_context(bed.nginx(pki.folder, [site for _port, site in sites], sites[0][0]))
        for server, port in pairs:
            if server.kind != NGINX:
                stack.enter_context(_single(server, port, pki))
        yield ports


def _nginx(server: Generated, port: int) -> str:
    more = [f'add_header Strict-Transport-Security "{value}" always;' for value in server.hsts]
    more += [f"ssl_ecdh_curve {':'.join(server.groups)};"] if server.groups else []
    more += [f"ssl_dhparam dh{server.dh}.pem;"] if server.dh else []
    return bed.nginx_site(
        port, server.leaves, " ".join(server.protocols), _ciphers(server), "\n".join(more), chain=server.chain
    )


def _ciphers(server: Generated) -> str:
    return ":".join(server.suites) + ":@SECLEVEL=0"


def _single(server: Generated, port: int, pki: bed.Pki) -> t.ContextManager[None]:
    return {APACHE: _apache, S_SERVER: _s_server, OLD: _node, OLDEST: _node}[server.kind](server, port, pki)


def _apache(server: Generated, port: int, pki: bed.Pki) -> t.ContextManager[None]:
    lines = [
        f"SSLProtocol -all {' '.join('+' + one for one in server.protocols)}",
        f"SSLCipherSuite {_ciphers(server)}",
        "SSLHonorCipherOrder on",
    ]
    for leaf in server.leaves:
        lines.append(f"SSLCertificateFile {_with_parameters(pki, f'{leaf}.{server.chain}', server.dh)}")
        lines.append(f"SSLCertificateKeyFile {pki.path(leaf)}.key")
    lines += [f"SSLOpenSSLConfCmd Curves {':'.join(server.groups)}"] if server.groups else []
    lines += [f'Header always add Strict-Transport-Security "{value}"' for value in server.hsts]
    return bed.apache(pki.folder, port, "\n".join(lines))


def _with_parameters(pki: bed.Pki, name: str, bits: int) -> str:
    """The path of these certificates, with parameters for DHE behind them, which is where Apache reads them."""
    if not bits:
        return pki.path(name)
    path = pki.path(f"{name}.dh{bits}")
    with open(path, "w") as both:
        for part in (name, f"dh{bits}.pem"):
            with open(pki.path(part)) as stream:
                both.write(stream.read())
    return path


def _s_server(server: Generated, port: int, pki: bed.Pki) -> t.ContextManager[None]:
    arguments = ["-serverpref", "-cipher", _ciphers(server), *server.flags]
    arguments += ["-min_protocol", server.protocols[0], "-max_protocol", server.protocols[-1]]
    for leaf, prefix in zip(server.leaves, ("-", "-d"), strict=False):
        arguments += [f"{prefix}cert", f"{leaf}.pem", f"{prefix}key", f"{leaf}.key"]
        arguments += [f"{prefix}cert_chain", "middle.pem"] if server.chain == "chain" else []
    arguments += ["-groups", ":".join(server.groups)] if server.groups else []
    arguments += ["-dhparam", f"dh{server.dh}.pem"] if server.dh else []
    return bed.s_server(pki.folder, port, *arguments)


def _node(server: Generated, port: int, pki: bed.Pki) -> t.ContextManager[None]:
    (leaf,), (method,) = server.leaves, server.protocols
    key = f"{leaf}.traditional"
    pki.run("rsa", "-traditional", "-in", f"{leaf}.key", "-out", key)
    options = {"key": pki.path(key), "cert": pki.path(f"{leaf}.chain"), "ciphers": ":".join(server.suites)}
    options |= {"secureProtocol": method} if method else {}
    options |= {"dhparam": pki.path(f"dh{server.dh}.pem")}
    return bed.node(pki.folder, port, server.kind.split()[1], honorCipherOrder=True, **options)


class Facts(t.NamedTuple):
    """What is compared of a server. C(groups): elliptic curves. C(features): None is what was not found out."""

    newest: str
    suites: dict[str, list[str]]
    groups: frozenset[str]
    trust: str
    max_age: int | None
    features: dict[str, bool | None]


UNREACHABLE = Facts("", {}, frozenset(), NO_SCAN, None, {})
"""No handshake: the server's certificates, suites and groups may not go together."""
COMPRESSION, EMS = "compression", "extended_master_secret"
CLIENT_RENEGOTIATION, SECURE_RENEGOTIATION = "client_renegotiation", "secure_renegotiation"
FEATURES = (COMPRESSION, EMS, CLIENT_RENEGOTIATION, SECURE_RENEGOTIATION)


class Rule(t.NamedTuple):
    """C(rewrite): the facts as the scanner sees them, from the server and what the grader has found."""

    why: str
    rewrite: t.Callable[[Generated, Facts], Facts]


# sslyze queries all suites that OpenSSL 1.0.2e has with that, and these with 1.1.1w; that has the features, too.
NEWER_SUITES = re.compile("CHACHA20|_CCM|ARIA|ECDHE_.*CAMELLIA|^TLS_(AES|CHACHA20)")
# What is usual before TLS 1.2, by OpenSSL's names: with authentication, and encryption that is not weakened.
BEFORE_TLS12 = re.compile("(?!AECDH|ADH|EXP|DES-CBC-|.*NULL).*-(SHA|MD5)")
MD5 = re.compile("_MD5$")  # not in 1.1.1
# The curves that they offer if not told otherwise.
NEWER_GROUPS = frozenset(("x25519", "x448", "secp256r1", "secp384r1", "secp521r1"))
OLDER_GROUPS = frozenset(("secp256r1", "secp384r1", "secp521r1", "secp256k1", "brainpoolP256r1"))
KEY_GROUP = frozenset(("secp256r1",))  # of the ECDSA certificate
# Without authentication or encryption, which 1.1.1 offers never, and 1.0.2 where nothing else is taken.
UNSAFE_SUITES = re.compile("_(anon|NULL)_")
# What it does not offer where it is not about suites.
UNUSUAL_SUITES = re.compile("_(anon|NULL|3DES|DES|CAMELLIA|EXPORT)_")
# What the local library does not have any more; the curves that it offers are among the newer ones.
DROPPED_SUITES = re.compile("_(RC4|3DES|DES|SEED|NULL|anon|EXPORT)_")
RENEGOTIATED_SUITES = re.compile("TLS_ECDHE_.*_(GCM|CHACHA20)")
RENEGOTIATED_GROUPS = frozenset(("x25519", "secp256r1"))
# RFC 8446 (4.2.7) has dropped the others.
TLS13_GROUPS = NEWER_GROUPS


def _can(protocol: str, name: str, groups: frozenset[str]) -> bool:
    """Whether there can be a handshake with the suite for a client that has these groups in common with the server."""
    return bool(groups) or not ("_ECDHE_" in name or "_ECDH_anon_" in name or protocol == "TLSv1.3")


def _two_libraries(server: Generated, facts: Facts) -> Facts:
    suites = {
        protocol: [
            name
            for name in names
            if _can(protocol, name, facts.groups & (NEWER_GROUPS if NEWER_SUITES.search(name) else OLDER_GROUPS))
        ]
        for protocol, names in facts.suites.items()
    }
    return facts._replace(suites={protocol: names for protocol, names in suites.items() if names})


def _first_connection(server: Generated, facts: Facts) -> Facts:
    for protocol in reversed(PROTOCOLS_BY_AGE):
        newer = protocol in ("TLSv1.2", "TLSv1.3")
        groups = facts.groups & (NEWER_GROUPS if newer else OLDER_GROUPS)
        names = [name for name in facts.suites.get(protocol, ()) if _can(protocol, name, groups)]
        if newer:
            names = [name for name in names if not UNSAFE_SUITES.search(name) and not MD5.search(name)]
        if names:
            anonymous = all("_anon_" in name for name in names)
            return facts._replace(newest=protocol, trust=UNKNOWN if anonymous else facts.trust)
    return UNREACHABLE


def _groups_of_the_newest(server: Generated, facts: Facts) -> Facts:
    groups = facts.groups
    if facts.newest == "TLSv1.3":
        groups &= TLS13_GROUPS
    elif facts.newest == "TLSv1.2":
        groups = groups if groups & NEWER_GROUPS else frozenset()
    elif not _prefers_ecdhe(server, facts):
        groups = frozenset()
    return facts._replace(groups=groups)


def _prefers_ecdhe(server: Generated, facts: Facts) -> bool:
    """Whether that is what a client gets that offers what is usual before TLS 1.2."""
    for name in server.suites:
        possible = "ec" in server.leaves if "ECDSA" in name else server.leaves != ("ec",)
        if name.startswith("ECDHE"):
            possible = possible and bool(facts.groups & OLDER_GROUPS)
        if possible and BEFORE_TLS12.fullmatch(name):
            return name.startswith("ECDHE")
    return False


def _one_group(server: Generated, facts: Facts) -> Facts:
    only_ecdsa = server.leaves == ("ec",) and facts.newest != "TLSv1.3"
    return facts._replace(groups=facts.groups & KEY_GROUP) if only_ecdsa else facts


def _one_certificate(server: Generated, facts: Facts) -> Facts:
    only_13 = list(facts.suites) == ["TLSv1.3"] and len(server.leaves) > 1
    shown = UNTRUSTED if server.chain == "pem" else LEAVES["ec"]
    return facts._replace(trust=shown) if only_13 else facts


def _name_first(server: Generated, facts: Facts) -> Facts:
    return facts._replace(trust=OTHER_NAME) if facts.suites and server.leaves == ("wrong",) else facts


def _by_the_newest(server: Generated, facts: Facts) -> Facts:
    """Features are queried with a connection each, in the newest protocol that can have them."""
    if facts == UNREACHABLE:
        return facts
    newest, features = facts.newest, dict(facts.features)
    names = facts.suites.get("TLSv1.2" if newest == "TLSv1.3" else newest, ())
    names = [name for name in names if not UNUSUAL_SUITES.search(name)]
    if newest == "TLSv1.3":
        features[EMS] = True
    elif newest == "SSLv3" or not any(
        _can(newest, name, facts.groups & NEWER_GROUPS) and not MD5.search(name) for name in names
    ):
        features[EMS] = None
    names = [name for name in names if not NEWER_SUITES.search(name)]
    if not any(_can("TLSv1.2", name, facts.groups & OLDER_GROUPS) for name in names):
        good = {COMPRESSION: False, CLIENT_RENEGOTIATION: False, SECURE_RENEGOTIATION: True}
        features.update(good if newest == "TLSv1.3" else dict.fromkeys(good))
    return facts._replace(features=features)


def _renegotiation_left_open(server: Generated, facts: Facts) -> Facts:
    usable = [name for name in facts.suites.get("TLSv1.2", ()) if RENEGOTIATED_SUITES.match(name)]
    if facts == UNREACHABLE or (usable and facts.groups & RENEGOTIATED_GROUPS):
        return facts
    return facts._replace(features={**facts.features, CLIENT_RENEGOTIATION: "-client_renegotiation" in server.flags})


def _ten_in_a_row(server: Generated, facts: Facts) -> Facts:
    if facts == UNREACHABLE or server.kind not in (OLD, OLDEST):
        return facts
    return facts._replace(features={**facts.features, CLIENT_RENEGOTIATION: False})


def _hsts_left_open(server: Generated, facts: Facts) -> Facts:
    read = any(
        protocol == "TLSv1.3" or (_can(protocol, name, facts.groups & NEWER_GROUPS) and not DROPPED_SUITES.search(name))
        for protocol, names in facts.suites.items()
        for name in names
        if protocol not in ("SSLv2", "SSLv3")
    )
    # Offered TLS 1.3 as well, a server that has no group for it refuses, and does not take an older protocol.
    misled = "TLSv1.3" in server.protocols and "TLSv1.3" not in facts.suites
    sent = re.match("max-age=([0-9]+)", server.hsts[0]) if server.hsts else None
    return facts._replace(max_age=int(sent[1])) if sent and facts != UNREACHABLE and (misled or not read) else facts


HSTS_LEFT_OPEN = (
    "The grader reads HSTS with the local library. Where that cannot speak to the server, it is not tested."
)
CERTIFICATES_LEFT_OPEN = (
    "The grader reads the certificates of TLS 1.3 with x25519 and three curves. Where the server has none of these, it "
    "sees one at most, leaves the others open, and gives A at most; testssl.sh sees all."
)
SSLYZE_RULES = (
    Rule(
        "The grader renegotiates in TLS 1.2 with ECDHE, AEAD, and X25519 or secp256r1. Without, it is not tested.",
        _renegotiation_left_open,
    ),
    Rule(HSTS_LEFT_OPEN, _hsts_left_open),
    Rule("It renegotiates ten times in a row; node.js allows three.", _ten_in_a_row),
    Rule(
        "Its first connection is with OpenSSL 1.0.2 before TLS 1.2, and from there with 1.1.1 and suites that "
        "authenticate and encrypt. Without one it gives up; without a certificate in it the trust is unknown.",
        _first_connection,
    ),
    Rule(
        "It queries features in one protocol, mostly with 1.0.2. What fails is unknown, or with TLS 1.3 good.",
        _by_the_newest,
    ),
    Rule(
        "It queries most suites with 1.0.2, which has neither X25519 nor X448, and newer suites with 1.1.1, which "
        "offers these and three more curves.",
        _two_libraries,
    ),
    Rule(
        "It queries groups in the newest protocol only, and before TLS 1.2 only if its first connection has used one.",
        _groups_of_the_newest,
    ),
    Rule(
        "It offers one group at a time; without its key's, an ECDSA certificate is not used (RFC 8422, 5.1).",
        _one_group,
    ),
    Rule("It fetches a single certificate of a server that has TLS 1.3 only.", _one_certificate),
    Rule("It compares the name first: of a certificate that is not trusted either it reports no more.", _name_first),
)
