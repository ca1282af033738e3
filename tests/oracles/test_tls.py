# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Agreement with testssl.sh and sslyze on the servers of the bed: protocols, suites, groups, letter.

Slow, hence apart from the unit tests: `pytest tests/oracles -k sslyze` takes seconds a server, `-k testssl` a minute.
Every difference that is allowed is written down here with its reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _tls_grade, _tls_rules
from tests.unit import test_tls_bed as expected
from tests.unit import tls_bed as bed
from tests.unit.test_tls_bed import pki, sites, trust  # noqa: F401 - fixtures

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# sslyze asks with OpenSSL 1.0.2e and 1.1.1w. It never sees suites that neither has, nor those of TLS 1.3 beside these.
SSLYZE_PROTOCOLS = {
    "SSLv2": "ssl_2_0",
    "SSLv3": "ssl_3_0",
    "TLSv1.0": "tls_1_0",
    "TLSv1.1": "tls_1_1",
    "TLSv1.2": "tls_1_2",
    "TLSv1.3": "tls_1_3",
}
TESTSSL_PROTOCOLS = {
    "SSLv2": "SSLv2",
    "SSLv3": "SSLv3",
    "TLSv1.0": "TLS1",
    "TLSv1.1": "TLS1_1",
    "TLSv1.2": "TLS1_2",
    "TLSv1.3": "TLS1_3",
}
TESTSSL_SUITES = {"ssl3": "SSLv3", "tls1": "TLSv1.0", "tls1_1": "TLSv1.1", "tls1_2": "TLSv1.2", "tls1_3": "TLSv1.3"}
TESTSSL_GROUPS = {"prime256v1": "secp256r1", "X25519": "x25519", "X448": "x448"}

# Rules of the guide that testssl.sh does not have, whatever version of it it follows: it says of suites without
# authentication that it leaves them out of the rating, AEAD is not asked for, and parameters for DHE count only if that
# is what its own client is given first.
NEVER = ("tls.cipher.anonymous", "tls.cipher.no_aead", "tls.dh.weak", "tls.dh.very_weak")
OURS_ALONE = {
    # 2009r brought TLS 1.3, and HSTS that is switched off or invalid; a second header it never looks at.
    "2009q": (*NEVER, "tls.protocol.no_tls13", "tls.hsts.disabled", "tls.hsts.invalid"),
    # A known bug: without any header it gives A+.
    "2009r": (*NEVER, "tls.hsts.absent"),
}

SERVERS = list(expected.NGINX) + list(expected.OLD) + ["Debian 11"]


@pytest.fixture
def server(request, pki, sites):  # noqa: F811
    """The port of the server with this name."""
    name = request.param
    if name in sites:
        yield name, sites[name]
        return
    (port,) = bed.free_ports()
    debian_11 = name == "Debian 11"
    running = expected.debian_11_server(pki, port) if debian_11 else expected.old_server(pki, port, name)
    with running:
        yield name, port


def ours(port, trust):  # noqa: F811
    return _tls_grade.grade(expected.look(port, trust))


def suites(result, drop=()):
    return {protocol: sorted(names) for protocol, names in result["ciphers"].items() if protocol not in drop}


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_sslyze(server, trust, tmp_path):  # noqa: F811
    name, port = server
    program = os.path.join(CHECKOUT, ".venv-oracles", "bin", "sslyze")
    if not os.path.exists(program):
        program = shutil.which("sslyze") or pytest.skip("sslyze is not installed here: make oracles")
    answer = tmp_path / "sslyze.json"
    commands = ["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"]
    where = f"good.test:{port}{{127.0.0.1}}"
    subprocess.run(
        [program, *commands, "--mozilla_config", "disable", "--json_out", str(answer), where],
        stdout=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    (scan,) = json.loads(answer.read_text())["server_scan_results"]
    assert scan["connectivity_status"] == "COMPLETED", scan["connectivity_error_trace"]
    theirs = {}
    for protocol, key in SSLYZE_PROTOCOLS.items():
        attempt = scan["scan_result"][key + "_cipher_suites"]
        assert attempt["status"] == "COMPLETED", (protocol, attempt["error_trace"])
        accepted = [one["cipher_suite"]["name"] for one in attempt["result"]["accepted_cipher_suites"]]
        if accepted:
            theirs[protocol] = sorted(accepted)
    assert suites(ours(port, trust)) == theirs, name


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_testssl(server, pki, trust, tmp_path):  # noqa: F811
    name, port = server
    program = bed.program("testssl", "testssl.sh")
    answer = tmp_path / "testssl.json"
    options = ("--quiet", "--color", "0", "--warnings", "off", "--nodns=none", "--ip", "127.0.0.1")
    subprocess.run(
        [program, *options, "--add-ca", pki.path("root.pem"), "--jsonfile", str(answer), f"good.test:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=1800,
        check=False,
    )
    entries = json.loads(answer.read_text())
    theirs = {entry["id"]: entry["finding"] for entry in entries}
    result = ours(port, trust)

    offered = [one for one, key in TESTSSL_PROTOCOLS.items() if theirs[key].startswith("offered")]
    assert result["protocols"] == offered, name

    found: dict[str, list[str]] = {}
    for key, words in theirs.items():
        kind, _underscore, _code = key.partition("-")[2].rpartition("_")
        if key.startswith("cipher-") and kind in TESTSSL_SUITES:
            found.setdefault(TESTSSL_SUITES[kind], []).append(words.split()[-1])
    # It lists the suites of SSL 2.0 by names of its own.
    assert suites(result, drop=("SSLv2",)) == {key: sorted(names) for key, names in found.items()}, name

    groups = set((theirs.get("FS_ECDHE_curves", "") + " " + theirs.get("FS_KEMs", "")).split())
    groups = {TESTSSL_GROUPS.get(group, group) for group in groups if group not in ("No", "KEMs", "offered", "not")}
    assert {group for group in result["groups"] if not group.startswith("ffdhe")} == groups, name

    assert theirs["overall_grade"] == letter(result, theirs["rating_spec"]), name


def letter(result, specification):
    """The grade with the rules that this testssl.sh knows."""
    missing = next(rules for version, rules in OURS_ALONE.items() if version in specification)
    held = result["caps"] + result["warnings"]
    grades = [entry["grade"] for entry in held if entry["id"] not in missing]
    for mark in ("T", "M"):
        if mark in grades:
            return mark
    score = result["score"]
    if "tls.cipher.anonymous" in [entry["id"] for entry in held]:
        # Which is what makes the key exchange, and by it the whole, zero.
        score = _tls_grade.total(dict(result["scores"], key_exchange=90))
    by_score = next(letter for limit, letter in _tls_rules.LETTERS if score >= limit)
    return max([*grades, "A+" if by_score == "A" else by_score], key=_tls_rules.GRADES.index)
