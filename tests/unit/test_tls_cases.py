# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hostile networks and servers, and the letters that are right: the same in both modes, and never a better one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

from . import tls_bed as bed
from . import tls_cases as cases
from . import tls_peers as peers
from .slow_bed import SLACK

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield cases.Servers(bed.Pki(tmp_path_factory.mktemp("cases")), stack)


@pytest.fixture(scope="module")
def trust(servers):
    return _prober.Trust(servers.pki.path("root.pem"))


def grade(where, trust, mode, timeout=30.0, **options):
    endpoint = {"host": "good.test", "address": "127.0.0.1", **where}
    return _grade.grade(_prober.probe(endpoint, mode, timeout, trust=trust, **options))


@pytest.mark.parametrize("case", cases.CASES, ids=[case.name for case in cases.CASES])
def test_both_modes_give_the_right_letter(servers, trust, case):
    letters = []
    for mode in ("quick", "full"):
        with case.serve(servers) as where:
            started = time.monotonic()
            result = grade(where, trust, mode, case.timeout)
            assert time.monotonic() - started < case.timeout + SLACK
        letters.append(result["grade"] or cases.NONE)
        if case.letter == cases.NONE:
            assert case.error in result["error"]
        elif not case.lossy:
            assert result["error"] is None
    if case.lossy:
        assert set(letters) <= {case.letter, cases.NONE}, letters
    else:
        assert letters == [case.letter, case.letter]


@pytest.mark.parametrize("letter", ["B", "F"])
def test_a_limit_on_connections_never_makes_it_better(servers, trust, letter):
    """Twenty-five whole runs: none is better than the server, and nearly all find out what it is."""
    with cases.limited(letter)(servers) as where:
        letters = [grade(where, trust, "full")["grade"] for _run in range(25)]
    assert set(letters) <= {letter, None}
    assert letters.count(letter) > 20


@pytest.mark.parametrize("program", ["tried.py", "oracles.py", "clients.py"])
def test_the_table_in_the_documentation_is_fresh(program):
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / program), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("mode", "most"), [("quick", 14), ("full", 45)])
def test_a_good_server_costs_few_connections(servers, trust, mode, most):
    """With two certificates, and plain HTTP on another port, as it is beside port 443."""
    servers.pki.leaf("ec", key="ec")
    port, plain = bed.free_ports(2)
    redirect = f"server {{ listen 127.0.0.1:{plain}; return 301 https://good.test/; }}\n"
    with bed.nginx(servers.folder, [bed.nginx_site(port, ["ec", "good"]), redirect], port):
        accepted = []

        def count(sock, over):
            accepted.append(1)
            peers.relay(sock, port)

        with peers.serving(count) as proxy:
            result = grade({"port": proxy}, trust, mode, http_port=plain)
    assert (result["grade"], result["error"], result["redirect"]["status"]) == ("A+", None, "https")
    assert result["certificate"]["others"]
    assert result["connections"] == len(accepted) + 1 <= most


def test_the_mode_does_not_change_the_score_of_a_server_with_weak_suites(servers, trust):
    """Strongest and weakest suite make the score of the ciphers, so that both have to be known."""
    ciphers = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-SHA:NULL-SHA256:@SECLEVEL=0"
    (port,) = bed.free_ports()
    site = bed.nginx_site(port, ["good"], protocols="TLSv1.2", ciphers=ciphers)
    with bed.nginx(servers.folder, [site], port):
        quick, full = (grade({"port": port}, trust, mode) for mode in ("quick", "full"))
    assert (quick["grade"], quick["scores"]) == (full["grade"], full["scores"])
    assert sorted(quick["ciphers"]["TLSv1.2"]) == sorted(full["ciphers"]["TLSv1.2"])


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases.FLOODS, ids=[case.name for case in cases.FLOODS])
def test_a_flood_does_not_hold_up_the_batch(servers, trust, case):
    with case.serve(servers) as where:
        endpoints = [
            {"host": "good.test", "port": port, "addresses": ["127.0.0.1"]}
            for port in (where["port"], servers.ports["A+"])
        ]
        started = time.monotonic()
        flood, good = _prober.probe_all(endpoints, "quick", 3, trust=trust, judge=_grade.grade)
        assert time.monotonic() - started < 3 + SLACK
    assert good["grade"] == "A+"
    assert flood["grade"] != "A+"
    assert flood["duration_ms"] <= (3 + SLACK) * 1000


@pytest.mark.parametrize("processes", [1, 2])
def test_what_cannot_be_interrupted_is_left_behind(servers, trust, monkeypatch, processes):
    """As if the library looped: that endpoint has no grade, in time, and the others have theirs."""
    real = _prober.Observer.run

    def run(self):
        if self._peer.name == "stuck.test":
            time.sleep(600)
        real(self)

    monkeypatch.setattr(_prober.Observer, "run", run)
    endpoints = [
        {"host": name, "port": servers.ports["A+"], "addresses": ["127.0.0.1"]} for name in ("stuck.test", "good.test")
    ]
    started = time.monotonic()
    stuck, good = _prober.probe_all(endpoints, "quick", 1.0, trust=trust, judge=_grade.grade, processes=processes)
    assert time.monotonic() - started < 1 + SLACK
    assert (stuck["grade"], stuck["error"]) == (None, "it kept the prober busy beyond the time limit")
    assert good["grade"] == "A+"


def test_a_process_that_does_not_end_is_ended():
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"it did not end within 0\.3 s"):
        Beside(lambda: time.sleep(600)).result(0.3)
    assert time.monotonic() - started < 0.3 + SLACK
    assert Beside(lambda: 1).result(5) == 1


def test_threads_of_an_endpoint_do_not_keep_the_process(servers):
    """Whatever a lane is stuck in."""
    script = (
        "import sys, time\n"
        f"sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober\n"
        "try:\n    _prober.within(0.2, lambda: _prober.together([lambda: time.sleep(600)]))\n"
        "except TimeoutError:\n    print('left')\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("left\n", "")
    assert time.monotonic() - started < 0.2 + SLACK


# --- what is returned ------------------------------------------------------------------------------------------------


def test_a_certificate_with_very_many_names_does_not_make_the_result_long(servers, trust):
    names = [f"a-name-that-is-rather-long-{number}.good.test" for number in range(1500)]
    servers.pki.leaf("names", names=("good.test", *names))
    (port,) = bed.free_ports()
    with bed.nginx(servers.folder, [bed.nginx_site(port, ["names"])], port):
        result = grade({"port": port}, trust, "quick")
    assert result["grade"] == "A+"
    assert len(result["certificate"]["names"]) == 100
    assert result["certificate"]["names"][0] == "good.test"
    assert result["cut"] == ["certificate.names: the first 100 of 1501"]
    assert len(json.dumps(result)) < 20000


def test_whatever_is_long_is_cut_and_marked_as_cut(servers, trust):
    urls = [f"http://ocsp.test/{number}" for number in range(120)]
    urls[0] += "/" + "x" * 1500
    more = "authorityInfoAccess=" + ",".join("OCSP;URI:" + url for url in urls) + "\n"
    servers.pki.leaf("long", names=("good.test",), more=more)
    (port,) = bed.free_ports()
    with bed.nginx(servers.folder, [bed.nginx_site(port, ["long"])], port):
        result = grade({"port": port}, trust, "quick")
    assert "certificate.ocsp_urls: the first 100 of 120" in result["cut"]
    assert "certificate.ocsp_urls[0]: the first 1000 of 1519 characters" in result["cut"]
    assert len(json.dumps(result)) < 20000


# --- what is lost and what is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_server_that_closes_on_suites_that_it_does_not_have_has_its_letter(servers, trust, mode):
    """Closing is its way to refuse, as two suites that do not exist show."""
    port = servers.ports["A+"]
    have = {0xC02F, 0xC030, 0xCCA8, 0x1301, 0x1302, 0x1303}

    def verdict(offer):
        if offer.version in (0x0303, 0x0304) and not have & set(offer.suites):
            return peers.closing
        return None

    with peers.gated(port, verdict) as proxy:
        result = grade({"port": proxy}, trust, mode)
    assert (result["error"], result["grade"]) == (None, "A+")


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_a_server_that_closes_on_all_that_it_refuses_shows_every_certificate(servers, trust, mode):
    """It has no more of them once it closes on what is left of the signature algorithms."""
    servers.pki.leaf("ec", key="ec")
    (port,) = bed.free_ports()

    def without_alerts(sock, _over, offer):
        peers.relay(sock, port, first=offer.raw, change=lambda sent: [] if sent[:1] == b"\x15" else [sent])

    with (
        bed.nginx(servers.folder, [bed.nginx_site(port, ["ec", "good"])], port),
        peers.gated(port, lambda offer: without_alerts if offer.version in (0x0303, 0x0304) else None) as proxy,
    ):
        result = grade({"port": proxy}, trust, mode, 20.0)
    assert (result["error"], result["grade"]) == (None, "A+")
    assert len(result["certificate"]["others"]) == 1


def test_oracles_are_looked_for_with_the_names_that_the_server_insists_on(servers, trust):
    (case,) = [case for case in cases.DEMANDING if case.name == "ALPN demanded"]
    with case.serve(servers) as where:
        seen = _prober.probe({"host": "good.test", "address": "127.0.0.1", **where}, "quick", trust=trust)
    assert seen["oracles"]["rsa"] is False


def test_a_server_that_stops_is_not_waited_for_with_every_query(servers, trust):
    """What it accepted before is no longer accepted: it is the server that is silent, and not about one offer."""
    count = []

    def handle(sock, over):
        count.append(1)
        if len(count) > 4:
            over.wait(30)
            return
        peers.relay(sock, servers.ports["A+"])

    started = time.monotonic()
    with peers.serving(handle) as proxy:
        result = grade({"port": proxy}, trust, "full", 6.0)
    assert result["error"] == "it stopped responding: no response in time"
    assert time.monotonic() - started < 5.9


def test_a_single_hello_that_is_always_closed_is_no_refusal_where_others_get_alerts(servers, trust):
    """The same closing, but suites that do not exist get an alert."""

    def verdict(offer):
        return peers.closing if offer.version == 0x0303 and 0x0001 in offer.suites else None

    with peers.gated(servers.ports["A+"], verdict) as proxy:
        result = grade({"port": proxy}, trust, "full")
    assert (result["grade"], result["error"]) == (
        None,
        "no letter without a clear result for TLSv1.2: connection closed",
    )
    assert result["unclear"] == [{"query": "TLSv1.2", "result": "connection closed"}]


def test_ssl2_has_no_alert_so_that_closing_refuses_it(servers, trust):
    with peers.gated(servers.ports["A+"], lambda offer: peers.closing if offer.version == 2 else None) as proxy:
        assert grade({"port": proxy}, trust, "quick")["grade"] == "A+"
    with peers.gated(servers.ports["A+"], lambda offer: peers.alert(80) if offer.version == 2 else None) as proxy:
        assert grade({"port": proxy}, trust, "quick")["error"].endswith("SSLv2: alert internal_error")


def test_a_cut_flight_is_queried_again(servers, trust):
    """The parameters come after the ServerHello; without them a weak group would go unseen."""
    cut = []

    def handle(sock, over, offer):
        if offer.version == 0x0303 and 0xC02F in offer.suites and len(cut) < 1:
            cut.append(1)
            cases._cut(servers.ports["A+"], 300)(sock, over, offer)
        else:
            peers.relay(sock, servers.ports["A+"], first=offer.raw)

    with peers.gated(servers.ports["A+"], lambda _offer: handle) as proxy:
        result = grade({"port": proxy}, trust, "full")
    assert cut == [1]
    assert (result["grade"], result["error"]) == ("A+", None)
    assert len(result["certificate"]["chain"]) == 2


def test_every_group_of_a_server_that_wants_key_shares(servers, trust):
    """Asked with shares, it lists what it lists without."""
    plain = grade({"port": servers.ports["A+"]}, trust, "full")
    with peers.gated(servers.ports["A+"], cases._no_empty_share) as proxy:
        shares = grade({"port": proxy}, trust, "full")
    assert sorted(shares["groups"]) == sorted(plain["groups"])
    assert sorted(shares["ciphers"]["TLSv1.3"]) == sorted(plain["ciphers"]["TLSv1.3"])
