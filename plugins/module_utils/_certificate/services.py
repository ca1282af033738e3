# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Services of a host by its service manager, systemd: those that read a certificate are reloaded, and have to run then.

Which certificates each was last reloaded with is kept on the host: one that could not be reloaded is still due in the
next run, whose files are as they should be by then.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal

TIMEOUT = 120  # seconds for the service manager
PATIENCE = 1.0  # seconds in which a daemon that refuses its certificate ends
PAUSE = 0.1

OPTION = "reload_services"
STATE = _journal.STATE_DIRECTORY + "/reloaded.json"
SUFFIX = ".service"
# No name begins with a hyphen, which would make it an option of systemctl, and none has a pattern.
_NAME = re.compile(r"[A-Za-z0-9_:\\][A-Za-z0-9_:.@\\-]*")
_LONGEST = 255
_OTHER_UNITS = (
    *(".automount", ".device", ".mount", ".path", ".scope"),
    *(".slice", ".socket", ".swap", ".target", ".timer"),
)
_RUNNING = ("active", "reloading", "refreshing")

Chains = t.Mapping[str, t.Union[str, bytes]]  # what is at each path


class ServiceError(Exception):
    """Services that do not use the certificate, each with the reason; failed are their names, reloaded the others'."""

    def __init__(self, message: str, failed: list[str], reloaded: list[str]) -> None:
        super().__init__(message)
        self.failed = failed
        self.reloaded = reloaded


def invalid(name: str) -> str | None:
    """Why this names no service; None if it does."""
    unit = _unit(name)
    if not _NAME.fullmatch(name) or len(unit) > _LONGEST:
        return "is not the name of a systemd service"
    if name.endswith(_OTHER_UNITS):
        return "is another kind of unit than a service"
    if unit.endswith("@" + SUFFIX):
        return "is a template; name the instance that runs"
    return None


def reload_due(names: t.Sequence[str], chains: Chains, check_mode: bool = False) -> tuple[list[str], list[str]]:
    """Reload the services that were not reloaded since these chains are at their paths.

    Returns their names, and in check mode warnings about those that could not be reloaded now. Raises ServiceError
    after all of them were tried, ChangeError, OSError.
    """
    digests = {path: _digest(chain) for path, chain in chains.items()}
    done = _read() if names else {}
    reloaded, failures = [], {}
    for name in names:
        known = done.get(_unit(name), {})
        if all(known.get(path) == digest for path, digest in digests.items()):
            continue
        why = _obstacle(name) or (None if check_mode else _reload(name))
        if why:
            failures[name] = f"{name!r} {why}"
            continue
        reloaded.append(name)
        done[_unit(name)] = {**known, **digests}
    if check_mode:
        return reloaded, [f"{OPTION}: {message}, so this would fail" for message in failures.values()]
    if reloaded:
        _write(done)
    if failures:
        message = f"{OPTION}: {'; '.join(failures.values())}; the certificate is installed"
        raise ServiceError(message, list(failures), reloaded)
    return reloaded, []


def runs_after(verb: str, units: t.Sequence[str]) -> str | None:
    """Have systemd do this to the first unit: why they do not all run afterwards, or None."""
    ok, message = systemctl(verb, "--", units[0])
    if not ok:
        return message or "systemctl has failed"
    end = time.monotonic() + PATIENCE
    while True:
        for unit in units:
            if not is_active(unit):
                return "it ended" if unit == units[0] else f"{unit} ended"
        if time.monotonic() >= end:
            return None
        time.sleep(PAUSE)


def is_active(unit: str) -> bool:
    return systemctl("is-active", "--quiet", "--", unit)[0]


def systemctl(*arguments: str) -> tuple[bool, str]:
    """One call of the service manager: whether it succeeded, and its output."""
    try:
        done = _programs.run(["systemctl", *arguments], TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout.decode("utf-8", "replace").strip()


# --- one service ------------------------------------------------------------------------------------------------------


def _unit(name: str) -> str:
    return name if name.endswith(SUFFIX) else name + SUFFIX


def _properties(name: str) -> dict[str, str]:
    """What systemd reports of the unit; the value of C(error) where it cannot be queried."""
    wanted = "--property=LoadState,ActiveState,PropagatesReloadTo"
    ok, output = systemctl("show", wanted, "--", _unit(name))
    if not ok:
        return {"error": output or "systemctl has failed"}
    return {key: value for key, _equals, value in (line.partition("=") for line in output.splitlines())}


def _obstacle(name: str) -> str | None:
    """Why the service cannot be reloaded; None if it can be."""
    found = _properties(name)
    load, active = found.get("LoadState", ""), found.get("ActiveState", "")
    if "error" in found:
        return f"cannot be queried: {found['error']}"
    if load == "not-found":
        return "does not exist on this host"
    if load != "loaded":
        return f"cannot be used, since systemd reports it as {load or 'unknown'}"
    if active not in _RUNNING:
        return f"does not run ({active or 'unknown'}), and is not started by this"
    return None


def _reload(name: str) -> str | None:
    """Reload a running service, or restart one that cannot be reloaded; why it does not run then, or None.

    Some units only pass a reload on: those of Debian's Postfix for example, which is another unit. So what ran of these
    has to run as well. What is stopped in the meantime is not started.
    """
    others = _properties(name).get("PropagatesReloadTo", "").split()
    why = runs_after("try-reload-or-restart", [_unit(name), *filter(is_active, others)])
    # systemctl's second line leads to its log, for every unit in the same way.
    return f"does not run after its reload: {why.splitlines()[0]}" if why else None


# --- what each was reloaded with --------------------------------------------------------------------------------------


def _digest(chain: str | bytes) -> str:
    return hashlib.sha256(chain.encode("utf-8", "surrogateescape") if isinstance(chain, str) else chain).hexdigest()


def _read() -> dict[str, dict[str, str]]:
    """For each unit the digest of each chain; one of which nothing is known is reloaded once more."""
    try:
        _paths.check_private(os.path.dirname(STATE))
        with open(STATE, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError, _paths.ChangeError):
        return {}
    return {unit: known for unit, known in found.items() if isinstance(known, dict)} if isinstance(found, dict) else {}


def _write(done: dict[str, dict[str, str]]) -> None:
    """Raises ChangeError, OSError."""
    content = json.dumps(done, indent=1, sort_keys=True).encode() + b"\n"
    _paths.make_private(os.path.dirname(STATE))
    _changeset.put(STATE, _changeset.State(_changeset.FILE, content=content, mode=0o600))
