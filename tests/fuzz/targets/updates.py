# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What package managers print and what is in their files, whole and damaged.

Of a whole state of packages all is known beforehand, so the counts have to be right. Of a damaged one, what is counted
as known must still be: security updates that are pending are never none.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import random
import typing as t
from xml.sax.saxutils import quoteattr

from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt
from ansible_collections.kopano.hardening.plugins.module_utils._updates import dnf as _dnf
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import provenance as _provenance
from ansible_collections.kopano.hardening.plugins.module_utils._updates import repomd as _repomd
from ansible_collections.kopano.hardening.plugins.module_utils._updates import restarts as _restarts
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support_data as _support_data
from ansible_collections.kopano.hardening.plugins.module_utils._updates import zypper as _zypper
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host, Outcome, Reading, text_of
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from tests.fuzz import damage, folders, mutations
from tests.fuzz.frame import target

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
MADE = 1795590000  # seconds since the epoch: some hours before NOW
LISTS = "/var/lib/apt/lists/"


class Case(t.TypedDict):
    """What a host prints and has.

    outputs: by the program and a word of its arguments; files: by path; exact: how many security updates and updates
    there are; least: how many security updates at least. None: not known.
    """

    manager: str
    outputs: dict[str, str]
    files: dict[str, bytes]
    exact: tuple[int, int] | None
    least: int | None


class Machine(Host):
    """A host whose programs print what the case has. ROOT in it stands for the folder of its files."""

    def __init__(self, case: Case, folder: str) -> None:
        super().__init__(folder)
        self._outputs = {key: text.replace("ROOT", folder) for key, text in case["outputs"].items()}
        self._dnf = "dnf5" if case["manager"] == "dnf5" else "dnf"
        for path, data in case["files"].items():
            place = self.path(path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as handle:
                # The kernel's own files are text.
                handle.write(data.replace(b"\0", b"") if path.startswith("/proc/") else data)
            os.utime(place, (MADE, MADE))

    def find(self, program: str) -> str:
        return f"/usr/bin/{self._dnf if program == 'dnf' else program}"

    def run(self, program: str, *arguments: str, timeout: float = 60) -> Outcome:
        for key, text in self._outputs.items():
            name, word, *code = key.split(" ")
            if name == program and word in arguments:
                return Outcome(int("".join(code) or 0), text_of(text.encode("utf-8", "replace")), "")
        return Outcome(0, "", "")


def machine(case: Case) -> Machine:
    """The host of a case."""
    return Machine(case, folders.empty())


def _word(source: random.Random, *more: str) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    text = "".join(source.choice(letters) for _number in range(source.choice((1, 2, 5, 8, 40))))
    return source.choice("abcdefghijklmnop") + text + source.choice(("", "", *more))


def _packages(source: random.Random) -> list[str]:
    names = ["openssl", "libssl3", "nginx", "apache2", *(_word(source, "+", "-dev", ".5", "-1.0") for _n in range(4))]
    return sorted(set(source.sample(names, source.randint(1, 6))))


def _version(source: random.Random) -> str:
    epoch = source.choice(("", "", "1:"))
    more = source.choice(("", "~rc1", "+dfsg", ".9"))
    return f"{epoch}{source.randint(0, 30)}.{source.randint(0, 9)}{more}-{source.randint(1, 9)}"


def _changed(source: random.Random, case: Case, name: str, change: t.Callable[[random.Random, bytes], bytes]) -> None:
    if name in case["files"]:
        case["files"][name] = change(source, case["files"][name])
    else:
        case["outputs"][name] = change(source, case["outputs"][name].encode()).decode("utf-8", "replace")


def _spoiled(source: random.Random, case: Case, may_cut: t.Container[str] = ()) -> Case:
    """The case, one time in three as it is, else with one of its texts cut off or damaged. C(may_cut): the texts that
    show it when their end is missing. Of others nothing is known then."""
    kind = source.randrange(3)
    if kind:
        name = source.choice([*case["outputs"], *case["files"]])
        _changed(source, case, name, damage.cut if kind == 1 else damage.damaged)
        case["exact"] = None
        if kind != 1 or name not in may_cut:
            case["least"] = None
    return case


def _makes(make: t.Callable[[random.Random], Case]) -> t.Callable[[random.Random, t.Sequence[Case]], Case]:
    """A new case, or one that ran new code, damaged once more."""

    def again(source: random.Random, cases: t.Sequence[Case]) -> Case:
        if source.random() < 0.7:
            return make(source)
        case = copy.deepcopy(source.choice(cases))
        case["exact"] = case["least"] = None
        _changed(source, case, source.choice([*case["outputs"], *case["files"]]), damage.damaged)
        return case

    return again


def _seeds(make: t.Callable[[random.Random], t.Any], number: int = 12) -> list[t.Any]:
    return [make(random.Random(at)) for at in range(number)]


# --- apt -------------------------------------------------------------------------------------------------------------


def apt_case(source: random.Random) -> Case:
    """A Debian with its main and its security archive."""
    sources = {"bookworm": "Debian", "bookworm-security": "Debian-Security"}
    url = source.choice(("http://mirror.test/debian", "http://user:pass@mirror.test:8080/a~b/c_d", "file:/srv/[x]"))
    files: dict[str, bytes] = {}
    targets, names = [], {}
    for suite, label in sources.items():
        place = _apt._file_name(f"{url.replace('user:pass@', '')}/dists/{suite}/").split("://")[-1].replace(":", "")
        key = "main/binary-amd64/Packages"
        list_file = LISTS + place + _apt._file_name(key)
        names[suite] = f"{url} {suite}/main amd64 Packages"
        targets.append(
            f"MetaKey: {key}\nShortDesc: Packages\nDescription: {names[suite]}\nURI: {url}/dists/{suite}/{key}\n"
            f"Filename: ROOT{list_file}\nOptional: no\nArchitecture: amd64\nCreated-By: Packages\nRelease: {suite}\n"
            f"Repo-URI: {url}/\nSite: {url}\n"
        )
        release = (
            f"Origin: Debian\nLabel: {label}\nSuite: {suite}\nCodename: {suite}\nDate: Wed, 25 Nov 2026 09:00:00 UTC\n"
            f"Valid-Until: Sun, 29 Nov 2026 16:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n"
            f" {'0' * 64} 458 {key}\n"
        )
        files[LISTS + place + "InRelease"] = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{release}".encode()
        files[list_file] = b""
    status, policies, secure, pending = [], [], 0, 0
    for name in _packages(source):
        state, hold, own = source.choice(("", "", "updates", "security")), source.random() < 0.2, source.random() < 0.1
        have, newer = f"1.{_version(source)}", f"2.{_version(source)}"
        name += source.choice(("", "", "", ":i386"))
        status.append(f"{'hold' if hold else 'install'}\tok\tinstalled\t{name}\t{have}")
        candidate = newer if state and not hold else have
        lists = {"updates": ["bookworm"], "security": source.choice((["bookworm-security"], [*sources]))}.get(state, [])
        table = [f"     {newer} 500", *(f"        500 {names[one]}" for one in lists)] if state else []
        table += [f" *** {have} {100 if own else 500}"]
        table += [] if own else [f"        500 {names['bookworm']}"]
        table += ["        100 /var/lib/dpkg/status"]
        head = [f"{name}:", f"  Installed: {have}", f"  Candidate: {candidate}", "  Version table:"]
        policies.append("\n".join([*head, *table]))
        secure += state == "security"
        pending += state == "security" or (state == "updates" and not hold)
    outputs = {
        "apt-config shell": "a='ROOT/var/lib/apt/'\nb='ROOT/var/lib/dpkg/status'\nc='pkgcache.bin'\nd='amd64'\n",
        "dpkg-query --show": "\n".join(status) + "\n",
        "apt-get indextargets": "\n".join(targets),
        "apt-cache policy": "\n".join(policies) + "\n",
    }
    case: Case = {"manager": "apt", "outputs": outputs, "files": files, "exact": (secure, pending), "least": secure}
    return _spoiled(source, case, ("apt-get indextargets", "apt-cache policy", *files))


# --- dnf -------------------------------------------------------------------------------------------------------------


def repomd(source: random.Random, security: bool, seconds: int = MADE) -> bytes:
    """A repomd.xml, with a list of advisories or without."""
    kinds = ["primary", "filelists", "other", *(["updateinfo"] if security else [])]
    source.shuffle(kinds)
    parts = "".join(
        f'<data type="{kind}"><checksum type="sha256">{source.getrandbits(256):064x}</checksum>'
        f'<location href="repodata/{kind}.xml.gz"/><timestamp>{seconds}</timestamp><size>631</size></data>\n'
        for kind in kinds
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n<revision>{seconds}</revision>\n{parts}</repomd>\n'
    ).encode()


def _advisory(source: random.Random) -> str:
    return source.choice(
        ("RHSA-2026:1234", "FEDORA-2026-0123abcdef", "T-1", "OUR ADVISORY 7", "ALAS2023-2026-1", "é-1")
    )


def dnf_case(source: random.Random) -> Case:
    """A host with dnf 4 or 5 and one or two repositories, of which the first marks security updates."""
    is_five = source.random() < 0.4
    ids = ["baseos", *(["own-repo_1.x"] if source.random() < 0.5 else [])]
    cache = "/var/cache/libdnf5" if is_five else "/var/cache/dnf"
    files: dict[str, bytes] = {"/etc/dnf/dnf.conf": b"[main]\ngpgcheck=1\nskip_if_unavailable=True\n"}
    for name in ids:
        files[f"{cache}/{name}-0123456789abcdef/repodata/repomd.xml"] = repomd(source, True)
        files[f"{cache}/{name}-0123456789abcdef/repodata/0-primary.xml.zst"] = b""
        files[f"/etc/yum.repos.d/{name}.repo"] = f"[{name}]\nname={name}\nbaseurl=https://a.test/\nenabled=1\n".encode()
    rows, updates, advisories, nevras, secure = [], [], [], [], 0
    for name in _packages(source):
        arch, have, newer = source.choice(("noarch", "x86_64", "i686")), _version(source), f"4{_version(source)[-6:]}"
        rows.append(f"1795922160\t{name}\t{arch}\t{have}")
        kind = source.choice(("", "updates", "security"))
        if kind:
            first, rest = f"{name}.{arch}", f"{newer:<34} {source.choice(ids)}"
            # A name that is too long for its column has the rest in the next line.
            updates.append(f"{first}\n{'':41}{rest}" if len(first) > 40 else f"{first:<40} {rest}")
        if kind == "security":
            secure += 1
            advisory = _advisory(source)
            severity = source.choice(("Important", "Low", "Unknown"))
            advisories.append(f"{advisory:<15} {severity}/Sec. {name}-{newer}.{arch}")
            nevras.append({"name": advisory, "type": "security", "severity": "Low", "nevra": f"{name}-{newer}.{arch}"})
    listed = json.dumps(nevras, indent=2) if is_five else "\n".join(advisories) + "\n"
    outputs = {
        "dnf repolist": "repo id        repo name\n" + "".join(f"{name:<15}{name}\n" for name in ids),
        f"dnf check-update {100 if updates else 0}": "\n" + "\n".join(updates) + "\n" if updates else "",
        "rpm --query": "\n".join(rows) + "\n",
        f"dnf {'advisory' if is_five else 'updateinfo'}": listed,
    }
    manager = "dnf5" if is_five else "dnf"
    case: Case = {
        "manager": manager, "outputs": outputs, "files": files, "exact": (secure, len(updates)), "least": secure
    }  # fmt: skip
    may_cut = [path for path in files if path.endswith("repomd.xml")]
    return _spoiled(source, case, [*may_cut, *(["dnf advisory"] if is_five else [])])


# --- zypper ----------------------------------------------------------------------------------------------------------


def _stream(content: str) -> str:
    head = "<?xml version='1.0'?>\n<stream>\n<message type=\"info\">Reading installed packages...</message>\n"
    return f"{head}{content}</stream>\n"


def _update_list(entries: t.Iterable[str]) -> str:
    listed = "".join(entries)
    return _stream(f'<update-status version="0.6">\n<update-list>\n{listed}</update-list>\n</update-status>\n')


def zypper_case(source: random.Random) -> Case:
    """A SUSE host with its repository of updates."""
    alias = source.choice(("repo-update", "SLES 15:Updates/x", 'a"b&<c>'))
    flags = 'enabled="1" gpgcheck="1" repo_gpgcheck="1" pkg_gpgcheck="1"'
    repos = _stream(
        f"<repo-list>\n<repo alias={quoteattr(alias)} name='x' {flags}><url>http://a.test/</url></repo>\n</repo-list>\n"
    )
    files = {f"/var/cache/zypp/raw/{alias.replace('/', '_')}/repodata/repomd.xml": repomd(source, True)}
    everything, patches, info, secure = [], [], [], 0
    for name in _packages(source):
        kind = source.choice(("", "recommended", "security"))
        if not kind:
            continue
        arch, have, newer = source.choice(("noarch", "x86_64")), _version(source), _version(source)
        origin = f"<source url='http://a.test/' alias={quoteattr(alias)}/>"
        head = f'<update kind="package" name="{name}" edition="{newer}" arch="{arch}" edition-old="{have}">'
        everything.append(f"{head}<summary>one</summary>{origin}</update>\n")
        patch = f"{_advisory(source)}{len(patches)}"
        patches.append(
            f'<update kind="patch" name="{patch}" edition="1" arch="noarch" status="needed" category="{kind}"'
            f' severity="low">{origin}</update>\n'
        )
        if kind == "security":
            secure += 1
            info.append(
                f"Information for patch {patch}:\n----\nRepository  : {alias}\nName        : {patch}\nVersion     : 1\n"
                f"Description : \n    One.\nProvides    : patch:{patch} = 1\nConflicts   : [2]\n"
                f"    {name}.{arch} < {newer}\n    {name}-doc < {newer}\n\n\n"
            )
    outputs = {
        "zypper repos": repos,
        "zypper list-updates": _update_list(everything),
        "zypper list-patches": _update_list(patches),
        "zypper info": "Loading repository data...\n\n\n" + "".join(info),
    }
    case: Case = {
        "manager": "zypper", "outputs": outputs, "files": files, "exact": (secure, len(everything)), "least": secure
    }  # fmt: skip
    return _spoiled(source, case, [*outputs, *files])


# --- the check -------------------------------------------------------------------------------------------------------


def _read_updates(case: Case) -> None:
    """Read the updates of a case; raises AssertionError where the result says more than is known."""
    host = machine(case)
    reader: t.Any = {"apt": _apt, "zypper": _zypper}.get(case["manager"], _dnf)
    release = BOOKWORM if case["manager"] == "apt" else {"ID": "rocky", "VERSION_ID": "9.4"}
    reading: Reading = reader.read(host, release, NOW, 48, False, 0.0)
    reading = _updates_findings.complete(reading)
    found = reading.updates.returned()
    json.dumps(found)
    json.dumps(reading.metadata.returned())
    ids = {item["id"] for item in reading.findings}
    is_known = reading.updates.complete and reading.updates.security_known
    if case["exact"] is not None:
        assert is_known, (found["reason"], ids)
        assert (found["security"], found["pending"]) == case["exact"], (found, case["exact"])
    if case["least"]:
        assert found["security"] != 0, found
        assert not is_known or (found["security"] or 0) >= case["least"], (found, case["least"])
    assert found["security"] != 0 or is_known
    # What could not be found out has a finding of its own.
    assert is_known or any(item["severity"] in ("unknown", "fail", "warn") for item in reading.findings), found


@target("updates.apt", seeds=_seeds(apt_case), make=_makes(apt_case))
def read_apt(case: Case) -> None:
    _read_updates(case)


@target("updates.dnf", seeds=_seeds(dnf_case), make=_makes(dnf_case))
def read_dnf(case: Case) -> None:
    _read_updates(case)


@target("updates.zypper", seeds=_seeds(zypper_case), make=_makes(zypper_case))
def read_zypper(case: Case) -> None:
    _read_updates(case)


@target("updates.repomd", seeds=_seeds(lambda source: repomd(source, True)), make=mutations.of_data)
def read_repomd(data: bytes) -> None:
    """A repository without a problem has a date, and marks security updates only if its repomd.xml says so."""
    case: Case = {"manager": "", "outputs": {}, "files": {"/repomd.xml": data}, "exact": None, "least": None}
    found = _repomd.source("one", machine(case).root)
    assert found.problem or found.date
    assert not found.security or b"updateinfo" in data or b"&#" in data
    json.dumps(found.returned())


# --- support, restarts, automatic updates ----------------------------------------------------------------------------

_OS_RELEASES = (
    b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
    b"VERSION_CODENAME=bookworm\n",
    b'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n',
    b'NAME="Red Hat Enterprise Linux"\nVERSION_ID="9.4"\nID="rhel"\nID_LIKE="fedora"\nSUPPORT_END=2032-05-31\n',
    b'NAME="Fedora Linux"\nVERSION_ID=43\nID=fedora\nSUPPORT_END=2026-12-02\n',
    b'NAME="SLES"\nVERSION_ID="15.7"\nID="sles"\nID_LIKE="suse"\n',
    b'ID=univention-corporate-server\nVERSION_ID="5.0-4"\nID_LIKE=debian\n',
)
_DISTRO_INFO = (
    b"version,codename,series,created,release,eol,eol-lts,eol-elts\n"
    b"11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14,2026-08-31,2031-06-30\n"
    b"12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-06-10,2028-06-30,2033-06-30\n"
)
_UBUNTU_INFO = (
    b"version,codename,series,created,release,eol,eol-server,eol-esm\n"
    b"22.04 LTS,Jammy Jellyfish,jammy,2021-10-14,2022-04-21,2027-06-01,2027-06-01,2032-04-09\n"
)
_STATUS = (
    b'{"attached": true, "expires": "2027-01-01T00:00:00+00:00",'
    b' "services": [{"name": "esm-infra", "status": "enabled"}]}'
)
_SOURCES = (
    b"Types: deb\nURIs: http://deb.freexian.com/extended-lts\nSuites: bookworm-lts\nComponents: main\nEnabled: yes\n"
)
_REPO = b"[rhel-9-baseos-eus-rpms]\nname=x\nenabled=1\nbaseurl=https://a.test/\n[SLES_LTSS]\nenabled=0\n"
_FILES = {
    "/usr/share/distro-info/debian.csv": _DISTRO_INFO,
    "/usr/share/distro-info/ubuntu.csv": _UBUNTU_INFO,
    "/var/lib/ubuntu-advantage/status.json": _STATUS,
    "/etc/apt/sources.list.d/elts.sources": _SOURCES,
    "/etc/apt/sources.list": b"deb [signed-by=/a.gpg] http://deb.freexian.com/extended-lts bookworm-lts main\n",
    "/etc/yum.repos.d/a.repo": _REPO,
    "/etc/zypp/repos.d/b.repo": _REPO,
    "/etc/products.d/SLES-LTSS.prod": b"<product/>",
    "/etc/dnf/automatic.conf": b"[commands]\nupgrade_type = security\napply_updates = yes\n",
    "/etc/sysconfig/automatic_online_update": b'AOU_ENABLE_CRONJOB="true"\nAOU_PATCH_CATEGORIES="security"\n',
    "/etc/os-update.conf": b"UPDATE_CMD=security\n",
    "/var/log/unattended-upgrades/unattended-upgrades.log": b"2026-11-25 06:00:00,123 ERROR it failed\n",
    "/proc/stat": b"cpu 1 2\nbtime 1795500000\n",
    "/run/reboot-required": b"",
    "/run/reboot-required.pkgs": b"linux-image-amd64\nlibc6\n",
    "/proc/7/comm": b"nginx\n",
    "/proc/7/cgroup": b"0::/system.slice/nginx.service\n",
    "/proc/7/maps": b"55d0-55d1 r-xp 00000000 08:01 1 /usr/sbin/nginx (deleted)\n"
    b"7f00-7f01 r-xp 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libssl.so.3\n",
}
_UNITS = "".join(
    f"Id={name}\nLoadState=loaded\nActiveState=active\nLastTriggerUSec=Wed 2026-11-25 06:00:00 UTC\nResult=success\n\n"
    for name in ("apt-daily.timer", "apt-daily-upgrade.timer", "dnf-automatic.timer", "os-update.timer")
)
_OUTPUTS = {
    "systemctl show": _UNITS,
    "apt-config dump": 'APT::Periodic::Unattended-Upgrade "1";\nAPT::Periodic::Update-Package-Lists "1";\n'
    'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename},label=Debian-Security";\n'
    'Unattended-Upgrade::Package-Blacklist:: "linux-";\n',
    "needrestart -b": "NEEDRESTART-VER: 3.6\nNEEDRESTART-KSTA: 3\nNEEDRESTART-SVC: nginx.service\n",
    "dnf -r 1": "Core libraries or services have been updated:\n  * kernel\n\nReboot is required\n",
    "dnf -s": "nginx.service\nsshd.service\n",
    "zypper needs-rebooting 102": "Reboot is suggested.\n",
    "zypper ps": "nginx\nsshd\n",
    "dpkg-query --search": "nginx: /usr/sbin/nginx\nlibssl3:amd64: /usr/lib/x86_64-linux-gnu/libssl.so.3\n",
    "dpkg-query --show": "nginx\t1.22.1-9\nlibssl3\t3.0.15-1\n",
    "apt-cache policy": "nginx:\n  Installed: 1.22.1-9\n  Candidate: 1.22.1-9\n  Version table:\n *** 1.22.1-9 500\n"
    "        500 http://mirror.test/debian bookworm/main amd64 Packages\n",
    "rpm --file": "nginx\t1:1.20.1-1\tRed Hat, Inc.\n",
}


def host_case(source: random.Random) -> Case:
    """Everything about a host beside its pending updates; one to four of the texts are damaged."""
    case: Case = {
        "manager": source.choice(("apt", "dnf", "dnf5", "zypper")), "outputs": dict(_OUTPUTS),
        "files": {**_FILES, "/etc/os-release": source.choice(_OS_RELEASES)}, "exact": None, "least": None,
    }  # fmt: skip
    for name in source.sample([*case["files"], *case["outputs"]], source.randint(0, 4)):
        _changed(source, case, name, damage.damaged)
    for name in source.sample([*_FILES], source.randint(0, 3)):
        del case["files"][name]
    return case


_DATA = _support.Data(_support_data.DATES, _support_data.RELEASES)


@target("updates.host", seeds=_seeds(host_case), make=_makes(host_case))
def read_host(case: Case) -> None:
    """Support, restarts and automatic updates: a result each, with values that a module can return."""
    host = machine(case)
    for folder in ("proc/self/ns", "proc/7/ns"):
        os.makedirs(host.path(folder), exist_ok=True)
        os.symlink("pid:[1]", host.path(f"{folder}/pid"))
    release = _layout.os_release(host.root)
    support = _support.judge_host(host, release, NOW.date(), _DATA)
    assert support.level in ("full", "lts", "extended", "eol", "unknown")
    seen = _restarts.scan(host)
    restart = _restarts.judge(host, seen, _restarts.tools(host, case["manager"]), "6.1.0-9-amd64")
    reading = Reading(case["manager"])
    reader: t.Any = {"apt": _apt, "zypper": _zypper}.get(case["manager"], _dnf)
    automatic = reader.automatic(host, reading, release, NOW)
    components = _provenance.trace(host, "debian", _provenance.in_use(seen.processes), True)
    findings = [*_restarts.findings(restart), *_provenance.findings(components)]
    findings += _updates_findings.of_automatic(case["manager"], automatic)
    findings += _updates_findings.of_support(support, "x", NOW.date(), True)
    json.dumps([support.returned(), restart.returned(), automatic.returned(), findings])
    json.dumps([component.returned() for component in components])
