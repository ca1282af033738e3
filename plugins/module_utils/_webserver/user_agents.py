# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""From the text of a User-Agent header to the simulated client with the same TLS stack, or to None.

What counts is the TLS stack, not the app: every browser on an iPhone is C(Safari) there, and Kopano's DeskApp is the
C(Chrome) inside it. An agent that names an app and not its stack is unknown, as are TouchDown, Nine, Evolution,
DAVx5 (which has a TLS library of its own), curl without its libraries, C(Outlook-iOS) (a service of Microsoft's),
C(Android-Mail) and Z-Push's AutoDiscover. So is C(SAMSUNG-SM-…/101.…): no document says what its number means.
"""

from __future__ import annotations

import re
import typing as t

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Client(t.Protocol):  # novm
        """A simulated client, named as SSL Labs names it, such as C(ie-11-win-7), C(IE), C(11), C(Win 7)."""

        @property
        def id(self) -> str: ...
        @property
        def name(self) -> str: ...
        @property
        def version(self) -> str: ...
        @property
        def platform(self) -> str: ...


Version = t.Tuple[int, ...]

LENGTH_MAX = 512  # characters of an agent that are read


class Agent(t.NamedTuple):
    """What an agent says of its TLS stack, named as SSL Labs names it; version and platform are '' if not known."""

    name: str
    version: str = ""
    platform: str = ""


class _Rule(t.NamedTuple):
    """An agent that matches has this name, and version and platform from the match (as in re.Match.expand())."""

    pattern: t.Pattern[str]
    name: str
    version: str = ""
    platform: str = ""


def _rule(pattern: str, name: str = "", version: str = r"\1", platform: str = "") -> _Rule:
    return _Rule(re.compile(pattern), name, version, platform)


# The first rule that matches counts; one without a name means that the stack is not known. Clients write what they
# like, so a repeated part that others follow ends at a character that it cannot have: no agent takes long.
_RULES = (
    # Crawlers name their page, and a browser that they are not.
    _rule(r"\+https?://"),
    # Forks of Firefox, which name a Firefox beside themselves.
    _rule(r"SeaMonkey/|PaleMoon/|Goanna/|Waterfox/|like Firefox/"),
    # Calendars, contacts and ActiveSync of Apple's systems use the system's stack, as Safari does. Formats: an iPhone's
    # requests in Apple's developer forum (thread 99522), the agents in Tine's converter for macOS, and "Identify
    # operating system versions" in Apple's Platform Deployment.
    _rule(r"^iOS/([0-9.]+) \(", "Safari", "", r"iOS \1"),
    _rule(r"(?:^|; )(?:macOS|Mac[ _+]OS[ _+]X)/([0-9.]+)", "Safari", "", r"OS X \1"),
    _rule(r"^Apple-i(?:Phone|Pad|Pod)[0-9C]*/([0-9]{1,2})([0-9]{2})\.", "Safari", "", r"build \1 \2"),
    # Android's own app: EasSyncService.java of the Android Open Source Project.
    _rule(r"^Android/([0-9.]+)-EAS", "Android"),
    # Outlook on Windows, by MAPI over HTTP, EWS or AutoDiscover; it uses the system's Schannel. Formats: the list in
    # KDE's akonadi-ews.
    _rule(r"^Microsoft Office/[0-9.]+ \(Windows NT ([0-9.]+); .*Outlook ([0-9]+)\.", "Outlook", r"office \2", r"NT \1"),
    # "Understanding user-agent strings" (Microsoft) has Trident's and Windows' versions. In compatibility view MSIE is
    # not the version, but Trident is. Windows Phone names an Android and an iPhone, too.
    _rule(r"Windows Phone(?: OS)? ([0-9.]+);.*Trident/([0-9]+)", "IE", r"trident \2", r"Win Phone \1"),
    _rule(r"Edge/([0-9.]+)", "Edge"),
    _rule(r"Windows NT ([0-9.]+);.*Trident/([0-9]+)", "IE", r"trident \2", r"NT \1"),
    _rule(r"\(compatible; MSIE ([0-9]+)[0-9.a-z]*; Windows NT ([0-9.]+)(?!.*Opera)", "IE", r"\1", r"NT \2"),
    # Every browser on iOS uses WebKit (App Store Review Guidelines, 2.5.6). From Safari 26 on the system's version
    # stays 18.6 or 18.7, and Safari's is the system's (N. Leenheer, "The user-agent string of Safari on iOS 26").
    _rule(r"\((?:iPhone|iPad|iPod).* Version/((?:2[6-9]|[3-9][0-9])[0-9.]*) ", "Safari", "", r"iOS \1"),
    _rule(r"\((?:iPhone|iPad|iPod)[^()]* OS ([0-9_]+) like Mac OS X", "Safari", "", r"iOS \1"),
    # Browsers and mail programs with a stack of their own. Chromium is also in Opera 15, Electron, Samsung's browser.
    _rule(r"Thunderbird/([0-9.]+)", "Thunderbird"),
    _rule(r"Firefox/([0-9.]+)", "Firefox"),
    _rule(r"EdgA?/([0-9.]+)", "Edge"),
    _rule(r"Chrom(?:e|ium)/([0-9.]+)", "Chrome"),
    # What is left on Android is the browser of Android 4 and before.
    _rule(r"Android ([0-9.]+)(?![0-9.]).*AppleWebKit/", "Android"),
    # Since Safari 14 the system's version stays 10.15.7, and says nothing.
    _rule(
        r"\(Macintosh;[^()]* OS X 10_15_7[;)].* Version/((?:1[4-9]|[2-9][0-9])[0-9.]*)(?: .*)? Safari/",
        *("Safari", r"\1", "OS X"),
    ),
    _rule(r"\(Macintosh;[^()]* OS X ([0-9_.]+)[;)].* Version/([0-9.]+)(?: .*)? Safari/", "Safari", r"\2", r"OS X \1"),
    # "Java/" and the property java.version, by HttpURLConnection: before Java 9 (JEP 223) 1.8.0_161 is 8u161.
    _rule(r"^Java/1\.([0-9]+)\.[0-9](?:_([0-9]+))?", "Java", r"\1u\2"),
    _rule(r"^Java/([0-9.]+)", "Java"),
    # Programs that name their library, as curl did by default; one in brackets is not in use.
    _rule(r"(?:^| )OpenSSL/([0-9.]+[a-z]?)", "OpenSSL"),
    _rule(r"(?:^| )GnuTLS/([0-9.]+)", "GnuTLS"),
)  # fmt: skip

# Builds of iOS and the first version of each, such as 12H for 8.4 (lists of the cfw.guide project); from 20 on only the
# major version. In ActiveSync a letter is its place in the alphabet: 12H143 is 1208.143.
_BUILDS = {
    9: "A5.0 B5.1",
    10: "A6.0 B6.1",
    11: "A7.0 B7.0.3 D7.1",
    12: "A8.0 B8.1 D8.2 F8.3 H8.4",
    13: "A9.0 B9.1 C9.2 D9.2.1 E9.3 F9.3.2 G9.3.3",
    14: "A10.0 B10.1 C10.2 D10.2.1 E10.3 F10.3.2 G10.3.3",
    15: "A11.0 B11.1 C11.2 D11.2.5 E11.3 F11.4 G11.4.1",
    16: "A12.0 B12.1 C12.1.1 D12.1.3 E12.2 F12.3 G12.4 H12.4.9",
    17: "A13.0 B13.2 C13.3 D13.3.1 E13.4 F13.5 G13.6 H13.7",
    18: "A14.0 B14.2 C14.3 D14.4 E14.5 F14.6 G14.7 H14.8",
    19: "A15.0 B15.1",
    20: "A16.0",
    21: "A17.0",
    22: "A18.0",
    23: "A26.0",
}
_ON_WINDOWS = re.compile(r"Windows (?:Phone ([0-9.]+)|NT ([0-9.]+))")
_WINDOWS = {"5.1": "XP", "6.0": "Vista", "6.1": "Win 7", "6.2": "Win 8", "6.3": "Win 8.1", "10.0": "Win 10"}
_OFFICE = {"12": "2007", "14": "2010", "15": "2013", "16": "2016"}
_TRIDENT = {"4": "8", "5": "9", "6": "10", "7": "11"}

_SAME_NAMES = {"Chromium": "Chrome", "macOS": "OS X", "iPadOS": "iOS"}
# Whose stack is the system's: the system has to be the same. A Windows has to be this one, as there an app's version
# says nothing; an Apple system may be an older one.
_OF_THE_SYSTEM = ("Safari", "IE", "Outlook")
# Versions from which on a program speaks a newer TLS by default, or has another stack: what is known of an older one
# says nothing about these. Sources: Android's reference of SSLSocket; release notes of Chrome, Firefox (Thunderbird has
# the same versions), Edge 79, IE 11 and JDK 8; JEP 332, and ops.java about the default version; OpenSSL's CHANGES;
# Apple's TN2287 and "TLS security" in its Platform Security.
_GENERATIONS: dict[str, tuple[Version, ...]] = {
    "Android": ((5,), (10,)),
    "Chrome": ((30,), (70,)),
    "Edge": ((79,),),
    "Firefox": ((27,), (63,)),
    "Thunderbird": ((27,), (63,)),
    "IE": ((11,),),
    "Java": ((8,), (8, 341), (9,), (11,)),
    "OpenSSL": ((1, 0, 1), (1, 1, 1)),
    "iOS": ((5,), (12, 2)),
}


def client_of(text: str, clients: t.Sequence[Client]) -> Client | None:
    """The newest known client of the same name that is not newer than the agent, or None."""
    agent = parse(text)
    if agent is None:
        return None
    return max((c for c in clients if _may_be(agent, c)), key=lambda client: _order(agent, client), default=None)


def parse(text: str) -> Agent | None:
    """What a User-Agent header says of the TLS stack; None if that is nothing."""
    text = text[:LENGTH_MAX]
    for rule in _RULES:
        found = rule.pattern.search(text)
        if found:
            break
    else:
        return None
    if not rule.name:
        return None
    version, platform = (_named(found.expand(template)) for template in (rule.version, rule.platform))
    if version is None or platform is None:
        return None
    return Agent(rule.name, version, platform or _windows(text))


def _windows(text: str) -> str:
    """The Windows that a program with a stack of its own runs on; '' for another system."""
    found = _ON_WINDOWS.search(text)
    if not found:
        return ""
    return "Win Phone " + found[1] if found[1] else _WINDOWS.get(found[2], "")


def _named(text: str) -> str | None:
    """A version or a platform as SSL Labs names it; None for one that is not known."""
    kind, _space, value = text.partition(" ")
    if kind in ("NT", "office", "trident"):
        return {"NT": _WINDOWS, "office": _OFFICE, "trident": _TRIDENT}[kind].get(value)
    if kind == "build":
        return _of_build(*map(int, value.split()))
    return text.replace("_", ".")


def _of_build(major: int, letter: int) -> str | None:
    """The version of iOS that a build is at least."""
    found = [entry[1:] for entry in _BUILDS.get(major, "").split() if ord(entry[0]) - ord("A") < letter]
    return "iOS " + found[-1] if found else None


def _may_be(agent: Agent, client: Client) -> bool:
    """Whether a client has an agent's stack, in the same or an older version."""
    if _SAME_NAMES.get(client.name, client.name) != agent.name:
        return False
    if agent.version and not _reaches(agent.name, _version(client.version), _version(agent.version)):
        return False
    if agent.name not in _OF_THE_SYSTEM:
        return True
    (system, seen), (known, version) = _system(agent.platform), _system(client.platform)
    if agent.name == "Safari":
        return system == known and (not seen or _reaches(system, version, seen))
    return system == known and version == seen


def _reaches(name: str, known: Version, seen: Version) -> bool:
    """Whether what is known of a version holds for one that is seen."""
    return known <= seen and not any(known < first <= seen for first in _GENERATIONS.get(name, ()))


def _order(agent: Agent, client: Client) -> tuple[Version, Version, bool]:
    """The greatest one is the client to take; of several with the same version, the one on the agent's own system."""
    platform = _system(client.platform)
    by_system = platform[1] if agent.name in _OF_THE_SYSTEM and not agent.version else ()
    return by_system, _version(client.version), platform == _system(agent.platform)


def _version(text: str) -> Version:
    """A version to compare: C(8u161) as 8, 161, C(1.0.1l) as 1, 0, 1, 12, C(7.0) as 7, without a number ()."""
    found = re.match(r"([0-9]+(?:[._u][0-9]+)*)([a-z]?)", text)
    if not found:
        return ()
    numbers = [int(number) for number in re.split("[._u]", found[1])]
    if found[2]:
        return (*numbers, ord(found[2]) - ord("a") + 1)
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _system(platform: str) -> tuple[str, Version]:
    """A platform as its name and version: C(Win Phone 8.1), C(iOS 8.4), C(XP SP3), C(macOS 10.14.6)."""
    # At the first number of its own.
    name, version = [*re.split(" (?=[0-9])", platform, maxsplit=1), ""][:2]
    name = "XP" if name.startswith("XP") else name
    return _SAME_NAMES.get(name, name), _version(version)
