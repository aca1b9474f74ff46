"""Specs that the tests of this package start from. Plain values: each call gives new ones."""

from __future__ import annotations

import json
from typing import Any

from crds.database import Database
from crds.problems import SpecProblem, SpecRefused
from crds.text import load


def minimal(**spec: Any) -> dict[str, Any]:
    """The smallest database there is, with fields of its spec replaced or added."""
    return {
        "apiVersion": "pgswarm.dev/v1",
        "kind": "Database",
        "metadata": {"name": "orders"},
        "spec": {"postgres": {"version": "17"}, "nodes": [{"name": "n1", "hosts": ["host-1"]}], **spec},
    }


def read(document: dict[str, Any]) -> Database:
    return load(json.dumps(document).encode(), "Database", "orders")


def problems(document: dict[str, Any] | bytes) -> tuple[SpecProblem, ...]:
    """Everything that is wrong with it; empty when it is accepted."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        load(text, "Database", "orders")
    except SpecRefused as exc:
        return exc.problems
    return ()
