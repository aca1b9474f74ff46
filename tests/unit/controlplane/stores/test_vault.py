from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.stores.keyfile import Kek, KeyFileError, load_kek, load_or_create_kek
from controlplane.stores.vault import AesVault
from reconcilers.errors import Refused
from reconcilers.ports import Secret

OLD, NEW = Kek(b"o" * 32), Kek(b"n" * 32)
VAULT = AesVault([OLD])
PATH = "secrets/database/orders/superuser"


@given(st.text())
def test_what_was_sealed_opens_on_its_path(text: str) -> None:
    assert VAULT.open(PATH, VAULT.seal(PATH, Secret(text))) == Secret(text)


def test_the_sealed_text_shows_nothing_and_is_different_each_time() -> None:
    first, second = (VAULT.seal(PATH, Secret("correct horse")) for _ in range(2))
    assert b"horse" not in first
    assert first != second
    # Neither the nonces nor the data key may come twice under one key.
    assert first[12:24] != second[12:24]
    assert first[24:72] != second[24:72]


def test_a_sealed_secret_does_not_open_on_another_path() -> None:
    sealed = VAULT.seal(PATH, Secret("x"))
    with pytest.raises(Refused, match="another path"):
        VAULT.open("secrets/database/billing/superuser", sealed)


def test_no_byte_can_be_changed_and_none_can_be_cut_off() -> None:
    sealed = VAULT.seal(PATH, Secret("text"))
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(Refused):
            VAULT.open(PATH, bytes(altered))
        with pytest.raises(Refused):
            VAULT.open(PATH, sealed[:place])
    with pytest.raises(Refused):
        VAULT.open(PATH, sealed + b"x")


def test_parts_of_two_secrets_do_not_fit_together() -> None:
    first, second = VAULT.seal(PATH, Secret("one")), VAULT.seal(PATH, Secret("two"))
    with pytest.raises(Refused):
        VAULT.open(PATH, first[:72] + second[72:])


def test_the_newest_key_seals_and_all_keys_open() -> None:
    sealed = VAULT.seal(PATH, Secret("x"))
    both = AesVault([OLD, NEW])
    assert both.open(PATH, sealed) == Secret("x")
    fresh = both.seal(PATH, Secret("y"))
    assert AesVault([NEW]).open(PATH, fresh) == Secret("y")
    with pytest.raises(Refused, match=NEW.id.hex()):
        VAULT.open(PATH, fresh)


def test_rewrapping_moves_a_secret_to_the_newest_key_once() -> None:
    both = AesVault([OLD, NEW])
    sealed = VAULT.seal(PATH, Secret("x"))
    rewrapped = both.rewrap(PATH, sealed)
    assert rewrapped is not None
    assert AesVault([NEW]).open(PATH, rewrapped) == Secret("x")
    assert both.rewrap(PATH, rewrapped) is None
    with pytest.raises(Refused):
        both.rewrap("secrets/elsewhere", sealed)


def test_neither_the_secret_nor_the_key_is_in_an_error() -> None:
    sealed = VAULT.seal(PATH, Secret("correct horse"))
    with pytest.raises(Refused) as raised:
        AesVault([NEW]).open(PATH, sealed)
    assert "horse" not in repr(raised.value)
    assert "o" * 32 not in repr(OLD) + repr(raised.value)


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "key"
    made = load_or_create_kek(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(made) == 1
    assert len(made[0].key) == 32
    assert load_or_create_kek(path) == made
    assert [each.name for each in path.parent.iterdir()] == ["key"]
    assert load_or_create_kek(tmp_path / "other") != made


def test_a_key_file_that_cannot_be_made_is_an_error_that_says_which_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(KeyFileError, match=r"cannot be made: .*; set keyFile or stateDir"):
        load_or_create_kek(tmp_path / "file" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_a_key_file_that_others_can_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_or_create_kek(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 0600"):
        load_or_create_kek(path)


def test_several_keys_are_read_oldest_first_with_comments_skipped(tmp_path: Path) -> None:
    path = tmp_path / "key"
    lines = [base64.b64encode(key.key).decode() for key in (OLD, NEW)]
    path.write_text("# made by hand\n" + lines[0] + "\n\n" + lines[1] + "\n")
    path.chmod(0o600)
    assert load_kek(path) == (OLD, NEW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "holds no key", id="empty"),
        pytest.param("# nothing\n", "holds no key", id="comments only"),
        pytest.param("c2VjcmV0\n", "line 1", id="too short"),
        pytest.param(base64.b64encode(b"x" * 32).decode() + "\nsecret words!\n", "line 2", id="no base64"),
        pytest.param("\xff" * 50, "line 1", id="no text"),
    ],
)
def test_a_key_file_with_nonsense_is_refused_without_showing_it(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=message) as raised:
        load_or_create_kek(path)
    assert "secret" not in str(raised.value)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="regular file"):
        load_kek(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyFileError, match="regular file"):
        load_kek(fifo)
    with pytest.raises(KeyFileError, match="No such file"):
        load_kek(tmp_path / "absent")
