# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Step 4: each host collects its names, one task looks up those of all hosts, and again those of which something was
published, and each host checks what was found.

A record set is for all names of its zone, whichever hosts these are on. So hosts share a lookup where every option that
decides its result is the same.
"""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.modules import caa_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Result
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.caa import Group, Lookup, PublishResult

FOR_LOOKUP = ("issuers", "nameservers", "trust_ad", "timeout")  # options of caa_info
NOTHING_COLLECTED = "no names were collected on this host in this run"


class ActionModule(RoleAction):
    ROLE = "caa"

    def options(self, variables: Info) -> Info:
        """None where they do not count: a lookup is for all hosts, with the options of those that have collected names,
        and must not fail for the host that happens to run it; a host without names has nothing to check."""
        if self._task.args.get("part") != "names" and not self._is_check(variables):
            return {}
        return super().options(variables)

    def act(self, options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info, Info], Info]] = {
            "names": self._collect,
            "lookup": self._look_up,
            "again": self._look_up_again,
            "check": self._check,
        }
        part = self._task.args.get("part")
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        return parts[part](options, variables)

    def _is_check(self, variables: Info) -> bool:
        """Whether this is the check of a host that has collected names."""
        return self._task.args.get("part") == "check" and "caa" in _host_fact.read(variables)

    def _collect(self, options: Info, variables: Info) -> Info:
        """The names of this host, and what is to be known about each."""
        # Whose the certificates are matters only where no CA is expected by the options.
        parts = ("frontend",) if options["issuer"] else ("frontend", "certificates")
        host = self.query(variables, *parts)
        frontend = self.checked(host, "frontend")
        certificates: list[Result] = []
        inspected = host.get("certificates")
        if inspected is not None and _host_fact.succeeded(inspected):
            certificates = inspected["results"]
        elif "certificates" in parts:
            self.checked(host, "certificates")
        # A site that the role frontend would write has its names already.
        mine = {"host": variables["inventory_hostname"], "server_names": options["frontend_server_names"]}
        request = _roles_caa.request_of(frontend, certificates, {**options, **mine})
        return _host_fact.update(variables, host=host, caa={"request": request})

    def _look_up(self, _options: Info, variables: Info) -> Info:
        """The CAA records of all hosts of the play, a group after the other; what fails is the failure of its hosts."""
        groups = self._groups(variables)
        lookups = [self._lookup(group) for group in groups]
        for group, lookup in zip(groups, lookups, strict=True):
            _roles_caa.withhold(group, groups, lookup["record_sets"])
        return {"lookups": lookups}

    def _look_up_again(self, _options: Info, variables: Info) -> Info:
        """The same after publishing: a group of which a record set is new is looked up again. What was published and is
        not seen yet is unknown."""
        groups = self._groups(variables)
        lookups: list[Lookup] = plain(variables["caa_lookups"]["lookups"])
        for number, lookup in enumerate(lookups):
            published = self._published(lookup, variables)
            group = next((group for group in groups if lookup["hosts"][0] in group["hosts"]), None)
            if group and any(map(_roles_caa.is_new, published)):
                lookups[number] = self._lookup(group)
                lookups[number]["before"] = {entry["name"]: entry["verdict"] for entry in lookup["results"]}
                _roles_caa.withhold(group, groups, lookups[number]["record_sets"])
            if not lookups[number].get("failed"):
                _roles_caa.settle(lookups[number], published)
        return {"lookups": lookups}

    @staticmethod
    def _groups(variables: Info) -> list[Group]:
        facts = [_host_fact.read(variables["hostvars"].raw_get(host)) for host in variables["ansible_play_batch"]]
        return _roles_caa.groups(fact["caa"]["request"] for fact in facts if fact.get("caa"))

    @staticmethod
    def _published(lookup: Lookup, variables: Info) -> list[PublishResult]:
        """What became of the record sets of a group, which its first host publishes."""
        publisher = variables["hostvars"].raw_get(lookup["hosts"][0])
        results: list[PublishResult] = plain((publisher.get("caa_published") or {}).get("results") or [])
        return results

    def _lookup(self, group: Group) -> Lookup:
        seconds = group["shared"]["timeout"]
        what = f"CAA records of {_phrases.counted(len(group['names']), 'name')}, {seconds} s at most for a response"
        try:
            with _terminal.waiting(group["hosts"][0], what):
                found = self.run_here(
                    caa_info,
                    names=group["names"],
                    expect=group["expect"],
                    certificates=group["certificates"],
                    **{name: group["shared"][name] for name in FOR_LOOKUP},
                )
        except RoleError as error:
            return {"hosts": group["hosts"], "failed": True, "msg": str(error), "record_sets": []}
        return {
            "hosts": group["hosts"],
            "results": found["results"],
            "record_sets": found["record_sets"],
            "findings": found["findings"],
        }

    def _check(self, options: Info, variables: Info) -> Info:
        """What was found about this host, and what became of what was published."""
        kept = _host_fact.read(variables).get("caa")
        if not kept:
            return {"skipped": True, "skip_reason": NOTHING_COLLECTED}
        request = kept["request"]
        lookup = _roles_caa.lookup_for(request["host"], (variables.get("caa_lookups") or {}).get("lookups") or [])
        if not lookup:
            raise RoleError("the CAA records of this host were not looked up; the role needs the strategy linear")
        if lookup.get("failed"):
            raise RoleError(lookup["msg"])
        published = self._published(lookup, variables) if options["publish"] else []
        report = _roles_caa.report(lookup, request, options["publish"], published, options["fail"], options["provider"])
        return self.judged(report)
