# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module, unless its answer is known."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils import _questions
from ansible_collections.kopano.hardening.plugins.plugin_utils._known import Known


class ActionModule(Known):
    ARGUMENTS = _questions.UPDATES
