# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Options of the modules that only query a host, without the code that does it."""

from __future__ import annotations

import typing as t


class OptionError(ValueError):
    """An option has no meaning. The text begins with its name."""


Arguments = t.Dict[str, t.Dict[str, t.Any]]

UPDATES: Arguments = {
    "support_data": {"type": "dict", "default": {}},
    "accept_lts": {"type": "bool", "default": True},
    "max_metadata_age": {"type": "int", "default": 48},
    "now": {"type": "str"},
    "refresh": {"type": "bool", "default": False},
}

FRONTEND: Arguments = {
    "server": {"type": "str", "choices": ["auto", "apache", "nginx"], "default": "auto"},
    "clients": {"type": "bool", "default": False},
}

CERTIFICATES: Arguments = {
    "chain": {"type": "path"},
    "chain_content": {"type": "str", "no_log": True},
    "key": {"type": "path", "no_log": False},
    "key_content": {"type": "str", "no_log": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "certificates": {
        "type": "list",
        "elements": "dict",
        "options": {
            "chain": {"type": "path", "required": True},
            "key": {"type": "path", "no_log": False},
            "names": {"type": "list", "elements": "str", "default": []},
        },
    },
    "ca_file": {"type": "path"},
    "ca_content": {"type": "str"},
    "self_signed_ok": {"type": "bool", "default": False},
    "now": {"type": "str"},
}
CERTIFICATES_RULES: dict[str, t.Any] = {
    "mutually_exclusive": [("chain", "chain_content", "certificates"), ("key", "key_content", "certificates")],
    "required_one_of": [("chain", "chain_content", "certificates")],
}
"""What the options have to do with each other, as AnsibleModule takes it."""


HOST: dict[str, t.Any] = {
    "updates": {"type": "dict", "options": UPDATES},
    "frontend": {"type": "dict", "options": FRONTEND},
    "certificates": {
        "type": "dict",
        "options": {name: CERTIFICATES[name] for name in ("ca_file", "ca_content", "self_signed_ok", "now")},
    },
    "web_config": {"type": "bool", "default": False},
}
