# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The model of a web server's configuration, the same for Apache and nginx, and what is read from it.

Texts are str decoded as UTF-8 with surrogateescape, so that encoding them again gives the very bytes of the file.
All offsets count characters of that str.
"""

from __future__ import annotations

import bisect
import errno
import fnmatch
import functools
import glob
import hashlib
import json
import os
import re
import socket
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class OverrideInfo(t.TypedDict):  # novm
        """A directive that counts in a virtual host instead of the policy for the whole server, as frontend_info
        returns it."""

        directive: str
        value: str
        file: str
        line: int

    class ListenInfo(t.TypedDict):  # novm
        """What a server listens on for a virtual host."""

        address: str
        port: int

    class VhostInfo(t.TypedDict):  # novm
        """A virtual host as frontend_info returns it; L(Vhost) describes its values."""

        server: str
        names: list[str]
        named: bool
        address: str
        port: int | None
        tls: bool | None
        certificate: str | None
        key: str | None
        file: str
        line: int
        default: bool
        listen: list[ListenInfo]
        overrides: list[OverrideInfo]
        tls_group: str | None

else:
    OverrideInfo = ListenInfo = VhostInfo = t.Dict[str, t.Any]


class ConfigError(Exception):
    """A configuration that cannot be read. reason is what is wrong, without file and line."""

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        super().__init__("%s in %s%s" % (reason, file, "" if line is None else ":%d" % line))
        self.file = file
        self.line = line
        self.reason = reason


class Directive:
    """One directive or block, with its place in the text of its file.

    text[start:end] is the whole of it: a block with its body, an nginx directive with its semicolon, an Apache one
    with its continuation lines; never the newline behind it. text[body_start:body_end] is what a block contains; both
    are None for anything else. args are unquoted (and, with Apache, have their ${variables} replaced).
    children is None for a plain directive. An include has the directives of the included files as children.
    inline: the children count as if they stood where this directive stands (includes, Apache's conditional sections).
    active: False for a conditional section whose condition does not hold.
    """

    __slots__ = (
        "_says",
        "active",
        "args",
        "body_end",
        "body_start",
        "children",
        "end",
        "file",
        "inline",
        "key",
        "line",
        "name",
        "parent",
        "start",
    )

    def __init__(
        self, name: str, args: list[str], file: str, line: int, start: int, end: int, parent: Directive | None = None
    ) -> None:
        self.name = name
        self.key = name.lower()  # Apache does not mind the case, nginx has lower case only
        self.args = args
        self.children: list[Directive] | None = None
        self.file = file
        self.line = line
        self.start = start
        self.end = end
        self.body_start: int | None = None
        self.body_end: int | None = None
        self.parent = parent
        self.inline = False
        self.active = True
        self._says: list[Directive] | None = None

    def __repr__(self) -> str:
        return "<%s %s %s:%d>" % (self.name, " ".join(self.args), self.file, self.line)

    def owner(self) -> Directive | None:
        """The block that this directive counts for: the nearest parent that is not inline."""
        block = self.parent
        while block is not None and block.inline:
            block = block.parent
        return block

    def says(self, *keys: str) -> list[Directive]:
        """What counts at the level of this block, without the blocks in it. Found once: what is around hundreds of
        virtual hosts is asked for as often. To be called when the whole configuration has been read."""
        if self._says is None:
            self._says = plain(self.children or ())
        return [item for item in self._says if item.key in keys] if keys else self._says

    def within(self) -> t.Iterator[Directive]:
        """The blocks around this directive, innermost first."""
        block = self.owner()
        while block is not None:
            yield block
            block = block.owner()


# Includes around an include. Apache permits 128, and a file of its can include itself until something is defined.
_MOST_NESTED = 64
_MOST_REPEATED = 8
_MOST_DIRECTORIES = 128  # of a pattern, as each takes Python a level or two of its stack


def check_nesting(include: Directive) -> None:
    """Raises ConfigError for an include that is nested too deep, or whose file includes itself and would never end."""
    files = [include.file]
    block = include.parent
    while block is not None:
        if block.key in ("include", "includeoptional"):
            files.append(block.file)
        block = block.parent
    if len(files) > _MOST_NESTED or files.count(include.file) > _MOST_REPEATED:
        raise ConfigError(include.file, include.line, "includes are nested too deep, or go in a circle")


def walk(directives: t.Iterable[Directive], inactive: bool = False) -> t.Iterator[Directive]:
    """Every directive, depth first in the order of the text; inactive: whether to enter sections that are off."""
    left = [*directives][::-1]
    while left:
        directive = left.pop()
        yield directive
        if directive.children and (directive.active or inactive):
            left += reversed(directive.children)


def direct(directives: t.Iterable[Directive], *keys: str) -> t.Iterator[Directive]:
    """The directives that count at this level: inline children come in place of the directive that brings them."""
    left = [*directives][::-1]
    while left:
        directive = left.pop()
        if directive.inline:
            if directive.active:
                left += reversed(directive.children or ())
        elif not keys or directive.key in keys:
            yield directive


def plain(directives: t.Iterable[Directive]) -> list[Directive]:
    """The directives that count at this level, without blocks."""
    return [item for item in direct(directives) if item.children is None]


class Vhost:
    """One virtual host at one address; a block that listens on several addresses has one for each."""

    __slots__ = (
        "address",
        "block",
        "certificate",
        "default",
        "file",
        "key",
        "line",
        "listen",
        "names",
        "overrides",
        "port",
        "server",
        "tls",
        "tls_group",
    )

    def __init__(
        self,
        server: str,
        names: list[str],
        address: str,
        port: int | None,
        file: str,
        line: int,
        block: Directive | None = None,
    ) -> None:
        self.server = server
        self.names = names
        self.address = address  # '*', an IPv4 address, an IPv6 address in brackets, a host name, or 'unix:/path'
        self.port = port  # None for a unix socket and for Apache's any port
        self.tls: bool | None = None  # None: not known
        self.certificate: str | None = None
        self.key: str | None = None
        self.file = file
        self.line = line
        self.default = False
        # Where it is reached, which for Apache's virtual hosts is not always their own address and port
        self.listen: list[ListenInfo] = [{"address": address, "port": port}] if port else []
        self.block = block  # None for Apache's main server, and for a host that no text was found for
        self.overrides: list[Directive] = []
        # The same where certificate and TLS directives are the same, at the same address; None: not known
        self.tls_group: str | None = None

    def __repr__(self) -> str:
        return "<Vhost %s:%s %s %s:%d>" % (self.address, self.port, " ".join(self.names), self.file, self.line)

    @property
    def named(self) -> bool:
        """Whether it has a name of its own; Apache gives one that has none the name of the main server."""
        children = self.block.children if self.block else None
        return any(True for _item in direct(children or (), "servername", "serveralias", "server_name"))

    def is_on(self, port: int) -> bool:
        """Whether it is reached at a port: one of Apache's for any port is at each that Apache listens on."""
        return self.port == port or any(listen["port"] == port for listen in self.listen)

    def as_dict(self) -> VhostInfo:
        """The shape that the module frontend_info returns."""
        return {
            "server": self.server,
            "names": self.names,
            "named": self.named,
            "address": self.address,
            "port": self.port,
            "tls": self.tls,
            "certificate": self.certificate,
            "key": self.key,
            "file": self.file,
            "line": self.line,
            "default": self.default,
            "listen": self.listen,
            "overrides": [
                {"directive": item.name, "value": " ".join(item.args), "file": item.file, "line": item.line}
                for item in self.overrides
            ],
            "tls_group": self.tls_group,
        }


def same_address(host: str) -> str:
    """An IPv6 address in brackets as both servers show it, however it is written; anything else as it is."""
    if not host.startswith("["):
        return host
    try:
        return "[%s]" % socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host[1:-1]))
    except (OSError, ValueError):  # ValueError: a null byte, or what is no text
        return host


def is_loopback(address: str) -> bool:
    """Whether just this very host is meant."""
    return address.startswith("127.") or address.strip("[]") in ("::1", "localhost")


# What an included directory can have at most, with all below it: / has more, and so has one with links to itself.
MOST_ENTRIES = 20_000


class Files:
    """Where configuration texts come from: the disk, with what is about to be written laid over it.

    texts are the contents of files that shall differ from the disk, None for one that shall be gone; links are symbolic
    links that shall exist (path: target). Directories in the paths of both may be named with or without symbolic links.
    With disk=False there is nothing but texts (the dump of another program).
    """

    def __init__(
        self,
        texts: t.Mapping[str, str | None] | None = None,
        links: t.Mapping[str, str] | None = None,
        disk: bool = True,
    ) -> None:
        self.texts = dict(texts or {})
        self.links = dict(links or {})
        self.disk = disk
        self._real: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def over(self, texts: t.Mapping[str, str]) -> Files:
        """The same files with further texts over them."""
        return Files({**self.texts, **texts}, self.links, self.disk)

    def real(self, path: str) -> str:
        """The file itself behind links. The key under which a file is edited. Raises OSError."""
        if not self.disk:
            return path
        if path not in self._real:  # each is needed several times, and reads every folder above it
            key = self._key(path) if self.links else path
            target = self.links.get(path, self.links.get(key))
            link = path if target is None else os.path.join(os.path.dirname(key), target)
            self._real[path] = _resolved(link)
        return self._real[path]

    def _key(self, path: str) -> str:
        """The path itself in a directory without links: what is written or removed has this name."""
        if not self.disk:
            return path
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)

    def read(self, path: str) -> str:
        """The text of one file. Raises OSError."""
        changed = self.texts or self.links
        real = self.real(path) if changed else path
        for key in (path, self._key(path), real) if changed else ():
            if key in self.texts:
                text = self.texts[key]
                if text is None:
                    break
                return text
        else:
            if self.disk:
                return decode(_content(real))
        raise FileNotFoundError(2, "No such file or directory", path)

    def glob(self, pattern: str) -> list[str]:
        """The paths that a shell pattern matches, sorted by code point as both servers do."""
        found = set(glob.glob(pattern)) if self.disk else set()
        folder = os.path.dirname(re.split(r"[*?\[]", pattern)[0])
        found.update(path for path in self._changed_in(folder) if _matches(path, pattern))
        return sorted(path for path in found if not self._is_gone(path))

    def _changed_in(self, folder: str) -> t.Iterator[str]:
        """What differs from the disk in a directory and in those in it, by paths through that directory."""
        folder = folder.rstrip("/")
        real = self._key(folder + "/").rstrip("/")
        for path in (*self.texts, *self.links):
            for start in (folder, real):
                if path.startswith(start + "/"):
                    yield folder + path[len(start) :]
                    break

    def _is_gone(self, path: str) -> bool:
        return any(self.texts.get(key, "") is None for key in (path, self._key(path)))

    def below(self, directory: str, failed: t.Callable[[OSError], None] | None = None) -> list[str]:
        """The files in a directory and the directories in it, those behind links as well.

        failed: called for a directory that cannot be listed. Raises OSError for more than a configuration can have.
        """
        found = set(self._changed_in(directory))
        entries = 0
        for top, folders, names in os.walk(directory, onerror=failed, followlinks=True):
            entries += len(folders) + len(names)
            if entries > MOST_ENTRIES:
                words = f"more than {MOST_ENTRIES} files and directories"
                raise OSError(errno.EFBIG, words, directory)
            found.update(os.path.join(top, name) for name in names)
        return [path for path in found if not self._is_gone(path)]


def _resolved(path: str) -> str:
    """The path without links. Raises OSError, where os.path.realpath() takes a link that it cannot read for none."""
    real = os.path.realpath(path)
    if os.path.islink(real):
        os.readlink(real)
        real = os.path.realpath(real)
        if os.path.islink(real):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return real


def _content(path: str) -> bytes:
    """What is in a file, as the server reads it. Raises OSError.

    The one device that is included on purpose has nothing in it.
    """
    if os.path.samestat(os.stat(path), os.stat(os.devnull)):
        return b""
    return _regular.read(path, foreign_links=True)


def decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_pattern(path: str) -> bool:
    return any(char in path for char in "*?[")


def _matches(path: str, pattern: str) -> bool:
    names, patterns = path.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(
        fnmatch.fnmatchcase(name, part) and (not name.startswith(".") or part.startswith("."))
        for name, part in zip(names, patterns)
    )


class Lines:
    """Turns an offset in a text into its line number (from 1)."""

    def __init__(self, text: str) -> None:
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def at(self, offset: int) -> int:
        return bisect.bisect_left(self._ends, offset) + 1


class Config:
    """A whole configuration: root is the main file's directives, files has the text of every file that was read."""

    def __init__(self, server: str, source: Files) -> None:
        self.server = server
        self.source = source
        self.base = "/"  # where relative log and socket paths start
        self.root: list[Directive] = []
        self.files: dict[str, str] = {}  # by path as included, links not followed
        self.unreadable: dict[str, str] = {}  # path: the system's error message; what the files contain is not known
        self.vhosts: list[Vhost] = []
        self.modules: frozenset[str] | None = None  # Apache: identifiers without '_module' that count as loaded

    def text(self, path: str) -> str | None:
        """Reads one included file once; None, and a note, where permission is missing. Raises other OSErrors."""
        if path not in self.files:
            try:
                self.files[path] = self.source.read(path)
            except PermissionError as exc:
                self.unreadable[path] = exc.strerror or "Permission denied"
                return None
        return self.files[path]

    def matching(self, include: Directive, pattern: str) -> list[str]:
        """What an include's shell pattern matches. A directory that may not be listed is noted, as a file that may not
        be read. Raises ConfigError for a pattern of more directories than any path has."""
        parts = pattern.split("/")
        if len(parts) > _MOST_DIRECTORIES:
            reason = "the pattern has more than %d directories; include fewer levels" % _MOST_DIRECTORIES
            raise ConfigError(include.file, include.line, reason)
        for depth, part in enumerate(parts):
            if is_pattern(part) and self.source.disk:
                for folder in glob.glob("/".join(parts[:depth]) or "/"):
                    self._list(folder)
        return self.source.glob(pattern)

    def below(self, directory: str) -> list[str]:
        """The files in a directory and the directories in it, noted in the same way."""
        return self.source.below(directory, self._note)

    def _list(self, folder: str) -> None:
        try:
            os.scandir(folder).close()
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        if isinstance(error, PermissionError):
            self.unreadable[str(error.filename)] = error.strerror or "Permission denied"

    def absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.base, path))


# The directives that make up a TLS policy: standing in a virtual host they decide instead of what is set once for
# the whole server. A directive counts when the pattern is found in its arguments, joined by spaces.
_CONF_COMMANDS = (
    r"(?i)^(Curves|Groups|ECDHParameters|DHParameters|CipherString|Ciphersuites|MinProtocol|MaxProtocol"
    r"|Protocol|Options|SignatureAlgorithms|ClientSignatureAlgorithms)\b"
)

POLICY: dict[str, dict[str, str]] = {
    "apache": {
        "sslprotocol": "",
        "sslciphersuite": "",
        "sslhonorcipherorder": "",
        "sslcompression": "",
        "sslsessiontickets": "",
        "sslinsecurerenegotiation": "",
        "sslopensslconfcmd": _CONF_COMMANDS,
        "sslusestapling": "",
        "header": r"(?i)^((always|onsuccess) )?\S+ strict-transport-security:?( |$)",
    },
    "nginx": {
        "ssl_protocols": "",
        "ssl_ciphers": "",
        "ssl_prefer_server_ciphers": "",
        "ssl_ecdh_curve": "",
        "ssl_session_tickets": "",
        "ssl_conf_command": _CONF_COMMANDS,
        "ssl_stapling": "",
        "add_header": r"(?i)^strict-transport-security( |$)",
        "more_set_headers": r"(?i)(^|[ :])strict-transport-security *:",
    },
}


def is_policy(server: str, directive: Directive) -> bool:
    """Whether a directive is part of what POLICY calls a TLS policy."""
    pattern = POLICY[server].get(directive.key)
    return pattern is not None and re.search(pattern, " ".join(directive.args)) is not None


# What the collection itself puts into a file of somebody else begins with this; see _webserver.adopt for the marks.
MARK = "# kopano.hardening "
_MARKS = re.compile(re.escape(MARK) + "(begin|end)")


def is_ours(config: Config, layout: Layout, directive: Directive) -> bool:
    """Whether a directive is the collection's own: in a file of its policy, or between its marks."""
    if directive.file.startswith(layout.policy_dir + "/"):
        return True
    marks = _marks(config.files[directive.file])
    before = bisect.bisect_left(marks, (directive.start, False))
    return before > 0 and marks[before - 1][1]


@functools.lru_cache(maxsize=8)
def _marks(text: str) -> list[tuple[int, bool]]:
    """Where in a file a part of the collection begins (True) or ends. It is searched once for all of its directives."""
    return [(match.start(), match.group(1) == "begin") for match in _MARKS.finditer(text)]


def overrides(config: Config, layout: Layout, directives: t.Iterable[Directive]) -> list[Directive]:
    """The policy directives among these and below them that are not the collection's own."""
    found = [item for item in walk(directives) if is_policy(layout.server, item)]
    return [item for item in found if not is_ours(config, layout, item)]


def tls_group(config: Config, vhost: Vhost) -> str | None:
    """A short text that virtual hosts share whose own TLS directives, with certificate, key and address, are the same.

    What is said outside virtual hosts counts for all of them. None where something cannot be read, or has no text.
    """
    if vhost.block is None or config.unreadable:
        return None
    own = [[item.key, *item.args] for item in walk(vhost.block.children or ()) if item.key.startswith("ssl")]
    said = [vhost.server, vhost.address, vhost.port, vhost.certificate, vhost.key, own]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


_ADDRESS = re.compile(r"\[.*\]|[0-9.]+|[0-9a-fA-F]*:[0-9a-fA-F:.]*|\*|_default_|")


def _name(host: str) -> str | None:
    """host if it is a name that must be looked up; None for addresses, wildcards and what is only known at run time."""
    return None if _ADDRESS.fullmatch(host) or "$" in host or "%" in host else host


def _host_of(target: str) -> str:
    """The host part of HOST, HOST:PORT, SCHEME://HOST:PORT/PATH or a bare port."""
    target = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", target)
    match = re.match(r"\[[^\]]*\]|[^:/|]*", target)
    return match.group() if match else ""


_NGINX_PASS = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass", "auth_http")


def _nginx_targets(directive: Directive) -> t.Iterator[str]:
    owner = directive.owner()
    in_upstream = directive.key == "server" and owner is not None and owner.key == "upstream"
    if in_upstream or directive.key in (*_NGINX_PASS, "listen", "ssl_stapling_responder"):
        yield from directive.args[:1]
    elif directive.key == "resolver":
        yield from (arg for arg in directive.args if "=" not in arg)
    elif directive.key in ("error_log", "access_log"):
        yield from re.findall(r"^syslog:(?:.*,)?server=([^,]+)", " ".join(directive.args))


def _apache_targets(directive: Directive) -> t.Iterator[str]:
    if directive.key in ("listen", "virtualhost"):
        yield from directive.args[:1] if directive.key == "listen" else directive.args
    elif directive.key.startswith(("proxy", "balancermember")):
        yield from (arg for arg in directive.args if re.match(r"(?!balancer:)[A-Za-z0-9]+://", arg))


def host_names(config: Config) -> list[str]:
    """The names in a configuration that a server without a network could not resolve at its start, each once.

    Upstreams, proxied back ends, listeners: never an address, a variable or a name that the configuration defines.
    """
    targets = {"apache": _apache_targets, "nginx": _nginx_targets}[config.server]
    everything = list(walk(config.root))
    defined = {directive.args[0] for directive in everything if directive.key == "upstream" and directive.args}
    found: dict[str, None] = {}
    for directive in everything:
        for target in targets(directive):
            # a port alone is no host, nor is a path to a socket
            name = None if target.startswith("unix:") or target.isdigit() else _name(_host_of(target))
            if name and name not in defined and not name.startswith("unix"):
                found[name] = None
    return list(found)


def unix_sockets(config: Config) -> list[str]:
    """The paths of the unix sockets of back ends, each once; never one that the server itself listens on or logs to."""
    own = ("listen", "error_log", "access_log")
    found: dict[str, None] = {}
    for directive in walk(config.root):
        if directive.key not in own:
            for arg in (arg for arg in directive.args if "unix:" in arg):
                found.update(dict.fromkeys(re.findall(r"(?:^|[/:])unix:(/[^:|\s$]+)(?=[:|]|$)", arg)))
    return list(found)


_LOOPBACK = r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]):\d{1,5}"
_FASTCGI = {"fastcgi_pass": re.compile(rf"({_LOOPBACK})$"), "": re.compile(rf"(?:^|:)fcgi://({_LOOPBACK})(?=[/\"]|$)")}


def php_backends(config: Config) -> list[str]:
    """Where PHP is run, each once, in the configuration's order: paths of unix sockets, and ports of this host."""
    sockets = [path for path in unix_sockets(config) if "php" in path]
    found: dict[str, None] = {}
    for directive in walk(config.root):
        pattern = _FASTCGI.get(directive.key, _FASTCGI[""])
        for arg in directive.args:
            found.update(dict.fromkeys(path for path in sockets if f"unix:{path}" in arg))
            found.update(dict.fromkeys(pattern.findall(arg)))
    return list(found)


_ACCESS_LOGS = ("customlog", "transferlog", "globallog", "access_log")
_LOGS = ("errorlog", *_ACCESS_LOGS, "forensiclog", "scriptlog", "error_log")
_NO_FILE = re.compile(r"\||(syslog|memory|journald)\b|(off|stderr)$|.*\$").match


def _logs(config: Config, directives: t.Container[str]) -> t.Iterator[str]:
    """Where these directives log to, as it is written there."""
    for directive in walk(config.root):
        if directive.key in directives and directive.args:
            yield directive.args[0]


def log_files(config: Config) -> list[str]:
    """The absolute paths of the log files that a configuration names, each once; no pipes, no syslog, no variables."""
    return list(dict.fromkeys(config.absolute(target) for target in _logs(config, _LOGS) if not _NO_FILE(target)))


def access_logs(config: Config) -> tuple[list[str], list[str]]:
    """The absolute paths of the access logs, each once; and what else requests are logged to."""
    targets = [target for target in dict.fromkeys(_logs(config, _ACCESS_LOGS)) if target != "off"]
    return (
        [config.absolute(target) for target in targets if not _NO_FILE(target)],
        [target for target in targets if _NO_FILE(target)],
    )
