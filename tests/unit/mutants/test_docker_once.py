"""Docker's creates have no compare-and-set: what was sent is not sent again by who does not know its fate."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from controlplane.orchestrators.door import Door
from reconcilers.errors import UnknownFate
from tests.unit.controlplane.orchestrators.engine_stub import engine, hang_up


async def test_a_write_whose_answer_is_missing_is_sent_once(tmp_path: Path) -> None:
    sent: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        sent.append(f"{request.method} {request.path}")
        return hang_up(request)

    async with engine(tmp_path, answer) as url:
        door = Door(url, call_s=1.0)
        try:
            with pytest.raises(UnknownFate):
                await door.write("services/create", {"Name": "x"}, what="service x")
        finally:
            await door.close()
    assert sent == ["POST /v1.41/services/create"]
