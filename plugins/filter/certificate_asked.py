# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_asked
short_description: What is asked about the certificates of a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Takes those that were installed here, or else the ones of all virtual hosts with TLS, each with the names that it
    is there for.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  site:
    description: The site that the role frontend has planned since, if any.
    type: dict
    default: {}
  places:
    description: Where certificates were installed, of P(kopano.hardening.certificate_places#filter), or nothing.
    type: list
    elements: dict
    default: []
  names:
    description: What those are there for.
    type: list
    elements: str
    default: []
positional: site, places, names
"""

EXAMPLES = r"""
- name: See them
  ansible.builtin.debug:
    msg: "{{ info | kopano.hardening.certificate_asked }}"
"""

RETURN = r"""
_value:
  description: Elements of O(kopano.hardening.certificate_info#module:certificates).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_asked."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_asked": _plain.deferred("_roles.certificate", "asked", plainly=True)}
