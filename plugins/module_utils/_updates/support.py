# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Whether a distribution's release still gets security updates: from whom, until when, and by which source.

A release has stages. C(full) is the security support that everybody gets, C(lts) what everybody gets after that, and
C(extended) what only hosts get that are subscribed to it. Where sources differ about the end of a stage, the earlier
date counts. Nothing here uses the network, and nothing imports the rest of the collection: C(tools/support_data.py)
reads the same files with it.

Sources: os-release(5); the CSV files of the package distro-info-data, columns by their header; the files that
subscriptions leave on hosts (deb.freexian.com/extended-lts, ubuntu-advantage-client, subscription-manager, zypper).
"""

from __future__ import annotations

import configparser
import csv
import datetime
import json
import os
import re
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host

STAGES = ("full", "lts", "extended")
UNKNOWN, EOL = "unknown", "eol"
STALE_DAYS = 180  # older data mean nothing for a release whose end is as near as that
SOON_DAYS = 90  # from then on, people have to plan

# A stage's end by the source that names it, as an ISO date; None where by that source no end is known.
Ends = t.Dict[str, t.Optional[str]]
# Stages of a release; "newest" is the newest minor release of a major one.
Stages = t.Dict[str, t.Any]

# os-release's ID to the name in the data, where they differ; CentOS Stream has the ID of CentOS.
_IDS = {"sles_sap": "sles", "univention": "ucs", "univention-corporate-server": "ucs"}
# Those whose data are about major releases, and those of which an old minor release gets no updates any more.
_BY_MAJOR = ("rhel", "rocky", "almalinux", "ol", "centos", "centos-stream")
_MINOR_ENDS = ("rhel",)
_OWN = "os-release"  # the source that is the release itself
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "debian": {"full": ("eol",), "lts": ("eol-lts",), "extended": ("eol-elts",)},
    "ubuntu": {"full": ("eol-server", "eol"), "extended": ("eol-esm",)},
}

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class ReturnedSupport(t.TypedDict):  # novm
        """The support of a release as the module returns it, with ISO dates."""

        level: str
        until: str | None
        source: str
        data_date: str | None

else:
    ReturnedSupport = t.Dict[str, t.Any]


class Data(t.NamedTuple):
    """Dates of support. dates: when each source's data were made; releases: product, release, stages."""

    dates: t.Mapping[str, str]
    releases: t.Mapping[str, t.Mapping[str, Stages]]


class Support(t.NamedTuple):
    """The result. until: the last day, or the one on which it ended; reason: the explanation."""

    level: str
    until: datetime.date | None
    source: str
    data_date: datetime.date | None
    reason: str
    newest: str = ""  # the newest minor release, where the host has an older one

    def returned(self) -> ReturnedSupport:
        """As the module returns it."""
        return {
            "level": self.level,
            "until": self.until.isoformat() if self.until else None,
            "source": self.source,
            "data_date": self.data_date.isoformat() if self.data_date else None,
        }


def date(text: str) -> datetime.date:
    """An ISO date; raises ValueError."""
    return datetime.datetime.strptime(text, "%Y-%m-%d").date()


def _iso(text: str) -> str:
    """An ISO date as it is written; empty where the text is none."""
    try:
        return date(text).isoformat()
    except ValueError:
        return ""


# --- which release ---------------------------------------------------------------------------------------------------


def identify(release: t.Mapping[str, str]) -> tuple[str, str]:
    """The names of product and release in the data, from os-release's fields; the version is empty without one."""
    own = release.get("ID", "").lower()
    product = _IDS.get(own, own)
    version = release.get("VERSION_ID", "")
    if product == "centos" and "stream" in release.get("NAME", "").lower():
        product = "centos-stream"
    if product == "ucs":
        version = version.partition("-")[0]  # 5.0-4 is a patch level of 5.0
    if product == "sles" and version and "." not in version:
        version += ".0"  # before the first service pack
    if product == "opensuse-leap":
        product = "opensuse"
    return product, version


def _major(product: str, version: str) -> str:
    return version.partition(".")[0] if product in _BY_MAJOR else version


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,9}", version))


# --- what is known of it ---------------------------------------------------------------------------------------------


def distro_info(text: str, product: str, source: str) -> dict[str, Stages]:
    """The releases of one of distro-info-data's files (debian.csv, ubuntu.csv), by version."""
    found: dict[str, Stages] = {}
    for row in csv.DictReader(text.splitlines()):
        version = (row.get("version") or "").replace(" LTS", "")
        stages: Stages = {}
        for stage, columns in _COLUMNS[product].items():
            end = next((row[column] for column in columns if row.get(column)), None)
            if end:
                stages[stage] = {source: end}
        if version and stages:
            found[version] = stages
    return found


def _merged(stages: t.Iterable[Stages]) -> Stages:
    whole: Stages = {}
    for some in stages:
        for name, value in some.items():
            if name in STAGES:
                whole.setdefault(name, {}).update(value)
            else:
                whole[name] = value
    return whole


class _End(t.NamedTuple):
    """When a stage ends. names: the sources of the date, with the dates of others; known: when the newest was made."""

    until: datetime.date | None
    names: str
    known: datetime.date | None


def _end(ends: Ends, dates: t.Mapping[str, str]) -> _End:
    until = min((date(value) for value in ends.values() if value), default=None)
    text = until.isoformat() if until else None
    names = [name for name, value in ends.items() if value == text]
    others = ["{} has {}".format(name, value or "no date") for name, value in ends.items() if value != text]
    known = max((date(dates[name]) for name in ends if name in dates), default=None)
    return _End(until, ", ".join(names) + (" ({})".format(", ".join(others)) if others else ""), known)


def judge(
    release: t.Mapping[str, str],
    now: datetime.date,
    data: Data,
    own_data: Data | None = None,
    extended: str = "",
) -> Support:
    """What support a release has on a day.

    release: the fields of os-release. data: the collection's. own_data: those that the host has itself. extended: what
    shows that the host gets extended support, or nothing.
    """
    product, version = identify(release)
    if not product:
        return _unknown("os-release does not have the distribution's name (ID)")
    if not version:
        return _unknown("os-release has no VERSION_ID, as with releases that are not finished or never are")
    major = _major(product, version)
    every = [one.releases.get(product, {}) for one in (data, own_data) if one is not None]
    stages = _merged(releases[major] for releases in every if major in releases)
    dates = {**(own_data.dates if own_data else {}), **data.dates}
    own_end = _iso(release.get("SUPPORT_END", ""))
    if own_end:
        stages = _merged([stages, {"full": {_OWN: own_end}}])
    name = f"{product} {version}"
    if not stages:
        return _unknown(f"the data have no dates for {name}")
    newest = stages.get("newest", "")
    older = bool(newest) and _number(version) < _number(newest)
    if product in _MINOR_ENDS and "." not in version:
        return _unknown(f"os-release does not have the minor release of {name}")
    if product in _MINOR_ENDS and older:
        return _old_minor(product, version, newest, now, data, extended)
    support = _stage(name, stages, dates, now, extended)
    # After the last one, there is no newer minor release that old data could lack.
    is_last = newest.endswith(".10") and version == newest
    if product in _MINOR_ENDS and support.level == "full" and not is_last and _is_stale(support.data_date, now):
        return support._replace(
            level=UNKNOWN, until=None, reason=f"the data are too old to know whether {name} is the newest minor release"
        )
    return support._replace(newest=newest) if older else support


def judge_host(files: Host, release: t.Mapping[str, str], now: datetime.date, data: Data) -> Support:
    """The same for a host, with the data and the extended support that it has itself."""
    product, _version = identify(release)
    files = files.apart()
    found = judge(release, now, data, own_data(files, product), extended(files, release, now))
    if found.level == EOL and files.hidden:
        words = f"{' '.join(files.hidden)} cannot be read without root, and may be about extended support"
        return found._replace(level=UNKNOWN, until=None, reason=words)
    return found


def _unknown(reason: str) -> Support:
    return Support(UNKNOWN, None, "", None, reason)


def _is_stale(made: datetime.date | None, now: datetime.date) -> bool:
    return made is not None and (now - made).days > STALE_DAYS


def _stage(name: str, stages: Stages, dates: t.Mapping[str, str], now: datetime.date, extended: str) -> Support:
    last = _End(None, "", None)
    for level in STAGES:
        if level not in stages or (level == "extended" and not extended):
            continue
        last = _end(stages[level], dates)
        if last.until is None or now <= last.until:
            near = last.until is None or (last.until - now).days <= STALE_DAYS
            if near and _is_stale(last.known, now):
                reason = f"the data of {last.known} are too old for {name}, whose support ends in {last.until}"
                if last.until is None:
                    reason = f"the data of {last.known} are too old for {name}, and had no end of its support yet"
                return Support(UNKNOWN, None, last.names, last.known, reason)
            return Support(level, last.until, last.names, last.known, extended if level == "extended" else "")
    if last.until is None:
        return _unknown(f"the data have no dates for {name}")
    reason = ""
    if "extended" in stages and not extended:
        until = _end(stages["extended"], dates).until
        if until is None or now <= until:
            reason = "the host has none of the extended support that there is until {}".format(
                until or "further notice"
            )
    return Support(EOL, last.until, last.names, last.known, reason)


def _old_minor(product: str, version: str, newest: str, now: datetime.date, data: Data, extended: str) -> Support:
    """A minor release that a newer one has replaced: only hosts with its extended support get updates."""
    stages = data.releases[product].get(version, {})
    reason = f"{newest} has replaced it"
    if extended and stages:
        support = _stage(f"{product} {version}", stages, data.dates, now, extended)
        return support._replace(newest=newest)
    if extended:
        return Support(UNKNOWN, None, "", None, f"{reason}, and the data have no end of its extended support", newest)
    major = _end(data.releases[product][_major(product, version)]["full"], data.dates)
    return Support(EOL, None, major.names, major.known, reason, newest)


# --- what the host has -----------------------------------------------------------------------------------------------


def own_data(files: Host, product: str) -> Data | None:
    """The data of the host's own package distro-info-data, dated by its files, as packages date them."""
    if product not in _COLUMNS:
        return None
    path = f"/usr/share/distro-info/{product}.csv"
    text = files.read(path)
    if text is None:
        return None
    source = "the host's distro-info-data"
    made = datetime.datetime.fromtimestamp(os.stat(files.path(path)).st_mtime, datetime.timezone.utc).date()
    try:
        releases = distro_info(text, product, source)
        for stages in releases.values():
            for ends in stages.values():
                for end in ends.values():
                    date(end)
    except (ValueError, csv.Error):
        return None  # a broken file is as good as none
    return Data({source: made.isoformat()}, {product: releases})


def extended(files: Host, release: t.Mapping[str, str], now: datetime.date) -> str:
    """What shows that the host gets extended support, or nothing."""
    product, _version = identify(release)
    if product == "debian":
        return _apt_source(files, release.get("VERSION_CODENAME", ""), _ELTS)
    if product == "ubuntu":
        return _pro(files, release.get("VERSION_CODENAME", ""), now)
    if product in ("rhel", "ol"):
        return _repository(files, "/etc/yum.repos.d", r"\b(?:eus|els)\b" if product == "rhel" else r"(?:^|_)els\b")
    if product == "sles":
        names = _listed(files, "/etc/products.d")
        found = next((name for name in names if re.search(r"LTSS\b", name) and name.endswith(".prod")), "")
        return f"/etc/products.d/{found}" if found else _repository(files, "/etc/zypp/repos.d", r"LTSS\b")
    return ""


# What addresses of apt sources have in them: of Debian's extended LTS, of Ubuntu's service for the base packages.
_ELTS, _ESM = "/extended-lts", "esm.ubuntu.com/infra"


def _listed(files: Host, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(files.path(folder)))
    except OSError as error:
        files.note(folder, error)
        return []


def _apt_source(files: Host, codename: str, part_of_uri: str) -> str:
    """The file of an apt source of extended support for this release, the original or a mirror of the same path."""
    folder = "/etc/apt/sources.list.d"
    for path in ["/etc/apt/sources.list", *(f"{folder}/{name}" for name in _listed(files, folder))]:
        text = files.read(path) or ""
        if path.endswith(".sources"):
            for part in re.split(r"\n\s*\n", text):
                fields = {key.lower(): value for key, value in re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", part)}
                on = fields.get("enabled", "yes").strip().lower() not in ("no", "false", "without", "off", "disable")
                suites = fields.get("suites", "").split()
                if on and part_of_uri in fields.get("uris", "") and _suits(suites, codename):
                    return path
        elif path.endswith(".list"):
            for uri, suite in re.findall(r"(?m)^[ \t]*deb[ \t]+(?:\[[^\]\n]*\][ \t]*)?(\S+)[ \t]+(\S+)", text):
                if part_of_uri in uri and _suits([suite], codename):
                    return path
    return ""


def _suits(suites: t.Iterable[str], codename: str) -> bool:
    return bool(codename) and any(re.match(rf"{re.escape(codename)}(?:[-/]|$)", suite) for suite in suites)


def _pro(files: Host, codename: str, now: datetime.date) -> str:
    """Ubuntu Pro: the host is attached by a contract that has not expired, and its service for the base packages is on.

    The client does not write its status by itself. Without one the source that it makes for that service counts.
    """
    path = "/var/lib/ubuntu-advantage/status.json"
    text = files.read(path)
    if text is None:
        return _apt_source(files, codename, _ESM)
    try:
        status = json.loads(text)
        services = {service["name"]: service["status"] for service in status["services"]}
        expires = str(status.get("expires") or "")[:10]
        is_current = expires in ("", "n/a") or now <= date(expires)
        if status["attached"] is True and services.get("esm-infra") == "enabled" and is_current:
            return path
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return ""


def _repository(files: Host, folder: str, pattern: str) -> str:
    """A repository that is enabled and whose id matches."""
    for name in _listed(files, folder):
        if not name.endswith(".repo"):
            continue
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(files.read(f"{folder}/{name}") or "")
        except configparser.Error:
            continue
        for section in parser.sections():
            on = parser.get(section, "enabled", fallback="1").strip().lower() in ("1", "yes", "true", "on")
            if on and re.search(pattern, section, re.IGNORECASE):
                return f"{folder}/{name}: {section}"
    return ""
