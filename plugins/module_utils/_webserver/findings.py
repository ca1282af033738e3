# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The catalogue of C(frontend.*) findings, and those that follow from a configuration's virtual hosts."""

from __future__ import annotations

import fnmatch
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, Vhost


class Entry(t.NamedTuple):
    """A kind of finding: step of the checklist, severity (fail, warn, info, unknown), message and fix."""

    step: int
    severity: str
    message: str
    fix: str


_ROLE = "Harden the host with the role kopano.hardening.frontend."

CATALOGUE = {
    "frontend.none": Entry(
        2, "info", "Neither Apache nor nginx is installed.", "Name the host that serves Kopano's web frontends."
    ),
    "frontend.config.broken": Entry(
        2,
        "fail",
        "The server refuses its own configuration: it would not come up again after a stop.",
        "Correct the file at the line that is named, then test with the server's own -t.",
    ),
    "frontend.config.untested": Entry(
        2,
        "unknown",
        "Whether the server takes its configuration was not tested; what is said about it was read from its files.",
        "Run as root on a host that allows namespaces.",
    ),
    "frontend.config.unreadable": Entry(
        2, "unknown", "A file of the configuration could not be read; what it says is not known.", "Run as root."
    ),
    "frontend.config.not_understood": Entry(
        2,
        "unknown",
        "The server takes its configuration, but this module does not: nothing is known about its virtual hosts.",
        "Report the line that is named as a bug of the collection.",
    ),
    "frontend.server.stopped": Entry(
        2, "warn", "The server is not running.", "Find out why, correct it and start the server."
    ),
    "frontend.server.unused": Entry(
        2, "info", "The server is installed but not running; another one is.", "Remove its package if nobody needs it."
    ),
    "frontend.openssl.unknown": Entry(
        2,
        "unknown",
        "The server's OpenSSL could not be asked which groups and cipher suites it has.",
        "Install the server and its TLS module from the distribution's packages.",
    ),
    "frontend.managed": Entry(
        2,
        "info",
        "Something else writes the configuration of this host's web frontends.",
        "Use its settings instead of editing files.",
    ),
    "frontend.vhost.unknown": Entry(
        2,
        "unknown",
        "A virtual host does not stand in a file as such, for instance because a macro makes it: nothing is known "
        "about its TLS.",
        "Write the virtual host out.",
    ),
    "frontend.vhost.packaged": Entry(
        2,
        "fail",
        "The virtual host of Debian's kopano-webapp package answers on the TLS port for names that no other one has, "
        "with the certificate that the distribution made.",
        "Disable it, with a2disconf kopano-webapp-apache2 or by removing its link in sites-enabled.",
    ),
    "frontend.vhost.mixed": Entry(
        2,
        "info",
        "A server block listens with and without TLS: what it says counts for both.",
        "Give plain HTTP a server block of its own.",
    ),
    "frontend.tls.none": Entry(2, "fail", "The server has no virtual host with TLS.", _ROLE),
    "frontend.tls.plaintext": Entry(
        2,
        "warn",
        "Names are served without TLS only.",
        "Give them a virtual host with TLS and a certificate, or remove them.",
    ),
    "frontend.tls.override": Entry(
        2, "warn", "A virtual host has a TLS setting of its own, which the server's policy does not reach.", _ROLE
    ),
    "frontend.tls.old_protocol": Entry(
        2, "warn", "The configuration allows protocols older than TLS 1.2 to a virtual host with TLS.", _ROLE
    ),
    "frontend.hsts.override": Entry(
        3, "warn", "A virtual host, or a part of one, has a Strict-Transport-Security header of its own.", _ROLE
    ),
    "frontend.header.override": Entry(
        2,
        "info",
        "A virtual host, or a part of one, has a security header of its own. With Apache the one for Kopano's paths "
        "replaces it there unless it is stronger, with nginx it stays.",
        "Remove it where it is not wanted.",
    ),
    "frontend.nginx.other_tls": Entry(
        2,
        "info",
        "nginx ends TLS outside of its http block, where neither this module nor the role frontend sees to it.",
        "Give the block the protocols and ciphers of the policy by hand.",
    ),
    "frontend.nginx.ssl_on": Entry(
        2,
        "warn",
        "The directive ssl is gone since nginx 1.25.1, which does not start with it.",
        "Write listen 443 ssl; and remove ssl on;, or have frontend_repair_ssl_on do it.",
    ),
}


def finding(key: str, subject: str, evidence: str = "") -> dict[str, t.Any]:
    """A finding as modules return it."""
    entry = CATALOGUE[key]
    return {
        "id": key,
        "step": entry.step,
        "severity": entry.severity,
        "subject": subject,
        "message": entry.message,
        "evidence": evidence,
        "fix": entry.fix,
    }


# Debian's packages kopano-webapp-apache2 and kopano-webapp-nginx
_PACKAGED = ("kopano-webapp-apache2.conf", "kopano-webapp.conf")


def _place(item: _webserver_model.Directive | Vhost) -> str:
    return "%s:%d" % (item.file, item.line)


def _is_packaged(vhost: Vhost) -> bool:
    return os.path.basename(vhost.file) in _PACKAGED and "snakeoil" in (vhost.certificate or "")


def _known(name: str, secure: t.Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), known.lower()) for known in secure)


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
        word = argument.lower().lstrip("+-")
        meant = {*_OLD_PROTOCOLS, "tlsv1.2", "tlsv1.3"} if word == "all" else {word}
        if argument.startswith("-"):
            allowed -= meant
        else:
            allowed = allowed | meant if argument.startswith("+") else meant
    return allowed


def of(config: Config, layout: Layout) -> list[dict[str, t.Any]]:
    """The findings that a configuration's text leads to. Each place in a file is reported once."""
    found: dict[tuple[str, str], dict[str, t.Any]] = {}

    def add(key: str, subject: str, evidence: str) -> None:
        found.setdefault((key, subject), finding(key, subject, evidence))

    for path, words in config.unreadable.items():
        add("frontend.config.unreadable", path, words)
    secure = [vhost for vhost in config.vhosts if vhost.tls]
    names = [name for vhost in secure for name in vhost.names]
    if config.vhosts and not secure and all(vhost.tls is False for vhost in config.vhosts):
        add("frontend.tls.none", config.server, ", ".join(sorted({_place(vhost) for vhost in config.vhosts})))
    blocks = {id(vhost.block) for vhost in secure}
    # Apache's main server, or nginx's block http: what counts where a virtual host says nothing.
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
            alone = [name for name in vhost.names if "." in name and not _known(name, names)]
            if secure and alone and vhost.named:
                add("frontend.tls.plaintext", " ".join(alone), _place(vhost))
    if config.server == "nginx":
        for item in _webserver_model.walk(config.root):
            if item.name == "ssl" and item.args in (["on"], ["off"]):
                add("frontend.nginx.ssl_on", _place(item), "ssl %s;" % item.args[0])
            if item.name == "listen" and "ssl" in item.args and "http" not in [block.name for block in item.within()]:
                add("frontend.nginx.other_tls", _place(item), " ".join(["listen", *item.args]))
    return list(found.values())
