# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with hundreds of virtual hosts: what is done with its configuration grows as they do, and not as their square.

Calls of functions are counted, which takes no idle machine.
"""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import findings as _webserver_findings
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import names as _names
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes

from . import web_bed
from .test_adopt import Site

LOADERS: dict[str, t.Callable[..., _webserver_model.Config]] = {"apache": _apache.load, "nginx": _nginx.load}
FEW, MANY = 30, 120
LINEAR = 1.15  # what a virtual host may cost among MANY, by what it costs among FEW

MAIN = {
    "apache": "Listen 80\nListen 443\nSSLProtocol all\nInclude {folder}/sites/*.conf\n",
    "nginx": "http {{ ssl_protocols TLSv1.2; add_header X-A b; include {folder}/sites/*.conf; }}\n",
}
SITE = {
    "apache": (
        "<VirtualHost *:80>\nServerName {name}\n</VirtualHost>\n"
        "<VirtualHost *:443>\nServerName {name}\nSSLEngine on\nSSLCertificateFile /c\nSSLCertificateKeyFile /k\n"
        'SSLCipherSuite ALL\nHeader set Strict-Transport-Security "max-age=63072000"\n</VirtualHost>\n'
    ),
    "nginx": (
        "server {{ listen 80; server_name {name}; }}\n"
        "server {{\nlisten 443 ssl;\nserver_name {name};\nssl_certificate /c;\nssl_certificate_key /k;\n"
        'ssl_ciphers ALL;\nadd_header Strict-Transport-Security "max-age=63072000";\n'
        "location / {{ add_header X-B c; }}\n}}\n"
    ),
}


def calls(work: t.Callable[[], t.Any]) -> tuple[t.Any, int]:
    """What the work returns, and how many functions it has called, those of C among them."""
    count = 0

    def note(_frame: t.Any, event: str, _argument: t.Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        found = work()
    finally:
        sys.setprofile(before)
    return found, count


def site(server: str, folder: Path, count: int) -> Site:
    folder.mkdir()
    head = web_bed.apache_head(folder, "ssl", "headers", "rewrite") if server == "apache" else ""
    texts = {f"sites__{number:04}": SITE[server].format(name=f"s{number}.example") for number in range(count)}
    return Site(server, folder).write(main=head + MAIN[server].format(folder=folder), **texts)


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_the_work_for_a_configuration_is_linear_to_its_virtual_hosts(server: str, tmp_path: Path) -> None:
    figures: dict[str, list[float]] = {}
    for count in (FEW, MANY):
        host = site(server, tmp_path / str(count), count)
        config, figure = calls(lambda host=host: LOADERS[server](host.layout))
        figures.setdefault("load", []).append(figure / count)
        assert len(config.vhosts) >= 2 * count
        works: dict[str, t.Callable[[], t.Any]] = {
            "adopt": lambda host=host, config=config: _adopt.adopt(config, host.layout, host.policy),
            "findings": lambda host=host, config=config: _webserver_findings.of(config, host.layout),
            "targets": lambda config=config: _probes.targets_of(config.vhosts),
            "certificates": lambda config=config: _names.certificates([vhost.as_dict() for vhost in config.vhosts]),
        }
        for name, work in works.items():
            found, figure = calls(work)
            figures.setdefault(name, []).append(figure / count)
            assert found
            if name == "adopt":
                assert len(found.texts) == len(found.kept) == count
    assert {name: round(many / few, 2) for name, (few, many) in figures.items() if many > LINEAR * few} == {}
