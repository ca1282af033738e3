# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Brings certificates and keys to where servers read them.

The web server gets them by the same transaction as every change: rehearse, swap, reload, probe, or all is put back.
What was replaced is not kept for a later restore, which would bring back a certificate that has expired, and keys.
After that Kopano's own daemons get copies, which only their user can read.

The module certificate_install runs this, and on the host, without Ansible, the hook that renewals call
(C(_certificate_hook)).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import ssl
import subprocess
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils import (
    _ask,
    _changeset,
    _config,
    _layout,
    _paths,
    _probe,
    _rehearsal,
    _transaction,
)
from ansible_collections.kopano.hardening.plugins.module_utils._changeset import FILE, Change, Changeset, State
from ansible_collections.kopano.hardening.plugins.module_utils._server import Server, error_logs

TIMEOUT = 10.0  # seconds for an answer of the web server
UNIT_TIMEOUT = 120  # seconds for the service manager
UNIT_PATIENCE = 1.0  # seconds in which a daemon that does not like its certificate ends
LOCK_PAUSE = 0.5

# Names that nobody can look up (RFC 6761), given to virtual hosts that are there for unknown ones.
NOBODYS = (".invalid", ".localhost")

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Kopano's daemons with TLS of their own. gateway reads its certificate again when it is reloaded, ical when it starts.
DAEMONS = {"kopano-gateway": "try-reload-or-restart", "kopano-ical": "try-restart"}
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
KOPANO = "/etc/kopano"

# Everything but the files is as web_config has it when it is not told.
_TRANSACTION: dict[str, t.Any] = {
    "enable": {},
    "disable": {},
    "adopt": False,
    "policy": None,
    "probes": [],
    "confirm": None,
    "confirm_timeout": 0,
    "restore": None,
    "keep": 5,
    "forget": True,
}


class DeployError(Exception):
    """The certificate is not where it should be; result is what is known besides the message."""

    def __init__(self, message: str, result: dict[str, t.Any]) -> None:
        super().__init__(message)
        self.result = result


class Pair(t.NamedTuple):
    """A certificate chain and its key as PEM texts, and the paths that they belong at."""

    path: str
    key_path: str
    chain: str
    key: str

    @property
    def sha256(self) -> str:
        """The digest of the certificate itself. Raises ValueError for a chain without one."""
        return leaf_sha256(self.chain, self.path)


def leaf_sha256(chain: str, path: str) -> str:
    """The digest of the first certificate of a PEM text; path is for the words. Raises ValueError."""
    found = PEM.search(chain)
    if not found:
        raise ValueError(f"{path}: there is no PEM certificate in what shall be written there")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).hexdigest()


def deploy(
    pairs: t.Sequence[Pair],
    settings: dict[str, t.Any],
    check_mode: bool = False,
    patience: float = 0.0,
) -> dict[str, t.Any]:
    """Bring the pairs to their places. Raises DeployError.

    settings: C(server) and C(rehearse) as web_config's options, C(key_mode) as octal text, C(key_group) a name or None,
    C(kopano), whether Kopano's daemons get the first pair. patience: seconds to wait for another transaction to end.
    Returns C(changed), C(diff), C(transaction), C(method) of the rehearsal, C(served), the names that are served with
    one of the certificates, C(units), the daemons that were told, and C(warnings).
    """
    result: dict[str, t.Any] = {
        "changed": False,
        "diff": [],
        "transaction": None,
        "method": None,
        "served": [],
        "units": [],
        "warnings": [],
        "rolled_back": False,
    }
    try:
        digests = {pair.sha256 for pair in pairs}
        _deploy(pairs, digests, settings, check_mode, patience, result)
        if settings["kopano"]:
            _deploy_kopano(pairs, check_mode, result)
    except _transaction.TransactionError as error:
        result.update(diff=error.result["diff"], rolled_back=error.result["rolled_back"])
        result["failure"] = error.result.get("failure")
        result["warnings"] += error.result["warnings"]
        raise DeployError(str(error), result) from error
    except (*_transaction.EXPECTED, ValueError) as error:
        raise DeployError(str(error), result) from error
    return result


# --- the web server --------------------------------------------------------------------------------------------------


def _wanted(pairs: t.Iterable[Pair], settings: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The pairs as web_config's files. What lies there already keeps its owner."""
    key = {"mode": settings["key_mode"], "group": settings["key_group"]}
    files: list[dict[str, t.Any]] = []
    for pair in pairs:
        files.append({"path": pair.path, "content": pair.chain, "mode": None, "group": None})
        files.append(dict(key, path=pair.key_path, content=pair.key))
    return [dict(item, owner=None, state="present") for item in files]


def _deploy(
    pairs: t.Sequence[Pair],
    digests: set[str],
    settings: dict[str, t.Any],
    check_mode: bool,
    patience: float,
    result: dict[str, t.Any],
) -> None:
    files = _wanted(pairs, settings)
    changeset = Changeset()
    for item in files:
        changeset.want(item["path"], _transaction.file_state(item))
    changes = changeset.pending()
    running = [server for server in map(Server, _layout.detect(settings["server"])) if server.main_pid() is not None]
    result["changed"] = bool(changes)
    result["diff"] = _changeset.diff(changes)
    if changes and running:
        done = _transact(files, _with_server(settings, running, pairs), check_mode, patience)
        result["transaction"] = done["transaction"]
        result["method"] = (done["rehearsal"] or {}).get("method")
        result["warnings"] += done["warnings"]
    elif changes and not check_mode:
        # Nobody reads it now, and who is started later has it then.
        apply(changes)
    if check_mode and changes:
        return
    for server in running:
        _have_served(server, pairs, digests, check_mode, result)


def _with_server(settings: dict[str, t.Any], running: t.Sequence[Server], pairs: t.Sequence[Pair]) -> dict[str, t.Any]:
    """The settings with the server that C(auto) means: of several that run the one that reads the certificates."""
    paths = {os.path.realpath(pair.path) for pair in pairs}
    vhosts = {server.layout.server: _transaction.tls_vhosts(server.layout) for server in running}

    def reads(name: str) -> bool:
        return any(vhost.certificate and os.path.realpath(vhost.certificate) in paths for vhost in vhosts[name])

    return dict(settings, server=_layout.choose([*vhosts], reads, lambda name: bool(vhosts[name])))


class _Ungraded:
    """In place of C(_prediction): a certificate changes no grade that a run would have to foretell."""

    @staticmethod
    def grade_all(_targets: t.Sequence[_ask.Target]) -> list[dict[str, t.Any]]:
        return []


def _transact(
    files: list[dict[str, t.Any]], settings: dict[str, t.Any], check_mode: bool, patience: float
) -> dict[str, t.Any]:
    params = dict(_TRANSACTION, files=files, server=settings["server"], rehearse=settings["rehearse"])
    deadline = time.monotonic() + patience
    while True:
        try:
            return _transaction.run(params, check_mode, _Ungraded)
        except _transaction.TransactionError as error:
            if error.result["phase"] != "lock" or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_PAUSE)


def apply(changes: list[Change]) -> None:
    """Put changes in place that no running web server has to do with, all or none. Raises ChangeError."""
    folders = _changeset.new_directories(changes)
    try:
        _changeset.apply(changes)
    except _changeset.ChangeError:
        for change in changes:
            if change.touched:
                with contextlib.suppress(_changeset.ChangeError):
                    _changeset.put(change.path, change.before)
        for folder in reversed(folders):
            _paths.remove_directory(folder)
        raise


def _have_served(
    server: Server, pairs: t.Sequence[Pair], digests: set[str], check_mode: bool, result: dict[str, t.Any]
) -> None:
    """Every name whose virtual host reads the certificates has to come with one of them."""
    config = _rehearsal.LOADERS[server.layout.server](server.layout)
    targets = _targets(config, {os.path.realpath(pair.path) for pair in pairs})
    if targets and _stale(targets, digests):
        # The files are right and the server has others in its memory: they were put there by somebody else.
        result["changed"] = True
        if check_mode:
            return
        ok, words = server.reload(error_logs(server.layout, config))
        stale = _stale(targets, digests) if ok else []
        if not ok or stale:
            raise ValueError(words or f"{stale[0]}: still served with another certificate after a reload")
    for target in targets:
        name = target["server_name"]
        if name not in result["served"] and not name.endswith(NOBODYS):
            result["served"].append(name)


def _targets(config: _config.Config, paths: set[str]) -> list[_ask.Target]:
    """The endpoints with a name whose virtual host has one of the paths as its certificate."""
    vhosts = [vhost for vhost in config.vhosts if vhost.certificate and os.path.realpath(vhost.certificate) in paths]
    return [target for target in _probe.targets_of(vhosts) if target["server_name"]]


def _stale(targets: t.Sequence[_ask.Target], digests: set[str]) -> list[str]:
    """The names that come with another certificate, or not at all."""
    answers = _ask.ask_all(targets, TIMEOUT)
    return [target["server_name"] for target, answer in zip(targets, answers) if answer["certificate"] not in digests]


# --- Kopano's daemons ------------------------------------------------------------------------------------------------


def _deploy_kopano(pairs: t.Sequence[Pair], check_mode: bool, result: dict[str, t.Any]) -> None:
    own = {os.path.realpath(path) for pair in pairs for path in (pair.path, pair.key_path)}
    for unit, verb in DAEMONS.items():
        if not any(os.path.exists(os.path.join(folder, unit + ".service")) for folder in UNIT_DIRECTORIES):
            continue
        try:
            changes = _copies(unit, pairs[0], own)
            result["diff"] += _changeset.diff(changes)
            result["changed"] = result["changed"] or bool(changes)
            if changes:
                result["units"].append(unit)
            if changes and not check_mode:
                apply(changes)
                _tell(unit, verb, changes)
        except (_changeset.ChangeError, OSError, ValueError) as error:
            raise ValueError(f"the web server has the new certificate, {unit} has not: {error}") from error


def _copies(unit: str, pair: Pair, own: set[str]) -> list[Change]:
    """What differs of a daemon's copy, at the paths that its configuration names or that are built into it."""
    name = unit[len("kopano-") :]
    options = _options(os.path.join(KOPANO, name + ".cfg"))
    user = options.get("run_as_user") or "kopano"
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ValueError(f"there is no user {user!r}, as whom it runs") from None
    changeset = Changeset()
    for option, default, content in (
        ("ssl_certificate_file", "cert.pem", pair.chain),
        ("ssl_private_key_file", "privkey.pem", pair.key),
    ):
        path = options.get(option) or os.path.join(KOPANO, name, default)
        if os.path.realpath(path) in own:
            raise ValueError(f"{option} is {path}, which is the web server's own; give it a path of its own")
        changeset.want(path, State(FILE, content=content.encode(), mode=0o400, uid=entry.pw_uid, gid=0))
    return changeset.pending()


def _options(path: str) -> dict[str, str]:
    """A Kopano daemon's configuration: C(name = value), the last one counts."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    except FileNotFoundError:
        return {}
    return {name.strip(): value.strip() for name, _equals, value in pairs}


def _tell(unit: str, verb: str, changes: list[Change]) -> None:
    """Have a running daemon read its copy; one that ends of it gets the old one back. Raises ValueError."""
    if systemctl("is-active", unit)[0]:
        ok, words = systemctl(verb, unit)
        end = time.monotonic() + UNIT_PATIENCE
        while ok and time.monotonic() < end:
            time.sleep(0.1)
            ok = systemctl("is-active", unit)[0]
        if not ok:
            for change in changes:
                _changeset.put(change.path, change.before)
            systemctl("restart", unit)
            raise ValueError(f"it does not run with it, so it has its old one back: {words or 'it ended'}")


def systemctl(*arguments: str) -> tuple[bool, str]:
    """One call of the service manager: whether it went well, and its words."""
    try:
        done = subprocess.run(
            ["systemctl", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=UNIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout.decode("utf-8", "replace").strip()
