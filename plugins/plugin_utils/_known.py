# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Modules whose answer may be known, because C(host_info) has asked the host the same."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as Normal

from ansible_collections.kopano.hardening.plugins.module_utils import _questions
from ansible_collections.kopano.hardening.plugins.plugin_utils._plain import plain


class Known(Normal):
    """The action of a module with the option C(known), which the module itself never gets."""

    ARGUMENTS: _questions.Arguments

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        known = plain(self._task.args.pop("known", None)) or {}
        if known.get("asked") and known["asked"] == self._asked():
            return dict(known["answer"])
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        return result

    def _asked(self) -> dict[str, t.Any] | None:
        """The options with their defaults, or None where they are no good, which the module says best."""
        try:
            _validation, options = self.validate_argument_spec(self.ARGUMENTS)
        except AnsibleActionFail:
            return None
        asked: dict[str, t.Any] = plain({name: options[name] for name in _questions.without_known(self.ARGUMENTS)})
        return asked
