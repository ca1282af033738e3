# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Which clients have used this host, by its own access logs of the last days.

A client is a user agent with an ActiveSync DeviceId or, where there is none, with an address. It is kept only as a hash
with a key of this call. No address, user name, URL or user agent is part of the result.

A client counts that has used the groupware: a successful response (2xx, 304) to a request with a user name, for
ActiveSync or kopano-ical, which have nothing without a login, or with another method than GET, HEAD and OPTIONS. The
page of the login, redirects and errors are not enough, as scanners get those, too. A login that fails with status 200
cannot be told from one that does not.

Clients decide what is in these lines. So everything that is kept, and the time, has a limit.
"""

from __future__ import annotations

import base64
import bz2
import collections
import datetime
import errno
import gzip
import hashlib
import itertools
import lzma
import os
import re
import secrets
import time
import typing as t
import zlib

from ansible_collections.kopano.hardening.plugins.module_utils._common.phrases import counted
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import user_agents as _user_agents

Suite = t.Tuple[str, str]  # protocol, and the suite as OpenSSL names it

DAYS = 14
NAMES_MAX = 10000  # entries of a directory that are listed; its owner decides how many there are
BLOCK = 1 << 18  # bytes that are read at once
# Three fields of 8190 bytes (Apache's LimitRequestLine and LimitRequestFieldSize), each byte at most written as \xhh.
LINE_MAX = 3 * 4 * 8192
MEMORY_MAX = 32 << 20  # bytes that xz may take; its presets need up to 9 MiB with -6, the default, and 65 with -9
AGENT_MAX = 256  # bytes of what is kept as it is: of a longer user agent its hash is kept, longer targets are not
RECENT_MAX = 16384  # clients whose hash is not made again
DAYS_MAX = 2 * DAYS * 1440  # minutes that are kept with their kind of day
KINDS_MAX = 2000  # targets that are kept with their kind
SUITES_MAX = 100  # pairs of protocol and suite of one user agent
CLOCK_SKEW = 3600  # seconds that a line may be from the future


class Limits(t.NamedTuple):
    """Where reading stops; what was counted until then is at least there."""

    seconds: float = 20
    clients: int = 100000
    agents: int = 20000


class Seen(t.NamedTuple):
    """So many clients that are alike. client: the id of the simulated one, or None where it is not known.

    suites: what the log of TLS has of their user agents, in order; None where these are not in it.
    """

    client: str | None
    suites: tuple[Suite, ...] | None
    number: int


class Reading:
    """What was read of some logs. first and last: times of lines of the last days, seconds since 1970, or None."""

    def __init__(self) -> None:
        self.files = 0
        self.lines = 0
        self.not_understood = 0
        self.outside = 0  # lines of other days
        self.first: int | None = None
        self.last: int | None = None
        self.not_read: list[str] = []  # each a path and the reason, or a limit

    def pass_over(self, day: str) -> None:
        """Count a line that is not of the last days, or that has no time."""
        if day == _OUTSIDE:
            self.outside += 1
        else:
            self.not_understood += 1

    @property
    def gaps(self) -> list[str]:
        """Why there may be more than was counted; empty if there is nothing else."""
        found = list(self.not_read)
        if self.not_understood:
            found.append(f"{self.not_understood} of {counted(self.lines, 'line')} not understood")
        return found


class Usage(t.NamedTuple):
    """The result; without tls_logs, tls is None."""

    clients: list[Seen]
    access: Reading
    tls: Reading | None

    @property
    def complete(self) -> bool:
        """Whether everything was read and understood; otherwise every count is one of at least."""
        return not self.access.gaps


def read(
    log_paths: t.Iterable[str],
    clients: t.Sequence[_user_agents.Client],
    now: float,
    tls_logs: t.Collection[str] = (),
    limits: Limits = Limits(),  # noqa: B008 - a constant
) -> Usage:
    """The clients in these logs, which are as the configuration names them; with those that were rotated.

    tls_logs: logs with lines C([28/Nov/2026:10:00:00 +0000] TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 "USER AGENT").
    """
    reader = _Reader(clients, now, limits)
    tls = reader.read(tls_logs, reader.tls_lines) if tls_logs else None
    access = reader.read(log_paths, reader.access_lines)
    return Usage(reader.seen(), access, tls)


# --- files -----------------------------------------------------------------------------------------------------------


def files(log_paths: t.Iterable[str], now: float) -> tuple[list[str], list[str]]:
    """The logs and those rotated beside them that have been written to in the last days, latest first, and the gaps.

    Rotated ones are named as logrotate does: C(.1), C(.2.gz), C(-20261101.gz).
    """
    found: dict[str, float] = {}
    log_paths = list(dict.fromkeys(log_paths))
    gaps = [] if log_paths else ["no log is known"]
    for path in log_paths:
        folder, base = os.path.split(path)
        name_of_one = re.compile(re.escape(base) + r"(?:[.-][0-9][0-9_-]{0,20}(?:\.[A-Za-z0-9]{1,5})?)?")
        try:
            with os.scandir(folder) as entries:
                listed = [entry.name for entry in itertools.islice(entries, NAMES_MAX + 1)]
            names = [name for name in listed if name_of_one.fullmatch(name)]
            if len(listed) > NAMES_MAX:
                gaps.append(f"{folder}: more than {NAMES_MAX} files, of which some were left out")
        except OSError as error:
            gaps.append(f"{folder}: {error.strerror}")
            continue
        if not names:
            gaps.append(f"{path}: {os.strerror(errno.ENOENT)}")
        for name in names:
            rotated = os.path.join(folder, name)
            try:
                written = os.stat(rotated).st_mtime
            except OSError as error:
                gaps.append(f"{rotated}: {error.strerror}")
                continue
            if written >= now - DAYS * 86400:
                found[rotated] = written
    return sorted(found, key=lambda name: -found[name]), gaps


# How files begin of Zstandard, LZ4, compress, zip and LZO, in this order.
_OTHER_COMPRESSIONS = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x1f\x9d", b"PK\x03\x04", b"\x89LZO")


_NOT_TO_ITS_END = "not decompressed to its end"


class _Damaged(Exception):
    """Compressed data cannot be read to its end; the text says why."""


def _blocks(stream: t.BinaryIO) -> t.Iterator[bytes]:
    """What is in a file, decompressed. Raises OSError, _Damaged."""
    try:
        yield from _decompressed(stream)
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _Damaged(f"{_NOT_TO_ITS_END}: {error}") from error


def _decompressed(stream: t.BinaryIO) -> t.Iterator[bytes]:
    start = stream.read(6)
    stream.seek(0)
    if start.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=stream) as unzipped:
            # read1() returns what there is before the place where it is damaged, read() does not.
            yield from iter(lambda: unzipped.read1(BLOCK), b"")
    elif start.startswith(b"BZh"):
        yield from _streams(stream, bz2.BZ2Decompressor)
    elif start == b"\xfd7zXZ\0":
        yield from _streams(stream, lambda: lzma.LZMADecompressor(memlimit=MEMORY_MAX))
    elif start.startswith(_OTHER_COMPRESSIONS):
        raise _Damaged("compressed in a way that Python's standard library does not read")
    else:
        yield from iter(lambda: stream.read(BLOCK), b"")


def _streams(stream: t.BinaryIO, new: t.Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> t.Iterator[bytes]:
    """One or more compressed streams, one after the other."""
    decoder, data = new(), stream.read(BLOCK)
    while data or not decoder.needs_input:
        yield decoder.decompress(data, BLOCK)
        data = b""
        if decoder.eof:
            data = decoder.unused_data or stream.read(BLOCK)
            if not data:
                return
            decoder = new()
        elif decoder.needs_input:
            data = stream.read(BLOCK)
    raise EOFError("it is cut off")


def _lines(blocks: t.Iterator[bytes]) -> t.Iterator[list[bytes]]:
    """Lines, some at a time. Of a line that is too long only a part that still is."""
    rest, is_skipping = b"", False
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if is_skipping and lines:
            del lines[0]
            is_skipping = False
        if is_skipping:
            rest = b""
        elif len(rest) > LINE_MAX:
            lines.append(rest)
            rest, is_skipping = b"", True
        yield lines
    if rest and not is_skipping:
        yield [rest]


# --- lines -----------------------------------------------------------------------------------------------------------

# Each part ends at a character that it cannot have, or there is one place only where the next can begin: the time of a
# match is that of the line's length.
_TIME = rb'\[([^ \]"]{17}):[0-6][0-9] ([+-][0-9]{4})\]'
_COMBINED = re.compile(
    rb'(?:[^ "]*:[0-9]+ )?([^ "-][^ "]*) - (-|[^"]*) '
    + _TIME
    + rb' "([^"?]*)(|\?[^"]*)" ([0-9]{3}) (?:[0-9]+|-) "[^"]*" "([^"]*)"(?: .*)?'
).fullmatch
# Protocols as OpenSSL names them (SSL_get_version(3)); C(-) is a request without TLS.
_NEGOTIATED = re.compile(
    _TIME + rb' (-|SSLv2|SSLv3|TLSv1|TLSv1\.1|TLSv1\.2|TLSv1\.3) (-|[A-Z0-9_-]{1,64}) "([^"]*)"'
).fullmatch
_PROTOCOLS = {name.encode(): name for name in ("SSLv2", "SSLv3", "TLSv1.1", "TLSv1.2", "TLSv1.3")}
_PROTOCOLS[b"TLSv1"] = "TLSv1.0"
_MINUTE = re.compile(
    rb"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2})([+-])([0-9]{2})([0-9]{2})"
).fullmatch
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
# No user agent, and this collection's own: the probes of a change, and the prober.
_NOT_CLIENTS = (b"", b"-", b"kopano.hardening", b"kopano-hardening")
_SUCCESS = frozenset([*(b"%d" % status for status in range(200, 300)), b"304"])

# Kinds of days.
_RECENT, _OUTSIDE, _NONE = "recent", "outside", "none"

# What a request with this method and path says of its client when it succeeds.
_ACTIVESYNC, _OF_USERS, _FOR_ALL = "activesync", "users", "all"
_OF_ICAL = (b"/ical/", b"/caldav/")  # kopano-ical responds 401 to those without a login (docs/frontend.md)


class _Agent:
    """A user agent: the simulated client that it maps to, what it negotiated, how many clients send it."""

    __slots__ = ("client", "clients", "suites")

    def __init__(self, client: str | None) -> None:
        self.client = client
        self.suites: set[Suite] = set()
        self.clients = 0


class _LimitReached(Exception):
    """The text says which."""


class _Reader:
    """Reads logs into counts."""

    def __init__(self, clients: t.Sequence[_user_agents.Client], now: float, limits: Limits) -> None:
        self._known = clients
        self._now = now
        self._first, self._last = now - DAYS * 86400, now + CLOCK_SKEW
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._key = secrets.token_bytes(32)
        self._agents: dict[bytes, _Agent] = {}
        self._hashes: set[bytes] = set()
        self._recent: set[tuple[bytes, bytes]] = set()
        self._days: dict[bytes, str] = {}
        self._kinds: dict[bytes, str] = {}

    def seen(self) -> list[Seen]:
        found: collections.Counter[tuple[str | None, tuple[Suite, ...] | None]] = collections.Counter()
        for agent in self._agents.values():
            if agent.clients:
                found[(agent.client, tuple(sorted(agent.suites)) or None)] += agent.clients
        order = sorted(found, key=lambda one: (one[0] or "", one[1] or ()))
        return [Seen(client, suites, found[(client, suites)]) for client, suites in order]

    def read(self, log_paths: t.Iterable[str], use: t.Callable[[list[bytes], Reading], None]) -> Reading:
        """Read logs as long as there is no limit. use: what becomes of their lines."""
        reading = Reading()
        self._days.clear()
        paths, reading.not_read = files(log_paths, self._now)
        done: set[tuple[int, int]] = set()
        for path in paths:
            try:
                with _regular.opened(path) as stream:
                    info = os.fstat(stream.fileno())
                    if (info.st_dev, info.st_ino) in done:
                        continue  # by another name, or rotated in between
                    done.add((info.st_dev, info.st_ino))
                    reading.files += 1
                    for lines in _lines(_blocks(stream)):
                        reading.lines += len(lines)
                        use(lines, reading)
                        self._check_time()
            except _LimitReached as reached:
                reading.not_read.append(f"{path}: {reached}; older ones were not read")
                break
            except OSError as error:
                # gzip and bz2 raise it for damaged data as well, without a number.
                reason = error.strerror or f"{_NOT_TO_ITS_END}: {error}"
                reading.not_read.append(f"{path}: {reason}")
            except _Damaged as error:
                reading.not_read.append(f"{path}: {error}")
        return reading

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _LimitReached(f"stopped after {self._limits.seconds:g} seconds")

    def access_lines(self, lines: list[bytes], reading: Reading) -> None:
        """Count the clients of lines in the format C(combined), behind a virtual host's name or not.

        After the user agent there may be more, as in Apache's C(combinedio) and in the format that nginx.org's packages
        come with.
        """
        days, kinds, recent = self._days, self._kinds, self._recent
        for line in lines:
            found = _COMBINED(_unescaped(line) if b"\\" in line else line) if len(line) <= LINE_MAX else None
            if not found:
                reading.not_understood += 1
                continue
            address, user, minute, zone, target, query, status, agent = found.groups()
            day = days.get(minute + zone) or self._day(minute + zone, reading)
            if day is not _RECENT:
                reading.pass_over(day)
                continue
            if status not in _SUCCESS or agent in _NOT_CLIENTS:
                continue
            kind = kinds.get(target) or self._kind(target)
            if kind is _FOR_ALL and user == b"-":
                continue
            who = (kind is _ACTIVESYNC and _device(query)) or address
            if (agent, who) not in recent:
                self._count(agent, who)

    def tls_lines(self, lines: list[bytes], reading: Reading) -> None:
        """Note what each user agent has negotiated."""
        for line in lines:
            found = _NEGOTIATED(_unescaped(line) if b"\\" in line else line) if len(line) <= LINE_MAX else None
            if not found:
                reading.not_understood += 1
                continue
            minute, zone, protocol, suite, agent = found.groups()
            day = self._day(minute + zone, reading)
            if day is not _RECENT:
                reading.pass_over(day)
                continue
            if protocol == b"-" or agent in _NOT_CLIENTS:
                continue
            suites = self._agent(agent).suites
            suites.add((_PROTOCOLS[protocol], suite.decode()))
            if len(suites) > SUITES_MAX:
                raise _LimitReached(f"stopped at {counted(SUITES_MAX, 'suite')} of a user agent")

    def _count(self, agent: bytes, who: bytes) -> None:
        # What a client sends comes in bursts, and a hash takes longer than all else.
        if len(self._recent) >= RECENT_MAX:
            self._recent.clear()
        if len(agent) + len(who) <= 2 * AGENT_MAX:
            self._recent.add((agent, who))
        client = hashlib.blake2b(b"%b\0%b" % (agent, who), key=self._key, digest_size=8).digest()
        if client not in self._hashes:
            if len(self._hashes) >= self._limits.clients:
                raise _LimitReached(f"stopped at {counted(self._limits.clients, 'client')}")
            self._hashes.add(client)
            self._agent(agent).clients += 1

    def _agent(self, agent: bytes) -> _Agent:
        name = agent if len(agent) <= AGENT_MAX else hashlib.blake2b(agent).digest()
        found = self._agents.get(name)
        if found is None:
            if len(self._agents) >= self._limits.agents:
                raise _LimitReached(f"stopped at {counted(self._limits.agents, 'user agent')}")
            self._check_time()  # a new one takes longer than a line, and a block has many
            client = _user_agents.client_of(agent.decode("utf-8", "replace"), self._known)
            found = self._agents[name] = _Agent(client.id if client else None)
        return found

    def _kind(self, target: bytes) -> str:
        """What the method and path of a request tell of its client."""
        kind = self._kinds.get(target)
        if kind is None:
            method, _space, path = target.lower().partition(b" ")
            if path.partition(b" ")[0].endswith(b"/microsoft-server-activesync"):
                kind = _ACTIVESYNC
            elif method in (b"get", b"head", b"options") and not path.startswith(_OF_ICAL):
                kind = _FOR_ALL
            else:
                kind = _OF_USERS
            if len(self._kinds) > KINDS_MAX:
                self._kinds.clear()
            if len(target) <= AGENT_MAX:
                self._kinds[target] = kind
        return kind

    def _day(self, minute: bytes, reading: Reading) -> str:
        """Which kind of day a minute is in. first and last of the reading follow."""
        day = self._days.get(minute)
        if day is None:
            start = _seconds(minute)
            if start is None:
                day = _NONE
            elif not self._first <= start <= self._last:
                day = _OUTSIDE
            else:
                day = _RECENT
                reading.first = min(start, start if reading.first is None else reading.first)
                reading.last = max(start, start if reading.last is None else reading.last)
            if len(self._days) > DAYS_MAX:
                self._days.clear()
            self._days[minute] = day
        return day


def _unescaped(line: bytes) -> bytes:
    """A line without quotes inside of its fields: Apache writes them behind a backslash, nginx as other codes."""
    return line.replace(b"\\\\", b"\1\1").replace(b'\\"', b"\1\2")


def _seconds(minute: bytes) -> int | None:
    """Seconds since 1970 of C(28/Nov/2026:10:00+0100); None where that is no time."""
    found = _MINUTE(minute)
    if not found:
        return None
    sign, month = found[6], _MONTHS.get(found[2])
    day, year, hour, minutes, zone_hours, zone_minutes = (int(found[group]) for group in (1, 3, 4, 5, 7, 8))
    zone = 3600 * zone_hours + 60 * zone_minutes
    try:
        start = datetime.datetime(year, month or 0, day, hour, minutes, tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    return int(start.timestamp()) + (zone if sign == b"-" else -zone)


def _device(query: bytes) -> bytes | None:
    """The DeviceId of an ActiveSync request; None for one without, such as the first OPTIONS.

    A query is plain (MS-ASHTTP, 2.2.1.1.1.2), or base64 of bytes (2.2.1.1.1.1): version, command, two of the language,
    then length and text of the DeviceId.
    """
    query = query[1:].partition(b" ")[0]
    value = (b"&" + query.lower()).partition(b"&deviceid=")[2].partition(b"&")[0]
    if value or b"=" in query.rstrip(b"="):
        return value or None
    try:
        data = base64.b64decode(query, validate=True)
    except ValueError:
        return None
    return data[5 : 5 + data[4]].lower() or None if len(data) > 5 else None
