# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""A CAA record set as DNS providers take it: fields of a web interface, or tasks for a module. Text to be pasted."""

from __future__ import annotations

import functools
import re
import typing as t
from pathlib import Path

import yaml

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.record_sets import ReturnedRecord, ReturnedSet

FILE = Path(__file__).parents[3] / "roles" / "caa" / "data" / "providers.yml"
WEB, NONE = "web", "none"
# What stands for itself in a zone file, in YAML and in a task: others may have written the records that stay, and
# Ansible would evaluate what is in braces.
_PLAIN = re.compile(r"[ !#-\[\]-z|~]*")
_INDENT = "  "


class Provider(t.TypedDict):
    """A module, and its arguments with what has to be filled in."""

    module: str
    arguments: dict[str, t.Any]


@functools.cache
def providers() -> dict[str, Provider]:
    """The providers by their names."""
    found: dict[str, Provider] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def lines(name: str, record_sets: t.Iterable[ReturnedSet]) -> list[str]:
    """The lines for one provider, with a heading. Sets that are not complete, or have no records, are left out."""
    found = [one for one in record_sets if one["complete"] and one["records"]]
    if name == NONE or not found:
        return []
    heading = "for a web interface, name, flags, tag and value:"
    if name != WEB:
        heading = f"tasks for {providers()[name]['module']}:"
    return [heading, *(_INDENT + line for one in found for line in (_fields(one) if name == WEB else _task(name, one)))]


def _fields(record_set: ReturnedSet) -> list[str]:
    return [f"{record_set['name']}  {one['flags']}  {one['tag']}  {one['value']}" for one in record_set["records"]]


def _task(name: str, record_set: ReturnedSet) -> list[str]:
    if not all(_PLAIN.fullmatch(one["value"]) for one in record_set["records"] + _gone(record_set)):
        return [f"# {record_set['name']}: no task, as a record has characters that would have to be quoted there"]
    return yaml.safe_dump(tasks(name, record_set), sort_keys=False, width=10000).splitlines()


def tasks(name: str, record_set: ReturnedSet) -> list[dict[str, t.Any]]:
    """The tasks that publish the set."""
    provider = providers()[name]
    place, zone = record_set["name"], record_set["zone"]
    whole = {
        "zone": zone,
        "name": place,
        "prefix": "@" if place == zone else place[: -len(zone) - 1],
        "records": list(record_set["wanted"]),
        "values": [{"value": record} for record in record_set["wanted"]],
    }
    each = {"<flags>", "<tag>", "<value>"} & set(map(str, provider["arguments"].values()))
    calls: t.Sequence[tuple[str, t.Mapping[str, t.Any]]] = [("present", {})]
    if each:
        calls = [("present", one) for one in record_set["records"]] + [("absent", one) for one in _gone(record_set)]
    return [
        {
            "name": f"{'Publish' if state == 'present' else 'Remove'} CAA records of {place}",
            provider["module"]: {**_filled(provider["arguments"], {**whole, **one}), "state": state},
            "delegate_to": "localhost",
        }
        for state, one in calls
    ]


def _gone(record_set: ReturnedSet) -> list[ReturnedRecord]:
    """The records that have to go."""
    found = [re.fullmatch(r'(\d+) (\w+) "(.*)"', one, re.DOTALL) for one in record_set["current"]]
    there: list[ReturnedRecord] = [{"flags": int(one[1]), "tag": one[2], "value": one[3]} for one in found if one]
    return [one for one in there if one not in record_set["records"]]


def _filled(arguments: t.Mapping[str, t.Any], values: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        name: values[value[1:-1]] if isinstance(value, str) and re.fullmatch("<[a-z]+>", value) else value
        for name, value in arguments.items()
    }
