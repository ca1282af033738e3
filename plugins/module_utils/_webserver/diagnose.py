# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is PRIVATE to the kopano.hardening collection. Its interface may change at any time.

"""From a server's own messages to the file, line, directive and option that they are about.

Servers name the file and line of what their parser refuses, but not of what OpenSSL refuses later: Apache logs C(no
cipher match) without naming the cipher list that has none. There the directives that such a message can be about are
looked up in the parsed configuration, and those of them that the server's own libssl refuses are named.

No file is opened here: a message can be somebody else's text, so what it names counts, and is quoted, only where it is
a file of the parsed configuration.
"""

from __future__ import annotations

import re
import ssl
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host import selinux as _selinux
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.error_logs import Logged
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.openssl import OpenSSL

# Where a server reports the place itself.
_PLACES = (
    re.compile(r"(?:Syntax error )?on line (?P<line>\d+) of (?P<file>/[^\s:]+)"),
    re.compile(r" in (?P<file>/[^\s:]+):(?P<line>\d+)"),
)

# Words, the directives (in lower case) that they can be about, and how libssl judges such a directive's value.
_SUSPECTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        r"ciphersuite|Ciphersuites|no cipher match|SSL ciphers|SSL_CTX_set_cipher_list",
        ("sslciphersuite", "sslproxyciphersuite", "ssl_ciphers", "ssl_conf_command"),
        "ciphers",
    ),
    (
        r"curves|groups|SSL_CTX_set1|SSL_CONF|SSLOpenSSLConfCmd|ECDH|ecdh",
        ("sslopensslconfcmd", "ssl_ecdh_curve", "ssl_conf_command"),
        "groups",
    ),
    (r"[Ss]tapling", ("sslusestapling", "ssl_stapling"), ""),
    (r"protocol", ("sslprotocol", "ssl_protocols"), ""),
)

# A port that another program has, or that the server may not have: Apache's message and nginx's.
_NO_PORT = re.compile(r"could not bind to address \S+:(\d+)|bind\(\) to \S+:(\d+) failed \((?:98|13)\b")
_DENIED_PORT = re.compile(r"\(13\)Permission denied: AH00072|bind\(\) to \S+ failed \(13:")
_PORT_FIX = (
    "{}\nSELinux permits a web server to listen on the ports of http_port_t: "
    "semanage port -a -t http_port_t -p tcp {} (with -m in place of -a where the port has another type)"
)

# A backend that the server may not connect to: its address, for a socket with what Apache has before it. The
# message begins with it, as the request that comes later in the line is a client's text.
_DENIED_BACKEND = re.compile(
    r"\(13\)Permission denied: (?:\[client [^]]+\] )?AH\d+: (?:\w+: )?attempt to connect to "
    r"(?P<apache>(?:Unix domain socket )?\S+)"
    r"|(?:\[\w+\] )?connect\(\) to (?P<nginx>\S+) failed \(13: Permission denied\) while connecting to upstream"
)

# SELinux permits a web server to connect to the network by this boolean (httpd_selinux(8)).
_CONNECT = "httpd_can_network_connect"

# In front of lines that the server's workers log in the same way as a client can have them logged.
_UNPROVEN = "the main process has logged no reason; a worker may have, or this is the text of a client: "

# A line that this collection renders is preceded by the name of the option that decides it.
_OPTION = re.compile(r"^\s*#\s*option:\s*(?P<option>\w+)\s*$")

# Remarks that are no errors, those that only report that there was one, and responses to other requests.
_NOISE = re.compile(
    r"AH00558|AH00094|AH00163|AH00489|resuming normal operations|[:[](?:notice|warn)\]|Syntax OK"
    r"|AH00016: Configuration Failed|AH0231[12]: |still could not bind\(\)"
    r"|nginx: configuration file \S+ test (?:failed|is successful)"
    r"|\[client |, client: "
)

# What differs from one run to the next and means nothing: time, process and thread in front of the message.
_STAMP = re.compile(r"^(?:\[[A-Z][a-z]{2} [^]]+\] \[[\w.-]*:\w+\] \[pid [^]]+\] |\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )")
_PROCESS = re.compile(r"^(\[\w+\]) \d+#\d+: (?:\*\d+ )?")


class Fault(t.NamedTuple):
    """What is wrong and where, as far as it could be found. reason: mostly the server's own message."""

    reason: str
    file: str | None = None
    line: int | None = None
    directive: str | None = None
    value: str | None = None
    option: str | None = None

    def message(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        place = f"{self.file}{line}: " if self.file else ""
        what = f"{self.directive} {self.value}: " if self.directive else ""
        why = f" (set by the option {self.option})" if self.option else ""
        return f"{place}{what}{self.reason}{why}"


def relevant(output: str) -> str:
    """The server's messages without greetings and time stamps, at most the last 12 lines, each once."""
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    telling = [line for line in lines if not _NOISE.search(line)]
    stripped = [_message(line) for line in telling or lines]
    return "\n".join(list(dict.fromkeys(stripped))[-12:])


def _message(line: str) -> str:
    return _PROCESS.sub(r"\1 ", _STAMP.sub("", line))


def find(output: str, config: _webserver_model.Config | None, openssl: OpenSSL | None) -> Fault:
    """What the server's output is about. config: what was tried, whose texts are quoted."""
    text = relevant(output)
    for pattern in _PLACES:
        for found in pattern.finditer(text):
            file, line = found.group("file"), int(found.group("line"))
            if config is None:
                return Fault(text, file, line)
            if file in config.files:
                return _fault(text, file, line, config)
    if config is None:
        return Fault(text)
    refused = _NO_PORT.search(text)
    if refused:
        port = int(refused.group(1) or refused.group(2))
        if _DENIED_PORT.search(text) and _selinux.is_enabled():
            text = _PORT_FIX.format(text, port)
        return listener(text, port, config)
    directives = [item for item in _webserver_model.walk(config.root) if item.children is None]
    faults = [
        _fault(text, item.file, item.line, config, item)
        for item in _named(text, directives) or _suspects(text, directives, openssl)
    ]
    # Several virtual hosts may name the same file. What is about to change is the likelier cause than what has worked.
    return next((fault for fault in faults if fault.option), faults[0] if faults else Fault(text))


def refusal(reason: str, logged: Logged, config: _webserver_model.Config | None, openssl: OpenSSL | None) -> Fault:
    """Why a live server refused its configuration, by its logs. reason: what is known without them.

    Only what its main process has logged leads to a place. A line that may be a worker's may be a client's as well, and
    is named as such.
    """
    if any(not _NOISE.search(line) for line in logged.own.split("\n") if line.strip()):
        fault = find(logged.own, config, openssl)
    elif logged.others:
        fault = Fault(_UNPROVEN + relevant(logged.others))
    else:
        fault = Fault(reason)
    return fault._replace(reason="; ".join(filter(None, [fault.reason, logged.why_unread])))


def denied_backend(lines: str, config: _webserver_model.Config) -> str:
    """What keeps the server from connecting to a backend, if one of the lines has a denied connection; else empty.

    lines: of the server's own processes. config: what it serves with; a backend that it does not name is none.
    """
    for line in lines.split("\n"):
        found = _DENIED_BACKEND.match(_message(line))
        address = found and (found.group("apache") or found.group("nginx"))
        if not address or not _is_backend(address, config):
            continue
        reason = f"the web server may not connect to {address} (Permission denied)"
        if not re.match("Unix|unix:", address) and _selinux.boolean(_CONNECT) is False:
            reason += f"; with SELinux: setsebool -P {_CONNECT} 1"
        return reason
    return ""


def _is_backend(address: str, config: _webserver_model.Config) -> bool:
    """Whether a directive names this address, or a host by name with the same port."""
    if re.match("Unix|unix:", address):
        path = re.sub(r"^(?:Unix domain socket |unix:)", "", address)
        return path in _webserver_model.unix_sockets(config)
    host, _colon, port = address.rpartition(":")
    if not host or not port.isdigit():
        return False
    literal = re.compile(rf"(?<![\w.:]){re.escape(host)}(?![\w.]|:(?!{port}\b))")
    named = re.compile(rf"(?<![\w.-])[\w-]*[A-Za-z][\w.-]*:{port}(?!\d)")
    usual = {"80": "http", "443": "https"}.get(port)
    by_scheme = re.compile(rf"(?<!\w){usual}://[\w-]*[A-Za-z][\w.-]*(?![\w.:-])") if usual else None
    texts = [argument for item in _webserver_model.walk(config.root) for argument in item.args]
    return any(literal.search(text) or named.search(text) or (by_scheme and by_scheme.search(text)) for text in texts)


def listener(reason: str, port: int, config: _webserver_model.Config) -> Fault:
    """The fault of a directive that listens on this port."""
    for item in _webserver_model.walk(config.root):
        if item.key == "listen" and item.args and re.search(r"(?:^|:)%d$" % port, item.args[0]):
            return _fault(reason, item.file, item.line, config, item)
    return Fault(reason)


def unpaired(reason: str, config: _webserver_model.Config, being_written: t.Iterable[str]) -> Fault:
    """The fault of the first key that is not its certificate's.

    nginx keeps one certificate for each kind of key, so it starts with the certificate of one kind and the key of
    another, and then cannot shake hands. being_written: paths whose new content is not on the disk yet.
    """
    for vhost in config.vhosts:
        certificate, key = vhost.certificate, vhost.key
        if (
            not certificate
            or not key
            or {certificate, key} & {*being_written}
            or _is_pair(certificate, key) is not False
        ):
            continue
        reason += f"; {key} is not the key of {certificate}"
        for item in _webserver_model.walk(config.root):
            if item.children is None and item.args == [key]:
                return _fault(reason, item.file, item.line, config, item)
    return Fault(reason)


def _is_pair(certificate: str, key: str) -> bool | None:
    """Whether this is the certificate's key; None where that is not known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with _regular.opened(certificate, True) as chain, _regular.opened(key, True) as private:
            # OpenSSL takes paths only: these lead to the very files that are open.
            first, second = (f"/proc/self/fd/{stream.fileno()}" for stream in (chain, private))
            context.load_cert_chain(first, second, password=lambda: b"")
    except ssl.SSLError as error:
        return False if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED") else None
    except (OSError, ValueError):
        return None
    return True


def _named(output: str, directives: t.Sequence[_webserver_model.Directive]) -> list[_webserver_model.Directive]:
    """Directives one of whose arguments is a path that the output names."""
    paths = set(re.findall(r"(?<![\w/])/[\w./@+-]+", output))
    return [
        item
        for item in directives
        if any(argument in paths for argument in item.args)
        and item.key not in ("include", "includeoptional", "errorlog", "error_log")
    ]


def _suspects(
    output: str, directives: t.Sequence[_webserver_model.Directive], openssl: OpenSSL | None
) -> list[_webserver_model.Directive]:
    """Directives that such output can be about, those that libssl refuses first."""
    for pattern, names, judged in _SUSPECTS:
        if re.search(pattern, output):
            candidates = [item for item in directives if item.key in names]
            refused = [item for item in candidates if judged and openssl and _refused(item, openssl)]
            if refused:
                return refused
            if not judged and candidates:
                return candidates
    return []


def _refused(item: _webserver_model.Directive, openssl: OpenSSL) -> bool:
    arguments = list(item.args)
    kind = arguments[0].lower() if len(arguments) > 1 else ""
    value = arguments[-1] if arguments else ""
    if item.key in ("sslopensslconfcmd", "ssl_conf_command"):
        if kind in ("curves", "groups"):
            return openssl.groups_ok(value) is False
        if kind == "ciphersuites":
            return openssl.ciphersuites_ok(value) is False
        return False
    if item.key == "ssl_ecdh_curve":
        return value != "auto" and openssl.groups_ok(value) is False
    if kind == "tlsv1.3":
        return openssl.ciphersuites_ok(value) is False
    return openssl.cipher_string_ok(value) is False


def _fault(
    reason: str,
    file: str,
    line: int,
    config: _webserver_model.Config,
    item: _webserver_model.Directive | None = None,
) -> Fault:
    lines = config.files.get(file, "").split("\n")  # as both servers count them
    option = None
    if 1 < line <= len(lines):
        quoted = _OPTION.match(lines[line - 2])
        option = quoted.group("option") if quoted else None
    if item is not None:
        return Fault(reason, file, line, item.name, " ".join(item.args), option)
    if 1 <= line <= len(lines):
        directive, _space, value = lines[line - 1].strip().rstrip(";").partition(" ")
        return Fault(reason, file, line, directive, value.strip(), option)
    return Fault(reason, file, line)
