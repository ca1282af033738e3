# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Options as Ansible's argument specs understand them, for what reads them before a module does."""

from __future__ import annotations

import typing as t


def as_list(value: t.Any) -> list[str]:
    """A list option as Ansible's argument specs understand it: a list, or text with commas."""
    if isinstance(value, str):
        value = value.split(",")
    return [str(item).strip() for item in value or () if str(item).strip()]


def chosen_tags(tags: t.Iterable[str], run_tags: t.Container[str], skip_tags: t.Container[str]) -> list[str]:
    """The tags with which a task would run that has no other one, by Ansible's rules for --tags and --skip-tags."""
    return [
        tag
        for tag in tags
        if any(word in run_tags for word in ("all", "tagged", tag))
        and not any(word in skip_tags for word in ("all", "tagged", tag))
    ]
