#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: web_config
short_description: Change the configuration of Apache or nginx as one rehearsed transaction
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Brings files, enabled modules, configuration fragments and sites of one web server to a desired state, all or none.
  - The changed server is first started in namespaces of its own, with its complete configuration, and every TLS
    endpoint of it is queried, before the live configuration is touched. In check mode this rehearsal is done as well.
  - The live server is reloaded, never restarted, and probed afterwards. When anything is worse than before, every file
    is restored and the old configuration is served again.
  - What a crash, a kill or a power cut interrupts is undone or finished by the next run, from a journal in
    C(/var/lib/kopano-hardening).
  - The whole transaction is one call on the target.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.web_config
attributes:
  check_mode:
    support: full
    details:
      - The rehearsal is done in check mode too; nothing is written outside of it.
  diff_mode:
    support: full
    details:
      - Private keys are shown as their SHA-256 only.
notes:
  - Needs root on the target.
seealso:
  - module: kopano.hardening.frontend_info
"""

EXAMPLES = r"""
- name: Put a TLS policy into every virtual host
  kopano.hardening.web_config:
    server: nginx
    files:
      - path: /etc/nginx/kopano-hardening/tls.conf
        template: tls.conf.j2
    adopt: true
    policy:
      tls: /etc/nginx/kopano-hardening/tls.conf
    probes:
      - path: /Microsoft-Server-ActiveSync
        expect:
          status: [401]

- name: Enable a site and see in a dry run how the server would respond
  kopano.hardening.web_config:
    server: apache
    files:
      - path: /etc/apache2/sites-available/kopano.conf
        content: "{{ lookup('ansible.builtin.file', 'kopano.conf') }}"
    enable:
      modules: [ssl, headers]
      sites: [kopano]
    rehearse: required
  check_mode: true

- name: Take the newest change back
  kopano.hardening.web_config:
    restore: latest
"""

RETURN = r"""
server:
  description: The server that it was for, C(apache) or C(nginx); none where it did not come to that.
  returned: always
  type: str
  sample: nginx
diff:
  description: What changes, one entry a path.
  returned: always
  type: list
  elements: dict
  sample:
    - before_header: /etc/nginx/kopano-hardening/tls.conf (absent)
      after_header: /etc/nginx/kopano-hardening/tls.conf (mode 0644, owner 0:0)
      before: ''
      after: "ssl_protocols TLSv1.2 TLSv1.3;\n"
transaction:
  description: Id for O(restore); none when nothing changes, or in check mode.
  returned: always
  type: str
  sample: 000003-20261124T193000Z-1f2e3d
rehearsal:
  description: How the change was tried; none with O(rehearse=off).
  returned: always
  type: dict
  contains:
    method:
      description: How far it went. C(namespace), C(instance) or C(syntax).
      type: str
      sample: namespace
    ok:
      description: Whether the server came up and every request was made.
      type: bool
      sample: true
    ms:
      description: Milliseconds for everything.
      type: float
      sample: 71.3
    refused:
      description: Why namespaces are not to be had, or none.
      type: str
      sample: "unshare: Operation not permitted"
    endpoints:
      description:
        - Every TLS endpoint, once without a server name and once with each name that it has.
        - Where nothing changes, one with a name and one without of those that share address, certificate and TLS
          directives.
      type: list
      elements: dict
      sample:
        - address: 127.0.0.1
          port: 443
          server_name: mail.example.org
          outside: true
          tls_group: 5f2b8c0de1a94c37
          path: /
          ok: true
          protocol: TLSv1.3
          cipher: TLS_AES_256_GCM_SHA384
          certificate: 6a6cc4b1a3f0c2a55d3a1a7d3f9f9c4e7a2f3a8d1b0e4c5f6a7b8c9d0e1f2a3b
          status: 200
          location: null
          hsts: [max-age=31536000]
          error: null
          ms: 4.1
    grades:
      description:
        - The grades that the endpoints will have by the rules of M(kopano.hardening.tls_grade_info), of the
          rehearsed server as seen from the host itself. Empty when nothing changes.
        - C(now) is the same of the live server before the change, null for a new endpoint.
        - C(served) is the number of simulated clients that connect now, C(lost) has those of them that the rehearsed
          server does not serve. C(change) is what such a client lacks (C(protocol), C(suite), C(group) or
          C(certificate)), and C(text) which one.
      type: list
      elements: dict
      sample:
        - address: 127.0.0.1
          port: 443
          server_name: mail.example.org
          grade: T
          grade_trust_ignored: A+
          protocols: [TLSv1.2, TLSv1.3]
          caps:
            - id: tls.certificate.untrusted
              grade: T
              revision: '2009'
              rule: The certificate must lead to a trusted authority.
              evidence: self-signed certificate
          warnings: []
          error: null
          now:
            grade: T
            grade_trust_ignored: A
            protocols: [TLSv1.2, TLSv1.3]
            caps: []
            warnings:
              - id: tls.hsts.absent
                grade: A
                revision: 2009e
                rule: A+ needs HSTS.
                evidence: no Strict-Transport-Security in the response
            error: null
phase:
  description:
    - The last step that was reached.
    - One of C(lock), C(read), C(stage), C(rehearse), C(swap), C(reload), C(probe) and C(commit).
  returned: always
  type: str
  sample: commit
rolled_back:
  description: Whether live files had been replaced and were restored.
  returned: always
  type: bool
  sample: false
recovered:
  description:
    - What an interrupted earlier run had left, and whether it was C(undone) or C(finished); none if nothing.
    - C(files) are the paths that were restored. C(kept) are those that somebody else had changed meanwhile, each with
      the path of a C(copy) of what it was, or none where it had been removed; a warning names them too.
  returned: always
  type: dict
  sample:
    transaction: 000007-20260314T092653Z-1a2b3c
    action: undone
    files: [/etc/nginx/sites-available/mail]
    kept:
      - path: /etc/nginx/sites-available/mail
        copy: /var/lib/kopano-hardening/found/000007-20260314T092653Z-1a2b3c/0
adopted:
  description: The virtual hosts with TLS that O(adopt) found.
  returned: always
  type: list
  elements: dict
  sample:
    - names: [mail.example.org]
      address: '*'
      port: 443
      file: /etc/nginx/sites-enabled/mail
      line: 12
edits:
  description:
    - Of each file that O(adopt) changes, the lines that are added, and those that are commented out.
    - A template of the file that has the first, at the places where they are now, and not the second, is left as it is.
  returned: always
  type: list
  elements: dict
  sample:
    - path: /etc/apache2/sites-available/mail.conf
      add: [Include /etc/apache2/kopano-hardening/tls.conf]
      remove: [SSLProtocol all -SSLv3]
kept:
  description:
    - What is stronger than the policy and stays, see O(policy.replace_stronger). C(value) is what is in effect,
      C(policy) what the policy alone would come to, empty where it sets nothing.
    - C(item) is C(hsts), C(protocols), C(ciphers) (of TLS 1.2), C(ciphersuites) (of TLS 1.3), C(groups), the name of a
      directive or of a command of OpenSSL, or that of a header, with the C(path) that it was found at.
    - C(file) and C(line) are where it is written, once this change is made, or where the virtual host begins if a
      backend sends it.
  returned: always
  type: list
  elements: dict
  sample:
    - names: [shop.example.org]
      file: /etc/apache2/sites-enabled/shop.conf
      line: 7
      path: null
      item: hsts
      value: max-age=63072000; includeSubDomains; preload
      policy: max-age=31536000
weakened:
  description:
    - What is weaker after this change than before, because O(policy.replace_stronger) allows it, or because the policy
      itself set it so far. C(path) is set for a header of a single path.
  returned: always
  type: list
  elements: dict
  sample:
    - address: 127.0.0.1
      port: 443
      server_name: shop.example.org
      path: null
      item: Strict-Transport-Security
      before: max-age=63072000; includeSubDomains; preload
      after: max-age=31536000
probes:
  description: The live server's responses after the change, in the shape of RV(rehearsal.endpoints).
  returned: always
  type: list
  elements: dict
  sample: []
timings:
  description:
    - Milliseconds of each step and of everything (C(total)).
    - C(rehearsal) and C(server_start) are what the rehearsal took, and what starting the server once took within it;
      C(grading) is what its grades took beside that.
    - C(restored) is what it took after a failure until every file was as before.
  returned: always
  type: dict
  sample: {lock: 0.3, read: 41.0, rehearse: 80.2, rehearsal: 71.3, server_start: 31.9, grading: 0.0, total: 160.2}
failure:
  description: What went wrong and where, as far as it could be found.
  returned: failure
  type: dict
  sample:
    phase: rehearse
    file: /etc/apache2/kopano-hardening/tls.conf
    line: 9
    directive: SSLCipherSuite
    value: NOSUCH
    option: frontend_tls_ciphers
    words: "AH01898: Unable to configure permitted SSL ciphers"
"""

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import frame as _frame


def main() -> None:
    _frame.main(prediction=None)


if __name__ == "__main__":
    main()
