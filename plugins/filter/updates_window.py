# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: updates_window
short_description: Whether it is time to reboot
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Says whether a time of day is in a window, which may span midnight.
  - Meant for the role P(kopano.hardening.updates#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The window, such as V(22:00-04:00). An empty one is always open.
    type: str
    required: true
  clock:
    description: The time, such as V(23:15).
    type: str
    required: true
positional: clock
"""

EXAMPLES = r"""
- name: See whether it is time
  ansible.builtin.debug:
    msg: "{{ '22:00-04:00' | kopano.hardening.updates_window('23:15') }}"
"""

RETURN = r"""
_value:
  description: Whether it is.
  type: bool
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as updates_window."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"updates_window": _plain.deferred("_roles.updates", "window_open", plainly=True)}
