# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_served
short_description: Certificates that a host serves
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Takes the certificates of virtual hosts with TLS, each with the names that it is there for.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  site:
    description: The site that the role frontend has planned since.
    type: dict
    default: {}
positional: site
"""

EXAMPLES = r"""
- name: See them
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.certificate_served }}"
"""

RETURN = r"""
_value:
  description: For each C(path), C(key_path) and C(names).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as certificate_served."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_served": _plain.deferred("_certificate_role", "served_certificates")}
