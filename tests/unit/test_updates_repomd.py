# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of a repository's repomd.xml, and that a file of which nothing can be trusted is a problem, not a pass.

The file comes from a mirror, and not every repository's metadata is signed.
"""

from __future__ import annotations

import datetime
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import repomd as _repomd

NAMESPACES = 'xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'
PRIMARY = '<data type="primary"><location href="repodata/primary.xml.gz"/><timestamp>1767225600</timestamp></data>'
UPDATES = "<data\n  attr='1'\n  type='updateinfo'><timestamp> 1767312000.5 </timestamp></data>"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NESTED = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
SLACK = 60  # seconds; an entity of these that were expanded would take minutes


@pytest.fixture
def read(tmp_path):
    """A function that reads a repository with this repomd.xml."""

    def source(content):
        (tmp_path / "repomd.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return _repomd.source("base", str(tmp_path))

    return source


def day(number):
    return datetime.datetime(2026, 1, number, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("inside", "date", "security"),
    [
        (f"<revision>1</revision>{PRIMARY}{UPDATES}", day(2), True),
        (f"<revision>1767398400</revision>{PRIMARY}", day(1), False),
        ('<revision> 1767398400 </revision><data type="primary"/>', day(3), False),
        # What a comment says does not count, nor what has the same name at another place.
        (f"<!-- {UPDATES} -->{PRIMARY}<tags>{UPDATES}</tags>", day(1), False),
    ],
)
@pytest.mark.parametrize("namespaces", ["", NAMESPACES])
def test_the_newest_part_has_the_date(read, inside, date, security, namespaces):
    found = read(f"{HEAD}<repomd {namespaces}>{inside}</repomd>")
    assert found.problem == ""
    assert (found.date.replace(microsecond=0), found.security) == (date, security)


@pytest.mark.parametrize("time_of_it", ["", "<revision>12</revision>", "<revision>soon</revision>"])
def test_a_file_without_a_time_is_a_problem(read, time_of_it):
    found = read(f"<repomd>{time_of_it}<data type='updateinfo'/></repomd>")
    assert found.date is None and found.problem == "its repomd.xml does not have the time when it was made"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no element found"),
        (f"{HEAD}<repomd>{PRIMARY}{UPDATES}", "no element found"),
        (f"<repomd>{PRIMARY}</repomd><repomd/>", "junk after document element"),
        (f"<repomd>{PRIMARY}<data type='updateinfo></data></repomd>", "not well-formed"),
        (f"<html>{PRIMARY}{UPDATES}</html>", "it is html and not repomd"),
        (f"<{'h' * 1000}/>", "it is hhh"),
        (f"<repomd>{PRIMARY}</repomd>".encode("utf-16"), "codec can't decode"),
        (f"<repomd>{PRIMARY}<data type='\xe4'/></repomd>".encode("latin-1"), "codec can't decode"),
        (f"<repomd>{PRIMARY}&unknown;</repomd>", "undefined entity"),
        # Entities: of themselves, of a file of the host, and so many that no memory holds them.
        ("<!DOCTYPE repomd [<!ENTITY e 'x'>]><repomd>&e;</repomd>", "document type"),
        (
            f"<!DOCTYPE repomd [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><repomd>{PRIMARY}&e;</repomd>",
            "document type",
        ),
        (f"<!DOCTYPE repomd [<!ENTITY e0 'x'>{NESTED}]><repomd>{PRIMARY}&e9;</repomd>", "document type"),
        (f"<repomd>{PRIMARY}{UPDATES}{' ' * _repomd.MAX_SIZE}</repomd>", "it has more than 1048576 bytes"),
    ],
)
def test_what_cannot_be_trusted_is_a_problem(read, content, reason):
    began = time.monotonic()
    found = read(content)
    assert time.monotonic() - began < SLACK
    assert (found.date, found.security, found.absent) == (None, False, False)
    assert found.problem.startswith("its repomd.xml cannot be read: ") and reason in found.problem
    assert len(found.problem) < 300


def test_a_file_that_claims_another_encoding_is_read_as_what_it_is(read):
    """So nothing that UTF-8 does not show can be a document type."""
    assert read(f'<?xml version="1.0" encoding="UTF-7"?><repomd>{PRIMARY}</repomd>').date == day(1)


def test_many_levels_are_no_harm(read):
    depth = 100_000
    found = read(f"<repomd>{PRIMARY}{'<a>' * depth}{'</a>' * depth}</repomd>")
    assert found.date == day(1)
