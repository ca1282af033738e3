# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: updates_compare
short_description: Where a web server answers worse than before
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Compares what M(kopano.hardening.web_config) has asked the live server before and after something else changed it.
  - Meant for the role P(kopano.hardening.updates#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The RV(kopano.hardening.web_config#module:probes) of before.
    type: list
    elements: dict
    required: true
  after:
    description: Those of after it.
    type: list
    elements: dict
    required: true
positional: after
"""

EXAMPLES = r"""
- name: See what got worse
  ansible.builtin.debug:
    msg: "{{ first.probes | kopano.hardening.updates_compare(second.probes) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each answer that is worse.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as updates_compare."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"updates_compare": _plain.deferred("_roles.updates", "compare", plainly=True)}
