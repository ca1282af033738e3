# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Every finding as a reader needs it: C(findings.yml) beside this file, and the catalogues of those who emit them."""

from __future__ import annotations

import functools
import re
import typing as t
from pathlib import Path

import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import catalogue as _certificate_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import (
    CAA,
    GRADE,
    HSTS,
    TLS,
    UPDATES,
    Catalogue,
)
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Entry as Kind
from ansible_collections.kopano.hardening.plugins.module_utils._tls import catalogue as _tls_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._updates import catalogue as _updates_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import catalogue as _webserver_catalogue

STEP_TITLES = {
    UPDATES: "A maintained distribution with its updates",
    TLS: "TLS only, no weak protocol or cipher",
    HSTS: "HSTS",
    CAA: "CAA records",
    GRADE: "A verified grade",
}
# Where a fix is applied, and what the page calls it.
PLACES = {
    "apache": "Apache",
    "nginx": "nginx",
    "dns": "DNS zone",
    "host": "On the host",
    "controller": "On the controller",
}


# What only the controller finds out: the report, in what the roles have left or have not; and the roles, of clients.
CATALOGUE = Catalogue(
    GRADE,
    {
        "report.host.unreachable": Kind(
            "fail",
            "The host could not be reached: nothing is known of it.",
            "Make it reachable, then run the playbook again.",
        ),
        "updates.not_checked": Kind(
            "unknown",
            "The check of the host's updates failed: nothing is known of them.",
            "Correct what is named.",
            step=UPDATES,
        ),
        "certificate.not_checked": Kind(
            "unknown", "The check of the certificates failed: nothing is known of them.", "Correct what is named."
        ),
        "report.host.failed": Kind(
            "fail",
            "A task failed on the host: what would have come after it is not known.",
            "Correct what is named, then run the playbook again.",
        ),
        "frontend.clients.lost": Kind(
            "info",
            "Clients that could connect before the change cannot connect after it.",
            "See docs/clients.md for what each needs, and frontend_clients_required for those that must not be lost.",
            step=TLS,
        ),
        "frontend.clients.locked_out": Kind(
            "warn",
            "Clients that use this host cannot connect to it once it is hardened.",
            "Update or replace them, or see docs/clients.md for what the server can do.",
            step=TLS,
        ),
        "frontend.clients.unknown": Kind(
            "info",
            "Whether some of the clients that use this host could connect to it once it is hardened is not known, as "
            "their user agents do not tell their TLS library.",
            "Set frontend_tls_log: true for some days: the log has what these clients negotiate.",
            step=TLS,
        ),
        "frontend.clients.not_read": Kind(
            "info",
            "Not all that the access logs have of clients was read or understood: there may be more than are reported.",
            "Run as root, and log in the format combined; docs/clients.md has what is read.",
            step=TLS,
        ),
        "tls.client.refused": Kind(
            "fail",
            "A client that must be able to connect cannot.",
            "See docs/clients.md for what the server can do, or take it out of frontend_clients_required.",
            step=TLS,
        ),
        "tls.client.unknown": Kind(
            "unknown",
            "Whether a client that must be able to connect can, was not found out.",
            "Repeat the run.",
            step=TLS,
        ),
    },
)
finding = CATALOGUE.finding

KINDS: dict[str, Kind] = {
    **_updates_catalogue.CATALOGUE,
    **_webserver_catalogue.CATALOGUE,
    **_certificate_catalogue.CATALOGUE,
    **_tls_catalogue.CATALOGUE,
    **_caa_catalogue.CATALOGUE,
    **CATALOGUE,
}


class Entry(t.NamedTuple):
    """The catalogue's entry for a kind of finding. C(url) of its source may be empty, C(fix) has keys of PLACES."""

    id: str
    step: int
    severity: str
    title: str
    why: str
    source: str
    url: str
    fix: dict[str, str]


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Every kind of finding by its id, in the order of the file."""
    loader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load(Path(__file__).with_name("findings.yml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    return {
        key: Entry(
            key,
            KINDS[key].step,
            KINDS[key].severity,
            entry["title"],
            entry["why"],
            entry["source"],
            _url(entry["source"], data["sources"]),
            _fix(entry.get("fix", {}), data["fixes"]),
        )
        for key, entry in data["findings"].items()
    }


def _url(source: str, sources: dict[str, str]) -> str:
    rfc = re.match(r"RFC (\d+)(?:, section ([\d.]+))?$", source)
    if rfc:
        section = f"#section-{rfc.group(2)}" if rfc.group(2) else ""
        return f"https://www.rfc-editor.org/rfc/rfc{rfc.group(1)}{section}"
    return sources[source]


def _fix(fix: str | dict[str, str], fixes: dict[str, dict[str, str]]) -> dict[str, str]:
    return fixes[fix] if isinstance(fix, str) else fix


def unknown(key: str) -> Entry:
    """For a finding of a newer collection, in a report that was given by hand."""
    return Entry(key, GRADE, "unknown", key, "", "", "", {})
