# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Enabling and disabling modules, configuration fragments and sites, as desired states of paths.

Debian's tools (a2enmod(8), a2enconf(8), a2ensite(8)) set links and leave a mark of the administrator's decision for
the maintainer scripts of packages; both are done here, so that a later upgrade respects it, and both are part of the
transaction.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    Change,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout, Slot

KINDS = ("modules", "confs", "sites")

# Where Debian's Apache keeps the marks, by kind. Source: a2enmod(8) and the script behind it.
_MARKS = {"modules": "module", "confs": "conf", "sites": "site"}
_MARK_DIRECTORY = "/var/lib/apache2"


# At its start Apache runs each module's post_config hook twice, at a reload once, and mod_http2 does nothing in the
# first run. Configured by the reload that loads it, it loses the worker process at each client that speaks HTTP/2 in
# TLS 1.2. Others must not be loaded before they are configured: mod_ssl without a session cache ends an Apache that had
# one before.
_LOADED_FIRST = ("http2",)


class FragmentError(Exception):
    """Something cannot be enabled or disabled: C(name), of C(option)."""

    def __init__(self, option: str, name: str, why: str) -> None:
        super().__init__(f"{option}: {name!r} {why}")
        self.option = option
        self.name = name


def _slot(layout: Layout, kind: str) -> Slot | None:
    return t.cast("Slot | None", getattr(layout, kind))


def _file_name(name: str, suffix: str) -> str:
    return name if suffix and name.endswith(suffix) else name + suffix


def _bare(name: str, slot: Slot) -> str:
    for suffix in slot.suffixes:
        if suffix and name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def enable(
    changes: Changeset, layout: Layout, kind: str, names: t.Iterable[str], live: _webserver_model.Config | None
) -> None:
    """Want these enabled. Files that the same changes create may be enabled as well. Raises FragmentError."""
    slot = _slot(layout, kind)
    for name in names:
        if slot is None:
            _require_loaded(layout, live, name)
        elif kind == "modules":
            for needed in _with_dependencies(slot, name, layout, live):
                _link(changes, layout, slot, kind, needed)
        else:
            _link(changes, layout, slot, kind, name)


def loaded_first(layout: Layout, changes: t.Iterable[Change]) -> list[Change]:
    """Those of the changes by which Apache loads a module that has to be there before it is configured."""
    slot = layout.modules
    if layout.server != "apache" or slot is None:
        return []
    paths = {os.path.join(slot.enabled_dir, name + slot.suffixes[0]) for name in _LOADED_FIRST}
    return [change for change in changes if change.before.kind == ABSENT and change.path in paths]


def disable(changes: Changeset, layout: Layout, kind: str, names: t.Iterable[str]) -> None:
    """Want these disabled; what is not enabled is left alone. Raises FragmentError."""
    slot = _slot(layout, kind)
    for name in names:
        if slot is None:
            raise FragmentError(f"disable.{kind}", name, "cannot be disabled here: its package decides")
        bare = _bare(name, slot)
        present = False
        for suffix in slot.suffixes:
            path = os.path.join(slot.enabled_dir, _file_name(bare, suffix))
            found = _changeset.read(path)
            present = present or found.kind != _changeset.ABSENT
            if found.kind == _changeset.FILE:
                # Not a link: the file itself is all there is, so it is moved out of the way and not deleted.
                aside = os.path.join(slot.available_dir, os.path.basename(path))
                if slot.available_dir == slot.enabled_dir or os.path.lexists(aside):
                    aside = path + ".kopano-hardening-disabled"
                changes.add(aside, found)
            changes.add(path, State(_changeset.ABSENT))
        if present:
            _mark(changes, layout, kind, bare, "disabled_by_admin", "enabled_by_admin")


def _link(changes: Changeset, layout: Layout, slot: Slot, kind: str, name: str) -> None:
    bare = _bare(name, slot)
    found = False
    for suffix in slot.suffixes:
        file_name = _file_name(bare, suffix)
        available = os.path.join(slot.available_dir, file_name)
        # The changes name their paths without links in directories, and a file without the link to it.
        places = (_without_links(available), os.path.realpath(available))
        desired_file = next((changes.desired[place] for place in places if place in changes.desired), None)
        if not (desired_file.kind != _changeset.ABSENT if desired_file else os.path.exists(available)):
            continue
        found = True
        enabled = os.path.join(slot.enabled_dir, file_name)
        if slot.available_dir == slot.enabled_dir or _leads_to(enabled, available):
            continue
        # A relative link counts from where its directory really is.
        relative = os.path.relpath(_without_links(available), os.path.realpath(slot.enabled_dir))
        target = relative if layout.server == "apache" else available
        changes.add(enabled, State(_changeset.LINK, target=target))
        _mark(changes, layout, kind, bare, "enabled_by_admin", "disabled_by_admin")
    if not found:
        raise FragmentError(f"enable.{kind}", name, f"is not available on this host (looked in {slot.available_dir})")


def _without_links(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _leads_to(link: str, goal: str) -> bool:
    return os.path.lexists(link) and os.path.realpath(link) == os.path.realpath(goal)


def _mark(changes: Changeset, layout: Layout, kind: str, name: str, now: str, no_more: str) -> None:
    if layout.server != "apache" or layout.family != "debian":
        return
    folder = os.path.join(_MARK_DIRECTORY, _MARKS[kind])
    if not os.path.isdir(folder):
        return
    changes.add(os.path.join(folder, now, name), State(_changeset.FILE))
    changes.add(os.path.join(folder, no_more, name), State(_changeset.ABSENT))


def _with_dependencies(slot: Slot, name: str, layout: Layout, live: _webserver_model.Config | None) -> list[str]:
    """A module after everything that its C(# Depends:) lines name, each once; those that are built in are left out."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module in order or module in layout.static_modules:
            return
        path = os.path.join(slot.available_dir, module + ".load")
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except OSError:
            raise FragmentError("enable.modules", module, f"is not available on this host (no {path})") from None
        for line in re.findall(r"^#\s*Depends:\s*(.+)$", text, re.MULTILINE):
            for needed in line.split():
                visit(needed)
        order.append(module)

    visit(_bare(name, slot))
    return order


def _require_loaded(layout: Layout, live: _webserver_model.Config | None, name: str) -> None:
    if name in layout.static_modules:
        return
    if live is not None:
        for item in _webserver_model.walk(live.root):
            if item.key == "loadmodule" and item.args and item.args[0] == name + "_module":
                return
    raise FragmentError("enable.modules", name, "is not loaded; install or enable its package and restart the server")
