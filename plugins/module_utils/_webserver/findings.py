# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The findings that follow from a configuration's virtual hosts."""

from __future__ import annotations

import fnmatch
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, Vhost

# Debian's packages kopano-webapp-apache2 and kopano-webapp-nginx
_PACKAGED = ("kopano-webapp-apache2.conf", "kopano-webapp.conf")


def _place(item: _webserver_model.Directive | Vhost) -> str:
    return "%s:%d" % (item.file, item.line)


def _is_packaged(vhost: Vhost) -> bool:
    return os.path.basename(vhost.file) in _PACKAGED and "snakeoil" in (vhost.certificate or "")


class _Names:
    """Names of virtual hosts, among which wildcards, of any case."""

    def __init__(self, names: t.Iterable[str]) -> None:
        lower = {name.lower() for name in names}
        self._patterns = {name for name in lower if _webserver_model.is_pattern(name)}
        self._plain = lower - self._patterns

    def __contains__(self, name: str) -> bool:
        name = name.lower()
        return name in self._plain or any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)


# Security headers that the collection sends itself, beside Strict-Transport-Security
_HEADERS = (
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
    "content-security-policy",
    "content-security-policy-report-only",
)


def _own_header(item: _webserver_model.Directive) -> bool:
    """Whether a directive sets one of these headers."""
    if item.key not in ("add_header", "header"):
        return False
    return any(arg.lower().rstrip(":") in _HEADERS for arg in item.args[:3])


def _protocols(
    server: str, directives: t.Iterable[_webserver_model.Directive] | None
) -> _webserver_model.Directive | None:
    """The directive that decides about the protocols at one level, which is the last one there."""
    key = {"apache": "sslprotocol", "nginx": "ssl_protocols"}[server]
    return next(reversed(list(_webserver_model.direct(directives or (), key))), None)


_OLD_PROTOCOLS = {"sslv2", "sslv3", "tlsv1", "tlsv1.1"}


def _allowed(server: str, arguments: t.Iterable[str]) -> set[str]:
    """The protocols of a directive, in lower case. Apache's words have signs; one without is all there is so far."""
    if server == "nginx":
        return {argument.lower() for argument in arguments}
    allowed: set[str] = set()
    for argument in arguments:
        protocol = argument.lower().lstrip("+-")
        meant = {*_OLD_PROTOCOLS, "tlsv1.2", "tlsv1.3"} if protocol == "all" else {protocol}
        if argument.startswith("-"):
            allowed -= meant
        else:
            allowed = allowed | meant if argument.startswith("+") else meant
    return allowed


def of(config: Config, layout: Layout) -> list[Finding]:
    """The findings that a configuration's text leads to. Each place in a file is reported once."""
    found: dict[tuple[str, str], Finding] = {}

    def add(key: str, subject: str, evidence: str) -> None:
        found.setdefault((key, subject), finding(key, subject, evidence))

    for path, reason in config.unreadable.items():
        add("frontend.config.unreadable", path, reason)
    secure = [vhost for vhost in config.vhosts if vhost.tls]
    names = _Names(name for vhost in secure for name in vhost.names)
    # What could not be read may have more virtual hosts.
    if config.vhosts and not secure and not config.unreadable and all(vhost.tls is False for vhost in config.vhosts):
        add("frontend.tls.none", config.server, ", ".join(sorted({_place(vhost) for vhost in config.vhosts})))
    blocks = {id(vhost.block) for vhost in secure}
    # Apache's main server, or nginx's block http: what counts where a virtual host sets nothing.
    whole = config.root
    if config.server == "nginx":
        whole = [item for http in _webserver_model.direct(config.root, "http") for item in http.children or ()]
    common = _protocols(config.server, whole)
    for vhost in config.vhosts:
        if vhost.tls is None:
            add("frontend.vhost.unknown", " ".join(vhost.names) or vhost.address, _place(vhost))
        elif vhost.tls:
            if vhost.default and vhost.port == 443 and _is_packaged(vhost):
                add("frontend.vhost.packaged", " ".join(vhost.names), _place(vhost))
            protocols = _protocols(config.server, vhost.block.children if vhost.block else ()) or common
            if protocols and _allowed(config.server, protocols.args) & _OLD_PROTOCOLS:
                add("frontend.tls.old_protocol", _place(protocols), " ".join([protocols.name, *protocols.args]))
            for item in vhost.overrides:
                is_header = not item.key.startswith("ssl")
                key = "frontend.hsts.override" if is_header else "frontend.tls.override"
                add(key, _place(item), " ".join([item.name, *item.args]))
            for item in _webserver_model.walk(vhost.block.children or () if vhost.block else ()):
                if _own_header(item) and not _webserver_model.is_ours(config, layout, item):
                    add("frontend.header.override", _place(item), " ".join([item.name, *item.args]))
        elif vhost.block is not None and id(vhost.block) in blocks:
            add("frontend.vhost.mixed", _place(vhost), "%s:%s" % (vhost.address, vhost.port))
        elif vhost.port == 80:
            alone = [name for name in vhost.names if "." in name and name not in names]
            if secure and alone and vhost.named and not config.unreadable:
                add("frontend.tls.plaintext", " ".join(alone), _place(vhost))
    if config.server == "nginx":
        for item in _webserver_model.walk(config.root):
            if item.name == "ssl" and item.args in (["on"], ["off"]):
                add("frontend.nginx.ssl_on", _place(item), "ssl %s;" % item.args[0])
            if item.name == "listen" and "ssl" in item.args and "http" not in [block.name for block in item.within()]:
                add("frontend.nginx.other_tls", _place(item), " ".join(["listen", *item.args]))
    return list(found.values())
