# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Endpoints and numbers in messages."""

from __future__ import annotations


def host_port(host: str, port: int | str) -> str:
    """A host with its port, as a URL has them: an IPv6 address is in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def counted(number: int, what: str) -> str:
    """So many, such as C(1 endpoint). what: one of them."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def of_all(number: int, total: int, what: str, verb: str = "") -> str:
    """So many of all, such as C(1 of 3 hosts passes). what: one of them; verb: of several, such as C(are)."""
    words = f"{number} of {counted(total, what)}"
    singular = {"are": "is", "have": "has", "pass": "passes"}.get(verb, f"{verb}s")
    return f"{words} {singular if 1 in (number, total) else verb}" if verb else words
