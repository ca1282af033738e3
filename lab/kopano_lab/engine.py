# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Podman, on machines that its OCI runtime would refuse as well.

With systemd inside, the runtime needs a cgroup2 hierarchy. A machine that still mounts the first version gets one
private mount namespace in which /sys/fs/cgroup is a fresh cgroup2 mount; the machine's own view does not change.
There is one such namespace a machine, kept alive by a bind mount, because podman's storage is one a machine too: all
calls must see the same overlay and network mounts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .shell import LabError, lock, retry, run

STATE = Path("/run/kopano-lab")
HOLDER = STATE / "namespace"  # a private mount: a namespace can only be bound to a file on one
NAMESPACE = HOLDER / "mnt"
BOOT = STATE / "boot_id"
# The kernel counts these for all containers of a user together, and its default is used up by some twenty of them:
# then systemd does not start.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_NEEDED = 4096

# What podman keeps on a file system that it expects to be empty after a boot. Where /run is not one, it would take
# containers of the boot before for running ones.
VOLATILE = [Path("/run/libpod/alive"), Path("/run/containers/networks/ipam.db")]


class Podman:
    """Callable: Podman()("ps", "-a") runs `podman ps -a` and returns its standard output."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise LabError("the lab needs root: containers with systemd and their networks are made as root")
        with lock(STATE / "lock"):
            _forget_last_boot()
            if int(INOTIFY.read_text()) < INOTIFY_NEEDED:
                INOTIFY.write_text(str(INOTIFY_NEEDED))
            self.prefix = [] if _is_cgroup2([]) else _namespace()

    def __call__(self, *arguments: str | Path, data: bytes | None = None, timeout: float = 300) -> str:
        done = run([*self.prefix, "podman", *arguments], data=data, timeout=timeout)
        return done.stdout.decode()

    def ok(self, *arguments: str) -> bool:
        """Whether the command succeeds; its words do not matter."""
        return run([*self.prefix, "podman", *arguments], check=False).returncode == 0

    def json(self, *arguments: str) -> Any:
        """The output of a command that lists something, read."""
        # It ends with an error where another process removes what it is about to describe.
        text = retry(f"podman {arguments[0]}", lambda: self(*arguments, "--format=json"))
        return json.loads(text or "[]")


def _is_cgroup2(prefix: list[str]) -> bool:
    done = run([*prefix, "stat", "-f", "-c", "%T", "/sys/fs/cgroup"], check=False)
    return done.returncode == 0 and done.stdout.strip() == b"cgroup2fs"


def _namespace() -> list[str]:
    """The command that enters the machine's namespace, which is made when there is none or only a stale one."""
    enter = ["nsenter", f"--mount={NAMESPACE}"]
    if _is_cgroup2(enter):
        return enter
    for leftover in (NAMESPACE, HOLDER):
        run(["umount", "--lazy", leftover], check=False)
    HOLDER.mkdir(parents=True, exist_ok=True)
    run(["mount", "--bind", HOLDER, HOLDER])
    run(["mount", "--make-private", HOLDER])
    NAMESPACE.touch()
    run(["unshare", f"--mount={NAMESPACE}", "--propagation", "private", "true"])
    run([*enter, "mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"])
    return enter


def _forget_last_boot() -> None:
    now = Path("/proc/sys/kernel/random/boot_id").read_text()
    if BOOT.exists() and BOOT.read_text() != now:
        for path in VOLATILE:
            path.unlink(missing_ok=True)
    BOOT.write_text(now)
