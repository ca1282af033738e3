# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The options of a role, as its own C(meta/argument_specs.yml) describes them, from the variables of a host."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa

ROLES = Path(__file__).parents[3] / "roles"
# What a role refuses beyond types, choices and ranges: combinations of options, and the meaning of texts.
CHECKS: dict[str, t.Callable[[dict[str, t.Any]], list[str]]] = {"caa": _roles_caa.option_errors}


def read(action: ActionBase, role: str, variables: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
    """The options of a role without its name in front, and what is wrong with them: one sentence each.

    action: the action plugin that reads them. Where something is wrong the options may be incomplete.
    """
    # Ansible has read it for the play, if the role is in it. It is not copied, and nothing here changes it.
    content = action._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"), unsafe=True)
    spec = content["argument_specs"]["main"]["options"]
    given = action._templar.template({name: variables[name] for name in spec if name in variables})
    validated = ArgumentSpecValidator(spec).validate(given, validate_role_argument_spec=True)
    prefix = len(role) + 1
    options = plain({name[prefix:]: value for name, value in validated.validated_parameters.items()})
    errors: list[str] = list(validated.error_messages)
    if not errors and role in CHECKS:
        errors = CHECKS[role](options)
    return options, errors
