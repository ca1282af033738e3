# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_errors
short_description: Options of the role certificate that cannot work
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Says what the argument specification of the role cannot check.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The role's options by their names without C(certificate_).
    type: dict
    required: true
  goal:
    description: C(certificate) and C(key), the paths to install them at.
    type: dict
    required: true
positional: goal
"""

EXAMPLES = r"""
- name: Refuse options that cannot work
  ansible.builtin.fail:
    msg: "{{ options | kopano.hardening.certificate_errors(goal) | join('; ') }}"
"""

RETURN = r"""
_value:
  description: One sentence for each option that cannot work.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_errors."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_errors": _plain.deferred("_roles.certificate", "option_errors")}
