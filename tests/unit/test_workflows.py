# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts of the workflows that GitHub runs do what their names tell. The rest is checked by lint:workflows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def step(workflow, job, name):
    return next(entry for entry in WORKFLOWS[workflow]["jobs"][job]["steps"] if entry.get("name") == name)


def matrices():
    for name, job in WORKFLOWS["ci"]["jobs"].items():
        matrix = job.get("strategy", {}).get("matrix", {})
        yield from ((name, row["target"]) for row in matrix.get("include", []))
        yield from ((name, target) for target in matrix.get("target", []))


@pytest.mark.parametrize(("job", "target"), list(matrices()))
def test_each_job_is_a_target_of_make(job, target):
    assert target in TARGETS
    assert step("ci", job, "make ${{ matrix.target }}")["run"] == 'make "$TARGET"'


def test_each_scenario_has_a_job(tmp_path):
    script = step("ci", "scenarios", "List the folders of molecule/ that are scenarios")
    assert script["shell"] == "python"
    output = tmp_path / "output"
    subprocess.run([sys.executable, "-c", script["run"]], cwd=ROOT, env={"GITHUB_OUTPUT": str(output)}, check=True)
    name, _equals, value = output.read_text().strip().partition("=")
    assert (name, json.loads(value)) == (
        "names",
        sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")),
    )


@pytest.mark.parametrize(("tag", "status"), [("{}", 0), ("v{}", 1), ("{}.1", 1), ("", 1)])
def test_a_release_needs_a_tag_that_is_the_version(tag, status):
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    script = step("release", "version", "Compare the tag with the collection's version")["run"]
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag.format(version)}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert (version in done.stderr) == bool(status)


def test_nothing_is_published_before_all_checks_have_passed():
    jobs = WORKFLOWS["release"]["jobs"]
    assert jobs["publish"]["needs"] == "checks"
    assert jobs["checks"] == {"name": "checks", "needs": "version", "uses": "./.github/workflows/ci.yml"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert not [job for job in WORKFLOWS[name]["jobs"].values() if "permissions" in job]
