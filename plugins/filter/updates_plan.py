# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: updates_plan
short_description: What is to be done about the updates of a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Chooses packages to install and services to restart.
  - Meant for the role P(kopano.hardening.updates#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.update_status_info).
    type: dict
    required: true
  options:
    description: The role's options, by their names without C(updates_).
    type: dict
    required: true
positional: options
"""

EXAMPLES = r"""
- name: See what would be installed
  ansible.builtin.debug:
    msg: "{{ (status | kopano.hardening.updates_plan(options)).install }}"
"""

RETURN = r"""
_value:
  description: C(install), C(services), C(web), C(left), C(reexec), C(reboot) and C(serves).
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as updates_plan."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"updates_plan": _plain.deferred("_roles.updates", "plan", plainly=True)}
