# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways in which plays call roles and give them options: each call gets the options that it was given.

The roles, their tasks, their specifications and how they read their options are the real ones. What the actions would
do with a host is written down instead.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

try:
    from ansible.template import trust_as_template as template

    TOKEN = {}
except ImportError:  # before ansible-core 2.19 every text is a template, and omit a variable
    template = str
    TOKEN = {"omit": "__omit_place_holder__0123456789abcdef"}

from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import action as _action
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import query as _query

from . import timing
from .test_role_actions import Host, sharing

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
QUERYING = ("updates", "certificate", "frontend", "caa", "verify")  # in the order of harden.yml
ROLES = (*QUERYING, "report")
SECRET = "c2VjcmV0IG9mIHRoZSB0ZXN0"
# At the end of each role's action: what it was called with.
WRITES = """

def _write(self, options, variables):
    import json, os
    call = {"host": variables["inventory_hostname"], "play": variables.get("ansible_play_name"), "role": self.ROLE,
            "part": self._task.args.get("part"), "options": options, "check_mode": self._task.check_mode,
            "address": self.value(variables, "ansible_host"),
            "server": self.value(variables, "frontend_server", "auto")}
    with open(os.environ["CALLS_OF_TEST"], "a") as log:
        log.write(json.dumps(call) + "\\n")
    return {"msg": ["called"], "failed": call["role"] == "updates" and call["part"] == "check" and options["fail"]}

ActionModule.act = _write
"""


def defaults(role):
    return yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """The collection, whose roles write down what they are called with."""
    top = tmp_path_factory.mktemp("collections")
    collection = top / "ansible_collections" / "kopano" / "hardening"
    collection.mkdir(parents=True)
    for name in ("playbooks", "roles", "meta", "galaxy.yml"):
        (collection / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "plugins", collection / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for role in QUERYING:
        with (collection / "plugins" / "action" / f"{role}.py").open("a") as source:
            source.write(WRITES)
    return top


class Run(t.NamedTuple):
    """A run of ansible-playbook, and what the roles were called with."""

    status: int
    output: str
    calls: list[dict[str, t.Any]]
    folder: Path

    def got(self, role: str, option: str, **where: t.Any) -> list[t.Any]:
        """The values of an option, of each call of a role."""
        return [
            call["options"][option]
            for call in self.calls
            if call["role"] == role and all(call[key] == value for key, value in where.items())
        ]


@pytest.fixture(scope="module")
def play(collections, tmp_path_factory):
    """Runs plays, or a playbook by its name, on hosts that are this machine."""

    def run(plays, hosts, *arguments, roles=None):
        folder = tmp_path_factory.mktemp("run")
        for role, dependencies in (roles or {}).items():
            (folder / "roles" / role / "meta").mkdir(parents=True)
            (folder / "roles" / role / "meta" / "main.yml").write_text(json.dumps({"dependencies": dependencies}))
        here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
        # JSON would hide what !vault is.
        listed = yaml.dump({"all": {"vars": here, "hosts": hosts}}, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        (folder / "inventory.yml").write_text(listed)
        (folder / "password").write_text("of the test")
        book = plays
        if not isinstance(plays, str):
            book = "play.yml"
            (folder / book).write_text(yaml.dump(plays, Dumper=Dumper, sort_keys=False))
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", "-i", "inventory.yml", "--vault-password-file", "password", *arguments, book],
            env={**clean, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "CALLS_OF_TEST": str(folder / "calls")},
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        log = folder / "calls"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return Run(done.returncode, done.stdout + done.stderr, calls, folder)

    return run


class Vaulted(str):
    """A text that is to be in YAML as C(!vault)."""

    __slots__ = ()


class Dumper(yaml.SafeDumper):
    """Writes vaulted texts."""


Dumper.add_representer(Vaulted, lambda dumper, text: dumper.represent_scalar("!vault", str(text), style="|"))


@pytest.fixture(scope="module")
def vaulted(tmp_path_factory):
    """A text as ansible-vault encrypts it for a variable."""
    password = tmp_path_factory.mktemp("vault") / "password"
    password.write_text("of the test")

    def encrypt(text):
        done = subprocess.run(
            [BIN / "ansible-vault", "encrypt", "--vault-password-file", password, "--output", "-"],
            input=text, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return Vaulted(done.stdout)

    return encrypt


# --- omit ------------------------------------------------------------------------------------------------------------


class Action:
    """What reading the options takes of an action."""

    def __init__(self, variables):
        self._loader = DataLoader()
        self._templar = Templar(loader=self._loader, variables=variables)


OMITTED = "{{ nothing_of_this_name | default(omit) }}"


@pytest.mark.parametrize("role", ROLES)
def test_an_option_that_is_omitted_has_its_default(role):
    variables = {**TOKEN, **dict.fromkeys(defaults(role), template(OMITTED))}
    given, errors = _roles_options.read(Action(variables), role, variables)
    assert errors == []
    assert given == _roles_options.read(Action({}), role, {})[0]


def test_a_suboption_that_is_omitted_was_not_given():
    endpoint = {"host": "mail.example.com", "port": template(OMITTED)}
    variables = {**TOKEN, "verify_endpoints": [endpoint, template(OMITTED)]}
    given, errors = _roles_options.read(Action(variables), "verify", variables)
    default, _errors = _roles_options.read(Action({}), "verify", {"verify_endpoints": [{"host": "mail.example.com"}]})
    assert (given, errors) == (default, [])


def test_a_variable_that_is_omitted_has_its_default(play):
    """In a real run, and of variables that an action reads by themselves."""
    host = dict.fromkeys(("ansible_host", "frontend_server", "caa_names", "caa_timeout"), OMITTED)
    tasks = [{"kopano.hardening.caa": {"part": "names"}}]
    run = play([{"hosts": "all", "gather_facts": False, "tasks": tasks}], {"web1": host})
    assert run.status == 0, run.output
    (call,) = run.calls
    assert (call["server"], call["options"]["names"], call["options"]["timeout"]) == ("auto", [], 5)
    assert call["address"] in (None, "web1")  # what ansible-core makes of it


def test_records_are_published_only_where_that_is_not_omitted(play):
    tasks = [{"ansible.builtin.include_role": {"name": "kopano.hardening.caa", "tasks_from": "records"}}]
    run = play([{"hosts": "all", "gather_facts": False, "tasks": tasks}], {"web1": {"caa_publish": OMITTED}})
    assert run.status == 0, run.output
    assert [call["part"] for call in run.calls] == ["lookup", "check"]
    assert "publish.yml" not in run.output


# --- text ------------------------------------------------------------------------------------------------------------

WAIVER = {"id": "caa.none", "host": "old*", "reason": "The zone moves, in January", "until": "2027-01-31"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (yaml.safe_dump([WAIVER]), [WAIVER]),
        (json.dumps([WAIVER, WAIVER]), [WAIVER, WAIVER]),
        ("- {id: caa.none, reason: x}\n- {id: caa.nobody, reason: y}", None),
        ("", []),
        ("\n# nothing is waived\n", []),
        ("id=caa.none reason=x until=2027-01-31", [{"id": "caa.none", "reason": "x", "until": "2027-01-31"}]),
    ],
    ids=["YAML", "JSON", "incomplete", "empty", "comment", "key=value"],
)
def test_a_list_of_mappings_may_be_text(text, expected):
    """As the answer of a survey in AWX is, and what -e NAME=VALUE sets."""
    given, errors = _roles_options.read(Action({}), "report", {"report_waivers": text})
    if expected is None:
        assert errors == ["report_waivers[0].until: is missing"]
    else:
        assert (given["waivers"], errors) == (expected, [])


def test_a_report_in_no_place_is_refused():
    _given, errors = _roles_options.read(Action({}), "report", {"report_path": "a\0b"})
    assert errors == ["report_path: 'a\\x00b' is no path"]


@pytest.mark.parametrize("text", ["- {until: 2027-13-45}", "- 0b_", "[" * 5000])
def test_text_of_what_is_no_value_is_named(text):
    """PyYAML raises other exceptions than its own for these."""
    _given, errors = _roles_options.read(Action({}), "report", {"report_waivers": text})
    (error,) = errors
    assert error.startswith("report_waivers: cannot be read as YAML: ")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("verify_timeout", float("inf"), "inf cannot be read as int: "),
        ("verify_timeout", datetime.date(2024, 1, 1), "datetime.date(2024, 1, 1)"),
        ("frontend_hsts_max_age", float("nan"), "nan"),
        ("verify_endpoints", datetime.date(2024, 1, 1), "datetime.date(2024, 1, 1) cannot be read as list of dict: "),
        ("verify_endpoints", ["no mapping"], "['no mapping'] cannot be read as list of dict: dictionary requested"),
        ("verify_endpoints", [{"host": "a.test", "port": float("inf")}], "inf}] cannot be read as list of dict: "),
        ("verify_endpoints", [{1: 2}], "[{1: 2}] cannot be read as list of dict: "),
        ("frontend_probes", "no mapping", "'no mapping' cannot be read as list of dict: "),
        # Ansible would take hours for one with more digits.
        ("verify_timeout", "1e99999", "verify_timeout: '1e99999' cannot be read as int: it is too large"),
        ("verify_timeout", "1" * 2000, " cannot be read as int: it is too large"),
        ("verify_timeout", "cafe2024", "cannot be converted to an int"),
        (
            "verify_endpoints",
            [{"host": "a.test", "port": "1e99999"}],
            "verify_endpoints.port: '1e99999' cannot",
        ),
        ("verify_endpoints", "host=a.test,port=1E+99999", "verify_endpoints.port: '1E+99999' cannot be read"),
    ],
)
def test_a_value_of_a_type_that_the_option_does_not_take_is_named(name, value, why):
    """In one message, with the option; other options of the role are read all the same."""
    role = name.partition("_")[0]
    given, errors = _roles_options.read(Action({}), role, {**defaults(role), name: value})
    (error,) = errors
    assert name in error and why in error
    assert len(given) >= len(defaults(role)) - 1


@pytest.mark.parametrize("levels", [40, 400, 4000])
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["lists", "mappings"])
def test_a_value_that_is_nested_too_deep_is_named(wrap, levels):
    """Python's recursion ends at a thousand calls, of which Ansible needs two or three for a level."""
    deep = "x"
    for _level in range(levels):
        deep = wrap(deep)
    given, errors = _roles_options.read(Action({}), "verify", {**defaults("verify"), "verify_endpoints": deep})
    assert errors == ["verify_endpoints: it is nested too deep; no option has more than 32 levels"]
    assert len(given) >= len(defaults("verify")) - 1
    assert _roles_options.of_task("verify", {"endpoints": deep})[1] == [
        "endpoints: it is nested too deep; no option has more than 32 levels"
    ]


def test_thousands_of_wrong_items_take_no_quadratic_time():
    """The list became a text once for each of its items."""

    def read(count):
        _given, errors = _roles_options.read(Action({}), "report", {"report_waivers": ["no mapping"] * count})
        assert errors

    assert not timing.is_quadratic(read, 2000)


def test_every_value_of_another_type_is_named():
    _given, errors = _roles_options.read(
        Action({}), "verify", {"verify_timeout": float("inf"), "verify_concurrency": "x", "verify_endpoints": ["y"]}
    )
    assert sorted(error.partition("verify_")[2][:5] for error in errors) == ["concu", "endpo", "timeo"]


def test_text_that_cannot_be_read_is_named():
    _given, errors = _roles_options.read(Action({}), "report", {"report_waivers": "- {id: caa.none,\n  reason"})
    (error,) = errors
    assert error.startswith("report_waivers: cannot be read as YAML: ")
    assert "line 1, column 3" in error and "\n" not in error


def test_each_playbook_takes_a_list_of_mappings_as_text(play):
    """Ansible's own validation of a role would refuse it."""
    host = {
        "verify_endpoints": "[{host: mail.example.com}]",
        "frontend_probes": "[{path: /webapp/}]",
        "report_waivers": yaml.safe_dump([WAIVER]),
    }
    for name in ("audit", "harden"):
        run = play(f"kopano.hardening.{name}", {"web1": host})
        assert run.got("verify", "endpoints") == [[{"host": "mail.example.com"}]], run.output
        assert run.got("frontend", "probes")[0] == [{"path": "/webapp/"}], run.output
        assert "conver" not in run.output, run.output


# --- vault -----------------------------------------------------------------------------------------------------------


def test_single_values_may_be_encrypted(play, vaulted):
    """Those of which nobody is to know, and others: ansible-core before 2.19 has them as no text of Python's own."""
    host = {
        "ansible_host": vaulted("192.0.2.1"),
        "caa_publish": True,
        "caa_publish_server": "127.0.0.1:1",
        "caa_publish_key_name": "key.test",
        "caa_publish_key_secret": vaulted(SECRET),
        "caa_names": [vaulted("mail.example.com")],
        "certificate_acme_eab_hmac_key": vaulted(SECRET),
        "certificate_acme_dns_key_secret": vaulted(SECRET),
        "certificate_key_content": vaulted(SECRET),
        "certificate_chain_content": "a chain",
    }
    roles = [{"ansible.builtin.include_role": {"name": f"kopano.hardening.{role}"}} for role in ("certificate", "caa")]
    run = play([{"hosts": "all", "gather_facts": False, "tasks": roles}], {"web1": host}, "-vvv")
    assert run.status == 0, run.output
    assert SECRET not in run.output
    assert {call["address"] for call in run.calls} == {"192.0.2.1"}
    assert set(run.got("caa", "publish_key_secret", part="names")) == {SECRET}
    assert run.got("caa", "names", part="names") == [["mail.example.com"]]
    for option in ("acme_eab_hmac_key", "acme_dns_key_secret", "key_content"):
        assert set(run.got("certificate", option)) == {SECRET}


def test_an_option_without_a_value_is_named(play, vaulted):
    """In the step that it is for, whichever role reads it first."""
    hosts = {
        "web1": {"verify_minimum_grade": "{{ nobody_has_defined_this }}"},
        "web2": {"caa_publish_key_secret": Vaulted(vaulted(SECRET).replace(";AES256\n", ";AES256\n0", 1))},
        "web3": {},
    }
    tasks = [
        {"kopano.hardening.role_options": {"roles": [*ROLES]}, "ignore_errors": True, "register": "done"},
        {
            "ansible.builtin.debug": {
                "msg": "{{ inventory_hostname }}: {{ done.step | default }} {{ done.msg | default }}"
            }
        },
    ]
    run = play([{"hosts": "all", "gather_facts": False, "tasks": tasks}], hosts)
    printed = " ".join(run.output.split())
    assert "web1: 5 verify_minimum_grade: 'nobody_has_defined_this' is undefined" in printed
    assert "web2: 4 caa_publish_key_secret: " in printed and SECRET not in printed
    assert "web3: " in printed and "web3: 5" not in printed


# --- ways to call a role ---------------------------------------------------------------------------------------------

VERIFY = "kopano.hardening.verify"
INCLUDE, IMPORT = "ansible.builtin.include_role", "ansible.builtin.import_role"


def with_timeout(seconds, call=None):
    """A call of the role verify, by a task or in a list of roles, with an option of its own."""
    if call:
        return {call: {"name": VERIFY}, "vars": {"verify_timeout": seconds}}
    return {"role": VERIFY, "verify_timeout": seconds}


# The play of each way, and the timeouts that the role has in its calls, one after the other.
WAYS = {
    "roles": ({"roles": [with_timeout(3)]}, [3]),
    "imported": ({"tasks": [with_timeout(3, IMPORT)]}, [3]),
    "included": ({"tasks": [with_timeout(3, INCLUDE)]}, [3]),
    "variables of the play": ({"vars": {"verify_timeout": 3}, "roles": [VERIFY]}, [3]),
    "nothing given": ({"roles": [VERIFY]}, [10]),
    "twice": ({"roles": [with_timeout(3), with_timeout(4)]}, [3, 4]),
    "twice by tasks": ({"tasks": [with_timeout(3, IMPORT), with_timeout(4, INCLUDE)]}, [3, 4]),
    "in a loop": ({"tasks": [{**with_timeout("{{ item }}", INCLUDE), "loop": [3, 4]}]}, [3, 4]),
    "as a dependency": ({"roles": ["mail"]}, [3]),
    "one host after the other": ({"serial": 1, "roles": [with_timeout(3)]}, [3]),
    "each host at its own pace": ({"strategy": "free", "roles": [with_timeout(3)]}, [3]),
    "in a block": ({"tasks": [{"block": [with_timeout(3, IMPORT)], "when": "true"}]}, [3]),
    "from a text": ({"roles": [with_timeout("3")]}, [3]),
    "omitted": (
        {"tasks": [{INCLUDE: {"name": VERIFY, "rolespec_validate": False}, "vars": {"verify_timeout": OMITTED}}]},
        [10],
    ),
}
# Names that inventories may have.
NAMES = {"web1": "A", "münchen": "B", "2001:db8::1": "C"}


@pytest.fixture(scope="module")
def called(play):
    """All ways in one run, on hosts with an option of their own."""
    plays = [{"name": name, "hosts": "all", "gather_facts": False, **way} for name, (way, _seconds) in WAYS.items()]
    hosts = {name: {"verify_minimum_grade": grade} for name, grade in NAMES.items()}
    plays.append({"hosts": "all", "gather_facts": False, "roles": ["kopano.hardening.report"]})
    run = play(plays, hosts, "--extra-vars", "report_fail=false", roles={"mail": [with_timeout(3)]})
    assert run.status == 0, run.output
    return run


@pytest.mark.parametrize("host", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_each_call_has_its_own_options_on_each_host(called, way, host):
    where = {"play": way, "host": host}
    for part in ("grade", "check"):
        assert called.got("verify", "timeout", part=part, **where) == WAYS[way][1]
        assert called.got("verify", "minimum_grade", part=part, **where) == [NAMES[host]] * len(WAYS[way][1])


def test_the_report_has_hosts_by_such_names(called):
    folder = called.folder / "kopano-hardening-report"
    assert {host["name"] for host in json.loads((folder / "report.json").read_text())["hosts"]} == set(NAMES)
    for file in ("index.html", "kopano_hardening.prom", "junit.xml"):
        text = (folder / file).read_text()
        assert all(name in text for name in NAMES), file


# --- options from the command line -----------------------------------------------------------------------------------

TYPED = {
    # What key=value gives is text.
    "verify_fail=false": ("verify", "fail", False),
    "verify_timeout=7": ("verify", "timeout", 7),
    "verify_virtual_hosts=no": ("verify", "virtual_hosts", False),
    "caa_names=a.test,b.test": ("caa", "names", ["a.test", "b.test"]),
    "caa_publish=false": ("caa", "publish", False),
    "frontend_hsts_max_age=0": ("frontend", "hsts_max_age", 0),
    "frontend_csp=off": ("frontend", "csp", "off"),
    '{"frontend_rehearse": "off"}': ("frontend", "rehearse", "off"),
    '{"verify_concurrency": 2}': ("verify", "concurrency", 2),
    '{"verify_endpoints": [{"port": "8443"}]}': ("verify", "endpoints", [{"port": 8443}]),
    '{"updates_restart_exclude": ["a", "b"]}': ("updates", "restart_exclude", ["a", "b"]),
    '{"frontend_http_redirect": false}': ("frontend", "http_redirect", False),
}


@pytest.fixture(scope="module")
def audited(play):
    """audit.yml with options from the command line, which are those of all hosts, whatever the inventory has."""
    given = [word for text in TYPED for word in ("--extra-vars", text)]
    hosts = {"web1": {"verify_timeout": 1}, "web2": {}}
    return play("kopano.hardening.audit", hosts, "--extra-vars", "report_fail=false", *given)


@pytest.mark.parametrize("text", TYPED)
def test_options_of_the_command_line_have_their_types(audited, text):
    role, option, value = TYPED[text]
    got = [found for part in ("grade", "names", "inspect") for found in audited.got(role, option, part=part)]
    assert got and all(found == value and type(found) is type(value) for found in got), audited.output
    assert "publish.yml" not in audited.output


def test_an_audit_changes_nothing_whatever_the_command_line_has(play):
    """Its own variables switch off what would, but those of the command line go before them."""
    given = ["caa_publish=true", "updates_apply=all", "frontend_state=absent", "report_fail=false"]
    key = {"caa_publish_server": "127.0.0.1:1", "caa_publish_key_name": "key.test", "caa_publish_key_secret": SECRET}
    run = play("kopano.hardening.audit", {"web1": key}, *(word for text in given for word in ("--extra-vars", text)))
    assert {(call["role"], call["part"]) for call in run.calls} >= {("updates", "inspect"), ("caa", "lookup")}
    assert [call for call in run.calls if not call["check_mode"]] == [], run.output
    # It is the playbook that says so.
    assert [call["check_mode"] for call in play("kopano.hardening.caa", {"web1": {}}).calls] == [False, False]
    assert [call["check_mode"] for call in play("kopano.hardening.caa", {"web1": {}}, "--check").calls] == [True, True]


def test_an_audit_goes_on_with_a_host_that_fails_for_its_updates(play):
    given = ("--extra-vars", "updates_fail=true", "--extra-vars", "report_fail=false")
    run = play("kopano.hardening.audit", {"web1": {}}, *given)
    assert roles_of(run) == ["updates", "frontend", "certificate", "caa", "verify"], run.output


# --- parts of a playbook ---------------------------------------------------------------------------------------------


def roles_of(run):
    return list(dict.fromkeys(call["role"] for call in run.calls))


@pytest.mark.parametrize(
    ("arguments", "roles", "hosts"),
    [
        (["--limit", "web2"], ["updates", "frontend", "certificate", "caa", "verify"], {"web2"}),
        (["--start-at-task", "kopano.hardening.verify : Grade the endpoints"], ["verify", "caa"], {"web1", "web2"}),
        (["--start-at-task", "kopano.hardening.frontend : Inspect the web server"],
         ["frontend", "certificate", "caa", "verify"], {"web1", "web2"}),
        (["--start-at-task", "kopano.hardening.caa : Look up the CAA records of all hosts"], ["caa"],
         {"web1", "web2"}),
    ],
)  # fmt: skip
def test_a_part_of_the_playbook_is_run_with_the_hosts_options(play, arguments, roles, hosts):
    listed = {"web1": {"verify_timeout": 1}, "web2": {"verify_timeout": 2}}
    run = play("kopano.hardening.audit", listed, "--extra-vars", "report_fail=false", *arguments)
    assert roles_of(run) == roles, run.output
    assert {call["host"] for call in run.calls if call["part"] != "lookup"} == hosts
    for host in hosts if "verify" in roles else ():
        assert run.got("verify", "timeout", host=host, part="grade") == [listed[host]["verify_timeout"]]


@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("word", ["tags", "skip_tags"])
@pytest.mark.parametrize("number", range(1, 2 ** len(QUERYING)))
def test_every_choice_of_tags_has_the_host_queried_once_for_what_its_roles_need(number, word, check_mode):
    named = [role for place, role in enumerate(QUERYING) if number >> place & 1]
    roles = named if word == "tags" else [role for role in QUERYING if role not in named]
    chosen = {"ansible_run_tags": named} if word == "tags" else {"ansible_skip_tags": named}
    variables = sharing(ansible_play_role_names=[f"kopano.hardening.{role}" for role in QUERYING], **chosen)
    queries = 0
    for role in roles:
        needed = {*_query.NEEDS[role]} - ({"web_config"} if check_mode else set())
        action = type(role, (Host, _action.RoleAction), {"ROLE": role})({}, check_mode=check_mode)
        host = action.query(variables, *needed)
        assert needed <= set(host), role
        queries += len(action.queried)
        variables = _host_fact.variables_with(variables, host=host, **{role: {}})
    assert queries == (1 if roles else 0)
