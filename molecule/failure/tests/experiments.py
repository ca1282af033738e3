# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes everything happen on the hosts and records what was seen. Judging is left to the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import syscalls
from bench import (
    CLIENT_LIMITS,
    HERE,
    PATIENCE,
    PLACE,
    PROJECT,
    REPORTS,
    Client,
    Host,
    complete,
    inventory,
    unwatched,
)
from faults import FAULTS, GOOD, KILLS, LOCK, MET, PHASES, Fault, Kill, change, inject, policy_path, shell_variables
from spread import ON_ALL, Kind, by_nothing, by_rehearsal, by_server, chosen
from states import CONFIRMATIONS, EDIT, FOUND, SITUATIONS, SPREAD, Confirmation, Situation, script

CONFIRM_SECONDS = 30  # a slow machine takes several until the next run has begun, which has to be before they are over
GUARD_SECONDS = 5
PLAY_SECONDS = 900  # a run that hangs, on a machine ten times slower
SIDE_BY_SIDE = 4  # hosts; more would only wait for two cores
CIPHERS = (GOOD["ciphers"], "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384", "HIGH")

Params = dict[str, Any]


@dataclass
class Observation:
    """What was seen of one experiment on one host. Results, changed and journal have one entry for each run."""

    results: list[dict[str, Any]] = field(default_factory=list)
    changed: list[list[str]] = field(default_factory=list)  # paths that are not as they were before the first run
    journal: list[list[str]] = field(default_factory=list)  # states of the transactions that are kept
    more: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0  # seconds since the epoch
    ended: float = 0.0
    answers: dict[str, Any] = field(default_factory=dict)  # of the server, afterwards
    error: str = ""  # why the experiment itself did not work
    requests: int = 0
    polls: int = 0  # long requests that ended
    unwatched: float = 0.0  # the longest time, in seconds, without a request under way
    lost: list[tuple[float, str]] = field(default_factory=list)  # when it began, and what was wrong


Experiment = Callable[[Host], Observation]
Observations = dict[tuple[str, str], Observation]  # by experiment and host


def params(host: Host, values: dict[str, str] | None = None, **more: Any) -> Params:
    """Options of the module: the good change with these values in it, or no change at all without values."""
    return complete({**({} if values is None else change(host, values)), "server": host.server, **more})


def back(host: Host, transaction: str = "latest") -> Params:
    return params(host, restore=transaction)


def trial(host: Host, *runs: dict[str, Any]) -> Observation:
    return Observation(**host.call("trial", runs=list(runs)))


def count_renames(host: Host, values: Mapping[str, str]) -> int:
    """How many renames the swap of a change has: one for each path that is there afterwards. A dry run tells."""
    planned = host.call("module", params=params(host, dict(values), rehearse="off"), check=True)
    return sum("(absent)" not in entry["after_header"] for entry in planned["diff"])


# --- from the tables -------------------------------------------------------------------------------------------------


def meet(fault: Fault, host: Host) -> Observation:
    """Two runs with the fault there."""
    if fault.stops:
        time.sleep(0.5)  # requests that were sent before have their responses
    host.shell(shell_variables(host) + fault.prepare)
    try:
        run = {"params": params(host, dict(fault.values), **fault.options), "strace": list(fault.strace)}
        return trial(host, run, run)
    finally:
        host.shell(shell_variables(host) + fault.repair)


def kill(case: Kill, host: Host) -> Observation:
    """A killed run, and the next one, which changes nothing of its own. What is then finished is restored."""
    killed = params(host, dict(case.values), rehearse=case.rehearse)
    strace = case.strace(count_renames(host, case.values)) if callable(case.strace) else case.strace
    runs = [{"params": killed, "strace": list(strace), "dies": case.dies}]
    if case.again:
        runs.append({"params": params(host), "strace": list(case.again)})
    runs.append({"params": params(host)})
    if case.recovered == "finished":
        runs.append({"params": back(host)})
    seen = trial(host, *runs)
    seen.more["strays"] = host.call("strays")
    return seen


def situation(case: Situation, host: Host) -> Observation:
    """Two runs in such a state, and the change restored if one of them has made it."""
    try:
        host.shell(script(host, case.prepare))
        run: dict[str, Any] = {"params": params(host, dict(case.values), **case.options)}
        holds = script(host, case.holds)
        if case.seconds:
            run["seconds"] = case.seconds
        first = {**run, "strace": list(case.strace), "clock": case.clock}
        if case.meanwhile:
            when, text = case.meanwhile
            first["meanwhile"] = [when, script(host, text)]
        runs = [first, {**run, "first": holds}]
        if case.ends(host)[-1] == "commit":
            undo = {**run, "params": back(host), "first": holds}
            runs += [undo] * case.repeated + [{**undo, "first": holds + script(host, case.later)}]
        seen = trial(host, *runs)
        host.shell(holds)
        if len(runs) == 2 and any(result["changed"] for result in seen.results):
            raise RuntimeError(f"a run that had to fail made a change: {seen.results}")
        if case.edited:
            seen.more["text"] = host.shell(script(host, f"grep -rl '{EDIT}' $site {FOUND} 2>/dev/null || :"))
        return seen
    except Exception:
        host.call("module", params=back(host))  # the next case needs a host without the change
        raise
    finally:
        host.shell(script(host, case.repair))


def confirmation(case: Confirmation, host: Host) -> Observation:
    """A change that waits, and a run that confirms it or comes after its rollback; back if it has stayed."""
    host.call("mark", name="confirmation")
    waiting = params(host, {}, confirm_timeout=case.seconds)
    seen = trial(host, {"params": waiting, "clock": case.clock})
    if case.confirms is not None:
        confirming = params(host, confirm=seen.results[0]["transaction"])
        seen.results.append(host.call("module", params=confirming, **case.confirms))
    if not case.kept:
        wait_for_rollback(host)
        seen.more["seconds"] = time.time() - seen.results[0]["started"]
    seen.changed.append(host.call("compare", name="confirmation"))
    seen.journal.append(host.call("journal"))
    seen.results.append(host.call("module", params=back(host) if case.kept else params(host)))
    seen.changed.append(host.call("compare", name="confirmation"))
    return seen


def wait_for_rollback(host: Host) -> None:
    deadline = time.monotonic() + PATIENCE
    while host.call("journal")[-1:] == ["confirming"] and time.monotonic() < deadline:
        time.sleep(0.2)


def fail_calls(calls: syscalls.Calls, host: Host) -> Observation:
    """Runs in each of which one call of the class fails. Where those of a kind are made, is traced once on a host."""
    given = params(host, dict(calls.values), rehearse=calls.rehearse)
    known = (host.name, calls.kind)
    if known not in CALL_SITES:
        names = sorted({name for other in syscalls.CLASSES if other.kind == calls.kind for name in other.calls})
        CALL_SITES[known] = host.call("sites", params=given, names=names, kind=calls.kind)
    sites = syscalls.of_class(calls, CALL_SITES[known])
    runs: list[dict[str, Any]] = []
    for part in syscalls.in_parts(syscalls.faults(calls, sites, host.position)):
        runs += host.call("inject", params=given, kind=calls.kind, faults=part)
    return Observation([run["result"] for run in runs], more={"runs": runs})


CALL_SITES: dict[tuple[str, str], list[dict[str, Any]]] = {}  # by host and kind


# --- of their own kind -----------------------------------------------------------------------------------------------


def trace(host: Host) -> Observation:
    """A run in check mode, and all that it could leave on the host."""
    seen = host.call("trace", params=params(host, {}))
    return Observation([seen.pop("result")], more=seen)


def works(host: Host) -> Observation:
    """A change that works, the same once more, and back twice."""
    run = {"params": params(host, {})}
    return trial(host, run, run, {"params": back(host)}, {"params": back(host)})


def restores(host: Host) -> Observation:
    """Three changes, then back by id: to after the first one, to before all of them, and to one that is not there."""
    host.call("mark", name="restores")
    seen = trial(host, *({"params": params(host, {"ciphers": text})} for text in CIPHERS))
    first, second, _third = (result["transaction"] for result in seen.results)
    for transaction in (second, first, "no-such-id"):
        seen.results.append(host.call("module", params=back(host, transaction)))
        seen.changed.append(host.call("compare", name="restores"))
        seen.more[transaction] = host.shell(f"cat {policy_path(host)}", check=False)
    return seen


def stopping(phase: str) -> list[str]:
    """Arguments for strace that stop the run when it has entered this phase."""
    return list(inject("pwrite64", PHASES.index(phase) + 1, "STOP", LOCK))


def stopped(host: Host, phase: str) -> str:
    """Wait until a run has reported that it entered this phase; its process id."""
    return host.wait(f"grep -s 'phase {phase}' {LOCK}").split(",")[0].removeprefix("pid ")


def at_the_same_time(host: Host) -> Observation:
    """A run is stopped in its rehearsal, two others come and go, then it goes on; its change is rolled back."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.call, "module", params=params(host, {}), strace=stopping("rehearse"))
        pid = stopped(host, "rehearse")
        try:
            seen = trial(host, *[{"params": params(host, {})}] * 2)
        finally:
            host.shell(f"kill -CONT {pid}")
        seen.more["first"] = first.result()
    seen.more["back"] = host.call("module", params=back(host))
    return seen


def lost_connection(host: Host) -> Observation:
    """The connection is cut right after the swap. The run cannot report to anything and has to end well by itself."""
    host.call("mark", name="lost")
    command = " ".join(["strace -qq -o /dev/null", *stopping("reload"), f"python3 {PLACE}/remote.py transaction"])
    process = subprocess.Popen(
        [host.ssh[0], "-o", "ControlPath=none", *host.ssh[1:], command],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps([params(host, {}), False, None]).encode())
    process.stdin.close()
    pid = stopped(host, "reload")
    process.kill()
    process.wait()
    host.shell(f"sleep 0.3; kill -CONT {pid}")
    host.wait(f"[ ! -e {LOCK} ]")
    seen = Observation(changed=[host.call("compare", name="lost")], journal=[host.call("journal")])
    seen.results.append(host.call("module", params=params(host)))
    if seen.journal[-1][-1:] == ["committed"]:
        seen.results.append(host.call("module", params=back(host)))
    seen.changed.append(host.call("compare", name="lost"))
    return seen


def unconfirmed(host: Host) -> Observation:
    """A change without a confirmation; another run comes while it waits; the confirmation comes too late."""
    host.call("mark", name="unconfirmed")
    waiting = params(host, {}, confirm_timeout=CONFIRM_SECONDS)
    seen = trial(host, {"params": waiting}, {"params": params(host, {})})
    seen.more["meanwhile"] = host.answers()
    wait_for_rollback(host)
    seen.changed.append(host.call("compare", name="unconfirmed"))
    seen.journal.append(host.call("journal"))
    seen.results.append(host.call("module", params=params(host, confirm=seen.results[0]["transaction"])))
    return seen


def stopped_and_guarded(host: Host) -> Observation:
    """A run is stopped after its swap, and never continued: the host's own guard restores the files."""
    host.call("mark", name="guarded")
    with ThreadPoolExecutor(1) as pool:
        waiting = params(host, {}, confirm_timeout=GUARD_SECONDS)
        run = pool.submit(host.call, "module", params=waiting, strace=stopping("reload"))
        stopped(host, "reload")
        host.wait(f"[ ! -e {LOCK} ]")
        killed = run.result()
    seen = Observation(changed=[host.call("compare", name="guarded")], journal=[host.call("journal")])
    seen.more = {"killed": killed, "seconds": killed["ended"] - killed["started"]}
    seen.results.append(host.call("module", params=params(host)))
    return seen


# --- all of them -----------------------------------------------------------------------------------------------------

TRACE = "check mode leaves no trace"
WORKS = "change that works"


def anywhere(_host: Host) -> bool:
    return True


def privileged(host: Host) -> bool:
    """Whether it may make namespaces and trace processes."""
    return not host.unprivileged


@dataclass(frozen=True)
class Case:
    """An experiment, and the hosts that it applies to. run: None where the play makes it, through Ansible."""

    name: str
    run: Experiment | None
    applies_to: Callable[[Host], bool] = anywhere
    kind: Kind = by_server  # of hosts, of which each kind has to make it
    everywhere: bool = False  # on every such host, even where the others are spread


# While no client sends requests.
QUIET = (Case(TRACE, trace, privileged),)
PLAYED = (
    *(Case(met.name, None, met.applies_to) for met in MET),
    Case("confirmed", None),
    Case("killed: through Ansible", None, privileged),
)
OTHERS = (
    Case(WORKS, works, everywhere=True),
    Case("restore by id", restores),
    Case("second run at the same time", at_the_same_time, privileged),
    Case("connection is lost", lost_connection, privileged),
    Case("not confirmed", unconfirmed),
    Case("stopped, and to be confirmed", stopped_and_guarded, privileged),
    *(Case(fault.name, partial(meet, fault), fault.applies_to, by_rehearsal) for fault in FAULTS),
    *(Case(f"killed: {case.name}", partial(kill, case), privileged, by_nothing) for case in KILLS),
    *(
        Case(case.name, partial(situation, case), case.applies_to)
        for case in SITUATIONS
        if ON_ALL or case.name in SPREAD
    ),
    *(
        Case(case.name, partial(confirmation, case), privileged)
        for case in CONFIRMATIONS
        if ON_ALL or case.name in SPREAD
    ),
    *(
        Case(calls.case, partial(fail_calls, calls), privileged, by_nothing)
        for calls in syscalls.CLASSES
        if ON_ALL or calls.name in syscalls.SPREAD
    ),
)
CASES = (*QUIET, *PLAYED, *OTHERS)
Plan = dict[str, list[Host]]  # by the name of a case


def plan(hosts: Sequence[Host]) -> Plan:
    """Which case runs on which of these hosts."""
    found: Plan = {}
    for number, case in enumerate(CASES):
        if not re.search(os.environ.get("FAULT_CASES", ""), case.name):
            found[case.name] = []
            continue
        applicable = [host for host in hosts if case.applies_to(host)]
        found[case.name] = applicable if case.everywhere else chosen(number, applicable, case.kind)
    return found


def run_play(hosts: list[Host], where: Plan) -> Observations:
    """What is met through Ansible, on all hosts in one run."""
    if not any(where[case.name] for case in PLAYED):
        return {}
    variables = {
        "out": str(REPORTS),
        "cases": [case.variables() for case in MET],
        "planned": {host.name: [case.name for case in PLAYED if host in where[case.name]] for host in hosts},
        "killed_changes": {host.name: change(host, {}) for host in hosts},
    }
    for host in hosts:
        played(host).unlink(missing_ok=True)
    (REPORTS / "failure-play.json").write_text(json.dumps(variables))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "--inventory", inventory(), "--extra-vars",
         f"@{REPORTS / 'failure-play.json'}",
         "--limit", ",".join(host.name for host in hosts), HERE.parent / "met.yml"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=PLAY_SECONDS, check=False,
        env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    (REPORTS / "failure-play.log").write_text(done.stdout + done.stderr)
    found: Observations = {}
    for host in hosts:
        seen = json.loads(played(host).read_text()) if played(host).exists() else {}
        for name, values in seen.items():
            found[name, host.name] = Observation(**values)
    return found


def played(host: Host) -> Path:
    return REPORTS / f"failure-{host.name}.json"


def observe(host: Host, name: str, experiment: Experiment, report: Callable[[str], None]) -> Observation:
    """Make one experiment; when it does not work, the others can still tell something."""
    started = time.time()
    try:
        seen = experiment(host)
        seen.answers = host.answers()
    except Exception:
        seen = Observation(error=traceback.format_exc())
    seen.started, seen.ended = started, time.time()
    report(f"{host.name:<10} {seen.ended - seen.started:5.1f} s  {name}{'  DID NOT WORK' if seen.error else ''}")
    return seen


def run_all(hosts: list[Host], report: Callable[[str], None]) -> tuple[Observations, dict[str, Any]]:
    """All cases on their hosts. Also what each server responded with, and had on its disk, before and after."""
    found: Observations = {}
    around: dict[str, Any] = {}
    clients: dict[str, list[Client]] = {host.name: [] for host in hosts}
    where = plan(hosts)

    @contextmanager
    def watched(host: Host, part: str) -> Iterator[None]:
        """With a client of its own for this part: a host that waits for its turn has none, as it costs the most."""
        client = Client(host, f"failure-{part}")
        clients[host.name].append(client)
        try:
            yield
        finally:
            client.stop()

    def run_cases(host: Host, cases: Sequence[Case]) -> None:
        for case in cases:
            if case.run and host in where[case.name]:
                found[case.name, host.name] = observe(host, case.name, case.run, report)

    def begin(host: Host) -> None:
        host.deploy()
        host.take_polls(CLIENT_LIMITS[3])
        host.call("mark", name="first")
        around[host.name] = {"before": host.answers()}
        run_cases(host, QUIET)

    def go_on(host: Host) -> None:
        with watched(host, "others"):
            run_cases(host, OTHERS)
        around[host.name].update(after=host.answers(), changed=host.call("compare", name="first"))

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(begin, hosts))
        with ExitStack() as all_watched:
            for host in hosts:
                all_watched.enter_context(watched(host, "play"))
            found.update(run_play(hosts, where))
        report("what is met through Ansible has been met")
        list(pool.map(go_on, hosts))
    for (_name, host_name), seen in found.items():
        requests = [entry for client in clients[host_name] for entry in client.requests(seen.started, seen.ended)]
        polls = [entry for client in clients[host_name] for entry in client.polls(seen.started, seen.ended)]
        seen.requests, seen.polls = len(requests), len(polls)
        seen.unwatched = unwatched(requests, seen.started, seen.ended)
        seen.lost = [(begin, wrong) for begin, _end, wrong in requests if wrong and begin >= seen.started]
        seen.lost += [(end, f"poll: {wrong}") for _begin, end, wrong in polls if wrong]
    return found, around
