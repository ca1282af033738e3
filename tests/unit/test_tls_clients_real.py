# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real programs beside their simulations: what each of them gets of several servers, seen on the wire between them.

A program is compared with the client of its version; one that is not installed, or of another version, is skipped.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._tls import client_data as _client_data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import clients as _clients
from ansible_collections.kopano.hardening.plugins.module_utils._tls import constants as data
from ansible_collections.kopano.hardening.plugins.module_utils._tls import handshake as _handshake
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober
from ansible_collections.kopano.hardening.plugins.module_utils._tls import wire

from . import tls_bed as bed
from . import tls_peers as peers

pytestmark = pytest.mark.slow

JAVA = """
import java.security.cert.X509Certificate;
import javax.net.ssl.*;
class Client {
  public static void main(String[] arguments) throws Exception {
    TrustManager[] all = { new X509TrustManager() {
      public void checkClientTrusted(X509Certificate[] chain, String type) {}
      public void checkServerTrusted(X509Certificate[] chain, String type) {}
      public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; } } };
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, all, null);
    int port = Integer.parseInt(arguments[0]);
    java.net.Socket plain = new java.net.Socket("127.0.0.1", port);
    SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(plain, "good.test", port, true);
    socket.startHandshake();
    System.out.println("connected");
  }
}
"""
NODE = """
const options = {port: Number(process.argv[1]), host: '127.0.0.1', servername: 'good.test', rejectUnauthorized: false};
const socket = require('tls').connect(options, () => { console.log('connected'); socket.destroy(); });
socket.on('error', () => {});
"""
URL = "https://good.test:{port}/"
# Id without the version: the program, what prints its version, its arguments, and what it prints once connected.
PROGRAMS = {
    "openssl": (
        "openssl",
        ("version",),
        "s_client -brief -connect 127.0.0.1:{port} -servername good.test",
        "ESTABLISHED",
    ),
    "curl": ("curl", ("--version",), "-sk --resolve good.test:{port}:127.0.0.1 " + URL, "ok"),
    "gnutls": (
        "gnutls-cli",
        ("--version",),
        "-p {port} --insecure --sni-hostname good.test 127.0.0.1",
        "Handshake was completed",
    ),
    "nss": ("tstclnt", (), "-h 127.0.0.1 -p {port} -a good.test -D -O -o -v -Q", "SSL version 3"),
    "java": ("java", ("-version",), "{folder}/Client.java {port}", "connected"),
    "node": ("node", ("--version",), "{folder}/client.js {port}", "connected"),
    "chromium": (
        "chromium-headless-shell",
        ("--version",),
        "--no-sandbox --disable-gpu --ignore-certificate-errors --user-data-dir={folder}/profile --dump-dom "
        "--host-resolver-rules=MAP~good.test~127.0.0.1 " + URL,
        "ok",
    ),
}
# nginx: leaf, protocols, ciphers.
SERVERS = {
    "TLS 1.2 and 1.3, RSA": ("rsa", "TLSv1.2 TLSv1.3", bed.GOOD12),
    "TLS 1.2, RSA": ("rsa", "TLSv1.2", bed.GOOD12),
    "TLS 1.2, ECDSA": ("ec", "TLSv1.2", bed.GOOD12),
    "TLS 1.2, no forward secrecy": ("rsa", "TLSv1.2", "AES128-SHA:@SECLEVEL=0"),
    "TLS 1.3, ECDSA": ("ec", "TLSv1.3", bed.GOOD12),
    "TLS 1.3, Ed25519": ("ed", "TLSv1.3", bed.GOOD12),
    "TLS 1.1": ("rsa", "TLSv1.1", "ALL:@SECLEVEL=0"),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The folder of all files, and each server's port."""
    pki = bed.Pki(tmp_path_factory.mktemp("real"))
    for leaf, key in (("rsa", "rsa"), ("ec", "ec"), ("ed", "ed25519")):
        pki.leaf(leaf, key=key)
    for name, text in (("Client.java", JAVA), ("client.js", NODE.replace("argv[1]", "argv[2]"))):
        with open(pki.path(name), "w") as stream:
            stream.write(text)
    ports = dict(zip(SERVERS, bed.free_ports(len(SERVERS)), strict=True))
    sites = [
        # Not every program hangs up when it is done.
        bed.nginx_site(ports[name], [leaf], protocols=protocols, ciphers=ciphers, more="client_header_timeout 10;")
        for name, (leaf, protocols, ciphers) in SERVERS.items()
    ]
    with bed.nginx(pki.folder, sites, next(iter(ports.values()))):
        yield pki, ports


def run(*command):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False
    )
    return done.stdout.decode("utf-8", "replace")


def version_of(name):
    """What the installed program says of its version; that of NSS is the library's."""
    program, arguments, *_rest = PROGRAMS[name]
    path = bed.program(program)
    if name == "nss":
        found = next((one for one in ("/usr/lib", "/usr/lib64") if os.path.isdir(one)), "/usr/lib")
        printed = run("grep", "-rhaom1", r"Version: NSS [0-9.]*", found, "--include=libnss3.so")
    else:
        printed = run(path, *arguments)
    match = re.search(r"\d+(\.\d+)+", printed)
    if not match:
        pytest.skip(f"{program} does not say its version")
    return match.group()


def client_of(name):
    """The client of the installed version: the same release, whatever its patch level."""
    installed = version_of(name).split(".")
    for client in _client_data.clients().values():
        version = client.version.split(".")
        same = 1 if name in ("chromium", "java", "node") else 2
        if (
            client.id.split("-")[0] == name
            and client.source.startswith("recorded")
            and version[:same] == installed[:same]
        ):
            return client
    return pytest.skip(f"{name} is here in version {'.'.join(installed)}, of which there is no recording")


def negotiated(name, port, folder):
    """Whether the program got a connection, and protocol, suite and group that the server chose for it."""
    program, _version, arguments, connected = PROGRAMS[name]
    streams = []

    def handle(sock, _over):
        received = []
        streams.append(received)

        def note(part):
            received.append(part)
            return [part]

        peers.relay(sock, port, note)

    with peers.serving(handle) as proxy:
        words = [word.format(port=proxy, folder=folder).replace("~", " ") for word in arguments.split()]
        printed = run(bed.program(program), *words)
    return connected in printed, *chosen(b"".join(streams[0]) if streams else b"")


def chosen(received):
    """Protocol, suite and group, as IANA names, in what a server has sent; None for what is not there."""
    hello = exchange = None
    try:
        for event in wire.RecordStream().feed(received):
            if isinstance(event, wire.Message) and event.kind == wire.SERVER_HELLO and hello is None:
                hello = wire.read_server_hello(event.body)
            elif isinstance(event, wire.Message) and event.kind == wire.SERVER_KEY_EXCHANGE:
                exchange = wire.read_key_exchange(event.body, data.SUITES[hello.suite].exchange)
    except wire.ParseError:
        assert hello is not None
    if hello is None:
        return None, None, None
    group = hello.group if hello.group is not None else exchange.group if exchange else None
    return data.PROTOCOL_OF[hello.version], data.SUITES[hello.suite].name, group and data.GROUPS[group].name


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_simulation_gets_what_the_program_gets(servers, name, server):
    pki, ports = servers
    client = client_of(name)
    with open(pki.path(SERVERS[server][0] + ".pem")) as stream:
        shown = _prober.read_certificate(ssl.PEM_cert_to_DER_cert(stream.read()))
    peer = _handshake.Peer({"host": "good.test", "address": "127.0.0.1", "port": ports[server]}, 10)
    (simulated,) = _clients.simulate(peer, [client], [shown])
    ok, *real = negotiated(name, ports[server], pki.folder)
    assert (simulated["ok"], simulated["protocol"], simulated["suite"], simulated["group"]) == (ok, *real)


def test_each_program_has_a_recording():
    recorded = [client.id for client in _client_data.clients().values() if client.source.startswith("recorded")]
    assert {ident.split("-")[0] for ident in recorded} == set(PROGRAMS)
