# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""TLS clients as data: what each of them offers in its ClientHello, and what it takes. Nothing here decides anything.

The facts are of recorded ClientHellos, from which C(tools/client_data.py) makes the entries:

- C(testssl.sh): its file etc/client-simulation.txt (GPL-2.0, Dirk Wetter and contributors), whose older entries come
  from the client API of SSL Labs, the newer ones from its authors' own recordings;
- C(curl-impersonate): its tests/signatures (MIT, curl_cffi developers), recordings of browsers;
- C(recorded): programs that were recorded on a loopback socket for this project.

An entry begins with C(id | name | version | platform), as SSL Labs names clients. Its fields:

- C(protocols): the oldest and the newest that it takes;
- C(suites), C(groups), C(signatures): what it offers, in its order, as code points of the IANA registries; C(shares):
  the groups that it sends a key for with TLS 1.3; C(others): further extensions, as far as a choice may depend on them;
- C(alpn): the protocols that it names; C(dh), C(rsa): the fewest and the most bits of Diffie-Hellman parameters and of
  RSA keys that it takes, 0 where there is no limit. A client without these fields takes any, as far as is known;
- C(flags): C(sni) where it sends the server's name, C(ssl2) where its hello comes in the frame of SSL 2.0;
- C(source), with the client's name there, and C(date): when it was recorded by the hello's own clock, or else the day
  on which this version of the source was released or has got it.

C(=ID) is the list of another client. GREASE values (RFC 8701) are left out, being random, and so are extensions on
which no choice depends. Outlook speaks through the TLS library of Windows, Schannel: its entries are what Schannel
offers, with the protocols that Microsoft names for Outlook on this Windows.

Left out, as no public recording was found: Windows 11's Schannel (and so Outlook on it, and .NET), Windows Mail,
Outlook after 2013, DAVx5, Nine, Z-Push's autodiscover and the Kopano DeskApp, which is a Chromium of its own. So are
clients that spoke a draft of TLS 1.3.
"""

from __future__ import annotations

import functools
import typing as t


class Client(t.NamedTuple):
    """A client, by what it offers. oldest, newest: protocols, as in C(constants.PROTOCOLS). The rest as above."""

    id: str
    name: str
    version: str
    platform: str
    oldest: str
    newest: str
    suites: tuple[int, ...]
    groups: tuple[int, ...]
    shares: tuple[int, ...]
    signatures: tuple[int, ...]
    others: tuple[int, ...]
    alpn: tuple[str, ...]
    dh: tuple[int, int]
    rsa: tuple[int, int]
    sni: bool
    ssl2: bool
    source: str
    date: str


@functools.lru_cache(maxsize=None)
def clients() -> dict[str, Client]:
    """All clients, by their ids."""
    found: dict[str, Client] = {}
    for entry in _CLIENTS.strip().split("\n\n"):
        head, _newline, rest = entry.partition("\n")
        ident, name, version, platform = (part.strip() for part in head.split("|"))
        fields = dict(line.split(": ", 1) for line in rest.replace("\n    ", " ")[2:].split("\n  "))
        oldest, newest = fields["protocols"].split()
        dh, rsa = (tuple(map(int, fields.get(field, "0 0").split())) for field in ("dh", "rsa"))
        flags = fields.get("flags", "").split()
        found[ident] = Client(
            id=ident,
            name=name,
            version=version,
            platform=platform,
            oldest=oldest,
            newest=newest,
            suites=_codes(fields, "suites", found),
            groups=_codes(fields, "groups", found),
            shares=_codes(fields, "shares", found),
            signatures=_codes(fields, "signatures", found),
            others=_codes(fields, "others", found),
            alpn=tuple(fields.get("alpn", "").split()),
            dh=(dh[0], dh[1]),
            rsa=(rsa[0], rsa[1]),
            sni="sni" in flags,
            ssl2="ssl2" in flags,
            source=fields["source"],
            date=fields["date"],
        )
    return found


def _codes(fields: dict[str, str], field: str, known: dict[str, Client]) -> tuple[int, ...]:
    """The codes of a field; C(=ID) stands for those of a client before it."""
    text = fields.get(field, "")
    if text.startswith("="):
        same: tuple[int, ...] = getattr(known[text[1:]], field)
        return same
    return tuple(int(code, 16) for code in text.split())


_CLIENTS = """
android-2.3.7 | Android | 2.3.7 |
  protocols: SSLv3 TLSv1.0
  suites: 0004 0005 002F 0033 0032 000A 0016 0013 0009 0015 0012 0003 0008 0014 0011 00FF
  source: testssl.sh 3.2.1: Android 2.3.7
  date: 2014-03-11

android-4.0.4 | Android | 4.0.4 |
  protocols: SSLv3 TLSv1.0
  suites: C014 C00A 0039 0038 C00F C005 0035 C012 C008 0016 0013 C00D C003 000A C013 C009 0033 0032 C00E C004 002F
    C011 C007 C00C C002 0005 0004 00FF
  groups: 0001 0002 0003 0004 0005 0006 0007 0008 0009 000A 000B 000C 000D 000E 000F 0010 0011 0012 0013 0014 0015
    0016 0017 0018 0019
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 4.0.4
  date: 2014-03-11

android-4.1.1 | Android | 4.1.1 |
  protocols: SSLv3 TLSv1.0
  suites: C014 C00A C022 C021 0039 0038 C00F C005 0035 C012 C008 C01C C01B 0016 0013 C00D C003 000A C013 C009 C01F
    C01E 0033 0032 C00E C004 002F C011 C007 C00C C002 0005 0004 00FF
  groups: 000E 000D 0019 000B 000C 0018 0009 000A 0016 0017 0008 0006 0007 0014 0015 0004 0005 0012 0013 0001 0002
    0003 000F 0010 0011
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 4.1.1
  date: 2014-03-11

android-4.2.2 | Android | 4.2.2 |
  protocols: SSLv3 TLSv1.0
  suites: =android-4.1.1
  groups: =android-4.1.1
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 4.2.2
  date: 2014-03-11

android-4.3 | Android | 4.3 |
  protocols: SSLv3 TLSv1.0
  suites: =android-4.1.1
  groups: =android-4.1.1
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 4.3
  date: 2014-03-11

android-4.4.2 | Android | 4.4.2 |
  protocols: SSLv3 TLSv1.2
  suites: C030 C02C C014 C00A 00A3 009F 006B 006A 0039 0038 009D 003D 0035 C012 C008 0016 0013 000A C02F C02B C027
    C023 C013 C009 00A2 009E 0067 0040 0033 0032 009C 003C 002F C011 C007 0005 0004 00FF
  groups: 0019 0018 0017
  signatures: 0601 0602 0603 0501 0502 0503 0401 0402 0403 0301 0302 0303 0201 0202 0203 0101
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 4.4.2
  date: 2014-03-11

android-5.0.0 | Android | 5.0.0 |
  protocols: SSLv3 TLSv1.2
  suites: CC14 CC13 CC15 C014 C00A 0039 0038 0035 C012 C008 0016 0013 000A C02F C02B C013 C009 00A2 009E 0033 0032
    009C 002F C011 C007 0005 0004 00FF
  groups: 0019 0018 0017
  signatures: =android-4.4.2
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: Android 5.0.0
  date: 2015-01-23

android-6.0 | Android | 6.0 |
  protocols: TLSv1.0 TLSv1.2
  suites: CC14 CC13 CC15 C02B C02F 009E C00A C014 0039 C009 C013 0033 009C 0035 002F 000A 00FF
  groups: 0017 0018
  signatures: 0601 0603 0501 0503 0401 0403 0301 0303 0201 0203
  others: 0017 0023 0005
  alpn: http/1.1 spdy/3.1
  flags: sni
  source: testssl.sh 3.2.1: Android 6.0
  date: 2014-02-11

android-7.0 | Android | 7.0 |
  protocols: TLSv1.0 TLSv1.2
  suites: C02B C02C CCA9 C02F C030 CCA8 C013 C014 009C 009D 002F 0035
  groups: 0017
  signatures: =android-6.0
  others: FF01 0017 0023
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 7.0 (native)
  date: 2025-06-16

android-8.1 | Android | 8.1 |
  protocols: TLSv1.0 TLSv1.2
  suites: C02B C02C CCA9 C02F C030 CCA8 C009 C00A C013 C014 009C 009D 002F 0035
  groups: 001D 0017 0018
  signatures: 0403 0804 0401 0503 0805 0501 0806 0601 0201
  others: 0017 FF01 0005
  flags: sni
  source: testssl.sh 3.2.1: Android 8.1 (native)
  date: 2025-06-16

android-9.0 | Android | 9.0 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1302 1303 C02B C02F C02C C030 CCA9 CCA8 C013 C014 009C 009D 002F 0035 000A
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 9.0 (native)
  date: 2025-06-16

android-10.0 | Android | 10.0 |
  protocols: TLSv1.0 TLSv1.3
  suites: =android-9.0
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 10.0 (native)
  date: 2025-06-16

android-11 | Android | 11 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1302 1303 C02B C02C CCA9 C02F C030 CCA8 C009 C00A C013 C014 009C 009D 002F 0035
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 11/12 (native)
  date: 2025-06-16

android-12 | Android | 12 |
  protocols: TLSv1.0 TLSv1.3
  suites: =android-11
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 11/12 (native)
  date: 2025-06-16

android-13 | Android | 13 |
  protocols: TLSv1.2 TLSv1.3
  suites: =android-11
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 13/14 (native)
  date: 2015-11-13

android-14 | Android | 14 |
  protocols: TLSv1.2 TLSv1.3
  suites: =android-11
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: 0017 FF01 0023 0005
  alpn: http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 13/14 (native)
  date: 2015-11-13

android-15 | Android | 15 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1301 1302 1303 C02B C02F C02C C030 CCA9 CCA8 C013 C014 009C 009D 002F 0035
  groups: 11EC 001D 0017 0018
  shares: 11EC 001D
  signatures: 0403 0804 0401 0503 0805 0501 0806 0601
  others: 0005 0017 0023 FF01
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Android 15 (native)
  date: 2025-06-16

android-16 | Android | 16 |
  protocols: TLSv1.2 TLSv1.3
  suites: =android-15
  groups: 11EC 001D 0017 0018
  shares: 11EC 001D
  signatures: =android-15
  others: 0017 FF01 0005 0023
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.3dev 01b7ad7c: Android 16 (native)
  date: 2026-05-18

safari-6-ios-6.0.1 | Safari | 6 | iOS 6.0.1
  protocols: SSLv3 TLSv1.2
  suites: 00FF C024 C023 C00A C009 C007 C008 C028 C027 C014 C013 C011 C012 C026 C025 C02A C029 C004 C005 C002 C003
    C00E C00F C00C C00D 003D 003C 002F 0005 0004 0035 000A 0067 006B 0033 0039 0016 C006 C010 C001 C00B 003B 0002 0001
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0403 0203
  rsa: 0 4096
  flags: sni
  source: testssl.sh 3.2.1: Safari 6 iOS 6.0.1
  date: 2013-07-01

safari-7-ios-7.1 | Safari | 7 | iOS 7.1
  protocols: SSLv3 TLSv1.2
  suites: 00FF C024 C023 C00A C009 C007 C008 C028 C027 C014 C013 C011 C012 C026 C025 C02A C029 C005 C004 C002 C003
    C00F C00E C00C C00D 003D 003C 002F 0005 0004 0035 000A 0067 006B 0033 0039 0016
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0403 0203
  rsa: 0 4096
  flags: sni
  source: testssl.sh 3.2.1: Safari 7 iOS 7.1
  date: 2014-03-12

safari-8-ios-8.4 | Safari | 8 | iOS 8.4
  protocols: SSLv3 TLSv1.2
  suites: 00FF C024 C023 C00A C009 C008 C028 C027 C014 C013 C012 C026 C025 C005 C004 C003 C02A C029 C00F C00E C00D
    006B 0067 0039 0033 0016 003D 003C 0035 002F 000A C007 C011 C002 C00C 0005 0004
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0403 0203
  dh: 768 0
  rsa: 0 4096
  flags: sni
  source: testssl.sh 3.2.1: Safari 8 iOS 8.4
  date: 2015-01-23

safari-9-ios-9 | Safari | 9 | iOS 9
  protocols: TLSv1.0 TLSv1.2
  suites: 00FF C02C C02B C024 C023 C00A C009 C008 C030 C02F C028 C027 C014 C013 C012 009D 009C 003D 003C 0035 002F
    000A C007 C011 0005 0004
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0503 0403 0203
  others: 0005
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  dh: 768 0
  rsa: 0 8192
  flags: sni
  source: testssl.sh 3.2.1: Safari 9 iOS 9
  date: 2015-09-17

safari-10-ios-10 | Safari | 10 | iOS 10
  protocols: TLSv1.0 TLSv1.2
  suites: 00FF C02C C02B C024 C023 C00A C009 C008 C030 C02F C028 C027 C014 C013 C012 009D 009C 003D 003C 0035 002F
    000A
  groups: 0017 0018 0019
  signatures: 0401 0201 0501 0601 0403 0203 0503 0603
  others: 0005 0017
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  dh: 768 0
  rsa: 0 8192
  flags: sni
  source: testssl.sh 3.2.1: Safari 10 iOS 10
  date: 2025-06-16

safari-12.1-ios-12.2 | Safari | 12.1 | iOS 12.2
  protocols: TLSv1.0 TLSv1.3
  suites: 1303 1301 1302 C02C C02B C024 C023 C00A C009 CCA9 C030 C02F C028 C027 C014 C013 CCA8 009D 009C 003D 003C
    0035 002F C008 C012 000A
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: 0403 0804 0401 0503 0203 0805 0805 0501 0806 0601 0201
  others: FF01 0017 0005
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Safari 12.1 (iOS 12.2)
  date: 2016-01-13

safari-17.2-ios-17.2 | Safari | 17.2 | iOS 17.2
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1302 1303 C02C C02B CCA9 C030 C02F CCA8 C00A C009 C014 C013 009D 009C 0035 002F C008 C012 000A
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: =safari-12.1-ios-12.2
  others: 0005 0017 FF01
  alpn: h2 http/1.1
  flags: sni
  source: curl-impersonate: safari_17.2_iOS
  date: 2023-12-26

safari-18.4-ios-18.4 | Safari | 18.4 | iOS 18.4
  protocols: TLSv1.0 TLSv1.3
  suites: =safari-17.2-ios-17.2
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: 0403 0804 0401 0503 0805 0805 0501 0806 0601 0201
  others: 0017 FF01 0005
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.2.1: Safari 18.4 (iOS 18.4)
  date: 2025-06-16

safari-26.0-ios-26.0 | Safari | 26.0 | iOS 26.0
  protocols: TLSv1.2 TLSv1.3
  suites: =safari-17.2-ios-17.2
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: =safari-18.4-ios-18.4
  others: 0005 0017 0023 FF01
  alpn: h2 http/1.1
  flags: sni
  source: curl-impersonate: safari_26.0_iOS
  date: 2025-06-30

safari-26.4-ios-26.4 | Safari | 26.4 | iOS 26.4
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1303 1301 C02C C02B CCA9 C030 C02F CCA8 C00A C009 C014 C013 009D 009C 0035 002F C008 C012 000A
  groups: 11EC 001D 0017 0018 0019
  shares: 11EC 001D
  signatures: =safari-18.4-ios-18.4
  others: 0017 FF01 0005
  alpn: h2 http/1.1
  flags: sni
  source: testssl.sh 3.3dev 01b7ad7c: Safari 26.4 (iOS+iPadOS 26.4)
  date: 2026-05-18

safari-9-os-x-10.11 | Safari | 9 | OS X 10.11
  protocols: TLSv1.0 TLSv1.2
  suites: =safari-9-ios-9
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0503 0403 0203
  others: 0005
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  dh: 768 0
  rsa: 0 8192
  flags: sni
  source: testssl.sh 3.2.1: Safari 9 OS X 10.11
  date: 2015-08-27

safari-13.0-macos-10.14.6 | Safari | 13.0 | macOS 10.14.6
  protocols: TLSv1.0 TLSv1.3
  suites: =safari-12.1-ios-12.2
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: =safari-12.1-ios-12.2
  others: FF01 0017 0005
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Safari 13.0 (macOS 10.14.6)
  date: 2025-06-16

safari-15.4-macos-12.3.1 | Safari | 15.4 | macOS 12.3.1
  protocols: TLSv1.0 TLSv1.3
  suites: =safari-17.2-ios-17.2
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: =safari-12.1-ios-12.2
  others: 0017 FF01 0005
  alpn: h2 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Safari 15.4 (macOS 12.3.1)
  date: 2025-06-16

safari-18.4-macos-15.4 | Safari | 18.4 | macOS 15.4
  protocols: TLSv1.0 TLSv1.3
  suites: =safari-17.2-ios-17.2
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: =safari-18.4-ios-18.4
  others: 0017 FF01 0005
  alpn: h2 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Safari 18.4 (macOS 15.4)
  date: 2025-06-16

safari-26.0-macos-26.0 | Safari | 26.0 | macOS 26.0
  protocols: TLSv1.2 TLSv1.3
  suites: =safari-26.4-ios-26.4
  groups: 11EC 001D 0017 0018 0019
  shares: 11EC 001D
  signatures: =safari-18.4-ios-18.4
  others: 0005 0017 0023 FF01
  alpn: h2 http/1.1
  flags: sni
  source: curl-impersonate: safari_26.0_macOS
  date: 2025-06-30

apple-ats-9-ios-9 | Apple ATS | 9 | iOS 9
  protocols: TLSv1.2 TLSv1.2
  suites: 00FF C02C C02B C024 C00A C023 C009 C030 C02F C028 C027 C013
  groups: 0017 0018 0019
  signatures: 0501 0401 0201 0503 0403 0203
  others: 0005
  alpn: h2 h2-16 h2-15 h2-14 spdy/3.1 spdy/3 http/1.1
  dh: 768 0
  rsa: 2048 8192
  flags: sni
  source: testssl.sh 3.2.1: Apple ATS 9 iOS 9
  date: 2015-08-27

apple-mail-16.0 | Apple Mail | 16.0 |
  protocols: TLSv1.0 TLSv1.2
  suites: =safari-10-ios-10
  groups: 0017 0018 0019
  signatures: =safari-10-ios-10
  others: 0005 0017
  flags: sni
  source: testssl.sh 3.2.1: Apple Mail (16.0)
  date: 2025-06-16

ie-8-xp | IE | 8 | XP
  protocols: SSLv3 TLSv1.0
  suites: 0004 0005 000A 0009 0064 0062 0003 0006 0013 0012 0063
  others: FF01
  source: testssl.sh 3.2.1: IE 8 XP
  date: 2015-03-20

ie-8-10-win-7 | IE | 8-10 | Win 7
  protocols: SSLv3 TLSv1.0
  suites: C014 C013 0035 002F C00A C009 0038 0032 000A 0013 0005 0004
  groups: 0017 0018 0019
  others: 0005 FF01
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 8-10 Win 7
  date: 2015-09-09

ie-11-win-7 | IE | 11 | Win 7
  protocols: TLSv1.0 TLSv1.2
  suites: C028 C027 C014 C013 009F 009E 009D 009C 003D 003C 0035 002F C02C C02B C024 C023 C00A C009 006A 0040 0038
    0032 000A 0013
  groups: 0017 0018
  signatures: 0601 0603 0401 0501 0201 0403 0503 0203 0202
  others: 0005 0017 FF01
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 11 Win 7
  date: 2025-06-16

ie-11-win-8.1 | IE | 11 | Win 8.1
  protocols: TLSv1.0 TLSv1.2
  suites: C028 C027 C014 C013 009F 009E 0039 0033 009D 009C 003D 003C 0035 002F C02C C02B C024 C023 C00A C009 006A
    0040 0038 0032 000A 0013
  groups: 0017 0018
  signatures: 0401 0501 0601 0201 0403 0503 0603 0203 0202
  others: 0005 0023 0017 FF01
  alpn: spdy/3 http/1.1
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 11 Win 8.1
  date: 2016-06-23

ie-11-win-10 | IE | 11 | Win 10
  protocols: TLSv1.0 TLSv1.2
  suites: C02C C02B C030 C02F 009F 009E C024 C023 C028 C027 C00A C009 C014 C013 0039 0033 009D 009C 003D 003C 0035
    002F 000A 006A 0040 0038 0032 0013
  groups: 0017 0018
  signatures: 0401 0501 0201 0403 0503 0203 0202 0601 0603
  others: 0005 0023 0017 FF01
  alpn: h2 http/1.1
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 11 Win 10
  date: 2016-06-23

outlook-2010-win-7 | Outlook | 2010 | Win 7
  protocols: SSLv3 TLSv1.0
  suites: =ie-8-10-win-7
  groups: 0017 0018 0019
  others: 0005 FF01
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 8-10 Win 7, of Schannel;
    learn.microsoft.com/en-us/archive/blogs/schrimsher/enabling-tls-1-1-and-1-2-in-outlook-on-windows-7
  date: 2015-09-09

outlook-2013-win-7 | Outlook | 2013 | Win 7
  protocols: SSLv3 TLSv1.0
  suites: =ie-8-10-win-7
  groups: 0017 0018 0019
  others: 0005 FF01
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 8-10 Win 7, of Schannel;
    learn.microsoft.com/en-us/archive/blogs/schrimsher/enabling-tls-1-1-and-1-2-in-outlook-on-windows-7
  date: 2015-09-09

outlook-2013-win-10 | Outlook | 2013 | Win 10
  protocols: TLSv1.0 TLSv1.2
  suites: =ie-11-win-10
  groups: 0017 0018
  signatures: =ie-11-win-10
  others: 0005 0023 0017 FF01
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: IE 11 Win 10, of Schannel;
    learn.microsoft.com/en-us/archive/blogs/schrimsher/enabling-tls-1-1-and-1-2-in-outlook-on-windows-7
  date: 2016-06-23

edge-15-win-10 | Edge | 15 | Win 10
  protocols: TLSv1.0 TLSv1.2
  suites: C02C C02B C030 C02F C024 C023 C028 C027 C00A C009 C014 C013 009D 009C 003D 003C 0035 002F 000A
  groups: 001D 0017 0018
  signatures: =ie-11-win-10
  others: 0005 0023 0017 FF01
  alpn: h2 http/1.1
  dh: 1024 4096
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: Edge 15 Win 10
  date: 2025-06-16

edge-133-win-11 | Edge | 133 | Win 11
  protocols: TLSv1.2 TLSv1.3
  suites: =android-15
  groups: 11EC 001D 0017 0018
  shares: 11EC 001D
  signatures: =android-15
  others: 0017 0005 FF01 0023
  alpn: h2 http/1.1
  rsa: 0 16384
  flags: sni
  source: testssl.sh 3.2.1: Edge 133 Win 11 23H2
  date: 2025-06-16

firefox-31.3.0-esr-win-7 | Firefox | 31.3.0 ESR | Win 7
  protocols: TLSv1.0 TLSv1.2
  suites: C02B C02F C00A C009 C013 C014 C012 C007 C011 0033 0032 0045 0039 0038 0088 0016 002F 0041 0035 0084 000A
    0005 0004
  groups: 0017 0018 0019
  signatures: 0401 0501 0201 0403 0503 0203 0402 0202
  others: FF01 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: Firefox 31.3.0 ESR Win 7
  date: 2025-06-16

firefox-71-win-10 | Firefox | 71 | Win 10
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1303 1302 C02B C02F CCA9 CCA8 C02C C030 C00A C009 C013 C014 0033 0039 002F 0035 000A
  groups: 001D 0017 0018 0019 0100 0101
  shares: 001D 0017
  signatures: 0403 0503 0603 0804 0805 0806 0401 0501 0601 0203 0201
  others: 0017 FF01 0005
  alpn: h2 http/1.1
  dh: 1023 0
  flags: sni
  source: testssl.sh 3.2.1: Firefox 71 (Win 10)
  date: 2025-06-16

firefox-100-win-10 | Firefox | 100 | Win 10
  protocols: TLSv1.2 TLSv1.3
  suites: 1301 1303 1302 C02B C02F CCA9 CCA8 C02C C030 C00A C009 C013 C014 009C 009D 002F 0035
  groups: 001D 0017 0018 0019 0100 0101
  shares: 001D 0017
  signatures: =firefox-71-win-10
  others: 0017 FF01 0023 0005
  alpn: h2 http/1.1
  dh: 1023 0
  flags: sni
  source: testssl.sh 3.2.1: Firefox 100 (Win 10)
  date: 2025-06-16

firefox-144-macos | Firefox | 144 | macOS
  protocols: TLSv1.2 TLSv1.3
  suites: =firefox-100-win-10
  groups: 11EC 001D 0017 0018 0019 0100 0101
  shares: 11EC 001D 0017
  signatures: =firefox-71-win-10
  others: 0005 0017 0023 FF01
  alpn: h2 http/1.1
  flags: sni
  source: curl-impersonate: firefox_144.0.0_linux
  date: 2025-11-27

chrome-49-xp-sp3 | Chrome | 49 | XP SP3
  protocols: TLSv1.0 TLSv1.2
  suites: C02F CCA8 CC13 C014 C013 009C 0035 002F 000A
  groups: 0017 0018
  signatures: =android-6.0
  others: FF01 0017 0023 0005
  alpn: h2 spdy/3.1 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Chrome 49 XP SP3
  date: 2025-06-16

chrome-70-win-10 | Chrome | 70 | Win 10
  protocols: TLSv1.0 TLSv1.3
  suites: =android-9.0
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-8.1
  others: FF01 0017 0023 0005
  alpn: h2 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Chrome 70 Win 10
  date: 2025-06-16

chrome-101-win-10 | Chrome | 101 | Win 10
  protocols: TLSv1.2 TLSv1.3
  suites: =android-15
  groups: 001D 0017 0018
  shares: 001D
  signatures: =android-15
  others: 0017 FF01 0023 0005
  alpn: h2 http/1.1
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Chrome 101 (Win 10)
  date: 2025-06-16

chrome-150-macos | Chrome | 150 | macOS
  protocols: TLSv1.2 TLSv1.3
  suites: =android-15
  groups: 11EC 001D 0017 0018
  shares: 11EC 001D
  signatures: 0904 0905 0906 0403 0804 0401 0503 0805 0501 0806 0601
  others: 0005 0017 0023 FF01
  alpn: h2 http/1.1
  flags: sni
  source: curl-impersonate: chrome_150.0.7871.127_macOS
  date: 2026-08-08

chromium-156-debian-13 | Chromium | 156 | Debian 13
  protocols: TLSv1.2 TLSv1.3
  suites: =android-15
  groups: 11EC 001D 0017 0018
  shares: 11EC 001D
  signatures: =chrome-150-macos
  others: FF01 0017 0023 0005
  alpn: h2 http/1.1
  flags: sni
  source: recorded: Chromium
  date: 2026-11-28

thunderbird-60.6 | Thunderbird | 60.6 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1303 1302 C02B C02F CCA9 CCA8 C02C C030 C013 C014 002F 0035 000A
  groups: 001D 0017 0018 0019 0100 0101
  shares: 001D 0017
  signatures: =firefox-71-win-10
  others: 0017 FF01 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: Thunderbird (60.6)
  date: 2025-06-16

thunderbird-68.3 | Thunderbird | 68.3 |
  protocols: TLSv1.0 TLSv1.3
  suites: =firefox-71-win-10
  groups: 001D 0017 0018 0019 0100 0101
  shares: 001D 0017
  signatures: =firefox-71-win-10
  others: 0017 FF01 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: Thunderbird (68.3)
  date: 2025-06-16

thunderbird-91.9 | Thunderbird | 91.9 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1301 1303 1302 C02B C02F CCA9 CCA8 C02C C030 C00A C009 C013 C014 009C 009D 002F 0035 000A
  groups: 001D 0017 0018 0019 0100 0101
  shares: 001D 0017
  signatures: =firefox-71-win-10
  others: 0017 FF01 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: Thunderbird (91.9)
  date: 2025-06-16

java-6u45 | Java | 6u45 |
  protocols: SSLv3 TLSv1.0
  suites: =android-2.3.7
  dh: 0 1024
  flags: ssl2
  source: testssl.sh 3.2.1: Java 6u45
  date: 2025-06-16

java-7u25 | Java | 7u25 |
  protocols: SSLv3 TLSv1.0
  suites: C009 C013 002F C004 C00E 0033 0032 C007 C011 0005 C002 C00C C008 C012 000A C003 C00D 0016 0013 0004 00FF
  groups: 0017 0001 0003 0013 0015 0006 0007 0009 000A 0018 000B 000C 0019 000D 000E 000F 0010 0011 0002 0012 0004
    0005 0014 0008 0016
  dh: 0 1024
  flags: sni
  source: testssl.sh 3.2.1: Java 7u25
  date: 2013-08-23

java-8u161 | Java | 8u161 |
  protocols: TLSv1.0 TLSv1.2
  suites: C024 C028 003D C026 C02A 006B 006A C00A C014 0035 C005 C00F 0039 0038 C023 C027 003C C025 C029 0067 0040
    C009 C013 002F C004 C00E 0033 0032 C02C C02B C030 009D C02E C032 009F 00A3 C02F 009C C02D C031 009E 00A2 C008 C012
    000A C003 C00D 0016 0013 00FF
  groups: 0017 0018 0019 0009 000A 000B 000C 000D 000E 0016
  signatures: 0603 0601 0503 0501 0403 0401 0402 0203 0201 0202
  others: 0017
  dh: 0 2048
  flags: sni
  source: testssl.sh 3.2.1: Java 8u161
  date: 2025-06-16

java-8u442 | Java | 8u442 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1301 1303 C02C C02B CCA9 C030 CCA8 C02F 009F CCAA 009E C024 C028 C023 C027 006B 0067 C00A C014 C009
    C013 0039 0033 009D 009C 003D 003C 0035 002F 00FF
  groups: 001D 0017 0018 0019 001E 0100 0101 0102 0103 0104
  shares: 001D 0017
  signatures: 0403 0503 0603 0807 0808 0804 0805 0806 0809 080A 080B 0401 0501 0601 0303 0301
  others: 0005 0017 0023
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Java 8u442 (OpenJDK)
  date: 2025-06-16

java-11.0.2 | Java | 11.0.2 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1302 C02C C02B C030 009D C02E C032 009F 00A3 C02F 009C C02D C031 009E 00A2 C024 C028 003D C026 C02A
    006B 006A C00A C014 0035 C005 C00F 0039 0038 C023 C027 003C C025 C029 0067 0040 C009 C013 002F C004 C00E 0033 0032
  groups: 0017 0018 0019 0009 000A 000B 000C 000D 000E 0016 0100 0101 0102 0103 0104
  shares: 0017
  signatures: 0403 0503 0603 0804 0805 0806 0809 080A 080B 0401 0501 0601 0402 0303 0301 0302 0203 0201 0202
  others: 0005 0017 FF01
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Java 11.0.2 (OpenJDK)
  date: 2025-06-16

java-17.0.21 | Java | 17.0.21 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1301 1303 C02C C02B CCA9 C030 CCA8 C02F 009F CCAA 00A3 009E 00A2 C024 C028 C023 C027 006B 006A 0067
    0040 C00A C014 C009 C013 0039 0038 0033 0032 00FF
  groups: =java-8u442
  shares: 001D 0017
  signatures: 0403 0503 0603 0807 0808 0804 0805 0806 0809 080A 080B 0401 0501 0601 0402 0303 0301 0302
  others: 0005 0017 0023
  flags: sni
  source: recorded: OpenJDK
  date: 2026-11-28

java-21.0.6 | Java | 21.0.6 |
  protocols: TLSv1.2 TLSv1.3
  suites: =java-8u442
  groups: =java-8u442
  shares: 001D 0017
  signatures: =java-8u442
  others: 0005 0017 0023
  dh: 1024 0
  flags: sni
  source: testssl.sh 3.2.1: Java 21.0.6 (OpenJDK)
  date: 2025-06-16

openssl-0.9.8y | OpenSSL | 0.9.8y |
  protocols: SSLv3 TLSv1.0
  suites: 0039 0038 0035 0016 0013 000A 0033 0032 002F 0007 0005 0004 0015 0012 0009 0014 0011 0008 0006 0003 00FF
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 0.9.8y
  date: 2013-08-23

openssl-1.0.1l | OpenSSL | 1.0.1l |
  protocols: SSLv3 TLSv1.2
  suites: C030 C02C C028 C024 C014 C00A 00A3 009F 006B 006A 0039 0038 0088 0087 C032 C02E C02A C026 C00F C005 009D
    003D 0035 0084 C02F C02B C027 C023 C013 C009 00A2 009E 0067 0040 0033 0032 009A 0099 0045 0044 C031 C02D C029 C025
    C00E C004 009C 003C 002F 0096 0041 0007 C011 C007 C00C C002 0005 0004 C012 C008 0016 0013 C00D C003 000A 0015 0012
    0009 0014 0011 0008 0006 0003 00FF
  groups: =android-4.1.1
  signatures: 0601 0602 0603 0501 0502 0503 0401 0402 0403 0301 0302 0303 0201 0202 0203
  others: 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 1.0.1l
  date: 2025-06-16

openssl-1.0.2e | OpenSSL | 1.0.2e |
  protocols: SSLv3 TLSv1.2
  suites: C030 C02C C028 C024 C014 C00A 00A5 00A3 00A1 009F 006B 006A 0069 0068 0039 0038 0037 0036 0088 0087 0086
    0085 C032 C02E C02A C026 C00F C005 009D 003D 0035 0084 C02F C02B C027 C023 C013 C009 00A4 00A2 00A0 009E 0067 0040
    003F 003E 0033 0032 0031 0030 009A 0099 0098 0097 0045 0044 0043 0042 C031 C02D C029 C025 C00E C004 009C 003C 002F
    0096 0041 0007 C011 C007 C00C C002 0005 0004 C012 C008 0016 0013 0010 000D C00D C003 000A 0015 0012 000F 000C 0009
    00FF
  groups: 0017 0019 001C 001B 0018 001A 0016 000E 000D 000B 000C 0009 000A
  signatures: =openssl-1.0.1l
  others: 0023 0005
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 1.0.2e
  date: 2025-06-16

openssl-1.1.0l | OpenSSL | 1.1.0l |
  protocols: TLSv1.0 TLSv1.2
  suites: C02C C030 009F CCA9 CCA8 CCAA C02B C02F 009E C024 C028 006B C023 C027 0067 C00A C014 0039 C009 C013 0033
    009D 009C 003D 003C 0035 002F 00FF
  groups: 001D 0017 0019 0018
  signatures: =openssl-1.0.1l
  others: 0023 0016 0017
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 1.1.0l (Debian)
  date: 2025-06-16

openssl-1.1.1d | OpenSSL | 1.1.1d |
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1303 1301 C02C C030 009F CCA9 CCA8 CCAA C02B C02F 009E C024 C028 006B C023 C027 0067 C00A C014 0039
    C009 C013 0033 009D 009C 003D 003C 0035 002F 00FF
  groups: 001D 0017 001E 0019 0018
  shares: 001D
  signatures: 0403 0503 0603 0807 0808 0809 080A 080B 0804 0805 0806 0401 0501 0601 0303 0301 0302 0402 0502 0602
  others: 0023 0016 0017
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 1.1.1d (Debian)
  date: 2025-06-16

openssl-3.0.15 | OpenSSL | 3.0.15 |
  protocols: TLSv1.0 TLSv1.3
  suites: =openssl-1.1.1d
  groups: 001D 0017 001E 0019 0018 0100 0101 0102 0103 0104
  shares: 001D
  signatures: =openssl-1.1.1d
  others: 0023 0016 0017
  flags: sni
  source: testssl.sh 3.2.1: OpenSSL 3.0.15 (Debian)
  date: 2025-06-16

openssl-3.5.9 | OpenSSL | 3.5.9 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1303 1301 C02C C030 009F CCA9 CCA8 CCAA C02B C02F 009E C024 C028 006B C023 C027 0067 C00A C014 0039
    C009 C013 0033 009D 009C 003D 003C 0035 002F
  groups: 11EC 001D 0017 001E 0018 0019 0100 0101
  shares: 11EC 001D
  signatures: 0905 0906 0904 0403 0503 0603 0807 0808 081A 081B 081C 0809 080A 080B 0804 0805 0806 0401 0501 0601 0303
    0301 0302 0402 0502 0602
  others: FF01 0023 0016 0017
  flags: sni
  source: recorded: s_client
  date: 2026-11-28

openssl-4.0.0 | OpenSSL | 4.0.0 |
  protocols: TLSv1.2 TLSv1.3
  suites: =openssl-3.5.9
  groups: 11EC 11EB 11EE 001D 0017 001E 0018 0019 0029 0100 0101
  shares: 11EC 001D
  signatures: 0905 0906 0904 0403 0503 0603 0807 0808 081A 081B 081C 0809 080A 080B 0804 0805 0806 0401 0501 0601 0303
    0301 0302 0402 0502 0602 0708
  others: FF01 0023 0016 0017
  dh: 2048 0
  rsa: 2048 0
  flags: sni
  source: testssl.sh 3.3dev 01b7ad7c: OpenSSL 4.0.0 (git)
  date: 2026-05-18

libressl-3.3.6-macos | LibreSSL | 3.3.6 | macOS
  protocols: TLSv1.0 TLSv1.3
  suites: 1303 1302 1301 CCA9 CCA8 CCAA C030 C02C C028 C024 C014 C00A 009F 006B 0039 FF85 00C4 0088 0081 009D 003D
    0035 00C0 0084 C02F C02B C027 C023 C013 C009 009E 0067 0033 00BE 0045 009C 003C 002F 00BA 0041 C011 C007 0005 0004
    C012 C008 0016 000A 00FF
  groups: 001D 0017 0018 0019
  shares: 001D
  signatures: 0806 0601 0603 0805 0501 0503 0804 0401 0403 0201 0203
  others: 0023
  flags: sni
  source: testssl.sh 3.2.1: LibreSSL 3.3.6 (macOS)
  date: 2025-06-16

gnutls-3.8.9 | GnuTLS | 3.8.9 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1302 1303 1301 1304 C02C CCA9 C0AD C00A C02B C0AC C009 C030 CCA8 C014 C02F C013 009D C09D 0035 009C C09C
    002F 009F CCAA C09F 0039 009E C09E 0033
  groups: 0017 0018 0019 001D 001E 0100 0101 0102 0103 0104
  shares: 0017 001D
  signatures: 0401 0809 0804 0403 0807 0501 080A 0805 0503 0808 0601 080B 0806 0603 0201 0203
  others: 0017 0016 0005 0023 FF01
  flags: sni
  source: recorded: gnutls-cli
  date: 2026-11-28

nss-3.110 | NSS | 3.110 |
  protocols: TLSv1.0 TLSv1.3
  suites: 1301 1303 1302 C02B C02F CCA9 CCA8 C02C C030 C00A C009 C013 C023 C027 C014 009E CCAA 009F 0033 0032 0067
    0039 0038 006B 0016 0013 009C 009D 002F 003C 0035 003D 000A 0005 0004
  groups: 001D 0017 0018 0019 11EC 0100 0101 0102 0103 0104
  shares: 001D
  signatures: 0403 0503 0603 0203 0804 0805 0806 0401 0501 0601 0201 0402 0502 0602 0202
  others: 0017 FF01
  flags: sni
  source: recorded: tstclnt
  date: 2026-11-28

curl-8.14.1-debian-13 | curl | 8.14.1 | Debian 13
  protocols: TLSv1.2 TLSv1.3
  suites: =openssl-3.5.9
  groups: =openssl-3.5.9
  shares: 11EC 001D
  signatures: =openssl-3.5.9
  others: FF01 0016 0017
  alpn: h2 http/1.1
  flags: sni
  source: recorded: curl
  date: 2026-11-28

node-20.20.2 | Node.js | 20.20.2 |
  protocols: TLSv1.2 TLSv1.3
  suites: 1302 1303 1301 C02F C02B C030 C02C 009E C027 0067 C028 006B 00A3 009F CCA9 CCA8 CCAA C0AF C0AD C0A3 C09F
    C05D C061 C057 C053 00A2 C0AE C0AC C0A2 C09E C05C C060 C056 C052 C024 006A C023 0040 C00A C014 0039 0038 C009 C013
    0033 0032 009D C0A1 C09D C051 009C C0A0 C09C C050 003D 003C 0035 002F 00FF
  groups: =openssl-3.0.15
  shares: 001D
  signatures: =openssl-1.1.1d
  others: 0023 0016 0017
  flags: sni
  source: recorded: Node.js
  date: 2026-11-28
"""
