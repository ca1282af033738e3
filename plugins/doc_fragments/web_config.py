# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """The options of web_config and web_config_graded, which are in C(module_utils/_transaction/options.py)."""

    DOCUMENTATION = r"""
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
            RV(kopano.hardening.web_config#module:kept) names it; what would become weaker in spite of that stops the
            change.
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
            named in RV(kopano.hardening.web_config#module:kept), and one with a weaker value than before in
            RV(kopano.hardening.web_config#module:weakened).
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
        then to the syntax test. RV(kopano.hardening.web_config#module:rehearsal.method) shows how far it went.
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
"""
