# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stops a run somewhere, cuts the host's power, and records in what state the host comes up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench import PLACE, PROJECT, Host, lab_set
from experiments import params, stopping
from faults import PHASES, inject
from spread import chosen

from kopano_lab import model

BOOT_SECONDS = 600  # on a busy machine, with other hosts that boot at the same time
CONFIRM_SECONDS = 600  # longer than all of this takes: what rolls back is the boot
UNIT = "kopano-hardening-rollback.service"
STRACE = "/run/strace"  # what strace writes: the run itself is only stopped when it says so
SERVICE = f"/etc/systemd/system/{UNIT}"
ENABLED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"


@dataclass(frozen=True)
class Case:
    """Where the power is cut, and what has to come of it.

    strace: when the run is stopped; None: it comes to its end.
    """

    name: str
    strace: list[str] | None
    journal: list[str]  # the states of the transactions after the boot
    recovered: str | None  # what the run after the boot still has to do with them
    rehearse: str = "auto"
    confirmed: bool = False
    with_confirmation: tuple[bool, ...] = (False, True)

    @property
    def stays(self) -> bool:
        """Whether the host comes up with the change."""
        return self.journal == ["committed"]


def _phase(phase: str, journal: list[str], recovered: str | None, **more: Any) -> Case:
    return Case(phase, stopping(phase), journal, recovered, **more)


CASES = (
    _phase("read", [], None, with_confirmation=(False,)),
    _phase("stage", [], None, with_confirmation=(False,)),
    _phase("rehearse", ["staged"], "undone"),
    _phase("swap", ["staged"], "undone"),
    Case(
        "swap, half done",
        list(inject("renameat2", 2, "STOP")),
        ["undone"],
        None,
        rehearse="off",
        with_confirmation=(False,),
    ),
    _phase("reload", ["undone"], None),
    _phase("probe", ["undone"], None),
    _phase("commit", ["undone"], None),
    Case("waiting for its confirmation", None, ["undone"], None, with_confirmation=(True,)),
    Case("complete", None, ["committed"], None, confirmed=True),
)
assert {case.name for case in CASES} >= set(PHASES)


@dataclass
class Seen:
    """What was seen after a boot. error: why the experiment itself did not work."""

    before: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)  # paths that are not as they were before the run
    journal: list[str] = field(default_factory=list)
    enabled: str = ""  # the guard's service, if the next boot would start it again
    failed_units: str = ""
    order: list[int] = field(default_factory=list)  # microseconds: the guard's end, the web server's start
    following: dict[str, Any] = field(default_factory=dict)  # the result of the run after the boot
    left: str = ""  # the guard's service, after that run
    after: list[str] = field(default_factory=list)  # paths that are not as they were, after all of it
    error: str = ""


Variant = tuple[Case, bool]
# Every case, without a confirmation and with one where both make sense.
VARIANTS: tuple[Variant, ...] = tuple((case, confirming) for case in CASES for confirming in case.with_confirmation)


def plan(hosts: Sequence[Host]) -> list[tuple[Variant, list[Host]]]:
    """Which variant runs on which of these hosts."""
    return [(variant, chosen(number, hosts)) for number, variant in enumerate(VARIANTS)]


def run_all(host: Host, variants: Iterable[Variant], report: Callable[[str], None]) -> dict[tuple[str, bool], Seen]:
    """All reboots of a host, one after the other."""
    # The connection that Ansible keeps open ends with the power.
    host.ssh[1:1] = ["-o", "ControlPath=none", "-o", "ConnectTimeout=5"]
    host.deploy()
    found = {}
    for case, confirming in variants:
        started = time.monotonic()
        try:
            seen = _reboot_in(host, case, confirming)
        except Exception:
            seen = Seen(error=traceback.format_exc())
        found[case.name, confirming] = seen
        report(f"{host.name:<10} {time.monotonic() - started:5.1f} s  {case.name}{', to confirm' * confirming}")
    return found


def _reboot_in(host: Host, case: Case, confirming: bool) -> Seen:
    host.call("mark", name="reboot")
    seen = Seen(before=host.answers())
    host.shell("rm -rf /var/lib/kopano-hardening")
    change = params(host, {}, rehearse=case.rehearse, confirm_timeout=CONFIRM_SECONDS if confirming else 0)
    if case.strace:
        _run_until_stopped(host, change, case.strace)
    else:
        done = host.call("module", params=change)
        assert done["changed"], done
        if confirming and case.confirmed:
            confirmed = host.call("module", params=params(host, confirm=done["transaction"]))
            assert confirmed["changed"], confirmed
    _cut_power(host)
    seen.answers = host.answers()
    seen.changed = host.call("compare", name="reboot")
    seen.journal = host.call("journal")
    seen.enabled, seen.failed_units, seen.order = _units(host)
    seen.following = host.call("module", params=params(host))
    seen.left = host.shell(f"ls {SERVICE} 2>/dev/null || true")
    if case.stays:
        host.call("module", params=params(host, restore="latest"))
    seen.after = host.call("compare", name="reboot")
    return seen


def _units(host: Host) -> tuple[str, str, list[int]]:
    """What Seen has as enabled, failed_units and order."""
    texts = host.shell(
        f"ls {ENABLED} 2>/dev/null || true; echo ---; systemctl list-units --failed --plain --no-legend; echo ---;"
        f"systemctl show --value --property=ExecMainExitTimestampMonotonic {UNIT};"
        f"systemctl show --value --property=ExecMainStartTimestampMonotonic {host.layout.unit}"
    ).split("---\n")
    enabled, failed, order = (text.strip() for text in texts)
    return enabled, failed, [int(word) for word in order.split()]


def _run_until_stopped(host: Host, change: dict[str, Any], strace: list[str]) -> None:
    command = " ".join([f"strace -qq -o {STRACE}", *strace, f"python3 -B {PLACE}/remote.py transaction"])
    process = subprocess.Popen(
        [*host.ssh, command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([change, False, None]).encode())
    process.stdin.close()
    try:
        host.wait(f"grep -qs 'stopped by SIGSTOP' {STRACE}")
    finally:
        process.kill()
        process.wait()


def _cut_power(host: Host) -> None:
    """Kill everything on the host at once, and boot it."""
    container = model.Lab(PROJECT, lab_set()).container(host.name)
    podman = [sys.executable, str(PROJECT / "lab" / "lab.py"), "--set", lab_set(), "podman"]
    for words in (["kill", "--signal=KILL", container], ["wait", container], ["start", container]):
        subprocess.run([*podman, *words], check=True, capture_output=True, timeout=BOOT_SECONDS)
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        state = host.shell("systemctl is-system-running --wait || true", check=False).strip()
        if state in ("running", "degraded"):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{host.name} does not come up: {state or 'no connection'}")
        time.sleep(0.2)
