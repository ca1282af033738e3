# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From old packages to a host that looks after itself. The tests build on each other, in their order."""

from __future__ import annotations

import re

from conftest import NAMES, RATE, everywhere, module_file, shell

SUPPORT = {"apache11": "eol", "apache12": "lts", "nginx13": "full"}
WEB = {"apache11": "apache2.service", "apache12": "apache2.service", "nginx13": "nginx.service"}
AWAY = 2.0  # seconds; a restart takes a tenth of that where nothing else runs
# How a connection ends when its server does: before it, in its handshake, or before its answer.
OF_PHP = re.compile(r"answer b'HTTP/1\.1 50[23] ")
IN_PROGRESS = 2  # pages of PHP at a time, with twenty requests a second of which half are for PHP
ENDED = {"ConnectionRefusedError", "ConnectionResetError", "SSLEOFError", "answer b''"}


def ids(info):
    return [finding["id"] for finding in info["findings"]]


def of_apt(host):
    """What apt itself says is upgradable: name to version, and those that have a version of the security suite."""
    lines = re.findall(r"(?m)^([^/\s]+)/(\S+) (\S+) ", shell(host, "apt list --upgradable 2>/dev/null"))
    return {name: version for name, _suites, version in lines}, {
        name for name, suites, _v in lines if "-security" in suites
    }


def test_old_packages_are_said_as_apt_has_them(older, play):
    run = play()
    assert run.status == 0, run.output
    assert set(run.changed.values()) == {0}
    for host in NAMES:
        assert older[host], "the archive has no older version of any package"
        info = run.info(host)
        assert info["support"]["level"] == SUPPORT[host]
        assert run.said(host).startswith(f"support: {SUPPORT[host]}")
        # What is shown is what is returned.
        returned = run.left[host]["returned"]
        assert (run.said(host), run.outcome(host)) == (" | ".join(map(str.strip, returned["lines"])), "")
        assert returned["outcome"] == []
        every, secure = of_apt(host)
        found = {package["name"]: package["to"] for package in info["updates"]["packages"]}
        assert found == every and set(found) >= {text.partition("=")[0] for text in older[host]}
        assert {package["name"] for package in info["updates"]["packages"] if package["security"]} >= secure
        assert info["updates"]["pending"] == len(every)
        assert info["updates"]["security_known"]
        if host != "nginx13":  # these get no point release any more, so their old packages stay
            assert info["updates"]["security"] > 0
            assert "updates.security.pending" in ids(info)
        assert {component["kind"] for component in info["distribution"]["components"]} == {
            "web_server",
            "php",
            "openssl",
        }
        assert all(component["from_distribution"] for component in info["distribution"]["components"])
        # What the packages have replaced is still run by what nobody has restarted.
        assert info["restart"]["services"], info["restart"]


def test_the_module_is_quick_and_small_and_asks_nobody():
    host = "apache12"
    path = module_file(host)
    program = (
        "import resource, subprocess, sys, time; began = time.monotonic();"
        "subprocess.run([sys.executable, sys.argv[1]], stdout=subprocess.DEVNULL, check=True);"
        "took = time.monotonic() - began; used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    runs = [[float(text) for text in shell(host, f"python3 -c '{program}' {path}").split()] for _ in range(3)]
    print("seconds, of the processor, MiB:", runs)
    # What else runs on the machine makes it wait; what it needs of a processor stays the same.
    assert min(used for _took, used, _size in runs) <= 1.0
    assert max(size for _took, _used, size in runs) < 80
    trace = shell(host, f"strace -f -qq -e trace=connect -o /tmp/trace python3 {path} >/dev/null; cat /tmp/trace")
    assert "AF_INET" not in trace


def test_hosts_fail_when_they_shall(play):
    run = play("--check", updates_fail=True)
    assert run.status == 2
    assert run.failed["apache11"] == run.failed["apache12"] == 1
    assert "fail: support.eol (Debian GNU/Linux 11" in " ".join(run.output.split())


def test_what_is_held_stays_in_sight_and_keeps_no_others(play):
    host, name = "apache12", "apache2"
    shell(host, f"apt-mark -qq hold {name}")
    try:
        run = play("--check", hosts=[host], updates_apply="security")
        packages = run.left[host]["info"]["updates"]["packages"]
        assert [package["name"] for package in packages if package["held"]] == [name]
        # apt's own lists of what it would install do not have it, nor what depends on it.
        assert name not in shell(host, "apt-get -s upgrade | grep ^Inst || true").split()
        assert run.failed[host] == 1, "not all that was asked for can be installed"
        assert re.search(r"wrong: apache2-bin=\S+ cannot be installed", run.said(host))
        assert re.search(r"apache2-bin=\S+ cannot be installed", run.failure(host))
        assert re.search(r"would be installed: [^|]*openssl=", run.outcome(host))
    finally:
        shell(host, f"apt-mark -qq unhold {name}")


def test_lists_that_are_old_missing_or_not_to_be_had_are_never_a_clean_bill(play):
    sources = "/etc/apt/sources.list"
    everywhere(f"cp {sources} /tmp/sources && sed -i /security/d {sources}")
    run = play(updates_max_metadata_age=1)
    for host in NAMES:
        info = run.info(host)
        assert "updates.security.suite_missing" in ids(info)
        assert not info["updates"]["security_known"]
        assert info["metadata"]["stale"] is not False, "nobody makes lists every hour"
        assert info["updates"]["security"] is None, "without its sources, none is not known"
    # What cannot be known to be done is not done.
    run = play(hosts=["nginx13"], updates_apply="security")
    assert run.failed["nginx13"] == 1 and "wrong: updates_apply: security" in run.said("nginx13")
    everywhere(f"cp /tmp/sources {sources} && apt-get -qq update")
    # Nobody listens there.
    offline = "/etc/apt/apt.conf.d/99offline"
    everywhere(f"echo 'Acquire::http::Proxy \"http://127.0.0.1:9\";' >{offline}")
    run = play(updates_refresh=True)
    everywhere(f"rm {offline}")
    for host in NAMES:
        assert "updates.source.failed" in ids(run.info(host)), run.said(host)
        assert run.info(host)["updates"]["reason"]


def test_a_dry_run_says_what_would_be_installed_and_changes_nothing(play, older):
    installed = "dpkg-query -W"
    before = everywhere(installed)
    run = play("--check", updates_apply="all", updates_restart_services=True)
    assert run.status == 0, run.output
    for host in NAMES:
        for name in (text.partition("=")[0] for text in older[host]):
            assert re.search(rf"would be installed: [^|]*\b{re.escape(name)}=", run.outcome(host))
    assert everywhere(installed) == before


def test_a_server_that_would_not_start_is_not_restarted(play, clients):
    """Its libraries are replaced, and its configuration is broken in a place that no reload has read."""
    host = "apache12"
    library = "/usr/lib/x86_64-linux-gnu/libssl.so.3"
    shell(host, f"cp -p {library} {library}.new && mv {library}.new $(readlink -f {library})")
    shell(host, "echo 'NoSuchDirective on' >/etc/apache2/conf-enabled/broken.conf")
    with clients() as seen:
        run = play(hosts=[host], updates_restart_services=True)
    assert run.failed[host] == 1 and "NoSuchDirective" in run.output
    assert seen[host].faults == []
    shell(host, "rm /etc/apache2/conf-enabled/broken.conf")


def test_security_updates_are_installed_while_the_server_serves(play, clients, older):
    with clients() as seen:
        run = play(updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    for host in NAMES:
        info = run.info(host)
        assert info["updates"]["security"] == 0, run.said(host)
        assert WEB[host] not in info["restart"]["services"]
        assert not any("libssl" in path for process in info["restart"]["processes"] for path in process["files"])
        assert re.search(rf"\brestarted: [^|]*{re.escape(WEB[host])}", run.outcome(host))
        # Apache's restart refuses or ends connections for a moment; no page is wrong or short. nginx loses nothing.
        # PHP-FPM's own reload ends a page that is in progress at that moment (process_control_timeout is 0 by default).
        of_php = [fault for _when, fault in seen[host].faults if OF_PHP.match(fault)]
        assert len(of_php) <= IN_PROGRESS, (host, of_php)
        # The two are restarted one after the other, with seconds between them on a busy machine.
        others = [(when, fault) for when, fault in seen[host].faults if not OF_PHP.match(fault)]
        kinds = {fault.partition(":")[0] for _when, fault in others}
        assert kinds <= (set() if host == "nginx13" else ENDED), (host, seen[host].faults)
        away = others[-1][0] - others[0][0] if others else 0.0
        print(host, seen[host].requests, "requests;", len(others), "failed in", away, "s")
        assert away < AWAY and len(others) < AWAY * RATE, (host, seen[host].faults)
    policies = everywhere("ls /usr/sbin/policy-rc.d 2>&1 || true")
    assert all("No such file" in text for text in policies.values())


def test_nothing_is_left_to_do(play):
    run = play(updates_apply="security", updates_restart_services=True)
    assert run.status == 0, run.output
    assert {run.changed[host] for host in NAMES} == {0}
    assert all("installed: " not in run.outcome(host) for host in NAMES)


def test_a_service_that_runs_a_deleted_library_is_named_until_the_role_restarts_it(play):
    host = "nginx13"
    zlib = "/usr/lib/x86_64-linux-gnu/libz.so.1"
    program = "import ctypes, time; ctypes.CDLL('/usr/lib/libown.so'); time.sleep(9999)"
    shell(host, f'cp {zlib} /usr/lib/libown.so; systemd-run -q --unit own python3 -c "{program}"; sleep 1')
    assert "own.service" not in play(hosts=[host]).info(host)["restart"]["services"]
    shell(host, f"cp {zlib} /usr/lib/libown.so.new; mv /usr/lib/libown.so.new /usr/lib/libown.so")
    info = play(hosts=[host]).info(host)
    assert "own.service" in info["restart"]["services"]
    (process,) = [process for process in info["restart"]["processes"] if process["unit"] == "own.service"]
    assert process["files"] == ["/usr/lib/libown.so"]
    # What may not be restarted is left, and named still.
    kept = play(hosts=[host], updates_restart_services=True, updates_restart_exclude=["own.*"])
    assert "own.service" in kept.info(host)["restart"]["services"]
    run = play(hosts=[host], updates_restart_services=True)
    assert run.changed[host] == 1 and "restarted: own.service" in run.outcome(host)
    assert "own.service" not in run.info(host)["restart"]["services"]


def test_reboots_wait_for_their_time(play):
    host = "apache12"
    shell(host, "touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs")
    try:
        info = play(hosts=[host]).info(host)
        assert info["restart"]["reboot_required"]
        assert "updates.reboot.required" in ids(info)
        now = shell(host, "date +%H").strip()
        hour = (int(now) + 12) % 24
        window = f"{hour:02}:00-{hour:02}:30"
        run = play(hosts=[host], updates_reboot="if_needed", updates_reboot_window=window)
        assert run.status == 0 and f"the reboot waits for {window}" in run.outcome(host)
        run = play("--check", hosts=[host], updates_reboot="if_needed")
        assert "would be rebooted" in run.outcome(host)
        assert float(shell(host, "cut -d' ' -f1 /proc/uptime")) > 0
    finally:
        shell(host, "rm /run/reboot-required /run/reboot-required.pkgs")


def test_the_host_updates_itself(play):
    hosts = ["apache12"]
    assert "automatic updates: off" in play(hosts=hosts).said("apache12")
    run = play(hosts=hosts, updates_automatic=True)
    assert run.status == 0, run.output
    assert "Try unattended-upgrades in a dry run" in run.output
    for host in hosts:
        automatic = run.info(host)["automatic"]
        assert automatic["enabled"] and automatic["covers_security"] and automatic["mechanism"] == "unattended-upgrades"
        shell(host, "systemctl is-active apt-daily.timer apt-daily-upgrade.timer")
    again = play(hosts=hosts, updates_automatic=True)
    assert {again.changed[host] for host in hosts} == {0}, again.output
