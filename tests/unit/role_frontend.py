# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the role frontend share: its data, made-up hosts of each shape, and its rendered templates."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data as _frontend_data

ROLE = Path(__file__).parents[2] / "roles" / "frontend"


def load(name: str) -> t.Any:
    return yaml.safe_load((ROLE / name).read_text())


DEFAULTS: dict[str, t.Any] = load("defaults/main.yml")
PROFILES: dict[str, t.Any] = _frontend_data.profiles()
DATA: dict[str, t.Any] = _frontend_data.components()
COMPONENTS: dict[str, t.Any] = DATA["components"]

SHAPES = [(layout.server, layout.family) for layout in _layout.LAYOUTS]
NEW_GROUPS = ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"]
SUITES = [*_openssl.SUITES13, *_openssl.SUITES]


def layout_of(server: str, family: str) -> _layout.Layout:
    return next(layout for layout in _layout.LAYOUTS if (layout.server, layout.family) == (server, family))


def options(**changes: t.Any) -> dict[str, t.Any]:
    """The role's options as it hands them to its filters."""
    values = {name.replace("frontend_", "", 1): copy.deepcopy(value) for name, value in DEFAULTS.items()}
    values.update(check_mode=False, certificate_result={})
    assert set(changes) <= set(values)
    return {**values, **changes}


def vhost(server: str, **values: t.Any) -> dict[str, t.Any]:
    """A virtual host as frontend_info returns it."""
    found = {
        "server": server,
        "names": [],
        "named": True,
        "address": "*",
        "port": 443,
        "tls": True,
        "certificate": None,
        "key": None,
        "file": "/etc/x/sites-enabled/mail.conf",
        "line": 1,
        "default": False,
        "overrides": [],
    }
    assert set(values) <= {*found, "listen"}
    found.update(values)
    return {"listen": [{"address": found["address"], "port": found["port"]}], **found}


def host(server: str, family: str, **values: t.Any) -> dict[str, t.Any]:
    """frontend_info's answer for a host with one web server and everything of Kopano. values go to the server."""
    layout = layout_of(server, family)
    version = "1.26.3" if server == "nginx" else "2.4.71"
    entry = {
        "server": server,
        "family": family,
        "version": version,
        "running": True,
        "in_use": True,
        "main_config": layout.main_config,
        "config_dir": layout.config_dir,
        "openssl": {"version": "3.5.9", "group_names": NEW_GROUPS, "cipher_suites": SUITES},
        "mpm": None if server == "nginx" else "event",
        "modules": ["authz_core", "ssl", "headers", "rewrite"],
        "features": {"http2": True, "http2_directive": server == "nginx", "ssl_conf_command": server == "nginx"},
        "policy_dir": layout.policy_dir,
        "module_style": layout.module_style,
        "confs": layout.confs._asdict(),
        "sites": layout.sites._asdict(),
        "unit": layout.unit,
        "tls_log": layout.tls_log._asdict(),
        "access_logs": ["/var/log/nginx/access.log"] if server == "nginx" else None,
        "default_log": None,
    }
    assert set(values) <= set(entry)
    return {
        "os": {"family": family, "ipv6": True},
        "servers": [dict(entry, **values)],
        "vhosts": [],
        "components": [{"name": name, "flavour": "upstream", "version": "", "path": ""} for name in COMPONENTS],
        "managed_by": "none",
        "findings": [],
        "php": {"module": False, "socket": "/run/php/php-fpm.sock"},
        "snakeoil": {"certificate": "/etc/ssl/certs/snakeoil.pem", "key": "/etc/ssl/private/snakeoil.key"},
        "clients": None,
    }


def plan(info: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    return _frontend.plan(info, options(**changes), PROFILES, DATA)


def render(wanted: dict[str, t.Any], managed: str = "Ansible managed") -> dict[str, str]:
    """The files of a plan by path, as the module would get them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["comment"] = FilterModule().filters()["comment"]
    return {
        item["path"]: environment.get_template(item["template"]).render(plan=wanted, ansible_managed=managed)
        for item in wanted["files"]
        if "template" in item
    }
