# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the controller reports of a confirmation that does not reach its host, or comes too late.

Real confirmations are in the Molecule scenarios `verify` and `failure`.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.kopano.hardening.plugins.action import web_config
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import reach as _reach

from . import tls_bed as bed

ID = "000001-20260101T000000Z-abcdef"
DONE = {"changed": True, "phase": "commit"}
LATE = {
    "failed": True,
    "phase": "commit",
    "rolled_back": True,
    "msg": "commit failed, everything is back as it was: confirm: the host has already rolled it back",
}
CRASHED = {"failed": True, "msg": "", "module_stderr": "/bin/sh: python3: not found\n"}
LOST = AnsibleConnectionFailure("Connection timed out")


@pytest.fixture
def confirm(monkeypatch):
    """A function that confirms on a host whose connection gives these results, one for each attempt."""
    monkeypatch.setattr(web_config, "_objections", lambda *_given: [])
    monkeypatch.setattr(web_config.time, "sleep", lambda seconds: None)

    def confirmed(*results: t.Any) -> tuple[dict[str, t.Any], int]:
        action = web_config.ActionModule.__new__(web_config.ActionModule)
        left = list(results)

        def execute(name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
            assert (name, module_args) == ("kopano.hardening.web_config", {"confirm": ID})
            result = left.pop(0)
            if isinstance(result, Exception):
                raise result
            return dict(result)

        action._execute_module = execute
        action._templar = type("Templar", (), {"template": staticmethod(lambda text: text)})
        found = action._confirm({"transaction": ID, "probes": []}, 120, {"inventory_hostname": "192.0.2.1"})
        return found, len(results) - len(left)

    return confirmed


@pytest.mark.parametrize("results", [[DONE], [LOST, DONE], [CRASHED, DONE], [CRASHED, dict(DONE, changed=False)]])
def test_a_confirmation_is_sent_again_if_its_result_does_not_arrive(confirm, results):
    assert confirm(*results) == ({"phase": "commit"}, len(results))


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (LOST, "the connection to the host was lost: Connection timed out"),
        (CRASHED, "/bin/sh: python3: not found"),
        ({"failed": True}, "the host gave no reason"),
        ({"unreachable": True}, "the host gave no reason"),
    ],
)
def test_a_confirmation_that_does_not_arrive_reports_what_becomes_of_the_host(confirm, result, reason):
    found, attempts = confirm(result, result)
    assert found["failed"] and attempts == 2
    assert found["msg"] == (
        "the change could not be confirmed, the host rolls it back 120 s after it was made unless the confirmation of "
        f"{ID} has reached it: {reason}"
    )


def test_a_host_that_has_already_rolled_back_is_not_queried_again(confirm):
    found, attempts = confirm(LATE)
    assert attempts == 1
    assert found == {"failed": True, "msg": f"the change was not confirmed: {LATE['msg']}"}


# --- where it is seen from

PROBE = {"address": "127.0.0.1", "port": 443, "server_name": "a.test", "outside": True, "protocol": "TLSv1.3"}
PLAIN = {**PROBE, "port": 8443}
CLOSED = "a.test:443 (192.0.2.1): cannot connect: timed out"
GRADED = {
    "server_name": "a.test", "host": "192.0.2.1", "address": "127.0.0.1", "port": 443, "error": None,
    "hsts": {"status": "present"}, "grade_trust_ignored": "A+", "caps": [], "warnings": [],
}  # fmt: skip


@pytest.fixture
def seen(monkeypatch):
    """A function that confirms where port 443 is not reached from the controller, and what the host was asked."""

    def confirmed(
        confirm_from: str, graded: dict[str, t.Any], unreached: t.Any = None
    ) -> tuple[dict[str, t.Any], list[t.Any]]:
        action = web_config.ActionModule.__new__(web_config.ActionModule)
        called = []

        def objections(endpoints, expected, patience):
            return [CLOSED for endpoint in endpoints if endpoint["port"] == 443]

        def execute(name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
            called.append((name.rpartition(".")[2], module_args))
            return graded if name.endswith("tls_grade_info") else DONE

        monkeypatch.setattr(web_config, "_objections", objections)
        closed = lambda endpoints: [(one, "timed out") for one in endpoints if one["port"] == 443]  # noqa: E731
        monkeypatch.setattr(web_config._reach, "unreached", unreached or closed)
        action._execute_module = execute
        action._templar = type("Templar", (), {"template": staticmethod(lambda text: text)})
        result = {"transaction": ID, "probes": [PROBE, PLAIN]}
        return action._confirm(result, 120, {"inventory_hostname": "192.0.2.1"}, confirm_from), called

    return confirmed


@pytest.mark.parametrize(
    ("likely", "ungraded", "modules"),
    [
        (False, False, ["web_config"]),
        (False, True, ["web_config", "web_config_graded"]),
        (True, True, ["web_config_graded"]),
    ],
)
def test_the_prober_is_sent_where_there_is_something_to_change(likely, ungraded, modules):
    action = web_config.ActionModule.__new__(web_config.ActionModule)
    action.likely_to_change = likely
    called = []

    def execute(name, module_args, task_vars):
        called.append(name.rpartition(".")[2])
        first = name.endswith("web_config")
        return {"recovered": first and "by the first", **({"ungraded": True} if first and ungraded else {})}

    action._execute_module = execute
    result = action._transaction({}, {})
    assert called == modules
    assert result["recovered"] == ("by the first" if "web_config" in modules else None)


def test_a_change_that_the_controller_cannot_see_names_what_to_set(seen):
    found, called = seen("controller", {})
    assert found["failed"] and not called
    assert found["msg"].startswith(
        f"not confirmed, the host rolls the change back within 120 s: seen from the controller: {CLOSED}"
    )
    for name in ("harden_confirm_timeout", "frontend_confirm_timeout", "verify_endpoints", "verify_from: auto"):
        assert name in found["msg"]


@pytest.mark.parametrize(("confirm_from", "ports"), [("auto", [443]), ("host", [443, 8443])])
def test_a_host_confirms_itself_where_that_is_permitted(seen, confirm_from, ports):
    found, called = seen(confirm_from, {"results": [GRADED]})
    assert found == {"phase": "commit"}
    assert [name for name, _arguments in called] == ["tls_grade_info", "web_config"]
    asked = called[0][1]["endpoints"]
    assert [(one["port"], one["addresses"]) for one in asked] == [(port, ["127.0.0.1"]) for port in ports]


@pytest.mark.parametrize(
    ("graded", "words"),
    [
        ({"results": [{**GRADED, "error": "no TLS"}]}, "seen from the host itself: a.test:443 (127.0.0.1): no TLS"),
        ({"results": [{**GRADED, "grade_trust_ignored": "F"}]}, "seen from the host itself: "),
        ({"failed": True, "msg": "no python"}, "seen from the host itself: it could not grade itself: no python"),
    ],
)
def test_what_the_host_itself_finds_worse_is_not_confirmed(seen, graded, words):
    found, called = seen("auto", graded)
    assert found["failed"] and words in found["msg"]
    assert [name for name, _arguments in called] == ["tls_grade_info"]


def test_a_port_that_is_closed_is_not_confirmed_by_the_host(seen, monkeypatch):
    """The change may have closed it."""
    monkeypatch.setattr(_reach, "_refusal", lambda _where, _timeout: _reach.REFUSED)
    found, called = seen("auto", {"results": [GRADED]}, _reach.unreached)
    assert found["failed"] and found["msg"].startswith("not confirmed") and CLOSED in found["msg"]
    assert called == []


def test_a_place_that_there_is_none_is_refused_before_anything_is_done(monkeypatch):
    action = web_config.ActionModule.__new__(web_config.ActionModule)
    action._task = type("Task", (), {"args": {"confirm_from": "moon"}})
    monkeypatch.setattr(web_config.ActionBase, "run", lambda *_given: {})
    result = action.run(task_vars={})
    assert result["failed"] and result["msg"] == "confirm_from: 'moon' is none of controller, auto, host"


def test_of_names_that_are_set_up_in_the_same_way_one_is_graded_and_all_are_asked(tmp_path, monkeypatch):
    """One whose answer is not like theirs is graded as well, and one without an answer speaks against the change."""
    pki = bed.Pki(tmp_path)
    pki.leaf("all", key="ec")
    pki.leaf("own", key="ec")
    (port,) = bed.free_ports()
    sites = [
        bed.nginx_site(port, ["all"], names="a.test b.test c.test d.test"),
        bed.nginx_site(port, ["own"], names="own.test"),
        bed.nginx_site(port, ["all"], names="gone.test", more="ssl_reject_handshake on;"),
    ]
    graded: list[list[str]] = []
    probe_all = _prober.probe_all

    def noted(endpoints: list[t.Any], *rest: t.Any, **more: t.Any) -> list[t.Any]:
        graded.append([endpoint["server_name"] for endpoint in endpoints])
        return probe_all(endpoints, *rest, **more)

    monkeypatch.setattr(_prober, "probe_all", noted)

    def objections(*names: str, group: str | None = "5f2b") -> list[str]:
        graded.clear()
        endpoints = [{"host": "127.0.0.1", "port": port, "server_name": f"{name}.test"} for name in names]
        return web_config._objections([{**one, **({"group": group} if group else {})} for one in endpoints], [], 0.0)

    with bed.nginx(pki.folder, sites, port):
        assert objections("a", "b", "c", "d") == [] and graded == [["a.test"], ["b.test"]]
        assert objections("a", "b", "own", "c") == [] and graded == [["a.test"], ["b.test"], ["own.test"]]
        assert objections("a", "b", "c", group=None) == [] and graded == [["a.test"], ["b.test", "c.test"]]
        (words,) = objections("a", "b", "c", "gone")
        assert words.startswith(f"gone.test:{port} (127.0.0.1): ") and graded[-1] == ["gone.test"]
