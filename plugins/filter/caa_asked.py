# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: caa_asked
short_description: Which names of a host to check for CAA records
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Turns the answer of M(kopano.hardening.frontend_info) and the certificates of the host into names for
    M(kopano.hardening.caa_info).
  - Meant for the role P(kopano.hardening.caa#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  read:
    description: Results of M(kopano.hardening.certificate_info) about the certificates of the virtual hosts.
    type: list
    elements: dict
    required: true
  options:
    description: The role's options, by their names without C(caa_), and C(server_names).
    type: dict
    required: true
positional: read, options
"""

EXAMPLES = r"""
- name: See what would be checked
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.caa_asked([], options) }}"
"""

RETURN = r"""
_value:
  description: C(names), what to C(expect) of each, and the C(certificates) of their virtual hosts.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as caa_asked."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"caa_asked": _plain.deferred("_roles.caa", "asked", plainly=True)}
