# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module, and reports what it waits for where name servers take their time."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as Normal

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal


class ActionModule(Normal):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        name, seconds = self._task.args.get("name"), self._task.args.get("wait", "some")
        what = f"the name servers of {name} are to return the new CAA records, at most {seconds} s"
        with _terminal.waiting((task_vars or {}).get("inventory_hostname", ""), what):
            result: dict[str, t.Any] = super().run(tmp, task_vars)
            return result
