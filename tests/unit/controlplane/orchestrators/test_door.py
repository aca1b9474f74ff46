"""Docker's many ways to say no, and which of our errors each is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiodocker.exceptions import DockerError
from aiohttp import web

from controlplane.lifecycle import together
from controlplane.orchestrators.door import Door, decoded, read_error, write_error
from reconcilers.errors import Conflict, PgswarmError, Refused, Unavailable, UnknownFate
from tests.unit.controlplane.orchestrators.engine_stub import Answer, engine, hang_up

WRITES = [
    (500, "rpc error: code = Unknown desc = update out of sequence", Conflict),
    (409, "rpc error: code = AlreadyExists desc = name conflicts with an existing object", Conflict),
    (500, "rpc error: code = Unknown desc = name conflicts with an existing object", Conflict),
    (409, "rpc error: code = AlreadyExists desc = secret x already exists", Conflict),
    (404, "service abc not found", Conflict),
    (500, "network abc not found", Conflict),
    (400, "rpc error: code = InvalidArgument desc = secret not found: x", Conflict),
    (400, "rpc error: code = FailedPrecondition desc = network n is in use by service s", Refused),
    (
        400,
        "rpc error: code = InvalidArgument desc = secret 'x' is in use by the following service: s",
        Refused,
    ),
    (409, "remove v: volume is in use - [abc]", Refused),
    (400, "invalid mount target", Refused),
    (503, "This node is not a swarm manager.", Unavailable),
    (500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded", UnknownFate),
    (500, "rpc error: code = Unavailable desc = transport is closing", UnknownFate),
    (500, "rpc error: code = Unknown desc = raft: stopped", UnknownFate),
]


@pytest.mark.parametrize(("status", "text", "expected"), WRITES)
def test_an_answer_to_a_write(status: int, text: str, expected: type[PgswarmError]) -> None:
    assert type(write_error(DockerError(status, text), "service x")) is expected


@pytest.mark.parametrize(
    ("status", "expected"), [(400, Refused), (403, Refused), (500, Unavailable), (503, Unavailable)]
)
def test_an_answer_to_a_read(status: int, expected: type[PgswarmError]) -> None:
    assert type(read_error(DockerError(status, "text"))) is expected


@pytest.mark.parametrize("exc", [TimeoutError(), aiohttp.ServerDisconnectedError(), ConnectionResetError()])
def test_a_write_without_an_answer_may_have_happened(exc: Exception) -> None:
    assert type(write_error(exc, "service x")) is UnknownFate


async def test_an_engine_that_is_not_there_has_certainly_not_applied_the_write(tmp_path: Path) -> None:
    door = Door(f"unix://{tmp_path}/nothing.sock")
    try:
        with pytest.raises(Unavailable):
            await door.write("services/create", {}, what="service x")
        with pytest.raises(Unavailable):
            await door.read("services")
    finally:
        await door.close()


async def test_a_connection_that_is_cut_after_sending_leaves_the_fate_unknown(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return hang_up(request)

    with pytest.raises(UnknownFate):
        await write(tmp_path, answer)


async def test_silence_after_sending_leaves_the_fate_unknown(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    with pytest.raises(UnknownFate):
        await write(tmp_path, answer)


async def test_an_answer_that_is_cut_short_leaves_the_fate_unknown(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        cut = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
        await cut.prepare(request)
        await cut.write(b'{"ID": "')
        return hang_up(request)

    with pytest.raises(UnknownFate):
        await write(tmp_path, answer)


async def test_an_engine_that_goes_between_two_calls_has_not_applied_the_second(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response([])

    async with engine(tmp_path, answer) as url:
        door = Door(url)
        assert await door.read("services") == []
    await asyncio.sleep(0.05)  # until the end of the kept connection is noticed
    try:
        with pytest.raises(Unavailable):
            await door.write("services/create", {}, what="service x")
    finally:
        await door.close()


async def test_a_read_that_hangs_ends_by_itself(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with engine(tmp_path, answer) as url:
        door = Door(url, call_s=0.2)
        try:
            with pytest.raises(Unavailable):
                await door.read("services")
        finally:
            await door.close()


async def test_removing_what_is_not_there_is_fine_and_reading_it_is_nothing(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "service x not found"}, status=404)

    async with engine(tmp_path, answer) as url:
        door = Door(url)
        try:
            await door.remove("services/x", what="service x")
            assert await door.read("services/x") is None
        finally:
            await door.close()


async def test_more_calls_than_any_pool_run_at_once(tmp_path: Path) -> None:
    waiting = 0
    everybody = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal waiting
        waiting += 1
        if waiting == 150:
            everybody.set()
        await everybody.wait()
        return web.json_response([])

    async with engine(tmp_path, answer) as url:
        door = Door(url, call_s=20)
        try:
            assert await together(*(door.read("services") for _ in range(150))) == [[]] * 150
        finally:
            await door.close()


@pytest.mark.parametrize(
    "url", ["https://host:2376", "/var/run/docker.sock", "ssh://host", "unix://relative", ""]
)
def test_an_address_that_would_not_do_what_it_says_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a Docker address"):
        Door(url)


async def write(folder: Path, answer: Answer) -> None:
    async with engine(folder, answer) as url:
        door = Door(url, call_s=0.3)
        try:
            await door.write("services/create", {"Name": "x"}, what="service x")
        finally:
            await door.close()


@pytest.mark.parametrize(
    "text", ["", "null\n", "[]", " [ ] ", '[{"a": [1, "]"]}]\n', '[{"a": 1} , {"b": "x,y"},\n3]']
)
def test_a_list_is_decoded_one_object_at_a_time_into_what_it_is(text: str) -> None:
    assert [*decoded(text)] == (json.loads(text or "null") or [])


@pytest.mark.parametrize("text", ['{"message": "no"}', '[{"a": 1}', "[1 2]", "[1,", "[1,]", "nonsense"])
def test_a_list_that_is_none_is_an_error_and_not_a_shorter_list(text: str) -> None:
    with pytest.raises(ValueError):
        [*decoded(text)]
