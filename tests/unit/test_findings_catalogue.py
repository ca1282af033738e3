# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of findings has every finding that the code can emit and no other, and its pages are fresh."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import (
    GRADE,
    HSTS,
    SEVERITIES,
    STEPS,
    UPDATES,
    Catalogue,
    Entry,
)
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "plugins" / "plugin_utils" / "findings.yml"
DATA = yaml.safe_load(FILE.read_text())
ENTRIES = list(_findings.catalogue().values())

PLUGINS = ROOT / "plugins"
MODULES = [
    path for folder in ("module_utils", "plugin_utils", "modules") for path in sorted((PLUGINS / folder).rglob("*.py"))
]
# A package that has kinds of findings keeps them in one mapping by id, and so does the controller's part.
SOURCES = [path for path in MODULES if re.search(r"^CATALOGUE\b", path.read_text(), re.MULTILINE)]
PREFIXES = "|".join(sorted({entry.id.partition(".")[0] for entry in ENTRIES}))
ID = re.compile(rf"({PREFIXES})(\.[a-z0-9_]+)+")


def of_code():
    """Every kind of finding of the code by its id."""
    found = {}
    for path in SOURCES:
        place = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = importlib.import_module(f"ansible_collections.kopano.hardening.{place}")
        for key, entry in module.CATALOGUE.items():
            assert key not in found, f"{key} is in two places, one is {place}"
            found[key] = entry
    return found


def test_the_code_has_findings():
    """Else the tests below would compare nothing."""
    packages = ("_updates", "_webserver", "_certificate", "_tls", "_caa")
    wanted = [f"module_utils/{package}/catalogue.py" for package in packages]
    assert set(SOURCES) == {PLUGINS / name for name in [*wanted, "plugin_utils/_findings.py"]}


def test_the_reader_knows_every_finding_of_the_code():
    assert of_code() == _findings.KINDS


def test_every_finding_of_the_code_is_in_the_catalogue():
    catalogue = {entry.id: (entry.step, entry.severity) for entry in ENTRIES}
    assert {key: entry for key, entry in of_code().items() if catalogue.get(key) != (entry.step, entry.severity)} == {}


def test_every_finding_of_the_catalogue_is_in_the_code():
    assert sorted(set(DATA["findings"]) - set(of_code())) == []


def test_step_and_severity_are_stated_once():
    """In the catalogue of the code, so the file has what it adds to that and nothing else."""
    assert {key for entry in DATA["findings"].values() for key in entry} == {"title", "why", "source", "fix"}
    places = [
        str(path.relative_to(PLUGINS))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Tuple, ast.List))
        if {getattr(item, "value", "") for item in node.elts} == set(SEVERITIES)
    ]
    assert places == ["module_utils/_common/findings.py"]


def test_a_finding_has_what_is_given_and_the_rest_of_its_kind():
    kinds = Catalogue(UPDATES, {"a.b": Entry("warn", "Message.", "Fix."), "a.c": Entry("info", "Other.", step=HSTS)})
    assert list(kinds.finding("a.b", "subject", "seen").items()) == [
        ("id", "a.b"),
        ("step", UPDATES),
        ("severity", "warn"),
        ("subject", "subject"),
        ("message", "Message."),
        ("evidence", "seen"),
        ("fix", "Fix."),
    ]
    given = kinds.finding("a.c", "subject", fix="Own.", severity="fail", step=GRADE)
    assert tuple(given.values()) == ("a.c", GRADE, "fail", "subject", "Other.", "", "Own.")
    assert kinds.finding("a.c", "subject")["step"] == HSTS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_finding_that_is_emitted_has_an_entry(path):
    emitted = {
        node.args[0].value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "finding"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert sorted(key for key in emitted if key not in _findings.catalogue()) == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_an_entry_has_all_that_a_reader_needs(entry):
    assert ID.fullmatch(entry.id)
    assert entry.step in STEPS
    assert entry.severity in SEVERITIES
    assert entry.title and not entry.title.endswith(".")
    assert entry.why.endswith(".")
    assert set(entry.fix) <= set(_findings.PLACES)
    assert all(text.strip() for text in entry.fix.values())
    assert entry.fix or entry.severity == "info", "only what is good or unimportant needs no fix"
    # What is set in a web server is set in either.
    assert ("apache" in entry.fix) == ("nginx" in entry.fix)


def test_each_place_to_look_up_is_used():
    used = [(entry["source"], entry.get("fix")) for entry in DATA["findings"].values()]
    assert sorted(set(DATA["sources"]) - {source for source, _fix in used}) == []
    assert sorted(set(DATA["fixes"]) - {fix for _source, fix in used if isinstance(fix, str)}) == []


def test_an_rfc_leads_to_its_section():
    by_id = _findings.catalogue()
    assert by_id["tls.hsts.absent"].url == "https://www.rfc-editor.org/rfc/rfc6797#section-7.1"
    assert by_id["caa.terms.unchecked"].url == "https://www.rfc-editor.org/rfc/rfc8657"


@pytest.fixture(scope="module")
def pages():
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("findings_pages", ROOT / "docs" / "findings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_fresh():
    script = ROOT / "docs" / "findings.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_missing_or_extra_page_is_found_and_repaired(pages, tmp_path):
    pages.write(tmp_path)
    assert pages.stale(tmp_path) == []
    step = tmp_path / "findings" / "step-4-caa.md"
    step.write_text(step.read_text() + "edited\n")
    (tmp_path / "findings.md").unlink()
    (tmp_path / "findings" / "step-6.md").write_text("of a step that is gone\n")
    assert pages.stale(tmp_path) == ["findings.md", "findings/step-4-caa.md", "findings/step-6.md"]
    pages.write(tmp_path)
    assert pages.stale(tmp_path) == []
    assert not (tmp_path / "findings" / "step-6.md").exists()


def test_every_finding_is_explained_once_on_the_page_of_its_step(pages):
    explained = {
        key: [int(re.search(r"step-(\d)", name)[1])]
        for name, text in pages.pages().items()
        if name != "findings.md"
        for key in re.findall(r"^## (\S+)$", text, re.MULTILINE)
    }
    assert explained == {entry.id: [entry.step] for entry in ENTRIES}


def test_the_index_leads_to_every_finding(pages):
    written = pages.pages()
    links = dict(re.findall(r"^\| \[`(\S+)`\]\((\S+)\)", written["findings.md"], re.MULTILINE))
    assert sorted(links) == sorted(entry.id for entry in ENTRIES)
    assert len(set(links.values())) == len(links), "two findings with the same anchor"
    for key, link in links.items():
        name, _hash, anchor = link.partition("#")
        assert f"\n## {key}\n" in written[name]
        assert anchor == re.sub(r"[^\w-]", "", key)
