# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks the host. One that cannot be reached has failed, which a play can rescue, where Ansible would drop the host."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action.normal import ActionModule as Normal


class ActionModule(Normal):
    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        return asked(lambda: super(ActionModule, self).run(tmp, task_vars))


def asked(run: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """The answer of the module, which is run on the host."""
    try:
        result = run()
    except AnsibleConnectionFailure as error:
        return {"failed": True, "changed": False, "reached": False, "msg": str(error)}
    done = result.get("web_config")
    if done and done.get("failed"):
        # Then it is done as if it had not been tried, and fails again where that is seen.
        words = f"host_info: web_config could not be repeated: {done['msg']}"
        result.update(web_config=None, warnings=[*result.get("warnings", []), words])
    elif done:
        done["asked"] = time.monotonic()
    return {**result, "reached": True}
