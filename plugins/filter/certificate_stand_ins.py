# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_stand_ins
short_description: Files in place of a certificate that is not there yet
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes a certificate and a key that a rehearsal in check mode can have. They are never written to a host.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of P(kopano.hardening.certificate_places#filter).
    type: list
    elements: dict
    required: true
  missing:
    description: Those that are not there.
    type: list
    elements: str
    required: true
  names:
    description: The names for it.
    type: list
    elements: str
    required: true
positional: missing, names
"""

EXAMPLES = r"""
- name: Have some
  ansible.builtin.set_fact:
    files: "{{ places | kopano.hardening.certificate_stand_ins(missing, names) }}"
"""

RETURN = r"""
_value:
  description: Entries for the option O(kopano.hardening.web_config#module:files); none where nothing is missing.
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_stand_ins."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_stand_ins": _plain.deferred("_roles.certificate", "stand_ins")}
