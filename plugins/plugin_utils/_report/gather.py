# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the collection's roles have left of each host, as the module C(report) takes it. Nothing here asks anybody."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES, STEPS
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils._findings import finding
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Given
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.caa import CaaFact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.verify import BESIDE, Kept

Info = dict[str, t.Any]

LOST = "It failed or was lost earlier in this run; the messages above say where."
LEFT_OUT = "It was not among the hosts of this run."
LATER = "Its batch has not been run."


def of_host(variables: t.Mapping[str, t.Any], is_active: bool) -> Given:
    """A host's element of the module's option C(hosts). is_active: whether the play still has it."""
    fact = _host_fact.read(variables)
    host = fact.get("host") or {}
    given: Given = {"state": "ok", "findings": [], "results": [], "asked": [], "proven": [], "sources": []}
    _updates(given, host.get("updates"))
    _certificate(given, fact.get("certificate"), host.get("certificates"))
    if "frontend" in fact or "verify" in fact or fact.get("failures"):
        _frontend(given, host.get("frontend"))
        given["findings"] += (fact.get("frontend") or {}).get("findings") or []
    _verify(given, fact.get("verify"))
    _caa(given, fact.get("caa"), variables)
    given["failures"] = [
        {"role": failure.get("role"), "step": failure["step"], "message": failure["message"]}
        for failure in fact.get("failures") or []
    ]
    if "unreachable" in fact:
        given["state"], given["message"], given["failures"] = "unreachable", fact["unreachable"], []
        return given
    if "error" in fact.get("report", {}):
        refuse(given, fact["report"]["error"])
    if given["failures"]:
        given["state"], given["message"] = "failed", given["failures"][0]["message"]
    elif not is_active:
        given["state"], given["message"] = "failed", LOST
    return given


def refuse(given: Given, message: str) -> None:
    """Have a host fail for its options of the report, unless it has done so at the beginning of its play."""
    if not any(message in failure["message"] for failure in given["failures"]):
        given["failures"].append({"step": None, "message": message})
    if given["state"] == "ok":
        given["state"], given["message"] = "failed", given["failures"][0]["message"]


def _updates(given: Given, result: t.Mapping[str, t.Any] | None) -> None:
    if result is None:
        return
    given["asked"].append(1)
    if result.get("failed"):
        given["findings"].append(finding("updates.not_checked", "updates", _reason(result)))
    else:
        given["updates"] = dict(result)


def _certificate(given: Given, kept: t.Mapping[str, t.Any] | None, queried: t.Mapping[str, t.Any] | None) -> None:
    """The certificates that the role certificate has inspected. Another role that queries them judges none, but that
    they could not be checked is so for all."""
    result = (kept or {}).get("inspected")
    if result is None and (queried or {}).get("failed"):
        result = queried
    if result is None:
        return
    if result.get("failed") or "results" not in result:
        given["findings"].append(finding("certificate.not_checked", "certificates", _reason(result)))
    else:
        given["sources"].append("certificate")
        given["findings"] += [item for one in result["results"] for item in one["findings"]]


def _frontend(given: Given, result: t.Mapping[str, t.Any] | None) -> None:
    """The configuration, where a role is about it: others only query which names and certificates there are.

    Of a host that was only restored it is not known any more.
    """
    given["asked"].append(2)
    if result is not None and not result.get("failed"):
        given["sources"].append("frontend")
        given["findings"] += result.get("findings") or []


def _reason(result: t.Mapping[str, t.Any]) -> str:
    return str(result.get("msg") or "") or "it does not say why"


def _verify(given: Given, kept: Kept | None) -> None:
    if not kept:
        return
    wanted = kept["wanted"]
    given["asked"] += [2, 3, 5]
    given["minimum_grade"] = wanted["grade"]
    given["ignore_trust"] = wanted["ignore_trust"]
    given["pending"] = wanted["pending"]
    given["results"] = json.loads(kept["results"])
    given["clients"] = json.loads(kept["clients"])


def _caa(given: Given, kept: CaaFact | None, variables: t.Mapping[str, t.Any]) -> None:
    if not kept:
        return
    request = kept["request"]
    given["asked"].append(4)
    lookup = _roles_caa.lookup_for(request["host"], (variables.get("caa_lookups") or {}).get("lookups") or [])
    if not lookup or lookup.get("failed"):
        return
    given["sources"].append("caa")
    results, findings = _roles_caa.of_host(lookup, request)
    given["findings"] += findings
    if results and not any(entry["verdict"] == "error" for entry in results):
        given["proven"].append(4)


def gather(
    variables: t.Mapping[str, t.Mapping[str, t.Any]],
    expected: t.Iterable[str],
    active: t.Container[str],
    batch: t.Container[str],
) -> dict[str, Given]:
    """The module's option C(hosts) for the play's hosts, and for those that were expected beside them.

    variables: of each host of the play; active: the hosts that the play still has; batch: those of its current batch
    (C(serial)).
    """
    found: dict[str, Given] = {}
    for name, own in variables.items():
        if name in active and name not in batch and not _host_fact.read(own):
            found[name] = {"state": "left_out", "message": LATER}
        else:
            found[name] = of_host(own, name in active)
    for name in expected:
        found.setdefault(name, {"state": "left_out", "message": LEFT_OUT})
    return found


# --- what is given by hand -------------------------------------------------------------------------------------------


class Shape(t.NamedTuple):
    """A mapping: what each key has to be.

    A value is of one of some types, C(str | None); one of some values; a list of what the one element of a list is; or
    a mapping. is_closed: whether there may be no other keys.
    """

    keys: t.Mapping[str, t.Any]
    needed: t.Collection[str] = ()
    is_closed: bool = False
    is_nullable: bool = False


_WORDS = {str: "text", bool: "true or false", type(None): "null"}

_FINDING_KEYS = {
    "id": str,
    "step": tuple(STEPS),
    "severity": tuple(SEVERITIES),
    **dict.fromkeys(("subject", "message", "evidence", "fix"), str),
}
FINDING = Shape(_FINDING_KEYS, needed=_FINDING_KEYS, is_closed=True)
_LIMIT = Shape({"id": str, "grade": str}, needed=("id", "grade"))
_CERTIFICATE_KEYS = {
    **dict.fromkeys(("sha256", "subject", "issuer", "not_before", "not_after"), str),
    "names": [str],
}
_CERTIFICATE = Shape({**_CERTIFICATE_KEYS, "others": [Shape(_CERTIFICATE_KEYS)]}, is_nullable=True)
_RESULT_KEYS = {
    "server_name": str,
    "address": str,
    "port": range(65536),
    **dict.fromkeys(("grade", "grade_trust_ignored"), (*GRADES, *BESIDE, None)),
    "error": str | None,
}
RESULT = Shape(
    {
        **_RESULT_KEYS,
        "starttls": str,
        "score": (*range(101), None),
        "trust_unknown": str | None,
        "protocols": [str],
        "certificate": _CERTIFICATE,
        "caps": [_LIMIT],
        "warnings": [_LIMIT],
        "findings": [FINDING],
    },
    needed=_RESULT_KEYS,
)
_UPDATES = Shape(
    {
        "findings": [FINDING],
        "support": Shape({"level": str, "until": str | None}, is_nullable=True),
        "distribution": Shape(dict.fromkeys(("pretty_name", "name", "id"), str | None), is_nullable=True),
    }
)
_STEP_OR_TEXT = (*STEPS, *map(str, STEPS))
HOST = Shape(
    {
        "state": _build.STATES,
        "message": str,
        "findings": [FINDING],
        "results": [RESULT],
        "updates": _UPDATES,
        "asked": [_STEP_OR_TEXT],
        "proven": [_STEP_OR_TEXT],
        "sources": [str],
        "failures": [Shape({"message": str, "step": (*STEPS, None), "role": str | None}, needed=("message",))],
        "minimum_grade": (*GRADES, ""),
        "ignore_trust": bool,
        "pending": bool,
    },
    is_closed=True,
)


def check(hosts: t.Any) -> None:
    """Raises ValueError that names the place where the option C(hosts) is not what it has to be."""
    if not isinstance(hosts, dict):
        raise ValueError("hosts: must be a mapping")
    for name, given in hosts.items():
        if not isinstance(name, str):
            raise ValueError(f"hosts: the name {name!r} must be text")
        _check(_printable.printable(f"hosts.{name}"), given, HOST)


def _check(where: str, value: t.Any, shape: t.Any) -> None:
    if isinstance(shape, Shape):
        if isinstance(value, dict):
            _check_keys(where, value, shape)
        elif value is not None or not shape.is_nullable:
            raise ValueError(f"{where}: must be a mapping of {', '.join(shape.keys)}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{where}: must be a list")
        for number, item in enumerate(value):
            _check(f"{where}[{number}]", item, shape[0])
    elif isinstance(shape, (tuple, range)):
        # True would be a 1.
        if isinstance(value, bool) or not isinstance(value, (str, int, type(None))) or value not in shape:
            listed = ", ".join("null" if one is None else str(one) for one in shape if one != "")
            some = f"{shape[0]} to {shape[-1]}" if isinstance(shape, range) else listed
            raise ValueError(f"{where}: {f'{value!r}':.100} is none of {some}")
    elif not isinstance(value, shape):
        kinds = [_WORDS[kind] for kind in t.get_args(shape) or (shape,)]
        raise ValueError(f"{where}: must be {' or '.join(kinds)}")


def _check_keys(where: str, value: t.Mapping[t.Any, t.Any], shape: Shape) -> None:
    missing = [key for key in shape.needed if key not in value]
    if missing:
        raise ValueError(f"{where}: {missing[0]} is missing")
    for key, item in value.items():
        if key in shape.keys:
            _check(f"{where}.{key}", item, shape.keys[key])
        elif shape.is_closed:
            raise ValueError(f"{where}: {f'{key!r}':.100} is none of {', '.join(shape.keys)}")
