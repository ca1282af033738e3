# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Makes the collection's policy effective in virtual hosts that belong to the administrator, and can take it back.

Where the policy goes:

* Apache, TLS: an Include right before C(</VirtualHost>), because of two directives on one level the last one counts.
* Apache, plain HTTP: an Include right behind the opening tag, because of two rewrite rules or redirects the first one
  that matches counts. C(RewriteEngine off) would still switch all of them off and is commented out.
* nginx: an include at the start of the server block. The place does not matter for settings, and rewrite directives
  run in order.

What is commented out in a TLS virtual host: each directive of L(_webserver.model.POLICY) and, with nginx, whatever
the policy sets as well, since nginx refuses duplicates. With Apache a directive that merely loses stays as it is
in files that the virtual host includes, which other programs may own.

nginx inherits a directive like add_header only into blocks that have none of their own. So a block in a TLS server that
has one gets the policy's lines of that kind; and a server block that the policy makes lose such lines of the http block
gets those. An nginx that can merge them is configured to, unless that would combine lines that were separate. A header
that a block sets itself, other than Strict-Transport-Security, stays the block's own: the policy's is left out there.
access_log is inherited in the same way. The policy's is for all of nginx, so that a block without one has it and those
of the administrator; one with logs of its own gets it beside them.

What a virtual host has of its own that is stronger than the policy's is never lost: a longer max-age, includeSubDomains
and preload of Strict-Transport-Security, newer protocols only, fewer suites and groups, and settings that only take
something away, where the policy does not set them. Its line is commented out as well, and what is as strong as both
is written beside the include (Apache, where the last one counts) or in place of that one line of the policy (nginx,
which refuses two). For Strict-Transport-Security, which a backend may send, the live server's responses count too. A
section that has a stronger value for itself keeps that for itself.

Marks. Everything can be undone from the text alone, byte for byte, by removing

* C(# kopano.hardening begin) … C(# kopano.hardening end) with the lines between them: they were inserted;
* C(# kopano.hardening off: ) at the start of a line: the rest is the administrator's line;
* the same with C(inline) and C(cut: ), for blocks and directives that share a line with others. There the newlines
  around it were inserted too.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host.crypto_policy import CryptoPolicy
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import policy_items as _policy_items
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import probes as _probes
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import MARK, Config, Directive, Vhost

_UNDO = re.compile(
    r"\n{mark}begin inline\n(?:(?!{mark}).*\n)*?{mark}end inline\n"
    r"|(?P<cut>(?:\n{mark}cut: .*)+)\n"
    r"|^[ \t]*{mark}begin\r?\n(?:(?![ \t]*{mark}).*\n)*?[ \t]*{mark}end\r?\n"
    r"|^(?P<indent>[ \t]*){mark}off: ".replace("{mark}", re.escape(MARK)),
    re.MULTILINE,
)
_CUT = re.compile(r"(?m)^" + re.escape(MARK) + "cut: ")

# nginx: a block that has one of these of its own inherits none of that kind
_LISTS = re.compile(
    r"add_header|add_trailer|ssl_conf_command|(?:proxy|fastcgi|uwsgi|scgi|grpc)_"
    r"(?:hide_header|pass_header|set_header|param)"
)
# nginx: what a block may have more than once
_REPEATED = frozenset(("include", "set", "if", "return", "rewrite"))
# A policy of the vhost's own that takes nothing away from ours, unless ours sets it, too
_HARMLESS = ("sslusestapling", "ssl_stapling")
# Apache: adds to what is set later on the same level
_CUMULATIVE = ("header", "sslopensslconfcmd")


def unadopt(text: str) -> str:
    """The text as it was before L(adopt); a text without marks comes back unchanged."""

    def restore(match: t.Match[str]) -> str:
        if match.group("cut"):
            return _CUT.sub("", match.group("cut")[1:])
        return match.group("indent") or ""

    return _UNDO.sub(restore, text)


class Edits(t.NamedTuple):
    """The lines that L(adopt) has added to a text, and those that it has commented out, each once.

    A template that makes the text with the first and without the second is left as it is.
    """

    add: list[str]
    remove: list[str]


def edits(text: str) -> Edits:
    """What L(adopt) has changed in a text, by its marks."""
    add: list[str] = []
    remove: list[str] = []
    for match in _UNDO.finditer(text):
        if match.group("cut"):
            remove += _CUT.sub("", match.group("cut")[1:]).split("\n")
        elif match.group("indent") is not None:
            remove.append(text[match.end() :].partition("\n")[0])
        else:
            add += [line for line in match.group().split("\n") if MARK not in line]
    return Edits(*([line for line in dict.fromkeys(map(str.strip, found)) if line] for found in (add, remove)))


def _header(directive: Directive) -> str:
    """The name of the header that an add_header line is about."""
    return directive.args[0].lower() if directive.args else ""


def _takes_headers(block: Directive) -> bool:
    """Whether nginx allows add_header in a block below a server's."""
    owner = block.owner()
    return block.key == "location" or (block.key == "if" and owner is not None and owner.key == "location")


class _Edits:
    """Collects changes to one text; places are offsets in it. The same change twice is one change."""

    def __init__(self, text: str) -> None:
        self.text = text
        # start, end, rank among changes at one place, new text
        self._changes: dict[tuple[int, int, int, str], None] = {}

    def _line(self, start: int, end: int) -> tuple[int, int, bool]:
        """The line or lines around a piece of text, and whether they hold nothing else but space and a comment."""
        first = self.text.rfind("\n", 0, start) + 1
        last = self.text.find("\n", end)
        last = len(self.text) if last < 0 else last
        before, after = self.text[first:start].strip(" \t\r"), self.text[end:last].strip(" \t\r")
        return first, last, not before and (not after or after.startswith("#"))

    def _indent(self, offset: int) -> str:
        first = self.text.rfind("\n", 0, offset) + 1
        match = re.compile(r"[ \t]*").match(self.text, first)
        return match.group() if match else ""

    def _add(self, start: int, end: int, text: str, rank: int = 0) -> None:
        self._changes[(start, end, rank, text)] = None

    def comment_out(self, directive: Directive) -> None:
        start, end = directive.start, directive.end
        first, _last, alone = self._line(start, end)
        if not alone:
            self._add(
                start, end, "".join("\n%scut: %s" % (MARK, line) for line in self.text[start:end].split("\n")) + "\n"
            )
            return
        while 0 <= first < end:
            after_indent = first + len(self._indent(first))
            self._add(after_indent, after_indent, MARK + "off: ", rank=1)
            first = self.text.find("\n", first) + 1 or end

    def _insert(self, at: int, indent: str, lines: list[str]) -> None:
        """Inserts whole lines at the start of a line."""
        newline = "\r\n" if self.text[max(at - 2, 0) : at] == "\r\n" else "\n"
        lines = [MARK + "begin", *lines, MARK + "end"]
        self._add(at, at, "".join(indent + line + newline for line in lines))

    def insert_inside(self, block: Directive, lines: list[str]) -> None:
        """Inserts lines at the start of a block's body."""
        if block.body_start is None:
            raise ValueError(f"{block!r} is no block")
        _first, last, _alone = self._line(block.start, block.body_start)
        after = self.text[block.body_start : last].strip(" \t\r")
        # There is no next line to insert at where something is behind the tag, or the text ends.
        if (after and not after.startswith("#")) or last == len(self.text):
            self._insert_inline(block.body_start, lines)
            return
        self._insert(last + 1, self._inner_indent(block), lines)

    def _inner_indent(self, block: Directive) -> str:
        """The indentation of what stands on lines of its own in a block."""
        for item in block.children or ():
            if item.file == block.file and self._line(item.start, item.end)[2]:
                return self._indent(item.start)
        return self._indent(block.start) + "    "

    def insert_before(self, directive: Directive, lines: list[str]) -> None:
        first, _last, alone = self._line(directive.start, directive.end)
        if alone:
            self._insert(first, self._indent(first), lines)
        else:
            self._insert_inline(directive.start, lines)

    def insert_at_end(self, block: Directive, lines: list[str]) -> None:
        """Inserts lines in front of a closing tag, which has a line of its own, or at the end of a text without one."""
        if block.body_end is None:
            raise ValueError(f"{block!r} is no block")
        first = self.text.rfind("\n", 0, block.body_end) + 1
        if block.body_end == block.end and first < block.end:
            self._insert_inline(block.end, lines)
            return
        self._insert(first, self._inner_indent(block), lines)

    def _insert_inline(self, at: int, lines: list[str]) -> None:
        lines = [MARK + "begin inline", *lines, MARK + "end inline"]
        self._add(at, at, "\n" + "".join(line + "\n" for line in lines))

    def line_at(self, offset: int) -> int:
        """The number that the line at a place has in the result."""
        added = sum(new.count("\n") for start, _end, _rank, new in self._changes if start <= offset)
        return self.text.count("\n", 0, offset) + added + 1

    def result(self) -> str:
        parts = []
        position = 0
        for start, end, _rank, new in sorted(self._changes, key=lambda change: change[:3]):
            parts += [self.text[position:start], new]
            position = end
        return "".join(parts) + self.text[position:]


class Policy:
    """What the policy's files for TLS virtual hosts set. A file that cannot be read sets nothing."""

    def __init__(self, config: Config, layout: Layout, options: t.Mapping[str, t.Any]) -> None:
        nginx = layout.server == "nginx"
        self._config = config
        self._layout = layout
        # By path, includes not resolved. Apache's file includes its headers itself.
        self.trees = {
            path: self._read(path) for path in (options["tls"], options.get("headers") if nginx else None) if path
        }
        self.directives = [item for tree in self.trees.values() for item in _webserver_model.direct(tree)]
        self.items = _policy_items.settings(layout.server, [self.directives])
        self.commands = {_policy_items.command(item) for item in self.directives}
        # nginx: the line for Strict-Transport-Security, and the map that its variable comes from
        self.hsts_line = next((item for item in self.directives if _sets_hsts(item)), None)
        self.variables = self._read(options["variables"]) if options.get("variables") else []
        self.hsts_map = next(
            (item for item in self.variables if self.hsts_line and item.args[1:] == [self.hsts_line.args[1]]), None
        )
        self.hsts = self._hsts()
        self.headers = self._headers()

    def _read(self, path: str) -> list[Directive]:
        try:
            if self._layout.server == "nginx":
                return _nginx.read(self._config, path, self._layout.config_dir)
            return _apache.read(self._config, self._layout, path)
        except (OSError, _webserver_model.ConfigError):
            return []

    def _hsts(self) -> str:
        """The value of Strict-Transport-Security; '' for none."""
        if self.hsts_map is not None:
            return "".join(item.args[0] for item in self.hsts_map.children or () if item.args)
        if self.hsts_line is not None:
            return self.hsts_line.args[1]
        return "".join(
            value for value, _item in _policy_items.apache_sends(_policy_items.HSTS, [self.directives]).values()
        )

    def _headers(self) -> list[tuple[str, str]]:
        """The headers that Apache sets for single paths, and their values."""
        sections = [item.children or () for item in self.directives if item.key == "locationmatch"]
        found = [_policy_items.header_set(item) for section in sections for item in section]
        return [header for header in found if header and not header[1].startswith("expr=")]

    def values(self) -> set[str]:
        """Every value that a header for single paths may get from the policy itself."""
        return {value for _name, value in self.headers} | {
            item.args[0] for block in self.variables for item in block.children or () if item.args
        }


class _Kept(t.NamedTuple):
    """What stays because it is stronger than the policy's."""

    block: Directive | None  # the virtual host; None for a section that counts for every one
    item: str
    value: str
    policy: str
    directive: Directive | None  # where it is set; None: the live server's response


if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class KeptInfo(t.TypedDict):  # novm
        """What is stronger than the policy and stays, as web_config returns it."""

        names: list[str]  # of the virtual host; none for what counts for all of them
        # Where it is written, once the change is made, or where the virtual host begins. None: not known.
        file: str | None
        line: int | None
        path: str | None  # that a header was found at
        item: str
        value: str  # what is in effect
        policy: str  # what the policy alone would come to, empty where it sets nothing

else:
    KeptInfo = t.Dict[str, t.Any]


class Adopted(t.NamedTuple):
    """The new texts by real path, what was kept, the values of Strict-Transport-Security that come from the policy as
    it is on the disk, and the server blocks, as FILE:LINE with the reason, that do not write the policy's log."""

    texts: dict[str, str]
    kept: list[KeptInfo]
    deployed: set[str]
    unlogged: list[str]


Place = t.Tuple[str, int]
# What the live server sent: (address, port, server name) to the values of Strict-Transport-Security.
Sent = t.Mapping[t.Tuple[str, int, t.Optional[str]], t.Sequence[str]]


def _place(block: Directive) -> Place:
    return block.file, block.start


class _Adoption:
    """One pass over one configuration that has no marks in it."""

    def __init__(
        self,
        config: Config,
        layout: Layout,
        policy: t.Mapping[str, t.Any],
        sent: Sent,
        system: CryptoPolicy | None,
    ) -> None:
        self.config = config
        self.layout = layout
        self._root = _webserver_model.plain(config.root)
        self._system = _policy_items.of_system(layout, system)
        self.replaces = policy.get("replace_stronger") or ()
        self.policy = Policy(config, layout, policy)
        self.kept: dict[_Kept, None] = {}
        self._edits: dict[str, _Edits] = {}  # by real path
        self.unlogged: dict[str, None] = {}
        self._maps: dict[str, dict[str, None]] = {}  # nginx: the maps that server blocks of a file need
        # What virtual hosts send because of the policy's files as they are now: not their own.
        self.deployed = {deployed(layout, policy).hsts}
        self._sent: dict[Place, list[str]] = {}
        places = {(vhost.file, vhost.line): _place(vhost.block) for vhost in config.vhosts if vhost.block}
        for target in _probes.targets_of(config.vhosts):
            values = sent.get((target["address"], target["port"], target["server_name"]), ())
            if target["block"] in places:
                self._sent.setdefault(places[target["block"]], []).extend(values)

    def edit(self, path: str) -> _Edits:
        real = self.config.source.real(path)
        return self._edits.setdefault(real, _Edits(self.config.files[path]))

    def results(self) -> dict[str, str]:
        return {path: edits.result() for path, edits in self._edits.items()}

    def includes(self, block: Directive, path: str) -> bool:
        """Whether a block includes a file already, by a line that is not ours: its path, or a pattern."""
        return any(
            fnmatch.fnmatchcase(path, os.path.normpath(os.path.join(self.layout.config_dir, item.args[0])))
            for item in _webserver_model.walk(block.children or ())
            if item.key in ("include", "includeoptional") and item.args
        )

    def foreign(self, items: t.Iterable[Directive]) -> list[Directive]:
        return [item for item in items if not _webserver_model.is_ours(self.config, self.layout, item)]

    # --- what is stronger than the policy ---

    def levels(self, block: Directive) -> list[t.Sequence[Directive]]:
        """What counts in a block, level by level, its own one last."""
        return [self._root, *reversed([level.says() for level in (block, *block.within())])]

    def keep(self, block: Directive | None, item: str, value: str, policy: str, directive: Directive | None) -> None:
        self.kept[_Kept(block, item, value, policy, directive)] = None

    def stronger_settings(self, block: Directive) -> dict[str, str]:
        """The directives that keep what a virtual host's TLS has of its own, by item."""
        lines: dict[str, str] = {}
        if _stronger.TLS in self.replaces:
            return lines
        server, levels = self.layout.server, self.levels(block)
        settings = _policy_items.settings(server, levels)
        if "protocols" not in settings:
            settings = _policy_items.settings(server, [self._system, *levels])
        for item, (names, directive) in settings.items():
            if item in self.policy.items:
                policy = self.policy.items[item][0]
                joined = _policy_items.join(item, policy, names, directive)
                if joined != policy:
                    lines[item] = _policy_items.line(server, item, joined)
                    self.keep(block, item, " ".join(joined), " ".join(policy), directive)
        for directive in self.foreign(_webserver_model.direct(block.children or ())):
            command = _policy_items.command(directive)
            if command not in self.policy.commands and _policy_items.is_strict(directive):
                lines[command] = self.line(directive)
                self.keep(block, command, directive.args[-1], "", directive)
        return lines

    def stronger_hsts(
        self, block: Directive | None, base: str, values: t.Iterable[tuple[str, Directive | None]]
    ) -> str:
        """A value of Strict-Transport-Security that is as strong as base and as all of these."""
        joined, decides = base, None
        for value, directive in values if _stronger.HSTS not in self.replaces else ():
            before, joined = joined, _stronger.hsts(joined, value)
            decides = directive if joined != before else decides
        if joined != base:
            self.keep(block, _stronger.HSTS, joined, self.policy.hsts, decides)
        return joined

    def hsts_of_block(self, block: Directive) -> str:
        """What a virtual host is to send."""
        levels = self.levels(block)
        if self.layout.server == "apache":
            own = list(_policy_items.apache_sends(_policy_items.HSTS, levels).values())
        else:
            own = _policy_items.nginx_hsts(levels, self.inherits(block) == "merge")
        values = [value for value, _directive in own]
        self.deployed |= {functools.reduce(_stronger.hsts, values, value) for value in self.deployed}
        sent = [(value, None) for value in self._sent.get(_place(block), ()) if value not in self.deployed]
        return self.stronger_hsts(block, self.policy.hsts, [*own, *sent])

    def shown(self) -> list[KeptInfo]:
        """What was kept, as web_config returns it."""
        names = {_place(vhost.block): vhost.names for vhost in self.config.vhosts if vhost.block}
        found: list[KeptInfo] = []
        for entry in self.kept:
            at = entry.directive or entry.block
            if at is None:
                raise ValueError(f"{entry.item} is kept, but nothing sets it")
            real = self.config.source.real(at.file)
            found.append(
                {
                    "names": names.get(_place(entry.block), []) if entry.block else [],
                    "file": at.file,
                    "line": self._edits[real].line_at(at.start) if real in self._edits else at.line,
                    "path": None,
                    "item": entry.item,
                    "value": entry.value,
                    "policy": entry.policy,
                }
            )
        return found

    # --- the edits ---

    def apache(self, tls: list[Directive], http: list[Directive], policy: t.Mapping[str, t.Any]) -> None:
        found = _apache.shared_overrides(self.config, self.layout) if tls else []
        for block in tls:
            for item in _webserver_model.walk(block.children or (), inactive=True):
                if not _webserver_model.is_policy("apache", item) or item.key in _HARMLESS:
                    continue
                merely_loses = item.file != block.file and item.owner() is block and item.key not in _CUMULATIVE
                if not merely_loses:
                    found.append(item)
            if not self.includes(block, policy["tls"]):
                lines = [*self.stronger_headers(block), "Include " + policy["tls"]]
                lines += self.stronger_settings(block).values()
                hsts = self.hsts_of_block(block)
                lines += [_apache_hsts(hsts)] if hsts != self.policy.hsts else []
                self.edit(block.file).insert_at_end(block, lines)
        for block in http:
            found += [
                item
                for item in _webserver_model.direct(block.children or (), "rewriteengine")
                if "".join(item.args).lower() == "off"
            ]
            if not self.includes(block, policy["http"]):
                self.edit(block.file).insert_inside(block, ["Include " + policy["http"]])
        found = self.foreign(found)
        self.keep_in_sections(found)
        for item in found:
            self.edit(item.file).comment_out(item)

    def stronger_headers(self, block: Directive) -> list[str]:
        """What an Apache virtual host sends with good responses only, where it is stronger than the policy's for single
        paths, set for all responses: the policy sees those and leaves them."""
        lines: list[str] = []
        for name in dict.fromkeys(name for name, _value in self.policy.headers):
            sent = _policy_items.apache_sends(name, self.levels(block))
            if True in sent or False not in sent or _stronger.HEADERS in self.replaces:
                continue
            own, directive = sent[False]
            if not _policy_items.is_plain(directive):
                continue
            patterns = [_stronger.stronger(*header) for header in self.policy.headers if header[0] == name]
            if any(
                re.search(pattern, own, re.IGNORECASE) for pattern in (*patterns, _stronger.beside(name)) if pattern
            ):
                quoted = own.replace("\\", "\\\\").replace('"', '\\"')
                lines += ["Header unset %s" % name, 'Header always set %s "%s"' % (name, quoted)]
        return lines

    def keep_in_sections(self, items: t.Iterable[Directive]) -> None:
        """A section of Apache's whose own value is stronger than the policy's keeps it for itself."""
        hsts: dict[int, str] = {}
        for item in items:
            section = item.owner()
            if section is None or section.key == "virtualhost":
                continue
            block = next((level for level in section.within() if level.key == "virtualhost"), None)
            values = _policy_items.hsts_values("apache", item)
            before = hsts.get(id(section), self.policy.hsts)
            hsts[id(section)] = self.stronger_hsts(block, before, [(value, item) for value in values])
            lines = [_apache_hsts(hsts[id(section)])] if hsts[id(section)] != before else []
            name, names = _policy_items.setting("apache", item) or ("", ())
            if name in self.policy.items and _stronger.TLS not in self.replaces:
                policy = self.policy.items[name][0]
                joined = _policy_items.join(name, policy, names, item)
                if joined != policy:
                    lines.append(_policy_items.line("apache", name, joined))
                    self.keep(block, name, " ".join(joined), " ".join(policy), item)
            if lines:
                self.edit(item.file).insert_before(item, lines)

    def nginx(self, tls: list[Directive], http: list[Directive], policy: t.Mapping[str, t.Any]) -> None:
        snippet = {path: list(_webserver_model.direct(tree)) for path, tree in self.policy.trees.items()}
        everything = self.policy.directives
        scalars = {item.key for item in everything if not item.children and not _LISTS.fullmatch(item.key)}
        hsts = {_place(block): self.hsts_of_block(block) for block in tls if not self.includes(block, policy["tls"])}
        inner = self.hsts_inside(tls, hsts)
        for block in tls:
            foreign = self.foreign(_webserver_model.walk(block.children or ()))
            merge = policy.get("merge_headers") and self.may_merge(block, foreign, everything)
            templated: set[Place] = set()
            for item in foreign:
                if item.children is not None and not item.inline:
                    kinds = self.own_lists(item) - ({"add_header"} if merge else set())
                    value = self.hsts_text(block, inner[_place(item)])
                    lines = [line for path in snippet for line in self.lines(snippet[path], path, kinds, item, value)]
                    written = {self.line(child): _place(child) for child in item.children}
                    if set(lines) <= set(written):  # by a template that has what would be inserted here
                        templated.update(written[line] for line in lines)
                    else:
                        self.edit(item.file).insert_inside(item, lines)
                if _place(item) in templated:
                    continue
                duplicate = item.key in scalars - _REPEATED and item.owner() is block
                if duplicate or (_webserver_model.is_policy("nginx", item) and item.key not in _HARMLESS):
                    self.edit(item.file).comment_out(item)
                    self.keep_other_headers(item)
            if _place(block) in hsts:
                lost = self.lost(block, [item for item in everything if _LISTS.fullmatch(item.key)])
                value = self.hsts_text(block, hsts[_place(block)])
                changes = self.stronger_settings(block)
                lines = self.included(policy["tls"], self.policy.trees[policy["tls"]], dict(changes, **value))
                for path in list(snippet)[1:]:
                    lines += self.lines(snippet[path], path, None, block, value, lost)
                lines += [
                    line for item, line in changes.items() if item not in {*self.policy.items, *self.policy.commands}
                ]
                lines += ["add_header_inherit merge;"] if merge else []
                self.edit(block.file).insert_inside(block, lines + [self.line(item) for item in lost])
        for block in http:
            if not self.includes(block, policy["http"]):
                self.edit(block.file).insert_inside(block, ["include %s;" % policy["http"]])
        if policy.get("repair_ssl_on"):
            self.repair_ssl_on(tls)
        if policy.get("tls_log"):
            self.log(tls, policy["tls_log"])
        if policy.get("variables"):
            # Each file has its own include, so that none depends on another, nor on the main configuration. nginx takes
            # the same map as often as it comes.
            first: dict[str, Directive] = {}
            for block in sorted(tls, key=lambda item: item.start):
                first.setdefault(block.file, block)
            for block in first.values():
                if not self.includes(block, policy["tls"]):
                    lines = ["include %s;" % policy["variables"], *self._maps.get(block.file, ())]
                    self.edit(block.file).insert_before(block, lines)

    def log(self, tls: list[Directive], path: str) -> None:
        """Write the log that a file sets for all server blocks also where a block has logs of its own: it inherits
        none. C(off) wins over others in its block; nginx has to read the log's format before it is used."""
        log, servers = "", {_place(block) for block in tls}
        for item in _webserver_model.walk(self.config.root):
            block = item.owner()
            if item.key != "access_log" or block is None:
                continue
            if self.config.source.real(item.file) == self.config.source.real(path):
                log = self.line(item)
            elif any(_place(level) in servers for level in (block, *block.within())):
                logs = block.says("access_log")
                off = any(own.args[:1] == ["off"] for own in logs)
                if log and not off and log not in map(self.line, logs):
                    self.edit(block.file).insert_inside(block, [log])
                elif not log or (off and _place(block) in servers):
                    reason = "access_log off" if off else "not behind %s" % path
                    self.unlogged["%s:%d (%s)" % (block.file, block.line, reason)] = None
        if not log:
            self.unlogged["all others (nginx does not include %s)" % path] = None

    def hsts_inside(self, tls: list[Directive], hsts: t.Mapping[Place, str]) -> dict[Place, str]:
        """What blocks in server blocks are to send: what the block around them does, or their own if that is stronger
        than the policy's. A file that several server blocks include can set it only once."""
        found: dict[Place, str] = {}
        for server in tls:
            here = {_place(server): hsts.get(_place(server), self.policy.hsts)}
            for block in self.foreign(_webserver_model.walk(server.children or ())):
                if block.children is not None and not block.inline:
                    lines = _webserver_model.direct(block.children)
                    own = [(value, line) for line in lines for value in _policy_items.hsts_values("nginx", line)]
                    value = self.stronger_hsts(server, self.policy.hsts, own)
                    around = next(here[_place(outer)] for outer in block.within() if _place(outer) in here)
                    here[_place(block)] = around if value == self.policy.hsts else value
            for place, value in here.items():
                found[place] = _stronger.hsts(found.get(place, value), value)
        return found

    def hsts_text(self, block: Directive, value: str) -> dict[str, str]:
        """The policy's line for Strict-Transport-Security with another value: {} if it is the policy's own.

        Where the policy has a variable, so that plain HTTP gets nothing, there is one of that kind for each value.
        """
        directive, source = self.policy.hsts_line, self.policy.hsts_map
        if value == self.policy.hsts or directive is None:
            return {}
        if source is None:
            argument = '"%s"' % value
        else:
            parsed = _stronger.parse_hsts(value) or _stronger.Hsts()
            argument = source.args[1] + "_%d" % parsed.max_age + "_sub" * parsed.subdomains
            argument += "_preload" * parsed.preload
            cases = "".join('%s "%s"; ' % (item.name, value if item.args[0] else "") for item in source.children or ())
            self._maps.setdefault(block.file, {})["map %s %s { %s}" % (source.args[0], argument, cases)] = None
        return {_stronger.HSTS: " ".join([directive.name, directive.args[0], argument, *directive.args[2:]]) + ";"}

    def included(self, path: str, tree: t.Sequence[Directive], changes: t.Mapping[str, str]) -> list[str]:
        """An include of a policy's file; where something in it is to be different, its lines instead."""
        if not any(_item(directive) in changes for directive in _webserver_model.direct(tree)):
            return ["include %s;" % path]
        lines = []
        for directive in tree:
            if directive.inline:
                lines += self.included(directive.args[0], directive.children or (), changes)
            elif _item(directive) in changes:
                lines.append(changes[_item(directive)])
            else:
                lines += [*self.option_of(directive), self.line(directive)]
        return lines

    def option_of(self, directive: Directive) -> list[str]:
        """The comment before a line of the policy that names the option which decides it, for a server's refusal."""
        before = self.config.files[directive.file][: directive.start].rstrip(" \t")
        comment = before[:-1].rpartition("\n")[2].strip()
        return [comment] if comment.startswith("# option: ") else []

    def repair_ssl_on(self, tls: list[Directive]) -> None:
        """Set with each listener what the directive C(ssl) sets, which nginx no longer knows since 1.25.1."""
        for item in self.foreign(_webserver_model.walk(self.config.root)):
            if item.key == "ssl" and item.owner() is not None:
                self.edit(item.file).comment_out(item)
        for block in tls:
            for item in self.foreign(_webserver_model.direct(block.children or (), "listen")):
                plain = not {"ssl", "quic"} & set(item.args) and not item.args[0].startswith("unix:")
                if plain and self.has_ssl_on(block):
                    self.edit(item.file).insert_before(item, ["listen %s ssl;" % " ".join(item.args)])
                    self.edit(item.file).comment_out(item)

    def has_ssl_on(self, block: Directive) -> bool:
        for level in (block, *block.within()):
            for item in level.says("ssl"):
                return item.args == ["on"]
        return False

    def lines(
        self,
        snippet: list[Directive],
        path: str,
        kinds: set[str] | None,
        block: Directive,
        changes: t.Mapping[str, str],
        inherited: t.Sequence[Directive] = (),
    ) -> list[str]:
        """What a block needs of a policy's file: an include of it, or single lines where that would be too much.

        kinds: the kinds of lines that the block does not inherit, None for all; changes: lines that are different here.
        """
        lists = [item for item in snippet if _LISTS.fullmatch(item.key)]
        needed = [item for item in lists if kinds is None or item.key in kinds]
        own = [*_webserver_model.direct(block.children or (), "add_header"), *inherited]
        names = {
            _header(item) for item in own if item.key == "add_header" and not _webserver_model.is_policy("nginx", item)
        }
        fitting = [item for item in needed if item.key != "add_header" or _header(item) not in names]
        if not fitting:
            return []
        if len(fitting) == len(snippet) and not any(_item(item) in changes for item in fitting):
            return ["include %s;" % path]
        return [changes.get(_item(item)) or self.line(item) for item in fitting]

    def may_merge(self, block: Directive, foreign: list[Directive], policy: list[Directive]) -> bool:
        """Whether merging headers in a server block brings its locations only the policy's, and none of them twice."""
        ours = {_header(item) for item in policy if item.key == "add_header"}
        around = [item.key for level in block.within() for item in level.says()]
        if "add_header" in around or any(item.key == "add_header_inherit" for item in foreign):
            return False
        own = [item for item in foreign if item.key == "add_header" and not _webserver_model.is_policy("nginx", item)]
        return not any(item.owner() is block or _header(item) in ours for item in own)

    def line(self, directive: Directive) -> str:
        return self.config.files[directive.file][directive.start : directive.end]

    def own_lists(self, block: Directive) -> set[str]:
        """The kinds of lines that a block has and therefore does not inherit."""
        found = {item.key for item in _webserver_model.direct(block.children or ()) if _LISTS.fullmatch(item.key)}
        inherits = self.inherits(block)
        if inherits == "merge":
            return found - {"add_header"}
        return found | {"add_header"} if inherits == "off" and _takes_headers(block) else found

    def inherits(self, block: Directive) -> str:
        """How nginx (from 1.29.3) is configured to treat headers of the blocks around this one."""
        for level in (block, *block.within()):
            for item in level.says("add_header_inherit"):
                return item.args[0] if item.args else ""
        return ""

    def lost(self, block: Directive, lists: list[Directive]) -> list[Directive]:
        """The inherited lines that a server block loses when the policy brings lines of the same kind."""
        lines: list[Directive] = []
        for key in dict.fromkeys(item.key for item in lists):
            for level in (block, *block.within()):
                found = level.says(key)
                if found:
                    inherited = level is not block and not (key == "add_header" and self.inherits(block))
                    lines += [item for item in found if inherited and not _webserver_model.is_policy("nginx", item)]
                    break
        return lines

    def keep_other_headers(self, item: Directive) -> None:
        """more_set_headers can set several headers at once; those that are not ours go on to be set."""
        if item.key != "more_set_headers":
            return
        kept = [arg for arg in item.args if not re.search(_webserver_model.POLICY["nginx"][item.key], arg)]
        if any(":" in arg for arg in kept):
            quoted = ['"%s"' % arg.replace("\\", "\\\\").replace('"', '\\"') for arg in kept]
            self.edit(item.file).insert_before(item, ["more_set_headers %s;" % " ".join(quoted)])


def _sets_hsts(directive: Directive) -> bool:
    return directive.key == "add_header" and bool(_policy_items.hsts_values("nginx", directive))


def _item(directive: Directive) -> str:
    """The item that a line of nginx's policy is about, or what it is called."""
    item = _policy_items.setting("nginx", directive)
    return _stronger.HSTS if _sets_hsts(directive) else item[0] if item else _policy_items.command(directive)


def _apache_hsts(value: str) -> str:
    return 'Header always set Strict-Transport-Security "%s"' % value


def _blocks(vhosts: t.Iterable[Vhost]) -> list[Directive]:
    """The blocks of virtual hosts, each place in a file once."""
    return list({(vhost.block.file, vhost.block.start): vhost.block for vhost in vhosts if vhost.block}.values())


def _is_public_http(vhost: Vhost) -> bool:
    """Whether a plain virtual host is what browsers reach: a status page on the loopback or on 8080 is not."""
    return not vhost.tls and vhost.port == 80 and not re.match(r"127\.|\[::1\]|localhost$", vhost.address)


def deployed(layout: Layout, policy: t.Mapping[str, t.Any]) -> Policy:
    """What the policy's files set as they are on the disk."""
    return Policy(Config(layout.server, _webserver_model.Files()), layout, policy)


def adopt(
    config: Config,
    layout: Layout,
    policy: t.Mapping[str, t.Any],
    sent: Sent | None = None,
    system: CryptoPolicy | None = None,
) -> Adopted:
    """The new texts of the files that change so that the policy is effective in every virtual host, and what is kept.

    policy: tls is the path of the file for TLS virtual hosts; http, if not None, of the one for plain virtual hosts on
    port 80. For nginx, headers is that of the file with the response headers, which locations may need as well, and
    variables that of the file with what these need, which each file with such a server block gets in front of it;
    tls_log, if not None, is that of a file whose access_log each block with logs of its own gets as well;
    merge_headers: whether nginx has add_header_inherit; repair_ssl_on: whether to replace the directive ssl;
    replace_stronger names what the policy may weaken, of L(_webserver.stronger.GROUPS). sent: what the live server
    sends; what comes from the policy's files as they are now does not count as a virtual host's own. system: the policy
    that the host has for all of its programs.
    Texts that lie over the disk in the configuration's source are taken into account (the policy's own files, which may
    not be on the disk yet) and never edited. Marks that are there already are replaced, so that adopting twice is
    adopting once. Raises ConfigError.
    """
    if not config.source.disk:
        raise ValueError("what was read from a dump cannot be edited")
    clean = {}
    for path, text in config.files.items():
        if path not in config.source.texts and config.source.real(path) not in config.source.texts:
            clean[path] = unadopt(text)
    source = config.source.over({config.source.real(path): text for path, text in clean.items()})
    if layout.server == "nginx":
        bare = _nginx.load(layout, files=source)
    else:
        # What the administrator has set for the case that one of the policy's is loaded will count.
        modules = (config.modules or frozenset()).union(_layout.POLICY_MODULES)
        bare = _apache.load(layout, modules=modules, files=source)
    tls = _blocks(vhost for vhost in bare.vhosts if vhost.tls)
    secure = {(block.file, block.start) for block in tls}
    plain = _blocks(vhost for vhost in bare.vhosts if policy.get("http") and _is_public_http(vhost))
    adoption = _Adoption(bare, layout, policy, sent or {}, system)
    edit = adoption.nginx if layout.server == "nginx" else adoption.apache
    edit(tls, [block for block in plain if (block.file, block.start) not in secure], policy)
    texts_by_path = {**{config.source.real(path): text for path, text in clean.items()}, **adoption.results()}
    current = {config.source.real(path): config.files[path] for path in clean}
    texts = {path: text for path, text in texts_by_path.items() if path in current and text != current[path]}
    return Adopted(texts, adoption.shown(), adoption.deployed, list(adoption.unlogged))
