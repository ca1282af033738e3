# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: caa_errors
short_description: What is wrong with the options of the role caa
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Finds what an argument spec cannot say, such as options that do not go together.
  - Meant for the role P(kopano.hardening.caa#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The role's options, by their names without C(caa_).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse options that cannot work
  ansible.builtin.fail:
    msg: "{{ errors | join('; ') }}"
  when: errors | length > 0
  vars:
    errors: "{{ options | kopano.hardening.caa_errors }}"
"""

RETURN = r"""
_value:
  description: One sentence for each fault, naming the option and its value.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as caa_errors."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"caa_errors": _plain.deferred("_roles.caa", "option_errors")}
