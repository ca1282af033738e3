# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the actions of roles have in common: options, one query of the host, what is kept; the role frontend's plan."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.kopano.hardening.plugins.action import failure as _failure_action
from ansible_collections.kopano.hardening.plugins.action import frontend as _frontend_action
from ansible_collections.kopano.hardening.plugins.action import verify as _verify_action
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import options as _ansible_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import action as _action
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query

from . import plays, role_frontend
from .conftest import COLLECTIONS

OPTIONS = [
    ({}, None),
    ({"verify_minimum_grade": "A", "updates_apply": "security"}, None),
    ({"verify_minimum_grade": "Z"}, "value of verify_minimum_grade must be one of"),
    ({"updates_apply": "some", "verify_fail": "perhaps"}, "updates_apply"),
    # What the role itself says is there where the role is.
    ({"updates_reboot_window": "no time"}, "updates_reboot_window: 'no time' is not of the form"),
    ({"frontend_keep": 0, "frontend_php": "x"}, "frontend_keep: 0 is less than 1; frontend_php: 'x' is neither"),
    # A variable with the role's prefix may be somebody else's, unless it is almost one of the role's.
    ({"updates_aply": "all"}, "updates_aply is not an option of the role updates; did you mean updates_apply?"),
    ({"verify_minimumgrade": "C"}, "verify_minimumgrade is not an option of the role verify"),
    ({"frontend_hsts_maxage": 5}, "did you mean frontend_hsts_max_age?"),
    ({"frontend_hosts": ["a"], "updates_server": "wsus", "verify_certs": True, "certificate_result": {}}, None),
]
# A host that cannot have what is wanted, and one of others.
DIFFERING = [({"servers": []}, "failed", "error"), ({"managed_by": "ucs"}, "skipped", "skip")]
OLD_FACT = {
    "run": "0123456789abcdef",
    "version": _host_fact.VERSION,
    "verify": {"report": {"lines": ["A+  mail:443"], "bad": []}},
}


def task(module, /, variables=None, **arguments):
    return {f"kopano.hardening.{module}": arguments, "vars": variables or {}}


def info_of(differing):
    return {**role_frontend.host("nginx", "debian"), **differing}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the tasks of all tests return, which one play runs, in check mode."""
    tasks = {
        **{
            ("options", number): task("role_options", variables, roles=["updates", "frontend", "verify"])
            for number, (variables, _words) in enumerate(OPTIONS)
        },
        "no role": task("role_options", roles=["mail"]),
        "mode": task("role_options", {"verify_mode": "slow"}, roles=["verify"]),
        # As a cache of facts has it from an earlier run.
        "old grades": {"ansible.builtin.set_fact": {"kopano_hardening": OLD_FACT, "cacheable": True}},
        "check of old grades": {"kopano.hardening.verify": {"part": "check"}},
    }
    interpreter = f"ansible_python_interpreter={sys.executable}"
    done = plays.run(tmp_path_factory.mktemp("role_actions"), tasks, "--check", "-e", interpreter)
    return {name: one.result for name, one in done.items()}


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_options_of_several_roles(results, number):
    variables, words = OPTIONS[number]
    result = results["options", number]
    assert result["failed"] is bool(words), result
    assert result["changed"] is False
    assert (words or "") in result.get("msg", "")
    step = next((step for role, step in (("verify", 5), ("frontend", 2)) if any(role in name for name in variables)), 1)
    assert result.get("step") == ((1 if "updates_apply" in variables else step) if words else None)
    if "verify_fail" in variables:  # all of them at once
        assert "verify_fail" in result["msg"]


def test_roles_that_there_are_none(results):
    result = results["no role"]
    assert result["failed"] is True and "Got no match for: mail" in result["msg"]


def test_the_message_is_that_of_the_role_itself(tmp_path, results):
    book = tmp_path / "play.yml"
    book.write_text("[{hosts: localhost, gather_facts: false, roles: [kopano.hardening.verify]}]")
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-c", "local", "-i", "localhost,", "-e", "verify_mode=slow",
         book],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert results["mode"]["msg"] == "value of verify_mode must be one of: full, quick, got: slow"
    assert results["mode"]["msg"] in done.stdout


def test_grades_of_another_run_are_no_pass(results):
    assert results["old grades"]["ansible_facts"]["kopano_hardening"]["verify"]
    result = results["check of old grades"]
    assert result["failed"] is True and result["step"] == 5
    assert result["msg"] == "no endpoint of this host was graded in this run"


# --- one host, whose module host_info is played -----------------------------------------------------------------------


class Host:
    """What an action gets of Ansible, with a host that returns this; what it was queried for."""

    def __init__(self, found=None, lost=None, check_mode=False, **task):
        self.found, self.lost, self.queried = found or {}, lost, []
        self._loader = DataLoader()
        self._templar = Templar(loader=self._loader)
        self._task = types.SimpleNamespace(check_mode=check_mode, args=task)

    def _execute_module(self, name, module_args, task_vars):
        assert name == "kopano.hardening.host_info"
        self.queried.append(module_args)
        if self.lost:
            raise self.lost
        return {**{part: {} for part in module_args}, **self.found}


class Frontend(Host, _frontend_action.ActionModule):
    pass


class Verify(Host, _verify_action.ActionModule):
    pass


ROLES = [f"kopano.hardening.{role}" for role in ("updates", "certificate", "frontend", "caa", "verify")]


def sharing(**variables):
    """Variables in a play that began with role_options."""
    return _host_fact.variables_with({"ansible_play_name": "Harden", **variables}, play="Harden")


@pytest.mark.parametrize("play", ["", "Another play"])
def test_what_tasks_of_others_may_have_changed_is_queried_again(play):
    """Between roles in a play of its user's own a virtual host may have been added: it must not be missed."""
    known = {"updates": {"of": "updates"}, "frontend": {"of": "before"}, "web_config": {"digest": "before"}}
    variables = _host_fact.variables_with(
        {"ansible_play_role_names": ROLES, "ansible_play_name": "Mine"}, host=known, **({"play": play} if play else {})
    )
    action = Frontend({"frontend": {"of": "now"}, "web_config": None})
    host = action.query(variables, "frontend")
    assert [set(arguments) for arguments in action.queried] == [{"frontend", "web_config"}]
    assert host == {"updates": {"of": "updates"}, "frontend": {"of": "now"}, "web_config": None}
    dry = Frontend({"frontend": {"of": "now"}}, check_mode=True).query(variables, "frontend")
    assert "web_config" not in dry


def test_a_host_is_queried_once_for_all_roles_that_follow_in_the_play():
    action = Frontend()
    known = action.query(sharing(ansible_play_role_names=ROLES), "frontend")
    frontend = {"server": "auto", "clients": False}
    assert action.queried == [{"frontend": frontend, "certificates": {}, "web_config": True}]
    assert set(known) == {"frontend", "certificates", "web_config"}
    later = _host_fact.variables_with(sharing(ansible_play_role_names=ROLES), host=known)
    assert Verify().query(later, "frontend") == known


@pytest.mark.parametrize(
    ("variables", "check_mode", "queried"),
    [
        ({}, False, {"frontend", "web_config"}),
        ({}, True, {"frontend"}),
        ({"ansible_play_role_names": ["kopano.hardening.verify"]}, False, {"frontend", "web_config"}),
        ({"ansible_play_role_names": ROLES, "ansible_run_tags": ["frontend"]}, False, {"frontend", "web_config"}),
        (
            {"ansible_play_role_names": ROLES, "ansible_skip_tags": ["caa"], "certificate_source": "selfsigned"},
            False,
            {"frontend", "web_config"},
        ),
        # It runs, so it is chosen, whatever its tags are.
        (
            {"ansible_play_role_names": [ROLES[2], ROLES[4], ROLES[0]], "ansible_run_tags": ["updates"]},
            False,
            {"frontend", "updates", "web_config"},
        ),
        # What comes before it in the play has been done, or is not chosen.
        (
            {"ansible_play_role_names": [*ROLES[2:], *ROLES[:2]], "certificate_source": "selfsigned"},
            False,
            {"frontend", "certificates", "updates"},
        ),
    ],
)
def test_what_a_host_is_queried_for(variables, check_mode, queried):
    action = Frontend(check_mode=check_mode)
    action.query(sharing(**variables), "frontend")
    assert [set(arguments) for arguments in action.queried] == [queried]


def test_a_role_that_is_there_twice_looks_ahead_from_its_last_place():
    action = Frontend()
    variables = sharing(ansible_play_role_names=[ROLES[2], ROLES[1], ROLES[2], ROLES[4]])
    action.query(variables, "frontend")
    action.query(variables, "frontend", first=False)
    assert [set(arguments) for arguments in action.queried] == [
        {"frontend", "certificates", "web_config"},
        {"frontend", "web_config"},
    ]


def test_what_is_known_is_not_queried_again():
    action = Frontend(check_mode=True)
    known = {"updates": {"failed": True, "msg": "no"}}
    variables = _host_fact.variables_with(sharing(ansible_play_role_names=[*ROLES[2:], ROLES[0]]), host=known)
    assert action.query(variables, "frontend")["updates"] == known["updates"]
    assert [set(arguments) for arguments in action.queried] == [{"frontend", "certificates"}]


@pytest.mark.parametrize(
    ("host", "reached", "message"),
    [
        ({"lost": AnsibleConnectionFailure("No route to host")}, False, "the host cannot be reached: No route to host"),
        (
            {"lost": AnsibleError("Incorrect sudo password")},
            True,
            "the host could not be queried: Incorrect sudo password",
        ),
        (
            {"found": {"failed": True, "msg": "frontend.server: caddy"}},
            True,
            "the host could not be queried: frontend.server: caddy",
        ),
    ],
)
def test_a_host_that_cannot_be_queried_fails_with_the_reason(host, reached, message):
    with pytest.raises(_action.RoleError) as raised:
        Frontend(**host).query({}, "frontend")
    assert (str(raised.value), raised.value.result) == (message, {"reached": reached, "step": None})


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        ("ca_file: /no.pem: No such file", "certificate_ca_file, a path on the host: /no.pem: No such file"),
        ("ca_content: there is no PEM", "verify_ca_file, a path on the controller: there is no PEM"),
    ],
)
def test_an_option_that_only_the_host_can_refuse_is_named_as_the_role_has_it(refused, message):
    with pytest.raises(_action.RoleError) as raised:
        Frontend(found={"failed": True, "msg": refused}).query({}, "frontend")
    assert (str(raised.value), raised.value.result) == (message, {"step": 5})


def test_a_host_that_is_lost_on_the_way_has_failed(monkeypatch):
    class Lost(_action.RoleAction):
        ROLE = "verify"

        def options(self, _variables):
            return {}

        def act(self, _options, _variables):
            raise AnsibleConnectionFailure("Broken pipe")

    monkeypatch.setattr(_action.ActionBase, "run", lambda *_arguments: {})
    lost = Lost.__new__(Lost)
    lost._task = types.SimpleNamespace(no_log=False)
    result = lost.run(task_vars={})
    assert (result["failed"], result["reached"], result["step"], result["role"]) == (True, False, 5, "verify")
    assert result["msg"] == "the host cannot be reached: Broken pipe"


@pytest.mark.parametrize(
    "before",
    [
        "",
        'Data could not be sent to remote host "192.0.2.1". Make sure this host can be reached over ssh: ',
        "Failed to connect to the host via ssh: ",
    ],
)
def test_the_reason_of_a_lost_connection_is_that_of_ssh_in_one_line(before):
    error = AnsibleConnectionFailure(f"{before}ssh: connect to host 192.0.2.1 port 22:\r\nNo route to host\r\n")
    assert _query.reason(error) == "ssh: connect to host 192.0.2.1 port 22: No route to host"


def test_a_part_that_failed_fails_only_who_needs_it():
    action = Verify({"frontend": {"failed": True, "msg": "it hangs"}, "certificates": {"results": []}})
    host = action.query({"ansible_play_role_names": ROLES}, "certificates")
    assert action.checked(host, "certificates") == {"results": []}
    with pytest.raises(_action.RoleError, match="the web server could not be checked: it hangs"):
        action.checked(host, "frontend")


@pytest.mark.parametrize("number", range(len(DIFFERING)))
def test_what_a_host_cannot_have_is_refused_and_one_of_others_is_left_alone(number):
    differing, word, key = DIFFERING[number]
    message = role_frontend.plan(info_of(differing))[key]
    assert message
    action = Frontend({"frontend": info_of(differing)}, check_mode=True, part="deploy")
    try:
        result = action.act(action.options({}), {})
    except _action.RoleError as error:
        assert word == "failed"
        assert (str(error), error.result["plan"][key]) == (message, message)
    else:
        assert result[word] is True and not result.get("changed")
        assert (result["skip_reason"], result["plan"][key]) == (message, message)
        assert result["outcome"] == [f"skipped: {message}"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_no_server_is_installed_where_its_packages_are_not_known(check_mode):
    system = {"family": None, "pretty_name": "Arch Linux", "ipv6": True}
    found = {"frontend": info_of({"servers": [], "os": system}), "web_config": None}
    action = Frontend(found, check_mode=check_mode, part="deploy")
    variables = {"frontend_server_names": ["mail.example.com"]}
    with pytest.raises(_action.RoleError, match=r"^Arch Linux is not supported; .*Debian.*Red Hat.*SUSE"):
        action.act(action.options(variables), variables)


# The role's own templates by Ansible's own lookup, in a process of its own: Ansible sets up its plugins once only.
RENDER = """
import json, sys, types
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
init_plugin_loader([sys.argv[1]])
sys.path.insert(0, sys.argv[2])
from tests.unit import role_frontend
from ansible_collections.kopano.hardening.plugins.action import frontend

class Action(frontend.ActionModule):
    def __init__(self):
        self._loader = DataLoader()
        self._loader.set_basedir(str(role_frontend.ROLE))
        self._templar = Templar(loader=self._loader)
        self._task = types.SimpleNamespace(check_mode=True, args={"part": "deploy"})
        self._task.copy = lambda: types.SimpleNamespace()
        self._connection = self._play_context = self._shared_loader_obj = None
        secure = role_frontend.vhost(sys.argv[3], names=["a.test"], certificate=sys.argv[4], key=sys.argv[4])
        self.info = {**role_frontend.host(sys.argv[3], "debian"), "vhosts": [secure]}

    def _execute_module(self, *_arguments, **_keywords):
        return {"frontend": self.info}

frontend.WebConfig.__mro__[1].run = lambda *_arguments, **_keywords: {}
frontend.WebConfigOnce._transaction = lambda _self, arguments, _variables: print(json.dumps(arguments)) or {}
action = Action()
options = action.options({"frontend_mode": "site", "frontend_server_names": ["a.test"]})
result = action.act(options, {"ansible_managed": "", "ansible_search_path": [str(role_frontend.ROLE)]})
assert not result.get("failed"), result
"""


@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_text_of_a_host_is_no_template(server):
    """It would be evaluated on the controller, with ansible-core before 2.19."""
    text = "/etc/{{ 6 * 7 }}.pem"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", RENDER, COLLECTIONS, root, server, text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    contents = [file["content"] for file in json.loads(done.stdout)["files"] if file.get("state") != "absent"]
    assert any(text in content for content in contents)
    assert not any("/etc/42.pem" in content for content in contents)


def test_a_part_that_there_is_none_is_refused():
    action = Frontend(part="guess")
    with pytest.raises(_action.RoleError, match="part: 'guess' is none of inspect, deploy"):
        action.act(action.options({}), {})


def test_the_first_role_refuses_options_of_those_that_follow():
    variables = {"ansible_play_role_names": ROLES, "verify_mode": "slow", "caa_timeout": 0, "updates_apply": "some"}
    with pytest.raises(_action.RoleError) as raised:
        Frontend().options(variables)
    assert str(raised.value) == (
        "caa_timeout: 0 is less than 1; value of verify_mode must be one of: full, quick, got: slow"
    )
    assert raised.value.result == {"role": "caa", "step": 4}
    # Those that were checked already are not checked again.
    with pytest.raises(_action.RoleError, match=r"^value of verify_mode"):
        Verify().options(_host_fact.variables_with(variables))


# --- what a playbook records -----------------------------------------------------------------------------------------


def recorded(result, **options):
    action = _failure_action.ActionModule.__new__(_failure_action.ActionModule)
    action._templar = Templar(loader=DataLoader())
    variables = {"ansible_failed_result": result, "ansible_failed_task": {"name": "Deploy the TLS policy"}}
    kept = action._record({"step": 2, **options}, variables)["ansible_facts"]["kopano_hardening"]
    return kept["failures"], kept.get("unreachable")


@pytest.mark.parametrize(
    ("result", "failure", "unreachable"),
    [
        ({"msg": "port 443 is taken"}, (2, "port 443 is taken"), None),
        ({"msg": "c; e", "step": 4}, (4, "c; e"), None),
        ({"msg": "no order", "step": 5, "role": "certificate"}, (5, "no order", "certificate"), None),
        ({}, (2, "it failed"), None),
        (
            {"msg": "Task failed: the host cannot be reached: no route", "reached": False},
            (2, "the host cannot be reached: no route"),
            "no route",
        ),
    ],
)
def test_what_failed_is_kept_for_the_report(result, failure, unreachable):
    step, message, *role = failure
    failures = [{"role": [*role, None][0], "step": step, "message": f"Deploy the TLS policy: {message}"}]
    assert recorded(result) == (failures, unreachable)


def test_the_reason_of_a_transaction_comes_before_what_it_came_to():
    """A line is cut off at its end."""
    (failure,), _unreachable = recorded({"msg": "rehearse failed, nothing was changed: it is broken: /a:1: no"})
    assert failure["message"] == "it is broken: /a:1: no (Deploy the TLS policy: rehearse failed, nothing was changed)"


# --- tags ------------------------------------------------------------------------------------------------------------

TAGS = [
    (["all"], [], ["updates", "caa"]),
    (["updates"], [], ["updates"]),
    (["updates", "verify"], [], ["updates"]),
    (["all"], ["caa", "verify"], ["updates"]),
    (["caa"], ["caa"], []),
    (["tagged"], [], ["updates", "caa"]),
    (["untagged"], [], []),
    (["all"], ["tagged"], []),
    (["all"], ["all"], []),
]
# Ansible is loaded once, for a process for each of the runs.
RUNS = """
import json, os, sys
from ansible.cli.playbook import main
for number, options in enumerate(json.loads(sys.argv[1])):
    print(f"RUN {number}:", flush=True)
    child = os.fork()
    if not child:
        main(["ansible-playbook", *options])
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def run_by_tags(tmp_path_factory):
    """What ansible-playbook prints with the tags of each test."""
    folder = tmp_path_factory.mktemp("tags")
    tasks = [{"name": f"It runs: {tag}", "ansible.builtin.debug": {"msg": f"runs {tag}"}, "tags": [tag]}
             for tag in ("updates", "caa")]  # fmt: skip
    book = folder / "play.yml"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    options = []
    for run, skip, _chosen in TAGS:
        skipped = ["--skip-tags", ",".join(skip)] if skip else []
        options.append(["-c", "local", "-i", "localhost,", "--tags", ",".join(run), *skipped, str(book)])
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(options)],
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    printed = re.split(r"(?m)^RUN \d+:$", done.stdout)[1:]
    assert done.returncode == 0 and all("PLAY RECAP" in text or "PLAY [" in text for text in printed), done
    return printed


@pytest.mark.parametrize("number", range(len(TAGS)))
def test_the_chosen_tags_are_those_whose_tasks_ansible_runs(run_by_tags, number):
    run, skip, chosen = TAGS[number]
    assert _ansible_options.chosen_tags(["updates", "caa"], run, skip) == chosen
    assert [tag for tag in ("updates", "caa") if f"runs {tag}" in run_by_tags[number]] == chosen, run_by_tags[number]
