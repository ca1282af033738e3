# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as others get it: installed from its tarball into an empty folder, run by ansible-playbook and by
ansible-runner as AWX does it, and in the context of an execution environment. No host can be reached, and that is said.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import package

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLAYBOOKS = ("audit", "harden", "restore")
# Nobody listens there, so the hosts are unreachable at once.
INVENTORY = {
    "all": {
        "hosts": {"web1": {"ansible_port": 1}, "web2": {"ansible_port": 1}},
        "vars": {"ansible_host": "127.0.0.1", "ansible_ssh_common_args": "-F none", "ansible_user": "nobody"},
    }
}
# What of the tarball is a plugin, a role, a playbook or documentation, and why everything else is in it.
SUBJECTS = ("plugins/*", "roles/*", "playbooks/*", "docs/*.md", "*.md")
OTHERS = {
    "FILES.json": "ansible-galaxy makes it: the checksums that `ansible-galaxy collection verify` compares",
    "MANIFEST.json": "ansible-galaxy makes it: the collection's metadata",
    "LICENSE": "the licence, as galaxy.yml names it",
    "LICENSES/*": "the texts of all licences, where REUSE expects them",
    "REUSE.toml": "the licence of files that cannot have a line about it",
    "changelogs/changelog.yaml": "the changelog as data, from which changelogs of distributions are made",
    "docs/awx-survey.json": "imported into AWX, see docs/fleet.md",
    "docs/report.schema.json": "what programs check report.json with, see docs/fleet.md",
    "meta/ee-bindep.txt": "named by meta/execution-environment.yml",
    "meta/ee-requirements.txt": "named by meta/execution-environment.yml",
    "meta/execution-environment.yml": "what ansible-builder installs for the collection",
    "meta/runtime.yml": "the versions of ansible-core, and action groups",
}
# Options of which one host each has a value that cannot work: the step that the option is for, and the others' value.
WRONG = {"updates_apply": ("1", "none"), "caa_timeout": ("4", "5"), "verify_mode": ("5", "quick")}


def run(*command, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
    return subprocess.run(
        [str(word) for word in command],
        env={
            **clean,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "1000",
            **environment,
        },
        cwd=environment.pop("PWD", ROOT),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tarball(tmp_path_factory):
    """The collection's tarball."""
    return package.build(tmp_path_factory.mktemp("tarball"))


@pytest.fixture(scope="module")
def installed(tarball, tmp_path_factory):
    """The path of collections that it was installed into."""
    folder = tmp_path_factory.mktemp("installed")
    done = run(
        BIN / "ansible-galaxy", "collection", "install", "--offline", "--collections-path", folder, tarball, PWD=folder
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(tmp_path):
    """An empty folder with an inventory, to run in."""
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(INVENTORY))
    return tmp_path


def play(installed, place, name, *arguments):
    return run(
        BIN / "ansible-playbook", "--inventory", "inventory.yml", f"kopano.hardening.{name}", *arguments,
        PWD=place, ANSIBLE_COLLECTIONS_PATH=str(installed), ANSIBLE_DISPLAY_OK_HOSTS="false",
    )  # fmt: skip


def test_only_what_users_need_is_in_the_tarball(installed):
    collection = installed / package.COLLECTION
    names = {str(path.relative_to(collection)) for path in collection.rglob("*") if path.is_file()}
    matched = {pattern: set(fnmatch.filter(names, pattern)) for pattern in (*SUBJECTS, *OTHERS)}
    assert names - set().union(*matched.values()) == set()
    assert [pattern for pattern, found in matched.items() if not found] == []
    for name in ("findings.yml", "_report/report.html.j2", "_report/report.css", "_report/report.js"):
        assert f"plugins/plugin_utils/{name}" in names


@pytest.mark.parametrize("kind", ["module", "role"])
def test_ansible_doc_lists_everything(installed, kind):
    folder = {"module": "plugins/modules/*.py", "role": "roles/*"}[kind]
    done = run(BIN / "ansible-doc", "--type", kind, "--list", "--json", "kopano.hardening", PWD=installed,
               ANSIBLE_COLLECTIONS_PATH=str(installed))  # fmt: skip
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    assert set(json.loads(done.stdout)) == {f"kopano.hardening.{path.stem}" for path in ROOT.glob(folder)}


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ('Running sanity test "pylint"', 0, 0),
        ("ERROR: Found 1 pylint issue(s)", 1, 1),
        # A test that did not run has found nothing out.
        ('WARNING: Skipping sanity test "import" on Python 3.13 because it could not be found.', 0, 1),
        ('Running sanity test "shellcheck"\nWARNING: Required program "shellcheck" not found.', 0, 1),
    ],
)
def test_sanity_passes_only_where_every_test_ran(tmp_path, monkeypatch, output, status, expected):
    program = tmp_path / "ansible-test"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(package, "HOME", tmp_path / "home")
    monkeypatch.setattr(package, "unpack", lambda folder: folder)
    assert package.sanity(tmp_path) == expected
    (pip,) = (tmp_path / "home" / ".ansible" / "test" / "cache").iterdir()
    # The version is the one that this ansible-test would download.
    assert re.fullmatch(r"get_pip_\d+_\d+(_\d+)?\.py", pip.name) and "ensurepip" in pip.read_text()


@pytest.fixture(scope="module")
def syntax(installed, tmp_path_factory):
    """One check of all playbooks."""
    names = [f"kopano.hardening.{name}" for name in PLAYBOOKS]
    return run(BIN / "ansible-playbook", "--inventory", "web1,", "--syntax-check", *names,
               PWD=tmp_path_factory.mktemp("syntax"), ANSIBLE_COLLECTIONS_PATH=str(installed))  # fmt: skip


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_each_playbook_can_be_read_from_there(installed, syntax, name):
    assert syntax.returncode == 0, syntax.stdout + syntax.stderr
    assert f"playbook: {installed}/ansible_collections/kopano/hardening/playbooks/{name}.yml\n" in syntax.stdout


@pytest.mark.parametrize(
    ("name", "strategy"),
    [("audit", "linear"), ("audit", "free"), ("audit", "host_pinned"), ("harden", "linear"), ("harden", "free")],
)
def test_hosts_that_cannot_be_reached_are_reported_and_fail(installed, place, name, strategy):
    # A batch of which no host can be reached ends harden.yml.
    serial = {"audit": 1, "harden": 2}[name]
    done = run(
        BIN / "ansible-playbook", "-i", "inventory.yml", f"kopano.hardening.{name}", "-e", f"harden_serial={serial}",
        PWD=place, ANSIBLE_COLLECTIONS_PATH=str(installed), ANSIBLE_STRATEGY=strategy,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    card = lines[next(number for number, line in enumerate(lines) if line.startswith("host ")) :]
    assert [line.split()[:7] for line in card[1:3]] == [[host, "FAIL", *"-----"] for host in ("web1", "web2")]
    assert "Connection refused" in card[1]
    assert card[3] == "0 of 2 hosts pass, 2 failed, 2 unreachable"
    assert card[4] == f"report: {place}/kopano-hardening-report/index.html"
    report = json.loads((place / "kopano-hardening-report" / "report.json").read_text())
    assert report["generator"]["version"] == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert {host["name"]: host["state"] for host in report["hosts"]} == dict.fromkeys(("web1", "web2"), "unreachable")


def test_a_limit_forgets_no_host(installed, place):
    done = play(installed, place, "audit", "--limit", "web2")
    assert done.returncode == 2
    report = json.loads((place / "kopano-hardening-report" / "report.json").read_text())
    assert {host["name"]: host["state"] for host in report["hosts"]} == {"web1": "left_out", "web2": "unreachable"}
    assert report["summary"]["failed"] == ["web2"]


def test_a_dry_run_writes_no_report(installed, place):
    done = play(installed, place, "audit", "--check")
    assert "0 of 2 hosts pass" in done.stdout
    assert not (place / "kopano-hardening-report").exists()


def test_a_waiver_that_cannot_be_meant_is_refused_by_name(installed, place):
    (place / "vars.json").write_text('{"report_waivers": [{"id": "caa.none", "reason": "x", "until": "soon"}]}')
    done = play(installed, place, "audit", "-e", "@vars.json")
    assert done.returncode == 2
    assert "waivers[0].until: 'soon' is not a date such as 2027-01-31" in " ".join(
        done.stdout.split() + done.stderr.split()
    )


@pytest.mark.parametrize(
    "arguments", [(), ("-e", "harden_max_fail_percentage=0")], ids=["at the end", "where a run ends"]
)
def test_waivers_may_be_text_as_a_survey_has_them(installed, place, arguments):
    waiver = {"id": "caa.none", "reason": "It moves", "until": "2099-01-31"}
    (place / "vars.json").write_text(json.dumps({"report_waivers": yaml.safe_dump([waiver])}))
    done = play(installed, place, "harden", "-e", "@vars.json", *arguments)
    assert done.returncode == 2
    report = json.loads((place / "kopano-hardening-report" / "report.json").read_text())
    assert [(entry["id"], entry["until"]) for entry in report["policy"]["waivers"]] == [("caa.none", "2099-01-31")]
    assert [host["state"] for host in report["hosts"]] == ["unreachable", "unreachable"]


@pytest.fixture(scope="module", params=["audit", "harden"])
def wrong(installed, tmp_path_factory, request):
    """What is reported of hosts with options that cannot work, by the option."""
    place = tmp_path_factory.mktemp("wrong")
    hosts = {option: {"ansible_port": 1} for option in WRONG}
    (place / "inventory.yml").write_text(yaml.safe_dump({"all": {**INVENTORY["all"], "hosts": hosts}}))
    options = {
        option: f"{{{{ 'never' if inventory_hostname == '{option}' else '{good}' }}}}"
        for option, (_step, good) in WRONG.items()
    }
    done = play(installed, place, request.param, "-e", json.dumps(options))
    assert done.returncode == 2
    report = json.loads((place / "kopano-hardening-report" / "report.json").read_text())
    return {host["name"]: host for host in report["hosts"]}


@pytest.mark.parametrize(("option", "step"), [(option, step) for option, (step, _good) in WRONG.items()])
def test_an_option_that_cannot_work_fails_the_step_that_it_is_for(wrong, option, step):
    assert set(wrong) == set(WRONG)
    host = wrong[option]
    assert {key: value for key, value in host["steps"].items() if value == "fail"} == {step: "fail"}
    assert option in host["message"]


def test_ansible_runner_drives_it_as_awx_does(installed, place):
    runner = pytest.importorskip("ansible_runner")
    (place / "inventory").mkdir()
    (place / "inventory.yml").rename(place / "inventory" / "hosts.yml")
    survey = json.loads((ROOT / "docs" / "awx-survey.json").read_text())["spec"]
    # What has no answer is not among them.
    answers = {question["variable"]: question["default"] for question in survey if question["default"] != ""}
    answers["report_fail_on"] = [answers["report_fail_on"]]
    answers["report_path"] = str(place / "artifacts" / "report")
    result = runner.run(
        private_data_dir=str(place),
        playbook="kopano.hardening.audit",
        extravars=answers,
        envvars={"ANSIBLE_COLLECTIONS_PATH": str(installed), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        ident="job",
        quiet=True,
    )
    assert (result.status, result.rc) == ("failed", 2)
    assert result.stats["failures"] == {"web1": 1, "web2": 1}
    stats = [event for event in result.events if event["event"] == "playbook_on_stats"]
    summary = stats[0]["event_data"]["artifact_data"]["kopano_hardening"]
    assert summary["failed"] == summary["unreachable"] == ["web1", "web2"]
    assert (place / "artifacts" / "report" / "index.html").exists()
    artifacts = {path.name for path in (place / "artifacts" / "job").iterdir()}
    assert {"stdout", "rc", "status", "job_events"} <= artifacts
    assert "0 of 2 hosts pass" in (place / "artifacts" / "job" / "stdout").read_text()


def test_the_survey_requests_what_there_is():
    survey = json.loads((ROOT / "docs" / "awx-survey.json").read_text())
    known = {"harden_hosts", "harden_serial", "harden_confirm_timeout"}
    for role in ("verify", "report"):
        spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())
        known |= set(spec["argument_specs"]["main"]["options"])
    for question in survey["spec"]:
        assert question["variable"] in known
        assert {"question_name", "question_description", "type", "required", "default"} <= set(question)
        assert question["type"] in ("text", "textarea", "integer", "multiplechoice", "multiselect")
        # Without a minimum length, AWX sets a text that is not answered to an empty one, in place of the inventory's.
        assert question["type"] not in ("text", "textarea") or question["min"] >= 1
        if "choices" in question:
            assert question["default"] in question["choices"]
    verify = yaml.safe_load((ROOT / "roles" / "verify" / "meta" / "argument_specs.yml").read_text())
    grades = next(question for question in survey["spec"] if question["variable"] == "verify_minimum_grade")
    assert grades["choices"] == verify["argument_specs"]["main"]["options"]["verify_minimum_grade"]["choices"]


def test_ansible_builder_makes_a_context_with_the_collection(tarball, tmp_path):
    builder = BIN / "ansible-builder"
    if not builder.exists():
        pytest.skip("ansible-builder is not installed")
    definition = (ROOT / "execution-environment.yml").read_text()
    (tmp_path / ".cache" / "ee").mkdir(parents=True)
    (tmp_path / ".cache" / "ee" / "kopano-hardening.tar.gz").write_bytes(tarball.read_bytes())
    (tmp_path / "execution-environment.yml").write_text(definition)
    done = run(builder, "create", "--context", tmp_path / "context", PWD=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "context" / "_build"
    wanted = yaml.safe_load((built / "requirements.yml").read_text())["collections"][0]
    assert (built / wanted["name"]).read_bytes() == tarball.read_bytes()
    text = (tmp_path / "context" / "Containerfile").read_text()
    core = re.search(r"ansible-core>=([\d.]+)", text)
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    assert runtime == f">={core.group(1)}.0"


def test_ansible_builder_finds_what_the_collection_needs(installed):
    builder = BIN / "ansible-builder"
    if not builder.exists():
        pytest.skip("ansible-builder is not installed")
    done = run(builder, "introspect", installed)
    assert done.returncode == 0, done.stdout + done.stderr
    found = yaml.safe_load(done.stdout)
    assert any("dnspython>=2.3.0" in line for line in found["python"])
    assert any("openssh-client" in line for line in found["system"])


def test_the_navigator_uses_the_execution_environment_of_the_documentation():
    settings = yaml.safe_load((ROOT / "ansible-navigator.yml").read_text())["ansible-navigator"]
    built = re.search(r"podman build -f Containerfile -t (\S+)", (ROOT / "docs" / "fleet.md").read_text()).group(1)
    assert settings["execution-environment"]["image"] == built
