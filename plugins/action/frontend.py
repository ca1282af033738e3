# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what a host runs and the role's options to a plan, and that onto the host as C(web_config) does it.

Where C(host_info) has just done the very same, and found nothing to change, its answer is taken.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible.errors import AnsibleActionFail

from ansible_collections.kopano.hardening.plugins.action.web_config import ActionModule as WebConfig
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import TLS
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data as _frontend_data
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_lines as _frontend_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options

FRESH = 300  # seconds for which what host_info has done counts: on other hosts of the play, others may take their time


class ActionModule(WebConfig):
    _done: dict[str, t.Any] | None = None

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        given = plain(self._task.args)
        if not isinstance(given.get("info"), dict):
            raise AnsibleActionFail("missing required arguments: info")
        options, errors = _roles_options.read(self, "frontend", variables)
        if errors:
            return {"failed": True, "changed": False, "step": TLS, "msg": "; ".join(errors)}
        result = self._apply(tmp, variables, given, options)
        if not result.get("failed") and (result.get("changed") or result.get("skipped")):
            result["lines"] = _frontend_lines.lines(result, self._task.check_mode)
        return result

    def _apply(
        self, tmp: str | None, variables: dict[str, t.Any], given: dict[str, t.Any], options: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        how = {name: options[name] for name in ("rehearse", "confirm_timeout", "keep")}
        if options["state"] == "absent":
            self._task.args = {"server": options["server"], "restore": "original", **how}
            return super().run(tmp, variables)
        # What the role certificate returns is the one thing of another role.
        certificates = plain(self._templar.template(variables.get("certificate_result", {})))
        options.update(check_mode=self._task.check_mode, certificate_result=certificates)
        plan = _frontend.plan(given["info"], options, _frontend_data.profiles(), _frontend_data.components())
        if plan["error"]:
            return {"failed": True, "changed": False, "msg": plan["error"], "plan": plan}
        if plan["skip"]:
            return {"skipped": True, "changed": False, "skip_reason": plan["skip"], "plan": plan}
        self._task.args = {
            "server": plan["server"],
            "files": plan["files"] + self._placeholders(certificates),
            **{name: plan[name] for name in ("enable", "disable", "adopt", "policy", "probes")},
            **how,
        }
        self._done = given.get("done") or None
        return {**super().run(tmp, {**variables, "__frontend_plan": plan}), "plan": plan}

    def _placeholders(self, certificates: dict[str, t.Any]) -> list[dict[str, t.Any]]:
        """What a rehearsal in a dry run has in place of certificates that the role certificate would bring."""
        if not (self._task.check_mode and certificates):
            return []
        return _roles_certificate.stand_ins(
            certificates["certificates"], certificates["missing"], certificates["names"]
        )

    def _transaction(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        if self._done and time.monotonic() - self._done["asked"] < FRESH:
            params = _transaction_options.understood(plain(arguments))
            if params is not None and _transaction_options.digest(params) == self._done["digest"]:
                # JSON has escaped whatever the module would have made printable.
                answer: dict[str, t.Any] = _printable.result(json.loads(self._done["answer"]))
                return answer
        return super()._transaction(arguments, task_vars)
