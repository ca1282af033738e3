# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages of the private code: which may use which, how their modules are imported, and their map in the docs."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
BASE = "ansible_collections.kopano.hardening.plugins"
MAP = ROOT / "docs" / "architecture.md"

# From the bottom to the top: a package uses itself and what is below it. A module without a package is a layer itself.
LAYERS = {
    "module_utils": [
        "_common",
        "_x509",
        "_host",
        "_tls",
        "_webserver",
        "_transaction",
        "_caa",
        "_certificate",
        "_updates",
        "_host_info",
    ],
    "plugin_utils": ["_findings", "_ansible", "_roles", "_report"],
}
PACKAGES = [
    (utils, layer) for utils, layers in LAYERS.items() for layer in layers if (PLUGINS / utils / layer).is_dir()
]


def modules(utils, package):
    return sorted(path.stem for path in (PLUGINS / utils / package).glob("*.py") if path.stem != "__init__")


def imported(path):
    """The imports of the collection's private code: utils, package or module without one, rest of the path, names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{BASE}."):
            utils, *below = node.module.removeprefix(f"{BASE}.").split(".")
            if utils in LAYERS and below:
                yield utils, below[0], below[1:], node.names
            elif utils in LAYERS:
                yield from ((utils, name.name, [], []) for name in node.names)


def arrows():
    """Which layer uses which, and where."""
    found = {}
    for utils in LAYERS:
        for path in sorted((PLUGINS / utils).rglob("*.py")):
            layer = path.relative_to(PLUGINS / utils).with_suffix("").parts[0]
            for used_utils, used, _rest, _names in imported(path):
                if (used_utils, used) != (utils, layer):
                    found.setdefault(((utils, layer), (used_utils, used)), str(path.relative_to(ROOT)))
    return found


def test_every_module_belongs_to_a_layer():
    for utils, layers in LAYERS.items():
        found = {path.relative_to(PLUGINS / utils).with_suffix("").parts[0] for path in (PLUGINS / utils).rglob("*.py")}
        assert found == set(layers)


def test_arrows_point_downwards():
    """So there are no cycles: what runs on hosts uses nothing of the controller's, and no layer one above it."""
    order = [(utils, layer) for utils, layers in LAYERS.items() for layer in layers]
    assert len(arrows()) > 20
    wrong = {arrow: path for arrow, path in arrows().items() if order.index(arrow[0]) < order.index(arrow[1])}
    assert wrong == {}


def test_a_module_has_one_name_where_it_is_imported():
    """Its own behind an underscore, with its package's in front where the name alone may be something else."""
    names = [name for package in PACKAGES for name in modules(*package)]
    subjects = {package.lstrip("_") for _utils, package in PACKAGES}
    wrong = []
    for path in sorted(path for folder in ("plugins", "tests", "molecule") for path in (ROOT / folder).rglob("*.py")):
        for utils, package, rest, aliases in imported(path):
            if rest or (utils, package) not in PACKAGES:
                continue
            for alias in aliases:
                unclear = names.count(alias.name) > 1 or alias.name in subjects or alias.name in sys.stdlib_module_names
                wanted = f"{package}_{alias.name}" if unclear else f"_{alias.name}"
                # A file that is all about some modules may give them names of its own, without the underscore.
                if (alias.asname or alias.name).startswith("_") and alias.asname != wanted:
                    wrong.append(f"{path.relative_to(ROOT)}: {alias.name} as {alias.asname}, not {wanted}")
    assert wrong == []


@pytest.mark.parametrize("utils", LAYERS)
def test_the_map_has_the_order(utils):
    (line,) = re.findall(rf"^{utils}: (.*)$", MAP.read_text(), re.MULTILINE)
    assert line.split(" > ") == LAYERS[utils][::-1]


@pytest.mark.parametrize(("utils", "package"), PACKAGES, ids=lambda value: value)
def test_the_map_has_every_module(utils, package):
    rows = re.search(rf"^\| `{package}/` \|.*\n\| --- .*\n((?:\|.*\n)+)", MAP.read_text(), re.MULTILINE)
    assert rows, f"{MAP.name} has no table for {package}"
    named = [name for row in rows[1].splitlines() for name in re.findall(r"`(\w+)\.py`", row.split("|")[1])]
    assert sorted(named) == modules(utils, package)


def test_a_package_has_a_description():
    for utils, package in PACKAGES:
        tree = ast.parse((PLUGINS / utils / package / "__init__.py").read_text())
        assert ast.get_docstring(tree) and len(tree.body) == 1, package
