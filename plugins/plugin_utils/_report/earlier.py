# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What is used of an earlier report.json: each value checked, and its text cleaned.

The file may be damaged, of another version, or written by somebody else: nothing of it is used unseen.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import SEVERITIES
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import GRADES
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Host, Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

Info = dict[str, t.Any]
Fits = t.Callable[[t.Any], bool]
Shape = t.Mapping[str, Fits]

TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
MOST = 10**9  # of anything that is counted; with more digits, numbers are no data but a flood


def _text(value: t.Any) -> bool:
    return isinstance(value, str)


def _texts(value: t.Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _time(value: t.Any) -> bool:
    return isinstance(value, str) and TIME.fullmatch(value) is not None


def _count(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _flag(value: t.Any) -> bool:
    return isinstance(value, bool)


def _list(value: t.Any) -> bool:
    return isinstance(value, list)


def _policy(value: t.Any) -> bool:
    return value is None or _texts(value["fail_on"])


def _one_of(*values: str | None) -> Fits:
    return lambda value: value in values


_GRADE = _one_of(None, *GRADES, *_verify.BESIDE)
_REPORT: Shape = {"schema": _text, "generated": _time, "hosts": _list}
_TREND: Shape = {"carried": _list, "history": _list}
_TOTALS: Shape = {"generated": _time, **dict.fromkeys(("failed", "fail", "warn", "unknown", "info"), _count)}
_CARRIED: Shape = {"host": _text, "id": _text, "subject": _text, "since": _time}
_HOST: Shape = {"name": _text, "state": _one_of(*_build.STATES), "sources": _texts, "findings": _list}
_JUDGED: Shape = {"state": _text, "failed": _flag, "pending": _flag, "policy": _policy, "grade": _GRADE}
_FINDING: Shape = {"id": _text, "subject": _text, "severity": _one_of(*SEVERITIES), "since": _time}
_PAST: Shape = {"generated": _time, "grade": _GRADE, "state": _one_of(*_build.OUTCOMES)}


def usable(data: t.Any) -> Report:
    """The parts of an earlier report that the next one is made with. Raises ValueError where it cannot be used."""
    try:
        return t.cast(Report, _usable(_build.clean(data)))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a report: {type(error).__name__} {error}") from error


def _usable(data: Info) -> Info:
    if str(data["schema"]).partition(".")[0] != _build.SCHEMA.partition(".")[0]:
        raise ValueError(f"its schema is {data['schema']}, not {_build.SCHEMA}")
    report = _picked(data, _REPORT, "report")
    trend = _picked(data["trend"], _TREND, "trend")
    return {
        **report,
        "trend": {
            "carried": _all(trend["carried"], _CARRIED, "trend.carried"),
            "history": _all(trend["history"], _TOTALS, "trend.history"),
        },
        "hosts": [
            _host(entry, f"hosts[{number}]", report["generated"]) for number, entry in enumerate(report["hosts"])
        ],
    }


def _host(entry: Info, where: str, moment: str) -> Info:
    host = _picked(entry, _HOST, where)
    host["findings"] = _all(host["findings"], _FINDING, f"{where}.findings")
    if "history" in entry:
        host["history"] = _all(entry["history"], _PAST, f"{where}.history")
    else:
        # The report itself is all that is known of the host where its schema is 1.1 or before.
        host["history"] = _build.past(t.cast(Host, _picked({"policy": None, **entry}, _JUDGED, where)), moment)
    return host


def _all(items: t.Sequence[Info], shape: Shape, where: str) -> list[Info]:
    return [_picked(item, shape, f"{where}[{number}]") for number, item in enumerate(items)]


def _picked(item: Info, shape: Shape, where: str) -> Info:
    """What the shape names, and no more: a later version's report may have more, which this one's schema has not."""
    for key, fits in shape.items():
        if not fits(item[key]):
            raise ValueError(f"it is not a report: {where}.{key} is {str(item[key])[:40]!r}")
    return {key: item[key] for key in shape}
