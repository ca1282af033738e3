#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_reach_info
short_description: Find out whether an ACME server would reach a host by its names
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Looks up names and fetches a file from every address that they have, as an ACME server does for C(http-01).
  - An order that fails counts towards the limits of a CA. This does not.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
  - kopano.hardening.attributes.actiongroup_dns
options:
  names:
    description: The names.
    type: list
    elements: str
    required: true
  path:
    description:
      - The path to fetch on port 80. Redirects within the name are followed.
      - Without it, the names only have to have an address.
    type: str
  content:
    description: What the response has to be, apart from blanks around it. Required with O(path).
    type: str
  nameservers:
    description:
      - The resolvers to query, each as C(ADDRESS), C(ADDRESS:PORT) or C([ADDRESS]:PORT).
      - The default is C(/etc/resolv.conf) of the machine that the module runs on.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds to wait for each response, of a name server or of the host.
      - A name may take twelve times as long in all, with all of its addresses and redirects. One that takes longer has
        an error.
    type: float
    default: 5
requirements:
  - python >= 3.10
  - dnspython >= 2.3.0
notes:
  - Run it on the controller (C(delegate_to) V(localhost)), which sees the host from outside.
  - An address that this machine has no way to, one of IPv6 for example, is not judged, unless there are no others.
seealso:
  - module: kopano.hardening.acme_certificate
"""

EXAMPLES = r"""
- name: Would the challenge be reached?
  kopano.hardening.acme_reach_info:
    names: [mail.example.com, autodiscover.example.com]
    path: /.well-known/acme-challenge/test
    content: "1234"
  delegate_to: localhost
  register: reach
"""

RETURN = r"""
results:
  description: One entry for each name, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as given.
      type: str
      sample: mail.example.com
    addresses:
      description: The addresses that it has.
      type: list
      elements: str
      sample: [192.0.2.10, "2001:db8::10"]
    error:
      description: What is wrong, null if nothing is.
      type: str
      sample: 192.0.2.10, where the name leads to, does not respond on port 80
"""

from typing import Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import acme_preflight as _acme_preflight
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.acme_preflight import ReachInfo
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule

ARGUMENTS: dict[str, Any] = {
    "names": {"type": "list", "elements": "str", "required": True},
    "path": {"type": "str"},
    "content": {"type": "str"},
    "nameservers": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 5},
}


def run(params: dict[str, Any]) -> ReachInfo:
    """The module's result; raises ValueError for options that have no meaning, and without dnspython."""
    if _acme_preflight.DNSPYTHON_IMPORT_ERROR:
        raise ValueError(missing_required_lib("dnspython"))
    if params["path"] and not params["path"].startswith("/"):
        raise ValueError(f"path: {params['path']!r} does not begin with a slash")
    if not 0 < params["timeout"] <= 600:
        raise ValueError("timeout: must be above 0 and at most 600 seconds")
    try:
        servers = _nameservers.resolvers(params["nameservers"], trusted=False)
    except ValueError as error:
        raise ValueError(f"nameservers: {error}") from error
    path, content = params["path"] or "", params["content"] or ""
    return {"results": _acme_preflight.inspect(params["names"], servers, path, content, params["timeout"])}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_together=[("path", "content")],
    )
    try:
        result = run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
