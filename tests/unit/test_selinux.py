# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where SELinux is on: new files get the contexts of their places, and what it denies is named with its remedy.

No kernel here has it. What a test plays is selinuxfs, as a folder, and restorecon, as a program that notes its calls.
"""

from __future__ import annotations

import os
import shutil
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._host import selinux as _selinux
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    FILE,
    LINK,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx

from . import web_bed
from .test_transaction import ENDPOINT, Bed, answered

PROGRAM = """#!/bin/sh
# Each path that is there is noted, so a call for one that is not there yet would be seen.
for path in "$@"; do [ -L "$path" ] || [ -e "$path" ] && printf '%s\\n' "$path" >>"$0.calls"; done
exec "$0.then"
"""


CONNECT = "httpd_can_network_connect"


class Host:
    """A host with SELinux. `then` is what restorecon does after noting its arguments."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.program = folder / "restorecon"
        self.calls = folder / "restorecon.calls"
        (folder / "selinux").mkdir()
        (folder / "selinux" / "enforce").write_text("1")
        self._write(self.program, PROGRAM)
        self.then("exit 0")
        monkeypatch.setattr(_selinux, "FOLDER", str(folder / "selinux"))
        monkeypatch.setattr(_selinux, "RESTORECON", str(self.program))

    def permits_connections(self, value: bool) -> None:
        path = Path(_selinux.FOLDER) / "booleans" / CONNECT
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value:d} {value:d}")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def then(self, command: str) -> None:
        self._write(self.program.with_name("restorecon.then"), f"#!/bin/sh\n{command}\n")

    def noted(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "host").mkdir()
    return Host(tmp_path / "host", monkeypatch)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Bed]:
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield Bed(tmp_path, monkeypatch)
    for name, action in before.items():
        signal.signal(name, action)


# --- contexts ---------------------------------------------------------------------------------------------------------


def test_new_files_of_a_change_get_their_contexts_before_the_server_reads_them(bed: Bed, host: Host) -> None:
    noted: list[list[str]] = []
    bed.server.happens = [lambda: noted.append(host.noted())]
    assert bed.run()["warnings"] == []
    # The site was there before and keeps its own.
    assert noted == [[str(bed.conf / "deep" / "policy")]] and host.noted() == noted[0]


def test_nothing_is_called_where_nothing_is_new_or_in_check_mode(bed: Bed, host: Host) -> None:
    bed.run(check=True)
    bed.run(files=[{"path": str(bed.conf / "site"), "content": "newer"}])
    assert host.noted() == []


def test_nothing_is_called_where_selinux_is_off(bed: Bed, host: Host) -> None:
    shutil.rmtree(_selinux.FOLDER)
    assert bed.run()["changed"] and host.noted() == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo 'restorecon: Could not set context: Operation not permitted' >&2; exit 255", "Operation not permitted"),
        ("exit 1", "status 1"),
        ("sleep 20", "timed out"),
        (None, "No such file or directory"),
    ],
)
def test_a_failure_is_a_warning_with_paths_and_command(
    bed: Bed, host: Host, monkeypatch: pytest.MonkeyPatch, command: str | None, reason: str
) -> None:
    monkeypatch.setattr(_selinux, "TIMEOUT", 0.3)
    if command is None:
        host.program.unlink()
    else:
        host.then(command)
    result = bed.run()
    (warning,) = result["warnings"]
    assert result["changed"] and reason in warning
    assert f"run restorecon -v {bed.conf / 'deep' / 'policy'};" in warning


def test_files_that_no_web_server_reads_get_theirs_as_well(tmp_path: Path, host: Host) -> None:
    """Kopano's copies of a certificate, the renewal hook, credentials of certbot."""
    changeset = Changeset()
    (tmp_path / "was-there").write_text("old")
    os.symlink("nowhere", tmp_path / "was-a-link")
    for name in ("was-there", "new/file", "was-a-link"):
        changeset.add(str(tmp_path / name), State(FILE, content=b"new", mode=0o644))
    changeset.add(str(tmp_path / "link"), State(LINK, target="was-there"))
    changes = changeset.pending()
    host.then("exit 3")
    (warning,) = _deploy.apply(changes)
    assert "status 3" in warning
    new = {change.path for change in changes} - {str(tmp_path / "was-there")}
    assert set(host.noted()) == new and str(tmp_path / "link") in new
    assert all(os.path.isabs(path) for path in host.noted())


# --- ports ------------------------------------------------------------------------------------------------------------


def denied(server: str, folder: Path) -> tuple[str, t.Any]:
    """What a server says that may not listen on a port, since it lacks the capability for those below 1024."""
    if server == "nginx":
        block = "server { listen 127.0.0.1:1023; }"
        (folder / "nginx.conf").write_text(
            web_bed.nginx_head(folder) + f"http {{ {web_bed.nginx_http(folder)} {block} }}\n"
        )
        command = [
            web_bed.NGINX,
            "-c",
            str(folder / "nginx.conf"),
            "-e",
            str(folder / "start.log"),
            "-g",
            "daemon off;",
        ]
        load: t.Any = _nginx.load
    else:
        (folder / "apache.conf").write_text(web_bed.apache_head(folder) + "Listen 127.0.0.1:1023\n")
        command = [web_bed.APACHE, "-f", str(folder / "apache.conf"), "-X"]
        load = _apache.load
    done = web_bed.run("setpriv", "--bounding-set", "-net_bind_service", *command)
    assert done.returncode != 0
    return done.stdout + done.stderr, load(web_bed.layout(server, folder))


can_be_denied = pytest.mark.skipif(
    os.geteuid() != 0
    or shutil.which("setpriv") is None
    or Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() != "1024",
    reason="needs root, setpriv, and ports that need a capability",
)
SERVERS = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]


@can_be_denied
@pytest.mark.parametrize("server", SERVERS)
def test_a_port_that_may_not_be_listened_on_is_named_with_the_command_for_selinux(
    tmp_path: Path, host: Host, server: str
) -> None:
    output, config = denied(server, tmp_path)
    fault = _diagnose.find(output, config, None)
    assert "Permission denied" in fault.reason
    assert "semanage port -a -t http_port_t -p tcp 1023 " in fault.reason
    assert (fault.file, (fault.directive or "").lower()) == (str(tmp_path / f"{server}.conf"), "listen")
    shutil.rmtree(_selinux.FOLDER)
    assert "semanage" not in _diagnose.find(output, config, None).reason


def test_a_port_that_another_program_has_is_no_matter_of_selinux(tmp_path: Path, host: Host) -> None:
    (tmp_path / "apache.conf").write_text("Listen 8443\n")
    words = "(98)Address already in use: AH00072: make_sock: could not bind to address [::]:8443"
    fault = _diagnose.find(words, _apache.load(web_bed.layout("apache", tmp_path)), None)
    assert (fault.line, fault.reason) == (1, words)


# --- backends ---------------------------------------------------------------------------------------------------------


# A route that refuses with the same error as SELinux, in a network namespace of its own.
IN_NAMESPACE = """
ip link set lo up && ip route add prohibit 192.0.2.1 || exit 77
"$@" &
exec 2>/dev/null
for _turn in $(seq 200); do
    python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/", timeout=5)' 2>&1 |
        grep -q 'HTTP Error 50[23]' && break
    sleep 0.05
done
kill $!
wait
"""


def log_of_denied_backend(server: str, folder: Path) -> str:
    """What a server logs that may not connect to its backend."""
    if server == "nginx":
        block = "server { listen 127.0.0.1:8000; location / { proxy_pass http://192.0.2.1:8080; } }"
        text = web_bed.nginx_head(folder) + f"http {{ {web_bed.nginx_http(folder)} {block} }}\n"
        command = [web_bed.NGINX, "-e", str(folder / "start.log"), "-g", "daemon off; master_process off;", "-c"]
    else:
        modules = ("proxy", "proxy_http")
        text = web_bed.apache_head(folder, *modules) + "Listen 127.0.0.1:8000\nProxyPass / http://192.0.2.1:8080/\n"
        command = [web_bed.APACHE, "-X", "-f"]
    (folder / f"{server}.conf").write_text(text)
    done = web_bed.run(
        "unshare", "--net", "sh", "-c", IN_NAMESPACE, "sh", *command, str(folder / f"{server}.conf")
    )  # fmt: skip
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no network namespace can be made here: {done.stderr}")
    return (folder / "error.log").read_text()


@pytest.mark.parametrize("server", SERVERS)
def test_a_backend_that_may_not_be_connected_to_is_named_with_the_setting(
    tmp_path: Path, host: Host, server: str
) -> None:
    log = log_of_denied_backend(server, tmp_path)
    config = (_apache if server == "apache" else _nginx).load(web_bed.layout(server, tmp_path))
    reason = "the web server may not connect to 192.0.2.1:8080 (Permission denied)"
    host.permits_connections(False)
    assert _diagnose.denied_backend(log, config) == f"{reason}; with SELinux: setsebool -P {CONNECT} 1"
    host.permits_connections(True)
    assert _diagnose.denied_backend(log, config) == reason
    shutil.rmtree(_selinux.FOLDER)
    assert _diagnose.denied_backend(log, config) == reason


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (
            "(13)Permission denied: AH02454: FCGI: attempt to connect to Unix domain socket /run/php/x.sock (*) failed",
            "Unix domain socket /run/php/x.sock",
        ),
        (
            "connect() to unix:/run/php/x.sock failed (13: Permission denied) while connecting to upstream, ",
            "unix:/run/php/x.sock",
        ),
    ],
)
def test_a_socket_is_named_without_the_setting_which_is_about_the_network(
    tmp_path: Path, host: Host, line: str, address: str
) -> None:
    host.permits_connections(False)
    config = configured(tmp_path, "fastcgi_pass unix:/run/php/x.sock;")
    assert _diagnose.denied_backend(line, config) == f"the web server may not connect to {address} (Permission denied)"


def configured(folder: Path, line: str) -> t.Any:
    """The configuration of an nginx with this line in a location."""
    (folder / "nginx.conf").write_text(f"events {{ }}\nhttp {{ server {{ location / {{ {line} }} }} }}\n")
    return _nginx.load(web_bed.layout("nginx", folder))


def test_another_failure_of_a_backend_is_not_explained(tmp_path: Path, host: Host) -> None:
    refused = "(111)Connection refused: AH00957: HTTP: attempt to connect to 127.0.0.1:8080 (localhost) failed"
    assert _diagnose.denied_backend(refused, configured(tmp_path, "proxy_pass http://127.0.0.1:8080;")) == ""


DENIED = "connect() to {} failed (13: Permission denied) while connecting to upstream, client: 192.0.2.9"


@pytest.mark.parametrize(
    ("passed_to", "address", "is_named"),
    [
        ("http://192.0.2.1:8080", "192.0.2.1:8080", True),
        ("http://backend.example:8080/x", "192.0.2.1:8080", True),
        ("http://backend.example", "192.0.2.1:80", True),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", True),
        ("http://192.0.2.1:8081", "192.0.2.1:8080", False),
        ("http://backend.example:8081", "192.0.2.1:8080", False),
        ("unix:/run/php/x.sock", "unix:/run/php/other.sock", False),
        ("unix:/run/php/x.sock", "192.0.2.1:9000", False),
        ("http://192.0.2.1:8080", "(", False),
        ("http://192.0.2.1:8080", "1", False),
        ("http://192.0.2.1:8080", ":8080", False),
        ("http://192.0.2.1:8080", "192.0.2.1:(", False),
    ],
)
def test_a_denied_backend_is_one_that_the_configuration_names(
    tmp_path: Path, host: Host, passed_to: str, address: str, is_named: bool
) -> None:
    """Else whoever can write a line of a log has the administrator open the network to the web server."""
    host.permits_connections(False)
    config = configured(tmp_path, f"proxy_pass {passed_to};")
    assert bool(_diagnose.denied_backend(DENIED.format(address), config)) is is_named


def test_what_a_client_requests_is_no_denied_backend(tmp_path: Path, host: Host) -> None:
    config = configured(tmp_path, "proxy_pass http://192.0.2.1:8080;")
    text = DENIED.format("192.0.2.1:8080")
    stamp = "2026/12/07 10:00:00 [error] 12#12: *1 "
    assert _diagnose.denied_backend(f"{stamp}{text}", config)
    for line in (f'open() "/srv/{text}" failed (2: No such file or directory)', f'x, request: "GET /{text} HTTP/1.1"'):
        assert _diagnose.denied_backend(f"{stamp}{line}", config) == ""


@pytest.mark.parametrize("status", [502, 503, 404])
def test_a_probe_of_a_change_that_gets_no_backend_says_why(
    bed: Bed, host: Host, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def responses(targets: t.Sequence[t.Any], timeout: float) -> list[dict[str, t.Any]]:
        reloaded = "reload" in bed.server.calls
        return [{**answered(True), "status": status if reloaded else 200} for _target in targets]

    monkeypatch.setattr(_engine._client, "query_all", responses)
    monkeypatch.setattr(
        _engine._probes, "targets_of", lambda vhosts: [{**ENDPOINT, "again": False, "block": ("/site", 1)}]
    )
    host.permits_connections(False)
    (bed.conf / "nginx.conf").write_text("events { }\nhttp { server { proxy_pass http://127.0.0.1:8080; } }\n")
    bed.server.log = "(13)Permission denied: AH00957: HTTP: attempt to connect to 127.0.0.1:8080 (localhost) failed"
    message, result = bed.fails(probes=[{"path": "/probed"}])
    assert ("setsebool -P httpd_can_network_connect 1" in message) is (status != 404)
    assert result["rolled_back"]
