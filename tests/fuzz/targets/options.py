# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of each role, as an inventory has them: a mapping of variables in YAML."""

from __future__ import annotations

import functools
import json
import types
import typing as t

import yaml
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from tests.fuzz import values
from tests.fuzz.frame import ROOT, target

# Templates are Ansible's own matter.
_ACTION: t.Any = types.SimpleNamespace(_templar=types.SimpleNamespace(template=lambda value: value))
_EXAMPLES = {
    "str": "text",
    "path": "/etc/text",
    "int": 10,
    "bool": True,
    "float": 1.5,
    "dict": {"webapp": {}},
    "raw": 1,
}


class InvalidYaml(Exception):
    """The case is no YAML, so that no option is read."""


def _example(option: t.Mapping[str, t.Any]) -> t.Any:
    """A value of the option's type."""
    if option["type"] == "list":
        return [_example({**option, "type": option["elements"]})]
    if "suboptions" in option or "options" in option:
        return {name: _example(inner) for name, inner in (option.get("suboptions") or option["options"]).items()}
    return option["choices"][-1] if "choices" in option else _EXAMPLES[option["type"]]


def _options(role: str, case: str) -> None:
    """Either every message names an option, or there are options that a module and a fact can have."""
    try:
        variables = yaml_load(case)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidYaml from error
    if not isinstance(variables, dict):
        raise InvalidYaml
    variables = {name: value for name, value in variables.items() if isinstance(name, str)}
    options, errors = _roles_options.read(_ACTION, role, variables)
    for message in errors:
        assert any(name in message for name in _names(role)), message
    if not errors:
        # Dates and numbers as keys, as C(updates_support_data) may have them, become text on the way to a module.
        json.dumps(options, default=str)


@functools.cache
def _names(role: str) -> tuple[str, ...]:
    return (*_roles_options.SPECS[role], *_roles_options.OF_OTHERS.get(role, ()), f"of the role {role}")


for _role, _spec in _roles_options.SPECS.items():
    _seeds = (
        (ROOT / "roles" / _role / "defaults" / "main.yml").read_text(encoding="utf-8"),
        yaml.safe_dump({name: _example(option) for name, option in _spec.items()}),
    )
    target(f"options.{_role}", seeds=_seeds, make=values.of_yaml, declared=InvalidYaml)(
        functools.partial(_options, _role)
    )
