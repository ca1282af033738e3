# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a lab host beside remote.py: the module's work, in which one system call fails.

Which call that is, strace counts: the second openat of those on the paths that the work has to do with, for example. So
that it is the same one each time, every run begins on the same host with an empty journal, and in the same state of the
process: a fork of one that has imported everything, with a clock and random names that repeat.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import traceback

import remote

sys.path.insert(0, remote.HERE)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import prediction as _prediction

STATE = "/var/lib/kopano-hardening"
ASIDE = STATE + "-aside"
KNOWN = os.path.join(remote.HERE, "injected-%s.json")
LOG = os.path.join(remote.HERE, "injected.log")
RESULT = os.path.join(remote.HERE, "injected-result.json")
ON_PATHS = ("files", "rollback")
RUN_SECONDS = 300
CODE = os.path.join(remote.HERE, "ansible_collections")
DEPTH = 4  # lines of the collection that make a call site: the one that makes the call, and those that led there
SYSTEM = {"posix", "nt", "io", "_io", "fcntl", "select", "_socket", "_posixsubprocess", "_signal", "time", "_thread"}
# Not as often in each run: processes come and go, and logs are read until something is in them.
CHANGING = re.compile(r"/proc(/\d+.*)?$|/var/log/")
# Not of the transaction: Python's own files and this copy of the code, files without a name.
OTHERS = re.compile(r"(/usr|/dev|/sys|%s)(/|$)" % re.escape(remote.HERE))
CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (\S+)")
DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<(/[^>]*)>")
WRITTEN = re.compile(r'(?<!\\)"(?:[^"\\]|\\.)*"')
NAMES = re.compile(r'"(/?[\w./@:-]+)"')
PHASE = re.compile(r"phase (\w+)\\n")
WITH_DATA = ("write", "pwrite64", "read", "pread64", "sendto", "recvfrom", "fsetxattr")
READING = ("read", "getdents64", "readlink", "readlinkat", "newfstatat", "fstat", "stat", "lstat", "flistxattr")
MARK = re.compile(r'(?:\d+ +)?faccessat2?\(\d+<[^>]*>, "@([^"]*)"')


# --- one run ---------------------------------------------------------------------------------------------------------


class InTurn(concurrent.futures.Executor):
    """Instead of threads: one counter counts every call."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def work(params: dict, in_turn: bool, marked: bool) -> None:
    """The module's work in this process, which begins as soon as it is continued; the result is left in a file."""
    numbers, clock = itertools.count(), time.gmtime
    secrets.token_hex = lambda size: "%0*x" % (2 * size, next(numbers))
    time.gmtime = lambda *_: clock(0)
    if in_turn:
        concurrent.futures.ThreadPoolExecutor = InTurn
    os.kill(os.getpid(), signal.SIGSTOP)
    if marked:
        mark_lines()
    try:
        result = _engine.run(params, False, _prediction)
    except _engine.TransactionError as error:
        result = dict(error.result, failed=True, msg=str(error))
    except BaseException:
        result = {"failed": True, "msg": None, "exception": traceback.format_exc()}
    sys.setprofile(None)
    os._exit(0 if written(RESULT, result) else 1)


def mark_lines() -> None:
    """Have strace log which line of the collection makes the calls that follow: as a call of its own, for a file that
    is not there. Its descriptor has a number that is out of the way of all others."""
    opened = os.open(remote.HERE, os.O_RDONLY)
    folder = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 900)
    os.close(opened)
    access, last = os.access, [""]

    def note(frame, event: str, called: object) -> None:
        if event == "c_call":
            owner = getattr(called, "__module__", None) or type(getattr(called, "__self__", None)).__module__
            if owner not in SYSTEM:
                return
        elif event != "call" or not frame.f_code.co_filename.startswith(CODE):
            return
        place = line_of(frame)
        if place and place != last[0]:
            last[0] = place
            access("@" + place, os.F_OK, dir_fd=folder)

    sys.setprofile(note)


def line_of(frame) -> str:
    """The innermost line of the collection with those that have led there: a call site."""
    lines = []
    while frame is not None and len(lines) < DEPTH:
        path = frame.f_code.co_filename
        if path.startswith(CODE):
            lines.append("%s:%d" % (path.split("module_utils/")[1], frame.f_lineno))
        frame = frame.f_back
    return " < ".join(lines)


def written(path: str, content: object) -> bool:
    with open(path, "w") as stream:
        json.dump(content, stream)
    return True


def run(params: dict, strace: tuple = (), in_turn: bool = False, marked: bool = False) -> dict:
    """A run, under strace with these arguments if there are any. What it logs is in LOG afterwards."""
    for path in (LOG, RESULT):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    process = os.fork()
    if process == 0:
        os.setsid()
        work(params, in_turn, marked)
    os.waitid(os.P_PID, process, os.WSTOPPED)
    tracer = None
    if strace:
        tracer = subprocess.Popen(["strace", "-qq", "-y", "-s", "256", "-o", LOG, *strace, "-p", str(process)])
        while traced_by(process) == "0":
            time.sleep(0.002)
    os.kill(process, signal.SIGCONT)
    deadline = time.monotonic() + RUN_SECONDS
    while not os.waitpid(process, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.005)
    if tracer:
        tracer.wait(10)
    try:
        with open(RESULT) as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {"failed": True, "msg": None, "exception": "it ended without a result"}


def traced_by(process: int) -> str:
    with open("/proc/%d/status" % process) as lines:
        return next(line.split()[1] for line in lines if line.startswith("TracerPid:"))


def whole() -> dict:
    """All that a run could leave: files, mounts, processes in namespaces of their own, the lock."""
    with open("/proc/self/mountinfo") as table:
        mounts = dict.fromkeys(line.split()[4] + " is mounted" for line in table)
    return {**remote.state(), **mounts, **{"process " + pid: "" for pid in remote.strays()}}


@contextlib.contextmanager
def empty_journal():
    """What is in the journal by now is kept until the end."""
    if os.path.isdir(STATE):
        os.rename(STATE, ASIDE)
    try:
        yield
    finally:
        shutil.rmtree(STATE, ignore_errors=True)
        if os.path.isdir(ASIDE):
            os.rename(ASIDE, STATE)


# --- where it can fail -----------------------------------------------------------------------------------------------


def calls() -> list:
    """The calls of the last run in order: the line that makes it, its phase, its name, and the paths in it."""
    found, phase, line = [], "lock", ""
    with open(LOG, errors="replace") as entries:
        for entry in entries:
            marked, entered = MARK.match(entry), PHASE.search(entry) if "pwrite64(" in entry else None
            phase = entered[1] if entered else phase
            called = CALL.match(entry)
            if marked:
                line = marked[1]
            elif called:
                name, arguments, _returned = called.groups()
                bare = WRITTEN.sub('""', arguments) if name in WITH_DATA else arguments
                how = " ".join(re.findall(r"O_WRONLY|O_RDWR|RENAME_\w+|MS_REMOUNT", bare))
                names = NAMES.findall(bare)[
                    : 1 if name.startswith("readlink") else None
                ]  # what it leads to is no argument
                paths = [*DESCRIPTOR.findall(bare), *names]
                found.append({"line": line, "phase": phase, "call": name, "how": how, "paths": paths})
    return found


def sites(params: dict, names: list, kind: str) -> dict:
    """Trace good runs, and remember the host before and after for inject(). Returns the call sites.

    names: of the calls. kind: C(files) for those on paths, C(rollback) for those of a change that fails in its probes,
    from then on, C(process) for others that the process itself makes, C(in_turn) for those that its threads make,
    C(view) for those that only a rehearsal makes, in a process of its own.
    A site has the number that the call has among those of its name.
    """
    trace = "trace=pwrite64,faccessat,faccessat2," + ",".join(names)
    with empty_journal():
        before, paths = whole(), []
        made, good = traced(params, before, kind, "-e", trace)
        numbered(made)
        if kind in ON_PATHS:
            paths = sorted({path for call in made for path in call["paths"] if is_ours(path)})
            narrowed = [word for path in [*paths, remote.HERE] for word in ("-P", path)]
            again, good = traced(params, before, kind, *narrowed, "-e", trace)
            numbered([call for call in again if remote.HERE not in call["paths"]])
            changing = [call for call in made if any(map(CHANGING.match, call["paths"]))]
            made = [dict(call, kind="process") for call in changing] + [
                call for call in again if "number" in call and any(map(is_ours, call["paths"]))
            ]
    written(KNOWN % kind, {"before": before, "good": good, "paths": paths})
    found = {}
    for call in made:
        if call["call"] in names and call["line"] and (kind != "rollback" or call["phase"] == "probe"):
            # The same line writes in one phase and in another; what only reads does the same in all of them.
            lines = call["line"].split(" < ")
            reads = call["call"] in READING or (call["call"] == "openat" and not call["how"])
            place = tuple(lines[:2]) if reads else (*lines, call["phase"])
            found.setdefault((place, call["call"], call["how"]), {"kind": kind, **call})
    return list(found.values())


def is_ours(path: str) -> bool:
    return path.startswith("/") and path != "/" and not OTHERS.match(path) and not CHANGING.match(path)


def numbered(made: list) -> None:
    numbers = {}
    for call in made:
        numbers[call["call"]] = call["number"] = numbers.get(call["call"], 0) + 1


def traced(params: dict, before: dict, kind: str, *strace: str) -> tuple:
    """The calls of a good run, and the host as it is after it, before it is restored."""
    shutil.rmtree(STATE, ignore_errors=True)
    follow = ("-f",) if kind == "view" else ()
    result = run(params, (*follow, *strace), kind == "in_turn", marked=True)
    if bool(result.get("failed")) != (kind == "rollback"):
        raise RuntimeError("a run without a fault has failed: %s" % (result["msg"] or result["exception"]))
    made, after = calls(), whole()
    back = run(idle(params) if result.get("failed") else restoring(params))
    if back.get("failed") or remote.differences(before, whole()):
        raise RuntimeError("not restored: %s, %s" % (back.get("msg"), remote.differences(before, whole())))
    return made, after


def idle(params: dict) -> dict:
    """A run that only recovers what another one has left."""
    return dict(params, files=[], adopt=False, enable=None, probes=[], rehearse="off")


def restoring(params: dict) -> dict:
    return dict(idle(params), restore="latest")


# --- it fails --------------------------------------------------------------------------------------------------------


def inject(params: dict, kind: str, faults: list) -> list:
    """Run after run, each with one of the faults: a site of this kind, and the error.

    Returns for each what the run reported, what was left, and what the runs after it found.
    """
    with open(KNOWN % kind) as stream:
        known = json.load(stream)
    found = []
    with empty_journal():
        for fault in faults:
            found.append({**fault, **one(params, fault, known)})
            if found[-1]["end"]:
                break  # nothing after it would tell anything
    return found


def one(params: dict, fault: dict, known: dict) -> dict:
    shutil.rmtree(STATE, ignore_errors=True)
    started = time.monotonic()
    narrowed = [word for path in known["paths"] for word in ("-P", path)] if fault["kind"] in ON_PATHS else []
    injected = "inject=%s:error=%s:when=%d" % (fault["call"], fault["error"], fault["number"])
    follow = ["-f"] if fault["kind"] == "view" else []
    result = run(
        params, (*follow, *narrowed, "-e", "trace=" + fault["call"], "-e", injected), fault["kind"] == "in_turn"
    )
    with open(LOG, errors="replace") as lines:
        hit = [line.strip() for line in lines if "(INJECTED)" in line]
    after = whole()
    seen = {
        "result": {
            key: result.get(key)
            for key in ("failed", "msg", "phase", "rolled_back", "changed", "warnings", "exception", "recovered")
        },
        "hit": hit,
        "changed": remote.differences(known["before"], after),
        "unlike_good": remote.differences(known["good"], after),
        "journal": remote.journal(),
        "next": None,
        "end": [],
    }
    # Where it has left nothing, the next run is one on the host that the good run began on.
    if seen["changed"] or remote.journal():
        following = run(idle(params) if fault["kind"] == "rollback" else {**params, "rehearse": "off"})
        seen["next"] = {key: following.get(key) for key in ("failed", "msg", "phase", "changed", "recovered")}
        seen["next"]["unlike_good"] = remote.differences(known["good"], whole())
        if not following.get("failed") and fault["kind"] != "rollback":
            back = run(restoring(params))
            seen["next"]["back"] = back.get("msg")
        seen["end"] = remote.differences(known["before"], whole())
    seen["seconds"] = round(time.monotonic() - started, 2)
    return seen
