# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Ansible's module as all of this collection's use it: whatever it returns is printable.

Text of foreign origin comes in at dozens of places, and each new header, field or error message would be one more to
think of. It leaves at three methods, so it is filtered there. What is not run as a module has the same filter in the
action plugin that runs it (C(OnController), C(verdict)), and the report filters what it is given.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils import basic

from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable

MASK = "********"


class AnsibleModule(basic.AnsibleModule):
    def exit_json(self, **result: t.Any) -> t.NoReturn:
        super().exit_json(**self._printable(result))
        raise AssertionError("exit_json returned")

    def fail_json(self, msg: t.Any, **result: t.Any) -> t.NoReturn:
        super().fail_json(**self._printable({"msg": msg, **result}))
        raise AssertionError("fail_json returned")

    def warn(self, warning: str, **more: t.Any) -> None:
        super().warn(self._printable(warning), **more)

    def _printable(self, value: t.Any) -> t.Any:
        return _printable.result(value, self._masked)

    def _masked(self, text: str) -> str:
        """Text without the values of secret options: Ansible would find them as they were given only, not printable.

        Its own functions for that differ: 2.22 has others than 2.21.
        """
        for secret in sorted(self.no_log_values, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text
