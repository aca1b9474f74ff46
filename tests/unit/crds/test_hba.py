"""Rules of pg_hba.conf: one line each, parsed, nothing let in without a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds.hba import METHODS, TYPES, check_rule


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("host orders app 10.0.0.0/8 scram-sha-256", "host orders app 10.0.0.0/8 scram-sha-256"),
        (
            "hostssl  all\tapp,+staff  fd00::/8  cert clientcert=verify-full",
            "hostssl all app,+staff fd00::/8 cert clientcert=verify-full",
        ),
        ("local all all peer", "local all all peer"),
        ("local all all trust", "local all all trust"),
        ('host "Old" all samenet md5', 'host "Old" all samenet md5'),
        ("host all all .example.com reject", "host all all .example.com reject"),
    ],
)
def test_a_rule_is_kept_with_single_spaces(said: str, written: str) -> None:
    assert check_rule(said) == written
    assert check_rule(written) == written


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("", "starts with one of"),
        ("hosts all all all md5", "starts with one of"),
        ("host all all", "5 fields"),
        ("host all all 10.0.0.0/8 trust", "without a password"),
        ("hostssl all all all trust", "without a password"),
        ("host all all 10.0.0.1/8 md5", "write 10.0.0.0/8"),
        ("host all all 10.0.0.1 md5", "write 10.0.0.1/32"),
        ("host all all 10.0.0.0/33 md5", "not a network"),
        ("host all all a..b md5", "not an address"),
        ("host all all all password", "not a method"),
        ("host all all all cert", "hostssl"),
        ("host all all all peer", "local lines only"),
        ("host all all all md5\nhost all all all trust", "one line"),
        ("host all @admins all md5", "names no file"),
        ("include /etc/passwd", "names no file"),
        ("host all all all md5 # open", "no comment"),
        ("host all $(x) all md5", "not a user"),
        ("host all all all ldap ldapserver", "not an option"),
        ("host all all all scram-sha-256 " + "x=" * 300, "500 characters"),
    ],
)
def test_a_rule_that_cannot_stand_is_refused_with_a_sentence(said: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_rule(said)


words = st.one_of(
    st.sampled_from(
        [*TYPES, *METHODS, "all", "app", "10.0.0.0/8", "::/0", "#", "@x", '"', "\n", "a=b", ".a"]
    ),
    st.text(max_size=8),
)


@given(st.lists(words, max_size=7).map(" ".join))
def test_an_accepted_rule_is_one_line_that_opens_nothing(line: str) -> None:
    try:
        written = check_rule(line)
    except ValueError:
        return
    assert written.isprintable()
    assert check_rule(written) == written
    assert written.startswith("local ") or " trust" not in written
