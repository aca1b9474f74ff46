"""Names are anchored allow-lists: what is accepted is harmless wherever it ends up."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crds import names

CHECKS: dict[Callable[[str], str], str] = {
    names.check_object_name: r"[a-z][a-z0-9-]{0,30}",
    names.check_host_name: r"[a-z0-9][a-z0-9.-]{0,62}",
    names.check_node_name: r"n[1-9][0-9]?",
    names.check_role_name: r"[a-z_][a-z0-9_-]{0,62}",
    names.check_database_name: r"[a-z_][a-z0-9_-]{0,62}",
    names.check_extension: r"[a-z][a-z0-9_-]{0,62}",
    names.check_secret_key: r"[a-z0-9][a-z0-9._-]{0,62}",
    names.check_image: r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}",
}
MALICIOUS = [
    "",
    "../../etc/passwd",
    "a/../b",
    "/abs",
    "x\0y",
    '"; DROP ROLE postgres; --',
    "$(reboot)",
    "${VAR}",
    "{{.Env}}",
    "epoch=999",
    "a" * 64,
    "Orders",
    "abc\u202edef",
    "name\n",
    "na me",
    "-a",
    "\uff41bc",
    "a\u2177",
    "a\n\nb",
    "n1\n",
    "n1/../x",
    "n1;x",
]


@pytest.mark.parametrize("check", list(CHECKS), ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", MALICIOUS, ids=ascii)
def test_a_malicious_name_is_refused_or_harmless(check: Callable[[str], str], name: str) -> None:
    harmless: dict[Callable[[str], str], set[str]] = {names.check_image: {"a" * 64, "a/../b", "n1/../x"}}
    if name in harmless.get(check, ()):
        return
    with pytest.raises(ValueError):
        check(name)


@pytest.mark.parametrize("check", list(CHECKS), ids=lambda c: c.__name__)
@given(name=st.one_of(st.text(max_size=70), st.from_regex(r"\A[a-z_n0-9][a-zA-Z0-9_./:@-]{0,70}\n?\Z")))
def test_what_is_accepted_matches_the_allow_list_from_end_to_end(
    check: Callable[[str], str], name: str
) -> None:
    try:
        accepted = check(name)
    except ValueError:
        return
    assert accepted == name
    assert re.fullmatch(CHECKS[check], name, re.ASCII)


@pytest.mark.parametrize(
    "name", ["postgres", "pgswarm", "pgswarm_x", "replicator", "pg_monitor", "public", "none", "all"]
)
def test_reserved_roles_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match="reserved role name: "):
        names.check_role_name(name)


@pytest.mark.parametrize(
    "name", ["postgres", "template0", "template1", "pgswarm", "replication", "all", "pg_x"]
)
def test_reserved_databases_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match="reserved database name: "):
        names.check_database_name(name)


@pytest.mark.parametrize("name", ["app", "_x", "app-2", "a" * 63])
def test_ordinary_sql_names_are_accepted(name: str) -> None:
    assert names.check_role_name(name) == names.check_database_name(name) == name


@pytest.mark.parametrize(
    "image",
    [
        "pgswarm/postgres:17",
        "example.com:5000/a/b:1.2",
        "postgres@sha256:" + "0" * 64,
        "a/b:tag@sha256:" + "f" * 64,
    ],
)
def test_image_references_are_accepted(image: str) -> None:
    assert names.check_image(image) == image


@pytest.mark.parametrize(
    "labels", [{"pgswarm.epoch": "9"}, {"com.docker.stack.namespace": "x"}, {"A": "b"}, {"a": "b\n"}]
)
def test_labels_that_could_pass_for_somebody_elses_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="label"):
        names.check_labels(labels)


def test_a_refused_name_shows_no_control_character_and_no_novel() -> None:
    with pytest.raises(ValueError) as caught:
        names.check_object_name("\x1b[31m" + "x" * 10_000)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300
