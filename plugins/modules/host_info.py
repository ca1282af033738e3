#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Query a host in one call for what several modules return
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Returns what M(kopano.hardening.update_status_info), M(kopano.hardening.frontend_info) and
    M(kopano.hardening.certificate_info) return. Each call of a module costs some tenths of a second before it does
    anything.
  - A host that cannot be reached fails, with RV(reached=false), so that a play can rescue it. With other modules
    Ansible leaves it out of the rest of the play.
  - A part that fails loses no other. It is returned with C(failed) and C(msg), as a task of its own would have been.
    Options without a meaning still fail the module.
  - The playbooks of this collection begin with it. It is of no use where you call one of these modules only.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
attributes:
  check_mode:
    details:
      - Package lists are not fetched in check mode. Nothing else is ever changed.
options:
  updates:
    description: Query the updates, with the options of M(kopano.hardening.update_status_info).
    type: dict
    suboptions:
      support_data:
        description: As O(kopano.hardening.update_status_info#module:support_data).
        type: dict
        default: {}
      accept_lts:
        description: As O(kopano.hardening.update_status_info#module:accept_lts).
        type: bool
        default: true
      max_metadata_age:
        description: As O(kopano.hardening.update_status_info#module:max_metadata_age).
        type: int
        default: 48
      now:
        description: As O(kopano.hardening.update_status_info#module:now).
        type: str
      refresh:
        description: As O(kopano.hardening.update_status_info#module:refresh).
        type: bool
        default: false
  frontend:
    description: Query the web server, with the options of M(kopano.hardening.frontend_info).
    type: dict
    suboptions:
      server:
        description: As O(kopano.hardening.frontend_info#module:server).
        type: str
        choices: [auto, apache, nginx]
        default: auto
      clients:
        description: As O(kopano.hardening.frontend_info#module:clients).
        type: bool
        default: false
  certificates:
    description:
      - Query the certificates that the web server's virtual hosts have, with options of
        M(kopano.hardening.certificate_info). This needs O(frontend).
    type: dict
    suboptions:
      ca_file:
        description: As O(kopano.hardening.certificate_info#module:ca_file).
        type: path
      ca_content:
        description: As O(kopano.hardening.certificate_info#module:ca_content).
        type: str
      self_signed_ok:
        description: As O(kopano.hardening.certificate_info#module:self_signed_ok).
        type: bool
        default: false
      now:
        description: As O(kopano.hardening.certificate_info#module:now).
        type: str
  web_config:
    description:
      - Repeat, as in check mode, the last run of M(kopano.hardening.web_config) that had nothing to change on this
        host. Its options are kept on the host, for root alone.
      - So a host on which nothing is to be changed is queried once and not twice.
    type: bool
    default: false
seealso:
  - module: kopano.hardening.update_status_info
  - module: kopano.hardening.frontend_info
  - module: kopano.hardening.certificate_info
  - module: kopano.hardening.web_config
"""

EXAMPLES = r"""
- name: Query the host
  kopano.hardening.host_info:
    updates:
      accept_lts: false
    frontend: {}
    certificates: {}
  register: host

- name: See how long the distribution is maintained
  ansible.builtin.debug:
    var: host.updates.support
"""

RETURN = r"""
reached:
  description: Whether the host could be reached. One that could not has failed with this.
  returned: always
  type: bool
  sample: true
updates:
  description: What M(kopano.hardening.update_status_info) returns.
  returned: with O(updates)
  type: dict
  sample: {}
frontend:
  description: What M(kopano.hardening.frontend_info) returns.
  returned: with O(frontend)
  type: dict
  sample: {}
certificates:
  description: What M(kopano.hardening.certificate_info) returns of the certificates that virtual hosts with TLS have.
  returned: with O(certificates)
  type: dict
  sample: {}
web_config:
  description:
    - What M(kopano.hardening.web_config) returns if it still has nothing to change. None if it would change or refuse
      something, if something failed or called for a warning, or if no run is known.
    - It counts for a run with the very same options. C(digest) is that of the options, C(asked) the time on the
      controller's monotonic clock, in seconds, and C(answer) what is returned, as JSON text.
    - C(started) is the server that has come up with its whole configuration in a rehearsal, so that
      RV(frontend) does not test it once more; None where there was no such rehearsal.
  returned: with O(web_config=true)
  type: dict
  sample: {}
"""


from ansible_collections.kopano.hardening.plugins.module_utils import _host_info
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options


def main() -> None:
    module = AnsibleModule(
        argument_spec=_host_options.HOST,
        required_by={"certificates": ("frontend",)},
        supports_check_mode=True,
    )
    try:
        result = _host_info.run(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
