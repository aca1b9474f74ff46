"""
SCRAM-SHA-256 verifiers as Postgres stores them (`pg_authid.rolpassword`). Pure.

A verifier lets a server check a password without having it: the only form in which a password enters SQL.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
import stringprep
import unicodedata

from reconcilers.ports import Secret

ITERATIONS = 4096
"""What Postgres and libpq use by default."""
ITERATIONS_MAX = 100_000
"""A stored verifier that asks for more is not checked, which would take long: it counts as drift."""
SALT_BYTES = 16

_B64 = r"[A-Za-z0-9+/]+={0,2}"
_VERIFIER = re.compile(rf"SCRAM-SHA-256\$(\d{{1,10}}):({_B64})\$({_B64}):({_B64})", re.ASCII)
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def is_verifier(text: str) -> bool:
    """True if Postgres would store `text` as it is instead of taking it for a password."""
    return _VERIFIER.fullmatch(text) is not None


def verifier(password: Secret, salt: bytes, iterations: int = ITERATIONS) -> Secret:
    """Return the verifier of `password`; equal arguments give equal verifiers."""
    assert len(salt) >= 8, "a short salt can be tabulated"
    stored, server = _keys(password, salt, iterations)
    parts = (f"SCRAM-SHA-256${iterations}:{_text(salt)}", f"{_text(stored)}:{_text(server)}")
    return Secret("$".join(parts))


@functools.lru_cache(maxsize=2048)
def matches(stored: Secret, password: Secret) -> bool:
    """
    True if `stored` is a verifier of `password`.

    One check takes about 2 ms of CPU, and every poll of every role asks: hence the bounded cache.
    """
    found = _VERIFIER.fullmatch(stored.reveal())
    if found is None or not 0 < int(found[1]) <= ITERATIONS_MAX:
        return False
    try:
        salt, key = (base64.b64decode(text, validate=True) for text in (found[2], found[3]))
    except binascii.Error:
        return False
    return hmac.compare_digest(_keys(password, salt, int(found[1]))[0], key)


def _keys(password: Secret, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey of RFC 5802."""
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password.reveal()).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def _prepared(password: str) -> str:
    """
    SASLprep (RFC 4013) as Postgres does it.

    ASCII stays as it is, and so does a password that SASLprep would refuse.
    """
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    allowed = prepared and not any(table(char) for char in prepared for table in _PROHIBITED)
    return prepared if allowed and _directions_agree(prepared) else password


def _directions_agree(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text has no left-to-right letter and is so at both ends."""
    rtl = [stringprep.in_table_d1(char) for char in text]
    return not any(rtl) or (rtl[0] and rtl[-1] and not any(stringprep.in_table_d2(char) for char in text))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
