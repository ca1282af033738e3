# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the report on the controller, and shows it in the terminal."""

from __future__ import annotations

import datetime
import os
import sys
import typing as t
from pathlib import Path

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display

from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import scorecard as _scorecard
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report

display = Display()

ARGUMENTS = {
    "path": {"type": "str"},
    "formats": {"type": "list", "elements": "str", "default": [_files.ALL]},
    "hosts": {"type": "dict"},
    "expected": {"type": "list", "elements": "str", "default": []},
    "fail_on": {"type": "list", "elements": "str", "default": ["fail"]},
    "minimum_grade": {"type": "str", "default": ""},
    "waivers": {"type": "list", "elements": "dict", "default": []},
    "title": {"type": "str", "default": ""},
    "scorecard": {"type": "bool", "default": True},
    "show": {"type": "list", "elements": "list"},
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(
            ARGUMENTS, mutually_exclusive=[("path", "show")], required_one_of=[("path", "show")]
        )
        if options["show"] is not None:
            _show(options["show"])
            result["changed"] = False
            return result
        try:
            policy = _roles_report.Policy(options["fail_on"], options["minimum_grade"], options["waivers"])
            hosts = options["hosts"]
            if hosts is None:
                hosts = _gather.gather(
                    task_vars["hostvars"],
                    task_vars["ansible_play_hosts_all"],
                    options["expected"],
                    task_vars["ansible_play_hosts"],
                )
            else:
                _gather.check(hosts)
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        folder = os.path.abspath(os.path.expanduser(options["path"]))
        previous, trouble = _files.read_previous(folder)
        if trouble:
            result.setdefault("warnings", []).append(trouble)
        now = datetime.datetime.now(_roles_report.UTC)
        report = _build.build(hosts, policy, now, previous, _version(), options["title"])
        try:
            texts = _files.render(report, options["formats"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        files = [] if self._task.check_mode else _write(folder, texts)
        lines = _scorecard.lines(report, files, display.columns if sys.stdout.isatty() else None)
        if options["scorecard"]:
            _show(lines)
        summary = report["summary"]
        result.update(
            changed=False,
            files=files,
            summary=summary,
            failed_hosts=summary["failed"],
            reasons={entry["name"]: entry["reasons"] for entry in report["hosts"] if entry["failed"]},
            scorecard=lines,
            # As of set_stats: a workflow's next job has the numbers.
            ansible_stats={"data": {"kopano_hardening": summary}, "per_host": False, "aggregate": False},
        )
        return result


def _write(folder: str, texts: dict[str, str]) -> list[str]:
    try:
        return _files.write(folder, texts)
    except OSError as error:
        raise AnsibleActionFail(f"path: {folder}: {error}") from error


def _show(lines: t.Iterable[t.Any]) -> None:
    """The scorecard; Ansible knows whether somebody looks who can see colours."""
    for line in lines:
        display.display("".join(stringc(text, colour) if colour else text for text, colour in line))


def _version() -> str:
    """The collection's version, of an installed collection or of a checkout."""
    root = Path(__file__).resolve().parents[2]
    for name, keys in (("MANIFEST.json", ("collection_info", "version")), ("galaxy.yml", ("version",))):
        try:
            value = yaml.safe_load((root / name).read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            return str(value)
        except (OSError, KeyError, TypeError, yaml.YAMLError):
            continue
    return ""
