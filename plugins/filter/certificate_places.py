# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_places
short_description: Where certificates for keys of different kinds go
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Names the paths for each kind of key, all but the first beside the goal.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: C(certificate) and C(key), the paths that a site names.
    type: dict
    required: true
  kinds:
    description: The kinds of keys.
    type: list
    elements: str
    required: true
positional: kinds
"""

EXAMPLES = r"""
- name: See them
  ansible.builtin.debug:
    msg: "{{ goal | kopano.hardening.certificate_places(['ecdsa', 'rsa']) }}"
"""

RETURN = r"""
_value:
  description: For each C(path), C(key_path) and C(key_type).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_places."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_places": _plain.deferred("_roles.certificate", "places")}
