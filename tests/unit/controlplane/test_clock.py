"""Clock and Ids: the real ones and the fakes keep the same promises."""

from __future__ import annotations

import asyncio
import re

import pytest

from controlplane.clock import SystemClock, SystemIds, ulid_text
from reconcilers.ports import Clock, Ids
from tests.sim.clock import FakeClock, FakeIds
from tests.sim.loop import run

ids = pytest.mark.parametrize("maker", [SystemIds, FakeIds])
clocks = pytest.mark.parametrize("maker", [SystemClock, FakeClock])


@ids
def test_ids_are_new_each_time_and_ulids_rise(maker: type[Ids]) -> None:
    source = maker()
    ulids = [source.ulid() for _ in range(2_000)]

    assert ulids == sorted(set(ulids))
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", ulid) for ulid in ulids)
    assert len({source.uuid() for _ in range(100)}) == 100
    assert len({source.token().reveal() for _ in range(100)}) == 100


@ids
def test_a_token_is_safe_in_a_url_and_hides_itself(maker: type[Ids]) -> None:
    token = maker().token(256)

    assert re.fullmatch(r"[A-Za-z0-9_-]{43,}", token.reveal())
    assert token.reveal() not in repr(token)


@ids
def test_jitter_stays_below_its_bound(maker: type[Ids]) -> None:
    source = maker()
    assert all(0 <= source.jitter(3.0) < 3.0 for _ in range(1_000))
    assert source.jitter(0.0) == 0.0


@clocks
def test_a_clock_goes_forward_and_speaks_utc(maker: type[Clock]) -> None:
    async def main() -> None:
        clock = maker()
        start_s, start_epoch_s = clock.monotonic(), clock.epoch_s()
        await clock.sleep(0.01)

        assert 0.009 < clock.monotonic() - start_s < 5
        assert clock.epoch_s() >= start_epoch_s
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", clock.now())

    (run if maker is FakeClock else asyncio.run)(main())


def test_the_ulid_of_a_known_moment() -> None:
    assert ulid_text(0, 0) == "0" * 26
    assert ulid_text((1 << 48) - 1, (1 << 80) - 1) == "7" + "Z" * 25
    assert ulid_text(1_469_918_176_385, 0)[:10] == "01ARYZ6S41"


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other = FakeIds(5), FakeIds(5)
    assert [one.uuid(), one.ulid(), one.jitter(1)] == [other.uuid(), other.ulid(), other.jitter(1)]
