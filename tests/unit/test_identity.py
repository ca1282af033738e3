# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which process counts as the web server, and what is taken from it: real servers, started by root and by a user.

The servers are copies of the programs, by other names, so that those of other tests do not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import server as _server

from . import web_bed
from .ports import free_ports
from .slow_bed import HANGS

USER = 65534
NUMBER = os.getpid()
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
pytestmark = [pytest.mark.slow, needs_root, web_bed.needs_apache, web_bed.needs_nginx]

# What is in its directory of /proc belongs to root then, although the process is a user's.
HIDDEN = "import ctypes, os, sys; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(flush=True); sys.stdin.read()"


class Host:
    """A folder that all users can enter, with both programs and a configuration for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def layout(self, server: str) -> _layout.Layout:
        original = {"apache": web_bed.APACHE, "nginx": web_bed.NGINX}[server]
        # Of processes that it may not look into, a run knows no more than the name.
        binary = self.folder / f"{server}-{NUMBER}"
        if not binary.exists():
            shutil.copy(original, binary)
        return web_bed.layout(server, self.folder)._replace(binary=str(binary))

    def server(self, server: str) -> _server.Server:
        return _server.Server(self.layout(server))

    def start(self, server: str, *prefix: str, arguments: t.Sequence[str] = (), name: str = "own") -> int:
        """Start a server in the foreground, with a configuration of its own in a folder of that name; its pid."""
        layout, (port,) = self.layout(server), free_ports(1)
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o777)
        if server == "nginx":
            text = web_bed.nginx_head(folder) + "daemon off;\nhttp {\n%sserver { listen 127.0.0.1:%d; }\n}\n"
            (folder / "nginx.conf").write_text(text % (web_bed.nginx_http(folder), port))
            command = [layout.binary, "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
        else:
            (folder / "apache.conf").write_text(web_bed.apache_head(folder) + f"Listen 127.0.0.1:{port}\n")
            command = [layout.binary, "-f", str(folder / "apache.conf"), "-DFOREGROUND"]
        return self.spawn([*prefix, *command, *arguments], port)

    def spawn(self, command: t.Sequence[str], port: int) -> int:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.processes.append(process)
        deadline = time.monotonic() + HANGS
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process.pid
            time.sleep(0.02)
        raise AssertionError(f"{command} did not start: {process.stderr and process.stderr.read()!r}")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.communicate(timeout=HANGS)


@pytest.fixture
def host() -> t.Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="identity-") as folder:
        os.chmod(folder, 0o755)
        found = Host(Path(folder))
        yield found
        found.stop()


def as_user(work: t.Callable[[], t.Any]) -> t.Any:
    """What a function returns in a process without root's rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return json.loads(text)


# --- who counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["apache", "nginx"])
def test_roots_server_counts(host: Host, kind: str) -> None:
    pid = host.start(kind)
    assert host.server(kind).main_pid() == pid
    assert host.server(kind).listening()


@pytest.mark.parametrize("kind", ["apache", "nginx"])
def test_a_users_process_of_the_same_program_is_no_server(host: Host, kind: str) -> None:
    host.start(kind, *AS_USER)
    server = host.server(kind)
    assert server.main_pid() is None
    assert server.listening() == set() and server.workers() == set()
    assert server.reload([]) == (False, f"{server.layout.unit} is not running")


@pytest.mark.parametrize("kind", ["apache", "nginx"])
def test_a_users_process_is_not_mistaken_for_roots(host: Host, kind: str) -> None:
    """The user's has the lower number."""
    host.start(kind, *AS_USER, name="theirs")
    pid = host.start(kind)
    assert host.server(kind).main_pid() == pid


@pytest.mark.parametrize("ids", [["--ruid", "0", "--euid"], ["--euid", "0", "--ruid"]])
def test_half_of_roots_rights_are_not_enough(host: Host, ids: list[str]) -> None:
    host.start("nginx", "setpriv", *ids, str(USER), "--")
    assert host.server("nginx").main_pid() is None


def test_whom_a_process_belongs_to_is_not_the_owner_of_its_files(host: Host) -> None:
    """The kernel gives those of a process that must not be dumped to root."""
    binary = host.folder / "python"
    shutil.copy(os.path.realpath(sys.executable), binary)
    layout = host.layout("nginx")._replace(binary=str(binary))
    process = subprocess.Popen(
        [*AS_USER, str(binary), "-IS", "-c", HIDDEN],
        env={"PYTHONHOME": sys.base_prefix},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        assert os.stat(f"/proc/{process.pid}/cmdline").st_uid == 0
        assert _server.Server(layout).main_pid() is None
    finally:
        process.communicate(timeout=HANGS)


def test_the_main_process_of_the_unit_may_be_another_users(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit with User= runs the server without root's rights; systemd says which process that is."""
    pid = host.start("nginx", *AS_USER)
    monkeypatch.setattr(_server.Server, "_managed_pid", lambda server: pid)
    assert host.server("nginx").main_pid() == pid
    assert host.server("apache").main_pid() is None, "it is of another program"


@pytest.mark.parametrize(("prefix", "runs"), [((), True), (AS_USER, False)])
def test_who_is_not_root_sees_the_same(host: Host, prefix: tuple[str, ...], runs: bool) -> None:
    pid = host.start("nginx", *prefix)
    assert as_user(lambda: _webserver_info._running(host.server("nginx"))) is runs
    assert as_user(lambda: host.server("nginx").main_pid()) == (pid if runs else None)


# --- what is taken from it --------------------------------------------------------------------------------------------


def test_nothing_of_a_users_process_is_used(host: Host) -> None:
    missing = str(host.folder / "theirs.so")
    host.start("apache", *AS_USER, "env", f"LD_PRELOAD={missing}", "MINE=1")
    server = host.server("apache")
    assert server.arguments() == []
    assert not {"LD_PRELOAD", "MINE"} & {*server.environment()}
    (host.folder / "apache.conf").write_text("")
    _ok, words = server.check()
    assert missing not in words, "root's process was to load the user's library"
    assert str(host.folder / "own") not in " ".join(server.command(*server.arguments()))


def test_frontend_info_runs_nothing_of_a_users(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no namespaces, the host's processes are in sight of the run that asks the server."""
    missing = str(host.folder / "theirs.so")
    host.start("apache", *AS_USER, "env", f"LD_PRELOAD={missing}")
    theirs = host.folder / "own" / "apache.conf"
    theirs.write_text("Nonsense\n")

    def refuse(*arguments: t.Any, **options: t.Any) -> t.Any:
        raise _namespace.Refused("no")

    monkeypatch.setattr(_namespace, "call", refuse)
    words = str(_webserver_info._test_all([host.server("apache")], [], None))
    assert str(theirs) not in words and missing not in words


def test_the_environment_of_roots_process_is_not_used_either(host: Host) -> None:
    """What a shell of root's had set is no part of the configuration."""
    host.start("apache", "env", "MINE=1")
    server = host.server("apache")
    assert "MINE" not in server.environment() and "PATH" in server.environment()


# As systemctl shows such a unit.
SHOWN = r"""Environment=A=1 "B=two words" "C=q\"uote" "D=do\$llar" "E=back\\slash" "F=a\tb" "G=single's" H= LISTEN_FDS=1
EnvironmentFiles=%s/*.env (ignore_errors=no)
EnvironmentFiles=%s/not here (ignore_errors=yes)
"""


def test_the_environment_is_the_units(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.folder / "b.env").write_text('# not this\n; nor this\nA=of the file\nLINES=one \\\ntwo\nQUOTED="a b"\n')
    shown = SHOWN % (host.folder, host.folder) + 'Environment="I=a\x85J="\n'

    def systemctl(server: _server.Server, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["printf", "%s", shown], stdout=subprocess.PIPE)

    monkeypatch.setattr(_server.Server, "_start_systemctl", systemctl)
    found = host.server("nginx").environment()
    assert {name: found[name] for name in "ABCDEFGH"} == {
        "A": "of the file",
        "B": "two words",
        "C": 'q"uote',
        "D": "do$llar",
        "E": "back\\slash",
        "F": "a\tb",
        "G": "single's",
        "H": "",
    }
    assert (found["LINES"], found["QUOTED"]) == ("one two", "a b")
    assert "LISTEN_FDS" not in found and found["I"] == "a\x85J=" and found["PATH"]


def test_arguments_of_roots_process(host: Host) -> None:
    pid = host.start("apache", arguments=["-D", "ONE", "-DTWO", "-C", "Define THREE", "-e", "warn", "-k", "start"])
    conf = str(host.folder / "own" / "apache.conf")
    server = _server.Server(host.layout("apache")._replace(main_config=conf))
    assert server.main_pid() == pid
    assert server.arguments() == ["-f", conf, "-D", "ONE", "-D", "TWO", "-C", "Define THREE"]


@pytest.mark.parametrize(("kind", "arguments"), [("nginx", []), ("apache", ["-f", "own/apache.conf"])])
def test_a_server_with_another_configuration_is_not_the_one_that_is_read(
    host: Host, kind: str, arguments: list[str]
) -> None:
    """Such as a second instance that runs while the unit is stopped: it must not be reloaded for the unit's files."""
    host.start(kind)
    conf = str(host.folder / "own" / f"{kind}.conf")
    with pytest.raises(_server.ServerError, match=f"was started with the configuration {conf}, and not with /"):
        host.server(kind).arguments()
    same = _server.Server(host.layout(kind)._replace(main_config=f"{host.folder}/own/../own/{kind}.conf"))
    assert same.arguments() == [word.replace("own/", f"{host.folder}/own/") for word in arguments]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        ([], "/etc/apache2/apache2.conf"),
        (["-D", "SSL", "-d", "/etc/apache2-second"], "/etc/apache2-second/apache2.conf"),
        (["-d", "/etc/other", "-d", "/etc/apache2"], "/etc/apache2/apache2.conf"),
        (["-f", "one.conf", "-d", "/srv", "-f", "two.conf"], "/srv/two.conf"),
        (["-d", "/srv", "-f", "/etc/apache2/apache2.conf"], "/etc/apache2/apache2.conf"),
    ],
)
def test_what_apache_reads_with_these_options(arguments: list[str], read: str) -> None:
    layout = next(one for one in _layout.LAYOUTS if (one.server, one.family) == ("apache", "debian"))
    assert _server.Server(layout)._configuration(arguments) == read
    # SUSE's has the path of its main file compiled in, and -d changes nothing of it.
    suse = _server.Server(next(one for one in _layout.LAYOUTS if (one.server, one.family) == ("apache", "suse")))
    assert suse._configuration(["-d", "/srv/www"]) == "/etc/apache2/httpd.conf"


def test_arguments_of_a_process_that_is_not_roots_are_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit's own user can write them; so the configuration that it names is not one to run as root."""
    pid = host.start("apache", *AS_USER)
    monkeypatch.setattr(_server.Server, "_managed_pid", lambda server: pid)
    with pytest.raises(_server.ServerError, match=r"'-f', '.*/own/apache.conf'"):
        host.server("apache").arguments()


@pytest.mark.parametrize("line", [["--config", "x"], ["-f"], ["-D", "ONE", "start"]])
def test_a_command_line_that_is_not_apaches_is_refused(line: list[str]) -> None:
    with pytest.raises(_server.ServerError, match="command line"):
        _server.shaping(line, "/usr/sbin/apache2")
