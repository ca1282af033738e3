# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of all frontends and hosts, before and after: one row a question, one column a host."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from survey import ACTIVESYNC, ATTACHMENT, AUTODISCOVER, DENIED, MAIL, PAGES, SEEN, SOCKETS, components

Answers = dict[str, Any]  # of one host, by question
Cell = Callable[[Answers], str]

SECURITY = {
    "strict-transport-security": "HSTS",
    "x-content-type-options": "nosniff",
    "referrer-policy": "Referrer-Policy",
    "x-frame-options": "X-Frame-Options",
    "permissions-policy": "Permissions-Policy",
    "content-security-policy": "CSP",
    "content-security-policy-report-only": "CSP-Report-Only",
}
WELL_KNOWN = {
    "/.well-known/openid-configuration": "konnect",
    "/.well-known/caldav": "kdav",
    "/.well-known/carddav": "kdav",
}


def rows() -> Iterator[tuple[str, str, Cell]]:
    """The frontend, the question, and how a host's answers are put into a cell."""
    for name, entry in components().items():
        pages = pages_of(name, entry)
        if not pages:
            continue
        path = pages[0]
        yield name, f"status of {path}", lambda told, path=path: str(told[f"GET {path}"]["status"])
        yield name, "HSTS", lambda told, path=path: count(told[f"GET {path}"], "strict-transport-security")
        yield name, "other security headers", lambda told, path=path: str(len(others(told[f"GET {path}"])))
        yield name, "headers that come twice", lambda told, pages=pages: doubled(told, pages)
        yield name, "cookie", lambda told, pages=pages: cookies(told, pages)
        for path in SOCKETS.get(name, []):
            yield name, f"echo over {path}", lambda told, path=path: word(told[f"socket {path}"])
        if name in DENIED:
            paths = DENIED[name]
            yield name, f"denied, of {len(paths)} internal paths", lambda told, paths=paths: denied(told, paths)
        if name in SEEN:
            yield name, "X-Forwarded-Proto, Host", lambda told, path=SEEN[name]: handed_on(told[f"seen {path}"])
    yield "webapp", "a client that claims plain HTTP", lambda told: str(told["GET /webapp/ as http"]["status"])
    yield "webapp", f"upload of {ATTACHMENT // 10**6} MB", lambda told: arrived(told["upload /webapp/"], ATTACHMENT)
    yield "z-push", f"upload of {MAIL // 10**6} MB", lambda told: arrived(told[f"upload {ACTIVESYNC}"], MAIL)
    yield "z-push", "long poll", lambda told: f"{told['poll']['seconds']:.0f} s, {told['poll']['status']}"
    yield "z-push", "plain HTTP", lambda told: "/".join(sorted({*plain(told)}))
    yield "autodiscover", "three casings", lambda told: "/".join(str(told[f"GET {p}"]["status"]) for p in AUTODISCOVER)
    idle = f"socket {SOCKETS['kwmserver'][0]} idle"
    yield "kwmserver", "echo after 65 idle seconds", lambda told: word(told[idle])
    yield (
        "konnect",
        "sign-in, asked for by Host",
        lambda told: str(told["POST /signin/v1/identifier/_/logon"]["status"]),
    )
    yield "kapi", "preflight", lambda told: str(told["OPTIONS /api/gc/v1/me"]["status"])
    for name, path in (("ical", "/caldav/"), ("kdav", "/kdav/")):
        yield name, "PROPFIND", lambda told, path=path: str(told[f"PROPFIND {path}"]["status"])
    for path, owner in WELL_KNOWN.items():
        yield owner, path, lambda told, path=path: leads(told[f"GET {path}"])
    yield "webapp", "in Chromium", lambda told: loaded(told["browser"]["webapp"])
    yield "webapp", "getUserMedia", lambda told: told["browser"]["webapp"]["then"]
    yield "meet", "getUserMedia", lambda told: told["browser"]["meet"]["marks"].get("media", "nothing")


def pages_of(name: str, entry: dict[str, Any]) -> list[str]:
    probe = entry.get("probe") or {}
    return list(dict.fromkeys([*([probe["path"]] if probe else []), *PAGES.get(name, [])]))


def count(answer: dict[str, Any], header: str) -> str:
    values = answer["headers"].get(header, [])
    return {0: "-", 1: "once"}.get(len(values), f"{len(values)} times")


def others(answer: dict[str, Any]) -> list[str]:
    return [header for header in SECURITY if header in answer["headers"] and header != "strict-transport-security"]


def doubled(told: Answers, pages: list[str]) -> str:
    found = {
        SECURITY[header]
        for path in pages
        for header, values in told[f"GET {path}"]["headers"].items()
        if header in SECURITY and len(values) > 1
    }
    return " ".join(sorted(found)) or "-"


def cookies(told: Answers, pages: list[str]) -> str:
    found = {cookie for path in pages for cookie in told[f"GET {path}"]["headers"].get("set-cookie", [])}
    return " ".join(sorted({flags(cookie) for cookie in found})) or "-"


def flags(cookie: str) -> str:
    """A cookie's flags: Secure, HttpOnly, and what SameSite says."""
    known = [part.strip() for part in cookie.split(";")[1:]]
    known = [part for part in known if re.match("(?i)secure|httponly|samesite", part)]
    return ",".join(part.partition("=")[2] or part for part in known)


def word(said: Any) -> str:
    return said if isinstance(said, str) else str(said["body"])


def denied(told: Answers, paths: list[str]) -> str:
    return str(sum(told[f"GET {path}"]["status"] in (403, 404) for path in paths))


def handed_on(seen: dict[str, Any]) -> str:
    if "status" in seen:
        return str(seen["status"])
    return f"{seen['headers'].get('X-Forwarded-Proto', '-')}, {seen['headers'].get('Host', '-').partition('.')[0]}"


def arrived(answer: dict[str, Any], size: int) -> str:
    said = answer["body"].strip()
    return (
        "whole"
        if said == str(size)
        else f"{answer['status']}, {said} bytes"
        if said.isdigit()
        else str(answer["status"])
    )


def plain(told: Answers) -> Iterator[str]:
    for method in ("GET", "OPTIONS", "POST"):
        yield str(told[f"plain {method} {ACTIVESYNC}"]["status"])


def leads(answer: dict[str, Any]) -> str:
    place = re.sub("^https?://[^/]*", "", answer["headers"].get("location", [""])[0])
    return f"{answer['status']} {place}".strip()


def loaded(page: dict[str, Any]) -> str:
    return "all of it" if not page["said"] else f"{len(page['said'])} complaints"


def table(before: dict[str, Answers], after: dict[str, Answers]) -> list[tuple[str, ...]]:
    """The head and the rows; a cell has both answers where they differ, and a row something in one of its cells."""
    hosts = list(after)
    found = [("frontend", "what", *hosts)]
    for frontend, what, cell in sorted(rows(), key=lambda row: list(components()).index(row[0])):
        pairs = [(cell(before[host]), cell(after[host])) for host in hosts]
        if {word for pair in pairs for word in pair} != {"-"}:
            found.append((frontend, what, *(was if was == now else f"{was} → {now}" for was, now in pairs)))
    return found


def markdown(lines: list[tuple[str, ...]]) -> str:
    head, *others = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|" + " --- |" * len(lines[0]), *others]) + "\n"


def text(lines: list[tuple[str, ...]]) -> Iterator[str]:
    """The same for a terminal."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
