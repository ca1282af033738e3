# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses variables of a play's keywords that are set where these do not see them."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable

Info = dict[str, t.Any]

ARGUMENTS = {"names": {"type": "list", "elements": "str", "required": True}}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Info | None = None) -> Info:
        result: Info = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(ARGUMENTS)
        seen = {*load_extra_vars(self._loader), *self._of_play()}
        wrong: dict[str, list[str]] = {}
        for host in self._hosts(variables):
            given = variables["hostvars"].raw_get(host)
            for name in options["names"]:
                if name in given and name not in seen:
                    wrong.setdefault(name, []).append(host)
        if wrong:
            message = "; ".join(refused(name, hosts) for name, hosts in wrong.items())
            return {**result, "failed": True, "changed": False, "msg": _printable.result(message)}
        return {**result, "changed": False}

    @staticmethod
    def _hosts(variables: Info) -> list[str]:
        """Whose variables are looked at: those of all hosts by the first one, once in a play. Strategies without
        run_once have every host do it, and the others look at their own."""
        mine, everybody = variables["inventory_hostname"], variables["ansible_play_hosts_all"]
        return list(everybody) if mine == everybody[0] else [mine]

    def _of_play(self) -> set[str]:
        """The variables of the play itself, as those of import_playbook are."""
        block = self._task
        while getattr(block, "_parent", None) is not None:
            block = block._parent
        play = getattr(block, "_play", None)
        return set(play.get_vars()) if play else set()


def refused(name: str, hosts: t.Sequence[str]) -> str:
    """The message for a variable that some hosts have."""
    more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
    return (
        f"{name} ({hosts[0]}{more}) is set in the inventory, where this play does not see it: set it with "
        f"-e {name}=... or as a variable of import_playbook, and remove it from the inventory"
    )
