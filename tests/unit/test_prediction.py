# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grades from the host itself, of a real server, and that nobody pays for them who does not ask."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _prediction

from . import tls_bed as bed


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A good name and one without HSTS on one port."""
    pki = bed.Pki(tmp_path_factory.mktemp("prediction"))
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    blocks = [bed.nginx_site(port, ["good"]), bed.nginx_site(port, ["good"], more="", names="bare.test")]
    with bed.nginx(pki.folder, blocks, port):
        yield port


def target(port, name):
    return {"address": "127.0.0.1", "port": port, "server_name": name, "path": "/"}


def test_each_endpoint_gets_what_it_is_worth(site):
    (closed,) = bed.free_ports()
    good, bare, nobody = _prediction.grade_all(
        [target(site, "good.test"), target(site, "bare.test"), target(closed, None)]
    )
    assert (good["grade"], good["grade_trust_ignored"], good["error"]) == ("T", "A+", None)
    assert [entry["id"] for entry in good["caps"]] == ["tls.certificate.untrusted"]
    assert (bare["grade_trust_ignored"], [entry["id"] for entry in bare["warnings"]]) == ("A", ["tls.hsts.absent"])
    assert (nobody["grade"], nobody["grade_trust_ignored"]) == (None, None)
    assert nobody["error"] == "cannot connect: connection refused"


def test_what_there_is_no_time_for_has_no_grade(site, monkeypatch):
    monkeypatch.setattr(_prediction, "SECONDS", 0.0)
    (entry,) = _prediction.grade_all([target(site, "good.test")])
    assert (entry["grade_trust_ignored"], entry["error"]) == (None, "no time left")


def test_grades_are_compared_endpoint_by_endpoint(site):
    now = _prediction.grade_all([target(site, "bare.test")])
    after = [dict(now[0], grade_trust_ignored="A+", warnings=[]), dict(now[0], server_name="new.test")]
    changed, new = _prediction.compared(after, now)
    assert (changed["now"]["grade_trust_ignored"], changed["grade_trust_ignored"]) == ("A", "A+")
    assert set(changed["now"]) == {"grade", "grade_trust_ignored", "caps", "warnings", "error"}
    assert new["now"] is None


def test_a_run_without_changes_does_not_load_the_prober():
    package = "ansible_collections.kopano.hardening.plugins"
    script = (
        f"import sys, {package}.modules.web_config; print([n for n in sys.modules if '_tls_' in n or '_x509' in n])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
