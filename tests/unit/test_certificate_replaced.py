# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be replaced, and what is kept of what was: certificates and keys on a host, and how they come back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import types
from pathlib import Path

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import renewal_hook as _renewal_hook
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import DeployError
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
    replaced_certificates as _replaced_certificates,
)
from ansible_collections.kopano.hardening.plugins.modules import certificate_install

from .test_certificate_install import (
    NAMES,
    NOTHING,
    QUICK,
    SETTINGS,
    daemons,
    hooked,
    host,
    made,
    mode,
    pair,
    serve,
    web,
)
from .test_changeset import tree

pytestmark = pytest.mark.slow

__all__ = ["daemons", "hooked", "host", "made", "pair", "web"]

OPTIONS = {**SETTINGS, "kopano": False, "ca_file": None, "renewal": None, "restore": None, "reload_services": []}


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """The pair of an administrator's virtual host: RSA, signed by an authority, for names of its own."""
    folder = tmp_path_factory.mktemp("adopted")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1", "-days", "90"]
    for command in (
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Authority", "-keyout", "ca.key", "-out",
         "ca.pem", "-days", "90"],
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mail.example.com", "-keyout", "key.pem", "-out",
         "request"],
        ["x509", "-req", "-in", "request", *sign, "-out", "chain.pem"],
        ["rsa", "-in", "key.pem", "-aes128", "-passout", "pass:word", "-out", "locked.pem"],
    ):  # fmt: skip
        subprocess.run(["openssl", *command], cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture
def place(tmp_path, adopted):
    """That pair where the virtual host reads it, as its administrator left it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("chain.pem", "key.pem"):
        shutil.copy(adopted / name, folder / name)
    os.chmod(folder / "key.pem", 0o640)
    os.chown(folder / "key.pem", 0, 8)
    return folder


def entry(folder, kind="", **more):
    found = {**NOTHING, "path": f"{folder}/chain{kind}.pem", "key_path": f"{folder}/key{kind}.pem"}
    return {**found, "key_type": kind[1:] or "ecdsa", **more}


def bootstrap(*entries, check=False, **more):
    wanted = {"names": NAMES, "days": 30, "bootstrap": True}
    return certificate_install.run({**OPTIONS, "certificates": list(entries), "self_signed": wanted, **more}, check)


def install(folder, chain, key, **more):
    given = entry(folder, chain=chain, key=key)
    return certificate_install.run({**OPTIONS, "certificates": [given], "self_signed": None, **more}, False)


def restore(identifier, check=False, **more):
    options = {**OPTIONS, "certificates": None, "self_signed": None, "restore": identifier, **more}
    return certificate_install.run(options, check)


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


# --- nothing that works is replaced ----------------------------------------------------------------------------------


def test_a_valid_pair_stays_whatever_its_kind_of_key_and_its_names(host, place):
    before = tree(place)
    result = bootstrap(entry(place))
    assert (result["changed"], result["diff"], result["reason"], result["kept"]) == (False, [], "", [])
    # Not even who may read the key.
    assert tree(place) == before


def test_a_pair_whose_key_only_the_server_can_open_stays(host, place, adopted):
    shutil.copy(adopted / "locked.pem", place / "key.pem")
    before = tree(place)
    assert not bootstrap(entry(place))["changed"]
    assert tree(place) == before


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "key.pem").unlink(), "key.pem is not there"),
        (lambda folder: (folder / "chain.pem").unlink(), "chain.pem is not there"),
        (lambda folder: (folder / "chain.pem").write_text("nothing"), "no PEM certificate"),
        (lambda folder: (folder / "key.pem").write_text("nothing"), "no PEM key"),
        (
            lambda folder: (folder / "key.pem").write_text(_self_signed.make(NAMES, 1)[1]),
            "key.pem: OpenSSL: ",
        ),
    ],
)
def test_where_no_pair_is_one_is_made_and_what_was_there_is_kept(host, place, spoil, reason):
    spoil(place)
    before = texts(place)
    result = bootstrap(entry(place))
    assert reason in result["reason"] and len(result["kept"]) == 1
    record = _replaced_certificates.find(result["kept"][0])
    there = {Path(path).name: state.content.decode() for path, state in record.before().items() if state.content}
    assert there == before
    # The next run has nothing to do.
    assert not bootstrap(entry(place))["changed"]


def test_check_mode_keeps_and_writes_nothing(host, place, tmp_path):
    (place / "key.pem").unlink()
    before = tree(tmp_path)
    assert bootstrap(entry(place), check=True)["changed"]
    assert tree(tmp_path) == before


def test_what_cannot_be_read_is_not_replaced(host, place):
    (place / "key.pem").unlink()
    (place / "key.pem").mkdir()
    before = tree(place)
    with pytest.raises(OSError, match=r"key\.pem"):
        bootstrap(entry(place))
    assert tree(place) == before


def test_beside_a_valid_pair_no_self_signed_one_is_served(host, place):
    """A server shows a client one kind of key: a self-signed second kind would hide the valid first one."""
    result = bootstrap(entry(place), entry(place, "-rsa"))
    assert (place / "chain-rsa.pem").read_text() == (place / "chain.pem").read_text()
    assert (place / "key-rsa.pem").read_text() == (place / "key.pem").read_text()
    assert mode(place / "key-rsa.pem") == 0o600 and "chain-rsa.pem is not there" in result["reason"]
    shutil.move(place / "chain.pem", place / "chain-only.pem")
    bootstrap(entry(place), entry(place, "-rsa"))
    assert (place / "chain.pem").read_text() == (place / "chain-rsa.pem").read_text()


def test_what_no_client_can_use_is_installed_nowhere(host, place, made):
    before = tree(place)
    other = _self_signed.make(NAMES, 1)
    with pytest.raises(DeployError, match=r"chain\.pem: what is to be installed there cannot be used: .*KEY_VALUES"):
        install(place, made[0], other[1])
    assert tree(place) == before
    now = _self_signed.time.time() + 40 * 86400
    with pytest.MonkeyPatch.context() as later, pytest.raises(DeployError, match="it is not valid now"):
        later.setattr(_deploy.time, "time", lambda: now)
        install(place, *made)
    assert tree(place) == before


def test_what_the_running_server_has_in_its_memory_is_not_replaced_by_a_bootstrap(web, monkeypatch, pair, adopted):
    """The files have a key that does not belong to the certificate: a reload would end what still works."""
    folder = Path(pair.path).parent
    folder.mkdir()
    shutil.copy(adopted / "chain.pem", pair.path)
    Path(pair.key_path).write_text(pair.key)
    served = _deploy.leaf_sha256(Path(pair.path).read_text(), "")
    serve(web, monkeypatch, pair, served)
    before = tree(folder)
    result = bootstrap(entry(folder), rehearse="off")
    assert tree(folder) == before and web.server.calls == []
    assert "still serves what it has read before" in result["warnings"][0]
    # One that has expired is of no more use than any other.
    now = _self_signed.time.time() + 100 * 86400
    with monkeypatch.context() as later:
        later.setattr(_self_signed.time, "time", lambda: now)
        later.setattr(_self_signed, "make", lambda *_arguments: pytest.fail("made"))
        with pytest.raises(pytest.fail.Exception, match="made"):
            bootstrap(entry(folder), rehearse="off")


# --- what was replaced comes back ------------------------------------------------------------------------------------


def test_what_is_replaced_is_kept_for_root_alone_and_comes_back_by_its_id(host, place, made):
    before = tree(place)
    result = install(place, *made)
    (identifier,) = result["kept"]
    record = _replaced_certificates.find(identifier)
    assert record.data["certificates"]["not_after"] and record.data["certificates"]["unit"] is None
    kept = {path: stat.S_IMODE(path.stat().st_mode) for path in Path(record.folder).rglob("*") if path.name in "01"}
    assert set(kept.values()) == {0o600} and len(kept) == 2
    assert mode(record.folder) == mode(Path(record.folder).parent) == 0o700
    assert restore(identifier, check=True)["changed"] and tree(place) != before
    back = restore(identifier)
    # Contents, permissions, owner and group are those of before.
    assert back["changed"] and tree(place) == before and (place / "key.pem").stat().st_gid == 8
    assert "PRIVATE KEY" not in json.dumps(back)
    # The one that went is kept in turn.
    restore(back["kept"][0])
    assert (place / "chain.pem").read_text() == made[0]


def test_the_newest_comes_back_where_no_id_is_given_and_an_unknown_one_is_refused_with_those_there_are(
    host, place, made
):
    before = texts(place)
    (identifier,) = install(place, *made)["kept"]
    with pytest.raises(_replaced_certificates.KeptError, match=rf"'nothing'.*kept: {identifier} \(.*chain\.pem, for"):
        restore("nothing")
    restore("latest")
    assert texts(place) == before


def test_where_nothing_is_kept_that_is_reported(host):
    with pytest.raises(_replaced_certificates.KeptError, match="kept: none"):
        restore("latest")


def test_a_key_that_stays_is_kept_with_the_certificate_that_goes(host, place, adopted):
    """The same key is certified again: its older certificate is of use with it only."""
    before = texts(place)
    request = ["openssl", "x509", "-in", adopted / "chain.pem", "-signkey", adopted / "key.pem", "-days", "9"]
    again = subprocess.run(request, capture_output=True, text=True, check=True).stdout
    first = install(place, again, before["key.pem"])["kept"][0]
    install(place, *_self_signed.make(NAMES, 1))
    restore(first)
    assert texts(place) == before


def test_one_half_is_not_restored_and_an_expired_one_is_not_either(host, place, made):
    whole = install(place, *made)["kept"][0]
    now = _self_signed.time.time() + 100 * 86400
    with pytest.MonkeyPatch.context() as later, pytest.raises(DeployError, match="it is not valid now"):
        later.setattr(_deploy.time, "time", lambda: now)
        restore(whole)
    (place / "chain.pem").unlink()
    half = bootstrap(entry(place))["kept"][0]
    with pytest.raises(ValueError, match=rf"{half} has a certificate without its key, or a key alone"):
        restore(half)


def test_the_number_is_bounded_and_what_has_expired_goes_first(host, place, made, monkeypatch):
    own = texts(place)
    for _number in range(_replaced_certificates.KEPT + 3):
        install(place, *_self_signed.make(NAMES, 1))
    records = _replaced_certificates.records()
    assert len(records) == _replaced_certificates.KEPT
    assert own["chain.pem"] not in [state.content.decode() for record in records for state in record.before().values()]
    # An administrator's own one outlives those that are renewed every few weeks.
    install(place, own["chain.pem"], own["key.pem"])
    install(place, *made)
    now = _replaced_certificates.time.time() + 20 * 86400
    monkeypatch.setattr(_replaced_certificates, "time", types.SimpleNamespace(time=lambda: now))
    for _number in range(_replaced_certificates.KEPT + 3):
        install(place, *_self_signed.make(NAMES, 1))
    kept = [state.content.decode() for record in _replaced_certificates.records() for state in record.before().values()]
    assert len(kept) == 2 * _replaced_certificates.KEPT and own["chain.pem"] in kept and own["key.pem"] in kept


def test_the_same_pair_is_kept_once(host, place, made):
    own = texts(place)
    for _number in range(3):
        install(place, *made)
        install(place, own["chain.pem"], own["key.pem"])
    assert len(_replaced_certificates.records()) == 2


def test_permissions_alone_replace_nothing(host, place):
    own = texts(place)
    result = install(place, own["chain.pem"], own["key.pem"])
    assert result["changed"] and result["kept"] == [] and _replaced_certificates.records() == []


def test_nothing_is_replaced_that_cannot_be_kept(host, place, made, monkeypatch, tmp_path):
    (tmp_path / "web").write_text("no directory")
    before = tree(place)
    with pytest.raises(DeployError, match=r"(?i)not a directory"):
        install(place, *made)
    assert tree(place) == before


def test_a_daemons_own_certificate_is_kept_and_comes_back(host, daemons, pair, adopted):
    folder = daemons[0] / "gateway"
    folder.mkdir()
    shutil.copy(adopted / "chain.pem", folder / "cert.pem")
    shutil.copy(adopted / "key.pem", folder / "privkey.pem")
    before = tree(folder)
    result = _deploy.deploy([pair], SETTINGS)
    (identifier,) = result["kept"]
    told = host[0]
    told.clear()
    assert restore(identifier)["units"] == ["kopano-gateway"]
    assert tree(folder) == before and ("try-reload-or-restart", "--", "kopano-gateway") in told
    assert Path(pair.path).read_text() != (folder / "cert.pem").read_text()


def test_a_restored_certificate_is_replaced_by_no_renewal(hooked, host, adopted):
    _lineage, settings = hooked
    goal = Path(settings["certificates"][0]["path"]).parent
    goal.mkdir()
    for name in ("chain.pem", "key.pem"):
        shutil.copy(adopted / name, goal / name)
    before = texts(goal)
    given = {**NOTHING, **settings["certificates"][0]}
    options = {**OPTIONS, "certificates": [given], "self_signed": None, "renewal": True}
    (identifier,) = certificate_install.run(options, False)["kept"]
    result = restore(identifier)
    assert texts(goal) == before and not os.path.lexists(_renewal_hook.HOOK)
    assert "renewals no longer replace" in result["warnings"][0]
    assert _renewal_hook.main() == 1 and texts(goal) == before


# --- with a web server -----------------------------------------------------------------------------------------------


@pytest.fixture
def serving(web, monkeypatch, pair, adopted):
    """A web server that serves the administrator's pair; returns the folder and its digest."""
    folder = Path(pair.path).parent
    folder.mkdir()
    for name in ("chain.pem", "key.pem"):
        shutil.copy(adopted / name, folder / name)
    digest = _deploy.leaf_sha256(Path(pair.path).read_text(), "")
    serve(web, monkeypatch, pair, digest, digest, pair.sha256)
    return folder, digest


def test_a_transaction_moves_what_it_replaced_to_its_own_place(web, serving, pair, monkeypatch):
    folder, digest = serving
    before = texts(folder)
    result = _deploy.deploy([pair], QUICK)
    assert result["kept"] == [result["transaction"]] and web.states() == []
    # A restore of another change leaves certificates alone.
    web.run()
    web.run(files=[], restore="latest")
    web.run(files=[], restore="original")
    assert (folder / "chain.pem").read_text() == pair.chain
    serve(web, monkeypatch, pair, pair.sha256, pair.sha256, digest)
    restore(result["kept"][0], rehearse="off")
    assert texts(folder) == before


def test_a_transaction_that_fails_keeps_nothing_and_replaces_nothing(web, serving, pair):
    folder, _digest = serving
    before = tree(folder)
    web.server.happens = [lambda: (False, "[emerg] no")]
    with pytest.raises(DeployError, match="everything is back as it was"):
        _deploy.deploy([pair], QUICK)
    assert tree(folder) == before and _replaced_certificates.records() == []


def test_a_crash_after_the_proof_loses_nothing(web, serving, pair, monkeypatch):
    folder, _digest = serving
    before = texts(folder)
    with monkeypatch.context() as crash:
        crash.setattr(_engine, "_finish", crashed)
        with pytest.raises(KeyboardInterrupt):
            _deploy.deploy([pair], QUICK)
    assert web.states() == [_journal.PROVEN]
    web.run()
    (record,) = _replaced_certificates.records()
    assert {Path(path).name: state.content.decode() for path, state in record.before().items()} == before


def crashed(*_arguments):
    raise KeyboardInterrupt


def test_what_is_kept_of_a_transaction_is_what_it_replaced_and_not_what_was_there_before_it_waited(
    web, serving, pair, monkeypatch, made
):
    """While a renewal waits for another run, that one installs a pair of its own."""
    folder, _digest = serving
    between = _self_signed.make(NAMES, 1)
    run = _engine.run

    def late(*arguments):
        (folder / "chain.pem").write_text(between[0])
        (folder / "key.pem").write_text(between[1])
        return run(*arguments)

    monkeypatch.setattr(_engine, "run", late)
    (identifier,) = _deploy.deploy([pair], QUICK)["kept"]
    record = _replaced_certificates.find(identifier)
    assert [state.content.decode() for state in record.before().values()] == list(between)
