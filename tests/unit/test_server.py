# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live server as a process: what is said of one that ended after its reload, and of one that did not."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _server

from . import web_bed
from .ports import free_ports


@pytest.fixture
def server(tmp_path: Path) -> _server.Server:
    return _server.Server(web_bed.layout("nginx", tmp_path))


def test_a_server_that_was_started_and_never_reloaded_has_not_ended(server):
    """A repaired server is started; an endpoint of it that refuses its client must not look like its end."""
    assert server.ended(0) == ""


def test_what_a_server_said_when_it_ended_is_told_only_of_one_that_did(server, tmp_path, monkeypatch):
    log = tmp_path / "error.log"
    log.write_text("earlier\n")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    monkeypatch.setattr(server, "main_pid", lambda: process.pid)
    monkeypatch.setattr(server, "workers", lambda main=None: set())
    monkeypatch.setattr(_server, "RELOAD_TIMEOUT", 0.05)
    monkeypatch.setattr(_server.os, "kill", lambda pid, number: None)
    assert server.reload([str(log)]) == (False, "no new worker within 0 s")
    assert server.ended(0) == ""
    process.communicate(b"\n")
    with log.open("a") as stream:
        stream.write("[emerg] it will not\n")
    assert server.ended(0) == "[emerg] it will not"


@pytest.fixture
def nginx(server, tmp_path, monkeypatch):
    """A real nginx, and a function that has it listen on one more port, without a reload."""
    own, more = free_ports(2)
    conf, log = tmp_path / "nginx.conf", tmp_path / "error.log"

    def listen(*ports):
        servers = "".join(f"server {{ listen 127.0.0.1:{port}; }}\n" for port in ports)
        conf.write_text(f"pid {tmp_path}/pid;\nerror_log {log};\nevents {{ }}\nhttp {{\naccess_log off;\n{servers}}}\n")

    listen(own)
    subprocess.run(["nginx", "-c", str(conf), "-e", str(log)], check=True, timeout=10)
    main = int((tmp_path / "pid").read_text())
    monkeypatch.setattr(server, "main_pid", lambda: main)
    yield log, own, more, listen
    subprocess.run(["nginx", "-c", str(conf), "-e", str(log), "-s", "quit"], check=True, timeout=10)


def test_nginx_is_waited_for_until_it_has_given_up_a_port_that_is_taken(server, nginx):
    """Else a configuration that was taken back meanwhile may be served, as soon as the port is free."""
    log, own, more, listen = nginx
    with socket.create_server(("127.0.0.1", more)):
        listen(own, more)
        ok, words = server.reload([str(log)])
    assert not ok and "still could not bind()" in words
    listen(own)
    assert server.reload([str(log)]) == (True, "")
    assert socket.socket().connect_ex(("127.0.0.1", more)) != 0


def test_a_port_that_is_given_up_in_time_is_no_refusal(server, nginx):
    log, own, more, listen = nginx
    other = socket.create_server(("127.0.0.1", more))
    threading.Timer(0.8, other.close).start()
    listen(own, more)
    assert server.reload([str(log)]) == (True, "")
    socket.create_connection(("127.0.0.1", more), 5).close()


@pytest.mark.parametrize(
    ("lines", "tries"),
    [
        (["1#1: bind() to 0.0.0.0:443 failed (98: Address already in use)"], True),
        (["1#1: bind() to 0.0.0.0:443 failed (98: Address already in use)", "1#1: still could not bind()"], False),
        (["1#1: bind() to 192.0.2.1:443 failed (99: Cannot assign requested address)"], False),
        (["1#1: unknown directive"], False),
    ],
)
def test_other_refusals_are_not_waited_for(lines, tries):
    assert _server._is_still_binding("\n".join(f"2026/11/26 [emerg] {line}" for line in lines)) is tries
