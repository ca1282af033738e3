# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: predicted_grades
short_description: What a rehearsal says of grades to come, for people
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Puts the C(rehearsal.grades) of M(kopano.hardening.web_config) into words, one line for each endpoint.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: The grades.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what the change would come to
  ansible.builtin.debug:
    msg: "{{ result.rehearsal.grades | kopano.hardening.predicted_grades }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as predicted_grades."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"predicted_grades": _plain.deferred("_roles.verify", "predicted")}
