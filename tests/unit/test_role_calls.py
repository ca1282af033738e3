# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways in which plays call roles and give them options: each call gets the options that it was given.

The roles, their tasks, their specifications and how they read their options are the real ones. What the actions would
do with a host is written down instead.
"""

from __future__ import annotations

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

from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import options as _roles_options

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ROLES = ("updates", "certificate", "frontend", "caa", "verify", "report")
SECRET = "c2VjcmV0IG9mIHRoZSB0ZXN0"
# At the end of each role's action: what it was called with.
WRITES = """

def _write(self, options, variables):
    import json, os
    call = {"host": variables["inventory_hostname"], "play": variables.get("ansible_play_name"), "role": self.ROLE,
            "part": self._task.args.get("part"), "options": options,
            "address": self.value(variables, "ansible_host"),
            "server": self.value(variables, "frontend_server", "auto")}
    with open(os.environ["CALLS_OF_TEST"], "a") as log:
        log.write(json.dumps(call) + "\\n")
    return {"msg": ["called"]}

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
    for role in ("updates", "certificate", "frontend", "caa", "verify"):
        with (collection / "plugins" / "action" / f"{role}.py").open("a") as source:
            source.write(WRITES)
    return top


class Run(t.NamedTuple):
    """A run of ansible-playbook, and what the roles were called with."""

    status: int
    output: str
    calls: list[dict[str, t.Any]]

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

    def run(plays, hosts, *arguments):
        folder = tmp_path_factory.mktemp("run")
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
        return Run(done.returncode, done.stdout + done.stderr, calls)

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
