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
  - Reads and checks the options of the role P(kopano.hardening.frontend#role), and does one part of what it is for.
  - Use the role instead.
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
  part:
    description:
      - V(deploy) queries the host, unless an earlier role of the run has done so, installs a web server where there is
        none and the options require one, plans the configuration and deploys it as M(kopano.hardening.web_config) does.
      - V(inspect) queries the host, and keeps its findings for the report. It changes nothing.
    type: str
    choices: [deploy, inspect]
    required: true
seealso:
  - module: kopano.hardening.web_config
  - module: kopano.hardening.host_info
"""

EXAMPLES = r"""
- name: Deploy the TLS policy
  kopano.hardening.frontend:
    part: deploy
"""

RETURN = r"""
plan:
  description:
    - What there is to do. C(error) is why it cannot be done and C(skip) why it is not.
    - The rest is as M(kopano.hardening.web_config) returns it.
  returned: with O(part=deploy) and C(frontend_state=present)
  type: dict
  sample: {}
outcome:
  description:
    - What changed, or would change, in one line that the terminal shows; C(unchanged), or why nothing can be done.
    - Then what became weaker (RV(kopano.hardening.web_config#module:weakened)), and in check mode the grades that
      would change.
  returned: success, with O(part=deploy)
  type: list
  elements: str
  sample: ["changed: 5 endpoints B -> A+ (000001-20261128T100000Z-c0a4b6)"]
lines:
  description:
    - How the change was rehearsed, what was kept (RV(kopano.hardening.web_config#module:kept)), and the grade of each
      endpoint before and after. The terminal shows it with C(-v), or where no report follows in the play.
  returned: success, with O(part=deploy)
  type: list
  elements: str
  sample:
    - "stronger than the policy, kept (see frontend_replace_stronger): shop.example hsts (max-age=63072000; preload)"
"""
