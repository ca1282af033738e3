# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the playbooks begin with a host: options that cannot work are refused, then it is asked.

Both in one task, since each costs some hundredths of a second for every host. The question is made of the options, so
it is not looked at before these have been.

Ansible's main process loads this file before it makes a process for the task, as it makes one for every task on every
host. What is loaded here is there in all of these. Otherwise each would find, compile and import it.
"""

from __future__ import annotations

import typing as t

from ansible.plugins.loader import filter_loader

from ansible_collections.kopano.hardening.plugins.action import host_info, role_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa  # noqa: F401
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate  # noqa: F401
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend  # noqa: F401
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates  # noqa: F401
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify  # noqa: F401

# All of the collection's filters come with any.
filter_loader.get("kopano.hardening.updates_plan")

ARGUMENTS = {
    "roles": role_options.ARGUMENTS["roles"],
    "question": {"type": "str", "required": True},
    "steps": {"type": "list", "elements": "str", "required": True},
}


class ActionModule(role_options.ActionModule):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        _validation, options = self.validate_argument_spec(ARGUMENTS)
        refusal = self.refusal(options["roles"], task_vars)
        if refusal:
            return {"changed": False, **refusal}
        question = self._templar.template(task_vars[options["question"]])
        wanted = {part: value for part, value in question.items() if value}
        result = host_info.asked(
            lambda: self._execute_module("kopano.hardening.host_info", module_args=wanted, task_vars=task_vars)
        )
        return {**result, **_without_frontend(result), "steps": options["steps"]}


def _without_frontend(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """All that comes after builds on what the web server said. What else the host has said is in the report."""
    frontend = result.get("frontend") or {}
    if not frontend.get("failed"):
        return {}
    return {"failed": True, "step": 2, "msg": f"the web server could not be checked: {frontend['msg']}"}
