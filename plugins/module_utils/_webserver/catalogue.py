# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kinds of findings about web servers."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import HSTS, TLS, Catalogue, Entry

_ROLE = "Harden the host with the role kopano.hardening.frontend."

CATALOGUE = Catalogue(
    TLS,
    {
        "frontend.none": Entry(
            "info", "Neither Apache nor nginx is installed.", "Name the host that serves Kopano's web frontends."
        ),
        "frontend.system.unknown": Entry(
            "unknown",
            "The system is not supported: the location of its web server's configuration is not known, and nothing is "
            "changed.",
            "Use a supported system. Endpoints that verify_endpoints names are graded from outside in any case.",
        ),
        "frontend.config.broken": Entry(
            "fail",
            "The server refuses its own configuration: it would not come up again after a stop.",
            "Correct the file at the line that is named, then test with the server's own -t.",
        ),
        "frontend.config.untested": Entry(
            "unknown",
            "Whether the server accepts its configuration was not tested; findings about it are from its files.",
            "Run as root on a host that allows namespaces.",
        ),
        "frontend.config.unreadable": Entry(
            "unknown", "A file of the configuration could not be read; its content is not known.", "Run as root."
        ),
        "frontend.config.not_understood": Entry(
            "unknown",
            "The server takes its configuration, but this module does not: nothing is known about its virtual hosts.",
            "Report the line that is named as a bug of the collection.",
        ),
        "frontend.server.stopped": Entry(
            "warn", "The server is not running.", "Find out why, correct it and start the server."
        ),
        "frontend.server.unused": Entry(
            "info",
            "The server is installed but not running; another one is.",
            "Remove its package if it is not needed.",
        ),
        "frontend.openssl.unknown": Entry(
            "unknown",
            "The server's OpenSSL could not be queried for the groups and cipher suites it has.",
            "Install the server and its TLS module from the distribution's packages.",
        ),
        "frontend.crypto_policy": Entry(
            "info",
            "The host has a system-wide crypto policy. The protocols, suites and groups that the role frontend "
            "configures in each virtual host with TLS override it.",
            "No action is needed. To leave the suites of TLS 1.2 to the policy, set frontend_tls_ciphers: "
            "[PROFILE=SYSTEM].",
        ),
        "frontend.fips": Entry(
            "info",
            "The host is in FIPS mode: the role frontend configures only the groups and suites that its OpenSSL "
            "supports in this mode.",
            "No action is needed. Clients that support none of them cannot connect.",
        ),
        "frontend.managed": Entry(
            "info",
            "Something else writes the configuration of this host's web frontends.",
            "Use its settings instead of editing files.",
        ),
        "frontend.vhost.unknown": Entry(
            "unknown",
            "A virtual host does not stand in a file as such, for instance because a macro makes it: nothing is known "
            "about its TLS.",
            "Write the virtual host out.",
        ),
        "frontend.vhost.packaged": Entry(
            "fail",
            "The virtual host of Debian's kopano-webapp package responds on the TLS port for names that no other one "
            "has, with the certificate that the distribution made.",
            "Disable it, with a2disconf kopano-webapp-apache2 or by removing its link in sites-enabled.",
        ),
        "frontend.vhost.mixed": Entry(
            "info",
            "A server block listens with and without TLS: its directives count for both.",
            "Give plain HTTP a server block of its own.",
        ),
        "frontend.tls.none": Entry("fail", "The server has no virtual host with TLS.", _ROLE),
        "frontend.tls.plaintext": Entry(
            "warn",
            "Names are served without TLS only.",
            "Give them a virtual host with TLS and a certificate, or remove them.",
        ),
        "frontend.tls.override": Entry(
            "warn", "A virtual host has a TLS setting of its own, which the server's policy does not reach.", _ROLE
        ),
        "frontend.tls.old_protocol": Entry(
            "warn", "The configuration allows protocols older than TLS 1.2 to a virtual host with TLS.", _ROLE
        ),
        "frontend.hsts.override": Entry(
            "warn",
            "A virtual host, or a part of one, has a Strict-Transport-Security header of its own.",
            _ROLE,
            step=HSTS,
        ),
        "frontend.header.override": Entry(
            "info",
            "A virtual host, or a part of one, has a security header of its own. With Apache the one for Kopano's "
            "paths replaces it there unless it is stronger, with nginx it stays.",
            "Remove it where it is not needed.",
        ),
        "frontend.nginx.other_tls": Entry(
            "info",
            "nginx ends TLS outside of its http block, where neither this module nor the role frontend sees to it.",
            "Give the block the protocols and ciphers of the policy by hand.",
        ),
        "frontend.nginx.ssl_on": Entry(
            "warn",
            "The directive ssl is gone since nginx 1.25.1, which does not start with it.",
            "Write listen 443 ssl; and remove ssl on;, or have frontend_repair_ssl_on do it.",
        ),
    },
)
finding = CATALOGUE.finding
