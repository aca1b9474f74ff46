"""One rule of pg_hba.conf: parsed, judged, written back in one form. pgswarm's own rules are not here."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from crds.problems import refuse

TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
METHODS = ("scram-sha-256", "cert", "reject", "ldap", "radius", "gss", "md5", "peer", "trust")
_EXAMPLE = 'write for example "hostssl orders app 10.0.0.0/8 scram-sha-256"'
_NAME = re.compile(r'[+]?[A-Za-z0-9_][A-Za-z0-9_.$-]*|[+]?"[^"\x00-\x1f\\]+"', re.ASCII)
_HOSTNAME = re.compile(
    r"\.?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*", re.ASCII
)
_OPTION = re.compile(r"[a-z]+=[^\s\"#\\]+", re.ASCII)
_LENGTH_MAX = 500


def _tokens(line: str) -> list[str]:
    line = line.replace("\t", " ")
    if len(line) > _LENGTH_MAX or not line.isprintable() or not line.isascii():
        raise refuse("an hba rule is one line of printable ASCII", f"keep it under {_LENGTH_MAX} characters")
    tokens = line.split()
    if any(token.startswith(("include", "@", "#")) for token in tokens):
        raise refuse("an hba rule names no file and has no comment", "put every rule into the list itself")
    return tokens


def _check_names(text: str, noun: str) -> None:
    for name in text.split(","):
        if _NAME.fullmatch(name) is None:
            raise refuse(
                f"{name!a} is not a {noun} in an hba rule",
                f"give names separated by commas, or all; {_EXAMPLE}",
            )


def _address(text: str) -> str:
    if text in ("all", "samehost", "samenet"):
        return text
    if re.fullmatch(r"([0-9.]+|[0-9a-fA-F.]*:[0-9a-fA-F.:]*)(/[0-9]{1,3})?", text, re.ASCII):
        if "/" not in text:
            raise refuse(
                f"{text} has no mask", f"write {text}/{'128' if ':' in text else '32'} for one address"
            )
        try:
            return str(ipaddress.ip_network(text, strict=True))
        except ValueError:
            pass
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise refuse(f"{text} is not a network", _EXAMPLE) from None
        raise refuse(f"{text} has bits set beyond its mask", f"write {network}")
    if len(text) > 253 or _HOSTNAME.fullmatch(text) is None:
        raise refuse(f"{text!a} is not an address", _EXAMPLE)
    return text


def _check_method(kind: str, method: str) -> None:
    if method not in METHODS:
        fix = "give one of " + ", ".join(METHODS)
        raise refuse(f"{method!a} is not a method that is allowed", fix)
    if method == "trust" and kind != "local":
        raise refuse("trust over a network lets anybody in without a password", "use scram-sha-256")
    if method == "peer" and kind != "local":
        raise refuse("peer works on local lines only", "use scram-sha-256 or cert")
    if method == "cert" and kind != "hostssl":
        raise refuse("cert needs TLS", "make it a hostssl line")


def check_rule(line: str) -> str:
    """
    Return the rule with single spaces and a canonical network.

    Raises:
        PydanticCustomError: It is not one rule of pg_hba.conf, or it opens the door too wide.
    """
    kind, *rest = _tokens(line) or [""]
    if kind not in TYPES:
        raise refuse(f"an hba rule starts with one of {', '.join(TYPES)}", _EXAMPLE)
    fields = 3 if kind == "local" else 4
    if len(rest) < fields:
        raise refuse(f"a {kind} rule has {fields + 1} fields or more, this one {len(rest) + 1}", _EXAMPLE)
    database, user, *_ = rest
    _check_names(database, "database")
    _check_names(user, "user")
    if kind != "local":
        rest[2] = _address(rest[2])
    _check_method(kind, rest[fields - 1])
    for option in rest[fields:]:
        if _OPTION.fullmatch(option) is None:
            raise refuse(f"{option!a} is not an option of an hba rule", "write name=value after the method")
    return " ".join([kind, *rest])


HbaRule = Annotated[
    str,
    AfterValidator(check_rule),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(TYPES)})[ \\t]", "maxLength": _LENGTH_MAX}),
]
