# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Where Apache and nginx keep things on each family of distributions, and which of them is on this host.

Everything here is data. The rest of the collection reads a L(Layout) and has no path of its own.
Sources: the file lists of the packages apache2, httpd, mod_ssl and nginx of Debian, Fedora/RHEL and openSUSE.
"""

from __future__ import annotations

import os
import shlex
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular

# The modules of Apache whose directives the policy has
POLICY_MODULES = ("authz_core", "ssl", "headers", "rewrite")


class Slot(t.NamedTuple):
    """One kind of configuration fragment: where it lies and how it is switched on.

    available_dir and enabled_dir are equal where a fragment counts as soon as it lies there. suffixes are all the files
    that belong to one fragment (Debian's Apache modules have two); '' means that the file name is the fragment's name.
    """

    available_dir: str
    enabled_dir: str
    suffixes: tuple[str, ...]


class TLSLog(t.NamedTuple):
    """The log of what the server's clients speak (frontend_tls_log): who looks for it on a host finds it here.

    Owner, group and mode are those that the distribution's logrotate file gives the server's logs; None where it names
    none, so that they stay as the server creates them. logrotate is the file that has the log rotated, None where the
    distribution's own does that by its pattern for the directory. conf is nginx's file that configures the log, the
    first of its directory, since nginx must know a format before it is used; Apache's has it with other directives.
    """

    path: str
    owner: str | None
    group: str | None
    mode: str | None
    logrotate: str | None
    conf: str | None


class Sysconfig(t.NamedTuple):
    """What a script of the distribution makes of L(Layout.envvars) whenever it starts or reloads the server.

    It writes files and has them read by command line, before and after the main one. loads is that of them with the
    modules, one line for each word of the variable whose file it finds in the first of module_dirs that has it. defines
    are the names that it adds to those of APACHE_SERVER_FLAGS.
    """

    variable: str
    loads: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    module_dirs: tuple[str, ...]  # {mpm} stands for the multi-processing module
    defines: tuple[str, ...]


class Layout(t.NamedTuple):
    """One web server on one family of distributions. All paths are absolute and as seen on the host."""

    server: str  # apache | nginx
    family: str  # debian | redhat | suse
    binary: str
    control: str | None  # the wrapper that sets the server's environment up, if there is one
    server_root: str | None  # the base of relative paths where no ServerRoot is configured; None: config_dir
    unit: str
    package: str
    main_config: str
    config_dir: str
    policy_dir: str  # the collection's own snippets
    envvars: str | None  # the file with the server's environment, as the unit or wrapper reads it
    pid_file: str
    error_log: str
    tls_log: TLSLog
    modules: Slot | None
    confs: Slot
    sites: Slot
    module_style: str  # links: by symbolic link | sysconfig: APACHE_MODULES | static: comes with its package
    sysconfig: Sysconfig | None  # for that style
    modules_dir: str | None  # where the server's shared objects are
    static_modules: tuple[str, ...]  # built into the server: always there
    user: str


def _same(directory: str, *suffixes: str) -> Slot:
    return Slot(directory, directory, suffixes)


_DEBIAN_APACHE = Layout(
    server="apache",
    family="debian",
    binary="/usr/sbin/apache2",
    control="/usr/sbin/apache2ctl",
    server_root=None,
    unit="apache2",
    package="apache2",
    main_config="/etc/apache2/apache2.conf",
    config_dir="/etc/apache2",
    policy_dir="/etc/apache2/kopano-hardening",
    envvars="/etc/apache2/envvars",
    pid_file="/run/apache2/apache2.pid",
    error_log="/var/log/apache2/error.log",
    tls_log=TLSLog("/var/log/apache2/kopano-tls.log", "root", "adm", "0640", None, None),
    modules=Slot("/etc/apache2/mods-available", "/etc/apache2/mods-enabled", (".load", ".conf")),
    confs=Slot("/etc/apache2/conf-available", "/etc/apache2/conf-enabled", (".conf",)),
    sites=Slot("/etc/apache2/sites-available", "/etc/apache2/sites-enabled", (".conf",)),
    module_style="links",
    sysconfig=None,
    modules_dir="/usr/lib/apache2/modules",
    static_modules=("core", "so", "watchdog", "http", "log_config", "logio", "version", "unixd"),
    user="www-data",
)

_REDHAT_APACHE = Layout(
    server="apache",
    family="redhat",
    binary="/usr/sbin/httpd",
    control="/usr/sbin/apachectl",
    server_root=None,
    unit="httpd",
    package="httpd",
    main_config="/etc/httpd/conf/httpd.conf",
    config_dir="/etc/httpd",
    policy_dir="/etc/httpd/kopano-hardening",
    # Since Red Hat Enterprise Linux 8 no unit reads /etc/sysconfig/httpd; where one names it, systemd says so.
    envvars=None,
    pid_file="/run/httpd/httpd.pid",
    error_log="/var/log/httpd/error_log",
    tls_log=TLSLog("/var/log/httpd/kopano-tls.log", None, None, None, None, None),
    modules=None,
    confs=_same("/etc/httpd/conf.d", ".conf"),
    sites=_same("/etc/httpd/conf.d", ".conf"),
    module_style="static",
    sysconfig=None,
    modules_dir="/etc/httpd/modules",
    static_modules=("core", "so", "http"),
    user="apache",
)

_SUSE_APACHE = Layout(
    server="apache",
    family="suse",
    binary="/usr/sbin/httpd-prefork",
    control="/usr/sbin/start_apache2",
    server_root="/srv/www",
    unit="apache2",
    package="apache2",
    main_config="/etc/apache2/httpd.conf",
    config_dir="/etc/apache2",
    policy_dir="/etc/apache2/kopano-hardening",
    envvars="/etc/sysconfig/apache2",
    pid_file="/run/httpd.pid",
    error_log="/var/log/apache2/error_log",
    # SUSE's logrotate file names Apache's logs one by one, or by patterns that this one is none of.
    tls_log=TLSLog("/var/log/apache2/kopano-tls.log", None, None, None, "/etc/logrotate.d/kopano-tls", None),
    modules=None,
    confs=_same("/etc/apache2/conf.d", ".conf"),
    sites=_same("/etc/apache2/vhosts.d", ".conf"),
    module_style="sysconfig",
    sysconfig=Sysconfig(
        variable="APACHE_MODULES",
        loads="/etc/apache2/sysconfig.d/loadmodule.conf",
        before=("/etc/apache2/sysconfig.d/loadmodule.conf", "/etc/apache2/sysconfig.d/global.conf"),
        after=("/etc/apache2/sysconfig.d/include.conf",),
        module_dirs=("/usr/lib64/apache2-{mpm}", "/usr/lib64/apache2", "/usr/lib/apache2-{mpm}", "/usr/lib/apache2"),
        defines=("SYSCONFIG", "SYSTEMD"),
    ),
    modules_dir="/usr/lib64/apache2-prefork",
    static_modules=("core", "so", "http", "unixd", "systemd", "mpm_prefork"),
    user="wwwrun",
)

_DEBIAN_NGINX = Layout(
    server="nginx",
    family="debian",
    binary="/usr/sbin/nginx",
    control=None,
    server_root=None,
    unit="nginx",
    package="nginx",
    main_config="/etc/nginx/nginx.conf",
    config_dir="/etc/nginx",
    policy_dir="/etc/nginx/kopano-hardening",
    envvars=None,
    pid_file="/run/nginx.pid",
    error_log="/var/log/nginx/error.log",
    tls_log=TLSLog(
        "/var/log/nginx/kopano-tls.log", "www-data", "adm", "0640", None, "/etc/nginx/conf.d/00-kopano-tls-log.conf"
    ),
    modules=None,
    confs=_same("/etc/nginx/conf.d", ".conf"),
    sites=Slot("/etc/nginx/sites-available", "/etc/nginx/sites-enabled", ("",)),
    module_style="static",
    sysconfig=None,
    modules_dir="/usr/lib/nginx/modules",
    static_modules=(),
    user="www-data",
)

_REDHAT_NGINX = _DEBIAN_NGINX._replace(
    family="redhat",
    tls_log=_DEBIAN_NGINX.tls_log._replace(owner="nginx", group="root"),
    sites=_same("/etc/nginx/conf.d", ".conf"),
    modules_dir="/usr/lib64/nginx/modules",
    user="nginx",
)

_SUSE_NGINX = _REDHAT_NGINX._replace(
    family="suse",
    tls_log=_DEBIAN_NGINX.tls_log._replace(owner=None, group=None, mode=None),
    sites=_same("/etc/nginx/vhosts.d", ".conf"),
)

LAYOUTS = (_DEBIAN_APACHE, _DEBIAN_NGINX, _REDHAT_APACHE, _REDHAT_NGINX, _SUSE_APACHE, _SUSE_NGINX)

# SUSE has a program for each multi-processing module. Which one is started is decided by its settings, else by the link
# without such a name, which can be missing.
_MPM_LINK = "/usr/sbin/httpd"
_MPM_PROGRAM = "/usr/sbin/httpd-{}"
_MPMS = ("prefork", "worker", "event")

_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "redhat",
    "fedora": "redhat",
    "centos": "redhat",
    "suse": "suse",
    "opensuse": "suse",
}


SUPPORTED = (
    "Debian, Ubuntu, Red Hat Enterprise Linux and its rebuilds, Fedora, SUSE Linux Enterprise and openSUSE, and "
    "systems that name one of these in ID_LIKE of /etc/os-release"
)


def refusal(system: str) -> str:
    """Why nothing is done to a system of an unknown family. system: its name, which may be empty."""
    return f"{system or 'a system without a name in /etc/os-release'} is not supported; supported are {SUPPORTED}"


def _under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _unquote(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:  # a quote that is not closed
        return value


def os_release(root: str = "/") -> dict[str, str]:
    """The fields of os-release(5), unquoted; empty where the host has no such file."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        found = assignments(os.path.join(root, path))
        if found:
            return found
    return {}


def assignments(path: str) -> dict[str, str]:
    """The assignments of a file as in os-release(5), or for systemd's EnvironmentFile=; empty if it cannot be read."""
    try:
        lines = _regular.text(path, foreign_links=True).replace("\\\n", "").split("\n")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", ";")))
    return {name.strip(): _unquote(value.strip()) for name, _found, value in pairs}


def family(release: dict[str, str]) -> str | None:
    """The family of distributions by os-release's ID, then ID_LIKE; None for one that is not known here."""
    for name in (release.get("ID", "") + " " + release.get("ID_LIKE", "")).split():
        if name in _FAMILIES:
            return _FAMILIES[name]
    return None


def unsupported(release: dict[str, str]) -> str:
    """Why nothing is done to a host with these fields of os-release; empty where its family is known."""
    return "" if family(release) else refusal(release.get("PRETTY_NAME") or release.get("ID") or "")


def server_flags(value: str) -> list[str]:
    """The names that APACHE_SERVER_FLAGS defines, which can be written as for a command line."""
    names = (word[2:] if word.startswith("-D") else word for word in value.split())
    return [name for name in names if name]


def _with_mpm(layout: Layout, sysconfig: Sysconfig, root: str) -> Layout:
    """The layout for the multi-processing module that SUSE's script would start, of those that are installed."""
    linked = os.path.basename(os.path.realpath(_under(root, _MPM_LINK))).rpartition("-")[2]
    chosen = assignments(_under(root, layout.envvars or "")).get("APACHE_MPM", "")
    installed = [
        mpm for mpm in (chosen, linked, *_MPMS) if mpm and _paths.is_there(_under(root, _MPM_PROGRAM.format(mpm)))
    ]
    if not installed:
        return layout._replace(binary=_MPM_LINK)
    mpm = installed[0]
    directories = [directory.format(mpm=mpm) for directory in sysconfig.module_dirs]
    return layout._replace(
        binary=_MPM_PROGRAM.format(mpm),
        static_modules=(*(name for name in layout.static_modules if not name.startswith("mpm_")), f"mpm_{mpm}"),
        modules_dir=next((path for path in directories if os.path.isdir(_under(root, path))), directories[0]),
        sysconfig=sysconfig._replace(module_dirs=tuple(directories)),
    )


def _locate(layout: Layout, root: str) -> Layout | None:
    if layout.sysconfig:
        layout = _with_mpm(layout, layout.sysconfig, root)
    if not _paths.is_there(_under(root, layout.binary)):
        return None
    # The nginx.org packages for Debian have no sites-available; there a site is one more file in conf.d.
    if not os.path.isdir(_under(root, layout.sites.enabled_dir)):
        layout = layout._replace(sites=layout.confs)
    return layout


def detect(server: str = "auto", root: str = "/") -> list[Layout]:
    """The web servers that are installed below root, Apache before nginx.

    server is auto, apache or nginx. On a distribution of an unknown family there is none: Alpine has the paths of SUSE,
    and Arch those of Red Hat, but other modules, users and ways to switch things on. Raises OSError where it cannot be
    found out whether a server's program is there.
    """
    known = family(os_release(root))
    found: dict[str, Layout] = {}
    for layout in LAYOUTS:
        if server not in ("auto", layout.server) or layout.server in found:
            continue
        located = _locate(layout, root) if layout.family == known else None
        if located:
            found[layout.server] = located
    return list(found.values())


class Ambiguous(ValueError):
    """Several servers can be meant; the message names the option that decides."""


def choose(servers: t.Sequence[str], *rules: t.Callable[[str], bool]) -> str:
    """The server that C(auto) means. Each rule keeps those for which it holds, unless it holds for none.

    Everything that has to do with one server calls this, so that all of it has to do with the same. The rules: it runs,
    what is to be done is about it, it serves TLS. Raises Ambiguous.
    """
    for holds in rules:
        if len(servers) > 1:
            servers = [server for server in servers if holds(server)] or servers
    if len(servers) > 1:
        raise Ambiguous(
            "frontend_server: auto cannot choose between {}: whether a server runs and serves TLS decides, and that is "
            "the same for them; set frontend_server to one of them, or the option server where a module is called "
            "directly".format(" and ".join(servers))
        )
    return servers[0]
