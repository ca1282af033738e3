# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A process as the kernel describes it: what its user cannot choose (proc_pid_status(5), proc_pid_exe(5))."""

from __future__ import annotations

import contextlib
import os
import typing as t


class Process(t.NamedTuple):
    """What decides whom a process works for."""

    program: str | None  # None where this process may not read it
    name: str
    users: frozenset[int]  # real and effective
    contained: bool  # in a pid namespace of its own, as a container's processes are

    @property
    def is_roots(self) -> bool:
        """Whether it is root's alone, unlike a user's process of a program that gets root's rights."""
        return self.users == {0}


@contextlib.contextmanager
def folder_of(pid: int) -> t.Iterator[int]:
    """A descriptor of a process's directory: it never means another process that gets the number later."""
    folder = os.open("/proc/%d" % pid, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def read_in(folder: int, name: str) -> bytes:
    """A file of a process's directory. Raises OSError."""
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as stream:
        return stream.read()


def observe(folder: int) -> Process:
    """The process of a directory. Raises OSError for one that has ended.

    Whose it is stands in the text: the files themselves are root's where a process must not be dumped, and the owner of
    the directory is the effective user alone.
    """
    fields = dict(
        line.partition(":")[::2] for line in read_in(folder, "status").decode("utf-8", "replace").splitlines()
    )
    try:
        program: str | None = os.readlink("exe", dir_fd=folder)
    except PermissionError:
        program = None
    users = frozenset(int(number) for number in fields["Uid"].split()[:2])
    return Process(program, fields["Name"].strip(), users, len(fields.get("NSpid", "").split()) != 1)


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by a signal or a tracer; False for one that has ended (proc_pid_stat(5))."""
    with contextlib.suppress(OSError, IndexError), folder_of(pid) as folder:
        return read_in(folder, "stat").rpartition(b")")[2].split()[0] in (b"T", b"t")
    return False


def roots_processes() -> t.Iterator[int]:
    """The numbers of root's processes."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), folder_of(int(name)) as folder:
                if observe(folder).is_roots:
                    yield int(name)
