# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real Apache and nginx as judges of configurations: in a network of their own, where every address can be listened on
and no name server is queried."""

from __future__ import annotations

import functools
import os
import subprocess
import typing as t

from tests.unit import web_bed

# All addresses are this host's. It ends with its standard input, which ends with the process that has made it.
_NETWORK = """
ip link set lo up
for protocol in ipv4 ipv6; do
    echo 1 > /proc/sys/net/$protocol/ip_nonlocal_bind
done
echo
exec cat
"""
_UNSHARE = ["unshare", "--net", *(["--map-root-user"] if os.geteuid() else [])]


@functools.cache
def missing(server: str) -> str:
    """Why the server cannot be run here; empty if it can."""
    program = {"apache": web_bed.APACHE, "nginx": web_bed.NGINX}[server]
    if not os.access(program, os.X_OK):
        return f"{program} is not installed"
    done = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"it gets no network of its own: {done.stderr.strip()}" if done.returncode else ""


@functools.cache
def _network() -> subprocess.Popen[bytes]:
    """The process that has the network."""
    holder = subprocess.Popen(
        [*_UNSHARE, "sh", "-c", _NETWORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert holder.stdout
    holder.stdout.readline()
    return holder


def close() -> None:
    """End that process. The next query starts another one."""
    if _network.cache_info().currsize:
        _network().communicate()
        _network.cache_clear()


class Result(t.NamedTuple):
    accepts: bool
    output: str
    messages: str


def _query(*command: str) -> Result:
    place = f"/proc/{_network().pid}/ns/"
    user = [f"--user={place}user", "--preserve-credentials"] if os.geteuid() else []
    done = subprocess.run(
        ["nsenter", *user, f"--net={place}net", *command],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, env={"PATH": os.defpath},
    )  # fmt: skip
    output, messages = (data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr))
    assert done.returncode >= 0, messages
    return Result(not done.returncode, output, messages)


def apache(folder: str) -> Result:
    """With its virtual hosts, its modules, and every directive that it keeps."""
    info = f"LoadModule info_module {web_bed.MODULES}/mod_info.so"
    dumps = [word for name in ("VHOSTS", "MODULES", "CONFIG") for word in ("-D", "DUMP_" + name)]
    return _query(web_bed.APACHE, "-d", folder, "-f", folder + "/apache.conf", "-c", info, "-t", *dumps)


def nginx(folder: str) -> Result:
    """With the text of every file that it has read."""
    return _query(web_bed.NGINX, "-T", "-p", folder, "-c", folder + "/nginx.conf", "-e", folder + "/start.log")
