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
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
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


def test_the_copy_of_a_text_has_its_line_ends(tmp_path: Path) -> None:
    """A comment with a carriage return in it is one line for the server."""
    layout = web_bed.layout("nginx", tmp_path / "etc")
    (tmp_path / "etc").mkdir()
    (tmp_path / "trial").mkdir()
    (tmp_path / "etc" / "nginx.conf").write_bytes(b"# a\rb\xff\r\ninclude " + str(tmp_path).encode() + b"/etc/x;\n")
    copy = _rehearsal._Copy(layout, [], str(tmp_path / "trial"))
    found = Path(copy.layout.main_config).read_bytes()
    assert found == b"# a\rb\xff\r\ninclude " + str(tmp_path).encode() + b"/trial/config/x;\n"


@web_bed.needs_apache
@pytest.mark.parametrize("family", ["debian", "redhat", "suse"])
def test_a_module_that_was_built_into_the_server_needs_no_file(tmp_path: Path, family: str) -> None:
    """An Apache of somebody's own; Debian's has these built in, which the layouts are made not to know here."""
    built_in = ["http", "log_config", "unixd"]
    home = tmp_path / "etc"
    home.mkdir()
    layout = suse(home) if family == "suse" else web_bed.layout("apache", home, family)
    layout = layout._replace(static_modules=())
    if layout.modules:
        layout = layout._replace(modules=Slot(str(home / "available"), str(home / "enabled"), (".load", ".conf")))
    (home / "apache.conf").write_text(web_bed.apache_head(home))
    dump = web_bed.apache_test(home, "-D", "DUMP_VHOSTS", "-D", "DUMP_MODULES")
    assert dump.returncode == 0, dump.stderr
    live = _apache.as_dumped(_apache.load(layout), layout, dump.stdout)
    changes = Changeset()
    _fragments.enable(changes, layout, "modules", built_in, live)
    assert changes.pending() == []
    # Without Apache's own list of them they are not known.
    for name in built_in:
        with pytest.raises(_fragments.FragmentError, match=f"'{name}' is not "):
            _fragments.enable(changes, layout, "modules", [name], _apache.load(layout))


# --- SUSE's settings -------------------------------------------------------------------------------------------------

SETTINGS = """\
# APACHE_MODULES="an example"
APACHE_MODULES="alias mod_dir ghost"

APACHE_SERVER_FLAGS="-D SSL"
"""
HEADER = "# File generated from /etc/sysconfig/apache2, do not edit. Edit the sysconfig file instead.\n"


def suse(folder: Path, modules: str = "alias dir headers http2") -> _layout.Layout:
    """SUSE's layout in a folder, with these modules installed, and started once."""
    layout = web_bed.layout("apache", folder, "suse")
    assert layout.sysconfig
    places = (folder / "prefork", folder / "common")
    for place in (*places, folder / "sysconfig.d"):
        place.mkdir()
    for name in modules.split():
        (places[0] / f"mod_{name}.so").touch()
    (places[1] / "mod_php8.so").touch()
    (folder / "settings").write_text(SETTINGS)
    files = {name: str(folder / f"sysconfig.d/{name}.conf") for name in ("loadmodule", "global", "include")}
    loaded = "".join(f"LoadModule {name}_module {places[0]}/mod_{name}.so\n" for name in ("alias", "dir"))
    for name, path in files.items():
        Path(path).write_text(HEADER + (loaded if name == "loadmodule" else ""))
    (folder / "apache.conf").write_text("")
    return layout._replace(
        envvars=str(folder / "settings"),
        sysconfig=layout.sysconfig._replace(
            loads=files["loadmodule"],
            before=(files["loadmodule"], files["global"]),
            after=(files["include"],),
            module_dirs=tuple(map(str, places)),
        ),
    )


def applied(folder: Path, layout: _layout.Layout, *names: str, off: bool = False) -> tuple[str, str]:
    """The two files after a change; the module list is what a script would make of the settings."""
    changes = Changeset()
    if off:
        _fragments.disable(changes, layout, "modules", names)
    else:
        _fragments.enable(changes, layout, "modules", names, _apache.load(layout))
    _changeset.apply(changes.pending())
    return (folder / "settings").read_text(), (folder / "sysconfig.d/loadmodule.conf").read_text()


def test_a_module_of_suses_becomes_a_word_and_is_in_the_file_that_is_made_of_the_words(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    before = (tmp_path / "sysconfig.d/loadmodule.conf").read_text()
    settings, loads = applied(tmp_path, layout, "headers", "php8", "headers", "alias", "dir", "unixd")
    assert settings == SETTINGS.replace("ghost", "ghost headers php8")
    assert loads == (
        f"{before}LoadModule headers_module {tmp_path}/prefork/mod_headers.so\n"
        f"LoadModule php_module {tmp_path}/common/mod_php8.so\n"
    )
    assert applied(tmp_path, layout, "headers", "php8") == (settings, loads)
    assert "headers" in (_apache.load(layout).modules or ())
    assert applied(tmp_path, layout, "headers", "php8", off=True) == (SETTINGS, before)


def test_before_the_first_start_all_modules_of_the_settings_are_in_that_file(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    wanted = (tmp_path / "sysconfig.d/loadmodule.conf").read_text().replace(HEADER, "")
    (tmp_path / "sysconfig.d/loadmodule.conf").unlink()
    _settings, loads = applied(tmp_path, layout, "headers")
    assert loads == f"{wanted}LoadModule headers_module {tmp_path}/prefork/mod_headers.so\n"


@pytest.mark.parametrize(("mpm", "name"), [("prefork", "cgi"), ("event", "cgid")])
@pytest.mark.parametrize("word", ["cgi", "mod_cgid"])
def test_which_module_runs_cgi_is_a_matter_of_the_multi_processing_module(
    tmp_path: Path, mpm: str, name: str, word: str
) -> None:
    layout = suse(tmp_path, "alias dir headers cgi cgid")._replace(static_modules=(f"mpm_{mpm}",))
    (tmp_path / "settings").write_text(SETTINGS.replace("ghost", word))
    (tmp_path / "sysconfig.d/loadmodule.conf").unlink()
    _settings, loads = applied(tmp_path, layout, "headers")
    assert f"LoadModule {name}_module {tmp_path}/prefork/mod_{name}.so\nLoadModule headers_module" in loads


def test_a_module_that_is_chosen_and_not_loaded_yet_is_loaded(tmp_path: Path) -> None:
    """An administrator has run a2enmod, and not restarted the server."""
    layout = suse(tmp_path)
    chosen = SETTINGS.replace("ghost", "ghost mod_headers")
    (tmp_path / "settings").write_text(chosen)
    settings, loads = applied(tmp_path, layout, "headers")
    assert settings == chosen and "headers_module" in loads


def test_a_module_that_a_file_of_the_administrators_loads_is_left_to_it(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    (tmp_path / "apache.conf").write_text(f"LoadModule headers_module {tmp_path}/prefork/mod_headers.so\n")
    settings, loads = applied(tmp_path, layout, "headers")
    assert settings == SETTINGS and "headers" not in loads


def test_a_module_whose_file_cannot_be_read_is_not_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    layout = host(tmp_path, "")
    available = tmp_path / "etc" / "mods-available"
    (available / "headers.load").mkdir(parents=True)
    slot = Slot(str(available), str(tmp_path / "etc" / "mods-enabled"), (".load", ".conf"))
    with pytest.raises(
        _fragments.FragmentError, match=rf"'headers' cannot be read: {available}/headers.load: Is a dir"
    ):
        _fragments.enable(Changeset(), layout._replace(modules=slot), "modules", ["headers"], None)


@pytest.mark.parametrize("kind", ["sites", "confs"])
def test_a_fragment_that_cannot_be_inspected_is_not_taken_for_one_that_is_not_there(tmp_path: Path, kind: str) -> None:
    available = tmp_path / "available"
    available.mkdir()
    slot = Slot(str(available), str(tmp_path / "enabled"), (".conf",))
    layout = host(tmp_path, "")._replace(**{kind: slot})
    with pytest.raises(_fragments.FragmentError, match="'mail' is not available on this host"):
        _fragments.enable(Changeset(), layout, kind, ["mail"], None)
    (available / "mail.conf").symlink_to("mail.conf")
    with pytest.raises(OSError, match=f"Too many levels of symbolic links: '{available}/mail.conf'"):
        _fragments.enable(Changeset(), layout, kind, ["mail"], None)


def test_a_module_that_is_not_installed_and_settings_without_the_variable_are_refused(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    with pytest.raises(_fragments.FragmentError, match=r"'ldap' is not available on this host .*prefork, .*common"):
        applied(tmp_path, layout, "ldap")
    (tmp_path / "settings").write_text("APACHE_MODULES=alias\n")
    with pytest.raises(
        _fragments.FragmentError, match=r"'headers' cannot be written to .* which has no line APACHE_MOD"
    ):
        applied(tmp_path, layout, "headers")


def test_only_http2_is_loaded_before_it_is_configured(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    for name, count in (("headers", 0), ("http2", 2)):
        changes = Changeset()
        _fragments.enable(changes, layout, "modules", [name], _apache.load(layout))
        pending = changes.pending()
        assert len(pending) == 2
        assert len(_fragments.loaded_first(layout, pending)) == count


def test_what_suses_script_adds_by_command_line_is_read_as_well(tmp_path: Path) -> None:
    layout = suse(tmp_path)
    (tmp_path / "own.conf").write_text("<VirtualHost *:443>\nServerName own.example\n</VirtualHost>\n")
    (tmp_path / "sysconfig.d/include.conf").write_text(f"{HEADER}Include {tmp_path}/own.conf\n")
    (tmp_path / "sysconfig.d/global.conf").write_text("LogLevel warn\n")
    (tmp_path / "apache.conf").write_text(
        "<IfDefine !SYSCONFIG>\nServerName wrong.example\n</IfDefine>\n"
        "<IfDefine SSL>\n<IfModule mod_dir.c>\nListen 443\n</IfModule>\n</IfDefine>\n"
    )
    config = _apache.load(layout)
    assert names(config) == ["own.example"]
    assert [item.args for item in _webserver_model.direct(config.root, "listen")] == [["443"]]
    assert not list(_webserver_model.direct(config.root, "servername"))
    assert config.absolute("x") == "/srv/www/x"
    # Before the first start there is none of these files.
    shutil.rmtree(tmp_path / "sysconfig.d")
    assert names(_apache.load(layout)) == []


def test_the_copy_of_suses_has_the_change_in_the_files_that_come_by_command_line(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    layout = suse(tmp_path / "etc")
    changes = Changeset()
    _fragments.enable(changes, layout, "modules", ["headers"], _apache.load(layout))
    (tmp_path / "trial").mkdir()
    copy = _rehearsal._Copy(layout, changes.pending(), str(tmp_path / "trial"))
    word = "IncludeOptional {}/sysconfig.d//loadmodule.conf"
    assert copy.inside(word.format(tmp_path / "etc")) == word.format(f"{copy.folder}/config")
    assert "headers" in (_apache.load(copy.layout).modules or ())
    assert "headers" not in (_apache.load(layout).modules or ())
