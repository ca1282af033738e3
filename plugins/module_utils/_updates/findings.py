# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The findings that follow from a C(Reading), and from how long a release is maintained."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import shell_words
from ansible_collections.kopano.hardening.plugins.module_utils._updates import model as _updates_model
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Automatic,
    Busy,
    Package,
    Reading,
    Refused,
)

_NAMES_SHOWN = 20


def _named(packages: t.Sequence[Package]) -> str:
    """The packages with their versions, not more than can be read."""
    shown = [f"{p.name} {p.installed} -> {p.available}" if p.installed else p.name for p in packages[:_NAMES_SHOWN]]
    more = len(packages) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _names(packages: t.Iterable[Package]) -> str:
    return shell_words(package.name for package in packages)


def of_support(support: _support.Support, name: str, now: datetime.date, accept_lts: bool) -> t.Iterator[Finding]:
    """What follows from a release's support; name is the distribution's."""
    until = f"until {support.until}" if support.until else "no end is known"
    if support.level == _support.EOL:
        until = f"it ended on {support.until}" if support.until else ""
    evidence = "; ".join(
        text for text in (until if support.level != _support.UNKNOWN else "", support.source, support.reason) if text
    )
    if support.level in (_support.EOL, _support.UNKNOWN, "extended"):
        yield finding("support." + support.level, name, evidence)
    if support.level == "lts":
        yield finding("support.lts", name, evidence, severity="" if accept_lts else "fail")
    # Where long-term support follows and is good enough, the end of the full one needs no plan yet.
    if support.level in _support.STAGES and support.until and (support.until - now).days <= _support.SOON_DAYS:
        yield finding("support.soon", name, evidence)
    if support.newest and support.level in ("full", "lts"):
        yield finding("support.minor", name, f"the newest is {support.newest}")


def of_updates(reading: Reading) -> t.Iterator[Finding]:
    """What follows from the pending updates. That they could not be read is for the reader to report."""
    manager, updates, commands = reading.manager, reading.updates, reading.commands
    security = updates.security
    held = [package for package in security if package.held]
    free = [package for package in security if not package.held]
    if security:
        fix = commands.install.format(_names(free)) if free else commands.release.format(_names(held))
        yield finding("updates.security.pending", manager, _named(security), fix)
    if held:
        yield finding("updates.held.security", manager, _named(held), commands.release.format(_names(held)))
    others = [package for package in updates.packages or () if not package.security]
    if others:
        yield finding("updates.pending", manager, _named(others), commands.install_all)


def of_phased(manager: str, packages: t.Sequence[Package]) -> t.Iterator[Finding]:
    """What follows from updates whose turn on this host has not come yet."""
    if packages:
        yield finding("updates.phased", manager, _named(packages))


def of_metadata(reading: Reading) -> t.Iterator[Finding]:
    """What follows from the age and the state of the lists. Those that were never read are for the reader to report."""
    manager, metadata, refresh = reading.manager, reading.metadata, reading.commands.refresh
    if metadata.stale:
        yield finding("updates.metadata.stale", manager, metadata.reason, refresh)
    elif metadata.stale is None and metadata.reason:
        yield finding("updates.metadata.unknown", manager, metadata.reason, refresh)
    silent = _updates_model.never_fetched(metadata.sources)
    for source in metadata.sources:
        if source.problem and not silent:
            yield finding("updates.source.failed", source.name, source.problem)
        if source.signed is False:
            yield finding("updates.metadata.unsigned", source.name)


def of_automatic(manager: str, automatic: Automatic) -> t.Iterator[Finding]:
    """What follows from the automatic updates: the first thing that keeps them from being of use."""
    key = ""
    if automatic.enabled is False:
        key = "updates.automatic.off"
    elif automatic.covers_security is False:
        key = "updates.automatic.no_security"
    elif automatic.works is False:
        key = "updates.automatic.idle"
    elif not (automatic.enabled and automatic.covers_security and automatic.works):
        key = "updates.automatic.unknown"
    if key:
        yield finding(key, automatic.mechanism or manager, automatic.reason, automatic.fix)


def refused(reading: Reading, refusal: Refused) -> Reading:
    """The reading of a package manager without a result."""
    reading.updates.reason = str(refusal)
    kind = "updates.busy" if isinstance(refusal, Busy) else "updates.error"
    reading.findings.append(finding(kind, reading.manager, str(refusal)))
    return reading


def conclude(reading: Reading, unread: list[str], lack: Finding | None) -> Reading:
    """The reading of a package manager with a result.

    `unread` is what it did not see, and `lack` is the finding that it does not know which updates are for security.
    """
    reading.updates.complete = not unread
    reading.updates.security_known = lack is None
    # That lists were never fetched covers everything but a suite that they would lack.
    if lack and not (lack["severity"] == "unknown" and _updates_model.never_fetched(reading.metadata.sources)):
        reading.findings.append(lack)
        unread = [*unread, lack["evidence"]]
    reading.updates.reason = "; ".join(unread)
    return reading


def complete(reading: Reading) -> Reading:
    """The reading with the findings that follow from it, after those that its reader had.

    Lists that are stale, or may be, leave the updates incomplete.
    """
    if reading.manager:
        if reading.metadata.stale is not False:
            reading.updates.complete = False
            reasons = dict.fromkeys((reading.updates.reason, reading.metadata.reason))
            reading.updates.reason = "; ".join(filter(None, reasons))
        reading.findings += of_updates(reading)
        reading.findings += of_metadata(reading)
        reading.findings += of_automatic(reading.manager, reading.automatic)
    else:
        reading.findings.append(finding("updates.manager.none", "host", reading.updates.reason))
    return reading
