"""What a database's certificates say, and what is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from controlplane.clients.certificates import (
    CA_DAYS,
    SERVER_DAYS,
    DatabaseCertificates,
    expires_s,
    issue_ca,
    issue_server,
)
from reconcilers.errors import Refused
from reconcilers.ports import Certificates, Secret
from reconcilers.resources import pem

NOW_S = 1_800_000_000.0
DAY_S = 86_400
CA = issue_ca("orders", NOW_S)


def certificate(bundle: Secret) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.certificates(bundle).encode())


def test_the_ca_signs_certificates_and_no_other_ca() -> None:
    ca = certificate(CA)
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value

    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    assert expires_s(CA) == NOW_S + CA_DAYS * DAY_S


def test_a_server_certificate_names_its_instance_and_the_host_itself() -> None:
    bundle = issue_server(CA, "orders-n1-abc234", ("orders-n1", "10.0.0.7"), NOW_S)
    server = certificate(bundle)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["orders-n1-abc234", "orders-n1", "localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "127.0.0.1"]
    assert expires_s(bundle) == NOW_S + SERVER_DAYS * DAY_S
    server.verify_directly_issued_by(certificate(CA))
    assert server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_no_two_databases_have_one_ca() -> None:
    other = issue_ca("orders", NOW_S)

    assert other != CA
    server = certificate(issue_server(other, "orders-n1-abc234", (), NOW_S))
    with pytest.raises(InvalidSignature):
        server.verify_directly_issued_by(certificate(CA))


def test_a_bundle_does_not_show_its_key() -> None:
    assert "PRIVATE KEY" in CA.reveal()
    assert "PRIVATE" not in pem.certificates(CA)
    assert "BEGIN" not in repr(CA)


@pytest.mark.parametrize("name", ["", "a\0b", "a" * 65, "*.orders", "a\nb", "-a", "ORDERS", "../x"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        issue_server(CA, "orders-n1-abc234", (name,), NOW_S)


@pytest.mark.parametrize("name", ["", "a\0b", "a" * 65, "a,O=x", "a\nb"])
def test_odd_common_names_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        issue_ca(name, NOW_S)


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(Secret(""), id="nothing"),
        pytest.param(Secret(pem.certificates(CA)), id="no key"),
        pytest.param(Secret(CA.reveal().split("-----BEGIN CERT")[0]), id="no certificate"),
        pytest.param(
            Secret(CA.reveal().split("-----BEGIN CERT")[0] + pem.certificates(issue_ca("x", NOW_S))),
            id="another's key",
        ),
    ],
)
def test_what_is_no_bundle_is_refused(bundle: Secret) -> None:
    with pytest.raises(Refused):
        issue_server(bundle, "orders-n1-abc234", (), NOW_S)


def test_the_port_is_implemented() -> None:
    certificates: Certificates = DatabaseCertificates()
    ca = certificates.issue_ca("orders", NOW_S)

    assert "orders-n1-abc234" in str(
        certificate(certificates.issue_server(ca, "orders-n1-abc234", (), NOW_S)).subject
    )
