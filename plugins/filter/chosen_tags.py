# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: chosen_tags
short_description: Which of some tags a run has chosen
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Leaves those of the tags with which a task would run that has no other one, by Ansible's own rules for C(--tags) and
    C(--skip-tags).
options:
  _input:
    description: The tags.
    type: list
    elements: str
    required: true
  run_tags:
    description: The variable C(ansible_run_tags).
    type: list
    elements: str
    required: true
  skip_tags:
    description: The variable C(ansible_skip_tags).
    type: list
    elements: str
    required: true
positional: run_tags, skip_tags
"""

EXAMPLES = r"""
- name: Show which of two steps this run is about
  ansible.builtin.debug:
    msg: "{{ ['updates', 'caa'] | kopano.hardening.chosen_tags(ansible_run_tags, ansible_skip_tags) }}"
"""

RETURN = r"""
_value:
  description: The tags that are chosen, in their order.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as chosen_tags."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"chosen_tags": _plain.deferred("_ansible.options", "chosen_tags")}
