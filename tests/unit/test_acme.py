# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders: whether one is needed, what certbot is told and says, and whether an ACME server would reach the names."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pwd
import socketserver
import ssl
import stat
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import acme_preflight as _acme_preflight
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import certbot as _certbot
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import CertbotError, Order
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import ChangeError
from ansible_collections.kopano.hardening.plugins.modules import acme_certificate, acme_reach_info

from .ports import free_ports
from .slow_bed import SLACK, slow

NAMES = ["mail.example.org", "autodiscover.example.org"]
DIRECTORY = "https://acme.example.org/dir"
ORDER = Order("kopano", tuple(NAMES), DIRECTORY, "http-01", "ecdsa", "/var/www/acme", 0, None)
RENEWAL = """version = 4.0.0
[renewalparams]
account = 0123
server = https://acme.example.org/dir
authenticator = webroot
webroot_path = /var/www/acme,
key_type = ecdsa
[[webroot_map]]
mail.example.org = /var/www/acme
"""
OPTIONS = {
    "name": "kopano",
    "names": NAMES,
    "directory": DIRECTORY,
    "staging": None,
    "order": True,
    "terms_agreed": True,
    "email": "hostmaster@example.org",
    "eab_kid": None,
    "eab_hmac_key": None,
    "ca_file": None,
    "challenge": "http-01",
    "webroot": "/var/www/acme",
    "dns": None,
    "key_types": ["ecdsa"],
}
DNS = {
    "server": "192.0.2.53:5300",
    "key_name": "acme.key",
    "key_secret": "c2VjcmV0",
    "key_algorithm": "hmac-sha512",
    "wait": 7,
}


@pytest.fixture
def certbot(tmp_path, monkeypatch):
    """A host with certbot's folder, and a program that writes down what it is told and makes an account when asked.

    Returns the folder; told.json has the calls, `fail` what it shall fail with.
    """
    program = tmp_path / "bin" / "certbot"
    program.parent.mkdir()
    program.write_text(
        f"""#!/usr/bin/python3
import json, os, sys
folder = {str(tmp_path)!r}
config = sys.argv[sys.argv.index("--config") + 1] if "--config" in sys.argv else None
entry = {{"words": sys.argv[1:], "bundle": os.environ.get("REQUESTS_CA_BUNDLE"),
         "config": config and [open(config).read(), oct(os.stat(config).st_mode & 0o777)]}}
with open(folder + "/told.json", "a") as told:
    told.write(json.dumps(entry) + "\\n")
if os.path.exists(folder + "/fail"):
    print(open(folder + "/fail").read())
    sys.exit(1)
if sys.argv[1] == "register":
    os.makedirs(folder + "/accounts/acme.example.org/dir/0123")
    with open(folder + "/accounts/acme.example.org/dir/0123/regr.json", "w") as account:
        json.dump({{"body": {{}}, "uri": "https://acme.example.org/acct/1"}}, account)
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(_certbot, "FOLDER", str(tmp_path))
    monkeypatch.setattr(_certbot, "CREDENTIALS", str(tmp_path / "rfc2136.ini"))
    monkeypatch.setattr(_certbot, "fetch_directory", lambda url, ca_file: {"newOrder": url, "meta": dict(META)})
    META.clear()
    return tmp_path


META: dict[str, object] = {}


def told(folder):
    return [json.loads(line) for line in (folder / "told.json").read_text().splitlines()]


def have_lineage(folder, renewal=RENEWAL, names=NAMES, days=90):
    chain, key = _self_signed.make(names, days)
    for path, content in (
        ("renewal/kopano.conf", renewal),
        ("live/kopano/fullchain.pem", chain),
        ("live/kopano/privkey.pem", key),
    ):
        goal = folder / path
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.write_text(content)


# --- is one needed ---------------------------------------------------------------------------------------------------


def test_without_a_certificate_one_is_needed(certbot):
    assert _certbot.why(ORDER) == "there is none yet"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"names": list(reversed(NAMES))}, ""),
        ({"names": [name.upper() for name in NAMES]}, ""),
        ({"names": NAMES[:1]}, "it is for mail.example.org autodiscover.example.org"),
        ({"directory": "https://other.example.org/dir"}, "it comes from https://acme.example.org/dir"),
        ({"key_type": "rsa"}, "its key is EC"),
        ({"challenge": "dns-01", "webroot": None}, "it would be renewed by webroot"),
        ({"webroot": "/srv/acme"}, "it would be renewed from /var/www/acme"),
    ],
)
def test_one_is_needed_when_the_one_there_does_not_match_the_options(certbot, change, reason):
    have_lineage(certbot)
    assert _certbot.why(ORDER._replace(**change)) == reason


@pytest.mark.parametrize(("days", "needed"), [(59, False), (61, True), (91, True)])
def test_one_is_needed_in_the_last_third(certbot, days, needed):
    have_lineage(certbot)
    now = Path(certbot / "live/kopano/fullchain.pem").stat().st_mtime + days * 86400
    assert _certbot.why(ORDER, now) == ("it is in the last third of its life" if needed else "")


def test_files_that_cannot_be_read_are_no_certificate(certbot):
    have_lineage(certbot)
    (certbot / "live/kopano/fullchain.pem").write_text("nothing")
    assert "cannot be read" in _certbot.why(ORDER)


def test_a_snap_is_called_where_no_certbot_is_on_the_path(certbot, monkeypatch):
    snap = certbot / "bin" / "certbot"
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setattr(_certbot, "PROGRAM", "certbot-of-no-host")
    monkeypatch.setattr(_certbot, "SNAP", str(certbot / "no-snap"))
    assert not _certbot.installed()
    monkeypatch.setattr(_certbot, "SNAP", str(snap))
    assert _certbot.program() == str(snap)
    _certbot.run(["certificates"], None)
    assert [call["words"] for call in told(certbot)] == [["certificates", "--non-interactive"]]


# --- what certbot is told --------------------------------------------------------------------------------------------


def test_nothing_is_requested_where_nothing_is_needed(certbot):
    have_lineage(certbot)
    result = acme_certificate.run(OPTIONS, False, pytest.fail)
    assert (result["changed"], result["needed"]) == (False, False)
    assert not (certbot / "told.json").exists()


def test_an_order_makes_an_account_and_names_everything(certbot):
    META["caaIdentities"] = ["ca.example"]
    result = acme_certificate.run(
        {**OPTIONS, "ca_file": "/ca.pem", "staging": "https://staging.example.org/dir"}, False, pytest.fail
    )
    assert result["account_uri"] == "https://acme.example.org/acct/1"
    assert result["caa_identities"] == ["ca.example"]
    live = certbot / "live" / "kopano"
    assert result["certificates"] == [
        {"chain_file": str(live / "fullchain.pem"), "key_file": str(live / "privkey.pem")}
    ]
    account, tried, order = told(certbot)
    assert account["words"][0] == "register" and "hostmaster@example.org" in account["words"]
    assert {call["bundle"] for call in (account, tried, order)} == {"/ca.pem"}
    assert "--dry-run" in tried["words"] and "https://staging.example.org/dir" in tried["words"]
    words = " ".join(order["words"])
    assert words.startswith("certonly --cert-name kopano --key-type ecdsa --elliptic-curve secp256r1 --webroot")
    for part in ("--domain mail.example.org --domain autodiscover.example.org", f"--server {DIRECTORY}"):
        assert part in words
    assert "--account 0123" in words and "--no-directory-hooks" in words and "--dry-run" not in words


def test_each_kind_of_key_is_an_order_of_its_own(certbot):
    have_lineage(certbot)
    result = acme_certificate.run({**OPTIONS, "key_types": ["ecdsa", "rsa"]}, False, pytest.fail)
    assert (result["needed"], result["reason"]) == (True, "there is none yet")
    assert result["certificates"][1]["key_file"] == str(certbot / "live" / "kopano-rsa" / "privkey.pem")
    (order,) = [call["words"] for call in told(certbot) if call["words"][0] == "certonly"]
    assert " ".join(order).startswith("certonly --cert-name kopano-rsa --key-type rsa --rsa-key-size 3072")


def test_getting_ready_orders_nothing_and_check_mode_not_even_an_account(certbot):
    ready = acme_certificate.run({**OPTIONS, "order": False}, True, pytest.fail)
    assert (ready["changed"], ready["needed"], ready["account_uri"]) == (True, True, "")
    assert not (certbot / "told.json").exists()
    ready = acme_certificate.run({**OPTIONS, "order": False}, False, pytest.fail)
    assert (ready["changed"], [call["words"][0] for call in told(certbot)]) == (True, ["register"])
    again = acme_certificate.run({**OPTIONS, "order": False}, False, pytest.fail)
    assert (again["changed"], again["needed"], len(told(certbot))) == (False, True, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_no_challenge_is_written_through_a_link_in_a_directory_of_the_web_servers_user(certbot, tmp_path):
    webroot = tmp_path / "webroot"
    webroot.mkdir()
    (webroot / ".well-known").symlink_to("/etc/cron.d")
    options = {**OPTIONS, "order": False, "webroot": str(webroot)}
    os.chown(webroot, pwd.getpwnam("www-data").pw_uid, -1)
    with pytest.raises(ChangeError, match=r"\.well-known is a symbolic link where the user www-data can write"):
        acme_certificate.run(options, False, pytest.fail)
    assert not (certbot / "told.json").exists()
    # An administrator's own links are followed.
    os.chown(webroot, 0, -1)
    assert acme_certificate.run(options, False, pytest.fail)["needed"]


def test_a_key_for_binding_is_on_no_command_line(certbot):
    options = {**OPTIONS, "order": False, "eab_kid": "kid-1", "eab_hmac_key": "c2VjcmV0"}
    acme_certificate.run(options, False, pytest.fail)
    (call,) = told(certbot)
    assert call["config"] == ["eab-kid = kid-1\neab-hmac-key = c2VjcmV0\n", "0o600"]
    assert not any("c2VjcmV0" in word for word in call["words"])


@pytest.mark.parametrize(
    ("change", "meta", "words"),
    [
        ({"terms_agreed": False}, {"termsOfService": "https://ca.example/terms"}, "read https://ca.example/terms"),
        ({}, {"externalAccountRequired": True}, "eab_kid: .* none is given"),
    ],
)
def test_an_account_that_cannot_be_is_not_requested(certbot, change, meta, words):
    META.update(meta)
    with pytest.raises(CertbotError, match=words):
        acme_certificate.run({**OPTIONS, **change}, False, pytest.fail)
    assert not (certbot / "told.json").exists()


def test_updates_of_zones_are_signed_with_a_key_that_root_alone_reads(certbot):
    options = {**OPTIONS, "challenge": "dns-01", "dns": DNS}
    acme_certificate.run(options, False, pytest.fail)
    path = certbot / "rfc2136.ini"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dict(line.split(" = ") for line in path.read_text().splitlines()) == {
        "dns_rfc2136_server": "192.0.2.53",
        "dns_rfc2136_port": "5300",
        "dns_rfc2136_name": "acme.key",
        "dns_rfc2136_secret": "c2VjcmV0",
        "dns_rfc2136_algorithm": "HMAC-SHA512",
    }
    words = " ".join(told(certbot)[-1]["words"])
    assert f"--dns-rfc2136 --dns-rfc2136-credentials {path} --dns-rfc2136-propagation-seconds 7" in words
    assert "c2VjcmV0" not in words


@pytest.mark.parametrize(
    ("server", "address", "port"),
    [
        ("192.0.2.53", "192.0.2.53", "53"),
        ("2001:db8::53", "2001:db8::53", "53"),
        ("[2001:db8::53]:5300", "2001:db8::53", "5300"),
    ],
)
def test_servers_for_updates_are_written_as_certbot_reads_them(certbot, server, address, port):
    (change,) = _certbot.credentials(server, "k", "s", "hmac-sha256")
    text = change.after.content.decode()
    assert f"_server = {address}\n" in text and f"_port = {port}\n" in text


def test_without_certbot_nothing_is_ordered(certbot, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CertbotError, match="not installed"):
        acme_certificate.run(OPTIONS, False, pytest.fail)
    assert acme_certificate.run(OPTIONS, True, pytest.fail)["reason"] == "certbot is not installed yet"


# --- what certbot says -----------------------------------------------------------------------------------------------

SAID_BY_1_12 = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Plugins selected: Authenticator webroot, Installer None
Requesting a certificate for mail.example.org
Performing the following challenges:
http-01 challenge for mail.example.org
Using the webroot path /tmp/w for all unmatched domains.
Waiting for verification...
Challenge failed for domain mail.example.org
http-01 challenge for mail.example.org
Cleaning up challenges
Some challenges have failed.
IMPORTANT NOTES:
 - The following errors were reported by the server:

   Domain: mail.example.org
   Type:   unauthorized
   Detail: Non-200 status code from HTTP:
   http://mail.example.org:80/.well-known/acme-challenge/abEB
   returned 404

   To fix these errors, please make sure that your domain name was
   entered correctly and the DNS A/AAAA record(s) for that domain
   contain(s) the right IP address.
"""
SAID_BY_4_0 = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Unable to register an account with ACME server. Error returned by the ACME server: external account binding failed
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile /var/log/x for more details.
"""


@pytest.mark.parametrize(
    ("output", "essence"),
    [
        (
            SAID_BY_1_12,
            "Domain: mail.example.org Type: unauthorized Detail: Non-200 status code from HTTP: "
            "http://mail.example.org:80/.well-known/acme-challenge/abEB returned 404",
        ),
        (
            SAID_BY_4_0,
            "Unable to register an account with ACME server. Error returned by the ACME server: external account "
            "binding failed",
        ),
        ("An unexpected error occurred:\nOSError: no bundle\n", "OSError: no bundle"),
        ("", "certbot failed without a reason; /var/log/letsencrypt/letsencrypt.log may"),
    ],
)
def test_messages_of_certbot_are_reported_without_the_rest(output, essence):
    assert _certbot.essence(output) == essence


def test_an_order_that_fails_names_the_server_that_refused(certbot):
    (certbot / "fail").write_text(SAID_BY_4_0)
    with pytest.raises(CertbotError, match=rf"^eab_kid: k: {DIRECTORY} makes no account: Unable to register"):
        acme_certificate.run({**OPTIONS, "eab_kid": "k", "eab_hmac_key": "bm8"}, False, pytest.fail)
    with pytest.raises(CertbotError, match=r"^tried at https://staging first: Unable"):
        _certbot.rehearse(ORDER, "https://staging")


# --- directories -----------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the server has for it: status, headers, body."""

    def do_GET(self):
        time.sleep(self.server.delay)
        status, headers, body = self.server.pages.get(self.path, (404, {}, b"not here"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        with contextlib.suppress(OSError):
            while self.path.startswith("/drip"):
                self.wfile.write(b" ")
                time.sleep(0.05)
        self.server.asked.append((self.path, self.headers["Host"]))
        self.server.authorization = self.headers["Authorization"]

    def log_message(self, *_words):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", *free_ports()), Handler)
    server.pages, server.asked, server.delay = {}, [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def secure(web, tmp_path):
    """The same over TLS; the file has the certificate that it is trusted by."""
    chain, key = _self_signed.make(["localhost"], 1)
    (tmp_path / "ca.pem").write_text(chain)
    (tmp_path / "both.pem").write_text(key + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    web.socket = context.wrap_socket(web.socket, server_side=True)
    web.url = f"https://localhost:{web.server_port}"
    return web


def test_a_directory_is_fetched_with_authorities_of_ones_own(secure, tmp_path):
    secure.pages["/dir"] = (200, {}, json.dumps({"newOrder": "x", "meta": {"caaIdentities": ["a"]}}).encode())
    found = _certbot.fetch_directory(secure.url + "/dir", str(tmp_path / "ca.pem"))
    assert found["meta"] == {"caaIdentities": ["a"]}
    with pytest.raises(CertbotError, match=r"cannot be reached from this host: .*CERTIFICATE_VERIFY_FAILED"):
        _certbot.fetch_directory(secure.url + "/dir", None)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/none", "status 404"),
        ("/html", "is no ACME directory"),
        ("/json", "it names no place for orders"),
        ("/list", "no ACME"),
    ],
)
def test_what_is_no_directory_is_reported_as_none(secure, tmp_path, path, words):
    secure.pages.update({"/html": (200, {}, b"<html>"), "/json": (200, {}, b"{}"), "/list": (200, {}, b"[]")})
    with pytest.raises(CertbotError, match=words):
        _certbot.fetch_directory(secure.url + path, str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("url", "words"), [("http://localhost/dir", "begins with https"), ("https://127.0.0.1:1/", "refused")]
)
def test_a_directory_that_is_not_there_is_reported_as_unreachable(url, words):
    with pytest.raises(CertbotError, match=words):
        _certbot.fetch_directory(url, None)


def test_a_directory_that_is_redirected_to_plain_http_is_refused(secure, tmp_path):
    """What it says could be anyone's then."""
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    plain.delay, plain.asked, plain.pages = 0, [], {"/dir": (200, {}, b'{"newOrder": "x"}')}
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    secure.pages["/dir"] = (302, {"Location": f"http://localhost:{plain.server_port}/dir"}, b"")
    secure.pages["/moved"] = (302, {"Location": secure.url + "/new"}, b"")
    secure.pages["/new"] = (200, {}, b'{"newOrder": "x"}')
    try:
        with pytest.raises(CertbotError, match="redirects to http://localhost"):
            _certbot.fetch_directory(secure.url + "/dir", str(tmp_path / "ca.pem"))
    finally:
        plain.shutdown()
        plain.server_close()
    assert _certbot.fetch_directory(secure.url + "/moved", str(tmp_path / "ca.pem")) == {"newOrder": "x"}


def test_no_password_of_root_is_sent_to_an_acme_server(secure, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine localhost login root password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    secure.pages["/dir"] = (200, {}, b'{"newOrder": "x"}')
    assert _certbot.fetch_directory(secure.url + "/dir", str(tmp_path / "ca.pem"))
    assert secure.authorization is None


def test_a_directory_that_never_ends_is_an_error_in_time(secure, tmp_path, monkeypatch):
    monkeypatch.setattr(_certbot, "DIRECTORY_TIMEOUT", 0.5)
    monkeypatch.setattr(_certbot, "DIRECTORY_SECONDS", 1.0)
    secure.pages["/drip"] = (200, {}, b"{")
    began = time.monotonic()
    with pytest.raises(CertbotError, match=r"/drip cannot be reached from this host: .* 1 s"):
        _certbot.fetch_directory(secure.url + "/drip", str(tmp_path / "ca.pem"))
    assert time.monotonic() - began < 1 + SLACK


# --- would the names be reached --------------------------------------------------------------------------------------

TOKEN = "/.well-known/acme-challenge/token"


def look(web, monkeypatch, *addresses, error=None):
    monkeypatch.setattr(_acme_preflight, "_addresses", lambda *_arguments: (list(addresses), error))
    (entry,) = _acme_preflight.inspect(["mail.example.org"], [], TOKEN, "content", 2, port=web.server_port)
    return entry


def test_a_name_that_responds_with_the_file_is_reached(web, monkeypatch):
    web.pages[TOKEN] = (200, {}, b"content\n")
    assert look(web, monkeypatch, "127.0.0.1")["error"] is None
    assert web.asked == [(TOKEN, "mail.example.org")]


def test_an_address_of_ipv6_is_no_name_with_a_port(web, monkeypatch):
    web.pages[TOKEN] = (200, {}, b"content")
    assert look(web, monkeypatch, "::ffff:127.0.0.1")["error"] is None


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ((404, {}, b""), "with status 404: it is not this host, or port 80 does not serve that path"),
        ((200, {}, b"somebody else"), "other content"),
        ((301, {"Location": "http://other.example.org/"}, b""), "it redirects to http://other.example.org/"),
        ((302, {"Location": TOKEN}, b""), "more than 10 times"),
    ],
)
def test_a_name_that_responds_otherwise_is_not(web, monkeypatch, page, words):
    web.pages[TOKEN] = page
    assert words in look(web, monkeypatch, "127.0.0.1")["error"]


def test_redirects_within_the_name_are_followed(web, monkeypatch):
    port = web.server_port
    web.pages.update(
        {TOKEN: (308, {"Location": f"http://mail.example.org:{port}/there"}, b""), "/there": (200, {}, b"content")}
    )
    assert look(web, monkeypatch, "127.0.0.1")["error"] is None


def test_every_address_has_to_respond_but_those_out_of_reach_from_here(web, monkeypatch):
    web.pages[TOKEN] = (200, {}, b"content")
    assert (
        "127.0.0.2, where the name leads to, does not respond"
        in look(web, monkeypatch, "127.0.0.1", "127.0.0.2")["error"]
    )

    get = _acme_preflight._get

    def without_ipv6(name, address, *more):
        if ":" in address:
            raise _acme_preflight.Unreached
        return get(name, address, *more)

    monkeypatch.setattr(_acme_preflight, "_get", without_ipv6)
    assert look(web, monkeypatch, "127.0.0.1", "2001:db8::1")["error"] is None
    assert "no way from the controller" in look(web, monkeypatch, "2001:db8::1")["error"]


@pytest.mark.parametrize("order", [("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")])
def test_an_address_with_another_virtual_host_is_named_beside_the_one_that_serves_the_file(web, monkeypatch, order):
    """Such as a default server for IPv6 beside a virtual host that listens on IPv4 only."""
    other = http.server.ThreadingHTTPServer(("127.0.0.2", web.server_port), Handler)
    other.delay, other.asked, other.pages = 0, [], {}
    threading.Thread(target=other.serve_forever, daemon=True).start()
    web.pages[TOKEN] = (200, {}, b"content")
    try:
        error = look(web, monkeypatch, *order)["error"]
    finally:
        other.shutdown()
        other.server_close()
    assert error.startswith(
        f"127.0.0.2, where the name leads to, responds to {TOKEN} with status 404, and 127.0.0.1 with"
    )
    assert error.endswith("another virtual host has port 80 there; let the one of this name listen at both")


def test_a_name_without_an_address_gets_no_request(web, monkeypatch):
    assert look(web, monkeypatch, error="it has no address")["error"] == "it has no address"
    assert web.asked == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_host_that_sends_on_and_on_is_an_error_in_time(monkeypatch, first, then):
    monkeypatch.setattr(_acme_preflight, "_addresses", lambda *_arguments: (["127.0.0.1"], None))
    with slow(first, then) as port:
        began = time.monotonic()
        (entry,) = _acme_preflight.inspect(["mail.example.org"], [], TOKEN, "content", 0.1, port=port)
        assert time.monotonic() - began < _acme_preflight.WAITS * 0.1 + SLACK
    assert "does not respond" in entry["error"] and "timed out" in entry["error"]


@pytest.mark.parametrize("addresses", [("127.0.0.1",) * 4000, ("127.0.0.1",)])
def test_neither_many_addresses_nor_redirects_to_slow_ones_take_longer(web, monkeypatch, addresses):
    with slow(b"", b"") as port:  # it accepts, and sends nothing
        web.pages[TOKEN] = (302, {"Location": f"http://mail.example.org:{port}/there"}, b"")
        monkeypatch.setattr(_acme_preflight, "_addresses", lambda *_arguments: (list(addresses), None))
        began = time.monotonic()
        (entry,) = _acme_preflight.inspect(["mail.example.org"], [], TOKEN, "content", 0.1, port=web.server_port)
        assert time.monotonic() - began < _acme_preflight.WAITS * 0.1 + SLACK
    assert "timed out" in entry["error"]


def test_every_redirect_gets_its_time_but_not_more_than_all_may_take(web, monkeypatch):
    """Ten hops that take less than the timeout each, again and again at each address."""
    web.delay = 0.15
    web.pages[TOKEN] = (302, {"Location": TOKEN + "/again"}, b"")
    web.pages[TOKEN + "/again"] = (200, {}, b"content")
    monkeypatch.setattr(_acme_preflight, "_addresses", lambda *_arguments: (["127.0.0.1"] * 2, None))
    (entry,) = _acme_preflight.inspect(["mail.example.org"], [], TOKEN, "content", 0.5, port=web.server_port)
    assert entry["error"] is None


def test_a_name_server_that_drips_is_no_address():
    """By UDP it asks for TCP, where it says that much will come, and sends a byte now and then."""

    class Truncates(socketserver.BaseRequestHandler):
        def handle(self):
            query, sock = self.request
            sock.sendto(query[:2] + b"\x83\x80" + query[4:12] + query[12:], self.client_address)

    with slow(b"\x40\x00", b"\0") as port, socketserver.ThreadingUDPServer(("127.0.0.1", port), Truncates) as names:
        threading.Thread(target=names.serve_forever, args=(0.01,), daemon=True).start()
        began = time.monotonic()
        (entry,) = _acme_preflight.inspect(["mail.example.org"], [_nameservers.Server("127.0.0.1", port)], "", "", 0.5)
        assert time.monotonic() - began < 0.5 + SLACK
        names.shutdown()
    assert "it cannot be resolved" in entry["error"]


def test_a_resolver_that_does_not_respond_is_no_address(web):
    (entry,) = _acme_preflight.inspect(["a.example.org"], [_nameservers.Server("127.0.0.1", 1)], "", "", 0.3)
    assert "it cannot be resolved" in entry["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "token"}, "^path: "),
        ({"timeout": 0}, "^timeout: "),
        ({"nameservers": ["ns.example.org"]}, "^nameservers: "),
    ],
)
def test_options_of_the_check_that_cannot_work_are_named(change, words):
    options = {"names": ["a.b"], "path": None, "content": None, "nameservers": [], "timeout": 5, **change}
    with pytest.raises(ValueError, match=words):
        acme_reach_info.run(options)
