# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what a host runs and what is wanted to a plan, and that onto the host as C(web_config) does it."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.action.web_config import ActionModule as WebConfig
from ansible_collections.kopano.hardening.plugins.plugin_utils import _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._plain import plain

ARGUMENTS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "info": {"type": "dict"},
    "options": {"type": "dict", "required": True},
    "profiles": {"type": "dict", "required": True},
    "data": {"type": "dict", "required": True},
    "stand_ins": {"type": "list", "elements": "dict", "default": []},
    "rehearse": {"type": "str", "default": "auto"},
}


class ActionModule(WebConfig):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(ARGUMENTS, required_if=[("state", "present", ["info"])])
        given = plain(options)
        how = {
            "rehearse": given["rehearse"],
            "confirm_timeout": given["options"]["confirm_timeout"],
            "keep": given["options"]["keep"],
        }
        if given["state"] == "absent":
            self._task.args = {"server": given["options"]["server"], "restore": "original", **how}
            return super().run(tmp, task_vars)
        plan = _frontend.plan(given["info"], given["options"], given["profiles"], given["data"])
        if plan["error"]:
            return {"failed": True, "changed": False, "msg": plan["error"], "plan": plan}
        if plan["skip"]:
            return {"skipped": True, "changed": False, "skip_reason": plan["skip"], "plan": plan}
        self._task.args = {
            "server": plan["server"],
            "files": plan["files"] + given["stand_ins"],
            **{name: plan[name] for name in ("enable", "disable", "adopt", "policy", "probes")},
            **how,
        }
        result: dict[str, t.Any] = super().run(tmp, {**(task_vars or {}), "__frontend_plan": plan})
        return {**result, "plan": plan}
