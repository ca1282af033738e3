# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endpoints that the caller has grouped: what is listed once, what each has by itself, and which are not alike."""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import alike as _alike
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

from . import tls_bed as bed
from . import tls_peers as peers

pytestmark = pytest.mark.slow

ALL = [f"{name}.test" for name in ("one", "two", "three", "bare", "weak", "weaker", "old", "both", "short", "new")]
SHORT_TAGS = "ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_8_SHA256;"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server whose names are not all set up in the same way: PKI and port."""
    pki = bed.Pki(tmp_path_factory.mktemp("alike"))
    pki.leaf("all", key="rsa", names=ALL)
    pki.leaf("all_ec", key="ec", names=ALL)
    pki.leaf("own", key="rsa", names=("own.test",))
    (port,) = bed.free_ports()
    site = [
        bed.nginx_site(port, ["all"], names="one.test two.test three.test stranger.test"),
        bed.nginx_site(port, ["all"], names="bare.test", more=""),
        bed.nginx_site(port, ["all"], names="weak.test", ciphers=bed.GOOD12 + ":AES128-SHA"),
        bed.nginx_site(port, ["all"], names="weaker.test", ciphers=bed.GOOD12 + ":AES128-SHA:AES256-SHA"),
        bed.nginx_site(port, ["all", "all_ec"], names="both.test"),
        bed.nginx_site(port, ["own"], names="own.test"),
    ]
    with bed.nginx(pki.folder, site, port):
        yield pki, port


def graded(site, *names, mode="full", group="the virtual hosts", **more):
    """The result of each name, by name."""
    pki, port = site
    endpoints = [
        {"host": name, "port": port, "addresses": ["127.0.0.1"], **({"group": group} if group else {}), **more}
        for name in names
    ]
    trust = _prober.Trust(pki.path("root.pem"))
    results = _prober.probe_all(endpoints, mode, trust=trust, judge=_grade.grade)
    assert [result["server_name"] for result in results] == list(names)
    return {result["server_name"]: result for result in results}


def test_one_of_those_that_are_alike_has_the_full_look(site):
    found = graded(site, "one.test", "two.test", "three.test")
    assert [result["ciphers_from"] for result in found.values()] == [None, "one.test", "one.test"]
    assert {result["grade"] for result in found.values()} == {"A+"}
    first, *others = found.values()
    for result in others:
        assert {key: result[key] for key in ("ciphers", "cipher_order", "groups", "scores", "not_tested")} == {
            key: first[key] for key in ("ciphers", "cipher_order", "groups", "scores", "not_tested")
        }
        assert result["features"]["client_renegotiation"] is False  # which a full look alone finds out
        assert result["connections"] <= 7 < 16 < first["connections"]
        assert result["certificate"]["sha256"] == first["certificate"]["sha256"]


def test_they_come_to_what_each_alone_comes_to(site):
    names = ("one.test", "two.test", "bare.test")
    together, alone = graded(site, *names), graded(site, *names, group=None)
    assert [result["ciphers_from"] for result in alone.values()] == [None] * 3
    assert min(result["connections"] for result in alone.values()) > 16
    for name in names:
        for key in ("grade", "score", "protocols", "hsts", "caps", "warnings", "findings"):
            assert together[name][key] == alone[name][key], (name, key)


def test_what_belongs_to_the_name_is_the_names_own(site):
    found = graded(site, "one.test", "bare.test", "stranger.test")
    assert [result["ciphers_from"] for result in found.values()] == [None, "one.test", "one.test"]
    assert (found["bare.test"]["grade"], found["bare.test"]["hsts"]["status"]) == ("A", "absent")
    assert (found["stranger.test"]["grade"], found["stranger.test"]["certificate"]["name_match"]) == ("M", False)
    assert found["one.test"]["grade"] == "A+"
    subjects = {finding["subject"] for finding in found["bare.test"]["findings"]}
    assert subjects == {f"bare.test:{site[1]} (127.0.0.1)"}


@pytest.mark.parametrize(("name", "grade"), [("weak.test", "B"), ("own.test", "A+"), ("both.test", "A+")])
def test_one_that_is_not_alike_has_its_own_look(site, name, grade):
    """Another suite, another certificate, a second one; wherever it stands among the others."""
    for order in (("one.test", name, "two.test"), (name, "one.test", "two.test")):
        found = graded(site, *order)
        assert (found[name]["grade"], found[name]["ciphers_from"]) == (grade, None)
        assert (found["two.test"]["grade"], found["two.test"]["ciphers_from"]) == ("A+", "one.test")
    assert ("TLS_RSA_WITH_AES_128_CBC_SHA" in found[name]["ciphers"]["TLSv1.2"]) is (name == "weak.test")


def test_names_that_a_proxy_hands_on_to_another_server_are_not_alike(site):
    """The certificate is the same, and so is what a client of today gets."""
    pki, port = site
    (old,) = bed.free_ports()
    protocols = "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"
    server = bed.nginx_site(old, ["all"], protocols, bed.GOOD12 + ":ECDHE-RSA-AES128-SHA:@SECLEVEL=0", names="old.test")

    def hand_on(sock, _over):
        peers.relay(sock, old if b"old.test" in peers.peek(sock) else port)

    with bed.nginx(pki.folder, [server], old), peers.serving(hand_on) as front:
        found = graded((pki, front), "one.test", "old.test", "two.test")
    assert [result["ciphers_from"] for result in found.values()] == [None, None, "one.test"]
    assert [result["grade"] for result in found.values()] == ["A+", "B", "A+"]


@pytest.mark.parametrize(
    ("name", "protocols", "ciphers", "more"),
    [
        ("old.test", "TLSv1 TLSv1.1", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0", bed.HSTS),
        ("new.test", "TLSv1.3", bed.GOOD12, bed.HSTS),
        ("short.test", "TLSv1.2 TLSv1.3", bed.GOOD12 + ":@SECLEVEL=0", bed.HSTS + SHORT_TAGS),
    ],
)
def test_nor_is_another_server_that_differs_in_a_protocol_alone(site, name, protocols, ciphers, more):
    """It has nothing but those before TLS 1.2, or not TLS 1.2, or a suite of TLS 1.3 more."""
    pki, port = site
    (other,) = bed.free_ports()

    def hand_on(sock, _over):
        peers.relay(sock, other if name.encode() in peers.peek(sock) else port)

    server = bed.nginx_site(other, ["all"], protocols, ciphers, more, names=name)
    with bed.nginx(pki.folder, [server], other), peers.serving(hand_on) as front:
        found = graded((pki, front), "one.test", name, "two.test")
        alone = graded((pki, front), name, group=None)
    assert [result["ciphers_from"] for result in found.values()] == [None, None, "one.test"]
    for key in ("grade", "protocols", "ciphers", "caps"):
        assert found[name][key] == alone[name][key]
    assert alone[name] != found["one.test"]


def test_those_that_accept_what_they_should_not_are_compared_in_all_of_it(site):
    """The suite that both choose first says nothing about the others that they accept."""
    found = graded(site, "weak.test", "weaker.test", "weak.test")
    weak, weaker = found["weak.test"], found["weaker.test"]
    assert (weak["ciphers_from"], weaker["ciphers_from"]) == ("weak.test", None)  # of the second one with that name
    assert "TLS_RSA_WITH_AES_256_CBC_SHA" in weaker["ciphers"]["TLSv1.2"]
    assert "TLS_RSA_WITH_AES_256_CBC_SHA" not in weak["ciphers"]["TLSv1.2"]


def test_other_groups_ports_and_protocols_are_no_others(site):
    assert graded(site, "one.test")["one.test"]["ciphers_from"] is None
    endpoint = {"host": "one.test", "port": 443, "group": "a"}
    different = [{**endpoint, "port": 444}, {**endpoint, "group": "b"}, {**endpoint, "starttls": "imap"}]
    assert _alike.groups([endpoint, *different, {**endpoint, "group": None}]) == set()
    assert _alike.groups([endpoint, *different, {**endpoint, "starttls": "none"}]) == {(443, "none", "a")}


def test_a_quick_grade_shares_nothing(site):
    found = graded(site, "one.test", "two.test", mode="quick")
    assert [result["ciphers_from"] for result in found.values()] == [None, None]


def test_what_was_not_seen_whole_is_alike_nothing():
    looks = []

    def look(endpoint, mode):
        looks.append((endpoint["host"], mode))
        return {"error": "too slow for the time limit", "connections": 1}

    def take_over(*_arguments):
        raise AssertionError("there is nothing to take over")

    alike = _alike.Alike(look, take_over)
    for name in ("one.test", "two.test"):
        lost = _alike.Glance(None, {"status": "error"}, {"status": "error"}, {}, 1, 1)
        assert alike({"host": name, "port": 443, "group": "a"}, lost)["error"]
    assert looks == [(name, mode) for name in ("one.test", "two.test") for mode in ("quick", "full")]


def test_a_full_look_that_was_lost_is_taken_over_by_none():
    looks = []

    def look(endpoint, mode):
        looks.append((endpoint["host"], mode))
        return {"error": None, "lost": [{"query": "TLSv1.1", "result": "connection closed"}], "connections": 30}

    def take_over(*_arguments):
        raise AssertionError("what was lost must not count for another name")

    alike = _alike.Alike(look, take_over)
    for name in ("one.test", "two.test"):
        same = _alike.Glance("the same", {"status": "absent"}, {"status": "closed"}, {}, 7, 1)
        assert alike({"host": name, "port": 443, "group": "a"}, same)["connections"] == 37
    assert looks == [(name, "full") for name in ("one.test", "two.test")]
