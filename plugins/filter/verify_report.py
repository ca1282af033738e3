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
  wanted:
    description: The C(grade) to reach, whether to C(ignore_trust), and whether a change is C(pending) in a dry run.
    type: dict
    required: true
  must_reach:
    description: Whether the host fails below the grade.
    type: bool
    default: true
positional: asked, wanted, must_reach
"""

EXAMPLES = r"""
- name: See how a host is doing
  ansible.builtin.debug:
    msg: "{{ (grades.results | kopano.hardening.verify_report(asked, wanted)).lines }}"
  vars:
    wanted: {grade: A, ignore_trust: false, pending: false}
"""

RETURN = r"""
_value:
  description: C(lines) for people, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as verify_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_report": _plain.deferred("_verify", "report")}
