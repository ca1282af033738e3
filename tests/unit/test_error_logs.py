# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs as those who can write them make them: what is read of them, what is believed, and what they lead to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import error_logs as _error_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.error_logs import ErrorLogs

from . import web_bed
from .test_identity import needs_root
from .test_server import nginx, server  # noqa: F401, fixtures

pytestmark = pytest.mark.slow

SECONDS = 60  # that end a test which hangs
SECRET = "root:$y$j9T$secret"
MAIN = 7  # the number of the main process
OWN = f'2026/12/07 10:00:00 [emerg] {MAIN}#{MAIN}: unknown directive "x" in {{}}:2'


def within_limits(read: t.Callable[[], t.Any]) -> t.Any:
    """What a function returns, if it does not wait."""
    return Beside(read).result(SECONDS)


# --- the file --------------------------------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    secret = path.with_name("shadow")
    secret.write_text(SECRET)
    path.symlink_to(secret)


def device(path: Path) -> None:
    os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero


def directory(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(10 << 30)


EXCHANGES = {
    fifo: "not a regular file",
    link: "is a symbolic link where every user can write",
    device: "not a regular file",
    directory: "Is a directory",
    unix_socket: "not a regular file",
    sparse: "",
}


@needs_root
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_log_that_somebody_exchanges_is_not_waited_for_nor_quoted_nor_read_without_an_end(tmp_path, exchange):
    folder = tmp_path / "theirs"
    folder.mkdir()
    log = folder / "error.log"
    log.write_text("earlier\n")
    os.chmod(folder, 0o777)
    logs = ErrorLogs("nginx", [str(log)])
    log.unlink()
    exchange(log)
    own, others, lines, unread = within_limits(lambda: logs.logged(MAIN))
    assert (own, others) == ("", "") and SECRET not in str(lines)
    assert sum(map(len, lines)) <= _error_logs.MOST_OF_ONE
    reason = EXCHANGES[exchange]
    assert [entry.startswith(f"{log}: ") and reason in entry for entry in unread] == ([True] if reason else [])


@needs_root
def test_a_lease_of_a_logs_owner_is_not_waited_for(tmp_path):
    """open(2) waits up to 45 s for who holds one (/proc/sys/fs/lease-break-time)."""
    log = tmp_path / "error.log"
    log.write_text("")
    logs = ErrorLogs("nginx", [str(log)])
    log.write_text("text\n")
    os.chmod(tmp_path, 0o755)
    os.chown(log, 65534, 65534)
    program = (
        "import fcntl, os, signal, sys\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print(flush=True)\nsys.stdin.read()\n"
    )
    command = ["/usr/bin/python3", "-IS", "-c", program, str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        logged = within_limits(lambda: logs.logged(MAIN))
        assert logged[3] == [f"{log}: Resource temporarily unavailable"] and time.monotonic() - started < 30
        process.communicate()


def test_a_rotated_log_is_read_from_its_beginning_and_one_that_grew_from_where_it_was(tmp_path):
    kept, rotated, new, gone = (tmp_path / name for name in ("kept", "rotated", "new", "gone"))
    for log in (kept, rotated, gone):
        log.write_text("earlier\n")
    logs = ErrorLogs("nginx", map(str, (kept, rotated, new, gone)))
    with kept.open("a") as stream:
        stream.write("one\n")
    rotated.rename(tmp_path / "rotated.1")
    rotated.write_text("two\n")
    new.write_text("three\n")
    gone.unlink()
    logged = logs.logged(MAIN)
    assert logged.lines == ["one", "two", "three"]
    assert logged.unread == [f"{gone}: No such file or directory"]


def test_what_is_read_has_a_limit_for_each_log_and_for_all(tmp_path):
    paths = [tmp_path / f"{number}.log" for number in range(40)]
    logs = ErrorLogs("nginx", map(str, paths))
    for path in paths:
        path.write_bytes((b"x" * 1023 + b"\n") * 1024)
    assert sum(len(line) + 1 for line in logs.logged(MAIN).lines) <= _error_logs.MOST + len(paths)


# --- the lines -------------------------------------------------------------------------------------------------------


def logs_with(folder: Path, text: bytes, server_name: str = "nginx") -> _error_logs.Logged:
    log = folder / "error.log"
    log.write_bytes(b"")
    logs = ErrorLogs(server_name, [str(log)])
    log.write_bytes(text)
    return logs.logged(MAIN)


@pytest.fixture
def config(tmp_path: Path) -> _webserver_model.Config:
    main = tmp_path / "nginx.conf"
    main.write_text("events { }\nx on;\n# option: frontend_tls_ciphers\nssl_ciphers NOSUCH;\n")
    return _nginx.load(web_bed.layout("nginx", tmp_path))


FORGED = (
    "hello in /dev/zero:1",
    "hello in {secret}:1",
    "hello in {main}:2",
    "Syntax error on line 1 of {secret}",
    "2026/12/07 10:00:00 [emerg] 8#8: hello in {secret}:1",
    "no cipher match: SSL_CTX_set_cipher_list failed",
    "bind() to 0.0.0.0:443 failed (98: Address already in use)",
)


@pytest.mark.parametrize("line", FORGED)
def test_a_line_of_a_client_leads_to_no_file(tmp_path, config, line):
    """nginx logs the path of a request with its line breaks: the middle one is the client's alone."""
    secret = tmp_path / "shadow"
    secret.write_text(SECRET)
    line = line.format(secret=secret, main=tmp_path / "nginx.conf")
    entry = (
        f'2026/12/07 10:00:00 [error] 9#9: *1 open() "/srv/\n{line}\n" failed (2: No such file), client: 192.0.2.1\n'
    )
    logged = logs_with(tmp_path, entry.encode())
    fault = within_limits(lambda: _diagnose.refusal("it was refused", logged, config, None))
    assert fault[1:] == [None] * 5 and SECRET not in str(fault)
    # What cannot be distinguished from a worker's line is named as such.
    forged = "[emerg] " + line.split(": ", 1)[1] if line.startswith("2026") else ""
    assert fault[0] == (f"{_diagnose._UNPROVEN}{forged}" if forged else "it was refused")


def test_even_a_line_with_the_number_of_the_main_process_leads_to_the_configuration_only(tmp_path, config):
    """The number is public."""
    secret = tmp_path / "shadow"
    secret.write_text(SECRET)
    for path in (secret, "/dev/zero", "/proc/kmsg", tmp_path / "nginx.conf"):
        logged = logs_with(tmp_path, OWN.format(path).encode())
        fault = within_limits(lambda logged=logged: _diagnose.refusal("it was refused", logged, config, None))
        found = [str(path), 2, "x", "on", None] if path == tmp_path / "nginx.conf" else [None] * 5
        assert fault[1:] == found and SECRET not in str(fault)


def test_what_the_main_process_says_leads_to_the_line_and_its_option(tmp_path, config):
    text = OWN.format(tmp_path / "nginx.conf").replace(":2", ":4")
    fault = _diagnose.refusal("it was refused", logs_with(tmp_path, text.encode()), config, None)
    assert fault[1:] == (str(tmp_path / "nginx.conf"), 4, "ssl_ciphers", "NOSUCH", "frontend_tls_ciphers")


STRANGE = {
    "escapes": b"\x1b[31m\x1b]0;title\x07 in /dev/zero:1\n",
    "no UTF-8": b"\xff\xfe\x80 in /dev/zero:1\n",
    "line separators": "\u2028 in /dev/zero:1 \x85 in /dev/zero:1 \x0b in /dev/zero:1\r in /dev/zero:1\n".encode(),
    "zeros": b"\0" * 4096 + b" in /dev/zero:1\n",
    "a megabyte": b"2026/12/07 10:00:00 [emerg] 7#7: " + b"A" * (1 << 20) + b" in /dev/zero:1\n",
    "many numbers": b"2026/12/07 10:00:00 [emerg] 7#7: in /x:" + b"1" * 5000 + b"\n",
    "many spaces": b"2026/12/07 10:00:00 [emerg] 7#7: " + b" in /x" * 10000 + b"\n",
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("server_name", ["apache", "nginx"])
def test_a_line_that_no_server_writes_is_no_harm(tmp_path, config, name, server_name):
    logged = logs_with(tmp_path, STRANGE[name], server_name)
    fault = within_limits(lambda: _diagnose.refusal("it was refused", logged, config, None))
    assert fault[1:] == [None] * 5 and len(fault[0]) < 2 * _error_logs.LONGEST


def test_greetings_of_the_main_process_are_no_reason(tmp_path, config):
    text = f"2026/12/07 10:00:00 [notice] {MAIN}#{MAIN}: signal process started\n"
    assert _diagnose.refusal("it was refused", logs_with(tmp_path, text.encode()), config, None)[0] == "it was refused"


@pytest.mark.parametrize(
    ("line", "is_own"),
    [
        ("[Mon Dec 07 10:00:00.123 2026] [ssl:emerg] [pid 7:tid 139] AH02572: Failed", True),
        ("[Mon Dec 07 10:00:00.123 2026] [ssl:emerg] [pid 7] AH02572: Failed", True),
        ("AH00526: Syntax error on line 1 of /etc/apache2/x.conf:", True),
        ("[Mon Dec 07 10:00:00.123 2026] [ssl:emerg] [pid 71:tid 139] AH02572: Failed", False),
        ("[Mon Dec 07 10:00:00.123 2026] [core:error] [pid 71] [client 192.0.2.1:1] AH00126: Invalid", False),
    ],
)
def test_which_lines_of_apache_are_its_main_process_own(tmp_path, line, is_own):
    assert bool(logs_with(tmp_path, line.encode(), "apache").own) is is_own


def test_only_the_known_processes_tell_of_a_backend(tmp_path):
    lines = "2026/12/07 10:00:00 [crit] 8#8: *1 one\n2026/12/07 10:00:00 [crit] 9#9: *1 two\nthree\n"
    assert _error_logs.of_workers(logs_with(tmp_path, lines.encode()), "nginx", {9}).endswith("two")


# --- a real server ---------------------------------------------------------------------------------------------------


@web_bed.needs_nginx
def test_a_refused_reload_is_reported_although_its_log_is_a_fifo_by_then(server, nginx, tmp_path, monkeypatch):  # noqa: F811
    log, *_ports = nginx
    conf = tmp_path / "nginx.conf"
    good = conf.read_text()
    conf.write_text(f"no_such_directive on;\n{good}")
    kill = os.kill

    def exchanged(pid: int, number: int) -> None:
        kill(pid, number)
        if number == signal.SIGHUP:
            log.rename(tmp_path / "mine")
            os.mkfifo(log)

    monkeypatch.setattr(os, "kill", exchanged)
    refused = server.reload([str(log)])
    monkeypatch.setattr(os, "kill", kill)
    logged = within_limits(server.logged)
    conf.write_text(good)
    log.unlink()
    (tmp_path / "mine").rename(log)
    assert not refused[0] and logged[3] == [f"{log}: not a regular file"]
    assert server.reload([str(log)]) == (True, "")


@web_bed.needs_nginx
def test_a_clients_request_does_not_explain_a_refusal(server, nginx, tmp_path):  # noqa: F811
    """Both at once: a real request with line breaks in its path, and a reload that is refused."""
    log, own, *_more = nginx
    conf = tmp_path / "nginx.conf"
    good = conf.read_text()
    conf.write_text(f"{good}\nno_such_directive on;\n")
    done = threading.Event()

    def request() -> None:
        while not done.is_set():
            with socket.create_connection(("127.0.0.1", own), 5) as client:
                client.sendall(b"GET /x%0ahello%20in%20/dev/zero:1%0a HTTP/1.0\r\n\r\n")
                client.recv(100)

    thread = threading.Thread(target=request)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while "\nhello in /dev/zero:1\n" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        reason = server.reload([str(log)])[1]
    finally:
        done.set()
        thread.join()
    config = _nginx.load(server.layout)
    conf.write_text(good)
    fault = _diagnose.refusal(reason, server.logged(), config, None)
    line = good.count("\n") + 2
    assert fault[1:] == (str(conf), line, "no_such_directive", "on", None) and "/dev/zero" not in fault.reason


@web_bed.needs_nginx
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fifo_in_place_of_a_log_keeps_no_server_from_reading_its_configuration(
    server,  # noqa: F811
    nginx,  # noqa: F811
    tmp_path,
    monkeypatch,
    when,
):
    """Else the server waits for a reader of it. It is exchanged before the signal, or while the server is busy."""
    log, *_ports = nginx
    main = server.main_pid()

    def exchange() -> None:
        log.rename(tmp_path / "mine")
        os.mkfifo(log)

    if when == "after":
        os.kill(main, signal.SIGSTOP)
        threading.Timer(0.3, lambda: (exchange(), os.kill(main, signal.SIGCONT))).start()
    else:
        exchange()
    try:
        with _regular.OtherEnds([str(log), str(tmp_path / "none")]) as ends:
            assert server.reload([], ends) == (True, "")
    finally:
        log.unlink()
        (tmp_path / "mine").rename(log)
    assert server.reload([]) == (True, "")
