# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kinds of findings about keeping a host up to date."""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import UPDATES, Catalogue, Entry

CATALOGUE = Catalogue(
    UPDATES,
    {
        # How long the release is maintained
        "support.eol": Entry(
            "fail",
            "The distribution's release gets no security updates any more.",
            "Upgrade to a release that is maintained, or subscribe to extended support where there is some.",
        ),
        "support.lts": Entry(
            "info",
            "The release is past its full support and gets long-term support.",
            "Plan the upgrade to the next release.",
        ),
        "support.extended": Entry(
            "info",
            "The release gets security updates from extended support only.",
            "Plan the upgrade to a newer release.",
        ),
        "support.soon": Entry("warn", "Support of the release ends soon.", "Upgrade to a newer release before that."),
        "support.minor": Entry(
            "warn", "There is a newer minor release, and only the newest one gets updates.", "Install the updates."
        ),
        "support.unknown": Entry(
            "unknown",
            "Whether the distribution's release is maintained is not known.",
            "Use a newer version of this collection, or set it with updates_support_data.",
        ),
        # Whose packages are in use
        "support.package.foreign": Entry(
            "warn",
            "The package does not come from the distribution, whose security updates do not reach it.",
            "See to it that its own source has security updates, or install the distribution's package.",
        ),
        "support.package.none": Entry(
            "warn",
            "It belongs to no package: no update reaches it.",
            "Install the distribution's package, or look after its updates yourself.",
        ),
        "support.package.unknown": Entry(
            "unknown", "Whether the package comes from the distribution is not known.", "Refresh the package lists."
        ),
        # What is pending, and what installs it
        "updates.manager.none": Entry(
            "unknown",
            "None of the package managers apt, dnf and zypper is on the host: its updates are not known.",
            "Look after the updates of this host by other means.",
        ),
        "updates.error": Entry(
            "unknown", "The package manager could not list the pending updates.", "Correct the fault that it reports."
        ),
        "updates.busy": Entry(
            "unknown",
            "Packages are being installed right now, so what is pending was not found out.",
            "Check again when the program that is named has ended.",
        ),
        "updates.source.failed": Entry(
            "unknown",
            "A package source cannot be used: updates from there are not known.",
            "Correct the source, or take it out where it is not needed any more.",
        ),
        "updates.security.pending": Entry("fail", "Security updates are not installed."),
        "updates.security.unknown": Entry(
            "unknown",
            "The package sources do not mark which updates are for security.",
            "Use sources that do, or install all updates.",
        ),
        "updates.security.suite_missing": Entry(
            "fail", "The package sources lack the release's security suite: its security updates never arrive."
        ),
        "updates.pending": Entry("info", "Updates are not installed; none of them is known to be for security."),
        "updates.phased": Entry(
            "info",
            "The distribution releases updates to hosts in phases, and this host is not included in some yet.",
            "No action is needed: apt installs each update once the host is included.",
        ),
        "updates.held.security": Entry(
            "warn", "Security updates are kept from being installed: their packages are on hold or pinned."
        ),
        "updates.metadata.stale": Entry(
            "warn", "The package lists are stale: newer updates than those that are named may be pending."
        ),
        "updates.metadata.unknown": Entry(
            "unknown", "How old the package lists are is not known, nor whether newer updates are pending."
        ),
        "updates.metadata.unsigned": Entry(
            "warn",
            "A package source is not signed: an attacker who controls the way to it controls the host.",
            "Use a signed source: its key is named in Signed-By (apt), or in gpgkey with gpgcheck=1 (dnf, zypper).",
        ),
        "updates.packages.broken": Entry(
            "fail", "Packages are not completely installed, which can keep updates from being installed."
        ),
        "updates.automatic.off": Entry("warn", "The host does not install security updates by itself."),
        "updates.automatic.no_security": Entry(
            "warn", "The host installs updates by itself, but not all of those for security."
        ),
        "updates.automatic.idle": Entry(
            "warn", "Automatic updates are switched on, but have not run lately or failed."
        ),
        "updates.automatic.unknown": Entry(
            "unknown", "Whether the host installs security updates by itself could not be found out."
        ),
        # What runs replaced files
        "updates.restart.services": Entry(
            "warn",
            "A service runs files that an update has replaced: it has the old faults until it is restarted.",
            "Restart it, or have updates_restart_services of the role kopano.hardening.updates do it.",
        ),
        "updates.restart.processes": Entry(
            "warn",
            "Processes that belong to no service run files that an update has replaced.",
            "End them, or have their users log in again.",
        ),
        "updates.restart.differs": Entry(
            "info",
            "Another tool names services to restart that run no file which was replaced.",
            "Find out why.",
        ),
        "updates.restart.unknown": Entry(
            "unknown",
            "Whether services run replaced files is not known: not all processes could be inspected.",
            "Run as root.",
        ),
        "updates.reboot.required": Entry(
            "warn", "The host has to be rebooted for its updates to be effective.", "Reboot it."
        ),
    },
)
finding = CATALOGUE.finding
