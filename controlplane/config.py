"""From file, environment and flags to a `Config`, in rising precedence. Nothing else reads the environment."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controlplane.settings import Config, ConfigError, ConfigProblem, file_key, flag_name, variable_name
from controlplane.settings_file import SettingsFileError, read_settings

__all__ = ["Config", "ConfigError", "ConfigProblem", "choose_file", "from_process", "load", "strangers"]

DEFAULT_FILE = Path("/etc/pgswarm/config.yaml")
"""Read when neither `--config` nor `PGSWARM_CONFIG` names a file, and it exists."""


@dataclass(frozen=True, slots=True)
class _Given:
    value: Any
    source: str


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]) -> Config:
    """
    Merge the layers and validate the result once.

    Args:
        file: Settings file; None: none is read.
        environ: Variables; only known `PGSWARM_*` names are looked at.
        flags: Attribute name to text, as given on the command line; None: not given.

    Raises:
        ConfigError: with every problem, each naming the line, variable or flag it came from.
    """
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_file(file)
    given |= _from_environ(environ)
    given |= {
        name: _Given(text, f"flag {flag_name(name)}") for name, text in flags.items() if text is not None
    }
    try:
        return Config(**{name: entry.value for name, entry in given.items()})
    except ValidationError as exc:
        problems = [
            _problem(error, given) for error in exc.errors() if error["type"] != "default_factory_not_called"
        ]
        raise ConfigError(tuple(problems)) from exc


def choose_file(named: str | None, environ: Mapping[str, str], default: Path = DEFAULT_FILE) -> Path | None:
    """Which file to read: the flag's, else the variable's, else the default one if it exists."""
    text = named or environ.get("PGSWARM_CONFIG")
    if text:
        return Path(text)
    return default if default.exists() else None


def strangers(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like a misspelt setting, each with the name that was probably meant."""
    known = {variable_name(attribute) for attribute in Config.model_fields} | {
        "PGSWARM_CONFIG",
        "PGSWARM_API",
    }
    unknown = sorted(name for name in environ if name.startswith("PGSWARM_") and name not in known)
    guesses = [(name, difflib.get_close_matches(name, known, n=1, cutoff=0.85)) for name in unknown]
    # PGSWARM_API_1 and the like are exported by the lab for people; only the last word's spelling is judged.
    return [
        f"{name} (did you mean {guess[0]}?)" for name, guess in guesses if guess and not name[-1].isdigit()
    ]


def _from_file(file: Path) -> dict[str, _Given]:
    try:
        found = read_settings(file)
    except SettingsFileError as exc:
        raise ConfigError((ConfigProblem(exc.source, exc.message, exc.fix),)) from exc
    attributes = {file_key(attribute): attribute for attribute in Config.model_fields}
    problems, given = [], {}
    for key, (value, line) in found.items():
        source = f"{file} line {line}"
        if key not in attributes:
            guess = difflib.get_close_matches(key, attributes, n=1)
            fix = f"did you mean {guess[0]}?" if guess else "see docs/configuration.md for the names"
            problems.append(ConfigProblem(source, f"unknown setting {key}", fix))
        elif value is not None:
            given[attributes[key]] = _Given(value, f"{source} ({key})")
    if problems:
        raise ConfigError(tuple(problems))
    return given


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Given]:
    if "PGSWARM_ETCD_PASSWORD" in environ:
        fix = "write it into a file and set PGSWARM_ETCD_PASSWORD_FILE to its path"
        message = "a password in the environment can be read by other programs"
        raise ConfigError((ConfigProblem("variable PGSWARM_ETCD_PASSWORD", message, fix),))
    names = {variable_name(attribute): attribute for attribute in Config.model_fields}
    # An empty variable means "not set": compose files and unit files cannot leave one out.
    return {
        attribute: _Given(environ[name], f"variable {name}")
        for name, attribute in names.items()
        if environ.get(name)
    }


def _problem(error: Any, given: Mapping[str, _Given]) -> ConfigProblem:
    context = error.get("ctx", {})
    attribute = context.get("field") or str(error["loc"][0])
    entry = given.get(attribute)
    source = entry.source if entry else f"default of {file_key(attribute)}"
    if error["type"] == "contradiction":
        return ConfigProblem(source, context["message"], context["fix"])
    field = Config.model_fields[attribute]
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    text = (
        ",".join(entry.value)
        if entry and isinstance(entry.value, list)
        else str(entry.value if entry else "")
    )
    # A URL may carry a password in spite of everything: what has an @ is not echoed.
    shown = f" (got {text[:60]!r})" if entry and "@" not in text else ""
    return ConfigProblem(source, message + shown, f"write it like {(field.examples or ['?'])[0]}")


def from_process(named: str | None, flags: Mapping[str, str | None]) -> Config:
    """`load` with this process's environment and file."""
    return load(choose_file(named, os.environ), os.environ, flags)
