# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths that are not plain: mount points, access control lists, long names, directories that others can write."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import stat
import struct
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host.paths import Place
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    FILE,
    ChangeError,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal

from .slow_bed import HANGS
from .test_changeset import tree

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
NOBODY = pwd.getpwnam("nobody").pw_uid


def pending(path: Path, state: State) -> list[_changeset.Change]:
    changes = Changeset()
    changes.add(str(path), state)
    return changes.pending()


@contextlib.contextmanager
def staged(changes: list[_changeset.Change]) -> t.Iterator[list[str]]:
    """The changes staged; yields the directories, which lie at the top of the file system."""
    name = ".kopano-hardening-test-" + secrets.token_hex(4)
    folders = _changeset.stage_directories(changes, name)
    try:
        _changeset.stage(changes, name, [])
        yield folders
    finally:
        for folder in folders:
            shutil.rmtree(folder)


# --- mounts ----------------------------------------------------------------------------------------------------------

# A transaction on mounts that no other process sees, there and back: what each step leaves, as JSON.
MOUNTED = textwrap.dedent(
    """
    import json, os, subprocess, sys
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import FILE, LINK, Changeset
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import State
    from tests.unit.test_changeset import tree

    top = sys.argv[1]
    conf = top + "/conf"
    os.makedirs(conf + "/folder")
    for name in ("elsewhere", "elsewhere/inner"):
        os.mkdir(top + "/" + name)
    for path in ("conf/file", "conf/folder/hidden", "elsewhere/file", "elsewhere/site", "conf/late"):
        with open(top + "/" + path, "w") as stream:
            stream.write("old " + path)
    os.chmod(top + "/elsewhere/file", 0o640)

    def bind(source, target):
        subprocess.run(["mount", "--bind", top + "/" + source, top + "/" + target], check=True)

    bind("elsewhere", "conf/folder")
    bind("elsewhere/file", "conf/file")
    before = tree(conf)
    changes = Changeset()
    changes.add(conf + "/file", State(FILE, content=b"new"))
    changes.add(conf + "/folder/site", State(FILE, content=b"new"))
    changes.add(conf + "/folder/added", State(FILE, content=b"added"))
    changes.add(conf + "/folder/link", State(LINK, target="site"))
    changes.add(conf + "/late", State(FILE, content=b"new"))
    changes.add(conf + "/folder/inner/late", State(FILE, content=b"new"))
    pending = changes.pending()
    journal = _journal.Journal(top + "/state")
    record = journal.begin("nginx", pending)
    _changeset.stage(pending, ".kopano-hardening-" + record.id, record.data["new_directories"])
    staged = tree(conf) == before
    # Mounted after the staging: only the rename shows it.
    bind("conf/late", "conf/late")
    bind("elsewhere/inner", "conf/folder/inner")
    record.save(_journal.SWAPPING)
    _changeset.apply(pending)
    _journal.clean_staging(record)
    after = tree(conf)
    mounted = [line.split()[4] for line in open("/proc/self/mountinfo") if top in line]
    _journal.undo(record)
    left = [name for _top, folders, names in os.walk(top) for name in folders + names if name.startswith(".kopano")]
    print(json.dumps({
        "after": {name: value[2].decode() for name, value in after.items() if isinstance(value[2], bytes)},
        "mode": after["file"][1],
        "mounted": len(mounted),
        "restored": tree(conf) == before,
        "left": left,
    }))
    """
)


def in_mount_namespace(script: str, *arguments: str) -> dict:
    checkout = str(Path(__file__).resolve().parent.parent.parent)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([*sys.path, checkout])),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _refused() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0


needs_mounts = pytest.mark.skipif(_refused(), reason="mount namespaces are refused here")


@needs_mounts
def test_bind_mounts_of_the_same_file_system_are_written_and_restored(tmp_path):
    seen = in_mount_namespace(MOUNTED, str(tmp_path))
    assert seen["after"] == {
        "file": "new",
        "late": "new",
        "folder/file": "new",  # the same file as the mount point, so it was written in place
        "folder/site": "new",
        "folder/added": "added",
        "folder/inner/late": "new",
    }
    assert seen["mode"] == 0o640 and seen["mounted"] == 4
    assert seen["restored"] and seen["left"] == []


@needs_mounts
@pytest.mark.parametrize("case", ["link", "read-only"])
def test_a_mount_point_that_cannot_be_changed_is_refused_before_anything_is(tmp_path, case):
    script = textwrap.dedent(
        """
        import json, subprocess, sys
        from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import *
        path, case = sys.argv[1:]
        open(path, "w").write("old")
        subprocess.run(["mount", "--bind", path, path], check=True)
        if case == "read-only":
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        changes = Changeset()
        changes.add(path, State(LINK, target="other") if case == "link" else State(FILE, content=b"new"))
        try:
            changes.pending()
        except ChangeError as error:
            print(json.dumps({"error": str(error)}))
        else:
            print(json.dumps({"error": ""}))
        """
    )
    path = str(tmp_path / "mounted")
    error = in_mount_namespace(script, path, case)["error"]
    assert path in error and ("mount point" if case == "link" else "Read-only") in error


@needs_mounts
def test_a_rehearsal_shows_a_change_of_a_file_that_is_a_mount_point(tmp_path):
    script = textwrap.dedent(
        """
        import json, subprocess, sys
        from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
        from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
        from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
        from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import *
        path = sys.argv[1]
        open(path, "w").write("old")
        subprocess.run(["mount", "--bind", path, path], check=True)
        changes = Changeset()
        changes.add(path, State(FILE, content=b"new"))
        pending = changes.pending()

        def work():
            _rehearsal.put_in_view(pending)
            return open(path).read()

        print(json.dumps({"seen": _namespace.call(work, 20), "live": open(path).read()}))
        """
    )
    assert in_mount_namespace(script, str(tmp_path / "mounted")) == {"seen": "new", "live": "old"}


def test_what_cannot_be_renamed_is_written_in_place_and_leaves_nothing(tmp_path, monkeypatch):
    """Where even the kernel's table of mounts does not say it before."""
    path = tmp_path / "site"
    path.write_text("a longer old text")
    changes = pending(path, State(FILE, content=b"new"))
    monkeypatch.setattr(_changeset, "_rename", _refuse_rename)
    with staged(changes) as folders:
        _changeset.apply(changes)
        assert [os.listdir(folder) for folder in folders] == [[]]
    assert path.read_text() == "new"
    _changeset.put(str(path), State(FILE, content=b"newer").completed_from(_changeset.read(str(path))))
    assert path.read_text() == "newer"
    assert sorted(os.listdir(tmp_path)) == ["site"]


def _refuse_rename(*_arguments, **_more):
    raise OSError(18, "Invalid cross-device link")


def test_a_failed_replacement_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChangeError, match="No space left"):
        _changeset.put(str(path), State(FILE, content=b"new"))
    assert os.listdir(tmp_path) == ["site"] and path.read_text() == "old"


def test_below_a_directory_that_does_not_exist_nothing_is_written_elsewhere(tmp_path):
    path, state = str(tmp_path / "not" / "there"), State(FILE, content=b"x")
    with pytest.raises(FileNotFoundError):
        _changeset.write_file(path, state)
    with pytest.raises(ChangeError, match="No such file"):
        _changeset.put(path, state)
    with pytest.raises(ChangeError, match="No such file"):
        _changeset.move_aside(path, str(tmp_path / "goal"))
    assert os.listdir(tmp_path) == []
    # What has to go somewhere goes to the top of its file system.
    (tmp_path / "site").write_text("kept")
    goal = _changeset.move_aside(str(tmp_path / "site"), path)
    try:
        assert os.listdir(tmp_path) == [] and Path(goal).read_text() == "kept"
        assert os.path.basename(goal).startswith(".kopano-hardening-found-")
    finally:
        os.unlink(goal)


# --- access control lists --------------------------------------------------------------------------------------------

ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
READ, WRITE = 4, 2


def acl(user: int, owner: int = READ | WRITE, named: int = READ, mask: int = READ) -> bytes:
    """An access control list as the kernel has it (posix_acl_xattr.h): owner, one user, group, mask, others."""
    nobody = 0xFFFFFFFF
    entries = [
        (0x01, owner, nobody),
        (0x02, named, user),
        (0x04, 0, nobody),
        (0x10, mask, nobody),
        (0x20, 0, nobody),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def has_acl(path: Path) -> bool:
    return ACL in os.listxattr(path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("second_link", [False, True])
def test_a_requested_mode_drops_the_access_control_list_and_a_restore_brings_it_back(tmp_path, second_link):
    key = tmp_path / "key.pem"
    key.write_text("old")
    if second_link:
        os.link(key, tmp_path / "twin")
    os.setxattr(key, ACL, acl(NOBODY))
    before = _changeset.read(str(key))
    assert before.mode == 0o640
    changes = pending(key, State(FILE, content=b"new", mode=0o600))
    _changeset.apply(changes)
    assert (mode(key), has_acl(key), key.read_text()) == (0o600, False, "new")
    assert pending(key, State(FILE, content=b"new", mode=0o600)) == []
    _changeset.put(str(key), before)
    assert os.getxattr(key, ACL) == acl(NOBODY) and _changeset.read(str(key)).same_as(before)


def test_the_right_content_with_an_access_control_list_is_no_file_of_the_requested_mode(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("key")
    os.setxattr(key, ACL, acl(NOBODY))
    changes = pending(key, State(FILE, content=b"key", mode=0o640))
    assert len(changes) == 1
    shown = _changeset.diff(changes)[0]
    assert "access control list" in shown["before_header"] and "access control list" not in shown["after_header"]
    _changeset.apply(changes)
    assert (mode(key), has_acl(key)) == (0o640, False)


@pytest.mark.parametrize("second_link", [False, True])
def test_without_a_requested_mode_the_access_control_list_stays(tmp_path, second_link):
    site = tmp_path / "site"
    site.write_text("old")
    if second_link:
        os.link(site, tmp_path / "twin")
    os.setxattr(site, ACL, acl(NOBODY))
    _changeset.apply(pending(site, State(FILE, content=b"new")))
    assert os.getxattr(site, ACL) == acl(NOBODY) and site.read_text() == "new"


@pytest.mark.parametrize("second_link", [False, True])
def test_a_restore_removes_an_access_control_list_that_was_not_there(tmp_path, second_link):
    site = tmp_path / "site"
    site.write_text("old")
    site.chmod(0o640)
    if second_link:
        os.link(site, tmp_path / "twin")
    before = _changeset.read(str(site))
    os.setxattr(site, ACL, acl(NOBODY))
    _changeset.put(str(site), before)
    assert (mode(site), has_acl(site)) == (0o640, False)


@pytest.mark.parametrize("is_staged", [False, True])
def test_a_new_file_with_a_requested_mode_inherits_no_access_control_list(tmp_path, is_staged):
    os.setxattr(tmp_path, DEFAULT_ACL, acl(NOBODY, owner=7, named=7, mask=7))
    key = tmp_path / "key.pem"
    changes = pending(key, State(FILE, content=b"key", mode=0o640))
    with staged(changes) if is_staged else contextlib.nullcontext():
        _changeset.apply(changes)
    assert (mode(key), has_acl(key)) == (0o640, False)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_file_with_the_longest_name_is_changed_and_restored(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    path = conf / ("n" * 250 + ".conf")
    path.write_text("old")
    before = tree(conf)
    changes = pending(path, State(FILE, content=b"new"))
    record = Journal(str(tmp_path / "state")).begin("nginx", changes)
    record.save(_journal.SWAPPING)
    _changeset.apply(changes)
    assert path.read_text() == "new"
    path.write_text("by hand")
    assert _journal.undo(record) == [str(path)]
    assert tree(conf) == before


def test_what_a_killed_run_left_in_a_directory_is_removed(tmp_path):
    """Killed after its temporary file was written and before it was renamed."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
        _changeset._rename = lambda *arguments, **more: os.kill(os.getpid(), signal.SIGKILL)
        _changeset.put(sys.argv[1], _changeset.State("file", content=b"new"))
        """
    )
    site = tmp_path / "site.conf"
    site.write_text("old")
    (tmp_path / ".kopano-hardening-notes").write_text("the administrator's own")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", script, str(site)], env=environment, check=False, timeout=HANGS)
    (left,) = set(os.listdir(tmp_path)) - {"site.conf", ".kopano-hardening-notes"}
    assert left.startswith(".") and not left.endswith(".conf") and len(left) < 60
    assert site.read_text() == "old"
    _changeset.put(str(site), State(FILE, content=b"new"))
    assert sorted(os.listdir(tmp_path)) == [".kopano-hardening-notes", "site.conf"]


# --- directories that others can write -------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "shadow"
    path.write_text("root's secret")
    path.chmod(0o600)
    return path


@pytest.fixture
def theirs(tmp_path):
    """A directory of a user's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    return folder


def untouched(victim: Path) -> bool:
    info = victim.stat()
    return (victim.read_text(), info.st_uid, stat.S_IMODE(info.st_mode)) == ("root's secret", 0, 0o600)


@needs_root
@pytest.mark.parametrize("who", ["owner", "group", "others", "acl"])
def test_a_link_in_a_directory_that_others_can_write_is_refused_by_name(tmp_path, victim, who):
    folder = tmp_path / "theirs"
    folder.mkdir()
    if who == "owner":
        os.chown(folder, NOBODY, -1)
    elif who == "group":
        os.chown(folder, -1, 12)
        folder.chmod(0o775)
    elif who == "others":
        folder.chmod(0o777)
    else:
        os.setxattr(folder, ACL, acl(NOBODY, owner=7, named=7, mask=7))
    link = folder / "privkey.pem"
    link.symlink_to(victim)
    with pytest.raises(ChangeError) as caught:
        pending(link, State(FILE, content=b"key", mode=0o400, uid=NOBODY, gid=0))
    named = {"owner": "nobody", "group": "man", "others": "every user", "acl": "access control list"}[who]
    assert str(link) in str(caught.value) and named in str(caught.value)
    assert untouched(victim)


@needs_root
def test_a_link_to_a_directory_is_refused_in_the_middle_of_a_path(theirs, tmp_path, victim):
    (theirs / "ssl").symlink_to(tmp_path)
    with pytest.raises(ChangeError, match=str(theirs / "ssl")):
        pending(theirs / "ssl" / "shadow", State(FILE, content=b"key"))
    # Below a directory of theirs nothing is safe: they can exchange what root has made there.
    (theirs / "roots").mkdir()
    (theirs / "roots" / "link").symlink_to(victim)
    with pytest.raises(ChangeError, match=str(theirs / "roots" / "link")):
        pending(theirs / "roots" / "link", State(FILE, content=b"key"))
    assert untouched(victim)


@needs_root
def test_a_link_that_appears_after_the_check_is_replaced_and_not_followed(theirs, victim):
    path = theirs / "privkey.pem"
    path.write_text("old")
    os.chown(path, NOBODY, -1)
    changes = pending(path, State(FILE, content=b"key", mode=0o400, uid=NOBODY, gid=0))
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(ChangeError, match="meanwhile"):
        _changeset.apply(changes)
    assert untouched(victim) and path.is_symlink()
    # Without a state to compare with, as in a rollback.
    _changeset.put(str(path), changes[0].after)
    assert untouched(victim) and path.read_text() == "key" and not path.is_symlink()


@needs_root
@pytest.mark.parametrize("step", ["fchown", "fchmod", "fsync"])
def test_a_temporary_file_that_is_exchanged_for_a_link_leads_nowhere(theirs, victim, monkeypatch, step):
    """The directory's owner is quicker than root: at each step every temporary file becomes a link."""
    path = theirs / "privkey.pem"
    real = getattr(os, step)

    def exchanged(*arguments):
        for name in os.listdir(theirs):
            (theirs / name).unlink()
            (theirs / name).symlink_to(victim)
        return real(*arguments)

    monkeypatch.setattr(os, step, exchanged)
    _changeset.put(str(path), State(FILE, content=b"key", mode=0o400, uid=NOBODY, gid=0))
    assert untouched(victim)


@needs_root
def test_a_hard_link_in_a_directory_of_theirs_is_cut_and_not_written_through(theirs, victim):
    path = theirs / "privkey.pem"
    os.link(victim, path)
    _changeset.apply(pending(path, State(FILE, content=b"key", mode=0o400, uid=NOBODY, gid=0)))
    assert untouched(victim) and path.read_text() == "key" and path.stat().st_uid == NOBODY


@needs_root
def test_a_fifo_does_not_stop_a_run(theirs):
    path = theirs / "privkey.pem"
    os.mkfifo(path)
    with pytest.raises(ChangeError, match="neither a regular file nor a link"):
        _changeset.read(str(path))


def test_links_in_directories_of_root_alone_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real" / "key.pem").symlink_to("../store.pem")
    (tmp_path / "store.pem").write_text("old")
    _changeset.apply(pending(tmp_path / "folder" / "key.pem", State(FILE, content=b"new")))
    assert (tmp_path / "store.pem").read_text() == "new" and (tmp_path / "real" / "key.pem").is_symlink()


def test_a_chain_of_links_without_an_end_is_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ChangeError, match="symbolic links"):
        pending(tmp_path / "a", State(FILE, content=b"x"))


@needs_root
def test_a_staging_directory_that_is_there_already_is_not_used(tmp_path):
    (tmp_path / "site").write_text("old")
    changes = pending(tmp_path / "site", State(FILE, content=b"new"))
    name = ".kopano-hardening-test-" + secrets.token_hex(4)
    (folder,) = _changeset.stage_directories(changes, name)
    os.mkdir(folder)
    try:
        os.chown(folder, NOBODY, -1)
        with pytest.raises(ChangeError, match="cannot be staged: File exists"):
            _changeset.stage(changes, name, [])
    finally:
        os.rmdir(folder)


@needs_root
def test_a_staging_directory_that_was_exchanged_is_not_used(tmp_path):
    (tmp_path / "site").write_text("old")
    changes = pending(tmp_path / "site", State(FILE, content=b"new"))
    with staged(changes) as (folder,):
        os.chown(folder, NOBODY, -1)
        with pytest.raises(ChangeError, match="is no staging directory any more"):
            _changeset.apply(changes)
    assert (tmp_path / "site").read_text() == "old"


@needs_root
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_journal_that_others_could_have_written_is_not_believed(tmp_path, how):
    journal = Journal(str(tmp_path / "state"))
    journal.begin("nginx", [])
    if how == "owner":
        os.chown(journal.folder, NOBODY, -1)
    else:
        os.chmod(journal.transactions, 0o777)
    with pytest.raises(_journal.JournalError, match="nobody" if how == "owner" else "every user"):
        journal.unfinished()
    with pytest.raises(_journal.JournalError, match="nobody" if how == "owner" else "every user"):
        journal.begin("nginx", [])


def test_a_journal_that_others_could_read_is_closed(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    Journal(str(tmp_path / "state")).begin("nginx", [])
    assert mode(tmp_path / "state") == 0o700


def test_what_cannot_be_opened_is_named_with_its_whole_path(tmp_path):
    path = f"{tmp_path}/{'x' * 300}/file"
    with pytest.raises(OSError, match="File name too long") as caught:
        Place(path)
    assert caught.value.filename == path
