# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller reports of a confirmation that does not reach its host, or comes too late.

Real confirmations are in the Molecule scenarios `verify` and `failure`.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.kopano.hardening.plugins.action import web_config

ID = "000001-20260101T000000Z-abcdef"
DONE = {"changed": True, "phase": "commit"}
LATE = {
    "failed": True,
    "phase": "commit",
    "rolled_back": True,
    "msg": "commit failed, everything is back as it was: confirm: the host has already rolled it back",
}
CRASHED = {"failed": True, "msg": "", "module_stderr": "/bin/sh: python3: not found\n"}
LOST = AnsibleConnectionFailure("Connection timed out")


@pytest.fixture
def confirm(monkeypatch):
    """A function that confirms on a host whose connection gives these results, one for each attempt."""
    monkeypatch.setattr(web_config, "_objections", lambda *_given: [])
    monkeypatch.setattr(web_config.time, "sleep", lambda seconds: None)

    def confirmed(*results: t.Any) -> tuple[dict[str, t.Any], int]:
        action = web_config.ActionModule.__new__(web_config.ActionModule)
        left = list(results)

        def execute(name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
            assert (name, module_args) == ("kopano.hardening.web_config", {"confirm": ID})
            result = left.pop(0)
            if isinstance(result, Exception):
                raise result
            return dict(result)

        action._execute_module = execute
        action._templar = type("Templar", (), {"template": staticmethod(lambda text: text)})
        found = action._confirm({"transaction": ID, "probes": []}, 120, {"inventory_hostname": "192.0.2.1"})
        return found, len(results) - len(left)

    return confirmed


@pytest.mark.parametrize("results", [[DONE], [LOST, DONE], [CRASHED, DONE], [CRASHED, dict(DONE, changed=False)]])
def test_a_confirmation_is_sent_again_if_its_result_does_not_arrive(confirm, results):
    assert confirm(*results) == ({"phase": "commit"}, len(results))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (LOST, "the connection to the host was lost: Connection timed out"),
        (CRASHED, "/bin/sh: python3: not found"),
        ({"failed": True}, "the host gave no reason"),
        ({"unreachable": True}, "the host gave no reason"),
    ],
)
def test_a_confirmation_that_does_not_arrive_reports_what_becomes_of_the_host(confirm, result, reason):
    found, attempts = confirm(result, result)
    assert found["failed"] and attempts == 2
    assert found["msg"] == (
        "the change could not be confirmed, the host rolls it back 120 s after it was made unless the confirmation of "
        f"{ID} has reached it: {reason}"
    )


def test_a_host_that_has_already_rolled_back_is_not_queried_again(confirm):
    found, attempts = confirm(LATE)
    assert attempts == 1
    assert found == {"failed": True, "msg": f"the change was not confirmed: {LATE['msg']}"}
