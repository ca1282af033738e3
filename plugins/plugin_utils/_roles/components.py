# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""The web frontends of Kopano: from the role's data file and the user's changes to it to what templates can write down.

Nothing here talks to a host.
"""

from __future__ import annotations

import copy
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import as_list
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.frontend_data import ComponentData

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.components import ComponentInfo

Options = t.Mapping[str, t.Any]


class Headers(t.TypedDict, total=False):
    """What happens to the headers of a component."""

    set: dict[str, str]
    keep: list[str]
    unset: list[str]


class Health(t.TypedDict, total=False):
    """A path, and the status codes of a healthy response without a login; empty: it is not requested."""

    path: str
    status: list[int]


class Component(t.TypedDict):
    """An entry of the data file with the defaults filled in, and the user's changes. The file describes each key."""

    name: str
    title: str
    paths: list[str]
    match: str
    backend: str
    behind: str
    directory: str
    script: str
    index: str
    fallback: str
    landing: str
    redirects: dict[str, str]
    strip: bool
    websocket: list[str]
    read_timeout: int
    body_size: int
    php: dict[str, t.Any]
    overrides: list[str]
    credentials: bool
    headers: Headers
    csp: str
    permissions: list[str] | None
    framed_in: str
    denied: list[str]
    probe: Health


class Websocket(t.TypedDict):
    """A path below which connections are upgraded, as regular expressions."""

    prefix: str  # the part that is not sent to the backend
    rest: str


class PresentComponent(Component):
    """A component of a host, with what templates need."""

    pattern: str  # for all of its paths
    kind: str  # of its backend: php, files, proxy
    target: str  # where that is: a socket, a URL, or '' for what is found
    scheme: str  # of a proxy's target, else ''
    proxy_pass: str  # the target as nginx writes it
    url: str  # as Apache writes it
    websocket_url: str
    websockets: list[Websocket]


class SiteComponent(PresentComponent):
    """A component with what runs PHP for it: the path of a socket, or '' for mod_php and where there is no PHP."""

    php_socket: str


class Route(t.TypedDict):
    """A path with its component."""

    path: str
    component: SiteComponent


class OwnValues(t.TypedDict):
    """Which values of a header that others have set are not replaced: patterns, '' for none.

    stays: of values that are stronger; beside: of values that the rule's is added to; inner: of paths below that have a
    rule of their own.
    """

    stays: str
    beside: str
    inner: str


class HeaderRule(t.TypedDict):
    """The headers that a component's responses get."""

    title: str
    pattern: str
    set: dict[str, str]
    paths: list[str]
    own: dict[str, OwnValues]  # by header, where there are any; empty where all values are replaced
    lines: t.NotRequired[list[str]]  # the directives, for Apache


class OwnVariable(OwnValues):
    """A variable for a value that depends on a backend's own."""

    variable: str
    value: str


class HeaderValue(t.TypedDict):
    """The value of a header below a pattern of paths."""

    pattern: str
    value: str


class HeaderVariable(t.TypedDict):
    """A header with the variable that has its value, as nginx needs it."""

    name: str
    variable: str
    values: list[HeaderValue]
    own: list[OwnVariable]


class WebConfigProbe(t.TypedDict):
    """An element of web_config's option C(probes)."""

    path: str
    keep: t.NotRequired[list[str]]
    policy: t.NotRequired[dict[str, str]]
    headers: t.NotRequired[dict[str, str]]
    expect: t.NotRequired[dict[str, t.Any]]
    method: t.NotRequired[str]
    body_size: t.NotRequired[int]  # bytes
    server_name: t.NotRequired[str]
    port: t.NotRequired[int]


# A path that needs no quoting in either server's configuration, has no empty segment and ends in a name.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_FILE = re.compile(r"/[A-Za-z0-9._/@+=,:~-]+")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
# nginx has a variable for each, whose name must fit into its table of variables.
_HEADER = re.compile(r"[A-Za-z0-9-]{1,35}")
_PHP = re.compile(r"[A-Za-z0-9._]+")
# What neither server can be made to understand inside of double quotes: quotes, variables, escapes, ends of lines.
_QUOTABLE = re.compile(r'[^"$\\\x00-\x1f\x7f%]*')
_PATTERN = re.compile(r'[^"\s\x00-\x1f\x7f]+')
_BACKEND = re.compile(
    r"php|mod_php|files|fpm:/[A-Za-z0-9._/@+=,~-]+|unix:/[A-Za-z0-9._/@+=,~-]+"
    r"|https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?"
)

# What a user may set for a component's headers.
_HEADER_RULES = {"set", "keep", "unset"}

# Sent with every response of a TLS virtual host, whatever is behind it, like Strict-Transport-Security.
EVERYWHERE = {"X-Content-Type-Options": "nosniff"}

MEGABYTE = 1024 * 1024

# Sent by backends to every client, and of use to attackers alone. Without a backend's Server a proxy names itself.
HIDDEN = ["Server", "X-Powered-By"]

# Chromium complains about a report-only policy that reports nowhere; a goal that no header defines receives nothing.
_NO_REPORTS = "report-to kopano-hardening"


def _combined(base: t.Any, changes: t.Any) -> t.Any:
    """Mappings are merged, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return copy.deepcopy(changes)
    return {**base, **{key: _combined(base.get(key), value) for key, value in changes.items()}}


def merged(data: ComponentData, options: Options) -> dict[str, Component]:
    """Every component that may be on a host, by name, with the user's changes and without the ones switched off."""
    changes = options["components_override"]
    entries = {name: _combined(entry, changes.get(name, {})) for name, entry in data["components"].items()}
    entries.update(options["components_extra"])
    return {
        name: t.cast("Component", {**copy.deepcopy(data["defaults"]), "title": name, **entry, "name": name})
        for name, entry in entries.items()
        if name not in as_list(options["components_off"])
    }


# --- bad input -------------------------------------------------------------------------------------------------------


def _is_list(value: t.Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and pattern.fullmatch(item) for item in value)


def _is_number(value: t.Any) -> bool:
    text = str(value)
    return not isinstance(value, bool) and text.isascii() and text.isdigit() and int(text) > 0


def _is_regex(value: t.Any) -> bool:
    if not isinstance(value, str) or not _PATTERN.fullmatch(value):
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def _is_mapping(value: t.Any, name: re.Pattern[str], pattern: re.Pattern[str]) -> bool:
    return isinstance(value, dict) and all(
        name.fullmatch(str(key)) and pattern.fullmatch(str(item)) for key, item in value.items()
    )


def _is_backend(value: t.Any) -> bool:
    if not isinstance(value, str) or not _BACKEND.fullmatch(value):
        return False
    port = re.search(r":([0-9]+)$", value) if value.startswith("http") else None
    return port is None or 0 < int(port.group(1)) < 65536


def _is_headers(value: t.Any) -> bool:
    if not isinstance(value, dict) or not set(value) <= _HEADER_RULES:
        return False
    lists = all(_is_list(value.get(key, []), _HEADER) for key in ("keep", "unset"))
    return lists and _is_mapping(value.get("set", {}), _HEADER, _QUOTABLE)


def _is_probe(value: t.Any) -> bool:
    if not isinstance(value, dict) or not set(value) <= {"path", "status"}:
        return False
    status = value.get("status", [])
    path = value.get("path", "")
    return (
        (not value or (isinstance(path, str) and re.fullmatch(r"/[^\s\x00-\x1f]*", path) is not None))
        and isinstance(status, list)
        and all(_is_number(code) and 100 <= int(code) <= 599 for code in status)
    )


def _is_text(pattern: re.Pattern[str]) -> t.Callable[[t.Any], bool]:
    return lambda value: isinstance(value, str) and (value == "" or pattern.fullmatch(value) is not None)


# For each key what its value has to be, as text and as a test.
_KEYS: dict[str, tuple[str, t.Callable[[t.Any], bool]]] = {
    "title": ("text without quotes", _is_text(_QUOTABLE)),
    "paths": (
        "a list of paths such as /webapp: no slash at the end, letters, digits and ._~- only",
        lambda value: bool(value) and _is_list(value, _PATH),
    ),
    "match": ("prefix or nocase", lambda value: value in ("prefix", "nocase")),
    "backend": ("php, mod_php, files, fpm:/SOCKET, unix:/SOCKET or http(s)://HOST[:PORT]", _is_backend),
    "behind": ("the name of a component", _is_text(_NAME)),
    "directory": ("an absolute path without spaces and quotes", _is_text(_FILE)),
    "script": ("the name of a file", _is_text(re.compile(r"[A-Za-z0-9._/-]+"))),
    "index": ("the name of a file", _is_text(re.compile(r"[A-Za-z0-9._-]+"))),
    "fallback": ("the name of a file", _is_text(re.compile(r"[A-Za-z0-9._-]+"))),
    "landing": ("a path", _is_text(_FILE)),
    "redirects": ("paths and the paths that they lead to", lambda value: _is_mapping(value, _PATH, _FILE)),
    "strip": ("true or false", lambda value: isinstance(value, bool)),
    "websocket": ("a list of paths", lambda value: _is_list(value, _PATH)),
    "read_timeout": ("a number of seconds", _is_number),
    "body_size": ("a number of megabytes", _is_number),
    "php": ("PHP settings and their values", lambda value: _is_mapping(value, _PHP, _PHP)),
    "overrides": ("a list of words", lambda value: _is_list(value, re.compile(r"[A-Za-z]+"))),
    "credentials": ("true or false", lambda value: isinstance(value, bool)),
    "headers": ("set, keep and unset, with names of headers and values without quotes, $ and %", _is_headers),
    "csp": ("a Content-Security-Policy", _is_text(_QUOTABLE)),
    "permissions": ("a list of features or null", lambda value: value is None or _is_list(value, _NAME)),
    "framed_in": ("the name of a component", _is_text(_NAME)),
    "denied": ("regular expressions", lambda value: isinstance(value, list) and all(map(_is_regex, value))),
    "probe": ("a path and a list of status codes", _is_probe),
}


def errors(data: ComponentData, options: Options) -> list[str]:
    """What is wrong with the user's changes, one sentence each, with the option's name and the value."""
    found: list[str] = []
    shipped = data["components"]
    known = ", ".join(shipped)
    for option in ("components_override", "components_extra"):
        if not isinstance(options[option], dict):
            return [f"frontend_{option}: {options[option]!r} is not a mapping of component names to their settings"]
    for option in ("components_override", "components_off", "components"):
        names = {*shipped, *(() if option == "components_override" else options["components_extra"])}
        for name in options[option] if option == "components_override" else as_list(options[option]):
            if name not in names:
                found.append(f"frontend_{option}: {name!r} is no component of Kopano; there are {known}")
    for name, entry in options["components_extra"].items():
        if name in shipped:
            found.append(f"frontend_components_extra: {name!r} is Kopano's; frontend_components_override changes it")
        elif not isinstance(name, str) or not _NAME.fullmatch(name):
            found.append(f"frontend_components_extra: {name!r} is no name: small letters, digits and hyphens")
        for key in ("paths", "backend"):
            if isinstance(entry, dict) and key not in entry:
                found.append(f"frontend_components_extra.{name}: {entry!r} has no {key}")
    for option in ("components_override", "components_extra"):
        for name, entry in options[option].items():
            found += entry_errors(f"frontend_{option}.{name}", entry)
    return found or list(_conflicts(merged(data, options), data))


def entry_errors(where: str, entry: t.Any) -> t.Iterator[str]:
    """What is wrong with the settings of one component, each for itself."""
    if not isinstance(entry, dict):
        yield f"{where}: {entry!r} is not a mapping of settings"
        return
    for key, value in entry.items():
        if key not in _KEYS:
            yield f"{where}.{key}: {value!r} is for no setting of a component; there are {', '.join(_KEYS)}"
        elif not _KEYS[key][1](value):
            yield f"{where}.{key}: {value!r} is not what it has to be: {_KEYS[key][0]}"


def _below(inner: str, outer: str) -> bool:
    return (inner + "/").startswith(outer + "/")


def _conflicts(entries: dict[str, Component], data: ComponentData) -> t.Iterator[str]:
    """What does not go together, within a component or between two."""
    names = {*entries, *data["components"]}
    for name, entry in entries.items():
        option = "components_override" if name in data["components"] else "components_extra"
        where = f"frontend_{option}.{name}"
        for path in entry["websocket"]:
            if not any(_below(path, own) for own in entry["paths"]):
                yield f"{where}.websocket: {path!r} is below none of {entry['paths']}"
        for key, other in (("behind", entry["behind"]), ("framed_in", entry["framed_in"])):
            if other and other not in names:
                yield f"{where}.{key}: {other!r} is no component"
        for feature in entry["permissions"] or ():
            if feature not in data["permissions"]:
                yield f"{where}.permissions: {feature!r} is none of {', '.join(data['permissions'])}"
        kept = {item.lower() for item in entry["headers"].get("keep", [])}
        for header in entry["headers"].get("set", {}):
            if header.lower() in kept:
                yield f"{where}.headers: {header!r} is to be set and to be kept"
        if target(entry["backend"])[0] != "proxy" and not entry["directory"]:
            yield f"{where}.directory: {entry['directory']!r} is not enough for the backend {entry['backend']!r}"
    claims = [(name, path, entry["match"]) for name, entry in entries.items() for path in entry["paths"]]
    claims += [(name, path, "prefix") for name, entry in entries.items() for path in entry["redirects"]]
    for number, (name, path, match) in enumerate(claims):
        option = "components_override" if name in data["components"] else "components_extra"
        for other, other_path, other_match in claims[:number]:
            if name != other and _overlap(path, match, other_path, other_match):
                yield f"frontend_{option}.{name}.paths: {path!r} overlaps with {other_path!r} of {other}"


def _overlap(path: str, match: str, other: str, other_match: str) -> bool:
    """Whether two components claim one path. One below another is no fault: the longer one counts."""
    if "nocase" not in (match, other_match):
        return path == other
    path, other = path.lower(), other.lower()
    # A path that is compared as a whole would never be reached below one of another component.
    return path == other or (_below(path, other) if match == "nocase" else _below(other, path))


# --- what is there ---------------------------------------------------------------------------------------------------


def present(
    entries: dict[str, Component], found: t.Mapping[str, ComponentInfo], extra: t.Iterable[str], named: list[str]
) -> list[PresentComponent]:
    """The components to see to, outer paths before those below them.

    found: what is on the host, by name; extra: the user's own components, which are taken to be there; named: those
    that the user named, if any.
    """
    chosen = [name for name in entries if name in (named or found) or name in extra]
    resolved = [_resolved(entries[name], found, entries) for name in chosen]
    allowed = {entry["name"]: list(entry["permissions"] or ()) for entry in resolved}
    for entry in resolved:
        if entry["framed_in"] in allowed:
            allowed[entry["framed_in"]] += entry["permissions"] or []
    for entry in resolved:
        if entry["permissions"] is not None:
            entry["permissions"] = allowed[entry["name"]]
    return sorted(resolved, key=lambda entry: min(len(path) for path in entry["paths"]))


def _resolved(
    entry: Component, found: t.Mapping[str, ComponentInfo], entries: dict[str, Component]
) -> PresentComponent:
    behind, there = entry["behind"], found.get(entry["name"])
    backend = entries[behind]["backend"] if behind in found and behind in entries else entry["backend"]
    directory = entry["directory"] and ((there and there["path"]) or entry["directory"])
    kind, place = target(backend)
    scheme = place.partition(":")[0] if kind == "proxy" else ""
    unix = scheme == "unix"
    # A path after it takes the place of the location's.
    stripped = (":/" if unix else "/") if entry["strip"] else ""
    # A socket needs a host name that is never looked up.
    url = f"{place}|http://kopano-{entry['name']}" if unix else place
    return {
        **entry,
        "backend": backend,
        "directory": directory,
        "read_timeout": int(entry["read_timeout"]),
        "body_size": int(entry["body_size"]),
        "pattern": pattern(entry),
        "kind": kind,
        "target": place,
        "scheme": scheme,
        "proxy_pass": ("http://" if unix else "") + place + stripped,
        "url": url,
        "websocket_url": re.sub(r"(^|\|)http", r"\1ws", url),
        "websockets": [_websocket(path, entry) for path in entry["websocket"]],
    }


def _websocket(path: str, entry: Component) -> Websocket:
    public = max((own for own in entry["paths"] if _below(path, own)), key=len)
    prefix = public if entry["strip"] else ""
    return {"prefix": prefix.replace(".", r"\."), "rest": path[len(prefix) :].replace(".", r"\.")}


def target(backend: str) -> tuple[str, str]:
    """The kind of a backend (C(php), C(files), C(proxy)) and where it is: a socket, a URL, or '' for what is found."""
    scheme, _colon, rest = backend.partition(":")
    if scheme in ("php", "mod_php", "files"):
        return ("files", "") if scheme == "files" else ("php", "mod_php" if scheme == "mod_php" else "")
    if scheme == "fpm":
        return "php", rest
    return "proxy", backend


def pattern(entry: Component) -> str:
    """One regular expression for all paths of a component, in what both servers' PCRE understands."""
    paths = [path.replace(".", r"\.") for path in entry["paths"]]
    either = paths[0] if len(paths) == 1 else f"(?:{'|'.join(paths)})"
    return f"(?i)^{either}$" if entry["match"] == "nocase" else f"^{either}(?:/|$)"


def routes(components: list[SiteComponent]) -> list[Route]:
    """Each path with its component, the longest first: with Apache the first alias or proxied path that fits counts."""
    every: list[Route] = [{"path": path, "component": entry} for entry in components for path in entry["paths"]]
    return sorted(every, key=lambda route: -len(route["path"]))


# --- headers ---------------------------------------------------------------------------------------------------------


def headers(
    components: list[PresentComponent], features: list[str], csp: str, report_uri: str, replace: bool
) -> list[HeaderRule]:
    """The header rules of each component that has any. replace: whether values of a backend, or of the administrator,
    are replaced even where they are stronger."""
    found: list[HeaderRule] = []
    for entry in components:
        desired = dict(entry["headers"].get("set", {}))
        if entry["permissions"] is not None:
            values = [f"{name}=({'self' if name in entry['permissions'] else ''})" for name in features]
            desired.setdefault("Permissions-Policy", ", ".join(values))
        if entry["csp"] and csp != "off":
            desired.update(_csp(entry["csp"], csp, report_uri))
        kept = {name.lower() for name in entry["headers"].get("keep", [])}
        desired = {name: value for name, value in desired.items() if value and name.lower() not in kept}
        if desired:
            title, paths = entry["title"], entry["paths"]
            found.append({"title": title, "pattern": entry["pattern"], "set": desired, "paths": paths, "own": {}})
    for rule in [] if replace else found:
        rule["own"] = {name: own for name in rule["set"] if (own := _own(name, rule, found))}
    return found


def _own(name: str, rule: HeaderRule, rules: list[HeaderRule]) -> OwnValues | None:
    """None: there are none."""
    inner = [
        other["pattern"]
        for other in rules
        if other is not rule
        and name in other["set"]
        and any(_below(path.lower(), outer.lower()) for path in other["paths"] for outer in rule["paths"])
    ]
    own: OwnValues = {
        "stays": _stronger.stronger(name, rule["set"][name]),
        "beside": _stronger.beside(name),
        "inner": "|".join(f"(?:{pattern})" for pattern in inner),
    }
    return own if any(own.values()) else None


def _csp(policy: str, mode: str, report_uri: str) -> dict[str, str]:
    policy = policy.strip()
    if report_uri:
        policy += f"; report-uri {report_uri}"
    elif mode == "report-only":
        policy += f"; {_NO_REPORTS}"
    return {"Content-Security-Policy" + ("-Report-Only" if mode == "report-only" else ""): policy}


def variables(rules: list[HeaderRule]) -> list[HeaderVariable]:
    """The same rules by header, for a server that needs a variable for each.

    The innermost path comes first, because there the first pattern that fits counts. A value that
    depends on a backend's own has a variable itself, which C(own) describes.
    """
    found: list[HeaderVariable] = []
    for name in dict.fromkeys(name for rule in rules for name in rule["set"]):
        variable = name.lower().replace("-", "_")
        values: list[HeaderValue] = []
        own: dict[str, OwnVariable] = {}
        for rule in reversed(rules):
            if name in rule["set"]:
                value = rule["set"][name]
                own_values = rule["own"].get(name)
                if own_values and (own_values["stays"] or own_values["beside"]):
                    known: OwnVariable = {"variable": f"{variable}_{len(own) + 1}", "value": value, **own_values}
                    value = "$kopano_" + own.setdefault(value, known)["variable"]
                values.append({"pattern": rule["pattern"], "value": value})
        found.append({"name": name, "variable": variable, "values": values, "own": list(own.values())})
    return found


def _note(name: str) -> str:
    return "kopano_" + name.lower().replace("-", "_")


def apache_notes(rules: list[HeaderRule]) -> list[str]:
    """The directives that note what an administrator's own directives set, in front of those of the rules."""
    names = dict.fromkeys(name for rule in rules for name, own in rule["own"].items() if own["stays"])
    return [f"Header always note {name} {_note(name)}" for name in names]


def apache_headers(rule: HeaderRule) -> list[str]:
    """The directives of a rule.

    Apache has two tables of headers, and C(always) names the second one. What a backend sends is in the first one; it
    has to be removed there if the second one has the header as well. Directives with C(always) come first, whatever the
    order of the lines; C(resp) looks into the first table, then into the second one.
    """
    lines = []
    for name, value in rule["set"].items():
        own = rule["own"].get(name, {"stays": "", "beside": "", "inner": ""})
        here = f"%{{REQUEST_URI}} !~ m#{own['inner']}#" if own["inner"] else "true"
        if own["stays"]:
            weaker = [f"{source} !~ m#{own['stays']}#i" for source in (f"note('{_note(name)}')", f"resp('{name}')")]
            lines += [
                f'Header always set {name} "{value}" "expr={" && ".join([here, *weaker])}"',
                f"Header always note {name} {_note(name)}_sent",
                f"Header unset {name} \"expr=-n note('{_note(name)}_sent')\"",
            ]
        elif own["beside"]:
            both = f'"expr=%{{resp:{name}}}, {value}"'
            lines += [
                f"Header always set {name} {both} \"expr={here} && resp('{name}') =~ m#{own['beside']}#i\"",
                f'Header always set {name} "{value}" "expr={here} && resp(\'{name}\') !~ m#{own["beside"]}#i"',
                f"Header unset {name}",
            ]
        else:
            lines += [f"Header unset {name}", f'Header always set {name} "{value}"']
            lines[-1] += f' "expr={here}"' if own["inner"] else ""
    return lines


def hidden(components: list[PresentComponent]) -> list[str]:
    """The headers of backends that no client shall get."""
    return list(dict.fromkeys([*HIDDEN, *(name for entry in components for name in entry["headers"].get("unset", []))]))


# --- probes ----------------------------------------------------------------------------------------------------------

# Responses of the server itself for a backend that is not there: stopped daemons are not what hardening breaks.
_BACKEND_DOWN = [502, 503, 504]

# nginx's own limit, which needs no test.
_USUAL_BODY = 1


def probes(
    components: t.Sequence[PresentComponent], server: str, rules: t.Sequence[HeaderRule], healthy: bool = False
) -> list[WebConfigProbe]:
    """The requests to the server before and after a change, as options of web_config.

    rules: the header rules of the components; healthy: the response has to be that of a healthy component, whatever it
    was before.
    """
    found: list[WebConfigProbe] = []
    for entry in components:
        probe = entry["probe"]
        if not probe:
            continue
        kept = entry["headers"].get("keep", [])
        sent = [rule["set"] for rule in rules if rule["pattern"] == entry["pattern"]]
        request: WebConfigProbe = {"path": probe["path"], "keep": kept}
        if sent:
            request["policy"] = sent[0]
        if any(name.lower().startswith("access-control-") for name in kept):
            request["headers"] = {"Origin": "https://other.invalid"}
        if healthy and probe.get("status"):
            request["expect"] = {"status": probe["status"] + (_BACKEND_DOWN if entry["kind"] == "proxy" else [])}
        found.append(request)
        # As a proxy, Apache forwards the Expect header and waits for a response that old daemons never send.
        decides_itself = server == "nginx" or entry["kind"] != "proxy"
        if entry["body_size"] > _USUAL_BODY and decides_itself:
            found.append({"path": probe["path"], "method": "POST", "body_size": entry["body_size"] * MEGABYTE})
    return found
