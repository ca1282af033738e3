# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The grades of a server's endpoints as seen from the host itself: of the rehearsed server, and of the live one.

Both are graded in the same way, so that they can be compared. Whether clients trust the certificate is better tested
from outside; the effect of a change of the configuration is C(grade_trust_ignored).

Nothing imports this but the module web_config_graded: it brings the whole prober with it.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.rehearsal import Grade, Judgement

SECONDS = 20.0  # for all endpoints together, so that a rehearsal keeps within its own time
ENDPOINT_SECONDS = 5.0

Target = t.Mapping[str, t.Any]

_NO_TIME: Judgement = {
    "grade": None,
    "grade_trust_ignored": None,
    "protocols": [],
    "caps": [],
    "warnings": [],
    "error": "no time left",
}


def grade_all(targets: t.Iterable[Target]) -> list[Grade]:
    """The grade of each C({address, port, server_name})."""
    trust = _prober.Trust()
    end = time.monotonic() + SECONDS
    found: list[Grade] = []
    for target in targets:
        left = end - time.monotonic()
        judgement = _judged(target, min(left, ENDPOINT_SECONDS), trust) if left > 0 else _NO_TIME
        address, port, server_name = _place(target)
        found.append({"address": address, "port": port, "server_name": server_name, **judgement})
    return found


def _judged(target: Target, seconds: float, trust: _prober.Trust) -> Judgement:
    address, port, server_name = _place(target)
    # Without plain HTTP, as nothing of it counts for the grade: nothing listens on this port.
    seen = _prober.probe(
        {"address": address, "port": port, "server_name": server_name, "host": address},
        "quick",
        seconds,
        trust=trust,
        http_port=0,
    )
    return _judgement(_grade.grade(seen))


def compared(after: t.Iterable[Grade], now: t.Iterable[Grade]) -> list[Grade]:
    """The later grades, each with the earlier one of the same endpoint as C(now); None where there was no such one."""
    known = {_place(entry): entry for entry in now}
    return [
        {**entry, "now": _judgement(earlier) if earlier else None}
        for entry in after
        for earlier in [known.get(_place(entry))]
    ]


def _place(entry: t.Mapping[str, t.Any]) -> tuple[str, int, str | None]:
    return entry["address"], entry["port"], entry["server_name"]


def _judgement(result: t.Mapping[str, t.Any]) -> Judgement:
    return {
        "grade": result["grade"],
        "grade_trust_ignored": result["grade_trust_ignored"],
        "protocols": result["protocols"],
        "caps": result["caps"],
        "warnings": result["warnings"],
        "error": result["error"],
    }
