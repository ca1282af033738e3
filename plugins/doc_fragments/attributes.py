# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """The attributes of this collection's modules."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and report what it would change, without changing it.
  diff_mode:
    description: Shows in diff mode what has changed, or would change, in detail.
  platform:
    description: The operating systems that the module works with.
    support: full
    platforms: posix
"""

    INFO_MODULE = r"""
attributes:
  check_mode:
    support: full
    details:
      - The module never changes anything.
  diff_mode:
    support: N/A
    details:
      - The module never changes anything.
"""

    ACTIONGROUP_DNS = r"""
attributes:
  action_group:
    description: Use C(group/kopano.hardening.dns) in C(module_defaults) to set O(nameservers) and O(timeout) once.
    support: full
    membership:
      - kopano.hardening.dns
"""
