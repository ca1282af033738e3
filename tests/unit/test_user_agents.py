# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which simulated client a user agent stands for, and which stand for none."""

from __future__ import annotations

import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import user_agents as _user_agents


class Client(t.NamedTuple):
    id: str
    name: str
    version: str
    platform: str = ""


CLIENTS = [
    Client("android-2.3.7", "Android", "2.3.7"),
    Client("android-4.1.1", "Android", "4.1.1"),
    Client("android-4.4.2", "Android", "4.4.2"),
    Client("android-10.0", "Android", "10.0"),
    Client("android-11-12", "Android", "11/12"),
    Client("chrome-49-win-7", "Chrome", "49", "Win 7"),
    Client("chrome-49-xp-sp3", "Chrome", "49", "XP SP3"),
    Client("chrome-70-win-10", "Chrome", "70", "Win 10"),
    Client("chromium-137-win-11", "Chromium", "137", "Win 11"),
    Client("edge-13-win-10", "Edge", "13", "Win 10"),
    Client("edge-13-win-phone-10", "Edge", "13", "Win Phone 10"),
    Client("edge-15-win-10", "Edge", "15", "Win 10"),
    Client("firefox-31.3.0-esr-win-7", "Firefox", "31.3.0 ESR", "Win 7"),
    Client("firefox-100-win-10", "Firefox", "100", "Win 10"),
    Client("ie-6-xp", "IE", "6", "XP"),
    Client("ie-8-xp", "IE", "8", "XP"),
    Client("ie-8-10-win-7", "IE", "8-10", "Win 7"),
    Client("ie-10-win-phone-8.0", "IE", "10", "Win Phone 8.0"),
    Client("ie-11-win-7", "IE", "11", "Win 7"),
    Client("ie-11-win-8.1", "IE", "11", "Win 8.1"),
    Client("ie-11-win-10", "IE", "11", "Win 10"),
    Client("java-6u45", "Java", "6u45"),
    Client("java-7u25", "Java", "7u25"),
    Client("java-8u161", "Java", "8u161"),
    Client("java-11.0.2", "Java", "11.0.2"),
    Client("openssl-0.9.8y", "OpenSSL", "0.9.8y"),
    Client("openssl-1.0.1l", "OpenSSL", "1.0.1l"),
    Client("openssl-1.0.2e", "OpenSSL", "1.0.2e"),
    Client("outlook-2010-win-7", "Outlook", "2010", "Win 7"),
    Client("outlook-2016-win-10", "Outlook", "2016", "Win 10"),
    Client("safari-5-ios-5.1.1", "Safari", "5", "iOS 5.1.1"),
    Client("safari-6-ios-6.0.1", "Safari", "6", "iOS 6.0.1"),
    Client("safari-7-ios-7.1", "Safari", "7", "iOS 7.1"),
    Client("safari-8-ios-8.4", "Safari", "8", "iOS 8.4"),
    Client("safari-9-ios-9", "Safari", "9", "iOS 9"),
    Client("safari-10-ios-10", "Safari", "10", "iOS 10"),
    Client("safari-12.1-ios-12.2", "Safari", "12.1", "iOS 12.2"),
    Client("safari-18.4-ios-18.4", "Safari", "18.4", "iOS 18.4"),
    Client("safari-26-ios-26", "Safari", "26", "iOS 26"),
    Client("safari-7-os-x-10.9", "Safari", "7", "OS X 10.9"),
    Client("safari-10-os-x-10.12", "Safari", "10", "OS X 10.12"),
    Client("safari-13.0-macos-10.14.6", "Safari", "13.0", "macOS 10.14.6"),
    Client("safari-15.4-macos-12.3.1", "Safari", "15.4", "macOS 12.3.1"),
    Client("thunderbird-60", "Thunderbird", "60"),
    Client("thunderbird-68.3", "Thunderbird", "68.3"),
]

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%s Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X %s) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/%s Safari/605.1.15"

KNOWN = [
    # ActiveSync, calendars and contacts
    ("Apple-iPhone7C2/1402.100", "safari-10-ios-10"),
    ("Apple-iPhone6C2/1403.92", "safari-10-ios-10"),
    ("Apple-iPad5C3/1208.143", "safari-8-ios-8.4"),
    ("Apple-iPad5C3/1206.69", "safari-7-ios-7.1"),  # 8.3
    ("Apple-iPhone5C2/1101.465", "safari-6-ios-6.0.1"),  # 7.0
    ("Apple-iPod4C1/1002.329", "safari-6-ios-6.0.1"),
    ("Apple-iPhone14C2/2011.300", "safari-12.1-ios-12.2"),  # 16, and the next known one is 18.4
    ("Apple-iPhone16C1/2301.341", "safari-26-ios-26"),
    ("iOS/11.2.6 (15D100) dataaccessd/1.0", "safari-10-ios-10"),
    ("iOS/26.1 (23B85) accountsd/113", "safari-26-ios-26"),
    ("macOS/10.14.6 (18G103) CalendarAgent/416.1", "safari-13.0-macos-10.14.6"),
    ("Mac+OS+X/10.10.5 (14F27) CalendarAgent/316.1", "safari-7-os-x-10.9"),
    ("Mac_OS_X/10.9 (13A603) CalendarAgent/174", "safari-7-os-x-10.9"),
    ("CalendarStore/5.0 (1127); iCal/5.0 (1535); Mac OS X/10.13.1 (17B48)", "safari-10-os-x-10.12"),
    ("Android/4.1.2-EAS-2.0", "android-4.1.1"),
    ("Android/4.4.4-EAS-2.0", "android-4.4.2"),
    ("Android/12-EAS-2.0", "android-11-12"),
    # Outlook
    ("Microsoft Office/14.0 (Windows NT 6.1; Microsoft Outlook 14.0.7113; Pro)", "outlook-2010-win-7"),
    ("Microsoft Office/15.0 (Windows NT 6.1; Microsoft Outlook 15.0.4420; Pro)", "outlook-2010-win-7"),
    ("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro)", "outlook-2016-win-10"),
    # browsers
    ("Mozilla/5.0 (Windows NT 6.1; WOW64; rv:52.0) Gecko/20100101 Firefox/52.0", "firefox-31.3.0-esr-win-7"),
    ("Mozilla/5.0 (Windows NT 6.1; rv:31.0) Gecko/20100101 Firefox/31.3.0", "firefox-31.3.0-esr-win-7"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "firefox-100-win-10"),
    ("Mozilla/5.0 (Windows NT 5.1) " + CHROME % "49.0.2623.112", "chrome-49-xp-sp3"),
    ("Mozilla/5.0 (Windows NT 6.1) " + CHROME % "49.0.2623.112", "chrome-49-win-7"),
    ("Mozilla/5.0 (Linux; Android 10; K) " + CHROME % "120.0.0.0 Mobile", "chrome-70-win-10"),
    ("Mozilla/5.0 (X11; Linux x86_64) " + CHROME % "138.0.0.0", "chromium-137-win-11"),
    ("Mozilla/5.0 (X11; Linux x86_64) " + CHROME % "78.0.3904.130 Electron/7.1.2", "chrome-70-win-10"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + CHROME % "52.0.2743.116" + " Edge/16.16299", "edge-15-win-10"),
    (
        "Mozilla/5.0 (Windows Phone 10.0; Android 4.2.1) " + CHROME % "46 Mobile" + " Edge/13.10586",
        "edge-13-win-phone-10",
    ),
    ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", "ie-6-xp"),
    ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1)", "ie-6-xp"),
    ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0)", "ie-8-xp"),
    ("Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)", "ie-8-10-win-7"),
    ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; WOW64; Trident/7.0; SLCC2)", "ie-11-win-7"),
    ("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "ie-11-win-7"),
    ("Mozilla/5.0 (Windows NT 6.3; WOW64; Trident/7.0; .NET4.0E; rv:11.0) like Gecko", "ie-11-win-8.1"),
    ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "ie-11-win-10"),
    ("Mozilla/5.0 (compatible; MSIE 10.0; Windows Phone 8.0; Trident/6.0; IEMobile/10.0; ARM)", "ie-10-win-phone-8.0"),
    (IPHONE % "10_1_1" + "Version/10.0 Mobile/14B100 Safari/602.1", "safari-10-ios-10"),
    (IPHONE % "10_2_1" + "CriOS/66.0.3359.122 Mobile/14D27 Safari/602.1", "safari-10-ios-10"),
    (IPHONE % "9_3" + "FxiOS/5.0 Mobile/13E233 Safari/601.1", "safari-9-ios-9"),
    (IPHONE % "18_6" + "Version/18.6 Mobile/15E148 Safari/604.1", "safari-18.4-ios-18.4"),
    (IPHONE % "18_6" + "Version/26.0 Mobile/15E148 Safari/604.1", "safari-26-ios-26"),
    (MAC % ("10_9_5", "7.0.6"), "safari-7-os-x-10.9"),
    (MAC % ("10_14_6", "13.1.2"), "safari-13.0-macos-10.14.6"),
    (MAC % ("10_15_7", "13.1.2"), "safari-13.0-macos-10.14.6"),
    (MAC % ("10_15_7", "17.2"), "safari-15.4-macos-12.3.1"),
    (
        "Mozilla/5.0 (Linux; U; Android 2.3.7; en-us; X) AppleWebKit/533.1 (KHTML, like Gecko) Version/4.0 Mobile",
        "android-2.3.7",
    ),
    # other programs
    ("Mozilla/5.0 (Windows NT 6.1; rv:68.0) Gecko/20100101 Thunderbird/78.1 Lightning/78.1", "thunderbird-68.3"),
    ("Java/1.7.0_80", "java-7u25"),
    ("Java/1.8.0_161", "java-8u161"),
    ("Java/17.0.3", "java-11.0.2"),
    ("curl/7.21.0 (x86_64-pc-linux-gnu) libcurl/7.21.0 OpenSSL/1.0.0 zlib/1.2.3.4 libidn/1.23", "openssl-0.9.8y"),
    ("curl/7.29.0 (x86_64) libcurl/7.29.0 OpenSSL/1.0.2a zlib/1.2.7", "openssl-1.0.1l"),
]

UNKNOWN = [
    "",
    "-",
    "Outlook-iOS-Android/1.0",
    "Outlook-iOS/709.2189947.prod.iphone (3.24.0)",
    "Outlook/15.0 (15.0.4701.1000; MSI; x86)",
    "SAMSUNG-SM-G930F/101.700",
    "SAMSUNG-GT-I9060/101.40202",
    "Android-Mail/2024.05.26.636986838.Release",
    "Android/1.6-EAS-2.0",
    "TouchDown(MSRPC)/8.5.0087",
    "Nine-abcdef/4.9.4b",
    "DAVx5/4.3.1-ose (2023/03/05; dav4jvm; okhttp/4.10.0) Android/13",
    "okhttp/4.10.0",
    "Evolution/3.46.4",
    "curl/7.64.0",
    "curl/7.64.0 (x86_64) libcurl/7.64.0 Schannel (OpenSSL/1.1.1) zlib/1.2.11",
    "Microsoft-WebDAV-MiniRedir/10.0.19045",
    "MSFT-WP/8.10.14219",
    "Z-Push-AutoDiscover/2.6",
    "Microsoft Office/14.0 (Windows NT 6.2; Microsoft Outlook 14.0.7113; Pro)",
    "Microsoft Office/99.0 (Windows NT 6.1; Microsoft Outlook 99.0.1; Pro)",
    "Apple-iPhone/701.341",
    # newer than what is known of the versions before, which speak an older TLS
    "Android/5.0.2-EAS-2.0",
    "Java/1.8.0_111",
    "Java/1.8.0_442",
    "Java/9.0.4",
    "curl/7.22.0 (x86_64-pc-linux-gnu) libcurl/7.22.0 OpenSSL/1.0.1 zlib/1.2.3.4 libidn/1.23",
    "Mozilla/5.0 (Windows NT 6.1; rv:66.0) Gecko/20100101 Firefox/66.0",
    "Mozilla/5.0 (Windows NT 6.1; rv:68.0) Gecko/20100101 Thunderbird/68.1 Lightning/68.1",
    "Apple-iPhone99C9/9901.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 6.1; rv:10.0) Gecko/20100101 Firefox/10.0.12",
    "Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101 Firefox/60.0 SeaMonkey/2.53.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + CHROME % "120.0.0.0" + " Edg/120.0.0.0",  # not Edge 15's stack
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.15",
    "AppName/1 CFNetwork/978.0.7 Darwin/18.7.0",
    "python-requests/2.31.0",
]  # fmt: skip


def found(text: str) -> str | None:
    client = _user_agents.client_of(text, CLIENTS)
    return client.id if client else None


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_known(text: str, expected: str) -> None:
    assert found(text) == expected


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown(text: str) -> None:
    assert found(text) is None


def test_an_edge_of_chromium_is_one_where_it_is_known() -> None:
    edge = Client("edge-101-win-10", "Edge", "101", "Win 10 21H2")
    text = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + CHROME % "133.0.0.0" + " Edg/133.0.0.0"
    assert _user_agents.client_of(text, [*CLIENTS, edge]) == edge
    legacy = "Mozilla/5.0 (Windows NT 10.0) " + CHROME % "64.0" + " Edge/18.17763"
    assert _user_agents.client_of(legacy, [edge]) is None


@pytest.mark.parametrize("order", [CLIENTS, CLIENTS[::-1]], ids=["as listed", "reversed"])
def test_the_order_of_the_clients_does_not_matter(order: list[Client]) -> None:
    for text, expected in KNOWN:
        client = _user_agents.client_of(text, order)
        assert client and client.id == expected, text


def test_without_clients_there_is_none() -> None:
    assert _user_agents.client_of(KNOWN[0][0], []) is None


def test_every_build_is_one_of_a_version() -> None:
    """Each letter stands for a version at least as new as the one before."""
    versions = [
        _user_agents._version(entry[1:]) for entries in _user_agents._BUILDS.values() for entry in entries.split()
    ]
    assert versions == sorted(versions)
    letters = [[entry[0] for entry in entries.split()] for entries in _user_agents._BUILDS.values()]
    assert all(line == sorted(line) for line in letters)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("8u31", "8u161"),
        ("7u80", "8u31"),
        ("8u442", "11.0.2"),
        ("1.0.1h", "1.0.1l"),
        ("1.0.1", "1.0.1a"),
        ("9", "10.1"),
    ],
)
def test_versions_are_compared_as_numbers(older: str, newer: str) -> None:
    assert _user_agents._version(older) < _user_agents._version(newer)


def test_a_zero_at_the_end_makes_no_difference() -> None:
    assert _user_agents._version("7") == _user_agents._version("7.0") == _user_agents._version("7.0.0")


@given(st.text())
def test_any_text(text: str) -> None:
    _user_agents.client_of(text, CLIENTS)


PIECES = [
    *(text for text, _id in KNOWN),
    *UNKNOWN,
    "(iPhone",
    " OS 9_9",
    "Windows NT 6.1;",
    "Version/",
    "9" * 50,
    " ",
    ";",
    "(",
]


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 80)), max_size=8))
def test_any_mixture(parts: list[tuple[str, int]]) -> None:
    _user_agents.client_of("".join(text[cut:] for text, cut in parts), CLIENTS)


@pytest.mark.parametrize(
    "piece", ["(iPhone", "(iPhone Version/26 ", "(Macintosh; OS X 10_15_7", "Windows NT 6.1;", "Android 1 "]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.process_time()
    _user_agents.client_of(piece * 100000, CLIENTS)
    assert time.process_time() - started < 0.5
