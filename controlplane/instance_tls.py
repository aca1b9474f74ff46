"""
What instances get to speak TLS with etcd: from settings to PEM texts, checked before anything is given to anybody.

Patroni logs in by password, as its instance's own user; the certificate only opens the connection. It must not say
more than that: etcd takes a common name for a user when no password is given, so whoever held a certificate named
after a user would be that user. And while authentication is on, etcd's JSON door, the one that Patroni goes through,
turns away every certificate that has a common name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from controlplane.config import Config, ConfigError, ConfigProblem
from controlplane.tls_files import read_pem
from reconcilers.ports import Secret
from reconcilers.resources import pem


@dataclass(frozen=True, slots=True)
class InstanceTls:
    """Texts that are the same on every host if the files are, however the files are laid out."""

    ca: str = ""
    """Certificates of the authorities that etcd is checked against; "" for the image's own roots, or no TLS."""
    client: Secret | None = None
    """Certificates and key in one PEM; None: etcd is shown none."""


def instance_tls(config: Config, *, etcd_auth: bool) -> InstanceTls:
    """
    Read the files that instances are given; none where they reach etcd in clear text.

    Args:
        etcd_auth: etcd asks for user and password.

    Raises:
        ConfigError: a file cannot be read, is not what it should be, or is a certificate that etcd would not take.
    """
    if not config.instance_etcd_secure():
        return InstanceTls()
    cert, key = config.instance_etcd_identity()
    ca = _authorities(config.etcd_ca) if config.etcd_ca is not None else ""
    if cert is None or key is None:
        return InstanceTls(ca)
    return InstanceTls(ca, _client(cert, key, etcd_auth=etcd_auth))


def _authorities(file: Path) -> str:
    # Only the certificates: every container sees this text, and a bundle may have a key in it.
    found = pem.certificates(Secret(read_pem(file).decode(errors="replace")))
    if not found:
        raise _refused(file, "holds no certificate", "give the authority's certificate as PEM")
    return found


def _client(cert: Path, key: Path, *, etcd_auth: bool) -> Secret:
    try:
        chain = x509.load_pem_x509_certificates(read_pem(cert))
    except ValueError as exc:
        raise _refused(cert, "holds no certificate", "give the client certificate as PEM") from exc
    try:
        private = serialization.load_pem_private_key(read_pem(key), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        message = "holds no key that can be used without a password"
        raise _refused(key, message, "give the certificate's key as PEM, not encrypted") from exc
    leaf = chain[0]
    if leaf.public_key() != private.public_key():
        raise _refused(key, f"is not the key of {cert}", "give the two files that belong together")
    named = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if etcd_auth and named:
        message = (
            f"has the common name {str(named[0].value)[:64]!a}: etcd with users takes no such certificate from "
            "Patroni, and without a password it makes whoever holds it the user of that name"
        )
        fix = "give instances one without a common name, as instanceEtcdCert and instanceEtcdKey"
        raise _refused(cert, message, fix)
    text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    text += private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(text.decode())


def _refused(file: Path, message: str, fix: str) -> ConfigError:
    return ConfigError((ConfigProblem(f"TLS file {file}", message, fix),))
