# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attack, and runs of the collection while it goes on, in every state that the real server can be in.

The user's processes have an environment that makes the loader of every program write a file, and a configuration that
runs a shell. Whatever of it root runs leaves a file of root's, or the number of root's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import PLACE, PROJECT, REPORTS, Host, complete, inventory
from faults import LOCK, change

FOLDER = "/var/tmp/attack"
TRACE = f"{PLACE}/trace"
PLAY_SECONDS = 900  # a run that hangs, on a machine ten times slower
AS_USER = "setpriv --reuid=65534 --regid=65534 --clear-groups"
OTHER = {"apache": "nginx", "nginx": "apache"}
UNIT = {"apache": "apache2", "nginx": "nginx"}

PREPARE = f"""
install -d -o 65534 -g 65534 {FOLDER}
cat > {FOLDER}/a.conf <<END
ServerName attack.test
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
PidFile {FOLDER}/apache.pid
Mutex file:{FOLDER} default
Listen 127.0.0.1:8081
LogLevel notice
ErrorLog {FOLDER}/apache.log
CustomLog "|/bin/sh -c 'id -u >> {FOLDER}/users; exec cat > /dev/null'" "%h"
END
cat > {FOLDER}/n.conf <<END
pid {FOLDER}/nginx.pid;
error_log {FOLDER}/nginx.log notice;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {FOLDER}/t1; proxy_temp_path {FOLDER}/t2; fastcgi_temp_path {FOLDER}/t3;
  uwsgi_temp_path {FOLDER}/t4; scgi_temp_path {FOLDER}/t5;
  server {{ listen 127.0.0.1:8082; }}
}}
END
chown 65534:65534 {FOLDER}/*
cd {FOLDER}
theirs() {{ {AS_USER} env LD_DEBUG=libs LD_DEBUG_OUTPUT={FOLDER}/loader "$@" > /dev/null 2>&1 < /dev/null; }}
theirs apache2 -f {FOLDER}/a.conf
theirs nginx -c {FOLDER}/n.conf -e {FOLDER}/nginx.log
"""
# The lock as older versions made it, and a user who holds it.
HOLD = f"""
[ -e {LOCK} ] || install -m 0644 /dev/null {LOCK}
cd /
setsid {AS_USER} flock --no-fork {LOCK} sleep 300 > /dev/null 2>&1 < /dev/null &
echo $! > {PLACE}/holder
until ! flock -n {LOCK} true; do sleep 0.02; done
"""
LET_GO = f"kill $(cat {PLACE}/holder)"
EVIDENCE = f"""
echo "root's: $(find {FOLDER} -user root -printf '%f ')"
echo "ran as: $(sort -u {FOLDER}/users | tr '\\n' ' ')"
echo "signalled: $(grep -hE 'SIGHUP|SIGUSR|SIGQUIT|Graceful|shutting down' {FOLDER}/*.log | tr '\\n' ' ')"
echo "goes on: $(for name in apache nginx; do ps -o user= -p "$(cat {FOLDER}/$name.pid)"; done | tr '\\n' ' ')"
echo "traced: $(grep -sh {FOLDER} {TRACE} | head -3)"
rm -f {TRACE}
"""
INFO = f"""
import json, sys
sys.path.insert(0, "{PLACE}")
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info
print(json.dumps(_webserver_info.run(dict(server="auto", clients=False))))
"""

# Shell for each state of the real server: how it comes about, and how it ends.
START = {
    "running": "systemctl start {unit}",
    # As an administrator does in a shell, with what that shell has in its environment.
    "started by hand": "systemctl stop {unit}; MINE=1 APACHE_STARTED_BY_SYSTEMD=true setsid {by_hand}",
    "stopped": "systemctl stop {unit}",
    "both run": "{other_listens}; systemctl restart {other_unit}",
}
END = {
    "running": ":",
    "started by hand": "kill $(cat {pid_file}); while [ -e {pid_file} ]; do sleep 0.05; done; systemctl start {unit}",
    "stopped": "systemctl start {unit}",
    "both run": "systemctl stop {other_unit}",
}
BY_HAND = {"apache": "apache2ctl start", "nginx": "nginx"}
PID_FILE = {"apache": "/run/apache2/apache2.pid", "nginx": "/run/nginx.pid"}
# A port of its own for a server that is there besides, without TLS.
LISTENS = {
    "apache": "rm -f /etc/apache2/sites-enabled/*; echo Listen 8093 > /etc/apache2/ports.conf",
    "nginx": "rm -f /etc/nginx/sites-enabled/*; echo 'server { listen 8093; }' > /etc/nginx/conf.d/other.conf",
}
# A unit whose server is not root's at all.
OF_USER = """
mkdir -p /etc/systemd/system/nginx.service.d
cat > /etc/systemd/system/nginx.service.d/user.conf <<END
[Service]
Type=simple
PIDFile=
User=www-data
AmbientCapabilities=CAP_NET_BIND_SERVICE
RuntimeDirectory=nginx-own
ExecStartPre=
ExecStart=
ExecStart=/usr/sbin/nginx -g 'daemon off;'
Environment="WITH_SPACE=a b"
END
for key in $(nginx -T 2>/dev/null | sed -n 's/^ *ssl_certificate_key *\\(.*\\);/\\1/p'); do
    chown www-data "$key"; chmod o+x "$(dirname "$key")"
done
chown -R www-data /var/log/nginx /var/lib/nginx
sed -i 's|^pid .*|pid /run/nginx-own/pid;|' /etc/nginx/nginx.conf
systemctl daemon-reload
systemctl restart nginx
until ss -Hltn | grep -q :443; do systemctl is-active nginx; sleep 0.05; done
"""


@dataclass
class Observation:
    """What was seen in one state on one host."""

    running: dict[str, bool] = field(default_factory=dict)  # as frontend_info has it, by server
    as_user: dict[str, bool] = field(default_factory=dict)  # the same, run without root's rights
    results: list[dict[str, Any]] = field(default_factory=list)  # of the module
    changed: list[str] = field(default_factory=list)  # paths that are not as they were before the runs
    evidence: dict[str, str] = field(default_factory=dict)
    play: str = ""  # how plays ended, where they do not end well
    policies: list[str] = field(default_factory=list)  # where each play has left a policy
    error: str = ""  # why the experiment itself did not work


def filled(text: str, host: Host) -> str:
    other = OTHER[host.server]
    for name, value in {
        "unit": UNIT[host.server],
        "by_hand": BY_HAND[host.server],
        "pid_file": PID_FILE[host.server],
        "other_unit": UNIT[other],
        "other_listens": LISTENS[other],
    }.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def running(host: Host, prefix: str = "") -> dict[str, bool]:
    info = json.loads(host.shell(f"cd /; {prefix} python3 -B - <<'END'\n{INFO}END\n"))
    return {server["server"]: server["running"] for server in info["servers"]}


def module(host: Host, **options: Any) -> dict[str, Any]:
    """The module, all of whose calls that open or run a file are traced."""
    tracing = ["-e", "trace=execve,open,openat", "-A", "-o", TRACE]
    result: dict[str, Any] = host.call("module", params=complete(options), strace=tracing)
    return result


def module_held(host: Host, **options: Any) -> dict[str, Any]:
    """The same while a user holds the lock, and where the module has to find out which server is meant."""
    host.shell(HOLD)
    result = module(host, **{**options, "server": "auto"})
    host.shell(LET_GO)
    return result


def observe(host: Host, state: str) -> Observation:
    seen = Observation()
    try:
        host.shell(filled(START[state], host))
        host.call("mark", name="state")
        seen.running, seen.as_user = running(host), running(host, AS_USER)
        good = change(host, {})
        seen.results.append(module(host, **{**good, "server": host.server}))
        if state == "stopped":
            seen.results.append(module_held(host, **good))
        else:
            seen.results.append(module_held(host, probes=[{"path": "/webapp/"}], rehearse="off"))
            seen.results.append(module_held(host, restore="latest"))
        seen.changed = [path for path in host.call("compare", name="state") if path != LOCK]
        lines = host.shell(EVIDENCE).splitlines()
        seen.evidence = dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in lines)
    except Exception:
        seen.error = traceback.format_exc()
    return seen


def play(hosts: list[Host], playbook: str, *arguments: str) -> str:
    """How a playbook ended on these hosts; empty if it ended well."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "--inventory", inventory(), "--limit",
         ",".join(host.name for host in hosts), *arguments, PROJECT / "playbooks" / playbook],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=PLAY_SECONDS, check=False,
        env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout[-4000:] + done.stderr[-2000:]


def through_ansible(hosts: list[Host]) -> dict[str, Observation]:
    """The playbooks, which choose the server themselves, with both running: hardened and taken back in both ways."""
    found = {host.name: Observation() for host in hosts}

    def on_each(work: Callable[[Host], Any]) -> dict[str, Any]:
        with ThreadPoolExecutor(len(hosts)) as pool:
            return dict(zip(found, pool.map(work, hosts), strict=True))

    on_each(lambda host: host.shell(filled(START["both run"], host)))
    on_each(lambda host: host.call("mark", name="plays"))
    frontend = ("harden.yml", "--tags", "frontend", "--extra-vars", "frontend_confirm_timeout=0")
    for words in (
        frontend,
        ("restore.yml", "--extra-vars", "restore_transaction=original"),
        frontend,
        (*frontend, "--extra-vars", "frontend_state=absent"),
    ):
        on_each(lambda host: host.shell(HOLD))
        ended = play(hosts, *words)
        on_each(lambda host: host.shell(LET_GO))
        policies = on_each(lambda host: host.shell("ls -d /etc/*/kopano-hardening || :").split())
        for name, seen in found.items():
            seen.play += ended
            seen.policies.append(" ".join(policies[name]))
    changed = on_each(lambda host: host.call("compare", name="plays"))
    evidence = on_each(lambda host: host.shell(EVIDENCE).splitlines())
    on_each(lambda host: host.shell(filled(END["both run"], host)))
    for name, seen in found.items():
        seen.changed = [path for path in changed[name] if path != LOCK]
        seen.evidence = dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in evidence[name])
    return found


PLAYS = "both run, by plays"
OWN_USER = "its own user"


def with_own_user(host: Host) -> Observation:
    """A unit that does not run as root: its main process counts, because systemd says that it is."""
    seen = Observation()
    try:
        host.shell(OF_USER)
        seen.running = running(host)
        seen.results = [module_held(host, **change(host, {})), module_held(host, restore="latest")]
    except Exception:
        seen.error = traceback.format_exc()
    return seen


def run_all(hosts: list[Host]) -> dict[tuple[str, str], Observation]:
    """Everything on all hosts, side by side."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, str], Observation] = {}

    def on_one(host: Host) -> None:
        host.deploy()
        host.shell(PREPARE)
        for state in START:
            found[state, host.name] = observe(host, state)
            host.shell(filled(END[state], host))

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(on_one, hosts))
    found.update({(PLAYS, name): seen for name, seen in through_ansible(hosts).items()})
    for host in hosts:
        if host.server == "nginx" and not host.unprivileged:
            found[OWN_USER, host.name] = with_own_user(host)
    return found
