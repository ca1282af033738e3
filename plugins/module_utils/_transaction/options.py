# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The options of web_config and web_config_graded, as data and as what these understand by them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

_FRAGMENTS: dict[str, t.Any] = {
    "type": "dict",
    "options": {kind: {"type": "list", "elements": "str", "default": []} for kind in ("modules", "confs", "sites")},
}

ARGUMENT_SPEC: dict[str, t.Any] = {
    "server": {"type": "str", "choices": ["auto", "apache", "nginx"], "default": "auto"},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "template": {"type": "path"},
            "mode": {"type": "str"},
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        "mutually_exclusive": [("content", "template")],
    },
    "enable": _FRAGMENTS,
    "disable": _FRAGMENTS,
    "adopt": {"type": "bool", "default": False},
    "policy": {
        "type": "dict",
        "options": {
            "tls": {"type": "path", "required": True},
            "headers": {"type": "path"},
            "http": {"type": "path"},
            "variables": {"type": "path"},
            "tls_log": {"type": "path"},
            "merge_headers": {"type": "bool", "default": False},
            "repair_ssl_on": {"type": "bool", "default": False},
            "replace_stronger": {
                "type": "list",
                "elements": "str",
                "choices": ["hsts", "tls", "headers"],
                "default": [],
            },
        },
    },
    "probes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "server_name": {"type": "str"},
            "port": {"type": "int"},
            "tls": {"type": "bool", "default": True},
            "method": {"type": "str", "default": "GET"},
            "headers": {"type": "dict", "default": {}},
            "body_size": {"type": "int"},
            "keep": {"type": "list", "elements": "str", "default": []},
            "policy": {"type": "dict", "default": {}},
            "expect": {
                "type": "dict",
                "options": {
                    "status": {"type": "list", "elements": "int", "default": []},
                    "headers": {"type": "dict", "default": {}},
                },
            },
        },
    },
    "clients_required": {"type": "list", "elements": "str", "default": []},
    "rehearse": {"type": "str", "choices": ["auto", "required", "off"], "default": "auto"},
    "confirm_timeout": {"type": "int", "default": 0},
    # The action plugin takes it out before it sends the others; it is here as one of the module's documented options.
    "confirm_from": {"type": "str", "choices": ["controller", "auto", "host"], "default": "controller"},
    "confirm": {"type": "str"},
    "restore": {"type": "str"},
    "keep": {"type": "int", "default": 5},
}
RULES: dict[str, t.Any] = {"required_if": [("adopt", True, ["policy"])]}
"""What the options have to do with each other, as AnsibleModule takes it."""


def invalid(params: dict[str, t.Any]) -> str | None:
    """What the argument spec cannot check: the first option whose value is invalid, with the reason; or None."""
    for number, item in enumerate(params["files"]):
        where = "files[%d]" % number
        if not os.path.isabs(item["path"]) or os.path.normpath(item["path"]) != item["path"]:
            return "{}.path: {!r} is not an absolute path without '..'".format(where, item["path"])
        if item["template"] is not None:
            return "{}.template: {!r} was not rendered; the action plugin of this module does that".format(
                where,
                item["template"],
            )
        if item["state"] == "present" and item["content"] is None:
            return "{}: {} has neither content nor template".format(where, item["path"])
        if item["mode"] is not None and not re.match(r"^[0-7]{3,4}$", item["mode"]):
            return "{}.mode: {!r} is not an octal number such as '0644'".format(where, item["mode"])
    for number, probe in enumerate(params["probes"]):
        if not re.match(r"^/[^\s\x00-\x1f]*$", probe["path"]):
            return "probes[%d].path: %r does not begin with a slash, or has blanks in it" % (number, probe["path"])
        if probe["body_size"] is not None and probe["body_size"] < 1:
            return "probes[%d].body_size: %d is less than 1" % (number, probe["body_size"])
        for name, pattern in ((probe["expect"] or {}).get("headers") or {}).items():
            try:
                re.compile(pattern)
            except re.error as error:
                return "probes[%d].expect.headers.%s: %r is no regular expression: %s" % (number, name, pattern, error)
    for name, least in (("keep", 1), ("confirm_timeout", 0)):
        if params[name] < least:
            return "%s: %d is less than %d" % (name, params[name], least)
    if params["clients_required"] and params["rehearse"] == "off":
        return "clients_required: whether they can connect is found out in the rehearsal, and rehearse is 'off'"
    changing = [name for name in ("files", "enable", "disable", "adopt") if params[name]]
    if params["restore"] and changing:
        return "restore: {!r} cannot be combined with {}".format(params["restore"], ", ".join(changing))
    return None


def understood(options: t.Any) -> dict[str, t.Any] | None:
    """The options with their defaults, or None for some that would be refused."""
    if not isinstance(options, dict):
        return None
    result = ArgumentSpecValidator(ARGUMENT_SPEC, **RULES).validate(options)
    params: dict[str, t.Any] = result.validated_parameters
    return None if result.error_messages or invalid(params) else params


def digest(params: dict[str, t.Any]) -> str:
    """SHA-256 in hexadecimal of options with their defaults."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
