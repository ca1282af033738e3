#!/usr/bin/python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stand-ins for Kopano's daemons, all in one process; runs on the lab's hosts.

daemons.py FILE: the content of lab/daemons.yml as JSON, where it is explained. Whatever the path, a query `seen` is
answered with the request as it arrived, so that a test can tell what a frontend makes of it.
"""

import base64
import hashlib
import http.server
import json
import os
import posixpath
import re
import secrets
import socket
import ssl
import string
import struct
import sys
import threading
import urllib.parse

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
SNAKEOIL = ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what the data of its server says."""

    protocol_version = "HTTP/1.1"
    data = None  # an entry of the data

    def __getattr__(self, name):
        if name.startswith("do_"):  # whatever the method, the data decides
            return self.answer
        raise AttributeError(name)

    def log_message(self, *words):
        """The frontends keep the logs."""

    def version_string(self):
        return "Kopano"

    def answer(self):
        body = self.read_body()
        path, _, query = self.path.partition("?")
        # As Kopano's daemons read it, whatever detours a client makes.
        path = posixpath.normpath(urllib.parse.unquote(path)) + ("/" if path.endswith("/") else "")
        if query == "seen":
            seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "bytes": len(body)}
            self.send({"type": "application/json"}, json.dumps(seen))
            return
        entry = next((entry for entry in self.data["answers"] if self.matches(entry, path)), {"status": 404})
        if entry.get("socket"):
            self.websocket()
        elif "asks" in entry and not self.headers["Authorization"]:
            self.send({"status": 401, "headers": {"WWW-Authenticate": entry["asks"]}})
        elif entry.get("same_origin") and not self.has_same_origin():
            self.send({"status": 403})
        else:
            self.send(entry, content(entry))

    def matches(self, entry, path):
        return entry.get("method", self.command) == self.command and re.search(entry["path"], path)

    def has_same_origin(self):
        """Whether the page that asks comes from the host that is asked, and says so as Konnect wants it."""
        origin = self.headers["Origin"] or self.headers["Referer"] or ""
        known = urllib.parse.urlsplit(origin).netloc == self.headers["Host"]
        return known and self.headers["Kopano-Konnect-XSRF"] == "1"

    def read_body(self):
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while True:
            size = int(self.rfile.readline().partition(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if not size:
                return body

    def send(self, entry, body=""):
        """One answer; a header that would be empty is not sent."""
        words = {
            "host": self.headers["Host"] or "",
            "origin": self.headers["Origin"] or "",
            "nonce": secrets.token_urlsafe(12),
        }
        text = string.Template(body).safe_substitute(words).encode()
        status = entry.get("status", 200)
        self.send_response(status)
        headers = dict(self.data["headers"])
        headers.update(entry.get("headers", {}))
        headers["Content-Type"] = entry.get("type", "text/plain")
        for name, value in headers.items():
            value = string.Template(value).safe_substitute(words)
            if value:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(text)

    # A websocket (RFC 6455) that says back what it is told.

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"]
        if (self.headers["Upgrade"] or "").lower() != "websocket" or not key:
            self.send({"status": 400}, "no websocket is asked for\n")
            return
        self.close_connection = True
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = hashlib.sha1(key.encode() + GUID).digest()  # noqa: S324 - the protocol's own
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        self.end_headers()
        while True:
            kind, payload = self.read_frame()
            if kind is None:
                return
            kind = PONG if kind == PING else kind
            self.wfile.write(frame(kind, payload))
            if kind == CLOSE:
                return

    def read_frame(self):
        """The next frame's kind and payload, unmasked; (None, b"") at the end. Messages come in one frame here."""
        head = self.rfile.read(2)
        if len(head) < 2:
            return None, b""
        kind, size = head[0] & 15, head[1] & 127
        if size == 126:
            size = struct.unpack(">H", self.rfile.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.rfile.read(8))[0]
        mask = self.rfile.read(4)
        payload = self.rfile.read(size)
        return kind, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def content(entry):
    """What an answer says, with a new nonce where the files of Kopano's web apps leave room for it."""
    if "file" not in entry:
        return entry.get("body", "")
    with open(entry["file"], encoding="utf-8") as stream:
        return stream.read().replace("__CSP_NONCE__", "$nonce")


def frame(kind, payload):
    """A whole message of a server's."""
    size = len(payload)
    head = struct.pack(">BB", 128 | kind, size) if size < 126 else struct.pack(">BBH", 128 | kind, 126, size)
    return head + payload


def server(data):
    """The listening server of one daemon."""
    address, _, port = data["listen"].rpartition(":")
    handler = type("Handler", (Handler,), {"data": data})
    made = http.server.ThreadingHTTPServer((address, int(port)), handler)
    if data["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*SNAKEOIL)
        made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


def main(path):
    with open(path, encoding="utf-8") as stream:
        servers = [server(data) for data in json.load(stream)]
    for one in servers[1:]:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    tell_systemd("READY=1")
    servers[0].serve_forever()


def tell_systemd(word):
    """Tell the service manager how far this is (sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as place:
        place.sendto(word.encode(), os.environ["NOTIFY_SOCKET"])


if __name__ == "__main__":
    main(sys.argv[1])
