"""The event stream: lines, broken lines, broken connections."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path

from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from controlplane.clock import SystemClock
from controlplane.orchestrators.events import GAP, LINE_MAX, DockerEvent, EventStream, Lines, parse
from tests.unit.controlplane.orchestrators.engine_stub import engine, hang_up

SECOND = 1_000_000_000


def line(action: str, time_ns: int, name: str = "orders-n1-abcdef") -> bytes:
    actor = {"ID": "s" * 25, "Attributes": {"name": name}}
    return (
        json.dumps({"Type": "service", "Action": action, "Actor": actor, "timeNano": time_ns}).encode()
        + b"\n"
    )


@given(
    st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\n", b"x")), max_size=8),
    st.data(),
)
def test_lines_come_out_whole_however_the_bytes_are_cut(wanted: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(one + b"\n" for one in wanted)
    lines, found = Lines(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += lines.feed(whole[:size])
        whole = whole[size:]

    assert found == [one for one in wanted if one.strip()]


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_comes() -> None:
    lines = Lines()
    assert lines.feed(b"x" * (LINE_MAX + 1)) == []
    assert lines.feed(b"y" * (LINE_MAX + 1)) == []
    assert lines.feed(b"end\nnext\n") == [b"next"]


def test_an_event_is_read_with_its_action_up_to_the_colon() -> None:
    raw = {
        "Type": "container",
        "Action": "health_status: healthy",
        "Actor": {"ID": "c", "Attributes": {"a": "b"}},
    }

    assert parse(json.dumps(raw).encode()) == DockerEvent(
        "container", "health_status", "c", "", {"a": "b"}, 0
    )


@given(
    st.one_of(st.binary(max_size=30), st.sampled_from([b"[]", b"7", b"{}", b'{"Type":1}', b'{"Actor":7}']))
)
def test_no_line_makes_the_reader_raise(raw: bytes) -> None:
    assert isinstance(parse(raw), DockerEvent)


def test_a_line_that_is_no_event_is_a_gap() -> None:
    assert parse(b"{").kind == GAP


async def test_after_a_break_the_stream_asks_for_what_it_missed_and_says_that_there_was_a_gap(
    tmp_path: Path,
) -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(dict(request.query))
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        number = len(asked)
        await stream.write(line(f"update{number}", 4_000_000_000 * SECOND + number))
        return hang_up(request) if number % 2 else stream

    async with engine(tmp_path, answer) as url:
        stream = EventStream(url, SystemClock())
        seen: list[DockerEvent] = []
        async with aclosing(stream.events()) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 6:
                    break
        await stream.close()

    assert [event.action or event.kind for event in seen] == [GAP, "update1", GAP, "update2", GAP, "update3"]
    assert [query["since"] for query in asked[1:3]] == ["4000000000.000000001", "4000000000.000000002"]
    assert "exec_start" not in asked[0]["filters"]


async def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """The first attempts find nothing there; the stream begins once the engine is up."""

    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(line("create", 1))
        return stream

    waits: list[float] = []

    class Impatient(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 12:
                await started.__aenter__()

    started = engine(tmp_path, answer)
    stream = EventStream(f"unix://{tmp_path}/docker.sock", Impatient())
    async with aclosing(stream.events()) as events:
        first = await anext(events)
    await stream.close()
    await started.__aexit__(None, None, None)

    assert first.kind == GAP
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits[-1] == 10.0
