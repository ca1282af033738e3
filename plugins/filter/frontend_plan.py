# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: frontend_plan
short_description: What the role frontend shall do on a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Turns the answer of M(kopano.hardening.frontend_info) and the options of the role P(kopano.hardening.frontend#role)
    into what its templates and its one call of M(kopano.hardening.web_config) need.
  - Meant for the role itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  options:
    description: The role's options, by their names without C(frontend_).
    type: dict
    required: true
  profiles:
    description: The TLS profiles.
    type: dict
    required: true
  data:
    description: The role's data on the web frontends of Kopano.
    type: dict
    required: true
positional: options, profiles, data
"""

EXAMPLES = r"""
- name: See what the role would do
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.frontend_plan(options, profiles, data) }}"
"""

RETURN = r"""
_value:
  description: The plan. RV(_value.error) is empty unless the host cannot get what the options ask for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as frontend_plan."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"frontend_plan": _plain.deferred("_frontend", "plan", plainly=True)}
