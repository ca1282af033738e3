# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Programs of the host: started from a list of words, never through a shell of their own, and without input.

Ansible's run_command cannot be used: it has no time limit, it starts nothing that goes on beside this code, and it is
a method of a module, while this code also runs on the host itself (renewals, the guard of a change) and in views.
"""

from __future__ import annotations

import subprocess
import typing as t

DROPPED = subprocess.DEVNULL
APART = subprocess.PIPE  # of errors: beside the output, not in it


def run(
    command: t.Sequence[str],
    timeout: float,
    environment: t.Mapping[str, str] | None = None,
    errors: int = subprocess.STDOUT,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, which comes after C(timeout) seconds at the latest; its output is C(stdout).

    errors: what becomes of what it writes to the standard error. Raises OSError, subprocess.TimeoutExpired.
    """
    return subprocess.run(  # pylint: disable=ansible-bad-function
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        timeout=timeout,
        check=False,
    )


def start(
    command: t.Sequence[str],
    environment: t.Mapping[str, str] | None = None,
    output: int | t.IO[bytes] = subprocess.PIPE,
    errors: int | t.IO[bytes] = subprocess.STDOUT,
    own_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program, which the caller ends or waits for. Raises OSError."""
    return subprocess.Popen(  # pylint: disable=ansible-bad-function
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=own_session,
    )
