# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""How filters reach their functions: when they are called, and with plain Python values where these read a lot.

ansible-core loads all filters of a collection for the first that is used, in every worker, and compiles what they
import each time; so a filter's file imports nothing but this.

What ansible-core hands to a filter are its own containers, which template each item when it is read, and text that
knows where it is from. Reading or copying that again and again takes seconds where plain values take milliseconds.
"""

from __future__ import annotations

import functools
import importlib
import typing as t

R = t.TypeVar("R")

PACKAGE = "ansible_collections.kopano.hardening.plugins.plugin_utils"


def plain(value: t.Any) -> t.Any:
    """A copy in dictionaries, lists and text of Python's own."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str.__str__(value) if isinstance(value, str) else value


def on_plain(function: t.Callable[..., R]) -> t.Callable[..., R]:
    """The function with plain values for arguments."""

    @functools.wraps(function)
    def wrapped(*arguments: t.Any) -> R:
        return function(*map(plain, arguments))

    return wrapped


def deferred(module: str, name: str, plainly: bool = False) -> t.Callable[..., t.Any]:
    """A function of a module, which is imported when the function is called. plainly: with plain values.

    The module is named by its path below plugin_utils, with dots.
    """

    def called(*arguments: t.Any) -> t.Any:
        function = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
        return function(*(map(plain, arguments) if plainly else arguments))

    return called
