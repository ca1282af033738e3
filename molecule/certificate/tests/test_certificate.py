# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as a user has them, from fresh hosts on. The tests build on each other, in their order."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SCENARIO = Path(__file__).resolve().parent.parent
PROJECT = SCENARIO.parent.parent
SET = os.environ.get("LAB_SET", "molecule-certificate")
INVENTORY = PROJECT / ".cache" / "lab" / SET / "inventory.yml"
sys.path += [str(PROJECT / "molecule" / "common"), str(PROJECT / "lab")]

import over_ssh  # noqa: E402
from terminal import Shown, shown  # noqa: E402

from kopano_lab import model  # noqa: E402

COMMON = yaml.safe_load(INVENTORY.read_text())["all"]
VARIABLES, ALL = COMMON["vars"], COMMON["hosts"]
# Those without a site, and those whose virtual hosts have a certificate from the lab's authority.
ADOPTED = ("nginx12", "el9", "el9n", "sles15")
HOSTS = {name: entry for name, entry in ALL.items() if name not in ADOPTED}
FAMILIES = {host: model.hosts()[host].family for host in ADOPTED}
DIRECTORY = VARIABLES["certificate_acme_directory"]
HARDEN = PROJECT / "playbooks" / "harden.yml"
RESTORE = PROJECT / "playbooks" / "restore.yml"
ALONE = SCENARIO / "certificate.yml"
SECONDS = 900  # a run that hangs, on a machine ten times slower
# The rest of the playbook is what other scenarios are about.
ONLY = ["--tags", "certificate,frontend"]
GATEWAY_PORT = 9993
MAIL_PORT = 9994  # of the service lab-mail

ACME = {
    "certificate_source": "acme",
    "certificate_acme_terms_agreed": True,
    "certificate_acme_email": "hostmaster@{{ inventory_hostname }}.test",
    "certificate_reload_services": "{{ ['lab-mail'] if inventory_hostname == 'nginx13n' else [] }}",
    "frontend_server_names": ["mail.{{ inventory_hostname }}.test", "autodiscover.{{ inventory_hostname }}.test"],
}


@dataclass(frozen=True)
class Play:
    """What a run came to: exit status, output, and for each host how much has changed and failed."""

    status: int
    output: str
    changed: dict[str, int]
    failed: dict[str, int]

    def shown(self, host: str) -> Shown:
        return shown(self.output)[host]

    def said(self, host: str) -> str:
        """What the role has found on a host, on one line."""
        return " ".join(self.shown(host).lines["certificate"])

    def outcome(self, host: str) -> str:
        """What the roles have done with a host, or would do, on one line."""
        return " ".join(self.shown(host).outcome)

    def failure(self, host: str) -> str:
        """Why a host has failed."""
        return self.shown(host).messages[0]


def play(playbook: Path, *arguments: str, **variables: object) -> Play:
    """Run a playbook, which shows what the roles have found."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    if "--limit" not in arguments:
        arguments += ("--limit", ",".join(HOSTS))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(variables, file)
        file.flush()
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "--inventory", INVENTORY,
             "--extra-vars", f"@{file.name}", "-v", *arguments, playbook],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=PROJECT, timeout=SECONDS, check=False,
            env={**environment, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        )  # fmt: skip
    output = done.stdout + done.stderr
    assert "PRIVATE KEY" not in output
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", output, re.MULTILINE)
    assert recap, output
    return Play(
        done.returncode,
        output,
        {host: int(changed) for host, changed, _failed in recap},
        {host: int(failed) for host, _changed, failed in recap},
    )


def by_host(**values: object) -> str:
    """A variable's value that differs from host to host."""
    return "{{ " + json.dumps(values) + "[inventory_hostname] }}"


def on(host: str, *command: str) -> subprocess.CompletedProcess[str]:
    return over_ssh.run(INVENTORY, host, *command, seconds=SECONDS)


def read(host: str, path: str) -> str:
    done = on(host, "cat", path)
    assert done.returncode == 0, done.stderr
    return done.stdout


def served(host: str, port: int = 443, ciphers: str = "") -> x509.Certificate:
    """The certificate that a client gets who asks for the mail server; ciphers: of one that can do no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    address = ALL[host]["lab_addresses"][0]
    with (
        socket.create_connection((address, port), 10) as plain,
        context.wrap_socket(plain, server_hostname=f"mail.{host}.test") as tls,
    ):
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))


def issuer(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string()


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))


class Watch:
    """Asks hosts again and again from the first certificate on; what they came with, and what was wrong."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {host: [] for host in HOSTS}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(host,)) for host in HOSTS]

    def _ask(self, host: str) -> None:
        seen = self.seen[host]
        while not self._stop.wait(0.1):
            try:
                word = issuer(served(host))
            except OSError as error:
                word = f"{type(error).__name__}: {error}"
                if not seen:
                    continue
            if word not in seen[-1:]:
                seen.append(word)

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


# --- hosts that serve one already -------------------------------------------------------------------------------------

CERTIFICATES = {host: FAMILIES[host].certificate.format(name=f"mail.{host}.test") for host in ADOPTED}
KEYS = {host: FAMILIES[host].key_file.format(name=f"mail.{host}.test") for host in ADOPTED}
# What the packages of certbot name it.
SERVICES = {host: "certbot.service" if host == "nginx12" else "certbot-renew.service" for host in ADOPTED}
ADOPT = {
    **ACME,
    "certificate_path": by_host(**CERTIFICATES),
    "certificate_key_path": by_host(**KEYS),
    "certificate_acme_webroot": by_host(**{host: FAMILIES[host].document_root for host in ADOPTED}),
    # One of them has a CAA record that no CA understands.
    "certificate_acme_preflight": "{{ inventory_hostname != 'nginx12' }}",
}
ON_ADOPTED = [*ONLY, "--limit", ",".join(ADOPTED)]
KEPT = "/var/lib/kopano-hardening/certificates"


def pair(host: str) -> str:
    """The administrator's own files: contents, permissions, owner, time."""
    paths = [CERTIFICATES[host], KEYS[host]]
    done = on(host, "sh", "-c", "sha256sum {0}; stat -c '%a %U:%G %i' {0}".format(" ".join(paths)))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def own() -> dict[str, tuple[x509.Certificate, str]]:
    """What these hosts served, and from which files, before the first run."""
    return {host: (served(host), pair(host)) for host in ADOPTED}


@pytest.mark.parametrize("playbook", [HARDEN, ALONE], ids=["harden.yml", "the role alone"])
def test_an_order_that_is_refused_leaves_an_administrators_own_pair_as_it_is(own, playbook):
    for host, (certificate, _files) in own.items():
        assert not issuer(certificate).startswith("CN=Pebble"), host
    # Their virtual hosts do not answer from there.
    refusing = {"certificate_acme_webroot": "/var/www/elsewhere", "certificate_acme_preflight": True}
    limit = ON_ADOPTED if playbook == HARDEN else ON_ADOPTED[-2:]
    done = play(playbook, *limit, **{**ADOPT, **refusing})
    assert done.failed == dict.fromkeys(ADOPTED, 1), done.output
    for host in ADOPTED:
        for said in (done.said(host), done.failure(host)):
            assert "nothing was ordered" in said and "the previous one is still served" in said
        assert (served(host), pair(host)) == own[host]
        assert on(host, "ls", KEPT).stdout == ""


def test_an_order_that_succeeds_replaces_it_and_keeps_it(own):
    done = play(HARDEN, *ON_ADOPTED, **ADOPT)
    assert done.status == 0, done.output
    for host in ADOPTED:
        assert issuer(served(host)).startswith("CN=Pebble")
        (identifier,) = on(host, "ls", KEPT).stdout.split()
        assert f"what it replaced is kept as {identifier}" in done.outcome(host)
        found = on(host, "sh", "-c", f"cd {KEPT}/{identifier}/before && sha256sum * && stat -c '%a %U' . .. *")
        modes = found.stdout.split("\n")[2:-1]
        assert modes == ["700 root", "700 root", "600 root", "600 root"]
        digests = [line.split()[0] for line in found.stdout.split("\n")[:2]]
        assert digests == [line.split()[0] for line in own[host][1].split("\n")[:2]]


def test_it_comes_back_by_its_id_and_by_no_restore_of_another_change(own):
    ordered = {host: served(host) for host in ADOPTED}
    limit = ON_ADOPTED[-2:]
    done = play(RESTORE, *limit)
    assert done.status == 0, done.output
    assert {host: served(host) for host in ADOPTED} == ordered
    unknown = play(RESTORE, *limit, restore_certificate="unknown")
    kept = {host: on(host, "ls", KEPT).stdout.strip() for host in ADOPTED}
    for host in ADOPTED:
        assert f"kept: {kept[host]} ({CERTIFICATES[host]}, for " in unknown.failure(host)
    done = play(RESTORE, *limit, restore_certificate=by_host(**kept))
    assert done.status == 0, done.output
    for host in ADOPTED:
        restored = rf"restored [^\"]*{re.escape(CERTIFICATES[host])}[^\"]*; what it replaced is kept as \S+"
        assert re.search(rf"(?m)^changed: \[{host}\] => {{\s+\"msg\": \"{restored}", done.output), done.output
        assert served(host) == own[host][0]
        # All but the number of the inode.
        assert re.sub(r" \d+$", "", pair(host), flags=re.MULTILINE) == re.sub(
            r" \d+$", "", own[host][1], flags=re.MULTILINE
        )
        # Not even the run of certbot's service that comes twice a day replaces it.
        assert on(host, "systemctl", "start", SERVICES[host]).returncode == 0
        assert served(host) == own[host][0]
    # The role installs what the CA has issued, and orders nothing for it.
    again = play(ALONE, *limit, **ADOPT)
    assert again.status == 0, again.output
    assert {host: served(host) for host in ADOPTED} == ordered


def test_a_pair_of_which_one_half_is_gone_is_replaced_by_the_ordered_one_alone():
    """The running servers still have it in their memory, which no bootstrap ends."""
    before = {host: served(host) for host in ADOPTED}
    for host in ADOPTED:
        assert on(host, "rm", KEYS[host]).returncode == 0
    limit = ON_ADOPTED[-2:]
    refused = play(ALONE, *limit, **{**ADOPT, "certificate_acme_directory": DIRECTORY.replace("14000", "14999")})
    assert refused.failed == dict.fromkeys(ADOPTED, 1), refused.output
    assert {host: served(host) for host in ADOPTED} == before
    done = play(ALONE, *limit, **ADOPT)
    assert done.status == 0, done.output
    assert {host: served(host) for host in ADOPTED} == before


def test_an_ordered_pair_that_the_rehearsal_refuses_is_not_installed():
    """Its key would go where the virtual hosts do not read it."""
    before = {host: (served(host), pair(host)) for host in ADOPTED}
    wrong = {"certificate_key_path": "/etc/ssl/private/elsewhere.key", "certificate_acme_name": "another"}
    done = play(ALONE, *ON_ADOPTED[-2:], **{**ADOPT, **wrong})
    assert done.failed == dict.fromkeys(ADOPTED, 1), done.output
    for host in ADOPTED:
        for said in (done.said(host), done.failure(host)):
            assert f"the new certificate is not in use from {DIRECTORY}, the previous one is still served: " in said
            assert "nothing was changed" in said
        assert (served(host), pair(host)) == before[host]
        assert on(host, "ls", "/etc/ssl/private/elsewhere.key").stdout == ""


def test_where_nothing_is_and_the_order_fails_a_self_signed_one_is_made():
    place = {"certificate_path": "/etc/ssl/certs/new.pem", "certificate_key_path": "/etc/ssl/private/new.key"}
    other = {"certificate_acme_directory": DIRECTORY.replace("14000", "14999")}
    done = play(ALONE, *ON_ADOPTED[-2:], **{**ADOPT, **place, **other})
    assert done.failed == dict.fromkeys(ADOPTED, 1), done.output
    for host in ADOPTED:
        for said in (done.said(host), done.failure(host)):
            assert "a self-signed bootstrap certificate is there until then" in said
        assert on(host, "openssl", "x509", "-in", "/etc/ssl/certs/new.pem", "-noout").returncode == 0


# --- fresh hosts -----------------------------------------------------------------------------------------------------


def test_a_dry_run_on_fresh_hosts_says_what_would_come_and_leaves_them_alone():
    dry = play(HARDEN, "--check", *ONLY, **ACME)
    assert dry.status == 0, dry.output
    for host in HOSTS:
        assert "would order a certificate (certbot is not installed yet)" in dry.outcome(host)
        after = rf"mail\.{host}\.test:443(, \S+:443| and \d+ more)*: not there now, after hardening A\+"
        assert re.search(after, dry.outcome(host))
        assert on(host, "ls", "/etc/kopano-hardening", "/etc/letsencrypt").stdout == ""


def test_fresh_hosts_begin_with_a_bootstrap_and_end_with_the_cas_certificate():
    with Watch() as watch:
        done = play(HARDEN, *ONLY, **ACME)
    assert done.status == 0, done.output
    for host in HOSTS:
        certificate = served(host)
        assert names(certificate) == {f"mail.{host}.test", f"autodiscover.{host}.test"}
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        # From the first moment on it served, with one and then with the other.
        assert [word.partition(" ")[0] for word in watch.seen[host]] == [f"CN=mail.{host}.test", "CN=Pebble"]
        assert f"(new: there is none yet), served for mail.{host}.test autodiscover.{host}.test" in done.outcome(host)
        found = on(host, "stat", "-c", "%a %U", "/etc/kopano-hardening/tls/privkey.pem")
        assert found.stdout.split() == ["600", "root"]


def test_a_second_run_changes_nothing_and_orders_nothing():
    before = {host: served(host).serial_number for host in HOSTS}
    again = play(HARDEN, *ONLY, **ACME)
    assert (again.status, set(again.changed.values())) == (0, {0}), again.output
    assert {host: served(host).serial_number for host in HOSTS} == before


# --- renewal ---------------------------------------------------------------------------------------------------------


def test_the_gateway_has_a_copy_that_only_its_user_reads():
    assert served("nginx13n", GATEWAY_PORT).serial_number == served("nginx13n").serial_number
    for user, status in (("kopano", 0), ("www-data", 1), ("nobody", 1)):
        done = on("nginx13n", "runuser", "-u", user, "--", "cat", "/etc/kopano/gateway/privkey.pem")
        assert (done.returncode, "PRIVATE KEY" in done.stdout) == (status, status == 0)


def test_another_service_that_reads_the_same_files_was_reloaded():
    assert served("nginx13n", MAIL_PORT) == served("nginx13n")


def test_a_renewal_is_served_at_once_and_costs_no_request(tmp_path):
    before = {host: served(host).serial_number for host in HOSTS}
    clients = {}
    for host, entry in HOSTS.items():
        command = [sys.executable, PROJECT / "molecule" / "common" / "client.py", entry["lab_addresses"][0]]
        clients[host] = subprocess.Popen(
            [*command, f"mail.{host}.test", tmp_path / host, "120", "10"], stdin=subprocess.PIPE
        )
    # As certbot's service has it.
    renew = "REQUESTS_CA_BUNDLE={} exec certbot renew --force-renewal --no-random-sleep-on-renew".format(
        VARIABLES["certificate_acme_ca_file"]
    )
    with ThreadPoolExecutor() as pool:
        runs = dict(zip(HOSTS, pool.map(lambda host: on(host, "sh", "-c", renew), HOSTS), strict=True))
    for client in clients.values():
        client.communicate(b"\n", timeout=60)
    for host, run in runs.items():
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"new certificate: mail.{host}.test autodiscover.{host}.test" in run.stdout + run.stderr
        assert served(host).serial_number != before[host]
        lines = (tmp_path / host).read_text().splitlines()
        assert (
            len(lines) > 20 and [line for line in lines if len(line.split(" ", 2)) > 2 and line.split(" ", 2)[2]] == []
        )
    assert served("nginx13n", GATEWAY_PORT).serial_number == served("nginx13n").serial_number
    assert served("nginx13n", MAIL_PORT) == served("nginx13n")


@pytest.mark.parametrize("host", ["apache12n", "nginx11n"])
def test_what_a_hook_did_not_bring_is_brought_when_certbots_service_has_run(host):
    renewed = served(host)
    shell = (
        "cd /etc/kopano-hardening/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-subj /CN=old -days 1 -keyout privkey.pem -out fullchain.pem 2>&1 && systemctl reload {} && sleep 1"
    ).format({"apache12n": "apache2", "nginx11n": "nginx"}[host])
    done = on(host, "sh", "-c", shell)
    assert done.returncode == 0, done.stdout
    assert issuer(served(host)) == "CN=old"
    done = on(host, "systemctl", "start", "certbot.service")
    assert done.returncode == 0, done.stderr
    assert served(host) == renewed


# --- what does not work leaves what worked ---------------------------------------------------------------------------


def test_an_order_that_fails_leaves_the_certificate_and_says_why():
    before = {host: served(host) for host in HOSTS}
    eab = VARIABLES["lab_acme_eab"]
    done = play(
        HARDEN,
        *ONLY,
        **ACME,
        certificate_acme_directory=by_host(
            apache12n=eab["directory"], nginx11n=DIRECTORY.replace("14000", "14999"), nginx13n=DIRECTORY
        ),
        certificate_acme_eab_kid=by_host(apache12n=eab["kid"], nginx11n="", nginx13n=""),
        certificate_acme_eab_hmac_key=by_host(apache12n="bm90IHRoZSBrZXk", nginx11n="", nginx13n=""),
        certificate_acme_webroot=by_host(apache12n="", nginx11n="", nginx13n="/var/www/html"),
        certificate_acme_preflight=False,
    )
    assert set(done.failed.values()) == {1}, done.output
    assert {host: served(host) for host in HOSTS} == before
    for host, words in {
        "apache12n": "eab_kid: lab: https",
        "nginx11n": ":14999/dir cannot be reached from this host: [Errno 111] Connection refused",
        "nginx13n": ".nginx13n.test Type: unauthorized Detail: Non-200 status code from HTTP",
    }.items():
        for said in (done.said(host), done.failure(host)):
            assert "the previous one is still served" in said and words in said
    assert "bm90IHRoZSBrZXk" not in done.output
    # An order is in no step: it has a column of its own.
    head, *rows = [line.split() for line in done.output.split("PLAY [Report]")[1].splitlines() if "  " in line]
    while head[0] != "host":
        head, *rows = rows
    cells = {row[0]: dict(zip(head, row, strict=False)) for row in rows if row[0] in HOSTS and row[1] != ":"}
    assert {host: (cell["reach"], cell["cert"]) for host, cell in cells.items()} == dict.fromkeys(HOSTS, ("ok", "FAIL"))
    assert all(cell["grade"] != "FAIL" for cell in cells.values())


def test_nothing_is_ordered_where_the_ca_would_refuse_and_a_wildcard_comes_by_dns():
    before = {host: served(host) for host in HOSTS}
    logs = {host: on(host, "sh", "-c", "ls /var/log/letsencrypt | wc -l").stdout for host in HOSTS}
    eab = VARIABLES["lab_acme_eab"]
    wildcard = ["nginx13n.test", "*.nginx13n.test"]
    done = play(
        HARDEN,
        *ONLY,
        **ACME,
        certificate_names=by_host(
            apache12n=["mail.apache12n.test"], nginx11n=["mail.nginx11n.test"], nginx13n=wildcard
        ),
        certificate_acme_caa_issuer=by_host(apache12n="digicert.com", nginx11n="", nginx13n=""),
        certificate_acme_webroot=by_host(apache12n="", nginx11n="/var/www/html", nginx13n=""),
        certificate_acme_directory=by_host(apache12n=DIRECTORY, nginx11n=DIRECTORY, nginx13n=eab["directory"]),
        certificate_acme_staging=by_host(apache12n="", nginx11n="", nginx13n=DIRECTORY),
        certificate_acme_eab_kid=by_host(apache12n="", nginx11n="", nginx13n=eab["kid"]),
        certificate_acme_eab_hmac_key=by_host(apache12n="", nginx11n="", nginx13n=eab["hmac_key"]),
        certificate_acme_challenge=by_host(apache12n="http-01", nginx11n="http-01", nginx13n="dns-01"),
        certificate_acme_dns_server=VARIABLES["caa_publish_server"],
        certificate_acme_dns_key_name=VARIABLES["caa_publish_key_name"],
        certificate_acme_dns_key_secret=VARIABLES["caa_publish_key_secret"],
        certificate_acme_dns_wait=1,
    )
    assert done.failed == {"apache12n": 1, "nginx11n": 1, "nginx13n": 0}, done.output
    for host, words in {
        "apache12n": "nothing was ordered; mail.apache12n.test: CAA records at apache12n.test (letsencrypt.org) forbid",
        "nginx11n": "nothing was ordered; mail.nginx11n.test: " + HOSTS["nginx11n"]["lab_addresses"][0],
    }.items():
        for said in (done.said(host), done.failure(host)):
            assert words in said
        assert served(host) == before[host]
        assert on(host, "sh", "-c", "ls /var/log/letsencrypt | wc -l").stdout == logs[host]
    assert names(served("nginx13n")) == set(wildcard)
    assert served("nginx13n", GATEWAY_PORT) == served("nginx13n")
    assert on("nginx13n", "stat", "-c", "%a", "/etc/letsencrypt/kopano-hardening-rfc2136.ini").stdout == "600\n"
    assert VARIABLES["caa_publish_key_secret"] not in done.output and eab["hmac_key"] not in done.output


# --- the other sources -----------------------------------------------------------------------------------------------


def signed(folder: Path, *alternatives: str) -> tuple[str, str]:
    """A certificate from the lab's authority, and its key, as files."""
    authority = PROJECT / ".cache" / "lab" / "ca.pem"
    chain, key, request, extensions = (folder / name for name in ("chain.pem", "key.pem", "request", "extensions"))
    extensions.write_text("subjectAltName={}\n".format(",".join(f"DNS:{name}" for name in alternatives)))
    make = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    sign = ["openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority.with_name("ca_key")]
    for command in (
        [*make, "-subj", "/CN=brought", "-keyout", key, "-out", request],
        [*sign, "-set_serial", str(time.time_ns()), "-days", "60", "-extfile", extensions, "-out", chain],
    ):
        subprocess.run(command, capture_output=True, check=True)
    return str(chain), str(key)


def test_a_certificate_that_is_brought_is_judged_before_it_goes_anywhere(tmp_path):
    host = "apache12n"
    before = served(host)
    served_names = [f"mail.{host}.test", f"autodiscover.{host}.test"]
    (tmp_path / "good").mkdir()
    (tmp_path / "other").mkdir()
    chain, key = signed(tmp_path / "good", *served_names)
    _chain, other = signed(tmp_path / "other", *served_names)
    limit = ["--limit", host]
    for variables, words in (
        ({"certificate_chain": chain, "certificate_key": other}, "certificate.key.mismatch"),
        (
            {"certificate_chain": chain, "certificate_key": key, "certificate_names": [*served_names, "a.test"]},
            "(a.test)",
        ),
    ):
        refused = play(ALONE, *limit, frontend_server_names=served_names, **variables)
        assert refused.failed == {host: 1}
        assert words in refused.failure(host)
        assert served(host) == before
    ca_file = VARIABLES["certificate_acme_ca_file"]
    done = play(ALONE, *limit, certificate_chain=chain, certificate_key=key, certificate_ca_file=ca_file)
    assert done.status == 0, done.output
    assert served(host) == x509.load_pem_x509_certificate(Path(chain).read_bytes())
    assert "usable" in done.said(host)


def test_a_self_signed_certificate_is_made_once_and_said_to_be_refused_by_browsers():
    host = "nginx11n"
    variables = {"certificate_source": "selfsigned", "certificate_names": [f"mail.{host}.test"]}
    first = play(ALONE, "--limit", host, **variables)
    assert "browsers and phones refuse it" in first.outcome(host)
    certificate = served(host)
    assert names(certificate) == {f"mail.{host}.test"} and certificate.subject == certificate.issuer
    second = play(ALONE, "--limit", host, **variables)
    assert (second.status, second.changed[host]) == (0, 0)
    assert "browsers and phones refuse it" in second.outcome(host)
    # No renewal of the one that was ordered before takes its place.
    done = on(host, "systemctl", "start", "certbot.service")
    assert done.returncode == 0, done.stderr
    assert served(host) == certificate


# --- a second kind of key --------------------------------------------------------------------------------------------

BOTH = {**ACME, "certificate_acme_key_types": ["ecdsa", "rsa"]}


def test_a_second_kind_comes_beside_the_first_one_when_it_is_there_and_not_before():
    """Until then its place has a copy of the first: a self-signed one would be shown to some of the clients."""
    limit = [*ONLY, "--limit", "apache12n,nginx13n"]
    hosts = ("apache12n", "nginx13n")
    before = {host: served(host) for host in hosts}
    refused = play(HARDEN, *limit, **BOTH, certificate_acme_webroot="/var/www/elsewhere")
    assert refused.failed == dict.fromkeys(hosts, 1), refused.output
    for host in hosts:
        assert served(host) == before[host]
        folder = "/etc/kopano-hardening/tls"
        assert read(host, f"{folder}/fullchain-rsa.pem") == read(host, f"{folder}/fullchain.pem")
    done = play(HARDEN, *limit, **BOTH)
    assert done.status == 0, done.output
    for host in hosts:
        assert isinstance(served(host).public_key(), ec.EllipticCurvePublicKey)
        other = served(host, ciphers="ECDHE-RSA-AES128-GCM-SHA256")
        assert isinstance(other.public_key(), rsa.RSAPublicKey)
        assert all(issuer(one).startswith("CN=Pebble") for one in (served(host), other))
