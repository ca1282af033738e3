#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Say where a fleet stands on the five steps, and why hosts fail
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes one report of what the other modules of this collection found, shows a line for each host in the terminal, and
    writes files on the controller.
  - Everything runs on the controller. No host is queried, and a task for it needs to run once only.
  - What could not be found out is unknown in the report and never good. A host that could not be reached fails.
  - Files are written whole or not at all. The report before, C(report.json) in the same
    folder, is read for the trend.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - The report is shown and no file is written.
  diff_mode:
    support: N/A
    details:
      - It never reports a change, since what it writes is its result.
options:
  part:
    description:
      - "Internal: a part of what the role P(kopano.hardening.report#role) is for, with the role's options. V(options)
        keeps those of the host, V(compare) fails where the hosts of the play do not agree about the one report,
        V(write) makes the report with the policy of each host, V(check) fails the host that misses its policy, V(show)
        shows the scorecard."
      - Without it the report is made with the options of the task.
    type: str
    choices: [options, compare, write, check, show]
  path:
    description:
      - Folder for the files. It is made if it is not there; a relative one begins where the playbook was started.
      - Required unless O(part) is given.
    type: str
  formats:
    description:
      - What to write; V(all), or some of those that the option C(report_formats) of the role
        P(kopano.hardening.report#role) has.
    type: list
    elements: str
    default: [all]
  hosts:
    description:
      - What is known of each host, by its name. Without it, what the roles of this collection have left in the
        variables of the play's hosts.
      - C(findings) are those of any module of this collection, C(results) those of
        M(kopano.hardening.tls_grade_info) with their own findings, and C(updates) is the answer of
        M(kopano.hardening.update_status_info).
      - C(state) is V(ok) (the default), V(failed), V(unreachable) or V(left_out), and C(message) says why.
      - C(proven) has the steps that were looked at and that pass if there is no finding, beside those that C(results)
        and C(updates) show.
      - C(sources) has what was looked at, by the first words of findings' ids such as V(caa), beside those that
        findings, C(results) and C(updates) show. What was not checked is neither new nor gone in the trend.
      - C(minimum_grade) is the grade that is wanted for the host. With C(ignore_trust) the grade counts that a trusted
        certificate would get, and findings about trust are waived.
      - With C(pending) the host is about to be changed, and does not fail for what it is before.
    type: dict
  expected:
    description:
      - Names of hosts that belong in the report even if the play does not have them, such as those that C(--limit) left
        out.
    type: list
    elements: str
    default: []
  fail_on:
    description:
      - What a host fails for. Severities (V(fail), V(warn), V(unknown), V(info)), and ids of findings or patterns for
        them. A host that could not be reached or looked at fails in any case.
    type: list
    elements: str
    default: [fail]
  minimum_grade:
    description:
      - The worst grade that is good enough for any host. Empty takes what is wanted for each.
      - An endpoint that misses it for nothing but waived findings does not count.
    type: str
    default: ""
  waivers:
    description:
      - Findings that are accepted until a day. After it they count again, and the report says that the waiver has
        ended.
    type: list
    elements: dict
    default: []
    suboptions:
      id:
        description: The finding's id, or a pattern such as V(tls.certificate.*).
        type: str
        required: true
      host:
        description: Pattern of the hosts' names.
        type: str
        default: "*"
      subject:
        description: Pattern of what the finding is about.
        type: str
        default: "*"
      reason:
        description: Why it is accepted.
        type: str
        required: true
      until:
        description: The last day, such as V(2027-01-31).
        type: str
        required: true
  title:
    description:
      - A title on the page that tells where the report comes from.
    type: str
    default: ""
  scorecard:
    description:
      - Whether to show a line for each host in the terminal.
    type: bool
    default: true
seealso:
  - module: kopano.hardening.tls_grade_info
  - module: kopano.hardening.caa_info
  - module: kopano.hardening.frontend_info
"""

EXAMPLES = r"""
- name: Report on all hosts of the play, after the roles of this collection
  kopano.hardening.report:
    path: /srv/reports/kopano
    waivers:
      - id: caa.none
        subject: old.example.com
        reason: The zone moves to another provider in January
        until: "2027-01-31"
  run_once: true
  register: report

- name: Fail the hosts that miss the policy
  ansible.builtin.fail:
    msg: "{{ report.reasons[inventory_hostname] | join('; ') }}"
  when: inventory_hostname in report.failed_hosts

- name: Report on two endpoints that were graded before
  kopano.hardening.report:
    path: report
    formats: [html, sarif]
    hosts:
      mail.example.com:
        results: "{{ grades.results }}"
        minimum_grade: A
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
files:
  description: The files that were written; none in check mode.
  returned: success
  type: list
  elements: path
  sample: [/srv/reports/kopano/index.html, /srv/reports/kopano/report.json]
failed_hosts:
  description: The hosts that miss the policy.
  returned: success
  type: list
  elements: str
  sample: [web2]
reasons:
  description: Why each of them does.
  returned: success
  type: dict
  sample:
    web2: [caa.none, 1 of 3 endpoints below A+]
scorecard:
  description: The lines for the terminal, each of pieces of text with a colour or none.
  returned: success
  type: list
  elements: list
  sample: [[["host  reach  updates", null]], [["web2  ", red], ["FAIL", red]]]
summary:
  description: The numbers of the whole. They are kept as the custom statistics C(kopano_hardening) as well.
  returned: success
  type: dict
  contains:
    hosts:
      description: How many hosts there are.
      type: int
      sample: 2
    passed:
      description: Names of those that keep to the policy.
      type: list
      elements: str
      sample: [web1]
    failed:
      description: Names of those that do not.
      type: list
      elements: str
      sample: [web2]
    unreachable:
      description: Names of those that could not be reached.
      type: list
      elements: str
      sample: []
    pending:
      description: Names of those that a dry run saw before a change.
      type: list
      elements: str
      sample: []
    left_out:
      description: Names of those that nobody looked at.
      type: list
      elements: str
      sample: []
    findings:
      description: How many findings of each severity are open, and how many are waived.
      type: dict
      sample: {fail: 1, warn: 0, unknown: 0, info: 9, waived: 0}
    steps:
      description: For each step of the checklist how many hosts stand how.
      type: dict
      sample: {"4": {fail: 1, warn: 0, unknown: 0, pass: 1, not_asked: 0}}
    grades:
      description: How many hosts have which grade; the worst of its endpoints counts for a host.
      type: dict
      sample: {A+: 2}
"""
