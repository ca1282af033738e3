# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private roots for the real package managers, with repositories of their own. The machine's are left alone."""

from __future__ import annotations

import datetime
import email.utils
import glob
import gzip
import hashlib
import os
import shutil
import subprocess

from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import Host

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
BOOKWORM = {"ID": "debian", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
HOUR = datetime.timedelta(hours=1)


def ago(hours):
    return NOW - hours * HOUR


def missing(*programs):
    """The first of the programs that this machine lacks."""
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    return next((program for program in programs if not shutil.which(program, path=path)), None)


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Signer:
    """A key to sign repositories with, in a keyring of its own."""

    def __init__(self, folder):
        folder.mkdir(mode=0o700)
        self.environment = {**os.environ, "GNUPGHOME": str(folder)}
        self.key = folder / "key.asc"
        words = [
            "--batch",
            "--passphrase",
            "",
            "--quick-generate-key",
            "archive@kopano.test",
            "ed25519",
            "sign",
            "never",
        ]
        self._gpg(*words)
        self.key.write_text(self._gpg("--armor", "--export"))

    def _gpg(self, *words):
        return run("gpg", "--quiet", *words, env=self.environment)

    def sign(self, text, signed):
        text_file = signed.with_name("text")
        text_file.write_text(text)
        self._gpg("--batch", "--yes", "--clearsign", "--output", str(signed), str(text_file))
        text_file.unlink()

    def close(self):
        run("gpgconf", "--kill", "all", env=self.environment)


_APT_FOLDERS = (
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/apt/periodic",
    "var/lib/dpkg/updates",
)


class AptBed:
    """An apt with a root of its own: its repositories, sources, lists and dpkg's status."""

    def __init__(self, folder, signer):
        self.folder = folder
        self.signer = signer
        self.root = folder / "root"
        for name in _APT_FOLDERS:
            (self.root / name).mkdir(parents=True)
        self.admin = self.root / "var/lib/dpkg"
        self.status = self.admin / "status"
        self.lists = self.root / "var/lib/apt/lists"
        self.config = folder / "apt.conf"
        self.config.write_text(
            f"""
            Dir "{self.root}";
            Dir::State::status "{self.status}";
            Dir::Etc::parts "{self.root}/etc/apt/apt.conf.d";
            Dir::Log "{folder}";
            APT::Architecture "amd64";
            APT::Architectures {{ "amd64"; "i386"; }};
            APT::Sandbox::User "root";
            Acquire::Retries "0";
            Acquire::Check-Date "false";
            Acquire::Check-Valid-Until "false";
            Acquire::Languages "none";
            """
        )
        self.host = Host(
            root=str(self.root),
            options={name: [f"--admindir={self.admin}"] for name in ("dpkg-query", "dpkg")},
            environment={"APT_CONFIG": str(self.config), "PATH": os.environ["PATH"]},
        )
        self._sources = []

    def repository(self, name, packages, *, suite, label="Debian", codename="bookworm", date=None, until=None,
                   signed=True, url=None, options="", component="main", percentage=None):  # fmt: skip
        """Make a repository with these packages, as name to version, and name it in the sources.

        percentage: the share of all hosts that gets its packages.
        """
        place = self.folder / name / "dists" / suite
        paragraphs = []
        for package, version in packages.items():
            package, _colon, architecture = package.partition(":")
            paragraphs.append(
                f"Package: {package}\nVersion: {version}\nArchitecture: {architecture or 'all'}\n"
                f"Maintainer: A <a@kopano.test>\nFilename: {package}.deb\nSize: 1\nSHA256: {'0' * 64}\n"
                f"Multi-Arch: {'same' if architecture else 'foreign'}\n"
                + (f"Phased-Update-Percentage: {percentage}\n" if percentage is not None else "")
                + "Description: one of the tests\n"
            )
        release = [f"Origin: Debian\nLabel: {label}\nSuite: {suite}\nCodename: {codename}"]
        if date:
            release.append(f"Date: {email.utils.format_datetime(date.replace(tzinfo=None))[:-6]} UTC")
        if until:
            release.append(f"Valid-Until: {email.utils.format_datetime(until.replace(tzinfo=None))[:-6]} UTC")
        release.append(f"Architectures: amd64 i386\nComponents: {component}\nSHA256:")
        for architecture in ("amd64", "i386"):
            folder = place / component / f"binary-{architecture}"
            folder.mkdir(parents=True, exist_ok=True)
            own = [
                text for text in paragraphs if "Architecture: all" in text or f"Architecture: {architecture}\n" in text
            ]
            data = "\n".join(own).encode()
            for file, content in (("Packages", data), ("Packages.gz", gzip.compress(data))):
                (folder / file).write_bytes(content)
                digest = hashlib.sha256(content).hexdigest()
                release.append(f" {digest} {len(content)} {component}/binary-{architecture}/{file}")
        text = "\n".join(release) + "\n"
        if signed:
            self.signer.sign(text, place / "InRelease")
        else:
            (place / "Release").write_text(text)
        trust = f"signed-by={self.signer.key}" if signed else "trusted=yes"
        self.source(url or f"file:{self.folder / name}", suite, options or trust, component)

    def source(self, url, suite, options="trusted=yes", component="main"):
        line = f"deb [{options}] {url} {suite} {component}\n"
        if line not in self._sources:
            self._sources.append(line)
        (self.root / "etc/apt/sources.list").write_text("".join(self._sources))

    def install(self, packages, status="install ok installed"):
        """Have dpkg think that these are installed, as name to version."""
        with self.status.open("a") as file:
            for package, version in packages.items():
                package, _colon, architecture = package.partition(":")
                file.write(
                    f"Package: {package}\nStatus: {status}\nMaintainer: A <a@kopano.test>\n"
                    f"Architecture: {architecture or 'all'}\n"
                    f"{'Multi-Arch: same' if architecture else 'Multi-Arch: foreign'}\n"
                    f"Version: {version}\nDescription: one of the tests\n\n"
                )

    def dpkg(self, *words, **more):
        return run("dpkg", f"--admindir={self.admin}", *words, **more)

    def hold(self, name):
        self.dpkg("--set-selections", input=f"{name} hold\n")

    def apt(self, *words):
        """What apt itself says."""
        return run(*words, env=self.host.environment)

    def update(self):
        self.apt("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")

    def upgraded(self, *options):
        """What apt itself would upgrade, as name to version."""
        lines = [line.split() for line in self.apt("apt-get", "-s", *options, "dist-upgrade").splitlines()]
        return {words[1]: words[3].lstrip("(") for words in lines if words[0] == "Inst"}


_SPEC = """\
Name: %{name_}
Version: %{version_}
Release: %{release_}
Summary: one of the tests
License: none
Vendor: %{vendor_}
BuildArch: noarch
%description
One of the tests.
%files
"""
_ADVISORY = """\
<update from="security@kopano.test" status="stable" type="{kind}" version="1">
<id>{name}</id><title>{name}</title><severity>Important</severity><issued date="2026-11-20 00:00:00"/>
<description>One of the tests.</description><references/>
<pkglist><collection short="t"><name>t</name>{module}{packages}</collection></pkglist></update>
"""
_ADVISED_STREAM = '<module name="{}" stream="{}" version="1" context="1" arch="noarch"/>'
_MODULE = """\
---
document: modulemd
version: 2
data:
  name: {0}
  stream: "{1}"
  version: 1
  context: "1"
  arch: noarch
  summary: one of the tests
  description: One of the tests.
  license: {{module: [MIT]}}
  artifacts: {{rpms: [{2}]}}
...
"""
_ADVISED = """\
<package name="{0}" version="{1}" release="{2}" epoch="0" arch="noarch" src="{0}-{1}-{2}.src.rpm">
<filename>{0}-{1}-{2}.noarch.rpm</filename></package>
"""


class Rpms:
    """Packages in the format of rpm, made once each."""

    def __init__(self, folder):
        self.folder = folder
        self.spec = folder / "one.spec"
        self.spec.write_text(_SPEC)

    def path(self, package):
        """The file of a package, given as NAME-VERSION-RELEASE; a release of other is another vendor's."""
        name, version, release = package.rsplit("-", 2)
        path = self.folder / "noarch" / f"{package}.noarch.rpm"
        if not path.exists():
            defines = {"name_": name, "version_": version, "release_": release,
                       "vendor_": "Other" if release.endswith("other") else "Kopano",
                       "_topdir": self.folder / "top", "_rpmdir": self.folder,
                       "_dbpath": self.folder / "db"}  # fmt: skip
            words = [word for key, value in defines.items() for word in ("--define", f"{key} {value}")]
            run("rpmbuild", "-bb", "--quiet", *words, str(self.spec))
        return path

    def repository(self, *packages):
        """The folder of a repository of these packages, made once, to be copied."""
        place = self.folder / "repositories" / "+".join(("of", *packages))
        if not place.exists():
            place.mkdir(parents=True)
            for package in packages:
                shutil.copy(self.path(package), place)
            run("createrepo_c", "--quiet", str(place))
        return place

    def install(self, root, *packages):
        """Have these installed in a root that has nothing yet, as they were in the first one."""
        first = self.folder / "roots" / "+".join(("with", *packages))
        if not first.exists():
            first.mkdir(parents=True)
            run("rpm", "--root", str(first), "--initdb")
            if packages:
                run("rpm", "--root", str(first), "--install", "--nodeps", *(str(self.path(one)) for one in packages))
        shutil.copytree(first, root, symlinks=True, dirs_exist_ok=True)


class RpmBed:
    """A dnf and a zypper with a root of their own, and repositories in folders."""

    def __init__(self, folder, rpms, installed=()):
        self.folder = folder
        self.rpms = rpms
        self.root = folder / "root"
        for name in ("etc/yum.repos.d", "etc/dnf", "etc/zypp/repos.d", "plugins"):
            (self.root / name).mkdir(parents=True)
        self.locks = self.root / "etc/dnf/plugins/versionlock.list"
        self.locks.parent.mkdir()
        self.locks.touch()
        (self.root / "plugins/versionlock.conf").write_text(f"[main]\nenabled=1\nlocklist={self.locks}\n")
        # The others of dnf's plugins are not needed, and one of them writes to the machine's own cache.
        self.plugins = folder / "dnf-plugins"
        self.plugins.mkdir()
        self.plugin("versionlock")
        self.configure("")
        rpms.install(self.root, *installed)
        self.host = Host(
            root=str(self.root),
            options={
                "dnf": [
                    f"--installroot={self.root}",
                    "--releasever=1",
                    f"--setopt=pluginpath={self.plugins}",
                    f"--setopt=pluginconfpath={self.root}/plugins",
                ],
                "rpm": ["--root", str(self.root)],
                "zypper": ["--root", str(self.root)],
            },
            environment={"PATH": os.environ["PATH"], "HOME": str(folder), "ZYPP_LOGFILE": os.devnull},
        )

    def plugin(self, name, lines=""):
        """Have dnf load one of the machine's plugins, configured by these lines; is it on the machine?"""
        found = glob.glob(f"/usr/lib/python3*/*-packages/dnf-plugins/{name}.py")
        for path in found[:1]:
            (self.plugins / f"{name}.py").symlink_to(path)
        if lines:
            (self.root / f"plugins/{name}.conf").write_text(lines)
        return bool(found)

    def configure(self, lines):
        (self.root / "etc/dnf/dnf.conf").write_text(f"[main]\nskip_if_unavailable=True\nretries=1\n{lines}\n")

    def rpm(self, *words):
        return run("rpm", "--root", str(self.root), *words)

    def repository(self, name, packages, *advisories, url=None, more="gpgcheck=1\nrepo_gpgcheck=0"):
        """Make a repository with these packages and advisories, as (name, kind, packages), and configure it.

        A fourth part of an advisory is the stream of a module that it is about, as (module, stream).
        """
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.rpms.repository(*packages), place)
        if advisories:
            text = "".join(
                _ADVISORY.format(
                    name=advisory,
                    kind=kind,
                    packages="".join(_ADVISED.format(*p.rsplit("-", 2)) for p in advised),
                    module="".join(_ADVISED_STREAM.format(*one) for one in stream),
                )
                for advisory, kind, advised, *stream in advisories
            )
            file = self.folder / "updateinfo.xml"
            file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>{text}</updates>\n')
            run("modifyrepo_c", str(file), str(place / "repodata"))
        lines = f"[{name}]\nname={name}\nbaseurl={url or f'file://{place}'}\nenabled=1\nautorefresh=0\n{more}\n"
        for folder in ("etc/yum.repos.d", "etc/zypp/repos.d"):
            (self.root / folder / f"{name}.repo").write_text(lines)
        return place

    def streams(self, place, module, streams):
        """Have the repository in this folder hand out a module, given as its streams and the packages of each."""
        file = self.folder / "modules.yaml"
        texts = []
        for stream, packages in streams.items():
            names = ", ".join("{}-0:{}-{}.noarch".format(*package.rsplit("-", 2)) for package in packages)
            texts.append(_MODULE.format(module, stream, names))
        file.write_text("".join(texts))
        run("modifyrepo_c", "--mdtype=modules", str(file), str(place / "repodata"))

    def dnf(self, *words, good=(0,)):
        """What dnf itself says."""
        outcome = self.host.run("dnf", "-q", *words)
        assert outcome.code in good, outcome
        return outcome

    def zypper(self, *words, good=(0,)):
        """What zypper itself says."""
        outcome = self.host.run("zypper", "--non-interactive", *words)
        assert outcome.code in good, outcome
        return outcome
