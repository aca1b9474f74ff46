"""Log lines: one JSON object each, and no secret in any, whatever made it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from controlplane import logs
from reconcilers.ports import Secret

CANARY = "hunter2-canary"


class Clock:
    """Only `now` is asked by a logger."""

    def now(self) -> str:
        return "2026-11-23T12:00:00Z"

    def monotonic(self) -> float:
        return 0.0

    def epoch_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        return None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_that_begins_with_time_level_and_event() -> None:
    out = io.StringIO()
    log = logs.configure(level="info", stream=out, clock=Clock())

    log.bind(database="orders", host="host-1", epoch=7).info("pass changed the world", actions=2)

    assert out.getvalue() == (
        '{"ts": "2026-11-23T12:00:00Z", "level": "info", "event": "pass changed the world", '
        '"database": "orders", "host": "host-1", "epoch": 7, "actions": 2}\n'
    )


def test_what_is_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    log = logs.configure(level="warning", stream=out, clock=Clock())

    log.info("unseen")
    log.warning("seen")

    assert [line["event"] for line in lines(out)] == ["seen"]


PEM = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "fields",
    [
        {"value": Secret(CANARY)},
        {"password": CANARY},
        {"etcdPassword": CANARY},
        {"PGPASSWORD": CANARY},
        {"auth_token": CANARY},
        {"client_secret": CANARY},
        {"privateKey": CANARY},
        {"headers": {"Authorization": CANARY}},
        {"deep": [{"role": {"password": [CANARY]}}]},
        {"tokens": (CANARY,)},
        {"url": f"postgresql://app:{CANARY}@10.0.0.1/orders"},
        {"scram": f"SCRAM-SHA-256$4096:{CANARY}"},
        {"statement": f"ALTER ROLE app PASSWORD 'SCRAM-SHA-256$4096:{CANARY}'"},
        {"statement": f"CREATE ROLE app PASSWORD='{CANARY} x'"},
        {"line": f"PGPASSWORD={CANARY} psql"},
        {"text": PEM},
        {"text": f"Bearer {CANARY}"},
        {"object": ValueError(f"postgresql://app:{CANARY}@h/d")},
    ],
)
def test_no_secret_gets_into_a_line(fields: dict[str, Any]) -> None:
    for out in (io.StringIO(), Terminal()):
        log = logs.configure(level="debug", stream=out, clock=Clock())

        log.info("something happened", **fields)
        log.bind(**fields).warning("something else happened")

        assert "something else happened" in out.getvalue()
        assert CANARY not in out.getvalue()


def test_no_secret_gets_into_a_traceback() -> None:
    for out in (io.StringIO(), Terminal()):
        log = logs.configure(level="info", stream=out, clock=Clock())
        try:
            password = CANARY
            raise ValueError(f"postgresql://app:{password}@10.0.0.1/orders")
        except ValueError as exc:
            log.error("pass failed on a bug", exc_info=exc)

        assert "ValueError" in out.getvalue()
        assert CANARY not in out.getvalue()


def test_libraries_lines_come_out_like_ours_and_are_cleaned_too() -> None:
    out = io.StringIO()
    logs.configure(level="info", stream=out, clock=Clock())

    logging.getLogger("asyncio").error("Task exception: %s", f"http://u:{CANARY}@etcd")
    logging.getLogger("aiohttp").info("chatter")

    assert lines(out) == [
        {
            "ts": "2026-11-23T12:00:00Z",
            "level": "error",
            "event": "Task exception: http://u:***@etcd",
            "logger": "asyncio",
        }
    ]


@pytest.mark.parametrize("name", ["password_path", "secret_id", "key_file", "tokens_count"])
def test_what_says_where_a_secret_is_stays_readable(name: str) -> None:
    out = io.StringIO()
    logs.configure(level="info", stream=out, clock=Clock()).info(
        "x", **{name: "secrets/database/orders/superuser"}
    )

    assert lines(out)[0][name] == "secrets/database/orders/superuser"


def test_a_line_has_an_end() -> None:
    out = io.StringIO()
    logs.configure(level="info", stream=out, clock=Clock()).info("x", dump="a" * 100_000)

    assert len(out.getvalue()) < 2 * logs.TEXT_MAX
