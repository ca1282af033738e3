# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Brings certificates and keys to where servers read them.

The web server gets them by the same transaction as every change: rehearse, swap, reload, probe, or roll back.
After that Kopano's own daemons get copies, which only their user can read. A pair that no client could use is installed
nowhere, and what is replaced is kept (C(_transaction.replaced_certificates)).

The module certificate_install runs this, and on the host, without Ansible, the hook that renewals call
(C(_certificate.renewal_hook)).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import ssl
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host import selinux as _selinux
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import rehearsal as _rehearsal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
    replaced_certificates as _replaced_certificates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import supervisor as _supervisor
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    FILE,
    Change,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import error_logs as _error_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import Server
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

TIMEOUT = 10.0  # seconds for a response of the web server
LOCK_PAUSE = 0.5

# Names that never resolve (RFC 6761), given to virtual hosts that are there for unknown ones.
UNRESOLVABLE = (".invalid", ".localhost")

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Kopano's daemons with TLS of their own. gateway reads its certificate again when it is reloaded, ical when it starts.
DAEMONS = {"kopano-gateway": "try-reload-or-restart", "kopano-ical": "try-restart"}
UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
KOPANO = "/etc/kopano"

# Everything but the files has web_config's defaults. They are repeated here, since the renewal hook runs where there is
# no Ansible, which web_config's own options need.
TRANSACTION: dict[str, t.Any] = {
    "enable": {},
    "disable": {},
    "adopt": False,
    "policy": None,
    "probes": [],
    "clients_required": [],
    "confirm": None,
    "confirm_timeout": 0,
    "confirm_from": "controller",
    "restore": None,
    "keep": 5,
}


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Settings(t.TypedDict):  # novm
        """C(server) and C(rehearse) as web_config's options, C(key_mode) as octal text, C(key_group) a name or None,
        C(kopano), whether Kopano's daemons get the first pair."""

        server: str
        rehearse: str
        key_mode: str
        key_group: str | None
        kopano: bool

    class WebFile(t.TypedDict):  # novm
        """One of web_config's files. C(mode) is octal text; what is None there stays as it is."""

        path: str
        content: str
        mode: str | None
        owner: str | None
        group: str | None
        state: str

    class About(t.TypedDict):  # novm
        """What a record of C(_transaction.replaced_certificates) is about; C(pairs) are two paths each, C(unit) is None
        for a web server, C(not_after) is seconds since 1970, None where nothing could be read."""

        pairs: list[list[str]]
        unit: str | None
        names: list[str]
        not_after: int | None

    class _Deployed(t.TypedDict):  # novm
        changed: bool
        diff: list[_changeset.Difference]
        transaction: str | None
        method: str | None
        served: list[str]
        units: list[str]
        services: list[str]
        kept: list[str]
        warnings: list[str]
        rolled_back: bool

    class Deployed(_Deployed, total=False):
        """What was done: the id of the C(transaction), None without one, C(method) of its rehearsal, C(served), the
        names that are served with one of the certificates, C(units), Kopano's daemons with a new copy, C(services),
        other services that were reloaded, C(kept), the ids of what was replaced. C(failure) is that of the transaction,
        and only there where it has failed; so are C(not_reloaded), the services that do not use the certificate."""

        failure: _engine.FailureInfo | None
        not_reloaded: list[str]

    class Installed(Deployed):
        """The result of certificate_install: C(reason) why a self-signed certificate was made, empty if none was;
        C(missing), the paths that are not there, because it is check mode."""

        reason: str
        missing: list[str]

else:
    Settings = WebFile = About = Deployed = Installed = t.Dict[str, t.Any]


class DeployError(Exception):
    """The certificate is not where it should be; result is what is known besides the message."""

    def __init__(self, message: str, result: Deployed) -> None:
        super().__init__(message)
        self.result = result


class ServicesError(DeployError):
    """The certificate is where it should be, but services do not use it."""


class Pair(t.NamedTuple):
    """A certificate chain and its key as PEM texts, and the paths that they belong at.

    stays: they are there already, and stay as they are, permissions included.
    """

    path: str
    key_path: str
    chain: str
    key: str
    stays: bool = False

    @property
    def sha256(self) -> str:
        """The digest of the certificate itself. Raises ValueError for a chain without one."""
        return leaf_sha256(self.chain, self.path)


def leaf_sha256(chain: str, path: str) -> str:
    """The digest of the first certificate of a PEM text; path is for the message. Raises ValueError."""
    found = PEM.search(chain)
    if not found:
        raise ValueError(f"{path}: there is no PEM certificate in what shall be written there")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).hexdigest()


def deploy(
    pairs: t.Sequence[Pair],
    settings: Settings,
    check_mode: bool = False,
    patience: float = 0.0,
    files: list[WebFile] | None = None,
) -> Deployed:
    """Bring the pairs to their places. Raises DeployError.

    patience: seconds to wait for another transaction to end. files: the pairs as web_config's files, where these are
    not what the settings make of them.
    """
    result = _nothing_yet()
    try:
        for_web = [pair for pair in pairs if not pair.stays]
        digests = {pair.sha256 for pair in for_web}
        files = _web_files(for_web, settings) if files is None else files
        if files:
            _deploy(for_web, files, digests, settings, check_mode, patience, result)
        if settings["kopano"] and pairs[0].key:
            _deploy_kopano(pairs, check_mode, result)
    except _engine.TransactionError as error:
        result["diff"], result["rolled_back"] = error.result["diff"], error.result["rolled_back"]
        result["failure"] = error.result.get("failure")
        result["warnings"] += error.result["warnings"]
        raise DeployError(str(error), result) from error
    except (*_engine.EXPECTED, ValueError) as error:
        raise DeployError(str(error), result) from error
    return result


def restore(record: _journal.Record, settings: Settings, check_mode: bool) -> Deployed:
    """Bring back what a record of C(_transaction.replaced_certificates) has, each file as it was.

    Raises DeployError, ValueError for a record without a whole pair, OSError.
    """
    states, about = record.before(), record.data["certificates"]
    whole = [pair for pair in about["pairs"] if all(states[path].kind == FILE for path in pair)]
    if not whole:
        raise ValueError(
            f"restore: {record.id} has a certificate without its key, or a key alone; it is in {record.folder}/before"
        )
    pairs = [Pair(*pair, *(states[path].content.decode("utf-8", "surrogateescape") for path in pair)) for pair in whole]
    if about["unit"]:
        return _restore_unit(about["unit"], pairs[0], states, check_mode)
    files = [_as_file(path, states[path]) for pair in whole for path in pair]
    return deploy(pairs, settings, check_mode, files=files)


def reload_services(
    names: t.Sequence[str], chains: _services.Chains, result: Deployed, check_mode: bool = False
) -> None:
    """Reload other services that read the chains at these paths. Raises ServicesError.

    It comes last: what is wrong with one of them keeps no web server from its certificate.
    """
    try:
        reloaded, warnings = _services.reload_due(names, chains, check_mode)
    except _services.ServiceError as error:
        _reloaded(error.reloaded, result)
        result["not_reloaded"] = error.failed
        raise ServicesError(str(error), result) from error
    except (_changeset.ChangeError, OSError) as error:
        raise ServicesError(f"{_services.STATE}: {error}", result) from error
    _reloaded(reloaded, result)
    result["warnings"] += warnings


def _reloaded(names: list[str], result: Deployed) -> None:
    result["services"] += names
    result["changed"] = result["changed"] or bool(names)


def _nothing_yet() -> Deployed:
    return {
        "changed": False,
        "diff": [],
        "transaction": None,
        "method": None,
        "served": [],
        "units": [],
        "services": [],
        "kept": [],
        "warnings": [],
        "rolled_back": False,
    }


def _as_file(path: str, state: State) -> WebFile:
    """A state as one of web_config's files."""
    return {
        "path": path,
        "content": state.content.decode("utf-8", "surrogateescape"),
        "mode": f"{state.mode:04o}",
        "owner": str(state.uid),
        "group": str(state.gid),
        "state": "present",
    }


# --- what is replaced, and by what ------------------------------------------------------------------------------------


def _require_usable(pair: Pair) -> None:
    """Check that clients could use what is to be written, whether or not a server reads it now. Raises ValueError."""
    chain, key = (text.encode("utf-8", "surrogateescape") for text in (pair.chain, pair.key))
    found = _checks.defect(chain, key, time.time())
    if found:
        raise ValueError(f"{pair.path}: what is to be installed there cannot be used: {found.message}")


def _resolved(path: str) -> str:
    """The path that a change of this file has in a changeset."""
    changeset = Changeset()
    changeset.add(path, State(FILE))
    return next(iter(changeset.desired))


def _about(pairs: t.Iterable[t.Sequence[str]], changes: t.Iterable[Change], unit: str | None = None) -> About:
    """What C(_transaction.replaced_certificates) records of the pairs at these paths, before the changes."""
    paths = [[_resolved(path), _resolved(key_path)] for path, key_path in pairs]
    before = {change.path: change.before.content for change in changes}
    touched = [pair for pair in paths if any(path in before for path in pair)]
    found = []
    for pair in touched:
        with contextlib.suppress(ParseError):
            found.append(_checks.first(before.get(pair[0]) or _changeset.read(pair[0]).content))
    certificates = [certificate for certificate in found if certificate]
    return {
        "pairs": touched,
        "unit": unit,
        "names": sorted({name for certificate in certificates for name in certificate.dns_names}),
        "not_after": min((certificate.not_after for certificate in certificates), default=None),
    }


# --- the web server --------------------------------------------------------------------------------------------------


def _web_files(pairs: t.Iterable[Pair], settings: Settings) -> list[WebFile]:
    """The pairs as web_config's files. What lies there already keeps its owner."""
    files: list[WebFile] = []
    for pair in pairs:
        files.append(_web_file(pair.path, pair.chain, None, None))
        files.append(_web_file(pair.key_path, pair.key, settings["key_mode"], settings["key_group"]))
    return files


def _web_file(path: str, content: str, mode: str | None, group: str | None) -> WebFile:
    return {"path": path, "content": content, "mode": mode, "group": group, "owner": None, "state": "present"}


def _deploy(
    pairs: t.Sequence[Pair],
    files: list[WebFile],
    digests: set[str],
    settings: Settings,
    check_mode: bool,
    patience: float,
    result: Deployed,
) -> None:
    changeset = Changeset()
    for item in files:
        changeset.add(item["path"], _engine.file_state(item))
    changes = changeset.pending()
    renewed = {change.path for change in changes if change.before.content != change.after.content}
    for pair in pairs:
        if renewed & {_resolved(pair.path), _resolved(pair.key_path)}:
            _require_usable(pair)
    about = _about([(pair.path, pair.key_path) for pair in pairs], changes)
    running = _running(settings["server"])
    result["changed"] = bool(changes)
    result["diff"] = _changeset.diff(changes)
    if changes and running:
        done = _transact(files, about, _with_server(settings, running, pairs), check_mode, patience)
        result["transaction"] = done["transaction"]
        result["kept"] += [record.id for record in _replaced_certificates.records() if record.id == done["transaction"]]
        result["method"] = done["rehearsal"]["method"] if done["rehearsal"] else None
        result["warnings"] += done["warnings"]
    elif changes and not check_mode:
        # No server reads it now, and one that is started later has it then.
        _keep(changes, about, result)
        result["warnings"] += apply(changes)
    if check_mode and changes:
        return
    for server in running:
        _ensure_served(server, pairs, digests, check_mode, result)


def _with_server(settings: Settings, running: t.Sequence[Server], pairs: t.Sequence[Pair]) -> Settings:
    """The settings with the server that C(auto) means: of several that run the one that reads the certificates."""
    paths = {os.path.realpath(pair.path) for pair in pairs}
    vhosts = {server.layout.server: _engine.tls_vhosts(server.layout) for server in running}

    def reads(name: str) -> bool:
        return any(vhost.certificate and os.path.realpath(vhost.certificate) in paths for vhost in vhosts[name])

    return {**settings, "server": _layout.choose([*vhosts], reads, lambda name: bool(vhosts[name]))}


class _Ungraded:
    """In place of C(_transaction.prediction): a certificate changes no grade that a run would have to foretell."""

    @staticmethod
    def grade_all(_targets: t.Sequence[_client.Target]) -> list[dict[str, t.Any]]:
        return []


def _running(server: str) -> list[Server]:
    return [found for found in map(Server, _layout.detect(server)) if found.main_pid() is not None]


def _keep(changes: list[Change], about: About, result: Deployed) -> None:
    identifier = _replaced_certificates.keep(changes, about)
    if identifier:
        result["kept"].append(identifier)


def _transact(
    files: list[WebFile],
    about: About,
    settings: Settings,
    check_mode: bool,
    patience: float,
) -> _engine.Result:
    params = dict(
        TRANSACTION, files=files, certificates=about, server=settings["server"], rehearse=settings["rehearse"]
    )
    deadline = time.monotonic() + patience
    while True:
        try:
            return _supervisor.run(params, check_mode, _Ungraded)
        except _engine.TransactionError as error:
            if error.result["phase"] != "lock" or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_PAUSE)


def apply(changes: list[Change]) -> list[str]:
    """Put changes in place that no running web server has to do with, all or none. Returns warnings.

    Raises ChangeError.
    """
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
    return _selinux.restore_contexts(_changeset.new_paths(changes))


def _ensure_served(
    server: Server, pairs: t.Sequence[Pair], digests: set[str], check_mode: bool, result: Deployed
) -> None:
    """Every name whose virtual host reads the certificates has to come with one of them."""
    config = _rehearsal.LOADERS[server.layout.server](server.layout)
    targets = _targets(config, {os.path.realpath(pair.path) for pair in pairs})
    if targets and _stale(targets, digests):
        # The files are right and the server has others in its memory: this run did not write them.
        result["changed"] = True
        if check_mode:
            return
        ok, message = server.reload(_error_logs.paths(server.layout, config))
        stale = _stale(targets, digests) if ok else []
        if not ok:
            fault = _engine.explained(
                _diagnose.Fault(message), lambda: _diagnose.refusal(message, server.logged(), config, None)
            )
            raise ValueError(fault.message())
        if stale:
            raise ValueError(f"{stale[0]}: still served with another certificate after a reload")
    for target in targets:
        name = str(target["server_name"])
        if name not in result["served"] and not name.endswith(UNRESOLVABLE):
            result["served"].append(name)


def served_from(path: str, server: str) -> set[str]:
    """The digests of the certificates that running web servers serve where a virtual host reads the path. Raises
    ValueError."""
    found = set()
    for running in _running(server):
        try:
            config = _rehearsal.LOADERS[running.layout.server](running.layout)
        except _webserver_model.ConfigError as error:
            raise ValueError(str(error)) from error
        responses = _client.query_all(_endpoints(config, {os.path.realpath(path)}), TIMEOUT)
        found |= {str(response["certificate"]) for response in responses if response["certificate"]}
    return found


def _endpoints(config: _webserver_model.Config, paths: set[str]) -> list[_client.Target]:
    """The endpoints whose virtual host has one of the paths as its certificate."""
    vhosts = [vhost for vhost in config.vhosts if vhost.certificate and os.path.realpath(vhost.certificate) in paths]
    return _probes.targets_of(vhosts, _probes.bound_to(config.vhosts))


def _targets(config: _webserver_model.Config, paths: set[str]) -> list[_client.Target]:
    """Those of them with a name."""
    return [target for target in _endpoints(config, paths) if target["server_name"]]


def _stale(targets: t.Sequence[_client.Target], digests: set[str]) -> list[str]:
    """The names that come with another certificate, or not at all."""
    responses = _client.query_all(targets, TIMEOUT)
    pairs = zip(targets, responses)
    return [str(target["server_name"]) for target, response in pairs if response["certificate"] not in digests]


# --- Kopano's daemons ------------------------------------------------------------------------------------------------


def _deploy_kopano(pairs: t.Sequence[Pair], check_mode: bool, result: Deployed) -> None:
    own = {os.path.realpath(path) for pair in pairs for path in (pair.path, pair.key_path)}
    for unit in DAEMONS:
        if not any(os.path.exists(os.path.join(folder, unit + ".service")) for folder in UNIT_DIRECTORIES):
            continue
        try:
            changes = _copies(unit, pairs[0], own)
            if changes:
                _require_usable(pairs[0])
                paths = list(_copied_to(unit, _options(unit)).values())
                _hand_over(unit, changes, _about([paths], changes, unit), check_mode, result)
        except (_changeset.ChangeError, OSError, ValueError) as error:
            raise ValueError(f"the web server has the new certificate, {unit} has not: {error}") from error


def _hand_over(unit: str, changes: list[Change], about: About, check_mode: bool, result: Deployed) -> None:
    """Give a daemon other copies, and keep what these replace."""
    result["diff"] += _changeset.diff(changes)
    result["changed"] = True
    result["units"].append(unit)
    if not check_mode:
        _keep(changes, about, result)
        result["warnings"] += apply(changes)
        _reload_unit(unit, DAEMONS[unit], changes)


def _restore_unit(unit: str, pair: Pair, states: dict[str, State], check_mode: bool) -> Deployed:
    """Give a daemon the copies that it had. Raises DeployError."""
    result = _nothing_yet()
    changeset = Changeset()
    try:
        for path in (pair.path, pair.key_path):
            changeset.add(path, states[path])
        changes = changeset.pending()
        if changes:
            _require_usable(pair)
            _hand_over(unit, changes, _about([(pair.path, pair.key_path)], changes, unit), check_mode, result)
    except (*_engine.EXPECTED, ValueError) as error:
        raise DeployError(str(error), result) from error
    return result


def _copies(unit: str, pair: Pair, own: set[str]) -> list[Change]:
    """What differs of a daemon's copy, at the paths that its configuration names or that are built into it."""
    options = _options(unit)
    user = options.get("run_as_user") or "kopano"
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ValueError(f"there is no user {user!r}, as whom it runs") from None
    changeset = Changeset()
    for (option, path), content in zip(_copied_to(unit, options).items(), (pair.chain, pair.key)):
        if os.path.realpath(path) in own:
            raise ValueError(f"{option} is {path}, which is the web server's own; give it a path of its own")
        changeset.add(path, State(FILE, content=content.encode(), mode=0o400, uid=entry.pw_uid, gid=0))
    return changeset.pending()


def _copied_to(unit: str, options: dict[str, str]) -> dict[str, str]:
    """The paths of a daemon's chain and key, by the options that name them."""
    defaults = {"ssl_certificate_file": "cert.pem", "ssl_private_key_file": "privkey.pem"}
    folder = os.path.join(KOPANO, unit[len("kopano-") :])
    return {option: options.get(option) or os.path.join(folder, name) for option, name in defaults.items()}


def _options(unit: str) -> dict[str, str]:
    """A Kopano daemon's configuration: C(name = value), the last one counts."""
    path = os.path.join(KOPANO, unit[len("kopano-") :] + ".cfg")
    try:
        lines = _regular.text(path, foreign_links=True).split("\n")
    except FileNotFoundError:
        return {}
    pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    return {name.strip(): value.strip() for name, _equals, value in pairs}


def _reload_unit(unit: str, verb: str, changes: list[Change]) -> None:
    """Reload a running daemon with its copy; one that ends with it gets the old one back. Raises ValueError."""
    if _services.is_active(unit):
        why = _services.runs_after(verb, [unit])
        if why:
            for change in changes:
                _changeset.put(change.path, change.before)
            _services.systemctl("restart", unit)
            raise ValueError(f"it does not run with it, so the old one was restored: {why}")
