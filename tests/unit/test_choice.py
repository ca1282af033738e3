# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which server a certificate is for where two run. test_transaction has the choice of modules and roles."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import Server

from . import web_bed

PAIR = "/somewhere/cert.pem"
OTHER = "/elsewhere/cert.pem"


def layouts(folder: Path, **certificates: str) -> list[_layout.Layout]:
    """Both servers; each serves TLS with a certificate, if one is given."""
    found = []
    for name in ("apache", "nginx"):
        (folder / name).mkdir()
        layout = web_bed.layout(name, folder / name)
        path = certificates.get(name)
        texts = {
            "apache": f"<VirtualHost *:1>\nSSLEngine on\nSSLCertificateFile {path}\n</VirtualHost>\n" if path else "",
            "nginx": "events { }\nhttp { %s }\n"
            % (f"server {{ listen 1 ssl; ssl_certificate {path}; }}" if path else ""),
        }
        Path(layout.main_config).write_text(texts[name])
        found.append(layout)
    return found


@pytest.mark.parametrize(
    ("certificates", "meant"),
    [
        ({"apache": OTHER, "nginx": PAIR}, "nginx"),
        ({"apache": PAIR, "nginx": OTHER}, "apache"),
        ({"apache": OTHER}, "apache"),
        ({"nginx": PAIR}, "nginx"),
        ({"apache": PAIR, "nginx": PAIR}, None),
        ({"apache": OTHER, "nginx": OTHER}, None),
        ({}, None),
    ],
)
def test_a_certificate_is_for_the_server_that_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: dict[str, str], meant: str | None
) -> None:
    both = layouts(tmp_path, **certificates)
    monkeypatch.setattr(_layout, "detect", lambda wanted="auto", root="/": both)
    monkeypatch.setattr(Server, "main_pid", lambda server: 1)
    asked: list[t.Any] = []

    def transact(files: t.Any, about: t.Any, settings: dict[str, t.Any], *_others: t.Any) -> dict[str, t.Any]:
        asked.append(settings["server"])
        return {"transaction": "1", "rehearsal": None, "warnings": []}

    monkeypatch.setattr(_deploy, "_transact", transact)
    monkeypatch.setattr(_deploy, "_ensure_served", lambda *_others: None)
    monkeypatch.setattr(_deploy._replaced_certificates, "records", list)
    chain, key = (Path(path).read_text() for path in web_bed.make_certificate(tmp_path))
    pair = _deploy.Pair(PAIR, "/somewhere/key.pem", chain, key)
    settings = {"server": "auto", "rehearse": "off", "key_mode": "0600", "key_group": None, "kopano": False}
    if meant:
        _deploy.deploy([pair], settings)
        assert asked == [meant]
        return
    with pytest.raises(_deploy.DeployError, match="set frontend_server"):
        _deploy.deploy([pair], settings)
    assert asked == []
