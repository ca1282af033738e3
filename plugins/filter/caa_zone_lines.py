# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: caa_zone_lines
short_description: Zone-file lines that the findings about CAA records come to
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Takes the record sets that are not what they shall be from the answer of M(kopano.hardening.caa_info).
  - Meant for the role P(kopano.hardening.caa#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.caa_info).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what to publish
  ansible.builtin.debug:
    msg: "{{ answer | kopano.hardening.caa_zone_lines }}"
"""

RETURN = r"""
_value:
  description: Lines, ready to be pasted.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as caa_zone_lines."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"caa_zone_lines": _plain.deferred("_roles.caa", "zone_lines")}
