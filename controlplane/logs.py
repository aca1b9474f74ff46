"""
Log lines: JSON for machines, coloured words on a terminal. The only structlog; nothing else configures logging.

Every line passes `redacted` last, whatever made it: our own events, libraries' records, tracebacks. It is a net,
not a licence: secrets travel as `ports.Secret`, which shows nothing by itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from controlplane.logger import Log
from reconcilers.ports import Clock

HIDDEN = "***"
DEPTH_MAX = 6
"""Values nested deeper than this are shown as text: a log line is no place for a tree."""
TEXT_MAX = 8_000
"""Characters of one value; a traceback fits, a Swarm dump does not."""

_SECRET_KEY = re.compile(
    r"passw|passphrase|\bpwd\b|secret|token|scram|credential|authorization|cookie|private_?key|api_?key|\bkek\b",
    re.IGNORECASE,
)
# What ends so says where a secret is or how it is called, not what it is.
_HARMLESS_END = re.compile(r"(_path|_name|_names|_id|_ids|_file|_count|_ref|_hash)$", re.IGNORECASE)
_SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"SCRAM-SHA-256\$[^\s'\"]+"), f"SCRAM-SHA-256${HIDDEN}"),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        f"private key {HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"((?:password|passwd|PGPASSWORD)\s*[=:]\s*)('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)


def configure(*, level: str, stream: TextIO, clock: Clock) -> Log:
    """
    Send everything logged in this process to `stream`; return the root logger.

    Args:
        level: debug, info, warning or error.
        clock: Where the `ts` of a line comes from.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = stream.isatty()
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _stamp(clock),
        structlog.processors.format_exc_info,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    tail: list[Processor] = [redacted, _in_order, last]
    _adopt_libraries(stream, number, first, tail)
    structlog.configure(
        processors=[*first, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    return cast(Log, structlog.get_logger())


def _adopt_libraries(stream: TextIO, level: int, first: list[Processor], tail: list[Processor]) -> None:
    """Let asyncio's, aiohttp's and Python's own complaints come out as lines like ours."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *first],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak to their own developers below a warning.
    root.setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def _stamp(clock: Clock) -> Processor:
    def stamp(_: Any, __: str, event: EventDict) -> EventDict:
        event.setdefault("ts", clock.now())
        return event

    return stamp


def _in_order(_: Any, __: str, event: EventDict) -> EventDict:
    """ts, level, event first: a person who reads raw lines finds them at the same place."""
    head = {name: event.pop(name) for name in ("ts", "level", "event") if name in event}
    return {**head, **event}


def redacted(_: Any, __: str, event: EventDict) -> EventDict:
    """Replace what is or looks like a secret, at any depth, and make every value printable."""
    return {str(key): _clean(str(key), value, 0) for key, value in event.items()}


def _clean(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_KEY.search(key) and not _HARMLESS_END.search(key):
        return HIDDEN
    if isinstance(value, Mapping) and depth < DEPTH_MAX:
        return {_mask(str(name)): _clean(str(name), item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < DEPTH_MAX:
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_clean(key, item, depth + 1) for item in items]
    return _mask(value if isinstance(value, str) else str(value))


def _mask(text: str) -> str:
    for pattern, instead in _SECRET_TEXT:
        text = pattern.sub(instead, text)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}... ({len(text)} characters)"
