# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Enabling and disabling modules, configuration fragments and sites, as desired states of paths.

Debian's tools (a2enmod(8), a2enconf(8), a2ensite(8)) set links and leave a mark of the administrator's decision for
the maintainer scripts of packages; both are done here, so that a later upgrade respects it, and both are part of the
transaction. SUSE's add words to a variable, from which a script makes the file with the modules at each start and
reload; both get what is desired here as well, so that a rehearsal has the modules and a start changes nothing.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    Change,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout, Slot, Sysconfig

KINDS = ("modules", "confs", "sites")

# Where Debian's Apache keeps the marks, by kind. Source: a2enmod(8) and the script behind it.
_MARKS = {"modules": "module", "confs": "conf", "sites": "site"}
_MARK_DIRECTORY = "/var/lib/apache2"


# At its start Apache runs each module's post_config hook twice, at a reload once, and mod_http2 does nothing in the
# first run. Configured by the reload that loads it, it loses the worker process at each client that speaks HTTP/2 in
# TLS 1.2. Others must not be loaded before they are configured: mod_ssl without a session cache ends an Apache that had
# one before.
_LOADED_FIRST = ("http2",)

# How modules call themselves that SUSE's settings know by another name.
_IDENTIFIERS = {"php8": "php", "php9": "php", "auth_mysql": "mysql_auth"}


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
        if kind == "modules" and layout.sysconfig:
            _add_word(changes, layout, layout.sysconfig, name, live)
        elif slot is None:
            _require_loaded(layout, live, name)
        elif kind == "modules":
            for needed in _with_dependencies(slot, name, layout, live):
                _link(changes, layout, slot, kind, needed)
        else:
            _link(changes, layout, slot, kind, name)


def loaded_first(layout: Layout, changes: t.Iterable[Change]) -> list[Change]:
    """Those of the changes by which Apache loads a module that has to be there before it is configured."""
    slot = layout.modules
    if layout.sysconfig:
        files = [os.path.realpath(path) for path in (layout.envvars or "", layout.sysconfig.loads)]
        both = [change for change in changes if change.path in files]
        return both if any(map(_adds_first, both)) else []
    if layout.server != "apache" or slot is None:
        return []
    paths = {os.path.join(slot.enabled_dir, name + slot.suffixes[0]) for name in _LOADED_FIRST}
    return [change for change in changes if change.before.kind == ABSENT and change.path in paths]


def disable(changes: Changeset, layout: Layout, kind: str, names: t.Iterable[str]) -> None:
    """Want these disabled; what is not enabled is left alone. Raises FragmentError."""
    slot = _slot(layout, kind)
    for name in names:
        if kind == "modules" and layout.sysconfig:
            _remove_word(changes, layout, layout.sysconfig, name)
            continue
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
        if not (desired_file.kind != _changeset.ABSENT if desired_file else _paths.is_there(available)):
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
    if not _paths.is_there(folder):
        return
    changes.add(os.path.join(folder, now, name), State(_changeset.FILE))
    changes.add(os.path.join(folder, no_more, name), State(_changeset.ABSENT))


def _with_dependencies(slot: Slot, name: str, layout: Layout, live: _webserver_model.Config | None) -> list[str]:
    """A module after everything that its C(# Depends:) lines name, each once; those that are built in are left out."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module in order or _is_built_in(layout, live, module):
            return
        path = os.path.join(slot.available_dir, module + ".load")
        try:
            text = _regular.text(path, foreign_links=True)
        except FileNotFoundError:
            raise FragmentError("enable.modules", module, f"is not available on this host (no {path})") from None
        except OSError as error:
            raise FragmentError("enable.modules", module, f"cannot be read: {path}: {error.strerror}") from error
        for line in re.findall(r"^#\s*Depends:\s*(.+)$", text, re.MULTILINE):
            for needed in line.split():
                visit(needed)
        order.append(module)

    visit(_bare(name, slot))
    return order


def _adds_first(change: Change) -> bool:
    before, after = (set(_loads(state.content.decode("utf-8", "replace"))) for state in (change.before, change.after))
    return any(name in after - before for name in _LOADED_FIRST)


def _loads(text: str) -> list[str]:
    """The modules that a file loads."""
    return re.findall(r"(?m)^LoadModule[ \t]+(\w+)_module[ \t]", text)


def _desired(changes: Changeset, path: str) -> tuple[str, bytes | None]:
    """What a file is to contain by now, and what is there; nothing for one that is missing."""
    real = os.path.realpath(path)
    found = _changeset.read(real)
    desired = changes.desired.get(real, found)
    there = found.content if found.kind == _changeset.FILE else None
    return desired.content.decode("utf-8", "surrogateescape"), there


def _want(changes: Changeset, path: str, text: str, there: bytes | None) -> None:
    content = text.encode("utf-8", "surrogateescape")
    changes.add(path, State(_changeset.FILE, content=content, basis=there))


def _assignment(text: str, variable: str, path: str, option: str, name: str) -> re.Match[str]:
    """The last line that sets a variable, which is the one that SUSE's own tools edit."""
    found = list(re.finditer(rf"(?m)^[ \t]*{variable}=(?P<quote>[\"'])(?P<value>.*?)(?P=quote)", text))
    if not found:
        why = f'cannot be written to {path}, which has no line {variable}="…"; add one, and run the playbook again'
        raise FragmentError(option, name, why)
    return found[-1]


def _with_words(text: str, found: re.Match[str], words: t.Iterable[str]) -> str:
    return text[: found.start("value")] + " ".join(words) + text[found.end("value") :]


def _load_line(layout: Layout, sysconfig: Sysconfig, word: str) -> str | None:
    """The line that SUSE's script makes of a word; None for a module that is not installed."""
    name = word[4:] if word.startswith("mod_") else word
    if name in ("cgi", "cgid"):
        name = "cgi" if "mpm_prefork" in layout.static_modules else "cgid"
    places = (os.path.join(folder, f"{front}{name}.so") for folder in sysconfig.module_dirs for front in ("mod_", ""))
    place = next((place for place in places if _paths.is_there(place)), None)
    return f"LoadModule {_IDENTIFIERS.get(name, name)}_module {place}\n" if place else None


def _add_word(
    changes: Changeset, layout: Layout, sysconfig: Sysconfig, name: str, live: _webserver_model.Config | None
) -> None:
    """Want a module among the words of the variable, and in the file that is made of them."""
    settings = layout.envvars or ""
    loads, loads_there = _desired(changes, sysconfig.loads)
    if _is_built_in(layout, live, name) or (name not in _loads(loads) and _is_loaded(live, name, sysconfig.loads)):
        return
    if not _load_line(layout, sysconfig, name):
        places = ", ".join(sysconfig.module_dirs)
        raise FragmentError("enable.modules", name, f"is not available on this host (searched: {places})")
    text, there = _desired(changes, settings)
    found = _assignment(text, sysconfig.variable, settings, "enable.modules", name)
    words = found["value"].split()
    if name not in words and f"mod_{name}" not in words:
        words.append(name)
        _want(changes, settings, _with_words(text, found, words), there)
    # Before the first start there is none yet.
    made = [_load_line(layout, sysconfig, word) for word in ([name] if loads_there is not None or loads else words)]
    lines = [line for line in made if line and not set(_loads(line)) & set(_loads(loads))]
    if lines:
        _want(changes, sysconfig.loads, loads + "".join(lines), loads_there)


def _remove_word(changes: Changeset, layout: Layout, sysconfig: Sysconfig, name: str) -> None:
    settings = layout.envvars or ""
    text, there = _desired(changes, settings)
    found = _assignment(text, sysconfig.variable, settings, "disable.modules", name)
    words = [word for word in found["value"].split() if word not in (name, f"mod_{name}")]
    if words != found["value"].split():
        _want(changes, settings, _with_words(text, found, words), there)
    loads, loads_there = _desired(changes, sysconfig.loads)
    loaded = _IDENTIFIERS.get(name, name)
    left = re.sub(rf"(?m)^LoadModule[ \t]+{re.escape(loaded)}_module[ \t].*\n", "", loads)
    if left != loads:
        _want(changes, sysconfig.loads, left, loads_there)


def _is_built_in(layout: Layout, live: _webserver_model.Config | None, name: str) -> bool:
    """Whether a module is part of the server: always there in this layout, or there without a line that loads it.

    The second is known where Apache's own list was read, which it is to adopt virtual hosts.
    """
    there = live.modules if live is not None else None
    return name in layout.static_modules or (name in (there or ()) and not _is_loaded(live, name))


def _is_loaded(live: _webserver_model.Config | None, name: str, elsewhere_than: str = "") -> bool:
    items = _webserver_model.walk(live.root) if live is not None else ()
    return any(
        item.key == "loadmodule" and item.args[:1] == [name + "_module"] and item.file != elsewhere_than
        for item in items
    )


def _require_loaded(layout: Layout, live: _webserver_model.Config | None, name: str) -> None:
    if _is_built_in(layout, live, name) or _is_loaded(live, name):
        return
    raise FragmentError("enable.modules", name, "is not loaded; install or enable its package and restart the server")
