# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compiled code that is kept on a host: it is used, and only if it is ours and of the same source."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _compiled

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it is for root only")

PLACE = "ansible_collections/kopano/hardening/plugins/module_utils"
PROGRAM = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from ansible_collections.kopano.hardening.plugins.module_utils import _compiled
    _compiled.FINDER = _compiled.Finder(sys.argv[2])
    _compiled.use()
    from ansible_collections.kopano.hardening.plugins.module_utils import _sample
    print(_sample.VALUE, sorted(name.rpartition(".")[2] for name in _compiled.FINDER.compiled))
    _compiled.keep(sys.argv[3] == "check")
"""


@pytest.fixture
def host(tmp_path):
    """Runs a program whose code is in a zip file, as Ansible's modules are: what it prints."""
    folder = tmp_path / "run" / "kopano-hardening" / "compiled"

    def run(value="1", mode="", program=PROGRAM):
        archive = tmp_path / "code.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as stream:
            parts = PLACE.split("/")
            for depth in range(1, len(parts) + 1):
                stream.writestr("/".join([*parts[:depth], "__init__.py"]), "")
            stream.writestr(f"{PLACE}/_compiled.py", Path(_compiled.__file__).read_text())
            stream.writestr(f"{PLACE}/_sample.py", f"VALUE = {value}")
        done = subprocess.run(
            [sys.executable, "-I", "-c", textwrap.dedent(program), archive, folder, mode],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    run.folder = folder
    return run


def test_what_was_compiled_once_is_not_compiled_again(host):
    assert host() == "1 ['_sample']"
    assert host() == "1 []"
    (kept,) = host.folder.iterdir()
    assert kept.name == f"_sample.{sys.implementation.cache_tag}"
    assert host.folder.stat().st_mode & 0o777 == 0o700


def test_it_is_what_is_kept_that_runs(host):
    """By a folder that is ours, in which somebody has put other code with the right digests."""
    host()
    (kept,) = host.folder.iterdir()
    key, code = kept.read_bytes()[:32], marshal.dumps(compile("VALUE = 'kept'", "_sample", "exec"))
    kept.write_bytes(key + _compiled._digest(key + code) + code)
    assert host() == "kept []"


def test_other_source_is_compiled_and_takes_the_place(host):
    host()
    assert host("2") == "2 ['_sample']"
    assert host("2") == "2 []"
    assert len(list(host.folder.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"x" * 64, None])
def test_damaged_code_is_not_used(host, damage):
    host()
    (kept,) = host.folder.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[:-1] + b"!" if damage is None else damage)
    assert host() == "1 ['_sample']"
    assert kept.read_bytes() == content


@pytest.mark.parametrize("spoil", ["mode", "owner", "link"])
def test_a_folder_that_is_not_ours_alone_is_left_alone(host, spoil):
    host()
    (kept,) = host.folder.iterdir()
    if spoil == "mode":
        host.folder.chmod(0o750)
    elif spoil == "owner":
        os.chown(host.folder, 65534, -1)
    else:
        host.folder.rename(host.folder.with_name("elsewhere"))
        host.folder.symlink_to("elsewhere")
    before = (host.folder / kept.name).stat().st_mtime_ns
    assert host("2") == "2 ['_sample']"
    assert host("2") == "2 ['_sample']"
    assert (host.folder / kept.name).stat().st_mtime_ns == before


def test_check_mode_writes_nothing(host):
    assert host(mode="check") == "1 ['_sample']"
    assert not host.folder.exists()
    host()
    assert host(mode="check") == "1 []"


def test_a_host_without_the_place_goes_on(host):
    host.folder.parent.parent.mkdir()
    host.folder.parent.write_text("")
    assert host() == host() == "1 ['_sample']"


def test_who_is_not_root_keeps_nothing_and_takes_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "compiled"
    name, source = _compiled.PACKAGE + "_sample", b"VALUE = 1"
    code = compile(source, name, "exec")

    def finder():
        found = _compiled.Finder(str(folder))
        found.compiled[name] = (source, code)
        return found

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    finder().keep()
    assert not folder.exists()
    monkeypatch.undo()
    finder().keep()
    assert finder().kept(name, source) == code
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert finder().kept(name, source) is None


def test_lines_of_a_traceback_are_there(host):
    program = PROGRAM + "\n    import inspect; print(inspect.getsource(_sample))"
    host("1  # the line")
    assert host("1  # the line", program=program).splitlines()[-1] == "VALUE = 1  # the line"
