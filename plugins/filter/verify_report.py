# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_report
short_description: What the grades of its endpoints say of a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Finds the results of one host among those of M(kopano.hardening.tls_grade_info), and what is below a grade.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: The results of M(kopano.hardening.tls_grade_info), of this host and others.
    type: list
    elements: dict
    required: true
  asked:
    description: What P(kopano.hardening.verify_asked#filter) said of the host.
    type: dict
    required: true
  minimum:
    description: The grade to reach.
    type: str
    required: true
  trust_ignored:
    description: Whether the grade counts that a trusted certificate would get.
    type: bool
    required: true
  pending:
    description: Whether this is a dry run that would change the host.
    type: bool
    default: false
positional: asked, minimum, trust_ignored, pending
"""

EXAMPLES = r"""
- name: See how a host is doing
  ansible.builtin.debug:
    msg: "{{ (grades.results | kopano.hardening.verify_report(asked, 'A', false)).lines }}"
"""

RETURN = r"""
_value:
  description:
    - C(lines) for people, how many endpoints C(missed) the grade, C(fixes) for them, and all of it as it is C(said).
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as verify_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_report": _plain.deferred("_verify", "report")}
