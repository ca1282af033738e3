#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Order a certificate with certbot, when one is needed
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Finds out whether C(certbot) has the certificate that the options describe, and will renew it the same way. Only if
    not, the ACME server is queried, an account is made, and with O(order) the certificate is ordered.
  - The web server does not get it by this. M(kopano.hardening.certificate_install) does that, now and after renewals.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - The ACME server's directory is fetched in check mode too, if C(certbot) is there and a certificate is needed.
  diff_mode:
    support: none
options:
  name:
    description: The name of the certificate within C(certbot).
    type: str
    required: true
  names:
    description: The names that it is for, the main one first.
    type: list
    elements: str
    required: true
  directory:
    description: The URL of the ACME directory.
    type: str
    required: true
  staging:
    description: The URL of another directory, where the order is tried first. Nothing is kept of that.
    type: str
  order:
    description: Whether to order. Without it, everything is only prepared for an order where RV(needed).
    type: bool
    default: true
  terms_agreed:
    description: Whether the terms of the CA are agreed to. Without it no account is made.
    type: bool
    default: false
  email:
    description: The address of a new account.
    type: str
  eab_kid:
    description: The identifier of the account at the CA that a new ACME account is bound to.
    type: str
  eab_hmac_key:
    description: The key for O(eab_kid), in base64url.
    type: str
  ca_file:
    description: A file with the authorities that the ACME server is trusted by.
    type: path
  challenge:
    description: How the CA finds out that the names belong to the host.
    type: str
    choices: [http-01, dns-01]
    default: http-01
  webroot:
    description: The directory that port 80 serves challenges from. Required with V(http-01).
    type: path
  dns:
    description: How the zones are updated. Required with V(dns-01).
    type: dict
    suboptions:
      server:
        description: The server that takes updates, as C(ADDRESS), C(ADDRESS:PORT) or C([ADDRESS]:PORT).
        type: str
        required: true
      key_name:
        description: The name of the TSIG key.
        type: str
        required: true
      key_secret:
        description: The key itself, in base64.
        type: str
        required: true
      key_algorithm:
        description: The algorithm of the key.
        type: str
        choices: [hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512]
        default: hmac-sha256
      wait:
        description: Seconds until all name servers have an update.
        type: int
        default: 60
  key_types:
    description:
      - "The kinds of keys: ECDSA on P-256, or RSA with 3072 bits."
      - Each kind is a certificate of its own. All but the first have the kind behind O(name).
    type: list
    elements: str
    choices: [ecdsa, rsa]
    default: [ecdsa]
notes:
  - Needs root on the target, and C(certbot), for V(dns-01) with its plugin for RFC 2136.
seealso:
  - module: kopano.hardening.certificate_install
  - module: kopano.hardening.acme_reach_info
  - module: kopano.hardening.caa_info
"""

EXAMPLES = r"""
- name: Have a certificate from Let's Encrypt
  kopano.hardening.acme_certificate:
    name: mail.example.com
    names: [mail.example.com, autodiscover.example.com]
    directory: https://acme-v02.api.letsencrypt.org/directory
    staging: https://acme-staging-v02.api.letsencrypt.org/directory
    terms_agreed: true
    email: hostmaster@example.com
    webroot: /var/www/acme
"""

RETURN = r"""
needed:
  description: Whether a certificate was needed, and has been ordered with O(order).
  returned: success
  type: bool
  sample: true
reason:
  description: Why it was needed, empty if it was not.
  returned: success
  type: str
  sample: it is in the last third of its life
account_uri:
  description: The URI of the account, empty if there is none yet or it was not needed.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567
caa_identities:
  description: The domains by which CAA records name the CA, as far as its directory has them.
  returned: success
  type: list
  elements: str
  sample: [letsencrypt.org]
certificates:
  description: Where the newest chain and its key always are, for each kind of key.
  returned: success
  type: list
  elements: dict
  contains:
    chain_file:
      description: The file that has the chain.
      type: str
      sample: /etc/letsencrypt/live/mail.example.com/fullchain.pem
    key_file:
      description: The file that has its key.
      type: str
      sample: /etc/letsencrypt/live/mail.example.com/privkey.pem
"""

import os
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import certbot as _certbot
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import CertbotError, Order, Ordered
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "directory": {"type": "str", "required": True},
    "staging": {"type": "str"},
    "order": {"type": "bool", "default": True},
    "terms_agreed": {"type": "bool", "default": False},
    "email": {"type": "str"},
    "eab_kid": {"type": "str"},
    "eab_hmac_key": {"type": "str", "no_log": True},
    "ca_file": {"type": "path"},
    "challenge": {"type": "str", "choices": ["http-01", "dns-01"], "default": "http-01"},
    "webroot": {"type": "path"},
    "dns": {
        "type": "dict",
        "options": {
            "server": {"type": "str", "required": True},
            "key_name": {"type": "str", "required": True},
            "key_secret": {"type": "str", "required": True, "no_log": True},
            "key_algorithm": {
                "type": "str",
                "choices": ["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"],
                "default": "hmac-sha256",
                "no_log": False,
            },
            "wait": {"type": "int", "default": 60},
        },
    },
    "key_types": {
        "type": "list",
        "elements": "str",
        "choices": ["ecdsa", "rsa"],
        "default": ["ecdsa"],
        "no_log": False,
    },
}


def run(params: dict[str, t.Any], check_mode: bool, warn: t.Callable[[str], t.Any]) -> Ordered:
    """Do what the options require. Raises CertbotError, ChangeError, OSError."""
    strange = _layout.unsupported(_layout.os_release())
    if strange:
        raise CertbotError(strange)
    dns = params["dns"] if params["challenge"] == "dns-01" else None
    orders = [
        Order(
            name="-".join([params["name"], key_type][: 2 if number else 1]),
            names=tuple(params["names"]),
            directory=params["directory"],
            challenge=params["challenge"],
            key_type=key_type,
            webroot=None if dns else params["webroot"],
            dns_wait=dns["wait"] if dns else 0,
            ca_file=params["ca_file"],
        )
        for number, key_type in enumerate(params["key_types"])
    ]
    if not dns:
        _certbot.check_webroot(params["webroot"])
    reasons = {order: _certbot.why(order) for order in orders}
    reason = next(filter(None, reasons.values()), "")
    files = [_certbot.live(order.name) for order in orders]
    result: Ordered = {
        "changed": bool(reason and params["order"]),
        "needed": bool(reason),
        "reason": reason,
        "account_uri": "",
        "caa_identities": [],
        "certificates": [{"chain_file": chain, "key_file": key} for chain, key in files],
    }
    if not _certbot.installed():
        if check_mode:
            return {**result, "changed": params["order"], "needed": True, "reason": "certbot is not installed yet"}
        raise CertbotError("certbot is not installed on this host")
    if dns:
        changes = _certbot.credentials(dns["server"], dns["key_name"], dns["key_secret"], dns["key_algorithm"])
        result["changed"] = result["changed"] or bool(changes)
        if not check_mode:
            for warning in _deploy.apply(changes):
                warn(warning)
    if reason:
        meta = _certbot.fetch_directory(params["directory"], params["ca_file"]).get("meta") or {}
        result["caa_identities"] = [str(item) for item in meta.get("caaIdentities") or []]
        if not _certbot.accounts(params["directory"]):
            result["changed"] = True
            if not check_mode:
                _make_account(params, meta)
        result["account_uri"] = next((uri for _name, uri in _certbot.accounts(params["directory"])[-1:]), "")
        if params["order"] and not check_mode:
            for order in filter(reasons.get, orders):
                if params["staging"]:
                    _certbot.rehearse(order, params["staging"])
                _certbot.place(order)
    return result


def _make_account(params: dict[str, t.Any], meta: dict[str, t.Any]) -> None:
    directory = params["directory"]
    if not params["terms_agreed"]:
        terms = meta.get("termsOfService", directory)
        raise CertbotError(f"terms_agreed: false, so no account is made; read {terms} and set it to true")
    if meta.get("externalAccountRequired") and not params["eab_kid"]:
        raise CertbotError(
            f"eab_kid: {directory} only takes accounts that are bound to one at the CA, and none is given"
        )
    eab = (params["eab_kid"], params["eab_hmac_key"]) if params["eab_kid"] else None
    try:
        _certbot.register(directory, params["ca_file"], params["email"], eab)
    except CertbotError as error:
        named = "eab_kid: {}: ".format(params["eab_kid"]) if eab else ""
        raise CertbotError(f"{named}{directory} makes no account: {error}") from error


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_together=[("eab_kid", "eab_hmac_key")],
        required_if=[("challenge", "http-01", ["webroot"]), ("challenge", "dns-01", ["dns"])],
    )
    if os.geteuid() != 0:
        module.fail_json(msg="this module runs certbot and needs root; use become")
    try:
        result = run(module.params, module.check_mode, module.warn)
    except (CertbotError, _changeset.ChangeError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
