# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every role's specification, defaults and the comments of these say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted((ROOT / "roles").iterdir())
PLUGINS = ROOT / "plugins"
KINDS = {"bool": bool, "int": int, "str": str, "list": list, "dict": dict}


@pytest.fixture(params=ROLES, ids=lambda path: path.name)
def role(request):
    return request.param


@pytest.fixture
def spec(role):
    return yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]


def test_specification_and_defaults_are_the_same(role, spec):
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    assert list(spec) == list(defaults)
    assert {name: entry["default"] for name, entry in spec.items()} == defaults
    for name, entry in spec.items():
        assert name.startswith(f"{role.name}_"), name
        assert entry["description"].strip(), name
        assert type(defaults[name]) is KINDS[entry["type"]], name
        if "choices" in entry and entry["type"] == "str":
            assert defaults[name] in entry["choices"], name


def test_no_option_is_one_that_cannot_be_encrypted_by_itself(spec):
    """For a role no_log hides nothing, and ansible-core before 2.19 refuses a value with !vault for its sake."""
    assert [name for name, entry in spec.items() if "no_log" in entry] == []


def test_comments_of_the_defaults_are_those_of_the_specification(role, spec):
    text = (role / "defaults" / "main.yml").read_text()
    for name, entry in spec.items():
        comment = re.search(rf"((?:^#.*\n)+)(?:^\w+: .*\n)*?^{name}:", text, re.MULTILINE)
        assert comment, name
        said = dict(re.findall(r"^# - (\w+): (.*)$", comment.group(1), re.MULTILINE))
        kind = "list of " + entry["elements"] if entry["type"] == "list" else entry["type"]
        assert said["Type"] == kind, name
        assert yaml.safe_load(said["Default"]) == entry["default"], name
        assert said.get("Choices", "").split(", ") == (entry.get("choices") or [""]), name


def test_the_comments_are_up_to_date():
    command = [sys.executable, ROOT / "docs" / "defaults.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_readme_has_the_example_of_the_specification(role):
    """Galaxy shows the one, ansible-doc the other."""
    entry = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    readme = (role / "README.md").read_text()
    assert re.findall(r"(?ms)^```yaml\n(.*?)^```$", readme) == [entry["examples"] + "\n"]
    assert readme.startswith(f"# The role kopano.hardening.{role.name}\n")
    used = set(re.findall(rf"\b{role.name}_\w+", entry["examples"]))
    assert used and used <= set(entry["options"])


def test_the_role_checks_what_it_is_given(role):
    """A variable that nothing reads would be a promise that is not kept."""
    names = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    texts = [path.read_text() for folder in ("tasks", "vars") for path in (role / folder).rglob("*.yml")]
    # The query of the host, which several roles share, reads some as variables.
    texts.append((PLUGINS / "plugin_utils" / "_roles" / "action.py").read_text())
    # An action that reads its role's options has them without the role's name.
    parts = {"frontend": ["frontend", "components"]}.get(role.name, [role.name])
    sources = [
        PLUGINS / "action" / f"{role.name}.py",
        *(PLUGINS / "plugin_utils/_roles" / f"{name}.py" for name in parts),
    ]
    code = [path.read_text() for path in sources if path.exists()]

    def is_read(name):
        short = name.removeprefix(role.name + "_")
        return any(re.search(rf"\b{name}\b", text) for text in texts) or any(f'"{short}"' in text for text in code)

    assert [name for name in names if not is_read(name)] == []
