# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the roles of a run know of a host, as the fact C(ansible_facts.kopano_hardening).

frontend, certificates: the results of the modules frontend_info and certificate_info
verify:                 C(endpoints) and C(inside) as the role verify chose them, its C(required) grade, the C(results)
caa:                    C(request), what this host's names need; of a host that looked up for others as well C(lookup),
                        the result of caa_info and the C(hosts) that it is for

A cache of facts outlives a run, and what a host served last week must not be taken for today's: the fact has the mark
of the run that it is from, and any other is ignored.
"""

from __future__ import annotations

import secrets
import typing as t

Info = dict[str, t.Any]

FACT = "kopano_hardening"
VERSION = 1
# Ansible loads action plugins, and so this, in its main process, before it makes one for each task.
RUN = secrets.token_hex(8)


def read(variables: t.Mapping[str, t.Any]) -> Info:
    """The fact of this run, or nothing."""
    fact = (variables.get("ansible_facts") or {}).get(FACT)
    return fact if isinstance(fact, dict) and (fact.get("run"), fact.get("version")) == (RUN, VERSION) else {}


def update(variables: t.Mapping[str, t.Any], **parts: Info) -> Info:
    """The result of an action that keeps these parts, beside those that are known already."""
    return {"ansible_facts": {FACT: {**read(variables), **parts, "run": RUN, "version": VERSION}}}
