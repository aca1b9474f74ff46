"""
The Certificates port over cryptography: one small CA per database, one server certificate per instance.

Time comes in as an argument. Keys come from the operating system: nobody may be able to play them back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reconcilers.errors import Refused
from reconcilers.ports import Secret

CA_DAYS = 3650
SERVER_DAYS = 825
"""Longer than any sensible rotation; some TLS stacks distrust server certificates that live longer."""
BACKDATED_S = 3600
"""Hosts whose clocks lag by less than this accept a new certificate at once."""

_COMMON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
_ALWAYS = ("localhost", "127.0.0.1")


class DatabaseCertificates:
    """Implements `reconcilers.ports.Certificates`."""

    def issue_ca(self, common_name: str, now_s: float) -> Secret:
        return issue_ca(common_name, now_s)

    def issue_server(self, ca: Secret, instance: str, names: Sequence[str], now_s: float) -> Secret:
        return issue_server(ca, instance, names, now_s)

    def renew_at_s(self, bundle: Secret) -> float:
        return renew_at_s(bundle)


def issue_ca(common_name: str, now_s: float) -> Secret:
    """
    Make a CA that may sign end certificates and no further CA.

    Raises: Refused for a name that does not fit into a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name)
    builder = _builder(subject, subject, key.public_key(), now_s, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return _bundle(key, builder.sign(key, hashes.SHA256()))


def issue_server(ca: Secret, instance: str, names: Sequence[str], now_s: float) -> Secret:
    """
    Make a server certificate for `instance`, `names` (DNS names or IP addresses), localhost and 127.0.0.1.

    Raises: Refused when `ca` is not a bundle of a key and its certificate, or a name does not fit.
    """
    ca_key, ca_certificate = _open(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(instance), ca_certificate.subject, key.public_key(), now_s, SERVER_DAYS)
    alternatives = [_alternative(name) for name in dict.fromkeys((instance, *names, *_ALWAYS))]
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return _bundle(key, builder.sign(ca_key, hashes.SHA256()))


def expires_s(bundle: Secret) -> float:
    """Seconds since 1970 at which the bundle's certificate ends. Raises: Refused when it is no bundle."""
    return _open(bundle)[1].not_valid_after_utc.timestamp()


def renew_at_s(bundle: Secret) -> float:
    """Seconds since 1970 at which two thirds of the certificate's life are over. Raises: Refused."""
    certificate = _open(bundle)[1]
    begins_s, ends_s = (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )
    return begins_s + (ends_s - begins_s) * 2 / 3


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, days: int
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_s, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED_S))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    if _COMMON_NAME.fullmatch(common_name) is None:
        raise Refused("certificates", f"{common_name[:80]!a} is no common name")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if _DNS_NAME.fullmatch(name) is None:
            raise Refused("certificates", f"{name[:80]!a} is no host name") from None
        return x509.DNSName(name)


def _bundle(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Secret:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret((private + certificate.public_bytes(serialization.Encoding.PEM)).decode())


def _open(bundle: Secret) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    text = bundle.reveal().encode()
    try:
        key = serialization.load_pem_private_key(text, password=None)
        certificate = x509.load_pem_x509_certificate(text)
    except (ValueError, TypeError) as exc:
        raise Refused("certificates", "this is no bundle of a key and its certificate") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Refused("certificates", "key and certificate do not belong together")
    return key, certificate
