#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: caa_publish
short_description: Publish the CAA records of a place by dynamic update
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Brings a complete CAA record set into a zone by dynamic update (RFC 2136) that is signed with a key (TSIG).
  - Replaces just what it has seen. When somebody else changes the records at the same moment, nothing is changed.
  - Queries every name server of the zone afterwards, and fails when one of them still has other records.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.actiongroup_dns
options:
  name:
    description:
      - The name that the records belong to, mostly that of the zone.
    type: str
    required: true
  records:
    description:
      - The records that shall be there, and no others, each as a zone file has it.
      - An empty list takes the records away.
      - Records that CAs cannot read are refused.
    type: list
    elements: str
    required: true
  replaces:
    description:
      - The records that O(records) were decided on. When the server has neither these nor O(records), nothing is
        changed and the module fails. A resolver's answer may be older than what the server has.
      - Without it, whatever is there is replaced.
    type: list
    elements: str
  server:
    description:
      - The server that takes the updates, as C(ADDRESS), C(ADDRESS:PORT) or C([ADDRESS]:PORT). It is queried by TCP.
    type: str
    required: true
  key_name:
    description:
      - The name of the key.
    type: str
    required: true
  key_secret:
    description:
      - The key itself, in base64.
    type: str
    required: true
  key_algorithm:
    description:
      - The algorithm that the key is for.
    type: str
    choices: [hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512]
    default: hmac-sha256
  ttl:
    description:
      - The time to live of new records in seconds. Where records are replaced, theirs is kept.
    type: int
    default: 3600
  nameservers:
    description:
      - The resolvers to query for the zone's name servers, each as O(server) is given.
      - The default is C(/etc/resolv.conf) of the machine that the module runs on.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds that a server may take to respond.
    type: float
    default: 5
  wait:
    description:
      - Seconds that the zone's name servers may take to have the records.
    type: float
    default: 60
requirements:
  - python >= 3.10
  - dnspython >= 2.3.0
attributes:
  check_mode:
    support: full
    details:
      - The update is sent without its changes, so that the server checks the key.
  diff_mode:
    support: full
notes:
  - Run it on the controller (C(delegate_to) V(localhost), C(run_once)).
  - The zone's own name servers are queried on port 53.
"""

EXAMPLES = r"""
- name: Let only Let's Encrypt issue for example.org
  kopano.hardening.caa_publish:
    name: example.org
    records:
      - 0 issue "letsencrypt.org"
      - 0 issuewild ";"
      - 0 iodef "mailto:hostmaster@example.org"
    server: 192.0.2.53
    key_name: caa.example.org
    key_secret: "{{ vault_caa_key }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
zone:
  description: The zone that the name is in.
  returned: success
  type: str
  sample: example.org
records:
  description: The records that are there now, or would be.
  returned: success
  type: list
  elements: str
  sample: ['0 issue "letsencrypt.org"', '0 issuewild ";"', '0 iodef "mailto:hostmaster@example.org"']
previous:
  description: The records that were there.
  returned: success
  type: list
  elements: str
  sample: []
servers:
  description: The state of the name servers of the zone. Empty in check mode when there is something to change.
  returned: success
  type: list
  elements: dict
  contains:
    server:
      description: Name and address of the server.
      type: str
      sample: ns1.example.org (192.0.2.53)
    state:
      description: V(published) when it has the records, V(different) when it has others, V(faulty) when it gives none.
      type: str
      sample: published
    fault:
      description: Why it gives none.
      type: str
      sample: ""
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import publish as _publish
from ansible_collections.kopano.hardening.plugins.module_utils._caa import record_sets as _record_sets
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.publish import Failure, Published, View
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Property
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "records": {"type": "list", "elements": "str", "required": True},
    "replaces": {"type": "list", "elements": "str"},
    "server": {"type": "str", "required": True},
    "key_name": {"type": "str", "required": True},
    "key_secret": {"type": "str", "required": True, "no_log": True},
    "key_algorithm": {"type": "str", "choices": list(_publish.ALGORITHMS), "default": "hmac-sha256"},
    "ttl": {"type": "int", "default": 3600},
    "nameservers": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 5},
    "wait": {"type": "float", "default": 60},
}

T = TypeVar("T")


def texts(records: Iterable[Property]) -> list[str]:
    return [str(record) for record in _record_sets.in_order(records)]


def lines(name: str, records: Iterable[Property]) -> str:
    """The records as they stand in a zone file."""
    return "".join(f"{name}. IN CAA {text}\n" for text in texts(records))


def owner_name(text: str) -> str:
    """The name in its plain form; raises ValueError."""
    try:
        name, wildcard = _records.host_name(text)
    except ValueError as error:
        raise ValueError(f"name: {text!r} is not a host name: {error}") from error
    if wildcard:
        raise ValueError(f"name: {text!r} is a wildcard; CAA records for it belong to {name}")
    return name


def option(name: str, read: Callable[..., T], *arguments: Any) -> T:
    """What `read` makes of an option's value; its ValueError gets the option's name."""
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def state(view: View, expected: frozenset[Property]) -> str:
    if view.records is None:
        return "faulty"
    return "published" if view.records == expected else "different"


def run(params: dict[str, Any], check_mode: bool) -> Published:
    """The module's result; raises ValueError for options without meaning, and Failure before anything is changed.

    A result with `msg` is that of a change that did not arrive everywhere.
    """
    name = owner_name(params["name"])
    expected = option("records", _publish.properties, params["records"])
    replaces = params["replaces"]
    if replaces is not None:
        replaces = option("replaces", lambda: frozenset(map(_records.parse_record, replaces)))
    server = option("server", _nameservers.parse_server, params["server"], False)
    resolvers = option("nameservers", _nameservers.resolvers, params["nameservers"], False)
    key = _publish.key(params["key_name"], params["key_secret"], params["key_algorithm"])
    if not 0 < params["timeout"] <= 600:
        raise ValueError("timeout: must be above 0 and at most 600 seconds")
    if not 0 <= params["wait"] <= 86400:
        raise ValueError("wait: must be from 0 to 86400 seconds")
    if not 0 <= params["ttl"] < 2**31:
        raise ValueError("ttl: must be from 0 to 2147483647 seconds")

    primary = _publish.Primary(server, params["timeout"])
    owner = _publish.absolute(name)
    found = primary.read(owner)
    changed = found.records != expected
    if changed and replaces is not None and found.records != replaces:
        there = ", ".join(texts(found.records)) or "none"
        raise Failure(
            f"{server} has other records for {name} than were judged ({there}), so nothing was changed; "
            "run again when the resolvers have forgotten their old answers"
        )
    if changed:
        ttl = params["ttl"] if found.ttl is None else found.ttl
        primary.update(owner, found, key, None if check_mode else (expected, ttl))
    seen: list[View] = []
    if not (changed and check_mode):
        now = primary.read(owner).records
        if now != expected:
            raise Failure(f"{server} took the update for {name}, and still has {', '.join(texts(now)) or 'no records'}")
        zone = _publish.relative(found.zone)
        seen = _publish.wait(zone, name, expected, resolvers, params["timeout"], params["wait"])
    published: Published = {
        "changed": changed,
        "zone": _publish.relative(found.zone),
        "records": texts(expected),
        "previous": texts(found.records),
        "servers": [{"server": view.server, "state": state(view, expected), "fault": view.fault} for view in seen],
        "diff": {
            "before": lines(name, found.records),
            "after": lines(name, expected),
            "before_header": f"{name} at {server}",
            "after_header": f"{name} at {server}",
        },
    }
    late = [entry["server"] for entry in published["servers"] if entry["state"] == "different"]
    if late:
        published["msg"] = f"after {params['wait']:g} s other records for {name} still come from {', '.join(late)}"
    elif not any(entry["state"] == "published" for entry in published["servers"]) and not (changed and check_mode):
        published["msg"] = f"{server} has the records for {name}, but none of the zone's name servers could be queried"
    return published


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if _lookup.DNSPYTHON_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=_lookup.DNSPYTHON_IMPORT_ERROR)
    try:
        published = run(module.params, module.check_mode)
    except (ValueError, Failure) as error:
        module.fail_json(msg=str(error))
    for entry in published["servers"]:
        if entry["state"] == "faulty":
            module.warn(f"{entry['server']} could not be checked: {entry['fault']}")
    if "msg" in published:
        module.fail_json(**published)
    module.exit_json(**published)


if __name__ == "__main__":
    main()
