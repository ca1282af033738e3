# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Step 5 for one host: its endpoints are graded from the controller, or on the host where the options permit that; then
the host is held against its options.

These are two parts, as Ansible keeps no fact of a task that fails, and the report needs the grades of such a host too.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._tls.grade import Result
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import reach as _reach
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError

Key = tuple[str, int, str, str]  # see _verify.key()
PASSED_ON = ("fetch_issuers", "check_revocation", "mode", "timeout", "concurrency")  # options of the module


class ActionModule(RoleAction):
    ROLE = "verify"

    def act(self, options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info, Info], Info]] = {"grade": self._grade, "check": self._check}
        part = self._task.args.get("part")
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        return parts[part](options, variables)

    def _check(self, _options: Info, variables: Info) -> Info:
        """The grades of this run, never those that a cache of facts has of another one."""
        graded: _verify.Kept | None = _host_fact.read(variables).get("verify")
        if not graded:
            raise RoleError("no endpoint of this host was graded in this run")
        if graded["bad"]:
            raise RoleError("; ".join(graded["bad"]))
        return {}

    def _grade(self, options: Info, variables: Info) -> Info:
        host = self.query(variables, "frontend")
        frontend = self.checked(host, "frontend")
        address = self.value(variables, "ansible_host", variables["inventory_hostname"])
        scope = _verify.scope_of(frontend, address, options["endpoints"], options["virtual_hosts"])
        required_clients = options["frontend_clients_required"]
        module_options = {name: options[name] for name in PASSED_ON}
        module_options["clients"] = options["mode"] == "full" or bool(required_clients)
        reasons = self._not_from_here(options, scope)
        here = [endpoint for endpoint in scope["endpoints"] if _verify.key(endpoint) not in reasons]
        what = f"{_phrases.counted(len(scope['endpoints']), 'endpoint')} to be graded, {options['timeout']} s at most"
        with self.waiting(variables, f"{what} for a response"):
            results: list[Result] = self.run_here(
                tls_grade_info, endpoints=here, ca_file=options["ca_file"] or None, **module_options
            )["results"]
            if reasons:
                results += self._graded_on_host(options, module_options, variables, scope, reasons)
        _verify.require_clients(results, required_clients)
        required: _verify.Required = {
            "grade": options["minimum_grade"],
            "ignore_trust": options["ignore_trust"],
            # A dry run that would change the host: it is graded as it is now, and not judged for that.
            "pending": self._task.check_mode
            and (_host_fact.read(variables).get("frontend") or {}).get("changed", False),
            "fail": options["fail"],
        }
        earlier, play = _host_fact.read(variables).get("verify"), variables.get("ansible_play_name", "")
        before: list[Result] = json.loads(earlier["results"]) if earlier and earlier["play"] == play else []
        known: _verify.Clients = json.loads(earlier["clients"]) if earlier and before else {}
        clients = _verify.clients_of(results, known)
        results = [t.cast("Result", {**result, "clients": []}) for result in results]
        report = _verify.report(results, scope, required)
        kept: _verify.Kept = {
            **scope,
            "play": play,
            "wanted": required,
            "results": json.dumps(_verify.with_earlier(results, before)),
            "clients": json.dumps(clients),
            "bad": report["bad"],
        }
        return {**_host_fact.update(variables, host=host, verify=kept), "lines": report["lines"]}

    @staticmethod
    def _not_from_here(options: Info, scope: _verify.Scope) -> dict[Key, str]:
        """The endpoints that are graded on the host itself, by their keys, and why."""
        if options["from"] == "host":
            return {_verify.key(endpoint): "verify_from: host" for endpoint in scope["endpoints"]}
        if options["from"] == "controller":
            return {}
        found = _reach.unreached(scope["endpoints"])
        return {_verify.key(endpoint): f"no connection from the controller: {reason}" for endpoint, reason in found}

    def _graded_on_host(
        self, options: Info, module_options: Info, variables: Info, scope: _verify.Scope, reasons: dict[Key, str]
    ) -> list[Result]:
        """The results of the host's own look at these endpoints. Raises RoleError where it cannot."""
        endpoints = [
            _verify.on_host(endpoint, own)
            for endpoint, own in zip(scope["endpoints"], scope["own"], strict=True)
            if _verify.key(endpoint) in reasons
        ]
        arguments: Info = {"endpoints": endpoints, **module_options}
        if options["ca_file"]:
            arguments["ca_content"] = _regular.text(os.path.expanduser(options["ca_file"]), foreign_links=True)
        found = self._execute_module("kopano.hardening.tls_grade_info", module_args=arguments, task_vars=variables)
        if found.get("failed"):
            raise RoleError(f"verify_from: {options['from']}: the host could not grade itself: {found.get('msg')}")
        results: list[Result] = plain(found["results"])
        for result in results:
            _verify.mark_from_host(result, reasons[_verify.key(result)])
        return results
