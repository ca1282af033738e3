# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real TLS servers on loopback for the tests: a small PKI, nginx, Apache, openssl s_server, and old OpenSSL.

Everything lives below one temporary folder, listens on free high ports and is ended by its process id. A program that
is missing skips the test that needs it, with its name as the reason.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from .ports import free_ports as free_ports
from .slow_bed import HANGS

OPENSSL_EXTENSIONS = "basicConstraints={ca}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
# What RFC 5280 (4.2.1.3, 4.2.1.9) demands of an authority, and strict verifiers look for.
AUTHORITY = "critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature"


def program(*names):
    """The path of the first of these programs that is installed."""
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if found:
            return found
    pytest.skip("{} is not installed here".format(" or ".join(names)))


def oracle(name):
    """A program that tests/unit/tls_oracles.sh has fetched: an old server, or a scanner."""
    folder = os.environ.get("TLS_ORACLES") or os.path.join(
        os.path.dirname(__file__), "..", "..", ".cache", "tls-oracles"
    )
    path = os.path.abspath(os.path.join(folder, name))
    if not os.path.exists(path):
        pytest.skip(f"{name} is not there: tests/unit/tls_oracles.sh fetches it")
    return path


def stream_module():
    """nginx's module for proxies that do not look into connections."""
    name = "usr/lib/nginx/modules/ngx_stream_module.so"
    return "/" + name if os.path.exists("/" + name) else oracle("nginx-stream/" + name)


def wait_for(port, process, log, address="127.0.0.1", seconds=HANGS):
    """Wait until somebody listens on the port."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), 1).close()
            return
        time.sleep(0.02)
    with open(log, "rb") as stream:
        raise AssertionError("no server on port {}: {}".format(port, stream.read()[-2000:].decode("utf-8", "replace")))


@contextlib.contextmanager
def running(command, folder, port, address="127.0.0.1", env=None):
    """A server in the foreground, ended with its whole process group."""
    log = os.path.join(str(folder), f"log.{port}")
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=str(folder),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=dict(os.environ, **(env or {})),
            start_new_session=True,
        )
    try:
        wait_for(port, process, log, address)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


class Pki:
    """A root, an intermediate, and leaves made when they are asked for, all with the openssl program.

    Files of a leaf: NAME.key, NAME.pem (alone), NAME.chain (with the intermediate). Roots: root.pem.
    """

    def __init__(self, folder):
        self.folder = str(folder)
        self._openssl = program("openssl")
        # ECDSA cannot be had with MD5, hence a second intermediate.
        for name, issuer, key in (("root", None, "ec"), ("middle", "root", "ec"), ("middlersa", "root", "rsa")):
            self.leaf(name, issuer=issuer, key=key, ca=True, names=(), days=3650)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *arguments):
        done = subprocess.run(
            [self._openssl, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout.decode()

    def key(self, name, kind):
        arguments = {
            "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
            "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
            "pss": ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
            "ed25519": ("-algorithm", "ED25519"),
        }.get(kind) or ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:" + kind[3:])
        self.run("genpkey", *arguments, "-out", name + ".key")

    def leaf(
        self,
        name,
        issuer="middle",
        key="rsa",
        names=("good.test",),
        start=-1,
        days=90,
        ca=False,
        digest="sha256",
        more="",
    ):
        """Make one; C(start) and C(days) are days from now; C(issuer) None signs itself."""
        if os.path.exists(self.path(name + ".pem")):
            return name
        self.key(name, key)
        extensions = OPENSSL_EXTENSIONS.format(ca=AUTHORITY if ca else "CA:FALSE") + more
        if names:
            extensions += "subjectAltName=" + ",".join("DNS:" + one for one in names) + "\n"
        with open(self.path(name + ".ext"), "w") as stream:
            stream.write(extensions)
        self.run("req", "-new", "-key", name + ".key", "-subj", "/O=Bed/CN=" + name, "-out", name + ".csr")
        moments = [
            time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * day)) for day in (start, start + days)
        ]
        sign = ("-CA", issuer + ".pem", "-CAkey", issuer + ".key") if issuer else ("-key", name + ".key")
        self.run(
            *("x509", "-req", "-in", name + ".csr", "-extfile", name + ".ext", "-" + digest, "-out", name + ".pem"),
            *("-not_before", moments[0], "-not_after", moments[1]),
            *sign,
        )
        with open(self.path(name + ".chain"), "w") as chain:
            for part in [name] + ([issuer] if issuer not in (None, "root") else []):
                with open(self.path(part + ".pem")) as stream:
                    chain.write(stream.read())
        return name


GOOD12 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
HSTS = 'add_header Strict-Transport-Security "max-age=31536000" always;'


def nginx_site(
    port,
    leaves,
    protocols="TLSv1.2 TLSv1.3",
    ciphers=GOOD12,
    more=HSTS,
    names="good.test",
    chain="chain",
    address="127.0.0.1",
):
    """One nginx server block."""
    lines = [f"listen {address}:{port} ssl;", f"server_name {names};"]
    for leaf in leaves:
        lines += [f"ssl_certificate {leaf}.{chain};", f"ssl_certificate_key {leaf}.key;"]
    lines += [f"ssl_protocols {protocols};", f"ssl_ciphers {ciphers};", "ssl_prefer_server_ciphers on;", more]
    lines.append('location / { return 200 "ok"; }')
    return "server {{ {} }}\n".format("\n".join(lines))


@contextlib.contextmanager
def nginx(folder, sites, port):
    """nginx with these server blocks; certificates are looked for in the folder. C(port) is one that it listens on."""
    folder = str(folder)
    configuration = os.path.join(folder, f"nginx.{port}.conf")
    work = os.path.join(folder, f"nginx.{port}")
    os.makedirs(work, exist_ok=True)
    paths = "".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(configuration, "w") as stream:
        stream.write(
            "daemon off; worker_processes 1; user root; pid {}/pid; error_log stderr;\n"
            "events {{ worker_connections 512; }}\n"
            "http {{ access_log off; server_tokens off; {}\n{} }}\n".format(work, paths, "".join(sites))
        )
    with running([program("nginx"), "-p", folder, "-c", configuration, "-e", "stderr"], folder, port):
        yield


@contextlib.contextmanager
def apache(folder, port, body):
    """Apache with one TLS virtual host, whose directives are C(body)."""
    folder = str(folder)
    binary = program("apache2", "httpd")
    modules = next(
        (one for one in ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules") if os.path.isdir(one)), None
    )
    if modules is None:
        pytest.skip("no Apache modules here")
    configuration = os.path.join(folder, f"apache.{port}.conf")
    root = os.path.join(folder, "htdocs")
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, "index.html"), "w") as stream:
        stream.write("ok")
    loads = "".join(
        f"LoadModule {name}_module {modules}/mod_{name}.so\n"
        for name in ("mpm_event", "authz_core", "dir", "headers", "ssl", "socache_shmcb", "alias")
        if os.path.exists(f"{modules}/mod_{name}.so")
    )
    with open(configuration, "w") as stream:
        stream.write(
            f'ServerRoot "{folder}"\nDefaultRuntimeDir "{folder}"\nPidFile "{folder}/apache.{port}.pid"\n'
            f"ErrorLog {folder}/apache.{port}.log\n{loads}Listen 127.0.0.1:{port} https\n"
            f"ServerName good.test\nDocumentRoot {root}\n"
            f"SSLSessionCache shmcb:{folder}/scache.{port}(512000)\n"
            f"<VirtualHost 127.0.0.1:{port}>\nSSLEngine on\n{body}\n</VirtualHost>\n"
        )
    with running([binary, "-X", "-f", configuration], folder, port):
        yield


def shown(leaf, issuer="middle"):
    """Arguments that make s_server show a leaf with its issuer: of a file with both it would send the first."""
    return ("-cert", leaf + ".pem", "-key", leaf + ".key", "-cert_chain", issuer + ".pem")


@contextlib.contextmanager
def s_server(folder, port, *arguments, openssl=None, env=None):
    """openssl s_server in the folder, where a name like good.key is found."""
    command = [openssl or program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet", *arguments]
    with running(command, folder, port, env=env):
        yield


NODE_SERVER = """
var fs = require('fs'), https = require('https'), options = JSON.parse(process.argv[2]);
options.key = fs.readFileSync(options.key);
options.cert = fs.readFileSync(options.cert);
if (options.dhparam) options.dhparam = fs.readFileSync(options.dhparam);
https.createServer(options, function (request, answer) {
  answer.writeHead(200, {'Strict-Transport-Security': 'max-age=31536000'});
  answer.end('ok');
}).listen(options.port, '127.0.0.1');
"""


@contextlib.contextmanager
def node(folder, port, version, **options):
    """An HTTPS server of an old node: 4.9.1 has OpenSSL 1.0.2, 0.10.28 has 1.0.1 with SSL 2.0 and export suites."""
    import json

    script = os.path.join(str(folder), "server.js")
    with open(script, "w") as stream:
        stream.write(NODE_SERVER)
    binary = oracle(f"node-{version}/bin/node")
    with running([binary, script, json.dumps(dict(options, port=port))], folder, port):
        yield
