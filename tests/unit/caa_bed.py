# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small internet on loopback: knotd with a signed root, unbound that validates from it, and servers that misbehave.

    .  (signed) -> test. (signed) -> kopano.test other.test   signed
                                     plain.test split.test    no DS: proven insecure
                                     bogus.test               DS of another key
                                     expired.test             signatures ran out
                                     lame.test                its server does not know the zone (REFUSED)
                                     broken.test              its server has the zone but not its data (SERVFAIL)
                                     silent.test              its server never answers

Everything listens on one port number that is free on all addresses used, lives below the directory given, and is ended
by process id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .ports import free_ports
from .slow_bed import HANGS

PROGRAMS = ("knotd", "keymgr", "kzonesign", "unbound")
RESOLVER = "127.0.53.10"
TERSE_RESOLVER = "127.0.53.11"  # gives no reasons (extended DNS errors) with its SERVFAIL
FIRST = "127.0.53.1"  # serves every zone
SECOND = "127.0.53.2"  # serves split.test with other data, and knows nothing else
SILENT = "127.0.53.4"  # takes packets and never answers
# Keys for dynamic updates: one that may change every zone, and one that the servers know and let change nothing.
KEY = ("caa.key", "c29tZSBrZXkgdGhhdCBvcGVucyBub3RoaW5nIGVsc2U=")
IDLE_KEY = ("idle.key", "YW5vdGhlciBrZXkgdGhhdCBvcGVucyBub3RoaW5nIQ==")


def program(name: str) -> str | None:
    """Path of a server program; these live in sbin, which is not always on a user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def missing() -> str | None:
    """Why the bed cannot be built here, or None."""
    absent = [name for name in PROGRAMS if program(name) is None]
    return f"not installed: {', '.join(absent)} (Debian: knot, knot-dnssecutils, unbound)" if absent else None


class Bed(NamedTuple):
    port: int
    resolver: str  # as the module's option takes it
    terse_resolver: str
    authority: str


def run(*command: str) -> str:
    """Output of a program that has to succeed."""
    executable = program(command[0])
    assert executable
    done = subprocess.run([executable, *command[1:]], check=False, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def free_port(*addresses: str) -> int:
    """A port that is free for UDP and TCP on all addresses."""
    return free_ports(1, addresses, (socket.SOCK_STREAM, socket.SOCK_DGRAM))[0]


def wait_for_answer(
    address: str, port: int, name: str, process: subprocess.Popen[bytes], seconds: float = HANGS
) -> None:
    """Wait until the server answers a SOA question with NOERROR or NXDOMAIN."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    query = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 6, 1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            with contextlib.suppress(OSError):
                sock.connect((address, port))
                sock.send(query)
                if sock.recv(4096)[3] & 15 in (0, 3):
                    return
        time.sleep(0.05)
    raise RuntimeError(f"{address}:{port} does not respond for {name!r}")


def zone_text(origin: str, body: str, server: str = FIRST) -> str:
    """A master file with SOA, one name server at that address, and the body."""
    ns = "ns1" if origin == "." else f"ns1.{origin}"
    ns = ns if ns.endswith(".") else ns + "."
    return (
        f"$ORIGIN {origin}\n$TTL 300\n@ SOA {ns} dns\\.team.{origin.lstrip('.')} 1 3600 600 86400 300\n"
        f"@ NS {ns}\n{ns} A {server}\n{body}\n"
    )


UNSIGNED = ("plain.test.", "split.test.", "lame.test.", "broken.test.", "silent.test.")
SIGNED = ("kopano.test.", "other.test.", "bogus.test.", "expired.test.")


MISDIRECTED = {"lame.test.": SECOND, "silent.test.": SILENT}


def _delegations() -> str:
    addresses = {**dict.fromkeys(UNSIGNED + SIGNED, FIRST), **MISDIRECTED}
    return "\n".join(f"{zone} NS ns1.{zone}\nns1.{zone} A {address}" for zone, address in addresses.items())


@contextlib.contextmanager
def bed(directory: Path, zones: dict[str, str], second: dict[str, str], port: int | None = None) -> Iterator[Bed]:
    """Start everything. `zones` are bodies of zones (origin -> records), `second` those on the second server.

    Without a port, a free one is taken.
    """
    port = port or free_port(FIRST, SECOND, SILENT, RESOLVER, TERSE_RESOLVER)
    with contextlib.ExitStack() as stack:
        _authoritative(stack, directory / "first", FIRST, port, zones, signed=True)
        _authoritative(stack, directory / "second", SECOND, port, second, signed=False)
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind((SILENT, port))
        for address in (RESOLVER, TERSE_RESOLVER):
            _resolver(stack, directory / address, address, port, directory / "first" / "anchor")
        yield Bed(port, f"{RESOLVER}:{port}", f"{TERSE_RESOLVER}:{port}", f"{FIRST}:{port}")


def _start(stack: contextlib.ExitStack, directory: Path, *command: str) -> subprocess.Popen[bytes]:
    executable = program(command[0])
    assert executable
    log = stack.enter_context((directory / "log").open("wb"))
    process = subprocess.Popen([executable, *command[1:]], stdout=log, stderr=log, cwd=directory)

    def end() -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


def _authoritative(
    stack: contextlib.ExitStack, directory: Path, address: str, port: int, zones: dict[str, str], signed: bool
) -> None:
    (directory / "db").mkdir(parents=True)
    config = directory / "knot.conf"
    text = (
        f"server:\n  listen: {address}@{port}\n  rundir: {directory}\n  udp-workers: 1\n  tcp-workers: 1\n"
        "  background-workers: 1\n"
        f"database:\n  storage: {directory}/db\n"
        # Small databases: the defaults reserve far more than a test needs.
        "  journal-db-max-size: 32M\n  kasp-db-max-size: 10M\n  timer-db-max-size: 2M\n"
        "log:\n- target: stderr\n  any: info\n"
        + "".join(
            f"{'key:' if number == 0 else ''}\n- id: {name}\n  algorithm: hmac-sha256\n  secret: {secret}\n"
            for number, (name, secret) in enumerate((KEY, IDLE_KEY))
        )
        + f"acl:\n- id: update\n  key: {KEY[0]}\n  action: update\n  update-type: CAA\n"
        "policy:\n- id: test\n  single-type-signing: on\n  manual: on\n  algorithm: ecdsap256sha256\n"
        f"template:\n- id: default\n  storage: {directory}\n  zonefile-load: whole\n  zonefile-sync: -1\n"
        "  journal-content: none\n  dnssec-policy: test\n  acl: update\n"
        "zone:\n"
    )
    signing = (*SIGNED, "test.", ".") if signed else ()
    for zone in [*zones, *(("test.", ".", "broken.test.") if signed else ())]:
        # Signed before the server starts: the clock is known, and a zone can be signed in the past.
        text += f"- domain: {zone}\n  file: {_file(zone)}\n"
    config.write_text(text)
    offline = directory / "sign.conf"
    offline.write_text(text.replace("zonefile-load", "dnssec-signing: on\n  zonefile-load"))

    past = int(time.time()) - 90 * 86400
    delegation = {}
    for zone in signing:
        since = [f"{event}={past}" for event in ("created", "publish", "ready", "active")]
        run("keymgr", "-c", str(offline), zone, "generate", "algorithm=ECDSAP256SHA256", "ksk=yes", "zsk=yes", *since)
        lines = run("keymgr", "-c", str(offline), zone, "ds").splitlines()
        delegation[zone] = next(line for line in lines if " DS " in line and line.split()[4] == "2")
    if signed:
        delegation["bogus.test."] = delegation["kopano.test."].replace("kopano.test.", "bogus.test.")
        zones = {
            **zones,
            "test.": _delegations() + "\n" + "\n".join(delegation[zone] for zone in SIGNED),
            ".": f"test. NS ns1.test.\nns1.test. A {FIRST}\n{delegation['test.']}",
        }
        (directory / "anchor").write_text(delegation["."] + "\n")
    for zone, body in zones.items():
        (directory / _file(zone)).write_text(body if " SOA " in body else zone_text(zone, body, address))
        if zone in signing:
            when = ["-t", str(past)] if zone == "expired.test." else []
            run("kzonesign", "-c", str(offline), "-o", str(directory), *when, zone)
    process = _start(stack, directory, "knotd", "-c", str(config))
    wait_for_answer(address, port, next(iter(zones)), process)


def _file(zone: str) -> str:
    return (zone.rstrip(".") or "root") + ".db"


def _resolver(stack: contextlib.ExitStack, directory: Path, address: str, port: int, anchor: Path) -> None:
    directory.mkdir(parents=True)
    stubs = {**dict.fromkeys((".", "test.", *UNSIGNED, *SIGNED), FIRST), **MISDIRECTED}
    errors = "yes" if address == RESOLVER else "no"
    config = directory / "unbound.conf"
    config.write_text(
        f"server:\n  interface: {address}@{port}\n  do-ip6: no\n  num-threads: 1\n"
        "  do-daemonize: no\n  use-syslog: no\n"
        f'  chroot: ""\n  username: ""\n  directory: "{directory}"\n  pidfile: "{directory}/pid"\n  logfile: ""\n'
        "  access-control: 127.0.0.0/8 allow_snoop\n  do-not-query-localhost: no\n"
        '  module-config: "validator iterator"\n'
        f'  trust-anchor-file: "{anchor}"\n  local-zone: "test." nodefault\n  ede: {errors}\n'
        '  qname-minimisation: no\n  target-fetch-policy: "0 0 0 0 0"\n'
        "remote-control:\n  control-enable: no\n"
        + "".join(
            f'stub-zone:\n  name: "{zone}"\n  stub-prime: no\n  stub-addr: {server}@{port}\n'
            for zone, server in stubs.items()
        )
    )
    process = _start(stack, directory, "unbound", "-d", "-c", str(config))
    wait_for_answer(address, port, "kopano.test", process)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        answer = self.server.answer(data)  # type: ignore[attr-defined]
        if answer:
            sock.sendto(answer, self.client_address)


@contextlib.contextmanager
def udp_server(answer, address: str = "127.0.0.1") -> Iterator[int]:  # type: ignore[no-untyped-def]
    """A server that answers each packet with answer(packet): for what no decent name server can be made to do."""
    server = socketserver.ThreadingUDPServer((address, 0), _Handler)
    server.answer = answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
