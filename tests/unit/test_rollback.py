# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole transactions on real servers: a change that clients would suffer from is taken back."""

from __future__ import annotations

import contextlib
import signal
import typing as t
from pathlib import Path

import pytest

from . import web_bed
from .test_probe import UPLOAD, backend, serve  # noqa: F401, a fixture
from .test_transaction import Bed

SERVERS = [
    pytest.param("apache", marks=web_bed.needs_apache),
    pytest.param("nginx", marks=web_bed.needs_nginx),
]
WORSE = {
    "frame": {"apache": "Header always set X-Frame-Options DENY", "nginx": "add_header X-Frame-Options DENY;"},
    "413": {"apache": "LimitRequestBody 1048576", "nginx": "client_max_body_size 1m;"},
}
FINE = {"apache": "Header always set X-Frame-Options SAMEORIGIN", "nginx": "add_header X-Frame-Options SAMEORIGIN;"}


class Host(Bed):
    """A bed whose server is a real one, started anew for each reload."""

    def __init__(self, server: str, folder: Path, monkeypatch: pytest.MonkeyPatch, backend: int) -> None:  # noqa: F811
        super().__init__(folder, monkeypatch)
        self.name, self.folder, self.backend = server, folder, backend
        self.server.layout = web_bed.layout(server, folder)
        self.layouts = [self.server.layout]
        self.config = folder / (server + ".conf")
        (self.port,) = web_bed.free_ports(1)
        self.text = self.with_line("")
        self.config.write_text(self.text)
        self.process = contextlib.ExitStack()
        self.restart()
        self.server.happens = [self.restart, self.restart]

    def with_line(self, line: str) -> str:
        serve(self.name, self.folder, self.port, self.backend, line)
        return self.config.read_text()

    def restart(self) -> None:
        self.process.close()
        self.process.enter_context(web_bed.running(self.name, self.folder, self.port))

    def change(self, line: str) -> dict[str, t.Any]:
        """The options of a change to this line, as the role would ask for it."""
        content = self.with_line(line)
        self.config.write_text(self.text)
        probes = [{"path": "/"}, {"path": "/up", "method": "POST", "body_size": UPLOAD}]
        return {"files": [{"path": str(self.config), "content": content}], "probes": probes}


@pytest.fixture
def make(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: int,  # noqa: F811
) -> t.Iterator[t.Callable[[str], Host]]:
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    with contextlib.ExitStack() as stack:

        def made(server: str) -> Host:
            host = Host(server, tmp_path, monkeypatch, backend)
            stack.callback(host.process.close)
            return host

        yield made
    for name, action in before.items():
        signal.signal(name, action)


@pytest.mark.parametrize("reason", WORSE)
@pytest.mark.parametrize("server", SERVERS)
def test_what_clients_would_suffer_from_is_rolled_back(make: t.Callable[[str], Host], server: str, reason: str) -> None:
    host = make(server)
    message, result = host.fails(**host.change(WORSE[reason][server]))
    assert message.startswith("probe failed, everything is back as it was")
    assert reason in message
    assert result["rolled_back"] is True
    assert host.config.read_text() == host.text
    assert web_bed.get(host.port, "/").all("x-frame-options") == []


@pytest.mark.parametrize("server", SERVERS)
def test_what_they_do_not_mind_stays(make: t.Callable[[str], Host], server: str) -> None:
    host = make(server)
    assert host.run(**host.change(FINE[server]))["changed"] is True
    assert web_bed.get(host.port, "/").all("x-frame-options") == ["SAMEORIGIN"]
