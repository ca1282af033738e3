# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What an HTTP response means for transport security: HSTS, and whether plain HTTP leads to HTTPS.

The parsers take whatever a server sends. RFC 9110, RFC 9112, RFC 6797.
"""

from __future__ import annotations

import contextlib
import re
import typing as t
from urllib.parse import unquote_to_bytes

from ansible_collections.kopano.hardening.plugins.module_utils._common.idna import to_ascii
from ansible_collections.kopano.hardening.plugins.module_utils._x509.certificate import printable

# Enough for any header section that a browser would accept.
MAX_HEAD = 64 * 1024
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_DIRECTIVE = re.compile(
    r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("[^"\\]*(?:\\.[^"\\]*)*"|[!#$%&\'*+.^_`|~0-9A-Za-z-]*))?\Z'
)
# The directives that browsers know. Of all others they take any value, and any number (RFC 6797, 6.1, rule 5).
_KNOWN = ("max-age", "includesubdomains")
# How mail servers greet. An error is no greeting: an HTTP server that is out of order may send one, too.
_MAIL = re.compile(rb"(\* (OK|PREAUTH)|\+OK|220[ -])")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Hsts(t.TypedDict):  # novm
        """A server's HSTS policy. C(status) alone where it was not queried, with C(reason) if that failed.

        status: C(present), C(absent), C(disabled) (C(max-age=0)), C(invalid), C(error), C(not_tested) or
        C(not_applicable) (it speaks no HTTP). max_age: seconds; None where the header has none. headers: as they came.
        reason: why it is invalid, or could not be read.
        """

        status: str
        max_age: t.NotRequired[int | None]
        include_subdomains: t.NotRequired[bool]
        preload: t.NotRequired[bool]
        headers: t.NotRequired[list[str]]
        reason: t.NotRequired[str | None]

    class Redirect(t.TypedDict):  # novm
        """Where plain HTTP leads. C(status) alone where it was not queried, with C(reason) if there is no response.

        status: C(https) (same host), C(https_elsewhere), C(http), C(none) (it serves content), C(closed), C(error) or
        C(not_tested). code: the response's; location: None where it has none.
        """

        status: str
        code: t.NotRequired[int]
        location: t.NotRequired[str | None]
        reason: t.NotRequired[str]

else:
    Hsts = Redirect = t.Dict[str, t.Any]


class HttpError(ValueError):
    """The response is no HTTP. C(other): it is a mail server's greeting; C(cut): it ended too early."""

    def __init__(self, message: str, other: bool = False, cut: bool = False) -> None:
        super().__init__(message)
        self.other = other
        self.cut = cut


class Head(t.NamedTuple):
    """Status code and header fields, names in lower case, in their order."""

    status: int
    fields: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]


def request(host: str, port: int, default_port: int) -> bytes:
    """A GET of the start page that requests the connection to be closed."""
    host = re.sub(r"[^\x21-\x7e]", "", host)
    name = f"[{host}]" if ":" in host else host
    authority = name if port == default_port else f"{name}:{port}"
    lines = (
        "GET / HTTP/1.1",
        "Host: " + authority,
        "User-Agent: kopano-hardening",
        "Accept: */*",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode("ascii", "replace")


def read_head(data: bytes, complete: bool) -> Head | None:
    """The head of the final response, None while more bytes are needed; C(complete): none will come.

    Interim responses (1xx; RFC 9110, 15.2) are passed over, but 101, as nothing was to be switched to.
    """
    data, start = data[: MAX_HEAD + 4], 0
    while True:
        found = _next_head(data[start:], complete or len(data) > MAX_HEAD)
        if found is None:
            return None
        head, size = found
        if not 100 <= head.status < 200:
            return head
        if head.status == 101:
            raise HttpError("the response switches to another protocol")
        start += size


def _next_head(data: bytes, complete: bool) -> tuple[Head, int] | None:
    """The head that the bytes begin with, and its size."""
    if not (data[:5] == b"HTTP/" or b"HTTP/".startswith(data[:5])):
        raise HttpError("the response is not HTTP", other=bool(_MAIL.match(data)))
    end = _END_OF_HEAD.search(data)
    if not end:
        if complete:
            raise HttpError("the response's head does not end", cut=True)
        return None
    lines = re.split(r"\r?\n", data[: end.start()].decode("latin-1"))
    found = re.match(r"HTTP/\d\.\d (\d{3})(?: |$)", lines[0], re.ASCII)
    if not found:
        raise HttpError("the response is not HTTP")
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + " " + line.strip())
            continue
        name, colon, value = line.partition(":")
        # Browsers leave out a field whose name is none, one with a blank before the colon for instance.
        if colon and _TOKEN.match(name):
            fields.append((name.lower(), value.strip()))
    return Head(int(found.group(1)), fields), end.end()


def read_hsts(values: t.Sequence[str]) -> Hsts:
    """What the C(Strict-Transport-Security) fields of one response amount to.

    A header counts if Chromium and Firefox both take it. Two fields are invalid even if each is well formed: clients
    take the first, scanners and preload lists take neither.
    """
    result: Hsts = {
        "status": "absent",
        "max_age": None,
        "include_subdomains": False,
        "preload": False,
        "headers": [printable(value)[:512] for value in values[:8]],
        "reason": None,
    }
    if not values:
        return result
    directives: dict[str, str | None] = {}
    reason = f"{len(values)} headers instead of one" if len(values) > 1 else None
    for part in map(str.strip, _split(values[0])):
        if not part:
            continue
        found = _DIRECTIVE.match(part)
        if not found:
            reason = reason or f"not a directive: {printable(part)[:80]}"
            continue
        name, value = found.group(1).lower(), found.group(2)
        if name in directives and name in _KNOWN:
            reason = reason or f"{name} twice"
        directives.setdefault(name, value)
    age = (directives.get("max-age") or "").strip('"')
    if not re.match(r"\d{1,18}$", age, re.ASCII):
        reason = reason or ("max-age is not a number" if "max-age" in directives else "no max-age")
    else:
        result["max_age"] = int(age)
    if directives.get("includesubdomains") is not None:
        reason = reason or "includeSubDomains with a value"
    result["include_subdomains"] = "includesubdomains" in directives
    result["preload"] = "preload" in directives and directives["preload"] is None
    result["status"] = "invalid" if reason else "present" if result["max_age"] else "disabled"
    result["reason"] = reason
    return result


def _split(value: str) -> list[str]:
    """The parts between semicolons, except those in quotes."""
    parts, quoted, start = [], False, 0
    for at, character in enumerate(value):
        if character == '"':
            quoted = not quoted
        elif character == ";" and not quoted:
            parts.append(value[start:at])
            start = at + 1
    return [*parts, value[start:]]


def read_redirect(head: Head, names: t.Iterable[str]) -> Redirect:
    """Where the response to a plain HTTP request leads. names: of the same host."""
    location = (head.values("location") or [""])[0]
    found = re.match(r"(https?)://([^/?#]*)", location, re.IGNORECASE)
    status = "none"
    if 300 <= head.status < 400 and found:
        same = _host_of(found.group(2)) in [_a_labels(name) for name in names]
        status = "http" if found.group(1).lower() == "http" else "https" if same else "https_elsewhere"
    elif 300 <= head.status < 400:
        status = "http"
    return {"status": status, "code": head.status, "location": printable(location)[:512] or None}


def _host_of(authority: str) -> str | None:
    """The host of an authority in an address, in A-labels."""
    host = authority.rpartition("@")[2]
    found = re.match(r"\[([^\]]*)\](?::\d*)?\Z|([^:]*)(?::\d*)?\Z", host)
    if not found:
        return None
    with contextlib.suppress(UnicodeError):
        # Browsers send and take UTF-8 here, plain or with percent signs.
        if found.group(1) is not None:
            return _a_labels(found.group(1))
        return _a_labels(unquote_to_bytes(found.group(2).encode("latin-1")).decode("utf-8"))
    return None


def _a_labels(name: str) -> str | None:
    try:
        return to_ascii(name).lower()
    except ValueError:
        return None
