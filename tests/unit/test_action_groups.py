# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules have in common can be set once, by their action group."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from . import plays
from .conftest import COLLECTIONS

ROOT = Path(__file__).parents[2]
GROUPS = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
# The least that each module has to be given.
REQUIRED = {
    "acme_reach_info": {"names": ["mail.example"]},
    "caa_info": {"names": ["mail.example"]},
    "caa_publish": {"name": "example", "records": [], "server": "192.0.2.1", "key_name": "k", "key_secret": "aa=="},
}


@pytest.fixture(scope="module")
def documents():
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "--json", *(f"kopano.hardening.{name}" for name in REQUIRED)],
        env={"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.split(".")[-1]: entry["doc"] for name, entry in json.loads(done.stdout).items()}


def test_the_documentation_of_a_module_names_its_groups(documents):
    for name, document in documents.items():
        groups = [f"kopano.hardening.{group}" for group, members in GROUPS.items() if name in members]
        assert groups and document["attributes"]["action_group"]["membership"] == groups
    assert {name for members in GROUPS.values() for name in members} == set(documents)


def test_a_default_of_the_group_counts_for_each_of_its_modules(tmp_path):
    defaults = {"group/kopano.hardening.dns": {"nameservers": ["no address"], "timeout": 1}}
    done = plays.run(
        tmp_path,
        {name: plays.delegated(name, given, module_defaults=defaults) for name, given in REQUIRED.items()},
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    )
    for name, task in done.items():
        assert task.result["msg"].startswith("nameservers: 'no address' "), (name, task.result)
