# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host of the lab with many TLS virtual hosts: what a provider of groupware has.

Most have a wildcard certificate, a third one for a hundred names; one in fifty has its own, and one in a hundred TLS
directives of its own, which a hardening takes out. Each is a file, as administrators have them. All names are in a zone
that the lab's name server has.

    python -m tests.benchmark.many_vhosts SET HOST COUNT
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = ROOT / ".cache" / "lab"
DOMAIN = "sites.nginx13.test"
A_CERTIFICATE = 100  # names, as many as Let's Encrypt takes
CERTIFICATES, KEYS = "/etc/ssl/certs", "/etc/ssl/private"
# What a hardening takes out again.
OWN_DIRECTIVES = {
    "apache": ["SSLProtocol all", "SSLCipherSuite ALL:!aNULL:@SECLEVEL=0"],
    "nginx": ["ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;", "ssl_ciphers ALL:!aNULL:@SECLEVEL=0;"],
}
APACHE = """<VirtualHost {address}:443>
	ServerName {name}
	DocumentRoot /var/www/html
	ErrorLog ${{APACHE_LOG_DIR}}/sites-error.log
	CustomLog ${{APACHE_LOG_DIR}}/sites-access.log combined
	SSLEngine on
	SSLCertificateFile {certificate}
	SSLCertificateKeyFile {key}
{more}</VirtualHost>
"""
NGINX = """server {{
    listen {address}:443 ssl;
    server_name {name};
    root /var/www/html;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
{more}}}
"""
# All names at once, on port 80.
PLAIN = {
    "apache": """<VirtualHost {address}:80>
	ServerName {domain}
	ServerAlias *.{domain}
	RewriteEngine on
	RewriteRule ^ https://%{{HTTP_HOST}}%{{REQUEST_URI}} [R=301,L]
</VirtualHost>
""",
    "nginx": """server {{
    listen {address}:80;
    server_name {domain} *.{domain};
    return 301 https://$host$request_uri;
}}
""",
}
PLACES = {
    "apache": ("/etc/apache2/sites-available/{}.conf", "/etc/apache2/sites-enabled/{}.conf", "apache2"),
    "nginx": ("/etc/nginx/sites-available/{}", "/etc/nginx/sites-enabled/{}", "nginx"),
}


class Site(NamedTuple):
    """A virtual host: its name, the name of its certificate, and whether it has TLS directives of its own."""

    name: str
    certificate: str
    own: bool


def sites(count: int) -> list[Site]:
    """The virtual hosts, the same for every server."""
    found = []
    for number in range(count):
        name = f"site{number:04d}.{DOMAIN}"
        certificate = "wildcard"
        if number % 50 == 7:
            certificate = f"own{number:04d}"
        elif number % 3 == 0:
            certificate = f"many{number // 3 // A_CERTIFICATE:02d}"
        found.append(Site(name, certificate, number % 100 == 13))
    return found


def names_of(some: list[Site]) -> dict[str, list[str]]:
    """The names of each certificate."""
    names: dict[str, list[str]] = {}
    for site in some:
        names.setdefault(site.certificate, []).append(site.name)
    return {**names, "wildcard": [f"*.{DOMAIN}"]}


def configuration(server: str, address: str, some: list[Site]) -> dict[str, str]:
    """The files of the virtual hosts, by the name of each site."""
    template = {"apache": APACHE, "nginx": NGINX}[server]
    indent = {"apache": "\t", "nginx": "    "}[server]
    files = {"sites-plain": PLAIN[server].format(address=address, domain=DOMAIN)}
    for site in some:
        more = OWN_DIRECTIVES[server] if site.own else []
        files[site.name] = template.format(
            address=address,
            name=site.name,
            certificate=f"{CERTIFICATES}/{site.certificate}.pem",
            key=f"{KEYS}/{site.certificate}.key",
            more="".join(f"{indent}{line}\n" for line in more),
        )
    return files


def certificates(names: dict[str, list[str]]) -> dict[str, bytes]:
    """Keys and certificates of the lab's authority, by their paths on the host."""
    found = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, served in names.items():
            key, request, extensions, made = (folder / f"{name}.{part}" for part in ("key", "csr", "ext", "pem"))
            extensions.write_text("subjectAltName=" + ",".join(f"DNS:{one}" for one in served) + "\n")
            openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", f"/CN={name}", "-keyout", key, "-out", request)  # fmt: skip
            openssl("x509", "-req", "-in", request, "-CA", LAB / "ca.pem", "-CAkey", LAB / "ca_key",
                    "-CAcreateserial", "-CAserial", folder / "serial", "-days", "397",
                    "-extfile", extensions, "-out", made)  # fmt: skip
            found[f"{KEYS}/{name}.key"] = key.read_bytes()
            found[f"{CERTIFICATES}/{name}.pem"] = made.read_bytes()
    return found


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def archive(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    """A tar archive with these files, and links to them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o600 if path.endswith(".key") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        for path, target in links.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


def on_host(lab_set: str, host: str, *words: str, data: bytes | None = None) -> None:
    """Run a command in a host of the lab."""
    lab = [sys.executable, str(ROOT / "lab" / "lab.py"), "--set", lab_set, "exec", host]
    subprocess.run([*lab, *words], input=data, check=True, capture_output=True)


def prepare(lab_set: str, host: str, count: int) -> None:
    """Give a host of the lab so many virtual hosts beside its own."""
    inventory = yaml.safe_load((LAB / lab_set / "inventory.yml").read_text())["all"]
    address = inventory["hosts"][host]["ansible_host"]
    server = "apache" if host.startswith("apache") else "nginx"
    available, enabled, unit = PLACES[server]
    some = sites(count)
    files = certificates(names_of(some))
    links = {}
    for name, text in configuration(server, address, some).items():
        files[available.format(name)] = text.encode()
        links[enabled.format(name)] = available.format(name)
    on_host(lab_set, host, "tar", "-x", "-C", "/", data=archive(files, links))
    on_host(lab_set, host, "systemctl", "restart", unit)


if __name__ == "__main__":
    prepare(sys.argv[1], sys.argv[2], int(sys.argv[3]))
