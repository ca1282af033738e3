# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes this checkout importable as the collection that it is, and the lab's code as kopano_lab."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent
COLLECTIONS = CHECKOUT / ".cache" / "collections"

_link = COLLECTIONS / "ansible_collections" / "kopano" / "hardening"
if not _link.exists():
    _link.parent.mkdir(parents=True, exist_ok=True)
    _link.symlink_to(CHECKOUT, target_is_directory=True)
sys.path[:0] = [str(COLLECTIONS), str(CHECKOUT / "lab")]

# Plays of tests show every task, whatever this checkout's ansible.cfg has.
os.environ.update(ANSIBLE_DISPLAY_OK_HOSTS="true", ANSIBLE_DISPLAY_SKIPPED_HOSTS="true")

# How long an example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

import ansible_collections  # noqa: E402 - only now on the path

# The PyPI package `ansible` brings a package of this name, which hides a folder without one.
_mine = str(COLLECTIONS / "ansible_collections")
if _mine not in ansible_collections.__path__:
    ansible_collections.__path__.insert(0, _mine)

# Files whose tests judge what is made once for all of them and takes seconds: a play, a tarball, a page in a browser.
TOGETHER = (
    "test_on_controller.py",
    "test_packaging.py",
    "test_playbooks.py",
    "test_report_page.py",
    "test_role_actions.py",
    "test_role_caa_play.py",
    "test_role_calls.py",
    "test_role_certificate_play.py",
    "test_role_updates_play.py",
    "test_role_verify_play.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With --dist loadscope, each of these files is one worker's, and every other test that of the next free one."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if file.endswith(TOGETHER) else nodeid

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session", autouse=True)
def no_thread_stays_busy():
    """A server of a test that reads on at the end of a connection takes a core from all tests that follow it."""
    yield
    used = []
    for _attempt in range(5):
        started = time.process_time()
        time.sleep(0.2)
        used.append(time.process_time() - started)
    assert min(used) < 0.02, f"threads of tests are busy still: {used} s of the processors in 0.2 s each"
