# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock against everybody but another run: real processes of root and of a user that hold it, or try to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import JournalError, Lock

from .slow_bed import HANGS
from .test_identity import AS_USER, needs_root

pytestmark = pytest.mark.slow

# Holds a lock until its input ends; with a second argument by a descriptor that it inherited from one that has ended.
HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
if sys.argv[2:] and os.fork():
    os._exit(0)
print(flush=True)
sys.stdin.read()
"""
# Takes the lock as often as it can, and counts those that hold it with a file that only one may create.
COMPETE = """
import os, sys, time
sys.path[:0] = [sys.argv[1]]
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import JournalError, Lock
def there(lock, stream, really=Lock._is_there):
    found = really(lock, stream)
    time.sleep(0.002)  # so that others come between this and what follows from it
    return found
Lock._is_there = there
end = time.monotonic() + float(sys.argv[4])
got = 0
while time.monotonic() < end:
    lock = Lock(sys.argv[2])
    try:
        lock.acquire()
    except JournalError:
        continue
    os.close(os.open(sys.argv[3], os.O_CREAT | os.O_EXCL))
    got += 1
    if got % 3:
        os.chmod(sys.argv[2], 0o644)  # as an older version makes it
    time.sleep(0.005)
    os.unlink(sys.argv[3])
    if got % 2:
        lock.release()
    else:
        lock._stream.close()  # as a run that was killed leaves it
print(got)
"""


@pytest.fixture
def path() -> t.Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder, "lock")


@contextlib.contextmanager
def holder(path: Path, *prefix: str, inherited: bool = False) -> t.Iterator[None]:
    command = [*prefix, "/usr/bin/python3", "-IS", "-c", HOLD, str(path), *(["inherited"] if inherited else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"\n", "it does not hold the lock"
        yield
        process.stdin.close()
        process.stdout.read()  # until the one that has inherited the lock has ended, too


@pytest.mark.parametrize("call", ["os.fstat", "fcntl.flock", "os.lstat"])
def test_a_lock_that_cannot_be_had_is_named_and_held_by_nobody(tmp_path, monkeypatch, call):
    lock = Lock(str(tmp_path / "lock"))
    with monkeypatch.context() as patch:
        patch.setattr(f"{_journal.__name__}.{call}", refused)
        with pytest.raises(JournalError, match=f"cannot (open the|lock) .*{lock.path}: Input/output error"):
            lock.acquire()
    # Not by the one either that has tried it: the guard tries again in the same process.
    lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def refused(*_arguments, **_more):
    raise OSError(errno.EIO, "Input/output error")


def old(path: Path, text: str = "") -> None:
    """The file as older versions made it."""
    path.write_text(text)
    path.chmod(0o644)


def works(path: Path) -> None:
    lock = Lock(str(path))
    lock.acquire()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lock.set_phase("read")
        assert "phase read" in path.read_text()
        with pytest.raises(JournalError, match=r"another transaction is under way .*phase read"):
            Lock(str(path)).acquire()
    finally:
        lock.release()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_can_open_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        works(path)
    finally:
        os.umask(before)


def test_it_is_not_passed_on(path: Path) -> None:
    lock = Lock(str(path))
    lock.acquire()
    assert lock._stream is not None and not os.get_inheritable(lock._stream.fileno())
    lock.release()


def test_an_old_file_is_replaced(path: Path) -> None:
    """A user may have opened it, and lock it later."""
    old(path, "pid 1, since then, phase swap\n")
    with path.open() as stream:
        works(path)
        old(path)
        lock = Lock(str(path))
        lock.acquire()
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.release()
        works(path)


@needs_root
@pytest.mark.parametrize("inherited", [False, True])
def test_a_user_who_holds_an_old_file_blocks_nothing(path: Path, inherited: bool) -> None:
    old(path)
    with holder(path, *AS_USER, inherited=inherited):
        works(path)


@needs_root
@pytest.mark.parametrize("inherited", [False, True])
def test_a_run_of_an_older_version_is_waited_for(path: Path, inherited: bool) -> None:
    old(path, "pid 1, since then, phase swap\n")
    with holder(path, inherited=inherited):
        with pytest.raises(JournalError, match=r"another transaction is under way .*phase swap"):
            Lock(str(path)).acquire()
        assert path.read_text() == "pid 1, since then, phase swap\n"
    works(path)


@needs_root
def test_a_user_cannot_hold_a_new_file(path: Path) -> None:
    lock = Lock(str(path))
    lock.acquire()
    with pytest.raises(AssertionError, match="does not hold"), holder(path, *AS_USER):
        pass
    lock.release()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_refused(path: Path, kind: str) -> None:
    other = path.with_name("other")
    other.write_text("kept")
    {"link": lambda: path.symlink_to(other), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(JournalError, match=f"{path}.*remove"):
        Lock(str(path)).acquire()
    assert other.read_text() == "kept"


@needs_root
def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    path.write_text("")
    os.chown(path, 65534, 65534)
    path.chmod(0o600)
    with pytest.raises(JournalError, match=r"belongs to another user.*remove"):
        Lock(str(path)).acquire()


def test_a_lock_that_was_removed_is_released(path: Path) -> None:
    """And the one that another run has made meanwhile is left to it."""
    first, second = Lock(str(path)), Lock(str(path))
    first.acquire()
    path.unlink()
    second.acquire()
    first.release()
    with pytest.raises(JournalError):
        Lock(str(path)).acquire()
    path.unlink()
    second.release()


@needs_root
def test_two_runs_never_hold_it_at_the_same_time(path: Path) -> None:
    """Whatever it is when they come: old, new, left by a run that was killed; with a user who tries to get it."""
    collections = next(part for part in sys.path if part.endswith("/collections"))
    inside = path.with_name("inside")
    command = [sys.executable, "-B", "-c", COMPETE, collections, str(path), str(inside), "2"]
    user = f"for i in 1 2; do while :; do flock -w 1 {path} sleep 0.01; done 2>/dev/null & done; wait"
    with subprocess.Popen([*AS_USER, "timeout", "10", "sh", "-c", user]) as attacker:
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _number in range(3)]
        ended = [run.communicate(timeout=HANGS) for run in runs]
        attacker.terminate()
    assert [(run.returncode, words) for run, (_out, words) in zip(runs, ended, strict=True)] == [(0, b"")] * 3
    assert sum(int(out) for out, _words in ended) > 10
