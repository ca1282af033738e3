# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Brings a CAA record set into a zone by dynamic update (RFC 2136, TSIG), and queries all its name servers for it.

The update names what it replaces as its prerequisite, so what somebody else changed meanwhile is never overwritten.
Runs on the controller.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Dict, NamedTuple

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import Comparison, Server, Zone
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property

with contextlib.suppress(ImportError):  # _caa.lookup reports it
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset
    import dns.tsig
    import dns.update
    from dns.rdtypes.ANY.CAA import CAA

ALGORITHMS = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
PAUSE = 0.5
"""Seconds between two queries of name servers that do not have the set yet."""
PARALLEL = 16

_REFUSALS = {
    "REFUSED": "it does not let this key change the record",
    "NOTAUTH": "it is not in charge of the zone, or does not know the key",
    "NXRRSET": "the records were changed meanwhile",
    "YXRRSET": "the records were changed meanwhile",
    "NOTIMP": "it knows no dynamic updates",
}


class Failure(Exception):
    """Why the set could not be published, as a message for the administrator. It never has the key's secret."""


class Found(NamedTuple):
    """What a server has at a place: the zone that it is in, the records, their time to live."""

    zone: dns.name.Name
    records: frozenset[Property]
    ttl: int | None


if TYPE_CHECKING:  # Python has it since 3.8 only.
    from typing import TypedDict  # novm

    class ServerState(TypedDict):
        """The state of one of the zone's name servers, as the module returns it; C(state) is published, different or
        faulty, C(fault) why there is no usable response."""

        server: str
        state: str
        fault: str

    class Change(TypedDict):
        """What has changed in a zone, as Ansible shows it."""

        before: str
        after: str
        before_header: str
        after_header: str

    class _Published(TypedDict):
        changed: bool
        zone: str
        records: list[str]
        previous: list[str]
        servers: list[ServerState]
        diff: Change

    class Published(_Published, total=False):
        """The result of the module caa_publish; C(msg) is there where the change did not arrive everywhere."""

        msg: str

else:
    ServerState = Change = Published = Dict[str, Any]


class View(NamedTuple):
    """The records of one of the zone's name servers, or why there is no usable response."""

    server: str
    records: frozenset[Property] | None
    fault: str = ""


def key(name: str, secret: str, algorithm: str) -> dns.tsig.Key:
    """The key to sign with; raises ValueError, without the secret in its text."""
    try:
        raw = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("key_secret: is not base64") from None
    if not raw:
        raise ValueError("key_secret: is empty")
    try:
        return dns.tsig.Key(dns.name.from_text(name), raw, algorithm)
    except dns.exception.DNSException as error:
        raise ValueError(f"key_name: {name!r} is not the name of a key ({error})") from error


def absolute(name: str) -> dns.name.Name:
    """A host name for the wire."""
    return dns.name.from_text(name)


def relative(name: dns.name.Name) -> str:
    """A name as people write it."""
    return name.to_text(omit_final_dot=True)


def _rdata(record: Property) -> dns.rdata.Rdata:
    # Not from its text: dnspython before 2.4 takes bytes there for characters.
    return CAA(dns.rdataclass.IN, dns.rdatatype.CAA, record.flags, record.tag.encode("ascii"), record.value)


def properties(records: Iterable[str]) -> frozenset[Property]:
    """The records that shall be published; raises ValueError for what CAs cannot read."""
    found = frozenset(_records.parse_record(text) for text in records)
    for record in found:
        if record.kind in ("issue", "issuewild") and _records.parse_grant(record.value) is None:
            raise ValueError(f"{record} is malformed, so it would authorise no CA")
        if record.kind == "iodef" and not _records.reports_to(record):
            raise ValueError(f"{record} is neither a mailto: nor an http(s): address")
    return found


class Primary:
    """The server that takes updates."""

    def __init__(self, server: Server, timeout: float) -> None:
        self.server = server
        self.timeout = timeout

    def _send(self, query: dns.message.Message) -> dns.message.Message:
        # By TCP: nothing gets lost on the way, and every response fits.
        try:
            return dns.query.tcp(query, self.server.address, self.timeout, self.server.port)
        except dns.exception.Timeout:
            raise Failure(f"{self.server} does not respond") from None
        except (OSError, EOFError) as error:
            raise Failure(f"{self.server} cannot be queried ({error})") from error
        except dns.tsig.PeerError as error:
            reasons = {"PeerBadKey": "it does not know the key", "PeerBadSignature": "the key is another one there"}
            reason = reasons.get(type(error).__name__, str(error))
            raise Failure(f"{self.server} refuses the update: {reason}") from error
        except dns.exception.DNSException as error:
            if query.had_tsig and isinstance(error, dns.exception.FormError):
                reason = "it does not know the key, or does not let it change the zone"
                raise Failure(f"{self.server} refuses the update: {reason} (its response is not signed)") from error
            raise Failure(f"{self.server} sends a response that cannot be read ({error!r})") from error

    def _query(self, owner: dns.name.Name, rdtype: str) -> dns.message.Message:
        reply = self._send(dns.message.make_query(owner, rdtype, use_edns=0, flags=0))
        if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Failure(f"{self.server} returns {dns.rcode.to_text(reply.rcode())} for {owner}")
        if not reply.flags & dns.flags.AA:
            raise Failure(f"{self.server} is not in charge of {owner}")
        return reply

    def read(self, owner: dns.name.Name) -> Found:
        """What is there now; raises Failure."""
        reply = self._query(owner, "SOA")
        for rrset in [*reply.answer, *reply.authority]:
            if rrset.rdtype == dns.rdatatype.CNAME and rrset.name == owner:
                raise Failure(f"{owner} is an alias of {rrset[0].target}; that is where its CAA records belong")
            if rrset.rdtype == dns.rdatatype.SOA and owner.is_subdomain(rrset.name):
                zone = rrset.name
                break
        else:
            raise Failure(f"{self.server} does not show the zone that {owner} is in")
        if not Zone(relative(zone), "").private:
            raise Failure(f"{self.server} has {owner} in the zone {zone}, which is a registry's")
        answer = [rrset for rrset in self._query(owner, "CAA").answer if rrset.rdtype == dns.rdatatype.CAA]
        records = frozenset(_lookup.properties(data for rrset in answer for data in rrset))
        return Found(zone, records, answer[0].ttl if answer else None)

    def update(
        self,
        owner: dns.name.Name,
        found: Found,
        signed_with: dns.tsig.Key,
        new: tuple[frozenset[Property], int] | None,
    ) -> None:
        """Replace the records of `found` by those of `new`, with that time to live; raises Failure.

        Without `new` only the prerequisite is sent: the server checks the key and the zone, and changes nothing
        (RFC 2136 section 3.4).
        """
        message = dns.update.UpdateMessage(found.zone, keyring=signed_with)
        if found.records:
            message.present(owner, *map(_rdata, sorted(found.records)))
        else:
            message.absent(owner, dns.rdatatype.CAA)
        if new:
            records, ttl = new
            message.delete(owner, dns.rdatatype.CAA)
            if records:
                message.add(owner, dns.rrset.from_rdata_list(owner, ttl, list(map(_rdata, sorted(records)))))
        reply = self._send(message)
        rcode = dns.rcode.to_text(reply.rcode())
        if rcode != "NOERROR":
            raise Failure(f"{self.server} refuses the update: {_REFUSALS.get(rcode, 'without a reason')} ({rcode})")
        if not reply.had_tsig:
            raise Failure(f"{self.server} sends a response without a signature, which cannot be trusted")


def views(zone: str, owner: str, resolvers: Sequence[Server], timeout: float) -> list[View]:
    """The records that all name servers of the zone have at a place. Those out of reach from here are left out."""

    async def compare() -> Comparison:
        client = _lookup.Client(resolvers, timeout, PARALLEL)
        return (await client.compare({Zone(zone, ""): [owner]}))[zone]

    comparison = asyncio.run(compare())
    found = [View(server, records) for server, records in comparison.views.get(owner, {}).items()]
    return sorted(found + [View(server, None, fault) for server, fault in comparison.faults.items()])


def wait(
    zone: str, owner: str, expected: frozenset[Property], resolvers: Sequence[Server], timeout: float, patience: float
) -> list[View]:
    """Query the zone's name servers until all that respond have the records, `patience` seconds at most."""
    end = time.monotonic() + patience
    while True:
        found = views(zone, owner, resolvers, timeout)
        late = [view for view in found if view.records is not None and view.records != expected]
        if (found and not late) or time.monotonic() + PAUSE > end:
            return found
        time.sleep(PAUSE)
