# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role verify in a play for several hosts: each is graded with its own options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from . import tls_bed as bed

ROOT = Path(__file__).parents[2]
# One server, whose certificate is a private authority's; each host has an opinion of its own about that authority.
TWICE = [
    {"ansible.builtin.include_role": {"name": "kopano.hardening.verify"},
     "vars": {"verify_endpoints": [{"host": name, "addresses": ["127.0.0.1"], "port": "{{ port }}"}]}}
    for name in ("good.test", "other.test", "good.test")
]  # fmt: skip
HOSTS = {
    "distrusts": {},
    "trusts": {"verify_ca_file": "root.pem"},
    "mistyped": {"verify_ca_file": "nowhere.pem"},
    "ignores": {"verify_ignore_trust": True, "verify_mode": "quick"},
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What the role came to for each host, and what it showed."""
    folder = tmp_path_factory.mktemp("verify")
    pki = bed.Pki(folder)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "verify_virtual_hosts": False,
        "verify_minimum_grade": "A",
        "verify_endpoints": [{"host": "good.test", "addresses": ["127.0.0.1"], "port": port}],
    }
    hosts = {
        name: {key: pki.path(value) if key == "verify_ca_file" else value for key, value in values.items()}
        for name, values in HOSTS.items()
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": common, "hosts": hosts}}))
    play = {"hosts": "all", "gather_facts": False, "roles": ["kopano.hardening.verify"]}
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    with bed.nginx(folder, [bed.nginx_site(port, ["good"])], port):
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-vv", "-i", "hosts.yml", "play.yml"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
                 "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                 "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"},
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    found = {}
    for match in re.finditer(r"^(ok|fatal): \[(\w+)(?: -> localhost)?\].* => (?=\{)", done.stdout, re.MULTILINE):
        shown = json.JSONDecoder().raw_decode(done.stdout[match.end() :])[0]
        # The lines are those of the first task; whether the host fails, the last one says.
        graded = re.search(rf"(?m)^{match[2]}  verify:\n((?:(?!ok:|fatal:|\[ERROR\]|TASK).*\n)*)", done.stdout)
        lines = [line.strip() for line in graded[1].splitlines()] if graded else []
        found[match[2]] = (match[1], [*lines, *filter(None, [shown.get("msg")])])
    assert found.keys() == HOSTS.keys(), done.stdout + done.stderr
    return found


def test_a_private_authority_counts_for_the_host_that_names_it(reports):
    status, lines = reports["trusts"]
    assert status == "ok" and "A" in lines[0].split()[0], lines


def test_and_for_no_other(reports):
    status, lines = reports["distrusts"]
    assert status == "fatal" and any(line.startswith("T ") for line in lines), lines


def test_whether_trust_counts_is_each_hosts_own_matter(reports):
    status, lines = reports["ignores"]
    assert status == "ok" and "trust ignored (T)" in lines[0], lines


def test_a_file_that_is_not_there_fails_its_host_alone(reports):
    status, message = reports["mistyped"]
    assert status == "fatal" and "nowhere.pem" in str(message)


def test_the_report_has_what_was_graded_in_each_call(tmp_path):
    """The role is called with other endpoints, and once more with the first ones."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    options = {
        "verify_virtual_hosts": False,
        "verify_fail": False,
        "verify_ca_file": pki.path("root.pem"),
        "port": port,
    }
    report = {"ansible.builtin.include_role": {"name": "kopano.hardening.report"}, "vars": {"report_fail": False}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": options, "tasks": [*TWICE, report]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    with bed.nginx(tmp_path, [bed.nginx_site(port, ["good"])], port):
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", "play.yml",
             "-e", f"ansible_python_interpreter={sys.executable}"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"), "ANSIBLE_NOCOLOR": "1"},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (host,) = json.loads((tmp_path / "kopano-hardening-report" / "report.json").read_text())["hosts"]
    assert [entry["name"] for entry in host["endpoints"]] == ["good.test", "other.test"]
    assert host["endpoints"][1]["grade"] == host["grade"] == "M"
