#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: caa
short_description: "Internal: check a host's CAA records with the options of the role caa"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reads and checks the options of the role P(kopano.hardening.caa#role), and does one part of what it is for.
  - Use the role instead.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  part:
    description:
      - V(names) collects the names of the host and its certificates, as the fact C(ansible_facts.kopano_hardening.caa).
      - V(lookup), once for all hosts, looks up what they have collected, as M(kopano.hardening.caa_info) does. Hosts
        share a lookup where every option that decides its result is the same. It fails no host.
      - V(again), once for all hosts after publishing, looks up what was published again, and returns what V(lookup)
        does, with the verdicts from before. What the resolver or a name server does not have yet is unknown.
      - V(check) reports what was found about the host, and fails it where its options require that. It needs the result
        of V(lookup) as the variable C(caa_lookups), and that of publishing as C(caa_published).
    type: str
    choices: [names, lookup, again, check]
    required: true
seealso:
  - module: kopano.hardening.caa_info
  - module: kopano.hardening.caa_publish
"""

EXAMPLES = r"""
- name: Collect the names to check
  kopano.hardening.caa:
    part: names
"""

RETURN = r"""
outcome:
  description: What was done, or in check mode would be, a line each, which the terminal shows.
  returned: with O(part=check)
  type: list
  elements: str
  sample: ["published: example.com (2 of 2 name servers have it)"]
lines:
  description: What was found about the host, a line each.
  returned: success, with O(part=check)
  type: list
  elements: str
  sample: ["permitted: mail.example.com (records at example.com, DNSSEC secure)"]
lookups:
  description: For each group of hosts, C(hosts) and what M(kopano.hardening.caa_info) returns, or C(failed) and C(msg).
  returned: with O(part=lookup) and O(part=again)
  type: list
  elements: dict
  sample: []
step:
  description: The step of the checklist that the failure belongs to.
  returned: failure
  type: int
  sample: 4
"""
