# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: its own process, arguments in, JSON out; and its documentation against both."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("ansible.module_utils.basic", reason="ansible-core is not installed here")
yaml = pytest.importorskip("yaml", reason="PyYAML is not installed here")

from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober  # noqa: E402
from ansible_collections.kopano.hardening.plugins.modules import tls_grade_info  # noqa: E402

from . import tls_bed as bed  # noqa: E402
from . import tls_peers as peers  # noqa: E402

NAME = "ansible_collections.kopano.hardening.plugins.modules.tls_grade_info"


def run(**arguments):
    """Run the module; gives its answer and what it said beside it."""
    arguments.setdefault("_ansible_remote_tmp", "/tmp")
    done = subprocess.run(
        [sys.executable, "-m", NAME, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})],
        capture_output=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    return json.loads(done.stdout.decode()), done.stderr.decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two names on one port: PKI and port."""
    pki = bed.Pki(tmp_path_factory.mktemp("module"))
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"])], port):
        yield pki, port


def test_documented_keys_are_the_returned_ones(site):
    pki, port = site
    with peers.serving(peers.HOSTILE["plain HTTP"]) as other:
        endpoints = [
            {"host": "good.test", "port": port, "addresses": ["127.0.0.1"]},
            {"host": "good.test", "port": other, "addresses": ["127.0.0.1"]},
            {"host": "no-such-name.invalid"},
        ]
        answer, complaints = run(endpoints=endpoints, ca_file=pki.path("root.pem"))
    assert (answer.get("failed", False), answer["changed"], complaints) == (False, False, "")
    documented = yaml.safe_load(tls_grade_info.RETURN)
    assert set(documented) <= set(answer)
    fields = documented["results"]["contains"]
    for result in answer["results"]:
        assert set(result) == set(fields)
    good, http, unresolved = answer["results"]
    assert (good["grade"], http["grade"], unresolved["grade"]) == ("A+", None, None)
    assert set(good["certificate"]) == set(fields["certificate"]["contains"])
    assert set(good["clients"][0]) == set(fields["clients"]["contains"])
    assert len(good["clients"]) > 60 and (http["clients"], unresolved["clients"]) == ([], [])
    for key in ("features", "hsts", "scores"):
        assert set(good[key]) == set(fields[key]["sample"])
    assert http["error"] == "plain HTTP, not TLS"
    assert unresolved["error"].startswith("the name does not resolve")
    assert [finding["id"] for finding in answer["findings"] if finding["severity"] == "unknown"] == [
        "tls.endpoint.error"
    ] * 2
    types = {"str": str, "int": int, "list": list, "dict": dict, "bool": bool}
    for key, value in good.items():
        assert value is None or isinstance(value, types[fields[key]["type"]]), key


@pytest.mark.parametrize(
    ("arguments", "simulated"),
    [({"mode": "full"}, True), ({"mode": "quick"}, False), ({"mode": "full", "clients": False}, False),
     ({"mode": "quick", "clients": True}, True)],
)  # fmt: skip
def test_clients_are_simulated_in_full_mode_or_where_they_are_asked_for(site, arguments, simulated):
    pki, port = site
    endpoints = [{"host": "good.test", "port": port, "addresses": ["127.0.0.1"]}]
    answer, _complaints = run(endpoints=endpoints, ca_file=pki.path("root.pem"), **arguments)
    (result,) = answer["results"]
    assert bool(result["clients"]) is simulated and result["grade"] == "A+"


def test_samples_are_of_their_types():
    types = {"str": str, "int": int, "list": list, "dict": dict, "bool": bool}

    def check(fields):
        for name, field in fields.items():
            if "contains" in field:
                check(field["contains"])
            else:
                assert "sample" in field, name
                assert field["sample"] is None or isinstance(field["sample"], types[field["type"]]), name

    check(yaml.safe_load(tls_grade_info.RETURN))


def test_documented_options_are_the_accepted_ones(monkeypatch):
    made = {}

    def take(**options):
        made.update(options)
        raise SystemExit

    monkeypatch.setattr(tls_grade_info, "AnsibleModule", take)
    with pytest.raises(SystemExit):
        tls_grade_info.main()

    def shape(options, sub):
        keys = ("type", "elements", "required", "default", "choices")
        return {
            name: ({key: option[key] for key in keys if key in option}, shape(option.get(sub, {}), sub))
            for name, option in options.items()
        }

    documented = yaml.safe_load(tls_grade_info.DOCUMENTATION)["options"]
    assert shape(documented, "suboptions") == shape(made["argument_spec"], "options")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "endpoints"),
        ({"endpoints": [{"port": 1}]}, "host"),
        ({"endpoints": [{"host": "a.test", "port": 0}]}, "0 is not a port"),
        ({"endpoints": [{"host": "a.test", "port": 65536}]}, "65536 is not a port"),
        ({"endpoints": [{"host": "a.test", "starttls": "ldap"}]}, "starttls"),
        ({"endpoints": [], "mode": "best"}, "mode"),
        ({"endpoints": [], "timeout": 0}, "timeout must be greater than 0"),
        ({"endpoints": [], "concurrency": -1}, "concurrency must be greater than 0"),
        ({"endpoints": [], "ca_file": "/does/not/exist.pem"}, "ca_file /does/not/exist.pem"),
        ({"endpoints": [], "ca_file": "/dev/null"}, "ca_file /dev/null"),
    ],
)
def test_bad_input(arguments, words):
    answer, complaints = run(**arguments)
    assert answer["failed"] is True
    assert words in answer["msg"]
    assert "Traceback" not in complaints + json.dumps(answer)


def test_nothing_to_do_and_check_mode(site):
    pki, port = site
    assert run(endpoints=[])[0] == dict(run(endpoints=[])[0], changed=False, results=[], findings=[])
    endpoints = [{"host": "good.test", "port": port, "addresses": ["127.0.0.1"], "server_name": "other.test"}]
    answer, _complaints = run(endpoints=endpoints, ca_file=pki.path("root.pem"), mode="quick", _ansible_check_mode=True)
    (result,) = answer["results"]
    assert (result["grade"], result["grade_trust_ignored"], result["server_name"]) == ("M", "A+", "other.test")


def test_what_the_servers_library_has_is_distinguished_from_what_its_configuration_offers(tmp_path):
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    with bed.nginx(pki.folder, [bed.nginx_site(port, ["good"], more="ssl_ecdh_curve X25519;")], port):
        endpoint = {"host": "127.0.0.1", "port": port, "server_name": "good.test"}
        asked = [endpoint, dict(endpoint, server_groups="x25519,X25519MLKEM768")]
        answer, _complaints = run(endpoints=asked, mode="quick")
    found = [
        [item["id"] for item in result["findings"] if "post_quantum" in item["id"]] for result in answer["results"]
    ]
    assert found == [["tls.group.no_post_quantum"], ["tls.group.post_quantum_off"]]


def test_a_mistake_of_ours_costs_one_endpoint_its_grade(site, monkeypatch):
    """Whatever goes wrong in the prober itself is an error of that endpoint."""
    pki, port = site
    real = _prober.Observer.run

    def run_or_not(self):
        if self._peer.name == "bad.test":
            raise KeyError("surprise")
        real(self)

    monkeypatch.setattr(_prober.Observer, "run", run_or_not)
    endpoints = [{"host": name, "port": port, "addresses": ["127.0.0.1"]} for name in ("bad.test", "good.test")]
    bad, good = _prober.probe_all(endpoints, "quick", trust=_prober.Trust(pki.path("root.pem")))
    assert bad["error"] == "KeyError: 'surprise'"
    assert good["error"] is None


def test_many_endpoints_are_shared_out_among_processors(tmp_path, monkeypatch):
    """The answer is the same, but for how long it took."""
    pki = bed.Pki(tmp_path)
    pki.leaf("good", key="ec")
    (port,) = bed.free_ports()
    endpoints = [
        {"host": f"n{number}.test", "port": port, "addresses": [f"127.0.0.{1 + number % 2}"]} for number in range(4)
    ]
    options = {"endpoints": endpoints, "mode": "quick", "timeout": 10.0, "ca_file": pki.path("root.pem"),
               "http": True, "concurrency": 32, "fetch_issuers": True}  # fmt: skip
    forks = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: forks.append(1) or fork())

    def timeless(answer):
        """Without what depends on how long something takes, such as the order of groups of two kinds."""
        return [
            {**{key: value for key, value in one.items() if not key.endswith("_ms")}, "groups": sorted(one["groups"])}
            for one in json.loads(json.dumps(answer["results"]))
        ]

    sites = [bed.nginx_site(port, ["good"], address=f"127.0.0.{number}") for number in (1, 2)]
    with bed.nginx(pki.folder, sites, port):
        alone = tls_grade_info.run(options)
        assert forks == [] and len(alone["results"]) == 4
        monkeypatch.setattr(tls_grade_info, "WORTH_A_PROCESS", 2)
        monkeypatch.setattr(tls_grade_info, "_processors", lambda: 8)
        shared = tls_grade_info.run(options)
        assert len(forks) == 3  # for the names, and for two endpoints each
        assert timeless(shared) == timeless(alone)
        assert shared["findings"] == alone["findings"]
