"""
The schema is part of the contract: it changes only on purpose.

After a change that is meant: python -m tests.unit.crds.test_schema
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crds.schema import as_text, schemas
from crds.text import KINDS

REPO = Path(__file__).resolve().parents[3]
GOLDEN = REPO / "tests" / "golden" / "schemas"
DOCS = REPO / "docs" / "schema"


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("folder", [GOLDEN, DOCS], ids=["golden", "docs"])
def test_the_schema_is_the_one_on_record(folder: Path, kind: str) -> None:
    assert (folder / f"{kind.lower()}.json").read_text() == as_text(schemas()[kind]), __doc__


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_refuses_unknown_fields_and_wants_the_header(kind: str) -> None:
    schema = schemas()[kind]

    assert schema["additionalProperties"] is False
    assert all(part.get("additionalProperties") is False for part in schema["$defs"].values())
    assert {"apiVersion", "kind", "metadata"} <= set(schema["required"])


def test_a_schema_speaks_camel_case() -> None:
    definitions = schemas()["Database"]["$defs"]

    assert not [name for part in definitions.values() for name in part["properties"] if "_" in name]


if __name__ == "__main__":
    for name, schema in schemas().items():
        for folder in (GOLDEN, DOCS):
            (folder / f"{name.lower()}.json").write_text(as_text(schema))
