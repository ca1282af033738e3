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
import fnmatch
import glob
import os
import re
import typing as t


class ConfigError(Exception):
    """A configuration that cannot be read. words is what is wrong, without file and line."""

    def __init__(self, file: str, line: int | None, words: str) -> None:
        super().__init__('%s in %s%s' % (words, file, '' if line is None else ':%d' % line))
        self.file = file
        self.line = line
        self.words = words


class Directive:
    """One directive or block, with its place in the text of its file.

    text[start:end] is the whole of it: a block with its body, an nginx directive with its semicolon, an Apache one
    with its continuation lines; never the newline behind it. text[body_start:body_end] is what a block contains; both
    are None for anything else. args are unquoted (and, with Apache, have their ${variables} replaced).
    children is None for a plain directive. An include has the directives of the included files as children.
    inline: the children count as if they stood where this directive stands (includes, Apache's conditional sections).
    active: False for a conditional section whose condition does not hold.
    """

    __slots__ = ('name', 'args', 'children', 'file', 'line', 'start', 'end', 'body_start', 'body_end', 'parent',
                 'inline', 'active')

    def __init__(self, name: str, args: list[str], file: str, line: int, start: int, end: int,
                 parent: Directive | None = None) -> None:
        self.name = name
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

    def __repr__(self) -> str:
        return '<%s %s %s:%d>' % (self.name, ' '.join(self.args), self.file, self.line)

    @property
    def key(self) -> str:
        """The name in lower case: Apache does not mind the case, nginx has lower case only."""
        return self.name.lower()

    def owner(self) -> Directive | None:
        """The block that this directive counts for: the nearest parent that is not inline."""
        block = self.parent
        while block is not None and block.inline:
            block = block.parent
        return block

    def within(self) -> t.Iterator[Directive]:
        """The blocks around this directive, innermost first."""
        block = self.owner()
        while block is not None:
            yield block
            block = block.owner()


def walk(directives: t.Iterable[Directive], inactive: bool = False) -> t.Iterator[Directive]:
    """Every directive, depth first in the order of the text; inactive says whether to enter sections that are off."""
    stack = [iter(directives)]
    while stack:
        directive = next(stack[-1], None)
        if directive is None:
            stack.pop()
            continue
        yield directive
        if directive.children and (directive.active or inactive):
            stack.append(iter(directive.children))


def direct(directives: t.Iterable[Directive], *keys: str) -> t.Iterator[Directive]:
    """The directives that count at this level: inline children come in place of the directive that brings them."""
    stack = [iter(directives)]
    while stack:
        directive = next(stack[-1], None)
        if directive is None:
            stack.pop()
        elif directive.inline:
            if directive.active:
                stack.append(iter(directive.children or ()))
        elif not keys or directive.key in keys:
            yield directive


class Vhost:
    """One virtual host at one address: an Apache VirtualHost or an nginx server block has one for each it listens on."""

    __slots__ = ('server', 'names', 'address', 'port', 'tls', 'certificate', 'key', 'file', 'line', 'default', 'block',
                 'overrides')

    def __init__(self, server: str, names: list[str], address: str, port: int | None, file: str, line: int,
                 block: Directive | None = None) -> None:
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
        self.block = block  # None for Apache's main server, and for a host that no text was found for
        self.overrides: list[Directive] = []

    def __repr__(self) -> str:
        return '<Vhost %s:%s %s %s:%d>' % (self.address, self.port, ' '.join(self.names), self.file, self.line)

    def as_dict(self) -> dict[str, t.Any]:
        """The shape that the module frontend_info returns."""
        return {
            'server': self.server, 'names': self.names, 'address': self.address, 'port': self.port, 'tls': self.tls,
            'certificate': self.certificate, 'key': self.key, 'file': self.file, 'line': self.line,
            'default': self.default,
            'overrides': [
                {'directive': item.name, 'value': ' '.join(item.args), 'file': item.file, 'line': item.line}
                for item in self.overrides
            ],
        }


class Config:
    """A whole configuration: root is the main file's directives, files has the text of every file that was read."""

    def __init__(self, server: str, base: str, files: dict[str, str], root: list[Directive]) -> None:
        self.server = server
        self.base = base  # relative log and socket paths start here
        self.files = files
        self.root = root
        self.vhosts: list[Vhost] = []
