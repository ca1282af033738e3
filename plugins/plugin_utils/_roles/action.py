# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The base class of the actions of roles."""

from __future__ import annotations

import json
import re
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.finding_lines import Report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostParts

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Results
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.status import UpdateStatus
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo

Info = dict[str, t.Any]

# How apt and its module say that package lists are missing or old. The other package managers fetch theirs themselves.
_OLD_LISTS = re.compile(r"No package matching|maybe run apt-get update")
# What a failed task returns. Ansible shows all of it, and keeps no facts of it.
_OF_A_FAILURE = ("failed", "changed", "msg", "role", "step", "reached", "warnings", "exception")
_DRY_LISTS = "the host's package lists may be missing or old; a run without check mode fetches them (apt-get update)"


class RoleError(Exception):
    """Why the role fails this host. result: what else the task returns."""

    def __init__(self, message: str, **result: t.Any) -> None:
        super().__init__(message)
        self.result = result


class RoleAction(ActionBase):
    """What a role does with one host, with that host's own options. A subclass names the role."""

    _supports_check_mode = True
    _supports_diff = False
    ROLE: str

    def run(self, tmp: str | None = None, task_vars: Info | None = None) -> Info:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            result = {"changed": False, **self.act(self.options(variables), variables)}
        except RoleError as error:
            result = {"failed": True, "changed": False, "msg": str(error), **error.result}
        except AnsibleConnectionFailure as error:
            # Ansible would drop the host from the play. A failure can be rescued, and is in the report.
            message = f"{_query.UNREACHABLE}{_query.reason(error)}"
            result = {"failed": True, "changed": False, "reached": False, "msg": message}
        # Modules return printable text. An option, or a file's name, has come another way.
        result.update({key: _printable.result(result[key]) for key in ("msg", "outcome", "lines") if key in result})
        self._show_result(result, variables)
        if result.get("failed"):
            if self.ROLE in _roles_options.STEPS:
                result.setdefault("step", _roles_options.STEPS[self.ROLE])
                result.setdefault("role", self.ROLE)
            return {key: result[key] for key in _OF_A_FAILURE if key in result}
        # With -v there are the lines; the whole result, with plan and endpoints, is for -vv.
        return {**result, "_ansible_verbose_override": _terminal.display.verbosity < 2}

    def _show_result(self, result: Info, variables: Info) -> None:
        """Show what was done, and what was found where it is asked for or where no report follows that has it."""
        if self._task.no_log:
            return
        follows = "report" in _host_fact.read(variables) or "report" in _query.roles_of_play(variables)
        details = result.get("lines", []) if _terminal.display.verbosity or not follows else []
        name = str(variables.get("inventory_hostname", ""))
        width = max(len(host) for host in [name, *variables.get("ansible_play_hosts_all", [])])
        text = _terminal.text(
            name.ljust(min(width, _terminal.NAME_WIDTH)), result.get("outcome", []), details, self.ROLE
        )
        _terminal.show(text, bool(result.get("changed")))

    def options(self, variables: Info) -> Info:
        """The role's options, without its name in front. Raises RoleError where something is wrong with them.

        The first role that does something with a host checks the options of all that follow in its play: nothing is to
        be changed on a host where a later step cannot work.
        """
        roles = [self.ROLE] if _host_fact.read(variables) else _query.roles_to_run(variables, self.ROLE)
        options, message, where = _roles_options.checked(self, roles, variables)
        if message:
            raise RoleError(message, **where)
        return options[self.ROLE]

    def act(self, options: Info, variables: Info) -> Info:
        """What the role is for; returns the task's result. Raises RoleError.

        In the result, C(outcome) is what was done on the host and C(lines) is what was found, for the terminal.
        """
        raise NotImplementedError

    @staticmethod
    def judged(report: Report) -> Info:
        """The result of a check. Raises RoleError where the host fails for something."""
        shown = {"outcome": report.get("outcome", []), "lines": report["lines"]}
        if report["bad"]:
            raise RoleError("; ".join(report["bad"]), **shown)
        return shown

    def value(self, variables: Info, name: str, default: t.Any = None) -> t.Any:
        """A variable that is no option of this role, templated."""
        return plain(_roles_options.given(self, (name,), variables).get(name, default))

    def query(self, variables: Info, *parts: str, first: bool = True) -> HostParts:
        """What is known of the host, as C(host) in its fact, with these parts as they are now.

        A role queries the host itself, as tasks of others may have changed it since. In a play that begins with
        role_options only roles of this collection come in between, and they drop what they change: there the host is
        queried once, for all roles that follow, until a role is called again.

        parts: what the role needs now. first: whether this is the first of the role's tasks. Raises RoleError where the
        host could not be queried; a part that failed is among the results, see checked().
        """
        fact = _host_fact.read(variables)
        host = fact.get("host") or {}
        shares = "play" in fact and fact["play"] == variables.get("ansible_play_name")
        known = host if not first or (shares and self.ROLE not in fact) else {}
        if set(parts) <= set(known):
            return host
        roles = _query.roles_to_run(variables, self.ROLE, first) if shares else [self.ROLE]
        options: dict[str, Info] = {
            role: _roles_options.read(self, role, variables)[0] for role in ("updates", "certificate") if role in roles
        }
        needed = {*parts, *_query.parts(roles)} - set(known)
        # Then the role frontend plans something that it has not done before.
        if self._task.check_mode or _roles_certificate.installs(options.get("certificate")):
            needed.discard("web_config")
        server = self.value(variables, "frontend_server", "auto")
        # What hardening means for them is to be known before it is done, and takes time.
        clients = self._task.check_mode and "frontend" in roles
        clients = clients and boolean(self.value(variables, "frontend_count_clients", True), strict=False)
        # For the report, what other roles have found stays. What web_config would do counts for one role only.
        others = _host_fact.only(host, set(host) - {"web_config"})
        return {**others, **known, **self.request(variables, _query.arguments(needed, options, server, clients))}

    def request(self, variables: Info, arguments: Info) -> HostParts:
        """The parts that the module host_info returns with these arguments. Raises RoleError."""
        what = f"the host is queried ({', '.join(_query.PARTS[part] for part in arguments)})"
        with self.waiting(variables, what):
            found = _query.reached(
                lambda: self._execute_module(
                    "kopano.hardening.host_info", module_args=dict(arguments), task_vars=variables
                )
            )
        if found.get("failed"):
            reached = found.get("reached", True)
            message = str(found.get("msg"))
            if reached and _roles_certificate.in_roles_words(message) != message:
                raise RoleError(_roles_certificate.in_roles_words(message), step=_roles_options.STEPS["certificate"])
            prefix = "the host could not be queried: " if reached else _query.UNREACHABLE
            # In no step: nothing of what the role is for was inspected.
            raise RoleError(f"{prefix}{message}", reached=reached, step=None)
        return t.cast("HostParts", {part: plain(found[part]) for part in arguments})

    @t.overload
    @staticmethod
    def checked(host: HostParts, part: t.Literal["updates"]) -> UpdateStatus: ...

    @t.overload
    @staticmethod
    def checked(host: HostParts, part: t.Literal["frontend"]) -> FrontendInfo: ...

    @t.overload
    @staticmethod
    def checked(host: HostParts, part: t.Literal["certificates"]) -> Results: ...

    @staticmethod
    def checked(host: HostParts, part: t.Literal["updates", "frontend", "certificates"]) -> t.Any:
        """A part of what is known of the host. Raises RoleError where the host could not return it."""
        found = host[part]
        if found.get("failed"):
            raise RoleError(f"{_query.SUBJECTS[part]} could not be checked: {found.get('msg')}")
        return found

    @staticmethod
    def waiting(variables: Info, what: str) -> t.ContextManager[None]:
        """Report what the task waits for, and how long at most, where that takes long."""
        return _terminal.waiting(str(variables.get("inventory_hostname", "")), what)

    def run_here(self, module: t.Any, **arguments: t.Any) -> t.Any:
        """The result of a module of this collection, run on the controller. Raises RoleError."""
        validated = ArgumentSpecValidator(module.ARGUMENTS).validate(arguments)
        try:
            if validated.error_messages:
                raise ValueError("; ".join(validated.error_messages))
            result = module.run(dict(validated.validated_parameters))
        except ValueError as error:
            raise RoleError(str(error)) from error
        # What a module returns is as JSON has it, and printable.
        return _printable.result(json.loads(json.dumps(result)))

    def install(self, variables: Info, names: list[str], **options: t.Any) -> Info:
        """The result of the module package, which installs these. Where the host's package lists are not there, or are
        too old, they are fetched, once."""
        arguments = {"name": names, "state": "present", **options}
        result = self.run_action("ansible.builtin.package", variables, arguments)
        if not (result.get("failed") and _OLD_LISTS.search(str(result.get("msg")))):
            return result
        if self._task.check_mode:
            return {**result, "msg": f"{result['msg']}; {_DRY_LISTS}"}
        return self.run_action("ansible.builtin.package", variables, {**arguments, "update_cache": True})

    def run_action(self, name: str, variables: Info, arguments: Info, check_mode: bool | None = None) -> Info:
        """The result of another action on the host, as a task with these arguments would have it. check_mode: that of
        this task, unless it is given."""
        task = self._task.copy()
        task.args = arguments
        if check_mode is not None:
            task.check_mode = check_mode
        action = self._shared_loader_obj.action_loader.get(
            name,
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: Info = action.run(task_vars=variables)
        return result
