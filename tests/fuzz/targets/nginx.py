# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx configurations: what nginx accepts is read as nginx reads it, and edited so that it still accepts it."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, ConfigError
from tests.fuzz import configurations, edits, nginx_grammar, servers
from tests.fuzz.configurations import Case
from tests.fuzz.frame import target

SEEDS = tuple(nginx_grammar.whole(random.Random(number)) for number in range(6))
_make_damaged = configurations.maker(nginx_grammar.whole, 0.7)


def _rewritten(case: Case, name: str) -> tuple[str, Layout, edits.Policy]:
    _nginx._statements.cache_clear()  # a case is what a process of its own would read
    folder = configurations.write(configurations.with_certificate(case), name)
    return folder, edits.layout_in("nginx", folder), edits.policy_in("nginx", folder)


@target("nginx.config", seeds=SEEDS, make=_make_damaged, declared=ConfigError)
def config(case: Case) -> None:
    """Any files are read or refused."""
    _folder, layout, _policy = _rewritten(case, "nginx.config")
    edits.check_places(_nginx.load(layout))


# Reads a configuration nine times.
@target("nginx.edit", seeds=SEEDS, make=_make_damaged, declared=(ConfigError, edits.Unedited), seconds=5.0, unit=60)
def edit(case: Case) -> None:
    """What is read can be edited, and the edit undone."""
    _folder, layout, policy = _rewritten(case, "nginx.edit")
    edits.check_edit(lambda: _nginx.load(layout), layout, policy, case["disable"])


def _listed(config: Config) -> list[tuple[t.Any, ...]]:
    return [(v.file, v.line, v.names, v.address, v.port, v.tls, v.default, v.certificate, v.key) for v in config.vhosts]


def _check_agreement(config: Config, layout: Layout, dump: str) -> None:
    """The files are those that nginx has read, and have the same virtual hosts."""
    dumped = _nginx.load(layout, dump=dump)
    assert dumped.files == config.files, (list(dumped.files), list(config.files))
    assert _listed(dumped) == _listed(config)


def _expected(case: Case, folder: str) -> list[tuple[t.Any, ...]]:
    """The virtual hosts that were written: names, address, port, whether TLS."""
    found = []
    for names, listens in case["servers"] or ():
        for address, *words in listens or [["80"]]:
            host, colon, port = address.rpartition(":")
            if address.startswith("unix:"):
                host, port = address.replace("@ROOT@", folder), "0"
            elif not colon:
                host, port = ("*", address) if address.isdigit() else (address, "80")
            host = {"0.0.0.0": "*", "[2001:DB8:0::1]": "[2001:db8::1]"}.get(host, host)
            found.append((names, host, int(port), "ssl" in words))
    return found


@target(
    "nginx.server",
    seeds=SEEDS,
    make=configurations.maker(nginx_grammar.whole, 0.25),
    declared=(ConfigError, edits.Unedited),
    seconds=3.0,
    mebibytes=256,
    unit=30,
    missing=lambda: servers.missing("nginx"),
)
def server(case: Case) -> None:
    """nginx itself decides what is right."""
    folder, layout, policy = _rewritten(case, "nginx.server")

    def compared(found: Config, output: str) -> Config:
        _check_agreement(found, layout, output)
        return found

    accepted = edits.check_with_server(lambda: servers.nginx(folder), compared, layout, policy, case["disable"])
    if accepted and case["servers"] is not None:
        found = sorted((v.names, v.address, v.port or 0, v.tls) for v in _nginx.load(layout).vhosts)
        written = sorted(_expected(case, folder))
        assert found == written, [pair for pair in zip(found, written, strict=False) if pair[0] != pair[1]]
