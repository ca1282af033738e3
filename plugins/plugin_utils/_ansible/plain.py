# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Values as plain Python.

What ansible-core hands to plugins are its own containers, which template each item when it is read, and text that knows
where it is from. Reading or copying that again and again takes seconds where plain values take milliseconds.
"""

from __future__ import annotations

import typing as t


def plain(value: t.Any) -> t.Any:
    """A copy in dictionaries, lists and text of Python's own."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    # A value that !vault encrypts is no text of Python's own with ansible-core before 2.19.
    if getattr(value, "__ENCRYPTED__", False):
        return str(value)
    return str.__str__(value) if isinstance(value, str) else value
