# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Try a changed configuration with a real server before the live one sees a byte of it.

C(namespace)
    The complete configuration, started in a private copy-on-write view of the host (see C(_host.namespace)).
C(instance)
    Where namespaces are refused: the server's own test of a copy of the configuration, then a server on a loopback port
    with the TLS directives of every virtual host in that copy.
C(syntax)
    Where there is nothing to start (no TLS virtual host): the server's own test of that copy alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import Change
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import environment as _environment
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import openssl as _openssl
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout, Sysconfig
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.server import Server, listens, tcp_listeners

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Judgement(t.TypedDict):  # novm
        """What counts of a grade for one who compares it; of L(_tls.grade) and by its rules."""

        grade: str | None  # None: there is none, or it depends on a trust that is not known
        grade_trust_ignored: str | None
        protocols: list[str]
        caps: list[dict[str, t.Any]]
        warnings: list[dict[str, t.Any]]
        error: str | None  # why there is none

    class Grade(Judgement):  # novm
        """The grade of an endpoint as seen from the host itself."""

        address: str
        port: int
        server_name: str | None
        # What clients get, as of L(_tls.clients), until it is compared; empty where they were not simulated.
        clients: t.NotRequired[list[t.Any]]
        now: t.NotRequired[Judgement | None]  # that of the live server; None: it does not have the endpoint
        served: t.NotRequired[int]  # how many simulated clients the live server serves
        lost: t.NotRequired[list[t.Any]]  # those of them that the rehearsed one does not serve

    class Rehearsal(t.TypedDict):  # novm
        """What a rehearsal came to."""

        method: str | None  # namespace, instance, syntax; None: it was refused
        ok: bool  # whether the server came up and every request was made
        ms: float  # milliseconds for everything but the grading
        start_ms: float
        grading_ms: float
        endpoints: list[dict[str, t.Any]]  # each target with its response, in one
        responses: list[_client.Response]  # in the order of the targets
        listening: list[tuple[str, int]]  # addresses and ports
        refused: str | None  # why namespaces are not to be had
        grades: list[Grade]  # none where nothing changes

else:
    Judgement = Grade = Rehearsal = t.Dict[str, t.Any]

# From targets, each with its answer, to a grade for each, as _transaction.prediction.grade_all has them.
Grader = t.Callable[[t.Sequence[t.Mapping[str, t.Any]]], t.List[Grade]]

LOADERS: dict[str, t.Callable[..., _webserver_model.Config]] = {"apache": _apache.load, "nginx": _nginx.load}

TIMEOUT = 60.0  # seconds, for everything together
VHOST_SECONDS = 0.1  # more for each virtual host; reading, starting and querying one usually takes a tenth of that
REQUEST_TIMEOUT = 10.0
LOG_END = 1 << 13  # bytes of each log in a view
END_TIMEOUT = 5.0  # seconds that a trial instance gets to end by itself

# A backend on the host's loopback cannot be reached from the private network: that path is then not rehearsed.
UNREACHABLE_BACKEND = (502, 503, 504)


class Failure(Exception):
    """The changed configuration does not work; fault has the server's message.

    conclusive is False where nothing was found out about the configuration, for want of time or of rights.
    """

    def __init__(self, fault: _diagnose.Fault, result: Rehearsal, conclusive: bool = True) -> None:
        super().__init__(fault.message())
        self.fault = fault
        self.result = result
        self.conclusive = conclusive


def time_limit(live: _webserver_model.Config | None) -> float:
    """Seconds for a rehearsal: what it does grows with the virtual hosts. Half of them is for the server's start."""
    return TIMEOUT + VHOST_SECONDS * (len(live.vhosts) if live else 0)


def rehearse(
    server: Server,
    changes: t.Sequence[Change],
    live: _webserver_model.Config | None,
    probes: t.Sequence[_client.Target],
    mode: str,
    grade_all: Grader,
) -> Rehearsal:
    """Start the server with the changes, and query all of its TLS endpoints and the probes.

    live: the configuration that runs now, if it could be read. mode: C(auto) or C(required). grade_all: grades the
    endpoints, called when there are changes.
    Raises Failure, and with C(required) also when only a fallback was possible.
    """
    started = time.monotonic()
    result: Rehearsal = {
        "method": "namespace",
        "ok": False,
        "ms": 0.0,
        "start_ms": 0.0,
        "grading_ms": 0.0,
        "endpoints": [],
        "responses": [],
        "listening": [],
        "refused": None,
        "grades": [],
    }
    environment, arguments = server.trial_environment(), server.arguments()
    limit = time_limit(live)
    logs = _webserver_model.log_files(live) if live else []
    conclusive = True
    texts = [change.after.content.decode("utf-8", "replace") for change in changes]
    try:
        seen = _namespace.call(
            lambda: _in_namespace(server, changes, live, probes, environment, arguments, logs, grade_all, limit),
            limit,
            _environment.sockets(live, texts),
            _environment.hosts_text(live, texts),
        )
        result.update(seen["result"])
        fault = seen["fault"] and _diagnose.Fault(*seen["fault"])
        conclusive = seen.get("conclusive", True)
    except _namespace.Refused as error:
        result["refused"] = str(error)
        if mode == "required":
            result["method"] = None
            fault = _diagnose.Fault(f"rehearse: 'required', but namespaces are refused here: {error}")
            raise Failure(fault, result, conclusive=False) from error
        fault = _in_copy(server, changes, environment, arguments, result, grade_all, limit)
    except _namespace.TimedOut as error:
        fault = _diagnose.Fault(f"{error} ({limit:.0f} s); the host is too busy, or a backend does not respond")
        raise Failure(fault, result, conclusive=False) from error
    except _namespace.Failed as error:
        raise Failure(_diagnose.Fault(str(error)), result, conclusive=False) from error
    result["ms"] = round((time.monotonic() - started) * 1000 - result["grading_ms"], 1)
    if fault:
        raise Failure(fault, result, conclusive)
    result["ok"] = True
    return result


# --- in the namespace ------------------------------------------------------------------------------------------------


def _in_namespace(
    server: Server,
    changes: t.Sequence[Change],
    live: _webserver_model.Config | None,
    probes: t.Sequence[_client.Target],
    environment: dict[str, str],
    arguments: list[str],
    logs: t.Sequence[str],
    grade_all: Grader,
    limit: float,
) -> dict[str, t.Any]:
    put_in_view(changes)
    _empty_logs(logs)
    layout = server.layout
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = _spawn(server, environment, arguments, output)
        # While the server starts. What nothing changes was read already.
        config, unreadable = (live, None) if live and not changes else _load(layout)
        up = _wait_for_workers(server, process, limit / 2)
        endpoints = _probes.targets_of(config.vhosts) if config else []
        # Where nothing changes, this is to show that the server would start again, with what it is set up for.
        endpoints = endpoints if changes else _probes.one_of_each(endpoints)
        # A server has started when it responds, so the first response counts as part of its start.
        responses = _client.query_all(endpoints[:1], REQUEST_TIMEOUT) if up else []
        result: dict[str, t.Any] = {"start_ms": round((time.monotonic() - started) * 1000, 1)}
        if not up:
            output.seek(0)
            message = output.read().decode("utf-8", "replace") + "\n" + _log_text()
            fault = _diagnose.find(message, config, openssl_of(layout))
            message = "; ".join([fault.reason or _silence(logs), *filter(None, [_lost_addresses()])])
            return {"result": result, "fault": fault._replace(reason=message)}
    if config is None:
        return {"result": result, "fault": unreadable}
    responses += _client.query_all([*endpoints[1:], *probes], REQUEST_TIMEOUT)
    lost = _lost_addresses([*endpoints, *probes], responses)
    if lost:
        # Nothing was found out about the change there.
        return {"result": result, "fault": _diagnose.Fault(lost), "conclusive": False}
    result["endpoints"] = [dict(target, **response) for target, response in zip(endpoints, responses)]
    result["responses"] = responses[len(endpoints) :]
    result["listening"] = sorted(set(tcp_listeners().values()))
    if changes:
        result["grades"], result["grading_ms"] = _graded(grade_all, result["endpoints"])
    return {"result": result, "fault": None}


def _lost_addresses(
    targets: t.Sequence[_client.Target] | None = None, responses: t.Sequence[_client.Response] | None = None
) -> str:
    """What to report of the host's addresses that the view could not use: of those of the targets that could not be
    reached, or of all. Empty for none."""
    unusable = _namespace.unusable()
    if targets is not None and responses is not None:
        silent = [target for target, response in zip(targets, responses) if _client.is_unreached(response)]
        keys = {_namespace.packed(target["address"]) for target in silent}
        unusable = {key: text for key, text in unusable.items() if key in keys}
    return f"in the rehearsal this host's {', '.join(unusable.values())} could not be used" if unusable else ""


def put_in_view(changes: t.Iterable[Change]) -> None:
    """Change the view's files. A mount point is read-only there, so what it covers is replaced in its place."""
    for change in changes:
        os.makedirs(os.path.dirname(change.path), exist_ok=True)
        _namespace.uncover(change.path)
        _changeset.put(change.path, change.after)


def _graded(grade_all: Grader, targets: t.Sequence[t.Mapping[str, t.Any]]) -> tuple[list[Grade], float]:
    """The grades, and how many milliseconds they took."""
    started = time.monotonic()
    grades = grade_all(targets)
    return grades, round((time.monotonic() - started) * 1000, 1)


def _load(layout: Layout) -> tuple[_webserver_model.Config | None, _diagnose.Fault | None]:
    try:
        return LOADERS[layout.server](layout), None
    except _webserver_model.ConfigError as error:
        return None, _diagnose.Fault(
            "the server starts, but this collection cannot read its configuration to see what it serves: "
            + error.reason,
            error.file,
            error.line,
        )


def _spawn(
    server: Server, environment: dict[str, str], arguments: list[str], output: t.IO[bytes]
) -> subprocess.Popen[bytes]:
    foreground = ["-DFOREGROUND"] if server.layout.server == "apache" else []
    return _programs.start(server.command(*arguments, *foreground), environment, output, output)


def _wait_for_workers(server: Server, process: subprocess.Popen[bytes], seconds: float) -> bool:
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        if server.workers():
            return True
        # nginx forks and its first process ends well; Apache stays in the foreground.
        if process.poll() not in (None, 0) or (process.poll() == 0 and server.main_pid() is None):
            return False
        # One that takes long needs the processor itself.
        time.sleep(min(max((time.monotonic() - started) / 50, 0.001), 0.02))
    return False


def _silence(logs: t.Sequence[str]) -> str:
    """Why a server does not start that has reported nothing, as far as that can be seen."""
    fifos = [path for path in logs if _regular.is_fifo(path)]
    waits = f"; the server waits to open {', '.join(fifos)}, a FIFO without a reader: remove it" if fifos else ""
    return f"no worker came up{waits}"


def _log_text() -> str:
    """Everything that was logged in the view, whose logs were empty at the start."""
    message = []
    for folder, _folders, names in os.walk("/var/log"):
        for name in sorted(names):
            if "access" not in name:
                message.append(_end_of(os.path.join(folder, name)))
    return "\n".join(message)


def _end_of(path: str) -> str:
    """The last bytes of a log; nothing where it cannot be read."""
    with contextlib.suppress(OSError), _regular.opened(path) as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_END))
        return _regular.read_up_to(stream, LOG_END).decode("utf-8", "replace")
    return ""


def _empty_logs(paths: t.Iterable[str]) -> None:
    """Logs outside /var/log start empty as well, so that none is copied into memory when it is opened for writing."""
    for path in paths:
        try:
            found = os.stat(path)
            if found.st_size and not path.startswith("/var/log/"):
                os.unlink(path)
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, found.st_mode & 0o777)
                os.fchown(descriptor, found.st_uid, found.st_gid)
                os.close(descriptor)
        except OSError:
            continue


def openssl_of(layout: Layout) -> _openssl.OpenSSL | None:
    path = os.path.join(layout.modules_dir or "", "mod_ssl.so") if layout.server == "apache" else layout.binary
    try:
        return _openssl.for_binary(path)
    except OSError:
        return None


# --- what the server listens on ---------------------------------------------------------------------------------------


def _declared(config: _webserver_model.Config) -> set[tuple[str, int]]:
    """(address, port) of a configuration's Listen directives, for when no server was started with all of it."""
    if config.server == "apache":
        places = [item.args[0].rpartition(":") for item in _webserver_model.direct(config.root, "listen") if item.args]
        declared = [(address.strip("[]") or "*", int(port)) for address, _colon, port in places if port.isdigit()]
    else:
        declared = [(vhost.address.strip("[]"), vhost.port) for vhost in config.vhosts if vhost.port]
    wildcard = "::" if config.server == "apache" else "0.0.0.0"
    return {(wildcard if address == "*" else address, port) for address, port in declared}


def conflicts(
    listening: t.Iterable[t.Sequence[t.Any]], live: set[tuple[str, int]], foreign: set[tuple[str, int]]
) -> list[tuple[str, int]]:
    """What the changed server listens on, the live one does not, and another program already does: (address, port)."""
    needed = {(str(address), int(port)) for address, port in listening}
    taken = []
    for address, port in sorted(needed - live):
        # Apache's "Listen 443" is one IPv6 socket for both families; a server with one for each has both.
        both = address == "::" and ("0.0.0.0", port) not in needed
        for other, other_port in foreign:
            same_family = (":" in address) == (":" in other)
            wildcard = address in ("::", "0.0.0.0") or other in ("::", "0.0.0.0")
            if port == other_port and (address == other or (wildcard and (same_family or both))):
                taken.append((address, port))
                break
    return taken


# --- the two fallbacks -----------------------------------------------------------------------------------------------


def _copy_tree(source: str, target: str) -> None:
    """Copy a directory with its links as they are. What is neither file, link nor directory is left out, as nothing but
    an Include could have read it, and that would wait."""

    def others(folder: str, names: list[str]) -> list[str]:
        kinds = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
        return [name for name, mode in kinds.items() if not any(is_it(mode) for is_it in _COPIED)]

    shutil.copytree(source, target, symlinks=True, ignore=others, ignore_dangling_symlinks=True)


_COPIED = (stat.S_ISREG, stat.S_ISLNK, stat.S_ISDIR)


class _Copy:
    """A copy of the server's configuration directory with the changes in it, whose files refer to each other."""

    def __init__(self, layout: Layout, changes: t.Sequence[Change], folder: str) -> None:
        self.folder = folder
        self.changing = bool(changes)
        self._original = layout.config_dir.rstrip("/")
        self._copy = os.path.join(folder, "config")
        self._others: dict[str, str] = {}
        # Directories, and what stands for each in the copy.
        self._places = {self._original: self._copy, os.path.realpath(self._original): self._copy}
        _copy_tree(self._original, self._copy)
        self._copy_linked({os.path.dirname(change.path) for change in changes})
        self._relink()
        for number, change in enumerate(changes):
            path = self._inside(change.path)
            if path is None:
                path = self._others[change.path] = os.path.join(folder, "other-%d" % number)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            after = change.after
            if after.kind == _changeset.LINK:
                after = _changeset.State(_changeset.LINK, target=self._goal(change.path, after.target))
            _changeset.put(path, after)
        for current, _folders, names in os.walk(self._copy):
            for name in names:
                self._rewrite(os.path.join(current, name))
        self.layout = layout._replace(
            main_config=self._inside(layout.main_config) or layout.main_config,
            config_dir=self._copy,
            sysconfig=layout.sysconfig and self._own(layout.sysconfig),
        )

    def _own(self, sysconfig: Sysconfig) -> Sysconfig:
        before, after = (tuple(map(self.inside, paths)) for paths in (sysconfig.before, sysconfig.after))
        return sysconfig._replace(loads=self.inside(sysconfig.loads), before=before, after=after)

    def _inside(self, path: str) -> str | None:
        for original, copy in self._places.items():
            if path.startswith(original + "/"):
                return copy + path[len(original) :]
        return None

    def _copy_linked(self, changed: t.Collection[str]) -> None:
        """A link to a directory elsewhere becomes a copy of it, if something changes there."""
        for current, folders, _names in os.walk(self._copy):
            for path in (os.path.join(current, name) for name in folders):
                real = os.path.realpath(self._original + path[len(self._copy) :])
                if not os.path.islink(path) or self._inside(real):
                    continue
                if any((folder + "/").startswith(real + "/") for folder in changed):
                    os.unlink(path)
                    _copy_tree(real, path)
                    self._places[real] = path

    def _goal(self, link: str, target: str) -> str:
        """A link inside the directory leads to the copy, one to the outside to the original."""
        goal = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(link)), target))
        return self._inside(goal) or self._others.get(goal) or goal

    def _relink(self) -> None:
        for current, folders, names in os.walk(self._copy):
            for name in folders + names:
                path = os.path.join(current, name)
                if os.path.islink(path):
                    goal = self._goal(self._original + path[len(self._copy) :], os.readlink(path))
                    os.unlink(path)
                    os.symlink(goal, path)

    def _rewrite(self, path: str) -> None:
        if os.path.islink(path):
            return
        text = _webserver_model.decode(_regular.read(path))
        changed = self.inside(text)
        if changed != text:
            with open(path, "wb") as stream:
                stream.write(_webserver_model.encode(changed))

    def inside(self, text: str) -> str:
        """A text with the copy's paths for the original ones."""
        for original, copy in self._places.items():
            text = re.sub(rf"(?<![\w.-]){re.escape(original)}(?=[/\"'\s;]|$)", copy, text)
        for original, copy in self._others.items():
            text = text.replace(original, copy)
        return text

    def back(self, fault: _diagnose.Fault) -> _diagnose.Fault:
        """The same fault with the original paths."""

        def original(text: str | None) -> str | None:
            if text is None:
                return None
            for path, copy in self._others.items():
                text = text.replace(copy, path)
            return text.replace(self._copy, self._original)

        return fault._replace(
            reason=original(fault.reason) or "", file=original(fault.file), value=original(fault.value)
        )


def _in_copy(
    server: Server,
    changes: t.Sequence[Change],
    environment: dict[str, str],
    arguments: list[str],
    result: Rehearsal,
    grade_all: Grader,
    limit: float,
) -> _diagnose.Fault | None:
    folder = tempfile.mkdtemp(prefix="kopano-hardening-")
    try:
        copy = _Copy(server.layout, changes, folder)
        result["method"] = "syntax"
        trial = Server(copy.layout)
        trial.open_files = server.open_files
        where = {
            "apache": ["-d", copy.layout.server_root or copy.layout.config_dir, "-f", copy.layout.main_config],
            "nginx": ["-c", copy.layout.main_config],
        }[copy.layout.server]
        config, unreadable = _load(copy.layout)
        fault = _run_copy(trial, environment, [*map(copy.inside, arguments), *where, "-t"], config, limit / 2)
        if fault or config is None:
            return copy.back(fault or unreadable or _diagnose.Fault("unknown"))
        result["listening"] = sorted(_declared(config))
        tls = [vhost for vhost in config.vhosts if vhost.tls and vhost.block is not None]
        if not tls:
            return None
        result["method"] = "instance"
        return _instance(trial, config, tls, environment, folder, result, copy, grade_all, limit / 2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_copy(
    trial: Server,
    environment: dict[str, str],
    arguments: list[str],
    config: _webserver_model.Config | None,
    seconds: float,
) -> _diagnose.Fault | None:
    try:
        done = _programs.run(trial.command(*arguments), seconds, environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _diagnose.Fault(str(error))
    if done.returncode == 0:
        return None
    return _diagnose.find(done.stdout.decode("utf-8", "replace"), config, openssl_of(trial.layout))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tls_text(config: _webserver_model.Config, directives: t.Iterable[_webserver_model.Directive]) -> str:
    """The TLS and header directives among these, as they are in the files."""
    keep = []
    for item in _webserver_model.direct(directives):
        proxy = item.key.startswith(("sslproxy", "sslengine", "ssl_engine"))
        if item.children is None and not proxy and (item.key.startswith("ssl") or item.key in ("header", "add_header")):
            keep.append("  " + config.files[item.file][item.start : item.end])
    return "\n".join(keep)


def _apache_instance(
    config: _webserver_model.Config, vhosts: t.Sequence[_webserver_model.Vhost], port: int, folder: str, user: str
) -> str:
    loads = [
        config.files[item.file][item.start : item.end]
        for item in _webserver_model.walk(config.root)
        if item.key == "loadmodule"
    ]
    groups = [item.args[0] for item in _webserver_model.direct(config.root, "group") if item.args]
    blocks = []
    for vhost in vhosts:
        names = vhost.names or ["localhost"]
        blocks.append(
            "<VirtualHost 127.0.0.1:%d>\n  ServerName %s\n%s  DocumentRoot %s\n  SSLEngine on\n%s\n</VirtualHost>"
            % (
                port,
                names[0],
                "".join(f"  ServerAlias {name}\n" for name in names[1:]),
                folder,
                _tls_text(config, vhost.block.children or ()) if vhost.block else "",
            )
        )
    top = _tls_text(config, [item for item in config.root if item.key != "<virtualhost"])
    return "\n".join(
        [
            *loads,
            "ServerName localhost",
            "Listen 127.0.0.1:%d" % port,
            f"PidFile {folder}/pid",
            f"ErrorLog {folder}/error.log",
            f"DefaultRuntimeDir {folder}",
            # mod_mime wants its file of types, which the distribution names in a configuration that is not used here.
            "<IfModule mime_module>\nTypesConfig /dev/null\n</IfModule>",
            f"User {user}",
            f"Group {groups[-1] if groups else user}",
            top,
            *blocks,
            "",
        ]
    )


def _nginx_instance(
    config: _webserver_model.Config, vhosts: t.Sequence[_webserver_model.Vhost], port: int, folder: str, user: str
) -> str:
    loads = [
        config.files[item.file][item.start : item.end]
        for item in _webserver_model.walk(config.root)
        if item.key == "load_module"
    ]
    http = [item for item in _webserver_model.direct(config.root) if item.key == "http"]
    blocks = {}
    for vhost in vhosts:
        if vhost.block is not None:
            names = " ".join(vhost.names) or '""'
            blocks[id(vhost.block)] = "server {\n listen 127.0.0.1:%d ssl;\n server_name %s;\n return 204;\n%s\n}" % (
                port,
                names,
                _tls_text(config, vhost.block.children or ()),
            )
    temporary = "".join(
        f" {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Headers may be made of variables.
    maps = [
        config.files[item.file][item.start : item.end]
        for block in http
        for item in _webserver_model.direct(block.children or ())
        if item.key == "map"
    ]
    top = "\n".join([*maps, *(_tls_text(config, block.children or ()) for block in http)])
    return "\n".join(
        [
            *loads,
            f"user {user};",
            f"pid {folder}/pid;",
            f"error_log {folder}/error.log;",
            "events {}",
            "http {",
            temporary,
            " access_log off;",
            top,
            *blocks.values(),
            "}",
            "",
        ]
    )


_INSTANCES = {"apache": _apache_instance, "nginx": _nginx_instance}


def _instance(
    trial: Server,
    config: _webserver_model.Config,
    vhosts: t.Sequence[_webserver_model.Vhost],
    environment: dict[str, str],
    folder: str,
    result: Rehearsal,
    copy: _Copy,
    grade_all: Grader,
    start_seconds: float,
) -> _diagnose.Fault | None:
    port = _free_port()
    path = os.path.join(folder, "instance.conf")
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(_INSTANCES[trial.layout.server](config, vhosts, port, folder, trial.layout.user))
    os.chmod(folder, 0o711)  # noqa: S103, the workers go through it
    if trial.layout.server == "apache":
        line = trial.command("-d", trial.layout.config_dir, "-f", path, "-DFOREGROUND")
    else:
        line = trial.command("-c", path, "-g", "daemon off;")
    output = os.path.join(folder, "output")
    started = time.monotonic()
    with open(output, "wb") as stream_out:
        process = _programs.start(line, environment, stream_out, stream_out, own_session=True)
    try:
        groups: dict[str | None, str | None] = {None: None}
        for vhost in vhosts:
            groups.update((name, vhost.tls_group) for name in vhost.names[:1] if name not in groups)
        targets: list[_client.Target] = [
            {"address": "127.0.0.1", "port": port, "server_name": name, "path": "/", "tls_group": group}
            for name, group in groups.items()
        ]
        response = _first_response(process, targets[0], start_seconds)
        result["start_ms"] = round((time.monotonic() - started) * 1000, 1)
        if response is None:
            message = _end_of(output) + "\n" + _end_of(os.path.join(folder, "error.log"))
            return copy.back(_diagnose.find(message, config, openssl_of(trial.layout)))
        responses = [response, *_client.query_all(targets[1:], REQUEST_TIMEOUT)]
        result["endpoints"] = [dict(target, **found) for target, found in zip(targets, responses)]
        if copy.changing:
            grades, result["grading_ms"] = _graded(grade_all, result["endpoints"])
            result["grades"] = _at_their_places(grades, vhosts)
        return None
    finally:
        _end(process)


def _at_their_places(grades: t.Sequence[Grade], vhosts: t.Sequence[_webserver_model.Vhost]) -> list[Grade]:
    """The grades from the trial's port, assigned to the endpoints that have these names."""
    by_name = {entry["server_name"].lower(): entry for entry in grades if entry["server_name"]}
    return [
        {**by_name[place["server_name"]], "address": place["address"], "port": place["port"]}
        for place in _probes.targets_of(vhosts)
        if place["server_name"] in by_name
    ]


def _first_response(
    process: subprocess.Popen[bytes], target: _client.Target, seconds: float
) -> _client.Response | None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        # Any user of the host could have taken the port in the meantime, and respond in place of the trial.
        if listens(process.pid, target["port"]):
            response = _client.query(target, REQUEST_TIMEOUT)
            if response["ok"] or response["protocol"]:
                return response
        time.sleep(0.01)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a trial instance with everything that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT)
            return
