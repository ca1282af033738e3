# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Which endpoints of a host others can reach, and what their grades mean for the host. Nothing here queries them."""

from __future__ import annotations

import os
import types
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import phrases as _phrases
from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._tls.catalogue import finding
from ansible_collections.kopano.hardening.plugins.module_utils._tls.rules import BESIDE, GRADES
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import never_resolves
from ansible_collections.kopano.hardening.plugins.plugin_utils import _findings
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import finding_lines as _finding_lines
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import lost_clients as _lost_clients

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo

if t.TYPE_CHECKING:  # The prober would be loaded wherever this is.
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.grade import Limit, Result
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import Endpoint

Info = dict[str, t.Any]
Key = tuple[str, int, str, str]  # host, port, server name, and how to get to TLS
Clients = dict[str, bool | None]


class OwnEndpoint(t.TypedDict, total=False):
    """An element of the role's option C(endpoints); what is missing is C(tls_grade_info)'s to choose."""

    host: str
    port: int
    server_name: str | None
    addresses: list[str]
    starttls: str


class EndpointOption(OwnEndpoint, total=False):
    """An endpoint as C(tls_grade_info)'s option has it here: with its host, and the groups as one text."""

    server_groups: str
    group: str


class Scope(t.TypedDict):
    """What is graded of a host: endpoints for C(tls_grade_info), and inside, those out of reach for other hosts. own:
    for each endpoint the addresses at which the host itself reaches it, where they are known."""

    endpoints: list[EndpointOption]
    inside: list[str]
    own: list[list[str]]


class Required(t.TypedDict):
    """What a host has to reach, see report()."""

    grade: str
    ignore_trust: bool
    pending: bool
    fail: bool


class HostReport(t.TypedDict):
    """The results of a host: the endpoints' lines and then what to do, and what the host fails for."""

    lines: list[str]
    bad: list[str]


class Kept(Scope):
    """What the role keeps of a host for its second part and for the report.

    results: those of C(tls_grade_info) as JSON text. Ansible handles each value of a fact several times in each task,
    and hundreds of names have a hundred thousand. play: the name of the play. What the role has graded there before,
    with other endpoints, is among the results. clients: those of L(clients_of), as JSON text as well, in place of those
    of each result. bad: what the role fails the host for.
    """

    play: str
    wanted: Required
    results: str
    clients: str
    bad: list[str]


class Shown(t.TypedDict):
    """What is shown of a result; the rest of it is long, and slow to read where Ansible hands it over."""

    host: str
    port: int
    server_name: str
    address: str
    named: bool
    error: str | None
    trust_unknown: str | None
    grade: str | None
    grade_trust_ignored: str | None
    score: int | None
    caps: list[Limit]
    warnings: list[Limit]


# --- options ---------------------------------------------------------------------------------------------------------


def option_errors(options: Info) -> list[str]:
    """What is wrong with the role's options, one sentence each."""
    errors = [
        f"verify_{name}: {options[name]} is less than 1" for name in ("timeout", "concurrency") if options[name] < 1
    ]
    for number, endpoint in enumerate(options["endpoints"]):
        port = endpoint.get("port", 443)
        if not 0 < port < 65536:
            errors.append(f"verify_endpoints[{number}].port: {port} is not a port")
    errors += _lost_clients.required_errors(options["frontend_clients_required"])
    return errors + ca_file_errors(options["ca_file"])


def ca_file_errors(path: str) -> list[str]:
    """What is wrong with the file of authorities, which other roles use as well."""
    path = os.path.expanduser(path)
    try:
        if path:
            with _regular.opened(path, foreign_links=True):
                pass
    except OSError as error:
        return [f"verify_ca_file: {path!r} cannot be read on the controller: {error.strerror}"]
    except ValueError:
        return [f"verify_ca_file: {path!r} is no path"]  # of a file, none has a null byte
    return []


# --- what to grade ---------------------------------------------------------------------------------------------------


def from_outside(targets: t.Iterable[t.Mapping[str, t.Any]], address: str) -> list[Endpoint]:
    """The endpoints of C(_webserver.probes.targets_of) as another host reaches them, by C(tls_grade_info)'s options.

    address is where the inventory has the host. Where a virtual host is bound to an address of its own, that one is
    queried, unless none is the inventory's: then there is a translation of addresses between here and there.
    """
    targets = [target for target in targets if target["outside"]]
    bound = {target["address"] for target in targets if not _webserver_model.is_loopback(target["address"])}
    found: dict[Key, Endpoint] = {}
    for target in targets:
        known = target["address"] in bound and address in bound
        endpoint: Endpoint = {
            "host": target["address"] if known else address,
            "port": target["port"],
            "server_name": target["server_name"],
        }
        if target.get("tls_group"):
            endpoint["group"] = target["tls_group"]
        found.setdefault(key(endpoint), endpoint)
    return list(found.values())


Addresses = dict[tuple[int, str | None], list[str]]  # by port and server name


def addresses_of(targets: t.Iterable[t.Mapping[str, t.Any]]) -> Addresses:
    """Where the host itself reaches the endpoints that from_outside() makes of these targets."""
    found: Addresses = {}
    for target in targets:
        if target["outside"]:
            found.setdefault((target["port"], target["server_name"]), []).append(target["address"])
    return found


def own_addresses(endpoint: EndpointOption | Endpoint, addresses: Addresses) -> list[str]:
    """Where the host itself reaches one of these endpoints."""
    found = addresses.get((endpoint["port"], endpoint.get("server_name")), [])
    return [endpoint["host"]] if endpoint["host"] in found else list(dict.fromkeys(found))


def on_host(endpoint: Endpoint | EndpointOption, addresses: list[str]) -> Info:
    """An endpoint as the host itself queries it."""
    return {**endpoint, **({"addresses": addresses} if addresses else {})}


def scope_of(info: FrontendInfo, address: str, more: t.Iterable[OwnEndpoint] = (), virtual_hosts: bool = True) -> Scope:
    """What to grade of a host.

    info is the result of frontend_info, more are the user's own endpoints. A virtual host is requested by each of its
    names, and without one only if it has none. virtual_hosts: whether they are queried at all. Where one of the user's
    own endpoints is one of theirs, the user's counts.
    """
    running = [server["server"] for server in info["servers"] if server["running"]]
    found: dict[Key, EndpointOption] = {}
    inside: list[str] = []
    reached_at: dict[tuple[str, int, str, str], list[str]] = {}
    for server in info["servers"] if virtual_hosts else ():
        if running and server["server"] not in running:
            continue
        targets = []
        vhosts = [types.SimpleNamespace(**vhost) for vhost in info["vhosts"] if vhost["server"] == server["server"]]
        bound = _probes.bound_to(vhosts)
        for vhost in vhosts:
            named = getattr(vhost, "named", True)
            vhost.names = [name for name in vhost.names if named and not never_resolves(name)]
            own = _probes.targets_of([vhost], bound)
            targets += [target for target in own if target["server_name"]] or own
        # One text, as the option takes it: of all hosts' lists each name would be templated again and again.
        groups = ",".join(server["openssl"]["groups"])
        addresses = addresses_of(targets)
        for endpoint in from_outside(targets, address):
            option = t.cast("EndpointOption", endpoint)
            if groups:
                option["server_groups"] = groups
            if found.setdefault(key(option), option) is option:
                reached_at[key(option)] = own_addresses(option, addresses)
        on_loopback = [target for target in targets if not target["outside"]]
        inside += [_phrases.host_port(str(target["server_name"]), target["port"]) for target in on_loopback]
    for endpoint_option in more:
        option = {"host": address, **endpoint_option}
        found[key(option)] = option
        is_own = "host" not in endpoint_option and not endpoint_option.get("addresses")
        reached_at[key(option)] = _own_port(info, int(option.get("port") or 443)) if is_own else []
    return {
        "endpoints": list(found.values()),
        "inside": list(dict.fromkeys(inside)),
        "own": [reached_at.get(known, []) for known in found],
    }


def _own_port(info: FrontendInfo, port: int) -> list[str]:
    """Where the host itself reaches one of its ports: the loopback, unless its web server has it at other addresses."""
    listens = (listen for vhost in info["vhosts"] for listen in vhost["listen"] if listen["port"] == port)
    addresses = list(filter(None, (_probes.connect_address(listen["address"]) for listen in listens)))
    return ["127.0.0.1"] if "127.0.0.1" in addresses or not addresses else addresses[:1]


def key(endpoint: EndpointOption | Endpoint | Result) -> Key:
    """How an endpoint is known in tls_grade_info's results."""
    name = endpoint.get("server_name") or endpoint["host"]
    return endpoint["host"], int(endpoint.get("port") or 443), name, endpoint.get("starttls") or "none"


def with_earlier(results: t.Sequence[Result], earlier: t.Iterable[Result]) -> list[Result]:
    """These results, and earlier ones of endpoints that are not among them."""
    places = {_place(result) for result in results}
    return [*results, *(result for result in earlier if _place(result) not in places)]


def clients_of(results: t.Iterable[t.Mapping[str, t.Any]], earlier: t.Mapping[str, bool | None]) -> Clients:
    """Whether each simulated client gets on with all endpoints, None where that is not known; with what was found out
    before."""
    found = dict(earlier)
    for result in results:
        for client in result["clients"]:
            ok = found.get(client["id"], True)
            found[client["id"]] = False if ok is False or client["ok"] is False else ok and client["ok"]
    return found


def require_clients(results: t.Iterable[Result], required: t.Container[str]) -> None:
    """Add a finding to each result for every required client that its endpoint does not serve."""
    for result in results:
        for client in result["clients"]:
            if client["id"] in required and not client["ok"]:
                kind = "tls.client.refused" if client["ok"] is False else "tls.client.unknown"
                subject = _phrases.host_port(result["server_name"], result["port"])
                evidence = f"{client['id']}: {client['reason']}"
                result["findings"].append(_findings.finding(kind, subject, evidence))


# --- what the results mean -------------------------------------------------------------------------------------------

SHOWN = tuple(Shown.__annotations__)


def report(results: t.Iterable[Result], scope: Scope, required: Required) -> HostReport:
    """What the results mean for a host: a line for the endpoints with the same result.

    required: the C(grade) to reach, C(ignore_trust) whether the one counts that a trusted certificate would get,
    C(pending) whether this is a dry run that would change the host, and C(fail). Then, and unless it is to fail below
    the grade, it fails for nothing. A host without endpoints, or whose endpoints were not graded, misses it: nothing is
    known of it.
    """
    of_key: dict[Key, list[Result]] = {}
    for result in results:
        of_key.setdefault(key(result), []).append(result)
    scope, required = plain(scope), plain(required)
    minimum, trust_ignored = str(required["grade"]), required["ignore_trust"]
    places: dict[tuple[str, str], list[str]] = {}  # by the text before and after them
    fixes: list[str] = []
    missed = 0
    for endpoint in scope["endpoints"]:
        found = of_key.get(key(endpoint), [])
        if not found:
            missed += 1
            places.setdefault(("no grade  ", ": it was not graded"), []).append(_place(endpoint))
        for result in found:
            shown = _shown(result)
            grade, text, good = _texts(shown, minimum, trust_ignored)
            places.setdefault((grade, text + _from_host(result)), []).append(_place(shown))
            missed += not good
            fixes += [] if good else _fixes(shown, plain(result["findings"]), minimum, trust_ignored)
    lines = [f"{grade}{_finding_lines.some(some)}{text}" for (grade, text), some in places.items()]
    if not scope["endpoints"]:
        missed = 1
        lines.append("no grade: no TLS endpoint that can be reached from outside was found")
        fixes.append("Name in verify_endpoints what serves TLS, or leave the host out.")
    if scope["inside"]:
        inside = _finding_lines.some(scope["inside"])
        lines.append(f"not graded  {inside}: on the loopback, not reachable from outside")
    if required["pending"]:
        return {"lines": [*lines, "This is the state before hardening; the predicted grades are above."], "bad": []}
    if not missed:
        return {"lines": lines, "bad": []}
    summary = f"{_phrases.of_all(missed, len(scope['endpoints']), 'endpoint', 'are')} below {minimum}"
    todo = [f"To do: {fix}" for fix in dict.fromkeys(fixes)]
    return {"lines": [summary, *lines, *todo], "bad": [summary] if required["fail"] else []}


FROM_HOST = "tls.endpoint.from_host"


def mark_from_host(result: Result, reason: str) -> None:
    """Have a result say that it is one of the host itself, and why."""
    place = _phrases.host_port(result["server_name"], result["port"])
    subject = place if result["address"] == result["server_name"] else f"{place} ({result['address']})"
    result["findings"].append(finding(FROM_HOST, subject, reason))


def _from_host(result: Result) -> str:
    reason = next((item["evidence"] for item in result["findings"] if item["id"] == FROM_HOST), "")
    return f"; graded on the host itself ({reason})" if reason else ""


def _shown(result: t.Mapping[str, t.Any]) -> Shown:
    return t.cast(Shown, {name: plain(result[name]) for name in SHOWN})


def _place(entry: EndpointOption | Shown | Result) -> str:
    name = entry.get("server_name") or entry["host"]
    address = entry.get("address") or entry["host"]
    place = _phrases.host_port(name, entry.get("port") or 443)
    return place if address == name else f"{place} ({address})"


def _is_good(grade: str | None, minimum: str) -> bool:
    return grade in GRADES and GRADES.index(grade) <= GRADES.index(minimum)


def _texts(result: Shown, minimum: str, trust_ignored: bool) -> tuple[str, str, bool]:
    """The text before and after an endpoint, and whether it reaches the minimum."""
    if result["error"]:
        return "no grade  ", f": {result['error']}", False
    grade = result["grade_trust_ignored"] if trust_ignored else result["grade"]
    if grade is None:
        reason = result["trust_unknown"]
        return "no grade  ", f": whether the certificate is trusted is not known: {reason}", False
    text = ""
    if trust_ignored and (result["grade"] is None or result["grade"] in BESIDE):
        text += ", trust ignored ({})".format(result["grade"] or "not known")
    if not result["named"]:
        text += ", no name: trust and name do not count"
    limits = _limits(result["caps"] + result["warnings"], trust_ignored)
    reasons = ["{rule} [{evidence}]".format(**entry) for entry in limits]
    if not reasons and grade != GRADES[0]:
        reasons = ["score {}".format(result["score"])]
    return f"{grade:<2}  ", text + (f": {' '.join(reasons)}" if reasons else ""), _is_good(grade, minimum)


def _limits(entries: t.Iterable[Limit], trust_ignored: bool) -> list[Limit]:
    """The caps and warnings that count."""
    return [entry for entry in entries if not (trust_ignored and entry["grade"] in BESIDE)]


def _fixes(result: Shown, findings: t.Iterable[Finding], minimum: str, trust_ignored: bool) -> list[str]:
    """What to do about an endpoint that misses the minimum."""
    counted = _limits(result["caps"] + result["warnings"], trust_ignored)
    limits = {entry["id"] for entry in counted if not _is_good(entry["grade"], minimum)}
    if result["trust_unknown"] and not trust_ignored:
        limits.add("tls.certificate.trust_unknown")
    causes = limits or {"tls.endpoint.error"}
    return [finding["fix"] for finding in findings if finding["id"] in causes and finding["fix"]]


# --- what is to come -------------------------------------------------------------------------------------------------


NO_GRADE = "no grade"


def that_change(grades: t.Iterable[t.Mapping[str, t.Any]]) -> list[t.Mapping[str, t.Any]]:
    """Those of C(rehearsal.grades) that are not the same before and after the change."""
    return [entry for entry in grades if _before(entry) != (entry["grade_trust_ignored"] or NO_GRADE)]


def changes(grades: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """C(rehearsal.grades) in short: how many endpoints go from which grade to which."""
    counts: dict[tuple[str | None, str | None], int] = {}
    for entry in grades:
        change = _before(entry), entry["grade_trust_ignored"]
        counts[change] = counts.get(change, 0) + 1
    return [_change(before, after, count) for (before, after), count in counts.items()]


def _change(before: str | None, after: str | None, count: int) -> str:
    endpoints, after = _phrases.counted(count, "endpoint"), after or NO_GRADE
    if before == after:
        return f"{endpoints} {'stays' if count == 1 else 'stay'} {after}"
    return f"{endpoints} {before or 'new'} -> {after}"


def _before(entry: t.Mapping[str, t.Any]) -> str | None:
    """The grade before the change; None where the endpoint was not there."""
    return None if entry["now"] is None else str(entry["now"]["grade_trust_ignored"] or NO_GRADE)


def predicted(grades: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """C(rehearsal.grades) of web_config, before and after the change, trust ignored: a line for the endpoints with the
    same result.

    An address that is added to a name is not listed.
    """
    befores: dict[tuple[str, str], list[str]] = {}
    for entry in grades:
        name, now = entry["server_name"], entry["now"]
        place = _phrases.host_port("(no name)" if name is None or never_resolves(name) else name, entry["port"])
        after = "after hardening " + (entry["grade_trust_ignored"] or "no grade")
        limits = _limits(entry["caps"] + entry["warnings"], True)
        reasons = " ".join([limit["rule"] for limit in limits] or [entry["error"] or ""])
        before = befores.setdefault((place, ": ".join(filter(None, [after, reasons]))), [])
        if now is not None:
            before.append("now " + (now["grade_trust_ignored"] or "no grade"))
    places: dict[str, list[str]] = {}
    for (place, after), before in befores.items():
        for now in dict.fromkeys(before or ["not there now"]):
            places.setdefault(f"{now}, {after}", []).append(place)
    return [f"{_finding_lines.some(some)}: {text}" for text, some in places.items()]


# --- may a change stay -----------------------------------------------------------------------------------------------


def unreachable(results: t.Iterable[Result], expected: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Why a change must not be confirmed: what cannot be queried from here, or is worse from here than on the host.

    results are graded from here, expected are the grades of the rehearsal.
    """
    feared = {entry["server_name"] for entry in expected if entry["grade_trust_ignored"] == "F"}
    found = []
    for result in results:
        name = result["server_name"] if result["server_name"] != result["host"] else None
        if result["error"] and not result.get("unclear"):
            found.append("{}: {}".format(_place(result), result["error"]))
        elif result["hsts"]["status"] == "error":
            found.append("{}: no response to a request: {}".format(_place(result), result["hsts"]["reason"]))
        elif result["grade_trust_ignored"] == "F" and name not in feared:
            reasons = " ".join(entry["rule"] for entry in _limits(result["caps"] + result["warnings"], True))
            found.append(f"{_place(result)}: it is an F from here: {reasons}")
    return found
