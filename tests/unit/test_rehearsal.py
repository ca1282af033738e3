# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A trial instance is believed only if it responds itself, and ends whatever it does.

Rehearsals as a whole are tested on the hosts of the Molecule scenarios.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import server as _server

from . import web_bed
from .ports import free_ports
from .slow_bed import SLACK

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@web_bed.needs_nginx
def test_another_program_at_the_port_of_a_trial_does_not_pass_for_it(tmp_path, sleeper):
    """As a user of the host could have it, who has seen which port the trial will take."""
    (port,) = free_ports()
    (tmp_path / "nginx.conf").write_text(
        web_bed.nginx_head(tmp_path)
        + f"http {{ {web_bed.nginx_http(tmp_path)} server {{ listen 127.0.0.1:{port}; return 204; }} }}"
    )
    target = {"address": "127.0.0.1", "port": port, "server_name": None, "path": "/", "tls": False}
    with web_bed.running("nginx", tmp_path, port):
        assert _rehearsal._client.query(target, 5.0)["status"] == 204
        assert _rehearsal._first_response(sleeper, target, 0.5) is None


@web_bed.needs_nginx
def test_a_rehearsal_has_more_time_for_more_virtual_hosts(tmp_path):
    """A minute was too short for thousands, and on a slow machine for hundreds."""
    blocks = "".join(f"server {{ listen 443 ssl; server_name s{number}.test; }}\n" for number in range(500))
    (tmp_path / "nginx.conf").write_text(
        web_bed.nginx_head(tmp_path) + f"http {{ {web_bed.nginx_http(tmp_path)} {blocks} }}"
    )
    live = _nginx.load(web_bed.layout("nginx", tmp_path))
    assert len(live.vhosts) == 500
    assert _rehearsal.time_limit(live) == 60 + 50
    assert _rehearsal.time_limit(None) == 60


def test_a_process_listens_where_it_does(sleeper):
    (port,) = free_ports()
    with contextlib.closing(web_bed.socket.create_server(("127.0.0.1", port))):
        assert _server.listens(os.getpid(), port)
        assert not _server.listens(os.getpid(), port + 1)
        assert not _server.listens(sleeper.pid, port)


def test_a_trial_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(_rehearsal, "END_TIMEOUT", 0.3)
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    # A wait without a limit would hang this test for a minute.
    ending = threading.Thread(target=_rehearsal._end, args=(process,))
    ending.start()
    ending.join(20)
    assert not ending.is_alive() and process.returncode == -9


def test_a_trial_that_has_ended_is_no_error():
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    _rehearsal._end(process)
    assert process.returncode == 0


def test_an_environment_that_never_comes_is_an_error_with_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_apache, "ENVIRONMENT_TIMEOUT", 0.3)
    (tmp_path / "envvars").write_text("exec sleep 600\n")
    layout = web_bed.layout("apache", tmp_path)._replace(envvars=str(tmp_path / "envvars"))
    started = time.monotonic()
    with pytest.raises(
        _webserver_model.ConfigError, match=r"its variables cannot be read: .*timed out.* in .*/envvars"
    ):
        _apache.environment(layout)
    assert time.monotonic() - started < 0.3 + SLACK


@pytest.mark.parametrize(("text", "group"), [("User wwwrun\nGroup www\n", "www"), ("User www-data\n", "www-data")])
def test_a_trial_instance_has_the_group_that_the_server_has(tmp_path, text, group):
    """SUSE's user has a group of another name, and Apache does not start with one that does not exist."""
    layout = web_bed.layout("apache", tmp_path)
    (tmp_path / "apache.conf").write_text(text)
    user = text.split()[1]
    instance = _rehearsal._apache_instance(_apache.load(layout), [], 1, str(tmp_path), user)
    assert f"User {user}\nGroup {group}\n" in instance
