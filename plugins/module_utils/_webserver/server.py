# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The live web server as a process: is it running, does it take its configuration, make it read it again.

Any user can start the server's program, with an environment, a command line and a configuration of their own. So a
process counts as the server only if it is root's, or what systemd names as the main process of the server's unit. What
root runs to test a configuration is started by the layout's path, with the environment that the unit gives, never that
of a process; of a command line only what Apache's manual knows is used, and only of a process of root's. One that root
has started by hand counts too: a user who can do that needs no help to run anything as root.

Both servers are reloaded with the signal that their manuals give for it, sent to the main process: SIGUSR1 (graceful)
for Apache httpd (stopping.html), SIGHUP for nginx (control.html). Neither closes a connection that is in use.
"""

from __future__ import annotations

import contextlib
import errno
import getopt
import glob
import os
import re
import signal
import socket
import struct
import subprocess
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._host import process as _process
from ansible_collections.kopano.hardening.plugins.module_utils._host.regular import OtherEnds
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import error_logs as _error_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.error_logs import ErrorLogs, Logged
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout

RELOAD_SIGNALS = {"apache": signal.SIGUSR1, "nginx": signal.SIGHUP}
CHECK_ARGUMENTS = {"apache": ["-t"], "nginx": ["-t", "-q"]}

# Of the manager's protocol with its services; a server that is started for a rehearsal must not take part in it.
MANAGER_VARIABLES = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC")

# The options of Apache httpd's command line as getopt(3) takes them; its manual, programs/httpd.html, lists them.
_APACHE_OPTIONS = "C:c:D:d:E:e:f:hk:LlMn:R:SstTvVwX?"
# Those that shape the configuration, and the names that only decide how the process itself runs.
_SHAPING = ("-C", "-c", "-D", "-d", "-f")
_RUN_MODES = ("FOREGROUND", "NO_DETACH", "ONE_PROCESS", "DEBUG")
# The main configuration that nginx was given, in what it shows as its command line: all of it is in one word there.
_NGINX_CONFIGURATION = re.compile(r" -c ?(/\S+)")

_SHOW_ENVIRONMENT = ("show", "--property=Environment", "--property=EnvironmentFiles")
# A quoted or a plain item of a list that systemctl(1) shows, and the escapes in it.
_SHOWN_ITEM = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"|(\S+)')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}

# Old workers that serve long polls may stay for an hour, and those of Apache's MPM prefork keep their listening sockets
# until then. So wait for such sockets no longer than this since the last worker came, went or closed its own. Seconds.
OLD_WORKER_PATIENCE = 1.5
# Thousands of virtual hosts on a slow machine take that long. A rollback before the end would gain nothing: its own
# reload has to wait until the server has read what it is reading. Seconds.
RELOAD_TIMEOUT = 120.0
ENDED = "the main process ended at the reload"
NOT_STARTED = "no new worker was started; no log has the reason"  # unless one has it
START_TIMEOUT = 30
UNIT_START_TIMEOUT = 100  # a bit more than the service manager's own limit for a start
STOP_TIMEOUT = 100
STOP_PAUSE = 2  # seconds until a server that does not end gets the signal once more


# Netlink's socket monitoring (sock_diag(7)): it lists the listening sockets alone, where /proc/net/tcp walks the table
# of all connections, which takes milliseconds on a big host.
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_TCP_LISTEN = 10


def tcp_listeners() -> dict[str, tuple[str, int]]:
    """Listening TCP sockets of this network namespace: inode to (address, port)."""
    found: dict[str, tuple[str, int]] = {}
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            found.update(_diagnosed(family))
    except OSError:
        return _tabled()
    return found


def _diagnosed(family: int) -> t.Iterator[tuple[str, tuple[str, int]]]:
    size = 4 if family == socket.AF_INET else 16
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(2)
        request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        link.send(struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + request)
        while True:
            for kind, body in _namespace.messages(link.recv(1 << 16)):
                if kind == _namespace.NLMSG_DONE:
                    return
                if kind == _namespace.NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag")
                # struct inet_diag_msg: four octets, ports in network order, addresses; the inode is last.
                port = struct.unpack_from("!H", body, 4)[0]
                inode = struct.unpack_from("=I", body, 68)[0]
                yield str(inode), (socket.inet_ntop(family, body[8 : 8 + size]), port)


def _tabled() -> dict[str, tuple[str, int]]:
    """The same from /proc/net/tcp (proc_net_tcp.rst), for a kernel without the monitoring."""
    found = {}
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        try:
            with open(table) as lines:
                next(lines)
                for line in lines:
                    fields = line.split()
                    if int(fields[3], 16) == _TCP_LISTEN:
                        address, port = fields[1].split(":")
                        # Addresses stand there as 32-bit words in the byte order of the host.
                        words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
                        packed = struct.pack("=%dI" % len(words), *words)
                        found[fields[9]] = (socket.inet_ntop(family, packed), int(port, 16))
        except (OSError, StopIteration):
            continue
    return found


def _sockets_of(pid: int) -> set[str] | None:
    """Inodes of the sockets that a process has open; None where this process may not look (ptrace(2))."""
    inodes = set()
    folder = "/proc/%d/fd" % pid
    try:
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                goal = os.readlink(os.path.join(folder, name))
                if goal.startswith("socket:["):
                    inodes.add(goal[8:-1])
    except FileNotFoundError:
        return set()  # it has ended
    except OSError:
        return None
    return inodes


def listens(pid: int, port: int) -> bool:
    """Whether the process itself listens on this TCP port."""
    own = _sockets_of(pid) or set()
    return any(inode in own and where[1] == port for inode, where in tcp_listeners().items())


def _listening(pids: t.Iterable[int]) -> dict[int, bool]:
    """Which of the processes listen: True; or might, since this process may not see their sockets: False."""
    listeners = set(tcp_listeners())
    opened = {pid: _sockets_of(pid) for pid in pids}
    return {pid: inodes is not None for pid, inodes in opened.items() if inodes is None or inodes & listeners}


def _processes() -> t.Iterator[tuple[int, str, int]]:
    """Every process as (pid, name, parent), which anybody may read of any process (proc_pid_stat(5))."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as text:
                front, _parenthesis, rest = text.read().rpartition(")")
                yield int(name), front.partition("(")[2], int(rest.split()[1])


def _open_files(pid: int | None) -> int | None:
    """How many files a process may open; None without one, and where that is not known or has no limit."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii", errors="replace") as stream:
            found = re.search(r"^Max open files +(\d+)", stream.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None


class ServerError(Exception):
    """The configuration of the running server cannot be found out; the message has the reason and the remedy."""


def shaping(line: t.Sequence[str], binary: str) -> list[str]:
    """The options of Apache's command line that shape its configuration. Raises ServerError if it is not one."""
    try:
        options, rest = getopt.getopt(list(line), _APACHE_OPTIONS)
        if rest:
            raise getopt.GetoptError(f"{rest[0]!r} is no option")
    except getopt.GetoptError as error:
        raise ServerError(
            f"the running {binary} has a command line that is not understood ({error}): {list(line)}; start it with "
            "options of Apache's manual only"
        ) from error
    kept = [pair for pair in options if pair[0] in _SHAPING and pair[1] not in _RUN_MODES]
    return [argument for pair in kept for argument in pair]


class Server:
    """One web server of this host, of whatever made it start."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._binary = os.path.realpath(layout.binary)
        self._names = {os.path.basename(path) for path in (layout.binary, self._binary)}
        self._shown: subprocess.Popen[bytes] | None = None
        self._of_unit: dict[str, str] | None = None
        # How many files the running server may open, which its start has set; None: not known.
        self.open_files: int | None = None
        # Of the last reload: the process that got the signal, those that serve since, and the logs from then on.
        self._reloaded: int | None = None
        self._serving: set[int] = set()
        self._logs = ErrorLogs(layout.server, ())

    # --- processes ---

    def _is_of_binary(self, program: str | None, name: str) -> bool:
        if program is None:
            # Without root's rights the programs of other users' processes cannot be seen, but their names can.
            return name in self._names
        # An upgraded package leaves the running program's file deleted.
        return program in (self._binary, self._binary + " (deleted)")

    def _of_binary(self) -> dict[int, int]:
        """The processes of the binary, of any user: parents by pid."""
        found = {}
        for pid, name, parent in _processes():
            try:
                program: str | None = os.readlink("/proc/%d/exe" % pid)
            except PermissionError:
                program = None
            except OSError:
                continue  # it has ended, or is the kernel's own
            if self._is_of_binary(program, name):
                found[pid] = parent
        return found

    def _observe(self, pid: int) -> _process.Process | None:
        """A process of the binary outside containers."""
        with contextlib.suppress(OSError), _process.folder_of(pid) as folder:
            process = _process.observe(folder)
            if self._is_of_binary(process.program, process.name) and not process.contained:
                return process
        return None

    def main_pid(self) -> int | None:
        """The process that signals go to. None: the server is not running.

        It is root's, and not the child of another one of root's; or it is the main process of the unit, which may run
        as another user. Of several the unit's own. One that cannot be read for a moment has not ended: it is looked for
        once more.
        """
        return self._find_main() or self._find_main()

    def _find_main(self) -> int | None:
        parents = self._of_binary()
        observed: dict[int, _process.Process | None] = {}

        def is_roots(pid: int) -> bool:
            if pid not in observed:
                observed[pid] = self._observe(pid)
            process = observed[pid]
            return process is not None and process.is_roots

        # The parent comes first: of a server with many workers only its main process is observed.
        mains = [
            pid for pid, parent in parents.items() if not (parent in parents and is_roots(parent)) and is_roots(pid)
        ]
        if len(mains) != 1 and parents:
            managed = self._managed_pid()
            if managed in parents and self._observe(managed):
                return managed
        return min(mains) if mains else None

    def _managed_pid(self) -> int | None:
        output = self._systemctl("show", "--property=MainPID", "--value")
        return int(output) if output and output.isdigit() else None

    def starts_at_boot(self) -> bool:
        """Whether the service manager starts it at the next boot; also where that cannot be determined.

        systemctl reads the unit's files itself, as a user who is not root may have no bus to the service manager.
        """
        state = _output(self._start_systemctl("is-enabled", SYSTEMD_OFFLINE="1"), may_fail=True)
        return state not in ("disabled", "masked", "masked-runtime")

    def _systemctl(self, *arguments: str, timeout: float = START_TIMEOUT) -> str | None:
        return _output(self._start_systemctl(*arguments), timeout)

    def _start_systemctl(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes] | None:
        if not os.path.isdir("/run/systemd/system"):
            return None
        try:
            return _programs.start(["systemctl", *arguments, self.layout.unit], {**os.environ, **environment})
        except OSError:
            return None

    def workers(self, main: int | None = None) -> set[int]:
        """The main process's children of the same name. Their program may not be read where their user is another."""
        main = main or self.main_pid()
        processes = list(_processes()) if main else []
        own = [name for pid, name, _parent in processes if pid == main]
        return {pid for pid, name, parent in processes if parent == main and name in own}

    def listening(self) -> set[tuple[str, int]]:
        """(address, port) of what the running server listens on."""
        main = self.main_pid()
        if main is None:
            return set()
        listeners, own = tcp_listeners(), _sockets_of(main) or set()
        return {where for inode, where in listeners.items() if inode in own}

    def foreign_listening(self) -> set[tuple[str, int]]:
        """(address, port) of what anybody else listens on."""
        main = self.main_pid()
        own = (_sockets_of(main) if main else None) or set()
        return {where for inode, where in tcp_listeners().items() if inode not in own}

    # --- running it ---

    def arguments(self) -> list[str]:
        """What the running Apache was started with that shapes its configuration. Raises ServerError, OSError.

        L(open_files) is set as well.

        None of it is taken from a process that is not root's: its user can write there whatever root shall run.
        """
        main = self.main_pid()
        self.open_files = _open_files(main)
        if main is None:
            return self._usual_arguments()
        try:
            line, is_roots = self._command_line(main)
        except (FileNotFoundError, ProcessLookupError):
            return []  # it has ended
        if self.layout.server != "apache":
            named = _NGINX_CONFIGURATION.search(" ".join(line))
            self._check_configuration(named.group(1) if named else self.layout.main_config)
            return []
        arguments = shaping(line[1:], self._binary)
        if arguments and not is_roots:
            raise ServerError(
                f"{self.layout.unit} does not run as root and was started with {arguments}, which its own user could "
                f"have written; set this in {self.layout.envvars or self.layout.main_config} instead"
            )
        self._check_configuration(self._configuration(arguments))
        return arguments

    def _configuration(self, arguments: t.Sequence[str]) -> str:
        """The main file that Apache reads with these options, of which the last one of a kind counts (httpd(8))."""
        chosen = dict(zip(arguments[::2], arguments[1::2]))
        built_in, main = self.layout.server_root or self.layout.config_dir, self.layout.main_config
        relative = os.path.relpath(main, built_in) if main.startswith(built_in + "/") else main
        return os.path.join(chosen.get("-d", built_in), chosen.get("-f", relative))

    def _check_configuration(self, path: str) -> None:
        """Raises ServerError where the server was started with another main file than the one which is read here.

        It may be a second instance that runs while the unit is stopped.
        """
        if os.path.realpath(path) != os.path.realpath(self.layout.main_config):
            raise ServerError(
                f"the running {self._binary} was started with the configuration {path}, and not with "
                f"{self.layout.main_config}; if it is another instance, start {self.layout.unit} beside it, otherwise "
                f"restart it with {self.layout.main_config}"
            )

    def _usual_arguments(self) -> list[str]:
        """Those of L(arguments) with which the distribution's script starts the server; mostly it needs none."""
        sysconfig = self.layout.sysconfig
        if sysconfig is None:
            return []
        flags = _layout.assignments(self.layout.envvars or "").get("APACHE_SERVER_FLAGS", "")
        found = [argument for name in (*sysconfig.defines, *_layout.server_flags(flags)) for argument in ("-D", name)]
        for option, paths in (("-C", sysconfig.before), ("-c", sysconfig.after)):
            # They are made at the first start.
            found += [argument for path in paths for argument in (option, f"IncludeOptional {path}")]
        return [*found, "-C", f"PidFile {self.layout.pid_file}"]

    def _command_line(self, pid: int) -> tuple[list[str], bool]:
        """The words of its command line, and whether the process is root's. Raises OSError if it is another one now.

        A process can become another program and another user's, so it is observed before and after. What remains is
        one that does both, there and back, between these system calls, which needs the help of a program of root's.
        """
        with _process.folder_of(pid) as folder:
            before = _process.observe(folder)
            arguments = [os.fsdecode(part) for part in _process.read_in(folder, "cmdline").split(b"\0")[:-1]]
            if _process.observe(folder) != before or not self._is_of_binary(before.program, before.name):
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            return arguments, before.is_roots

    def prepare(self) -> None:
        """Request the unit's environment from systemd, which responds while this process does something else."""
        self._shown = self._shown or self._start_systemctl(*_SHOW_ENVIRONMENT)

    def environment(self) -> dict[str, str]:
        """What the service manager gives the server, or a clean one; without the manager's own protocol."""
        if self._of_unit is None:
            self.prepare()
            self._of_unit = self._unit_environment(_output(self._shown) or "")
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
        environment.update(self._of_unit)
        return {name: value for name, value in environment.items() if name not in MANAGER_VARIABLES}

    def trial_environment(self) -> dict[str, str]:
        """The same for a process that reads the configuration once, as a test and a rehearsal do.

        nginx needs a megabyte for a moment for each map in it, which glibc would take from the system and give back
        every time; zeroing it is most of what a start with hundreds of files costs (mallopt(3), M_TOP_PAD).
        """
        return {"MALLOC_TOP_PAD_": str(16 << 20), **self.environment()}

    def _unit_environment(self, shown: str) -> dict[str, str]:
        """The environment that the unit names (systemd.exec(5)), without that of the layout's file."""
        environment: dict[str, str] = {}
        for line in shown.split("\n"):
            kind, _equals, value = line.partition("=")
            if kind == "Environment":
                pairs = (item.partition("=") for item in _shown_items(value))
                environment.update({name: text for name, _found, text in pairs})
            elif kind == "EnvironmentFiles":
                for path in sorted(glob.glob(value.rpartition(" (ignore_errors=")[0])):
                    if path != self.layout.envvars:
                        environment.update(_layout.assignments(path))
        return environment

    def command(self, *arguments: str) -> list[str]:
        """The server's command line, after the file with its environment, which is a shell script.

        It may open as many files as the running server, and no more, as C(arguments) has found. A session of Ansible
        has another limit, and each log of a virtual host counts.
        """
        line = [self.layout.binary, *arguments]
        envvars = self.layout.envvars if self.layout.envvars and _paths.is_there(self.layout.envvars) else None
        before = "ulimit -n %d 2>/dev/null || :; " % self.open_files if self.open_files else ""
        before += 'set -a; . "$0"; set +a; ' if envvars else ""
        return ["/bin/sh", "-c", before + 'exec "$@"', envvars or "sh", *line] if before else line

    def check(self) -> tuple[bool, str]:
        """The server's own test of the configuration on the disk, and its output."""
        return self._run(*CHECK_ARGUMENTS[self.layout.server])

    def dump_vhosts(self) -> tuple[bool, str]:
        """Apache's own list of its virtual hosts, and of its modules. Not a whole test: modules that check at the end
        do not."""
        return self._run("-t", "-D", "DUMP_VHOSTS", "-D", "DUMP_MODULES")

    def _run(self, *arguments: str) -> tuple[bool, str]:
        try:
            done = _programs.run(self.command(*self.arguments(), *arguments), START_TIMEOUT, self.trial_environment())
        except (OSError, subprocess.TimeoutExpired) as error:
            return False, str(error)
        return done.returncode == 0, done.stdout.decode("utf-8", "replace").strip()

    def start(self) -> bool:
        """Start a stopped server. True when it runs afterwards; never raises."""
        if self.main_pid() is None and self._systemctl("reset-failed") is not None:
            self._systemctl("start", timeout=UNIT_START_TIMEOUT)
        if self.main_pid() is None:
            self._start_directly()
        return self.main_pid() is not None

    def _start_directly(self) -> None:
        """Start the server where no service manager does. One that stays in the foreground is left running there."""
        arguments = [*self._usual_arguments(), "-k", "start"] if self.layout.server == "apache" else []
        try:
            process = _programs.start(
                self.command(*arguments), self.environment(), _programs.DROPPED, _programs.DROPPED, own_session=True
            )
        except OSError:
            return
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and not self.workers() and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> bool:
        """Stop the server in good order. True when it no longer runs afterwards; never raises."""
        self._systemctl("stop", timeout=STOP_TIMEOUT)
        deadline = time.monotonic() + STOP_TIMEOUT
        signalled = 0.0
        main = self.main_pid()
        while main is not None and time.monotonic() < deadline:
            # Again and again: nginx does nothing about a signal that comes while it starts, before it waits for one.
            if time.monotonic() - signalled > STOP_PAUSE:
                signalled = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(main, signal.SIGTERM)
            time.sleep(0.02)
            main = self.main_pid()
        return main is None

    def was_stopped(self) -> bool:
        """Whether the service manager stopped the server for an administrator; False where it is not known.

        One that ended by itself at a bad configuration has failed. One that was never started since the boot was not
        stopped.
        """
        output = self._systemctl("show", "--property=ActiveState,Result,ActiveEnterTimestampMonotonic") or ""
        state = dict(line.partition("=")[::2] for line in output.splitlines())
        has_run = state.get("ActiveEnterTimestampMonotonic", "0") != "0"
        return (state.get("ActiveState"), state.get("Result")) == ("inactive", "success") and has_run

    def reload(self, logs: t.Sequence[str], ends: OtherEnds | None = None) -> tuple[bool, str]:
        """Have the running server read its configuration, and wait until its workers run with it.

        logs: error logs, which L(logged) reads when it refuses. ends: of all of its logs, as somebody can exchange one
        for a FIFO right before the server opens it. Returns (True, "") or (False, reason).
        """
        main = self.main_pid()
        old = self.workers(main)
        if main is None:
            return False, f"{self.layout.unit} is not running"
        self._reloaded, self._serving = main, set()
        self._logs = ErrorLogs(self.layout.server, logs)
        try:
            os.kill(main, RELOAD_SIGNALS[self.layout.server])
        except ProcessLookupError:
            return False, f"{self.layout.unit} ended before it could be reloaded"
        deadline = time.monotonic() + RELOAD_TIMEOUT
        progress: t.Any = None
        patience, pause = 0.0, 0.002
        checked = time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
            if ends and time.monotonic() > checked + 1:
                ends.hold()
                checked = time.monotonic()
            if self.ended(0):
                return False, ENDED
            is_nginx = self.layout.server == "nginx"
            has_finished = is_nginx and _waits_for(main, RELOAD_SIGNALS["nginx"])
            workers = self.workers(main)
            if has_finished and not workers - old:
                return False, NOT_STARTED
            if not [pid for pid in workers - old if not is_nginx or _has_started(pid)]:
                continue
            self._serving = workers
            listening = _listening(workers & old)
            if not listening:
                return True, ""
            if progress != (workers, listening):
                progress = (workers, listening)
                patience = time.monotonic() + OLD_WORKER_PATIENCE
            # An old worker of nginx that listens is certain to stop, but accepts connections until then: after all new
            # ones have been started, which takes seconds where there are many, or the host is busy.
            will_stop = is_nginx and all(listening.values())
            if time.monotonic() > patience and not will_stop:
                return True, ""
        if progress:
            return True, ""
        return False, "no new worker within %d s" % RELOAD_TIMEOUT

    def ended(self, patience: float) -> bool:
        """Whether the server has ended since the last reload, or ends within so many seconds.

        A busy Apache can start one more old worker, which looks like a new one, before it finds the new configuration
        to be no good and ends.
        """
        if self._reloaded is None:
            return False  # it was started, not reloaded
        deadline = time.monotonic() + patience
        while _is_there(self._reloaded):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def logged(self) -> Logged:
        """What it has logged since the last reload. A file system can delay this."""
        return self._logs.logged(self._reloaded)

    def logged_about_requests(self) -> str:
        """The same of the processes that serve since then, about requests."""
        workers = self._serving | ({self._reloaded} if self._reloaded else set())
        return _error_logs.of_workers(self.logged(), self.layout.server, workers)


def _is_there(pid: int) -> bool:
    """Whether a process exists. One that cannot be inspected is not taken for one that has ended."""
    try:
        os.stat("/proc/%d" % pid)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


class _Signals(t.NamedTuple):
    """What a process does with its signals (proc_pid_status(5)); of the two sets, bit 0 is signal 1."""

    sleeps: bool
    blocked: int
    pending: int


def _signals_of(pid: int) -> _Signals | None:
    """None where that cannot be read."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
            fields = dict(line.partition(":")[::2] for line in lines)
        pending = int(fields["ShdPnd"], 16) | int(fields["SigPnd"], 16)
        return _Signals(fields["State"].split()[:1] == ["S"], int(fields["SigBlk"], 16), pending)
    except (OSError, KeyError, ValueError):
        return None


def _waits_for(pid: int, number: int) -> bool:
    """Whether a process sleeps and would take this signal at once.

    The main process of nginx keeps its signals blocked except while it waits for one, in sigsuspend(2). So after the
    signal to reload this is true once it has read the configuration, has tried again to listen on a port that is taken,
    as it does five times in two seconds, and has made new workers or refused to. Its log would not prove that: a path
    that a client requests is logged there with its line breaks, and can look like any other line.
    """
    signals = _signals_of(pid)
    return signals is not None and signals.sleeps and not (signals.blocked | signals.pending) >> (number - 1) & 1


def _has_started(pid: int) -> bool:
    """Whether a worker of nginx has got its user and directory: only then it unblocks the signals of its parent."""
    signals = _signals_of(pid)
    return signals is not None and not signals.blocked >> (RELOAD_SIGNALS["nginx"] - 1) & 1


def _output(
    process: subprocess.Popen[bytes] | None, timeout: float = START_TIMEOUT, may_fail: bool = False
) -> str | None:
    """What a program prints, if it ends in time; and well, unless it may fail."""
    if process is None:
        return None
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return output.decode("utf-8", "replace").strip() if may_fail or process.returncode == 0 else None


def _shown_items(text: str) -> list[str]:
    """The items of a list as systemctl shows it."""
    return [
        re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape.group(1), escape.group(1)), quoted) if quoted else plain
        for quoted, plain in _SHOWN_ITEM.findall(text)
    ]
