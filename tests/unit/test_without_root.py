# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only root can read on a host is unknown to everybody else: it is never missing, and never good."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils import _host_info
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._updates import apt as _apt
from ansible_collections.kopano.hardening.plugins.module_utils._updates import automatic as _automatic
from ansible_collections.kopano.hardening.plugins.module_utils._updates import findings as _updates_findings
from ansible_collections.kopano.hardening.plugins.module_utils._updates import repomd as _repomd
from ansible_collections.kopano.hardening.plugins.module_utils._updates import support as _support
from ansible_collections.kopano.hardening.plugins.module_utils._updates.model import (
    Automatic,
    Host,
    Outcome,
    Reading,
    Updates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import findings as _webserver_findings
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx

from . import tls_bed, web_bed

pytestmark = pytest.mark.slow

NOBODY = 65534


@contextlib.contextmanager
def unprivileged():
    """The rights of a user for whom nothing was allowed, for what is done inside."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def folder():
    """A folder that everybody can enter, unlike pytest's."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    for one in path.rglob("*"):
        if one.is_dir():
            one.chmod(0o755)
    shutil.rmtree(path)


def secret(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0)
    return path


# ---- Certificates and keys


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = tls_bed.Pki(tmp_path_factory.mktemp("pki"))
    made.leaf("good", key="ec")
    return made


def judge(folder, **given):
    params = {name: spec.get("default") for name, spec in _host_options.CERTIFICATES.items()}
    files = {"chain": str(folder / "good.chain"), "key": str(folder / "good.key")}
    with unprivileged():
        return _certificate_info.run({**params, **files, "names": ["good.test"], **given})


def severities(answer):
    return {item["id"]: item["severity"] for item in answer["findings"] if item["severity"] != "info"}


@pytest.mark.parametrize("hidden", ["file", "directory"])
def test_a_key_that_may_not_be_read_is_unknown(pki, folder, hidden):
    (folder / "good.chain").write_bytes(Path(pki.path("good.chain")).read_bytes())
    private = folder / "private"
    key = secret(private / "good.key", Path(pki.path("good.key")).read_text())
    if hidden == "directory":
        key.chmod(0o644)
        private.chmod(0o700 if os.geteuid() == 0 else 0)
    answer = judge(folder, key=str(key))
    assert severities(answer) == {"certificate.key.hidden": "unknown"}
    assert answer["certificate"], "the rest was not checked"


def test_a_certificate_that_may_not_be_read_is_unknown(pki, folder):
    for name in ("good.chain", "good.key"):
        secret(folder / name, Path(pki.path(name)).read_text())
    assert severities(judge(folder)) == dict.fromkeys(("certificate.chain.hidden", "certificate.key.hidden"), "unknown")


def test_hidden_authorities_lose_nothing_but_the_certificates(folder):
    path = secret(folder / "ca.pem")
    with unprivileged(), pytest.raises(_host_info._Unread, match=f"ca_file: {path}: Permission denied"):
        _host_info._certificates({"ca_file": str(path)}, {"servers": [], "vhosts": []})


def test_files_that_are_not_there_are_missing_all_the_same(folder):
    assert severities(judge(folder)) == dict.fromkeys(("certificate.chain.missing", "certificate.key.missing"), "fail")


# ---- The web server's configuration

PLAIN = "server { listen 80; server_name www.example.org; }\n"


@pytest.fixture
def nginx(folder):
    """What is found in a configuration of nginx whose virtual hosts are in these files."""

    def read(include, **files):
        for name, text in files.items():
            (folder / "conf.d").mkdir(exist_ok=True)
            (folder / "conf.d" / name).write_text(text)
        main = folder / "nginx.conf"
        main.write_text(f"http {{ server {{ listen 80; server_name plain.example.org; }} include {include}; }}\n")
        layout = next(one for one in _layout.LAYOUTS if one.server == "nginx")._replace(main_config=str(main))
        with unprivileged():
            config = _nginx.load(layout)
        return config, {item["id"]: item["severity"] for item in _webserver_findings.of(config, layout)}

    return read


@pytest.mark.parametrize("hidden", ["conf.d", "conf.d/tls.conf"])
@pytest.mark.parametrize("include", ["conf.d/*.conf", "*/*.conf", "conf.d/tls.conf"])
def test_a_virtual_host_with_tls_may_be_in_what_is_hidden(nginx, folder, hidden, include):
    nginx(include, **{"tls.conf": PLAIN})
    (folder / hidden).chmod(0)
    config, found = nginx(include)
    assert found == {"frontend.config.unreadable": "unknown"}
    assert any(path.startswith(str(folder / "conf.d")) for path in config.unreadable)


def test_a_server_without_tls_is_found_where_everything_can_be_read(nginx):
    assert nginx("conf.d/*.conf", **{"tls.conf": PLAIN})[1] == {"frontend.tls.none": "fail"}


def test_an_apache_whose_directory_is_private_is_hidden_and_not_misunderstood(folder):
    private = folder / "apache"
    private.mkdir()
    (private / "envvars").write_text("APACHE_LOG_DIR=/var/log/apache2\n")
    (private / "apache.conf").write_text("Listen 443\n")
    layout = web_bed.layout("apache", private)._replace(envvars=str(private / "envvars"))
    private.chmod(0o700 if os.geteuid() == 0 else 0)
    with unprivileged():
        config = _apache.load(layout)
    assert list(config.unreadable) == [layout.main_config]
    assert [item["id"] for item in _webserver_findings.of(config, layout)] == ["frontend.config.unreadable"]


# ---- Updates


def test_extended_support_may_be_in_what_is_hidden(folder):
    release = {"ID": "debian", "VERSION_ID": "8", "VERSION_CODENAME": "jessie"}
    data = _support.Data({"made": "2026-01-01"}, {"debian": {"8": {"full": {"made": "2018-06-17"}}}})
    host, day = Host(str(folder)), datetime.date(2026, 1, 2)
    assert _support.judge_host(host, release, day, data).level == _support.EOL
    secret(folder / "etc/apt/sources.list.d/elts.list", "deb http://user:word@deb.example.org/extended-lts jessie main")
    with unprivileged():
        found = _support.judge_host(host, release, day, data)
    assert found.level == _support.UNKNOWN
    assert "/etc/apt/sources.list.d/elts.list cannot be read without root" in found.reason


def test_the_last_run_of_automatic_updates_may_have_failed(folder):
    """unattended-upgrades' log is for its group alone."""
    (folder / "var/lib/apt/periodic").mkdir(parents=True)
    (folder / "var/lib/apt/periodic/upgrade-stamp").touch()
    log = secret(folder / "var/log/unattended-upgrades/unattended-upgrades.log")
    options = {"apt::periodic::update-package-lists": ["1"]}
    now = datetime.datetime.now(datetime.UTC)

    def runs():
        automatic = Automatic()
        with unprivileged():
            host = Host(str(folder))
            return _automatic._apt_runs(host, automatic, options, now, datetime.timedelta(days=2)), automatic.reason

    assert runs() == (None, "its log cannot be read without root: its last run may have failed")
    log.chmod(0o644)
    assert runs() == (True, "")


class Systemd(Host):
    """A host whose timer of dnf-automatic is active."""

    def run(self, program, *words, timeout=60):
        text = "Id=dnf-automatic.timer\nLoadState=loaded\nActiveState=active\nLastTriggerUSec=\n"
        return Outcome(0, text, "")


def test_what_automatic_updates_do_is_not_known_without_their_configuration(folder):
    path = secret(folder / "etc/dnf/automatic.conf", "[commands]\napply_updates = no\n")
    now = datetime.datetime.now(datetime.UTC)

    def found():
        with unprivileged():
            reading = Reading("dnf", updates=Updates())
            automatic = _automatic.dnf(Systemd(str(folder)), reading, {}, now)
        return [item["id"] for item in _updates_findings.of_automatic("dnf", automatic)], automatic.reason

    assert found() == (["updates.automatic.unknown"], "/etc/dnf/automatic.conf cannot be read without root")
    path.chmod(0o644)
    assert found()[0] == ["updates.automatic.off"]


def test_package_lists_that_may_not_be_read_were_fetched(folder):
    secret(folder / "lists_InRelease", "Date: Thu, 01 Jan 2026 00:00:00 UTC\n")
    secret(folder / "repodata/repomd.xml", "<timestamp>1767225600</timestamp>")
    target = _apt.Target("", "http://deb.example.org stable", str(folder / "lists_"), "main", "", False)
    with unprivileged():
        sources = [_apt._source(target), _repomd.source("fedora", str(folder / "repodata"))]
    assert [(one.absent, "cannot be read without root" in one.problem) for one in sources] == [(False, True)] * 2


def test_packages_may_be_incomplete_because_dpkg_is_at_work(folder):
    """Its lock, by which that is known, is for root."""
    lock = secret(folder / "lock")
    (folder / "updates").mkdir()
    place = _apt.Place("", str(folder / "status"), "", "amd64")
    packages = [_apt.Installed("half", "1.0", False, "unpacked")]
    with unprivileged():
        (found,) = _apt._broken(place, packages)
    assert found["severity"] == "unknown"
    assert found["evidence"] == "half: unpacked, whether dpkg is at work right now cannot be read without root"
    lock.chmod(0o644)
    with unprivileged():
        (found,) = _apt._broken(place, packages)
    assert (found["severity"], found["evidence"]) == ("fail", "half: unpacked")
