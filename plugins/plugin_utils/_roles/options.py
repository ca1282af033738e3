# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The options of a role, as its own C(meta/argument_specs.yml) describes them, from the variables of a host."""

from __future__ import annotations

import difflib
import importlib
import typing as t
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain

ROLES = Path(__file__).parents[3] / "roles"
# Roles whose module has C(option_errors): what it refuses beyond types, choices and ranges. It is imported when it is
# needed, since a role by itself needs no other.
CHECKED = ("caa", "frontend", "updates")
# What roles return, as variables with their names in front.
RETURNED = ("caa_lookups", "caa_published", "certificate_result")
CLOSE = 0.85  # ratio of equal characters (difflib) from which a name is taken for a misspelled one


def read(action: ActionBase, role: str, variables: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
    """The options of a role without its name in front, and what is wrong with them: one sentence each.

    action: the action plugin that reads them. Where something is wrong the options may be incomplete.
    """
    # Ansible has read it for the play, if the role is in it. It is not copied, and nothing here changes it.
    content = action._loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"), unsafe=True)
    spec = content["argument_specs"]["main"]["options"]
    given = action._templar.template({name: variables[name] for name in spec if name in variables})
    validated = ArgumentSpecValidator(spec).validate(given, validate_role_argument_spec=True)
    prefix = f"{role}_"
    values = {name.removeprefix(prefix): value for name, value in validated.validated_parameters.items()}
    options = _without_defaults(plain(values))
    errors: list[str] = [*validated.error_messages, *misspelled(prefix, spec, variables)]
    if not errors and role in CHECKED:
        errors = importlib.import_module(f"{__package__}.{role}").option_errors(options)
    return options, errors


def _without_defaults(value: t.Any) -> t.Any:
    """Without suboptions that were not given, which are None after the validation."""
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items() if item is not None}
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def misspelled(prefix: str, spec: t.Collection[str], variables: t.Iterable[str]) -> list[str]:
    """Variables with the role's prefix that are no options of it, but almost the name of one.

    Any other may be a role's of the user with the same prefix.
    """
    known = [name.removeprefix(prefix) for name in spec]
    found = []
    for name in variables:
        if not name.startswith(prefix) or name in spec or name in RETURNED:
            continue
        close = difflib.get_close_matches(name.removeprefix(prefix), known, n=1, cutoff=CLOSE)
        if close:
            found.append(f"{name} is not an option of the role {prefix[:-1]}; did you mean {prefix}{close[0]}?")
    return found
