# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HSTS by RFC 6797, heads of answers, and redirects."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._tls import http

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("values", "status", "max_age"),
    [
        ([], "absent", None),
        (["max-age=31536000"], "present", 31536000),
        (["Max-Age=31536000 ; includeSubDomains"], "present", 31536000),
        (["max-age=31536000; includeSubDomains; preload"], "present", 31536000),
        ([" ; max-age = 1 ; "], "present", 1),
        (['max-age="31536000"'], "present", 31536000),
        (['max-age=1; report="a;b"'], "present", 1),
        (["max-age=0"], "disabled", 0),
        (["max-age=0; includeSubDomains"], "disabled", 0),
        ([""], "invalid", None),
        (["includeSubDomains"], "invalid", None),
        (["max-age"], "invalid", None),
        (["max-age=one year"], "invalid", None),
        (["max-age=-1"], "invalid", None),
        (["max-age=1e9"], "invalid", None),
        (["max-age=31536000, max-age=31536000"], "invalid", None),
        (["max-age=1; max-age=2"], "invalid", 1),
        (["max-age=1; <script>"], "invalid", 1),
        (["max-age=31536000", "max-age=31536000"], "invalid", 31536000),
        (["max-age=\u0661\u0662"], "invalid", None),
        (["max-age=" + "9" * 400], "invalid", None),
    ],
)
def test_hsts(values, status, max_age):
    found = http.read_hsts(values)
    assert (found["status"], found["max_age"]) == (status, max_age)
    assert bool(found["reason"]) == (status == "invalid")


def test_hsts_directives_and_escapes():
    found = http.read_hsts(["max-age=1; INCLUDEsubdomains; Preload"])
    assert (found["include_subdomains"], found["preload"]) == (True, True)
    found = http.read_hsts(["\x1b[2Jmax-age=1"])
    assert found["status"] == "invalid"
    assert "\x1b" not in str(found)


def test_hsts_with_blanks_without_end():
    """Seconds of the processor: quadratic time would be a quarter of a minute."""
    started = time.thread_time()
    found = http.read_hsts(["max-age=1; a=" + " " * http.MAX_HEAD + "("])
    assert time.thread_time() - started < 3
    assert found["status"] == "invalid"


@settings(max_examples=300)
@given(st.lists(st.text(max_size=60), max_size=3))
def test_hsts_on_arbitrary_text(values):
    assert http.read_hsts(values)["status"] in ("absent", "present", "invalid", "disabled")


HEAD = b"HTTP/1.1 301 Moved\r\nLocation: https://a.test/\r\nX-Long: a\r\n b\r\nx-long: c\r\n\r\nbody"


def test_head():
    head = http.read_head(HEAD, complete=False)
    assert head.status == 301
    assert head.fields == [("location", "https://a.test/"), ("x-long", "a b"), ("x-long", "c")]
    assert head.values("x-long") == ["a b", "c"]
    for size in range(HEAD.index(b"body")):
        assert http.read_head(HEAD[:size], complete=False) is None


@pytest.mark.parametrize("answer", [b"x", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_what_is_no_head(answer):
    with pytest.raises(http.HttpError) as found:
        http.read_head(answer, complete=True)
    assert not found.value.other


@pytest.mark.parametrize("answer", [b"* OK ready", b"* PREAUTH", b"+OK ready", b"220 mail.test ESMTP"])
def test_other_protocols(answer):
    with pytest.raises(http.HttpError) as found:
        http.read_head(answer, complete=True)
    assert found.value.other


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_head_on_arbitrary_bytes(answer, complete):
    for data in (answer, b"HTTP/1.1 200 " + answer):
        with contextlib.suppress(http.HttpError):
            http.read_head(data, complete)


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [
        (301, "https://a.test/", "https"),
        (308, "HTTPS://A.TEST:443/x?y", "https"),
        (302, "https://a.test.", "https"),
        (301, "https://b.test/", "https_elsewhere"),
        (301, "https://a.test@b.test/", "https_elsewhere"),
        (301, "https://[]/", "https_elsewhere"),
        (301, "https://[]:443", "https_elsewhere"),
        (301, "http://a.test/", "http"),
        (301, "/there", "http"),
        (301, "", "http"),
        (200, "https://a.test/", "none"),
        (404, "", "none"),
    ],
)
def test_redirects(status, location, expected):
    assert http.read_redirect(http.Head(status, [("location", location)]), ("a.test",))["status"] == expected


def test_requests_name_the_port_unless_it_is_the_usual_one():
    assert b"\r\nHost: a.test\r\n" in http.request("a.test", 443, 443)
    assert b"\r\nHost: a.test:8443\r\n" in http.request("a.test", 8443, 443)
    assert b"\r\nHost: [::1]:80\r\n" in http.request("::1", 80, 443)
