# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage to values in YAML, as an inventory or a playbook has them, and in JSON."""

from __future__ import annotations

import copy
import datetime
import json
import random
import typing as t

import yaml

from . import mutations

# One of each type that YAML has, and what is at the edge of one.
_ODD = (
    None, True, False, 0, 1, -1, 5, 65536, 10**30, 1.5, -0.0, float("inf"), float("nan"), datetime.date(2024, 1, 1),
    datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC), b"\xff\x00", {"a", "b"}, "", [], {}, [[]], [{}], {1: 2},
    {"": None}, [None],
)  # fmt: skip
_HURTS = ('<hurt hurt="1">', '" hurt="1', "' hurt='1", "]]><hurt/>", "</script><hurt>", "--><hurt>", "a\nhurt 1")


def of_yaml(source: random.Random, cases: t.Sequence[str]) -> str:
    """One of the cases with some values in it changed, left out, doubled, moved, or of another type; or as text."""
    return _changed(source, cases, _from_yaml, _to_yaml)


def of_json(source: random.Random, cases: t.Sequence[str]) -> str:
    """The same for JSON, whose values have fewer types."""
    return _changed(source, cases, json.loads, _to_json)


def _from_yaml(text: str) -> t.Any:
    return yaml.load(text, yaml.CSafeLoader)


def _to_yaml(value: t.Any) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=False, sort_keys=False)


def _to_json(value: t.Any) -> str:
    return json.dumps(value, default=str)


def _changed(
    source: random.Random, cases: t.Sequence[str], load: t.Callable[[str], t.Any], dump: t.Callable[[t.Any], str]
) -> str:
    if source.random() < 0.15:
        return mutations.of_text(source, cases)
    try:
        value, other = (load(source.choice(cases)) for _one in range(2))
    except (yaml.YAMLError, ValueError, RecursionError):  # what was made before as text
        return mutations.of_text(source, cases)
    for _time in range(source.choice((1, 1, 1, 1, 2, 3))):
        value = _damaged(source, value, other)
    return dump(value)[: mutations.MOST]


def _damaged(source: random.Random, value: t.Any, other: t.Any) -> t.Any:
    """The value with one place in it changed, mostly deep inside."""
    if isinstance(value, (dict, list)) and value and source.random() < 0.9:
        value = copy.copy(value)
        key = source.choice(list(value)) if isinstance(value, dict) else source.randrange(len(value))
        what = source.random()
        if what < 0.06:
            del value[key]
        elif what < 0.1 and isinstance(value, dict):
            value[_damaged_text(source, str(key))] = value.pop(key)
        elif what < 0.1:
            value.insert(source.randrange(len(value)), value[key])
        else:
            value[key] = _damaged(source, value[key], other)
        return value
    # Other text mostly stays valid, and so finds what comes later.
    if isinstance(value, str) and source.random() < 0.7:
        return _damaged_text(source, value)
    what = source.random()
    if what < 0.5:
        return source.choice(_ODD)
    if what < 0.6:
        return [value] if what < 0.55 else {"a": value}
    if what < 0.75:
        return source.choice(list(_inside(other)))
    return _damaged_text(source, str(value))


def _damaged_text(source: random.Random, text: str) -> str:
    if source.random() < 0.2:
        return text + source.choice(_HURTS)
    return mutations.of_text(source, [text])[:2000]


def _inside(value: t.Any) -> t.Iterator[t.Any]:
    """A value, and all that is in it."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _inside(item)
