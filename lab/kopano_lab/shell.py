# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running programs, with errors that say what was run and what it answered."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

RETRY_SECONDS = 5
T = TypeVar("T")


class LabError(Exception):
    """Something that the user should read, without a traceback."""


def run(
    command: Sequence[str | Path],
    *,
    data: bytes | None = None,
    source: IO[bytes] | None = None,
    timeout: float = 900,
    check: bool = True,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and return what it printed.

    data or the open file source is its standard input (none otherwise), timeout is in seconds, env is added to the
    environment. Raises LabError with the program's own last words when it fails and check is set, or when it takes
    too long.
    """
    words = [str(word) for word in command]
    stdin: dict[str, Any] = {"input": data} if data is not None else {"stdin": source or subprocess.DEVNULL}
    try:
        # The directory is one that every mount namespace has.
        done = subprocess.run(
            words,
            capture_output=True,
            check=False,
            cwd="/",
            env={**os.environ, **(env or {})},
            timeout=timeout,
            **stdin,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed; `make setup` installs it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:.0f} s: {' '.join(words)}") from error
    if check and done.returncode:
        raise LabError(f"exit status {done.returncode}: {' '.join(words)}\n{last_words(done)}")
    return done


def retry(name: str, work: Callable[[], T]) -> T:
    """The result of work, which is repeated once if it fails; the first error is printed.

    For failures that pass: of the network, and of podman, which other sets use at the same time.
    """
    try:
        return work()
    except LabError as error:
        print(f"lab: {name}: {error}\nlab: {name}: retrying", file=sys.stderr, flush=True)
        time.sleep(RETRY_SECONDS)
        return work()


def last_words(done: subprocess.CompletedProcess[bytes], lines: int = 12) -> str:
    """The end of what a program wrote to standard error, or else to standard output."""
    text = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel drops it when the process ends, however that happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
