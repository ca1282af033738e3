# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configurations of web servers as cases: what they are made of, how they are damaged, and how they get onto the disk.

A case is made by a grammar, whole or with some damage afterwards. C(@ROOT@) in a text stands for its folder.
"""

from __future__ import annotations

import os
import random
import typing as t

from . import damage, folders, seeds

# What goes into texts beside words: not ASCII, no UTF-8, a mark of byte order, a text that turns around.
ODD = (
    b"\xc3\xa9",
    b"\xe9",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\x85",
    b"\x7f",
)


class Case(t.TypedDict):
    """A configuration.

    files: by path in its folder; links: their targets by path; disable: the site that goes when the policy comes, empty
    for none; servers: what is to be read where the server accepts it, None where that is not known beforehand.
    """

    files: dict[str, bytes]
    links: dict[str, str]
    disable: str
    servers: list[tuple[list[str], list[list[str]]]] | None


class Writer:
    """Random choices, and what is the same for all texts of a case. C(texts), C(links): what was written, by path."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.end = source.choice(("\n", "\n", "\n", "\r\n"))
        self.texts: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.number = 0

    def chance(self, share: float) -> bool:
        return self.source.random() < share

    def one(self, *values: str) -> str:
        return self.source.choice(values)

    def some(self, values: t.Sequence[str], most: int) -> list[str]:
        """Up to so many of them, in any order."""
        return self.source.sample(values, self.source.randrange(min(most, len(values)) + 1))

    def mixed(self, word: str) -> str:
        """A word in some case."""
        if self.chance(0.8):
            return word
        return self.source.choice((word.lower(), word.upper(), word.swapcase()))

    def comment(self) -> str:
        words = self.one(
            "why", "</VirtualHost>", "server {", "}", '"', "it's", "<If", ";", "${X}", "#", "ODD", "x " * 400
        )
        return self.one("#", "# ", "#\t", "##") + words


def encoded(source: random.Random, text: str) -> bytes:
    """A text as the bytes of its file: ODD in it becomes something odd."""
    first, *others = text.encode().split(b"ODD")
    return first + b"".join(source.choice(ODD) + other for other in others)


def damaged(source: random.Random, case: Case) -> Case:
    """The same case with one of its files damaged, or with a file or link less."""
    files, links = dict(case["files"]), dict(case["links"])
    path = source.choice(sorted(files))
    kind = source.random()
    if kind < 0.04 and len(files) > 1:
        del files[path]
    elif kind < 0.08 and links:
        del links[source.choice(sorted(links))]
    elif kind < 0.12:
        files[path] = files[path] + files[source.choice(sorted(files))]
    else:
        files[path] = damage.damaged(source, files[path])
    return {**case, "files": files, "links": links, "servers": None}


def maker(
    whole: t.Callable[[random.Random], Case], share: float
) -> t.Callable[[random.Random, t.Sequence[Case]], Case]:
    """How a target's cases are made. share: how many are damaged, of new ones and of those that ran a new line."""

    def make(source: random.Random, cases: t.Sequence[Case]) -> Case:
        case = source.choice(cases) if source.random() < share / 2 else whole(source)
        while source.random() < share:
            case = damaged(source, case)
        return case

    return make


def with_certificate(case: Case) -> Case:
    """The same with the certificate and key that its virtual hosts name."""
    files = {"cert.pem": seeds.pem(seeds.LEAF), "key.pem": seeds.private_pem(seeds.LEAF_KEY)}
    return {**case, "files": {**case["files"], **files}}


def write(case: Case, name: str) -> str:
    """Writes a case into its folder, which is the path that this returns. What cannot be a file there is left out."""
    folder = folders.empty(name)
    root = folder.encode()
    for path, target in case["links"].items():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        os.symlink(target.replace("@ROOT@", folder), os.path.join(folder, path))
    for path, content in case["files"].items():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        with open(os.path.join(folder, path), "wb") as stream:
            stream.write(content.replace(b"@ROOT@", root))
    return folder
