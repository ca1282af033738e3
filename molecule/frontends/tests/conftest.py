# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clients were told before and after; the table of it in the summary and in .cache/reports/frontends.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import report
from hardened import SITE, runs  # noqa: F401, a fixture

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent.parent.parent / ".cache" / "reports" / "frontends.md"


def read(name: str) -> dict[str, report.Answers]:
    """A survey: all answers, by host and question."""
    survey: dict[str, report.Answers] = json.loads(
        Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], f"{name}.json").read_text()
    )
    return survey


@pytest.fixture(scope="module")
def before(frontend):
    return read("before")[frontend.host]


@pytest.fixture(scope="module")
def after(frontend):
    return read("after")[frontend.host]


@pytest.fixture(scope="module")
def site(frontend, runs):  # noqa: F811
    """Whether the host got Kopano's site; otherwise its own virtual hosts were adopted."""
    results = [run.results[frontend.host] for run in runs if run.kind == "harden"]
    return any(f"/{SITE}" in entry["after_header"] for entry in results[0]["diff"])


def pytest_terminal_summary(terminalreporter):
    lines = report.table(read("before"), read("after"))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("# Kopano's frontends, before → after hardening\n\n" + report.markdown(lines))
    terminalreporter.section("frontends, before → after hardening")
    for line in report.text(lines):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"also in {REPORT}")
