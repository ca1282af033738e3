#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_info
short_description: Judge a certificate, its chain and its key before a server gets them
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Checks whether a server could use a certificate and its key, and whether clients would accept them. Each defect is a
    finding with its own message and a command that repairs it.
  - The key fits, and each certificate was signed by the next, if OpenSSL can shake hands with itself, in memory, with
    certificate and key on one side and trust in the end of the chain on the other. The key is never shown.
  - The chain begins with the server's own certificate, and each issuer follows. The root may be left out. Without
    O(ca_file) it is not checked whether the chain leads anywhere, and whether a certificate all alone is complete is
    V(unknown), unless it names an address for its issuer.
  - Expiry is judged by the lifetime. Renewal is due, with the severity V(warn), when less than a third is left, and
    less than a tenth is V(fail). That is 67 and 20 days of 200, 33 and 10 of 100, 30 and 9 of 90, 16 and 5 of 47, and
    2 days and 14 hours of 6. A lifetime of more than 398 days counts as 398.
  - The key's file may be read by its owner, by root, and by a group that has accounts of programs only. People are
    those whose number is C(UID_MIN) of C(login.defs) or higher. Access control lists are checked as well.
  - A certificate without an OCSP URI is as good as one with it. One that demands stapling needs it.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  chain:
    description:
      - File with the certificate and its intermediates, as PEM text.
      - What cannot be read is a finding. This, O(chain_content) or O(certificates) is required.
    type: path
  chain_content:
    description:
      - The same as text, instead of O(chain).
      - It is kept out of logs, as a key may be in it by mistake.
    type: str
  key:
    description:
      - File with the private key, as PEM text. Its owner and permissions are judged too.
      - Without a key, a finding with the severity V(unknown) lists what could not be checked.
    type: path
  key_content:
    description: The same as text, instead of O(key).
    type: str
  names:
    description:
      - Every name that is served, C(autodiscover) ones included, or addresses. A wildcard covers one label.
      - Without any, the names of the certificate are not checked.
    type: list
    elements: str
    default: []
  certificates:
    description: Several certificates in one call, instead of the options above.
    type: list
    elements: dict
    suboptions:
      chain:
        description: As O(chain).
        type: path
        required: true
      key:
        description: As O(key).
        type: path
      names:
        description: As O(names).
        type: list
        elements: str
        default: []
  ca_file:
    description:
      - File with the authorities that the chain must lead to, as PEM text, roots or intermediates.
      - The system's are in C(/etc/ssl/certs/ca-certificates.crt) on Debian, for example.
    type: path
  ca_content:
    description:
      - Authorities as PEM text. A chain that leads to one of them is judged as with O(ca_file), any other as without,
        so that certificates of public authorities can be judged together with those of a private one.
    type: str
  self_signed_ok:
    description: Whether a self-signed certificate is a warning only, as for a lab or until a CA has issued one.
    type: bool
    default: false
  now:
    description: The time to judge by, as in V(2026-11-25T12:00:00Z). The clock's by default.
    type: str
notes:
  - A certificate is judged as files. How a server sends it, and whether clients trust it, is for
    M(kopano.hardening.tls_grade_info).
  - One name with an RSA and an ECDSA certificate has two of O(certificates).
seealso:
  - module: kopano.hardening.tls_grade_info
  - module: kopano.hardening.caa_info
"""

EXAMPLES = r"""
- name: Check the certificate in use
  kopano.hardening.certificate_info:
    chain: /etc/letsencrypt/live/mail.example.com/fullchain.pem
    key: /etc/letsencrypt/live/mail.example.com/privkey.pem
    names:
      - mail.example.com
      - autodiscover.example.com
  register: certificate

- name: Check two in one call
  kopano.hardening.certificate_info:
    certificates:
      - chain: /etc/ssl/mail.example.com.pem
        key: /etc/ssl/private/mail.example.com.key
        names: [mail.example.com]
      - chain: /etc/ssl/meet.example.com.pem
        key: /etc/ssl/private/meet.example.com.key
        names: [meet.example.com]
  register: both

- name: Stop at the first defect
  ansible.builtin.assert:
    that: certificate.usable
    fail_msg: "{{ (certificate.findings | selectattr('severity', 'eq', 'fail') | first).message }}"

- name: Judge what a vault has, before it goes anywhere
  kopano.hardening.certificate_info:
    chain_content: "{{ lookup('ansible.builtin.file', 'mail.example.com.pem') }}"
    key_content: "{{ vault_mail_key }}"
    names: [mail.example.com]
    ca_file: /usr/local/share/ca-certificates/internal-ca.crt
  delegate_to: localhost
"""

RETURN = r"""
results:
  description: For each of O(certificates) the values below, and its O(certificates[].chain) as C(path).
  returned: success, with O(certificates)
  type: list
  elements: dict
  sample: []
usable:
  description:
    - Whether no finding has the severity V(fail).
    - What has the severity V(unknown) was not proven. Check it where that counts.
  returned: success, without O(certificates)
  type: bool
  sample: true
renew_due:
  description:
    - Whether less than a third of the lifetime is left, where lifetimes of more than 398 days count as 398.
    - Also when there is no certificate that can be read.
  returned: success, without O(certificates)
  type: bool
  sample: false
certificate:
  description: The server's certificate; empty if there is none that can be read.
  returned: success, without O(certificates)
  type: dict
  contains:
    subject:
      description: Distinguished name.
      type: str
      sample: CN=mail.example.com
    issuer:
      description: Distinguished name of who issued it.
      type: str
      sample: C=US, O=Let's Encrypt, CN=E7
    names:
      description: DNS names and addresses that it is for.
      type: list
      elements: str
      sample: [mail.example.com, autodiscover.example.com]
    not_before:
      description: Begin of validity.
      type: str
      sample: "2026-10-01T00:00:00Z"
    not_after:
      description: End of validity.
      type: str
      sample: "2026-12-29T23:59:59Z"
    lifetime_seconds:
      description: From the begin of validity to its end.
      type: int
      sample: 7775999
    left_seconds:
      description: From now to the end of validity, below zero when it is over.
      type: int
      sample: 2980799
    fraction_left:
      description: What part of the lifetime is left, 0 to 1.
      type: float
      sample: 0.3833
    key_type:
      description: Kind of the public key, V(EC), V(RSA) or another.
      type: str
      sample: EC
    key_bits:
      description: Its size in bits.
      type: int
      sample: 256
    self_signed:
      description: Whether it names itself as its issuer.
      type: bool
      sample: false
    ocsp_uris:
      description: Where its status can be queried. Stapling needs one.
      type: list
      elements: str
      sample: []
    must_staple:
      description: Whether it demands a stapled OCSP response.
      type: bool
      sample: false
    fingerprint_sha256:
      description: SHA-256 of the certificate, hexadecimal.
      type: str
      sample: 2f5c0c36d6a6e8e5a9e33b8f1fd3ce2fd1f13bd30a7e7a3a7d0a1d4d7e2ad1c9
    serial:
      description: Serial number, hexadecimal.
      type: str
      sample: 04d2
chain:
  description: Every certificate of the file, in its order; empty if one cannot be read.
  returned: success, without O(certificates)
  type: list
  elements: dict
  contains:
    subject:
      description: Distinguished name.
      type: str
      sample: C=US, O=Let's Encrypt, CN=E7
    issuer:
      description: Distinguished name of who issued it.
      type: str
      sample: C=US, O=Internet Security Research Group, CN=ISRG Root X1
    not_before:
      description: Begin of validity.
      type: str
      sample: "2024-03-13T00:00:00Z"
    not_after:
      description: End of validity.
      type: str
      sample: "2027-03-12T23:59:59Z"
    self_signed:
      description: Whether it names itself as its issuer.
      type: bool
      sample: false
    fingerprint_sha256:
      description: SHA-256 of the certificate, hexadecimal.
      type: str
      sample: aeb1fd7410e83bc96f5da3c6a7c2c1bb836d1fa5cb86e708515890e428a8770b
    serial:
      description: Serial number, hexadecimal.
      type: str
      sample: 2b63
    pem:
      description: The certificate as PEM text.
      type: str
      sample: |
        -----BEGIN CERTIFICATE-----
        MIIBszCCAVmgAwIBAgIUZ
        -----END CERTIFICATE-----
key:
  description: Who can read the file O(key); null without one, or if it cannot be read.
  returned: success, without O(certificates)
  type: dict
  contains:
    owner:
      description: The file's owner.
      type: str
      sample: root
    group:
      description: The file's group.
      type: str
      sample: kopano
    mode:
      description: The permissions as an octal string.
      type: str
      sample: "0640"
    readers:
      description: Who can read it beside owner and root, C(user NAME), C(group NAME) or C(everybody).
      type: list
      elements: str
      sample: [group kopano]
    people:
      description: The accounts among them that a person may log in as.
      type: list
      elements: str
      sample: []
findings:
  description: What was found, each kind with its own message.
  returned: success, without O(certificates)
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding. These names are stable.
      type: str
      sample: certificate.chain.incomplete
    step:
      description: The step of the checklist.
      type: int
      sample: 5
    severity:
      description: How bad it is.
      type: str
      choices: [fail, warn, info, unknown]
      sample: fail
    subject:
      description: The certificate, file or name that it is about.
      type: str
      sample: CN=mail.example.com
    message:
      description: What is wrong.
      type: str
      sample: >-
        An intermediate certificate is missing: phones and other clients that cannot fetch it refuse the server.
    evidence:
      description: What was seen.
      type: str
      sample: CN=mail.example.com was issued by C=US, O=Let's Encrypt, CN=E7, which is not there
    fix:
      description: A command that repairs it, or what the repair begins with.
      type: str
      sample: curl -s http://e7.i.lencr.org/ | openssl x509 -inform DER >> /etc/ssl/fullchain.pem
"""


from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options


def main() -> None:
    module = AnsibleModule(
        argument_spec=_host_options.CERTIFICATES, supports_check_mode=True, **_host_options.CERTIFICATES_RULES
    )
    try:
        result = _certificate_info.run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
