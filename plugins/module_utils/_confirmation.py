# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A timer on the host that takes a transaction back unless somebody outside confirms it in time.

The timer is a transient systemd unit (systemd-run(1)). It has to work when nothing else reaches the host any more, so
the code that it runs is a copy of this collection's own, kept beside the transaction.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from ansible_collections.kopano.hardening.plugins.module_utils._journal import Record

_RUN = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from ansible_collections.kopano.hardening.plugins.module_utils import _transaction; "
    "_transaction.expire(sys.argv[2], sys.argv[3])"
)


class ConfirmationError(Exception):
    """The timer cannot be set, so the change must not be made."""


def _unit(record: Record) -> str:
    return f"kopano-hardening-{record.id}"


def _keep_code(record: Record) -> str:
    """Copy what this was imported from, a zip file that Ansible removes or a directory."""
    package = os.path.join("ansible_collections", "kopano", "hardening", "plugins", "module_utils")
    origin = os.path.abspath(__file__).split(os.sep + package)[0]
    if os.path.isfile(origin):
        goal = os.path.join(record.folder, "code.zip")
        shutil.copyfile(origin, goal)
        return goal
    goal = os.path.join(record.folder, "code")
    shutil.copytree(
        os.path.join(origin, package),
        os.path.join(goal, package),
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return goal


def arm(record: Record, seconds: int) -> None:
    """Set the timer. Raises ConfirmationError where there is no systemd to keep it."""
    if not os.path.isdir("/run/systemd/system"):
        raise ConfirmationError("confirm_timeout: needs systemd, which does not run on the host; 0 switches this off")
    command = [
        "systemd-run",
        "--quiet",
        f"--unit={_unit(record)}",
        "--on-active=%d" % seconds,
        "--timer-property=AccuracySec=1",
        sys.executable,
        "-c",
        _RUN,
        _keep_code(record),
        os.path.dirname(os.path.dirname(record.folder)),
        record.id,
    ]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfirmationError(f"confirm_timeout: {error}") from error
    if done.returncode:
        raise ConfirmationError(
            "confirm_timeout: systemd-run says: {}".format(done.stdout.decode("utf-8", "replace").strip())
        )


def disarm(record: Record) -> None:
    """Stop the timer; one that is gone already is no error."""
    subprocess.run(
        ["systemctl", "stop", _unit(record) + ".timer"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
