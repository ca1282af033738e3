# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Whether a host installs its security updates by itself: switched on, for all of them, and with success lately.

Supported are unattended-upgrades, dnf-automatic of dnf 4 and dnf 5, transactional-update, os-update and YaST's online
update. What an administrator's own cron job does is not seen.
"""

from __future__ import annotations

import configparser
import datetime
import fnmatch
import os
import re
import shlex
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable, shell_words
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Automatic,
    Host,
    Reading,
    Source,
    rfc3339,
)

_DAY = datetime.timedelta(days=1)
_LATELY = 3 * _DAY
"""How long ago a daily job may have run: a host may be off for a weekend."""

_PROPERTIES = "Id,LoadState,ActiveState,LastTriggerUSec,Result"
_APT_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
_APT_CRON = "/etc/cron.daily/apt-compat"
_UNATTENDED = "unattended-upgrades"
_LOG_TAIL = 65536  # bytes
_LOG_ERROR = re.compile(r"(?m)^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ ERROR (.*)$")
# Keywords of an origins pattern, and the field of a Release file that each is compared with.
_PATTERN_FIELDS = {
    **dict.fromkeys(("o", "origin"), "Origin"),
    **dict.fromkeys(("l", "label"), "Label"),
    **dict.fromkeys(("a", "suite", "archive"), "Suite"),
    **dict.fromkeys(("n", "codename"), "Codename"),
}
# Of dnf-automatic: those that install if their configuration does, the one that always does, those that never do.
_DNF_TIMERS = ("dnf-automatic.timer", "dnf5-automatic.timer")
_DNF_INSTALLING = "dnf-automatic-install.timer"
_DNF_SILENT = ("dnf-automatic-download.timer", "dnf-automatic-notifyonly.timer")
# The defaults of dnf 5 install nothing.
_APPLY_DNF5 = (
    "cp --no-clobber /usr/share/dnf5/dnf5-plugins/automatic.conf /etc/dnf/"
    " && sed -i 's/^apply_updates.*/apply_updates = yes/' /etc/dnf/automatic.conf"
    " && systemctl enable --now dnf5-automatic.timer"
)
_INSTALL_DNF = {
    "dnf": "dnf install dnf-automatic && systemctl enable --now dnf-automatic-install.timer",
    "dnf5": f"dnf install dnf5-plugin-automatic && {_APPLY_DNF5}",
}
_DNF_CONFIGURATIONS = ("/usr/share/dnf5/dnf5-plugins/automatic.conf", "/etc/dnf/automatic.conf")
_SUSE_TIMERS = ("transactional-update.timer", "os-update.timer")
_SUSE_CRON = "opensuse.org-online_update"
_INSTALL_OS_UPDATE = "zypper install os-update && systemctl enable --now os-update.timer"
# Shell scripts, of which the last one counts; where the vendor's is depends on the version.
_OS_UPDATE_CONFIGURATIONS = (
    "/usr/share/os-update/os-update.conf",
    "/usr/etc/os-update.conf",
    "/etc/os-update.conf",
)

_INSTALL_UNATTENDED = "apt-get install unattended-upgrades"
_ENABLE_UNATTENDED = (
    "printf 'APT::Periodic::%s \"1\";\\n' Update-Package-Lists Unattended-Upgrade Enable"
    " >/etc/apt/apt.conf.d/99auto-upgrades"
)
_PATTERN = 'Unattended-Upgrade::Origins-Pattern:: "origin={Origin},codename={Codename},suite={Suite}";'
# What the fields of a Release file may be made of to stand in a pattern. Neither apt's configuration nor a pattern can
# quote all of the rest, and a mirror chooses it.
_PLAIN = re.compile(r"[A-Za-z0-9 ._:/+~()-]*")
_TRY = "unattended-upgrade --debug"

Units = t.Dict[str, t.Dict[str, str]]


def _units(host: Host, *names: str) -> Units | None:
    """The state of the units that systemd knows, by name; None where it does not run."""
    outcome = host.run("systemctl", "show", "--no-pager", f"--property={_PROPERTIES}", *names)
    if outcome.code:
        return None
    blocks = [dict(re.findall(r"(?m)^(\w+)=(.*)$", block)) for block in outcome.stdout.split("\n\n")]
    return {block.get("Id", ""): block for block in blocks if block.get("LoadState") == "loaded"}


def _hidden(host: Host) -> str:
    return f"{' '.join(host.hidden)} cannot be read without root"


def _is_active(units: Units, name: str) -> bool:
    return units.get(name, {}).get("ActiveState") == "active"


def _judge_timer(automatic: Automatic, units: Units, timer: str, now: datetime.datetime) -> None:
    """Report whether the timer has triggered its service lately, and with success."""
    text = units[timer].get("LastTriggerUSec", "")
    try:
        moment = datetime.datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        automatic.reason = f"{timer} has not triggered yet"
        return
    automatic.last_run = moment.replace(tzinfo=datetime.timezone.utc)
    result = units.get(timer.replace(".timer", ".service"), {}).get("Result", "success")
    automatic.works = now - automatic.last_run <= _LATELY and result == "success"
    if not automatic.works:
        automatic.reason = f"{timer} triggered last on {rfc3339(automatic.last_run)}, with the result {result}"
        automatic.fix = f"systemctl status {timer} {timer.replace('.timer', '.service')}"


# ---- unattended-upgrades


def apt(host: Host, reading: Reading, release: t.Mapping[str, str], now: datetime.datetime) -> Automatic:
    """What the host has of automatic updates.

    `reading` is what its package manager has reported, and `release` has the fields of os-release.
    """
    if not host.has("unattended-upgrade"):
        return Automatic(
            enabled=False,
            reason="unattended-upgrades is not installed",
            fix=f"{_INSTALL_UNATTENDED} && {_ENABLE_UNATTENDED}",
        )
    automatic = Automatic(mechanism=_UNATTENDED)
    outcome = host.run("apt-config", "dump")
    if outcome.code:
        automatic.reason = outcome.complaint
        return automatic
    options = _options(outcome.stdout)
    interval = _interval(options, "apt::periodic::unattended-upgrade")
    automatic.enabled = _apt_on(host, automatic, options, interval)
    if automatic.enabled:
        # Where both are wrong, the one that is named first is the reason.
        automatic.works = _apt_runs(host, automatic, options, now, 2 * interval + _DAY)
        automatic.covers_security = _covers(automatic, options, reading, release)
    return automatic


def _options(text: str) -> dict[str, list[str]]:
    """The options of apt by their names in lower case; the lists have several values."""
    options: dict[str, list[str]] = {}
    for name, value in re.findall(r'(?m)^(\S+?)(?:::)? "(.*)";$', text):
        if value:
            options.setdefault(name.lower(), []).append(value)
    return options


def _interval(options: t.Mapping[str, list[str]], name: str) -> datetime.timedelta:
    """How often a periodic job of apt runs: days, unless a unit follows; zero for never."""
    text = options.get(name, ["0"])[-1]
    number = re.match(r"(\d{1,6})([smhd]?)$", text)
    if not number:
        return _DAY if text == "always" else 0 * _DAY
    unit = {"s": _DAY / 86400, "m": _DAY / 1440, "h": _DAY / 24}.get(number.group(2), _DAY)
    return int(number.group(1)) * unit


def _apt_on(host: Host, automatic: Automatic, options: t.Mapping[str, list[str]], interval: datetime.timedelta) -> bool:
    """Is unattended-upgrades started regularly? Returns why not."""
    automatic.fix = _ENABLE_UNATTENDED
    if options.get("apt::periodic::enable", ["1"])[-1] == "0":
        automatic.reason = "APT::Periodic::Enable is 0"
    elif not interval:
        automatic.reason = "APT::Periodic::Unattended-Upgrade is 0 or not set"
    else:
        units = _units(host, *_APT_TIMERS)
        stopped = " ".join(timer for timer in _APT_TIMERS if not _is_active(units or {}, timer))
        if units is None and not (os.path.exists(host.path(_APT_CRON)) and host.has("cron")):
            automatic.reason, automatic.fix = "neither systemd nor cron starts it", "apt-get install cron"
        elif units is not None and stopped:
            automatic.reason = f"not active: {stopped}"
            automatic.fix = f"systemctl unmask {stopped} && systemctl enable --now {stopped}"
        else:
            automatic.fix = ""
    return not automatic.fix


def _covers(
    automatic: Automatic, options: t.Mapping[str, list[str]], reading: Reading, release: t.Mapping[str, str]
) -> bool | None:
    """Does unattended-upgrades install from all security sources, and leave no pending security update out?

    Returns why not. None where there is no such source.
    """
    patterns = list(options.get("unattended-upgrade::origins-pattern", []))
    for text in options.get("unattended-upgrade::allowed-origins", []):
        origin, _colon, suite = re.sub(r"(?<!\\):", "\0", text).replace("\\:", ":").partition("\0")
        if not suite:
            origin, _blank, suite = text.partition(" ")
        patterns.append(f"o={origin},a={suite}")
    sources = [source for source in reading.metadata.sources if source.security]
    if not sources:
        automatic.reason = reading.updates.reason or "none of the package sources is one of security updates"
        return None
    missed = [source for source in sources if not any(_matches(text, source, release) for text in patterns)]
    excluded = options.get("unattended-upgrade::package-blacklist", [])
    left_out = [package.name for package in reading.updates.security if any(_begins(e, package.name) for e in excluded)]
    if missed:
        names = ", ".join(source.name for source in missed)
        automatic.reason = f"no pattern of Unattended-Upgrade::Origins-Pattern matches {names}"
        automatic.fix = "\n".join(map(_cover, missed))
    elif left_out:
        automatic.reason = "Unattended-Upgrade::Package-Blacklist leaves out " + ", ".join(left_out)
        automatic.fix = "apt-get install --only-upgrade " + shell_words(left_out)
    return not (missed or left_out)


def _cover(source: Source) -> str:
    """A command that has unattended-upgrades install from the source."""
    if all(map(_PLAIN.fullmatch, source.fields.values())):
        return f"echo {shlex.quote(_PATTERN.format(**source.fields))} >>/etc/apt/apt.conf.d/99auto-upgrades"
    name = printable(source.name)
    return f"# the Release file of {name} has names that no pattern can have; is it the source that it should be?"


def _begins(expression: str, name: str) -> bool:
    try:
        return re.match(expression, name) is not None
    except re.error:
        return False


def _matches(pattern: str, source: Source, release: t.Mapping[str, str]) -> bool:
    """Does a pattern such as C(origin=Debian,label=Debian-Security) match the source?"""
    values = {"distro_id": release.get("ID", "").capitalize(), "distro_codename": release.get("VERSION_CODENAME", "")}
    pattern = re.sub(r"\$\{(\w+)\}", lambda macro: values.get(macro.group(1), macro.group()), pattern)
    for token in re.split(r"(?<!\\),", pattern):
        name, _equals, value = (part.strip().replace("\\,", ",") for part in token.partition("="))
        field = _PATTERN_FIELDS.get(name)
        if field:
            given = source.fields.get(field, "")
        elif name == "site":
            given = re.sub(r"^\w+:/*([^/ ]*).*", r"\1", source.name)
        elif name in ("c", "component"):
            given = "main"
        else:
            return False
        if not fnmatch.fnmatch(given, value):
            return False
    return bool(pattern.strip())


def _apt_runs(
    host: Host,
    automatic: Automatic,
    options: t.Mapping[str, list[str]],
    now: datetime.datetime,
    limit: datetime.timedelta,
) -> bool | None:
    """Did unattended-upgrades run within the limit, and without an error since? Returns when it did and why not.

    None where it had no time to run yet.
    """
    # Of the job that starts it, after a success. Its own stamp is touched by a dry run as well.
    last = _changed(host, "/var/lib/apt/periodic/upgrade-stamp")
    failure = _last_error(host, options, last)
    if last:
        automatic.last_run = datetime.datetime.fromtimestamp(last, datetime.timezone.utc)
    installed = _changed(host, f"/var/lib/dpkg/info/{_UNATTENDED}.list")
    automatic.fix = _TRY
    if failure:
        automatic.reason = f"its last run failed: {failure}"
    elif not _interval(options, "apt::periodic::update-package-lists"):
        automatic.reason = "APT::Periodic::Update-Package-Lists is 0 or not set, so it knows of no new updates"
        automatic.fix = _ENABLE_UNATTENDED
    elif automatic.last_run and now - automatic.last_run > limit:
        automatic.reason = f"it last ran with success on {rfc3339(automatic.last_run)}"
    elif automatic.last_run and failure is None:
        automatic.reason, automatic.fix = "its log cannot be read without root: its last run may have failed", ""
        return None
    elif automatic.last_run:
        automatic.fix = ""
        return True
    elif installed and now.timestamp() - installed > limit.total_seconds():
        automatic.reason = "it has never run with success"
    else:
        automatic.reason = "it has not run yet"
        return None
    return False


def _changed(host: Host, path: str) -> float:
    """When a file was last written, in seconds since the epoch; 0 where there is none."""
    try:
        return os.stat(host.path(path)).st_mtime
    except OSError:
        return 0.0


def _last_error(host: Host, options: t.Mapping[str, list[str]], after: float) -> str | None:
    """The last error in unattended-upgrades' log since a time; empty for none, None where it may not be read."""
    folder = options.get("unattended-upgrade::logdir", ["/var/log/unattended-upgrades"])[-1]
    try:
        with _regular.opened(host.path(os.path.join(folder, "unattended-upgrades.log")), foreign_links=True) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
            text = _regular.read_up_to(log, _LOG_TAIL).decode("utf-8", "replace")
    except PermissionError:
        return None
    except OSError:
        return ""
    for moment, message in reversed(_LOG_ERROR.findall(text)):
        try:
            # The log has the host's own time.
            seconds = datetime.datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").timestamp()
        except (ValueError, OverflowError):
            continue
        return f"{moment} {message}" if seconds > after else ""
    return ""


# ---- dnf-automatic


def dnf(host: Host, reading: Reading, release: t.Mapping[str, str], now: datetime.datetime) -> Automatic:
    """As apt(), with dnf 4 and dnf 5."""
    host = host.apart()
    timers = (_DNF_INSTALLING, *_DNF_TIMERS, *_DNF_SILENT)
    units = _units(host, *timers, *(timer.replace(".timer", ".service") for timer in timers))
    if units is None:
        return Automatic(mechanism="dnf-automatic", reason="systemd does not show which timers run")
    if not any(timer in units for timer in timers):
        return Automatic(enabled=False, reason="dnf-automatic is not installed", fix=_INSTALL_DNF[reading.manager])
    automatic = Automatic(mechanism="dnf5-automatic" if "dnf5-automatic.timer" in units else "dnf-automatic")
    active = [timer for timer in timers if _is_active(units, timer)]
    commands = _commands(host)
    applies = commands.get("apply_updates", "no").strip().lower() in ("1", "yes", "true", "on")
    installing = [timer for timer in active if timer == _DNF_INSTALLING or (timer in _DNF_TIMERS and applies)]
    if host.hidden:
        automatic.reason = _hidden(host)
        return automatic
    automatic.enabled = bool(installing)
    if not installing:
        automatic.reason = (
            ", ".join(active) + " installs nothing: apply_updates is off in /etc/dnf/automatic.conf"
            if active
            else "none of its timers is active"
        )
        automatic.fix = _APPLY_DNF5 if "dnf5-automatic.timer" in units else f"systemctl enable --now {_DNF_INSTALLING}"
        return automatic
    _judge_timer(automatic, units, installing[0], now)
    automatic.covers_security = True
    if commands.get("upgrade_type", "default").strip() == "security" and not reading.updates.security_known:
        automatic.covers_security = False
        automatic.reason = "upgrade_type is security, but the repositories do not mark which updates are for security"
        automatic.fix = "sed -i 's/^upgrade_type.*/upgrade_type = default/' /etc/dnf/automatic.conf"
    return automatic


def _commands(host: Host) -> dict[str, str]:
    """What dnf-automatic is configured to do; those of dnf 5 are the defaults and what differs from them."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    for path in _DNF_CONFIGURATIONS:
        try:
            parser.read_string(host.read(path) or "")
        except configparser.Error:
            continue  # dnf-automatic itself ends with an error then, which its service's result shows
    return {name: value or "" for name, value in parser.items("commands")} if parser.has_section("commands") else {}


# ---- SUSE


def zypper(host: Host, reading: Reading, release: t.Mapping[str, str], now: datetime.datetime) -> Automatic:
    """As apt(), with zypper."""
    host = host.apart()
    units = _units(host, *_SUSE_TIMERS, *(timer.replace(".timer", ".service") for timer in _SUSE_TIMERS))
    active = [timer for timer in _SUSE_TIMERS if _is_active(units or {}, timer)]
    if active:
        automatic = Automatic(True, active[0].replace(".timer", ""), covers_security=True)
        _judge_timer(automatic, units or {}, active[0], now)
        if automatic.mechanism == "os-update":
            _judge_os_update(host, automatic, reading)
        return automatic
    jobs = [f"/etc/cron.{often}/{_SUSE_CRON}" for often in ("daily", "weekly", "monthly")]
    settings = dict(
        re.findall(r"(?m)^(AOU_\w+)=[\"']?([^\"'\n]*)", host.read("/etc/sysconfig/automatic_online_update") or "")
    )
    if settings.get("AOU_ENABLE_CRONJOB") == "true" and any(os.path.exists(host.path(job)) for job in jobs):
        automatic = Automatic(True, "online_update")
        categories = settings.get("AOU_PATCH_CATEGORIES", "").split()
        automatic.covers_security = not categories or "security" in categories
        automatic.reason = (
            "its cron job does not leave a note of when it ran"
            if automatic.covers_security
            else f"AOU_PATCH_CATEGORIES is {' '.join(categories)}"
        )
        return automatic
    if units is None or host.hidden:
        return Automatic(reason=_hidden(host) if host.hidden else "systemd does not show which timers run")
    reason = "neither a timer nor the online update's cron job is active"
    return Automatic(enabled=False, reason=reason, fix=_INSTALL_OS_UPDATE)


def _judge_os_update(host: Host, automatic: Automatic, reading: Reading) -> None:
    """Report where it is to install security updates alone, and could not know which these are."""
    texts = [host.read(path) or "" for path in _OS_UPDATE_CONFIGURATIONS]
    commands = re.findall(r"(?m)^[ \t]*UPDATE_CMD=[\"']?(\w*)", "\n".join(texts))
    if commands[-1:] == ["security"] and not reading.updates.security_known:
        automatic.covers_security = False
        automatic.reason = "UPDATE_CMD is security, but the repositories do not mark which updates are for security"
        automatic.fix = "echo UPDATE_CMD=up >>/etc/os-update.conf"
