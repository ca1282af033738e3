# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_endpoints
short_description: The endpoints of all hosts that are graded
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Puts together what is to be asked about several hosts, each endpoint once.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: As O(kopano.hardening.verify_reports#filter:wishes).
    type: list
    elements: list
    required: true
"""

EXAMPLES = r"""
- name: Grade the endpoints of two hosts
  kopano.hardening.tls_grade_info:
    endpoints: "{{ [[asked_of_web1, wanted], [asked_of_web2, wanted]] | kopano.hardening.verify_endpoints }}"
"""

RETURN = r"""
_value:
  description: The endpoints, as M(kopano.hardening.tls_grade_info) takes them.
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as verify_endpoints."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_endpoints": _plain.deferred("_verify", "endpoints", plainly=True)}
