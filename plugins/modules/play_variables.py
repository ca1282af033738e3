#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: play_variables
short_description: "Internal: refuse variables of a play's keywords in the inventory"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Keywords of a play that are about all of its hosts, such as C(hosts) and C(serial), see extra variables and those of
    the play only. A variable for them that is set in the inventory has no effect, and more hosts would be changed, or
    more at a time, than its author means.
  - Fails with the names of such variables, the host that has them, and how to set them. Run it with C(run_once), so
    that this ends the play for all hosts.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  names:
    description: The variables.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Refuse what the inventory cannot set
  kopano.hardening.play_variables:
    names: [harden_hosts, harden_serial]
  run_once: true
"""

RETURN = r"""
msg:
  description: Which variable is set where it has no effect.
  returned: failure
  type: str
  sample: >-
    harden_hosts (web1) is set in the inventory, where this play does not see it: set it with -e harden_hosts=... or as
    a variable of import_playbook, and remove it from the inventory
"""
