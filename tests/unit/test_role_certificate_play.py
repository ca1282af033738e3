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

from ansible_collections.kopano.hardening.plugins.module_utils import _x509
from ansible_collections.kopano.hardening.plugins.plugin_utils import _frontend

ROOT = Path(__file__).parents[2]
ALONE = [shutil.which("unshare"), "--mount", "--pid", "--net", "--fork", "--mount-proc"]
STATE = "mount -t tmpfs none /var/lib && exec "
CERTIFICATE = "kopano.hardening.certificate"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces")


@pytest.fixture
def play(tmp_path):
    """Runs plays on this machine; what the tasks called `Show` have shown, in their order."""

    def run(*plays, check=False):
        here = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        (tmp_path / "plays.yml").write_text(yaml.safe_dump([{**here, **play} for play in plays]))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "plays.yml"]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", *(["--check"] if check else [])]
        done = subprocess.run(
            [*ALONE, "sh", "-c", STATE + shlex.join(map(str, command))],
            env={**clean, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
                 "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
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
    return _x509.read_certificate(ssl.PEM_cert_to_DER_cert(path.read_text())).dns_names


@pytest.mark.parametrize("way", ["include_role", "import_role"])
def test_two_calls_in_a_play_bring_two_certificates(play, tmp_path, way):
    play({"tasks": [call(tmp_path, name, way) for name in ("one.test", "two.test")]})
    for name in ("one.test", "two.test"):
        assert names(tmp_path / f"{name}.pem") == [name]


def test_a_call_changes_no_option_of_another_role_or_of_a_later_play(play, tmp_path):
    option = "frontend_tls_certificate | default('')"
    own = {"frontend_tls_certificate": "/own.pem", "frontend_tls_certificate_key": "/own.key"}
    shown = play(
        {"tasks": [call(tmp_path, "one.test"), show(option)]},
        {"tasks": [show(option)], "vars": own},
        {"tasks": [call(tmp_path, "two.test")], "vars": own},
    )
    assert shown == ["", "/own.pem"]
    assert names(tmp_path / "one.test.pem") == ["one.test"]


FRONTEND = [
    {"name": "Read", "ansible.builtin.include_vars": {"file": str(ROOT / "roles" / "frontend" / part)}}
    for part in ("vars/main/plan.yml", "vars/main/components.yml")
]
DEFAULTS = yaml.safe_load((ROOT / "roles" / "frontend" / "defaults" / "main.yml").read_text())


@pytest.mark.parametrize("check", [False, True])
def test_the_site_of_the_role_frontend_reads_what_was_installed_unless_an_option_names_another(play, tmp_path, check):
    path = {"certificate_path": f"{tmp_path}/one.pem", "certificate_key_path": f"{tmp_path}/one.key"}
    place = {"frontend_tls_certificate": "", "frontend_tls_certificate_key": ""}
    own = {"frontend_tls_certificate": "/own.pem", "frontend_tls_certificate_key": "/own.key"}
    shown = play(
        {"tasks": [call(tmp_path, "one.test", **path, **place), *FRONTEND, show("__frontend_options")],
         "vars": DEFAULTS},
        {"tasks": [show("__frontend_options"), show("__frontend_stand_ins | map(attribute='path')")],
         "vars": {**DEFAULTS, **own}},
        check=check,
    )  # fmt: skip
    first, second, stand_ins = shown
    assert _frontend.with_installed(first)["tls_certificate"] == f"{tmp_path}/one.pem"
    assert _frontend.with_installed(first)["tls_certificate_key"] == f"{tmp_path}/one.key"
    assert _frontend.with_installed(second)["tls_certificate"] == "/own.pem"
    # What a rehearsal in a dry run has in their place. A run that writes has nothing of the kind.
    assert stand_ins == ([f"{tmp_path}/one.pem", f"{tmp_path}/one.key"] if check else [])
