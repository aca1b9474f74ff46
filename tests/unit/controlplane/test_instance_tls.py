"""What of etcd's TLS files reaches an instance, and which files are refused before any instance sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controlplane.config import Config, ConfigError, load
from controlplane.instance_tls import InstanceTls, instance_tls
from reconcilers.resources import pem


@dataclass(frozen=True)
class Files:
    """An authority, and two clients of it: pgswarm by its name, the instances without one."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def cert(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}-key.pem"

    def config(self, **changes: object) -> Config:
        given = {
            "etcd_endpoints": "https://10.0.0.1:2379",
            "etcd_ca": self.ca,
            "etcd_cert": self.cert("pgswarm"),
            "etcd_key": self.key("pgswarm"),
            "instance_etcd_cert": self.cert("instances"),
            "instance_etcd_key": self.key("instances"),
        } | changes
        return load(None, {}, {name: str(text) for name, text in given.items() if text is not None})


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made, authority = Files(tmp_path), trustme.CA()
    authority.cert_pem.write_to_path(made.ca)
    for name, common_name in (("pgswarm", "pgswarm"), ("instances", None)):
        leaf = authority.issue_cert(f"{name}.test", common_name=common_name)
        leaf.cert_chain_pems[0].write_to_path(made.cert(name))
        leaf.private_key_pem.write_to_path(made.key(name))
    return made


OWN = {"instance_etcd_cert": None, "instance_etcd_key": None}


def refusal(config: Config, *, etcd_auth: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        instance_tls(config, etcd_auth=etcd_auth)
    return str(caught.value)


def test_instances_get_the_authority_and_their_own_certificate_with_its_key(files: Files) -> None:
    given = instance_tls(files.config(), etcd_auth=True)

    assert given.client is not None
    text = given.client.reveal().encode()
    assert given.ca.split() == files.ca.read_text().split()
    assert x509.load_pem_x509_certificate(text) == x509.load_pem_x509_certificate(
        files.cert("instances").read_bytes()
    )
    key = serialization.load_pem_private_key(text, None)
    assert key.public_key() == x509.load_pem_x509_certificate(text).public_key()
    assert "PRIVATE" not in repr(given)


def test_the_same_certificates_make_the_same_text_however_the_files_are_laid_out(files: Files) -> None:
    before = instance_tls(files.config(), etcd_auth=True)
    for file in (files.ca, files.cert("instances"), files.key("instances")):
        file.write_text(f"# of this host\n\n{file.read_text()}\n\n")

    assert instance_tls(files.config(), etcd_auth=True) == before


def test_a_key_beside_the_authority_reaches_nobody(files: Files) -> None:
    files.ca.write_text(files.key("pgswarm").read_text() + files.ca.read_text())

    assert "PRIVATE" not in instance_tls(files.config(), etcd_auth=True).ca


def test_a_name_is_refused_where_etcd_has_users_and_allowed_where_it_has_none(files: Files) -> None:
    said = refusal(files.config(**OWN))

    assert all(word in said for word in (str(files.cert("pgswarm")), "'pgswarm'", "instanceEtcdCert")), said
    given = instance_tls(files.config(**OWN), etcd_auth=False)
    assert given.client is not None
    assert pem.certificates(given.client) == files.cert("pgswarm").read_text()


def test_without_a_certificate_instances_show_none_and_check_etcd_all_the_same(files: Files) -> None:
    given = instance_tls(files.config(**OWN, etcd_cert=None, etcd_key=None), etcd_auth=True)

    assert (given.client, bool(given.ca)) == (None, True)


def test_without_an_authority_instances_get_none(files: Files) -> None:
    given = instance_tls(files.config(etcd_ca=None), etcd_auth=True)

    assert (given.ca, given.client is not None) == ("", True)


def test_instances_that_reach_etcd_in_clear_text_get_nothing(files: Files) -> None:
    config = files.config(**OWN, instance_etcd_endpoints="http://172.17.0.1:2379")

    assert instance_tls(config, etcd_auth=True) == InstanceTls()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"etcd_ca": "key:instances"}, ["instances-key.pem holds no certificate"]),
        ({"instance_etcd_cert": "key:instances"}, ["instances-key.pem holds no certificate"]),
        ({"instance_etcd_key": "cert:instances"}, ["instances.pem holds no key", "without a password"]),
        ({"instance_etcd_key": "key:pgswarm"}, ["pgswarm-key.pem is not the key of", "instances.pem"]),
        ({"instance_etcd_key": "key:nobody"}, ["nobody-key.pem", "cannot be read"]),
    ],
)
def test_a_file_that_is_something_else_is_named(
    files: Files, changes: dict[str, str], words: list[str]
) -> None:
    kinds = {"cert": files.cert, "key": files.key}
    wrong = {name: kinds[text.split(":")[0]](text.split(":")[1]) for name, text in changes.items()}
    said = refusal(files.config(**wrong)).replace(": ", " ")

    assert all(word in said for word in words), said


def test_an_encrypted_key_is_refused_and_not_asked_about(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key("instances").read_bytes(), None)
    sealed = serialization.BestAvailableEncryption(b"hunter2")
    files.key("instances").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed)
    )

    assert "without a password" in refusal(files.config())
