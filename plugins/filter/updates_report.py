# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: updates_report
short_description: What is to be said of the updates of a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes lines for people from the state of a host's updates and from what was done about them.
  - Meant for the role P(kopano.hardening.updates#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.update_status_info).
    type: dict
    required: true
  done:
    description: What the role has done.
    type: dict
    required: true
  all_must_be_well:
    description: Whether the host also fails for what was found out and is not as it should be.
    type: bool
    default: false
positional: done, all_must_be_well
"""

EXAMPLES = r"""
- name: See what is said of a host
  ansible.builtin.debug:
    msg: "{{ (status | kopano.hardening.updates_report(done)).lines }}"
"""

RETURN = r"""
_value:
  description: C(lines) for the terminal, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as updates_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"updates_report": _plain.deferred("_roles.updates", "report", plainly=True)}
