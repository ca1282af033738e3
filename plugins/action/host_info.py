# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module, and has the code of the roles at hand for what follows it in a playbook.

Ansible's main process loads this file before it makes a process for the task, as it makes one for every task. What is
loaded here is there in all of these. Otherwise each that uses a filter finds, compiles and imports it anew.
"""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as Normal
from ansible.plugins.loader import filter_loader

from ansible_collections.kopano.hardening.plugins.plugin_utils import (  # noqa: F401
    _caa_role,
    _certificate_role,
    _frontend,
    _updates,
    _verify,
)

# All of the collection's filters come with any.
filter_loader.get("kopano.hardening.updates_plan")


class ActionModule(Normal):
    pass
