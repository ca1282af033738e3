# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests that share a connection are answered like those that have one each, by real servers and by rude ones."""

from __future__ import annotations

import os
import socketserver
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client

from . import web_bed
from .slow_bed import SLACK, answering, slow

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

BOTH = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]


# --- real servers ----------------------------------------------------------------------------------------------------


class Program(socketserver.StreamRequestHandler):
    """By SCGI, as PHP would: a page whose length nobody says, so that the server sends it in chunks."""

    def handle(self) -> None:
        if not web_bed.read_scgi(self.rfile):
            return
        self.wfile.write(b"Status: 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n")
        for _part in range(3):
            self.wfile.write(b"page " * 100)
            self.wfile.flush()
            time.sleep(0.01)


@pytest.fixture
def pages() -> t.Iterator[Path]:
    """A folder that the users of web servers may read, other than those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "short").write_text("short")
        (place / "long").write_bytes(b"long" * _client.MAX_BODY)
        for page in place.iterdir():  # Apache has another ETag for a file that may change within the same second
            os.utime(page, (1e9, 1e9))
        yield place


def serve(server: str, folder: Path, port: int, pages: Path, program: int) -> None:
    """A server with pages of every kind of body; those of nginx say which of its connection they are."""
    certificate, key = web_bed.make_certificate(folder)
    if server == "nginx":
        (folder / "scgi_params").write_text("scgi_param CONTENT_LENGTH $content_length;\nscgi_param SCGI 1;\n")
        text = web_bed.nginx_head(folder) + "http { %s server { listen 127.0.0.1:%d ssl; root %s;" % (
            web_bed.nginx_http(folder), port, pages
        )  # fmt: skip
        text += f"ssl_certificate {certificate}; ssl_certificate_key {key};"
        text += "add_header X-Request $connection_requests always; location = /none { return 204; }"
        text += "location /moved { return 301 /short; } client_max_body_size 8k; location /program {"
        text += " scgi_pass 127.0.0.1:%d; include %s/scgi_params; } } }" % (program, folder)
    else:
        modules = ("ssl", "socache_shmcb", "headers", "alias", "proxy", "proxy_scgi")
        text = web_bed.apache_head(folder, *modules) + "Listen 127.0.0.1:%d\nKeepAlive On\n" % port
        text += "<VirtualHost *:%d>\nSSLEngine on\nSSLCertificateFile %s\nSSLCertificateKeyFile %s\n" % (
            port, certificate, key
        )  # fmt: skip
        text += f"DocumentRoot {pages}\n<Directory {pages}>\nRequire all granted\nLimitRequestBody 8192\n</Directory>\n"
        text += "RedirectMatch 204 ^/none$\nRedirectMatch 301 ^/moved /short\n"
        text += "ProxyPass /program scgi://127.0.0.1:%d\n</VirtualHost>\n" % program
    (folder / (server + ".conf")).write_text(text)


@pytest.mark.parametrize("server", BOTH)
def test_a_shared_connection_brings_the_same_responses(server: str, tmp_path: Path, pages: Path) -> None:
    (port,) = web_bed.free_ports(1)
    place = {"address": "127.0.0.1", "port": port, "server_name": "mail.example"}
    targets = [
        dict(place, path="/" + path, **more)
        for path, more in [
            ("long", {}),
            ("short", {}),
            ("program/a", {}),
            ("short", {"method": "HEAD"}),
            ("none", {}),
            ("nothere", {}),
            ("moved", {}),
            ("short", {"method": "POST", "body_size": 1 << 20}),
            ("program/b", {}),
            ("short", {"method": "OPTIONS"}),
            ("short", {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}),
        ]
    ]

    def told(answer: _client.Response) -> t.Any:
        headers = {name: value for name, value in answer["headers"].items() if name not in FLEETING}
        return {**answer, "headers": headers, "ms": None}

    with answering(Program) as program:
        serve(server, tmp_path, port, pages, program)
        with web_bed.running(server, tmp_path, port):
            alone = [_client.query(target, 10) for target in targets]
            together = _client.query_all(targets, 10)
    assert [told(answer) for answer in together] == [told(answer) for answer in alone]
    statuses = [answer["status"] for answer in alone]
    assert statuses[:9] == [200, 200, 401, 200, 204, 404, 301, 413, 401]
    assert all(answer["ok"] and answer["certificate"] and answer["cipher"] for answer in together)
    if server == "nginx":  # it counts the requests of each connection
        assert {answer["headers"]["x-request"][0] for answer in alone} == {"1"}
        counts = [int(answer["headers"]["x-request"][0]) for answer in together]
        # Three for the ten that may share one, one more after the first of them, which is too long to wait for its end,
        # and one for the request that may not.
        assert counts.count(1) == 5


# Of the connection and of the moment, not of the page.
FLEETING = ("date", "connection", "keep-alive", "x-request", "transfer-encoding")


# --- rude ones -------------------------------------------------------------------------------------------------------


class Rude(socketserver.StreamRequestHandler):
    """Speaks HTTP without TLS. What it does is in the path; each request goes to C(seen), by its connection."""

    seen: t.ClassVar[list[tuple[int, str]]] = []

    def handle(self) -> None:
        while True:
            line = self.rfile.readline().decode()
            if not line:
                return
            while self.rfile.readline().strip():
                pass
            self.seen.append((self.client_address[1], line.rsplit(" ", 1)[0]))
            word = line.split(" ")[1].strip("/").split("/")[0]
            if word == "hang":
                time.sleep(HANG)
                return
            if word == "ends":  # as if it would go on
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                return
            self.wfile.write(ANSWERS[word])
            self.wfile.flush()


HANG = 3 * SLACK
ANSWERS = {
    "good": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\ngood\r\n0\r\n\r\n",
    "closes": b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "endless": b"HTTP/1.1 200 OK\r\n\r\nwithout an end",
    "less": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nless",
    "more": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nmore",
    "twice": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\ngood",
    "word": b"HTTP/1.1 200 OK\r\nContent-Length: four\r\n\r\ngood",
    "below": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "wrong": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ngood\r\n0\r\n\r\n",
    "huge": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\ngood",
    "coded": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "switches": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
}


@pytest.fixture
def rude() -> t.Iterator[dict[str, t.Any]]:
    Rude.seen.clear()
    with answering(Rude) as port:
        yield {"address": "127.0.0.1", "port": port, "tls": False}


@pytest.mark.parametrize("word", [*ANSWERS, "ends"])
def test_whatever_comes_first_the_next_response_is_its_own(rude: dict[str, t.Any], word: str) -> None:
    first, second, third = _client.query_all([dict(rude, path=f"/{path}") for path in (word, "good/2", "good/3")], 5)
    assert first["ok"] and second["ok"] and third["ok"]
    assert second["status"] == third["status"] == 200
    assert first["headers"].get("content-length") != ["4"] or word in ("good", "twice")
    assert second["headers"] == third["headers"] == {"content-length": ["4"]}
    shared = Rude.seen[0][0] == Rude.seen[1][0]
    assert shared == (word in ("good", "chunks", "more"))


def test_a_request_that_gets_no_response_in_time_keeps_no_others_waiting(rude: dict[str, t.Any]) -> None:
    paths = ["/good/1", "/hang", "/good/2", "/good/3"]
    began = time.monotonic()
    answers = _client.query_all([dict(rude, path=path) for path in paths], 0.5)
    assert [answer["ok"] for answer in answers] == [True, False, True, True]
    assert answers[1]["error"] == "timed out"
    assert time.monotonic() - began < SLACK
    assert sum(line.endswith("/hang") for _connection, line in Rude.seen) == 1


def test_what_may_change_something_is_never_sent_twice(rude: dict[str, t.Any]) -> None:
    targets = [dict(rude, path="/ends"), dict(rude, path="/good/1", method="POST"), dict(rude, path="/good/2")]
    assert all(answer["ok"] for answer in _client.query_all(targets, 5))
    by_line = {line: connection for connection, line in Rude.seen}
    assert sum(line.startswith("POST") for _connection, line in Rude.seen) == 1
    assert by_line["POST /good/1"] not in (by_line["GET /ends"], by_line["GET /good/2"])


@pytest.mark.parametrize(("pages", "bodies", "connections"), [(7, 1, 2), (3, 1, 1), (4, 1, 2), (2, 5, 5), (13, 4, 5)])
def test_a_body_that_is_not_sent_is_the_last_of_its_connection(rude, pages, bodies, connections) -> None:
    targets = [dict(rude, path="/good/1", method="POST", body_size=1 << 20) for _number in range(bodies)]
    targets += [dict(rude, path="/good/2") for _number in range(pages)]
    assert all(answer["ok"] for answer in _client.query_all(targets, 5))
    by_connection: dict[int, str] = {}
    for connection, line in Rude.seen:
        by_connection[connection] = by_connection.get(connection, "") + line[0]
    assert len(by_connection) == connections
    for words in by_connection.values():
        assert len(words) <= _client.REQUESTS_A_CONNECTION and "P" not in words[:-1]


def test_few_requests_share_a_connection_and_only_those_of_one_name(rude: dict[str, t.Any]) -> None:
    count = 3 * _client.REQUESTS_A_CONNECTION - 1
    targets = [dict(rude, path=f"/good/{number}", server_name=f"name{number % 2}") for number in range(2 * count)]
    answers = _client.query_all(targets, 5)
    assert all(answer["ok"] for answer in answers) and len(answers) == 2 * count
    by_connection: dict[int, set[int]] = {}
    for connection, line in Rude.seen:
        by_connection.setdefault(connection, set()).add(int(line.rsplit("/", 1)[1]))
    assert len(by_connection) == 6
    assert all(len({number % 2 for number in numbers}) == 1 for numbers in by_connection.values())
    assert max(len(numbers) for numbers in by_connection.values()) == _client.REQUESTS_A_CONNECTION


# --- servers that take their time ------------------------------------------------------------------------------------

TIMEOUT = 0.4
OK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n"

# A ServerHello that says to be long, and never is.
HANDSHAKE = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03"
DRIPS = [
    pytest.param(True, HANDSHAKE, b"\0", id="handshake"),
    pytest.param(False, b"HTTP/1.1 2", b"0", id="status"),
    pytest.param(False, OK_HEAD, b"x", id="header"),
    pytest.param(False, OK_HEAD, b"X-A: b\r\n", id="headers"),
    pytest.param(False, b"", b"HTTP/1.1 102 Processing\r\n\r\n", id="interim"),
]


@pytest.mark.parametrize(("tls", "first", "then"), DRIPS)
def test_a_server_that_sends_on_and_on_is_an_error_in_time(tls: bool, first: bytes, then: bytes) -> None:
    with slow(first, then) as port:
        began = time.monotonic()
        answer = _client.query({"address": "127.0.0.1", "port": port, "server_name": "a.example", "tls": tls}, TIMEOUT)
        took = time.monotonic() - began
    assert not answer["ok"] and answer["error"] == "timed out"
    assert TIMEOUT < took < _client.WAITS * TIMEOUT + SLACK


@pytest.mark.parametrize("then", [b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, b"X-A: b\r\n" * 1000])
def test_a_server_that_sends_on_at_once_is_an_error_by_its_size(then: bytes) -> None:
    with slow(b"HTTP/1.1 103 Early Hints\r\n", then, pause=0) as port:
        answer = _client.query({"address": "127.0.0.1", "port": port, "tls": False}, 20)
    assert not answer["ok"] and "more than" in answer["error"]


def test_a_body_that_drips_costs_its_connection_and_little_time() -> None:
    with slow(OK_HEAD + b"\r\n", b"x") as port:
        began = time.monotonic()
        targets = [{"address": "127.0.0.1", "port": port, "tls": False, "path": f"/{number}"} for number in range(4)]
        answers = _client.query_all(targets, 10 * SLACK)
        assert time.monotonic() - began < 4 * _client.BODY_SECONDS + SLACK
    assert [answer["status"] for answer in answers] == [200] * 4


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_what_comes_before_the_response_is_not_taken_for_it(interim: bytes) -> None:
    with slow(interim * 2 + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"") as port:
        target = {"address": "127.0.0.1", "port": port, "tls": False}
        answer = _client.query(target, 5)
        assert (answer["ok"], answer["status"], answer["headers"]) == (True, 500, {"content-length": ["0"]})
        # Whether a body would be taken is what a 100 says.
        body = _client.query(dict(target, method="POST", body_size=1 << 20), 5)
    assert body["status"] == (100 if b" 100 " in interim else 500)


class Backend(socketserver.StreamRequestHandler):
    """An ordinary server whose backend takes more than half of the time that a request may take, for each request."""

    timeout, seconds = 2.4, 1.25

    def handle(self) -> None:
        while self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            time.sleep(self.seconds)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_slow_backends_are_waited_for_however_many_requests_there_are() -> None:
    with answering(Backend) as port:
        targets = [{"address": "127.0.0.1", "port": port, "tls": False, "path": f"/{number}"} for number in range(48)]
        answers = _client.query_all(targets, Backend.timeout)
    assert all(answer["ok"] for answer in answers)
    # Together they take longer than any one of them may.
    assert len(targets) / _client.CONCURRENCY * Backend.seconds > _client.WAITS * Backend.timeout


def test_all_requests_together_end_in_time_and_what_is_missing_is_no_response() -> None:
    with slow(OK_HEAD, b"x") as port:
        targets = [
            {"address": "127.0.0.1", "port": port, "tls": False, "server_name": f"name{number}.example", "path": "/p"}
            for number in range(800)
        ]
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"127\.0\.0\.1:\d+ \(name\d+\.example\) /p.*800 requests.* 1 s"):
            _client.query_all(targets, TIMEOUT, seconds=1.0)
        assert time.monotonic() - began < 1 + SLACK  # and not the 120 s of 800 requests
        # Without a limit of its own it ends as well.
        began = time.monotonic()
        answers = _client.query_all(targets[:16], TIMEOUT)
        assert time.monotonic() - began < _client.WAITS * TIMEOUT * 2 + SLACK
    assert {answer["error"] for answer in answers} == {"timed out"}
