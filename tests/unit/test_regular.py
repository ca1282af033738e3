# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that others can write: how they are read, that they are read so everywhere, and the table of what is not."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import resource
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside
from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import components as _webserver_components
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

from .test_error_logs import EXCHANGES, fifo, link, sparse
from .test_identity import needs_root

PLUGINS = Path(__file__).parents[2] / "plugins"
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
SECONDS = 60  # that end a test which hangs
GROWTH = 400 << 20  # bytes of memory: what is read at most, some times over; the file has 10 GiB


@needs_root
@pytest.mark.parametrize("exchange", [kind for kind in EXCHANGES if kind not in (link, sparse)])
@pytest.mark.parametrize("foreign_links", [False, True])
def test_only_regular_files_are_read(tmp_path, exchange, foreign_links):
    path = tmp_path / "file"
    exchange(path)

    def read() -> str:
        with pytest.raises(OSError, match=EXCHANGES[exchange]):
            _regular.read(str(path), foreign_links=foreign_links)
        return "refused"

    assert Beside(read).result(SECONDS) == "refused"


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert _regular.read(str(path), 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        _regular.read(str(path), 4)


@needs_root
def test_a_link_of_others_is_followed_only_where_that_is_said(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    link(folder / "file")
    os.chmod(folder, 0o777)
    with pytest.raises(OSError, match="is a symbolic link where every user can write"):
        _regular.read(str(folder / "file"))
    assert _regular.read(str(folder / "file"), foreign_links=True)


# --- everywhere ------------------------------------------------------------------------------------------------------


def kopano_options(path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    monkeypatch.setattr(_deploy, "KOPANO", str(path.parent))
    return _deploy._options("kopano-" + path.stem)


def unattended_upgrades(path: Path, _monkeypatch: pytest.MonkeyPatch) -> t.Any:
    return _automatic._last_error(Host("/"), {"unattended-upgrade::logdir": [str(path.parent)]}, 0)


def version(path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    monkeypatch.setattr(_webserver_components, "_VERSIONS", ((path.name, "(x)"),))
    return _webserver_components._version_in(str(path.parent))


# What reads a file that others can write or name, and the name that the file has to have.
READERS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], t.Any], str]] = {
    "configuration": (lambda path, _patch: _webserver_model._content(str(path)), "file"),
    "environment": (lambda path, _patch: _layout.assignments(str(path)), "file"),
    "certificate": (lambda path, _patch: str(_certificate_info.read(str(path))), "file"),
    "self-signed": (lambda path, _patch: _self_signed._read(str(path)), "file"),
    "pair": (lambda path, _patch: _diagnose._is_pair(str(path), str(path)), "file"),
    "daemon": (kopano_options, "gateway.cfg"),
    "component": (version, "version"),
    "package manager": (lambda path, _patch: Host(str(path.parent)).read("file"), "file"),
    "automatic updates": (unattended_upgrades, "unattended-upgrades.log"),
    "report": (lambda path, _patch: _files.read_previous(str(path.parent)), "report.json"),
    "authorities": (lambda path, _patch: _verify.ca_file_errors(str(path)), "file"),
}


@pytest.mark.parametrize("make", [fifo, sparse])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_waits_for_a_file_or_reads_it_without_an_end(tmp_path, monkeypatch, reader, make):
    read, name = READERS[reader]
    path = tmp_path / name
    make(path)

    def attempt() -> int:
        with contextlib.suppress(OSError):
            read(path, monkeypatch)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert Beside(attempt).result(SECONDS) - before < GROWTH


def test_a_text_has_the_lines_that_it_would_have_as_a_text_file(tmp_path):
    (tmp_path / "file").write_bytes(b"a\r\nb\rc\xff\n")
    assert _regular.text(str(tmp_path / "file")) == "a\nb\nc\ufffd\n"


# --- the table -------------------------------------------------------------------------------------------------------

_OPENING = ("load_cert_chain", "load_verify_locations", "read_text", "read_bytes")


def opened_directly() -> set[str]:
    """Every function that opens a file otherwise: C(package/module.py:function)."""
    found = set()
    for path in PLUGINS.rglob("*.py"):
        short = re.sub(r"^(module_utils|plugin_utils)/", "", str(path.relative_to(PLUGINS)))

        def visit(node: ast.AST, names: tuple[str, ...], short: str = short) -> None:
            for child in ast.iter_child_nodes(node):
                named = isinstance(child, (ast.FunctionDef, ast.ClassDef))
                inner = (*names, child.name) if named else names
                if isinstance(child, ast.Call):
                    called = ast.unparse(child.func)
                    last = called.rsplit(".", 1)[-1]
                    is_path = last == "open" and isinstance(getattr(child.func, "value", None), ast.BinOp)
                    if called in ("open", "os.open", "io.open") or last in _OPENING or is_path:
                        found.add(f"{short}:{'.'.join(inner)}")
                visit(child, inner)

        visit(ast.parse(path.read_text()), ())
    return found


def listed() -> set[str]:
    """The code that the table names: a file, or a function of it."""
    section = SECURITY.read_text().partition("## How root opens files")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 12 and all(len(row) == 5 for row in rows), "place, who, how, code, shown by"
    return {entry for row in rows for entry in re.findall(r"`([\w/]+\.py(?::[\w.]+)?)`", row[3])}


def test_every_place_that_is_opened_directly_is_in_the_table():
    known = listed()
    missing = {place for place in opened_directly() if not {place, place.partition(":")[0]} & known}
    assert missing == set(), "open it by _host/regular.py, or give the reason in docs/security.md"


def test_the_table_names_nothing_that_is_not_there():
    there = opened_directly()
    files = {place.partition(":")[0] for place in there}
    assert listed() <= there | files


def test_every_row_has_a_test_that_is_there_or_a_reason():
    section = SECURITY.read_text().partition("## How root opens files")[2].partition("\n## ")[0]
    shown = [line.rstrip(" |").split(" | ")[-1] for line in section.splitlines() if line.startswith("| ")][2:]
    for entry in shown:
        names = re.findall(r"`(test_\w+\.py)`", entry)
        assert names or entry.startswith("none needed"), entry
        assert all((Path(__file__).parent / name).exists() for name in names), entry
