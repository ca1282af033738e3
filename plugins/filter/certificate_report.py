# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate_report
short_description: What is to be said of the certificates that a host serves
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Makes lines for people of what M(kopano.hardening.certificate_info) has found.
  - Meant for the role P(kopano.hardening.certificate#role) itself. Shape and keys of the result may change.
options:
  _input:
    description: The answer of M(kopano.hardening.certificate_info) with several certificates.
    type: dict
    required: true
  asked:
    description: The certificates that it was asked about, of P(kopano.hardening.certificate_asked#filter).
    type: list
    elements: dict
    required: true
  outcome:
    description: What came of an order, as C(line) and C(failed), or nothing.
    type: dict
    required: true
positional: asked, outcome
"""

EXAMPLES = r"""
- name: See it
  ansible.builtin.debug:
    msg: "{{ (answer | kopano.hardening.certificate_report(asked, {})).lines }}"
"""

RETURN = r"""
_value:
  description: C(lines) for people, and C(bad), what the host fails for.
  type: dict
"""

import typing as t

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import plain as _plain


class FilterModule:
    """Named in the collection as certificate_report."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"certificate_report": _plain.deferred("_roles.certificate", "report", plainly=True)}
