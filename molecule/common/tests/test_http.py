# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP answers of hardened hosts: HSTS exactly once on all of them, and where plain HTTP leads."""

from __future__ import annotations

import socket
import ssl

import pytest
from frontends import TIMEOUT
from hardened import POLICY, UNKNOWN, context

STRICT = "/webapp/strict.php"  # a backend with a header of its own, see prepare.yml
PREFORK = ("apache11", "sles15")  # of Apache, whose mod_http2 does not work with it
STATUS = {
    "/webapp/": [200],
    "/webapp": [301],
    "/webapp/client/app.js": [200],
    "/webapp/client/logo.svg": [200],
    "/webapp/none": [404],
    "/none": [404],
    "/Microsoft-Server-ActiveSync": [401],
    "/Autodiscover/Autodiscover.xml": [401],
    STRICT: [200],
    f"{STRICT}?status=404": [404],
    f"{STRICT}?status=500": [500],
    # Red Hat and SUSE have no page there.
    "/": [200, 302, 403],
}
CHALLENGE = "/.well-known/acme-challenge/token"
ACTIVESYNC = "/Microsoft-Server-ActiveSync"


@pytest.mark.parametrize("path", STATUS)
def test_hsts_comes_exactly_once(hardened, path):
    for endpoint in hardened.endpoints:
        answer = endpoint.get(path)
        if endpoint.server_name in hardened.names:
            assert answer.status in STATUS[path], endpoint
        assert answer.all("Strict-Transport-Security") == [POLICY], endpoint


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "DELETE"])
def test_hsts_comes_exactly_once_whatever_the_method(hardened, method):
    for endpoint in hardened.endpoints:
        for path in ("/", "/webapp/client/app.js", ACTIVESYNC):
            answer = endpoint.get(path, method=method)
            assert answer.all("Strict-Transport-Security") == [POLICY], (endpoint, path, answer.status)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"If-None-Match": "{etag}"}, 304), ({"Range": "bytes=0-3"}, 206), ({"Range": "bytes=999999-"}, 416)],
    ids=["not modified", "part", "no such part"],
)
def test_hsts_comes_exactly_once_with_parts_and_revalidation(hardened, headers, status):
    endpoint = hardened.endpoints[0]
    etag = endpoint.get("/webapp/client/app.js").one("ETag")
    answer = endpoint.get(
        "/webapp/client/app.js", headers={key: text.format(etag=etag) for key, text in headers.items()}
    )
    assert answer.status == status
    found = answer.all("Strict-Transport-Security")
    if status == 416 and not hardened.apache:
        # nginx has its filters add headers twice here; whoever gets two heeds the first (RFC 6797, section 8.1).
        found = found[:1]
    assert found == [POLICY]


def test_hsts_comes_exactly_once_over_http2(hardened, frontend, host):
    if not hardened.site or frontend.host in PREFORK:
        pytest.skip("HTTP/2 is the administrator's, or the server cannot do it")
    for path in ("/webapp/", "/webapp/client/app.js", "/none", ACTIVESYNC, STRICT):
        url = f"https://{frontend.name}{path}"
        head = host.check_output(f"curl -sk --http2 -o /dev/null -D - --resolve {frontend.name}:443:127.0.0.1 {url}")
        lines = head.lower().splitlines()
        assert lines[0].startswith("http/2 ")
        assert [line for line in lines if line.startswith("strict-transport")] == [
            f"strict-transport-security: {POLICY}"
        ]


def test_hsts_comes_exactly_once_with_a_refused_request(hardened):
    for endpoint in hardened.endpoints:
        with (
            socket.create_connection((endpoint.address, 443), TIMEOUT) as plain,
            context().wrap_socket(plain, server_hostname=endpoint.server_name) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
            head = read_head(tls)
        assert head[0].split()[1] == "400", endpoint
        assert [line for line in head if line.lower().startswith("strict-transport")] == [
            f"Strict-Transport-Security: {POLICY}"
        ], endpoint


def read_head(tls: ssl.SSLSocket) -> list[str]:
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = tls.recv(65536)
        if not more:
            break
        answer += more
    return answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")


@pytest.mark.parametrize("path", ["/", "/webapp/", "/webapp/?a=b%20c&d", "/none", "/.well-known/caldav"])
def test_plain_http_leads_to_the_same_place_with_tls(hardened, frontend, path):
    for address in hardened.addresses:
        for name in hardened.names if "redirect" not in frontend.dirt else [frontend.name]:
            answer = frontend.request(path, name=name, address=address, secure=False)
            assert answer.status in (301, 308), (address, name)
            assert answer.one("Location") == f"https://{name}{path}"
            assert answer.all("Strict-Transport-Security") == []


def test_plain_http_never_leads_to_a_place_that_the_client_did_not_name(hardened, frontend):
    answer = frontend.request("/webapp/", name=UNKNOWN, secure=False)
    own = "redirect" in frontend.dirt and not hardened.site  # the administrator's
    goals = {f"https://{UNKNOWN}/webapp/", *({f"https://{frontend.name}/webapp/"} if own else ())}
    assert {answer.one("Location")} <= goals | {None}
    if not hardened.site:
        assert answer.status in (301, 308)


def test_acme_challenges_are_answered(hardened, frontend):
    for address in hardened.addresses:
        answer = frontend.request(CHALLENGE, address=address, secure=False)
        if "redirect" in frontend.dirt and not hardened.site:
            # The administrator's own redirect takes them along; a certificate authority follows it.
            assert answer.one("Location") == f"https://{frontend.name}{CHALLENGE}"
            answer = frontend.request(CHALLENGE, address=address)
        assert (answer.status, answer.body) == (200, b"answer")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", [ACTIVESYNC, f"{ACTIVESYNC}?Cmd=Sync&User=me", ACTIVESYNC.lower()])
def test_activesync_on_plain_http_is_not_redirected(hardened, frontend, path, method):
    for address in hardened.addresses:
        answer = frontend.request(path, method=method, address=address, secure=False)
        assert answer.status == 403
        assert answer.all("Location") == []
