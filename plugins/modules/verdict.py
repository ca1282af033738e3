#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verdict
short_description: Say what was found out about a host, and fail it if that is not good enough
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Shows the lines of a report, and fails if the report says so, in one task that computes the report once.
  - It computes on the controller and asks nobody. The roles of this collection end with it.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  report:
    description:
      - What is known, with at least C(lines), a list of what to say, and C(bad), a list of what the host fails for.
      - Or a list of several such dictionaries, for one task instead of several.
      - With C(step), a step of the checklist, what it fails for is in RV(failures) too.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Hold the updates against what is wanted
  kopano.hardening.verdict:
    report:
      lines: ["updates: 2 pending, 1 for security"]
      bad: ["openssl has a security update"]
"""

RETURN = r"""
bad:
  description: The report's C(bad).
  returned: failure
  type: list
  elements: str
  sample: ["openssl has a security update"]
failures:
  description: What it fails for by step, with the name of the task.
  returned: failure
  type: list
  elements: dict
  sample: [{step: 1, message: "Say how the host is doing: openssl has a security update"}]
msg:
  description: The report's C(lines).
  returned: always
  type: list
  elements: str
  sample: ["updates: 2 pending, 1 for security"]
"""
