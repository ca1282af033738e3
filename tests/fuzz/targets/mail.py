# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mail servers before TLS: STARTTLS, and how clients could log in without."""

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import clear_login as _clear_login
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target
from tests.fuzz.targets.http import Socket
from tests.fuzz.targets.tls import Peer

# What servers send up to the end of their capabilities.
GREETINGS = {
    "imap": (
        b"* OK Dovecot ready.\r\n* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK done\r\n",
        b"* OK [CAPABILITY IMAP4rev1] ready\r\n* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN AUTH=LOGIN\r\na OK done\r\n",
        b"* OK ready\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\n",
    ),
    "pop3": (
        b"+OK ready\r\n+OK\r\nCAPA\r\nSTLS\r\nUIDL\r\n.\r\n",
        b"+OK ready\r\n+OK\r\nUSER\r\nSASL PLAIN LOGIN\r\nSTLS\r\n.\r\n",
    ),
    "smtp": (
        b"220 mail.test ESMTP\r\n250-mail.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
        b"220-a\r\n220 b\r\n250-mail.test\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN\r\n250 STARTTLS\r\n",
    ),
}
# A line that offers a login, as the server has sent it after its greeting. A mechanism has up to 20 letters (RFC 4422).
OFFERS = {
    "imap": re.compile(rb"\* CAPABILITY (.* )?AUTH=[A-Z]{1,20}( .*)?", re.IGNORECASE),
    "pop3": re.compile(rb"USER|SASL [A-Z]{1,20}", re.IGNORECASE),
    "smtp": re.compile(rb"250[ -]AUTH[ =][A-Z]{1,20}", re.IGNORECASE),
}


class _Socket(Socket):
    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.2", 143


class _Peer(Peer):
    _server = staticmethod(_Socket)


def _clear(protocol: str, case: bytes) -> None:
    """No way to log in is what a server has said in full, in the lines of its response; all else is not known."""
    found = _clear_login.find(_Peer(case, starttls=protocol))
    check_shown(found.reason, *(found.ways or ()))
    assert (found.ways is None) == (found.reason is not None)
    if found.ways is not None and not found.ways:
        greeting, end = _handshake.DIALOGUES[protocol][0][0], _clear_login.QUERIES[protocol].end
        lines = [line.rstrip(b"\r") for line in case.split(b"\n")]
        start = next(at for at, line in enumerate(lines) if _begins(greeting, line)) + 1
        stop = next(at for at, line in enumerate(lines) if at >= start and _begins(end, line)) + 1
        assert not [line for line in lines[start:stop] if OFFERS[protocol].fullmatch(line)], lines
        assert protocol != "imap" or b"LOGINDISABLED" in case.upper()


def _begins(pattern: str, line: bytes) -> bool:
    return bool(re.match(pattern, line.decode("latin-1"), re.IGNORECASE))


def _start(protocol: str, case: bytes) -> None:
    """TLS begins after a line that agrees to it, and nothing comes with that."""
    peer = _Peer(case, starttls=protocol)
    with peer.connect():
        pass
    assert case.endswith(b"\n")
    assert _begins(_handshake.DIALOGUES[protocol][-1][0], case.rstrip(b"\n").rpartition(b"\n")[2] or case)


AGREED = {
    "imap": (b"* OK ready\r\na OK begin\r\n", b"* PREAUTH x\r\n* x\r\na OK\r\n"),
    "pop3": (b"+OK ready\r\n+OK begin\r\n",),
    "smtp": (b"220-x\r\n220 mail.test\r\n250-mail.test\r\n250 STARTTLS\r\n220 begin\r\n",),
}
Check = t.Callable[[str, bytes], None]
for _protocol in GREETINGS:
    target(f"mail.{_protocol}_login", seeds=GREETINGS[_protocol])(functools.partial(_clear, _protocol))
    target(f"mail.{_protocol}_starttls", seeds=AGREED[_protocol], declared=ParseError)(
        functools.partial(_start, _protocol)
    )
