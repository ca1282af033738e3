# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repeatedly hardens and restores a host under requests, and measures it after each cycle.

Before that, the control: the same server under the same requests gets the very same two configurations, copied in place
with a plain reload each. What it grows there is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import PLACE, PROJECT, REPORTS, Client, Host, complete, inventory

ROLE = PROJECT / "tests" / "benchmark" / "playbooks" / "role.yml"
RESTORE = PROJECT / "playbooks" / "restore.yml"
CYCLES = int(os.environ.get("CYCLES", "200"))
CONTROL_CYCLES = max(12, CYCLES // 4)
THROUGH_ANSIBLE = 50  # each cycle of this number; the others call what the module calls
# Seconds, more than all of this takes, since it ends with its input; requests a second, at a time.
CLIENT_LIMITS = (6 * 3600, 20, 8)
CONFIRM_SECONDS = 120  # as harden.yml has it
PLAY_SECONDS = 900  # a run that hangs, on a machine ten times slower
SETTLING = 0.5  # seconds that workers of before a reload have for their last response
MANY_PROBLEMS = 5  # more of them tell nothing new

Figures = dict[str, float | None]


@dataclass
class Seen:
    """What was seen of a host."""

    control: list[Figures] = field(default_factory=list)
    cycles: list[Figures] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # where something was not as it has to be
    requests: int = 0
    lost: list[tuple[float, str]] = field(default_factory=list)  # when it began, and what was wrong
    lost_in_control: int = 0
    seconds: float = 0.0  # of the cycles


class Soak:
    """One host and what its states have to be."""

    def __init__(self, host: Host, report: Callable[[str], None]) -> None:
        self.host = host
        self.report = report
        self.seen = Seen()
        self.options: dict[str, Any] = {}
        self.restoring: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}  # by state

    def run(self) -> Seen:
        try:
            self._prepare()
            _requests, lost = self._under_requests("control", self._control)
            self.seen.lost_in_control = len(lost)
            started = time.monotonic()
            requests, self.seen.lost = self._under_requests("soak", self._cycles)
            self.seen.requests, self.seen.seconds = len(requests), time.monotonic() - started
        except Exception:
            self.seen.problems.append(traceback.format_exc())
        return self.seen

    # --- before the cycles ---

    def _prepare(self) -> None:
        """Harden by the role and restore, to have both states and the options that the role comes to."""
        host = self.host
        host.deploy()
        host.shell(f"python3 -m compileall -q {PLACE}")  # as that would take a quarter of each cycle
        self._remember("first")
        self._harden_by_ansible()
        self._remember("hardened")
        # A run that has nothing to change leaves its options, for the next one to compare.
        self._harden_by_ansible()
        kept = json.loads(host.shell("cat /var/lib/kopano-hardening/unchanged.json"))
        self.options = complete({**kept, "confirm_timeout": CONFIRM_SECONDS})
        self.restoring = complete({"restore": "latest"})
        self._restore_by_ansible()
        self._check("first", "the first restore")

    def _remember(self, state: str) -> None:
        self.host.call("mark", name=state)
        self.answers[state] = self.host.answers()
        self.host.shell(f"rm -rf {PLACE}/{state}; cp -a {self.host.layout.config_dir} {PLACE}/{state}")

    def _check(self, state: str, when: str) -> None:
        """Note what is not as in this state."""
        self._check_paths(self.host.call("compare", name=state), state, when)
        self._check_answers(state, when)

    def _check_paths(self, changed: list[str], state: str, when: str) -> None:
        if changed:
            self._note(f"after {when} these are not as {state}: {', '.join(changed)}")

    def _check_answers(self, state: str, when: str) -> None:
        answers = self.host.answers()
        different = [request for request, answer in answers.items() if answer != self.answers[state][request]]
        if different:
            self._note(f"after {when} these responses are not as {state}: {', '.join(different)}")

    def _note(self, problem: str) -> None:
        self.seen.problems.append(problem)
        self.report(f"{self.host.name}: {problem}")
        if len(self.seen.problems) > MANY_PROBLEMS:
            raise RuntimeError("too many problems")

    def _under_requests(self, name: str, action: Callable[[], None]) -> tuple[list[Any], list[tuple[float, str]]]:
        """Do something while the client sends requests to a server that was just started; requests and lost ones."""
        self.host.shell(f"systemctl restart {self.host.layout.unit}")
        self.host.wait("grep -qE ':01BB .* 0A ' /proc/net/tcp /proc/net/tcp6")
        client, started = Client(self.host, name, CLIENT_LIMITS), time.time()
        try:
            action()
        finally:
            client.stop()
        requests = client.requests(started - 1, time.time())
        return requests, [(begin, wrong) for begin, _end, wrong in requests if wrong]

    # --- the control ---

    def _control(self) -> None:
        for number in range(1, CONTROL_CYCLES + 1):
            for state in ("hardened", "first"):
                self.host.shell(
                    f"cd {self.host.layout.config_dir}; find . -mindepth 1 -delete; cp -a {PLACE}/{state}/. .;"
                    f"systemctl reload {self.host.layout.unit}; sleep {SETTLING}"
                )
            self.seen.control.append(self.host.call("restored", unit=self.host.layout.unit)["figures"])
            self._report("control", number, CONTROL_CYCLES)

    # --- the cycles ---

    def _cycles(self) -> None:
        for number in range(1, CYCLES + 1):
            times = self._by_ansible(number) if number % THROUGH_ANSIBLE == 0 else self._by_engine(number)
            time.sleep(SETTLING)
            self.seen.cycles.append({**times, **self._restored(number)})
            self._report("cycle", number, CYCLES)

    def _restored(self, number: int) -> Figures:
        """Note what is not as before the first cycle; what is measured then."""
        when = f"cycle {number}, restore"
        self._check_answers("first", when)
        found = self.host.call("restored", unit=self.host.layout.unit)
        self._check_paths(found["changed"], "first", when)
        if found["strays"] or {*found["journal"]} != {"committed"}:
            self._note(f"after {when}: processes {found['strays']} are left, transactions are {found['journal']}")
        return dict(found["figures"])

    def _report(self, what: str, number: int, count: int) -> None:
        if number % 10 == 0 or number == count:
            self.report(f"{self.host.name}: {what} {number} of {count}")
            (REPORTS / f"soak-{self.host.name}.json").write_text(json.dumps(asdict(self.seen)))

    def _by_engine(self, number: int) -> Figures:
        """A cycle as the modules do it on the host."""
        done = self.host.call("cycle", options=self.options, confirm=complete({}), restore=self.restoring)
        for run, step in zip(done["runs"], ("harden", "confirm", "restore"), strict=True):
            if not run.get("changed") or run["warnings"] or run["recovered"]:
                self._note(f"cycle {number}, {step}: {run.get('msg')}, {run.get('warnings')}")
        self._check_paths(done["hardened"], "hardened", f"cycle {number}, harden")
        made, confirmed, restored = done["runs"]
        return {
            "harden_seconds": made["seconds"] + confirmed["seconds"],
            "restore_seconds": restored["seconds"],
            "processor_seconds": sum(run["processor"] for run in done["runs"]),
        }

    def _by_ansible(self, number: int) -> Figures:
        """A cycle as an administrator does it. Its times are those of Ansible."""
        self._harden_by_ansible()
        self._check("hardened", f"cycle {number}, harden by Ansible")
        self._restore_by_ansible()
        return dict.fromkeys(("harden_seconds", "restore_seconds", "processor_seconds"))

    def _harden_by_ansible(self) -> None:
        self._play(ROLE, "--extra-vars", f"frontend_confirm_timeout={CONFIRM_SECONDS}")

    def _restore_by_ansible(self) -> None:
        self._play(RESTORE)

    def _play(self, *arguments: Any) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "--inventory", inventory(),
             "--limit", self.host.name, *arguments],
            env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=PLAY_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
