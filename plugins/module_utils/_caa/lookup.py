# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Finds the CAA records that decide about names, with one asynchronous client for all of them. Runs on the controller.

What a CA does (RFC 8659 section 3, and the baseline requirements 3.2.2.8): query the name, then each parent up to but
without the root, and take the first record set. The resolver follows aliases; where an alias leads to nothing, the
climb goes on from the name itself. An error before the first set ends the climb: it is never taken for "no records".
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import traceback
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.kopano.hardening.plugins.module_utils._caa.nameservers import Server
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property
from ansible_collections.kopano.hardening.plugins.module_utils._common.printable import printable

try:
    import dns.asyncbackend
    import dns.asyncquery
    import dns.edns
    import dns.exception
    import dns.flags
    import dns.inet
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdatatype
except ImportError:
    DNSPYTHON_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    DNSPYTHON_IMPORT_ERROR = None

SECURE, INSECURE, BOGUS, UNVERIFIED = "secure", "insecure", "bogus", "unverified"

SILENT = "silent"
"""There was no response in time, or nothing listens."""
UNREACHABLE = "unreachable"
"""This machine has no way to that address."""
FAILED = "failed"
"""The resolver could not find out (SERVFAIL)."""
REFUSED = "refused"
"""The server refuses such queries."""
MALFORMED = "malformed"
"""The response cannot be read."""

EXCESSIVE = "excessive"
"""The name has more records than are read."""

INVALID = "invalid"
"""The name cannot be queried."""

AUTHORITY_PORT = 53
PAYLOAD = 1232
"""Bytes that fit into one packet on every path (DNS flag day 2020); what is longer comes by TCP."""

MAX_ALIASES = 16
"""Steps of a chain of aliases that are followed here, where the resolver does not."""
MAX_RECORDS, MAX_BYTES = 100, 20000
"""Records of a name, and bytes in their values, from which a verdict is made: a zone may have thousands."""
MAX_SERVERS, MAX_ADDRESSES = 16, 8
"""Name servers of a zone, and addresses of one, that are queried: a zone may name thousands."""

# Extended DNS errors (RFC 8914) by which a validating resolver reports that the data failed validation ...
_VALIDATION_ERRORS = frozenset((5, 6, 7, 8, 9, 10, 11, 12, 25))
# ... and by which it reports that it could not reach any server.
_OUTAGES = frozenset((22, 23))
_NO_ROUTE = frozenset((errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH))


class Problem(Exception):
    """Why a query has no result: one of the kinds above or BOGUS, and a message for the administrator."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Zone(NamedTuple):
    """A zone by its apex, and the mailbox of its administrator (from the SOA record)."""

    name: str
    mailbox: str

    @property
    def private(self) -> bool:
        """Is it below a top-level domain? The others belong to registries, and cannot be changed from here."""
        return "." in self.name.strip(".")


class Answer(NamedTuple):
    """A resolver's answer. `owner` is the name at the end of the aliases, `zone` the zone that the answer came from
    where the response shows it, `authentic` its AD bit. `followed`: the response has that end, with data or without."""

    owner: dns.name.Name
    rdatas: tuple[Any, ...]
    alias: bool
    zone: Zone | None
    server: Server
    authentic: bool
    followed: bool


class Level(NamedTuple):
    """One step of a climb: the name queried, the name that the aliases end at, and the records there."""

    name: str
    owner: str
    records: tuple[Property, ...]
    answer: Answer


@dataclass
class Lookup:
    """A climb. Without a problem, the last level has the deciding records, or no level has any.

    `zone` is the zone of the name, `home` that of the deciding records; None where it could not be found out.
    """

    name: str
    levels: list[Level] = field(default_factory=list)
    problem: Problem | None = None
    dnssec: str = UNVERIFIED
    zone: Zone | None = None
    home: Zone | None = None

    @property
    def records(self) -> tuple[Property, ...]:
        return self.levels[-1].records if self.levels and not self.problem else ()

    @property
    def found_at(self) -> str | None:
        return self.levels[-1].owner if self.records else None


@dataclass
class Comparison:
    """What the name servers of a zone have: `views` by owner name and server, `faults`, as messages, by server."""

    zone: Zone
    views: dict[str, dict[str, frozenset[Property]]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


class Survey(NamedTuple):
    """Lookups by name, and comparisons by zone name."""

    lookups: dict[str, Lookup]
    comparisons: dict[str, Comparison]
    servers: tuple[Server, ...]


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text(omit_final_dot=True)


def properties(rdatas: Iterable[Any]) -> tuple[Property, ...]:
    """CAA records as dnspython has them, as properties."""
    # Sorted, because servers rotate them.
    return tuple(sorted(Property(data.flags, data.tag.decode("ascii"), bytes(data.value)) for data in rdatas))


def _mailbox(rname: dns.name.Name, zone: dns.name.Name) -> str:
    if len(rname.labels) < 3:
        return f"hostmaster@{_text(zone)}"
    return f"{rname.labels[0].decode('ascii', 'replace')}@{_text(rname.parent())}"


def _is_response(wire: bytes, query: dns.message.Message) -> bool:
    """Has the packet the query's id and question (RFC 5452, 9.1)? Others come from elsewhere and decide nothing."""
    try:
        return bool(query.is_response(dns.message.from_wire(wire, question_only=True, ignore_trailing=True)))
    except (dns.exception.DNSException, ValueError):
        return False


def _reply(wire: bytes, query: dns.message.Message) -> dns.message.Message | None:
    """The packet as the response to the query; None if it is none. Raises what dnspython does for one that cannot be
    read, and Truncated for one that did not fit."""
    try:
        reply = dns.message.from_wire(wire, raise_on_truncation=True)
    except (dns.exception.DNSException, ValueError):
        if _is_response(wire, query):
            raise
        return None
    return reply if query.is_response(reply) else None


def _bounded(name: dns.name.Name, records: tuple[Property, ...]) -> tuple[Property, ...]:
    """The records, unless there are too many; raises Problem, as those that are not read could forbid anything."""
    size = sum(len(record.value) for record in records)
    if len(records) > MAX_RECORDS or size > MAX_BYTES:
        message = f"{_text(name)} has {len(records)} CAA records with {size} bytes"
        raise Problem(EXCESSIVE, f"{message}; no more than {MAX_RECORDS} with {MAX_BYTES} bytes are read")
    return records


def _extended_errors(reply: dns.message.Message) -> list[tuple[int, str]]:
    """The extended DNS errors of a reply: codes, and messages with the server's own text."""
    errors = []
    for option in reply.options:
        if isinstance(option, dns.edns.EDEOption):
            code = int(option.code)
            name = dns.edns.EDECode.to_text(option.code).replace("_", " ").lower()
            errors.append((code, f"EDE {code} {name}" + (f": {printable(option.text)}" if option.text else "")))
    return errors


class Client:
    """Queries `servers` in turn. At most `concurrency` queries are under way; a name gets `timeout` seconds in all.

    Every query is made once per client, however many names lead to it.
    """

    def __init__(self, servers: Sequence[Server], timeout: float, concurrency: int) -> None:
        self.servers = tuple(servers)
        self.timeout = timeout
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._slots = asyncio.Semaphore(concurrency)
        self._names = asyncio.Semaphore(concurrency)
        self._queries: dict[tuple[dns.name.Name, str], asyncio.Task[Answer]] = {}
        self._zones: dict[dns.name.Name, Zone] = {}
        self._validation: dict[Server, asyncio.Task[bool]] = {}
        self._heard: set[Server] = set()
        self._authentic: set[Server] = set()
        self._late: set[Server] = set()
        self._strays: set[Server] = set()
        self._dead: dict[Server, Problem] = {}

    # One query

    async def _exchange(
        self, server: Server, name: dns.name.Name, rdtype: str, flags: int, seconds: float
    ) -> dns.message.Message:
        """One query to one server, by TCP when the response does not fit a packet; raises Problem."""
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=PAYLOAD, flags=flags)
        async with self._slots:
            try:
                reply = await asyncio.wait_for(self._send(server, query, seconds), seconds)
            except (dns.exception.Timeout, asyncio.TimeoutError):
                raise Problem(SILENT, f"{server} does not respond") from None
            except (OSError, EOFError) as error:
                kind = UNREACHABLE if getattr(error, "errno", None) in _NO_ROUTE else SILENT
                raise Problem(kind, f"{server} cannot be queried ({error})") from error
            except (dns.exception.DNSException, ValueError) as error:
                raise Problem(MALFORMED, f"{server} sends a response that cannot be read ({error!r})") from error
        self._heard.add(server)
        return reply

    async def _send(self, server: Server, query: dns.message.Message, seconds: float) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        # A plain socket: the kernel keeps what comes while a packet is read, which asyncio's datagrams would lose.
        with socket.socket(dns.inet.af_for_address(server.address), socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            # Connected: receives packets of this server only, and an error at once when its port is closed.
            sock.connect((server.address, server.port))
            await loop.sock_sendall(sock, query.to_wire())
            with contextlib.suppress(dns.message.Truncated):
                reply = _reply(await loop.sock_recv(sock, 65535), query)
                while reply is None:
                    self._strays.add(server)
                    # Reading what is there already lets nothing else run, not even the deadline.
                    await asyncio.sleep(0)
                    reply = _reply(await loop.sock_recv(sock, 65535), query)
                return reply
        return await dns.asyncquery.tcp(query, server.address, seconds, server.port, backend=self._backend)

    async def query(self, name: dns.name.Name, rdtype: str) -> Answer:
        """The resolvers' answer, with aliases followed to their end. Raises Problem."""
        answer = await self._once(name, rdtype)
        # Here and not within the queries: two that wait for each other, as in a circle, would never end.
        for _alias in range(MAX_ALIASES):
            if answer.followed:
                return answer
            target = await self._once(answer.owner, rdtype)
            answer = target._replace(alias=True, authentic=answer.authentic and target.authentic)
        raise Problem(MALFORMED, f"more than {MAX_ALIASES} aliases lead on from each other from {_text(name)}")

    async def _once(self, name: dns.name.Name, rdtype: str) -> Answer:
        """The resolvers' answer; the same query is made once."""
        key = (name, rdtype)
        if key not in self._queries:
            self._queries[key] = task = asyncio.create_task(self._query(name, rdtype))
            # The caller may have run out of time when the query fails; then its error is not needed.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._queries[key])

    async def _query(self, name: dns.name.Name, rdtype: str) -> Answer:
        now = asyncio.get_running_loop().time
        deadline = now() + self.timeout
        alive = [server for server in self.servers if server not in self._dead]
        alive.sort(key=lambda server: server in self._late)
        if not alive:
            raise next(iter(self._dead.values()))
        problems: dict[Server, Problem] = {}
        # Packets get lost: every server that was silent is queried a second time.
        turns = alive * 2
        for number, server in enumerate(turns):
            if server in problems and problems[server].kind != SILENT:
                continue
            try:
                reply = await self._exchange(
                    server, name, rdtype, dns.flags.RD | dns.flags.AD, (deadline - now()) / (len(turns) - number)
                )
                if reply.rcode() == dns.rcode.SERVFAIL:
                    reply = await self._diagnose(server, name, rdtype, reply, deadline - now())
                answer = self._read(server, name, reply)
                # Those that were silent until another one responded are queried last from now on.
                self._late.update(other for other, problem in problems.items() if problem.kind == SILENT)
                return answer
            except Problem as error:
                if error.kind == BOGUS:
                    # Final: the response of another resolver that does not validate must not replace it.
                    raise
                problems[server] = error
        for server, problem in problems.items():
            if problem.kind in (SILENT, UNREACHABLE) and server not in self._heard:
                # It has never responded: the next names need not wait for it again.
                self._dead[server] = problem
        raise min(problems.values(), key=lambda problem: problem.kind in (SILENT, UNREACHABLE))

    async def _diagnose(
        self, server: Server, name: dns.name.Name, rdtype: str, reply: dns.message.Message, seconds: float
    ) -> dns.message.Message:
        """Distinguish bogus data from a server that is down, after SERVFAIL; raises Problem unless it has recovered."""
        errors = _extended_errors(reply)
        message = "; ".join([f"{server} returns SERVFAIL for {_text(name)}"] + [text for _code, text in errors])
        codes = {code for code, _text in errors}
        if codes & _VALIDATION_ERRORS:
            raise Problem(BOGUS, message)
        if not codes & _OUTAGES:
            flags = dns.flags.RD | dns.flags.AD
            unchecked = await self._exchange(server, name, rdtype, flags | dns.flags.CD, seconds / 2)
            if unchecked.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                again = await self._exchange(server, name, rdtype, flags, seconds / 2)
                if again.rcode() != dns.rcode.SERVFAIL:
                    return again
                raise Problem(BOGUS, f"{message}; with validation switched off (CD) it resolves")
        raise Problem(FAILED, message)

    def _read(self, server: Server, name: dns.name.Name, reply: dns.message.Message) -> Answer:
        rcode = reply.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            message = [f"{server} returns {dns.rcode.to_text(rcode)} for {_text(name)}"]
            raise Problem(REFUSED, "; ".join(message + [text for _code, text in _extended_errors(reply)]))
        if not reply.flags & (dns.flags.RA | dns.flags.AA) or not isinstance(reply, dns.message.QueryMessage):
            raise Problem(REFUSED, f"{server} is no resolver, and not responsible for {_text(name)}")
        try:
            chain = reply.resolve_chaining()
        except dns.exception.DNSException as error:
            raise Problem(
                MALFORMED, f"{server} sends a contradictory response for {_text(name)} ({error!r})"
            ) from error
        owner = chain.canonical_name
        alias = owner != name
        authentic = bool(reply.flags & dns.flags.AD)
        if authentic:
            self._authentic.add(server)
        zone = None
        for rrset in [*reply.authority, *([chain.answer] if chain.answer else [])]:
            if rrset.rdtype == dns.rdatatype.SOA and owner.is_subdomain(rrset.name):
                zone = Zone(_text(rrset.name), _mailbox(rrset[0].rname, rrset.name))
        if zone:
            self._zones[owner] = zone
        # Neither data nor a zone without them: no proof that the alias was followed to its end.
        followed = bool(not alias or chain.answer or zone)
        return Answer(owner, tuple(chain.answer or ()), alias, zone, server, authentic, followed)

    # DNSSEC

    async def _validates(self, server: Server) -> bool:
        """Does that resolver validate? Otherwise a missing AD bit means nothing."""
        if server in self._authentic:
            return True
        with contextlib.suppress(Problem):
            reply = await self._exchange(server, dns.name.root, "SOA", dns.flags.RD | dns.flags.AD, self.timeout / 2)
            return bool(reply.flags & dns.flags.AD)
        return False

    async def _dnssec(self, lookup: Lookup) -> str:
        """The state of all answers that the lookup depends on: the weakest counts."""
        if lookup.problem:
            return BOGUS if lookup.problem.kind == BOGUS else UNVERIFIED
        states = {SECURE}
        for level in lookup.levels:
            server = level.answer.server
            if not server.trusted:
                return UNVERIFIED
            if not level.answer.authentic:
                if server not in self._validation:
                    self._validation[server] = asyncio.create_task(self._validates(server))
                states.add(INSECURE if await self._validation[server] else UNVERIFIED)
        return next(state for state in (UNVERIFIED, INSECURE, SECURE) if state in states)

    # Names

    async def look_up(self, names: Iterable[str]) -> dict[str, Lookup]:
        """Climb from each name; a problem is part of the result."""
        found = await asyncio.gather(*(self._look_up(name) for name in names))
        for lookup in found:
            lookup.dnssec = await self._dnssec(lookup)
        return {lookup.name: lookup for lookup in found}

    async def _look_up(self, name: str) -> Lookup:
        lookup = Lookup(name, problem=Problem(SILENT, f"no response within {self.timeout:g} s"))
        async with self._names:
            try:
                await asyncio.wait_for(self._climb(lookup), self.timeout)
            except asyncio.TimeoutError:
                # The climb itself may be done, and only the zone missing.
                pass
            except Problem as problem:
                lookup.problem = problem
        if lookup.problem and lookup.problem.kind == SILENT and self._strays:
            servers = ", ".join(sorted(map(str, self._strays)))
            message = f"{lookup.problem.message}; what comes from {servers} cannot be read as a response to the query"
            lookup.problem = Problem(SILENT, message)
        return lookup

    async def _climb(self, lookup: Lookup) -> None:
        name = node = dns.name.from_text(lookup.name)
        while node != dns.name.root:
            answer = await self.query(node, "CAA")
            records = _bounded(answer.owner, properties(answer.rdatas))
            level = Level(_text(node), _text(answer.owner), records, answer)
            lookup.levels.append(level)
            if level.records:
                break
            node = node.parent()
        lookup.problem = None
        with contextlib.suppress(Problem):
            lookup.zone = lookup.home = await self._zone(name)
            if lookup.records:
                lookup.home = await self._zone(lookup.levels[-1].answer.owner)

    async def _zone(self, node: dns.name.Name) -> Zone | None:
        """The zone that a name is in; aliases are not followed."""
        while node != dns.name.root:
            if node in self._zones:
                return self._zones[node]
            answer = await self.query(node, "SOA")
            if answer.zone and not answer.alias:
                return answer.zone
            node = node.parent()
        return None

    # The zones' own servers

    async def compare(self, names_by_zone: Mapping[Zone, Iterable[str]]) -> dict[str, Comparison]:
        """Query the name servers of each zone themselves for names in it; takes `timeout` seconds at most."""
        comparisons = {zone.name: Comparison(zone) for zone in names_by_zone}
        work = [self._compare(comparisons[zone.name], sorted(owners)) for zone, owners in names_by_zone.items()]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_all(work), self.timeout)
        return comparisons

    async def _compare(self, comparison: Comparison, owners: Sequence[str]) -> None:
        zone = comparison.zone.name
        targets: list[dns.name.Name] = []
        with _lost(comparison, zone, "its name servers are not known"):
            targets += [data.target for data in (await self.query(dns.name.from_text(zone), "NS")).rdatas]
        targets = _first(comparison, zone, sorted(targets), MAX_SERVERS, "name servers")
        await _all(self._name_server(comparison, target, owners) for target in targets)

    async def _name_server(self, comparison: Comparison, target: dns.name.Name, owners: Sequence[str]) -> None:
        label = _text(target)
        addresses: list[str] = []
        for rdtype in ("A", "AAAA"):
            with _lost(comparison, label, f"its addresses ({rdtype}) are not known"):
                addresses += [data.address for data in (await self.query(target, rdtype)).rdatas]
        if not addresses:
            comparison.faults.setdefault(label, "its name has no address")
        addresses = _first(comparison, label, addresses, MAX_ADDRESSES, "addresses")
        await _all(self._authority(comparison, label, address, owners) for address in addresses)

    async def _authority(self, comparison: Comparison, target: str, address: str, owners: Sequence[str]) -> None:
        server = Server(address, AUTHORITY_PORT)
        label = f"{target} ({server})"

        async def view(owner: str) -> bool:
            try:
                records = await self._authoritative(server, dns.name.from_text(owner))
            except Problem as problem:
                # No way there from here, IPv6 for example, is not the server's fault.
                if problem.kind != UNREACHABLE:
                    comparison.faults[label] = problem.message
                return False
            except asyncio.CancelledError:
                comparison.faults.setdefault(label, f"{server} does not respond")
                raise
            comparison.views.setdefault(owner, {})[label] = records
            return True

        # One first: a server that is dead must not hold up the others as often as there are names.
        if await view(owners[0]):
            await asyncio.gather(*map(view, owners[1:]))

    async def _authoritative(self, server: Server, owner: dns.name.Name) -> frozenset[Property]:
        try:
            reply = await self._exchange(server, owner, "CAA", 0, self.timeout * 0.4)
        except Problem as problem:
            if problem.kind != SILENT:
                raise
            reply = await self._exchange(server, owner, "CAA", 0, self.timeout * 0.4)
        rcode = reply.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Problem(REFUSED, f"it returns {dns.rcode.to_text(rcode)}")
        if not reply.flags & dns.flags.AA:
            raise Problem(REFUSED, "its response is not authoritative (lame delegation)")
        rdatas = (data for rrset in reply.answer if rrset.rdtype == dns.rdatatype.CAA for data in rrset)
        return frozenset(properties(rdatas))


@contextlib.contextmanager
def _lost(comparison: Comparison, label: str, message: str) -> Iterator[None]:
    """A lost result is a fault, and not the same as an empty one."""
    try:
        yield
    except Problem as problem:
        comparison.faults[label] = f"{message}: {problem.message}"
    except asyncio.CancelledError:
        comparison.faults.setdefault(label, f"{message}: the resolver does not respond in time")
        raise


def _first(comparison: Comparison, label: str, found: list[Any], most: int, what: str) -> list[Any]:
    """As many as are queried; that there are more is a fault."""
    if len(found) > most:
        comparison.faults[label] = f"only {most} of its {len(found)} {what} were queried"
    return found[:most]


async def _all(work: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


def survey(names: Sequence[str], servers: Sequence[Server], timeout: float, concurrency: int) -> Survey:
    """Look up the names, and with them the domains that they are in and their autodiscover names, which mail clients
    use by default; and compare what the servers of these domains have. `timeout`: seconds for each step."""
    return asyncio.run(_survey(names, servers, timeout, concurrency))


async def _survey(names: Sequence[str], servers: Sequence[Server], timeout: float, concurrency: int) -> Survey:
    client = Client(servers, timeout, concurrency)
    lookups = await client.look_up(dict.fromkeys(names))
    domains = dict.fromkeys(lookup.zone.name for lookup in lookups.values() if lookup.zone and lookup.zone.private)
    related = [name for domain in domains for name in (domain, f"autodiscover.{domain}") if name not in lookups]
    names_by_zone: dict[Zone, set[str]] = {}
    for lookup in lookups.values():
        if lookup.home and lookup.home.private and not lookup.problem:
            inside = (level.owner for level in lookup.levels)
            suffix = "." + lookup.home.name
            names_by_zone.setdefault(lookup.home, set()).update(
                name for name in inside if ("." + name).endswith(suffix)
            )
    more, comparisons = await asyncio.gather(client.look_up(dict.fromkeys(related)), client.compare(names_by_zone))
    return Survey({**more, **lookups}, comparisons, client.servers)
