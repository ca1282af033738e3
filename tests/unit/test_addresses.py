# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IPv6 addresses that are new, doubtful, gone or somewhere else: none of that is the fault of a change.

Everything happens in network namespaces of their own, with real interfaces, real duplicate address detection and real
neighbours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.action import web_config
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import Server

from . import web_bed
from .slow_bed import HANGS, SLACK
from .test_namespace import pytestmark as needs_namespaces
from .test_transaction import Bed

pytestmark = [pytest.mark.slow, needs_namespaces]

FIRST, SECOND = "fd00::1", "fd00::2"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# What listens at all addresses of a namespace and answers every request.
LISTENER = f"""
import socket
with socket.create_server(("::", 443), family=socket.AF_INET6) as server:
    while True:
        with server.accept()[0] as one:
            one.recv(4096)
            one.sendall({RESPONSE!r})
"""
# Neighbours are doubted after about a second, not half a minute.
IMPATIENT = {"neigh/default/base_reachable_time_ms": "1000", "neigh/default/delay_first_probe_time": "2"}


def ip(*words: str, at: subprocess.Popen[bytes] | None = None) -> str:
    inside = ["nsenter", "-t", str(at.pid), "-n"] if at else []
    done = subprocess.run([*inside, "ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Network:
    """Hosts, each in a namespace, on one bridge."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "set", "bridge", "up")

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def host(self, name: str, address: str, *how: str, serves: bool = True) -> subprocess.Popen[bytes]:
        host = self.spawn("unshare", "-n", "sleep", "3000")
        deadline = time.monotonic() + HANGS
        while os.readlink(f"/proc/{host.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        ip("link", "set", name, "master", "bridge", "up")
        for key, value in IMPATIENT.items():
            setting = f"/proc/sys/net/ipv6/{key.replace('default', 'eth0')}"
            subprocess.run(["nsenter", "-t", str(host.pid), "-n", "sh", "-c", f"echo {value} >{setting}"], check=True)
        ip("link", "set", "lo", "up", at=host)
        ip("link", "set", "eth0", "up", at=host)
        ip("addr", "add", f"{address}/64", "dev", "eth0", *how, at=host)
        if serves:
            self.spawn("nsenter", "-t", str(host.pid), "-n", sys.executable, "-c", LISTENER)
        return host

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def network() -> t.Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.end()


def within(host: subprocess.Popen[bytes], work: t.Callable[[], t.Any]) -> t.Any:
    """What work returns in the network of a host."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
    try:
        assert _namespace._libc.setns(other, _namespace.CLONE_NEWNET) == 0
        return work()
    finally:
        assert _namespace._libc.setns(own, _namespace.CLONE_NEWNET) == 0
        os.close(own)
        os.close(other)


def ask(address: str, timeout: float = 10) -> dict[str, t.Any]:
    return _client.query({"address": address, "port": 443, "tls": False}, timeout)


def flags(address: str) -> list[bool]:
    return [one.usable for one in _namespace.host_addresses() if one.packed == _namespace.packed(address)]


# --- addresses of the host -------------------------------------------------------------------------------------------


def test_an_address_that_is_being_checked_is_waited_for():
    """A connection to it is answered by nobody, also after the check; the second one gets through."""

    def work() -> t.Any:
        with network() as net:
            host = net.host("one", FIRST)
            assert ask_until_up(host, FIRST)["ok"]
            ip("addr", "add", f"{SECOND}/64", "dev", "eth0", at=host)
            checked = within(host, lambda: flags(SECOND))
            answer = within(host, lambda: ask(SECOND))
            return checked, answer["ok"], answer["error"], within(host, lambda: flags(SECOND))

    assert _namespace.call(work, 3 * HANGS) == [[False], True, None, [True]]


def ask_until_up(host: subprocess.Popen[bytes], address: str) -> dict[str, t.Any]:
    """The first answer of a host whose listener starts."""
    deadline = time.monotonic() + HANGS
    while True:
        answer: dict[str, t.Any] = within(host, lambda: ask(address))
        if answer["ok"] or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def test_an_address_that_another_host_has_is_not_usable():
    def work() -> t.Any:
        with network() as net:
            net.host("one", FIRST, "nodad", serves=False)
            two = net.host("two", FIRST, serves=False)
            deadline = time.monotonic() + HANGS
            while "dadfailed" not in ip("addr", "show", "dev", "eth0", at=two):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            listed = within(two, lambda: flags(FIRST))
            return listed, within(two, lambda: _namespace.packed(FIRST) in _namespace.usable_addresses())

    assert _namespace.call(work, 3 * HANGS) == [[False], False]


def test_a_list_that_changes_while_it_is_read_lacks_nothing():
    def work() -> t.Any:
        for number in range(300):
            ip("addr", "add", f"fd00::1:{number:x}/128", "dev", "lo", "nodad")
        noise = subprocess.Popen(
            ["sh", "-c", "while :; do ip addr add fd00::2/128 dev lo nodad; ip addr del fd00::2/128 dev lo; done"],
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            counts = {
                sum(one.packed.startswith(_namespace.packed("fd00::1:0")[:14]) for one in _namespace.host_addresses())
                for _number in range(200)
            }
        finally:
            os.killpg(noise.pid, signal.SIGKILL)
            noise.wait()
        return sorted(counts)

    assert _namespace.call(work, 3 * HANGS) == [300]


# --- in the rehearsal ------------------------------------------------------------------------------------------------


def with_more(monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """The host has more addresses than it says, of which the kernel takes none in the view."""
    real = _namespace.host_addresses
    added = [_namespace.Address(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, one), 0) for one in more]
    monkeypatch.setattr(_namespace, "host_addresses", lambda: [*added, *real()])


def test_an_address_that_the_view_cannot_use_is_named_and_costs_the_others_nothing(monkeypatch):
    with_more(monkeypatch, "ff02::99")

    def work() -> t.Any:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            socket.create_connection(server.getsockname()[:2], 1).close()
        return list(_namespace.unusable().values())

    began = time.monotonic()
    (text,) = _namespace.call(work, 30)
    assert text.startswith("ff02::99 (") and time.monotonic() - began < _namespace.ADDRESS_PATIENCE + SLACK


def test_an_address_that_takes_no_packets_is_named_and_waited_for_once(monkeypatch):
    monkeypatch.setattr(_namespace, "_is_reachable", lambda family, address, _pause: family == socket.AF_INET)
    monkeypatch.setattr(_namespace, "ADDRESS_PATIENCE", 1.5)
    texts = [f"fd00::{number}" for number in range(100, 150)]
    more = [_namespace.Address(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text), 0) for text in texts]
    monkeypatch.setattr(_namespace, "host_addresses", lambda: more)
    began = time.monotonic()
    found = _namespace.call(lambda: list(_namespace.unusable().values()), 3 * HANGS)
    assert found == [f"{text} (it takes no packets)" for text in texts]
    assert time.monotonic() - began < 1.5 + SLACK  # and not the 75 s of all of them


@web_bed.needs_nginx
def test_a_rehearsal_without_an_address_reports_that(monkeypatch, tmp_path):
    """The server could not be asked there: that says nothing of the change."""
    with_more(monkeypatch, "ff02::99")
    certificate, key = web_bed.make_certificate(tmp_path)
    text = web_bed.nginx_head(tmp_path) + "http { %s server { listen 127.0.0.1:%d ssl; listen [ff02::99]:443 ssl;" % (
        web_bed.nginx_http(tmp_path), *web_bed.free_ports(1)
    )  # fmt: skip
    text += f" ssl_certificate {certificate}; ssl_certificate_key {key}; return 204; }} }}"
    (tmp_path / "nginx.conf").write_text(text)
    server = Server(web_bed.layout("nginx", tmp_path))
    monkeypatch.setattr(server, "main_pid", lambda: None)  # another test's nginx is not this one
    with pytest.raises(_rehearsal.Failure) as caught:
        _rehearsal.rehearse(server, [], None, [], "required", lambda _targets: [])
    assert "in the rehearsal this host's ff02::99 (" in str(caught.value)
    assert "could not be used" in str(caught.value)


# --- on the live server ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_lost", [True, False])
def test_an_address_that_the_host_lost_is_no_reason_to_roll_back(tmp_path, monkeypatch, is_lost):
    """One that it still has is, where the server no longer answers at it."""
    gone, kept = "fd00::7", "fd00::8"
    certificate, key = web_bed.make_certificate(tmp_path)

    def work() -> t.Any:
        for address in (gone, kept):
            ip("addr", "add", f"{address}/128", "dev", "lo", "nodad")
        bed = Bed(tmp_path, monkeypatch)
        (bed.conf / "nginx.conf").write_text(
            "pid /no;\nevents { }\nhttp { server { listen [%s]:8443 ssl; listen [%s]:8443 ssl; } }\n" % (gone, kept)
        )
        servers = [tls_server(address, certificate, key) for address in (gone, kept)]

        def lose() -> None:
            if not is_lost:
                servers[1].shutdown(socket.SHUT_RDWR)
            ip("addr", "del", f"{gone}/128", "dev", "lo")

        bed.server.happens = [lose]
        try:
            return bed.run()
        except Exception as error:
            return str(error)

    result = _namespace.call(work, 3 * HANGS)
    if is_lost:
        assert result["changed"] is True and result["rolled_back"] is False
        (warning,) = result["warnings"]
        assert gone in warning and warning.endswith("the host no longer has that address")
    else:
        assert "probe failed, everything is back" in result and kept in result


def tls_server(address: str, certificate: str, key: str) -> socket.socket:
    """Answers every request at port 8443 of an address, until it is closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    plain = socket.create_server((address, 8443), family=socket.AF_INET6)

    def serve() -> None:
        while True:
            try:
                one = plain.accept()[0]
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(one, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(RESPONSE)

    threading.Thread(target=serve, daemon=True).start()
    return plain


# --- from outside ----------------------------------------------------------------------------------------------------


def moved(net: Network) -> subprocess.Popen[bytes]:
    """A host that another one has spoken to, and that has come back at another place of the network with its address;
    gives that other one, which still sends to the old place."""
    client = net.host("one", FIRST, "nodad", serves=False)
    net.host("two", SECOND, "nodad")
    assert ask_until_up(client, SECOND)["ok"]
    ip("link", "del", "two")
    net.host("three", SECOND, "nodad")
    time.sleep(1)
    return client


def test_a_neighbour_with_an_old_entry_is_reached_in_time():
    def work() -> t.Any:
        with network() as net:
            client = moved(net)
            ip("neigh", "change", SECOND, "dev", "eth0", "nud", "stale", at=client)
            return within(client, lambda: ask(SECOND, 6.9))

    answer = _namespace.call(work, 3 * HANGS)
    assert answer["ok"], answer["error"]


def test_a_change_is_confirmed_when_the_way_to_the_host_comes_back(monkeypatch, tmp_path):
    """As after a failover: for a while nothing answers at the address."""
    monkeypatch.setattr(web_config, "CONFIRM_TIMEOUT", 2.0)
    certificate, key = web_bed.make_certificate(tmp_path)
    endpoint = {"host": "::1", "port": 8443, "server_name": "mail.example"}

    def work(after: float, patience: float) -> t.Any:
        timer = threading.Timer(after, tls_server, ("::1", certificate, key))
        timer.daemon = True
        timer.start()
        began = time.monotonic()
        return web_config._objections([endpoint], [], patience), time.monotonic() - began

    objections, took = _namespace.call(lambda: work(2.5, HANGS), 3 * HANGS)
    assert objections == [] and took > 2
    # What does not come back is an objection, and in time.
    objections, took = _namespace.call(lambda: work(3 * SLACK, 3), 3 * HANGS)
    assert "cannot connect" in objections[0] and took < 3 + SLACK
