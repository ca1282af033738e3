# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report on all hosts, written on the controller and shown in the terminal.

Each host's own task reads its options and, at the end, fails it where it misses its policy. In between there is one
report for all.
"""

from __future__ import annotations

import datetime
import os
import shutil
import typing as t
from pathlib import Path

import yaml

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import scorecard as _scorecard
from ansible_collections.kopano.hardening.plugins.plugin_utils._report.build import Given
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import report as _roles_report
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostFact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.report import Policy, ReportFact


class ActionModule(RoleAction):
    ROLE = "report"
    _requires_connection = False

    def options(self, variables: Info) -> Info:
        """None for the parts that are about all hosts, which have kept theirs."""
        return {}

    def act(self, _options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info], Info]] = {
            "options": self._keep_options,
            "compare": self._compare,
            "write": self._write_for_play,
            "check": self._check,
            "show": self._show,
        }
        part = self._task.args.get("part")
        if part is None:
            return self._write_by_hand(variables)
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        return parts[part](variables)

    def _keep_options(self, variables: Info) -> Info:
        """The options of this host. One with an error in them has its place in the report, too, and fails after it."""
        options, errors = _roles_options.read(self, self.ROLE, variables)
        kept: ReportFact = {"error": "; ".join(errors)} if errors else _roles_report.kept(options)
        return _host_fact.update(variables, report=kept)

    def _compare(self, variables: Info) -> Info:
        """Fails the host if its options cannot be for the same report as those of the play's first one."""
        own = variables["inventory_hostname"]
        found: dict[str, Info] = {}
        for host in variables["ansible_play_hosts_all"]:
            of_host = variables if host == own else variables["hostvars"].raw_get(host)
            found = _options_of({host: of_host, own: variables})
            if host == own or host in found:
                break
        refused = _roles_report.disagreements(found)
        if own in refused:
            raise RoleError(refused[own])
        return {}

    def _write_for_play(self, variables: Info) -> Info:
        """The report on the hosts of the play, each with its own policy."""
        # Also those that the play has lost since they have kept their options.
        of_hosts = _of_hosts(variables)
        options = _options_of(of_hosts)
        if not options:
            raise RoleError(_host_fact.read(variables).get("report", {}).get("error") or "no host has kept its options")
        refused = _roles_report.disagreements(options)
        shared = _roles_report.shared(options)
        hosts = _gathered(variables, of_hosts, shared["expected"])
        for host, message in refused.items():
            _gather.refuse(hosts[host], message)
        return {**self._report(hosts, _roles_report.policies(options), shared), "refused": refused}

    def _write_by_hand(self, variables: Info) -> Info:
        """The report with the options of the task, on the hosts that it names or on those of the play."""
        given = plain(self._task.args)
        hosts: t.Any = given.pop("hosts", None)
        if "path" not in given:
            raise RoleError("path: is required, as no part of the role report is called")
        options, errors = _roles_options.of_task(self.ROLE, given)
        if errors:
            raise RoleError("; ".join(errors))
        if hosts is None:
            hosts = _gathered(variables, _of_hosts(variables), options["expected"])
        else:
            try:
                _gather.check(hosts)
            except ValueError as error:
                raise RoleError(str(error)) from error
        result = self._report(hosts, _roles_report.policies(dict.fromkeys(hosts, options)), options)
        if options["scorecard"]:
            _terminal.show_coloured(result["scorecard"])
        return result

    def _report(self, hosts: t.Mapping[str, Given], policies: t.Mapping[str, Policy], options: Info) -> Info:
        """The task's result. options: those of the one report."""
        folder = os.path.abspath(os.path.expanduser(options["path"]))
        previous, trouble = _files.read_previous(folder)
        now = datetime.datetime.now(_roles_report.UTC)
        report = _build.build(hosts, policies, now, previous, _version(), options["title"])
        files, error = [], None
        if not self._task.check_mode:
            try:
                files = _files.write(folder, _files.render(report, options["formats"]))
            except OSError as caught:
                error = caught
        lines = _scorecard.lines(report, files, shutil.get_terminal_size((_terminal.WIDTH, 0)).columns)
        if error:
            # What was found is not lost.
            _terminal.show_coloured(lines)
            raise RoleError(f"report_path: {folder}: {error}")
        summary = report["summary"]
        return {
            **({"warnings": [trouble]} if trouble else {}),
            "files": files,
            "summary": summary,
            "failed_hosts": summary["failed"],
            "reasons": {entry["name"]: entry["reasons"] for entry in report["hosts"] if entry["failed"]},
            "scorecard": lines,
            "show": options["scorecard"],
            # As of set_stats: a workflow's next job has the numbers.
            "ansible_stats": {"data": {"kopano_hardening": summary}, "per_host": False, "aggregate": False},
        }

    def _check(self, variables: Info) -> Info:
        """Fails the host if it misses its policy and its options say so."""
        host = variables["inventory_hostname"]
        kept = _host_fact.read(variables).get("report") or {}
        # What is about this host alone: each host would copy the results of all.
        refused, reasons = (plain(variables["report_result"][key].get(host)) for key in ("refused", "reasons"))
        refused = kept.get("error") or refused
        if refused:
            raise RoleError(refused)
        if kept["options"]["fail"] and reasons:
            raise RoleError("; ".join(_in_words(reasons, _host_fact.read(variables))))
        return {}

    @staticmethod
    def _show(variables: Info) -> Info:
        """The scorecard, after the messages of the hosts that fail, among which it would not be seen."""
        written = variables.get("report_result") or {}
        if written.get("show"):
            _terminal.show_coloured(plain(written["scorecard"]))
        return {}


def _of_hosts(variables: Info) -> dict[str, Info]:
    """The variables of all hosts of the play. Ansible takes long to put them together, so this is done once."""
    return {host: variables["hostvars"].raw_get(host) for host in variables["ansible_play_hosts_all"]}


def _options_of(variables: t.Mapping[str, Info]) -> dict[str, Info]:
    """The options that these hosts have kept."""
    facts = {host: _host_fact.read(own).get("report") for host, own in variables.items()}
    return {host: plain(fact["options"]) for host, fact in facts.items() if fact and "options" in fact}


def _gathered(variables: Info, of_hosts: t.Mapping[str, Info], expected: t.Iterable[str]) -> dict[str, Given]:
    active, batch = variables["ansible_play_hosts"], variables["ansible_play_batch"]
    return _gather.gather(of_hosts, expected, active, batch)


def _in_words(reasons: t.Iterable[str], fact: HostFact) -> list[str]:
    """Why a host fails: what has failed there is known better than by the id of the finding."""
    if "unreachable" in fact:
        return [f"not reachable: {fact['unreachable']}"]
    failures = [failure["message"] for failure in fact.get("failures") or []]
    return [*(reason for reason in reasons if not (failures and reason.startswith("report.host."))), *failures]


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
