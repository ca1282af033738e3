# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what real servers say to the file, line, directive and option that they mean."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl

from . import web_bed

pytestmark = pytest.mark.slow

GOOD = {
    "ciphers": "HIGH",
    "suites": "TLS_AES_128_GCM_SHA256",
    "groups": "X25519",
    "certificate": "cert.pem",
    "key": "key.pem",
}
LOADERS: dict[str, t.Callable[..., _webserver_model.Config]] = {"apache": _apache.load, "nginx": _nginx.load}


class Site:
    """One TLS virtual host with a policy file, each line of which says which option decides it."""

    def __init__(self, server: str, folder: Path, **values: str) -> None:
        self.server = server
        self.layout = web_bed.layout(server, folder)
        self.folder = folder
        self.port = web_bed.free_ports(1)[0]
        web_bed.make_certificate(folder)
        web_bed.run("openssl", "genrsa", "-out", str(folder / "other.key"), "2048")
        web_bed.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "same.key"))
        paths = ("certificate", "key")
        found = {**GOOD, **values}
        self.values = {name: str(folder / word) if name in paths else word for name, word in found.items()}
        lines = []
        for name, words in self.words().items():
            lines += [f"# option: frontend_{name}", words.format(self.values[name])]
        self.policy = folder / "policy.conf"
        self.policy.write_text("\n".join(lines) + "\n")
        Path(self.layout.main_config).write_text(self.main())

    def words(self) -> dict[str, str]:
        if self.server == "nginx":
            return {
                "ciphers": "ssl_ciphers {};",
                "suites": "ssl_conf_command Ciphersuites {};",
                "groups": "ssl_ecdh_curve {};",
                "certificate": "ssl_certificate {};",
                "key": "ssl_certificate_key {};",
            }
        return {
            "ciphers": "SSLCipherSuite {}",
            "suites": "SSLCipherSuite TLSv1.3 {}",
            "groups": "SSLOpenSSLConfCmd Curves {}",
            "certificate": "SSLCertificateFile {}",
            "key": "SSLCertificateKeyFile {}",
        }

    def main(self) -> str:
        where = f"127.0.0.1:{self.port}"
        if self.server == "nginx":
            block = f"server {{\nlisten {where} ssl;\ninclude {self.policy};\n}}\n"
            return web_bed.nginx_head(self.folder) + f"http {{\n{web_bed.nginx_http(self.folder)}{block}}}\n"
        block = f"<VirtualHost *:{self.port}>\nSSLEngine on\nInclude {self.policy}\n</VirtualHost>\n"
        return web_bed.apache_head(self.folder, "ssl", "socache_shmcb") + f"Listen {where}\n{block}"

    def start(self) -> str:
        """All that the server says when it is started, which must not succeed."""
        if self.server == "nginx":
            done = web_bed.nginx_test(self.folder)
        else:
            done = web_bed.run(web_bed.APACHE, "-f", self.layout.main_config, "-X")
        assert done.returncode != 0
        log = self.folder / "error.log"
        return done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    def config(self) -> _webserver_model.Config:
        return LOADERS[self.server](self.layout)

    def openssl(self) -> _openssl.OpenSSL | None:
        return _openssl.for_binary(web_bed.NGINX if self.server == "nginx" else str(web_bed.MODULES / "mod_ssl.so"))

    def fault(self) -> _diagnose.Fault:
        return _diagnose.find(self.start(), self.config(), self.openssl())

    def place(self, name: str) -> tuple[t.Any, ...]:
        """Where the line of a value is: file, line, directive, value, option."""
        said = self.words()[name].format(self.values[name]).rstrip(";")
        line = [text.rstrip(";") for text in self.policy.read_text().splitlines()].index(said) + 1
        directive, value = said.split(" ", 1)
        return str(self.policy), line, directive, value, f"frontend_{name}"


SERVERS = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ciphers", "NOSUCH", "no cipher match"),
        ("suites", "TLS_NOSUCH", "no cipher match"),
        ("groups", "nosuch", "nosuch"),
        ("certificate", "not-there.pem", "not-there.pem"),
        ("key", "not-there.key", "not-there.key"),
    ],
)
def test_what_a_server_refuses_is_named(tmp_path, server, name, value, words):
    site = Site(server, tmp_path, **{name: value})
    fault = site.fault()
    assert fault[1:] == site.place(name)
    assert words in fault.reason
    assert f"{fault.file}:{fault.line}: " in fault.message()
    assert f"set by the option frontend_{name}" in fault.message()


@pytest.mark.parametrize("server", SERVERS)
def test_a_key_that_does_not_match_is_named(tmp_path, server):
    site = Site(server, tmp_path, key="same.key")
    # Apache's words have both paths, and the certificate's comes first.
    assert site.fault()[1:] == site.place("certificate" if server == "apache" else "key")


def test_of_several_that_name_a_file_the_one_that_an_option_decides_is_blamed(tmp_path):
    main = tmp_path / "apache.conf"
    vhost = "<VirtualHost *:443>\n{}SSLCertificateFile /snakeoil.pem\nSSLCertificateKeyFile /a.key\n</VirtualHost>\n"
    main.write_text(vhost.format("") + vhost.format("# option: frontend_tls_certificate\n"))
    words = "AH02565: Certificate and private key of www:443:0 from /snakeoil.pem and /b.key do not match"
    fault = _diagnose.find(words, _apache.load(web_bed.layout("apache", tmp_path)), None)
    assert (fault.line, fault.option) == (7, "frontend_tls_certificate")


def test_how_often_nginx_tried_to_bind_does_not_matter():
    taken = "2026/11/24 22:00:00 [emerg] 7#7: bind() to 0.0.0.0:8443 failed (98: Address already in use)"
    assert _diagnose.relevant(f"{taken}\n2026/11/24 22:00:02 [emerg] 7#7: still could not bind()") == (
        "[emerg] bind() to 0.0.0.0:8443 failed (98: Address already in use)"
    )


@web_bed.needs_nginx
def test_a_key_of_another_kind_is_named_although_nginx_starts(tmp_path):
    site = Site("nginx", tmp_path, key="other.key")
    assert web_bed.nginx_test(tmp_path).returncode == 0
    fault = _diagnose.unpaired("handshake failure", site.config(), ())
    assert fault[1:] == site.place("key")
    assert fault.reason == f"handshake failure; {tmp_path}/other.key is not the key of {tmp_path}/cert.pem"


@web_bed.needs_nginx
@pytest.mark.parametrize("key", ["key.pem", "other.key"])
def test_a_pair_that_fits_or_is_being_written_is_not_blamed(tmp_path, key):
    site = Site("nginx", tmp_path, key=key)
    written = [str(tmp_path / key)] if key == "other.key" else []
    assert _diagnose.unpaired("handshake failure", site.config(), written) == _diagnose.Fault("handshake failure")


@pytest.mark.parametrize("server", SERVERS)
def test_a_syntax_error_is_where_the_server_reports_it(tmp_path, server):
    site = Site(server, tmp_path)
    with site.policy.open("a") as text:
        text.write("# by\vhand\x85or not\nno_such_directive on;\n")
    line = site.policy.read_text().count("\n")
    fault = site.fault()
    assert (fault.file, fault.line, fault.directive, fault.value) == (str(site.policy), line, "no_such_directive", "on")
    assert fault.option is None


@pytest.mark.parametrize("server", SERVERS)
def test_the_directive_that_listens_on_a_taken_port_is_named(tmp_path, server):
    site = Site(server, tmp_path)
    words = {
        "apache": f"(98)Address already in use: AH00072: make_sock: could not bind to address 127.0.0.1:{site.port}",
        "nginx": f"nginx: [emerg] bind() to 127.0.0.1:{site.port} failed (98: Address already in use)",
    }
    fault = _diagnose.find(words[server], site.config(), None)
    assert fault.file == site.layout.main_config
    assert fault.directive in ("Listen", "listen") and str(site.port) in (fault.value or "")


def test_of_two_lists_the_one_that_libssl_refuses_is_named(tmp_path):
    site = Site("nginx", tmp_path, ciphers="NOSUCH")
    main = Path(site.layout.main_config)
    main.write_text(main.read_text().replace("server {", "ssl_ciphers HIGH;\nserver {"))
    words = "nginx: [emerg] SSL_CTX_set_cipher_list() failed (SSL: error:0A0000B9:SSL routines::no cipher match)"
    assert _diagnose.find(words, site.config(), site.openssl())[1:] == site.place("ciphers")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Syntax OK", "Syntax OK"),  # better than nothing
        ("AH00558: apache2: Could not reliably determine\nAH01: first\nAH01: first", "AH01: first"),
        ("[Tue Nov 24 20:22:55.123456 2026] [ssl:emerg] [pid 1:tid 2] AH02: bad", "AH02: bad"),
        ("[Tue Nov 24 20:22:55.123456 2026] [ssl:warn] [pid 1:tid 2] AH03: so so\nAH02: bad", "AH02: bad"),
        ("2026/11/24 20:22:55 [emerg] 77#77: bind() failed", "[emerg] bind() failed"),
        (
            '2026/11/24 20:22:55 [error] 78#78: *5 "/a" is not found, client: 192.0.2.1, server: _\n'
            "2026/11/24 20:22:55 [emerg] 77#77: bind() failed",
            "[emerg] bind() failed",
        ),
        (
            "[Tue Nov 24 20:22:55.1 2026] [core:error] [pid 1] [client 192.0.2.1:4711] AH00126: Invalid URI\nAH02: bad",
            "AH02: bad",
        ),
    ],
)
def test_only_relevant_messages_are_kept(said, kept):
    assert _diagnose.relevant(said) == kept


def test_a_message_without_a_place_is_kept():
    assert _diagnose.find("something else", None, None) == _diagnose.Fault("something else")
    assert _diagnose.Fault("something else").message() == "something else"
    assert _diagnose.Fault("cannot be read", "/etc/conf").message() == "/etc/conf: cannot be read"
