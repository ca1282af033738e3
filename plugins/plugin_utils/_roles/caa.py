# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Which CAA records the role caa looks up for which hosts, and what was found about each host. No input or output."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._caa import catalogue as _caa_catalogue
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import CAA, Finding
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import never_resolves
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import caa_providers as _caa_providers
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.finding_lines import StepReport

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.findings import Result
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.publish import ServerState
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.record_sets import CaaInfo, ReturnedSet
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo

Info = dict[str, t.Any]

# What is written in place of a name; "_" is nginx's custom for "none of the others".
CATCH_ALL = ("", "_")

PLACES_SHOWN = 10  # record sets whose lines are on the terminal

# Options that decide what a lookup finds and what is published: hosts share a lookup where all are the same. The
# key's secret is not among them, since what is kept of a host can be shown.
SHARED = (
    "issuers",
    "nameservers",
    "trust_ad",
    "timeout",
    "publish",
    "publish_server",
    "publish_key_name",
    "publish_key_algorithm",
    "publish_ttl",
    "publish_wait",
)

# The verdicts in the order in which they are shown, and the text for each.
VERDICTS = {
    _records.FORBIDDEN: "forbidden",
    _records.ERROR: "unknown",
    _records.UNRESTRICTED: "unrestricted",
    _records.PERMITTED: "permitted",
    _records.NOT_APPLICABLE: "not applicable",
}


class Expectation(t.TypedDict):
    """What is to hold for a name, as caa_info has it in its option C(expect)."""

    issuer: str | None
    account_uri: str | None
    validation_method: str | None
    wildcard: bool


class Request(t.TypedDict):
    """The request of one host: its name, the options that decide about its lookup, the names to look up, what to expect
    of those that are host names, and the certificates of some of these as PEM text."""

    host: str
    shared: Info
    names: list[str]
    expect: dict[str, Expectation]
    certificates: dict[str, str]


class CaaFact(t.TypedDict):
    """What the role keeps of a host."""

    request: Request


class Group(t.TypedDict):
    """A lookup for several hosts, in their order: their requests as one."""

    hosts: list[str]
    shared: Info
    names: list[str]
    expect: dict[str, Expectation]
    certificates: dict[str, str]


if t.TYPE_CHECKING:

    class RecordSet(ReturnedSet, total=False):
        """A record set as caa_info returns it, and why it must not be published, if so."""

        withheld: str


class _OfHosts(t.TypedDict):
    hosts: list[str]
    record_sets: list[RecordSet]


class Lookup(_OfHosts, total=False):
    """The result of caa_info for a group, or C(failed) and C(msg), and no record sets. C(before) has the verdicts from
    before something was published, by name."""

    results: list[Result]
    findings: list[Finding]
    failed: bool
    msg: str
    before: dict[str, str]


class _OfSet(t.TypedDict):
    item: RecordSet


class PublishResult(_OfSet, total=False):
    """A result of the task that publishes record sets, as far as it is read here: that of caa_publish for one of them.
    One that C(failed) has C(servers) only where the zone has the records and not all of its name servers do; in check
    mode there are none."""

    changed: bool
    failed: bool
    msg: str
    records: list[str]
    servers: list[ServerState]


# --- options ---------------------------------------------------------------------------------------------------------


def option_errors(options: Info) -> list[str]:
    """What is wrong with the role's options, one sentence each. The key's secret is in none of them."""
    errors = []
    if options["issuer"] and not _records.is_domain(options["issuer"]):
        errors.append(f"caa_issuer: {options['issuer']!r} is not a CA's domain, such as letsencrypt.org")
    if options["account_uri"] and not _records.is_account(options["account_uri"]):
        errors.append(f"caa_account_uri: {options['account_uri']!r} is not a URI")
    if options["validation_method"] and not _records.is_method(options["validation_method"]):
        errors.append(f"caa_validation_method: {options['validation_method']!r} is not a label, such as http-01")
    servers = [("caa_nameservers", text) for text in options["nameservers"]]
    if options["publish"]:
        servers.append(("caa_publish_server", options["publish_server"]))
        for name in ("publish_key_name", "publish_key_secret"):
            if not options[name]:
                errors.append(f"caa_{name}: is needed to publish")
    for name, text in servers:
        try:
            _nameservers.parse_server(text, False)
        except ValueError as error:
            errors.append(f"{name}: {error}")
    for name, least in (("timeout", 1), ("publish_wait", 0), ("publish_ttl", 0)):
        if options[name] < least:
            errors.append(f"caa_{name}: {options[name]} is less than {least}")
    return errors


# --- what to look up -------------------------------------------------------------------------------------------------


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def request_of(info: FrontendInfo, read: t.Iterable[_certificate_info.Result], options: Info) -> Request:
    """The request of one host.

    info is the result of frontend_info, read that of certificate_info for the certificates of its virtual hosts.
    """
    texts = {entry["path"]: "".join(one["pem"] for one in entry["chain"]) for entry in read}
    off = {_plain(name) for name in options["names_off"]}
    names: dict[str, str | None] = {}
    spelled: dict[str, str] = {}

    def note(name: str, certificate: str | None) -> None:
        plain = _plain(name)
        if plain not in CATCH_ALL and plain not in off and not never_resolves(plain):
            spelled.setdefault(plain, name)
            names.setdefault(plain, certificate)

    for vhost in info["vhosts"]:
        if vhost["tls"] and vhost.get("named", True):
            for name in vhost["names"]:
                note(name, vhost["certificate"] or "")
    # Names without a virtual host get their certificate from where the others have it.
    first = next(iter(names.values()), None)
    for name in options["server_names"] + options["names"]:
        note(name, first)
    expected: Expectation = {
        "issuer": options["issuer"] or None,
        "account_uri": options["account_uri"] or None,
        "validation_method": options["validation_method"] or None,
        "wildcard": options["wildcard"],
    }
    return {
        "host": options["host"],
        "shared": {name: options[name] for name in SHARED if options["publish"] or not name.startswith("publish_")},
        "names": list(spelled.values()),
        "expect": {spelled[plain]: expected for plain in names if _is_host_name(plain)},
        "certificates": {
            spelled[plain]: texts.get(path, "")
            for plain, path in names.items()
            if path is not None and not options["issuer"] and _is_host_name(plain)
        },
    }


def _is_host_name(text: str) -> bool:
    try:
        _records.host_name(text)
    except ValueError:
        return False
    return True


class _Growing(t.NamedTuple):
    """A group while hosts come to it, and the spelling of its names by their plain form."""

    group: Group
    spelled: dict[str, str]


def groups(requests: t.Iterable[Request]) -> list[Group]:
    """The lookups for all hosts, from the requests of request_of(): one for all whose options for it are the same.

    Two hosts may expect different things of one name; then they are in two groups.
    """
    found: list[_Growing] = []
    for request in requests:
        fitting = (one for one in found if one.group["shared"] == request["shared"] and _agree(one, request))
        growing = next(fitting, None)
        if growing is None:
            new: Group = {"hosts": [], "shared": request["shared"], "names": [], "expect": {}, "certificates": {}}
            growing = _Growing(new, {})
            found.append(growing)
        group, spelled = growing
        group["hosts"].append(request["host"])
        for name in request["names"]:
            if _plain(name) not in spelled:
                spelled[_plain(name)] = name
                group["names"].append(name)
            known = spelled[_plain(name)]
            if name in request["expect"]:
                group["expect"].setdefault(known, request["expect"][name])
            if name in request["certificates"]:
                group["certificates"].setdefault(known, request["certificates"][name])
    return [growing.group for growing in found]


def _agree(growing: _Growing, request: Request) -> bool:
    """Whether a host expects the same of the names that it shares with a group."""
    known = ((growing.spelled.get(_plain(name)), name) for name in request["names"])
    return all(growing.group["expect"].get(other) == request["expect"].get(name) for other, name in known if other)


def withhold(group: Group, others: t.Iterable[Group], record_sets: t.Iterable[RecordSet]) -> None:
    """Mark the record sets of a group with C(withheld), the reason, that decide about names of another one too.

    A set has the CAs of its own group only, and published it would keep those of the other hosts from issuing.
    """
    places = [(other, _places(map(_plain, other["names"]))) for other in others if other is not group]
    for entry in record_sets:
        for other, there in places:
            if entry["name"] in there:
                reason = f"{other['hosts'][0]} has names there as well, and other options than {group['hosts'][0]}"
                entry["withheld"] = f"{reason}: {_differences(group, other)}"
                break


def _differences(one: Group, other: Group) -> str:
    """Which options differ between two groups, also what is expected of a name that both have."""
    ours, theirs = one["shared"], other["shared"]
    names = [name for name in SHARED if name in ours and name in theirs and ours[name] != theirs[name]]
    expected, others = ({_plain(name): value for name, value in group["expect"].items()} for group in (one, other))
    both = ((expected[name], others[name]) for name in expected if name in others)
    names += [key for mine, other_one in both for key, value in mine.items() if value != other_one.get(key)]
    return ", ".join(f"caa_{name}" for name in dict.fromkeys(names))


# --- after publishing ------------------------------------------------------------------------------------------------

STALE = "the zone has new records, and the resolver still returns those from before"


def is_new(entry: PublishResult) -> bool:
    """Whether the zone has a record set now that it had not: also where not all of its name servers have it yet."""
    return bool(entry.get("changed") and "servers" in entry and (entry["servers"] or entry.get("failed")))


def is_refused(entry: PublishResult) -> bool:
    """Whether a record set is not what it was to be. One that has just been published may need time."""
    return bool(entry.get("failed")) and not is_new(entry)


def settle(lookup: Lookup, published: t.Iterable[PublishResult]) -> None:
    """Make everything unknown in a lookup after publishing that was not seen as it is published: where a name server
    has other records, or the resolver still returns those from before."""
    there = {entry["name"]: entry["current"] for entry in lookup["record_sets"]}
    reasons: dict[str, str] = {}
    for entry in published:
        if is_refused(entry) or not (entry.get("servers") or is_new(entry)):
            continue  # nothing is there that was not before
        reason = ""
        if entry.get("failed"):
            reason = entry["msg"]
        elif set(there.get(entry["item"]["name"], ())) != set(entry["records"]):
            reason = STALE
        if reason:
            reasons.update(dict.fromkeys(map(_plain, entry["item"]["names"]), reason))
    gone: list[Finding] = []
    for result in lookup["results"]:
        reason = reasons.get(_plain(result["name"]), "")
        # What has an error already, such as a DNSSEC failure, was not judged by old records.
        if reason and not result["error"] and result["verdict"] != _records.NOT_APPLICABLE:
            gone += result["findings"]
            result["verdict"], result["error"] = _records.ERROR, reason
            result["findings"] = [_caa_catalogue.finding("caa.publish.pending", result["name"], reason)]
    kept = [item for result in lookup["results"] for item in result["findings"]]
    kept += [item for item in lookup["findings"] if item not in gone and item not in kept]
    lookup["findings"] = list({tuple(item.values()): item for item in kept}.values())


# --- what the lookup shows -------------------------------------------------------------------------------------------


def _places(names: t.Iterable[str]) -> set[str]:
    """Where a record set decides about one of these names, or about the mail domain that one of them is in."""
    found: set[str] = set()
    for name in names:
        while name and name not in found:
            found.add(name)
            name = name.partition(".")[2]
    return found


def lookup_for(host: str, lookups: t.Iterable[Lookup]) -> Lookup | None:
    """The lookup that a host is a part of."""
    lookup: Lookup | None = plain(next((lookup for lookup in lookups if host in lookup["hosts"]), None))
    return lookup


def of_host(lookup: CaaInfo | Lookup, request: Request) -> tuple[list[Result], list[Finding]]:
    """The results about one host's names, and the findings: those of its names, and those that are about no name but,
    for example, about a resolver."""
    mine = {_plain(name) for name in request["names"]}
    results = [entry for entry in lookup["results"] if _plain(entry["name"]) in mine]
    shown = {tuple(item.values()) for entry in lookup["results"] for item in entry["findings"]}
    findings = [item for entry in results for item in entry["findings"]]
    return results, findings + [item for item in lookup["findings"] if tuple(item.values()) not in shown]


def report(
    lookup: Lookup,
    request: Request,
    publish: bool = False,
    published: t.Iterable[PublishResult] = (),
    must_permit: bool = False,
    provider: str = _caa_providers.NONE,
) -> StepReport:
    """What the lookup means for one host.

    It fails for what could not be published, and with must_permit for names whose CA may not issue. In a dry run, what
    would be published no longer forbids anything; otherwise the lookup is from after publishing. What is to be pasted
    is for the provider as well.
    """
    mine = {_plain(name) for name in request["names"]}
    results, findings = of_host(lookup, request)
    places = _places(mine)
    placed = [entry for entry in published if entry["item"]["name"] in places]
    dry = [entry for entry in placed if entry.get("changed") and not entry.get("failed") and not entry["servers"]]
    healed = {_plain(name) for entry in dry for name in entry["item"]["names"]}
    failed = ["{}: {}".format(entry["item"]["name"], entry["msg"]) for entry in placed if is_refused(entry)]
    if publish:
        known = {entry["item"]["name"] for entry in placed}
        failed += [
            f"{entry['name']}: {_unpublished(entry)}"
            for entry in lookup["record_sets"]
            if entry["name"] not in known and entry["name"] in places
        ]
    forbidden = [
        entry["name"]
        for entry in results
        if entry["verdict"] == _records.FORBIDDEN and _plain(entry["name"]) not in healed
    ]
    # What is not applicable is in the verdict already.
    findings = [item for item in findings if item["id"] != "caa.not_applicable"]
    shown = {entry["error"] for entry in results}
    lines = _verdict_lines(results) + _finding_lines.lines((_brief(item, shown) for item in findings), between=" ")
    outcome = _finding_lines.each("would be published: ", [entry["item"]["name"] for entry in dry])
    outcome += [_published_line(entry, lookup.get("before") or {}, mine) for entry in placed if is_new(entry)]
    lines += _finding_lines.each("not published: ", failed)
    if not publish:
        lines += zone_lines((entry for entry in lookup["record_sets"] if entry["name"] in places), provider)
    bad = failed + _finding_lines.each("forbidden: ", forbidden if must_permit else [])
    return {"step": CAA, "outcome": outcome, "lines": lines or ["no names to check"], "bad": bad}


def _published_line(entry: PublishResult, before: t.Mapping[str, str], mine: t.Container[str]) -> str:
    """A record set that is new, how many name servers have it, and what the verdicts were."""
    states = [server["state"] for server in entry["servers"]]
    counted = _phrases.of_all(states.count("published"), len(states), "name server", "have")
    line = f"published: {entry['item']['name']} ({counted} it)"
    old: dict[str, list[str]] = {}
    for name in entry["item"]["names"]:
        if _plain(name) in mine and name in before:
            old.setdefault(VERDICTS[before[name]], []).append(name)
    words = ", ".join(f"{verdict}: {' '.join(names)}" for verdict, names in old.items())
    return f"{line}; before: {words}" if words else line


def _unpublished(entry: RecordSet) -> str:
    """Why a record set was not published."""
    if not entry["complete"]:
        return "a CA in use is not known; name it in caa_issuer or caa_issuers"
    return str(entry.get("withheld") or "no result of publishing it is known")


def _verdict_lines(results: t.Iterable[Result]) -> list[str]:
    """A line for each verdict and its reason, with the names that it is for."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in results:
        # Names with the same trouble share a line.
        reason = (entry["error"] or "").replace(f" for {_plain(entry['name'])}", "")
        if not reason and entry["verdict"] == _records.NOT_APPLICABLE:
            reason = "the certificate comes from a private CA"
        elif not reason:
            place = "records at {found_at}" if entry["found_at"] else "no records"
            reason = (place + ", DNSSEC {dnssec}").format(**entry)
        groups.setdefault((entry["verdict"], reason), []).append(entry["name"])
    order = list(VERDICTS)
    return [
        f"{VERDICTS[verdict]}: {_finding_lines.some(names, ' ')} ({reason})"
        for (verdict, reason), names in sorted(groups.items(), key=lambda item: order.index(item[0][0]))
    ]


def _brief(item: Finding, shown: t.Container[str | None]) -> Finding:
    """A finding as its line has it: the evidence, unless a verdict had it, is part of the message, which all names of a
    zone share; zone-file lines are printed by themselves."""
    message = item["message"]
    if item["evidence"] and item["evidence"] not in shown:
        message += " [{}]".format(item["evidence"].replace(":\n", ": ").replace("\n", " / "))
    return {**item, "message": message, "evidence": "", "fix": "" if " IN CAA " in item["fix"] else item["fix"]}


def zone_lines(record_sets: t.Iterable[ReturnedSet], provider: str = _caa_providers.NONE) -> list[str]:
    """The lines of record sets that are not what they shall be, ready to be pasted, with a heading; then what a
    provider takes in their place."""
    wanting = [entry for entry in record_sets if not entry["complete"] or entry["wanted"] != entry["current"]]
    lines = [line for entry in wanting[:PLACES_SHOWN] for line in entry["lines"].splitlines()]
    if wanting[PLACES_SHOWN:]:
        lines.append(f"; those for {len(wanting) - PLACES_SHOWN} more places are in the report")
    pasted = _caa_providers.lines(provider, wanting[:PLACES_SHOWN])
    return ["lines for the zone files:", *lines, *pasted] if lines else []
