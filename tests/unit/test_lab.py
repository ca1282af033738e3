# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's data, its choice of a network and what it puts on a host."""

from __future__ import annotations

import hashlib
import io
import ipaddress
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kopano_lab import content, engine, images, model, network, shell
from kopano_lab.shell import LabError, run

pytestmark = pytest.mark.slow

ADDRESSES = ("192.0.2.10", "2001:db8::a")
HOSTS = model.hosts()


def tree(host: model.Host) -> dict[str, bytes]:
    """The files that a host gets, by path."""
    with tarfile.open(fileobj=io.BytesIO(content.archive(host, ADDRESSES, {}))) as tar:
        return {f"/{entry.name}": tar.extractfile(entry).read() for entry in tar}


def test_every_kind_of_dirt_is_on_a_host_and_described():
    described = yaml.safe_load((model.LAB / "hosts.yml").read_text())["dirt"]
    assert {kind for host in HOSTS.values() for kind in host.dirt} == set(described)


def test_both_servers_are_on_every_release_without_being_named():
    offered = {(host.server, host.release.debian) for host in HOSTS.values() if not host.optional}
    assert offered == {(server, debian) for server in ("apache", "nginx") for debian in (11, 12, 13)}


def test_options_are_for_one_host_of_each_server_that_no_run_leaves_wrong():
    options = yaml.safe_load((model.LAB / "options.yml").read_text())["all"]
    assert set(options) == {"children"} and set(options["children"]) == {"maintained"}
    chosen = [host for host in HOSTS.values() if "maintained" in host.groups]
    assert sorted(host.server for host in chosen) == ["apache", "nginx"]
    assert not any(host.optional for host in chosen)
    # What no run repairs is planted on others.
    zones = yaml.safe_load((model.LAB / "dns.yml").read_text())["zones"]
    assert not {host.name for host in chosen} & set(zones)
    assert not set().union(*(host.dirt for host in chosen)) & {"snakeoil", "debian-package", "default-server"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release": "sarge"}, "release is 'sarge'"),
        ({"server": "lighttpd"}, "server is 'lighttpd'"),
        ({"dirt": ["mud"]}, "unknown dirt mud"),
        ({"colour": "red"}, "unknown key colour"),
    ],
)
def test_a_mistake_in_the_data_is_named(tmp_path, change, words):
    entry = {"release": "trixie", "server": "nginx", "php": "fpm", "key": "ec", "dirt": [], **change}
    path = tmp_path / "hosts.yml"
    path.write_text(yaml.safe_dump({"dirt": {}, "hosts": {"one": entry}}))
    with pytest.raises(LabError, match=f"hosts.yml: one: {words}"):
        model.hosts(path)


def test_two_checkouts_and_two_sets_share_no_name():
    labs = [model.Lab(Path(checkout), name) for checkout in ("/a", "/b") for name in ("lab", "molecule-lab")]
    assert len({lab.container("apache11") for lab in labs}) == len({lab.prefix for lab in labs}) == 4


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_hosts_files_are_the_same_every_time(host):
    assert content.archive(host, ADDRESSES, {}) == content.archive(host, ADDRESSES, {})
    assert all(b"{{" not in text and b"{%" not in text for text in tree(host).values())


def test_only_keys_and_what_root_owns_are_secret():
    host = HOSTS["apache11"]
    identity = {"/root/.ssh/authorized_keys": b"", "/etc/ssh/ssh_host_ed25519_key": b"", "/etc/x.pub": b""}
    with tarfile.open(fileobj=io.BytesIO(content.archive(host, ADDRESSES, identity))) as tar:
        modes = {entry.name: entry.mode for entry in tar}
        owners = {(entry.uid, entry.gid) for entry in tar}
    assert owners == {(0, 0)}
    secret = {name for name, mode in modes.items() if not mode & 0o077}
    assert secret == {"root/.ssh/authorized_keys", "etc/ssh/ssh_host_ed25519_key"}
    assert modes["usr/local/lib/kopano-lab/seed"] == 0o755


def test_the_plan_is_read_by_a_shell_as_it_was_meant():
    plan = tree(HOSTS["nginx13"])[f"{content.OWN}/plan"].decode()
    done = run(["sh", "-euc", f'{plan}\nprintf "%s|" "$server" "$name" "$sites_on" "$units"'])
    assert done.stdout == b"nginx|mail.nginx13.test|mail|nginx php8.4-fpm kopano-lab-daemons.service|"


def test_a_host_of_red_hats_family_has_nothing_where_debian_has_it():
    files = tree(HOSTS["el9"])
    assert {"/etc/httpd/conf.d/mail.conf", "/etc/httpd/kopano-daemons.conf", "/etc/php-fpm.d/kopano-kdav.conf"} <= set(
        files
    )
    assert not [path for path in files if path.startswith(("/etc/apache2", "/etc/php/", "/etc/nginx"))]
    assert not [path for path, text in files.items() if path.startswith("/etc/httpd") and b"APACHE_LOG_DIR" in text]
    pool = files["/etc/php-fpm.d/kopano-kdav.conf"].decode()
    assert "user = apache" in pool and "listen = /run/php-fpm/kopano-kdav.sock" in pool
    plan = files[f"{content.OWN}/plan"].decode()
    done = run(["sh", "-euc", f'{plan}\nprintf "%s|" "$family" "$certificate" "$key_file" "$units"'])
    certificate, key_file = "/etc/pki/tls/certs/mail.el9.test.crt", "/etc/pki/tls/private/mail.el9.test.key"
    assert done.stdout.decode() == f"redhat|{certificate}|{key_file}|httpd php-fpm kopano-lab-daemons.service|"
    assert f"SSLCertificateFile {certificate}" in files["/etc/httpd/conf.d/mail.conf"].decode()


def test_nginx_of_red_hats_family_reads_its_sites_from_one_folder_and_hands_php_to_the_upstream_there():
    files = tree(HOSTS["el9n"])
    assert not [path for path in files if "/sites-" in path or path.startswith(("/etc/httpd", "/etc/php/"))]
    site = files["/etc/nginx/conf.d/mail.conf"].decode()
    assert "ssl_certificate /etc/pki/tls/certs/mail.el9n.test.crt;" in site
    for path in [word.rstrip(";") for word in site.split() if word.startswith("snippets/")]:
        assert f"/etc/nginx/{path}" in files
    assert "fastcgi_pass php-fpm;" in files["/etc/nginx/snippets/kopano-webapp.conf"].decode()
    # nginx and FPM are of different users there.
    pool = files["/etc/php-fpm.d/kopano-kdav.conf"].decode()
    assert "user = apache\n" in pool and "listen.group = nginx\n" in pool
    assert "units='nginx php-fpm kopano-lab-daemons.service'" in files[f"{content.OWN}/plan"].decode()
    upstream = images.LAB / "redhat/root/php/etc/nginx/conf.d/php-fpm.conf"
    assert "upstream php-fpm {" in upstream.read_text()


def test_a_host_of_red_hats_family_is_in_no_group_of_debians():
    assert HOSTS["el9"].optional
    assert HOSTS["el9"].groups == ["lab", "apache", "redhat", "tls"]
    assert HOSTS["apache12"].groups == ["lab", "apache", "debian12", "tls"]


def test_a_host_of_suses_family_has_everything_where_suse_has_it():
    files = tree(HOSTS["sles15"])
    own = [path for path in files if path.startswith(("/etc/apache2", "/etc/php"))]
    assert sorted(own) == [
        "/etc/apache2/conf.d/kopano-webapp.conf",
        "/etc/apache2/conf.d/tls.conf",
        "/etc/apache2/conf.d/z-push-autodiscover.conf",
        "/etc/apache2/conf.d/z-push.conf",
        "/etc/apache2/kopano-daemons.conf",
        "/etc/apache2/vhosts.d/mail.conf",
        "/etc/php8/fpm/php-fpm.d/kopano-kdav.conf",
    ]
    pool = files["/etc/php8/fpm/php-fpm.d/kopano-kdav.conf"].decode()
    assert "user = wwwrun\ngroup = www\n" in pool and "listen.group = www\n" in pool
    site = files["/etc/apache2/vhosts.d/mail.conf"].decode()
    # SUSE's Apache begins relative paths in /srv/www.
    assert "Include /etc/apache2/kopano-daemons.conf" in site and "DocumentRoot /srv/www/htdocs" in site
    assert "ErrorLog /var/log/apache2/mail.sles15.test-error.log" in site
    plan = files[f"{content.OWN}/plan"].decode()
    done = run(["sh", "-euc", f'{plan}\nprintf "%s|" "$family" "$certificate" "$key_file" "$units"'])
    certificate, key_file = "/etc/apache2/ssl.crt/mail.sles15.test.crt", "/etc/apache2/ssl.key/mail.sles15.test.key"
    assert done.stdout.decode() == f"suse|{certificate}|{key_file}|apache2 php-fpm kopano-lab-daemons.service|"
    assert HOSTS["sles15"].optional and HOSTS["sles15"].groups == ["lab", "apache", "suse", "tls"]


SETTINGS = """\
A="other x"
B="one two three"
# B="no"
B="first second"
C=""
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["B", "third"], 'B="first second third"'),
        (["B", "second"], 'B="first second"'),
        (["-r", "B", "first"], 'B="second"'),
        (["-r", "B", "second"], 'B="first"'),
        (["-r", "B", "sec"], 'B="first second"'),
    ],
)
def test_words_are_added_and_removed_as_by_suses_tools(tmp_path, arguments, line):
    path = tmp_path / "settings"
    path.write_text(SETTINGS)
    flags = [argument for argument in arguments if argument == "-r"]
    variable, word = arguments[-2:]
    program = images.LAB / "suse/root/system/usr/sbin/sysconf_addword"
    run(["bash", str(program), *flags, str(path), variable, word])
    assert path.read_text() == SETTINGS.replace('B="first second"', line)


def test_each_module_of_apache_is_loaded_by_a_line_of_its_own():
    folder = images.LAB / "redhat/root/httpd/etc/httpd/conf.modules.d"
    lines = [line.lstrip("# ") for path in folder.iterdir() for line in path.read_text().splitlines()]
    loaded = [tuple(line.split()[1:]) for line in lines if line.startswith("LoadModule")]
    # cgid has one for each multi-processing module with threads.
    assert len(loaded) - len(set(loaded)) == 1
    for module, path in set(loaded):
        assert path == f"modules/mod_{module[: -len('_module')]}.so"


def test_pip_saves_a_source_archive_that_would_be_built_for_its_metadata(tmp_path):
    for name, text in {
        "PKG-INFO": "Metadata-Version: 2.1\nName: some-server\nVersion: 2.4\n",
        "setup.py": "raise SystemExit('it is built')\n",
    }.items():
        path = tmp_path / "some_server-2.4" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    archive = tmp_path / "some_server-2.4.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "some_server-2.4", "some_server-2.4")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    requirements = tmp_path / "sources.txt"
    requirements.write_text(f"{archive.as_uri()} --hash=sha256:{digest}\n")
    (tmp_path / "saved").mkdir()
    images._fetch_sources(requirements, str(tmp_path / "saved"))
    assert [path.name for path in (tmp_path / "saved").iterdir()] == [archive.name]

    requirements.write_text(f"{archive.as_uri()} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(LabError, match="pip download"):
        images._fetch_sources(requirements, str(tmp_path / "saved"))


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_work_that_fails_is_repeated_once(monkeypatch, capsys, failures):
    done = []

    def work():
        done.append(1)
        if len(done) <= failures:
            raise LabError(f"failure {len(done)}")
        return "there"

    monkeypatch.setattr(shell, "RETRY_SECONDS", 0)
    if failures == 2:
        with pytest.raises(LabError, match="failure 2"):
            shell.retry("an image", work)
    else:
        assert shell.retry("an image", work) == "there"
    assert len(done) == min(failures + 1, 2)
    assert ("lab: an image: failure 1" in capsys.readouterr().err) is bool(failures)


def test_the_recipe_decides_the_tag(monkeypatch):
    before = images.releases()["trixie"].image
    assert images.releases()["trixie"].image == before
    monkeypatch.setattr(images, "DPKG_OPTIONS", [])
    assert images.releases()["trixie"].image != before


def test_each_family_has_a_recipe_of_its_own(tmp_path, monkeypatch):
    before = {name: release.image for name, release in images.releases().items()}
    shutil.copytree(images.LAB, tmp_path / "lab")
    monkeypatch.setattr(images, "LAB", tmp_path / "lab")
    (tmp_path / "lab/redhat/root/php/etc/php.ini").write_text("[PHP]\n")
    after = {name: release.image for name, release in images.releases().items()}
    assert {name for name in before if before[name] != after[name]} == {"el9"}
    (tmp_path / "lab/suse/root/php/etc/php8/fpm/php.ini").write_text("[PHP]\n")
    last = {name: release.image for name, release in images.releases().items()}
    assert {name for name in after if after[name] != last[name]} == {"sles15"}


def test_an_image_of_a_registry_can_be_named_instead(monkeypatch):
    monkeypatch.setenv("KOPANO_LAB_IMAGE_TRIXIE", "registry.example/debian:13")
    assert images.releases()["trixie"].image == "registry.example/debian:13"
    assert images.releases()["bookworm"].image.startswith(images.REPOSITORY)


@given(st.text(max_size=20), st.sets(st.integers(0, (1 << 14) - 1), max_size=40), st.integers(12, 30))
def test_a_chosen_subnet_overlaps_nothing_that_is_taken(seed, blocks, length):
    taken = [ipaddress.ip_network(((10 << 24) + (192 << 16) + (block << 8), length), strict=False) for block in blocks]
    try:
        chosen = network.choose(seed, taken)
    except LabError:
        whole = ipaddress.ip_network("10.192.0.0/10")
        assert sum(net.num_addresses for net in ipaddress.collapse_addresses(taken)) >= whole.num_addresses
    else:
        assert not any(chosen.ipv4.overlaps(other) for other in taken)
        assert chosen.ipv6.is_private


def test_the_next_subnet_is_taken_when_the_first_is_not_free():
    first = network.choose("seed", [])
    second = network.choose("seed", [first.ipv4])
    assert first == network.choose("seed", [])
    assert first.ipv4 != second.ipv4
    assert first.ipv6 != network.choose("seed", [first.ipv6]).ipv6


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_the_namespace_is_made_kept_and_rebuilt_when_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "HOLDER", tmp_path / "namespace")
    monkeypatch.setattr(engine, "NAMESPACE", tmp_path / "namespace" / "mnt")

    def own():
        """Others mount what they like, but not here."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if str(tmp_path) in line or " /sys/fs/cgroup" in line]

    before = own()
    enter = engine._namespace()
    try:
        mounts = run([*enter, "cat", "/proc/self/mountinfo"]).stdout
        assert engine._namespace() == enter
        assert run([*enter, "cat", "/proc/self/mountinfo"]).stdout == mounts

        run(["umount", "--lazy", engine.NAMESPACE])  # as after a reboot: the file is there, the namespace is not
        assert engine._is_cgroup2(engine._namespace())
    finally:
        for mount in (engine.NAMESPACE, engine.HOLDER):
            run(["umount", "--lazy", mount], check=False)
    assert own() == before


def test_what_podman_kept_from_another_boot_is_forgotten(tmp_path, monkeypatch):
    alive = tmp_path / "alive"
    monkeypatch.setattr(engine, "VOLATILE", [alive, tmp_path / "absent"])
    monkeypatch.setattr(engine, "BOOT", tmp_path / "boot_id")
    alive.touch()
    engine._forget_last_boot()
    engine._forget_last_boot()
    assert alive.exists()
    engine.BOOT.write_text("another")
    engine._forget_last_boot()
    assert not alive.exists()


def test_a_failing_program_is_quoted():
    with pytest.raises(LabError, match=r"exit status 3: sh -c .*\nits own words"):
        run(["sh", "-c", "echo its own words >&2; exit 3"])
    with pytest.raises(LabError, match="nowhere is not installed"):
        run(["nowhere"])


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000])
def test_an_archive_ends_with_its_end_marker(size):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("etc/zeros")
        entry.size = size
        tar.addfile(entry, io.BytesIO(bytes(size)))
    archive = content.without_padding(buffer.getvalue())
    assert len(archive) == 512 * (1 + -(-size // 512) + 2) < len(buffer.getvalue())
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.extractfile("etc/zeros").read() == bytes(size)
