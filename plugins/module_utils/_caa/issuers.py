# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From a certificate to the CA that issued it, and from the CA to the names by which CAA records call it.

The data are facts gathered from two places:

* `domains`: which CAA identifiers a CA recognises, as the CAs declare in the Common CA Database, report
  AllCAAIdentifiersReportCSVV2 (https://www.ccadb.org/resources, licence CDLA-Permissive-2.0).
* `keys` and `organizations`: subject key identifier and organisation (O) of root certificates in Mozilla's root
  program, read from Debian's package ca-certificates 20250419 (certdata.txt, Mozilla Contributors, MPL-2.0).
  Organisations that sign with an intermediate only are added by name: "Let's Encrypt" and "ISRG" after
  https://letsencrypt.org/certificates/, the others after the name that the CA has in the report.

A CA that is missing here can be added with the module's option `issuers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

DATE = "2026-11-24"
"""When the data below were gathered."""

PUBLIC = "public"
UNKNOWN = "unknown"
PRIVATE = "private"


class Issuer(NamedTuple):
    """A public CA. `domains` are its CAA identifiers, the preferred one first; `keys` the key identifiers of its roots
    in lower-case hex. `literal` marks a CA that compares its name in CAA records letter by letter."""

    name: str
    domains: tuple[str, ...]
    organizations: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    literal: bool = False


class Identity(NamedTuple):
    """Whose certificate it is: `kind` is a public CA with CAA identifiers, one without (unknown), or a private CA."""

    kind: str
    name: str
    domains: tuple[str, ...] = ()


ISSUERS: tuple[Issuer, ...] = (
    Issuer(
        "Let's Encrypt",
        domains=("letsencrypt.org",),
        organizations=("Let's Encrypt", "Internet Security Research Group", "ISRG"),
        keys=("79b459e67bb6e5e40173800888c81a58f6e99b6e", "7c4296aede4b483bfa92f89e8ccf6d8ba9723795"),
        literal=True,
    ),
    Issuer(
        "Sectigo",
        domains=(
            "sectigo.com",
            "comodo.com",
            "comodoca.com",
            "usertrust.com",
            "trust-provider.com",
            "entrust.net",
            "affirmtrust.com",
        ),
        organizations=("Sectigo Limited", "ZeroSSL", "COMODO CA Limited", "The USERTRUST Network"),
        keys=(
            "d122da4c59f14b5f2638aa9dd6eeeb0dc3fba961",
            "5673586495f9921ab0122a046279a14015882149",
            "0b58e58bc64c1537a440a930a921be47365a56ff",
            "7571a7194819bc9d9dea4147df94c4487799d379",
            "bbaf7e023dfaa6f13c848eadee3898ecd93232d4",
            "3ae10986d4cf19c29676744976dce035c663639a",
            "5379bf5aaa2b4acf5480e1d89bc09df2b20366cb",
        ),
    ),
    Issuer(
        "Amazon",
        domains=("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com", "aws.amazon.com"),
        organizations=("Amazon",),
        keys=(
            "8418cc8534ecbc0c94942e08599cc7b2104e0a08",
            "b00cf04c30f405580248fd33e552af4b84e36652",
            "abb6dbd7069e37ac3086079170c79cc419b178c0",
            "d3ecc73a656ecce1da769a56fb9cf3866d57e581",
        ),
    ),
    Issuer(
        "DigiCert",
        domains=(
            "digicert.com",
            "www.digicert.com",
            "thawte.com",
            "geotrust.com",
            "rapidssl.com",
            "symantec.com",
            "digicert.ne.jp",
            "cybertrust.ne.jp",
            "quovadisglobal.com",
            "amazon.com",
            "amazontrust.com",
            "awstrust.com",
            "amazonaws.com",
            "aws.amazon.com",
        ),
        organizations=("DigiCert Inc", "DigiCert, Inc."),
        keys=(
            "45eba2aff492cb82312d518ba7a7219df36dc80f",
            "cec34ab99955f2b8db60bfa97ebd56b59736a7d6",
            "cbd0bda9e1980551a14d37a28379ce8d1d2ae484",
            "03de503556d14cbb66f0a3e21b1bc397b23dd155",
            "4e2254201895e6e36ee60ffafab912ed06178f39",
            "b3db48a4f9a1c5d8ae3641cc1163696229bc4bc6",
            "b13ec36903f8bf4701d498261a0802ef63642bc3",
            "ecd7e382d2715d644cdf2e673fe7ba98ae1c0f4f",
            "c151455059ab3ee72c5afa2022120780887c116a",
            "51331ced3640af17d325cd6968f2af4e233eb341",
        ),
    ),
    Issuer(
        "Google Trust Services",
        domains=("pki.goog",),
        organizations=("Google Trust Services LLC",),
        keys=(
            "e4af2b26711a2b4827852f52662ceff08913713e",
            "bbffca8e239f4f99cadbe268a6a51527171ed90e",
            "c1f126baa02dae8581cfd3f12a12bdb80a67fdbc",
            "804cd6eb74ff4936a3d5d8fcb53ec56af0941d8c",
        ),
    ),
    Issuer(
        "GlobalSign",
        domains=("globalsign.com",),
        organizations=("GlobalSign", "GlobalSign nv-sa"),
        keys=(
            "54b07bad45b8e2407ffb0a6efbbe33c93ca384d5",
            "3de629489bea07ca21444a26de6eded283d09f59",
            "8ff04b7fa82e4524ae4d50fa639a8bdee2dd1bbc",
            "ae6c05a39313e2a2e7e2d71cd6c7f07fc86753a0",
            "607b661a450d97ca89502f7d04cd34a8fffcfd4b",
            "310a908fb6c69dd2444b80b5a2e61fb1124f1b95",
            "035cab738187a8ccb0a6d594e2369649ff05992c",
        ),
    ),
    Issuer(
        "GoDaddy",
        domains=("godaddy.com", "starfieldtech.com"),
        organizations=("GoDaddy.com, Inc.", "The Go Daddy Group, Inc.", "Starfield Technologies, Inc."),
        keys=(
            "3a9a8507106728b6eff6bd05416e20c194da0fde",
            "d2c4b0d291d44c1171b361cb3da1fedda86ad4e3",
            "bf5fb7d1cedd1f86f45b55acdcd710c20ea988e7",
            "7c0c321fa7d9307fc47d68a362a8a1ceab075b27",
            "9c5f00dfaa01d7302b3888a2b86d4a9cf2119183",
        ),
    ),
    Issuer(
        "SSL.com",
        domains=("ssl.com",),
        organizations=("SSL Corporation", "SSL.com"),
        keys=(
            "5bca5ee5ded281aacda82d6451b6d9729b97e64f",
            "f960bbd4e3d534f6b8f5068025a773db4669a89e",
            "82d1857330e73504d38e0292fbe5a4d1c421e8cd",
            "dd040907a2f57a7d5253129295ee3880250da659",
            "898f2fa3e82ba014547bf356b8265f67380b9cd0",
            "fb2e37eee3847a272ecd1935b1337cffd44442b9",
        ),
    ),
    Issuer(
        "Actalis",
        domains=("actalis.it",),
        organizations=("Actalis S.p.A./03358520967", "Actalis S.p.A."),
        keys=("52d8883ac89f7866ed89f37b387094c9020236d0",),
    ),
    Issuer(
        "Certum",
        domains=("certum.pl", "certum.eu"),
        organizations=("Asseco Data Systems S.A.", "Unizeto Technologies S.A."),
        keys=(
            "8d06667424763af389f7bcd6bd477d2fbc105f4b",
            "8cfb1c75bc02d39f4e2e48d9f96054aac4b34ffa",
            "0876cdcb07ff24f6c5cdedbb90bce284374675f7",
            "b6a1543902c3a03f8e8abcfad4f81ca6d13a0efd",
        ),
    ),
    Issuer(
        "D-Trust",
        domains=("d-trust.net", "d-trust.de", "dtrust.de"),
        organizations=("D-Trust GmbH",),
        keys=(
            "739110abff55b35a7c0925d5b2ba08a06bab1f6d",
            "6790f0d6deb518d546297e5cabf89e08bc649510",
            "7f100116373aa428e450f8a4f7ec6b32b6fee98b",
            "aafc91101b87915f16b9bf4f4b915e001cb13280",
            "fdda14c49f30de21bd1e4239fcab632349e0f184",
            "d3948a4c62132a192eccaf728a7d36d79a1cdc67",
        ),
    ),
    Issuer(
        "Telekom Security",
        domains=("telesec.de", "pki.dfn.de", "dfn.de"),
        organizations=("Deutsche Telekom Security GmbH", "T-Systems Enterprise Services GmbH"),
        keys=(
            "e372cc6e959947b1e6b3614cd1cbabe3bacdde9f",
            "b6a797823d74859bf73c9f939a957975528c6d47",
            "bf5920360079a0a0226b8cd5f261d2b82ccb824a",
            "b503f7763b61826a12aa1853eb032194bffececa",
        ),
    ),
    Issuer(
        "SwissSign",
        domains=("swisssign.com",),
        organizations=("SwissSign AG",),
        keys=("5b257b96a465517eb839f3c078665ee83ae7f0ee",),
    ),
    Issuer(
        "HARICA",
        domains=("harica.gr",),
        organizations=(
            "Hellenic Academic and Research Institutions CA",
            "Hellenic Academic and Research Institutions Cert. Authority",
            "HARICA",
        ),
        keys=(
            "c91b538112fe04d516d1aabc9a6fb7a095196eca",
            "0a4823a660a4920a33ea935bc557ea254dbd12ee",
            "b4220b829924010e9cbbe40efdbffb972093992a",
            "711567c8c8c9bd755d72d038186a9df37124540b",
        ),
    ),
    Issuer(
        "Buypass",
        domains=("buypass.com", "buypass.no"),
        organizations=("Buypass AS-983163327", "Buypass AS"),
        keys=("c98077e0629282f5469cf3baf74cc3deb8a3ad39", "47b8cdffe56feef8b2ec2f4e0ef925b08e3c6bc3"),
    ),
    Issuer(
        "IdenTrust",
        domains=("identrust.com",),
        organizations=("IdenTrust",),
        keys=("ed4419c0d3f0068beea47bbe42e72654c88e3676", "e371e09ed8a742d9db71916b9493ebc3a3d114a3"),
    ),
    Issuer(
        "Microsoft",
        domains=("microsoft.com",),
        organizations=("Microsoft Corporation",),
        keys=("c8cb997270520cf8e6beb20457292acf4210ed35", "09cb597f86b2708f1ac339e3c0d9e9bfbb4db223"),
    ),
)

OTHERS: tuple[str, ...] = (
    "ACCV",
    "AffirmTrust",
    "Agence Nationale de Certification Electronique",
    "ANF Autoridad de Certificacion",
    "Atos",
    "Baltimore",
    "BEIJING CERTIFICATE AUTHORITY",
    "Certainly",
    "certSIGN",
    "CERTSIGN SA",
    "China Financial Certification Authority",
    "Chunghwa Telecom Co., Ltd.",
    "CommScope",
    "Cybertrust Japan Co., Ltd.",
    "Dhimyotis",
    "Disig a.s.",
    "e-commerce monitoring GmbH",
    "Entrust, Inc.",
    "Entrust.net",
    "Firmaprofesional SA",
    "FNMT-RCM",
    "GUANG DONG CERTIFICATE AUTHORITY CO.,LTD.",
    "Hongkong Post",
    "iTrusChina Co.,Ltd.",
    "IZENPE S.A.",
    "Krajowa Izba Rozliczeniowa S.A.",
    "Microsec Ltd.",
    "NAVER BUSINESS PLATFORM Corp.",
    "NetLock Kft.",
    "QuoVadis Limited",
    "SECOM Trust Systems CO.,LTD.",
    "SecureTrust Corporation",
    "TAIWAN-CA",
    "Telia Finland Oyj",
    "TeliaSonera",
    "TrustAsia Technologies, Inc.",
    "Trustwave Holdings, Inc.",
    "Turkiye Bilimsel ve Teknolojik Arastirma Kurumu - TUBITAK",
    "UniTrust",
    "WISeKey",
    "XRamp Security Services Inc",
)
"""Organisations of other roots in the same program: public CAs whose identifiers are not known here."""

_LEGAL_FORMS = ("inc", "llc", "ltd", "limited", "gmbh", "ag")
# Certificate policies that only publicly trusted certificates carry (CA/Browser Forum, baseline and EV requirements).
_PUBLIC_POLICIES = re.compile(r"2\.23\.140\.1\.(1|2\.[123])")
_KEY_ID = re.compile(r"[0-9a-f]{2}(:?[0-9a-f]{2}){7,}", re.IGNORECASE)


def _plain(name: str) -> str:
    """A name without the differences that do not matter: case, punctuation, legal form."""
    parts = re.findall(r"\w+", name.casefold())
    while len(parts) > 1 and parts[-1] in _LEGAL_FORMS:
        parts.pop()
    return " ".join(parts)


def _key(text: str) -> str:
    """How an override or a certificate's issuer is looked up: by key identifier or by plain name."""
    return text.replace(":", "").lower() if _KEY_ID.fullmatch(text) else _plain(text)


def find(domain: str, overrides: Mapping[str, Sequence[str]]) -> Issuer:
    """The CA that accepts that CAA identifier, with all others that it has; a CA of that one if none is known."""
    domain = domain.lower()
    for name, domains in overrides.items():
        if domain in (other.lower() for other in domains):
            return Issuer(name, tuple(other.lower() for other in domains), literal=_literal(domains))
    known = [issuer for issuer in ISSUERS if domain in issuer.domains]
    # Some CAs accept each other's identifiers; the one that prefers it is meant.
    return min(known, key=lambda issuer: issuer.domains.index(domain), default=Issuer(domain, (domain,)))


def _literal(domains: Sequence[str]) -> bool:
    return any(issuer.literal and set(issuer.domains) & {domain.lower() for domain in domains} for issuer in ISSUERS)


def identify(pem: str, overrides: Mapping[str, Sequence[str]]) -> Identity:
    """The CA that issued the first certificate of a PEM text; further ones are taken for its chain.

    Each certificate is looked up by its issuer's key identifier, then by the issuer's organisation and common name.
    `overrides` maps such a key identifier or name to CAA identifiers and goes first; no identifiers mean a private CA.
    Raises ValueError when the text has no readable certificate.
    """
    table: dict[str, tuple[str, tuple[str, ...]]] = {}
    for issuer in ISSUERS:
        table.update({_key(name): (issuer.name, issuer.domains) for name in issuer.organizations + issuer.keys})
    others = {_plain(name) for name in OTHERS}
    own = {_key(name): (name, tuple(domain.lower() for domain in domains)) for name, domains in overrides.items()}

    chain = list(_issuers(pem))
    for _shown, names, _public in chain:
        for name in names:
            if name in own:
                shown, domains = own[name]
                return Identity(PUBLIC if domains else PRIVATE, shown, domains)
        for name in names:
            if name in table:
                return Identity(PUBLIC, *table[name])
    public = chain[0][2] or any(name in others for _shown, names, _public in chain for name in names)
    return Identity(UNKNOWN if public else PRIVATE, chain[0][0])


def _issuers(pem: str) -> Iterator[tuple[str, list[str], bool]]:
    """For each certificate: its issuer's name to show, the names to look up, and whether it looks publicly trusted."""
    # Imported late: most calls judge no certificate, and a controller always has it (ansible-core depends on it).
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificates = x509.load_pem_x509_certificates(pem.encode("utf-8", "replace"))
        for certificate in certificates:
            names: list[str] = []
            public = False
            for extension in certificate.extensions:
                value = extension.value
                if isinstance(value, x509.AuthorityKeyIdentifier) and value.key_identifier:
                    names.append(value.key_identifier.hex())
                elif isinstance(value, x509.PrecertificateSignedCertificateTimestamps):
                    public = True
                elif isinstance(value, x509.CertificatePolicies):
                    public |= any(
                        _PUBLIC_POLICIES.fullmatch(policy.policy_identifier.dotted_string) for policy in value
                    )
            shown = [
                str(attribute.value)
                for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
                for attribute in certificate.issuer.get_attributes_for_oid(kind)
            ]
            yield ", ".join(shown) or "an issuer without a name", names + [_plain(name) for name in shown], public
    except ValueError:
        raise
    except Exception as error:  # pylint: disable=broad-except
        # cryptography has several further exceptions for strange extensions; all mean the same here.
        raise ValueError(str(error)) from error
