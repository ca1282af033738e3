# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which clients the access logs have: made-up lines, damaged files, any bytes, and the logs of real servers."""

from __future__ import annotations

import bz2
import datetime
import gzip
import http.client
import lzma
import os
import re
import ssl
import subprocess
import sys
import textwrap
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as _tls_http
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import access_logs as _access_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.access_logs import Limits, Seen

from . import web_bed
from .conftest import CHECKOUT
from .test_user_agents import CLIENTS

pytestmark = pytest.mark.slow

UTC = datetime.timezone.utc  # noqa: UP017 - as the code under test has it
NOW = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=UTC).timestamp()

IPHONE = "Apple-iPhone7C2/1402.100"
ANDROID = "Android/4.1.2-EAS-2.0"
OUTLOOK = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NINE = "Nine-0123/4.9.4b"
SYNC = "/Microsoft-Server-ActiveSync?User=jane&DeviceId=%s&DeviceType=iPhone&Cmd=Ping"


def stamp(seconds: float = NOW - 3600) -> str:
    return datetime.datetime.fromtimestamp(seconds, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def line(
    agent: str = FIREFOX,
    address: str = "192.0.2.1",
    request: str = "POST /webapp/kopano.php HTTP/1.1",
    status: int = 200,
    *,
    user: str = "-",
    at: str | None = None,
    host: str = "",
    more: str = "",
) -> str:
    head = f"{host}{address} - {user} [{at or stamp()}]"
    return f'{head} "{request}" {status} 1234 "https://mail.example/webapp/" "{agent}"{more}\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def write(path: Path, data: str | bytes, age: float = 0) -> Path:
    """A file, written to so many days before NOW."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    os.utime(path, (NOW - age * 86400,) * 2)
    return path


def read(*paths: Path, tls_log: Path | None = None, now: float = NOW, **limits: t.Any) -> _access_logs.Usage:
    return _access_logs.read(map(str, paths), CLIENTS, now, [str(tls_log)] if tls_log else [], Limits(**limits))


def numbers(usage: _access_logs.Usage) -> dict[str | None, int]:
    """How many clients there are of each kind, whatever they negotiate."""
    found: dict[str | None, int] = {}
    for seen in usage.clients:
        found[seen.client] = found.get(seen.client, 0) + seen.number
    return found


# --- what counts -----------------------------------------------------------------------------------------------------


def test_clients_are_counted_by_agent_and_device_or_address(log: Path) -> None:
    lines = [
        line(IPHONE, "192.0.2.1", f"POST {SYNC % 'A1'} HTTP/1.1"),
        line(IPHONE, "192.0.2.99", f"POST {SYNC % 'a1'} HTTP/1.1"),  # the same device elsewhere
        line(IPHONE, "192.0.2.1", f"POST {SYNC % 'B2'} HTTP/1.1"),  # another one behind the same address
        line(FIREFOX, "192.0.2.1"),
        line(FIREFOX, "192.0.2.1", "POST /webapp/kopano.php?other HTTP/1.1"),
        line(FIREFOX, "2001:db8::1"),
        line(NINE, "192.0.2.1", f"POST {SYNC % 'A1'} HTTP/1.1"),
    ]
    usage = read(write(log, "".join(lines)))
    assert usage.clients == [
        Seen(None, None, 1),
        Seen("firefox-100-win-10", None, 2),
        Seen("safari-10-ios-10", None, 2),
    ]
    assert usage.complete
    access = usage.access
    assert (access.files, access.lines, access.outside, access.not_understood) == (1, 7, 0, 0)
    assert access.first == access.last == NOW - 3600


def test_no_log_gives_more_than_numbers(log: Path) -> None:
    request = f"POST {SYNC % 'SECRETDEVICE'} HTTP/1.1"
    lines = line("SecretAgent/1.0", "203.0.113.77", request, user="secretuser", host="secret.example:443 ")
    usage = read(write(log, lines))
    assert numbers(usage) == {None: 1}
    text = repr(usage) + repr(vars(usage.access))
    for secret in ("secret", "SECRET", "Secret", "203.0.113.77", "ActiveSync"):
        assert secret not in text


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (line(), True),
        (line(status=204), True),
        (line(status=304), True),
        (line(request="PROPFIND /kdav/ HTTP/1.1", status=207), True),
        (line(request="GET /kdav/ HTTP/1.1", user="jane"), True),
        (line(request="GET /webapp/ HTTP/1.1", user="Jane [x] Doe"), True),
        (line(request="GET /ical/jane HTTP/1.1"), True),
        (line(request="GET /microsoft-server-activesync?Cmd=x HTTP/1.1"), True),
        (line(request="OPTIONS /Microsoft-Server-ActiveSync HTTP/1.1"), True),
        (line(request="GET /webapp/ HTTP/1.1"), False),  # the page of the login
        (line(request="GET /?DeviceId=A1 HTTP/1.1"), False),
        (line(request="GET /x?/Microsoft-Server-ActiveSync HTTP/1.1"), False),
        (line(request="HEAD / HTTP/1.1"), False),
        (line(request="OPTIONS /kdav/ HTTP/1.1"), False),
        (line(status=401), False),
        (line(status=302), False),
        (line(status=404, user="jane"), False),
        (line(status=500), False),
        (line(agent=""), False),
        (line(agent="-"), False),
        (line(request="-", status=408), False),
        (line(request=r"\x16\x03\x01\x02", status=400), False),
    ],
)
def test_a_client_counts_that_has_used_the_groupware(log: Path, text: str, counts: bool) -> None:
    usage = read(write(log, text))
    assert sum(numbers(usage).values()) == counts
    assert usage.complete


def test_a_query_of_bytes_has_a_device_id(log: Path) -> None:
    """The first one is the example of MS-ASHTTP, 2.2.1.1.1.1; the second has another command and the same device."""
    queries = [
        "jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l",
        "jAEJBAp2MTQwRGV2aWNlAApTbWFydFBob25l",
        "jAEJBAR4MTQwAA==",
        "x",
        "",
    ]
    lines = (
        line(ANDROID, f"192.0.2.{index}", f"POST /Microsoft-Server-ActiveSync?{query} HTTP/1.1")
        for index, query in enumerate(queries)
    )
    assert numbers(read(write(log, "".join(lines)))) == {"android-4.1.1": 4}
    assert _access_logs._device(b"?" + queries[0].encode() + b" HTTP/1.1") == b"v140device"


@pytest.mark.parametrize(
    "text",
    [
        line(host="mail.example.com:443 "),
        line(host="mail.example.com:443 ", user="jane doe"),
        line(host="mail.example.com:443 ", address="2001:db8::1"),
        line(address="client.example.net"),
        line(more=" 512 2048"),  # Apache's combinedio
        line(more=' "203.0.113.5"'),  # nginx.org's packages
        line().replace(" 1234 ", " - "),
        line().replace("https://mail.example/webapp/", "-"),
        line().replace("https://mail.example/webapp/", r"a \"quoted\\\" one"),
        line().replace("https://mail.example/webapp/", r"a \x22quoted\x22 one"),
    ],
)
def test_formats(log: Path, text: str) -> None:
    usage = read(write(log, text))
    assert numbers(usage) == {"firefox-100-win-10": 1}
    assert usage.complete


def test_an_address_with_colons_is_no_virtual_host(log: Path) -> None:
    lines = (
        line(address="2001:db8::1") + line(address="2001:db8::2") + line(address="2001:db8::2", host="a.example:80 ")
    )
    assert numbers(read(write(log, lines))) == {"firefox-100-win-10": 2}


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "garbage\n",
        '192.0.2.1 - - [28/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5\n',  # common
        line().replace("28/Nov", "31/Nov"),
        line().replace("/Nov/", "/Nob/"),
        line().replace(":00 +0000", ":99 +0000"),
        line().replace("+0000", "+00:00"),
        line().replace(" 200 ", " OK "),
        line().replace(" 1234 ", " "),
        line().replace('"https', "https"),
        line().replace("] ", "]"),
        line(more="x"),
        line()[:-2] + "\n",
        "2026-11-28T10:00:00Z " + line(),
        '{"time": "2026-11-28T10:00:00Z", "agent": "' + FIREFOX + '"}\n',
    ],
)
def test_other_lines_are_counted_as_not_understood(log: Path, text: str) -> None:
    usage = read(write(log, text + line()))
    assert numbers(usage) == {"firefox-100-win-10": 1}
    assert (usage.access.lines, usage.access.not_understood) == (2, 1)
    assert not usage.complete
    assert usage.access.gaps == ["1 of 2 lines not understood"]


def test_a_log_of_another_format_is_not_empty_but_unknown(log: Path) -> None:
    usage = read(write(log, "192.0.2.1 - - [x] nothing\n" * 3))
    assert usage.clients == []
    assert usage.access.gaps == ["3 of 3 lines not understood"]


# --- days ------------------------------------------------------------------------------------------------------------


def test_the_lines_own_dates_decide(log: Path) -> None:
    day = 86400
    lines = [
        line(address="192.0.2.1", at=stamp(NOW - 14 * day + 60)),
        line(address="192.0.2.2", at=stamp(NOW - 14 * day - 60)),
        line(address="192.0.2.3", at=stamp(NOW - 40 * day)),
        line(address="192.0.2.4", at=stamp(NOW + day)),
        line(address="192.0.2.5", at="28/Nov/2026:14:00:00 +0200"),  # NOW
        line(address="192.0.2.6", at="14/Nov/2026:13:00:00 +0200"),  # an hour too early
        line(address="192.0.2.7", at="14/Nov/2026:11:00:00 -0200"),
    ]
    usage = read(write(log, "".join(lines)))
    assert numbers(usage) == {"firefox-100-win-10": 3}
    assert usage.access.outside == 4
    assert (usage.access.first, usage.access.last) == (NOW - 14 * day + 60, NOW)


def test_rotated_files_are_read_and_others_are_not(log: Path) -> None:
    def one(number: int) -> bytes:
        return line(address=f"192.0.2.{number}").encode()

    write(log, one(1))
    write(log.with_name("access.log.1"), one(2), age=1)
    write(log.with_name("access.log.2.gz"), gzip.compress(one(3)) + gzip.compress(one(4)), age=2)
    write(log.with_name("access.log.3.xz"), lzma.compress(one(5)) + lzma.compress(one(6)), age=3)
    write(log.with_name("access.log.4.bz2"), bz2.compress(one(7)) + bz2.compress(one(8)), age=4)
    write(log.with_name("access.log-20261120.gz"), gzip.compress(one(9)), age=5)
    write(log.with_name("access.log-20261119"), one(10), age=6)
    write(log.with_name("access.log.9.gz"), gzip.compress(one(11)), age=15)  # too old to be opened
    for name in ("access.log.bak", "access.log.1~", "error.log", "old-access.log", "access.log.1.swp.x"):
        write(log.with_name(name), one(12))
    usage = read(log)
    assert numbers(usage) == {"firefox-100-win-10": 10}
    assert usage.complete
    assert usage.access.files == 7


def test_the_latest_file_is_first_and_each_is_read_once(log: Path) -> None:
    write(log, line())
    write(log.with_name("access.log.1"), line(), age=3)
    write(log.with_name("access.log.2"), line(), age=2)
    os.symlink(log, log.with_name("linked.log"))
    os.link(log, log.with_name("access.log.7"))
    paths, gaps = _access_logs.files([str(log), str(log)], NOW)
    assert [path.rpartition("/")[2] for path in paths][-2:] == ["access.log.2", "access.log.1"]
    assert gaps == []
    usage = read(log, log.with_name("linked.log"))
    assert (usage.access.files, usage.access.lines) == (3, 3)


def test_large_compressed_files_are_read_to_their_end(log: Path) -> None:
    data = "".join(line(address=f"192.0.{index // 250}.{index % 250}") for index in range(5000)).encode()
    for compress, suffix in ((gzip.compress, "gz"), (lzma.compress, "xz"), (bz2.compress, "bz2")):
        path = write(log.with_name(f"{suffix}.log"), compress(data))
        usage = read(path)
        assert numbers(usage) == {"firefox-100-win-10": 5000}
        assert usage.complete


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("compress", "suffix"), [(gzip.compress, "gz"), (lzma.compress, "xz"), (bz2.compress, "bz2")])
def test_a_cut_file_is_counted_up_to_there(log: Path, compress: t.Callable[[bytes], bytes], suffix: str) -> None:
    lines = "".join(line(address=f"10.{n % 256}.{n * 7 % 256}.{n % 251}", at=stamp(NOW - n)) for n in range(20000))
    whole = compress(lines.encode())
    write(log, line())
    rotated = write(log.with_name(f"access.log.1.{suffix}"), whole[: len(whole) * 3 // 4])
    usage = read(log)
    (reason,) = usage.access.not_read
    assert reason.startswith(f"{rotated}: not decompressed to its end: ")
    assert re.search(r"ended before|is cut off", reason)
    assert not usage.complete
    number = numbers(usage)["firefox-100-win-10"]
    assert 5000 < number < 20000
    assert usage.access.not_understood <= 1  # the last line


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_a_damaged_file_is_no_exception(log: Path, suffix: str) -> None:
    whole = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[suffix](line().encode() * 1000)
    damaged = bytearray(whole)
    for place in range(12, len(damaged), 7):
        damaged[place] ^= 0xFF
    write(log, line())
    rotated = write(log.with_name(f"access.log.1.{suffix}"), bytes(damaged))
    usage = read(log)
    (reason,) = usage.access.not_read
    assert re.fullmatch(re.escape(str(rotated)) + r": not decompressed to its end: \S.*", reason)
    assert numbers(usage) == {"firefox-100-win-10": 1}


def test_xz_gets_no_more_memory_than_a_limit(log: Path) -> None:
    preset = {"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}
    write(log, line())
    write(log.with_name("access.log.1.xz"), lzma.compress(line().encode(), filters=[preset]))
    usage = read(log)
    assert "Memory usage limit" in usage.access.not_read[0]
    assert not usage.complete


def test_another_compression_is_named(log: Path) -> None:
    write(log, line())
    rotated = write(log.with_name("access.log.1.zst"), b"\x28\xb5\x2f\xfd" + bytes(50))
    assert read(log).access.not_read == [f"{rotated}: compressed in a way that Python's standard library does not read"]


def test_only_regular_files_are_opened(log: Path) -> None:
    write(log, line())
    os.mkfifo(log.with_name("access.log.1"))
    log.with_name("access.log.2").mkdir()
    os.symlink("/dev/zero", log.with_name("access.log.3"))
    os.symlink("nowhere", log.with_name("access.log.4"))
    for name in ("access.log.1", "access.log.2"):
        os.utime(log.with_name(name), (NOW, NOW))
    usage = _access_logs.read([str(log)], CLIENTS, NOW)
    assert numbers(usage) == {"firefox-100-win-10": 1}
    reasons = sorted(reason.removeprefix(f"{log}.") for reason in usage.access.not_read)
    assert reasons[0] == "1: not a regular file"
    assert reasons[1] == "2: Is a directory"
    assert any(reason.startswith("4: No such file") for reason in reasons)


def test_a_link_that_others_can_have_made_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    secret = write(tmp_path / "other", line())
    os.symlink(secret, folder / "access.log")
    folder.chmod(0o777)
    usage = read(folder / "access.log")
    assert usage.clients == []
    assert "symbolic link" in usage.access.not_read[0]
    folder.chmod(0o755)
    assert numbers(read(folder / "access.log")) == {"firefox-100-win-10": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission(log: Path) -> None:
    write(log, line()).chmod(0)
    assert read(log).access.not_read == [f"{log}: Permission denied"]


def test_a_log_that_is_not_there_is_a_gap(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "access.log", "access.log"), (tmp_path / "gone" / "access.log", "gone")):
        usage = read(path)
        assert usage.access.not_read == [f"{tmp_path / reason}: No such file or directory"]
        assert not usage.complete


def test_without_a_log_nothing_is_known() -> None:
    usage = read()
    assert (usage.clients, usage.access.gaps, usage.complete) == ([], ["no log is known"], False)


def test_long_lines(log: Path) -> None:
    """Of a line that is too long nothing counts, and the next one does, wherever the blocks end."""
    long = line(agent="x" * (1 << 20))
    lines = line(address="192.0.2.1") + long + line(address="192.0.2.2") + long * 2 + line(address="192.0.2.3")
    usage = read(write(log, lines))
    assert numbers(usage) == {"firefox-100-win-10": 3}
    assert (usage.access.lines, usage.access.not_understood) == (6, 3)
    usage = read(write(log, line() + "y" * (3 << 20)))
    assert (numbers(usage), usage.access.not_understood) == ({"firefox-100-win-10": 1}, 1)
    almost = line(agent="Firefox/140.0 " + "x" * (_access_logs.LINE_MAX - 200))
    usage = read(write(log, almost * 9))
    assert (numbers(usage), usage.complete) == ({"firefox-100-win-10": 1}, True)


def test_long_agents_are_told_apart(log: Path) -> None:
    agents = [FIREFOX + "x" * 5000 + end for end in "aab"]
    assert numbers(read(write(log, "".join(map(line, agents))))) == {"firefox-100-win-10": 2}


def test_a_last_line_without_an_end_counts(log: Path) -> None:
    assert numbers(read(write(log, line().rstrip("\n")))) == {"firefox-100-win-10": 1}


# --- limits ----------------------------------------------------------------------------------------------------------


def test_too_many_clients(log: Path) -> None:
    lines = "".join(line(address=f"192.0.2.{number}") * 2 for number in range(20))
    write(log.with_name("access.log.1"), line(IPHONE), age=1)
    usage = read(write(log, lines), clients=10)
    assert numbers(usage) == {"firefox-100-win-10": 10}
    assert usage.access.not_read == [f"{log}: stopped at 10 clients; older ones were not read"]
    assert not usage.complete
    assert read(log, clients=21).complete


def test_too_many_agents(log: Path) -> None:
    usage = read(write(log, "".join(line(f"Agent/{number}") for number in range(20))), agents=10)
    assert numbers(usage) == {None: 10}
    assert usage.access.not_read == [f"{log}: stopped at 10 user agents; older ones were not read"]


def test_too_much_time(log: Path) -> None:
    write(log.with_name("access.log.1"), line(), age=1)
    usage = read(write(log, line()), seconds=-1)
    assert usage.access.not_read == [f"{log}: stopped after -1 seconds; older ones were not read"]
    assert not usage.complete and not usage.clients  # it stops within a block, too


def test_a_large_log_takes_little_time_and_memory(log: Path) -> None:
    """100,000 lines with many long agents and targets, within limits that do for a busy machine as well."""
    with log.open("w") as stream:
        for number in range(100000):
            target = f"/{number:x}" + "t" * (number % 200)
            stream.write(line(f"Agent/{number % 15001}" + "a" * 250, f"10.0.{number % 3}.1", f"POST {target} HTTP/1.1"))
    code = f"""
        import resource, time
        import tests.unit.conftest
        from ansible_collections.kopano.hardening.plugins.module_utils._webserver import access_logs
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        usage = access_logs.read([{str(log)!r}], [], {NOW!r}, limits=access_logs.Limits(seconds=600))
        number = sum(seen.number for seen in usage.clients)
        took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(number, usage.complete, time.process_time() - started, took)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    number, complete, seconds, kibibytes = done.stdout.split()
    assert (number, complete) == ("45003", "True")
    assert float(seconds) < 10
    assert int(kibibytes) < 60 * 1024


# --- the log of TLS --------------------------------------------------------------------------------------------------

OLD, NEW = ("TLSv1.0", "ECDHE-RSA-AES128-SHA"), ("TLSv1.3", "TLS_AES_256_GCM_SHA384")


def tls_line(agent: str, protocol: str, suite: str, at: str | None = None) -> str:
    return f'[{at or stamp()}] {protocol} {suite} "{agent}"\n'


def test_clients_are_split_by_what_their_agents_negotiate(log: Path, tmp_path: Path) -> None:
    tls = "".join(
        [
            tls_line(ANDROID, "TLSv1", OLD[1]),
            tls_line(ANDROID, "TLSv1", OLD[1]),
            tls_line(FIREFOX, *NEW),
            tls_line(FIREFOX, "TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"),
            tls_line(IPHONE, *NEW, at=stamp(NOW - 20 * 86400)),
            tls_line(NINE, "-", "-"),
            tls_line("Other/1", *NEW),
        ]
    )
    lines = [
        line(ANDROID, "192.0.2.1"),
        line(ANDROID, "192.0.2.2"),
        line("Android/4.1.1-EAS-2.0"),
        *(line(agent) for agent in (FIREFOX, IPHONE, NINE)),
    ]
    usage = read(write(log, "".join(lines)), tls_log=write(tmp_path / "tls.log", tls))
    assert usage.clients == [
        Seen(None, None, 1),
        Seen("android-4.1.1", None, 1),
        Seen("android-4.1.1", (OLD,), 2),
        Seen("firefox-100-win-10", (("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"), NEW), 1),
        Seen("safari-10-ios-10", None, 1),
    ]
    assert usage.tls
    assert (usage.tls.lines, usage.tls.outside, usage.tls.gaps) == (7, 1, [])


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        line(),
        tls_line(FIREFOX, "TLSv9", "AES"),
        tls_line(FIREFOX, "TLSv1.2", "aes"),
        tls_line(FIREFOX, "TLSv1.2", "A" * 65),
        tls_line('a"b', *NEW),
        tls_line(FIREFOX, *NEW).replace("28/Nov", "31/Nov"),
        tls_line("x" * (1 << 20), *NEW),
    ],
)
def test_other_lines_of_the_tls_log_are_not_understood(log: Path, tmp_path: Path, text: str) -> None:
    usage = read(write(log, line()), tls_log=write(tmp_path / "tls.log", text + tls_line(FIREFOX, *NEW)))
    assert usage.clients == [Seen("firefox-100-win-10", (NEW,), 1)]
    assert usage.tls
    assert usage.tls.gaps == ["1 of 2 lines not understood"]
    assert usage.complete  # of the clients there is none missing


def test_a_tls_log_that_is_not_there_is_a_gap_of_its_own(log: Path, tmp_path: Path) -> None:
    usage = read(write(log, line()), tls_log=tmp_path / "tls.log")
    assert usage.tls
    assert usage.tls.gaps == [f"{tmp_path / 'tls.log'}: No such file or directory"]
    assert (usage.access.gaps, numbers(usage)) == ([], {"firefox-100-win-10": 1})


# --- any bytes -------------------------------------------------------------------------------------------------------

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = [line(address=f"192.0.2.{number}").encode() for number in range(1, 5)]
noise = st.binary(max_size=300).map(lambda data: data.replace(b"\n", b"") + b"\n")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid line with some bytes replaced, removed or repeated."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _count in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 9))] = draw(
            st.one_of(st.binary(max_size=5), st.sampled_from([b'"', b"\\", b'\\"', b" ", b" - ", b"[", b"]", b"\0"]))
        )
    return bytes(data).replace(b"\n", b"") + b"\n"


@ANY
@given(st.lists(noise, max_size=6), st.binary(max_size=50))
def test_valid_lines_between_any_bytes_are_counted(log: Path, parts: list[bytes], end: bytes) -> None:
    lines = b"".join(good + part for good, part in zip(GOOD, [*parts, b"", b"", b"", b""], strict=False))
    usage = read(write(log, b"\n" + lines + b"".join(parts[4:]) + end.replace(b"\n", b"")))
    assert numbers(usage) == {"firefox-100-win-10": 4}
    assert usage.access.not_understood == usage.access.lines - 4
    assert not usage.complete


@ANY
@given(st.lists(mutated(), min_size=1, max_size=5))
def test_mutated_lines_hide_no_valid_one(log: Path, parts: list[bytes]) -> None:
    usage = read(write(log, GOOD[0] + b"".join(parts) + GOOD[1]))
    assert usage.access.lines == len(parts) + 2
    number = sum(numbers(usage).values())
    assert 2 <= number <= 2 + len(parts)
    assert usage.access.lines - usage.access.not_understood >= number


@ANY
@given(
    st.binary(max_size=2000),
    st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", gzip.compress(GOOD[0])[:-9]]),
)
def test_any_file(log: Path, data: bytes, start: bytes) -> None:
    usage = read(write(log, start + data), tls_log=log)
    assert usage.clients == [] or usage.access.lines
    assert usage.access.lines >= usage.access.not_understood


LONG = 64 << 10
PIECES = ("a:1", "1", "- ", " [", "[28/Nov/2026:10:00", ' "', '"?', "?", "a?", "\\", '\\"', "a - ", '" 200 ')


@pytest.mark.parametrize("piece", PIECES)
def test_no_line_takes_long(log: Path, piece: str) -> None:
    """A second for each MiB, whatever a line is, and wherever it ceases to be one."""
    text = (piece * LONG)[:LONG]
    valid, of_tls = line().rstrip("\n"), tls_line(FIREFOX, "TLSv1.2", "A").rstrip("\n")
    ends = [*re.finditer(r'$|(?<=[ \["])', valid)]
    lines = [text, *(valid[: end.start()] + text for end in ends), *(f"{text}{valid[end.start() :]}" for end in ends)]
    lines += [valid[: end.start()] + text + valid[end.start() :] for end in ends]
    lines += [of_tls[: end.start()] + text + rest for end in re.finditer(" |$", of_tls) for rest in ("", '"')]
    write(log, "\n".join(lines))
    started = time.process_time()
    usage = read(log, tls_log=log)
    assert usage.tls and usage.access.lines == usage.tls.lines == len(lines)
    assert time.process_time() - started < 2 * len(lines) * LONG / (1 << 20)


@pytest.mark.parametrize(
    "agent",
    [
        "(Macintosh;" * 13 + " OS X 10_15_7" * 15 + " Version/26 " * 10,
        "(Macintosh; OS X " + "1" * 230 + " Version/" + "1" * 230,
        "(iPhone" * 39 + " OS 1" * 40,
        "Android " + "1" * 490,
    ],
)
def test_no_user_agent_takes_long(log: Path, agent: str) -> None:
    """As above, where each line has another one."""
    size = write(log, "".join(line(agent + str(number)) for number in range(2000))).stat().st_size
    started = time.process_time()
    usage = read(log)
    assert usage.complete and sum(numbers(usage).values()) == 2000
    assert time.process_time() - started < 1.5 * size / (1 << 20)


# --- real servers ----------------------------------------------------------------------------------------------------

AGENTS = [(IPHONE, "A1"), (IPHONE, "B2"), (ANDROID, "C3"), (OUTLOOK, None), (FIREFOX, None), ('Quoted "1" \\ é', None)]


def nginx_configuration(folder: Path, port: int) -> str:
    certificate, key = web_bed.make_certificate(folder)
    return f"""
        {web_bed.nginx_head(folder)}
        http {{
            {web_bed.nginx_http(folder)}
            log_format tls '[$time_local] $ssl_protocol $ssl_cipher "$http_user_agent"';
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2;
                access_log {folder}/access.log combined;
                access_log {folder}/tls.log tls;
                location / {{ return 200 "x"; }}
                location /gone {{ return 404; }}
            }}
        }}
    """


def apache_configuration(folder: Path, port: int) -> str:
    certificate, key = web_bed.make_certificate(folder)
    return f"""
        {web_bed.apache_head(folder, "ssl", "alias")}
        Listen 127.0.0.1:{port}
        LogFormat "%v:%p %h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" vhost_combined
        LogFormat "%t %{{SSL_PROTOCOL}}x %{{SSL_CIPHER}}x \\"%{{User-Agent}}i\\"" tls
        CustomLog {folder}/access.log vhost_combined
        CustomLog {folder}/tls.log tls
        SSLEngine on
        SSLProtocol -all +TLSv1.2
        SSLCertificateFile {certificate}
        SSLCertificateKeyFile {key}
        RedirectMatch 404 ^/gone
        RedirectMatch 204 ^/(webapp|Microsoft-Server-ActiveSync)
    """


@pytest.mark.slow
@pytest.mark.parametrize(
    ("server", "configuration"),
    [
        pytest.param("apache", apache_configuration, marks=web_bed.needs_apache),
        pytest.param("nginx", nginx_configuration, marks=web_bed.needs_nginx),
    ],
)
def test_the_logs_of_a_server(tmp_path: Path, server: str, configuration: t.Callable[[Path, int], str]) -> None:
    (port,) = web_bed.free_ports()
    text = textwrap.dedent(configuration(tmp_path, port))
    (tmp_path / f"{server}.conf").write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with web_bed.running(server, tmp_path, port):
        for agent, device in [*AGENTS, *AGENTS]:
            target = SYNC % device if device else "/webapp"
            for method, path in (("POST", target), ("GET", "/gone")):
                connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
                connection.request(method, path, headers={"User-Agent": agent.encode()})
                response = connection.getresponse()
                response.read()
                assert response.status in ((200, 204) if method == "POST" else (404,))
                connection.close()
        # A scanner gets pages, too.
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
        connection.request("GET", "/webapp", headers={"User-Agent": "Scanner/1.0"})
        assert connection.getresponse().status in (200, 204)
        connection.close()
    usage = read(tmp_path / "access.log", tls_log=tmp_path / "tls.log", now=time.time())
    assert usage.access.gaps == []
    assert usage.tls and usage.tls.gaps == []
    assert (usage.access.lines, usage.tls.lines) == (25, 25)
    assert numbers(usage) == {
        None: 1,
        "android-4.1.1": 1,
        "firefox-100-win-10": 1,
        "outlook-2016-win-10": 1,
        "safari-10-ios-10": 2,
    }
    suites = {seen.suites for seen in usage.clients}
    assert len(suites) == 1
    ((protocol, suite),) = suites.pop() or ()
    assert protocol == "TLSv1.2"
    assert suite.startswith("ECDHE-ECDSA-")


def test_this_collection_is_no_client(log: Path) -> None:
    """It makes requests that clients make, of the live server as well."""
    agents = [_client.USER_AGENT, "kopano-hardening"]
    assert "User-Agent: kopano-hardening" in Path(_tls_http.__file__).read_text()
    usage = read(write(log, "".join(line(agent) for agent in agents)))
    assert (usage.clients, usage.access.gaps) == ([], [])


# --- which logs a configuration has -----------------------------------------------------------------------------------

CONFIGURED = {
    "apache": (
        "CustomLog logs/access.log combined\nErrorLog /var/log/error.log\n"
        "<VirtualHost *:443>\nCustomLog logs/access.log combined\nTransferLog /srv/t.log\n"
        'CustomLog "|/usr/bin/rotatelogs /srv/x 86400" combined\n</VirtualHost>\n'
    ),
    "nginx": (
        "error_log /var/log/error.log; http { access_log logs/access.log; server { listen 443 ssl; access_log off; }\n"
        "server { listen 80; access_log /srv/t.log combined buffer=4k; access_log /srv/$host.log; "
        "access_log logs/access.log; } }"
    ),
}


def configured(server: str, folder: Path, text: str) -> _webserver_model.Config:
    layout = web_bed.layout(server, folder)
    files = _webserver_model.Files({layout.main_config: text})
    if server == "nginx":
        return _nginx.load(layout, files=files)
    return _apache.load(layout, "VirtualHost configuration:\n", files=files)


@pytest.mark.parametrize("server", CONFIGURED)
def test_access_logs_of_a_configuration_are_told_from_other_logs(server: str, tmp_path: Path) -> None:
    config = configured(server, tmp_path, CONFIGURED[server])
    paths, elsewhere = _webserver_model.access_logs(config)
    assert paths == [config.absolute("logs/access.log"), "/srv/t.log"]
    assert elsewhere == ["|/usr/bin/rotatelogs /srv/x 86400" if server == "apache" else "/srv/$host.log"]


def test_the_module_returns_counts_and_nothing_of_a_single_client(tmp_path: Path) -> None:
    now = stamp(time.time())
    (tmp_path / "access.log").write_text(
        "".join(line(ANDROID, f"192.0.2.{number}", at=now, user="jane") for number in (1, 2)) + "garbage\n"
    )
    (tmp_path / "tls.log").write_text(f'[{now}] TLSv1 ECDHE-RSA-AES128-SHA "{ANDROID}"\n')
    text = (
        f"http {{ access_log {tmp_path}/access.log; access_log {tmp_path}/tls.log x; access_log syslog:server=[::1]; }}"
    )
    config = configured("nginx", tmp_path, text)
    found = _webserver_info._clients([config], [f"{tmp_path}/tls.log", f"{tmp_path}/none.log"])
    minute = found.pop("first")
    assert minute == found.pop("last") and minute.endswith(":00Z")
    assert found == {
        "counts": [{"client": "android-4.1.1", "negotiated": [["TLSv1.0", "ECDHE-RSA-AES128-SHA"]], "number": 2}],
        "days": 14,
        "files": 1,
        "lines": 3,
        "not_understood": 1,
        "gaps": ["1 of 3 lines not understood", "syslog:server=[::1]: not a file that can be read"],
    }
    assert not re.search(r"jane|192\.0|EAS", str(found))
