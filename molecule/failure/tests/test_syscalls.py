# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to come of each run in which a system call fails: all or nothing, and a result that reports which."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from faults import LOCK
from syscalls import CLASSES, Calls, text_of
from test_failure import PLAN, assert_served, look

PROCESS = re.compile(r"(?<=/proc/)\d+")  # its number is another one in each run
THREADS, NO_THREAD = ("clone", "clone3"), "no thread can be started"
COMPLETES = "The next run completes it"
# What a green run leaves all the same, with a warning that names it: the next run removes it.
GUARD = (
    "/etc/systemd/system/kopano-hardening-rollback.service",
    "/etc/systemd/system/multi-user.target.wants/kopano-hardening-rollback.service",
)


@pytest.mark.parametrize(
    ("calls", "host"),
    [
        pytest.param(calls, host, id=f"{calls.name}-{host.name}")
        for calls in CLASSES
        for host in PLAN.get(calls.case, ())
    ],
)
def test_a_system_call_fails(seen, calls: Calls, host):
    observation = look(seen, calls.case, host)
    runs = observation.more["runs"]
    # Where a run makes other calls than the one that was traced, as processes come and go, none of them fails, or
    # another one does. It is judged as what it came to, all the same.
    assert sum(map(is_as_planned, runs)) >= max(1, len(runs) / 2), [run["hit"] for run in runs]
    assert [(named(run), list(complaints(run))) for run in runs if list(complaints(run))] == []
    assert_served(observation)


def is_as_planned(run: dict[str, Any]) -> bool:
    """Whether the call that failed is on the paths of the one that was to fail."""
    return bool(run["hit"]) and all(PROCESS.sub("", path) in PROCESS.sub("", run["hit"][0]) for path in run["paths"])


def named(run: dict[str, Any]) -> str:
    return f"{run['phase']}: {run['call']} fails with {run['error']} in {run['line']}: {run['result']['msg']}"


def complaints(run: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a run."""
    result, following = run["result"], run["next"]
    if result["exception"]:
        yield result["exception"]
    elif run["kind"] == "rollback":
        yield from complaints_about_rollback(run, result)
    elif result["failed"]:
        yield from complaints_about_failure(run, result)
    else:
        yield from complaints_about_change(run, result)
    if following and (following["failed"] or (following["unlike_good"] and run["kind"] != "rollback")):
        yield f"the next run: {following['msg']}, {following['unlike_good']}"
    if run["end"]:
        yield f"after the way back: {following}, {run['end']}"


def complaints_about_failure(run: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    # A lock that it could not take, it must not remove.
    left = [path for path in run["changed"] if path != LOCK or LOCK not in result["msg"]]
    if left or result["changed"]:
        yield f"a failed run has left {left}"
    outcome = "everything is back as it was" if result["rolled_back"] else "nothing was changed"
    if f"{result['phase']} failed, {outcome}: " not in result["msg"]:
        yield "it does not report what became of the host"
    # Of a thread, Python does not have the error.
    if text_of(run["error"]) not in result["msg"] and not (run["call"] in THREADS and NO_THREAD in result["msg"]):
        yield "it does not name the cause"
    if set(run["journal"]) - {"undone"}:
        yield f"the journal has {run['journal']}"


def complaints_about_rollback(run: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    """All is back, or the message has what is not, and the next run repairs it."""
    if not result["failed"] or result["changed"]:
        yield "a change that fails in its probes was green"
    if "everything is back as it was" in result["msg"]:
        left = [path for path in run["changed"] if path != LOCK or LOCK not in " ".join(result["warnings"])]
        if left or not result["rolled_back"]:
            yield f"not everything is back: {left}"
        return
    if "NOT everything could be restored; the next run tries again" not in result["msg"] or result["rolled_back"]:
        yield "it does not report what became of the host"
    if text_of(run["error"]) not in result["msg"]:
        yield "it does not name the cause"
    if not run["next"] or not run["next"]["recovered"] or run["next"]["recovered"]["action"] != "undone":
        yield f"the next run does not repair it: {run['next']}"


def complaints_about_change(run: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    warnings = " ".join(result["warnings"])
    # What is not complete is watched until it is.
    expected = {*(GUARD if COMPLETES in warnings else ()), *([LOCK] if LOCK in warnings else ())}
    left = [path for path in run["unlike_good"] if path not in expected]
    if left:
        yield f"a green run has not done what it reports, or more: {left}"
    if not result["changed"] or result["phase"] != "commit" or result["rolled_back"]:
        yield f"a green run reports {result}"
    # Old records may be what could not be removed.
    if run["journal"] not in (["committed"], ["proven"] if COMPLETES in warnings else []):
        yield f"the journal has {run['journal']}"
