# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role frontend: its specification, and what it decides for hosts of every shape."""

from __future__ import annotations

import json
import re

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import options as _transaction_options
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import components as _webserver_components
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import components as _roles_components
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import frontend as _frontend

from .role_frontend import COMPONENTS, DATA, PROFILES, ROLE, SHAPES, SUITES, host, options, plan, render, vhost

# --- the specification -----------------------------------------------------------------------------------------------


def test_every_component_of_the_data_can_be_found_on_a_host():
    assert set(COMPONENTS) <= {component.name for component in _webserver_components.COMPONENTS}


def test_the_data_itself_is_without_fault():
    """The same rules as for the user's own changes."""
    for name, entry in COMPONENTS.items():
        assert not list(_roles_components.entry_errors(name, entry))
        assert set(DATA["defaults"]) >= set(entry) - {"title", "paths", "backend"}
    assert _frontend.option_errors(options(), DATA) == []


def test_the_plan_reads_options_that_there_are():
    folder = ROLE.parents[1] / "plugins" / "plugin_utils" / "_roles"
    code = "".join((folder / f"{name}.py").read_text() for name in ("frontend", "components"))
    read = set(re.findall(r"""options\[["'](\w+)["']\]""", code))
    assert "hsts_max_age" in read
    assert read <= set(options())


def test_profiles_are_the_guideline_s():
    """Copied by hand from version 6.0 (see docs/frontend.md): a slip of the keyboard must not go unnoticed."""
    aead = {
        f"ECDHE-{key}-{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    }
    assert set(PROFILES["intermediate"]["ciphers"]) == aead
    assert PROFILES["modern"]["ciphers"] == []
    assert PROFILES["intermediate"]["protocols"] == ["TLSv1.2", "TLSv1.3"]
    assert PROFILES["modern"]["protocols"] == ["TLSv1.3"]
    for profile in PROFILES.values():
        assert profile["groups"] == ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"]
        assert len(profile["ciphersuites"]) == 3


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hsts_max_age": -1}, ["frontend_hsts_max_age", "-1"]),
        ({"hsts_preload": True}, ["frontend_hsts_preload", "frontend_hsts_include_subdomains"]),
        (
            {"hsts_preload": True, "hsts_include_subdomains": True, "hsts_max_age": 300},
            ["frontend_hsts_preload", "frontend_hsts_max_age", "300"],
        ),
        ({"server_names": ["mail.example.com", "a;b"]}, ["frontend_server_names", "a;b"]),
        ({"server_names": ["mail.example.com\nReturn"]}, ["frontend_server_names"]),
        ({"server_names": ["-mail.example.com"]}, ["frontend_server_names", "-mail.example.com"]),
        ({"server_names": ["192.0.2.1"]}, ["frontend_server_names", "192.0.2.1"]),
        ({"server_names": ["*.example.com"]}, ["frontend_server_names", "*.example.com"]),
        ({"server_names": ["a" * 64 + ".example.com"]}, ["frontend_server_names"]),
        ({"tls_ciphers": ["AES;"]}, ["frontend_tls_ciphers", "AES;"]),
        ({"tls_groups": ["X25519 } server {"]}, ["frontend_tls_groups"]),
        ({"tls_certificate": "/etc/ssl/mail.pem"}, ["frontend_tls_certificate", "/etc/ssl/mail.pem"]),
        ({"tls_certificate_key": "/etc/ssl/mail.key"}, ["frontend_tls_certificate_key", "/etc/ssl/mail.key"]),
        ({"tls_certificate": "mail.pem", "tls_certificate_key": "/k"}, ["frontend_tls_certificate", "mail.pem"]),
        (
            {"tls_certificate_rsa": "/r.pem", "tls_certificate": "/c.pem", "tls_certificate_key": "/c.key"},
            ["frontend_tls_certificate_rsa", "/r.pem"],
        ),
        (
            {"tls_certificate_rsa": "/r.pem", "tls_certificate_rsa_key": "/r.key"},
            ["frontend_tls_certificate_rsa", "beside frontend_tls_certificate"],
        ),
        ({"acme_root": "/var/www/a b"}, ["frontend_acme_root", "/var/www/a b"]),
        ({"php": "php-fpm"}, ["frontend_php", "php-fpm"]),
        ({"keep": 0}, ["frontend_keep", "0"]),
        ({"confirm_timeout": -5}, ["frontend_confirm_timeout", "-5"]),
    ],
)
def test_bad_option_is_refused_by_name_and_value(changes, named):
    errors = _frontend.option_errors(options(**changes), DATA)
    assert len(errors) == 1
    for word in named:
        assert word in errors[0]


def test_every_fault_is_reported_at_once():
    assert len(_frontend.option_errors(options(hsts_max_age=-1, php="x", server_names=["a b", "c d"]), DATA)) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hsts_preload": "true", "hsts_include_subdomains": "yes", "hsts_max_age": "63072000"},
        {"server_names": "mail.example.com,xn--mller-kva.example"},
        {"components": "webapp, z-push", "components_off": "kweb,presence"},
        {"tls_ciphers": ["ECDHE+AESGCM", "!aNULL", "@SECLEVEL=2"], "tls_groups": ["?X25519MLKEM768", "X25519"]},
        {
            "tls_certificate": "/etc/letsencrypt/live/mail.example.com/fullchain.pem",
            "tls_certificate_key": "/etc/k.pem",
        },
    ],
)
def test_good_options_are_taken_also_as_text_from_an_inventory(changes):
    assert _frontend.option_errors(options(**changes), DATA) == []


# --- decisions -------------------------------------------------------------------------------------------------------


def test_a_host_with_tls_is_adopted_and_one_without_gets_a_site():
    info = host("nginx", "debian")
    assert plan(info, server_names=["mail.example.com"])["mode"] == "site"
    info["vhosts"] = [vhost("nginx", tls=False, port=80)]
    assert plan(info, server_names=["mail.example.com"])["mode"] == "site"
    info["vhosts"] = [vhost("nginx")]
    assert plan(info)["mode"] == "adopt"
    assert plan(info, server_names=["mail.example.com"], mode="site")["mode"] == "site"


def test_a_site_stays_a_site_whatever_comes_beside_it():
    info = host("nginx", "debian")
    path = plan(info, server_names=["mail.example.com"])["files"][-1]["path"]
    info["vhosts"] = [
        vhost("nginx", file="/etc/nginx/sites-enabled/" + path.rsplit("/", 1)[1], names=["mail.example.com"]),
        vhost("nginx", file="/etc/nginx/sites-enabled/wiki", names=["wiki.example.com"]),
    ]
    wanted = plan(info, server_names=["mail.example.com"])
    assert wanted["mode"] == "site"
    assert wanted["adopt"] is True


def test_the_packaged_virtual_hosts_alone_are_replaced_by_a_site():
    info = host("apache", "debian")
    file = "/etc/apache2/conf-enabled/kopano-webapp-apache2.conf"
    info["vhosts"] = [
        vhost("apache", file=file, port=80, tls=False),
        vhost("apache", file=file, certificate="/c", key="/k"),
    ]
    wanted = plan(info, server_names=["mail.example.com"])
    assert (wanted["mode"], wanted["adopt"]) == ("site", False)
    assert wanted["disable"] == {"confs": ["kopano-webapp-apache2"]}
    assert wanted["site"]["certificate"] == "/c"


def test_a_site_is_refused_where_virtual_hosts_bound_to_addresses_would_be_used_in_its_place():
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx", address="[::]"), vhost("nginx", address="192.0.2.1", file="/etc/x", line=7)]
    error = plan(info, server_names=["mail.example.com"], mode="site")["error"]
    assert "frontend_mode" in error
    assert "192.0.2.1:443 (/etc/x:7)" in error
    assert plan(info)["error"] == ""


def test_site_mode_needs_names():
    assert "frontend_server_names" in plan(host("apache", "debian"))["error"]


def test_of_two_servers_the_running_one_is_taken_then_the_one_with_tls_and_nothing_is_guessed():
    info = host("apache", "debian")
    info["servers"] += host("nginx", "debian")["servers"]
    names = ["mail.example.com"]
    assert "frontend_server" in plan(info, server_names=names)["error"]
    info["vhosts"] = [vhost("nginx"), vhost("apache", tls=False, port=8080)]
    assert plan(info)["server"] == "nginx"
    info["vhosts"] = [vhost("nginx", tls=False, port=80)]
    info["servers"][1]["running"] = False
    assert plan(info, server_names=names)["server"] == "apache"


def test_groups_are_narrowed_to_what_the_host_knows_but_a_list_of_the_user_is_not():
    known = ["X25519", "prime256v1", "secp384r1"]
    info = host("nginx", "debian", openssl={"version": "1.1.1w", "group_names": known, "cipher_suites": []})
    info["vhosts"] = [vhost("nginx")]
    assert plan(info)["tls"]["groups"] == {"value": "X25519:prime256v1:secp384r1", "option": "frontend_tls_profile"}
    assert plan(info, tls_groups=["X25519MLKEM768"])["tls"]["groups"] == {
        "value": "X25519MLKEM768",
        "option": "frontend_tls_groups",
    }
    info["servers"][0]["openssl"]["group_names"] = []
    assert plan(info)["tls"]["groups"]["value"] == ""


def test_suites_are_narrowed_to_what_the_host_has_as_in_fips_mode_but_a_list_of_the_user_is_not():
    suites = [suite for suite in SUITES if "CHACHA20" not in suite]
    openssl = {"version": "3.5.9", "group_names": ["prime256v1", "secp384r1"], "cipher_suites": suites}
    info = host("apache", "redhat", openssl=openssl)
    info["vhosts"] = [vhost("apache")]
    tls = plan(info)["tls"]
    assert tls["groups"]["value"] == "prime256v1:secp384r1"
    assert tls["ciphersuites"]["value"] == "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
    assert tls["ciphers"]["value"] == (
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
        "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
    )
    own = plan(info, tls_ciphers=["ECDHE-RSA-CHACHA20-POLY1305"])["tls"]["ciphers"]
    assert own == {"value": "ECDHE-RSA-CHACHA20-POLY1305", "option": "frontend_tls_ciphers"}


def test_suites_are_those_of_the_profile_where_the_hosts_openssl_could_not_be_tested():
    info = host("apache", "debian", openssl={"version": None, "group_names": [], "cipher_suites": []})
    info["vhosts"] = [vhost("apache")]
    assert plan(info)["tls"]["ciphers"]["value"] == ":".join(PROFILES["intermediate"]["ciphers"])


@pytest.mark.parametrize(("version", "tickets_off"), [("1.14.2", True), ("1.22.1", True), ("1.23.2", False)])
def test_tickets_are_off_where_nginx_does_not_change_their_keys(version, tickets_off):
    wanted = plan(host("nginx", "debian", version=version), server_names=["mail.example.com"])
    assert wanted["tls"]["tickets_off"] is tickets_off


@pytest.mark.parametrize(
    ("features", "http2", "refused"),
    [
        ({"http2": True, "http2_directive": False, "ssl_conf_command": False}, "listen", True),
        ({"http2": True, "http2_directive": False, "ssl_conf_command": True}, "listen", False),
        ({"http2": True, "http2_directive": True, "ssl_conf_command": True}, "directive", False),
        ({"http2": False, "http2_directive": False, "ssl_conf_command": True}, "", False),
    ],
)
def test_nginx_gets_no_options_that_it_does_not_know(features, http2, refused):
    info = host("nginx", "debian", features=features)
    assert plan(info, server_names=["mail.example.com"])["site"]["http2"] == http2
    own = plan(info, server_names=["mail.example.com"], tls_ciphersuites=["TLS_X"])
    assert ("frontend_tls_ciphersuites" in own["error"]) is refused
    assert refused or own["tls"]["ciphersuites"]["value"] == "TLS_X"


def test_apache_gets_http2_where_its_modules_allow():
    names = ["mail.example.com"]
    able = {"http2": True}
    assert plan(host("apache", "debian", features=able), server_names=names)["site"]["http2"] == "directive"
    prefork = plan(host("apache", "debian", features={"http2": False}), server_names=names)
    assert prefork["site"]["http2"] == ""
    assert "http2" not in prefork["enable"]["modules"]
    assert plan(host("apache", "redhat", features=able), server_names=names)["site"]["http2"] == ""
    loaded = host("apache", "redhat", features=able, modules=["ssl", "http2"])
    assert plan(loaded, server_names=names)["site"]["http2"] == "directive"
    assert plan(host("apache", "debian"), server_names=names, http2=False)["site"]["http2"] == ""


def test_certificate_is_the_named_one_else_the_host_s_own_else_the_distribution_s_with_a_warning():
    info = host("nginx", "debian")
    names = ["mail.example.com"]
    wanted = plan(info, server_names=names)
    assert wanted["site"]["certificate"] == info["snakeoil"]["certificate"]
    assert "frontend_tls_certificate" in wanted["warning"]
    info["vhosts"] = [
        vhost("nginx", certificate=info["snakeoil"]["certificate"], key=info["snakeoil"]["key"]),
        vhost("nginx", certificate="/etc/ssl/mail.pem", key="/etc/ssl/mail.key"),
    ]
    wanted = plan(info, server_names=names, mode="site")
    assert wanted["site"]["certificate"] == "/etc/ssl/mail.pem"
    assert wanted["site"]["certificate_key"] == "/etc/ssl/mail.key"
    assert wanted["warning"] == ""
    wanted = plan(info, server_names=names, mode="site", tls_certificate="/c.pem", tls_certificate_key="/k.pem")
    assert (wanted["site"]["certificate"], wanted["site"]["certificate_key"]) == ("/c.pem", "/k.pem")
    info.update(vhosts=[], snakeoil=None)
    assert "frontend_tls_certificate" in plan(info, server_names=names)["error"]


def test_what_the_role_certificate_has_installed_is_the_site_s_where_no_option_names_another():
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx", certificate="/etc/ssl/mail.pem", key="/etc/ssl/mail.key")]
    places = [
        {"path": f"/c{kind}.pem", "key_path": f"/k{kind}.pem", "key_type": kind or "ecdsa"} for kind in ("", "-rsa")
    ]

    def chosen(installed, **changes):
        more = {"server_names": ["mail.example.com"], "mode": "site", "certificate_result": {"certificates": installed}}
        site = plan(info, **more, **changes)["site"]
        return [site[name] for name in ("certificate", "certificate_key", "certificate_rsa", "certificate_rsa_key")]

    own = {"tls_certificate": "/own.pem", "tls_certificate_key": "/own.key"}
    rsa = {"tls_certificate_rsa": "/own-rsa.pem", "tls_certificate_rsa_key": "/own-rsa.key"}
    same = {"tls_certificate": "/c.pem", "tls_certificate_key": "/k.pem"}
    assert chosen(places[:1]) == ["/c.pem", "/k.pem", "", ""]
    assert chosen(places) == ["/c.pem", "/k.pem", "/c-rsa.pem", "/k-rsa.pem"] == chosen(places, **same)
    # The second kind of another certificate does not come beside one that an option names.
    assert chosen(places, **own) == ["/own.pem", "/own.key", "", ""]
    assert chosen(places, **own, **rsa) == [*own.values(), *rsa.values()]
    assert chosen(places, **same, **rsa) == [*same.values(), *rsa.values()]


def test_php_is_what_the_host_runs_unless_named():
    info = host("apache", "debian", mpm="prefork")
    info["php"] = {"module": True, "socket": ""}
    names = ["mail.example.com"]
    sockets = {item["php_socket"] for item in plan(info, server_names=names)["site"]["components"]}
    assert sockets == {""}
    chosen = plan(info, server_names=names, php="/run/other.sock")["site"]["components"]
    assert {item["name"]: item["php_socket"] for item in chosen}["webapp"] == "/run/other.sock"
    info = host("nginx", "debian")
    info["php"] = {"module": True, "socket": ""}
    assert "frontend_php" in plan(info, server_names=names)["error"]
    info["components"] = []
    assert plan(info, server_names=names)["error"] == ""


def test_components_are_the_found_ones_unless_named():
    info = host("apache", "debian")
    info["components"] = [{"name": "webapp", "flavour": "debian", "version": "3.5", "path": "/opt/webapp"}]
    site = plan(info, server_names=["mail.example.com"])["site"]
    assert [(item["name"], item["directory"]) for item in site["components"]] == [("webapp", "/opt/webapp")]
    site = plan(info, server_names=["mail.example.com"], components=["z-push"])["site"]
    assert [item["name"] for item in site["components"]] == ["z-push"]
    assert site["landing"] == ""


def test_a_name_without_tls_of_its_own_is_not_redirected():
    info = host("nginx", "debian")
    info["vhosts"] = [
        vhost("nginx", names=["mail.example.com", "*.apps.example.com"]),
        vhost("nginx", tls=False, port=80, names=["mail.example.com", "Intranet.example.com", "wiki.apps.example.com"]),
        vhost("nginx", tls=False, port=80, names=["_", "localhost"]),
        vhost("nginx", tls=False, port=8080, names=["status.example.com"]),
    ]
    assert plan(info)["plain_only"] == ["intranet.example.com"]
    assert plan(info, server_names=["intranet.example.com"])["plain_only"] == []


def test_a_name_of_a_virtual_host_for_any_port_is_plain_where_that_is_80():
    info = host("apache", "debian")
    listens = {"www.example.com": [8080], "intranet.example.com": [80, 8080]}
    info["vhosts"] = [vhost("apache", names=["mail.example.com"])] + [
        vhost("apache", tls=False, port=None, names=[name], listen=[{"address": "*", "port": port} for port in ports])
        for name, ports in listens.items()
    ]
    assert plan(info)["plain_only"] == ["intranet.example.com"]


def test_kopanos_responses_are_compared_in_adopt_mode_and_prescribed_in_site_mode():
    info = host("nginx", "debian")
    info["components"] = [{"name": "z-push", "path": ""}, {"name": "gateway", "path": ""}]
    kept = COMPONENTS["z-push"]["headers"]["keep"]
    asked = {"path": "/Microsoft-Server-ActiveSync", "keep": kept}
    upload = {"path": "/Microsoft-Server-ActiveSync", "method": "POST", "body_size": 20 << 20}
    where = {"server_name": "mail.example.com", "port": 443}
    site = plan(info, server_names=["mail.example.com"], probes=[{"path": "/status"}])
    assert site["probes"] == [
        {"path": "/status"},
        {**asked, **where, "expect": {"status": [401]}},
        {**upload, **where},
    ]
    info["vhosts"] = [vhost("nginx")]
    adopt = plan(info, probes=[{"path": "/status"}])
    assert adopt["probes"] == [{"path": "/status"}, asked, upload]


def test_a_daemon_that_is_stopped_is_no_reason_to_refuse_a_site():
    info = host("nginx", "debian")
    info["components"] = [{"name": "konnect", "path": ""}]
    probe = plan(info, server_names=["mail.example.com"])["probes"][0]
    assert probe["expect"] == {"status": [200, 502, 503, 504]}
    assert probe["headers"] == {"Origin": "https://other.invalid"}
    assert "X-Frame-Options" in probe["keep"]


def test_the_machine_s_name_is_no_name_of_its_own():
    info = host("apache", "debian")
    nameless = vhost("apache", tls=False, port=80, names=["srv1.example.com"], named=False)
    info["vhosts"] = [nameless, vhost("apache", names=["mail.example.com"])]
    assert plan(info)["plain_only"] == []
    info["vhosts"] = [nameless]
    wanted = plan(info, server_names=["mail.example.com"])
    assert wanted["site"]["shadowed"] == ["srv1.example.com"]
    assert "ServerAlias srv1.example.com" in render(wanted)[wanted["files"][-1]["path"]]
    assert plan(info, server_names=["srv1.example.com"])["site"]["shadowed"] == []


def test_redirect_goes_to_the_port_that_has_tls():
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx", port=8443)]
    assert plan(info)["https_suffix"] == ":8443"
    info["vhosts"] += [vhost("nginx")]
    assert plan(info)["https_suffix"] == ""


def test_a_block_with_tls_and_plain_http_gets_the_policy_for_both():
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx", line=3), vhost("nginx", line=3, tls=False, port=80)]
    wanted = plan(info)
    assert f"include {wanted['policy']['http']};" in render(wanted)[wanted["server_policy"]]
    assert f"include {wanted['server_policy']};" in render(wanted)[wanted["policy"]["tls"]]
    wanted = plan(info, http_redirect=False)
    assert "http.conf" not in render(wanted)[wanted["server_policy"]]
    info["vhosts"][1]["line"] = 30
    wanted = plan(info)
    assert "http.conf" not in render(wanted)[wanted["server_policy"]]


def test_without_redirect_there_is_no_plain_policy():
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx")]
    wanted = plan(info, http_redirect="false")
    assert wanted["policy"]["http"] is None
    absent = [item["path"] for item in wanted["files"] if "state" in item]
    assert absent == ["/etc/nginx/conf.d/00-kopano-tls-log.conf"]


def test_names_that_hsts_would_break_are_refused_with_an_explanation():
    names = ["example.com"]
    subdomains = {"hsts_include_subdomains": True}
    info = host("nginx", "debian")
    info["vhosts"] = [vhost("nginx", names=names)]
    assert plan(info, **subdomains)["error"] == ""
    info["vhosts"] += [vhost("nginx", tls=False, port=80, names=["autodiscover.example.com"])]
    error = plan(info, **subdomains)["error"]
    assert "frontend_hsts_include_subdomains" in error and "autodiscover.example.com" in error and "TLS" in error
    assert plan(info)["error"] == ""
    snakeoil = info["snakeoil"]["certificate"]
    info["vhosts"][1] = vhost("nginx", names=["autodiscover.example.com"], certificate=snakeoil)
    error = plan(info, **subdomains)["error"]
    assert "autodiscover.example.com" in error and snakeoil in error
    info["vhosts"] = [vhost("nginx", names=names, certificate=snakeoil)]
    assert plan(info, **subdomains)["error"] == ""
    error = plan(info, **subdomains, hsts_preload=True)["error"]
    assert "frontend_hsts_preload" in error and snakeoil in error


def test_the_directive_ssl_is_named_and_refused_where_nginx_does_not_know_it():
    found = [{"id": "frontend.nginx.ssl_on", "subject": "/etc/nginx/sites-enabled/mail:7"}]
    for version, refused in (("1.18.0", False), ("1.26.3", True)):
        info = dict(host("nginx", "debian", version=version), vhosts=[vhost("nginx")], findings=found)
        wanted = plan(info)
        assert bool(wanted["error"]) is refused
        assert "/etc/nginx/sites-enabled/mail:7" in (wanted["error"] or wanted["warning"])
        assert "frontend_repair_ssl_on" in (wanted["error"] or wanted["warning"])
        repaired = plan(info, repair_ssl_on=True)
        assert (repaired["error"], repaired["warning"]) == ("", "")
        assert repaired["policy"]["repair_ssl_on"] is True


BAD_COMPONENTS = [
    ({"components": ["webap"]}, ["frontend_components", "webap"]),
    ({"components_off": ["kweeb"]}, ["frontend_components_off", "kweeb"]),
    ({"components_override": {"kappi": {}}}, ["frontend_components_override", "kappi", "konnect"]),
    ({"components_override": [1]}, ["frontend_components_override", "[1]"]),
    ({"components_override": {"kapi": {"bakend": "x"}}}, ["frontend_components_override.kapi.bakend", "x"]),
    ({"components_override": {"kapi": {"backend": "127.0.0.1:8039"}}}, ["kapi.backend", "127.0.0.1:8039"]),
    ({"components_override": {"kapi": {"backend": "http://a b"}}}, ["kapi.backend", "http://a b"]),
    ({"components_override": {"kapi": {"backend": "http://a:99999"}}}, ["kapi.backend", "99999"]),
    ({"components_override": {"kapi": {"backend": "http://a/x"}}}, ["kapi.backend", "http://a/x"]),
    ({"components_override": {"kapi": {"read_timeout": "soon"}}}, ["kapi.read_timeout", "soon"]),
    ({"components_override": {"kapi": {"read_timeout": 0}}}, ["kapi.read_timeout", "0"]),
    ({"components_override": {"kapi": {"body_size": True}}}, ["kapi.body_size", "True"]),
    ({"components_override": {"kapi": {"paths": ["/webapp"]}}}, ["kapi.paths", "/webapp", "webapp"]),
    ({"components_override": {"kapi": {"paths": ["/kapi/"]}}}, ["kapi.paths", "/kapi/"]),
    ({"components_override": {"kapi": {"paths": []}}}, ["kapi.paths", "[]"]),
    ({"components_override": {"kapi": {"paths": ["/kapi"]}}}, ["kapi.websocket", "/api/pubs/v1/stream/websocket"]),
    ({"components_override": {"webapp": {"denied": ["("]}}}, ["webapp.denied", "("]),
    ({"components_override": {"webapp": {"denied": ['"x']}}}, ["webapp.denied"]),
    ({"components_override": {"webapp": {"headers": {"set": {"X-A": 'a"b'}}}}}, ["webapp.headers", 'a"b']),
    ({"components_override": {"webapp": {"headers": {"set": {"X-A": "$host"}}}}}, ["webapp.headers", "$host"]),
    ({"components_override": {"webapp": {"headers": {"keep": ["x-frame-options"]}}}}, ["headers", "X-Frame-Options"]),
    ({"components_override": {"webapp": {"permissions": ["telepathy"]}}}, ["webapp.permissions", "telepathy"]),
    ({"components_override": {"webapp": {"probe": {"path": "webapp"}}}}, ["webapp.probe", "webapp"]),
    ({"components_override": {"webapp": {"directory": ""}}}, ["webapp.directory"]),
    ({"components_extra": {"webapp": {"paths": ["/x"], "backend": "files"}}}, ["frontend_components_extra", "webapp"]),
    ({"components_extra": {"wiki": {"paths": ["/wiki"]}}}, ["frontend_components_extra.wiki", "backend"]),
    ({"components_extra": {"Wiki": {"paths": ["/wiki"], "backend": "unix:/x"}}}, ["frontend_components_extra", "Wiki"]),
    ({"components_extra": {"a": {"paths": ["/Autodiscover"], "backend": "unix:/x"}}}, ["autodiscover", "overlaps"]),
    ({"csp_report_uri": "reports; x"}, ["frontend_csp_report_uri", "reports; x"]),
]


@pytest.mark.parametrize(("changes", "named"), BAD_COMPONENTS)
def test_bad_component_is_refused_by_option_and_value(changes, named):
    errors = _frontend.option_errors(options(**changes), DATA)
    assert errors
    for word in named:
        assert word in " ".join(errors)


@pytest.mark.parametrize("strip", [False, True])
def test_a_backend_gets_the_whole_path_or_the_rest(strip):
    for backend in ("http://127.0.0.1:1", "unix:/run/x.sock"):
        extra = {"paths": ["/a.b"], "backend": backend, "websocket": ["/a.b/socket"], "strip": strip}
        wanted = plan(host("nginx", "debian"), server_names=["mail.example.com"], components_extra={"x": extra})
        (entry,) = [item for item in wanted["site"]["components"] if item["name"] == "x"]
        written = backend if backend.startswith("http:") else "http://" + backend
        assert entry["proxy_pass"] == written + ((":/" if written != backend else "/") if strip else "")
        rest = {"prefix": r"/a\.b", "rest": "/socket"} if strip else {"prefix": "", "rest": r"/a\.b/socket"}
        assert entry["websockets"] == [rest]


def test_components_can_be_changed_added_and_switched_off():
    info = host("nginx", "debian")
    wanted = plan(
        info,
        server_names=["mail.example.com"],
        components_override={"kapi": {"backend": "http://10.0.0.5:8039"}, "webapp": {"headers": {"set": {"X-A": "b"}}}},
        components_extra={
            "wiki": {"paths": ["/wiki"], "backend": "http://127.0.0.1:8000", "probe": {"path": "/wiki/"}}
        },
        components_off=["presence"],
    )
    assert wanted["error"] == ""
    site = {item["name"]: item for item in wanted["site"]["components"]}
    assert site["kapi"]["url"] == "http://10.0.0.5:8039"
    assert "presence" not in site
    assert site["wiki"]["read_timeout"] == DATA["defaults"]["read_timeout"]
    assert "/wiki/" in [probe["path"] for probe in wanted["probes"]]
    webapp = next(rule for rule in wanted["headers"] if rule["title"] == "WebApp")
    assert webapp["set"]["X-A"] == "b"
    assert webapp["set"]["X-Frame-Options"] == "SAMEORIGIN"


def test_cameras_are_for_meet_and_for_what_shows_web_meetings_in_a_frame():
    info = host("nginx", "debian")

    def allowed(*names: str) -> set[str]:
        info["components"] = [{"name": name, "path": ""} for name in names]
        rules = plan(info, server_names=["mail.example.com"])["headers"]
        return {rule["title"] for rule in rules if "camera=(self)" in rule["set"].get("Permissions-Policy", "")}

    assert allowed("webapp", "meet", "calendar") == {"Meet"}
    assert allowed("webapp", "webmeetings") == {"WebApp", "Web Meetings"}


def test_konnect_s_own_headers_are_left_alone():
    info = host("apache", "debian")
    info["components"] = [{"name": "konnect", "path": ""}]
    wanted = plan(info, server_names=["mail.example.com"])
    assert wanted["headers"] == []
    assert "X-Frame-Options" not in "".join(render(wanted).values())


@pytest.mark.parametrize("manager", ["ucs", "kweb"])
def test_what_others_manage_is_left_alone_with_advice(manager):
    wanted = plan(dict(host("apache", "debian"), managed_by=manager))
    assert wanted["error"] == "" and wanted["skip"]


def test_host_without_a_server_is_an_error_except_where_check_mode_could_not_install_one():
    info = dict(host("apache", "debian"), servers=[])
    assert "frontend_install" in plan(info, server_names=["mail.example.com"])["error"]
    assert "would install" in plan(info, server_names=["mail.example.com"], check_mode=True)["skip"]
    assert "frontend_install" in plan(info, check_mode=True, install=False)["error"]


@pytest.mark.parametrize("shape", SHAPES)
def test_plan_fits_the_module_s_own_specification(shape):
    wanted = plan(host(*shape), server_names=["mail.example.com"], probes=[{"path": "/status"}])
    assert wanted["error"] == ""
    json.dumps(wanted)
    spec = _transaction_options.ARGUMENT_SPEC
    for item in wanted["files"]:
        assert set(item) <= set(spec["files"]["options"])
    for probe in wanted["probes"]:
        assert set(probe) <= set(spec["probes"]["options"])
    assert set(wanted["policy"]) <= set(spec["policy"]["options"])
    for name in ("enable", "disable"):
        assert set(wanted[name]) <= set(spec[name]["options"])
    count = 7 if shape[0] == "nginx" else 6 if shape[1] == "suse" else 5
    assert len({item["path"] for item in wanted["files"]}) == count


def test_what_is_kept_and_what_became_weaker_has_a_line_each():
    kept = {"names": ["shop.test"], "file": "/etc/x", "path": None, "item": "hsts", "value": "max-age=9; preload"}
    other = dict(kept, names=[], path="/webapp/", item="X-Frame-Options", value="DENY")
    weakened = {"server_name": None, "address": "::1", "path": "/", "item": "protocols", "before": "TLSv1.3"}
    assert _frontend.kept_lines({}) == _frontend.weakened_lines({}) == []
    found = {"kept": [kept, kept, other], "weakened": [weakened]}
    assert _frontend.kept_lines(found) == [
        "stronger than the policy, kept (see frontend_replace_stronger): shop.test hsts (max-age=9; preload), "
        "/etc/x/webapp/ X-Frame-Options (DENY)",
    ]
    assert _frontend.weakened_lines(found) == ["weaker now than before: ::1/ protocols (TLSv1.3)"]
    # A probe without TLS is of no virtual host that is known.
    assert _frontend.kept_lines({"kept": [dict(other, file=None)]})[0].endswith("): /webapp/ X-Frame-Options (DENY)")
    many = [dict(kept, names=[str(number)]) for number in range(9)]
    assert _frontend.kept_lines({"kept": many})[0].endswith("2 hsts (max-age=9; preload), 6 more")


@pytest.mark.parametrize("names", [[], ["mail.example.com"]])
@pytest.mark.parametrize("key", ["frontend.config.broken", "frontend.config.not_understood"])
@pytest.mark.parametrize("server", ["apache", "nginx"])
def test_a_configuration_that_could_not_be_read_is_no_host_without_virtual_hosts(server, key, names):
    info = host(server, "debian")
    place = f"{info['servers'][0]['config_dir']}/a.conf:7"
    info["findings"] = [{"id": key, "subject": place, "evidence": "unexpected end of file"}]
    error = plan(info, server_names=names)["error"]
    assert error == f"the configuration was already broken before this run: {place}: unexpected end of file"
    # That of the other server, which is not hardened, does not matter.
    info["findings"][0]["subject"] = "/etc/another/a.conf:7"
    assert "broken" not in plan(info, server_names=names)["error"]
