# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module in the controller's own process, where that is what it would run on."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.modules import caa_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.controller import OnController


class ActionModule(OnController):
    MODULE = caa_info
