# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab hosts as the tests of this scenario see them, and the client that keeps sending requests to each."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent.parent
CLIENT = PROJECT / "molecule" / "common" / "client.py"
REPORTS = PROJECT / ".cache" / "reports"
sys.path[:0] = [str(PROJECT / place) for place in (".cache/collections", "lab", "molecule/common")]

import over_ssh  # noqa: E402

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options  # noqa: E402
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client  # noqa: E402
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import LAYOUTS, Layout  # noqa: E402
from kopano_lab import model  # noqa: E402

PLACE = "/usr/local/lib/kopano-failure"  # on the host
SECONDS = 3600  # for any one command on a host, which can be several long runs of the module
KEPT: dict[str, Any] = {"capture_output": True, "text": True, "timeout": SECONDS}
ON_ALL = os.environ.get("FAULTS") == "all"  # every case on every host
# Of the client: seconds, more than all of this takes, since it ends with its input; requests a second and at a time;
# how many long polls it holds, and how many seconds each of them lasts.
CLIENT_LIMITS = (12 * 3600, 20, 4, 50, 20) if ON_ALL else (4 * 3600, 5, 2, 0, 20)
# A pool of PHP has five workers, and each poll needs one: as on a host with so many phones, it may have more. A worker
# learns nothing of a client that is gone: where a server is stopped or restarted, those of the polls that end with it
# stay until the polls would have ended, and the same clients need as many again. They come all at once, so workers wait
# for them: with `ondemand`, FPM overlooks connections that come while it starts one, until another one comes.
MORE_WORKERS = """
for folder in /etc/php/*/fpm/pool.d /etc/php-fpm.d /etc/php8/fpm/php-fpm.d; do
    [ -e $folder/www.conf ] || continue
    cat >$folder/zz-polls.conf <<END
[www]
pm = dynamic
pm.max_children = {most}
pm.start_servers = {spare}
pm.min_spare_servers = {spare}
pm.max_spare_servers = {most}
END
done
for unit in $(systemctl list-units --plain --no-legend 'php*fpm*.service' | cut -d ' ' -f 1); do
    systemctl restart $unit
done
"""
# Apache keeps a process for each long request after a reload (MPM prefork), or for 25 of them, and has few places for
# such processes: when they are taken, it accepts no connection (AH03490). With prefork it also starts new ones slowly,
# first one in a second, and requests wait for them.
MORE_PROCESSES = """
cat >{folder}/zz-polls.conf <<END
ServerLimit {most}
<IfModule mpm_prefork_module>
MaxRequestWorkers {most}
StartServers {polls}
MinSpareServers {polls}
MaxSpareServers {most}
</IfModule>
END
systemctl restart {unit}
"""
RELOADS = 8  # of one case, while the same long requests are held
RESTARTS = 4  # of one case or two that follow each other, within the seconds that a long request lasts
PATIENCE = 60  # seconds, for what has to happen by itself
# Requested before and after each fault: a static page, a page of PHP, one that needs credentials, one that is absent.
PATHS = ("/", "/webapp/", "/webapp/client/style.css", "/Microsoft-Server-ActiveSync", "/no-such-page")
# Headers that differ from response to response.
VOLATILE = ("date", "set-cookie", "expires", "last-modified", "etag")


def inventory() -> Path:
    """The inventory of the scenario's hosts."""
    return PROJECT / ".cache" / "lab" / lab_set() / "inventory.yml"


def lab_set() -> str:
    """The set of the lab's hosts: Molecule's, or another one that LAB_SET names."""
    return os.environ.get("LAB_SET", f"molecule-{os.environ.get('MOLECULE_SCENARIO_NAME', 'failure')}")


@dataclass
class Host:
    """One host of the lab, reached over ssh as Ansible reaches it."""

    name: str
    position: int  # its place among all of the lab's
    server: str
    address: str
    lab_name: str
    ssh: list[str]
    unprivileged: bool
    layout: Layout
    texts: dict[str, str] = field(default_factory=dict)

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run a script there; its output. Raises CalledProcessError, whose text has the script's own output."""
        done = subprocess.run([*self.ssh, "sh -eu"], input=script, check=False, **KEPT)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: exit status {done.returncode}: {done.stderr.strip()}\n{script}")
        return done.stdout

    def call(self, action: str, **arguments: Any) -> Any:
        """An action of remote.py."""
        command = [*self.ssh, f"python3 {PLACE}/remote.py {action}"]
        done = subprocess.run(command, input=json.dumps(arguments), check=False, **KEPT)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {action}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def deploy(self) -> None:
        """Copy remote.py and what the module runs with, compiled once for hundreds of runs, and read the files that the
        changes start from."""
        package = "ansible_collections/kopano/hardening/plugins/module_utils"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("remote.py", "injected.py", "killed-python"):
                archive.add(HERE / name, name)
            modules = PROJECT / "plugins" / "module_utils"
            for path in sorted(modules.rglob("*.py")):
                archive.add(path, f"{package}/{path.relative_to(modules)}")
        compiled = f"python3 -m compileall -q {PLACE}"
        command = [*self.ssh, f"mkdir -p {PLACE} && tar -C {PLACE} -x --no-same-owner && {compiled}"]
        subprocess.run(command, input=buffer.getvalue(), check=True, timeout=SECONDS)

    def take_polls(self, polls: int) -> None:
        """Let the host hold so many long requests, beside what it has to respond to otherwise."""
        if polls:
            self.shell(MORE_WORKERS.format(most=(1 + RESTARTS) * polls + 20, spare=polls + 20))
            most, folder = RELOADS * polls + 100, self.layout.confs.enabled_dir
            if self.server == "apache":
                self.shell(MORE_PROCESSES.format(polls=polls, most=most, folder=folder, unit=self.layout.unit))

    def wait(self, condition: str) -> str:
        """Wait until a command succeeds there; its output. Raises RuntimeError after PATIENCE."""
        return self.shell(f"for i in $(seq {PATIENCE * 50}); do {condition} && exit; sleep 0.02; done; exit 1")

    def read(self, path: str) -> str:
        if path not in self.texts:
            self.texts[path] = self.shell(f"cat {shlex.quote(path)}")
        return self.texts[path]

    def answers(self) -> dict[str, Any]:
        """How the server responds to a client outside, by request, without what differs each time."""
        targets = [
            {"address": self.address, "port": 443, "server_name": name, "path": path}
            for name in (None, self.lab_name)
            for path in PATHS
        ]
        targets.append({"address": self.address, "port": 80, "server_name": self.lab_name, "path": "/", "tls": False})
        found = {}
        for target, answer in zip(targets, _client.query_all(targets, 20.0), strict=True):
            question = f"{target['server_name'] or ''}:{target['port']}{target['path']}"
            headers = {key: value for key, value in answer["headers"].items() if key not in VOLATILE}
            kept = {key: answer[key] for key in ("status", "protocol", "cipher", "certificate", "location", "error")}
            found[question] = {**kept, "headers": headers}
        return found


def hosts() -> list[Host]:
    """All hosts of the inventory, or those that LAB_HOSTS names."""
    content = yaml.safe_load(inventory().read_text())["all"]
    known = model.hosts()
    wanted = os.environ.get("LAB_HOSTS", "").split()
    found = []
    for name, values in content["hosts"].items():
        if wanted and name not in wanted:
            continue
        ssh = list(over_ssh.command(inventory(), name))
        entry = known[name]
        layout = next(one for one in LAYOUTS if (one.server, one.family) == (entry.server, entry.family.name))
        address, lab_name = values["ansible_host"], values["lab_name"]
        found.append(Host(name, entry.position, entry.server, address, lab_name, ssh, entry.unprivileged, layout))
    return found


def complete(params: dict[str, Any]) -> dict[str, Any]:
    """The module's options with their defaults, as Ansible would hand them to the module. Raises ValueError."""
    validated = ArgumentSpecValidator(_transaction_options.ARGUMENT_SPEC).validate(params)
    if validated.error_messages:
        raise ValueError("; ".join(validated.error_messages))
    return dict(validated.validated_parameters)


class Client:
    """The client that never stops sending requests to one host, and its log."""

    def __init__(self, host: Host, name: str = "failure", limits: tuple[int, int, int] = CLIENT_LIMITS) -> None:
        """name: of whose tests it is; limits: as CLIENT_LIMITS."""
        REPORTS.mkdir(parents=True, exist_ok=True)
        # Two sets of the lab can be tried at the same time.
        self.log = REPORTS / f"{name}-client-{lab_set()}-{host.name}.log"
        self._process = subprocess.Popen(
            [sys.executable, str(CLIENT), host.address, host.lab_name, str(self.log), *map(str, limits)],
            stdin=subprocess.PIPE,
        )

    def stop(self) -> None:
        self._process.communicate(timeout=60)

    def requests(self, started: float, ended: float) -> list[tuple[float, float, str]]:
        """Of each request of that time, in order: when it began and ended (seconds since the epoch), what was wrong."""
        return [entry for entry in logged(self.log) if entry[0] < ended and entry[1] > started]

    def polls(self, started: float, ended: float) -> list[tuple[float, float, str]]:
        """The same of the long requests that ended in that time: then they were lost, if they were."""
        return [entry for entry in logged(Path(f"{self.log}.polls")) if started < entry[1] <= ended]


def logged(path: Path) -> list[tuple[float, float, str]]:
    with path.open() as lines:
        found = [re.match(r"(\S+) (\S+) (.*)", line) for line in lines]
    return sorted((float(line[1]), float(line[1]) + float(line[2]) / 1000, line[3]) for line in found if line)


def reporter(config: Any) -> Callable[[str], None]:
    """What prints a line at once, with the seconds since now, while pytest captures what its tests print."""
    capture, started = config.pluginmanager.getplugin("capturemanager"), time.monotonic()

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"{time.monotonic() - started:7.1f} {line}", flush=True)

    return report


def unwatched(requests: list[tuple[float, float, str]], started: float, ended: float) -> float:
    """The longest time, in seconds, without a request under way."""
    longest, covered = 0.0, started
    for begin, end, _wrong in [*requests, (ended, ended, "")]:
        longest = max(longest, begin - covered)
        covered = max(covered, end)
    return longest
