# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What survives a crash: the lock, the record of each transaction, and the states that it replaced.

A transaction is a directory C(transactions/ID) below the state directory, with a C(record.json) that is only ever
replaced by an atomic rename, and the contents of the replaced files in C(before/). The record's C(state) decides what
the next run has to do:

=============  ==========================================================================================
C(staged)      nothing live was touched: remove the staging directories
C(swapping)    some paths may have been replaced: put every one back, have the server read them again
C(confirming)  everything is in place and waits for a confirmation until C(deadline)
C(proven)      the live server was probed and found good: finish
C(committed)   done; kept for I(restore)
C(undone)      taken back; kept only until the next transaction
=============  ==========================================================================================

What somebody else has written to its paths meanwhile is no part of a record and outlives it (L(_transaction.edits)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import process as _process
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import edits as _edits
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import Change, State

STATE_DIRECTORY = "/var/lib/kopano-hardening"
LOCK_FILE = "/run/kopano-hardening.lock"

STAGED, SWAPPING, CONFIRMING, PROVEN, COMMITTED, UNDONE = (
    "staged",
    "swapping",
    "confirming",
    "proven",
    "committed",
    "undone",
)
OPEN = (STAGED, SWAPPING, CONFIRMING, PROVEN)


RESTORE_ATTEMPTS = 3  # for a path that somebody writes at the very same time

# Instead of a transaction's id: what was there before the first one. It sorts before every id.
ORIGINAL = "000000"


class JournalError(Exception):
    """The state directory or the lock cannot be used; the message has which and why."""


def now() -> str:
    """The time as RFC 3339 in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Lock:
    """One transaction a host at a time. The file names the process that holds it, and its phase.

    Any user that can open the file can lock it, so it is for its owner alone. Older versions let all users read it:
    such a file is never the lock, and is removed as soon as no process of root's holds it.
    """

    def __init__(self, path: str = LOCK_FILE) -> None:
        self.path = path
        self._stream: t.TextIO | None = None
        self._since = now()

    def acquire(self) -> None:
        """Take the lock or raise JournalError with what the holder wrote; never waits.

        A file that was created in vain stays, as only who has locked it may remove it.
        """
        while self._stream is None:
            stream = self._open()
            try:
                if self._lock(stream):
                    self._stream = stream
            except OSError as error:
                raise JournalError(f"cannot lock {self.path}: {error.strerror}") from error
            finally:
                if self._stream is None:
                    stream.close()

    def _lock(self, stream: t.TextIO) -> bool:
        """Lock the file; False where it is not the lock any more. Raises JournalError where another run has it."""
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if not _is_shared(stream) or any(self._held_by(stream)):
                raise self._taken(stream) from error
        else:
            # The holder before us unlinks its file: what we have locked must be what others will find.
            if not _is_shared(stream) and self._is_there(stream):
                return True
        if _is_shared(stream):
            self._replace(stream)
        return False

    def _open(self) -> t.TextIO:
        """The file, made if it is not there. Raises JournalError for what no version of this collection makes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            fix = "; remove it" if os.path.lexists(self.path) else ""
            raise JournalError(f"cannot open the lock {self.path}: {error.strerror}{fix}") from error
        try:
            found = os.fstat(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise JournalError(f"cannot open the lock {self.path}: {error.strerror}") from error
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            return os.fdopen(descriptor, "r+")
        os.close(descriptor)
        fault = "belongs to another user" if stat.S_ISREG(found.st_mode) else "is not a regular file"
        raise JournalError(f"the lock {self.path} {fault}; remove it")

    def _taken(self, stream: t.TextIO) -> JournalError:
        holder = stream.read().strip()
        return JournalError(
            "another transaction is under way on this host (%s); wait for it to end, then run again"
            % (holder or "nothing more is known")
        )

    def _is_there(self, stream: t.TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _replace(self, stream: t.TextIO) -> None:
        """Remove a file that users can open. Its own lock keeps two runs from removing each other's new one."""
        guard = Lock(self.path + ".replacing")
        guard.acquire()
        try:
            if self._is_there(stream):
                os.unlink(self.path)
        finally:
            guard.release()

    def holders(self) -> list[int]:
        """The other processes of root's that hold the lock, also by a descriptor that they have inherited."""
        try:
            stream = self._open()
        except JournalError:
            return []
        with stream:
            return [pid for pid in self._held_by(stream) if pid != os.getpid()]

    def _held_by(self, stream: t.TextIO) -> t.Iterator[int]:
        return _holders(stream, os.path.basename(self.path))

    def set_phase(self, phase: str) -> None:
        """Write the phase into the file, for a run that finds the lock taken."""
        if self._stream is not None:
            line = "pid %d, since %s, phase %s\n" % (os.getpid(), self._since, phase)
            try:
                os.ftruncate(self._stream.fileno(), 0)
                os.pwrite(self._stream.fileno(), line.encode(), 0)
            except OSError:
                pass  # /run is full: it is locked all the same

    def release(self) -> None:
        """Release the lock. Raises OSError where its file cannot be removed; the lock is released all the same."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            with stream:
                if self._is_there(stream):
                    os.unlink(self.path)


def _is_shared(stream: t.TextIO) -> bool:
    """Whether other users than its owner may open a file."""
    return bool(os.fstat(stream.fileno()).st_mode & 0o077)


def _holders(stream: t.TextIO, file: str) -> t.Iterator[int]:
    """The processes of root's that hold a lock on a file of this name; their descriptors show that of an inherited lock
    as well."""
    wanted = os.fstat(stream.fileno())
    for pid in _process.roots_processes():
        with contextlib.suppress(OSError):
            if any(_is_locked(pid, number, file, wanted) for number in os.listdir("/proc/%d/fd" % pid)):
                yield pid


def _is_locked(pid: int, number: str, file: str, wanted: os.stat_result) -> bool:
    """Whether a descriptor of a process is a locked one of this file.

    Its name comes first: the status of any other file would have to come from its file system, which may not respond.
    """
    path = "/proc/%d/fd/%s" % (pid, number)
    with contextlib.suppress(OSError):
        if file in os.readlink(path) and os.path.samestat(os.stat(path), wanted):
            with open("/proc/%d/fdinfo/%s" % (pid, number)) as text:
                return "\nlock:" in text.read()
    return False


class Record:
    """One transaction on disk."""

    def __init__(self, folder: str, data: dict[str, t.Any], found: _edits.Found) -> None:
        self.folder = folder
        self.data = data
        self.found = found

    @property
    def id(self) -> str:
        return os.path.basename(self.folder)

    @property
    def state(self) -> str:
        return str(self.data["state"])

    def save(self, state: str, **more: t.Any) -> None:
        """Replace the record, so that a power cut leaves the old or the new one. more: further fields.

        Raises JournalError. The record is then the old one; only one that cannot be written at all any more may be the
        new one on the disk.
        """
        data = dict(self.data, **dict(more, state=state))
        try:
            self._write(data)
        except OSError as error:
            if "state" in self.data:
                # The new one may be on the disk, where the next run would read what this run does not report.
                with contextlib.suppress(OSError):
                    self._write(self.data)
            raise JournalError(f"cannot write the journal {self._path}: {error.strerror}") from error
        self.data = data

    @property
    def _path(self) -> str:
        return os.path.join(self.folder, "record.json")

    def _write(self, data: dict[str, t.Any]) -> None:
        draft = self._path + ".new"
        with open(draft, "w") as stream:
            json.dump(data, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(draft, self._path)
        _changeset.fsync_directory(self.folder)

    def before(self) -> dict[str, State]:
        """The states that this transaction replaced, by path, in its order."""
        return {entry["path"]: self.load(entry["before"]) for entry in self.data["entries"]}

    def after_digests(self) -> dict[str, str | None]:
        """SHA-256 of each file that this transaction wrote, by path; None where it left no file."""
        return {entry["path"]: entry["after"] for entry in self.data["entries"]}

    def keep_found(self, path: str, state: State, movable: str | None) -> State:
        """Keep what somebody else has written to a path; see L(_transaction.edits)."""
        return self.found.keep(self.id, path, state, now(), movable)

    def load(self, saved: dict[str, t.Any]) -> State:
        content = b""
        if saved["kind"] == _changeset.FILE:
            with open(os.path.join(self.folder, "before", saved["content"]), "rb") as stream:
                content = stream.read()
        xattrs = saved["xattrs"]
        return State(
            saved["kind"],
            content=content,
            target=saved["target"],
            mode=saved["mode"],
            uid=saved["uid"],
            gid=saved["gid"],
            xattrs=None if xattrs is None else {name: bytes.fromhex(value) for name, value in xattrs.items()},
        )


def _is_known(entry: dict[str, t.Any], before: State, found: State) -> bool:
    """Whether a path is as its transaction has left it, or as it was before: then nothing else has written it."""
    known = _edits.describe(found)
    if known == _edits.describe(before):
        return True
    if "wrote" in entry:
        return bool(known == entry["wrote"])
    # A record of an earlier version of this collection: it knows the contents of files only.
    return known["sha256"] == entry["after"] or (known["sha256"] is not None and known["sha256"] == before.sha256)


def _dump(state: State, content: str) -> dict[str, t.Any]:
    return {
        "kind": state.kind,
        "content": content,
        "target": state.target,
        "mode": state.mode,
        "uid": state.uid,
        "gid": state.gid,
        "xattrs": None if state.xattrs is None else {name: value.hex() for name, value in state.xattrs.items()},
    }


class Journal:
    """All transactions of this host."""

    def __init__(self, folder: str = STATE_DIRECTORY) -> None:
        self.folder = folder
        self.transactions = os.path.join(folder, "transactions")
        self.found = _edits.Found(os.path.join(folder, "found"))

    def records(self) -> list[Record]:
        """Oldest first. What a crash left before anything happened has no record: it is not listed."""
        try:
            # A user that could write here could replace any file of the host.
            _paths.check_private(self.transactions)
            names = sorted(os.listdir(self.transactions))
        except FileNotFoundError:
            return []
        except _changeset.ChangeError as error:
            raise JournalError(str(error)) from error
        found = []
        for name in names:
            folder = os.path.join(self.transactions, name)
            try:
                with open(os.path.join(folder, "record.json")) as stream:
                    found.append(Record(folder, json.load(stream), self.found))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise JournalError(
                    "{} cannot be read: {}".format(os.path.join(folder, "record.json"), error)
                ) from error
        return found

    def unfinished(self) -> Record | None:
        for record in self.records():
            if record.state in OPEN:
                return record
        return None

    def begin(self, server: str, changes: t.Sequence[Change], **more: t.Any) -> Record:
        """Save what the changes will replace; nothing live is touched. Raises JournalError."""
        # A running number orders them, for clocks can be set back; the time is for people, the rest against chance.
        known = [*(record.id for record in self.records()), *self.found.identifiers()]
        last = max((int(name.split("-")[0]) for name in known), default=0)
        identifier = "%06d-%s-%s" % (last + 1, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), secrets.token_hex(3))
        folder = os.path.join(self.transactions, identifier)
        record = Record(
            folder,
            {
                "id": identifier,
                "server": server,
                "started": now(),
                "staging": _changeset.stage_directories(changes, ".kopano-hardening-" + identifier),
                "new_directories": _changeset.new_directories(changes),
                "entries": [
                    {
                        "path": change.path,
                        "before": _dump(change.before, str(number)),
                        "after": change.after.sha256 if change.after.kind == _changeset.FILE else None,
                        "replaced": _edits.describe(change.before),
                        "wrote": _edits.describe(change.after),
                    }
                    for number, change in enumerate(changes)
                ],
            },
            self.found,
        )
        for undone in self.records():
            if undone.state == UNDONE:
                self.discard(undone)
        self.found.prune()
        try:
            _paths.make_private(self.folder)
            _paths.make_private(self.transactions)
            os.mkdir(folder, 0o700)
            os.mkdir(os.path.join(folder, "before"), 0o700)
            for number, change in enumerate(changes):
                if change.before.kind == _changeset.FILE:
                    copy = os.path.join(folder, "before", str(number))
                    _changeset.write_file(copy, State(_changeset.FILE, content=change.before.content, mode=0o600))
            _changeset.fsync_directory(os.path.join(folder, "before"))
            record.save(STAGED, **more)
            _changeset.fsync_directory(self.transactions)
        except (OSError, JournalError, _changeset.ChangeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise JournalError(f"cannot save the replaced files in {folder}: {error}") from error
        return record

    def swap(self, record: Record, changes: list[Change], later: t.Sequence[Change] = ()) -> None:
        """Put these changes of the record in place. Raises ChangeError; what is done by then is for undo().

        A path that was written since it was read stops it. That one and those after it, the C(later) changes
        of the record among them, are noted, so that a rollback leaves them as they are.
        """
        if later or record.data.get("untouched"):
            record.save(SWAPPING, untouched=[change.path for change in later])
        try:
            if record.data.get("restores"):
                self._keep_edits(record, changes)
            _changeset.apply(changes)
        except BaseException:
            record.data["untouched"] = [change.path for change in (*changes, *later) if not change.touched]
            with contextlib.suppress(JournalError):  # after a crash such a path is restored, and what it was is kept
                record.save(record.state)
            raise

    def _keep_edits(self, record: Record, changes: t.Iterable[Change]) -> None:
        """Keep what somebody has written to each path since the transaction that a restore goes back to."""
        entries: dict[str, list[tuple[Record, dict[str, t.Any]]]] = {}
        for other in self.records():
            for entry in other.data["entries"] if other.state == COMMITTED else ():
                entries.setdefault(entry["path"], []).append((other, entry))
        for change in changes:
            known = entries.get(change.path, [])
            if change.after.basis is not None:
                continue  # a state that was computed from what is there has the edits in it
            # What a later transaction has found and changed further is in its own record only, which does not stay.
            since = [pair for pair in known if pair[0].id >= record.data["restores"]]
            for (earlier, entry), (later, replaced) in zip(since, since[1:]):
                found = later.load(replaced["before"])
                if not _is_known(entry, earlier.load(entry["before"]), found):
                    record.keep_found(change.path, found, movable=None)
            if known and not _is_known(known[-1][1], change.after, change.before):
                record.keep_found(change.path, change.before, movable=None)

    def discard(self, record: Record) -> None:
        self._forget(record.id)

    def _forget(self, identifier: str) -> None:
        folder = os.path.join(self.transactions, identifier)
        with contextlib.suppress(OSError, _changeset.ChangeError):
            self.found.adopt(identifier, os.path.join(folder, "found"))
        if not os.path.isdir(os.path.join(folder, "found")):
            shutil.rmtree(folder, ignore_errors=True)

    def prune(self, keep: int) -> None:
        """Forget all but the newest committed transactions, and what a crash left half begun.

        Those that know what a path was before the first one, and what was written last, are kept for that alone. Of
        repetitions only the newest is kept, and it does not count.
        """
        records = self.records()
        committed = [record for record in records if record.state == COMMITTED]
        repeated = repetitions(records)
        distinct = [record for record in committed if record.id not in repeated]
        kept = {record.id for record in [*distinct[-keep:], *committed[-1:]]} if keep else set()
        for record in _ends(since_original(committed)):
            if record.id not in kept and not record.data.get("original_only"):
                record.save(COMMITTED, original_only=True)
            kept.add(record.id)
        kept.update(record.id for record in records if record.state in OPEN)
        for name in os.listdir(self.transactions) if os.path.isdir(self.transactions) else ():
            if name not in kept:
                self._forget(name)
        self.found.prune()


def since_original(records: t.Sequence[Record]) -> list[Record]:
    """The committed transactions since the last one that put everything back, oldest first."""
    found: list[Record] = []
    for record in records:
        if record.state == COMMITTED:
            found = [] if record.data.get("restores") == ORIGINAL else [*found, record]
    return found


def repetitions(records: t.Iterable[Record]) -> set[str]:
    """The ids of the transactions that changed each of their paths as the one before had: another program had undone
    that, such as one that writes a file from a template before each run."""
    last: dict[str, dict[str, t.Any]] = {}
    found = set()
    for record in records:
        entries = record.data["entries"]
        # Records of earlier versions of this collection do not know what they replaced.
        if entries and all("replaced" in entry and _is_equal(entry, last.get(entry["path"])) for entry in entries):
            found.add(record.id)
        # What was rolled back has changed nothing: to do it once more is no repetition.
        if record.state == COMMITTED:
            last.update((entry["path"], entry) for entry in entries)
    return found


def _is_equal(entry: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any] | None) -> bool:
    return other is not None and all(entry[key] == other.get(key) for key in ("replaced", "wrote"))


def _ends(records: t.Sequence[Record]) -> list[Record]:
    """The first and the last transaction of each path."""
    first: dict[str, Record] = {}
    last: dict[str, Record] = {}
    for record in records:
        for entry in record.data["entries"]:
            first.setdefault(entry["path"], record)
            last[entry["path"]] = record
    return [*first.values(), *last.values()]


# --- taking back -----------------------------------------------------------------------------------------------------


def clean_staging(record: Record) -> list[str]:
    """Remove the staging directories; returns those that cannot be."""
    for folder in record.data["staging"]:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder for folder in record.data["staging"] if os.path.lexists(folder)]


def remove_new_directories(record: Record) -> None:
    for folder in reversed(record.data["new_directories"]):
        _paths.remove_directory(folder)  # unless it was never made, or somebody else has put something in


def undo(record: Record) -> list[str]:
    """Put every path of the record back as it was; return the paths that were not.

    What somebody else has written to them since is kept first (L(_transaction.edits)): nothing is lost. Raises
    ChangeError after having tried every path; the record then stays open for the next run.
    """
    undone, failures = [], []
    if record.state != STAGED:  # then nothing live was touched, and what has changed is not ours to change back
        failures += _keep_staged(record)
        for entry in record.data["entries"]:
            try:
                if entry["path"] not in record.data.get("untouched", ()) and _restore(record, entry):
                    undone.append(entry["path"])
            except Exception as error:  # whatever it is, it must not keep the other paths from being restored
                failures.append(str(error) or type(error).__name__)
    clean_staging(record)
    remove_new_directories(record)
    if failures:
        raise _changeset.ChangeError("; ".join(failures))
    return undone


def _restore(record: Record, entry: dict[str, t.Any]) -> bool:
    """Bring one path back to what it was; False if it is that already. Raises ChangeError, OSError."""
    path, before = entry["path"], record.load(entry["before"])
    _changeset.sweep(path)
    for attempt in range(RESTORE_ATTEMPTS):
        found = _changeset.inspect(path)
        if before.completed_from(found).same_as(found):
            return attempt > 0
        if not _is_known(entry, before, found):
            found = record.keep_found(path, found, movable=path)
        for folder in _changeset.missing_parents(path) if before.kind != _changeset.ABSENT else ():
            _paths.make_directory(folder)
        try:
            _changeset.put(path, before, expected=found)
            return True
        except _changeset.Unexpected:
            continue
    raise _changeset.ChangeError(f"{path} is being written by somebody else all the time, so it cannot be restored")


def _keep_staged(record: Record) -> list[str]:
    """Keep what a killed run has moved away from a path and not restored; return what cannot be kept."""
    failures = []
    for folder in record.data["staging"]:
        for number, entry in enumerate(record.data["entries"]):
            try:
                staged = os.path.join(folder, str(number))
                found = _changeset.inspect(staged)
                if found.kind != _changeset.ABSENT and not _is_known(entry, record.load(entry["before"]), found):
                    record.keep_found(entry["path"], found, movable=staged)
            except (_changeset.ChangeError, OSError) as error:
                failures.append(str(error))
    return failures


def replaced_since(records: t.Sequence[Record], identifier: str) -> dict[str, State]:
    """What every path was before the transaction of this id: the oldest state that it and the later ones replaced."""
    states: dict[str, State] = {}
    for record in records:
        if record.id >= identifier and record.state == COMMITTED:
            for path, state in record.before().items():
                states.setdefault(path, state)
    return states
