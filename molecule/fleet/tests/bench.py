# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of the playbooks on all hosts at once: the exit status, the report, and what is known of each host."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PROJECT = Path(__file__).resolve().parents[3]
sys.path.append(str(PROJECT / "molecule" / "common"))

import over_ssh  # noqa: E402
from frontends import Frontend, read_frontend  # noqa: E402
from terminal import shown  # noqa: E402

SET = os.environ.get("LAB_SET", "molecule-fleet")
LAB = PROJECT / ".cache" / "lab"
INVENTORY = LAB / SET / "inventory.yml"
SCENARIO = Path(__file__).resolve().parent.parent
OPTIONS = SCENARIO / "inventory" / "options.yml"
SECONDS = 900  # a run that hangs, on a machine ten times slower


@dataclass(frozen=True)
class Play:
    """What a run came to. hosts: their parts of the report; facts: what the roles have kept of each host; failed and
    unreachable: those that the recap counts as such."""

    status: int
    output: str
    hosts: dict[str, dict[str, Any]]
    facts: dict[str, dict[str, Any]]
    failed: set[str]
    unreachable: set[str]

    def ends(self, host: str) -> list[str]:
        """The messages with which tasks have failed a host."""
        return shown(self.output)[host].messages

    def why(self, host: str) -> str:
        """What the scorecard says in its last column."""
        head, *lines = self.output.partition("\nhost ")[2].partition("\n\n")[0].splitlines()
        (line,) = [line for line in lines if line.startswith(f"{host} ")]
        return line[len("host " + head.partition("fails because")[0]) :].strip()


def run(playbook: str, folder: Path, *arguments: str) -> Play:
    """Run a playbook on all hosts. folder: has the certificate that is brought, and gets the report and the facts."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    authority = x509.load_pem_x509_certificate((LAB / "ca.pem").read_bytes())
    name = authority.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    where = {"fleet_folder": str(folder), "fleet_authority": name, "fleet_playbook": playbook}
    where["report_path"] = str(folder / playbook)
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "--inventory", INVENTORY, "--inventory", OPTIONS,
         "--extra-vars", json.dumps(where), *arguments, SCENARIO / f"{playbook}.yml"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
        env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
             "COLUMNS": "1000"},
    )  # fmt: skip
    output = done.stdout + done.stderr
    (folder / f"{playbook}.output").write_text(output)
    report = json.loads((folder / playbook / "report.json").read_text())
    recap = output.partition("PLAY RECAP")[2]
    failed, unreachable = (set(re.findall(rf"(?m)^(\S+) .*{word}=[1-9]", recap)) for word in ("failed", "unreachable"))
    return Play(
        done.returncode,
        output,
        {host["name"]: host for host in report["hosts"]},
        json.loads((folder / f"{playbook}.json").read_text()),
        failed,
        unreachable,
    )


def bring_certificate(folder: Path, name: str) -> x509.Certificate:
    """Have a certificate of the lab's authority for a name in a folder, with its key and the authority's own."""
    authority = x509.load_pem_x509_certificate((LAB / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((LAB / "ca_key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=60))
    names = [x509.DNSName(name), x509.DNSName(name.replace("mail.", "autodiscover."))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    server = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = builder.add_extension(server, critical=False).sign(signer, hashes.SHA256())
    (folder / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "ca.pem").write_bytes((LAB / "ca.pem").read_bytes())
    return certificate


def client(name: str) -> Frontend:
    """A host as its clients see it."""
    return read_frontend(INVENTORY, name)


def shell(host: str, script: str) -> str:
    """What a script of root's says on a host; it may not fail."""
    return over_ssh.shell(INVENTORY, host, script, seconds=60)
