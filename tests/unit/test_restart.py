# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who runs replaced files, which kernel is installed, and what other programs say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates import restarts as _restarts
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host

from .test_identity import AS_USER, needs_root

ROOT = Path(__file__).parents[2]
OLD = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libz.so.1.2 (deleted)\n"
NEW = "7f00-7f01 r-xp 0 08:01 1 /usr/lib/libz.so.1.3\n"


@pytest.fixture
def folder():
    """A folder that is not one of those for temporary files, which do not count; the checkout may be in one."""
    (ROOT / ".cache").mkdir(exist_ok=True)
    places = [ROOT / ".cache", Path.home(), Path("/srv")]
    place = next(place for place in places if not str(place).startswith(_restarts._NOT_PACKAGED))
    with tempfile.TemporaryDirectory(dir=place, prefix=".kopano-hardening-") as path:
        yield Path(path)


@pytest.fixture
def host(tmp_path):
    """A machine with a /proc of the test's."""

    def process(pid, maps, cgroup="0::/\n", name="daemon", namespace="pid:[1]"):
        place = tmp_path / "proc" / str(pid)
        (place / "ns").mkdir(parents=True)
        (place / "ns" / "pid").symlink_to(namespace)
        (place / "maps").write_text(maps)
        (place / "cgroup").write_text(cgroup)
        (place / "comm").write_text(name + "\n")

    def write(path, text=""):
        target = tmp_path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    process("self", "")
    write("/proc/stat", f"cpu 0\nbtime {int(time.time()) + 60}\n")
    made = Host(str(tmp_path))
    made.process, made.write = process, write
    return made


def judge(host, running="6.1.0-32-amd64"):
    return _restarts.judge(host, _restarts.scan(host), [], running)


def test_a_process_that_runs_a_replaced_library_is_named_until_it_is_restarted(folder):
    library = folder / "libz.so.1"
    source = next(Path("/usr/lib").glob("*-linux-gnu/libz.so.1"))
    shutil.copy(source, library)
    words = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(library)!r}); print(flush=True); input()"]

    def start():
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    def named(pid):
        started = time.process_time()
        found = [process for process in _restarts.scan(Host()).processes if process.pid == pid]
        assert time.process_time() - started < 1
        return found[0].replaced

    with start() as first:
        assert named(first.pid) == []
        # as dpkg and rpm do it
        shutil.copy(source, folder / "libz.so.1.new")
        os.rename(folder / "libz.so.1.new", library)
        assert named(first.pid) == [str(library)]
        first.stdin.close()
    with start() as second:
        assert named(second.pid) == []
        second.stdin.close()


@pytest.fixture
def shared():
    """A folder that all users can enter, and that is none for temporary files."""
    with tempfile.TemporaryDirectory(dir="/srv", prefix=".kopano-hardening-") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@needs_root
@pytest.mark.parametrize("place", ["own", "open", "gone"])
def test_what_a_user_has_removed_is_no_update(shared, place):
    """Else a user could have services restarted by the role updates: those that start programs of users."""
    folder = shared
    theirs = folder / "theirs"
    theirs.mkdir()
    if place == "open":
        theirs.chmod(0o1777)
    else:
        os.chown(theirs, 65534, 65534)
    (folder / "home").mkdir()
    os.chown(folder / "home", 65534, 65534)
    if place == "gone":
        theirs = theirs.rename(folder / "home" / "theirs")
    # By a name that counts as a web server, with a library that counts as OpenSSL.
    program, library = theirs / "nginx", theirs / "libssl.so.3"
    shutil.copy(os.path.realpath("/usr/bin/python3"), program)
    shutil.copy(next(Path("/usr/lib").glob("*-linux-gnu/libz.so.1")), library)
    words = [*AS_USER, program, "-IS", "-c", f"import ctypes; ctypes.CDLL('{library}'); print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONHOME": "/usr"}) as process:
        assert process.stdout.readline() == b"\n"
        library.unlink()
        program.unlink()
        if place == "gone":
            theirs.rmdir()
        (found,) = (entry for entry in _restarts.scan(Host()).processes if entry.pid == process.pid)
        process.stdin.close()
    assert found.replaced == []
    assert not any(str(folder) in component.path for component in _provenance.in_use([found]))


def test_without_the_right_to_inspect_it_is_not_known():
    program = (
        "import json; from ansible_collections.kopano.hardening.plugins.module_utils._updates import restarts as r;"
        "from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host;"
        "seen = r.scan(Host()); answer = r.judge(Host(), seen, []);"
        "print(json.dumps([seen.hidden, answer.reboot_required, [f['id'] for f in r.findings(answer)]]))"
    )
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    with tempfile.TemporaryDirectory() as copy:
        # Others may not read the checkout.
        place = Path(copy, "ansible_collections/kopano/hardening/plugins/module_utils")
        shutil.copytree(ROOT / "plugins" / "module_utils", place, ignore=shutil.ignore_patterns("__pycache__"))
        os.chmod(copy, 0o755)
        done = subprocess.run(
            ["/usr/bin/python3", "-c", program], user=65534, group=65534, extra_groups=[], cwd="/",
            env={"PYTHONPATH": copy, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hidden, required, ids = json.loads(done.stdout)
    assert hidden > 0
    assert required is not False
    assert "updates.restart.unknown" in ids


@pytest.mark.parametrize(
    ("cgroup", "services"),
    [
        ("0::/system.slice/apache2.service\n", ["apache2.service"]),
        ("0::/system.slice/system-getty.slice/getty@tty1.service\n", ["getty@tty1.service"]),
        ("0::/system.slice/containerd.service/kubelet.service\n", ["containerd.service"]),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/dbus.service\n", ["user@0.service"]),
        # cgroups of the first version, pure and beside those of the second
        ("9:name=systemd:/system.slice/cron.service\n8:pids:/system.slice/cron.service\n", ["cron.service"]),
        ("9:name=systemd:/\n8:pids:/other.service\n0::/system.slice/cron.service\n", ["cron.service"]),
        ("0::/user.slice/user-0.slice/session-3.scope\n", []),
        ("0::/\n", []),
        ("", []),
    ],
)
def test_the_unit_of_a_process(host, cgroup, services):
    host.process(30, OLD, cgroup)
    restart = judge(host)
    assert restart.services == services
    assert [process.pid for process in restart.processes] == [30]
    key = "updates.restart.services" if services else "updates.restart.processes"
    (finding,) = _restarts.findings(restart)
    assert (finding["id"], finding["step"], finding["severity"]) == (key, 1, "warn")
    assert "/usr/lib/libz.so.1.2" in finding["evidence"]


@pytest.mark.parametrize(
    ("maps", "files"),
    [
        (OLD, ["/usr/lib/libz.so.1.2"]),
        (NEW, []),
        ("", []),
        (OLD.replace("r-xp", "r--p"), []),
        ("7f00-7f01 r-xp 0 00:01 1 /memfd:jit (deleted)\n7f00-7f01 rwxp 0 00:01 1 /dev/zero (deleted)\n", []),
        ("7f00-7f01 r-xp 0 00:01 1 /tmp/jit (deleted)\n7f00-7f01 r-xp 0 00:01 1 /run/x (deleted)\n", []),
        ("7f00-7f01 r-xp 0 00:00 0 [vdso]\n7f00-7f01 r-xp 0 00:00 0\n", []),
        ("7f00-7f01 r-xp 0 08:01 1 /opt/a b/lib (x).so (deleted)\n", ["/opt/a b/lib (x).so"]),
        (OLD + OLD, ["/usr/lib/libz.so.1.2"]),
    ],
)
def test_which_mappings_count(host, maps, files):
    host.process(30, maps)
    assert [process.replaced for process in judge(host).processes] == ([files] if files else [])


def test_a_containers_processes_are_not_the_hosts(host):
    host.process(30, OLD, namespace="pid:[2]")
    assert judge(host).processes == []
    assert judge(host).reboot_required is False


def test_the_first_process_needs_a_reboot(host):
    host.process(1, OLD, "0::/init.scope\n", "systemd")
    restart = judge(host)
    assert restart.reboot_required
    assert restart.services == []
    assert [finding["id"] for finding in _restarts.findings(restart)] == ["updates.reboot.required"]


@pytest.mark.parametrize(
    ("installed", "running", "reason"),
    [
        (["6.1.0-32-amd64"], "6.1.0-32-amd64", ""),
        (["6.1.0-9-amd64", "6.1.0-32-amd64"], "6.1.0-32-amd64", ""),
        (["6.1.0-9-amd64", "6.1.0-32-amd64"], "6.1.0-9-amd64", "kernel 6.1.0-32-amd64 is installed"),
        (["6.1.0-41-cloud-amd64", "6.1.0-32-amd64"], "6.1.0-32-amd64", ""),
        (["5.15.0-91-generic", "5.15.0-126-generic"], "5.15.0-91-generic", "kernel 5.15.0-126-generic"),
        (["0-rescue-1f2e", "5.14.0-503.14.1.el9_5.x86_64"], "5.14.0-503.14.1.el9_5.x86_64", ""),
        (
            ["5.14.0-503.14.1.el9_5.x86_64", "5.14.0-570.17.1.el9_6.x86_64"],
            "5.14.0-503.14.1.el9_5.x86_64",
            "kernel 5.14.0-570.17.1.el9_6.x86_64",
        ),
        (
            ["5.14.21-150500.55.31-default", "5.14.21-150500.55.7-default"],
            "5.14.21-150500.55.7-default",
            "kernel 5.14.21-150500.55.31-default",
        ),
        # It was removed, or comes from outside of the machine.
        (["6.1.0-32-amd64"], "6.1.0-9-amd64", "kernel 6.1.0-32-amd64"),
        ([], "6.18.44-cloud", ""),
        (["6.1.0-32-amd64"], "6.18.44-fc", ""),
    ],
)
@pytest.mark.parametrize("path", ["/boot/vmlinuz-%s", "/lib/modules/%s/vmlinuz"])
def test_kernels(host, installed, running, reason, path):
    for release in installed:
        host.write(path % release)
    restart = judge(host, running)
    assert restart.reboot_required is bool(reason)
    assert all(text.startswith(reason) for text in restart.reasons)
    assert len(restart.reasons) == bool(reason)
    host.write("/run/systemd/container", "podman")
    assert judge(host, running).reasons == []


def test_a_kernel_that_was_rebuilt(host):
    host.write("/boot/vmlinuz-6.1.0-32-amd64")
    host.write("/proc/stat", f"btime {int(time.time()) - 3600}\n")
    assert "was replaced" in judge(host).reasons[0]


def test_hints(host):
    host.write("/run/reboot-required", "*** System restart required ***\n")
    host.write("/run/reboot-required.pkgs", "linux-image-6.1.0-32-amd64\nlibc6\nlibc6\n")
    restart = judge(host)
    assert restart.reasons == ["/run/reboot-required for libc6 linux-image-6.1.0-32-amd64"]
    (finding,) = _restarts.findings(restart)
    assert finding["id"] == "updates.reboot.required"
    assert "libc6" in finding["evidence"]


NEEDRESTART = """\
NEEDRESTART-VER: 3.6
NEEDRESTART-KCUR: 6.1.0-28-amd64
NEEDRESTART-KEXP: 6.1.0-32-amd64
NEEDRESTART-KSTA: %d
NEEDRESTART-SVC: cron.service
NEEDRESTART-SVC: apache2.service
"""
YES, NO = "Core libraries or services have been updated:\nReboot is required\n", "Reboot should not be necessary.\n"


@pytest.mark.parametrize(
    ("manager", "program", "script", "required", "services"),
    [
        ("apt", "needrestart", f"cat <<E\n{NEEDRESTART % 3}E\n", True, ["apache2.service", "cron.service"]),
        ("apt", "needrestart", f"cat <<E\n{NEEDRESTART % 2}E\n", True, ["apache2.service", "cron.service"]),
        ("apt", "needrestart", f"cat <<E\n{NEEDRESTART % 1}E\n", False, ["apache2.service", "cron.service"]),
        ("apt", "needrestart", f"cat <<E\n{NEEDRESTART % 0}E\n", None, ["apache2.service", "cron.service"]),
        ("apt", "needrestart", "echo broken >&2; exit 1", None, None),
        ("dnf", "dnf", f"case $3 in -r) printf '{YES}'; exit 1;; esac; echo httpd.service", True, ["httpd.service"]),
        ("dnf5", "dnf5", f"case $3 in -r) printf '{NO}';; esac", False, []),
        ("dnf", "dnf", "echo 'No such command: needs-restarting.' >&2; exit 1", None, None),
        ("zypper", "zypper", "case $2 in ps) echo apache2;; *) exit 102;; esac", True, ["apache2.service"]),
        ("zypper", "zypper", "case $2 in ps) echo no lsof >&2; exit 4;; esac", False, None),
        ("zypper", "zypper", "exit 7", None, None),
    ],
)
def test_what_other_programs_report(tmp_path, host, manager, program, script, required, services):
    path = tmp_path / "bin" / program
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    host.environment["PATH"] = f"{path.parent}:/usr/bin:/bin"
    (tool,) = _restarts.tools(host, manager)
    assert (tool.reboot_required, tool.services) == (required, services), tool
    if required is None and services is None:
        assert tool.problem
    restart = _restarts.judge(host, _restarts.scan(host), [tool], "6.1")
    assert restart.reboot_required is bool(required)
    # They are named, but nothing here has seen why.
    ids = [finding["id"] for finding in _restarts.findings(restart)]
    assert ("updates.restart.differs" in ids) is bool(services)
    assert restart.services == []


def test_other_programs_that_are_not_there(tmp_path, host):
    host.environment["PATH"] = str(tmp_path)
    assert _restarts.tools(host, "apt") == []
