"""Files that the settings name are tried before anything starts, and every bad one is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from controlplane.config import ConfigError, load
from controlplane.preflight import check_files


def pair(folder: Path, name: str, *, password: bytes = b"") -> tuple[str, str]:
    """A certificate and its key as files."""
    leaf = trustme.CA().issue_cert(f"{name}.test")
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    leaf.cert_chain_pems[0].write_to_path(cert)
    text = leaf.private_key_pem.bytes()
    if password:
        made = serialization.load_pem_private_key(text, password=None)
        sealing = serialization.BestAvailableEncryption(password)
        text = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
    key.write_bytes(text)
    return str(cert), str(key)


def problems(folder: Path, **given: str) -> list[str]:
    flags: dict[str, str | None] = {"state_dir": str(folder), "etcd_endpoints": "https://etcd:2379", **given}
    try:
        check_files(load(None, {}, flags))
    except ConfigError as exc:
        return [str(problem) for problem in exc.problems]
    return []


def test_good_files_are_no_problem(tmp_path: Path) -> None:
    cert, key = pair(tmp_path, "one")

    assert problems(tmp_path, etcd_ca=cert, etcd_cert=cert, etcd_key=key, api_cert=cert, api_key=key) == []


def test_every_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    cert, _ = pair(tmp_path, "one")
    _, other = pair(tmp_path, "two")
    garbage, key = tmp_path / "garbage", tmp_path / "key"
    garbage.write_text("a: [")
    key.write_text("garbage")
    key.chmod(0o600)

    said = problems(
        tmp_path,
        api_cert=cert,
        api_key=other,
        etcd_ca=str(garbage),
        image_catalogue=str(garbage),
        etcd_user="root",
        etcd_password_file=str(tmp_path / "absent"),
    )

    for words in ("apiCert", "TLS file", "image catalogue", "etcd password file", "not 32 bytes"):
        assert any(words in line for line in said), words
    assert len(said) == len(set(said))


@pytest.mark.parametrize("text", ["", "garbage"])
def test_an_authority_without_a_certificate_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca").write_text(text)

    assert any("cannot be used" in line for line in problems(tmp_path, etcd_ca=str(tmp_path / "ca")))


@pytest.mark.parametrize("names", [("etcd_cert", "etcd_key"), ("api_cert", "api_key")])
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    tmp_path: Path, names: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    said = problems(tmp_path, **dict(zip(names, pair(tmp_path, "locked", password=b"word"), strict=True)))

    assert any("the key not encrypted" in line for line in said)
    assert capfd.readouterr() == ("", "")


def test_a_catalogue_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    said = problems(tmp_path, image_catalogue="/nonexistent/images.yaml")

    assert said == [
        "image catalogue /nonexistent/images.yaml: cannot be read: No such file or directory; check path and mode"
    ]


def test_what_the_first_start_makes_need_not_be_there(tmp_path: Path) -> None:
    assert (
        problems(
            tmp_path,
            embedded_etcd="true",
            etcd_user="pgswarm",
            etcd_password_file=str(tmp_path / "made-later"),
            key_file=str(tmp_path / "made-later-too"),
        )
        == []
    )
