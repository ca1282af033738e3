# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What stays on a host whose certificates certbot renews: this collection's own code, and who calls it.

certbot calls the program as a deploy hook when it has renewed a certificate. A hook that fails is not called again
before the next renewal, so its service calls the program too, whenever it ends: what has not been brought to the web
server and to other services by then is brought to them half a day later, and a run with nothing to do takes no time.
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import Pair
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import shipped_code as _shipped_code
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    ABSENT,
    FILE,
    LINK,
    Change,
    Changeset,
    State,
)

HOME = "/usr/local/lib/kopano-hardening"
PROGRAM = HOME + "/deploy-certificate"
SETTINGS = "/etc/kopano-hardening/certificate.json"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/kopano-hardening"
UNIT_DIRECTORY = "/etc/systemd/system"
# certbot's unit as Debian and SUSE name it, as the packages for RHEL do, and as snapd does.
UNITS = ("certbot", "certbot-renew", "snap.certbot.renew")
PATIENCE = 120.0  # seconds that a renewal waits for another transaction to end

_PROGRAM = """#!{interpreter} -IB
# Brings certificates that certbot has renewed to the web server and Kopano's daemons. Its settings: {settings}
# Installed by the role certificate of the Ansible collection kopano.hardening.
import sys

sys.path.insert(0, "{home}")

from {module} import main

sys.exit(main())
"""

_DROP_IN = """# Installed by the role certificate of the Ansible collection kopano.hardening.
[Service]
{environment}ExecStopPost={interpreter} -IB {program}
"""


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Renewed(t.TypedDict):  # novm
        """Where a pair belongs, and the files that have its newest chain and key."""

        path: str
        key_path: str
        chain_file: str
        key_file: str

    class RenewalSettings(_deploy.Settings):
        """The settings of the program, as a file of JSON."""

        certificates: list[Renewed]
        reload_services: list[str]

else:
    Renewed = RenewalSettings = t.Dict[str, t.Any]


def read_pairs(certificates: t.Iterable[Renewed]) -> list[Pair]:
    """Raises OSError, ValueError."""
    found = []
    for entry in certificates:
        texts = []
        for path in (entry["chain_file"], entry["key_file"]):
            with open(path, encoding="ascii") as stream:
                texts.append(stream.read())
        found.append(Pair(entry["path"], entry["key_path"], texts[0], texts[1]))
    return found


# --- on the host, later ----------------------------------------------------------------------------------------------


def main() -> int:
    """The program: bring every certificate of the settings to its place. Returns the exit status."""
    try:
        with open(SETTINGS) as stream:
            settings: RenewalSettings = json.load(stream)
        renewed = os.environ.get("RENEWED_LINEAGE")
        folders = {os.path.dirname(entry["chain_file"]) for entry in settings["certificates"]}
        if renewed and os.path.normpath(renewed) not in folders:
            return 0
        pairs = read_pairs(settings["certificates"])
        result = _deploy.deploy(pairs, settings, patience=PATIENCE)
        _deploy.reload_services(settings["reload_services"], {pair.path: pair.chain for pair in pairs}, result)
    except _deploy.ServicesError as error:
        _report(str(error))
        return 1
    except (_deploy.DeployError, OSError, ValueError, KeyError) as error:
        _report(f"the renewed certificate is not in use: {error}")
        return 1
    for warning in result["warnings"]:
        _report(warning)
    if result["changed"]:
        users = result["served"] + result["units"] + result["services"]
        sys.stdout.write("kopano-hardening: new certificate: {}\n".format(" ".join(users) or "not used"))
    return 0


def _report(message: str) -> None:
    """Print it where certbot's user sees it, so without control codes of foreign origin."""
    sys.stderr.write(f"kopano-hardening: {_printable.result(message)}\n")


# --- now -------------------------------------------------------------------------------------------------------------


def units() -> list[str]:
    """certbot's systemd units: of each way in which it is installed. Raises ValueError where there is none."""
    found = [
        name
        for name in UNITS
        if any(os.path.exists(os.path.join(folder, name + ".timer")) for folder in _deploy.UNIT_DIRECTORIES)
    ]
    if not found:
        raise ValueError("there is no timer of certbot's on this host, so nothing would be renewed")
    return found


def pending(settings: RenewalSettings, ca_file: str | None) -> list[Change]:
    """What has to change on the host for renewals. ca_file: what certbot trusts besides.

    Raises ValueError, and ChangeError where another user could replace the code that root is going to run.
    """
    for folder in (HOME, os.path.dirname(SETTINGS)):
        _paths.check_own(folder)
    environment = f'Environment="REQUESTS_CA_BUNDLE={ca_file}"\n' if ca_file else ""
    changeset = Changeset()
    for path, content in _shipped_code.sources().items():
        changeset.add(os.path.join(HOME, path), State(FILE, content=content, mode=0o644))
    program = _PROGRAM.format(
        interpreter=_shipped_code.interpreter(),
        settings=SETTINGS,
        home=HOME,
        module=__name__,
    )
    changeset.add(PROGRAM, State(FILE, content=program.encode(), mode=0o755))
    changeset.add(SETTINGS, State(FILE, content=(json.dumps(settings, indent=1) + "\n").encode(), mode=0o644))
    changeset.add(HOOK, State(LINK, target=PROGRAM))
    # By the interpreter: whether systemd may start a file below lib itself is up to SELinux's policy.
    drop_in = _DROP_IN.format(environment=environment, interpreter=_shipped_code.interpreter(), program=PROGRAM)
    for name in units():
        changeset.add(drop_in_path(name), State(FILE, content=drop_in.encode(), mode=0o644))
    return changeset.pending()


def brings_to(paths: t.Container[str]) -> bool:
    """Whether renewals replace one of these files."""
    try:
        with open(SETTINGS) as stream:
            entries = json.load(stream)["certificates"]
    except (OSError, ValueError, KeyError):
        return False
    return any(os.path.realpath(entry["path"]) in paths for entry in entries)


def leftovers() -> list[Change]:
    """What has to go, so that no renewal replaces a certificate from elsewhere. The code does nothing by itself."""
    changeset = Changeset()
    for path in (HOOK, SETTINGS, *map(drop_in_path, UNITS)):
        if os.path.lexists(path):
            changeset.add(path, State(ABSENT))
    return changeset.pending()


def drop_in_path(name: str) -> str:
    return f"{UNIT_DIRECTORY}/{name}.service.d/kopano-hardening.conf"


def timer_runs() -> bool:
    """Whether certbot renews by itself, now and after the next boot."""
    return any(
        all(_services.systemctl(verb, "--quiet", f"{name}.timer")[0] for verb in ("is-enabled", "is-active"))
        for name in units()
    )


def put(changes: list[Change]) -> list[str]:
    """Put them in place, and reload the service manager's configuration. Returns warnings. Raises ChangeError."""
    warnings = _deploy.apply(changes)
    if {change.path for change in changes} & set(map(drop_in_path, UNITS)):
        _services.systemctl("daemon-reload")
    return warnings


def install(changes: list[Change]) -> list[str]:
    """Put them in place, and start certbot's timer. Returns warnings. Raises ChangeError, ValueError."""
    warnings = put(changes)
    if not timer_runs():
        ok, message = _services.systemctl("enable", "--now", units()[0] + ".timer")
        if not ok:
            raise ValueError(f"certbot's timer cannot be started: {message}")
    return warnings
