# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: verify_reports
short_description: What the grades of their endpoints say of hosts
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Finds the results of each host among those of M(kopano.hardening.tls_grade_info), and what is below its grade.
  - Meant for the collection's own roles. Shape and keys of the result may change.
options:
  _input:
    description: The results of M(kopano.hardening.tls_grade_info), of all hosts.
    type: list
    elements: dict
    required: true
  wishes:
    description:
      - Two dictionaries for each host. The first is what P(kopano.hardening.verify_asked#filter) said of it.
      - The second has the name of the C(host), the C(grade) to reach, whether to C(ignore_trust), whether a change is
        C(pending) in a dry run, and whether to C(fail) below the grade.
    type: list
    elements: list
    required: true
positional: wishes
"""

EXAMPLES = r"""
- name: See how a host is doing
  ansible.builtin.debug:
    msg: "{{ (grades.results | kopano.hardening.verify_reports([[asked, wanted]])).web1.lines }}"
  vars:
    wanted: {host: web1, grade: A, ignore_trust: false, pending: false, fail: true}
"""

RETURN = r"""
_value:
  description: By the names of hosts C(lines) for people, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils import _plain


class FilterModule:
    """Named in the collection as verify_reports."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify_reports": _plain.deferred("_verify", "reports")}
