# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The kinds of findings about CAA records.

Their fixes are general. Where records have to change, a finding's own fix is zone-file lines instead, with comments for
what to remove.
"""

from __future__ import annotations

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import CAA, Catalogue, Entry

_DNSSEC = "Repair the zone's signatures or its DS record at the registry; until then no CA may issue."
_SERVERS = "Bring all name servers of the zone to the same state, or take the faulty one out of its NS records."

CATALOGUE = Catalogue(
    CAA,
    {
        "caa.none": Entry("fail", "No CAA record covers the name: every CA may issue for it."),
        "caa.issue.none": Entry("fail", "The CAA records restrict no CA: every CA may issue for the name."),
        "caa.forbidden": Entry("fail", "The CAA records do not let the expected CA issue for the name."),
        "caa.nobody": Entry("warn", "The CAA records let no CA issue for the name."),
        "caa.renewal.refused": Entry("warn", "The CA of the served certificate may not issue for the name any more."),
        "caa.critical": Entry("fail", "A critical CAA record that CAs do not understand keeps them from issuing."),
        "caa.terms.unchecked": Entry(
            "unknown",
            "The CA may issue only for a certain account or by certain validation methods, which could not be "
            "compared.",
            "Set caa_account_uri and caa_validation_method to what the certificate client uses.",
        ),
        "caa.issuer.unknown": Entry(
            "unknown",
            "The certificate's CA is a public one, but its names in CAA records are not known here.",
            "Name them in caa_issuers, or the expected CA in caa_issuer.",
        ),
        "caa.not_applicable": Entry(
            "info", "Not applicable: the certificate comes from a private CA, which CAA does not bind."
        ),
        "caa.certificate.unreadable": Entry(
            "unknown", "The certificate given for the name cannot be read.", "Pass the served certificate as PEM text."
        ),
        "caa.name.invalid": Entry(
            "unknown",
            "This is no host name.",
            "Correct the name in the virtual host or in caa_names, or list it in caa_names_off.",
        ),
        "caa.lookup.failed": Entry(
            "unknown",
            "The CAA records could not be looked up; a CA that fares the same refuses to issue.",
            "Make the zone's name servers respond to queries for the type CAA, and the resolver reachable from here.",
        ),
        "caa.dnssec.bogus": Entry("fail", "DNSSEC validation fails for the name: CAs must refuse to issue.", _DNSSEC),
        "caa.dnssec.unverified": Entry(
            "unknown",
            "DNSSEC could not be verified: the resolver does not validate, or its path is not trusted.",
            "Use a validating resolver on this machine, or declare the way to it safe with caa_trust_ad.",
        ),
        "caa.value.malformed": Entry("warn", "A CAA record is malformed, so it authorises no CA."),
        "caa.domain.uppercase": Entry(
            "warn", "A CAA record names its CA in upper case; Let's Encrypt does not accept its name that way."
        ),
        "caa.flags.unknown": Entry("info", "A CAA record has flags other than 0 and 128."),
        "caa.wildcard.unrestricted": Entry(
            "info",
            "Wildcard certificates are not restricted separately: a CA that may issue for the name may issue them.",
        ),
        "caa.iodef.none": Entry("info", "No iodef record: a CA has nowhere to report requests that it refused."),
        "caa.iodef.invalid": Entry("warn", "An iodef record is neither a mailto: nor an http(s): address."),
        "caa.related.uncovered": Entry(
            "warn", "The mail domain or its autodiscover name is not covered the way the name is."
        ),
        "caa.servers.disagree": Entry(
            "fail",
            "The zone's name servers give different CAA records: which of them the CA gets is a matter of chance.",
            _SERVERS,
        ),
        "caa.servers.faulty": Entry("warn", "A name server of the zone gives no authoritative response.", _SERVERS),
        "caa.publish.pending": Entry(
            "unknown",
            "New CAA records were published, and not everything that was queried has them yet.",
            "Run again when the time to live of the records from before is over; a name server that keeps them does "
            "not get the zone from the one that takes the updates.",
        ),
        "caa.servers.unchecked": Entry(
            "unknown",
            "The zone's name servers could not be queried themselves, so they were not compared.",
            "Let this machine reach them on port 53, UDP and TCP.",
        ),
    },
)
finding = CATALOGUE.finding
