# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the documentation's website, which build.py builds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mmdr
import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

# Labels of Ansible's own documentation, which modules' pages refer to. Its inventory would have to be fetched.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
LABELS = {
    "action_plugins": ("plugins/action.html#action-plugins", "Action plugins"),
    "ansible_collections.ansible.builtin.template_module": ("collections/ansible/builtin/template_module.html", ""),
    "ansible_configuration_settings": ("reference_appendices/config.html", "Ansible's configuration settings"),
    "common_return_values": ("reference_appendices/common_return_values.html", "Common return values"),
}

GALAXY = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text())

project = "kopano.hardening"
author = "The kopano.hardening contributors"
project_copyright = f"{author}, GPL-3.0-or-later"
release = GALAXY["version"]

extensions = ["myst_parser", "sphinx_antsibull_ext"]
myst_heading_anchors = 4  # as on GitHub, so that links to headings are right in both places
myst_fence_as_directive = ["mermaid"]
highlight_language = "none"  # output of programs has no language

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "source_repository": GALAXY["repository"],
    "top_of_page_buttons": [],
    # Colours of what antsibull-docs writes, in place of its own, which are for light pages only.
    **{
        f"{theme}_css_variables": {
            "antsibull-option-type": purple,
            "antsibull-option-elements": purple,
            "antsibull-option-required": red,
            "antsibull-option-version-added": green,
            "antsibull-option-aliases": green,
            "antsibull-option-default": blue,
            "antsibull-option-sample": blue,
            "antsibull-attribute-support-none": red,
            "antsibull-attribute-support-partial": yellow,
            "antsibull-attribute-support-full": green,
        }
        for theme, purple, red, green, blue, yellow in (
            ("light", "#7e22ce", "#b91c1c", "#166534", "#1d4ed8", "#854d0e"),
            ("dark", "#d8b4fe", "#fca5a5", "#86efac", "#93c5fd", "#fde047"),
        )
    },
}


class Mermaid(SphinxDirective):
    """A diagram, drawn when the site is built: a browser has nothing to load or to run for it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        drawing = mmdr.render("\n".join(self.content)).svg()
        return [nodes.raw("", f'<div class="diagram">{drawing}</div>', format="html")]


def ansible_label(
    _app: Sphinx, _environment: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """The link of a reference into Ansible's own documentation."""
    if node["reftarget"] not in LABELS:
        return None
    path, title = LABELS[node["reftarget"]]
    link = nodes.reference("", "", internal=False, refuri=ANSIBLE + path)
    link += text if node["refexplicit"] else nodes.inline("", title)
    return link


def short_names(_app: Sphinx, name: str, source: list[str]) -> None:
    """Name the roles and modules in the navigation, and not their whole titles."""
    if name == "reference/index":
        text = source[0].replace("Kopano.Hardening\n================", "Roles and modules\n=================")
        source[0] = re.sub(r"(?m)^( +)((\w+)_(?:module|role))$", r"\1\3 <\2>", text)


def without_contents(_app: Sphinx, page: nodes.document) -> None:
    """Drop a page's own list of its headings, which the theme has at the side."""
    for contents in list(page.findall(lambda node: isinstance(node, nodes.topic) and "contents" in node["classes"])):
        contents.parent.remove(contents)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", short_names)
    app.connect("doctree-read", without_contents)
    app.connect("missing-reference", ansible_label)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
