# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apache configurations as administrators could have them, in the files of Debian's layout.

Nearly all of them are what Apache accepts: what is odd about them is how they are written.
"""

from __future__ import annotations

import random
import typing as t

from .configurations import Case, Writer, encoded

MODULES = "/usr/lib/apache2/modules"
LOADED = (
    "mpm_event", "authz_core", "socache_shmcb", "ssl", "headers", "rewrite", "macro", "alias", "setenvif", "dir", "env",
    "proxy", "proxy_http",
)  # fmt: skip
HEAD = (
    "PidFile Q:@ROOT@/pid", "ErrorLog Q:@ROOT@/logs/error.log", "Define ON", "Define PORT 443", "Define port443 *:443",
    "Define word Q:w", "Define Text Q:a b", "Define Names Q:n1.example n2.example", "ServerName main.example",
)  # fmt: skip
ADDRESSES = (
    "*:443", "*:443", "*:80", "*:80", "_default_:443", "_DEFAULT_:80", "*", "*:8443", "0.0.0.0:80", "192.0.2.1:443",
    "192.0.2.1:80", "[2001:db8::1]:443", "[2001:DB8:0::1]:443", "[::]:443", "127.0.0.1:80", "_default_", "*:*",
    "${Port443}", "*:${PORT}", "192.0.2.1",
)  # fmt: skip
# Lines for any place in a virtual host; what is behind Q: is to be quoted somehow.
LINES = (
    "SSLCipherSuite TLSv1.3 Q:TLS_AES_256_GCM_SHA384",
    "Define Later ${word}",
    "ServerAdmin Q:admin@mail.example",
    "DocumentRoot Q:@ROOT@/www",
    "UseCanonicalName Off",
    "UseCanonicalName DNS",
    "UseCanonicalPhysicalPort On",
    "LogLevel warn ssl:info",
    "CustomLog Q:@ROOT@/logs/access.log Q:%h %t \\\"%r\\\" %>s",
    'CustomLog "|/bin/cat -u" combined env=!quiet',
    "ErrorLog Q:@ROOT@/logs/error.log",
    "SetEnvIf User-Agent Q:^curl Q:quiet",
    "ErrorDocument 404 Q:not found",
    'ErrorDocument 403 "not closed',
    "Redirect permanent /old Q:https://mail.example/new",
    "RedirectMatch 302 ^/$ /webapp",
    'AliasMatch "^/x{2,3}<y>$" "@ROOT@/www"',
    "Alias /static Q:@ROOT@/www",
    "ProxyPass /api http://127.0.0.1:8080/ retry=0",
    "ProxyPassReverse /api http://127.0.0.1:8080/",
    "ProxyPreserveHost On",
    "RewriteEngine On",
    "RewriteEngine Off",
    "RewriteEngine on",
    "RewriteCond %{HTTPS} !=on",
    'RewriteRule ^/?(.*)$ "https://%{SERVER_NAME}/$1" [R=301,L]',
    "RewriteRule ^ - [E=x:%{HTTP:X-Y},NE]",
    "Options -Indexes",
    "SetEnv Q:a Q:b c",
    "Timeout 60",
    "KeepAlive On",
    "DirectoryIndex index.html Q:index.php",
    "SSLEngine on",
    "SSLEngine Off",
    "SSLCertificateFile Q:@ROOT@/cert.pem",
    "SSLCertificateKeyFile Q:@ROOT@/key.pem",
    "SSLProtocol all -SSLv3",
    "SSLProtocol TLSv1.3",
    "SSLProtocol -all +TLSv1.2",
    "SSLProtocol Q:+TLSv1.2",
    "SSLHonorCipherOrder off",
    "SSLSessionTickets off",
    "SSLCompression off",
    "SSLUseStapling on",
    "SSLInsecureRenegotiation off",
    "SSLStrictSNIVHostCheck on",
    "SSLOpenSSLConfCmd Curves X25519:prime256v1",
    "SSLOpenSSLConfCmd Q:MinProtocol Q:TLSv1.2",
    "SSLOpenSSLConfCmd Options -SessionTicket",
    "SSLSessionCacheTimeout 300",
    "Protocols h2 http/1.1",
    "LimitRequestBody 0",
)  # fmt: skip
# Lines that directories and locations take as well
INNER = (
    "SSLCipherSuite HIGH:!aNULL",
    "SSLCipherSuite Q:ECDHE+AESGCM",
    "SSLVerifyClient none",
    "SSLOptions +StdEnvVars",
    "Header set Strict-Transport-Security Q:max-age=63072000; includeSubDomains",
    "Header always set Strict-Transport-Security Q:max-age=300",
    "Header always set Strict-Transport-Security: max-age=31536000 env=HTTPS",
    "Header set Strict-Transport-Security Q:max-age=1 Q:expr=%{HTTPS} == 'on'",
    "Header onsuccess append strict-transport-security preload",
    "Header unset Strict-Transport-Security",
    "Header edit Strict-Transport-Security Q:^(.*)$ Q:$1; preload",
    "Header set X-Frame-Options Q:SAMEORIGIN",
    "Header always set Content-Security-Policy Q:frame-ancestors 'self'",
    "Header merge Cache-Control Q:no-cache Q:env=!quiet",
    "Header echo ^X-",
    "Header set X-Text Q:a \\\"b\\\" ODD %t",
    "RequestHeader set X-Forwarded-Proto https",
    "RequestHeader edit X-A Q:x ${Text} Q:b",
    "SetEnvIf Host ^ ${word}=1",
)  # fmt: skip
WITHIN = ("Require all granted", "SSLRequireSSL", "Require all denied")
# Which directives and sections Apache knows is not known to the reader: those that are there.
CONDITIONS = (
    "IfModule ssl_module", "IfModule mod_ssl.c", "IfModule !nope.c", "IfModule nope_module",
    "IfModule Q:headers_module", "IfDefine ON", "IfDefine !ON", "IfDefine OFF", "IfDefine word", "IfDefine DUMP_NOT",
    "IfVersion >= 2.4", "IfVersion < 2.4", "IfVersion 2.4", "IfVersion !~ ^2\\.[0-3]", "IfFile Q:@ROOT@/www",
    "IfFile !ports.conf", "IfFile ports.conf", "IfDirective SSLEngine", "IfSection VirtualHost", "IfModule !!nope.c",
    "IfVersion = /^2\\.4/", "IfVersion != 2.4.1", "IfVersion ~ 2\\.4", "IfModule rewrite_module",
    "IfModule MOD_SSL.C",
)  # fmt: skip
SECTIONS = (
    "Location /", "Location Q:/webapp", "LocationMatch ^/(a|b)/", 'LocationMatch "^/x>y"', "Directory Q:@ROOT@/www",
    "Directory ~ ^/srv/[a-z]{1,3}$", "DirectoryMatch Q:^/srv/.+/x", "Files Q:*.php", "FilesMatch \\.(ht|bak)$",
    "FilesMatch Q:\\.php$", "If Q:%{HTTP_HOST} == 'x'", 'If "%{REQUEST_URI} =~ m#^/a# && -n %{QUERY_STRING}"',
    "Proxy *", "ProxyMatch Q:^http", "Location ~ Q:^/[0-9]+", "If Q:%{HTTPS} == 'on' && 1 > 0",
)  # fmt: skip


class _Grammar(Writer):
    """One configuration."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(source)
        self.snippets: list[str] = []

    # how things are written

    def word(self, text: str) -> str:
        """A word in quotes of some kind, or without where it needs none. Quotes in it are escaped already, as in "."""
        quotes = ['"%s"' % text, '"%s"' % text]
        if "\\" not in text:
            quotes += ["'%s'" % text] if "'" not in text else []
            quotes += [] if any(sign in text for sign in " '\"") else [text]
        return self.one(*quotes)

    def gap(self) -> str:
        if self.chance(0.85):
            return " "
        return self.one("\t", "  ", " \t ", "\v", "\f", " \\" + self.end + "    ", "\\" + self.end + " ")

    def words(self, line: str) -> str:
        """The words of a line of the tables, with blanks and quotes by chance."""
        plain, *quoted = (" " + line).split(" Q:")
        return self.gap().join([*plain.split(), *(self.word(part) for part in quoted)])

    def line(self, line: str, depth: int) -> str:
        name, _blank, rest = line.partition(" ")
        text = self.mixed(name)
        if self.chance(0.02):
            text = '"%s"' % text
        if rest:
            text += self.gap() + self.words(rest)
        if self.chance(0.02) and len(text) > 4:
            at = self.source.randrange(1, len(text) - 1)
            text = text if "\\" in text[at - 1 : at + 1] else text[:at] + "\\" + self.end + text[at:]
        return self.indent(depth) + text + self.one("", "", "", "", " ", "\t ") + self.end

    def indent(self, depth: int) -> str:
        return "    " * depth if self.chance(0.85) else self.one("", "\t" * depth, " ", "\v")

    def section(self, tag: str, body: str, depth: int) -> str:
        """A section around a body."""
        name, _blank, rest = tag.partition(" ")
        conditional = name in ("IfModule", "IfDefine", "IfVersion", "IfFile", "IfDirective", "IfSection", "Macro")
        opened = "<" + self.mixed(name) + (self.gap() + self.words(rest) if rest else "")
        opened += self.one("", "", "", " ") + ">"
        closed = "</" + self.mixed(name) + ">"
        if not conditional:
            closed += self.one("", "", "", "", " ", " # " + name, " x")
        return self.indent(depth) + opened + self.end + body + self.indent(depth) + closed + self.end

    # what there is

    def name(self) -> str:
        self.number += 1
        return self.one("host%d.example", "h%d.mail.example", "www%d.test") % self.number

    def filler(self, depth: int) -> str:
        kind = self.source.random()
        if kind < 0.5:
            return self.end
        text = self.comment()
        if self.chance(0.15):
            text += " \\" + self.end + self.one("<VirtualHost *:80>", "still", "SSLEngine on", "</Location>")
        return self.indent(depth) + text + self.end

    def body(self, depth: int, inside: bool, most: int = 6) -> str:
        """Lines and sections. inside: below a directory, a location or a file."""
        text = ""
        for _time in range(self.source.randrange(most)):
            kind = self.source.random()
            if kind < 0.12:
                text += self.filler(depth)
            elif kind < 0.2 and depth < 5:
                text += self.conditional(depth, lambda: self.body(depth + 1, inside, 4))
            elif kind < 0.32 and depth < 5 and not inside:
                text += self.section(self.one(*SECTIONS), self.body(depth + 1, True, 4), depth)
            elif kind < 0.36 and inside and depth < 6:
                text += self.section(
                    self.one("If Q:-z %{QUERY_STRING}", "RequireAny", "Limit POST"), self.granted(depth), depth
                )
            elif kind < 0.4 and self.snippets and not inside:
                text += self.line("%s %s" % (self.one("Include", "IncludeOptional"), self.one(*self.snippets)), depth)
            elif inside or kind < 0.6:
                text += self.line(self.one(*(INNER + WITHIN if inside else INNER)), depth)
            else:
                text += self.line(self.one(*LINES), depth)
        return text

    def granted(self, depth: int) -> str:
        return self.line("Require all granted", depth + 1)

    def conditional(self, depth: int, body: t.Callable[[], str]) -> str:
        return self.section(self.one(*CONDITIONS), body(), depth)

    def vhost(self, depth: int = 0) -> str:
        addresses = [self.one(*ADDRESSES) for _time in range(self.source.choice((1, 1, 1, 1, 2, 3)))]
        secure = self.chance(0.6)
        lines = [self.line("ServerName " + self.one("", "", "", "https://") + self.name(), depth + 1)]
        lines *= not self.chance(0.08)
        if self.chance(0.4):
            names = [self.word(self.name()) for _time in range(self.source.randrange(1, 4))]
            lines.append(
                self.line("ServerAlias " + " ".join([*names, *self.some(("*.x.example", "${Names}"), 1)]), depth + 1)
            )
        if secure:
            engine = self.line("SSLEngine " + self.mixed("on"), depth + 1)
            files = [self.line(line, depth + 1) for line in LINES if line.startswith("SSLCertificate")]
            lines += [self.conditional(depth + 1, lambda: engine) if self.chance(0.1) else engine, *files]
        lines += [self.body(depth + 1, False, 8)]
        self.source.shuffle(lines)
        return self.section("VirtualHost " + " ".join(addresses), "".join(lines), depth)

    def macro(self) -> str:
        """A macro, and where it is used."""
        name = self.one("Site", "site", "Tls")
        if self.chance(0.3):
            body = "    ServerName $name\n" + self.body(1, False, 3)
            defined = self.section(
                "Macro %s $name" % name, "<VirtualHost *:80>%s%s</VirtualHost>%s" % (self.end, body, self.end), 0
            )
            return defined + self.line("Use %s m.example" % name, 0)
        defined = self.section("Macro %s $a" % name, "Header set X-A '$a'%s" % self.end, 0)
        used = self.line("Use %s %s" % (name, self.word("b c")), 1) + "SSLEngine on" + self.end
        return defined + self.section("VirtualHost *:443", used, 0)

    def site(self) -> str:
        text = ""
        for _time in range(self.source.choice((1, 1, 2, 2, 3))):
            text += self.filler(0) if self.chance(0.3) else ""
            kind = self.source.random()
            if kind < 0.12:
                text += self.conditional(0, lambda: self.vhost(1))
            elif kind < 0.15:
                text += self.macro()
            elif kind < 0.18:
                text += self.section(
                    self.one("Directory Q:@ROOT@/www", "Location /", "If Q:true"), self.body(1, True, 4), 0
                )
            else:
                text += self.vhost()
        return text

    def file(self, path: str, text: str) -> None:
        if self.chance(0.1) and text.endswith(self.end):
            text = text[: -len(self.end)]
        self.texts[path] = text

    def main(self) -> str:
        head = [self.line("ServerRoot Q:@ROOT@", 0)]
        if self.chance(0.85):
            head += [self.line("LoadModule %s_module %s/mod_%s.so" % (name, MODULES, name), 0) for name in LOADED]
        else:
            for name in LOADED:
                line = "LoadModule %s_module %s/mod_%s.so\n" % (name, MODULES, name)
                self.texts["mods-available/%s.load" % name] = line
                self.links["mods-enabled/%s.load" % name] = "../mods-available/%s.load" % name
            self.texts["mods-available/ssl.conf"] = "<IfModule mod_ssl.c>\n%s</IfModule>\n" % "".join(
                self.line(line, 1)
                for line in self.some([line for line in LINES if line.startswith("SSL")], 4)
                if "Engine" not in line
            )
            self.links["mods-enabled/ssl.conf"] = "../mods-available/ssl.conf"
            head += [
                self.line("%s mods-enabled/*.%s" % (self.one("Include", "IncludeOptional"), kind), 0)
                for kind in ("load", "conf")
            ]
        head += [self.line(line, 0) for line in HEAD]
        if self.chance(0.15):
            head += [self.line("SSLEngine on", 0)]
        head += [
            self.line(line, 0)
            for line in self.some([line for line in (*LINES, *INNER) if line.startswith(("SSL", "Header"))], 3)
        ]
        middle = [
            self.line("Listen " + port, 0)
            for port in self.some(("80", "443 https", "[::]:8443", "192.0.2.1:81", "0.0.0.0:82"), 5)
        ]
        if self.chance(0.5):
            self.file("ports.conf", "".join(middle))
            middle = [
                self.line("Include %s" % self.one("ports.conf", "@ROOT@/ports.conf", "./ports.conf", "p*.conf"), 0)
            ]
        snippets: list[str] = []  # none includes another, as a pattern means itself, too
        for number in range(self.source.randrange(3)):
            path = "snippets/s%d.conf" % number
            self.file(path, self.body(0, False, 4))
            snippets += [path, "@ROOT@/" + path, "snippets/*.conf", "snippets/s[%d-9].conf" % number]
        if snippets and self.chance(0.2):
            self.links["linked/snippets"] = "../snippets"
            snippets += ["linked", "linked/snippets/s?.conf"]
        self.snippets = snippets
        for number in range(self.source.randrange(3)):
            kind = self.one("conf-available", "conf-enabled")
            text = self.section(self.one("Directory Q:@ROOT@/www", "Location /status"), self.body(1, True), 0)
            self.file("%s/c%d.conf" % (kind, number), text + self.filler(0))
            if kind == "conf-available":
                self.links["conf-enabled/c%d.conf" % number] = "../conf-available/c%d.conf" % number
        for number in range(self.source.choice((1, 1, 2, 3))):
            kind = self.one("sites-available", "sites-available", "sites-enabled")
            self.file("%s/s%d.conf" % (kind, number), self.site())
            if kind == "sites-available":
                target = self.one("../sites-available/s%d.conf", "@ROOT@/sites-available/s%d.conf") % number
                self.links["sites-enabled/s%d.conf" % number] = target
        if self.chance(0.2):  # read where the directory is included, and not by patterns for files
            self.file("elsewhere/s.conf", self.site())
            self.links["sites-enabled/more"] = self.one("../elsewhere", "@ROOT@/elsewhere")
        ends = [
            self.line(line, 0)
            for line in (
                "IncludeOptional conf-enabled/*.conf",
                self.one("IncludeOptional", "Include")
                + self.one(
                    " sites-enabled/*.conf", " sites-enabled/", " @ROOT@/sites-enabled/s?.conf", " sites-*ed/*.conf"
                ),
            )
        ]
        if self.chance(0.2):
            ends.insert(0, self.vhost())
        if self.chance(0.1):
            ends[-1] = self.section(self.one("IfDefine ON", "IfModule ssl_module"), ends[-1], 0)
        fillers = [self.filler(0) for _time in range(self.source.randrange(4))]
        return "".join([*fillers[:2], *head, *middle, *fillers[2:], *ends])


def whole(source: random.Random) -> Case:
    """A configuration that Apache accepts, most of the time."""
    grammar = _Grammar(source)
    main = grammar.main()
    grammar.file("apache.conf", main)
    files = {path: encoded(source, text) for path, text in grammar.texts.items()}
    files["www/index.html"] = b""
    files["logs/.keep"] = b""
    # Not the only one: Include fails where its pattern matches nothing.
    found = (*grammar.texts, *grammar.links)
    sites = [path for path in found if path.startswith("sites-enabled/") and path.endswith(".conf")]
    disable = source.choice(sorted(sites)) if len(sites) > 1 and source.random() < 0.3 else ""
    name = disable[len("sites-enabled/") : -len(".conf")]
    return {"files": files, "links": grammar.links, "disable": name, "servers": None}
