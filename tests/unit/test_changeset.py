# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Desired states of paths on a real file system."""

from __future__ import annotations

import errno
import os
import secrets
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    LINK,
    Changeset,
    State,
)


def tree(folder) -> dict[str, tuple]:
    """Everything below a folder: type, mode, and content or link target."""
    found = {}
    for current, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(current, name)
            info = os.lstat(path)
            if stat.S_ISLNK(info.st_mode):
                value: object = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as stream:
                    value = stream.read()
            else:
                value = None
            found[os.path.relpath(path, folder)] = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), value)
    return found


def test_file_keeps_its_mode_and_owner_where_the_desired_state_leaves_them_open(tmp_path):
    path = tmp_path / "site.conf"
    path.write_bytes(b"old\n")
    path.chmod(0o640)
    os.chown(path, 12, 34)
    changes = Changeset()
    changes.add(str(path), State(FILE, content=b"new\n"))
    _changeset.apply(changes.pending())
    found = path.stat()
    assert (path.read_bytes(), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (b"new\n", 0o640, 12, 34)
    assert changes.pending() == []


def test_extended_attributes_stay(tmp_path):
    path = tmp_path / "site.conf"
    path.write_bytes(b"old\n")
    os.setxattr(path, "user.context", b"httpd_config_t")
    changes = Changeset()
    changes.add(str(path), State(FILE, content=b"new\n"))
    _changeset.apply(changes.pending())
    assert os.getxattr(path, "user.context") == b"httpd_config_t"


def test_a_link_stays_a_link_and_the_file_behind_it_changes(tmp_path):
    (tmp_path / "available").mkdir()
    (tmp_path / "available" / "a.conf").write_text("old")
    (tmp_path / "a.conf").symlink_to("available/a.conf")
    changes = Changeset()
    changes.add(str(tmp_path / "a.conf"), State(FILE, content=b"new"))
    _changeset.apply(changes.pending())
    assert os.readlink(tmp_path / "a.conf") == "available/a.conf"
    assert (tmp_path / "available" / "a.conf").read_text() == "new"


def test_a_second_hard_link_sees_the_change(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("a longer old text")
    os.link(first, second)
    changes = Changeset()
    changes.add(str(first), State(FILE, content=b"new"))
    _changeset.apply(changes.pending())
    assert second.read_text() == "new" and first.stat().st_ino == second.stat().st_ino


def test_staging_writes_nothing_live_and_apply_leaves_nothing_staged(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "old").write_text("old")
    (tmp_path / "conf" / "gone").write_text("gone")
    before = tree(tmp_path / "conf")
    changes = Changeset()
    changes.add(str(tmp_path / "conf" / "old"), State(FILE, content=b"new"))
    changes.add(str(tmp_path / "conf" / "gone"), State(ABSENT))
    changes.add(str(tmp_path / "conf" / "link"), State(LINK, target="old"))
    pending = changes.pending()
    name = ".stage-" + secrets.token_hex(4)
    _changeset.stage(pending, name, [])
    stages = _changeset.stage_directories(pending, name)
    assert tree(tmp_path / "conf") == before
    assert all(os.path.commonpath([str(tmp_path), stage]) != str(tmp_path / "conf") for stage in stages)
    _changeset.apply(pending)
    assert [os.listdir(stage) for stage in stages] == [[]]
    for stage in stages:
        os.rmdir(stage)
    assert {name: value for name, (_kind, _mode, value) in tree(tmp_path / "conf").items()} == {
        "old": b"new",
        "link": "old",
    }


def test_what_the_system_does_not_permit_is_named_with_the_way_to_permit_it(tmp_path, monkeypatch):
    """An immutable file can be read and compared, and only its exchange fails."""
    path = tmp_path / "a site.conf"
    path.write_bytes(b"old\n")

    def refused(*_arguments):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(_changeset, "_rename", refused)
    changes = Changeset()
    changes.add(str(path), State(FILE, content=b"new\n"))
    with pytest.raises(_changeset.ChangeError, match=f"{path}: Operation not permitted; .*chattr -i '{path}'"):
        _changeset.apply(changes.pending())
    assert path.read_bytes() == b"old\n"


def test_missing_directories_are_made(tmp_path):
    goal = tmp_path / "a" / "b" / "c.conf"
    changes = Changeset()
    changes.add(str(goal), State(FILE, content=b"x"))
    pending = changes.pending()
    assert _changeset.new_directories(pending) == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    _changeset.apply(pending)
    assert goal.read_bytes() == b"x"


@pytest.mark.parametrize("path", ["relative.conf", "/etc/../etc/x", "/etc//x"])
def test_paths_that_are_not_normal_are_refused(path):
    with pytest.raises(_changeset.ChangeError, match="normalised absolute path"):
        Changeset().add(path, State(FILE))


def test_a_directory_is_refused_by_name(tmp_path):
    changes = Changeset()
    changes.add(str(tmp_path), State(FILE, content=b"x"))
    with pytest.raises(_changeset.ChangeError, match=str(tmp_path)):
        changes.pending()


def test_private_keys_are_not_shown():
    secret = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"
    shown = _changeset.diff([_changeset.Change("/k", State(ABSENT), State(FILE, content=secret, mode=0o600))])
    assert "MC4CAQ" not in str(shown) and State(FILE, content=secret).sha256 in shown[0]["after"]


@given(before=st.binary(max_size=64), after=st.binary(max_size=64))
def test_any_bytes_survive_there_and_back(tmp_path_factory, before, after):
    path = tmp_path_factory.mktemp("bytes") / "f"
    path.write_bytes(before)
    was = _changeset.read(str(path))
    _changeset.put(str(path), State(FILE, content=after).completed_from(was))
    assert path.read_bytes() == after
    _changeset.put(str(path), was)
    assert _changeset.read(str(path)).same_as(was)
