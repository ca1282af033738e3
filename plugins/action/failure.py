# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records what failed on a host, for the report, and returns whether it is to fail for good."""

from __future__ import annotations

import re
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import TLS
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import Failure, HostFact

Info = dict[str, t.Any]

# What a transaction has come to stands before the reason, see its TransactionError.
_OF_TRANSACTION = re.compile(r"(?P<outcome>\w+ failed, [^:]+): (?P<reason>.+)", re.DOTALL)
ARGUMENTS = {
    "part": {"type": "str", "choices": ["record", "judge"], "default": "record"},
    "step": {"type": "int", "default": TLS},
    "max_fail_percentage": {"type": "float", "default": 100},
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: Info | None = None) -> Info:
        result: Info = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(ARGUMENTS)
        act = self._record if options["part"] == "record" else self._judge
        return {**result, "changed": False, **act(options, variables)}

    def _record(self, options: Info, variables: Info) -> Info:
        """Keep the failure that a rescue gets from Ansible."""
        failed = plain(variables["ansible_failed_result"])
        task = variables["ansible_failed_task"]["name"]
        message = without_prefix(str(failed.get("msg") or "it failed"))
        found = _OF_TRANSACTION.match(message)
        # The reason first, as lines are cut off at their end.
        shown = f"{found['reason']} ({task}: {found['outcome']})" if found else f"{task}: {message}"
        failure: Failure = {
            "role": failed.get("role"),
            "step": failed.get("step", options["step"]),
            "message": _printable.result(shown),
        }
        kept: HostFact = {"failures": [*(_host_fact.read(variables).get("failures") or []), failure]}
        if not failed.get("reached", True):
            kept["unreachable"] = _printable.result(message.removeprefix(_query.UNREACHABLE))
        return _host_fact.update(variables, **kept)

    def _judge(self, options: Info, variables: Info) -> Info:
        """Whether the host is to fail for good, which is what Ansible counts: where there is a limit, and where all
        hosts of a batch have failed and there are more batches."""
        batch = variables["ansible_play_batch"]
        facts = {host: _host_fact.read(variables["hostvars"].raw_get(host)) for host in batch}
        is_whole_batch = len(batch) < len(variables["ansible_play_hosts_all"]) and all(
            fact.get("failures") for fact in facts.values()
        )
        mine = facts[variables["inventory_hostname"]].get("failures") or []
        return {
            "is_final": options["max_fail_percentage"] < 100 or is_whole_batch,
            "reason": "; ".join(failure["message"] for failure in mine),
        }


def without_prefix(message: str) -> str:
    """Ansible's message without what newer versions put in front of it."""
    return message.removeprefix("Task failed: ")
