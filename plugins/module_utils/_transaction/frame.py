# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Frame of the modules web_config and web_config_graded, which differ in what is shipped with them."""

from __future__ import annotations

import os
import types

from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import replay as _replay
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import supervisor as _supervisor


def main(prediction: types.ModuleType | None) -> None:
    """Run as a module; prediction: C(_transaction.prediction), where it was shipped with the module."""
    module = AnsibleModule(
        argument_spec=_transaction_options.ARGUMENT_SPEC,
        supports_check_mode=True,
        **_transaction_options.RULES,
    )
    reason = _transaction_options.invalid(module.params)
    if reason is None and os.geteuid() != 0:
        reason = "this module changes the configuration of a web server and needs root; use become"
    if reason is not None:
        module.fail_json(msg=reason)
    try:
        result = _supervisor.run(module.params, module.check_mode, prediction)
    except _engine.TransactionError as error:
        for warning in error.result.pop("warnings"):
            module.warn(warning)
        module.fail_json(msg=str(error), **error.result)
    warnings = result.pop("warnings")
    for warning in warnings:
        module.warn(warning)
    if not module.check_mode and not module.params["confirm"]:
        _replay.remember(module.params, not (result["changed"] or result.get("ungraded") or warnings))
    module.exit_json(**result)
