# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What actions of roles show on the terminal, in plays by Ansible's own default callback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal

from .conftest import COLLECTIONS
from .slow_bed import HANGS

LONG = "word " * 60
ZONE = 'mail.example.test. IN CAA 0 iodef "mailto:somebody-with-a-rather-long-name@hostmasters.example.test"; note'


@pytest.fixture
def shown(monkeypatch):
    """The lines that are displayed."""
    lines: list[str] = []
    monkeypatch.setattr(_terminal.display, "display", lambda text, **_more: lines.append(text))
    return lines


def test_the_name_of_the_host_stands_before_the_outcome_and_what_was_found_below_the_role():
    text = _terminal.text("web1  ", ["changed: 2 files", "weaker now"], ["fail: a.b (c): d"], "frontend")
    assert text.splitlines() == ["web1    changed: 2 files", "  weaker now", "web1  frontend:", "fail: a.b (c): d"]
    assert _terminal.text("web1", [], [], "frontend") == ""


def test_long_lines_are_wrapped_and_what_is_to_be_pasted_is_not():
    fix, more = f"  fix: {LONG}", f"  {LONG}"
    lines = _terminal.text("web1", [LONG], [LONG, fix, more, ZONE], "caa").splitlines()
    assert {fix, more, ZONE} <= set(lines)
    assert all(len(line) <= _terminal.WIDTH for line in lines if line not in (fix, more, ZONE))
    assert sum("word" in line for line in lines) > 8


def test_a_step_that_takes_long_says_what_it_waits_for(shown):
    with _terminal.waiting("web1", "the CA, at most 10 minutes", patience=0.01):
        deadline = time.monotonic() + HANGS
        while not shown and time.monotonic() < deadline:
            time.sleep(0.01)
    assert shown == ["web1  waiting: the CA, at most 10 minutes"]


def test_a_step_that_is_done_says_nothing(shown):
    with _terminal.waiting("web1", "nothing", patience=3600):
        pass
    with pytest.raises(ValueError, match="stopped"), _terminal.waiting("web1", "nothing", patience=3600):
        raise ValueError("stopped")
    assert shown == []


@pytest.mark.parametrize("callback", ["json", "ansible.posix.json", "ansible.posix.jsonl"])
def test_where_a_program_reads_the_output_nothing_is_mixed_into_it(shown, monkeypatch, callback):
    monkeypatch.setattr(_terminal.constants, "DEFAULT_STDOUT_CALLBACK", callback)
    _terminal.show("web1  changed")
    _terminal.show_coloured([[("web1", "red")]])
    assert shown == []


def test_colours_are_those_of_ansible(monkeypatch):
    colours = []
    monkeypatch.setattr(_terminal.display, "display", lambda _text, color=None: colours.append(color))
    _terminal.show("web1  changed", changed=True)
    _terminal.show("web1  unchanged")
    assert colours == [_terminal.constants.COLOR_CHANGED, None]


# --- a play ----------------------------------------------------------------------------------------------------------

# The role verify's action, of which only what it shows is another.
ACTION = """
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import RoleAction, RoleError

class ActionModule(RoleAction):
    ROLE = "verify"

    def options(self, variables):
        return {}

    def act(self, options, variables):
        more = {"plan": ["bulk"] * 3, "lines": ["warn: a.b (c): d", "  fix: do e"]}
        if variables["fails"]:
            raise RoleError("it does not fit", **more)
        return {"changed": True, "outcome": ["changed: 5 endpoints B -> A+"], **more}
"""
TASK = {"name": "Act", "show": {}}


def play(folder, *options, report=True, **task):
    """The output of a play with a host that changes and one that fails; with a report at its end, or without."""
    (folder / "action").mkdir(exist_ok=True)
    (folder / "action" / "show.py").write_text(ACTION)
    first = [{"name": "Keep", "kopano.hardening.role_options": {"roles": ["report"] if report else []}}]
    tasks = [*first, {**TASK, **task}]
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    hosts = {name: {"fails": name == "fails"} for name in ("changes", "fails")}
    (folder / "hosts.json").write_text(json.dumps({"all": {"vars": {"ansible_connection": "local"}, "hosts": hosts}}))
    (folder / "hosts.yml").write_text((folder / "hosts.json").read_text())
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.yml", *options, "play.yml"],
        env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_ACTION_PLUGINS": str(folder / "action"),
             "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(folder), "PYTHONPATH": ""},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout


def test_a_change_is_a_line_and_a_failure_has_no_bulk(tmp_path):
    output = play(tmp_path)
    assert re.search(r"(?m)^changes  changed: 5 endpoints B -> A\+$", output)
    assert re.search(r'"msg": "it does not fit", "role": "\w+", "step": 5\}', output)
    assert "bulk" not in output and "a.b" not in output


def test_one_v_shows_what_was_found_and_two_the_whole_result(tmp_path):
    once, twice = play(tmp_path, "-v"), play(tmp_path, "-vv")
    for output in (once, twice):
        assert output.count("warn: a.b (c): d\n  fix: do e\n") == 2
    assert "bulk" not in once and "bulk" in twice


def test_where_no_report_follows_what_was_found_is_shown(tmp_path):
    assert play(tmp_path, report=False).count("warn: a.b (c): d\n  fix: do e\n") == 2


def test_what_must_not_be_logged_is_not_shown(tmp_path):
    output = play(tmp_path, "-v", no_log=True)
    assert "a.b" not in output and "B -> A+" not in output
