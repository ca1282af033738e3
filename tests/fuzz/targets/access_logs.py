# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Access logs, whose lines clients write, and the files that they are rotated into."""

from __future__ import annotations

import bz2
import datetime
import gzip
import lzma
import os
import random
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import access_logs as _access_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import user_agents as _user_agents
from tests.fuzz import folders, mutations
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target

CLIENTS = _client_data.clients()
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC).timestamp()
TIME = "28/Nov/2026:10:00:00 +0000"
AGENTS = (
    "Apple-iPhone7C2/1402.100",
    "Android/4.1.2-EAS-2.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    'Quoted \\"1\\"',
)
SYNC = "POST /Microsoft-Server-ActiveSync?User=jane&DeviceId=A1&Cmd=Ping HTTP/1.1"
COMMON = f'192.0.2.1 - jane [{TIME}] "{SYNC}" 200 12'
VALID = f'2001:db8::1 - - [{TIME}] "POST /webapp/ HTTP/1.1" 200 - "-" "{AGENTS[3]}"'
LINES = (
    *(f'{COMMON} "-" "{agent}"' for agent in AGENTS),
    f'mail.test:443 {COMMON} "https://mail.test/" "{AGENTS[0]}"',
    f'{COMMON} "-" "{AGENTS[1]}" "203.0.113.7"',
    VALID,
    COMMON,
    f'192.0.2.1 - - [{TIME}] "\\x16\\x03\\x01" 400 150 "-" "-"',
)
TLS_LINES = tuple(f'[{TIME}] TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 "{agent}"' for agent in AGENTS)
_SUCCESS = re.compile(rb'" (?:2[0-9]{2}|304) ')
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


def _check(usage: _access_logs.Usage, succeeded: int) -> None:
    """There are no more clients than requests that succeeded, and no more lines without sense than lines."""
    assert sum(seen.number for seen in usage.clients) <= succeeded
    assert all(seen.number > 0 and seen.client in (None, *CLIENTS) for seen in usage.clients)
    for reading in filter(None, (usage.access, usage.tls)):
        assert 0 <= reading.not_understood + reading.outside <= reading.lines
        check_shown(*reading.gaps)


def _lines(source: random.Random, cases: t.Sequence[bytes]) -> bytes:
    """Damaged lines; or a long one that is like a line up to some place, which takes longest where that is late."""
    if source.random() < 0.9:
        return mutations.of_data(source, cases)
    line = mutations.swell(source, source.choice(source.choice(cases).split(b"\n")))
    return line[: max(len(line) - source.randrange(1, 100), 0)]


@target(
    "logs.lines",
    make=_lines,
    seeds=tuple("\n".join(some).encode() for some in (LINES, TLS_LINES, LINES[:1], TLS_LINES[:1])),
)
def lines(case: bytes) -> None:
    """A line counts whatever comes before it, and only if its request succeeded."""
    reader = _access_logs._Reader([*CLIENTS.values()], NOW, _access_logs.Limits())
    access, tls = _access_logs.Reading(), _access_logs.Reading()
    found = [*case.split(b"\n"), VALID.encode()]
    access.lines = tls.lines = len(found)
    reader.tls_lines(found, tls)
    reader.access_lines(found, access)
    usage = _access_logs.Usage(reader.seen(), access, tls)
    _check(usage, sum(bool(_SUCCESS.search(line)) for line in found))
    assert any((seen.client or "").startswith("firefox") for seen in usage.clients)
    assert tls.not_understood >= 1


TEXT = "\n".join(LINES).encode() + b"\n"


@target("logs.files", seeds=(TEXT, gzip.compress(TEXT, mtime=0), lzma.compress(TEXT), bz2.compress(TEXT)))
def files(case: bytes) -> None:
    """A file is read line by line to its end, or there is a reason why not."""
    path = os.path.join(folders.empty(), "access.log")
    with open(path, "wb") as stream:
        stream.write(case)
    os.utime(path, (NOW, NOW))
    usage = _access_logs.read([path], [*CLIENTS.values()], NOW, [path])
    assert usage.tls and usage.access.files == usage.tls.files == 1 and usage.access.lines == usage.tls.lines
    if case.startswith(_COMPRESSED):
        _check(usage, usage.access.lines)
    else:
        _check(usage, sum(bool(_SUCCESS.search(line)) for line in case.split(b"\n")))
        assert usage.access.not_read or usage.access.lines == case.count(b"\n") + (
            not case.endswith(b"\n") and case != b""
        )


@target("logs.user_agent", seeds=AGENTS, make=mutations.of_text)
def user_agent(case: str) -> None:
    """An agent is taken for a client only if it names a program, and that client is one of this program."""
    found, agent = _user_agents.client_of(case, [*CLIENTS.values()]), _user_agents.parse(case)
    if found:
        assert agent and _user_agents._SAME_NAMES.get(found.name, found.name) == agent.name
        assert len(case) <= _user_agents.LENGTH_MAX or _user_agents.parse(case[: _user_agents.LENGTH_MAX]) == agent
