# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with a real Apache or nginx at Debian's own paths, in namespaces of its own: nothing of this machine changes.

A host is its files by path, each with a mode and its content, or the target of a link. In its namespaces C(/etc) is a
copy, C(/run), C(/var/lib) and C(/var/log) are empty, and the network is a loopback without anything on it. The
collection that a play runs with may be that of another commit; this is how recorded/hosts was made:

    python -m tests.unit.upgrade_bed CHECKOUT VERSION
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from .slow_bed import HANGS

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded" / "hosts"
STATE = "/var/lib/kopano-hardening"
NAMES = ("mail.example", "autodiscover.example")
PATHS = ("/", "/webapp/", "/gone")
PROTOCOLS = {version.name: version for version in ssl.TLSVersion if version.name.startswith("TLSv")}
ROLE = {"ansible.builtin.include_role": {"name": "kopano.hardening.frontend"}}

Files = dict[str, dict[str, str]]


class Server(t.NamedTuple):
    start: list[str]
    pid_file: str
    configuration: str  # the directory that has all of it
    files: Files


def _files(**texts: str) -> Files:
    return {path: {"mode": "0644", "content": text} for path, text in texts.items()}


_MODULES = {
    name: f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
    for name in ("mpm_event", "authz_core", "alias", "ssl", "socache_shmcb", "headers", "rewrite", "http2", "setenvif")
}
_ENABLED = ("mpm_event", "authz_core", "alias", "ssl", "socache_shmcb")

# Hosts as administrators have them: old protocols, a short HSTS of the first site's own, plain HTTP served.
SERVERS = {
    "nginx": Server(
        ["/usr/sbin/nginx"],
        "/run/nginx.pid",
        "/etc/nginx",
        _files(
            **{
                "/etc/nginx/nginx.conf": "user www-data;\npid /run/nginx.pid;\nevents { }\nhttp {\n"
                "    access_log off;\n    ssl_prefer_server_ciphers on;\n"
                "    include /etc/nginx/conf.d/*.conf;\n    include /etc/nginx/sites-enabled/*;\n}\n",
                "/etc/nginx/sites-available/mail": "server {\n    listen 80;\n    listen 443 ssl;\n"
                "    server_name mail.example;\n    ssl_certificate /etc/ssl/mail/cert.pem;\n"
                "    ssl_certificate_key /etc/ssl/mail/key.pem;\n    ssl_protocols TLSv1 TLSv1.1 TLSv1.2;\n"
                "    ssl_ciphers HIGH:!aNULL;\n    add_header Strict-Transport-Security max-age=300;\n"
                "    location / { return 404; }\n    location /webapp/ { return 200 webapp; }\n}\n",
                "/etc/nginx/sites-available/autodiscover": "server {\n    listen 443 ssl;\n"
                "    server_name autodiscover.example;\n    ssl_certificate /etc/ssl/mail/cert.pem;\n"
                "    ssl_certificate_key /etc/ssl/mail/key.pem;\n    location / { return 401; }\n}\n",
            }
        )
        | {
            f"/etc/nginx/sites-enabled/{name}": {"link": f"../sites-available/{name}"}
            for name in ("mail", "autodiscover")
        },
    ),
    "apache": Server(
        ["/usr/sbin/apache2", "-k", "start"],
        "/run/apache2/apache2.pid",
        "/etc/apache2",
        _files(
            **{
                "/etc/apache2/apache2.conf": "ServerRoot /etc/apache2\nPidFile /run/apache2/apache2.pid\n"
                "User www-data\nGroup www-data\nServerName host.example\n"
                "ErrorLog /var/log/apache2/error.log\nListen 80\nListen 443\n"
                "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n"
                "IncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n",
                "/etc/apache2/envvars": "",
                "/etc/apache2/sites-available/mail.conf": "<VirtualHost *:80>\n    ServerName mail.example\n"
                "    RedirectMatch 404 ^/$\n</VirtualHost>\n<VirtualHost *:443>\n    ServerName mail.example\n"
                "    SSLEngine on\n    SSLCertificateFile /etc/ssl/mail/cert.pem\n"
                "    SSLCertificateKeyFile /etc/ssl/mail/key.pem\n    SSLProtocol all -SSLv3\n"
                "    SSLCipherSuite HIGH:!aNULL\n    RedirectMatch 404 ^/$\n    RedirectMatch 204 ^/webapp/$\n"
                "</VirtualHost>\n",
                "/etc/apache2/sites-available/autodiscover.conf": "<VirtualHost *:443>\n"
                "    ServerName autodiscover.example\n    SSLEngine on\n"
                "    SSLCertificateFile /etc/ssl/mail/cert.pem\n    SSLCertificateKeyFile /etc/ssl/mail/key.pem\n"
                "    RedirectMatch 401 ^/\n</VirtualHost>\n",
                **{f"/etc/apache2/mods-available/{name}.load": text for name, text in _MODULES.items()},
            }
        )
        | {f"/etc/apache2/mods-enabled/{name}.load": {"link": f"../mods-available/{name}.load"} for name in _ENABLED}
        | {
            f"/etc/apache2/sites-enabled/{name}.conf": {"link": f"../sites-available/{name}.conf"}
            for name in ("mail", "autodiscover")
        },
    ),
}


def here(what: str, server: str) -> dict[str, t.Any]:
    """A task that runs one of this file's functions on the host: C(tree), C(behaviour), or C(lay) once more."""
    words = [sys.executable, "-m", "tests.unit.upgrade_bed", "--here", what, server]
    return {"ansible.builtin.command": {"argv": words, "chdir": str(ROOT)}}


def play(server: str, files: Files, tasks: list[dict[str, t.Any]], checkout: Path = ROOT) -> list[t.Any]:
    """Run tasks on a host with these files; what each of them returned, or of one of C(here()) what that found."""
    named = [{"name": f"<{number}>", "register": f"done{number}", **task} for number, task in enumerate(tasks)]
    results = "[%s]" % ", ".join(f"done{number}" for number in range(len(tasks)))
    with tempfile.TemporaryDirectory() as folder:
        kept = {"ansible.builtin.copy": {"content": "{{ %s | to_json }}" % results, "dest": f"{folder}/results"}}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [*named, kept]}
        (Path(folder) / "play.yml").write_text(json.dumps([play]))
        (Path(folder) / "job.json").write_text(json.dumps(files))
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-m", "tests.unit.upgrade_bed", "--host", server],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": folder, "JOB": folder, "ANSIBLE_LOCAL_TEMP": folder,
                 "ANSIBLE_COLLECTIONS_PATH": str(checkout / ".cache/collections"), "ANSIBLE_REMOTE_TEMP": folder,
                 "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((Path(folder) / "results").read_text())
    return [json.loads(result["stdout"]) if "stdout" in result else result for result in found]


# --- on the host -----------------------------------------------------------------------------------------------------


def become_host(server: str) -> int:
    """In new namespaces: give the host its places and files, start its server and run the play."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        subprocess.run(["cp", "--archive", "/etc", place], check=True)
        subprocess.run(["mount", "--bind", f"{place}/etc", "/etc"], check=True)
        for path in ("/run", "/var/lib", "/var/log"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path], check=True)
        for path in ("/run/apache2", "/var/log/apache2", "/var/log/nginx", "/var/lib/nginx"):
            os.makedirs(path)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        os.makedirs("/etc/ssl/mail")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=mail.example", "-addext", "subjectAltName=DNS:mail.example,DNS:autodiscover.example",
             "-days", "90", "-keyout", "/etc/ssl/mail/key.pem", "-out", "/etc/ssl/mail/cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        lay(server)
        play = Path(os.environ["JOB"]) / "play.yml"
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", str(play)]
        done = subprocess.run(command, cwd=os.environ["JOB"], check=False)
        subprocess.run(["umount", "--lazy", place], check=True)
        return done.returncode


def lay(server: str) -> None:
    """Give the host the files of the job, and no others where its configuration and the collection's records are.

    Its server is started with them.
    """
    if os.path.exists(SERVERS[server].pid_file):
        _stop(SERVERS[server].pid_file)
    for folder in (SERVERS[server].configuration, STATE):
        subprocess.run(["rm", "-rf", folder], check=True)
    for path, entry in json.loads((Path(os.environ["JOB"]) / "job.json").read_text()).items():
        if "link" in entry:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(entry["link"], path)
        elif "content" in entry:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(entry["content"])
        else:
            os.makedirs(path, exist_ok=True)
        if "mode" in entry:
            os.chmod(path, int(entry["mode"], 8))
    subprocess.run(SERVERS[server].start, check=True)


def _stop(pid_file: str) -> None:
    """End a server at once, and wait until it has."""
    os.kill(int(Path(pid_file).read_text()), signal.SIGTERM)
    deadline = time.monotonic() + HANGS
    while os.path.exists(pid_file):
        assert time.monotonic() < deadline, f"{pid_file} stays"
        time.sleep(0.02)


def tree(server: str) -> Files:
    """The files where its configuration and the collection's records are."""
    found: Files = {}
    for top in (SERVERS[server].configuration, STATE):
        for path in sorted([Path(top), *Path(top).rglob("*")] if Path(top).exists() else []):
            mode = f"{stat.S_IMODE(path.lstat().st_mode):04o}"
            if path.is_symlink():
                found[str(path)] = {"link": os.readlink(path)}
            elif path.is_dir():
                found[str(path)] = {"mode": mode}
            else:
                found[str(path)] = {"mode": mode, "content": path.read_text()}
    return found


def behaviour(server: str) -> dict[str, str]:
    """What clients get: for each name, port and path the response, and for each protocol what is negotiated."""
    del server
    found = {}
    for name in NAMES:
        for path in PATHS:
            for port in (80, 443):
                found[f"{name}:{port}{path}"] = _response(name, port, path)
        for protocol in PROTOCOLS:
            found[f"{name} {protocol}"] = _negotiated(name, protocol)
    return found


def _context(protocol: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    if protocol:
        context.minimum_version = context.maximum_version = PROTOCOLS[protocol]
    return context


def _negotiated(name: str, protocol: str) -> str:
    with socket.create_connection(("127.0.0.1", 443), 10) as connection:
        try:
            with _context(protocol).wrap_socket(connection, server_hostname=name) as secure:
                return str(secure.cipher())
        except OSError:
            return "refused"


def _response(name: str, port: int, path: str) -> str:
    connection: socket.socket = socket.create_connection(("127.0.0.1", port), 10)
    with connection if port == 80 else _context().wrap_socket(connection, server_hostname=name) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        head = b"".join(iter(lambda: stream.recv(65536), b"")).split(b"\r\n\r\n")[0].decode("latin-1")
    return "\n".join(line for line in head.split("\r\n") if not line.startswith("Date: "))


def record(checkout: Path, version: str) -> None:
    """Have the collection of a checkout harden both hosts, and keep what it has left there."""
    for server, what in SERVERS.items():
        *_results, hardened, after = play(
            server, what.files, [ROLE, ROLE, here("behaviour", server), here("tree", server)], checkout
        )
        RECORDED.mkdir(exist_ok=True)
        kept = {"files": after, "behaviour": hardened}
        (RECORDED / f"{version}-{server}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--host":
        sys.exit(become_host(sys.argv[2]))
    if sys.argv[1] == "--here":
        print(json.dumps({"lay": lay, "tree": tree, "behaviour": behaviour}[sys.argv[2]](sys.argv[3])))
    else:
        record(Path(sys.argv[1]).resolve(), sys.argv[2])
