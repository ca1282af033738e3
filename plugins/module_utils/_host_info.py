# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module host_info does: the queries of other modules, made in one process."""

from __future__ import annotations

import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._host import options as _host_options
from ansible_collections.kopano.hardening.plugins.module_utils._host.background import Beside, Failed

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction.replay import Repeated
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver.info import FrontendInfo

Info = t.Dict[str, t.Any]

# Seconds for what package managers report, and the processes of the host. It only ends what hangs: a process can keep
# those that read its entries in /proc waiting.
UPDATES_TIMEOUT = 3600.0

if t.TYPE_CHECKING:  # Python has it since 3.8 only.
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Judged, Results
    from ansible_collections.kopano.hardening.plugins.module_utils._updates.status import UpdateStatus

    class FailedPart(t.TypedDict):  # novm
        """In place of a part's result: C(failed) is true, C(msg) has the reason."""

        failed: bool
        msg: str

else:
    FailedPart = t.Dict[str, t.Any]


def run(params: Info, check_mode: bool) -> Info:
    """The module's result; raises OptionError for options that have no meaning.

    A part that fails in any other way is C({failed, msg}), as a task of its own would have left it: the others count.
    """
    found: Info = {}
    # It waits for package managers most of the time.
    updates = Beside(lambda: _updates(params["updates"], check_mode)) if params["updates"] else None
    # It waits for a server to start.
    web_config = Beside(_web_config()) if params["web_config"] else None

    def started() -> str | None:
        """The server that web_config has just started, for the query of the frontend, which then need not test it."""
        if web_config and "web_config" not in found:
            found["web_config"] = _part(web_config.result)
        return (found.get("web_config") or {}).get("started")

    try:
        if params["frontend"]:
            found["frontend"] = _part(lambda: _frontend(params["frontend"], started))
        if params["certificates"]:
            found["certificates"] = _part(lambda: _certificates(params["certificates"], found["frontend"]))
    finally:
        started()
        if updates:
            found["updates"] = _part(lambda: updates.result(UPDATES_TIMEOUT))
    return found


Part = t.TypeVar("Part")


class _Unread(Exception):
    """A part has no input; the message has the reason."""


def _part(query: t.Callable[[], Part]) -> Part | FailedPart:
    try:
        return query()
    except _host_options.OptionError:
        raise
    except (_Unread, Failed) as error:
        return {"failed": True, "msg": str(error)}
    except Exception as error:  # whatever it is, it must not cost what the others have found out
        return {"failed": True, "msg": f"{type(error).__name__}: {error}"}


# Each imports, which on a host is to compile, what it needs when there are two processes already.


def _updates(params: Info, check_mode: bool) -> UpdateStatus:
    from ansible_collections.kopano.hardening.plugins.module_utils._updates import status as _status

    return _status.run(params, check_mode)


def _frontend(params: Info, started: t.Callable[[], str | None]) -> FrontendInfo:
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver import info as _webserver_info

    return _webserver_info.run(params, started)


def _certificates(params: Info, frontend: Info) -> Results | Judged:
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate import info as _certificate_info
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver import names as _names

    if frontend.get("failed"):
        raise _Unread("the frontend could not be checked, which names them: {msg}".format(**frontend))
    options = {**dict.fromkeys(_host_options.CERTIFICATES), **params, "names": []}
    try:
        vhosts = _names.in_use(frontend["servers"], frontend["vhosts"])
        return _certificate_info.run({**options, "certificates": _names.certificates(vhosts)})
    except _certificate_info.HiddenAuthorities as error:
        raise _Unread(str(error)) from error


def _web_config() -> t.Callable[[], Repeated | None]:
    """What is to be run. Most of what it needs the query of the frontend needs as well, so it is imported before."""
    from ansible_collections.kopano.hardening.plugins.module_utils._transaction import replay as _replay

    return _replay.rerun
