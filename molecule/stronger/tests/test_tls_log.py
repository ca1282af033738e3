# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients speak is logged beside the host's own logs, and rotated with them."""

from __future__ import annotations

import http.client
import re
import time

import pytest
from frontends import TIMEOUT
from hardened import context

PORT = 8443
FOLDERS = {"apache": "/var/log/apache2", "nginx": "/var/log/nginx"}
OWNERS = {"apache": ("root", "adm"), "nginx": ("www-data", "adm")}
LINE = r'\[[^]]+\] TLSv1\.3 TLS_[A-Z0-9_]+ "{}"'


@pytest.fixture
def server(frontend):
    return re.sub(r"\d+$", "", frontend.host)


def send(frontend, port, name, agent):
    connection = http.client.HTTPConnection(frontend.ipv4, port, timeout=TIMEOUT)
    try:
        connection.connect()
        connection.sock = context().wrap_socket(connection.sock, server_hostname=name)
        connection.request("GET", "/log", headers={"Host": name, "User-Agent": agent})
        connection.getresponse().read()
    finally:
        connection.close()


def lines(host, path, agent, patience=60):
    """The lines with this agent, once there are any; the servers write when a request is over."""
    last = time.monotonic() + patience
    while True:
        with host.sudo():
            file = host.file(path)
            text = file.content_string if file.exists else ""
        found = [line for line in text.splitlines() if agent in line]
        if found or time.monotonic() > last:
            return found
        time.sleep(0.1)


def test_a_client_is_in_the_log_and_in_the_virtual_host_s_own(host, frontend, server):
    agent = f"Shop/{time.time_ns()}"
    send(frontend, PORT, f"shop.{frontend.host}.test", agent)
    (line,) = lines(host, f"{FOLDERS[server]}/kopano-tls.log", agent)
    assert re.fullmatch(LINE.format(agent), line)
    assert len(lines(host, f"{FOLDERS[server]}/shop.log", agent)) == 1


def test_a_client_of_kopano_s_virtual_host_is_in_the_log(host, frontend, server):
    agent = f"Mail/{time.time_ns()}"
    send(frontend, 443, frontend.name, agent)
    (line,) = lines(host, f"{FOLDERS[server]}/kopano-tls.log", agent)
    assert re.fullmatch(LINE.format(agent), line)


def test_it_is_read_by_those_who_read_the_other_logs(host, server):
    with host.sudo():
        file = host.file(f"{FOLDERS[server]}/kopano-tls.log")
        assert (file.user, file.group, file.mode) == (*OWNERS[server], 0o640)


def test_the_distribution_rotates_it(host, frontend, server):
    path = f"{FOLDERS[server]}/kopano-tls.log"
    before, after = f"Before/{time.time_ns()}", f"After/{time.time_ns()}"
    send(frontend, PORT, f"shop.{frontend.host}.test", before)
    assert lines(host, path, before)
    with host.sudo():
        done = host.run(f"logrotate --force /etc/logrotate.d/{FOLDERS[server].rsplit('/', 1)[1]}")
    assert done.rc == 0, done.stderr
    assert "duplicate" not in done.stderr
    for _ in range(50):  # until old workers have ended, they write to the old file
        send(frontend, PORT, f"shop.{frontend.host}.test", after)
        if lines(host, path, after, patience=5):
            break
    assert lines(host, f"{path}.1", before)
    assert lines(host, path, after)
    with host.sudo():
        file = host.file(path)
        assert (file.user, file.group, file.mode) == (*OWNERS[server], 0o640)
