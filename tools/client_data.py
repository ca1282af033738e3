#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the entries of the collection's data on TLS clients: plugins/module_utils/_tls/client_data.py.

client_data.py record FILE COMMAND…
    Runs a program that connects to the port that is written {port} in its arguments, and writes the ClientHello that it
    sends as hexadecimal text.
client_data.py entries --testssl FILE --testssl-3.3 FILE --signatures FOLDER --recorded FOLDER
    Prints the entries of SELECTED. The FILEs are etc/client-simulation.txt of two versions of testssl.sh, see TESTSSL,
    the first FOLDER tests/signatures of curl-impersonate, a git checkout, and the second one has what was recorded,
    ID.hex for each client.

What is offered is read from the ClientHellos. GREASE values (RFC 8701) are dropped, as they are random; so are
extensions that no server's choice depends on. testssl.sh adds which protocols a client takes, and the sizes of keys and
of Diffie-Hellman parameters.
"""

from __future__ import annotations

import argparse
import datetime
import re
import socket
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import yaml

# Versions of testssl.sh, and when they were made, for hellos that have no date of their own. What the older one has is
# taken from there.
TESTSSL = {"testssl": ("3.2.1", "2025-06-16"), "testssl-3.3": ("3.3dev 01b7ad7c", "2026-05-18")}
SIGNATURES = "curl-impersonate"
# Outlook speaks through WinHTTP, which speaks through Schannel; its protocols are those that Microsoft names.
OUTLOOK = (
    "of Schannel; learn.microsoft.com/en-us/archive/blogs/schrimsher/enabling-tls-1-1-and-1-2-in-outlook-on-windows-7"
)

# The source (its name there), and the client's id, name, version and platform.
SELECTED = """
testssl Android 2.3.7 | android-2.3.7 | Android | 2.3.7 |
testssl Android 4.0.4 | android-4.0.4 | Android | 4.0.4 |
testssl Android 4.1.1 | android-4.1.1 | Android | 4.1.1 |
testssl Android 4.2.2 | android-4.2.2 | Android | 4.2.2 |
testssl Android 4.3 | android-4.3 | Android | 4.3 |
testssl Android 4.4.2 | android-4.4.2 | Android | 4.4.2 |
testssl Android 5.0.0 | android-5.0.0 | Android | 5.0.0 |
testssl Android 6.0 | android-6.0 | Android | 6.0 |
testssl Android 7.0 (native) | android-7.0 | Android | 7.0 |
testssl Android 8.1 (native) | android-8.1 | Android | 8.1 |
testssl Android 9.0 (native) | android-9.0 | Android | 9.0 |
testssl Android 10.0 (native) | android-10.0 | Android | 10.0 |
testssl Android 11/12 (native) | android-11 | Android | 11 |
testssl Android 11/12 (native) | android-12 | Android | 12 |
testssl Android 13/14 (native) | android-13 | Android | 13 |
testssl Android 13/14 (native) | android-14 | Android | 14 |
testssl Android 15 (native) | android-15 | Android | 15 |
testssl-3.3 Android 16 (native) | android-16 | Android | 16 |
testssl Safari 6 iOS 6.0.1 | safari-6-ios-6.0.1 | Safari | 6 | iOS 6.0.1
testssl Safari 7 iOS 7.1 | safari-7-ios-7.1 | Safari | 7 | iOS 7.1
testssl Safari 8 iOS 8.4 | safari-8-ios-8.4 | Safari | 8 | iOS 8.4
testssl Safari 9 iOS 9 | safari-9-ios-9 | Safari | 9 | iOS 9
testssl Safari 10 iOS 10 | safari-10-ios-10 | Safari | 10 | iOS 10
testssl Safari 12.1 (iOS 12.2) | safari-12.1-ios-12.2 | Safari | 12.1 | iOS 12.2
signatures safari_17.2_iOS | safari-17.2-ios-17.2 | Safari | 17.2 | iOS 17.2
testssl Safari 18.4 (iOS 18.4) | safari-18.4-ios-18.4 | Safari | 18.4 | iOS 18.4
signatures safari_26.0_iOS | safari-26.0-ios-26.0 | Safari | 26.0 | iOS 26.0
testssl-3.3 Safari 26.4 (iOS+iPadOS 26.4) | safari-26.4-ios-26.4 | Safari | 26.4 | iOS 26.4
testssl Safari 9 OS X 10.11 | safari-9-os-x-10.11 | Safari | 9 | OS X 10.11
testssl Safari 13.0 (macOS 10.14.6) | safari-13.0-macos-10.14.6 | Safari | 13.0 | macOS 10.14.6
testssl Safari 15.4 (macOS 12.3.1) | safari-15.4-macos-12.3.1 | Safari | 15.4 | macOS 12.3.1
testssl Safari 18.4 (macOS 15.4) | safari-18.4-macos-15.4 | Safari | 18.4 | macOS 15.4
signatures safari_26.0_macOS | safari-26.0-macos-26.0 | Safari | 26.0 | macOS 26.0
testssl Apple ATS 9 iOS 9 | apple-ats-9-ios-9 | Apple ATS | 9 | iOS 9
testssl Apple Mail (16.0) | apple-mail-16.0 | Apple Mail | 16.0 |
testssl IE 8 XP | ie-8-xp | IE | 8 | XP
testssl IE 8-10 Win 7 | ie-8-10-win-7 | IE | 8-10 | Win 7
testssl IE 11 Win 7 | ie-11-win-7 | IE | 11 | Win 7
testssl IE 11 Win 8.1 | ie-11-win-8.1 | IE | 11 | Win 8.1
testssl IE 11 Win 10 | ie-11-win-10 | IE | 11 | Win 10
testssl IE 8-10 Win 7 | outlook-2010-win-7 | Outlook | 2010 | Win 7
testssl IE 8-10 Win 7 | outlook-2013-win-7 | Outlook | 2013 | Win 7
testssl IE 11 Win 10 | outlook-2013-win-10 | Outlook | 2013 | Win 10
testssl Edge 15 Win 10 | edge-15-win-10 | Edge | 15 | Win 10
testssl Edge 133 Win 11 23H2 | edge-133-win-11 | Edge | 133 | Win 11
testssl Firefox 31.3.0 ESR Win 7 | firefox-31.3.0-esr-win-7 | Firefox | 31.3.0 ESR | Win 7
testssl Firefox 71 (Win 10) | firefox-71-win-10 | Firefox | 71 | Win 10
testssl Firefox 100 (Win 10) | firefox-100-win-10 | Firefox | 100 | Win 10
signatures firefox_144.0.0_linux | firefox-144-macos | Firefox | 144 | macOS
testssl Chrome 49 XP SP3 | chrome-49-xp-sp3 | Chrome | 49 | XP SP3
testssl Chrome 70 Win 10 | chrome-70-win-10 | Chrome | 70 | Win 10
testssl Chrome 101 (Win 10) | chrome-101-win-10 | Chrome | 101 | Win 10
signatures chrome_150.0.7871.127_macOS | chrome-150-macos | Chrome | 150 | macOS
recorded Chromium | chromium-156-debian-13 | Chromium | 156 | Debian 13
testssl Thunderbird (60.6) | thunderbird-60.6 | Thunderbird | 60.6 |
testssl Thunderbird (68.3) | thunderbird-68.3 | Thunderbird | 68.3 |
testssl Thunderbird (91.9) | thunderbird-91.9 | Thunderbird | 91.9 |
testssl Java 6u45 | java-6u45 | Java | 6u45 |
testssl Java 7u25 | java-7u25 | Java | 7u25 |
testssl Java 8u161 | java-8u161 | Java | 8u161 |
testssl Java 8u442 (OpenJDK) | java-8u442 | Java | 8u442 |
testssl Java 11.0.2 (OpenJDK) | java-11.0.2 | Java | 11.0.2 |
recorded OpenJDK | java-17.0.21 | Java | 17.0.21 |
testssl Java 21.0.6 (OpenJDK) | java-21.0.6 | Java | 21.0.6 |
testssl OpenSSL 0.9.8y | openssl-0.9.8y | OpenSSL | 0.9.8y |
testssl OpenSSL 1.0.1l | openssl-1.0.1l | OpenSSL | 1.0.1l |
testssl OpenSSL 1.0.2e | openssl-1.0.2e | OpenSSL | 1.0.2e |
testssl OpenSSL 1.1.0l (Debian) | openssl-1.1.0l | OpenSSL | 1.1.0l |
testssl OpenSSL 1.1.1d (Debian) | openssl-1.1.1d | OpenSSL | 1.1.1d |
testssl OpenSSL 3.0.15 (Debian) | openssl-3.0.15 | OpenSSL | 3.0.15 |
recorded s_client | openssl-3.5.9 | OpenSSL | 3.5.9 |
testssl-3.3 OpenSSL 4.0.0 (git) | openssl-4.0.0 | OpenSSL | 4.0.0 |
testssl LibreSSL 3.3.6 (macOS) | libressl-3.3.6-macos | LibreSSL | 3.3.6 | macOS
recorded gnutls-cli | gnutls-3.8.9 | GnuTLS | 3.8.9 |
recorded tstclnt | nss-3.110 | NSS | 3.110 |
recorded curl | curl-8.14.1-debian-13 | curl | 8.14.1 | Debian 13
recorded Node.js | node-20.20.2 | Node.js | 20.20.2 |
"""

PROTOCOLS = {0x0300: "SSLv3", 0x0301: "TLSv1.0", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
# Extensions that a server's choice, or whether it takes the hello at all, may depend on.
NAME, GROUPS, ALGORITHMS, ALPN, VERSIONS, SHARES = 0, 10, 13, 16, 43, 51
OTHERS = {5: "status_request", 22: "encrypt_then_mac", 23: "extended_master_secret", 35: "session_ticket"}
OTHERS[0xFF01] = "renegotiation_info"


def grease(code: int) -> bool:
    return code & 0x0F0F == 0x0A0A and code >> 8 == code & 0xFF


def codes(data: bytes) -> list[int]:
    found = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    return [code for code in found if not grease(code)]


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        assert len(taken) == size
        return taken

    def block(self, size: int) -> bytes:
        return self.take(int.from_bytes(self.take(size), "big"))


def from_hello(record: bytes) -> dict[str, Any]:
    """What a recorded ClientHello offers."""
    if record[0] & 0x80:  # in the frame of SSL 2.0, with suites of three bytes
        hello = Bytes(record[3:])
        newest = int.from_bytes(hello.take(2), "big")
        specs = hello.take(int.from_bytes(hello.take(6)[:2], "big"))
        suites = [int.from_bytes(specs[at : at + 3], "big") for at in range(0, len(specs), 3)]
        return {"newest": newest, "suites": [code for code in suites if code < 0x10000], "ssl2": True, "others": []}
    hello = Bytes(record[9:])
    newest = int.from_bytes(hello.take(2), "big")
    hello.take(32)
    hello.block(1)
    offer: dict[str, Any] = {"newest": newest, "suites": codes(hello.block(2)), "others": []}
    assert 0 in hello.block(1)
    extensions = Bytes(hello.block(2)) if hello.data else Bytes(b"")
    while extensions.data:
        kind, data = int.from_bytes(extensions.take(2), "big"), Bytes(extensions.block(2))
        if kind == NAME:
            offer["sni"] = True
        elif kind in (GROUPS, ALGORITHMS):
            offer["groups" if kind == GROUPS else "signatures"] = codes(data.block(2))
        elif kind == ALPN:
            names, offer["alpn"] = Bytes(data.block(2)), []
            while names.data:
                offer["alpn"].append(names.block(1).decode())
        elif kind == VERSIONS:
            offer["versions"] = codes(data.block(1))
        elif kind == SHARES:
            shares, offer["shares"] = Bytes(data.block(2)), []
            while shares.data:
                offer["shares"] += codes(shares.take(2))
                shares.block(2)
        elif kind in OTHERS:
            offer["others"].append(kind)
    seconds = int.from_bytes(record[11:15], "big")
    if 1356998400 < seconds < 1467331200:  # 2013 to the middle of 2016: then clients still put their clock into it
        offer["date"] = str(datetime.datetime.fromtimestamp(seconds, datetime.UTC).date())
    return offer


def from_signature(text: str) -> dict[str, Any]:
    """What a file of curl-impersonate's has of a ClientHello."""
    seen = yaml.safe_load(text)["signature"]["tls_client_hello"]
    extensions = {entry["type"]: entry for entry in seen["extensions"]}

    def numbers(values: list[Any]) -> list[int]:
        return [value for value in values if value != "GREASE"]

    versions = numbers(extensions["supported_versions"]["supported_versions"])
    return {
        "newest": 0x0303,
        "suites": numbers(seen["ciphersuites"]),
        "groups": numbers(extensions["supported_groups"]["supported_groups"]),
        "signatures": numbers(extensions["signature_algorithms"]["sig_hash_algs"]),
        "alpn": extensions["application_layer_protocol_negotiation"]["alpn_list"],
        "versions": [int(version[-1]) + 0x0301 for version in versions],
        "shares": numbers([share["group"] for share in extensions["keyshare"]["key_shares"]]),
        "others": [kind for kind, name in OTHERS.items() if name in extensions],
        "sni": "server_name" in extensions,
    }


def of_testssl(text: str) -> dict[str, dict[str, str]]:
    """The entries of testssl.sh's file, by name."""
    entries = {}
    for block in re.split(r"(?m)^\s*names\+=", text)[1:]:
        fields = dict(re.findall(r'(?m)^\s*(\w+)\+=\("?(.*?)"?\)\s*$', block))
        entries[block.split('"')[1]] = fields
    return entries


def read(
    source: str, name: str, known: dict[str, dict[str, dict[str, str]]], args: argparse.Namespace, ident: str
) -> dict[str, Any]:
    """The offer of a client with its source, its date, its oldest protocol and its limits."""
    if source in TESTSSL:
        version, released = TESTSSL[source]
        fields = known[source][name]
        offer = from_hello(bytes.fromhex(fields["handshakebytes"]))
        offer.setdefault("date", released)
        limits = {
            key: [int(fields[f"{least}{what}Bits"]) for least in ("min", "max")]
            for key, what in (("dh", "Dh"), ("rsa", "Rsa"))
        }
        offer.update({key: [max(0, size) for size in sizes] for key, sizes in limits.items() if max(sizes) > 0})
        return {
            "oldest": max(0x0300, int(fields["lowest_protocol"], 16)),
            **offer,
            "source": f"testssl.sh {version}: {name}",
        }
    if source == "signatures":
        path = Path(args.signatures) / f"{name}.yaml"
        log = ["git", "-C", str(path.parent), "log", "--format=%ad", "--date=short", "--", path.name]
        added = subprocess.run(log, check=True, capture_output=True, text=True).stdout.split()[-1]
        return {**from_signature(path.read_text()), "date": added, "source": f"{SIGNATURES}: {name}"}
    path = Path(args.recorded) / f"{ident}.hex"
    day = str(datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date())
    return {**from_hello(bytes.fromhex(path.read_text())), "date": day, "source": f"recorded: {name}"}


def entries(args: argparse.Namespace) -> None:
    known = {source: of_testssl(Path(getattr(args, source)).read_text()) for source in TESTSSL}
    first: dict[tuple[str, str], str] = {}
    for line in SELECTED.strip().splitlines():
        origin, ident, name, version, platform = (part.strip() for part in line.split("|"))
        source, _space, key = origin.partition(" ")
        offer = read(source, key, known, args, ident)
        versions = offer.get("versions") or [offer["newest"]]
        assert all(code in PROTOCOLS for code in versions), (ident, versions)  # drafts
        if name == "Outlook":
            offer = {**offer, "alpn": [], "source": f"{offer['source']}, {OUTLOOK}"}  # a program names these itself
        oldest, newest = offer.get("oldest", min(versions)), max(versions)
        if "versions" in offer:
            oldest = min(versions)
            assert versions == list(range(newest, oldest - 1, -1)), (ident, versions)
        fields = [("protocols", f"{PROTOCOLS[oldest]} {PROTOCOLS[newest]}")]
        for field in ("suites", "groups", "shares", "signatures", "others"):
            text = " ".join(f"{code:04X}" for code in offer.get(field, ()))
            if text:
                same = first.setdefault((field, text), ident)
                fields.append((field, text if same == ident or len(text) < 30 else "=" + same))
        fields += [(field, " ".join(map(str, offer[field]))) for field in ("alpn", "dh", "rsa") if offer.get(field)]
        flags = [flag for flag in ("sni", "ssl2") if offer.get(flag)]
        if flags:
            fields.append(("flags", " ".join(flags)))
        fields += [("source", offer["source"]), ("date", offer["date"])]
        print(f"\n{ident} | {name} | {version} | {platform}".rstrip())
        for field, text in fields:
            line = f"{field}: {text}"
            print(textwrap.fill(line, 118, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def record(args: argparse.Namespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [argument.replace("{port}", port) for argument in args.command]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            server.settimeout(30)
            connection, _peer = server.accept()
            received = b""
            while len(received) < 5 or len(received) < 5 + int.from_bytes(received[3:5], "big"):
                received += connection.recv(65536)
            connection.close()
            process.kill()
    Path(args.file).write_text(received.hex() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("record")
    one.add_argument("file")
    one.add_argument("command", nargs=argparse.REMAINDER)
    one.set_defaults(run=record)
    many = commands.add_parser("entries")
    for name in (*TESTSSL, "signatures", "recorded"):
        many.add_argument(f"--{name}", dest=name, required=True)
    many.set_defaults(run=entries)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
