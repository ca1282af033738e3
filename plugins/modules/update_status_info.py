#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: update_status_info
short_description: Find out whether the distribution is maintained and its updates are installed and in effect
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Reports whether the release of the distribution still gets security updates, from whom and until when.
  - Reports which updates are pending according to apt, dnf or zypper, which of these are for security, and which are
    held back. Works on the package lists that are on the host, and reports how old they are.
  - Reports which services run files that updates have replaced, and whether a reboot is needed.
  - Reports whether updates are installed automatically, and whether that works.
  - What cannot be found out is reported as unknown, with the reason. It is never taken for "none".
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
attributes:
  check_mode:
    details:
      - Package lists are not fetched in check mode. Nothing else is ever changed.
options:
  support_data:
    description:
      - Dates of support that the collection does not know or should know differently. Releases in it replace those of
        the collection.
      - C(releases) has products by the ID of C(/etc/os-release), in these releases by their version, in these the
        stages C(full), C(lts) and C(extended), and in these the last day by the name of its source.
      - C(dates) has the day on which the data of each source were made. Data older than 180 days do not count for a
        release whose end is as near as that.
      - The program C(tools/support_data.py) of this project makes it with C(--json).
    type: dict
    default: {}
  accept_lts:
    description:
      - Whether long-term support is good enough. Where it is not, RV(findings) has C(support.lts) as V(fail).
    type: bool
    default: true
  max_metadata_age:
    description:
      - Hours after which package lists are stale.
    type: int
    default: 48
  now:
    description:
      - The time that ages and ends of support are judged for, as RFC 3339 has it or a date alone. The host's clock by
        default.
    type: str
  refresh:
    description:
      - Fetch the package lists first. Otherwise the network is not used.
      - Nothing is fetched in check mode.
    type: bool
    default: false
notes:
  - Needs root to see which files the processes of other users run.
  - The role P(kopano.hardening.updates#role) installs, restarts and reboots by this result.
"""

EXAMPLES = r"""
- name: Query the state of updates
  kopano.hardening.update_status_info:
    refresh: true
  become: true
  register: status

- name: Stop where security updates are missing, or that is not known
  ansible.builtin.assert:
    that:
      - status.support.level in ['full', 'lts', 'extended']
      - status.updates.security == 0

- name: Set until when a release of one's own is maintained
  kopano.hardening.update_status_info:
    support_data:
      dates: {our contract: "2026-10-01"}
      releases:
        ucs:
          "5.2": {full: {our contract: "2028-03-31"}}
  become: true
"""

RETURN = r"""
distribution:
  description: The fields of C(/etc/os-release), and what is in use of the distribution.
  returned: success
  type: dict
  contains:
    id:
      description: The ID.
      type: str
      sample: debian
    version:
      description: The version, empty if it has none.
      type: str
      sample: "12"
    codename:
      description: The code name, empty if it has none.
      type: str
      sample: bookworm
    name:
      description: The name for people.
      type: str
      sample: Debian GNU/Linux 12 (bookworm)
    manager:
      description: The package manager, such as V(apt), V(dnf5) or V(zypper); empty if none that is known is there.
      type: str
      sample: apt
    components:
      description: The web server, the PHP and the OpenSSL that running processes use.
      type: list
      elements: dict
      contains:
        kind:
          description: What it is.
          type: str
          choices: [web_server, php, openssl]
          sample: openssl
        path:
          description: The file.
          type: str
          sample: /usr/lib/x86_64-linux-gnu/libssl.so.3
        package:
          description: Its package, empty if it has none.
          type: str
          sample: libssl3
        version:
          description: The package's version.
          type: str
          sample: 3.0.17-1~deb12u2
        origin:
          description: Who makes the package, according to apt's lists or rpm; empty if it is not known.
          type: str
          sample: Debian
        from_distribution:
          description: Whether that is the distribution, null if it is not known.
          type: bool
          sample: true
support:
  description: The support that the release has.
  returned: success
  type: dict
  contains:
    level:
      description:
        - V(full), V(lts) for long-term support, V(extended) where the host is subscribed to extended support.
        - V(eol) where it gets no security updates any more.
        - V(unknown) where no source has it, or the data are too old.
      type: str
      choices: [full, lts, extended, eol, unknown]
      sample: lts
    until:
      description: The last day of it, or the one on which support ended; null if it is not known.
      type: str
      sample: "2028-06-30"
    source:
      description: The source of the date. Where sources differ, the earlier date counts and the others are named.
      type: str
      sample: distro-info-data, endoflife.date
    data_date:
      description: When the data were made.
      type: str
      sample: "2026-08-22"
updates:
  description: The updates that are pending. A number is null where it is not known.
  returned: success
  type: dict
  contains:
    pending:
      description: How many packages have a newer version.
      type: int
      sample: 3
    security:
      description: How many of them for security.
      type: int
      sample: 2
    held:
      description: How many of them are kept from being installed.
      type: int
      sample: 0
    security_known:
      description: Whether the package sources mark which updates are for security.
      type: bool
      sample: true
    reason:
      description: Why something is not known.
      type: str
      sample: ""
    packages:
      description: The packages.
      type: list
      elements: dict
      contains:
        name:
          description: The package.
          type: str
          sample: libssl3
        from:
          description: The version that is installed.
          type: str
          sample: 3.0.15-1~deb12u1
        to:
          description: The version to be installed.
          type: str
          sample: 3.0.17-1~deb12u2
        security:
          description: Whether it is for security.
          type: bool
          sample: true
        held:
          description: Whether it is kept from being installed.
          type: bool
          sample: false
        origin:
          description: Where it comes from.
          type: str
          sample: http://security.debian.org/debian-security bookworm-security
metadata:
  description: The package lists that the updates were read from.
  returned: success
  type: dict
  contains:
    date:
      description: When the list was made that decides, by its own date.
      type: str
      sample: "2026-11-24T20:14:09Z"
    checked:
      description: When the sources were last seen to have nothing newer, null if that is not noted.
      type: str
      sample: "2026-11-25T06:20:11Z"
    age_hours:
      description: Their age in hours, null if it is not known.
      type: float
      sample: 12.5
    stale:
      description: Whether they are too old, null if it is not known.
      type: bool
      sample: false
    reason:
      description: Why they are, or why it is not known.
      type: str
      sample: ""
    sources:
      description: The package sources.
      type: list
      elements: dict
      contains:
        name:
          description: The source.
          type: str
          sample: http://security.debian.org/debian-security bookworm-security
        date:
          description: When its list was made.
          type: str
          sample: "2026-11-24T20:14:09Z"
        valid_until:
          description: Until when its list is valid, null if it has no such date.
          type: str
          sample: "2026-12-01T20:14:09Z"
        signed:
          description: Whether it is signed, null if it is not known.
          type: bool
          sample: true
        security:
          description: Whether it is one of security updates.
          type: bool
          sample: true
        problem:
          description: What is wrong with it.
          type: str
          sample: ""
restart:
  description: What updates have not reached yet.
  returned: success
  type: dict
  contains:
    reboot_required:
      description: Whether a reboot is needed, null if it is not known.
      type: bool
      sample: false
    reasons:
      description: Why it is.
      type: list
      elements: str
      sample: []
    services:
      description: The systemd services that run files which were replaced.
      type: list
      elements: str
      sample: [apache2.service]
    processes:
      description: The processes that do, with their unit and the files.
      type: list
      elements: dict
      sample:
        - pid: 4711
          name: apache2
          unit: apache2.service
          files: [/usr/lib/x86_64-linux-gnu/libssl.so.3]
    tools:
      description: What needrestart, dnf or zypper report, where they are installed.
      type: list
      elements: dict
      sample:
        - name: needrestart
          reboot_required: false
          services: [apache2.service]
          problem: ""
automatic:
  description: The updates that the host installs by itself.
  returned: success
  type: dict
  contains:
    enabled:
      description: Whether it does, null if it is not known.
      type: bool
      sample: true
    mechanism:
      description: What does it.
      type: str
      sample: unattended-upgrades
    covers_security:
      description: Whether it installs all security updates, null if it is not known.
      type: bool
      sample: true
    works:
      description: Whether it has run lately and without errors, null if it is not known.
      type: bool
      sample: true
    last_run:
      description: When it ran last, null if it is not known.
      type: str
      sample: "2026-11-25T06:20:11Z"
    reason:
      description: Why something is not so or not known.
      type: str
      sample: ""
findings:
  description: What was noticed.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding. These names are stable.
      type: str
      sample: updates.security.pending
    step:
      description: The step of the checklist.
      type: int
      sample: 1
    severity:
      description: How bad it is.
      type: str
      choices: [fail, warn, info, unknown]
      sample: fail
    subject:
      description: What it is about.
      type: str
      sample: apt
    message:
      description: What is wrong.
      type: str
      sample: Security updates are not installed.
    evidence:
      description: What was seen.
      type: str
      sample: libssl3 3.0.15-1~deb12u1 -> 3.0.17-1~deb12u2
    fix:
      description: What to do.
      type: str
      sample: apt-get update && apt-get install --only-upgrade libssl3
"""


from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._updates import status as _status


def main() -> None:
    module = AnsibleModule(argument_spec=_host_options.UPDATES, supports_check_mode=True)
    try:
        result = _status.run(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
