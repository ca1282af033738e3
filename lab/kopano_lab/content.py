# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host has on its disk at its first boot, as one tar archive."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import jinja2
import yaml

from . import daemons
from .images import LAB
from .model import Host

OWN = "/usr/local/lib/kopano-lab"
WEBAPP = "/usr/share/kopano-webapp"
ZPUSH = "/usr/share/z-push"
KDAV = "/usr/share/kopano-kdav"
WEB_APPS = {f"/{name}": f"/usr/share/kopano-{name}/{name}-webapp" for name in ("meet", "calendar", "mail")}
# Where the folders of frontends/ go.
FRONTENDS = [
    ("daemons", OWN),
    ("kopano-webapp", WEBAPP),
    ("z-push", ZPUSH),
    ("kdav", KDAV),
    ("kopano-meet", WEB_APPS["/meet"]),
    ("kopano-app", WEB_APPS["/calendar"]),
    ("kopano-app", WEB_APPS["/mail"]),
]
AUTODISCOVER_PATHS = [
    "/AutoDiscover/AutoDiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/autodiscover/autodiscover.xml",
]
# Everything but anonymous suites, at the level that lets OpenSSL 3 have TLS 1.0 and SHA-1 at all.
WEAK_CIPHERS = "ALL:!aNULL:@SECLEVEL=0"
DAEMONS_UNIT = "kopano-lab-daemons.service"
KEY_OPTIONS = {"rsa": ("rsa:2048", ""), "ec": ("ec", "-pkeyopt ec_paramgen_curve:prime256v1")}


def archive(host: Host, addresses: tuple[str, str], identity: dict[str, bytes]) -> bytes:
    """The archive for one host; the same input gives the same bytes.

    addresses are its IPv4 and IPv6 address, identity the files that make it this host (path to content).
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in sorted({**dict(_files(host, addresses)), **identity}.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size = len(content)
            secret = path.endswith("_key") or path.startswith("/root/")
            program = path == f"{OWN}/seed" or path.startswith("/usr/sbin/")
            entry.mode = 0o600 if secret else 0o755 if program else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def without_padding(archive: bytes) -> bytes:
    """An archive that ends with its end marker, which is two blocks of zeros.

    What reads one stops there. podman cp fails with a broken pipe where it has more to write by then.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        last = tar.getmembers()[-1]
    blocks = -(-last.size // tarfile.BLOCKSIZE)
    return archive[: last.offset_data + (blocks + 2) * tarfile.BLOCKSIZE]


def _files(host: Host, addresses: tuple[str, str]) -> Iterator[tuple[str, bytes]]:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([LAB / "templates" / host.server, LAB / "templates" / "fpm"]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the hosts' files are no HTML
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    variables = _variables(host, addresses)
    wanted = _wanted(host)
    for entry in wanted:
        template = environment.get_template((entry.get("template") or PurePosixPath(entry["path"]).name) + ".j2")
        yield entry["path"], template.render(variables).encode()
    for source, target in FRONTENDS:
        root = LAB / "frontends" / source
        for path in root.rglob("*"):
            if path.is_file():
                yield f"{target}/{path.relative_to(root)}", path.read_bytes()
    played = daemons.of(host)
    for daemon in played:
        yield f"/usr/sbin/{daemon.program}", f"#!/bin/sh\n# {DAEMONS_UNIT} plays it.\n".encode()
    yield f"{OWN}/daemons.json", json.dumps([asdict(daemon) for daemon in played]).encode()
    yield f"/etc/systemd/system/{DAEMONS_UNIT}", (LAB / DAEMONS_UNIT).read_bytes()
    yield f"{OWN}/seed", (LAB / "seed").read_bytes()
    yield f"{OWN}/plan", _plan(host, wanted).encode()
    yield "/etc/machine-id", (hashlib.md5(host.name.encode(), usedforsecurity=False).hexdigest() + "\n").encode()


def _variables(host: Host, addresses: tuple[str, str]) -> dict[str, Any]:
    return {
        "dirt": host.dirt,
        "domain": host.domain,
        "name": f"mail.{host.domain}",
        "names": _names(host),
        "ipv4": addresses[0],
        "ipv6": addresses[1],
        **_certificate(host),
        "log_dir": host.family.log_dir,
        "include_dir": host.family.include_dir,
        "document_root": host.family.document_root,
        "user": host.family.user,
        "group": host.family.group,
        "socket_group": host.family.nginx_user if host.server == "nginx" else host.family.group,
        "weak_ciphers": WEAK_CIPHERS,
        "webapp": WEBAPP,
        "zpush": ZPUSH,
        "kdav": KDAV,
        "kdav_socket": host.family.kdav_socket if host.php == "fpm" else "",
        "web_apps": WEB_APPS,
        "daemons": daemons.of(host),
        "autodiscover_paths": AUTODISCOVER_PATHS,
        "fastcgi": host.family.fastcgi.format(php=host.release.php),
    }


def _certificate(host: Host) -> dict[str, str]:
    """Where the host's own certificate and its key are."""
    name = f"mail.{host.domain}"
    return {kind: getattr(host.family, kind).format(name=name) for kind in ("certificate", "key_file")}


def _names(host: Host) -> list[str]:
    return [f"{label}.{host.domain}" for label in ("mail", "autodiscover", "webapp")] + [host.domain]


def _wanted(host: Host) -> list[dict[str, Any]]:
    """The entries of files.yml that this host gets."""
    files: dict[str, list[dict[str, Any]]] = yaml.safe_load((LAB / "files.yml").read_text())[host.family.name]
    return [
        {**entry, "path": entry["path"].format(php=host.release.php)}
        for entry in files[host.server] + (files["fpm"] if host.php == "fpm" else [])
        if ("with" not in entry or host.dirt & set(entry["with"])) and not host.dirt & set(entry.get("without", []))
    ]


def _plan(host: Host, wanted: list[dict[str, Any]]) -> str:
    """What the first boot does, as shell variables."""
    php = f"php{host.release.php}"
    key_type, key_options = KEY_OPTIONS[host.key]
    enabled = {
        kind: [PurePosixPath(entry["path"]).name for entry in wanted if entry.get("enable") == kind]
        for kind in ("sites", "confs")
    }
    apache = host.server == "apache"
    if apache:
        enabled = {kind: [name.removesuffix(".conf") for name in names] for kind, names in enabled.items()}
    modules = {"rewrite": True, "ssl": "no-site" not in host.dirt, "headers": "no-headers" not in host.dirt}
    modules |= dict.fromkeys(("proxy", "proxy_http", "proxy_wstunnel"), True)
    if host.php == "mod_php":
        modules |= {"mpm_event": False, "mpm_prefork": True, php: True}
    else:
        modules |= {php: False, "mpm_prefork": False, "mpm_event": True, "proxy_fcgi": True, "setenvif": True}
        if apache:
            enabled["confs"].insert(0, f"{php}-fpm")
    units = [unit.format(php=host.release.php) for kind, unit in host.family.units if kind in (host.server, host.php)]
    default_site = {"apache": "000-default", "nginx": "default"}[host.server]
    values = {
        "family": host.family.name,
        "server": host.server,
        "name": f"mail.{host.domain}",
        "subject_alt_names": ",".join(f"DNS:{name}" for name in [*_names(host), f"calendar.{host.domain}"]),
        "key_type": key_type,
        "key_options": key_options,
        **_certificate(host),
        "modules_on": " ".join(name for name, on in modules.items() if on),
        "modules_off": " ".join(name for name, on in modules.items() if not on),
        "sites_on": " ".join(enabled["sites"]),
        "sites_off": "" if "no-site" in host.dirt else default_site,
        "confs_on": " ".join(enabled["confs"]),
        "units": " ".join([*units, DAEMONS_UNIT]),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
