# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Paths that root uses although others may write on the way: opened name by name, never resolved twice.

A user that can write a directory can replace each name in it at any moment. So a path is walked once, with a descriptor
for each directory, and everything afterwards is relative to the last one (openat(2)). A symbolic link is followed where
only root can have made it, and refused everywhere else.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
import typing as t

ACL = "system.posix_acl_access"
LINKS_MAX = 40  # as many as the kernel follows

_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class ChangeError(Exception):
    """A path cannot be brought to the desired state; the text names the path and the reason."""


class Place:
    """Where a path leads: an open directory and a name in it.

    folder is the descriptor of the innermost directory that exists, missing the names of those below it that do not,
    name the last one. path is the same path without links. writer: who besides root can replace what is there; ''
    if no one can.
    """

    def __init__(self, path: str, follow: bool = False) -> None:
        """follow: whether a link at the end is followed too. Raises ChangeError for one that others can have made."""
        self.name = "."
        self.missing: list[str] = []
        self.writer = ""
        self._names: list[str] = []
        self.folder = os.open("/", _ENTRY)
        try:
            self._walk(path, follow)
            self.writer = self.writer or other_writer(self.folder)
        except BaseException as error:
            os.close(self.folder)
            if isinstance(error, OSError):
                error.filename = path  # instead of the name that could not be opened
            raise

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.folder)

    @property
    def path(self) -> str:
        return "/" + "/".join([*self._names, *self.missing, self.name])

    @property
    def folder_path(self) -> str:
        """The path of the innermost directory that exists."""
        return "/" + "/".join(self._names)

    def require(self) -> Place:
        """This place, if its directory exists. Raises FileNotFoundError."""
        if self.missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return self

    def _walk(self, path: str, follow: bool) -> None:
        left, links = _reversed_names(path), 0
        while left:
            name = left.pop()
            if not left and not follow:
                self.name = name
                return
            try:
                entry = self._open_entry(name, is_folder=bool(left))
            except FileNotFoundError:
                self.missing = [name, *reversed(left)]
                self.name = self.missing.pop()
                return
            info = os.fstat(entry)
            if stat.S_ISDIR(info.st_mode) and left:
                self._enter(entry, name, info)
                continue
            try:
                if not stat.S_ISLNK(info.st_mode):
                    if left:
                        raise ChangeError(f"{path}: a part of the path is not a directory")
                    self.name = name
                    return
                target = os.readlink("", dir_fd=entry)
            finally:
                os.close(entry)
            links += 1
            if links > LINKS_MAX:
                raise ChangeError(f"{path}: too many symbolic links")
            self._refuse_foreign_link(name)
            if target.startswith("/"):
                self._restart()
            left += _reversed_names(target)

    def _open_entry(self, name: str, is_folder: bool) -> int:
        if is_folder:
            # Opened as a directory it is mounted where that happens on demand.
            with contextlib.suppress(OSError):
                return os.open(name, _ENTRY | os.O_DIRECTORY, dir_fd=self.folder)
        return os.open(name, _ENTRY, dir_fd=self.folder)

    def _enter(self, entry: int, name: str, info: os.stat_result) -> None:
        if not (self.writer or _is_kept(os.fstat(self.folder), info)):
            self.writer = other_writer(self.folder)
        os.close(self.folder)
        self.folder = entry
        self._names = self._names[:-1] if name == ".." else [*self._names, name]

    def _restart(self) -> None:
        os.close(self.folder)
        self.folder = os.open("/", _ENTRY)
        self._names, self.writer = [], ""

    def _refuse_foreign_link(self, name: str) -> None:
        writer = self.writer or other_writer(self.folder)
        if writer:
            raise ChangeError(
                f"{self.folder_path.rstrip('/')}/{name} is a symbolic link where {writer} can write: root must not "
                "follow it; replace it with what it leads to, or let only root write in its directory"
            )


def _reversed_names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")][::-1]


def _is_kept(folder: os.stat_result, entry: os.stat_result) -> bool:
    """Whether a directory that others can write keeps them from exchanging this entry (sticky, as /tmp)."""
    return bool(folder.st_mode & stat.S_ISVTX) and {folder.st_uid, entry.st_uid} <= _trusted_users()


def _trusted_users() -> set[int]:
    return {0, os.geteuid()}


def is_there(path: str) -> bool:
    """Whether a path leads to something. Raises OSError where that is not known, unlike os.path.exists()."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def other_writer(folder: int) -> str:
    """Who besides root can make and remove names in an open directory, for a message; '' if no one can."""
    info = os.fstat(folder)
    if info.st_uid not in _trusted_users():
        return f"the user {user_name(info.st_uid)}"
    if info.st_mode & stat.S_IWOTH:
        return "every user"
    if info.st_mode & stat.S_IWGRP:
        if info.st_gid not in (0, os.getegid()):
            return f"the group {group_name(info.st_gid)}"
        if _has_acl(folder):
            # The group's bits are the upper bound for all whom the list names (acl(5)).
            return "some user of its access control list"
    return ""


def _has_acl(folder: int) -> bool:
    try:
        return bool(os.getxattr(f"/proc/self/fd/{folder}", ACL))
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.EOPNOTSUPP)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def mount_id(descriptor: int) -> str:
    """Which mount an open file is on: a rename never leaves it, not even within one file system (rename(2))."""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}") as lines:
            found = [line.split()[1] for line in lines if line.startswith("mnt_id:")]
    except OSError:
        found = []
    return found[0] if found else f"device {os.fstat(descriptor).st_dev}"


def stage_root(path: str) -> str:
    """The outermost directory on the same mount as path, below the root directory.

    Staged files live there and not beside their goal, because a server may include every file of a directory; on the
    same mount, because only there a rename is possible.
    """
    with Place(path) as place:
        here, names = os.dup(place.folder), place.folder_path.split("/")[1:]
        try:
            mount = mount_id(here)
            while len(names) > 1:
                parent = os.open("..", _ENTRY | os.O_DIRECTORY, dir_fd=here)
                os.close(here)
                here = parent
                if mount_id(here) != mount:
                    break
                names.pop()
        finally:
            os.close(here)
    return "/" + "/".join(names)


# --- directories -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(path: str) -> t.Iterator[Place | None]:
    """A directory as the folder of a place; None where it does not exist."""
    with Place(os.path.join(path, ".entry")) as place:
        yield None if place.missing else place


def make_directory(path: str, mode: int = 0o755) -> None:
    with Place(path) as place:
        os.mkdir("/".join([*place.missing, place.name]), mode, dir_fd=place.folder)


def remove_directory(path: str) -> None:
    """Remove a directory if it is empty; one that is not, or is no longer there, stays as it is."""
    with contextlib.suppress(OSError, ChangeError), Place(path) as place:
        if not place.missing:
            os.rmdir(place.name, dir_fd=place.folder)


def check_private(path: str) -> None:
    """Raise ChangeError for a directory of ours into which others can have written."""
    with opened(path) as place:
        if place and place.writer:
            raise ChangeError(
                f"{path}: {place.writer} can write there, so nothing in it can be trusted; move it away, and let only "
                "root write in it and in every directory above it"
            )


def check_own(path: str) -> None:
    """Raise ChangeError for a directory of ours, if it exists, that is somebody else's or that others can write.

    Unlike check_private() it trusts those who can write above it: C(/usr/local) is a group's on some distributions.
    """
    with opened(path) as place:
        writer = other_writer(place.folder) if place else ""
    if writer:
        raise ChangeError(
            f"{path}: {writer} can write there, and root runs or reads what is in it; move it away, or let only root "
            "write in it"
        )


def make_private(path: str) -> None:
    """Have a directory that only its owner can enter. Raises ChangeError, OSError."""
    if not os.path.isdir(path):
        os.makedirs(path, mode=0o700)
    check_private(path)
    with opened(path) as place:
        if place and os.fstat(place.folder).st_mode & 0o077:
            os.chmod(".", 0o700, dir_fd=place.folder)
