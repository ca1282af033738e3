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
import subprocess

from ansible_collections.kopano.hardening.plugins.module_utils import _own_code
from ansible_collections.kopano.hardening.plugins.module_utils._journal import Record


class ConfirmationError(Exception):
    """The timer cannot be set, so the change must not be made."""


def _unit(record: Record) -> str:
    return f"kopano-hardening-{record.id}"


def arm(record: Record, seconds: int) -> None:
    """Set the timer. Raises ConfirmationError where there is no systemd to keep it."""
    if not os.path.isdir("/run/systemd/system"):
        raise ConfirmationError("confirm_timeout: needs systemd, which does not run on the host; 0 switches this off")
    code = os.path.join(record.folder, "code")
    _own_code.keep(code)
    command = [
        "systemd-run",
        "--quiet",
        f"--unit={_unit(record)}",
        "--on-active=%d" % seconds,
        "--timer-property=AccuracySec=1",
        *_own_code.call(code, "_transaction", "expire", os.path.dirname(os.path.dirname(record.folder)), record.id),
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
