"""
From the text somebody wrote to a kind, or to everything that is wrong with it; and back to text.

`load` raises nothing but SpecRefused, whatever the bytes: anybody may write a spec.
"""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

import yaml
from pydantic import BaseModel, ValidationError

from crds import strictyaml
from crds.database import Database
from crds.host import Host
from crds.meta import API_VERSION
from crds.problems import REFUSED, Finding, Path, SpecProblem, SpecRefused, dotted, undotted

M = TypeVar("M", bound=BaseModel)

KINDS: Mapping[str, type[Database] | type[Host]] = {"Database": Database, "Host": Host}
PROBLEMS_MAX = 50
_NO_MAP = Finding("the text is not a map", "begin with apiVersion and kind")

_PASSWORDS = ("password", "passwd", "pwd", "passphrase", "secret")
_FIXES = {
    "string_type": "write text; a number or a word like true goes in quotes",
    "bool_type": "write true or false",
    "int_type": "write a whole number, without quotes",
    "int_from_float": "write a whole number",
    "tuple_type": "write a list: [a, b], or one '- a' a line",
    "dict_type": "write a map: name: value, one a line",
    "model_type": "write a map of fields, indented below it",
    "model_attributes_type": "write a map of fields, indented below it",
}
_SAID = {"tuple_type": "should be a list", "dict_type": "should be a map", "model_type": "should be a map"}
"""Instead of JSON's words, for people who write YAML."""


@overload
def load(text: bytes, kind: Literal["Database"], name: str | None = None) -> Database: ...
@overload
def load(text: bytes, kind: Literal["Host"], name: str | None = None) -> Host: ...
@overload
def load(text: bytes, kind: str, name: str | None = None) -> Database | Host: ...
def load(text: bytes, kind: str, name: str | None = None) -> Database | Host:
    """
    Read one object of `kind`; with `name`, the text must be about that one.

    Raises:
        SpecRefused: With every problem found, at most PROBLEMS_MAX of them, in the order of the text.
    """
    model = next(model for known, model in KINDS.items() if known.lower() == kind.lower())
    document = strictyaml.parse(text)
    return _checked(document, model, _header_problems(document, (model.__name__,), name))


def load_any(text: bytes) -> Database | Host:
    """Read one object of whatever kind the text names. Raises SpecRefused."""
    document = strictyaml.parse(text)
    problems = _header_problems(document, tuple(KINDS), None)
    if not isinstance(document.value, dict):
        raise SpecRefused(document.problems or [_placed(document, _NO_MAP)])
    said = document.value.get("kind")
    if not isinstance(said, str) or said not in KINDS:
        raise SpecRefused([*document.problems, *problems])
    return _checked(document, KINDS[said], problems)


def read_model(text: bytes, model: type[M]) -> M:
    """Read a text without a header, such as the image catalogue. Raises SpecRefused."""
    return _checked(strictyaml.parse(text), model, [])


def placed(text: bytes, problems: Iterable[SpecProblem]) -> tuple[SpecProblem, ...]:
    """The same problems with their line and column in `text`, which `load` has read before."""
    document = strictyaml.parse(text)
    return tuple(_placed(document, Finding(p.message, p.fix, undotted(p.path))) for p in problems)


def dump(value: Database | Host, *, defaults: bool = True) -> str:
    """Write YAML that `load` reads back into an equal value; without `defaults` only what differs."""
    plain = value.model_dump(mode="json", exclude_defaults=not defaults)
    header = {"apiVersion": value.api_version, "kind": value.kind}
    return yaml.dump(header | plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader, rather than YAML 1.1, would take for something else than text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(strictyaml.resolve(text), str)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def _checked(document: strictyaml.Document, model: type[M], problems: list[SpecProblem]) -> M:
    found = [*document.problems, *problems]
    value: M | None = None
    if isinstance(document.value, dict):
        try:
            value = model.model_validate_json(
                json.dumps(document.value), strict=True, by_alias=True, by_name=False
            )
        except ValidationError as exc:
            for place, item in enumerate(_findings(exc, model)):
                if place >= PROBLEMS_MAX:
                    break
                found.append(_placed(document, item))
    elif not found:
        found.append(_placed(document, _NO_MAP))
    if found or value is None:
        raise SpecRefused(
            sorted(set(found), key=lambda p: (p.line, p.column, p.path, p.message))[:PROBLEMS_MAX]
        )
    return value


def _placed(document: strictyaml.Document, item: Finding) -> SpecProblem:
    return SpecProblem(*document.place(item.at), dotted(item.at), item.message, item.fix)


def _header_problems(
    document: strictyaml.Document, kinds: tuple[str, ...], name: str | None
) -> list[SpecProblem]:
    """What the model cannot know: the header is there, and the text is about the key it lies under."""
    value = document.value
    if not isinstance(value, dict):
        return []
    findings = []
    if "apiVersion" not in value:
        findings.append(Finding("apiVersion is missing", f"write apiVersion: {API_VERSION}", ("apiVersion",)))
    said = value.get("kind")
    if "kind" not in value:
        findings.append(Finding("kind is missing", f"write kind: {' or '.join(kinds)}", ("kind",)))
    elif said not in kinds and len(kinds) > 1:
        findings.append(Finding("there is no such kind", f"write kind: {' or '.join(kinds)}", ("kind",)))
    metadata = value.get("metadata")
    named = metadata.get("name") if isinstance(metadata, dict) else None
    if name is not None and isinstance(named, str) and named != name:
        message = f"the name is not {name}, under which the text is stored"
        findings.append(
            Finding(message, f"write name: {name}, or store it under its own name", ("metadata", "name"))
        )
    return [_placed(document, finding) for finding in findings]


def _findings(exc: ValidationError, model: type[BaseModel]) -> Iterator[Finding]:
    # include_input=False: what was written may be a password in the wrong place.
    for error in exc.errors(include_url=False, include_input=False):
        at: Path = error["loc"]
        kind, context = error["type"], error.get("ctx", {})
        if kind == REFUSED:
            for finding in context["findings"]:
                yield finding._replace(at=(*at, *finding.at))
        elif kind == "extra_forbidden":
            yield _unknown(at, model)
        elif kind == "missing":
            yield Finding(f"{at[-1]} is missing", "add it", at)
        elif kind == "literal_error":
            yield Finding("this value is not one of those allowed", f"give {context['expected']}", at)
        elif kind == "too_long":
            most = context["max_length"]
            yield Finding(f"this has more than {most} entries", f"keep at most {most}", at)
        else:
            said = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
            yield Finding(f"this {_SAID.get(kind, said)}", _FIXES.get(kind, ""), at)


def _unknown(at: Path, model: type[BaseModel]) -> Finding:
    name = str(at[-1])
    if any(word in name.lower() for word in _PASSWORDS):
        return Finding(
            "a password does not belong in a spec",
            "leave it out and one is generated, or give secretRef: {name, key}, or scram: a SCRAM verifier",
            at,
        )
    known = _fields_at(model, at[:-1])
    near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.6) or [
        k for k in known if k.lower() == name.replace("_", "").replace("-", "").lower()
    ]
    fix = f"did you mean {near[0]}?" if near else "fields here: " + ", ".join(known)
    return Finding("there is no such field", fix, at)


def _fields_at(annotation: Any, path: Path) -> list[str]:
    """Names, as written outside, of the fields of the model that stands at `path`."""
    for part in path:
        annotation = _inside(annotation, part)
    annotation = _bare(annotation)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return []
    return [field.alias or name for name, field in annotation.model_fields.items()]


def _inside(annotation: Any, part: str | int) -> Any:
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return next((field.annotation for name, field in fields if (field.alias or name) == part), None)
    arguments = get_args(annotation)
    return (arguments[0] if isinstance(part, int) else arguments[-1]) if arguments else None


def _bare(annotation: Any) -> Any:
    """Without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation
