"""Files with specs: documents, and problems at their place in the file."""

from __future__ import annotations

import pytest

from controlplane import manifests
from tests.unit.controlplane.shown import SPEC

HOST = b"""apiVersion: pgswarm.dev/v1
kind: Host
metadata: {name: host-1}
"""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"# only words\n---\n# more\n", [], id="comments alone are no document"),
        pytest.param(b"a: 1\n", [(0, b"a: 1\n")], id="one"),
        pytest.param(b"---\na: 1\n", [(0, b"\na: 1\n")], id="a separator first"),
        pytest.param(b"a: 1\n---\nb: 2\n", [(0, b"a: 1\n"), (1, b"\nb: 2\n")], id="two"),
        pytest.param(b"a: |\n  ---\n", [(0, b"a: |\n  ---\n")], id="an indented line is text"),
        pytest.param(b"a: 1\n----\n", [(0, b"a: 1\n----\n")], id="four dashes are text"),
        pytest.param(b"a: 1\r\n---\r\nb: 2\r\n", [(0, b"a: 1\r\n"), (1, b"\r\nb: 2\r\n")], id="Windows"),
    ],
)
def test_split(raw: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert list(manifests.split(raw)) == expected


def test_each_valid_document_keeps_its_own_words() -> None:
    found, mistakes = manifests.read("f", SPEC + b"---\n" + HOST)

    assert mistakes == []
    assert [(str(one.key), one.text) for one in found] == [("database/orders", SPEC), ("host/host-1", HOST)]


def test_a_problem_names_its_line_in_the_file() -> None:
    bad = SPEC.replace(b"port: 6432", b"prot: 6432")
    raw = HOST + b"---\n" + bad
    line = raw.splitlines().index(b"  prot: 6432") + 1

    found, mistakes = manifests.read("dbs.yaml", raw)

    assert [str(one.key) for one in found] == ["host/host-1"]
    assert [str(mistake) for mistake in mistakes] == [
        f"dbs.yaml:{line}:3: spec.prot: there is no such field\n    fix: did you mean port?"
    ]


def test_the_same_object_twice_is_a_mistake() -> None:
    found, _ = manifests.read("f", HOST + b"---\n" + HOST)

    assert [str(mistake) for mistake in manifests.twice(found)] == [
        "f:5:1: host/host-1 is also at f:1\n    fix: keep one of the two"
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param(b"just words\n", "the text is not a map", id="a text"),
        pytest.param(b"~\n", "the text is not a map", id="nothing at all"),
        pytest.param(b"- a\n- b\n", "the text is not a map", id="a list"),
        pytest.param(HOST + b"#" + b"x" * 70_000, "more than 65536", id="too large"),
    ],
)
def test_a_document_that_is_no_map_is_a_mistake_at_its_line_and_never_passed_over(
    document: bytes, words: str
) -> None:
    found, mistakes = manifests.read("f", HOST + b"---\n\n" + document)

    assert [str(one.key) for one in found] == ["host/host-1"]
    assert [(one.problem.line, words in one.problem.message) for one in mistakes] == [(6, True)]


def test_a_directive_is_named_though_it_is_cut_off_from_its_document() -> None:
    _, mistakes = manifests.read("f", b"%YAML 1.1\n---\n" + HOST)

    assert [one.problem.message for one in mistakes] == ["the text has a % directive"]


def test_a_name_that_would_turn_a_terminal_around_is_shown_by_its_number() -> None:
    _, mistakes = manifests.read("f", SPEC + "  po\u202ert: 1\n".encode() + b"  " + b"x" * 500 + b": 1\n")

    assert [one.problem.path for one in mistakes] == ["spec.po\\u202ert", f"spec.{'x' * 125}..."]
