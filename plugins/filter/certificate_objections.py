# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_objections
short_description: Why an order of a certificate would fail
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reads the answers of the modules that look at what a CA will look at.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.caa_info), or an empty mapping.
    type: dict
    required: true
  reach:
    description: The answer of M(kopano.hardening.acme_reach_info), or an empty mapping.
    type: dict
    required: true
positional: reach
"""

EXAMPLES = r"""
- name: See why
  ansible.builtin.debug:
    msg: "{{ caa | kopano.hardening.certificate_objections(reach) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each objection.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_objections."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_objections": _plain.deferred("_roles.certificate", "objections")}
