# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""What updates have not reached: processes that run files which were replaced since, and a kernel older than installed.

A package manager puts a new file in place of an old one. Who runs the old one keeps it, and the kernel calls it deleted
(proc_pid_maps(5)). Users can remove files of their own that they run, so only places where root alone puts files count.
The control group of a process names its unit (cgroups(7)). What needrestart, dnf and zypper report
is read where they are installed, and stands beside it.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host

_DELETED = " (deleted)"
# Files that programs make, run and delete themselves, and that no package brings.
_NOT_PACKAGED = (
    "/dev/",
    "/memfd:",
    "/tmp/",  # noqa: S108, nothing is written there
    "/var/tmp/",  # noqa: S108
    "/run/",
    "/SYSV",
    "/proc/",
    "/[aio]",
    "/anon_hugepage",
)
_CONTAINER = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
_HINTS = ("/run/reboot-required", "/run/reboot-needed")
_TOOL_TIMEOUT = 20  # seconds that another program may take
_ZYPPER_REBOOT = 102

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ReturnedProcess(t.TypedDict):  # novm
        """A process as the module returns it; its files are those that were replaced."""

        pid: int
        name: str
        unit: str
        files: list[str]

    class ReturnedTool(t.TypedDict):  # novm
        """What another program reports, as the module returns it."""

        name: str
        reboot_required: bool | None
        services: list[str] | None
        problem: str

    class ReturnedRestart(t.TypedDict):  # novm
        """What is left to be restarted, as the module returns it."""

        reboot_required: bool | None
        reasons: list[str]
        services: list[str]
        processes: list[ReturnedProcess]
        tools: list[ReturnedTool]

else:
    ReturnedProcess = ReturnedTool = ReturnedRestart = t.Dict[str, t.Any]


@dataclass
class Process:
    """A process. files: what it has mapped to execute, its program first; replaced: which of these are gone."""

    pid: int
    name: str
    unit: str
    files: list[str]
    replaced: list[str]


@dataclass
class Scan:
    """All processes that could be inspected, and how many could not."""

    processes: list[Process] = field(default_factory=list)
    hidden: int = 0


@dataclass
class Tool:
    """What another program reports; None: it has no result, for the reason in C(problem)."""

    name: str
    reboot_required: bool | None = None
    services: list[str] | None = None
    problem: str = ""

    def returned(self) -> ReturnedTool:
        """As the module returns it."""
        return {
            "name": self.name,
            "reboot_required": self.reboot_required,
            "services": self.services,
            "problem": self.problem,
        }


@dataclass
class Restart:
    """What is left to be restarted. reboot_required is None where it is not known."""

    reboot_required: bool | None
    reasons: list[str]
    processes: list[Process]
    tools: list[Tool]
    hidden: int

    @property
    def services(self) -> list[str]:
        """The systemd services whose processes run replaced files."""
        return sorted({process.unit for process in self.processes if process.unit.endswith(".service")})

    def returned(self) -> ReturnedRestart:
        """As the module returns it."""
        return {
            "reboot_required": self.reboot_required,
            "reasons": self.reasons,
            "services": self.services,
            "processes": [
                {"pid": process.pid, "name": process.name, "unit": process.unit, "files": process.replaced}
                for process in self.processes
            ],
            "tools": [tool.returned() for tool in self.tools],
        }


# --- processes -------------------------------------------------------------------------------------------------------


MOST_MAPPED = 8 << 20  # bytes of a list of mapped files, which a process can make as long as it likes


def scan(host: Host) -> Scan:
    """The processes of this machine; those of containers on it are not its own, nor are programs that users made."""
    found = Scan()
    own = _namespace(host, "self")
    places: dict[str, bool] = {}
    for name in os.listdir(host.path("/proc")):
        if not name.isdigit():
            continue
        try:
            if _namespace(host, name) != own:
                continue
            with open(host.path(f"/proc/{name}/maps"), "rb") as handle:
                mapped = _mapped(handle.read(MOST_MAPPED))
        except PermissionError:
            found.hidden += 1
            continue
        except OSError:
            continue  # it has ended
        files, replaced = ([path for path in paths if _is_installed(host, path, places)] for paths in mapped)
        if files:  # else a thread of the kernel's, or a program of a user's
            found.processes.append(Process(int(name), _comm(host, name), _unit(host, name), files, replaced))
    found.processes.sort(key=lambda process: process.pid)
    return found


def _namespace(host: Host, pid: str) -> str:
    return os.readlink(host.path(f"/proc/{pid}/ns/pid"))


def _mapped(maps: bytes) -> tuple[list[str], list[str]]:
    """The files that are mapped to be executed, and those of them that are gone."""
    files: dict[str, None] = {}
    replaced: dict[str, None] = {}
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or b"x" not in fields[1] or not fields[5].startswith(b"/"):
            continue
        path = os.fsdecode(fields[5])
        gone = path.endswith(_DELETED)
        path = path[: -len(_DELETED)] if gone else path
        files[path] = None
        if gone and not path.startswith(_NOT_PACKAGED):
            replaced[path] = None
    return list(files), list(replaced)


def _is_installed(host: Host, path: str, known: dict[str, bool]) -> bool:
    """Whether root alone puts files where this one is, or was. known: the directories that were checked already."""
    folder = os.path.dirname(path)
    if folder not in known:
        try:
            found = os.stat(host.path(folder))
            known[folder] = found.st_uid == os.stat(host.path("/")).st_uid and not found.st_mode & stat.S_IWOTH
        except OSError:  # it is gone as well
            known[folder] = folder == "/" or _is_installed(host, folder, known)
    return known[folder]


def _comm(host: Host, pid: str) -> str:
    return (host.read(f"/proc/{pid}/comm") or "").strip()


def _unit(host: Host, pid: str) -> str:
    """The systemd unit of a process; empty where it has none."""
    for line in (host.read(f"/proc/{pid}/cgroup") or "").splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        if controllers in ("", "name=systemd"):
            # The outermost: what a user's own manager runs belongs to the service of that manager.
            units = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
            if units:
                return units[0]
    return ""


# --- the kernel ------------------------------------------------------------------------------------------------------


def in_container(host: Host) -> bool:
    """Does the host run in a container, whose kernel is not its own?"""
    return any(os.path.exists(host.path(path)) for path in _CONTAINER)


def _order(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def _flavour(release: str) -> str:
    return re.sub(r"^[\d.-]+|\d+", "", release)


def kernel_reason(host: Host, running: str, booted: float) -> str:
    """Why the running kernel is not the installed one; empty if it is, or where none is installed.

    running: as uname(2) has it. booted: when the machine was started, in seconds since the epoch.
    """
    images: dict[str, str] = {}
    for folder in ("/boot", "/lib/modules"):
        try:
            names = os.listdir(host.path(folder))
        except OSError:
            continue
        for name in names:
            found = re.match(r"vmlinu[xz]-(\d.*)$", name) if folder == "/boot" else re.match(r"(\d.*)$", name)
            path = f"{folder}/{name}" + ("" if folder == "/boot" else "/vmlinuz")
            if found and "rescue" not in name and os.path.exists(host.path(path)):
                images.setdefault(found.group(1), path)
    same = [release for release in images if _flavour(release) == _flavour(running)]
    if not same:
        return ""
    newest = max(same, key=_order)
    if _order(newest) > _order(running):
        return f"kernel {newest} is installed, {running} is running"
    # The same release, rebuilt: a package manager sets the time of content, the kernel that of the file itself.
    if running in images and os.stat(host.path(images[running])).st_ctime > booted:
        return f"kernel {running} was replaced since the machine was started"
    return ""


def _booted(host: Host) -> float:
    found = re.search(r"(?m)^btime (\d+)", host.read("/proc/stat") or "")
    return float(found.group(1)) if found else float("inf")


def _hints(host: Host) -> t.Iterator[str]:
    for path in _HINTS:
        if os.path.exists(host.path(path)):
            packages = (host.read(path + ".pkgs") or "").split()
            yield path + (" for {}".format(" ".join(sorted(set(packages)))) if packages else "")


# --- what other tools report -----------------------------------------------------------------------------------------


def _needrestart(host: Host) -> Tool:
    outcome = host.run("needrestart", "-b", "-r", "l", timeout=_TOOL_TIMEOUT)
    lines = re.findall(r"(?m)^NEEDRESTART-(\w+): *(.*)$", outcome.stdout)
    if outcome.code or not lines:
        return Tool("needrestart", problem=outcome.complaint)
    state = dict(lines).get("KSTA", "0")
    services = sorted(value for key, value in lines if key == "SVC")
    return Tool("needrestart", {"1": False, "2": True, "3": True}.get(state), services)


def _dnf(host: Host, program: str) -> Tool:
    name = f"{program} needs-restarting"
    # It reports on installed packages, so the lists that are there will do.
    reboot = host.run(program, "-C", "needs-restarting", "-r", timeout=_TOOL_TIMEOUT)
    # The status is 1 for "yes" and for errors.
    required = False if reboot.code == 0 else True if "Reboot is required" in reboot.stdout else None
    if required is None:
        return Tool(name, problem=reboot.complaint)
    services = host.run(program, "-C", "needs-restarting", "-s", timeout=_TOOL_TIMEOUT)
    names = re.findall(r"(?m)^(\S+\.service)\s*$", services.stdout) if services.code in (0, 1) else None
    return Tool(name, required, names)


def _zypper(host: Host) -> Tool:
    reboot = host.run("zypper", "--non-interactive", "needs-rebooting", timeout=_TOOL_TIMEOUT)
    if reboot.code not in (0, _ZYPPER_REBOOT):
        return Tool("zypper", problem=reboot.complaint)
    services = host.run("zypper", "--non-interactive", "ps", "-sss", timeout=_TOOL_TIMEOUT)
    names = [f"{name}.service" for name in services.stdout.split()] if services.code in (0, _ZYPPER_REBOOT) else None
    return Tool("zypper", reboot.code == _ZYPPER_REBOOT, names, "" if names is not None else services.complaint)


def tools(host: Host, manager: str) -> list[Tool]:
    """What the distribution's own tools report, where they are installed."""
    queries: list[t.Callable[[], Tool]] = []
    if host.has("needrestart"):
        queries.append(lambda: _needrestart(host))
    if manager in ("dnf", "dnf5"):
        queries.append(lambda: _dnf(host, manager))
    if manager == "zypper":
        queries.append(lambda: _zypper(host))
    if not queries:
        return []
    with ThreadPoolExecutor(len(queries)) as pool:
        return list(pool.map(lambda query: query(), queries))


# --- all of it -------------------------------------------------------------------------------------------------------


def judge(host: Host, seen: Scan, others: list[Tool], running: str = "") -> Restart:
    """What is left to be restarted. running: the release of the kernel, this machine's by default."""
    old = [process for process in seen.processes if process.replaced]
    reasons = list(_hints(host))
    if not in_container(host):
        reason = kernel_reason(host, running or os.uname().release, _booted(host))
        reasons += [reason] if reason else []
    first = next((process for process in old if process.pid == 1), None)
    if first:
        reasons.append("{} (process 1) runs replaced files: {}".format(first.name, " ".join(first.replaced)))
    reasons += [f"{tool.name} reports it" for tool in others if tool.reboot_required]
    known = not seen.hidden
    return Restart(True if reasons else False if known else None, reasons, old, others, seen.hidden)


def findings(restart: Restart) -> t.Iterator[Finding]:
    """The findings about it: one for each service."""
    by_unit: dict[str, list[Process]] = {}
    for process in restart.processes:
        by_unit.setdefault(process.unit, []).append(process)
    for unit, processes in sorted(by_unit.items()):
        files = sorted({path for process in processes for path in process.replaced})
        if unit.endswith(".service"):
            yield finding("updates.restart.services", unit, " ".join(files))
        elif any(process.pid != 1 for process in processes):
            names = " ".join(f"{process.name}({process.pid})" for process in processes if process.pid != 1)
            yield finding("updates.restart.processes", unit or "no unit", "{}: {}".format(names, " ".join(files)))
    if restart.hidden:
        yield finding("updates.restart.unknown", "processes", f"{restart.hidden} processes may not be inspected")
    if restart.reboot_required:
        yield finding("updates.reboot.required", "host", "; ".join(restart.reasons))
    for tool in restart.tools:
        more = [name for name in tool.services or () if name not in restart.services]
        if more:
            yield finding("updates.restart.differs", tool.name, " ".join(more))
