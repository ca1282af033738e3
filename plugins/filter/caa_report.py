# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: caa_report
short_description: What CAA records say of one host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Takes out of the answer of M(kopano.hardening.caa_info) what is about the names of one host.
  - Meant for the role P(kopano.hardening.caa#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.caa_info).
    type: dict
    required: true
  wish:
    description: What P(kopano.hardening.caa_asked#filter) has made of the host.
    type: dict
    required: true
  publish:
    description: Whether the record sets were to be published.
    type: bool
    default: false
  published:
    description: The results of M(kopano.hardening.caa_publish).
    type: list
    elements: dict
    default: []
  must_permit:
    description: Whether the host fails for a name whose CA may not issue.
    type: bool
    default: false
positional: wish, publish, published, must_permit
"""

EXAMPLES = r"""
- name: See what is said of a host
  ansible.builtin.debug:
    msg: "{{ (answer | kopano.hardening.caa_report(wish)).lines }}"
"""

RETURN = r"""
_value:
  description: C(lines) for the terminal, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as caa_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"caa_report": _plain.deferred("_roles.caa", "report")}
