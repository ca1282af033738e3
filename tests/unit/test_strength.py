# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A transaction that would weaken what the live server sends, on real files with responses that a test gives."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import strength as _strength

from . import web_bed
from .test_transaction import ENDPOINT, Bed, answered
from .test_transaction import bed as bed

HSTS = "max-age=31536000"
STRONGER = "max-age=63072000; includeSubDomains; preload"
SITE = "http {\nserver {\nlisten 443 ssl;\nserver_name shop.example;\n}\n}\n"
SHOP = dict(ENDPOINT, server_name="shop.example", block=("/site", 1), outside=True)


def sends(value: str | None) -> dict[str, t.Any]:
    return dict(answered(True), headers={} if value is None else {"strict-transport-security": [value]})


class Host:
    """A host whose live server sends one value before the reload and another one after it."""

    def __init__(self, bed: Bed, monkeypatch: pytest.MonkeyPatch, before: str | None, after: str | None) -> None:
        self.bed = bed
        self.values = {False: before, True: after}
        self.sent: list[t.Any] = []
        (bed.conf / "nginx.conf").write_text("events { }\n" + SITE)
        (bed.conf / "kopano-hardening").mkdir()
        monkeypatch.setattr(_engine._client, "query_all", self.respond)
        monkeypatch.setattr(_engine._probes, "targets_of", lambda vhosts: [SHOP])
        monkeypatch.setattr(_engine._adopt._probes, "targets_of", self.targets_of)

    @staticmethod
    def targets_of(vhosts: t.Iterable[t.Any]) -> list[dict[str, t.Any]]:
        return [dict(SHOP, block=(vhost.file, vhost.line)) for vhost in vhosts if vhost.tls] or [SHOP]

    def respond(self, targets: t.Sequence[t.Any], _timeout: float) -> list[dict[str, t.Any]]:
        value = self.values["reload" in self.bed.server.calls]
        return [sends(value) for _target in targets]

    def options(self, **policy: t.Any) -> dict[str, t.Any]:
        folder = self.bed.conf / "kopano-hardening"
        files = {
            "tls": "ssl_protocols TLSv1.2 TLSv1.3;\n",
            "headers": f'add_header Strict-Transport-Security "{HSTS}" always;\n',
        }
        return {
            "files": [{"path": str(folder / f"{name}.conf"), "content": text} for name, text in files.items()],
            "adopt": True,
            "policy": {**{name: str(folder / f"{name}.conf") for name in files}, **policy},
            "probes": [{"path": "/probed"}],
        }


def test_what_only_the_live_server_shows_stays(bed, monkeypatch):
    host = Host(bed, monkeypatch, STRONGER, STRONGER)
    result = bed.run(**host.options())
    assert [(entry["item"], entry["value"], entry["names"]) for entry in result["kept"]] == [
        ("hsts", STRONGER, ["shop.example"])
    ]
    assert (result["weakened"], result["changed"]) == ([], True)
    text = (bed.conf / "nginx.conf").read_text()
    assert f'add_header Strict-Transport-Security "{STRONGER}" always;' in text
    again = bed.run(**host.options())
    assert (again["changed"], again["kept"]) == (False, result["kept"])
    assert bed.run(files=[], restore="original")["weakened"] == []
    assert (bed.conf / "nginx.conf").read_text() == "events { }\n" + SITE


def test_a_change_that_weakens_what_is_sent_is_rolled_back(bed, monkeypatch):
    """Whatever the reason is: here the server sends something else than its configuration says."""
    host = Host(bed, monkeypatch, STRONGER, HSTS)
    message, result = bed.fails(**host.options())
    assert result["rolled_back"] and result["phase"] == "probe"
    assert STRONGER in message and HSTS in message and "frontend_replace_stronger" in message
    assert (bed.conf / "nginx.conf").read_text() == "events { }\n" + SITE


def test_a_site_that_replaces_a_stronger_one_needs_the_option_too(bed, monkeypatch):
    host = Host(bed, monkeypatch, STRONGER, HSTS)
    message, _result = bed.fails(**dict(host.options(), adopt=False))
    assert STRONGER in message
    bed.server.calls.clear()
    result = bed.run(**dict(host.options(replace_stronger=["hsts"]), adopt=False))
    assert [(entry["item"], entry["before"], entry["after"]) for entry in result["weakened"]] == [
        ("Strict-Transport-Security", STRONGER, HSTS)
    ]


def test_an_option_lets_what_is_sent_become_weaker_and_names_it(bed, monkeypatch):
    host = Host(bed, monkeypatch, STRONGER, HSTS)
    result = bed.run(**host.options(replace_stronger=["hsts"]))
    (entry,) = result["weakened"]
    where = (entry["server_name"], entry["port"], entry["path"])
    assert (where, entry["before"]) == (("shop.example", 443, None), STRONGER)
    assert result["kept"] == []


def test_what_the_policy_itself_sends_may_be_lowered_and_is_named(bed, monkeypatch):
    host = Host(bed, monkeypatch, STRONGER, HSTS)
    (bed.conf / "kopano-hardening" / "headers.conf").write_text(
        f'add_header Strict-Transport-Security "{STRONGER}" always;\n'
    )
    result = bed.run(**host.options())
    assert [entry["before"] for entry in result["weakened"]] == [STRONGER]
    assert result["kept"] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, HSTS),
        ("max-age=300; includeSubDomains", HSTS),
        ("nonsense", HSTS),
        ("max-age=0; preload", HSTS),
        (HSTS, STRONGER),
    ],
)
def test_what_is_not_stronger_stops_nothing(bed, monkeypatch, before, after):
    host = Host(bed, monkeypatch, before, after)
    result = bed.run(**host.options())
    assert (result["changed"], result["weakened"]) == (True, [])


def test_without_a_policy_nothing_is_compared(bed, monkeypatch):
    Host(bed, monkeypatch, STRONGER, HSTS)
    assert bed.run()["weakened"] == []


@pytest.mark.parametrize(
    ("now", "rehearsed", "allowed", "weaker"),
    [
        (["TLSv1.3"], ["TLSv1.2", "TLSv1.3"], [], True),
        (["TLSv1.3"], ["TLSv1.2", "TLSv1.3"], ["tls"], False),
        (["TLSv1.2"], ["TLSv1.2", "TLSv1.3"], [], False),
        (["TLSv1.2", "TLSv1.3"], ["TLSv1.3"], [], False),
        ([], ["TLSv1.2"], [], False),
    ],
)
def test_an_endpoint_that_would_take_older_protocols_is_found_by_its_grade(tmp_path, now, rehearsed, allowed, weaker):
    policy = {"tls": str(tmp_path / "tls.conf"), "replace_stronger": allowed}
    strength = _strength.Strength(web_bed.layout("nginx", tmp_path), policy)
    reason = strength.weaker_grade(dict(SHOP, protocols=rehearsed, now={"protocols": now}))
    assert (reason is not None) is weaker
    assert len(strength.weakened) == bool(allowed and now)
    # The policy's own protocols so far, which its options may change
    (tmp_path / "tls.conf").write_text("ssl_protocols TLSv1.3;\n")
    strength = _strength.Strength(web_bed.layout("nginx", tmp_path), policy)
    assert strength.weaker_grade(dict(SHOP, protocols=rehearsed, now={"protocols": now})) is None


def test_a_client_that_names_no_host_does_not_count_where_there_are_names(tmp_path):
    layout, policy = web_bed.layout("nginx", tmp_path), {"tls": str(tmp_path / "tls.conf")}
    nameless = dict(SHOP, server_name=None)
    for endpoints, counts in (([nameless], True), ([nameless, SHOP], False)):
        strength = _strength.Strength(layout, policy, endpoints)
        assert (strength.weaker(nameless, sends(STRONGER), sends(HSTS)) is not None) is counts
        assert strength.weaker(SHOP, sends(STRONGER), sends(HSTS)) is not None


def test_a_header_that_stayed_is_named_with_the_policy_s(tmp_path):
    strength = _strength.Strength(web_bed.layout("nginx", tmp_path), {"tls": str(tmp_path / "tls.conf")})
    csp, permissions = "default-src 'self'", "camera=()"
    target = dict(
        SHOP,
        path="/webapp/",
        policy={
            "X-Frame-Options": "SAMEORIGIN",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": csp,
            "Permissions-Policy": permissions,
        },
    )
    headers = {
        "x-frame-options": ["DENY"],
        "referrer-policy": ["no-referrer"],
        "content-security-policy": [f"object-src 'none', {csp}"],
        "permissions-policy": [permissions],
    }
    for _twice in range(2):
        strength.note(target, dict(answered(True), headers=headers))
    weak = dict(headers, **{"x-frame-options": ["SAMEORIGIN"], "content-security-policy": [csp]})
    before, after = (dict(answered(True), headers=found) for found in (headers, weak))
    assert "X-Frame-Options" in (strength.weaker(target, before, after) or "")
    assert strength.weaker(target, after, before) is None
    assert [(entry["item"], entry["value"], entry["path"]) for entry in strength.kept] == [
        ("X-Frame-Options", "DENY", "/webapp/"),
        ("Content-Security-Policy", "object-src 'none'", "/webapp/"),
    ]
