#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: frontend
short_description: "Internal: make the policy effective on a host with the options of the role frontend"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes a plan from what M(kopano.hardening.frontend_info) has found and from the options of the role
    P(kopano.hardening.frontend#role), and brings it onto the host as M(kopano.hardening.web_config) does it.
  - Meant for the role itself. Shape and keys of the options may change.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - The change is rehearsed and nothing is written.
  diff_mode:
    support: full
options:
  info:
    description: The results of M(kopano.hardening.frontend_info).
    type: dict
    required: true
  done:
    description:
      - RV(kopano.hardening.host_info#module:web_config) as M(kopano.hardening.host_info) returns it.
      - Where this was the very same, and five minutes ago at most, its answer is taken and the host is not asked again.
    type: dict
seealso:
  - module: kopano.hardening.web_config
  - module: kopano.hardening.host_info
"""

EXAMPLES = r"""
- name: Make the policy effective
  kopano.hardening.frontend:
    info: "{{ __frontend_info }}"
"""

RETURN = r"""
plan:
  description:
    - What there is to do. C(error) says why it cannot be done and C(skip) why it is not.
    - The rest is as M(kopano.hardening.web_config) returns it.
  returned: with C(frontend_state=present)
  type: dict
  sample: {}
lines:
  description:
    - What changed, or would change, for the terminal, with what was kept or became weaker
      (RV(kopano.hardening.web_config#module:kept), RV(kopano.hardening.web_config#module:weakened)) and the grade of
      each endpoint before and after.
  returned: if something changed, or nothing can be done
  type: list
  elements: str
  sample:
    - "stronger than the policy, kept (see frontend_replace_stronger): shop.example hsts (max-age=63072000; preload)"
"""
