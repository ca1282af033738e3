# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx configurations as administrators could have them, in the files of Debian's layout.

Nearly all of them are what nginx accepts: what is odd about them is how they are written. Which server blocks there are
is known beforehand, as nginx does not list them.
"""

from __future__ import annotations

import random
import typing as t

from .configurations import Case, Writer, encoded

# What is behind Q: is to be quoted somehow.
SERVER = (
    "root Q:@ROOT@/www",
    "index index.html Q:index.php",
    "access_log Q:@ROOT@/logs/access.log",
    "access_log @ROOT@/logs/access.log main",
    "access_log off",
    "error_log Q:@ROOT@/logs/error.log warn",
    "client_max_body_size 20m",
    "error_page 404 Q:/404.html",
    "set $kind Q:a;b{c}",
    "set $other Q:${host}x",
    'rewrite ^/old/(.*)$ /new/$1 permanent',
    'rewrite "^/x{2,3}$" /y last',
    "server_tokens off",
    "keepalive_timeout 65",
    "resolver 127.0.0.1 [::1]:53 valid=30s",
    "charset utf-8",
    "http2 on",
    "gzip on",
    "ssl_stapling on",
    "ssl_buffer_size 4k",
)  # fmt: skip
# At most one of each in a block, and where a block has its own it inherits none
TLS = (
    "ssl_protocols TLSv1.2 Q:TLSv1.3",
    "ssl_protocols TLSv1.3",
    "ssl_ciphers Q:HIGH:!aNULL",
    "ssl_ciphers ECDHE+AESGCM",
    "ssl_prefer_server_ciphers on",
    "ssl_ecdh_curve X25519:prime256v1",
    "ssl_session_timeout 5m",
    "ssl_session_cache shared:SSL:1m",
    "ssl_session_tickets off",
    "ssl_early_data off",
    "ssl_verify_client off",
)  # fmt: skip
HEADERS = (
    "add_header Strict-Transport-Security Q:max-age=63072000; includeSubDomains always",
    "add_header Strict-Transport-Security max-age=300",
    "add_header strict-transport-security Q:max-age=31536000",
    "add_header X-Frame-Options Q:SAMEORIGIN",
    "add_header Content-Security-Policy Q:frame-ancestors 'self'; upgrade-insecure-requests",
    "add_header X-Text Q:a {b} ODD #c",
    "add_header X-Kind $scheme",
    "add_header Referrer-Policy Q:no-referrer",
    "add_trailer X-End $status",
    "proxy_hide_header X-Powered-By",
    "proxy_set_header Host $http_host",
    "proxy_set_header X-Text Q:${scheme}://$host",
    "fastcgi_param HTTPS on",
    "ssl_conf_command Options -SessionTicket",
    "ssl_conf_command Curves Q:X25519:prime256v1",
)  # fmt: skip
LOCATIONS = (
    "/", "= /", "/webapp", "^~ Q:/static/", "~ \\.php$", "~* \\.(png|jpe?g)$", "~ Q:^/x{2,3}/", "Q:/a b;c", "@named",
    "~ ^/(a|b)/$", '~ "^/\\d{4}}"', "Q:/#", "= Q:/ODD",
)  # fmt: skip
INNER = (
    "return 204",
    "return 301 https://$host$request_uri",
    "return 200 Q:it's {fine}; # no comment",
    "try_files $uri $uri/ =404",
    "proxy_pass http://127.0.0.1:8080",
    "proxy_pass http://backend",
    "fastcgi_pass unix:/run/php/php.sock",
    "expires 30d",
    "deny all",
    "allow 192.0.2.0/24",
    "limit_except GET { deny all; }",
    "auth_basic off",
)  # fmt: skip
ADDRESSES = (
    "443", "443", "80", "80", "8443", "*:444", "0.0.0.0:81", "192.0.2.1:443", "192.0.2.1:80", "192.0.2.1:81",
    "[::]:443", "[::]:80", "[2001:db8::1]:443", "[2001:DB8:0::1]:8443", "127.0.0.1:80", "unix:@ROOT@/socket",
    "127.0.0.1:8443", "198.51.100.1",
)  # fmt: skip


class _Grammar(Writer):
    """One configuration."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(source)
        self.servers: dict[str, list[tuple[list[str], list[list[str]]]]] = {}  # by file
        self.defaults: set[str] = set()
        self.options: dict[str, str] = {}

    # how things are written

    def word(self, text: str) -> str:
        """A word in quotes of some kind, or without where it needs none."""
        quotes = ['"%s"' % text] * 2 if '"' not in text else []
        quotes += ["'%s'" % text] if "'" not in text else ["'%s'" % text.replace("'", "\\'")]
        if text and not any(sign in text for sign in " ;'\"#") and "{" not in text.replace("${", ""):
            quotes.append(text)
        return self.one(*quotes)

    def gap(self) -> str:
        if self.chance(0.85):
            return " "
        return self.one(
            "\t", "  ", " \t ", self.end, self.end + "        ", " # why; {" + self.end, self.end + "#" + self.end
        )

    def words(self, line: str) -> str:
        plain, *quoted = (" " + line).split(" Q:")
        after: list[str] = []
        if quoted and quoted[-1].endswith((" always", " warn")):
            quoted[-1], _blank, last = quoted[-1].rpartition(" ")
            after.append(last)
        return self.gap().join([*plain.split(), *map(self.word, quoted), *after])

    def line(self, line: str, depth: int) -> str:
        if line.startswith("limit_except"):
            return self.indent(depth) + line + self.end
        text = self.words(line)
        if self.chance(0.02):
            name = line.split(" ")[0]
            text = self.one('"%s"', "'%s'") % name + text[len(name) :]
        return self.indent(depth) + text + self.one("", "", "", "", " ", self.end) + ";" + self.rest()

    def rest(self) -> str:
        return self.one(*[self.end] * 12, "", " ", " # why" + self.end, "\t" + self.end, self.end * 2)

    def indent(self, depth: int) -> str:
        return "    " * depth if self.chance(0.85) else self.one("", "\t" * depth, " ")

    def block(self, name: str, body: str, depth: int) -> str:
        opened = self.indent(depth) + self.words(name) + self.one(" ", " ", " ", "", self.end, "\t") + "{"
        if opened[-2] in "}$":  # the brace would be part of the word
            opened = opened[:-1] + " {"
        return opened + self.rest() + body + self.indent(depth) + "}" + self.rest()

    # what there is

    def name(self) -> str:
        self.number += 1
        return self.one("host%d.example", "h%d.mail.example", "www%d.test") % self.number

    def filler(self, depth: int) -> str:
        return self.end if self.chance(0.5) else self.indent(depth) + self.comment() + self.end

    def lists(self, depth: int, most: int, lines: t.Sequence[str] = HEADERS) -> str:
        return "".join(self.line(line, depth) for line in self.some(lines, most))

    def once(self, lines: list[str]) -> list[str]:
        """Of lines with the same directive the first."""
        return list({line.split(" ")[0]: line for line in reversed(lines)}.values())

    def location(self, depth: int, path: str) -> str:
        lines = self.once(self.some(INNER, 2))
        text = "".join(self.line(line, depth + 1) for line in lines if path[0] != "@" or "expires" in line)
        if self.chance(0.4):
            text = self.lists(depth + 1, 3, HEADERS[:-2]) + text
        text += self.filler(depth + 1) * self.chance(0.3)
        if self.chance(0.2):
            inside = self.line(self.one("return 403", "break", "set $kind b", "add_header X-If yes"), depth + 2)
            tested = self.one(
                "if ($scheme = http)",
                'if ($uri ~ "^/a{2}")',
                "if ($http_user_agent ~* Q:curl)",
                "if (!-f $request_filename)",
            )
            tested = tested.replace(" Q:curl)", " curl)")
            text += (
                self.indent(depth + 1)
                + tested
                + self.one(" ", "", self.end)
                + "{"
                + self.rest()
                + inside
                + "}"
                + self.rest()
            )
        if depth < 4 and self.chance(0.15) and path[0] in "/^":
            text += self.location(depth + 1, "~ \\.x$")
        return self.block("location " + path, text, depth)

    def listens(self) -> list[list[str]]:
        found = []
        for address in dict.fromkeys(self.one(*ADDRESSES) for _time in range(self.source.choice((0, 1, 1, 1, 2, 3)))):
            secure = address.endswith(("443", "444")) or (self.chance(0.1) and address[:4] != "unix")
            # What belongs to a socket is set where it is named first; all of them agree on what they have in common.
            key = address.replace("*:", "").replace("0.0.0.0:", "").replace("DB8:0", "db8")
            if key not in self.options:
                self.options[key] = self.one("", "", "backlog=64", "reuseport", "rcvbuf=8k", "so_keepalive=on")
                self.options[key] = "ipv6only=on" if key[0] == "[" and self.chance(0.3) else self.options[key]
                own = [self.options[key]] if self.options[key] and "unix" not in key else []
            else:
                own = []
            words = [*(["ssl"] if secure else []), *own, *(["http2"] if secure and self.chance(0.1) else [])]
            words += ["proxy_protocol"] if self.chance(0.03) else []
            if key not in self.defaults and self.chance(0.2):
                words.append("default_server")
                self.defaults.add(key)
            self.source.shuffle(words)
            found.append([address, *words])
        return found

    def server(self, path: str, depth: int) -> str:
        names = [self.name() for _time in range(self.source.choice((0, 1, 1, 2, 3)))]
        names += self.some(
            (
                "*.x%d.example" % self.number,
                "~^www\\d+\\.y%d$" % self.number,
                "~^z{2}%d$" % self.number,
                "_",
                ".w%d.test" % self.number,
            ),
            2,
        )
        listens = self.listens()
        tls = any("ssl" in words for words in listens)
        lines = [self.line("listen " + " ".join(words), depth + 1) for words in listens]
        if names:
            written = " ".join(
                "Q:" + name if "{" in name else name for name in sorted(names, key=lambda name: "{" in name)
            )
            names.sort(key=lambda name: "{" in name)
            lines.append(self.line("server_name " + written, depth + 1))
        if tls or self.chance(0.1):
            lines += [
                self.line("ssl_certificate Q:@ROOT@/cert.pem", depth + 1),
                self.line("ssl_certificate_key Q:@ROOT@/key.pem", depth + 1),
            ]
        lines += [self.line(line, depth + 1) for line in self.once(self.some(SERVER, 5))]
        lines += [self.line(line, depth + 1) for line in self.once(self.some(TLS, 4))]
        lines += [self.lists(depth + 1, 3)] if self.chance(0.5) else []
        lines += [self.location(depth + 1, path) for path in self.some(LOCATIONS, 4)]
        lines += [self.filler(depth + 1) for _time in range(self.source.randrange(3))]
        if self.snippets and self.chance(0.3):
            lines.append(self.line("include Q:" + self.one(*self.snippets), depth + 1))
        self.source.shuffle(lines)
        self.servers.setdefault(path, []).append((names, listens))
        return self.block("server", "".join(lines), depth)

    snippets: tuple[str, ...] = ()

    def site(self, path: str) -> str:
        text = ""
        for _time in range(self.source.choice((1, 1, 2, 2, 3))):
            text += self.filler(0) if self.chance(0.3) else ""
            text += self.server(path, 0)
        return text

    def file(self, path: str, text: str) -> None:
        self.texts[path] = text.rstrip("\r\n") if self.chance(0.1) and not text.split("\n")[-1] else text

    def main(self) -> str:
        head = ["user root", "pid @ROOT@/pid", "error_log Q:@ROOT@/logs/error.log", "worker_processes 1"]
        text = "".join(self.line(line, 0) for line in head) + self.block(
            "events", self.line("worker_connections 64", 1), 0
        )
        if self.chance(0.4):
            self.file(
                "snippets/headers.conf",
                self.filler(0) + "".join(self.line(line, 0) for line in self.some(HEADERS[:9], 3)),
            )
            self.snippets = (
                "snippets/headers.conf",
                "@ROOT@/snippets/headers.conf",
                "snippets/h*.conf",
                "snippets/[g-h]eaders.conf",
            )
        lines = [
            self.line("%s_temp_path @ROOT@/temp/%s" % (kind, kind), 1)
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ]
        lines += [
            self.line(
                'log_format main Q:$remote_addr "$request" ; {x}' if self.chance(0.5) else "log_format main Q:$status",
                1,
            )
        ]
        lines += [
            self.block(
                "upstream backend",
                self.line("server 127.0.0.1:8081 weight=2", 2) + self.line("server unix:/run/b.sock backup", 2),
                1,
            )
        ]
        if self.chance(0.4):
            inner = (
                self.line("default Q:", 2)
                + self.line("~^/x{2} 1", 2).replace("~^/x{2}", '"~^/x{2}"')
                + self.line("hostnames", 2)
                + self.line("*.example 2", 2)
            )
            lines += [self.block("map $uri $mapped", inner, 1)]
        if self.chance(0.2):
            lines += [self.block("geo $where", self.line("default no", 2) + self.line("192.0.2.0/24 Q:a b", 2), 1)]
        lines += [self.line(line, 1) for line in self.once(self.some(TLS, 3))]
        lines += [self.line(line, 1) for line in self.some(HEADERS[:9], 2) if self.chance(0.5)]
        lines += [
            self.line(line, 1)
            for line in self.some(
                ("sendfile on", "tcp_nopush on", "types_hash_max_size 2048", "default_type text/plain"), 3
            )
        ]
        ends = []
        for number in range(self.source.randrange(3)):
            path = "conf.d/c%d.conf" % number
            self.file(
                path,
                self.site(path)
                if self.chance(0.3)
                else self.filler(0)
                + self.line("keepalive_requests 10" if number else "server_names_hash_bucket_size 128", 0),
            )
        for number in range(self.source.choice((1, 1, 2, 3))):
            kind = self.one("sites-available", "sites-available", "sites-enabled")
            path = "sites-enabled/s%d" % number
            self.file("%s/s%d" % (kind, number), self.site(path))
            if kind == "sites-available":
                self.links[path] = self.one("../sites-available/s%d", "@ROOT@/sites-available/s%d") % number
        ends += [self.line("include " + self.one("conf.d/*.conf", "Q:@ROOT@/conf.d/*.conf"), 1)]
        ends += [
            self.line(
                "include " + self.one("sites-enabled/*", "@ROOT@/sites-enabled/*", "sites-enabled/s?", "sites-*ed/*"), 1
            )
        ]
        if self.chance(0.2):
            ends.append(self.server("nginx.conf", 1))
        body = "".join([*lines, *ends])
        return text + self.block("http", body, 0) + self.filler(0)


def whole(source: random.Random) -> Case:
    """A configuration that nginx accepts, most of the time."""
    grammar = _Grammar(source)
    grammar.file("nginx.conf", grammar.main())
    files = {path: encoded(source, text) for path, text in grammar.texts.items()}
    files.update({"www/index.html": b"", "logs/.keep": b"", "temp/.keep": b""})
    sites = [path for path in (*grammar.texts, *grammar.links) if path.startswith("sites-enabled/")]
    disable = source.choice(sorted(sites)) if len(sites) > 1 and source.random() < 0.3 else ""
    order = sorted(grammar.servers, key=lambda path: (path == "nginx.conf", path))
    servers = [server for path in order for server in grammar.servers[path]]
    return {"files": files, "links": grammar.links, "disable": disable[len("sites-enabled/") :], "servers": servers}
