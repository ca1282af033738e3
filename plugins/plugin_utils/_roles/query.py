# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""What a host is queried for: all that the roles of a play need, in one call of the module host_info."""

from __future__ import annotations

import re
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError

from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.options import chosen_tags
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import updates as _roles_updates

Info = dict[str, t.Any]

COLLECTION = "kopano.hardening."
# The parts of host_info that each role needs. The report needs none.
NEEDS = {
    "updates": ("updates",),
    "certificate": ("frontend", "certificates"),
    "frontend": ("frontend", "web_config"),
    "caa": ("frontend", "certificates"),
    "verify": ("frontend",),
}
UNREACHABLE = "the host cannot be reached: "
_OF_SSH = re.compile(
    r"^(?:Data could not be sent to remote host .*? over ssh: |Failed to connect to the host via ssh: )(?=.)", re.DOTALL
)
# What of the host could not be checked where a part has failed.
SUBJECTS = {"updates": "the updates", "frontend": "the web server", "certificates": "the certificates"}
PARTS = {"updates": "updates", "frontend": "web server", "certificates": "certificates", "web_config": "TLS policy"}


def roles_of_play(variables: t.Mapping[str, t.Any]) -> list[str]:
    """The collection's roles in the play, in their order and as often as they are there."""
    return [
        name.removeprefix(COLLECTION)
        for name in variables.get("ansible_play_role_names") or []
        if name.startswith(COLLECTION)
    ]


def chosen(variables: t.Mapping[str, t.Any], roles: t.Iterable[str]) -> list[str]:
    """Those of the roles that --tags and --skip-tags choose, each once.

    The playbooks tag each role with its name. Where a play has other tags, and --tags chooses among them, none is known
    to be chosen, and each role queries the host itself.
    """
    run, skip = variables.get("ansible_run_tags") or ["all"], variables.get("ansible_skip_tags") or []
    return list(dict.fromkeys(chosen_tags(roles, run, skip)))


def roles_to_run(variables: t.Mapping[str, t.Any], role: str, first: bool = True) -> list[str]:
    """This role, and those that come after it in the play; not first: after the last place that has it."""
    names = roles_of_play(variables)
    places = [place for place, name in enumerate(names) if name == role]
    after = names[places[0 if first else -1] + 1 :] if places else []
    return list(dict.fromkeys([role, *chosen(variables, after)]))


def parts(roles: t.Iterable[str]) -> set[str]:
    """What these roles need to know."""
    return {part for role in roles for part in NEEDS.get(role, ())}


def arguments(needed: t.Container[str], options: t.Mapping[str, Info], server: str, clients: bool = False) -> Info:
    """The options of host_info. options: of the roles updates and certificate, where they run; server: the web server's
    kind, or C(auto); clients: whether to count those in its access logs."""
    found: Info = {}
    if "updates" in needed:
        found["updates"] = _roles_updates.query(options["updates"])
    if "frontend" in needed or "certificates" in needed:  # they are those of the web server
        found["frontend"] = {"server": server, "clients": clients}
    if "certificates" in needed:
        found["certificates"] = _roles_certificate.query(options["certificate"]) if "certificate" in options else {}
    if "web_config" in needed:
        found["web_config"] = True
    return found


def reason(error: AnsibleConnectionFailure) -> str:
    """Why there is no connection, in one line, without what Ansible says in front of ssh's own message."""
    return " ".join(_OF_SSH.sub("", str(error)).split())


def reached(run: t.Callable[[], Info]) -> Info:
    """The result of host_info, which is run on the host. One that cannot be reached has failed, which a play can
    rescue, where Ansible would drop the host."""
    try:
        result = run()
    except AnsibleConnectionFailure as error:
        return {"failed": True, "changed": False, "reached": False, "msg": reason(error)}
    except AnsibleError as error:
        # Such as a password of sudo's that is wrong.
        return {"failed": True, "changed": False, "reached": True, "msg": str(error)}
    done = result.get("web_config")
    if done and done.get("failed"):
        # The role runs web_config itself then, and reports the failure.
        message = f"host_info: web_config could not be repeated: {done['msg']}"
        result.update(web_config=None, warnings=[*result.get("warnings", []), message])
    elif done:
        done["asked"] = time.monotonic()
    return {**result, "reached": True}
