# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grades from the host itself, of a real server, and that nobody pays for them who does not ask."""

from __future__ import annotations

import ast
import contextlib
import types
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import prediction as _prediction
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client

from . import tls_bed as bed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A good name and one without HSTS on one port."""
    pki = bed.Pki(tmp_path_factory.mktemp("prediction"))
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    blocks = [bed.nginx_site(port, ["good"]), bed.nginx_site(port, ["good"], more="", names="bare.test")]
    with bed.nginx(pki.folder, blocks, port):
        yield port


def target(port, name):
    return {"address": "127.0.0.1", "port": port, "server_name": name, "path": "/"}


def test_each_endpoint_gets_its_own_grade(site):
    (closed,) = bed.free_ports()
    good, bare, nobody = _prediction.grade_all(
        [target(site, "good.test"), target(site, "bare.test"), target(closed, None)]
    )
    assert (good["grade"], good["grade_trust_ignored"], good["error"]) == ("T", "A+", None)
    assert [entry["id"] for entry in good["caps"]] == ["tls.certificate.untrusted"]
    assert (bare["grade_trust_ignored"], [entry["id"] for entry in bare["warnings"]]) == ("A", ["tls.hsts.absent"])
    assert (nobody["grade"], nobody["grade_trust_ignored"]) == (None, None)
    assert nobody["error"] == "cannot connect: connection refused"


def answered(port, name, **values):
    """A target with the answer that it gives."""
    one = target(port, name)
    return {**one, **_client.query(one, 10), "tls_group": "5f2b", **values}


def test_endpoints_that_are_alike_are_looked_at_once(site, monkeypatch):
    """HSTS is each one's own, and one whose handshake shows something else is looked at by itself."""
    looked_at = []
    probe = _prober.probe
    monkeypatch.setattr(_prober, "probe", lambda endpoint, *rest, **more: (
        looked_at.append(endpoint["server_name"]), probe(endpoint, *rest, **more))[1])  # fmt: skip
    good, bare = (answered(site, name) for name in ("good.test", "bare.test"))
    alone = _prediction.grade_all([target(site, name) for name in ("good.test", "bare.test")])
    looked_at.clear()
    assert _prediction.grade_all([good, bare]) == alone
    assert [entry["grade_trust_ignored"] for entry in alone] == ["A+", "A"] and looked_at == ["good.test"]
    others = ({"certificate": "00"}, {"cipher": "X"}, {"protocol": "TLSv1.2"}, {"tls_group": "0"}, {"tls_group": None})
    for different in (*others, {"server_name": None}, {"ok": False}):
        looked_at.clear()
        _prediction.grade_all([good, {**bare, **different}])
        assert looked_at == ["good.test", different.get("server_name", "bare.test")], different


def test_what_there_is_no_time_for_has_no_grade(site, monkeypatch):
    monkeypatch.setattr(_prediction, "SECONDS", 0.0)
    (entry,) = _prediction.grade_all([target(site, "good.test")])
    assert (entry["grade_trust_ignored"], entry["error"]) == (None, "no time left")


def test_grades_are_compared_endpoint_by_endpoint(site):
    now = _prediction.grade_all([target(site, "bare.test")])
    after = [dict(now[0], grade_trust_ignored="A+", warnings=[]), dict(now[0], server_name="new.test")]
    changed, new = _prediction.compared(after, now)
    assert (changed["now"]["grade_trust_ignored"], changed["grade_trust_ignored"]) == ("A", "A+")
    assert set(changed["now"]) == {"grade", "grade_trust_ignored", "protocols", "caps", "warnings", "error"}
    assert new["now"] is None and (new["served"], new["lost"]) == (0, [])
    assert changed["served"] > 30 and changed["lost"] == [] and "clients" not in changed


@pytest.fixture(scope="module")
def hardened(tmp_path_factory):
    """Grades of a server with TLS 1.0, and of the same one without."""
    pki = bed.Pki(tmp_path_factory.mktemp("clients"))
    pki.leaf("good", key="rsa")
    ports = bed.free_ports(2)
    protocols = ("TLSv1 TLSv1.1 TLSv1.2", "TLSv1.2")
    blocks = [
        bed.nginx_site(port, ["good"], chosen, "ALL:@SECLEVEL=0") for port, chosen in zip(ports, protocols, strict=True)
    ]
    with bed.nginx(pki.folder, blocks, ports[0]):
        before, after = (_prediction.grade_all([target(port, "good.test")]) for port in ports)
    return before, [dict(entry, port=ports[0]) for entry in after]


def test_clients_that_a_change_locks_out_are_found(hardened):
    before, after = hardened
    (entry,) = _prediction.compared(after, before)
    lost = {client["id"]: (client["change"], client["text"]) for client in entry["lost"]}
    assert lost["android-4.1.1"] == ("protocol", "TLSv1.0") and "android-4.4.2" not in lost
    assert entry["served"] > len(lost) > 3


def test_a_required_client_must_not_be_locked_out(hardened):
    before, after = hardened
    place = f"127.0.0.1:{before[0]['port']} (good.test)"
    refused = _prediction.locked_out(after, before, ["android-4.4.2", "android-4.1.1"])
    assert refused == f"Android 4.1.1 (android-4.1.1) could no longer connect to {place}: now it connects with TLSv1.0"
    assert _prediction.locked_out(after, before, ["android-4.4.2"]) is None
    # One that is locked out already is not by the change; at a new endpoint there is no before.
    assert _prediction.locked_out(after, after, ["android-4.1.1"]) is None
    assert "could no longer connect" in _prediction.locked_out(after, [], ["android-4.1.1"])
    unknown = [{**entry, "clients": [], "error": "no time left"} for entry in after]
    assert _prediction.locked_out(unknown, before, ["android-9.0"]) == (
        f"whether Android 9.0 (android-9.0) could connect to {place} is not known: no time left"
    )
    with pytest.raises(ValueError, match=r"'android-4\.1' is no client that is known here, near are android-4\.1\.1"):
        _prediction.locked_out(after, before, ["android-4.1"])


PLUGINS = Path(__file__).parents[2] / "plugins"
_SHARED = "ansible_collections.kopano.hardening.plugins.module_utils"


def shipped_with(path: Path, seen: set[str]) -> set[str]:
    """What Ansible packs for a module: all that it imports, and what that imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(_SHARED):
            continue
        below = node.module[len(_SHARED) + 1 :]
        # What is imported from a package is a module, and from a module a part of it.
        for name in {below, *(f"{below}.{alias.name}".lstrip(".") for alias in node.names)} - seen:
            file = PLUGINS.joinpath("module_utils", *name.split(".")).with_suffix(".py")
            if file.is_file():
                seen.add(name)
                shipped_with(file, seen)
    return seen


@pytest.mark.parametrize(("module", "graded"), [("web_config", False), ("web_config_graded", True)])
def test_the_prober_is_sent_to_hosts_where_something_changes(module, graded):
    """Each run would wait for it to be packed."""
    found = shipped_with(PLUGINS / "modules" / f"{module}.py", set())
    assert "_transaction.engine" in found
    assert ({"_transaction.prediction", "_tls.prober", "_x509.certificate"} <= found) is graded
    assert any(name.startswith("_tls.") for name in found) is graded


@pytest.mark.parametrize(("changes", "required", "refused"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_required_clients_that_were_not_simulated_stop_a_change(monkeypatch, changes, required, refused):
    """Where a rehearsed endpoint has no grade at all."""
    endpoint = {"address": "127.0.0.1", "port": 443, "server_name": None, "path": "/", "protocol": None, "headers": {}}
    rehearsed = {"method": "instance", "ok": True, "ms": 1.0, "start_ms": 1.0, "grading_ms": 0.0,
                 "endpoints": [endpoint], "responses": [], "listening": [], "refused": None, "grades": []}  # fmt: skip
    monkeypatch.setattr(_engine._rehearsal, "rehearse", lambda *_arguments: rehearsed)
    monkeypatch.setattr(_engine, "_shown", lambda target, _response: target)
    params = {"clients_required": ["android-9.0"] * required, "rehearse": "auto"}
    transaction = _engine._Transaction(params, True, None, lambda _step, _result: None)
    server = types.SimpleNamespace(listening=set, foreign_listening=set)
    stopped = pytest.raises(_engine._Stop, match="could not be determined") if refused else contextlib.nullcontext()
    with stopped:
        transaction._rehearse(server, None, [object()] * changes, [], [], {}, [])
