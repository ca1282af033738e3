#!/usr/bin/python
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_grade_info
short_description: Grade TLS endpoints by the SSL Labs rules, offline
version_added: 0.1.0
author:
  - Contributors to the kopano.hardening project (@kopano-hardening)
description:
  - Inspects TLS endpoints from the machine that it runs on and grades each address of each by the SSL Labs Server
    Rating Guide, version 2009r. Nothing is sent to anybody but the endpoints; see O(fetch_issuers) and
    O(check_revocation) for the exceptions.
  - It speaks TLS itself, down to SSL 2.0. What the OpenSSL of this machine still offers does not matter, and no program
    or Python package has to be installed.
  - An endpoint that cannot be queried gets RV(results[].error) and no grade. What was not tested is listed in
    RV(results[].not_tested), and A+ is given for what was seen only.
  - Only what the protocol calls a refusal is one. What is lost on the way is queried again, with pauses and alone.
extends_documentation_fragment:
  - kopano.hardening.attributes
attributes:
  check_mode:
    support: full
    details:
      - It does not modify state.
  diff_mode:
    support: N/A
    details:
      - It does not modify state.
options:
  endpoints:
    description: What to inspect. All of them are inspected in one go.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Name or address of the server. Every address of a name is graded, IPv4 and IPv6.
        type: str
        required: true
      port:
        description:
          - TCP port.
          - Beside port 443 it is seen whether port 80 leads to HTTPS.
        type: int
        default: 443
      server_name:
        description: The name to send (SNI) and to find in the certificate. O(endpoints[].host) by default.
        type: str
      addresses:
        description: Addresses to connect to instead of those that O(endpoints[].host) resolves to.
        type: list
        elements: str
        default: []
      starttls:
        description:
          - How to get from plain text to TLS.
          - HSTS does not apply to mail protocols and does not count for their grade.
          - On one more connection the server is asked for what it can do without TLS, see RV(results[].clear_login). No
            login is tried.
        type: str
        choices: [none, imap, pop3, smtp]
        default: none
      server_groups:
        description:
          - The groups that the server's TLS library has, where that is known, by M(kopano.hardening.frontend_info).
          - It distinguishes a configuration that keeps post-quantum groups out from a library that has none.
        type: list
        elements: str
        default: []
      group:
        description:
          - The same text for endpoints that are known to be set up in the same way, such as the virtual hosts with the
            same C(tls_group) in M(kopano.hardening.frontend_info).
          - In V(full) mode each of them is queried under its own name for what a name can have by itself, which are its
            certificates, its protocols, the suites that it should refuse, HSTS and the redirect. Of those at the same
            address and port whose responses are the same, one gets a full look; the others have its suites and groups,
            and RV(results[].ciphers_from) names it. One that differs in anything gets its own, and one that accepts
            what it should refuse is looked at in V(quick) mode before.
          - A proxy that sends names to servers of which one differs only in its groups, or in a second certificate for
            TLS 1.3 alone, is not noticed. Give such names no group.
          - Such an endpoint may take O(timeout) three times.
        type: str
  ca_file:
    description:
      - PEM file with certificate authorities that are trusted beside those of the system, for a private one.
    type: path
  ca_content:
    description:
      - The same as PEM text, for authorities that are not in a file of the machine that the module runs on.
    type: str
  fetch_issuers:
    description:
      - Whether an intermediate certificate that a server fails to send is fetched, as browsers do, from the address
        that the certificate before it names. With it a chain is incomplete, V(B); without it, or where that fails, it
        is not known whether the certificate is trusted, and there is no RV(results[].grade).
      - This is plain HTTP to port 80 of a public address, without redirects, for three seconds and 64 kB at most. An
        address on a private network, or on the loopback, is only used for an endpoint that is on one as well, another
        port only at the endpoint's own address, and a link-local address never.
    type: bool
    default: true
  check_revocation:
    description:
      - Whether the authority of each certificate is asked if it has revoked it. It learns from that which machine asks,
        and by OCSP for which certificate.
      - A stapled OCSP response that counts is enough. Otherwise the CRL that the certificate names is fetched, which
        OpenSSL verifies, or where it names none that counts, its OCSP responder is asked, for which the Python package
        C(cryptography) is needed. Revoked is V(T).
      - What was not reached, is out of date, too long or not signed by the issuer is no pass, but the finding
        V(tls.certificate.revocation_unknown). No letter depends on that.
      - Only certificates that are trusted, for an endpoint with a name, are asked about. The addresses are those that
        O(fetch_issuers) permits, for five seconds and 16 MB at most.
    type: bool
    default: false
    version_added: 1.0.0
  mode:
    description:
      - With V(quick), only what no server should accept is offered, in a dozen connections. One refusal proves the
        absence of hundreds of suites; what is accepted after all is listed. The letter is that of V(full).
      - With V(full), every suite and group is listed, the preference found out, and renegotiation tried.
    type: str
    choices: [quick, full]
    default: full
  clients:
    description:
      - Whether it is found out what some 75 real clients get, from Android 2.3 to the browsers of 2026, by sending the
        hello of each, one connection a client; see RV(results[].clients).
      - By default V(true) in V(full) mode and V(false) in V(quick) mode.
      - Of endpoints that share a full look, see O(endpoints[].group), only the one that got it is queried.
      - No grade depends on it.
    type: bool
  http:
    description:
      - Whether to request the start page, to read HSTS from the response and to see where plain HTTP leads.
      - Without it, A is the best grade of an HTTPS endpoint.
    type: bool
    default: true
  timeout:
    description:
      - Seconds that one address of one endpoint may take altogether.
      - It is enforced from outside as well, with a fifth and half a second more, so that no server holds up the others.
    type: float
    default: 10
  concurrency:
    description:
      - How many addresses are inspected at a time.
      - Each gets eight connections at a time at most; endpoints that share an address take turns.
    type: int
    default: 32
seealso:
  - name: SSL Server Rating Guide
    description: The rules that the grade follows.
    link: https://github.com/ssllabs/research/wiki/SSL-Server-Rating-Guide
"""

EXAMPLES = r"""
- name: Grade the groupware's names from the controller
  kopano.hardening.tls_grade_info:
    endpoints:
      - host: mail.example.com
      - host: autodiscover.example.com
    ca_file: /etc/ssl/private-ca.pem
  delegate_to: localhost
  run_once: true
  register: grades

- name: Fail below A+
  ansible.builtin.assert:
    that: item.grade == 'A+'
    fail_msg: "{{ item.host }}: {{ item.error or (item.caps + item.warnings) | map(attribute='rule') | join(' ') }}"
  loop: "{{ grades.results }}"
  loop_control:
    label: "{{ item.host }} {{ item.address }}"

- name: One virtual host at one address, and the IMAP gateway
  kopano.hardening.tls_grade_info:
    endpoints:
      - host: mail.example.com
        addresses: [192.0.2.10]
      - host: mail.example.com
        port: 143
        starttls: imap
    mode: quick
"""

RETURN = r"""
results:
  description: One element for each address of each endpoint, in the order of O(endpoints).
  returned: success
  type: list
  elements: dict
  contains:
    host:
      description: As given.
      type: str
      sample: mail.example.com
    address:
      description: The address that was connected to; empty if the name did not resolve.
      type: str
      sample: 192.0.2.10
    port:
      description: As given.
      type: int
      sample: 443
    server_name:
      description: The name that was sent.
      type: str
      sample: mail.example.com
    starttls:
      description: As given.
      type: str
      sample: none
    grade:
      description:
        - V(A+), V(A), V(A-), V(B), V(C), V(D), V(E) or V(F); V(T) if the certificate is not trusted, V(M) if it is for
          other names.
        - V(null) with RV(results[].error), also where a letter would depend on RV(results[].unclear), or with
          RV(results[].trust_unknown).
        - Without a name, see RV(results[].named), it is RV(results[].grade_trust_ignored).
      type: str
      sample: A+
    grade_trust_ignored:
      description: The grade that a trusted certificate for this name would get.
      type: str
      sample: A+
    named:
      description:
        - Whether there is a name that a certificate could be for. An endpoint that is given by its address alone has
          none, so that trust and name do not count for its grade. What is wrong with them is in the finding
          V(tls.endpoint.nameless).
      type: bool
      sample: true
    trust_unknown:
      description: Why it could not be found out whether each certificate is trusted.
      type: str
      sample:
    ruleset:
      description: Version of the rating guide.
      type: str
      sample: 2009r
    score:
      description: The weighted score, 0 to 100.
      type: int
      sample: 93
    scores:
      description: The scores of the three categories, 0 to 100.
      type: dict
      sample:
        protocol: 100
        key_exchange: 90
        cipher: 90
    protocols:
      description: Accepted protocols, the oldest first.
      type: list
      elements: str
      sample: [TLSv1.2, TLSv1.3]
    ciphers:
      description:
        - Accepted suites for each protocol, by their IANA names.
        - In V(quick) mode, suites that are fine are not all listed.
      type: dict
      sample:
        TLSv1.2: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
        TLSv1.3: [TLS_AES_128_GCM_SHA256]
    ciphers_from:
      description:
        - The RV(results[].server_name) of the endpoint by which RV(results[].ciphers), RV(results[].cipher_order),
          RV(results[].groups) and what a renegotiation does were found out, see O(endpoints[].group).
        - V(null) where it was this one.
      type: str
      sample:
    cipher_order:
      description:
        - Whose preference decides, V(server) or V(client), for each protocol with a choice. Empty in V(quick) mode.
      type: dict
      sample:
        TLSv1.2: server
    groups:
      description: Accepted groups by their IANA names; in V(quick) mode those that showed.
      type: list
      elements: str
      sample: [X25519MLKEM768, x25519, secp256r1]
    post_quantum:
      description: Whether a post-quantum group is among them.
      type: bool
      sample: true
    certificate:
      description: What the server shows first; empty if it shows none.
      type: dict
      contains:
        subject:
          description: Distinguished name.
          type: str
          sample: CN=mail.example.com
        issuer:
          description: Distinguished name.
          type: str
          sample: C=US, O=Let's Encrypt, CN=E7
        serial:
          description: Serial number, hexadecimal.
          type: str
          sample: 04d2
        names:
          description: DNS names and addresses, the first 100 of them; see RV(results[].cut).
          type: list
          elements: str
          sample: [mail.example.com]
        name_match:
          description: Whether RV(results[].server_name) is among them.
          type: bool
          sample: true
        not_before:
          description: Begin of validity.
          type: str
          sample: "2026-10-01T00:00:00Z"
        not_after:
          description: End of validity.
          type: str
          sample: "2026-12-30T23:59:59Z"
        key:
          description: Type, size and curve of the public key.
          type: dict
          sample:
            type: EC
            bits: 256
            curve: secp256r1
        signature:
          description: Algorithm of the issuer's signature.
          type: str
          sample: ecdsa-with-SHA384
        sha256:
          description: Fingerprint of the certificate.
          type: str
          sample: 2f5c0c36d6a6e8e5a9e33b8f1fd3ce2fd1f13bd30a7e7a3a7d0a1d4d7e2ad1c9
        key_sha256:
          description: Fingerprint of the public key with its algorithm.
          type: str
          sample: 8b1ad2a2a5f0ed1f2d8c4a43ec1e8a1f6d4f5d7e49cd22a0ce9b3a5d7ff0b1de
        authority_key_id:
          description: Identifier of the issuer's key, hexadecimal.
          type: str
          sample: ae489edc871d44a06fdaa2e560740478c29c0080
        ocsp_urls:
          description: Where its status can be queried.
          type: list
          elements: str
          sample: []
        must_staple:
          description: Whether it demands a stapled OCSP response.
          type: bool
          sample: false
        ocsp_status:
          description:
            - V(good), V(revoked) or V(unknown) by a stapled response that the issuer or its delegate has signed for
              this certificate and for now; V(null) without a response.
            - V(invalid) if it does not count, V(error) if the responder refuses one, V(not_tested) if it could not be
              verified, for which the Python package C(cryptography) is needed.
          type: str
          sample: good
        ocsp_error:
          description: Why the stapled response does not count.
          type: str
          sample:
        crl_urls:
          description: Where the authority publishes a list of what it has revoked.
          type: list
          elements: str
          sample: [http://e7.c.lencr.org/12.crl]
          version_added: 1.0.0
        revocation_status:
          description: V(good) or V(revoked); V(null) where it is not known, or O(check_revocation) is off.
          type: str
          sample: good
          version_added: 1.0.0
        revocation_source:
          description: What showed it.
          type: str
          sample: the CRL at http://e7.c.lencr.org/12.crl
          version_added: 1.0.0
        revocation_error:
          description: Why it is not known.
          type: str
          sample:
          version_added: 1.0.0
        chain:
          description: Every certificate as it was sent.
          type: list
          elements: dict
          sample:
            - subject: CN=mail.example.com
              issuer: C=US, O=Let's Encrypt, CN=E7
              not_after: "2026-12-30T23:59:59Z"
              sha256: 2f5c0c36d6a6e8e5a9e33b8f1fd3ce2fd1f13bd30a7e7a3a7d0a1d4d7e2ad1c9
        chain_ordered:
          description: Whether each was issued by the next, and none is left over.
          type: bool
          sample: true
        trusted:
          description:
            - Whether the chain leads to an authority of the system or of O(ca_file); V(null) if that is not known.
          type: bool
          sample: true
        trust_error:
          description: OpenSSL's message if it does not.
          type: str
          sample:
        others:
          description:
            - Further certificates and chains that other clients get (RSA beside ECDSA, TLS 1.2 beside TLS 1.3), with
              the keys above. Each counts for the grade.
          type: list
          elements: dict
          sample: []
    features:
      description: What else was seen; V(null) for what was not found out.
      type: dict
      sample:
        alpn: h2
        client_renegotiation: false
        compression: false
        dh_bits:
        extended_master_secret: true
        heartbeat: false
        ocsp_stapled: false
        secure_renegotiation: true
        session_tickets: true
    hsts:
      description:
        - C(status) is V(present), V(absent), V(disabled), V(invalid), V(error), V(not_tested) or
          V(not_applicable); V(reason) is why it is invalid or could not be read.
      type: dict
      sample:
        status: present
        max_age: 31536000
        include_subdomains: false
        preload: false
        headers: [max-age=31536000]
        reason:
    redirect:
      description:
        - Where plain HTTP leads. C(status) is V(https), V(https_elsewhere) (another host),
          V(http), V(none) (content is served), V(closed), V(error) or V(not_tested).
      type: dict
      sample:
        status: https
        code: 301
        location: https://mail.example.com/
    clear_login:
      description:
        - How clients can log in to a mail server before TLS, as the server lists it, such as V(LOGIN) and V(AUTH=PLAIN)
          of IMAP, V(USER) of POP3 and V(AUTH PLAIN) of SMTP. Empty where TLS is required, and no part of the grade.
        - V(null) with O(endpoints[].starttls=none), and where it is not known. Dovecot and kopano-gateway permit to
          clients on their own host what they refuse to others, so it is not known there what they permit.
      type: list
      elements: str
      sample:
      version_added: 1.0.0
    caps:
      description: Rules that keep the grade at B or below, and those that make it T or M.
      type: list
      elements: dict
      sample:
        - id: tls.protocol.tls10
          grade: B
          revision: 2009q
          rule: TLS 1.0 must not be offered.
          evidence: TLSv1.0
    warnings:
      description: Rules that keep the grade at A or A-.
      type: list
      elements: dict
      sample:
        - id: tls.hsts.absent
          grade: A
          revision: 2009e
          rule: A+ needs HSTS.
          evidence: no Strict-Transport-Security in the response
    not_tested:
      description: Rules and attacks whose result is not known.
      type: list
      elements: dict
      sample:
        - id: tls.certificate.revoked
          reason: no OCSP response is stapled, and no responder was queried
    clients:
      description:
        - What real clients get, the protocol, the suite and the group that are negotiated, and whether the client takes
          that. Empty without O(clients) and with RV(results[].error).
        - Trust in the certificate is no part of it, and no client connects again with an older protocol.
      type: list
      elements: dict
      contains:
        id:
          description: Identifier of the client.
          type: str
          sample: ie-11-win-7
        name:
          description: Name of the client, as SSL Labs has it.
          type: str
          sample: IE
        version:
          description: Its version.
          type: str
          sample: "11"
        platform:
          description: What it runs on, where that is a part of its name.
          type: str
          sample: Win 7
        ok:
          description:
            - Whether it gets a connection that it takes; V(null) where the result was lost or there was none in time.
          type: bool
          sample: true
        protocol:
          description: The protocol, also of a connection that the client does not take.
          type: str
          sample: TLSv1.2
        suite:
          description: The suite by its IANA name.
          type: str
          sample: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        group:
          description: The group by its IANA name; V(null) without an elliptic curve or a group of TLS 1.3.
          type: str
          sample: secp256r1
        certificate:
          description:
            - Kind of the key, such as V(rsa) or V(ecdsa). TLS 1.3 hides which one is shown, so it is V(null) there for
              an endpoint with several kinds that the client takes.
          type: str
          sample: rsa
        reason:
          description: Why RV(results[].clients[].ok) is not true.
          type: str
          sample:
    unclear:
      description:
        - Queries whose results were lost, time and again, and on which the letter depends. Then there is none.
        - A connection that is closed, reset or cut, an alert that reports a fault, and silence are no refusals.
      type: list
      elements: dict
      sample:
        - query: TLSv1.1
          result: connection closed
    cut:
      description: What was too long for this result, and how long it is.
      type: list
      elements: str
      sample: ["certificate.names: the first 100 of 1500"]
    connections:
      description: How many connections it took.
      type: int
      sample: 41
    duration_ms:
      description: How long it took, in milliseconds.
      type: int
      sample: 24
    error:
      description: Why there is no grade.
      type: str
      sample:
    findings:
      description: What a report has about this endpoint.
      type: list
      elements: dict
      sample:
        - id: tls.hsts.absent
          step: 3
          severity: fail
          subject: mail.example.com:443 (192.0.2.10)
          message: There is no HSTS header.
          evidence: no Strict-Transport-Security in the response
          fix: Send Strict-Transport-Security with max-age=31536000 once on every response.
findings:
  description: The findings of all results.
  returned: success
  type: list
  elements: dict
  sample: []
"""

import os
import tempfile
import typing as t

from ansible_collections.kopano.hardening.plugins.module_utils._common.findings import Finding
from ansible_collections.kopano.hardening.plugins.module_utils._common.module import AnsibleModule
from ansible_collections.kopano.hardening.plugins.module_utils._tls import grade as _grade
from ansible_collections.kopano.hardening.plugins.module_utils._tls import prober as _prober

if t.TYPE_CHECKING:  # Python has it since 3.8 only.

    class Answer(t.TypedDict):  # novm
        """What the module returns: the result of each address of each endpoint, and the findings of all of them."""

        results: list[_grade.Result]
        findings: list[Finding]

else:
    Answer = t.Dict[str, t.Any]

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "endpoints": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "server_name": {"type": "str"},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "starttls": {"type": "str", "choices": ["none", "imap", "pop3", "smtp"], "default": "none"},
            "server_groups": {"type": "list", "elements": "str", "default": []},
            "group": {"type": "str"},
        },
    },
    "ca_file": {"type": "path"},
    "ca_content": {"type": "str"},
    "fetch_issuers": {"type": "bool", "default": True},
    "check_revocation": {"type": "bool", "default": False},
    "mode": {"type": "str", "choices": ["quick", "full"], "default": "full"},
    "clients": {"type": "bool"},
    "http": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 10},
    "concurrency": {"type": "int", "default": 32},
}


# Endpoints that take about as long as it takes to begin another process with everything that comes with it.
WORTH_A_PROCESS = 25


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trust(params: dict[str, t.Any]) -> _prober.Trust:
    """The authorities that count; raises ValueError for those that cannot be read."""
    asking = (params["fetch_issuers"], params.get("check_revocation", False))
    try:
        if params.get("ca_content") is None:
            return _prober.Trust(params["ca_file"], *asking)
        # The TLS library reads them from a file.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as stream:
            stream.write(params["ca_content"])
            stream.flush()
            return _prober.Trust(stream.name, *asking)
    except OSError as error:
        name = "ca_content" if params.get("ca_content") is not None else "ca_file {}".format(params["ca_file"])
        raise ValueError(f"{name}: {error}") from error


def run(params: dict[str, t.Any]) -> Answer:
    """The module's result; raises ValueError for options that have no meaning."""
    for endpoint in params["endpoints"]:
        if not 0 < endpoint["port"] < 65536:
            raise ValueError("{} is not a port".format(endpoint["port"]))
    for name in ("timeout", "concurrency"):
        if params[name] <= 0:
            raise ValueError(f"{name} must be greater than 0")
    trust = _trust(params)
    results: list[_grade.Result] = _prober.probe_all(
        params["endpoints"],
        params["mode"],
        params["timeout"],
        trust=trust,
        http=params["http"],
        concurrency=params["concurrency"],
        clients=params["mode"] == "full" if params.get("clients") is None else params["clients"],
        processes=max(1, min(_processors(), len(params["endpoints"]) // WORTH_A_PROCESS)),
        judge=lambda observation: _grade.grade(observation, groups=observation["server_groups"]),
    )
    return {"results": results, "findings": [finding for result in results for finding in result["findings"]]}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
