# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps 2 and 3 for one host: from what it runs and the role's options to a plan, and that onto the host.

The plan is carried out as by the module C(web_config). Where C(host_info) has just done the very same, and found
nothing to change, its result is taken.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.kopano.hardening.plugins.action.web_config import ActionModule as WebConfig
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data as _frontend_data
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_lines as _frontend_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend import Plan
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostParts

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo, TLSLogInfo
    from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend_lines import Outcome

FRESH = 300  # seconds for which what host_info has done counts: on other hosts of the play, others may take their time


class ActionModule(RoleAction):
    ROLE = "frontend"
    _supports_diff = True

    def act(self, options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info, Info], Info]] = {"inspect": self._inspect, "deploy": self._deploy}
        part = self._task.args.get("part")
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        return parts[part](options, variables)

    def _inspect(self, options: Info, variables: Info) -> Info:
        host = self.query(variables, "frontend")
        seen = self.checked(host, "frontend")["clients"]
        policy = _lost_clients.policy_of(options, _frontend_data.profiles()[options["tls_profile"]])
        kept = {"changed": False, "findings": _lost_clients.findings([], seen, policy)}
        return {
            **_host_fact.update(variables, host=host, frontend=kept),
            "lines": _lost_clients.seen_lines(seen, policy, {}),
        }

    def _deploy(self, options: Info, variables: Info) -> Info:
        host = _host_fact.read(variables).get("host") or {}
        if options["state"] == "absent":
            result = self._web_config(variables, {"restore": "original"}, options)
        else:
            host, result = self._apply(options, variables)
        changed = result.get("changed", False)
        if not result.get("failed"):
            outcome = t.cast("Outcome", result)
            result["outcome"] = _frontend_lines.outcome(outcome, self._task.check_mode)
            result["lines"] = _frontend_lines.lines(outcome, self._task.check_mode)
        found: list[Finding] = []
        if options["state"] != "absent" and not result.get("failed"):
            grades = _frontend_lines.grades(result)
            policy = _lost_clients.policy_of(options, _frontend_data.profiles()[options["tls_profile"]])
            seen = self.checked(host, "frontend")["clients"] if "frontend" in host else None
            result["outcome"] += _lost_clients.seen_lines(seen, policy, _lost_clients.lost(grades))
            found = _lost_clients.findings(grades, seen, policy)
        if changed and not self._task.check_mode:
            # The next role queries the host again.
            host = _host_fact.only(host, ("updates",))
        kept = {"changed": changed, "site": (result.get("plan") or {}).get("site"), "findings": found}
        return {**result, **_host_fact.update(variables, host=host, frontend=kept)}

    def _apply(self, options: Info, variables: Info) -> tuple[HostParts, Info]:
        """What is known of the host, and the result."""
        host = self.query(variables, "frontend")
        info = self.checked(host, "frontend")
        if info["os"]["family"] is None:
            raise RoleError(_layout.refusal(info["os"]["pretty_name"]))
        installed = self._install(info, options, variables)
        if installed and not self._task.check_mode:
            host = self.query(_host_fact.variables_with(variables, host={}), "frontend", first=False)
            info = self.checked(host, "frontend")
        # What the role certificate returns is the one thing of another role. It may have installed nothing.
        certificates = self.value(variables, "certificate_result", {})
        certificates = certificates if "certificates" in certificates else {}
        options = {**options, "check_mode": self._task.check_mode, "certificate_result": certificates}
        found = _frontend.plan(info, options, _frontend_data.profiles(), _frontend_data.components())
        if found["error"]:
            raise RoleError(found["error"], plan=found)
        if found["skip"]:
            outcome = "changed" if installed else "skipped"
            return host, {outcome: True, "skip_reason": found["skip"], "plan": found}
        plan = t.cast(Plan, found)
        arguments = {
            "files": [*plan["files"], *self._placeholders(certificates)],
            "enable": plan["enable"],
            "disable": plan["disable"],
            "adopt": plan["adopt"],
            "policy": plan["policy"],
            "probes": plan["probes"],
            "clients_required": options["clients_required"],
        }
        server = {**options, "server": plan["server"]}
        # The plan has text of the host, such as paths of its configuration, which must not be taken for templates.
        known = {**variables, "plan": wrap_var(plan)}
        result = self._web_config(known, arguments, server, host.get("web_config"))
        if plan["tls_log"] and result.get("changed") and not self._task.check_mode:
            self._set_permissions(plan["tls_log"], variables, result)
        return host, {**result, "changed": installed or result.get("changed", False), "plan": plan}

    def _install(self, info: FrontendInfo, options: Info, variables: Info) -> bool:
        """Install a web server where there is none and the options require one; whether that was, or would be, done."""
        if info["servers"] or not (options["install"] and options["server_names"]):
            return False
        packages = _frontend_data.packages()[str(info["os"]["family"])]
        # Kopano's own packages bring configuration for Apache first.
        names = packages["nginx"] if options["server"] == "nginx" else packages["apache"]
        result = self.install(variables, names, use=packages["use"])
        if result.get("failed"):
            raise RoleError(f"the web server could not be installed: {result.get('msg')}")
        return bool(result.get("changed"))

    def _set_permissions(self, log: TLSLogInfo, variables: Info, result: Info) -> None:
        """Give a log that the server has just created the mode and owner of the distribution's logs. One that cannot
        get them is a warning: the change itself is made."""
        own = {name: log[name] for name in ("owner", "group", "mode") if log[name] is not None}
        if not own:
            return
        arguments = {"path": log["path"], "state": "file", "follow": False, **own}
        done = self._execute_module("ansible.builtin.file", module_args=arguments, task_vars=variables)
        if done.get("failed"):
            result.setdefault("warnings", []).append(f"frontend_tls_log: {log['path']}: {done.get('msg')}")

    def _placeholders(self, certificates: Info) -> list[Info]:
        """What a rehearsal in a dry run has in place of certificates that the role certificate would bring."""
        if not (self._task.check_mode and certificates):
            return []
        return _roles_certificate.placeholders(
            certificates["certificates"], certificates["missing"], certificates["names"]
        )

    def _web_config(self, variables: Info, arguments: Info, options: Info, done: Info | None = None) -> Info:
        """The result of web_config with these arguments. done: what host_info has done already."""
        task = self._task.copy()
        own = {name: options[name] for name in ("server", "rehearse", "confirm_timeout", "keep")}
        task.args = {**arguments, **own, "confirm_from": options["verify_from"]}
        action = WebConfigOnce(
            task, self._connection, self._play_context, self._loader, self._templar, self._shared_loader_obj
        )
        action.done = done
        return action.run(task_vars=variables)


class WebConfigOnce(WebConfig):
    """Takes the result of host_info, where the options are the same."""

    done: Info | None = None
    # What host_info did not find as it was.
    likely_to_change = True

    def _transaction(self, arguments: Info, task_vars: Info) -> Info:
        if self.done and time.monotonic() - self.done["asked"] < FRESH:
            params = _transaction_options.understood(plain(arguments))
            if params is not None and _transaction_options.digest(params) == self.done["digest"]:
                # JSON has escaped whatever the module would have made printable.
                result: Info = _printable.result(json.loads(self.done["answer"]))
                return result
        return super()._transaction(arguments, task_vars)
