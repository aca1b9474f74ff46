"""Verifiers, against a known vector and against each other."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcilers.ports import Secret
from reconcilers.resources import scram


def test_the_exchange_of_rfc_7677_ends_in_its_server_signature() -> None:
    stored = scram.verifier(Secret("pencil"), base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096).reveal()
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )

    server_key = base64.b64decode(stored.rsplit(":", 1)[1])
    signature = hmac.digest(server_key, message.encode(), "sha256")

    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_equal_arguments_give_equal_verifiers_and_another_salt_another_one() -> None:
    first, second = (scram.verifier(Secret("pencil"), b"0123456789abcdef") for _ in range(2))

    assert first == second
    assert scram.verifier(Secret("pencil"), b"0123456789abcdeg") != first
    assert scram.is_verifier(first.reveal())


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40), st.binary(min_size=8, max_size=24))
def test_only_the_password_itself_matches(password: str, other: str, salt: bytes) -> None:
    stored = scram.verifier(Secret(password), salt, iterations=2)

    assert scram.matches(stored, Secret(password))
    if scram._prepared(other) != scram._prepared(password):
        assert not scram.matches(stored, Secret(other))


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "plain",
        "SCRAM-SHA-256$4096:!!!$AAAA:AAAA",
        "SCRAM-SHA-256$4096:AAAA$AAAA",
        "SCRAM-SHA-256$0:AAAAAAAAAAAA$AAAA:AAAA",
        "SCRAM-SHA-256$2147483647:AAAAAAAAAAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:AAAAA$AAAA:AAAA",
    ],
)
def test_what_is_no_sound_verifier_matches_nothing(stored: str) -> None:
    assert not scram.matches(Secret(stored), Secret("plain"))
