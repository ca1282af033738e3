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
from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy
from ansible_collections.kopano.hardening.plugins.module_utils._host.crypto_policy import CryptoPolicy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import policy_items as _policy_items
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


def _allowed(server: str, directive: _webserver_model.Directive) -> set[str]:
    """The protocols of a directive, in lower case. Apache's words have signs; one without is all there is so far."""
    arguments = directive.args
    if server == "nginx":
        return {argument.lower() for argument in arguments}
    oldest = _policy_items.oldest(directive)
    if oldest:
        return {name.lower().replace("tlsv1.0", "tlsv1") for name in oldest}
    allowed: set[str] = set()
    for argument in arguments:
        protocol = argument.lower().lstrip("+-")
        meant = {*_OLD_PROTOCOLS, "tlsv1.2", "tlsv1.3"} if protocol == "all" else {protocol}
        if argument.startswith("-"):
            allowed -= meant
        else:
            allowed = allowed | meant if argument.startswith("+") else meant
    return allowed


def _cipher_list(
    server: str, directives: t.Iterable[_webserver_model.Directive] | None
) -> _webserver_model.Directive | None:
    """The directive that decides about the suites of TLS 1.2 at one level, which is the last one there."""
    found = [
        item
        for item in _webserver_model.direct(directives or (), "sslciphersuite", "ssl_ciphers")
        if (_policy_items.setting(server, item) or ("",))[0] == "ciphers"
    ]
    return found[-1] if found else None


def _crypto_policy_finding(config: Config, layout: Layout, whole: t.Any, system: CryptoPolicy | None) -> Finding | None:
    """What the policy of the whole host means for the virtual hosts with TLS, where the server knows such a policy."""
    users: dict[str, None] = {}
    others = 0
    for vhost in config.vhosts:
        if vhost.tls:
            block = _cipher_list(config.server, vhost.block.children if vhost.block else ())
            decides = block or _cipher_list(config.server, whole)
            if decides and _crypto_policy.is_system(decides.args[-1]):
                users[_place(decides)] = None
            else:
                others += 1
    if not users and (system is None or layout.family != "redhat"):
        return None
    name, oldest = (system.name, system.oldest) if system else ("", None)
    facts = [name or "its name is not known"]
    if name.partition(":")[0] == "LEGACY":
        facts.append("weaker than DEFAULT")
    facts.append(f"it allows {oldest} and newer" if oldest else "which protocols it allows is not known")
    if users:
        facts.append("its suites are used at " + ", ".join(users))
    if others:
        facts.append(f"virtual hosts with TLS that override its suites: {others}")
    return finding("frontend.crypto_policy", config.server, "; ".join(facts))


def of(config: Config, layout: Layout, system: CryptoPolicy | None = None) -> list[Finding]:
    """The findings that a configuration's text leads to. Each place in a file is reported once.

    system: the policy that the host has for all of its programs.
    """
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
    common = _protocols(config.server, whole) or next(iter(_policy_items.of_system(layout, system)), None)
    policy = _crypto_policy_finding(config, layout, whole, system)
    if policy:
        found["frontend.crypto_policy", ""] = policy
    for vhost in config.vhosts:
        if vhost.tls is None:
            add("frontend.vhost.unknown", " ".join(vhost.names) or vhost.address, _place(vhost))
        elif vhost.tls:
            if vhost.default and vhost.port == 443 and _is_packaged(vhost):
                add("frontend.vhost.packaged", " ".join(vhost.names), _place(vhost))
            protocols = _protocols(config.server, vhost.block.children if vhost.block else ()) or common
            if protocols and _allowed(config.server, protocols) & _OLD_PROTOCOLS:
                evidence = " ".join([protocols.name, *protocols.args])
                if protocols.file == _crypto_policy.SETTINGS:
                    evidence = f"{protocols.args[0]} is {protocols.args[1]}, and no SSLProtocol replaces it"
                add("frontend.tls.old_protocol", _place(protocols), evidence)
            for item in vhost.overrides:
                is_header = not item.key.startswith("ssl")
                key = "frontend.hsts.override" if is_header else "frontend.tls.override"
                add(key, _place(item), " ".join([item.name, *item.args]))
            for item in _webserver_model.walk(vhost.block.children or () if vhost.block else ()):
                if _own_header(item) and not _webserver_model.is_ours(config, layout, item):
                    add("frontend.header.override", _place(item), " ".join([item.name, *item.args]))
        elif vhost.block is not None and id(vhost.block) in blocks:
            add("frontend.vhost.mixed", _place(vhost), "%s:%s" % (vhost.address, vhost.port))
        elif vhost.is_on(80):
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
