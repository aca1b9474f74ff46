"""
Quantities that carry their unit, and their parsers. A number without its unit is refused, not guessed.

Each type reads what a person writes and is written back (JSON, YAML) in one canonical form of it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from crds.problems import refuse

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB


def _said(value: object) -> str:
    """What was written, of a text or a number; "" for anything else, which no unit fits."""
    return value if isinstance(value, str) else str(value) if type(value) in (int, float) else ""


class _Quantity(ABC):
    """What the units share: they are strings outside and parse themselves."""

    __slots__ = ()
    schema: ClassVar[dict[str, Any]]

    @classmethod
    @abstractmethod
    def parse(cls, value: object) -> Self:
        """Read what a person wrote. Raises PydanticCustomError; the error says what to write."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(cls.schema)

    @classmethod
    def _accept(cls, value: object) -> Self:
        return value if isinstance(value, cls) else cls.parse(value)


@dataclass(frozen=True, slots=True, order=True)
class Memory(_Quantity):
    """An amount of memory: `512MiB`, `2GiB`."""

    bytes: int
    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": r"^[1-9][0-9]{0,8}(MiB|GiB|TiB|Mi|Gi|Ti)$",
        "examples": ["512MiB", "2GiB"],
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        """
        Read whole MiB, GiB or TiB.

        Raises:
            PydanticCustomError: The unit is missing or ambiguous; the error says what to write.
        """
        said = _said(value)
        match = re.fullmatch(r"([0-9]{1,9})(\.[0-9]{1,9})? ?([A-Za-z]*)", said, re.ASCII)
        if match is None:
            raise refuse("memory is a whole number with its unit", "write for example 512MiB or 2GiB")
        whole, fraction, unit = match.groups()
        size = {"mi": MIB, "gi": GIB, "ti": TIB}.get(unit.removesuffix("B").lower())
        if size is None or unit.endswith("b"):
            raise refuse(f"{said} has no unit that means one thing only", _memory_fix(whole, unit))
        if fraction or int(whole) == 0:
            raise refuse(
                f"{said} is not a whole number above zero", "use the next smaller unit, e.g. 1536MiB"
            )
        return cls(int(whole) * size)

    @property
    def mib(self) -> int:
        return self.bytes // MIB

    def __str__(self) -> str:
        for unit, size in (("TiB", TIB), ("GiB", GIB)):
            if self.bytes % size == 0:
                return f"{self.bytes // size}{unit}"
        return f"{self.bytes // MIB}MiB"


def _memory_fix(whole: str, unit: str) -> str:
    letter = unit[:1].upper()
    if letter in ("M", "G", "T"):
        return f"write {whole}{letter}iB (1024-based)"
    return f"write {whole}MiB if that is what is meant"


@dataclass(frozen=True, slots=True, order=True)
class Cpus(_Quantity):
    """A share of processors in thousandths: `0.5`, `2`."""

    milli: int
    schema: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "string", "pattern": r"^[0-9]{1,4}(\.[0-9]{1,3})?$"},
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1024},
        ],
        "examples": ["0.5", "2"],
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        """
        Read a number with at most three decimals, between 0.01 and 1024.

        Raises:
            PydanticCustomError: Not such a number; the error says what to write.
        """
        said = _said(value)
        thousandths = re.fullmatch(r"([0-9]{1,7})m", said, re.ASCII)
        if thousandths:
            raise refuse(f"{said} is not a number of cpus", f'write "{cls(int(thousandths[1]))}"')
        match = re.fullmatch(r"([0-9]{1,4})(?:\.([0-9]{1,3}))?", said, re.ASCII)
        if match is None:
            raise refuse("cpus is a number with at most three decimals", 'write for example "0.5" or 2')
        milli = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
        if not 10 <= milli <= 1024_000:
            raise refuse(f"{said} cpus is out of range", "give between 0.01 and 1024 cpus")
        return cls(milli)

    @property
    def nanos(self) -> int:
        """Billionths of a processor, Docker's own unit."""
        return self.milli * 1_000_000

    def __str__(self) -> str:
        whole, rest = divmod(self.milli, 1000)
        return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)


@dataclass(frozen=True, slots=True, order=True)
class Duration(_Quantity):
    """Whole seconds: `20s`, `5m`, `1h`."""

    seconds: int
    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": r"^[0-9]{1,7}(s|m|h)$",
        "examples": ["20s", "5m"],
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        """
        Read whole seconds, minutes or hours.

        Raises:
            PydanticCustomError: The unit is missing or unknown; the error says what to write.
        """
        said = _said(value)
        match = re.fullmatch(r"([0-9]{1,7})(s|m|h)", said, re.ASCII)
        if match is None:
            bare = re.fullmatch(r"[0-9]{1,7}", said, re.ASCII)
            fix = f"write {said}s if seconds are meant" if bare else "write for example 20s, 5m or 1h"
            raise refuse("a duration is a whole number with its unit s, m or h", fix)
        return cls(int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]])

    def __str__(self) -> str:
        for unit, size in (("h", 3600), ("m", 60)):
            if self.seconds and self.seconds % size == 0:
                return f"{self.seconds // size}{unit}"
        return f"{self.seconds}s"


PORT_MIN, PORT_MAX = 1024, 65535
PORTS_IN_USE = {
    2375: "Docker's API",
    2376: "Docker's API",
    2377: "Swarm's managers",
    2379: "etcd",
    2380: "etcd",
    4789: "Swarm's overlay networks",
    7432: "pgswarm's API",
    7946: "Swarm's gossip",
}


def check_port(number: int) -> int:
    """Raises PydanticCustomError unless `number` may be published on a host."""
    if not PORT_MIN <= number <= PORT_MAX:
        raise refuse(f"port {number} is out of range", f"give {PORT_MIN} to {PORT_MAX}, or auto")
    if number in PORTS_IN_USE:
        raise refuse(f"port {number} belongs to {PORTS_IN_USE[number]}", "give another one, or auto")
    return number


def check_published(value: object) -> int | Literal["auto"] | None:
    """Raises PydanticCustomError unless `value` says whether and where to publish."""
    if value is None or value == "auto":
        return value
    if type(value) is not int:
        raise refuse("port is neither a number, auto nor null", "write for example 6432, without quotes")
    return check_port(value)


PublishedPort = Annotated[
    int | Literal["auto"] | None,
    PlainValidator(check_published),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": PORT_MIN, "maximum": PORT_MAX},
                {"const": "auto"},
                {"type": "null"},
            ]
        }
    ),
]
