# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an answer is worse than before, with made-up answers and with those of real servers."""

from __future__ import annotations

import io
import socketserver
import threading
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes

from . import web_bed

COOKIE = "__Secure-KOPANO_WEBAPP=abc; path=/; Secure; HttpOnly"


def answer(status: int = 200, location: str | None = None, **headers: t.Any) -> _client.Response:
    """An answer with headers by name, underscores for hyphens, a list for one that comes more often than once."""
    named = {name.replace("_", "-"): value if isinstance(value, list) else [value] for name, value in headers.items()}
    return {"ok": True, "status": status, "location": location, "headers": named, "error": None}


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (answer(200), answer(404), "404"),
        (answer(401), answer(403), "403"),
        (answer(403), answer(200), "200"),
        (answer(200), answer(502), "502"),
        (answer(100), answer(413), "413"),
        (answer(401), answer(413), "413"),
        (answer(302, "/webapp/"), answer(302, "/other/"), "/other/"),
        (answer(302, "/signin?state=a1"), answer(302, "/signin?error=x"), "error"),
        (answer(401, www_authenticate="Basic"), answer(401), "www-authenticate"),
        (answer(ms_asprotocolversions="14.1"), answer(), "ms-asprotocolversions"),
        (answer(), answer(x_frame_options="DENY"), "X-Frame-Options DENY"),
        (answer(x_frame_options="SAMEORIGIN"), answer(x_frame_options="SAMEORIGIN, deny"), "deny"),
        (answer(), answer(content_security_policy="default-src 'self'; frame-ancestors 'none'"), "frame-ancestors"),
        (answer(), answer(x_frame_options=["SAMEORIGIN", "SAMEORIGIN"]), "2 times"),
        (answer(strict_transport_security="a"), answer(strict_transport_security=["a", "b"]), "2 times"),
        (answer(access_control_allow_origin="https://a.example"), answer(), "access-control-allow-origin"),
        (answer(), answer(access_control_allow_origin="*"), "access-control-allow-origin"),
        (answer(set_cookie=COOKIE), answer(), "lost the cookie __Secure-KOPANO_WEBAPP"),
        (answer(set_cookie=COOKIE), answer(set_cookie=COOKIE.replace("; Secure", "")), "secure"),
        (answer(set_cookie=COOKIE), answer(set_cookie=COOKIE.replace("HttpOnly", "x")), "httponly"),
        (answer(set_cookie=COOKIE), answer(set_cookie=COOKIE + "; SameSite=Strict"), "samesite"),
        (answer(set_cookie=COOKIE + "; SameSite=None"), answer(set_cookie=COOKIE), "samesite"),
        (answer(set_cookie=COOKIE), answer(set_cookie=COOKIE.replace("path=/", "path=/x")), "path"),
    ],
)
def test_worse(before: _client.Response, after: _client.Response, named: str) -> None:
    reason = _probes.worse(before, after)
    assert reason is not None
    assert named in reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (answer(100), answer(401)),
        (answer(401), answer(100)),
        (answer(404), answer(200)),
        (answer(502), answer(503)),
        (answer(301, "http://mail.example/webapp/"), answer(308, "https://mail.example/webapp/")),
        (answer(302, "/signin?flow=oidc&state=a1"), answer(302, "/signin?flow=oidc&state=b2")),
        (answer(), answer(x_frame_options="SAMEORIGIN", strict_transport_security="a")),
        (answer(x_frame_options="DENY"), answer(x_frame_options="DENY")),
        (answer(x_frame_options="DENY"), answer(x_frame_options="SAMEORIGIN")),
        (answer(strict_transport_security=["a", "b"]), answer(strict_transport_security="a")),
        (answer(set_cookie=COOKIE), answer(set_cookie=COOKIE.replace("abc", "def") + "; SameSite=Lax")),
        (answer(set_cookie=[COOKIE, "lang=de"]), answer(set_cookie=["lang=en", COOKIE, "new=1"])),
    ],
)
def test_not_worse(before: _client.Response, after: _client.Response) -> None:
    assert _probes.worse(before, after) is None


def test_a_header_that_is_to_be_kept_may_neither_come_nor_go_nor_change() -> None:
    same = answer(x_frame_options="SAMEORIGIN")
    for before, after in ((answer(), same), (same, answer()), (same, answer(x_frame_options="ALLOW-FROM x"))):
        assert "x-frame-options" in (_probes.worse(before, after, keep=["X-Frame-Options"]) or "")
        assert _probes.worse(before, after) is None
    assert _probes.worse(same, same, keep=["X-Frame-Options"]) is None


@pytest.mark.parametrize("status", [404, 410])
def test_a_path_that_was_not_there_had_no_headers_to_keep(status: int) -> None:
    """A site beside a virtual host that serves nothing, as Red Hat's package of mod_ssl brings one."""
    keep = ["WWW-Authenticate"]
    before, after = answer(status), answer(401, www_authenticate="Basic")
    assert _probes.worse(before, after, keep=keep) is None
    assert "www-authenticate" in (_probes.worse(before, answer(status, www_authenticate="Basic"), keep=keep) or "")
    assert "www-authenticate" in (_probes.worse(answer(401), after, keep=keep) or "")
    # Nor could other sites read what was not there; what was there with this status still counts.
    assert _probes.worse(before, answer(200, access_control_allow_origin="*"), keep=keep) is None
    assert "allow-origin" in (_probes.worse(before, answer(status, access_control_allow_origin="*"), keep=keep) or "")
    # What is wrong with a response by itself is wrong with a new one.
    assert "2 times" in (_probes.worse(before, answer(200, x_frame_options=["DENY", "DENY"]), keep=keep) or "")


def test_a_nonce_is_new_each_time() -> None:
    before, after = (answer(content_security_policy=f"style-src 'nonce-{nonce}' 'self'") for nonce in ("a1_", "b-2"))
    assert _probes.worse(before, after, keep=["Content-Security-Policy"]) is None
    before, after = (answer(401, www_authenticate=f'Digest realm="x", nonce="{nonce}"') for nonce in ("a", "b"))
    assert _probes.worse(before, after, keep=["WWW-Authenticate"]) is None
    other = answer(401, www_authenticate='Digest realm="y", nonce="a"')
    assert _probes.worse(before, other, keep=["WWW-Authenticate"])


# --- real servers ----------------------------------------------------------------------------------------------------

UPLOAD = 20 << 20


class Backend(socketserver.StreamRequestHandler):
    """Takes whatever comes, by SCGI: as with PHP, the server itself decides about the body."""

    def handle(self) -> None:
        fields = web_bed.read_scgi(self.rfile)
        if not fields:
            return  # the server has connected, and refused the upload
        self.rfile.read(int(fields[1]))
        self.wfile.write(b"Status: 200 OK\r\n\r\n")


@pytest.fixture(scope="module")
def backend() -> t.Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Backend) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def serve(server: str, folder: Path, port: int, backend: int, more: str) -> None:
    """A server whose root is nothing, and whose uploads go to a backend."""
    certificate, key = web_bed.make_certificate(folder)
    if server == "nginx":
        # A limit of the whole server is one that locations without their own inherit.
        limit = "" if "client_max_body_size" in more else "client_max_body_size 32m;"
        text = web_bed.nginx_head(folder) + "http { %s %s %s server { listen 127.0.0.1:%d ssl;" % (
            web_bed.nginx_http(folder), more, limit, port
        )  # fmt: skip
        text += "ssl_certificate %s; ssl_certificate_key %s;" % (certificate, key)
        text += "location / { return 204; } location /up { scgi_pass 127.0.0.1:%d; include %s/scgi_params; } } }" % (
            backend,
            folder,
        )
        (folder / "scgi_params").write_text("scgi_param CONTENT_LENGTH $content_length;\nscgi_param SCGI 1;\n")
    else:
        modules = ("ssl", "socache_shmcb", "headers", "alias", "proxy", "proxy_scgi")
        text = web_bed.apache_head(folder, *modules) + "Listen 127.0.0.1:%d\n%s\n" % (port, more)
        text += "<VirtualHost *:%d>\nSSLEngine on\nSSLCertificateFile %s\nSSLCertificateKeyFile %s\n" % (
            port, certificate, key
        )  # fmt: skip
        text += "RedirectMatch 204 ^/$\nProxyPass /up scgi://127.0.0.1:%d\n</VirtualHost>\n" % backend
    (folder / (server + ".conf")).write_text(text)


@pytest.mark.parametrize("server", [
    pytest.param("apache", marks=web_bed.needs_apache), pytest.param("nginx", marks=web_bed.needs_nginx),
])  # fmt: skip
def test_a_global_deny_and_a_limit_of_one_megabyte_are_noticed(server: str, tmp_path: Path, backend: int) -> None:
    (port,) = web_bed.free_ports(1)
    target = {"address": "127.0.0.1", "port": port, "server_name": "mail.example", "path": "/"}
    upload = dict(target, path="/up", method="POST", body_size=UPLOAD)
    bad = {
        "apache": ["", "Header always set X-Frame-Options DENY", "LimitRequestBody 1048576"],
        "nginx": ["", "add_header X-Frame-Options DENY;", "client_max_body_size 1m;"],
    }[server]
    answers = []
    for more in bad:
        serve(server, tmp_path, port, backend, more)
        with web_bed.running(server, tmp_path, port):
            answers.append(_client.query_all([target, upload], 10))
    (page, taken), (denied, still_taken), (_page, refused) = answers
    assert (page["status"], taken["status"], refused["status"]) == (204, 100, 413)
    assert taken["ms"] < 3000
    assert "frame" in (_probes.worse(page, denied) or "")
    assert "413" in (_probes.worse(taken, refused) or "")
    assert _probes.worse(taken, still_taken) is None


def test_a_backend_is_done_with_a_connection_that_ends_before_its_request() -> None:
    """As the server ends it after it has refused an upload. A thread that reads on there takes a whole core."""
    for text in (b"", b"2", b"24:CONTENT_LENGTH\0"):
        assert web_bed.read_scgi(io.BytesIO(text)) == []
    whole = io.BytesIO(b"24:CONTENT_LENGTH\x005\0SCGI\x001\0,body")
    assert web_bed.read_scgi(whole) == [b"CONTENT_LENGTH", b"5", b"SCGI", b"1", b","]


def test_of_endpoints_that_are_set_up_in_the_same_way_one_is_enough() -> None:
    def endpoint(address: str, name: str | None, group: str | None, port: int = 443) -> t.Any:
        return {"address": address, "port": port, "server_name": name, "tls_group": group}

    first = [
        endpoint("192.0.2.1", None, "a"), endpoint("192.0.2.1", "one.test", "a"),
        endpoint("192.0.2.1", "own.test", "b"), endpoint("192.0.2.2", "one.test", "a"),
        endpoint("192.0.2.1", "one.test", "a", 444),
        endpoint("192.0.2.1", "not-known.test", None), endpoint("192.0.2.1", "nor-this.test", None),
    ]  # fmt: skip
    more = [endpoint("192.0.2.1", name, "a") for name in ("two.test", "three.test")]
    assert _probes.one_of_each([*first, *more]) == first


@pytest.mark.parametrize(
    ("address", "reached"),
    [("*", "127.0.0.1"), ("[::]", "::1"), ("[2001:db8::1]", "2001:db8::1"), ("192.0.2.1", "192.0.2.1")]
    + [(odd, None) for odd in ("unix:/run/x", "mail.example", "192.0.2.\udce9", "192.0.2.1\0", "[::1%lo]")],
)
def test_where_an_address_is_reached(address: str, reached: str | None) -> None:
    assert _probes.connect_address(address) == reached


def test_a_virtual_host_with_several_addresses_is_known_by_its_place() -> None:
    def vhost(address: str, line: int, *names: str) -> t.Any:
        values = {"names": names, "tls": True, "file": "/site", "line": line, "tls_group": None}
        return types.SimpleNamespace(listen=[{"address": address, "port": 443}], **values)

    one, other = [vhost(address, 1, "mail.test") for address in ("192.0.2.1", "[2001:db8::1]")], vhost("192.0.2.2", 9)
    endpoints = _probes.targets_of([*one, other])
    shown = [(target["address"], target["again"]) for target in _probes.targets_for({"path": "/"}, endpoints)]
    assert shown == [("192.0.2.1", False), ("2001:db8::1", True), ("192.0.2.2", False)]
    # Which virtual host a name leads to that none of them has, the server decides at each address anew.
    elsewhere = _probes.targets_for({"path": "/", "server_name": "other.test"}, endpoints)
    assert [target["again"] for target in elsewhere] == [False, False, False]


def test_one_for_all_addresses_is_not_requested_where_another_one_is_bound() -> None:
    def vhost(address: str, port: int = 443) -> t.Any:
        return _webserver_model.Vhost("nginx", [], address, port, "/site", 1)

    def reached(*vhosts: t.Any, **options: t.Any) -> list[tuple[str, int, bool]]:
        for one in vhosts:
            one.tls = True
        targets = _probes.targets_of(vhosts, **options)
        return [(target["address"], target["port"], target["outside"]) for target in targets]

    own, other, everywhere = vhost("127.0.0.1"), vhost("127.0.0.2", 8443), vhost("*")
    assert reached(own, everywhere, other)[:2] == [("127.0.0.1", 443, False), ("127.0.0.2", 443, True)]
    assert reached(everywhere, bound=_probes.bound_to([own, everywhere])) == [("127.0.0.2", 443, True)]
    assert reached(everywhere, vhost("[::1]"), vhost("127.0.0.1", 8443))[0] == ("127.0.0.1", 443, True)


def test_a_virtual_host_that_nothing_is_requested_from_is_known() -> None:
    def vhost(line: int, *addresses: str, tls: bool = True) -> list[t.Any]:
        made = [_webserver_model.Vhost("nginx", [], address, 443, "/site", line) for address in addresses]
        for one in made:
            one.tls = tls
        return made

    reached = [*vhost(1, "192.0.2.1"), *vhost(2, "unix:/run/x", "*"), *vhost(3, "unix:/run/x", tls=False)]
    assert _probes.unreached(reached) == []
    socket, listening_nowhere = vhost(4, "unix:/run/x", "unix:/run/y"), vhost(5, "*")
    listening_nowhere[0].listen = []
    assert [one.line for one in _probes.unreached([*reached, *socket, *listening_nowhere])] == [4, 5]
