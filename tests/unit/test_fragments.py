# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fragments of a configuration whose directories are symbolic links to elsewhere, as an administrator moves them."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import fragments as _fragments
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import FILE, Changeset, State
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Slot

from . import web_bed

MOVED = ["", ".", "conf-available", "conf-enabled", "sites-enabled"]


def host(folder: Path, moved: str) -> _layout.Layout:
    """Debian's layout in C(etc), of which one directory was moved away with a link left in its place."""
    home = folder / "etc"
    for name in ("conf-available", "conf-enabled", "sites-available", "sites-enabled"):
        (home / name).mkdir(parents=True)
    (home / "sites-available" / "old.conf").write_text("<VirtualHost *:1>\nServerName old.example\n</VirtualHost>\n")
    (home / "sites-enabled" / "old.conf").symlink_to("../sites-available/old.conf")
    layout = web_bed.layout("apache", home)
    includes = "IncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/\n"
    Path(layout.main_config).write_text(web_bed.apache_head(home) + includes)
    if moved:
        place = home / moved
        shutil.move(str(place), str(folder / "elsewhere"))
        place.symlink_to(folder / "elsewhere")
        if moved != ".":
            # Links out of a directory that was moved lead nowhere.
            for link in (folder / "elsewhere").iterdir():
                if link.is_symlink():
                    link.unlink()
                    link.symlink_to(home / "sites-available" / "old.conf")
    return layout._replace(
        confs=Slot(str(home / "conf-available"), str(home / "conf-enabled"), (".conf",)),
        sites=Slot(str(home / "sites-available"), str(home / "sites-enabled"), (".conf",)),
    )


def change(layout: _layout.Layout) -> Changeset:
    changes = Changeset()
    texts = {"confs": "ServerTokens Prod\n", "sites": "<VirtualHost *:1>\nServerName new.example\n</VirtualHost>\n"}
    for kind, text in texts.items():
        path = os.path.join(getattr(layout, kind).available_dir, "new.conf")
        changes.add(path, State(FILE, content=text.encode()))
        _fragments.enable(changes, layout, kind, ["new"], None)
    return changes


def names(config: t.Any) -> list[str]:
    return sorted(name for vhost in config.vhosts for name in vhost.names if name != "main.example")


@pytest.mark.parametrize("moved", MOVED)
def test_fragments_of_the_same_change_can_be_enabled(tmp_path: Path, moved: str) -> None:
    layout = host(tmp_path, moved)
    changes = change(layout)
    foreseen = _apache.load(layout, files=_engine._overlay(changes))
    assert names(_apache.load(layout)) == ["old.example"]
    _changeset.apply(changes.pending())
    found = _apache.load(layout)
    for config in (foreseen, found):
        assert names(config) == ["new.example", "old.example"]
        assert [item.args for item in config.root if item.key == "include"] == []
        assert "ServerTokens Prod\n" in config.files.values()
    # The same places, so what is to be edited in one of them is edited there.
    assert sorted(map(foreseen.source.real, foreseen.files)) == sorted(map(found.source.real, found.files))
    assert change(layout).pending() == []
    assert (Path(layout.sites.enabled_dir) / "new.conf").resolve().name == "new.conf"


@pytest.mark.parametrize("moved", MOVED)
def test_they_can_be_disabled(tmp_path: Path, moved: str) -> None:
    layout = host(tmp_path, moved)
    changes = Changeset()
    _fragments.disable(changes, layout, "sites", ["old"])
    assert names(_apache.load(layout, files=_engine._overlay(changes))) == []
    _changeset.apply(changes.pending())
    assert names(_apache.load(layout)) == []


@web_bed.needs_apache
@pytest.mark.parametrize("moved", MOVED)
def test_the_copy_has_the_change_and_the_original_has_not(tmp_path: Path, moved: str) -> None:
    layout = host(tmp_path, moved)
    (tmp_path / "trial").mkdir()
    copy = _rehearsal._Copy(layout, change(layout).pending(), str(tmp_path / "trial"))
    # What the copy refers to lies in it, also where a path is written out.
    dump = web_bed.run(
        web_bed.APACHE, "-d", copy.layout.config_dir, "-f", copy.layout.main_config, "-t", "-D", "DUMP_VHOSTS"
    )
    assert dump.returncode == 0, dump.stderr
    assert sorted(re.findall(r"namevhost (\w+)\.example", dump.stdout)) == ["new", "old"]
    assert names(_apache.load(layout)) == ["old.example"]
