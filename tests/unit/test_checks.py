# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests/run.py shows of a check that failed: enough to know which test it was, and why; and what it runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests import package, quick, run

from . import ports

pytestmark = pytest.mark.slow

TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError("no host")

@pytest.mark.parametrize("number", range(3))
def test_numbers(number):
    assert number < 1, "x" * 9999

def test_of_a_broken_fixture(broken):
    pass
"""


def test_failed_tests_are_shown_with_their_messages(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", str(tmp_path)]
    subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=60)
    assert run.count(report) == (1, 3, 0)
    shown = run.failures(report).splitlines()
    heads = [line for line in shown if "test_" in line]
    assert [line.split(":")[0] for line in heads] == [
        "    | test_numbers[1]", "    | test_numbers[2]", "    | test_of_a_broken_fixture",
    ]  # fmt: skip
    assert "AssertionError: xxx" in heads[0] and "no host" in heads[2]
    assert max(map(len, shown)) < 2 * run.SHOWN_CHARACTERS


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a check of a Python program. Its log is none that other runs write as well."""
    monkeypatch.setattr(run, "LOGS", tmp_path)
    return lambda text: run.Check("program", [sys.executable, "-c", text])


def test_without_failed_tests_the_end_of_the_log_is_shown(tmp_path, program):
    assert run.failures(tmp_path / "absent.xml") == ""
    check = program("print('why'); exit(3)")
    result = run.run(check)
    assert not result.ok and (result.passed, result.failed) == (0, 1)
    assert run.tail(check.log) == "    | why"


def test_the_summary_repeats_the_error_of_a_program(program):
    check = program(r"print('a task\n\x1b[31m  msg: it failed\n  stderr: |-\n    lab: why'); exit(3)")
    run.run(check)
    assert run.reason(check) == "    |     lab: why"
    check.log.write_text("no more than rows\n" * 100 + "the end")
    assert run.reason(check).splitlines() == ["    | no more than rows"] * 2 + ["    | the end"]


OF_A_CLASS = """
class TestIt:
    def test_one(self):
        assert False
"""


@pytest.fixture
def failed_report(tmp_path, monkeypatch):
    """Where tests of some files fail that are as in the checkout; gives their report."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "tests" / "unit").mkdir(parents=True)

    def make(**files):
        for name, text in files.items():
            (tmp_path / "tests" / "unit" / f"{name}.py").write_text(text)
        report = tmp_path / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", "tests"]
        subprocess.run(command, capture_output=True, cwd=tmp_path, check=False, timeout=600)
        return report

    return make


def test_what_repeats_a_failure_runs_the_failed_tests_alone(failed_report, tmp_path):
    report = failed_report(test_it=TESTS, test_class=OF_A_CLASS)
    tests = run.failed_tests(report)
    assert tests == [
        "tests/unit/test_class.py::TestIt::test_one", "tests/unit/test_it.py::test_numbers[1]",
        "tests/unit/test_it.py::test_numbers[2]", "tests/unit/test_it.py::test_of_a_broken_fixture",
    ]  # fmt: skip
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests], capture_output=True, cwd=tmp_path, text=True, check=False
    )
    assert "3 failed, 1 error" in again.stdout


def test_a_file_that_cannot_be_read_is_repeated_as_a_whole(failed_report):
    assert run.failed_tests(failed_report(test_it="import no_such_module")) == ["tests/unit/test_it.py"]


def test_each_check_is_repeated_with_its_own_interpreter_and_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LOGS", tmp_path)
    monkeypatch.setattr(run, "failed_tests", lambda report: ["tests/unit/a.py::b[c d]"] if report.exists() else [])
    python = str(run.ROOT / ".venv-oldest" / "bin" / "python")
    check = run.Check("oldest", [python, "-m", "pytest", "tests/unit"], {"DIFFERENTIAL_CASES": "9"})
    assert run.repeat(check).endswith(" tests/run.py oldest")  # no test has failed: it was killed, say
    check.report.touch()
    words = "DIFFERENTIAL_CASES=9 .venv-oldest/bin/python -m pytest 'tests/unit/a.py::b[c d]'"
    assert run.repeat(check) == words
    monkeypatch.setattr(run, "failed_tests", lambda _report: [f"tests/unit/a.py::{number}" for number in range(99)])
    assert run.repeat(check).endswith(".venv-oldest/bin/python -m pytest tests/unit/a.py")
    assert run.repeat(run.Check("molecule:caa", ["molecule"])) == "make molecule SCENARIO=caa"
    assert run.repeat(run.Check("lint:ruff", ["ruff"])).endswith("python tests/run.py lint:ruff")


def test_the_summary_has_every_time_and_five_lines_of_what_failed(program, capsys):
    good, bad = program("pass"), program("print('word\\n' * 99); exit(3)")
    bad.name = "bad"
    assert run.perform([[bad, good]]) == 1
    lines = capsys.readouterr().out.splitlines()
    summary = lines[next(number for number, row in enumerate(lines) if " checks in " in row) :]
    assert re.match(r"2 checks in \d+ s; logs in ", summary[0])
    assert re.fullmatch(r"  ok     program +\d+\.\d s", summary[1])
    assert re.fullmatch(r"  FAILED bad +\d+\.\d s", summary[2])
    assert len(summary[2:-1]) == 5 and summary[-2].startswith("    repeat it: ")
    assert summary[-1] == "1 passed, 1 failed"


def test_what_commas_join_runs_side_by_side_and_in_order():
    first, second = run.choose(["lint:ruff,unit,sanity", "lint:mypy"])
    assert [check.name for check in first] == ["lint:ruff", "unit", "sanity"]
    assert [check.name for check in second] == ["lint:mypy"]


@pytest.mark.parametrize("name", ["nonsense", "molecule:nonsense", "unit,nonsense"])
def test_a_check_that_is_not_there_is_named(name):
    with pytest.raises(SystemExit, match=f"{name.rpartition(',')[2]}: no such check"):
        run.choose([name])


def test_make_test_runs_every_check_once_but_the_slow_ones():
    rule = re.search(r"(?m)^test: .*\n((?:\t.*\n)+)", (run.ROOT / "Makefile").read_text())
    assert rule
    groups = rule[1].rpartition("tests/run.py")[2].partition("#")[0].replace("$$", "").split()
    chosen = [check.name for checks in run.choose(groups) for check in checks]
    every = {check.name for name, group in run.GROUPS.items() if name != "oracles" for check in group()}
    assert sorted(chosen) == sorted(every)


def test_processes_of_tests_have_no_ports_in_common():
    """Neither the workers of a run nor two runs: a test may ask for a port long before it listens there."""
    words = [sys.executable, "-c", "from tests.unit.ports import free_ports as f; print(f(70), flush=True); input()"]
    many = [subprocess.Popen(words, cwd=run.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _time in range(3)]
    given = [ports.free_ports(70), *(json.loads(process.stdout.readline()) for process in many)]
    for process in many:
        process.communicate(b"\n")
    assert len(set().union(*given)) == 4 * 70


IMPORT = """Importing with galaxy-importer 0.4.44
Loading role caa
%sImporter processing completed successfully
"""


@pytest.mark.parametrize(
    ("line", "complains"),
    [
        ("", False),
        ("Loading role errors_and_warnings\n", False),
        ("WARNING: No role description found in role metadata\n", True),
        ("ERROR: The import failed for the following reason: No role readme found.\n", True),
    ],
)
def test_a_warning_of_galaxy_is_a_failure(line, complains, tmp_path, monkeypatch):
    (tmp_path / "galaxy_importer").mkdir()
    (tmp_path / "galaxy_importer" / "__init__.py").touch()
    (tmp_path / "galaxy_importer" / "main.py").write_text(f"print({IMPORT % line!r}, end='')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(package, "build", lambda folder: folder / "kopano-hardening-1.0.0.tar.gz")
    assert package.importer(tmp_path) == complains


def test_the_tarball_has_what_the_checkout_has_and_nothing_that_is_ignored(tmp_path, monkeypatch):
    # Other tests copy the checkout meanwhile.
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", run.ROOT, checkout], check=True)
    monkeypatch.setattr(package, "ROOT", checkout)
    (checkout / "plugins" / "ignored.retry").touch()
    listed = subprocess.run(
        ["tar", "--list", "--file", package.build(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "plugins/modules/web_config.py" in listed and "plugins/ignored.retry" not in listed


# --- make quick ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "test"),
    [
        ("tests/unit/test_x509.py", "test_x509"),
        ("plugins/module_utils/_x509/certificate.py", "test_x509"),  # imported
        ("plugins/module_utils/_common/phrases.py", "test_client"),  # by what is imported
        ("lab/kopano_lab/engine.py", "test_lab"),
        ("tests/run.py", "test_checks"),
        ("roles/frontend/data/guideline.yml", "test_role_frontend"),  # read by what is imported
        ("docs/defaults.py", "test_role_specs"),
    ],
)
def test_what_changed_has_its_tests(changed, test):
    assert f"tests/unit/{test}.py" in quick.nearest({changed})


def test_the_nearest_tests_are_taken_that_there_is_time_for(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LOGS", tmp_path)
    away = {"tests/unit/test_x509.py": 1, "tests/unit/test_checks.py": 2, "tests/unit/test_lab.py": 1}
    gone = {"tests/unit/test_that_was_removed.py": 0}
    assert set(quick.fitting({**away, **gone})) == set(away)
    seconds = [f"<testcase classname='tests.unit.test_{name}' time='{quick.SECONDS}'/>" for name in ("lab", "checks")]
    (tmp_path / "unit.xml").write_text(f"<testsuite>{''.join(seconds)}</testsuite>")
    assert quick.fitting(away) == ["tests/unit/test_x509.py"]
    assert quick.fitting({"tests/unit/test_lab.py": 0}) == ["tests/unit/test_lab.py"]
    assert quick.fitting({}) == []
