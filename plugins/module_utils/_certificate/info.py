# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module certificate_info does: reads certificates and keys and has them judged."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import checks as _checks
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import permissions as _permissions
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.checks import Hidden, Missing
from ansible_collections.kopano.hardening.plugins.module_utils._host import regular as _regular
from ansible_collections.kopano.hardening.plugins.module_utils._host.options import OptionError
from ansible_collections.kopano.hardening.plugins.module_utils._x509.errors import ParseError

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class KeyAccess(t.TypedDict):  # novm
        """Who can read the key's file, as C(_certificate.permissions) has it; C(mode) is an octal text."""

        owner: str
        group: str
        readers: list[str]
        people: list[str]
        mode: str

    class Judged(_checks.Judgement):
        """The module's result for one certificate; C(key) is None without a file that can be read."""

        key: KeyAccess | None

    class Result(Judged):
        """The same for one of several."""

        path: str

    class Results(t.TypedDict):  # novm
        """The module's result for several certificates, in the order given."""

        results: list[Result]

else:
    KeyAccess = Judged = Result = Results = t.Dict[str, t.Any]

# More than any chain or bundle of authorities has, in bytes.
LARGEST = 4 * 1024 * 1024


def read(path: str) -> tuple[bytes | Missing, _permissions.Access | None]:
    """A file's content and who can read it. Whatever is no file of a sensible size is as good as missing."""
    try:
        with _regular.opened(path, foreign_links=True) as stream:
            content = _regular.read_up_to(stream, LARGEST + 1)
            if len(content) > LARGEST:
                return Missing(f"it is larger than {LARGEST // 1024 // 1024} MiB"), None
            return content, _permissions.access(stream.fileno())
    except PermissionError as error:
        # What root cannot read, the server cannot either.
        return (Missing if os.geteuid() == 0 else Hidden)(error.strerror or str(error)), None
    except OSError as error:
        return Missing(error.strerror or str(error)), None


class HiddenAuthorities(OptionError):
    """The file of authorities cannot be read without root: the option may be right, and nothing can be checked."""


def run(params: dict[str, t.Any]) -> Results | Judged:
    """The module's result; raises OptionError for options that have no meaning."""
    try:
        now = time.time() if params["now"] is None else _checks.moment(params["now"])
    except ValueError as error:
        raise OptionError(f"now: {error}") from None
    authorities = _authorities(params)
    if params["certificates"] is None:
        return _judge(params, now, authorities)
    if params["names"]:
        raise OptionError("names: each of certificates has its own")
    results: list[Result] = [
        {**_judge({**params, **item}, now, authorities, f"certificates[{number}]."), "path": item["chain"]}
        for number, item in enumerate(params["certificates"])
    ]
    return {"results": results}


def _judge(params: dict[str, t.Any], now: float, authorities: _Authorities, where: str = "") -> Judged:
    """The judgement of one certificate; raises OptionError for options that have no meaning."""
    if not all(name.strip() for name in params["names"]):
        raise OptionError(f"{where}names: a name is empty")
    chain = _content(params, "chain")[0]
    if chain is None:
        raise OptionError(f"{where}chain: there is none")
    key, access = _content(params, "key")
    judged = _checks.judge(
        chain,
        key,
        params["names"],
        now,
        anchors=authorities.anchors,
        known=authorities.known,
        self_signed_ok=params["self_signed_ok"],
        access=access,
        files={name: params[option] for name, option in _FILES.items() if params[option] is not None},
    )
    who: KeyAccess | None = None
    if access:
        who = {
            "owner": access.owner,
            "group": access.group,
            "readers": access.readers,
            "people": access.people,
            "mode": f"{access.mode:04o}",
        }
    return {**judged, "key": who}


# What the judgement calls a file, and the option with its path.
_FILES = {"chain": "chain", "key": "key", "ca": "ca_file"}


def _content(params: dict[str, t.Any], option: str) -> tuple[bytes | Missing | None, _permissions.Access | None]:
    """What an option gives, by path or as text."""
    text = params[option + "_content"]
    if text is not None:
        return text.encode(errors="replace"), None
    return (None, None) if params[option] is None else read(params[option])


class _Authorities(t.NamedTuple):
    """Those that a chain must lead to, or None, and those that it may lead to."""

    anchors: list[_checks.Certificate] | None
    known: list[_checks.Certificate]


def _authorities(params: dict[str, t.Any]) -> _Authorities:
    path, text = params["ca_file"], params["ca_content"]
    anchors = None
    if path is not None:
        content = read(path)[0]
        if isinstance(content, Hidden):
            raise HiddenAuthorities(f"ca_file: {path}: {content} (not root)")
        if isinstance(content, Missing):
            raise OptionError(f"ca_file: {path}: {content}")
        anchors = _parsed(content, f"ca_file: {path}")
    return _Authorities(anchors, [] if text is None else _parsed(text.encode(errors="replace"), "ca_content"))


def _parsed(content: bytes, where: str) -> list[_checks.Certificate]:
    try:
        return _checks.read_anchors(content)
    except ParseError as error:
        raise OptionError(f"{where}: {error}") from None
