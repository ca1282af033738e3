#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: frontend_info
short_description: Find out what serves Kopano's web frontends on a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Finds out which web servers a host has, what they and their OpenSSL can do, which virtual hosts they have and where
    each is written, which TLS settings of a virtual host override the server's, and which components of Kopano there
    are.
  - Apache's own dump is the source for its virtual hosts, C(nginx -T) for nginx. Both are run in namespaces of their
    own, so that not even a log file is created.
  - A configuration that a server refuses is a result with a finding, not a failure of the module.
  - Works without root as far as it can. What it could not see is in RV(findings) with the severity V(unknown).
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  server:
    description:
      - The web server to inspect.
      - With V(auto) all that are installed.
    type: str
    choices: [auto, apache, nginx]
    default: auto
  clients:
    description:
      - Whether to count the clients that have used the host in the last 14 days, by the web server's access logs.
      - It takes up to 20 seconds, some 3 for a million lines. Nothing of a single client is returned.
    type: bool
    default: false
seealso:
  - module: kopano.hardening.web_config
"""

EXAMPLES = r"""
- name: See what is there
  kopano.hardening.frontend_info:
  register: frontend

- name: Show the settings that a policy for the whole server would not reach
  ansible.builtin.debug:
    msg: "{{ item.file }}:{{ item.line }}: {{ item.directive }} {{ item.value }}"
  loop: "{{ frontend.vhosts | map(attribute='overrides') | flatten | unique }}"

- name: Inspect nginx only
  kopano.hardening.frontend_info:
    server: nginx
"""

RETURN = r"""
os:
  description: The operating system. Names and versions are those of os-release(5), empty where it has none.
  returned: success
  type: dict
  contains:
    id:
      description: The distribution.
      type: str
      sample: debian
    version:
      description: The version with its name.
      type: str
      sample: 13 (trixie)
    version_id:
      description: The version as a number.
      type: str
      sample: "13"
    codename:
      description: The name of the release.
      type: str
      sample: trixie
    family:
      description: The family of distributions that decides about paths, null for one that is not known.
      type: str
      choices: [debian, redhat, suse]
      sample: debian
    pretty_name:
      description: The name for people.
      type: str
      sample: Debian GNU/Linux 13 (trixie)
    python:
      description: The version of the Python that the module ran on.
      type: str
      sample: 3.13.5
    ipv6:
      description: Whether the host has IPv6.
      type: bool
      sample: true
    fips:
      description: Whether the kernel demands FIPS mode of all programs.
      type: bool
      sample: false
    crypto_policy:
      description:
        - The system-wide crypto policy that was applied last, such as C(DEFAULT) or C(DEFAULT:NO-SHA1).
        - Empty if its name is not known, null where the host has no such policy.
      type: str
      sample: DEFAULT
  sample:
    id: debian
    version: 13 (trixie)
    version_id: "13"
    codename: trixie
    family: debian
    pretty_name: Debian GNU/Linux 13 (trixie)
    python: 3.13.5
    ipv6: true
    fips: false
    crypto_policy: null
servers:
  description: The web servers that are installed, Apache before nginx.
  returned: success
  type: list
  elements: dict
  contains:
    server:
      description: Which one it is.
      type: str
      choices: [apache, nginx]
      sample: nginx
    version:
      description: Its version, empty if the binary does not have it.
      type: str
      sample: 1.26.3
    running:
      description:
        - Whether it runs. A process of the same program that belongs neither to root nor to the server's unit does not
          count, nor does one in a container.
      type: bool
      sample: true
    in_use:
      description:
        - Whether it runs, or may be the one that is to run, since it starts at boot or no other web server runs. What
          is wrong with the configuration of one that is not in use is for information.
      type: bool
      sample: true
    main_config:
      description: The file that the configuration begins with.
      type: str
      sample: /etc/nginx/nginx.conf
    valid:
      description: Whether the server takes its configuration, null if that could not be tested.
      type: bool
      sample: true
    openssl:
      description: The OpenSSL that the server is linked to, tested itself and not guessed from its version.
      type: dict
      contains:
        version:
          description: Its version, null if there is none or it is not known.
          type: str
          sample: 3.5.9
        groups:
          description: The groups that it knows, by their names in the IANA registry.
          type: list
          elements: str
          sample: [X25519MLKEM768, x25519, secp256r1, secp384r1]
        group_names:
          description: The same groups in the same order, by the names that a configuration has to use.
          type: list
          elements: str
          sample: [X25519MLKEM768, X25519, prime256v1, secp384r1]
        cipher_suites:
          description: The suites with forward secrecy and authenticated encryption that it knows, by IANA name.
          type: list
          elements: str
          sample: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
    mpm:
      description: Apache's multi-processing module, null for nginx.
      type: str
      sample: event
    modules:
      description: The modules that are loaded, without C(_module).
      type: list
      elements: str
      sample: [http_ssl, http_v2]
    features:
      description:
        - What differs between versions and builds.
        - C(http2) is whether the server can speak HTTP/2; C(http2_directive) whether nginx has C(http2 on;) for it;
          C(ssl_conf_command) and C(add_header_inherit) whether nginx has those directives.
      type: dict
      sample:
        http2: true
        http2_directive: true
        ssl_conf_command: true
        add_header_inherit: false
    family:
      description: The family of distributions whose layout the server has.
      type: str
      sample: debian
    package:
      description: The distribution's package.
      type: str
      sample: nginx
    unit:
      description: The systemd unit.
      type: str
      sample: nginx
    user:
      description: The user that the workers run as unless the configuration names another one.
      type: str
      sample: www-data
    binary:
      description: The program.
      type: str
      sample: /usr/sbin/nginx
    config_dir:
      description: The directory of the configuration.
      type: str
      sample: /etc/nginx
    policy_dir:
      description: The directory that this collection keeps its own snippets in.
      type: str
      sample: /etc/nginx/kopano-hardening
    module_style:
      description: How modules are switched on.
      type: str
      choices: [links, sysconfig, static]
      sample: static
    confs:
      description: Where configuration snippets lie and how they are switched on.
      type: dict
      sample: {available_dir: /etc/nginx/conf.d, enabled_dir: /etc/nginx/conf.d, suffixes: [.conf]}
    sites:
      description: Where sites lie and how they are switched on.
      type: dict
      sample: {available_dir: /etc/nginx/sites-available, enabled_dir: /etc/nginx/sites-enabled, suffixes: [""]}
    tls_log:
      description:
        - The log of what clients speak, which the role frontend has written with O(ignore:frontend_tls_log=true).
        - C(owner), C(group) and C(mode) are those of the distribution's other logs, null where it leaves them to the
          server; C(logrotate) is the file of the role that has the log rotated, null where the distribution's own does;
          C(conf) is nginx's file that configures the log, null for Apache.
      type: dict
      sample:
        path: /var/log/nginx/kopano-tls.log
        owner: www-data
        group: adm
        mode: "0640"
        logrotate: null
        conf: /etc/nginx/conf.d/00-kopano-tls-log.conf
    access_logs:
      description:
        - The first arguments of each C(access_log) in nginx's http block, without those of this collection.
        - Null for Apache, and where the configuration could not be read.
      type: list
      elements: str
      sample: [/var/log/nginx/access.log]
    default_log:
      description: The log that nginx writes where its http block names none. Null where it names one, or if not known.
      type: str
      sample: /var/log/nginx/access.log
vhosts:
  description:
    - Every virtual host, once for each address that it listens on.
    - Apache's main server is among them for each C(Listen) that no virtual host is for.
  returned: success
  type: list
  elements: dict
  contains:
    server:
      description: The web server that it belongs to.
      type: str
      sample: nginx
    names:
      description: Its names, the main one first. Wildcards and regular expressions stand as they are written.
      type: list
      elements: str
      sample: [mail.example.com]
    named:
      description: Whether the names are its own. Apache gives a virtual host without any the name of the main server.
      type: bool
      sample: true
    address:
      description: An IPv4 address, an IPv6 address in brackets, a host name, V(*), or C(unix:) and a path.
      type: str
      sample: "*"
    port:
      description: The port, null for a unix socket and for any port.
      type: int
      sample: 443
    tls:
      description: Whether TLS is on, null if that is not known.
      type: bool
      sample: true
    certificate:
      description: The file of the (first) certificate.
      type: str
      sample: /etc/ssl/certs/ssl-cert-snakeoil.pem
    key:
      description: The file of its key.
      type: str
      sample: /etc/ssl/private/ssl-cert-snakeoil.key
    file:
      description: The file that the virtual host stands in, by the path it is included with.
      type: str
      sample: /etc/nginx/sites-enabled/mail
    line:
      description: The line that it begins on.
      type: int
      sample: 3
    default:
      description: Whether it serves names that no other virtual host of the address has.
      type: bool
      sample: true
    listen:
      description:
        - What the server listens on for it, at which this host reaches it.
        - That is its own address and port, or for an Apache virtual host for all addresses or ports what C(Listen) has
          for it, each port once. Empty for a unix socket, and where nothing listens.
      type: list
      elements: dict
      contains:
        address:
          description: The address, in the form of the virtual host's own one.
          type: str
          sample: 192.0.2.1
        port:
          description: The port.
          type: int
          sample: 443
    tls_group:
      description:
        - A text that virtual hosts share whose own TLS directives, certificate, key and address are the same.
        - Null without TLS, and where something of the configuration cannot be read.
      type: str
      sample: 5f2b8c0de1a94c37
    overrides:
      description: TLS settings that stand in the virtual host (or, with Apache, in a section that is merged into it).
      type: list
      elements: dict
      contains:
        directive:
          description: The directive.
          type: str
          sample: ssl_ciphers
        value:
          description: Its value.
          type: str
          sample: HIGH
        file:
          description: The file that it stands in.
          type: str
          sample: /etc/nginx/sites-enabled/mail
        line:
          description: The line.
          type: int
          sample: 9
components:
  description: The components of Kopano, by package or by path.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The component.
      type: str
      sample: webapp
    flavour:
      description: Whose it is.
      type: str
      choices: [kopano, debian, z-push, grommunio]
      sample: kopano
    version:
      description: Its version, empty if it is not known.
      type: str
      sample: 5.3.2
    path:
      description: Where it is, empty if it is not where it usually is.
      type: str
      sample: /usr/share/kopano-webapp
managed_by:
  description: What writes the configuration of the web frontends, if not the administrator.
  returned: success
  type: str
  choices: [none, ucs, kweb]
  sample: none
php:
  description:
    - How PHP is run. C(module) is whether Apache has PHP loaded.
    - C(socket) is PHP-FPM's socket, or the address and port of the host where it listens, or null.
  returned: success
  type: dict
  sample:
    module: false
    socket: /run/php/php8.4-fpm.sock
snakeoil:
  description: The self-signed certificate and key that the distribution made, null if there is none.
  returned: success
  type: dict
  sample:
    certificate: /etc/ssl/certs/ssl-cert-snakeoil.pem
    key: /etc/ssl/private/ssl-cert-snakeoil.key
clients:
  description: The clients that have used the host, null where O(clients) is false.
  returned: success
  type: dict
  contains:
    counts:
      description:
        - How many clients of each kind there are. C(client) is the id of the simulated client of
          M(kopano.hardening.tls_grade_info) that they are like, null where this is not known. C(negotiated) has
          protocol and cipher suite (OpenSSL's name) of their handshakes, null where no log has these.
      type: list
      elements: dict
      sample:
        - client: android-4.1.1
          negotiated: null
          number: 2
    days:
      description: How many days were evaluated, up to now.
      type: int
      sample: 14
    files:
      description: The files that were read.
      type: int
      sample: 15
    lines:
      description: The lines that were read.
      type: int
      sample: 48211
    not_understood:
      description: The lines of these that are of another format.
      type: int
      sample: 0
    first:
      description: The time of the first line that counts, RFC 3339 in UTC, null without any.
      type: str
      sample: '2026-11-14T17:20:00Z'
    last:
      description: The time of the last line that counts, RFC 3339 in UTC, null without any.
      type: str
      sample: '2026-11-28T17:19:00Z'
    gaps:
      description: What was not read or not understood, with the reason. With any, each number is one of at least.
      type: list
      elements: str
      sample: []
findings:
  description: What was noticed.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding.
      type: str
      sample: frontend.tls.override
    step:
      description: The step of the checklist.
      type: int
      sample: 2
    severity:
      description: How bad it is.
      type: str
      choices: [fail, warn, info, unknown]
      sample: warn
    subject:
      description: What it is about.
      type: str
      sample: /etc/nginx/sites-enabled/mail:9
    message:
      description: What is wrong.
      type: str
      sample: A virtual host has a TLS setting of its own, which the server's policy does not reach.
    evidence:
      description: What was seen.
      type: str
      sample: ssl_ciphers HIGH
    fix:
      description: What to do.
      type: str
      sample: Harden the host with the role kopano.hardening.frontend.
"""


from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info


def main() -> None:
    module = AnsibleModule(argument_spec=_host_options.FRONTEND, supports_check_mode=True)
    module.exit_json(changed=False, **_webserver_info.run(module.params))


if __name__ == "__main__":
    main()
