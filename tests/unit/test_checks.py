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

from tests import package, run

from . import ports

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
    assert run.reason(check).splitlines() == ["    | no more than rows"] * 5 + ["    | the end"]


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
