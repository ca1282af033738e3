# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The distribution's certbot: what it has, and how a certificate is ordered with it (certbot(1), RFC 8555).

Whether something is to be ordered is decided here and not by certbot, so that it is known before any request. No secret
is ever part of a command line, which every user of the host could read.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import typing as t
import urllib.error
import urllib.parse

from ansible.module_utils.urls import Request

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import (
    FILE,
    Change,
    Changeset,
    State,
)
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

PROGRAM = "certbot"
SNAP = "/snap/bin/certbot"  # where snapd has it, which is not on every path
FOLDER = "/etc/letsencrypt"
CREDENTIALS = FOLDER + "/kopano-hardening-rfc2136.ini"
AUTHENTICATORS = {"http-01": "webroot", "dns-01": "dns-rfc2136"}
KEYS = {
    "ecdsa": ["--key-type", "ecdsa", "--elliptic-curve", "secp256r1"],
    "rsa": ["--key-type", "rsa", "--rsa-key-size", "3072"],
}
KEY_KINDS = {"ecdsa": "EC", "rsa": "RSA"}
DNS_PORT = 53
DIRECTORY_TIMEOUT = 20.0  # seconds for the next bytes of it
DIRECTORY_SECONDS = 60.0  # for all of it, its name and redirects included
ORDER_TIMEOUT = 600
MAX_DIRECTORY = 1 << 16  # bytes

# What certbot prints each time and no user needs, and where its advice begins.
_NOISE = re.compile(
    r"^(Saving debug log|Ask for help|See the logfile|Please see the logfiles|Plugins selected|[-\s]+$|IMPORTANT NOTES|"
    r"Requesting a certificate|Simulating a certificate|Renewing an existing|Performing the following|Cleaning up|"
    r"Waiting |\S+ challenge for |Challenge failed for domain|Using the webroot path|An unexpected error occurred:$|"
    r"Account registered|Some challenges have failed|- The following errors were reported)"
)
_ADVICE = ("Hint:", "To fix these errors")


class CertbotError(Exception):
    """There is no certificate to be had this way; the message is that of the program or server that refused."""


class Order(t.NamedTuple):
    """A certificate to be ordered: C(name) within certbot, C(names) of the certificate, and how to get it."""

    name: str
    names: tuple[str, ...]
    directory: str
    challenge: str
    key_type: str
    webroot: str | None
    dns_wait: int
    ca_file: str | None


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class LiveFiles(t.TypedDict):  # novm
        """The files that always have the newest chain and key of a certificate."""

        chain_file: str
        key_file: str

    class Ordered(t.TypedDict):  # novm
        """The result of acme_certificate: whether a certificate was C(needed) and the C(reason), empty if it was not;
        the URI of the account, empty if there is none yet or it was not needed; the domains by which CAA records name
        the CA, as far as its directory has them; a pair of files for each kind of key."""

        changed: bool
        needed: bool
        reason: str
        account_uri: str
        caa_identities: list[str]
        certificates: list[LiveFiles]

else:
    LiveFiles = Ordered = t.Dict[str, t.Any]


# --- what is there ---------------------------------------------------------------------------------------------------


def program() -> str | None:
    """The certbot that is called: the first one on the path, else that of a snap."""
    return shutil.which(PROGRAM) or shutil.which(SNAP)


def installed() -> bool:
    return program() is not None


def live(name: str) -> tuple[str, str]:
    """The files that always have the newest chain and key of a certificate."""
    return os.path.join(FOLDER, "live", name, "fullchain.pem"), os.path.join(FOLDER, "live", name, "privkey.pem")


def why(order: Order, now: float | None = None) -> str:
    """Why the order has to be made; '' where certbot has such a certificate and renews it the same way."""
    try:
        with open(os.path.join(FOLDER, "renewal", order.name + ".conf"), encoding="utf-8") as stream:
            kept = dict(re.findall(r"^(\w+) *= *(.*?),? *$", stream.read(), re.MULTILINE))
        with open(live(order.name)[0], encoding="ascii") as stream:
            found = _deploy.PEM.search(stream.read())
        certificate = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(found.group() if found else ""))
    except (FileNotFoundError, NotADirectoryError):
        return "there is none yet"
    except (OSError, ValueError, ParseError) as error:
        return f"certbot's files cannot be read: {error}"
    now = time.time() if now is None else now
    authenticator = AUTHENTICATORS[order.challenge]
    if sorted(certificate.dns_names) != sorted(name.lower() for name in order.names):
        return "it is for {}".format(" ".join(certificate.dns_names))
    if certificate.not_after - now < (certificate.not_after - certificate.not_before) / 3:
        return "it is in the last third of its life"
    if kept.get("server") != order.directory:
        return "it comes from {}".format(kept.get("server"))
    if certificate.key.type != KEY_KINDS[order.key_type]:
        return f"its key is {certificate.key.type}"
    if kept.get("authenticator") != authenticator:
        return "it would be renewed by {}".format(kept.get("authenticator"))
    if order.webroot and kept.get("webroot_path") != order.webroot:
        return "it would be renewed from {}".format(kept.get("webroot_path"))
    return ""


def accounts(directory: str) -> list[tuple[str, str]]:
    """The accounts at an ACME server: each by certbot's identifier and its URI."""
    parts = urllib.parse.urlsplit(directory)
    folder = os.path.join(FOLDER, "accounts", parts.netloc + parts.path)
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        try:
            with open(os.path.join(folder, name, "regr.json")) as stream:
                found.append((name, str(json.load(stream)["uri"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


# --- the ACME server -------------------------------------------------------------------------------------------------


def fetch_directory(url: str, ca_file: str | None) -> dict[str, t.Any]:
    """An ACME server's directory object (RFC 8555, section 7.1.1). Raises CertbotError."""
    found: list[dict[str, t.Any] | CertbotError] = [
        CertbotError(f"{url} cannot be reached from this host: no complete response within {DIRECTORY_SECONDS:.0f} s")
    ]

    def fetch() -> None:
        try:
            found[0] = _fetch_directory(url, ca_file)
        except CertbotError as error:
            found[0] = error

    # Neither the system's resolver nor urllib knows a limit as a whole; a daemon thread may be left behind.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(DIRECTORY_SECONDS)
    result = found[0]
    if isinstance(result, CertbotError):
        raise result
    return result


def _fetch_directory(url: str, ca_file: str | None) -> dict[str, t.Any]:
    if not url.startswith("https://"):
        raise CertbotError(f"{url} is no URL of an ACME directory, which begins with https://")
    try:
        # The context is our own, as Ansible's would also trust every certificate below /etc/ansible and /etc/ssl/certs,
        # and root's passwords in .netrc are none of the server's business.
        context = ssl.create_default_context(cafile=ca_file)
        request = Request(context=context, timeout=DIRECTORY_TIMEOUT, decompress=False, use_netrc=False)
        with request.get(url) as response:
            if not response.geturl().startswith("https://"):
                raise CertbotError(f"{url} is no ACME directory: it redirects to {response.geturl()}")
            found = json.loads(response.read(MAX_DIRECTORY).decode("utf-8"))
    except urllib.error.HTTPError as error:
        raise CertbotError(f"{url} is no ACME directory: it responds with status {error.code}") from error
    except urllib.error.URLError as error:
        raise CertbotError(f"{url} cannot be reached from this host: {error.reason}") from error
    except OSError as error:
        raise CertbotError(f"{url} cannot be reached from this host: {error}") from error
    except (ValueError, http.client.HTTPException) as error:
        raise CertbotError(f"{url} is no ACME directory: {error}") from error
    if not isinstance(found, dict) or "newOrder" not in found:
        raise CertbotError(f"{url} is no ACME directory: it names no place for orders")
    return found


def register(directory: str, ca_file: str | None, email: str | None, eab: tuple[str, str] | None) -> None:
    """Register an account. The terms were agreed to. eab: identifier and key of the account that it is bound to."""
    arguments = ["register", "--agree-tos", "--server", directory]
    arguments += ["--email", email, "--no-eff-email"] if email else ["--register-unsafely-without-email"]
    with tempfile.TemporaryDirectory(prefix="kopano-hardening-") as folder:
        if eab:
            path = os.path.join(folder, "eab.ini")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write("eab-kid = {}\neab-hmac-key = {}\n".format(*eab))
            arguments += ["--config", path]
        run(arguments, ca_file)


# --- an order --------------------------------------------------------------------------------------------------------


def credentials(server: str, key_name: str, secret: str, algorithm: str) -> list[Change]:
    """What has to change on the host for dynamic updates. server: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    parts = re.match(r"^\[?([^\]]*?)\]?(?::(\d+))?$", server) if server.count(":") < 2 or "[" in server else None
    address, port = (parts.group(1), int(parts.group(2) or DNS_PORT)) if parts else (server, DNS_PORT)
    lines = {
        "server": address,
        "port": port,
        "name": key_name,
        "secret": secret,
        "algorithm": algorithm.upper(),
    }
    text = "".join(f"dns_rfc2136_{name} = {value}\n" for name, value in lines.items())
    changeset = Changeset()
    changeset.add(CREDENTIALS, State(FILE, content=text.encode(), mode=0o600, uid=0, gid=0))
    return changeset.pending()


def check_webroot(webroot: str) -> None:
    """Raise ChangeError where a challenge would be written through a link that others have made: root writes it."""
    with _paths.Place(os.path.join(webroot, ".well-known", "acme-challenge"), follow=True):
        pass


def _challenge(order: Order) -> list[str]:
    if order.challenge == "http-01":
        return ["--webroot", "--webroot-path", order.webroot or ""]
    wait = ["--dns-rfc2136-propagation-seconds", str(order.dns_wait)]
    return ["--dns-rfc2136", "--dns-rfc2136-credentials", CREDENTIALS, *wait]


def _certonly(order: Order) -> list[str]:
    arguments = ["certonly", "--cert-name", order.name, *KEYS[order.key_type], *_challenge(order)]
    # It is known that one is needed. The caller brings it to the web server afterwards.
    arguments += ["--force-renewal", "--renew-with-new-domains", "--no-directory-hooks"]
    for name in order.names:
        arguments += ["--domain", name]
    return arguments


def rehearse(order: Order, directory: str) -> None:
    """Go through an order at another server, and keep nothing of it. Raises CertbotError."""
    arguments = ["--dry-run", "--server", directory, "--agree-tos", "--register-unsafely-without-email"]
    try:
        run([*_certonly(order), *arguments], order.ca_file)
    except CertbotError as error:
        raise CertbotError(f"tried at {directory} first: {error}") from error


def place(order: Order) -> None:
    """Order the certificate. Raises CertbotError."""
    known = accounts(order.directory)
    account = ["--account", known[-1][0]] if known else []
    run([*_certonly(order), "--server", order.directory, *account], order.ca_file)


def run(arguments: list[str], ca_file: str | None) -> None:
    """One call of certbot. Raises CertbotError with its output."""
    environment = dict(os.environ, **({"REQUESTS_CA_BUNDLE": ca_file} if ca_file else {}))
    try:
        done = _programs.run([program() or PROGRAM, *arguments, "--non-interactive"], ORDER_TIMEOUT, environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CertbotError(f"certbot: {error}") from error
    if done.returncode:
        raise CertbotError(essence(done.stdout.decode("utf-8", "replace")))


def essence(output: str) -> str:
    """The essence of certbot's output, on one line, without what it prints each time."""
    kept: list[str] = []
    for line in output.splitlines():
        line = " ".join(line.split())
        if line.startswith(_ADVICE):
            break
        if line and not _NOISE.match(line) and line not in kept:
            kept.append(line)
    return " ".join(kept) or "certbot failed without a reason; /var/log/letsencrypt/letsencrypt.log may"
