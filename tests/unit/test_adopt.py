# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import ssl
import tempfile
import time
import typing as t
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, Files

from . import web_bed

pytestmark = pytest.mark.slow

same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

HSTS = "max-age=31536000"
LOADERS: dict[str, t.Callable[..., Config]] = {"apache": _apache.load, "nginx": _nginx.load}

POLICY = {
    "apache": {
        "tls": "SSLProtocol -all +TLSv1.2 +TLSv1.3\nSSLCipherSuite ECDHE+AESGCM\nInclude {dir}/headers.conf\n",
        "headers": 'Header unset Strict-Transport-Security\nHeader always set Strict-Transport-Security "%s"\n' % HSTS,
        "http": 'RewriteEngine On\nRewriteRule "^" "https://%{{SERVER_NAME}}%{{REQUEST_URI}}" [R=308,L]\n',
    },
    "nginx": {
        "tls": "ssl_protocols TLSv1.2 TLSv1.3;\nssl_ciphers ECDHE+AESGCM;\nssl_session_timeout 1d;\n"
        "ssl_prefer_server_ciphers on;\ninclude {dir}/headers.conf;\n",
        "headers": 'add_header Strict-Transport-Security "%s" always;\n'
        "proxy_hide_header Strict-Transport-Security;\n" % HSTS,
        "http": "return 308 https://$host$request_uri;\n",
    },
}


_MARKS = ("# kopano.hardening begin", "# kopano.hardening end")


class Site:
    """A configuration in a folder, with the collection's policy beside it."""

    def __init__(self, server: str, folder: Path) -> None:
        self.folder = folder
        self.layout: Layout = web_bed.layout(server, folder)
        policy = Path(self.layout.policy_dir)
        policy.mkdir(exist_ok=True)
        for name, text in POLICY[server].items():
            (policy / (name + ".conf")).write_text(text.format(dir=policy))
        self.policy: dict[str, t.Any] = {name: str(policy / (name + ".conf")) for name in ("tls", "http")}

    def write(self, **texts: str) -> Site:
        """Files by name without .conf, two underscores for a slash; main is the main file."""
        for name, text in texts.items():
            name = self.layout.server if name == "main" else name.replace("__", "/")
            path = self.folder / (name + ".conf")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_webserver_model.encode(text))
        return self

    def load(self, files: Files | None = None) -> Config:
        return LOADERS[self.layout.server](self.layout, files=files)

    def adopt(self, files: Files | None = None, **policy: t.Any) -> dict[str, str]:
        return _adopt.adopt(self.load(files), self.layout, {**self.policy, **policy}).texts

    def apply(self, changes: dict[str, str]) -> None:
        for path, text in changes.items():
            assert os.path.realpath(path) == path
            Path(path).write_bytes(_webserver_model.encode(text))

    def templated(self, changes: dict[str, str]) -> None:
        """Write adopted files as a template would that has what was added, and not what was commented out."""
        for path, text in changes.items():
            edits = _adopt.edits(text)
            lines = [line for line in text.split("\n") if line.strip() not in (*_MARKS, "")]
            kept = [line for line in lines if not re.search("kopano.hardening (?:off|cut): ", line)]
            assert {line.strip() for line in lines} - {line.strip() for line in kept} == {
                f"# kopano.hardening off: {line}" for line in edits.remove
            }
            assert set(edits.add) <= {line.strip() for line in kept}
            Path(path).write_bytes(_webserver_model.encode("\n".join(kept) + "\n"))

    def adopted(self, **policy: t.Any) -> dict[str, str]:
        """Adopts for real, and checks what holds whatever the configuration is."""
        before = {path: Path(path).read_bytes() for path in self.load().files}
        changes = self.adopt(**policy)
        for path, text in changes.items():
            assert _webserver_model.encode(_adopt.unadopt(text)) == Path(path).read_bytes()
        self.apply(changes)
        assert self.adopt(**policy) == {}
        again = {path: _adopt.unadopt(_webserver_model.decode(Path(path).read_bytes())) for path in before}
        assert {path: _webserver_model.encode(text) for path, text in again.items()} == before
        return {os.path.basename(path)[:-5]: text for path, text in changes.items()}


@pytest.fixture
def nginx(tmp_path: Path) -> Site:
    return Site("nginx", tmp_path)


@pytest.fixture
def apache(tmp_path: Path) -> Site:
    return Site("apache", tmp_path)


def dedent(text: str) -> str:
    return re.sub(r"(?m)^ {8}", "", text).lstrip("\n")


# --- what the result looks like --------------------------------------------------------------------------------------


def test_nginx(nginx: Site) -> None:
    nginx.write(main=dedent("""
        http {
            server {
                listen 443 ssl;  # TLS
                ssl_protocols
                    TLSv1
                    TLSv1.1;
                ssl_session_timeout 5m;  # the policy's word counts
                ssl_session_cache shared:x:1m;
                ssl_stapling on;
                location / {
                    root /srv;
                }
                location /static/ {
                    add_header Cache-Control public;
                    add_header Strict-Transport-Security max-age=1;
                    if ($arg_x) {
                        add_header X-Y z;
                    }
                }
            }
            server {
                listen 80;
            }
        }
    """))  # fmt: skip
    policy = nginx.layout.policy_dir
    assert nginx.adopted()["nginx"] == dedent("""
        http {
            server {
                # kopano.hardening begin
                include %(policy)s/tls.conf;
                # kopano.hardening end
                listen 443 ssl;  # TLS
                # kopano.hardening off: ssl_protocols
                    # kopano.hardening off: TLSv1
                    # kopano.hardening off: TLSv1.1;
                # kopano.hardening off: ssl_session_timeout 5m;  # the policy's word counts
                ssl_session_cache shared:x:1m;
                ssl_stapling on;
                location / {
                    root /srv;
                }
                location /static/ {
                    # kopano.hardening begin
                    add_header Strict-Transport-Security "max-age=31536000" always;
                    # kopano.hardening end
                    add_header Cache-Control public;
                    # kopano.hardening off: add_header Strict-Transport-Security max-age=1;
                    if ($arg_x) {
                        # kopano.hardening begin
                        add_header Strict-Transport-Security "max-age=31536000" always;
                        # kopano.hardening end
                        add_header X-Y z;
                    }
                }
            }
            server {
                # kopano.hardening begin
                include %(policy)s/http.conf;
                # kopano.hardening end
                listen 80;
            }
        }
    """ % {"policy": policy})  # fmt: skip


NGINX_SITE = """
http {
    server {
        listen 443 ssl;
        ssl_protocols TLSv1.2;
        ssl_session_timeout 5m;
        add_header Strict-Transport-Security max-age=1;
        location /static/ {
            add_header Cache-Control public;
        }
    }
    server {
        listen 80;
    }
}
"""
APACHE_SITE = """
<VirtualHost *:80>
    RewriteEngine off
</VirtualHost>
<VirtualHost *:443>
    SSLEngine on
    SSLProtocol all
    SSLCipherSuite HIGH
    Header set Strict-Transport-Security "max-age=1"
</VirtualHost>
"""


@pytest.mark.parametrize(("server", "text"), [("nginx", NGINX_SITE), ("apache", APACHE_SITE)])
def test_a_template_with_the_edits_is_left_as_it_is(tmp_path: Path, server: str, text: str) -> None:
    site = Site(server, tmp_path).write(main=text)
    changes = site.adopt()
    assert changes
    site.templated(changes)
    assert site.adopt() == {}


@pytest.mark.parametrize(
    ("server", "line"),
    [
        ("nginx", "include {policy}/tls.con[f];"),
        ("nginx", "include {policy}/tls.conf;"),
        ("apache", "IncludeOptional {policy}/tls.conf"),
    ],
)
def test_an_include_line_of_a_template_is_recognised(tmp_path: Path, server: str, line: str) -> None:
    """Also in a form that a server without the file takes."""
    text = {
        "nginx": "http { server { listen 443 ssl; %s } }\n",
        "apache": "<VirtualHost *:443>\nSSLEngine on\n%s\n</VirtualHost>\n",
    }[server]
    site = Site(server, tmp_path)
    line = line.format(policy=site.layout.policy_dir)
    assert site.write(main=text % line).adopt() == {}
    assert site.write(main=text % line.replace("tls.con", "http.con")).adopt() != {}


def test_the_edits_of_an_adopted_text_are_listed_once(nginx: Site) -> None:
    nginx.write(main="http { server { listen 443 ssl; ssl_ciphers A;ssl_protocols TLSv1\n TLSv1.1; } }")
    (text,) = nginx.adopt().values()
    assert _adopt.edits(text + text) == (
        [f"include {nginx.layout.policy_dir}/tls.conf;"],
        ["ssl_ciphers A;", "ssl_protocols TLSv1", "TLSv1.1;"],
    )
    assert _adopt.edits("server { listen 443 ssl; }") == ([], [])


def test_nginx_on_one_line(nginx: Site) -> None:
    nginx.write(main="http { server { listen 443 ssl; ssl_ciphers A;ssl_protocols TLSv1\n TLSv1.1; } }")
    assert nginx.adopted()["nginx"] == (
        "http { server {\n# kopano.hardening begin inline\ninclude %s/tls.conf;\n# kopano.hardening end inline\n"
        " listen 443 ssl; \n# kopano.hardening cut: ssl_ciphers A;\n"
        "\n# kopano.hardening cut: ssl_protocols TLSv1\n# kopano.hardening cut:  TLSv1.1;\n } }"
        % nginx.layout.policy_dir
    )


def test_apache(apache: Site) -> None:
    apache.write(
        main=dedent("""
        Listen 443
        <Location /server-status>
            Header set Strict-Transport-Security "max-age=1"
        </Location>
        <VirtualHost *:80>
            RewriteEngine off
            RewriteRule ^/old /new
        </VirtualHost>
        <VirtualHost \\
            *:443>
            SSLEngine on
            SSLCipherSuite HIGH:\\
                LOW
            Include shared.conf
            SSLUseStapling on
            <Directory /srv>
                SSLCipherSuite NULL
                Header always append Strict-Transport-Security x
                Header always set X-Frame-Options DENY
            </Directory>
        </VirtualHost>
    """),
        shared="SSLProtocol all\nHeader set Strict-Transport-Security y\nSSLOpenSSLConfCmd MinProtocol TLSv1\n",
    )  # fmt: skip
    policy = apache.layout.policy_dir
    changed = apache.adopted()
    assert changed["apache"] == dedent("""
        Listen 443
        <Location /server-status>
            # kopano.hardening off: Header set Strict-Transport-Security "max-age=1"
        </Location>
        <VirtualHost *:80>
            # kopano.hardening begin
            Include %(policy)s/http.conf
            # kopano.hardening end
            # kopano.hardening off: RewriteEngine off
            RewriteRule ^/old /new
        </VirtualHost>
        <VirtualHost \\
            *:443>
            SSLEngine on
            # kopano.hardening off: SSLCipherSuite HIGH:\\
                # kopano.hardening off: LOW
            Include shared.conf
            SSLUseStapling on
            <Directory /srv>
                # kopano.hardening off: SSLCipherSuite NULL
                # kopano.hardening off: Header always append Strict-Transport-Security x
                Header always set X-Frame-Options DENY
            </Directory>
            # kopano.hardening begin
            Include %(policy)s/tls.conf
            # kopano.hardening end
        </VirtualHost>
    """ % {"policy": policy})  # fmt: skip
    # what merely loses against the policy stays, what would add to it does not
    assert changed["shared"] == (
        "SSLProtocol all\n# kopano.hardening off: Header set Strict-Transport-Security y\n"
        "# kopano.hardening off: SSLOpenSSLConfCmd MinProtocol TLSv1\n"
    )


def test_lines_of_the_http_block_that_a_server_block_would_lose_are_kept(nginx: Site) -> None:
    nginx.write(main="""http {
add_header X-Frame-Options "a;b" always; add_header Strict-Transport-Security old;
proxy_hide_header X-Powered-By;
server {
    listen 443 ssl;
}
server {
    listen 443 ssl;
    add_header X-Own 1;
}
server {
    add_header_inherit merge;
    listen 443 ssl;
    location / {
        add_header X 1;
        proxy_hide_header Y;
    }
}
}""")  # fmt: skip
    text = nginx.adopted()["nginx"]
    first, second, third = (part.split("listen")[0].splitlines()[3:-2] for part in text.split("server {")[1:])
    kept = '    add_header X-Frame-Options "a;b" always;'
    hidden = "    proxy_hide_header X-Powered-By;"
    assert first == [kept, hidden] or first == [hidden, kept]
    assert second == [hidden]
    assert third[0] == hidden and kept not in third
    location = text.split("location / {")[1]
    # the header is inherited there, hidden headers are not
    assert "Strict" in location.split("# kopano.hardening end")[0]
    assert "add_header Strict" not in location


@pytest.mark.parametrize("sign", "\v\f\r\x1c\x1e\x85\u2028")
def test_a_kept_line_ends_where_the_server_ends_it(nginx: Site, sign: str) -> None:
    """Not where Python does as well."""
    kept = f'add_header X-Frame-Options "a{sign}b" always;'
    nginx.write(main=f"http {{\n{kept}\nserver {{\n    listen 443 ssl;\n}}\n}}\n")
    assert f"    {kept}\n" in nginx.adopted()["nginx"]


def test_a_kept_line_of_several_has_them_all(nginx: Site) -> None:
    nginx.write(main="""http {
add_header X-Frame-Options\r
  "a;b" always;
server {
    listen 443 ssl;
}
}
""")  # fmt: skip
    assert '    add_header X-Frame-Options\r\n  "a;b" always;\n' in nginx.adopted()["nginx"]


@pytest.mark.parametrize(
    ("directive", "kept"),
    [
        ('more_set_headers "Strict-Transport-Security: max-age=1";', None),
        (
            "more_set_headers -s '404' 'X-A: \"b\"' \"strict-transport-security: x\" 'X-C: \\d';",
            'more_set_headers "-s" "404" "X-A: \\"b\\"" "X-C: \\\\d";',
        ),
    ],
)
def test_other_headers_of_more_set_headers_are_kept(nginx: Site, directive: str, kept: str | None) -> None:
    for text in ("http { server {\nlisten 443 ssl;\n    %s\n} }", "http { server { listen 443 ssl; %s } }"):
        nginx.write(main=text % directive)
        changed = nginx.adopted()["nginx"]
        found = [item for item in _webserver_model.walk(_nginx.parse(changed, "x")) if item.name == "more_set_headers"]
        assert [item.args for item in found] == ([_nginx.parse(kept, "x")[0].args] if kept else [])
        nginx.apply({nginx.layout.main_config: _adopt.unadopt(changed)})


@pytest.mark.parametrize(
    ("server", "text", "included"),
    [
        ("nginx", "server { listen 80; }", "http"),
        ("nginx", "server { listen [::]:80; listen 8080; }", "http"),
        ("nginx", "server { listen 8080; }", None),
        ("nginx", "server { listen 127.0.0.1:80; }", None),
        ("nginx", "server { listen [::1]:80; }", None),
        ("nginx", "server { listen unix:/run/x; }", None),
        ("nginx", "server { listen 80; listen 443 ssl; }", "tls"),
        ("apache", "<VirtualHost *:80>\n</VirtualHost>", "http"),
        ("apache", "<VirtualHost 127.0.0.1:80>\n</VirtualHost>", None),
        ("apache", "<VirtualHost *:8080>\n</VirtualHost>", None),
        ("apache", "<VirtualHost *:8443>\nSSLEngine on\n</VirtualHost>", "tls"),
        ("apache", "<IfModule mod_ssl.c>\n<VirtualHost *:443>\nSSLEngine on\n</VirtualHost>\n</IfModule>", "tls"),
    ],
)
def test_which_virtual_hosts_get_what(tmp_path: Path, server: str, text: str, included: str | None) -> None:
    site = Site(server, tmp_path).write(main="http { %s }" % text if server == "nginx" else text)
    changed = "".join(site.adopted().values())
    assert re.findall(r"(?i)include \S+/(\w+)\.conf", changed) == ([included] if included else [])


def test_without_a_policy_for_http_plain_virtual_hosts_stay(nginx: Site) -> None:
    nginx.write(main="http { server { listen 80; } server { listen 443 ssl; } }")
    assert nginx.adopted(http=None)["nginx"].count("include") == 1


def test_leaving_out_the_policy_for_http_later_takes_it_back(nginx: Site) -> None:
    nginx.write(main="http { server { listen 80; } }")
    nginx.adopted()
    (text,) = nginx.adopt(http=None).values()
    assert text == "http { server { listen 80; } }"


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_linked_site_is_edited_behind_the_link(nginx: Site, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "site").write_text("server { listen 443 ssl; }")
    (tmp_path / "on").mkdir()
    (tmp_path / "on/site").symlink_to(outside / "site")
    nginx.write(main="http { include on/*; }")
    assert list(nginx.adopt()) == [str(outside / "site")]


def test_both_names_of_a_hard_linked_file_are_edited(nginx: Site, tmp_path: Path) -> None:
    nginx.write(main="http { include a.conf; include b.conf; }", a="server { listen 443 ssl; }")
    os.link(tmp_path / "a.conf", tmp_path / "b.conf")
    changed = nginx.adopt()
    assert sorted(changed) == [str(tmp_path / "a.conf"), str(tmp_path / "b.conf")]
    assert len(set(changed.values())) == 1


def test_a_snippet_of_several_virtual_hosts_is_edited_once(nginx: Site) -> None:
    servers = "server { listen 443 ssl; include tls.conf; }\n" * 2
    nginx.write(main="http {\n%s}" % servers, tls="ssl_protocols TLSv1;\nssl_session_timeout 1h;\nssl_dhparam x;\n")
    assert nginx.adopted()["tls"] == (
        "# kopano.hardening off: ssl_protocols TLSv1;\n"
        "# kopano.hardening off: ssl_session_timeout 1h;\n"
        "ssl_dhparam x;\n"
    )


def test_what_was_read_from_a_dump_is_not_edited(nginx: Site) -> None:
    config = _nginx.load(nginx.layout, dump="# configuration file /etc/nginx/nginx.conf:\nhttp { }\n\n")
    with pytest.raises(ValueError, match="dump"):
        _adopt.adopt(config, nginx.layout, nginx.policy)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # what is kept is a copy: Apache takes form feeds for blanks, they end no line
        ("    SSLOpenSSLConfCmd Options\f-SessionTicket\n", "    SSLOpenSSLConfCmd Options\f-SessionTicket\n"),
        # a part of a word gets no indentation
        (
            '    SSLOpenSSLConfCmd Options "-Sess\\\nionTicket"\n',
            '    SSLOpenSSLConfCmd Options "-Sess\\\nionTicket"\n',
        ),
    ],
)
def test_a_line_that_is_kept_is_written_as_it_was(apache: Site, before: str, after: str) -> None:
    apache.write(main="<VirtualHost *:443>\n    SSLEngine on\n%s</VirtualHost>\n" % before)
    changed = apache.adopted()["apache"]
    assert changed.endswith("tls.conf\n%s    # kopano.hardening end\n</VirtualHost>\n" % after)


def test_an_empty_line_that_belongs_to_a_tag_stays_with_it(apache: Site) -> None:
    """Apache joins what is behind the backslash: the policy must not become a part of the tag."""
    apache.write(main="<VirtualHost *:80> \\\n\nServerName x\n</VirtualHost>\n")
    changed = apache.adopted()["apache"]
    assert changed.startswith("<VirtualHost *:80> \\\n\n# kopano.hardening begin\nInclude ")


@pytest.mark.parametrize("end", ["", "\n", " # its last", "\n\n"])
@pytest.mark.parametrize("lines", ["<VirtualHost *:80>", "<VirtualHost *:80>\nServerName x",
                                   "<VirtualHost *:443>\nSSLEngine on\nSSLProtocol all"])  # fmt: skip
def test_a_virtual_host_that_ends_with_its_file_gets_the_policy(apache: Site, lines: str, end: str) -> None:
    """Apache accepts that within a condition that holds."""
    apache.write(main="<IfModule core.c>\n" + lines + end)
    policy = apache.policy["tls" if "443" in lines else "http"]
    changed = apache.adopted()["apache"]
    assert len(re.findall(f"(?m)^ *Include {policy}$", changed)) == 1
    (vhost,) = apache.load().vhosts
    assert policy in [item.args[0] for item in vhost.block.children if item.key == "include"]


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_odd_bytes_and_line_ends_survive(tmp_path: Path, server: str) -> None:
    text = {
        "apache": "# \xfc\r\n<VirtualHost *:443>\r\nSSLEngine on\r\n\tSSLProtocol all\r\n</VirtualHost>",
        "nginx": "# \xfc\r\nhttp {\r\n\tserver {\r\n\t\tlisten 443 ssl;\r\n\t\tssl_ciphers\r\n HIGH;\r\n}\r\n}",
    }[server]
    site = Site(server, tmp_path)
    Path(site.layout.main_config).write_bytes(text.encode("latin-1"))
    changed = site.adopted()[server]
    assert changed.encode("utf-8", "surrogateescape").startswith(b"# \xfc\r\n")
    assert changed.count("\n") == changed.count("\r\n")


def test_rendered_files_are_read_but_not_edited(nginx: Site, tmp_path: Path) -> None:
    site = str(tmp_path / "site.conf")
    nginx.write(main="http { include site*.conf; include old.conf; }", old="server { listen 443 ssl; }")
    rendered = Files({site: "server { listen 443 ssl; }", nginx.policy["tls"]: "ssl_session_tickets off;"})
    assert list(nginx.adopt(rendered)) == [str(tmp_path / "old.conf")]


def test_the_policy_of_a_rendered_file_counts_before_it_is_written(nginx: Site) -> None:
    nginx.write(main="http { server {\nlisten 443 ssl;\nssl_early_data on;\n} }")
    rendered = Files({nginx.policy["tls"]: "ssl_early_data off;"})
    (text,) = nginx.adopt(rendered).values()
    assert "# kopano.hardening off: ssl_early_data on;" in text


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_a_virtual_host_that_includes_the_policy_itself_gets_no_second_one(tmp_path: Path, server: str) -> None:
    site = Site(server, tmp_path)
    text = {
        "apache": "<VirtualHost *:443>\nSSLEngine on\nInclude kopano-hardening/tls.conf\n</VirtualHost>\n",
        "nginx": "http { server { listen 443 ssl; include kopano-hardening/tls.conf; } }",
    }[server]
    assert site.write(main=text).adopted() == {}


def test_what_will_count_once_the_modules_are_loaded_is_seen(apache: Site) -> None:
    apache.write(main=(
        "SSLEngine on\n<VirtualHost *:443>\n"
        "<IfModule mod_headers.c>\nHeader set Strict-Transport-Security x\n</IfModule>\n"
        "</VirtualHost>\n"
    ))  # fmt: skip
    assert "# kopano.hardening off: Header set" in apache.adopted()["apache"]


def test_a_mark_without_its_end_costs_nothing_but_itself() -> None:
    text = "a;\n# kopano.hardening begin\nb;\n# kopano.hardening begin\nc;\n# kopano.hardening end\nd;\n"
    assert _adopt.unadopt(text) == "a;\n# kopano.hardening begin\nb;\nd;\n"


# --- made-up configurations, and the servers' own verdict on the result ----------------------------------------------

GAP = st.sampled_from([" ", "\n", "\n    ", "\t", "\r\n", "\n# note\n", " # note\n  ", ""])
NGINX_LINES = st.sampled_from([
    "ssl_protocols TLSv1.2;", "ssl_ciphers\n  HIGH;", "ssl_ciphers 'HIGH';", "ssl_prefer_server_ciphers off;",
    "ssl_session_timeout 5m;", "ssl_session_tickets off;", "ssl_ecdh_curve prime256v1;", "server_name a.example;",
    "add_header X-A b;", 'add_header Strict-Transport-Security "x;}" always;', "root /srv;", "proxy_hide_header X;",
    "ssl_conf_command Ciphersuites\n TLS_AES_128_GCM_SHA256;", "include shared.conf;",
])  # fmt: skip
NGINX_INNER = st.sampled_from([
    "add_header X-B c;", "add_header strict-transport-security y;", "proxy_hide_header Z;", "root /x;", "return 404;",
    "if ($arg_a) {add_header X-C d;}", "if ($arg_b)\n{\n  return 403;\n}",
])  # fmt: skip


def _once(line: str) -> tuple[str, ...]:
    """nginx takes most directives once in a block, and headers as often as one likes."""
    return tuple(line.split()[: 2 if line.startswith("add_header") else 1])


@st.composite
def nginx_servers(draw: t.Any, number: int) -> str:
    tls = draw(st.booleans())
    listen = "listen 127.0.0.1:%d%s;" % ((18443, " ssl") if tls else (18080, ""))
    parts = [listen, *draw(st.lists(NGINX_LINES, max_size=6, unique_by=_once))]
    for place in range(draw(st.integers(0, 3))):
        inner = [draw(GAP) + item for item in draw(st.lists(NGINX_INNER, max_size=4, unique=True))]
        parts.append("location /%d%s{%s%s}" % (place, draw(GAP) or " ", "".join(inner), draw(GAP)))
    body = "".join(draw(GAP) + part for part in draw(st.permutations(parts)))
    return "server%s{%s%s}" % (draw(GAP) or " ", body, draw(GAP))


@web_bed.needs_nginx
@given(st.data())
@settings(same_folder, max_examples=60)
def test_nginx_takes_every_adopted_configuration_that_it_took(tmp_path: Path, data: st.DataObject) -> None:
    site = Site("nginx", tmp_path)
    if not (tmp_path / "cert.pem").exists():
        web_bed.make_certificate(tmp_path)
    servers = [data.draw(nginx_servers(number)) for number in range(data.draw(st.integers(1, 3)))]
    common = "ssl_certificate cert.pem; ssl_certificate_key key.pem; add_header X-Http 1;\nssl_protocols TLSv1.3;\n"
    main = web_bed.nginx_head(tmp_path) + "http {\n" + web_bed.nginx_http(tmp_path) + common + "\n".join(servers) + "}"
    site.write(main=main, shared="ssl_buffer_size 4k;\nssl_early_data off;\n")
    before = web_bed.nginx_test(tmp_path)
    site.adopted()
    after = web_bed.nginx_test(tmp_path)
    assert (before.returncode, after.returncode) == (0, 0), before.stderr + after.stderr
    for vhost in site.load().vhosts:
        assert vhost.overrides == []


APACHE_LINES = st.sampled_from([
    "SSLProtocol all", "SSLCipherSuite HIGH\\\n:!aNULL", "sslciphersuite TLSv1.3 TLS_AES_128_GCM_SHA256",
    "Header always set Strict-Transport-Security x", 'Header set "Strict-Transport-Security" "y"', "Header set X-A b",
    "SSLHonorCipherOrder off", "# note", "# note \\\n  goes on", "", "SSLCompression off", "RewriteEngine Off",
    "<Location /x>\n  Header append Strict-Transport-Security z\n  SSLCipherSuite HIGH\n</Location>",
    "<IfModule mod_headers.c>\nHeader unset Strict-Transport-Security\n</IfModule>", "Include shared.conf",
    "SSLOpenSSLConfCmd Curves prime256v1",
])  # fmt: skip


@st.composite
def apache_hosts(draw: t.Any) -> str:
    tls = draw(st.booleans())
    lines = draw(st.lists(APACHE_LINES, max_size=7))
    if tls:
        lines += ["SSLEngine on", "SSLCertificateFile cert.pem", "SSLCertificateKeyFile key.pem"]
        lines = draw(st.permutations(lines))
    indent = draw(st.sampled_from(["", "    ", "\t"]))
    body = "".join(indent + line + "\n" for line in lines)
    tag = draw(st.sampled_from(["VirtualHost", "virtualhost"]))
    return "%s<%s *:%d>\n%s%s</%s>" % (indent, tag, 443 if tls else 80, body, indent, tag)


@web_bed.needs_apache
@given(st.lists(apache_hosts(), min_size=1, max_size=3), st.booleans(), st.booleans())
@settings(same_folder, max_examples=50)
def test_apache_takes_every_adopted_configuration_that_it_took(
    tmp_path: Path, hosts: list[str], crlf: bool, final_newline: bool
) -> None:
    site = Site("apache", tmp_path)
    if not (tmp_path / "cert.pem").exists():
        web_bed.make_certificate(tmp_path)
    main = web_bed.apache_head(tmp_path, "ssl", "headers", "rewrite") + "\n".join(hosts) + "\n" * final_newline
    shared = "SSLProtocol all\n<Files x>\nSSLCipherSuite A\n</Files>\n"
    site.write(main=main.replace("\n", "\r\n") if crlf else main, shared=shared)
    before = web_bed.apache_test(tmp_path)
    assert not before.returncode, before.stderr
    site.adopted()
    after = web_bed.apache_test(tmp_path)
    assert not after.returncode, after.stderr
    left = [item for vhost in site.load().vhosts for item in vhost.overrides]
    assert all(item.file.endswith("/shared.conf") and item.key == "sslprotocol" for item in left)


@given(st.text("a;{}\n\r# ", max_size=30))
@settings(deadline=None)
def test_a_text_without_marks_is_not_changed(text: str) -> None:
    assert _adopt.unadopt(text) == text


# --- what clients see ------------------------------------------------------------------------------------------------


def hsts_of(port: int, path: str, name: str | None = "mail.example") -> list[str]:
    return web_bed.get(port, path, name).all("strict-transport-security")


def refuses_old_protocols(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with web_bed.socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            context.wrap_socket(connection).close()
        except (ssl.SSLError, ConnectionError):
            return True
    return False


@web_bed.needs_nginx
def test_clients_of_nginx_see_the_policy_everywhere(nginx: Site, tmp_path: Path) -> None:
    web_bed.make_certificate(tmp_path)
    port, plain, backend = web_bed.free_ports(3)
    nginx.write(main="""%s
http {
    %s
    ssl_certificate cert.pem; ssl_certificate_key key.pem;
    add_header X-Frame-Options SAMEORIGIN;
    server { listen 127.0.0.1:%d ssl; ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0; return 404; }
    server {
        listen 127.0.0.1:%d ssl;
        server_name mail.example;
        ssl_ciphers ALL:@SECLEVEL=0; ssl_protocols TLSv1.1 TLSv1.2;
        location / { return 200 x; }
        location /own { add_header Cache-Control public; return 200 x; }
        location /old { add_header Strict-Transport-Security max-age=1; return 200 x; }
        location /deep { add_header X-A b; location /deep/er { add_header X-B c; return 403; } }
        location /if { if ($arg_x) { add_header X-C d; return 200 x; } return 200 x; }
        location /back { proxy_pass http://127.0.0.1:%d; proxy_hide_header X-Hidden; }
        location /down { proxy_pass http://127.0.0.1:1; }
    }
    server { listen 127.0.0.1:%d; return 200 x; }
    server { listen 127.0.0.1:%d; location / { add_header Strict-Transport-Security max-age=2; return 200 b; } }
}
""" % (web_bed.nginx_head(tmp_path), web_bed.nginx_http(tmp_path), port, port, backend, plain, backend))  # fmt: skip
    with web_bed.running("nginx", tmp_path, port):
        assert hsts_of(port, "/") == []
        assert not refuses_old_protocols(port)
        assert hsts_of(port, "/back") == ["max-age=2"]
    nginx.adopted()
    with web_bed.running("nginx", tmp_path, port):
        for path in ("/", "/own", "/old", "/deep/er", "/if", "/if?x=1", "/back", "/down", "/none"):
            assert hsts_of(port, path) == [HSTS], path
        assert hsts_of(port, "/", None) == [HSTS]
        assert web_bed.get(port, "/").all("x-frame-options") == ["SAMEORIGIN"]
        assert web_bed.get(port, "/own").all("cache-control") == ["public"]
        assert refuses_old_protocols(port)
        assert web_bed.get(plain, "/", tls=False).all("strict-transport-security") == []


@pytest.fixture
def root() -> t.Iterator[Path]:
    """A document root that Apache's user may read, which pytest's folders are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "x.txt").write_text("x")
        yield Path(folder)


@web_bed.needs_apache
def test_clients_of_apache_see_the_policy_everywhere(apache: Site, tmp_path: Path, root: Path) -> None:
    web_bed.make_certificate(tmp_path)
    port, backend = web_bed.free_ports(2)
    apache.write(main="""%s
Listen 127.0.0.1:%d
Listen 127.0.0.1:%d
DocumentRoot "%s"
<Directory "%s">
    Require all granted
</Directory>
<Location /old>
    Header set Strict-Transport-Security max-age=1
</Location>
<VirtualHost 127.0.0.1:%d>
    ServerName first.example
    SSLEngine on
    SSLCertificateFile cert.pem
    SSLCertificateKeyFile key.pem
    SSLProtocol all
    SSLCipherSuite ALL:@SECLEVEL=0
</VirtualHost>
<VirtualHost 127.0.0.1:%d>
    ServerName mail.example
    SSLEngine on
    SSLCertificateFile cert.pem
    SSLCertificateKeyFile key.pem
    SSLProtocol all
    SSLCipherSuite ALL:@SECLEVEL=0
    Header set Strict-Transport-Security max-age=3
    ProxyPass /back http://127.0.0.1:%d/
    ProxyPass /down http://127.0.0.1:1/
    <Files x.txt>
        Header always set Strict-Transport-Security max-age=4
        Header set Cache-Control public
    </Files>
</VirtualHost>
<VirtualHost 127.0.0.1:%d>
    Header set Strict-Transport-Security max-age=2
</VirtualHost>
""" % (web_bed.apache_head(tmp_path, "ssl", "headers", "proxy", "proxy_http", "dir"), port, backend, root, root,
       port, port, backend, backend))  # fmt: skip
    with web_bed.running("apache", tmp_path, port):
        assert hsts_of(port, "/x.txt") == ["max-age=4", "max-age=3"]
        assert hsts_of(port, "/none") == []
        assert not refuses_old_protocols(port)
    apache.adopted()
    with web_bed.running("apache", tmp_path, port):
        for path in ("/x.txt", "/none", "/old", "/back/x.txt", "/down", "/"):
            assert hsts_of(port, path) == [HSTS], path
        assert hsts_of(port, "/", None) == [HSTS]
        assert web_bed.get(port, "/x.txt").all("cache-control") == ["public"]
        assert refuses_old_protocols(port)


@web_bed.needs_apache
def test_the_redirect_counts_before_what_a_plain_virtual_host_has(apache: Site, tmp_path: Path) -> None:
    """Port 80 is not ours to use in a test, so the policy for plain HTTP is put where adopt puts it on that port."""
    (port,) = web_bed.free_ports(1)
    text = """%s
Listen 127.0.0.1:%d
<VirtualHost *:80>
    RewriteEngine on
    RewriteRule ^/app /other [R=302,L]
    RewriteEngine off
    Redirect 302 /old http://elsewhere.example/
    <Location /locked>
        Require all denied
    </Location>
</VirtualHost>
""" % (web_bed.apache_head(tmp_path, "rewrite", "alias"), port)
    apache.write(main=text)
    adopted = apache.adopted()["apache"].replace("*:80>", "*:%d>" % port)
    apache.write(main=adopted)
    with web_bed.running("apache", tmp_path, port):
        for path in ("/", "/app", "/old", "/locked"):
            answer = web_bed.get(port, path, "mail.example", tls=False)
            assert (answer.status, answer.all("location")) == (308, ["https://mail.example" + path])


# --- security headers and the directive ssl --------------------------------------------------------------------------


def with_headers(nginx: Site) -> dict[str, t.Any]:
    """The policy with its headers in a file of their own, and variables."""
    folder = Path(nginx.layout.policy_dir)
    (folder / "tls.conf").write_text("ssl_protocols TLSv1.2;\nserver_tokens off;\nproxy_hide_header X-Frame-Options;\n")
    names = ("Strict-Transport-Security", "X-Frame-Options", "X-Content-Type-Options")
    (folder / "headers.conf").write_text("".join("add_header %s a always;\n" % name for name in names))
    (folder / "variables.conf").write_text("map $uri $kopano_x { default a; }\n")
    return {name: str(folder / (name + ".conf")) for name in ("headers", "variables")}


def test_nginx_headers_go_where_they_would_be_lost_and_not_beside_the_administrator_s_own(nginx: Site) -> None:
    more = with_headers(nginx)
    nginx.write(main=dedent("""
        http {
            server {
                listen 443 ssl;
                server_tokens on;
                location /a/ {
                    add_header Cache-Control public;
                }
                location /b/ {
                    add_header X-Frame-Options DENY;
                }
                location /c/ {
                    proxy_hide_header X-Y;
                }
            }
        }
    """))  # fmt: skip
    policy = nginx.layout.policy_dir
    assert nginx.adopted(**more)["nginx"] == dedent("""
        http {
            # kopano.hardening begin
            include %(policy)s/variables.conf;
            # kopano.hardening end
            server {
                # kopano.hardening begin
                include %(policy)s/tls.conf;
                include %(policy)s/headers.conf;
                # kopano.hardening end
                listen 443 ssl;
                # kopano.hardening off: server_tokens on;
                location /a/ {
                    # kopano.hardening begin
                    include %(policy)s/headers.conf;
                    # kopano.hardening end
                    add_header Cache-Control public;
                }
                location /b/ {
                    # kopano.hardening begin
                    add_header Strict-Transport-Security a always;
                    add_header X-Content-Type-Options a always;
                    # kopano.hardening end
                    add_header X-Frame-Options DENY;
                }
                location /c/ {
                    # kopano.hardening begin
                    proxy_hide_header X-Frame-Options;
                    # kopano.hardening end
                    proxy_hide_header X-Y;
                }
            }
        }
    """ % {"policy": policy})  # fmt: skip


def test_nginx_files_depend_neither_on_each_other_nor_on_the_main_one(nginx: Site) -> None:
    more = with_headers(nginx)
    secure = "server {\nlisten 127.0.0.1:443 ssl;\n}\n"
    nginx.write(main="http {\ninclude %s/sites/*.conf;\n}\n" % nginx.folder)
    nginx.write(sites__a=secure + secure, sites__b="server {\nlisten 127.0.0.1:80;\n}\n" + secure)
    changed = nginx.adopted(**more)
    assert set(changed) == {"a", "b"}
    for text in changed.values():
        before, included, _after = text.partition("include %s;" % more["variables"])
        assert included and before.count("ssl") == 0 and text.count("variables.conf") == 1


def test_nginx_keeps_the_administrator_s_header_for_the_whole_server(nginx: Site) -> None:
    more = with_headers(nginx)
    nginx.write(main="http {\nadd_header X-Frame-Options DENY;\nserver {\nlisten 443 ssl;\n}\n}\n")
    text = nginx.adopted(**more)["nginx"]
    assert re.findall("add_header (\\S+) (\\w+)", text.partition("server {")[2]) == [
        ("Strict-Transport-Security", "a"),
        ("X-Content-Type-Options", "a"),
        ("X-Frame-Options", "DENY"),
    ]


@pytest.mark.parametrize(
    ("server", "merges"),
    [
        ("location / { add_header Cache-Control public; }", True),
        ("location / { }", True),
        ("add_header Cache-Control public; location / { add_header Cache-Control private; }", False),
        ("location / { add_header X-Frame-Options DENY; }", False),
        ("location / { add_header_inherit off; }", False),
    ],
)
def test_nginx_merges_headers_where_only_the_policy_s_are_merged(nginx: Site, server: str, merges: bool) -> None:
    more = with_headers(nginx)
    nginx.write(main="http {\nserver {\nlisten 443 ssl;\n%s\n}\n}\n" % server)
    text = nginx.adopted(**more, merge_headers=True)["nginx"]
    assert ("add_header_inherit merge;" in text) is merges
    location = text.partition("location / {")[2]
    assert (nginx.layout.policy_dir in location or "Strict-Transport-Security" in location) is (not merges)


def test_nginx_that_merges_nothing_gets_the_headers_in_each_block(nginx: Site) -> None:
    more = with_headers(nginx)
    inner = "add_header_inherit off;\nif ($arg_x) { return 403; }\nlocation / {\nlocation /x { root /; }\n}\n"
    nginx.write(main="http {\nserver {\nlisten 443 ssl;\n%s}\n}\n" % inner)
    text = nginx.adopted(**more, merge_headers=True)["nginx"]
    assert text.count("include %s;" % more["headers"]) == 3


def test_nginx_directive_ssl_is_replaced_on_request(nginx: Site) -> None:
    nginx.write(main=dedent("""
        http {
            server {
                listen 443;
                listen [::]:443 default_server;
                listen 444 ssl;
                ssl on;
            }
            server {
                listen 80;
                ssl off;
            }
        }
    """))  # fmt: skip
    policy = nginx.layout.policy_dir
    assert "off: ssl on" not in nginx.adopt()[str(nginx.folder / "nginx.conf")]
    assert nginx.adopted(repair_ssl_on=True)["nginx"] == dedent("""
        http {
            server {
                # kopano.hardening begin
                include %(policy)s/tls.conf;
                # kopano.hardening end
                # kopano.hardening begin
                listen 443 ssl;
                # kopano.hardening end
                # kopano.hardening off: listen 443;
                # kopano.hardening begin
                listen [::]:443 default_server ssl;
                # kopano.hardening end
                # kopano.hardening off: listen [::]:443 default_server;
                listen 444 ssl;
                # kopano.hardening off: ssl on;
            }
            server {
                # kopano.hardening begin
                include %(policy)s/http.conf;
                # kopano.hardening end
                listen 80;
                # kopano.hardening off: ssl off;
            }
        }
    """ % {"policy": policy})  # fmt: skip


def test_a_file_is_searched_for_marks_once_and_not_for_each_of_its_directives(tmp_path):
    """The latter took ten seconds of the processor for 5,000 virtual hosts in one file."""
    site = Site("nginx", tmp_path)
    lines = "ssl_ciphers HIGH;\n" * 1500
    marked = f"# kopano.hardening begin\n{lines}# kopano.hardening end\n"
    site.write(main=f"events {{}}\nhttp {{\n#{'-' * (4 << 20)}\n{lines}{marked}{lines}}}\n")
    config = site.load()
    started = time.process_time()
    assert len(_webserver_model.overrides(config, site.layout, config.root)) == 3000
    assert time.process_time() - started < 1
