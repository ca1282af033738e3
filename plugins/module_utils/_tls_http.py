# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""What an HTTP answer says about transport security: HSTS, and whether plain HTTP leads to HTTPS.

The parsers take whatever a server sends. RFC 9110, RFC 9112, RFC 6797.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._x509 import printable

# Enough for any header section that a browser would accept.
MAX_HEAD = 64 * 1024
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_DIRECTIVE = re.compile(
    r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[!#$%&\'*+.^_`|~0-9A-Za-z-]+))?\s*$'
)
# How servers of other protocols greet or complain.
_OTHER_PROTOCOL = re.compile(rb"(\* |\+OK|-ERR|220[ -]|421[ -]|5\d\d[ -])")


class HttpError(ValueError):
    """The answer is no HTTP. C(other) tells that it is another protocol's greeting."""

    def __init__(self, words: str, other: bool = False) -> None:
        super().__init__(words)
        self.other = other


class Head(t.NamedTuple):
    """Status code and header fields, names in lower case, in their order."""

    status: int
    fields: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]


def request(host: str, port: int, default_port: int) -> bytes:
    """A GET of the start page that asks for the connection to be closed."""
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
    """The head of an answer, None while more bytes are needed; C(complete) says that none will come."""
    if not (data[:5] == b"HTTP/" or b"HTTP/".startswith(data[:5])):
        raise HttpError("the answer is not HTTP", other=bool(_OTHER_PROTOCOL.match(data)))
    end = _END_OF_HEAD.search(data[: MAX_HEAD + 4])
    if not end:
        if complete or len(data) > MAX_HEAD:
            raise HttpError("the answer's head does not end")
        return None
    lines = re.split(r"\r?\n", data[: end.start()].decode("latin-1"))
    found = re.match(r"HTTP/\d\.\d (\d{3})(?: |$)", lines[0], re.ASCII)
    if not found:
        raise HttpError("the answer is not HTTP")
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and fields:
            fields[-1] = (fields[-1][0], fields[-1][1] + " " + line.strip())
            continue
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name.strip().lower(), value.strip()))
    return Head(int(found.group(1)), fields)


def read_hsts(values: t.Sequence[str]) -> dict[str, t.Any]:
    """What the C(Strict-Transport-Security) fields of one answer amount to.

    C(status) is absent, invalid, disabled (C(max-age=0)) or present; C(reason) says why it is invalid. Two fields are
    invalid even if each is well formed: clients take the first, scanners and preload lists take neither.
    """
    result: dict[str, t.Any] = {
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
    for part in _split(values[0]):
        if not part.strip():
            continue
        found = _DIRECTIVE.match(part)
        if not found:
            reason = reason or f"not a directive: {printable(part.strip())[:80]}"
            continue
        name, value = found.group(1).lower(), found.group(2)
        if name in directives:
            reason = reason or f"{name} twice"
        directives.setdefault(name, value)
    age = (directives.get("max-age") or "").strip('"')
    if not re.match(r"\d{1,18}$", age, re.ASCII):
        reason = reason or ("max-age is not a number" if "max-age" in directives else "no max-age")
    else:
        result["max_age"] = int(age)
    result["include_subdomains"] = "includesubdomains" in directives
    result["preload"] = "preload" in directives
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


def read_redirect(head: Head, names: t.Iterable[str]) -> dict[str, t.Any]:
    """Where plain HTTP leads: C(status) is https (same host), https_elsewhere, http or none (it serves content)."""
    location = (head.values("location") or [""])[0]
    found = re.match(r"(https?)://(\[[^\]]*\]|[^/:?#]*)", location, re.IGNORECASE)
    status = "none"
    if 300 <= head.status < 400 and found:
        host = found.group(2).strip("[]").rstrip(".").lower()
        same = host in [name.rstrip(".").lower() for name in names]
        status = "http" if found.group(1).lower() == "http" else "https" if same else "https_elsewhere"
    elif 300 <= head.status < 400:
        status = "http"
    return {"status": status, "code": head.status, "location": printable(location)[:512] or None}
