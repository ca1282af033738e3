# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the role updates does on a host, and what it reports. Nothing here queries or changes a host."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import UPDATES
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.finding_lines import StepReport

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._host_info import FailedPart
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
        ReturnedAutomatic,
        ReturnedMetadata,
        ReturnedUpdates,
    )
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.restarts import ReturnedRestart
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.status import UpdateStatus
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.support import ReturnedSupport

Info = dict[str, t.Any]


class Mechanism(t.TypedDict):
    """How hosts update themselves: its package, its timers, and a command that tries it."""

    mechanism: str
    package: str
    timers: list[str]
    dry_run: list[str]


WEB_SERVERS = ("apache2.service", "httpd.service", "nginx.service")
# On a reload, these restart their program and keep their sockets: no client finds them stopped. OpenSSH tests its
# configuration before, and would be gone after a restart with one that it refuses.
RESTARTS_ON_RELOAD = re.compile(r"(?:php[\d.]*-fpm|sshd?)\.service")
# How a service gets to run new files: nginx can have its program exchanged while it serves.
STATES = {"nginx.service": "exchanged"}
POLICY = "/usr/sbin/policy-rc.d"
POLICY_MARK = "Made by kopano.hardening.updates"  # in the file of the role
# What runs on these would end, or lose its way.
NEVER_RESTARTED = (
    "dbus.service",
    "dbus-broker.service",
    "systemd-logind.service",
    "user@*.service",
    "*getty@*.service",
    "NetworkManager.service",
    "auditd.service",
    "docker.service",
    "containerd.service",
    "libvirtd.service",
)
ZYPPER = {"security": ["patch", "--category", "security", "--with-interactive"], "all": ["update"]}
# How the hosts of each package manager update themselves.
MECHANISMS: dict[str, Mechanism] = {
    "apt": {
        "mechanism": "unattended-upgrades",
        "package": "unattended-upgrades",
        "timers": ["apt-daily.timer", "apt-daily-upgrade.timer"],
        "dry_run": ["unattended-upgrade", "--dry-run", "--debug"],
    },
    "dnf": {
        "mechanism": "dnf-automatic",
        "package": "dnf-automatic",
        "timers": ["dnf-automatic.timer"],
        "dry_run": ["dnf-automatic", "--no-downloadupdates", "--no-installupdates"],
    },
    "dnf5": {
        "mechanism": "dnf-automatic",
        "package": "dnf5-plugin-automatic",
        "timers": ["dnf5-automatic.timer"],
        "dry_run": ["dnf5", "automatic", "--no-downloadupdates", "--no-installupdates"],
    },
    # It has no dry run of its own; this is what it will run.
    "zypper": {
        "mechanism": "os-update",
        "package": "os-update",
        "timers": ["os-update.timer"],
        "dry_run": ["zypper", "--non-interactive", "patch", "--category", "security", "--dry-run"],
    },
}
# Where security updates come from, by the distribution's ID; unattended-upgrades knows the code name.
ORIGINS = {
    "debian": [
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
        "origin=Debian,codename=${distro_codename},label=Debian-Security",
    ],
    "ubuntu": [
        "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
        "origin=UbuntuESM,archive=${distro_codename}-infra-security,label=UbuntuESM",
        "origin=UbuntuESMApps,archive=${distro_codename}-apps-security",
    ],
}
NAMES_SHOWN = 30
NOT_CHECKED = "updates.not_checked"  # the finding of a check that failed

Install = t.TypedDict("Install", {"name": str, "version": str, "from": str})
"""A package to bring to a version, and the one that it has."""


class Service(t.TypedDict):
    """A service to restart, and how it gets to run new files: restarted, reloaded or exchanged."""

    name: str
    state: str


class Plan(t.TypedDict):
    """What is to be done on a host.

    install: the packages to bring to their version. unsure: why it is not known that there is nothing more to install,
    or nothing. services: what to restart, the web server last; web: which of them are web servers; left: those that
    only a reboot restarts. reexec: whether the init system is to be re-executed. serves: whether a web server runs.
    """

    install: list[Install]
    unsure: str
    services: list[Service]
    web: list[str]
    left: list[str]
    reexec: bool
    reboot: bool
    serves: bool


class Policy(t.TypedDict):
    """Whether to write a policy that keeps packages from restarting services, and to remove it afterwards."""

    write: bool
    remove: bool


class ActUnderWay(t.TypedDict, total=False):
    """The act under way, or nothing: its C(name), and whether it is done C(now). Each act has some of the others, which
    are what its tasks take."""

    name: str
    now: bool
    probes: list[Info] | None
    """The web server's responses before it; None where they are not compared."""
    manager: str
    names: list[str]
    """The packages to install, or the services to restart."""
    versions: list[str]
    """The packages with their versions, as apt takes them."""
    zypper: list[str]
    blocked: list[str]
    """Of the versions, what cannot be installed."""
    policy: Policy
    mechanism: str
    package: str
    timers: list[str]
    dry_run: list[str]
    origins: list[str]
    services: list[Service]
    exchange: bool
    """Whether nginx is to exchange its program."""
    reexec: bool
    left: list[str]


class Added(t.TypedDict, total=False):
    """What is added to what was done."""

    installed: list[str]
    restarted: list[str]
    left: list[str]
    words: list[str]
    wrong: list[str]


class Done(t.TypedDict):
    """What the role has done on a host, or would do, if it is check mode.

    C(installed), C(restarted) and C(left) are names, C(words) are sentences. C(wrong) is what the options require and
    was not achieved, for which the host fails in any case.
    """

    check: bool
    installed: list[str]
    restarted: list[str]
    left: list[str]
    words: list[str]
    wrong: list[str]


class UpdatesFact(t.TypedDict):
    """What the role keeps of a host.

    due: the acts that are to be done, see due(). unsure: as the plan has it. done: what was done. act: the act under
    way. rebooting: the host is on its way through a reboot. lost: it has not come back from one as it was.
    """

    due: list[str]
    unsure: str
    done: Done
    act: ActUnderWay
    rebooting: bool
    lost: bool


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


def query(options: Info) -> Info:
    """The options of the module update_status_info, as host_info has them."""
    return {
        **{name: options[name] for name in ("accept_lts", "max_metadata_age", "support_data")},
        # Few hosts note when their lists were fetched last, and unchanged ones look old again.
        "refresh": options["refresh"] or options["apply"] != "none",
    }


def window_open(window: str, clock: str) -> bool:
    """Whether a time of day (HH:MM) is in a window, which may span midnight; an empty window is always open."""
    if not window:
        return True
    found = _WINDOW.fullmatch(window)
    if not found:
        raise ValueError(f"{window!r} is no window of time")
    begin, end = f"{found[1]}:{found[2]}", f"{found[3]}:{found[4]}"
    return begin <= clock < end if begin <= end else clock >= begin or clock < end


# --- what to do ------------------------------------------------------------------------------------------------------


def plan(info: UpdateStatus | FailedPart, options: Info) -> Plan:
    """What is to be done on a host, from the result of update_status_info.

    Raises ValueError where the updates could not be checked: nothing is done by what is not known.
    """
    if not _host_fact.succeeded(info):
        raise ValueError(f"the updates could not be checked: {info.get('msg')}")
    apply = options["apply"]
    packages: list[Install] = [
        {"name": package["name"], "version": package["to"], "from": package["from"]}
        for package in info["updates"]["packages"]
        if not package["held"] and (apply == "all" or (apply == "security" and package["security"]))
    ]
    restart_services = options["restart_services"]
    excluded = [*NEVER_RESTARTED, *options["restart_exclude"]]
    found = info["restart"]["services"]
    left = [name for name in found if any(fnmatch.fnmatchcase(name, pattern) for pattern in excluded)]
    names = [name for name in found if name not in left] if restart_services else []
    # A web server that is restarted finds everything behind it restarted.
    names.sort(key=lambda name: (name in WEB_SERVERS, not RESTARTS_ON_RELOAD.fullmatch(name)))
    return {
        "install": packages,
        "unsure": _unsure(info, apply),
        "services": [
            {
                "name": name,
                "state": STATES.get(name, "reloaded" if RESTARTS_ON_RELOAD.fullmatch(name) else "restarted"),
            }
            for name in names
        ],
        "web": [name for name in names if name in WEB_SERVERS],
        "left": left,
        "reexec": restart_services and any(process["pid"] == 1 for process in info["restart"]["processes"]),
        "reboot": options["reboot"] == "if_needed" and info["restart"]["reboot_required"] is True,
        "serves": any(component["kind"] == "web_server" for component in info["distribution"]["components"]),
    }


def _unsure(info: UpdateStatus, apply: str) -> str:
    counts = {"security": info["updates"]["security"], "all": info["updates"]["pending"]}
    if counts.get(apply, 0) is not None:
        return ""
    reason = info["updates"]["reason"] or info["metadata"]["reason"] or "the package manager does not report it"
    return f"updates_apply: {apply} cannot be fulfilled, since it is not known what is pending: {reason}"


def due(info: UpdateStatus | FailedPart, options: Info) -> list[str]:
    """The acts that the options require and the host needs, in their order.

    Of a host whose updates could not be checked all that the options require: the first of them fails.
    """
    acts: dict[str, t.Any]
    if not _host_fact.succeeded(info):
        acts = {
            "install": options["apply"] != "none",
            "automatic": options["automatic"],
            "restart": options["restart_services"],
            "reboot": options["reboot"] != "never",
        }
    else:
        planned = plan(info, options)
        automatic = info["automatic"]
        # A dry run could show nothing that the last run has not.
        known_to_work = automatic["enabled"] and automatic["covers_security"] and automatic["works"]
        acts = {
            "install": planned["install"],
            "automatic": options["automatic"] and not known_to_work,
            "restart": planned["services"] or planned["reexec"],
            "reboot": planned["reboot"],
        }
    return [act for act, is_due in acts.items() if is_due]


class Act(t.NamedTuple):
    """Something that the role does on a host."""

    prepare: t.Callable[[UpdateStatus, Info], ActUnderWay]
    """What its tasks take, from the result of update_status_info and the options. Raises ValueError."""
    outcome: t.Callable[[ActUnderWay, UpdateStatus, Info, bool], Added]
    """What it adds to C(done), from what was prepared, the host after it, the options, and whether it is check mode."""
    probed: t.Literal["", "serves", "web"] = ""
    """The web server's responses are compared where the plan has this."""
    rehearsed: bool = False
    """Whether the web server is rehearsed before."""
    web: bool = True
    """Whether it changes the web server, or what that runs."""


def _prepare_install(info: UpdateStatus, options: Info) -> ActUnderWay:
    packages = plan(info, options)["install"]
    return {
        "manager": info["distribution"]["manager"],
        "names": [package["name"] for package in packages],
        "versions": [f"{package['name']}={package['version']}" for package in packages],
        "zypper": ["zypper", "--non-interactive", *ZYPPER[options["apply"]]],
        "blocked": [],
    }


def _installed(act: ActUnderWay, info: UpdateStatus, options: Info, check_mode: bool) -> Added:
    if check_mode:
        wrong = [f"{version} cannot be installed" for version in act["blocked"]]
    else:
        wrong = [f"{package['name']} is still not updated" for package in plan(info, options)["install"]]
    return {"installed": [version for version in act["versions"] if version not in act["blocked"]], "wrong": wrong}


def _prepare_automatic(info: UpdateStatus, _options: Info) -> ActUnderWay:
    manager = info["distribution"]["manager"]
    if manager not in MECHANISMS:
        found = manager or "no package manager that is known here"
        raise ValueError(f"updates_automatic: true needs apt, dnf or zypper on the host; this one has {found}")
    return {"manager": manager, **MECHANISMS[manager], "origins": ORIGINS.get(info["distribution"]["id"], [])}


def _automated(_act: ActUnderWay, info: UpdateStatus, _options: Info, check_mode: bool) -> Added:
    automatic = info["automatic"]
    works = check_mode or (automatic["enabled"] and automatic["covers_security"])
    return {"wrong": [] if works else [f"updates_automatic: {automatic['reason']}"]}


def _prepare_restart(info: UpdateStatus, options: Info) -> ActUnderWay:
    planned = plan(info, options)
    exchanged = [service for service in planned["services"] if service["state"] == "exchanged"]
    return {
        "names": [service["name"] for service in planned["services"]],
        "services": [service for service in planned["services"] if service not in exchanged],
        "exchange": bool(exchanged),
        "reexec": planned["reexec"],
        "left": planned["left"],
    }


def _restarted(act: ActUnderWay, info: UpdateStatus, options: Info, check_mode: bool) -> Added:
    # Such as sessions of users, which outlive the service that they belong to.
    old = [] if check_mode else plan(info, options)["services"]
    remarks = [f"some processes are still the old ones: {service['name']}" for service in old]
    return {"restarted": act["names"], "left": act["left"], "words": remarks}


def _prepare_reboot(_info: UpdateStatus, _options: Info) -> ActUnderWay:
    return {}


def _rebooted(_act: ActUnderWay, _info: UpdateStatus, _options: Info, check_mode: bool) -> Added:
    return {"words": ["would be rebooted" if check_mode else "rebooted"]}


ACTS = {
    "install": Act(_prepare_install, _installed, probed="serves"),
    "automatic": Act(_prepare_automatic, _automated, web=False),
    "restart": Act(_prepare_restart, _restarted, probed="web", rehearsed=True),
    "reboot": Act(_prepare_reboot, _rebooted, probed="serves", rehearsed=True),
}


def policy(is_needed: bool, grep: int) -> Policy:
    """What becomes of the policy of a host.

    grep: its exit status when it searched the policy of the host for the role's mark. 2: there is no policy. 0: an
    interrupted run has left one. Any other stays as it is.
    """
    write = is_needed and grep in (0, 2)
    return {"write": write, "remove": write or grep == 0}


def not_rebooted(lost: t.Collection[str], window: str, clock: str) -> str:
    """Why a host is not rebooted now, or nothing. lost: the hosts of the play that have not come back."""
    if lost:
        return f"not rebooted: {' '.join(lost)} did not come back as before"
    return "" if window_open(window, clock) else f"the reboot waits for {window}, it is {clock}"


def nothing_done(check_mode: bool) -> Done:
    """Of a host on which nothing was done."""
    return {"check": check_mode, "installed": [], "restarted": [], "left": [], "words": [], "wrong": []}


def add(done: Done, added: Added) -> Done:
    """What was done, with what is added to its lists."""
    return {
        "check": done["check"],
        "installed": [*done["installed"], *added.get("installed", [])],
        "restarted": [*done["restarted"], *added.get("restarted", [])],
        "left": [*done["left"], *added.get("left", [])],
        "words": [*done["words"], *added.get("words", [])],
        "wrong": [*done["wrong"], *added.get("wrong", [])],
    }


def compare(before: t.Iterable[Info], after: t.Iterable[Info]) -> list[str]:
    """Where the web server responds worse than before: one sentence for each request that was made both times."""

    def request(response: Info) -> tuple[t.Any, ...]:
        return tuple(response.get(key) for key in ("address", "port", "server_name", "path"))

    def headers(response: Info) -> Info:
        """What worse() compares; of the headers web_config returns HSTS only."""
        return dict(response, headers={"strict-transport-security": response["hsts"]} if response["hsts"] else {})

    # A path may be requested in several ways, always in the same order.
    later: dict[tuple[t.Any, ...], list[Info]] = {}
    for response in after:
        later.setdefault(request(response), []).append(response)
    worse = []
    for response in before:
        place = _phrases.host_port(response["address"], response["port"])
        if not later.get(request(response)):
            if response["ok"]:
                worse.append(f"{place} {response['path']}: it is not served any more")
            continue
        reason = _probes.worse(headers(response), headers(later[request(response)].pop(0)))
        if reason:
            worse.append(f"{place} {response['path']}: {reason}")
    return worse


# --- what to report --------------------------------------------------------------------------------------------------


def _count(number: int | None, what: str) -> str:
    return f"{'an unknown number' if number is None else number} {what}"


def _support_line(support: ReturnedSupport) -> str:
    text = f"support: {support['level']}"
    if support["until"]:
        text += " since " if support["level"] == "eol" else " until "
        text += support["until"]
    return text + (f" ({support['source']})" if support["source"] else "")


def _updates_line(updates: ReturnedUpdates, metadata: ReturnedMetadata) -> str:
    if updates["pending"] is None and not updates["packages"]:
        return "updates: unknown" + (f" ({updates['reason']})" if updates["reason"] else "")
    age = "of unknown age" if metadata["age_hours"] is None else f"{metadata['age_hours']:.0f} h old"
    counts = [
        _count(updates["pending"], "pending"),
        _count(updates["security"], "for security"),
        _count(updates["held"], "held"),
    ]
    return f"updates: {', '.join(counts)}; lists {age}"


def _restart_line(restart: ReturnedRestart) -> str:
    services = " ".join(restart["services"]) or ("none" if restart["reboot_required"] is not None else "unknown")
    reboot = {True: "needed", False: "not needed", None: "unknown"}[restart["reboot_required"]]
    return f"to restart: {services}; reboot: {reboot}"


def _automatic_line(automatic: ReturnedAutomatic) -> str:
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


def report(info: UpdateStatus | FailedPart, done: Done, all_must_be_well: bool = False) -> StepReport:
    """The report on a host.

    all_must_be_well: it also fails for what was found out and is not as it should be, unknown included.
    """
    if not _host_fact.succeeded(info):
        lines = [f"unknown: {NOT_CHECKED}: {info.get('msg')}", *(f"wrong: {text}" for text in done["wrong"])]
        bad = [*done["wrong"], *([NOT_CHECKED] if all_must_be_well else [])]
        return {"step": UPDATES, "outcome": _done_lines(done), "lines": lines, "bad": bad}
    lines = [
        _support_line(info["support"]),
        _updates_line(info["updates"], info["metadata"]),
        _restart_line(info["restart"]),
        _automatic_line(info["automatic"]),
    ]
    lines += [f"wrong: {text}" for text in done["wrong"]]
    found = [item for item in info["findings"] if item["severity"] in ("fail", "unknown")]
    found_bad = [f"{item['id']} ({item['subject']})" for item in found] if all_must_be_well else []
    lines += _finding_lines.lines(info["findings"])
    return {"step": UPDATES, "outcome": _done_lines(done), "lines": lines, "bad": [*done["wrong"], *found_bad]}


def _done_lines(done: Done) -> list[str]:
    would = "would be " if done["check"] else ""
    lines = []
    for names, what in ((done["installed"], "installed"), (done["restarted"], "restarted")):
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            lines.append(f"{would}{what}: {' '.join(names[:NAMES_SHOWN])}{more}")
    if done["left"]:
        lines.append(f"left until the next reboot: {' '.join(done['left'])}")
    return [*lines, *done["words"]]
