# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_asked
short_description: Which TLS endpoints of a host to grade
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Turns the answer of M(kopano.hardening.frontend_info) into endpoints for M(kopano.hardening.tls_grade_info), as they
    are reached from outside.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  address:
    description: Where the inventory has the host.
    type: str
    required: true
  more:
    description: Endpoints beside those, in the shape of the module's option; C(host) is O(address) by default.
    type: list
    elements: dict
    default: []
  virtual_hosts:
    description: Whether the virtual hosts are asked, and not only O(more).
    type: bool
    default: true
positional: address, more, virtual_hosts
"""

EXAMPLES = r"""
- name: See what would be graded
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.verify_asked(ansible_host) }}"
"""

RETURN = r"""
_value:
  description: C(endpoints) to ask, and C(inside), those on the loopback.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as verify_asked."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_asked": _plain.deferred("_roles.verify", "asked", plainly=True)}
