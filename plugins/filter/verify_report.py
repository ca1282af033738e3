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
  - Finds what is below the grade that is wanted of the host.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: The results of M(kopano.hardening.tls_grade_info).
    type: list
    elements: dict
    required: true
  asked:
    description: What P(kopano.hardening.verify_asked#filter) said of the host.
    type: dict
    required: true
  wanted:
    description:
      - The C(grade) to reach, whether to C(ignore_trust), whether a change is C(pending) in a dry run, and whether to
        C(fail) below the grade.
    type: dict
    required: true
positional: asked, wanted
"""

EXAMPLES = r"""
- name: See how a host is doing
  ansible.builtin.debug:
    msg: "{{ (grades.results | kopano.hardening.verify_report(asked, wanted)).lines }}"
  vars:
    wanted: {grade: A, ignore_trust: false, pending: false, fail: true}
"""

RETURN = r"""
_value:
  description: C(lines) for people, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as verify_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_report": _plain.deferred("_roles.verify", "report")}
