# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""SELinux, where the kernel has it switched on: the contexts of new files.

A file that was written elsewhere and renamed has the context of that place, and a confined web server may not read it.
Which context a path has by the host's policy is known to restorecon(8) alone.
"""

from __future__ import annotations

import os
import subprocess
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import shell_words

FOLDER = "/sys/fs/selinux"  # selinuxfs
RESTORECON = "/usr/sbin/restorecon"
TIMEOUT = 30  # seconds


def is_enabled() -> bool:
    """Whether the kernel has it switched on, enforcing or not."""
    return os.path.exists(os.path.join(FOLDER, "enforce"))


def boolean(name: str) -> bool | None:
    """What a boolean of the policy is set to (booleans(8)); None where SELinux is off, or has no such boolean."""
    try:
        with open(os.path.join(FOLDER, "booleans", name), encoding="ascii") as stream:
            return stream.read(8).split()[:1] == ["1"]
    except OSError:
        return None


def restore_contexts(paths: t.Sequence[str]) -> list[str]:
    """Give files the contexts of their places, where SELinux is on. Returns what went wrong as warnings.

    paths: absolute ones; of links the links themselves.
    """
    if not paths or not is_enabled():
        return []
    try:
        done = _programs.run([RESTORECON, *paths], TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    else:
        reason = done.stdout.decode("utf-8", "replace").strip() or f"status {done.returncode}"
        if done.returncode == 0:
            return []
    return [
        "SELinux: new files may have contexts with which the web server cannot read them; run restorecon -v "
        f"{shell_words(paths)}; it failed here: {reason}"
    ]
