# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_lines
short_description: Findings about a certificate as lines
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes a line for people of each finding, the worst ones first.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: Findings of M(kopano.hardening.certificate_info).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: See them
  ansible.builtin.debug:
    msg: "{{ answer.findings | kopano.hardening.certificate_lines }}"
"""

RETURN = r"""
_value:
  description: One line for each finding.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_lines."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_lines": _plain.deferred("_roles.certificate", "finding_lines")}
