# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module frontend_info does: the servers of a host, their virtual hosts, Kopano's components."""

from __future__ import annotations

import datetime
import glob
import os
import platform
import re
import stat
import subprocess
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._host import crypto_policy as _crypto_policy
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host.crypto_policy import CryptoPolicy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import components as _webserver_components
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import environment as _environment
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import findings as _webserver_findings
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.components import ComponentInfo
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout, Slot
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import VhostInfo
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import (
    Server,
    ServerError,
    tcp_listeners,
)

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class OSInfo(t.TypedDict):  # novm
        """The operating system of a host. Names and versions are those of os-release(5), empty where it has none."""

        id: str
        version: str
        version_id: str
        codename: str
        family: str | None  # debian, redhat, suse; None for one that is not known
        pretty_name: str
        python: str  # the version that the module ran on
        ipv6: bool
        fips: bool  # whether the kernel demands FIPS mode
        crypto_policy: str | None  # the system-wide policy; None where there is none, empty if its name is not known

    class OpenSSLInfo(t.TypedDict):  # novm
        """The OpenSSL that a server is linked to; without one everything is empty."""

        version: str | None  # None if it is not known
        groups: list[str]  # by their names in the IANA registry
        group_names: list[str]  # the same in the same order, as a configuration has to write them
        cipher_suites: list[str]  # those with forward secrecy and authenticated encryption, by their IANA names

    class Features(t.TypedDict):  # novm
        """What differs between versions and builds of a server. Apache has C(http2) alone."""

        http2: bool
        http2_directive: t.NotRequired[bool]  # whether nginx has C(http2 on;) for it
        ssl_conf_command: t.NotRequired[bool]
        add_header_inherit: t.NotRequired[bool]

    class SlotInfo(t.TypedDict):  # novm
        """A L(_webserver.layout.Slot)."""

        available_dir: str
        enabled_dir: str
        suffixes: list[str]

    class TLSLogInfo(t.TypedDict):  # novm
        """A L(_webserver.layout.TLSLog)."""

        path: str
        owner: str | None
        group: str | None
        mode: str | None
        logrotate: str | None
        conf: str | None

    class ServerInfo(t.TypedDict):  # novm
        """A web server that is installed. What is not described here is that of its L(_webserver.layout.Layout)."""

        server: str
        version: str  # empty if the binary does not have it
        running: bool
        in_use: bool  # whether it runs, or may be the one that is to: it starts at boot, or no other one runs
        main_config: str
        valid: bool | None  # whether it accepts its configuration; None: it could not be tested
        openssl: OpenSSLInfo
        mpm: str | None  # None for nginx
        modules: list[str]  # without C(_module)
        features: Features
        family: str
        package: str
        unit: str
        user: str
        binary: str
        config_dir: str
        policy_dir: str
        module_style: str
        confs: SlotInfo
        sites: SlotInfo
        tls_log: TLSLogInfo
        access_logs: list[str] | None  # of nginx's http block; None for Apache, and where it was not read
        default_log: str | None  # what nginx writes where that is empty; None: it does not, or it is not known

    class PhpInfo(t.TypedDict):  # novm
        """How a host runs PHP."""

        module: bool  # whether Apache has it loaded
        socket: str | None  # PHP-FPM's; None: there is none

    class SnakeoilInfo(t.TypedDict):  # novm
        """The self-signed certificate that a distribution makes, and its key, as paths."""

        certificate: str
        key: str

    class ClientCount(t.TypedDict):  # novm
        """So many clients that are alike. client: the id of the simulated one, None where it is not known; negotiated:
        protocol and suite (OpenSSL's name) of each of their handshakes, None without a log that has these."""

        client: str | None
        negotiated: list[list[str]] | None
        number: int

    class ClientsInfo(t.TypedDict):  # novm
        """The clients in the access logs of the last days. first and last: times of lines, RFC 3339 in UTC, None
        without any; gaps: what was not read or not understood, and why; with any, numbers are of at least so many."""

        counts: list[ClientCount]
        days: int
        files: int
        lines: int
        not_understood: int
        first: str | None
        last: str | None
        gaps: list[str]

    class FrontendInfo(t.TypedDict):  # novm
        """What frontend_info returns."""

        os: OSInfo
        servers: list[ServerInfo]
        vhosts: list[VhostInfo]
        components: list[ComponentInfo]
        managed_by: str  # what writes the configuration: ucs, kweb, none
        php: PhpInfo
        snakeoil: SnakeoilInfo | None
        clients: ClientsInfo | None  # None where they were not to be counted
        findings: list[Finding]

else:
    OSInfo = OpenSSLInfo = Features = SlotInfo = ServerInfo = PhpInfo = SnakeoilInfo = FrontendInfo = t.Dict[str, t.Any]
    ClientsInfo = t.Dict[str, t.Any]

TEST_TIMEOUT = 30  # seconds, for both servers together

# What makes each server print how it understands its configuration, and test it. Apache's dump is no test: with it,
# Apache does not look whether certificates are there.
_TEST_ARGUMENTS = {"apache": (["-t", "-D", "DUMP_VHOSTS", "-D", "DUMP_MODULES"], ["-t"]), "nginx": (["-T"],)}
# Whose commands are not needed where it has just started with this configuration: nginx dumps the files that are read
# here anyway, while only Apache knows its virtual hosts.
_NOT_TESTED_ONCE_STARTED = "nginx"

_SNAKEOIL = (
    ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"),
    ("/etc/pki/tls/certs/localhost.crt", "/etc/pki/tls/private/localhost.key"),
)
# Where the distributions put PHP-FPM's sockets, a pool made for WebApp first
_PHP_SOCKETS = ("/run/php/php-fpm-kopano-webapp.sock", "/run/php/php*-fpm.sock", "/run/php-fpm/*.sock")

_UCS = "/usr/sbin/univention-config-registry"
_KWEB_CONFIG = "/etc/kopano/kwebd.cfg"


class TestResult(t.NamedTuple):
    """A server's test. ok: it accepts its configuration, None: not known; output: its dump, empty if it gave none."""

    ok: bool | None
    output: str
    message: str


class _Query(t.NamedTuple):
    """How a server is run: the command lines, and their environment."""

    layout: Layout
    commands: list[list[str]]
    environment: dict[str, str]


def _query(server: Server) -> _Query:
    """Prepared on the host itself, since a view of it shows no process. Raises ServerError, OSError."""
    arguments = server.arguments()
    commands = [server.command(*arguments, *more) for more in _TEST_ARGUMENTS[server.layout.server]]
    return _Query(server.layout, commands, server.trial_environment())


def _run(queries: list[_Query], in_view: bool = False) -> dict[str, list[t.Any]]:
    """The results of servers that run their tests at the same time, as lists that JSON can carry; none of a killed one.

    Raises subprocess.TimeoutExpired, and leaves no process behind.
    """
    deadline = time.monotonic() + TEST_TIMEOUT
    started: dict[str, list[subprocess.Popen[bytes]]] = {}
    if in_view:
        # the wrapper that starts Apache makes these, so a stopped one may be without
        for query in queries:
            for name, path in _apache.environment(query.layout).items():
                if re.fullmatch("APACHE_(RUN|LOCK)_DIR", name):
                    os.makedirs(path, exist_ok=True)
    try:
        for query in queries:
            processes = started.setdefault(query.layout.server, [])
            for command in query.commands:
                processes.append(_programs.start(command, query.environment, errors=_programs.APART))
        results = {name: _test_result(processes, deadline) for name, processes in started.items()}
    finally:
        for process in (one for processes in started.values() for one in processes):
            with process:
                process.kill()
    return {name: test for name, test in results.items() if test}


def _test_result(processes: list[subprocess.Popen[bytes]], deadline: float) -> list[t.Any] | None:
    """The output of a server's processes by then; None if one was killed, which means nothing for the files."""
    outputs = [
        [_webserver_model.decode(data) for data in process.communicate(timeout=max(0, deadline - time.monotonic()))]
        for process in processes
    ]
    if any(process.returncode < 0 for process in processes):
        return None
    failed = [index for index, process in enumerate(processes) if process.returncode]
    return [not failed, "" if 0 in failed else outputs[0][0], outputs[failed[-1]][1] if failed else ""]


def _hosts(configs: t.Iterable[_webserver_model.Config]) -> str | None:
    """A hosts file for namespaces without a network, where the configurations name hosts."""
    return "".join(_environment.hosts_text(config, ()) or "" for config in configs) or None


def _test_all(
    servers: list[Server], configs: t.Iterable[_webserver_model.Config], started: t.Callable[[], str | None]
) -> dict[str, TestResult]:
    """Runs the servers' tests of their configuration; the result is without those that could not be run.

    started: waits for the server that has just come up with its configuration, which is more than its test finds out.

    In a view of the host whose changes are lost: nginx -T creates logs, a pid file, sockets and caches. Where there is
    no such view, nginx is not tested. Apache's test writes nothing, but a refusal counts only from one that runs, and
    with root's rights: others may lack directories and files that the running server had at its start.
    """
    is_root = os.geteuid() == 0
    queries: list[_Query] = []
    known: dict[str, TestResult] = {}
    for server in servers:
        name = server.layout.server
        if name == _NOT_TESTED_ONCE_STARTED and _running(server) and name == started():
            known[name] = TestResult(True, "", "")
            continue
        try:
            queries.append(_query(server))
        except (ServerError, OSError) as error:
            known[name] = TestResult(None, "", str(error))
    if not queries:
        return known
    try:
        if not is_root:
            raise _namespace.Refused("not root")
        results = _namespace.call(lambda: _run(queries, in_view=True), TEST_TIMEOUT + 5, hosts=_hosts(configs))
    except (_namespace.Refused, _namespace.Failed, _namespace.TimedOut):
        try:
            results = _run([query for query in queries if query.layout.server == "apache"])
        except (OSError, subprocess.SubprocessError):
            return known
        if not is_root or not all(_running(server) for server in servers if server.layout.server == "apache"):
            results = {name: test for name, test in results.items() if test[0]}
    return {**known, **{name: TestResult(*test) for name, test in results.items()}}


def _openssl_of(layout: Layout, config: _webserver_model.Config | None) -> _openssl.OpenSSL | None:
    if layout.server == "nginx":
        return _openssl.for_binary(layout.binary)
    path = os.path.join(layout.modules_dir or "", "mod_ssl.so")
    for item in _webserver_model.walk(config.root) if config else ():
        if item.key == "loadmodule" and item.args[0] == "ssl_module":
            path = os.path.join(layout.config_dir, item.args[-1])
    return _openssl.for_binary(path)


def _openssl_info(openssl: _openssl.OpenSSL | None) -> OpenSSLInfo:
    if openssl is None:
        return {"version": None, "groups": [], "group_names": [], "cipher_suites": []}
    known = set(openssl.groups(_openssl.GROUPS.values()) or ())
    groups = {name: own for name, own in _openssl.GROUPS.items() if own in known}
    suites = openssl.ciphersuites(_openssl.SUITES13) or []
    suites += [name for name, own in _openssl.SUITES.items() if openssl.cipher_string_ok(own)]
    return {
        "version": openssl.version,
        "groups": list(groups),
        "group_names": list(groups.values()),
        "cipher_suites": suites,
    }


def _binary_facts(layout: Layout) -> tuple[str, list[str]]:
    """Version and built-in modules, from the text in the binary: running it would print the same."""
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


def _modules(layout: Layout, config: _webserver_model.Config | None, built_in: list[str]) -> list[str]:
    if config is None:
        return sorted(built_in)
    if layout.server == "apache":
        return sorted(config.modules or built_in)
    loaded = [item.args[0] for item in _webserver_model.walk(config.root) if item.name == "load_module" and item.args]
    return sorted({*built_in, *(re.sub(r"^ngx_|_module\.so$", "", os.path.basename(path)) for path in loaded)})


def _features(layout: Layout, version: str, modules: list[str], mpm: str | None) -> Features:
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
    return server.main_pid() is not None


def _os(system: CryptoPolicy | None) -> OSInfo:
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
        "fips": _crypto_policy.is_fips(),
        "crypto_policy": system.name if system else None,
    }


def _fips(server: ServerInfo, system: OSInfo) -> Finding:
    """What FIPS mode leaves of the groups and suites that a policy may have."""
    facts = ["fips_enabled is 1"] if system["fips"] else []
    if system["crypto_policy"]:
        facts.append(f"the system-wide crypto policy is {system['crypto_policy']}")
    openssl = server["openssl"]
    if openssl["groups"]:
        possible = [*_openssl.GROUPS, *_openssl.SUITES13, *_openssl.SUITES]
        lacking = [name for name in possible if name not in (*openssl["groups"], *openssl["cipher_suites"])]
        facts.append("not available: " + (", ".join(lacking) or "none"))
    return finding("frontend.fips", server["server"], "; ".join(facts))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _runs_php(place: str) -> bool:
    """Whether the socket exists, or a program listens on the port of this host."""
    if place.startswith("/"):
        return _is_socket(place)
    return place.rpartition(":")[2] in {str(port) for _address, port in tcp_listeners().values()}


def _php(configs: t.Iterable[_webserver_model.Config]) -> PhpInfo:
    configs = list(configs)
    used = [place for config in configs for place in _webserver_model.php_backends(config)]
    usual = [path for pattern in _PHP_SOCKETS for path in sorted(glob.glob(pattern), reverse=True)]
    return {
        "module": any(name.startswith("php") for config in configs for name in config.modules or ()),
        "socket": next((place for place in used + usual if _runs_php(place)), None),
    }


def _snakeoil() -> SnakeoilInfo | None:
    for certificate, key in _SNAKEOIL:
        if os.path.exists(certificate):
            return {"certificate": certificate, "key": key}
    return None


def _managed_by(os_id: str, components: list[ComponentInfo], vhosts: list[_webserver_model.Vhost]) -> str:
    """What writes the frontends' configuration. kweb does where it ends TLS, which it does with a host name set."""
    if os_id.startswith("univention") or os.path.exists(_UCS):
        return "ucs"
    has_tls = any(vhost.tls and vhost.port == 443 for vhost in vhosts)
    if not has_tls and any(component["name"] == "kweb" for component in components):
        try:
            if re.search(r"(?m)^\s*hostname\s*=\s*\S", _regular.text(_KWEB_CONFIG, foreign_links=True)):
                return "kweb"
        except OSError:
            pass
    return "none"


def _server_info(
    server: Server,
    config: _webserver_model.Config | None,
    test: TestResult | None,
    running: bool,
    in_use: bool,
    findings: list[Finding],
) -> ServerInfo:
    layout = server.layout
    version, built_in = _binary_facts(layout)
    modules = _modules(layout, config, built_in)
    mpm = next((name[4:] for name in modules if name.startswith("mpm_")), None) if layout.server == "apache" else None
    openssl = _openssl_info(_openssl_of(layout, config))
    if not openssl["groups"]:
        findings.append(finding("frontend.openssl.unknown", layout.server))
    logs = _nginx.access_logs(config, layout) if config and layout.server == "nginx" else None
    return {
        "server": layout.server,
        "version": version,
        "running": running,
        "in_use": in_use,
        "main_config": layout.main_config,
        "valid": test.ok if test else None,
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
        "confs": _slot(layout.confs),
        "sites": _slot(layout.sites),
        "tls_log": t.cast("TLSLogInfo", layout.tls_log._asdict()),
        "access_logs": logs,
        "default_log": _nginx.configured(layout.binary, "http-log-path") if logs == [] else None,
    }


def _slot(slot: Slot) -> SlotInfo:
    return {
        "available_dir": slot.available_dir,
        "enabled_dir": slot.enabled_dir,
        "suffixes": list(slot.suffixes),
    }


_Reading = t.Union[_webserver_model.Config, _webserver_model.ConfigError]


def _read(layout: Layout) -> _Reading:
    """The configuration as it lies there, before a server was asked."""
    try:
        return _nginx.load(layout) if layout.server == "nginx" else _apache.load(layout)
    except _webserver_model.ConfigError as error:
        return error


def _as_tested(layout: Layout, first: _Reading, output: str) -> _Reading:
    """The configuration with what the server's test has printed of it; first is what was read before."""
    try:
        if layout.server == "nginx":
            return _nginx.load(layout, dump=output)
        if isinstance(first, _webserver_model.Config):
            return _apache.as_dumped(first, layout, output)
        return _apache.load(layout, output, _apache.parse_module_dump(output))
    except _webserver_model.ConfigError as error:
        return error


def _verdict(layout: Layout, config: _Reading, test: TestResult | None, in_use: bool) -> t.Iterator[Finding]:
    """The findings about a configuration as a whole.

    A server that is not in use may never have run: Red Hat's Apache refuses its own virtual host until its unit has
    made the certificate.
    """
    severity = "" if in_use else "info"
    ok, message = (test.ok, test.message) if test else (None, "")
    if ok is None:
        yield finding("frontend.config.untested", layout.main_config, message)
    elif not ok:
        from ansible_collections.kopano.hardening.plugins.module_utils._webserver import (
            diagnose as _diagnose,  # needed for this alone
        )

        fault = _diagnose.find(message, config if isinstance(config, _webserver_model.Config) else None, None)
        place = "%s:%s" % (fault.file, fault.line) if fault.file else layout.main_config
        yield finding("frontend.config.broken", place, fault.reason, severity=severity)
    if isinstance(config, _webserver_model.ConfigError) and ok is not False:
        place = config.file if config.line is None else "%s:%d" % (config.file, config.line)
        key = "frontend.config.not_understood" if ok else "frontend.config.broken"
        yield finding(key, place, config.reason, severity=severity)


def _clients(configs: t.Iterable[_webserver_model.Config], tls_logs: t.Sequence[str]) -> ClientsInfo:
    """The clients in the access logs of these servers. tls_logs: where logs of what they speak may be."""
    # Needed for this alone.
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver import access_logs as _access_logs

    paths: list[str] = []
    elsewhere: list[str] = []
    for config in configs:
        files, others = _webserver_model.access_logs(config)
        paths += [path for path in files if path not in tls_logs]
        elsewhere += others
    known = [*_client_data.clients().values()]
    usage = _access_logs.read(paths, known, time.time(), [path for path in tls_logs if os.path.exists(path)])
    counts: list[ClientCount] = [
        {
            "client": seen.client,
            "negotiated": [[*pair] for pair in seen.suites] if seen.suites else None,
            "number": seen.number,
        }
        for seen in usage.clients
    ]
    return {
        "counts": counts,
        "days": _access_logs.DAYS,
        "files": usage.access.files,
        "lines": usage.access.lines,
        "not_understood": usage.access.not_understood,
        "first": _in_utc(usage.access.first),
        "last": _in_utc(usage.access.last),
        "gaps": [
            *usage.access.gaps,
            *(usage.tls.gaps if usage.tls else []),
            *(f"{target}: not a file that can be read" for target in elsewhere),
        ],
    }


def _in_utc(seconds: int | None) -> str | None:
    """RFC 3339 of seconds since 1970."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def run(params: dict[str, t.Any], started: t.Callable[[], str | None] = lambda: None) -> FrontendInfo:
    """The module's result.

    started: waits for another part of host_info, and returns the server that this has just started with the whole
    configuration in a view of the host, if any. It is called only where that spares something.
    """
    findings: list[Finding] = []
    policy = _crypto_policy.read()
    system = _os(policy)
    servers = [Server(layout) for layout in _layout.detect(params["server"])]
    strange = _layout.unsupported(_layout.os_release())
    if strange:
        findings.append(finding("frontend.system.unknown", system["id"] or "host", strange))
    elif not servers:
        findings.append(finding("frontend.none", params["server"]))
    for server in servers:
        server.prepare()
    first = {server.layout.server: _read(server.layout) for server in servers}
    read = [config for config in first.values() if isinstance(config, _webserver_model.Config)]
    results = _test_all(servers, read, started)
    configs: list[_webserver_model.Config] = []
    described: list[ServerInfo] = []
    running = {server.layout.server: _running(server) for server in servers}
    for server in servers:
        layout = server.layout
        test = results.get(layout.server)
        config = first[layout.server]
        if test and test.output:
            config = _as_tested(layout, config, test.output)
        in_use = running[layout.server] or not any(running.values()) or server.starts_at_boot()
        findings += _verdict(layout, config, test, in_use)
        readable = config if isinstance(config, _webserver_model.Config) else None
        described.append(_server_info(server, readable, test, running[layout.server], in_use, findings))
        if readable:
            configs.append(readable)
        if not running[layout.server]:
            kind = "frontend.server.unused" if any(running.values()) else "frontend.server.stopped"
            findings.append(finding(kind, layout.server))
        if readable and in_use:
            findings += _webserver_findings.of(readable, layout, policy)
    vhosts = [vhost for config in configs for vhost in config.vhosts]
    if system["fips"] or (system["crypto_policy"] or "").startswith("FIPS"):
        findings += [_fips(server, system) for server in described]
    components = _webserver_components.find(_webserver_components.packages(system["family"]))
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
        "clients": _clients(configs, [server.layout.tls_log.path for server in servers]) if params["clients"] else None,
        "findings": findings,
    }
