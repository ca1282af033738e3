# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What crashes on a host is unknown in the report, with its reason, and the rest of it is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CRASH = '\n\ndef run(*_arguments):\n    raise MemoryError("of the \\x1b test")\n'


@pytest.fixture
def audit(tmp_path):
    """Runs audit.yml of this machine with a collection in which one of the parts crashes; gives the report on it."""
    collection = tmp_path / "ansible_collections" / "kopano" / "hardening"
    collection.mkdir(parents=True)
    for name in ("roles", "playbooks", "meta", "galaxy.yml"):
        (collection / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))

    def run(part):
        with (collection / "plugins" / "module_utils" / f"{part}.py").open("a") as source:
            source.write(CRASH)
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"web1": here}}}))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.yml",
             "--tags", "updates,frontend,certificate",
             "-e", json.dumps({"audit_become": False, "report_path": str(tmp_path / "report"), "report_fail": False}),
             "-v", "kopano.hardening.audit"],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": "",
                 "ANSIBLE_LOCAL_TEMP": str(tmp_path), "ANSIBLE_REMOTE_TEMP": str(tmp_path)},
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        report = tmp_path / "report" / "report.json"
        assert report.exists(), done.stdout + done.stderr
        (host,) = json.loads(report.read_text())["hosts"]
        return done.stdout, host

    return run


REASON = "MemoryError: of the \\x1b test"


def test_a_crash_of_the_certificates(audit):
    output, host = audit("_certificate/info")
    (finding,) = [item for item in host["findings"] if item["id"] == "certificate.not_checked"]
    assert (finding["step"], finding["severity"], finding["evidence"]) == (5, "unknown", REASON)
    assert host["steps"]["5"] == "unknown" and host["state"] == "ok"
    assert {"updates", "frontend"} <= set(host["sources"]) and "certificate" not in host["sources"]
    assert f"unknown: certificate.not_checked: {REASON}" in output.replace("\\\\x1b", "\\x1b")


def test_a_crash_of_the_updates(audit):
    output, host = audit("_updates/status")
    (finding,) = [item for item in host["findings"] if item["id"] == "updates.not_checked"]
    assert (finding["step"], finding["severity"], finding["evidence"]) == (1, "unknown", REASON)
    assert host["steps"]["1"] == "unknown" and host["state"] == "ok"
    assert "frontend" in host["sources"] and "updates" not in host["sources"]
    assert f"unknown: updates.not_checked: {REASON}" in output.replace("\\\\x1b", "\\x1b")


def test_a_crash_of_the_frontend_fails_the_host_and_loses_nothing_else(audit):
    _output, host = audit("_webserver/info")
    assert host["state"] == "failed" and host["steps"]["2"] == "fail"
    (failed,) = [item for item in host["findings"] if item["id"] == "report.host.failed"]
    assert failed["step"] == 2 and REASON in failed["evidence"]
    (certificates,) = [item for item in host["findings"] if item["id"] == "certificate.not_checked"]
    assert REASON in certificates["evidence"]
    assert "updates" in host["sources"]
