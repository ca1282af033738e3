# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates on their way to servers: self-signed ones, files, copies for Kopano's daemons, the hook of renewals."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import renewal_hook as _renewal_hook
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import DeployError, Pair
from ansible_collections.kopano.hardening.plugins.module_utils._host import shipped_code as _shipped_code
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
    replaced_certificates as _replaced_certificates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.changeset import ChangeError
from ansible_collections.kopano.hardening.plugins.module_utils._transaction.journal import Lock
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._x509 import certificate as _x509_certificate
from ansible_collections.kopano.hardening.plugins.modules import certificate_install

from . import alone
from .test_transaction import Bed

NAMES = ["mail.example.org", "autodiscover.example.org"]
SETTINGS = {"server": "auto", "rehearse": "auto", "key_mode": "0600", "key_group": None, "kopano": True}
ENTRY = {"path": "/etc/x/chain.pem", "key_path": "/etc/x/key.pem"}
NOTHING = {**dict.fromkeys(("chain", "key", "chain_file", "key_file")), "key_type": "ecdsa"}
PARAMS = {
    "certificates": [{**ENTRY, **NOTHING, "chain_file": "/c", "key_file": "/k"}],
    "self_signed": None,
    "renewal": False,
    "restore": None,
    "reload_services": [],
    "key_mode": "0600",
}


@pytest.fixture(scope="module")
def made():
    return _self_signed.make(NAMES, 30)


def test_a_transaction_for_certificates_has_every_option_of_web_config_with_its_default():
    given = {"files": [], "server": "auto", "rehearse": "auto"}
    complete = ArgumentSpecValidator(_transaction_options.ARGUMENT_SPEC).validate({"enable": {}, "disable": {}})
    assert not complete.error_messages
    expected = {**complete.validated_parameters, "enable": {}, "disable": {}}
    # certificates is the engine's own: what the files are certificates of.
    assert {**_deploy.TRANSACTION, **given} == expected


@pytest.fixture
def pair(tmp_path, made):
    return Pair(str(tmp_path / "tls" / "chain.pem"), str(tmp_path / "tls" / "key.pem"), *made)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host without a web server, with its units and Kopano's configuration in folders; returns what systemctl is
    told, and what it answers to."""
    told, broken = [], set()

    def systemctl(*words):
        told.append(words)
        return not (words[0] == "is-active" and words[-1] in broken), "said so"

    units, kopano = tmp_path / "units", tmp_path / "kopano"
    units.mkdir()
    kopano.mkdir()
    monkeypatch.setattr(_deploy, "UNIT_DIRECTORIES", (str(units),))
    monkeypatch.setattr(_deploy, "KOPANO", str(kopano))
    monkeypatch.setattr(_services, "PATIENCE", 0.15)
    monkeypatch.setattr(_services, "systemctl", systemctl)
    monkeypatch.setattr(_services, "STATE", str(tmp_path / "web" / "state" / "reloaded.json"))
    monkeypatch.setattr(_replaced_certificates, "STATE_DIRECTORY", str(tmp_path / "web" / "state"))
    monkeypatch.setattr(_layout, "detect", lambda server="auto", root="/": [])
    return told, broken


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# --- self-signed -----------------------------------------------------------------------------------------------------


def test_a_self_signed_certificate_is_for_its_names_and_no_authority(made):
    certificate = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(made[0]))
    assert certificate.dns_names == NAMES
    assert (certificate.key.type, certificate.key.curve) == ("EC", "secp256r1")
    assert certificate.self_signed and not certificate.authority
    assert certificate.not_after - certificate.not_before == 30 * 86400
    command = ["openssl", "x509", "-noout", "-text"]
    text = subprocess.run(command, input=made[0], capture_output=True, text=True, check=True).stdout
    assert "TLS Web Server Authentication" in text and "Digital Signature" in text


def test_the_other_kind_of_key_is_made_as_well_and_recognised(tmp_path):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for path, text in zip((chain, key), _self_signed.make(NAMES, 1, "rsa"), strict=True):
        path.write_text(text)
    found = _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(chain.read_text())).key
    assert (found.type, found.bits) == ("RSA", 3072)
    assert _self_signed.why_not(str(chain), str(key), NAMES, True, "rsa") is None
    assert "kind RSA" in _self_signed.why_not(str(chain), str(key), NAMES, True)
    # Until the ordered one is there, any kind will do.
    assert _self_signed.why_not(str(chain), str(key), NAMES, False) is None


def test_a_name_too_long_for_a_subject_is_an_alternative_name(tmp_path):
    long = ".".join(["a" * 60, "b" * 60, "example.org"])
    chain, _key = _self_signed.make([long], 1)
    assert _x509_certificate.read_certificate(ssl.PEM_cert_to_DER_cert(chain)).dns_names == [long]


def test_a_key_is_made_nowhere_else_and_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    _self_signed.make(NAMES, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "names", "part", "reason"),
    [
        (True, NAMES, None, None),
        (True, list(reversed(NAMES)), None, None),
        (False, ["other.example.org"], None, None),
        (True, ["other.example.org"], None, "is for mail.example.org"),
        (False, NAMES, "chain", "is no PEM certificate"),
        (False, NAMES, "key", "chain.pem and"),
        (False, NAMES, "gone", "is not there"),
    ],
)
def test_what_is_there_is_kept_if_it_will_do(tmp_path, made, own, names, part, reason):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text("nothing" if part == "chain" else made[0])
    key.write_text(_self_signed.make(NAMES, 1)[1] if part == "key" else made[1])
    if part == "gone":
        key.unlink()
    found = _self_signed.why_not(str(chain), str(key), names, own)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("days", "own", "reason"), [(21, True, "last third"), (21, False, None), (31, False, "not valid")]
)
def test_a_self_signed_certificate_is_renewed_before_it_ends(tmp_path, made, monkeypatch, days, own, reason):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(made[0])
    key.write_text(made[1])
    now = _self_signed.time.time() + days * 86400
    monkeypatch.setattr(_self_signed.time, "time", lambda: now)
    found = _self_signed.why_not(str(chain), str(key), NAMES, own)
    assert found is None if reason is None else reason in found


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_are_written_once_and_the_key_is_for_root_only(host, pair):
    first = _deploy.deploy([pair], SETTINGS)
    assert first["changed"] and mode(pair.key_path) == 0o600 and mode(pair.path) == 0o644
    assert Path(pair.path).read_text() == pair.chain and Path(pair.key_path).read_text() == pair.key
    second = _deploy.deploy([pair], SETTINGS)
    assert (second["changed"], second["diff"]) == (False, [])


def test_a_diff_shows_no_key_and_check_mode_writes_nothing(host, pair):
    result = _deploy.deploy([pair], SETTINGS, check_mode=True)
    assert result["changed"] and not Path(pair.path).exists()
    assert pair.chain in [entry["after"] for entry in result["diff"]]
    assert "PRIVATE KEY" not in json.dumps(result)


def test_a_key_that_others_could_read_is_shut_and_its_owner_stays(host, pair):
    Path(pair.path).parent.mkdir()
    for path in (pair.path, pair.key_path):
        Path(path).write_text("old")
        os.chown(path, 1, 1)
    os.chmod(pair.key_path, 0o644)
    _deploy.deploy([pair], dict(SETTINGS, key_mode="0640", key_group="2"))
    found = os.stat(pair.key_path)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 1, 2)


def test_both_files_or_none(host, pair):
    Path(pair.path).parent.mkdir()
    Path(pair.path).write_text("old")
    Path(pair.key_path).mkdir()
    with pytest.raises(DeployError, match="neither a regular file nor a link"):
        _deploy.deploy([pair], SETTINGS)
    assert Path(pair.path).read_text() == "old"


def test_what_is_no_certificate_goes_nowhere(host, pair):
    with pytest.raises(DeployError, match="no PEM certificate"):
        _deploy.deploy([pair._replace(chain="nothing")], SETTINGS)
    assert not Path(pair.path).exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"certificates": []}, "names no certificate"),
        ({"certificates": [{**ENTRY, **NOTHING}]}, "neither chain nor chain_file"),
        ({"certificates": [{**ENTRY, **NOTHING, "key_path": "/etc/x/chain.pem"}]}, "files of their own"),
        ({"certificates": [{**ENTRY, **NOTHING, "path": "/etc/letsencrypt/live/a/b.pem"}]}, "certbot's own"),
        ({"certificates": [{**ENTRY, **NOTHING, "path": "/etc/../b.pem"}]}, "without '..'"),
        ({"certificates": [{**ENTRY, **NOTHING, "chain": "c"}], "renewal": True}, "needed with renewal"),
        ({"self_signed": {"names": ["a.b"], "days": 1}}, "another certificate"),
        ({"self_signed": {"names": [], "days": 1}, "certificates": [{**ENTRY, **NOTHING}]}, "needs a name"),
        ({"key_mode": "0644"}, "let everybody read"),
        ({"key_mode": "0640"}, None),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(change, words):
    found = certificate_install.invalid({**PARAMS, **change})
    assert found is None if words is None else words in found


# --- Kopano's daemons ------------------------------------------------------------------------------------------------


@pytest.fixture
def daemons(tmp_path, monkeypatch):
    for name in _deploy.DAEMONS:
        (tmp_path / "units" / f"{name}.service").touch()
    entry = pwd.getpwnam("daemon")
    monkeypatch.setattr(_deploy.pwd, "getpwnam", lambda name: entry if name == "kopano" else pwd.getpwuid(int(name)))
    return tmp_path / "kopano", entry.pw_uid


def test_daemons_get_copies_that_only_their_user_reads(host, daemons, pair):
    folder, user = daemons
    result = _deploy.deploy([pair], SETTINGS)
    assert result["units"] == ["kopano-gateway", "kopano-ical"]
    for name in ("gateway", "ical"):
        for path, content in ((folder / name / "cert.pem", pair.chain), (folder / name / "privkey.pem", pair.key)):
            assert path.read_text() == content and mode(path) == 0o400
            assert (path.stat().st_uid, path.stat().st_gid) == (user, 0)
    # ical does not look at its certificate again when it is reloaded.
    told, _broken = host
    assert ("try-reload-or-restart", "--", "kopano-gateway") in told
    assert ("try-restart", "--", "kopano-ical") in told
    told.clear()
    assert _deploy.deploy([pair], SETTINGS)["units"] == [] and told == []


def test_daemons_get_them_at_the_paths_of_their_configuration(host, daemons, pair, tmp_path):
    folder, _user = daemons
    (folder / "gateway.cfg").write_text(
        f"# ssl_certificate_file = /nowhere\nssl_certificate_file = {tmp_path}/own.pem\nssl_private_key_file=\n"
        "run_as_user = 7\n"
    )
    _deploy.deploy([pair], SETTINGS)
    assert (tmp_path / "own.pem").read_text() == pair.chain and (tmp_path / "own.pem").stat().st_uid == 7
    assert (folder / "gateway" / "privkey.pem").stat().st_uid == 7


def test_a_daemon_that_ends_of_it_gets_its_old_one_back(host, daemons, pair):
    folder, _user = daemons
    _deploy.deploy([pair], SETTINGS)
    old = (folder / "gateway" / "cert.pem").read_text()
    told, broken = host
    told.clear()

    def systemctl(*words):
        told.append(words)
        if words[0] == "try-reload-or-restart":
            broken.add(words[-1])
        return not (words[0] == "is-active" and words[-1] in broken), ""

    _services.systemctl = systemctl
    chain, key = _self_signed.make(NAMES, 1)
    with pytest.raises(DeployError, match=r"the web server has the new certificate, kopano-gateway has not.*it ended"):
        _deploy.deploy([pair._replace(chain=chain, key=key)], SETTINGS)
    assert (folder / "gateway" / "cert.pem").read_text() == old
    assert told[-1] == ("restart", "kopano-gateway")
    assert Path(pair.path).read_text() == chain


def test_a_daemon_whose_user_is_not_there_is_named(host, pair, tmp_path):
    (tmp_path / "units" / "kopano-ical.service").touch()
    (tmp_path / "kopano" / "ical.cfg").write_text("run_as_user = nobody-of-this-name\n")
    with pytest.raises(DeployError, match="kopano-ical has not: there is no user 'nobody-of-this-name'"):
        _deploy.deploy([pair], SETTINGS)
    assert _deploy.deploy([pair], dict(SETTINGS, kopano=False))["units"] == []


def test_a_daemon_does_not_take_the_web_servers_own_files(host, daemons, pair):
    (daemons[0] / "gateway.cfg").write_text(f"ssl_certificate_file = {pair.path}\n")
    with pytest.raises(DeployError, match="give it a path of its own"):
        _deploy.deploy([pair], SETTINGS)
    assert mode(pair.path) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_that_a_daemons_user_has_made_is_not_written_through(host, daemons, pair, tmp_path, kind):
    folder, user = daemons
    victim = tmp_path / "shadow"
    victim.write_text("root's")
    victim.chmod(0o600)
    (folder / "gateway").mkdir()
    os.chown(folder / "gateway", user, -1)
    planted = folder / "gateway" / "privkey.pem"
    planted.symlink_to(victim) if kind == "symbolic" else os.link(victim, planted)
    if kind == "symbolic":
        with pytest.raises(DeployError) as caught:
            _deploy.deploy([pair], SETTINGS)
        assert "kopano-gateway has not" in str(caught.value)
        assert str(planted) in str(caught.value) and "the user daemon" in str(caught.value)
    else:
        _deploy.deploy([pair], SETTINGS)
        assert planted.read_text() == pair.key and planted.stat().st_uid == user
    assert (victim.read_text(), victim.stat().st_uid, mode(victim)) == ("root's", 0, 0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_daemon_that_exchanges_its_copy_before_it_is_rolled_back_gains_nothing(host, daemons, pair, tmp_path):
    folder, user = daemons
    (folder / "gateway").mkdir()
    os.chown(folder / "gateway", user, -1)
    _deploy.deploy([pair], SETTINGS)
    victim = tmp_path / "shadow"
    victim.write_text("root's")
    victim.chmod(0o600)
    broken = set()

    def systemctl(*words):
        if words[0] == "try-reload-or-restart":
            (folder / "gateway" / "privkey.pem").unlink()
            (folder / "gateway" / "privkey.pem").symlink_to(victim)
            broken.add(words[-1])
        return not (words[0] == "is-active" and words[-1] in broken), ""

    _services.systemctl = systemctl
    chain, key = _self_signed.make(NAMES, 1)
    with pytest.raises(DeployError, match="it ended"):
        _deploy.deploy([pair._replace(chain=chain, key=key)], SETTINGS)
    assert (victim.read_text(), victim.stat().st_uid, mode(victim)) == ("root's", 0, 0o600)
    assert (folder / "gateway" / "privkey.pem").read_text() == pair.key


def test_files_that_fail_halfway_leave_no_directory(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(_deploy._changeset, "_exchange", _full)
    changes = _deploy.Changeset()
    changes.add(pair.path, _deploy.State(_deploy.FILE, content=b"x"))
    with pytest.raises(_deploy._changeset.ChangeError, match="No space"):
        _deploy.apply(changes.pending())
    assert not os.path.lexists(os.path.dirname(pair.path))


def _full(*_arguments):
    raise OSError(28, "No space left on device")


# --- the hook --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hooked(tmp_path, host, made, monkeypatch):
    """Everything that a host keeps for renewals in a folder, and certbot's files of a certificate."""
    lineage = tmp_path / "live" / "name"
    lineage.mkdir(parents=True)
    (lineage / "fullchain.pem").write_text(made[0])
    (lineage / "privkey.pem").write_text(made[1])
    (tmp_path / "units" / "certbot.timer").touch()
    for name in ("HOME", "PROGRAM", "SETTINGS", "HOOK"):
        monkeypatch.setattr(_renewal_hook, name, str(tmp_path / "host") + getattr(_renewal_hook, name))
    monkeypatch.setattr(_renewal_hook, "UNIT_DIRECTORY", str(tmp_path / "host" / "systemd"))
    entry = {
        "path": str(tmp_path / "tls" / "chain.pem"),
        "key_path": str(tmp_path / "tls" / "key.pem"),
        "chain_file": str(lineage / "fullchain.pem"),
        "key_file": str(lineage / "privkey.pem"),
    }
    return lineage, dict(SETTINGS, kopano=False, certificates=[entry], reload_services=[])


def test_a_host_keeps_what_renewals_need_and_nothing_changes_the_second_time(hooked, host):
    _lineage, settings = hooked
    changes = _renewal_hook.pending(settings, "/some/ca.pem")
    _renewal_hook.install(changes)
    assert ("daemon-reload",) in host[0]
    assert _renewal_hook.pending(settings, "/some/ca.pem") == []
    drop_in = Path(_renewal_hook.drop_in_path("certbot")).read_text()
    assert 'Environment="REQUESTS_CA_BUNDLE=/some/ca.pem"\n' in drop_in
    assert re.search(rf"(?m)^ExecStopPost=/\S+ -IB {_renewal_hook.PROGRAM}$", drop_in)
    assert os.path.realpath(_renewal_hook.HOOK) == os.path.realpath(_renewal_hook.PROGRAM)
    assert mode(_renewal_hook.PROGRAM) == 0o755
    # Who needs no authorities of their own gets rid of them again.
    assert [change.path for change in _renewal_hook.pending(settings, None)] == [_renewal_hook.drop_in_path("certbot")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("place", ["HOME", "SETTINGS"])
def test_code_and_settings_that_others_could_exchange_are_not_used(hooked, place):
    """A directory that was there before the role came: whoever owns it would have root run its code."""
    _lineage, settings = hooked
    path = Path(getattr(_renewal_hook, place))
    folder = path if place == "HOME" else path.parent
    folder.mkdir(parents=True)
    os.chown(folder, pwd.getpwnam("daemon").pw_uid, -1)
    with pytest.raises(ChangeError, match=f"{folder}: the user daemon can write there"):
        _renewal_hook.pending(settings, None)
    os.chown(folder, 0, -1)
    assert _renewal_hook.pending(settings, None)


def test_a_certificate_from_elsewhere_is_replaced_by_no_renewal(hooked, host, pair):
    _lineage, settings = hooked
    assert _renewal_hook.leftovers() == []
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    host[0].clear()
    entry = {**NOTHING, "path": pair.path, "key_path": pair.key_path, "chain": pair.chain, "key": pair.key}
    options = {**PARAMS, **SETTINGS, "certificates": [entry], "ca_file": None, "kopano": False}
    # A bootstrap does not know yet.
    assert certificate_install.run({**options, "renewal": None}, False)["changed"]
    assert Path(_renewal_hook.HOOK).is_symlink()
    assert certificate_install.run({**options, "renewal": False}, True)["changed"]
    assert Path(_renewal_hook.HOOK).is_symlink()
    assert certificate_install.run({**options, "renewal": False}, False)["changed"]
    gone = (_renewal_hook.HOOK, _renewal_hook.SETTINGS, _renewal_hook.drop_in_path("certbot"))
    assert not any(os.path.lexists(path) for path in gone)
    assert host[0] == [("daemon-reload",)]
    assert not certificate_install.run({**options, "renewal": False}, False)["changed"]


def test_the_timer_is_switched_on_where_it_is_off(hooked, host, monkeypatch):
    told = host[0]
    monkeypatch.setattr(_services, "systemctl", lambda *words: (told.append(words), (words[0] == "enable", "no"))[1])
    _renewal_hook.install([])
    assert told[-1] == ("enable", "--now", "certbot.timer")


def test_a_host_without_certbots_timer_is_no_host_for_renewals(hooked, tmp_path):
    (tmp_path / "units" / "certbot.timer").unlink()
    with pytest.raises(ValueError, match="nothing would be renewed"):
        _renewal_hook.units()


def test_a_certbot_from_a_snap_renews_by_its_own_timer(hooked, host, tmp_path):
    (tmp_path / "units" / "certbot.timer").rename(tmp_path / "units" / "snap.certbot.renew.timer")
    _lineage, settings = hooked
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    drop_in = Path(_renewal_hook.drop_in_path("snap.certbot.renew"))
    assert drop_in.parent.name == "snap.certbot.renew.service.d" and "ExecStopPost=" in drop_in.read_text()
    assert ("is-active", "--quiet", "snap.certbot.renew.timer") in host[0]
    assert not any("enable" in words for words in host[0])
    assert drop_in.exists() and str(drop_in) in {change.path for change in _renewal_hook.leftovers()}


def test_of_two_certbots_each_calls_the_program_and_one_that_renews_is_enough(hooked, host, tmp_path, monkeypatch):
    (tmp_path / "units" / "snap.certbot.renew.timer").touch()
    told = host[0]

    def systemctl(*words):
        told.append(words)
        return words[-1] != "certbot.timer", ""

    monkeypatch.setattr(_services, "systemctl", systemctl)
    _lineage, settings = hooked
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    for name in ("certbot", "snap.certbot.renew"):
        assert os.path.exists(_renewal_hook.drop_in_path(name))
    assert ("enable", "--now", "certbot.timer") not in told


def test_the_hook_brings_its_own_certificate_and_leaves_others_alone(hooked, monkeypatch, capsys):
    lineage, settings = hooked
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    goal = Path(settings["certificates"][0]["path"])
    monkeypatch.setenv("RENEWED_LINEAGE", str(lineage.with_name("other")))
    assert _renewal_hook.main() == 0 and not goal.exists()
    monkeypatch.setenv("RENEWED_LINEAGE", str(lineage))
    assert _renewal_hook.main() == 0 and goal.read_text() == (lineage / "fullchain.pem").read_text()
    assert "new certificate" in capsys.readouterr().out
    monkeypatch.delenv("RENEWED_LINEAGE")
    assert _renewal_hook.main() == 0 and capsys.readouterr().out == ""


def test_a_hook_that_cannot_bring_it_reports_why_and_fails(hooked, capsys):
    lineage, settings = hooked
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    (lineage / "privkey.pem").unlink()
    assert _renewal_hook.main() == 1
    assert "the renewed certificate is not in use" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a namespace of its own")
def test_the_program_runs_without_ansible_and_without_the_collection(hooked, tmp_path):
    _lineage, settings = hooked
    _renewal_hook.install(_renewal_hook.pending(settings, None))
    program = Path(_renewal_hook.PROGRAM)
    text = program.read_text()
    assert text.startswith(f"#!{_shipped_code.interpreter()} -IB\n")
    # The paths of this test's host are not those that a real one has.
    code = (
        tmp_path
        / "host"
        / "usr"
        / "local"
        / "lib"
        / "kopano-hardening"
        / _shipped_code.PACKAGE
        / "_certificate"
        / "renewal_hook.py"
    )
    code.write_text(code.read_text().replace('"/etc/kopano-hardening/certificate.json"', repr(_renewal_hook.SETTINGS)))
    shutil.rmtree(tmp_path / "tls", ignore_errors=True)
    done = subprocess.run(
        alone.command(sys.executable, "-IB", str(program)),
        env={}, cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(settings["certificates"][0]["path"]).exists()


# --- a web server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path, host, monkeypatch):
    """A host with a web server that does what a test tells it."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    (tmp_path / "web").mkdir()
    bed = Bed(tmp_path / "web", monkeypatch)
    monkeypatch.setattr(_layout, "detect", lambda server="auto", root="/": bed.layouts)
    monkeypatch.setattr(_deploy, "Server", lambda layout: bed.server)
    # The server of the test is in this process.
    monkeypatch.setattr(_deploy._supervisor, "run", lambda *given: _deploy._engine.run(*given))  # noqa: PLW0108 - patched later
    yield bed
    for name, action in before.items():
        signal.signal(name, action)


def serve(web, monkeypatch, pair, *digests):
    """Have the virtual host read the pair, and answer with these certificates, one after the other."""
    (web.conf / "nginx.conf").write_text(
        "events { }\nhttp { server { listen 127.0.0.1:1 ssl; server_name mail.example.org unknown.invalid; "
        f"ssl_certificate {pair.path}; ssl_certificate_key {pair.key_path}; }} }}\n"
    )
    left = list(digests)

    def query_all(targets, _timeout):
        digest = left.pop(0) if len(left) > 1 else left[0]
        return [dict(BLANK, ok=True, status=200, protocol="TLSv1.3", certificate=digest) for _target in targets]

    monkeypatch.setattr(_client, "query_all", query_all)


BLANK = {
    **dict.fromkeys(("protocol", "cipher", "certificate", "status", "location", "error")),
    "headers": {},
    "ms": 0.1,
}
QUICK = {**SETTINGS, "rehearse": "off", "kopano": False}


def test_a_web_server_gets_it_by_a_transaction_that_no_other_restore_takes_back(web, monkeypatch, pair):
    serve(web, monkeypatch, pair, "before", "before", pair.sha256)
    result = _deploy.deploy([pair], QUICK)
    assert result["changed"] and result["transaction"] and Path(pair.path).read_text() == pair.chain
    assert web.server.calls == ["check", "reload"]
    assert result["served"] == ["mail.example.org"]
    # No restore of another change brings an old certificate back.
    assert web.states() == []
    web.server.calls.clear()
    assert not _deploy.deploy([pair], QUICK)["changed"] and web.server.calls == []


def test_a_web_server_that_does_not_take_it_has_the_old_one_back(web, monkeypatch, pair):
    serve(web, monkeypatch, pair, pair.sha256)
    _deploy.deploy([pair], QUICK)
    web.server.happens = [lambda: (False, "[emerg] key values mismatch")]
    chain, key = _self_signed.make(NAMES, 1)
    with pytest.raises(
        DeployError, match=r"reload failed, everything is back as it was: .*key values mismatch"
    ) as caught:
        _deploy.deploy([pair._replace(chain=chain, key=key)], QUICK)
    assert caught.value.result["rolled_back"]
    assert Path(pair.path).read_text() == pair.chain and Path(pair.key_path).read_text() == pair.key


def test_a_server_with_another_one_in_its_memory_reads_it_again(web, monkeypatch, pair):
    serve(web, monkeypatch, pair, pair.sha256)
    _deploy.deploy([pair], QUICK)
    web.server.calls.clear()
    serve(web, monkeypatch, pair, "another", pair.sha256)
    assert _deploy.deploy([pair], QUICK, check_mode=True)["changed"] and web.server.calls == []
    serve(web, monkeypatch, pair, "another", pair.sha256)
    assert _deploy.deploy([pair], QUICK)["changed"] and web.server.calls == ["reload"]
    serve(web, monkeypatch, pair, "another")
    with pytest.raises(DeployError, match=r"mail\.example\.org: still served with another certificate"):
        _deploy.deploy([pair], QUICK)


def test_what_no_virtual_host_reads_is_served_for_no_name(web, pair):
    assert _deploy.deploy([pair], QUICK)["served"] == []


def test_a_renewal_waits_for_another_transaction_and_a_run_does_not(web, pair, monkeypatch):
    lock = Lock(str(web.lock))
    lock.acquire()
    with pytest.raises(DeployError, match="another transaction is under way"):
        _deploy.deploy([pair], QUICK)
    monkeypatch.setattr(_deploy, "LOCK_PAUSE", 0.05)
    threading.Timer(0.3, lock.release).start()
    assert _deploy.deploy([pair], QUICK, patience=20)["changed"]


def test_a_server_that_is_stopped_gets_the_files_and_is_left_stopped(web, pair):
    web.server.pid = None
    result = _deploy.deploy([pair], QUICK)
    assert result["changed"] and result["transaction"] is None and web.server.calls == []
    assert Path(pair.path).read_text() == pair.chain
