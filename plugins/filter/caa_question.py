# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: caa_question
short_description: One question for the names of all hosts
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Brings together what P(kopano.hardening.caa_asked#filter) has made of each host.
  - Meant for the role P(kopano.hardening.caa#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: What P(kopano.hardening.caa_asked#filter) has made.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: See what would be asked for all hosts
  ansible.builtin.debug:
    msg: "{{ wishes | kopano.hardening.caa_question }}"
"""

RETURN = r"""
_value:
  description: Options for M(kopano.hardening.caa_info), and C(errors), where two hosts expect different things.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as caa_question."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"caa_question": _plain.deferred("_roles.caa", "question")}
