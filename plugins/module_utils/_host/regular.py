# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Files that others than root can write, exchange or name: read without waiting, without an effect, and not for ever.

A path is looked up with O_PATH first, which opens nothing (open(2)): a FIFO has no other end to wait for, and a device
does nothing. What is a regular file is then opened by that descriptor, so it is the very file that was checked, and
with O_NONBLOCK, as its owner can hold a lease on it (fcntl(2), F_SETLEASE). Nothing here ends a call that a file system
delays, such as NFS: what must not wait for that is in a process of its own (L(_host.background)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.paths import ChangeError, Place

MOST = 64 << 20  # bytes that are read of a file; no configuration is that long

_LOOK_UP = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def is_fifo(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def opened(path: str, foreign_links: bool = False) -> t.Iterator[t.BinaryIO]:
    """A regular file, unbuffered. Raises OSError, whose text has the reason for anything else.

    foreign_links: whether symbolic links are followed that others than root can have made. That is for files that
    another program of root's reads by the same path anyway, and of which no text is shown.
    """
    if foreign_links:
        descriptor = _open(path, None, path)
    else:
        try:
            with Place(path, follow=True) as place:
                descriptor = _open(place.require().name, place.folder, path)
        except ChangeError as error:
            # The text begins with the path, which those who print an OSError put in front themselves.
            reason = re.sub(rf"^{re.escape(path)}:? ", "", str(error))
            raise OSError(errno.ELOOP, reason, path) from error
    with open(descriptor, "rb", buffering=0) as stream:
        yield t.cast(t.BinaryIO, stream)


def _open(name: str, folder: int | None, path: str) -> int:
    entry = os.open(name, _LOOK_UP | (0 if folder is None else os.O_NOFOLLOW), dir_fd=folder)
    try:
        kind = os.fstat(entry).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{entry}", _READ)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(entry)


class OtherEnds:
    """Holds the reading ends of those of some paths that are FIFOs, so that no program waits to write there.

    A program that opens a FIFO in place of its log would wait without an end (fifo(7)). Links are followed, as that
    program follows them; nothing is read, and what is written is dropped at the end.
    """

    def __init__(self, paths: t.Iterable[str]) -> None:
        self._left = dict.fromkeys(paths)
        self._held = contextlib.ExitStack()

    def __enter__(self) -> OtherEnds:
        self.hold()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._held.close()

    def hold(self) -> None:
        """Also those that have become one since the last time. Never raises."""
        for path in list(self._left):
            with contextlib.suppress(OSError, ValueError):
                entry = os.open(path, _LOOK_UP)
                try:
                    if stat.S_ISFIFO(os.fstat(entry).st_mode):
                        self._held.callback(os.close, os.open(f"/proc/self/fd/{entry}", _READ))
                        del self._left[path]
                finally:
                    os.close(entry)


def read(path: str, most: int = MOST, foreign_links: bool = False) -> bytes:
    """What is in a regular file. Raises OSError, also for one with more than so many bytes."""
    with opened(path, foreign_links) as stream:
        # The size comes first, for the memory; those of the kernel have none, and others may grow meanwhile.
        content = b"" if os.fstat(stream.fileno()).st_size > most else read_up_to(stream, most + 1)
        is_whole = os.fstat(stream.fileno()).st_size <= most and len(content) <= most
    if not is_whole:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
    return content


def text(path: str, most: int = MOST, foreign_links: bool = False) -> str:
    """The same as text, each line of which ends with a line feed. What is no UTF-8 is replaced."""
    found = read(path, most, foreign_links).decode("utf-8", "replace")
    return found.replace("\r\n", "\n").replace("\r", "\n")


def read_up_to(stream: t.BinaryIO, most: int) -> bytes:
    """So many bytes, or what there is until the end of the file."""
    parts: list[bytes] = []
    while most > 0:
        part = stream.read(min(most, 1 << 20))
        if not part:
            break
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
