# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private view: what is done in it stays in it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._host import background as _background
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace

from . import alone
from .slow_bed import HANGS, SLACK


def _refused() -> str:
    try:
        _namespace.call(lambda: None, HANGS)
    except _namespace.Refused as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(_refused()), reason=f"namespaces are refused here: {_refused()}")


KINDS = ("mnt", "net", "pid", "ipc", "uts")


def namespaces() -> set[str]:
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found.update(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS)
    return found


def test_files_written_in_it_are_not_on_the_host(tmp_path):
    (tmp_path / "there").write_text("host")
    places = [
        str(tmp_path / "new"),
        str(tmp_path / "there"),
        "/etc/kopano-hardening-trace",
        "/run/kopano-hardening-trace",
        "/var/log/kopano-hardening-trace",
        "/dev/shm/kopano-hardening-trace",
    ]

    def work():
        seen = (tmp_path / "there").read_text()
        for place in places:
            with open(place, "w") as stream:
                stream.write("view")
        return seen, [open(place).read() for place in places]

    def mounts():
        with open("/proc/self/mountinfo") as table:
            return table.read()

    def call():
        before = mounts()
        seen, inside = _namespace.call(work, 60)
        return seen, inside, mounts() == before

    assert alone.in_own_mounts(call) == ["host", ["view"] * len(places), True]
    assert (tmp_path / "there").read_text() == "host"
    assert [place for place in places if os.path.exists(place)] == [str(tmp_path / "there")]


def read(pipe: int) -> bytes:
    """What comes next out of a pipe; nothing once all processes have ended that could write to it."""
    assert select.select([pipe], [], [], HANGS)[0], "nobody wrote to the pipe, and somebody holds it still"
    return os.read(pipe, 100)


def test_processes_started_in_it_end_with_it():
    # The kernel gives the numbers of namespaces that have ended to the next ones. It does not while they are open here.
    outside, within = socket.socketpair()
    held, holds = os.pipe()

    def work():
        subprocess.Popen(["sleep", "600"], pass_fds=[holds])
        subprocess.Popen(["setsid", "sleep", "600"], pass_fds=[holds])
        pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
        paths = [f"/proc/self/ns/{kind}" for kind in KINDS]
        socket.send_fds(within, [b"."], [os.open(path, os.O_RDONLY) for path in paths])
        return pids, os.getpid(), [os.readlink(path) for path in paths]

    with outside, within:
        pids, own, inside = _namespace.call(work, 60)
        _data, files, _flags, _address = socket.recv_fds(outside, 1, len(KINDS))
    try:
        assert own == 1 and len(pids) == 3 and len(set(inside)) == len(files) == len(KINDS)
        assert not namespaces() & set(inside)
    finally:
        for file in files:
            os.close(file)
    os.close(holds)
    assert read(held) == b""
    os.close(held)


def test_a_port_taken_on_the_host_is_free_in_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        def work():
            with socket.socket() as other:
                other.bind(("127.0.0.1", port))
            return True

        assert _namespace.call(work, HANGS) is True


def test_every_address_of_the_host_can_be_bound_and_no_other():
    addresses = [(family, socket.inet_ntop(family, packed)) for family, packed, _flags in _namespace.host_addresses()]
    assert (socket.AF_INET, "127.0.0.1") in addresses

    def work():
        for family, address in addresses:
            with socket.socket(family, socket.SOCK_STREAM) as own:
                own.bind((address, 0))
                own.listen()
                with socket.create_connection(own.getsockname()[:2], 2):
                    pass
        try:
            with socket.socket() as foreign:
                foreign.bind(("192.0.2.254", 0))
        except OSError:
            return True
        return False

    assert _namespace.call(work, HANGS) is True


@pytest.mark.parametrize("bound", [True, False])
def test_a_backends_unix_socket_responds_only_when_it_is_passed_in(tmp_path, bound):
    path = str(tmp_path / "backend.sock")
    with socket.socket(socket.AF_UNIX) as backend:
        backend.bind(path)
        backend.listen()
        backend.settimeout(HANGS)

        def serve():
            with contextlib.suppress(OSError):
                connection = backend.accept()[0]
                connection.sendall(b"hello")
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def work():
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(path)
                except OSError:
                    return None
                return client.recv(16).decode()

        assert _namespace.call(work, HANGS, sockets=[path] if bound else []) == ("hello" if bound else None)


def test_names_come_from_the_given_hosts_file():
    def work():
        return socket.gethostbyname("backend.test")

    assert _namespace.call(work, HANGS, hosts="127.0.0.1 localhost\n192.0.2.7 backend.test\n") == "192.0.2.7"


def test_a_big_log_is_neither_seen_nor_copied():
    def folders() -> set[str]:
        return {name for name in os.listdir("/var/log") if os.path.isdir("/var/log/" + name)}

    def work():
        return [name for _folder, _names, files in os.walk("/var/log") for name in files], os.listdir("/var/log")

    before = folders()
    files, entries = _namespace.call(work, HANGS)
    assert files == []
    # Packages that are installed meanwhile have logs as well.
    assert before & folders() <= set(entries) <= before | folders()


def test_nothing_is_forked_beside_a_thread_in_its_last_moment(monkeypatch):
    """Python knows nothing any more of such a thread, and nothing at all of one that C code has started."""
    monkeypatch.setattr(_background, "THREAD_PATIENCE", 20.0)
    libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
    started = time.monotonic()
    libc.pthread_create(ctypes.byref(thread), None, libc.usleep, ctypes.c_void_p(400_000))
    libc.pthread_detach(thread)
    assert _namespace.call(lambda: len(os.listdir("/proc/self/task")), 60) == 1
    assert 0.3 < time.monotonic() - started < _background.THREAD_PATIENCE


def test_what_is_started_afterwards_is_in_the_hosts_namespaces():
    """The pid namespace of children is set for the first process of the view alone."""
    kinds = ("pid", "mnt", "net", "ipc", "uts")
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    inside = _namespace.call(lambda: [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds], HANGS)
    assert not set(inside) & set(own)
    after = subprocess.run(
        ["readlink", *(f"/proc/self/ns/{kind}" for kind in kinds)], capture_output=True, text=True, check=True
    )
    assert after.stdout.split() == own


def test_work_that_hangs_is_ended_in_time():
    started = time.monotonic()
    with pytest.raises(_namespace.TimedOut):
        _namespace.call(lambda: time.sleep(600), 0.3)
    assert time.monotonic() - started < 0.3 + SLACK


def test_what_work_raises_comes_back_as_text():
    with pytest.raises(_namespace.Failed, match="ZeroDivisionError"):
        _namespace.call(lambda: 1 / 0, HANGS)


# What holds the pipe has started and not ended: no list of the machine's processes has to tell whose is whose.
PARENT = """
import os, subprocess, sys, time
from ansible_collections.kopano.hardening.plugins.module_utils._host import namespace as _namespace

holds, gate = map(int, sys.argv[1:])

def work():
    subprocess.Popen(["sleep", "600"], pass_fds=[holds])
    os.write(holds, b"works")
    time.sleep(600)

"""


@contextlib.contextmanager
def parent(script):
    """A process that starts a view; with the pipe that all of it hold, and one to the view."""
    (held, holds), (gate, opens) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT + script, str(holds), str(gate)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)), pass_fds=[holds, gate],
    )  # fmt: skip
    os.close(holds)
    try:
        yield process, held, opens
    finally:
        process.kill()
        process.wait()
        for pipe in (held, gate, opens):
            os.close(pipe)


def test_it_ends_with_a_killed_parent():
    with parent("_namespace.call(work, 600)") as (process, held, _opens):
        assert read(held) == b"works"
        process.kill()
        process.wait()
        assert read(held) == b""


def test_it_ends_with_a_parent_that_was_killed_right_before_it_began():
    """The kernel tells of no end that came before it was asked to."""
    late = (
        "real = _namespace.end_with_parent\n"
        "def late(*arguments):\n"
        "    os.write(holds, b'begins')\n"
        "    os.read(gate, 1)\n"
        "    real(*arguments)\n"
        "_namespace.end_with_parent = late\n"
        "_namespace.call(work, 600)"
    )
    with parent(late) as (process, held, opens):
        assert read(held) == b"begins"
        process.kill()
        process.wait()
        os.write(opens, b".")
        assert read(held) == b""


def test_a_process_without_the_right_is_refused():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            _namespace.call(lambda: 1, 5)
            os.write(writer, b"allowed")
        except _namespace.Refused as error:
            os.write(writer, b"refused: %s" % str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        assert answer.read() == "refused: unshare: Operation not permitted"


def test_a_namespace_that_cannot_be_left_ends_the_rehearsal(monkeypatch):
    """The process cannot start anything any more, so a rehearsal in another way would only find a wrong reason."""
    child = subprocess.Popen(["sleep", "60"])

    def check(_result, what):
        if what == "setns":
            raise OSError(errno.EACCES, "setns: Permission denied")

    monkeypatch.setattr(_namespace, "_unshare", lambda flags: None)
    monkeypatch.setattr(_namespace, "_check", check)
    monkeypatch.setattr(_namespace.os, "fork", lambda: child.pid)
    with pytest.raises(_namespace.Failed, match="namespace could not be left: setns: Permission denied"):
        _namespace.call(lambda: None, 5)
    assert child.poll() is not None
