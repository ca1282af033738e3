# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetching intermediate certificates: where to, how much, how long."""

from __future__ import annotations

import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import fetch as _fetch
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import issuer as _issuer
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as x509
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

from . import tls_bed as bed
from . import tls_peers as peers
from .slow_bed import SLACK
from .test_tls_trust import files, look

PUBLIC, PRIVATE, LOOPBACK = "93.184.215.14", "192.168.7.9", "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "port", "endpoint", "allowed"),
    [
        ("93.184.215.15", 80, PUBLIC, True),
        ("2606:2800:220:1::1", 80, PUBLIC, True),
        ("93.184.215.15", 8080, PUBLIC, False),
        (PUBLIC, 8080, PUBLIC, True),
        # What only this machine, or its network, can reach.
        ("127.0.0.1", 80, PUBLIC, False),
        ("::1", 80, PUBLIC, False),
        ("10.0.0.1", 80, PUBLIC, False),
        ("192.168.7.7", 80, PUBLIC, False),
        ("fd00::1", 80, PUBLIC, False),
        ("100.64.0.1", 80, PUBLIC, False),
        ("0.0.0.0", 80, PUBLIC, False),
        ("::", 80, PUBLIC, False),
        ("224.0.0.1", 80, PUBLIC, False),
        ("::ffff:127.0.0.1", 80, PUBLIC, False),
        ("::ffff:10.0.0.1", 80, PUBLIC, False),
        ("64:ff9b::7f00:1", 80, PUBLIC, False),
        ("64:ff9b::5db8:d70f", 80, PUBLIC, True),
        ("2002:7f00:1::", 80, PUBLIC, False),
        # The addresses of clouds where credentials lie are nobody's business.
        ("169.254.169.254", 80, PUBLIC, False),
        ("169.254.169.254", 80, PRIVATE, False),
        ("169.254.169.254", 80, LOOPBACK, False),
        ("fe80::1%eth0", 80, PRIVATE, False),
        # An endpoint of the same kind.
        ("10.0.0.1", 80, PRIVATE, True),
        ("10.0.0.1", 81, PRIVATE, False),
        (PRIVATE, 81, PRIVATE, True),
        ("127.0.0.1", 80, PRIVATE, False),
        ("10.0.0.1", 80, LOOPBACK, False),
        ("127.0.0.2", 80, LOOPBACK, True),
        (LOOPBACK, 81, LOOPBACK, True),
    ],
)
def test_where_to(address, port, endpoint, allowed):
    assert _fetch.is_allowed(address, port, endpoint) is allowed


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "ldap://127.0.0.1/x",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:80 80/",
        "http://127.0.0.1/\r\nX: y",
        "",
    ],
)
def test_only_plain_http(url):
    with pytest.raises(_fetch.NotFetched):
        _issuer.fetch(url, LOOPBACK, 1)


PEM = b"-----BEGIN CERTIFICATE-----%s-----END CERTIFICATE-----"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = bed.Pki(tmp_path_factory.mktemp("issuer"))
    made.run("x509", "-in", "middle.pem", "-outform", "DER", "-out", "middle.der")
    return made


@pytest.mark.parametrize("content", [b"A", b"\xee", b""])
def test_pem_that_holds_nothing(content):
    with pytest.raises(ParseError):
        [x509.read_certificate(der) for der in _issuer.read(PEM % content)]


def test_what_is_fetched(pki):
    with files(pki.folder) as port:
        here = f"http://127.0.0.1:{port}"
        (first,) = _issuer.fetch(here + "/middle.der", LOOPBACK, 3)
        assert _issuer.fetch(here + "/middle.pem", LOOPBACK, 3) == [first]
        # Nothing that a server says leads on from there.
        for path, words in (("/elsewhere", "302"), ("/endless", "longer than"), ("/root.key", "certificate")):
            with pytest.raises(_fetch.NotFetched, match=words):
                _issuer.fetch(here + path, LOOPBACK, 3)
        with pytest.raises(_fetch.NotFetched, match="no business"):
            _issuer.fetch(here + "/middle.der", PUBLIC, 3)


@pytest.mark.parametrize("name", ["hangs", "drips", "half a record, then nothing"])
def test_how_long(name):
    with peers.serving(peers.HOSTILE[name]) as port:
        started = time.monotonic()
        with pytest.raises(_fetch.NotFetched):
            _issuer.fetch(f"http://127.0.0.1:{port}/", LOOPBACK, 0.5)
        assert time.monotonic() - started < 0.5 + SLACK


def test_nothing_is_fetched_unless_it_may_be(pki):
    """The default of the code that hosts run themselves."""
    asked = []

    def handle(sock, _over):
        asked.append(sock.recv(4096))

    with peers.serving(handle) as port:
        pki.leaf("lost", more=f"authorityInfoAccess=caIssuers;URI:http://127.0.0.1:{port}/middle.der\n")
        (tls,) = bed.free_ports()
        with bed.nginx(pki.folder, [bed.nginx_site(tls, ["lost"], chain="pem")], tls):
            result = _grade.grade(look(tls, _prober.Trust(pki.path("root.pem"))))
            assert (result["grade"], asked) == (None, [])
            assert "fetch_issuers is off" in result["trust_unknown"]
            _grade.grade(look(tls, _prober.Trust(pki.path("root.pem"), fetch_issuers=True)))
            assert len(asked) == 1 and asked[0].startswith(b"GET /middle.der HTTP/1.0\r\n")
