# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Desired states of paths, compared with what is there, staged beside it and put in place with atomic renames.

A C(State) describes one path completely enough to write it again byte for byte: kind, content or link target, mode,
owner, group and extended attributes (which carry SELinux contexts and ACLs). A C(Changeset) maps paths to states and
knows nothing about web servers.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import pwd
import stat
import typing as t

ABSENT, FILE, LINK = "absent", "file", "link"

# Content that must never be shown, not even to the one who changes it.
SECRET = b"PRIVATE KEY-----"


class ChangeError(Exception):
    """A path cannot be brought to the desired state; the text names the path and the reason."""


class State:
    """What a path is, or shall be. Unset (None) attributes of a desired state keep what is there."""

    __slots__ = ("content", "gid", "kind", "mode", "target", "uid", "xattrs")

    def __init__(
        self,
        kind: str,
        content: bytes = b"",
        target: str = "",
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        xattrs: dict[str, bytes] | None = None,
    ) -> None:
        self.kind = kind
        self.content = content
        self.target = target
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.xattrs = xattrs

    def __repr__(self) -> str:
        return "State({})".format(", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__))

    def wanted_over(self, found: State) -> State:
        """This desired state with everything it leaves open taken from what was found."""
        if self.kind != FILE:
            return self
        same = found if found.kind == FILE else State(FILE, mode=0o644, uid=os.geteuid(), gid=os.getegid())
        return State(
            FILE,
            content=self.content,
            mode=same.mode if self.mode is None else self.mode,
            uid=same.uid if self.uid is None else self.uid,
            gid=same.gid if self.gid is None else self.gid,
            xattrs=same.xattrs if self.xattrs is None else self.xattrs,
        )

    def same_as(self, other: State) -> bool:
        if self.kind != other.kind:
            return False
        if self.kind == LINK:
            return self.target == other.target
        if self.kind == FILE:
            # None: the attributes could not be read, or are those that the file system gives to a new file.
            same_xattrs = self.xattrs == other.xattrs or None in (self.xattrs, other.xattrs)
            return same_xattrs and (self.content, self.mode, self.uid, self.gid) == (
                other.content,
                other.mode,
                other.uid,
                other.gid,
            )
        return True

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def owner_id(name: str | None) -> int | None:
    """The uid of a user's name or number; raises ChangeError for one that does not exist."""
    if name is None:
        return None
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ChangeError(f"there is no user {name!r} on this host") from None


def group_id(name: str | None) -> int | None:
    """The gid of a group's name or number; raises ChangeError for one that does not exist."""
    if name is None:
        return None
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ChangeError(f"there is no group {name!r} on this host") from None


def _read_xattrs(path: str) -> dict[str, bytes] | None:
    try:
        return {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
    except OSError:
        return None


def read(path: str) -> State:
    """The state of a path as it is. Raises ChangeError for a directory, a device, or what cannot be read."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return State(LINK, target=os.readlink(path), uid=found.st_uid, gid=found.st_gid)
        if not stat.S_ISREG(found.st_mode):
            raise ChangeError(f"{path} is neither a regular file nor a link")
        with open(path, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        return State(ABSENT)
    except NotADirectoryError:
        raise ChangeError(f"{path}: a part of the path is not a directory") from None
    except OSError as error:
        raise ChangeError(f"{path}: {error.strerror}") from error
    return State(
        FILE,
        content=content,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        xattrs=_read_xattrs(path),
    )


def _missing_parents(path: str) -> list[str]:
    """Directories above path that do not exist yet, outermost first."""
    missing = []
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    return missing[::-1]


def _stage_root(path: str) -> str:
    """The outermost directory on the same file system as path, below the root directory.

    Staged files live there and not beside their goal, because a server may include every file of a directory; on
    the same file system, because only there a rename is atomic.
    """
    here = os.path.dirname(path)
    while not os.path.isdir(here):
        here = os.path.dirname(here)
    here = os.path.realpath(here)
    device = os.stat(here).st_dev
    while True:
        parent = os.path.dirname(here)
        if parent in ("/", here) or os.stat(parent).st_dev != device:
            return here
        here = parent


def fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to sync
            raise
    finally:
        os.close(descriptor)


def write_file(path: str, state: State) -> None:
    """Create path with everything the state says, and have it on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        _fill(stream, path, state)


def _fill(stream: t.BinaryIO, path: str, state: State) -> None:
    stream.write(state.content)
    stream.flush()
    if state.uid is not None and state.gid is not None:
        os.fchown(stream.fileno(), state.uid, state.gid)
    if state.mode is not None:
        os.fchmod(stream.fileno(), state.mode)
    for name, value in (state.xattrs or {}).items():
        try:
            os.setxattr(stream.fileno(), name, value)
        except OSError as error:
            # Where contexts are not kept (EOPNOTSUPP), or only a policy may set them (EPERM), the default stands.
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise ChangeError(f"{path}: cannot set {name}: {error.strerror}") from error
    os.fsync(stream.fileno())


def _in_place(path: str) -> bool:
    """Whether a rename would cut a tie that has to stay: a second hard link, or a file that is itself a mount point."""
    try:
        return os.lstat(path).st_nlink > 1 or os.path.ismount(path)
    except OSError:
        return False


def put(path: str, state: State, staged: str | None = None) -> None:
    """Bring path to the state. With staged, the path of a ready copy on the same file system, by one rename."""
    try:
        if state.kind == ABSENT:
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
        elif state.kind == FILE and _in_place(path):
            with open(path, "r+b") as stream:
                stream.truncate()
                _fill(stream, path, state)
            if staged:
                os.unlink(staged)
        else:
            if staged is None:
                staged = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.kopano-hardening")
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(staged)  # left by a run that was killed right here
                stage_one(staged, state)
            os.rename(staged, path)
        fsync_directory(os.path.dirname(path))
    except OSError as error:
        raise ChangeError(f"{path}: {error.strerror}") from error


def stage_one(staged: str, state: State) -> None:
    if state.kind == LINK:
        os.symlink(state.target, staged)
        if state.uid is not None and state.gid is not None:
            os.lchown(staged, state.uid, state.gid)
    else:
        write_file(staged, state)


class Change:
    """One path that differs from what it shall be."""

    __slots__ = ("after", "before", "path", "staged")

    def __init__(self, path: str, before: State, after: State) -> None:
        self.path = path
        self.before = before
        self.after = after
        self.staged: str | None = None


class Changeset:
    """Desired states by path.

    A desired file whose path is a link changes the file behind it; the link stays. A desired link or absence is meant
    for the path itself.
    """

    def __init__(self) -> None:
        self.desired: dict[str, State] = {}

    def want(self, path: str, state: State) -> None:
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise ChangeError(f"{path} is not a normalised absolute path")
        parent, name = os.path.split(path)
        path = os.path.join(os.path.realpath(parent), name)
        if state.kind == FILE and os.path.islink(path):
            path = os.path.realpath(path)
        self.desired[path] = state

    def pending(self) -> list[Change]:
        """What differs now, in the order that it was asked for. Reads every path once."""
        changes = []
        for path, state in self.desired.items():
            before = read(path)
            after = state.wanted_over(before)
            if not after.same_as(before):
                changes.append(Change(path, before, after))
        return changes


def new_directories(changes: t.Iterable[Change]) -> list[str]:
    """Directories that the changes need and that do not exist, outermost first."""
    missing: list[str] = []
    for change in changes:
        if change.after.kind != ABSENT:
            missing.extend(folder for folder in _missing_parents(change.path) if folder not in missing)
    return sorted(missing, key=lambda folder: folder.count("/"))


def stage_directories(changes: t.Iterable[Change], name: str) -> list[str]:
    """Where the changes will be staged: one hidden directory for each file system that they touch."""
    roots = {_stage_root(change.path) for change in changes if change.after.kind != ABSENT}
    return sorted(os.path.join(root, name) for root in roots)


def stage(changes: list[Change], name: str, directories: list[str]) -> None:
    """Write every new file and link into its staging directory. Raises ChangeError; the caller cleans up.

    directories: from new_directories(); they are made here, empty, because a rename needs its goal's directory.
    """
    path = ""
    try:
        for number, change in enumerate(changes):
            if change.after.kind == ABSENT:
                continue
            path = change.path
            folder = os.path.join(_stage_root(change.path), name)
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)
            staged = os.path.join(folder, str(number))
            stage_one(staged, change.after)
            change.staged = staged
        for path in directories:
            os.mkdir(path, 0o755)
    except OSError as error:
        raise ChangeError(f"{path}: cannot be staged: {error.strerror}") from error


def apply(changes: list[Change]) -> None:
    """Put every change in place, staged or not. Raises ChangeError at the first that fails."""
    for folder in new_directories(changes):
        try:
            os.mkdir(folder, 0o755)
        except OSError as error:
            raise ChangeError(f"{folder}: {error.strerror}") from error
    for change in changes:
        put(change.path, change.after, change.staged)


def _shown(state: State) -> str:
    if state.kind == ABSENT:
        return ""
    if state.kind == LINK:
        return f"link to {state.target}\n"
    if SECRET in state.content:
        return f"(a private key, {state.sha256})\n"
    return state.content.decode("utf-8", "replace")


def _header(path: str, state: State) -> str:
    if state.kind == FILE:
        return f"{path} (mode {state.mode or 0:04o}, owner {state.uid}:{state.gid})"
    return f"{path} ({state.kind})"


def diff(changes: t.Iterable[Change]) -> list[dict[str, str]]:
    """The changes in the shape that Ansible prints with C(--diff); private keys are replaced by their digest."""
    return [
        {
            "before_header": _header(change.path, change.before),
            "after_header": _header(change.path, change.after),
            "before": _shown(change.before),
            "after": _shown(change.after),
        }
        for change in changes
    ]
