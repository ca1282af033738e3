# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n# a comment = here\nID=debian\nVERSION_ID="13"\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'
LEAP = 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'
UCS = "ID=univention-corporate-server\nID_LIKE=debian\n"
ARCH = "ID=arch\n"


def host(root: Path, release: str, *paths: str) -> str:
    for path in paths:
        target = root / path.lstrip("/")
        if path.endswith("/"):
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/os-release").write_text(release)
    return str(root)


@pytest.mark.parametrize(
    ("release", "family"),
    [(DEBIAN, "debian"), (UBUNTU, "debian"), (ROCKY, "redhat"), (LEAP, "suse"), (UCS, "debian"), (ARCH, None)],
)
def test_family(tmp_path: Path, release: str, family: str | None) -> None:
    assert _layout.family(_layout.os_release(host(tmp_path, release))) == family


def test_only_a_file_that_the_servers_own_unit_or_wrapper_reads_is_its_environment() -> None:
    # A /etc/sysconfig/httpd of Red Hat Enterprise Linux 7 can still lie there, and nothing reads it.
    files = {layout.family: layout.envvars for layout in _layout.LAYOUTS if layout.server == "apache"}
    assert files == {"debian": "/etc/apache2/envvars", "redhat": None, "suse": "/etc/sysconfig/apache2"}


def test_os_release_is_unquoted_and_may_be_missing(tmp_path: Path) -> None:
    assert _layout.os_release(str(tmp_path)) == {}
    assert _layout.os_release(host(tmp_path, DEBIAN)) == {
        "PRETTY_NAME": "Debian GNU/Linux 13 (trixie)", "ID": "debian", "VERSION_ID": "13",
    }  # fmt: skip


def test_an_assignment_ends_at_the_end_of_its_line_only(tmp_path: Path) -> None:
    assert _layout.os_release(host(tmp_path, "ID=debian\nNAME='a\x85ID=suse'\n")) == {
        "ID": "debian",
        "NAME": "a\x85ID=suse",
    }


def test_os_release_with_an_unclosed_quote_is_a_result_too(tmp_path: Path) -> None:
    assert _layout.os_release(host(tmp_path, 'ID=debian\nNAME="x\n'))["ID"] == "debian"


@pytest.mark.parametrize(
    ("release", "binaries", "wanted", "expected"),
    [
        (DEBIAN, ["/usr/sbin/apache2"], "auto", ["apache2"]),
        (DEBIAN, ["/usr/sbin/apache2", "/usr/sbin/nginx"], "auto", ["apache2", "nginx"]),
        (DEBIAN, ["/usr/sbin/apache2", "/usr/sbin/nginx"], "nginx", ["nginx"]),
        (DEBIAN, [], "auto", []),
        (ROCKY, ["/usr/sbin/httpd"], "auto", ["httpd"]),
        (LEAP, ["/usr/sbin/httpd-prefork"], "auto", ["apache2"]),
        (ARCH, ["/usr/sbin/httpd", "/etc/httpd/conf/httpd.conf"], "auto", []),
    ],
)
def test_detect(tmp_path: Path, release: str, binaries: list[str], wanted: str, expected: list[str]) -> None:
    found = _layout.detect(wanted, host(tmp_path, release, *binaries))
    assert [layout.unit for layout in found] == expected
    for layout in found:
        assert os.path.exists(os.path.join(tmp_path, layout.binary.lstrip("/")))


@pytest.mark.parametrize(
    ("release", "binary"),
    [(DEBIAN, "/usr/sbin/nginx"), (ROCKY, "/usr/sbin/httpd"), (LEAP, "/usr/sbin/httpd-prefork")],
)
def test_a_server_that_cannot_be_inspected_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, release: str, binary: str
) -> None:
    root = host(tmp_path, release)
    program = tmp_path / binary.lstrip("/")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.symlink_to(program)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        _layout.detect("auto", root)


@pytest.mark.parametrize(
    ("link", "chosen", "mpm"),
    [
        ("prefork", "", "prefork"),
        ("event", "", "event"),
        ("event", "prefork", "prefork"),
        ("event", "itk", "event"),
        ("", "", "prefork"),
    ],
)
def test_suses_program_is_that_of_the_module_that_would_be_started(
    tmp_path: Path, link: str, chosen: str, mpm: str
) -> None:
    """APACHE_MPM decides, else the link of update-alternatives; a module that is not installed is none."""
    installed = [f"/usr/sbin/httpd-{name}" for name in ("prefork", "event")] + ["/usr/lib64/apache2-event/"]
    root = host(tmp_path, LEAP, *installed)
    (tmp_path / "etc/sysconfig").mkdir()
    (tmp_path / "etc/sysconfig/apache2").write_text(f'APACHE_MPM="{chosen}"\n')
    if link:
        (tmp_path / "usr/sbin/httpd").symlink_to(f"httpd-{link}")
    (layout,) = _layout.detect("apache", root)
    assert layout.binary == f"/usr/sbin/httpd-{mpm}"
    assert [name for name in layout.static_modules if name.startswith("mpm_")] == [f"mpm_{mpm}"]
    assert layout.modules_dir == f"/usr/lib64/apache2-{mpm}"
    assert layout.sysconfig and layout.sysconfig.module_dirs[0] == f"/usr/lib64/apache2-{mpm}"


@pytest.mark.parametrize("value", ["SSL STATUS", "-D SSL -DSTATUS", "-DSSL  STATUS "])
def test_what_suses_settings_define_can_be_written_in_several_ways(value: str) -> None:
    assert _layout.server_flags(value) == ["SSL", "STATUS"]


def test_sites_of_an_nginx_without_sites_enabled_are_snippets(tmp_path: Path) -> None:
    root = host(tmp_path, DEBIAN, "/usr/sbin/nginx")
    assert _layout.detect("nginx", root)[0].sites.enabled_dir == "/etc/nginx/conf.d"
    (tmp_path / "etc/nginx/sites-enabled").mkdir(parents=True)
    assert _layout.detect("nginx", root)[0].sites.enabled_dir == "/etc/nginx/sites-enabled"


def test_every_family_has_both_servers_and_absolute_paths() -> None:
    shapes = [(layout.family, layout.server) for layout in _layout.LAYOUTS]
    assert sorted(shapes) == sorted((f, s) for f in ("debian", "redhat", "suse") for s in ("apache", "nginx"))
    for layout in _layout.LAYOUTS:
        for name in ("binary", "main_config", "config_dir", "policy_dir", "pid_file", "error_log", "modules_dir"):
            assert str(getattr(layout, name)).startswith("/"), (layout.server, layout.family, name)
        assert layout.policy_dir.startswith(layout.config_dir + "/")
