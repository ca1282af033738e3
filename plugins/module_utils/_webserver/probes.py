# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""The requests to a web server, and whether a later response is worse than an earlier one.

Targets and responses are those of C(_webserver.client).
"""

from __future__ import annotations

import re
import socket
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.client import Response, Target

_ANY = ("*", "", "_default_", "0.0.0.0")
_LOOPBACK = [f"127.0.0.{number}" for number in range(1, 255)]


Place = t.Tuple[t.Optional[str], int]  # address and port


def bound_to(vhosts: t.Iterable[t.Any]) -> set[Place]:
    """The places that have virtual hosts of their own, which no other virtual host serves then."""
    listens = (listen for vhost in vhosts for listen in vhost.listen if listen["address"] not in _ANY)
    return {(connect_address(listen["address"]), listen["port"]) for listen in listens}


def targets_of(vhosts: t.Sequence[t.Any], bound: t.Container[Place] | None = None) -> list[Target]:
    """Every TLS endpoint of a configuration: once without a server name, then with each name that it has.

    vhosts: C(_webserver.model.Vhost) objects, each requested wherever the server listens for it. A wildcard name is
    requested by a name that it covers; a regular expression is left out. C(outside): whether other hosts can reach it,
    which they cannot on the loopback; C(block) is the place of the virtual host, which may have several addresses;
    C(tls_group) is its own. bound: as of L(bound_to), if these are not all of the server's virtual hosts.
    """
    bound = bound_to(vhosts) if bound is None else bound
    targets: dict[tuple[str, int, str | None], Target] = {}
    for vhost, listen, address in ((one, *place) for one in vhosts if one.tls for place in _requested(one, bound)):
        names: list[str | None] = [None]
        names.extend(_sni_for(name) for name in vhost.names)
        for name in names:
            if name == "":
                continue
            where = (address, listen["port"], name)
            new: Target = {
                "address": address,
                "port": listen["port"],
                "server_name": name,
                "path": "/",
                "block": (vhost.file, vhost.line),
                "tls_group": vhost.tls_group,
            }
            target = targets.setdefault(where, new)
            outside = not _webserver_model.is_loopback(listen["address"])
            target["outside"] = target.get("outside", False) or outside
    return list(targets.values())


def unreached(vhosts: t.Sequence[t.Any]) -> list[t.Any]:
    """The virtual hosts with TLS that L(targets_of) requests at none of their addresses, each once.

    No Listen of Apache's is left for them, or it has the name of a host; nginx listens on a Unix socket only.
    """
    bound = bound_to(vhosts)
    reached = {(one.file, one.line) for one in vhosts if any(_requested(one, bound))}
    found = {(one.file, one.line): one for one in vhosts if one.tls and (one.file, one.line) not in reached}
    return list(found.values())


def _requested(vhost: t.Any, bound: t.Container[Place]) -> t.Iterator[tuple[t.Any, str]]:
    """Where the server listens for a virtual host, each with the address that this very host requests it at."""
    for listen in vhost.listen:
        is_any = listen["address"] in _ANY
        address = _free_loopback(listen["port"], bound) if is_any else connect_address(listen["address"])
        if address is not None:
            yield listen, address


def _free_loopback(port: int, bound: t.Container[Place]) -> str:
    """The first one that no virtual host is bound to: requests to that would be for it alone."""
    return next(address for address in _LOOPBACK if (address, port) not in bound)


def one_of_each(endpoints: t.Iterable[Target]) -> list[Target]:
    """Of the endpoints that share address, certificate and TLS directives one with a name, and one without."""
    found: dict[t.Any, Target] = {}
    for target in endpoints:
        name = target["server_name"]
        alike = target["tls_group"] and (target["tls_group"], name is not None)
        found.setdefault((target["address"], target["port"], alike or name), target)
    return list(found.values())


def connect_address(address: str) -> str | None:
    """Where to reach what listens on address from this very host; None for what is no internet address."""
    if address in _ANY:
        return _LOOPBACK[0]
    address = address.strip("[]")
    if address == "::":
        return "::1"
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
            return address
        except (OSError, ValueError):  # ValueError: a null byte, or what is no text
            continue
    return None


def mark_inside(targets: t.Iterable[Target], listening: t.Collection[tuple[str, int]]) -> None:
    """Note of the targets which of them others cannot reach: the server listens for them on the loopback only.

    A virtual host for every address does not show that itself. listening: (address, port); none of a port: not known.
    """
    for target in targets:
        addresses = [address for address, port in listening if port == target["port"]]
        if addresses and all(_webserver_model.is_loopback(address) for address in addresses):
            target["outside"] = False


def _sni_for(name: str) -> str:
    name = name.lower().rstrip(".")
    if name.startswith("*."):
        name = "probe" + name[1:]
    elif name.startswith("."):
        name = name[1:]
    return name if re.match(r"^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$", name) and name != "_" else ""


# --- probes: the requests that the options describe -------------------------------------------------------------------


def targets_for(probe: dict[str, t.Any], endpoints: t.Sequence[Target]) -> list[Target]:
    """The targets of one probe: at its own server name, else at the first name of each endpoint.

    C(again): the same virtual host at another of its addresses.
    """
    tls = probe.get("tls", True)
    name, port = probe.get("server_name"), probe.get("port")
    request: Target = {
        "path": probe.get("path"),
        "method": probe.get("method"),
        "headers": probe.get("headers"),
        "body_size": probe.get("body_size"),
        "tls": tls,
        "address": "127.0.0.1",
        "port": port or 80,
        "server_name": name,
    }
    if not tls:
        return [{**request, "again": False}]
    places: dict[tuple[str, int], Target] = {}
    for endpoint in endpoints:
        if port and endpoint["port"] != port:
            continue
        place = (endpoint["address"], endpoint["port"])
        known = places.get(place)
        if known is None or (name is None and endpoint["server_name"] and not known["server_name"]):
            places[place] = {
                **request,
                "address": place[0],
                "port": place[1],
                "server_name": name or endpoint["server_name"],
                "block": None,
            }
        if endpoint["server_name"] == places[place]["server_name"]:
            places[place]["block"] = endpoint["block"]
    blocks = set()
    for target in places.values():
        target["again"] = target["block"] in blocks
        if target["block"]:  # else the server chooses a virtual host for this name
            blocks.add(target["block"])
    return list(places.values())


def unmet(expected: dict[str, t.Any] | None, response: Response) -> str | None:
    """Why a response is not what a probe expects, or None.

    expected: C(status), a list of status codes; C(headers), header name to a regular expression that its value matches
    as a whole, each header present exactly once.
    """
    if not response["ok"]:
        return str(response["error"])
    if not expected:
        return None
    status = expected.get("status")
    if status and response["status"] not in status:
        return "status {} where {} is expected".format(response["status"], " or ".join(str(code) for code in status))
    for name, pattern in (expected.get("headers") or {}).items():
        values = response["headers"].get(name.lower(), [])
        if len(values) != 1:
            return "%d headers %s where exactly one is expected" % (len(values), name)
        if not re.match(f"(?:{pattern})\\Z", values[0]):
            return f"header {name} is {values[0]!r} where {pattern!r} is expected"
    return None


# A Response, or one of web_config's probes with its C(headers).
Responded = t.Mapping[str, t.Any]


def worse(before: Responded, after: Responded, strict: bool = True, keep: t.Iterable[str] = ()) -> str | None:
    """Why a later response is worse than the earlier one to the same request, or None.

    Not strict: only failures count. That is for plain connections, where a redirect to HTTPS or a refusal is what
    hardening is for, and for root pages, which may come to lead elsewhere. keep: headers that have to stay as they are.
    """
    if not before["ok"]:
        return None
    if not after["ok"]:
        return "status {} before, now: {}".format(before["status"], after["error"])
    was, is_now = before["status"], after["status"]
    changed = f"status {was} before, {is_now} now"
    if is_now >= 500 and is_now // 100 != was // 100:
        return changed
    if not strict:
        return None
    if is_now == 413 and was != 413:
        return f"{changed}: a request body of this size came through before"
    if 100 in (was, is_now):
        return None  # the server would have taken the body; a response without reading it means the same
    if (was in (401, 403) and is_now != was) or (was // 100 == 2 and is_now // 100 != 2):
        return changed
    if was // 100 == 3 and (is_now // 100 != 3 or not _same_goal(before["location"], after["location"])):
        return "{}, redirected to {} before, to {} now".format(changed, before["location"], after["location"])
    # The server's own page about a path that is not there has no headers of what is served there now.
    is_new = was in _ABSENT and is_now != was
    return _worse_headers(before["headers"], after["headers"], [name.lower() for name in keep], is_new)


Headers = t.Dict[str, t.List[str]]

_ABSENT = (404, 410)

# A client that got one of these needs it: they request credentials, or negotiate ActiveSync versions.
REQUIRED_HEADERS = (
    "www-authenticate",
    "ms-server-activesync",
    "ms-asprotocolversions",
    "ms-asprotocolcommands",
    "strict-transport-security",
)

# Which other sites may read a response. Fewer break clients, more reveal mails.
_CORS = "access-control-allow-"

# What browsers take no notice of, or the strictest of, when it comes twice.
_ONCE = (
    "strict-transport-security",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
    "content-security-policy",
    "access-control-allow-origin",
)


def _worse_headers(before: Headers, after: Headers, keep: list[str], is_new: bool) -> str | None:
    lost = [name for name in REQUIRED_HEADERS if name in before and name not in after]
    if lost:
        return "lost the header {}".format(", ".join(lost))
    cors = [name for name in {**before, **after} if name.startswith(_CORS)]
    for name in () if is_new else (*cors, *keep):
        if _lasting(before.get(name)) != _lasting(after.get(name)):
            return f"header {name}: {_shown(before.get(name))} before, {_shown(after.get(name))} now"
    for name in _ONCE:
        if len(after.get(name, ())) > max(1, len(before.get(name, ()))):
            return f"header {name} comes {len(after[name])} times: {_shown(after[name])}"
    if _forbids_frames(after) and not _forbids_frames(before):
        return (
            "may no longer be shown in a frame of its own site: X-Frame-Options {}, Content-Security-Policy {}".format(
                _shown(after.get("x-frame-options")), _shown(after.get("content-security-policy"))
            )
        )
    return _worse_cookies(before.get("set-cookie", []), after.get("set-cookie", []))


def _lasting(values: list[str] | None) -> list[str]:
    """The values without what is new in each response."""
    return [re.sub(r"nonce-[^']*'|(?:nonce|opaque)=\"[^\"]*\"", "nonce", value) for value in values or ()]


def _shown(values: list[str] | None) -> str:
    return ", ".join(values) if values else "none"


def _forbids_frames(headers: Headers) -> bool:
    """Whether browsers show the response in no frame at all, not even in one of the same site."""
    if any(re.search(r"frame-ancestors\s+'none'", value) for value in headers.get("content-security-policy", ())):
        return True
    options = {part.strip().upper() for value in headers.get("x-frame-options", ()) for part in value.split(",")}
    return "DENY" in options


def _cookies(lines: list[str]) -> dict[str, dict[str, str]]:
    """The cookies of a response: by name their attributes in lower case."""
    found = {}
    for line in lines:
        name, *attributes = line.split(";")
        pairs = [attribute.strip().lower().partition("=") for attribute in attributes]
        found[name.partition("=")[0].strip()] = {key: value for key, _equals, value in pairs if key}
    return found


def _worse_cookies(before: list[str], after: list[str]) -> str | None:
    """A cookie that is gone, lost a flag, or is sent in other cases than before."""
    now = _cookies(after)
    for name, attributes in _cookies(before).items():
        if name not in now:
            return f"lost the cookie {name}"
        for flag in ("secure", "httponly"):
            if flag in attributes and flag not in now[name]:
                return f"the cookie {name} lost its flag {flag}"
        for key in ("path", "domain", "samesite"):
            was, is_now = attributes.get(key), now[name].get(key)
            # Lax is the default of browsers.
            if was != is_now and not (key == "samesite" and {was, is_now} == {None, "lax"}):
                return f"the cookie {name} had {key} {was}, now {is_now}"
    return None


def _same_goal(before: str | None, after: str | None) -> bool:
    """The same place, by HTTP or HTTPS. Of a query the names count: a sign-in has new values in each response."""
    return _goal(before) == _goal(after)


def _goal(location: str | None) -> tuple[str, list[str]]:
    place, _mark, query = re.sub(r"^https?://", "", location or "").partition("?")
    return place, [pair.partition("=")[0] for pair in query.split("&")]
