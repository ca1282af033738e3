# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The links between pages of the documentation lead to files and headings that exist, also where Galaxy shows them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Galaxy shows these where no relative link leads anywhere.
ON_GALAXY = [ROOT / "README.md", *sorted((ROOT / "roles").glob("*/README.md"))]
PAGES = [
    *ON_GALAXY,
    *(page for page in sorted(ROOT.glob("*.md")) if page not in ON_GALAXY),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "lab").glob("*.md")),
]
REPOSITORY = re.compile(r"https://github.com/kopano-hardening/kopano.hardening/(?:blob|tree)/main/")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A link by its text alone, and the line that says where this leads.
SHORT = re.compile(r"\[([^\]\n]+)\](?![(:\[])")
DEFINITION = re.compile(r"^\[([^\]]+)\]: (\S+)$", re.MULTILINE)


def links(page):
    """Where the links of a page lead; a short one that leads nowhere by its text."""
    text = FENCE.sub("", page.read_text())
    defined = dict(DEFINITION.findall(text))
    short = SHORT.findall(CODE.sub("", text)) if defined else ()
    return [*LINK.findall(text), *defined.values(), *(name for name in short if name not in defined)]


def anchors(page):
    """The anchors that the headings of a page get: lower case, without punctuation, with dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def broken(page):
    """Links of a page that lead nowhere. Those to other sites are not requested."""
    found = []
    for link in links(page):
        own = REPOSITORY.match(link)
        name, _hash, anchor = link[own.end() if own else 0 :].partition("#")
        if re.match(r"[a-z]+:", name):
            continue
        goal = ((ROOT if own else page.parent) / name).resolve() if name else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    assert broken(page) == []


@pytest.mark.parametrize("page", ON_GALAXY, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_from_galaxy_too(page):
    found = links(page)
    assert found and [link for link in found if not link.startswith(("https://", "#"))] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    own = "https://github.com/kopano-hardening/kopano.hardening/blob/main/"
    page.write_text(
        "# One `x.y`\n[a](#one-xy) [b](#two) [c](gone.md) [d](page.md#one-xy)\n```\n[e](code)\n```\n"
        f"[f]({own}README.md#roles) [g]({own}gone.md) [h]({own}README.md#gone) [i](https://example.com/gone.md)\n"
    )
    assert broken(page) == ["#two", "gone.md", f"{own}gone.md", f"{own}README.md#gone"]
    page.write_text("[page.md] [`a[0]`](page.md) `[code]` [gone]\n\n[page.md]: page.md\n[other]: other.md\n")
    assert broken(page) == ["other.md", "gone"]
