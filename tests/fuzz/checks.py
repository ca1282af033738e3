# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for the results of many targets."""

from __future__ import annotations

import re
import typing as t
import unicodedata

# Controls, halves of surrogate pairs, separators of lines; and what turns the direction of text.
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def check_shown(*texts: str | None) -> None:
    """Fails for text that could deceive a reader, or a terminal."""
    for text in filter(None, texts):
        unseen = [sign for sign in text if unicodedata.category(sign) in _CATEGORIES] + _TURNS.findall(text)
        assert not unseen, (text, unseen)


def texts_in(value: t.Any) -> t.Iterator[str]:
    """All text in a result."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts_in(key), *texts_in(item))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from texts_in(item)
