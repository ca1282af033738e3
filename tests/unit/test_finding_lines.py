# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings as lines for the terminal, as the roles have them in common."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import catalogue as _certificate_catalogue
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines

NONE = _caa_catalogue.CATALOGUE["caa.none"].message


def test_a_kind_has_one_line_and_the_worst_comes_first():
    items = [
        _caa_catalogue.finding("caa.iodef.none", "example.com"),
        _caa_catalogue.finding("caa.none", "a.example.com", "seen", "Add it."),
        _caa_catalogue.finding("caa.name.invalid", "x y"),
        _caa_catalogue.finding("caa.nobody", "c.example.com"),
        _caa_catalogue.finding("caa.none", "b.example.com", fix="Add it."),
        _caa_catalogue.finding("caa.none", "a.example.com", "seen", "Add it."),
    ]
    lines = _finding_lines.lines(items)
    assert [line.split(" (")[0] for line in lines] == [
        "fail: caa.none",
        "  fix: Add it.",
        "warn: caa.nobody",
        "unknown: caa.name.invalid",
        "  fix: Correct the name in the virtual host or in caa_names, or list it in caa_names_off.",
        "info: caa.iodef.none",
    ]
    assert lines[0] == f"fail: caa.none (a.example.com [seen], b.example.com): {NONE}"
    assert lines[2].endswith("for the name.")  # no fix, and no line in its place


def test_a_fix_of_its_own_has_a_line_of_its_own():
    items = [_caa_catalogue.finding("caa.none", name, fix=f"Add it for {name}.") for name in ("a.example", "b.example")]
    assert _finding_lines.lines(items) == [
        line
        for name in ("a.example", "b.example")
        for line in (f"fail: caa.none ({name}): {NONE}", f"  fix: Add it for {name}.")
    ]


def test_a_fix_of_several_lines_can_be_pasted():
    items = [_caa_catalogue.finding("caa.none", "a.example", fix="one\ntwo")]
    assert _finding_lines.lines(items)[1:] == ["  fix: one", "  two"]


MANY = [f"site{number}.example" for number in range(500)]


def test_many_subjects_are_the_first_and_a_count():
    items = [_caa_catalogue.finding("caa.none", name) for name in MANY]
    assert _finding_lines.lines(items) == [f"fail: caa.none (site0.example and 499 more): {NONE}"]
    assert _finding_lines.some(MANY[:3]) == "site0.example, site1.example, site2.example"
    assert _finding_lines.some(MANY[:4]) == "site0.example and 3 more"
    assert _finding_lines.some(["a", "a", "b", "c"], " ") == "a b c"
    assert _finding_lines.each("forbidden: ", MANY) == ["forbidden: site0.example and 499 more"]
    assert _finding_lines.each("forbidden: ", MANY[:2]) == ["forbidden: site0.example", "forbidden: site1.example"]


def test_of_many_fixes_one_stands_for_all():
    items = [_caa_catalogue.finding("caa.none", name, fix=f"Add it for {name}.") for name in MANY]
    assert _finding_lines.lines(items) == [
        f"fail: caa.none (site0.example and 499 more): {NONE}",
        "  fix: Add it for site0.example. (and 499 more like this, in the report)",
    ]


def test_what_separates_the_subjects():
    items = [_caa_catalogue.finding("caa.none", name) for name in ("a.example", "b.example")]
    assert _finding_lines.lines(items, between=" ") == [f"fail: caa.none (a.example b.example): {NONE}"]


def test_names_that_a_certificate_lacks_share_their_line_and_its_command():
    names = ("a.example", "b.example")
    items = [_certificate_catalogue.finding("certificate.name.missing", name, "its names: c", "Fix.") for name in names]
    assert _roles_certificate.finding_lines(items) == [
        "fail: certificate.name.missing (a.example, b.example): The certificate is not for a name that is served.",
        "  fix: Fix.",
    ]
