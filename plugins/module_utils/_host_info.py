# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module host_info does: the questions of other modules, asked in one process."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils import _questions
from ansible_collections.kopano.hardening.plugins.module_utils._beside import Beside

Info = t.Dict[str, t.Any]


def run(params: Info, check_mode: bool) -> Info:
    """The module's answer; raises ValueError for options that have no meaning. Other errors are the parts' own."""
    found: Info = {}
    # It waits for package managers most of the time.
    updates = Beside(lambda: _updates(params["updates"], check_mode)) if params["updates"] else None
    try:
        if params["frontend"]:
            found["frontend"] = _frontend(params["frontend"])
        if params["certificates"]:
            found["certificates"] = _certificates(params["certificates"], found["frontend"]["vhosts"])
        if params["web_config"]:
            found["web_config"] = _web_config()
    finally:
        if updates:
            found["updates"] = updates.result()
    return found


# Each imports, which on a host is to compile, what it needs when there are two processes already.


def _updates(params: Info, check_mode: bool) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _update_status_info

    return _update_status_info.run(params, check_mode)


def _frontend(params: Info) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _frontend_info

    return _frontend_info.run(params)


def _certificates(params: Info, vhosts: list[Info]) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _certificate_info, _served

    question = {**dict.fromkeys(_questions.CERTIFICATES), **params, "names": []}
    return _certificate_info.run({**question, "certificates": _served.certificates(vhosts)})


def _web_config() -> Info | None:
    from ansible_collections.kopano.hardening.plugins.module_utils import _again

    return _again.look()
