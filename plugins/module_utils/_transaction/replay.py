# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A run of web_config that had nothing to change, repeated within host_info.

Most runs change nothing, and a call of a module costs more than such a run. So the host keeps the options of the last
run that found nothing to change, and host_info repeats that run: compare, rehearse, probe. The result counts for a run
with the very same options, and only the controller can compare them, after host_info. Whatever is not as it was, and
all that goes wrong, is left to a run of web_config of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import supervisor as _supervisor

Options = t.Dict[str, t.Any]

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Repeated(t.TypedDict):  # novm
        """The result of the kept run, repeated now."""

        digest: str  # of its options
        # What web_config returns, as JSON text: every value that Ansible handles costs it something, and most of these
        # are only handed on.
        answer: str
        started: str | None  # the server that has come up with its whole configuration, in a view of the host

else:
    Repeated = t.Dict[str, t.Any]

FILE = "unchanged.json"

# The values of these request headers must not be stored on a host.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


def remember(params: Options, unchanged: bool, folder: str = _journal.STATE_DIRECTORY) -> None:
    """Keep the options of a run that had nothing to change, and no warning; any other run drops what was kept.

    One without desired states, which only queries the server, leaves it as it is. On a host where this cannot be
    written, web_config runs the next time as well, no more.
    """
    if unchanged and not params["restore"] and not _has_desired_states(params):
        return
    path = os.path.join(folder, FILE)
    with contextlib.suppress(OSError, _changeset.ChangeError):
        if not unchanged or params["restore"] or _is_secret(params):
            _changeset.put(path, _changeset.State(_changeset.ABSENT))
            return
        wanted = _changeset.State(_changeset.FILE, content=_as_given(params), mode=0o600)
        _paths.make_private(folder)
        found = _changeset.read(path)
        if not wanted.completed_from(found).same_as(found):
            _changeset.put(path, wanted)


def rerun(folder: str = _journal.STATE_DIRECTORY) -> Repeated | None:
    """The result of the kept run, repeated now, where it still has nothing to change; None in every other case."""
    try:
        _paths.check_private(folder)
        with open(os.path.join(folder, FILE), encoding="utf-8") as stream:
            params = _transaction_options.understood(json.load(stream))
    except (OSError, ValueError, _paths.ChangeError):
        return None
    if params is None:
        return None
    try:
        result = _supervisor.run(params, True, None)
    except _engine.TransactionError:
        return None
    warnings = result.pop("warnings")
    if result["changed"] or result.get("ungraded") or warnings:
        return None
    rehearsal = result["rehearsal"]
    started = rehearsal and rehearsal["ok"] and rehearsal["method"] == "namespace"
    return {
        "digest": _transaction_options.digest(params),
        "answer": json.dumps(result),
        "started": result["server"] if started else None,
    }


def _as_given(params: Options) -> bytes:
    """The options as JSON, without those that have no value: two that exclude each other must not both be named."""

    def given(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: given(item) for key, item in value.items() if item is not None}
        return [given(item) for item in value] if isinstance(value, list) else value

    return json.dumps(given(params), sort_keys=True).encode()


def _has_desired_states(params: Options) -> bool:
    fragments = [names for name in ("enable", "disable") for names in (params[name] or {}).values()]
    return bool(params["files"] or params["adopt"] or any(fragments))


def _is_secret(params: Options) -> bool:
    """Whether there is something among the options that the host has no other copy of for root alone."""
    keys = any(_changeset.SECRET in (item["content"] or "").encode("utf-8", "replace") for item in params["files"])
    return keys or any(name.lower() in _CREDENTIALS for probe in params["probes"] for name in probe["headers"])
