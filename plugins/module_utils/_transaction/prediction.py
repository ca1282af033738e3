# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The grades of a server's endpoints, asked from the host itself: of the rehearsed server, and of the live one.

Both are graded in the same way, so that they can be compared. Whether the world trusts the certificate is better asked
from outside; what a change of the configuration comes to is C(grade_trust_ignored).

Nothing imports this but the module web_config_graded: it brings the whole prober with it.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

SECONDS = 20.0  # for all endpoints together, so that a rehearsal keeps within its own time
ENDPOINT_SECONDS = 5.0
_WHERE = ("address", "port", "server_name")
_KEPT = ("grade", "grade_trust_ignored", "protocols", "caps", "warnings", "error")

Target = t.Mapping[str, t.Any]
Grade = t.Dict[str, t.Any]


def grade_all(targets: t.Iterable[Target]) -> list[Grade]:
    """The grade of each C({address, port, server_name}); C(error) says why there is none."""
    trust = _prober.Trust()
    end = time.monotonic() + SECONDS
    found = []
    for target in targets:
        where = {key: target[key] for key in _WHERE}
        left = end - time.monotonic()
        if left <= 0:
            nothing = dict(where, grade=None, grade_trust_ignored=None, protocols=[], caps=[], warnings=[])
            found.append(dict(nothing, error="no time left"))
            continue
        endpoint = t.cast(_prober.Endpoint, dict(where, host=target["address"]))
        # Plain HTTP is not asked for: a port where nobody listens, and nothing of it counts for the grade.
        seen = _prober.probe(endpoint, "quick", min(left, ENDPOINT_SECONDS), trust=trust, http_port=0)
        result: t.Mapping[str, t.Any] = _grade.grade(seen)
        found.append(dict(where, **{key: result[key] for key in _KEPT}))
    return found


def compared(after: t.Iterable[Grade], now: t.Iterable[Grade]) -> list[Grade]:
    """The later grades, each with the earlier one of the same endpoint as C(now); None where there was no such one."""
    known = {tuple(entry[key] for key in _WHERE): entry for entry in now}
    return [
        dict(entry, now={key: earlier[key] for key in _KEPT} if earlier else None)
        for entry in after
        for earlier in [known.get(tuple(entry[key] for key in _WHERE))]
    ]
