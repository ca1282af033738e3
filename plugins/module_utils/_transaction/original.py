# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What a host was before the collection, with what the administrator has changed since.

A file with the collection's marks shows it by itself, later edits included. For every other path the journal has the
first state that was replaced; it counts where the file that the collection wrote was not changed since.
"""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import ABSENT, FILE, State
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Record
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model


def states(records: t.Sequence[Record], live: _webserver_model.Config | None) -> tuple[dict[str, State], list[str]]:
    """The states to restore by path, and warnings about some of them.

    live: the configuration as it is, for marked files that the journal no longer has.
    """
    first: dict[str, State] = {}
    written: dict[str, str | None] = {}
    for record in _journal.since_original(records):
        for path, before in record.before().items():
            first.setdefault(path, before)
        written.update(record.after_digests())
    restored: dict[str, State] = {}
    warnings = []
    for path in dict.fromkeys([*first, *({live.source.real(path) for path in live.files} if live else ())]):
        found = _changeset.read(path)
        clean = _without_marks(found)
        if clean is not None:
            restored[path] = clean
        elif path in first and not first[path].completed_from(found).same_as(found):
            ours = found.kind != FILE or found.sha256 == written[path]
            if ours or first[path].kind == ABSENT:
                restored[path] = first[path]
            if not ours and first[path].kind == ABSENT:
                warnings.append(f"{path} has been changed since it was written here; it goes, and the journal keeps it")
            elif not ours:
                warnings.append(
                    f"{path} has been changed since and stays as it is; what was there before was not restored"
                )
    return restored, warnings


def _without_marks(found: State) -> State | None:
    """The file without what the collection wrote into it, or None for one without marks."""
    if found.kind != FILE:
        return None
    text = _webserver_model.decode(found.content)
    clean = _adopt.unadopt(text)
    return None if clean == text else State(FILE, content=_webserver_model.encode(clean), basis=found.content)
