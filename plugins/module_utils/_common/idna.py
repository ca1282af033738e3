# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Host names as DNS, certificates and handshakes have them: A-labels by IDNA 2008, as browsers make them.

Python's own codec knows IDNA 2003 only, by which C(faß.test) is C(fass.test): another host. Browsers follow UTS 46
without its transition rules: letters are folded to lower case and to their compatibility form, and sharp s and final
sigma stay what they are. What is no letter, mark or digit (emoji, joiners) has rules of its own and is refused here.
"""

from __future__ import annotations

import unicodedata

MAX_LABEL, MAX_NAME = 63, 253
# Full stops of other scripts, and the sigmas that are no final one, although their compatibility form is.
_MAPPED = str.maketrans("\u3002\uff0e\uff61\u03f2\u03f9", "...\u03c3\u03c3")


def to_ascii(name: str) -> str:
    """The name in A-labels, without the dot at its end. Raises ValueError with the cause where it has no such form."""
    labels = [_label(label) for label in name.translate(_MAPPED).split(".")]
    if len(labels) > 1 and not labels[-1]:
        labels.pop()
    for label in labels:
        if not label:
            raise ValueError("it has an empty label")
        if len(label) > MAX_LABEL:
            raise ValueError(f"it has a label of {len(label)} characters, {MAX_LABEL} are the most")
    whole = ".".join(labels)
    if len(whole) > MAX_NAME:
        raise ValueError(f"it has {len(whole)} characters, {MAX_NAME} are the most")
    return whole


def _label(label: str) -> str:
    if label.isascii():
        return label
    mapped = unicodedata.normalize("NFKC", _lower(label))
    mapped = unicodedata.normalize("NFC", _lower(mapped))
    for character in mapped:
        if character != "-" and unicodedata.category(character)[0] not in "LM" and not character.isdecimal():
            raise ValueError(f"U+{ord(character):04X} is not a letter or a digit; write its xn-- form")
    if unicodedata.category(mapped[0])[0] == "M" or mapped.startswith("xn--"):
        raise ValueError("it has no IDNA form")
    return mapped if mapped.isascii() else "xn--" + mapped.encode("punycode").decode("ascii")


def _lower(text: str) -> str:
    """Letter by letter: whether a sigma is a final one must not depend on its place."""
    return "".join(letter.lower() for letter in text)
