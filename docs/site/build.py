#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the documentation as a website in .cache/docs/html: build.py, with the environment of requirements-docs.txt.

The pages are those of the repository, in the same folders, so that links between them are right in both places. What
antsibull-docs makes of the roles and modules is beside them, in reference/. A warning fails the build.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent
BUILT = ROOT / ".cache" / "docs"
SOURCE = BUILT / "source"
REPOSITORY = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
FILES = f"{REPOSITORY}/blob/main/"

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# A link, or the line that tells where a link by its text alone leads.
LINK = re.compile(r"(\[[^\]]*\]\(|^\[[^\]]+\]: )([^)\s#]+)", re.MULTILINE)
OWN = re.compile(rf"{re.escape(REPOSITORY)}/(?:blob|tree)/main/")
ROLE = re.compile(r"roles/(\w+)/README\.md")


def pages() -> list[str]:
    """The pages of the repository that are on the site, by their paths."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if SITE not in path.parents)


def on_site(page: str) -> str:
    """Where a page of the repository is on the site. That of a role is in the reference, with all of its options."""
    return "index.md" if page == "README.md" else ROLE.sub(r"reference/\1_role.rst", page)


def linked(text: str, page: str, all_pages: list[str]) -> str:
    """A page with its links: to other pages on the site, to the repository for whatever else is there."""

    def goal(match: re.Match[str]) -> str:
        start, link = match.groups()
        path = OWN.sub("", link)
        if re.match(r"[a-z]+:", path):
            return match[0]
        if path == link:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        if path in all_pages or ROLE.fullmatch(path):
            return start + posixpath.relpath(on_site(path), posixpath.dirname(page) or ".")
        return start + (link if OWN.match(link) else FILES + path)

    parts = FENCE.split(text)
    return "".join(part if number % 2 else LINK.sub(goal, part) for number, part in enumerate(parts))


def write_sources() -> None:
    """Write the pages of the repository."""
    all_pages = pages()
    for page in all_pages:
        text = linked((ROOT / page).read_text(), page, all_pages)
        if page == "README.md":
            text += "\n" + (SITE / "contents.md").read_text()
        path = SOURCE / on_site(page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def main() -> int:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
    }
    # From nothing each time: a page that is gone would stay, and of a page that is as it was Sphinx repeats no warning.
    shutil.rmtree(BUILT, ignore_errors=True)
    write_sources()
    reference = SOURCE / "reference"
    reference.mkdir()
    reference.chmod(0o755)  # antsibull-docs refuses a folder that others can write
    commands: list[list[str | Path]] = [
        ["antsibull-docs", "--config-file", SITE / "antsibull-docs.cfg", "collection", "--use-current",
         "--squash-hierarchy", "--fail-on-error", "--dest-dir", reference, "kopano.hardening"],
        ["sphinx-build", "-n", "-W", "--keep-going", "-q", "-b", "html", "-c", SITE, "-d", BUILT / "doctrees",
         SOURCE, BUILT / "html"],
    ]  # fmt: skip
    for command in commands:
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        if status:
            return status
    print(f"docs: {(BUILT / 'html' / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
