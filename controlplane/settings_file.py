"""The settings file as text: a flat YAML mapping of names to words or lists of words, each with its line."""

from __future__ import annotations

from pathlib import Path

import yaml

SIZE_MAX = 64 * 1024
"""Bytes; a settings file is a page, so anything larger is the wrong file."""

Setting = str | list[str] | None


class SettingsFileError(Exception):
    """The file cannot be read as settings."""

    def __init__(self, source: str, message: str, fix: str) -> None:
        super().__init__(f"{source}: {message}; {fix}")
        self.source = source
        self.message = message
        self.fix = fix


def read_settings(file: Path) -> dict[str, tuple[Setting, int]]:
    """
    Return each setting with its line, from 1. Values stay text: one parser serves file and environment.

    Raises:
        SettingsFileError: no such file, not YAML, not a flat mapping, a name twice.
    """
    try:
        raw = file.read_bytes()
    except OSError as exc:
        raise SettingsFileError(
            str(file), f"cannot be read: {exc.strerror}", "check --config and its mode"
        ) from exc
    if len(raw) > SIZE_MAX:
        raise SettingsFileError(str(file), f"larger than {SIZE_MAX} bytes", "is this the settings file?")
    try:
        node = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as exc:
        raise SettingsFileError(str(file), "is not UTF-8 text", "is this the settings file?") from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f"{file} line {mark.line + 1}" if mark else str(file)
        problem = getattr(exc, "problem", None) or "cannot be parsed"
        raise SettingsFileError(
            place, f"not YAML: {problem}", "check indentation, colons and quotes"
        ) from exc
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise SettingsFileError(f"{file} line 1", "not a mapping", "write one `name: value` a line")
    return _settings(file, node)


def _settings(file: Path, node: yaml.MappingNode) -> dict[str, tuple[Setting, int]]:
    found: dict[str, tuple[Setting, int]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SettingsFileError(
                f"{file} line {line}", "a name must be a word", "write one `name: value` a line"
            )
        if key.value in found:
            first = found[key.value][1]
            raise SettingsFileError(
                f"{file} line {line}", f"{key.value} is set twice", f"see line {first}; keep one"
            )
        found[key.value] = (_value(file, line, value), line)
    return found


def _value(file: Path, line: int, node: yaml.Node) -> Setting:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [str(item.value) for item in node.value]
    raise SettingsFileError(
        f"{file} line {line}", "a value must be a word or a list of words", "do not nest settings"
    )
