# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps what is to be known of each run of a playbook, and has clients ask the hosts all the while.

watch.py begin FOLDER KIND INVENTORY    a run begins; standard input is what /etc is like on the hosts
watch.py end FOLDER                     it is over; standard input is what /etc is like now, and the run's results

Each run gets a folder NUMBER-KIND with begin.json, end.json and for each host with TLS the log of its client.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

CLIENT = Path(__file__).resolve().parent / "client.py"
SECONDS = "1800"  # a client whose run does not end, ends by itself; on a busy machine a run takes minutes
RATE = "3"  # requests a second; the scenario failure asks more often
AT_A_TIME = "10"  # requests under way, where a busy machine makes them slow
PATIENCE = 120  # seconds that a client gets to finish its last requests, which have limits of their own


def begin(folder: Path, kind: str, inventory: Path) -> None:
    run = folder / f"{len(runs(folder)) + 1}-{kind}"
    run.mkdir(parents=True)
    (run / "begin.json").write_text(sys.stdin.read())
    content = yaml.safe_load(inventory.read_text())["all"]
    for host in content["children"].get("tls", {}).get("hosts", {}):
        entry = content["hosts"][host]
        end = run / f"{host}.end"
        os.mkfifo(end)
        # Open for both, a pipe has no end before somebody writes a line.
        descriptor = os.open(end, os.O_RDWR)
        with (run / f"{host}.words").open("w") as words:
            client = subprocess.Popen(
                [
                    sys.executable,
                    CLIENT,
                    entry["lab_addresses"][0],
                    entry["lab_name"],
                    run / f"{host}.log",
                    SECONDS,
                    RATE,
                    AT_A_TIME,
                ],
                stdin=descriptor,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        os.close(descriptor)
        (run / f"{host}.pid").write_text(str(client.pid))


def end(folder: Path) -> None:
    run = runs(folder)[-1]
    (run / "end.json").write_text(sys.stdin.read())
    descriptors = {pipe: os.open(pipe, os.O_RDWR) for pipe in run.glob("*.end")}
    for descriptor in descriptors.values():
        os.write(descriptor, b"\n")
    last = time.monotonic() + PATIENCE
    for pipe, descriptor in descriptors.items():
        client = Path("/proc", pipe.with_suffix(".pid").read_text())
        while client.exists() and time.monotonic() < last:
            time.sleep(0.05)
        os.close(descriptor)


def runs(folder: Path) -> list[Path]:
    """The folders of the runs so far, the oldest first."""
    return sorted(folder.glob("[0-9]*-*"), key=lambda path: int(path.name.partition("-")[0]))


if __name__ == "__main__":
    command, place, *others = sys.argv[1:]
    if command == "begin":
        begin(Path(place), others[0], Path(others[1]))
    else:
        end(Path(place))
