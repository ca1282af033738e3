# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says what was found out about a host, and fails it if that is not good enough."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        reports = _printable.result(plain(self._task.args.get("report")))
        lines: list[str] = []
        bad: list[str] = []
        failures: list[dict[str, t.Any]] = []
        for report in reports if isinstance(reports, list) else [reports]:
            if not isinstance(report, dict):
                raise AnsibleActionFail("report: it must be a dictionary, or a list of some")
            for key, found in (("lines", lines), ("bad", bad)):
                if not isinstance(report.get(key), list):
                    raise AnsibleActionFail(f"report.{key}: it must be a list")
                found += report[key]
            if report["bad"] and "step" in report:
                words = f"{self._task.get_name()}: {'; '.join(map(str, report['bad']))}"
                failures.append({"step": report["step"], "message": words})
        result.update(changed=False, msg=lines)
        if bad:
            result.update(failed=True, bad=bad, failures=failures)
        result["_ansible_verbose_always"] = True  # the lines are what this is for
        return result
