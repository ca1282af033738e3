# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks all of Kopano's frontends, on all hosts side by side, for what their clients depend on.

survey.py INVENTORY FILE: writes {host: {question: answer}} as JSON. A question is `METHOD path`, `plain METHOD path`,
`socket path`, `upload path`, `poll`, `browser` or `seen path`, which is the request as the daemon got it. Its answer
says what came back.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "common")]

import browser  # noqa: E402
from clients import echo, form  # noqa: E402
from frontends import Answer, Frontend, read_frontend  # noqa: E402

COMPONENTS = HERE.parent.parent / "roles" / "frontend" / "data" / "components.yml"
ACTIVESYNC = "/Microsoft-Server-ActiveSync"
AUTODISCOVER = [
    "/AutoDiscover/AutoDiscover.xml",
    "/Autodiscover/Autodiscover.xml",
    "/autodiscover/autodiscover.xml",
]
ORIGIN = "https://elsewhere.example"
CLAIM = {"X-Forwarded-Proto": "http"}  # of a client that came by TLS
SIGNED_IN = {"Authorization": "Basic " + base64.b64encode(b"user:word").decode()}
# More than what the components' own probes ask for: what has headers of its own, and what is nobody's business.
PAGES = {
    "webapp": [
        *("/webapp", "/webapp/client/app.js", "/webapp/none"),
        *("/webapp/strict.php", "/webapp/strict.php?status=500"),
    ],
    "autodiscover": AUTODISCOVER,
    "konnect": ["/signin/v1/identifier", "/konnect/v1/session/check-session.html", "/konnect/v1/jwks.json"],
    "kdav": ["/.well-known/caldav", "/.well-known/carddav"],
    "meet": ["/meet/client.js"],
    "ical": ["/ical/"],
    "kapi": ["/api/kvs/v1/kv", "/api/pubs/v1/topic"],
}
DENIED = {
    "webapp": [
        *("/webapp/config.php", "/webapp/debug.php", "/webapp/defaults.php", "/webapp/init.php"),
        *("/webapp/server/index.php", "/webapp/version", "/webapp/plugins/files/config.php"),
        *("/webapp/.htaccess", "/webapp/client/../config.php", "/webapp//config.php", "/webapp/%63onfig.php"),
    ],
    "kwmserver": [
        *("/api/kwm/v2/admin", "/api/kwm/v2/admin/auth/tokens", "/api/kwm/v2/mcu"),
        *("/api/kwm/v2//admin", "/api/kwm/v2/%61dmin", "/api/kwm/v2/rtm/../admin"),
    ],
}
SEEN = {
    "konnect": "/konnect/v1/jwks.json",
    "kapi": "/api/gc/v1/me",
    "kwmserver": "/api/kwm/v2/rtm/turn",
    "ical": "/caldav/",
    "webmeetings": "/webmeetings/",
    "presence": "/webapp/presence/",
}
SOCKETS = {
    "kapi": ["/api/pubs/v1/stream/websocket"],
    "kwmserver": ["/api/kwm/v2/rtm/websocket/key"],
    "webmeetings": ["/webmeetings/ws"],
    "presence": ["/webapp/presence/socket"],
}
MAIL, ATTACHMENT = 20_000_000, 31_000_000  # bytes
PATIENCE = 60  # seconds: all hosts are asked at once, and uploads take whole cores
POLL = 70  # seconds, more than any server's or firewall's default of 60
IDLE = 65  # seconds in which nobody says anything over the websocket of a meeting


def components() -> dict[str, dict[str, Any]]:
    """The product's data of Kopano's components."""
    data: dict[str, dict[str, Any]] = yaml.safe_load(COMPONENTS.read_text())["components"]
    return data


Question = tuple[str, Callable[[Frontend], Any]]


def questions() -> Iterator[Question]:
    """All of them, those that take longest first."""
    yield "poll", poll
    yield f"socket {SOCKETS['kwmserver'][0]} idle", partial(echo, path=SOCKETS["kwmserver"][0], idle=IDLE)
    yield f"upload {ACTIVESYNC}", upload_mail
    yield "upload /webapp/", upload_attachment
    for path in chain(*SOCKETS.values()):
        yield f"socket {path}", partial(echo, path=path)
    pages = [component["probe"]["path"] for component in components().values() if component.get("probe")]
    for path in dict.fromkeys([*pages, *chain(*PAGES.values()), *chain(*DENIED.values())]):
        yield f"GET {path}", partial(request, path=path, headers={"Origin": ORIGIN})
    for method in ("GET", "OPTIONS", "POST"):
        yield f"{method} {ACTIVESYNC}", partial(request, path=ACTIVESYNC, method=method)
        yield f"plain {method} {ACTIVESYNC}", partial(request, path=ACTIVESYNC, method=method, secure=False)
    for path in SEEN.values():
        yield f"seen {path}", partial(seen, path=path)
    yield "GET /webapp/ as http", partial(request, path="/webapp/", headers=CLAIM)
    yield "POST /signin/v1/identifier/_/logon", sign_in
    yield "OPTIONS /api/gc/v1/me", preflight
    for path in ("/caldav/", "/kdav/"):
        yield f"PROPFIND {path}", partial(request, path=path, method="PROPFIND", headers=SIGNED_IN)


def request(frontend: Frontend, **options: Any) -> dict[str, Any]:
    return told(frontend.request(**options, timeout=PATIENCE))


def told(answer: Answer) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in answer.headers:
        headers.setdefault(name.lower(), []).append(value)
    return {"status": answer.status, "headers": headers, "body": answer.body[:200].decode("latin-1")}


def poll(frontend: Frontend) -> dict[str, Any]:
    """A phone that waits for news."""
    started = time.monotonic()
    path = f"{ACTIVESYNC}?Cmd=Ping&wait={POLL}"
    answer = frontend.request(path, method="POST", headers=SIGNED_IN, timeout=POLL + 40)
    return {**told(answer), "seconds": round(time.monotonic() - started, 1)}


def upload_mail(frontend: Frontend) -> dict[str, Any]:
    path = f"{ACTIVESYNC}?Cmd=SendMail"
    return told(frontend.request(path, method="POST", headers=SIGNED_IN, body=b"x" * MAIL, timeout=120))


def upload_attachment(frontend: Frontend) -> dict[str, Any]:
    body, kind = form(ATTACHMENT)
    headers = {"Content-Type": kind}
    return told(frontend.request("/webapp/index.php?upload", method="POST", headers=headers, body=body, timeout=120))


def seen(frontend: Frontend, path: str) -> dict[str, Any]:
    """What the daemon gets of a request from a client that claims to have come by plain HTTP."""
    answer = frontend.request(f"{path}?seen", headers=CLAIM)
    return dict(json.loads(answer.body)) if answer.status == 200 else told(answer)


def sign_in(frontend: Frontend) -> dict[str, Any]:
    headers = {"Kopano-Konnect-XSRF": "1", "Origin": f"https://{frontend.name}"}
    return told(frontend.request("/signin/v1/identifier/_/logon", method="POST", headers=headers, body=b"{}"))


def preflight(frontend: Frontend) -> dict[str, Any]:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    return told(frontend.request("/api/gc/v1/me", method="OPTIONS", headers=headers))


def ask(question: Question, frontend: Frontend) -> Any:
    """The answer, or why there is none."""
    try:
        return question[1](frontend)
    except (OSError, ValueError) as error:
        return {"status": 0, "headers": {}, "body": f"{type(error).__name__}: {error}"}


def main(inventory: str, file: str) -> None:
    names = yaml.safe_load(Path(inventory).read_text())["all"]["hosts"]
    frontends = [read_frontend(inventory, name) for name in names]
    asked = list(questions())
    # The two long ones wait most of the time; a few more at once are as much as two cores can bear.
    with ThreadPoolExecutor(4 * len(frontends)) as pool:
        pending = {
            (frontend.host, question[0]): pool.submit(ask, question, frontend)
            for question in asked
            for frontend in frontends
        }
        pages = browser.look(frontends)
    result: dict[str, dict[str, Any]] = {}
    for (host, question), task in pending.items():
        result.setdefault(host, {"browser": pages[host]})[question] = task.result()
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
