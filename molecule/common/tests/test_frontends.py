# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kopano's frontends work on hardened hosts as they did before."""

from __future__ import annotations

import base64
import time

import pytest

ACTIVESYNC = "/Microsoft-Server-ActiveSync"
AUTODISCOVER = [
    "/AutoDiscover/AutoDiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/autodiscover/autodiscover.xml",
]
SIGNED_IN = {"Authorization": "Basic " + base64.b64encode(b"user:word").decode()}
INTERNAL = ["config.php", "debug.php", "defaults.php", "init.php", "server/index.php", "plugins/files/config.php"]


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
    # The page has inline scripts: a policy that forbids them would be one more way to break it.
    assert answer.all("Content-Security-Policy") == []


def test_webapp_without_its_slash_is_redirected(frontend):
    answer = frontend.request("/webapp")
    assert answer.status == 301
    assert answer.one("Location") in ("/webapp/", f"https://{frontend.name}/webapp/")


def test_webapp_sees_tls_whatever_a_client_claims(hardened, frontend):
    claimed = frontend.request("/webapp/", headers={"X-Forwarded-Proto": "http"})
    # What the block of an administrator's nginx hands on is the administrator's.
    assert claimed.status == (200 if hardened.site or hardened.apache else 400)


def test_static_files_keep_their_own_cache_control(hardened, frontend):
    answer = frontend.request("/webapp/client/app.js")
    assert answer.status == 200
    if not hardened.site and "debian-package" not in frontend.dirt:
        assert answer.one("Cache-Control") == "public, max-age=604800"


@pytest.mark.parametrize("path", [*INTERNAL, "version"])
def test_internal_files_are_denied(hardened, frontend, path):
    assert frontend.request(f"/webapp/{path}").status == 403


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("path", [ACTIVESYNC, *AUTODISCOVER])
def test_mobile_clients_are_asked_for_credentials(frontend, path, method):
    answer = frontend.request(path, method=method)
    assert answer.status == 401
    assert answer.one("WWW-Authenticate") == 'Basic realm="ZPush"'
    assert answer.one("MS-Server-ActiveSync") == "14.1"
    assert answer.one("MS-ASProtocolVersions") == "2.5,12.0,12.1,14.0,14.1"


@pytest.mark.parametrize("path", AUTODISCOVER)
def test_autodiscover_answers_who_signs_in(frontend, path):
    assert b"<Autodiscover" in frontend.request(path, headers=SIGNED_IN).body


def test_a_ping_is_held_open(frontend):
    started = time.monotonic()
    answer = frontend.request(f"{ACTIVESYNC}?Cmd=Ping&wait=2", method="POST", headers=SIGNED_IN)
    assert (answer.status, answer.body) == (200, b"waited 2\n")
    assert time.monotonic() - started >= 2  # its end is up to the request, whose time is limited


def test_an_upload_of_15_megabytes_arrives_whole(frontend):
    size = 15 * 1024 * 1024
    answer = frontend.request(f"{ACTIVESYNC}?Cmd=SendMail", method="POST", headers=SIGNED_IN, body=b"x" * size)
    assert (answer.status, answer.body) == (200, f"{size}\n".encode())


def test_other_names_reach_the_same_frontends(frontend):
    domain = frontend.name.removeprefix("mail.")
    assert frontend.request(AUTODISCOVER[0], name=f"autodiscover.{domain}").status == 401
