# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is pasted for a DNS provider is what its module takes, by that module's own documentation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.kopano.hardening.plugins.module_utils._caa import record_sets as _record_sets
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa as _roles_caa
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa_providers as _caa_providers

PROVIDERS = sorted(_caa_providers.providers())
LE, IODEF = '0 issue "letsencrypt.org"', '0 iodef "mailto:hostmaster@example.com"'


def record_set(*wanted, name="example.com", zone="example.com", current=(), complete=True):
    """One as the module caa_info returns it."""
    there, shall = (tuple(map(_records.parse_record, texts)) for texts in (current, wanted))
    return _record_sets.RecordSet(name, zone, (), there, shall if complete else None).returned()


APEX = record_set(LE, '0 issuewild ";"', IODEF, current=['0 issue "old.test"', IODEF])
BELOW = record_set(LE, '128 issue "ca.test; accounturi=https://ca.test/1"', name="mail.sub.example.com")


@pytest.fixture(scope="module")
def documented():
    """The documentation of each module, as ansible-doc has it."""
    names = [entry["module"] for entry in _caa_providers.providers().values()]
    command = [Path(sys.executable).parent / "ansible-doc", "--type", "module", "--json", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = json.loads(done.stdout or "{}")
    missing = [name for name in names if name not in found]
    if missing:
        pytest.skip(f"{' '.join(missing)} is not installed here")
    return {name: entry["doc"] for name, entry in found.items()}


def spec_of(options):
    """An argument spec out of documented options."""
    keys = ("type", "elements", "choices", "aliases", "required")
    spec = {name: {key: entry[key] for key in keys if entry.get(key)} for name, entry in options.items()}
    for name, entry in options.items():
        if entry.get("suboptions"):
            spec[name]["options"] = spec_of(entry["suboptions"])
    return spec


def pasted(name, *sets):
    """The tasks as a user has them in a file."""
    heading, *text = _caa_providers.lines(name, sets)
    assert heading == f"tasks for {_caa_providers.providers()[name]['module']}:"
    return yaml.safe_load("\n".join(text))


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_task_has_the_options_of_its_module(name, documented):
    module = _caa_providers.providers()[name]["module"]
    tasks = pasted(name, APEX, BELOW)
    for task in tasks:
        assert set(task) == {"name", module, "delegate_to"} and task["delegate_to"] == "localhost"
        validated = ArgumentSpecValidator(spec_of(documented[module]["options"])).validate(task[module])
        assert validated.error_messages == []
        # Nothing was left to be filled in, and nothing but a token is for Ansible to evaluate.
        text = json.dumps(task[module])
        assert "<" not in text and text.count("{{") == text.count('"{{ vault_') <= 1


def test_the_documentation_is_held_against_the_tasks(documented):
    """A misspelled option, or a value of another kind, would be noticed."""
    for name, arguments in (
        ("hetzner", {"zonename": "x"}),
        ("route53", {"type": "CAB"}),
        ("cloudflare", {"flag": "a"}),
    ):
        provider = _caa_providers.providers()[name]
        (task, *_others) = _caa_providers.tasks(name, APEX)
        spec = spec_of(documented[provider["module"]]["options"])
        assert ArgumentSpecValidator(spec).validate({**task[provider["module"]], **arguments}).error_messages


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "cloudflare"])
def test_a_set_is_one_task_with_all_records(name):
    module = _caa_providers.providers()[name]["module"]
    apex, below = (task[module] for task in pasted(name, APEX, BELOW))
    wanted = [LE, '0 issuewild ";"', IODEF]
    (records,) = [value for value in apex.values() if isinstance(value, list)]
    assert records in (wanted, [{"value": record} for record in wanted])
    assert apex["state"] == below["state"] == "present"
    assert apex.get("record", apex.get("name")) in ("example.com", "@")
    assert below.get("record", below.get("name")) in ("mail.sub.example.com", "mail.sub")


def test_a_provider_of_single_records_gets_each_and_loses_what_has_to_go():
    tasks = [task["community.general.cloudflare_dns"] for task in pasted("cloudflare", APEX)]
    assert [(task["state"], task["record"], task["flag"], task["tag"], task["value"]) for task in tasks] == [
        ("present", "@", 0, "issue", "letsencrypt.org"),
        ("present", "@", 0, "issuewild", ";"),
        ("present", "@", 0, "iodef", "mailto:hostmaster@example.com"),
        ("absent", "@", 0, "issue", "old.test"),
    ]
    (first, second) = [task["community.general.cloudflare_dns"] for task in pasted("cloudflare", BELOW)]
    assert first["record"] == "mail.sub" and second["value"] == "ca.test; accounturi=https://ca.test/1"


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("evil", ["{{ lookup('pipe', 'id') }}", "{% for x in y %}", '\\"', "\\\\", "\\010", "a{#"])
@pytest.mark.parametrize("where", ["wanted", "current"])
def test_what_others_have_published_is_never_evaluated(name, evil, where):
    """Records that stay are in the set as they are."""
    foreign = f'0 issue "{evil}"'
    hostile = record_set(LE, foreign) if where == "wanted" else record_set(LE, current=[foreign])
    lines = _caa_providers.lines(name, [hostile, BELOW])
    assert lines[1].startswith("  # example.com: no task") and not any(
        "{" in line for line in lines if "vault" not in line
    )
    assert len(yaml.safe_load("\n".join(lines[1:]))) == len(_caa_providers.tasks(name, BELOW))


def test_a_web_interface_gets_fields():
    assert _caa_providers.lines("web", [APEX, BELOW]) == [
        "for a web interface, name, flags, tag and value:",
        "  example.com  0  issue  letsencrypt.org",
        "  example.com  0  issuewild  ;",
        "  example.com  0  iodef  mailto:hostmaster@example.com",
        "  mail.sub.example.com  0  issue  letsencrypt.org",
        "  mail.sub.example.com  128  issue  ca.test; accounturi=https://ca.test/1",
    ]


@pytest.mark.parametrize("name", [*PROVIDERS, "web", "none"])
def test_nothing_is_shown_of_a_set_that_is_not_complete(name):
    assert _caa_providers.lines(name, [record_set(complete=False), record_set(current=[LE])]) == []
    assert _caa_providers.lines(name, []) == []


def test_the_role_shows_them_after_the_zone_lines_of_sets_that_are_not_there_yet():
    done = record_set(LE, name="done.test", zone="done.test", current=[LE])
    shown = _roles_caa.zone_lines([done, APEX], "web")
    assert shown[0] == "lines for the zone files:" and 'example.com. IN CAA 0 issuewild ";"' in shown
    assert shown[-1] == "  example.com  0  iodef  mailto:hostmaster@example.com"
    assert not any("done.test" in line for line in shown)
    assert _roles_caa.zone_lines([APEX]) == shown[: shown.index("for a web interface, name, flags, tag and value:")]
    assert _roles_caa.zone_lines([done], "hetzner") == []


def test_the_options_choices_are_the_providers():
    path = Path(__file__).parents[2] / "roles" / "caa" / "meta" / "argument_specs.yml"
    spec = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]["caa_provider"]
    assert sorted(spec["choices"]) == sorted(["none", "web", *PROVIDERS])


def test_the_example_of_the_documentation_is_what_is_shown():
    page = (Path(__file__).parents[2] / "docs" / "caa.md").read_text()
    assert "\n".join(_caa_providers.lines("hetzner", [APEX])) in page
