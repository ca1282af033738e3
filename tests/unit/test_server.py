# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live server as a process: what is said of one that ended after its reload, and of one that did not."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import server as _server

from . import web_bed
from .ports import free_ports
from .slow_bed import HANGS

pytestmark = pytest.mark.slow

WORKERS = 3  # of nginx


@pytest.fixture
def server(tmp_path: Path) -> _server.Server:
    return _server.Server(web_bed.layout("nginx", tmp_path))


def test_a_server_that_was_started_and_never_reloaded_has_not_ended(server):
    """A repaired server is started; an endpoint of it that refuses its client must not look like its end."""
    assert not server.ended(0)


def test_what_a_server_logged_when_it_ended_is_reported_only_of_one_that_did(server, tmp_path, monkeypatch):
    log = tmp_path / "error.log"
    log.write_text("earlier\n")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    server.layout = server.layout._replace(server="apache")
    monkeypatch.setattr(server, "main_pid", lambda: process.pid)
    monkeypatch.setattr(server, "workers", lambda main=None: set())
    monkeypatch.setattr(_server, "RELOAD_TIMEOUT", 0.05)
    monkeypatch.setattr(_server.os, "kill", lambda pid, number: None)
    assert server.reload([str(log)]) == (False, "no new worker within 0 s")
    assert not server.ended(0)
    process.communicate(b"\n")
    with log.open("a") as stream:
        stream.write("[emerg] it will not\n")
    assert server.ended(0) and server.logged().own == "[emerg] it will not"


@pytest.mark.parametrize(
    "line",
    [
        '2026/11/29 22:04:44 [error] 7#7: *629 open() "/srv/x" failed (2: No such file), client: 192.0.2.1',
        "[Sun Nov 29 22:04:44.5 2026] [proxy_fcgi:error] [pid 7:tid 8] [client 192.0.2.1:4711] AH01071: Got error",
    ],
    ids=["nginx", "apache"],
)
def test_what_a_client_has_requested_is_no_reason_why_a_server_ended(server, tmp_path, monkeypatch, line):
    log = tmp_path / "error.log"
    log.write_text("")
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    monkeypatch.setattr(server, "main_pid", lambda: process.pid)
    monkeypatch.setattr(server, "workers", lambda main=None: set())
    monkeypatch.setattr(_server.os, "kill", lambda pid, number: log.write_text(f"{line}\n"))
    assert server.reload([str(log)]) == (False, "the main process ended at the reload")
    assert (server.logged().own, server.logged().others) == ("", "")


def test_a_process_that_cannot_be_read_for_a_moment_has_not_ended(server, tmp_path, monkeypatch):
    """Else a change is rolled back for a server that was stopped, and reported so."""
    program = tmp_path / "server"
    shutil.copy(shutil.which("sleep") or "", program)
    server.layout = server.layout._replace(binary=str(program))
    server = _server.Server(server.layout)
    with subprocess.Popen([program, "60"]) as process:
        try:
            assert server.main_pid() == process.pid
            real, refused = open, []

            def once(path, *arguments, **more):
                if path == f"/proc/{process.pid}/stat" and not refused:
                    refused.append(path)
                    raise PermissionError(errno.EACCES, "Permission denied")
                return real(path, *arguments, **more)

            monkeypatch.setattr("builtins.open", once)
            assert server.main_pid() == process.pid and refused
        finally:
            process.kill()


def test_a_server_that_cannot_be_looked_for_has_not_ended(server, monkeypatch):
    """Else a change is rolled back for no reason, or for one that no message has."""
    monkeypatch.setattr(server, "main_pid", os.getpid)
    workers = [set(), set(), {os.getpid()}]
    monkeypatch.setattr(server, "workers", lambda main=None: workers.pop(0))
    monkeypatch.setattr(_server.os, "kill", lambda pid, number: None)
    stat, refused = os.stat, []

    def once(path, **more):
        if path == f"/proc/{os.getpid()}" and not refused:
            refused.append(path)
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **more)

    monkeypatch.setattr(_server.os, "stat", once)
    assert server.reload([]) == (True, "") and refused


def test_a_process_that_cannot_be_inspected_is_not_taken_for_one_that_has_ended(server, monkeypatch):
    """SUSE's Apache is tested with what its process was started with; else the test blames the configuration."""
    monkeypatch.setattr(server, "main_pid", os.getpid)

    def refused(*_arguments, **_more):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(_server._process.os, "readlink", refused)
    ok, message = server.check()
    assert not ok and "Cannot allocate memory" in message


def test_a_file_with_the_environment_that_cannot_be_inspected_is_not_left_out(server, tmp_path):
    """Debian's Apache refuses its configuration without it, and the message would be about that."""
    server.layout = server.layout._replace(envvars=str(tmp_path / "envvars"))
    server.main_pid = lambda: None
    assert server.command("-t")[-1] == "-t"
    (tmp_path / "envvars").symlink_to("envvars")
    ok, message = server.check()
    assert not ok and "Too many levels of symbolic links" in message


@pytest.fixture
def nginx(server, tmp_path, monkeypatch):
    """A real nginx, and a function that has it listen on one more port, without a reload."""
    own, more = free_ports(2)
    conf, log = tmp_path / "nginx.conf", tmp_path / "error.log"

    def listen(*ports):
        servers = "".join(f"server {{ listen 127.0.0.1:{port}; }}\n" for port in ports)
        conf.write_text(
            f"pid {tmp_path}/pid;\nerror_log {log};\nworker_processes {WORKERS};\n"
            f"events {{ }}\nhttp {{\naccess_log off;\n{servers}}}\n"
        )

    listen(own)
    subprocess.run(["nginx", "-c", str(conf), "-e", str(log)], check=True, timeout=HANGS)
    main = int((tmp_path / "pid").read_text())
    # The number is written first; a worker that comes after a reload has begun would look like a new one.
    while len(server.workers(main)) < WORKERS:
        time.sleep(0.01)
    monkeypatch.setattr(server, "main_pid", lambda: main)
    yield log, own, more, listen
    subprocess.run(["nginx", "-c", str(conf), "-e", str(log), "-s", "quit"], check=True, timeout=HANGS)


def test_nginx_is_waited_for_until_it_has_given_up_a_port_that_is_taken(server, nginx):
    """Else a configuration that was taken back meanwhile may be served, as soon as the port is free."""
    log, own, more, listen = nginx
    with socket.create_server(("127.0.0.1", more)):
        listen(own, more)
        ok, _reason = server.reload([str(log)])
    assert not ok and "still could not bind()" in server.logged().own
    listen(own)
    assert server.reload([str(log)]) == (True, "")
    assert socket.socket().connect_ex(("127.0.0.1", more)) != 0


def test_what_a_client_requests_is_not_taken_for_a_refusal(server, nginx):
    """Else anybody could have each change rolled back, by the path of a request; the number of a process is public."""
    log, own, _more, _listen = nginx
    main = server.main_pid()
    path = f"/%0a2026/11/29%2022:04:44%20[emerg]%20{main}%23{main}:%20unknown%20directive%0a"
    os.kill(main, signal.SIGSTOP)  # as busy as a main process can be; its workers respond meanwhile
    threading.Timer(1, os.kill, (main, signal.SIGCONT)).start()

    def request():
        with socket.create_connection(("127.0.0.1", own), 5) as client:
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            client.recv(100)

    threading.Timer(0.3, request).start()
    assert server.reload([str(log)]) == (True, "")
    assert f"\n2026/11/29 22:04:44 [emerg] {main}#{main}: unknown directive\n" in log.read_text()


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ("no_such_directive on;", 'unknown directive "no_such_directive"'),
        ("include '/no such file, client: 192.0.2.1';", '"/no such file, client: 192.0.2.1" failed (2:'),
        ("working_directory /no/such/folder;", 'chdir("/no/such/folder") failed (2:'),
    ],
    ids=["configuration", "words of a request", "worker"],
)
def test_a_refusal_is_reported_as_soon_as_nginx_has_logged_it(server, nginx, tmp_path, monkeypatch, directive, reason):
    """Without the limit for slow servers, which this test must not reach."""
    log, *_ports = nginx
    conf = tmp_path / "nginx.conf"
    good = conf.read_text()
    monkeypatch.setattr(_server, "RELOAD_TIMEOUT", float("inf"))
    conf.write_text(f"{directive}\n{good}")
    try:
        refused = server.reload([str(log)])
        logged = server.logged()
    finally:
        conf.write_text(good)
    assert refused == (False, _server.NOT_STARTED)
    assert reason in (logged.others if directive.startswith("working") else logged.own)
    assert server.reload([str(log)]) == (True, "") and len(server.workers(server.main_pid())) >= WORKERS


def test_a_worker_that_has_not_started_yet_does_not_count(server, nginx, monkeypatch):
    """However slow it is: nginx ends its old workers meanwhile, and this one may end, too."""
    log, *_ports = nginx
    real, delayed = _server._has_started, []

    def late(pid):
        delayed.append(pid)
        return len(delayed) > 100 and real(pid)

    monkeypatch.setattr(_server, "_has_started", late)
    assert server.reload([str(log)]) == (True, "") and len(delayed) > 100
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert real(process.pid)
        process.stdin.close()
    assert not real(process.pid)
    blocking = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP]); print(flush=True); input()"
    words = [sys.executable, "-c", blocking]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert not real(process.pid)
        process.stdin.close()


def test_a_refusal_without_a_reason_in_the_log_is_one(server, nginx):
    _log, own, _more, listen = nginx
    listen(own, "no-port")
    reason = server.reload([])[1]
    fault = _diagnose.refusal(reason, server.logged(), None, None)
    assert fault == _diagnose.Fault("no new worker was started; no log has the reason")
    listen(own)


def test_a_port_that_is_given_up_in_time_is_no_refusal(server, nginx):
    log, own, more, listen = nginx
    other = socket.create_server(("127.0.0.1", more))
    threading.Timer(0.8, other.close).start()
    listen(own, more)
    assert server.reload([str(log)]) == (True, "")
    socket.create_connection(("127.0.0.1", more), 5).close()


def test_nginx_is_waited_for_until_no_old_worker_accepts_connections(server, nginx):
    """Else clients, and the probes after a change, get responses of the old configuration."""
    log, own, _more, _listen = nginx
    main = server.main_pid()
    old, *_others = server.workers(main)
    os.kill(old, signal.SIGSTOP)  # as busy as a worker can be
    seconds = _server.OLD_WORKER_PATIENCE + 1
    timer = threading.Timer(seconds, os.kill, (old, signal.SIGCONT))
    timer.start()
    started = time.monotonic()
    assert server.reload([str(log)]) == (True, "")
    assert time.monotonic() - started >= seconds and not _server.listens(old, own)
    timer.join()


def test_a_slow_server_is_waited_for_as_long_as_its_old_workers_end(server, nginx, monkeypatch):
    """Apache's may keep their sockets without a use, so the last one is not waited for."""
    log, own, _more, _listen = nginx
    server.layout = server.layout._replace(server="apache")
    monkeypatch.setitem(_server.RELOAD_SIGNALS, "apache", signal.SIGHUP)
    *others, last = server.workers(server.main_pid())
    timers = [
        threading.Timer(number * 0.7 * _server.OLD_WORKER_PATIENCE, os.kill, (pid, signal.SIGCONT))
        for number, pid in enumerate(others, 1)
    ]
    for pid in (*others, last):
        os.kill(pid, signal.SIGSTOP)
    for timer in timers:
        timer.start()
    started = time.monotonic()
    assert server.reload([str(log)]) == (True, "")
    took = time.monotonic() - started
    listening = {pid: _server.listens(pid, own) for pid in (*others, last)}
    os.kill(last, signal.SIGCONT)
    assert listening == {**dict.fromkeys(others, False), last: True}
    assert 2.4 * _server.OLD_WORKER_PATIENCE <= took < _server.RELOAD_TIMEOUT


# --- starting and stopping without a service manager ------------------------------------------------------------------


class OwnServer(_server.Server):
    """A server that only this test has: a copy of nginx, so that no other process of the machine is of its binary."""

    def __init__(self, folder: Path, directives: str) -> None:
        layout = web_bed.layout("nginx", folder)._replace(binary=str(folder / "nginx"))
        shutil.copy(web_bed.NGINX, layout.binary)
        super().__init__(layout)
        (self.port,) = free_ports(1)
        servers = f"server {{ listen 127.0.0.1:{self.port}; }}"
        (folder / "nginx.conf").write_text(
            f"{directives}\n{web_bed.nginx_head(folder)}http {{\n{web_bed.nginx_http(folder)}{servers}\n}}\n"
        )
        self.arguments_of_test = ["-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]

    def command(self, *arguments: str) -> list[str]:
        return super().command(*self.arguments_of_test, *arguments)

    def is_reached(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(_server.Server, "_systemctl", lambda *arguments, **more: None)
    made: list[OwnServer] = []

    def make(directives: str) -> OwnServer:
        made.append(OwnServer(tmp_path, directives))
        return made[0]

    yield make
    for server in made:
        server.stop()


@web_bed.needs_nginx
@pytest.mark.parametrize("directives", ["", "daemon off;"])
def test_a_server_is_started_whether_it_stays_in_the_foreground_or_not(own, monkeypatch, directives):
    """As in a rollback, which must not end it again when its time is up."""
    monkeypatch.setattr(_server, "START_TIMEOUT", 15)
    server = own(directives)
    assert server.start() and server.is_reached()
    time.sleep(0.2)
    assert server.main_pid() is not None and server.is_reached()
    assert server.stop() and not server.is_reached()


@web_bed.needs_nginx
def test_a_trial_may_open_as_many_files_as_the_running_server(own):
    """Apache has two logs open for each of hundreds of virtual hosts, and its own start permits that."""
    server = own("")
    server.open_files = 321
    assert server.start()
    other = _server.Server(server.layout)
    assert other.arguments() == [] and other.open_files == 321
    assert server.stop()
    assert other.arguments() == [] and other.open_files is None


# It forgets the first signal, as nginx does one that comes while it starts.
DEAF = """
import signal, sys, time
came = []
def stop(*_arguments):
    came.append(1)
    if len(came) > 1:
        sys.exit()
signal.signal(signal.SIGTERM, stop)
print(flush=True)
while True:
    time.sleep(60)
"""


def test_a_server_that_misses_the_signal_is_asked_again_to_stop(server, monkeypatch):
    monkeypatch.setattr(server, "_systemctl", lambda *arguments, **more: None)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"\n"
            monkeypatch.setattr(server, "main_pid", lambda: process.pid if process.poll() is None else None)
            assert server.stop() and process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize("script", [None, "WHERE=here"])
@pytest.mark.parametrize("limit", [None, 321])
def test_the_limit_is_set_before_the_program_begins(tmp_path, script, limit):
    layout = web_bed.layout("apache", tmp_path)._replace(binary="/bin/sh")
    if script:
        (tmp_path / "envvars").write_text(script)
        layout = layout._replace(envvars=str(tmp_path / "envvars"))
    server = _server.Server(layout)
    server.open_files = limit
    done = subprocess.run(server.command("-c", 'ulimit -n; echo "$WHERE"; echo "$1"', "sh", "a b"),
                          capture_output=True, text=True, check=True)  # fmt: skip
    own_limit = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    assert done.stdout.splitlines() == [str(limit or own_limit), "here" if script else "", "a b"]


@web_bed.needs_nginx
@pytest.mark.parametrize("directives", ["no_such_directive;", "daemon off; no_such_directive;"])
def test_a_server_that_refuses_its_configuration_is_not_waited_for(own, directives):
    server = own(directives)
    started = time.monotonic()
    assert not server.start()
    assert time.monotonic() - started < _server.START_TIMEOUT / 2


def test_a_program_that_is_not_there_starts_nothing(own, tmp_path):
    server = own("")
    (tmp_path / "nginx").unlink()
    assert not server.start()


@web_bed.needs_nginx
def test_a_server_that_ends_right_before_its_reload_is_reported(own, monkeypatch):
    server = own("")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with monkeypatch.context() as patch:
        patch.setattr(server, "main_pid", lambda: gone.pid)
        ok, words = server.reload([])
    assert not ok and words == "nginx ended before it could be reloaded"


@web_bed.needs_apache
def test_suses_server_that_does_not_run_is_tested_with_what_its_script_would_add(tmp_path):
    """Without these files it has no modules: its main one loads none where there are settings."""
    layout = web_bed.layout("apache", tmp_path, "suse")
    head = web_bed.apache_head(tmp_path, "headers").splitlines()
    loads, rest = ([line for line in head if line.startswith("LoadModule") is keep] for keep in (True, False))
    (tmp_path / "load.conf").write_text("\n".join(loads) + "\n")
    (tmp_path / "after.conf").write_text("<IfDefine SSL>\nHeader set X-Own yes\n</IfDefine>\nUnknown directive\n")
    (tmp_path / "apache.conf").write_text("<IfDefine !SYSCONFIG>\nWrong\n</IfDefine>\n" + "\n".join(rest) + "\n")
    (tmp_path / "settings").write_text('APACHE_SERVER_FLAGS="-D SSL"\n')
    layout = layout._replace(
        binary=web_bed.APACHE,
        envvars=str(tmp_path / "settings"),
        pid_file=str(tmp_path / "other.pid"),
        sysconfig=layout.sysconfig._replace(
            before=(str(tmp_path / "load.conf"), str(tmp_path / "never.conf")), after=(str(tmp_path / "after.conf"),)
        ),
    )
    server = _server.Server(layout)
    server.main_pid = lambda: None
    line = ["-d", str(tmp_path), "-f", layout.main_config, "-t"]
    done = subprocess.run(server.command(*server.arguments(), *line), capture_output=True, text=True, check=False)
    assert "Invalid command 'Unknown'" in done.stderr and "after.conf" in done.stderr
    (tmp_path / "after.conf").write_text("<IfDefine SSL>\nHeader set X-Own yes\n</IfDefine>\n")
    assert subprocess.run(server.command(*server.arguments(), *line), check=False).returncode == 0
