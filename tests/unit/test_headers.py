# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's headers in an administrator's virtual host, as real servers send them: once, and only where due."""

from __future__ import annotations

import http.server
import threading
import typing as t
import urllib.parse
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx

from . import web_bed
from .role_frontend import host, plan, render, vhost

pytestmark = pytest.mark.slow

HSTS = "max-age=31536000"
SERVERS = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]


class Backend(http.server.BaseHTTPRequestHandler):
    """Sends security headers of its own with everything; those of a query take the place of the usual ones."""

    HEADERS: t.ClassVar = {
        "Strict-Transport-Security": "max-age=1",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "origin",
        "X-Powered-By": "PHP/8.4",
        "Content-Length": "0",
    }

    def do_GET(self) -> None:
        self.send_response(200)
        asked = dict(urllib.parse.parse_qsl(self.path.partition("?")[2], keep_blank_values=True))
        for name, value in {**self.HEADERS, **asked}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_words: t.Any) -> None:
        pass


@pytest.fixture(scope="module")
def backend() -> t.Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


DENIES = "Header always set X-Frame-Options DENY\n"


def adopted(
    server: str, folder: Path, backend: int, own: str = DENIES, around: str = "", **options: t.Any
) -> tuple[int, int]:
    """Adopts a virtual host with a proxied WebApp, Konnect and Meet; returns its ports, for TLS and without.

    own: directives of an Apache's virtual host; around: those outside of it.
    """
    layout = web_bed.layout(server, folder)
    info = host(server, "debian", policy_dir=layout.policy_dir)
    info["vhosts"] = [vhost(server)]
    wanted = plan(info, http_redirect=False, **options)
    for path, text in render(wanted).items():
        if path.startswith(layout.policy_dir):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # A name for what is shared between processes, which may be there already.
            Path(path).write_text(text.replace("shared:kopano_hardening", f"shared:k{folder.name[-20:]}"))
    certificate, key = web_bed.make_certificate(folder)
    port, plain = web_bed.free_ports(2)
    if server == "nginx":
        text = web_bed.nginx_head(folder) + "http {\n%s" % web_bed.nginx_http(folder)
        text += "server {\nlisten 127.0.0.1:%d ssl;\nlisten 127.0.0.1:%d;\n" % (port, plain)
        text += "ssl_certificate %s;\nssl_certificate_key %s;\n" % (certificate, key)
        text += "location / {\nproxy_pass http://127.0.0.1:%d;\n}\n" % backend
        text += "location /meet/ {\nadd_header Cache-Control no-cache;\nproxy_pass http://127.0.0.1:%d;\n}\n" % backend
        text += "location /webapp/server {\nreturn 403;\n}\n}\n}\n"
    else:
        modules = ("ssl", "socache_shmcb", "headers", "alias", "rewrite", "proxy", "proxy_http")
        text = web_bed.apache_head(folder, *modules) + "Listen 127.0.0.1:%d\nListen 127.0.0.1:%d\n" % (port, plain)
        text += around + "<VirtualHost *:%d>\nRedirectMatch 204 ^\n</VirtualHost>\n" % plain
        text += "<VirtualHost *:%d>\nSSLEngine on\nSSLCertificateFile %s\nSSLCertificateKeyFile %s\n" % (
            port, certificate, key
        )  # fmt: skip
        text += own + "Header set Strict-Transport-Security max-age=2\n"
        text += (
            "RedirectMatch 403 ^/webapp/server\nProxyPass /webapp/server !\nProxyPass / http://127.0.0.1:%d/\n"
            % backend
        )
        text += "<Location /meet>\nHeader set Cache-Control no-cache\n</Location>\n</VirtualHost>\n"
    Path(layout.main_config).write_text(text)
    load: t.Callable[..., _webserver_model.Config] = {"apache": _apache.load, "nginx": _nginx.load}[server]
    for path, changed in _adopt.adopt(load(layout), layout, wanted["policy"]).texts.items():
        Path(path).write_text(changed)
    return port, plain


@pytest.mark.parametrize("replaces", [[], ["headers"]])
@pytest.mark.parametrize("server", SERVERS)
def test_each_header_comes_once_and_konnect_s_are_its_own(
    server: str, replaces: list[str], tmp_path: Path, backend: int
) -> None:
    port, plain = adopted(server, tmp_path, backend, replace_stronger=replaces)
    with web_bed.running(server, tmp_path, port):
        paths = ("/webapp/", "/webapp/server", "/signin/v1/identifier", "/meet/", "/elsewhere")
        answers = {path: web_bed.get(port, path) for path in paths}
        without_tls = web_bed.get(plain, "/webapp/", tls=False)
    for path, answer in answers.items():
        assert answer.all("strict-transport-security") == [HSTS], path
        assert answer.all("x-content-type-options") == ["nosniff"], path
        assert answer.all("x-powered-by") == [], path
        assert not any(character.isdigit() for character in answer.all("server")[0]) or server == "apache", path
    for path in ("/webapp/", "/webapp/server"):
        # Denied by the backend, which is not asked for the second one, and by Apache's virtual host, which is.
        denied = not replaces and (path == "/webapp/" or server == "apache")
        assert answers[path].all("x-frame-options") == ["DENY" if denied else "SAMEORIGIN"], path
        assert answers[path].all("referrer-policy") == ["no-referrer"], path
        assert len(answers[path].all("content-security-policy-report-only")) == 1, path
    assert answers["/webapp/server"].status == 403
    # The backend's own: neither doubled nor replaced. With Apache the administrator's came beside it before.
    assert set(answers["/signin/v1/identifier"].all("x-frame-options")) == {"DENY"}
    assert answers["/signin/v1/identifier"].all("referrer-policy") == ["origin"]
    assert answers["/meet/"].all("cache-control") == ["no-cache"]
    assert answers["/meet/"].all("referrer-policy") == ["no-referrer"]
    assert "camera=(self)" in answers["/meet/"].all("permissions-policy")[0]
    assert answers["/elsewhere"].all("referrer-policy") == ["origin"]
    assert HSTS not in without_tls.all("strict-transport-security")


CSP = "default-src 'none'"
OWN_CSP = "script-src 'nonce-x'; object-src 'none'"


@pytest.mark.parametrize("server", SERVERS)
def test_a_backend_s_stronger_headers_stay(server: str, tmp_path: Path, backend: int) -> None:
    override = {"webapp": {"csp": CSP, "headers": {"set": {"Referrer-Policy": "strict-origin"}}, "permissions": []}}
    port, _plain = adopted(server, tmp_path, backend, own="", csp="enforce", components_override=override)

    def sent(name: str, own: str, path: str = "/webapp/") -> list[str]:
        return web_bed.get(port, f"{path}?{urllib.parse.urlencode({name: own})}").all(name.lower())

    with web_bed.running(server, tmp_path, port):
        for name, own, value in (
            ("X-Frame-Options", "deny", "deny"),
            ("X-Frame-Options", "SAMEORIGIN", "SAMEORIGIN"),
            ("X-Frame-Options", "ALLOWALL", "SAMEORIGIN"),
            ("X-Frame-Options", "", "SAMEORIGIN"),
            ("Referrer-Policy", "no-referrer", "no-referrer"),
            ("Referrer-Policy", "unsafe-url", "strict-origin"),
            ("Content-Security-Policy", "", CSP),
            ("Content-Security-Policy", OWN_CSP, f"{OWN_CSP}, {CSP}"),
        ):
            assert sent(name, own) == [value], (name, own)
        (policy,) = sent("Permissions-Policy", "")
        assert sent("Permissions-Policy", "browsing-topics=()") == [f"browsing-topics=(), {policy}"]
        assert sent("Permissions-Policy", "camera 'none'") == [policy]
        # Elsewhere the policy does not say anything, so everything is the backend's.
        assert sent("Referrer-Policy", "unsafe-url", "/elsewhere") == ["unsafe-url"]


@pytest.mark.parametrize("server", SERVERS)
def test_the_inner_path_s_headers_are_those_of_its_component(server: str, tmp_path: Path, backend: int) -> None:
    """Also where the outer component's are stronger: those are not taken for somebody's own."""
    inner = {"paths": ["/webapp/files"], "backend": "http://127.0.0.1:1", "csp": "img-src *"}
    inner["headers"] = {"set": {"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "origin"}}
    port, _plain = adopted(
        server,
        tmp_path,
        backend,
        own="",
        csp="enforce",
        components_override={"webapp": {"csp": CSP, "headers": {"set": {"X-Frame-Options": "DENY"}}}},
        components_extra={"files": inner},
    )
    names = ("X-Frame-Options", "Referrer-Policy", "Content-Security-Policy")
    query = urllib.parse.urlencode(dict.fromkeys(names, ""))
    with web_bed.running(server, tmp_path, port):
        outer, inside = (web_bed.get(port, f"/webapp/{path}?{query}") for path in ("", "files/"))
    assert [outer.all(name.lower()) for name in names] == [["DENY"], ["no-referrer"], [CSP]]
    assert [inside.all(name.lower()) for name in names] == [["SAMEORIGIN"], ["origin"], ["img-src *"]]


@web_bed.needs_apache
@pytest.mark.parametrize("where", ["own", "around"])
@pytest.mark.parametrize("condition", ["", "always "])
@pytest.mark.parametrize("backends", ["", "SAMEORIGIN", "DENY"])
def test_an_administrator_s_stronger_headers_stay_with_apache(
    condition: str, where: str, backends: str, tmp_path: Path, backend: int
) -> None:
    own = (
        f'Header {condition}set X-Frame-Options "DENY"\nHeader {condition}set Permissions-Policy "browsing-topics=()"\n'
    )
    port, _plain = adopted("apache", tmp_path, backend, **{"own": "", where: own})  # type: ignore[arg-type]
    with web_bed.running("apache", tmp_path, port):
        for path in ("/webapp/", "/elsewhere"):
            answer = web_bed.get(port, f"{path}?X-Frame-Options={backends}")
            values = answer.all("x-frame-options")
            # Elsewhere what was sent twice before is what it was.
            assert set(values) == ({"DENY"} if path == "/webapp/" or not condition else {"DENY", backends} - {""})
            assert len(values) == 1 or path == "/elsewhere"
            (permissions,) = answer.all("permissions-policy")
            assert permissions.startswith("browsing-topics=()") and ("midi=()" in permissions) is (path == "/webapp/")


@pytest.mark.parametrize("denies", [True, False])
@pytest.mark.parametrize("server", SERVERS)
def test_internal_paths_are_refused_when_requested(server: str, denies: bool, tmp_path: Path, backend: int) -> None:
    port, _plain = adopted(server, tmp_path, backend, deny_internal=denies)
    with web_bed.running(server, tmp_path, port):
        for path in ("/webapp/config.php", "/webapp/%63onfig.php", "/api/kwm/v2/admin", "/api/kwm/v2//mcu/x"):
            answer = web_bed.get(port, path)
            assert answer.status == (403 if denies else 200), path
            assert answer.all("strict-transport-security") == [HSTS], path
        for path in ("/webapp/", "/api/kwm/v2/rtm/connect", "/elsewhere/config.php"):
            assert web_bed.get(port, path).status == 200, path


@pytest.mark.parametrize("server", SERVERS)
def test_without_the_role_headers_come_twice(server: str, tmp_path: Path, backend: int) -> None:
    """Guards the test above: its servers and backend are ones on which simple directives go wrong."""
    port, _plain = adopted(server, tmp_path, backend)
    path = tmp_path / (server + ".conf")
    text = _adopt.unadopt(path.read_text())
    if server == "nginx":
        text = text.replace("location / {", "add_header Strict-Transport-Security max-age=3 always;\nlocation / {")
    else:
        text = text.replace("ProxyPass /", "Header always set Strict-Transport-Security max-age=3\nProxyPass /")
    path.write_text(text)
    with web_bed.running(server, tmp_path, port):
        assert len(web_bed.get(port, "/webapp/").all("strict-transport-security")) == 2
