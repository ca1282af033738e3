# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what a host runs and what is wanted to a plan, and that onto the host as C(web_config) does it.

Where C(host_info) has just done the very same, and found nothing to change, its answer is taken.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.kopano.hardening.plugins.action.web_config import ActionModule as WebConfig
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend

DEFAULTS: dict[str, t.Any] = {"state": "present", "stand_ins": [], "rehearse": "auto", "done": None}
NEEDED = ("info", "options", "profiles", "data")
FRESH = 300  # seconds for which what host_info has done counts: on other hosts of the play, others may take their time


class ActionModule(WebConfig):
    _done: dict[str, t.Any] | None = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        # Ansible's check of arguments would copy all of them several times.
        given = {**DEFAULTS, **plain(self._task.args)}
        missing = [name for name in NEEDED if not isinstance(given.get(name), dict)]
        if missing:
            raise AnsibleActionFail(f"missing required arguments: {', '.join(missing)}")
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
        self._done = given["done"] or None
        result: dict[str, t.Any] = super().run(tmp, {**(task_vars or {}), "__frontend_plan": plan})
        return {**result, "plan": plan, "strength": _frontend.strength_lines(result)}

    def _transaction(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        if self._done and time.monotonic() - self._done["asked"] < FRESH:
            params = _transaction_options.understood(plain(arguments))
            if params is not None and _transaction_options.digest(params) == self._done["digest"]:
                # JSON has escaped whatever the module would have made printable.
                answer: dict[str, t.Any] = _printable.result(json.loads(self._done["answer"]))
                return answer
        return super()._transaction(arguments, task_vars)
