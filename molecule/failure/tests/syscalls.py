# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which system calls fail, and with which errors: classes as data. Where each is made is found out on the host.

A call site is a line of the collection that makes the call, with the lines that led there and the phase; where a call
only reads, it is the line alone, which does the same in every phase.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import ON_ALL

SAMPLE = 2  # call sites of a class, where the cases are spread over the hosts
AT_A_TIME = 8  # runs in one command on a host


@dataclass(frozen=True)
class Calls:
    """A class of system calls that can fail with the same errors, by their manual pages (section 2)."""

    name: str
    calls: tuple[str, ...]
    errors: tuple[str, ...]
    kind: str = "files"  # as of injected.sites()
    how: bool | None = None  # of openat: whether to write
    rehearse: str = "off"
    values: tuple[tuple[str, str], ...] = ()  # of the change, for faults.change()

    @property
    def case(self) -> str:
        return f"system calls: {self.name} ({', '.join(self.errors)})"


CLASSES = (
    Calls("open to read", ("openat", "open"), ("EACCES", "EMFILE", "ENOMEM", "EIO"), how=False),
    Calls("open to write", ("openat", "open"), ("ENOSPC", "EROFS", "EACCES", "EMFILE", "ENOMEM", "EIO"), how=True),
    Calls("read", ("read", "getdents64", "readlink", "readlinkat", "flistxattr"), ("EIO", "ENOMEM")),
    Calls("inspect", ("newfstatat", "fstat", "stat", "lstat"), ("EACCES", "EIO", "ENOMEM")),
    Calls("write", ("write", "pwrite64", "ftruncate"), ("ENOSPC", "EIO")),
    Calls("sync", ("fsync",), ("EIO", "ENOSPC", "EROFS")),
    Calls(
        "rename",
        ("rename", "renameat", "renameat2"),
        ("ENOSPC", "EROFS", "EIO", "EXDEV", "EBUSY", "EACCES", "ENOMEM"),
    ),
    Calls(
        "make a directory or link",
        ("mkdir", "mkdirat", "symlink", "symlinkat"),
        ("ENOSPC", "EROFS", "EACCES", "ENOMEM", "EIO"),
    ),
    Calls("remove", ("unlink", "unlinkat", "rmdir"), ("EROFS", "EACCES", "EBUSY", "EIO", "ENOMEM")),
    Calls(
        "owner and mode",
        ("fchmod", "fchmodat", "chmod", "fchown", "fchownat", "chown", "lchown", "fsetxattr", "fremovexattr"),
        ("EROFS", "EIO", "ENOSPC"),
    ),
    Calls("lock", ("flock",), ("ENOLCK",)),
    Calls(
        "processes and threads",
        ("vfork", "clone", "clone3", "pipe2", "unshare", "setns"),
        ("ENOMEM", "EMFILE", "EACCES"),
        kind="process",
        rehearse="auto",
    ),
    Calls("signal", ("kill",), ("EPERM",), kind="process", rehearse="auto"),
    Calls("connect", ("socket", "connect"), ("EMFILE", "ENOMEM", "EACCES"), kind="in_turn"),
    Calls(
        "view of the rehearsal",
        ("mount", "umount2", "chroot", "unshare", "prctl"),
        ("ENOMEM", "EACCES", "EBUSY"),
        kind="view",
        rehearse="auto",
    ),
    Calls(
        "in a rollback",
        (
            "write",
            "fsync",
            "rename",
            "renameat2",
            "mkdirat",
            "symlinkat",
            "unlink",
            "unlinkat",
            "rmdir",
            "fchmod",
            "fchown",
        ),
        ("EIO", "ENOSPC", "EROFS"),
        kind="rollback",
        values=(("backend", "dead"),),
    ),
)

# Tried where the faults are spread over the hosts, too: what makes a change, and makes it lasting.
SPREAD = {"write", "sync", "rename"}
assert {calls.name for calls in CLASSES} >= SPREAD


def text_of(error: str) -> str:
    """The text of the system for an error."""
    return os.strerror(getattr(errno, error))


def of_class(calls: Calls, sites: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        site for site in sites if site["call"] in calls.calls and (calls.how is None or bool(site["how"]) == calls.how)
    ]


def faults(calls: Calls, sites: Sequence[dict[str, Any]], position: int) -> list[dict[str, Any]]:
    """Each site with one of the errors in turn, beginning with another one on the next host.

    There are more hosts than errors of any class. So with all hosts, a site that they all have meets each error.
    """
    if not ON_ALL:  # some of them all over the run, and not always the same ones
        step = max(1, len(sites) // SAMPLE)
        sites = sites[position % step :: step][:SAMPLE]
    errors = itertools.islice(itertools.cycle(calls.errors), position, None)
    return [{**site, "error": error} for site, error in zip(sites, errors, strict=False)]


def in_parts(found: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(found), AT_A_TIME):
        yield list(found[start : start + AT_A_TIME])
