# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Can clients log in to a mail server before TLS has begun?

STARTTLS is an offer. A server that takes a login without it gets passwords in clear text from every client that does
not insist on TLS, or is kept from it by somebody in between (RFC 8314, 4.1). The server is asked for its capabilities
on a connection without TLS, and nothing else: no login is tried, and no name or password is sent.

What servers permit to clients on their own host is no such login: Dovecot and kopano-gateway list it to these alone.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

TRIES = 2
_REFUSED = "its capabilities are not known: {}"


class Query(t.NamedTuple):
    """What is sent, the last line of the response to it, and which ways to log in some of its lines name; None where
    they name no capabilities at all."""

    command: bytes
    end: str
    read: t.Callable[[t.Sequence[str]], list[str] | None]


def _imap(lines: t.Sequence[str]) -> list[str] | None:
    """RFC 9051, 7.2.2: LOGINDISABLED takes the command LOGIN away."""
    words = [word.upper() for line in lines if line.upper().startswith("* CAPABILITY ") for word in line.split()[2:]]
    mechanisms = [word for word in words if word.startswith("AUTH=")]
    return (["LOGIN"] if "LOGINDISABLED" not in words else []) + mechanisms if words else None


def _pop3(lines: t.Sequence[str]) -> list[str]:
    """RFC 2449, 6.2 and 6.3: a line for the command USER, and one with the mechanisms of AUTH."""
    found = []
    for words in (line.upper().split() for line in lines):
        if words[:1] == ["USER"]:
            found.append("USER")
        elif words[:1] == ["SASL"]:
            found += [f"SASL {word}" for word in words[1:]]
    return found


def _smtp(lines: t.Sequence[str]) -> list[str]:
    """RFC 4954, 3: a line with the mechanisms; some servers repeat it with an equals sign for old clients."""
    found = []
    for line in lines:
        words = line[4:].upper().replace("=", " ", 1).split()
        if words[:1] == ["AUTH"]:
            found += [f"AUTH {word}" for word in words[1:]]
    return list(dict.fromkeys(found))


QUERIES = {
    "imap": Query(b"a CAPABILITY\r\n", r"a (OK|NO|BAD)\b", _imap),
    "pop3": Query(b"CAPA\r\n", r"(\.|-ERR\b.*)\Z", _pop3),
    "smtp": Query(b"EHLO probe.invalid\r\n", r"(250 |[45]\d\d)", _smtp),
}
# How a server ends the session in good order.
_ENDS = {"imap": b"b LOGOUT\r\n", "pop3": b"QUIT\r\n", "smtp": b"QUIT\r\n"}
_GOOD_END = re.compile(r"a OK\b|\.\Z|250 ", re.IGNORECASE)
# What a mechanism, or a command, can be (RFC 4422, 3.1).
_WAY = re.compile(r"[A-Z0-9 =_-]{1,30}")


class ClearLogin(t.NamedTuple):
    """C(ways): how clients can log in before TLS, as the protocol has it; None without STARTTLS, and with a C(reason)
    why that is not known."""

    ways: t.Sequence[str] | None
    reason: str | None = None


def find(peer: _handshake.Peer) -> ClearLogin:
    """The ways to log in to a mail server before TLS."""
    reason = ""
    for _try in range(TRIES):
        try:
            return _find(peer)
        except (OSError, _handshake.Unreachable, wire.ParseError) as error:
            reason = str(error)
            if peer.failure:
                break
    return ClearLogin(None, _REFUSED.format(reason))


def _find(peer: _handshake.Peer) -> ClearLogin:
    """Raises OSError, Unreachable, ParseError."""
    query = QUERIES[peer.starttls]
    with peer.connect(peer.port) as (sock, deadline):
        is_own = sock.getsockname()[0] == sock.getpeername()[0]
        lines = _handshake.Lines(sock, deadline)
        lines.until(_handshake.DIALOGUES[peer.starttls][0][0])
        lines.send(query.command)
        response = lines.until(query.end)
        lines.send(_ENDS[peer.starttls])
    if not _GOOD_END.match(response[-1]):
        return ClearLogin(None, _REFUSED.format(printable(response[-1].strip())[:120]))
    named = query.read(response)
    if named is None:
        return ClearLogin(None, _REFUSED.format("it sends none"))
    ways = [way for way in named if _WAY.fullmatch(way)]
    if ways and is_own and peer.starttls != "smtp":
        return ClearLogin(None, "it may be permitted to clients on the server's own host, such as this one, alone")
    return ClearLogin(ways)
