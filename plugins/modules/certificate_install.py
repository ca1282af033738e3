#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_install
short_description: Bring a certificate to the web server and to Kopano's daemons
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Writes certificate chains and their keys to the paths that virtual hosts name, as one transaction like
    M(kopano.hardening.web_config)'s. The web server is started with them in a rehearsal, then reloaded and probed;
    when anything is worse than before, the old ones are restored and served again. Where no web server runs, the files
    are written and that is all.
  - Every name whose virtual host reads one of the paths must come with a certificate of these afterwards.
  - The first certificate also goes to C(kopano-gateway) and C(kopano-ical), where their units are installed, in a copy
    that only their user can read. The one is reloaded, the other restarted.
  - Other services that read it, such as a mail server, are reloaded where O(reload_services) names them.
  - A certificate that is not valid now, or to which the key does not belong, replaces nothing.
  - What is replaced is kept below C(/var/lib/kopano-hardening/certificates), for root only, and comes back by
    O(restore) alone. No restore of another change brings an old certificate or key back. For each path five are kept,
    those that are still valid before those that have expired.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - The rehearsal is done in check mode too, unless there is no key yet because it would only be made.
  diff_mode:
    support: full
    details:
      - Private keys are shown as their SHA-256 only.
options:
  certificates:
    description:
      - The certificates and where they belong. More than one for keys of different kinds, for the same names.
      - Required without O(restore).
    type: list
    elements: dict
    suboptions:
      path:
        description: Absolute path of the certificate chain. An existing file keeps its owner and permissions.
        type: path
        required: true
      key_path:
        description: Absolute path of the key.
        type: path
        required: true
      chain:
        description: The certificate and what comes between it and the authority's own, as PEM text.
        type: str
      key:
        description: The key as PEM text. Required with O(certificates[].chain).
        type: str
      key_type:
        description: "The kind of a key that is made for O(self_signed): ECDSA on P-256, or RSA with 3072 bits."
        type: str
        choices: [ecdsa, rsa]
        default: ecdsa
      chain_file:
        description: A file on the target that has the chain, in place of O(certificates[].chain).
        type: path
      key_file:
        description: A file on the target that has the key. Required with O(certificates[].chain_file).
        type: path
  self_signed:
    description:
      - Makes keys and self-signed certificates, for all of O(certificates).
    type: dict
    suboptions:
      names:
        description: The names that it is for, the main one first.
        type: list
        elements: str
        required: true
      days:
        description: How long it is valid. A new one is made when a third of that is left.
        type: int
        default: 90
      bootstrap:
        description:
          - Whether any certificate will do that is there already, with its key, and valid now, whatever its names and
            the kind of its key. Such a one stays as it is, with its permissions. Otherwise what is there has to be
            self-signed and for just these names.
          - What the running web server still serves, although the files have it no more, is not replaced either.
          - Where one of several has such a certificate, the others get a copy of it, so that no client comes across a
            self-signed one beside it.
        type: bool
        default: false
  restore:
    description:
      - The id of what is to be brought back, one of RV(kept), or V(latest) for what was replaced last. An unknown id is
        refused with a list of those that there are.
      - Contents, permissions and owner are those of before, and what is there now is kept in turn. It is installed as
        any other certificate, so one that has expired is refused. Renewals do not replace it any more.
    type: str
  renewal:
    description:
      - Has C(certbot)'s renewals do the same without Ansible. The files of O(certificates) are C(certbot)'s then.
      - Keeps a copy of the collection's code in C(/usr/local/lib/kopano-hardening), a deploy hook that runs it, and an
        addition to C(certbot)'s service that runs it again if the hook has failed. C(certbot)'s timer is switched on.
      - With V(false), takes hook and addition away, so that no renewal replaces the certificate.
      - Without it, what is there stays.
    type: bool
  ca_file:
    description: A file with the authorities that C(certbot) trusts the ACME server of, for O(renewal).
    type: path
  key_mode:
    description: Permissions of the key as an octal string.
    type: str
    default: '0600'
  key_group:
    description: Group of the key. A new file belongs to root's, an existing one keeps its own.
    type: str
  kopano:
    description: Whether Kopano's daemons get their copies.
    type: bool
    default: true
  reload_services:
    description:
      - Names of systemd services that read the files of O(certificates) themselves, such as V(postfix) or V(dovecot).
        They are reloaded when these have changed, also after a renewal with O(renewal), and have to run afterwards. A
        service that cannot be reloaded is restarted.
      - The module fails for a service that does not exist or does not run, after the web server has the certificate,
        and starts none. In check mode it warns of these.
      - A service that could not be reloaded is reloaded in the next run.
    type: list
    elements: str
    default: []
    version_added: 1.0.0
  server:
    description: As for M(kopano.hardening.web_config).
    type: str
    choices: [auto, apache, nginx]
    default: auto
  rehearse:
    description: As for M(kopano.hardening.web_config).
    type: str
    choices: [auto, required, 'off']
    default: auto
notes:
  - Needs root on the target.
  - It looks only at whether web server and daemons take the certificate, and not at whether clients trust it.
seealso:
  - module: kopano.hardening.web_config
"""

EXAMPLES = r"""
- name: Install a certificate whose key is in a vault
  kopano.hardening.certificate_install:
    certificates:
      - path: /etc/kopano-hardening/tls/fullchain.pem
        key_path: /etc/kopano-hardening/tls/privkey.pem
        chain: "{{ lookup('ansible.builtin.file', 'mail.example.com.pem') }}"
        key: "{{ vault_mail_key }}"

- name: Have one until a CA has issued one
  kopano.hardening.certificate_install:
    certificates:
      - path: /etc/kopano-hardening/tls/fullchain.pem
        key_path: /etc/kopano-hardening/tls/privkey.pem
    self_signed:
      names: [mail.example.com, autodiscover.example.com]
      bootstrap: true

- name: Install what certbot has, now and after each renewal
  kopano.hardening.certificate_install:
    certificates:
      - path: /etc/kopano-hardening/tls/fullchain.pem
        key_path: /etc/kopano-hardening/tls/privkey.pem
        chain_file: /etc/letsencrypt/live/mail.example.com/fullchain.pem
        key_file: /etc/letsencrypt/live/mail.example.com/privkey.pem
    renewal: true
    reload_services: [postfix, dovecot]

- name: Bring back what was replaced last
  kopano.hardening.certificate_install:
    restore: latest
"""

RETURN = r"""
transaction:
  description: The transaction that the web server got the files with, null without one.
  returned: always
  type: str
  sample: 000004-20261125T020406Z-9f86d0
method:
  description: How far the rehearsal could go, null without one.
  returned: always
  type: str
  sample: namespace
served:
  description: The names that come with one of the certificates. Without any, no virtual host reads the paths.
  returned: always
  type: list
  elements: str
  sample: [mail.example.com, autodiscover.example.com]
units:
  description: The daemons that have got a new copy.
  returned: always
  type: list
  elements: str
  sample: [kopano-gateway]
services:
  description: Those of O(reload_services) that were reloaded.
  returned: always
  type: list
  elements: str
  sample: [postfix]
  version_added: 1.0.0
not_reloaded:
  description: Those of O(reload_services) that do not use the certificate, which is installed.
  returned: failure of a service
  type: list
  elements: str
  sample: [dovecot]
  version_added: 1.0.0
kept:
  description: The ids of what was replaced, for O(restore).
  returned: always
  type: list
  elements: str
  sample: [000004-20261125T020406Z-9f86d0]
reason:
  description: Why a self-signed certificate was made, empty if none was.
  returned: success
  type: str
  sample: /etc/kopano-hardening/tls/fullchain.pem is not there
missing:
  description: Of the paths those that are not there, because this is check mode.
  returned: success
  type: list
  elements: str
  sample: []
rolled_back:
  description: Whether live files had been replaced and were restored.
  returned: always
  type: bool
  sample: false
failure:
  description: As for M(kopano.hardening.web_config).
  returned: failure of the transaction
  type: dict
  sample:
    phase: rehearse
    file: /etc/nginx/sites-enabled/mail
    line: 9
    directive: ssl_certificate
    value: /etc/kopano-hardening/tls/fullchain.pem
    option: null
    words: "key values mismatch"
"""

import os
import re
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._certificate import deploy as _deploy
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import renewal_hook as _renewal_hook
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import self_signed as _self_signed
from ansible_collections.kopano.hardening.plugins.module_utils._certificate import services as _services
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import (
    Deployed,
    DeployError,
    Installed,
    Pair,
    ServicesError,
    Settings,
)
from ansible_collections.kopano.hardening.plugins.module_utils._certificate.renewal_hook import RenewalSettings, Renewed
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import changeset as _changeset
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import journal as _journal
from ansible_collections.kopano.hardening.plugins.module_utils._transaction import (
    replaced_certificates as _replaced_certificates,
)
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout

ARGUMENT_SPEC: dict[str, t.Any] = {
    "certificates": {
        "type": "list",
        "elements": "dict",
        "no_log": False,
        "options": {
            "path": {"type": "path", "required": True},
            "key_path": {"type": "path", "required": True, "no_log": False},
            "chain": {"type": "str"},
            "key": {"type": "str", "no_log": True},
            "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa", "no_log": False},
            "chain_file": {"type": "path"},
            "key_file": {"type": "path", "no_log": False},
        },
        "mutually_exclusive": [("chain", "chain_file"), ("key", "key_file")],
        "required_together": [("chain", "key"), ("chain_file", "key_file")],
    },
    "self_signed": {
        "type": "dict",
        "options": {
            "names": {"type": "list", "elements": "str", "required": True},
            "days": {"type": "int", "default": 90},
            "bootstrap": {"type": "bool", "default": False},
        },
    },
    "restore": {"type": "str"},
    "renewal": {"type": "bool"},
    "ca_file": {"type": "path"},
    "key_mode": {"type": "str", "default": "0600", "no_log": False},
    "key_group": {"type": "str", "no_log": False},
    "kopano": {"type": "bool", "default": True},
    "reload_services": {"type": "list", "elements": "str", "default": []},
    "server": {"type": "str", "choices": ["auto", "apache", "nginx"], "default": "auto"},
    "rehearse": {"type": "str", "choices": ["auto", "required", "off"], "default": "auto"},
}


def invalid(params: dict[str, t.Any]) -> str | None:
    """What the argument spec cannot check: the first option whose value is invalid, with the reason; or None."""
    for name in params["reload_services"]:
        why = _services.invalid(name)
        if why:
            return f"{_services.OPTION}: {name!r} {why}"
    if params["restore"]:
        return None
    if not params["certificates"]:
        return "certificates: [] names no certificate"
    paths: list[str] = []
    for number, entry in enumerate(params["certificates"]):
        for name in ("path", "key_path"):
            where, path = f"certificates[{number}].{name}", entry[name]
            if not os.path.isabs(path) or os.path.normpath(path) != path:
                return f"{where}: {path!r} is not an absolute path without '..'"
            if path in paths:
                return f"{where}: {path!r} is there twice; chain and key are files of their own"
            paths.append(path)
            if f"{os.path.realpath(path)}/".startswith("/etc/letsencrypt/"):
                return f"{where}: {path!r} is certbot's own, which it replaces itself; name another path"
        if params["renewal"] and not entry["chain_file"]:
            return f"certificates[{number}].chain_file: is needed with renewal"
        if not params["self_signed"] and not (entry["chain"] or entry["chain_file"]):
            return f"certificates[{number}]: {entry['path']} has neither chain nor chain_file"
    if params["self_signed"] and (params["renewal"] or any(entry["chain_file"] for entry in params["certificates"])):
        return "self_signed: cannot be combined with files of another certificate"
    if params["self_signed"] and (not params["self_signed"]["names"] or params["self_signed"]["days"] < 1):
        return "self_signed: needs a name and at least one day"
    if not re.match(r"^0?[0-7]00$|^0?[0-7][0-7]0$", params["key_mode"]):
        return f"key_mode: {params['key_mode']!r} would let everybody read the key"
    return None


def run(params: dict[str, t.Any], check_mode: bool) -> Installed:
    """Do what the options require. Raises DeployError, ChangeError, KeptError, ValueError,
    OSError."""
    settings: Settings = {
        "server": params["server"],
        "rehearse": params["rehearse"],
        "key_mode": params["key_mode"],
        "key_group": params["key_group"],
        "kopano": params["kopano"],
    }
    strange = _layout.unsupported(_layout.os_release())
    if strange:
        raise ValueError(strange)
    if params["restore"]:
        return _restored(params["restore"], settings, params["reload_services"], check_mode)
    entries = params["certificates"]
    reasons: list[str] = []
    warnings: list[str] = []
    if params["self_signed"]:
        pairs, reasons, warnings = _self_signed.choose(entries, params["self_signed"], params["server"])
    elif entries[0]["chain_file"]:
        pairs = _renewal_hook.read_pairs(entries)
    else:
        pairs = [
            Pair(entry["path"], entry["key_path"], _whole(entry["chain"]), _whole(entry["key"])) for entry in entries
        ]
    deployed = _deploy.deploy(pairs, settings, check_mode)
    deployed["warnings"] += warnings
    paths = [path for pair in pairs for path in (pair.path, pair.key_path)]
    missing = [path for path in paths if not os.path.exists(path)]
    result: Installed = {**deployed, "reason": "; ".join(reasons), "missing": missing}
    if params["renewal"]:
        certificates: list[Renewed] = [
            {
                "path": entry["path"],
                "key_path": entry["key_path"],
                "chain_file": entry["chain_file"],
                "key_file": entry["key_file"],
            }
            for entry in entries
        ]
        services = params["reload_services"]
        renewal: RenewalSettings = {**settings, "certificates": certificates, "reload_services": services}
        changes = _renewal_hook.pending(renewal, params["ca_file"])
        result["diff"] += _changeset.diff(changes)
        result["changed"] = result["changed"] or bool(changes) or not _renewal_hook.timer_runs()
        if not check_mode:
            result["warnings"] += _renewal_hook.install(changes)
    elif params["renewal"] is False:
        _end_renewals(result, check_mode)
    chains = {pair.path: pair.chain for pair in pairs}
    _deploy.reload_services(params["reload_services"], chains, result, check_mode)
    return result


def _restored(identifier: str, settings: Settings, services: list[str], check_mode: bool) -> Installed:
    """What was replaced is brought back, and stays: no renewal replaces it."""
    record = _replaced_certificates.find(identifier)
    result: Installed = {**_deploy.restore(record, settings, check_mode), "reason": "", "missing": []}
    paths = {path for pair in record.data["certificates"]["pairs"] for path in pair}
    if _renewal_hook.brings_to(paths):
        _end_renewals(result, check_mode)
        result["warnings"].append(
            f"certbot's renewals no longer replace {', '.join(sorted(paths))}; the role certificate brings them back"
        )
    if not record.data["certificates"]["unit"]:
        states = record.before()
        chains = {path: states[path].content for path, _key_path in record.data["certificates"]["pairs"]}
        _deploy.reload_services(services, chains, result, check_mode)
    return result


def _end_renewals(result: Deployed, check_mode: bool) -> None:
    changes = _renewal_hook.leftovers()
    result["diff"] += _changeset.diff(changes)
    result["changed"] = result["changed"] or bool(changes)
    if not check_mode:
        result["warnings"] += _renewal_hook.put(changes)


def _returned(module: AnsibleModule, result: Deployed) -> dict[str, t.Any]:
    """A result without its warnings, which are returned to Ansible by themselves."""
    for warning in result["warnings"]:
        module.warn(warning)
    return {name: value for name, value in result.items() if name != "warnings"}


def _whole(text: str) -> str:
    """A text with its last line ended, as a lookup gives it without."""
    return text.rstrip("\n") + "\n"


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("certificates", "restore")],
        mutually_exclusive=[("certificates", "restore"), ("self_signed", "restore"), ("renewal", "restore")],
    )
    reason = invalid(module.params)
    if reason is None and os.geteuid() != 0:
        reason = "this module writes keys for servers and needs root; use become"
    if reason is not None:
        module.fail_json(msg=reason)
    try:
        result = run(module.params, module.check_mode)
    except ServicesError as error:
        module.fail_json(msg=str(error), **_returned(module, error.result))
    except DeployError as error:
        module.fail_json(msg=str(error), **{**_returned(module, error.result), "changed": False})
    except (
        _changeset.ChangeError,
        _replaced_certificates.KeptError,
        _journal.JournalError,
        ValueError,
        OSError,
    ) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**_returned(module, result))


if __name__ == "__main__":
    main()
