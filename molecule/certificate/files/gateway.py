#!/usr/bin/python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gateway.py PORT CHAIN KEY: TLS with files that are read when it is reloaded, as kopano-gateway and Postfix do."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import sys

PORT, CHAIN, KEY = sys.argv[1:]


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with contextlib.suppress(FileNotFoundError):
        made.load_cert_chain(CHAIN, KEY)
    return made


current = [context()]
signal.signal(signal.SIGHUP, lambda *_signal: current.append(context()))
listener = socket.create_server(("", int(PORT)))
while True:
    connection, _address = listener.accept()
    with contextlib.suppress(OSError), current[-1].wrap_socket(connection, server_side=True) as tls:
        tls.sendall(b"* OK\r\n")
