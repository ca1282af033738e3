# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that Ansible runs on this machine, all of a test file in one play: to start Ansible costs more than a task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t

from .conftest import COLLECTIONS


class Done(t.NamedTuple):
    """What a task returned, and what was printed of it."""

    result: dict[str, t.Any]
    output: str

    @property
    def was_module(self) -> bool:
        """It was made into a process of its own, and did not run in the controller's."""
        return "Using module file " in self.output


def run(folder, tasks, *more, host="localhost", connection="local"):
    """Run tasks, given by their names, with C(more) options of ansible-playbook; what became of each by its name."""
    names = list(tasks)
    listed = [
        {"name": f"<{number}>", "register": f"done{number}", "ignore_errors": True, **tasks[name]}
        for number, name in enumerate(names)
    ]
    every = ", ".join(f"done{number}" for number in range(len(names)))
    copy = {"content": f"{{{{ [{every}] | to_json }}}}", "dest": str(folder / "done")}
    kept = {"name": "<kept>", "ansible.builtin.copy": copy, "delegate_to": "localhost", "check_mode": False}
    play = {"hosts": host, "gather_facts": False, "connection": connection, "tasks": [*listed, kept]}
    (folder / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-vvv", "-i", f"{host},", *more, str(folder / "play.yml")],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(folder),
             "ANSIBLE_REMOTE_TEMP": str(folder), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (folder / "done").exists(), done.stdout + done.stderr
    printed = dict(re.findall(r"(?ms)^TASK \[<(\d+)>\](.*?)(?=^TASK \[<)", done.stdout))
    results = json.loads((folder / "done").read_text())
    for result in results:
        result.pop("exception", None)  # nor does Ansible print it, unless asked to
    return {name: Done(results[number], printed[str(number)]) for number, name in enumerate(names)}


def delegated(module, arguments, **keywords):
    """A task of the collection that asks for a host from this machine, by this interpreter unless told otherwise."""
    here = {"delegate_to": "localhost", "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
    return {f"kopano.hardening.{module}": arguments, **here, **keywords}
