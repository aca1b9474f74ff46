"""Texts of Docker's JSON, each kept once: thousands of databases have the same labels, paths and settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

LONGEST = 64
"""Letters; longer texts are seldom equal to others. What nobody has any more is forgotten by Python itself."""


def text(value: str) -> str:
    return sys.intern(value) if len(value) <= LONGEST else value


def labels(value: Mapping[str, str]) -> dict[str, str]:
    return {text(name): text(one) for name, one in value.items()}


def json(value: Any) -> Any:
    """An equal value."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(name): json(part) for name, part in value.items()}
    return [json(part) for part in value] if isinstance(value, list) else value
