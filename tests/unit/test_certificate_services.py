# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that serve the certificate as well: real TLS servers, which a stand-in for systemctl reloads and stops."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import renewal_hook as _renewal_hook
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import DeployError
from ansible_collections.kopano.hardening.plugins.modules import certificate_install

from .ports import free_ports
from .slow_bed import HANGS
from .test_certificate_install import NAMES, NOTHING, hooked, host, made, mode, pair
from .test_certificate_replaced import OPTIONS, restore

pytestmark = pytest.mark.slow

__all__ = ["hooked", "host", "made", "pair"]

SYSTEMCTL = _services.systemctl

# A TLS server that reads its certificate again when it gets SIGHUP, and ends where it cannot. It exits for SIGTERM.
SERVER = """
import signal, socket, ssl, sys
chain, key, port = sys.argv[1:]
def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(chain, key)
    return made
current = [context()]
signal.signal(signal.SIGHUP, lambda *_signal: current.append(context()))
listener = socket.create_server(("127.0.0.1", int(port)))
while True:
    connection, _address = listener.accept()
    try:
        current[-1].wrap_socket(connection, server_side=True).close()
    except OSError:
        pass
"""

# Units are files of NAME=VALUE: Pid, LoadState, Reload (what it does, a signal by default) and the like. As systemctl
# it is called with options, a verb, a double hyphen and units, and says what is wrong on standard error.
MANAGER = """
import os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[0]).parent / "units"
split = sys.argv.index("--")
verb = [word for word in sys.argv[1:split] if not word.startswith("--")][0]
wanted = "".join(word for word in sys.argv[1:split] if word.startswith("--property=")).partition("=")[2].split(",")
with (folder.parent / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
def read(name):
    path = folder / name
    if not path.exists():
        return {"LoadState": "not-found", "ActiveState": "inactive"}
    found = dict(line.split("=", 1) for line in path.read_text().splitlines())
    state = Path("/proc", found.get("Pid") or "none", "stat")
    alive = state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    active = found.get("ActiveState") or ("active" if alive else "inactive")
    return {"LoadState": "loaded", "PropagatesReloadTo": "", **found, "ActiveState": active}
for name in sys.argv[split + 1:]:
    unit = read(name)
    if verb == "show":
        print(*(f"{key}={unit[key]}" for key in wanted if key in unit), sep="\\n")
    elif verb == "is-active":
        sys.exit(0 if unit["ActiveState"] == "active" else 3)
    elif verb == "try-reload-or-restart":
        if unit["LoadState"] == "not-found":
            sys.exit(f"Unit {name} not found.")
        if "Refuses" in unit:
            sys.exit(unit["Refuses"] + "\\nSee the journal for details.")
        for one in [unit, *map(read, unit["PropagatesReloadTo"].split())]:
            if one.get("Pid") and one["ActiveState"] == "active":
                os.kill(int(one["Pid"]), signal.SIGHUP)
        time.sleep(0.2)
    else:
        sys.exit(f"{verb}: unknown to this stand-in")
"""


class Manager:
    """The service manager of a made-up host."""

    def __init__(self, folder, pair):
        self.folder, self.pair, self.running = folder, pair, {}
        (folder / "units").mkdir(parents=True)
        (folder / "calls").touch()
        program = folder / "systemctl"
        program.write_text(f"#!{sys.executable} -I\n{MANAGER}")
        program.chmod(0o755)

    def unit(self, name, **values):
        (self.folder / "units" / f"{name}.service").write_text("".join(f"{k}={v}\n" for k, v in values.items()))

    def serve(self, name, **values):
        """A service that serves the pair's files; returns its port."""
        (port,) = free_ports()
        command = [sys.executable, "-I", "-c", SERVER, self.pair.path, self.pair.key_path, str(port)]
        self.running[name] = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.unit(name, Pid=self.running[name].pid, **values)
        wait_for(port)
        return port

    def stop(self, name):
        self.running[name].kill()
        self.running[name].wait()

    def reloads(self):
        """The units that were to be reloaded."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line.rpartition(" ")[2] for line in lines if line.startswith("try-reload-or-restart")]


def wait_for(port):
    deadline = time.monotonic() + HANGS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            assert time.monotonic() < deadline, "the server has not come up"
            time.sleep(0.05)


def served(port):
    """The digest of the certificate that a client gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as tls:
        return hashlib.sha256(tls.getpeercert(True)).hexdigest()


@pytest.fixture
def manager(tmp_path, host, pair, monkeypatch):
    """A host with a service manager, on which the pair is installed, and not yet known to any service."""
    found = Manager(tmp_path / "manager", pair)
    monkeypatch.setattr(_services, "systemctl", SYSTEMCTL)
    monkeypatch.setenv("PATH", f"{found.folder}:{os.environ['PATH']}")
    install(pair)
    yield found
    for name in found.running:
        found.stop(name)


def install(pair, *services, check=False, **more):
    given = {**NOTHING, "path": pair.path, "key_path": pair.key_path, "chain": pair.chain, "key": pair.key}
    options = {**OPTIONS, "certificates": [given], "self_signed": None, "reload_services": list(services), **more}
    return certificate_install.run(options, check)


@pytest.fixture
def renewed(pair):
    """Another certificate for the same place."""
    chain, key = _self_signed.make(NAMES, 20)
    return pair._replace(chain=chain, key=key)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["postfix", "dovecot.service", "postfix@-.service", "postfix@-", "a:b_c", "dev-disk\\x2dby.service"]
)
def test_names_of_services_are_taken(name):
    assert _services.invalid(name) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "not the name"),
        ("-H", "not the name"),
        ("--root=/tmp", "not the name"),
        ("post*", "not the name"),
        ("a b", "not the name"),
        ("postfix\n", "not the name"),
        ("../x", "not the name"),
        (".service", "not the name"),
        ("x" * 248, "not the name"),
        ("dovecot.socket", "another kind of unit"),
        ("multi-user.target", "another kind of unit"),
        ("postfix@", "template"),
        ("postfix@.service", "template"),
    ],
)
def test_what_names_no_service_is_refused_with_option_and_value(name, why):
    assert why in _services.invalid(name)
    options = {"restore": "latest", "reload_services": ["dovecot", name]}
    assert certificate_install.invalid(options).startswith(f"reload_services: {name!r} is ")


# --- reloads ----------------------------------------------------------------------------------------------------------


def test_a_service_serves_the_new_certificate_and_is_left_alone_when_nothing_changes(manager, pair, renewed):
    port = manager.serve("dovecot")
    assert served(port) == pair.sha256
    result = install(renewed, "dovecot")
    assert result["services"] == ["dovecot"] and result["changed"]
    assert served(port) == renewed.sha256
    again = install(renewed, "dovecot.service")
    assert (again["services"], again["changed"]) == ([], False)
    assert manager.reloads() == ["dovecot.service"]
    assert mode(_services.STATE) == 0o600
    # One that is named later has to read the certificate, too.
    manager.serve("postfix")
    assert install(renewed, "dovecot", "postfix")["services"] == ["postfix"]


def test_without_services_nothing_is_queried_or_kept(manager, renewed):
    assert install(renewed)["changed"]
    assert (manager.folder / "calls").read_text() == "" and not os.path.exists(_services.STATE)


def test_check_mode_reports_what_it_would_reload_and_warns_of_what_it_could_not(manager, pair, renewed):
    port = manager.serve("dovecot")
    result = install(renewed, "dovecot", "postfix", check=True)
    assert result["services"] == ["dovecot"]
    assert result["warnings"] == ["reload_services: 'postfix' does not exist on this host, so this would fail"]
    assert served(port) == pair.sha256 and manager.reloads() == [] and not os.path.exists(_services.STATE)


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (None, "does not exist on this host"),
        ({}, "does not run (inactive), and is not started by this"),
        ({"ActiveState": "failed"}, "does not run (failed), and is not started by this"),
        ({"LoadState": "masked", "ActiveState": "active"}, "cannot be used, since systemd reports it as masked"),
        (
            {"ActiveState": "active", "Refuses": "Job for bad.service failed."},
            "does not run after its reload: Job for bad.service failed.",
        ),
    ],
)
def test_a_service_that_cannot_be_reloaded_fails_by_name_and_the_others_are_reloaded(manager, renewed, unit, why):
    port = manager.serve("dovecot")
    if unit is not None:
        manager.unit("bad", **unit)
    with pytest.raises(DeployError) as caught:
        install(renewed, "bad", "dovecot")
    assert str(caught.value) == f"reload_services: 'bad' {why}; the certificate is installed"
    result = caught.value.result
    assert (result["not_reloaded"], result["services"], result["changed"]) == (["bad"], ["dovecot"], True)
    assert served(port) == renewed.sha256
    # Nothing is started, and it stays due.
    assert "start" not in (manager.folder / "calls").read_text().replace("reload-or-restart", "")
    with pytest.raises(DeployError, match="'bad'"):
        install(renewed, "bad", "dovecot")
    assert manager.reloads().count("dovecot.service") == 1


def test_a_service_that_ends_of_it_is_reported_and_read_again_when_it_runs(manager, renewed):
    manager.serve("dovecot")
    install(renewed)
    Path(renewed.key_path).write_text("no key")  # what it reads is not what was installed
    with pytest.raises(_services.ServiceError, match="'dovecot' does not run after its reload: it ended"):
        _services.reload_due(["dovecot"], {renewed.path: renewed.chain})
    Path(renewed.key_path).write_text(renewed.key)
    manager.running["dovecot"].wait()
    port = manager.serve("dovecot")
    assert install(renewed, "dovecot")["services"] == ["dovecot"] and served(port) == renewed.sha256


def test_what_a_unit_passes_its_reload_to_has_to_run_as_well(manager, pair, renewed):
    """Debian's postfix.service is active in any case; its instance is what serves."""
    port = manager.serve("postfix@-")
    manager.unit("other@-")
    passes = {"ActiveState": "active", "PropagatesReloadTo": "postfix@-.service other@-.service"}
    manager.unit("postfix", **passes)
    assert install(renewed, "postfix")["services"] == ["postfix"] and served(port) == renewed.sha256
    Path(pair.key_path).write_text("no key")
    with pytest.raises(_services.ServiceError, match=r"after its reload: postfix@-\.service ended"):
        _services.reload_due(["postfix"], {pair.path: "another"})


def test_a_service_manager_that_is_not_there_is_reported(host, pair, monkeypatch, tmp_path):
    monkeypatch.setattr(_services, "systemctl", SYSTEMCTL)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match=r"reload_services: 'dovecot' cannot be queried: .*systemctl"):
        install(pair, "dovecot")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dovecot.service": 1}'])
def test_a_record_that_is_damaged_costs_one_more_reload(manager, pair, content):
    manager.serve("dovecot")
    Path(_services.STATE).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(_services.STATE).write_text(content)
    assert install(pair, "dovecot")["services"] == ["dovecot"]
    assert install(pair, "dovecot")["services"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_record_that_others_could_have_written_is_not_believed(manager, pair):
    manager.serve("dovecot")
    install(pair, "dovecot")
    folder = Path(_services.STATE).parent
    os.chmod(folder, 0o777)
    with pytest.raises(DeployError, match="can write there"):
        install(pair, "dovecot")


# --- renewals and restores --------------------------------------------------------------------------------------------


def test_a_renewal_reloads_them_without_ansible_and_again_when_that_failed(manager, hooked, capsys):
    lineage, settings = hooked
    (place,) = settings["certificates"]
    port = manager.serve("dovecot")
    _renewal_hook._deploy.apply(_renewal_hook.pending({**settings, "reload_services": ["dovecot"]}, None))
    chain, key = _self_signed.make(NAMES, 20)
    (lineage / "fullchain.pem").write_text(chain)
    (lineage / "privkey.pem").write_text(key)
    manager.unit("dovecot", Pid=manager.running["dovecot"].pid, Refuses="not now")
    assert _renewal_hook.main() == 1
    message = "reload_services: 'dovecot' does not run after its reload: not now; the certificate is installed"
    assert capsys.readouterr().err == f"kopano-hardening: {message}\n"
    assert Path(place["path"]).read_text() == chain
    # certbot's service calls it once more, half a day later.
    manager.unit("dovecot", Pid=manager.running["dovecot"].pid)
    assert _renewal_hook.main() == 0
    assert capsys.readouterr().out == "kopano-hardening: new certificate: dovecot\n"
    assert served(port) == _deploy.leaf_sha256(chain, "")
    assert _renewal_hook.main() == 0 and capsys.readouterr().out == ""


def test_the_settings_of_renewals_have_the_services(manager, hooked, monkeypatch):
    _lineage, settings = hooked
    manager.serve("dovecot")
    given = {**NOTHING, **settings["certificates"][0]}
    monkeypatch.setattr(_renewal_hook, "timer_runs", lambda: True)
    monkeypatch.setattr(_renewal_hook, "put", _deploy.apply)
    options = {**OPTIONS, "certificates": [given], "self_signed": None, "renewal": True}
    certificate_install.run({**options, "reload_services": ["dovecot"]}, False)
    assert json.loads(Path(_renewal_hook.SETTINGS).read_text())["reload_services"] == ["dovecot"]
    # A service that fails does not keep renewals from being configured.
    with pytest.raises(DeployError):
        certificate_install.run({**options, "reload_services": ["gone"]}, False)
    assert json.loads(Path(_renewal_hook.SETTINGS).read_text())["reload_services"] == ["gone"]


def test_a_restored_certificate_is_read_by_them_as_well(manager, pair, renewed):
    port = manager.serve("dovecot")
    (identifier,) = install(renewed, "dovecot")["kept"]
    assert restore(identifier, check=True, reload_services=["dovecot"])["services"] == ["dovecot"]
    assert served(port) == renewed.sha256
    assert restore(identifier, reload_services=["dovecot"])["services"] == ["dovecot"]
    assert served(port) == pair.sha256
    assert install(pair, "dovecot")["services"] == []
