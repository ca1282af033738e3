# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role frontend has changed on a host, or would change, as lines for the terminal."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import Difference
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.engine import Result
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend import NoPlan, Plan

    class Outcome(Result):
        """What web_config returns, and what led to it. With C(skip) in the plan there is nothing else but that."""

        plan: t.NotRequired[Plan | NoPlan]  # none where everything was restored


PATHS_SHOWN = 20  # more than a host with a few virtual hosts has


def outcome(result: Outcome, check_mode: bool) -> list[str]:
    """What was done in one line; then what became weaker by it, and before it is done, the grades that change and how
    many clients are locked out."""
    plan = result.get("plan")
    if plan and plan["skip"]:
        # A web server was installed, or would be, and the rest is for the next run.
        return [plan["skip"] if result.get("changed") else f"skipped: {plan['skip']}"]
    if not result.get("changed"):
        return ["unchanged"]
    if plan is None:
        verb = "would restore" if check_mode else "restored"
        return [f"{verb} {_finding_lines.some(map(_path, result.get('diff') or []), ' ', shown=PATHS_SHOWN)}"]
    predicted = grades(result)
    what = _verify.changes(predicted) or [_changed_paths(result, t.cast("Plan", plan))]
    end = "" if check_mode or not result["transaction"] else f" ({result['transaction']})"
    return [
        f"{'would change' if check_mode else 'changed'}: {', '.join(what)}{end}",
        *_frontend.weakened_lines(result),
        *(_verify.predicted(_verify.that_change(predicted)) if check_mode else []),
        *(_lost_clients.lost_lines(predicted) if check_mode else []),
    ]


def lines(result: Outcome, check_mode: bool) -> list[str]:
    """What was changed and how it was rehearsed; then what is kept, and each endpoint's grade before and after."""
    plan = result.get("plan")
    if plan is None or plan["skip"] or not result.get("changed"):
        return []
    return [
        _changes(result, t.cast("Plan", plan), check_mode),
        *_frontend.kept_lines(result),
        *_verify.predicted(grades(result)),
        *_lost_clients.lost_lines(grades(result)),
    ]


def grades(result: t.Mapping[str, t.Any]) -> list[t.Any]:
    """C(rehearsal.grades) of web_config's result; none where nothing was rehearsed."""
    rehearsal = result.get("rehearsal")
    return list(rehearsal.get("grades", [])) if rehearsal else []


def _changed_paths(result: Outcome, plan: Plan) -> str:
    changed = _short_paths(result["diff"], os.path.dirname(plan["policy"]["tls"]))
    return _finding_lines.some(changed, " ", shown=PATHS_SHOWN)


def _changes(result: Outcome, plan: Plan, check_mode: bool) -> str:
    verb = "would change" if check_mode else "changed"
    outcome = "nothing was written" if check_mode else f"transaction {result['transaction']}"
    paths = _changed_paths(result, plan)
    parts = [f"{plan['server']} ({plan['mode']}): {verb} {paths}", f"rehearsal: {_rehearsal(result)}", outcome]
    if plan["plain_only"]:
        parts.append(f"left on plain HTTP: {_finding_lines.some(plan['plain_only'], ' ')}")
    return "; ".join([*parts, *([plan["warning"]] if plan["warning"] else [])])


def _path(entry: Difference) -> str:
    return entry["after_header"].partition(" ")[0]


def _short_paths(diff: t.Iterable[Difference], policy: str) -> t.Iterator[str]:
    """Without the server's folder, the policy's own files as one, and the marks of Debian's a2enmod not at all."""
    folder = os.path.dirname(policy) + "/"
    for path in map(_path, diff):
        if path.startswith(f"{policy}/"):
            yield "policy"
        elif not path.startswith("/var/lib/"):
            yield path[len(folder) :] if path.startswith(folder) else path


def _rehearsal(result: Outcome) -> str:
    rehearsal = result["rehearsal"]
    if not rehearsal:
        return "off"
    endpoints = rehearsal["endpoints"]
    protocols = sorted({endpoint["protocol"] for endpoint in endpoints if endpoint["protocol"]})
    headers = dict.fromkeys(value for endpoint in endpoints for value in endpoint["hsts"] or ())
    hsts = ", ".join(headers) or "none"
    return f"{rehearsal['method']}, {_phrases.counted(len(endpoints), 'endpoint')}, {' '.join(protocols)}, HSTS {hsts}"
