# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a lab host: the module's work as a process of its own, and fingerprints of the host around it.

One JSON document comes in on standard input and one goes out. It stands beside a copy of the collection's
module_utils, which is all that it needs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import types
from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
LOCK = "/run/kopano-hardening.lock"
STATE = "/var/lib/kopano-hardening"
TRANSACTIONS = STATE + "/transactions"
# What a transaction may write to: the configuration of both servers, and Debian's marks of what is enabled.
CONFIGURATION = ("/etc", "/var/lib/apache2")
# Where it must not leave anything, beside what is there already.
LEFTOVERS = ("/", "/tmp", "/run", "/root")
ERROR_LOG = re.compile(r"/var/log/.*error.*")
SERVERS = ("apache2", "httpd", "httpd-prefork", "httpd-worker", "httpd-event", "nginx")
KERNEL_TREES = ("/proc", "/sys", "/dev")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
MODULE_SECONDS = 120
MODULE_UTILS = "ansible_collections.kopano.hardening.plugins.module_utils."


# --- the module ------------------------------------------------------------------------------------------------------


def module(
    params: dict,
    check: bool = False,
    strace: list | None = None,
    dies: list | None = None,
    first: str = "",
    meanwhile: list | None = None,
    clock: list | None = None,
    seconds: int = MODULE_SECONDS,
) -> dict:
    """Run the transaction in a process of its own, under strace with these arguments if there are any.

    dies: arguments for die(), if the process is to kill itself; first: a script of the shell's that runs before it;
    meanwhile: when() a script runs, and the script; clock: when() its clock jumps, and by how many seconds.
    """
    script(first)
    tracer = ["strace", "-qq", "-o", "/dev/null", *strace] if strace else []
    started = time.time()
    process = subprocess.Popen(
        [*tracer, sys.executable, "-B", os.path.abspath(__file__), "transaction"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        # What is done to the process that makes the change is not done to the one that watches it.
        watched = not (strace or dies)
        out, err = process.communicate(json.dumps([params, check, dies, meanwhile, clock, watched]).encode(), seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    try:
        result = json.loads(out)
    except ValueError:
        result = {"failed": True, "msg": None, "stderr": err.decode("utf-8", "replace")[-2000:]}
    # What was killed has left its lock, which tells how far it was.
    with contextlib.suppress(OSError), open(LOCK) as lock:
        result["lock"] = lock.read()
    return dict(result, status=process.returncode, started=started, ended=time.time())


def die(when: str, name: str) -> None:
    """Kill this process when it first calls a function, such as os.kill: before it or after it."""
    library, _dot, function = name.rpartition(".")
    module_of_it, kill = importlib.import_module(library), os.kill
    original = getattr(module_of_it, function)

    def deadly(*arguments: object) -> None:
        if when == "after":
            original(*arguments)
        kill(os.getpid(), signal.SIGKILL)

    setattr(module_of_it, function, deadly)


def when(place: str, act: Callable[[], None]) -> None:
    """Have something happen once: as the run enters a phase, or before it first calls a function of MODULE_UTILS."""
    library, dot, function = place.rpartition(".")
    lock = importlib.import_module(MODULE_UTILS + "_transaction.journal").Lock
    owner = importlib.import_module(MODULE_UTILS + library) if dot else lock
    name = function if dot else "set_phase"
    original, left = getattr(owner, name), [act]

    def watched(*arguments: object) -> object:
        if left and (dot or arguments[-1] == place):
            left.pop()()
        return original(*arguments)

    setattr(owner, name, watched)


def script(text: str) -> None:
    """Somebody else's work, which the run does not see: it waits meanwhile."""
    subprocess.run(["sh", "-euc", text], stdout=subprocess.DEVNULL, check=True)


def move_clock(seconds: int) -> None:
    """Let the clock jump for this process, which is all that a container can do. Time since the boot goes on."""
    clock, calendar = time.time, time.gmtime
    time.time = lambda: clock() + seconds
    time.gmtime = lambda moment=None: calendar(time.time() if moment is None else moment)


def transaction() -> dict:
    """What the module's main() does, without Ansible around it."""
    sys.path.insert(0, HERE)
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import prediction as _prediction
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import supervisor as _supervisor

    # Most callers have nothing else happen.
    params, check, dies, meanwhile, clock, watched = (*json.load(sys.stdin), None, None, False)[:6]
    if dies:
        die(*dies)
    for disturbance, act in ((meanwhile, script), (clock, move_clock)):
        if disturbance:
            when(disturbance[0], functools.partial(act, disturbance[1]))
    try:
        return (_supervisor if watched else _engine).run(params, check, _prediction)
    except _engine.TransactionError as error:
        return dict(error.result, failed=True, msg=str(error))


# --- fingerprints ----------------------------------------------------------------------------------------------------


def describe(path: str) -> str:
    """Everything about a path but its times: kind, mode, owner, group, extended attributes and content."""
    found = os.lstat(path)
    words = [oct(found.st_mode), str(found.st_uid), str(found.st_gid)]
    if stat.S_ISLNK(found.st_mode):
        words.append(os.readlink(path))
    elif stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            words.append(hashlib.blake2b(stream.read(), digest_size=16).hexdigest())
    with contextlib.suppress(OSError):
        names = sorted(os.listxattr(path, follow_symlinks=False))
        words += ["%s=%s" % (name, os.getxattr(path, name, follow_symlinks=False).hex()) for name in names]
    return " ".join(words)


def tree(roots: tuple = CONFIGURATION) -> dict:
    """Every path below the roots with its description."""
    found = {}
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in KERNEL_TREES]
            for name in [*folders, *names]:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    found[path] = describe(path)
    return found


def leftovers() -> dict:
    """What is in places where nothing may be left, without what systemd and Ansible keep there themselves."""
    return {
        os.path.join(folder, name): "is there"
        for folder in LEFTOVERS
        for name in os.listdir(folder)
        # The second is there while systemd starts a unit with devices of its own, as logrotate.service at midnight.
        if not name.startswith(("systemd-private-", "namespace-dev-", "ansible_"))
    }


def strays() -> list:
    """Processes of other pid namespaces than our own: what a rehearsal has left running."""
    own, found = os.readlink("/proc/self/ns/pid"), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink("/proc/%s/ns/pid" % pid) != own:
                found.append(pid)
    return found


def differences(before: dict, after: dict) -> list:
    """Paths that came, went or are not what they were."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def program(pid: str) -> str:
    return os.readlink("/proc/%s/exe" % pid)


def parent(pid: str) -> str:
    with open("/proc/%s/stat" % pid) as text:
        return text.read().rpartition(")")[2].split()[1]


def host_state() -> dict:
    """Everything that a rehearsal could leave on the host."""
    processes, spaces = {}, set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/%s/cmdline" % pid, "rb") as text:
                words = text.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            # A process that is ending has no command line. Workers of a server come and go with its load.
            if words and program(pid) != program(parent(pid)):
                processes[pid] = words
            spaces.update(os.readlink("/proc/%s/ns/%s" % (pid, kind)) for kind in NAMESPACES)
    listening = subprocess.run(["ss", "-Hlntux"], stdout=subprocess.PIPE, check=True).stdout.decode()
    with open("/proc/self/mountinfo") as table:
        mounts = table.read().splitlines()
    shared = subprocess.run(["ipcs", "-a"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return {
        "files": tree(("/",)),
        "processes": processes,
        "namespaces": sorted(spaces),
        "sockets": sorted(" ".join(line.split()[:1] + line.split()[4:5]) for line in listening.splitlines()),
        "mounts": mounts,
        "shared": shared,
    }


def figures(unit: str) -> dict:
    """How much there is of what must not grow, by its name in tests/soak/flat.py. unit: the web server's.

    Also how fast the machine is at the moment: the seconds that an interpreter takes to start.
    """
    server, others, spaces = [], 0, set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            spaces.update(os.readlink("/proc/%s/ns/%s" % (pid, kind)) for kind in NAMESPACES)
            own, above = program(pid), program(parent(pid)) if pid != "1" else ""
        except OSError:
            others += os.path.isdir("/proc/" + pid)  # a zombie process has no program
            continue
        if os.path.basename(own) in SERVERS:
            server.append(pid)
        # Workers come and go with the load.
        elif own != above:
            others += 1
    pace = time.time()
    subprocess.run([sys.executable, "-c", "import json, ssl, tarfile"], check=True)
    pace = time.time() - pace
    master = listed("systemctl", "show", "--value", "--property=MainPID", unit)[0]
    units = [line.split()[0] for line in listed("systemctl", "list-units", "--all", "--plain", "--no-legend")]
    with open("/proc/self/mountinfo") as table:
        mounts = len(table.readlines())
    kept, kept_bytes = size(STATE)
    configuration, configuration_bytes = size("/etc")
    return {
        "server_processes": len(server),
        "other_processes": others,
        "server_memory": sum(memory(pid, "smaps_rollup", "Pss") for pid in server),
        "master_memory": memory(master, "status", "VmRSS"),
        "system_memory": memory("1", "status", "VmRSS"),
        "master_descriptors": len(os.listdir("/proc/%s/fd" % master)),
        "system_descriptors": len(os.listdir("/proc/1/fd")),
        "journal_entries": kept,
        "journal_size": kept_bytes,
        "configuration_entries": configuration,
        "configuration_size": configuration_bytes,
        "own_units": sum(name.startswith("kopano-hardening") for name in units),
        "units": len(units),
        "timers": sum(name.endswith(".timer") for name in units),
        "mounts": mounts,
        "namespaces": len(spaces),
        "run_entries": size("/run")[0],
        "tmp_entries": size("/tmp")[0] + size("/var/tmp")[0],
        "pace": pace,
    }


def listed(*command: str) -> list:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()


def memory(pid: str, table: str, key: str) -> int:
    """KiB of a process, by a table of the kernel's; 0 where it has ended."""
    with contextlib.suppress(OSError), open("/proc/%s/%s" % (pid, table)) as text:
        return int(re.search(r"^%s:\s+(\d+) kB" % key, text.read(), re.MULTILINE)[1])
    return 0


def size(root: str) -> tuple:
    """How many entries are below a directory, and the bytes of its files."""
    entries = total = 0
    for folder, folders, names in os.walk(root):
        for name in [*folders, *names]:
            entries += 1
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(os.path.join(folder, name))
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return entries, total


def lines_since(path: str, length: int) -> list:
    with open(path, errors="replace") as log:
        log.seek(length)
        return log.read().splitlines()


def is_of_live_server(line: str) -> bool:
    """Whether a line of an error log is from a process of this host's web server, which pages are requested from."""
    found = re.search(r"\[pid (\d+)|\] (\d+)#\d+: ", line)
    with contextlib.suppress(OSError):
        return found is not None and os.path.basename(program(found[1] or found[2])) in SERVERS
    return False


def journal() -> list:
    """The states of the transactions that are kept, oldest first."""
    states = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(TRANSACTIONS)):
            with open(os.path.join(TRANSACTIONS, name, "record.json")) as stream:
                states.append(json.load(stream)["state"])
    return states


# --- what the driver calls -------------------------------------------------------------------------------------------


def state() -> dict:
    return {**leftovers(), **tree()}


def mark(name: str) -> None:
    """Remember the state under this name, for compare()."""
    with open(os.path.join(HERE, name + ".json"), "w") as stream:
        json.dump(state(), stream)


def compare(name: str) -> list:
    """Paths that are not as they were at mark()."""
    with open(os.path.join(HERE, name + ".json")) as stream:
        return differences(json.load(stream), state())


def cycle(options: dict, confirm: dict, restore: dict) -> dict:
    """Make a change, confirm and restore it. Marks: C(first), before the change, and C(hardened), with it.

    Each is a process of its own, but not an interpreter of its own, as it would spend most of its time on imports.
    What the role grades is left out: that is the most of the rest, and it ends with the process.
    """
    made = forked(options)
    runs = [made, forked(dict(confirm, confirm=made.get("transaction")))]
    hardened = compare("hardened")
    runs.append(forked(restore))
    return {"runs": runs, "hardened": hardened}


def forked(params: dict) -> dict:
    """The result of a transaction that is not graded, in a process of its own, with the time that it took."""
    sys.path.insert(0, HERE)
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine

    nothing = types.SimpleNamespace(
        grade_all=lambda _targets: [], locked_out=lambda *_grades: None, compared=lambda *_grades: []
    )
    started = time.time()
    out, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            try:
                result = _engine.run(params, False, nothing)
            except _engine.TransactionError as error:
                result = dict(error.result, failed=True, msg=str(error))
            with open(into, "w") as stream:
                json.dump(result, stream)
        finally:
            os._exit(0)
    os.close(into)
    with open(out) as stream:
        text = stream.read()
    _pid, _status, used = os.wait4(pid, 0)
    result = json.loads(text or '{"failed": true, "msg": "the process has ended without a result"}')
    return dict(result, seconds=time.time() - started, processor=used.ru_utime + used.ru_stime)


def restored(unit: str) -> dict:
    """Everything that has to be as it was at the mark C(first), or must not grow. unit: the web server's."""
    return {"changed": compare("first"), "strays": strays(), "journal": journal(), "figures": figures(unit)}


def trial(runs: list) -> dict:
    """Run after run, with what differs from the state before all of them after each.

    runs: keyword arguments for module(). Returns {results, changed, journal}, each with one entry a run.
    """
    before = state()
    results, changed, states = [], [], []
    for run in runs:
        results.append(module(**run))
        changed.append(differences(before, state()))
        states.append(journal())
    return {"results": results, "changed": changed, "journal": states}


def trace(params: dict) -> dict:
    """What a run in check mode leaves on the host, by kind. The processes of this script itself are left out."""
    before = host_state()
    lengths = {path: os.path.getsize(path) for path in before["files"] if ERROR_LOG.fullmatch(path)}
    result = module(params, check=True)
    after = host_state()
    said = [line for path, length in lengths.items() for line in lines_since(path, length)]
    own = str(os.getpid())
    for state in (before, after):
        state["processes"] = {
            pid: words for pid, words in state["processes"].items() if pid != own and "remote.py" not in words
        }
    return {
        "result": result,
        "counted": {kind: len(before[kind]) for kind in ("files", "processes", "namespaces", "sockets", "mounts")},
        "files": differences(before["files"], after["files"]),
        "processes": [after["processes"].get(pid, before["processes"].get(pid))
                      for pid in differences(before["processes"], after["processes"])],
        "namespaces": [name for name in after["namespaces"] if name not in before["namespaces"]],
        "sockets": sorted({*before["sockets"]} ^ {*after["sockets"]}),
        "mounts": sorted({*before["mounts"]} ^ {*after["mounts"]}),
        "shared": before["shared"] == after["shared"],
        "said": [line for line in said if not is_of_live_server(line)],
    }  # fmt: skip


def sites(**arguments) -> list:
    return importlib.import_module("injected").sites(**arguments)


def inject(**arguments) -> list:
    return importlib.import_module("injected").inject(**arguments)


ACTIONS = {
    function.__name__: function
    for function in (module, trial, trace, mark, compare, journal, strays, cycle, restored, sites, inject)
}

if __name__ == "__main__":
    if sys.argv[1] == "transaction":
        print(json.dumps(transaction()))
    else:
        print(json.dumps(ACTIONS[sys.argv[1]](**json.load(sys.stdin))))
