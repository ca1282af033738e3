# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a case is made of earlier ones.

Every function takes a source of random numbers and cases to begin with. C(of_data) is for bytes without a structure
that matters, C(of_text) for text in lines; C(of_der) keeps the lengths of DER right, so that damage is found deeper
inside. C(swell) makes long input of short one, which is what shows code that is too slow for it.
"""

from __future__ import annotations

import random
import re
import typing as t

# What parsers compare with, and what they do not expect.
NUMBERS = (0, 1, 2, 3, 4, 5, 16, 20, 32, 48, 64, 100, 127, 128, 129, 160, 192, 254, 255)
WORDS = (
    "", " ", "\t", "\n", "\r\n", "\0", "\x7f", "\x1b[31m", "\u202e", "\ufeff", "\U0001f600", "\u00e4", "\u00df",
    "0", "-1", "00", "1e9", "99999999999999999999", "\u0663", "\u00b2", "inf", "nan", "None", "true", "a" * 300, "xn--",
    '"', "'", "\\", "\\\\", "=", ";", ",", ":", "/", "//", "..", ".", "%", "%s", "%00", "{", "}", "[", "]", "[]", "(",
    "xn--a", "*", "#", "<", "<script>", "&", "$", "${x}", "$(x)", "`", "@", "|",
)  # fmt: skip
MOST = 64 * 1024

Data = t.TypeVar("Data", str, bytes)


def of_data(source: random.Random, cases: t.Sequence[bytes]) -> bytes:
    """One of the cases, damaged in some places."""
    data = source.choice(cases)
    for _time in range(source.choice((1, 1, 1, 2, 2, 3, 5, 10))):
        data = source.choice(_DATA)(source, data, cases)[:MOST]
    return data


def of_text(source: random.Random, cases: t.Sequence[str]) -> str:
    """One of the cases, with lines and words moved, left out, doubled, put in, and characters damaged."""
    text = source.choice(cases)
    for _time in range(source.choice((1, 1, 1, 2, 2, 3, 5, 10))):
        text = source.choice(_TEXT)(source, text, cases)[:MOST]  # as words, it takes fifty times as much memory
    return text


def of_der(source: random.Random, cases: t.Sequence[bytes]) -> bytes:
    """One of the cases, mostly with an element changed in place of bytes, and the lengths around it right again."""
    if source.random() < 0.3:
        return of_data(source, cases)
    data = source.choice(cases)
    for _time in range(source.choice((1, 1, 2, 3))):
        data = _der(source, data, source.choice(cases))
    return data[:MOST]


def swell(source: random.Random, data: Data, _cases: t.Sequence[Data] = ()) -> Data:
    """A piece of it, or of what parsers skip or look for, repeated until it is long, and something that ends it."""
    at = source.randrange(len(data) + 1)
    if source.random() < 0.5:
        borders = [found.start() for found in (_WORD if isinstance(data, str) else _WORD_DATA).finditer(data)]
        at = source.choice(borders or [0])
    piece = data[at : at + source.choice((1, 1, 2, 3, 5, 10, 40))] or data[:1]
    sign, end = source.choice(_SIGNS), source.choice(("", *_SIGNS))
    new = t.cast("tuple[Data, Data]", (sign, end) if isinstance(data, str) else (sign.encode(), end.encode()))
    if source.random() < 0.5:
        piece = new[0]
    size = source.choice((10, 30, 100, 300, 300, 1000, 1000, 5000, 20000, MOST))
    return data[:at] + piece * (size // max(len(piece), 1)) + new[1] + data[at:]


_SIGNS = (*" \t\n\0", *"09a=;,-.:", *"\"'\\([<%\u00e4", "  ", "\r\n", "a.", "a=", "a;", "[]")
_WORD, _WORD_DATA = re.compile(r"\w+|\s+|[^\w\s]"), re.compile(rb"\w+|\s+|[^\w\s]")


# Bytes


def _set_byte(source: random.Random, data: bytes, _cases: t.Sequence[bytes]) -> bytes:
    at = source.randrange(len(data) + 1)
    value = source.choice(NUMBERS) if source.random() < 0.5 else source.randrange(256)
    return data[:at] + bytes([value]) + data[at + 1 :]


def _flip(source: random.Random, data: bytes, _cases: t.Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = source.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]


def _add(source: random.Random, data: bytes, _cases: t.Sequence[bytes]) -> bytes:
    """A number one more or less, as lengths are wrong."""
    if not data:
        return data
    at, size = source.randrange(len(data)), source.choice((1, 2, 3))
    field = data[at : at + size]
    value = int.from_bytes(field, "big") + source.choice((-2, -1, 1, 2, 16, 128))
    return data[:at] + (value % 256 ** len(field)).to_bytes(len(field), "big") + data[at + size :]


def _insert(source: random.Random, data: bytes, _cases: t.Sequence[bytes]) -> bytes:
    at = source.randrange(len(data) + 1)
    return data[:at] + source.randbytes(source.choice((1, 1, 2, 4, 16))) + data[at:]


def _remove(source: random.Random, data: Data, _cases: t.Sequence[Data]) -> Data:
    at = source.randrange(len(data) + 1)
    return data[:at] + data[at + source.choice((1, 1, 2, 4, 16, 100)) :]


def _double(source: random.Random, data: Data, _cases: t.Sequence[Data]) -> Data:
    at = source.randrange(len(data) + 1)
    end = at + source.choice((1, 2, 4, 16, 100))
    return data[:end] + data[at:]


def _cut(source: random.Random, data: Data, _cases: t.Sequence[Data]) -> Data:
    return data[: source.randrange(len(data) + 1)]


def _cross(source: random.Random, data: Data, cases: t.Sequence[Data]) -> Data:
    """Its beginning, and the end of another."""
    other = source.choice(cases)
    return data[: source.randrange(len(data) + 1)] + other[source.randrange(len(other) + 1) :]


def _rarely_swell(source: random.Random, data: Data, cases: t.Sequence[Data]) -> Data:
    return swell(source, data) if source.random() < 0.3 else _remove(source, data, cases)


_Change = t.Callable[[random.Random, t.Any, t.Sequence[t.Any]], t.Any]
_DATA: t.Sequence[_Change] = (
    _set_byte, _set_byte, _flip, _flip, _add, _add, _insert, _remove, _double, _cut, _cross, _rarely_swell,
)  # fmt: skip


# Text


def _set_character(source: random.Random, text: str, _cases: t.Sequence[str]) -> str:
    at = source.randrange(len(text) + 1)
    value = chr(source.randrange(128)) if source.random() < 0.8 else chr(source.choice((0x85, 0xA0, 0x2028, 0xFFFD)))
    return text[:at] + value + text[at + 1 :]


def _word(source: random.Random, text: str, cases: t.Sequence[str]) -> str:
    """A word put in, in place of one, or one that is elsewhere as well."""
    words = _WORD.findall(text) or [""]
    at = source.randrange(len(words))
    new = source.choice(WORDS) if source.random() < 0.6 else source.choice(_WORD.findall(source.choice(cases)) or [""])
    words[at : at + source.choice((0, 1, 1, 2, 4))] = [new]
    return "".join(words)


def _lines(source: random.Random, text: str, cases: t.Sequence[str]) -> str:
    """A line left out, doubled, moved, or taken from another case."""
    lines = text.split("\n")
    at = source.randrange(len(lines))
    what = source.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines.insert(source.randrange(len(lines)), lines.pop(at))
    else:
        lines.insert(at, source.choice(source.choice(cases).split("\n")))
    return "\n".join(lines)


_TEXT: t.Sequence[_Change] = (
    _set_character, _word, _word, _lines, _lines, _remove, _double, _cut, _cross, _rarely_swell,
)  # fmt: skip


# DER

_TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x17, 0x18, 0x30, 0x31, 0x80, 0xA0)


def der_element(tag: int, body: bytes) -> bytes:
    """One element, with its length as DER has it."""
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_elements(data: bytes) -> list[tuple[int, bytes]] | None:
    """Tag and content of the elements that the bytes are made of; None if they are no such thing."""
    found, at = [], 0
    while at < len(data):
        if len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            return None
        size, head = data[at + 1], 2
        if size >= 0x80:
            count = size & 0x7F
            size, head = int.from_bytes(data[at + 2 : at + 2 + count], "big"), 2 + count
            if not 1 <= count <= 4:
                return None
        if at + head + size > len(data):
            return None
        found.append((data[at], data[at + head : at + head + size]))
        at += head + size
    return found


def _der(source: random.Random, data: bytes, other: bytes) -> bytes:
    """The bytes with one element changed, at some depth."""
    elements = der_elements(data)
    if not elements:
        return _DATA[source.randrange(6)](source, data, [data])
    at = source.randrange(len(elements))
    tag, body = elements[at]
    # Strings can hold elements, too, as extensions do.
    if body and source.random() < 0.85 and (tag & 0x20 or tag in (0x04, 0x03)) and der_elements(body[tag == 0x03 :]):
        inner = _der(source, body[tag == 0x03 :], other)
        elements[at] = tag, body[: tag == 0x03] + inner
    else:
        what = source.randrange(8)
        if what == 0:
            del elements[at]
        elif what == 1:
            elements.insert(at, elements[at])
        elif what == 2:
            elements[at] = source.choice(_TAGS), body
        elif what == 3:
            elements.insert(source.randrange(len(elements)), elements.pop(at))
        elif what == 4:
            elements[at] = tag, b""
        elif what == 5:
            elements[at] = source.choice(_all_elements(other) or [(tag, body)])
        elif what == 6:
            elements[at] = tag, swell(source, body) if source.random() < 0.1 else body + body
        else:
            elements[at] = tag, _DATA[source.randrange(6)](source, body, [body])
    return b"".join(der_element(*element) for element in elements)


def _all_elements(data: bytes, depth: int = 6) -> list[tuple[int, bytes]]:
    elements = der_elements(data) or []
    inner = [one for tag, body in elements if tag & 0x20 and depth for one in _all_elements(body, depth - 1)]
    return elements + inner
