# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report: hosts that are given by hand, and the last report, which anybody may have edited."""

from __future__ import annotations

import copy
import functools
import json
import re
import typing as t
from html.parser import HTMLParser
from xml.etree import ElementTree

import jsonschema
import yaml
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.kopano.hardening.plugins.plugin_utils._report import build as _build
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import earlier as _earlier
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import gather as _gather
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import scorecard as _scorecard
from tests.fuzz import values
from tests.fuzz.checks import check_shown
from tests.fuzz.frame import ROOT, target
from tests.unit import report_bed as bed

_SAMPLE = re.compile(r'[a-z_]+(?:\{(?:[a-z0-9_]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? -?[0-9]+|# (?:HELP|TYPE) .*')


class Refused(Exception):
    """The input is not what it has to be, and a message has its place."""


@functools.cache
def _schema() -> t.Any:
    return jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "report.schema.json").read_text()))


class _Page(HTMLParser):
    """Fails for what can only come from a text that was not escaped."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "hurt" and not any(name == "hurt" for name, _value in attrs), (tag, attrs)


def _check(report: _build.Report) -> None:
    """Every format can be read by what reads it."""
    texts = _files.render(report, ["all"])
    _schema().validate(json.loads(texts["report.json"]))
    json.loads(texts["report.sarif"])
    ElementTree.fromstring(texts["junit.xml"])
    _Page().feed(texts["index.html"])
    for line in filter(None, texts["kopano_hardening.prom"].split("\n")):
        assert _SAMPLE.fullmatch(line), line
    for line in _scorecard.lines(report, [], 100):
        check_shown(*(text for text, _colour in line))


def _yaml(hosts: t.Any) -> str:
    return yaml.safe_dump(json.loads(json.dumps(hosts)), allow_unicode=False)


_FLEET = bed.fleet(50)
HOSTS = (
    _yaml({"web1": bed.fine(), "web2": {}}),
    _yaml({name: _FLEET[name] for name in ("mail1.example.com", "mail49.example.com")}),
    _yaml(
        {"web1": {"state": "failed", "failures": [{"message": "x", "step": 2, "role": "certificate"}], "asked": [1]}}
    ),
    _yaml(
        {"web3": {"results": [bed.result("a.test", "B", "tls.protocol.tls10")], "sources": ["caa"], "pending": True}}
    ),
)


@target("report.hosts", seeds=HOSTS, make=values.of_yaml, declared=Refused, seconds=3)
def hosts(case: str) -> None:
    """Hosts are refused with the place of what is wrong, or there is a report on all of them."""
    try:
        given = yaml_load(case)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused from error
    try:
        _gather.check(given)
    except ValueError as error:
        assert str(error).startswith("hosts")
        check_shown(str(error))
        raise Refused from error
    report = bed.build(given)
    assert len(report["hosts"]) == len(given)
    for entry in report["hosts"]:
        check_shown(entry["name"])
    _check(t.cast("_build.Report", report))


_LAST = bed.build({"web1": bed.fine(), "mail1.example.com": _FLEET["mail1.example.com"]})


@target("report.last", seeds=(json.dumps(_LAST),), make=values.of_json, declared=Refused, seconds=3)
def last(case: str) -> None:
    """The last report can be used, with a report that is as valid as without it, or there is a reason why not."""
    try:
        found = _earlier.usable(json.loads(case))
    except (ValueError, RecursionError) as error:
        raise Refused from error
    _check(t.cast("_build.Report", bed.build({"web1": copy.deepcopy(bed.fine())}, t.cast("dict[str, t.Any]", found))))
