# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real Apache and nginx for tests: configurations in a temporary directory, ports on the loopback only."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

from .ports import free_ports as free_ports
from .slow_bed import HANGS

APACHE = "/usr/sbin/apache2"
NGINX = "/usr/sbin/nginx"
MODULES = Path("/usr/lib/apache2/modules")

needs_apache = pytest.mark.skipif(not os.access(APACHE, os.X_OK), reason="Apache (apache2-bin) is not installed")
needs_nginx = pytest.mark.skipif(not os.access(NGINX, os.X_OK), reason="nginx is not installed")


def layout(server: str, folder: Path, family: str = "debian") -> _layout.Layout:
    """A distribution's layout moved to a folder."""
    found = next(item for item in _layout.LAYOUTS if (item.server, item.family) == (server, family))
    return found._replace(
        main_config=str(folder / (server + ".conf")),
        config_dir=str(folder),
        policy_dir=str(folder / "kopano-hardening"),
        envvars=None,
    )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a program; its output is decoded without changing line ends."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANGS, check=False)
    out, words = (data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, out, words)


def apache_head(folder: Path, *modules: str) -> str:
    """The lines that any Apache needs."""
    wanted = ("mpm_event", "authz_core", *modules)
    lines = ['LoadModule %s_module "%s/mod_%s.so"' % (name, MODULES, name) for name in wanted]
    lines += ['ServerRoot "%s"' % folder, 'PidFile "%s/pid"' % folder, 'ErrorLog "%s/error.log"' % folder]
    lines += ["ServerName main.example", "User www-data", "Group www-data", 'Mutex "file:%s" default' % folder]
    return "\n".join(lines) + "\n"


def nginx_head(folder: Path) -> str:
    return "pid %s/pid;\nerror_log %s/error.log;\nevents { }\n" % (folder, folder)


def nginx_http(folder: Path) -> str:
    """What an http block needs to leave nothing outside of the folder."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "access_log off;\n" + "".join("%s_temp_path %s/%s;\n" % (kind, folder, kind) for kind in kinds)


def nginx_test(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(NGINX, "-t", "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log"))


def apache_test(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(APACHE, "-f", str(folder / "apache.conf"), "-t", *arguments)


@contextlib.contextmanager
def running(server: str, folder: Path, port: int) -> t.Iterator[None]:
    """The server in the foreground until the block ends."""
    if server == "nginx":
        command = [NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
        command += ["-g", "daemon off; master_process off;"]
    else:
        command = [APACHE, "-f", str(folder / "apache.conf"), "-X"]
    # Apache reads its configuration twice, and listens both times; the file with its process number comes after that.
    pid = folder / "pid"
    pid.unlink(missing_ok=True)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + HANGS
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                pid.stat()
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.02)
        else:
            raise AssertionError("the server did not start: %r" % (process.stdout and process.stdout.read()))
        yield
    finally:
        process.terminate()
        process.communicate(timeout=HANGS)


def make_certificate(folder: Path) -> tuple[str, str]:
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=mail.example", "-days", "30", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return certificate, key


class Response(t.NamedTuple):
    """An HTTP answer. headers: pairs in lower case and as sent."""

    status: int
    headers: list[tuple[str, str]]
    protocol: str | None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


def get(port: int, path: str, name: str | None = "mail.example", tls: bool = True) -> Response:
    """Asks for a path. name: None for a client without SNI. Nothing is verified."""
    connection: socket.socket = socket.create_connection(("127.0.0.1", port), 10)
    protocol = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection, server_hostname=name)
        protocol = connection.version()
    with connection:
        request = "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, name or "127.0.0.1")
        connection.sendall(request.encode())
        data = b""
        while True:
            part = connection.recv(65536)
            if not part:
                break
            data += part
    head = data.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = [line.split(": ", 1) for line in head[1:]]
    return Response(int(head[0].split(" ")[1]), [(key.lower(), value) for key, value in headers], protocol)


def read_scgi(stream: t.BinaryIO) -> list[bytes]:
    """The fields of a request as a backend of SCGI gets them, names and values in turn; none where it is cut short."""
    size = b""
    while not size.endswith(b":"):
        byte = stream.read(1)
        if not byte:
            return []
        size += byte
    fields = stream.read(int(size[:-1]) + 1)  # with the comma behind them
    return fields.split(b"\0") if fields.endswith(b",") else []
