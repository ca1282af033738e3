# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that mean no good: each ends within the time limit as an error, and the others get their grade."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

from . import tls_bed as bed
from . import tls_peers as peers
from .slow_bed import SLACK

# Servers, and nothing of ansible-core.
pytestmark = pytest.mark.slow

TIMEOUT = 3.0
# What the words of the error must contain, for those where they matter to a reader.
WORDS = {
    "hangs": "no response in time",
    "drips": "no response in time",
    "plain HTTP": "plain HTTP, not TLS",
    "HTML": "plain HTTP, not TLS",
    # The first connection may end before its answer is read; then the greeting of SSL 2.0 meets it.
    "SSH": ("not a TLS record", "not an SSL 2.0 record"),
    "garbage": ("not a TLS record", "not an SSL 2.0 record"),
    "oversized record": ("a record of 65535 bytes", "not an SSL 2.0 record"),
    "endless message": "a handshake message of 16777215 bytes",
    "a certificate that is none": "certificate",
    "markup instead of a certificate": "certificate",
    "a fatal alert": "handshake_failure",
}


@pytest.fixture(scope="module")
def trust():
    return _prober.Trust()


def endpoint(port, **more):
    return dict({"host": "good.test", "addresses": ["127.0.0.1"], "port": port}, **more)


def check_error(result):
    assert result["error"]
    assert (result["grade"], result["grade_trust_ignored"], result["score"]) == (None, None, None)
    assert [finding["id"] for finding in result["findings"]] == ["tls.endpoint.error"]
    assert "<script" not in str(result) or "<script" in result["error"]


def test_all_of_them_beside_a_good_one(tmp_path, trust):
    """In one call: everybody shares an address, takes turns, and none costs another its time."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    with contextlib.ExitStack() as stack:
        stack.enter_context(bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port))
        ports = [stack.enter_context(peers.serving(handle)) for handle in peers.HOSTILE.values()]
        own = _prober.Trust(pki.path("root.pem"))
        endpoints = [endpoint(one, host=f"h{one}.test") for one in ports] + [endpoint(port)]
        observations = _prober.probe_all(endpoints, "quick", TIMEOUT, trust=own)
    results = [_grade.grade(observation) for observation in observations]
    assert results[-1]["grade"] == "A+"
    for name, result in zip(peers.HOSTILE, results):  # noqa: B905 - Python 3.7
        check_error(result)
        assert result["duration_ms"] <= (TIMEOUT + SLACK) * 1000, name
        expected = WORDS.get(name, "")
        assert any(words in result["error"] for words in ([expected] if isinstance(expected, str) else expected)), (
            name,
            result["error"],
        )


@pytest.mark.parametrize("name", list(peers.HOSTILE))
def test_full_mode_ends_as_well(trust, name):
    with peers.serving(peers.HOSTILE[name]) as port:
        started = time.monotonic()
        observation = _prober.probe(dict(endpoint(port), address="127.0.0.1"), "full", 0.6, trust=trust)
    assert time.monotonic() - started < 0.6 + SLACK
    check_error(_grade.grade(observation))


def test_nothing_listens(trust):
    (port,) = bed.free_ports()
    (observation,) = _prober.probe_all([endpoint(port)], trust=trust)
    result = _grade.grade(observation)
    check_error(result)
    assert result["error"] == "cannot connect: connection refused"
    # One refusal is enough; only questions that were under way at that moment were asked in vain.
    assert result["connections"] <= 8


def test_no_such_name(trust):
    observations = _prober.probe_all([{"host": "no-such-name.invalid", "port": 443}], trust=trust)
    (result,) = [_grade.grade(observation) for observation in observations]
    check_error(result)
    assert result["error"].startswith("the name does not resolve")
    assert result["address"] == ""


def test_a_resolver_that_hangs(trust, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_options: time.sleep(600) or [])
    started = time.monotonic()
    observations = _prober.probe_all([{"host": "slow.test", "port": 443}], timeout=0.3, trust=trust)
    assert time.monotonic() - started < 0.3 + SLACK
    check_error(_grade.grade(observations[0]))


@pytest.mark.parametrize(
    "words", [b"* BYE go away\r\n", b"* OK hello\r\na NO\r\n", b"* OK\r\na OK\r\nmore", b"", b"x" * 300000]
)
def test_starttls_that_comes_to_nothing(trust, words):
    def handle(sock, _over):
        sock.sendall(words)
        while sock.recv(4096):
            pass

    with peers.serving(handle) as port:
        where = dict(endpoint(port, starttls="imap"), address="127.0.0.1")
        observation = _prober.probe(where, "quick", 1.0, trust=trust)
    check_error(_grade.grade(observation))


@pytest.mark.parametrize("how", ["silence", "closing", "resetting"])
def test_a_server_that_stops_answering(tmp_path, trust, how):
    """After some connections nobody is there any more: what was seen is not enough for a grade."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    count = []

    def handle(sock, over):
        count.append(1)
        if len(count) > 6:
            if how == "silence":
                over.wait(30)
            if how == "resetting":
                peers.HOSTILE["resets"](sock, over)
            return
        peers.relay(sock, port)

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port), peers.serving(handle) as proxy:
        where = dict(endpoint(proxy), address="127.0.0.1")
        result = _grade.grade(_prober.probe(where, "full", 1.0, trust=trust))
    check_error(result)


def test_silence_to_old_protocols_is_no_refusal(tmp_path, trust):
    """A middlebox that swallows SSL 3.0 hellos: no letter is given that SSL 3.0 might change, the rest is told."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()

    def handle(sock, over):
        import socket

        start = sock.recv(11, socket.MSG_PEEK)
        if start[9:11] == b"\x03\x00":
            over.wait(600)
        peers.relay(sock, port)

    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port), peers.serving(handle) as proxy:
        where = dict(endpoint(proxy), address="127.0.0.1")
        own = _prober.Trust(pki.path("root.pem"))
        # The rest has to be told within it, also on a busy machine.
        result = _grade.grade(_prober.probe(where, "quick", 8.0, trust=own))
    assert (result["grade"], result["grade_trust_ignored"], result["score"]) == (None, None, None)
    assert result["error"] == "no letter without a clear result for SSLv3: no response in time"
    assert result["unclear"] == [{"query": "SSLv3", "result": "no response in time"}]
    assert [entry["id"] for entry in result["warnings"]] == ["tls.probe.unclear"]
    assert {"tls.endpoint.error", "tls.probe.unclear"} <= {finding["id"] for finding in result["findings"]}
    assert "tls.protocol.sslv3" in [entry["id"] for entry in result["not_tested"]]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"* OK IMAP4rev1 ready\r\n", "not_applicable"),
        (b"+OK POP3 ready\r\n", "not_applicable"),
        (b"garbage\r\n", "error"),
        (b"HTTP/1.1 200 OK\r\n", "error"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000, "error"),
        (b"", "error"),
    ],
)
def test_what_is_not_http_inside_tls(tmp_path, answer, status):
    import ssl

    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.path("good.chain"), pki.path("good.key"))

    def handle(sock, _over):
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(answer)

    with peers.serving(handle) as port:
        where = dict(endpoint(port), address="127.0.0.1")
        own = _prober.Trust(pki.path("root.pem"))
        result = _grade.grade(_prober.probe(where, "quick", 5.0, trust=own))
    assert (result["error"], result["hsts"]["status"]) == (None, status)
    assert result["grade"] == ("A+" if status == "not_applicable" else "A")


@pytest.mark.parametrize("seed", range(8))
def test_a_proxy_that_flips_bytes(tmp_path_factory, trust, seed):
    """Whatever the damage, it ends in time without an exception, and never with a better grade than without."""
    pki = test_a_proxy_that_flips_bytes.pki = getattr(test_a_proxy_that_flips_bytes, "pki", None) or bed.Pki(
        tmp_path_factory.mktemp("flip")
    )
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port), peers.flipping(port, seed) as proxy:
        started = time.monotonic()
        where = dict(endpoint(proxy), address="127.0.0.1")
        result = _grade.grade(_prober.probe(where, "full", 1.0, trust=trust))
    assert time.monotonic() - started < 1 + SLACK
    assert result["error"] or result["grade"] == "T"


def test_never_more_than_eight_at_a_time(tmp_path, trust, monkeypatch):
    """Endpoints that share an address take turns; those that do not are looked at beside each other."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    lock, now, peak = threading.Lock(), collections.Counter(), collections.Counter()
    real = _handshake.Peer.connect

    @contextlib.contextmanager
    def counting(self, port=None):
        keys = (self.address, "all")
        with lock:
            now.update(keys)
            for key in keys:
                peak[key] = max(peak[key], now[key])
        try:
            with real(self, port) as connection:
                # Long enough to meet the others.
                time.sleep(0.01)
                yield connection
        finally:
            with lock:
                now.subtract(keys)

    monkeypatch.setattr(_handshake.Peer, "connect", counting)
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    sites = [bed.nginx_site(port, ["good"], address=address) for address in addresses]
    with bed.nginx(pki.folder, sites, port):
        endpoints = [endpoint(port, server_name=f"n{number}.test", addresses=addresses) for number in range(3)]
        observations = _prober.probe_all(endpoints, "full", trust=trust)
    assert [observation["error"] for observation in observations] == [None] * 9
    assert [peak[address] for address in addresses] == [8, 8, 8]
    assert peak["all"] > 8


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    """Nine endpoints, three names at each of three addresses."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"], address=address) for address in addresses], port):
        yield [endpoint(port, server_name=f"n{number}.test", addresses=addresses) for number in range(3)]


def judged(observation):
    return [observation["server_name"], observation["address"], observation["error"], os.getpid()]


def test_processes_share_the_addresses_out(three, trust):
    alone = _prober.probe_all(three, "quick", trust=trust, judge=judged)
    shared = _prober.probe_all(three, "quick", trust=trust, judge=judged, processes=2)
    assert [one[:3] for one in shared] == [one[:3] for one in alone]
    assert {one[3] for one in alone} == {os.getpid()} and {one[2] for one in alone} == {None}
    by_address = collections.defaultdict(set)
    for _name, address, _error, process in shared:
        by_address[address].add(process)
    assert all(len(processes) == 1 for processes in by_address.values())
    assert len(set.union(*by_address.values())) == 2 and os.getpid() not in set.union(*by_address.values())


def test_processes_part_one_address_and_its_connections(tmp_path, trust, monkeypatch):
    """The names of one server: no process is idle, and the server meets no more connections than from one process."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    lock, now, peak = multiprocessing.Lock(), multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
    real = _handshake.Peer.connect

    @contextlib.contextmanager
    def counting(self, port=None):
        with lock:
            now.value += 1
            peak.value = max(peak.value, now.value)
        try:
            with real(self, port) as connection:
                time.sleep(0.01)  # long enough to meet the others
                yield connection
        finally:
            with lock:
                now.value -= 1

    monkeypatch.setattr(_handshake.Peer, "connect", counting)
    names = [f"n{number}.test" for number in range(12)]
    endpoints = [endpoint(port, server_name=name, addresses=["127.0.0.1"], group="alike") for name in names]
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port):
        seen = _prober.probe_all(
            endpoints, trust=trust, judge=lambda one: [*judged(one), one["ciphers_from"]], processes=2
        )
    assert [one[0] for one in seen] == names
    assert {one[2] for one in seen} == {None}
    assert [len({one[3] for one in part}) for part in (seen, seen[:6], seen[6:])] == [2, 1, 1]
    # Each process has looked at one of its names in full.
    assert [one[4] for one in seen] == [None, *["n0.test"] * 5, None, *["n6.test"] * 5]
    assert 4 < peak.value <= 8


def test_what_a_lost_process_was_to_query_has_no_grade(three, trust, monkeypatch):
    fork, forked = os.fork, []

    def noted():
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", noted)

    def ends(observation):
        if observation["address"] == "127.0.0.2" and not observation["error"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return judged(observation)

    seen = _prober.probe_all(three, "quick", trust=trust, judge=ends, processes=3)
    errors = {address: {one[2] for one in seen if one[1] == address} for address in ("127.0.0.1", "127.0.0.2")}
    assert errors == {"127.0.0.1": {None}, "127.0.0.2": {"not queried: it ended without a result"}}
    assert len(seen) == 9
    assert len(forked) == 4  # one for the names
    for child in forked:
        with pytest.raises(ChildProcessError):  # nothing of it is left
            os.waitpid(child, os.WNOHANG)


def test_names_that_do_not_resolve_and_more_processes_than_addresses(trust):
    seen = _prober.probe_all(
        [{"host": "no-such-name.invalid", "port": 443}], trust=trust, judge=lambda one: one["error"], processes=4
    )
    assert len(seen) == 1 and seen[0].startswith("the name does not resolve")
