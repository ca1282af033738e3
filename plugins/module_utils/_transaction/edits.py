# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What an administrator has written to paths that a rollback or a restore replaces: kept, and named in a result.

Each transaction that met such a path has a directory C(found/ID) below the state directory, which outlives the
transaction's own record. C(index.json) has the path of each numbered copy, with everything that a restore by hand
needs, and whether a run has reported it yet. The newest C(KEPT) directories stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    LINK,
    OTHER,
    State,
)

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Kept(t.TypedDict):  # novm
        """What was found at a path and replaced, as web_config returns it."""

        path: str
        copy: str | None  # where it is kept; None: the path had been removed

else:
    Kept = t.Dict[str, t.Any]

KEPT = 100  # transactions, and only those in whose paths somebody else had written
INDEX = "index.json"


class Found:
    """What was found at paths that were about to be replaced, by the transaction that replaced them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        # What could not be written down, because the disk is full for example: it is reported by this process.
        self._unsaved: list[tuple[str, dict[str, t.Any]]] = []

    def keep(self, identifier: str, path: str, state: State, time: str, movable: str | None) -> State:
        """Keep what was found for path, the state; return what is there then. Raises ChangeError, OSError.

        movable: where it lies. It is moved away from there if it cannot be copied, which happens when the disk is full,
        and with what is neither file nor link. None: it has to stay, so then this fails.
        """
        entries = self._entries(identifier)
        entry = dict(describe(state), path=path)
        if state.kind != OTHER and any(entry.items() <= known.items() for known in entries):
            return state  # kept by a rollback that failed after this
        copy: str | None = _free(os.path.join(self.folder, identifier))
        left = state
        if state.kind == ABSENT:
            copy = None
        elif not self._copy(str(copy), state):
            if movable is None:
                raise _changeset.ChangeError(
                    f"{path} has been changed by somebody else, and cannot be copied to {copy}"
                )
            copy, left = _changeset.move_aside(movable, str(copy)), State(ABSENT)
        entry.update(copy=copy, time=time)
        try:
            self._save(identifier, [*entries, entry], reported=False)
        except (OSError, _changeset.ChangeError):
            self._unsaved.append((identifier, entry))
        return left

    def _copy(self, goal: str, state: State) -> bool:
        """Whether there is a complete copy now."""
        try:
            _paths.make_private(self.folder)
            _paths.make_private(os.path.dirname(goal))
            if state.kind != OTHER:
                _changeset.write_file(goal, _private(state))
                return True
        except (OSError, _changeset.ChangeError):
            with contextlib.suppress(OSError):
                os.unlink(goal)
        return False

    def entries(self, identifier: str) -> list[Kept]:
        """What was found by a transaction."""
        unsaved = [entry for owner, entry in self._unsaved if owner == identifier]
        return [{"path": entry["path"], "copy": entry["copy"]} for entry in [*self._entries(identifier), *unsaved]]

    def report(self, mark: bool) -> list[str]:
        """A sentence for each path of which no run has reported yet. mark: whether this run's result names them."""
        sentences = [_sentence(identifier, entry) for identifier, entry in self._unsaved]
        for identifier in self.identifiers():
            index = self._index(identifier)
            if not index["reported"]:
                sentences += [_sentence(identifier, entry) for entry in index["found"]]
                if mark:
                    with contextlib.suppress(OSError):  # then the next run reports it once more
                        self._save(identifier, index["found"], reported=True)
        return sentences

    def adopt(self, identifier: str, folder: str) -> None:
        """Take over what a record of an earlier version of this collection has in its own directory."""
        goal = os.path.join(self.folder, identifier + "-earlier")
        if os.path.isdir(folder) and not os.path.lexists(goal):
            _paths.make_private(self.folder)
            os.rename(folder, goal)

    def prune(self) -> None:
        for identifier in self.identifiers()[:-KEPT]:
            for entry in self._index(identifier)["found"]:
                copy = entry["copy"] or ""
                if copy and os.path.dirname(copy) != os.path.join(self.folder, identifier):
                    _remove(copy)
            _remove(os.path.join(self.folder, identifier))

    def identifiers(self) -> list[str]:
        """Oldest first, by their running numbers."""
        try:
            return sorted(os.listdir(self.folder))
        except OSError:
            return []

    # --- the index ---

    def _index(self, identifier: str) -> dict[str, t.Any]:
        try:
            with open(os.path.join(self.folder, identifier, INDEX)) as stream:
                index: dict[str, t.Any] = json.load(stream)
                return index
        except (OSError, ValueError):
            return {"found": [], "reported": True}

    def _entries(self, identifier: str) -> list[dict[str, t.Any]]:
        entries: list[dict[str, t.Any]] = self._index(identifier)["found"]
        return entries

    def _save(self, identifier: str, entries: list[dict[str, t.Any]], reported: bool) -> None:
        folder = os.path.join(self.folder, identifier)
        _paths.make_private(self.folder)
        _paths.make_private(folder)
        draft = os.path.join(folder, INDEX + ".new")
        with open(draft, "w") as stream:
            json.dump({"found": entries, "reported": reported}, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(draft, os.path.join(folder, INDEX))
        _changeset.fsync_directory(folder)
        _changeset.fsync_directory(self.folder)


def _free(folder: str) -> str:
    """The path of the first number that has no copy yet."""
    number = 0
    while os.path.lexists(os.path.join(folder, str(number))):
        number += 1
    return os.path.join(folder, str(number))


def describe(state: State) -> dict[str, t.Any]:
    """A state without its content and extended attributes: enough to recognise what a transaction has written."""
    is_file = state.kind == FILE
    return {
        "kind": state.kind,
        "sha256": state.sha256 if is_file else None,
        "target": state.target,
        "mode": state.mode if is_file else None,
        "uid": state.uid if is_file else None,
        "gid": state.gid if is_file else None,
    }


def _private(state: State) -> State:
    if state.kind == LINK:
        return State(LINK, target=state.target)
    return State(FILE, content=state.content, mode=0o600)


def _sentence(identifier: str, entry: dict[str, t.Any]) -> str:
    path, copy = entry["path"], entry["copy"]
    if copy is None:
        return f"{path} had been removed since transaction {identifier} wrote it; it is there again as it was before"
    return (
        f"{path} was neither as transaction {identifier} had left it nor as it was before, so somebody else had "
        f"changed it; it has been replaced, and what it was is kept in {copy}"
    )


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)
