# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The grades of a server's endpoints as seen from the host itself, and which clients it serves: of the rehearsed
server, and of the live one.

Both are graded in the same way, so that they can be compared. Whether clients trust the certificate is better tested
from outside; the effect of a change of the configuration is C(grade_trust_ignored).

Nothing imports this but the module web_config_graded: it brings the whole prober with it.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import alike as _alike
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as _tls_http
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.rehearsal import Grade, Judgement
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client

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
    """The grade of each C({address, port, server_name}), which may have the answer that it has given.

    Virtual hosts that are set up in the same way (C(tls_group)), and whose answers show the same certificate, protocol
    and suite, are looked at once; HSTS and the name are each one's own.
    """
    trust = _prober.Trust()
    end = time.monotonic() + SECONDS
    known: dict[t.Any, _prober.Observation] = {}
    found: list[Grade] = []
    for target in targets:
        key = _look_of(target)
        seen = _alike.renamed(known[key], target["server_name"], _hsts(target)) if key in known else None
        left = end - time.monotonic()
        if seen is None and left > 0:
            seen = _seen(target, min(left, ENDPOINT_SECONDS), trust)
            if key and not seen["error"] and not seen["unclear"]:
                known[key] = seen
        judgement = _judgement(_grade.grade(seen)) if seen else _NO_TIME
        clients = seen["clients"] if seen else []
        address, port, server_name = _place(target)
        found.append({"address": address, "port": port, "server_name": server_name, **judgement, "clients": clients})
    return found


def _seen(target: Target, seconds: float, trust: _prober.Trust) -> _prober.Observation:
    address, port, server_name = _place(target)
    # Without plain HTTP, as nothing of it counts for the grade: nothing listens on this port.
    return _prober.probe(
        {"address": address, "port": port, "server_name": server_name, "host": address},
        "quick",
        seconds,
        trust=trust,
        http_port=0,
        clients=True,
    )


def _look_of(target: Target) -> t.Any:
    """What endpoints share that are looked at once; None for one that is looked at by itself."""
    if not (target["server_name"] and target.get("tls_group") and target.get("ok") and target.get("certificate")):
        return None
    return tuple(target[key] for key in ("address", "port", "tls_group", "certificate", "protocol", "cipher"))


def _hsts(target: Target) -> _tls_http.Hsts:
    return _tls_http.read_hsts(target["headers"].get("strict-transport-security", []))


def compared(after: t.Iterable[Grade], now: t.Iterable[Grade]) -> list[Grade]:
    """The later grades, each with the earlier one of the same endpoint as C(now); None where there was no such one.

    Of the clients there is left which ones are lost, of how many.
    """
    known = {_place(entry): entry for entry in now}
    found: list[Grade] = []
    for entry in after:
        earlier = known.get(_place(entry))
        before = earlier["clients"] if earlier else []
        compared: Grade = {
            **entry,
            "now": _judgement(earlier) if earlier else None,
            "served": sum(bool(client["ok"]) for client in before),
            "lost": _clients.lost(before, entry["clients"]),
        }
        del compared["clients"]
        found.append(compared)
    return found


def locked_out(after: t.Iterable[Grade], now: t.Iterable[Grade], required: t.Collection[str]) -> str | None:
    """Why a change must not be made: an endpoint where one of these clients could not connect any more, or where that
    is not known. One that it did not serve before is not locked out by the change.

    Raises ValueError for ids of clients that there are not.
    """
    chosen = _clients.find(required)
    known = {_place(entry): entry for entry in now}
    for entry in after:
        earlier = known.get(_place(entry))
        before = {client["id"]: client for client in earlier["clients"]} if earlier else {}
        then = {client["id"]: client for client in entry["clients"]}
        for client in chosen:
            was, will = before.get(client.id), then.get(client.id)
            if (was and was["ok"] is False) or (will and will["ok"]):
                continue
            name = " ".join(filter(None, [client.name, client.version, client.platform]))
            place = _client.endpoint(entry)
            if will is None or will["ok"] is None:
                unknown = entry["error"] if will is None else will["reason"]
                return f"whether {name} ({client.id}) could connect to {place} is not known: {unknown}"
            gone = _clients.lost([was], entry["clients"]) if was else []
            reason = (
                f"now it connects with {gone[0]['text']}"
                if gone and gone[0]["change"] != "certificate"
                else will["reason"]
            )
            return f"{name} ({client.id}) could no longer connect to {place}: {reason}"
    return None


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
