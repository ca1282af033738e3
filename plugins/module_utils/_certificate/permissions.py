# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Who can read a file, by owner, group, mode and access control list. Root, who can read every file, does not count.

POSIX.1e draft 17 (access control lists), login.defs(5).
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import struct
import typing as t

READ, WRITE = 4, 2
_ACL = "system.posix_acl_access"
# Tags of the entries of an access control list (linux/posix_acl.h).
_NAMED_USER, _OWNING_GROUP, _NAMED_GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
_UNMAPPED = 65534


class Access(t.NamedTuple):
    """Who can do what with a file.

    C(readers) are all others that can read it: C(user NAME), C(group NAME) and C(everybody); C(people) the names among
    them that a person may log in as; C(writers) those that can change it. C(person): whether the owner is one.
    C(acl): there are entries beside owner, group and others.
    """

    owner: str
    group: str
    mode: int
    person: bool
    acl: bool
    readers: list[str]
    people: list[str]
    writers: list[str]


def _first_person() -> int:
    """The lowest number of an account for people, as login.defs(5) has it."""
    try:
        with open("/etc/login.defs", encoding="utf-8", errors="replace") as stream:
            found = re.search(r"^UID_MIN\s+(\d+)", stream.read(), re.MULTILINE)
    except OSError:
        found = None
    return int(found.group(1)) if found else 1000


def _user(number: int) -> tuple[str, bool]:
    """A user's name and whether it is one for people; an unknown user may be anybody."""
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}", True
    return name, _first_person() <= number != _UNMAPPED


def _group(number: int) -> tuple[str, list[str]]:
    """A group's name and the names of the people in it, by their main group or as listed."""
    try:
        group = grp.getgrgid(number)
    except KeyError:
        return f"gid {number}", ["any user with this group"]
    accounts = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == number]
    people = [name for name, person in map(_user, accounts) if person]
    for name in group.gr_mem:
        try:
            person = _user(pwd.getpwnam(name).pw_uid)[1]
        except KeyError:
            # No such account now, but there may be one later.
            person = True
        if person and name not in people:
            people.append(name)
    return group.gr_name, people


def _entries(descriptor: int, group: int, mode: int) -> t.Iterator[tuple[str, int, int]]:
    """What others than the owner may do: kind (user, group), number, permission bits."""
    try:
        # Python has it on Linux only.
        raw = os.getxattr(descriptor, _ACL)
    except (AttributeError, OSError):
        raw = b""
    found = [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw) - 7, 8)]
    mask = next((bits for tag, bits, _number in found if tag == _MASK), 7)
    # With such a list, the mode's bits for the group are its mask.
    own = next((bits for tag, bits, _number in found if tag == _OWNING_GROUP), mode >> 3 & 7)
    yield "group", group, own & mask
    for tag, bits, number in found:
        if tag in (_NAMED_USER, _NAMED_GROUP):
            yield "user" if tag == _NAMED_USER else "group", number, bits & mask


def access(descriptor: int) -> Access:
    """Inspect an open file. Raises OSError."""
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    owner, person = _user(status.st_uid)
    entries = list(_entries(descriptor, status.st_gid, mode))
    readers, people, writers = [], [], []
    for kind, number, bits in entries:
        if kind == "user":
            name, is_person = _user(number)
            members = [name] if is_person else []
        else:
            name, members = _group(number)
        if bits & READ:
            readers.append(f"{kind} {name}")
            people += [member for member in members if member not in people]
        if bits & WRITE:
            writers.append(f"{kind} {name}")
    for bit, able in ((READ, readers), (WRITE, writers)):
        if mode & bit:
            able.append("everybody")
    return Access(owner, _group(status.st_gid)[0], mode, person, len(entries) > 1, readers, people, writers)
