#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: updates
short_description: "Internal: inspect a host's updates, and record what is done, with the options of the role updates"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reads and checks the options of the role P(kopano.hardening.updates#role), and does one part of what it is for. The
    role's other tasks install updates, restart services and reboot the host.
  - Use the role instead.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  part:
    description:
      - V(inspect) queries the host, unless an earlier role of the run has done so, and keeps what is to be done as the
        fact C(ansible_facts.kopano_hardening.updates). It fails for no finding.
      - V(begin) prepares O(act). It rehearses the web server where the act may stop it, and keeps its responses.
      - V(blocked) records which packages cannot be installed, from O(results).
      - V(record) queries the host again after an act, compares the web server's responses, and keeps what was done.
      - V(settle) queries the host again where an act has failed, and never fails itself.
      - V(check) reports the updates and what was done. It fails the host where something was to be done and was not
        achieved, and for findings where the options require that. A host that was not inspected in the same run fails.
    type: str
    choices: [inspect, begin, blocked, record, settle, check]
    required: true
  act:
    description: What O(part=begin) prepares.
    type: str
    choices: [install, automatic, restart, reboot]
  results:
    description: With O(part=blocked), the results of a loop over packages.
    type: list
    elements: dict
seealso:
  - module: kopano.hardening.update_status_info
"""

EXAMPLES = r"""
- name: Inspect the updates
  kopano.hardening.updates:
    part: inspect
"""

RETURN = r"""
outcome:
  description: What was done, or in check mode would be, a line each, which the terminal shows.
  returned: with O(part=check)
  type: list
  elements: str
  sample: ["installed: openssl=3.5.4-1~deb13u2"]
lines:
  description: What is known of support, updates, restarts and automatic updates, and the findings with their fixes.
  returned: success, with O(part=check)
  type: list
  elements: str
  sample: ["support: full until 2028-08-09 (distro-info-data)"]
probes:
  description: The web server's responses, as RV(kopano.hardening.web_config#module:probes), with what else it returns.
  returned: with O(part=begin) and O(part=record), where a web server runs that the act may change
  type: list
  elements: dict
  sample: []
step:
  description: The step of the checklist that the failure belongs to.
  returned: failure
  type: int
  sample: 1
"""
