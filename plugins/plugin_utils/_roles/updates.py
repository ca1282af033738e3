# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role updates does on a host, and what it says of it. Nothing here asks or changes a host."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import UPDATES
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import as_list
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines

Info = dict[str, t.Any]

WEB_SERVERS = ("apache2.service", "httpd.service", "nginx.service")
# On a reload, these start their program anew and keep their sockets: nobody finds them away. OpenSSH tests its
# configuration before, and would be gone after a restart with one that it refuses.
STARTS_ANEW_ON_RELOAD = re.compile(r"(?:php[\d.]*-fpm|sshd?)\.service")
# How a service gets to run new files: nginx can have its program exchanged while it serves.
STATES = {"nginx.service": "exchanged"}
NAMES_SHOWN = 30
NOT_CHECKED = "updates.not_checked"  # the finding of a check that failed

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def option_errors(options: Info) -> list[str]:
    """What is wrong with the role's options, one sentence each."""
    errors = []
    window = options["reboot_window"]
    if window and not _WINDOW.fullmatch(window):
        errors.append(f"updates_reboot_window: {window!r} is not of the form 02:00-05:00")
    for name in ("max_metadata_age", "reboot_timeout"):
        if int(options[name]) < 1:
            errors.append(f"updates_{name}: {options[name]} is less than 1")
    return errors


def window_open(window: str, clock: str) -> bool:
    """Whether a time of day (HH:MM) is in a window, which may span midnight; an empty window is always open."""
    if not window:
        return True
    found = _WINDOW.fullmatch(window)
    assert found, window
    begin, end = f"{found[1]}:{found[2]}", f"{found[3]}:{found[4]}"
    return begin <= clock < end if begin <= end else clock >= begin or clock < end


# --- what to do ------------------------------------------------------------------------------------------------------


def plan(info: Info, options: Info) -> Info:
    """What is to be done on a host, from the module's answer.

    install: the packages to bring to their version. services: what to restart, the web server last, each as {name,
    state}, with restarted, reloaded or exchanged; web: which of them are web servers; left: those that only a reboot
    restarts. reexec: whether the init system is to be started anew. serves: whether a web server runs. unsure: why
    nobody can say that there is nothing more to install, or nothing.

    Raises ValueError where the module has not answered: nothing must be done by what is not known.
    """
    if info.get("failed"):
        raise ValueError(f"the updates could not be checked: {info.get('msg')}")
    apply = options["apply"]
    packages = [
        {"name": package["name"], "version": package["to"], "from": package["from"]}
        for package in info["updates"]["packages"]
        if not package["held"] and (apply == "all" or (apply == "security" and package["security"]))
    ]
    wanted = boolean(options["restart_services"])
    excluded = as_list(options["restart_exclude"])
    found = info["restart"]["services"]
    left = [name for name in found if any(fnmatch.fnmatchcase(name, pattern) for pattern in excluded)]
    names = [name for name in found if name not in left] if wanted else []
    # A web server that is started anew finds everything behind it started anew.
    names.sort(key=lambda name: (name in WEB_SERVERS, not STARTS_ANEW_ON_RELOAD.fullmatch(name)))
    return {
        "install": packages,
        "unsure": _unsure(info, apply),
        "services": [
            {
                "name": name,
                "state": STATES.get(name, "reloaded" if STARTS_ANEW_ON_RELOAD.fullmatch(name) else "restarted"),
            }
            for name in names
        ],
        "web": [name for name in names if name in WEB_SERVERS],
        "left": left,
        "reexec": wanted and any(process["pid"] == 1 for process in info["restart"]["processes"]),
        "reboot": options["reboot"] == "if_needed" and info["restart"]["reboot_required"] is True,
        "serves": any(component["kind"] == "web_server" for component in info["distribution"]["components"]),
    }


def _unsure(info: Info, apply: str) -> str:
    left = {"security": "security", "all": "pending"}.get(apply)
    if left is None or info["updates"][left] is not None:
        return ""
    reason = info["updates"]["reason"] or info["metadata"]["reason"] or "the package manager does not say it"
    return f"updates_apply: {apply} cannot be fulfilled, since it is not known what is pending: {reason}"


def compare(before: t.Iterable[Info], after: t.Iterable[Info]) -> list[str]:
    """Where the web server answers worse than before: one sentence for each question that both were asked."""

    def question(answer: Info) -> tuple[t.Any, ...]:
        return tuple(answer.get(key) for key in ("address", "port", "server_name", "path"))

    def headers(answer: Info) -> Info:
        """What worse() looks at; of the headers web_config returns HSTS only."""
        return dict(answer, headers={"strict-transport-security": answer["hsts"]} if answer["hsts"] else {})

    # A path may be asked for in several ways, always in the same order.
    later: dict[tuple[t.Any, ...], list[Info]] = {}
    for answer in after:
        later.setdefault(question(answer), []).append(answer)
    worse = []
    for answer in before:
        if not later.get(question(answer)):
            if answer["ok"]:
                worse.append("{address}:{port} {path}: it is not served any more".format(**answer))
            continue
        words = _probes.worse(headers(answer), headers(later[question(answer)].pop(0)))
        if words:
            worse.append("{address}:{port} {path}: {words}".format(**answer, words=words))
    return worse


# --- what to say -----------------------------------------------------------------------------------------------------


def _count(number: int | None, words: str) -> str:
    return f"{'an unknown number' if number is None else number} {words}"


def _support_line(support: Info) -> str:
    words = f"support: {support['level']}"
    if support["until"]:
        words += " since " if support["level"] == "eol" else " until "
        words += support["until"]
    return words + (f" ({support['source']})" if support["source"] else "")


def _updates_line(updates: Info, metadata: Info) -> str:
    if updates["pending"] is None and not updates["packages"]:
        return "updates: unknown" + (f" ({updates['reason']})" if updates["reason"] else "")
    age = "of unknown age" if metadata["age_hours"] is None else f"{metadata['age_hours']:.0f} h old"
    counts = [
        _count(updates["pending"], "pending"),
        _count(updates["security"], "for security"),
        _count(updates["held"], "held"),
    ]
    return f"updates: {', '.join(counts)}; lists {age}"


def _restart_line(restart: Info) -> str:
    services = " ".join(restart["services"]) or ("none" if restart["reboot_required"] is not None else "unknown")
    reboot = {True: "needed", False: "not needed", None: "unknown"}[restart["reboot_required"]]
    return f"to restart: {services}; reboot: {reboot}"


def _automatic_line(automatic: Info) -> str:
    if automatic["enabled"] is None:
        return "automatic updates: unknown"
    if not automatic["enabled"]:
        return "automatic updates: off"
    covers = {True: "", False: ", not all security updates", None: ", security updates unknown"}
    works = {True: "", False: ", not working", None: ", not known to work"}
    return (
        f"automatic updates: on ({automatic['mechanism']}"
        f"{covers[automatic['covers_security']]}{works[automatic['works']]})"
    )


def report(info: Info, done: Info, all_must_be_well: bool = False) -> Info:
    """What is said of a host. C(lines) for the terminal; C(bad) what it fails for.

    done: what the role has done or would do. C(installed), C(restarted) and C(left) are names, C(words) are sentences;
    C(wrong) is what was asked for and has not come to be, for which it fails in any case. all_must_be_well: it also
    fails for what was found out and is not as it should be, unknown included.
    """
    if info.get("failed"):
        lines = [f"unknown: {NOT_CHECKED}: {info.get('msg')}", *(f"wrong: {text}" for text in done["wrong"])]
        return {"step": UPDATES, "lines": lines, "bad": [*done["wrong"], *([NOT_CHECKED] if all_must_be_well else [])]}
    lines = [
        _support_line(info["support"]),
        _updates_line(info["updates"], info["metadata"]),
        _restart_line(info["restart"]),
        _automatic_line(info["automatic"]),
    ]
    would = "would be " if done["check"] else ""
    for key, words in (("installed", "installed"), ("restarted", "restarted")):
        names = list(done[key])
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            lines.append(f"{would}{words}: {' '.join(names[:NAMES_SHOWN])}{more}")
    if done["left"]:
        lines.append(f"left until the next reboot: {' '.join(done['left'])}")
    lines += done["words"]
    lines += [f"wrong: {text}" for text in done["wrong"]]
    found = [item for item in info["findings"] if item["severity"] in ("fail", "unknown")]
    found_bad = [f"{item['id']} ({item['subject']})" for item in found] if all_must_be_well else []
    lines += _finding_lines.lines(info["findings"])
    return {"step": UPDATES, "lines": lines, "bad": [*done["wrong"], *found_bad]}
