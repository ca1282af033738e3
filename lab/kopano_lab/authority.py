# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The authority of a checkout, which signs for all hosts of its sets. Its key is beside its certificate."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .shell import lock, run

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def authority(folder: Path) -> Path:
    """The certificate of the authority, made once."""
    path = folder / "ca.pem"
    with lock(folder / "lock"):
        if not path.exists():
            made = folder / "ca.new"
            run([
                "openssl", "req", "-x509", *CURVE, "-days", "3650", "-subj", f"/CN=lab of {folder.parents[1].name}",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", folder / "ca_key", "-out", made,
            ])  # fmt: skip
            made.rename(path)
    return path


def server_certificate(ca: Path, path: Path, address: str) -> bytes:
    """Key and certificate of a server that is known by an IP address, as PEM; made once and kept at path."""
    with lock(path.with_name("certificate.lock")):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made, request, extensions = (Path(folder, name) for name in ("pem", "request", "extensions"))
                extensions.write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth\n")
                key = Path(folder, "key")
                run(["openssl", "req", "-new", *CURVE, "-subj", f"/CN={address}", "-keyout", key, "-out", request])
                run([
                    "openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca.with_name("ca_key"), "-days",
                    "397", "-sha256", "-CAcreateserial", "-CAserial", Path(folder, "serial"), "-extfile", extensions,
                    "-out", made,
                ])  # fmt: skip
                made.write_bytes(key.read_bytes() + made.read_bytes())
                made.rename(path)
    return path.read_bytes()
