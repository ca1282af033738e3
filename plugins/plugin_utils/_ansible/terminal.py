# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Lines that an action shows on the terminal beside those of Ansible's callback, which shows a result whole or not."""

from __future__ import annotations

import contextlib
import re
import textwrap
import threading
import typing as t

from ansible import constants
from ansible.utils.color import stringc
from ansible.utils.display import Display

display = Display()

WIDTH = 100  # columns
INDENT = "  "
NAME_WIDTH = 30  # of a host's name, up to which all of a play stand in one column
# Fixes and lines of a zone file are to be pasted, so they are not wrapped.
_PASTED = re.compile(r"\s|; |\S+\. IN ")
PATIENCE = 10.0  # seconds after which a step reports what it waits for
# Callbacks whose output is read by a program, which has the lines in the results.
MACHINE_READABLE = ("json", "jsonl")


def is_read_by_people() -> bool:
    return str(constants.DEFAULT_STDOUT_CALLBACK).rpartition(".")[2] not in MACHINE_READABLE


def wrapped(line: str, first: str = "", rest: str = INDENT) -> list[str]:
    """A line in the width of the terminal, with C(first) in front and C(rest) in front of those that follow."""
    if _PASTED.match(line):
        return [first + line]
    return textwrap.wrap(
        line, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]


def text(host: str, outcome: t.Sequence[str], details: t.Sequence[str], role: str) -> str:
    """What is shown of one host. outcome: what was done; details: what was found."""
    lines: list[str] = []
    for number, line in enumerate(outcome):
        lines += wrapped(line, INDENT if number else f"{host}{INDENT}", INDENT * 2)
    if details:
        lines.append(f"{host.rstrip()}{INDENT}{role}:")
        for line in details:
            lines += wrapped(line, rest=INDENT * 2)
    return "\n".join(lines)


def show(content: str, changed: bool = False) -> None:
    if content and is_read_by_people():
        display.display(content, color=constants.COLOR_CHANGED if changed else None)


def show_coloured(lines: t.Iterable[t.Iterable[tuple[str, str | None]]]) -> None:
    """Lines of pieces, each with its colour. Ansible knows whether the terminal has colours."""
    if is_read_by_people():
        for line in lines:
            display.display("".join(stringc(piece, colour) if colour else piece for piece, colour in line))


@contextlib.contextmanager
def waiting(host: str, what: str, patience: float = PATIENCE) -> t.Iterator[None]:
    """Report what a step waits for, and how long at most, if it takes longer than the patience (in seconds)."""
    timer = threading.Timer(patience, show, [f"{host}{INDENT}waiting: {what}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
