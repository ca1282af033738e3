# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the roles of a run know of a host, as the fact C(ansible_facts.kopano_hardening).

host:        what the host returned when it was queried: the results C(updates), C(frontend) and C(certificates) of the
             modules update_status_info, frontend_info and certificate_info, and C(web_config) as host_info returns it.
             A part that failed has C(failed) and C(msg). A role that changes the host drops what is no longer true.
updates, frontend, certificate, caa, verify: what the role of that name keeps for the roles after it and for the report;
             its action says what
failures:    what failed in the steps of a playbook, as C(step) and C(message)
unreachable: why the host could not be reached

A cache of facts outlives a run, and what a host served last week must not be taken for today's: the fact has the mark
of the run that it is from, and any other is ignored.
"""

from __future__ import annotations

import secrets
import typing as t

Info = dict[str, t.Any]

FACT = "kopano_hardening"
VERSION = 2
# Ansible loads action plugins, and so this, in its main process, before it makes one for each task.
RUN = secrets.token_hex(8)


def read(variables: t.Mapping[str, t.Any]) -> Info:
    """The fact of this run, or nothing."""
    fact = (variables.get("ansible_facts") or {}).get(FACT)
    return fact if isinstance(fact, dict) and (fact.get("run"), fact.get("version")) == (RUN, VERSION) else {}


def update(variables: t.Mapping[str, t.Any], **parts: t.Any) -> Info:
    """The result of an action that keeps these parts, beside those that are known already."""
    return {"ansible_facts": {FACT: {**read(variables), **parts, "run": RUN, "version": VERSION}}}


def variables_with(variables: t.Mapping[str, t.Any], **parts: t.Any) -> Info:
    """The variables as a later task has them, after an action has kept these parts."""
    facts = {**(variables.get("ansible_facts") or {}), **update(variables, **parts)["ansible_facts"]}
    return {**variables, "ansible_facts": facts}
