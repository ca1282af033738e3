#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reach
short_description: Refuse options of roles that cannot work, then ask the host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Does what M(kopano.hardening.role_options) does, then what M(kopano.hardening.host_info) does, in one task.
  - Meant for the playbooks of this collection, which begin with it.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  roles:
    description: As O(kopano.hardening.role_options#module:roles).
    type: list
    elements: str
    choices: [updates, frontend, certificate, verify, caa, report]
    required: true
  question:
    description:
      - Name of a variable that has the options of M(kopano.hardening.host_info). Those without a value are left out.
      - The variable depends on the roles' options. It is read when these have been checked.
    type: str
    required: true
  steps:
    description: What the question is for. It is returned as it is.
    type: list
    elements: str
    required: true
seealso:
  - module: kopano.hardening.role_options
  - module: kopano.hardening.host_info
"""

EXAMPLES = r"""
- name: Reach the host, and ask it
  kopano.hardening.reach:
    roles: [updates, report]
    question: question
    steps: [updates]
  vars:
    question:
      updates:
        accept_lts: "{{ updates_accept_lts }}"
  register: host
"""

RETURN = r"""
step:
  description: The step of the checklist that the first role with a wrong option is for, if it is for one.
  returned: if an option was refused
  type: int
  sample: 1
steps:
  description:
    - O(steps). The rest is as M(kopano.hardening.host_info) returns it.
  returned: unless an option was refused
  type: list
  elements: str
  sample: [updates]
"""
