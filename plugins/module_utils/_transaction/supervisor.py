# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A transaction in a process of its own, which is killed when one of its phases does not end.

A call that a file system delays can be interrupted by nothing but the end of its process. So this process touches no
file of the host itself: a child makes the change and reports each phase as it enters it, and where it does not come to
the end of one in time, another child rolls the change back by the journal, as after a crash. What is lost with a killed
run is its own message, and no more. A lost connection or a stop of the play (a signal) is the child's to handle.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import time
import traceback
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.background import (
    Beside,
    await_ended_threads,
    end,
    end_with_parent,
    wait,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose

# Seconds for each phase, and for what follows a failure. They only end what hangs: what a busy machine does, and a
# server with thousands of virtual hosts, has limits of its own within them, which are named in the messages. Those
# before the swap may be long, as nothing is changed by then.
LIMITS = {
    "lock": 60.0,
    "read": 3600.0,  # with the responses of a slow server
    "stage": 900.0,
    "rehearse": 3600.0,
    "swap": 600.0,
    "reload": 600.0,
    "probe": 1800.0,
    "commit": 600.0,
    _engine.ROLLBACK: 600.0,
    _engine.DIAGNOSIS: 60.0,
}
# Seconds that a rollback here waits for a lock: the host's guard may be rolling the same change back.
LOCK_PATIENCE = 60.0
LAST_PATIENCE = 60.0  # seconds for the process to end after its result

# In these phases nothing live is changed.
_UNCHANGED = ("lock", "read", "stage", "rehearse")
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class _Step(t.NamedTuple):
    """What the child is about to do, since when, and its result so far."""

    name: str
    since: float
    result: _engine.Result

    @property
    def left(self) -> float:
        return self.since + LIMITS[self.name] - time.monotonic()


def run(params: dict[str, t.Any], check_mode: bool, prediction: t.Any) -> _engine.Result:
    """The same as L(engine.run), within limits. Raises TransactionError."""
    reader, writer = os.pipe()
    await_ended_threads()
    own = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        fault = _diagnose.Fault(_engine.PROCESSLESS.format(error.strerror))
        raise _engine.failed(_engine.new_result(), "lock", _engine.UNTOUCHED, fault, fault.reason) from error
    if child == 0:
        os.close(reader)
        _work(params, check_mode, prediction, writer, own)
    os.close(writer)

    def pass_on(number: int, _frame: t.Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    # The child rolls its change back at a signal, and reports it.
    with _on_signals(pass_on), open(reader, "rb", buffering=0) as stream:
        step, outcome = _follow(stream.fileno())
    if outcome is not None:
        wait(child, LAST_PATIENCE)
    with _on_signals(_ignored):  # from here on there is no child any more that could get them
        if outcome is None:
            _recover(step, child, _why_killed(step, child))
        if "defect" in outcome:
            step.result["exception"] = outcome["exception"]
            _recover(step, child, _diagnose.Fault(outcome["defect"]))
    if "message" in outcome:
        raise _engine.TransactionError(outcome["message"], outcome["result"])
    result: _engine.Result = outcome["result"]
    return result


# --- the child -------------------------------------------------------------------------------------------------------


def _work(params: dict[str, t.Any], check_mode: bool, prediction: t.Any, writer: int, parent: int) -> t.NoReturn:
    try:
        try:
            # As for a lost connection: it is complete, or it is rolled back.
            end_with_parent(signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
            result = _engine.run(params, check_mode, prediction, functools.partial(_note, writer))
            _send(writer, result=result)
        except _engine.TransactionError as error:
            _send(writer, result=error.result, message=str(error))
        except BaseException as error:  # a defect of this collection; what has become of the change is determined
            defect = f"unexpected {type(error).__name__}: {error}"
            _send(writer, defect=defect, exception=traceback.format_exc())
    finally:
        os._exit(0)


def _send(writer: int, **message: t.Any) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(writer, data) :]


def _note(writer: int, step: str, result: _engine.Result | None) -> None:
    """Report a step to the parent.

    Nothing may keep a change that has failed from its rollback, not even a parent that was stopped and reads nothing.
    So a step without a result is never waited for: of these few bytes all are written at once, or none (pipe(7)).
    """
    os.set_blocking(writer, result is not None)
    with contextlib.suppress(OSError):  # without a parent the signal of its end is on its way
        _send(writer, step=step, result=result)
    os.set_blocking(writer, True)


# --- this process ----------------------------------------------------------------------------------------------------


def _ignored(_number: int, _frame: t.Any) -> None:
    """Unlike SIG_IGN it is not passed on to a server that the rollback starts."""


@contextlib.contextmanager
def _on_signals(action: t.Callable[[int, t.Any], None]) -> t.Iterator[None]:
    before: dict[int, t.Any] = {number: signal.signal(number, action) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _follow(reader: int) -> tuple[_Step, dict[str, t.Any] | None]:
    """The child's last step, and its outcome; None where it has ended, or was killed, without one."""
    step = _Step("lock", time.monotonic(), _engine.new_result())
    text = b""
    while True:
        if not select.select([reader], [], [], max(0.0, step.left))[0]:
            return step, None
        part = os.read(reader, 1 << 16)
        if not part:
            return step, None
        text += part
        *lines, text = text.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "step" not in message:
                return step, message
            step = _Step(message["step"], time.monotonic(), message["result"] or step.result)


def _why_killed(step: _Step, child: int) -> _diagnose.Fault:
    """Kill what is left of the run; the fault that it has."""
    hung = step.left <= 0
    end(child)
    if not hung:
        return _diagnose.Fault(
            f"the process of the run was killed in the step {step.name}; journalctl -k shows whether the host was out "
            "of memory; re-run"
        )
    return _diagnose.Fault(
        f"the step {step.name} did not end within {LIMITS[step.name]:g} s and was killed: the process was stopped, or "
        "a file system does not respond (findmnt lists them); resolve that, then re-run"
    )


def _recover(step: _Step, child: int, fault: _diagnose.Fault) -> t.NoReturn:
    """Roll the change of a run back that has ended without an outcome. Raises TransactionError."""
    result, phase = step.result, step.result["phase"]
    try:
        found = Beside(lambda: _roll_back(result["transaction"], child)).result(LIMITS[_engine.ROLLBACK])
    except Exception as error:  # whatever it is, the run has to report what it was
        if phase in _UNCHANGED:
            raise _engine.failed(result, phase, _engine.UNTOUCHED, fault, fault.reason) from error
        message = f"{fault.reason}\nThe rollback failed: {error}"
        raise _engine.failed(result, phase, _engine.UNRESTORED, fault, message) from error
    result["rolled_back"] = found["rolled_back"]
    result["warnings"] += found["warnings"]
    outcome = _engine.RESTORED if found["rolled_back"] else found["outcome"]
    raise _engine.failed(result, phase, outcome, fault, fault.reason)


def _roll_back(transaction: str | None, child: int) -> dict[str, t.Any]:
    """Undo or finish what the killed run has left; return the outcome."""
    journal, lock = _engine.Journal(), _engine.Lock()
    _engine.take_over(lock, LOCK_PATIENCE, own=[child])
    try:
        record = next((record for record in journal.records() if record.id == transaction), None)
        was_swapped = record is not None and record.state in (_journal.SWAPPING, _journal.CONFIRMING)
        if record is not None and record.state in _journal.OPEN:
            _engine.recover(journal, record)
        state = next((found.state for found in journal.records() if found.id == transaction), None)
        return {
            "rolled_back": was_swapped or state == _journal.UNDONE,
            "outcome": "the change is complete" if state == _journal.COMMITTED else _engine.UNTOUCHED,
            "warnings": journal.found.report(mark=True),
        }
    finally:
        lock.release()
