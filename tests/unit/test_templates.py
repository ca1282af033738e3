# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's templates, rendered for every shape of host and judged by the real servers' own parsers."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import POLICY_MODULES

from .role_frontend import COMPONENTS, SHAPES, host, plan, render, vhost
from .slow_bed import HANGS

NAMES = ["mail.example.com", "autodiscover.example.com"]
APACHE_MODULES = Path("/usr/lib/apache2/modules")
NEEDED = [
    "mpm_event",
    "authz_core",
    "authz_host",
    "alias",
    "dir",
    "mime",
    "socache_shmcb",
    "ssl",
    "headers",
    "rewrite",
    "setenvif",
    "proxy",
    "proxy_fcgi",
    "proxy_http",
    "proxy_wstunnel",
    "http2",
]


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> dict[str, str]:
    """A certificate and its key, because both servers read them when they test a configuration."""
    folder = tmp_path_factory.mktemp("pair")
    found = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=mail.example.com",
            "-keyout",
            found["key"],
            "-out",
            found["certificate"],
        ],
        check=True,
        capture_output=True,
    )
    return found


def host_in(folder: Path, shape: tuple[str, str], pair: dict[str, str]):
    """A host whose policy and site lie below folder, where a test may write."""
    info = host(*shape)
    server = info["servers"][0]
    server["policy_dir"] = str(folder / "kopano-hardening")
    server["sites"] = dict(server["sites"], available_dir=str(folder / "sites"), enabled_dir=str(folder / "sites"))
    info["snakeoil"] = pair
    return info


def write(files: dict[str, str]) -> None:
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)


def main_config(server: str, folder: Path, modules: Collection[str] = NEEDED) -> list[str]:
    """Write the smallest configuration around the rendered one; return the command that tests it. modules: Apache's."""
    if server == "nginx":
        (folder / "fastcgi_params").write_text("fastcgi_param REQUEST_METHOD $request_method;\n")
        (folder / "main.conf").write_text(
            f"pid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\ninclude {folder}/sites/*;\n}}\n"
        )
        return ["nginx", "-t", "-q", "-c", str(folder / "main.conf")]
    lines = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in modules]
    lines += [f"ServerRoot {folder}", "PidFile pid", "ErrorLog error.log", "ServerName here.example.com"]
    lines += ["TypesConfig /dev/null"] * ("mime" in modules) + ["Listen 80", "Listen 443", f"Include {folder}/sites/*"]
    (folder / "main.conf").write_text("\n".join(lines) + "\n")
    return ["apache2", "-t", "-f", str(folder / "main.conf")]


def accepted(command: list[str]) -> str:
    """Empty when the server takes its configuration, else the server's words."""
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True, timeout=HANGS)
    words = done.stdout + done.stderr
    # nginx binds in its test; somebody who is not root may not.
    if done.returncode == 0 or "(13: Permission denied)" in words:
        return ""
    return words


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
@pytest.mark.parametrize("shape", SHAPES)
def test_site_is_taken_by_the_real_server(tmp_path, pair, shape, profile):
    info = host_in(tmp_path, shape, pair)
    write(render(plan(info, server_names=NAMES, tls_profile=profile, acme_root=str(tmp_path))))
    assert accepted(main_config(shape[0], tmp_path)) == ""


def test_apache_needs_no_module_but_those_that_are_enabled(tmp_path, pair):
    info = host_in(tmp_path, ("apache", "debian"), pair)
    wanted = plan(info, server_names=NAMES, acme_root=str(tmp_path))
    write(render(wanted))
    # Debian's "# Depends:" lines name the others. What a site has beside the policy may do without its own.
    modules = ["mpm_event", "socache_shmcb", "proxy", *wanted["enable"]["modules"]]
    assert accepted(main_config("apache", tmp_path, modules)) == ""
    for name in POLICY_MODULES:
        others = [module for module in modules if module != name]
        assert "Invalid command" in accepted(main_config("apache", tmp_path, others)), name


@pytest.mark.parametrize(
    ("server", "lines"),
    [
        (
            "apache",
            ['SetHandler "proxy:fcgi://127.0.0.1:9000"', '<Proxy "fcgi://127.0.0.1:9000/usr/share/kopano-webapp/">'],
        ),
        ("nginx", ["fastcgi_pass 127.0.0.1:9000;"]),
    ],
)
def test_fpm_can_listen_on_a_port_of_the_host(server, lines):
    """As SUSE's does by itself."""
    info = host(server, "suse")
    info["php"]["socket"] = "127.0.0.1:9000"
    text = "\n".join(render(plan(info, server_names=NAMES)).values())
    assert [line for line in lines if line not in text] == []
    assert "unix:127" not in text and "/run/php/php-fpm.sock" not in text


@pytest.mark.parametrize(
    ("server", "changes"),
    [
        (server, changes)
        for server in ("apache", "nginx")
        for changes in (
            {"http_redirect": False},
            {"http2": False},
            {"components": ["z-push"]},
            {"hsts_include_subdomains": True},
            {"tls_ciphersuites": ["TLS_AES_256_GCM_SHA384"], "tls_groups": ["X25519"], "tls_ciphers": ["ECDHE+AESGCM"]},
            {"tls_prefer_server_ciphers": False},
            {"components_off": ["kweb"]},
            {"csp": "enforce", "csp_report_uri": "/csp"},
            {"php": "127.0.0.1:9000"},
            {"csp": "off", "components_override": {"kdav": {"backend": "fpm:/run/kdav.sock"}}},
            {
                "components_extra": {
                    "wiki": {"paths": ["/wiki"], "backend": "unix:/run/wiki.sock", "websocket": ["/wiki/x"]}
                }
            },
            {"components_extra": {"a": {"paths": ["/webapp/a"], "backend": "files", "directory": "/srv/a"}}},
        )
    ],
)
def test_every_switch_is_taken_by_the_real_server(tmp_path, pair, server, changes):
    info = host_in(tmp_path, (server, "debian"), pair)
    write(render(plan(info, server_names=NAMES, acme_root=str(tmp_path), **changes)))
    assert accepted(main_config(server, tmp_path)) == ""


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_snippets_are_taken_inside_a_foreign_virtual_host(tmp_path, pair, server):
    info = host_in(tmp_path, (server, "debian"), pair)
    info["vhosts"] = [
        vhost(server, names=["mail.example.com"]),
        vhost(server, names=["intranet.example.com"], tls=False, port=80),
    ]
    wanted = plan(info)
    assert (wanted["mode"], wanted["plain_only"]) == ("adopt", ["intranet.example.com"])
    write(render(wanted))
    policy = wanted["policy"]
    foreign = {
        "nginx": "include {variables};\n"
        "server {{ listen 443 ssl; ssl_certificate {c}; ssl_certificate_key {k}; include {tls}; include {headers};\n"
        "location /static/ {{ add_header Cache-Control public; include {headers}; }} }}\n"
        "server {{ listen 80; include {http}; location / {{ root /nowhere; }} }}\n",
        "apache": "<VirtualHost *:443>\nSSLEngine on\nSSLCertificateFile {c}\nSSLCertificateKeyFile {k}\n"
        "Include {tls}\n</VirtualHost>\n<VirtualHost *:80>\nServerName a.example.com\nInclude {http}\n</VirtualHost>\n",
    }[server].format(c=pair["certificate"], k=pair["key"], **policy)
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "mail").write_text(foreign)
    assert accepted(main_config(server, tmp_path)) == ""


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_the_real_server_can_refuse(tmp_path, pair, server):
    """Guards the tests above: a rendered tree with one wrong word in it is not taken."""
    info = host_in(tmp_path, (server, "debian"), pair)
    wanted = plan(info, server_names=NAMES, acme_root=str(tmp_path))
    files = render(wanted)
    files[wanted["policy"]["headers"]] += "NoSuchDirective on;\n"
    write(files)
    assert "NoSuchDirective" in accepted(main_config(server, tmp_path))


# --- structure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_both_servers_get_the_same_policy(shape):
    text = "\n".join(render(plan(host(*shape), server_names=NAMES)).values())
    for word in (
        "ECDHE-RSA-AES128-GCM-SHA256",
        "X25519MLKEM768:X25519:prime256v1:secp384r1",
        "max-age=31536000",
        "308",
        "acme-challenge",
        "Microsoft-Server-ActiveSync",
        *NAMES,
        # With kweb on the host the web apps are its own.
        *(item["directory"] for item in COMPONENTS.values() if "directory" in item and "behind" not in item),
        *(item["backend"] for item in COMPONENTS.values() if item["backend"].startswith("http")),
        *itertools.chain.from_iterable(item.get("denied", ()) for item in COMPONENTS.values()),
    ):
        assert word in text, word


@pytest.mark.parametrize("shape", SHAPES)
def test_modern_sets_nothing_for_older_protocols(shape):
    text = "\n".join(render(plan(host(*shape), server_names=NAMES, tls_profile="modern")).values())
    assert "TLSv1.3" in text and "TLSv1.2" not in text and "ECDHE" not in text


@pytest.mark.parametrize("shape", SHAPES)
def test_files_begin_with_the_managed_comment_and_end_with_one_newline(shape):
    managed = "Managed by us\non two lines }} {# <b>"
    wanted = plan(host(*shape), server_names=NAMES)
    plain, other = render(wanted), render(wanted, managed)
    for path, text in other.items():
        assert text.startswith("#\n# Managed by us\n# on two lines }} {# <b>\n#\n\n"), path
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        assert text.partition("\n\n")[2] == plain[path].partition("\n\n")[2]
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        assert "\n\n\n" not in text, path


RSA = {
    "tls_certificate": "/c.pem",
    "tls_certificate_key": "/c.key",
    "tls_certificate_rsa": "/r.pem",
    "tls_certificate_rsa_key": "/r.key",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("changes", "option", "directives"),
    [
        ({}, "frontend_tls_profile", ("SSLProtocol", "ssl_protocols")),
        ({"tls_ciphers": ["AES"]}, "frontend_tls_ciphers", ("SSLCipherSuite AES", "ssl_ciphers AES")),
        ({"tls_groups": ["X448"]}, "frontend_tls_groups", ("SSLOpenSSLConfCmd Curves X448", "ssl_ecdh_curve X448")),
        (
            {"tls_ciphersuites": ["TLS_X"]},
            "frontend_tls_ciphersuites",
            ("SSLCipherSuite TLSv1.3 TLS_X", "ssl_conf_command Ciphersuites TLS_X"),
        ),
        ({}, "frontend_tls_prefer_server_ciphers", ("SSLHonorCipherOrder on", "ssl_prefer_server_ciphers on")),
        ({}, "frontend_hsts_max_age", ("Header always set Strict-", 'on "max-age=31536000"')),
        ({}, "frontend_tls_certificate", ("SSLCertificateFile", "ssl_certificate ")),
        ({}, "frontend_tls_certificate_key", ("SSLCertificateKeyFile", "ssl_certificate_key")),
        (RSA, "frontend_tls_certificate_rsa", ("SSLCertificateFile /r.pem", "ssl_certificate /r.pem")),
        (RSA, "frontend_tls_certificate_rsa_key", ("SSLCertificateKeyFile /r.key", "ssl_certificate_key /r.key")),
        ({}, "frontend_http_redirect", ("RewriteRule", "return 308")),
        ({}, "frontend_php", ("SetHandler", "fastcgi_pass")),
    ],
)
def test_a_line_that_an_option_decides_names_it(shape, changes, option, directives):
    text = "\n".join(render(plan(host(*shape), server_names=NAMES, **changes)).values())
    wanted = directives[0] if shape[0] == "apache" else directives[1]
    assert re.search(rf"^\s*# option: {option}\n\s*{re.escape(wanted)}", text, re.MULTILINE)


@pytest.mark.parametrize("shape", SHAPES)
def test_hsts_is_set_once_for_each_table_and_never_on_plain_http(shape):
    wanted = plan(host(*shape), server_names=NAMES, hsts_include_subdomains=True, hsts_preload=True)
    files = render(wanted)
    text = files[wanted["policy"].get("variables") or wanted["policy"]["headers"]]
    assert text.count('"max-age=31536000; includeSubDomains; preload"') == 1
    assert "Strict-Transport-Security" not in files[wanted["policy"]["http"]]
    assert "Strict-Transport-Security" not in files[wanted["files"][-1]["path"]]
