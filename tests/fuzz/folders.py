# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder for the files of a case: in memory where the system has that, and gone when the run has ended."""

from __future__ import annotations

import os
import shutil
import tempfile

_MEMORY = "/dev/shm"
# Made by the process that starts the others, which end without tidying up.
_FOLDER = tempfile.TemporaryDirectory(
    prefix="kopano-hardening-fuzz-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None
)


def empty(name: str = "case") -> str:
    """An empty folder of that name, for one case after the other."""
    folder = os.path.join(_FOLDER.name, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)
    return folder
