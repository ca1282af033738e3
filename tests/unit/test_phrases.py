# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints and numbers in messages."""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify


@pytest.mark.parametrize(
    ("host", "text"),
    [("2001:db8::1", "[2001:db8::1]:443"), ("192.0.2.1", "192.0.2.1:443"), ("a.test", "a.test:443"), ("*", "*:443")],
)
def test_an_ipv6_address_is_in_brackets(host, text):
    assert _phrases.host_port(host, 443) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1, 1, "host", "pass"), "1 of 1 host passes"),
        ((0, 1, "host", "pass"), "0 of 1 host passes"),
        ((1, 3, "host", "pass"), "1 of 3 hosts passes"),
        ((0, 3, "host", "pass"), "0 of 3 hosts pass"),
        ((2, 3, "endpoint", "are"), "2 of 3 endpoints are"),
        ((1, 3, "endpoint", "are"), "1 of 3 endpoints is"),
        ((1, 1, "endpoint"), "1 of 1 endpoint"),
    ],
)
def test_one_is_not_several(numbers, text):
    assert _phrases.of_all(*numbers) == text


def test_every_message_has_them_in_brackets():
    address = "2001:db8::1"
    observation = {"server_name": address, "address": address, "port": 443}
    assert _grade._subject(observation) == "[2001:db8::1]:443"
    assert _grade._subject({**observation, "server_name": "a.test"}) == "a.test:443 (2001:db8::1)"
    target = {"address": address, "port": 8443, "server_name": "a.test", "path": "/x"}
    assert _client.place(target) == "[2001:db8::1]:8443 (a.test) /x"
    before = {**target, "ok": True, "hsts": ""}
    assert _roles_updates.compare([before], []) == ["[2001:db8::1]:8443 /x: it is not served any more"]
    grade = {"server_name": address, "port": 443, "now": None, "grade_trust_ignored": "A", "caps": [], "warnings": []}
    assert _verify.predicted([{**grade, "error": None}])[0].startswith("[2001:db8::1]:443: ")
