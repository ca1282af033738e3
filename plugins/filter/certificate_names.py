# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_names
short_description: Names that a host serves with TLS
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Takes the names of virtual hosts with TLS that somebody could ask for.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See them
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.certificate_names }}"
"""

RETURN = r"""
_value:
  description: The names, each once.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_names."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_names": _plain.deferred("_roles.certificate", "served_names")}
