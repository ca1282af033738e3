# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Desired states of paths, compared with what is there, staged beside it and put in place with atomic renames.

A C(State) describes one path completely enough to write it again byte for byte: kind, content or link target, mode,
owner, group and extended attributes (which carry SELinux contexts and ACLs). A C(Changeset) maps paths to states and
knows nothing about web servers. How a path is reached without being led astray is the matter of L(_host.paths).

What somebody else writes meanwhile is never overwritten: each path is compared once more when it is replaced, and the
two are exchanged in one step, so that what comes out can be compared as well (renameat2(2)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import grp
import hashlib
import os
import pwd
import re
import secrets
import stat
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import shell_path
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host.paths import ACL, ChangeError, Place

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Difference(t.TypedDict):  # novm
        """A change in the shape that Ansible prints with C(--diff)."""

        before_header: str  # the path, with what it is in parentheses
        after_header: str
        before: str
        after: str

else:
    Difference = t.Dict[str, t.Any]

# What is neither a regular file nor a link is OTHER, and so is a file that is too long for any configuration: it is
# found, never desired. A user who can write in its directory could otherwise fill the memory of a rollback.
ABSENT, FILE, LINK, OTHER = "absent", "file", "link", "other"

# Content that must never be shown, not even to the one who changes it.
SECRET = b"PRIVATE KEY-----"

# Beside its goal a file has such a name until it is complete: hidden, short, and no *.conf.
_TEMPORARY = ".kopano-hardening-tmp-"
_TEMPORARY_NAME = re.compile(re.escape(_TEMPORARY) + "[0-9a-f]{16}")

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2  # renameat2(2)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Unexpected(ChangeError):
    """A path is not what its change was computed from. What is there has not been touched."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} was changed by somebody else meanwhile, and stays as it is now; finish that edit, then run again"
        )
        self.path = path


class State:
    """What a path is, or shall be. Unset (None) attributes of a desired state keep what is there.

    A mode alone decides who may read a file: where one is desired, no access control list stays beside it.
    basis: the content that a desired state was computed from, where it was.
    """

    __slots__ = ("basis", "content", "gid", "kind", "mode", "target", "uid", "xattrs")

    def __init__(
        self,
        kind: str,
        content: bytes = b"",
        target: str = "",
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        xattrs: dict[str, bytes] | None = None,
        basis: bytes | None = None,
    ) -> None:
        self.basis = basis
        self.kind = kind
        self.content = content
        self.target = target
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.xattrs = xattrs

    def __repr__(self) -> str:
        return "State({})".format(", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__))

    def completed_from(self, found: State) -> State:
        """This desired state with everything it leaves open taken from what was found."""
        if self.kind != FILE:
            return self
        same = found if found.kind == FILE else State(FILE, mode=0o644, uid=os.geteuid(), gid=os.getegid())
        xattrs = same.xattrs if self.xattrs is None else self.xattrs
        if self.mode is not None and self.xattrs is None and xattrs is not None:
            xattrs = {name: value for name, value in xattrs.items() if name != ACL}
        return State(
            FILE,
            content=self.content,
            mode=same.mode if self.mode is None else self.mode,
            uid=same.uid if self.uid is None else self.uid,
            gid=same.gid if self.gid is None else self.gid,
            xattrs=xattrs,
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


# --- reading ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _named(path: str) -> t.Iterator[None]:
    """Whatever the system refuses becomes a ChangeError that names the path."""
    try:
        yield
    except OSError as error:
        # Root may do all but change what is marked as immutable.
        fix = (
            f"; if lsattr shows that it is immutable, run chattr -i {shell_path(path)}"
            if error.errno == errno.EPERM
            else ""
        )
        raise ChangeError(f"{path}: {error.strerror or error}{fix}") from error


def _read_xattrs(descriptor: int) -> dict[str, bytes] | None:
    try:
        return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOMEM):
            raise  # there may be some, and they must not get lost
        return None


def _inspect(folder: int, name: str) -> State:
    """The state of a name in an open directory. Nothing but a regular file is ever opened."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return State(LINK, target=os.readlink(name, dir_fd=folder), uid=found.st_uid, gid=found.st_gid)
        if not stat.S_ISREG(found.st_mode):
            return State(OTHER, mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid)
        with os.fdopen(os.open(name, _READ, dir_fd=folder), "rb") as stream:
            return _state_of(stream)
    except FileNotFoundError:
        return State(ABSENT)


def _state_of(stream: t.BinaryIO) -> State:
    """The state of an open file, whatever its name leads to by now."""
    found = os.fstat(stream.fileno())
    is_usual = stat.S_ISREG(found.st_mode) and found.st_size <= _regular.MOST
    content = _regular.read_up_to(stream, _regular.MOST + 1) if is_usual else b""
    if not is_usual or len(content) > _regular.MOST:
        return State(OTHER, mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid)
    return State(
        FILE,
        content=content,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        xattrs=_read_xattrs(stream.fileno()),
    )


def inspect(path: str) -> State:
    """The state of a path as it is. Raises ChangeError for what cannot be read."""
    with _named(path), Place(path) as place:
        return State(ABSENT) if place.missing else _inspect(place.folder, place.name)


def read(path: str) -> State:
    """The state of a path as it is. Raises ChangeError for a directory, a device, or what cannot be read."""
    found = inspect(path)
    if found.kind == OTHER:
        raise ChangeError(f"{path} is neither a regular file nor a link, or larger than {_regular.MOST >> 20} MiB")
    return found


def fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to sync
            raise


# --- writing ---------------------------------------------------------------------------------------------------------


def write_file(path: str, state: State) -> None:
    """Create path with everything that the state has, and sync it to the disk."""
    with Place(path) as place:
        _create(place.require().folder, place.name, state)


def _create(folder: int, name: str, state: State) -> None:
    """Make a new file or link in an open directory, complete and on disk."""
    if state.kind == LINK:
        os.symlink(state.target, name, dir_fd=folder)
        if state.uid is not None and state.gid is not None:
            os.chown(name, state.uid, state.gid, dir_fd=folder, follow_symlinks=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as stream:
        stream.write(state.content)
        stream.flush()
        _set_attributes(stream.fileno(), name, state)
        os.fsync(stream.fileno())


def _overwrite(stream: t.BinaryIO, name: str, state: State) -> None:
    """Write over an open file. Until it is complete it is for its owner alone: one of the two contents is a secret."""
    descriptor = stream.fileno()
    _remove_xattr(descriptor, name, ACL)
    os.fchmod(descriptor, 0o600)
    stream.seek(0)
    stream.write(state.content)
    stream.flush()
    # Shortened last: when the disk is full there is still room for what was in it before.
    os.ftruncate(descriptor, len(state.content))
    _set_attributes(descriptor, name, state)
    os.fsync(descriptor)


def _set_attributes(descriptor: int, name: str, state: State) -> None:
    """Owner, extended attributes and mode, in this order: each of them changes those before it."""
    if state.uid is not None and state.gid is not None:
        os.fchown(descriptor, state.uid, state.gid)
    desired_xattrs = state.xattrs or {}
    found = set(_read_xattrs(descriptor) or ())
    # A list that a new file has from its directory, or one that was set since: without it the mode alone decides.
    for extra in found - set(desired_xattrs):
        if extra == ACL or (state.xattrs is not None and extra.startswith("user.")):
            _remove_xattr(descriptor, name, extra)
    for attribute, value in desired_xattrs.items():
        try:
            os.setxattr(descriptor, attribute, value)
        except OSError as error:
            # Where contexts are not kept (EOPNOTSUPP), or only a policy may set them (EPERM), the default stands. Not
            # so for an access control list: without it the group's bits, its upper bound, would be the group's rights.
            if attribute == ACL or error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise ChangeError(f"{name}: cannot set {attribute}: {error.strerror}") from error
    if state.mode is not None:
        os.fchmod(descriptor, state.mode)


def _remove_xattr(descriptor: int, name: str, attribute: str) -> None:
    try:
        os.removexattr(descriptor, attribute)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise ChangeError(f"{name}: cannot remove {attribute}: {error.strerror}") from error


# --- putting in place ------------------------------------------------------------------------------------------------


def put(path: str, state: State, staged: str | None = None, expected: State | None = None) -> None:
    """Bring path to the state. With staged, the path of a ready copy on the same mount, by one rename.

    expected: what the path has to be now. Raises Unexpected where it is something else, and leaves that as it is.
    """
    with _named(path), Place(path) as place:
        if place.missing and state.kind == ABSENT:
            return
        place.require()
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.folder)
        try:
            _claim(folder)
            if state.kind == ABSENT:
                _remove(place, expected)
            elif not (state.kind == FILE and _write_in_place(place, state, expected)):
                _replace(place, state, staged, expected)
            if staged:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(staged)  # where it was not renamed
            _sync(folder)
        finally:
            os.close(folder)


def _claim(folder: int) -> None:
    """Mark that a directory may have temporary files of this run; remove those that a killed run left there."""
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no other run of this collection is at work here
        for name in os.listdir(folder):
            if _TEMPORARY_NAME.fullmatch(name):
                os.unlink(name, dir_fd=folder)
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)


def sweep(path: str) -> None:
    """Remove temporary files of a killed run from the directory of path."""
    with contextlib.suppress(OSError, ChangeError), Place(path) as place:
        if not place.missing:
            folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.folder)
            try:
                _claim(folder)
            finally:
                os.close(folder)


def _temporary_name() -> str:
    return _TEMPORARY + secrets.token_hex(8)


def _replace(place: Place, state: State, staged: str | None, expected: State | None) -> None:
    """Bring a new file or link to the place by a rename; where none is possible, write into what is there."""
    try:
        if staged:
            with Place(staged) as source:
                _require_own(source.require())
                _exchange(source.folder, source.name, place, expected)
            return
        name = _temporary_name()
        try:
            _create(place.folder, name, state)
            _exchange(place.folder, name, place, expected)
        finally:
            with contextlib.suppress(OSError):  # one that stays is removed by the next change in its directory
                os.unlink(name, dir_fd=place.folder)
    except OSError as error:
        # Another mount than it seemed, or a mount point: the name cannot be exchanged, but its content can.
        if error.errno not in (errno.EXDEV, errno.EBUSY):
            raise
        if staged:
            _replace(place, state, None, expected)
        elif state.kind != FILE or not _write_in_place(place, state, expected, tied=True):
            raise


def _require_own(source: Place) -> None:
    """The staging directory has to be the one that was made here, for root alone."""
    found = os.fstat(source.folder)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ChangeError(f"{source.folder_path} is no staging directory any more; somebody has exchanged it")


def _exchange(folder: int, name: str, place: Place, expected: State | None) -> None:
    """Rename to the place what lies in folder, if the place is what it is expected to be."""
    if expected is None:
        _rename(folder, name, place.folder, place.name, 0)
        return
    flag = RENAME_NOREPLACE if expected.kind == ABSENT else RENAME_EXCHANGE
    try:
        supported = _rename(folder, name, place.folder, place.name, flag)
    except (FileExistsError, FileNotFoundError):
        raise Unexpected(place.path) from None
    if not supported:
        # What is written between these two lines is lost; there is no better way here.
        if not _inspect(place.folder, place.name).same_as(expected):
            raise Unexpected(place.path)
        _rename(folder, name, place.folder, place.name, 0)
    elif flag == RENAME_EXCHANGE:
        # From here on no error may be taken for one of the exchange, which has happened.
        with _named(place.path):
            if not _inspect(folder, name).same_as(expected):
                _rename(folder, name, place.folder, place.name, RENAME_EXCHANGE)
                raise Unexpected(place.path)
            os.unlink(name, dir_fd=folder)


def _rename(folder: int, name: str, goal_folder: int, goal: str, flag: int) -> bool:
    """renameat2(2); False where the C library, the kernel or the file system does not have it."""
    if not flag:
        os.rename(name, goal, src_dir_fd=folder, dst_dir_fd=goal_folder)
        return True
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return False
    if call(folder, os.fsencode(name), goal_folder, os.fsencode(goal), ctypes.c_uint(flag)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))


_libc = ctypes.CDLL(None, use_errno=True)


def _remove(place: Place, expected: State | None) -> None:
    """Remove what is at the place: moved aside first, so that what it was can be compared."""
    name = _temporary_name()
    try:
        _rename(place.folder, place.name, place.folder, name, 0)
    except FileNotFoundError:
        return
    if expected is not None and not _inspect(place.folder, name).same_as(expected):
        if not _rename(place.folder, name, place.folder, place.name, RENAME_NOREPLACE):
            _rename(place.folder, name, place.folder, place.name, 0)
        raise Unexpected(place.path)
    os.unlink(name, dir_fd=place.folder)


def _write_in_place(place: Place, state: State, expected: State | None, tied: bool = False) -> bool:
    """Write into the file that is there, if a rename would cut a tie that has to stay; False if it would not.

    tied: that a rename is impossible is known already.
    """
    try:
        entry = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder)
    except FileNotFoundError:
        return False
    try:
        if not (_is_tied(place, entry) or (tied and _is_overwritable(place, entry))):
            return False
        with os.fdopen(os.open(place.name, _WRITE, dir_fd=place.folder), "r+b") as stream:
            if not os.path.sameopenfile(stream.fileno(), entry):
                raise Unexpected(place.path)
            if expected is not None and not _state_of(stream).same_as(expected):
                raise Unexpected(place.path)
            _overwrite(stream, place.path, state)
    finally:
        os.close(entry)
    return True


def _is_overwritable(place: Place, entry: int) -> bool:
    """A regular file that is not also another one: a name that others made can lead to any file of the file system."""
    found = os.fstat(entry)
    return stat.S_ISREG(found.st_mode) and (found.st_nlink == 1 or not place.writer)


def _is_tied(place: Place, entry: int) -> bool:
    """Whether a file has a second hard link, which has to see the change, or is itself a mount point."""
    found = os.fstat(entry)
    if not stat.S_ISREG(found.st_mode):
        return False
    return (found.st_nlink > 1 and not place.writer) or _is_mount_point(place, entry)


def _is_mount_point(place: Place, entry: int) -> bool:
    return _paths.mount_id(entry) != _paths.mount_id(place.folder)


def _require_possible(path: str, after: State) -> None:
    """Raise ChangeError for a path whose change must fail, before anything is changed."""
    with _named(path), Place(path) as place:
        try:
            entry = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.require().folder)
        except FileNotFoundError:
            return
        try:
            if after.kind != FILE and _is_mount_point(place, entry):
                raise ChangeError(f"{path} is a mount point, so it can be neither removed nor replaced with a link")
            if after.kind == FILE and _is_tied(place, entry):
                os.close(os.open(place.name, _WRITE, dir_fd=place.folder))
        finally:
            os.close(entry)


def move_aside(path: str, goal: str) -> str:
    """Move whatever is at path to goal, or, where that is on another mount, beside it on its own; return where it is.

    It needs no space and reads nothing.
    """
    with _named(path), Place(path) as place:
        places = [goal, os.path.join(_paths.stage_root(place.path), ".kopano-hardening-found-" + secrets.token_hex(8))]
        for number, candidate in enumerate(places):
            try:
                with Place(candidate) as target:
                    _rename(place.require().folder, place.name, target.require().folder, target.name, 0)
                return candidate
            except OSError as error:
                if number or error.errno not in (errno.EXDEV, errno.ENOENT, errno.ENOSPC, errno.EROFS):
                    raise
    raise AssertionError("unreachable")


class Change:
    """One path that differs from what it shall be."""

    __slots__ = ("after", "before", "path", "staged", "touched")

    def __init__(self, path: str, before: State, after: State) -> None:
        self.path = path
        self.before = before
        self.after = after
        self.staged: str | None = None
        self.touched = False  # whether the path may be something else than before, by this change


class Changeset:
    """Desired states by path.

    A desired file whose path is a link changes the file behind it; the link stays. A desired link or absence is meant
    for the path itself.
    """

    def __init__(self) -> None:
        self.desired: dict[str, State] = {}

    def add(self, path: str, state: State) -> None:
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise ChangeError(f"{path} is not a normalised absolute path")
        with _named(path), Place(path, follow=state.kind == FILE) as place:
            self.desired[place.path] = state

    def pending(self) -> list[Change]:
        """What differs now, in the order in which it was added. Reads every path once."""
        changes = []
        for path, state in self.desired.items():
            before = read(path)
            after = state.completed_from(before)
            if after.same_as(before):
                continue
            if state.basis is not None and before.content != state.basis:
                raise Unexpected(path)
            _require_possible(path, after)
            changes.append(Change(path, before, after))
        return changes


def new_directories(changes: t.Iterable[Change]) -> list[str]:
    """Directories that the changes need and that do not exist, outermost first."""
    missing: set[str] = set()
    for change in changes:
        if change.after.kind != ABSENT:
            missing.update(missing_parents(change.path))
    return sorted(missing, key=lambda folder: (folder.count("/"), folder))


def missing_parents(path: str) -> list[str]:
    """Directories above path that do not exist yet, outermost first."""
    with _named(path), Place(path) as place:
        names = place.missing
        return [os.path.join(place.folder_path, *names[: number + 1]) for number in range(len(names))]


def new_paths(changes: t.Iterable[Change]) -> list[str]:
    """The paths that are something else after the changes than before: a replaced file keeps what belongs to it."""
    return [change.path for change in changes if change.after.kind not in (ABSENT, change.before.kind)]


def stage_directories(changes: t.Iterable[Change], name: str) -> list[str]:
    """Where the changes will be staged: one hidden directory for each mount that they touch."""
    return sorted({_stage_directory(change.path, name) for change in changes if change.after.kind != ABSENT})


def _stage_directory(path: str, name: str) -> str:
    with _named(path):
        return os.path.join(_paths.stage_root(path), name)


def stage(changes: list[Change], name: str, directories: list[str]) -> None:
    """Write every new file and link into its staging directory. Raises ChangeError; the caller cleans up.

    directories: from new_directories(); they are made here, empty, because a rename needs its goal's directory.
    """
    path = ""
    made: set[str] = set()
    try:
        for number, change in enumerate(changes):
            if change.after.kind == ABSENT:
                continue
            path = change.path
            folder = _stage_directory(path, name)
            if folder not in made:
                # Never one that is there already: it could be somebody else's.
                _paths.make_directory(folder, 0o700)
                made.add(folder)
            staged = os.path.join(folder, str(number))
            with Place(staged) as place:
                _create(place.require().folder, place.name, change.after)
            change.staged = staged
        for path in directories:
            _paths.make_directory(path)
    except OSError as error:
        raise ChangeError(f"{path}: cannot be staged: {error.strerror}") from error


def verify(changes: t.Iterable[Change]) -> None:
    """Raise Unexpected for the first path that is no longer what its change was computed from."""
    for change in changes:
        if not inspect(change.path).same_as(change.before):
            raise Unexpected(change.path)


def apply(changes: list[Change]) -> None:
    """Put every change in place, staged or not. Raises ChangeError at the first that fails; see Change.touched."""
    for folder in new_directories(changes):
        with _named(folder):
            _paths.make_directory(folder)
    for change in changes:
        change.touched = True
        try:
            put(change.path, change.after, change.staged, change.before)
        except Unexpected:
            change.touched = False
            raise


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
        acl = ", access control list" if ACL in (state.xattrs or ()) else ""
        return f"{path} (mode {state.mode or 0:04o}, owner {state.uid}:{state.gid}{acl})"
    return f"{path} ({state.kind})"


def diff(changes: t.Iterable[Change]) -> list[Difference]:
    """The changes in the shape that Ansible prints; private keys are replaced by their digest."""
    return [
        {
            "before_header": _header(change.path, change.before),
            "after_header": _header(change.path, change.after),
            "before": _shown(change.before),
            "after": _shown(change.after),
        }
        for change in changes
    ]
