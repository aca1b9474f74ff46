"""JSON Schema (draft 2020-12) of what users write. A schema says the shape; `crds.text` the rest too."""

from __future__ import annotations

import json
from typing import Any

from crds.text import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """One schema a kind, by the kind's name."""
    return {kind: _schema(kind) for kind in sorted(KINDS)}


def as_text(schema: dict[str, Any]) -> str:
    """The one form in which a schema is written to a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(kind: str) -> dict[str, Any]:
    schema = KINDS[kind].model_json_schema(by_alias=True, mode="validation")
    # The model has defaults for the header so that code need not repeat it; a text has to carry it.
    required = ["apiVersion", "kind", *schema.get("required", [])]
    return {
        "$schema": DIALECT,
        "$id": f"https://pgswarm.dev/schema/v1/{kind.lower()}.json",
        **schema,
        "required": required,
    }
