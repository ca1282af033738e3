# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab plays Kopano's daemons as they are: what each answers, to whom, and where."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from kopano_lab import content, daemons, model

from .ports import free_ports
from .slow_bed import HANGS

pytestmark = pytest.mark.slow

HOSTS = model.hosts()
PLAYER = model.LAB / "frontends" / "daemons" / "daemons.py"
NAME = "mail.example.test"


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """Where the daemons of a host listen, by their names; those with TLS need a key that only lab hosts have."""
    folder = tmp_path_factory.mktemp("daemons")
    played, found = [], {}
    for daemon in daemons.of(HOSTS["apache12"]):
        (found[daemon.name],) = free_ports()
        played.append(dataclasses.replace(daemon, listen=f"127.0.0.1:{found[daemon.name]}"))
    (folder / "daemons.json").write_text(json.dumps([dataclasses.asdict(daemon) for daemon in played]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "notify"))
        manager.settimeout(HANGS)
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        player = subprocess.Popen([sys.executable, PLAYER, folder / "daemons.json"], env=environment)
        try:
            assert manager.recv(100) == b"READY=1"
            yield found
        finally:
            player.kill()
            player.wait()


def ask(port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)
    words = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers={"Host": NAME, **words})
    answer = connection.getresponse()
    answer.text = answer.read().decode()
    connection.close()
    return answer


def test_each_daemon_knows_its_own_paths_only(ports):
    for daemon in daemons.of(HOSTS["apache12"]):
        for path in daemon.paths:
            assert ask(ports[daemon.name], daemon.goal(path) + "?seen").status == 200
        assert ask(ports[daemon.name], "/nobody").status == (200 if daemon.strips else 404)


def test_what_arrives_is_reported(ports):
    seen = json.loads(ask(ports["kapi"], "/api/gc/v1/me?seen", "PUT", b"12345", X_Forwarded_Proto="https").text)
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PUT", "/api/gc/v1/me?seen", 5)
    assert (seen["headers"]["Host"], seen["headers"]["X-Forwarded-Proto"]) == (NAME, "https")


@pytest.mark.parametrize("path", ["admin", "%61dmin", "/admin", "rtm/../admin/auth", "mcu"])
def test_there_is_more_than_one_way_to_what_is_internal(ports, path):
    assert ask(ports["kwmserver"], f"/api/kwm/v2/{path}").text == "internal: admin\n"


def test_konnect_names_the_host_of_the_request(ports):
    assert json.loads(ask(ports["konnect"], "/.well-known/openid-configuration").text)["issuer"] == f"https://{NAME}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": f"https://{NAME}", "Kopano_Konnect_XSRF": "1"}, 200),
        ({"Referer": f"https://{NAME}/signin/", "Kopano_Konnect_XSRF": "1"}, 200),
        ({"Origin": "https://127.0.0.1:8777", "Kopano_Konnect_XSRF": "1"}, 403),
        ({"Origin": f"https://{NAME}"}, 403),
        ({}, 403),
    ],
)
def test_konnect_signs_in_from_its_own_host_only(ports, headers, status):
    answer = ask(ports["konnect"], "/signin/v1/identifier/_/logon", "POST", b"{}", **headers)
    assert answer.status == status
    assert ("SameSite=None" in (answer.getheader("Set-Cookie") or "")) == (status == 200)


def test_konnects_pages_have_a_new_nonce_each_time(ports):
    pages = [ask(ports["konnect"], "/signin/v1/identifier") for _ in range(2)]
    nonces = [re.search("'nonce-([^']+)'", page.getheader("Content-Security-Policy"))[1] for page in pages]
    assert nonces[0] != nonces[1]
    assert all(f'nonce="{nonce}"' in page.text for nonce, page in zip(nonces, pages, strict=True))


def test_only_the_session_check_may_be_in_a_frame(ports):
    assert ask(ports["konnect"], "/signin/v1/identifier").getheader("X-Frame-Options") == "DENY"
    assert ask(ports["konnect"], "/konnect/v1/session/check-session.html").getheader("X-Frame-Options") is None


def test_kapi_allows_the_origin_of_the_request(ports):
    assert ask(ports["kapi"], "/api/gc/v1/me", Origin="https://a.test").getheader("Access-Control-Allow-Origin") == (
        "https://a.test"
    )
    assert ask(ports["kapi"], "/api/gc/v1/me").getheader("Access-Control-Allow-Origin") is None
    assert ask(ports["kapi"], "/api/gc/v1/me", "OPTIONS", Origin="https://a.test").status == 204


@pytest.mark.parametrize(
    ("name", "path", "method", "status"),
    [
        ("kapi", "/api/gc/v1/me", "GET", 200),
        ("kwmserver", "/api/kwm/v2/rtm/turn", "GET", 200),
        ("ical", "/caldav/", "PROPFIND", 207),
        ("ical", "/ical/", "GET", 200),
    ],
)
def test_a_request_without_credentials_is_challenged(ports, name, path, method, status):
    answer = ask(ports[name], path, method)
    assert answer.status == 401
    assert answer.getheader("WWW-Authenticate")
    assert ask(ports[name], path, method, Authorization="Basic dTpw").status == status


def test_a_body_in_chunks_is_read_whole(ports):
    connection = http.client.HTTPConnection("127.0.0.1", ports["kapi"], timeout=HANGS)
    connection.request("POST", "/api/gc/v1/me?seen", body=iter([b"a" * 70000, b"b"]), headers={"Host": NAME})
    assert json.loads(connection.getresponse().read())["bytes"] == 70001
    # The connection is still good for another request.
    connection.request("HEAD", "/api/gc/v1/me?seen")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_websocket_echoes_what_it_receives(ports):
    key = base64.b64encode(b"0123456789abcdef").decode()
    head = (
        f"GET /api/pubs/v1/stream/websocket HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    )
    with socket.create_connection(("127.0.0.1", ports["kapi"]), 20) as connection:
        connection.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        stream = connection.makefile("rb")
        lines = list(iter(stream.readline, b"\r\n"))
        assert lines[0].startswith(b"HTTP/1.1 101 ")
        # Worked out with the rule of RFC 6455, section 4.2.2.
        assert b"Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n" in lines
        mask = b"\1\2\3\4"
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(b"hello"))
        connection.sendall(b"\x81\x85" + mask + masked)
        assert stream.read(7) == b"\x81\x05hello"
        connection.sendall(b"\x89\x80" + mask)  # a ping
        assert stream.read(2) == b"\x8a\x00"
        connection.sendall(b"\x88\x80" + mask)
        assert stream.read() == b"\x88\x00"


def test_a_websocket_is_nothing_else(ports):
    assert ask(ports["kapi"], "/api/pubs/v1/stream/websocket").status == 400


def test_only_strict_daemons_speak_of_hsts():
    for name, host in HOSTS.items():
        strict = "strict-daemons" in host.dirt
        assert {"Strict-Transport-Security" in daemon.headers for daemon in daemons.of(host)} == {strict}, name
        assert ({"kweb", "webmeetings"} <= {daemon.name for daemon in daemons.of(host)}) == strict, name


def test_the_players_data_is_what_the_frontends_are_configured_for():
    for name in ("apache13", "nginx13"):
        files = dict(content._files(HOSTS[name], ("192.0.2.10", "2001:db8::a")))
        played = json.loads(files[f"{content.OWN}/daemons.json"])
        path = "/etc/apache2/kopano-daemons.conf" if name == "apache13" else "/etc/nginx/snippets/kopano-daemons.conf"
        for daemon in played:
            assert f"://{daemon['listen']}" in files[path].decode()
            assert f"/usr/sbin/{daemon['program']}" in files
