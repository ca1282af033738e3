# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of two values is the stronger one: nothing is ever weakened, and what cannot be compared is not stronger."""

from __future__ import annotations

import re
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import policy_items as _policy_items
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.stronger import Hsts

# --- Strict-Transport-Security ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("max-age=31536000", Hsts(31536000)),
        ("max-age=0; includeSubDomains", Hsts(0, True)),
        (' MAX-AGE = "63072000" ;IncludeSubdomains; preload;', Hsts(63072000, True, True)),
        ("includeSubDomains; max-age=1", Hsts(1, True)),
        ("max-age=5; later=x; other", Hsts(5)),
        ("; max-age=5 ;;", Hsts(5)),
        ("max-age=99999999999999999999999", Hsts(2**31)),
        # Not what browsers accept (RFC 6797, section 6.1)
        ("", None),
        ("includeSubDomains", None),
        ("max-age", None),
        ("max-age=", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ('max-age="1', None),
        ("max-age=1; max-age=2", None),
        ("max-age=1; includeSubDomains; INCLUDESUBDOMAINS", None),
        ("max-age=1; includeSubDomains=yes", None),
        ("max-age=1, includeSubDomains", None),
        ("max-age=$seconds", None),
    ],
)
def test_a_header_is_read_as_browsers_read_it(text: str, policy: Hsts | None) -> None:
    assert _stronger.parse_hsts(text) == policy


YEAR, TWO_YEARS, SUB, PRELOAD = "max-age=31536000", "max-age=63072000", "; includeSubDomains", "; preload"


@pytest.mark.parametrize(
    ("policy", "own", "sent"),
    [
        (YEAR, TWO_YEARS + SUB + PRELOAD, TWO_YEARS + SUB + PRELOAD),
        (YEAR, "max-age=15768000" + SUB, YEAR + SUB),
        (TWO_YEARS + SUB, YEAR + PRELOAD, TWO_YEARS + SUB + PRELOAD),
        ("max-age=0", "max-age=300", "max-age=300"),
        # weaker, the same in other words, not valid, switched off
        (YEAR, "max-age=300", YEAR),
        (YEAR + SUB, 'INCLUDESUBDOMAINS;max-age="31536000"', YEAR + SUB),
        (YEAR, "max-age=63072000 includeSubDomains", YEAR),
        (YEAR, "max-age=0" + SUB + PRELOAD, YEAR),
        # A trial with minutes is not made a year for every name below; preload is never removed.
        (YEAR, "max-age=300" + SUB, YEAR),
        (YEAR, "max-age=300" + SUB + PRELOAD, YEAR + SUB + PRELOAD),
    ],
)
def test_the_stronger_of_both_headers_is_sent(policy: str, own: str, sent: str) -> None:
    assert _stronger.hsts(policy, own) == sent


SECONDS = st.one_of(st.integers(0, 2**31), st.sampled_from([0, 1, 300, 15551999, 15552000, 31536000, 63072000]))
HEADERS = st.builds(Hsts, SECONDS, st.booleans(), st.booleans())


@given(HEADERS)
def test_what_is_written_is_read_as_the_same(header: Hsts) -> None:
    assert _stronger.parse_hsts(str(header)) == header


@given(HEADERS, HEADERS)
def test_neither_header_is_weakened(policy: Hsts, own: Hsts) -> None:
    sent = _stronger.parse_hsts(_stronger.hsts(str(policy), str(own)))
    assert sent is not None
    assert sent.max_age >= policy.max_age
    assert sent.subdomains >= policy.subdomains and sent.preload >= policy.preload
    if own.max_age:
        assert sent.max_age >= own.max_age
        assert sent.preload >= own.preload
        assert sent.subdomains >= (own.subdomains and (own.preload or own.max_age >= _stronger.LASTING))
    # and nothing is added that neither of them says
    assert sent.max_age in (policy.max_age, own.max_age)
    assert sent.subdomains <= (policy.subdomains or own.subdomains)
    assert sent.preload <= (policy.preload or own.preload)


@given(HEADERS, HEADERS)
def test_a_second_run_comes_to_the_same_header(policy: Hsts, own: Hsts) -> None:
    once = _stronger.hsts(str(policy), str(own))
    assert _stronger.hsts(once, str(own)) == once
    # The live server sends by now what the first run made of both.
    assert _stronger.parse_hsts(_stronger.hsts(str(policy), once)) == _stronger.parse_hsts(once)


@pytest.mark.slow
@given(st.text(max_size=60))
def test_whatever_is_sent_the_policy_stays(own: str) -> None:
    sent = _stronger.parse_hsts(_stronger.hsts("max-age=31536000", own))
    assert sent is not None and sent.max_age >= 31536000


@given(HEADERS, HEADERS, HEADERS)
def test_the_order_of_several_own_headers_does_not_matter(policy: Hsts, one: Hsts, other: Hsts) -> None:
    there = _stronger.hsts(_stronger.hsts(str(policy), str(one)), str(other))
    back = _stronger.hsts(_stronger.hsts(str(policy), str(other)), str(one))
    assert _stronger.parse_hsts(there) == _stronger.parse_hsts(back)


# --- TLS -------------------------------------------------------------------------------------------------------------

P12, P13 = "TLSv1.2", "TLSv1.3"


@pytest.mark.parametrize(
    ("policy", "own", "kept"),
    [
        ([P12, P13], [P13], [P13]),
        ([P12, P13], [P12], [P12, P13]),
        ([P12, P13], ["TLSv1.0", P13], [P12, P13]),
        ([P12, P13], [], [P12, P13]),
        ([P13], [P12, P13], [P13]),
        (["TLSv1.0", P12, P13], [P12], [P12, P13]),
    ],
)
def test_protocols(policy: list[str], own: list[str], kept: list[str]) -> None:
    assert list(_stronger.protocols(policy, own)) == kept


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (["b", "a"], ["b", "a"]),
        (["a", "b", "c"], ["a", "b", "c"]),
        (["a", "x"], ["a", "b", "c"]),
        ([], ["a", "b", "c"]),
    ],
)
def test_suites(own: list[str], kept: list[str]) -> None:
    assert list(_stronger.suites(["a", "b", "c"], own)) == kept


@pytest.mark.parametrize(
    ("own", "stronger"),
    [
        (["X25519MLKEM768"], True),
        (["X25519MLKEM768", "P-256"], True),
        (["X25519", "secp384r1"], False),  # without the post-quantum one
        (["X25519MLKEM768", "X448"], False),
        (["X25519MLKEM768", "x25519", "secp256r1"], False),  # all of them
        (["auto"], False),
    ],
)
def test_groups(own: list[str], stronger: bool) -> None:
    policy = ["X25519MLKEM768", "X25519", "prime256v1"]
    assert list(_stronger.groups(policy, own)) == (own if stronger else policy)


def test_a_cipher_string_is_what_openssl_makes_of_it() -> None:
    few = _stronger.suites_of("ECDHE+AESGCM:!aNULL:@SECLEVEL=2")
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"} <= set(few)
    assert all(name.startswith("ECDHE-") for name in few)
    assert _stronger.suites_of("NO-SUCH-SUITE") == ()


# --- the same in directives ------------------------------------------------------------------------------------------

LAYOUTS = {layout.server: layout for layout in _layout.LAYOUTS}


def read(server: str, text: str) -> list[_webserver_model.Directive]:
    if server == "nginx":
        return _nginx.parse(text, "x")
    config = _webserver_model.Config("apache", _webserver_model.Files({"x": text}, disk=False))
    return _apache.read(config, LAYOUTS["apache"], "x")


@pytest.mark.parametrize(
    ("server", "levels", "item", "names"),
    [
        ("nginx", ["ssl_protocols TLSv1.3;", ""], "protocols", [P13]),
        ("nginx", ["ssl_protocols TLSv1.3;", "ssl_protocols TLSv1 TLSv1.2;"], "protocols", ["TLSv1.0", P12]),
        ("nginx", ["", "ssl_conf_command MinProtocol TLSv1.3;"], "protocols", [P13]),
        ("nginx", ["ssl_conf_command MinProtocol TLSv1.3;", "ssl_conf_command Options X;"], "protocols", None),
        ("nginx", ["ssl_ecdh_curve X25519:secp384r1;"], "groups", ["X25519", "secp384r1"]),
        ("nginx", ["ssl_conf_command Ciphersuites TLS_A:TLS_B;"], "ciphersuites", ["TLS_A", "TLS_B"]),
        ("apache", ["SSLProtocol all -TLSv1 -TLSv1.1 -SSLv3 -TLSv1.2"], "protocols", [P13]),
        ("apache", ["SSLProtocol -all +TLSv1.3", "SSLProtocol +TLSv1.2 TLSv1.3"], "protocols", [P13]),
        ("apache", ["SSLProtocol all", "SSLOpenSSLConfCmd MinProtocol TLSv1.2"], "protocols", [P12, P13]),
        ("apache", ["SSLOpenSSLConfCmd Groups X25519"], "groups", ["X25519"]),
        ("apache", ["SSLCipherSuite TLSv1.3 TLS_A"], "ciphersuites", ["TLS_A"]),
        ("apache", ["SSLCipherSuite SSL ECDHE-RSA-AES128-GCM-SHA256"], "ciphers", ["ECDHE-RSA-AES128-GCM-SHA256"]),
        ("apache", ["<IfModule x>\nSSLProtocol all\n</IfModule>"], "protocols", None),
    ],
)
def test_directives_are_read_as_the_server_reads_them(
    server: str, levels: list[str], item: str, names: list[str] | None
) -> None:
    found = _policy_items.settings(server, [read(server, text) for text in levels])
    assert (list(found[item][0]) if item in found else None) == names


@pytest.mark.parametrize("server", ["apache", "nginx"])
@pytest.mark.parametrize(
    ("item", "names"),
    [
        ("protocols", [P12, P13]),
        ("ciphers", ["ECDHE-RSA-AES128-GCM-SHA256"]),
        ("ciphersuites", ["TLS_AES_256_GCM_SHA384"]),
        ("groups", ["X25519", "secp384r1"]),
    ],
)
def test_what_is_written_for_a_server_is_read_as_the_same(server: str, item: str, names: list[str]) -> None:
    (directive,) = read(server, _policy_items.line(server, item, names))
    assert _policy_items.setting(server, directive) == (item, tuple(names))


@pytest.mark.parametrize(
    ("levels", "values"),
    [
        (['Header always set Strict-Transport-Security "a"'], ["a"]),
        (["Header set strict-transport-security: a", "Header onsuccess unset Strict-Transport-Security"], []),
        (["Header set Strict-Transport-Security a", "Header set Strict-Transport-Security b"], ["b"]),
        (["Header set Strict-Transport-Security a", "Header always append Strict-Transport-Security b"], ["a", "b"]),
        (['Header set Strict-Transport-Security a "expr=x"', "Header unset Strict-Transport-Security env=X"], ["a"]),
        (["Header set X-Other a", "RequestHeader set Strict-Transport-Security a"], []),
    ],
)
def test_what_apache_sends_is_what_its_directives_leave(levels: list[str], values: list[str]) -> None:
    found = _policy_items.apache_sends(_policy_items.HSTS, [read("apache", text) for text in levels])
    assert {value for value, _directive in found.values()} == set(values)


@pytest.mark.parametrize(
    ("levels", "merges", "values"),
    [
        (["add_header Strict-Transport-Security a;", ""], False, ["a"]),
        (["add_header Strict-Transport-Security a;", "add_header X-Y z;"], False, []),
        (["add_header Strict-Transport-Security a;", "add_header X-Y z;"], True, ["a"]),
        (["more_set_headers 'Strict-Transport-Security: a' 'X: b';", "add_header X-Y z;"], False, ["a"]),
        (["", "add_header strict-transport-security a always;"], False, ["a"]),
    ],
)
def test_what_nginx_sends_is_what_its_blocks_inherit(levels: list[str], merges: bool, values: list[str]) -> None:
    found = _policy_items.nginx_hsts([read("nginx", text) for text in levels], merges)
    assert [value for value, _directive in found] == values


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        ("ssl_session_tickets off;", True),
        ("ssl_session_tickets on;", False),
        ("ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;", True),
        ("ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_8_SHA256;", False),
        ("ssl_conf_command Options -SessionTicket,NoRenegotiation;", True),
        ("ssl_conf_command Options UnsafeLegacyRenegotiation;", False),
        ("ssl_conf_command SignatureAlgorithms ECDSA+SHA384:RSA+SHA384;", True),
        ("ssl_conf_command SignatureAlgorithms ECDSA+SHA384:RSA+SHA1;", False),
        ("ssl_conf_command CipherString ALL;", False),
        ("ssl_stapling on;", False),
    ],
)
def test_settings_that_only_take_away(text: str, strict: bool) -> None:
    assert _policy_items.is_strict(read("nginx", text)[0]) is strict


# --- headers of single paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "policy", "own", "stays"),
    [
        ("X-Frame-Options", "SAMEORIGIN", "deny", True),
        ("X-Frame-Options", "SAMEORIGIN", "ALLOW-FROM https://x", False),
        ("X-Frame-Options", "DENY", "DENY", False),
        ("Referrer-Policy", "strict-origin", "No-Referrer", True),
        ("Referrer-Policy", "strict-origin", "origin", False),
        ("Referrer-Policy", "no-referrer", "same-origin", False),
        ("Referrer-Policy", "no-such-policy", "no-referrer", False),
        ("X-Other", "a", "b", False),
    ],
)
def test_the_stronger_value_of_a_header_is_known(name: str, policy: str, own: str, stays: bool) -> None:
    pattern = _stronger.stronger(name, policy)
    assert bool(pattern and re.search(pattern, own, re.IGNORECASE)) is stays


@pytest.mark.parametrize(
    ("name", "own", "counts"),
    [
        ("Permissions-Policy", "camera=()", True),
        ("permissions-policy", 'camera=(self "https://x.example"), usb=*, interest-cohort=()', True),
        ("Permissions-Policy", "camera 'none'", False),
        ("Permissions-Policy", "camera=(), microphone 'none'", False),
        ("Permissions-Policy", "", False),
        ("Content-Security-Policy", "default-src 'self'", True),
        ("X-Frame-Options", "DENY", False),
    ],
)
def test_what_browsers_take_together_is_known(name: str, own: str, counts: bool) -> None:
    pattern = _stronger.beside(name)
    assert bool(pattern and re.search(pattern, own, re.IGNORECASE)) is counts


@pytest.mark.parametrize(
    ("name", "now", "was", "weaker"),
    [
        ("Strict-Transport-Security", "max-age=31536000", "max-age=63072000", True),
        ("Strict-Transport-Security", "", "max-age=1", True),
        ("Strict-Transport-Security", "max-age=1", "", False),
        ("X-Frame-Options", "SAMEORIGIN", "Deny", True),
        ("X-Frame-Options", "DENY", "sameorigin", False),
        ("X-Frame-Options", "", "SAMEORIGIN", True),
        ("X-Frame-Options", "SAMEORIGIN", "ALLOWALL", False),
        ("Referrer-Policy", "origin", "no-referrer", True),
        ("Permissions-Policy", "camera=()", "usb=()", True),
        ("Permissions-Policy", "usb=(), camera=()", "usb=()", False),
        ("Permissions-Policy", "camera=()", "usb 'none'", False),
        ("Content-Security-Policy", "script-src 'nonce-b', object-src 'none'", "script-src 'nonce-a'", False),
        ("Content-Security-Policy", "object-src 'none'", "script-src 'nonce-a'", True),
        ("X-Other", "", "x", False),
    ],
)
def test_a_weaker_response_is_known(name: str, now: str, was: str, weaker: bool) -> None:
    assert _stronger.is_weaker(name, now, was) is weaker


def test_the_module_and_the_comparison_know_the_same_groups() -> None:
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options

    spec: dict[str, t.Any] = _transaction_options.ARGUMENT_SPEC["policy"]["options"]["replace_stronger"]
    assert tuple(spec["choices"]) == _stronger.GROUPS
