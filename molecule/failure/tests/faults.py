# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong, and what has to come of it: the faults as data.

Shell in prepare and repair runs on the host with these variables: unit (of the server), config (its directory),
foreign (a file of its configuration that is not there yet), broken (a line that it does not take).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import Host

LOCK = "/run/kopano-hardening.lock"
PORT = 8443
PAGE = "/webapp/client/style.css"

# --- a change that works, as each server spells it -------------------------------------------------------------------

GOOD = {
    "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
    "suites": "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
    "groups": "X25519:prime256v1",
}
OPTIONS = {"ciphers": "frontend_tls_ciphers", "suites": "frontend_tls_ciphersuites", "groups": "frontend_tls_groups"}
LINES = {
    "apache": {
        "protocols": "SSLProtocol -all +TLSv1.2 +TLSv1.3",
        "ciphers": "SSLCipherSuite {}",
        "suites": "SSLCipherSuite TLSv1.3 {}",
        "groups": "SSLOpenSSLConfCmd Curves {}",
        "hsts": 'Header always set Strict-Transport-Security "max-age=31536000"',
    },
    "nginx": {
        "protocols": "ssl_protocols TLSv1.2 TLSv1.3;",
        "ciphers": "ssl_ciphers {};",
        "suites": "ssl_conf_command Ciphersuites {};",
        "groups": "ssl_ecdh_curve {};",
        "hsts": 'add_header Strict-Transport-Security "max-age=31536000" always;',
    },
}
PATH_OPTIONS = {"certificate": "frontend_tls_certificate", "key": "frontend_tls_certificate_key"}
PATHS = {
    "apache": {"certificate": "SSLCertificateFile {}", "key": "SSLCertificateKeyFile {}"},
    "nginx": {"certificate": "ssl_certificate {};", "key": "ssl_certificate_key {};"},
}
# A line that the server refuses, and its message.
BROKEN = {
    "apache": ("NoSuchDirective on", "(?s:.*)Invalid command"),
    "nginx": ("no_such_directive on;", ".*unknown directive"),
}
MODULES: dict[str, list[str]] = {"apache": ["headers"], "nginx": []}
EXTRA = {
    "apache": {
        "port": f"Listen {PORT}\n",
        # Nothing listens there; a rehearsal cannot know, because it has no way to the host's loopback.
        "backend": f"ProxyPass {PAGE} http://127.0.0.1:9/\n",
    },
    "nginx": {
        "port": f"server {{\n    listen {PORT};\n}}\n",
        "backend": f"location = {PAGE} {{\n    proxy_pass http://127.0.0.1:9;\n}}\n",
    },
}
NO_CONF_COMMAND = ("nginx11",)  # nginx 1.18 has no ssl_conf_command, so it has no list of TLS 1.3 suites


def policy_path(host: Host) -> str:
    return f"{host.layout.policy_dir}/failure.conf"


def site_path(host: Host) -> str:
    """The site of the lab's administrator."""
    return f"{host.layout.sites.available_dir}/mail{host.layout.sites.suffixes[0]}"


def foreign_path(host: Host) -> str:
    """A file of the configuration that is not there yet."""
    return f"{host.layout.confs.enabled_dir}/foreign.conf"


def shell_variables(host: Host) -> str:
    """What prepare and repair find out about the host."""
    values = {
        "unit": host.layout.unit,
        "config": host.layout.config_dir,
        "foreign": foreign_path(host),
        "broken": BROKEN[host.server][0],
    }
    return "".join(f"{key}='{value}'\n" for key, value in values.items())


def policy(host: Host, values: Mapping[str, str]) -> str:
    """The text of the policy, each line under the name of its option as the role writes it."""
    lines = []
    for key, line in LINES[host.server].items():
        if key == "suites" and host.name in NO_CONF_COMMAND:
            continue
        if key in OPTIONS:
            lines.append(f"# option: {OPTIONS[key]}")
        lines.append(line.format(values.get(key, GOOD.get(key, ""))))
    if "backend" in values:
        lines.append(EXTRA[host.server]["backend"])
    return "\n".join(lines) + "\n"


def change(host: Host, values: Mapping[str, str]) -> dict[str, Any]:
    """The module's options for the good change, with these values instead of the good ones.

    values: ciphers, suites, groups: values of the policy; certificate, key: paths that the site names; port, backend:
    whether there is that extra.
    """
    files = [{"path": policy_path(host), "content": policy(host, values)}]
    modules = list(MODULES[host.server])
    if "port" in values:
        files.append({"path": foreign_path(host), "content": EXTRA[host.server]["port"]})
    if "backend" in values and host.server == "apache":
        modules += ["proxy", "proxy_http"]
    params: dict[str, Any] = {
        "server": "auto",
        "files": files,
        "enable": {"modules": modules},
        "probes": [{"path": PAGE}, {"path": "/Microsoft-Server-ActiveSync"}],
    }
    if "certificate" in values or "key" in values:
        files.append({"path": site_path(host), "content": with_paths(host, values)})
    else:
        params.update(adopt=True, policy={"tls": policy_path(host)})
    return params


def with_paths(host: Host, values: Mapping[str, str]) -> str:
    """The site's text with these paths in place of its own certificate and key."""
    lines = []
    for line in host.read(site_path(host)).splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        for key, template in PATHS[host.server].items():
            if key in values and line.split()[:1] == template.split()[:1]:
                lines.append(f"{indent}# option: {PATH_OPTIONS[key]}")
                line = indent + template.format(values[key])
        lines.append(line)
    return "\n".join(lines) + "\n"


# --- faults after which nothing has changed --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Something that makes a run fail, the same way each time, and leaves the host as it was."""

    name: str
    phase: str  # in which the run ends
    message: str | Mapping[str, str]  # a regular expression, or one for each server, that is found in the message
    values: Mapping[str, str] = field(default_factory=dict)  # for change()
    blames: str | Mapping[str, str] = ""  # the value whose file, line, directive and option the failure names
    options: Mapping[str, Any] = field(default_factory=dict)  # of the module, in place of those of change()
    prepare: str = ""
    repair: str = ""
    strace: tuple[str, ...] = ()  # how the run is disturbed
    rolled_back: bool = False
    stops: tuple[str, ...] = ()  # servers that do not serve all the time
    not_on: tuple[str, ...] = ()
    # Met on unprivileged hosts too. There the rehearsal is not in namespaces and sees less.
    everywhere: bool = False

    def applies_to(self, host: Host) -> bool:
        return host.name not in self.not_on and (self.everywhere or not host.unprivileged)


def expected(host: Host, fault: Fault) -> dict[str, Any]:
    """Where the failure of a fault has to point to: file, line, directive, value and option, as far as it can."""
    key = fault.blames if isinstance(fault.blames, str) else fault.blames[host.server]
    if not key:
        return {}
    path, text = blamed_text(host, fault, key)
    if key == "port":
        spelled, option = (
            EXTRA[host.server]["port"].splitlines()[-1 if host.server == "apache" else 1].strip(),
            None,
        )
    elif key in OPTIONS:
        spelled, option = LINES[host.server][key].format(fault.values[key]), OPTIONS[key]
    else:
        spelled, option = PATHS[host.server][key].format(fault.values[key]), PATH_OPTIONS[key]
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.strip() == spelled)
    directive, _, value = spelled.rstrip(";").partition(" ")
    place = {"file": path, "line": line, "directive": directive, "value": value, "option": option}
    return {name: part for name, part in place.items() if part is not None}


def blamed_text(host: Host, fault: Fault, key: str) -> tuple[str, str]:
    """The file that has the blamed value, as the server names it, and its text."""
    if key == "port":
        return foreign_path(host), EXTRA[host.server]["port"]
    if key in OPTIONS:
        return policy_path(host), policy(host, fault.values)
    return site_path(host).replace("-available", "-enabled"), with_paths(host, fault.values)


def of(host: Host, text: str | Mapping[str, str]) -> str:
    """A regular expression for every server, or that for the host's, with its unit and paths in it."""
    found = text if isinstance(text, str) else text[host.server]
    for name, value in (("UNIT", host.layout.unit), ("FOREIGN", foreign_path(host)), ("SITE", site_path(host))):
        found = found.replace(name, re.escape(value))
    return found


def inject(calls: str, when: int, signal: str = "KILL", path: str = "") -> tuple[str, ...]:
    """Arguments for strace: send the signal at call number `when` of these system calls, or of those on path."""
    return (
        *(("-P", path) if path else ()),
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:signal={signal}:when={when}",
    )


# The module writes into the lock file which phase it enters: the write number N is that of phase N.
PHASES = ("read", "stage", "rehearse", "swap", "reload", "probe", "commit")


def entering(phase: str, signal: str = "KILL") -> tuple[str, ...]:
    return inject("pwrite64", PHASES.index(phase) + 1, signal, LOCK)


TAKEN: dict[str, Any] = {
    "prepare": f"systemd-run --quiet --unit=failure-port python3 -m http.server {PORT}\n"
    f"until ss -Hltn | grep -q ':{PORT} '; do sleep 0.05; done",
    "repair": "systemctl stop failure-port",
    "values": {"port": "taken"},
}
# A certificate of an RSA key that no longer exists.
OTHER = (
    "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout /dev/null -out /etc/ssl/other.pem 2>/dev/null\n"
)
FILL = "cat /dev/zero > {}/filler 2>/dev/null || true"

FAULTS = (
    Fault(
        "unknown cipher string",
        "rehearse",
        "no cipher match",
        values={"ciphers": "NOSUCH"},
        blames="ciphers",
        everywhere=True,
    ),
    Fault(
        "unknown TLS 1.3 suite",
        "rehearse",
        "no cipher match",
        values={"suites": "TLS_NOSUCH_SHA256"},
        blames="suites",
        not_on=NO_CONF_COMMAND,
        everywhere=True,
    ),
    Fault(
        "unknown group",
        "rehearse",
        {"apache": "SSLOpenSSLConfCmd Curves nosuchgroup", "nginx": "SSL_CTX_set1_curves_list"},
        values={"groups": "nosuchgroup"},
        blames="groups",
        everywhere=True,
    ),
    Fault(
        "certificate that is not there",
        "rehearse",
        {
            "apache": "SSLCertificateFile: file '/etc/ssl/certs/no-such.pem' does not exist",
            "nginx": 'cannot load certificate "/etc/ssl/certs/no-such.pem"',
        },
        values={"certificate": "/etc/ssl/certs/no-such.pem"},
        blames="certificate",
        everywhere=True,
    ),
    Fault(
        "key that does not match",
        "rehearse",
        {"apache": "do not match|mismatch", "nginx": "key values mismatch"},
        values={"certificate": "/etc/ssl/other.pem", "key": "/etc/ssl/other.key"},
        # Apache's message has both paths, and the certificate's comes first.
        blames={"apache": "certificate", "nginx": "key"},
        prepare=OTHER + "openssl genrsa -out /etc/ssl/other.key 2048 2>/dev/null",
        repair="rm /etc/ssl/other.pem /etc/ssl/other.key",
        everywhere=True,
    ),
    Fault(
        # nginx starts with such a pair, but cannot shake hands.
        "key of another kind",
        "rehearse",
        {"apache": "do not match|mismatch", "nginx": "is not the key of /etc/ssl/other.pem"},
        values={"certificate": "/etc/ssl/other.pem", "key": "/etc/ssl/other.key"},
        blames={"apache": "certificate", "nginx": "key"},
        prepare=OTHER + "openssl ecparam -name prime256v1 -genkey -noout -out /etc/ssl/other.key",
        repair="rm /etc/ssl/other.pem /etc/ssl/other.key",
    ),
    Fault(
        "syntax error in a foreign file",
        "rehearse",
        {
            server: f"already broken before this run: FOREIGN:2: {line.rstrip(';')}:{complaint}"
            for server, (line, complaint) in BROKEN.items()
        },
        prepare="printf '# by hand\n%s\n' \"$broken\" > $foreign",
        repair="rm $foreign",
        everywhere=True,
    ),
    Fault(
        "server is stopped",
        "read",
        "UNIT is not running",
        prepare="systemctl stop $unit",
        repair="systemctl start $unit",
        stops=("apache", "nginx"),
        everywhere=True,
    ),
    Fault(
        "port is taken",
        "rehearse",
        f"another program on this host already listens on .* port {PORT}",
        blames="port",
        **TAKEN,
    ),
    Fault(
        "port is taken, no rehearsal",
        "reload",
        "(?i)address already in use",
        blames="port",
        options={"rehearse": "off"},
        rolled_back=True,
        stops=("apache",),
        **TAKEN,
    ),
    Fault(
        "configuration's disk is full",
        "stage",
        "No space left on device",
        prepare="mount --bind $config /mnt\nmount -t tmpfs -o size=4m,mode=755 none $config\n"
        "cp -a /mnt/. $config/\numount /mnt\n" + FILL.format("$config"),
        repair="umount $config",
    ),
    Fault(
        "journal's disk is full",
        "stage",
        "No space left on device",
        prepare="mkdir -p -m 700 /var/lib/kopano-hardening\n"
        "mount -t tmpfs -o size=64k,mode=700 none /var/lib/kopano-hardening\n"
        + FILL.format("/var/lib/kopano-hardening"),
        repair="umount /var/lib/kopano-hardening",
    ),
    Fault(
        "/etc is read-only",
        "stage",
        "Read-only file system",
        prepare="mount --bind /etc /etc\nmount -o remount,bind,ro /etc",
        repair="umount /etc || umount -l /etc",
    ),
    Fault(
        "unknown cipher string, no rehearsal",
        "reload",
        "no cipher match",
        values={"ciphers": "NOSUCH"},
        blames="ciphers",
        options={"rehearse": "off"},
        rolled_back=True,
        stops=("apache",),
        everywhere=True,
    ),
    Fault(
        "backend that does not respond",
        "probe",
        f"{PAGE}: status 200 before, 50[23] now",
        values={"backend": "dead"},
        rolled_back=True,
        everywhere=True,
    ),
    Fault(
        "response that is not expected",
        "rehearse",
        "status 404 where 200 is expected",
        options={"probes": [{"path": "/no-such-page", "expect": {"status": [200]}}]},
    ),
    *(
        Fault(
            f"SIG{name} at {phase}",
            phase,
            f"interrupted by signal {number}",
            strace=entering(phase, name),
            rolled_back=phase in ("reload", "probe", "commit"),
        )
        for phase in ("rehearse", "reload", "commit")
        for name, number in (("HUP", 1), ("TERM", 15))
    ),
)


# --- faults that are met through Ansible -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Met:
    """An option of the role that is no good, or a template; each makes two runs fail in the same way."""

    name: str
    phase: str
    message: str
    option: str = ""  # of the role, which the failure names
    ciphers: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    template: str | None = None
    not_on: tuple[str, ...] = ()

    def applies_to(self, host: Host) -> bool:
        return host.name not in self.not_on

    def variables(self) -> dict[str, Any]:
        """What met.yml needs of it."""
        unused = ("message", "option", "not_on")
        return {key: value for key, value in asdict(self).items() if value is not None and key not in unused}


MET = (
    Met("role: unknown cipher string", "rehearse", "no cipher match", "frontend_tls_ciphers", ciphers=("NOSUCH",)),
    Met(
        "role: unknown TLS 1.3 suite",
        "rehearse",
        "no cipher match",
        "frontend_tls_ciphersuites",
        suites=("TLS_NOSUCH_SHA256",),
        not_on=NO_CONF_COMMAND,
    ),
    Met("role: unknown group", "rehearse", "nosuchgroup", "frontend_tls_groups", groups=("nosuchgroup",)),
    Met(
        "template: unknown variable", "render", r"'broken\.j2' .*'no_such_variable' is undefined", template="broken.j2"
    ),
    Met("template: syntax error", "render", r"'unclosed\.j2' .*'endif'", template="unclosed.j2"),
)


# --- a run that is killed --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """A run that ends by SIGKILL, and what the next one finds."""

    name: str
    # When it is killed: arguments for strace, which can depend on how many renames the swap has.
    strace: tuple[str, ...] | Callable[[int], tuple[str, ...]]
    state: str | None  # in which the journal has it then
    recovered: str | None  # what the next run reports that it did with the journal
    values: Mapping[str, str] = field(default_factory=dict)  # for change()
    rehearse: str = "auto"
    # Instead of strace: before or after which function of Python's. Python makes the same system calls elsewhere.
    dies: tuple[str, str] | None = None
    phase: str = ""  # which it must have been in
    # How the next run, which changes nothing of its own, is killed in turn; another one then repairs the host.
    again: tuple[str, ...] = ()


KILLS = (
    Kill("lock", inject("flock", 1), None, None),
    Kill("read", entering("read"), None, None),
    Kill("stage", entering("stage"), None, None),
    Kill("stage, journal is there", inject("mkdirat", 1), "staged", "undone"),
    Kill("rehearse", entering("rehearse"), "staged", "undone"),
    Kill("rehearse, waiting for it", (), "staged", "undone", dies=("before", "select.select"), phase="rehearse"),
    Kill("swap", entering("swap"), "staged", "undone"),
    # Paths are exchanged (renameat2), the journal's records renamed. Only the run itself is counted: a rehearsal, which
    # exchanges paths of its own, is another process.
    Kill("swap, before the first file", inject("renameat2", 1), "swapping", "undone", rehearse="off"),
    Kill(
        "swap, half done",
        lambda renames: inject("renameat2", 1 + renames // 2),
        "swapping",
        "undone",
        rehearse="off",
    ),
    Kill(
        "swap, before the last file", lambda renames: inject("renameat2", renames), "swapping", "undone", rehearse="off"
    ),
    Kill("reload", entering("reload"), "swapping", "undone"),
    Kill("reload, before the signal", inject("kill", 1), "swapping", "undone", rehearse="off"),
    Kill(
        "reload, after the signal",
        (),
        "swapping",
        "undone",
        rehearse="off",
        dies=("after", "os.kill"),
        phase="reload",
    ),
    Kill("probe", entering("probe"), "swapping", "undone"),
    Kill("commit", entering("commit"), "swapping", "undone"),
    # The record is saved as staged, swapping and proven before.
    Kill("commit, found good", inject("rename", 4), "proven", "finished"),
    Kill(
        "rollback",
        lambda renames: inject("renameat2", renames + 1),
        "swapping",
        "undone",
        values={"backend": "dead"},
        rehearse="off",
    ),
    Kill("recovery", entering("probe"), "swapping", "undone", again=inject("renameat2", 1)),
)
