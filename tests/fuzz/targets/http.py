# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP responses: what the grader reads of them, what probes of a web server do, and what is fetched."""

from __future__ import annotations

import io
import re
import time
import typing as t
from unittest import mock
from urllib.parse import unquote, urlsplit

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as _tls_http
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from tests.fuzz import mutations
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import target

HEADS = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n\r\n<html>",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 301 Moved\r\nLocation: https://good.test/\r\n"
    b"Content-Length: 3\r\n\r\nabc",
    b"HTTP/1.0 302 Found\nLocation: https://\xc3\xa4.test:443/\nX: a\n b\n\tc\n\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
)


@target("http.head", seeds=HEADS, declared=_tls_http.HttpError)
def head(case: bytes) -> None:
    """A head and what is made of it, whatever part of it has come."""
    for complete in (False, True):
        found = _tls_http.read_head(case, complete)
        if found:
            assert 200 <= found.status < 1000 or found.status < 100
            _check_hsts(found.values("strict-transport-security"))
            _check_redirect(found)


POLICIES = (
    "max-age=31536000; includeSubDomains; preload",
    'max-age="31536000"',
    "max-age=0",
    "MAX-AGE = 63072000 ; x=y;; includesubdomains",
    'a="b;c\\"d"; max-age=1',
)


@target("http.hsts", seeds=POLICIES, make=mutations.of_text)
def hsts(case: str) -> None:
    """Header fields, one a line."""
    _check_hsts(case.split("\n"))


def _check_hsts(values: t.Sequence[str]) -> None:
    """Present is a policy in the only field, with a number of seconds that is not 0, and each directive once."""
    found = _tls_http.read_hsts(values)
    check_shown(found.get("reason"), *found["headers"])
    if found["status"] == "present":
        (value,) = values
        outside = re.sub(r'(=\s*)?"(\\.|[^"\\])*"', r"\1", value).lower()
        numbers = re.findall(r'max-age\s*=\s*"?(\d+)"?', value, re.IGNORECASE)
        assert any(int(number) == found["max_age"] > 0 for number in numbers), found
        assert outside.count("max-age") >= 1, found
    if values and found["status"] == "absent":
        raise AssertionError(found)


LOCATIONS = (
    "https://good.test/",
    "HTTPS://user@GOOD.test:443/path?query#part",
    "http://good.test/",
    "https://[2001:db8::1]:443/",
    "https://b%C3%BCro.test/",
    "https://xn--bro-hoa.test/",
    "/login",
    "//good.test/",
)
NAMES = ("good.test", "b\u00fcro.test", "2001:db8::1")


@target("http.redirect", seeds=LOCATIONS, make=mutations.of_text)
def redirect(case: str) -> None:
    """The value of a Location field, as it comes off the wire."""
    _check_redirect(_tls_http.Head(301, [("location", case.encode("utf-8", "replace").decode("latin-1"))]))


def _check_redirect(head: _tls_http.Head) -> None:
    """Only an address that begins with HTTPS, and with one of the names, leads to HTTPS on the same host."""
    found = _tls_http.read_redirect(head, NAMES)
    check_shown(found.get("location"))
    if found["status"] != "https":
        return
    location = head.values("location")[0]
    try:
        parts = urlsplit(re.sub(r"[\t\r\n]", "", location))
    except ValueError:
        return  # a bracket that is none, before the host
    host = unquote(parts.hostname or "", "utf-8", "replace").rstrip(".")
    host = host.encode("latin-1", "ignore").decode("utf-8", "ignore") if not host.isascii() else host
    assert parts.scheme == "https", found
    plain = host.lower() in (*NAMES, "xn--bro-hoa.test")
    # Other ways to write the same: full-width letters, for instance.
    assert plain or not host.isascii() or "%" in location, found


class Socket:
    """Sends what it is given, and takes everything."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def recv(self, size: int) -> bytes:
        return self._content.read(size)

    def recv_into(self, buffer: t.Any) -> int:
        return self._content.readinto(buffer)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def _nothing(self, *_arguments: t.Any) -> None:
        return

    settimeout = sendall = setsockopt = close = _nothing


class _Connection:
    """What is left of one where the server's part is in memory."""

    facts: t.ClassVar[dict[str, t.Any]] = {}

    def __init__(self, content: bytes) -> None:
        self.stream = io.BufferedReader(io.BytesIO(content))

    def send(self, *_arguments: t.Any) -> None:
        return

    await_within = send

    def close(self) -> None:
        return


@target("http.probe", seeds=HEADS)
def probe(case: bytes) -> None:
    """A response to a probe has a status of HTTP, and one that has none has an error that can be shown."""
    for method, last in (("GET", False), ("HEAD", False), ("GET", True)):
        target_of = {"address": "192.0.2.1", "port": 443, "method": method}
        limit = _client.Limit(10, time.monotonic() + 10)
        _again, found = _client._exchange(_Connection(case), target_of, limit, last)
        assert found["ok"] == (found["error"] is None)
        check_shown(found["error"])
        if found["ok"]:
            assert f" {found['status']:03d}".encode() in case


FETCHED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\n\r\ncontent",
    b"HTTP/1.0 200 OK\r\n\r\ncontent",
)


@target("http.fetch", seeds=FETCHED, declared=_fetch.NotFetched)
def fetch(case: bytes) -> None:
    """What is fetched was sent with status 200, and is no longer than it may be."""
    with mock.patch.object(_fetch.socket, "create_connection", lambda *_where, **_how: Socket(case)):
        found = _fetch._exchange("192.0.2.1", 80, b"", time.monotonic() + 10, 4096)
    assert len(found) <= 4096 and case.endswith(found) and b" 200" in case[:13]
