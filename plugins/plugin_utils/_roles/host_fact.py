# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the roles of a run know of a host, as the fact C(ansible_facts.kopano_hardening).

host:        what the host returned when it was queried: the results C(updates), C(frontend) and C(certificates) of the
             modules update_status_info, frontend_info and certificate_info, and C(web_config) as host_info returns it.
             A part that failed has C(failed) and C(msg). A role that changes the host drops what is no longer true.
updates, frontend, certificate, caa, verify, report: what the role of that name keeps for the roles after it and for the
             report; its action describes it
failures:    what failed in the steps of a playbook, as C(step) and C(message)
unreachable: why the host could not be reached
play:        the name of the play in which roles share what is known: role_options has run there, and only roles of this
             collection come after it

Ansible handles each value of a fact that a task returns several times, and what a host returns has thousands: in the
fact, C(host) is JSON text.

A cache of facts outlives a run, and what a host served last week must not be taken for today's: the fact has the mark
of the run that it is from, and any other is ignored.
"""

from __future__ import annotations

import json
import secrets
import typing as t

if t.TYPE_CHECKING:
    # The roles' own modules import this one.
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Results
    from ansible_collections.kopano.hardening.plugins.module_utils._host_info import FailedPart
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.status import UpdateStatus
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.caa import CaaFact
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.certificate import CertificateFact
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import ReportFact
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.updates import UpdatesFact
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.verify import Kept

Info = dict[str, t.Any]
Part = t.TypeVar("Part", bound=t.Mapping[str, object])


class HostParts(t.TypedDict, total=False):
    """What the host returned when it was queried, as far as it is known and still true."""

    updates: UpdateStatus | FailedPart
    frontend: FrontendInfo | FailedPart
    certificates: Results | FailedPart
    web_config: Info | None


class Failure(t.TypedDict):
    """What failed in a step of a playbook, or in none of them (None), such as the query of the host. role: where one of
    this collection's roles says that it did."""

    role: str | None
    step: int | None
    message: str


class HostFact(t.TypedDict, total=False):
    """The fact."""

    host: HostParts
    updates: UpdatesFact
    frontend: Info
    certificate: CertificateFact
    caa: CaaFact
    verify: Kept
    report: ReportFact
    failures: list[Failure]
    unreachable: str
    play: str
    run: str
    version: int


FACT = "kopano_hardening"
VERSION = 3
# Ansible loads action plugins, and so this, in its main process, before it makes one for each task.
RUN = secrets.token_hex(8)


def read(variables: t.Mapping[str, t.Any]) -> HostFact:
    """The fact of this run, or nothing."""
    fact = (variables.get("ansible_facts") or {}).get(FACT)
    if isinstance(fact, dict) and (fact.get("run"), fact.get("version")) == (RUN, VERSION):
        return t.cast("HostFact", {**fact, "host": json.loads(fact["host"])} if "host" in fact else fact)
    return {}


def update(variables: t.Mapping[str, t.Any], **parts: t.Unpack[HostFact]) -> Info:
    """The result of an action that keeps these parts, beside those that are known already."""
    fact: Info = {**read(variables), **parts, "run": RUN, "version": VERSION}
    if "host" in fact:
        fact["host"] = json.dumps(fact["host"])
    return {"ansible_facts": {FACT: fact}}


def variables_with(variables: t.Mapping[str, t.Any], **parts: t.Unpack[HostFact]) -> Info:
    """The variables as a later task has them, after an action has kept these parts."""
    facts = {**(variables.get("ansible_facts") or {}), **update(variables, **parts)["ansible_facts"]}
    return {**variables, "ansible_facts": facts}


def succeeded(part: Part | FailedPart) -> t.TypeGuard[Part]:
    """Whether the host could return a part."""
    return not part.get("failed")


def only(host: HostParts, parts: t.Container[str]) -> HostParts:
    """These parts of what is known of a host."""
    return t.cast("HostParts", {part: found for part, found in host.items() if part in parts})
