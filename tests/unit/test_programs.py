# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How programs of the host are started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs

BOTH = "import os, sys; os.write(1, b'out'); os.write(2, b'err'); sys.exit(len(sys.stdin.read()) or 3)"


@pytest.mark.parametrize(
    ("errors", "shown"),
    [({}, b"outerr"), ({"errors": _programs.DROPPED}, b"out"), ({"errors": _programs.APART}, b"out")],
)
def test_a_program_has_no_input_and_its_status_is_no_error(errors, shown):
    done = _programs.run([sys.executable, "-c", BOTH], 60, **errors)
    assert (done.returncode, done.stdout) == (3, shown)
    assert done.stderr == (b"err" if errors.get("errors") == _programs.APART else None)


def test_a_program_is_ended_after_its_time():
    with pytest.raises(subprocess.TimeoutExpired):
        _programs.run(["sleep", "60"], 0.1)
    with pytest.raises(FileNotFoundError):
        _programs.run(["/nonexistent"], 60)


@pytest.mark.parametrize("own_session", [False, True])
def test_a_started_program_has_the_environment_and_session_that_are_given(own_session):
    with _programs.start(["/bin/sh", "-c", "echo $NAME; cat"], {"NAME": "value"}, own_session=own_session) as process:
        session = os.getsid(process.pid)
        assert process.stdout and process.stdout.read() == b"value\n"
    assert (session == process.pid) is own_session
