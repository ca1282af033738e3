# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What rolls an unfinished transaction back on the host itself, when no run is there to do it.

* At the next boot: a service on disk that systemd starts before the web server. Every transaction has it, from before
  its swap until its end.
* After C(confirm_timeout): a transient timer (systemd-run(1)), which counts monotonic time, so a change of the clock
  does not move it. A reboot drops it; the service does its work then.

Both have to work when nothing else reaches the host any more, so they run a copy of this collection's own code, kept
with the transaction. What they do depends on the transaction's record when they run. So a guard that could not be
removed, or that fires too late, does nothing; that is why removing one may fail without consequences.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import shipped_code as _shipped_code
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Record

UNIT_DIRECTORY = "/etc/systemd/system"
UNIT = "kopano-hardening-rollback.service"
RUNNING_SYSTEMD = "/run/systemd/system"
TIMEOUT = 30  # seconds for a call of the service manager
BOOT_TIMEOUT = 120  # seconds that a boot waits for the rollback before the web server starts
RUN_TIMEOUT = 3600  # seconds after which the timer's rollback, with all of its attempts, hangs
BOOT_ID = "/proc/sys/kernel/random/boot_id"

# The result of a program whose output is read must not depend on the administrator's terminal.
_PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}

_SERVICE = """# Of the Ansible collection kopano.hardening: rolls a change back that a crash or a reboot interrupted.
# It is removed when the change is complete.
[Unit]
Description=Roll back the unfinished web server change {identifier}
ConditionPathExists={record}
RequiresMountsFor={folder}
Before=apache2.service httpd.service nginx.service

[Service]
Type=oneshot
TimeoutStartSec={timeout}
KillMode=process
ExecStart={command}
"""


class GuardError(Exception):
    """The guard cannot be set up, so the change must not be made."""


def install(record: Record) -> None:
    """Have the next boot roll the transaction back if it is not complete by then. Raises GuardError."""
    if not os.path.isdir(RUNNING_SYSTEMD):
        return  # a container without systemd has no boot of its own
    command = _command(record, "boot")
    text = _SERVICE.format(
        identifier=record.id,
        record=os.path.join(record.folder, "record.json"),
        folder=record.folder,
        timeout=BOOT_TIMEOUT,
        command=" ".join(map(_quoted, command)),
    )
    try:
        _shipped_code.keep(_code(record), "_transaction.engine", "roll_back_unfinished")
        os.makedirs(os.path.dirname(_wants()), exist_ok=True)
        with open(_unit(), "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.symlink(_unit(), _wants())
        for path in (_wants(), _unit(), _code(record)):
            _changeset.fsync_directory(os.path.dirname(path))
    except OSError as error:
        raise GuardError(f"{UNIT}, which undoes the change after a crash, cannot be written: {error}") from error


def start_timer(record: Record, seconds: int) -> None:
    """Have the transaction rolled back in so many seconds. Raises GuardError where there is no systemd for it."""
    if not os.path.isdir(RUNNING_SYSTEMD):
        raise GuardError(
            "confirm_timeout: a change that waits for a confirmation needs systemd, which does not run on this host; "
            "0 switches the confirmation off"
        )
    command = [
        "systemd-run",
        "--quiet",
        f"--unit={_timer(record)}",
        "--on-active=%d" % seconds,
        "--timer-property=AccuracySec=1",
        # The web server, if the rollback has to start it itself, must outlive the timer's service.
        "--property=KillMode=process",
        "--property=RuntimeMaxSec=%d" % RUN_TIMEOUT,
        *_command(record, "timer"),
    ]
    try:
        done = _call(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuardError(f"confirm_timeout: the timer cannot be started: {error}") from error
    if done.returncode:
        reason = _full("/run") or done.stdout.decode("utf-8", "replace").strip() or f"status {done.returncode}"
        raise GuardError(f"confirm_timeout: systemd-run cannot start the timer: {reason}")


def remove(record: Record) -> None:
    """Remove the guard of a transaction that is complete or rolled back. Never raises."""
    remove_service()
    with contextlib.suppress(OSError):
        os.unlink(_code(record))
    if record.data.get("timer"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            _call(["systemctl", "--no-block", "stop", _timer(record) + ".timer"])


def remove_service() -> list[str]:
    """Remove the service, also one that a crash has left; returns what cannot be removed of it. Never raises."""
    left = []
    for path in (_wants(), _unit()):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            left.append(path)
    return left


def deadline(seconds: int) -> dict[str, str | float]:
    """In so many seconds, as fields of a record: in time since the boot, which no change of the clock moves."""
    return {"boot_id": _boot_id(), "deadline": time.clock_gettime(time.CLOCK_BOOTTIME) + seconds}


def is_waiting(record: Record) -> bool:
    """Whether the deadline of a transaction that waits for its confirmation is still to come."""
    same_boot = record.data.get("boot_id") == _boot_id()
    return same_boot and float(record.data["deadline"]) > time.clock_gettime(time.CLOCK_BOOTTIME)


def _call(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Raises OSError, subprocess.TimeoutExpired."""
    return _programs.run(command, TIMEOUT, _PLAIN)


def _boot_id() -> str:
    try:
        with open(BOOT_ID) as text:
            return text.read().strip()
    except OSError:
        return ""


def _unit() -> str:
    return os.path.join(UNIT_DIRECTORY, UNIT)


def _wants() -> str:
    """The link that systemctl(1) makes to enable a service."""
    return os.path.join(UNIT_DIRECTORY, "multi-user.target.wants", UNIT)


def _quoted(argument: str) -> str:
    """An argument of a command line in a unit (systemd.service(5), "Command lines")."""
    for special in ("\\", '"'):
        argument = argument.replace(special, "\\" + special)
    return '"{}"'.format(argument.replace("%", "%%").replace("$", "$$"))


def _timer(record: Record) -> str:
    return f"kopano-hardening-{record.id}"


def _code(record: Record) -> str:
    return os.path.join(record.folder, "code.zip")


def _command(record: Record, occasion: str) -> list[str]:
    transactions = os.path.dirname(record.folder)
    return [_shipped_code.interpreter(), "-IB", _code(record), os.path.dirname(transactions), record.id, occasion]


def _full(path: str) -> str | None:
    """The reason, where a file system has no room, which systemd-run does not report as such."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    no_room = found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)
    return f"the file system of {path} is full" if no_room else None
