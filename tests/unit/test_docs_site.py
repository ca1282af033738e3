# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The links of the pages are right on the website, too. That the site can be built is a check of its own: make docs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = "https://github.com/kopano-hardening/kopano.hardening/blob/main/"
PAGES = ["README.md", "SECURITY.md", "docs/verify.md", "docs/findings/step-4-caa.md"]


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "site" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "link", "on_site"),
    [
        ("README.md", "docs/verify.md", "docs/verify.md"),
        ("README.md", f"{FILES}docs/verify.md#names", "docs/verify.md#names"),
        ("README.md", "roles/caa/defaults/main.yml", f"{FILES}roles/caa/defaults/main.yml"),
        ("README.md", f"{FILES}roles/caa/README.md", "reference/caa_role.rst"),
        ("docs/verify.md", "../roles/caa/README.md", "../reference/caa_role.rst"),
        ("README.md", FILES.replace("blob", "tree") + "playbooks", FILES.replace("blob", "tree") + "playbooks"),
        ("docs/verify.md", "#names", "#names"),
        ("docs/verify.md", "../README.md#install", "../index.md#install"),
        ("docs/verify.md", "../lab/README.md", f"{FILES}lab/README.md"),
        ("docs/verify.md", "report.schema.json", f"{FILES}docs/report.schema.json"),
        ("docs/findings/step-4-caa.md", "../verify.md", "../verify.md"),
        ("docs/findings/step-4-caa.md", f"{FILES}SECURITY.md", "../../SECURITY.md"),
        ("SECURITY.md", "https://www.example.com/docs/verify.md", "https://www.example.com/docs/verify.md"),
        ("SECURITY.md", "mailto:a@example.com", "mailto:a@example.com"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_to_the_repository(build, page, link, on_site):
    assert build.linked(f"See [a page]({link}).", page, PAGES) == f"See [a page]({on_site})."
    assert (
        build.linked(f"See [a page].\n\n[a page]: {link}\n", page, PAGES) == f"See [a page].\n\n[a page]: {on_site}\n"
    )


def test_what_is_code_stays_as_it_is(build):
    text = "```\n[link](../lab/README.md)\n```\n"
    assert build.linked(text, "docs/verify.md", PAGES) == text


def test_all_pages_of_the_repository_are_on_the_site(build):
    pages = build.pages()
    assert {"README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/findings/step-1-updates.md"} <= set(pages)
    assert not [page for page in pages if page.startswith(("docs/site/", ".cache/"))]
