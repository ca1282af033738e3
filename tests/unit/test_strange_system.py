# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system of an unknown family: one message that names those that are supported, and nothing half done."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import CertbotError
from ansible_collections.kopano.hardening.plugins.module_utils._updates import managers as _managers
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.modules import acme_certificate, certificate_install
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import RoleError

from . import test_acme, test_certificate_install, test_role_certificate
from .test_transaction import Bed
from .test_updates_apt import NOW

ARCH = {"ID": "arch", "PRETTY_NAME": "Arch Linux"}
ALPINE = {"ID": "alpine", "PRETTY_NAME": "Alpine Linux v3.22"}
GENTOO = {"ID": "gentoo", "PRETTY_NAME": "Gentoo Linux"}
EVERY = [ARCH, ALPINE, GENTOO, {"ID": "slackware"}, {}]
NAMED = ("Debian, Ubuntu, Red Hat Enterprise Linux", "Fedora", "SUSE Linux Enterprise", "openSUSE", "ID_LIKE")


def is_clear(message: str, name: str) -> bool:
    return f"{name} is not supported" in message and all(word in message for word in NAMED)


@pytest.fixture
def arch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The os-release of this machine is that of Arch."""
    monkeypatch.setattr(_layout, "os_release", lambda root="/": dict(ARCH))


@pytest.mark.parametrize("release", EVERY, ids=lambda release: release.get("ID", "none"))
def test_the_message_names_the_system_and_those_that_are_supported(release: dict[str, str]) -> None:
    name = release.get("PRETTY_NAME") or release.get("ID") or "a system without a name in /etc/os-release"
    assert is_clear(_layout.unsupported(release), name)


@pytest.mark.parametrize("release", [{"ID": "raspbian", "ID_LIKE": "debian"}, {"ID": "amzn", "ID_LIKE": "fedora"}])
def test_a_system_that_names_a_supported_one_is_supported(release: dict[str, str]) -> None:
    assert _layout.unsupported(release) == ""


def test_no_server_is_taken_for_that_of_another_system(tmp_path: Path) -> None:
    """Alpine has Apache at the path of SUSE, Arch at that of Red Hat, and Gentoo nginx at that of all families."""
    for release, paths in (
        (ALPINE, ("usr/sbin/httpd", "etc/apache2/httpd.conf")),
        (ARCH, ("usr/sbin/httpd", "etc/httpd/conf/httpd.conf")),
        (GENTOO, ("usr/sbin/nginx", "etc/nginx/nginx.conf")),
    ):
        root = tmp_path / release["ID"]
        for path in (*paths, "etc/os-release"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        (root / "etc/os-release").write_text("".join(f'{name}="{value}"\n' for name, value in release.items()))
        assert _layout.detect(root=str(root)) == []


def test_frontend_info_reports_it_instead_of_a_missing_server(arch: None) -> None:
    found = _webserver_info.run({"server": "auto", "clients": False})
    (finding,) = [item for item in found["findings"] if item["id"].startswith("frontend.")]
    assert (finding["id"], finding["severity"], finding["subject"]) == ("frontend.system.unknown", "unknown", "arch")
    assert is_clear(finding["evidence"], "Arch Linux") and found["servers"] == []


@pytest.mark.parametrize("options", [{}, {"restore": "original", "files": []}])
def test_a_change_or_a_restore_stops_before_it_begins(
    arch: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any]
) -> None:
    bed = Bed(tmp_path, monkeypatch)
    bed.layouts = []
    message, result = bed.fails(**options)
    assert is_clear(message, "Arch Linux") and "nothing was changed" in message
    assert (bed.conf / "site").read_text() == "old" and bed.states() == [] and not result["changed"]


def test_no_certificate_is_installed_or_ordered(arch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_install, "_deploy", None)
    params = {**test_certificate_install.PARAMS, **test_certificate_install.SETTINGS, "ca_file": None}
    with pytest.raises(ValueError, match="Arch Linux is not supported"):
        certificate_install.run(params, False)
    monkeypatch.setattr(acme_certificate, "_certbot", None)
    with pytest.raises(CertbotError, match="Arch Linux is not supported"):
        acme_certificate.run(test_acme.OPTIONS, False, pytest.fail)


def test_the_role_certificate_installs_no_certbot_there() -> None:
    system = {**test_role_certificate.HOST["frontend"], "os": {"family": None, "pretty_name": "Arch Linux"}}
    host = test_role_certificate.acme(host_info={"frontend": system, "certificates": {"results": []}})
    host.part("install", order_follows=True)
    with pytest.raises(RoleError) as refused:
        host.part("order")
    assert is_clear(str(refused.value), "Arch Linux")
    assert [name for name, _arguments in host.calls] == ["host_info"]


def test_updates_of_an_unknown_package_manager_are_unknown(tmp_path: Path) -> None:
    host = Host(root=str(tmp_path), environment={"PATH": str(tmp_path)})
    (finding,) = _managers.collect(host, ARCH, NOW, 48).findings
    assert (finding["id"], finding["severity"]) == ("updates.manager.none", "unknown")
    assert is_clear(finding["evidence"], "Arch Linux")
