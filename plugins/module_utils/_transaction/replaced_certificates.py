# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Certificates and keys that were replaced: the journal's records of it, in a place of their own.

They are not among the transactions, since a restore of another change would bring back certificates that have expired
in the meantime. A record here is restored by its own id and by nothing else. Its field C(certificates) describes
it: C(pairs), the paths of each chain and its key, C(unit), the daemon that reads them, or None for a web server,
C(names) and C(not_after) of what was replaced, as far as that could be read.

It is small because C(_transaction.engine) needs it: what certificates contain is read elsewhere.
"""

from __future__ import annotations

import os
import shutil
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import FILE, Change
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal, Record

STATE_DIRECTORY = _journal.STATE_DIRECTORY
FOLDER = "certificates"
KEPT = 5  # for each place
DAY = 86400


class KeptError(Exception):
    """What is to be restored is not kept; the message lists what is."""


def whole(changes: t.Sequence[Change], about: t.Mapping[str, t.Any] | None) -> list[Change]:
    """The changes, and the half of a pair that stays: a chain without its key would be useless when restored."""
    changed = {change.path for change in changes}
    stays = [path for pair in (about or {}).get("pairs", []) for path in pair if path not in changed]
    states = [(path, _changeset.read(path)) for path in stays]
    return [*changes, *(Change(path, state, state) for path, state in states)]


def replaces(changes: t.Iterable[Change]) -> bool:
    """Whether contents are lost by the changes, and not only permissions, or nothing at all."""
    return any(change.before.kind == FILE and change.before.content != change.after.content for change in changes)


def set_aside(journal: Journal, record: Record) -> None:
    """Move the record of a transaction that has proven good here, under the lock. Raises JournalError."""
    if not any(
        state.kind == FILE and state.sha256 != record.after_digests()[path] for path, state in record.before().items()
    ):
        journal.discard(record)
        return
    store = _store(journal.folder)
    goal = os.path.join(store.transactions, record.id)
    try:
        _paths.make_private(store.transactions)
        os.rename(record.folder, goal)
        for folder in (store.transactions, journal.transactions):
            _changeset.fsync_directory(folder)
    except (OSError, _changeset.ChangeError) as error:
        raise _journal.JournalError(f"cannot keep the replaced certificate in {goal}: {error}") from error
    Record(goal, record.data, store.found).save(_journal.COMMITTED, committed=_journal.now())
    _prune(store)


def keep(changes: t.Sequence[Change], about: t.Mapping[str, t.Any]) -> str | None:
    """Save what the changes will replace where no transaction does that; the id, or None if it is nothing.

    It stays, also when the changes fail after this. Raises JournalError.
    """
    if not replaces(changes):
        return None
    store = _store(STATE_DIRECTORY)
    record = store.begin("", whole(changes, about), certificates=about)
    record.save(_journal.COMMITTED, committed=_journal.now())
    _prune(store)
    return record.id


def records() -> list[Record]:
    """All that is kept, oldest first."""
    return _in_order(_store(STATE_DIRECTORY))


def find(identifier: str) -> Record:
    """The record of this id, or the newest one for C(latest). Raises KeptError."""
    known = records()
    for record in known[-1:] if identifier == "latest" else known:
        if identifier in ("latest", record.id):
            return record
    listed = "; ".join(map(line, reversed(known))) or "none"
    raise KeptError(f"restore: no certificate {identifier!r} is kept on this host; kept: {listed}")


def line(record: Record) -> str:
    """What a record has, for people."""
    about = record.data["certificates"]
    until = about["not_after"]
    ends = time.strftime(" until %Y-%m-%d", time.gmtime(until)) if until else ""
    names = "for {}{}".format(" ".join(about["names"]) or "no names", ends)
    return "{} ({}, {})".format(record.id, ", ".join(pair[0] for pair in about["pairs"]), names)


def _store(folder: str) -> Journal:
    """A journal beside the transactions of a state directory."""
    store = Journal(folder)
    store.transactions = os.path.join(folder, FOLDER)
    return store


def _in_order(store: Journal) -> list[Record]:
    # Those that transactions have left have been numbered by another journal.
    return sorted(store.records(), key=lambda record: (record.data["started"], record.id))


def _prune(store: Journal) -> None:
    """Of each place the newest remain, and those that are still valid before those that have expired.

    So an administrator's own certificate outlives many that are renewed every few weeks. What is kept twice is kept
    once.
    """
    places: dict[str, list[Record]] = {}
    seen = set()
    for record in reversed(_in_order(store)):
        content = tuple((path, state.kind, state.content) for path, state in sorted(record.before().items()))
        if content in seen:
            store.discard(record)
        else:
            seen.add(content)
            places.setdefault(str(record.data["certificates"]["pairs"]), []).append(record)
    now = time.time()
    for found in places.values():
        # The order among those of one kind stays: the newest first.
        found.sort(key=lambda record: (record.data["certificates"]["not_after"] or now) < now)
        for record in found[KEPT:]:
            store.discard(record)
    for name in os.listdir(store.transactions):
        folder = os.path.join(store.transactions, name)
        # A crash has left it half written. What is being written now is younger.
        if not os.path.exists(os.path.join(folder, "record.json")) and os.stat(folder).st_mtime < now - DAY:
            shutil.rmtree(folder, ignore_errors=True)
