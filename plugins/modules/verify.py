#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: "Internal: grade a host's endpoints with the options of the role verify"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reads and checks the options of the role P(kopano.hardening.verify#role), and does one part of what it is for.
  - Use the role instead.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  part:
    description:
      - V(grade) queries the host for its virtual hosts, unless an earlier role of the run has done so, and grades its
        endpoints from the controller, as M(kopano.hardening.tls_grade_info) does. The results are kept as the fact
        C(ansible_facts.kopano_hardening.verify), for the report. It fails for no grade.
      - V(check) fails the host where a grade is below the required one and its options require that. A host that was
        not graded in the same run fails.
    type: str
    choices: [grade, check]
    required: true
seealso:
  - module: kopano.hardening.tls_grade_info
"""

EXAMPLES = r"""
- name: Grade the endpoints
  kopano.hardening.verify:
    part: grade
"""

RETURN = r"""
lines:
  description: A line for each endpoint, and then what to do.
  returned: success, with O(part=grade)
  type: list
  elements: str
  sample: ["A+  mail.example.com:443 (192.0.2.10)"]
step:
  description: The step of the checklist that the failure belongs to.
  returned: failure
  type: int
  sample: 5
"""
