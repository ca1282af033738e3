#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: failure
short_description: "Internal: record what failed on a host, for the report"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - For the C(rescue) of a block in the playbooks of this collection. What failed is kept as the fact
    C(ansible_facts.kopano_hardening.failures), which is in the report.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  part:
    description:
      - V(record) keeps the failure that the block is rescued from.
      - V(judge) returns whether the host is to fail for good. It needs a task of its own, since the other hosts of the
        batch have recorded their failures then.
    type: str
    choices: [record, judge]
    default: record
  step:
    description: The step of the checklist that the failure belongs to, where the task does not return it.
    type: int
    default: 2
  max_fail_percentage:
    description: The play's limit of failed hosts. Below 100, each failed host counts.
    type: float
    default: 100
"""

EXAMPLES = r"""
- name: Check the CAA records
  block:
    - name: Check the CAA records
      kopano.hardening.caa:
        part: check
  rescue:
    - name: Record the failure
      kopano.hardening.failure:
        step: 4
"""

RETURN = r"""
is_final:
  description: Whether the host is to fail for good, so that Ansible counts it.
  returned: with O(part=judge)
  type: bool
  sample: false
reason:
  description: What failed on the host.
  returned: with O(part=judge)
  type: str
  sample: "Deploy the TLS policy: port 443 is taken"
"""
