# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where tls_grade_info and caa_info run: in the controller's process, or as a module where that is not the same."""

from __future__ import annotations

import pytest

from . import plays
from .ports import free_ports

OTHER = {"vars": {"ansible_python_interpreter": "/usr/bin/python3"}}
# How the task is run, and whether the module is then a process of its own.
WAYS = {
    "here": ({}, False),
    "another interpreter": (OTHER, True),
    "environment": ({"environment": {"SOME": "thing"}}, True),
    "async": ({"async": 60, "poll": 1}, True),
    # Whether that works is not asked here.
    "become": ({"become": True, "become_exe": "/bin/false"}, True),
}
WRONG = [
    ("tls_grade_info", {}, "missing required arguments: endpoints"),
    ("tls_grade_info", {"endpoints": [], "mode": "slow"}, "value of mode must be one of: quick, full, got: slow"),
    ("tls_grade_info", {"endpoints": [], "colour": "red"}, "Unsupported parameters for"),
    ("tls_grade_info", {"endpoints": [], "timeout": 0}, "timeout must be greater than 0"),
    ("tls_grade_info", {"endpoints": [], "ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem: "),
    ("caa_info", {"names": ["a.test"], "timeout": -1}, "timeout: must be above 0 and at most 600 seconds"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All tasks, in one play."""
    # Nothing listens there, so that a test needs no server.
    refusing = {"endpoints": [{"host": "127.0.0.1", "port": free_ports()[0]}], "timeout": 2}
    tasks = {way: ("tls_grade_info", refusing, keywords) for way, (keywords, _is_module) in WAYS.items()}
    tasks |= {words: (module, arguments, {}) for module, arguments, words in WRONG}
    return plays.run(
        tmp_path_factory.mktemp("on_controller"),
        {name: plays.delegated(module, arguments, **keywords) for name, (module, arguments, keywords) in tasks.items()},
        host="web.test",
        connection="ssh",
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_module_runs_here_where_that_is_the_same(done, way):
    answer, (_keywords, is_module) = done[way].result, WAYS[way]
    assert done[way].was_module is is_module
    if way != "become":
        assert [(one["grade"], "refused" in one["error"]) for one in answer["results"]] == [(None, True)]
        assert answer["changed"] is False


def test_both_ways_return_the_same(done):
    answers = [dict(done[way].result) for way in ("here", "another interpreter")]
    for answer in answers:
        (result,) = answer["results"] = [dict(answer["results"][0])]
        # As many as were on their way when the first was refused.
        assert result.pop("connections") > 0
        result.pop("duration_ms")
        answer.pop("invocation", None)
    assert {key: answers[1][key] for key in answers[0]} == answers[0]
    assert set(answers[0]) >= {"changed", "failed", "results", "findings"}


@pytest.mark.parametrize("words", [words for _module, _arguments, words in WRONG])
def test_what_is_wrong_with_an_option_is_reported_as_by_a_module(done, words):
    answer = done[words].result
    assert not done[words].was_module and answer["failed"] is True
    assert answer["msg"].startswith(words)
