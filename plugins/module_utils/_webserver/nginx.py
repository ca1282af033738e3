# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Reads an nginx configuration into the model of _webserver.model, with tokens as nginx's own reader takes them."""

from __future__ import annotations

import functools
import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import (
    Config,
    ConfigError,
    Directive,
    Vhost,
)

# nginx separates words by these four only. A backslash takes the next character with it, also a quote, a brace or a
# semicolon; '${' does not open a block; '#' starts a comment and quotes start a string only where a word starts.
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<comment>\#[^\n]*)"
    r"|(?P<mark>[;{}])"
    r'|(?P<quoted>"[^"\\]*(?:\\.[^"\\]*)*"|\'[^\'\\]*(?:\\.[^\'\\]*)*\')(?=[ \t\r\n;{)])'
    r'|(?P<word>(?!["\'])(?:[^ \t\r\n;{\\$]+|\$\{*|\\.)+)'
    r"|(?P<end>\Z))",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(["\'\\trn])')
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}

# The body of a *_by_lua_block is Lua: braces in its strings and comments do not count.
_LUA = re.compile(
    r"--\[(?P<comment>=*)\[.*?\](?P=comment)\]|--[^\n]*|\[(?P<string>=*)\[.*?\](?P=string)\]"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|\'[^\'\\\n]*(?:\\.[^\'\\\n]*)*\'|(?P<brace>[{}])',
    re.DOTALL,
)
_LISTEN = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*[^:0-9][^:]*)(?::(?P<after>[0-9]{1,5}))?|(?P<port>[0-9]{1,5})")


def _unquote(token: str) -> str:
    if "\\" not in token:
        return token
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match.group(1), match.group(1)), token)


def _lua_end(text: str, position: int) -> int | None:
    """The offset of the brace that closes the Lua block whose body starts at position."""
    depth = 1
    for match in _LUA.finditer(text, position):
        if match.group("brace"):
            depth += 1 if match.group() == "{" else -1
            if not depth:
                return match.start()
    return None


# What ends a statement (';' or '{') or a block ('}'), its words, where it starts and ends, and its line.
_Statement = t.Tuple[str, t.Tuple[str, ...], int, int, int]


@functools.lru_cache(maxsize=None)
def _statements(text: str) -> list[_Statement]:
    """The statements of a text; of one that nginx would refuse the last has no mark, and the refusal as its only word.

    A run reads the same texts several times: as they are, as they shall be, and in the server's own dump.
    """
    lines = _webserver_model.Lines(text)
    found: list[_Statement] = []
    words: list[str] = []
    start = position = depth = 0

    def refused(at: int, why: str) -> list[_Statement]:
        return [*found, ("", (why,), at, at, lines.at(at))]

    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            position = len(text) - len(text[position:].lstrip(" \t\r\n"))
            return refused(position, "unexpected %r" % text[position])
        kind = match.lastgroup or ""
        word, at, position = match.group(kind), match.start(kind), match.end()
        if kind == "comment":
            continue
        if kind == "end":
            break
        if kind != "mark":
            if not words:
                start = at
            words.append(_unquote(word[1:-1] if kind == "quoted" else word))
        elif word == "}":
            if words or not depth:
                return refused(at, 'unexpected "}"')
            depth -= 1
            found.append((word, (), at, position, 0))
        elif not words:
            return refused(at, 'unexpected "%s"' % word)
        else:
            found.append((word, tuple(words), start, position, lines.at(start)))
            if word == "{":
                depth += 1
                if words[0].endswith("_by_lua_block"):
                    end = _lua_end(text, position)
                    if end is None:
                        break
                    position = end
            words.clear()
    if depth:
        return refused(len(text), 'unexpected end of file, expecting "}"')
    if words:
        return refused(len(text), 'unexpected end of file, expecting ";" or "}"')
    return found


def parse(text: str, file: str, parent: Directive | None = None) -> list[Directive]:
    """The directives of one file; includes are not followed. Raises ConfigError."""
    top: list[Directive] = []
    blocks: list[Directive] = []
    for mark, words, start, end, line in _statements(text):
        if not mark:
            raise ConfigError(file, line, words[0])
        if mark == "}":
            block = blocks.pop()
            block.body_end, block.end = start, end
        else:
            directive = Directive(words[0], list(words[1:]), file, line, start, end, blocks[-1] if blocks else parent)
            siblings = blocks[-1].children if blocks else top
            if siblings is None:
                raise ConfigError(file, line, "%s is in a place that takes none" % directive.name)
            siblings.append(directive)
            if mark == "{":
                directive.body_start, directive.children = end, []
                blocks.append(directive)
    return top


def read(config: Config, path: str, conf_dir: str, parent: Directive | None = None) -> list[Directive]:
    """The directives of one file and of those that it includes. Raises ConfigError."""
    try:
        text = config.text(path)
    except OSError as exc:
        place = (parent.file, parent.line) if parent else (path, None)
        raise ConfigError(place[0], place[1], "cannot read %s: %s" % (path, exc.strerror)) from exc
    directives = parse(text or "", path, parent)
    for directive in list(_webserver_model.walk(directives)):
        if directive.name != "include" or len(directive.args) != 1 or directive.children is not None:
            continue
        _webserver_model.check_nesting(directive)
        directive.inline, directive.children = True, []
        # nginx takes a path up to its first null byte.
        pattern = os.path.join(conf_dir, directive.args[0].partition("\0")[0])
        for name in config.matching(directive, pattern) if _webserver_model.is_pattern(pattern) else [pattern]:
            directive.children += read(config, name, conf_dir, directive)
    return directives


def split_dump(dump: str) -> dict[str, str]:
    """The files in the output of nginx -T: path to text, the main configuration first."""
    parts = re.split(r"(?m)^# configuration file (/.*):\n", dump)
    files: dict[str, str] = {}
    for path, text in zip(parts[1::2], parts[2::2]):
        files.setdefault(path, text[:-1])  # nginx ends each file with a newline of its own
    return files


def _last(block: Directive, key: str) -> str | None:
    """The value that a server block has: its own, or the one of the blocks around it."""
    for level in (block, *block.within()):
        values = [item.args[0] for item in level.says(key) if item.args]
        if values:
            return values[0]
    return None


def _address(listen: str) -> tuple[str, int | None]:
    """The address and port of a listen directive's first argument."""
    if listen.startswith("unix:"):
        return listen, None
    match = _LISTEN.fullmatch(listen)
    if match is None:
        return listen, None
    host = match.group("host")
    address = "*" if host in (None, "0.0.0.0") else _webserver_model.same_address(host)
    return address, int(match.group("after") or match.group("port") or 80)


def _vhosts(config: Config, block: Directive, conf_dir: str, layout: Layout) -> t.Iterator[Vhost]:
    inner = list(_webserver_model.direct(block.children or ()))
    names = [name for item in inner if item.name == "server_name" for name in item.args if name]
    files = {}
    for key in ("ssl_certificate", "ssl_certificate_key"):
        value = _last(block, key)
        # engine: and data: name no file, a variable is known at run time only
        files[key] = value if value is None or re.match(r"(engine|data):|\$", value) else os.path.join(conf_dir, value)
    all_tls = _last(block, "ssl") == "on"
    overrides = _webserver_model.overrides(config, layout, block.children or ())
    for listen in [item.args for item in inner if item.name == "listen" and item.args] or [["80"]]:
        address, port = _address(listen[0])
        vhost = Vhost("nginx", names, address, port, block.file, block.line, block)
        vhost.tls = all_tls or "ssl" in listen or "quic" in listen
        vhost.default = "default_server" in listen or "default" in listen
        if vhost.tls:
            vhost.certificate, vhost.key = files["ssl_certificate"], files["ssl_certificate_key"]
            vhost.overrides = overrides
            vhost.tls_group = _webserver_model.tls_group(config, vhost)
        yield vhost


def _add_vhosts(config: Config, conf_dir: str, layout: Layout) -> None:
    for directive in _webserver_model.walk(config.root):
        owner = directive.owner()
        if directive.name == "server" and directive.children is not None and owner is not None and owner.name == "http":
            config.vhosts.extend(_vhosts(config, directive, conf_dir, layout))
    # without default_server the first block of an address is its default
    sockets: dict[tuple[str, int | None], list[Vhost]] = {}
    for vhost in config.vhosts:
        sockets.setdefault((vhost.address, vhost.port), []).append(vhost)
    for group in sockets.values():
        if not any(vhost.default for vhost in group):
            group[0].default = True


def load(layout: Layout, dump: str | None = None, files: _webserver_model.Files | None = None) -> Config:
    """Reads the whole configuration of an nginx.

    dump is the output of nginx -T: then nothing else is read. files is the disk with changes laid over it. A dump is
    good for looking only; edit what was read from files. Raises ConfigError.
    """
    main = layout.main_config
    if dump is not None:
        texts = split_dump(dump)
        files = _webserver_model.Files(texts, disk=False)
        main = next(iter(texts), main)
    config = Config("nginx", files or _webserver_model.Files())
    conf_dir = os.path.dirname(main)
    config.base = configured(layout.binary, "prefix") or conf_dir
    config.root = read(config, main, conf_dir)
    _add_vhosts(config, conf_dir, layout)
    return config


def access_logs(config: Config, layout: Layout) -> list[str]:
    """What logs requests for all server blocks that have no access_log of their own: the first arguments of the http
    block's, those of the collection's own file left out. Where there is none, nginx writes the log compiled in."""
    ours = config.source.real(layout.tls_log.conf or "")
    http = (block for block in _webserver_model.direct(config.root, "http"))
    items = [item for block in http for item in block.says("access_log")]
    return [item.args[0] for item in items if item.args and config.source.real(item.file) != ours]


@functools.lru_cache(maxsize=None)
def configured(binary: str, name: str) -> str | None:
    """An absolute path among the configure arguments of nginx, which are compiled into it: with C(prefix) the directory
    that relative log paths start from."""
    try:
        with open(binary, "rb") as handle:
            match = re.search(rb" --%s=(/[^ \0'\"]*)" % re.escape(name.encode()), handle.read())
    except OSError:
        return None
    return _webserver_model.decode(match.group(1)) if match else None
