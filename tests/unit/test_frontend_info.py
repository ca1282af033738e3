# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import catalogue as _webserver_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import components as _webserver_components
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import findings as _webserver_findings
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import names as _names
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import Server
from ansible_collections.kopano.hardening.plugins.modules import frontend_info

from . import web_bed
from .slow_bed import SLACK

Info = dict[str, t.Any]

VHOST = """<VirtualHost *:443>
    ServerName mail.example
    SSLEngine on
    SSLCertificateFile cert.pem
    SSLCertificateKeyFile key.pem
    SSLProtocol all
</VirtualHost>
"""
SERVER = """server {
    listen 127.0.0.1:%d ssl;
    server_name mail.example;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    ssl_ciphers HIGH;
}
"""


class Host:
    """Apache and nginx with configurations in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.layouts: list[_layout.Layout] = []
        web_bed.make_certificate(folder)
        monkeypatch.setattr(_layout, "detect", lambda wanted: self.layouts)
        monkeypatch.setattr(_webserver_info, "_running", lambda server: True)
        # other tests may run servers at the same time
        monkeypatch.setattr(Server, "arguments", lambda server: [])
        # the binaries know other places than these
        places = {
            "apache": ["-f", str(folder / "apache.conf")],
            "nginx": ["-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")],
        }
        questions = {
            name: tuple(places[name] + words for words in several)
            for name, several in _webserver_info._TEST_ARGUMENTS.items()
        }
        monkeypatch.setattr(_webserver_info, "_TEST_ARGUMENTS", questions)

    def add(self, server: str, text: str) -> Host:
        head = {
            "apache": web_bed.apache_head(self.folder, "ssl"),
            "nginx": web_bed.nginx_head(self.folder) + "http {\n%s%%s}\n" % web_bed.nginx_http(self.folder),
        }[server]
        (self.folder / (server + ".conf")).write_text(head + text if server == "apache" else head % text)
        self.layouts.append(web_bed.layout(server, self.folder))
        return self

    def survey(self) -> Info:
        result = _webserver_info.run({"server": "auto", "clients": False})
        assert json.loads(json.dumps(result)) == result
        return result


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def ids(result: Info) -> list[str]:
    return [item["id"] for item in result["findings"]]


needs_both = [web_bed.needs_apache, web_bed.needs_nginx]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its inode and time of change."""
    found = [os.path.join(top, name) for top, _folders, names in os.walk(folder) for name in names]
    return {path: (os.lstat(path).st_ino, os.lstat(path).st_ctime_ns) for path in found}


@web_bed.needs_apache
@web_bed.needs_nginx
def test_both_servers(host: Host) -> None:
    host.add("apache", VHOST).add("nginx", SERVER % web_bed.free_ports(1)[0])
    before = tree(host.folder)
    result = host.survey()
    assert tree(host.folder) == before
    apache, nginx = result["servers"]
    assert (apache["server"], apache["valid"], apache["mpm"]) == ("apache", True, "event")
    assert {"ssl", "so", "mpm_event"} <= set(apache["modules"])
    assert (nginx["server"], nginx["valid"], nginx["mpm"]) == ("nginx", True, None)
    assert nginx["version"] in web_bed.run(web_bed.NGINX, "-v").stderr
    for server in (apache, nginx):
        assert len(server["openssl"]["groups"]) == len(server["openssl"]["group_names"]) > 3
        assert "secp256r1" in server["openssl"]["groups"] and "prime256v1" in server["openssl"]["group_names"]
        assert "TLS_AES_128_GCM_SHA256" in server["openssl"]["cipher_suites"]
    found = {vhost["server"]: vhost for vhost in result["vhosts"]}
    for server in ("apache", "nginx"):
        vhost = found[server]
        assert vhost["names"] == ["mail.example"] and vhost["tls"] and vhost["default"]
        assert vhost["certificate"] == str(host.folder / "cert.pem")
    assert [item["directive"] for item in found["apache"]["overrides"]] == ["SSLProtocol"]
    override = found["nginx"]["overrides"][0]
    text = (host.folder / "nginx.conf").read_text().splitlines()
    assert text[override["line"] - 1].strip() == "ssl_ciphers HIGH;"
    assert ids(result).count("frontend.tls.override") == 2


def served(result: Info) -> list[_names.ServedCertificate]:
    return _names.certificates(_names.in_use(result["servers"], result["vhosts"]))


def config_severities(result: Info) -> set[str]:
    return {item["severity"] for item in result["findings"] if item["id"] == "frontend.config.broken"}


@web_bed.needs_apache
@web_bed.needs_nginx
def test_a_server_that_is_not_used_fails_no_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red Hat's Apache refuses its own virtual host until its unit has made the certificate, at the first start."""
    host.add("apache", VHOST.replace("cert.pem", "none.pem")).add("nginx", SERVER % web_bed.free_ports(1)[0])
    monkeypatch.setattr(_webserver_info, "_running", lambda server: server.layout.server == "nginx")
    monkeypatch.setattr(Server, "starts_at_boot", lambda _server: False)
    result = host.survey()
    assert {item["id"]: item["severity"] for item in result["findings"]}["frontend.server.unused"] == "info"
    assert config_severities(result) == {"info"}
    assert [one["chain"] for one in served(result)] == [str(host.folder / "cert.pem")]


@web_bed.needs_apache
@web_bed.needs_nginx
@pytest.mark.parametrize(("running", "at_boot"), [("", False), ("nginx", True)], ids=["none runs", "starts at boot"])
def test_a_broken_server_that_may_be_the_one_that_is_to_serve_fails_the_host(
    host: Host, monkeypatch: pytest.MonkeyPatch, running: str, at_boot: bool
) -> None:
    host.add("apache", VHOST.replace("cert.pem", "none.pem")).add("nginx", SERVER % web_bed.free_ports(1)[0])
    monkeypatch.setattr(_webserver_info, "_running", lambda server: server.layout.server == running)
    monkeypatch.setattr(Server, "starts_at_boot", lambda _server: at_boot)
    result = host.survey()
    assert config_severities(result) == {"fail"}
    assert [one["chain"] for one in served(result)] == [str(host.folder / "none.pem"), str(host.folder / "cert.pem")]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("enabled", True), ("disabled", False), ("masked", False), ("static", True), ("Failed to connect to bus", True)],
)
def test_a_server_starts_at_boot_unless_its_unit_rules_it_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, expected: bool
) -> None:
    """systemctl is-enabled fails for some states, and reads the files itself, as auditors without root may need."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f'#!/bin/sh\necho "{state}"\n'
        f'[ "$SYSTEMD_OFFLINE $1 $2" = "1 is-enabled {_layout.LAYOUTS[0].unit}" ] && [ "{state}" = enabled ]\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os.path, "isdir", lambda _path: True)
    assert Server(_layout.LAYOUTS[0]).starts_at_boot() is expected


@web_bed.needs_nginx
def test_compiled_in_modules_are_those_of_nginx(host: Host) -> None:
    (nginx,) = host.add("nginx", "").survey()["servers"]
    words = web_bed.run(web_bed.NGINX, "-V").stderr
    assert set(nginx["modules"]) == set(re.findall(r" --with-(\w+)_module(?= |\n)", words))


@web_bed.needs_apache
@web_bed.needs_nginx
def test_what_a_server_refuses_is_a_result(host: Host) -> None:
    host.add("apache", VHOST.replace("SSLProtocol all", "SSLProtocol wrong"))
    host.add("nginx", SERVER.replace("HIGH", "NOSUCH") % web_bed.free_ports(1)[0])
    result = host.survey()
    assert [server["valid"] for server in result["servers"]] == [False, False]
    broken = [item for item in result["findings"] if item["id"] == "frontend.config.broken"]
    line = (host.folder / "apache.conf").read_text().splitlines().index("    SSLProtocol wrong") + 1
    assert broken[0]["subject"] == "%s:%d" % (host.folder / "apache.conf", line)
    assert "wrong" in broken[0]["evidence"]
    assert "NOSUCH" in broken[1]["evidence"] and str(host.folder) in broken[1]["subject"]
    # what the files say is still told
    assert [vhost["names"] for vhost in result["vhosts"]] == [["mail.example"]] * 2


@web_bed.needs_apache
def test_a_missing_certificate_is_no_valid_configuration(host: Host) -> None:
    """Apache's dump alone would not notice."""
    result = host.add("apache", VHOST.replace("cert.pem", "missing.pem")).survey()
    (server,) = result["servers"]
    assert server["valid"] is False
    (broken,) = (item for item in result["findings"] if item["id"] == "frontend.config.broken")
    assert "missing.pem" in broken["evidence"]
    assert result["vhosts"][0]["names"] == ["mail.example"]


@web_bed.needs_nginx
def test_a_text_that_cannot_be_parsed_is_a_result(host: Host) -> None:
    result = host.add("nginx", "server { listen 80;").survey()
    assert result["vhosts"] == []
    broken = [item for item in result["findings"] if item["id"] == "frontend.config.broken"]
    assert len(broken) == 1 and str(host.folder / "nginx.conf") in broken[0]["subject"]
    assert [server["server"] for server in result["servers"]] == ["nginx"]


@pytest.mark.parametrize("why", ["not root", "refused"])
@web_bed.needs_apache
@web_bed.needs_nginx
def test_without_a_private_view_nginx_is_not_run(host: Host, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    host.add("apache", VHOST).add("nginx", SERVER % 4433)
    if why == "not root":
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def refuse(*arguments: t.Any, **options: t.Any) -> t.Any:
        raise _namespace.Refused("no")

    monkeypatch.setattr(_namespace, "call", refuse)
    before = tree(host.folder)
    result = host.survey()
    assert tree(host.folder) == before
    assert [server["valid"] for server in result["servers"]] == [True, None]
    untested = [item for item in result["findings"] if item["id"] == "frontend.config.untested"]
    assert [(item["subject"], item["severity"]) for item in untested] == [(str(host.folder / "nginx.conf"), "unknown")]
    assert [vhost["tls"] for vhost in result["vhosts"]] == [True, True]


@web_bed.needs_apache
def test_a_refusal_without_roots_rights_proves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = host.add("apache", VHOST.replace("cert.pem", "missing.pem")).survey()
    assert result["servers"][0]["valid"] is None
    assert "frontend.config.untested" in ids(result) and "frontend.config.broken" not in ids(result)


def test_a_host_without_a_server(host: Host) -> None:
    result = host.survey()
    assert (result["servers"], result["vhosts"], ids(result)) == ([], [], ["frontend.none"])


@web_bed.needs_apache
def test_the_documentation_lists_what_is_returned(host: Host) -> None:
    result = host.add("apache", VHOST).survey()
    documented = yaml.safe_load(frontend_info.RETURN)
    assert set(documented) == set(result)
    for key in ("servers", "vhosts", "findings"):
        assert set(documented[key]["contains"]) == set(result[key][0]), key
    assert set(documented["os"]["contains"]) == set(result["os"])
    assert set(documented["servers"]["contains"]["openssl"]["contains"]) == set(result["servers"][0]["openssl"])
    overrides = documented["vhosts"]["contains"]["overrides"]["contains"]
    assert set(overrides) == set(result["vhosts"][0]["overrides"][0])
    for key in ("php", "snakeoil"):
        assert set(documented[key]["sample"]) == set(result[key] or documented[key]["sample"])


# --- findings ---------------------------------------------------------------------------------------------------------


def parse(tmp_path: Path, server: str, text: str, name: str = "site.conf") -> _webserver_model.Config:
    """A configuration that stands in an included file."""
    layout = web_bed.layout(server, tmp_path)
    include = "Include %s\n" if server == "apache" else "http { include %s; }"
    files = _webserver_model.Files({layout.main_config: include % name, str(tmp_path / name): text})
    return (_apache if server == "apache" else _nginx).load(layout, files=files)


TLS = "server { listen 443 ssl; server_name a.example; }"
MACRO_DUMP = '*:80   m.example (macro \'vh\' (defined on line 2 of "/m") used on line 3 of "/m":1)\n'


@pytest.mark.parametrize(
    ("server", "text", "expected"),
    [
        ("nginx", TLS, []),
        ("nginx", "server { listen 80; }", ["frontend.tls.none"]),
        ("nginx", TLS + "server { listen 80; server_name a.example; }", []),
        ("nginx", TLS + "server { listen 80; server_name b.example _ localhost; }", ["frontend.tls.plaintext"]),
        ("nginx", TLS.replace("a.ex", "*.ex") + "server { listen 80; server_name B.example; }", []),
        ("nginx", TLS + "server { listen 8080; server_name b.example; }", []),
        ("apache", "ServerName m.example\n<VirtualHost *:443>\nServerName a\nSSLEngine on\n</VirtualHost>\n"
         "<VirtualHost *:80>\n</VirtualHost>\n", []),
        ("apache", "Listen 80\nListen 443\n<VirtualHost *:443>\nServerName a\nSSLEngine on\n</VirtualHost>\n"
         "<VirtualHost *>\nServerName b.example\n</VirtualHost>\n", ["frontend.tls.plaintext"]),
        ("nginx", "server { listen 80; listen 443 ssl; }", ["frontend.vhost.mixed"]),
        ("nginx", "server { listen 443; ssl on; }", ["frontend.nginx.ssl_on"]),
        ("nginx", "server { listen 443 ssl; location / { add_header X-Frame-Options DENY; add_header X-Y z; } }",
         ["frontend.header.override"]),
        ("nginx", "server { listen 443 ssl;\n# kopano.hardening begin\nadd_header X-Frame-Options $kopano_x;\n"
         "# kopano.hardening end\n}", []),
        ("apache", "<VirtualHost *:443>\nSSLEngine on\nHeader always set Content-Security-Policy x\n"
         "Header set X-Frame-Options y\n</VirtualHost>\n", ["frontend.header.override"] * 2),
        (
            "nginx",
            "server { listen 443 ssl; listen [::]:443 ssl; ssl_ciphers A; location / { "
            "more_set_headers 'Strict-Transport-Security: x'; } }",
            ["frontend.tls.override", "frontend.hsts.override"],
        ),
        ("apache", "<VirtualHost *:443>\nSSLEngine on\nHeader set Strict-Transport-Security x\n</VirtualHost>\n",
         ["frontend.hsts.override"]),
    ],
)  # fmt: skip
def test_findings_of_a_configuration(tmp_path: Path, server: str, text: str, expected: list[str]) -> None:
    found = _webserver_findings.of(parse(tmp_path, server, text), web_bed.layout(server, tmp_path))
    assert [item["id"] for item in found] == expected
    for item in found:
        assert item["severity"] in ("fail", "warn", "info", "unknown") and item["step"] in (2, 3)
        assert item["subject"] and item["message"] and item["evidence"] and item["fix"]


APACHE = "%s\n<VirtualHost *:443>\nSSLEngine on\n%s\n</VirtualHost>\n"
NGINX = "%s server { listen 443 ssl; %s }"


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        (APACHE % ("SSLProtocol all", ""), "SSLProtocol all"),
        (APACHE % ("SSLProtocol all -SSLv3", ""), "SSLProtocol all -SSLv3"),
        (APACHE % ("SSLProtocol TLSv1.2 +tlsv1.1", ""), "SSLProtocol TLSv1.2 +tlsv1.1"),
        (APACHE % ("SSLProtocol TLSv1", ""), "SSLProtocol TLSv1"),
        (APACHE % ("SSLProtocol all -SSLv2 -SSLv3 -TLSv1 -TLSv1.1", ""), None),
        (APACHE % ("SSLProtocol -all +TLSv1.2 +TLSv1.3", ""), None),
        # A word without a sign is all that counts from there on.
        (APACHE % ("SSLProtocol +TLSv1 TLSv1.2", ""), None),
        # The last one of the server counts, and one of the virtual host before it.
        (APACHE % ("SSLProtocol all\nSSLProtocol TLSv1.3", ""), None),
        (APACHE % ("SSLProtocol all", "SSLProtocol TLSv1.2"), None),
        (APACHE % ("SSLProtocol TLSv1.2", "<IfModule !no.c>\nSSLProtocol +TLSv1.1\n</IfModule>"),
         "SSLProtocol +TLSv1.1"),
        (APACHE % ("<IfModule no.c>\nSSLProtocol all\n</IfModule>", ""), None),
        ("SSLProtocol all\n<VirtualHost *:80>\n</VirtualHost>\n", None),
        (NGINX % ("ssl_protocols TLSv1 TLSv1.2;", ""), "ssl_protocols TLSv1 TLSv1.2"),
        (NGINX % ("ssl_protocols SSLv3 TLSv1.3;", "ssl_protocols TLSv1.2;"), None),
        (NGINX % ("ssl_protocols TLSv1.2;", "ssl_protocols TLSv1.1;"), "ssl_protocols TLSv1.1"),
        (NGINX % ("ssl_protocols TLSv1.2 TLSv1.3;", ""), None),
        (NGINX % ("", ""), None),
        ("ssl_protocols TLSv1; server { listen 80; }", None),
    ],
)  # fmt: skip
def test_an_old_protocol_is_found_where_it_is_allowed(tmp_path: Path, text: str, evidence: str | None) -> None:
    server = "nginx" if "listen" in text else "apache"
    found = _webserver_findings.of(parse(tmp_path, server, text), web_bed.layout(server, tmp_path))
    old = [item for item in found if item["id"] == "frontend.tls.old_protocol"]
    assert [item["evidence"] for item in old] == [evidence] * (evidence is not None)
    for item in old:
        path, _colon, line = item["subject"].rpartition(":")
        assert path == str(tmp_path / "site.conf")
        assert text.splitlines()[int(line) - 1].find(item["evidence"]) >= 0


@pytest.mark.parametrize(
    ("server", "name"), [("apache", "kopano-webapp-apache2.conf"), ("nginx", "kopano-webapp.conf")]
)
def test_the_packaged_virtual_host(tmp_path: Path, server: str, name: str) -> None:
    text = {
        "apache": "<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile /etc/ssl/certs/%s\n</VirtualHost>\n",
        "nginx": "server { listen 443 ssl; ssl_certificate /etc/ssl/certs/%s; }",
    }[server]
    layout = web_bed.layout(server, tmp_path)
    found = _webserver_findings.of(parse(tmp_path, server, text % "ssl-cert-snakeoil.pem", name), layout)
    assert [item["id"] for item in found] == ["frontend.vhost.packaged"]
    # with a certificate of the administrator's it is a site like any other
    assert _webserver_findings.of(parse(tmp_path, server, text % "mail.pem", name), layout) == []


def test_a_virtual_host_that_nothing_is_known_about(tmp_path: Path) -> None:
    layout = web_bed.layout("apache", tmp_path)
    files = _webserver_model.Files({layout.main_config: "Listen 80\n"})
    found = _webserver_findings.of(_apache.load(layout, MACRO_DUMP, files=files), layout)
    assert [(item["id"], item["severity"]) for item in found] == [("frontend.vhost.unknown", "unknown")]


def test_tls_that_nginx_ends_outside_of_http(tmp_path: Path) -> None:
    layout = web_bed.layout("nginx", tmp_path)
    text = "http { %s }\nmail { server { listen 993 ssl; listen 143; } }" % TLS
    found = _webserver_findings.of(
        _nginx.load(layout, files=_webserver_model.Files({layout.main_config: text})), layout
    )
    assert [(item["id"], item["evidence"]) for item in found] == [("frontend.nginx.other_tls", "listen 993 ssl")]


def test_every_finding_of_the_module_is_in_the_catalogue() -> None:
    source = Path(_webserver_info.__file__).read_text() + Path(_webserver_findings.__file__).read_text()
    for key in _webserver_catalogue.CATALOGUE:
        assert '"%s"' % key in source, "%s is never given" % key


# --- components -------------------------------------------------------------------------------------------------------


def test_components_by_package_and_by_path(tmp_path: Path) -> None:
    webapp, z_push = tmp_path / "usr/share/kopano-webapp", tmp_path / "usr/share/z-push"
    webapp.mkdir(parents=True)
    (webapp / "version").write_text("5.3.2+1234\n")
    z_push.mkdir()
    (z_push / "version.php").write_text("<?php\ndefine(\"ZPUSH_VERSION\", '2.7.1');\n")
    found = {item["name"]: item for item in _webserver_components.find({"kopano-konnectd": "0.34-1"}, str(tmp_path))}
    assert found == {
        "webapp": {"name": "webapp", "flavour": "kopano", "version": "5.3.2+1234", "path": "/usr/share/kopano-webapp"},
        "z-push": {"name": "z-push", "flavour": "z-push", "version": "2.7.1", "path": "/usr/share/z-push"},
        "konnect": {"name": "konnect", "flavour": "kopano", "version": "0.34-1", "path": ""},
    }


@pytest.mark.parametrize(
    ("package", "name", "flavour"),
    [
        ("kopano-webapp", "webapp", "kopano"),
        ("kopano-webapp-apache2", "webapp", "debian"),
        ("grommunio-web", "webapp", "grommunio"),
        ("z-push-common", "z-push", "z-push"),
        ("kopano-meet-webapp", "meet", "kopano"),
        ("kopano-kwebd", "kweb", "kopano"),
    ],
)
def test_the_package_decides_the_flavour(tmp_path: Path, package: str, name: str, flavour: str) -> None:
    (tmp_path / "usr/share/kopano-webapp").mkdir(parents=True)
    found = {item["name"]: item for item in _webserver_components.find({package: "1"}, str(tmp_path))}
    assert (found[name]["flavour"], found[name]["version"]) == (flavour, "1")


@pytest.mark.parametrize("family", ["debian", "redhat"])
def test_one_call_of_the_package_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """A stand-in answers as dpkg-query and rpm do when some packages are not known to them."""
    answers = {
        "debian": "installed kopano-webapp 5.3.2\nconfig-files kopano-kdav 1\nnot-installed kopano-ical \n",
        "redhat": "installed kopano-webapp 5.3.2\npackage kopano-kdav is not installed\n",
    }
    program = tmp_path / {"debian": "dpkg-query", "redhat": "rpm"}[family]
    program.write_text("#!/bin/sh\necho x >>%s/calls\ncat <<'E'\n%sE\nexit 1\n" % (tmp_path, answers[family]))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert _webserver_components.packages(family) == {"kopano-webapp": "5.3.2"}
    assert (tmp_path / "calls").read_text() == "x\n"


def test_without_a_package_manager_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert _webserver_components.packages("debian") == {}
    assert _webserver_components.packages(None) == {}


KWEB = [{"name": "kweb", "flavour": "kopano", "version": "1", "path": ""}]


@pytest.mark.parametrize(
    ("os_id", "components", "tls_port", "config", "expected"),
    [
        ("debian", [], None, "hostname=x\n", "none"),
        ("univention-corporate-server", [], 443, "", "ucs"),
        ("debian", KWEB, None, "tls=yes\n hostname = mail.example\n", "kweb"),
        ("debian", KWEB, None, "#hostname=mail.example\nhostname=\n", "none"),
        ("debian", KWEB, 443, "hostname=mail.example\n", "none"),
        ("debian", KWEB, 8443, "hostname=mail.example\n", "kweb"),
        ("debian", KWEB, None, None, "none"),
    ],
)
def test_managed_by(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    os_id: str,
    components: list[dict[str, str]],
    tls_port: int | None,
    config: str | None,
    expected: str,
) -> None:
    monkeypatch.setattr(_webserver_info, "_KWEB_CONFIG", str(tmp_path / "kwebd.cfg"))
    if config is not None:
        (tmp_path / "kwebd.cfg").write_text(config)
    vhost = _webserver_model.Vhost("nginx", [], "*", tls_port, "x", 1)
    vhost.tls = True
    assert _webserver_info._managed_by(os_id, components, [vhost] if tls_port else []) == expected


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("apache", 'SetHandler "proxy:fcgi://127.0.0.1:{port}/"\nSetHandler "proxy:unix:{own}|fcgi://own"\n'),
        ("apache", 'ProxyPassMatch "^/(.*\\.php)$" "fcgi://localhost:{port}/srv/$1"\n'),
        ("nginx", "server {{ fastcgi_pass 127.0.0.1:{port}; fastcgi_pass unix:{own}; }}"),
        ("nginx", "server {{ fastcgi_pass [::1]:{port}; }}"),
    ],
)
def test_php_on_a_port_of_the_host_counts_as_a_socket(tmp_path: Path, server: str, text: str) -> None:
    """SUSE's FPM listens there by itself, and a pool for one application alone is not for the others."""
    own = tmp_path / "php-own.sock"
    with socket.socket(socket.AF_UNIX) as pool, socket.create_server(("127.0.0.1", 0)) as fpm:
        pool.bind(str(own))
        port = fpm.getsockname()[1]
        config = parse(tmp_path, server, text.format(port=port, own=own))
        place = _webserver_info._php([config])["socket"]
        assert place and place.endswith(f":{port}")
    # Nothing listens there any more.
    assert _webserver_info._php([config])["socket"] in (str(own), None)


@pytest.mark.parametrize(
    "text", ['"proxy:fcgi://192.0.2.1:9000/"', '"proxy:http://127.0.0.1:9000/"', "x:127.0.0.1:9000"]
)
def test_another_host_and_another_protocol_are_no_php_of_this_host(tmp_path: Path, text: str) -> None:
    config = parse(tmp_path, "apache", f"SetHandler {text}\n")
    assert _webserver_model.php_backends(config) == []


def test_php_socket_is_one_that_exists_and_is_used_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, usual = tmp_path / "php-own.sock", tmp_path / "php8.4-fpm.sock"
    (tmp_path / "php-gone.sock").write_text("no socket")
    monkeypatch.setattr(_webserver_info, "_PHP_SOCKETS", (str(tmp_path / "php*-fpm.sock"),))
    config = parse(
        tmp_path, "nginx", "server { fastcgi_pass unix:%s/php-gone.sock; fastcgi_pass unix:%s; }" % (tmp_path, used)
    )
    assert _webserver_info._php([config]) == {"module": False, "socket": None}
    sockets = []
    for path in (usual, used):
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(str(path))
        assert _webserver_info._php([config]) == {"module": False, "socket": str(path)}
    for item in sockets:
        item.close()


# --- servers that give no answer ---


def asked(name, *scripts):
    """How a server is run whose program is a shell script."""
    return _webserver_info._Query(
        types.SimpleNamespace(server=name), [["/bin/sh", "-c", script] for script in scripts], dict(os.environ)
    )


def test_a_test_that_was_killed_refuses_nothing():
    """Out of memory, say: a lost result is no refusal."""
    assert _webserver_info._run([asked("apache", "true", "exit 1"), asked("nginx", "kill -9 $$")]) == {
        "apache": [False, "", ""]
    }


def test_tests_that_hang_end_together_and_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(_webserver_info, "TEST_TIMEOUT", 4)
    pids = tmp_path / "pids"
    started = time.monotonic()
    sleep = f"echo $$ >> {pids}; exec sleep 600"
    with pytest.raises(subprocess.TimeoutExpired):
        _webserver_info._run([asked("apache", "sleep 2.5; " + sleep, sleep), asked("nginx", sleep)])
    assert time.monotonic() - started < 4 + SLACK
    assert len(pids.read_text().split()) == 3
    assert [pid for pid in pids.read_text().split() if os.path.exists(f"/proc/{pid}")] == []
