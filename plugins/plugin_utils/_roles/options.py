# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The options of a role, as its own C(meta/argument_specs.yml) describes them, from the variables of a host."""

from __future__ import annotations

import contextlib
import difflib
import re
import typing as t
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.validation import check_type_dict
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import CAA, GRADE, TLS, UPDATES
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

Info = dict[str, t.Any]

ROLES = Path(__file__).parents[3] / "roles"
# The step of the checklist that a role is for. The report is for all of them.
STEPS = {"updates": UPDATES, "frontend": TLS, "certificate": GRADE, "verify": GRADE, "caa": CAA}
# What the roles refuse beyond types, choices and ranges: one sentence for each error.
CHECKS: dict[str, t.Callable[[Info], list[str]]] = {
    "caa": _roles_caa.option_errors,
    "certificate": _roles_certificate.option_errors,
    "frontend": _frontend.option_errors,
    "report": _roles_report.option_errors,
    "updates": _roles_updates.option_errors,
    "verify": _verify.option_errors,
}
# Options of other roles that a role uses where its own are not set. They keep their whole names.
OF_OTHERS = {
    "caa": ("frontend_server_names",),
    "certificate": (
        *("caa_issuer", "caa_issuers", "caa_nameservers", "caa_timeout", "caa_trust_ad"),
        *("frontend_acme_root", "frontend_server", "frontend_server_names"),
        *("frontend_tls_certificate", "frontend_tls_certificate_key"),
        *("frontend_tls_certificate_rsa", "frontend_tls_certificate_rsa_key", "verify_ca_file"),
    ),
    "frontend": ("verify_from",),
    "updates": ("frontend_probes", "frontend_server"),
    "verify": ("frontend_clients_required",),
}
# A number as decimal.Decimal takes it, with a thousand digits or more: in the text, or by its exponent.
_ENDLESS = re.compile(r"\s*[+-]?(?:[\d_.]+[eE]\+?[\d_]{4,}|[\d_.]{1000,}(?:[eE].*)?)\s*", re.DOTALL)
# Lists and mappings in each other. What no option has, Ansible does not survive: Python ends its recursion.
DEEPEST = 32
TOO_DEEP = f"{{}}: it is nested too deep; no option has more than {DEEPEST} levels"
# What roles return, as variables with their names in front.
RETURNED = ("caa_lookups", "caa_published", "certificate_result", "frontend_result", "report_result", "updates_result")


def _spec(role: str) -> Info:
    # By the YAML library itself: Ansible's loader notes for each value where it is from, and takes many times as long.
    content = yaml_load((ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options: Info = content["argument_specs"]["main"]["options"]
    return options


# Read when Ansible loads the plugin, and so once for all tasks and hosts. Nothing changes them.
SPECS = {role: _spec(role) for role in CHECKS}
CLOSE = 0.85  # ratio of equal characters (difflib) from which a name is taken for a misspelled one


def read(
    action: ActionBase, role: str, variables: t.Mapping[str, t.Any], others: t.Container[str] = ()
) -> tuple[Info, list[str]]:
    """The options of a role without its name in front, and what is wrong with them: one sentence each.

    action: the action plugin that reads them; others: roles that report what is wrong with their options themselves.
    Where something is wrong the options may be incomplete.
    """
    spec = SPECS[role]
    prefix = f"{role}_"
    values, errors = _validated(action, spec, variables)
    options = {name.removeprefix(prefix): value for name, value in values.items()}
    errors += misspelled(prefix, spec, variables)
    borrowed: list[str] = []
    for other in {name.partition("_")[0] for name in OF_OTHERS.get(role, ())}:
        spec_of_other = {name: option for name, option in SPECS[other].items() if name in OF_OTHERS[role]}
        values, wrong = _validated(action, spec_of_other, variables)
        options.update(values)
        borrowed += wrong
        errors += wrong if other not in others else []
    if not errors and not borrowed and role in CHECKS:
        errors = CHECKS[role](options)
    return options, errors


def of_task(role: str, arguments: Info) -> tuple[Info, list[str]]:
    """As C(read), of a task's own arguments, which have the names of the role's options without its name in front."""
    prefix = f"{role}_"
    spec = {name.removeprefix(prefix): option for name, option in SPECS[role].items()}
    options, errors = _validate(spec, arguments)
    return options, errors or CHECKS[role](options)


def checked(
    action: ActionBase, roles: t.Collection[str], variables: t.Mapping[str, t.Any]
) -> tuple[dict[str, Info], str, Info]:
    """The options of these roles, what is wrong with them in one message, and C(role) and C(step), those of the first
    role of which something is."""
    found = {role: read(action, role, variables, roles) for role in dict.fromkeys(roles)}
    first = next((role for role, (_options, errors) in found.items() if errors), "")
    message = "; ".join(dict.fromkeys(error for _options, errors in found.values() for error in errors))
    options = {role: of_role for role, (of_role, _errors) in found.items()}
    return options, message, {"role": first, "step": STEPS[first]} if first in STEPS else {}


def given(action: ActionBase, names: t.Iterable[str], variables: t.Mapping[str, t.Any]) -> Info:
    """Those of the variables that have a value, templated. What is C(omit) has none."""
    raw = {name: variables[name] for name in names if name in variables}
    if not raw:
        return {}
    found: Info = action._templar.template(raw)
    # ansible-core drops it itself since 2.19. Before, it is a text, which is a variable.
    omit = variables.get("omit")
    return t.cast("Info", _without_text(found, omit)) if omit else found


def _without_text(value: t.Any, text: str) -> t.Any:
    if isinstance(value, dict):
        return {key: _without_text(item, text) for key, item in value.items() if item != text}
    return [_without_text(item, text) for item in value if item != text] if isinstance(value, list) else value


def _validated(action: ActionBase, spec: Info, variables: t.Mapping[str, t.Any]) -> tuple[Info, list[str]]:
    # Ansible would report them as templates that refer to themselves.
    deep = [name for name in spec if _is_too_deep(variables.get(name))]
    spec, errors = {name: spec[name] for name in spec if name not in deep}, [TOO_DEEP.format(name) for name in deep]
    try:
        # With ansible-core before 2.19 a value with !vault is decrypted here.
        values = plain(given(action, spec, variables))
    except (AnsibleError, RecursionError):
        return {}, [*errors, *_without_value(action, spec, variables)]
    found, wrong = _validate(spec, values)
    return found, errors + wrong


def _without_value(action: ActionBase, names: t.Iterable[str], variables: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Why options have no value: a variable in a template that is not defined, a vault whose password is not given."""
    for name in names:
        try:
            plain(given(action, [name], variables))
        except AnsibleError as error:
            yield f"{name}: {str(error).splitlines()[0]}"
        except RecursionError:
            yield TOO_DEEP.format(name)


def _validate(spec: Info, values: t.Mapping[str, t.Any]) -> tuple[Info, list[str]]:
    values, errors = _from_text(spec, values)
    for name in [name for name, value in values.items() if _is_too_deep(value)]:
        errors.append(TOO_DEEP.format(name))
        del values[name]
    for place, text in list(_endless(spec, values)):
        errors.append(f"{'.'.join(place)}: {f'{text!r}':.100} cannot be read as int: it is too large")
        values.pop(place[0], None)
    try:
        found, wrong = _by_ansible(spec, values)
        texts = {name: str(value) for name, value in values.items()}
        if all(any(_tells(message, *pair) for pair in texts.items()) for message in wrong):
            return found, errors + wrong
    except (ArithmeticError, LookupError, TypeError, ValueError):
        pass
    # Ansible's validation does not name the option or the value in all messages, and has exceptions, as of infinity.
    found = {}
    for name, option in spec.items():
        given = {name: values[name]} if name in values else {}
        try:
            own, wrong = _by_ansible({name: option}, given)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            own, wrong = {}, [str(error)]
        found.update(own)
        text = str(values.get(name))
        lacking = [message for message in wrong if not _tells(message, name, text)]
        if lacking:
            kind = " of ".join(option[key] for key in ("type", "elements") if key in option)
            wrong = [f"{name}: {f'{values[name]!r}':.100} cannot be read as {kind}: {lacking[0]}"]
        errors += wrong
    return found, errors


def _is_too_deep(value: t.Any) -> bool:
    level = [value]
    for _number in range(DEEPEST):
        within = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [item for items in within for item in items]
    return bool(level)


def _endless(spec: t.Mapping[str, Info], values: t.Mapping[str, t.Any]) -> t.Iterator[tuple[tuple[str, ...], str]]:
    """Texts for numbers that are too large to be read, each with the names that lead to it.

    Ansible makes every digit of 1e999999999, which takes hours and cannot be interrupted.
    """
    for name, value in values.items():
        option = spec.get(name) or {}
        kind = option.get("elements", option.get("type"))
        items = value.split(",") if isinstance(value, str) and "elements" in option else value
        for item in items if isinstance(items, list) else [items]:
            if "options" in option:
                with contextlib.suppress(TypeError, ValueError):  # which the validation reports
                    within = _endless(option["options"], check_type_dict(item))
                    yield from (((name, *place), text) for place, text in within)
            elif isinstance(item, str) and kind == "int" and _ENDLESS.fullmatch(item):
                yield (name,), item


def _tells(message: str, name: str, text: str) -> bool:
    """Whether a message names the option, and its value, as a text, where that has another type."""
    return name in message and ("unable to convert" not in message or text in message)


def _by_ansible(spec: Info, values: t.Mapping[str, t.Any]) -> tuple[Info, list[str]]:
    validated = ArgumentSpecValidator(spec).validate(values, validate_role_argument_spec=True)
    return _without_defaults(plain(validated.validated_parameters)), list(validated.error_messages)


def _from_text(spec: Info, values: t.Mapping[str, t.Any]) -> tuple[Info, list[str]]:
    """Lists of mappings that were given as YAML, as a survey in AWX and -e NAME=VALUE have nothing but text.

    Ansible itself would make a list of such a text at its commas.
    """
    read, errors = dict(values), []
    for name, value in values.items():
        if not isinstance(value, str) or spec.get(name, {}).get("elements") != "dict":
            continue
        try:
            found = yaml_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # a day that no month has, brackets without end
            errors.append(f"{name}: cannot be read as YAML: {' '.join(str(error).split())}")
            del read[name]
        else:
            # Text is left to Ansible, which knows key=value as well.
            read[name] = value if isinstance(found, str) else found or []
    return read, errors


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
