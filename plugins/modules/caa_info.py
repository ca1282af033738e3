#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: caa_info
short_description: Find out which CA may issue certificates for names
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Looks up the CAA records of names as a certification authority does before it issues a certificate, and shows what
    they mean for a given CA, or for the one that issued the certificate in use.
  - Follows RFC 8659 (records, climbing, aliases), RFC 8657 (accounts and validation methods) and the rules that CAs
    have to keep since 2026-03-15 about DNSSEC.
  - A lookup that fails is never taken for a missing record. An error is not a permission.
  - All names are looked up side by side in one call. It changes nothing.
extends_documentation_fragment:
  - kopano.hardening.attributes
  - kopano.hardening.attributes.info_module
  - kopano.hardening.attributes.actiongroup_dns
options:
  names:
    description:
      - The host names to check. International names and a final dot are accepted.
      - A name that begins with V(*.) is judged for the wildcard certificate.
      - What is not a host name gets the verdict V(error). A name given more than once is checked once.
    type: list
    elements: str
    required: true
  nameservers:
    description:
      - The resolvers to query, each as C(ADDRESS), C(ADDRESS:PORT) or C([ADDRESS]:PORT).
      - The default is C(/etc/resolv.conf) of the machine that the module runs on.
      - An authoritative server can be named too, for names whose records it has.
    type: list
    elements: str
    default: []
  trust_ad:
    description:
      - Whether the way to the resolvers is safe, so that their DNSSEC validation counts.
      - A resolver on the loopback interface is always trusted, and so are those of C(/etc/resolv.conf) when it has
        C(options trust-ad).
    type: bool
    default: false
  issuer:
    description:
      - The CA that is expected to issue, by the domain that CAA records name it with, for example V(letsencrypt.org).
      - All other domains that this CA is known to accept count as well.
      - Without it, the CA of the certificate in O(certificates) is taken. Without either, the verdict is whether any
        CA may issue.
    type: str
  account_uri:
    description:
      - The URI of the ACME account that requests certificates, to compare with C(accounturi) parameters.
    type: str
  validation_method:
    description:
      - The validation method in use, such as V(http-01) or V(dns-01), to compare with C(validationmethods) parameters.
    type: str
  wildcard:
    description:
      - Judge the wildcard certificate of every name (C(*.NAME)) instead of the one for the name itself.
    type: bool
    default: false
  expect:
    description:
      - What differs for single names, by name. The keys are those of the options O(issuer), O(account_uri),
        O(validation_method) and O(wildcard), and go before them.
      - An O(issuer) of null takes the CA of the name's certificate although the others have one in common.
    type: dict
    default: {}
  certificates:
    description:
      - The certificates in use as PEM text, by name. With the chain, more CAs are recognised.
    type: dict
    default: {}
  issuers:
    description:
      - CAs that the collection does not know or should know differently. A key is the issuer's organisation or common
        name as its certificates have it, or its key identifier in hexadecimal. The value is the list of domains by
        which CAA records name this CA. An empty list means that it is a private CA.
      - These go before the collection's own list.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds that a name may take. The name servers of the zones get as long again to be compared.
    type: float
    default: 5
  concurrency:
    description:
      - How many queries may be under way at once, from 1 to 64.
    type: int
    default: 64
requirements:
  - python >= 3.10
  - dnspython >= 2.3.0
  - cryptography (for O(certificates))
notes:
  - Run it once on the controller (C(delegate_to) V(localhost), C(run_once)). Web servers often see other DNS data than
    CAs.
  - The zones' own name servers are queried on port 53 and compared. Where that is not possible from here, a finding
    with severity V(unknown) reports it.
"""

EXAMPLES = r"""
- name: May Let's Encrypt issue for these names?
  kopano.hardening.caa_info:
    names:
      - webmail.example.org
      - autodiscover.example.org
    issuer: letsencrypt.org
    validation_method: http-01
  delegate_to: localhost
  run_once: true
  register: caa

- name: Stop when it may not
  ansible.builtin.assert:
    that: item.verdict == 'permitted'
    fail_msg: "{{ item.name }}: {{ item.error or item.verdict }}"
  loop: "{{ caa.results }}"
  loop_control:
    label: "{{ item.name }}"
  run_once: true

- name: Will the certificates in use be renewed?
  kopano.hardening.caa_info:
    names:
      - webmail.example.org
    certificates:
      webmail.example.org: "{{ lookup('ansible.builtin.file', '/etc/ssl/webmail/fullchain.pem') }}"
    issuers:
      Example Organisation Internal CA: []
    nameservers:
      - 127.0.0.1:5353
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
results:
  description: One entry for each name, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name as given.
      type: str
      sample: webmail.example.org
    found_at:
      description: Where the deciding records are, a parent or the end of an alias perhaps. V(none) when there are none.
      type: str
      sample: example.org
    records:
      description: The deciding records.
      type: list
      elements: dict
      contains:
        flags:
          description: The flags, 0 to 255; 128 is the critical flag.
          type: int
          sample: 0
        tag:
          description: The tag as published.
          type: str
          sample: issue
        value:
          description: The value as a zone file has it between quotes.
          type: str
          sample: letsencrypt.org; validationmethods=http-01
    issue:
      description: The values of the C(issue) records.
      type: list
      elements: str
      sample: ["letsencrypt.org; validationmethods=http-01"]
    issuewild:
      description: The values of the C(issuewild) records.
      type: list
      elements: str
      sample: [";"]
    iodef:
      description: Where CAs report to.
      type: list
      elements: str
      sample: ["mailto:hostmaster@example.org"]
    dnssec:
      description:
        - V(secure) and V(insecure) as a validating resolver proved it.
        - V(bogus) when validation fails, which CAs must take for a refusal.
        - V(unverified) when the resolver does not validate, is not trusted, or did not respond.
      type: str
      sample: secure
    verdict:
      description:
        - V(permitted) when the CA may issue, and V(forbidden) when it may not.
        - Without a known CA V(permitted) when some CA may issue, and V(forbidden) when none may.
        - V(unrestricted) when every CA may issue.
        - V(forbidden) too when DNSSEC validation fails, or one of the zone's name servers gives records that forbid.
        - V(not_applicable) for a certificate from a private CA.
        - V(error) when it could not be found out.
      type: str
      sample: permitted
    error:
      description: Why it could not be found out, or the result of DNSSEC validation. V(none) otherwise.
      type: str
      sample: 192.0.2.53 returns SERVFAIL for webmail.example.org
    findings:
      description: The findings about this name, as in RV(findings).
      type: list
      elements: dict
record_sets:
  description:
    - Complete record sets, one for each place in the names' own zones that decides about a name, or would.
    - They are what all fixes of the findings come to, and let the CA of every name issue.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The place.
      type: str
      sample: example.org
    zone:
      description: The zone that it is in.
      type: str
      sample: example.org
      version_added: 1.0.0
    names:
      description: The names that the set decides about.
      type: list
      elements: str
      sample: [webmail.example.org]
    current:
      description: The records there now, each as a zone file has it.
      type: list
      elements: str
      sample: []
    wanted:
      description: The records that shall be there. The same as RV(record_sets[].current) when nothing is to be done.
      type: list
      elements: str
      sample: ['0 issue "letsencrypt.org"', '0 issuewild ";"', '0 iodef "mailto:hostmaster@example.org"']
    records:
      description: The same by their fields, as the web interfaces of DNS providers have them.
      type: list
      elements: dict
      sample:
        - flags: 0
          tag: issue
          value: letsencrypt.org
      version_added: 1.0.0
    complete:
      description: False where a CA in use is not known, so that RV(record_sets[].wanted) is empty.
      type: bool
      sample: true
    lines:
      description: Zone-file lines, ready to be pasted. Records to take out are in comments.
      type: str
      sample: |-
        example.org. IN CAA 0 issue "letsencrypt.org"
        example.org. IN CAA 0 issuewild ";"
        example.org. IN CAA 0 iodef "mailto:hostmaster@example.org"
findings:
  description: All findings, each once.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The kind of finding. These names are stable.
      type: str
      sample: caa.none
    step:
      description: The checklist's step that it belongs to.
      type: int
      sample: 4
    severity:
      description: One of V(fail), V(warn), V(info) and V(unknown).
      type: str
      sample: fail
    subject:
      description: The name, zone or resolver that it is about.
      type: str
      sample: webmail.example.org
    message:
      description: What was found.
      type: str
      sample: "No CAA record covers the name: every CA may issue for it."
    evidence:
      description: What it was found by.
      type: str
      sample: ""
    fix:
      description: Lines for the zone file, ready to be pasted, or what to do where no record has to change.
      type: str
      sample: |-
        example.org. IN CAA 0 issue "letsencrypt.org"
        example.org. IN CAA 0 issuewild ";"
        example.org. IN CAA 0 iodef "mailto:hostmaster@example.org"
"""

from typing import Any

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.kopano.hardening.plugins.module_utils._caa import findings as _caa_findings
from ansible_collections.kopano.hardening.plugins.module_utils._caa import issuers as _issuers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import lookup as _lookup
from ansible_collections.kopano.hardening.plugins.module_utils._caa import nameservers as _nameservers
from ansible_collections.kopano.hardening.plugins.module_utils._caa import record_sets as _record_sets
from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._caa.findings import Case, Claim, Result, Verdict
from ansible_collections.kopano.hardening.plugins.module_utils._caa.lookup import Lookup, Problem, Server, Survey
from ansible_collections.kopano.hardening.plugins.module_utils._caa.record_sets import CaaInfo
from ansible_collections.kopano.hardening.plugins.module_utils._caa.records import Request
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "nameservers": {"type": "list", "elements": "str", "default": []},
    "trust_ad": {"type": "bool", "default": False},
    "issuer": {"type": "str"},
    "account_uri": {"type": "str"},
    "validation_method": {"type": "str"},
    "wildcard": {"type": "bool", "default": False},
    "expect": {"type": "dict", "default": {}},
    "certificates": {"type": "dict", "default": {}},
    "issuers": {"type": "dict", "default": {}},
    "timeout": {"type": "float", "default": 5},
    "concurrency": {"type": "int", "default": 64},
}


EXPECTED = ("issuer", "account_uri", "validation_method", "wildcard")
"""Options that may differ from name to name."""


def check(params: dict[str, Any]) -> None:
    """Raise ValueError for the first option that has no meaning."""
    check_expected(params, "")
    for name, own in params["expect"].items():
        if not isinstance(own, dict) or not set(own) <= set(EXPECTED):
            raise ValueError(f"expect: {name}: must be a mapping of {', '.join(EXPECTED)}")
        check_expected({**dict.fromkeys(EXPECTED), "wildcard": False, **own}, f"expect: {name}: ")
    if not 0 < params["timeout"] <= 600:
        raise ValueError("timeout: must be above 0 and at most 600 seconds")
    if not 1 <= params["concurrency"] <= 64:
        raise ValueError("concurrency: must be from 1 to 64")
    for name, domains in params["issuers"].items():
        if not isinstance(domains, list) or not all(
            isinstance(item, str) and _records.is_domain(item) for item in domains
        ):
            raise ValueError(f"issuers: {name}: must be a list of CA domains, which may be empty")


def check_expected(expected: dict[str, Any], where: str) -> None:
    """Raise ValueError for the first of the options that may differ from name to name that has no meaning."""
    issuer, account, method, wildcard = (expected[key] for key in EXPECTED)
    if issuer is not None and not (isinstance(issuer, str) and _records.is_domain(issuer)):
        raise ValueError(f"{where}issuer: {issuer!r} is not a CA's domain, such as letsencrypt.org")
    if method is not None and not (isinstance(method, str) and _records.is_method(method)):
        raise ValueError(f"{where}validation_method: {method!r} is not a label, such as http-01")
    if account is not None and not (isinstance(account, str) and _records.is_account(account)):
        raise ValueError(f"{where}account_uri: {account!r} is not a URI")
    if not isinstance(wildcard, bool):
        raise ValueError(f"{where}wildcard: {wildcard!r} is neither true nor false")


def resolvers(params: dict[str, Any]) -> list[Server]:
    """The servers to query; raises ValueError."""
    try:
        return _nameservers.resolvers(params["nameservers"], params["trust_ad"])
    except ValueError as error:
        raise ValueError(f"nameservers: {error}") from error


def by_name(params: dict[str, Any], option: str) -> dict[tuple[str, bool], Any]:
    """An option's values by name and "is it a wildcard?"; raises ValueError."""
    try:
        return {_records.host_name(name): value for name, value in params[option].items()}
    except ValueError as error:
        raise ValueError(f"{option}: a key is not a host name: {error}") from error


def run(params: dict[str, Any]) -> CaaInfo:
    """The module's result; raises ValueError for options that have no meaning, and without dnspython."""
    if _lookup.DNSPYTHON_IMPORT_ERROR:
        raise ValueError(missing_required_lib("dnspython"))
    check(params)
    servers = resolvers(params)
    pems, expectations = by_name(params, "certificates"), by_name(params, "expect")
    subjects: dict[tuple[str, bool], str] = {}
    lookups: dict[str, Lookup] = {}
    for text in params["names"]:
        try:
            key = _records.host_name(text)
        except ValueError as error:
            key = (text, False)
            problem = Problem(_lookup.INVALID, f"{text!r} is not a host name: {error}")
            lookups[text] = Lookup(text, problem=problem)
        subjects.setdefault(key, text)
    names = [name for name, _wildcard in subjects if name not in lookups]
    survey = _lookup.survey(names, servers, params["timeout"], params["concurrency"])
    lookups.update(survey.lookups)

    cases = []
    for (name, wildcard), text in subjects.items():
        pem, own = (given.get((name, wildcard), given.get((name, False))) for given in (pems, expectations))
        cases.append(judge(text, lookups[name], wildcard, None if pem is None else str(pem), {**params, **(own or {})}))
    found = _caa_findings.of_cases(cases, survey)
    results: list[Result] = [{**result(case, survey), "findings": findings} for case, findings in zip(cases, found)]
    findings = [item for entry in results for item in entry["findings"]]
    if any(entry["dnssec"] == _lookup.UNVERIFIED and entry["error"] is None for entry in results):
        findings.append(_caa_findings.finding("caa.dnssec.unverified", ", ".join(map(str, servers))))
    sets = [entry.returned() for entry in _record_sets.record_sets(cases, survey)]
    return {"results": results, "record_sets": sets, "findings": _caa_findings.unique(findings)}


def judge(text: str, lookup: Lookup, wildcard: bool, pem: str | None, params: dict[str, Any]) -> Case:
    """What the records mean for the expected CA, and for the one that issued the certificate."""

    def claim(name: str, domains: tuple[str, ...], literal: bool) -> Claim:
        request = Request(
            domains,
            wildcard or params["wildcard"],
            params["account_uri"] or "",
            params["validation_method"] or "",
            literal,
        )
        return Claim(name, request, _records.evaluate(lookup.records, request))

    identity, unreadable = None, ""
    if pem is not None:
        try:
            identity = _issuers.identify(pem, params["issuers"])
        except ValueError as error:
            unreadable = f"the certificate cannot be read: {error}"
    served = None
    if identity and identity.domains:
        literal = _issuers.find(identity.domains[0], params["issuers"]).literal
        served = claim(identity.name, identity.domains, literal)
    if params["issuer"]:
        issuer = _issuers.find(params["issuer"], params["issuers"])
        expected = claim(issuer.name, issuer.domains, issuer.literal)
        return Case(text, lookup, expected, served, "", unreadable, expected=True)
    return Case(text, lookup, served or claim("", (), False), served, identity.kind if identity else "", unreadable)


def result(case: Case, survey: Survey) -> Verdict:
    """A name's entry in the result, without findings."""
    lookup = case.lookup
    verdict, error = decide(case, survey)

    def values(tag: str) -> list[str]:
        return [record.text for record in lookup.records if record.kind == tag]

    return {
        "name": case.name,
        "found_at": lookup.found_at,
        "records": [{"flags": record.flags, "tag": record.tag, "value": record.text} for record in lookup.records],
        "issue": values("issue"),
        "issuewild": values("issuewild"),
        "iodef": values("iodef"),
        "dnssec": lookup.dnssec,
        "verdict": verdict,
        "error": error,
    }


def decide(case: Case, survey: Survey) -> tuple[str, str | None]:
    """The verdict, and a message where it could not be found out. What is in doubt is not permitted."""
    problem = case.lookup.problem
    if case.kind == _issuers.PRIVATE:
        return _records.NOT_APPLICABLE, problem.message if problem else None
    if problem:
        return _records.FORBIDDEN if problem.kind == _lookup.BOGUS else _records.ERROR, problem.message
    if case.unreadable and not case.expected:
        return _records.ERROR, case.unreadable
    request = case.claim.request
    views = _caa_findings.seen_by_servers(case.lookup, survey)
    if any(_records.evaluate(records, request).verdict == _records.FORBIDDEN for records in views):
        return _records.FORBIDDEN, None
    return case.claim.judgement.verdict, None


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
