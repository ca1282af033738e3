# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live server as a process: what is said of one that ended after its reload, and of one that did not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _server

from . import web_bed


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
