# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module update_status_info does: support, pending updates, and what runs old files, of a host."""

from __future__ import annotations

import datetime
import re
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._host.options import OptionError
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import managers as _managers
from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates import restarts as _restarts
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support_data as _support_data
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Host,
    ReturnedAutomatic,
    ReturnedMetadata,
    ReturnedUpdates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._updates.provenance import ReturnedComponent
from ansible_collections.kopano.hardening.plugins.module_utils._updates.restarts import ReturnedRestart
from ansible_collections.kopano.hardening.plugins.module_utils._updates.support import ReturnedSupport
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Distribution(t.TypedDict):  # novm
        """The fields of os-release, empty where it has none; the package manager, empty for none that is known here."""

        id: str
        version: str
        codename: str
        name: str
        manager: str
        components: list[ReturnedComponent]

    class UpdateStatus(t.TypedDict):  # novm
        """The result of the module."""

        distribution: Distribution
        support: ReturnedSupport
        updates: ReturnedUpdates
        metadata: ReturnedMetadata
        restart: ReturnedRestart
        automatic: ReturnedAutomatic
        findings: list[Finding]

else:
    Distribution = UpdateStatus = t.Dict[str, t.Any]


def moment(text: str | None) -> datetime.datetime:
    """The time that is meant by the option now; raises OptionError."""
    if not text:
        return datetime.datetime.now(datetime.timezone.utc)
    found = re.match(r"(\d{4}-\d\d-\d\d)(?:[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d))?$", text)
    if not found:
        raise OptionError(f"now: {text!r} is neither a date nor a time as RFC 3339 has it")
    day, clock, zone = found.groups()
    zone = "+0000" if zone in (None, "Z", "z") else zone.replace(":", "")
    try:
        return datetime.datetime.strptime("{} {} {}".format(day, clock or "00:00:00", zone), "%Y-%m-%d %H:%M:%S %z")
    except ValueError as error:
        raise OptionError(f"now: {text!r}: {error}") from error


def support_data(given: dict[str, t.Any]) -> _support.Data:
    """The collection's data, with those of the option support_data before them; raises OptionError."""
    releases: dict[str, dict[str, t.Any]] = {product: dict(some) for product, some in _support_data.RELEASES.items()}
    dates = dict(_support_data.DATES)
    try:
        for source, made in given.get("dates", {}).items():
            dates[source] = _support.date(str(made)).isoformat()
        for product, some in given.get("releases", {}).items():
            for version, stages in some.items():
                for stage in set(stages) & set(_support.STAGES):
                    for source, end in stages[stage].items():
                        if end is not None:
                            _support.date(end)
                        if source not in dates:
                            raise ValueError(f"dates has no date for the data of {source!r}")
                if not set(stages) <= {*_support.STAGES, "newest"}:
                    raise ValueError(
                        "{} {} has other keys than {}".format(product, version, ", ".join(_support.STAGES))
                    )
                releases.setdefault(product, {})[str(version)] = stages
    except (AttributeError, TypeError) as error:
        raise OptionError(f"support_data: it has not the shape that the documentation shows: {error}") from error
    except ValueError as error:
        raise OptionError(f"support_data: {error}") from error
    return _support.Data(dates, releases)


def run(params: dict[str, t.Any], check_mode: bool, host: Host | None = None) -> UpdateStatus:
    """The module's result; raises OptionError for options that have no meaning. host: another root than this one's."""
    host = host or Host()
    refresh = params["refresh"] and not check_mode
    now = moment(params["now"])
    today = now.astimezone(datetime.timezone.utc).date()
    data = support_data(params["support_data"])
    if params["max_metadata_age"] < 1:
        raise OptionError("max_metadata_age: {} is less than 1 hour".format(params["max_metadata_age"]))
    release = _layout.os_release(host.root)
    product, _version = _support.identify(release)
    with ThreadPoolExecutor(2) as pool:
        # Both wait for other programs.
        reading_task = pool.submit(_managers.collect, host, release, now, params["max_metadata_age"], refresh)
        seen = _restarts.scan(host)
        support = _support.judge_host(host, release, today, data)
        reading = reading_task.result()
        tools_task = pool.submit(_restarts.tools, host, reading.manager)
        complete = reading.updates.complete and reading.updates.security_known
        components = _provenance.trace(host, product, _provenance.in_use(seen.processes), complete, reading.lists)
        restart = _restarts.judge(host, seen, tools_task.result())
    name = release.get("PRETTY_NAME") or release.get("ID") or "this distribution"
    findings = list(_updates_findings.of_support(support, name, today, params["accept_lts"]))
    findings += _provenance.findings(components)
    findings += reading.findings
    findings += _restarts.findings(restart)
    return {
        "distribution": {
            "id": release.get("ID", ""),
            "version": release.get("VERSION_ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "name": name,
            "manager": reading.manager,
            "components": [component.returned() for component in components],
        },
        "support": support.returned(),
        "updates": reading.updates.returned(),
        "metadata": reading.metadata.returned(),
        "restart": restart.returned(),
        "automatic": reading.automatic.returned(),
        "findings": findings,
    }
