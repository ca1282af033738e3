# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an administrator's virtual host sends that is stronger than the role's policy stays, on real servers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import typing as t
import warnings
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
STRONGER = "max-age=63072000; includeSubDomains; preload"
SERVERS = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]
LOADERS: dict[str, t.Callable[..., _webserver_model.Config]] = {"apache": _apache.load, "nginx": _nginx.load}
MODULES = ("ssl", "socache_shmcb", "headers", "alias", "rewrite", "proxy", "proxy_http")


class Bed:
    """A server with virtual hosts of an administrator, by name, and the role's policy beside them."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.layout = web_bed.layout(server, folder)
        self.certificate, self.key = web_bed.make_certificate(folder)
        (self.port,) = web_bed.free_ports(1)
        self.main = Path(self.layout.main_config)

    def write(self, hosts: dict[str, str], everywhere: str = "") -> None:
        """hosts: the directives of each virtual host; everywhere: those around all of them."""
        if self.server == "nginx":
            around = web_bed.nginx_head(self.folder) + "http {\n%s%s" % (web_bed.nginx_http(self.folder), everywhere)
            block = "server {\nlisten 127.0.0.1:%d ssl;\nserver_name %s;\n" % (self.port, "%s")
            block += "ssl_certificate %s;\nssl_certificate_key %s;\n%s}\n" % (self.certificate, self.key, "%s")
            end = "}\n"
        else:
            around = web_bed.apache_head(self.folder, *MODULES) + "Listen 127.0.0.1:%d\n%s" % (self.port, everywhere)
            block = "<VirtualHost *:%d>\nServerName %s\nSSLEngine on\n" % (self.port, "%s")
            block += "SSLCertificateFile %s\nSSLCertificateKeyFile %s\n%s" % (self.certificate, self.key, "%s")
            block, end = block + "</VirtualHost>\n", ""
        self.main.write_text(around + "".join(block % item for item in hosts.items()) + end)

    def adopt(
        self, sent: _adopt.Sent | None = None, later: _adopt.Sent | None = None, **options: t.Any
    ) -> list[dict[str, t.Any]]:
        """Adopt for real, and check what always holds; returns what was kept. later: what is sent afterwards."""
        info = host(self.server, "debian", policy_dir=self.layout.policy_dir)
        info["vhosts"] = [vhost(self.server)]
        wanted = plan(info, http_redirect=False, **options)
        texts = {
            # A name for what is shared between processes, which may be there already.
            path: text.replace("shared:kopano_hardening", f"shared:k{self.folder.name[-20:]}")
            for path, text in render(wanted).items()
            if path.startswith(self.layout.policy_dir)
        }
        load = LOADERS[self.server]
        before = _adopt.unadopt(self.main.read_text())
        result = _adopt.adopt(
            load(self.layout, files=_webserver_model.Files(texts)), self.layout, wanted["policy"], sent
        )
        for path, text in {**texts, **result.texts}.items():
            assert path in texts or path == str(self.main)
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
        again = _adopt.adopt(load(self.layout), self.layout, wanted["policy"], sent if later is None else later)
        assert (again.texts, again.kept) == ({}, result.kept)
        assert _adopt.unadopt(self.main.read_text()) == before
        return result.kept

    def running(self) -> t.ContextManager[None]:
        return web_bed.running(self.server, self.folder, self.port)

    def hsts(self, name: str, path: str = "/") -> list[str]:
        return web_bed.get(self.port, path, name).all("strict-transport-security")


@pytest.fixture(params=SERVERS)
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Bed:
    return Bed(request.param, tmp_path)


def sends(server: str, value: str) -> str:
    """The directive with which a virtual host sends HSTS."""
    if server == "nginx":
        return 'add_header Strict-Transport-Security "%s" always;\n' % value
    return 'Header always set Strict-Transport-Security "%s"\n' % value


def speaks(server: str, *protocols: str) -> str:
    if server == "nginx":
        return "ssl_protocols %s;\n" % " ".join(protocols)
    return "SSLProtocol -all +%s\n" % " +".join(protocols)


def ciphers(server: str, text: str) -> str:
    return ("ssl_ciphers %s;\n" if server == "nginx" else "SSLCipherSuite %s\n") % text


def agreed(port: int, name: str, version: ssl.TLSVersion, offer: str = "ALL:@SECLEVEL=0") -> str | None:
    """The suite that a client of this version gets; None: refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(offer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connection,
        contextlib.suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(connection, server_hostname=name) as secure,
    ):
        return (secure.cipher() or ("",))[0]
    return None


def weak(server: str) -> str:
    return speaks(server, "TLSv1.2", "TLSv1.3") + ciphers(server, "HIGH:!aNULL") + sends(server, "max-age=300")


def test_a_stronger_hsts_stays(bed: Bed) -> None:
    bed.write({"mail.example": "", "shop.example": sends(bed.server, STRONGER)})
    (kept,) = bed.adopt()
    assert (kept["names"], kept["item"], kept["value"], kept["policy"]) == (["shop.example"], "hsts", STRONGER, HSTS)
    text = bed.main.read_text().splitlines()
    assert kept["file"] == str(bed.main) and STRONGER in text[kept["line"] - 1]
    with bed.running():
        assert bed.hsts("mail.example") == [HSTS]
        for path in ("/", "/none"):
            assert bed.hsts("shop.example", path) == [STRONGER]


def test_what_is_as_strong_as_both_is_sent(bed: Bed) -> None:
    bed.write({"shop.example": sends(bed.server, "max-age=15768000; includeSubDomains")})
    bed.adopt()
    with bed.running():
        assert bed.hsts("shop.example") == ["max-age=31536000; includeSubDomains"]


def test_a_weaker_policy_is_replaced_and_nothing_is_kept(bed: Bed) -> None:
    bed.write({"shop.example": weak(bed.server)})
    assert bed.adopt() == []
    with bed.running():
        assert bed.hsts("shop.example") == [HSTS]
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384") is None


def test_what_options_set_wins_where_it_is_stronger(bed: Bed) -> None:
    bed.write({"shop.example": sends(bed.server, STRONGER)})
    bed.adopt(hsts_max_age=100000000)
    with bed.running():
        assert bed.hsts("shop.example") == ["max-age=100000000; includeSubDomains; preload"]


def test_an_option_lets_the_policy_replace_what_is_stronger(bed: Bed) -> None:
    bed.write({"shop.example": sends(bed.server, STRONGER) + speaks(bed.server, "TLSv1.3")})
    assert [entry["item"] for entry in bed.adopt(replace_stronger=["hsts"])] == ["protocols"]
    with bed.running():
        assert bed.hsts("shop.example") == [HSTS]
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2) is None
    assert [entry["item"] for entry in bed.adopt(replace_stronger=["hsts", "tls"])] == []
    with bed.running():
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2)


def test_what_is_set_once_for_the_whole_server_stays_as_well(bed: Bed) -> None:
    everywhere = sends(bed.server, STRONGER) + speaks(bed.server, "TLSv1.3")
    bed.write({"shop.example": ""}, everywhere)
    kept = bed.adopt()
    assert {(entry["item"], entry["policy"]) for entry in kept} == {("hsts", HSTS), ("protocols", "TLSv1.2 TLSv1.3")}
    with bed.running():
        assert bed.hsts("shop.example") == [STRONGER]
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2) is None
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_3)


def test_a_virtual_host_that_speaks_tls_1_3_only_goes_on_so(bed: Bed) -> None:
    bed.write({"shop.example": speaks(bed.server, "TLSv1.3")})
    (kept,) = bed.adopt()
    assert (kept["item"], kept["value"], kept["policy"]) == ("protocols", "TLSv1.3", "TLSv1.2 TLSv1.3")
    with bed.running():
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2) is None
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_3)
        assert bed.hsts("shop.example") == [HSTS]


def test_fewer_suites_stay_fewer(bed: Bed) -> None:
    few = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
    bed.write({"shop.example": ciphers(bed.server, few)})
    assert [(entry["item"], entry["value"]) for entry in bed.adopt()] == [("ciphers", few.replace(":", " "))]
    with bed.running():
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2) == "ECDHE-ECDSA-AES256-GCM-SHA384"
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256") is None


def test_fewer_suites_of_tls_1_3_and_fewer_groups_stay_fewer(bed: Bed) -> None:
    own = {
        "nginx": "ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;\nssl_ecdh_curve X25519MLKEM768:X25519;\n",
        "apache": "SSLCipherSuite TLSv1.3 TLS_AES_256_GCM_SHA384\nSSLOpenSSLConfCmd Groups X25519MLKEM768:X25519\n",
    }[bed.server]
    bed.write({"shop.example": own})
    kept = bed.adopt()
    assert {entry["item"]: entry["value"] for entry in kept} == {
        "ciphersuites": "TLS_AES_256_GCM_SHA384",
        "groups": "X25519MLKEM768 X25519",
    }
    with bed.running():
        assert agreed(bed.port, "shop.example", ssl.TLSVersion.TLSv1_3) == "TLS_AES_256_GCM_SHA384"


def test_what_a_backend_sends_stays_too(bed: Bed) -> None:
    """Which no directive says: it is known from the live server's responses."""
    bed.write({"mail.example": "", "shop.example": ""})
    (kept,) = bed.adopt({("127.0.0.1", bed.port, "shop.example"): [STRONGER]})
    assert (kept["names"], kept["item"], kept["value"]) == (["shop.example"], "hsts", STRONGER)
    with bed.running():
        assert bed.hsts("mail.example") == [HSTS]
        assert bed.hsts("shop.example") == [STRONGER]


def test_what_the_policy_itself_sends_is_no_virtual_host_s_own(bed: Bed) -> None:
    bed.write({"shop.example": ""})
    options = {"hsts_max_age": 63072000, "hsts_include_subdomains": True, "hsts_preload": True}
    bed.adopt(**options)
    with bed.running():
        sent = {("127.0.0.1", bed.port, "shop.example"): bed.hsts("shop.example")}
    assert list(sent.values()) == [[STRONGER]]
    assert bed.adopt(sent, later={}) == []
    with bed.running():
        assert bed.hsts("shop.example") == [HSTS]


def test_options_can_be_lowered_again_beside_what_is_kept(bed: Bed) -> None:
    """What came from the policy is no virtual host's own, also where it was sent together with what is."""
    bed.write({"shop.example": sends(bed.server, "max-age=31536000; includeSubDomains")})
    bed.adopt(hsts_max_age=100000000)
    with bed.running():
        sent = bed.hsts("shop.example")
    assert sent == ["max-age=100000000; includeSubDomains"]
    bed.adopt({("127.0.0.1", bed.port, "shop.example"): sent}, later={})
    with bed.running():
        assert bed.hsts("shop.example") == ["max-age=31536000; includeSubDomains"]


def test_a_part_of_a_virtual_host_keeps_what_is_stronger_there(bed: Bed) -> None:
    inner = {
        "nginx": "location /own { %sreturn 200 x; }\nlocation /other { add_header X-Y z; return 200 x; }\n",
        "apache": "<Location /own>\n%s</Location>\n",
    }[bed.server]
    bed.write({"shop.example": inner % sends(bed.server, STRONGER)})
    assert [entry["item"] for entry in bed.adopt()] == ["hsts"]
    with bed.running():
        assert bed.hsts("shop.example", "/own") == [STRONGER]
        for path in ("/", "/other"):
            assert bed.hsts("shop.example", path) == [HSTS]


def test_every_part_of_a_virtual_host_sends_what_it_keeps_once(bed: Bed) -> None:
    inner = {
        "nginx": "location /other { add_header X-Y z; return 200 x; }\n"
        "location /weak { add_header Strict-Transport-Security max-age=1; return 200 x; }\n",
        "apache": '<Location /weak>\nHeader set Strict-Transport-Security "max-age=1"\n</Location>\n'
        'Header set Strict-Transport-Security "max-age=2"\n',
    }[bed.server]
    bed.write({"shop.example": inner + sends(bed.server, STRONGER)})
    bed.adopt()
    with bed.running():
        for path in ("/", "/other", "/weak", "/none"):
            assert bed.hsts("shop.example", path) == [STRONGER], path


@web_bed.needs_nginx
def test_plain_http_gets_no_hsts_from_a_server_block_that_has_both(tmp_path: Path) -> None:
    bed = Bed("nginx", tmp_path)
    (plain,) = web_bed.free_ports(1)
    bed.write({"shop.example": sends("nginx", STRONGER) + "listen 127.0.0.1:%d;\n" % plain})
    bed.adopt()
    with bed.running():
        assert bed.hsts("shop.example") == [STRONGER]
        assert web_bed.get(plain, "/", "shop.example", tls=False).all("strict-transport-security") == []


@web_bed.needs_nginx
def test_a_location_that_two_server_blocks_share_sets_it_once(tmp_path: Path) -> None:
    bed = Bed("nginx", tmp_path)
    shared = tmp_path / "shared.inc"
    shared.write_text("location /other { add_header X-Y z; return 200 x; }\n")
    include = "include %s;\n" % shared
    bed.write({"mail.example": include, "shop.example": include + sends("nginx", STRONGER)})
    info = host("nginx", "debian", policy_dir=bed.layout.policy_dir)
    info["vhosts"] = [vhost("nginx")]
    wanted = plan(info, http_redirect=False)
    for path, text in render(wanted).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text.replace("shared:kopano_hardening", f"shared:k{tmp_path.name[-20:]}"))
    for path, text in _adopt.adopt(_nginx.load(bed.layout), bed.layout, wanted["policy"]).texts.items():
        Path(path).write_text(text)
    with bed.running():
        assert (bed.hsts("mail.example"), bed.hsts("shop.example")) == ([HSTS], [STRONGER])
        for name in ("mail.example", "shop.example"):
            assert bed.hsts(name, "/other") == [STRONGER]


@web_bed.needs_nginx
@pytest.mark.parametrize("line", ["ssl_session_tickets off;", "ssl_conf_command Options -SessionTicket;"])
def test_a_setting_that_only_takes_away_stays_beside_the_policy(tmp_path: Path, line: str) -> None:
    bed = Bed("nginx", tmp_path)
    bed.write({"shop.example": line + "\n"})
    (kept,) = bed.adopt()
    assert kept["policy"] == "" and kept["value"] in line
    inserted = bed.main.read_text().partition("server {")[2].partition("# kopano.hardening end")[0]
    assert line in inserted
    with bed.running():
        assert bed.hsts("shop.example") == [HSTS]


def test_a_line_that_an_option_decides_names_it_also_where_it_is_repeated(tmp_path: Path) -> None:
    bed = Bed("nginx", tmp_path)
    bed.write({"shop.example": speaks("nginx", "TLSv1.3")})
    bed.adopt(tls_ciphers=["ECDHE-RSA-AES128-GCM-SHA256"])
    text = bed.main.read_text()
    assert "# option: frontend_tls_ciphers\nssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;\n" in text
    assert "# option: frontend_tls_profile\n" in text and "ssl_protocols TLSv1.3;\nssl" not in text


@web_bed.needs_apache
def test_a_condition_is_not_dropped_to_keep_a_header(tmp_path: Path) -> None:
    """What is only sent sometimes is not said for all responses."""
    bed = Bed("apache", tmp_path)
    bed.write(
        {"shop.example": 'Header set X-Frame-Options DENY "expr=false"\nHeader append Referrer-Policy same-origin\n'}
    )
    bed.adopt()
    assert "always set" not in bed.main.read_text()
