# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The base class of the actions of roles."""

from __future__ import annotations

import json
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options

Info = dict[str, t.Any]


class RoleError(Exception):
    """Why the role fails this host."""


class RoleAction(ActionBase):
    """What a role does with one host, with that host's own options. A subclass names the role and its step."""

    _supports_check_mode = True
    _supports_diff = False
    ROLE: str
    STEP: int

    def run(self, tmp: str | None = None, task_vars: Info | None = None) -> Info:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            return {"changed": False, **self.act(self.options(variables), variables)}
        except RoleError as error:
            return {"failed": True, "changed": False, "step": self.STEP, "msg": _printable.result(str(error))}

    def options(self, variables: Info) -> Info:
        """The role's options, without its name in front. Raises RoleError where something is wrong with them."""
        options, errors = _roles_options.read(self, self.ROLE, variables)
        if errors:
            raise RoleError("; ".join(errors))
        return options

    def act(self, options: Info, variables: Info) -> Info:
        """What the role is for; returns the task's result. Raises RoleError."""
        raise NotImplementedError

    def value(self, variables: Info, name: str, default: t.Any = None) -> t.Any:
        """A variable that is no option of this role, templated."""
        return plain(self._templar.template(variables[name])) if name in variables else default

    def query(self, variables: Info, *parts: str) -> Info:
        """What is known of the host: the parts, and what else an earlier role keeps; the host is queried at most once.

        A role that is called again in the same run queries it again, as the host may have changed since.
        parts: C(frontend), C(certificates). Raises RoleError where the host could not return one.
        """
        fact = _host_fact.read(variables)
        known = {**({} if self.ROLE in fact else fact), **self._of_other_roles(variables)}
        if set(parts) <= set(known):
            return known
        server = self.value(variables, "frontend_server", "auto")
        queried = ("frontend", *set(parts) - {"frontend"})  # certificates are those of the web server
        arguments = {**{part: {} for part in queried}, "frontend": {"server": server}}
        found = self._execute_module("kopano.hardening.host_info", module_args=arguments, task_vars=variables)
        for result in (found, *(found.get(part) or {} for part in queried)):
            if result.get("failed"):
                raise RoleError(f"the host could not be queried: {result.get('msg')}")
        return {**known, **{part: plain(found[part]) for part in queried}}

    def run_here(self, module: t.Any, **arguments: t.Any) -> Info:
        """The result of a module of this collection, run on the controller. Raises RoleError."""
        validated = ArgumentSpecValidator(module.ARGUMENTS).validate(arguments)
        try:
            if validated.error_messages:
                raise ValueError("; ".join(validated.error_messages))
            result = module.run(dict(validated.validated_parameters))
        except ValueError as error:
            raise RoleError(str(error)) from error
        # What a module returns is as JSON has it, and printable.
        found: Info = _printable.result(json.loads(json.dumps(result)))
        return found

    def _of_other_roles(self, variables: Info) -> Info:
        """What the roles frontend and certificate have registered."""
        found = {}
        for part, name in (("frontend", "__frontend_info"), ("certificates", "__certificate_looked")):
            result = self.value(variables, name)
            if isinstance(result, dict) and not (result.get("skipped") or result.get("failed")):
                found[part] = result
        return found
