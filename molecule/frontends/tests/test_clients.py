# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kopano's clients need they get from a hardened host as before, and every answer is protected."""

from __future__ import annotations

import re

import pytest
from hardened import POLICY
from report import SECURITY, WELL_KNOWN, arrived, cookies, pages_of, plain
from survey import ACTIVESYNC, ATTACHMENT, AUTODISCOVER, DENIED, IDLE, MAIL, ORIGIN, POLL, SEEN, SOCKETS, components

COMPONENTS = {name: entry for name, entry in components().items() if entry.get("probe")}
# On hosts with strict daemons only; see lab/hosts.yml.
ONLY_STRICT = {"kweb", "webmeetings"}


def skip_unless_here(name, frontend):
    if name in ONLY_STRICT and "strict-daemons" not in frontend.dirt:
        pytest.skip("is not on this host")


def header(answer, name):
    """All values of a header."""
    return answer["headers"].get(name.lower(), [])


def answers(told):
    """Every answer to a request by TLS, by its question."""
    return {
        question: answer
        for question, answer in told.items()
        if isinstance(answer, dict) and "status" in answer and not question.startswith(("plain ", "seen "))
    }


def test_everything_was_asked_and_answered(before, after):
    assert set(before) == set(after)
    for told in (before, after):
        assert len(answers(told)) > 50
        assert {question: answer["body"] for question, answer in answers(told).items() if not answer["status"]} == {}


# ---- Clients are served as before


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_healthy_component_stays_healthy(before, after, frontend, name):
    skip_unless_here(name, frontend)
    question = f"GET {COMPONENTS[name]['probe']['path']}"
    assert before[question]["status"] in COMPONENTS[name]["probe"]["status"]
    assert after[question]["status"] == before[question]["status"]


@pytest.mark.parametrize("name", COMPONENTS)
def test_cookies_keep_their_flags(before, after, name):
    pages = pages_of(name, COMPONENTS[name])
    assert cookies(after, pages) == cookies(before, pages)
    if name == "webapp":
        assert cookies(after, pages) == "secure,HttpOnly"


def test_konnects_cookie_keeps_its_flags(after):
    assert header(after["POST /signin/v1/identifier/_/logon"], "Set-Cookie") == [
        "__Secure-KKCS=word; Path=/signin/v1/identifier/_/; HttpOnly; Secure; SameSite=None"
    ]


@pytest.mark.parametrize("name", SOCKETS)
def test_websockets_work(after, frontend, name):
    skip_unless_here(name, frontend)
    assert {after[f"socket {path}"] for path in SOCKETS[name]} == {"echo"}


def test_a_meetings_websocket_bears_silence(after):
    assert IDLE > 60
    assert after[f"socket {SOCKETS['kwmserver'][0]} idle"] == "echo"


def test_a_long_poll_survives(before, after):
    assert POLL >= 70
    for told in (before, after):
        assert (told["poll"]["status"], told["poll"]["body"]) == (200, f"waited {POLL}\n")
        assert POLL <= told["poll"]["seconds"] < POLL + 30


def test_a_mail_of_20_megabytes_arrives_whole(after):
    assert arrived(after[f"upload {ACTIVESYNC}"], MAIL) == "whole"


def test_an_attachment_of_31_megabytes_arrives_whole(before, after, frontend, site):
    if "small-uploads" in frontend.dirt:
        assert arrived(before["upload /webapp/"], ATTACHMENT) != "whole"
    if site or "small-uploads" not in frontend.dirt:
        assert arrived(after["upload /webapp/"], ATTACHMENT) == "whole"


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_phones_are_asked_for_credentials_and_told_what_is_spoken(before, after, method):
    question = f"{method} {ACTIVESYNC}"
    assert after[question]["status"] == 401
    for name in ("WWW-Authenticate", "MS-Server-ActiveSync", "MS-ASProtocolVersions", "MS-ASProtocolCommands"):
        assert len(header(after[question], name)) == 1
        assert header(after[question], name) == header(before[question], name)


def test_phones_are_never_redirected(before, after):
    assert set(plain(after)) == {"403"}
    assert not any(header(after[f"plain {method} {ACTIVESYNC}"], "Location") for method in ("GET", "OPTIONS", "POST"))


@pytest.mark.parametrize("path", AUTODISCOVER)
def test_autodiscover_knows_its_three_casings(after, path):
    assert after[f"GET {path}"]["status"] == 401
    assert header(after[f"GET {path}"], "WWW-Authenticate") == ['Basic realm="ZPush"']


@pytest.mark.parametrize("path", WELL_KNOWN)
def test_well_known_paths_stay_with_their_owners(before, after, path):
    assert after[f"GET {path}"]["status"] == before[f"GET {path}"]["status"]
    if WELL_KNOWN[path] == "konnect":
        assert header(after[f"GET {path}"], "Content-Type")[0].startswith("application/json")
    else:
        assert header(after[f"GET {path}"], "Location")[0].endswith("/kdav/")


def test_konnect_is_asked_by_its_public_name(after, frontend):
    assert f'"issuer": "https://{frontend.name}"' in after["GET /.well-known/openid-configuration"]["body"]
    assert after["POST /signin/v1/identifier/_/logon"]["status"] == 200


def test_other_origins_are_answered_by_kapi_alone(before, after):
    for question in ("OPTIONS /api/gc/v1/me", "GET /api/gc/v1/me", "GET /api/kvs/v1/kv"):
        assert header(after[question], "Access-Control-Allow-Origin") == [ORIGIN]
        assert after[question]["status"] == before[question]["status"]
    assert header(after["OPTIONS /api/gc/v1/me"], "Access-Control-Allow-Methods") == ["GET, POST, PUT, PATCH, DELETE"]


@pytest.mark.parametrize("path", ["/caldav/", "/kdav/"])
def test_methods_of_webdav_get_through(after, path):
    assert after[f"PROPFIND {path}"]["status"] == 207


# ---- Every answer is protected


def test_hsts_comes_exactly_once_with_everything(before, after):
    values = {question: header(answer, "Strict-Transport-Security") for question, answer in answers(after).items()}
    assert {question: found for question, found in values.items() if found != [POLICY]} == {}
    assert not any(POLICY in header(answer, "Strict-Transport-Security") for answer in answers(before).values())


def test_no_header_comes_twice(after):
    single = {*SECURITY, "access-control-allow-origin", "www-authenticate", "server", "cache-control", "location"}
    twice = {
        question: sorted(name for name, values in answer["headers"].items() if name in single and len(values) > 1)
        for question, answer in answers(after).items()
    }
    assert {question: names for question, names in twice.items() if names} == {}


def test_nosniff_comes_with_everything(after):
    values = {question: header(answer, "X-Content-Type-Options") for question, answer in answers(after).items()}
    assert {question: found for question, found in values.items() if found != ["nosniff"]} == {}


@pytest.mark.parametrize("name", [name for name, entry in COMPONENTS.items() if entry.get("headers", {}).get("set")])
def test_a_component_has_its_own_headers(after, name):
    for path in pages_of(name, COMPONENTS[name]):
        for wanted, value in COMPONENTS[name]["headers"]["set"].items():
            assert header(after[f"GET {path}"], wanted) == [value], (path, wanted)


@pytest.mark.parametrize("name", [name for name, entry in COMPONENTS.items() if entry.get("headers", {}).get("keep")])
def test_what_is_a_components_own_word_is_left_to_it(before, after, name):
    for path in pages_of(name, COMPONENTS[name]):
        for kept in COMPONENTS[name]["headers"]["keep"]:
            was, now = (
                [without_nonce(value) for value in header(told[f"GET {path}"], kept)] for told in (before, after)
            )
            assert now == was, (path, kept)


def without_nonce(value):
    return re.sub("nonce-[^']+", "nonce", value)


def test_the_sign_in_page_forbids_frames_and_the_session_check_does_not(after):
    assert header(after["GET /signin/v1/identifier"], "X-Frame-Options") == ["DENY"]
    session = after["GET /konnect/v1/session/check-session.html"]
    assert header(session, "X-Frame-Options") == []
    assert "frame-ancestors" not in header(session, "Content-Security-Policy")[0]


@pytest.mark.parametrize("name", [name for name, entry in COMPONENTS.items() if entry.get("permissions") is not None])
def test_the_camera_is_for_meetings_only(after, frontend, name):
    skip_unless_here(name, frontend)
    answer = after[f"GET {COMPONENTS[name]['probe']['path']}"]
    allowed = set(COMPONENTS[name]["permissions"])
    if name == "webapp" and "strict-daemons" in frontend.dirt:
        # Web Meetings are shown in a frame of WebApp's.
        allowed |= {"camera", "microphone", "display-capture"}
    (policy,) = header(answer, "Permissions-Policy")
    told = dict(part.split("=") for part in policy.split(", "))
    for feature in ("camera", "microphone", "display-capture", "geolocation"):
        assert told[feature] == ("(self)" if feature in allowed else "()"), policy


def test_nobody_says_which_version_runs(after):
    for question, answer in answers(after).items():
        for name in ("X-Powered-By", "X-Sabre-Version"):
            assert header(answer, name) == [], question
        assert [value for value in header(answer, "Server") if re.search("[0-9]", value)] == [], question


@pytest.mark.parametrize("name", DENIED)
def test_internal_paths_are_denied(before, after, frontend, site, name):
    asked_for = site or frontend.host != "apache11"  # see vars/hosts.yml
    for path in DENIED[name]:
        was, now = before[f"GET {path}"]["status"], after[f"GET {path}"]["status"]
        # A path with detours that the server does not follow leads nowhere.
        assert now in (403, 404) if asked_for else now == was, path
        if asked_for and not re.search(r"%|//|\.\.", path):
            assert now == 403, path


@pytest.mark.parametrize("name", SEEN)
def test_a_daemon_is_told_how_and_by_what_name_its_client_came(after, frontend, site, name):
    skip_unless_here(name, frontend)
    seen = after[f"seen {SEEN[name]}"]["headers"]
    assert seen["Host"] == frontend.name
    if told_by_the_role(frontend, site):
        assert seen["X-Forwarded-Proto"] == "https"


def told_by_the_role(frontend, site):
    """Whether the role decides what is behind the server is told; nginx's blocks are their administrator's."""
    return site or frontend.server == "apache"


def test_webapp_sees_tls_whatever_a_client_claims(before, after, frontend, site):
    assert before["GET /webapp/ as http"]["status"] == 400
    if told_by_the_role(frontend, site):
        assert after["GET /webapp/ as http"]["status"] == 200


# ---- In a browser


def test_a_browser_shows_the_webapp_and_complains_of_nothing(before, after):
    for told in (before, after):
        page = told["browser"]["webapp"]
        assert page["said"] == []
        assert {name: page["marks"].get(name) for name in ("inline", "eval", "function", "preview", "worker")} == (
            dict.fromkeys(("inline", "eval", "function", "preview", "worker"), "yes")
        )


def test_a_browser_lets_webapp_use_the_camera_only_for_web_meetings(before, after, frontend):
    assert before["browser"]["webapp"]["then"] == "allowed"
    wanted = "allowed" if "strict-daemons" in frontend.dirt else "NotAllowedError"
    assert after["browser"]["webapp"]["then"] == wanted


def test_a_browser_lets_meet_use_camera_and_microphone(after):
    assert after["browser"]["meet"]["marks"] == {"media": "audio video"}


def test_a_browser_complains_of_nothing_in_meet(after, frontend):
    assert after["browser"]["meet"]["said"] == []
