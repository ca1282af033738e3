# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, ConfigError, Directive

from . import timing, web_bed

pytestmark = pytest.mark.slow

same_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, main: str, **others: str) -> None:
    """others: file names with two underscores for a slash."""
    head = web_bed.apache_head(folder, "ssl", "headers", "macro", "rewrite")
    (folder / "apache.conf").write_bytes((head + main).encode("utf-8", "surrogateescape"))
    for name, text in others.items():
        path = folder / (name.replace("__", "/") + ".conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def load(folder: Path, **options: t.Any) -> Config:
    return _apache.load(web_bed.layout("apache", folder), **options)


def dump(folder: Path) -> str:
    answer = web_bed.apache_test(folder, "-D", "DUMP_VHOSTS")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def summary(config: Config) -> list[t.Any]:
    """Virtual hosts without the main server, in an order of their own."""
    found = [vhost.as_dict() for vhost in config.vhosts if vhost.block]
    return sorted(found, key=lambda item: (item["file"], item["line"], item["address"]))


# --- Apache itself as the judge --------------------------------------------------------------------------------------


@web_bed.needs_apache
@given(st.text("ab\\\"'$#<> \t\r\n{}V", max_size=24))
@settings(same_folder, max_examples=80)
def test_words_are_those_that_apache_reads(tmp_path: Path, text: str) -> None:
    """Aliases of a virtual host that shares its address come back in the dump as they were understood."""
    assume("\n" not in text.replace("\\\r\n", "").replace("\\\n", ""))
    assume(not re.search(r"\\\r?$", text))
    host = "Define V 'a b'\n<VirtualHost 192.0.2.1:80>\nServerName x\nServerAlias -%s\n</VirtualHost>\n" % text
    write(tmp_path, host + "<VirtualHost 192.0.2.1:80>\nServerName y\n</VirtualHost>\n")
    understood = re.findall(r"(?m)^ {16} alias (.*)\n", dump(tmp_path).replace("\r", "^M"))
    (alias,) = [item for item in _webserver_model.walk(load(tmp_path).root) if item.key == "serveralias"]
    assert [word.replace("\r", "^M") for word in alias.args] == understood


CONDITIONS = st.sampled_from([
    "IfModule ssl_module", "IfModule !ssl_module", "IfModule mod_ssl.c", "IfModule nope.c", "IfModule !nope.c",
    "IfModule event.c", "IfModule http_core.c", "ifmodule core.c", "IfDefine ON", "IfDefine !ON", "IfDefine OFF",
    "IfVersion >= 2.4", "IfVersion < 2.4.1", "IfVersion 2.4", "IfVersion !~ ^2\\.[0-4]\\.", "IfVersion = /^2\\.4/",
    "IfVersion > 2.99", "IfVersion ~ 2.4", "IfFile here.conf", "IfFile !here.conf", "IfFile /no/such",
    "IfDirective SSLEngine",
])  # fmt: skip
LINES = st.sampled_from([
    "Define ON", "UnDefine ON", "Define OFF", "UnDefine OFF", "# Define OFF \\\n<VirtualHost *:1>", "Include here.conf",
    "IncludeOptional nothing/*.conf", "IncludeOptional d*/[a-c].conf", "Include d1", "",
])  # fmt: skip


@st.composite
def sections(draw: t.Any, numbers: t.Iterator[int], depth: int = 3) -> str:
    kind = draw(st.sampled_from(["line", "vhost", "section"] if depth else ["line", "vhost"]))
    if kind == "line":
        return str(draw(LINES)) + "\n"
    if kind == "vhost":
        number = next(numbers)
        more = draw(st.sampled_from(["", "ServerAlias www.h%d *.h%d\n" % (number, number), "ServerName \\\n  late\n"]))
        addresses = ["*:80", "*:443", "192.0.2.1:80", "[2001:db8::1]:443 *:81", "_default_:80", "*"]
        address = draw(st.sampled_from(addresses))
        tag = draw(st.sampled_from(["<VirtualHost %s>", "<virtualhost \\\n %s>", "  <VirtualHost  %s > ignored"]))
        return tag % address + "\nServerName h%d\n%s</VirtualHost>\n" % (number, more)
    condition = draw(CONDITIONS)
    name = condition.split(" ")[0]
    inner = draw(st.lists(sections(numbers, depth - 1), max_size=3))
    return "<%s>\n%s</%s>\n" % (condition, "".join(inner), name)


@web_bed.needs_apache
@given(st.builds("".join, st.lists(sections(itertools.count(1)), min_size=1, max_size=6)), st.booleans())
@settings(same_folder, max_examples=80)
def test_the_tree_has_the_virtual_hosts_that_apache_has(tmp_path: Path, main: str, crlf: bool) -> None:
    once = "<IfDefine !ONCE>\nDefine ONCE\n<VirtualHost *:443>\nServerName here\n</VirtualHost>\n</IfDefine>\n"
    others = {"d1__a": "<VirtualHost *:80>\nServerName a\n</VirtualHost>\n", "d1__sub__b": "", "d2__c": "Define ON\n"}
    write(tmp_path, "Define ON\n" + main.replace("\n", "\r\n" if crlf else "\n"), here=once)
    for name, text in others.items():
        path = tmp_path / (name.replace("__", "/") + ".conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    judged = load(tmp_path, vhost_dump=dump(tmp_path))
    assert all(vhost.block for vhost in judged.vhosts)
    assert summary(load(tmp_path)) == summary(judged)


@web_bed.needs_apache
@pytest.mark.parametrize(
    "text",
    [
        "<VirtualHost *:80>\nServerName a\n</VirtualHost> # of a\n",
        "<VirtualHost *:80>\nServerName a\n<Files x>\n</files>\t# y\n</VirtualHost>\n",
        '<VirtualHost *:80>\n"ServerName" a\n"</VirtualHost>"\n',
        "'<VirtualHost' *:80>\nServerName a\n</VirtualHost>\n",
        "<VirtualHost *:80>\n''\nServerName a\n\"\" x\n</VirtualHost>\n",
    ],
)
def test_tags_that_apache_takes_are_taken(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert summary(load(tmp_path)) == summary(load(tmp_path, vhost_dump=dump(tmp_path)))
    assert [vhost.names for vhost in load(tmp_path).vhosts] == [["a"]]


@web_bed.needs_apache
@pytest.mark.parametrize(
    ("text", "names"),
    [
        # a variable is replaced before the line is split, and is found whatever its case
        ("Define V 'a b'\n<VirtualHost *:80>\nServerName x\nServerAlias ${V} -${v}\n", ["x", "a", "b", "-a", "b"]),
        ("Define V 'a\" b'\n<VirtualHost *:80>\nServerName x\nServerAlias \"${V}\n", ["x", "a", "b"]),
        ("Define V ServerName\n<VirtualHost *:80>\n${V} x\n", ["x"]),
        ("Define V ' '\n${V}\n<VirtualHost *:80>\nServerName x\n ${V} \n", ["x"]),
        ("Define V ''\n<VirtualHost *:80>\nServerName ${V}\n", ["${V}"]),
        ("Define V x\nUnDefine v\n<VirtualHost *:80>\nServerName ${V}\n", ["${V}"]),
        ("Define V '<VirtualHost *:80'\n${V}>\nServerName x\n", ["x"]),
        # with two backslashes an empty line joins the one behind it
        ("<VirtualHost *:80>\nServerName x\n# C:\\\\\n\nServerName y\n", ["x"]),
        ("<VirtualHost *:80>\r\nServerName x\r\n# C:\\\\\r\n\r\nServerName y\r\n", ["x"]),
        ("<VirtualHost *:80>\nServerName x\n# C:\\\n\nServerName y\n", ["y"]),
        ("<VirtualHost *:80> \\\n\nServerName x\n", ["x"]),
        ("<VirtualHost *:80>\nServerName x\n# \0 \\\nServerName y\n", ["y"]),
        ("\0\0\n<VirtualHost *:80>\nServerName x\n", ["x"]),
    ],
)
def test_lines_are_those_that_apache_reads(tmp_path: Path, text: str, names: list[str]) -> None:
    """A second virtual host at the address makes Apache list the aliases."""
    write(tmp_path, text + "</VirtualHost>\n<VirtualHost *:80>\nServerName z\n</VirtualHost>\n")
    judged = dump(tmp_path)
    assert _apache.parse_vhost_dump(judged)[0].names == names
    assert summary(load(tmp_path)) == summary(load(tmp_path, vhost_dump=judged))
    assert load(tmp_path).vhosts[0].names == names


@web_bed.needs_apache
@pytest.mark.parametrize("addresses", ["_DEFAULT_:80", "[::]:80", "*:80 0.0.0.0:80 *:80", "[2001:DB8:0::1]:80"])
def test_addresses_are_those_that_apache_lists(tmp_path: Path, addresses: str) -> None:
    write(tmp_path, "<VirtualHost %s>\nServerName x\n</VirtualHost>\n" % addresses)
    (judged,) = load(tmp_path, vhost_dump=dump(tmp_path)).vhosts
    (read,) = load(tmp_path).vhosts
    assert read.as_dict() == judged.as_dict()


@web_bed.needs_apache
@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("HTTPS://x", "x"),
        ("h2-c://x:8443", "x"),
        ("https=\udcf3://x", "x"),
        ("://x", "x"),
        ("x:+80", "x"),
        ("x:80:90", "x"),
        ("https://x/y", "x/y"),
    ],
)
def test_a_name_is_what_apache_reads_of_it(tmp_path: Path, value: str, name: str) -> None:
    write(tmp_path, f"<VirtualHost *:80>\nServerName {value}\n</VirtualHost>\n")
    (judged,) = load(tmp_path, vhost_dump=dump(tmp_path)).vhosts
    assert judged.names == [name] == load(tmp_path).vhosts[0].names


@web_bed.needs_apache
def test_a_scheme_alone_is_no_name(tmp_path: Path) -> None:
    write(tmp_path, "<VirtualHost *:80>\nServerName https://\n</VirtualHost>\n")
    assert web_bed.apache_test(tmp_path).returncode == 0
    assert load(tmp_path).vhosts[0].names == []


@web_bed.needs_apache
@pytest.mark.parametrize(
    "text",
    [
        "<VirtualHost *:80>\n",
        "</VirtualHost>\n",
        "VirtualHost *:80>\nServerName x\n",
        "<VirtualHost *:80>\n</Directory>\n",
        "<IfDefine NO>\n<VirtualHost *:80>\n</IfDefine>\n",
        "<IfModule ssl_module>\n</IfModule >\n",
        "Include missing.conf\n",
        "IncludeOptional d/x.conf\n",
        "<VirtualHost *:80>\n<VirtualHost *:81>\n</VirtualHost>\n</VirtualHost>\n",
        "<VirtualHost *:80>\n<IfVersion > 2>\nInclude d/y.conf\n</IfVersion>\n</VirtualHost>\n",
        "<Directory />\n<VirtualHost *:80>\n</VirtualHost>\n</Directory>\n",
    ],
)
def test_what_apache_refuses_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, text, d__x="<Directory />\n", d__y="<VirtualHost *:81>\n</VirtualHost>\n")
    answer = web_bed.apache_test(tmp_path)
    assert answer.returncode != 0
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.file == re.findall(r"line \d+ of (\S+):", answer.stderr)[-1]


@web_bed.needs_apache
def test_directories_behind_links_are_read_in_apaches_order(tmp_path: Path) -> None:
    for name in ("b", "elsewhere__c", "elsewhere__deep__d"):
        path = tmp_path / (f"vhosts__{name}" if name == "b" else name).replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".conf").write_text(f"<VirtualHost *:443>\nServerName {path.name}\n</VirtualHost>\n")
    (tmp_path / "vhosts" / "a").symlink_to("../elsewhere")
    (tmp_path / "vhosts" / "z").symlink_to(tmp_path / "elsewhere" / "deep")
    write(tmp_path, "Include vhosts\n")
    judged = re.findall(r"namevhost (\w+) \((\S+):1\)", dump(tmp_path))
    assert [name for name, _path in judged] == ["c", "d", "b", "d"]
    found = [(vhost.names[0], vhost.file) for vhost in load(tmp_path).vhosts if vhost.block]
    assert found == judged


@web_bed.needs_apache
def test_a_directory_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "Include vhosts\n", vhosts__a="ServerAdmin a\n")
    (tmp_path / "vhosts" / "loop").symlink_to(".")
    (tmp_path / "vhosts" / "spin").symlink_to("../vhosts")
    main = tmp_path / "apache.conf"
    line = len(main.read_text().splitlines())
    refused = web_bed.apache_test(tmp_path).stderr
    assert f"line {line} of {main}" in refused and "Too many levels of symbolic links" in refused
    before = time.process_time()
    with pytest.raises(ConfigError, match="vhosts") as caught:
        load(tmp_path)
    assert (caught.value.file, caught.value.line) == (str(main), line)
    assert time.process_time() - before < 30  # with both links there are 2 ** 40 paths


def test_a_directory_with_too_much_in_it_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as /, which Apache does not take either: it is of no use to read all of that."""
    monkeypatch.setattr(_webserver_model, "MOST_ENTRIES", 30)
    for number in range(30):
        (tmp_path / "vhosts" / str(number // 10)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "vhosts" / str(number // 10) / f"{number}.conf").write_text("")
    write(tmp_path, "IncludeOptional vhosts\n")
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}/vhosts: more than 30 files and directories"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "vhosts" / "2")
    assert load(tmp_path).vhosts == []


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    """Apache waits for the writer of a pipe as long as there is none, and refuses a device, which may have no end."""
    write(tmp_path, "Include odd.conf\n")
    os.mkfifo(tmp_path / "odd.conf")
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}/odd.conf: not a regular file"):
        load(tmp_path)


@web_bed.needs_apache
def test_nothing_at_all_may_be_included(tmp_path: Path) -> None:
    write(tmp_path, "Include /dev/null\n")
    assert web_bed.apache_test(tmp_path).returncode == 0
    assert load(tmp_path).vhosts == []


@web_bed.needs_apache
@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("<IfModule core.c>\n", True),
        ("<IfModule core.c>\n<IfDefine !Q>\n", True),
        ("<IfModule no.c>\n", False),
        ("<IfModule core.c>\n<IfDefine Q>\n", False),
        ("<VirtualHost *>\n<IfModule core.c>\n", False),
        ("<Directory />\n", False),
        # what is begun in it ends there as well
        ("<IfModule core.c>\n<VirtualHost *>\n", True),
        ("<IfModule core.c>\n<VirtualHost *>\n<IfDefine !Q>\n", True),
        ("<IfModule core.c>\n<VirtualHost *>\n<IfDefine Q>\n", False),
        ("<VirtualHost *>\n<IfModule core.c>\n<Directory />\nAllowOverride none\n</Directory>\n", False),
        ("<IfModule core.c>\n<VirtualHost *>\n<Directory />\nAllowOverride none\n</Directory>\n", True),
    ],
)
def test_a_condition_that_holds_ends_with_its_file(tmp_path: Path, text: str, is_accepted: bool) -> None:
    write(tmp_path, f"{text}ServerName open.test\n")
    assert (web_bed.apache_test(tmp_path).returncode == 0) is is_accepted
    if is_accepted:
        directives = _webserver_model.walk(load(tmp_path).root)
        assert [item.args for item in directives if item.key == "servername"][-1] == ["open.test"]
    else:
        with pytest.raises(ConfigError, match="is not closed"):
            load(tmp_path)


def test_a_line_of_very_many_parts_takes_linear_time(tmp_path: Path) -> None:
    def read(parts: int) -> None:
        write(tmp_path, "ServerAlias" + " a\\\n" * parts + "\n")
        config = load(tmp_path)
        (names,) = (item.args for item in _webserver_model.walk(config.root) if item.key == "serveralias")
        assert len(names) == parts

    assert not timing.is_quadratic(read, 100_000)


def test_variables_without_an_end_take_linear_time(tmp_path: Path) -> None:
    def read(parts: int) -> None:
        write(tmp_path, "ServerAlias }" + " ${w" * parts + "\n")
        config = load(tmp_path)
        (names,) = (item.args for item in _webserver_model.walk(config.root) if item.key == "serveralias")
        assert len(names) == parts + 1

    assert not timing.is_quadratic(read, 4_000)


def test_a_pattern_of_more_directories_than_any_path_has_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "IncludeOptional " + "d*/" * 2000 + "\n")
    with pytest.raises(ConfigError, match="the pattern has more than 128 directories"):
        load(tmp_path)


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    """However long it is: what is read of it is bounded."""
    write(tmp_path, "ServerAdmin a\n" * 2000 + "Include apache.conf\n")
    before = time.process_time()
    with pytest.raises(ConfigError, match="go in a circle"):
        load(tmp_path)
    assert time.process_time() - before < 1


@web_bed.needs_apache
def test_a_file_that_includes_itself_until_something_is_defined(tmp_path: Path) -> None:
    own = "<IfDefine !TWICE>\nDefine TWICE\nInclude d/x.conf\n</IfDefine>\nServerAdmin a\n"
    write(tmp_path, "Include d/x.conf\n", d__x=own)
    assert web_bed.apache_test(tmp_path).returncode == 0
    assert len([item for item in _webserver_model.walk(load(tmp_path).root) if item.key == "serveradmin"]) == 2


def test_includes_that_are_nested(tmp_path: Path) -> None:
    depths = {f"d__n{number}": f"Include d/n{number + 1}.conf\n" for number in range(62)}
    write(tmp_path, "Include d/n0.conf\n", d__n62="ServerName deep\n", **depths)
    assert [*_webserver_model.walk(load(tmp_path).root)][-1].args == ["deep"]


@web_bed.needs_apache
def test_modules_are_those_that_apache_lists(tmp_path: Path) -> None:
    write(tmp_path, "")
    answer = web_bed.apache_test(tmp_path, "-D", "DUMP_MODULES")
    assert load(tmp_path).modules == frozenset(_apache.parse_module_dump(answer.stdout))


@web_bed.needs_apache
def test_version_is_the_one_that_apache_prints() -> None:
    words = web_bed.run(web_bed.APACHE, "-v").stdout
    assert "Apache/%s " % _apache.version(web_bed.APACHE) in words


# --- the two forms of the dump ---------------------------------------------------------------------------------------

DUMP = """VirtualHost configuration:
[::1]:443              six.example (/etc/apache2/sites-enabled/a\x85b (1).conf:3)
192.0.2.1:443          is a NameVirtualHost
         default server one.example (/etc/apache2/sites-enabled/one.conf:1)
         port 443 namevhost one.example (/etc/apache2/sites-enabled/one.conf:1)
                 alias www.one.example
                 wild alias *.one.example
         port 443 namevhost two.example (/etc/apache2/sites-enabled/one.conf:9)
*:80                   main.example (/etc/apache2/sites-enabled/000-default.conf:1)
*:*                    any.example (/etc/apache2/sites-enabled/any.conf:1)
*:81                   m.example (macro 'vh' (defined on line 27 of "/etc/m.conf") used on line 32 of "/etc/m.conf":1)
"""


def test_both_forms_of_the_dump() -> None:
    sites = "/etc/apache2/sites-enabled/"
    assert [tuple(item) for item in _apache.parse_vhost_dump(DUMP)] == [
        ("[::1]:443", ["six.example"], sites + "a\x85b (1).conf", 3, True),
        ("192.0.2.1:443", ["one.example", "www.one.example", "*.one.example"], sites + "one.conf", 1, True),
        ("192.0.2.1:443", ["two.example"], sites + "one.conf", 9, False),
        ("*:80", ["main.example"], sites + "000-default.conf", 1, True),
        ("*:*", ["any.example"], sites + "any.conf", 1, True),
        ("*:81", ["m.example"],
         'macro \'vh\' (defined on line 27 of "/etc/m.conf") used on line 32 of "/etc/m.conf"', 1, True),
    ]  # fmt: skip


@web_bed.needs_apache
def test_a_macros_virtual_host_is_known_but_not_judged(tmp_path: Path) -> None:
    host = "<VirtualHost *:80>\nServerName $n\nSSLEngine on\n</VirtualHost>\n"
    write(tmp_path, "<Macro VH $n>\n%s</Macro>\nUse VH m.example\n" % host)
    (vhost,) = load(tmp_path, vhost_dump=dump(tmp_path)).vhosts
    assert (vhost.names, vhost.port, vhost.block, vhost.tls) == (["m.example"], 80, None, None)
    assert load(tmp_path).vhosts == []


# --- what a virtual host is ------------------------------------------------------------------------------------------

VHOST = "<VirtualHost *:443>\n%s\n</VirtualHost>\n"


@pytest.mark.parametrize(
    ("main", "tls"),
    [
        (VHOST % "", False),
        (VHOST % "SSLEngine on", True),
        (VHOST % "sslengine On", True),
        (VHOST % "SSLEngine off\nSSLEngine on", True),
        (VHOST % "SSLEngine on\nSSLEngine off", False),
        (VHOST % "SSLEngine optional", False),
        ("SSLEngine on\n" + VHOST % "", True),
        ("SSLEngine on\n" + VHOST % "SSLEngine off", False),
        (VHOST % "Include inner.conf", True),
        (VHOST % "<IfModule mod_ssl.c>\nSSLEngine on\n</IfModule>", True),
        (VHOST % "<IfModule nope_module>\nSSLEngine on\n</IfModule>", False),
        (VHOST % "<IfDefine !X>\n<IfVersion >= 2.4>\nInclude inner.conf\n</IfVersion>\n</IfDefine>", True),
        ("Define E on\n" + VHOST % "SSLEngine ${E}", True),
        # with a certificate alone, Apache 2.4 speaks plain HTTP even on the port that Listen calls https
        ("Listen 443 https\n" + VHOST % "SSLCertificateFile c.pem", False),
    ],
)
def test_tls(tmp_path: Path, main: str, tls: bool) -> None:
    write(tmp_path, main, inner="SSLEngine on\n")
    (vhost,) = load(tmp_path).vhosts
    assert vhost.tls is tls


def test_certificate_and_overrides(tmp_path: Path) -> None:
    write(
        tmp_path,
        """
SSLCertificateKeyFile /etc/k.pem
SSLProtocol all
Header set Strict-Transport-Security "a"
<Directory /srv>
    Header append strict-transport-security: x
    SSLCipherSuite HIGH
</Directory>
<VirtualHost *:443>
    SSLEngine on
    SSLCertificateFile c1.pem
    SSLCertificateFile c2.pem
    SSLProtocol TLSv1
    SSLOpenSSLConfCmd Curves secp384r1
    SSLOpenSSLConfCmd DHParameters "dh.pem"
    SSLOpenSSLConfCmd RecordPadding 1
    Header set X-Strict-Transport-Security x
    Header always set X-Y "no strict-transport-security"
    <Location /x>
        Header always merge Strict-Transport-Security y
        <IfModule nope_module>
            SSLCipherSuite NULL
        </IfModule>
    </Location>
    Include inner.conf
    Include kopano-hardening/tls.conf
    # kopano.hardening begin
    SSLProtocol all
    # kopano.hardening end
    SSLUseStapling on
</VirtualHost>
""",
        inner="SSLHonorCipherOrder off\n",
        **{"kopano-hardening__tls": "SSLProtocol all -SSLv3\n"},
    )
    (vhost,) = load(tmp_path).vhosts
    assert (vhost.certificate, vhost.key) == (str(tmp_path / "c1.pem"), "/etc/k.pem")
    assert [(item.name, item.args[0]) for item in vhost.overrides] == [
        ("SSLProtocol", "TLSv1"),
        ("SSLOpenSSLConfCmd", "Curves"),
        ("SSLOpenSSLConfCmd", "DHParameters"),
        ("Header", "always"),
        ("SSLHonorCipherOrder", "off"),
        ("SSLUseStapling", "on"),
        ("Header", "append"),
        ("SSLCipherSuite", "HIGH"),
    ]


def test_the_main_server_serves_where_no_virtual_host_does(tmp_path: Path) -> None:
    listens = "Listen 80\nListen 192.0.2.1:443 https\nListen [::]:81\n"
    write(tmp_path, listens + "SSLEngine on\n<VirtualHost *:80>\n</VirtualHost>\n")
    config = load(tmp_path)
    mains = [(v.names, v.address, v.port, v.tls, v.default, v.block) for v in config.vhosts[1:]]
    assert mains == [
        (["main.example"], "192.0.2.1", 443, True, True, None),
        (["main.example"], "[::]", 81, True, True, None),
    ]


V4, V6, LOCAL = "192.0.2.1", "[2001:db8::1]", "127.0.0.1"


@pytest.mark.parametrize("dumped", [False, pytest.param(True, marks=web_bed.needs_apache)])
@pytest.mark.parametrize(
    ("listens", "vhosts", "reached"),
    [
        # An address of its own is where it is reached, whatever Listen has.
        (["443"], [f"{V4}:443"], [[(V4, 443)]]),
        # One for all addresses is reached at the loopback, unless nothing listens there.
        (["443"], ["*:443"], [[("*", 443)]]),
        (["0.0.0.0:443"], ["*:443"], [[("*", 443)]]),
        (["[::]:443"], ["_default_:443"], [[("*", 443)]]),
        ([f"{V4}:443", f"{V6}:443"], ["*:443"], [[(V4, 443)]]),
        ([f"{LOCAL}:443", f"{V6}:443"], ["*:443"], [[(V6, 443)]]),
        ([f"{LOCAL}:443"], ["*:443"], [[(LOCAL, 443)]]),
        ([f"{V4}:443", f"{LOCAL}:8443"], ["*:8443"], [[(LOCAL, 8443)]]),
        # Where other virtual hosts have the address, it serves none of the requests there.
        ([f"{V4}:443", f"{V6}:443"], [f"{V4}:443", "*:443"], [[(V4, 443)], [(V6, 443)]]),
        ([f"{V4}:443", f"{V6}:443"], [f"{V4}:443 {V6}:443", "*:443"], [[(V4, 443), (V6, 443)], []]),
        ([f"{V4}:443", f"{V6}:443"], [V4, "*:443"], [[(V4, 443)], [(V6, 443)]]),
        # One for any port is reached at each that Listen has.
        (["80", "443"], ["*"], [[("*", 80), ("*", 443)]]),
        (["80", f"{V4}:443", f"{V6}:8443"], [f"{V4}:*"], [[(V4, 80), (V4, 443)]]),
        (["80", "443"], ["*:80", "*"], [[("*", 80)], [("*", 443)]]),
        # What Listen does not name at all may be in a text that is not read.
        (["80"], ["*:443"], [[("*", 443)]]),
    ],
)
def test_where_a_virtual_host_is_reached(
    tmp_path: Path, dumped: bool, listens: list[str], vhosts: list[str], reached: list[list[tuple[str, int]]]
) -> None:
    text = "".join(f"Listen {words}\n" for words in listens)
    for number, words in enumerate(vhosts):
        text += f"<VirtualHost {words}>\nServerName v{number}.example\n</VirtualHost>\n"
    write(tmp_path, text)
    config = load(tmp_path, vhost_dump=dump(tmp_path) if dumped else None)
    found: dict[str, list[tuple[str, int]]] = {f"v{number}.example": [] for number in range(len(vhosts))}
    for vhost in config.vhosts:
        if vhost.block:
            found[vhost.names[0]] += [(place["address"], place["port"]) for place in vhost.listen]
    assert [sorted(places) for places in found.values()] == [sorted(places) for places in reached]


def test_a_port_that_is_no_number_is_none(tmp_path: Path) -> None:
    """Apache refuses it; a digit of another script must be no traceback."""
    long = "9" * 5000
    write(tmp_path, "Listen 80\u00b2\nListen %s\n<VirtualHost *:8\u00b2>\n</VirtualHost>\n" % long)
    found = [(v.address, v.port) for v in load(tmp_path).vhosts]
    assert found == [("*:8\u00b2", None), ("80\u00b2", None), (long, None)]


def test_a_version_without_end_is_compared(tmp_path: Path) -> None:
    write(tmp_path, "<IfVersion >= %s>\nServerName x\n</IfVersion>\n" % ("9" * 5000))
    assert [item.active for item in load(tmp_path).root if item.key == "ifversion"] == [False]


@web_bed.needs_apache
@pytest.mark.parametrize(
    ("pattern", "is_accepted"),
    [("(?<name>2)", True), ("(", False), ("(" * 3000 + ")" * 3000, False), ("2{99999999999}", False)],
)
def test_what_has_a_pattern_of_pcres_own_is_not_overlooked(tmp_path: Path, pattern: str, is_accepted: bool) -> None:
    write(tmp_path, f"<IfVersion /{pattern}/>\nServerName x\n</IfVersion>\n")
    assert (web_bed.apache_test(tmp_path).returncode == 0) is is_accepted
    assert [item.active for item in load(tmp_path).root if item.key == "ifversion"] == [True]


def test_the_main_server_is_there_once_however_often_listen_says_so(tmp_path: Path) -> None:
    write(tmp_path, "Listen 443 https\n" * 5000)
    (vhost,) = load(tmp_path).vhosts
    assert (vhost.address, vhost.port, vhost.block) == ("*", 443, None)


def test_a_name_without_scheme_and_port(tmp_path: Path) -> None:
    write(tmp_path, VHOST % "ServerName https://mail.example:8443\nServerAlias a b\nServerAlias c")
    (vhost,) = load(tmp_path).vhosts
    assert (vhost.names, vhost.named) == (["mail.example", "a", "b", "c"], True)


def test_a_virtual_host_without_a_name_has_the_main_servers(tmp_path: Path) -> None:
    write(tmp_path, VHOST % "")
    (vhost,) = load(tmp_path).vhosts
    assert (vhost.names, vhost.named) == (["main.example"], False)


# --- places in the text ----------------------------------------------------------------------------------------------


@st.composite
def bodies(draw: t.Any, depth: int = 3) -> str:
    indent = draw(st.sampled_from(["", "  ", "\t"]))
    end = draw(st.sampled_from(["\n", " \n", "\r\n"]))
    words = st.text("abcé\"'", min_size=1, max_size=5)
    kind = draw(st.sampled_from(["comment", "blank", "directive", "section"] if depth else ["comment", "directive"]))
    if kind == "comment":
        return str(indent + "# " + draw(words) + draw(st.sampled_from(["", " \\\n still \\\n this"])) + end)
    if kind == "blank":
        return str(end)
    if kind == "directive":
        joint = st.sampled_from([" ", "  ", " \\\n  ", "\\\r\n "])
        args = "".join(draw(joint) + draw(words) for _ in range(draw(st.integers(0, 3))))
        return indent + "Do" + args + end
    inner = "".join(draw(st.lists(bodies(depth - 1), max_size=3)))
    return indent + "<In " + draw(words) + ">" + end + inner + indent + "</in>" + end


@given(st.builds("".join, st.lists(bodies(), max_size=5)), st.booleans())
@settings(same_folder, max_examples=200)
def test_spans_hold_just_what_the_directive_is(tmp_path: Path, text: str, cut: bool) -> None:
    text = text.rstrip("\r\n") if cut else text
    layout = web_bed.layout("apache", tmp_path)
    config = _apache.load(layout, files=_webserver_model.Files({layout.main_config: text}))

    def check(items: list[Directive], start: int, end: int) -> None:
        position = start
        for item in items:
            between = text[position : item.start]
            assert re.fullmatch(r"(?:\s|#(?:[^\n]*\\\r?\n)*[^\n]*(?:\n|$))*", between), between
            piece = text[item.start : item.end]
            assert piece == piece.strip()
            assert item.line == text.count("\n", 0, item.start) + 1
            if item.children is None:
                assert piece.startswith(item.name)
            else:
                assert piece.startswith("<In ") and piece.endswith("</in>")
                assert item.body_start is not None and item.body_end is not None
                assert text[item.body_start - 1] == ">" and text.startswith("</in>", item.body_end)
                check(item.children, item.body_start, item.body_end)
            position = item.end

    check(config.root, 0, len(text))


@given(st.one_of(st.binary(max_size=200), st.text("<>/\\\"'${}# \n\rIfModule!", max_size=80).map(str.encode)))
@settings(same_folder, max_examples=300)
def test_any_bytes_are_parsed_or_refused(tmp_path: Path, data: bytes) -> None:
    layout = web_bed.layout("apache", tmp_path)
    files = _webserver_model.Files({layout.main_config: _webserver_model.decode(data)})
    try:
        config = _apache.load(layout, files=files)
    except ConfigError as error:
        assert error.line is None or 1 <= error.line <= data.count(b"\n") + 1
    else:
        assert _webserver_model.encode(config.files[layout.main_config]) == data


# --- the environment -------------------------------------------------------------------------------------------------


def test_variables_come_from_the_envvars_file(tmp_path: Path) -> None:
    (tmp_path / "envvars").write_text(
        "unset HOME\nSUFFIX=-x\nexport LOGS=/var/log/apache2$SUFFIX\nAPACHE_ARGUMENTS='-D ONE -f x -DTWO'\n"
    )
    write(tmp_path, "ErrorLog ${LOGS}/e.log\nCustomLog ${NONE}/a.log x\n<IfDefine TWO>\nListen 81\n</IfDefine>\n")
    layout = web_bed.layout("apache", tmp_path)._replace(envvars=str(tmp_path / "envvars"))
    config = _apache.load(layout)
    assert _webserver_model.log_files(config) == [str(tmp_path / "error.log"), "/var/log/apache2-x/e.log"]
    assert [vhost.port for vhost in config.vhosts] == [81]


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, []),
        ({"OPTIONS": "-D A -DB -f -D"}, ["A", "B"]),
        ({"APACHE_SERVER_FLAGS": "SSL STATUS"}, ["SSL", "STATUS"]),
        ({"APACHE_ARGUMENTS": '-D "'}, ['"']),
        ({"OPTIONS": "-f /etc/x-Dy"}, []),
    ],
)
def test_names_defined_on_the_command_line(variables: dict[str, str], names: list[str]) -> None:
    assert _apache.flags(variables) == names


def test_backends_and_logs(tmp_path: Path) -> None:
    write(tmp_path, r"""
ErrorLog logs/e.log
ErrorLog syslog:local1
CustomLog "|/usr/bin/rotatelogs /x 5" combined
CustomLog /var/log/a.log combined
Listen web.example:82
Listen 192.0.2.1:83
<VirtualHost *:80 host.example:80>
    TransferLog logs/t.log
    ProxyPass /a http://app.example:8080/ timeout=60
    ProxyPass /b unix:/run/b.sock|http://localhost/
    ProxyPassMatch ^/c fcgi://127.0.0.1:9000/srv
    ProxyPass /d balancer://pool/
    <Proxy balancer://pool>
        BalancerMember https://one.example:443
        BalancerMember http://[2001:db8::1]:80
    </Proxy>
    <FilesMatch \.php$>
        SetHandler "proxy:unix:/run/php/php-fpm.sock|fcgi://localhost/"
    </FilesMatch>
    RewriteRule ^/ws(.*) unix:/run/ws.sock|ws://localhost$1 [P]
</VirtualHost>
""")  # fmt: skip
    config = load(tmp_path)
    assert _webserver_model.unix_sockets(config) == ["/run/b.sock", "/run/php/php-fpm.sock", "/run/ws.sock"]
    assert _webserver_model.host_names(config) == ["web.example", "host.example", "app.example", "one.example"]
    assert _webserver_model.log_files(config) == [
        str(tmp_path / "error.log"), str(tmp_path / "logs/e.log"), "/var/log/a.log", str(tmp_path / "logs/t.log"),
    ]  # fmt: skip


def test_virtual_hosts_that_are_set_up_in_the_same_way_are_a_group(tmp_path: Path) -> None:
    site = (
        "<VirtualHost {}>\nServerName {}\nSSLEngine on\nSSLCertificateFile {}\n"
        "SSLCertificateKeyFile /k\n{}\n</VirtualHost>\n"
    ).format
    main = (
        "Listen 443\nSSLProtocol TLSv1.2\n"
        + site("*:443", "a", "/c", "") + site("*:443", "b", "/c", "Header set Strict-Transport-Security x")
        + site("*:443", "other", "/d", "") + site("*:444", "port", "/c", "")
        + site("*:443", "own", "/c", "SSLCipherSuite ALL")
        + site("*:443", "on", "/c", "<IfModule ssl_module>\nSSLCipherSuite ALL\n</IfModule>")
        + site("*:443", "off", "/c", "<IfModule !ssl_module>\nSSLCipherSuite ALL\n</IfModule>")
        + site("*:443", "deeper", "/c", "<Location />\nSSLVerifyClient require\n</Location>")
    )  # fmt: skip
    write(tmp_path, main)
    config = load(tmp_path)
    groups = {vhost.names[0]: vhost.tls_group for vhost in config.vhosts if vhost.block}
    assert groups["a"] == groups["b"] == groups["off"] and groups["own"] == groups["on"]
    assert len({groups[name] for name in ("a", "other", "port", "own", "deeper")}) == 5
    # A virtual host without text, as one of a macro.
    config.vhosts[0].block = None
    assert _webserver_model.tls_group(config, config.vhosts[0]) is None


# --- read once, and then listed by Apache ---


def dumped(folder: Path) -> str:
    answer = web_bed.apache_test(folder, "-D", "DUMP_VHOSTS", "-D", "DUMP_MODULES")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@web_bed.needs_apache
def test_what_apache_lists_is_found_in_what_was_read(tmp_path: Path) -> None:
    site = (
        "<VirtualHost 192.0.2.1:80>\nServerName {}\n<IfModule {}>\nServerAlias more.{}\n</IfModule>\n</VirtualHost>\n"
    )
    write(tmp_path, "".join(site.format(name, "mod_ssl.c", name) for name in ("one", "two")))
    # With the modules that this Apache has, as those of a host are known.
    first = load(tmp_path, modules=_apache.parse_module_dump(dumped(tmp_path)))
    own = summary(load(tmp_path, vhost_dump=dumped(tmp_path), modules=first.modules))
    found = _apache.as_dumped(first, web_bed.layout("apache", tmp_path), dumped(tmp_path))
    assert found is first and summary(found) == own
    assert [vhost.names for vhost in found.vhosts if vhost.block] == [["one", "more.one"], ["two", "more.two"]]


@web_bed.needs_apache
def test_it_is_read_again_where_apache_has_other_modules_or_other_places(tmp_path: Path) -> None:
    layout = web_bed.layout("apache", tmp_path)
    site = "<VirtualHost 192.0.2.1:80>\nServerName one\n<IfModule nope_module>\nServerAlias more\n</IfModule>\n"
    site += "</VirtualHost>\n"
    write(tmp_path, site)
    dump = dumped(tmp_path)
    modules = _apache.parse_module_dump(dump)
    others = load(tmp_path, modules=[*modules, "nope"])
    assert summary(others)[0]["names"] == ["one", "more"]
    assert summary(_apache.as_dumped(others, layout, dump))[0]["names"] == ["one"]
    # Edited between the two readings.
    before = load(tmp_path, modules=modules)
    write(tmp_path, "# a comment\n\n" + site.replace("one", "new"))
    now = _apache.as_dumped(before, layout, dumped(tmp_path))
    assert now is not before and summary(now)[0]["names"] == ["new"]
