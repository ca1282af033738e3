#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: web_config_graded
short_description: "Internal: the module web_config where something changes"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - The same as M(kopano.hardening.web_config), with the prober that grades the rehearsed and the live server.
  - The action plugin of M(kopano.hardening.web_config) runs it when a run is about to change something. Most runs do
    not, and then no prober has to be packed and sent to the host. Playbooks use
    M(kopano.hardening.web_config).
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.web_config
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Make the policy effective
  kopano.hardening.web_config:
    adopt: true
    policy:
      tls: /etc/nginx/kopano-hardening/tls.conf
"""

RETURN = r""" # """

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import frame as _frame
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import prediction as _prediction


def main() -> None:
    _frame.main(_prediction)


if __name__ == "__main__":
    main()
