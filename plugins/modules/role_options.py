#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: role_options
short_description: Check the options of roles on a host, before anything is done there
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Checks the options of all roles of this collection that a play imports and that are chosen by their tags, and fails
    with one message for all that is wrong with them. It checks types, choices and ranges, what options have to do with
    each other, and whether a variable is almost the name of an option.
  - The roles that follow in the play share one query of the host, so nothing else may change the host between them.
  - Without it, the first role does the same check, and each role queries the host itself. The playbooks of this
    collection begin with it, as their report is in a play of its own.
  - It runs on the controller and sends nothing.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  roles:
    description: Names of more roles, such as those of later plays.
    type: list
    elements: str
    choices: [updates, certificate, frontend, caa, verify, report]
    default: []
"""

EXAMPLES = r"""
- name: Check the options
  kopano.hardening.role_options:
    roles: [report]
"""

RETURN = r"""
msg:
  description: What is wrong with which option.
  returned: failure
  type: str
  sample: "frontend_hsts_max_age: 300 seconds are less than 120 days"
step:
  description: The step of the checklist that the first role with such an option is for.
  returned: failure, unless it is the role C(report)
  type: int
  sample: 2
"""
