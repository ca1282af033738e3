# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others do to a host during a run, and in which states they leave it; what has to come of it: as data.

Shell runs on the host with the variables of faults.py, and with: site (the file of the administrator's that a run
changes), policy, enabled (a name beside the sites that the server reads), address. Elsewhere is a directory that a case
can use for what lies outside the server's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import Host
from faults import LOCK, TAKEN, policy_path, shell_variables, site_path

ELSEWHERE = "/etc/failure"
FOUND = "/var/lib/kopano-hardening/found"  # where the product keeps what it has found and replaced
EDIT = "# by hand, at the same time"
YEARS = 10 * 365 * 86400  # seconds

PerServer = str | Mapping[str, str]


def variables(host: Host) -> str:
    values = {
        "site": site_path(host),
        "policy": policy_path(host),
        "enabled": f"{host.layout.sites.enabled_dir}/failure{host.layout.sites.suffixes[0]}",
        "address": host.address,
        "binary": host.layout.binary,
        "pid": host.layout.pid_file,
        "package": host.layout.package,
    }
    return shell_variables(host) + "".join(f"{key}='{value}'\n" for key, value in values.items())


def of_server(host: Host, text: PerServer) -> str:
    return text if isinstance(text, str) else text[host.server]


def script(host: Host, text: PerServer) -> str:
    found = of_server(host, text)
    return f"{variables(host)}{found}\n" if found else ""


@dataclass(frozen=True)
class Situation:
    """A state of the host, or what somebody does to it, and what comes of two runs and of restoring the first state."""

    name: str
    prepare: PerServer = ""
    meanwhile: tuple[str, PerServer] | None = None  # when() it runs, and what
    later: PerServer = ""  # before the change is restored
    repair: PerServer = ""
    holds: PerServer = ":"  # what has to be true after each run
    clock: tuple[str, int] | None = None  # when() it jumps, by how many seconds
    strace: tuple[str, ...] = ()
    phase: PerServer = "commit"  # in which the first run ends; it works where that is the commit
    second: PerServer = ""  # the same of the second run, where it is another
    repeated: bool = False  # whether the second run makes the change as well: then both are restored
    message: PerServer = ""  # a regular expression that is found in the message, or else in the warnings
    values: Mapping[str, str] = field(default_factory=dict)  # for change()
    options: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False  # whether EDIT was written to the site: it is there at the end, or kept
    stays: bool = False  # whether it is at the end what the administrator has made of it
    stops: tuple[str, ...] = ()  # servers that do not serve all the time
    seconds: int = 0  # how long the first run may take; 0: as long as any
    families: tuple[str, ...] = ("debian", "redhat", "suse")
    servers: tuple[str, ...] = ("apache", "nginx")

    def ends(self, host: Host) -> tuple[str, str]:
        """In which phases the first and the second run end."""
        first = of_server(host, self.phase)
        return first, of_server(host, self.second) or first

    def is_rolled_back(self, host: Host) -> bool:
        in_swap = self.meanwhile is None or self.meanwhile[0] == EXCHANGE
        return self.ends(host)[0] in ("reload", "probe") or (self.phase == "swap" and in_swap)

    def applies_to(self, host: Host) -> bool:
        return host.server in self.servers and host.layout.family in self.families and not host.unprivileged


# --- the clock -------------------------------------------------------------------------------------------------------

CLOCK = tuple(
    Situation(f"clock jumps {way} {YEARS // 86400 // 365} years at {phase}", clock=(phase, seconds))
    for way, seconds in (("ahead", YEARS), ("back", -YEARS))
    for phase in ("read", "rehearse", "commit")
)

# --- the administrator's editor --------------------------------------------------------------------------------------

IN_PLACE = f"echo '{EDIT}' >> $site"
# As vim does it: the old file becomes a backup, a new one gets its name.
RENAMED = f"mv $site $site~; {{ cat $site~; echo '{EDIT}'; }} > $site; rm $site~"
KEPT_SITE = "cp -a $site /root/failure-site"
OWN_SITE = f"cp -a /root/failure-site $site; rm /root/failure-site; rm -rf {FOUND}"
LATER = "later"
EXCHANGE = "_transaction.changeset.apply"  # when all paths have been compared for the last time, and none exchanged


def edits(name: str, at: str, **more: Any) -> tuple[Situation, ...]:
    """An edit at some time, by both ways of writing a file. at: when() that is; LATER: before the change is undone."""
    return tuple(
        Situation(
            f"edit {way}: {name}",
            prepare=KEPT_SITE,
            meanwhile=None if at == LATER else (at, edit),
            later=edit if at == LATER else "",
            repair=OWN_SITE,
            edited=True,
            **more,
        )
        for way, edit in (("in place", IN_PLACE), ("by a new file", RENAMED))
    )


CHANGED = "SITE was changed by somebody else meanwhile, and stays as it is now; finish that edit, then run again"
FOUND_AND_KEPT = f"(?s:.*)SITE .*{FOUND}/"
NAMED_AT_ONCE = "SITE was changed by somebody else after this run had written it"
EDITORS = (
    *edits("before the swap", "rehearse", phase="swap", second="commit", message=CHANGED, stays=True),
    *edits("in the swap", EXCHANGE, phase="swap", second="commit", message=CHANGED, stays=True),
    *edits("before the reload", "reload", message=NAMED_AT_ONCE + FOUND_AND_KEPT),
    *edits("before the commit", "commit", message=NAMED_AT_ONCE + FOUND_AND_KEPT),
    *edits("after the commit", LATER, message=FOUND_AND_KEPT),
    *edits("before a rollback", "reload", values={"backend": "dead"}, phase="probe", message=FOUND_AND_KEPT),
)  # fmt: skip

# --- kinds of configuration ------------------------------------------------------------------------------------------

SITE_BACK = "cp -a /root/failure-site $site; rm /root/failure-site"


def python(text: str) -> str:
    return f"site=$site python3 - <<'END'\nimport os\nsite = os.environ['site']\n{text}\nEND\n"


ACL_VALUE = "02000000 01000600ffffffff 0200040001000000 04000400ffffffff 10000600ffffffff 20000400ffffffff"
CONFIGURATIONS = (
    Situation(
        "CRLF in the site",
        prepare=KEPT_SITE + "\nsed -i 's/$/\\r/' $site",
        repair=SITE_BACK,
    ),
    Situation(
        "bytes that are not UTF-8",
        prepare=KEPT_SITE + "\nprintf '# gr\\374n \\200\\377\\n' >> $site",
        holds="LC_ALL=C grep -q \"$(printf '# gr\\374n \\200\\377')\" $site",
        repair=SITE_BACK,
    ),
    Situation(
        "include cycle",
        prepare={
            "apache": "echo \"Include $foreign\" > $foreign",
            "nginx": "echo \"include $foreign;\" > $foreign",
        },
        repair="rm $foreign",
        phase="read",
        message="already broken before this run: FOREIGN:1: includes are nested too deep",
        seconds=60,
    ),
    Situation(
        "site is a link to a file elsewhere",
        prepare=f"mkdir {ELSEWHERE}\nmv $site {ELSEWHERE}/site\nln -s {ELSEWHERE}/site $site",
        holds="[ -L $site ]",
        repair=f"rm $site; mv {ELSEWHERE}/site $site; rmdir {ELSEWHERE}",
    ),
    Situation(
        "link to a directory beside the sites",
        prepare=f"mkdir {ELSEWHERE}\nprintf '# by hand\\n' > {ELSEWHERE}/more.conf\nln -s {ELSEWHERE} $enabled",
        repair=f"rm -r $enabled {ELSEWHERE}",
        phase={"apache": "commit", "nginx": "read"},
        message={"apache": "", "nginx": "already broken before this run: .*/failure\\S*: Is a directory"},
    ),
    Situation(
        "link to nothing beside the sites",
        prepare=f"ln -s {ELSEWHERE} $enabled",
        repair="rm $enabled",
        # Apache takes what matches a pattern only where it is there.
        phase={"apache": "commit", "nginx": "read"},
        message={"apache": "", "nginx": "already broken before this run: .*/failure\\S*: No such file or directory"},
    ),
    Situation(
        "site is a mount point",
        # A server in a mount namespace of its own, as Debian's Apache is, sees it from its start on.
        prepare=KEPT_SITE + "\ncp -a $site /run/failure-site\nmount --bind /run/failure-site $site\n"
        "systemctl restart $unit",
        holds="grep -q \" $site \" /proc/self/mountinfo",
        repair="umount $site\nrm /run/failure-site\nsystemctl restart $unit\n" + SITE_BACK,
    ),
    Situation(
        "site has a second hard link",
        prepare=f"mkdir {ELSEWHERE}\nln $site {ELSEWHERE}/site",
        holds=f"[ $site -ef {ELSEWHERE}/site ]",
        repair=f"rm -r {ELSEWHERE}",
    ),
    Situation(
        "site has a list of who may read it",
        prepare=KEPT_SITE + "\n" + python(
            f"os.setxattr(site, 'system.posix_acl_access', bytes.fromhex({ACL_VALUE!r}))\n"
            "os.setxattr(site, 'user.note', b'by hand')"
        ),
        holds=python("assert len(os.getxattr(site, 'system.posix_acl_access')) == 44\n"
                     "assert os.getxattr(site, 'user.note') == b'by hand'"),
        repair="rm $site\n" + SITE_BACK,
    ),
    Situation(
        # No container may set such a mark; what the system does then is done by strace, to the second path.
        "file that is immutable",
        strace=("-e", "trace=renameat2", "-e", "inject=renameat2:error=EPERM:when=2"),
        phase="swap",
        second="commit",
        message="/etc/.*: Operation not permitted; if lsattr shows that it is immutable, run chattr -i /etc/",
    ),
    Situation(
        "site that only root can read",
        prepare=KEPT_SITE + "\nchmod 600 $site",
        holds="[ $(stat -c %a $site) = 600 ]",
        repair=SITE_BACK,
    ),
)  # fmt: skip

FIRST = r"$(sed -nE 's/^\s*({})\s+([^;]+);?$/\2/p' $site | head -n 1)"
PAIR = (
    f"certificate={FIRST.format('SSLCertificateFile|ssl_certificate')}\n"
    f"key={FIRST.format('SSLCertificateKeyFile|ssl_certificate_key')}\n"
)
OWN_TLS = "  SSLEngine on\\n  SSLCertificateFile $certificate\\n  SSLCertificateKeyFile $key\\n</VirtualHost>\\n"
ALL_ADDRESSES = Situation(
    "virtual host for all addresses on a server that listens on one",
    prepare=PAIR + f'printf "Listen $address:8443\\n<VirtualHost *:8443>\\n{OWN_TLS}" > $foreign\n'
    "systemctl reload $unit\nsleep 2",
    repair="rm $foreign\nsystemctl reload $unit\nsleep 2",
    servers=("apache",),
)

# Requests to 127.0.0.1 are for this one, which refuses all of them before and after the change.
LOOPBACK = {
    "apache": f"<VirtualHost 127.0.0.1:443>\\n  ServerName loopback.test\\n  Redirect 503 /\\n{OWN_TLS}",
    "nginx": "server {\\n    listen 127.0.0.1:443 ssl;\\n    server_name loopback.test;\\n    return 503;\\n"
    "    ssl_certificate $certificate;\\n    ssl_certificate_key $key;\\n}\\n",
}
ON_LOOPBACK = Situation(
    "virtual host for the loopback beside those for all addresses",
    prepare={
        server: PAIR + f'printf "{text}" > $foreign\nsystemctl reload $unit\nsleep 2'
        for server, text in LOOPBACK.items()
    },
    repair="rm $foreign\nsystemctl reload $unit\nsleep 2",
    values={"backend": "dead"},
    phase="probe",
)

# Each with TLS of its own, so that each is adopted, started and compared.
MANY = {
    "apache": f"$addresses\\n  ServerName %s.many.test\\n{OWN_TLS}",
    "nginx": "server {\\n    $listens;\\n    server_name %s.many.test;\\n"
    "    ssl_certificate $certificate;\\n    ssl_certificate_key $key;\\n}\\n",
}
LONG = 1500  # seconds; on a machine that has time for it, a run takes some of them
# Apache accepts no connection while a reload reads its configuration, which is 8 seconds for 5,000 virtual hosts.
HOW_MANY = {"apache": 500, "nginx": 5000}
MANY_HOSTS = Situation(
    "many virtual hosts",
    prepare={
        server: PAIR + "addresses=$(grep -m 1 -o '<VirtualHost .*:443>' $site || true)\n"
        "listens=$(grep -m 1 -oE 'listen [^; ]*443 ssl' $site || true)\n"
        f'for number in $(seq {HOW_MANY[server]}); do printf "{text}" $number; done > $foreign\n'
        "systemctl reload $unit\nsleep 60"
        for server, text in MANY.items()
    },
    repair="rm $foreign\nsystemctl reload $unit\nsleep 60",
    families=("debian",),
    seconds=LONG,
)

# --- the package manager ---------------------------------------------------------------------------------------------

# A package of the site, as one of two versions: its script reloads or restarts the server.
PACKAGE = r"""
folder=/run/failure-package
package() {
    cat > $folder/DEBIAN/control <<END
Package: failure-site
Version: $1
Architecture: all
Maintainer: root <root@localhost>
Description: the site of this host
END
    printf '#!/bin/sh\n[ "$1" != configure ] || systemctl %s %s\n' $2 $unit > $folder/DEBIAN/postinst
    chmod 755 $folder/DEBIAN/postinst
    dpkg-deb --build $folder /run/failure-site-$1.deb >&2
}
mkdir -p $folder/DEBIAN $folder${site%/*}
cp -a $site $folder$site
echo $site > $folder/DEBIAN/conffiles
package 1 reload
"""
INSTALL = "dpkg --install {} /run/failure-site-{}.deb >&2"
FIRST_PACKAGE = KEPT_SITE + PACKAGE + INSTALL.format("", 1)
NO_PACKAGE = (
    "dpkg --purge failure-site >&2; rm -r /run/failure-package /run/failure-site-*.deb; rm -f $site.dpkg-*\n" + OWN_SITE
)


def packages(
    name: str, at: str, restarts: bool = False, edited: bool = False, force: str = "", **more: Any
) -> Situation:
    """dpkg installs a new version of the site's package at some time, with its lock and its script."""
    edit = f"echo '{EDIT}' >> $folder$site\n" if edited else ""
    verb = "restart" if restarts else "reload"
    return Situation(
        f"package manager: {name}",
        prepare=f"{FIRST_PACKAGE}\n{edit}package 2 {verb}",
        meanwhile=(at, INSTALL.format(force, 2)),
        repair=NO_PACKAGE,
        edited=edited,
        families=("debian",),
        stops=("apache", "nginx") if restarts else (),
        **more,
    )


PACKAGES = (
    packages("the server reads its configuration in the rehearsal", "rehearse"),
    packages("the server reads its configuration before the probes", "probe"),
    packages("the server is restarted in the rehearsal", "rehearse", restarts=True),
    packages("the server is restarted before the reload", "reload", restarts=True),
    packages("the server is restarted before the probes", "probe", restarts=True),
    packages("the site is replaced before the swap", "rehearse", edited=True, phase="swap", second="commit",
             message=CHANGED, stays=True),
    packages("the site is replaced before the reload", "reload", edited=True, force="--force-confnew",
             repeated=True, later="rm $site.dpkg-old", message=NAMED_AT_ONCE),
    Situation(
        "package manager: the server is reinstalled",
        meanwhile=("rehearse", "DEBIAN_FRONTEND=noninteractive apt-get -y -qq --reinstall install $package >&2"),
        families=("debian",),
        stops=("apache", "nginx"),
    ),
)  # fmt: skip

# --- the server ------------------------------------------------------------------------------------------------------

SECOND = "/run/failure/second"
LISTENS = "until ss -Hltn | grep -q ':{} '; do sleep 0.05; done\n"
START = {
    "apache": f"""
mpm=/usr/lib/apache2/modules/mod_mpm_event.so
cat > {SECOND}.conf <<END
ServerRoot /run/failure
ServerName second
PidFile {SECOND}.pid
ErrorLog {SECOND}.log
Listen 8081
LoadModule mpm_event_module $mpm
END
/usr/sbin/apache2 -f {SECOND}.conf
""",
    "nginx": f"""
cat > {SECOND}.conf <<END
pid {SECOND}.pid;
error_log {SECOND}.log;
events {{}}
http {{
    access_log off;
    server {{ listen 8081; }}
}}
END
/usr/sbin/nginx -c {SECOND}.conf
""",
}
OTHER = {"apache": "nginx", "nginx": "apache"}


def beside(name: str, starts: Mapping[str, str], before: str = "", after: str = "", **more: Any) -> Situation:
    """Another server runs beside the host's own, with another configuration: it stays as it is."""
    started = LISTENS.format(8081) + f"cat {SECOND}.pid > {SECOND}"
    ended = f"kill $(cat {SECOND})\nwhile [ -e /proc/$(cat {SECOND}) ]; do sleep 0.05; done\nrm -r /run/failure\n"
    return Situation(
        name,
        prepare={server: f"{before}mkdir /run/failure\n{START[other]}{started}" for server, other in starts.items()},
        holds=f"kill -0 $(cat {SECOND})\ncmp {SECOND} {SECOND}.pid\nss -Hltn | grep -q ':8081 '",
        repair=ended + after,
        families=("debian",),
        **more,
    )


MAIN = "$(systemctl show --property=MainPID --value $unit)"
# Debian's unit restarts Apache; nginx stays as it is.
DIES = f"kill -9 {MAIN}\nsleep 2"
SLOW = """
cat > /run/failure-slow.py <<'END'
import socket, ssl, sys, time
context = ssl._create_unverified_context()
held = [context.wrap_socket(socket.create_connection((sys.argv[1], 443))) for _ in range(8)]
for connection in held:
    connection.sendall(b"GET / HTTP/1.1\\r\\nHost: slow\\r\\n")
open("/run/failure-slow", "w").close()
time.sleep(600)
END
systemd-run --quiet --unit=failure-slow python3 /run/failure-slow.py $address
until [ -e /run/failure-slow ]; do sleep 0.05; done
"""
SERVERS = (
    Situation(
        "server was started by hand",
        prepare={
            "apache": "systemctl stop $unit\nset +u\n[ ! -e /etc/apache2/envvars ] || . /etc/apache2/envvars\n"
            "$binary -k start\nuntil [ -s $pid ]; do sleep 0.05; done\n" + LISTENS.format(443),
            "nginx": "systemctl stop $unit\n$binary\nuntil [ -s $pid ]; do sleep 0.05; done",
        },
        holds="! systemctl -q is-active $unit",
        repair="main=$(cat $pid)\nkill $main\nwhile [ -e /proc/$main ]; do sleep 0.05; done\nsystemctl start $unit",
        families=("debian", "redhat"),
    ),
    beside("another instance of the server", {server: server for server in START}),
    beside(
        "another instance while the unit is stopped",
        {server: server for server in START},
        before="systemctl stop $unit\n",
        after="systemctl start $unit",
        phase={"apache": "read", "nginx": "rehearse"},
        message=f"was started with the configuration {SECOND}.conf, and not with .*; .* another instance, start UNIT",
        stops=("apache", "nginx"),
    ),
    beside("both servers run", OTHER, options={"server": "auto"}),
    Situation(
        "server dies before the reload",
        meanwhile=("reload", DIES),
        phase={"apache": "commit", "nginx": "reload"},
        second={"apache": "commit", "nginx": "read"},
        message={"apache": "", "nginx": "UNIT was stopped during the change; it stays stopped"},
        repair="systemctl start $unit",
        families=("debian",),
        stops=("apache", "nginx"),
    ),
    Situation(
        "server dies before the probes",
        meanwhile=("probe", DIES),
        phase={"apache": "commit", "nginx": "reload"},
        second="commit",
        message={"apache": "", "nginx": "the main process ended at the reload"},
        families=("debian",),
        stops=("apache", "nginx"),
    ),
    Situation(
        "requests that take longer than the reload",
        prepare=SLOW,
        repair="systemctl stop failure-slow\nrm /run/failure-slow /run/failure-slow.py",
        seconds=100,
    ),
)

# --- a local user ----------------------------------------------------------------------------------------------------

THEIRS = "/srv/eve"
LOG = f"{THEIRS}/error.log"
THEIR_SITE = {
    "apache": f"Listen 8444\\n<VirtualHost *:8444>\\n  ServerName eve.test\\n  ErrorLog {LOG}\\n</VirtualHost>\\n",
    "nginx": f"server {{\\n    listen 8444;\\n    server_name eve.test;\\n    error_log {LOG};\\n}}\\n",
}
SIGNALLED = "_webserver.server._is_there"  # the first that a run does after the signal to reload
AS_EVE = "runuser -u nobody -- sh -euc '{}'"
NOT_READ = f"not read: {LOG}: "


def exchanged(name: str, how: str, at: str = SIGNALLED, before: str = "", after: str = "", **more: Any) -> Situation:
    """The owner of a directory with an error log of the server exchanges it in the middle of a change."""
    return Situation(
        f"error log becomes {name}",
        prepare={
            server: f"mkdir {THEIRS}\nchown nobody {THEIRS}\nprintf '{text}' > ${{foreign%.conf}}-eve.conf\n"
            "systemctl reload $unit\nsleep 2\n" + before
            for server, text in THEIR_SITE.items()
        },
        meanwhile=(at, AS_EVE.format(f"mv {LOG} {THEIRS}/mine\n{how}")),
        repair=f"rm -rf {THEIRS} ${{foreign%.conf}}-eve.conf\nsystemctl reload $unit\nsleep 2\n{after}",
        seconds=100,
        **more,
    )


def refused(name: str, how: str, reason: str, **more: Any) -> Situation:
    """The same right after the signal to read what the server's own test of its configuration finds good."""
    return exchanged(
        name,
        how,
        before=TAKEN["prepare"],
        after=TAKEN["repair"],
        values=TAKEN["values"],
        options={"rehearse": "off"},
        phase="reload",
        message=f"(?si)address already in use.*{reason}",
        stops=("apache",),
        **more,
    )


LOCAL_USERS = (
    refused("a FIFO", f"mkfifo {LOG}", f"{NOT_READ}not a regular file"),
    refused("a link", f"ln -s {THEIRS}/other {LOG}; touch {THEIRS}/other", f"{NOT_READ}is a symbolic link where"),
    refused("ten gigabytes", f"truncate -s 10G {LOG}", ""),
    # With a directory in place of a log Apache does not start.
    refused("a directory", f"mkdir {LOG}", f"{NOT_READ}Is a directory", servers=("nginx",)),
    exchanged("a FIFO, and a backend does not respond", f"mkfifo {LOG}", "probe", values={"backend": "dead"},
              phase="probe", message="status 200 before, 50[23] now"),
    # What is rehearsed would wait for a reader.
    exchanged("a FIFO before the reload", f"mkfifo {LOG}", "reload", options={"rehearse": "off"},
              later=f"rm {LOG}\nmv {THEIRS}/mine {LOG}"),
    Situation(
        "process of the run is killed",
        meanwhile=("reload", f"kill -9 $(sed -n 's/^pid \\([0-9]*\\).*/\\1/p' {LOCK})"),
        phase="reload",
        second="commit",
        message="everything is back as it was: the process of the run was killed in the step reload",
    ),
)  # fmt: skip

SITUATIONS = (
    *CLOCK, *EDITORS, *CONFIGURATIONS, ALL_ADDRESSES, ON_LOOPBACK, MANY_HOSTS, *PACKAGES, *SERVERS, *LOCAL_USERS,
)  # fmt: skip


# --- the confirmation ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confirmation:
    """A change that waits for its confirmation, and what comes of it."""

    name: str
    seconds: int  # that it waits
    clock: tuple[str, int] | None = None  # when() the clock of the change jumps, by how many seconds
    confirms: Mapping[str, Any] | None = None  # how the run that confirms it is disturbed; None: there is none
    kept: bool = False  # whether the change stays


BEGINS = "_transaction.engine._on_signals"  # the first that a run does, before it has the lock
ROLLED_BACK = (
    "until grep -q undone /var/lib/kopano-hardening/transactions/*/record.json; do sleep 0.1; done\n"
    f"while [ -e {LOCK} ]; do sleep 0.1; done"
)
WAITS = 300  # seconds; the confirmation of a busy machine needs some of them
CONFIRMATIONS = (
    *(
        Confirmation(
            f"clock jumps {way} before the confirmation", WAITS, confirms={"clock": [BEGINS, seconds]}, kept=True
        )
        for way, seconds in (("ahead", YEARS), ("back", -YEARS))
    ),
    *(
        Confirmation(f"clock is years {way} when the change begins to wait", 5, clock=("read", seconds))
        for way, seconds in (("ahead", YEARS), ("behind", -YEARS))
    ),
    Confirmation(
        "connection comes back after the rollback", 5, confirms={"meanwhile": [BEGINS, ROLLED_BACK]}
    ),
    Confirmation(
        "confirmation that ends after the time for it", 40,
        confirms={"meanwhile": ["commit", "sleep 42"]}, kept=True,
    ),
)  # fmt: skip

# Met where the faults are spread over the hosts, too. All of them take too long for that.
SPREAD = {
    "clock jumps ahead 10 years at rehearse",
    "clock jumps back 10 years at commit",
    "edit in place: before the swap",
    "edit by a new file: in the swap",
    "edit in place: before the reload",
    "edit by a new file: after the commit",
    "include cycle",
    "bytes that are not UTF-8",
    "site is a mount point",
    "site has a second hard link",
    "package manager: the site is replaced before the swap",
    "another instance of the server",
    "server dies before the probes",
    "requests that take longer than the reload",
    "error log becomes a FIFO",
    "error log becomes a FIFO before the reload",
    "process of the run is killed",
    "clock is years ahead when the change begins to wait",
    "connection comes back after the rollback",
}
assert {case.name for case in (*SITUATIONS, *CONFIRMATIONS)} >= SPREAD
