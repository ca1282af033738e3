# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""Requests to a web server over real connections, and whether a later answer is worse than an earlier one.

A I(target) is one thing to ask: C({address, port, server_name, path, method, headers, tls}); an I(answer) is what came
back: C({ok, protocol, cipher, certificate, status, location, headers, error, ms}) with header names in lower case and
every value in a list, because a doubled header is a fault that a mapping would hide.

Certificates are not verified here: the question is what the server serves, not whether a client should trust it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import http.client
import re
import socket
import ssl
import time
import typing as t

Target = t.Dict[str, t.Any]
Answer = t.Dict[str, t.Any]

USER_AGENT = "kopano.hardening"
CONCURRENCY = 8
# A request line and headers are all that is read; a body can be a mailbox.
MAX_HEADERS = 1 << 16


def targets_of(vhosts: t.Iterable[t.Any]) -> list[Target]:
    """Every TLS endpoint of a configuration: once without a server name, then with each name that it has.

    vhosts: C(_config.Vhost) objects. A wildcard name is asked for by a name that it covers; a regular expression
    cannot be asked for.
    """
    asked: dict[tuple[str, int, str | None], Target] = {}
    for vhost in vhosts:
        address = connect_address(vhost.address)
        if not vhost.tls or not vhost.port or address is None:
            continue
        names: list[str | None] = [None]
        names.extend(_asked_name(name) for name in vhost.names)
        for name in names:
            if name == "":
                continue
            where = (address, vhost.port, name)
            asked.setdefault(where, {"address": address, "port": vhost.port, "server_name": name, "path": "/"})
    return list(asked.values())


def connect_address(address: str) -> str | None:
    """Where to reach what listens on address from this very host; None for what is no internet address."""
    if address in ("*", "", "_default_", "0.0.0.0"):
        return "127.0.0.1"
    address = address.strip("[]")
    if address == "::":
        return "::1"
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
            return address
        except OSError:
            continue
    return None


def _asked_name(name: str) -> str:
    name = name.lower().rstrip(".")
    if name.startswith("*."):
        name = "probe" + name[1:]
    elif name.startswith("."):
        name = name[1:]
    return name if re.match(r"^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$", name) and name != "_" else ""


@functools.lru_cache(maxsize=None)
def client_context() -> ssl.SSLContext:
    """A client that accepts all that this OpenSSL can still do, to talk to what is not hardened yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ValueError, ssl.SSLError):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def ask(target: Target, timeout: float) -> Answer:
    """One connection, one request. Never raises for what the other side does: error says it."""
    started = time.monotonic()
    answer: Answer = dict.fromkeys(("protocol", "cipher", "certificate", "status", "location", "error"))
    answer.update(ok=False, headers={})
    connection = None
    try:
        connection = socket.create_connection((target["address"], target["port"]), timeout)
        if target.get("tls", True):
            connection = client_context().wrap_socket(connection, server_hostname=target.get("server_name"))
            answer["protocol"] = {"TLSv1": "TLSv1.0"}.get(connection.version() or "", connection.version())
            answer["cipher"] = (connection.cipher() or (None,))[0]
            certificate = connection.getpeercert(True)
            answer["certificate"] = hashlib.sha256(certificate).hexdigest() if certificate else None
        connection.sendall(_request(target))
        _read_response(connection, answer)
        answer["ok"] = True
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer["error"] = getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        if connection is not None:
            connection.close()
    answer["ms"] = round((time.monotonic() - started) * 1000, 1)
    return answer


def _request(target: Target) -> bytes:
    host = target.get("server_name") or target["address"]
    if ":" in host:
        host = f"[{host}]"
    if target["port"] != (443 if target.get("tls", True) else 80):
        host = "%s:%d" % (host, target["port"])
    headers = {"Host": host, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers.update(target.get("headers") or {})
    lines = ["{} {} HTTP/1.1".format(target.get("method") or "GET", target.get("path") or "/")]
    lines += ["{}: {}".format(*item) for item in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _read_response(connection: socket.socket, answer: Answer) -> None:
    with connection.makefile("rb") as stream:
        line = stream.readline(MAX_HEADERS).decode("latin-1")
        found = re.match(r"HTTP/1\.[01] (\d{3})", line)
        if not found:
            raise http.client.BadStatusLine(line.strip() or "no answer")
        answer["status"] = int(found.group(1))
        headers = answer["headers"] = _read_headers(stream)
        answer["location"] = headers["location"][0] if "location" in headers else None


def _read_headers(stream: t.BinaryIO) -> dict[str, list[str]]:
    """The header section (RFC 9112, section 5), up to its empty line or its limit of size."""
    headers: dict[str, list[str]] = {}
    left = MAX_HEADERS
    while left > 0:
        line = stream.readline(left)
        left -= len(line)
        name, colon, value = line.decode("latin-1").partition(":")
        if not line.strip():
            return headers
        if colon:
            headers.setdefault(name.strip().lower(), []).append(value.strip())
    raise http.client.HTTPException("more than %d bytes of headers" % MAX_HEADERS)


def ask_all(targets: t.Sequence[Target], timeout: float) -> list[Answer]:
    """Answers in the order of the targets, a few at a time."""
    if not targets:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(CONCURRENCY, len(targets))) as pool:
        return list(pool.map(lambda target: ask(target, timeout), targets))


# --- probes: what the user wants asked -------------------------------------------------------------------------------


def targets_for(probe: dict[str, t.Any], endpoints: t.Sequence[Target]) -> list[Target]:
    """The targets of one probe: at its own server name, else at the first name of each endpoint."""
    tls = probe.get("tls", True)
    request = {"path": probe["path"], "method": probe.get("method"), "headers": probe.get("headers"), "tls": tls}
    name, port = probe.get("server_name"), probe.get("port")
    if not tls:
        return [dict(request, address="127.0.0.1", port=port or 80, server_name=name)]
    places: dict[tuple[str, int], Target] = {}
    for endpoint in endpoints:
        if port and endpoint["port"] != port:
            continue
        place = (endpoint["address"], endpoint["port"])
        if name is None and endpoint["server_name"] and not (places.get(place) or {}).get("server_name"):
            places[place] = dict(request, address=place[0], port=place[1], server_name=endpoint["server_name"])
        places.setdefault(place, dict(request, address=place[0], port=place[1], server_name=name))
    return list(places.values())


def unmet(expected: dict[str, t.Any] | None, answer: Answer) -> str | None:
    """Why an answer is not what a probe expects, or None.

    expected: C(status), a list of status codes; C(headers), header name to a regular expression that its value matches
    as a whole, each header present exactly once.
    """
    if not answer["ok"]:
        return str(answer["error"])
    if not expected:
        return None
    status = expected.get("status")
    if status and answer["status"] not in status:
        return "status {} where {} is expected".format(answer["status"], " or ".join(str(code) for code in status))
    for name, pattern in (expected.get("headers") or {}).items():
        values = answer["headers"].get(name.lower(), [])
        if len(values) != 1:
            return "%d headers %s where exactly one is expected" % (len(values), name)
        if not re.match(f"(?:{pattern})\\Z", values[0]):
            return f"header {name} is {values[0]!r} where {pattern!r} is expected"
    return None


def worse(before: Answer, after: Answer, strict: bool = True) -> str | None:
    """Why a later answer is worse than the earlier one to the same question, or None.

    Not strict: only failures count. That is for plain connections, where a redirect to HTTPS or a refusal is what
    hardening is for, and for root pages, which may come to lead elsewhere.
    """
    if not before["ok"]:
        return None
    if not after["ok"]:
        return "answered {} before, now: {}".format(before["status"], after["error"])
    was, is_now = before["status"], after["status"]
    changed = f"status {was} before, {is_now} now"
    if is_now >= 500 and is_now // 100 != was // 100:
        return changed
    if not strict:
        return None
    if was // 100 == 2 and is_now // 100 != 2:
        return changed
    if was == 401 and is_now != 401:
        return changed
    if was // 100 == 3 and (is_now // 100 != 3 or not _same_goal(before["location"], after["location"])):
        return "{}, redirected to {} before, to {} now".format(changed, before["location"], after["location"])
    lost = [name for name in REQUIRED_HEADERS if name in before["headers"] and name not in after["headers"]]
    if lost:
        return "lost the header {}".format(", ".join(lost))
    return None


# A client that got one of these needs it: credentials are asked for, ActiveSync versions negotiated.
REQUIRED_HEADERS = (
    "www-authenticate",
    "ms-server-activesync",
    "ms-asprotocolversions",
    "ms-asprotocolcommands",
    "strict-transport-security",
)


def _same_goal(before: str | None, after: str | None) -> bool:
    """The same place, whether by HTTP or HTTPS."""
    strip = re.compile(r"^https?://")
    return strip.sub("", before or "") == strip.sub("", after or "")
