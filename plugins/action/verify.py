# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Step 5 for one host: its endpoints are graded from the controller; then the host is held against its options.

These are two parts, as Ansible keeps no fact of a task that fails, and the report needs the grades of such a host too.
"""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls.grade import Result
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError

PASSED_ON = ("fetch_issuers", "mode", "timeout", "concurrency")  # options of the module


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
        report = graded["report"]
        # The lines are what this is for.
        result: Info = {"msg": report["lines"], "_ansible_verbose_always": True}
        if report["bad"]:
            result.update(failed=True, bad=report["bad"])
        return result

    def _grade(self, options: Info, variables: Info) -> Info:
        host = self.query(variables, "frontend")
        frontend = self.checked(host, "frontend")
        address = self.value(variables, "ansible_host", variables["inventory_hostname"])
        scope = _verify.scope_of(frontend, address, options["endpoints"], options["virtual_hosts"])
        module_options = {name: options[name] for name in PASSED_ON}
        results: list[Result] = self.run_here(
            tls_grade_info, endpoints=scope["endpoints"], ca_file=options["ca_file"] or None, **module_options
        )["results"]
        required: _verify.Required = {
            "grade": options["minimum_grade"],
            "ignore_trust": options["ignore_trust"],
            # A dry run that would change the host: it is graded as it is now, and not judged for that.
            "pending": self._task.check_mode
            and (_host_fact.read(variables).get("frontend") or {}).get("changed", False),
            "fail": options["fail"],
        }
        kept: _verify.Kept = {
            **scope,
            "wanted": required,
            "results": results,
            "report": _verify.report(results, scope, required),
        }
        return _host_fact.update(variables, host=host, verify=kept)
