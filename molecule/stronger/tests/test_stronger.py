# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual host has that is stronger than the policy is served after the hardening, named, and restored."""

from __future__ import annotations

import http.client
import ssl

import pytest
from frontends import TIMEOUT
from hardened import POLICY, changed, context, runs  # noqa: F401, a fixture

STRONGER = "max-age=63072000; includeSubDomains; preload"
BACKENDS = "max-age=40000000"
PORT = 8443
KINDS = ["harden", "again", "absent", "replace", "absent", "harden"]


@pytest.fixture
def shop(frontend):
    return f"shop.{frontend.host}.test"


@pytest.fixture
def results(runs, frontend):  # noqa: F811
    """The result of each run on this host."""
    assert [run.kind for run in runs] == KINDS
    return [run.results[frontend.host] for run in runs]


def hsts(frontend, port, name, path):
    connection = http.client.HTTPConnection(frontend.ipv4, port, timeout=TIMEOUT)
    try:
        connection.connect()
        connection.sock = context().wrap_socket(connection.sock, server_hostname=name)
        connection.request("GET", path, headers={"Host": name})
        return connection.getresponse().headers.get_all("Strict-Transport-Security")
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/other", "/none"])
def test_the_longer_hsts_and_preload_are_sent_everywhere(frontend, shop, path):
    assert hsts(frontend, PORT, shop, path) == [STRONGER]


@pytest.mark.parametrize("path", ["/", "/webapp/", "/webapp/none", "/none"])
def test_what_a_backend_sends_is_sent_for_the_whole_name(frontend, path):
    assert hsts(frontend, 443, frontend.name, path) == [BACKENDS]


def test_tls_1_3_stays_the_only_protocol(frontend, shop):
    assert frontend.refuses(shop, protocol=ssl.TLSVersion.TLSv1_2, port=PORT)
    assert frontend.handshake(shop, protocol=ssl.TLSVersion.TLSv1_3, port=PORT).protocol == "TLSv1.3"


def test_it_is_named_in_the_result_of_every_run(results, shop):
    for result in (results[0], results[1], results[5]):
        found = {(*entry["names"][:1], entry["item"]): (entry["value"], entry["policy"]) for entry in result["kept"]}
        assert found[shop, "hsts"] == (STRONGER, POLICY)
        assert found[shop, "protocols"] == ("TLSv1.3", "TLSv1.2 TLSv1.3")
        assert (BACKENDS, POLICY) in found.values()
        assert result["weakened"] == []
    for result in (results[0], results[5]):
        (line,) = [line for line in result["lines"] if ", kept (" in line]
        assert shop in line or "more" in line
    # A run that changes nothing says only that.
    assert results[1]["changed"] is False
    assert (results[1]["outcome"], results[1]["lines"]) == (["unchanged"], [])


def test_the_place_that_is_named_is_the_one_in_the_file(host, results, shop):
    for entry in results[5]["kept"]:
        if shop in entry["names"]:
            with host.sudo():
                text = host.file(entry["file"]).content_string
            line = text.splitlines()[entry["line"] - 1]
            assert "# kopano.hardening off: " in line
            assert "63072000" in line if entry["item"] == "hsts" else "TLSv1.3" in line


def test_the_second_run_changes_nothing(runs, results, frontend):  # noqa: F811
    assert not results[1]["changed"]
    assert results[1]["kept"] == results[0]["kept"]
    assert changed(runs[1].before[frontend.host], runs[1].after[frontend.host]) == []


def test_the_option_lets_the_policy_replace_it_and_names_what_is_weaker(results, shop):
    result = results[3]
    assert result["changed"] and result["kept"] == []
    weakened = {(entry["server_name"], entry["item"]): entry["before"] for entry in result["weakened"]}
    assert weakened[shop, "Strict-Transport-Security"] == STRONGER
    assert weakened[shop, "protocols"] == "TLSv1.3"
    (line,) = [line for line in result["outcome"] if line.startswith("weaker now than before: ")]
    assert f"{shop} Strict-Transport-Security ({STRONGER})" in line or "more" in line


@pytest.mark.parametrize("number", [2, 4])
def test_everything_is_restored_byte_for_byte(runs, frontend, number):  # noqa: F811
    before, after = runs[0].before[frontend.host], runs[number].after[frontend.host]
    assert changed(before, after, times=False) == []
