# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role certificate in plays that ansible-playbook runs: what one call of it leaves for others, and for other roles.

The plays run in namespaces of their own, with a state directory in memory: they see no web server of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend

from . import alone
from . import tls_bed as bed

ROOT = Path(__file__).parents[2]
CERTIFICATE = "kopano.hardening.certificate"
# Each stands for a test: a host knows nothing of what the plays of the others have left.
HOSTS = ("include", "import", "options", "frontend", "brought", "refused", "served", "alone", "around")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the certificates are installed."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Runs plays on this machine; what the tasks called `Show` have shown, in their order."""

    def run(*plays, check=False):
        folder = tmp_path_factory.mktemp("plays")
        make_brought(folder)
        here = {"connection": "local", "gather_facts": False}
        (folder / "plays.yml").write_text(yaml.safe_dump([{**here, **play} for play in plays]))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", ",".join(HOSTS), "plays.yml"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", "--vault-password-file", "password"]
        command += ["--check"] if check else []
        done = subprocess.run(
            alone.command(*map(str, command), network=False),
            env={**clean, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
                 "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "PRIVATE KEY" not in done.stdout
        parts = done.stdout.split("TASK [Show] ")[1:]
        return [json.loads(part[part.index("{") : part.index("\n}") + 2])["msg"] for part in parts]

    return run


def call(folder, name, way="include_role", **variables):
    """A call of the role for one name, with the place where the site of the role frontend would read it."""
    place = {"frontend_tls_certificate": f"{folder}/{name}.pem", "frontend_tls_certificate_key": f"{folder}/{name}.key"}
    more = {"certificate_source": "selfsigned", "certificate_names": [name], **place, **variables}
    return {"name": "Call", f"ansible.builtin.{way}": {"name": CERTIFICATE}, "vars": more}


def show(expression):
    return {"name": "Show", "ansible.builtin.debug": {"msg": "{{ " + expression + " }}"}}


PASSWORD = "only of this test"


def make_brought(folder):
    """A certificate that an administrator brings, beside the play, with its key in a vault; and another key."""
    pki = bed.Pki(folder)
    pki.leaf("brought", key="ec")
    (folder / "password").write_text(PASSWORD)
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    (folder / "files").mkdir()
    shutil.copy(pki.path("brought.chain"), folder / "files" / "brought.pem")
    for name, source in (("brought.key", "brought.key"), ("other.key", "root.key")):
        (folder / "files" / name).write_bytes(vault.encrypt(Path(pki.path(source)).read_text()))


def names(path):
    first = path.read_text().partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER  # the chain follows
    return _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(first)).dns_names


OPTION = "frontend_tls_certificate | default('')"
OWN = {"frontend_tls_certificate": "/own.pem", "frontend_tls_certificate_key": "/own.key"}
# Those of the role frontend that say which certificate its site has.
READ = (*(f"tls_certificate{kind}{part}" for kind in ("", "_rsa") for part in ("", "_key")), "certificate_result")
OPTIONS = "{" + ", ".join(f"'{name}': {'' if 'result' in name else 'frontend_'}{name}" for name in READ) + "}"
DEFAULTS = yaml.safe_load((ROOT / "roles" / "frontend" / "defaults" / "main.yml").read_text())


def two_calls(folder, way):
    calls = [call(folder, f"{number}.{way}.test", f"{way}_role") for number in ("one", "two")]
    return {"hosts": way, "tasks": calls}


def other_options(folder):
    """Of another role, and of later plays."""
    return [
        {"hosts": "options", "tasks": [call(folder, "one.test"), show(OPTION)]},
        {"hosts": "options", "tasks": [show(OPTION)], "vars": OWN},
        {"hosts": "options", "tasks": [call(folder, "two.test")], "vars": OWN},
    ]


def site_of_the_frontend(folder):
    path = {"certificate_path": f"{folder}/site.pem", "certificate_key_path": f"{folder}/site.key"}
    place = {"frontend_tls_certificate": "", "frontend_tls_certificate_key": ""}
    installs = call(folder, "site.test", **path, **place)
    return [
        {"hosts": "frontend", "tasks": [installs, show(OPTIONS)], "vars": DEFAULTS},
        {"hosts": "frontend", "tasks": [show(OPTIONS)], "vars": {**DEFAULTS, **OWN}},
    ]


WAS_REPORTED = "certificate_result.outcome | default([]) | length > 0"
FAILED = "[ansible_failed_result.msg] + ansible_facts.kopano_hardening.certificate.report.lines | default([])"


def rescued(task):
    """A task that is to fail, and what it failed for."""
    return {"block": [task], "rescue": [show(FAILED)]}


GOOD = {"certificate_source": "existing", "certificate_chain": "brought.pem", "certificate_key": "brought.key"}


def brought_ones(folder):
    other = call(folder, "good.test", **{**GOOD, "certificate_key": "other.key"})
    gone = call(folder, "good.test", **{**GOOD, "certificate_chain": "nowhere.pem"})
    return [
        {"hosts": "brought", "tasks": [call(folder, "good.test", **GOOD)]},
        {"hosts": "refused", "tasks": [rescued(other), rescued(gone)]},
    ]


def served_ones(folder):
    """With nothing to install the role returns no certificate."""
    nothing = call(folder, "served.test", certificate_source="existing")
    inspect = {"ansible.builtin.import_role": {"name": CERTIFICATE, "tasks_from": "inspect"}, "check_mode": True}
    known = "ansible_facts.kopano_hardening.certificate.report.lines"
    returned = show("certificate_result.certificates is defined")
    return [{"hosts": "served", "tasks": [nothing, returned, show(known), inspect, show(known)]}]


# No package is installed on this machine.
ACME = {"certificate_source": "acme", "certificate_acme_terms_agreed": True, "ansible_package_use": "no_such_manager"}


def failed_orders(folder):
    """By the role alone, and in two steps, as the playbook that hardens has it."""
    install, order = (call(folder, "around.test", **ACME) for _step in range(2))
    for task, step in ((install, "install"), (order, "order")):
        task["ansible.builtin.include_role"] = {"name": CERTIFICATE, "tasks_from": step}
    there = f"'{folder}/%s.test.pem' is exists"
    missing = show("certificate_result.missing | string ~ (" + there % "around" + ")")
    return [
        {
            "hosts": "alone",
            "tasks": [
                rescued(call(folder, "alone.test", **ACME)),
                show(WAS_REPORTED),
            ],
        },
        {"hosts": "around", "tasks": [install, missing, rescued(order)]},
    ]


@pytest.fixture(scope="module")
def others(play, folder):
    """What is shown in the plays about other sources."""
    return play(*brought_ones(folder), *served_ones(folder), *failed_orders(folder))


@pytest.fixture(scope="module")
def shown(play, folder):
    """What is shown in the plays of all tests, which are one run, but for those in check mode."""
    return play(
        two_calls(folder, "include"), two_calls(folder, "import"),
        *other_options(folder), *site_of_the_frontend(folder),
    )  # fmt: skip


@pytest.mark.parametrize("way", ["include", "import"])
def test_two_calls_in_a_play_bring_two_certificates(shown, folder, way):
    for number in ("one", "two"):
        name = f"{number}.{way}.test"
        assert names(folder / f"{name}.pem") == [name]


def test_a_call_changes_no_option_of_another_role_or_of_a_later_play(shown, folder):
    assert shown[:2] == ["", "/own.pem"]
    assert names(folder / "one.test.pem") == ["one.test"]


@pytest.mark.parametrize("check", [False, True])
def test_the_site_of_the_role_frontend_reads_what_was_installed_unless_an_option_names_another(
    shown, play, folder, tmp_path, check
):
    if check:
        folder, shown = tmp_path, play(*site_of_the_frontend(tmp_path), check=True)
    first, second = shown[-2:]
    pair = [f"{folder}/site.pem", f"{folder}/site.key"]
    for options, paths in ((first, pair), (second, ["/own.pem", "/own.key"])):
        installed = _frontend.with_installed(options)
        assert [installed["tls_certificate"], installed["tls_certificate_key"]] == paths
    # What a rehearsal in a dry run has in their place. After a run that writes nothing is missing.
    result = second["certificate_result"]
    files = _roles_certificate.placeholders(result["certificates"], result["missing"], result["names"])
    assert [item["path"] for item in files] == (pair if check else [])


def test_a_pair_beside_the_play_with_its_key_in_a_vault_is_installed(others, folder):
    assert names(folder / "good.test.pem") == ["good.test"]
    assert (folder / "good.test.key").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert (folder / "good.test.key").stat().st_mode & 0o777 == 0o600


def test_a_pair_that_does_not_fit_is_refused_and_one_that_is_not_there_is_named(others):
    mismatch, gone = others[:2]
    assert any("certificate.key.mismatch" in line for line in mismatch), mismatch
    assert "certificate_chain: 'nowhere.pem' cannot be read" in gone[0]


def test_where_nothing_is_installed_what_is_served_is_inspected(others):
    assert others[2:5] == [False, ["no certificate to inspect"], ["no certificate to inspect"]]


def test_a_bootstrap_certificate_is_made_before_an_order_only_where_a_site_needs_it(others, folder):
    alone, was_installed, around, ordered = others[5:]
    for name, lines in (("alone", alone), ("around", ordered)):
        assert "no certificate from https://acme-v02" in lines[0] and "no_such_manager" in lines[0]
        assert ", a self-signed bootstrap certificate is there until then" in lines[0]
        assert lines[1] == lines[0] and lines[2].startswith(f"{folder}/{name}.test.pem: usable"), lines
        assert names(folder / f"{name}.test.pem") == [f"{name}.test"]
    assert was_installed is False and around == "[]True"
