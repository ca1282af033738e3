#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate
short_description: "Internal: install, order and check a host's certificate with the options of the role certificate"
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reads and checks the options of the role P(kopano.hardening.certificate#role), and does one part of what it is for.
  - Use the role instead.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - The installation is rehearsed, nothing is ordered and nothing is written.
  diff_mode:
    support: full
    details:
      - Private keys are shown as their SHA-256 only.
options:
  part:
    description:
      - V(install) installs the certificate that the administrator brings, once it has been judged, or a self-signed
        one, as M(kopano.hardening.certificate_install) does. It does nothing where the options name no certificate.
      - V(order) orders one with C(certbot) where C(certificate_source=acme), after checking from the controller what
        the CA will check, and installs it. Then it inspects the certificate that the role has installed, or else those
        that are served. It fails for no order; V(check) does.
      - V(inspect) inspects the certificates that are served, and changes nothing.
      - V(check) reports what was inspected, and fails the host where an order has failed. A host of which nothing was
        inspected in the same run fails.
    type: str
    choices: [install, order, inspect, check]
    required: true
  order_follows:
    description:
      - Whether V(part=order) comes next, with no other role in between. Then V(part=install) leaves it to that part to
        install a self-signed bootstrap certificate, which is needed only where the order fails.
    type: bool
    default: false
seealso:
  - module: kopano.hardening.certificate_info
  - module: kopano.hardening.certificate_install
  - module: kopano.hardening.acme_certificate
"""

EXAMPLES = r"""
- name: Install the certificate
  kopano.hardening.certificate:
    part: install
  register: certificate_result
"""

RETURN = r"""
certificates:
  description: Where chain and key are, for each kind of key, as C(path), C(key_path) and C(key_type).
  returned: with O(part=install), if there is a certificate to install
  type: list
  elements: dict
  sample:
    - path: /etc/kopano-hardening/tls/fullchain.pem
      key_path: /etc/kopano-hardening/tls/privkey.pem
      key_type: ecdsa
names:
  description: The names that the certificate is for.
  returned: with O(part=install), if there is a certificate to install
  type: list
  elements: str
  sample: [mail.example.com]
missing:
  description: Of these files those that are not there, because this is check mode.
  returned: with O(part=install), if there is a certificate to install
  type: list
  elements: str
  sample: []
outcome:
  description: What was done, or in check mode would be, a line each, which the terminal shows.
  returned: with O(part=install) and O(part=order)
  type: list
  elements: str
  sample: ["installed /etc/kopano-hardening/tls/fullchain.pem; for apache2"]
lines:
  description: A line for each certificate and what was found about it.
  returned: success, with O(part=check)
  type: list
  elements: str
  sample: ["/etc/kopano-hardening/tls/fullchain.pem: usable, valid until 2027-01-01T00:00:00Z"]
step:
  description: The step of the checklist that the failure belongs to.
  returned: failure
  type: int
  sample: 5
"""
