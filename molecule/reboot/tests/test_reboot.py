# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has to be after it lost its power in the middle of a run."""

from __future__ import annotations

import pytest
from bench import hosts
from reboots import Case, plan


@pytest.mark.parametrize(
    ("case", "confirming", "host"),
    [
        pytest.param(case, confirming, host, id=f"{case.name}{', to confirm' * confirming}-{host.name}")
        for (case, confirming), where in plan(hosts())
        for host in where
    ],
)
def test_reboot(seen, case: Case, confirming: bool, host):
    found = seen[host.name][case.name, confirming]
    assert not found.error, found.error
    assert found.journal == case.journal
    assert (found.enabled, found.left, found.failed_units) == ("", "", "")
    assert all(answer["error"] is None for answer in found.answers.values())
    if case.stays:
        assert found.changed, "the change is gone"
    else:
        assert found.answers == found.before
        # Where nothing live was touched, the boot leaves the rest to the next run.
        assert all("kopano-hardening" in path for path in found.changed)
        assert bool(found.changed) == (case.recovered is not None)
    if found.journal == ["undone"]:
        guard, server = found.order
        assert 0 < guard <= server, "the web server was started before the rollback"
        (warning,) = found.following["warnings"]
        assert "was rolled back at the boot of the host" in warning
    assert not found.following.get("failed"), found.following["msg"]
    assert (found.following["recovered"] or {}).get("action") == case.recovered
    assert found.after == []
