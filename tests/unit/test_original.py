# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything is put back as it was before the first transaction, whatever came after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import original as _original
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    LINK,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Journal

MARKED = "server {\n    # kopano.hardening begin\n    include %s;\n    # kopano.hardening end\n    listen 443 ssl;\n}\n"
BARE = "server {\n    listen 443 ssl;\n}\n"


class Host:
    """A directory as the configuration, and a journal."""

    def __init__(self, folder: Path) -> None:
        self.conf = folder / "conf"
        self.conf.mkdir()
        (self.conf / "mail").write_text(BARE)
        (self.conf / "plain").write_text("plain\n")
        (self.conf / "packaged").symlink_to("plain")
        self.journal = Journal(str(folder / "state"))

    def commit(self, keep: int, restores: str | None = None, **states: State) -> None:
        changes = Changeset()
        for name, state in states.items():
            changes.add(str(self.conf / name.replace("__", "/")), state)
        self.put(changes, keep, restores)

    def put(self, changes: Changeset, keep: int, restores: str | None = None) -> None:
        pending = changes.pending()
        record = self.journal.begin("nginx", pending, restores=restores)
        _changeset.stage(pending, ".kopano-hardening-" + record.id, record.data["new_directories"])
        _changeset.apply(pending)
        _journal.clean_staging(record)
        record.save(_journal.COMMITTED)
        self.journal.prune(keep)

    def harden(self, option: str, keep: int = 5) -> None:
        self.commit(
            keep,
            mail=State(FILE, content=(MARKED % option).encode()),
            policy__tls=State(FILE, content=option.encode()),
            link=State(LINK, target="policy/tls"),
            packaged=State(ABSENT),
        )

    def restore(self) -> list[str]:
        states, said = _original.states(self.journal.records(), None)
        changes = Changeset()
        for path, state in states.items():
            changes.add(path, state)
        self.put(changes, 5, _journal.ORIGINAL)
        for record in self.journal.records():
            _journal.remove_new_directories(record)
        return said

    def tree(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.conf)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
            for path in self.conf.rglob("*")
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("times", [1, 2, 7])
def test_all_is_back_however_often_it_was_hardened_and_however_little_is_kept(host: Host, times: int) -> None:
    before = host.tree()
    for number in range(times):
        host.harden(f"option {number}", keep=1)
    assert host.tree() != before
    assert host.restore() == []
    assert host.tree() == before
    assert not (host.conf / "policy").exists()


def test_later_edits_of_the_administrator_stay(host: Host) -> None:
    host.harden("one")
    mail = host.conf / "mail"
    mail.write_text(mail.read_text() + "server {\n    listen 444 ssl;\n}\n")
    host.commit(5, mail=State(FILE, content=mail.read_text().replace("one", "two").encode()))
    (host.conf / "new").write_text("of the administrator\n")
    assert host.restore() == []
    assert mail.read_text() == BARE + "server {\n    listen 444 ssl;\n}\n"
    assert (host.conf / "new").exists()


def test_what_cannot_be_restored_is_reported(host: Host) -> None:
    host.commit(5, plain=State(FILE, content=b"ours\n"), policy__tls=State(FILE, content=b"ours\n"))
    (host.conf / "plain").write_text("the administrator's\n")
    (host.conf / "policy" / "tls").write_text("the administrator's\n")
    said = host.restore()
    assert (host.conf / "plain").read_text() == "the administrator's\n"
    assert not (host.conf / "policy").exists()
    assert [line.split(" ")[0] for line in said] == [str(host.conf / "plain"), str(host.conf / "policy" / "tls")]
    assert "stays as it is" in said[0]


def test_what_was_restored_once_is_the_start_of_the_next_time(host: Host) -> None:
    host.harden("one")
    assert host.restore() == []
    (host.conf / "plain").write_text("changed in between\n")
    before = host.tree()
    host.commit(1, plain=State(FILE, content=b"ours\n"))
    host.harden("two", keep=1)
    assert host.restore() == []
    assert host.tree() == before


def test_what_is_kept_for_the_original_alone_is_bounded(host: Host) -> None:
    for number in range(20):
        host.harden(f"option {number}", keep=2)
    records = host.journal.records()
    assert [record.data.get("original_only", False) for record in records] == [True, False, False]
