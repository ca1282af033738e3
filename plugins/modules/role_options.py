#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: role_options
short_description: Refuse options of this collection's roles that cannot work
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Checks the variables of several roles in one task, before anything is asked of a host. A role that is used by itself
    does the same with its own.
  - It looks at types and choices, and where the play has the role, at what the options have to do with each other.
  - It computes on the controller and asks nobody.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  roles:
    description: Names of the roles.
    type: list
    elements: str
    choices: [updates, frontend, certificate, verify, caa, report]
    required: true
"""

EXAMPLES = r"""
- name: Refuse options that cannot work
  kopano.hardening.role_options:
    roles: [frontend, verify]
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
