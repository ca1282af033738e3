# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Reads an Apache configuration into the model of _webserver.model.

Apache decides while it reads: Define, LoadModule, Include and the <If…> sections act in the order of the text. So
reading, including and deciding are one pass here too. <Macro> is not expanded: virtual hosts that come from one are
known from Apache's own dump only, and have no block.
"""

from __future__ import annotations

import operator
import os
import re
import subprocess
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common import programs as _programs
from ansible_collections.kopano.hardening.plugins.module_utils._host import paths as _paths
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import (
    Config,
    ConfigError,
    Directive,
    ListenInfo,
    Vhost,
)

_SPACE = " \t\r\n\f\v"
# What stands behind a closing tag does not count.
_CLOSING = re.compile(r"</(\S*)", re.ASCII)
_WORD = re.compile(r'"([^"\\]*(?:\\["\\]?[^"\\]*)*)"?|\'([^\'\\]*(?:\\[\'\\]?[^\'\\]*)*)\'?|(\S+)', re.ASCII)
_ESCAPES = (re.compile(r'\\(["\\])'), re.compile(r"\\(['\\])"), re.compile(r"\\(\\)"))
_PORT = re.compile(r"[0-9]{1,5}")
_HOST_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<after>[0-9]{1,5}|\*))?")
_VARIABLE = re.compile(r"\$\{([^}]+)\}")

# Sections that Apache decides while it reads
_CONDITIONS = ("ifmodule", "ifdefine", "iffile", "ifversion", "ifdirective", "ifsection")
_INCLUDES = ("include", "includeoptional")
_ANY = ("*", "[::]")  # Apache's IPv6 sockets take connections of IPv4 as well
ENVIRONMENT_TIMEOUT = 10  # seconds for the shell that reads the server's environment

# Modules are named by identifier (ssl_module) or by source file (mod_ssl.c); here both become 'ssl'.
_SOURCE_FILES = {
    "core.c": "core",
    "http_core.c": "http",
    "prefork.c": "mpm_prefork",
    "worker.c": "mpm_worker",
    "event.c": "mpm_event",
}

_COMPARISONS: dict[str, t.Callable[[t.Any, t.Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def module_name(name: str) -> str:
    """The short name of a module from its identifier or the name of its source file."""
    if name in _SOURCE_FILES:
        return _SOURCE_FILES[name]
    return re.sub(r"^mod_(.*)\.c$|^(.*)_module$", r"\1\2", name)


def environment(layout: Layout) -> dict[str, str]:
    """The variables that the server's unit or wrapper sets for it, from the layout's envvars file.

    The file is shell (Debian, SUSE) or a subset of it (systemd's EnvironmentFile), so a shell reads it.
    """
    if not layout.envvars:
        return {}
    words = 'set -a; . "$0" >/dev/null 2>&1; env -0'
    try:
        try:
            if not _paths.is_there(layout.envvars):
                return {}
        except PermissionError:
            return {}  # without root's rights, the files beside it are noted as those that cannot be read
        result = _programs.run(
            ["/bin/sh", "-c", words, layout.envvars], ENVIRONMENT_TIMEOUT, {"PATH": os.defpath}, _programs.DROPPED
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(layout.envvars, None, f"its variables cannot be read: {error}") from error
    pairs = (item.partition("=") for item in _webserver_model.decode(result.stdout).split("\0") if item)
    return {name: value for name, _found, value in pairs if name not in ("PWD", "_", "SHLVL", "OLDPWD")}


def flags(variables: t.Mapping[str, str]) -> list[str]:
    """The names that the unit or wrapper defines on the command line (-D NAME), from the server's environment."""
    words = " ".join(variables.get(name, "") for name in ("APACHE_ARGUMENTS", "OPTIONS"))
    return re.findall(r"(?:^|\s)-D\s*(\S+)", words) + _layout.server_flags(variables.get("APACHE_SERVER_FLAGS", ""))


def version(binary: str) -> str | None:
    """The version of the server, read from the binary without running it."""
    try:
        with open(binary, "rb") as handle:
            match = re.search(rb"Apache/(\d+\.\d+\.\d+)", handle.read())
    except OSError:
        return None
    return match.group(1).decode() if match else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in [*re.findall(r"\d{1,9}", text), "0", "0", "0"][:3])


def _without_quotes(line: str) -> str:
    """The line without quotes around its first word, which Apache takes for names and tags as well. Without a name it
    is none."""
    word = _WORD.match(line)
    name = (word.group(1) or word.group(2)) if word else ""
    return name + line[word.end() :] if word and name else ""


def _line(text: str, position: int) -> tuple[str, int]:
    """One line as Apache sees it, without the newline, and the offset where it ends.

    A backslash in front of the newline joins the next line, also in a comment. Apache expects it at the end of what
    it has joined so far: with two of them an empty line joins the one behind it as well. A null byte ends the line.
    """
    parts: list[str] = []
    while True:
        end = text.find("\n", position)
        last = end < 0
        end = len(text) if last else end
        part, null, _rest = text[position:end].partition("\0")
        parts.append(part)
        if last or null:
            return "".join(parts), end
        _drop(parts, "\r")
        if not _drop(parts, "\\"):
            return "".join(parts), end
        position = end + 1


def _drop(parts: list[str], sign: str) -> bool:
    """Remove this sign from the end of what the parts make together; whether it was there."""
    while parts and not parts[-1]:
        parts.pop()
    if not parts or not parts[-1].endswith(sign):
        return False
    parts[-1] = parts[-1][:-1]
    return True


class _Reader:
    """Reads files in Apache's order and keeps what later lines depend on."""

    def __init__(self, config: Config, layout: Layout, modules: t.Iterable[str] | None) -> None:
        self.config = config
        self.layout = layout
        self.environment = environment(layout)
        self.variables: dict[str, str] = {}
        self.defined = {*flags(self.environment), *(layout.sysconfig.defines if layout.sysconfig else ())}
        self.fixed = modules is not None  # the set of modules is given and LoadModule adds nothing
        self.modules = {module_name(name) for name in (layout.static_modules if modules is None else modules)}
        self.version: str | None = None

    def words(self, text: str) -> list[str]:
        found = []
        for match in _WORD.finditer(text):
            kind = (match.lastindex or 1) - 1
            word = match.group(kind + 1)
            found.append(_ESCAPES[kind].sub(r"\1", word) if "\\" in word else word)
        return found

    def resolved(self, line: str) -> str:
        """The line with its ${variables} replaced: Apache does that before it splits a line into words."""
        if "${" not in line:
            return line
        end = line.rfind("}") + 1  # behind it, nothing ends: the search would go on to the line's end each time
        found = _VARIABLE.sub(lambda name: self.value(name.group(1), name.group()), line[:end])
        return (found + line[end:]).strip(_SPACE)

    def value(self, name: str, otherwise: str) -> str:
        # Apache does not mind the case of what Define sets.
        return self.variables.get(name.lower(), self.environment.get(name, otherwise))

    # what a section is decided by

    def holds(self, section: Directive) -> bool:
        """Whether the content of a conditional section counts."""
        if section.key == "ifversion":
            return self.compare(section.args)
        argument = section.args[0] if section.args else ""
        name = argument.lstrip("!")
        if section.key == "ifmodule":
            result = module_name(name) in self.modules
        elif section.key == "ifdefine":
            result = name in self.defined
        elif section.key == "iffile":
            result = os.path.exists(self.config.absolute(name))
        else:
            return True  # which directives Apache knows is not known here; what counts is to overlook nothing
        return result is not argument.startswith("!")

    def compare(self, args: list[str]) -> bool:
        """The condition of <IfVersion>: an optional sign, and a version or a pattern."""
        if self.version is None:
            self.version = version(self.layout.binary) or "2.4.0"
        sign, expected = (args[0], args[1]) if len(args) > 1 else ("=", "".join(args))
        negative, sign = sign.startswith("!"), sign.lstrip("!")
        if sign == "~" or re.fullmatch("/.*/", expected):
            try:
                result = re.search(expected if sign == "~" else expected[1:-1], self.version) is not None
            except (re.error, RecursionError, OverflowError):
                return True  # Apache refuses it, or it is one of PCRE's own: what counts is to overlook nothing
        else:
            result = _COMPARISONS.get(sign, _COMPARISONS["="])(_numbers(self.version), _numbers(expected))
        return result is not negative

    # what a line does

    def apply(self, directive: Directive) -> None:
        """The effects that a directive has on the reading of what follows."""
        args = directive.args
        if directive.key == "serverroot" and args:
            self.config.base = args[0]
        elif directive.key == "define" and args:
            self.defined.add(args[0])
            self.variables.update({args[0].lower(): args[1]} if "".join(args[1:2]) else {})
        elif directive.key == "undefine" and args:
            self.defined.discard(args[0])
            self.variables.pop(args[0].lower(), None)
        elif directive.key == "loadmodule" and args and not self.fixed:
            self.modules.add(module_name(args[0]))

    def matches(self, directive: Directive) -> list[str]:
        """The files that an Include means, in Apache's order: a directory means everything below it."""
        path = self.config.absolute(directive.args[0])
        found = []
        for name in self.config.matching(directive, path) if _webserver_model.is_pattern(path) else [path]:
            try:
                found += self.config.below(name) if os.path.isdir(name) else [name]
            except OSError as exc:
                raise _unread(directive, name, exc) from exc
        return sorted(found, key=lambda name: name.split("/"))

    def include(self, directive: Directive) -> None:
        directive.children = []
        _webserver_model.check_nesting(directive)
        for path in self.matches(directive) if directive.args else []:
            try:
                directive.children += self.file(path, directive)
            except OSError as exc:
                if isinstance(exc, FileNotFoundError) and directive.key == "includeoptional":
                    continue
                raise _unread(directive, path, exc) from exc

    def file(self, path: str, parent: Directive | None) -> list[Directive]:
        """The directives of one file and of those that it includes."""
        text = self.config.text(path) or ""
        lines = _webserver_model.Lines(text)
        top: list[Directive] = []
        blocks: list[Directive] = []
        off = 0  # how many sections around are switched off
        position = 0
        while position < len(text):
            first = position
            line, end = _line(text, first)
            position = end + 1
            line = line.strip(_SPACE)
            if not line or line.startswith("#"):
                continue
            raw = text[first:end]
            start = first + len(raw) - len(raw.lstrip(_SPACE))
            shorter = first + len(raw.rstrip(_SPACE))
            # Behind a backslash an empty line belongs to it.
            end = shorter if "\n" not in text[shorter:end] else end
            line = line if off else self.resolved(line)
            if line.startswith(("'", '"')):
                line = _without_quotes(line)
            if not line:
                continue
            closing = _CLOSING.match(line)
            if closing:
                if not blocks or closing.group(1).lower() != blocks[-1].key + ">":
                    expected = "</%s> expected" % blocks[-1].name if blocks else "nothing to close"
                    raise ConfigError(path, lines.at(start), "unexpected %s: %s" % (line, expected))
                block = blocks.pop()
                block.body_end, block.end = start, end
                off -= not block.active
                continue
            section = line.startswith("<")
            if section:
                line = line[1 : line.rfind(">")] if ">" in line else line[1:]
            words = self.words(line)
            if not words:
                raise ConfigError(path, lines.at(start), "incomplete section")
            owner = blocks[-1] if blocks else parent
            directive = Directive(words[0], words[1:], path, lines.at(start), start, end, owner)
            siblings = blocks[-1].children if blocks else top
            if siblings is None:
                raise ConfigError(path, directive.line, "%s is in a place that takes none" % directive.name)
            siblings.append(directive)
            around = directive.owner()
            if directive.key == "virtualhost" and not section and not off:
                raise ConfigError(path, directive.line, "%s is a section, and begins with a <" % directive.name)
            if directive.key == "virtualhost" and around is not None and not off:
                raise ConfigError(path, directive.line, "<%s> cannot be within <%s>" % (directive.name, around.name))
            if section:
                directive.children, directive.body_start = [], end
                blocks.append(directive)
                if directive.key in _CONDITIONS:
                    directive.inline = True
                    directive.active = not off and self.holds(directive)
                elif directive.key == "macro":
                    directive.active = False
                off += not directive.active
            elif directive.key in _INCLUDES:
                directive.inline = True
                if not off:
                    self.include(directive)
            elif not off:
                self.apply(directive)
        for block in blocks:
            # Apache reads what is in a condition that holds as if the condition were not there, up to the file's end,
            # and does not mind what is left open in it.
            if blocks[0].key not in _CONDITIONS or not block.active:
                raise ConfigError(path, block.line, "<%s> is not closed" % block.name)
            block.body_end = block.end = len(text)
        return top


def _unread(directive: Directive, path: str, error: OSError) -> ConfigError:
    return ConfigError(directive.file, directive.line, "cannot read %s: %s" % (path, error.strerror))


def _host_port(text: str) -> tuple[str, int | None]:
    """Address and port of a Listen or VirtualHost argument; None for any port."""
    match = _HOST_PORT.fullmatch(text)
    host, after = (match.group("host"), match.group("after")) if match else (text, None)
    if host.lower() in ("_default_", "0.0.0.0"):
        host = "*"
    return _webserver_model.same_address(host), int(after) if after and after != "*" else None


def _vhost_address(text: str) -> tuple[str, int | None]:
    """The same of a virtual host, where any IPv6 address is any address."""
    host, port = _host_port(text)
    return "*" if host == "[::]" else host, port


def _listen(text: str) -> tuple[str, int | None]:
    return ("*", int(text)) if _PORT.fullmatch(text) else _host_port(text)


def _own_name(name: str | None) -> list[str]:
    """The host of a ServerName, if it has one, without scheme and port. Apache accepts anything as the scheme."""
    scheme, mark, rest = (name or "").partition("://")
    host = (rest if mark else scheme).partition(":")[0]
    return [host] if host else []


def _value(levels: t.Iterable[t.Iterable[Directive]], key: str, first: bool = False) -> str | None:
    """The argument of the directive that decides: at the innermost level that has one the last, or the first, of it."""
    for level in levels:
        values = [item.args[0] for item in _webserver_model.direct(level, key) if item.args]
        if values:
            return values[0 if first else -1]
    return None


class _Dumped(t.NamedTuple):
    address: str
    names: list[str]
    file: str
    line: int
    default: bool


def parse_vhost_dump(text: str) -> list[_Dumped]:
    """The virtual hosts in the output of -t -D DUMP_VHOSTS, in Apache's order.

    An address with one host has it on its own line; an address with several has a list below it.
    """
    found: list[_Dumped] = []
    address = default = ""
    for line in text.split("\n"):
        group = re.match(r"(\S+)\s+is a NameVirtualHost$", line)
        single = re.match(r"(\S+)\s+(\S*) \((.+):(\d+)\)$", line)
        first = re.match(r"\s+default server \S* \((.+:\d+)\)$", line)
        member = re.match(r"\s+port \S+ namevhost (\S*) \((.+):(\d+)\)$", line)
        alias = re.match(r"\s+(?:wild )?alias (\S+)$", line)
        if group:
            address, default = group.group(1), ""
        elif first:
            default = first.group(1)
        elif single:
            name, file, number = single.groups()[1:]
            found.append(_Dumped(single.group(1), [name] if name else [], file, int(number), True))
        elif member:
            name, file, number = member.groups()
            is_default = default == "%s:%s" % (file, number)
            found.append(_Dumped(address, [name] if name else [], file, int(number), is_default))
            default = "" if is_default else default
        elif alias and found:
            found[-1].names.append(alias.group(1))
    return found


def parse_module_dump(text: str) -> list[str]:
    """The loaded modules in the output of -t -D DUMP_MODULES, by short name."""
    return [module_name(name) for name in re.findall(r"(?m)^ (\S+_module) \((?:static|shared)\)$", text)]


def _aliases(block: Directive) -> list[str]:
    return [alias for item in _webserver_model.direct(block.children or [], "serveralias") for alias in item.args]


def _from_tree(config: Config, blocks: list[Directive]) -> list[Vhost]:
    main_name = _value([config.root], "servername")
    vhosts = []
    taken = set()
    for block in blocks:
        name = _value([block.children or []], "servername") or main_name
        names = _own_name(name) + _aliases(block)
        for address, port in dict.fromkeys(map(_vhost_address, block.args)):
            vhost = Vhost("apache", names, address, port, block.file, block.line, block)
            vhost.default = (address, port) not in taken
            taken.add((address, port))
            vhosts.append(vhost)
    return vhosts


def _from_dump(config: Config, blocks: list[Directive], dump: str) -> list[Vhost]:
    # Apache counts the line on which the opening tag ends
    lines = {path: _webserver_model.Lines(text) for path, text in config.files.items()}
    places = {(block.file, lines[block.file].at(block.body_start or 0)): block for block in blocks}
    vhosts = []
    for item in parse_vhost_dump(dump):
        address, port = _host_port(item.address)
        block = places.get((item.file, item.line))
        # Apache lists aliases only where it must choose between names
        aliases = _aliases(block) if block else []
        names = item.names + [name for name in aliases if name not in item.names]
        line = block.line if block else item.line
        vhosts.append(Vhost("apache", names, address, port, item.file, line, block))
        vhosts[-1].default = item.default
    return vhosts


def _listens(config: Config) -> dict[tuple[str, int | None], Directive]:
    """Each address and port that Apache listens on, with the first directive that has it."""
    listens: dict[tuple[str, int | None], Directive] = {}
    for item in _webserver_model.direct(config.root, "listen"):
        listens.setdefault(_listen(item.args[0]) if item.args else ("*", None), item)
    return listens


def _main_server(config: Config) -> list[Vhost]:
    """The main server, once for each address that Listen names and no virtual host covers."""
    name = _value([config.root], "servername")
    found = []
    for (address, port), item in _listens(config).items():
        if not any(vhost.port in (port, None) and vhost.address in ("*", address) for vhost in config.vhosts):
            found.append(Vhost("apache", _own_name(name), address, port, item.file, item.line))
            found[-1].default = True
    return found


def _listened(
    vhost: Vhost, listens: t.Collection[tuple[str, int | None]], bound: t.Container[tuple[str, int | None]]
) -> list[ListenInfo]:
    """What Apache listens on for a virtual host, with each port once: one place shows what all of them do.

    bound: the addresses and ports of all virtual hosts, as one for all addresses serves none that another is for.
    """
    ports = [vhost.port]
    if vhost.port is None:
        at_address = {port for address, port in listens if vhost.address == "*" or address in (*_ANY, vhost.address)}
        ports = [port for port in sorted(filter(None, at_address)) if (vhost.address, port) not in bound]
    found: list[ListenInfo] = []
    for port in filter(None, ports):
        addresses = [address for address, listened in listens if listened == port]
        if vhost.address == "*" and addresses and not {*addresses} & {*_ANY}:
            free = [address for address in addresses if (address, port) not in bound and (address, None) not in bound]
            # What others reach as well shows more than what only this host does.
            chosen = sorted(free, key=_webserver_model.is_loopback)[:1]
        else:
            chosen = [vhost.address]
        found += [{"address": address, "port": port} for address in chosen]
    return found


def _judge(config: Config, vhost: Vhost, layout: Layout, around: list[Directive], shared: list[Directive]) -> None:
    """Fills in what the tree shows about a virtual host: TLS, certificate, overriding directives.

    around: what is set outside virtual hosts. shared: what overrides the policy in all of them.
    """
    inner = vhost.block.children or [] if vhost.block else []
    levels = [inner, around]
    vhost.tls = (_value(levels, "sslengine") or "").lower() == "on"
    if vhost.tls:
        certificate = _value(levels, "sslcertificatefile", first=True)
        key = _value(levels, "sslcertificatekeyfile", first=True)
        vhost.certificate = certificate and config.absolute(certificate)
        vhost.key = key and config.absolute(key)
        vhost.overrides = _webserver_model.overrides(config, layout, inner) + shared
        vhost.tls_group = _webserver_model.tls_group(config, vhost)


def shared_overrides(config: Config, layout: Layout) -> list[Directive]:
    """Policy directives in sections outside virtual hosts: merged into every host, after the host's own directives."""
    sections = [item for item in _webserver_model.direct(config.root) if item.children and item.key != "virtualhost"]
    return _webserver_model.overrides(config, layout, sections)


def read(config: Config, layout: Layout, path: str) -> list[Directive]:
    """The directives of one file and of those that it includes. Raises ConfigError and OSError."""
    return _Reader(config, layout, config.modules).file(path, None)


def load(
    layout: Layout,
    vhost_dump: str | None = None,
    modules: t.Iterable[str] | None = None,
    files: _webserver_model.Files | None = None,
) -> Config:
    """Reads the whole configuration of an Apache.

    vhost_dump is the output of apache2 -t -D DUMP_VHOSTS and then decides which virtual hosts there are; without it the
    tree does. modules are those that count as loaded (identifiers or short names); without them LoadModule decides.
    files is the disk with changes laid over it. Raises ConfigError.
    """
    config = Config("apache", files or _webserver_model.Files())
    config.base = layout.server_root or layout.config_dir
    reader = _Reader(config, layout, modules)
    before, after = (layout.sysconfig.before, layout.sysconfig.after) if layout.sysconfig else ((), ())
    for path in (*before, layout.main_config, *after):
        try:
            config.root = [*config.root, *reader.file(path, None)]
        except OSError as exc:
            # The other files are there once the server was started for the first time.
            if path == layout.main_config or not isinstance(exc, FileNotFoundError):
                raise ConfigError(path, None, "cannot read: %s" % exc.strerror) from exc
    config.modules = frozenset(reader.modules)
    blocks = _vhost_blocks(config)
    vhosts = _from_tree(config, blocks) if vhost_dump is None else _from_dump(config, blocks, vhost_dump)
    _set_vhosts(config, layout, vhosts)
    return config


def as_dumped(config: Config, layout: Layout, dump: str) -> Config:
    """A configuration that was read without Apache, with the virtual hosts that Apache itself lists.

    dump is the output of apache2 -t -D DUMP_VHOSTS -D DUMP_MODULES. The files are read again only where Apache has
    other modules, which decide what counts in them, or where a virtual host is not where it was. Raises ConfigError.
    """
    modules = parse_module_dump(dump)
    if config.modules == frozenset(modules):
        vhosts = _from_dump(config, _vhost_blocks(config), dump)
        if all(vhost.block for vhost in vhosts):
            _set_vhosts(config, layout, vhosts)
            return config
    return load(layout, dump, modules)


def _vhost_blocks(config: Config) -> list[Directive]:
    return [item for item in _webserver_model.walk(config.root) if item.key == "virtualhost"]


def _set_vhosts(config: Config, layout: Layout, vhosts: list[Vhost]) -> None:
    """Gives a configuration its virtual hosts, the main server among them, with what the tree shows about each."""
    config.vhosts = vhosts
    main_server = _main_server(config)
    around, shared = _webserver_model.plain(config.root), shared_overrides(config, layout)
    for vhost in [vhost for vhost in vhosts if vhost.block] + main_server:
        _judge(config, vhost, layout, around, shared)
    config.vhosts = vhosts + main_server
    listens, bound = _listens(config), {(vhost.address, vhost.port) for vhost in vhosts}
    for vhost in config.vhosts:
        vhost.listen = _listened(vhost, listens, bound)
