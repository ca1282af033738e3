# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Text of the network's, or of a host's files, in a form that a terminal and every format of a report can take.

A server's header, a name server's reason, a certificate's subject, a package's name, a path: each may hold control
codes that move a terminal's cursor, forge a line or set its title, characters that make text read other than it is, and
parts of characters that are no text at all. XML forbids most of them. They become visible, as C(\\x1b).
"""

from __future__ import annotations

import re
import shlex
import typing as t

# Controls (C0, DEL, C1), what is not to be seen or turns the direction of text, separators of lines that editors and
# terminals do not agree about, halves of surrogate pairs, and what is no character (and no XML).
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff"
)
_ALL = re.compile(f"[{_UNSEEN}]")
# The same without tabs and ends of lines, those of Windows included.
_BUT_LINES = re.compile(f"(?!\n|\t|\r\n)[{_UNSEEN}]")


def printable(text: str) -> str:
    """The text on one line: for what cannot have several by rights, such as a header or a name."""
    return _ALL.sub(_visible, text)


def result(value: t.Any, before: t.Callable[[str], str] = str) -> t.Any:
    """A copy of what a module returns, with all text in it printable. It keeps its lines.

    before: what is done to each text first.
    """
    if isinstance(value, str):
        return _BUT_LINES.sub(_visible, before(value))
    if isinstance(value, dict):
        return {result(key, before): result(item, before) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [result(item, before) for item in value]
    return value


def shell_words(words: t.Iterable[str]) -> str:
    """Words in a command to paste, such as names of packages: quoted, on one line, and none of them an option."""
    shown = [printable(word) for word in words]
    return " ".join([*(["--"] if any(word.startswith("-") for word in shown) else []), *map(shlex.quote, shown)])


def shell_path(path: str) -> str:
    """A path in a command to paste. A relative one is no option, and no assignment, as awk takes C(name=value)."""
    shown = printable(path)
    return shlex.quote(f"./{shown}" if re.match(r"-|[A-Za-z_]\w*=", shown) else shown)


def _visible(found: t.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}"
