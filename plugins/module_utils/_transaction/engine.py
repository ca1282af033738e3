# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The seven steps of a change, in order: read, stage, rehearse, swap, reload, probe, commit, all under one lock.

Whatever goes wrong before I(swap) leaves no byte of the live configuration changed. After a failure from I(swap) on,
every path is restored and the server is reloaded, before anything is read that explains it: logs, keys, the
configuration that failed. What a crash leaves is repaired by the next run, from the journal. docs/architecture.md has
an overview.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._host import process as _process
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host import selinux as _selinux
from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside, await_ended_threads
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import fragments as _fragments
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import guard as _guard
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
    replaced_certificates as _replaced_certificates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    Change,
    Changeset,
    Difference,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.edits import Kept
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal, Lock, Record
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.rehearsal import Grade, Rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import error_logs as _error_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import strength as _strength
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.adopt import KeptInfo
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import ENDED, Server, ServerError
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.strength import WeakenedInfo

END_PATIENCE = 0.5  # seconds that a server which does not respond gets to end
DIAGNOSIS_TIMEOUT = 15.0  # seconds for what is read after a rollback to explain the failure
REQUEST_TIMEOUT = 10.0
LOCK_PAUSE = 0.2  # seconds until the guard tries a lock again that a run holds
# Seconds that the guard gives to a run that holds the lock when its time to be confirmed is over: whatever it does, it
# will be rolled back.
HOLDER_PATIENCE = 60.0
END_SECONDS = 5.0  # that a killed process gets to end
# Seconds until the guard tries a rollback again that did not succeed, for example on a full disk.
GUARD_PAUSES = (1, 5, 30, 60, 300)

# Why the guard has rolled a transaction back by itself.
GUARD_REASONS = {
    "timer": "by its timer, since it was not confirmed in time",
    "boot": "at the boot of the host, since it was not complete before",
}

# Why a transaction cannot be confirmed, by its state; None: the journal does not have it.
_UNCONFIRMABLE: dict[str | None, str] = {
    _journal.UNDONE: "confirm: transaction {0!r} was not confirmed in time, the host has already rolled it back",
    None: "confirm: transaction {0!r} does not wait for a confirmation on this host",
}

# What each of these raises is the user's or the host's fault, and its message names the remedy.
EXPECTED = (
    _changeset.ChangeError,
    _webserver_model.ConfigError,
    _fragments.FragmentError,
    _guard.GuardError,
    _journal.JournalError,
    ServerError,
    OSError,
)


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ResponseInfo(t.TypedDict):  # novm
        """A response of a server, and its request."""

        address: str
        port: int
        server_name: str | None
        outside: bool  # whether other hosts can reach it
        tls_group: str | None  # the same where virtual hosts are set up in the same way
        path: str | None
        ok: bool
        protocol: str | None  # None without TLS
        cipher: str | None
        certificate: str | None  # SHA-256 in hexadecimal
        status: int | None
        location: str | None
        hsts: list[str]
        error: str | None  # why there is no response
        ms: float  # milliseconds

    class RehearsalInfo(t.TypedDict):  # novm
        """The result of a L(_rehearsal.Rehearsal), without what is needed inside only."""

        method: str | None
        ok: bool
        ms: float
        refused: str | None
        endpoints: list[ResponseInfo]
        grades: list[Grade]

    class Recovered(t.TypedDict):  # novm
        """What an interrupted run had left, and this one has repaired."""

        transaction: str
        action: str  # undone, finished
        files: list[str]  # that were restored
        kept: list[Kept]

    class Adopted(t.TypedDict):  # novm
        """A virtual host with TLS that was found."""

        names: list[str]
        address: str
        port: int | None
        file: str
        line: int

    class Edits(t.TypedDict):  # novm
        """The lines that are added to a file, and those that are commented out."""

        path: str
        add: list[str]
        remove: list[str]

    class FailureInfo(t.TypedDict):  # novm
        """A L(_diagnose.Fault), and the step that it ended."""

        words: str
        file: str | None
        line: int | None
        directive: str | None
        value: str | None
        option: str | None
        phase: str

    class Result(t.TypedDict):  # novm
        """What web_config returns."""

        changed: bool
        server: str | None  # apache, nginx; None: it did not come to that
        diff: list[Difference]
        transaction: str | None  # None where nothing changes, and in check mode
        rehearsal: RehearsalInfo | None  # None: there was none
        phase: str
        rolled_back: bool
        recovered: Recovered | None
        adopted: list[Adopted]
        edits: list[Edits]
        kept: list[KeptInfo]
        weakened: list[WeakenedInfo]
        probes: list[ResponseInfo]  # of the live server
        timings: dict[str, float]  # milliseconds
        warnings: t.NotRequired[list[str]]  # always there; the module takes them out
        ungraded: t.NotRequired[bool]  # True: the same run is to be done with the prober
        failure: t.NotRequired[FailureInfo]
        exception: t.NotRequired[str]

else:
    ResponseInfo = RehearsalInfo = Recovered = Adopted = Edits = FailureInfo = Result = t.Dict[str, t.Any]


# Of a change that was made before and has been undone by another program.
REPEATED = (
    "{}: another program has undone what this collection changed, and it is changed once more. If that program writes "
    "the file from a template, put the lines under edits into the template; see docs/frontend.md, Templates"
)

EDITED = (
    "{} was changed by somebody else after this run had written it, and stays as it is; inspect the file, then re-run"
)

UNFINISHED = (
    "the change is in place and good, but the record of transaction {} could not be completed: {}. The next run "
    "completes it"
)

# All that Python has of a refusal of the system: neither a class of its own nor the number of the error.
_NO_THREAD = "can't start new thread"
PROCESSLESS = (
    "no process can be started ({}): the host is out of memory, or has reached its limit of processes; stop some "
    "(systemctl status lists what runs), then re-run"
)
THREADLESS = (
    "no thread can be started: the host is out of memory, or has reached its limit of processes; stop some (systemctl "
    "status lists what runs), then re-run"
)

UNREACHED = (
    "the virtual host {} ({}:{}) is not compared before and after the change: the configuration has no IP address at "
    "which the server serves it; check its responses after the run"
)

UNLOGGED = "frontend_tls_log: true does not log the clients of some server blocks: {}"


class TransactionError(Exception):
    """The transaction did not happen, or was rolled back. result is what the module returns beside the message."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class _Stop(Exception):
    """A reason to stop, with what is known about it. diagnose: finds out more, after the rollback."""

    def __init__(
        self,
        fault: _diagnose.Fault,
        message: str | None = None,
        diagnose: t.Callable[[], _diagnose.Fault] | None = None,
    ) -> None:
        super().__init__(message or fault.message())
        self.fault = fault
        self.diagnose = diagnose


def _stop(message: str) -> _Stop:
    return _Stop(_diagnose.Fault(message))


class _Interrupted(BaseException):
    """A signal has ended the run."""


# Called with what a run is about to do, a phase or one of these, and its result so far.
# None: it is what it was, and nothing may delay what follows.
Note = t.Callable[[str, t.Optional[Result]], None]
ROLLBACK, DIAGNOSIS = "rollback", "diagnosis"


def run(
    params: dict[str, t.Any], check_mode: bool, prediction: t.Any, note: Note = lambda _step, _result: None
) -> Result:
    """Do what the module's options require; return what the module returns. Raises TransactionError.

    prediction: the module C(_transaction.prediction), which brings the prober with it. With None a run that is about to
    rehearse a change does not, and returns C(ungraded); the same run with the prober then does everything.
    It may wait for a file system without an end; L(_transaction.supervisor) runs it with a limit.
    """
    return _Transaction(params, check_mode, prediction, note).run()


def new_result() -> Result:
    """The result of a run that has done nothing yet."""
    return {
        "changed": False,
        "server": None,
        "diff": [],
        "transaction": None,
        "rehearsal": None,
        "phase": "lock",
        "rolled_back": False,
        "recovered": None,
        "adopted": [],
        "edits": [],
        "kept": [],
        "weakened": [],
        "probes": [],
        "timings": {},
        "warnings": [],
    }


# What has come of a change that failed, for the message.
RESTORED = "everything is back as it was"
UNTOUCHED = "nothing was changed"
UNRESTORED = "NOT everything could be restored; the next run tries again"


def failed(result: Result, phase: str, outcome: str, fault: _diagnose.Fault, message: str) -> TransactionError:
    """The error of a run that has failed in a phase."""
    failure: FailureInfo = {
        "words": fault.reason,
        "file": fault.file,
        "line": fault.line,
        "directive": fault.directive,
        "value": fault.value,
        "option": fault.option,
        "phase": phase,
    }
    whole: Result = {**result, "failure": failure, "changed": False}
    return TransactionError(f"{phase} failed, {outcome}: {message}", whole)


class _Transaction:
    def __init__(self, params: dict[str, t.Any], check_mode: bool, prediction: t.Any, note: Note) -> None:
        self.params = params
        self.note = note
        self.check_mode = check_mode
        self.prediction = prediction
        self.lock = Lock()
        self.journal = Journal()
        self.changeset = Changeset()
        self.record: Record | None = None
        self.own_addresses: frozenset[bytes] | None = None
        self.strength: _strength.Strength
        # Of the live server, by id of the target.
        self.responses: dict[int, tuple[_client.Target, _client.Response]] = {}
        self.swapped = False
        self.signalled = False
        self.unrestored = ""  # why the rollback has failed
        self.phase = "lock"
        self._phase_started = self._started = time.monotonic()
        self.result = new_result()

    # --- the frame ---

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        self.result["timings"][self.phase] = round((now - self._phase_started) * 1000, 1)
        self.phase = self.result["phase"] = phase
        self._phase_started = now
        self.note(phase, self.result)
        self.lock.set_phase(phase)

    def run(self) -> Result:
        # A lost connection or a stop of the play must roll the change back like any other failure.
        _on_signals(_interrupted)
        try:
            self.lock.acquire()
            try:
                self._steps()
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._report_found()
                self._enter(self.phase)
                self._release()
        except _Stop as error:
            raise self._explained(error) from error
        except EXPECTED as error:
            fault = _diagnose.Fault(str(error), getattr(error, "file", None), getattr(error, "line", None))
            raise self._error(str(error), fault) from error
        except _Interrupted as error:
            raise self._error(str(error), _diagnose.Fault(str(error))) from error
        except Exception as error:  # a defect of this collection; what became of the host is reported all the same
            message = f"unexpected {type(error).__name__}: {error}"
            if str(error) == _NO_THREAD:
                message = THREADLESS
            else:
                self.result["exception"] = traceback.format_exc()
            raise self._error(message, _diagnose.Fault(message)) from error
        finally:
            self.result["timings"]["total"] = round((time.monotonic() - self._started) * 1000, 1)
        return self.result

    def _release(self) -> None:
        """A lock file that stays locks nothing, and the next run removes it: what the run itself came to counts."""
        try:
            self.lock.release()
        except OSError as error:
            self.result["warnings"].append(
                f"the lock {self.lock.path} cannot be removed: {error.strerror}; it locks nothing, and the next run "
                "removes it"
            )

    def _report_found(self) -> None:
        """Name the edits that were kept. Where that fails it is a warning: what the run itself came to counts."""
        try:
            self.result["warnings"] += self.journal.found.report(mark=not self.check_mode)
        except Exception as error:  # whatever it is, the lock has to be released
            self.result["warnings"].append(f"kept edits in {self.journal.found.folder} cannot be listed: {error}")

    def _explained(self, stop: _Stop) -> TransactionError:
        """The error of a reason to stop, with all that can be found out about it now that everything is done."""
        if stop.diagnose is None:
            return self._error(str(stop), stop.fault)
        self.note(DIAGNOSIS, None)
        fault = explained(stop.fault, stop.diagnose)
        return self._error(fault.message(), fault)

    def _error(self, message: str, fault: _diagnose.Fault) -> TransactionError:
        if self.result["rolled_back"]:
            outcome = RESTORED
        elif self.record is not None and self.swapped:
            outcome = UNRESTORED
            message += f"\nThe rollback failed: {self.unrestored}"
        else:
            outcome = UNTOUCHED
        return failed(self.result, self.phase, outcome, fault, message)

    def _roll_back(self) -> None:
        """Undo what this run has begun. If that fails it is a warning: the journal knows, the first error counts."""
        _on_signals(_ignored)
        if self.record is None or self.record.state not in (_journal.STAGED, _journal.SWAPPING, _journal.CONFIRMING):
            return
        self.note(ROLLBACK, None)
        started = time.monotonic()

        def restored() -> None:
            self.result["timings"]["restored"] = round((time.monotonic() - started) * 1000, 1)

        try:
            # A server that ended without a signal of this run was stopped by somebody else, maybe on purpose.
            _undo(self.journal, self.record, lambda _server: self.signalled, restored=restored)
        except Exception as error:  # whatever it is: the error that led here is the one to report
            self.unrestored = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
            self.result["warnings"].append(f"rollback: {error}")
            return
        self.result["rolled_back"] = self.swapped
        _journal.remove_new_directories(self.record)
        self._tidy(self.record)

    def _tidy(self, record: Record) -> None:
        """Remove what is of no use after the end of a transaction, and could not be removed before; name what stays."""
        left = [*_journal.clean_staging(record), *_guard.remove_service()]
        if left:
            self.result["warnings"].append(
                "no longer needed, but could not be removed; remove them: " + ", ".join(left)
            )

    # --- the steps ---

    def _steps(self) -> None:
        if self.params["confirm"]:
            self._confirm(self.params["confirm"])
            return
        self._enter("read")
        self._recover()
        server, running = self._choose_server()
        live, unreadable = self._live(server)
        self.own_addresses = _own_addresses()
        endpoints = _probes.targets_of(live.vhosts) if live else []
        probes = self._probes(endpoints)
        self.strength = _strength.Strength(server.layout, self.params["policy"], endpoints)
        self.result["kept"], self.result["weakened"] = self.strength.kept, self.strength.weakened
        if self.params["adopt"]:
            self._query([*endpoints, *_once(probes)])  # what virtual hosts send now decides what they keep
        self._add_desired(server, live, unreadable)
        changes = self.changeset.pending()
        if changes and self.prediction is None and self.params["rehearse"] != "off":
            self.result["ungraded"] = True
            return
        # Where everything is as desired, a virtual host responds at one of its addresses as at all of them. A run that
        # changes something compares all responses. So does a run without desired states, as its result is compared with
        # that of a later one.
        probes = _once(probes) if self.changeset.desired and not changes else probes
        before = self._query([*endpoints, *probes])
        self._note_silence([*endpoints, *probes], before)
        if changes and live:
            self._note_unreached(live)
        self.result["changed"] = bool(changes or self.result["recovered"])
        self.result["diff"] = _changeset.diff(changes)

        if changes and not self.check_mode:
            self._enter("stage")
            self._stage(server, changes, running)

        self._enter("rehearse")
        known = {_key(target): response for target, response in zip(endpoints, before)}
        self._rehearse(server, live, changes, endpoints, probes, known, before[len(endpoints) :])
        if self.check_mode or not changes:
            shown = [_shown(target, response) for target, response in zip([*endpoints, *probes], before)]
            self._judge_unchanged(probes, before[len(endpoints) :], bool(changes), shown)
            return

        self._enter("swap")
        self._swap(server, live, changes, running)

        self._enter("probe")
        self._probe_live(server, probes, known, before[len(endpoints) :])

        self._enter("commit")
        self._note_edits(changes)
        self._commit()

    def _choose_server(self) -> tuple[Server, bool]:
        """The server that the change is for, and whether it runs."""
        restored = _servers_to_restore(self.journal, self.params["restore"])
        server = Server(_choose_layout(self.params["server"], restored))
        self.result["server"] = server.layout.server
        server.prepare()
        running = server.main_pid() is not None
        if not running and not self._repairs(server):
            raise _stop(
                "%s is not running, so nothing can be compared with it; start it (systemctl start %s) or find "
                "out why it is stopped, then run again" % (server.layout.unit, server.layout.unit)
            )
        return server, running

    def _repairs(self, server: Server) -> bool:
        """Whether a stopped server is what the change is for: its own configuration keeps it from running."""
        return bool(self.params["adopt"] and self.params["policy"]["repair_ssl_on"] and not server.check()[0])

    # --- read ---

    def _recover(self) -> None:
        """Repair what an interrupted run has left, before anything is compared with it."""
        self._report_guard()
        record = self.journal.unfinished()
        if record is None:
            if not self.check_mode:
                _guard.remove_service()
            return
        if record.state == _journal.CONFIRMING and _guard.is_waiting(record):
            raise _stop(
                f"transaction {record.id} waits for its confirmation; confirm it, or wait until it is rolled back"
            )
        if self.check_mode:
            raise _stop(
                f"transaction {record.id} was interrupted ({record.state}); a run without check mode repairs it first"
            )
        action, paths = recover(self.journal, record)
        kept = self.journal.found.entries(record.id)
        self.result["recovered"] = {"transaction": record.id, "action": action, "files": paths, "kept": kept}

    def _report_guard(self) -> None:
        """Report once what the host has rolled back by itself since the last run."""
        for record in self.journal.records():
            occasion = record.data.get("rolled_back_by")
            if occasion and record.state == _journal.UNDONE and not record.data.get("reported"):
                self.result["warnings"].append(f"transaction {record.id} was rolled back {GUARD_REASONS[occasion]}")
                if not self.check_mode:
                    record.save(_journal.UNDONE, reported=True)

    def _live(self, server: Server) -> tuple[_webserver_model.Config | None, _diagnose.Fault | None]:
        """The configuration as it lies there; one that cannot be read is not fatal yet, a change may repair it."""
        try:
            if server.layout.server == "apache" and self.params["adopt"]:
                # Where every virtual host is to be edited, the list of them has to be Apache's own. It writes that
                # while the files are read.
                with ThreadPoolExecutor(1) as pool:
                    listing = pool.submit(server.dump_vhosts)
                    config = _apache.load(server.layout)
                    ok, dump = listing.result()
                return _apache.as_dumped(config, server.layout, dump) if ok else config, None
            return _rehearsal.LOADERS[server.layout.server](server.layout), None
        except _webserver_model.ConfigError as error:
            return None, _diagnose.Fault(error.reason, error.file, error.line)

    def _add_desired(
        self, server: Server, live: _webserver_model.Config | None, unreadable: _diagnose.Fault | None
    ) -> None:
        """Add the states that the options describe to the changeset."""
        params, changeset = self.params, self.changeset
        if params["restore"]:
            for path, state in self._states_to_restore(params["restore"], live).items():
                changeset.add(path, state)
            return
        for item in params["files"]:
            changeset.add(item["path"], file_state(item))
        for kind in _fragments.KINDS:
            _fragments.disable(changeset, server.layout, kind, (params["disable"] or {}).get(kind) or [])
        fault = unreadable or _diagnose.Fault("it was not read")
        broken = _Stop(fault, f"the configuration was already broken before this run: {fault.message()}")
        try:
            for kind in _fragments.KINDS:
                _fragments.enable(changeset, server.layout, kind, (params["enable"] or {}).get(kind) or [], live)
        except _fragments.FragmentError as error:
            if live is not None:
                raise
            raise broken from error  # what seems to be missing may be loaded where nothing was read
        if params["adopt"]:
            if live is None:
                raise broken
            self._adopt(server, live)

    def _adopt(self, server: Server, live: _webserver_model.Config) -> None:
        """Add the policy to every virtual host that will be there after the other changes."""
        lost = [vhost for vhost in live.vhosts if vhost.block is None and vhost.tls is not False]
        if lost:
            raise _stop(
                f"adopt: the virtual host at {lost[0].file}:{lost[0].line} has no text that this collection can edit"
            )
        config = live
        if self.changeset.pending():
            config = self._changed_config(server)
        else:
            # What was read is what will be there. What the options have is not to be edited all the same.
            config.source = _overlay(self.changeset)
        current = {config.source.real(path): text for path, text in config.files.items()}
        sent = self.strength.sent(self.responses.values())
        adopted = _adopt.adopt(config, server.layout, self.params["policy"], sent, _crypto_policy.read())
        self.strength.adopt(adopted)
        if adopted.unlogged:
            self.result["warnings"].append(UNLOGGED.format(", ".join(adopted.unlogged)))
        for path, text in adopted.texts.items():
            basis = _webserver_model.encode(current[path])
            self.changeset.add(path, State(FILE, content=_webserver_model.encode(text), basis=basis))
        edits = {path: _adopt.edits(text) for path, text in adopted.texts.items()}
        self.result["edits"] = [{"path": path, "add": one.add, "remove": one.remove} for path, one in edits.items()]
        self.result["adopted"] = [
            {"names": vhost.names, "address": vhost.address, "port": vhost.port, "file": vhost.file, "line": vhost.line}
            for vhost in config.vhosts
            if vhost.tls
        ]

    def _changed_config(self, server: Server) -> _webserver_model.Config:
        """The configuration as it will be after the changes."""
        return _rehearsal.LOADERS[server.layout.server](server.layout, files=_overlay(self.changeset))

    def _states_to_restore(self, point: str, live: _webserver_model.Config | None) -> dict[str, State]:
        """The states before a transaction. point: its id, C(latest) or C(original)."""
        records = [record for record in self.journal.records() if record.state == _journal.COMMITTED]
        if point == "original":
            from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
                original as _original,  # needed for this alone
            )

            self.params = dict(self.params, restore=_journal.ORIGINAL)
            states, warnings = _original.states(records, live)
            self.result["warnings"] += warnings
            return states
        records = [record for record in records if not record.data.get("original_only")]
        if point == "latest":
            open_ones = [r for r in records if not r.data.get("restores") and not r.data.get("restored_by")]
            if not open_ones:
                raise _stop("restore: there is no committed transaction on this host that could be rolled back")
            point = open_ones[-1].id
        if point not in [record.id for record in records]:
            known = ", ".join(record.id for record in records) or "none"
            raise _stop(f"restore: no transaction {point!r} is kept on this host (kept: {known})")
        self.params = dict(self.params, restore=point)
        return _journal.replaced_since(records, point)

    def _probes(self, endpoints: t.Sequence[_client.Target]) -> list[_client.Target]:
        """What the probes query: every endpoint that each is for."""
        return [
            {**target, "expect": probe.get("expect"), "keep": probe.get("keep") or (), "policy": probe.get("policy")}
            for probe in self.params["probes"]
            for target in _probes.targets_for(probe, endpoints)
        ]

    def _note_silence(self, targets: t.Sequence[_client.Target], responses: t.Sequence[_client.Response]) -> None:
        """Report where the server does not respond in time even now: a later failure there is not the change's."""
        for target, response in zip(targets, responses):
            if response["error"] == _client.TIMED_OUT:
                self.result["warnings"].append(
                    f"{_client.place(target)}: {response['error']} before any change; not compared"
                )

    def _note_unreached(self, live: _webserver_model.Config) -> None:
        """Report the virtual hosts that a change could break without a message, as nothing is requested from them."""
        for vhost in _probes.unreached(live.vhosts):
            name = next(iter(vhost.names), "without a name")
            self.result["warnings"].append(UNREACHED.format(name, vhost.file, vhost.line))

    def _query(self, targets: t.Sequence[_client.Target]) -> list[_client.Response]:
        """The live server's responses from before the change. What it has responded to already is not sent again."""
        new = [target for target in targets if id(target) not in self.responses]
        if new:
            pairs = zip(new, _client.query_all(new, REQUEST_TIMEOUT))
            self.responses.update((id(target), (target, response)) for target, response in pairs)
        return [self.responses[id(target)][1] for target in targets]

    # --- stage, rehearse ---

    def _stage(self, server: Server, changes: list[Change], running: bool) -> None:
        more = {
            "family": server.layout.family,
            "restores": self.params["restore"] or None,
            "running": running,
            "certificates": self.params.get("certificates"),
        }
        saved = _replaced_certificates.whole(changes, self.params.get("certificates"))
        self.record = self.journal.begin(server.layout.server, saved, **more)
        self.result["transaction"] = self.record.id
        if self.record.id in _journal.repetitions(self.journal.records()):
            self.result["warnings"].append(REPEATED.format(", ".join(change.path for change in changes)))
        _changeset.stage(
            changes,
            ".kopano-hardening-" + self.record.id,
            t.cast("list[str]", self.record.data["new_directories"]),
        )

    def _rehearse(
        self,
        server: Server,
        live: _webserver_model.Config | None,
        changes: list[Change],
        endpoints: list[_client.Target],
        probes: list[_client.Target],
        known: dict[t.Any, _client.Response],
        before: list[_client.Response],
    ) -> None:
        if self.params["rehearse"] == "off":
            return
        # The rehearsal of a run that changes nothing shows whether the server would start again; the responses of the
        # live one are known. A virtual host responds the same at all of its addresses.
        once = [number for number, target in enumerate(probes) if changes and not target["again"]]
        probes, before = [probes[number] for number in once], [before[number] for number in once]
        try:
            result = _rehearsal.rehearse(server, changes, live, probes, self.params["rehearse"], self._grade_all)
        except _rehearsal.Failure as error:
            self._report_rehearsal(error.result)
            if not error.conclusive:
                raise _Stop(error.fault) from error
            raise self._blame(server, error.fault, bool(changes)) from error
        reported = self._report_rehearsal(result)
        for address, port in _rehearsal.conflicts(result["listening"], server.listening(), server.foreign_listening()):
            message = f"another program on this host already listens on {address} port {port}"
            raise _Stop(_diagnose.listener(message, port, self._changed_config(server)))
        if result["method"] == "namespace":
            targets = t.cast("list[_client.Target]", result["endpoints"])
            responses = t.cast("list[_client.Response]", result["endpoints"])
            self._compare(server, targets, responses, probes, result["responses"], known, before, live_now=False)
        if changes and self.params["clients_required"] and result["endpoints"] and not result["grades"]:
            # Such as one without any name, in a trial instance.
            raise _stop("clients_required: whether they can connect could not be determined, as no endpoint was graded")
        reported["grades"] = self._beside_now(result["grades"], endpoints, known)
        for grade in reported["grades"]:
            reason = self.strength.weaker_grade(grade)
            if reason:
                raise _stop("%s: %s" % (_client.endpoint(grade), reason))

    def _grade_all(self, targets: t.Sequence[t.Mapping[str, t.Any]]) -> list[Grade]:
        return self.prediction.grade_all(targets) if self.prediction else []

    def _beside_now(
        self,
        grades: list[Grade],
        endpoints: t.Sequence[_client.Target],
        known: t.Mapping[t.Any, _client.Response],
    ) -> list[Grade]:
        """The grades of a rehearsed server, each with the current one of the live server, if it has the endpoint.

        endpoints: those of the live server; known: their responses. Raises _Stop where a required client is lost.
        """
        compared = {_key(entry) for entry in grades}
        there = [{**target, **known[_key(target)]} for target in endpoints if _key(target) in compared]
        if not grades:
            return []
        now = self._grade_all(there)
        try:
            reason = self.prediction.locked_out(grades, now, self.params["clients_required"])
        except ValueError as error:
            reason = str(error)
        if reason:
            raise _stop(f"clients_required: {reason}")
        found: list[Grade] = self.prediction.compared(grades, now)
        return found

    def _report_rehearsal(self, result: Rehearsal) -> RehearsalInfo:
        self.result["timings"]["rehearsal"] = result["ms"]
        self.result["timings"]["server_start"] = result["start_ms"]
        self.result["timings"]["grading"] = result["grading_ms"]
        reported: RehearsalInfo = {
            "method": result["method"],
            "ok": result["ok"],
            "ms": result["ms"],
            "refused": result["refused"],
            "endpoints": [_shown(endpoint, endpoint) for endpoint in result["endpoints"]],
            "grades": result["grades"],
        }
        self.result["rehearsal"] = reported
        if result["refused"] and result["method"]:
            self.result["warnings"].append(
                "the rehearsal could go no further than {!r}: {}".format(result["method"], result["refused"])
            )
        return reported

    def _blame(self, server: Server, fault: _diagnose.Fault, changing: bool) -> _Stop:
        """The reason to stop: the change, or what was there before it."""
        if not changing:
            return _Stop(fault, f"the live configuration is broken, a restart would fail: {fault.message()}")
        ok, message = server.check()
        if not ok:
            earlier = _diagnose.find(message, self._live(server)[0], None)
            return _Stop(earlier, f"the configuration was already broken before this run: {earlier.message()}")
        return _Stop(fault)

    def _compare(
        self,
        server: Server,
        endpoints: t.Sequence[_client.Target],
        responses: t.Sequence[_client.Response],
        probes: t.Sequence[_client.Target],
        probe_responses: t.Sequence[_client.Response],
        known: dict[t.Any, _client.Response],
        before: t.Sequence[_client.Response],
        live_now: bool,
    ) -> None:
        """Raise for the first response that is worse than before, or not what a probe expects.

        An endpoint has to shake hands and must not fail where it did not; what its root page shows may change. A probe
        is a path that clients depend on, so it is compared strictly.
        """
        for target, response in zip(endpoints, responses):
            earlier = known.get(_key(target))
            if earlier is not None and earlier["ok"]:
                reason = _probes.worse(earlier, response, strict=False)
            else:
                # New here: it has to shake hands, unless it is there to refuse unknown names.
                refused = "unrecognized name" in (response["error"] or "").lower().replace("_", " ")
                reason = None if response["ok"] or refused or earlier is not None else response["error"]
            reason = reason or self.strength.weaker(target, earlier, response)
            self._stop_if(server, reason, target, response, live_now)
        for target, response, earlier in zip(probes, probe_responses, before):
            reason = _probes.unmet(target.get("expect"), response) if target.get("expect") else None
            reason = reason or _probes.worse(earlier, response, target.get("tls", True), target.get("keep") or ())
            reason = reason or self.strength.weaker(target, earlier, response)
            self.strength.note(target, response)
            self._stop_if(server, reason, target, response, live_now)

    def _stop_if(
        self, server: Server, reason: str | None, target: _client.Target, response: _client.Response, live_now: bool
    ) -> None:
        if reason is not None and live_now and self._has_lost(target, response):
            self.result["warnings"].append(f"{_client.place(target)}: {reason}; the host no longer has that address")
            return
        # A backend on the host's loopback is out of reach of a rehearsal: that path is judged on the live server only.
        if reason is None or (not live_now and response["status"] in _rehearsal.UNREACHABLE_BACKEND):
            return
        message = f"{_client.place(target)}: {reason}"
        from_backend = live_now and response["status"] in _rehearsal.UNREACHABLE_BACKEND
        has_no_tls = target.get("tls", True) and not response["protocol"]

        def diagnose() -> _diagnose.Fault:
            config = self._changed_config(server)
            denied = _diagnose.denied_backend(server.logged_about_requests(), config) if from_backend else ""
            reason = "; ".join(filter(None, [message, denied]))
            return _diagnose.unpaired(reason, config, self.changeset.desired) if has_no_tls else _diagnose.Fault(reason)

        raise _Stop(_diagnose.Fault(message), diagnose=diagnose if from_backend or has_no_tls else None)

    def _has_lost(self, target: _client.Target, response: _client.Response) -> bool:
        """Whether the host itself has lost an address during the run, as those of IPv6 expire. No change did that."""
        if not _client.is_unreached(response):
            return False
        own, before, now = _namespace.packed(target["address"]), self.own_addresses, _own_addresses()
        return before is not None and now is not None and own in before - now

    def _judge_unchanged(
        self, probes: list[_client.Target], responses: list[_client.Response], changing: bool, shown: list[ResponseInfo]
    ) -> None:
        """Without a change of files the live server was queried once; in check mode it may lack just that change."""
        self._enter("probe")
        self.result["probes"] = shown
        for target, response in zip(probes, responses):
            reason = None if changing else _probes.unmet(target.get("expect"), response)
            if not changing:
                self.strength.note(target, response)
            if reason:
                raise _stop(f"{_client.place(target)}: {reason}")
        self._enter("commit")

    # --- swap, reload, probe ---

    def _begun(self) -> Record:
        """The record of the transaction that was staged."""
        if self.record is None:
            raise AssertionError("no transaction was begun")
        return self.record

    def _guard(self, record: Record) -> None:
        """Prepare the host to roll the change back by itself, should this run not come to its end."""
        _guard.install(record)
        if self.params["confirm_timeout"]:
            record.save(_journal.STAGED, timer=True)
            _guard.start_timer(record, self.params["confirm_timeout"])

    def _swap(self, server: Server, live: _webserver_model.Config | None, changes: list[Change], running: bool) -> None:
        """Put the changes in place, and reload or start the server.

        Modules that have to be there before they are configured are loaded first, by a reload of their own. Where the
        old configuration fails with them, they are loaded with the rest, and one more reload follows.
        """
        record = self._begun()
        _changeset.verify(changes)
        self._guard(record)
        if running and server.main_pid() is None:
            raise _stop(f"{server.layout.unit} was stopped during the rehearsal; it stays stopped")
        record.save(_journal.SWAPPING)
        self.swapped = True
        modules = _fragments.loaded_first(server.layout, changes) if running else []
        rest = [change for change in changes if change not in modules]
        if modules:
            self.journal.swap(record, modules, later=rest)
            loaded = server.check()[0]
            if loaded:
                self._reload(server, live, running)
        self.journal.swap(record, rest)
        self.result["warnings"] += _selinux.restore_contexts(_changeset.new_paths(changes))
        _journal.clean_staging(record)

        self._enter("reload")
        self._reload(server, live, running)
        if modules and not loaded:
            self._reload(server, live, running)

    def _reload(self, server: Server, live: _webserver_model.Config | None, running: bool) -> None:
        # Somebody can have exchanged a log for a FIFO, which keeps what opens it waiting, a test as well.
        with _regular.OtherEnds(_webserver_model.log_files(live) if live else ()) as ends:
            ok, message = server.check() if self.params["rehearse"] == "off" else (True, "")
            if not ok:
                fault = _diagnose.Fault(message)
                raise _Stop(fault, diagnose=lambda: _diagnose.find(message, *self._tried(server)))
            if not running:
                if not server.start():
                    raise _stop(f"{server.layout.unit} could not be started")
            elif server.main_pid() is None:
                if self.signalled:  # by the reload that loaded a module
                    raise self._refused(server, ENDED)
                raise _stop(f"{server.layout.unit} was stopped during the change; it stays stopped")
            else:
                self.signalled = True
                ok, reason = server.reload(_error_logs.paths(server.layout, live), ends)
                if not ok:
                    raise self._refused(server, reason)

    def _refused(self, server: Server, reason: str) -> _Stop:
        fault = _diagnose.Fault(reason)
        return _Stop(fault, diagnose=lambda: _diagnose.refusal(reason, server.logged(), *self._tried(server)))

    def _tried(self, server: Server) -> tuple[_webserver_model.Config | None, _openssl.OpenSSL | None]:
        """The configuration that the server was given, which need not be on the disk any more, and its library."""
        try:
            config: _webserver_model.Config | None = self._changed_config(server)
        except (_webserver_model.ConfigError, OSError):
            config = None
        return config, _rehearsal.openssl_of(server.layout)

    def _probe_live(
        self,
        server: Server,
        probes: list[_client.Target],
        known: dict[t.Any, _client.Response],
        before: list[_client.Response],
    ) -> None:
        config = _rehearsal.LOADERS[server.layout.server](server.layout)
        endpoints = _probes.targets_of(config.vhosts)
        if self.params["confirm_timeout"]:
            _probes.mark_inside(endpoints, server.listening())
        responses = _client.query_all([*endpoints, *probes], REQUEST_TIMEOUT)
        self.result["probes"] = [_shown(target, response) for target, response in zip([*endpoints, *probes], responses)]
        earlier = [*(known.get(_key(target)) for target in endpoints), *before]
        # One that refuses unknown names was as silent before, and is no reason to wait for the server's end.
        silent = any(now["status"] is None and (was is None or was["status"]) for now, was in zip(responses, earlier))
        if silent and server.ended(END_PATIENCE):
            self._enter("reload")
            raise self._refused(server, ENDED)
        self._compare(server, endpoints, responses, probes, responses[len(endpoints) :], known, before, live_now=True)

    # --- commit, confirm ---

    def _note_edits(self, changes: list[Change]) -> None:
        """Name what somebody has written over the change: it stays, so the change is not what the options describe."""
        for change in changes:
            found = _changeset.inspect(change.path)
            if any(getattr(found, part) != getattr(change.after, part) for part in ("kind", "content", "target")):
                self.result["warnings"].append(EDITED.format(change.path))

    def _commit(self) -> None:
        record = self._begun()
        if record.data.get("timer"):
            record.save(_journal.CONFIRMING, **_guard.deadline(self.params["confirm_timeout"]))
            return
        _on_signals(_ignored)  # too late to roll it back
        record.save(_journal.PROVEN)
        self._finish(record)

    def _finish(self, record: Record) -> None:
        """Complete the record of what is proven. Where that fails, the change stays all the same: it is a warning."""
        try:
            _finish(self.journal, record, self.params["keep"])
        except EXPECTED as error:
            self.result["warnings"].append(UNFINISHED.format(record.id, error))
            return
        self._tidy(record)

    def _confirm(self, identifier: str) -> None:
        self._enter("commit")
        record = next((record for record in self.journal.records() if record.id == identifier), None)
        state = record.state if record else None
        if record is None or state not in (_journal.CONFIRMING, _journal.COMMITTED):
            self.result["rolled_back"] = state == _journal.UNDONE
            raise _stop(_UNCONFIRMABLE.get(state, _UNCONFIRMABLE[None]).format(identifier))
        self.result["transaction"] = record.id
        if state == _journal.COMMITTED:
            return  # confirmed before, by a run whose result was lost on its way
        if not self.check_mode:
            _on_signals(_ignored)
            record.save(_journal.PROVEN)
            self._finish(record)
        self.result["changed"] = True


def explained(fault: _diagnose.Fault, diagnose: t.Callable[[], _diagnose.Fault]) -> _diagnose.Fault:
    """What is found out about a fault within a time limit; else the fault as it is known, and why there is no more."""
    await_ended_threads()
    try:
        return _diagnose.Fault(**Beside(lambda: diagnose()._asdict()).result(DIAGNOSIS_TIMEOUT))
    except Exception as error:  # whatever it is, it costs no more than the explanation
        return fault._replace(reason=f"{fault.reason}; the cause could not be determined: {error}")


# --- shared by the steps and the recovery ----------------------------------------------------------------------------


def _on_signals(action: t.Any) -> None:
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(name, action)


def _ignored(_number: int, _frame: t.Any) -> None:
    """Unlike SIG_IGN it is not passed on to a server that the rollback starts."""


def _interrupted(number: int, _frame: t.Any) -> None:
    _on_signals(_ignored)  # one is enough, more would disturb the rollback
    raise _Interrupted("interrupted by signal %d" % number)


def _own_addresses() -> frozenset[bytes] | None:
    """None where they cannot be read from the kernel."""
    try:
        return _namespace.usable_addresses()
    except OSError:
        return None


def _once(targets: t.Iterable[_client.Target]) -> list[_client.Target]:
    """Each virtual host at one of its addresses only."""
    return [target for target in targets if not target["again"]]


def _key(target: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    return target["address"], target["port"], target["server_name"]


def _shown(target: t.Mapping[str, t.Any], response: t.Mapping[str, t.Any]) -> ResponseInfo:
    """One response as the module returns it."""
    return {
        "address": target["address"],
        "port": target["port"],
        "server_name": target.get("server_name"),
        "outside": target.get("outside", True),
        "tls_group": target.get("tls_group"),
        "path": target.get("path"),
        "ok": response["ok"],
        "protocol": response["protocol"],
        "cipher": response["cipher"],
        "certificate": response["certificate"],
        "status": response["status"],
        "location": response["location"],
        "hsts": response["headers"].get("strict-transport-security", []),
        "error": response["error"],
        "ms": response["ms"],
    }


def file_state(item: t.Mapping[str, t.Any]) -> State:
    """The state that one entry of web_config's files describes. Raises ChangeError for an unknown owner or group."""
    if item["state"] == "absent":
        return State(ABSENT)
    return State(
        FILE,
        content=item["content"].encode("utf-8", "surrogateescape"),
        mode=int(item["mode"], 8) if item["mode"] else None,
        uid=_changeset.owner_id(item["owner"]),
        gid=_changeset.group_id(item["group"]),
    )


def _overlay(changeset: Changeset) -> _webserver_model.Files:
    """The host's files with the changes laid over them."""
    texts: dict[str, str | None] = {}
    links = {}
    for path, state in changeset.desired.items():
        if state.kind == _changeset.LINK:
            links[path] = state.target
        else:
            texts[path] = _webserver_model.decode(state.content) if state.kind == FILE else None
    return _webserver_model.Files(texts, links)


def _choose_layout(option: str, restored: t.Container[str]) -> _layout.Layout:
    """The layout of the server that the option names. restored: of a restore, the servers that it is about."""
    layouts = {layout.server: layout for layout in _layout.detect(option)}
    if not layouts:
        reason = _layout.unsupported(_layout.os_release())
        if reason:
            raise _stop(reason)
        raise _stop("server: no %s is installed on this host" % ("Apache or nginx" if option == "auto" else option))

    def runs(name: str) -> bool:
        return Server(layouts[name]).main_pid() is not None

    def serves_tls(name: str) -> bool:
        return bool(tls_vhosts(layouts[name]))

    try:
        return layouts[_layout.choose([*layouts], runs, restored.__contains__, serves_tls)]
    except _layout.Ambiguous as error:
        raise _stop(str(error)) from error


def tls_vhosts(layout: _layout.Layout) -> list[_webserver_model.Vhost]:
    """The virtual hosts with TLS of a server's configuration; none where it cannot be read."""
    try:
        return [vhost for vhost in _rehearsal.LOADERS[layout.server](layout).vhosts if vhost.tls]
    except _webserver_model.ConfigError:
        return []


def _servers_to_restore(journal: Journal, restore: str | None) -> set[str]:
    """The servers whose files a restore is about, as the records have them."""
    if not restore:
        return set()
    committed = [record for record in journal.records() if record.state == _journal.COMMITTED]
    if restore == "original":
        records = _journal.since_original(committed)
    elif restore == "latest":
        records = [r for r in committed if not r.data.get("restores") and not r.data.get("restored_by")][-1:]
    else:
        records = [record for record in committed if record.id >= restore]
    return {str(record.data["server"]) for record in records}


def _server_of(record: Record) -> Server | None:
    """The server that a transaction was of; None if it is no longer installed."""
    layouts = _layout.detect(record.data["server"])
    return Server(layouts[0]) if layouts else None


def _finish(journal: Journal, record: Record, keep: int) -> None:
    """Commit what was proven good, and drop records that are too old. Those of certificates have their own place."""
    if record.data.get("certificates"):
        _guard.remove(record)  # its program lies in the folder that is moved; the next run finishes what is proven
        _replaced_certificates.set_aside(journal, record)
        return
    restored = record.data.get("restores")
    if restored:
        for other in journal.records():
            if restored <= other.id < record.id and other.state == _journal.COMMITTED:
                _journal.remove_new_directories(other)
                other.save(_journal.COMMITTED, restored_by=record.id)
    record.save(_journal.COMMITTED, committed=_journal.now())
    _guard.remove(record)
    journal.prune(keep)


def _undo(
    journal: Journal,
    record: Record,
    may_start: t.Callable[[Server], bool],
    rolled_back_by: str | None = None,
    restored: t.Callable[[], None] = lambda: None,
) -> list[str]:
    """Restore the files and reload the server with them; returns the paths that were not as before.

    The files come first: nothing that can fail or hang comes before them. may_start: whether a server is started again
    that no longer runs. restored: called when the files are as they were.
    """
    paths = _journal.undo(record)
    restored()
    if record.state == _journal.STAGED:
        journal.discard(record)
    else:
        server = _server_of(record)
        if server is not None:
            _serve_again(server, record.data.get("running", True), may_start)
        # When the disk is full the record stays open, and the next run finds nothing left to restore.
        with contextlib.suppress(_journal.JournalError):
            record.save(_journal.UNDONE, rolled_back_by=rolled_back_by)
    _guard.remove(record)
    return paths


def _serve_again(server: Server, was_running: bool, may_start: t.Callable[[Server], bool]) -> None:
    """Bring the server back to what it was before the change, with its old configuration. Raises ChangeError."""
    unit = server.layout.unit
    if not was_running:
        if server.main_pid() is not None and not server.stop():
            raise _changeset.ChangeError(f"{unit} did not run before the change, and cannot be stopped again")
        return
    message = ""
    # Somebody can have exchanged a log for a FIFO, which would keep the server from opening it.
    with _regular.OtherEnds(_logs(server)) as ends:
        if server.main_pid() is not None:
            ok, message = server.reload((), ends)
            if ok:
                return
        elif not may_start(server):
            return
        if not server.start():
            raise _changeset.ChangeError(f"{unit} could not be started again{message and ': ' + message}")


def _logs(server: Server) -> list[str]:
    """The logs of the configuration on the disk, as far as it can be read."""
    try:
        config = _rehearsal.LOADERS[server.layout.server](server.layout)
    except (_webserver_model.ConfigError, OSError):
        config = None
    return [*_error_logs.paths(server.layout, config), *(_webserver_model.log_files(config) if config else ())]


def _unless_stopped(server: Server) -> bool:
    return not server.was_stopped()


def _never(_server: Server) -> bool:
    """At a boot: the service manager starts the web server itself, after the guard."""
    return False


def recover(
    journal: Journal,
    record: Record,
    may_start: t.Callable[[Server], bool] = _unless_stopped,
    rolled_back_by: str | None = None,
) -> tuple[str, list[str]]:
    """Undo or finish an interrupted transaction; returns which, and the paths that were restored."""
    if record.state == _journal.PROVEN:
        _finish(journal, record, keep=max(1, len(journal.records())))
        return "finished", []
    return "undone", _undo(journal, record, may_start, rolled_back_by)


def roll_back_unfinished(folder: str, identifier: str, occasion: str) -> int:
    """The guard's own run: undo or finish the transaction if it is still open; returns the exit status.

    occasion: C(boot) or C(timer). A run that holds the lock has some more time to end, and is then killed: no change
    may stay unconfirmed, and the run that made it may have been stopped, or wait for what never comes.
    """
    journal, lock = Journal(folder), Lock()
    for pause in (*GUARD_PAUSES, None):
        try:
            take_over(lock, HOLDER_PATIENCE)
            for record in journal.records():
                if record.id != identifier:
                    continue
                if record.state in _journal.OPEN:
                    recover(journal, record, _never if occasion == "boot" else _unless_stopped, occasion)
                else:
                    _guard.remove(record)  # a crash kept the run from that
            return 0
        except Exception as error:  # whatever it is, the next attempt may succeed
            sys.stderr.write(f"kopano-hardening: the rollback of {identifier} failed: {error}\n")
        finally:
            lock.release()
        if pause is not None:
            time.sleep(pause)
    return 1


def take_over(lock: Lock, seconds: float, own: t.Container[int] = ()) -> None:
    """Take a lock, or end those who hold it longer than that. own: processes that were killed already.

    With own ones no other process is ended. Raises JournalError where one holds the lock, or it is not known which. A
    process that was killed and that the kernel does not let end does nothing more either: then no lock is needed.
    """
    short = min(seconds, END_SECONDS)
    if _taken_within(lock, short):
        return
    # One that was stopped (SIGSTOP) will not end however long it is waited for.
    holders = lock.holders()
    if not (holders and all(map(_process.is_stopped, holders))):
        if _taken_within(lock, seconds - short):
            return
        holders = lock.holders()
    if not holders or (own and not all(pid in own for pid in holders)):
        lock.acquire()  # for its message: without a known holder it is not known that it is over
        return
    for pid in holders:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _taken_within(lock, END_SECONDS)


def _taken_within(lock: Lock, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            lock.acquire()
            return True
        except _journal.JournalError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(LOCK_PAUSE)
