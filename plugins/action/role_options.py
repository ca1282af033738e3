# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the options of all roles of a play on each host, before anything is done there."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostFact

ROLES = ("updates", "certificate", "frontend", "caa", "verify", "report")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        spec = {"roles": {"type": "list", "elements": "str", "choices": list(ROLES), "default": []}}
        _validation, options = self.validate_argument_spec(spec)
        roles = [*_query.chosen(variables, _query.roles_of_play(variables)), *options["roles"]]
        of_roles, message, where = _roles_options.checked(self, roles, variables)
        if message:
            return {**result, "failed": True, "changed": False, "msg": _printable.result(message), **where}
        # The fact means that they have been checked.
        parts: HostFact = {"play": variables["ansible_play_name"]}
        if "report" in roles:
            # For hosts that the play loses before its report.
            parts["report"] = _roles_report.kept(of_roles["report"])
        return {**result, "changed": False, **_host_fact.update(variables, **parts)}
