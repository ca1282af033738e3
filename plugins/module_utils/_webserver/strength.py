# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Whether a change weakens what a server sends and speaks, as its responses and grades before and after show it.

C(_webserver.adopt) keeps what is stronger than the policy where a configuration sets it. This sees what else there is:
values that only a response shows, and whatever was overlooked. What the policy itself sends so far may become weaker,
since that is a change of its options; what else does stops the change, unless I(replace_stronger) allows it. Either is
named.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import adopt as _adopt
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.adopt import KeptInfo
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.client import Response, Target
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.layout import Layout

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class WeakenedInfo(t.TypedDict):  # novm
        """What is weaker after a change than before, as web_config returns it."""

        address: str
        port: int
        server_name: str | None
        path: str | None  # None for what is of a whole name
        item: str
        before: str
        after: str  # empty: it is no longer there

else:
    WeakenedInfo = t.Dict[str, t.Any]

_HSTS = "Strict-Transport-Security"


class Strength:
    """What was kept and what became weaker in one run; without a policy nothing is compared."""

    def __init__(
        self, layout: Layout, policy: t.Mapping[str, t.Any] | None, endpoints: t.Iterable[Target] = ()
    ) -> None:
        """endpoints: those of the live server."""
        self.policy = policy
        self._named = {(target["address"], target["port"]) for target in endpoints if target["server_name"]}
        self.replaces = (policy or {}).get("replace_stronger") or ()
        deployed = _adopt.deployed(layout, policy) if policy else None
        # The values that come from the policy so far.
        self.deployed: dict[str, set[str]] = {group: set() for group in _stronger.GROUPS}
        if deployed:
            protocols = deployed.items.get("protocols", ((), None))[0]
            self.deployed = {
                _stronger.HSTS: {deployed.hsts},
                _stronger.TLS: {" ".join(protocols)},
                _stronger.HEADERS: deployed.values(),
            }
        self.kept: list[KeptInfo] = []
        self.weakened: list[WeakenedInfo] = []

    @staticmethod
    def sent(responses: t.Iterable[tuple[Target, Response]]) -> _adopt.Sent:
        """The values of Strict-Transport-Security at each endpoint. Of several in a response the first one counts."""
        found: dict[tuple[str, int, str | None], list[str]] = {}
        for target, response in responses:
            if target.get("tls", True) and response["ok"]:
                key = target["address"], target["port"], target["server_name"]
                found.setdefault(key, []).extend(response["headers"].get(_HSTS.lower(), [])[:1])
        return found

    def adopt(self, adopted: _adopt.Adopted) -> None:
        """Take note of what adopting virtual hosts comes to."""
        self.kept.extend(adopted.kept)
        self.deployed[_stronger.HSTS] |= adopted.deployed

    def weaker(self, target: Target, before: Response | None, after: Response) -> str | None:
        """Why a response is weaker than the one before, where that is not allowed, or None."""
        if not self._counts(target) or not before or not (before["ok"] and after["ok"]):
            return None
        for name in (_HSTS, *(target.get("policy") or {})):
            was, now = (response["headers"].get(name.lower(), [""])[0] for response in (before, after))
            for ours in self.deployed[_stronger.HEADERS]:
                was = was[: -len(ours) - 2] if was.endswith(f", {ours}") else was
            group = _stronger.HSTS if name == _HSTS else _stronger.HEADERS
            if _stronger.is_weaker(name, now, was):
                reason = self._judge(target, group, name, was, now)
                if reason:
                    return reason
        return None

    def weaker_grade(self, grade: t.Mapping[str, t.Any]) -> str | None:
        """Why a rehearsed endpoint takes older protocols than the live one, where that is not allowed, or None."""
        was, now = (grade.get("now") or {}).get("protocols"), grade.get("protocols")
        if not self._counts(grade) or not was or not now or _stronger.protocols(now, was) == now:
            return None
        return self._judge(grade, _stronger.TLS, "protocols", " ".join(was), " ".join(now))

    def _counts(self, target: t.Mapping[str, t.Any]) -> bool:
        """Whether an endpoint is compared: not where a client names no host, although there are names.

        Browsers name one, and keep no HSTS for an address (RFC 6797, section 8.1.1). Which virtual host responds there
        depends on the order of all of them.
        """
        place = target["address"], target["port"]
        return bool(self.policy and target.get("tls", True) and (target["server_name"] or place not in self._named))

    def _judge(self, target: t.Mapping[str, t.Any], group: str, what: str, was: str, now: str) -> str | None:
        if was not in self.deployed[group] and group not in self.replaces:
            return (
                f"{what}: {was!r} before, {now or 'none'!r} now, which is weaker; if that is intended, name "
                f"{group!r} in frontend_replace_stronger (policy.replace_stronger)"
            )
        entry: WeakenedInfo = {
            "address": target["address"],
            "port": target["port"],
            "server_name": target["server_name"],
            # HSTS and protocols are those of a whole name.
            "path": target["path"] if group == _stronger.HEADERS else None,
            "item": what,
            "before": was,
            "after": now,
        }
        if entry not in self.weakened:
            self.weakened.append(entry)
        return None

    def note(self, target: Target, response: Response) -> None:
        """Note the headers of a response that are stronger than what the policy sets for its path."""
        for name, value in (target.get("policy") or {}).items():
            for own in response["headers"].get(name.lower(), [])[:1]:
                stays = _stronger.stronger(name, value)
                beside = own != value and own.endswith(f", {value}") and _stronger.beside(name)
                if beside or (stays and re.search(stays, own, re.IGNORECASE)):
                    server_name, (file, line) = target.get("server_name"), target.get("block") or (None, None)
                    entry: KeptInfo = {
                        "names": [server_name] if server_name else [],
                        "file": file,
                        "line": line,
                        "path": target["path"],
                        "item": name,
                        "value": own[: -len(value) - 2] if beside else own,
                        "policy": value,
                    }
                    if entry not in self.kept:
                        self.kept.append(entry)
