"""What we show to people works."""

from __future__ import annotations

from pathlib import Path

import pytest

from crds.catalogue import builtin, resolve
from crds.database import Database
from crds.text import dump, load_any

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = sorted(path for path in EXAMPLES.glob("*.yaml") if b"pgswarm.dev/" in path.read_bytes())


def test_the_examples_are_there() -> None:
    assert {"hello.yaml", "three-replicas.yaml", "full.yaml", "host.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_accepted_and_survives_being_written(path: Path) -> None:
    value = load_any(path.read_bytes())

    assert load_any(dump(value).encode()) == value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_has_an_image(path: Path) -> None:
    value = load_any(path.read_bytes())
    if isinstance(value, Database):
        assert resolve(value.spec.postgres.version, value.spec.postgres.flavour, builtin())


def test_the_full_example_shows_every_field() -> None:
    text = (EXAMPLES / "full.yaml").read_text()

    def names(plain: object) -> set[str]:
        if isinstance(plain, dict):
            return {str(key) for key in plain} | {name for inner in plain.values() for name in names(inner)}
        return {name for inner in plain for name in names(inner)} if isinstance(plain, list) else set()

    fields = names(load_any(text.encode()).model_dump(mode="json"))
    assert not [name for name in fields if f"{name}:" not in text]
