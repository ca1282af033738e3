# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The items of a TLS policy in the directives of both servers: which one a directive sets, and how one is written.

An item is C(protocols), C(ciphers) (of TLS 1.2), C(ciphersuites) (of TLS 1.3), C(groups) or C(hsts); its value is a
tuple of names, of C(hsts) the header's text. C(_webserver.stronger) compares values.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy
from ansible_collections.kopano.hardening.plugins.module_utils._host.crypto_policy import CryptoPolicy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Directive

Names = t.Tuple[str, ...]

HSTS = "strict-transport-security"

_KEYS = {
    "apache": {"sslprotocol": "protocols", "sslciphersuite": "ciphers"},
    "nginx": {"ssl_protocols": "protocols", "ssl_ciphers": "ciphers", "ssl_ecdh_curve": "groups"},
}
_CONF_KEYS = ("sslopensslconfcmd", "ssl_conf_command")
# SSL_CONF_cmd(3)
_COMMANDS = {
    "cipherstring": "ciphers",
    "ciphersuites": "ciphersuites",
    "curves": "groups",
    "groups": "groups",
    "minprotocol": "oldest",
}
_NO_WEAK_HASH = "(?i)^(?!.*(?:sha1|sha224|md5))"
# Settings that only take something away from what OpenSSL does by itself. Where the policy does not set them, they
# stay.
_STRICT = {
    "sslsessiontickets": "(?i)^off$",
    "ssl_session_tickets": "^off$",
    "options": "(?i)^(?:(?:-SessionTicket|-Compression|-UnsafeLegacyRenegotiation|-UnsafeLegacyServerConnect"
    "|NoRenegotiation|NoResumptionOnRenegotiation|ServerPreference|PrioritizeChaCha)(?:,|$))+$",
    "ciphersuites": "^(?:(?:%s)(?::|$))+$" % "|".join(_stronger.CIPHERSUITES),
    "signaturealgorithms": _NO_WEAK_HASH,
    "clientsignaturealgorithms": _NO_WEAK_HASH,
}

_LINES = {
    "apache": {
        "protocols": "SSLProtocol -all +%s",
        "ciphers": "SSLCipherSuite %s",
        "ciphersuites": "SSLCipherSuite TLSv1.3 %s",
        "groups": "SSLOpenSSLConfCmd Curves %s",
    },
    "nginx": {
        "protocols": "ssl_protocols %s;",
        "ciphers": "ssl_ciphers %s;",
        "ciphersuites": "ssl_conf_command Ciphersuites %s;",
        "groups": "ssl_ecdh_curve %s;",
    },
}
_BETWEEN = {("apache", "protocols"): " +", ("nginx", "protocols"): " "}

_JOINS: dict[str, t.Callable[[_stronger.Names, _stronger.Names], _stronger.Names]] = {
    "protocols": _stronger.protocols,
    "ciphers": _stronger.suites,
    "ciphersuites": _stronger.suites,
    "groups": _stronger.groups,
}


def join(item: str, policy: Names, own: Names, directive: Directive) -> Names:
    """What an item is to be, so that neither the policy nor the own value, which the directive sets, is weakened."""
    if item == "ciphers" and _crypto_policy.is_system(directive.args[-1]):
        return tuple(_stronger.permitted(policy, own))
    return tuple(_JOINS[item](policy, own))


def line(server: str, item: str, names: t.Iterable[str]) -> str:
    """The directive that sets an item."""
    words = ["TLSv1" if name == "TLSv1.0" else name for name in names]
    return _LINES[server][item] % _BETWEEN.get((server, item), ":").join(words)


def setting(server: str, directive: Directive) -> tuple[str, Names] | None:
    """The item that a directive sets, and its value; None for a directive that is about something else.

    C(oldest) is the oldest protocol that stays allowed.
    """
    item, args = _KEYS[server].get(directive.key), directive.args
    if directive.key in _CONF_KEYS and len(args) == 2:
        item = _COMMANDS.get(args[0].lower())
    if item is None or not args:
        return None
    if item == "oldest":
        return item, _known(args[1:])
    if item == "protocols":
        return item, _apache_protocols(args) if server == "apache" else _known(args)
    if directive.key == "sslciphersuite" and len(args) == 2 and args[0].lower() == "tlsv1.3":
        item = "ciphersuites"
    return item, _stronger.suites_of(args[-1]) if item == "ciphers" else tuple(args[-1].split(":"))


_PROTOCOLS = {"tlsv1": "TLSv1.0", **{name.lower(): name for name in _stronger.PROTOCOLS}}


def _known(words: t.Iterable[str]) -> Names:
    return tuple(_PROTOCOLS[word.lower()] for word in words if word.lower() in _PROTOCOLS)


def _apache_protocols(words: t.Iterable[str]) -> Names:
    """What is left of the words of SSLProtocol: one with a sign adds or removes, one without is all there is so far."""
    allowed: set[str] = set()
    for word in words:
        name = word.lstrip("+-")
        meant = set(_stronger.PROTOCOLS[1:] if name.lower() == "all" else _known([name]))
        if word.startswith("-"):
            allowed -= meant
        else:
            allowed = allowed | meant if word.startswith("+") else meant
    return tuple(name for name in _stronger.PROTOCOLS if name in allowed)


def settings(server: str, levels: t.Iterable[t.Iterable[Directive]]) -> dict[str, tuple[Names, Directive]]:
    """The items that are set at several levels, the innermost one last, each with the directive that decides."""
    found: dict[str, tuple[Names, Directive]] = {}
    for level in levels:
        directives = list(_webserver_model.direct(level))
        if server == "nginx" and any(item.key in _CONF_KEYS for item in directives):
            # Everything of a kind that a level sets itself replaces what is set around it.
            found = {item: entry for item, entry in found.items() if entry[1].key not in _CONF_KEYS}
        for directive in directives:
            found_item = setting(server, directive)
            if found_item is not None:
                found[found_item[0]] = found_item[1], directive
    oldest = found.pop("oldest", None)
    if oldest and oldest[0]:
        allowed = found.get("protocols", (_stronger.PROTOCOLS, oldest[1]))[0]
        start = _stronger.PROTOCOLS.index(oldest[0][0])
        left = tuple(name for name in allowed if _stronger.PROTOCOLS.index(name) >= start)
        found["protocols"] = left, oldest[1]
    return found


def oldest(directive: Directive) -> Names:
    """The protocols from the oldest one on that a directive leaves allowed; none for a directive of another kind."""
    if directive.key not in _CONF_KEYS or len(directive.args) != 2 or directive.args[0].lower() != "minprotocol":
        return ()
    named = _known(directive.args[1:])
    return _stronger.PROTOCOLS[_stronger.PROTOCOLS.index(named[0]) :] if named else ()


def of_system(layout: Layout, system: CryptoPolicy | None) -> list[Directive]:
    """What counts where a server sets no protocols, as directives: Red Hat's Apache leaves them to the host's policy.

    nginx has a default of its own in any case, and so has Apache elsewhere.
    """
    if system is None or system.oldest is None or (layout.server, layout.family) != ("apache", "redhat"):
        return []
    arguments = ["MinProtocol", system.oldest]
    return [Directive("SSLOpenSSLConfCmd", arguments, _crypto_policy.SETTINGS, system.line, 0, 0)]


def command(directive: Directive) -> str:
    """What distinguishes a directive from others of its kind: its name, or the command that it hands to OpenSSL."""
    return directive.args[0].lower() if directive.key in _CONF_KEYS and directive.args else directive.key


def is_strict(directive: Directive) -> bool:
    """Whether a setting only takes something away from what OpenSSL does by itself."""
    pattern = _STRICT.get(command(directive))
    return pattern is not None and re.search(pattern, directive.args[-1] if directive.args else "") is not None


# --- headers ---------------------------------------------------------------------------------------------------------

_SETTING = ("set", "add", "append", "merge", "setifempty")


class _Header(t.NamedTuple):
    name: str
    always: bool
    action: str
    value: str
    conditional: bool


def _apache_header(directive: Directive) -> _Header | None:
    """What a Header directive sets."""
    words = [word.lower() for word in directive.args]
    always = words[:1] == ["always"]
    args = directive.args[1 if words[:1] in (["always"], ["onsuccess"]) else 0 :]
    if directive.key != "header" or len(args) < 2:
        return None
    action, value = args[0].lower(), args[2] if len(args) > 2 else ""
    unconditional = 2 if action == "unset" else 3
    return _Header(args[1].lower().rstrip(":"), always, action, value, len(args) > unconditional)


def header_set(directive: Directive) -> tuple[str, str] | None:
    """The header that Apache always sets by a directive, and its value."""
    header = _apache_header(directive)
    return (header.name, header.value) if header and header.always and header.action == "set" else None


def is_plain(directive: Directive) -> bool:
    """Whether a Header directive replaces the header, whatever was there, and on no condition."""
    header = _apache_header(directive)
    return header is not None and header.action == "set" and not header.conditional


def apache_sends(name: str, levels: t.Iterable[t.Iterable[Directive]]) -> dict[bool, tuple[str, Directive]]:
    """A header after the directives of several levels, one after the other: what is always sent (True), and what is
    sent with good responses (False), each with the directive that sets it."""
    tables: dict[bool, tuple[str, Directive]] = {}
    for level in levels:
        for directive in _webserver_model.direct(level, "header"):
            header = _apache_header(directive)
            if header and header.name == name and header.action in _SETTING:
                tables[header.always] = header.value, directive
            elif header and header.name == name and header.action == "unset" and not header.conditional:
                tables.pop(header.always, None)
    return tables


def hsts_values(server: str, directive: Directive) -> list[str]:
    """The values of Strict-Transport-Security that a directive sets."""
    if server == "apache":
        header = _apache_header(directive)
        return [header.value] if header and header.name == HSTS and header.action in _SETTING else []
    if directive.key == "add_header" and len(directive.args) > 1 and directive.args[0].lower() == HSTS:
        return [directive.args[1]]
    if directive.key == "more_set_headers":
        pairs = [arg.partition(":") for arg in directive.args]
        return [value.strip() for name, _colon, value in pairs if name.strip().lower() == HSTS]
    return []


def nginx_hsts(levels: t.Sequence[t.Sequence[Directive]], merges: bool) -> list[tuple[str, Directive]]:
    """What nginx sends from the innermost level, which stands last: its own add_header lines, else those around it.

    merges: whether it is configured to take both.
    """
    found: list[tuple[str, Directive]] = []
    inherits = True
    for level in reversed(levels):
        keys = ("add_header", "more_set_headers") if inherits else ("more_set_headers",)
        lines = list(_webserver_model.direct(level, *keys))
        found += [(value, item) for item in lines for value in hsts_values("nginx", item)]
        inherits = inherits and (merges or not any(item.key == "add_header" for item in lines))
    return found
