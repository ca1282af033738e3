# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kopano's paths answer in the lab as Kopano's own programs do behind a web server."""

from __future__ import annotations

import base64
import json
import time

import pytest

AUTODISCOVER = [
    "/AutoDiscover/AutoDiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/autodiscover/autodiscover.xml",
]
# A path of each daemon that comes through the web server.
PATHS = {
    "konnect": "/.well-known/openid-configuration",
    "kapi": "/api/gc/v1/me",
    "kwmserver": "/api/kwm/v2/rtm/turn",
    "ical": "/caldav/",
    "presence": "/webapp/presence/",
    "webmeetings": "/webmeetings/",
    "kweb": "/meet/",
}
SIGNED_IN = {"Authorization": "Basic " + base64.b64encode(b"user:word").decode()}
testinfra_hosts = ["ansible://tls"]


def test_webapp_sets_its_cookie_and_names_its_version(frontend):
    answer = frontend.request("/webapp/")
    assert answer.status == 200
    cookie = answer.one("Set-Cookie")
    assert cookie.startswith("__Secure-KOPANO_WEBAPP=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly"} <= attributes
    assert not any(attribute.startswith("samesite") for attribute in attributes)
    assert answer.one("X-Zarafa")
    assert b"<script>" in answer.body


def test_webapp_without_its_slash_is_redirected(frontend):
    answer = frontend.request("/webapp")
    assert answer.status == 301
    assert answer.one("Location").endswith("/webapp/")


def test_webapp_refuses_plain_http_and_believes_a_proxy(frontend):
    if "redirect" not in frontend.dirt:
        assert frontend.request("/webapp/", secure=False).status == 400
        believed = frontend.request("/webapp/", secure=False, headers={"X-Forwarded-Proto": "https"})
        assert believed.status == 200
    assert frontend.request("/webapp/", headers={"X-Forwarded-Proto": "http"}).status == 400


def test_static_files_have_their_own_cache_control(frontend):
    answer = frontend.request("/webapp/client/app.js")
    assert answer.status == 200
    has_it = not frontend.dirt & {"no-headers"}
    assert answer.one("Cache-Control") == ("public, max-age=604800" if has_it else None)


@pytest.mark.parametrize(
    "path", ["config.php", "debug.php", "defaults.php", "init.php", "server/index.php", "plugins/files/config.php"]
)
def test_internal_files_are_denied_only_where_apache_reads_htaccess(frontend, path):
    denied = frontend.server == "apache" and "debian-package" not in frontend.dirt
    assert frontend.request(f"/webapp/{path}").status == (403 if denied else 200)


def test_the_version_is_open_everywhere(frontend):
    assert frontend.request("/webapp/version").status == 200


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("path", ["/Microsoft-Server-ActiveSync", *AUTODISCOVER])
def test_mobile_clients_are_asked_for_credentials(frontend, path, method):
    answer = frontend.request(path, method=method)
    assert answer.status == 401
    assert answer.one("WWW-Authenticate") == 'Basic realm="ZPush"'
    assert answer.one("MS-Server-ActiveSync") == "14.1"


@pytest.mark.parametrize("path", AUTODISCOVER)
def test_autodiscover_answers_who_signs_in(frontend, path):
    assert b"<Autodiscover" in frontend.request(path, headers=SIGNED_IN).body


def test_a_ping_is_held_open(frontend):
    started = time.monotonic()
    answer = frontend.request("/Microsoft-Server-ActiveSync?Cmd=Ping&wait=2", method="POST", headers=SIGNED_IN)
    assert answer.status == 200
    assert answer.body == b"waited 2\n"
    assert time.monotonic() - started >= 2  # its end is up to the request, whose time is limited


def test_an_upload_of_15_megabytes_arrives_whole(frontend):
    size = 15 * 1024 * 1024
    answer = frontend.request(
        "/Microsoft-Server-ActiveSync?Cmd=SendMail", method="POST", headers=SIGNED_IN, body=b"x" * size
    )
    assert (answer.status, answer.body) == (200, f"{size}\n".encode())


@pytest.mark.parametrize("daemon", ["konnect", "kapi", "kwmserver", "ical", "presence", "webmeetings", "kweb"])
def test_daemons_answer_behind_the_web_server(frontend, daemon):
    strict = "strict-daemons" in frontend.dirt
    if daemon in ("webmeetings", "kweb") and not strict:
        pytest.skip("is not on this host")
    answer = frontend.request(f"{PATHS[daemon]}?seen")
    seen = json.loads(answer.body)
    assert seen["headers"]["Host"] == frontend.name
    assert answer.one("Strict-Transport-Security") == ("max-age=1; includeSubDomains" if strict else None)


def test_webapp_takes_the_uploads_that_it_is_meant_to_take(frontend):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n' + b"x" * 3_000_000 + b"\r\n--x--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = frontend.request("/webapp/index.php?upload", method="POST", headers=headers, body=body)
    assert (answer.body == b"3000000\n") == ("small-uploads" not in frontend.dirt)


def test_the_web_apps_have_an_owner(frontend):
    strict = "strict-daemons" in frontend.dirt
    for path in ("/meet/", "/calendar/", "/mail/"):
        answer = frontend.request(path)
        assert answer.status == 200
        assert (answer.one("Content-Security-Policy") is not None) == strict


def test_kdav_is_where_clients_look_for_it(frontend):
    assert frontend.request("/.well-known/caldav").one("Location").endswith("/kdav/")
    assert frontend.request("/kdav/").one("WWW-Authenticate") == 'Basic realm="Kopano DAV"'
    assert frontend.request("/kdav/", method="PROPFIND", headers=SIGNED_IN).status == 207


def test_php_leaves_no_session_files(frontend, host):
    frontend.request("/webapp/")
    assert host.file("/var/lib/php/sessions").listdir() == []
