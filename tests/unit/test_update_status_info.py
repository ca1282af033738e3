# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module update_status_info: its options, what it returns, and what it needs for that."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import pytest
import yaml

from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._updates import status as _status
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host
from ansible_collections.kopano.hardening.plugins.modules import update_status_info


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-25", "2026-11-25T00:00:00+00:00"),
        ("2026-11-25T10:30:00Z", "2026-11-25T10:30:00+00:00"),
        ("2026-11-25t10:30:00.25+02:00", "2026-11-25T10:30:00+02:00"),
    ],
)
def test_times(text, moment):
    assert _status.moment(text).isoformat() == moment


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", "2026-11-25T10:30:00", "2026-11-25 25:00:00Z"])
def test_times_that_are_none(text):
    with pytest.raises(ValueError, match=f"now: '{text}'"):
        _status.moment(text)


OURS = {"dates": {"ours": "2026-10-01"}, "releases": {"ucs": {"5.2": {"full": {"ours": "2028-03-31"}}}}}


def test_own_data_come_before_the_collections():
    data = _status.support_data(
        {"dates": OURS["dates"], "releases": {**OURS["releases"], "debian": {"12": {"full": {"ours": "2026-01-01"}}}}}
    )
    assert data.releases["ucs"]["5.2"] == {"full": {"ours": "2028-03-31"}}
    assert data.releases["debian"]["12"] == {"full": {"ours": "2026-01-01"}}
    assert data.releases["debian"]["13"]["lts"]
    assert _status.support_data({}).releases["debian"]["12"]["lts"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"releases": {"ucs": {"5.2": {"full": {"ours": "2028-03-31"}}}}}, "no date for the data of 'ours'"),
        ({**OURS, "releases": {"ucs": {"5.2": {"full": {"ours": "soon"}}}}}, "soon"),
        ({**OURS, "releases": {"ucs": {"5.2": {"support": {"ours": "2028-03-31"}}}}}, "other keys"),
        ({"dates": {"ours": "never"}}, "never"),
        ({"releases": []}, "shape"),
        ({"releases": {"ucs": {"5.2": {"full": "2028-03-31"}}}}, "shape"),
    ],
)
def test_own_data_that_are_none(given, words):
    with pytest.raises(ValueError, match=f"support_data: .*{words}"):
        _status.support_data(given)


def test_every_option_is_documented():
    documented = yaml.safe_load(update_status_info.DOCUMENTATION)["options"]
    assert set(documented) == set(_host_options.UPDATES)
    for name, entry in _host_options.UPDATES.items():
        assert (documented[name]["type"], documented[name].get("default")) == (entry["type"], entry.get("default"))


def shape(documented):
    """What RETURN says is returned: names to the names in them."""
    return {name: shape(entry["contains"]) if "contains" in entry else None for name, entry in documented.items()}


def fits(value, documented):
    if documented is None:
        return
    for entry in value if isinstance(value, list) else [value]:
        assert set(entry) == set(documented)
        for name in entry:
            fits(entry[name], documented[name])


@pytest.fixture(scope="module")
def answer():
    """What is said of the machine that the tests run on, whatever it is."""
    plain = {name: entry.get("default") for name, entry in _host_options.UPDATES.items()}
    return _status.run(plain, check_mode=True)


def test_the_documentation_lists_what_is_returned(answer):
    fits(answer, shape(yaml.safe_load(update_status_info.RETURN)))


def test_findings_are_of_step_1(answer):
    assert {finding["step"] for finding in answer["findings"]} <= {1}
    assert {finding["severity"] for finding in answer["findings"]} <= {"fail", "warn", "info", "unknown"}


def test_a_host_that_nothing_is_known_of(tmp_path):
    host = Host(str(tmp_path), environment={"PATH": str(tmp_path)})
    (tmp_path / "proc" / "self" / "ns").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "ns" / "pid").symlink_to("pid:[1]")
    plain = {name: entry.get("default") for name, entry in _host_options.UPDATES.items()}
    answer = _status.run(plain, check_mode=True, host=host)
    assert answer["support"]["level"] == "unknown"
    assert answer["updates"]["pending"] is None and answer["updates"]["security"] is None
    assert answer["metadata"]["stale"] is None
    assert answer["automatic"]["enabled"] is None
    assert {"support.unknown", "updates.manager.none"} <= {finding["id"] for finding in answer["findings"]}
    fits(answer, shape(yaml.safe_load(update_status_info.RETURN)))


@pytest.mark.parametrize(("clock", "is_soon"), [("21:30:00-02:00", False), ("23:30:00-02:00", True)])
def test_findings_about_support_are_of_the_date_in_utc(tmp_path, clock, is_soon):
    """As its level is, which the dates of support are compared with."""
    host = Host(str(tmp_path), environment={"PATH": str(tmp_path)})
    (tmp_path / "proc" / "self" / "ns").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "ns" / "pid").symlink_to("pid:[1]")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text("ID=debian\nVERSION_ID=11\n")
    plain = {name: entry.get("default") for name, entry in _host_options.UPDATES.items()}
    before = datetime.date(2026, 8, 31) - datetime.timedelta(days=_support.SOON_DAYS + 1)
    answer = _status.run({**plain, "now": f"{before}T{clock}"}, check_mode=True, host=host)
    assert answer["support"]["until"] == "2026-08-31"
    assert ("support.soon" in {finding["id"] for finding in answer["findings"]}) is is_soon


def test_an_age_that_is_none():
    with pytest.raises(ValueError, match="max_metadata_age: 0"):
        _status.run({"now": None, "support_data": {}, "max_metadata_age": 0, "refresh": False}, check_mode=True)


def test_what_a_host_does_not_have_is_not_imported():
    package = "ansible_collections.kopano.hardening.plugins.module_utils"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {package}._updates.status; print(*sys.modules)"],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    imported = {name.removeprefix(f"{package}.") for name in done.stdout.split()}
    assert "_updates.managers" in imported
    assert not imported & {"_updates.apt", "_updates.dnf", "_updates.zypper"}
