# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every command of docs/tutorial.md prints what stands there, and leaves the exit status that it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
LAB = PROJECT / ".cache" / "lab"
SET = LAB / "molecule-tutorial"
TEXT = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
LEFT_OUT = "…"
# The exit status of each play, in the order of the page: the host fails until step 7, and the wrong value fails.
PASSES = "audit 2, harden 2, harden 2, audit 0, harden 2, restore 0, harden 0"
# What is another one in each run.
VARYING = (
    (re.compile(r"\d{6}-\d{8}T\d{6}Z-[0-9a-f]{6}"), "TRANSACTION"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "ADDRESS"),
    (re.compile(r"\S*/kopano-hardening-report/"), "FOLDER/"),
    (re.compile(r"(?m)[ \t]+$"), ""),
)


def blocks() -> list[tuple[str, str]]:
    """The language and the content of each block of the page."""
    return re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", TEXT)


def commands() -> list[tuple[str, str]]:
    """The plays and other commands of ansible's, each with the output that the page shows, or without."""
    plain = [content for language, content in blocks() if not language]
    pairs = zip(plain, [*plain[1:], ""], strict=True)
    return [
        (content, "" if following.startswith("ansible") else following)
        for content, following in pairs
        if re.match(r"ansible(-playbook)? ", content)
    ]


def normal(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of the page, with the lab's own values in place of those that stand there."""
    made = tmp_path_factory.mktemp("tutorial")
    content = yaml.safe_load((SET / "inventory.yml").read_text())["all"]
    host = {**content["vars"], **content["hosts"]["apache12"]}
    (config,) = [content for language, content in blocks() if language == "ini"]
    (made / "ansible.cfg").write_text(config)
    (made / "inventory").mkdir()
    one, more = [yaml.safe_load(content) for language, content in blocks() if language == "yaml"]
    one["all"]["hosts"]["mail"]["ansible_host"] = host["ansible_host"]
    more["all"]["vars"].update(
        ansible_ssh_private_key_file=str(LAB / "id_ed25519"),
        ansible_ssh_common_args=f"-F none -o UserKnownHostsFile={SET / 'known_hosts'}",
        verify_ca_file=str(LAB / "ca.pem"),
        caa_nameservers=host["caa_nameservers"],
    )
    (made / "inventory" / "hosts.yml").write_text(yaml.safe_dump(one))
    (made / "inventory" / "lab.yml").write_text(yaml.safe_dump(more))
    return made


@pytest.fixture(scope="session")
def printed(folder):
    """What each command printed, and its exit status. As for a user, nothing of Molecule's settings is in it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    environment = {**clean, "PATH": path, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".cache" / "collections")}
    found = []
    for command, _shown in commands():
        for line in command.splitlines():
            done = subprocess.run(
                line, shell=True, cwd=folder, env={**environment, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "100"},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
            )  # fmt: skip
            found.append((command, line, done.returncode, done.stdout + done.stderr))
    return found


@pytest.mark.parametrize("number", range(len(commands())))
def test_a_command_prints_what_the_page_shows(printed, number):
    command, shown = commands()[number]
    turn = [content for content, _output in commands()[:number]].count(command)
    lines = len(command.splitlines())
    of_command = [output for content, _line, _status, output in printed if content == command]
    output = normal("".join(of_command[turn * lines : (turn + 1) * lines]))
    rest = output
    for part in filter(None, normal(shown).split(f"{LEFT_OUT}\n")):
        _before, found, rest = rest.partition(part)
        assert found == part, f"{command}does not print\n{part}\nafter that; it prints\n{output}"


def test_the_exit_status_is_what_the_page_says(printed):
    plays = [
        f"{line.partition('kopano.hardening.')[2].split()[0]} {status}"
        for _content, line, status, _output in printed
        if line.startswith("ansible-playbook") and "--check" not in line
    ]
    assert ", ".join(plays) == PASSES
