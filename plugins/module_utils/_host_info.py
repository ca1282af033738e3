# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What the module host_info does: the questions of other modules, asked in one process."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils import _questions

Info = t.Dict[str, t.Any]


def run(params: Info, check_mode: bool) -> Info:
    """The module's answer. What could not be answered is left to the module whose question it is."""
    found: Info = {"unanswered": {}}
    # It waits for package managers most of the time.
    updates = _Beside(lambda: _updates(params["updates"], check_mode)) if params["updates"] else None
    if params["frontend"]:
        _keep(found, "frontend", params["frontend"], lambda: _frontend(params["frontend"]))
    if params["certificates"] and "frontend" in found:
        question = _certificates_question(params["certificates"], found["frontend"]["answer"])
        _keep(found, "certificates", question, lambda: _certificates(question))
    if updates:
        _keep(found, "updates", params["updates"], updates.result)
    return found


# Each imports, which on a host is to compile, what it needs when there are two processes already.


def _updates(params: Info, check_mode: bool) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _update_status_info

    return _update_status_info.run(params, check_mode)


def _frontend(params: Info) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _frontend_info

    return _frontend_info.run(params)


def _certificates_question(params: Info, frontend: Info) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _served

    question = dict.fromkeys(_questions.without_known(_questions.CERTIFICATES))
    return {**question, **params, "names": [], "certificates": _served.certificates(frontend["vhosts"])}


def _certificates(question: Info) -> Info:
    from ansible_collections.kopano.hardening.plugins.module_utils import _certificate_info

    return _certificate_info.run(question)


def _keep(found: Info, part: str, asked: Info, answer: t.Callable[[], Info]) -> None:
    try:
        found[part] = {"asked": asked, "answer": dict(answer(), changed=False)}
    except Exception as error:  # whatever it is, the part's own module runs into it again and says it properly
        found["unanswered"][part] = f"{type(error).__name__}: {error}"


class _Beside:
    """Runs a function in a process of its own, at the same time. No thread: _frontend_info forks."""

    def __init__(self, function: t.Callable[[], Info]) -> None:
        self._reader, writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._reader)
                try:
                    text = json.dumps({"value": function()})
                except Exception as error:
                    text = json.dumps({"error": f"{type(error).__name__}: {error}"})
                with open(writer, "w", encoding="utf-8") as stream:
                    stream.write(text)
            finally:
                os._exit(0)
        os.close(writer)

    def result(self) -> Info:
        """What the function has returned. Raises RuntimeError with what it has raised."""
        with open(self._reader, encoding="utf-8") as stream:
            text = stream.read()
        os.waitpid(self._child, 0)
        answer = json.loads(text or '{"error": "it ended without an answer"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        value: Info = answer["value"]
        return value
