# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which clients the policy for TLS locks out, and which of those that were seen."""

from __future__ import annotations

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data as _frontend_data
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients

DEFAULT = {"tls_ciphers": [], "tls_ciphersuites": [], "tls_groups": []}


def policy(profile="intermediate", **options):
    return _lost_clients.policy_of({**DEFAULT, **options}, _frontend_data.profiles()[profile])


def lost(ident, change="protocol", text="TLSv1.0"):
    client = _client_data.clients()[ident]
    return {"id": ident, "name": client.name, "version": client.version, "platform": client.platform,
            "change": change, "text": text}  # fmt: skip


def count(client, number, negotiated=None):
    return {"client": client, "negotiated": negotiated, "number": number}


def seen(*counts, gaps=()):
    return {"counts": list(counts), "days": 14, "files": 1, "lines": 9, "not_understood": 0, "first": None,
            "last": None, "gaps": list(gaps)}  # fmt: skip


def ids(findings):
    return {item["id"].rpartition(".")[2]: item["evidence"] for item in findings}


def test_the_policy_has_the_names_of_the_registry():
    found = policy()
    assert found.protocols == ["TLSv1.2", "TLSv1.3"] and found.groups[:2] == ["X25519MLKEM768", "x25519"]
    assert found.suites["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] == "ECDHE-RSA-AES128-GCM-SHA256"
    assert policy(tls_ciphers=["ECDHE-RSA-AES128-GCM-SHA256"]).suites.keys() == {
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    }  # fmt: skip


@pytest.mark.parametrize("options", [{"tls_ciphers": ["HIGH"]}, {"tls_groups": ["brainpoolP256r1"]}])
def test_what_a_cipher_string_comes_to_is_not_guessed(options):
    assert policy(**options) is None
    counts = seen(count("android-4.1.1", 2), count("safari-10-ios-10", 5))
    used = _lost_clients.usage(counts, None, {})
    assert (used.total, used.locked_out, used.unknown) == (7, {}, 7)
    # A rehearsal knows all the same.
    used = _lost_clients.usage(counts, None, {"android-4.1.1": lost("android-4.1.1")})
    assert (used.locked_out, used.unknown) == ({("Android 4.1.1", False): 2}, 5)


def test_clients_that_were_seen_are_counted_by_what_hardening_means_for_them():
    counts = seen(count("android-4.1.1", 2), count("outlook-2010-win-7", 1), count("android-9.0", 200), count(None, 11))
    found = ids(_lost_clients.findings([], counts, policy()))
    assert found == {
        "locked_out": "3 of 214 clients that used this host in the last 14 days could not connect after hardening: "
        "Android 4.1.1 (2, likely), Outlook 2010 Win 7 (1, likely)",
        "unknown": "11 of 214 clients",
    }
    assert _lost_clients.seen_lines(counts, policy(), {}) == [found["locked_out"]]


def test_a_profile_for_new_clients_locks_out_more():
    counts = seen(count("android-4.4.2", 3), count("firefox-100-win-10", 4))
    assert _lost_clients.usage(counts, policy(), {}).locked_out == {}
    assert _lost_clients.usage(counts, policy("modern"), {}).locked_out == {("Android 4.4.2", False): 3}


def test_what_was_negotiated_is_certain():
    old = [["TLSv1.0", "ECDHE-RSA-AES128-SHA"]]
    new = [*old, ["TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"]]
    weak = [["TLSv1.2", "AES128-SHA"]]
    counts = seen(
        count("android-9.0", 1, old), count("android-4.1.1", 2, new), count(None, 4, old), count(None, 8, weak)
    )
    used = _lost_clients.usage(counts, policy(), {})
    assert used.locked_out == {("programs that are not known", True): 12, ("Android 9.0", True): 1}
    assert used.unknown == 0
    (line,) = _lost_clients.seen_lines(counts, policy(), {})
    assert line.endswith(": programs that are not known (12), Android 9.0 (1)") and "likely" not in line


def test_nothing_is_reported_of_a_host_whose_clients_can_all_connect():
    counts = seen(count("android-9.0", 3))
    assert _lost_clients.findings([], counts, policy()) == [] and _lost_clients.seen_lines(counts, policy(), {}) == []
    assert _lost_clients.findings([], None, policy()) == [] and _lost_clients.seen_lines(None, policy(), {}) == []


def test_what_was_not_read_is_reported():
    (item,) = _lost_clients.findings(
        [], seen(gaps=["/var/log/a: Permission denied", "1 of 9 lines not understood"]), None
    )
    assert item["id"] == "frontend.clients.not_read"
    assert item["evidence"] == "/var/log/a: Permission denied; 1 of 9 lines not understood"


def test_clients_that_a_rehearsal_has_lost_are_one_line_and_named_in_the_report():
    suite = "TLS_RSA_WITH_AES_128_CBC_SHA"
    grades = [
        {"served": 60, "lost": [lost("android-2.3.7"), lost("ie-11-win-7", "suite", suite)]},
        {"served": 58, "lost": [lost("android-2.3.7"), lost("android-4.0.4")]},
        {"grade": "A+"},  # of a version before this one, kept by a host
    ]
    assert _lost_clients.lost_lines(grades) == [
        f"3 of the 60 simulated clients that connect now could not afterwards: TLSv1.0 (2), {suite} (1)"
    ]
    found = ids(_lost_clients.findings(grades, None, policy()))
    assert found == {"lost": f"TLSv1.0: Android 2.3.7, Android 4.0.4; {suite}: IE 11 Win 7"}
    assert _lost_clients.lost_lines([{"served": 60, "lost": []}]) == []


# The oldest clients of the TLS guideline 6.0, as far as they are simulated; of Edge 75 and Opera there is no recording.
GUIDELINE = {
    "intermediate": [
        "firefox-31.3.0-esr-win-7", "android-4.4.2", "chrome-49-xp-sp3", "edge-15-win-10", "ie-11-win-10", "java-8u161",
        "openssl-1.0.1l", "safari-9-ios-9", "safari-9-os-x-10.11",
    ],
    "modern": [
        "firefox-71-win-10", "android-10.0", "chrome-70-win-10", "java-11.0.2", "openssl-1.1.1d",
        "safari-12.1-ios-12.2",
    ],
}  # fmt: skip
# Chrome verifies signatures by the system's own code, and Windows XP has none of ECDSA.
ONLY_RSA = ["chrome-49-xp-sp3"]


@pytest.mark.parametrize(("profile", "ident"), [(name, ident) for name in GUIDELINE for ident in GUIDELINE[name]])
@pytest.mark.parametrize("key", ["rsa", "ecdsa"])
def test_the_oldest_clients_of_the_guideline_connect(profile, ident, key):
    chosen, client = policy(profile), _client_data.clients()[ident]
    got = _clients.expected(client, chosen.protocols, [*chosen.suites], chosen.groups, [key], False)
    assert got["ok"] is not (key == "ecdsa" and ident in ONLY_RSA), got["reason"]
