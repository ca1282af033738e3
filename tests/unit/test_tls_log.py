# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of what clients speak (frontend_tls_log): what is planned, and what real servers then write."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.action import frontend as _frontend_action
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx

from . import web_bed
from .role_frontend import SHAPES, host, layout_of, plan, render, vhost
from .slow_bed import HANGS

CONF = "/etc/nginx/conf.d/00-kopano-tls-log.conf"
# A hostile agent: what ends a field or a line, and what a terminal would obey.
AGENT = 'A "quoted" \\ agent\xe9" TLSv1.3 X "'
CONTROL = AGENT + "\t\x01\x1b[31m\x7f"

LINE = re.compile(
    r"\[(?P<date>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]"
    r" (?P<protocol>TLSv1(?:\.[123])?) (?P<suite>[A-Z0-9_-]+)"
    r' "(?P<agent>(?:[^"\\\x00-\x1f\x7f-\xff]|\\.)*)"'
)


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_switched_on_every_server_has_the_log_in_its_own_directory(shape):
    wanted = plan(host(*shape), server_names=["mail.example.com"], tls_log=True)
    log = layout_of(*shape).tls_log
    assert wanted["error"] == wanted["warning"].replace(wanted["site"]["warning"], "") == ""
    assert Path(log.path).name == "kopano-tls.log"
    assert Path(log.path).parent == Path(layout_of(*shape).error_log).parent
    assert wanted["tls_log"] == log._asdict()
    texts = [text for path, text in render(wanted).items() if log.path in text and path != log.logrotate]
    assert len(texts) == 1 and "# option: frontend_tls_log" in texts[0]
    assert [item for item in wanted["files"] if "state" in item] == []


@pytest.mark.parametrize("shape", SHAPES)
def test_switched_off_nothing_names_it_and_what_was_there_goes(shape):
    wanted = plan(host(*shape), server_names=["mail.example.com"])
    gone = {("apache", "suse"): ["/etc/logrotate.d/kopano-tls"], "nginx": [CONF]}
    assert wanted["tls_log"] is None and "tls_log" not in wanted["policy"]
    assert [item["path"] for item in wanted["files"] if item.get("state") == "absent"] == gone.get(
        shape, gone.get(shape[0], [])
    )
    assert not any("kopano-tls" in text or "GlobalLog" in text for text in render(wanted).values())


@pytest.mark.parametrize("shape", SHAPES)
def test_only_where_the_distribution_does_not_rotate_it_there_is_a_logrotate_file(shape):
    files = render(plan(host(*shape), server_names=["mail.example.com"], tls_log=True))
    rotated = [text for path, text in files.items() if path.startswith("/etc/logrotate.d/")]
    assert len(rotated) == (shape == ("apache", "suse"))
    assert all("/var/log/apache2/kopano-tls.log {" in text and "reload apache2.service" in text for text in rotated)


def test_the_log_that_nginx_has_compiled_in_is_named_where_no_other_is():
    def text(**values: t.Any) -> str:
        wanted = plan(host("nginx", "suse", **values), server_names=["mail.example.com"], tls_log=True)
        return wanted["error"] or render(wanted)[CONF]

    assert "access.log" not in text(access_logs=["/x"])
    assert "\naccess_log /var/log/nginx/access.log;\n" in text(access_logs=[], default_log="/var/log/nginx/access.log")
    for unknown in ({"access_logs": []}, {"access_logs": None}):
        assert text(**unknown).startswith("frontend_tls_log: true could end the log")


def test_a_server_that_logs_nothing_is_named_before():
    info = host("nginx", "debian", access_logs=["off"])
    info["vhosts"] = [vhost("nginx")]
    assert "'access_log off' of the http block" in plan(info, tls_log=True)["warning"]
    assert plan(info)["warning"] == ""


class Deploy(_frontend_action.ActionModule):
    """The role's action with a host whose module file returns what it is given."""

    def __init__(self, returned: dict[str, t.Any]) -> None:
        self.returned = returned
        self.calls: list[tuple[str, dict[str, t.Any]]] = []

    def _execute_module(self, name, module_args, task_vars):
        self.calls.append((name, module_args))
        return self.returned


@pytest.mark.parametrize("shape", SHAPES)
def test_a_new_log_gets_mode_and_owner_of_the_others(shape):
    log = layout_of(*shape).tls_log._asdict()
    action, result = Deploy({}), {"changed": True}
    action._set_permissions(log, {}, result)
    expected = {"path": log["path"], "state": "file", "follow": False}
    expected.update((name, log[name]) for name in ("owner", "group", "mode"))
    assert action.calls == ([("ansible.builtin.file", expected)] if log["mode"] else [])
    assert result == {"changed": True}


def test_a_log_that_cannot_get_them_is_a_warning():
    result: dict[str, t.Any] = {"changed": True}
    log = layout_of("nginx", "debian").tls_log._asdict()
    Deploy({"failed": True, "msg": "no group adm"})._set_permissions(log, {}, result)
    assert result["warnings"] == [f"frontend_tls_log: {log['path']}: no group adm"]


# --- which server blocks of nginx get the line -----------------------------------------------------------------------

SNIPPET = "ssl_protocols TLSv1.2 TLSv1.3;\n"
LOG = "access_log /log kopano_tls if=$kopano_tls_log;"
FORMAT = f"map $https $kopano_tls_log {{ default 0; }}\nlog_format kopano_tls x;\n{LOG}\n"


def adopted(folder: Path, servers: str, first: str = "include tls-log.conf;\n", on: bool = True):
    layout = web_bed.layout("nginx", folder)
    (folder / "nginx.conf").write_text(f"http {{\naccess_log /own;\n{first}{servers}\n}}\n")
    (folder / "tls-log.conf").write_text(FORMAT)
    (folder / "tls.conf").write_text(SNIPPET)
    policy = {"tls": str(folder / "tls.conf"), "tls_log": str(folder / "tls-log.conf") if on else None}
    found = _adopt.adopt(_nginx.load(layout), layout, policy)
    for path, text in found.texts.items():
        assert _adopt.unadopt(text) == Path(path).read_text()
        Path(path).write_text(text)
    assert _adopt.adopt(_nginx.load(layout), layout, policy).texts == {}
    return (folder / "nginx.conf").read_text(), found.unlogged


def test_only_blocks_with_logs_of_their_own_get_the_line(tmp_path):
    text, unlogged = adopted(
        tmp_path,
        "server { listen 443 ssl; server_name inherits; }\n"
        "server {\n    listen 443 ssl;\n    server_name own;\n    access_log /a;\n    access_log /b;\n"
        "    location /c {\n        access_log /c;\n    }\n    location /off { access_log off; }\n}\n"
        "server { listen 80; server_name plain; access_log /plain; }\n",
    )
    assert text.count(LOG) == 2
    assert text.index("server_name inherits") < text.index(LOG) < text.index("server_name own")
    assert text.rindex("location /c") < text.rindex(LOG) < text.index("location /off")
    assert unlogged == []


def test_it_is_not_used_where_nginx_does_not_know_its_format_yet(tmp_path):
    servers = "server { listen 443 ssl; access_log /a; }\n"
    text, unlogged = adopted(tmp_path, servers + "include tls-log.conf;", first="")
    assert LOG not in text
    assert unlogged == [f"{tmp_path}/nginx.conf:3 (not behind {tmp_path}/tls-log.conf)"]


def test_a_file_that_nginx_does_not_include_is_named(tmp_path):
    text, unlogged = adopted(tmp_path, "server { listen 443 ssl; }\n", first="")
    assert LOG not in text
    assert unlogged == [f"all others (nginx does not include {tmp_path}/tls-log.conf)"]


def test_a_server_block_whose_log_is_off_stays_so_and_is_named(tmp_path):
    text, unlogged = adopted(tmp_path, "server { listen 443 ssl; access_log off; }\n")
    assert LOG not in text
    assert unlogged == [f"{tmp_path}/nginx.conf:4 (access_log off)"]


def test_a_template_that_has_the_line_is_left_alone(tmp_path):
    text, unlogged = adopted(tmp_path, f"server {{ listen 443 ssl; access_log /a; {LOG} }}\n")
    assert text.count(LOG) == 1
    assert unlogged == []


def test_switched_off_no_line_is_written_and_the_earlier_ones_go(tmp_path):
    servers = "server {\n    listen 443 ssl;\n    access_log /a;\n}\n"
    with_log, _unlogged = adopted(tmp_path, servers)
    assert LOG in with_log
    layout = web_bed.layout("nginx", tmp_path)
    found = _adopt.adopt(_nginx.load(layout), layout, {"tls": str(tmp_path / "tls.conf")})
    assert LOG not in found.texts[str(tmp_path / "nginx.conf")]
    assert found.unlogged == []


def test_the_logs_of_the_http_block_are_read_without_the_collection_s_own(tmp_path):
    layout, own = web_bed.layout("nginx", tmp_path), tmp_path / "tls-log.conf"
    layout = layout._replace(tls_log=layout.tls_log._replace(conf=str(own)))

    def logs(text: str) -> list[str]:
        (tmp_path / "nginx.conf").write_text(f"http {{ include {own}; {text} server {{ access_log /s; }} }}\n")
        return _nginx.access_logs(_nginx.load(layout), layout)

    own.write_text(f"{LOG}\naccess_log /default;\n")
    assert logs("") == []
    assert logs("access_log /a; access_log off;") == ["/a", "off"]


@web_bed.needs_nginx
def test_the_path_that_is_compiled_in_is_nginx_s_own_word():
    said = subprocess.run([web_bed.NGINX, "-V"], capture_output=True, text=True, check=True).stderr
    match = re.search(r"--http-log-path=(\S+)", said)
    assert _nginx.configured(web_bed.NGINX, "http-log-path") == (match and match.group(1))
    assert _nginx.configured(web_bed.NGINX, "no-such-path") is None
    assert _nginx.configured("/no/such/nginx", "prefix") is None


# --- real servers ----------------------------------------------------------------------------------------------------


class Bed(t.NamedTuple):
    folder: Path
    tls: int  # ports: one with virtual hosts for TLS, one without TLS
    plain: int

    def lines(self, name: str, count: int) -> list[str]:
        """The lines of a log, once it has as many; the servers write when a request is over."""
        path = self.folder / name
        deadline = time.monotonic() + HANGS
        while time.monotonic() < deadline:
            text = path.read_bytes().decode("latin-1") if path.exists() else ""
            if text.count("\n") >= count:
                break
            time.sleep(0.05)
        assert text == "" or text.endswith("\n")
        return text.split("\n")[:-1]

    def logged(self, count: int) -> list[re.Match[str]]:
        found = [LINE.fullmatch(line) for line in self.lines("kopano-tls.log", count)]
        assert None not in found and len(found) == count, self.lines("kopano-tls.log", count)
        return t.cast("list[re.Match[str]]", found)

    def send(self, name: str, *paths: str, agent: str | None = "x", tls: ssl.TLSVersion | None = None) -> str:
        """Request paths over one connection; return the suite. Apache may close one that is kept alive when its threads
        are busy, as they are right after its start; then the rest goes over another one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if tls:
            context.minimum_version = context.maximum_version = tls
        with context.wrap_socket(socket.create_connection(("127.0.0.1", self.tls), 10), server_hostname=name) as sock:
            suite = sock.cipher()
            done = talk(sock, name, paths, agent)
        assert suite and done
        return self.send(name, *paths[done:], agent=agent, tls=tls) if paths[done:] else suite[0]

    def send_plain(self, port: int, name: str, *paths: str) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            talk(sock, name, paths, "plain")


def talk(sock: socket.socket, name: str, paths: t.Sequence[str], agent: str | None) -> int:
    """Send requests; return how many were answered."""
    header = "" if agent is None else f"User-Agent: {agent}\r\n"
    for number, path in enumerate(paths, 1):
        end = "close" if number == len(paths) else "keep-alive"
        request = f"HEAD {path} HTTP/1.1\r\nHost: {name}\r\n{header}Connection: {end}\r\n\r\n"
        sock.sendall(request.encode("latin-1"))
        data = b""
        while b"\r\n\r\n" not in data:
            part = sock.recv(4096)
            if not part:
                return number - 1
            data += part
    return len(paths)


def log_of(server: str, folder: Path, **values: t.Any) -> str:
    """The role's file with the log, which is in the test's folder."""
    info = host(server, "debian", tls_log={**layout_of(server, "debian").tls_log._asdict()}, **values)
    info["servers"][0]["tls_log"]["path"] = str(folder / "kopano-tls.log")
    files = render(plan(info, server_names=["mail.example"], tls_log=True))
    (text,) = [text for text in files.values() if "kopano-tls.log" in text]
    return text


@pytest.fixture
def nginx(tmp_path: Path) -> t.Iterator[Bed]:
    """http block with a log; a server block that inherits, one with its own log, one without TLS, one with both."""
    certificate, key = web_bed.make_certificate(tmp_path)
    tls, plain = web_bed.free_ports(2)
    pair = f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
    main = tmp_path / "nginx.conf"
    main.write_text(
        web_bed.nginx_head(tmp_path)
        + "http {\n"
        + web_bed.nginx_http(tmp_path).replace("access_log off;", f"access_log {tmp_path}/http.log;")
        + f"include {tmp_path}/tls-log.conf;\n"
        f"server {{ listen 127.0.0.1:{tls} ssl http2; server_name inherits; {pair} return 204; }}\n"
        f"server {{\n    listen 127.0.0.1:{tls} ssl http2;\n    server_name own;\n    {pair}\n"
        f"    access_log {tmp_path}/own.log;\n    location / {{ return 204; }}\n"
        f"    location /in {{ access_log {tmp_path}/in.log; return 204; }}\n}}\n"
        f"server {{ listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain}; server_name both; {pair}\n"
        f"access_log {tmp_path}/both.log; return 204; }}\n"
        f"server {{ listen 127.0.0.1:{plain}; server_name plain; return 204; }}\n"
        "}\n"
    )
    (tmp_path / "tls-log.conf").write_text(log_of("nginx", tmp_path))
    (tmp_path / "tls.conf").write_text(SNIPPET)
    layout = web_bed.layout("nginx", tmp_path)
    policy = {"tls": str(tmp_path / "tls.conf"), "tls_log": str(tmp_path / "tls-log.conf")}
    for path, text in _adopt.adopt(_nginx.load(layout), layout, policy).texts.items():
        Path(path).write_text(text)
    with web_bed.running("nginx", tmp_path, tls):
        yield Bed(tmp_path, tls, plain)


@pytest.fixture
def apache(tmp_path: Path) -> t.Iterator[Bed]:
    """A main server with a log; a virtual host that has that one, one with its own, one without TLS."""
    certificate, key = web_bed.make_certificate(tmp_path)
    tls, plain = web_bed.free_ports(2)
    pair = f"SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\nSSLProtocol all\n"
    (tmp_path / "apache.conf").write_text(
        web_bed.apache_head(tmp_path, "ssl", "alias")
        + f"Listen 127.0.0.1:{tls}\nListen 127.0.0.1:{plain}\n"
        + f'CustomLog {tmp_path}/http.log "%h %r"\nRedirect 404 /\n'
        + f"<VirtualHost *:{tls}>\nServerName inherits\n{pair}</VirtualHost>\n"
        f'<VirtualHost *:{tls}>\nServerName own\n{pair}CustomLog {tmp_path}/own.log "%h %r"\n</VirtualHost>\n'
        f"<VirtualHost *:{plain}>\nServerName plain\n</VirtualHost>\n" + log_of("apache", tmp_path)
    )
    with web_bed.running("apache", tmp_path, tls):
        yield Bed(tmp_path, tls, plain)


@web_bed.needs_nginx
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["inherits", "own", "both"])
def test_nginx_logs_each_connection_once_and_the_host_s_log_has_all(nginx, name, version):
    suite = nginx.send(name, "/", "/2", "/3", agent="Agent/1 (x; y)", tls=version)
    (line,) = nginx.logged(1)
    assert line["protocol"] == version.name.replace("_", ".")
    assert (line["suite"], line["agent"]) == (suite, "Agent/1 (x; y)")
    own = {"inherits": "http.log", "own": "own.log", "both": "both.log"}[name]
    assert len(nginx.lines(own, 3)) == 3


@web_bed.needs_apache
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["inherits", "own"])
def test_apache_logs_each_request_and_the_host_s_log_has_all(apache, name, version):
    suite = apache.send(name, "/", "/2", "/3", agent="Agent/1 (x; y)", tls=version)
    for line in apache.logged(3):
        assert line["protocol"] == version.name.replace("_", ".")
        assert (line["suite"], line["agent"]) == (suite, "Agent/1 (x; y)")
    assert len(apache.lines({"inherits": "http.log", "own": "own.log"}[name], 3)) == 3


@web_bed.needs_nginx
def test_a_location_with_its_own_log_counts_as_well(nginx):
    nginx.send("own", "/in", "/")
    nginx.logged(1)
    assert (len(nginx.lines("in.log", 1)), len(nginx.lines("own.log", 1))) == (1, 1)


@web_bed.needs_nginx
def test_the_requests_of_an_http_2_connection_are_one_line(nginx):
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("curl with HTTP/2 is not installed")
    url, to = f"https://own:{nginx.tls}/", f"own:{nginx.tls}:127.0.0.1"
    command = [curl, "-sk", "--http2", "--resolve", to, "-A", "two", "-w", "%{http_version} "]
    done = subprocess.run([*command, url, url + "2"], capture_output=True, text=True, check=True, timeout=HANGS)
    assert done.stdout == "2 2 "
    assert [line["agent"] for line in nginx.logged(1)] == ["two"]
    assert len(nginx.lines("own.log", 2)) == 2


@web_bed.needs_nginx
def test_the_log_that_nginx_writes_by_default_goes_on(tmp_path):
    certificate, key = web_bed.make_certificate(tmp_path)
    (port,) = web_bed.free_ports(1)
    default = str(tmp_path / "default.log")
    (tmp_path / "nginx.conf").write_text(
        web_bed.nginx_head(tmp_path)
        + "http {\n"
        + web_bed.nginx_http(tmp_path).replace("access_log off;", "")
        + log_of("nginx", tmp_path, access_logs=[], default_log=default)
        + f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; }}\n}}\n"
    )
    bed = Bed(tmp_path, port, port)
    with web_bed.running("nginx", tmp_path, port):
        bed.send("any", "/", "/2", agent="Agent/2")
        bed.logged(1)
        combined = bed.lines("default.log", 2)
    assert len(combined) == 2 and all("127.0.0.1 - - [" in line and '"Agent/2"' in line for line in combined)


def both(test: t.Callable[..., None]) -> t.Callable[..., None]:
    """With each of the two servers, as the fixture bed."""
    servers = [
        pytest.param("nginx", marks=web_bed.needs_nginx),
        pytest.param("apache", marks=web_bed.needs_apache),
    ]
    return pytest.mark.parametrize("bed", servers, indirect=True)(test)


@pytest.fixture
def bed(request: pytest.FixtureRequest) -> Bed:
    found: Bed = request.getfixturevalue(request.param)
    return found


@both
def test_a_hostile_agent_stays_one_line_that_can_be_read(bed):
    bed.send("own", "/", agent=AGENT)
    bed.send("own", "/", agent=CONTROL)
    bed.send("own", "/", agent=None)
    quotes, control, none = bed.logged(3)
    assert re.fullmatch(r'A (\\x22|\\")quoted\1 (\\x5C|\\\\) agent\\x[eE]9\1 TLSv1.3 X \1', quotes["agent"])
    # Apache refuses the request, and then knows of no header.
    assert control["agent"] == "-" or re.search(r"\\x01\\x1B\[31m\\x7F$", control["agent"])
    assert none["agent"] == "-"


@both
def test_plain_http_writes_nothing_also_not_on_the_port_for_tls(bed):
    bed.send_plain(bed.plain, "plain", "/", "/2")
    bed.send_plain(bed.plain, "both", "/")
    bed.send_plain(bed.tls, "own", "/")  # 400: it is not TLS
    bed.send("own", "/last")
    assert [line["agent"] for line in bed.logged(1)] == ["x"]
    assert len(bed.lines("http.log", 2)) >= 2


@both
def test_nothing_else_of_a_client_is_in_the_log(bed):
    bed.send("own", "/private/path?user=marta")
    (line,) = bed.logged(1)
    assert not re.search(r"127\.0\.0\.1|private|marta|own", line.string)
