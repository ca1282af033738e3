# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role certificate in plays that ansible-playbook runs: what one call of it leaves for others, and for other roles.

The plays run in namespaces of their own, with a state directory in memory: they see no web server of this machine.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend

ROOT = Path(__file__).parents[2]
ALONE = [shutil.which("unshare"), "--mount", "--pid", "--net", "--fork", "--mount-proc"]
STATE = "mount -t tmpfs none /var/lib && exec "
CERTIFICATE = "kopano.hardening.certificate"
# Each stands for a test: a host knows nothing of what the plays of the others have left.
HOSTS = ("include", "import", "options", "frontend")

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
        here = {"connection": "local", "gather_facts": False}
        (folder / "plays.yml").write_text(yaml.safe_dump([{**here, **play} for play in plays]))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", ",".join(HOSTS), "plays.yml"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", *(["--check"] if check else [])]
        done = subprocess.run(
            [*ALONE, "sh", "-c", STATE + shlex.join(map(str, command))],
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


def names(path):
    return _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(path.read_text())).dns_names


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
    files = _roles_certificate.stand_ins(result["certificates"], result["missing"], result["names"])
    assert [item["path"] for item in files] == (pair if check else [])
