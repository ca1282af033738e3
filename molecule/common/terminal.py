# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-playbook shows of each host: what the roles have done and found, and why tasks have failed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

_RECAP = re.compile(r"(?m)^(\S+)\s+: ok=\d+ ")
_CARD = re.compile(r"(?m)^host +reach  (?:.+\n)*")
_FATAL = re.compile(r"(?m)^fatal: \[(\S+?)(?: -> \S+)?\]: [A-Z]+! => ")
# Lines of Ansible's own, which end what a role says.
_OF_ANSIBLE = re.compile(
    r"$|(?:ok|changed|fatal|failed|skipping): \[|included: |\.\.\.ignoring|\[(?:ERROR|WARNING)\]|--- |"
    "<|Using module file "  # with -vvv
)


@dataclass
class Shown:
    """Of one host, in its order and with the wraps undone. outcome: what was done; lines: what each role has found;
    messages: of its tasks that failed."""

    outcome: list[str] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


def shown(output: str) -> dict[str, Shown]:
    """By host. Each host of the run is there, also one without any line."""
    found = {host: Shown() for host in _RECAP.findall(output)}
    assert found, output
    for match in _FATAL.finditer(output):
        found[match[1]].messages.append(json.JSONDecoder().raw_decode(output, match.end())[0]["msg"])
    of_host = re.compile(rf"({'|'.join(map(re.escape, found))}) {{2,}}(\S.*)")
    into: list[str] | None = None
    for line in _CARD.sub("", output.partition("PLAY RECAP")[0]).splitlines():
        begin = of_host.fullmatch(line)
        if begin:
            heading = re.fullmatch(r"(\w+):", begin[2])
            if heading:
                into = found[begin[1]].lines.setdefault(heading[1], [])
            elif not begin[2].startswith("waiting: "):
                into = found[begin[1]].outcome
                into.append(begin[2])
        elif _OF_ANSIBLE.match(line):
            into = None
        elif into and line.startswith("    "):
            into[-1] += f" {line.strip()}"
        elif into is not None:
            into.append(line.strip())
    return found
