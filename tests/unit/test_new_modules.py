# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change that loads modules into a running Apache: they work from the first request on."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

from . import web_bed
from .slow_bed import HANGS
from .test_transaction import Bed, interrupt

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # RFC 9113 3.4, with empty SETTINGS
SETTINGS = 4


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def first_frame(port: int) -> int:
    """The type of the first frame of an HTTP/2 session in TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connection,
        context.wrap_socket(connection, server_hostname="mail.example") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"
        secure.sendall(PREFACE)
        return secure.recv(9)[3]


class Apache(Bed):
    """A bed with a real Apache that has modules as links, without mod_http2 so far."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.available, self.enabled = folder / "mods-available", folder / "mods-enabled"
        for place in (self.available, self.enabled):
            place.mkdir()
        (self.available / "http2.load").write_text(f"LoadModule http2_module {web_bed.MODULES}/mod_http2.so\n")
        (self.available / "http2.conf").write_text("Protocols h2 http/1.1\n")
        slot = _layout.Slot(str(self.available), str(self.enabled), (".load", ".conf"))
        self.server.layout = web_bed.layout("apache", folder)._replace(modules=slot, family="")
        self.layouts = [self.server.layout]

    def start(self) -> subprocess.Popen[bytes]:
        folder = self.available.parent
        (self.port,) = web_bed.free_ports(1)
        certificate, key = web_bed.make_certificate(folder)
        (folder / "apache.conf").write_text(
            web_bed.apache_head(folder, "ssl", "socache_shmcb", "alias")
            + f"IncludeOptional {self.enabled}/*.load\nIncludeOptional {self.enabled}/*.conf\n"
            f"Listen 127.0.0.1:{self.port}\n<VirtualHost *:{self.port}>\nSSLEngine on\n"
            f"SSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
            "RedirectMatch 204 ^/$\n</VirtualHost>\n"
        )
        self.process = subprocess.Popen([web_bed.APACHE, "-f", str(folder / "apache.conf"), "-DFOREGROUND"])
        self._wait(lambda: (folder / "pid").exists() and children(self.process.pid))
        self.server.happens = [self.reload] * 3
        return self.process

    def reload(self) -> None:
        old = children(self.process.pid)
        self.process.send_signal(signal.SIGUSR1)
        self._wait(lambda: len(children(self.process.pid) - old) >= 1 and not children(self.process.pid) & old)

    @staticmethod
    def _wait(done: t.Callable[[], t.Any]) -> None:
        deadline = time.monotonic() + HANGS
        while not done():
            assert time.monotonic() < deadline, "Apache did not come up"
            time.sleep(0.02)


@pytest.fixture
def apache(tmp_path, monkeypatch):
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield Apache(tmp_path, monkeypatch)
    for name, action in before.items():
        signal.signal(name, action)


@web_bed.needs_apache
def test_http2_works_after_the_run_that_loads_it(apache):
    """Loaded and configured by one reload, mod_http2 kills the worker at a client of HTTP/2 in TLS 1.2."""
    process = apache.start()
    try:
        result = apache.run(files=[], enable={"modules": ["http2"]})
        assert result["changed"] and result["phase"] == "commit"
        assert {os.path.basename(entry["after_header"].split()[0]) for entry in result["diff"]} == {
            "http2.load",
            "http2.conf",
        }
        workers = children(process.pid)
        assert [first_frame(apache.port) for _time in range(3)] == [SETTINGS] * 3
        assert children(process.pid) == workers
    finally:
        process.terminate()
        process.wait(HANGS)


def test_other_modules_are_loaded_with_their_configuration(apache):
    """Loaded without its session cache, mod_ssl ends an Apache that had one before."""
    found: list[list[str]] = []
    apache.server.happens = [lambda: found.append(sorted(os.listdir(apache.enabled))) and None] * 3
    (apache.available.parent / "apache.conf").write_text("")
    for name in ("ssl.load", "ssl.conf"):
        (apache.available / name).write_text("")
    apache.run(files=[], enable={"modules": ["http2", "ssl"]})
    assert found == [["http2.load"], ["http2.conf", "http2.load", "ssl.conf", "ssl.load"]]


def test_http2_is_loaded_before_what_uses_it(apache):
    """Each reload finds what it is for, and a second change of the same kind needs one reload only."""
    found: list[list[str]] = []
    apache.server.happens = [lambda: found.append(sorted(os.listdir(apache.enabled))) and None] * 3
    (apache.available.parent / "apache.conf").write_text("")
    apache.run(files=[], enable={"modules": ["http2"]})
    assert found == [["http2.load"], ["http2.conf", "http2.load"]]
    apache.run(files=[{"path": str(apache.conf / "site"), "content": "newer"}], enable={"modules": ["http2"]})
    assert len(found) == 3


def test_a_module_that_the_old_configuration_does_not_bear_is_loaded_with_the_new_one(apache):
    found: list[list[str]] = []
    apache.server.happens = [lambda: found.append(sorted(os.listdir(apache.enabled))) and None] * 3
    (apache.available.parent / "apache.conf").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apache.server, "check", iter([(False, "no"), (True, ""), (True, "")]).__next__)
        apache.run(files=[], enable={"modules": ["http2"]})
    assert found == [["http2.conf", "http2.load"]] * 2


@pytest.mark.parametrize("when", [0, 1])
def test_a_run_that_is_stopped_between_the_two_reloads_is_rolled_back(apache, when):
    apache.server.happens = [interrupt] if when == 0 else [lambda: None, interrupt]
    (apache.available.parent / "apache.conf").write_text("")
    message, result = apache.fails(files=[], enable={"modules": ["http2"]})
    assert "everything is back as it was" in message and result["rolled_back"]
    assert os.listdir(apache.enabled) == [] and apache.states() == ["undone"]


def test_an_edit_between_the_two_reloads_is_kept(apache):
    """What the run has not come to yet is not its own: a rollback leaves it as the administrator wrote it."""
    site = apache.conf / "site"
    apache.server.happens = [lambda: site.write_text("by hand") and None]
    (apache.available.parent / "apache.conf").write_text("")
    files = [{"path": str(site), "content": "new"}]
    message, _result = apache.fails(files=files, enable={"modules": ["http2"]})
    assert "was changed by somebody else meanwhile" in message and "everything is back as it was" in message
    assert site.read_text() == "by hand" and os.listdir(apache.enabled) == []


def test_an_apache_that_the_new_module_ended_a_moment_later_is_not_taken_for_one_that_was_stopped(apache):
    def end_later():
        apache.server.pid = None

    apache.server.happens = [end_later]
    (apache.available.parent / "apache.conf").write_text("")
    message, result = apache.fails(files=[], enable={"modules": ["http2"]})
    assert message == "reload failed, everything is back as it was: the main process ended at the reload"
    assert result["rolled_back"] and apache.server.pid == 1
