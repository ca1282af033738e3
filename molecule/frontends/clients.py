# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients of Kopano beyond a plain request: a websocket, an upload from a form."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
import time

from frontends import TIMEOUT, Frontend
from hardened import context

TEXT, CLOSE = 1, 8


def echo(frontend: Frontend, path: str, idle: float = 0) -> str:
    """What became of two messages over a websocket, the second after so many idle seconds: `echo` when all is well."""
    try:
        with (
            socket.create_connection((frontend.ipv4, 443), TIMEOUT) as plain,
            context().wrap_socket(plain, server_hostname=frontend.name) as tls,
        ):
            head = upgrade(tls, frontend.name, path)
            if " 101 " not in head.partition("\r\n")[0]:
                return head.partition("\r\n")[0]
            for seconds, message in ((0.0, b"first"), (idle, b"second" * 50)):
                time.sleep(seconds)
                tls.sendall(frame(message))
                said = read_frame(tls)
                if said != message:
                    return f"{said!r} came back"
            tls.sendall(frame(b"", CLOSE))
            return "echo"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def upgrade(tls: ssl.SSLSocket, name: str, path: str) -> str:
    """The head of the answer to a request for a websocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {name}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Origin: https://{name}", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
    tls.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = tls.recv(1)
        if not byte:
            break
        head += byte
    return head.decode("latin-1")


def frame(payload: bytes, kind: int = TEXT) -> bytes:
    """A whole message of a client's (RFC 6455, section 5.2), which is masked."""
    size = len(payload)
    head = struct.pack(">BB", 128 | kind, 128 | size) if size < 126 else struct.pack(">BBH", 128 | kind, 254, size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def read_frame(tls: ssl.SSLSocket) -> bytes:
    """The payload of the server's next message."""
    size = read(tls, 2)[1] & 127
    if size == 126:
        size = struct.unpack(">H", read(tls, 2))[0]
    return read(tls, size)


def read(tls: ssl.SSLSocket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = tls.recv(size - len(found))
        if not more:
            raise ConnectionResetError("the websocket has ended")
        found += more
    return found


def form(size: int) -> tuple[bytes, str]:
    """A form that uploads a file of this many bytes: its body and content type."""
    mark = "----kopano"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return head.encode() + b"x" * size + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
