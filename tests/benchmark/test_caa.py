# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long it takes to find out who may issue for names, beside a shell loop with dig and lookups in a playbook.

All ask the same resolver, which validates, of the same signed zones, on loopback and on port 53, since the lookup knows
no other. The two others are made to climb to the parents' records, which neither does by itself. Each figure is the
best of some turns, which all take in turns; the table is printed at the end.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.modules import caa_info
from tests.unit import caa_bed

dns_asyncquery = pytest.importorskip("dns.asyncquery", reason="dnspython is not installed")

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOK = Path(__file__).resolve().parent / "playbooks" / "caa.yml"
MODULE = "ansible_collections.kopano.hardening.plugins.modules.caa_info"
SIZES = (1, 50, 200)
TURNS = 3
# What the project has promised for 500 names.
SECONDS = 3.0
# A name is asked for at the resolver and at its zone's server; besides, the zones and their servers are asked for.
QUESTIONS_PER_NAME, QUESTIONS_BESIDES = 2, 12
ISSUER = "letsencrypt.org"
OWN, ALIAS = 3, 7  # of ten names one has records of its own, and one is an alias of a name that has
ZONES = {
    "kopano.test.": f'@ CAA 0 issue "{ISSUER}"\n@ CAA 0 iodef "mailto:dns@kopano.test"\n'
    + "".join(
        f"h{number} "
        + {OWN: 'CAA 0 issue "digicert.com"', ALIAS: "CNAME host.other.test."}.get(number % 10, "A 127.0.0.1")
        + "\n"
        for number in range(max(SIZES))
    ),
    "other.test.": 'host CAA 0 issue "sectigo.com"\n',
    "bogus.test.": f'@ CAA 0 issue "{ISSUER}"\n',
    "split.test.": f'@ CAA 0 issue "{ISSUER}"\n@ NS ns2\nns2 A {caa_bed.SECOND}\n',
}
SECOND_ZONES = {"split.test.": '@ CAA 0 issue "digicert.com"\n'}
# The server is its argument; names come in, records with their names go out.
CLIMB = """
while read -r name; do
    place=$name
    while :; do
        records=$(dig +short "@$1" "$place" CAA | grep '"')
        [ -n "$records" ] && break
        case $place in *.*) place=${place#*.} ;; *) break ;; esac
    done
    printf '%s\\n' "$records" | sed "s/^/$name /"
done
"""
Records = dict[str, list[tuple[int, str, str]]]
TABLE: list[tuple[str, ...]] = [("names", "way", "seconds", "computing", "questions")]


@pytest.fixture(scope="module", autouse=True)
def table(pytestconfig):
    yield
    widths = [max(len(row[column]) for row in TABLE) for column in range(len(TABLE[0]))]
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for row in TABLE:
            print(
                "\n| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |", end=""
            )


@pytest.fixture(scope="module", autouse=True)
def bed(tmp_path_factory):
    reason = caa_bed.missing()
    if reason:
        pytest.skip(reason)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.bind((caa_bed.RESOLVER, 53))
    except OSError as error:
        pytest.skip(f"port 53 of {caa_bed.RESOLVER} cannot be had: {error}")
    assert _lookup.AUTHORITY_PORT == 53
    with caa_bed.bed(tmp_path_factory.mktemp("bed"), ZONES, SECOND_ZONES, 53) as started:
        yield started


def names_of(size: int) -> list[str]:
    return [f"h{number}.kopano.test" for number in range(size)]


def right(names: list[str]) -> Records:
    """What the zones say."""
    kinds: dict[int, list[tuple[int, str, str]]] = {
        OWN: [(0, "issue", "digicert.com")],
        ALIAS: [(0, "issue", "sectigo.com")],
    }
    climbed = [(0, "iodef", "mailto:dns@kopano.test"), (0, "issue", ISSUER)]
    return {name: kinds.get(int(name[1:].partition(".")[0]) % 10, climbed) for name in names}


def tuples(records: list[dict]) -> list[tuple[int, str, str]]:
    return sorted((record["flags"], record["tag"], record["value"]) for record in records)


def options(names: list[str]) -> dict:
    return {"names": names, "nameservers": [caa_bed.RESOLVER], "issuer": ISSUER}


class Timed:
    """Wall and processor seconds of a block, those of the processes that it has waited for included."""

    def __enter__(self) -> Timed:
        self._began, self._used = time.monotonic(), self._computing()
        return self

    def __exit__(self, *_error: object) -> None:
        self.figures = (time.monotonic() - self._began, self._computing() - self._used)

    @staticmethod
    def _computing() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)


def call(names: list[str]) -> tuple[Records, tuple[float, float]]:
    defaults = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    with Timed() as timed:
        answer = caa_info.run({**defaults, **options(names)})
    return {entry["name"]: tuples(entry["records"]) for entry in answer["results"]}, timed.figures


def process(names: list[str]) -> tuple[Records, tuple[float, float]]:
    with Timed() as timed:
        done = subprocess.run(
            [sys.executable, "-m", MODULE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {**options(names), "_ansible_remote_tmp": "/tmp"}}).encode(),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            check=True,
        )
    results = json.loads(done.stdout)["results"]
    return {entry["name"]: tuples(entry["records"]) for entry in results}, timed.figures


def dig(names: list[str]) -> tuple[Records, tuple[float, float]]:
    with Timed() as timed:
        done = subprocess.run(
            ["sh", "-c", CLIMB, "sh", caa_bed.RESOLVER],
            input="\n".join([*names, ""]),
            capture_output=True,
            text=True,
            check=True,
        )
    found: Records = {name: [] for name in names}
    for line in done.stdout.splitlines():
        name, *record = line.split(" ", 3)
        if record[0]:
            found[name].append((int(record[0]), record[1], record[2].strip('"')))
    return {name: sorted(records) for name, records in found.items()}, timed.figures


def play(names: list[str], way: str, folder: Path) -> tuple[int, dict, float]:
    """The playbook with this way only: its status, and what came of the way's task after so many seconds.

    They begin with the end of the task before, as a plugin is loaded before its task begins.
    """
    (folder / "names.json").write_text(json.dumps({"names": names, "resolver": caa_bed.RESOLVER}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", "--tags", way,
         "-e", f"@{folder / 'names.json'}", PLAYBOOK],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
             "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False,
    )  # fmt: skip
    tasks = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]
    began, ended = (datetime.datetime.fromisoformat(entry["task"]["duration"]["end"]) for entry in tasks)
    return done.returncode, tasks[1]["hosts"]["localhost"], (ended - began).total_seconds()


def task(names: list[str], folder: Path) -> tuple[Records, tuple[float]]:
    status, result, seconds = play(names, "call", folder)
    assert status == 0, result
    return {entry["name"]: tuples(entry["records"]) for entry in result["results"]}, (seconds,)


def lookup(names: list[str], folder: Path) -> tuple[Records, tuple[float]]:
    status, result, seconds = play(names, "lookup", folder)
    assert status == 0, result
    return {entry["item"]: tuples(entry["ansible_facts"]["records"]) for entry in result["results"]}, (seconds,)


@pytest.mark.parametrize("size", SIZES)
def test_names(size, tmp_path, monkeypatch):
    names = names_of(size)
    asked: list[tuple[str, ...]] = []
    expected = right(names)
    ask = _lookup.Client._send

    async def counted(self, server, query, seconds):
        asked.append((server.address, query.question[0].to_text()))
        return await ask(self, server, query, seconds)

    with monkeypatch.context() as patch:
        patch.setattr(_lookup.Client, "_send", counted)
        assert call(names)[0] == expected
    ways = {
        "call": call,
        "process": process,
        "task": functools.partial(task, folder=tmp_path),
        "dig": dig,
        "lookup": functools.partial(lookup, folder=tmp_path),
    }
    if not shutil.which("dig"):
        del ways["dig"]
    figures: dict[str, list[tuple[float, ...]]] = {}
    for _turn in range(TURNS):
        for way, find in ways.items():
            found, spent = find(names)
            assert found == expected, way
            figures.setdefault(way, []).append(spent)
    best = {way: [min(column) for column in zip(*turns, strict=True)] for way, turns in figures.items()}
    own = sum(records != expected[names[0]] for records in expected.values())
    # Who climbs step by step asks for the parent again and again.
    steps = own + 2 * (size - own)
    for way, questions in {"call": len(asked), "process": 0, "task": 0, "dig": steps, "lookup": steps}.items():
        spent = [f"{seconds:.3f} s" for seconds in best.get(way, [])] or ["not installed here"]
        TABLE.append((str(size), way, spent[0], "".join(spent[1:]), str(questions or "")))
    assert len(asked) == len(set(asked))
    # Which zone records of its own are in is one question more.
    assert len(asked) <= QUESTIONS_PER_NAME * size + own + QUESTIONS_BESIDES
    assert best["process"][0] <= SECONDS
    if size > 1:
        assert best["process"][0] < best.get("dig", [SECONDS])[0]
        assert best["task"][0] < best["lookup"][0]


def test_what_is_no_response_is_taken_for(tmp_path):
    """Data that fail validation, and name servers that disagree: what a CA does not issue for."""
    defaults = {name: spec.get("default") for name, spec in caa_info.ARGUMENTS.items()}
    results = caa_info.run({**defaults, **options(["bogus.test", "split.test"])})["results"]
    assert [entry["verdict"] for entry in results] == ["forbidden", "forbidden"]
    assert results[0]["dnssec"] == "bogus" and results[0]["error"]
    if shutil.which("dig"):
        found, _figures = dig(["bogus.test", "split.test"])
        # No restriction at all, and the answer of one server.
        assert found["bogus.test"] == [] and len(found["split.test"]) == 1
    # The play ends.
    status, result, _seconds = play(["bogus.test"], "lookup", tmp_path)
    assert status != 0 and "SERVFAIL" in json.dumps(result), result
