# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apache configurations: what Apache accepts is read as Apache reads it, and edited so that it still accepts it."""

from __future__ import annotations

import random
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, ConfigError
from tests.fuzz import apache_grammar, configurations, edits, servers
from tests.fuzz.configurations import Case
from tests.fuzz.frame import target

# What has done its work when it was read: Apache does not keep it.
READ_AT_ONCE = (
    "include", "includeoptional", "define", "undefine", "loadmodule", "loadfile", "serverroot", "macro", "use",
    "undefmacro", "ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective", "ifsection",
)  # fmt: skip


SEEDS = tuple(apache_grammar.whole(random.Random(number)) for number in range(6))


def _rewritten(case: Case, name: str) -> tuple[str, Layout, edits.Policy]:
    folder = configurations.write(configurations.with_certificate(case), name)
    return folder, edits.layout_in("apache", folder), edits.policy_in("apache", folder)


_make_damaged = configurations.maker(apache_grammar.whole, 0.7)


@target("apache.config", seeds=SEEDS, make=_make_damaged, declared=ConfigError)
def config(case: Case) -> None:
    """Any files are read or refused."""
    _folder, layout, _policy = _rewritten(case, "apache.config")
    edits.check_places(_apache.load(layout))


# Reads a configuration nine times.
@target("apache.edit", seeds=SEEDS, make=_make_damaged, declared=(ConfigError, edits.Unedited), seconds=5.0, unit=60)
def edit(case: Case) -> None:
    """What is read can be edited, and the edit undone."""
    _folder, layout, policy = _rewritten(case, "apache.edit")
    edits.check_edit(lambda: _apache.load(layout), layout, policy, case["disable"])


class Kept(t.NamedTuple):
    """A directive as Apache has kept it, or as it was read. C(line) is the one on which it ends."""

    file: str
    line: int
    name: str
    words: list[str]


def _kept_by_apache(output: str, reader: _apache._Reader) -> list[Kept]:
    """The directives in the output of -D DUMP_CONFIG, without those that macros have brought."""
    found = []
    file, line = "", 0
    for text in output.split("\n"):
        place = re.fullmatch(r"# In file: (.*)", text)
        number = re.fullmatch(r" *# +(\d+):", text)
        if place:
            file = place.group(1)
        elif number:
            line = int(number.group(1))
        elif line:
            text = text.lstrip(" ")
            if text.startswith("<"):
                text = text[1 : text.rfind(">")]
            name, *words = reader.words(text)
            if not file.startswith("macro "):
                found.append(Kept(file, line, name.lower(), words))
            line = 0
    return found


def _kept_by_us(config: Config) -> list[Kept]:
    found = []
    for item in _webserver_model.walk(config.root):
        if item.key not in READ_AT_ONCE:
            end = item.end if item.body_start is None else item.body_start
            found.append(Kept(item.file, config.files[item.file].count("\n", 0, end) + 1, item.key, item.args))
    return found


def _check_agreement(config: Config, layout: Layout, output: str) -> None:
    """What was read is what Apache has read."""
    reader = _apache._Reader(_webserver_model.Config("apache", config.source), layout, ())
    ours, theirs = _kept_by_us(config), _kept_by_apache(output, reader)
    if "# In file: macro " in output:  # what a macro includes is not read either
        assert not [kept for kept in ours if kept not in theirs]
    else:
        for mine, its in zip(ours, theirs, strict=False):
            assert mine == its, (mine, its)
        assert len(ours) == len(theirs), (ours[len(theirs) :], theirs[len(ours) :])
    assert config.modules == frozenset(_apache.parse_module_dump(output)) - {"info"}
    judged = _apache.load(layout, vhost_dump=output)
    # One that comes from a macro, and is therefore not read, can be the first at its address.
    whole = not any(vhost.file.startswith("macro ") for vhost in judged.vhosts)
    hosts, listed = _hosts(config, whole), _hosts(judged, whole)
    assert hosts == listed, sorted({*hosts} ^ {*listed})


_ADDRESS = re.compile(r"\*|[0-9.]+|\[.*\]")


def _hosts(config: Config, whole: bool) -> list[tuple[t.Any, ...]]:
    """The virtual hosts, each at each of its addresses once, though Apache repeats some."""
    found: dict[tuple[t.Any, ...], bool] = {}
    for vhost in config.vhosts:
        if vhost.block and _ADDRESS.fullmatch(vhost.address):  # Apache leaves out what it cannot resolve
            # Without a name of its own one has that of its address, which takes a name server.
            named = any(True for _item in _webserver_model.direct(vhost.block.children or (), "servername"))
            place = (vhost.file, vhost.line, vhost.address, vhost.port or 0)
            # Apache lists aliases with a wildcard behind the others.
            aliases = sorted(vhost.names[1:], key=lambda name: "*" in name or "?" in name)
            names = (*vhost.names[:1][not named :], *aliases)
            host = (*place, names, bool(vhost.tls))
            found[host] = found.get(host, False) or (whole and vhost.default)
    return sorted((*host, default) for host, default in found.items())


@target(
    "apache.server",
    seeds=SEEDS,
    make=configurations.maker(apache_grammar.whole, 0.25),
    declared=(ConfigError, edits.Unedited),
    seconds=3.0,
    mebibytes=256,
    unit=30,
    missing=lambda: servers.missing("apache"),
)
def server(case: Case) -> None:
    """Apache itself decides what is right."""
    folder, layout, policy = _rewritten(case, "apache.server")

    def compared(found: Config, output: str) -> Config:
        _check_agreement(found, layout, output)
        return _apache.as_dumped(found, layout, output)  # in a run, virtual hosts are those that Apache lists

    edits.check_with_server(lambda: servers.apache(folder), compared, layout, policy, case["disable"])
