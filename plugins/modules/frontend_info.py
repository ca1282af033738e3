#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: frontend_info
short_description: Find out what serves Kopano's web frontends on a host
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Says which web servers a host has, what they and their OpenSSL can do, which virtual hosts they have and where each
    is written, which TLS settings of a virtual host override the server's, and which components of Kopano there are.
  - Apache's own dump is the source for its virtual hosts, C(nginx -T) for nginx. Both are run in namespaces of their
    own, so that not even a log file is created.
  - A configuration that a server refuses is an answer with a finding, not a failure of the module.
  - Works without root as far as it can. What it could not see is said in RV(findings) with the severity V(unknown).
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
options:
  server:
    description:
      - The web server to look at.
      - With V(auto) all that are installed.
    type: str
    choices: [auto, apache, nginx]
    default: auto
seealso:
  - module: kopano.hardening.web_config
"""

EXAMPLES = r"""
- name: See what is there
  kopano.hardening.frontend_info:
  register: frontend

- name: Show the settings that a policy for the whole server would not reach
  ansible.builtin.debug:
    msg: "{{ item.file }}:{{ item.line }}: {{ item.directive }} {{ item.value }}"
  loop: "{{ frontend.vhosts | map(attribute='overrides') | flatten | unique }}"

- name: Look at nginx only
  kopano.hardening.frontend_info:
    server: nginx
"""

RETURN = r"""
os:
  description: The operating system. Names and versions are those of os-release(5), empty where it has none.
  returned: success
  type: dict
  contains:
    id:
      description: The distribution.
      type: str
      sample: debian
    version:
      description: The version in words.
      type: str
      sample: 13 (trixie)
    version_id:
      description: The version as a number.
      type: str
      sample: "13"
    codename:
      description: The name of the release.
      type: str
      sample: trixie
    family:
      description: The family of distributions that decides about paths, null for one that is not known.
      type: str
      choices: [debian, redhat, suse]
      sample: debian
    pretty_name:
      description: The name for people.
      type: str
      sample: Debian GNU/Linux 13 (trixie)
    python:
      description: The version of the Python that the module ran on.
      type: str
      sample: 3.13.5
    ipv6:
      description: Whether the host has IPv6.
      type: bool
      sample: true
  sample:
    id: debian
    version: 13 (trixie)
    version_id: "13"
    codename: trixie
    family: debian
    pretty_name: Debian GNU/Linux 13 (trixie)
    python: 3.13.5
    ipv6: true
servers:
  description: The web servers that are installed, Apache before nginx.
  returned: success
  type: list
  elements: dict
  contains:
    server:
      description: Which one it is.
      type: str
      choices: [apache, nginx]
      sample: nginx
    version:
      description: Its version, empty if the binary does not tell.
      type: str
      sample: 1.26.3
    running:
      description: Whether it runs.
      type: bool
      sample: true
    main_config:
      description: The file that the configuration begins with.
      type: path
      sample: /etc/nginx/nginx.conf
    valid:
      description: Whether the server takes its configuration, null if that could not be tested.
      type: bool
      sample: true
    openssl:
      description: The OpenSSL that the server is linked to, asked itself and not guessed from its version.
      type: dict
      contains:
        version:
          description: Its version, null if there is none or it does not tell.
          type: str
          sample: 3.5.9
        groups:
          description: The groups that it knows, by their names in the IANA registry.
          type: list
          elements: str
          sample: [X25519MLKEM768, x25519, secp256r1, secp384r1]
        group_names:
          description: The same groups in the same order, by the names that a configuration has to use.
          type: list
          elements: str
          sample: [X25519MLKEM768, X25519, prime256v1, secp384r1]
        cipher_suites:
          description: The suites with forward secrecy and authenticated encryption that it knows, by IANA name.
          type: list
          elements: str
          sample: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
    mpm:
      description: Apache's multi-processing module, null for nginx.
      type: str
      sample: event
    modules:
      description: The modules that are loaded, without C(_module).
      type: list
      elements: str
      sample: [http_ssl, http_v2]
    features:
      description:
        - What differs between versions and builds.
        - C(http2) says whether the server can speak HTTP/2; C(http2_directive) whether nginx has C(http2 on;) for it;
          C(ssl_conf_command) and C(add_header_inherit) whether nginx has those directives.
      type: dict
      sample:
        http2: true
        http2_directive: true
        ssl_conf_command: true
        add_header_inherit: false
    family:
      description: The family of distributions whose layout the server has.
      type: str
      sample: debian
    package:
      description: The distribution's package.
      type: str
      sample: nginx
    unit:
      description: The systemd unit.
      type: str
      sample: nginx
    user:
      description: The user that the workers run as unless the configuration names another one.
      type: str
      sample: www-data
    binary:
      description: The program.
      type: path
      sample: /usr/sbin/nginx
    config_dir:
      description: The directory of the configuration.
      type: path
      sample: /etc/nginx
    policy_dir:
      description: The directory that this collection keeps its own snippets in.
      type: path
      sample: /etc/nginx/kopano-hardening
    module_style:
      description: How modules are switched on.
      type: str
      choices: [links, sysconfig, static]
      sample: static
    confs:
      description: Where configuration snippets lie and how they are switched on.
      type: dict
      sample: {available_dir: /etc/nginx/conf.d, enabled_dir: /etc/nginx/conf.d, suffixes: [.conf]}
    sites:
      description: Where sites lie and how they are switched on.
      type: dict
      sample: {available_dir: /etc/nginx/sites-available, enabled_dir: /etc/nginx/sites-enabled, suffixes: [""]}
vhosts:
  description:
    - Every virtual host, once for each address that it listens on.
    - Apache's main server is among them for each C(Listen) that no virtual host answers on.
  returned: success
  type: list
  elements: dict
  contains:
    server:
      description: The web server that it belongs to.
      type: str
      sample: nginx
    names:
      description: Its names, the main one first. Wildcards and regular expressions stand as they are written.
      type: list
      elements: str
      sample: [mail.example.com]
    named:
      description: Whether the names are its own. Apache gives a virtual host without any the name of the main server.
      type: bool
      sample: true
    address:
      description: An IPv4 address, an IPv6 address in brackets, a host name, V(*), or C(unix:) and a path.
      type: str
      sample: "*"
    port:
      description: The port, null for a unix socket and for any port.
      type: int
      sample: 443
    tls:
      description: Whether TLS is on, null if that is not known.
      type: bool
      sample: true
    certificate:
      description: The file of the (first) certificate.
      type: str
      sample: /etc/ssl/certs/ssl-cert-snakeoil.pem
    key:
      description: The file of its key.
      type: str
      sample: /etc/ssl/private/ssl-cert-snakeoil.key
    file:
      description: The file that the virtual host stands in, by the path it is included with.
      type: str
      sample: /etc/nginx/sites-enabled/mail
    line:
      description: The line that it begins on.
      type: int
      sample: 3
    default:
      description: Whether it answers for names that no other virtual host of the address has.
      type: bool
      sample: true
    overrides:
      description: TLS settings that stand in the virtual host (or, with Apache, in a section that is merged into it).
      type: list
      elements: dict
      contains:
        directive:
          description: The directive.
          type: str
          sample: ssl_ciphers
        value:
          description: What it says.
          type: str
          sample: HIGH
        file:
          description: The file that it stands in.
          type: str
          sample: /etc/nginx/sites-enabled/mail
        line:
          description: The line.
          type: int
          sample: 9
components:
  description: The components of Kopano, by package or by path.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The component.
      type: str
      sample: webapp
    flavour:
      description: Whose it is.
      type: str
      choices: [kopano, debian, z-push, grommunio]
      sample: kopano
    version:
      description: Its version, empty if it is not known.
      type: str
      sample: 5.3.2
    path:
      description: Where it is, empty if it is not where it usually is.
      type: str
      sample: /usr/share/kopano-webapp
managed_by:
  description: What writes the configuration of the web frontends, if not the administrator.
  returned: success
  type: str
  choices: [none, ucs, kweb]
  sample: none
php:
  description: How PHP is run. C(module) says whether Apache has PHP loaded, C(socket) is PHP-FPM's socket or null.
  returned: success
  type: dict
  sample:
    module: false
    socket: /run/php/php8.4-fpm.sock
snakeoil:
  description: The self-signed certificate and key that the distribution made, null if there is none.
  returned: success
  type: dict
  sample:
    certificate: /etc/ssl/certs/ssl-cert-snakeoil.pem
    key: /etc/ssl/private/ssl-cert-snakeoil.key
findings:
  description: What was noticed.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding.
      type: str
      sample: frontend.tls.override
    step:
      description: The step of the checklist.
      type: int
      sample: 2
    severity:
      description: How bad it is.
      type: str
      choices: [fail, warn, info, unknown]
      sample: warn
    subject:
      description: What it is about.
      type: str
      sample: /etc/nginx/sites-enabled/mail:9
    message:
      description: What is wrong.
      type: str
      sample: A virtual host has a TLS setting of its own, which the server's policy does not reach.
    evidence:
      description: What was seen.
      type: str
      sample: ssl_ciphers HIGH
    fix:
      description: What to do.
      type: str
      sample: Harden the host with the role kopano.hardening.frontend.
"""

import glob
import os
import platform
import re
import stat
import subprocess
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.kopano.hardening.plugins.module_utils import (
    _apache,
    _components,
    _config,
    _diagnose,
    _frontend_findings,
    _layout,
    _namespace,
    _nginx,
    _openssl,
    _surroundings,
)
from ansible_collections.kopano.hardening.plugins.module_utils._frontend_findings import finding
from ansible_collections.kopano.hardening.plugins.module_utils._layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._server import Server

TEST_TIMEOUT = 30  # seconds, for both servers together

# What makes each server say how it understands its configuration, and test it. Apache's dump is no test: with it,
# Apache does not look whether certificates are there.
_QUESTIONS = {"apache": (["-t", "-D", "DUMP_VHOSTS", "-D", "DUMP_MODULES"], ["-t"]), "nginx": (["-T"],)}

# Suites with forward secrecy and authenticated encryption: IANA's name and OpenSSL's
_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

_SNAKEOIL = (
    ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"),
    ("/etc/pki/tls/certs/localhost.crt", "/etc/pki/tls/private/localhost.key"),
)
# Where the distributions put PHP-FPM's sockets, a pool made for WebApp first
_PHP_SOCKETS = ("/run/php/php-fpm-kopano-webapp.sock", "/run/php/php*-fpm.sock", "/run/php-fpm/*.sock")

_UCS = "/usr/sbin/univention-config-registry"
_KWEB_CONFIG = "/etc/kopano/kwebd.cfg"


class Answer(t.NamedTuple):
    """What a server said. ok: it takes its configuration; output: its dump, empty if it gave none."""

    ok: bool
    output: str
    words: str


def _run(servers: list[Server], in_view: bool = False) -> dict[str, list[t.Any]]:
    """The answers of servers that are asked side by side, as lists that JSON can carry."""
    started = {}
    if in_view:
        # the wrapper that starts Apache makes these, so a stopped one may be without
        for server in servers:
            for name, path in _apache.environment(server.layout).items():
                if re.fullmatch("APACHE_(RUN|LOCK)_DIR", name):
                    os.makedirs(path, exist_ok=True)
    for server in servers:
        started[server.layout.server] = [
            subprocess.Popen(
                server.command(*server.arguments(), *question),
                env=server.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for question in _QUESTIONS[server.layout.server]
        ]
    answers: dict[str, list[t.Any]] = {}
    for name, processes in started.items():
        said = [[_config.decode(data) for data in process.communicate(timeout=TEST_TIMEOUT)] for process in processes]
        failed = [index for index, process in enumerate(processes) if process.returncode]
        answers[name] = [not failed, "" if 0 in failed else said[0][0], said[failed[-1]][1] if failed else ""]
    return answers


def _hosts(configs: t.Iterable[_config.Config]) -> str | None:
    """A hosts file for namespaces without a network, where the configurations name hosts."""
    return "".join(_surroundings.hosts_text(config, ()) or "" for config in configs) or None


def _ask(servers: list[Server], configs: t.Iterable[_config.Config]) -> dict[str, Answer]:
    """Has the servers test their configuration; not in the result is one that could not be asked.

    In a view of the host whose changes are lost: nginx -T creates logs, a pid file, sockets and caches. Where there is
    no such view, nginx is not asked. Apache's test writes nothing, but a refusal counts only from one that runs, and
    with root's rights: others may lack directories and files that the running server had at its start.
    """
    is_root = os.geteuid() == 0
    try:
        if not is_root:
            raise _namespace.Refused("not root")
        answers = _namespace.call(lambda: _run(servers, in_view=True), TEST_TIMEOUT + 5, hosts=_hosts(configs))
    except (_namespace.Refused, _namespace.Failed, _namespace.TimedOut):
        apaches = [server for server in servers if server.layout.server == "apache"]
        try:
            answers = _run(apaches)
        except (OSError, subprocess.SubprocessError):
            return {}
        if not is_root or not all(_running(server) for server in apaches):
            answers = {name: answer for name, answer in answers.items() if answer[0]}
    return {name: Answer(*answer) for name, answer in answers.items()}


def _read(layout: Layout, answer: Answer | None) -> _config.Config:
    if layout.server == "nginx":
        return _nginx.load(layout, dump=(answer and answer.output) or None)
    if answer and answer.output:
        return _apache.load(layout, answer.output, _apache.parse_module_dump(answer.output))
    return _apache.load(layout)


def _openssl_of(layout: Layout, config: _config.Config | None) -> _openssl.OpenSSL | None:
    if layout.server == "nginx":
        return _openssl.for_binary(layout.binary)
    path = os.path.join(layout.modules_dir or "", "mod_ssl.so")
    for item in _config.walk(config.root) if config else ():
        if item.key == "loadmodule" and item.args[0] == "ssl_module":
            path = os.path.join(layout.config_dir, item.args[-1])
    return _openssl.for_binary(path)


def _openssl_answer(openssl: _openssl.OpenSSL | None) -> dict[str, t.Any]:
    if openssl is None:
        return {"version": None, "groups": [], "group_names": [], "cipher_suites": []}
    known = set(openssl.groups(_openssl.GROUPS.values()) or ())
    groups = {name: own for name, own in _openssl.GROUPS.items() if own in known}
    suites = [name for name in _TLS13_SUITES if openssl.ciphersuites_ok(name)]
    suites += [name for name, own in _SUITES.items() if openssl.cipher_string_ok(own)]
    return {
        "version": openssl.version,
        "groups": list(groups),
        "group_names": list(groups.values()),
        "cipher_suites": suites,
    }


def _binary_facts(layout: Layout) -> tuple[str, list[str]]:
    """Version and built-in modules, from the text in the binary: running it would tell the same."""
    if layout.server == "apache":
        return _apache.version(layout.binary) or "", list(layout.static_modules)
    try:
        with open(layout.binary, "rb") as handle:
            data = handle.read()
    except OSError:
        return "", []
    version = re.search(rb"nginx/(\d+\.\d+\.\d+)", data)
    modules = re.findall(rb" --with-(\w+)_module(?![\w=])", data)
    return version.group(1).decode() if version else "", list(dict.fromkeys(name.decode() for name in modules))


def _modules(layout: Layout, config: _config.Config | None, built_in: list[str]) -> list[str]:
    if config is None:
        return sorted(built_in)
    if layout.server == "apache":
        return sorted(config.modules or built_in)
    loaded = [item.args[0] for item in _config.walk(config.root) if item.name == "load_module" and item.args]
    return sorted({*built_in, *(re.sub(r"^ngx_|_module\.so$", "", os.path.basename(path)) for path in loaded)})


def _features(layout: Layout, version: str, modules: list[str], mpm: str | None) -> dict[str, bool]:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version))
    if layout.server == "nginx":
        return {
            "http2": "http_v2" in modules,
            "http2_directive": "http_v2" in modules and numbers >= (1, 25, 1),
            "ssl_conf_command": numbers >= (1, 19, 4),
            "add_header_inherit": numbers >= (1, 29, 3),
        }
    module = os.path.join(layout.modules_dir or "", "mod_http2.so")
    return {"http2": mpm != "prefork" and ("http2" in modules or os.path.exists(module))}


def _running(server: Server) -> bool:
    if os.geteuid() == 0:
        return server.main_pid() is not None
    # Without root the programs of other users' processes cannot be seen, but their names can.
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8", errors="replace") as handle:
                if handle.read().strip() == os.path.basename(server.layout.binary):
                    return True
        except OSError:
            continue
    return False


def _os() -> dict[str, t.Any]:
    release = _layout.os_release()
    version = release.get("VERSION", "")
    codename = re.search(r"\(([^)]*)\)", version)
    try:
        with open("/proc/net/if_inet6", "rb") as handle:
            ipv6 = bool(handle.read(1))
    except OSError:
        ipv6 = False
    return {
        "id": release.get("ID", ""),
        "version": version,
        "version_id": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME") or (codename.group(1) if codename else ""),
        "family": _layout.family(release),
        "pretty_name": release.get("PRETTY_NAME", ""),
        "python": platform.python_version(),
        "ipv6": ipv6,
    }


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _php(configs: t.Iterable[_config.Config]) -> dict[str, t.Any]:
    configs = list(configs)
    used = [path for config in configs for path in _config.unix_sockets(config) if "php" in path]
    usual = [path for pattern in _PHP_SOCKETS for path in sorted(glob.glob(pattern), reverse=True)]
    return {
        "module": any(name.startswith("php") for config in configs for name in config.modules or ()),
        "socket": next((path for path in used + usual if _is_socket(path)), None),
    }


def _snakeoil() -> dict[str, str] | None:
    for certificate, key in _SNAKEOIL:
        if os.path.exists(certificate):
            return {"certificate": certificate, "key": key}
    return None


def _managed_by(os_id: str, components: list[dict[str, str]], vhosts: list[_config.Vhost]) -> str:
    """What writes the frontends' configuration. kweb does where it ends TLS, which it does with a host name set."""
    if os_id.startswith("univention") or os.path.exists(_UCS):
        return "ucs"
    has_tls = any(vhost.tls and vhost.port == 443 for vhost in vhosts)
    if not has_tls and any(component["name"] == "kweb" for component in components):
        try:
            with open(_KWEB_CONFIG, encoding="utf-8", errors="replace") as handle:
                if re.search(r"(?m)^\s*hostname\s*=\s*\S", handle.read()):
                    return "kweb"
        except OSError:
            pass
    return "none"


def _server_answer(
    server: Server,
    config: _config.Config | None,
    answer: Answer | None,
    running: bool,
    findings: list[dict[str, t.Any]],
) -> dict[str, t.Any]:
    layout = server.layout
    version, built_in = _binary_facts(layout)
    modules = _modules(layout, config, built_in)
    mpm = next((name[4:] for name in modules if name.startswith("mpm_")), None) if layout.server == "apache" else None
    openssl = _openssl_answer(_openssl_of(layout, config))
    if not openssl["groups"]:
        findings.append(finding("frontend.openssl.unknown", layout.server))
    return {
        "server": layout.server,
        "version": version,
        "running": running,
        "main_config": layout.main_config,
        "valid": answer.ok if answer else None,
        "openssl": openssl,
        "mpm": mpm,
        "modules": modules,
        "features": _features(layout, version, modules, mpm),
        "family": layout.family,
        "package": layout.package,
        "unit": layout.unit,
        "user": layout.user,
        "binary": layout.binary,
        "config_dir": layout.config_dir,
        "policy_dir": layout.policy_dir,
        "module_style": layout.module_style,
        "confs": dict(layout.confs._asdict(), suffixes=list(layout.confs.suffixes)),
        "sites": dict(layout.sites._asdict(), suffixes=list(layout.sites.suffixes)),
    }


def _try_to_read(layout: Layout, answer: Answer | None = None) -> _config.Config | _config.ConfigError:
    try:
        return _read(layout, answer)
    except _config.ConfigError as error:
        return error


def _verdict(
    layout: Layout, config: _config.Config | _config.ConfigError, answer: Answer | None
) -> t.Iterator[dict[str, t.Any]]:
    """The findings about a configuration as a whole."""
    if answer is None:
        yield finding("frontend.config.untested", layout.main_config)
    elif not answer.ok:
        fault = _diagnose.find(answer.words, config if isinstance(config, _config.Config) else None, None)
        place = "%s:%s" % (fault.file, fault.line) if fault.file else layout.main_config
        yield finding("frontend.config.broken", place, fault.words)
    if isinstance(config, _config.ConfigError) and (answer is None or answer.ok):
        place = config.file if config.line is None else "%s:%d" % (config.file, config.line)
        key = "frontend.config.not_understood" if answer else "frontend.config.broken"
        yield finding(key, place, config.words)


def survey(wanted: str) -> dict[str, t.Any]:
    """Everything that the module returns."""
    findings: list[dict[str, t.Any]] = []
    servers = [Server(layout) for layout in _layout.detect(wanted)]
    if not servers:
        findings.append(finding("frontend.none", wanted))
    first = {server.layout.server: _try_to_read(server.layout) for server in servers}
    answers = _ask(servers, [config for config in first.values() if isinstance(config, _config.Config)])
    configs: list[_config.Config] = []
    described = []
    running = {server.layout.server: _running(server) for server in servers}
    for server in servers:
        layout = server.layout
        answer = answers.get(layout.server)
        config = _try_to_read(layout, answer) if answer and answer.output else first[layout.server]
        findings += _verdict(layout, config, answer)
        readable = config if isinstance(config, _config.Config) else None
        described.append(_server_answer(server, readable, answer, running[layout.server], findings))
        if readable:
            configs.append(readable)
        if not running[layout.server]:
            kind = "frontend.server.unused" if any(running.values()) else "frontend.server.stopped"
            findings.append(finding(kind, layout.server))
        if readable and (running[layout.server] or not any(running.values())):
            findings += _frontend_findings.of(readable, layout)
    system = _os()
    vhosts = [vhost for config in configs for vhost in config.vhosts]
    components = _components.find(_components.packages(system["family"]))
    managed_by = _managed_by(system["id"], components, vhosts)
    if managed_by != "none":
        findings.append(finding("frontend.managed", managed_by))
    return {
        "os": system,
        "servers": described,
        "vhosts": [vhost.as_dict() for vhost in vhosts],
        "components": components,
        "managed_by": managed_by,
        "php": _php(configs),
        "snakeoil": _snakeoil(),
        "findings": findings,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={"server": {"type": "str", "choices": ["auto", "apache", "nginx"], "default": "auto"}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **survey(module.params["server"]))


if __name__ == "__main__":
    main()
