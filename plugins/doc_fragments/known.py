# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    """The option of modules whose answer may be known already."""

    DOCUMENTATION = r"""
options:
  known:
    description:
      - What M(kopano.hardening.host_info) has found out on this host, as C(asked) and C(answer).
      - If all options here are the same as in C(asked), C(answer) is returned and the host is not asked. Else the host
        is asked, as it is without this option.
    type: dict
"""
