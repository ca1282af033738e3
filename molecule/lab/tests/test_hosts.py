# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts are whole systems that run what their data describes."""

from __future__ import annotations

UNITS = {"apache": ("apache2", "httpd"), "nginx": ("nginx",)}
NAMESPACES = "unshare -m -n -i -u -p --fork --mount-proc"


def test_the_system_is_up(host):
    assert host.run("systemctl is-system-running").stdout.strip() == "running"


def test_one_web_server_runs(frontend, host):
    running = {server for server, units in UNITS.items() for unit in units if host.service(unit).is_running}
    assert running == {frontend.server}
    states = host.run(f"systemctl is-enabled {' '.join(UNITS[frontend.server])}").stdout.split()
    assert "enabled" in states


def test_php_runs_as_the_data_says(frontend, host):
    workers = host.run("pgrep -c php-fpm").stdout.strip()
    if frontend.host == "apache11":
        assert workers == "0"
        assert {"php7_module", "mpm_prefork_module"} <= set(host.run("apache2ctl -M").stdout.split())
    else:
        assert int(workers) > 0


def test_namespaces_are_allowed_where_they_are_on_a_real_host(frontend, host):
    overlay = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && "
    overlay += "mount -t overlay none -o lowerdir=/var,upperdir=/mnt/u,workdir=/mnt/w /var && touch /var/trace"
    done = host.run(f"{NAMESPACES} sh -c '{overlay}'")
    if frontend.host.endswith("u"):
        assert done.rc != 0
    else:
        assert done.rc == 0, done.stderr
    assert not host.file("/var/trace").exists
