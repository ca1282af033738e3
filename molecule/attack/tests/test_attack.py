# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user's processes may come to: nothing."""

from __future__ import annotations

import pytest
from attack import OTHER, OWN_USER, PLAYS, START, UNIT, Observation
from bench import hosts

HOSTS = hosts()
ON_HOSTS = [pytest.param(host, id=host.name) for host in HOSTS]
EVERYWHERE = [
    pytest.param(state, host, id=f"{host.name}-{state}".replace(" ", "-"))
    for host in HOSTS
    for state in (*START, PLAYS)
]
STATES = [param for param in EVERYWHERE if param.values[0] != PLAYS]
UP = [param for param in STATES if param.values[0] != "stopped"]
METHODS = {False: "namespace", True: "instance"}  # by whether the host may not make namespaces


def look(seen, state, host) -> Observation:
    observation = seen[state, host.name]
    assert not observation.error, observation.error
    return observation


@pytest.mark.parametrize(("state", "host"), EVERYWHERE)
def test_root_runs_nothing_of_the_users(seen, state, host):
    evidence = look(seen, state, host).evidence
    assert evidence["goes on"].split() == ["nobody", "nobody"], "there was no attack"
    assert evidence["root's"] == ""
    assert evidence["ran as"].split() == ["65534"]
    assert evidence["traced"] == ""


@pytest.mark.parametrize(("state", "host"), EVERYWHERE)
def test_the_users_processes_get_no_signal(seen, state, host):
    assert look(seen, state, host).evidence["signalled"] == ""


@pytest.mark.parametrize(("state", "host"), STATES)
def test_only_the_real_server_counts_as_running(seen, state, host):
    observation = look(seen, state, host)
    expected = {host.server: state != "stopped", OTHER[host.server]: state == "both run"}
    assert observation.running == expected
    assert observation.as_user == expected


@pytest.mark.parametrize(("state", "host"), UP)
def test_runs_and_restores_go_on(seen, state, host):
    observation = look(seen, state, host)
    assert [result.get("msg") for result in observation.results] == [None] * 3
    done, probed, restored = observation.results
    assert done["changed"] and done["phase"] == "commit" and restored["changed"] and not probed["changed"]
    assert done["rehearsal"]["method"] == METHODS[host.unprivileged]
    assert any(probe["hsts"] for probe in done["probes"]), "the server that was changed is not the one that serves"
    assert probed["probes"]
    assert observation.changed == []


@pytest.mark.parametrize("host", ON_HOSTS)
def test_a_stopped_server_is_reported_as_stopped(seen, host):
    observation = look(seen, "stopped", host)
    named, left_open = observation.results
    for result in observation.results:
        assert result["failed"] and result["phase"] == "read"
    assert f"{UNIT[host.server]} is not running" in named["msg"]
    assert f"{UNIT[host.server]} is not running" in left_open["msg"], "of two that are stopped, one serves TLS"
    assert observation.changed == []


@pytest.mark.parametrize("host", ON_HOSTS)
def test_playbooks_choose_the_server_that_serves(seen, host):
    observation = look(seen, PLAYS, host)
    assert observation.play == ""
    policy = f"/etc/{UNIT[host.server]}/kopano-hardening"
    assert observation.policies == [policy, "", policy, ""]
    assert observation.changed == []


@pytest.mark.parametrize("host", [param for param in ON_HOSTS if param.id == "nginx13"])
def test_the_main_process_of_a_unit_with_a_user_of_its_own_counts(seen, host):
    observation = look(seen, OWN_USER, host)
    assert observation.running == {"nginx": True, "apache": False}
    assert [result.get("msg") for result in observation.results] == [None] * 2
    assert [result["changed"] for result in observation.results] == [True] * 2
