"""What every kind shares: its key, its metadata, its conditions. No kind of its own lives here."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

API_VERSION = "pgswarm.dev/v1"

# Anchored on both ends: the name becomes a Swarm service name, a DNS label, a path and a slot name.
NAME_PATTERN = r"\A[a-z]([a-z0-9]|-(?!-)){0,29}[a-z0-9]\Z|\A[a-z]\Z"
NAME = re.compile(NAME_PATTERN)


class Key(NamedTuple):
    """The only thing a queue carries."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


GIVEN_MAX = 10_000
_GIVEN: dict[frozenset[str], set[str]] = {}
"""Sets of field names, each once. Nobody changes one: objects are frozen, and their copies copy it."""


class Model(BaseModel):
    """camelCase outside, frozen inside, nothing unknown let through."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    def model_post_init(self, context: Any, /) -> None:
        """Which fields were given is the same for thousands of objects, and takes more memory than their values."""
        given = frozenset(self.__pydantic_fields_set__)
        if len(_GIVEN) < GIVEN_MAX or given in _GIVEN:
            object.__setattr__(self, "__pydantic_fields_set__", _GIVEN.setdefault(given, set(given)))


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """One statement about an object, in the form Kubernetes users know."""

    type: str
    status: ConditionStatus
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    message: str = ""
    last_transition_time: str = Field(default="", description="RFC 3339, UTC, when `status` last changed.")
    observed_revision: int = Field(
        default=0, description="etcd mod_revision of the spec this was judged from."
    )
