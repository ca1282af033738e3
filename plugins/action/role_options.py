# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses options of roles that cannot work, all of them in one task."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.validate_argument_spec import ActionModule as ValidateArgumentSpec

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import CAA, GRADE, TLS, UPDATES
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options

# The step of the checklist that a role is for. The report is for all of them.
STEPS = {"updates": UPDATES, "frontend": TLS, "certificate": GRADE, "verify": GRADE, "caa": CAA}

ARGUMENTS = {
    "roles": {
        "type": "list",
        "elements": "str",
        "choices": ["updates", "frontend", "certificate", "verify", "caa", "report"],
        "required": True,
    }
}


class ActionModule(ValidateArgumentSpec):
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        _validation, options = self.validate_argument_spec(ARGUMENTS)
        return {"changed": False, **self.refusal(options["roles"], task_vars or {})}

    def refusal(self, roles: t.Iterable[str], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """What the task fails with, or nothing."""
        errors = {role: self._errors(role, task_vars) for role in roles}
        found = {role: words for role, words in errors.items() if words}
        if not found:
            return {}
        first = next(iter(found))
        step = {"step": STEPS[first]} if first in STEPS else {}
        return {"failed": True, "msg": "; ".join(word for words in found.values() for word in words), **step}

    def _errors(self, role: str, task_vars: dict[str, t.Any]) -> list[str]:
        """What is wrong with a role's options, and what the role itself refuses, where the play has the role."""
        _options_of_role, errors = _roles_options.read(self, role, task_vars)
        name = f"__{role}_errors"
        if not errors and name in task_vars:
            errors = list(self._templar.template(task_vars[name]))
        return errors
