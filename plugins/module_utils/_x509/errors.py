# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The one exception of what reads bytes of others, certificates and TLS alike: neither has to bring the other."""

from __future__ import annotations


class ParseError(ValueError):
    """The bytes are not what they should be. The message has what was expected."""
