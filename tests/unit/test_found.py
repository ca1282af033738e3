# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an administrator writes while a transaction is under way, or after it was killed, is never lost."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import FILE, Changeset, State
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal, Lock

from .test_changeset import tree
from .test_transaction import Bed

pytestmark = pytest.mark.slow

EDIT = "by the administrator"


@pytest.fixture
def bed(tmp_path, monkeypatch):
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield Bed(tmp_path, monkeypatch)
    for name, action in before.items():
        signal.signal(name, action)


def replace(path: Path, text: str = EDIT) -> None:
    """As editors do it: a new file takes the place of the old one."""
    draft = path.with_suffix(".swp")
    draft.write_text(text)
    os.rename(draft, path)


def overwrite(path: Path) -> None:
    path.write_text(EDIT)


def in_phase(monkeypatch, phase: str, action: t.Callable[[], None]) -> None:
    """Have something done when a run enters a phase."""
    set_phase = Lock.set_phase

    def noted(lock, entered):
        set_phase(lock, entered)
        if entered == phase:
            monkeypatch.setattr(Lock, "set_phase", set_phase)
            action()

    monkeypatch.setattr(Lock, "set_phase", noted)


def copies(result: dict[str, t.Any]) -> dict[str, str]:
    """What a result says was kept: text of the copy by path. Each has to be named in a warning."""
    found = {}
    for entry in result["recovered"]["kept"]:
        assert any(entry["path"] in line and (entry["copy"] or "") in line for line in result["warnings"])
        found[entry["path"]] = Path(entry["copy"]).read_text()
    return found


# --- while a run is under way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [replace, overwrite])
@pytest.mark.parametrize("phase", ["stage", "rehearse", "swap"])
def test_a_file_that_is_edited_before_the_swap_stops_the_run(bed, monkeypatch, phase, edit):
    before = tree(bed.conf)
    in_phase(monkeypatch, phase, lambda: edit(bed.conf / "site"))
    message, result = bed.fails()
    assert str(bed.conf / "site") in message and "nothing was changed" in message and not result["rolled_back"]
    assert tree(bed.conf)["site"][2] == EDIT.encode()
    assert {name: value for name, value in tree(bed.conf).items() if name != "site"} == {
        name: value for name, value in before.items() if name != "site"
    }
    assert bed.server.calls == [] and bed.journal.unfinished() is None
    assert bed.run(files=[])["warnings"] == []


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_fails_before_the_swap_leaves_an_edit_as_it_is(bed, monkeypatch, gone):
    """Nothing was swapped, so there is nothing to roll back."""

    def edit_and_stop():
        (bed.conf / "site").unlink() if gone else replace(bed.conf / "site")
        os.kill(os.getpid(), signal.SIGTERM)

    in_phase(monkeypatch, "rehearse", edit_and_stop)
    message, _result = bed.fails()
    assert "nothing was changed" in message
    assert tree(bed.conf).get("site", (None, None, None))[2] == (None if gone else EDIT.encode())


def test_a_mode_that_is_changed_before_the_swap_stops_the_run(bed, monkeypatch):
    in_phase(monkeypatch, "rehearse", lambda: (bed.conf / "site").chmod(0o600))
    message, _result = bed.fails()
    assert str(bed.conf / "site") in message and stat.S_IMODE((bed.conf / "site").stat().st_mode) == 0o600


def test_a_file_that_is_edited_between_two_renames_stays_and_what_was_swapped_is_rolled_back(bed, monkeypatch):
    put = _changeset.put

    def edited(path, *arguments, **more):
        put(path, *arguments, **more)
        if path.endswith("policy"):
            replace(bed.conf / "site")

    before = tree(bed.conf)
    monkeypatch.setattr(_changeset, "put", edited)
    message, result = bed.fails()
    assert str(bed.conf / "site") in message and result["rolled_back"]
    assert tree(bed.conf) == dict(before, site=(before["site"][0], before["site"][1], EDIT.encode()))
    assert bed.states() == ["undone"] and result["warnings"] == []
    monkeypatch.setattr(_changeset, "put", put)
    assert bed.run(files=[])["warnings"] == [] and (bed.conf / "site").read_text() == EDIT


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize("case", ["replaced", "created", "removed"])
def test_a_file_that_is_edited_in_the_moment_of_the_rename_is_not_lost(tmp_path, monkeypatch, case, supported):
    path = tmp_path / "site"
    if case != "created":
        path.write_text("old")
    changes = Changeset()
    changes.add(str(path), State(_changeset.ABSENT) if case == "removed" else State(FILE, content=b"new"))
    rename, edits = _changeset._rename, [1]

    def edited(folder, name, goal_folder, goal, flag):
        if flag and not supported:
            return False
        if edits and (supported or case == "removed"):
            edits.pop()
            replace(path)
        return rename(folder, name, goal_folder, goal, flag)

    pending = changes.pending()
    monkeypatch.setattr(_changeset, "_rename", edited)
    if not supported and case != "removed":
        replace(path)  # the earliest moment that a comparison shows
    with pytest.raises(_changeset.Unexpected, match=str(path)):
        _changeset.apply(pending)
    assert path.read_text() == EDIT and os.listdir(tmp_path) == ["site"]


def test_the_system_call_is_there_where_these_tests_run(tmp_path):
    """Or the tests above would have passed with the fallback."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert _changeset._rename(folder, "a", folder, "b", _changeset.RENAME_EXCHANGE)
        with pytest.raises(FileExistsError):
            _changeset._rename(folder, "a", folder, "b", _changeset.RENAME_NOREPLACE)
    finally:
        os.close(folder)
    assert (tmp_path / "a").read_text() == "b"


def test_a_virtual_host_that_is_edited_while_its_new_text_is_computed_is_not_lost(bed, monkeypatch):
    config = bed.conf / "nginx.conf"
    config.write_text("events { }\nhttp {\n    server {\n        listen 127.0.0.1:1 ssl;\n    }\n}\n")
    policy = str(bed.conf / "kopano-hardening" / "tls.conf")
    options = {
        "files": [{"path": policy, "content": "ssl_protocols TLSv1.2;\n"}],
        "adopt": True,
        "policy": {"tls": policy},
    }
    adopt = _engine._adopt.adopt

    def edited(*arguments):
        texts = adopt(*arguments)
        config.write_text(config.read_text() + "# " + EDIT + "\n")
        return texts

    with monkeypatch.context() as patch:
        patch.setattr(_engine._adopt, "adopt", edited)
        message, _result = bed.fails(**options)
    assert str(config) in message and EDIT in config.read_text() and "include" not in config.read_text()
    assert bed.run(**options)["changed"] and EDIT in config.read_text()


def test_a_hard_link_and_its_twin_keep_an_edit(tmp_path):
    path = tmp_path / "site"
    path.write_text("old")
    os.link(path, tmp_path / "twin")
    changes = Changeset()
    changes.add(str(path), State(FILE, content=b"new"))
    pending = changes.pending()
    overwrite(path)
    with pytest.raises(_changeset.Unexpected):
        _changeset.apply(pending)
    assert (tmp_path / "twin").read_text() == EDIT


# --- after a crash ---------------------------------------------------------------------------------------------------


def killed(bed: Bed, phase: str = "reload") -> None:
    """A run of its own, killed when it enters a phase."""
    child = os.fork()
    if not child:
        try:
            set_phase = Lock.set_phase

            def noted(lock, entered):
                set_phase(lock, entered)
                if entered == phase:
                    os.kill(os.getpid(), signal.SIGKILL)

            Lock.set_phase = noted
            bed.run()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize("edit", [replace, overwrite])
def test_an_edit_after_a_kill_is_kept_and_named_and_outlives_the_next_runs(bed, edit):
    killed(bed)
    edit(bed.conf / "site")
    result = bed.run(files=[{"path": str(bed.conf / "other"), "content": "x"}])
    assert result["recovered"]["action"] == "undone" and (bed.conf / "site").read_text() == "old"
    assert copies(result) == {str(bed.conf / "site"): EDIT}
    for content in "yz":
        later = bed.run(files=[{"path": str(bed.conf / "other"), "content": content}], keep=1)
        assert later["warnings"] == [] and later["recovered"] is None
    assert copies(result) == {str(bed.conf / "site"): EDIT}
    copy = Path(result["recovered"]["kept"][0]["copy"])
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_a_kill_without_an_edit_names_nothing(bed):
    killed(bed)
    result = bed.run(files=[])
    assert result["recovered"]["action"] == "undone" and result["recovered"]["kept"] == []
    assert result["warnings"] == [] and not os.path.exists(bed.journal.found.folder)


def test_an_edit_before_the_swap_of_a_killed_run_stays(bed):
    killed(bed, "rehearse")
    replace(bed.conf / "site")
    result = bed.run(files=[])
    assert result["recovered"]["action"] == "undone" and result["recovered"]["kept"] == []
    assert (bed.conf / "site").read_text() == EDIT


def test_a_file_that_was_removed_after_a_kill_is_named(bed):
    killed(bed)
    (bed.conf / "site").unlink()
    result = bed.run(files=[])
    assert (bed.conf / "site").read_text() == "old"
    assert result["recovered"]["kept"] == [{"path": str(bed.conf / "site"), "copy": None}]
    assert any(str(bed.conf / "site") in line and "removed" in line for line in result["warnings"])


def test_a_directory_that_was_removed_after_a_kill_is_made_again(bed):
    before = bed.conf / "deep" / "policy"
    before.parent.mkdir()
    before.write_text("old policy")
    killed(bed)
    before.unlink()
    before.parent.rmdir()
    assert bed.run(files=[])["recovered"]["action"] == "undone"
    assert before.read_text() == "old policy"


def test_a_link_that_has_taken_the_place_after_a_kill_is_kept_as_a_link(bed, tmp_path):
    (tmp_path / "elsewhere").write_text("not to be changed")
    killed(bed)
    (bed.conf / "site").unlink()
    (bed.conf / "site").symlink_to(tmp_path / "elsewhere")
    result = bed.run(files=[])
    assert not (bed.conf / "site").is_symlink() and (bed.conf / "site").read_text() == "old"
    (kept,) = result["recovered"]["kept"]
    assert os.readlink(kept["copy"]) == str(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere").read_text() == "not to be changed"


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_any_more_after_a_kill_is_moved_away_and_named(bed, kind):
    killed(bed)
    site = bed.conf / "site"
    site.unlink()
    if kind == "directory":
        site.mkdir()
        (site / "inside").write_text(EDIT)
    else:
        os.mkfifo(site)
    result = bed.run(files=[])
    assert site.read_text() == "old"
    (kept,) = result["recovered"]["kept"]
    if kind == "directory":
        assert Path(kept["copy"], "inside").read_text() == EDIT
    else:
        assert stat.S_ISFIFO(os.stat(kept["copy"]).st_mode)


def test_a_file_that_would_fill_the_memory_is_moved_away_and_named(bed):
    """A user who can write in the directory has made it after a kill."""
    killed(bed)
    site = bed.conf / "site"
    site.unlink()
    with site.open("wb") as stream:
        stream.truncate(10 << 30)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as text:
        used = int(text.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limit[1]))
    try:
        result = bed.run(files=[])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert site.read_text() == "old" and (bed.conf / "deep").exists() is False
    (kept,) = result["recovered"]["kept"]
    assert os.path.getsize(kept["copy"]) == 10 << 30


def test_an_error_at_one_path_keeps_no_other_from_being_restored(bed, monkeypatch):
    killed(bed)
    inspect, failing = _journal._changeset.inspect, str(bed.conf / "deep" / "policy")

    def fails(path):
        if path == failing:
            raise MemoryError
        return inspect(path)

    monkeypatch.setattr(_journal._changeset, "inspect", fails)
    with pytest.raises(_journal._changeset.ChangeError, match="MemoryError"):
        _journal.undo(bed.journal.records()[-1])
    assert (bed.conf / "site").read_text() == "old"


def test_a_mode_that_was_changed_after_a_kill_is_named(bed):
    killed(bed)
    (bed.conf / "site").chmod(0o600)
    result = bed.run(files=[])
    assert copies(result) == {str(bed.conf / "site"): "new"}
    (index,) = Path(bed.journal.found.folder).glob("*/index.json")
    assert [entry["mode"] for entry in json.loads(index.read_text())["found"]] == [0o600]


def test_an_edit_that_a_killed_swap_had_in_its_hands_is_kept(bed, monkeypatch):
    """Killed between the two exchanges: the edit is in the staging directory."""
    rename = _changeset._rename

    def killed_after(folder, name, goal_folder, goal, flag):
        if goal == "site":
            replace(bed.conf / "site")
            rename(folder, name, goal_folder, goal, flag)
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(folder, name, goal_folder, goal, flag)

    with monkeypatch.context() as patch:
        patch.setattr(_changeset, "_rename", killed_after)
        killed(bed, "never")
    assert (bed.conf / "site").read_text() == "new"
    result = bed.run(files=[])
    assert (bed.conf / "site").read_text() == "old"
    assert copies(result) == {str(bed.conf / "site"): EDIT}


# --- other ways ------------------------------------------------------------------------------------------------------


def test_an_edit_during_a_run_that_is_rolled_back_is_named_by_it(bed):
    def edit():
        replace(bed.conf / "site")
        return False, "[emerg] it will not"

    bed.server.happens = [edit]
    message, result = bed.fails()
    assert "everything is back as it was" in message and (bed.conf / "site").read_text() == "old"
    (kept,) = bed.journal.found.entries(result["transaction"])
    assert any(kept["path"] in line and kept["copy"] in line for line in result["warnings"])
    assert Path(kept["copy"]).read_text() == EDIT
    assert bed.run(files=[])["warnings"] == []


def test_what_the_timer_has_found_is_named_by_the_next_run(bed):
    bed.run()
    record = bed.journal.records()[0]
    record.save(_journal.CONFIRMING, deadline=0)
    replace(bed.conf / "site")
    # In a process of its own.
    (timers,) = Journal(bed.journal.folder).records()
    _journal.undo(timers)
    timers.save(_journal.UNDONE)
    # Check mode writes nothing, so a run has to name it once more.
    (line,) = bed.run(check=True)["warnings"]
    result = bed.run(files=[{"path": str(bed.conf / "other"), "content": "x"}])
    assert result["warnings"] == [line]
    (kept,) = bed.journal.found.entries(record.id)
    assert kept["path"] in line and kept["copy"] in line and Path(kept["copy"]).read_text() == EDIT


def test_an_edit_that_a_restore_replaces_is_kept_and_named(bed):
    bed.run()
    replace(bed.conf / "site")
    result = bed.run(files=[], restore="latest")
    assert (bed.conf / "site").read_text() == "old"
    (kept,) = bed.journal.found.entries(result["transaction"])
    assert Path(kept["copy"]).read_text() == EDIT and any(kept["copy"] in line for line in result["warnings"])
    again = bed.run()
    assert bed.run(files=[], restore=again["transaction"])["warnings"] == []


def test_an_edit_in_a_rollback_at_the_very_same_moment_is_kept_too(bed, monkeypatch):
    killed(bed)
    put = _changeset.put
    texts = [EDIT + " once", EDIT + " twice"]

    def edited(path, *arguments, **more):
        if path.endswith("site") and texts:
            replace(bed.conf / "site", texts.pop(0))
        put(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(_changeset, "put", edited)
        result = bed.run(files=[])
    assert (bed.conf / "site").read_text() == "old"
    kept = [Path(entry["copy"]).read_text() for entry in result["recovered"]["kept"]]
    assert kept == [EDIT + " once", EDIT + " twice"]


def test_a_full_disk_loses_no_edit_and_does_not_stop_the_rollback(bed, monkeypatch):
    killed(bed)
    replace(bed.conf / "site")

    def full(*_arguments, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_journal._edits._changeset, "write_file", full)
        patch.setattr(_journal._edits.Found, "_save", full)
        result = bed.run(files=[])
    assert (bed.conf / "site").read_text() == "old"
    assert copies(result) == {str(bed.conf / "site"): EDIT}


def test_a_full_disk_stops_a_restore_that_would_lose_an_edit(bed, monkeypatch):
    bed.run()
    replace(bed.conf / "site")
    copy = _journal._edits.Found._copy
    monkeypatch.setattr(_journal._edits.Found, "_copy", lambda *_arguments: False)
    message, result = bed.fails(files=[], restore="latest")
    assert str(bed.conf / "site") in message and result["warnings"] == []
    assert (bed.conf / "site").read_text() == EDIT and (bed.conf / "deep" / "policy").read_text() == "policy"
    monkeypatch.setattr(_journal._edits.Found, "_copy", copy)
    assert bed.run(files=[], restore="latest")["changed"]


def test_a_full_disk_does_not_lose_an_edit_that_a_killed_swap_had_in_its_hands(bed, monkeypatch):
    killed(bed)
    record = bed.journal.records()[0]
    numbers = [entry["path"] for entry in record.data["entries"]]
    staged = Path(record.data["staging"][0], str(numbers.index(str(bed.conf / "site"))))
    staged.parent.mkdir(mode=0o700)
    staged.write_text(EDIT)
    with monkeypatch.context() as patch:
        patch.setattr(_journal._edits.Found, "_copy", lambda *_arguments: False)
        result = bed.run(files=[])
    assert (bed.conf / "site").read_text() == "old" and not staged.exists()
    assert copies(result) == {str(bed.conf / "site"): EDIT}
    Path(result["recovered"]["kept"][0]["copy"]).unlink()  # at the top of the file system


def test_numbers_go_on_where_only_what_was_found_is_left(bed):
    """Or the newest would be the first to be forgotten."""
    killed(bed)
    replace(bed.conf / "site")
    first = bed.run(files=[])["recovered"]["transaction"]
    bed.journal.discard(bed.journal.records()[0])
    assert bed.journal.begin("nginx", []).id > first


def test_names_that_look_alike_have_copies_of_their_own(tmp_path):
    for name in ("a_b", "a/b"):
        path = tmp_path / "conf" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("old")
    changes = Changeset()
    for name in ("a_b", "a/b"):
        changes.add(str(tmp_path / "conf" / name), State(FILE, content=b"new"))
    pending = changes.pending()
    record = Journal(str(tmp_path / "state")).begin("nginx", pending)
    record.save(_journal.SWAPPING)
    _changeset.apply(pending)
    for name in ("a_b", "a/b"):
        (tmp_path / "conf" / name).write_text(f"by hand: {name}")
    _journal.undo(record)
    kept = {entry["path"]: Path(entry["copy"]).read_text() for entry in record.found.entries(record.id)}
    assert kept == {str(tmp_path / "conf" / name): f"by hand: {name}" for name in ("a_b", "a/b")}


def test_a_rollback_that_is_repeated_keeps_one_copy(tmp_path):
    (tmp_path / "site").write_text("old")
    changes = Changeset()
    changes.add(str(tmp_path / "site"), State(FILE, content=b"new"))
    pending = changes.pending()
    record = Journal(str(tmp_path / "state")).begin("nginx", pending)
    record.save(_journal.SWAPPING)
    for _number in range(2):
        (tmp_path / "site").write_text(EDIT)
        _journal.undo(record)
    assert len(record.found.entries(record.id)) == 1


def test_the_bound_is_on_transactions_and_the_newest_stay(bed, monkeypatch):
    monkeypatch.setattr(_journal._edits, "KEPT", 2)
    for number in range(4):
        killed(bed)
        replace(bed.conf / "site", f"{EDIT} {number}")
        bed.run(files=[{"path": str(bed.conf / "other"), "content": str(number)}])
    texts = [path.read_text() for path in sorted(Path(bed.journal.found.folder).glob("*/0"))]
    assert texts == [f"{EDIT} 2", f"{EDIT} 3"]


# --- a journal of an earlier version ---------------------------------------------------------------------------------


def test_a_journal_of_an_earlier_version_is_undone_and_what_it_has_found_is_kept(bed):
    """Its records say nothing of what was written but the digest, and keep what they found beside themselves."""
    killed(bed)
    record = bed.journal.records()[0]
    for entry in record.data["entries"]:
        del entry["wrote"]
    record.save(_journal.SWAPPING)
    found = Path(record.folder, "found")
    found.mkdir()
    (found / "etc_nginx_site").write_text("found earlier")
    result = bed.run(files=[{"path": str(bed.conf / "other"), "content": "x"}])
    assert result["recovered"]["action"] == "undone" and result["recovered"]["kept"] == []
    assert (bed.conf / "site").read_text() == "old"
    kept = [path.read_text() for path in Path(bed.journal.found.folder).glob("*/etc_nginx_site")]
    assert kept == ["found earlier"] and bed.journal.records()[-1].id != record.id
    assert not os.path.exists(record.folder)


def test_an_edit_over_a_journal_of_an_earlier_version_is_kept(bed):
    killed(bed)
    record = bed.journal.records()[0]
    for entry in record.data["entries"]:
        del entry["wrote"]
    record.save(_journal.SWAPPING)
    replace(bed.conf / "site")
    assert copies(bed.run(files=[])) == {str(bed.conf / "site"): EDIT}
