"""
`ports.Vault`: what lies in etcd under `secrets/` is opaque to whoever reads etcd, its disks or its backups.

    magic "PGS1" | id of the key-encryption key (8) | nonce (12) | sealed data key (48) | nonce (12) | sealed text

Each secret has a data key of its own, used once; only the data key is sealed with the key from the key file, so that
rotating that one rewrites a few bytes a secret. Path and header are authenticated in both steps: a ciphertext that
was moved to another path, or whose key id was changed, does not open.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controlplane.stores.keyfile import ID_BYTES, KEY_BYTES, Kek
from reconcilers.errors import Refused
from reconcilers.ports import Secret

MAGIC = b"PGS1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER = len(MAGIC) + ID_BYTES
_WRAPPED = _HEADER + _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
_LEAST = _WRAPPED + _NONCE_BYTES + _TAG_BYTES


class AesVault:
    """`ports.Vault` with AES-256-GCM. The last key seals, each of them opens."""

    def __init__(self, keks: Sequence[Kek]) -> None:
        assert keks
        self._newest = keks[-1]
        self._by_id = {kek.id: kek for kek in keks}

    def seal(self, path: str, secret: Secret) -> bytes:
        data_key = os.urandom(KEY_BYTES)
        wrapped = self._wrap(path, data_key)
        nonce = os.urandom(_NONCE_BYTES)
        text = secret.reveal().encode()
        return wrapped + nonce + AESGCM(data_key).encrypt(nonce, text, _bound_to(path, b"text", MAGIC))

    def open(self, path: str, sealed: bytes) -> Secret:
        """Raises: Refused when the key does not fit or the text was altered or moved."""
        data_key = self._unwrap(path, sealed)
        nonce, text = sealed[_WRAPPED : _WRAPPED + _NONCE_BYTES], sealed[_WRAPPED + _NONCE_BYTES :]
        try:
            opened = AESGCM(data_key).decrypt(nonce, text, _bound_to(path, b"text", MAGIC))
            return Secret(opened.decode())
        except (InvalidTag, UnicodeDecodeError) as exc:
            raise _altered(path) from exc

    def rewrap(self, path: str, sealed: bytes) -> bytes | None:
        """The same secret under the newest key; None if it is. Raises: Refused as `open` does."""
        if sealed[len(MAGIC) : _HEADER] == self._newest.id:
            return None
        return self._wrap(path, self._unwrap(path, sealed)) + sealed[_WRAPPED:]

    def _wrap(self, path: str, data_key: bytes) -> bytes:
        header, nonce = MAGIC + self._newest.id, os.urandom(_NONCE_BYTES)
        wrapped = AESGCM(self._newest.key).encrypt(nonce, data_key, _bound_to(path, b"data key", header))
        return header + nonce + wrapped

    def _unwrap(self, path: str, sealed: bytes) -> bytes:
        header = sealed[:_HEADER]
        if len(sealed) < _LEAST or not header.startswith(MAGIC):
            raise Refused("vault", f"{path} does not hold a sealed secret")
        kek = self._by_id.get(header[len(MAGIC) :])
        if kek is None:
            key_id = header[len(MAGIC) :].hex()
            raise Refused(
                "vault", f"{path} is sealed with the key {key_id}, which is not in this host's key file"
            )
        try:
            nonce, wrapped = (
                sealed[_HEADER : _HEADER + _NONCE_BYTES],
                sealed[_HEADER + _NONCE_BYTES : _WRAPPED],
            )
            return AESGCM(kek.key).decrypt(nonce, wrapped, _bound_to(path, b"data key", header))
        except InvalidTag as exc:
            raise _altered(path) from exc


def _bound_to(path: str, part: bytes, header: bytes) -> bytes:
    return b"\0".join((b"pgswarm secret", part, header, path.encode("utf-8", "surrogateescape")))


def _altered(path: str) -> Refused:
    return Refused("vault", f"{path} was altered, or belongs to another path")
