# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""A private copy-on-write view of the host in mount, network, pid, IPC and UTS namespaces of its own.

L(call) forks a child that sees the whole file system of the host through overlays whose upper layers are in memory, the
host's own addresses on a loopback interface, and no process of the host. Whatever the child and its offspring write,
bind or start is gone when L(call) returns; nothing of it ever reaches the host.

Sources: namespaces(7), mount_namespaces(7), pid_namespaces(7), rtnetlink(7), and the overlay file system's
documentation in the kernel tree.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.background import (
    await_ended_threads,
    end_with_parent,
)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x2, 0x4, 0x20, 0x1000, 0x4000, 0x40000
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x20000000,
    0x40000000,
)
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8

# Every directory tree that a kernel file system backs; these are passed through or mounted newly, never overlaid.
KERNEL_TREES = ("/proc", "/sys", "/dev")
# Where the scratch file system is mounted inside the namespace. The directory exists on every system, and what the
# host has in it stays visible in the view, because overlays are made from descriptors that were opened before.
SCRATCH = "/tmp"  # noqa: S108, a private mount over it
# Upper bound of what a rehearsal may write, in memory.
SCRATCH_SIZE = "512m"
ADDRESS_PATIENCE = 3.0  # seconds for the routes to all own addresses
ADDRESS_PAUSE = 0.001  # seconds until one is tried again; twice as long each time, as a busy host delivers late
ADDRESS_MAX_PAUSE = 0.1
# Copied into the new network namespace, because they decide which addresses a server can bind.
BIND_SYSCTLS = (
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv6/ip_nonlocal_bind",
    "net/ipv6/bindv6only",
    "net/ipv4/ip_unprivileged_port_start",
)


class Refused(Exception):
    """The kernel or a sandbox around this process does not allow the namespaces; nothing was done."""


class TimedOut(Exception):
    """The work did not end in time; everything it had started was killed."""


class Failed(Exception):
    """The work raised; the text is its exception."""


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            ctypes.c_ulong(flags),
            os.fsencode(options) if options else None,
        ),
        f"mount {kind or source} on {target}",
    )


def _unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


# --- addresses -------------------------------------------------------------------------------------------------------

_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
_NLM_F_DUMP_INTR = 0x10
_DUMPS = 5  # how often a list is read again that was changed in between
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD, _IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x02, 0x04, 0x08, 0x40
_SCOPE_LINK = 253
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def messages(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """The netlink messages (netlink(7)) in what was received: type and body."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


class Address(t.NamedTuple):
    """One of the host's. C(flags) are the kernel's."""

    family: int
    packed: bytes
    flags: int

    @property
    def usable(self) -> bool:
        """Whether it takes packets: it is neither being checked for duplicates, nor was one found (RFC 4862, 5.4)."""
        checked = not self.flags & _IFA_F_TENTATIVE or bool(self.flags & _IFA_F_OPTIMISTIC)
        return checked and not self.flags & _IFA_F_DADFAILED


def host_addresses() -> list[Address]:
    """All addresses of the host, each once, link-local ones left out."""
    found: dict[bytes, Address] = {}
    for _attempt in range(_DUMPS):
        some, is_whole = _dump_addresses()
        if is_whole:
            found = {}  # what an earlier list had may be gone
        # A list that changes may have an address twice; several interfaces may have it, and one that is usable counts.
        for address in some:
            if address.usable or address.packed not in found:
                found[address.packed] = address
        if is_whole:
            break
    return list(found.values())


def usable_addresses() -> frozenset[bytes]:
    """Those, packed, at which a server of this host can be reached now."""
    return frozenset(address.packed for address in host_addresses() if address.usable)


def packed(address: str) -> bytes:
    """An address as L(Address) has it; none for what is no address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            return socket.inet_pton(family, address)
    return b""


def _dump_addresses() -> tuple[list[Address], bool]:
    """The addresses, and whether the list did not change while it was read: then some may be missing."""
    found: list[Address] = []
    is_whole = True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(2)
        request = struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0)
        link.send(struct.pack("=IHHII", 16 + len(request), _RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + request)
        while True:
            data = link.recv(1 << 16)
            # Each message has it from the change on.
            is_whole = is_whole and not struct.unpack_from("=IHH", data)[2] & _NLM_F_DUMP_INTR
            for kind, body in messages(data):
                if kind == NLMSG_DONE:
                    return found, is_whole
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, f"the list of addresses: {os.strerror(code)}")
                if kind != _RTM_NEWADDR:
                    continue
                family, _prefix, flags, scope, _index = struct.unpack_from("=BBBBI", body)
                attributes = {}
                rest = body[8:]
                while len(rest) >= 4:
                    length, name = struct.unpack_from("=HH", rest)
                    if length < 4:
                        break
                    attributes[name] = rest[4:length]
                    rest = rest[(length + 3) & ~3 :]
                address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
                if address and scope != _SCOPE_LINK and family in (socket.AF_INET, socket.AF_INET6):
                    found.append(Address(family, address, flags))


def _raise_loopback(addresses: t.Sequence[Address]) -> dict[bytes, str]:
    """Give the loopback interface these addresses; returns those that cannot be used there, packed, and the reasons."""
    refused: dict[Address, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    index = socket.if_nametoindex("lo")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(2)
        for number, address in enumerate(addresses):
            body = struct.pack("=BBBBI", address.family, len(address.packed) * 8, _IFA_F_NODAD, 0, index)
            for name in (_IFA_LOCAL, _IFA_ADDRESS):
                body += struct.pack("=HH", 4 + len(address.packed), name) + address.packed
            flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
            link.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWADDR, flags, number + 1, 0) + body)
            for kind, reply in messages(link.recv(1 << 12)):
                code = -struct.unpack_from("=i", reply)[0] if kind == NLMSG_ERROR else 0
                if code not in (0, errno.EEXIST):  # 127.0.0.1 is there already
                    refused[address] = os.strerror(code)
    late = _await_routes([address for address in addresses if address not in refused])
    refused.update(dict.fromkeys(late, "it takes no packets"))
    return {
        address.packed: f"{socket.inet_ntop(address.family, address.packed)} ({reason})"
        for address, reason in refused.items()
    }


def _await_routes(addresses: t.Iterable[Address]) -> list[Address]:
    """Wait until the addresses take packets; returns those that do not in time."""
    deadline = time.monotonic() + ADDRESS_PATIENCE
    pending, pause = list(addresses), ADDRESS_PAUSE

    def is_pending(address: Address) -> bool:
        return time.monotonic() > deadline or not _is_reachable(address.family, address.packed, pause)

    while True:
        pending = list(filter(is_pending, pending))
        if not pending or time.monotonic() > deadline:
            return pending
        time.sleep(pause)
        pause = min(2 * pause, ADDRESS_MAX_PAUSE)


_unusable: dict[bytes, str] = {}


def unusable() -> dict[bytes, str]:
    """Within the view: the host's addresses that cannot be used there, packed, and what to report of each."""
    return _unusable


def _is_reachable(family: int, address: bytes, patience: float) -> bool:
    """Whether an own address takes packets: the kernel adds the local route of IPv6 a moment after the address.

    A first packet that is lost costs a TCP connection a second, or is an error.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.settimeout(patience)
            own.bind((socket.inet_ntop(family, address), 0))
            own.connect(own.getsockname()[:2])
            own.send(b"?")
            return own.recv(1) == b"?"
    except OSError:
        return False


def _copy_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        try:
            with open("/proc/sys/" + name, "w") as setting:
                setting.write(value)
        except OSError:
            pass


def _read_sysctls() -> dict[str, str]:
    values = {}
    for name in BIND_SYSCTLS:
        try:
            with open("/proc/sys/" + name) as setting:
                values[name] = setting.read().strip()
        except OSError:
            pass
    return values


# --- the view --------------------------------------------------------------------------------------------------------


def _unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo (proc_pid_mountinfo(5))."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text


def _mount_points() -> list[str]:
    """Mount points of the host outside kernel trees, parents before children, each once."""
    points = []
    with open("/proc/self/mountinfo") as table:
        for line in table:
            fields = line.split(" ")
            point, kind = _unescape(fields[4]), fields[fields.index("-") + 1]
            if kind in ("autofs", "nsfs") or point in points:
                continue
            if any(point == tree or point.startswith(tree + "/") for tree in KERNEL_TREES):
                continue
            points.append(point)
    return sorted(points, key=lambda point: (point.count("/"), point) if point != "/" else (-1, point))


def _descriptor(path: str) -> int | None:
    try:
        return os.open(path, os.O_PATH)
    except OSError:
        return None


def _proc_path(descriptor: int) -> str:
    return "/proc/self/fd/%d" % descriptor


def _bind_read_only(source: str, target: str) -> None:
    _mount(source, target, None, MS_BIND)
    _mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def uncover(path: str) -> None:
    """Within the view: let a file that is a mount point be an ordinary one, which can be replaced."""
    if os.path.isfile(path):
        while _libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW | _MNT_DETACH) == 0:
            pass


def _overlay(source: str, target: str, number: int) -> None:
    upper, work = "%s/upper/%d" % (SCRATCH, number), "%s/work/%d" % (SCRATCH, number)
    os.makedirs(upper)
    os.makedirs(work)
    # The upper layer's root becomes the mount's root: it has to look like the directory it covers.
    found = os.stat(source)
    os.chown(upper, found.st_uid, found.st_gid)
    os.chmod(upper, stat.S_IMODE(found.st_mode))
    _mount("overlay", target, "overlay", 0, f"lowerdir={source},upperdir={upper},workdir={work}")


def _empty_log_tree(root: str) -> None:
    """Give the view empty logs: the same directories, no file.

    A log that is opened for appending would be copied into the upper layer whole, which costs memory and time for
    nothing, and an empty one holds just what the rehearsed server logs.
    """
    target = root + "/var/log"
    if not os.path.isdir(target):
        return
    keep = os.open(target, os.O_PATH)
    try:
        _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=0755")
        source = _proc_path(keep)
        for folder, names, _files in os.walk(source):
            here = target + folder[len(source) :]
            for name in names:
                found = os.lstat(os.path.join(folder, name))
                if stat.S_ISDIR(found.st_mode):
                    copy = os.path.join(here, name)
                    os.mkdir(copy, stat.S_IMODE(found.st_mode))
                    os.chown(copy, found.st_uid, found.st_gid)
                    os.chmod(copy, stat.S_IMODE(found.st_mode))
    finally:
        os.close(keep)


def _build_view(sockets: t.Iterable[str], hosts: str | None) -> str:
    """Mount the view under the scratch file system and return its root.

    sockets: paths of unix sockets whose other end lives on the host; a socket seen through an overlay refuses
    connections, so the real one is bound over it. hosts: text of the view's C(/etc/hosts).
    """
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    points = [(point, descriptor) for point, descriptor in ((p, _descriptor(p)) for p in _mount_points()) if descriptor]
    real_sockets = [(path, descriptor) for path, descriptor in ((p, _descriptor(p)) for p in sockets) if descriptor]
    if not points or points[0][0] != "/":
        raise OSError(errno.ENOENT, "no root mount in /proc/self/mountinfo")

    _mount("tmpfs", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, f"size={SCRATCH_SIZE},mode=0700")
    root = SCRATCH + "/root"
    os.mkdir(root)
    for number, (point, descriptor) in enumerate(points):
        source, target = _proc_path(descriptor), root + point.rstrip("/")
        if not os.path.lexists(target or root):
            continue  # a mount below something this view could not show
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            try:
                _overlay(source, target or root, number)
            except OSError:
                if point == "/":
                    raise
                # Some file systems cannot be a lower layer; read-only is still no trace.
                try:
                    _bind_read_only(source, target)
                except OSError:
                    continue
        else:
            _bind_read_only(source, target)

    for tree in ("/dev", "/sys"):
        if os.path.isdir(root + tree):
            _mount(tree, root + tree, None, MS_BIND | MS_REC)
    shared_memory = root + "/dev/shm"  # noqa: S108
    if os.path.isdir(shared_memory):
        _mount("tmpfs", shared_memory, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=1777")
    _mount("proc", root + "/proc", "proc", 0)
    _empty_log_tree(root)
    for path, descriptor in real_sockets:
        with contextlib.suppress(OSError):  # the path is then not rehearsed; the request to it reports that
            _mount(_proc_path(descriptor), root + os.path.realpath(path), None, MS_BIND)
    if hosts is not None:
        copy = SCRATCH + "/hosts"
        with open(copy, "w") as text:
            text.write(hosts)
        os.chmod(copy, 0o644)
        if os.path.exists(root + "/etc/hosts"):
            _mount(copy, root + "/etc/hosts", None, MS_BIND)
        else:
            shutil.copyfile(copy, root + "/etc/hosts")
    for _point, descriptor in points + real_sockets:
        os.close(descriptor)
    return root


# --- running in it ---------------------------------------------------------------------------------------------------


def call(
    work: t.Callable[[], t.Any],
    timeout: float,
    sockets: t.Iterable[str] = (),
    hosts: str | None = None,
) -> t.Any:
    """Run work() as the first process of a private copy-on-write view of the host; return what it returns.

    work: returns something that JSON can carry. timeout: seconds, for everything together.
    Raises Refused where namespaces are not to be had, TimedOut, or Failed with the text of the exception of work.
    """
    addresses = host_addresses()
    settings = _read_sysctls()
    reader, writer = os.pipe()
    await_ended_threads()
    try:
        child = _fork_first_process()
    except (OSError, Failed) as error:
        os.close(reader)
        os.close(writer)
        if isinstance(error, OSError):
            raise Refused(error.strerror or str(error)) from error
        raise
    if child == 0:
        os.close(reader)
        _first_process(work, writer, sockets, hosts, addresses, settings)
    os.close(writer)
    deadline = time.monotonic() + timeout
    try:
        message = _read_all(reader, deadline)
    except TimedOut:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    if not message:
        raise Failed("the rehearsal's process ended without a result")
    kind, value = json.loads(message.decode("utf-8", "surrogateescape"))
    if kind == "refused":
        raise Refused(value)
    if kind == "failed":
        raise Failed(value)
    return value


def _read_all(reader: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            raise TimedOut("the rehearsal did not end in time")
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _has_no_reader(writer: int) -> bool:
    poll = select.poll()
    poll.register(writer, 0)
    return bool(poll.poll(0))


def _send(writer: int, kind: str, value: t.Any) -> None:
    data = json.dumps([kind, value]).encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(writer, data) :]


def _fork_first_process() -> int:
    """Fork a child that is the first process of a new pid namespace. Later children are this one's again."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    child = -1
    try:
        _unshare(CLONE_NEWPID)
        try:
            child = os.fork()
        finally:
            if child != 0:
                _return_to(own)
    except (OSError, Failed):
        if child > 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise
    finally:
        os.close(own)
    return child


def _return_to(own: int) -> None:
    """Raises Failed: this process could start nothing any more, so there is no other way to go on with."""
    try:
        _check(_libc.setns(ctypes.c_int(own), ctypes.c_int(CLONE_NEWPID)), "setns")
    except OSError as error:
        raise Failed(f"the rehearsal's namespace could not be left: {error.strerror}") from error


def _first_process(
    work: t.Callable[[], t.Any],
    writer: int,
    sockets: t.Iterable[str],
    hosts: str | None,
    addresses: list[Address],
    settings: dict[str, str],
) -> t.NoReturn:
    try:
        try:
            end_with_parent()
            if _has_no_reader(writer):
                os._exit(0)  # the parent was killed before that, which the kernel does not report
            _unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
            root = _build_view(sockets, hosts)
            _unusable.update(_raise_loopback(addresses))
            os.chroot(root)
            os.chdir("/")
            _copy_sysctls(settings)
        except OSError as error:
            _send(writer, "refused", error.strerror or str(error))
            os._exit(0)
        try:
            value = work()
        except BaseException as error:  # whatever it is, the parent has to hear of it
            _send(writer, "failed", f"{type(error).__name__}: {error}")
        else:
            _send(writer, "done", value)
    finally:
        os._exit(0)
