# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""From the options of the role frontend and the result of frontend_info to what shall be on the host.

Nothing here talks to a host, and nothing here knows a distribution: paths come with the result, everything else with
the role's data files.
"""

from __future__ import annotations

import fnmatch
import os.path
import re
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import is_host_name
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import as_list
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import components as _roles_components
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend_data as _frontend_data
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.components import (
    HeaderRule,
    HeaderVariable,
    PresentComponent,
    Route,
    SiteComponent,
    WebConfigProbe,
)
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend_data import ComponentData, Profile

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.engine import Result
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import (
        FrontendInfo,
        ServerInfo,
        SnakeoilInfo,
        TLSLogInfo,
    )
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import VhostInfo

# The role's, by their names without C(frontend_); its argument spec describes each. Beside them C(check_mode), and
# C(certificate_result), what the role certificate has returned.
Options = dict[str, t.Any]


class Setting(t.TypedDict):
    """A setting of TLS, joined by colons, '' for none, and the option that decides it."""

    value: str
    option: str


class TLSPolicy(t.TypedDict):
    """What a server is to speak."""

    protocols: list[str]
    ciphers: Setting  # of TLS 1.2
    ciphersuites: Setting  # of TLS 1.3
    groups: Setting
    prefer_server_ciphers: bool
    tickets_off: bool


class Site(t.TypedDict):
    """What the site's template needs."""

    names: list[str]
    shadowed: list[str]  # further names that its plain side is for
    certificate: str  # this and the others are paths
    certificate_key: str
    certificate_rsa: str  # a second one, '' for none
    certificate_rsa_key: str
    warning: str
    http2: str  # how it is switched on: directive, listen, or '' for not at all
    ipv6: bool
    acme_root: str  # '' for none
    components: list[SiteComponent]
    routes: list[Route]
    landing: str  # where / is redirected to, '' for nowhere


class Template(t.TypedDict):
    """A file to render, as an element of web_config's option C(files)."""

    path: str
    template: str


class Absent(t.TypedDict):
    """A file that shall not be there, as an element of that option."""

    path: str
    state: str


class Snippets(t.TypedDict):
    """The files that virtual hosts include."""

    tls: str
    headers: str
    http: str | None  # None without the redirect
    variables: t.NotRequired[str]  # nginx
    tls_log: t.NotRequired[str]  # nginx, with the log


class Policy(Snippets):
    """The option C(policy) of web_config."""

    merge_headers: bool
    repair_ssl_on: bool
    replace_stronger: list[str]


class Enable(t.TypedDict):
    """The option C(enable) of web_config."""

    modules: list[str]
    confs: list[str]
    sites: list[str]


class Disable(t.TypedDict):
    """The option C(disable) of web_config."""

    confs: list[str]


class NoPlan(t.TypedDict):
    """Why nothing can be done on a host, or is to be done there: one of the two is a text for the user."""

    error: str
    skip: str


class PlanParts(t.TypedDict):
    """What shall be on a host: for templates, and for web_config."""

    skip: str  # ''
    server: str
    unit: str  # systemd's
    mode: str  # adopt, site
    tls: TLSPolicy
    hsts: str  # the header's value
    headers: list[HeaderRule]
    everywhere: dict[str, str]  # headers of every response
    variables: list[HeaderVariable]
    sent: list[str]  # names of all headers that are sent
    hidden: list[str]  # names of headers that no client gets
    denied: list[str]  # regular expressions of paths
    plain_only: list[str]  # names that are not redirected
    has_both: bool  # whether a server block has TLS and port 80
    https_suffix: str  # of a redirect's host: '', or a colon and the port
    files: list[Template | Absent]
    server_policy: str  # nginx: a file that the policy for TLS includes; else ''
    policy: Policy
    enable: Enable
    disable: Disable
    adopt: bool
    probes: list[WebConfigProbe]
    warning: str  # '' for none
    tls_log: TLSLogInfo | None  # None without it
    default_log: str  # the log that nginx writes without a directive and with that log would not, '' for none
    header_notes: t.NotRequired[list[str]]  # Apache
    site: t.NotRequired[Site]  # in site mode


class Plan(PlanParts):
    """A plan without anything against it."""

    error: str  # ''


class _Host(t.NamedTuple):
    """The part of a host that is to be hardened."""

    server: ServerInfo
    vhosts: list[VhostInfo]  # of that server
    foreign: list[VhostInfo]  # those of them that are not the site's
    mode: str
    site_file: str

    @property
    def apache(self) -> bool:
        return self.server["server"] == "apache"


# What browsers require of a host before they put it on their preload lists.
PRELOAD_MAX_AGE = 31536000

# From this version on nginx changes its ticket keys by itself, so that tickets do not undo forward secrecy.
NGINX_ROTATES_TICKET_KEYS = (1, 23, 2)

# nginx has no directive ssl any more.
NGINX_WITHOUT_SSL_ON = (1, 25, 1)

HSTS = "Strict-Transport-Security"

# The site's file: before those that the distributions bring, since the first virtual host serves unknown names.
SITE = "00-kopano-hardening"

# Apache's file for the whole server: behind those of the distributions, since the last directive counts.
BANNER = "zz-kopano-hardening"

# How a virtual host's address is written when it is for every one.
EVERYWHERE = ("*", "0.0.0.0", "[::]", "_default_")

# Debian's package kopano-webapp-apache2 brings two virtual hosts in a file of this name.
PACKAGED_VHOSTS = "kopano-webapp-apache2"

_CIPHERS = re.compile(r"[A-Za-z0-9_+!@=:-]+")
_GROUPS = re.compile(r"[A-Za-z0-9_+?*/:-]+")
# A path that needs no quoting in either server's configuration.
_PATH = re.compile(r"/[A-Za-z0-9._/@+=,:~-]+")
# Where FPM listens on a port of the host itself.
_LOCAL = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}")
_REPORT_URI = re.compile(r"(?:https?:/)?/[A-Za-z0-9._/@+=,:~?&-]+")


def option_errors(options: Options, data: ComponentData | None = None) -> list[str]:
    """What is wrong with the options themselves, one sentence each, beyond what the argument spec refuses.

    data: the role's data about components, by default from its file.
    """
    found = _roles_components.errors(data or _frontend_data.components(), options)

    def refuse(name: str, why: str) -> None:
        found.append(f"frontend_{name}: {options[name]!r} {why}")

    max_age = int(options["hsts_max_age"])
    for name, least in (("hsts_max_age", 0), ("confirm_timeout", 0), ("keep", 1)):
        if int(options[name]) < least:
            refuse(name, f"is less than {least}")
    if boolean(options["hsts_preload"]):
        if not boolean(options["hsts_include_subdomains"]):
            refuse("hsts_preload", "needs frontend_hsts_include_subdomains: true, since the lists hold whole domains")
        if max_age < PRELOAD_MAX_AGE:
            refuse("hsts_preload", f"needs a frontend_hsts_max_age of at least {PRELOAD_MAX_AGE}, not {max_age}")
        if not boolean(options["http_redirect"]):
            refuse("hsts_preload", "needs frontend_http_redirect: true, since the lists take no domain without it")
    for name in as_list(options["server_names"]):
        if not is_host_name(name):
            found.append(f"frontend_server_names: {name!r} is not a host name")
    for name, pattern in (("tls_ciphers", _CIPHERS), ("tls_ciphersuites", _CIPHERS), ("tls_groups", _GROUPS)):
        for item in as_list(options[name]):
            if not pattern.fullmatch(item):
                found.append(f"frontend_{name}: {item!r} holds a character that no OpenSSL name has")
    found += _lost_clients.required_errors(options["clients_required"])
    if options["clients_required"] and options["rehearse"] == "off":
        refuse("clients_required", "needs the rehearsal that frontend_rehearse: 'off' leaves out")
    pairs = ("tls_certificate", "tls_certificate_rsa")
    for name in (*pairs, *(f"{name}_key" for name in pairs), "acme_root"):
        if options[name] and not _PATH.fullmatch(options[name]):
            refuse(name, "is not an absolute path without spaces and quotes")
    for name in pairs:
        key = options[f"{name}_key"]
        if bool(options[name]) != bool(key):
            refuse(name, f"and frontend_{name}_key: {key!r} belong together; one of them is missing")
    if options["tls_certificate_rsa"] and not options["tls_certificate"]:
        refuse("tls_certificate_rsa", "comes beside frontend_tls_certificate, which is empty")
    php = options["php"]
    if php not in ("", "mod_php") and not (_PATH.fullmatch(php) or _LOCAL.fullmatch(php)):
        refuse("php", "is neither 'mod_php' nor the path of a socket, nor a port of the host such as 127.0.0.1:9000")
    if options["csp_report_uri"] and not _REPORT_URI.fullmatch(options["csp_report_uri"]):
        refuse("csp_report_uri", "is neither a path nor a URL")
    return found


class Refused(Exception):
    """The host cannot get what the options require. The message is for the user and names the option."""


def choose_server(info: FrontendInfo) -> ServerInfo:
    """The entry of C(servers) to harden: of several the one that runs, of several that run the one that serves TLS."""
    servers = {server["server"]: server for server in info["servers"]}
    if not servers:
        raise Refused("no web server is installed here, and frontend_install is off or could not install one")
    serving = {vhost["server"] for vhost in info["vhosts"] if vhost["tls"]}
    try:
        return servers[_layout.choose([*servers], lambda name: servers[name]["running"], serving.__contains__)]
    except _layout.Ambiguous as error:
        raise Refused(str(error)) from error


def version_of(server: ServerInfo) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", server["version"])[:3])


def tls_policy(server: ServerInfo, options: Options, profile: Profile) -> TLSPolicy:
    """The TLS settings, each list with the option that decides it.

    The guideline's groups and suites are narrowed to those that the host's OpenSSL has, which are fewer in FIPS mode; a
    list of the user's is left as it is, so that a wrong one is refused by the server and named.
    """

    def setting(name: str, default: list[str]) -> Setting:
        own = as_list(options["tls_" + name])
        return {"value": ":".join(own or default), "option": "frontend_tls_" + (name if own else "profile")}

    nginx = server["server"] == "nginx"
    known = set(server["openssl"]["group_names"])
    usable = {_openssl.SUITES.get(suite, suite) for suite in server["openssl"]["cipher_suites"]}

    def narrowed(names: list[str]) -> list[str]:
        return [name for name in names if name in usable] or names

    ciphersuites = setting("ciphersuites", narrowed(profile["ciphersuites"]))
    if nginx and as_list(options["tls_ciphersuites"]) and not server["features"]["ssl_conf_command"]:
        raise Refused(
            f"frontend_tls_ciphersuites: {as_list(options['tls_ciphersuites'])} cannot be set: "
            f"nginx {server['version']} has no directive for the suites of TLS 1.3, 1.19.4 has"
        )
    if nginx and not as_list(options["tls_ciphersuites"]):
        # The profile's suites are OpenSSL's own; saying so would replace what the administrator set at http level.
        ciphersuites["value"] = ""
    return {
        "protocols": profile["protocols"],
        "ciphers": setting("ciphers", narrowed(profile["ciphers"])),
        "ciphersuites": ciphersuites,
        "groups": setting("groups", [group for group in profile["groups"] if group in known]),
        "prefer_server_ciphers": boolean(options["tls_prefer_server_ciphers"]),
        "tickets_off": not nginx or version_of(server) < NGINX_ROTATES_TICKET_KEYS,
    }


def hsts(options: Options) -> str:
    """The header's value (RFC 6797, section 6.1)."""
    parts = [f"max-age={int(options['hsts_max_age'])}"]
    if boolean(options["hsts_include_subdomains"]):
        parts.append("includeSubDomains")
    if boolean(options["hsts_preload"]):
        parts.append("preload")
    return "; ".join(parts)


def check_hsts(options: Options, plain: list[str], vhosts: list[VhostInfo], snakeoil: SnakeoilInfo | None) -> None:
    """Refuse what would make names unreachable for browsers. plain: names without TLS; vhosts: those with."""
    if not boolean(options["hsts_include_subdomains"]):
        return
    names = as_list(options["server_names"]) + [name for vhost in vhosts for name in vhost["names"]]
    untrusted = {
        name: vhost["certificate"]
        for vhost in vhosts
        if vhost["certificate"] and snakeoil and vhost["certificate"] == snakeoil["certificate"]
        for name in vhost["names"]
    }
    for name in plain:
        above = [other for other in names if name.endswith("." + other.lower())]
        if above:
            raise Refused(f"frontend_hsts_include_subdomains: true would break {name}, below {above[0]}: it has no TLS")
    for name, certificate in untrusted.items():
        if name.lower().startswith("autodiscover.") and any(name.lower().endswith("." + other) for other in names):
            raise Refused(f"frontend_hsts_include_subdomains: true would break {name}: no client trusts {certificate}")
    if boolean(options["hsts_preload"]) and untrusted:
        name, certificate = next(iter(untrusted.items()))
        raise Refused(
            f"frontend_hsts_preload: true needs a certificate that browsers trust; that of {name} is {certificate}"
        )


def ssl_on(server: ServerInfo, info: FrontendInfo, options: Options) -> str:
    """A warning, or '': where nginx's directive ssl is, which newer versions refuse. Raises Refused where it is one."""
    places = [item["subject"] for item in info["findings"] if item["id"] == "frontend.nginx.ssl_on"]
    if not places or boolean(options["repair_ssl_on"]):
        return ""
    left = f"frontend_repair_ssl_on: false leaves the directive ssl in {', '.join(places)}"
    if version_of(server) >= NGINX_WITHOUT_SSL_ON:
        raise Refused(f"{left}, with which nginx {server['version']} does not start")
    return f"{left}, with which nginx 1.25.1 and newer do not start"


def plain_only(vhosts: t.Iterable[VhostInfo], names: t.Iterable[str]) -> list[str]:
    """Host names that only a plain virtual host on port 80 has: redirecting them would lead to another site."""
    vhosts = list(vhosts)
    secure = [name.lower() for vhost in vhosts if vhost["tls"] for name in vhost["names"]]
    secure += [name.lower() for name in names]
    plain = {name.lower() for vhost in vhosts if is_plain(vhost) and vhost["named"] for name in vhost["names"]}
    return sorted(
        name
        for name in plain
        if is_host_name(name) and "." in name and not any(fnmatch.fnmatch(name, known) for known in secure)
    )


def is_plain(vhost: VhostInfo) -> bool:
    """Whether it is what browsers reach without TLS."""
    return not vhost["tls"] and 80 in (vhost["port"], *(listen["port"] for listen in vhost["listen"]))


def has_both(vhosts: t.Iterable[VhostInfo]) -> bool:
    """Whether a server block has TLS and port 80: its plain side needs the policy for plain HTTP as well."""
    vhosts = list(vhosts)
    plain = {(vhost["file"], vhost["line"]) for vhost in vhosts if is_plain(vhost)}
    return any(vhost["tls"] and (vhost["file"], vhost["line"]) in plain for vhost in vhosts)


def https_port(vhosts: t.Iterable[VhostInfo]) -> int:
    """Where plain HTTP is redirected to: 443, or the lowest TLS port of a host that has none there."""
    ports = sorted({vhost["port"] for vhost in vhosts if vhost["tls"] and vhost["port"]})
    return 443 if 443 in ports or not ports else ports[0]


def is_packaged(vhost: VhostInfo) -> bool:
    return os.path.basename(vhost["file"]).startswith(PACKAGED_VHOSTS)


def choose_mode(vhosts: t.Iterable[VhostInfo], option: str, site_file: str) -> str:
    """C(adopt) or C(site). A host that has this role's site keeps it, whatever else is there by now."""
    if option != "auto":
        return option
    names = {os.path.basename(vhost["file"]) for vhost in vhosts if vhost["tls"] and not is_packaged(vhost)}
    return "site" if os.path.basename(site_file) in names or not names else "adopt"


def site_path(server: ServerInfo) -> str:
    suffix = server["sites"]["suffixes"][0]
    return os.path.join(server["sites"]["available_dir"], SITE + suffix)


def with_installed(options: Options) -> Options:
    """The options with what the role certificate has installed on this host in the same run, where they are empty."""
    installed = options["certificate_result"].get("certificates", [])
    found = dict(options)
    if installed and not found["tls_certificate"]:
        found.update(tls_certificate=installed[0]["path"], tls_certificate_key=installed[0]["key_path"])
    # A second kind of key belongs beside its own first one and beside no other.
    if installed[1:] and found["tls_certificate"] == installed[0]["path"] and not found["tls_certificate_rsa"]:
        found.update(tls_certificate_rsa=installed[1]["path"], tls_certificate_rsa_key=installed[1]["key_path"])
    return found


def certificate(info: FrontendInfo, vhosts: list[VhostInfo], options: Options) -> tuple[str, str, str]:
    """Certificate and key of the site as paths, and a warning or ''."""
    if options["tls_certificate"]:
        return options["tls_certificate"], options["tls_certificate_key"], ""
    snakeoil = info["snakeoil"]
    nobodys = snakeoil["certificate"] if snakeoil else None
    used = [(vhost["certificate"], vhost["key"]) for vhost in vhosts if vhost["tls"] and vhost["certificate"]]
    used = [pair for pair in used if pair[0] != nobodys] + used
    if used:
        found = used[0][0], used[0][1] or used[0][0]
    elif snakeoil:
        found = snakeoil["certificate"], snakeoil["key"]
    else:
        raise Refused("frontend_tls_certificate: '' leaves the choice to this host, which has no certificate; name one")
    untrusted = found[0] == nobodys
    warning = f"frontend_tls_certificate is empty: {found[0]} is used, which no client trusts"
    return (*found, warning if untrusted else "")


def _with_php(
    components: list[PresentComponent], options: Options, info: FrontendInfo, server: ServerInfo
) -> list[SiteComponent]:
    php = options["php"] or info["php"]["socket"] or ("mod_php" if info["php"]["module"] else "")
    found: list[SiteComponent] = []
    for component in components:
        runs = (component["target"] or php) if component["kind"] == "php" else ""
        if component["kind"] == "php" and (not runs or (server["server"] == "nginx" and runs == "mod_php")):
            raise Refused(
                f"frontend_php: {options['php']!r} leaves {server['server']} without a PHP-FPM socket for "
                f"{component['title']}"
            )
        found.append({**component, "php_socket": "" if runs == "mod_php" else runs})
    return found


def site(
    server: ServerInfo,
    info: FrontendInfo,
    options: Options,
    components: list[PresentComponent],
    vhosts: list[VhostInfo],
    foreign: list[VhostInfo],
) -> Site:
    """What the site's template needs. vhosts: those of the server; foreign: those of them that are not the site's."""
    names = as_list(options["server_names"])
    if not names:
        raise Refused(
            "frontend_server_names: [] is not enough for site mode, which this host gets because no TLS "
            "virtual host is there to adopt"
        )
    bound = [vhost for vhost in foreign if vhost["tls"] and vhost["port"] == 443 and vhost["address"] not in EVERYWHERE]
    if bound:
        raise Refused(
            f"frontend_mode: {options['mode']} comes to site mode, whose virtual hosts are for every address; those at "
            f"{bound[0]['address']}:443 ({bound[0]['file']}:{bound[0]['line']}) would be used in their place"
        )
    with_php = _with_php(components, options, info, server)
    options = with_installed(options)
    chosen = certificate(info, vhosts, options)
    return {
        "names": names,
        # Apache gives the machine's name to virtual hosts without one, such as Debian's default site. A client that
        # requests that name would get what is configured for the whole server, Kopano included, without TLS.
        "shadowed": sorted(
            {name for vhost in foreign if is_plain(vhost) and not vhost["named"] for name in vhost["names"]} - {*names}
        ),
        "certificate": chosen[0],
        "certificate_key": chosen[1],
        "certificate_rsa": options["tls_certificate_rsa"],
        "certificate_rsa_key": options["tls_certificate_rsa_key"],
        "warning": chosen[2],
        "http2": http2(server) if boolean(options["http2"]) else "",
        "ipv6": info["os"]["ipv6"],
        "acme_root": options["acme_root"],
        "components": with_php,
        "routes": _roles_components.routes(with_php),
        "landing": next((component["landing"] for component in with_php if component["landing"]), ""),
    }


def http2(server: ServerInfo) -> str:
    """How HTTP/2 is switched on: C(directive), C(listen) for a parameter of nginx's listen, or '' for not at all."""
    features = server["features"]
    if server["server"] == "nginx":
        return "" if not features["http2"] else "directive" if features["http2_directive"] else "listen"
    # A module can only be loaded by a link; elsewhere its package decides.
    usable = "http2" in server["modules"] or server["module_style"] != "static"
    return "directive" if features["http2"] and usable else ""


def plan(info: FrontendInfo, options: Options, profiles: dict[str, Profile], data: ComponentData) -> Plan | NoPlan:
    """Everything that the role's templates and its call of web_config need.

    info is the result of frontend_info, profiles and data are the role's data files. C(error) and C(skip) are texts for
    the user; where one of them is not empty, there is nothing else.
    """
    try:
        reason = _skips(info, options)
        if reason:
            return {"skip": reason, "error": ""}
        return {**_plan(info, options, profiles, data), "error": ""}
    except Refused as error:
        return {"error": str(error), "skip": ""}


# Findings with which frontend_info has seen no virtual host.
_UNREADABLE = ("frontend.config.broken", "frontend.config.not_understood")
# Where something else writes the web server's configuration, and what to do there instead.
_MANAGERS = {
    "ucs": "Univention Corporate Server writes this configuration; use its own settings, such as "
    "'ucr set apache2/force_https=yes'",
    "kweb": "kopano-kweb ends TLS on this host; set tls and hostname in /etc/kopano/kwebd.cfg",
}


def installs(options: Options) -> bool:
    """Whether a web server was to be installed and cannot be there, because this is check mode."""
    return options["check_mode"] and boolean(options["install"]) and bool(as_list(options["server_names"]))


def _skips(info: FrontendInfo, options: Options) -> str:
    """Why there is nothing to be done on a host, or ''."""
    if info["managed_by"] in _MANAGERS:
        return _MANAGERS[info["managed_by"]]
    if not info["servers"] and installs(options):
        return "would install a web server; what comes after that cannot be rehearsed before it is there"
    return ""


def _plan(info: FrontendInfo, options: Options, profiles: dict[str, Profile], data: ComponentData) -> PlanParts:
    host = _host(info, options)
    components = _components(info, options, data, host.mode)
    result = _for_both_modes(host, options, profiles[options["tls_profile"]], data, components)
    if host.apache:
        rules = result["headers"]
        result["header_notes"] = _roles_components.apache_notes(rules)
        result["headers"] = [{**rule, "lines": _roles_components.apache_headers(rule)} for rule in rules]
        _add_banner(result, host.server)
    else:
        result["warning"] = ssl_on(host.server, info, options)
    _add_tls_log(result, host.server, boolean(options["tls_log"]))
    check_hsts(options, result["plain_only"], [vhost for vhost in host.vhosts if vhost["tls"]], info["snakeoil"])
    if host.mode == "site":
        _add_site(result, host, info, options, components)
    else:
        # Their responses now have to be those afterwards.
        result["probes"] += _roles_components.probes(components, host.server["server"], result["headers"])
    return result


def _host(info: FrontendInfo, options: Options) -> _Host:
    server = choose_server(info)
    vhosts = [vhost for vhost in info["vhosts"] if vhost["server"] == server["server"]]
    if not vhosts:
        _check_was_read(info, server)
    site_file = site_path(server)
    foreign = [vhost for vhost in vhosts if os.path.basename(vhost["file"]) != os.path.basename(site_file)]
    return _Host(server, vhosts, foreign, choose_mode(vhosts, options["mode"], site_file), site_file)


def _check_was_read(info: FrontendInfo, server: ServerInfo) -> None:
    """Raises Refused where the configuration could not be read: then it may well have virtual hosts."""
    for item in info["findings"]:
        if item["id"] in _UNREADABLE and item["subject"].startswith(f"{server['config_dir']}/"):
            reason = f"{item['subject']}: {item['evidence']}"
            raise Refused(f"the configuration was already broken before this run: {reason}")


def _components(info: FrontendInfo, options: Options, data: ComponentData, mode: str) -> list[PresentComponent]:
    return _roles_components.present(
        _roles_components.merged(data, options),
        {component["name"]: component for component in info["components"]},
        options["components_extra"],
        as_list(options["components"]) if mode == "site" else [],
    )


def _for_both_modes(
    host: _Host, options: Options, profile: Profile, data: ComponentData, components: list[PresentComponent]
) -> PlanParts:
    """What does not depend on the mode, and with Apache not on what only that has."""
    server, port = host.server, https_port(host.vhosts)
    kinds = ("tls", "headers", "http") if host.apache else ("tls", "server", "headers", "http", "variables")
    snippets = {name: os.path.join(server["policy_dir"], name + ".conf") for name in kinds}
    replaces = as_list(options["replace_stronger"])
    rules = _roles_components.headers(
        components, data["permissions"], options["csp"], options["csp_report_uri"], "headers" in replaces
    )
    variables = _roles_components.variables(rules)
    denied = [path for entry in components for path in entry["denied"]]
    return {
        "skip": "",
        "server": server["server"],
        "unit": server["unit"],
        "mode": host.mode,
        "tls": tls_policy(server, options, profile),
        "hsts": hsts(options),
        "headers": rules,
        "everywhere": _roles_components.EVERYWHERE,
        "variables": variables,
        "sent": [HSTS, *_roles_components.EVERYWHERE, *(header["name"] for header in variables)],
        "hidden": _roles_components.hidden(components),
        "denied": denied if boolean(options["deny_internal"]) else [],
        "plain_only": plain_only(host.foreign, as_list(options["server_names"])),
        "has_both": has_both(host.vhosts),
        "https_suffix": "" if port == 443 else f":{port}",
        "files": [{"path": path, "template": f"{server['server']}/{name}.conf.j2"} for name, path in snippets.items()],
        # nginx: what the policy for TLS includes, so that a virtual host that keeps a setting of its own can as well.
        "server_policy": snippets.get("server", ""),
        "policy": _policy(snippets, server, options),
        "enable": {"modules": [*_layout.POLICY_MODULES] if host.apache else [], "confs": [], "sites": []},
        "disable": {"confs": []},
        "adopt": True,
        "probes": list(options["probes"]),
        "warning": "",
        "tls_log": None,
        "default_log": "",
    }


def _policy(paths: dict[str, str], server: ServerInfo, options: Options) -> Policy:
    snippets: Snippets = {
        "tls": paths["tls"],
        "headers": paths["headers"],
        # Without the redirect nothing includes http.conf any more. The file stays, for who still read it would break.
        "http": paths["http"] if boolean(options["http_redirect"]) else None,
    }
    if "variables" in paths:
        snippets["variables"] = paths["variables"]
    return {
        **snippets,
        "merge_headers": server["features"].get("add_header_inherit", False),
        "repair_ssl_on": boolean(options["repair_ssl_on"]),
        "replace_stronger": as_list(options["replace_stronger"]),
    }


def _add_banner(result: PlanParts, server: ServerInfo) -> None:
    """How much Apache reveals about itself is set for the whole server, so no virtual host includes it."""
    confs = server["confs"]
    name = BANNER + confs["suffixes"][0]
    result["files"].append({"path": os.path.join(confs["available_dir"], name), "template": "apache/banner.conf.j2"})
    result["enable"]["confs"] = [BANNER]


def _add_tls_log(result: PlanParts, server: ServerInfo, on: bool) -> None:
    """The log of what clients speak. Apache's is in its file for the whole server, nginx's in one of its own."""
    log = server["tls_log"]
    templates = ((log["logrotate"], "apache/logrotate.j2"), (log["conf"], "nginx/tls-log.conf.j2"))
    files = {path: template for path, template in templates if path}
    if not on:
        result["files"] += [{"path": path, "state": "absent"} for path in files]
        return
    result["tls_log"] = log
    result["files"] += [{"path": path, "template": template} for path, template in files.items()]
    if log["conf"]:
        result["policy"]["tls_log"] = log["conf"]
        _keep_access_logs(result, server)


def _keep_access_logs(result: PlanParts, server: ServerInfo) -> None:
    """With a first access_log in its http block nginx would no longer write the one that is compiled in."""
    logs = server["access_logs"]
    if logs is None or not (logs or server["default_log"]):
        raise Refused(
            "frontend_tls_log: true could end the log that nginx writes without a directive, and which one that is "
            "could not be found out; name it with access_log in the http block"
        )
    if "off" in logs:
        off = "frontend_tls_log: true logs nothing where 'access_log off' of the http block counts"
        result["warning"] = "; ".join(filter(None, (result["warning"], off)))
    result["default_log"] = "" if logs else server["default_log"] or ""


def _add_site(
    result: PlanParts, host: _Host, info: FrontendInfo, options: Options, components: list[PresentComponent]
) -> None:
    server = host.server
    packaged = [vhost for vhost in host.foreign if is_packaged(vhost)]
    foreign = [vhost for vhost in host.foreign if not is_packaged(vhost)]
    own_site = site(server, info, options, components, host.vhosts, foreign)
    result["site"] = own_site
    result["warning"] = "; ".join(filter(None, (result["warning"], own_site["warning"])))
    result["https_suffix"] = ""
    result["files"].append({"path": host.site_file, "template": server["server"] + "/site.conf.j2"})
    result["enable"]["sites"] = [SITE]
    result["disable"]["confs"] = [PACKAGED_VHOSTS] if host.apache and packaged else []
    result["adopt"] = any(vhost["tls"] for vhost in foreign)
    probes = _roles_components.probes(own_site["components"], server["server"], result["headers"], healthy=True)
    result["probes"] += [{**probe, "server_name": own_site["names"][0], "port": 443} for probe in probes]
    if host.apache:
        result["enable"]["modules"] += _site_modules(own_site)


def _site_modules(own_site: Site) -> list[str]:
    """The modules of Apache that the site needs beside those of the policy."""
    components = own_site["components"]
    return [
        *("alias", "dir"),
        *(["proxy_fcgi"] if any(component["php_socket"] for component in components) else []),
        *(["proxy_http"] if any(component["kind"] == "proxy" for component in components) else []),
        *(["proxy_wstunnel"] if any(component["websocket"] for component in components) else []),
        *(["http2"] if own_site["http2"] else []),
    ]


_SHOWN = 3  # of several, so that a line can be read


def kept_lines(result: Result) -> list[str]:
    """What was kept because it is stronger than the policy: a line, or none."""
    kept = [
        f"{(entry['names'] or [entry['file'] or ''])[0]}{entry['path'] or ''} {entry['item']} ({entry['value']})"
        for entry in result.get("kept", [])
    ]
    return _few("stronger than the policy, kept (see frontend_replace_stronger)", kept)


def weakened_lines(result: Result) -> list[str]:
    """What became weaker: a line, or none."""
    weakened = [
        f"{entry['server_name'] or entry['address']}{entry['path'] or ''} {entry['item']} ({entry['before']})"
        for entry in result.get("weakened", [])
    ]
    return _few("weaker now than before", weakened)


def _few(what: str, found: t.Iterable[str]) -> list[str]:
    entries = list(dict.fromkeys(found))
    shown = [*entries[:_SHOWN], *([f"{len(entries) - _SHOWN} more"] if entries[_SHOWN:] else [])]
    return [f"{what}: {', '.join(shown)}"] if entries else []
