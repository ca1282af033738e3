# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line of the lab."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time

from .images import LAB
from .machines import Machines
from .model import Lab
from .shell import LabError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _command(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab.py", description="Throw-away hosts with Kopano-shaped frontends.")
    parser.add_argument("--set", default="lab", type=_set_name, help="the set of hosts (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {
        "up": "start hosts that are not up (default: all that are not optional) and wait until they answer",
        "reset": "give hosts their dirty first state again (default: all of the set)",
        "down": "remove hosts (default: all of the set, and its network)",
    }.items():
        commands.add_parser(name, help=words).add_argument("hosts", nargs="*", metavar="HOST")
    commands.add_parser("status", help="list the hosts")
    commands.add_parser("inventory", help="print the path of the set's inventory")
    commands.add_parser("clean", help="remove all sets of this checkout and their files")
    for name, words in {
        "exec": "run a command in a host without ssh",
        "ssh": "log in, or run a command by ssh",
    }.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("host")
        command.add_argument("words", nargs=argparse.REMAINDER)
    podman = commands.add_parser("podman", help="run podman the way that the lab does")
    podman.add_argument("words", nargs=argparse.REMAINDER)
    return parser


def _set_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: small letters, digits and hyphens only")
    return text


def _command(options: argparse.Namespace) -> int:
    lab = Lab(LAB.parent, options.set)
    started = time.monotonic()
    machines = Machines(lab)
    if options.command in {"up", "reset"}:
        hosts = getattr(machines, options.command)(options.hosts)
        print(f"{options.command} in {time.monotonic() - started:.1f} s: {' '.join(host.name for host in hosts)}")
        print(f"inventory: {machines.access.inventory}")
    elif options.command == "down":
        machines.down(options.hosts)
    elif options.command == "status":
        for entry in machines.found():
            if entry.host not in machines.known:  # the name server
                continue
            host = machines.known[entry.host]
            words = [entry.host, entry.state, machines.address(entry.host), host.release.name, *sorted(host.dirt)]
            print(" ".join(f"{word:<10}" for word in words).rstrip())
    elif options.command == "inventory":
        print(machines.access.inventory)
    elif options.command == "clean":
        folder = lab.cache.parent
        for path in sorted(folder.iterdir()) if folder.exists() else []:
            if path.is_dir():
                Machines(Lab(lab.checkout, path.name)).down()
        shutil.rmtree(folder, ignore_errors=True)
    else:
        os.execvp(*_program(options, machines))  # noqa: S606 - a list of words, no shell
    return 0


def _program(options: argparse.Namespace, machines: Machines) -> tuple[str, list[str]]:
    """The program that takes over, with its arguments."""
    prefix = [*machines.podman.prefix, "podman"]
    if options.command == "ssh":
        words = [*machines.access.command(machines.address(options.host)), *options.words]
    elif options.command == "exec":
        words = [*prefix, "exec", "--interactive", machines.lab.container(options.host), *options.words]
    else:
        words = [*prefix, *options.words]
    return words[0], words
