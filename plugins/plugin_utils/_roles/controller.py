# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Modules that query the network for many hosts at once, run in the controller's own process.

A process for the module costs some tenths of a second: its code is packed, and an interpreter started that unpacks and
compiles it. Where it would be an interpreter like ours, on this machine and as this user, ours does the same.
"""

from __future__ import annotations

import json
import sys
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as Normal

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain


class OnController(Normal):
    """The action of a module that has its options as C(ARGUMENTS), and C(run), which raises ValueError for bad ones."""

    MODULE: t.Any

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        if not self._is_here(task_vars):
            result: dict[str, t.Any] = super().run(tmp, task_vars)
            return result
        try:
            _validation, options = self.validate_argument_spec(self.MODULE.ARGUMENTS)
            result = self.MODULE.run(plain(options))
        except (AnsibleActionFail, ValueError) as error:
            return {"failed": True, "changed": False, "msg": _printable.result(str(error))}
        # What a module returns is as JSON has it, and printable.
        return {"changed": False, **_printable.result(json.loads(json.dumps(result)))}

    def _is_here(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether the module would run with this interpreter, on this machine, as this user, and now."""
        host = self._task.delegate_to
        variables = task_vars["ansible_delegated_vars"][host] if host else task_vars
        return (
            self._connection.transport == "local"
            and self._connection.become is None
            and not self._task.async_val
            and not any(self._task.environment or [])
            and self._templar.template(variables.get("ansible_python_interpreter")) == sys.executable
        )
