# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import os
import re
import string
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, ConfigError, Directive

from . import web_bed

pytestmark = pytest.mark.slow

same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# --- made-up texts ---------------------------------------------------------------------------------------------------

BARE = st.text(string.ascii_letters + string.digits + "_-./:$~^*=|()[]é", min_size=1, max_size=8)
QUOTED = st.builds(
    lambda mark, body: mark + body.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark,
    st.sampled_from("'\""),
    st.text(string.printable + "äß", max_size=10),
)
WORDS = st.one_of(BARE, QUOTED, st.builds("${{{}}}x".format, st.text(string.ascii_lowercase, min_size=1, max_size=4)))
SPACE = st.text(" \t\r\n", min_size=1, max_size=3)
GAPS = st.one_of(SPACE, st.builds(" # {}\n".format, st.text(string.ascii_letters + "{};'\"", max_size=8)))


@st.composite
def statements(draw: t.Any, depth: int = 3) -> str:
    words = draw(GAPS).join(draw(st.lists(WORDS, min_size=1, max_size=4)))
    # a word that ends in a closing brace would swallow what follows only if it were bare; quoting keeps it apart
    if depth and draw(st.booleans()):
        body = draw(GAPS).join(draw(st.lists(statements(depth - 1), max_size=3)))
        return words + draw(SPACE) + "{" + draw(GAPS) + body + draw(GAPS) + "}"
    return words + draw(st.sampled_from(["", " ", "\n"])) + ";"


texts = st.builds("".join, st.lists(st.builds("{}{}".format, statements(), GAPS), max_size=4))


def shape(items: t.Iterable[Directive]) -> list[t.Any]:
    return [(item.name, item.args, None if item.children is None else shape(item.children)) for item in items]


@given(texts)
@settings(deadline=None)
def test_spans_hold_just_what_the_directive_is(text: str) -> None:
    def check(items: list[Directive], start: int, end: int) -> None:
        position = start
        for item in items:
            between = text[position : item.start]
            assert re.fullmatch(r"(?:[ \t\r\n]|#[^\n]*)*", between), between
            again = _nginx.parse(text[item.start : item.end], "again")
            assert shape(again) == shape([item])
            assert item.line == text.count("\n", 0, item.start) + 1
            if item.children is not None:
                assert item.body_start is not None and item.body_end is not None
                assert text[item.body_start - 1] == "{" and text[item.body_end] == "}"
                check(item.children, item.body_start, item.body_end)
            position = item.end
        assert re.fullmatch(r"(?:[ \t\r\n]|#[^\n]*)*", text[position:end])

    check(_nginx.parse(text, "x"), 0, len(text))


@given(st.one_of(st.binary(max_size=200), st.text("ab{};\"'\\#$\n \t\r()", max_size=60).map(str.encode)))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    text = _webserver_model.decode(data)
    assert _webserver_model.encode(text) == data
    try:
        _nginx.parse(text, "x")
    except ConfigError as error:
        assert error.line is not None and 1 <= error.line <= text.count("\n") + 1


def test_deep_nesting_is_no_problem() -> None:
    depth = 20000
    directive = _nginx.parse("a{" * depth + "}" * depth, "x")
    assert sum(1 for _ in _webserver_model.walk(directive)) == depth


# --- nginx itself as the judge ---------------------------------------------------------------------------------------


@web_bed.needs_nginx
@given(st.text("an\\\"'${}# \t\r\n()é;", min_size=1, max_size=10))
@settings(same_folder, max_examples=150)
def test_words_are_those_that_nginx_reads(tmp_path: Path, text: str) -> None:
    """nginx quotes the first word of a directive that it does not know, and counts lines."""
    (tmp_path / "nginx.conf").write_bytes(text.encode() + b" zz;\n")
    words = web_bed.nginx_test(tmp_path).stderr
    match = re.search(r'unknown directive "(.*)" in /\S+/nginx\.conf:(\d+)\n', words, re.DOTALL)
    try:
        found = _nginx.parse(text + " zz;\n", "x")
    except ConfigError as error:
        # nginx stops at the first unknown directive, and may not have come to what is wrong
        assert "unexpected" in words or (match and int(match.group(2)) <= (error.line or 0)), words
        return
    if not found:
        assert "syntax is ok" in words
        return
    assert match, words
    assert found[0].name == match.group(1)
    end = found[0].body_start or found[0].end
    assert (text + " zz;\n").count("\n", 0, end) + 1 == int(match.group(2))


@web_bed.needs_nginx
@given(texts, st.data())
@settings(same_folder, max_examples=60)
def test_lines_are_those_that_nginx_counts(tmp_path: Path, text: str, data: st.DataObject) -> None:
    """The first directive is not known to nginx; comments and blank lines before it must not confuse the count."""
    before = data.draw(st.lists(GAPS, max_size=4).map("".join))
    (tmp_path / "nginx.conf").write_bytes((before + "no_such_directive x;" + text).encode())
    words = web_bed.nginx_test(tmp_path).stderr
    line = re.search(r'unknown directive "no_such_directive" in \S+:(\d+)', words)
    assert line, words
    assert _nginx.parse(before + "no_such_directive x;" + text, "x")[0].line == int(line.group(1))


FILES = {
    "nginx.conf": """{head}
http {{
    {http}
    include conf.d/*.conf;
    include sites/*;
    include no-such/*.conf;
}}
""",
    "conf.d/10-map.conf": 'map $uri $kind {{\n  default "";\n  ~\\.php$ php;\n include map.inc;\n}}\n',
    "conf.d/.hidden.conf": "this is not read",
    "map.inc": "/x y;",
    "sites/b": "server {{ listen 127.0.0.1:{0}; server_name b; }}",
    "sites/a": """server {{
    listen 127.0.0.1:{0};
    listen 127.0.0.1:{1} ssl;
    server_name a.example *.a.example ~^(www\\.)?x$ "";
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    include snippets/tls.conf;
}}
server {{ listen 127.0.0.1:{1} ssl default_server; server_name c; ssl_certificate cert.pem;
    ssl_certificate_key key.pem; location / {{ add_header strict-transport-security x; return 200 '}}'; }} }}
""",
    "snippets/tls.conf": "# shared\nssl_ciphers HIGH;\n\nssl_session_cache shared:x:1m; # ours\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    web_bed.make_certificate(tmp_path)
    ports = web_bed.free_ports(2)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(*ports, head=web_bed.nginx_head(tmp_path), http=web_bed.nginx_http(tmp_path)))
    return tmp_path


def summary(config: Config) -> list[t.Any]:
    return [vhost.as_dict() for vhost in config.vhosts]


@web_bed.needs_nginx
def test_a_dump_and_the_files_are_read_as_the_same(tree: Path) -> None:
    layout = web_bed.layout("nginx", tree)
    dump = web_bed.run(web_bed.NGINX, "-T", "-c", layout.main_config, "-e", str(tree / "start.log"))
    assert dump.returncode == 0, dump.stderr
    from_dump, from_files = _nginx.load(layout, dump=dump.stdout), _nginx.load(layout)
    assert from_dump.files == from_files.files
    assert list(from_files.files) == [str(tree / name) for name in (
        "nginx.conf", "conf.d/10-map.conf", "map.inc", "sites/a", "snippets/tls.conf", "sites/b")]  # fmt: skip
    assert summary(from_dump) == summary(from_files)


@web_bed.needs_nginx
@pytest.mark.parametrize("path", ["d/x.conf\0y", "d/*.conf\0", "d/\0*"])
def test_a_path_ends_at_a_null_byte_as_in_nginx(tmp_path: Path, path: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.conf").write_text("server { listen 127.0.0.1:1; }")
    (tmp_path / "nginx.conf").write_text(
        web_bed.nginx_head(tmp_path) + f"http {{ {web_bed.nginx_http(tmp_path)} include {path}; }}"
    )
    accepted = web_bed.nginx_test(tmp_path).returncode == 0
    assert accepted == (path != "d/\0*")
    if accepted:
        assert [vhost.port for vhost in _nginx.load(web_bed.layout("nginx", tmp_path)).vhosts] == [1]
    else:
        with pytest.raises(ConfigError, match=r"cannot read .*/d/: Is a directory"):
            _nginx.load(web_bed.layout("nginx", tmp_path))


@web_bed.needs_nginx
def test_a_file_that_a_link_to_nothing_has_disabled_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("server { listen 127.0.0.1:1; }")
    (tmp_path / "b.conf").symlink_to("/dev/null")
    http = web_bed.nginx_http(tmp_path)
    (tmp_path / "main").write_text(web_bed.nginx_head(tmp_path) + f"http {{ {http} include *.conf; }}")
    layout = web_bed.layout("nginx", tmp_path)._replace(main_config=str(tmp_path / "main"))
    assert web_bed.run(web_bed.NGINX, "-t", "-c", layout.main_config, "-e", str(tmp_path / "log")).returncode == 0
    assert [vhost.port for vhost in _nginx.load(layout).vhosts] == [1]
    (tmp_path / "b.conf").unlink()
    os.mkfifo(tmp_path / "b.conf")
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}/b.conf: not a regular file"):
        _nginx.load(layout)


def test_a_link_that_cannot_be_read_is_not_taken_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is to be edited behind it has another name, and is left out without a word."""
    (tmp_path / "site").write_text("")
    (tmp_path / "link").symlink_to("site")
    readlink, failures = os.readlink, [1]

    def failing(path: t.Any, **more: t.Any) -> t.Any:
        if str(path) == str(tmp_path / "link") and failures and failures.pop():
            raise OSError(12, "Cannot allocate memory", str(path))
        return readlink(path, **more)

    monkeypatch.setattr(os, "readlink", failing)
    assert _webserver_model.Files().real(str(tmp_path / "link")) == str(tmp_path / "site")
    failures += [1, 1]
    with pytest.raises(OSError, match="Cannot allocate memory"):
        _webserver_model.Files().real(str(tmp_path / "link"))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        _webserver_model.Files().real(str(tmp_path / "loop"))


def test_vhosts(tree: Path) -> None:
    config = _nginx.load(web_bed.layout("nginx", tree))
    found = [(v.names, v.tls, v.default, os.path.basename(v.file), v.line) for v in config.vhosts]
    a_names = ["a.example", "*.a.example", "~^(www\\.)?x$"]
    assert found == [
        (a_names, False, True, "a", 1),
        (a_names, True, False, "a", 1),
        (["c"], True, True, "a", 9),
        (["b"], False, False, "b", 1),
    ]
    plain, tls, other = config.vhosts[:3]
    assert plain.block is tls.block
    assert (plain.certificate, plain.overrides) == (None, [])
    assert (tls.certificate, tls.key) == (str(tree / "cert.pem"), str(tree / "key.pem"))
    assert [(item.name, item.file, item.line) for item in tls.overrides] == [
        ("ssl_ciphers", str(tree / "snippets/tls.conf"), 2)
    ]
    assert [item.name for item in other.overrides] == ["add_header"]


@pytest.mark.parametrize(
    ("listen", "address", "port", "tls", "default"),
    [
        ("", "*", 80, False, True),
        ("listen 443 ssl;", "*", 443, True, True),
        ("listen 443 quic reuseport;", "*", 443, True, True),
        ("listen 443; ssl on;", "*", 443, True, True),
        ("listen 443; ssl off;", "*", 443, False, True),
        ("listen *:8443 ssl http2 default_server;", "*", 8443, True, True),
        ("listen 0.0.0.0:80;", "*", 80, False, True),
        ("listen 192.0.2.1;", "192.0.2.1", 80, False, True),
        ("listen 192.0.2.1:81 default;", "192.0.2.1", 81, False, True),
        ("listen [::]:443 ssl ipv6only=on;", "[::]", 443, True, True),
        ("listen %s;" % ("9" * 5000), "9" * 5000, None, False, True),
        ("listen [2001:DB8:0::1]:443 ssl;", "[2001:db8::1]", 443, True, True),
        ("listen [2001:db8::1];", "[2001:db8::1]", 80, False, True),
        ("listen localhost:8080;", "localhost", 8080, False, True),
        ("listen web;", "web", 80, False, True),
        ("listen unix:/run/web.sock ssl;", "unix:/run/web.sock", None, True, True),
    ],
)
def test_listen(tmp_path: Path, listen: str, address: str, port: int | None, tls: bool, default: bool) -> None:
    layout = web_bed.layout("nginx", tmp_path)
    (tmp_path / "nginx.conf").write_text("http { server { %s } }" % listen)
    (vhost,) = _nginx.load(layout).vhosts
    assert (vhost.address, vhost.port, vhost.tls, vhost.default) == (address, port, tls, default)


def load(tmp_path: Path, **texts: str | None) -> Config:
    files = {str(tmp_path / (name.replace("__", "/") + ".conf")): text for name, text in texts.items()}
    return _nginx.load(web_bed.layout("nginx", tmp_path), files=_webserver_model.Files(files))


def test_only_server_blocks_of_http_are_vhosts(tmp_path: Path) -> None:
    config = load(tmp_path, nginx=(
        "stream { server { listen 993 ssl; } } mail { server { listen 143; } }\n"
        "http { upstream u { server 192.0.2.1:80; } server { listen 80; } }"
    ))  # fmt: skip
    assert [(vhost.port, vhost.line) for vhost in config.vhosts] == [(80, 2)]


def test_certificate_and_ssl_on_are_inherited_from_http(tmp_path: Path) -> None:
    config = load(tmp_path, nginx="http { ssl on; ssl_certificate c.pem; server { } server { ssl off; } }")
    assert [(vhost.tls, vhost.certificate) for vhost in config.vhosts] == [
        (True, str(tmp_path / "c.pem")),
        (False, None),
    ]


def test_certificates_that_are_no_files_stay_as_they_are(tmp_path: Path) -> None:
    pair = "ssl_certificate $name.pem; ssl_certificate_key data:x;"
    config = load(tmp_path, nginx="http { server { listen 1 ssl; %s } }" % pair)
    assert (config.vhosts[0].certificate, config.vhosts[0].key) == ("$name.pem", "data:x")


def test_the_collections_own_policy_is_no_override(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        nginx="http { server { listen 1 ssl; include kopano-hardening/tls.conf; location / {\n"
        "# kopano.hardening begin\nadd_header Strict-Transport-Security x;\n# kopano.hardening end\n"
        "add_header Strict-Transport-Security y; } } }",
        **{"kopano-hardening__tls": "ssl_ciphers A;"},
    )
    assert [item.args[1] for item in config.vhosts[0].overrides] == ["y"]


def test_lua_is_not_read_as_configuration(tmp_path: Path) -> None:
    lua = """http { server { listen 80;
        content_by_lua_block {
            -- a brace } in a comment, and --[[ } ]] too
            local a = "}" .. '{' .. [==[ }} ]==]
            if a then ngx.say("x\\"}") end
        }
        set_by_lua_block $x { return { 1 } }
        server_name after; } }"""
    assert load(tmp_path, nginx=lua).vhosts[0].names == ["after"]
    with pytest.raises(ConfigError, match="unexpected end of file"):
        load(tmp_path, nginx="a_by_lua_block { { }")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("http {\n a;\n", 3, 'expecting "}"'),
        ("a;\n}", 2, 'unexpected "}"'),
        ("a\nb", 2, 'expecting ";"'),
        ("\n;", 2, 'unexpected ";"'),
        ("a;\n{ }", 2, 'unexpected "{"'),
        ('a "b"c;', 1, "unexpected"),
        ('a;\nb "c;', 2, "unexpected"),
        ("a b }", 1, 'unexpected "}"'),
        ("\ninclude missing.conf;", 2, "cannot read"),
        ("include nginx.conf;", 1, "nested too deep"),
        ("\ninclude " + "d*/" * 2000 + ";", 2, "the pattern has more than 128 directories"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, nginx=text)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "nginx.conf"), line)
    assert words in caught.value.reason


def test_a_missing_main_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        _nginx.load(web_bed.layout("nginx", tmp_path))


def test_what_may_not_be_read_is_noted(tmp_path: Path) -> None:
    class Locked(_webserver_model.Files):
        def read(self, path: str) -> str:
            if path.endswith("secret.conf"):
                raise PermissionError(13, "Permission denied", path)
            return super().read(path)

    files = Locked({str(tmp_path / "nginx.conf"): "http { server { listen 81; include secret.conf; } }"})
    config = _nginx.load(web_bed.layout("nginx", tmp_path), files=files)
    assert config.unreadable == {str(tmp_path / "secret.conf"): "Permission denied"}
    assert config.vhosts[0].port == 81


# --- what is read from a configuration -------------------------------------------------------------------------------


def test_backends_and_logs(tmp_path: Path) -> None:
    config = load(tmp_path, nginx=r"""
        error_log logs/e.log warn;
        http {
            upstream pool { server unix:/run/up.sock; server app.example:8080 weight=2; server 192.0.2.7; }
            access_log /var/log/a.log combined if=$x;
            resolver 192.0.2.53 dns.example valid=30s ipv6=off;
            server {
                listen unix:/run/own.sock; listen web.example:81;
                access_log syslog:server=log.example:514,tag=x; access_log off; access_log /var/log/$host.log;
                error_log stderr; error_log syslog:server=unix:/dev/log; error_log memory:32m;
                location /a { fastcgi_pass unix:/run/php.sock; }
                location /b { proxy_pass http://unix:/run/b.sock:/uri; }
                location /c { proxy_pass https://back.example:8443/x; }
                location /d { proxy_pass http://pool; grpc_pass grpc://[2001:db8::1]:50051; }
                location /e { proxy_pass http://$host; uwsgi_pass unix:/run/$app.sock; }
                location /f { fastcgi_pass php.example:9000; }
            }
        }
        stream { server { listen 1; proxy_pass db.example:5; } }
    """)  # fmt: skip
    config.base = "/usr/share/nginx"
    assert _webserver_model.unix_sockets(config) == ["/run/up.sock", "/run/php.sock", "/run/b.sock"]
    assert _webserver_model.host_names(config) == [
        "app.example", "dns.example", "web.example", "log.example", "back.example", "php.example", "db.example",
    ]  # fmt: skip
    assert _webserver_model.log_files(config) == ["/usr/share/nginx/logs/e.log", "/var/log/a.log"]


def test_files_laid_over_the_disk(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("disk")
    (tmp_path / "on").mkdir()
    (tmp_path / "on/a").symlink_to("../a")
    files = _webserver_model.Files(
        {str(tmp_path / "a"): "new", str(tmp_path / "b"): None, str(tmp_path / "d"): "made"},
        links={str(tmp_path / "on/d"): "../d"},
    )
    assert files.read(str(tmp_path / "on/a")) == "new"
    assert files.read(str(tmp_path / "on/d")) == "made"
    assert files.read(str(tmp_path / "c")) == "disk"
    with pytest.raises(FileNotFoundError):
        files.read(str(tmp_path / "b"))
    assert files.glob(str(tmp_path / "?")) == [str(tmp_path / name) for name in ("a", "c", "d")]
    assert files.glob(str(tmp_path / "on/*")) == [str(tmp_path / "on" / name) for name in ("a", "d")]
    assert files.real(str(tmp_path / "on/d")) == str(tmp_path / "d")
    assert (tmp_path / "a").read_text() == "disk"


@given(st.text("ab*?.[]", max_size=6), st.lists(st.text("ab.", min_size=1, max_size=3), max_size=5))
@same_folder
def test_patterns_match_laid_over_files_as_the_disk_does(tmp_path: Path, pattern: str, names: list[str]) -> None:
    assume(not set(names) & {".", ".."} and pattern not in ("", ".", ".."))
    folder = tmp_path / "f"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    laid_over = _webserver_model.Files({str(folder / name): "" for name in names}).glob(str(folder / pattern))
    for name in names:
        (folder / name).touch()
    on_disk = _webserver_model.Files().glob(str(folder / pattern))
    assert laid_over == on_disk


def test_a_text_that_is_read_twice_gives_two_trees() -> None:
    text = "http { server { listen 443 ssl; } }\n"
    first = _nginx.parse(text, "one")
    before = copy.deepcopy(shape(first))
    first[0].args.append("changed")
    assert first[0].children is not None
    first[0].children.clear()
    second = _nginx.parse(text, "other")
    assert shape(second) == before
    assert {item.file for item in _webserver_model.walk(second)} == {"other"}


def test_virtual_hosts_that_are_set_up_in_the_same_way_are_a_group(tmp_path: Path) -> None:
    server = "server {{ listen {}; server_name {}; ssl_certificate {}; ssl_certificate_key /k; {} }}\n".format
    texts = {
        "nginx": "http { ssl_protocols TLSv1.2; "
        + server("443 ssl", "a", "/c", "") + server("443 ssl", "b", "/c", "add_header Strict-Transport-Security x;")
        + server("443 ssl", "other_certificate", "/d", "") + server("444 ssl", "other_port", "/c", "")
        + server("443 ssl", "own", "/c", "ssl_ciphers ALL;") + server("443 ssl", "included", "/c", "include x.conf;")
        + server("443 ssl", "deeper", "/c", "location / { ssl_verify_client on; }") + server("80", "plain", "/c", "")
        + "}",
        "x": "ssl_ciphers ALL;",
    }  # fmt: skip
    groups = {vhost.names[0]: vhost.tls_group for vhost in load(tmp_path, **texts).vhosts}
    assert groups["a"] == groups["b"] and groups["own"] == groups["included"] and groups["plain"] is None
    assert len({groups[name] for name in ("a", "other_certificate", "other_port", "own", "deeper")}) == 5


def test_what_cannot_be_read_makes_no_group(tmp_path: Path) -> None:
    site = "server { listen 443 ssl; ssl_certificate /c; ssl_certificate_key /k; }"
    config = load(tmp_path, nginx=f"http {{ {site} }}")
    assert config.vhosts[0].tls_group
    config.unreadable["/x"] = "Permission denied"
    assert _webserver_model.tls_group(config, config.vhosts[0]) is None
