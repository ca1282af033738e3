# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate of one host: it is installed, ordered from a CA where the options require that, and inspected.

A play that has the role frontend installs before it, as its site needs a certificate, and orders after it, as the site
responds to the CA. Inspection and check are two parts, as Ansible keeps no fact of a task that fails, and the report
needs the certificates of a host whose order has failed too.
"""

from __future__ import annotations

import secrets
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.loader import lookup_loader

from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import ORDER_TIMEOUT, SNAP
from ansible_collections.kopano.hardening.plugins.module_utils._common import printable as _printable
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver.names import ServedCertificate
from ansible_collections.kopano.hardening.plugins.modules import acme_reach_info, caa_info
from ansible_collections.kopano.hardening.plugins.plugin_utils._ansible.plain import plain
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import certificate as _roles_certificate
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles import host_fact as _host_fact
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.action import Info, RoleAction, RoleError
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.certificate import (
    CertificateFact,
    Files,
    Outcome,
    Texts,
)
from ansible_collections.kopano.hardening.plugins.plugin_utils._roles.host_fact import HostParts

if t.TYPE_CHECKING:
    from ansible_collections.kopano.hardening.plugins.module_utils._caa.record_sets import CaaInfo
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.acme_preflight import ReachInfo
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.certbot import Ordered
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.deploy import Installed
    from ansible_collections.kopano.hardening.plugins.module_utils._certificate.info import Judged, Results
    from ansible_collections.kopano.hardening.plugins.module_utils._host_info import FailedPart

NAMELESS = "certificate_names: [] leaves the choice to this host, which has no TLS virtual host; name them"


class _Done(t.TypedDict):
    """What the modules and actions that a task has run come to."""

    changed: bool
    diff: list[t.Any]
    warnings: list[str]


class ActionModule(RoleAction):
    """Keeps C(_roles.certificate.CertificateFact) as its fact."""

    ROLE = "certificate"
    _supports_diff = True

    def act(self, options: Info, variables: Info) -> Info:
        parts: dict[str, t.Callable[[Info, Info], Info]] = {
            "install": self._install,
            "order": self._order,
            "inspect": self._inspect,
            "check": self._check,
        }
        part = self._task.args.get("part")
        if part not in parts:
            raise RoleError(f"part: {part!r} is none of {', '.join(parts)}")
        self._done: _Done = {"changed": False, "diff": [], "warnings": []}
        result = parts[part](options, variables)
        return {**{name: value for name, value in self._done.items() if value}, **result}

    # --- part install ---

    def _install(self, options: Info, variables: Info) -> Info:
        if not _roles_certificate.installs(options):
            host = self.query(variables, "frontend", "certificates")
            return _host_fact.update(variables, host=host, certificate={})
        names, host = self._names(options, variables)
        returned: Info = {"certificates": _roles_certificate.targets(options), "names": names, "missing": []}
        kept: CertificateFact = {"names": names, "missing": [], "result": None}
        # An order that succeeds needs no certificate before it.
        orders_next = options["source"] == "acme" and self._task.args.get("order_follows", False)
        if self._task.check_mode or not orders_next:
            result = self._deploy(options, variables, names)
            line = _roles_certificate.installed_line(options, result, self._task.check_mode)
            returned.update(missing=result["missing"], outcome=[line] if line else [])
            # What it replaced has been reported by then.
            kept["missing"], kept["result"] = result["missing"], {"reason": result["reason"], "kept": []}
        return {**returned, **_host_fact.update(variables, host=self._still_true(host), certificate=kept)}

    def _names(self, options: Info, variables: Info) -> tuple[list[str], HostParts]:
        """The names that the certificate is for, and what is known of the host."""
        names = options["names"] or options["frontend_server_names"]
        host = _host_fact.read(variables).get("host") or {}
        if not names:
            host = self.query(variables, "frontend")
            names = _roles_certificate.served_names(self.checked(host, "frontend"))
        if not names:
            raise RoleError(NAMELESS)
        return names, host

    def _deploy(self, options: Info, variables: Info, names: list[str]) -> Installed:
        """The result of certificate_install for the certificate of the administrator, or for one that is made on the
        host."""
        pair = self._brought(options, variables) if _roles_certificate.is_given(options) else None
        if pair:
            self._judge(options, variables, pair, names)
        arguments = _roles_certificate.installation(options, names, pair)
        installed: Installed = self._module("certificate_install", variables, arguments)
        return installed

    def _brought(self, options: Info, variables: Info) -> Texts | Files:
        """Chain and key of the administrator. The key goes to two modules and nowhere else."""
        if options["chain_content"]:
            return {"chain": options["chain_content"], "key": options["key_content"]}
        if options["remote"]:
            return {"chain_file": options["chain"], "key_file": options["key"]}
        chain, key = (self._read(name, options[name], variables) for name in ("chain", "key"))
        return {"chain": chain, "key": key}

    def _read(self, name: str, path: str, variables: Info) -> str:
        """A file of the controller, which may be in a vault."""
        lookup = lookup_loader.get("ansible.builtin.file", loader=self._loader, templar=self._templar)
        try:
            text: str = plain(lookup.run([path], variables=variables)[0])
        except AnsibleError as error:
            raise RoleError(f"certificate_{name}: {path!r} cannot be read: {error}") from error
        return text

    def _judge(self, options: Info, variables: Info, pair: Texts | Files, names: list[str]) -> None:
        """Raises RoleError for a pair with a defect, and for one of which something could not be determined: with a
        certificate of a private CA that has no chain for example, whose root certificate_ca_file can name."""
        arguments = _roles_certificate.judgement(options, pair, names)
        result: Judged = self._module("certificate_info", variables, arguments)
        if not result["usable"] or any(item["severity"] == "unknown" for item in result["findings"]):
            lines = _roles_certificate.finding_lines(result["findings"])
            raise RoleError("; ".join(map(str.strip, lines)))

    # --- part order ---

    def _order(self, options: Info, variables: Info) -> Info:
        fact = _host_fact.read(variables)
        kept: CertificateFact = {**(fact.get("certificate") or {})}
        outcome: Outcome | None = None
        known_host = fact.get("host") or {}
        if options["source"] == "acme":
            # Before anything is installed.
            known_host = self.query(variables, "frontend", first=False)
            family = self._known_family(known_host)
            if "names" not in kept:
                kept["names"] = self._names(options, variables)[0]
                kept["missing"], kept["result"] = [], {}
            outcome = self._outcome(options, variables, kept, family)
        # The report is about the hardened host, which roles that come after this one need to know as well.
        known = _host_fact.variables_with(variables, host=self._still_true(known_host))
        if "names" in kept:
            host = self.query(known, "frontend", first=False)
            # In a dry run there may be nothing to inspect yet.
            certificates = [] if kept["missing"] else _roles_certificate.installed(options, kept["names"])
            inspected = self._inspected(options, variables, certificates)
        else:
            host = self.query(known, "frontend", "certificates", first=False)
            certificates, inspected = self._served(options, variables, host)
        kept["inspected"] = inspected
        kept["report"] = _roles_certificate.report(inspected, certificates, outcome)
        shown = [outcome["line"]] if outcome and outcome["new"] else []
        return {"outcome": shown, **_host_fact.update(variables, host=host, certificate=kept)}

    @staticmethod
    def _known_family(host: HostParts) -> str | None:
        """The host's family of distributions; None where the query failed. Raises RoleError for an unknown one."""
        system: t.Any = host["frontend"].get("os")
        if system and system["family"] is None:
            raise RoleError(_layout.refusal(system["pretty_name"]))
        return system["family"] if system else None

    def _outcome(self, options: Info, variables: Info, kept: CertificateFact, family: str | None) -> Outcome:
        """What came of the order. Whatever fails, a certificate that works is still served."""
        lost = "no certificate"
        try:
            prepared = self._ordered(options, variables, kept["names"], family)
            lost = "the new certificate is not in use"
            result: Installed | None = None
            if not (self._task.check_mode and prepared["needed"]):
                arguments = _roles_certificate.renewal(options, prepared["certificates"])
                result = self._module("certificate_install", variables, arguments)
            line = _roles_certificate.ordered_line(options, prepared, result)
            return {"line": line, "new": prepared["needed"] or self._done["changed"], "failed": False}
        except AnsibleConnectionFailure:
            raise
        except (AnsibleError, RoleError) as error:
            reason = _printable.result(str(error))
            if isinstance(error, RoleError) and error.result.get("not_reloaded"):
                return {"line": f"certificate from {options['acme_directory']}: {reason}", "new": False, "failed": True}
        instead = self._instead(options, variables, kept)
        return {"line": f"{lost} from {options['acme_directory']}, {instead}: {reason}", "new": False, "failed": True}

    def _instead(self, options: Info, variables: Info, kept: CertificateFact) -> str:
        """What is served in place of a certificate that could not be ordered."""
        if kept["result"] is not None:
            return _roles_certificate.bootstrap_line(kept["result"])
        try:
            return _roles_certificate.bootstrap_line(self._deploy(options, variables, kept["names"]))
        except RoleError as error:
            return f"nor could a self-signed bootstrap certificate be installed ({_printable.result(str(error))})"

    def _ordered(self, options: Info, variables: Info, names: list[str], family: str | None) -> Ordered:
        """What acme_certificate returned before an order, which is done by now where one was needed."""
        if not self._has_snap(variables):
            self._noted(self.install(variables, _roles_certificate.packages(options, family)))
        arguments = _roles_certificate.order(options, names)
        prepared: Ordered = self._module("acme_certificate", variables, {**arguments, "order": False})
        if prepared["needed"]:
            if options["acme_preflight"]:
                self._preflight(options, variables, names, prepared)
            what = f"{options['acme_directory']} is to issue a certificate, at most {ORDER_TIMEOUT // 60} minutes"
            with self.waiting(variables, what):
                self._module("acme_certificate", variables, {**arguments, "order": True})
        return prepared

    def _has_snap(self, variables: Info) -> bool:
        """Whether certbot is there as a snap. The distribution's beside it would renew the same certificates, and not
        understand all that a newer one has written."""
        snap = {"path": SNAP, "get_checksum": False, "get_mime": False, "get_attributes": False}
        found = self._execute_module("ansible.builtin.stat", module_args=snap, task_vars=variables)
        return bool(self._noted(found, counts=False).get("stat", {}).get("exists"))

    def _preflight(self, options: Info, variables: Info, names: list[str], prepared: Ordered) -> None:
        """Checks from the controller what the CA will check, as an order that fails counts towards its limits. Raises
        RoleError where it would."""
        caa: CaaInfo | None = None
        issuer = _roles_certificate.caa_issuer(options, prepared["caa_identities"])
        if issuer:
            caa = self.run_here(
                caa_info,
                names=names,
                issuer=issuer,
                account_uri=prepared["account_uri"] or None,
                validation_method=options["acme_challenge"],
                issuers=options["caa_issuers"],
                nameservers=options["caa_nameservers"],
                trust_ad=options["caa_trust_ad"],
                timeout=options["caa_timeout"],
            )
        reach = self._reach(options, variables, names) if options["acme_challenge"] == "http-01" else None
        objections = _roles_certificate.objections(options, caa, reach)
        if objections:
            raise RoleError("; ".join(["nothing was ordered", *objections]))

    def _reach(self, options: Info, variables: Info, names: list[str]) -> ReachInfo:
        """The result of acme_reach_info for a file that is on the host only now."""
        seen_from_here = {
            "names": names,
            "nameservers": options["caa_nameservers"],
            "timeout": options["caa_timeout"],
        }
        folder = _roles_certificate.webroot(options) + _roles_certificate.CHALLENGES
        self._file(variables, path=folder, state="directory", mode="0755")
        if self._task.check_mode:
            # There is no file in a dry run, and perhaps no site that would serve it.
            reach: ReachInfo = self.run_here(acme_reach_info, **seen_from_here)
            return reach
        token = f"kopano-hardening-{secrets.token_hex(6)}"
        path = f"{folder}/{token}"
        try:
            file = {"dest": path, "content": token, "mode": "0644"}
            self._noted(self.run_action("ansible.builtin.copy", variables, file), counts=False)
            asked_for = {"path": f"{_roles_certificate.CHALLENGES}/{token}", "content": token}
            reach = self.run_here(acme_reach_info, **asked_for, **seen_from_here)
        finally:
            self._file(variables, counts=False, path=path, state="absent")
        return reach

    # --- part inspect, part check ---

    def _inspect(self, options: Info, variables: Info) -> Info:
        host = self.query(variables, "frontend", "certificates")
        certificates = _roles_certificate.served(self.checked(host, "frontend"))
        inspected = host["certificates"]
        report = _roles_certificate.report(inspected, certificates, None)
        kept: CertificateFact = {"inspected": inspected, "report": report}
        return _host_fact.update(variables, host=host, certificate=kept)

    def _served(
        self, options: Info, variables: Info, host: HostParts
    ) -> tuple[list[ServedCertificate], Results | FailedPart]:
        """The certificates that are served, or would be after a dry run, and what certificate_info returns of them."""
        planned = _host_fact.read(variables).get("frontend") or {}
        site = planned.get("site") if self._task.check_mode and planned.get("changed") else None
        certificates = _roles_certificate.served(self.checked(host, "frontend"), site)
        inspected = self._inspected(options, variables, certificates) if site else host["certificates"]
        return certificates, inspected

    def _inspected(self, options: Info, variables: Info, certificates: list[ServedCertificate]) -> Results | FailedPart:
        """The result of certificate_info about these, or why it failed, which fails no host."""
        if not certificates:
            return {"results": []}
        arguments = {"certificates": certificates, **_roles_certificate.query(options)}
        try:
            return {"results": plain(self._module("certificate_info", variables, arguments)["results"])}
        except RoleError as error:
            return {"failed": True, "msg": str(error)}

    def _check(self, _options: Info, variables: Info) -> Info:
        kept = _host_fact.read(variables).get("certificate")
        report = kept.get("report") if kept else None
        if not report:
            raise RoleError("no certificate of this host was inspected in this run")
        return self.judged(report)

    # --- on the host ---

    def _still_true(self, host: HostParts) -> HostParts:
        """What is known of the host after what this task has done: the next role queries it again."""
        if not self._done["changed"] or self._task.check_mode:
            return host
        return _host_fact.only(host, ("updates",))

    def _module(self, name: str, variables: Info, arguments: Info) -> t.Any:
        """The result of a module of this collection on the host. Raises RoleError where it fails."""
        found = self._execute_module(f"kopano.hardening.{name}", module_args=arguments, task_vars=variables)
        return self._noted(found)

    def _file(self, variables: Info, counts: bool = True, **arguments: t.Any) -> None:
        found = self._execute_module("ansible.builtin.file", module_args=arguments, task_vars=variables)
        self._noted(found, counts)

    def _noted(self, result: Info, counts: bool = True) -> Info:
        """A result, whose changes and warnings become this task's. counts: whether its changes do. Raises RoleError."""
        self._done["warnings"] += result.get("warnings") or []
        if counts and result.get("changed"):
            diff = result.get("diff") or []
            self._done["changed"] = True
            self._done["diff"] += diff if isinstance(diff, list) else [diff]
        if result.get("failed"):
            more = {name: value for name, value in result.items() if name not in ("msg", "invocation")}
            message = str(result.get("msg") or "a module failed without a message")
            raise RoleError(_roles_certificate.in_roles_words(message), **more)
        return result
