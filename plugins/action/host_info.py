# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Queries the host. One that cannot be reached has failed, which a play can rescue; Ansible would drop the host."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as Normal

from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query


class ActionModule(Normal):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        return _query.reached(lambda: super(ActionModule, self).run(tmp, task_vars))
