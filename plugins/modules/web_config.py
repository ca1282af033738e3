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
attributes:
  check_mode:
    support: full
    details:
      - The rehearsal is done in check mode too; nothing is written outside of it.
  diff_mode:
    support: full
    details:
      - Private keys are shown as their SHA-256 only.
options:
  server:
    description:
      - The web server whose configuration this is.
      - With V(auto) the one that is installed; where both are, the one that is running; where both are running, of a
        O(restore) the one that it is about, and else the one that serves TLS.
    type: str
    choices: [auto, apache, nginx]
    default: auto
  files:
    description:
      - Files to create, replace or remove.
      - A path that is a link stands for the file behind it; the link stays.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path on the target. Missing directories above it are made.
        type: path
        required: true
      content:
        description: What the file contains. Mutually exclusive with O(files[].template).
        type: str
      template:
        description:
          - A Jinja2 template on the controller, looked for as M(ansible.builtin.template) does.
          - "A rendered line that is directly preceded by a comment C(# option: NAME) is named with that option when the
            server refuses it."
        type: path
      mode:
        description:
          - Permissions as an octal string. A new file gets V(0644), an existing one keeps its own.
          - With a mode, an access control list of the file is dropped.
        type: str
      owner:
        description: Name or number of the owner. A new file belongs to root, an existing one keeps its own.
        type: str
      group:
        description: Name or number of the group.
        type: str
      state:
        description: Whether the file shall be there.
        type: str
        choices: [present, absent]
        default: present
  enable:
    description: What to enable, by the names that the distribution uses. Modules come with those that they depend on.
    type: dict
    suboptions:
      modules:
        description: Apache modules.
        type: list
        elements: str
        default: []
      confs:
        description: Configuration fragments.
        type: list
        elements: str
        default: []
      sites:
        description: Sites.
        type: list
        elements: str
        default: []
  disable:
    description: What to disable. A file that is there in place of a link is moved aside, not deleted.
    type: dict
    suboptions:
      modules:
        description: Apache modules.
        type: list
        elements: str
        default: []
      confs:
        description: Configuration fragments.
        type: list
        elements: str
        default: []
      sites:
        description: Sites.
        type: list
        elements: str
        default: []
  adopt:
    description:
      - Make O(policy) effective in every enabled virtual host, by one marked include line in each.
      - Directives that would win over it, or be duplicates of it, are commented out with a marker.
    type: bool
    default: false
  policy:
    description: The files that O(adopt) includes. They are usually among O(files).
    type: dict
    suboptions:
      tls:
        description: Included in every virtual host with TLS. Required with O(adopt).
        type: path
        required: true
      headers:
        description:
          - "nginx: C(add_header) lines, included in every server block with TLS, and in each location of it that has
            headers of its own and would lose those of its server."
          - Where a block sets one of these headers itself, its own stays and the other ones are written into it.
        type: path
      http:
        description: Included in every virtual host without TLS.
        type: path
      variables:
        description: "nginx: included in front of the first server block with TLS of each file."
        type: path
      tls_log:
        description:
          - "nginx: a file that sets an C(access_log) for all server blocks. A block with TLS that has one of its own
            would not inherit it, so it gets the same line."
        type: path
      merge_headers:
        description: "nginx: whether it has the directive C(add_header_inherit), which 1.29.3 brought."
        type: bool
        default: false
      repair_ssl_on:
        description:
          - "nginx: whether to replace C(ssl on;), which 1.25.1 does not know any more, by C(ssl) with each listener."
          - A server whose configuration keeps it from running is started then.
        type: bool
        default: false
      replace_stronger:
        description:
          - What may become weaker than it is. Whatever is not named here stays if it is stronger than the policy, and
            RV(kept) names it; what would become weaker in spite of that stops the change.
          - V(hsts) is Strict-Transport-Security. A longer max-age stays, and so do C(preload) and C(includeSubDomains),
            the latter if it comes with C(preload) or a max-age of half a year. What is sent is as strong as both.
          - V(tls) are protocols, cipher suites and groups. Those of a virtual host stay if the policy allows all of
            them and more; they have no older protocol, and no post-quantum group less.
          - V(headers) are those that O(probes[].policy) names. It is up to the policy's own files to leave what is
            stronger; a change after which it is not there is stopped.
          - What the policy's files set so far, before this run, is not protected by this.
        type: list
        elements: str
        choices: [hsts, tls, headers]
        default: []
  probes:
    description:
      - Paths that people depend on. Each is requested before the change, in the rehearsal, and after the reload.
      - After a response that is worse than before, or not what O(probes[].expect) requires, the change is rolled back.
      - "Worse is: a failure, another class of status, another goal of a redirect, a header lost that clients need, a
        security header that comes more often than once, other C(Access-Control-Allow-*) headers, a cookie that is gone
        or has lost a flag, a page that may no longer be shown in a frame of its own site, and 413 for a body that was
        taken before."
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path and query, beginning with a slash.
        type: str
        required: true
      server_name:
        description: Server name of the request. Without it, the first name of each TLS endpoint.
        type: str
      port:
        description: Port of the request. Without it, every TLS endpoint, or 80 without TLS.
        type: int
      tls:
        description: Whether to use TLS.
        type: bool
        default: true
      method:
        description: Request method.
        type: str
        default: GET
      headers:
        description: Request headers by name.
        type: dict
        default: {}
      body_size:
        description:
          - Size in bytes of a request body that has to be let through. Only its size is announced, with C(Expect), and
            the request is ended when the server responds whether it would take it.
          - Set O(probes[].method) to the one that clients upload with.
        type: int
      keep:
        description: Response headers that have to stay as they were, as often as they came.
        type: list
        elements: str
        default: []
      policy:
        description:
          - Headers that O(policy) sets at this path, by name, with their values. A response with a stronger value is
            named in RV(kept), and one with a weaker value than before in RV(weakened).
          - Known are Content-Security-Policy, Permissions-Policy, Referrer-Policy and X-Frame-Options.
        type: dict
        default: {}
      expect:
        description: What the response has to be, whatever it was before.
        type: dict
        suboptions:
          status:
            description: Any one of these status codes.
            type: list
            elements: int
            default: []
          headers:
            description: Header name to a regular expression for its whole value. Each has to be there exactly once.
            type: dict
            default: {}
  clients_required:
    description:
      - Ids of simulated clients, as M(kopano.hardening.tls_grade_info) returns them. A change is refused in its
        rehearsal where one of them connects now and could not connect afterwards, or where that could not be found out.
    type: list
    elements: str
    default: []
  rehearse:
    description:
      - With V(auto), rehearse in namespaces; where they are refused, fall back to a trial instance on a loopback port,
        then to the syntax test. RV(rehearsal.method) shows how far it went.
      - With V(required), fail where namespaces are refused.
      - With V(off), only the syntax test is done, after the swap and before the reload.
    type: str
    choices: [auto, required, 'off']
    default: auto
  confirm_timeout:
    description:
      - Seconds after which the target takes the change back by itself, unless it is confirmed. Needs systemd.
      - The controller confirms once it has reached and graded every endpoint from outside, and none of them is an F
        that the rehearsal did not foresee. V(0) switches this off.
      - An endpoint that it cannot reach is tried again for half of this time. After a failover or a restart a neighbour
        on the way may look for an IPv6 address at its old place for most of a minute.
    type: int
    default: 0
  confirm_from:
    description:
      - Where this is seen from. With V(auto), endpoints that do not respond to the controller are graded on the target
        itself, and with V(host) all of them. With V(auto) a refused connection is a response and not confirmed, since
        the change may have closed the port.
    type: str
    choices: [controller, auto, host]
    default: controller
  confirm:
    description: The transaction to confirm. Used by the action plugin of this module; all other options are ignored.
    type: str
  restore:
    description:
      - Put every file back to what it was before this transaction, later ones included; V(latest) is the newest that
        was not restored yet. This is a transaction of its own, rehearsed like any other.
      - V(original) is what was there before the first transaction. In files that the collection wrote into, what the
        administrator has changed since stays; a warning names what could not be restored.
      - Excludes O(files), O(enable), O(disable) and O(adopt).
    type: str
  keep:
    description: How many committed transactions to keep for O(restore).
    type: int
    default: 5
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
