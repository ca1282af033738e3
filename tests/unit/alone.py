# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would see the rest of the machine, for itself: its servers, its lock, its state and its mounts."""

from __future__ import annotations

import shutil
import subprocess
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import background as _background
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace

UNSHARE = shutil.which("unshare") or "unshare"  # tests change the PATH
# The machine's web servers are those of other tests, and runs of other tests hold its lock and write its records.
STATE = 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec "$@"'


def command(*words: str, network: bool = True) -> list[str]:
    """A command for root that sees no process but its own, and has nothing in C(/run) and C(/var/lib)."""
    options = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if network else ["--net"])]
    return [UNSHARE, *options, "/bin/sh", "-c", STATE, "sh", *words]


def in_own_mounts(work: t.Callable[[], t.Any]) -> t.Any:
    """What a function returns, as JSON has it, where nobody else mounts anything meanwhile.

    Mounts are shared there as systemd has them, so one that escapes from a namespace further down does show.
    """

    def apart() -> t.Any:
        _namespace._unshare(_namespace.CLONE_NEWNS)
        for kind in ("--make-rprivate", "--make-rshared"):
            subprocess.run(["mount", kind, "/"], check=True)
        return work()

    return _background.Beside(apart).result()
