"""
What things may be called. Every pattern is an anchored allow-list: a name becomes a service name, a DNS
label, a path, a role, a line in pg_hba.conf, so nothing that means something there may be in it.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from crds.meta import NAME, Model
from crds.problems import Finding, refuse, refuse_all

HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
NODE = re.compile(r"n[1-9][0-9]?", re.ASCII)
SQL_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,62}", re.ASCII)
EXTENSION = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
SECRET_KEY = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
IMAGE = re.compile(
    r"[a-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?"
)
LABEL_KEY = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?", re.ASCII)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9 ._:/@+-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
HOST_MAX = 63
LABELS_MAX = 32

RESERVED_ROLES = {
    "postgres": "Postgres makes it",
    "replicator": "Patroni replicates with it",
    "rewind": "Patroni rewinds with it",
    "public": "it means every role",
    "none": "SQL gives it a meaning",
    "user": "SQL gives it a meaning",
    "all": "pg_hba.conf gives it a meaning",
    "current_user": "SQL gives it a meaning",
    "current_role": "SQL gives it a meaning",
    "session_user": "SQL gives it a meaning",
}
RESERVED_DATABASES = {
    "postgres": "Postgres makes it",
    "template0": "Postgres makes it",
    "template1": "Postgres makes it",
    "replication": "pg_hba.conf gives it a meaning",
    "all": "pg_hba.conf gives it a meaning",
    "sameuser": "pg_hba.conf gives it a meaning",
    "samerole": "pg_hba.conf gives it a meaning",
    "samegroup": "pg_hba.conf gives it a meaning",
}
RESERVED_PREFIXES = {"pg_": "Postgres keeps it for itself", "pgswarm": "pgswarm keeps it for itself"}
RESERVED_LABELS = ("pgswarm.", "com.docker.")


def _shown(name: str) -> str:
    """Quote a refused name: no control or bidirectional character reaches a terminal, no novel a log."""
    return ascii(name if len(name) <= 64 else name[:61] + "...")


def check_object_name(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise refuse(
            f"{_shown(name)} cannot be a name here",
            "use 1 to 31 of a-z, 0-9 and single hyphens, starting with a letter, not ending with a hyphen",
        )
    return name


def check_host_name(name: str) -> str:
    if len(name) > HOST_MAX or HOST.fullmatch(name) is None:
        raise refuse(
            f"{_shown(name)} cannot be a host",
            f"use a host's name in lower case, at most {HOST_MAX} characters",
        )
    return name


def check_node_name(name: str) -> str:
    if NODE.fullmatch(name) is None:
        raise refuse(f"{_shown(name)} cannot be a node", "nodes are called n1, n2, ... n99")
    return name


def _check_sql_name(name: str, noun: str, reserved: dict[str, str]) -> str:
    if SQL_NAME.fullmatch(name) is None:
        raise refuse(
            f"{_shown(name)} cannot be a {noun}",
            "use 1 to 63 of a-z, 0-9, _ and -, starting with a letter or _",
        )
    why = reserved.get(name) or next((w for p, w in RESERVED_PREFIXES.items() if name.startswith(p)), None)
    if why is not None:
        raise refuse(f"{name} is a reserved {noun} name: {why}", "choose another name")
    return name


def check_role_name(name: str) -> str:
    return _check_sql_name(name, "role", RESERVED_ROLES)


def check_database_name(name: str) -> str:
    return _check_sql_name(name, "database", RESERVED_DATABASES)


def check_extension(name: str) -> str:
    if EXTENSION.fullmatch(name) is None:
        raise refuse(
            f"{_shown(name)} cannot be an extension", "use its name as in CREATE EXTENSION, in lower case"
        )
    return name


def check_secret_key(name: str) -> str:
    if SECRET_KEY.fullmatch(name) is None or ".." in name:
        raise refuse(f"{_shown(name)} cannot name a secret", "use a-z, 0-9, '.', '_' and '-'")
    return name


def check_image(name: str) -> str:
    if len(name) > 255 or IMAGE.fullmatch(name) is None:
        raise refuse(
            f"{_shown(name)} is not an image reference", "write repository:tag or repository@sha256:..."
        )
    return name


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    found = []
    if len(labels) > LABELS_MAX:
        found.append(Finding(f"{len(labels)} labels are too many", f"keep at most {LABELS_MAX}"))
    for key, value in labels.items():
        if LABEL_KEY.fullmatch(key) is None:
            found.append(
                Finding(f"{_shown(key)} cannot be a label", "use a-z, 0-9, '.', '_', '-' and '/'", (key,))
            )
        elif key.startswith(RESERVED_LABELS):
            found.append(Finding(f"label {key} has a reserved prefix", "choose a prefix of your own", (key,)))
        if LABEL_VALUE.fullmatch(value) is None:
            fix = "use at most 63 letters, digits, spaces and ._:/@+- between letters or digits"
            found.append(Finding(f"{_shown(value)} cannot be a label's value", fix, (key,)))
    if found:
        raise refuse_all(found)
    return labels


def check_annotations(annotations: dict[str, str]) -> dict[str, str]:
    found = [
        Finding(f"{_shown(key)} cannot be an annotation", "use a-z, 0-9, '.', '_', '-' and '/'", (key,))
        for key in annotations
        if LABEL_KEY.fullmatch(key) is None
    ]
    if sum(len(key) + len(value) for key, value in annotations.items()) > 16384:
        found.append(Finding("annotations are longer than 16 KiB", "keep large texts elsewhere"))
    if found:
        raise refuse_all(found)
    return annotations


def _pattern(pattern: re.Pattern[str], length_max: int | None = None) -> WithJsonSchema:
    schema: dict[str, object] = {"type": "string", "pattern": f"^({pattern.pattern})$"}
    return WithJsonSchema(schema if length_max is None else schema | {"maxLength": length_max})


ObjectName = Annotated[
    str,
    AfterValidator(check_object_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z](-?[a-z0-9])*$", "maxLength": 31}),
]
HostName = Annotated[str, AfterValidator(check_host_name), _pattern(HOST, HOST_MAX)]
NodeName = Annotated[str, AfterValidator(check_node_name), _pattern(NODE)]
RoleName = Annotated[str, AfterValidator(check_role_name), _pattern(SQL_NAME)]
DatabaseName = Annotated[str, AfterValidator(check_database_name), _pattern(SQL_NAME)]
Extension = Annotated[str, AfterValidator(check_extension), _pattern(EXTENSION)]
SecretKey = Annotated[str, AfterValidator(check_secret_key), _pattern(SECRET_KEY)]
Image = Annotated[str, AfterValidator(check_image), _pattern(IMAGE, 255)]
Labels = Annotated[dict[str, str], AfterValidator(check_labels)]
Annotations = Annotated[dict[str, str], AfterValidator(check_annotations)]


class ObjectMeta(Model):
    """Name and free notes of a Database."""

    name: ObjectName
    labels: Labels = Field(default={}, description="For people and selectors; pgswarm reads none of them.")
    annotations: Annotations = Field(default={}, description="Notes of tools; pgswarm reads none of them.")
