# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints that the controller cannot connect to, and their grades by the host itself where that is permitted."""

from __future__ import annotations

import json
import socket
import types

import pytest

from ansible_collections.kopano.hardening.plugins.action import verify as _action
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import reach as _reach
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import RoleError

from . import tls_bed as bed


@pytest.fixture
def ports():
    """A port that accepts connections and says nothing, and one that refuses them."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        yield server.getsockname()[1], other.getsockname()[1]


def test_only_what_accepts_no_connection_at_any_address_is_unreached(ports):
    accepts, refuses = ports
    here = {"host": "127.0.0.1"}
    endpoints = [
        {**here, "port": accepts, "server_name": "a.test"},
        {**here, "port": refuses, "server_name": "a.test"},
        {**here, "port": refuses, "server_name": "b.test"},
        {"host": "name.invalid", "port": accepts},
        {"host": "name.invalid", "port": accepts, "addresses": ["127.0.0.2", "127.0.0.1"]},
    ]
    found = _reach.unreached(endpoints)
    assert [endpoint for endpoint, _reason in found] == endpoints[1:4]
    assert [reason for _endpoint, reason in found[:2]] == ["connection refused"] * 2
    assert found[2][1]


def test_silence_is_no_connection(monkeypatch):
    def silent(_where, timeout):
        assert timeout == _reach.TIMEOUT
        raise TimeoutError("timed out")

    monkeypatch.setattr(_reach.socket, "create_connection", silent)
    assert _reach.unreached([{"host": "192.0.2.1"}]) == [({"host": "192.0.2.1"}, "timed out")]


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        # A translation of addresses, or a name that only ssh knows.
        ("jump", ["127.0.0.1", "10.0.0.1"]),
        ("10.0.0.1", ["10.0.0.1"]),
    ],
)
def test_the_host_is_queried_at_addresses_of_its_own(host, addresses):
    common = {"port": 443, "outside": True, "server_name": "a.test"}
    targets = [
        {**common, "address": "127.0.0.1"},
        {**common, "address": "10.0.0.1"},
        {**common, "address": "10.0.0.2", "server_name": "b.test"},
        {**common, "address": "::1", "outside": False},
    ]
    endpoint = {"host": host, "port": 443, "server_name": "a.test"}
    assert _verify.own_addresses(endpoint, _verify.addresses_of(targets)) == addresses


# --- the role


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server on a port, and its authority."""
    folder = tmp_path_factory.mktemp("reach")
    pki = bed.Pki(folder)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    with bed.nginx(folder, [bed.nginx_site(port, ["good"])], port):
        yield port, pki.path("root.pem")


class Verify(_action.ActionModule):
    """The role's action for a host that is this machine under another address, which nobody can connect to."""

    def __init__(self, port, graded=None):
        self._task = types.SimpleNamespace(check_mode=False, args={"part": "grade"})
        self.port, self.graded, self.called = port, graded, []

    def query(self, _variables, *_parts, first=True):
        return {"frontend": {"servers": [], "vhosts": []}}

    def value(self, _variables, _name, default=None):
        return default

    def _execute_module(self, name, module_args, task_vars):
        self.called.append(module_args)
        if self.graded:
            return self.graded
        return tls_grade_info.run({"mode": "quick", "http": True, "ca_file": None, **module_args})


def grade(action, port, ca_file, place, variables=None, **more):
    options = {
        "from": place, "endpoints": [{"port": port, "server_name": "good.test"}], "virtual_hosts": True,
        "ca_file": ca_file, "fetch_issuers": False, "check_revocation": False, "mode": "full", "timeout": 10,
        "concurrency": 4,
        "minimum_grade": "F", "ignore_trust": False, "fail": True, "frontend_clients_required": [], **more,
    }  # fmt: skip
    # Nothing listens there: the host is known by an address that only others have.
    result = action.act(options, variables or {"inventory_hostname": "127.0.0.3"})
    return _host_fact.read(result)["verify"], result["lines"]


@pytest.mark.parametrize("place", ["auto", "host"])
def test_an_endpoint_that_is_not_reached_is_graded_on_the_host_and_says_so(served, place):
    port, ca_file = served
    action = Verify(port)
    kept, lines = grade(action, port, ca_file, place)
    (result,) = json.loads(kept["results"])
    assert result["error"] is None and result["grade"] not in (None, "T")  # the controller's authority counts there
    (arguments,) = action.called
    assert arguments["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert arguments["mode"] == "full" and result["clients"] == []
    (mark,) = [item for item in result["findings"] if item["id"] == "tls.endpoint.from_host"]
    assert mark["severity"] == "info" and mark["subject"] == f"good.test:{port} (127.0.0.1)"
    reason = "no connection from the controller: connection refused" if place == "auto" else "verify_from: host"
    assert mark["evidence"] == reason
    assert lines[0].endswith(f"; graded on the host itself ({reason})")
    assert kept["bad"] == []


def test_clients_are_simulated_for_the_report_and_for_those_that_are_required(served):
    """In full mode, and where some are required. The results are kept once for the host."""
    port, ca_file = served
    known = {"inventory_hostname": "127.0.0.1"}
    kept, _lines = grade(Verify(port), port, ca_file, "controller", known)
    clients = json.loads(kept["clients"])
    assert clients["android-9.0"] is True and clients["android-4.1.1"] is False
    (result,) = json.loads(kept["results"])
    assert result["clients"] == [] and not any(item["id"].startswith("tls.client.") for item in result["findings"])
    kept, _lines = grade(Verify(port), port, ca_file, "controller", known, mode="quick")
    assert kept["clients"] == "{}"
    required = ["android-9.0", "android-4.1.1"]
    more = {"mode": "quick", "frontend_clients_required": required}
    kept, _lines = grade(Verify(port), port, ca_file, "controller", known, **more)
    assert json.loads(kept["clients"]) == clients
    (result,) = json.loads(kept["results"])
    (refused,) = [item for item in result["findings"] if item["id"] == "tls.client.refused"]
    assert refused["subject"] == f"good.test:{port}" and refused["evidence"].startswith("android-4.1.1: alert ")


def test_by_default_it_is_not_graded_and_fails(served):
    port, ca_file = served
    action = Verify(port)
    kept, _lines = grade(action, port, ca_file, "controller")
    assert action.called == [] and kept["bad"]
    assert "cannot connect" in json.loads(kept["results"])[0]["error"]


def test_a_host_that_cannot_grade_itself_fails_with_the_reason(served):
    port, ca_file = served
    with pytest.raises(RoleError, match=r"^verify_from: auto: the host could not grade itself: no python"):
        grade(Verify(port, {"failed": True, "msg": "no python"}), port, ca_file, "auto")
