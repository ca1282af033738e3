# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalogue of findings has every finding that the code can emit and no other, and its page is fresh."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "plugins" / "plugin_utils" / "findings.yml"
DATA = yaml.safe_load(FILE.read_text())
ENTRIES = list(_findings.catalogue().values())

# A module that has kinds of findings keeps them in one mapping by id, of entries with step, severity and message.
SOURCES = [
    path
    for folder in ("module_utils", "plugin_utils", "modules")
    for path in sorted((ROOT / "plugins" / folder).rglob("*.py"))
    if re.search(r"^CATALOGUE\b", path.read_text(), re.MULTILINE)
]
PREFIXES = "|".join(sorted({entry.id.partition(".")[0] for entry in ENTRIES}))
ID = re.compile(rf"({PREFIXES})(\.[a-z0-9_]+)+")


def of_code():
    """Every finding of the code by its id: step and severity."""
    found = {}
    for path in SOURCES:
        place = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = importlib.import_module(f"ansible_collections.kopano.hardening.{place}")
        for key, entry in module.CATALOGUE.items():
            assert key not in found, f"{key} is in two places, one is {place}"
            found[key] = (entry.step, entry.severity)
    return found


def of_catalogue():
    return {entry.id: (entry.step, entry.severity) for entry in ENTRIES}


def test_the_code_has_findings():
    """Else the tests below would compare nothing."""
    wanted = ["module_utils/_webserver/findings.py", "module_utils/_tls/rules.py", "module_utils/_caa/findings.py"]
    assert {ROOT / "plugins" / name for name in wanted} <= set(SOURCES)


def test_every_finding_of_the_code_is_in_the_catalogue():
    catalogue = of_catalogue()
    assert {key: entry for key, entry in of_code().items() if catalogue.get(key) != entry} == {}


def test_every_finding_of_the_catalogue_is_in_the_code():
    assert sorted(set(of_catalogue()) - set(of_code())) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_words_that_look_like_a_finding_are_one(path):
    """A finding that is emitted without an entry has a text like this somewhere."""
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
def test_an_entry_says_all_that_a_reader_needs(entry):
    assert ID.fullmatch(entry.id)
    assert entry.step in _findings.STEPS
    assert entry.severity in _findings.SEVERITIES
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


def test_the_page_is_fresh():
    script = ROOT / "docs" / "findings.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
