# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Step 1 for one host: what its updates need, and a record of what the role's other tasks do about it.

Ansible's own modules install, restart and reboot. Each such act is between two parts of this: C(begin) gives its tasks
what they take, and keeps the web server's responses; C(record) queries the host again and compares. As Ansible keeps no
fact of a task that fails, C(begin) drops what the act may change from what is known of the host.

The fact C(updates) is C(_roles.updates.UpdatesFact).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostParts
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.updates import ActUnderWay, UpdatesFact

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._host_info import FailedPart
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.status import UpdateStatus


class ActionModule(RoleAction):
    ROLE = "updates"

    def act(self, options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info, Info], Info]] = {
            "inspect": self._inspect,
            "begin": self._begin,
            "blocked": self._block,
            "record": self._record,
            "settle": self._settle,
            "check": self._check,
        }
        part = self._task.args.get("part")
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        return parts[part](options, variables)

    def _inspect(self, options: Info, variables: Info) -> Info:
        host = self.query(variables, "updates")
        due, unsure = self._planned(host["updates"], options)
        kept: UpdatesFact = {
            "due": due,
            "unsure": unsure,
            "done": _roles_updates.nothing_done(self._task.check_mode),
            "act": {},
            "rebooting": False,
            "lost": False,
        }
        return _host_fact.update(variables, host=host, updates=kept)

    def _begin(self, options: Info, variables: Info) -> Info:
        """Nothing is done to a host whose updates could not be checked: it fails here."""
        host, kept = self._known(variables)
        info = self.checked(host, "updates")
        name = self._task.args.get("act")
        if name not in _roles_updates.ACTS:
            raise RoleError(f"act: {name!r} is none of {', '.join(_roles_updates.ACTS)}")
        reason = self._reason_to_wait(options, variables) if name == "reboot" else ""
        if reason:
            done = _roles_updates.add(kept["done"], {"words": [reason]})
            return _host_fact.update(variables, updates={**kept, "act": {"now": False}, "done": done})
        act = _roles_updates.ACTS[name]
        prepared = self._prepared(name, info, options, variables)
        web: Info = {}
        if act.probed and _roles_updates.plan(info, options)[act.probed]:
            web = self._probe(variables, options, options["rehearse"] if act.rehearsed else "off")
        if not self._task.check_mode:
            host = _host_fact.only(host, () if act.web else {*host} - {"updates"})
        kept = {**kept, "act": {**prepared, "probes": web.get("probes")}, "rebooting": name == "reboot"}
        return {**web, **_host_fact.update(variables, host=host, updates=kept)}

    def _prepared(self, name: str, info: UpdateStatus, options: Info, variables: Info) -> ActUnderWay:
        """What the tasks of an act take."""
        try:
            prepared: ActUnderWay = {"name": name, "now": True, **_roles_updates.ACTS[name].prepare(info, options)}
        except ValueError as error:
            raise RoleError(str(error)) from error
        if name == "install" and prepared["manager"] == "apt":
            status = self._command(variables, "grep", "-q", _roles_updates.POLICY_MARK, _roles_updates.POLICY)["rc"]
            prepared["policy"] = _roles_updates.policy(options["restart_services"], status)
        return prepared

    def _block(self, _options: Info, variables: Info) -> Info:
        """Packages that cannot be installed, from the results of a loop over them."""
        _host, kept = self._known(variables)
        blocked = [result["item"] for result in plain(self._task.args["results"]) if result.get("failed")]
        return _host_fact.update(variables, updates={**kept, "act": {**kept["act"], "blocked": blocked}})

    def _record(self, options: Info, variables: Info) -> Info:
        host, kept = self._known(variables)
        act, is_dry = kept["act"], self._task.check_mode
        worse: list[str] = []
        if not is_dry:
            host = {**host, **self.request(variables, {"updates": _roles_updates.query(options)})}
        info = self.checked(host, "updates")
        web: Info = {}
        if not is_dry and act["probes"] is not None:
            web = self._probe(variables, options, "off")
            worse = _roles_updates.compare(act["probes"], web["probes"])
        done = _roles_updates.add(kept["done"], _roles_updates.ACTS[act["name"]].outcome(act, info, options, is_dry))
        due, unsure = self._planned(info, options)
        kept = {
            "due": due,
            "unsure": unsure,
            "done": _roles_updates.add(done, {"wrong": worse}),
            "act": {},
            "rebooting": False,
            "lost": act["name"] == "reboot" and bool(worse),
        }
        return {**web, **_host_fact.update(variables, host=host, updates=kept)}

    def _settle(self, options: Info, variables: Info) -> Info:
        """After an act that failed, query the host again, without a failure of its own."""
        fact = _host_fact.read(variables)
        host, kept = fact.get("host") or {}, fact.get("updates")
        if kept is None or "updates" in host:
            return {}
        found: HostParts
        try:
            found = self.request(variables, {"updates": _roles_updates.query(options)})
        except RoleError as error:
            found = {"updates": {"failed": True, "msg": str(error)}}
        kept = {**kept, "act": {}, "rebooting": False, "lost": kept["rebooting"]}
        return _host_fact.update(variables, host={**host, **found}, updates=kept)

    def _check(self, options: Info, variables: Info) -> Info:
        host, kept = self._known(variables)
        done = kept["done"]
        # Nothing to install is not the same as nothing known.
        if kept["unsure"] and not self._task.check_mode:
            done = _roles_updates.add(done, {"wrong": [kept["unsure"]]})
        report = _roles_updates.report(host["updates"], done, options["fail"])
        return self.judged(report)

    @staticmethod
    def _known(variables: Info) -> tuple[HostParts, UpdatesFact]:
        """What is known of the host, and what the role keeps; never of another run, as a cache of facts has it."""
        fact = _host_fact.read(variables)
        if "updates" not in fact:
            raise RoleError("the updates of this host were not inspected in this run")
        return fact["host"], fact["updates"]

    @staticmethod
    def _planned(info: UpdateStatus | FailedPart, options: Info) -> tuple[list[str], str]:
        """What is due, and why it is not known that nothing more is to be installed."""
        unsure = _roles_updates.plan(info, options)["unsure"] if _host_fact.succeeded(info) else ""
        return _roles_updates.due(info, options), unsure

    def _probe(self, variables: Info, options: Info, rehearse: str) -> Info:
        """The web server's responses, by web_config without a change. Raises RoleError where that fails."""
        arguments = {"server": options["frontend_server"], "probes": options["frontend_probes"], "rehearse": rehearse}
        result = self.run_action("kopano.hardening.web_config", variables, arguments)
        if result.get("failed"):
            raise RoleError(str(result.pop("msg", "")), **result)
        return result

    def _reason_to_wait(self, options: Info, variables: Info) -> str:
        """Why the host is not rebooted now, or nothing."""
        clock = ""
        if options["reboot_window"]:
            clock = self._command(variables, "date", "+%H:%M")["stdout"].strip()
            if not re.fullmatch(r"\d\d:\d\d", clock):
                raise RoleError(f"the clock of the host could not be read: {clock}")
        return _roles_updates.not_rebooted(_lost(variables), options["reboot_window"], clock)

    def _command(self, variables: Info, *argv: str) -> Info:
        """The result of a command that changes nothing, so it also runs in check mode. Raises RoleError where it cannot
        be run."""
        result = self.run_action("ansible.builtin.command", variables, {"argv": list(argv)}, check_mode=False)
        if "rc" not in result:
            raise RoleError(f"{argv[0]}: {result.get('msg')}")
        return result


def _lost(variables: Info) -> list[str]:
    """The hosts of the play that were on their way through a reboot when they failed."""
    hosts = variables["ansible_play_hosts_all"]
    facts = {host: _host_fact.read(variables["hostvars"].raw_get(host)).get("updates") for host in hosts}
    active = variables["ansible_play_hosts"]
    # Without the strategy linear, hosts reboot at the same time.
    return [
        host for host, kept in facts.items() if kept and (kept["lost"] or (kept["rebooting"] and host not in active))
    ]
