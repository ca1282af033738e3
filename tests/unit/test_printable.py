# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No text of the network's or of a host's files moves a terminal: the filter, and what real plays print."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import socketserver
import ssl
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._common import module as _module
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable

from . import web_bed
from .conftest import CHECKOUT, COLLECTIONS

# A title, a colour by a C1 control, an overwritten line, an order that is not what it looks like, a hidden link.
EVIL = "a\x1b]0;owned\x07b\x9b31mc\rd\x7fe\u202ef\u2066g\u200bh\x00i"
BARE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufffe\uffff]")


# --- the filter ------------------------------------------------------------------------------------------------------


def test_what_is_not_to_be_seen_becomes_visible():
    assert _printable.printable(EVIL + "\n\t\udcff") == (
        "a\\x1b]0;owned\\x07b\\x9b31mc\\x0dd\\x7fe\\x202ef\\x2066g\\x200bh\\x00i\\x0a\\x09\\xdcff"
    )
    value = {"k\x1b": ["line\nnext\tx\r\n", ("\r", 1, None, True, b"raw")]}
    assert _printable.result(value) == {"k\\x1b": ["line\nnext\tx\r\n", ["\\x0d", 1, None, True, b"raw"]]}


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_goes_out_printable_once_and_for_all(text):
    done = _printable.result(text)
    assert not BARE.search(done.replace("\r\n", ""))
    done.encode("utf-8")
    assert _printable.result(done) == done
    assert _printable.printable(_printable.printable(text)) == _printable.printable(text)
    if text.isascii() and text.isprintable():
        assert done == text


def test_no_module_leaves_the_collection_by_another_way():
    """Whoever adds a module gets the filter, as it is in the only AnsibleModule that the collection uses."""
    for path in sorted((CHECKOUT / "plugins").rglob("*.py")):
        text = path.read_text()
        if path != CHECKOUT / "plugins" / "module_utils" / "_common" / "module.py" and "AnsibleModule" in text:
            assert not re.search(r"from ansible\.module_utils\.basic import .*\bAnsibleModule\b", text), path


@pytest.mark.parametrize("secret", ["of \x1b[31mgreat value", "short", "short \x1b[31mand longer"])
def test_a_secret_is_not_returned_in_its_printable_form_either(secret):
    module = _module.AnsibleModule.__new__(_module.AnsibleModule)  # without the arguments of a process
    module.no_log_values = {"short", secret}
    shown = module._printable({"lines": [f"<{secret}>\x1b", {f"of {secret}": 1}], "number": 3})
    assert shown == {"lines": ["<********>\\x1b", {"of ********": 1}], "number": 3}


# --- real plays ------------------------------------------------------------------------------------------------------


class Names(socketserver.BaseRequestHandler):
    """A name server that answers every question with an error and its own words for it."""

    def handle(self):
        data, sock = self.request
        reply = dns.message.make_response(dns.message.from_wire(data))
        reply.set_rcode(dns.rcode.SERVFAIL)
        reply.use_edns(0, options=[dns.edns.EDEOption(23, EVIL + "\nfatal: [forged]")])
        sock.sendto(reply.to_wire(), self.client_address)


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        evil = EVIL.encode("utf-8")
        self.wfile.write(b"HTTP/1.1 302 " + evil + b"\r\nLocation: https://x/" + evil + b"\r\nServer: " + evil)
        self.wfile.write(b"\r\nStrict-Transport-Security: " + evil + b"\r\nConnection: close\r\n\r\n")

    def log_message(self, *_words):
        pass


@contextlib.contextmanager
def started(server) -> t.Iterator[int]:
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def tasks(names: int, web: int, folder: Path) -> list[dict[str, t.Any]]:
    """Everything of the collection that can be had without being root, asked about hostile hosts."""
    chain = folder / EVIL.replace("\x00", "").replace("/", "") / "chain.pem"
    chain.parent.mkdir()
    chain.write_text("nothing")
    found = [
        {"kopano.hardening.caa_info": {"names": ["mail.hostile.test"], "nameservers": [f"127.0.0.1:{names}"]}},
        {"kopano.hardening.acme_reach_info": {"names": ["mail.hostile.test"], "nameservers": [f"127.0.0.1:{names}"]}},
        {
            "kopano.hardening.tls_grade_info": {
                "endpoints": [{"host": "127.0.0.1", "port": web, "server_name": "mail.hostile.test"}],
                "timeout": 10,
            }
        },
        {"kopano.hardening.certificate_info": {"chain": str(chain)}},
        {"kopano.hardening.caa_info": {"names": ["mail.hostile.test"], "nameservers": [EVIL.replace("\x00", "")]}},
    ]
    for number, task in enumerate(found):
        task.update({"register": f"found{number}", "ignore_errors": True})
    shown = {"ansible.builtin.debug": {"msg": "{{ [found0, found1, found2, found3, found4] }}"}}
    refused = {
        "kopano.hardening.verify": {"part": "grade"},
        "ignore_errors": True,
        "vars": {"verify_mode": EVIL.replace("\x00", "")},
    }
    findings = "{{ found0.findings + found2.results[0].findings + found3.findings }}"
    hosts = {"web.test": {"findings": findings, "failures": [{"message": "{{ hostile }}", "step": 4}]}}
    report = {
        "kopano.hardening.report": {"path": str(folder / "report"), "hosts": hosts},
        "vars": {"hostile": EVIL.replace("\x00", "")},
    }
    return [*found, shown, refused, report]


@pytest.mark.parametrize("interpreter", ["{{ ansible_playbook_python }}", "other"])
def test_plays_about_hostile_hosts_print_no_control_codes(tmp_path, interpreter):
    if interpreter == "other":  # then the modules are processes of their own
        interpreter = str(tmp_path / "python")
        Path(interpreter).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        os.chmod(interpreter, 0o755)
    certificate, key = web_bed.make_certificate(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with started(socketserver.ThreadingUDPServer(("127.0.0.1", 0), Names)) as names, started(server) as web:
        book = tmp_path / "play.yml"
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "connection": "local",
            "tasks": tasks(names, web, tmp_path),
        }
        play["vars"] = {"ansible_python_interpreter": interpreter}
        book.write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-v", "-i", "localhost,", str(book)],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCAL_TEMP": str(tmp_path),
                 "ANSIBLE_REMOTE_TEMP": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "PYTHONPATH": "", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
    out = (done.stdout + done.stderr).decode("utf-8", "surrogateescape")
    print(ascii(out))
    assert "PLAY RECAP" in out and "failed=0" in out
    # Each of them did get there, in a form that can be read.
    for word in ("EDE 23", "mail.hostile.test", "chain.pem", "owned"):
        assert word in out
    assert not BARE.search(out), [ascii(line) for line in out.splitlines() if BARE.search(line)]
    assert not re.search(r"(?m)^fatal: \[forged\]", out)
    files = sorted((tmp_path / "report").iterdir())
    assert len(files) >= 5
    for path in files:
        text = path.read_bytes().decode("utf-8")  # and none with half a character
        assert not BARE.search(text), path
