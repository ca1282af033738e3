# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journal against crashes: a process that is killed before its Nth change to the file system, for every N."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    LINK,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal, JournalError, Lock

from .slow_bed import HANGS
from .test_changeset import tree

# What a run does between its start and its commit, killed by itself before call number N of those that change the disk.
RUN = textwrap.dedent(
    """
    import os, signal, sys
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import ABSENT, FILE, LINK
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import Changeset, State

    conf, state, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def counted(function):
        def call(*arguments, **more):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **more)
        return call

    for name in ("unlink", "mkdir", "rmdir", "symlink", "fsync", "fchmod", "chown", "setxattr", "removexattr"):
        setattr(os, name, counted(getattr(os, name)))
    _changeset._rename = counted(_changeset._rename)
    opened, counted_open = os.open, counted(os.open)
    os.open = lambda path, flags, *more, **at: (
        counted_open if flags & os.O_CREAT else opened
    )(path, flags, *more, **at)
    os.ftruncate = counted(os.ftruncate)

    changes = Changeset()
    changes.add(conf + "/replaced", State(FILE, content=b"new"))
    changes.add(conf + "/gone", State(ABSENT))
    changes.add(conf + "/twin", State(FILE, content=b"new, in place"))
    changes.add(conf + "/link", State(LINK, target="replaced"))
    changes.add(conf + "/deep/er/created", State(FILE, content=b"created"))
    pending = changes.pending()
    journal = _journal.Journal(state)
    record = journal.begin("nginx", pending)
    _changeset.stage(pending, ".kopano-hardening-" + record.id, record.data["new_directories"])
    record.save(_journal.SWAPPING)
    _changeset.apply(pending)
    _journal.clean_staging(record)
    record.save(_journal.PROVEN)
    record.save(_journal.COMMITTED)
    print("committed")
    """
)


@pytest.fixture
def conf(tmp_path):
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "replaced").write_text("old")
    (folder / "replaced").chmod(0o640)
    (folder / "gone").write_text("to go")
    (folder / "twin").write_text("an old text that is longer than the new one")
    os.link(folder / "twin", folder / "other-twin")
    (folder / "link").symlink_to("gone")
    return folder


def run_killed(conf, state, number) -> bool:
    """Run until call number of the disk; True if it came to its end."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(conf), str(state), str(number)],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == 0


def recover(journal: Journal) -> None:
    record = journal.unfinished()
    if record is None:
        return
    if record.state == _journal.PROVEN:
        record.save(_journal.COMMITTED)
    else:
        _journal.undo(record)
        record.save(_journal.UNDONE)


@pytest.mark.slow
def test_killed_before_every_change_to_the_disk(conf, tmp_path):
    before = tree(conf)
    number, after = 0, None
    outcomes = set()
    while after is None:
        state = tmp_path / ("state%d" % number)
        ended = run_killed(conf, state, number)
        recover(Journal(str(state)))
        now = tree(conf)
        if now != before:
            # All or nothing: once anything of the change may stay, the whole of it has to be there.
            assert now["replaced"][2] == b"new" and "gone" not in now and now["link"][2] == "replaced"
            assert (
                now["twin"][2] == now["other-twin"][2] == b"new, in place" and now["deep/er/created"][2] == b"created"
            )
            record = Journal(str(state)).records()[-1]
            assert record.state == _journal.COMMITTED
            _journal.undo(record)
            assert tree(conf) == before
        assert [name for name in os.listdir(tmp_path) if name.startswith(".kopano-hardening")] == []
        outcomes.add(now == before)
        after = now if ended else None
        number += 1
    assert outcomes == {True, False}
    assert number > 25


def test_what_somebody_changed_after_the_crash_is_kept(conf, tmp_path):
    changes = Changeset()
    changes.add(str(conf / "replaced"), State(FILE, content=b"new"))
    pending = changes.pending()
    record = Journal(str(tmp_path / "state")).begin("nginx", pending)
    record.save(_journal.SWAPPING)
    _changeset.apply(pending)
    (conf / "replaced").write_text("by hand, after the crash")
    _journal.undo(record)
    assert (conf / "replaced").read_text() == "old"
    (kept,) = record.found.entries(record.id)
    assert kept["path"] == str(conf / "replaced")
    assert pathlib.Path(kept["copy"]).read_text() == "by hand, after the crash"


def test_restore_goes_back_to_the_oldest_state(conf, tmp_path):
    journal = Journal(str(tmp_path / "state"))
    identifiers = []
    for content in (b"first", b"second"):
        changes = Changeset()
        changes.add(str(conf / "replaced"), State(FILE, content=content))
        pending = changes.pending()
        record = journal.begin("nginx", pending)
        _changeset.apply(pending)
        record.save(_journal.COMMITTED)
        identifiers.append(record.id)
    records = journal.records()
    assert _journal.replaced_since(records, identifiers[0])[str(conf / "replaced")].content == b"old"
    assert _journal.replaced_since(records, identifiers[1])[str(conf / "replaced")].content == b"first"


def test_prune_keeps_the_newest_and_all_that_is_open(conf, tmp_path):
    journal = Journal(str(tmp_path / "state"))
    states = [_journal.SWAPPING] + [_journal.COMMITTED] * 4 + [_journal.UNDONE]
    identifiers = []
    for state in states:
        record = journal.begin("nginx", [])
        record.save(state)
        identifiers.append(record.id)
    journal.prune(2)
    assert [record.id for record in journal.records()] == [identifiers[0], identifiers[3], identifiers[4]]


def test_a_change_that_is_only_repeated_takes_no_place_of_another(conf, tmp_path):
    """A template writes the file before each run, and the run changes it as the one before did."""
    journal = Journal(str(tmp_path / "state"))
    path = str(conf / "replaced")
    identifiers = []
    for before, after in [(b"1", b"2"), (b"2", b"3"), *[(b"a", b"A")] * 4]:
        pathlib.Path(path).write_bytes(before)
        changes = Changeset()
        changes.add(path, State(FILE, content=after))
        pending = changes.pending()
        record = journal.begin("nginx", pending)
        _changeset.apply(pending)
        record.save(_journal.COMMITTED)
        journal.prune(3)
        identifiers.append(record.id)
    assert _journal.repetitions(journal.records()) == {identifiers[-1]}
    assert [record.id for record in journal.records()] == [*identifiers[:3], identifiers[-1]]
    # What it would restore is what the template had written.
    assert _journal.replaced_since(journal.records(), identifiers[2])[path].content == b"a"
    # The same change after a restore was wanted.
    pathlib.Path(path).write_bytes(b"A")
    changes = Changeset()
    changes.add(path, State(FILE, content=b"a"))
    record = journal.begin("nginx", changes.pending(), restores=identifiers[2])
    record.save(_journal.COMMITTED)
    assert _journal.repetitions(journal.records()) == {identifiers[-1]}


def test_a_change_that_was_rolled_back_is_not_repeated_by_the_next_run(conf, tmp_path):
    """It counts as a change of its own, which can be restored, whatever is left of the first attempt."""
    journal = Journal(str(tmp_path / "state"))
    records = []
    for state in (_journal.UNDONE, _journal.COMMITTED):
        changes = Changeset()
        changes.add(str(conf / "replaced"), State(FILE, content=b"new"))
        record = journal.begin("nginx", changes.pending())
        record.save(state)
        records.append(record)
    assert _journal.repetitions(records) == set()
    records[0].data["state"] = _journal.COMMITTED
    assert _journal.repetitions(records) == {records[1].id}


def test_a_torn_record_is_an_error_and_not_ignored(tmp_path):
    journal = Journal(str(tmp_path / "state"))
    record = journal.begin("nginx", [])
    with open(os.path.join(record.folder, "record.json"), "w") as stream:
        stream.write('{"state": ')
    with pytest.raises(JournalError, match=r"record\.json cannot be read"):
        journal.unfinished()


def test_the_lock_names_its_holder_and_is_free_after_it(tmp_path):
    path = str(tmp_path / "lock")
    first, second = Lock(path), Lock(path)
    first.acquire()
    first.set_phase("rehearse")
    with pytest.raises(JournalError, match=r"pid %d, .* phase rehearse" % os.getpid()):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert not os.path.exists(path)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = str(tmp_path / "lock")
    script = (
        "import os, signal\n"
        "from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Lock\n"
        f"lock = Lock({path!r}); lock.acquire(); lock.set_phase('swap'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
    )
    assert done.returncode == -9 and os.path.exists(path)
    lock = Lock(path)
    lock.acquire()
    lock.release()


def test_nothing_is_left_when_the_state_cannot_be_saved(conf):
    changes = Changeset()
    changes.add(str(conf / "replaced"), State(FILE, content=b"new"))
    with pytest.raises(JournalError, match="cannot save the replaced files"):
        Journal("/proc/no-such-place").begin("nginx", changes.pending())
    assert (conf / "replaced").read_text() == "old"


def test_states_survive_the_journal(conf, tmp_path):
    os.setxattr(conf / "replaced", "user.label", b"\x00\xff")
    paths = {str(conf / name): None for name in ("replaced", "gone", "link", "not-there")}
    changes = [_changeset.Change(path, _changeset.read(path), State(ABSENT)) for path in paths]
    Journal(str(tmp_path / "state")).begin("nginx", changes)
    loaded = Journal(str(tmp_path / "state")).records()[0].before()
    kinds = []
    for path, state in loaded.items():
        assert state.same_as(_changeset.read(path))
        kinds.append(state.kind)
    assert kinds == [FILE, FILE, LINK, ABSENT]
    assert loaded[str(conf / "replaced")].xattrs == {"user.label": b"\x00\xff"}


def test_what_was_undone_is_kept_until_the_next_transaction_begins(conf, tmp_path):
    journal = Journal(str(tmp_path / "state"))
    journal.begin("nginx", []).save(_journal.UNDONE)
    assert len(journal.records()) == 1
    second = journal.begin("nginx", [])
    assert [record.id for record in journal.records()] == [second.id]
