# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who can read a file: real files, with accounts that are made up for the test."""

from __future__ import annotations

import grp
import os
import pwd
import struct

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import permissions as _permissions

ACCOUNTS = {"root": (0, 0), "www-data": (33, 33), "kopano": (112, 118), "alice": (1000, 100), "bob": (1001, 1001)}
GROUPS = {
    "root": (0, []),
    "www-data": (33, ["kopano"]),
    "users": (100, []),
    "ssl-cert": (117, ["www-data"]),
    "kopano": (118, []),
    "staff": (50, ["bob", "www-data", "gone"]),
    "bob": (1001, []),
}


@pytest.fixture(autouse=True)
def accounts(monkeypatch):
    users = [pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh")) for name, (uid, gid) in ACCOUNTS.items()] + [
        pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/", "/bin/false"))
    ]
    groups = [grp.struct_group((name, "x", gid, members)) for name, (gid, members) in GROUPS.items()]

    def by(entries, field):
        table = {getattr(entry, field): entry for entry in entries}
        return lambda key: table[key]

    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(pwd, "getpwuid", by(users, "pw_uid"))
    monkeypatch.setattr(pwd, "getpwnam", by(users, "pw_name"))
    monkeypatch.setattr(grp, "getgrgid", by(groups, "gr_gid"))


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Look at a file with this owner, group and mode, and with this access control list: (tag, bits, number)…"""

    def at(mode, uid=0, gid=0, acl=None):
        path = tmp_path / "key.pem"
        path.write_text("key")
        path.chmod(mode)
        status = os.stat_result((0o100000 | mode, 0, 0, 1, uid, gid, 3, 0, 0, 0))
        monkeypatch.setattr(os, "fstat", lambda _descriptor: status)
        packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in acl or ())

        def read(_descriptor, name):
            assert name == "system.posix_acl_access"
            if acl is None:
                raise OSError(61, "No data available")
            return packed

        monkeypatch.setattr(os, "getxattr", read, raising=False)
        with path.open() as stream:
            return _permissions.access(stream.fileno())

    return at


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "readers", "people", "writers"),
    [
        (0o600, 0, 0, [], [], []),
        (0o400, 0, 100, [], [], []),
        (0o640, 0, 0, ["group root"], [], []),
        (0o640, 0, 33, ["group www-data"], [], []),
        (0o640, 0, 118, ["group kopano"], [], []),
        # By their main group, by being listed, and by an account that is not there any more.
        (0o640, 0, 100, ["group users"], ["alice"], []),
        (0o640, 0, 50, ["group staff"], ["bob", "gone"], []),
        (0o660, 0, 118, ["group kopano"], [], ["group kopano"]),
        (0o640, 0, 4711, ["group gid 4711"], ["any user with this group"], []),
        (0o644, 0, 0, ["group root", "everybody"], [], []),
        (0o604, 0, 100, ["everybody"], [], []),
        (0o602, 0, 0, [], [], ["everybody"]),
        (0o611, 0, 100, [], [], []),
    ],
)
def test_modes(look, mode, uid, gid, readers, people, writers):
    found = look(mode, uid, gid)
    assert (found.mode, found.acl) == (mode, False)
    assert (found.readers, found.people, found.writers) == (readers, people, writers)


@pytest.mark.parametrize(
    ("uid", "owner", "person"),
    [(0, "root", False), (112, "kopano", False), (1000, "alice", True), (65534, "nobody", False), (99, "uid 99", True)],
)
def test_owners(look, uid, owner, person):
    found = look(0o600, uid)
    assert (found.owner, found.person) == (owner, person)


def test_an_access_control_list(look):
    """The group bits of the mode are its mask: they say nothing of the group, and the list may name people."""
    acl = [(1, 6, 0), (2, 4, 1000), (2, 4, 112), (4, 0, 0), (8, 6, 50), (16, 4, 0), (32, 0, 0)]
    found = look(0o640, acl=acl)
    assert found.readers == ["user alice", "user kopano", "group staff"]
    assert (found.people, found.writers, found.acl) == (["alice", "bob", "gone"], [], True)
    masked = look(0o600, acl=[(1, 6, 0), (2, 4, 1000), (4, 4, 0), (16, 0, 0), (32, 0, 0)])
    assert (masked.readers, masked.people) == ([], [])


def test_a_damaged_list_is_no_traceback(look):
    assert look(0o640, acl=[]).readers == ["group root"]


def test_a_real_list(tmp_path):
    """What the kernel keeps is what is read, where the file system keeps any."""
    path = tmp_path / "key.pem"
    path.write_text("key")
    path.chmod(0o600)
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 112), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no access control lists here: {error}")
    with path.open() as stream:
        found = _permissions.access(stream.fileno())
    assert (found.readers, found.people, found.acl) == (["user kopano"], [], True)
    assert found.mode == 0o640


@pytest.mark.parametrize(("text", "first"), [("UID_MIN\t\t 500\n", 500), ("#UID_MIN 7\nUID_MAX 9\n", 1000)])
def test_where_people_begin(monkeypatch, tmp_path, text, first):
    path = tmp_path / "login.defs"
    path.write_text(text)
    monkeypatch.setattr("builtins.open", lambda *_words, real=open, **options: real(path, **options))
    assert _permissions._first_person() == first
