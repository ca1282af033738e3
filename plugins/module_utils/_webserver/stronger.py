# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which of two values of one item of a policy is the stronger one, as functions of the values alone.

Each function takes the policy's value and a virtual host's own, and returns what may be sent so that neither is
weakened: the policy's value itself, unless the own one is stronger. What cannot be compared is not stronger.
"""

from __future__ import annotations

import functools
import re
import ssl
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy

# What frontend_replace_stronger can name.
HSTS, TLS, HEADERS = GROUPS = ("hsts", "tls", "headers")

# --- Strict-Transport-Security (RFC 6797) ----------------------------------------------------------------------------

# Half a year, as the SSL Labs rating guide has it. A rollout of HSTS begins with minutes or weeks, and to make a
# year of these would lock out names below that have no TLS yet.
LASTING = 15552000
# A greater number of seconds counts as this one (RFC 9111, section 1.2.2).
_FOREVER = 2**31

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = re.compile(
    r"[ \t]*(?:(?P<name>{word})[ \t]*(?:=[ \t]*(?P<value>{word}|{quoted}))?)?[ \t]*(?:;|\Z)".replace(
        "{quoted}", r'"[^"\\]*(?:\\.[^"\\]*)*"'
    ).replace("{word}", _WORD)
)


class Hsts(t.NamedTuple):
    """What a browser understands of the header. max_age 0 means that there is no such policy."""

    max_age: int = 0
    subdomains: bool = False
    preload: bool = False

    def __str__(self) -> str:
        flags = (("includeSubDomains", self.subdomains), ("preload", self.preload))
        return "; ".join(["max-age=%d" % self.max_age, *(name for name, on in flags if on)])


def parse_hsts(text: str) -> Hsts | None:
    """The policy of one header field, or None for one that browsers do not accept (section 6.1)."""
    found: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = _DIRECTIVE.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match.group("name"):
            name = match.group("name").lower()
            if name in found:
                return None
            found[name] = match.group("value")
    seconds = re.match(r'("?)([0-9]+)\1\Z', found.get("max-age") or "")
    if seconds is None or found.get("includesubdomains") is not None:
        return None
    max_age = min(int(seconds.group(2)), _FOREVER) if len(seconds.group(2)) < 20 else _FOREVER
    return Hsts(max_age, "includesubdomains" in found, found.get("preload", "") is None)


def _lasting(own: Hsts) -> Hsts:
    """Without the flags of one that is on trial, and nothing of one that switches HSTS off."""
    if not own.max_age:
        return Hsts()
    return own if own.preload or own.max_age >= LASTING else Hsts(own.max_age)


def hsts(policy: str, own: str) -> str:
    """The longer max-age, and the flags of both; the own one's flags if it has preload or is to last."""
    base, other = parse_hsts(policy) or Hsts(), _lasting(parse_hsts(own) or Hsts())
    both = Hsts(max(base.max_age, other.max_age), base.subdomains or other.subdomains, base.preload or other.preload)
    return policy if both == base else str(both)


# --- TLS -------------------------------------------------------------------------------------------------------------

# From old to new, by the collection's names.
PROTOCOLS = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
# What OpenSSL offers of TLS 1.3 by default.
CIPHERSUITES = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")
_POST_QUANTUM = re.compile("(?i)mlkem")
_GROUP_ALIASES = {"p-256": "prime256v1", "secp256r1": "prime256v1", "p-384": "secp384r1", "p-521": "secp521r1"}

Names = t.Sequence[str]


def protocols(policy: Names, own: Names) -> Names:
    """Without the policy's oldest protocols, where the own oldest one is newer."""
    if not policy or not own:
        return policy
    oldest = min(PROTOCOLS.index(name) for name in own)
    newer = [name for name in policy if PROTOCOLS.index(name) >= oldest]
    return newer if newer and len(newer) < len(policy) else policy


def suites(policy: Names, own: Names) -> Names:
    """The own suites, in their order, where the policy allows all of them and more."""
    return own if own and set(own) < set(policy) else policy


def permitted(policy: Names, allowed: Names) -> Names:
    """Those of the policy's suites that the policy of the whole host allows; all where none is left, or none is known.

    The host's list has suites of other kinds as well, so it is never the stronger one itself. But what it leaves out,
    its administrator has ruled out.
    """
    return tuple(name for name in policy if name in allowed) or policy


def groups(policy: Names, own: Names) -> Names:
    """The own groups, where the policy allows all of them and more, but none that is post-quantum."""
    needed, have = ({_GROUP_ALIASES.get(name.lower(), name.lower()) for name in names} for names in (policy, own))
    quantum = {name for name in needed if _POST_QUANTUM.search(name)}
    return own if quantum <= have < needed else policy


@functools.lru_cache(maxsize=None)
def suites_of(text: str) -> tuple[str, ...]:
    """The suites of TLS 1.2 that a cipher string selects, by OpenSSL's names; none for a string that is refused.

    C(PROFILE=SYSTEM) is one that only the OpenSSL of some distributions takes. Any other would skip it as an unknown
    word, and select what follows alone.
    """
    if _crypto_policy.is_system(text) and text != _crypto_policy.SYSTEM and not suites_of(_crypto_policy.SYSTEM):
        return ()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.set_ciphers(text)
    except (ssl.SSLError, ValueError):
        return ()
    names = [str(cipher["name"]) for cipher in context.get_ciphers()]
    return tuple(name for name in names if not name.startswith("TLS_"))


# --- headers of single paths -----------------------------------------------------------------------------------------

# Values from weak to strong. By Referrer-Policy: how much of an address another site gets.
_ORDERS = {
    "x-frame-options": ("sameorigin", "deny"),
    "referrer-policy": (
        "unsafe-url",
        "no-referrer-when-downgrade",
        "origin-when-cross-origin",
        "origin",
        "strict-origin-when-cross-origin",
        "strict-origin",
        "same-origin",
        "no-referrer",
    ),
}
# Values that browsers combine when both are sent in one header, the policy's last; as patterns of what they understand.
# Of Content-Security-Policy they enforce each. Of Permissions-Policy the last entry for a feature counts, so what else
# the own one refuses is still refused; one that is malformed would void all of it.
_TOGETHER = {
    "content-security-policy": r"^.+$",
    "permissions-policy": r"^(?:[a-z*][a-z0-9_.*-]*=(?:[*]|self|[(][^()]*[)])[ \t]*(?:,[ \t]*|$))+$",
}


def stronger(name: str, value: str) -> str:
    """A pattern, without regard to case, of the own values of a header that are stronger than a policy's; or ''."""
    order = _ORDERS.get(name.lower(), ())
    return "^(?:%s)$" % "|".join(order[order.index(value.lower()) + 1 :]) if value.lower() in order[:-1] else ""


def beside(name: str) -> str:
    """A pattern of the own values of a header that the policy's is added to, instead of replacing them; or ''."""
    return _TOGETHER.get(name.lower(), "")


def is_weaker(name: str, now: str, was: str) -> bool:
    """Whether a header of a response is weaker than the one that came before; '' for none."""
    if name.lower() == "strict-transport-security":
        return hsts(now, was) != now
    order = _ORDERS.get(name.lower(), ())
    if was.lower() in order:
        return now.lower() not in order[order.index(was.lower()) :]
    together = beside(name)
    return bool(together and re.search(together, was, re.IGNORECASE)) and _lasting_part(was) not in _lasting_part(now)


def _lasting_part(value: str) -> str:
    """A header without what is new in each response."""
    return re.sub(r"nonce-[^']*'", "nonce'", value)
