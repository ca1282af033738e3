# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renders the templates on the controller, makes the one remote call, and confirms a change from outside."""

from __future__ import annotations

import re
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible import terminal as _terminal
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import reach as _reach
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import verify as _verify

if t.TYPE_CHECKING:  # The prober is loaded where it is needed.
    from ansible_collections.kopano.hardening.plugins.module_utils._tls.handshake import Endpoint

CONFIRM_TIMEOUT = 10.0  # seconds for one endpoint
# A confirmation that does not arrive undoes a good change, and a second one does no harm.
CONFIRM_ATTEMPTS = 2
CONFIRM_PAUSE = 1.0
_CONFIRM_FROM = ("controller", "auto", "host")
_NO_CONNECTION = re.compile(r"cannot connect|does not resolve|was not resolved")
_JUMP_HOST = (
    ". If the controller cannot reach what the host serves, as behind a jump host or a firewall: verify_from: auto has "
    "the host grade and confirm itself; verify_endpoints with verify_virtual_hosts: false names what is reached, and "
    "harden_confirm_timeout=0 (frontend_confirm_timeout) then keeps changes without a confirmation"
)


class _Variables(dict[str, t.Any]):
    """Variables of a task for templates, which read them only: the lookup's deep copy of all of them is spared."""

    def __deepcopy__(self, _memo: dict[int, t.Any]) -> dict[str, t.Any]:
        return dict(self)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True
    # Whether the prober, which is half of the code, is sent at once, and not only once there is something to change.
    likely_to_change = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        confirm_from = str(arguments.pop("confirm_from", None) or _CONFIRM_FROM[0])
        if confirm_from not in _CONFIRM_FROM:
            refusal = f"confirm_from: {confirm_from!r} is none of {', '.join(_CONFIRM_FROM)}"
            return {**result, "failed": True, "changed": False, "msg": refusal}
        try:
            arguments["files"] = self._rendered(arguments.get("files") or [], task_vars)
        except AnsibleError as error:
            result.update(failed=True, msg=str(error), phase="render", rolled_back=False, changed=False)
            return result
        host = str(task_vars.get("inventory_hostname", ""))
        with _terminal.waiting(host, "the web server is queried, and a change rehearsed and made"):
            result.update(self._transaction(arguments, task_vars))
        waiting = int(arguments.get("confirm_timeout") or 0)
        if waiting and result.get("transaction") and result.get("changed") and not result.get("failed"):
            what = f"the change is to be confirmed by grades from outside, at most {waiting} s; then it is rolled back"
            with _terminal.waiting(host, what):
                result.update(self._confirm(result, waiting, task_vars, confirm_from))
        return result

    def _transaction(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module; once more with the prober, if it is about to change something."""
        first: dict[str, t.Any] = {"recovered": None}
        if not self.likely_to_change:
            first = self._execute_module("kopano.hardening.web_config", module_args=arguments, task_vars=task_vars)
            if not first.get("ungraded"):
                return first
        second: dict[str, t.Any] = self._execute_module(
            "kopano.hardening.web_config_graded", module_args=arguments, task_vars=task_vars
        )
        # What an earlier run had left is repaired by the first of the two.
        return dict(second, recovered=second.get("recovered") or first["recovered"])

    def _rendered(self, files: t.Any, task_vars: dict[str, t.Any]) -> t.Any:
        """The files with the content of their templates. Raises AnsibleError that names the option and the template."""
        if not isinstance(files, list):
            return files  # the module's own argument spec reports it
        rendered = []
        for number, item in enumerate(files):
            if isinstance(item, dict) and item.get("template") is not None and item.get("content") is None:
                source = item["template"]
                try:
                    lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
                    content = lookup.run([source], variables=_Variables(task_vars))[0]
                except Exception as error:  # whatever a template raises is the template's
                    raise AnsibleError(
                        "files[%d].template: %r cannot be rendered: %s" % (number, source, error)
                    ) from error
                item = dict(item, content=content)
                del item["template"]
            rendered.append(item)
        return rendered

    def _confirm(
        self, result: dict[str, t.Any], waiting: int, task_vars: dict[str, t.Any], confirm_from: str = "controller"
    ) -> dict[str, t.Any]:
        """Grade every endpoint from here, and confirm the transaction if all of them can be reached and are sound.

        confirm_from: C(auto) has the host grade those that no connection can be made to from here, C(host) all.
        """
        address = self._templar.template(task_vars.get("ansible_host") or task_vars.get("inventory_hostname"))
        served = [response for response in result.get("probes", []) if response["protocol"]]
        expected = (result.get("rehearsal") or {}).get("grades", [])
        endpoints = _verify.from_outside(served, address)
        unreached = endpoints if confirm_from == "host" else []
        if confirm_from == "auto":
            # A port that is closed there may be the work of this very change.
            unreached = [
                t.cast("Endpoint", endpoint)
                for endpoint, reason in _reach.unreached(endpoints)
                if reason != _reach.REFUSED
            ]
        reached = [endpoint for endpoint in endpoints if endpoint not in unreached]
        views = {
            "the controller": _objections(reached, expected, waiting / 2),
            "the host itself": self._objections_of_host(unreached, served, expected, task_vars),
        }
        seen = [f"seen from {place}: {'; '.join(found)}" for place, found in views.items() if found]
        if seen:
            message = "; ".join(
                [f"not confirmed, the host rolls the change back within {waiting} s: {seen[0]}", *seen[1:]]
            )
            if _NO_CONNECTION.search(" ".join(views["the controller"])):
                message += _JUMP_HOST
            return {"failed": True, "changed": True, "msg": message}
        reasons = []
        for _attempt in range(CONFIRM_ATTEMPTS):
            confirmed, reason = self._send_confirmation(result["transaction"], task_vars)
            if not reason:
                return {"phase": confirmed["phase"]}
            reasons.append(reason)
            if "phase" in confirmed:  # the host has decided
                break
            time.sleep(CONFIRM_PAUSE)
        return {"failed": True, "msg": _unconfirmed(result["transaction"], waiting, reasons[-1], confirmed)}

    def _objections_of_host(
        self,
        endpoints: list[Endpoint],
        served: list[dict[str, t.Any]],
        expected: list[dict[str, t.Any]],
        task_vars: dict[str, t.Any],
    ) -> list[str]:
        """The same by the host itself, for endpoints that are not reached from here."""
        if not endpoints:
            return []
        addresses = _verify.addresses_of(served)
        own = [_verify.on_host(endpoint, _verify.own_addresses(endpoint, addresses)) for endpoint in endpoints]
        arguments = {"endpoints": own, "mode": "quick", "timeout": CONFIRM_TIMEOUT, "fetch_issuers": False}
        graded = self._execute_module("kopano.hardening.tls_grade_info", module_args=arguments, task_vars=task_vars)
        if graded.get("failed"):
            return [f"it could not grade itself: {graded.get('msg')}"]
        return _verify.unreachable(graded["results"], expected)

    def _send_confirmation(self, transaction: str, task_vars: dict[str, t.Any]) -> tuple[dict[str, t.Any], str | None]:
        """Confirm a transaction on its host; the module's result, and the reason if it is not confirmed."""
        try:
            confirmed: dict[str, t.Any] = self._execute_module(
                "kopano.hardening.web_config", module_args={"confirm": transaction}, task_vars=task_vars
            )
        except AnsibleConnectionFailure as error:
            return {}, f"the connection to the host was lost: {error}"
        if not confirmed.get("failed") and "phase" in confirmed:
            return confirmed, None
        messages = (confirmed.get(key) for key in ("msg", "module_stderr", "module_stdout"))
        return confirmed, next((str(text).strip() for text in messages if text), "the host gave no reason")


def _unconfirmed(transaction: str, waiting: int, reason: str, confirmed: dict[str, t.Any]) -> str:
    if confirmed.get("rolled_back"):
        return f"the change was not confirmed: {reason}"
    return (
        f"the change could not be confirmed, the host rolls it back {waiting} s after it was made unless the "
        f"confirmation of {transaction} has reached it: {reason}"
    )


def _objections(endpoints: list[Endpoint], expected: list[dict[str, t.Any]], patience: float) -> list[str]:
    """What speaks against a change, as seen from here. One endpoint of each socket is queried before its others.

    An address that drops what is sent to it costs a time limit, and not one for each of its names. One that cannot be
    reached is tried again for C(patience) seconds: after a failover or a restart a neighbour on the way
    may have an address at its old place, with IPv6 for most of a minute. Of virtual hosts that are set up in the same
    way one is graded. The others get one request each, and are graded where the response shows anything else.
    """
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
    from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

    trust = _prober.Trust()
    end = time.monotonic() + patience
    first: dict[t.Any, Endpoint] = {}
    groups: dict[t.Any, list[Endpoint]] = {}
    for endpoint in endpoints:
        socket = endpoint["host"], endpoint["port"]
        if first.setdefault(socket, endpoint) is not endpoint:
            groups.setdefault((socket, endpoint.get("group") or id(endpoint)), []).append(endpoint)
    steps: tuple[t.Callable[[], list[Endpoint]], ...] = (
        lambda: list(first.values()),
        lambda: [members[0] for members in groups.values()],
        lambda: _unlike(groups.values()),
    )
    for step in steps:
        some = step()
        while some:
            seen = _prober.probe_all(some, "quick", CONFIRM_TIMEOUT, trust=trust)
            results = [_grade.grade(one) for one in seen]
            objections = _verify.unreachable(results, expected)
            if not objections:
                break
            if time.monotonic() > end or not any(result["error"] for result in results):
                return objections
            time.sleep(CONFIRM_PAUSE)
    return []


def _unlike(groups: t.Iterable[list[Endpoint]]) -> list[Endpoint]:
    """The endpoints whose response to a request is not like that of the first one in their group."""
    from ansible_collections.kopano.hardening.plugins.module_utils._webserver import client as _client

    several = [members for members in groups if len(members) > 1]
    targets: list[_client.Target] = [
        {"address": endpoint["host"], "port": endpoint["port"], "server_name": endpoint.get("server_name")}
        for members in several
        for endpoint in members
    ]
    try:
        responses = iter(_client.query_all(targets, CONFIRM_TIMEOUT))
    except TimeoutError:
        return [endpoint for members in several for endpoint in members]
    found = []
    for members in several:
        looks = [(response["ok"], *(response[key] for key in ("protocol", "cipher", "certificate")))
                 for response in [next(responses) for _member in members]]  # fmt: skip
        found += [endpoint for endpoint, look in zip(members, looks, strict=True) if not look[0] or look != looks[0]]
    return found
