# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that an earlier version has hardened: this one takes it over, behaves the same, and restores it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from . import upgrade_bed, web_bed
from .upgrade_bed import ROLE, SERVERS, STATE, here

FILES = sorted(upgrade_bed.RECORDED.glob("*.json"))
RESULT = {"ansible.builtin.debug": {"var": "frontend_result"}}


def has_namespaces():
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    web_bed.needs_apache,
    web_bed.needs_nginx,
    pytest.mark.skipif(not has_namespaces(), reason="needs namespaces of its own"),
]


def configuration(tree):
    """The server's part of a tree, without the collection's records."""
    return {path: entry for path, entry in tree.items() if not path.startswith(STATE)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_host_of_an_earlier_version(path):
    recorded = json.loads(path.read_text())
    server = path.stem.rpartition("-")[2]
    first = next(name.split("/")[-2] for name in recorded["files"] if name.endswith("record.json"))
    steps = {
        "was": here("behaviour", server),
        "upgrade": ROLE,
        "upgraded": RESULT,
        "is": here("behaviour", server),
        "repeat": ROLE,
        "repeated": RESULT,
        "restore": {"kopano.hardening.web_config": {"restore": first}},
        "restored": here("tree", server),
        "before": here("behaviour", server),
        "lay": here("lay", server),
        "leave": {**ROLE, "vars": {"frontend_state": "absent"}},
        "left": here("tree", server),
    }
    done = dict(zip(steps, upgrade_bed.play(server, recorded["files"], list(steps.values())), strict=True))

    assert done["was"] == recorded["behaviour"], "the recorded host is as it was"
    assert done["upgraded"]["frontend_result"]["failed"] is False
    assert done["is"] == done["was"], "it is adopted without a change to its behaviour"
    assert done["repeated"]["frontend_result"]["changed"] is False, "a second run changes nothing"

    # Directories of their own are all that a restore may leave.
    restored = {name: entry for name, entry in configuration(done["restored"]).items() if entry.keys() != {"mode"}}
    assert done["restore"]["changed"] and restored == SERVERS[server].files, "what the earlier version did is restored"
    assert "Strict-Transport-Security: max-age=31536000" in str(done["was"])
    assert "Strict-Transport-Security: max-age=31536000" not in str(done["before"])

    assert configuration(done["left"]) == configuration(done["restored"]), "a host that is given up is as it was before"
