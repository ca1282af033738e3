# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to come of every fault, on each host that it is met on: spread.py says which."""

from __future__ import annotations

import os
import re

import pytest
from bench import PATIENCE, hosts
from experiments import CASES, TRACE, WORKS, Observation, plan
from faults import FAULTS, KILLS, MET, PAGE, Fault, Kill, Met, expected, of, policy, site_path
from states import CONFIRMATIONS, SITUATIONS, Confirmation, Situation

HOSTS = hosts()
PLAN = plan(HOSTS)
UNWATCHED_SECONDS = 5  # a machine that is busy with other hosts lets the client wait; what is lost is in `lost`
ALL_CASES = pytest.mark.skipif("FAULT_CASES" in os.environ, reason="only the cases of FAULT_CASES are met")
OPEN = {"staged", "swapping", "confirming", "proven"}  # states of a transaction that the next run has to do with


def on_hosts(name):
    """Parametrizes a test with the hosts that make this experiment."""
    return [pytest.param(host, id=host.name) for host in PLAN[name]]


def cases(table, prefix=""):
    """Parametrizes a test with the cases of a table, each with its hosts."""
    return [
        pytest.param(case, host, id=f"{case.name}-{host.name}")
        for case in table
        for host in PLAN.get(prefix + case.name, ())
    ]


def look(seen, name, host) -> Observation:
    observation = seen[0][name, host.name]
    assert not observation.error, observation.error
    return observation


def assert_served(observation: Observation) -> None:
    """The client got every response."""
    # A client that sends no requests cannot lose any. On a busy machine it sends fewer, but one is always under way.
    assert observation.requests and observation.unwatched < UNWATCHED_SECONDS
    assert observation.lost == []


def assert_same_answers(seen, observation, host) -> None:
    """The server responds as before all experiments; only what differs is shown."""
    before, now = seen[1][host.name]["before"], observation.answers
    assert now.keys() == before.keys()
    pairs = [(question, key, before[question][key], now[question][key]) for question in now for key in now[question]]
    assert [pair for pair in pairs if pair[2] != pair[3]] == []


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "host"), cases(FAULTS))
def test_fault(seen, fault: Fault, host):
    observation = look(seen, fault.name, host)
    first, second = observation.results
    assert first["failed"] and second["failed"], "a run with a fault was green"
    assert not first["changed"]
    assert (first["phase"], first["rolled_back"]) == (fault.phase, fault.rolled_back), first["msg"]
    assert re.search(of(host, fault.message), first["msg"])
    place = expected(host, fault)
    assert {key: first["failure"][key] for key in place} == place
    assert all(str(value) in first["msg"] for value in place.values())
    # What differs from run to run: the journal's numbers, process numbers.
    assert without_numbers(second["msg"]) == without_numbers(first["msg"])
    assert second["failure"]["phase"] == fault.phase
    assert observation.changed == [[], []]
    method = (first["rehearsal"] or {}).get("method")
    if fault.phase in ("rehearse", "probe") and not fault.strace:
        assert method == "namespace" if not host.unprivileged else method in ("instance", "syntax")
    assert_same_answers(seen, observation, host)
    if host.server not in fault.stops:
        assert_served(observation)


def without_numbers(text: str) -> str:
    return re.sub(r"\d{6}-\d{8}T\d{6}Z-[0-9a-f]{6}|\bpid \d+|\[pid \d+\]|\d\d:\d\d:\d\d(\.\d+)?", "", text)


@ALL_CASES
def test_a_stopped_apache_is_down_for_a_moment_only(seen):
    """Without a rehearsal Apache ends at a bad reload; it is started again within seconds, and that is reported."""
    met = [(fault, host) for fault in FAULTS for host in PLAN[fault.name]]
    stopped = [(fault, host) for fault, host in met if fault.rolled_back and host.server in fault.stops]
    assert stopped
    for fault, host in stopped:
        observation = look(seen, fault.name, host)
        times = [when for when, _ in observation.lost]
        assert not times or max(times) - min(times) < observation.ended - observation.started < 60


# --- states of the host, and what others do to it --------------------------------------------------------------------


def said(results) -> str:
    return "\n".join(line for result in results for line in (result.get("msg") or "", *result.get("warnings", ())))


@pytest.mark.parametrize(("case", "host"), cases(SITUATIONS))
def test_situation(seen, case: Situation, host):
    observation = look(seen, case.name, host)
    results = observation.results
    first, second = results[:2]
    assert tuple(result["phase"] for result in results[:2]) == case.ends(host), said(results)
    assert [bool(result.get("failed")) for result in results[:2]] == [end != "commit" for end in case.ends(host)]
    assert first["rolled_back"] == case.is_rolled_back(host)
    assert re.search(of(host, case.message), said(results))
    if case.ends(host)[0] == case.ends(host)[1]:
        assert without_numbers(second["msg"] if second.get("failed") else "") == without_numbers(first.get("msg", ""))
        assert second["changed"] == case.repeated
    site = [site_path(host)] if case.stays else []
    # A server that has died has left none.
    ended = [host.layout.pid_file] if host.server in case.stops else []
    changed = [[path for path in paths if path not in ended] for paths in observation.changed]
    if case.ends(host)[0] != "commit":
        assert changed[0] == site
    if case.ends(host)[1] == "commit":
        assert changed[1] and results[2]["changed"] and not results[2].get("failed"), said(results)
    assert changed[-1] == site
    assert not case.edited or observation.more["text"], "the administrator's text is lost"
    assert not case.seconds or first["ended"] - first["started"] < case.seconds
    assert_same_answers(seen, observation, host)
    if host.server not in case.stops:
        observation.lost = [entry for entry in observation.lost if first["started"] <= entry[0] <= results[-1]["ended"]]
        assert_served(observation)


@pytest.mark.parametrize(("case", "host"), cases(CONFIRMATIONS))
def test_confirmation(seen, case: Confirmation, host):
    observation = look(seen, case.name, host)
    waiting, *confirming, last = observation.results
    assert waiting["changed"] and not waiting.get("failed")
    if case.kept:
        assert [result["changed"] for result in confirming] == [True], said(confirming)
        assert observation.journal[-1][-1] == "committed" and last["changed"], said([last])
    else:
        for late in confirming:
            assert late["failed"] and "was not confirmed in time, the host has already rolled it back" in late["msg"]
        assert case.seconds <= observation.more["seconds"] < case.seconds + PATIENCE
        assert observation.journal[-1][-1] == "undone" and not last.get("failed") and not last["changed"]
        assert f"transaction {waiting['transaction']} was rolled back by its timer" in said([last])
    assert bool(observation.changed[1]) == case.kept
    assert observation.changed[0] and observation.changed[-1] == []
    assert_same_answers(seen, observation, host)
    assert_served(observation)


# --- through Ansible -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "host"), cases(MET))
def test_met_through_ansible(seen, case: Met, host):
    observation = look(seen, case.name, host)
    first, second = observation.results
    assert first["failed"] and second["failed"], "a run with a fault was green"
    assert re.search(case.message, first["msg"])
    if case.option:
        # Of a failure, a role returns no more than what it says.
        policy_line = rf"{host.layout.policy_dir}/\S+:\d+"
        assert re.match(rf"{case.phase} failed, nothing was changed: {policy_line}: ", first["msg"]), first["msg"]
        assert f"set by the option {case.option}" in first["msg"]
        assert not first.keys() & {"phase", "rolled_back", "failure", "plan"}
    else:
        assert (first["phase"], first["rolled_back"]) == (case.phase, False), first["msg"]
    assert second["msg"] == first["msg"]
    assert observation.changed == [[]]
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("confirmed"))
def test_confirmed(seen, host):
    observation = look(seen, "confirmed", host)
    hardened, back, left = observation.results
    assert hardened["changed"] and hardened["phase"] == "commit" and not hardened.get("failed")
    assert left["timers"] == []
    assert back["changed"] and back["recovered"] is None, "the change was not kept until it was rolled back"
    assert observation.changed == [[]]
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("killed: through Ansible"))
def test_killed_through_ansible(seen, host):
    observation = look(seen, "killed: through Ansible", host)
    killed, after, back = observation.results
    assert killed["failed"] and (killed["phase"], killed["rolled_back"]) == ("probe", True)
    assert "everything is back as it was: the process of the run was killed in the step probe" in killed["msg"]
    assert after["recovered"] is None, "the killed run left something"
    assert after["changed"] and after["phase"] == "commit" and back["changed"]
    assert observation.changed == [[]]
    assert_served(observation)


# --- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "host"), cases(KILLS, "killed: "))
def test_killed(seen, case: Kill, host):
    observation = look(seen, f"killed: {case.name}", host)
    killed = observation.results[: 2 if case.again else 1]
    assert [result["status"] for result in killed] == [-9] * len(killed), "it was not killed"
    if case.phase:
        assert f"phase {case.phase}\n" in killed[0]["lock"]
    for states in observation.journal[: len(killed)]:
        assert OPEN.intersection(states) == ({case.state} if case.state else set()), "it was killed elsewhere"
    after = observation.results[len(killed)]
    assert not after.get("failed"), after["msg"]
    assert after["changed"] == (case.recovered is not None)
    assert (after["recovered"] or {}).get("action") == case.recovered
    if case.recovered:
        assert set(after["recovered"]["files"]) <= set(observation.changed[len(killed) - 1])
    assert observation.changed[-1] == []
    assert observation.more["strays"] == []
    assert_same_answers(seen, observation, host)
    assert_served(observation)


def test_kills_hit_every_state_of_the_journal():
    """Were all kills too early or too late, the recoveries above would prove little."""
    assert {case.state for case in KILLS} >= {None, "staged", "swapping", "proven"}


@pytest.mark.parametrize("host", on_hosts("killed: swap, half done"))
def test_half_a_swap_is_a_part_of_the_change(seen, host):
    halves, whole = look(seen, "killed: swap, half done", host), look(seen, WORKS, host)
    assert 0 < len(halves.results[1]["recovered"]["files"]) < len(whole.results[0]["diff"])


@ALL_CASES
def test_the_spread_loses_no_case_and_no_host():
    for case in CASES:
        kinds = {case.kind(host) for host in HOSTS if case.applies_to(host)}
        assert {case.kind(host) for host in PLAN[case.name]} == kinds, case.name
    met = [host.name for case in CASES if not case.everywhere for host in PLAN[case.name]]
    assert set(met) == {host.name for host in HOSTS}


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", on_hosts(WORKS))
def test_change_that_works(seen, host):
    observation = look(seen, WORKS, host)
    first, _again, _back, back_again = observation.results
    assert [result.get("failed", False) for result in observation.results] == [False, False, False, True]
    assert [result["changed"] for result in observation.results] == [True, False, True, False]
    assert first["phase"] == "commit" and first["rehearsal"]["ok"]
    assert first["rehearsal"]["method"] == ("instance" if host.unprivileged else "namespace")
    assert any(probe["hsts"] == ["max-age=31536000"] for probe in first["probes"])
    assert observation.changed[0] and observation.changed[0] == observation.changed[1]
    assert observation.changed[2] == observation.changed[3] == []
    assert "no committed transaction" in back_again["msg"]
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("restore by id"))
def test_restore_by_id(seen, host):
    observation = look(seen, "restore by id", host)
    first, second, _third, to_first, to_none, unknown = observation.results
    assert all(result["changed"] for result in observation.results[:5])
    assert observation.more[second["transaction"]] == policy(host, {})
    assert observation.more[first["transaction"]] == ""
    assert to_first["changed"] and to_none["changed"]
    assert unknown["failed"] and "no transaction 'no-such-id' is kept" in unknown["msg"]
    assert observation.changed[-3] and observation.changed[-2:] == [[], []]
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("second run at the same time"))
def test_second_run_at_the_same_time(seen, host):
    observation = look(seen, "second run at the same time", host)
    for result in observation.results:
        assert result["failed"] and result["phase"] == "lock"
        assert re.search(r"another transaction is under way on this host \(pid \d+, .*phase rehearse\)", result["msg"])
    assert observation.changed == [[], []]
    first, back = observation.more["first"], observation.more["back"]
    assert (first["changed"], first["phase"]) == (True, "commit") and back["changed"]
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("connection is lost"))
def test_lost_connection(seen, host):
    observation = look(seen, "connection is lost", host)
    assert observation.journal[0][-1] in ("committed", "undone")
    assert not any(result.get("failed") for result in observation.results)
    assert observation.results[0]["recovered"] is None, "the run did not come to its own end"
    assert observation.changed[-1] == []
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("stopped, and to be confirmed"))
def test_the_guard_acts_for_a_run_that_was_stopped(seen, host):
    observation = look(seen, "stopped, and to be confirmed", host)
    (after,) = observation.results
    assert observation.more["killed"]["status"] == -9, "the guard waits for it"
    assert observation.journal[0][-1] == "undone" and observation.changed[-1] == []
    assert any("was rolled back by its timer" in warning for warning in after["warnings"])
    assert not after.get("failed") and after["recovered"] is None
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts("not confirmed"))
def test_not_confirmed(seen, host):
    observation = look(seen, "not confirmed", host)
    waiting, meanwhile, too_late = observation.results
    assert waiting["changed"] and waiting["phase"] == "commit"
    assert (
        meanwhile["failed"] and f"transaction {waiting['transaction']} waits for its confirmation" in meanwhile["msg"]
    )
    assert too_late["failed"] and "was not confirmed in time, the host has already rolled it back" in too_late["msg"]
    assert too_late["rolled_back"] and waiting["transaction"] in too_late["msg"]
    assert [states[-1] for states in observation.journal] == ["confirming", "confirming", "undone"]
    assert observation.changed[0] and observation.changed[-1] == []
    shown = observation.more["meanwhile"][f"{host.lab_name}:443{PAGE}"]
    assert shown["status"] == 200
    assert observation.more["meanwhile"] != seen[1][host.name]["before"]
    assert_same_answers(seen, observation, host)
    assert_served(observation)


@pytest.mark.parametrize("host", on_hosts(TRACE))
def test_check_mode_leaves_no_trace(seen, host):
    observation = look(seen, TRACE, host)
    (result,) = observation.results
    assert result["changed"] and result["diff"] and result["rehearsal"]["method"] == "namespace"
    assert any(endpoint["ok"] for endpoint in result["rehearsal"]["endpoints"])
    left = observation.more
    assert all(count > 0 for count in left["counted"].values()) and left["counted"]["files"] > 5000
    # The live server had requests before the rehearsal, and logs them; journald and sshd note the connection.
    logs = re.compile(r"/var/log/.*(access|error).*|/var/log/journal/.*|/run/log/journal/.*")
    assert [path for path in left["files"] if not logs.fullmatch(path)] == []
    assert left["said"] == [], "the rehearsed server wrote to the live one's log"
    assert (left["processes"], left["namespaces"], left["sockets"], left["mounts"]) == ([], [], [], [])
    assert left["shared"]


@pytest.mark.parametrize("host", HOSTS, ids=[host.name for host in HOSTS])
def test_host_is_as_it_was(seen, host):
    around = seen[1][host.name]
    assert_same_answers(seen, Observation(answers=around["after"]), host)
    assert around["changed"] == []
