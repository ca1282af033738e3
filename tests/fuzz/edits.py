# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to hold for every configuration that is read and edited.

The edit is the one that a run makes: the policy's files as the role renders them, a site taken out, and the policy put
into every virtual host that is left, as one set of changes to files and links.
"""

from __future__ import annotations

import bisect
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import engine as _engine
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import fragments as _fragments
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.model import Config, ConfigError, Directive
from tests.unit import role_frontend

from . import servers

LOADERS: dict[str, t.Callable[..., Config]] = {"apache": _apache.load, "nginx": _nginx.load}
_HOMES = {"apache": "/etc/apache2", "nginx": "/etc/nginx"}


class Policy(t.NamedTuple):
    """C(files): by path; C(options): what L(_webserver.adopt.adopt) takes."""

    files: dict[str, str]
    options: dict[str, t.Any]


def _rendered(server: str) -> Policy:
    info = role_frontend.host(server, "debian", policy_dir="@ROOT@/kopano-hardening")
    info["servers"][0]["tls_log"].update(path="@ROOT@/logs/kopano-tls.log", conf="@ROOT@/conf.d/00-kopano-tls-log.conf")
    info["vhosts"] = [role_frontend.vhost(server, names=["mail.example"])]
    info["vhosts"] += [role_frontend.vhost(server, names=["plain.example"], tls=False, port=80)]
    plan = role_frontend.plan(info)
    files = {path: text for path, text in role_frontend.render(plan).items() if path.startswith("@ROOT@")}
    return Policy(files, plan["policy"])


_POLICIES = {server: _rendered(server) for server in LOADERS}


def policy_in(server: str, folder: str) -> Policy:
    """The policy for a configuration in a folder."""
    files, options = _POLICIES[server]
    return Policy(
        {path.replace("@ROOT@", folder): text.replace("@ROOT@", folder) for path, text in files.items()},
        {key: value.replace("@ROOT@", folder) if isinstance(value, str) else value for key, value in options.items()},
    )


def layout_in(server: str, folder: str) -> Layout:
    """Debian's layout of a server, moved to a folder."""
    found = role_frontend.layout_of(server, "debian")

    def moved(value: t.Any) -> t.Any:
        if isinstance(value, str):
            return value.replace(_HOMES[server], folder)
        return type(value)(*map(moved, value)) if isinstance(value, (_layout.Slot, _layout.TLSLog)) else value

    places = {name: moved(value) for name, value in found._asdict().items()}
    if server == "apache" and not os.path.isdir(folder + "/mods-available"):
        places.update(modules=None, module_style="static")
    return found._replace(**{**places, "main_config": f"{folder}/{server}.conf", "envvars": None})


class Unedited(Exception):
    """No edit is made: a module is missing, or a virtual host that Apache lists comes from a macro and has no text."""


def _is_conditional(item: Directive | None) -> bool:
    """Whether it is a condition of Apache's or in one: both may end with their file."""
    while item is not None and not (item.inline and item.body_start is not None):
        item = item.parent
    return item is not None


def check_places(config: Config) -> None:
    """Each directive is in the text at its own place, and inside of its parent."""
    ends = {}  # of lines
    for path, text in config.files.items():
        assert _webserver_model.decode(_webserver_model.encode(text)) == text, path
        ends[path] = [place for place, character in enumerate(text) if character == "\n"]
    for item in _webserver_model.walk(config.root, inactive=True):
        assert 0 <= item.start < item.end <= len(config.files[item.file]), item
        assert item.line == bisect.bisect_left(ends[item.file], item.start) + 1, item
        if item.body_start is not None:
            assert item.body_end is not None and item.start < item.body_start <= item.body_end, item
            open_to_the_end = _is_conditional(item) and item.body_end == len(config.files[item.file])
            assert item.body_end < item.end or (open_to_the_end and item.body_end == item.end), item
        position = 0
        for child in item.children or ():
            if child.file == item.file and not (item.inline and item.body_start is None):
                assert item.body_start is not None and item.body_end is not None
                assert max(item.body_start, position) <= child.start and child.end <= item.body_end, (item, child)
                position = child.end


def changes_of(
    config: Config, layout: Layout, policy: Policy, disable: str
) -> tuple[_changeset.Changeset, dict[str, str]]:
    """What a run would write, and what of it are edits of what is there. Raises Unedited and ConfigError."""
    if any(vhost.block is None and vhost.tls is not False for vhost in config.vhosts):
        raise Unedited
    changes = _changeset.Changeset()
    for path, text in policy.files.items():
        changes.add(path, _changeset.State(_changeset.FILE, content=text.encode()))
    if layout.server == "apache":
        try:
            _fragments.enable(changes, layout, "modules", _layout.POLICY_MODULES, config)
        except _fragments.FragmentError as error:
            raise Unedited from error
        _leave_marks(changes, layout)
    if disable:
        _without(changes, layout, disable)
    if changes.pending():
        config = LOADERS[layout.server](layout, files=_engine._overlay(changes))
    else:
        config.source = _engine._overlay(changes)
    current = {config.source.real(path): text for path, text in config.files.items()}
    adopted = _adopt.adopt(config, layout, policy.options)
    for path, text in adopted.texts.items():
        basis = _webserver_model.encode(current[path])
        changes.add(path, _changeset.State(_changeset.FILE, content=_webserver_model.encode(text), basis=basis))
    return changes, adopted.texts


def _without(changes: _changeset.Changeset, layout: Layout, site: str) -> None:
    _fragments.disable(changes, layout, "sites", [site])
    _leave_marks(changes, layout)


def _leave_marks(changes: _changeset.Changeset, layout: Layout) -> None:
    """Without those of Debian's own tools, which are elsewhere on the machine."""
    changes.desired = {path: new for path, new in changes.desired.items() if path.startswith(layout.config_dir)}


def check_edit(read: t.Callable[[], Config], layout: Layout, policy: Policy, disable: str) -> None:
    """The change can be made, does what it is for, is empty when it is repeated, and can be rolled back.

    read: gives the configuration as it is now; it fails where that must not be.
    """
    before = listing(layout.config_dir)
    config = read()
    check_places(config)
    changes, edited = changes_of(config, layout, policy, disable)
    pending = changes.pending()
    _changeset.apply(pending)
    for change in pending:
        if change.path in edited:
            was = _webserver_model.decode(change.before.content)
            assert _adopt.unadopt(edited[change.path]) == _adopt.unadopt(was), change.path
    changed = read()
    check_places(changed)
    check_edited(changed, policy)
    repeated = changes_of(changed, layout, policy, disable)[0].pending()
    assert not repeated, [(change.path, change.after.content) for change in repeated]
    for change in reversed(pending):
        _changeset.put(change.path, change.before, expected=change.after)
    after = listing(layout.config_dir)
    assert after == before, [path for path in {**before, **after} if before.get(path) != after.get(path)]


def check_with_server(
    query: t.Callable[[], servers.Result],
    compared: t.Callable[[Config, str], Config],
    layout: Layout,
    policy: Policy,
    disable: str,
) -> bool:
    """What the real server accepts is read, and edited so that it still accepts it; whether it accepts it.

    query: its result for the files as they are; compared: fails where a configuration is not what the server's output
    lists, and returns the configuration as a run reads it.
    """
    load, first = LOADERS[layout.server], query()
    if not first.accepts:
        load(layout)
        return False
    if disable and not _is_dispensable(query, layout, disable):
        disable = ""
    results = [first]

    def read() -> Config:
        result = results.pop() if results else query()
        assert result.accepts, result.messages
        try:
            found = load(layout)
        except ConfigError as error:
            raise AssertionError(f"{layout.server} accepts it") from error
        return compared(found, result.output)

    check_edit(read, layout, policy, disable)
    return True


def _is_dispensable(query: t.Callable[[], servers.Result], layout: Layout, site: str) -> bool:
    """Whether the server accepts the others alone. They may lack what only the first one at an address has to have."""
    changes = _changeset.Changeset()
    _without(changes, layout, site)
    pending = changes.pending()
    _changeset.apply(pending)
    accepts = query().accepts
    for change in reversed(pending):
        _changeset.put(change.path, change.before, expected=change.after)
    return accepts


def check_edited(config: Config, policy: Policy) -> None:
    """Every virtual host with TLS has the policy, and no file of it twice."""
    for vhost in config.vhosts:
        if vhost.tls and vhost.block:
            inside = list(_webserver_model.walk(vhost.block.children or ()))
            included = [item for item in inside if item.key == "include" and policy.options["tls"] in item.args]
            assert len(included) < 2 and any(item.file in policy.files for item in inside), (vhost, included)


def listing(folder: str) -> dict[str, t.Any]:
    """All that is in a folder, but for what the servers themselves write there."""
    found: dict[str, t.Any] = {}
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("logs", "temp")]
        for name in (*folders, *names):
            path = os.path.join(top, name)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isfile(path) and name not in ("pid", "start.log"):
                with open(path, "rb") as stream:
                    found[path] = stream.read()
    return found
