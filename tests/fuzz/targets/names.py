# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of hosts, as certificates and redirects have them."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._common.idna import to_ascii
from tests.fuzz import mutations
from tests.fuzz.frame import target

NAMES = (
    "good.test",
    "b\u00fcro.test.",
    "xn--bro-hoa.test",
    "\uff57\uff57\uff57\u3002\u03b1\u03c3.test",
    "a" * 63 + ".de",
)


@target("names.idna", seeds=NAMES, make=mutations.of_text, declared=ValueError)
def idna(case: str) -> None:
    """A name in A-labels is short, ASCII, and stays as it is."""
    found = to_ascii(case)
    assert found.isascii() and len(found) <= 253 and to_ascii(found) == found


@target("names.caa", seeds=(*NAMES, "*.good.test"), make=mutations.of_text, declared=ValueError)
def caa(case: str) -> None:
    """A name to look up is one that DNS can have."""
    name, _wildcard = _records.host_name(case)
    assert _records.host_name(name) == (name, False)
    assert all(0 < len(label) <= 63 for label in name.split(".")) and name.isascii() and name == name.lower()
